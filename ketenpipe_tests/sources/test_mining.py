"""Mining production: no total rows, no guesses between two rows, units."""

from __future__ import annotations

import csv

import pytest

from ketenpipe.errors import InputRefused
from ketenpipe.sources.mining import MINING_SCHEMA, read_mining
from ketenpipe.sources.places import discover, embedded
from ketenpipe_tests.shared_data import shared_data
from ketenpipe_tests.sources.conftest import Drop

HEAD = "commodity,Country,Country_Code,Country_ISO,unit,data_source,year,production\n"


def test_the_sample_without_totals_and_without_guyanas_gold() -> None:
    data = read_mining(discover(embedded("sample")))
    assert data.table.schema == MINING_SCHEMA
    rows = data.table.to_pylist()
    assert not {r["iso3"] for r in rows} & {"DELETE", "R20", "S19"}
    assert {"XKX", "TWN"} <= {r["iso3"] for r in rows}
    assert not [r for r in rows if (r["material"], r["iso3"]) == ("Gold", "GUY")]
    assert [r for r in rows if (r["material"], r["iso3"]) == ("Bauxite", "GUY")]
    (record,) = data.records
    assert record.licence == "not stated by the source"
    assert record.rows_read - record.rows_refused == data.table.num_rows
    assert record.rows_refused == 392 + 14
    assert any("Gold of GUY in 7 years (French Guiana and Guyana)" in note for note in data.notes)
    gold = next(r for r in rows if r["material"] == "Gold" and r["quantity"])
    assert gold["unit"] == "kg"
    assert gold["quantity_tonnes"] == gold["quantity"] / 1000
    gas = next(r for r in rows if r["material"] == "Natural Gas")
    assert gas["quantity_tonnes"] is None


def test_the_sample_is_a_selection_of_the_development_data() -> None:
    with shared_data("wmd/world_mining_data_2018_2024.csv").open(newline="") as stream:
        theirs = list(csv.reader(stream))
    with next((embedded("sample") / "mining").glob("*.csv")).open(newline="") as stream:
        mine = list(csv.reader(stream))
    kept = {row[0] for row in mine}
    assert mine == [row for row in theirs if row[0] in kept]
    assert len(kept) - 1 == 56


def test_totals_nulls_and_units(drop: Drop) -> None:
    drop.baci()
    drop.put(
        "mining/m.csv",
        HEAD + "X,China,156,CHN,metr. t,r,2022,60\nX,Chile,152,CHL,metr. t,r,2022,\n"
        "X,Total,DELETE,DELETE,metr. "
        "t,r,2022,99\nY,China,156,CHN,kg,r,2022,1500\nZ,China,156,CHN,ct,r,2022,5\n",
    )
    data = read_mining(drop.inventory())
    assert [(r["material"], r["iso3"], r["quantity"], r["quantity_tonnes"]) for r in data.table.to_pylist()] == [
        ("X", "CHL", None, None),
        ("X", "CHN", 60.0, 60.0),
        ("Y", "CHN", 1500.0, 1.5),
        ("Z", "CHN", 5.0, None),
    ]
    assert data.notes == ("mining/m.csv: 1 total rows are no countries",)


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ("X,China,156,CHN,metr. t,r,2022,-1\n", "line 2: the production -1 of China is negative"),
        ("X,China,156,CHN,metr. t,r,2022,some\n", "line 2: the production 'some' is no number"),
        ("X,China,156,CHN,metr. t,r,22,1\n", "'22' is no year"),
        ("X,China,156,CHN,metr. t,r,2022,1\nX,Chile,152,CHL,kg,r,2022,1\n", "X stands in two units"),
        ("X,China,156,CHN\n", "4 fields where the header has 8"),
    ],
)
def test_bad_rows_are_refused(drop: Drop, rows: str, sentence: str) -> None:
    drop.baci()
    drop.put("mining/m.csv", HEAD + rows)
    with pytest.raises(InputRefused, match=sentence):
        read_mining(drop.inventory())


def test_a_missing_column_is_refused(drop: Drop) -> None:
    drop.baci()
    drop.put("mining/m.csv", "commodity,Country\nX,China\n")
    with pytest.raises(InputRefused, match="column 'Country_ISO' is missing"):
        read_mining(drop.inventory())
