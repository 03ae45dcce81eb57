"""The supply graph: conservation, bottlenecks by hand and against brute force on small worlds, GraphML and back."""

from __future__ import annotations

import io
import itertools
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ketenpipe.chain.catalogue import Edge, Node, Reference
from ketenpipe.chain.lookthrough import build_exposure
from ketenpipe.chain.supply_graph import (
    FOCUS,
    REST,
    SOURCE,
    FlowAccount,
    Place,
    SupplyGraph,
    YearTables,
    articulation_places,
    build_graph_measures,
    build_supply_graph,
    counting_flows,
    counting_graph,
    export_graphs,
    flow_through,
    fold_small,
    graphml,
    group_graph,
    newest_years,
    select_graph,
    smallest_cut,
)
from ketenpipe.errors import InputRefused, WrongUse
from ketenpipe.tables.registry import GRAPH_EDGES, GRAPH_NODES
from ketenpipe_tests.worlds import (
    Flow,
    catalogue,
    chain_world,
    edge,
    essential,
    flows,
    mass,
    mining,
    node,
    one,
    rows,
    trace,
)

A, B, C, D, E = "100001", "100002", "100003", "100004", "100005"


def made(
    table: pa.Table,
    reference: Reference,
    foci: tuple[str, ...] = ("NLD",),
    statistics: pa.Table | None = None,
    *,
    depth: int = 3,
    years: list[int] | None = None,
) -> SupplyGraph:
    traced = trace(table, reference, foci, statistics)
    seen = build_exposure(traced, statistics, reference, foci, depth)
    tables = YearTables(traced.production, traced.origin_mix, traced.supply_mix)
    return build_supply_graph(seen.chain_nodes, seen.chain_edges, seen.exposure, lambda _: tables, years)


def frames(graph: SupplyGraph, focus: str = "NLD", group: str = "g") -> tuple[pd.DataFrame, pd.DataFrame]:
    return select_graph(graph.graph_nodes, focus, group), select_graph(graph.graph_edges, focus, group)


def shares(graph: SupplyGraph, name: str, focus: str = "NLD", group: str = "g") -> dict[str, float]:
    return {r["country"]: r["share"] for r in rows(graph.graph_nodes, node=name, focus=focus, group=group)}


def ways(graph: SupplyGraph, **where: Any) -> dict[tuple[str, str, str, str], float]:
    return {
        (r["input"], r["input_country"], r["user"], r["user_country"]): r["share"]
        for r in rows(graph.graph_edges, **where)
    }


def held(graph: SupplyGraph) -> None:
    """Conservation: out of each place its share, of each input 1, into each place the users' weight times its share."""
    for (focus, group), year in newest_years(graph.graph_nodes).items():
        nodes, edges = (select_graph(t, focus, group, year) for t in (graph.graph_nodes, graph.graph_edges))
        share = nodes.set_index(["node", "country"])["share"]
        out = edges.groupby(["input", "input_country"])["share"].sum()
        for place, flowing in out.items():
            assert flowing == pytest.approx(share[place], abs=1e-7)
        into = edges.groupby(["input", "user", "user_country", "user_weight"])["share"].sum()
        for (_, user, country, weight), flowing in into.items():
            assert flowing == pytest.approx(weight * share[(user, country)], abs=1e-7)
        linked = edges.groupby("input")["share"].sum()
        assert linked.to_numpy() == pytest.approx(np.ones(len(linked)), abs=1e-7)
        assert nodes.groupby("node")["share"].sum().to_numpy() == pytest.approx(1.0, abs=1e-7)
        ends = {*zip(edges["input"], edges["input_country"], strict=True)}
        ends |= {*zip(edges["user"], edges["user_country"], strict=True)}
        assert ends <= set(share.index), "every end of a flow is a place of the graph"


# -- by hand --------------------------------------------------------------------------------------------------

TWO: list[Flow] = [
    # a: DEU sells 100 and RUS 50 to NLD. b: CHN sells 90 to DEU; RUS shows no supply of b.
    *mass(2020, A, ("DEU", "NLD", 100), ("RUS", "NLD", 50)),
    *mass(2020, B, ("CHN", "DEU", 90), ("ZAF", "NLD", 10)),
]
PAIR = catalogue([node("a", A), node("b", B)], [essential("a", "b")])


def test_two_tiers_by_hand() -> None:
    graph = made(flows(TWO), PAIR)
    assert shares(graph, "a") == pytest.approx({"DEU": 2 / 3, "RUS": 1 / 3})
    assert shares(graph, "b") == pytest.approx({"CHN": 2 / 3, "UNK": 1 / 3}), "UNK is a place of its own"
    assert ways(graph) == pytest.approx(
        {
            ("b", "CHN", "a", "DEU"): 2 / 3,
            ("b", "UNK", "a", "RUS"): 1 / 3,
            ("a", "DEU", FOCUS, "NLD"): 2 / 3,
            ("a", "RUS", FOCUS, "NLD"): 1 / 3,
        }
    )
    held(graph)
    goal = one(graph.graph_nodes, node=FOCUS)
    assert (goal["country"], goal["share"], goal["kind"], goal["tier"]) == ("NLD", 1.0, "focus", None)
    first, second = one(graph.graph_nodes, country="DEU"), one(graph.graph_nodes, country="CHN")
    assert (first["tier"], first["stage"], first["basis"], first["evidence"]) == (
        0, "processing", "export_proxy", None,
    )  # fmt: skip
    assert (second["tier"], second["evidence"]) == (1, "textbook")
    assert float(first["value_kusd"]) == 1000.0
    assert second["value_kusd"] is None, "what of CHN's b reaches NLD in money is known to nobody"


def test_a_maker_that_sells_nothing_directly_has_no_value() -> None:
    # CHN makes, DEU passes on: the place is CHN, the direct imports are DEU's.
    graph = made(flows(mass(2020, A, ("CHN", "DEU", 50), ("DEU", "NLD", 50))), catalogue([node("a", A)]))
    assert one(graph.graph_nodes, node="a", country="CHN")["value_kusd"] is None
    assert rows(graph.graph_nodes, country="DEU") == []


def test_several_users_of_one_input() -> None:
    # d goes into b (.6) and c (.2): three quarters of it flows by b. b: CHN; c: RUS; d: ZAF for CHN, BRA for RUS.
    reference = catalogue(
        [node("a", A), node("b", B), node("c", C), node("d", D)],
        [edge("a", "b", 0.6), edge("a", "c", 0.2), essential("b", "d"), essential("c", "d")],
    )
    table = flows(
        [
            *mass(2020, A, ("DEU", "NLD", 10)), *mass(2020, B, ("CHN", "DEU", 10)), *mass(2020, C, ("RUS", "DEU", 10)),
            *mass(2020, D, ("ZAF", "CHN", 10), ("BRA", "RUS", 10)),
        ]
    )  # fmt: skip
    graph = made(table, reference)
    held(graph)
    assert ways(graph, input="d") == pytest.approx({("d", "ZAF", "b", "CHN"): 0.75, ("d", "BRA", "c", "RUS"): 0.25})
    assert {r["user_weight"] for r in rows(graph.graph_edges, input="d")} == {0.75, 0.25}
    assert flow_through(graph.graph_nodes, graph.graph_edges, "NLD", "g", "d") == pytest.approx(
        {("d", "ZAF"): 0.75, ("d", "BRA"): 0.25, ("b", "CHN"): 0.75, ("c", "RUS"): 0.25, ("a", "DEU"): 1.0,
         (FOCUS, "NLD"): 1.0}
    )  # fmt: skip
    # Of all flow (a, b, c, d send out 1 each): through b in CHN goes b's and three quarters of d's.
    measures = build_graph_measures(graph.graph_nodes, graph.graph_edges)
    assert one(measures, measure="flow_through", target=None, node="b")["value"] == pytest.approx(1.75 / 4)
    germany = one(measures, measure="flow_through_country", target="d", country="DEU")
    assert germany["value"] == pytest.approx(1.0)
    cut = one(measures, measure="min_cut", target="d", threshold=0.05)
    assert (cut["value"], cut["places"], cut["rest"]) == (pytest.approx(1.0), "a@DEU", pytest.approx(0.0))
    assert {(r["node"], r["country"]) for r in rows(measures, measure="articulation", target="d", threshold=0.01)} == {
        ("a", "DEU")
    }


def test_a_country_that_flows_pass_twice_counts_once() -> None:
    # a: half CHN, half DEU; both take b from CHN: all of b passes CHN, though its places hold 1 + .5 of it.
    table = [*mass(2020, A, ("CHN", "NLD", 50), ("DEU", "NLD", 50)), *mass(2020, B, ("CHN", "DEU", 10))]
    table += mass(2020, B, ("CHN", "USA", 10))
    graph = made(flows(table), PAIR)
    measures = build_graph_measures(graph.graph_nodes, graph.graph_edges)
    assert one(measures, measure="flow_through_country", target="b", country="CHN")["value"] == pytest.approx(1.0)
    assert one(measures, measure="flow_through_country", target="b", country="DEU")["value"] == pytest.approx(0.5)
    assert one(measures, measure="flow_through_country", target=None, country="CHN")["value"] == pytest.approx(0.75)


def test_a_dashed_node_passes_its_users_places_through() -> None:
    reference = catalogue([node("a", A), node("b", B), node("c", C)], [essential("a", "b"), essential("b", "c")])
    graph = made(flows([*mass(2020, A, ("DEU", "NLD", 10)), *mass(2020, C, ("CHN", "DEU", 10))]), reference)
    held(graph)
    dashed = one(graph.graph_nodes, node="b")
    assert (dashed["country"], dashed["tier"], dashed["kind"], dashed["basis"]) == ("DEU", None, "dashed", None)
    assert dashed["evidence"] == "assumed"
    assert ways(graph, input="b") == {("b", "DEU", "a", "DEU"): 1.0}
    measures = build_graph_measures(graph.graph_nodes, graph.graph_edges)
    assert rows(measures, target="b") == [], "a dashed node is no target"
    assert rows(measures, node="b") == [], "and no place that fails by itself"
    assert one(measures, measure="node_cut", target="c", threshold=0.01)["places"] in ("a@DEU", "c@CHN")


def test_the_world_mix_flows_to_every_buyer_alike() -> None:
    reference = catalogue(
        [node("a", A), node("b", B), node("mine_x", material="Ore", stage="extraction")],
        [essential("a", "b"), essential("b", "mine_x")],
    )
    statistics = mining([("Ore", "CHN", 2020, 75.0), ("Ore", "ZAF", 2020, 25.0)])
    graph = made(flows(TWO), reference, statistics=statistics)
    held(graph)
    assert ways(graph, input="mine_x") == pytest.approx(
        {
            ("mine_x", "CHN", "b", "CHN"): 0.5, ("mine_x", "ZAF", "b", "CHN"): 1 / 6,
            ("mine_x", "CHN", "b", "UNK"): 0.25, ("mine_x", "ZAF", "b", "UNK"): 1 / 12,
        }
    )  # fmt: skip
    assert all(r["same_for_every_country"] for r in rows(graph.graph_edges, input="mine_x"))
    measures = build_graph_measures(graph.graph_nodes, graph.graph_edges)
    cut = one(measures, measure="node_cut", target="mine_x", threshold=0.01)
    # b is half unknown, and what is unknown cannot fail by itself; two makers of a, or the two mines.
    assert cut["value"] == 2.0
    assert cut["same_for_every_country"]
    assert one(measures, measure="min_cut", target="b", threshold=0.01)["value"] == pytest.approx(2 / 3)
    assert one(measures, measure="min_cut", target="b", threshold=0.01)["rest"] == pytest.approx(1 / 3)


def test_a_node_with_unknown_origin_only() -> None:
    # DEU has no supply of b in the data: b is UNK throughout, and no known producer reaches the focus.
    graph = made(flows([*mass(2020, A, ("DEU", "NLD", 10)), *mass(2020, B, ("CHN", "USA", 10))]), PAIR)
    held(graph)
    assert shares(graph, "b") == {"UNK": 1.0}
    measures = build_graph_measures(graph.graph_nodes, graph.graph_edges)
    cut = one(measures, measure="min_cut", target="b", threshold=0.01)
    assert (cut["value"], cut["rest"], cut["reason"], cut["places"]) == (None, 1.0, "no_way_above_threshold", None)
    assert rows(measures, measure="articulation", target="b") == []
    assert one(measures, measure="flow_through", target="b", node="b", country="UNK")["value"] == 1.0
    assert rows(measures, measure="flow_through_country", country="UNK") == [], "unknown is no country"


def test_cut_off_nodes_and_groups_without_data_are_not_in_the_graph() -> None:
    graph = made(flows(TWO), PAIR, depth=0)
    assert {r["node"] for r in graph.graph_nodes.to_pylist()} == {"a", FOCUS}
    empty = made(flows(TWO), catalogue([node("c", C), node("b", B)], [essential("c", "b")]))
    assert (empty.graph_nodes.num_rows, empty.graph_edges.num_rows) == (0, 0)
    assert build_graph_measures(empty.graph_nodes, empty.graph_edges).num_rows == 0
    assert list(export_graphs(empty.graph_nodes, empty.graph_edges)) == []


def test_a_statistic_whose_users_are_not_there_stands_alone_and_says_so() -> None:
    # b holds trade in 2019 only: in 2020 nothing tells who uses the mine's output on its way to a.
    reference = catalogue(
        [node("a", A), node("b", B), node("mine_x", material="Ore", stage="extraction")],
        [essential("a", "b"), essential("b", "mine_x")],
    )
    table = flows([*mass(2020, A, ("DEU", "NLD", 10)), *mass(2019, B, ("CHN", "DEU", 10))])
    graph = made(table, reference, statistics=mining([("Ore", "CHN", 2020, 1.0)]))
    assert shares(graph, "mine_x") == {"CHN": 1.0}
    assert ways(graph, input="mine_x") == {}
    measures = build_graph_measures(graph.graph_nodes, graph.graph_edges)
    said = one(measures, target="mine_x")
    assert (said["value"], said["reason"]) == (None, "no_user_with_known_origins")
    assert "mine_x@CHN" in group_graph(graph.graph_nodes, graph.graph_edges, "NLD", "g")


def test_the_newest_year_of_each_group_or_the_years_asked_for() -> None:
    table = [*TWO, *((2019, *row[1:]) for row in TWO), *mass(2021, C, ("CHN", "NLD", 10))]
    reference = catalogue([node("a", A), node("b", B), node("c", C)], [essential("a", "b")], {"g": "a", "h": "c"})
    graph = made(flows(table), reference)
    assert newest_years(graph.graph_nodes) == {("NLD", "g"): 2020, ("NLD", "h"): 2021}
    both = made(flows(table), reference, years=[2019, 2020])
    assert set(both.graph_nodes.column("year").to_pylist()) == {2019, 2020}
    assert made(flows(table), reference, years=[1999]).graph_nodes.num_rows == 0
    with pytest.raises(WrongUse, match=r"there is no supply graph of group 'h' for NLD in 2019\."):
        select_graph(both.graph_nodes, "NLD", "h", 2019)
    with pytest.raises(WrongUse, match=r"there is no supply graph of group 'nothing' for NLD\."):
        group_graph(both.graph_nodes, both.graph_edges, "NLD", "nothing")


def test_tables_of_different_runs_are_refused() -> None:
    traced = trace(flows(TWO), PAIR)
    seen = build_exposure(traced, None, PAIR, ("NLD",), 2)
    other = trace(flows([*TWO[:2], *mass(2020, B, ("CHN", "DEU", 45), ("USA", "DEU", 45))]), PAIR)
    tables = YearTables(other.production, other.origin_mix, None)
    with pytest.raises(InputRefused) as refused:
        build_supply_graph(seen.chain_nodes, seen.chain_edges, seen.exposure, lambda _: tables)
    assert str(refused.value) == (
        "group 'g', focus NLD, 2020: exposure and origin_mix do not belong together: of 'b' the exposure says 0.666667 "
        "for CHN, the flows give 0.333333; make both tables in one run."
    )


# -- whatever the chain ---------------------------------------------------------------------------------------

COUNTRIES = ("NLD", "DEU", "CHN", "USA", "ZAF")


@st.composite
def worlds(draw: st.DrawFn) -> tuple[pa.Table, Reference, pa.Table | None]:
    """A chain of up to six nodes: several users, dashed nodes, statistics, codes in pairs, trade at random."""
    count = draw(st.integers(1, 6))
    kinds = [
        "traded",
        *(draw(st.sampled_from(["traded", "traded", "pair", "dashed", "mine"])) for _ in range(count - 1)),
    ]
    nodes: list[Node] = []
    for k, kind in enumerate(kinds):
        codes = f"20000{k} 30000{k}" if kind == "pair" else f"20000{k}"
        name = f"mine_{k}" if kind == "mine" else f"n{k}"
        own = node(name, material=f"M{k}", stage="extraction") if kind == "mine" else node(name, codes)
        nodes.append(own)
    edges: list[Edge] = []
    for k in range(1, count):
        users = [j for j in range(k) if kinds[j] != "mine"]
        for j in draw(st.lists(st.sampled_from(users), min_size=1, max_size=2, unique=True)):
            intensity = draw(st.sampled_from([None, 0.0, 0.3, 0.9]))
            edges.append(edge(nodes[j].node, nodes[k].node, intensity, essential=draw(st.booleans())))
    routes = [p for p in itertools.permutations(COUNTRIES, 2)]
    table: list[Flow] = mass(2020, "200000", ("DEU", "NLD", 5.0))
    for k, kind in enumerate(kinds):
        for code in nodes[k].codes_hs92 if kind != "dashed" else ():
            for i, j in draw(st.lists(st.sampled_from(routes), max_size=6, unique=True)):
                if (k, i, j) != (0, "DEU", "NLD"):
                    table += mass(2020, code, (i, j, float(draw(st.integers(1, 9)))))
    figures = [
        (f"M{k}", c, 2020, float(draw(st.integers(1, 9))))
        for k, kind in enumerate(kinds)
        if kind == "mine"
        for c in draw(st.lists(st.sampled_from(COUNTRIES), min_size=1, unique=True))
    ]
    return flows(table), catalogue(nodes, edges), mining(figures) if figures else None


@settings(max_examples=20, deadline=None)
@given(worlds(), st.sampled_from(["NLD", "EU27"]))
def test_what_always_holds(world: tuple[pa.Table, Reference, pa.Table | None], focus: str) -> None:
    table, reference, statistics = world
    graph = made(table, reference, (focus,), statistics, depth=6)
    held(graph)
    if graph.graph_nodes.num_rows:
        nodes, edges = frames(graph, focus)
        _against_enumeration(nodes, edges)
        _against_removal(nodes, edges)
        folded, folded_flows = fold_small(nodes, edges, 0.2)
        assert folded.groupby("node")["share"].sum().to_numpy() == pytest.approx(1.0, abs=1e-7)
        assert folded_flows["share"].sum() == pytest.approx(edges["share"].sum())
        built = group_graph(graph.graph_nodes, graph.graph_edges, focus, "g", smallest=0.2)
        assert _plainly(nx.read_graphml(io.BytesIO(graphml(built)))) == _plainly(built)
        for name, share in nx.get_node_attributes(built, "flow_through").items():
            assert -1e-9 <= share <= 1 + 1e-9, name


def _plainly(graph: nx.DiGraph) -> tuple[Any, Any, Any]:
    own = {k: v for k, v in graph.graph.items() if k not in ("node_default", "edge_default")}  # the reader's own
    return own, dict(graph.nodes(data=True)), {(a, b): d for a, b, d in graph.edges(data=True)}


def _plain_graph(nodes: pd.DataFrame, edges: pd.DataFrame) -> nx.DiGraph:
    graph = nx.DiGraph()
    graph.add_nodes_from(zip(nodes["node"], nodes["country"], strict=True))
    for r in edges.to_dict("records"):
        graph.add_edge((r["input"], r["input_country"]), (r["user"], r["user_country"]), share=r["share"])
    return graph


def _walks(graph: nx.DiGraph, start: Place, amount: float) -> list[tuple[list[Place], float]]:
    """Every way from a place to the focus with what takes it: the oracle, path by path."""
    if start[0] == FOCUS:
        return [([start], amount)]
    leaving = sum(d["share"] for _, _, d in graph.out_edges(start, data=True))
    found = []
    for _, user, d in graph.out_edges(start, data=True):
        found += [([start, *path], part) for path, part in _walks(graph, user, amount * d["share"] / leaving)]
    return found


def _against_enumeration(nodes: pd.DataFrame, edges: pd.DataFrame) -> None:
    account, graph = FlowAccount(nodes, edges), _plain_graph(nodes, edges)
    for target in account.targets:
        own = nodes[nodes["node"] == target]
        total = own["share"].sum()
        walks = [
            w for c, s in zip(own["country"], own["share"], strict=True) for w in _walks(graph, (target, c), s / total)
        ]
        expected: dict[Place, float] = {}
        by_country: dict[str, float] = {}
        for path, part in walks:
            for place in path:
                expected[place] = expected.get(place, 0.0) + part
            for country in {c for n, c in path if n != FOCUS} - {"UNK"}:
                by_country[country] = by_country.get(country, 0.0) + part
        for place, share in zip(account.places, account.through(target), strict=True):
            assert share == pytest.approx(expected.get(place, 0.0), abs=1e-9)
        told = account.through_countries(account.sources(target))
        assert {c: s for c, s in told.items() if s > 1e-9} == pytest.approx(
            {c: s for c, s in by_country.items() if s > 1e-9}, abs=1e-9
        )


def _against_removal(nodes: pd.DataFrame, edges: pd.DataFrame, threshold: float = 0.1) -> None:
    """Articulation points by taking each place away, cuts by trying every set of places."""
    account = FlowAccount(nodes, edges)
    dashed = set(nodes.loc[nodes["kind"] == "dashed", "node"])
    counted = counting_flows(nodes, edges, threshold)
    focus = account.places[account.focus]
    for target in account.targets:
        start = account.sources(target)
        sources = {p: float(s) for p, s in zip(account.places, start, strict=True) if s > 0}
        graph, rest = counting_graph(counted, sources, focus)
        if not len(graph):
            assert rest == 1.0
            continue
        assert rest >= sources.get((target, "UNK"), 0.0) - 1e-9
        may_fail = sorted(p for p in graph if p not in (SOURCE, focus) and p[1] != "UNK" and p[0] not in dashed)

        def parts(gone: tuple[Place, ...], graph: nx.DiGraph = graph, focus: Place = focus) -> bool:
            left = graph.copy()
            left.remove_nodes_from(gone)
            return not nx.has_path(left, SOURCE, focus)

        assert articulation_places(graph, dashed) == [p for p in may_fail if parts((p,))]
        count, cut = smallest_cut(graph, None, dashed)
        assert count == len(cut)
        assert parts(tuple(cut))
        for size in range(count):
            assert not any(parts(gone) for gone in itertools.combinations(may_fail, size))
        passed = dict(zip(account.places, account.spread(start), strict=True))
        weights = {p: round(passed[p] * 10**12) + 10**6 for p in may_fail}
        weight, cut = smallest_cut(graph, weights, dashed)
        assert weight == sum(weights[p] for p in cut)
        assert parts(tuple(cut))
        if len(may_fail) <= 8:
            every = (g for k in range(len(may_fail) + 1) for g in itertools.combinations(may_fail, k))
            assert weight == min(sum(weights[p] for p in gone) for gone in every if parts(gone))


# -- where every place has one way on, networkx' own betweenness says the same --------------------------------


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 12), st.randoms(use_true_random=False))
def test_flow_through_is_betweenness_where_there_is_one_way_only(size: int, random: Any) -> None:
    # Producers of equal share, each place with one way on: betweenness counts the producers whose way it is on.
    layers = [[f"P{k:02d}" for k in range(size)], ["AAA", "BBB", "CCC"], ["DDD", "EEE"]]
    share = {("c", p): 1 / size for p in layers[0]}
    flowing: list[tuple[Place, Place, float]] = []
    for upper, lower, user in (("c", layers[1], "b"), ("b", layers[2], "a")):
        for place in [p for p in share if p[0] == upper]:
            end = (user, random.choice(lower))
            flowing.append((place, end, share[place]))
        for _, end, part in [f for f in flowing if f[1][0] == user]:
            share[end] = share.get(end, 0.0) + part
    flowing += [(p, (FOCUS, "NLD"), s) for p, s in share.items() if p[0] == "a"]
    share[(FOCUS, "NLD")] = 1.0
    key = {"focus": "NLD", "group": "g", "year": 2020, "same_for_every_country": False}
    nodes = GRAPH_NODES.conform(
        {**key, "node": n, "country": c, "kind": "focus" if n == FOCUS else "traded", "share": s}
        for (n, c), s in share.items()
    )
    edges = GRAPH_EDGES.conform(
        {
            **key,
            "input": a[0],
            "input_country": a[1],
            "user": b[0],
            "user_country": b[1],
            "share": s,
            "user_weight": 1.0,
        }
        for a, b, s in flowing
    )
    account = FlowAccount(nodes.to_pandas(), edges.to_pandas())
    graph = nx.DiGraph([(a, b) for a, b, _ in flowing])
    producers = [p for p in share if p[0] == "c"]
    between = nx.betweenness_centrality_subset(graph, producers, [(FOCUS, "NLD")])
    for place, passed in zip(account.places, account.through("c"), strict=True):
        if place[0] in ("a", "b"):
            assert passed == pytest.approx(between[place] / size, abs=1e-7)


# -- folding and GraphML --------------------------------------------------------------------------------------


def many() -> SupplyGraph:
    """Twenty makers of a, one of them with nearly all; the others under a tenth of a per cent each, USA 1.5 %."""
    small = [(f"C{k:02d}", "NLD", 0.05) for k in range(18)]
    return made(flows(mass(2020, A, ("CHN", "NLD", 97.6), ("USA", "NLD", 1.5), *small)), catalogue([node("a", A)]))


def test_small_countries_are_folded_and_the_rest_is_said() -> None:
    graph = many()
    folded = group_graph(graph.graph_nodes, graph.graph_edges, "NLD", "g")
    assert set(folded) == {"a@CHN", "a@USA", f"a@{REST}", f"{FOCUS}@NLD"}
    assert folded.nodes[f"a@{REST}"]["share"] == pytest.approx(0.009)
    assert folded.nodes[f"a@{REST}"]["flow_through"] == pytest.approx(0.009)
    assert folded.nodes[f"a@{REST}"]["value_kusd"] == pytest.approx(9.0)
    assert folded.edges[f"a@{REST}", f"{FOCUS}@NLD"]["share"] == pytest.approx(0.009)
    assert folded.graph == {"focus": "NLD", "group": "g", "year": 2020, "smallest": 0.001}
    assert len(group_graph(graph.graph_nodes, graph.graph_edges, "NLD", "g", smallest=0)) == 21
    measures = build_graph_measures(graph.graph_nodes, graph.graph_edges)
    assert one(measures, measure="node_cut", threshold=0.01)["rest"] == pytest.approx(0.009)
    assert one(measures, measure="node_cut", threshold=0.05)["places"] == "a@CHN"
    assert [r["country"] for r in rows(measures, measure="articulation")] == ["CHN"]
    listed = {r["country"] for r in rows(measures, measure="flow_through", target="a")}
    assert listed == {"CHN", "USA"}


def test_graphml_is_typed_and_the_same_each_time() -> None:
    graph = many()
    (name, content), *others = export_graphs(graph.graph_nodes, graph.graph_edges)
    assert others == []
    assert name == "graphs/NLD_g.graphml"
    assert content == dict(export_graphs(graph.graph_nodes, graph.graph_edges))[name]
    back = nx.read_graphml(io.BytesIO(content))
    assert _plainly(back) == _plainly(group_graph(graph.graph_nodes, graph.graph_edges, "NLD", "g"))
    place = back.nodes["a@CHN"]
    assert isinstance(place["tier"], int)
    assert isinstance(place["share"], float)
    assert place["same_for_every_country"] is False
    assert "evidence" not in place, "what is unknown is left out, not written as a word"
    assert b'attr.type="double"' in content


def test_most_of_it_left_out_is_said() -> None:
    # Fifty makers of 2 % each: at 5 % none counts; two of 10 % and eighty of 1 %: 80 % is left out.
    wide = [(f"C{k:02d}", "NLD", 1.0) for k in range(80)]
    graph = made(flows(mass(2020, A, ("CHN", "NLD", 10), ("USA", "NLD", 10), *wide)), catalogue([node("a", A)]))
    measures = build_graph_measures(graph.graph_nodes, graph.graph_edges)
    cut = one(measures, measure="node_cut", threshold=0.05)
    assert (cut["value"], cut["rest"], cut["reason"]) == (2.0, pytest.approx(0.8), "rest_over_half")
    flat = made(flows(mass(2020, A, *wide)), catalogue([node("a", A)]))
    none = one(build_graph_measures(flat.graph_nodes, flat.graph_edges), measure="node_cut", threshold=0.05)
    assert (none["value"], none["reason"]) == (None, "no_way_above_threshold")


def test_every_case_of_the_world_of_chains_holds_together() -> None:
    run = chain_world()
    tables = YearTables(run.tracing.production, run.tracing.origin_mix, run.tracing.supply_mix)
    seen = run.exposure
    graph = build_supply_graph(seen.chain_nodes, seen.chain_edges, seen.exposure, lambda _: tables)
    held(graph)
    told = seen.exposure.to_pandas().query("share_traced > 0").set_index(["group", "node", "country"])["share_traced"]
    mine = graph.graph_nodes.to_pandas().query("kind in ('traded', 'production')")
    pd.testing.assert_series_equal(
        mine.set_index(["group", "node", "country"])["share"].sort_index(), told.sort_index(), check_names=False
    )
    measures = build_graph_measures(graph.graph_nodes, graph.graph_edges)
    assert {r["group"] for r in measures.to_pylist()} == {r["group"] for r in seen.exposure.to_pylist()}
    turned = seen.exposure.take(list(range(seen.exposure.num_rows))[::-1])
    again = build_supply_graph(seen.chain_nodes, seen.chain_edges, turned, lambda _: tables)
    assert again.graph_edges.equals(graph.graph_edges)
    assert again.graph_nodes.equals(graph.graph_nodes)
