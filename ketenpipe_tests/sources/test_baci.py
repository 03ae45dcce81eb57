"""BACI: native files read exactly, and every bad file refused in one sentence."""

from __future__ import annotations

import gzip
import random
from collections import defaultdict
from collections.abc import Collection, Iterator
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ketenpipe.errors import InputRefused
from ketenpipe.sources import baci
from ketenpipe.sources.baci import (
    FLOW_SCHEMA,
    known_codes,
    list_years,
    product_codes,
    read_year,
    read_year_batches,
    read_year_recorded,
)
from ketenpipe.sources.countries import country_list
from ketenpipe.sources.places import discover, embedded
from ketenpipe.tables.registry import BACI_FLOWS
from ketenpipe.tables.store import Store
from ketenpipe.tables.stream import Stream
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
    "absurd v": (["2022,528,842,010121,1e18,1"], r"line 2: the value v is absurdly large \(1e18\)"),
    "infinite v": (["2022,528,842,010121,inf,1"], r"line 2: column 'v' holds 'inf', which is no number"),
    "huge country": (["2022,70000000000,842,010121,1,1"], r"unknown country code 70000000000"),
    "huge year": (["99999999999,528,842,010121,1,1"], r"the row is of 99999999999 in a file of 2022"),
    "empty year": ([",528,842,010121,1,1"], r"line 2: column 't' holds '', which is no year"),
    "empty country": (["2022,,842,010121,1,1"], r"column 'i' holds an empty cell"),
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


def many_rows(n: int = 5000) -> str:
    """A year that fills more than one block of the reader when there are enough rows."""
    return "\n".join([HEADER, *(f"2022,528,842,{k:06d},{k}.{k % 997:03d},{k}" for k in range(n))]) + "\n"


def test_batches_are_row_groups_in_key_order_and_make_up_the_table(drop: Drop, monkeypatch: pytest.MonkeyPatch) -> None:
    random.seed(2)
    keys = {(random.choice((56, 58, 528, 842)), random.choice((251, 699)), random.randrange(40)) for _ in range(250)}
    drop.baci(*(f"2022,{i},{j},{k:06d},{n}.5,{n}" for n, (i, j, k) in enumerate(keys)))
    (year,) = list_years(drop.inventory())
    countries = country_list(drop.inventory(), year.release)
    table, record = read_year_recorded(year, countries)
    monkeypatch.setattr(baci, "ROW_GROUP", 7)
    batches, again = read_year_batches(year, countries)
    held = list(batches)
    assert again == record
    assert {b.num_rows for b in held[:-1]} == {7}
    assert 0 < held[-1].num_rows <= 7
    assert pa.Table.from_batches(held).cast(FLOW_SCHEMA).equals(table)
    order = list(zip(*(table[c].to_pylist() for c in ("code", "importer", "exporter")), strict=True))
    assert order == sorted(set(order))


def amounts(digits: int) -> st.SearchStrategy[str]:
    """Numbers as text, with up to so many decimals, blanks before and behind."""
    number = st.decimals(min_value=0, max_value=10**9, places=digits, allow_nan=False, allow_infinity=False)
    return st.builds(lambda n, before, after: " " * before + f"{n:f}" + " " * after, number, *[st.integers(0, 4)] * 2)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 6).flatmap(lambda digits: st.lists(amounts(digits), min_size=1, max_size=20)), st.booleans())
def test_values_are_rounded_as_decimals_are(drop: Drop, values: list[str], large: bool) -> None:
    # A value beyond what a double holds to a thousandth sends the whole file through the reading as text.
    shown = [*values, "100000000000.001"] if large else values
    drop.baci(*(f"2022,528,842,{k:06d},{v},{v}" for k, v in enumerate(shown)))
    table = read(drop)
    exact = [Decimal(v.strip()).quantize(Decimal("0.001"), ROUND_HALF_EVEN) for v in shown]
    assert table["value_kusd"].to_pylist() == exact
    assert tonnes(table) == [float(v) for v in shown]


def test_halves_are_rounded_to_even_and_near_halves_are_not_halves(drop: Drop) -> None:
    texts = ["0.0005", "0.0015", "0.0025", "0.00250001", "99999999999.9995", "8589934592.0005", "1.00049999"]
    drop.baci(*(f"2022,528,842,{k:06d},{v},1" for k, v in enumerate(texts)))
    assert [str(v) for v in read(drop)["value_kusd"].to_pylist()] == [
        "0.000", "0.002", "0.002", "0.003", "100000000000.000", "8589934592.000", "1.000",
    ]  # fmt: skip


def test_missing_quantities_in_every_dress(drop: Drop) -> None:
    dress = ["", "   ", "NA", "      NA", "NaN", "nan", "N/A", "NULL", '"NA"', "  null", "3", "   4.5 "]
    drop.baci(*(f"2022,528,842,{k:06d},1,{q}" for k, q in enumerate(dress)))
    assert read(drop)["tonnes"].to_pylist() == [None] * 10 + [3.0, 4.5]


def test_a_bad_row_far_into_the_file_is_named_by_its_line(drop: Drop) -> None:
    lines = many_rows(120_000).splitlines()
    lines[100_000] = lines[100_000].replace("2022,528", "2022,997")
    drop.zip("baci/BACI_HS17_V202401b.zip", {"BACI_HS17_Y2022_V202401b.csv": "\n".join(lines)})
    with pytest.raises(InputRefused, match=r"unknown country code 997 \(1 rows, first in line 100001\)"):
        read(drop)
    lines[100_000] = lines[99_998]
    drop.zip("baci/BACI_HS17_V202401b.zip", {"BACI_HS17_Y2022_V202401b.csv": "\n".join(lines)})
    with pytest.raises(InputRefused, match="k=099997 stands twice, in line 99999 and line 100001"):
        read(drop)


@pytest.mark.parametrize("damage", ["cut", "flipped", "checksum"])
def test_a_broken_entry_reaches_no_table(drop: Drop, tmp_path: Path, damage: str) -> None:
    archive = drop.zip("baci/BACI_HS17_V202401b.zip", {"BACI_HS17_Y2022_V202401b.csv": many_rows(200_000)})
    (year,) = list_years(drop.inventory())
    countries, store = country_list(drop.inventory(), year.release), Store(tmp_path / "home")
    path = store.write_stream(BACI_FLOWS, Stream(read_year_batches(year, countries)[0]), "2022")
    old = path.read_bytes()
    raw = bytearray(archive.read_bytes())
    if damage == "checksum":
        # The CRC-32 stands in the entry's own header and in the directory; the reader goes by the directory.
        at = raw.rindex(b"PK\x01\x02") + 16
        raw[at] ^= 0xFF
    elif damage == "flipped":
        raw[len(raw) // 2] ^= 0xFF
    else:
        # The data are cut short within the zip, the directory is whole.
        middle = len(raw) // 2
        raw[middle : middle + 5_000] = b"\0" * 5_000
    archive.write_bytes(bytes(raw))

    def rows() -> Iterator[pa.RecordBatch]:
        yield from read_year_batches(year, countries)[0]

    with pytest.raises(InputRefused, match=r"zip entry BACI_HS17_Y2022.*(damaged|states|CSV).*download it again"):
        store.write_stream(BACI_FLOWS, Stream(rows()), "2022")
    assert path.read_bytes() == old
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("revision", ["92", "96", "02", "07", "12", "17", "22"])
def test_every_hs_revision_and_release_is_known_by_its_name(drop: Drop, revision: str) -> None:
    name = f"BACI_HS{revision}_Y2022_V202601"
    drop.zip(f"baci/BACI_HS{revision}_V202601.zip", {f"{name}.csv": "\n".join([HEADER, *ROWS]) + "\n"})
    (year,) = list_years(drop.inventory())
    assert (year.hs_revision, year.year, year.release) == (f"HS{revision}", 2022, "V202601")
    table = read_year(year, country_list(drop.inventory()))
    assert set(table["hs_revision"].to_pylist()) == {f"HS{revision}"}
    assert set(table["release"].to_pylist()) == {"V202601"}


def test_a_country_code_of_many_digits_is_looked_up_too(drop: Drop) -> None:
    drop.baci("2022,528,12345678901,010121,1,1", "2022,528,842,010121,2,2")
    drop.put(
        "baci/country_codes_V202401b.csv",
        "country_code,country_name,country_iso2,country_iso3\n528,N,NL,NLD\n842,U,US,USA\n12345678901,X,AB,ABW\n",
    )
    assert [(r["importer"], r["value_kusd"]) for r in read(drop).to_pylist()] == [("ABW", 1), ("USA", 2)]


def test_more_rows_than_a_key_can_number_are_refused(drop: Drop, monkeypatch: pytest.MonkeyPatch) -> None:
    drop.put("baci/BACI_HS17_Y2022_V202401b.csv", many_rows(40))
    (year,) = list_years(drop.inventory())
    monkeypatch.setattr(baci, "_CODE_BITS", 41)
    with pytest.raises(InputRefused, match="more than 32 rows"):
        read_year(year, country_list(drop.inventory(), year.release))


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
