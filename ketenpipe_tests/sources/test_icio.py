"""Input-output tables: every layout from configuration, folded, balanced, or refused."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pymrio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ketenpipe.errors import InputRefused
from ketenpipe.sources.icio import IcioTable, list_tables, read_table, split_label, survey, year_in
from ketenpipe.sources.places import discover, embedded
from ketenpipe.sources.synthetic_icio import IDLE, make, to_csv
from ketenpipe_tests.shared_data import shared_data
from ketenpipe_tests.sources.conftest import Drop
from ketenpipe_tests.sources.icio_worlds import FINAL, INDUSTRIES, MICRO, World, extend, make_world, write_csv

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


# ---------------------------------------------------------------- every layout, whole and small


def table_of(drop: Drop, name: str, content: bytes) -> IcioTable:
    drop.put(f"icio/{name}", content)
    drop.baci()
    (file,) = list_tables(drop.inventory())
    return read_table(file)


EDITIONS = {
    "2018": "OECD ICIO 2018",
    "2021": "OECD ICIO 2021",
    "2023": "OECD ICIO 2023",
    "2025": "OECD ICIO 2025",
    "wiod": "WIOD 2013 in ICIO layout",
}


def small_world(layout: str, seed: int = 1) -> World:
    return make_world(
        ["CHN", "DEU", "MEX", "NLD", "ROW"], INDUSTRIES[layout], FINAL[layout], seed=seed, taxes=layout != "wiod"
    )


@pytest.mark.parametrize("shuffled", [None, 7])
@pytest.mark.parametrize("layout", list(EDITIONS))
def test_every_layout_reads_back_as_it_was_written(drop: Drop, layout: str, shuffled: int | None) -> None:
    world = small_world(layout)
    table = table_of(drop, "2019_x.csv", write_csv(world, layout, seed=shuffled))
    assert table.edition == EDITIONS[layout]
    assert table.has_tls == (layout != "wiod")
    at = [world.labels.index(label) for label in table.labels]
    final_at = [world.final_labels.index(label) for label in table.final_labels]
    assert sorted(at) == list(range(len(world.labels)))
    assert sorted(final_at) == list(range(len(world.final_labels)))
    np.testing.assert_allclose(table.Z * MICRO, world.Z[np.ix_(at, at)], rtol=1e-14)
    np.testing.assert_allclose(table.Y * MICRO, world.Y[np.ix_(at, final_at)], rtol=1e-14)
    for read, made in ((table.VA, world.VA), (table.OUT, world.OUT), (table.TLS, world.TLS)):
        np.testing.assert_allclose(read * MICRO, made[at], rtol=1e-12)
    assert table.out_column is not None
    np.testing.assert_array_equal(table.out_column, table.OUT)
    assert max(table.imbalance()) < 1e-6


@pytest.mark.parametrize("layout", ["2018", "2021", "2023", "2025"])
def test_the_extended_table_folds_into_the_plain_one(drop: Drop, layout: str) -> None:
    world = small_world(layout)
    wide = extend(world)
    assert len(wide.labels) == len(world.labels) + 4 * len(INDUSTRIES[layout])
    plain = table_of(drop, "2019_x.csv", write_csv(world, layout))
    folded = table_of(drop, "2019_x.csv", write_csv(wide, layout, seed=3))
    at = [folded.labels.index(label) for label in plain.labels]
    final_at = [folded.final_labels.index(label) for label in plain.final_labels]
    assert len(folded.labels) == len(plain.labels)
    np.testing.assert_allclose(folded.Z[np.ix_(at, at)], plain.Z, rtol=1e-10, atol=1e-9)
    np.testing.assert_allclose(folded.Y[np.ix_(at, final_at)], plain.Y, rtol=1e-10, atol=1e-9)
    for name in ("OUT", "VA", "TLS"):
        np.testing.assert_allclose(getattr(folded, name)[at], getattr(plain, name), rtol=1e-10, atol=1e-5)
    assert max(folded.imbalance()) < 1e-6
    assert "CN1, CN2, MX1, MX2" in (folded.record.reason or "")


@given(seed=st.integers(0, 10_000), shuffle=st.integers(0, 10_000))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_folding_and_shuffling_conserve_every_total(drop: Drop, seed: int, shuffle: int) -> None:
    wide = extend(make_world(["CHN", "MEX", "NLD"], ["A01", "B05", "C24A"], FINAL["2025"], seed=seed), seed)
    table = table_of(drop, "2019_x.csv", write_csv(wide, "2025", seed=shuffle))
    for read, made in ((table.Z, wide.Z), (table.Y, wide.Y), (table.OUT, wide.OUT), (table.VA, wide.VA)):
        assert read.sum() * MICRO == pytest.approx(int(made.sum()), rel=1e-12)
    assert set(table.countries) == {"CHN", "MEX", "NLD"}
    assert not (table.Z < 0).any()


def test_pymrio_reads_the_same_figures(tmp_path: Path) -> None:
    world = extend(small_world("2023"))
    path = tmp_path / "ICIO2023_2019.csv"
    write_csv(world, "2023", path)
    theirs = pymrio.parse_oecd(path)
    drop = Drop(tmp_path / "drop")
    ours = table_of(drop, "2019_EXT.csv", path.read_bytes())
    labels = list(ours.labels)
    z = theirs.Z.reindex(index=labels, columns=labels).to_numpy()
    np.testing.assert_allclose(ours.Z, z, rtol=1e-9, atol=1e-9)
    y = theirs.Y.reindex(index=labels, columns=list(ours.final_labels)).to_numpy()
    np.testing.assert_allclose(ours.Y, y, rtol=1e-9, atol=1e-9)
    factors = theirs.factor_inputs.F.reindex(columns=labels)
    np.testing.assert_allclose(ours.VA, factors.loc["VA"].to_numpy().ravel(), rtol=1e-9)
    np.testing.assert_allclose(ours.TLS, factors.loc["TLS"].to_numpy().ravel(), rtol=1e-9)


def test_an_edition_that_is_not_known_says_so(drop: Drop) -> None:
    text = SMALL.replace("A01_02", "A1").replace("C10T12", "C1")
    assert table_of(drop, "2031_SML.csv", text.encode()).edition == "OECD ICIO layout, edition unknown"


def test_empty_cells_are_refused_only_where_they_are_used(drop: Drop) -> None:
    corner = SMALL.replace("VA,23,5,1,-6,-3,-2,0,0,0,0,18", "VA,23,5,1,-6,-3,-2,,,,,").replace(",0,0,0,0,69", ",,,,,")
    assert table_of(drop, "2019_SML.csv", corner.encode()).VA.tolist() == [24, -1, -3, -2]
    gap = SMALL.replace("CHN_C10T12,1,1,1,1,1,1,1,1,1,1,10", "CHN_C10T12,1,1,1,1,1,1,1,1,1,1,")
    assert table_of(drop, "2019_SML.csv", gap.encode()).out_column is None
    for broken, sentence in (
        (SMALL.replace("VA,23", "VA,"), "row 'VA' and column 'CHN_A01_02' is empty"),
        (SMALL.replace("CHN_A01_02,1,2,3,4,5,6,7,-1", "CHN_A01_02,1,2,3,4,5,6,,-1"), "column 'CHN_HFCE' is empty"),
        (SMALL.replace("OUT,28", "OUT,inf"), "row 'OUT' and column 'CHN_A01_02' is no finite number"),
    ):
        with pytest.raises(InputRefused, match=sentence):
            table_of(drop, "2019_SML.csv", broken.encode())


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (SMALL.replace("NLD_HFCE", "NLD_XYZ"), r"'NLD_XYZ' is no industry row.*if 'XYZ' is final demand, add a layout"),
        (SMALL.replace("CHN_A01_02,1,2", "QQQ_A01_02,1,2"), "'CHN_A01_02' is only among the columns"),
        (SMALL.splitlines()[0] + "\n", "a header and no rows"),
        (SMALL.replace(",CN1_C10T12,", ",CN1_A01_02,"), "the column 'CN1_A01_02' stands twice"),
        (SMALL.replace("OUT,28,10,7,0", "OUT,7,3,7,3"), "the industries of CHN are the sums of those of CN1 and CN2"),
    ],
)
def test_tables_that_cannot_be_meant_are_refused(drop: Drop, content: str, sentence: str) -> None:
    with pytest.raises(InputRefused, match=sentence):
        table_of(drop, "2019_SML.csv", content.encode())


# ---------------------------------------------------------------- one table a year


def test_of_one_edition_the_plain_table_goes_before_the_extended_one(drop: Drop) -> None:
    world = small_world("2025")
    drop.baci()
    drop.zip("icio/2016-2022_EXT.zip", {f"{y}_EXT.CSV": write_csv(extend(world), "2025") for y in (2021, 2022)})
    drop.zip("icio/2016-2022_SML.zip", {"2022_SML.csv": write_csv(world, "2025"), "ReadMe.csv": "a,b\n1,2\n"})
    found = survey(drop.inventory())
    assert [(t.year, t.name) for t in found.tables] == [(2021, "2021_EXT.CSV"), (2022, "2022_SML.csv")]
    reasons = {r.path: r.reason for r in found.left_out}
    assert "2022_SML.csv of the same edition is what it folds into" in (
        reasons["icio/2016-2022_EXT.zip!2022_EXT.CSV"] or ""
    )
    assert reasons["icio/2016-2022_SML.zip!ReadMe.csv"] == "the name states no year: not a table"
    assert all(r.rows_read == 0 for r in found.left_out)


def test_two_editions_of_one_year_are_refused_naming_both(drop: Drop) -> None:
    drop.baci()
    drop.put("icio/2019_SML.csv", write_csv(small_world("2025"), "2025"))
    drop.put("icio/ICIO2021_2019.csv", write_csv(small_world("2021"), "2021"))
    with pytest.raises(
        InputRefused, match=r"2019 stands in 2 editions: .*2019_SML\.csv \(OECD ICIO 2025\) and .*2021\)"
    ):
        list_tables(drop.inventory())


def test_the_same_table_twice_counts_once_and_two_different_ones_are_refused(drop: Drop) -> None:
    text = write_csv(small_world("2025"), "2025")
    drop.baci()
    drop.zip("icio/2016-2022_SML.zip", {"2019_SML.csv": text})
    drop.put("icio/2019_SML.csv", text)
    found = survey(drop.inventory())
    assert [t.path.name for t in found.tables] == ["2016-2022_SML.zip"]
    assert [r.reason for r in found.left_out] == ["left out: the same content as 2016-2022_SML.zip!2019_SML.csv"]
    drop.put("icio/2019_SML.csv", write_csv(small_world("2025", seed=2), "2025"))
    with pytest.raises(
        InputRefused, match=r"two different tables of OECD ICIO 2025: .*zip!2019_SML\.csv and .*keep the"
    ):
        list_tables(drop.inventory())


def test_a_real_table_goes_before_a_made_up_one(drop: Drop) -> None:
    drop.baci()
    drop.put("icio/2022_SML_SYNTHETIC.csv", write_csv(small_world("2025"), "2025"))
    drop.put("icio/2022_SML.csv", write_csv(small_world("2023"), "2023"))
    found = survey(drop.inventory())
    assert [t.name for t in found.tables] == ["2022_SML.csv"]
    assert [r.reason for r in found.left_out] == ["left out: made up: 2022_SML.csv is taken"]


def test_a_second_table_of_no_known_layout_is_refused(drop: Drop) -> None:
    drop.baci()
    drop.put("icio/2022_a.csv", SMALL)
    drop.put("icio/2022_b.csv", SMALL.replace("OUT", "SUM"))
    with pytest.raises(InputRefused, match=r"2022_b\.csv: no known layout fits: the last column is 'SUM'"):
        list_tables(drop.inventory())


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"edition": "x"}, "a layout row lacks 'total_column'"),
        ({"regions": "many"}, "a layout row is not readable"),
        ({"audit_limits": {"gdp_gap": "small"}}, "a layout row is not readable"),
    ],
)
def test_a_broken_layout_row_is_refused(drop: Drop, row: dict[str, object], sentence: str) -> None:
    good = {"total_column": "OUT", "final_demand": ["HFCE"], "va_row": "VA", "out_row": "OUT"}
    drop.put("icio/2019_SML.csv", SMALL)
    drop.put(
        "icio/icio_layouts.json",
        json.dumps({"layouts": [row if row == {"edition": "x"} else good | {"edition": "y"} | row]}),
    )
    drop.baci()
    with pytest.raises(InputRefused, match=sentence):
        list_tables(drop.inventory())
