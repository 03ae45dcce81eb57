"""Substitutability: scores, counts, entry and the composite by hand and by plain loops; the table of a small year."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ketenpipe.chain.catalogue import Reference
from ketenpipe.errors import WrongUse
from ketenpipe.risk.definitions import COMPONENTS, REASONS
from ketenpipe.risk.substitutability import (
    COMPOSITE,
    DIMENSIONS,
    FIGURE_COLUMNS,
    FIGURE_INDICATORS,
    MIX_COLUMNS,
    PRODUCTION_COLUMNS,
    TRACING_COLUMNS,
    build_substitutability,
    composites,
    count_at_most,
    count_suppliers,
    moved_suppliers,
    rank_below,
    score_of,
)
from ketenpipe.risk.substitution_settings import SubstitutionSettings, load_substitution_settings
from ketenpipe.risk.world import Vintages
from ketenpipe.tables.registry import (
    CHAIN_NODES,
    COUNTRY_RISK,
    INDICATORS,
    PRODUCTION,
    SUBSTITUTABILITY,
    SUPPLY_MIX,
    TRACING,
)
from ketenpipe_tests.risk.test_placing import placed, plan
from ketenpipe_tests.worlds import REVISION, SHIPPED, bloc, catalogue, flows, node, one, rows, scores

FEW = settings(max_examples=80, deadline=None)
NAN = float("nan")
SETTINGS = load_substitution_settings(SHIPPED)
LATER = "HS17"
STAMPED = Vintages(
    {(REVISION, y): f"V{y}" for y in range(2015, 2025)} | {(LATER, 2020): "V17"}, {2020: "an edition"}, "statistics"
)
# Nothing is divided by 0 unseen.
pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")


def array(*values: float) -> np.ndarray:
    return np.array(values, dtype=float)


# -- scores --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("normalisation", "expected"),
    [
        ("x", [0.0, 0.25, 1.0, 1.0, 1.0]),
        ("1-x", [1.0, 0.75, 0.0, 0.0, 0.0]),
        ("x/(1+x)", [0.0, 0.2, 0.5, 0.75, 1.0]),
        ("1/(1+x)", [1.0, 0.8, 0.5, 0.25, 0.0]),
    ],
)
def test_scores_by_hand(normalisation: Any, expected: list[float]) -> None:
    assert score_of(array(0, 0.25, 1, 3, np.inf), normalisation).tolist() == pytest.approx(expected)
    assert np.isnan(score_of(array(NAN), normalisation)[0])
    assert 0.0 <= score_of(array(-0.5), normalisation)[0] <= 1.0


@FEW
@given(st.lists(st.floats(0, 1e9), min_size=2, max_size=20), st.sampled_from(["x", "1-x", "x/(1+x)", "1/(1+x)"]))
def test_scores_are_monotone_and_bounded(values: list[float], normalisation: Any) -> None:
    found = score_of(np.sort(values), normalisation)
    assert ((found >= 0) & (found <= 1)).all()
    steps = np.diff(found)
    assert (steps >= 0).all() or (steps <= 0).all()


# -- counting ------------------------------------------------------------------------------------------------


def counted(shares: Iterable[float], allowed: Iterable[int], above: float = 0.05) -> tuple[float, float, float]:
    """The figures of one mix."""
    mix = np.array([[*shares]])
    marks = np.isin(np.arange(mix.shape[1]), [*allowed])
    found = count_suppliers(mix, marks, above)
    return float(found.number[0]), float(found.besides[0]), float(found.held[0])


def test_counts_by_hand() -> None:
    """On the threshold is not above it; the largest supplier is no alternative to itself."""
    mix = [0.5, 0.3, 0.05, 0.15]
    assert counted(mix, range(4)) == pytest.approx((3, 2, 0.95))
    assert counted(mix, [1, 2]) == pytest.approx((1, 1, 0.3))  # the largest is not among them
    assert counted(mix, [0]) == pytest.approx((1, 0, 0.5))
    assert counted(mix, [2]) == pytest.approx((0, 0, 0.0))
    assert counted(mix, []) == pytest.approx((0, 0, 0.0))
    assert counted([0.5, 0.5], [1]) == pytest.approx((1, 1, 0.5))  # of two equal ones the first is the largest
    assert counted([0.5, 0.5], [0]) == pytest.approx((1, 0, 0.5))


def test_the_threshold_holds_whatever_the_last_bits_say() -> None:
    """5 of 100 scaled by any factor is still not above 5 %; a billionth more is."""
    over = 0.05 + 1e-12
    assert counted([0.95, over], [0, 1])[0] == 1
    assert counted([0.95, 0.05 + 2e-9], [0, 1])[0] == 2
    now, before = np.array([[0.95, over]]), np.array([[0.95, over]])
    assert moved_suppliers(now, [np.array([[1.0, 0.0]])], 0.05).entries[0] == 0
    assert moved_suppliers(np.array([[1.0, 0.0]]), [before], 0.05).exits[0] == 0
    every = np.ones(2, dtype=bool)
    assert count_at_most(now, every, 0.05, array(0.0))[0] == 1
    assert count_at_most(np.array([[0.95, 0.04]]), every, 0.05, array(0.01))[0] == 1
    assert counted([0.5, 0.5 + 1e-12], [0]) == pytest.approx((1, 0, 0.5))  # equal, so the first is the largest


def test_items_do_not_touch_each_other() -> None:
    """Each row among others is what it is alone: one with large suppliers, one of small ones, none, one unknown."""
    even = np.zeros(30)
    even[4:29] = 0.04
    rng = np.random.default_rng(3)
    shares = np.stack([rng.dirichlet(np.full(30, 0.2)), even, np.zeros(30), 0.5 * rng.dirichlet(np.full(30, 0.2))])
    shares[0, 7], shares[3, 20] = shares[0].max() + 0.1, shares[3].max() + 0.1
    allowed, unknown = rng.random(30) < 0.6, array(0.1, 0.03, 0.2, 0.5)
    together, most = count_suppliers(shares, allowed, 0.05), count_at_most(shares, allowed, 0.05, unknown)
    before = [np.roll(shares, 1, axis=1), np.roll(shares[[1, 0, 3, 3]], 2, axis=1)]
    moved = moved_suppliers(shares, before, 0.05)
    assert (most.shape, most.dtype, together.number.dtype) == ((4,), np.float64, np.float64)
    for n in range(4):
        mine = shares[[n]]
        alone, now = count_suppliers(mine, allowed, 0.05), moved_suppliers(mine, [b[[n]] for b in before], 0.05)
        for name in ("number", "besides", "held"):
            np.testing.assert_array_equal(getattr(together, name)[n], getattr(alone, name)[0])
        np.testing.assert_array_equal(most[n], count_at_most(mine, allowed, 0.05, unknown[[n]])[0])
        for name in ("entries", "entry_share", "exits", "complete"):
            np.testing.assert_array_equal(getattr(moved, name)[n], getattr(now, name)[0])
    assert moved.complete.tolist() == [True, True, False, True]


def test_where_all_are_small_their_share_counts() -> None:
    """Twenty-five of 4 %: none above 5 %, as good as 1 / 0.05 suppliers."""
    even = [0.04] * 25
    assert counted(even, range(25)) == pytest.approx((0, 20, 0.0))
    assert counted(even, range(5)) == pytest.approx((0, 4, 0.0))


def test_without_a_mix_there_is_no_count() -> None:
    assert np.isnan(counted([0.0, 0.0], [0, 1])).all()


@st.composite
def mixes(draw: st.DrawFn) -> tuple[list[float], list[int]]:
    """A mix and the countries that may be counted."""
    raw = draw(st.lists(st.floats(0, 100), min_size=1, max_size=12).filter(lambda v: sum(v) > 1e-3))
    return [v / sum(raw) for v in raw], draw(st.lists(st.integers(0, len(raw) - 1), unique=True))


@FEW
@given(mixes(), st.sampled_from([0.05, 0.2]))
def test_counts_equal_plain_loops(given_mix: tuple[list[float], list[int]], above: float) -> None:
    mix, allowed = given_mix
    mix = [round(s, 9) for s in mix]
    chosen = [i for i in allowed if mix[i] > above]
    largest = mix.index(max(mix))
    small = not any(s > above for s in mix)
    besides = sum(mix[i] for i in allowed) / above if small else len([i for i in chosen if i != largest])
    assert counted(mix, allowed, above) == pytest.approx((len(chosen), besides, sum(mix[i] for i in chosen)))


@FEW
@given(mixes(), st.floats(0, 0.6), st.sampled_from([0.05, 0.2]))
def test_what_is_unknown_could_lift_so_many(
    given_mix: tuple[list[float], list[int]], part: float, above: float
) -> None:
    """Equal to trying every set of small countries: what they lack together must be less than what is unknown."""
    part = round(part, 9)
    mix, allowed = [round(s * (1 - part), 9) for s in given_mix[0]], given_mix[1][:7]
    marks = np.isin(np.arange(len(mix)), allowed)
    lacking = [above - mix[i] for i in allowed if mix[i] <= above]
    sets = (some for n in range(len(lacking) + 1) for some in itertools.combinations(lacking, n))
    best = max(len(some) for some in sets if not some or round(sum(some), 9) < part)
    expected = len([i for i in allowed if mix[i] > above]) + best
    assert count_at_most(np.array([mix]), marks, above, array(part))[0] == expected


def test_the_bound_by_hand() -> None:
    mix = np.array([[0.5, 0.04, 0.05, 0.0], [0.0, 0.0, 0.0, 0.0]])
    every = np.ones(4, dtype=bool)
    assert count_at_most(mix, every, 0.05, array(0.0, 0.3))[0] == 1
    assert np.isnan(count_at_most(mix, every, 0.05, array(0.0, 0.3))[1])
    assert count_at_most(mix, every, 0.05, array(0.005, 0))[0] == 2  # the one on the threshold
    assert count_at_most(mix, every, 0.05, array(0.02, 0))[0] == 3
    assert count_at_most(mix, every, 0.05, array(0.07, 0))[0] == 4


# -- time ----------------------------------------------------------------------------------------------------


def test_entry_and_exit_by_hand() -> None:
    """Above 5 % now: 0 and 2; before: 0 and 1, and 2 just on the threshold."""
    now = np.array([[0.6, 0.0, 0.4], [0.0, 0.0, 0.0]])
    before = [np.array([[0.55, 0.4, 0.05], [1.0, 0.0, 0.0]]), np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])]
    found = moved_suppliers(now, before, 0.05)
    assert found.entries[0] == 1
    assert found.entry_share[0] == pytest.approx(0.4)
    assert found.exits[0] == 1
    assert found.complete.tolist() == [True, True]
    assert np.isnan([found.entries[1], found.entry_share[1], found.exits[1]]).all()


def test_a_year_without_imports_makes_the_window_incomplete() -> None:
    now = np.array([[1.0, 0.0]])
    empty = np.zeros((1, 2))
    assert moved_suppliers(now, [now, empty], 0.05).complete.tolist() == [False]
    assert moved_suppliers(now, [], 0.05).complete.tolist() == [True]
    assert moved_suppliers(now, [now, empty], 0.05).entries.tolist() == [0.0]


@FEW
@given(st.data())
def test_entry_equals_sets(data: st.DataObject) -> None:
    years = [data.draw(st.lists(st.floats(0, 1), min_size=5, max_size=5)) for _ in range(4)]
    held = [{i for i, s in enumerate(year) if s > 0.3} for year in years]
    found = moved_suppliers(np.array([years[0]]), [np.array([y]) for y in years[1:]], 0.3)
    if sum(years[0]) == 0:
        assert np.isnan(found.entries[0])
        return
    earlier = held[1] | held[2] | held[3]
    assert found.entries[0] == len(held[0] - earlier)
    assert found.exits[0] == len(earlier - held[0])
    assert found.entry_share[0] == pytest.approx(sum(years[0][i] for i in held[0] - earlier))


def test_ranks() -> None:
    """Of (1, 2, 2, 4): below 2 lies one, two are equal."""
    among = array(4, 2, NAN, 1, 2)
    assert rank_below(array(2, 0, 9, 1), among).tolist() == pytest.approx([0.5, 0.0, 1.0, 0.125])
    assert np.isnan(rank_below(array(NAN), among)[0])
    assert np.isnan(rank_below(array(1.0), array(NAN))[0])


# -- composite -----------------------------------------------------------------------------------------------


def composed(scores: np.ndarray, weights: np.ndarray, **other: Any) -> Any:
    """With the defaults of these tests."""
    given: dict[str, Any] = {
        "minimum_coverage": 0.5,
        "concentration": 50.0,
        "quantiles": (0.05, 0.95),
        "draws": 400,
        "seed": 7,
    }
    return composites(scores, weights, **(given | other))


def test_the_composite_by_hand() -> None:
    """Scores 1, 0.5 and one missing, at weights .5, .3, .2: .65 / .8; without the first .5, without the second 1."""
    found = composed(np.array([[1.0, 0.5, NAN]]), array(0.5, 0.3, 0.2))
    assert found.value[0] == pytest.approx(0.8125)
    assert found.coverage[0] == pytest.approx(0.8)
    assert found.moves_most[0] == 0
    assert found.without[0] == pytest.approx(0.5)
    assert 0.5 < found.low[0] < 0.8125 < found.high[0] < 1.0


def test_the_second_may_move_it_more() -> None:
    found = composed(np.array([[0.5, 0.6, 0.0]]), array(0.3, 0.3, 0.4))
    # Without them: .18/.7 = .257, .15/.7 = .214, .33/.6 = .55; the composite is .33.
    assert found.moves_most[0] == 2
    assert found.without[0] == pytest.approx(0.55)


def test_of_two_that_move_it_the_same_the_first_is_named() -> None:
    found = composed(np.array([[0.2, 0.8]]), array(0.5, 0.5))
    assert (found.moves_most[0], found.without[0]) == (0, pytest.approx(0.8))


def test_where_none_moves_it_one_that_is_there_is_named() -> None:
    found = composed(np.array([[NAN, 0.4, 0.4]]), array(0.2, 0.4, 0.4))
    assert (found.moves_most[0], found.without[0]) == (1, pytest.approx(0.4))


def test_a_weight_of_zero_takes_no_part() -> None:
    with_it = composed(np.array([[0.2, 0.9, 0.8]]), array(0.5, 0.0, 0.5))
    without = composed(np.array([[0.2, 0.8]]), array(0.5, 0.5))
    assert (with_it.value[0], with_it.low[0], with_it.high[0]) == (without.value[0], without.low[0], without.high[0])
    assert with_it.moves_most[0] == 0
    only = composed(np.array([[NAN, 0.9, 0.8]]), array(0.5, 0.0, 0.5))
    assert only.coverage[0] == 0.5
    assert (only.moves_most[0], np.isnan(only.without[0])) == (-1, True)
    second = composed(np.array([[0.5, 0.9, 0.0, 0.5]]), array(0.3, 0.0, 0.4, 0.3))
    assert second.moves_most[0] == 2  # numbers are those of all components


@pytest.mark.parametrize(("minimum", "there"), [(0.5, True), (0.5000001, False), (0.0, True)])
def test_on_the_least_coverage_there_is_a_composite(minimum: float, there: bool) -> None:
    found = composed(np.array([[0.4, NAN, NAN]]), array(0.5, 0.3, 0.2), minimum_coverage=minimum)
    assert np.isnan(found.value[0]) != there
    assert np.isnan(found.low[0]) != there
    assert found.coverage[0] == 0.5


def test_coverage_is_compared_without_the_last_bits() -> None:
    """0.1 + 0.2 + 0.2 and the like may fall a bit below 0.5."""
    weights = array(0.1, 0.1, 0.1, 0.1, 0.1, 0.5)
    weights[:5] -= 1e-17
    assert not np.isnan(composed(np.array([[0.1, 0.2, 0.3, 0.4, 0.5, NAN]]), weights).value[0])


def test_nothing_there_is_no_composite_whatever_is_asked() -> None:
    found = composed(np.array([[NAN, NAN]]), array(0.5, 0.5), minimum_coverage=0.0)
    assert np.isnan([found.value[0], found.low[0], found.high[0], found.without[0]]).all()
    assert (found.moves_most[0], found.coverage[0]) == (-1, 0.0)


def test_a_single_component_cannot_be_left_out() -> None:
    found = composed(np.array([[0.7, NAN]]), array(0.6, 0.4))
    assert found.value[0] == pytest.approx(0.7)
    assert found.moves_most[0] == -1
    assert np.isnan(found.without[0])
    assert (found.low[0], found.high[0]) == pytest.approx((0.7, 0.7))


def test_too_little_coverage_names_no_component() -> None:
    found = composed(np.array([[0.7, 0.2, NAN]]), array(0.2, 0.2, 0.6))
    assert found.moves_most[0] == -1
    assert np.isnan(found.without[0])


def test_without_the_component_that_moves_it_most_it_is_still_a_score() -> None:
    """0.3 w + 0.7 w less 0.3 w, over w, may be a last bit above 1."""
    items = np.array([*itertools.product((0.0, 0.1, 0.3, 0.7, 1.0), repeat=4)])
    found = composed(items, array(0.4, 0.3, 0.2, 0.1), draws=2)
    assert (found.without >= 0).all()
    assert (found.without <= 1).all()
    assert found.without.max() == 1.0
    even = composed(items[:, :3], array(0.07, 0.13, 0.8), draws=2)
    assert (even.without <= 1).all()


def test_a_range_that_some_draws_cannot_tell_is_not_told() -> None:
    """At so small a concentration all weight falls on one component, at times on the one that is missing."""
    found = composed(np.array([[0.7, NAN]]), array(0.6, 0.4), concentration=1e-3)
    assert found.value[0] == 0.7
    assert np.isnan([found.low[0], found.high[0]]).all()


def test_without_draws_there_is_no_range() -> None:
    found = composed(np.array([[1.0, 0.5, 0.2]]), array(0.5, 0.3, 0.2), draws=0)
    assert found.value[0] == pytest.approx(0.69)
    assert np.isnan([found.low[0], found.high[0]]).all()
    assert found.moves_most[0] == 0


@FEW
@given(st.lists(st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=4, max_size=4), min_size=1, max_size=6))
def test_the_composite_equals_plain_sums(items: list[list[float | None]]) -> None:
    weights = array(0.4, 0.3, 0.2, 0.1)
    given_scores = np.array([[NAN if s is None else s for s in row] for row in items])
    found = composed(given_scores, weights, draws=60)
    drawn = np.random.default_rng(7).dirichlet(50.0 * weights, 60)
    for n, row in enumerate(items):
        held = {c: s for c, s in enumerate(row) if s is not None}

        def mean(w: np.ndarray, leave: int = -1, held: dict[int, float] = held) -> float:
            kept = {c: s for c, s in held.items() if c != leave}
            return sum(w[c] * s for c, s in kept.items()) / sum(w[c] for c in kept)

        coverage = sum(weights[c] for c in held)
        assert found.coverage[n] == pytest.approx(coverage)
        if round(coverage, 9) < 0.5:
            assert np.isnan(found.value[n])
            continue
        assert found.value[n] == pytest.approx(mean(weights))
        low, high = np.quantile([mean(w) for w in drawn], [0.05, 0.95])
        assert (found.low[n], found.high[n]) == (pytest.approx(low), pytest.approx(high))
        if len(held) > 1:
            moves = {c: abs(mean(weights, c) - mean(weights)) for c in held}
            assert moves[int(found.moves_most[n])] == pytest.approx(max(moves.values()), abs=1e-11)
            assert found.without[n] == pytest.approx(mean(weights, int(found.moves_most[n])), abs=1e-12)
        assert min(held.values()) - 1e-12 <= found.value[n] <= max(held.values()) + 1e-12


def test_many_items_are_dealt_with_in_blocks() -> None:
    many = np.random.default_rng(3).random((2300, 3))
    weights = array(0.5, 0.3, 0.2)
    found = composed(many, weights, draws=20)
    for n in (0, 999, 1000, 2299):
        alone = composed(many[[n]], weights, draws=20)
        assert found.low[n] == pytest.approx(alone.low[0], rel=1e-12)
        assert found.high[n] == pytest.approx(alone.high[0], rel=1e-12)


def test_the_seed_and_the_concentration_of_the_draws() -> None:
    values, weights = np.array([[1.0, 0.0]]), array(0.5, 0.5)
    first, again, other = (composed(values, weights, seed=s) for s in (1, 1, 2))
    assert first.low[0] == again.low[0]
    assert first.low[0] != other.low[0]
    tight = composed(values, weights, concentration=5000.0)
    assert tight.high[0] - tight.low[0] < 0.2 * (first.high[0] - first.low[0])
    wide = composed(values, weights, quantiles=(0.0, 1.0))
    assert wide.low[0] < first.low[0] < first.high[0] < wide.high[0]


# -- a year --------------------------------------------------------------------------------------------------

NAMES = ("AUT", "BRA", "CHN", "DEU", "NLD", "RUS", "USA")
RISK: dict[str, float | None] = {"BRA": 0.5, "CHN": 0.6, "DEU": 0.1, "RUS": 0.9, "USA": 0.49, "AUT": None}
CATALOGUE = replace(
    catalogue([node("pair", "100001 100002"), node("far", "100009")], (), {"g": "pair"}),
    blocs=(*catalogue().blocs, *bloc("FRIENDS", "BRA", "NLD")),
)
PLAN = plan(placed("g", "pair", 0), placed("h", "pair", 1), placed("g", "far", 1))
Mix = Mapping[str, Mapping[str, tuple[float | None, float | None, float | None]]]


def supply(mix: Mix, focus: str = "NLD", year: int = 2020) -> pa.Table:
    """``code -> country -> (value, tonnes, traced share)``."""
    return SUPPLY_MIX.conform(
        {
            "focus": focus, "code": code, "hs_revision": REVISION, "year": year, "country": c, "value_kusd": v,
            "tonnes": q, "share_traced": s,
        }
        for code, held in mix.items()
        for c, (v, q, s) in held.items()
    )  # fmt: skip


def direct(year: int, **codes: dict[str, float]) -> pa.Table:
    """Imports by value only, for the years before; codes as ``k100001``."""
    return supply({c[1:]: {i: (v, None, None) for i, v in held.items()} for c, held in codes.items()}, year=year)


def traced(code: str, focus: str = "NLD", **columns: Any) -> dict[str, Any]:
    """A row of table ``tracing``."""
    return {
        "focus": focus, "hs_revision": REVISION, "code": code, "year": 2020, "measure": "q", "basis": "observed",
        "supply": 100.0, "consumption": 50.0, "confidence": "high", **columns,
    }  # fmt: skip


def produced(code: str, country: str, amount: float, basis: str = "observed", measure: str = "q") -> dict[str, Any]:
    """A row of table ``production``."""
    return {
        "hs_revision": REVISION, "code": code, "year": 2020, "measure": measure, "country": country, "basis": basis,
        "production": amount,
    }  # fmt: skip


def indicator(name: str, value: float | None, code: str = "100001", **columns: Any) -> dict[str, Any]:
    """A row of table ``indicators``."""
    return {
        "focus": "NLD", "level": "hs6", "code": code, "hs_revision": REVISION, "tier": 0, "year": 2020,
        "indicator": name, "measure": "v", "basis": "imports", "value": value, "unit": "x", "confidence": "high",
        "source_vintage": "theirs", "method_version": "1", **columns,
    }  # fmt: skip


MIX: Mix = {
    "100001": {
        "CHN": (60.0, 6.0, 0.5),
        "DEU": (35.0, 3.0, 0.02),
        "AUT": (5.0, 1.0, 0.0),
        "NLD": (None, None, 0.1),
        "USA": (None, None, 0.28),
        "UNK": (None, None, 0.1),
    },
    "100002": {"CHN": (100.0, 10.0, 1.0)},
}
FLOWS = flows(
    [
        (2020, "100001", "CHN", "NLD", 60, 6),
        (2020, "100001", "DEU", "NLD", 35, 3),
        (2020, "100001", "AUT", "NLD", 5, 1),
        (2020, "100001", "USA", "DEU", 95, 9),
        (2020, "100001", "USA", "USA", 900, 9),
        (2020, "100001", "NLD", "DEU", 500, 9),
        (2020, "100002", "CHN", "NLD", 100, 10),
    ]
)
BEFORE = {
    2017: direct(2017, k100001={"CHN": 94.0, "DEU": 5.0, "USA": 1.0}, k100002={"RUS": 9.0}),
    2018: direct(2018, k100001={"CHN": 50.0, "USA": 50.0}, k100002={"CHN": 1.0}),
    2019: direct(2019, k100001={"CHN": 50.0, "BRA": 50.0}, k100002={"CHN": 1.0}),
}
FIGURES = (
    indicator("S1", 3.0),
    indicator("S1", 9.0, measure="q"),
    indicator("S2", 1.0, basis="exports"),
    indicator("P1", 2.0, low=2.0, high=3.0),
    indicator("S3", 4.0, measure="none", confidence="medium"),
    indicator("S3", 8.0, "100002", measure="none"),
    indicator("S4a", 0.25, measure="none", reason="recalled"),
    indicator("S4b", None, measure="none", reason="no_supply"),
)


def built(
    mix: Mix = MIX,
    *,
    tracings: Iterable[dict[str, Any]] = (traced("100001"), traced("100002", consumption=0.0)),
    before: Mapping[int, pa.Table] = BEFORE,
    table: pa.Table = FLOWS,
    figures: Iterable[dict[str, Any]] = FIGURES,
    production: Iterable[dict[str, Any]] = (produced("100001", "NLD", 30.0),),
    risk: Mapping[str, float | None] | None = RISK,
    chain_nodes: pa.Table | None = None,
    reference: Reference = CATALOGUE,
    limits: SubstitutionSettings = SETTINGS,
    foci: tuple[str, ...] = ("NLD",),
    partners: tuple[str, ...] = (),
    mixes: Mapping[int, pa.Table] | None = None,
    coded: bool = False,
    draws: int = 50,
) -> pa.Table:
    """The table of 2020; ``coded``: text as dictionaries."""

    def form(given: pa.Table) -> pa.Table:
        columns = {n: given.column(n) for n in given.column_names}
        return pa.table(
            {n: c.dictionary_encode() if coded and pa.types.is_string(c.type) else c for n, c in columns.items()}
        )

    scored = COUNTRY_RISK.empty() if risk is None else scores(risk, [2019, 2020])
    held = {2020: supply(mix), **before} if mixes is None else mixes
    return build_substitutability(
        2020,
        foci,
        {year: form(one_year.select(list(MIX_COLUMNS))) for year, one_year in held.items()},
        form(TRACING.conform(tracings).select(list(TRACING_COLUMNS))),
        form(table).to_batches(),
        form(INDICATORS.conform(figures).select(list(FIGURE_COLUMNS))),
        form(PRODUCTION.conform(production).select(list(PRODUCTION_COLUMNS))),
        scored,
        CHAIN_NODES.empty() if chain_nodes is None else chain_nodes,
        reference,
        limits,
        STAMPED,
        persistence_window=3,
        partners=partners,
        draws=draws,
        seed=5,
    )


def of(table: pa.Table, component: str, code: str = "100001", **where: Any) -> dict[str, Any]:
    """The row of a component."""
    return one(table, component=component, code=code, **where)


def figure(found: Mapping[str, Any]) -> tuple[Any, ...]:
    """Value, score and reason."""
    return found["value"], found["score"], found["reason"]


def test_the_domestic_components() -> None:
    table = built()
    assert figure(of(table, "imports_over_exports")) == (3.0, 0.75, None)
    own = of(table, "own_share")
    assert figure(own) == (0.1, 0.9, None)
    assert (own["low"], own["high"]) == (0.1, pytest.approx(0.2))
    assert figure(of(table, "production_over_imports")) == (3.0, 0.25, None)  # 30 t made, 10 t bought
    assert figure(of(table, "production_over_imports", "100002")) == (0.0, 1.0, None)


def test_the_suppliers() -> None:
    """Direct .6 CHN, .35 DEU, .05 AUT; traced .5 CHN, .28 USA, .02 DEU; risk: DEU and USA stable, AUT not known."""
    table = built(partners=("FRIENDS", "USA", "DEU"))
    assert figure(of(table, "alternative_capacity")) == (1.0, 0.5, None)
    assert figure(of(table, "suppliers")) == (2.0, 0.5, None)
    assert figure(of(table, "suppliers_stable")) == (1.0, 0.5, None)
    assert figure(of(table, "suppliers_partners")) == (1.0, 0.5, None)
    assert figure(of(table, "origins")) == (2.0, 0.5, None)
    assert figure(of(table, "origins_stable")) == (1.0, 0.5, None)
    assert figure(of(table, "origins_partners")) == (1.0, 0.5, None)
    # Others than NLD export 195: USA 95, CHN 60, DEU 35, AUT 5 (2.6 %).
    assert figure(of(table, "exporters")) == (3.0, pytest.approx(1 / 3), None)
    assert figure(of(table, "exporters_stable")) == (2.0, 0.5, None)  # the largest is one of them
    assert figure(of(table, "exporters_partners")) == (2.0, 0.5, None)
    stable = of(table, "export_share_stable")
    assert stable["value"] == pytest.approx(130 / 195)
    assert stable["score"] == pytest.approx(65 / 195)
    assert of(table, "export_share_partners")["value"] == pytest.approx(130 / 195)


def test_what_is_unknown_widens_the_counts() -> None:
    table = built()
    # 10 % unknown: DEU lacks 3 %, another 5 %.
    assert (of(table, "origins")["low"], of(table, "origins")["high"]) == (2.0, 4.0)
    assert (of(table, "origins_stable")["low"], of(table, "origins_stable")["high"]) == (1.0, 3.0)
    assert (of(table, "suppliers")["low"], of(table, "suppliers")["high"]) == (2.0, 2.0)
    # AUT has no score: it could be stable.
    more = built({"100001": {"CHN": (80.0, 8.0, 1.0), "AUT": (20.0, 2.0, 0.0)}}, partners=("AUT",))
    stable = of(more, "suppliers_stable")
    assert (stable["value"], stable["low"], stable["high"]) == (0.0, 0.0, 1.0)
    partners = of(more, "suppliers_partners")
    assert (partners["value"], partners["low"], partners["high"]) == (1.0, 1.0, 1.0)
    sold = flows([(2020, "100001", "AUT", "DEU", 30, 1), (2020, "100001", "DEU", "AUT", 70, 1)])
    share = of(built(table=sold), "export_share_stable")
    assert (share["value"], share["low"], share["high"]) == (0.7, 0.7, 1.0)


def test_the_product_components() -> None:
    table = built()
    # Of the elasticities 4 and 8 none lies below 4, and 4 counts half.
    assert figure(of(table, "trade_elasticity")) == (4.0, 0.75, None)
    assert figure(of(table, "trade_elasticity", "100002")) == (8.0, 0.25, None)
    assert of(table, "trade_elasticity")["confidence"] == "medium"
    assert figure(of(table, "eol_rir")) == (0.25, 0.75, "recalled")
    assert figure(of(table, "substitution_index")) == (None, None, "no_supply")
    assert figure(of(table, "eol_rir", "100002")) == (None, None, "not_in_sources")
    given = built(figures=[indicator("S4b", 0.9, measure="none")])
    assert figure(of(given, "substitution_index")) == (0.9, 0.9, None)


def test_the_time_components() -> None:
    """Above 5 % before: CHN, USA, BRA (DEU on 5 % in 2017); now CHN and DEU."""
    table = built()
    assert figure(of(table, "persistence")) == (2.0, pytest.approx(2 / 3), None)
    assert (of(table, "persistence")["low"], of(table, "persistence")["high"]) == (2.0, 3.0)
    assert figure(of(table, "entries")) == (1.0, 0.5, None)
    assert figure(of(table, "entry_share")) == (0.35, 0.65, None)
    assert figure(of(table, "exits")) == (2.0, pytest.approx(2 / 3), None)
    assert figure(of(table, "entries", "100002")) == (0.0, 1.0, None)
    assert figure(of(table, "exits", "100002")) == (1.0, 0.5, None)
    assert of(table, "entries")["low"] is None
    assert of(table, "exits")["high"] is None


@pytest.mark.parametrize(
    "missing",
    [{2017: None}, {2018: None}, {2019: None}, {2019: direct(2019, k100002={"CHN": 1.0})}],
)
def test_an_incomplete_window_is_null_with_what_is_possible(missing: dict[int, pa.Table | None]) -> None:
    before = {y: t for y, t in {**BEFORE, **missing}.items() if t is not None}
    table = built(before=before)
    for name in ("entries", "entry_share", "exits"):
        assert figure(of(table, name)) == (None, None, "window_incomplete")
    assert (of(table, "entries")["low"], of(table, "entries")["high"]) == (0.0, 1.0)
    assert (of(table, "entry_share")["low"], of(table, "entry_share")["high"]) == (0.0, 0.35)
    gone = {2017: 2.0, 2018: 1.0, 2019: 1.0}[next(iter(missing))]
    assert (of(table, "exits")["low"], of(table, "exits")["high"]) == (gone, None)


def test_the_window_is_a_setting() -> None:
    short = SETTINGS.model_copy(update={"entry": SETTINGS.entry.model_copy(update={"window": 1})})
    table = built(before={2019: BEFORE[2019]}, limits=short)
    assert figure(of(table, "entries"))[0] == 1.0
    assert figure(of(table, "exits"))[0] == 1.0


def test_the_shares_are_settings() -> None:
    limits = SETTINGS.model_copy(
        update={
            "supplier_share": SETTINGS.supplier_share.model_copy(update={"above": 0.4}),
            "exporter_share": SETTINGS.exporter_share.model_copy(update={"above": 0.35}),
            "stable": SETTINGS.stable.model_copy(update={"risk_below": 0.61}),
        }
    )
    table = built(limits=limits)
    assert of(table, "suppliers")["value"] == 1.0
    assert of(table, "suppliers_stable")["value"] == 1.0
    assert of(table, "exporters")["value"] == 1.0
    # The risk of BRA is the cut-off itself: not stable.
    on_it = built({"100001": {"BRA": (1.0, 1.0, 1.0)}})
    assert of(on_it, "suppliers_stable")["value"] == 0.0


def test_the_composite_is_the_weighted_mean_of_what_is_there() -> None:
    table = built()
    parts = [r for r in rows(table, code="100001") if r["component"] != COMPOSITE]
    weights = {r["component"]: r["weight"] for r in parts}
    assert weights == pytest.approx(SETTINGS.weights())
    there = [r for r in parts if r["score"] is not None]
    coverage = sum(r["weight"] for r in there)
    found = of(table, COMPOSITE)
    mean = sum(r["weight"] * r["score"] for r in there) / coverage
    assert found["value"] == found["score"] == pytest.approx(mean)
    assert found["coverage"] == pytest.approx(coverage)
    assert found["low"] < found["value"] < found["high"]
    left = {
        r["component"]: sum(o["weight"] * o["score"] for o in there if o is not r) / (coverage - r["weight"])
        for r in there
        if r["weight"] > 0
    }
    most = max(left, key=lambda name: round(abs(left[name] - mean), 9))
    assert (found["matters_most"], found["without"]) == (most, pytest.approx(left[most]))
    assert (found["weight"], found["dimension"], found["measure"]) == (None, COMPOSITE, "none")
    assert found["reason"] is None
    assert found["confidence"] == "medium"  # the least of what is weighed
    assert (
        {r["matters_most"] for r in parts} == {r["without"] for r in parts} == {r["coverage"] for r in parts} == {None}
    )


def settings_with(minimum_coverage: float | None = None, **weights: float) -> SubstitutionSettings:
    """The shipped settings with other weights of some components."""
    components = {
        name: c.model_copy(update={"weight": weights[name]}) if name in weights else c
        for name, c in SETTINGS.component.items()
    }
    composite = SETTINGS.composite
    if minimum_coverage is not None:
        composite = composite.model_copy(update={"minimum_coverage": minimum_coverage})
    return SETTINGS.model_copy(update={"component": components, "composite": composite})


def test_what_weighs_nothing_says_nothing_of_the_composite() -> None:
    tracings = [traced("100001", basis="export_proxy", confidence="low")]
    least = dict.fromkeys(("own_share", "origins", "origins_stable", "origins_partners"), 0.0)
    found = of(built(tracings=tracings, limits=settings_with(0.0, **least)), COMPOSITE)
    assert (found["confidence"], found["reason"]) == ("medium", None)
    weighed = of(built(tracings=tracings, limits=settings_with(0.0)), COMPOSITE)
    assert (weighed["confidence"], weighed["reason"]) == ("low", "export_proxy")


def test_what_is_not_there_says_nothing_of_the_composite() -> None:
    """Nothing is traced: neither the proxy nor the low confidence of the tracing touches what is left."""
    lost = [traced("100001", basis="export_proxy", confidence="low", reason="no_member_consumes")]
    found = built({"100001": {"CHN": (60.0, 6.0, None)}}, tracings=lost, limits=settings_with(0.0))
    assert figure(of(found, "own_share")) == (None, None, "no_member_consumes; export_proxy")
    composite = of(found, COMPOSITE)
    assert composite["value"] is not None
    assert (composite["confidence"], composite["reason"]) == ("medium", None)


def test_a_null_composite_says_only_that_too_little_is_there() -> None:
    few: dict[str, Any] = {"figures": (), "before": {}, "tracings": [traced("100001", basis="export_proxy")]}
    assert of(built(**few, draws=0), COMPOSITE)["reason"] == "coverage_too_low"
    proxy = [traced("100001", basis="export_proxy")]
    assert of(built(tracings=proxy, draws=0), COMPOSITE)["reason"] == "export_proxy; no_draws"
    assert of(built(draws=1), COMPOSITE)["reason"] is None


def test_without_a_confidence_none_is_given() -> None:
    table = built(
        tracings=[traced("100001", confidence=None), traced("100002", confidence=None)],
        figures=[indicator("S1", 3.0, confidence=None), indicator("P1", 1.0, confidence="low"), *FIGURES[4:]],
        chain_nodes=PLAN,
    )
    for name in ("own_share", "origins", "production_over_imports", "imports_over_exports"):
        assert of(table, name)["value"] is not None
        assert of(table, name)["confidence"] is None
    assert of(table, "own_share", "pair", group="g")["confidence"] is None
    assert of(table, COMPOSITE)["confidence"] == "low"  # of those that have one
    assert of(table, COMPOSITE, "100002")["confidence"] == "high"
    # A null figure has none, whatever its source says.
    assert of(table, "substitution_index")["confidence"] is None


def test_a_thousand_draws_of_seed_0_are_meant_where_none_are_asked_for() -> None:
    def made(**asked: Any) -> pa.Table:
        return build_substitutability(
            2020, ("NLD",), {2020: supply(MIX)}, TRACING.conform([traced("100001")]), FLOWS.to_batches(),
            INDICATORS.conform(FIGURES), PRODUCTION.empty(), scores(RISK, [2020]), CHAIN_NODES.empty(), CATALOGUE,
            SETTINGS, STAMPED, persistence_window=3, **asked,
        )  # fmt: skip

    plain = made()
    assert plain.equals(made(draws=1000, seed=0))
    for other in (made(draws=1001), made(seed=1)):
        assert not plain.equals(other)
        assert plain.drop_columns(["low", "high"]).equals(other.drop_columns(["low", "high"]))
    assert of(plain, "suppliers_partners")["reason"] == "no_partners_named"


def test_a_composite_of_little_is_null() -> None:
    table = built(figures=(), before={}, tracings=[traced("100001", basis="export_proxy")])
    found = of(table, COMPOSITE)
    assert figure(found) == (None, None, "coverage_too_low")
    assert found["coverage"] == pytest.approx(0.10 + 0.16)
    assert (found["matters_most"], found["confidence"], found["low"], found["without"]) == (None, None, None, None)


def test_the_proxy_is_named_wherever_it_counts() -> None:
    table = built(tracings=[traced("100001", basis="export_proxy", confidence="low"), traced("100002")])
    for name in ("own_share", "origins", "origins_stable", COMPOSITE):
        assert of(table, name)["reason"] == "export_proxy"
        assert of(table, name)["confidence"] == "low"
    assert figure(of(table, "production_over_imports")) == (None, None, "export_proxy")
    assert of(table, "production_over_imports")["confidence"] is None
    assert of(table, "suppliers")["reason"] is None
    assert of(table, COMPOSITE, "100002")["reason"] is None
    listed = built(tracings=[traced("100001", basis="producer_list")])
    assert of(listed, "production_over_imports")["reason"] == "producer_list"
    assert of(listed, "origins")["reason"] == "producer_list"
    assert of(listed, COMPOSITE)["reason"] is None


def test_a_listed_null_of_the_focus_is_no_production() -> None:
    """Within an observed product the focus itself may stand on the proxy."""
    table = built(production=[produced("100001", "NLD", 30.0, "export_proxy")])
    assert figure(of(table, "production_over_imports")) == (None, None, "export_proxy")
    nothing = built(production=[produced("100001", "NLD", 0.0, "export_proxy")])
    assert figure(of(nothing, "production_over_imports")) == (0.0, 1.0, None)
    by_value = built(production=[produced("100001", "NLD", 5.0, measure="v"), produced("100001", "CHN", 9.0)])
    assert figure(of(by_value, "production_over_imports")) == (0.0, 1.0, None)


def test_no_exports_is_the_hardest_though_the_ratio_is_null() -> None:
    table = built(figures=[indicator("S1", None, reason="no_exports")])
    assert figure(of(table, "imports_over_exports")) == (None, 1.0, "no_exports")
    nothing = built(figures=[indicator("S1", None, reason="no_imports_no_exports")])
    assert figure(of(nothing, "imports_over_exports")) == (None, None, "no_imports_no_exports")
    none = built(figures=[indicator("S1", 0.0)])
    assert figure(of(none, "imports_over_exports")) == (0.0, 0.0, None)


def test_without_imports() -> None:
    """All of it home-made: nothing foreign to count, and no harder to replace."""
    table = built({"100001": {"NLD": (None, None, 1.0)}})
    assert figure(of(table, "own_share")) == (1.0, 0.0, None)
    assert figure(of(table, "production_over_imports")) == (None, 0.0, "no_imports")
    for name in ("suppliers", "suppliers_stable", "entries", "entry_share", "exits"):
        assert figure(of(table, name)) == (None, None, "no_imports")
        assert (of(table, name)["low"], of(table, name)["high"]) == (None, None)
    for name in ("origins", "origins_stable"):
        assert figure(of(table, name)) == (None, None, "no_foreign_supply")
    idle = built({"100001": {"NLD": (None, None, 1.0)}}, production=())
    assert figure(of(idle, "production_over_imports")) == (None, None, "no_imports")


def test_what_one_product_lacks_another_may_have() -> None:
    """100001 is bought and made; 100002 only made, or only guessed: neither says anything of the other."""
    mix = {"100001": MIX["100001"], "100002": {"NLD": (None, None, 1.0)}}
    made = [produced("100001", "NLD", 30.0), produced("100002", "NLD", 8.0)]
    table = built(mix, production=made)
    assert figure(of(table, "production_over_imports")) == (3.0, 0.25, None)
    assert figure(of(table, "production_over_imports", "100002")) == (None, 0.0, "no_imports")
    guessed = built(production=[made[0], produced("100002", "NLD", 8.0, "export_proxy")])
    assert figure(of(guessed, "production_over_imports")) == (3.0, 0.25, None)
    assert figure(of(guessed, "production_over_imports", "100002")) == (None, None, "export_proxy")


def test_an_own_share_is_never_above_one() -> None:
    """Whatever the last digits of a mix sum to."""
    table = built({"100001": {"NLD": (None, None, 0.600001), "UNK": (None, None, 0.4)}})
    assert (of(table, "own_share")["value"], of(table, "own_share")["high"]) == (0.600001, 1.0)


def test_each_node_has_its_own_figures() -> None:
    """A node of one code is that code; it stands beside one of two codes."""
    reference = replace(
        catalogue([node("alone", "100002"), node("pair", "100001 100002")], (), {"g": "pair", "h": "alone"}),
        blocs=CATALOGUE.blocs,
    )
    table = built(chain_nodes=plan(placed("g", "pair", 0), placed("h", "alone", 0)), reference=reference)
    for component in DIMENSIONS:
        code, single = (of(table, component, c, level=v) for c, v in (("100002", "hs6"), ("alone", "node")))
        if component not in {"imports_over_exports", "trade_elasticity", COMPOSITE}:  # read, or made of what is read
            assert figure(single) == figure(code), component
        assert figure(of(table, component, "h", level="group")) == figure(single), component
        assert of(table, component, "g", level="group")["value"] == of(table, component, "pair")["value"], component
    assert of(table, "suppliers", "pair", level="node")["value"] == 2.0
    assert of(table, "suppliers", "alone", level="node")["value"] == 1.0


def test_what_cannot_be_had_says_why() -> None:
    massless = built({"100001": {"CHN": (60.0, None, 1.0)}})
    assert figure(of(massless, "production_over_imports")) == (None, None, "no_mass")
    dark = built({"100001": {"CHN": (60.0, 6.0, 0.0), "UNK": (None, None, 1.0)}})
    assert figure(of(dark, "origins")) == (None, None, "origin_unknown")
    assert of(dark, "own_share")["high"] == 1.0
    unsupplied = built({"100001": {"CHN": (60.0, 6.0, None)}}, tracings=[traced("100001", reason="no_member_consumes")])
    for name in ("own_share", "origins", "production_over_imports"):
        assert figure(of(unsupplied, name)) == (None, None, "no_member_consumes")
    silent = built({"100001": {"CHN": (60.0, 6.0, None)}})
    assert figure(of(silent, "own_share")) == (None, None, "no_supply")
    alone = flows([(2020, "100001", "NLD", "DEU", 5, 1), (2020, "100001", "CHN", "CHN", 5, 1)])
    lonely = built(table=alone)
    for name in ("exporters", "exporters_stable", "export_share_stable"):
        assert figure(of(lonely, name)) == (None, None, "no_exports_in_the_world")
    plain = built()
    for name in ("suppliers_partners", "origins_partners", "exporters_partners", "export_share_partners"):
        assert figure(of(plain, name)) == (None, None, "no_partners_named")
    ungoverned = built(risk=None)
    for name in ("suppliers_stable", "origins_stable", "exporters_stable", "export_share_stable"):
        assert figure(of(ungoverned, name)) == (None, None, "no_governance_data")
    assert of(ungoverned, "origins_stable")["source_vintage"] == (
        f"baci {REVISION} V2020; mining statistics; wgi an edition"
    )
    unscored = built(risk={"CHN": None})
    assert figure(of(unscored, "suppliers_stable")) == (None, None, "no_governance_data")
    undrawn = of(built(draws=0), COMPOSITE)
    assert (undrawn["reason"], undrawn["low"], undrawn["high"]) == ("no_draws", None, None)
    every = [massless, dark, silent, lonely, plain, ungoverned, built(draws=0)]
    words = {w for t in every for r in t.column("reason").to_pylist() if r for w in r.split("; ")}
    assert words - {"recalled"} <= set(REASONS)


def test_amounts_below_one_are_amounts() -> None:
    """All money and mass a thousandth: the same table, of codes and of nodes, consumed or idle, made or imported."""

    def scaled(factor: float, home: bool, idle: bool) -> pa.Table:
        mix = {
            code: {c: (v and v * factor, q and q * factor, s) for c, (v, q, s) in held.items()}
            for code, held in MIX.items()
        }
        if home:
            mix["100002"] = {"NLD": (None, None, 1.0)}
        before = {
            year: direct(
                year,
                **{
                    f"k{c}": {r["country"]: r["value_kusd"] * factor for r in rows(earlier, code=c)}
                    for c in ("100001", "100002")
                },
            )
            for year, earlier in BEFORE.items()
        }
        eaten = 0.0 if idle else 50.0 * factor
        tracings = [
            traced("100001", consumption=eaten, supply=90.0 * factor),
            traced("100002", consumption=eaten / 2, supply=30.0 * factor),
        ]
        moved = [
            (2020, r["code"], r["exporter"], r["importer"], float(r["value_kusd"]) * factor, r["tonnes"] * factor)
            for r in FLOWS.to_pylist()
        ]
        made = [
            produced("100001", "NLD", 30.0 * factor), produced("100002", "NLD", 8.0 * factor, "export_proxy"),
            produced("100001", "CHN", 70.0 * factor, "export_proxy"),
        ]  # fmt: skip
        return built(
            mix, tracings=tracings, before=before, table=flows(moved), production=made if not home else made[:1],
            chain_nodes=PLAN,
        )  # fmt: skip

    for home, idle in itertools.product((False, True), repeat=2):
        large, small = scaled(1.0, home, idle), scaled(0.001, home, idle)
        for name in ("value", "score", "low", "high", "reason", "confidence"):
            found, expected = (t.column(name).to_pylist() for t in (small, large))
            if pa.types.is_floating(small.schema.field(name).type):
                found, expected = ([NAN if v is None else v for v in column] for column in (found, expected))
                assert found == pytest.approx(expected, rel=1e-8, nan_ok=True), (name, home, idle)
            else:
                assert found == expected, (name, home, idle)
    made = of(scaled(0.001, False, False), "production_over_imports", "100002")
    assert figure(made) == (None, None, "export_proxy")
    # All of it made at home, and less than a tonne.
    alone = built({"100001": {"NLD": (None, None, 1.0)}}, production=[produced("100001", "NLD", 0.4)])
    assert figure(of(alone, "production_over_imports")) == (None, 0.0, "no_imports")


def test_two_revisions_of_the_nomenclature_are_two_products() -> None:
    """The same code in HS17, sold by others, and bought of others: neither is added to the other."""
    older, newer = FLOWS, flows([(2020, "100001", "RUS", "USA", 40, 4), (2020, "100001", "BRA", "USA", 10, 1),
                                 (2020, "100003", "BRA", "DEU", 7, 1), (2020, "100001", "RUS", "NLD", 8, 1)],
                                revision=LATER)  # fmt: skip
    mine = supply({"100001": {"RUS": (8.0, 1.0, 0.9), "NLD": (None, None, 0.1)}})
    mine = mine.set_column(mine.column_names.index("hs_revision"), "hs_revision", pa.array([LATER] * 2).cast(
        mine.schema.field("hs_revision").type))  # fmt: skip
    figures = [*FIGURES, indicator("S1", 0.5, hs_revision=LATER), indicator("S3", 2.0, hs_revision=LATER)]
    table = built(
        mixes={2020: pa.concat_tables([supply(MIX), mine]), **BEFORE},
        tracings=[traced("100001"), traced("100002", consumption=0.0), traced("100001", hs_revision=LATER)],
        table=pa.concat_tables([newer, older]),
        figures=figures,
        production=[produced("100001", "NLD", 30.0), produced("100001", "NLD", 2.0) | {"hs_revision": LATER}],
        chain_nodes=PLAN,
    )
    alone = built(chain_nodes=PLAN)
    kept = table.filter(pc.field("hs_revision") == REVISION)
    elasticity = pc.is_in(kept.column("component"), pa.array(["trade_elasticity", COMPOSITE]))
    expected = alone.filter(pc.invert(pc.is_in(alone.column("component"), pa.array(["trade_elasticity", COMPOSITE]))))
    assert kept.filter(pc.invert(elasticity)).equals(expected)
    later = {r["component"]: r for r in rows(table, hs_revision=LATER)}
    assert len(later) == len(COMPONENTS)
    assert later["imports_over_exports"]["value"] == 0.5
    assert (later["own_share"]["value"], later["production_over_imports"]["value"]) == (0.1, 2.0)
    assert (later["suppliers"]["value"], later["exporters"]["value"]) == (1.0, 2.0)
    assert later["export_share_stable"]["value"] == 0.0  # of RUS 48 and BRA 10; the 7 of BRA are another product
    assert later["exporters"]["source_vintage"] == f"baci {LATER} V17"
    assert later["own_share"]["source_vintage"] == f"baci {LATER} V17; mining statistics"
    assert of(table, "exporters", hs_revision=REVISION)["source_vintage"] == f"baci {REVISION} V2020"
    # Of 2, 4 and 8.
    assert later["trade_elasticity"]["score"] == pytest.approx(1 - 1 / 6)
    assert of(table, "trade_elasticity", hs_revision=REVISION)["score"] == pytest.approx(1 / 2)


def test_a_row_says_what_it_is() -> None:
    table = built()
    found = of(table, "suppliers_stable")
    assert (found["focus"], found["level"], found["hs_revision"], found["year"]) == ("NLD", "hs6", REVISION, 2020)
    assert (found["group"], found["tier"], found["dimension"], found["measure"]) == (None, 0, "supplier", "v")
    assert (found["unit"], found["confidence"], found["method_version"]) == ("countries", "high", "1")
    assert found["source_vintage"] == f"baci {REVISION} V2020; wgi an edition"
    assert of(table, "suppliers")["source_vintage"] == f"baci {REVISION} V2020"
    assert of(table, "origins")["source_vintage"] == f"baci {REVISION} V2020; mining statistics"
    assert of(table, "own_share")["source_vintage"] == f"baci {REVISION} V2020; mining statistics"
    assert of(table, COMPOSITE)["source_vintage"] == f"baci {REVISION} V2020; mining statistics; wgi an edition"
    assert of(table, "persistence")["source_vintage"] == "theirs"
    assert of(table, "eol_rir", "100002")["source_vintage"] is None
    assert found["source"] == "ketenpipe; World Bank WGI; normalisation and weight: ketenpipe's convention"
    assert of(table, COMPOSITE)["source"].startswith("ketenpipe; ketenpipe's convention: null below half")
    for row in table.to_pylist():
        assert (row["dimension"], row["measure"]) == DIMENSIONS[row["component"]]
        assert row["unit"] == COMPONENTS[row["component"]].unit
        assert (row["value"] is None) <= bool(row["reason"])
    assert len(rows(table, code="100001")) == len(COMPONENTS)
    assert table.schema.equals(SUBSTITUTABILITY.schema())
    assert {i for i, _ in (("S1", 0), ("S2", 0), ("S3", 0), ("S4a", 0), ("S4b", 0), ("P1", 0))} == set(
        FIGURE_INDICATORS
    )


def test_nodes_and_groups_stand_on_sums() -> None:
    """pair = 100001 + 100002: direct 160 CHN, 35 DEU, 5 AUT of 200; traced as 100001, which alone is consumed."""
    more = [indicator("S1", 7.0, "pair", level="node", group=g, tier=t) for g, t in (("g", 0), ("h", 1))]
    table = built(chain_nodes=PLAN, figures=[*FIGURES, *more, indicator("S3", 8.0, "pair", level="node", group="g")])
    places: tuple[dict[str, Any], ...] = (
        {"code": "pair", "level": "node", "group": "g", "tier": 0},
        {"code": "pair", "level": "node", "group": "h", "tier": 1},
        {"code": "g", "level": "group", "group": "g", "tier": 0},
    )
    for where in places:
        assert of(table, "imports_over_exports", **where)["value"] == 7.0
        assert of(table, "suppliers", **where)["value"] == 2.0
        assert of(table, "own_share", **where)["value"] == 0.1
        assert of(table, "origins", **where)["value"] == 2.0
        assert of(table, "production_over_imports", **where)["value"] == 1.5
        # 60 and 100 of CHN, 95 of USA, 35 of DEU, 5 of AUT.
        assert of(table, "exporters", **where)["value"] == 3.0
        assert of(table, "export_share_stable", **where)["value"] == pytest.approx(130 / 295)
        # DEU is new in the sum too; RUS was 9 of 109 in 2017.
        assert of(table, "entries", **where)["value"] == 1.0
        assert of(table, "exits", **where)["value"] == 3.0
        assert of(table, "trade_elasticity", **where)["score"] == 0.25  # among the HS6 codes
        assert of(table, "eol_rir", **where)["reason"] == "not_in_sources"
    assert not rows(table, code="far")
    assert len(rows(table, level="group")) == len(COMPONENTS)


def test_a_node_weighs_its_codes_by_supply_where_none_is_consumed() -> None:
    idle = [traced("100001", consumption=0.0, supply=30.0), traced("100002", consumption=0.0, supply=10.0)]
    table = built(chain_nodes=PLAN, tracings=idle)
    assert of(table, "own_share", "pair", group="g")["value"] == pytest.approx(0.075)
    # A code without a traced row weighs nothing.
    part = built({"100001": MIX["100001"], "100002": {"CHN": (1.0, 1.0, None)}}, chain_nodes=PLAN, tracings=idle)
    assert of(part, "own_share", "pair", group="g")["value"] == pytest.approx(0.1)
    none = built({"100001": {"CHN": (1.0, 1.0, None)}}, chain_nodes=PLAN, tracings=idle)
    assert of(none, "own_share", "pair", group="g")["reason"] == "no_supply"


def test_the_worst_code_grades_a_node() -> None:
    mixed = [traced("100001", confidence="low"), traced("100002", basis="export_proxy")]
    table = built(chain_nodes=PLAN, tracings=mixed)
    own = of(table, "own_share", "pair", group="g")
    assert (own["confidence"], own["reason"]) == ("low", "export_proxy")
    assert of(table, "production_over_imports", "pair", group="g")["reason"] == "export_proxy"


def test_a_bloc_leaves_its_members_out() -> None:
    mix = supply({"100001": {"CHN": (50.0, 5.0, 0.4), "DEU": (None, None, 0.3), "NLD": (None, None, 0.3)}}, "EU27")
    table = built(
        mixes={2020: mix},
        foci=("EU27",),
        tracings=[traced("100001", "EU27")],
        production=[produced("100001", "NLD", 3.0), produced("100001", "DEU", 4.0), produced("100001", "CHN", 5.0)],
    )
    assert of(table, "own_share")["value"] == 0.6
    assert of(table, "production_over_imports")["value"] == 1.4
    assert of(table, "origins")["value"] == 1.0
    # Of others than members: USA 95, CHN 60.
    assert of(table, "exporters")["value"] == 2.0
    assert of(table, "export_share_stable")["value"] == pytest.approx(95 / 155)
    assert {r["focus"] for r in table.to_pylist()} == {"EU27"}


def test_several_foci_do_not_touch_each_other() -> None:
    apart = supply({"100001": {"USA": (1.0, 1.0, 1.0)}}, "EU27")
    both = built(
        mixes={2020: pa.concat_tables([supply(MIX), apart]), **BEFORE},
        foci=("NLD", "EU27"),
        tracings=[traced("100001"), traced("100002", consumption=0.0), traced("100001", "EU27")],
    )
    assert both.filter(pc.field("focus") == "NLD").equals(built())
    assert of(both, "suppliers", focus="EU27")["value"] == 1.0


def test_what_is_not_traced_leaks_into_nothing() -> None:
    """A code without a row of ``tracing``, in the mixes, the production and the flows."""
    stray = {**MIX, "999999": {"RUS": (900.0, 900.0, 0.9)}}
    before = {y: pa.concat_tables([t, direct(y, k999999={"BRA": 9.0})]) for y, t in BEFORE.items()}
    more = pa.concat_tables([FLOWS, flows([(2020, "999999", "RUS", "DEU", 9, 9)])])
    made = [produced("100001", "NLD", 30.0), produced("999999", "NLD", 70.0)]
    assert built(stray, before=before, table=more, production=made).equals(built())


def test_text_as_dictionaries_gives_the_same() -> None:
    given: dict[str, Any] = {"chain_nodes": PLAN, "partners": ("FRIENDS",)}
    assert built(**given, coded=True).equals(built(**given))


def test_flows_in_batches_give_the_same() -> None:
    def of_batches(rows_each: int) -> pa.Table:
        cut = pa.Table.from_batches(FLOWS.to_batches(max_chunksize=rows_each))
        return built(table=cut)

    assert of_batches(1).equals(of_batches(1000))


def test_without_products() -> None:
    assert built(tracings=()).equals(SUBSTITUTABILITY.empty())
    assert built(foci=("USA",)).equals(SUBSTITUTABILITY.empty())


def test_wrong_use_is_refused() -> None:
    with pytest.raises(WrongUse, match="the supply mix of 2020 is needed for the substitutability of 2020"):
        built(mixes=BEFORE)
    with pytest.raises(WrongUse, match="NOBLOC"):
        built(partners=("NOBLOC",))


@settings(max_examples=6, deadline=None)
@given(st.permutations(NAMES[:-1]), st.floats(0.01, 100))
def test_neither_the_names_nor_the_scale_of_the_others_matter(names: list[str], factor: float) -> None:
    """Permuting the countries but the focus, and scaling all money, changes no figure and no score."""
    others = [c for c in NAMES if c != "NLD"]
    new = dict(zip(others, [c if c != "NLD" else "USA" for c in names], strict=True)) | {"NLD": "NLD", "UNK": "UNK"}
    mix = {
        code: {new[c]: (None if v is None else v * factor, q, s) for c, (v, q, s) in held.items()}
        for code, held in MIX.items()
    }
    moved = [
        (2020, r["code"], new[r["exporter"]], new[r["importer"]], r["value_kusd"], r["tonnes"])
        for r in FLOWS.to_pylist()
    ]
    codes = ("100001", "100002")
    before = {
        year: direct(
            year,
            **{f"k{c}": {new[r["country"]]: r["value_kusd"] * factor for r in rows(earlier, code=c)} for c in codes},
        )
        for year, earlier in BEFORE.items()
    }
    other = built(mix, table=flows(moved), before=before, risk={new[c]: r for c, r in RISK.items()})
    now = built()
    for name in ("value", "score", "low", "high"):
        found, expected = ([NAN if v is None else v for v in t.column(name).to_pylist()] for t in (other, now))
        assert found == pytest.approx(expected, rel=1e-8, nan_ok=True), name
