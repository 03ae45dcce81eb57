"""Monte Carlo through the chains: by hand, against the dictionaries of step one, and against whole runs of a draw."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ketenpipe.chain.catalogue import Reference
from ketenpipe.chain.lookthrough import NodeOrigins, combine_codes, plan_group, step_upstream
from ketenpipe.chain.tracing import UNKNOWN
from ketenpipe.errors import WrongUse
from ketenpipe.risk import chain_draws
from ketenpipe.risk.chain_draws import (
    ChainDraws,
    ChainInDraws,
    DirectSums,
    DrawnNode,
    Published,
    SeenInDraws,
    TracedCode,
    above,
    and_,
    build_chain_draws,
    direct_in_draws,
    edge_weights,
    hidden_exposure,
    newest_years,
    not_,
    or_,
    persistent,
    plane_in_draws,
    specific_link,
    sum_flows,
    summing_to_one,
    told_of,
    weakest_link,
)
from ketenpipe.risk.draws import DrawnCode, Draws, Noise, Places, read_codes
from ketenpipe.risk.indicators import kleene_and, kleene_or
from ketenpipe.risk.planes import plane_of
from ketenpipe.risk.product_draws import build_product_draws, product_noise
from ketenpipe.risk.uncertainty import Uncertainty, load_uncertainty
from ketenpipe.tables.registry import CHAIN_INDICATORS, COUNTRY_RISK, DRAWN_VERDICTS, FLAGS, INDICATORS, UNCERTAINTY
from ketenpipe.tables.store import Store
from ketenpipe_tests.benchmarks import bench_montecarlo_chains
from ketenpipe_tests.worlds import (
    FIRST,
    REVISION,
    RISKY,
    SAFE,
    SCORES,
    SECOND,
    SHIPPED,
    Run,
    catalogue,
    chain_world,
    edge,
    essential,
    flows,
    link,
    mass,
    mining,
    node,
    non_producer,
    one,
    rows,
    run,
    scores,
    thresholds,
)

NAN = float("nan")
TRI = (True, False, None)
Floats = np.ndarray


def signs(*values: bool | None) -> Floats:
    return np.array([NAN if v is None else float(v) for v in values])


def same(found: Any, wanted: Any, rtol: float = 1e-12) -> None:
    np.testing.assert_allclose(found, wanted, rtol=rtol, atol=1e-15)


# -- three values ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("a", TRI)
@pytest.mark.parametrize("b", TRI)
def test_verdicts_join_as_kleene_has_it(a: bool | None, b: bool | None) -> None:
    same(and_(signs(a), signs(b)), signs(kleene_and(a, b)))
    same(or_([signs(a), signs(b)], 1), signs(kleene_or([a, b])))
    same(or_([signs(b), signs(None), signs(a)], 1), signs(kleene_or([b, None, a])))
    same(not_(signs(a)), signs(None if a is None else not a))


def test_nothing_joined_is_false_and_on_a_threshold_is_not_above_it() -> None:
    same(or_([], 2), [0.0, 0.0])
    same(above(np.array([0.4, 0.41, NAN, 0.39]), 0.4), [0.0, 1.0, NAN, 0.0])


# -- the plane ---------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_the_plane_of_every_column_is_that_of_its_vector(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    countries = [*(f"C{k}" for k in range(n)), UNKNOWN]
    vector = rng.random((n + 1, 5)) * (rng.random((n + 1, 5)) < 0.7)
    own = {c for c in countries[:-1] if rng.random() < 0.3}
    unscored = {c for c in countries if rng.random() < 0.3} | {UNKNOWN}
    risk = rng.random((n + 1, 5))
    risk[[c in unscored for c in countries]] = NAN
    foreign = np.array([c not in own and c != UNKNOWN for c in countries])
    found = plane_in_draws(vector, foreign, risk)
    for column in range(5):
        scored = {c: r for c, r in zip(countries, risk[:, column], strict=True) if c not in unscored}
        wanted = plane_of(dict(zip(countries, vector[:, column], strict=True)), own, scored)
        for name in ("o1", "o1_renormalised", "g2", "g3"):
            figure = getattr(wanted, name)
            assert getattr(found, name)[column] == pytest.approx(NAN if figure is None else figure, nan_ok=True), name


def test_the_plane_by_hand() -> None:
    # Foreign: .5 at risk .8 and .2 without a score; own .2; unknown .1. O1 = .29, O1r = .29/.49, G2 = .8, G3 = 2.
    vector = np.array([[0.5], [0.2], [0.2], [0.1]])
    risk = np.array([[0.8], [NAN], [0.1], [NAN]])
    plane = plane_in_draws(vector, np.array([True, True, False, False]), risk)
    same(plane.o1, [0.29])
    same(plane.o1_renormalised, [0.29 / 0.49])
    same(plane.g2, [0.8])
    same(plane.g3, [2.0])
    # Nothing foreign is nothing risky; something foreign without a score is unknown.
    nobody, dark = (plane_in_draws(vector, np.array(f), risk) for f in ([False] * 4, [False, True, False, False]))
    same(nobody.g3, [0.0])
    same(np.r_[nobody.o1, nobody.o1_renormalised, nobody.g2], [0.0, NAN, NAN])
    same(np.r_[dark.o1, dark.o1_renormalised, dark.g2, dark.g3], [0.04, 1.0, NAN, NAN])


# -- rows of a node, against the dictionaries of step one ------------------------------------------------------


@dataclass(frozen=True)
class Exact:
    """A code whose matrices are given: origins of shape (countries, countries, columns), unknown origin last."""

    countries: tuple[str, ...]
    supply: Floats
    consumption: Floats
    origins: Floats

    def left(self, weights: Floats) -> Floats:
        found: Floats = np.einsum("jc,joc->oc", weights, self.origins)
        return found


ALL = ("AAA", "BBB", "CCC", "DDD", UNKNOWN)


def exact(rng: np.random.Generator, countries: tuple[str, ...], columns: int) -> Exact:
    n = len(countries)
    origins = rng.random((n, n, columns)) + 1e-3
    supply = rng.random((n, columns)) * (rng.random(n) < 0.7)[:, np.newaxis]
    supply[countries.index(UNKNOWN)] = 0.0
    eaten = supply * rng.random((n, columns)) * (rng.random(n) < 0.6)[:, np.newaxis]
    origins = origins / origins.sum(axis=1, keepdims=True) * (supply > 0)[:, np.newaxis, :]
    return Exact(countries, supply, eaten, origins)


def drawn_node(codes: Sequence[Exact], columns: int) -> DrawnNode:
    at = tuple(np.array([ALL.index(c) for c in code.countries]) for code in codes)
    return DrawnNode(tuple(codes), at, len(ALL), columns)


def parts_of(codes: Sequence[Exact], country: str, column: int) -> list[tuple[dict[str, float], float, float, float]]:
    parts = []
    for code in codes:
        if country in code.countries and code.supply[at := code.countries.index(country), column] > 0:
            row = dict(zip(code.countries, code.origins[at, :, column], strict=True))
            parts.append((row, code.consumption[at, column], code.supply[at, column], 0.0))
    return parts


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_a_step_upstream_is_that_of_the_dictionaries(count: int, seed: int) -> None:
    rng, columns = np.random.default_rng(seed), 3
    subsets = [tuple(c for c in ALL if c == UNKNOWN or rng.random() < 0.7) for _ in range(count)]
    codes = [exact(rng, countries, columns) for countries in subsets]
    vector = rng.random((len(ALL), columns))
    vector /= vector.sum(axis=0)
    found = drawn_node(codes, columns).through(vector)
    for column in range(columns):
        origins = NodeOrigins({c: combine_codes(p) for c in ALL if (p := parts_of(codes, c, column))}, "observed")
        wanted, _ = step_upstream(dict(zip(ALL, vector[:, column], strict=True)), origins)
        same(found[:, column], [wanted.get(c, 0.0) for c in ALL], rtol=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(0, 2**32 - 1), st.booleans())
def test_the_own_supply_is_the_row_of_a_country_and_the_mean_of_a_bloc(count: int, seed: int, single: bool) -> None:
    rng, columns = np.random.default_rng(seed), 3
    codes = [exact(rng, ALL, columns) for _ in range(count)]
    inside = {"BBB"} if single else {"AAA", "BBB", "CCC"}
    found = drawn_node(codes, columns).own(np.array([c in inside for c in ALL]), single=single)
    for column in range(columns):
        members = [combine_codes(p) for c in sorted(inside) if (p := parts_of(codes, c, column))]
        eating = members if single else [(row, e, e, d) for row, e, _, d in members if e > 0]
        if not eating:
            assert np.isnan(found[:, column]).all()
            continue
        wanted, _, _, _ = combine_codes(eating)
        same(found[:, column], [wanted.get(c, 0.0) for c in ALL], rtol=1e-9)


def test_a_country_weighs_its_codes_by_consumption_or_by_supply_by_hand() -> None:
    # BBB eats 3 of the first code and 1 of the second (made in AAA and CCC): .75 and .25, though it holds more of the
    # second. AAA passes everything on: by supply, 1 to 1. CCC has none of the first.
    def code(supply: Sequence[float], eaten: Sequence[float], origin: str) -> Exact:
        held = np.array(supply)[:, np.newaxis]
        origins = np.zeros((5, 5, 1))
        origins[:, ALL.index(origin), 0] = held[:, 0] > 0
        return Exact(ALL, held, np.array(eaten)[:, np.newaxis], origins)

    codes = [code([5, 3, 0, 0, 0], [0, 3, 0, 0, 0], "AAA"), code([5, 9, 2, 0, 0], [0, 1, 2, 0, 0], "CCC")]
    held = drawn_node(codes, 1)
    same(held.weights(0)[:, 0], [0.5, 0.75, 0.0, 0.0, 0.0])
    same(held.weights(1)[:, 0], [0.5, 0.25, 1.0, 0.0, 0.0])
    # .4 of AAA, .4 of BBB, .1 of DDD, which has none of either, .1 unknown already.
    found = held.through(np.array([[0.4], [0.4], [0.0], [0.1], [0.1]]))
    same(found[:, 0], [0.2 + 0.3, 0.0, 0.2 + 0.1, 0.0, 0.2])
    # A bloc of AAA and BBB weighs members by what they eat of all codes: BBB alone.
    same(held.own(np.array([True, True, False, False, False]), single=False)[:, 0], [0.75, 0.0, 0.25, 0.0, 0.0])
    same(held.own(np.array([True, False, False, False, False]), single=True)[:, 0], [0.5, 0.0, 0.5, 0.0, 0.0])
    assert np.isnan(held.own(np.array([False, False, False, True, False]), single=True)).all()
    assert np.isnan(held.own(np.array([True, False, False, True, False]), single=False)).all()
    alone = drawn_node(codes[:1], 1)
    same(alone.weights(0)[:, 0], [1.0, 1.0, 0.0, 0.0, 0.0])


def test_what_a_code_calls_unknown_is_never_looked_through() -> None:
    # The unknown part of the vector has no supply of the input, even where the code's data have a trader of that name.
    supply = np.array([[1.0], [0.0], [0.0], [0.0], [4.0]])
    origins = np.zeros((5, 5, 1))
    origins[[0, 4], 0] = 1.0
    held = drawn_node([Exact(ALL, supply, supply, origins)], 1)
    same(held.through(np.array([[0.5], [0.0], [0.0], [0.0], [0.5]]))[:, 0], [0.5, 0.0, 0.0, 0.0, 0.5])


def test_rounding_is_taken_out_of_a_vector() -> None:
    same(summing_to_one(np.array([[0.2, 3.0], [0.2, 1.0]])), [[0.5, 0.75], [0.5, 0.25]])


def test_a_code_is_exact_where_nothing_has_noise_and_eats_nothing_of_what_rounding_leaves() -> None:
    # DEU sells all but a ten-millionth of what it buys; BEL exactly all. Without noise that is what it is.
    table = flows(
        [
            *mass(2020, SAFE, ("CHN", "DEU", 100), ("CHN", "BEL", 70), ("BEL", "NLD", 70), ("CHN", "FRA", 33)),
            (2020, SAFE, "DEU", "NLD", 10.0, 100.0 - 1e-5),
        ]
    )
    (flows_of_code,) = read_codes(table, catalogue(), None)
    draws = Draws(3, 1)
    held = TracedCode(DrawnCode(flows_of_code.measured("q"), Noise(draws, quiet(), np.float32)), draws)
    eaten = dict(zip(held.countries, held.consumption, strict=True))
    assert eaten["DEU"][0] == pytest.approx(1e-5)
    same(eaten["DEU"][1:], np.zeros(draws.columns - 1))
    same(eaten["BEL"], np.zeros(draws.columns))
    same(eaten["FRA"], np.full(draws.columns, 33.0))
    supply = dict(zip(held.countries, held.supply[:, 0], strict=True))
    assert supply == pytest.approx(
        {"BEL": 70, "CHN": 203, "DEU": 100, "FRA": 33, "NLD": 170 - 1e-5, UNKNOWN: 0}, rel=1e-15
    )
    weights = np.zeros((len(held.countries), draws.columns))
    weights[held.countries.index("NLD")] = 0.25
    found = held.left(weights)
    same(found[held.countries.index("CHN")], np.full(draws.columns, 0.25), rtol=1e-6)
    same(found[:, 0].sum(), 0.25)


# -- path weights and means of users ---------------------------------------------------------------------------


def chain_of(
    edges: Mapping[tuple[str, str], Floats | None], columns: int, status: Mapping[str, str] | None = None
) -> ChainInDraws:
    graph = nx.DiGraph(list(edges))
    nodes = {n: {"status": (status or {}).get(n, "traded"), "tier": 1} for n in graph.nodes}
    return ChainInDraws("g", "a", nodes, graph, edges, columns)


def mean(chain: ChainInDraws, name: str, vectors: Mapping[str, Floats]) -> Floats:
    """The first country of a mean of users' vectors."""
    found = chain.mixed(name, vectors)
    assert found is not None
    return found[0]


def test_a_path_weight_is_the_largest_product_column_by_column() -> None:
    # a <- b .5 and .1, a <- c .2; b <- d .5, c <- d 1: .25 against .2 in one column, .05 against .2 in the other.
    half, full, small = np.array([0.5, 0.5]), np.ones(2), np.array([0.2, 0.2])
    chain = chain_of({("a", "b"): np.array([0.5, 0.1]), ("a", "c"): small, ("b", "d"): half, ("c", "d"): full}, 2)
    found = chain.path_weights
    same(found["a"], [1.0, 1.0])
    same(found["d"], [0.25, 0.2])
    # The mean of the users goes by the same products: d takes b with .25 of .45, then .05 of .25.
    vectors = {n: np.full((2, 2), value) for n, value in (("a", 9.0), ("b", 1.0), ("c", 0.0))}
    same(mean(chain, "d", vectors), [0.25 / 0.45, 0.05 / 0.25])
    same(mean(chain, "b", vectors), [9.0, 9.0])


def test_a_weight_that_is_not_known_leaves_the_path_open_and_the_mean_even() -> None:
    chain = chain_of({("a", "b"): None, ("a", "c"): None, ("b", "d"): np.ones(1), ("c", "d"): np.array([0.5])}, 1)
    assert chain.path_weights["b"] is None
    assert chain.path_weights["d"] is None
    vectors = {n: np.array([[value]]) for n, value in (("a", 5.0), ("b", 1.0), ("c", 0.0))}
    same(mean(chain, "d", vectors), [0.5])
    # One that is known takes all: the other counts for nothing.
    chain = chain_of({("a", "b"): np.array([0.1]), ("a", "c"): None, ("b", "d"): np.ones(1), ("c", "d"): np.ones(1)}, 1)
    same(chain.path_weights["d"], [0.1])
    same(mean(chain, "d", vectors), [1.0])
    # Weights of 0 are known and say nothing: evenly.
    nothing = np.zeros(1)
    chain = chain_of({("a", "b"): nothing, ("a", "c"): nothing, ("b", "d"): np.ones(1), ("c", "d"): np.ones(1)}, 1)
    same(chain.path_weights["d"], [0.0])
    same(mean(chain, "d", vectors), [0.5])


def test_users_that_are_not_there_or_are_statistics_give_nothing() -> None:
    edges = {pair: np.ones(1) for pair in (("a", "b"), ("a", "c"), ("b", "d"), ("c", "d"))}
    chain = chain_of(edges, 1, {"c": "production"})
    vectors = {"b": np.array([[1.0]]), "c": np.array([[7.0]])}
    same(mean(chain, "d", vectors), [1.0])
    assert chain.mixed("d", {"c": np.array([[7.0]])}) is None
    assert chain.mixed("b", {}) is None


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 7), st.integers(0, 2**32 - 1))
def test_without_noise_path_weights_are_those_of_the_plan(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = [f"n{k}" for k in range(n)]
    edges = [edge("n0", names[k], _intensity(rng), essential=bool(rng.random() < 0.3)) for k in range(1, n)]
    edges += [
        edge(names[i], names[k], _intensity(rng), essential=bool(rng.random() < 0.3))
        for i in range(1, n)
        for k in range(i + 1, n)
        if rng.random() < 0.4
    ]
    reference = catalogue([node(name, f"{300000 + k}") for k, name in enumerate(names)], edges)
    plan = plan_group(reference, "g", {REVISION: {f"{300000 + k}" for k in range(n)}}, set(), 9)
    weights = edge_weights(reference.edges_of("g"), Noise(Draws(2, 1), quiet()))
    chain = ChainInDraws("g", "n0", {}, reference.graph("g"), weights, Draws(2, 1).columns)
    for name in names:
        found, wanted = chain.path_weights[name], plan.weight[name]
        if wanted is None:
            assert found is None
        else:
            assert found is not None
            same(found, np.full(len(found), wanted), rtol=1e-9)


def _intensity(rng: np.random.Generator) -> float | None:
    return None if rng.random() < 0.3 else float(round(rng.random(), 3))


# -- intensities -----------------------------------------------------------------------------------------------


def quiet(**loud: float) -> Uncertainty:
    """The error model with every error 0 but those given."""
    shipped = load_uncertainty(SHIPPED).model_dump()
    for family, part in shipped.items():
        for name in ("log_sd", "standard_error"):
            if name in part:
                part[name] = loud.get(family, 0.0)
    return Uncertainty(**shipped)


def test_only_read_intensities_are_off_and_none_exceeds_one() -> None:
    draws = Draws(200, 7)
    noise = Noise(draws, quiet(intensities=1.0))
    edges = [
        essential("a", "b"), edge("a", "c", 0.5), edge("a", "d", 0.9, status="recalled"), edge("a", "e"),
        edge("a", "f", 1.0), edge("a", "g", 0.5, essential=True),
    ]  # fmt: skip
    found = edge_weights(edges, noise)
    for sure in ("b", "g"):
        same(found["a", sure], np.ones(draws.columns))
    assert found["a", "d"] is None
    assert found["a", "e"] is None
    read, full = found["a", "c"], found["a", "f"]
    assert read is not None
    assert full is not None
    assert read[0] == pytest.approx(0.5)
    assert full[0] == 1.0
    assert read[draws.drawn].std() > 0.1
    assert read.min() > 0
    assert read.max() == 1.0
    assert full.max() == 1.0
    assert full.min() < 0.5
    # Off in the draws, and in the columns of intensities alone by the same errors; in no other family's.
    same(read[draws.only("intensities")], read[draws.drawn][: draws.alone])
    for family in ("flows", "production", "governance"):
        same(read[draws.only(family)], np.full(draws.alone, 0.5))


def test_an_edge_has_the_same_factor_in_every_group() -> None:
    noise = Noise(Draws(5, 7), quiet(intensities=0.5))
    one_group, other = (edge_weights([edge("a", "b", 0.1, group=g)], noise)["a", "b"] for g in ("g", "h"))
    turned = edge_weights([edge("b", "a", 0.1)], noise)["b", "a"]
    assert one_group is not None
    assert other is not None
    assert turned is not None
    same(one_group, other)
    assert not np.allclose(one_group[1:6], turned[1:6])


# -- direct figures of summed flows ----------------------------------------------------------------------------


def sums(n: int = 4, **given: Any) -> DirectSums:
    nothing = {"sold": np.zeros((n, 1)), "bought": np.zeros((n, 1))}
    alone = {name: np.zeros(1) for name in ("out", "within", "between")}
    return DirectSums(**(nothing | alone | given))


def near(value: float | None, **close: Any) -> Any:
    """Nearly equal; null is equal to null only."""
    return value if value is None else pytest.approx(value, **close)


def column(*values: float) -> Floats:
    return np.array(values, dtype=float)[:, np.newaxis]


def test_direct_figures_of_a_country_by_hand() -> None:
    # NLD (last) buys 60 of CHN, 30 of USA, 10 of DEU (in the union), sells 50; CHN sells 200, USA 130, DEU 20 in all.
    held = sums(sold=column(200, 130, 20, 50), bought=column(60, 30, 10, 0), out=np.array([50.0]))
    members, union = np.array([False, False, False, True]), np.array([False, False, True, True])
    found = direct_in_draws(held, members, union, "NLD", bloc=False)
    same(found["M"], [100.0])
    same(found["C1"], [0.36 + 0.09 + 0.01])
    same(found["C2"], [(200**2 + 130**2 + 20**2 + 50**2) / 400**2])
    same(found["C4a"], [0.6])
    same(found["C5"], [0.9])
    same(found["S1"], [2.0])
    same(found["S2"], [(100 + 10) / 60])
    assert "S1b" not in found


def test_direct_figures_of_blocs_by_hand() -> None:
    # The bloc is the last two; they trade 40 among themselves, 15 of it sold by the one outside the EU27.
    held = sums(
        sold=column(200, 100, 45, 35), bought=column(60, 20, 0, 0), out=np.array([0.5]), within=np.array([40.0]),
        between=np.array([15.0]),
    )  # fmt: skip
    members, union = np.array([False, False, True, True]), np.array([False, True, False, True])
    found = direct_in_draws(held, members, union, "OECD", bloc=True)
    same(found["C2"], [(200**2 + 100**2 + 0.5**2) / 300.5**2])
    same(found["C4a"], [60 / 80])
    same(found["C5"], [(60 + 15) / 120])
    same(found["S1"], [160.0])
    same(found["S2"], [80 / 60])
    # Of a union everything within counts as within; and CDI3 is of the EU27.
    found = direct_in_draws(held, members, union, "EU27", bloc=True)
    same(found["C5"], [60 / 120])
    same(found["S1b"], [80 / 40.5])
    same(direct_in_draws(held, members, union, "EU", bloc=True)["C5"], [60 / 120])
    assert "S1b" not in direct_in_draws(held, members, union, "EU", bloc=True)


def test_direct_figures_that_cannot_be_had() -> None:
    members, union = np.array([False, False, False, True]), np.zeros(4, dtype=bool)
    nobody = direct_in_draws(sums(), members, union, "EU27", bloc=True)
    for name in ("C1", "C2", "C4a", "C5", "S1", "S1b", "S2"):
        same(nobody[name], [NAN])
    same(nobody["M"], [0.0])
    # Sold and not bought: S1 is 0. Bought and not sold: there is no ratio.
    seller = direct_in_draws(sums(sold=column(5, 0, 0, 9), out=np.array([9.0])), members, union, "EU27", bloc=True)
    same(np.r_[seller["S1"], seller["S1b"], seller["C1"], seller["S2"]], [0.0, 0.0, NAN, NAN])
    buyer = direct_in_draws(sums(sold=column(5, 0, 0, 0), bought=column(5, 0, 0, 0)), members, union, "EU27", bloc=True)
    same(np.r_[buyer["S1"], buyer["S1b"], buyer["S2"], buyer["C4a"]], [NAN, NAN, 0.0, 1.0])
    # Rounding never makes the others' sales negative.
    held = sums(sold=column(5, 1, 0, 0), bought=column(5, 1.0000001, 0, 0))
    assert direct_in_draws(held, members, union, "NLD", bloc=False)["S2"][0] == 0.0


def test_summed_flows_are_the_sums_of_drawn_flows() -> None:
    table = flows(
        [
            *mass(2020, FIRST, ("CHN", "NLD", 30), ("DEU", "NLD", 20), ("NLD", "USA", 7), ("GBR", "DEU", 3)),
            *mass(2020, SECOND, ("CHN", "DEU", 11), ("NLD", "DEU", 5), ("CHN", "NLD", 4), ("DEU", "NLD", 6)),
        ]
    )
    codes = list(read_codes(table, catalogue(), None))
    names = [*sorted({c for code in codes for c in code.countries} - {UNKNOWN}), UNKNOWN]
    at = [np.array([names.index(c) for c in code.countries]) for code in codes]
    members, union = (np.array([c in held for c in names]) for held in ({"NLD", "GBR", "DEU"}, {"NLD", "DEU"}))
    draws = Draws(3, 1)
    noise = Noise(draws, quiet(flows_v=0.5))
    found = sum_flows(codes, at, members, union, noise)
    tables = np.concatenate(noise.flows("v"), axis=1)
    wanted: dict[str, Any] = {"out": 0.0, "within": 0.0, "between": 0.0}
    sold, bought = np.zeros((2, len(names), draws.columns))
    for code in codes:
        row = Places(code.countries).flows(REVISION, code.code, 2020, code.sender, code.receiver)
        for k, amount in enumerate(code.value):
            drawn = amount * tables[row[k]]
            i, j = code.countries[code.sender[k]], code.countries[code.receiver[k]]
            sold[names.index(i)] += drawn
            inside_i, inside_j = i in ("NLD", "GBR", "DEU"), j in ("NLD", "GBR", "DEU")
            if inside_j and not inside_i:
                bought[names.index(i)] += drawn
            elif inside_i and inside_j:
                wanted["within"] = wanted["within"] + drawn
                wanted["between"] = wanted["between"] + (drawn if i == "GBR" else 0.0)
            elif inside_i:
                wanted["out"] = wanted["out"] + drawn
    same(found.sold, sold, rtol=1e-6)
    same(found.bought, bought, rtol=1e-6)
    for name, values in wanted.items():
        same(getattr(found, name), values, rtol=1e-6)
        assert np.ptp(getattr(found, name)) > 1.0
    assert found.within[0] == 310.0 + 30.0
    assert found.between[0] == 30.0
    assert found.out[0] == 70.0


@pytest.mark.parametrize(
    ("holds", "before", "wanted"),
    [
        (1, (1, 0), 1), (1, (0, 0), 0), (0, (1, 1), 1), (0, (1, 0), 0), (1, (NAN, 0), NAN), (1, (NAN, 1), 1),
        (0, (NAN, 0), 0), (0, (NAN, NAN), NAN), (NAN, (1, 0), NAN), (NAN, (1, 1), 1), (NAN, (0, 0), 0),
        (1, (), NAN), (0, (1,), NAN), (0, (0,), 0), (0, (0, 0, 1), 0),
    ],
)  # fmt: skip
def test_geodep_over_its_window(holds: float, before: tuple[float, ...], wanted: float) -> None:
    same(persistent(np.array([float(holds)]), before, thresholds()), [wanted])


# -- what may be told, and the links of a chain ----------------------------------------------------------------


def test_a_proxy_tells_nothing_and_little_mass_clears_nobody() -> None:
    test = signs(True, False, None)
    same(told_of(test, None), signs(True, False, None))
    same(told_of(test, "producer_list"), signs(True, False, None))
    same(told_of(test, "export_proxy"), signs(None, None, None))
    same(told_of(test, "small_or_precious"), signs(True, None, None))
    same(told_of(test, "export_proxy; small_or_precious"), signs(None, None, None))


def seen(
    test: Sequence[bool | None],
    tier: int = 1,
    weight: Sequence[float] | None = (1.0,),
    *,
    told: Sequence[bool | None] | None = None,
    g3: Sequence[float] = (0.0,),
    world_mix: bool = False,
) -> SeenInDraws:
    values = signs(*test)
    known = None if weight is None else np.broadcast_to(np.array(weight), values.shape)
    return SeenInDraws(
        np.ones((1, len(values))),
        world_mix,
        tier,
        known,
        values,
        values if told is None else signs(*told),
        np.array(g3),
    )


def links(product: SeenInDraws, *upstream: SeenInDraws, status: Sequence[str] = ()) -> tuple[Floats, Floats]:
    nodes = {"p": product} | {f"n{k}": s for k, s in enumerate(upstream)}
    return specific_link(nodes, "p", thresholds(), {"traded", *status})


FAILS, PASSES = seen([False], 0), seen([True], 0)


def test_an_indirect_dependency_by_hand() -> None:
    for upstream, wanted in (([True], 1), ([False], 0), ([None], NAN)):
        same(links(FAILS, seen(upstream))[0], [wanted])
        same(links(PASSES, seen(upstream))[0], [0.0])
        same(links(seen([None], 0), seen(upstream))[0], [NAN if wanted != 0 else 0.0])
    same(links(FAILS, seen([False]), seen([True], 2))[0], [1.0])
    # Tier 3, or the world's mix, is not looked at; tier 2 is.
    for far in (seen([True], 3), seen([True], world_mix=True), seen([True], 0)):
        same(links(FAILS, far)[0], [0.0])


def test_a_path_counts_in_the_columns_where_it_weighs_enough() -> None:
    product = seen([False] * 4, 0)
    upstream = seen([True] * 4, weight=[0.05, 0.0499, 0.2, 0.0])
    same(links(product, upstream)[0], [1.0, 0.0, 1.0, 0.0])
    # Another of unknown weight: where nobody is heavy enough it cannot be told.
    same(links(product, upstream, seen([True] * 4, weight=None))[0], [1.0, NAN, 1.0, NAN])
    same(links(product, seen([False] * 4, weight=[0.05, 0.04, 0.2, 0.0]), seen([True] * 4, weight=None))[0],
         [0.0, NAN, 0.0, NAN])  # fmt: skip


def test_steps_without_data_leave_it_open_where_nothing_else_can_be_tested() -> None:
    for status in ("dashed", "missing"):
        same(links(FAILS, status=[status])[0], [NAN])
        same(links(PASSES, status=[status])[0], [0.0])
        same(links(FAILS, seen([False]), status=[status])[0], [0.0])
        same(links(FAILS, seen([True], weight=[0.01]), status=[status])[0], [0.0])
        same(links(FAILS, seen([True], world_mix=True), status=[status])[0], [NAN])
    same(links(FAILS, status=["cut_off"])[0], [0.0])
    same(links(FAILS)[0], [0.0])
    same(links(FAILS, seen([True], weight=None))[0], [NAN])
    same(links(PASSES, seen([True], weight=None))[0], [0.0])


def test_an_indirect_dependency_is_told_where_the_products_test_is() -> None:
    untold = seen([False], 0, told=[None])
    same(links(untold, seen([False]))[0], [0.0])
    same(links(untold, seen([False]))[1], [NAN])
    same(links(untold, seen([True]))[1], [NAN])
    same(links(FAILS, seen([True], told=[None]))[0], [1.0])
    same(links(FAILS, seen([True], told=[None]))[1], [NAN])
    same(links(FAILS, seen([True], told=[None]), seen([True]))[1], [1.0])


def test_the_weakest_link_by_hand() -> None:
    # Weight 1 with G3 2, weight .5 with G3 6: .2 against .3; a weight or a score that is not known counts for nothing.
    nodes = [seen([True], g3=[2.0]), seen([True], weight=[0.5], g3=[6.0]), seen([True], weight=None, g3=[9.0]),
             seen([True], g3=[NAN])]  # fmt: skip
    same(weakest_link(nodes), [0.3])
    same(weakest_link(nodes[:1]), [0.2])
    same(weakest_link(nodes[2:]), [NAN])


def test_hidden_exposure_by_hand() -> None:
    # Among foreign countries of the node's own vector: CHN +.3, USA -.1; of GBR it has nothing, though x_0 has less.
    vector, start = column(0.5, 0.1, 0.0, 0.4), column(0.2, 0.2, -0.9, 0.0)
    same(hidden_exposure(vector, start, np.array([True, True, True, False])), [0.3])
    same(hidden_exposure(vector, start, np.array([False, True, True, False])), [-0.1])
    same(hidden_exposure(vector, start, np.array([False, False, True, False])), [NAN])
    same(hidden_exposure(vector, start, np.zeros(4, dtype=bool)), [NAN])


# -- whole runs ------------------------------------------------------------------------------------------------


def draws_of(held: Run, model: Uncertainty, draws: Draws, foci: tuple[str, ...] = ("NLD",), **over: Any) -> ChainDraws:
    world = held.world
    given: dict[str, Any] = {
        "flows": lambda year: world.flows.filter(pc.equal(world.flows.column("year"), year)),
        "chain_nodes": held.exposure.chain_nodes,
        "chain_indicators": held.indicators,
        "mining": world.mining,
        "country_risk": world.country_risk,
        "reference": held.reference,
        "foci": foci,
        "thresholds": thresholds(),
        "model": model,
        "draws": draws,
    } | over
    return build_chain_draws(given.pop("flows"), **given)


def keyed(table: pa.Table, key: Sequence[str]) -> dict[tuple[Any, ...], dict[str, Any]]:
    return {tuple(r[k] for k in key): r for r in table.to_pylist()}


#: Indicators that are drawn, and the measures and bases on which they are not.
DRAWN = {
    "C1", "C2", "C3", "C4a", "C4b", "C5", "S1", "S1b", "S2", "O1", "O1r", "G2", "G3", "T", "X1", "X1g", "X2",
    "X2_global", "hidden_exposure", "hidden_exposure_global",
}  # fmt: skip
DRAWN_METHODS = {
    "geodep", "swd2021", "cbs", "crma65", "tno", "node_test", "indirect_specific", "indirect_global",
}  # fmt: skip


def drawn_figures(indicators: pa.Table) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The published figures that are drawn."""
    return {
        k: r
        for k, r in keyed(indicators, INDICATORS.key).items()
        if r["level"] in ("node", "group")
        and r["indicator"] in DRAWN
        and not (r["measure"] == "q" and r["basis"] in ("imports", "exports"))
        and not (r["indicator"] in ("G2", "G3") and r["basis"] == "imports")
    }


def assert_published(held: Run, found: ChainDraws, year: int = 2020) -> None:
    """Every figure without noise is the published one, with its reason; and none is missing."""
    wanted = {k: r for k, r in drawn_figures(held.indicators).items() if r["year"] == year}
    made = keyed(found.uncertainty, UNCERTAINTY.key)
    assert made.keys() == wanted.keys()
    for key, row in made.items():
        assert row["value"] == near(wanted[key]["value"], rel=1e-7, abs=1e-9), key
        assert row["reason"] == wanted[key]["reason"]


def assert_verdicts(flags: pa.Table, found: ChainDraws) -> None:
    """In a draw that is the published run, the verdicts are its flags."""
    every = keyed(flags, FLAGS.key)
    wanted = {k: r for k, r in every.items() if r["level"] in ("node", "group") and r["method"] in DRAWN_METHODS}
    made = keyed(found.verdicts, DRAWN_VERDICTS.key)
    assert made.keys() == wanted.keys()
    for key, row in made.items():
        flag = wanted[key]
        raw = flag["flagged"] if flag["flagged"] is not None else flag["indicated"]
        assert row["flagged_share"] == (None if raw is None else float(raw)), key
        assert row["told_share"] == float(flag["flagged"] is not None), key


@lru_cache
def quiet_world() -> ChainDraws:
    return draws_of(chain_world(), quiet(), Draws(2, 1))


def test_without_errors_every_figure_and_verdict_is_the_published_one() -> None:
    # Every case of step two is among the groups of this world.
    found = quiet_world()
    assert_published(chain_world(), found)
    assert_verdicts(chain_world().flags, found)
    for row in found.uncertainty.to_pylist():
        if row["value"] is None:
            assert (row["low"], row["high"], row["mean"], row["draws"], row["flag_share"]) == (
                None,
                None,
                None,
                0,
                None,
            )
        else:
            assert (row["low"], row["high"]) == (pytest.approx(row["value"], rel=1e-5, abs=1e-6),) * 2
            assert row["draws"] == 2
        assert row["matters_most"] is None
        assert row["method_version"] == "1"


def test_with_errors_the_figure_without_noise_is_still_the_published_one() -> None:
    found = draws_of(chain_world(), load_uncertainty(SHIPPED), Draws(40, 3))
    assert_published(chain_world(), found)
    for row in found.uncertainty.to_pylist():
        if row["draws"]:
            assert row["low"] <= row["high"]
            assert row["flag_share"] is None or 0 <= row["flag_share"] <= 1


def test_thresholds_stand_beside_the_figures_they_flag() -> None:
    found = quiet_world().uncertainty.to_pylist()
    by_indicator = {r["indicator"]: r["threshold"] for r in found}
    limits = thresholds()
    assert by_indicator == {
        "C1": limits.C1.flag, "C2": limits.C2.flag, "C3": limits.C3.flag, "C4a": limits.C4.flag,
        "C4b": limits.C4.flag, "C5": limits.C5.flag, "S1": limits.S1.flag, "S2": limits.S2.flag,
        "O1": limits.O1.flag, "G2": limits.G2.flag, "O1r": None, "G3": None, "T": None, "X1": None, "X1g": None,
        "X2": None, "X2_global": None, "hidden_exposure": None, "hidden_exposure_global": None,
    }  # fmt: skip
    for row in found:
        value, limit = row["value"], row["threshold"]
        if value is None or (limit is None and row["indicator"] not in ("T", "X1", "X1g")):
            assert row["flag_share"] is None
        elif limit is None:
            assert row["flag_share"] == value
        elif abs(value - limit) > 1e-6:
            beyond = value < limit if row["indicator"] == "S2" else value > limit
            assert row["flag_share"] == float(beyond), row


def test_a_group_stands_as_its_product_and_its_chain() -> None:
    found = quiet_world().uncertainty.to_pylist()
    nodes = {
        (r["indicator"], r["measure"], r["basis"]): r for r in found if r["code"] == "safe" and r["group"] == "link"
    }
    groups = {(r["indicator"], r["measure"], r["basis"]): r for r in found if r["code"] == "link"}
    assert groups.keys() - nodes.keys() == {
        ("X1", "q", "traced"), ("X1g", "p", "world_production_mix"), ("X2", "q", "traced"),
        ("X2_global", "p", "world_production_mix"), ("hidden_exposure", "q", "traced"),
        ("hidden_exposure_global", "p", "world_production_mix"),
    }  # fmt: skip
    assert nodes.keys() <= groups.keys()
    assert groups["O1", "q", "traced"]["value"] == nodes["O1", "q", "traced"]["value"]
    assert {r["level"] for r in groups.values()} == {"group"}


def test_a_group_that_bears_the_name_of_its_product_stands_once() -> None:
    found = draws_of(two_years(), quiet(), Draws(1, 1)).uncertainty
    for level in ("node", "group"):
        assert len(rows(found, level=level, code="a", indicator="O1")) == 1


@lru_cache
def edge_world() -> Run:
    """Figures on their thresholds, a focus outside the EU27 that makes most itself, imports of half a thousand USD."""
    nodes = [node("even", SAFE), node("home", RISKY), node("tiny", SECOND)]
    table = flows(
        [
            *mass(2020, SAFE, ("CHN", "NLD", 300), ("NLD", "GBR", 300), ("RUS", "GBR", 300)),
            *mass(2020, RISKY, ("CHN", "USA", 100), ("DEU", "USA", 500), ("USA", "NLD", 50)),
            (2020, SECOND, "CHN", "NLD", 0.5, 1.0),
        ]
    )
    reference = catalogue(
        nodes,
        heads={n.node: n.node for n in nodes},
        links=[link(RISKY, "Made")],
        non_producers=[non_producer("DEU", name="home")],
    )
    made = mining([("Made", "USA", 2020, 900.0), ("Made", "CHN", 2020, 100.0)])
    return run(table, reference, ("USA", "NLD", "EU27"), statistics=made, risk={**SCORES, "CHN": 0.5})


def test_on_a_threshold_is_not_flagged_and_the_largest_third_country_is_neither_own_nor_unknown() -> None:
    found = draws_of(edge_world(), quiet(), Draws(2, 1), ("USA", "NLD", "EU27"))
    assert_published(edge_world(), found)
    assert_verdicts(edge_world().flags, found)
    # NLD buys and sells 300; what others than CHN sell to others is 300 as well.
    for indicator in ("S1", "S2"):
        row = one(found.uncertainty, level="group", group="even", focus="NLD", indicator=indicator)
        assert (row["value"], row["flag_share"]) == (1.0, 0.0)
    # USA: .6 of its own, a third of unknown origin (DEU makes none), a fifteenth of CHN.
    row = one(found.uncertainty, level="group", group="home", focus="USA", indicator="C4b")
    assert row["value"] == pytest.approx(1 / 15)
    # The EU27 buys for 500 USD and sells none: the published method gives that its sentinel, and flags.
    assert one(found.verdicts, level="group", group="tiny", focus="EU27", method="swd2021")["flagged_share"] == 1.0


# -- one draw is a run of the whole project on the inputs of that draw -----------------------------------------

FOCI = ("NLD", "EU27")
MADE = {"Hard": {"CHN": 80.0, "RUS": 15.0, "USA": 40.0}, "Ore": {"CHN": 5000.0, "USA": 3000.0, "RUS": 500.0}}
HEAD, PART, FIRST_ORE, SECOND_ORE = SAFE, RISKY, FIRST, SECOND


def drawn_reference(weight: Callable[[str, str, float], float] = lambda user, item, intensity: intensity) -> Reference:
    """A product, a part in it, ore of two codes and a mine behind both; a bloc that is no union beside the EU27."""
    nodes = [
        node("product", HEAD), node("part", PART), node("ore", f"{FIRST_ORE} {SECOND_ORE}"),
        node("mine", material="Hard", stage="extraction"), node("rest", "399999"),
    ]  # fmt: skip
    edges = [
        edge("product", "part", weight("product", "part", 0.3)),
        edge("product", "ore", weight("product", "ore", 0.2)),
        edge("product", "rest", 0.1),
        edge("part", "ore", weight("part", "ore", 0.5)),
        essential("ore", "mine"),
    ]
    return catalogue(nodes, edges, links=[link(FIRST_ORE, "Ore")], non_producers=[])


def drawn_flows(factor: Callable[[str, str, str, str], float] = lambda measure, code, i, j: 1.0) -> pa.Table:
    rng = np.random.default_rng(5)
    countries = ("CHN", "USA", "RUS", "DEU", "FRA", "NLD", "GBR")
    table = []
    for code in (HEAD, PART, FIRST_ORE, SECOND_ORE):
        for i in countries:
            for j in countries:
                if i != j and rng.random() < 0.7:
                    tonnes, price = 1000.0 * float(rng.lognormal(sigma=1.5)), float(rng.lognormal())
                    made = 8.0 if i in ("CHN", "USA", "RUS") else 1.0
                    tonnes *= made
                    table.append(
                        (2020, code, i, j, price * tonnes * factor("v", code, i, j), tonnes * factor("q", code, i, j))
                    )
    return flows(table)


RISKS = {**SCORES, "FRA": 0.2, "GBR": 0.15}
ERRORS = {"CHN": 0.3, "FRA": 0.0}


def statistics(made: Mapping[str, Mapping[str, float]]) -> pa.Table:
    return mining([(m, c, 2020, t) for m, held in made.items() for c, t in held.items()])


def drawn_run(table: pa.Table, reference: Reference, made: pa.Table, risk: pa.Table) -> Run:
    return run(table, reference, FOCI, statistics=made, risk=risk)


def published_scores() -> pa.Table:
    """Scores, two of them with a published error."""
    plain = scores(RISKS, [2020]).to_pylist()
    return COUNTRY_RISK.conform([{**r, "standard_error": ERRORS.get(r["country"])} for r in plain])


@lru_cache
def drawn_base() -> Run:
    return drawn_run(drawn_flows(), drawn_reference(), statistics(MADE), published_scores())


def run_of_the_draw(model: Uncertainty) -> Run:
    """The whole project on the inputs of the only draw of a seed, each worked out one by one."""
    noise = Noise(Draws(1, 11), model)

    def factor(measure: str, code: str, i: str, j: str) -> float:
        (row,) = Places((i, j)).flows(REVISION, code, 2020, np.array([0]), np.array([1]))
        return float(noise.flows(measure)[0][row, 1])

    def weight(user: str, item: str, intensity: float) -> float:
        spread = model.intensities.log_sd
        return float(min(1.0, intensity * noise.draws.factors("intensities", spread, "intensity", user, item)[0, 1]))

    # The mine's shares have errors of their own; the ore's statistic, in tonnes of the ore itself, has others.
    makers = {"Hard": "material Hard", "Ore": f"{REVISION} {FIRST_ORE}"}
    made = {}
    for material, what in makers.items():
        names = sorted(MADE[material])
        drawn = noise.production("observed")[Places(names).makers(what, 2020), 1]
        made[material] = {c: MADE[material][c] * float(f) for c, f in zip(names, drawn, strict=True)}
    risk = []
    for row in published_scores().to_pylist():
        if row["risk"] is not None:
            row["risk"] = float(noise.risk(row["country"], 2020, row["estimate"], row["standard_error"])[1])
        risk.append(row)
    return drawn_run(drawn_flows(factor), drawn_reference(weight), statistics(made), COUNTRY_RISK.conform(risk))


def moved_by(model: Uncertainty) -> set[str]:
    """Holds every figure and verdict of a draw against the run on its inputs; gives the indicators that are off."""
    redone = run_of_the_draw(model)
    found = draws_of(drawn_base(), model, Draws(1, 11), FOCI)
    wanted, moved = drawn_figures(redone.indicators), set()
    for key, row in keyed(found.uncertainty, UNCERTAINTY.key).items():
        if row["value"] is None:
            continue
        assert row["draws"] == 1, key
        assert row["mean"] == row["low"] == row["high"]
        assert row["mean"] == pytest.approx(wanted[key]["value"], rel=2e-5, abs=1e-6), key
        if abs(row["mean"] - row["value"]) > 1e-3 * abs(row["value"]):
            moved.add(row["indicator"])
    assert_verdicts(redone.flags, found)
    return moved


ON_FLOWS = {"C1", "C2", "C4a", "C5", "S1", "S1b", "S2"}


def test_a_draw_is_a_run_on_its_inputs() -> None:
    everything = {"flows_v": 0.4, "flows_q": 0.4, "production_observed": 0.4, "governance": 0.3, "intensities": 0.5}
    assert moved_by(quiet(**everything)) >= ON_FLOWS | {"O1", "O1r", "G2", "G3", "C3", "C4b", "X2", "hidden_exposure"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "moves", "rests"),
    [
        (quiet(flows_v=0.5), ON_FLOWS, {"O1", "C3", "C4b"}),
        (quiet(flows_q=0.5), {"O1", "G2", "C4b", "X2"}, {*ON_FLOWS, "C3"}),
        (quiet(production_observed=0.5), {"C3", "G2", "O1"}, ON_FLOWS),
        (quiet(governance=0.4), {"G2", "G3", "X2"}, {*ON_FLOWS, "O1", "O1r", "C3", "C4b"}),
        (quiet(intensities=0.6), {"O1", "hidden_exposure"}, {*ON_FLOWS, "C3", "C4b"}),
    ],
)
def test_a_draw_of_one_family_is_a_run_on_its_inputs(model: Uncertainty, moves: set[str], rests: set[str]) -> None:
    # Two scores have a published error, which is there whatever the model says: G2, G3 and X2 move in any case.
    moved = moved_by(model)
    assert moves <= moved
    assert not moved & rests


def test_what_is_imputed_has_errors_of_its_own() -> None:
    found = draws_of(drawn_base(), quiet(production_imputed=0.5), Draws(30, 1), FOCI)
    moved = {
        r["indicator"] for r in found.uncertainty.to_pylist() if r["value"] is not None and r["high"] > r["low"] + 1e-3
    }
    assert {"O1", "G2", "X2"} <= moved
    assert not moved & {"C1", "C2", "S1", "C3"}, "what reads no production that is imputed"


# -- a figure depends on its own inputs ------------------------------------------------------------------------


def unranked(table: pa.Table) -> pa.Table:
    return table.drop_columns(["rank", "rank_low", "rank_high", "ranked"])


def test_a_groups_figures_do_not_depend_on_the_other_groups_nor_on_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    held, model, draws = chain_world(), load_uncertainty(SHIPPED), Draws(6, 9)
    whole = draws_of(held, model, draws)
    chosen = pa.array(["link", "far", "proxied"])
    nodes = held.exposure.chain_nodes
    monkeypatch.setattr(chain_draws, "WORKERS", 1)
    alone = draws_of(held, model, draws, chain_nodes=nodes.filter(pc.is_in(nodes.column("group"), chosen)))
    for of_all, few in ((unranked(whole.uncertainty), unranked(alone.uncertainty)), (whole.verdicts, alone.verdicts)):
        assert few.equals(of_all.filter(pc.is_in(of_all.column("group"), chosen)))
    assert draws_of(held, model, draws).uncertainty.equals(whole.uncertainty)


def test_the_seed_decides_and_nothing_else() -> None:
    held, model = chain_world(), load_uncertainty(SHIPPED)
    first, again, other = (draws_of(held, model, Draws(6, seed)).uncertainty for seed in (9, 9, 10))
    assert first.equals(again)
    assert not first.equals(other)
    assert first.column("value").equals(other.column("value"))


def test_a_focus_does_not_change_what_another_sees() -> None:
    held, model, draws = drawn_base(), load_uncertainty(SHIPPED), Draws(6, 9)
    both, one_focus = (unranked(draws_of(held, model, draws, foci).uncertainty) for foci in (FOCI, ("EU27",)))
    assert one_focus.equals(both.filter(pc.equal(both.column("focus"), "EU27")))


def test_progress_says_which_group_is_done() -> None:
    told: list[str] = []
    draws_of(chain_world(), quiet(), Draws(1, 1), progress=told.append)
    assert told == sorted(chain_world().reference.groups)


def test_a_node_of_one_code_has_the_draws_of_that_code() -> None:
    held, model, draws = chain_world(), load_uncertainty(SHIPPED), Draws(50, 4)
    chains = draws_of(held, model, draws)
    products = build_product_draws(
        held.world.flows.to_batches(), 2020, tracing=held.tracing.tracing, mining=held.world.mining,
        country_risk=held.world.country_risk, reference=held.reference, foci=("NLD",), thresholds=thresholds(),
        noise=product_noise(draws.count, draws.seed, model),
    )  # fmt: skip
    compared = 0
    for name, code in (("safe", SAFE), ("risky", RISKY)):
        for row in rows(chains.uncertainty, level="group", group={"safe": "alone", "risky": "direct"}[name]):
            where = {k: row[k] for k in ("focus", "indicator", "measure", "basis")}
            for twin in rows(products.uncertainty, level="hs6", code=code, **where):
                assert row["value"] == near(twin["value"], rel=1e-6)
                # A product may leave some thousandths of its supply unfollowed.
                for bound in ("low", "high", "mean"):
                    assert row[bound] == near(twin[bound], rel=2e-3, abs=1e-3), (row, twin)
                compared += 1
    assert compared > 20


# -- ranks and families ----------------------------------------------------------------------------------------


def test_groups_are_ranked_within_focus_and_figure() -> None:
    found = draws_of(chain_world(), load_uncertainty(SHIPPED), Draws(60, 2)).uncertainty.to_pylist()
    groups = [r for r in found if r["level"] == "group" and r["indicator"] == "O1" and r["basis"] == "traced"]
    assert {r["ranked"] for r in groups} == {len(groups)}
    for row in groups:
        assert row["rank"] == 1 + sum(other["value"] > row["value"] * (1 + 1e-12) for other in groups)
        assert 1 <= row["rank_low"] <= row["rank_high"] <= len(groups)
    assert any(r["rank_low"] < r["rank_high"] for r in groups)
    ranked = {r["indicator"] for r in found if r["rank"] is not None}
    assert ranked == {"C1", "C3", "C4b", "G3", "O1", "X2", "hidden_exposure"}
    assert all(r["rank"] is None for r in found if r["level"] == "node" or r["value"] is None)


def test_ranks_are_bounded_by_the_draws_five_and_ninety_five_percent() -> None:
    # Two products: the dearer of the two is worse in 9 draws of 10 or in all; its bounds say which.
    reference = catalogue([node("a", SAFE), node("b", RISKY)], heads={"a": "a", "b": "b"})
    rows_of_both = mass(2020, SAFE, ("CHN", "NLD", 520), ("USA", "NLD", 480))
    table = flows([*rows_of_both, *mass(2020, RISKY, ("CHN", "NLD", 999), ("USA", "NLD", 1))])
    held = run(table, reference, risk=SCORES)
    found = draws_of(held, quiet(flows_v=0.1), Draws(100, 1)).uncertainty
    sure, unsure = (one(found, level="group", group=g, indicator="C1") for g in ("b", "a"))
    assert (sure["rank"], sure["rank_low"], sure["rank_high"], sure["ranked"]) == (1, 1, 1, 2)
    assert (unsure["rank"], unsure["rank_low"], unsure["rank_high"]) == (2, 2, 2)


@pytest.mark.parametrize(
    ("family", "model", "indicator", "moved"),
    [
        ("flows", quiet(flows_q=0.4), "O1", True),
        ("flows", quiet(flows_v=0.4), "C1", True),
        ("production", quiet(production_observed=0.4, production_imputed=0.4), "O1", True),
        ("governance", quiet(governance=0.4), "X2", True),
        ("intensities", quiet(intensities=0.4), "O1", False),
    ],
)
def test_the_family_that_moves_a_figure_is_named(family: str, model: Uncertainty, indicator: str, moved: bool) -> None:
    found = draws_of(drawn_base(), model, Draws(20, 1), FOCI).uncertainty
    row = one(found, level="group", focus="NLD", indicator=indicator)
    assert row["matters_most"] == (family if moved else None)
    # Intensities move what lies upstream: the mean of the ore's users.
    if family == "intensities":
        assert one(found, level="node", code="ore", focus="NLD", indicator="O1")["matters_most"] == family


# -- the newest year -------------------------------------------------------------------------------------------


@lru_cache
def two_years() -> Run:
    """A group that trades in both years, one only in the first, and one that is in no data."""
    reference = catalogue(
        [node("a", SAFE), node("b", RISKY), node("c", "388888"), node("mine", material="Hard")],
        [essential("c", "mine", group="c")],
        heads={"a": "a", "b": "b", "c": "c"},
    )
    route = (("CHN", "NLD", 500), ("USA", "NLD", 300), ("NLD", "DEU", 100))
    table = flows([*mass(2019, SAFE, *route), *mass(2020, SAFE, *route), *mass(2019, RISKY, *route)])
    statistics = mining([("Hard", c, y, t) for y in (2019, 2020) for c, t in (("CHN", 8.0), ("USA", 2.0))])
    return run(table, reference, statistics=statistics, risk=SCORES)


def test_each_group_is_drawn_in_its_newest_year() -> None:
    held = two_years()
    assert newest_years(held.exposure.chain_nodes, held.indicators) == {"a": 2020, "b": 2019, "c": 2020}
    found = draws_of(held, quiet(), Draws(1, 1))
    assert {(r["group"], r["year"]) for r in found.uncertainty.to_pylist()} == {("a", 2020), ("b", 2019), ("c", 2020)}
    for table in (found.uncertainty, found.verdicts):
        assert {r["year"] for r in rows(table, group="b")} == {2019}
    # What cannot be looked through still has its world production.
    assert {r["indicator"] for r in rows(found.uncertainty, group="c")} == {"C3", "G2", "G3"}
    wanted = drawn_figures(held.indicators)
    for key, row in keyed(found.uncertainty, UNCERTAINTY.key).items():
        assert row["value"] == near(wanted[key]["value"], rel=1e-7)
    assert_verdicts(
        held.flags.filter(
            pc.invert(pc.and_(pc.equal(held.flags["group"], "a"), pc.equal(held.flags["year"], 2019)))
        ).filter(pc.field("year") == pc.if_else(pc.field("group") == "b", 2019, 2020)),
        found,
    )


def test_nothing_looked_through_is_nothing_drawn() -> None:
    held = two_years()
    assert newest_years(held.exposure.chain_nodes, CHAIN_INDICATORS.empty()) == {}
    found = draws_of(held, quiet(), Draws(1, 1), chain_indicators=CHAIN_INDICATORS.empty())
    assert (found.uncertainty.num_rows, found.verdicts.num_rows) == (0, 0)
    assert found.uncertainty.schema.equals(UNCERTAINTY.schema())


def test_geodep_looks_at_the_years_before_as_they_are() -> None:
    held = two_years()
    published = Published.of(held.indicators, 2020, thresholds())
    (before, earlier) = published.earlier
    # 2019: C1 .53, C2 .41 and S1 8 all pass; there is no 2018.
    assert before["NLD", REVISION, "a"] == 1
    assert earlier == {}
    found = draws_of(held, quiet(), Draws(1, 1)).verdicts
    assert one(found, level="group", group="a", method="geodep")["flagged_share"] == 1.0
    # In 2019 itself nothing is known of the years before: it may be 2 of 3.
    row = one(found, level="group", group="b", method="geodep")
    assert (row["flagged_share"], row["told_share"]) == (None, 0.0)


# -- refusals --------------------------------------------------------------------------------------------------


def test_a_group_that_the_catalogue_has_not_is_refused() -> None:
    with pytest.raises(WrongUse, match="chain_nodes has the group alone, which the catalogue has not; make it again"):
        draws_of(chain_world(), quiet(), Draws(1, 1), reference=replace(chain_world().reference, groups={}))


def test_a_figure_that_is_not_published_is_refused() -> None:
    held = chain_world()
    kept = held.indicators.filter(pc.invert(pc.and_(pc.equal(held.indicators["indicator"], "X1"),
                                                    pc.equal(held.indicators["group"], "link"))))  # fmt: skip
    with pytest.raises(
        WrongUse, match="chain_indicators has no X1 of group link for NLD in 2020; make it from the same"
    ):
        draws_of(held, quiet(), Draws(1, 1), chain_indicators=kept)


def test_flows_without_a_product_that_was_looked_through_are_refused() -> None:
    held = chain_world()
    for name, code in (("risky", RISKY), ("safe", SAFE)):
        kept = held.world.flows.filter(pc.not_equal(held.world.flows["code"], code))
        refused(name, held, kept)


def refused(name: str, held: Run, kept: pa.Table) -> None:
    with pytest.raises(WrongUse, match=f"the flows of 2020 have no {name}, which table chain_indicators has in group"):
        draws_of(held, quiet(), Draws(1, 1), flows=lambda year: kept)


def test_no_draws_are_refused() -> None:
    with pytest.raises(WrongUse, match="0 draws are none"):
        draws_of(chain_world(), quiet(), Draws(0, 1))


# -- the embedded sample ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_without_errors_the_draws_of_the_sample_are_what_is_published(tmp_path: Path) -> None:
    bench_montecarlo_chains.prepare(tmp_path)
    found = bench_montecarlo_chains.drawn(tmp_path, 1, quiet())
    published = Store(tmp_path).read(CHAIN_INDICATORS)
    wanted, made = drawn_figures(published), keyed(found.uncertainty, UNCERTAINTY.key)
    assert made.keys() == wanted.keys()
    assert len(made) > 2_500
    for key, row in made.items():
        assert row["value"] == near(wanted[key]["value"], rel=1e-7, abs=1e-9), key
        assert row["reason"] == wanted[key]["reason"]
