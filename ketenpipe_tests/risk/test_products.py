"""Figures of HS6 codes as columns: equal to row-by-row sums, however the flows come; degenerate supplies by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ketenpipe.chain.lookthrough import Exposure
from ketenpipe.chain.tracing import Tracing, focus_members
from ketenpipe.risk import products
from ketenpipe.risk.direct import EU27
from ketenpipe.risk.indicators import plane_rows
from ketenpipe.risk.planes import first_largest, hhi_of, plane_of, planes_of, top_third_country
from ketenpipe.risk.products import build_product_indicators, key_order, portions
from ketenpipe.risk.world import World
from ketenpipe.tables.registry import (
    BACI_FLOWS,
    CHAIN_EDGES,
    CHAIN_NODES,
    COUNTRY_RISK,
    EXPOSURE,
    INDICATORS,
    ORIGIN_MIX,
    PRODUCTION,
    SUPPLY_MIX,
    TRACING,
)
from ketenpipe_tests.worlds import REVISION, catalogue, flows, mass, rows, run, scores, thresholds

COUNTRIES = ("AUT", "BRA", "CHN", "DEU", "NLD", "RUS", "UNK")
NONE = Exposure(CHAIN_NODES.empty(), CHAIN_EDGES.empty(), EXPOSURE.empty())
FEW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


# -- a world from vectors ------------------------------------------------------------------------------------


def supplied(
    vectors: dict[tuple[str, str, int], dict[str, tuple[float, float, float]]],
    graded: dict[tuple[str, str, int, str], dict[str, Any]],
    risk: dict[str, float | None] | None,
) -> World:
    """A world that has been traced already.

    Args:
        vectors: (focus, code, year) -> country -> (traced by mass, traced by value, direct by mass).
        graded: (focus, code, year, measure) -> further columns of table ``tracing``.
        risk: country -> G1; None without governance data.
    """
    mix = [
        {
            "focus": f, "code": c, "hs_revision": REVISION, "year": y, "country": k, "share_traced": q or None,
            "share_traced_v": v or None, "share_direct_q": d or None,
        }
        for (f, c, y), held in vectors.items()
        for k, (q, v, d) in held.items()
    ]  # fmt: skip
    traced = [
        {"focus": f, "code": c, "hs_revision": REVISION, "year": y, "measure": m, "basis": "observed", **columns}
        for (f, c, y, m), columns in graded.items()
    ]
    years = sorted({key[2] for key in graded})
    scored = COUNTRY_RISK.empty() if risk is None else scores(risk, years)
    tracing = Tracing(PRODUCTION.empty(), ORIGIN_MIX.empty(), TRACING.conform(traced), SUPPLY_MIX.conform(mix))
    return World(BACI_FLOWS.empty(), tracing, NONE, None, scored, catalogue(), ("NLD", EU27), thresholds(), "edition 1")


def row_by_row(world: World) -> pa.Table:
    """The traced figures of every product, one vector after the other with plain sums: the oracle."""
    made: list[dict[str, object]] = []
    mix = world.tracing.supply_mix.to_pylist()
    own = {f: focus_members(world.reference, f, world.years) for f in world.foci}
    for record in world.tracing.tracing.to_pylist():
        place = ("focus", "hs_revision", "code", "year")
        held = [r for r in mix if all(r[k] == record[k] for k in place)]
        by_mass = record["measure"] == "q"
        vector = {r["country"]: s for r in held if (s := r["share_traced" if by_mass else "share_traced_v"])}
        bought = [s for r in held if (s := r["share_direct_q"])]
        base: dict[str, object] = {k: record[k] for k in (*place, "measure")}
        base |= {"level": "hs6", "group": None, "tier": 0, "basis": "traced"}
        notes = [] if record["basis"] == "observed" else [record["basis"]]
        notes += ["small_or_precious"] if record["small_or_precious"] else []
        if vector:
            union = world.reference.bloc_members(EU27, record["year"])
            members = own[record["focus"]][record["year"]]
            made += plane_rows(
                world, base, vector, members, union, notes, record["confidence"], record["imputed_share"],
                hhi_of(bought) if by_mass else None, hub_gap=by_mass,
            )  # fmt: skip
        else:
            why = record["reason"] or "no_supply"
            stamp = world.vintage(record["hs_revision"], record["year"], "baci")
            made += [
                {**base, "indicator": i, "value": None, "reason": why, "source_vintage": stamp}
                for i in ("O1", "O1r", "C4b", "T", "G2", "G3")
            ]
    return products.as_indicators([products.rows_block(made)] if made else [])


@st.composite
def worlds(draw: st.DrawFn) -> World:
    vectors, graded = {}, {}
    share = st.sampled_from([0.0, 0.0, 1e-9, 0.1, 0.25, 1 / 3, 0.5, 0.9, 1.0])
    for focus in ("NLD", EU27):
        for code in ("100001", "100002", "100003"):
            for year in draw(st.sampled_from([(2020,), (2020, 2021)])):
                held = draw(st.dictionaries(st.sampled_from(COUNTRIES), st.tuples(share, share, share), max_size=5))
                vectors[focus, code, year] = held
                for measure in draw(st.sampled_from([("q", "v"), ("q",), ("v",)])):
                    graded[focus, code, year, measure] = {
                        "basis": draw(st.sampled_from(["observed", "export_proxy", "producer_list"])),
                        "small_or_precious": draw(st.sampled_from([None, False, True])),
                        "confidence": draw(st.sampled_from([None, "low", "high"])),
                        "imputed_share": draw(st.sampled_from([None, 0.0, 0.3])),
                        "reason": draw(st.sampled_from([None, "no_member_consumes"])),
                    }
    scored = st.sampled_from([None, 0.0, 0.1, 0.5, 0.8, 1.0])
    risk = draw(st.none() | st.fixed_dictionaries({c: scored for c in COUNTRIES if c != "UNK"}))
    return supplied(vectors, graded, risk)


@FEW
@given(worlds())
def test_columns_equal_rows(world: World) -> None:
    assert build_product_indicators(world).to_pylist() == row_by_row(world).to_pylist()


@FEW
@given(
    st.lists(st.dictionaries(st.sampled_from(COUNTRIES), st.floats(1e-6, 1.0), max_size=7), min_size=1, max_size=6),
    st.frozensets(st.sampled_from(COUNTRIES[:-1])),
    st.dictionaries(st.sampled_from(COUNTRIES[:-1]), st.floats(0, 1)),
)
def test_many_planes_equal_each_one(
    vectors: list[dict[str, float]], own: frozenset[str], risk: dict[str, float]
) -> None:
    triples = [(n, c, v[c]) for n, v in enumerate(vectors) for c in sorted(v)]
    vector = np.array([t[0] for t in triples], dtype=np.int64)
    names, share = [t[1] for t in triples], np.array([t[2] for t in triples], dtype=float)
    mine, open_part = np.array([c in own for c in names], bool), np.array([c == "UNK" for c in names], bool)
    scored = np.array([risk.get(c, np.nan) for c in names], dtype=float)
    found = planes_of(vector, share, len(vectors), own=mine, unknown=open_part, risk=scored)
    third = first_largest(vector, share, ~mine & ~open_part, len(vectors))
    for n, held in enumerate(vectors):
        ordered = {c: held[c] for c in sorted(held)}
        plane = plane_of(ordered, own, risk)
        for name in ("o1", "o1_high", "o1_renormalised", "g2", "g2_high", "g3", "coverage", "unknown", "foreign"):
            value, many = getattr(plane, name), getattr(found, name)[n]
            assert (many != many) if value is None else many == value, name
        assert (names[found.top[n]] if found.top[n] >= 0 else None) == plane.top
        country, largest, _ = top_third_country(ordered, own, ())
        assert (names[third[n]] if third[n] >= 0 else None) == country
        assert found.own[n] == sum(s for c, s in ordered.items() if c in own)
        assert country is None or share[third[n]] == largest


# -- degenerate supplies -------------------------------------------------------------------------------------


def figures(table: pa.Table, code: str, measure: str = "q") -> dict[str, dict[str, Any]]:
    found = rows(table, code=code, measure=measure, basis="traced", focus="NLD")
    return {r["indicator"]: r for r in found}


def test_what_is_all_own_supply_is_no_dependency_and_says_so() -> None:
    world = supplied({("NLD", "1", 2020): {"NLD": (1.0, 1.0, 0.0)}}, {("NLD", "1", 2020, "q"): {}}, {"NLD": 0.1})
    found = figures(build_product_indicators(world), "1")
    assert (found["O1"]["value"], found["O1"]["high"], found["O1"]["country"]) == (0.0, 0.0, None)
    assert (found["O1r"]["value"], found["O1r"]["reason"]) == (None, "no_foreign_supply")
    assert (found["G2"]["value"], found["G2"]["reason"]) == (None, "no_foreign_supply")
    assert (found["G3"]["value"], found["T"]["value"], found["C4b"]["value"]) == (0.0, 0.0, 0.0)
    assert (found["O2"]["value"], found["O2"]["reason"]) == (None, "no_direct_mass")
    assert found["own_share"]["value"] == 1.0


def test_what_is_all_unknown_may_be_one_country() -> None:
    world = supplied({("NLD", "1", 2020): {"UNK": (1.0, 1.0, 1.0)}}, {("NLD", "1", 2020, "q"): {}}, {"CHN": 0.8})
    found = figures(build_product_indicators(world), "1")
    assert (found["O1"]["value"], found["O1"]["high"], found["unknown_share"]["value"]) == (0.0, 1.0, 1.0)
    # Nothing is known abroad: not passed by what is known, and above nobody can tell.
    assert (found["T"]["value"], found["T"]["low"], found["T"]["high"]) == (0.0, 0.0, 0.0)
    assert (found["C4b"]["value"], found["C4b"]["high"], found["C4b"]["country"]) == (0.0, 1.0, None)


@pytest.mark.parametrize(("risk", "why"), [(None, "no_governance_data"), ({"RUS": 0.9}, "no_governance_score")])
def test_without_scores_the_test_is_open(risk: dict[str, float | None] | None, why: str) -> None:
    world = supplied({("NLD", "1", 2020): {"CHN": (1.0, 1.0, 1.0)}}, {("NLD", "1", 2020, "q"): {}}, risk)
    found = figures(build_product_indicators(world), "1")
    for indicator in ("T", "G2", "G3"):
        assert (found[indicator]["value"], found[indicator]["reason"]) == (None, why)
    assert found["O1"]["value"] == 1.0


def test_without_mass_the_figures_by_mass_are_null_and_those_by_value_are_there() -> None:
    world = supplied(
        {("NLD", "1", 2020): {"CHN": (0.0, 1.0, 0.0)}},
        {("NLD", "1", 2020, "q"): {"reason": "no_supply"}, ("NLD", "1", 2020, "v"): {}},
        {"CHN": 0.8},
    )
    made = build_product_indicators(world)
    by_mass = figures(made, "1")
    assert {i: r["value"] for i, r in by_mass.items()} == dict.fromkeys(("O1", "O1r", "C4b", "T", "G2", "G3"))
    assert {r["reason"] for r in by_mass.values()} == {"no_supply"}
    assert figures(made, "1", "v")["T"]["value"] == 1.0


def test_a_world_without_any_product_has_no_rows() -> None:
    world = supplied({}, {}, None)
    assert build_product_indicators(world).num_rows == 0


# -- flows as they come --------------------------------------------------------------------------------------


def traded() -> pa.Table:
    chance = np.random.default_rng(5)
    places = ("AUT", "BRA", "CHN", "DEU", "NLD", "RUS", "USA")
    made = []
    for code in (f"{200000 + n}" for n in range(12)):
        pairs = [(i, j) for i in places for j in places if i != j and chance.random() < 0.4]
        made += mass(2020, code, *((i, j, float(np.round(10 ** chance.uniform(0, 4), 1))) for i, j in pairs))
    return flows(made)


def coded(table: pa.Table, size: int) -> Iterator[pa.RecordBatch]:
    """Batches as the store gives them: text as dictionaries, each batch its own."""
    for batch in table.to_batches(max_chunksize=size):
        columns = [c.dictionary_encode() if pa.types.is_string(c.type) else c for c in batch.columns]
        yield pa.record_batch(columns, names=batch.schema.names)


@pytest.mark.parametrize("size", [1, 7, 100, 10_000])
def test_figures_do_not_depend_on_how_the_flows_come(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    table = traded()
    held = run(table, catalogue(), ("NLD", EU27), risk={"CHN": 0.8, "RUS": 0.9, "DEU": 0.1})
    whole = build_product_indicators(held.world)
    assert whole.num_rows > 900
    monkeypatch.setattr(products, "PORTION", 30)
    lean = World(
        BACI_FLOWS.empty(), held.tracing, NONE, None, held.world.country_risk, held.reference, held.world.foci,
        thresholds(), releases=held.world.releases,
    )  # fmt: skip
    assert build_product_indicators(lean, coded(table, size)).equals(whole)


@FEW
@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.integers(1, 9), st.integers(1, 30))
def test_a_portion_holds_whole_products(sizes: list[int], batch: int, portion: int) -> None:
    places = [(i, j) for i in COUNTRIES[:-1] for j in COUNTRIES[:-1] if i != j]
    made = [(2020, f"{100000 + n}", *places[k], 1, 1) for n, size in enumerate(sizes) for k in range(size)]
    table = BACI_FLOWS.conform(flows(made))
    parts = list(portions(coded(table, batch), portion))
    joined = pa.concat_tables([p.cast(table.select(products.FLOW_COLUMNS).schema) for p in parts])
    assert joined.to_pylist() == table.select(products.FLOW_COLUMNS).to_pylist()
    held = [set(p.column("code").to_pylist()) for p in parts]
    assert sum(len(h) for h in held) == len(sizes), "a product stands in one portion only"
    assert all(p.num_rows < portion + batch + 9 for p in parts)


def test_key_order_is_arrows_order() -> None:
    whole = run(traded(), catalogue(), ("NLD", EU27), risk={"CHN": 0.8}).indicators
    mixed = whole.take(pa.array(np.random.default_rng(1).permutation(whole.num_rows)))
    assert mixed.take(key_order(mixed, INDICATORS.key)).equals(whole)
