"""S5: by hand on stars and triangles, equal to networkx on small worlds, the same for every focus."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import networkx as nx
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ketenpipe.chain.catalogue import Reference
from ketenpipe.errors import WrongUse
from ketenpipe.risk import network as module
from ketenpipe.risk.definitions import INDICATORS as DEFINITIONS
from ketenpipe.risk.definitions import REASONS
from ketenpipe.risk.network import Network, average_clustering, build_network_indicators, outdegree_dispersion
from ketenpipe.risk.products import portions
from ketenpipe.risk.world import Vintages
from ketenpipe.tables.registry import CHAIN_NODES, NETWORK_INDICATORS
from ketenpipe_tests.risk.test_placing import placed, plan
from ketenpipe_tests.worlds import REVISION, catalogue, flows, node, one, rows

FEW = settings(max_examples=60, deadline=None)
STAMPED = Vintages({(REVISION, 2020): "V1"}, {2020: "an edition"}, "statistics")
Edge = tuple[int, int, float]


def network(*products: list[Edge]) -> Network:
    """Products of (exporter, importer, weight)."""
    every = [(k, i, j, w) for k, edges in enumerate(products) for i, j, w in edges]
    product, exporter, importer = (np.array([e[n] for e in every], dtype=np.int64) for n in range(3))
    return Network(product, exporter, importer, np.array([e[3] for e in every], dtype=float), len(products))


def by_networkx(edges: list[Edge]) -> dict[str, float]:
    """The figures of one product, a node at a time."""
    graph = nx.DiGraph()
    graph.add_weighted_edges_from(edges)
    count = len(graph)
    total = sum(w for _, _, w in edges)
    share = [d / total for _, d in graph.out_degree(weight="weight")]
    reach = list(nx.out_degree_centrality(graph).values())
    return {
        "sd": float(np.std(share)),
        "sd_none": float(np.std(reach)),
        "clustering": nx.average_clustering(graph, weight="weight"),
        "clustering_none": nx.average_clustering(graph),
        "count": count,
    }


def figures(given: Network) -> dict[str, np.ndarray]:
    """The same of all products."""
    return {
        "sd": outdegree_dispersion(given, weighted=True).value,
        "sd_none": outdegree_dispersion(given, weighted=False).value,
        "clustering": average_clustering(given, weighted=True),
        "clustering_none": average_clustering(given, weighted=False),
    }


@st.composite
def edge_lists(draw: st.DrawFn) -> list[Edge]:
    """Edges of one product, at least one."""
    pairs = draw(
        st.lists(
            st.tuples(st.integers(0, 6), st.integers(0, 6)).filter(lambda p: p[0] != p[1]), min_size=1, unique=True
        )
    )
    return [(i, j, draw(st.floats(0.001, 1e6))) for i, j in pairs]


# -- by hand -------------------------------------------------------------------------------------------------


def test_a_star_of_one_exporter() -> None:
    """0 sells to 1, 2 and 3: o = (1, 0, 0, 0), mean 1/4; no triangle."""
    star = network([(0, 1, 5.0), (0, 2, 5.0), (0, 3, 10.0)])
    found = outdegree_dispersion(star, weighted=True)
    assert found.value[0] == pytest.approx(math.sqrt((0.75**2 + 3 * 0.25**2) / 4))
    assert (found.central[0], found.centrality[0]) == (0, 1.0)
    reach = outdegree_dispersion(star, weighted=False)
    assert reach.value[0] == found.value[0]
    assert reach.centrality[0] == 1.0
    assert average_clustering(star, weighted=True)[0] == 0.0


def test_shares_and_reach_differ() -> None:
    """1 sells most, 0 reaches most: o = (.25, .75, 0), k / 2 = (1, .5, 0)."""
    given = network([(0, 1, 10.0), (0, 2, 10.0), (1, 2, 60.0)])
    share, reach = (outdegree_dispersion(given, weighted=w) for w in (True, False))
    assert (share.central[0], share.centrality[0]) == (1, 0.75)
    assert (reach.central[0], reach.centrality[0]) == (0, 1.0)
    assert share.value[0] == pytest.approx(np.std([0.25, 0.75, 0.0]))
    assert reach.value[0] == pytest.approx(np.std([1.0, 0.5, 0.0]))


def test_a_directed_triangle() -> None:
    """0 -> 1 -> 2 -> 0: each node has one of its two directed triangles; weights 8, 1, 1 give (8*1*1/512)^(1/3)."""
    given = network([(0, 1, 8.0), (1, 2, 1.0), (2, 0, 1.0)])
    assert average_clustering(given, weighted=False)[0] == pytest.approx(0.5)
    assert average_clustering(given, weighted=True)[0] == pytest.approx(0.5 * (1.0 / 64.0) ** (1 / 3))


def test_a_complete_network_clusters_wholly_and_disperses_not_at_all() -> None:
    every = network([(i, j, 3.0) for i in range(5) for j in range(5) if i != j])
    assert average_clustering(every, weighted=False)[0] == pytest.approx(1.0)
    assert average_clustering(every, weighted=True)[0] == pytest.approx(1.0)
    assert outdegree_dispersion(every, weighted=True).value[0] == pytest.approx(0.0, abs=1e-15)


def test_of_two_equal_exporters_the_first_is_named() -> None:
    given = network([(3, 0, 2.0), (1, 0, 2.0), (2, 0, 1.0)])
    assert outdegree_dispersion(given, weighted=True).central[0] == 1


@pytest.mark.filterwarnings("error")
def test_a_product_without_edges_has_no_figure() -> None:
    given = network([(0, 1, 1.0)], [], [(1, 2, 1.0)])
    for values in figures(given).values():
        assert np.isnan(values).tolist() == [False, True, False]
    found = outdegree_dispersion(given, weighted=True)
    assert found.central.tolist() == [0, -1, 1]
    assert np.isnan(found.centrality).tolist() == [False, True, False]
    nothing = network()
    assert all(len(values) == 0 for values in figures(nothing).values())
    assert all(np.isnan(v).all() for v in figures(network([], [])).values())


# -- beside networkx -----------------------------------------------------------------------------------------


@FEW
@given(st.lists(edge_lists(), min_size=1, max_size=5))
def test_equal_to_networkx(products: list[list[Edge]]) -> None:
    found = figures(network(*products))
    for k, edges in enumerate(products):
        expected = by_networkx(edges)
        for name, values in found.items():
            assert values[k] == pytest.approx(expected[name], rel=1e-9, abs=1e-12), name


@pytest.mark.parametrize("cells", [1, 60, 10_000])
def test_blocks_of_any_size_give_the_same(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(1)
    products = []
    for size in (2, 9, 3, 5, 5, 12):
        pairs = [(i, j) for i in range(size) for j in range(size) if i != j and random.random() < 0.5] or [(0, 1)]
        products.append([(i, j, float(random.lognormal())) for i, j in pairs])
    whole = figures(network(*products))
    monkeypatch.setattr(module, "CELLS", cells)
    for name, values in figures(network(*products)).items():
        assert values.tolist() == pytest.approx(whole[name].tolist(), rel=1e-12)
    for k, edges in enumerate(products):
        assert whole["clustering"][k] == pytest.approx(by_networkx(edges)["clustering"])


def test_as_many_products_stand_in_memory_as_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten products of 40 traders each: the peak grows with the products that CELLS has room for, and no further."""
    random, size = np.random.default_rng(2), 40
    pairs = [(i, j) for i in range(size) for j in range(size) if (i - j) % size in (1, 2)]
    given = network(*([(i, j, float(random.lognormal())) for i, j in pairs] for _ in range(10)))

    def peak(cells: int) -> float:
        """In matrices of one product."""
        monkeypatch.setattr(module, "CELLS", cells)
        tracemalloc.start()
        average_clustering(given, weighted=True)
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return held / (size * size * 8)

    peak(1)  # what numpy makes at its first call does not count
    for room in range(2, 7):
        just_too_small, just_enough = peak(room * size * size - 1), peak(room * size * size)
        assert just_too_small == pytest.approx(peak((room - 1) * size * size), rel=0.02)
        # About four matrices of each product stand at once, beside what does not grow with the block.
        assert 3.0 < just_enough - just_too_small < 6.0
        assert just_enough < 6.0 * room + 6.0


@FEW
@given(edge_lists(), st.floats(0.01, 100.0), st.permutations(range(7)))
def test_neither_scale_nor_names_matter(edges: list[Edge], factor: float, names: list[int]) -> None:
    now = figures(network(edges))
    other = figures(network([(names[i], names[j], w * factor) for i, j, w in edges]))
    for name, values in now.items():
        assert 0.0 <= values[0] <= 1.0 + 1e-12
        assert other[name][0] == pytest.approx(values[0], rel=1e-9, abs=1e-12)


# -- rows ----------------------------------------------------------------------------------------------------

FLOWS = flows(
    [
        (2020, "100001", "AUT", "NLD", 10, 1),
        (2020, "100001", "CHN", "AUT", 30, 6),
        (2020, "100001", "CHN", "NLD", 30, None),
        (2020, "100001", "CHN", "CHN", 99, 99),
        (2020, "100002", "CHN", "NLD", 20, 2),
        (2020, "100002", "NLD", "AUT", 10, 1),
        (2020, "100003", "BRA", "USA", 5, None),
        (2020, "100004", "BRA", "BRA", 5, 1),
    ]
)
CATALOGUE = catalogue([node("pair", "100001 100002"), node("far", "100009")], (), {"g": "pair"})
PLAN = plan(placed("g", "pair", 0), placed("h", "pair", 2), placed("g", "far", 1))


def built(
    table: pa.Table = FLOWS,
    chain_nodes: pa.Table = PLAN,
    reference: Reference = CATALOGUE,
    foci: tuple[str, ...] = ("NLD", "EU27"),
    year: int = 2020,
    rows_a_batch: int | None = None,
) -> pa.Table:
    """The table of a year; text as dictionaries, as the store gives it: each batch has its own."""
    step = rows_a_batch or max(table.num_rows, 1)
    batches = []
    for start in range(0, table.num_rows, step):
        part = table.slice(start, step).combine_chunks()
        columns = {n: part.column(n) for n in part.column_names}
        coded = {n: c.dictionary_encode() if pa.types.is_string(c.type) else c for n, c in columns.items()}
        batches += pa.table(coded).to_batches()
    return build_network_indicators(year, batches, foci, chain_nodes, reference, STAMPED)


def row(table: pa.Table, indicator: str, measure: str, code: str, **where: Any) -> dict[str, Any]:
    """The one row of NLD."""
    return one(table, focus="NLD", indicator=indicator, measure=measure, code=code, **where)


def test_products_by_value_by_mass_and_with_edges_alike() -> None:
    table = built()
    # By value 60 of 70 are CHN's, by mass 6 of 7 but among the flows that have one.
    value = row(table, "S5a", "v", "100001")
    assert value["value"] == pytest.approx(np.std([60 / 70, 10 / 70, 0.0]))
    assert (value["country"], value["country_share"]) == ("CHN", pytest.approx(60 / 70))
    assert value["coverage"] is None
    by_mass = row(table, "S5a", "q", "100001")
    assert by_mass["value"] == pytest.approx(np.std([6 / 7, 1 / 7, 0.0]))
    assert by_mass["coverage"] == pytest.approx(40 / 70)
    reach = row(table, "S5a", "none", "100001")
    assert reach["value"] == pytest.approx(np.std([1.0, 0.5, 0.0]))
    assert reach["country_share"] == 1.0
    expected = by_networkx([(0, 1, 30.0), (0, 2, 30.0), (1, 2, 10.0)])
    clustered = row(table, "S5b", "v", "100001")
    assert clustered["value"] == pytest.approx(expected["clustering"])
    assert clustered["country"] is None
    assert clustered["country_share"] is None
    assert row(table, "S5b", "none", "100001")["value"] == pytest.approx(expected["clustering_none"])
    assert row(table, "S5b", "q", "100001")["value"] == 0.0  # two edges, no triangle
    assert row(table, "S5b", "q", "100001")["coverage"] == pytest.approx(40 / 70)


def test_the_share_of_a_small_trade_that_has_a_mass() -> None:
    small = flows([(2020, "100001", "CHN", "NLD", 0.5, 1), (2020, "100001", "AUT", "NLD", 0.25, None)])
    assert row(built(small), "S5a", "q", "100001", level="hs6")["coverage"] == pytest.approx(2 / 3)


def test_a_row_says_what_it_is() -> None:
    table = built()
    found = row(table, "S5a", "v", "100002")
    assert found["level"] == "hs6"
    assert (found["tier"], found["group"], found["year"], found["hs_revision"]) == (0, None, 2020, REVISION)
    assert (found["basis"], found["unit"], found["confidence"]) == ("exports", "index 0-1", "high")
    assert found["reason"] == "same_for_every_country"
    assert found["source_vintage"] == f"baci {REVISION} V1"
    assert found["method_version"] == "1"
    assert set(table.column("indicator").to_pylist()) == {"S5a", "S5b"} <= set(DEFINITIONS)
    assert table.schema.equals(NETWORK_INDICATORS.schema(), check_metadata=True)


@pytest.mark.filterwarnings("error")
def test_what_cannot_be_had_says_why() -> None:
    table = built()
    for indicator in ("S5a", "S5b"):
        without = row(table, indicator, "q", "100003")
        assert (without["value"], without["reason"]) == (None, "no_mass")
        assert row(table, indicator, "v", "100003")["value"] is not None
        for measure in ("v", "q", "none"):
            nothing = row(table, indicator, measure, "100004")
            assert (nothing["value"], nothing["reason"]) == (None, "no_exports_in_the_world")
            assert nothing["coverage"] is None
    assert {str(r) for r in table.column("reason").to_pylist()} <= set(REASONS)


def test_nodes_stand_on_summed_flows_and_groups_on_their_head() -> None:
    table = built()
    # CHN 80 of 100, AUT 10, NLD 10.
    expected = by_networkx([(0, 1, 30.0), (0, 2, 50.0), (1, 2, 10.0), (2, 1, 10.0)])
    places: tuple[dict[str, Any], ...] = (
        {"code": "pair", "level": "node", "group": "g", "tier": 0},
        {"code": "pair", "level": "node", "group": "h", "tier": 2},
        {"code": "g", "level": "group", "group": "g", "tier": 0},
    )
    for where in places:
        found = row(table, "S5a", "v", **where)
        assert found["value"] == pytest.approx(expected["sd"])
        assert (found["country"], found["country_share"]) == ("CHN", 0.8)
        assert row(table, "S5b", "v", **where)["value"] == pytest.approx(expected["clustering"])
        assert row(table, "S5b", "none", **where)["value"] == pytest.approx(expected["clustering_none"])
        # By mass CHN 8 of 10: 6 to AUT and, of its two flows to NLD, the 2 of the one that has a mass.
        by_mass = row(table, "S5a", "q", **where)
        assert by_mass["value"] == pytest.approx(np.std([0.8, 0.1, 0.1]))
        assert (by_mass["country_share"], by_mass["coverage"]) == (0.8, pytest.approx(70 / 100))
    assert not rows(table, code="far")  # no flows of its code
    assert len(rows(table, level="group")) == 2 * 2 * 3


def test_each_node_has_its_own_figures() -> None:
    reference = catalogue([node("pair", "100001 100002"), node("lone", "100003")], (), {"g": "pair", "h": "lone"})
    table = built(chain_nodes=plan(placed("g", "pair", 0), placed("h", "lone", 0)), reference=reference)
    # BRA alone sells the one's product, to USA alone; CHN holds 80 of 100 of the other's.
    assert row(table, "S5a", "v", "lone")["value"] == row(table, "S5a", "v", "h")["value"] == 0.5
    assert row(table, "S5a", "v", "lone")["country"] == "BRA"
    assert row(table, "S5a", "v", "pair")["value"] == pytest.approx(np.std([0.8, 0.1, 0.1]))
    assert row(table, "S5a", "q", "lone")["reason"] == "no_mass"


def test_a_node_takes_no_flows_of_another_revision() -> None:
    # The code is the node's in HS92 only; its namesake of HS17 is another product.
    other = flows([(2020, "100001", "RUS", "NLD", 500, 50), (2020, "100002", "RUS", "NLD", 500, 50)], revision="HS17")
    table = built(pa.concat_tables([other, FLOWS]))
    for level, code in (("node", "pair"), ("group", "g")):
        assert rows(table, level=level, code=code) == rows(built(), level=level, code=code)
    assert row(table, "S5a", "v", "100001", hs_revision="HS17")["country"] == "RUS"
    assert row(table, "S5a", "v", "100001", hs_revision=REVISION)["country"] == "CHN"


@pytest.mark.parametrize("rows_a_batch", [1, 3])
def test_the_flows_may_come_in_parts(rows_a_batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = built()
    monkeypatch.setattr(module, "portions", lambda given: portions(given, 1))
    assert built(rows_a_batch=rows_a_batch).equals(whole)


def test_the_same_for_every_focus() -> None:
    table = built()
    apart = [sorted(map(repr, (r | {"focus": ""} for r in rows(table, focus=f)))) for f in ("NLD", "EU27")]
    assert apart[0] == apart[1]
    assert apart[0]


def test_without_a_catalogue_or_flows() -> None:
    table = built(chain_nodes=CHAIN_NODES.empty(), reference=catalogue())
    assert set(table.column("level").to_pylist()) == {"hs6"}
    assert built(flows([])).equals(NETWORK_INDICATORS.empty())


def test_flows_of_another_year_are_refused() -> None:
    with pytest.raises(WrongUse, match="the networks of 2021 were asked for with flows of another year"):
        built(year=2021)
