"""Input-output tables: every layout from configuration, folded, balanced, or refused."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest

from ketenpipe.errors import InputRefused
from ketenpipe.sources.icio import IcioTable, list_tables, read_table, split_label, year_in
from ketenpipe.sources.places import discover, embedded
from ketenpipe.sources.synthetic_icio import IDLE, make, to_csv
from ketenpipe_tests.shared_data import shared_data
from ketenpipe_tests.sources.conftest import Drop

SMALL = (
    "V1,CHN_A01_02,CHN_C10T12,CN1_A01_02,CN1_C10T12,NLD_A01_02,NLD_C10T12,CHN_HFCE,CHN_INVNT,NLD_HFCE,NLD_INVNT,OUT\n"
    "CHN_A01_02,1,2,3,4,5,6,7,-1,1,0,28\n"
    "CHN_C10T12,1,1,1,1,1,1,1,1,1,1,10\n"
    "CN1_A01_02,1,0,0,0,0,2,1,1,1,1,7\n"
    "CN1_C10T12,0,0,0,0,0,0,0,0,0,0,0\n"
    "NLD_A01_02,0,0,0,0,9,1,1,1,1,1,14\n"
    "NLD_C10T12,1,1,1,1,1,1,1,1,1,1,10\n"
    "TLS,1,1,1,0,1,1,0,0,0,0,5\n"
    "VA,23,5,1,-6,-3,-2,0,0,0,0,18\n"
    "OUT,28,10,7,0,14,10,0,0,0,0,69\n"
)


def one(drop: Drop) -> IcioTable:
    drop.baci()
    (file,) = list_tables(drop.inventory())
    return read_table(file)


def test_labels_split_on_the_first_underscore() -> None:
    assert split_label("NLD_C17_18") == ("NLD", "C17_18")


@pytest.mark.parametrize(
    ("name", "year"),
    [
        ("ICIO2021_2018.csv", 2018),
        ("2022_SML.csv", 2022),
        ("2022_SML_SYNTHETIC.csv.gz", 2022),
        ("WIOD13_2008_icio_layout.csv.gz", 2008),
        ("ICIO2018_2010.CSV", 2010),
        ("ICIO.csv", None),
    ],
)
def test_the_year_comes_from_the_name(name: str, year: int | None) -> None:
    assert year_in(name) == year


def test_the_synthetic_table_balances_and_says_what_it_is() -> None:
    (file,) = list_tables(discover(embedded("sample")))
    table = read_table(file)
    assert table.synthetic
    assert table.edition == "OECD ICIO 2025"
    assert (table.year, table.Z.shape, table.Y.shape) == (2022, (400, 400), (400, 48))
    assert max(table.imbalance()) < 1e-6
    idle = [label in IDLE for label in table.labels]
    assert (table.OUT[idle] == 0).all()
    assert (table.OUT[np.logical_not(idle)] > 0).all()
    assert (table.VA >= 0).all()
    assert (table.Z >= 0).all()
    assert (table.Y < 0).any()
    assert ("NLD", "C17_18") in table.labels
    assert "synthetic" in table.vintage


def test_the_generator_is_exact_and_repeats_itself() -> None:
    made = make()
    assert (made.Z.sum(axis=1) + made.Y.sum(axis=1) == made.OUT).all()
    assert (made.Z.sum(axis=0) + made.TLS + made.VA == made.OUT).all()
    (file,) = discover(embedded("sample")).of("icio")
    assert gzip.decompress(file.path.read_bytes()) == to_csv(made)
    assert not np.array_equal(make(1).Z, made.Z)


def test_split_countries_are_folded_in_rows_and_columns(drop: Drop) -> None:
    drop.put("icio/2019_SML.csv", SMALL)
    table = one(drop)
    assert table.labels == (("CHN", "A01_02"), ("CHN", "C10T12"), ("NLD", "A01_02"), ("NLD", "C10T12"))
    assert table.Z[0].tolist() == [1 + 3 + 1 + 0, 2 + 4 + 0 + 0, 5 + 0, 6 + 2]
    assert table.OUT.tolist() == [35, 10, 14, 10]
    assert table.TLS.tolist() == [2, 1, 1, 1]
    assert table.VA.tolist() == [24, -1, -3, -2]
    assert table.final_labels == (("CHN", "HFCE"), ("CHN", "INVNT"), ("NLD", "HFCE"), ("NLD", "INVNT"))
    assert table.Y[0].tolist() == [8, 0, 2, 1]
    assert table.edition == "OECD ICIO 2023"
    assert not table.synthetic
    assert table.record.reason is not None


def test_plain_gzip_and_zip_read_the_same(drop: Drop) -> None:
    drop.baci()
    drop.put("icio/2018_SML.CSV", SMALL)
    drop.put("icio/2019_SML.csv.gz", SMALL)
    drop.zip("icio/2020-2021_SML.zip", {"2020_SML.csv": SMALL, "2021_SML.csv": SMALL})
    files = list_tables(drop.inventory())
    assert [f.year for f in files] == [2018, 2019, 2020, 2021]
    tables = [read_table(f) for f in files]
    for table in tables[1:]:
        assert np.array_equal(table.Z, tables[0].Z)


def test_a_new_edition_is_a_row_of_configuration(drop: Drop) -> None:
    drop.put("icio/2030_new.csv", SMALL.replace("VA,", "GVA,").replace("HFCE", "FD1").replace("INVNT", "FD2"))
    with pytest.raises(InputRefused, match=r"no known layout fits.*icio_layouts.json"):
        one(drop)
    row = {
        "edition": "ICIO 2030",
        "total_column": "OUT",
        "final_demand": ["FD1", "FD2"],
        "va_row": "GVA",
        "tls_row": "TLS",
        "out_row": "OUT",
        "fold": {"CN1": "CHN"},
    }
    drop.put("icio/icio_layouts.json", json.dumps({"layouts": [row]}))
    assert one(drop).edition == "ICIO 2030"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (SMALL.replace("CHN_C10T12,1,1,1", "CHN_C10T12,1,x,1"), r"column 'CHN_C10T12' holds 'x'"),
        (SMALL.replace("CHN_C10T12,1,1,1", "CHN_C10T12,1,,1"), r"row 'CHN_C10T12' and column 'CHN_C10T12' is empty"),
        (SMALL.replace("CHN_C10T12,1,1,1", "CHN_C10T12,1,nan,1"), "no finite number"),
        ("\n".join(SMALL.splitlines()[:6]) + "\n", r"the row 'VA' is missing after 5 rows"),
        (SMALL[:-30], r"a row has \d+ fields where the header has 12"),
        (SMALL.replace("NLD_C10T12,1,1", "NLD_C13T15,1,1"), r"6 industry rows do not match 6 industry columns"),
        (SMALL.replace("CN1_C10T12,0", "CN1_A01_02,0"), r"the row 'CN1_A01_02' stands twice"),
        ("a,b\n1,2\n", "2 columns make no input-output table"),
    ],
)
def test_bad_tables_are_refused(drop: Drop, content: str, sentence: str) -> None:
    drop.put("icio/2019_SML.csv", content)
    with pytest.raises(InputRefused, match=sentence) as caught:
        one(drop)
    assert "\n" not in str(caught.value)


def test_a_truncated_gzip_and_a_name_without_a_year_are_refused(drop: Drop) -> None:
    drop.put("icio/2019_SML.csv.gz", gzip.compress(SMALL.encode())[:120])
    with pytest.raises(InputRefused, match="truncated or damaged"):
        one(drop)
    (drop.root / "icio/2019_SML.csv.gz").unlink()
    drop.put("icio/SML.csv", SMALL)
    with pytest.raises(InputRefused, match="states no year"):
        one(drop)


def test_wiod_in_icio_layout() -> None:
    inventory = discover(shared_data("icio_like").parent)
    tables = {t.path.name: t for t in list_tables(inventory)}
    table = read_table(tables["WIOD13_2008_icio_layout.csv.gz"])
    assert (table.Z.shape, table.Y.shape) == ((1435, 1435), (1435, 205))
    assert not table.has_tls
    assert (table.TLS == 0).all()
    assert {"ROU", "ROW"} <= set(table.countries)
    assert table.imbalance()[1] == 0.0
    assert table.imbalance()[0] <= 110  # the file is in whole million USD
    assert "Timmer" in (table.record.citation or "")


def test_the_2018_layout() -> None:
    shared_data("icio_like/ICIO2018_2010.CSV")
    inventory = discover(shared_data("icio_like").parent)
    table = read_table(next(t for t in list_tables(inventory) if t.path.name == "ICIO2018_2010.CSV"))
    assert table.edition == "OECD ICIO 2018"
    assert table.has_tls
    assert table.countries == ("AUS", "BEL", "MEX", "BRA", "COL")
    assert table.imbalance()[1] < 1e-6
