"""Every importer's indicators: worked by hand, properties, a plain NumPy recomputation, Polars, and the focus's own."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import duckdb
import narwhals.stable.v2 as nw
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ketenpipe.chain.engine import Engine
from ketenpipe.chain.flows import as_seen_by, flow_frame
from ketenpipe.risk.direct import direct_indicators
from ketenpipe.risk.importers import build_importers, importer_indicators, rank_by_product
from ketenpipe.sources.baci import known_codes, list_years, read_year
from ketenpipe.sources.countries import country_list
from ketenpipe.sources.places import discover, embedded
from ketenpipe.tables.registry import BACI_FLOWS, IMPORTERS
from ketenpipe.tables.store import Store
from ketenpipe_tests.worlds import Flow, flows, thresholds

COUNTRIES = ("BRA", "CHN", "DEU", "FRA", "NLD", "USA")
UNION = ("DEU", "FRA", "NLD")
EU27 = (
    "AUT", "BEL", "BGR", "CYP", "CZE", "DEU", "DNK", "ESP", "EST", "FIN", "FRA", "GRC", "HRV", "HUN", "IRL", "ITA",
    "LTU", "LUX", "LVA", "MLT", "NLD", "POL", "PRT", "ROU", "SVK", "SVN", "SWE",
)  # fmt: skip
K = "100001"


class PolarsEngine(Engine):
    """The same interface on Polars."""

    def frame(self, name: str, table: pa.Table) -> nw.LazyFrame:
        return nw.from_native(pl.from_arrow(table).lazy())  # type: ignore[union-attr]

    def keep(self, frame: nw.LazyFrame) -> nw.LazyFrame:
        return nw.from_native(frame.to_native().collect().lazy())

    def arrow(self, frame: nw.LazyFrame) -> pa.Table:
        return frame.collect("pyarrow").to_native()


def table_of(rows: list[Flow] | pa.Table, union: tuple[str, ...] = UNION, year: int = 2020, **how: int) -> pa.Table:
    """The year's table, as the store would take it."""
    held = rows if isinstance(rows, pa.Table) else flows(rows)
    with Engine(**how) as engine:
        return _table(engine, held, union, year)


def _table(engine: Engine, held: pa.Table, union: tuple[str, ...], year: int) -> pa.Table:
    base = flow_frame(engine.frame("f", held))
    members = engine.frame("u", pa.table({"country": pa.array(union, pa.string())}))
    made = build_importers(engine, base, members, sorted(set(held.column("hs_revision").to_pylist())), year)
    table = pa.Table.from_batches(list(made.batches), IMPORTERS.schema())
    IMPORTERS.check(table)
    return table


def by_key(table: pa.Table) -> dict[tuple[str, str], dict[str, Any]]:
    return {(r["code"], r["importer"]): r for r in table.to_pylist()}


# -- by hand ---------------------------------------------------------------------------------------------------


WORLD: list[Flow] = [
    (2020, K, "CHN", "NLD", 60, 1),
    (2020, K, "DEU", "NLD", 30, 1),
    (2020, K, "USA", "NLD", 10, None),
    (2020, K, "NLD", "DEU", 50, 1),
    (2020, K, "NLD", "NLD", 999, 1),
    (2020, K, "CHN", "BRA", 40, 1),
    (2020, K, "FRA", "CHN", 10, 1),
    (2019, K, "USA", "BRA", 7, 1),
]


def test_a_product_by_hand() -> None:
    # Exports (re-imports left out): CHN 100, DEU 30, USA 10, NLD 50, FRA 10 = 200.
    # C2 = (10000 + 900 + 100 + 2500 + 100)/40000 = 13600/40000 = .34.
    # NLD buys 60, 30, 10 = 100: C1 = .36 + .09 + .01 = .46; third: CHN 60 + USA 10 -> C5 = .7, C4a = .6; S1 = 100/50.
    # DEU buys 50 from NLD: all from the union. BRA buys 40 from CHN, exports nothing. CHN buys 10 from FRA: S1 = .1.
    held = by_key(table_of(WORLD))
    assert set(held) == {(K, c) for c in ("NLD", "DEU", "BRA", "CHN")}
    dutch = held[K, "NLD"]
    assert (str(dutch["imports_kusd"]), dutch["suppliers"], dutch["top_supplier"]) == ("100.000", 3, "CHN")
    expected = {"top_share": 0.6, "C1": 0.46, "C2": 0.34, "C4a": 0.6, "C5": 0.7, "S1": 2.0}
    assert {n: dutch[n] for n in expected} == pytest.approx(expected, rel=1e-15)
    assert (dutch["C4a_country"], dutch["reason"]) == ("CHN", None)
    german = held[K, "DEU"]
    assert (german["C1"], german["C4a"], german["C4a_country"], german["C5"]) == (1.0, 0.0, None, 0.0)
    assert german["S1"] == pytest.approx(50 / 30)
    brazilian = held[K, "BRA"]
    assert (brazilian["S1"], brazilian["reason"], brazilian["C5"]) == (None, "no_exports", 1.0)
    assert held[K, "CHN"]["S1"] == pytest.approx(0.1)
    # NLD is the only one below the three with one supplier.
    assert {c: held[K, c]["c1_rank"] for c in ("NLD", "DEU", "BRA", "CHN")} == {
        "NLD": 0.0, "DEU": 0.25, "BRA": 0.25, "CHN": 0.25,
    }  # fmt: skip


def test_of_equal_suppliers_the_first_in_the_alphabet_is_named() -> None:
    held = by_key(table_of([(2020, K, c, "DEU", 5, 1) for c in ("USA", "FRA", "CHN")]))[K, "DEU"]
    assert (held["top_supplier"], held["C4a_country"], held["top_share"]) == ("CHN", "CHN", 1 / 3)
    held = by_key(table_of([(2020, K, c, "DEU", 5, 1) for c in ("USA", "FRA", "BEL")]))[K, "DEU"]
    assert (held["top_supplier"], held["C4a_country"]) == ("BEL", "BEL")


def test_a_flow_of_nothing_is_no_supplier_and_no_export() -> None:
    rows = [(2020, K, "CHN", "NLD", 5, 1), (2020, K, "USA", "NLD", 0, 1), (2020, K, "NLD", "USA", 0, 1)]
    held = by_key(table_of(rows))
    assert set(held) == {(K, "NLD")}
    assert (held[K, "NLD"]["suppliers"], held[K, "NLD"]["reason"]) == (1, "no_exports")


def test_the_smallest_and_the_largest_flow_keep_their_last_digit() -> None:
    # One thousandth decides who is first, among flows of more than the world's product.
    rows = [(2020, K, "CHN", "NLD", "999999999999.998", 1), (2020, K, "USA", "NLD", "999999999999.999", 1)]
    held = by_key(table_of(rows))[K, "NLD"]
    assert (held["top_supplier"], str(held["imports_kusd"])) == ("USA", "1999999999999.997")
    assert held["C1"] == pytest.approx(0.5, rel=1e-12)


def test_a_flow_that_no_world_has_is_refused_and_not_wrapped() -> None:
    with pytest.raises(duckdb.Error, match=r"Overflow|out of range"):
        table_of([(2020, K, "CHN", "NLD", "99999999999999.999", 1)])


def test_two_revisions_of_a_year_are_kept_apart() -> None:
    rows = [(2020, K, "CHN", "NLD", 60, 1), (2020, K, "USA", "NLD", 40, 1)]
    other = flows([(2020, K, "CHN", "NLD", 5, 1)])
    other = other.set_column(0, other.schema.field(0), pa.array(["HS17"]))
    found = table_of(pa.concat_tables([flows(rows), other])).to_pylist()
    assert [(r["hs_revision"], r["C1"]) for r in found] == [("HS17", 1.0), ("HS92", pytest.approx(0.52))]


@pytest.mark.parametrize("union", [UNION, ()])
def test_nothing_in_the_year_is_an_empty_table(union: tuple[str, ...]) -> None:
    assert table_of(BACI_FLOWS.empty(), union).num_rows == 0
    assert table_of(WORLD, union, 2018).num_rows == 0
    # Only a country with itself: nobody imports.
    assert table_of([(2020, K, "NLD", "NLD", 5, 1)], union).num_rows == 0


def test_ranks_by_hand() -> None:
    # Of five: .2 has none below, both .3 have one, .5 three, 1 four. Equal to 12 decimals is equal.
    table = pa.table({"code": ["a"] * 5 + ["b"], "C1": [0.3, 1.0, 0.2, 0.3 + 1e-15, 0.5, 0.4]})
    assert rank_by_product(table).tolist() == [0.2, 0.8, 0.0, 0.2, 0.6, 0.0]


# -- what must hold, and NumPy by brute force -------------------------------------------------------------------


@st.composite
def trade(draw: st.DrawFn) -> list[Flow]:
    pairs = draw(
        st.lists(
            st.tuples(st.sampled_from([K, "100002"]), st.sampled_from(COUNTRIES), st.sampled_from(COUNTRIES)),
            min_size=1,
            max_size=40,
            unique=True,
        )
    )
    amounts = st.integers(1, 10**12).map(lambda n: f"{n // 1000}.{n % 1000:03d}")
    return [(2020, k, i, j, draw(amounts), None) for k, i, j in pairs]


def brute(rows: list[Flow], union: tuple[str, ...]) -> dict[tuple[str, str], dict[str, Any]]:
    """The figures from one dense matrix per product."""
    out: dict[tuple[str, str], dict[str, Any]] = {}
    names = sorted({c for r in rows for c in r[2:4]})
    third = np.array([c not in union for c in names])
    for code in sorted({r[1] for r in rows}):
        x = np.zeros((len(names), len(names)))
        for _, k, i, j, v, _ in rows:
            if k == code and i != j:
                x[names.index(i), names.index(j)] += float(v)
        sold, bought = x.sum(axis=1), x.sum(axis=0)
        if not bought.any():
            continue
        own = {j: ((x[:, n] / bought[n]) ** 2).sum() for n, j in enumerate(names) if bought[n]}
        for n, j in enumerate(names):
            if not bought[n]:
                continue
            mix = x[:, n] / bought[n]
            outside = np.where(third, mix, 0.0)
            out[code, j] = {
                "imports_kusd": bought[n],
                "suppliers": int((x[:, n] > 0).sum()),
                "top_supplier": names[int(np.argmax(mix))],
                "top_share": mix.max(),
                "C1": own[j],
                "C2": ((sold / sold.sum()) ** 2).sum(),
                "C4a": outside.max(),
                "C4a_country": names[int(np.argmax(outside))] if outside.any() else None,
                "C5": outside.sum(),
                "S1": bought[n] / sold[n] if sold[n] else None,
                "c1_rank": np.mean([c < own[j] - 1e-12 for c in own.values()]),
                "reason": None if sold[n] else "no_exports",
            }
    return out


def agree(ours: dict[str, Any], theirs: dict[str, Any], rel: float) -> None:
    for name, value in theirs.items():
        if isinstance(value, float):
            assert math.isclose(float(ours[name]), value, rel_tol=rel, abs_tol=1e-15), (name, ours, theirs)
        else:
            assert ours[name] == value, (name, ours, theirs)


@settings(max_examples=8, deadline=None)
@given(rows=trade(), union=st.sampled_from([UNION, (), COUNTRIES]))
def test_numpy_finds_the_same(rows: list[Flow], union: tuple[str, ...]) -> None:
    ours, theirs = by_key(table_of(rows, union)), brute(rows, union)
    assert set(ours) == set(theirs)
    for key, row in theirs.items():
        agree(ours[key], row, 1e-12)


@settings(max_examples=6, deadline=None)
@given(rows=trade(), factor=st.sampled_from([2, 10, 100]))
def test_bounds_and_scale(rows: list[Flow], factor: int) -> None:
    ours = by_key(table_of(rows))
    larger = by_key(table_of([(y, k, i, j, f"{float(v) * factor:.3f}", q) for y, k, i, j, v, q in rows]))
    assert set(ours) == set(larger)
    for key, row in ours.items():
        n = row["suppliers"]
        assert 1 / n - 1e-12 <= row["C1"] <= 1 + 1e-12
        assert row["top_share"] ** 2 - 1e-12 <= row["C1"] <= row["top_share"] + 1e-12
        assert 0 <= row["C4a"] <= min(row["top_share"], row["C5"]) + 1e-12
        assert 0 <= row["c1_rank"] < 1
        assert (larger[key]["S1"] is None) == (row["S1"] is None)
        for name in ("C1", "C2", "C4a", "C5", "top_share", *(("S1",) if row["S1"] is not None else ())):
            assert larger[key][name] == pytest.approx(row[name], rel=1e-9, abs=1e-12), name


@settings(max_examples=6, deadline=None)
@given(rows=trade())
def test_merging_two_origins_never_lowers_concentration(rows: list[Flow]) -> None:
    # What the USA sold, BRA sells: nobody's C1 falls but for those two, whose own trade changes.
    totals: dict[tuple[str, str, str], int] = {}
    for _, k, i, j, v, _ in rows:
        key = (k, "BRA" if i == "USA" else i, j)
        totals[key] = totals.get(key, 0) + round(float(v) * 1000)
    merged: list[Flow] = [(2020, k, i, j, f"{n // 1000}.{n % 1000:03d}", None) for (k, i, j), n in totals.items()]
    before, after = by_key(table_of(rows)), by_key(table_of(merged))
    for (code, importer), row in before.items():
        if importer not in ("BRA", "USA"):
            assert after[code, importer]["C1"] >= row["C1"] - 1e-12


# -- the same on other engines, and as the focus's own ---------------------------------------------------------


@pytest.fixture(scope="module")
def sample() -> pa.Table:
    """One year of the embedded sample."""
    inventory = discover(embedded("sample"))
    (held,) = (y for y in list_years(inventory) if y.year == 2022)
    return read_year(held, country_list(inventory, held.release), known_codes(inventory, held.hs_revision))


def test_polars_and_any_number_of_threads_give_the_same(sample: pa.Table) -> None:
    ours = table_of(sample, EU27, 2022)
    assert ours.num_rows > 5_000
    assert table_of(sample, EU27, 2022, threads=4).equals(ours)
    with PolarsEngine() as engine:
        theirs = _table(engine, sample, EU27, 2022)
    for column in IMPORTERS.columns:
        one, two = (t.column(column.name) for t in (ours, theirs))
        if pa.types.is_floating(column.type):
            assert one.is_null().equals(two.is_null())
            # Polars divides by a constant by multiplying by its reciprocal: the last bit may differ.
            assert np.allclose(one.to_numpy(), two.to_numpy(), rtol=1e-15, atol=0.0, equal_nan=True), column.name
        else:
            assert one.equals(two), column.name


def test_a_focus_finds_its_own_figures_in_it(sample: pa.Table) -> None:
    held = by_key(table_of(sample, EU27, 2022))
    with Engine() as engine:
        base = flow_frame(engine.frame("f", sample))
        union = engine.frame("u", pa.table({"country": list(EU27)}))
        for focus in ("NLD", "CHN"):
            found = direct_indicators(engine, base, None, union, None, focus, thresholds())
            by_value = found[found["measure"] == "v"].astype(object)
            own = {i: by_value[by_value["indicator"] == i].set_index("code") for i in ("C1", "C2", "C4a", "C5", "S1")}
            codes = [code for code, importer in held if importer == focus]
            assert len(codes) > 50
            assert set(codes) == set(own["C1"].index[own["C1"]["value"].notna()])
            for code in codes:
                row = held[code, focus]
                for name, figures in own.items():
                    value = figures.loc[code, "value"]
                    if value != value:
                        assert (row[name], row["reason"]) == (None, figures.loc[code, "reason"]), (name, code)
                    else:
                        assert math.isclose(row[name], value, rel_tol=1e-12), (name, code)
                assert row["top_supplier"] == own["C1"].loc[code, "country"]
                assert math.isclose(row["top_share"], own["C1"].loc[code, "country_share"], rel_tol=1e-12)
                third = own["C4a"].loc[code, "country"]
                assert row["C4a_country"] == (third if isinstance(third, str) else None)


def test_a_year_is_stored_in_order_and_reads_back(sample: pa.Table, tmp_path: Path) -> None:
    store = Store(tmp_path)
    with Engine(threads=2, memory_limit="300MB") as engine:
        base = flow_frame(engine.frame("f", sample))
        union = engine.frame("u", pa.table({"country": list(EU27)}))
        store.write_stream(IMPORTERS, build_importers(engine, base, union, ["HS92"], 2022), "2022")
    assert store.check(IMPORTERS, "2022") == table_of(sample, EU27, 2022).num_rows
    assert store.read(IMPORTERS, ["2022"]).equals(table_of(sample, EU27, 2022))


def test_a_merged_bloc_is_an_importer_as_well() -> None:
    # Merged, DEU, FRA and NLD are one trader: it buys 60 + 10 from CHN and the USA; what it trades within is left out.
    pairs = pa.table({"year": pa.array([2020] * 3, pa.int32()), "country": list(UNION)})
    with Engine() as engine:
        merged = as_seen_by(flow_frame(engine.frame("f", flows(WORLD))), engine.frame("m", pairs), "EU27")
        union = engine.frame("u", pa.table({"country": ["EU27"]}))
        rows = engine.arrow(importer_indicators(engine, engine.keep(merged), union, "HS92", 2020)).to_pylist()
    (bloc,) = (r for r in rows if r["importer"] == "EU27")
    assert (str(bloc["imports_kusd"]), bloc["C1"]) == ("70.000", pytest.approx((36 + 1) / 49))
