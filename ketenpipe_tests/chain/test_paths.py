"""Paths: against plain enumeration, against the exposure they explain, by hand; the bound on what is left out."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ketenpipe.chain.catalogue import Reference
from ketenpipe.chain.paths import PathSearch, build_paths
from ketenpipe.chain.steps import Chain, ChainYear
from ketenpipe.errors import WrongUse
from ketenpipe.tables.registry import PATHS
from ketenpipe.tables.store import Store
from ketenpipe_tests.chain.step_worlds import Walked, drawn_chains, every_path, walk
from ketenpipe_tests.worlds import catalogue, edge, essential, flows, mass, mining, node, rows

A, B, C, D, E = "100001", "100002", "100003", "100004", "100005"
ALL = 10**9


def listed(table: pa.Table, **where: Any) -> list[tuple[str, float]]:
    return [(r["path"], r["share"]) for r in rows(table, **where)]


# -- the search against enumeration --------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(drawn_chains(), st.data())
def test_all_paths_are_found_and_sum_to_the_vector(chain: Chain, data: st.DataObject) -> None:
    target = data.draw(st.sampled_from(chain.order[1:]))
    expected = every_path(chain, target)
    found = PathSearch(chain, target).top(chain.starts["NLD"], 1.0, ALL)
    assert {p.states: p.share for p in found.paths} == pytest.approx(expected, rel=1e-12)
    assert (found.bound, found.residual) == (0.0, 0.0)
    vector = chain.vectors("NLD")[target]
    summed = np.zeros(len(vector))
    for path in found.paths:
        summed[path.states[-1][1]] += path.share
    assert summed == pytest.approx(vector, abs=1e-12)
    assert found.total == pytest.approx(1.0)


@settings(max_examples=150, deadline=None)
@given(drawn_chains(), st.data(), st.sampled_from([0.3, 0.5, 0.95, 1.0]), st.integers(1, 8))
def test_the_largest_come_first_and_the_bound_is_the_largest_left_out(
    chain: Chain, data: st.DataObject, explain: float, most: int
) -> None:
    target = data.draw(st.sampled_from(chain.order[1:]))
    expected = sorted(every_path(chain, target).values(), reverse=True)
    found = PathSearch(chain, target).top(chain.starts["NLD"], explain, most)
    shares = [p.share for p in found.paths]
    assert shares == pytest.approx(expected[: len(shares)], rel=1e-12)
    left = expected[len(shares) :]
    assert found.bound == pytest.approx(left[0] if left else 0.0, rel=1e-12)
    assert found.residual == pytest.approx(sum(left), abs=1e-12)
    # It stops as soon as enough is explained, and not before unless there are enough paths.
    assert len(shares) == most or sum(shares) >= explain - 1e-9
    assert len(shares) == 1 or sum(shares[:-1]) < explain


@settings(max_examples=60, deadline=None)
@given(drawn_chains(), st.data())
def test_only_the_origins_that_are_asked_for(chain: Chain, data: st.DataObject) -> None:
    target = data.draw(st.sampled_from(chain.order[1:]))
    wanted = data.draw(st.sets(st.integers(0, 3), min_size=1))
    expected = {k: v for k, v in every_path(chain, target).items() if k[-1][1] in wanted}
    found = PathSearch(chain, target, np.array(sorted(wanted))).top(chain.starts["NLD"], 1.0, ALL)
    assert {p.states: p.share for p in found.paths} == pytest.approx(expected, rel=1e-12)
    assert found.total == pytest.approx(sum(expected.values()), abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(drawn_chains(), st.data(), st.permutations(range(3)))
def test_ties_come_by_name_whatever_the_order_of_the_tables(
    chain: Chain, data: st.DataObject, order: list[int]
) -> None:
    target = data.draw(st.sampled_from(chain.order[1:]))
    found = PathSearch(chain, target).top(chain.starts["NLD"], 1.0, ALL).paths
    for first, second in itertools.pairwise(found):
        assert first.share > second.share or first.states < second.states or first.share == pytest.approx(second.share)
    equal = [p.states for p in found if p.share == found[0].share]
    assert equal == sorted(equal)
    again = replace(chain, edges=dict(reversed(chain.edges.items())))
    assert PathSearch(again, target).top(chain.starts["NLD"], 1.0, ALL).paths == found


def test_the_search_never_lists_all_paths_of_a_long_chain() -> None:
    # 12 tiers, 60 countries, every step spread over all: 60^13 paths. The 50 largest and their bound, at once.
    n, depth = 61, 12
    generator = np.random.default_rng(1)
    nodes = [node(f"n{k}", f"{200000 + k}") for k in range(depth + 1)]
    edges = {(f"n{k}", f"n{k + 1}"): essential(f"n{k}", f"n{k + 1}") for k in range(depth)}
    from ketenpipe_tests.chain.step_worlds import single

    def spread() -> np.ndarray:
        drawn = generator.dirichlet(np.full(n, 0.2), size=n)
        drawn[-1] = 0.0
        drawn[-1, -1] = 1.0
        return drawn

    chain = Chain(
        group="g", revision="HS92", head="n0", order=tuple(m.node for m in nodes), nodes={},
        users={f"n{k + 1}": ((f"n{k}", 1.0),) for k in range(depth)}, edges=edges, broken=frozenset(),
        traded={m.node: single(spread()) for m in nodes}, mixes={}, starts={"NLD": generator.dirichlet(np.ones(n))},
        basis={}, imputed={},
    )  # fmt: skip
    found = PathSearch(chain, f"n{depth}").top(chain.starts["NLD"], 0.95, 50)
    shares = [p.share for p in found.paths]
    assert len(shares) == 50
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] >= found.bound > 0
    assert found.residual + found.explained == pytest.approx(1.0)
    # The first is the largest of all: the same by dynamic programming from the focus up.
    best = chain.starts["NLD"]
    for k in range(1, depth + 1):
        best = (best[:, np.newaxis] * chain.traded[f"n{k}"].origins).max(axis=0)
    assert shares[0] == pytest.approx(best.max(), rel=1e-12)


# -- the table, by hand --------------------------------------------------------------------------------------


def world() -> tuple[pa.Table, Reference]:
    """Product a: 60 DEU, 40 FRA. Input b: DEU has 3/4 CHN, 1/4 RUS; FRA all CHN."""
    table = flows(
        [
            *mass(2020, A, ("DEU", "NLD", 60), ("FRA", "NLD", 40)),
            *mass(2020, B, ("CHN", "DEU", 75), ("RUS", "DEU", 25), ("CHN", "FRA", 10)),
        ]
    )
    return table, catalogue([node("a", A), node("b", B)], [essential("a", "b")])


def test_by_hand() -> None:
    # .6 * .75 = .45 DEU-CHN, .4 * 1 = .4 FRA-CHN, .6 * .25 = .15 DEU-RUS.
    seen = walk(*world()).seen
    table = build_paths(seen, explain=1.0)
    assert listed(table) == [("a@DEU <- b@CHN", 0.45), ("a@FRA <- b@CHN", 0.4), ("a@DEU <- b@RUS", 0.15)]
    first, second, third = table.to_pylist()
    assert (first["origin"], first["origin_exposure"], first["cumulative"]) == ("CHN", 0.85, 0.45)
    assert (second["nodes"], second["countries"]) == ("a b", "FRA CHN")
    assert (third["cumulative"], third["explained"], third["residual"], third["bound"]) == (1.0, 1.0, 0.0, 0.0)
    assert {r["rank"] for r in table.to_pylist()} == {1, 2, 3}
    assert {(r["tier"], r["basis"], r["evidence"], r["same_for_every_country"]) for r in table.to_pylist()} == {
        (1, "export_proxy", "textbook", False)
    }


def test_what_is_left_out_is_stated() -> None:
    seen = walk(*world()).seen
    table = build_paths(seen, explain=0.8).to_pylist()
    assert [r["rank"] for r in table] == [1, 2]
    assert {r["explained"] for r in table} == {0.85}
    assert {r["residual"] for r in table} == {0.15}
    # The bound is the .15 that is left out, raised so far that rounding cannot bring it below.
    assert all(0.15 <= r["bound"] < 0.15 + 1e-8 for r in table)
    capped = build_paths(seen, most=1).to_pylist()
    assert [(r["explained"], r["residual"]) for r in capped] == [(0.45, 0.55)]
    assert 0.4 <= capped[0]["bound"] < 0.4 + 1e-8


def test_rounding_never_brings_the_bound_below_a_path_left_out() -> None:
    # 2/3 DEU, 1/3 FRA, all of CHN: 1/3 is left out, and its nine digits lie below it.
    table = flows(
        [*mass(2020, A, ("DEU", "NLD", 2), ("FRA", "NLD", 1)), *mass(2020, B, ("CHN", "DEU", 1), ("CHN", "FRA", 1))]
    )
    seen = walk(table, world()[1]).seen
    (found,) = build_paths(seen, most=1).to_pylist()
    (chain,) = seen.chains()
    left_out = max(every for every in chain.starts["NLD"] if every < 0.5)
    assert left_out <= found["bound"] < left_out + 1e-8


def test_a_user_of_weight_nothing_is_on_no_path() -> None:
    # d goes into b (all of it) and into c, whose intensity was read as 0: no path through c.
    reference = catalogue(
        [node("a", A), node("b", B), node("x", E), node("d", D)],
        [essential("a", "b"), edge("a", "x", 0.0), essential("b", "d"), essential("x", "d")],
    )
    table = flows(
        [*mass(2020, A, ("DEU", "NLD", 10)), *mass(2020, B, ("CHN", "DEU", 10)), *mass(2020, D, ("ZAF", "CHN", 10))]
    )
    found = rows(build_paths(walk(table, reference).seen, explain=1.0), node="d")
    assert [(r["path"], r["share"]) for r in found] == [("a@DEU <- b@CHN <- d@ZAF", 1.0)]


def test_only_paths_to_one_country() -> None:
    seen = walk(*world()).seen
    assert listed(build_paths(seen, origin="RUS")) == [("a@DEU <- b@RUS", 0.15)]
    with pytest.raises(WrongUse, match="no chain of 2020 knows a country XXX"):
        build_paths(seen, origin="XXX")


def test_a_dashed_step_has_no_country_and_counts_as_assumed() -> None:
    reference = catalogue([node("a", A), node("b", B), node("c", C)], [essential("a", "b"), essential("b", "c")])
    table = flows([*mass(2020, A, ("DEU", "NLD", 10)), *mass(2020, C, ("CHN", "DEU", 10))])
    (found,) = build_paths(walk(table, reference).seen).to_pylist()
    assert (found["path"], found["tier"], found["evidence"]) == ("a@DEU <- (b) <- c@CHN", 1, "assumed")
    assert (found["nodes"], found["countries"]) == ("a b c", "DEU - CHN")


def test_several_users_share_by_their_weights_and_each_way_has_its_own_evidence() -> None:
    # As in the look-through: d through b weighs .6, through c .2, so .75 and .25.
    reference = catalogue(
        [node("a", A), node("b", B), node("c", C), node("d", D)],
        [edge("a", "b", 0.6), edge("a", "c", 0.2, evidence="assumed"), essential("b", "d"), essential("c", "d")],
    )
    table = flows(
        [
            *mass(2020, A, ("DEU", "NLD", 10)),
            *mass(2020, B, ("CHN", "DEU", 10)),
            *mass(2020, C, ("RUS", "DEU", 10)),
            *mass(2020, D, ("ZAF", "CHN", 10), ("ZAF", "RUS", 10)),
        ]
    )
    found = rows(build_paths(walk(table, reference).seen, explain=1.0), node="d")
    assert [(r["path"], r["share"], r["evidence"]) for r in found] == [
        ("a@DEU <- b@CHN <- d@ZAF", 0.75, "textbook"),
        ("a@DEU <- c@RUS <- d@ZAF", 0.25, "assumed"),
    ]
    assert {r["origin_exposure"] for r in found} == {1.0}


def test_the_world_mix_has_no_users_country_on_its_path() -> None:
    reference = catalogue(
        [node("a", A), node("b", B), node("mine_x", material="Ore", stage="extraction")],
        [essential("a", "b"), essential("b", "mine_x")],
    )
    made = mining([("Ore", "CHN", 2020, 80.0), ("Ore", "ZAF", 2020, 16.0), ("Ore", "USA", 2020, 4.0)])
    walked = walk(world()[0], reference, ("NLD", "EU27"), made)
    found = rows(build_paths(walked.seen), node="mine_x", focus="NLD")
    assert [(r["path"], r["share"]) for r in found] == [
        ("(a) <- (b) <- mine_x@CHN", 0.8),
        ("(a) <- (b) <- mine_x@ZAF", 0.16),
    ]
    assert {(r["countries"][:4], r["basis"], r["same_for_every_country"]) for r in found} == {
        ("- - ", "world_production_mix", True)
    }
    assert listed(build_paths(walked.seen), node="mine_x", focus="EU27") == [(r["path"], r["share"]) for r in found]
    assert 0.04 <= found[0]["bound"] < 0.04 + 1e-8


def test_unknown_origin_is_an_end_like_any_other() -> None:
    # RUS has no supply of b in the data: what it uses is of unknown origin.
    reference = catalogue([node("a", A), node("b", B)], [essential("a", "b")])
    table = flows([*mass(2020, A, ("DEU", "NLD", 10), ("RUS", "NLD", 30)), *mass(2020, B, ("CHN", "DEU", 90))])
    assert listed(build_paths(walk(table, reference).seen)) == [("a@RUS <- b@UNK", 0.75), ("a@DEU <- b@CHN", 0.25)]


def test_years_the_newest_by_default() -> None:
    reference = catalogue([node("a", A), node("b", B)], [essential("a", "b")])
    table = flows(
        itertools.chain.from_iterable(
            [*mass(y, A, ("DEU", "NLD", 10)), *mass(y, B, (c, "DEU", 10))] for y, c in ((2019, "CHN"), (2020, "RUS"))
        )
    )
    assert [(r["year"], r["path"]) for r in build_paths(walk(table, reference).seen).to_pylist()] == [
        (2020, "a@DEU <- b@RUS")
    ]
    assert [(r["year"], r["path"]) for r in build_paths(walk(table, reference, year=2019).seen).to_pylist()] == [
        (2019, "a@DEU <- b@CHN")
    ]
    with pytest.raises(WrongUse, match=r"the look-through has no year 1999 \(it has 2019-2020\)"):
        walk(table, reference, year=1999)


# -- the table against the exposure --------------------------------------------------------------------------


@st.composite
def traded_worlds(draw: st.DrawFn) -> Walked:
    places = ("CHN", "DEU", "FRA", "NLD")
    pairs = [(i, j) for i in places for j in places if i != j]

    def some(code: str) -> list[tuple[Any, ...]]:
        chosen = draw(st.lists(st.sampled_from(pairs), min_size=1, max_size=8, unique=True))
        return mass(2020, code, *((i, j, float(draw(st.integers(1, 500)))) for i, j in chosen))

    reference = catalogue(
        [node("a", A), node("b", f"{B} {E}"), node("c", C), node("d", D)],
        [edge("a", "b", 0.5), edge("a", "c", 0.25), essential("b", "d"), essential("c", "d")],
    )
    held = [k for k in (A, B, C, D, E) if k == A or draw(st.booleans())]
    apart = mass(2020, A, ("RUS", "NLD", 10))
    return walk(flows([*apart, *itertools.chain.from_iterable(some(k) for k in held)]), reference, ("NLD", "EU27"))


@settings(max_examples=25, deadline=None)
@given(traded_worlds())
def test_the_paths_of_a_world_sum_to_its_exposure(walked: Walked) -> None:
    table = build_paths(walked.seen, explain=1.0, most=ALL).to_pylist()
    summed: dict[tuple[str, str, str], float] = {}
    for r in table:
        key = (r["focus"], r["node"], r["origin"])
        summed[key] = summed.get(key, 0.0) + r["share"]
    expected = {
        (r["focus"], r["node"], r["country"]): r["share_traced"]
        for r in walked.exposure.exposure.to_pylist()
        if r["tier"] >= 1 and r["share_traced"] > 1e-9
    }
    assert {k: v for k, v in summed.items() if v > 1e-9} == pytest.approx(expected, abs=2e-9)
    for r in table:
        assert r["origin_exposure"] == pytest.approx(summed[(r["focus"], r["node"], r["origin"])], abs=2e-9)


@settings(max_examples=15, deadline=None)
@given(traded_worlds(), st.randoms())
def test_the_order_of_rows_in_the_tables_changes_nothing(walked: Walked, random: Any) -> None:
    def shuffled(table: pa.Table) -> pa.Table:
        return table.take(random.sample(range(table.num_rows), table.num_rows))

    found, tracing = walked.exposure, walked.tracing
    again = ChainYear.of(
        exposure=shuffled(found.exposure),
        chain_nodes=shuffled(found.chain_nodes),
        chain_edges=shuffled(found.chain_edges),
        production=shuffled(tracing.production),
        origin_mix=shuffled(tracing.origin_mix),
    )
    assert build_paths(again, explain=1.0).equals(build_paths(walked.seen, explain=1.0))


# -- what is refused, and what is nothing --------------------------------------------------------------------


def test_figures_out_of_range_and_unknown_foci() -> None:
    seen = walk(*world()).seen
    with pytest.raises(WrongUse, match="the share to explain must lie above 0 and not above 1, and 0 does not"):
        build_paths(seen, explain=0)
    with pytest.raises(WrongUse, match="at least one path must be allowed, not 0"):
        build_paths(seen, most=0)
    with pytest.raises(WrongUse, match=r"no focus DEU \(it has NLD\)"):
        build_paths(seen, foci=["DEU"])


def test_nothing_to_walk() -> None:
    # A focus without supply of the product has no chain; where nobody has, there is nothing to index.
    table, reference = world()
    assert build_paths(walk(table, reference, ("NLD", "BRA")).seen).column("focus").unique().to_pylist() == ["NLD"]
    with pytest.raises(WrongUse, match="no product group could be looked through"):
        walk(table, reference, ("BRA",))
    # A product without inputs: no path, an empty table of the contract.
    lone = walk(table, catalogue([node("a", A)], [])).seen
    assert build_paths(lone).schema == PATHS.schema()
    assert build_paths(lone).num_rows == 0


def test_the_stored_tables_give_the_same(tmp_path: Any) -> None:
    from ketenpipe.tables.registry import CHAIN_EDGES, CHAIN_NODES, EXPOSURE, ORIGIN_MIX, PRODUCTION

    walked, store = walk(*world()), Store(tmp_path)
    for contract, table in (
        (EXPOSURE, walked.exposure.exposure), (CHAIN_NODES, walked.exposure.chain_nodes),
        (CHAIN_EDGES, walked.exposure.chain_edges), (PRODUCTION, walked.tracing.production),
        (ORIGIN_MIX, walked.tracing.origin_mix),
    ):  # fmt: skip
        store.write(contract, table, "2020" if contract.partitioned else None)
    assert build_paths(ChainYear.read(store)).equals(build_paths(walked.seen))
    assert ChainYear.read(store, 2020).year == 2020
