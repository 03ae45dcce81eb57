"""What must not change a figure, and what must change it in a known way, through the tables of steps one and two."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ketenpipe.chain.catalogue import Reference
from ketenpipe_tests.worlds import (
    Flow,
    Run,
    bloc,
    catalogue,
    edge,
    essential,
    flows,
    link,
    look,
    mass,
    mining,
    node,
    run,
    trace,
    vector,
)

A, B, C = "600001", "600002", "600003"
PLACES = ("BRA", "CHN", "DEU", "NLD", "RUS", "USA")
RISK = {"BRA": 0.5, "CHN": 0.8, "DEU": 0.1, "NLD": 0.1, "RUS": 0.9, "USA": 0.2}
LISTED = (("Metal", "CHN", 400.0), ("Metal", "DEU", 100.0), ("Ore", "CHN", 70.0), ("Ore", "RUS", 30.0))
RELATIVE = (
    "C1",
    "C2",
    "C4a",
    "C4b",
    "C5",
    "S1",
    "S2",
    "G2",
    "G3",
    "O1",
    "O1r",
    "O2",
    "T",
    "X1",
    "X1g",
    "X2",
    "P1",
    "C3",
)


def base_flows(seed: int = 1) -> list[Flow]:
    chance = np.random.default_rng(seed)
    made: list[Flow] = []
    for code in (A, B, C):
        for i in PLACES:
            for j in PLACES:
                if i != j and chance.random() < 0.5:
                    v, q = np.round(10.0 ** chance.uniform(1, 4, 2), 1)
                    made.append((2020, code, i, j, v, q if chance.random() < 0.9 else None))
    return made


def reference(**changes: Any) -> Reference:
    nodes = [node("a", A), node("b", f"{B} {C}"), node("mine_x", material="Ore", stage="extraction")]
    edges = [edge("a", "b", 0.4), essential("b", "mine_x")]
    return catalogue(nodes, edges, links=[link(A, "Metal")], **changes)


def statistics(factor: float = 1.0, rename: Callable[[str], str] = str) -> pa.Table:
    return mining([(m, rename(c), 2020, q * factor) for m, c, q in LISTED])


def figures(held: Run, focus: str = "NLD", rename: Callable[[str], str] = str) -> dict[tuple[Any, ...], float | None]:
    keys = ("level", "code", "group", "tier", "year", "indicator", "measure", "basis")
    return {
        (*(r[k] for k in keys), rename(r["country"]) if r["country"] else None): r["value"]
        for r in held.indicators.to_pylist()
        if r["focus"] == focus
    }


def verdicts(held: Run, focus: str = "NLD") -> dict[tuple[Any, ...], tuple[Any, ...]]:
    return {
        (r["level"], r["code"], r["group"], r["year"], r["method"]): (r["flagged"], r["indicated"], r["reason"])
        for r in held.flags.to_pylist()
        if r["focus"] == focus
    }


def same(left: Mapping[Any, float | None], right: Mapping[Any, float | None]) -> None:
    assert left.keys() == right.keys()
    for key, value in left.items():
        assert right[key] == (None if value is None else pytest.approx(value, rel=1e-7, abs=1e-7)), key


@lru_cache
def original() -> Run:
    blocs = (*reference().blocs, *bloc("ONE", "NLD"))
    return run(flows(base_flows()), reference(blocs=blocs), ("NLD", "ONE"), statistics=statistics(), risk=RISK)


def test_the_world_says_something() -> None:
    told = [r for r in original().indicators.to_pylist() if r["value"] is not None]
    assert len(told) > 150
    assert {r["flagged"] for r in original().flags.to_pylist()} == {True, False, None}


def test_the_order_of_rows_and_other_products_do_not_matter() -> None:
    # Rows turned round, a code with a group of its own added, one focus less: every old row stays to the last digit.
    extra = mass(2020, "700001", ("RUS", "NLD", 500), ("NLD", "CHN", 10))
    plain = reference()
    wider = catalogue(
        [*plain.nodes.values(), node("z", "700001")], plain.edges, {"g": "a", "h": "z"}, links=plain.production_links
    )
    table = flows(list(reversed([*base_flows(), *extra])))
    other = run(table, wider, ("NLD",), statistics=statistics().take([3, 2, 1, 0]), risk=RISK)
    after = figures(other)
    assert {k: after[k] for k in figures(original())} == figures(original())
    flags = verdicts(other)
    assert {k: flags[k] for k in verdicts(original())} == verdicts(original())


def test_names_and_units_do_not_matter() -> None:
    # BRA and RUS swap everything (trade, production, risk), ten times the value, a hundred times the mass: shares,
    # ratios and tests stay under swapped names; imports grow tenfold and a hundredfold.
    swap = {"BRA": "RUS", "RUS": "BRA"}

    def named(c: str) -> str:
        return swap.get(c, c)

    moved = [(y, k, named(i), named(j), v * 10, None if q is None else q * 100) for y, k, i, j, v, q in base_flows()]
    other = run(
        flows(moved),
        reference(),
        ("NLD",),
        statistics=statistics(100.0, named),
        risk={named(c): r for c, r in RISK.items()},
    )
    before, after = figures(original()), figures(other, rename=named)
    same({k: v for k, v in before.items() if k[5] in RELATIVE}, {k: v for k, v in after.items() if k[5] in RELATIVE})
    imports = {k: v for k, v in before.items() if k[5] == "M" and v is not None}
    assert imports
    for key, value in imports.items():
        assert after[key] == pytest.approx(value * (10 if key[6] == "v" else 100)), key


def test_a_bloc_of_one_trader_is_that_country() -> None:
    # NLD as a bloc of one: every direct figure by value and mass, and the traced ones, as of the country.
    for level in ("hs6", "group"):
        country = {k: v for k, v in figures(original(), "NLD").items() if k[0] == level}
        same(country, {k: v for k, v in figures(original(), "ONE").items() if k[0] == level})


def test_a_score_only_moves_what_rests_on_governance() -> None:
    # Every risk at 1: concentration, ratios and origins stay; G2 becomes 1 wherever it can be told.
    other = run(flows(base_flows()), reference(), ("NLD",), statistics=statistics(), risk=dict.fromkeys(RISK, 1.0))
    free = ("M", "C1", "C2", "C3", "C4a", "C4b", "C5", "S1", "S1b", "S2", "O1", "O1r", "O2", "P1", "own_share")
    for focus in ("NLD",):
        before, after = figures(original(), focus), figures(other, focus)
        same({k: v for k, v in before.items() if k[5] in free}, {k: v for k, v in after.items() if k[5] in free})
        governed = {k: v for k, v in after.items() if k[5] == "G2" and v is not None}
        assert governed
        assert set(governed.values()) == {1.0}
        # With every risk at 1 the test is concentration alone, and G3 is ten times the sum of squares.
        for key, value in after.items():
            if key[5] == "T" and key[8] is None and value is not None:
                twin = next(v for k, v in after.items() if k[:5] == key[:5] and k[5:8] == ("O1", *key[6:8]))
                assert value == float((twin or 0) > 0.4)


# -- step one alone, many worlds -----------------------------------------------------------------------------


@st.composite
def trade(draw: st.DrawFn) -> list[Flow]:
    pairs = [(i, j) for i in PLACES for j in PLACES if i != j]
    chosen = draw(st.lists(st.sampled_from(pairs), min_size=2, max_size=14, unique=True))
    chosen += [p for p in (("CHN", "DEU"), ("DEU", "NLD")) if p not in chosen]
    return [(2020, A, i, j, 10, draw(st.integers(1, 900))) for i, j in chosen]


@settings(max_examples=4, deadline=None)
@given(trade(), st.data())
def test_a_hub_without_markup_leaves_all_origins_where_they_were(made: list[Flow], data: st.DataObject) -> None:
    # All that one country sells goes through SGP instead, a non-producer: nobody's origins move, directs do.
    seller = data.draw(st.sampled_from(sorted({r[2] for r in made})))
    plain = catalogue([node("a", A)])
    through: list[Flow] = [(y, k, "SGP" if i == seller else i, j, v, q) for y, k, i, j, v, q in made]
    total = sum(r[5] for r in made if r[2] == seller)
    through.append((2020, A, seller, "SGP", 10 * sum(r[2] == seller for r in made), total))
    one, two = trace(flows(made), plain, ("NLD", "DEU")), trace(flows(through), plain, ("NLD", "DEU"))
    for focus in ("NLD", "DEU"):
        before, after = (
            {
                r["country"]: r["share_traced"]
                for r in held.supply_mix.to_pylist()
                if r["focus"] == focus and (r["share_traced"] or 0) > 0
            }
            for held in (one, two)
        )
        assert after == pytest.approx(before, abs=1e-8)


@settings(max_examples=4, deadline=None)
@given(trade(), st.integers(1, 99))
def test_a_code_split_in_two_like_halves_is_the_same_node(made: list[Flow], percent: int) -> None:
    # Every flow split in the same proportion over two codes of the node: its vector stays.
    share = percent / 100
    halves: list[Flow] = []
    for y, _, i, j, v, q in made:
        halves += [(y, A, i, j, v * share, q * share), (y, B, i, j, v * (1 - share), q * (1 - share))]
    whole = look(flows(made), catalogue([node("a", A)]), ("NLD", "EU27"))
    split = look(flows(halves), catalogue([node("a", f"{A} {B}")]), ("NLD", "EU27"))
    for focus in ("NLD", "EU27"):
        assert vector(split, "a", focus) == pytest.approx(vector(whole, "a", focus), abs=1e-6)


@settings(max_examples=4, deadline=None)
@given(trade(), st.sampled_from(PLACES))
def test_a_barred_producer_moves_into_unknown_and_nothing_else_moves(made: list[Flow], barred: str) -> None:
    # Without a statistic a non-producer's surplus was its own proxy production: exactly that part becomes UNK.
    from ketenpipe_tests.worlds import non_producer

    free = look(flows(made), catalogue([node("a", A)]), ("NLD",))
    held = look(flows(made), catalogue([node("a", A)], non_producers=[non_producer(barred, name="a")]), ("NLD",))
    before, after = vector(free, "a"), vector(held, "a")
    moved = {c: s for c, s in before.items() if c != barred}
    moved["UNK"] = moved.get("UNK", 0.0) + before.get(barred, 0.0)
    assert after == pytest.approx({c: s for c, s in moved.items() if s > 0}, abs=1e-8)
