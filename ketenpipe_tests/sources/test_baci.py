"""BACI: native files read exactly, and every bad file refused in one sentence."""

from __future__ import annotations

import gzip
import random
from collections import defaultdict
from collections.abc import Collection
from decimal import Decimal
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from ketenpipe.errors import InputRefused
from ketenpipe.sources.baci import (
    FLOW_SCHEMA,
    known_codes,
    list_years,
    product_codes,
    read_year,
    read_year_recorded,
)
from ketenpipe.sources.countries import country_list
from ketenpipe.sources.places import discover, embedded
from ketenpipe_tests.shared_data import shared_data
from ketenpipe_tests.sources.conftest import HEADER, ROWS, Drop


def read(drop: Drop, codes: Collection[str] | None = None) -> pa.Table:
    inventory = drop.inventory()
    (year,) = list_years(inventory)
    return read_year(year, country_list(inventory, year.release), codes)


def tonnes(table: pa.Table) -> list[float]:
    return table["tonnes"].fill_null(float("nan")).to_pylist()


def test_blanks_zeros_missing_quantities_and_taiwan(drop: Drop) -> None:
    drop.baci()
    table = read(drop)
    assert table.schema == FLOW_SCHEMA
    rows = table.to_pylist()
    assert [(r["code"], r["importer"], r["exporter"]) for r in rows] == [
        ("010121", "NLD", "BEL"),
        ("010121", "USA", "NLD"),
        ("854143", "NLD", "TWN"),
    ]
    assert [r["value_kusd"] for r in rows] == [Decimal("7.000"), Decimal("12.500"), Decimal("1000.001")]
    assert [r["tonnes"] for r in rows] == [None, 3.1, None]
    assert {(r["hs_revision"], r["year"], r["release"]) for r in rows} == {("HS17", 2022, "V202401b")}


def test_plain_gzip_and_zip_read_the_same(tmp_path: Path) -> None:
    content = "\n".join([HEADER, *ROWS]) + "\n"
    tables = []
    for n, kind in enumerate(("plain", "gzip", "zip")):
        drop = Drop(tmp_path / str(n))
        if kind == "zip":
            drop.zip("baci/BACI_HS17_V202401b.zip", {"x/BACI_HS17_Y2022_V202401b.csv": content})
        else:
            drop.put(f"baci/BACI_HS17_Y2022_V202401b.csv{'.gz' if kind == 'gzip' else ''}", content)
        tables.append(read(drop))
    assert tables[0].equals(tables[1])
    assert tables[0].equals(tables[2])


def test_windows_line_ends_quotes_bom_and_other_column_order(drop: Drop) -> None:
    drop.put(
        "baci/BACI_HS17_Y2022_V202401b.csv",
        b'\xef\xbb\xbf"t","i","j","k","q","v"\r\n"2022","528","842","010121","1","2"\r\n',
    )
    (row,) = read(drop).to_pylist()
    assert (row["code"], row["value_kusd"], row["tonnes"]) == ("010121", Decimal("2.000"), 1.0)


def test_two_codes_of_one_country_are_summed_exactly_and_self_flows_counted(drop: Drop) -> None:
    drop.baci(
        "2022,56,528,010121,0.1,1",
        "2022,58,528,010121,0.2,",
        "2022,56,58,010121,5,5",
        "2022,528,56,010121,9007199254740.993,2",
        "2022,528,58,010121,0.001,2",
    )
    inventory = drop.inventory()
    (year,) = list_years(inventory)
    table, record = read_year_recorded(year, country_list(inventory), None)
    rows = [(r["exporter"], r["importer"], r["value_kusd"], r["tonnes"]) for r in table.to_pylist()]
    assert rows == [
        ("NLD", "BEL", Decimal("9007199254740.994"), 4.0),
        ("BEL", "NLD", Decimal("0.300"), 1.0),
    ]
    assert (record.rows_read, record.rows_refused) == (5, 1)
    assert record.reason is not None
    assert "1 flows of a country with itself" in record.reason
    assert "2 rows were summed" in record.reason


def test_more_decimals_and_exponents_are_numbers(drop: Drop) -> None:
    drop.baci("2022,528,842,010121,1.23456,1e-3", "2022,842,528,010121,1e3,2")
    assert [r["value_kusd"] for r in read(drop).to_pylist()] == [Decimal("1000.000"), Decimal("1.235")]


def test_it_agrees_with_duckdb_on_a_random_file(drop: Drop) -> None:
    random.seed(1)
    pick = {
        (random.choice((528, 842, 156, 276)), random.choice((56, 251, 699)), random.randrange(9000))
        for _ in range(4000)
    }
    rows = [f"2022,{i},{j},{k:06d},{random.random() * 100:10.3f},{random.random():.3f}" for i, j, k in pick]
    path = drop.baci(*rows)
    got = read(drop)
    with duckdb.connect() as connection:
        connection.register("got", got)
        want = connection.execute(
            f"select count(*), sum(trim(v)::decimal(18,3)) from read_csv('{path}', all_varchar=true)"
        ).fetchall()
        mine = connection.execute("select count(*), sum(value_kusd) from got").fetchall()
    assert mine == want
    keys = list(zip(*(got[c].to_pylist() for c in ("code", "importer", "exporter")), strict=True))
    assert keys == sorted(keys)


REFUSED: dict[str, tuple[list[str], str]] = {
    "text in v": (["2022,528,842,010121,abc,1"], r"line 2: column 'v' holds 'abc', which is no number"),
    "empty v": (["2022,528,842,010121,,1"], r"line 2: column 'v' is empty"),
    "nan in v": (["2022,528,842,010121,nan,1"], r"column 'v' holds 'nan'"),
    "text in q": (
        ["2022,528,842,010121,1,2", "2022,842,528,010121,1,many"],
        r"line 3: column 'q' holds "
        "'many'",
    ),
    "inf in q": (["2022,528,842,010121,1,inf"], r"line 2: column 'q' holds 'inf'|not finite"),
    "text in i": (
        ["2022,NLD,842,010121,1,1"],
        r"line 2: column 'i' holds 'NLD' where a numeric country "
        "code",
    ),
    "unknown country": (
        ["2022,528,842,010121,1,1", "2022,999,842,010121,1,1", "2022,999,528,010121,1,1"],
        r"unknown country code 999 \(2 rows, first in line 3\)",
    ),
    "twice": (
        ["2022,528,842,010121,1,1", "2022,842,528,010121,1,1", "2022,528,842,010121,2,1"],
        r"key t=2022, i=528, j=842, k=010121 stands twice, in line 2 and line 4",
    ),
    "negative v": (["2022,528,842,010121,-1,1"], r"line 2: the value v is negative \(-1\)"),
    "negative q": (["2022,528,842,010121,1,-0.5"], r"line 2: the quantity q is negative \(-0.5\)"),
    "other year": (["2021,528,842,010121,1,1"], r"line 2: the row is of 2021 in a file of 2022"),
    "lost zeros": (
        ["2022,528,842,10121,1,1"],
        r"'10121' has 5 characters instead of 6: leading zeros were "
        "lost",
    ),
    "no code": (["2022,528,842,0101.2,1,1"], r"'0101.2' is no six-digit product code"),
    "cut row": (["2022,528,842,010121,1,1", "2022,528,84"], r"not readable as CSV.*download it again"),
    "other revision": (
        ["2022,528,842,854143,1,1"],
        r"1 product codes \(854143; 1 rows\) are not in the HS17 "
        "product",
    ),
}


@pytest.mark.parametrize("case", REFUSED, ids=lambda c: c.replace(" ", "-"))
def test_bad_rows_are_refused_by_name(drop: Drop, case: str) -> None:
    rows, sentence = REFUSED[case]
    path = drop.baci(*rows)
    with pytest.raises(InputRefused, match=sentence) as caught:
        read(drop, ["010121"])
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_column_an_empty_year_and_an_empty_file_are_refused(drop: Drop) -> None:
    drop.baci("2022,528,842,010121,1", header="t,i,j,k,v")
    with pytest.raises(InputRefused, match=r"column 'q' is missing \(found: t, i, j, k, v\)"):
        read(drop)
    path = drop.baci()
    path.write_text(HEADER + "\n")
    with pytest.raises(InputRefused, match="an empty year"):
        read(drop)
    path.write_text("")
    with pytest.raises(InputRefused, match="the file is empty"):
        read(drop)


@pytest.mark.parametrize("keep", [30, 200, 4000])
def test_truncated_zip_and_gzip_are_refused(drop: Drop, keep: int) -> None:
    rows = "\n".join([HEADER, *(f"2022,528,842,{k:06d},{k}.{k % 997:03d},{k}" for k in range(5000))]) + "\n"
    packed = drop.put("baci/BACI_HS17_Y2022_V202401b.csv.gz", gzip.compress(rows.encode()))
    packed.write_bytes(packed.read_bytes()[:keep])
    with pytest.raises(InputRefused, match="truncated or damaged"):
        read(drop)
    packed.unlink()
    archive = drop.zip("baci/BACI_HS17_V202401b.zip", {"BACI_HS17_Y2022_V202401b.csv": rows})
    archive.write_bytes(archive.read_bytes()[:keep])
    with pytest.raises(InputRefused, match="truncated or damaged"):
        read(drop)


def test_a_damaged_byte_inside_a_zip_is_refused(drop: Drop) -> None:
    rows = "\n".join([HEADER, *(f"2022,528,842,{k:06d},{k}.{k % 997:03d},{k}" for k in range(5000))]) + "\n"
    archive = drop.zip("baci/BACI_HS17_V202401b.zip", {"BACI_HS17_Y2022_V202401b.csv": rows})
    raw = bytearray(archive.read_bytes())
    raw[3000] ^= 0xFF
    archive.write_bytes(bytes(raw))
    with pytest.raises(InputRefused, match=r"zip entry BACI_HS17_Y2022"):
        read(drop)


def test_two_releases_or_one_year_twice_are_refused(drop: Drop) -> None:
    drop.baci()
    drop.baci(name="BACI_HS17_Y2021_V202301.csv")
    with pytest.raises(InputRefused, match=r"two BACI releases of HS17.*Y2021_V202301.csv.*Y2022_V202401b.csv"):
        list_years(drop.inventory())
    (drop.root / "baci/BACI_HS17_Y2021_V202301.csv").unlink()
    drop.baci(name="BACI_HS17_Y2022_V202401b.csv.gz")
    with pytest.raises(InputRefused, match="HS17 2022 stands twice"):
        list_years(drop.inventory())


def test_two_revisions_may_lie_side_by_side(drop: Drop) -> None:
    drop.baci()
    drop.baci(name="BACI_HS92_Y2022_V202301.csv")
    assert [(y.hs_revision, y.release) for y in list_years(drop.inventory())] == [
        ("HS17", "V202401b"),
        ("HS92", "V202301"),
    ]


def test_code_lists_are_padded_and_flows_are_not(drop: Drop) -> None:
    drop.baci()
    drop.put("baci/product_codes_HS17_V202401b.csv", '"code","description"\n"10121","Horses"\n"9999AA","none"\n')
    assert product_codes(drop.inventory(), "HS17") == {"010121": "Horses"}
    known = known_codes(drop.inventory(), "HS17")
    assert known is not None
    assert {"010121", "850760"} <= known
    assert known_codes(drop.inventory(), "HS07") is None


def test_a_file_of_another_revision_is_caught_without_a_list_in_the_folder(drop: Drop) -> None:
    drop.baci("2022,528,842,850760,1,1", name="BACI_HS92_Y2022_V202401b.csv")
    with pytest.raises(InputRefused, match="another HS revision"):
        read(drop, known_codes(drop.inventory(), "HS92"))


def test_the_sample_has_71_codes_in_every_year() -> None:
    inventory = discover(embedded("sample"))
    assert len(product_codes(inventory, "HS92")) == 71
    for year in list_years(inventory):
        table = read_year(year, country_list(inventory, year.release), known_codes(inventory, "HS92"))
        assert len(set(table["code"].to_pylist())) == 71
        assert "TWN" in set(table["exporter"].to_pylist())


def test_the_sample_equals_the_development_data() -> None:
    mine = discover(embedded("sample"))
    theirs = discover(shared_data("baci").parent)
    for a, b in zip(list_years(mine), list_years(theirs), strict=True):
        one, two = read_year(a, country_list(mine)), read_year(b, country_list(theirs))
        assert one.drop_columns("tonnes").equals(two.drop_columns("tonnes"))
        # A few quantities in the package read 1.2510000000000001 where the copy has 1.251.
        assert np.allclose(tonnes(one), tonnes(two), rtol=1e-14, atol=0, equal_nan=True)


def test_it_agrees_with_a_plain_recomputation_on_real_rows() -> None:
    inventory = discover(embedded("sample"))
    year = list_years(inventory)[-1]
    table = read_year(year, country_list(inventory))
    sums: dict[str, Decimal] = defaultdict(Decimal)
    with gzip.open(year.path, "rt") as stream:
        next(stream)
        for line in stream:
            _, _, j, k, v, _ = line.rstrip("\n").split(",")
            if j == "528":
                sums[k] += Decimal(v)
    with duckdb.connect() as connection:
        connection.register("flows", table)
        got = connection.execute(
            "select code, sum(value_kusd) from flows where importer = 'NLD' group by code"
        ).fetchall()
    assert dict(got) == dict(sums)
