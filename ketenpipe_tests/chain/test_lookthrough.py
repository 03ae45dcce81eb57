"""The look-through: tiers, path weights, vectors; by hand and against plain NumPy and networkx."""

from __future__ import annotations

import itertools
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ketenpipe.chain.catalogue import Edge, Reference
from ketenpipe.chain.lookthrough import NodeOrigins, Plan, combine_codes, focus_row, plan_group, step_upstream
from ketenpipe.chain.matrices import balance_production, trace_origins
from ketenpipe_tests.worlds import (
    Flow,
    catalogue,
    edge,
    essential,
    figure,
    flows,
    link,
    look,
    mass,
    mining,
    node,
    one,
    rows,
    vector,
)

A, B, C, D, E = "100001", "100002", "100003", "100004", "100005"


def plan(reference: Reference, *held: str, depth: int = 2, materials: set[str] | None = None) -> Plan:
    return plan_group(reference, "g", {"HS92": set(held)}, materials or set(), depth)


# -- plan: tiers, weights, statuses --------------------------------------------------------------------------


def test_path_weight_is_the_largest_product() -> None:
    # a <- b: .5; b <- d: .4 -> .2. a <- c: essential 1; c <- d: .3 -> .3. The larger: .3, over c.
    reference = catalogue(
        [node("a", A), node("b", B), node("c", C), node("d", D)],
        [edge("a", "b", 0.5), edge("b", "d", 0.4), essential("a", "c"), edge("c", "d", 0.3)],
    )
    made = plan(reference, A, B, C, D)
    assert made.weight == pytest.approx({"a": 1.0, "b": 0.5, "c": 1.0, "d": 0.3})
    assert made.path["d"] == ("a", "c", "d")
    assert made.tier == {"a": 0, "b": 1, "c": 1, "d": 2}


def test_an_empty_intensity_makes_the_weight_unknown_unless_another_path_knows() -> None:
    # c only through b, whose intensity is empty: null. d through b (null) or through e (.2): .2, not null, not 1.
    # A figure that nobody read (recalled) is empty too; essential wins over an empty intensity.
    reference = catalogue(
        [node("a", A), node("b", B), node("c", C), node("d", D), node("e", E), node("r", "100006")],
        [
            edge("a", "b"), essential("b", "c"), essential("b", "d"), edge("a", "e", 0.2), essential("e", "d"),
            edge("a", "r", 0.9, status="recalled"),
        ],
    )  # fmt: skip
    made = plan(reference, A, B, C, D, E, "100006")
    assert made.weight == {"a": 1.0, "b": None, "c": None, "d": 0.2, "e": 0.2, "r": None}


def test_a_dashed_node_is_no_tier() -> None:
    # b has codes that the sources lack: c behind it is tier 1, reached through b all the same.
    reference = catalogue([node("a", A), node("b", B), node("c", C)], [essential("a", "b"), edge("b", "c", 0.5)])
    made = plan(reference, A, C)
    assert made.status == {"a": "traded", "b": "dashed", "c": "traded"}
    assert made.tier == {"a": 0, "c": 1}
    assert made.weight["c"] == 0.5


def test_what_the_depth_cuts_off_is_listed() -> None:
    reference = catalogue(
        [node("a", A), node("b", B), node("c", C), node("d", D), node("mine_x", material="Ore")],
        [essential("a", "b"), essential("b", "c"), essential("c", "d"), essential("c", "mine_x")],
    )
    made = plan(reference, A, B, C, D, materials={"Ore"})
    assert made.status == {"a": "traded", "b": "traded", "c": "traded", "d": "cut_off", "mine_x": "cut_off"}
    assert made.tier == {"a": 0, "b": 1, "c": 2}
    deeper = plan(reference, A, B, C, D, materials={"Ore"}, depth=3)
    assert deeper.status["mine_x"] == "production"
    assert deeper.tier["d"] == 3


def test_a_statistic_without_data_is_missing_and_a_product_without_data_stops_the_chain() -> None:
    reference = catalogue([node("a", A), node("mine_x", material="Ore")], [essential("a", "mine_x")])
    assert plan(reference, A).status["mine_x"] == "missing"
    assert plan(reference, B).order == ()


def test_the_tier_is_the_fewest_steps() -> None:
    reference = catalogue(
        [node("a", A), node("b", B), node("c", C)],
        [essential("a", "b"), essential("b", "c"), edge("a", "c", 0.1)],
    )
    made = plan(reference, A, B, C)
    assert made.tier["c"] == 1
    assert (made.weight["c"], made.path["c"]) == (1.0, ("a", "b", "c")), "the weight is of the heavier path"


@st.composite
def chains(draw: st.DrawFn) -> list[Edge]:
    pairs = [(f"n{i}", f"n{j}") for i, j in itertools.combinations(range(6), 2)]
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=10))
    reached = {"n0"}
    kept = []
    for user, item in sorted(chosen):
        if user in reached:
            reached.add(item)
            kept.append((user, item))
    intensity = st.none() | st.sampled_from([0.0, 0.1, 0.5, 0.9])
    return [edge(u, m, draw(intensity), essential=draw(st.booleans())) for u, m in kept]


@settings(max_examples=50, deadline=None)
@given(chains(), st.sets(st.integers(1, 5)))
def test_weights_and_tiers_agree_with_all_paths_one_by_one(edges: list[Edge], lacking: set[int]) -> None:
    # networkx lists every simple path; weight = max of products over the known ones, tier = fewest computed nodes.
    reference = catalogue([node(f"n{k}", f"10000{k}") for k in range(6)], edges)
    made = plan(reference, *(f"10000{k}" for k in range(6) if k not in lacking), depth=2)
    graph = nx.DiGraph([(e.user, e.input) for e in edges])
    graph.add_node("n0")
    factor = {(e.user, e.input): e.weight for e in edges}
    for name in graph:
        if name == "n0":
            continue
        paths = list(nx.all_simple_paths(graph, "n0", name))
        steps = [list(itertools.pairwise(p)) for p in paths]
        known = [np.prod([factor[s] for s in p]) for p in steps if all(factor[s] is not None for s in p)]  # type: ignore[misc]
        expected = max(known) if known else None
        assert made.weight[name] == (None if expected is None else pytest.approx(expected))
        tier = min(sum(int(n[1:]) not in lacking for n in p[1:]) for p in paths)
        if int(name[1:]) in lacking:
            assert made.status[name] == "dashed"
            assert name not in made.tier
        elif tier <= 2:
            assert made.tier[name] == tier
        else:
            assert made.status[name] == "cut_off"
            assert name not in made.tier


# -- vectors -------------------------------------------------------------------------------------------------

TWO: list[Flow] = [
    # Product a: DEU makes 100 (statistic below), RUS sells 50 to NLD: NLD is 2/3 DEU, 1/3 RUS.
    *mass(2020, A, ("DEU", "NLD", 100), ("RUS", "NLD", 50)),
    # Input b: CHN sells 90 to DEU and DEU makes none; RUS makes its own and shows no trade in b: not in the data.
    *mass(2020, B, ("CHN", "DEU", 90), ("ZAF", "NLD", 10)),
]


def test_two_tiers_by_hand() -> None:
    # x_0 = 2/3 DEU + 1/3 RUS. DEU's b: all CHN. RUS has no supply of b in the data: UNK. x_1 = 2/3 CHN + 1/3 UNK.
    # NLD's own imports of b (ZAF) are beside it, and play no part in it.
    found = look(flows(TWO), catalogue([node("a", A), node("b", B)], [essential("a", "b")]))
    assert vector(found, "a") == pytest.approx({"DEU": 2 / 3, "RUS": 1 / 3})
    assert vector(found, "b") == pytest.approx({"CHN": 2 / 3, "UNK": 1 / 3})
    south = one(found.exposure, node="b", country="ZAF")
    assert (south["share_direct"], south["share_traced"]) == (1.0, 0.0)
    china, unknown = one(found.exposure, node="b", country="CHN"), one(found.exposure, node="b", country="UNK")
    assert (china["low"], china["high"]) == pytest.approx((2 / 3, 1.0))
    assert (unknown["low"], unknown["high"]) == pytest.approx((0.0, 1 / 3))


def test_unknown_stays_unknown_through_further_tiers() -> None:
    # As above, with c: CHN makes its own c. x_2 = 2/3 CHN + 1/3 UNK: what is unknown never comes back as a country.
    reference = catalogue([node("a", A), node("b", B), node("c", C)], [essential("a", "b"), essential("b", "c")])
    found = look(flows([*TWO, *mass(2020, C, ("CHN", "NLD", 10), ("RUS", "NLD", 10))]), reference)
    assert vector(found, "c") == pytest.approx({"CHN": 2 / 3, "UNK": 1 / 3})


def test_a_node_with_two_users_takes_their_weighted_mean() -> None:
    # b's vector: NLD buys b's user a from DEU. Users of d: b (path weight .6) and c (.2).
    # a: all DEU. b: DEU buys b from CHN. c: DEU buys c from RUS. d: CHN buys d from ZAF, RUS buys d from BRA.
    # Mean of users: .6/.8 CHN + .2/.8 RUS -> d: .75 ZAF + .25 BRA. d's own weight: the larger, .6.
    reference = catalogue(
        [node("a", A), node("b", B), node("c", C), node("d", D)],
        [edge("a", "b", 0.6), edge("a", "c", 0.2), essential("b", "d"), essential("c", "d")],
    )
    table = flows(
        [
            *mass(2020, A, ("DEU", "NLD", 10)),
            *mass(2020, B, ("CHN", "DEU", 10)),
            *mass(2020, C, ("RUS", "DEU", 10)),
            *mass(2020, D, ("ZAF", "CHN", 10), ("BRA", "RUS", 10)),
        ]
    )
    found = look(table, reference)
    assert vector(found, "d") == pytest.approx({"ZAF": 0.75, "BRA": 0.25})
    assert one(found.chain_nodes, node="d")["path_weight"] == 0.6
    # The intensity of the last edge counts in the mean as well: c -> d at .3 makes it .6 : .06.
    lighter = catalogue(
        [node("a", A), node("b", B), node("c", C), node("d", D)],
        [edge("a", "b", 0.6), edge("a", "c", 0.2), essential("b", "d"), edge("c", "d", 0.3)],
    )
    assert vector(look(table, lighter), "d") == pytest.approx({"ZAF": 60 / 66, "BRA": 6 / 66})


def test_a_dashed_node_passes_its_users_vector_through() -> None:
    # a <- (b, not in the sources) <- c: c is taken from the makers of a: DEU buys c from CHN. Evidence: assumed.
    reference = catalogue([node("a", A), node("b", B), node("c", C)], [essential("a", "b"), essential("b", "c")])
    found = look(flows([*mass(2020, A, ("DEU", "NLD", 10)), *mass(2020, C, ("CHN", "DEU", 10))]), reference)
    assert vector(found, "c") == {"CHN": 1.0}
    assert rows(found.exposure, node="b") == [], "a dashed node takes no test"
    assert one(found.chain_nodes, node="b")["status"] == "dashed"
    assert one(found.chain_nodes, node="b")["tier"] is None
    held = one(found.exposure, node="c", country="CHN")
    assert (held["tier"], held["evidence"]) == (1, "assumed")


def test_what_is_cut_off_is_listed_and_not_computed() -> None:
    reference = catalogue([node("a", A), node("b", B)], [essential("a", "b")])
    found = look(flows(TWO), reference, depth=0)
    assert one(found.chain_nodes, node="b")["status"] == "cut_off"
    assert rows(found.exposure, node="b") == []


def test_the_world_mix_is_the_same_vector_for_every_country() -> None:
    # mine_x has no code: CHN .75, ZAF .25 for NLD, USA and the EU27 alike; b, which has codes, differs between them.
    reference = catalogue(
        [node("a", A), node("b", B), node("mine_x", material="Ore", stage="extraction")],
        [essential("a", "b"), essential("b", "mine_x")],
    )
    made = mining([("Ore", "CHN", 2020, 75.0), ("Ore", "ZAF", 2020, 25.0)])
    table = flows([*TWO, *mass(2020, A, ("BRA", "USA", 10)), *mass(2020, B, ("RUS", "BRA", 10))])
    found = look(table, reference, ("NLD", "USA", "EU27"), made)
    for focus in ("NLD", "USA", "EU27"):
        assert vector(found, "mine_x", focus) == pytest.approx({"CHN": 0.75, "ZAF": 0.25})
        held = rows(found.exposure, node="mine_x", focus=focus)
        assert {r["basis"] for r in held} == {"world_production_mix"}
        assert all(r["same_for_every_country"] for r in held)
    assert vector(found, "b", "USA") != vector(found, "b", "NLD")
    assert not any(r["same_for_every_country"] for r in rows(found.exposure, node="b"))


def test_the_basis_is_the_weakest_so_far() -> None:
    # a's production is observed, b's is the proxy: b is on the proxy; c behind it as well, although observed itself.
    reference = catalogue(
        [node("a", A), node("b", B), node("c", C)],
        [essential("a", "b"), essential("b", "c")],
        links=[link(A, "Metal"), link(C, "Ore")],
    )
    made = mining([("Metal", "DEU", 2020, 100.0), ("Metal", "RUS", 2020, 50.0), ("Ore", "CHN", 2020, 10.0)])
    found = look(flows([*TWO, *mass(2020, C, ("CHN", "NLD", 10))]), reference, statistics=made)
    basis = {r["node"]: r["basis"] for r in found.exposure.to_pylist()}
    assert basis == {"a": "observed", "b": "export_proxy", "c": "export_proxy"}


def test_the_codes_that_the_sources_hold_decide_the_revision() -> None:
    # HS17 holds only the product, HS92 holds product and input: HS92. Nothing held: no revision.
    reference = catalogue([node("a", A), node("b", B)], [essential("a", "b")])
    assert plan_group(reference, "g", {"HS17": {A}, "HS92": {A, B}}, set(), 2).hs_revision == "HS92"
    assert plan_group(reference, "g", {"HS17": {A, B}, "HS92": {A, B}}, set(), 2).hs_revision == "HS17"
    assert plan_group(reference, "g", {"HS17": {B}}, set(), 2).hs_revision is None


# -- several codes -------------------------------------------------------------------------------------------


def test_codes_are_combined_by_consumption_else_by_supply() -> None:
    # Consumption 30 and 10: .75 CHN + .25 RUS. None eaten, supply 10 and 40: .2 CHN + .8 RUS. Imputed alike.
    first, second = {"CHN": 1.0}, {"RUS": 1.0}
    both, eaten, held, imputed = combine_codes([(first, 30.0, 100.0, 1.0), (second, 10.0, 900.0, 0.0)])
    assert both == pytest.approx({"CHN": 0.75, "RUS": 0.25})
    assert (eaten, held, imputed) == (40.0, 1000.0, 0.75)
    hub, eaten, _, imputed = combine_codes([(first, 0.0, 10.0, 1.0), (second, 0.0, 40.0, 0.0)])
    assert hub == pytest.approx({"CHN": 0.2, "RUS": 0.8})
    assert (eaten, imputed) == (0.0, pytest.approx(0.2))


def test_each_country_weighs_the_codes_by_its_own_consumption() -> None:
    # Node b holds two codes. DEU eats 30 of the first (from CHN) and 10 of the second (from RUS): .75/.25.
    # FRA eats 10 and 30: .25/.75. NLD buys a from DEU and FRA alike: b is half CHN, half RUS.
    # With the focus's own weights (NLD eats the first only) it would be all CHN.
    reference = catalogue([node("a", A), node("b", f"{B} {C}")], [essential("a", "b")])
    table = flows(
        [
            *mass(2020, A, ("DEU", "NLD", 60), ("FRA", "NLD", 20)),
            *mass(2020, B, ("CHN", "DEU", 30), ("CHN", "FRA", 10), ("CHN", "NLD", 500)),
            *mass(2020, C, ("RUS", "DEU", 10), ("RUS", "FRA", 30)),
        ]
    )
    # x_0 = .75 DEU + .25 FRA -> CHN: .75*.75 + .25*.25 = .625, RUS: .375.
    assert vector(look(table, reference), "b") == pytest.approx({"CHN": 0.625, "RUS": 0.375})


def test_a_bloc_row_weighs_members_by_consumption_and_is_null_without() -> None:
    held = NodeOrigins(
        {
            "AUT": ({"CHN": 1.0}, 30.0, 30.0, 1.0),
            "BEL": ({"RUS": 1.0}, 10.0, 500.0, 0.0),
            "CZE": ({"USA": 1.0}, 0.0, 900.0, 0.0),
        },
        "observed",
    )
    row = focus_row(held, frozenset({"AUT", "BEL", "CZE"}), single=False)
    assert row is not None
    assert row[0] == pytest.approx({"CHN": 0.75, "RUS": 0.25})
    assert row[1] == pytest.approx(0.75)
    assert focus_row(held, frozenset({"CZE"}), single=False) is None
    alone = focus_row(held, frozenset({"CZE"}), single=True)
    assert alone is not None
    assert alone[0] == {"USA": 1.0}


def test_the_imputed_share_of_a_step() -> None:
    # .5 from a country whose input is wholly imputed, .3 from one a fifth imputed, .2 unknown: .5 + .06.
    origins = NodeOrigins({"A": ({"CHN": 1.0}, 1, 1, 1.0), "B": ({"UNK": 1.0}, 1, 1, 0.2)}, "observed")
    out, imputed = step_upstream({"A": 0.5, "B": 0.3, "UNK": 0.2}, origins)
    assert out == pytest.approx({"CHN": 0.5, "UNK": 0.5})
    assert imputed == pytest.approx(0.56)


# -- what always holds ---------------------------------------------------------------------------------------

PLACES = ("CHN", "DEU", "NLD", "RUS")


@st.composite
def trade(draw: st.DrawFn, code: str) -> list[Flow]:
    pairs = [(i, j) for i in PLACES for j in PLACES if i != j]
    chosen = draw(st.lists(st.sampled_from(pairs), min_size=1, max_size=8, unique=True))
    return mass(2020, code, *((i, j, float(draw(st.integers(1, 500)))) for i, j in chosen))


def supply_mix(code_flows: list[Flow]) -> dict[str, dict[str, float]]:
    """O of one product as plain dictionaries, from the matrix function alone."""
    x = np.zeros((4, 4))
    for _, _, i, j, _, t in code_flows:
        x[PLACES.index(i), PLACES.index(j)] = t
    traced = trace_origins(x, balance_production(x, None, None, np.zeros(4, bool)))
    names = [*PLACES, "UNK"]
    return {p: dict(zip(names, traced.origins[k], strict=True)) for k, p in enumerate(PLACES) if traced.supply[k] > 0}


@settings(max_examples=5, deadline=None)
@given(st.data())
def test_vectors_sum_to_one_and_are_matrix_products(data: st.DataObject) -> None:
    # a <- b <- d and a <- c <- d, weights .5 and .25: x_d = (2/3 x_b + 1/3 x_c) @ O_d, with plain dictionaries.
    traded = {k: data.draw(trade(k)) for k in (A, B, C, D)}
    reference = catalogue(
        [node("a", A), node("b", B), node("c", C), node("d", D)],
        [edge("a", "b", 0.5), edge("a", "c", 0.25), essential("b", "d"), essential("c", "d")],
    )
    apart = mass(2020, "100009", ("CHN", "DEU", 1), ("CHN", "NLD", 1))
    found = look(flows(itertools.chain(apart, *traded.values())), reference, ("NLD", "EU27"))
    for focus in ("NLD", "EU27"):
        for name in "abcd":
            held = vector(found, name, focus)
            assert not held or sum(held.values()) == pytest.approx(1.0)
    mixes = {name: supply_mix(traded[code]) for name, code in zip("abcd", (A, B, C, D), strict=True)}
    start = mixes["a"].get("NLD")
    if start is None:
        assert vector(found, "a") == {}
        return

    def up(x: dict[str, float], name: str) -> dict[str, float]:
        out: dict[str, float] = {}
        for country, share in x.items():
            row: dict[str, Any] = mixes[name].get(country, {"UNK": 1.0})
            for origin, part in row.items():
                out[origin] = out.get(origin, 0.0) + share * part
        return out

    x_b, x_c = up(start, "b"), up(start, "c")
    both = {c: 2 / 3 * x_b.get(c, 0.0) + 1 / 3 * x_c.get(c, 0.0) for c in {*x_b, *x_c}}
    for name, expected in (("a", start), ("b", x_b), ("c", x_c), ("d", up(both, "d"))):
        held = vector(found, name)
        assert held == pytest.approx({c: s for c, s in expected.items() if c in held}, abs=1e-7), name
        assert sum(s for c, s in expected.items() if c not in held) < 1e-7


def test_a_producer_list_gives_a_node_without_codes_its_mix() -> None:
    # CHN .8 read; the rest unknown: {CHN: .8, UNK: .2} for every buyer.
    reference = catalogue(
        [node("a", A), node("x", stage="extraction", note="no code")],
        [essential("a", "x")],
        figures=[figure("x", A, 2020, "CHN", share=0.8)],
    )
    found = look(flows(TWO), reference)
    assert vector(found, "x") == pytest.approx({"CHN": 0.8, "UNK": 0.2})
