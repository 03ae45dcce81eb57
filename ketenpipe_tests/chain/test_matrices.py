"""Origin tracing as linear algebra: worked by hand, against a power series, and what must always hold."""

from __future__ import annotations

import warnings
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ketenpipe.chain.matrices import (
    Links,
    Production,
    TracedRows,
    _dense,
    _follow,
    _largest_gap,
    balance,
    balance_production,
    consumption,
    trace_origins,
    trace_rows,
    without_raising,
    without_subtraction,
)
from ketenpipe_tests.worlds import matrix

SMALL = settings(max_examples=60, deadline=None)


def proxy(x: np.ndarray, barred: np.ndarray | None = None) -> Production:
    return balance_production(x, None, None, np.zeros(len(x), bool) if barred is None else barred)


def trade(n: int) -> st.SearchStrategy[np.ndarray]:
    """Sparse flows of whole tonnes, nothing to oneself."""

    def off_diagonal(x: np.ndarray) -> np.ndarray:
        return np.where(np.eye(len(x), dtype=bool) | (x < 40), 0.0, x)

    return arrays(float, (n, n), elements=st.integers(0, 100).map(float)).map(off_diagonal)


# -- production ----------------------------------------------------------------------------------------------


def test_the_export_proxy_is_exports_beyond_imports_and_wholly_imputed() -> None:
    # A exports 60 and imports 0 -> 60; H exports 50 and imports 100 -> 0 (a lower bound); N imports only -> 0.
    x = matrix(["A", "H", "N"], [("A", "H", 100), ("H", "N", 50)])
    made = proxy(x)
    assert made.made.tolist() == [100.0, 0.0, 0.0]
    assert made.imputed.tolist() == [1.0, 1.0, 1.0]
    assert made.unknown.tolist() == [0.0, 0.0, 0.0]


def test_the_statistic_is_raised_where_exports_exceed_supply() -> None:
    # A: listed 40, exports 100, imports 0: p = 100, of which 60 raised: d = 0.6.
    # B: not listed, exports 30, imports 100: enough supply, p = 0, d = 0 (the proxy is not used).
    # C: listed null, exports 50, imports 30: the proxy 20, d = 1.
    # D: listed 500, imports only: p = 500, nothing imputed.
    # E: not listed, exports 5, imports 0: raised from 0 to 5, all of it imputed.
    names = ["A", "B", "C", "D", "E"]
    x = matrix(names, [("A", "B", 100), ("B", "C", 30), ("C", "D", 50), ("E", "D", 5)])
    statistic = np.array([40.0, np.nan, np.nan, 500.0, np.nan])
    listed = np.array([True, False, True, True, False])
    made = balance_production(x, statistic, listed, np.zeros(5, bool))
    assert made.made.tolist() == [100.0, 0.0, 20.0, 500.0, 5.0]
    assert made.imputed.tolist() == pytest.approx([0.6, 0.0, 1.0, 0.0, 1.0])


def test_half_a_statistic_is_none() -> None:
    # Figures without a list of who is listed, or the list without figures: the export proxy.
    sold, bought, nobody = np.array([30.0, 5.0]), np.array([10.0, 5.0]), np.zeros(2, bool)
    for made in (
        balance(sold, bought, np.array([90.0, 90.0]), None, nobody),
        balance(sold, bought, None, np.array([True, True]), nobody),
    ):
        assert made.made.tolist() == [20.0, 0.0]
        assert made.imputed.tolist() == [1.0, 1.0]
        assert made.imputed.dtype == np.float64


def test_small_production_is_imputed_in_part_and_a_null_wholly_whatever_it_makes() -> None:
    # Half a tonne sold, .2 listed: .3 of .5 raised. A listed null that sells nothing makes 0, all of it imputed; one
    # that is not listed makes 0 as well, none of it imputed. Nobody is divided by 0.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = balance(
            np.array([0.5, 0.0, 0.0]),
            np.array([0.0, 4.0, 4.0]),
            np.array([0.2, np.nan, np.nan]),
            np.array([True, True, False]),
            np.zeros(3, bool),
        )
    assert made.made.tolist() == [0.5, 0.0, 0.0]
    assert made.imputed == pytest.approx([0.6, 1.0, 0.0])


def test_a_billionth_of_what_passes_is_rounding_and_more_is_not() -> None:
    # 1 of 1e9 counts as nothing, 2 of 1e9 do not: of production and of consumption.
    sold, passed, nobody = np.array([1e9, 1e9]), np.array([1e9 - 1, 1e9 - 2]), np.zeros(2, bool)
    assert balance(sold, passed, None, None, nobody).made.tolist() == [0.0, 2.0]
    assert consumption(passed, sold).tolist() == [0.0, 2.0]
    assert consumption(np.array([1e6]), np.array([1e6 + 1e-4])).tolist() == [0.0]


def test_a_non_producer_makes_nothing_and_its_surplus_is_of_unknown_origin() -> None:
    # H imports 20 from A and exports 30: 10 of unknown origin enter H's supply of 30; N's 30 are 2/3 A, 1/3 UNK.
    x = matrix(["A", "H", "N"], [("A", "H", 20), ("H", "N", 30)])
    made = proxy(x, np.array([False, True, False]))
    assert made.made.tolist() == [20.0, 0.0, 0.0]
    assert made.unknown.tolist() == [0.0, 10.0, 0.0]
    traced = trace_origins(x, made)
    assert traced.origins[2] == pytest.approx([2 / 3, 0, 0, 1 / 3])
    assert traced.supply.tolist() == [20.0, 30.0, 30.0]


def test_a_non_producer_loses_a_statistic_but_not_its_surplus() -> None:
    # With a statistic the bar still holds: listed null (proxy 10) at a non-producer is UNK, not production.
    x = matrix(["A", "H", "N"], [("A", "H", 20), ("H", "N", 30)])
    made = balance_production(
        x, np.array([25.0, np.nan, np.nan]), np.array([True, True, False]), np.array([False, True, False])
    )
    assert made.made.tolist() == [25.0, 0.0, 0.0]
    assert made.unknown.tolist() == [0.0, 10.0, 0.0]
    assert made.imputed[1] == 0.0


@SMALL
@given(x=trade(5), statistic=arrays(float, 5, elements=st.integers(0, 200).map(float)), mask=st.integers(0, 1023))
def test_supply_always_covers_exports(x: np.ndarray, statistic: np.ndarray, mask: int) -> None:
    # Whatever is listed, null or barred: p + unknown + imports >= exports, and p is never below its statistic.
    listed = np.array([bool(mask >> k & 1) for k in range(5)])
    null = np.array([bool(mask >> (5 + k) & 1) for k in range(5)])
    given_ = np.where(null, np.nan, statistic)
    made = balance_production(x, given_, listed, np.zeros(5, bool))
    assert np.all(made.made + made.unknown + x.sum(axis=0) >= x.sum(axis=1) - 1e-9)
    known = listed & ~null
    assert np.all(made.made[known] >= statistic[known])
    assert np.all((made.imputed >= 0) & (made.imputed <= 1))
    # d * p is exactly what is not in the statistic.
    assert made.made * (1 - made.imputed) == pytest.approx(np.where(known, statistic, 0.0), abs=1e-9)


# -- tracing -------------------------------------------------------------------------------------------------


def test_origins_of_a_small_world_by_hand() -> None:
    # A makes 60, B makes 40, both ship all to hub H (supply 100); H ships 50 to N, N also buys 50 from B.
    # B makes 40 + 50 = 90. H: .6 A, .4 B. N (supply 100): 50 via H = 30 A + 20 B, plus 50 B -> .3 A, .7 B.
    names = ["A", "B", "H", "N"]
    x = matrix(names, [("A", "H", 60), ("B", "H", 40), ("H", "N", 50), ("B", "N", 50)])
    traced = trace_origins(x, proxy(x))
    assert traced.origins[2] == pytest.approx([0.6, 0.4, 0, 0, 0])
    assert traced.origins[3] == pytest.approx([0.3, 0.7, 0, 0, 0])
    assert traced.origins[0] == pytest.approx([1, 0, 0, 0, 0])


def test_own_production_is_part_of_the_mix() -> None:
    # N makes 30 (statistic) and buys 70 from A: .7 A, .3 N.
    x = matrix(["A", "N"], [("A", "N", 70)])
    made = balance_production(x, np.array([70.0, 30.0]), np.array([True, True]), np.zeros(2, bool))
    assert trace_origins(x, made).origins[1] == pytest.approx([0.7, 0.3, 0])


def test_two_countries_that_ship_to_each_other_share_what_comes_in() -> None:
    # A makes 90 and ships it to H; H and N swap: H -> N 60, N -> H 30. B makes 30 and ships to N.
    # x_H = 120, x_N = 90. h = share of A in H, n in N: 120 h = 90 + 30 n; 90 n = 60 h  -> n = 2h/3, h = .9, n = .6.
    x = matrix(["A", "B", "H", "N"], [("A", "H", 90), ("B", "N", 30), ("H", "N", 60), ("N", "H", 30)])
    traced = trace_origins(x, proxy(x))
    assert traced.origins[2, :2] == pytest.approx([0.9, 0.1])
    assert traced.origins[3, :2] == pytest.approx([0.6, 0.4])


def test_a_closed_cycle_is_unknown() -> None:
    # C and D only ship to each other (10 each way): I - A is singular there; A -> N is solved all the same.
    x = matrix(["A", "C", "D", "N"], [("C", "D", 10), ("D", "C", 10), ("A", "N", 5)])
    traced = trace_origins(x, proxy(x))
    assert traced.origins[1].tolist() == [0, 0, 0, 0, 1]
    assert traced.origins[2].tolist() == [0, 0, 0, 0, 1]
    assert traced.origins[3] == pytest.approx([1, 0, 0, 0, 0])


def test_a_closed_cycle_of_decimal_tonnes_is_unknown_too() -> None:
    # C ships 0.1 to D and 0.2 to E, D ships its 0.1 on to E, E ships 0.3 back to C. To the gram nobody makes any;
    # in floats 0.1 + 0.2 - 0.3 = 5.6e-17, which must not turn C into the maker of everything.
    x = matrix(["C", "D", "E"], [("C", "D", 0.1), ("C", "E", 0.2), ("D", "E", 0.1), ("E", "C", 0.3)])
    traced = trace_origins(x, proxy(x))
    assert traced.origins[:, -1].tolist() == [1.0, 1.0, 1.0]


def test_a_closed_cycle_carries_unknown_to_its_customers() -> None:
    # Production that a caller leaves at 0 in the cycle C <-> D: D's 5 to N are UNK, beside 15 from A: .75 A, .25 UNK.
    # N ships 4 on to M, whose mix is N's.
    names = ["A", "C", "D", "N", "M"]
    x = matrix(names, [("C", "D", 10), ("D", "C", 10), ("D", "N", 5), ("A", "N", 15), ("N", "M", 4)])
    made = Production(np.array([15.0, 0, 0, 0, 0]), np.zeros(5), np.zeros(5))
    traced = trace_origins(x, made)
    assert traced.origins[3] == pytest.approx([0.75, 0, 0, 0, 0, 0.25])
    assert traced.origins[4] == pytest.approx([0.75, 0, 0, 0, 0, 0.25])


def test_a_country_without_supply_has_no_row() -> None:
    x = matrix(["A", "N", "Z"], [("A", "N", 5)])
    traced = trace_origins(x, proxy(x))
    assert np.isnan(traced.origins[2]).all()
    assert traced.supply[2] == 0.0


def power_series(x: np.ndarray, p: np.ndarray, u: np.ndarray) -> np.ndarray:
    """O by brute force: follow every tonne hop by hop until nothing moves (no inverse, no ketenpipe)."""
    n = len(x)
    supply = p + u + x.sum(axis=0)
    shares = np.array([[x[i, j] / supply[i] if supply[i] > 0 else 0.0 for i in range(n)] for j in range(n)])
    wave = np.column_stack([np.diag(p), u])
    total = wave.copy()
    for _ in range(2000):
        wave = shares @ wave
        total += wave
        if wave.max(initial=0.0) < 1e-14:
            break
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(supply[:, None] > 0, total / supply[:, None], np.nan)


@SMALL
@given(x=trade(6), extra=arrays(float, 6, elements=st.integers(1, 80).map(float)), barred=st.integers(0, 5))
def test_origins_agree_with_a_power_series(x: np.ndarray, extra: np.ndarray, barred: int) -> None:
    non = np.arange(6) == barred
    statistic = np.where(non, 0.0, np.maximum(x.sum(axis=1) - x.sum(axis=0), 0.0) + extra)
    made = balance_production(x, statistic, ~non, non)
    traced = trace_origins(x, made)
    expected = power_series(x, made.made, made.unknown)
    alive = traced.supply > 0
    assert traced.origins[alive] == pytest.approx(expected[alive], abs=1e-8)


@SMALL
@given(x=trade(6), barred=st.integers(-1, 5))
def test_rows_sum_to_one_and_every_tonne_made_is_used(x: np.ndarray, barred: int) -> None:
    # Proportional mixing moves supply, it makes none: sum_j (x_j - exports_j) O[j, c] = p_c, and = u for UNK.
    non = np.arange(6) == barred
    made = proxy(x, non)
    traced = trace_origins(x, made)
    alive = traced.supply > 0
    assert traced.origins[alive].sum(axis=1) == pytest.approx(1.0)
    assert np.all(traced.origins[alive] >= 0)
    assert np.isnan(traced.origins[~alive]).all()
    used = (traced.supply - x.sum(axis=1))[alive] @ traced.origins[alive]
    assert used == pytest.approx(np.append(made.made, made.unknown.sum()), abs=1e-6)


@SMALL
@given(x=trade(5), factor=st.sampled_from([1e-6, 3.0, 1e7]), order=st.permutations(range(5)))
def test_units_and_the_order_of_countries_do_not_matter(x: np.ndarray, factor: float, order: list[int]) -> None:
    plain = trace_origins(x, proxy(x))
    scaled = trace_origins(x * factor, proxy(x * factor))
    assert np.nan_to_num(scaled.origins) == pytest.approx(np.nan_to_num(plain.origins), abs=1e-9)
    at = np.array(order)
    moved = x[np.ix_(at, at)]
    shuffled = trace_origins(moved, proxy(moved))
    assert np.nan_to_num(shuffled.origins) == pytest.approx(
        np.nan_to_num(plain.origins[np.ix_(at, [*order, 5])]), abs=1e-9
    )


@SMALL
@given(x=trade(5), seller=st.integers(0, 4), buyer=st.integers(0, 4))
def test_a_hub_with_one_origin_leaves_its_customers_mix_unchanged(x: np.ndarray, seller: int, buyer: int) -> None:
    # All that `seller` ships to `buyer` (and half of what it ships to others) goes through a new hub instead.
    plain = trace_origins(x, proxy(x)).origins
    wide = np.zeros((6, 6))
    wide[:5, :5] = x
    detour = x[seller] / 2
    detour[buyer] = x[seller, buyer]
    wide[seller, :5] -= detour
    wide[seller, 5] = detour.sum()
    wide[5, :5] = detour
    through = trace_origins(wide, proxy(wide)).origins
    assert np.nan_to_num(through[:5, [0, 1, 2, 3, 4, 6]]) == pytest.approx(np.nan_to_num(plain), abs=1e-9)
    assert np.nan_to_num(through[:5, 5]) == pytest.approx(0.0, abs=1e-12)


@SMALL
@given(x=trade(5), buyer=st.integers(0, 4))
def test_a_hub_with_one_destination_leaves_that_mix_unchanged(x: np.ndarray, buyer: int) -> None:
    # Everything that `buyer` imports first lands in a new hub: its mix stays, and nobody else's moves.
    plain = trace_origins(x, proxy(x)).origins
    wide = np.zeros((6, 6))
    wide[:5, :5] = x
    wide[:5, 5], wide[:5, buyer] = x[:, buyer], 0.0
    wide[5, buyer] = x[:, buyer].sum()
    through = trace_origins(wide, proxy(wide)).origins
    assert np.nan_to_num(through[:5, [0, 1, 2, 3, 4, 6]]) == pytest.approx(np.nan_to_num(plain), abs=1e-9)


# -- weights -------------------------------------------------------------------------------------------------


def test_apparent_consumption_never_falls_below_zero_and_a_pure_hub_eats_nothing() -> None:
    # H passes 0.1 + 0.2 on as 0.3 (a rounding error of 5.6e-17 is no consumption); N keeps 0.3; Z exports too much.
    x = matrix(["A", "B", "H", "N"], [("A", "H", 0.1), ("B", "H", 0.2), ("H", "N", 0.3)])
    assert consumption(x.sum(axis=1), np.array([0.1, 0.2, 0.1 + 0.2, 0.3])).tolist() == [0.0, 0.0, 0.0, 0.3]
    assert consumption(np.array([9.0, 0.0]), np.array([5.0, 9.0])).tolist() == [0.0, 9.0]


# -- many products at once -----------------------------------------------------------------------------------


def listed(stack: np.ndarray) -> Links:
    """``X[k, i, j]`` as a list of flows."""
    product, sender, receiver = np.nonzero(stack)
    return Links(len(stack), stack.shape[1], product, sender, receiver, stack[product, sender, receiver])


def proxies(stack: np.ndarray, barred: np.ndarray | None = None) -> Production:
    """The export proxy of every product."""
    bars = np.zeros(stack.shape[:2], bool) if barred is None else barred
    return balance(stack.sum(axis=2), stack.sum(axis=1), None, None, bars)


def weigh(supply: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Weights over the countries with supply, that sum to 1 or are all 0."""
    held = np.where(supply > 0, wanted, 0.0)
    total = held.sum(axis=-1, keepdims=True)
    return np.divide(held, total, out=np.zeros_like(held), where=total > 0)


def one_by_one(stack: np.ndarray, made: Production, weights: np.ndarray) -> np.ndarray:
    """Combined rows from the supply-mix matrix of each product, unknown origin last."""
    rows, products, n = weights.shape
    out = np.zeros((rows, products, n + 1))
    for k, x in enumerate(stack):
        origins = np.nan_to_num(trace_origins(x, Production(made.made[k], made.unknown[k], made.imputed[k])).origins)
        for row in range(rows):
            out[row, k] = weights[row, k] @ origins
    return out


def together(traced: TracedRows) -> np.ndarray:
    return np.concatenate([traced.shares, traced.unknown[:, :, np.newaxis]], axis=2)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[np.ndarray, Production, np.ndarray]:
    """Up to four products of up to twelve countries: flows, production of every sort, weights of two rows."""
    n, products = draw(st.integers(2, 12)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (products, n, n)
    density = draw(st.sampled_from([0.05, 0.2, 0.6, 1.0]))
    stack = np.where(rng.random(shape) < density, np.round(rng.lognormal(2.0, 3.0, shape), 3), 0.0)
    stack[:, np.arange(n), np.arange(n)] = 0.0
    if draw(st.booleans()):
        # Two countries that only ship to each other.
        stack[0, :2, :], stack[0, :, :2] = 0.0, 0.0
        stack[0, 0, 1] = stack[0, 1, 0] = 7.5
    barred = rng.random((products, n)) < 0.15
    made = proxies(stack, barred)
    if draw(st.booleans()):
        statistic = np.where(rng.random(n) < 0.3, np.nan, np.round(rng.lognormal(2.0, 2.0, n), 3))
        own = balance_production(stack[0], statistic, rng.random(n) < 0.6, barred[0])
        made.made[0], made.unknown[0], made.imputed[0] = own.made, own.unknown, own.imputed
    supply = made.made + made.unknown + stack.sum(axis=1)
    single = np.zeros(n)
    single[0] = 1.0
    bloc = rng.random(n) * (rng.random(n) < 0.5)
    return stack, made, weigh(supply, np.stack([np.tile(single, (products, 1)), np.tile(bloc, (products, 1))]))


@SMALL
@given(world=worlds())
def test_many_at_once_equal_one_at_a_time(world: tuple[np.ndarray, Production, np.ndarray]) -> None:
    stack, made, weights = world
    traced = trace_rows(listed(stack), made, weights)
    assert together(traced) == pytest.approx(one_by_one(stack, made, weights), abs=1e-10)
    assert np.all(traced.shares >= 0)
    held = weights.sum(axis=2)
    assert together(traced).sum(axis=2) == pytest.approx(held, abs=1e-12)
    assert np.all(np.abs(together(traced).sum(axis=2) - held) <= traced.residual + 1e-14)
    assert np.all(traced.residual < 1e-12)


@SMALL
@given(world=worlds())
def test_a_product_is_the_same_to_the_last_bit_whatever_it_is_traced_with(
    world: tuple[np.ndarray, Production, np.ndarray],
) -> None:
    stack, made, weights = world
    traced = trace_rows(listed(stack), made, weights)
    for k in range(len(stack)):
        alone = Production(made.made[k : k + 1], made.unknown[k : k + 1], made.imputed[k : k + 1])
        found = trace_rows(listed(stack[k : k + 1]), alone, weights[:, k : k + 1])
        assert np.array_equal(together(found)[:, 0], together(traced)[:, k])


@SMALL
@given(world=worlds(), factor=st.sampled_from([1e-6, 3.0, 1e9]), seed=st.integers(0, 99))
def test_many_at_once_mind_neither_units_nor_order(
    world: tuple[np.ndarray, Production, np.ndarray], factor: float, seed: int
) -> None:
    stack, made, weights = world
    plain = trace_rows(listed(stack), made, weights)
    scaled = Production(made.made * factor, made.unknown * factor, made.imputed)
    assert together(trace_rows(listed(stack * factor), scaled, weights)) == pytest.approx(together(plain), abs=1e-11)
    at = np.random.default_rng(seed).permutation(stack.shape[1])
    moved = Production(made.made[:, at], made.unknown[:, at], made.imputed[:, at])
    found = trace_rows(listed(stack[:, at][:, :, at]), moved, weights[:, :, at])
    assert found.shares == pytest.approx(plain.shares[:, :, at], abs=1e-11)
    assert found.unknown == pytest.approx(plain.unknown, abs=1e-11)
    # Flows in any order.
    links = listed(stack)
    shuffled = np.random.default_rng(seed).permutation(len(links.amount))
    again = Links(
        links.products, links.countries, *(v[shuffled] for v in (links.product, links.sender, links.receiver)),
        links.amount[shuffled],
    )  # fmt: skip
    assert together(trace_rows(again, made, weights)) == pytest.approx(together(plain), abs=1e-11)


@SMALL
@given(world=worlds(), seller=st.integers(0, 1))
def test_a_pure_hub_changes_nothing_for_many_at_once(
    world: tuple[np.ndarray, Production, np.ndarray], seller: int
) -> None:
    stack, _, weights = world
    made = proxies(stack)
    products, n = stack.shape[:2]
    supply = made.made + stack.sum(axis=1)
    weights = weigh(supply, weights + 1e-3)
    wide = np.zeros((products, n + 1, n + 1))
    wide[:, :n, :n] = stack
    wide[:, seller, :n] -= stack[:, seller] / 2
    wide[:, n, :n] = stack[:, seller] / 2
    wide[:, seller, n] = wide[:, n].sum(axis=1)
    longer = np.concatenate([weights, np.zeros((2, products, 1))], axis=2)
    plain = trace_rows(listed(stack), made, weights)
    through = trace_rows(listed(wide), proxies(wide), longer)
    assert through.shares[:, :, :n] == pytest.approx(plain.shares, abs=1e-9)
    assert through.shares[:, :, n] == pytest.approx(0.0, abs=1e-12)


def exact_row(x: np.ndarray, slack: np.ndarray, weights: np.ndarray) -> list[Fraction]:
    """``y`` of ``(diag(slack + imports) - X) y = w`` in fractions, by Gauss-Jordan."""
    n = len(x)
    flows = [[Fraction(float(v)) for v in row] for row in x]
    supply = [Fraction(float(slack[j])) + sum(flows[i][j] for i in range(n)) for j in range(n)]
    rows = [
        [(supply[i] if i == j else Fraction(0)) - flows[i][j] for j in range(n)] + [Fraction(float(weights[i]))]
        for i in range(n)
    ]
    for k in range(n):
        pivot = next(i for i in range(k, n) if rows[i][k])
        rows[k], rows[pivot] = rows[pivot], rows[k]
        rows[k] = [v / rows[k][k] for v in rows[k]]
        for i in range(n):
            if i != k and rows[i][k]:
                rows[i] = [a - rows[i][k] * b for a, b in zip(rows[i], rows[k], strict=True)]
    return [row[-1] for row in rows]


@settings(max_examples=30, deadline=None)
@given(x=trade(5), slack=arrays(float, 5, elements=st.integers(1, 50).map(float)), at=st.integers(0, 4))
def test_the_residual_bounds_the_error_against_exact_fractions(x: np.ndarray, slack: np.ndarray, at: int) -> None:
    weights = np.eye(5)[at]
    made = Production(slack, np.zeros(5), np.zeros(5))
    traced = trace_rows(listed(x[np.newaxis]), _one(made), weights.reshape(1, 1, 5))
    exact = exact_row(x, slack, weights)
    errors = [
        abs(Fraction(float(s)) - y * Fraction(float(p)))
        for s, y, p in zip(traced.shares[0, 0], exact, slack, strict=True)
    ]
    # The residual does not see its own rounding (sums of five, and what is passed on as a share) nor that of the last
    # multiplication: some half units in the last place of all that is added up, the weight and what passes twice.
    passing = float(sum(y * Fraction(float(s)) for y, s in zip(exact, slack + x.sum(axis=0), strict=True)))
    assert float(sum(errors)) <= traced.residual[0, 0] + 8 * np.finfo(float).eps * (1.0 + 2.0 * passing)
    assert without_subtraction(x, slack, weights[:, np.newaxis])[:, 0] == pytest.approx(
        [float(y) for y in exact], rel=1e-13
    )


def _one(made: Production) -> Production:
    return Production(*(part[np.newaxis] for part in (made.made, made.unknown, made.imputed)))


def test_goods_that_go_round_a_hundred_times_are_solved_for() -> None:
    # A makes 1 and ships it to C; C and D pass 100 to each other; D ships 1 to N. Far more hops than are followed.
    x = matrix(["A", "C", "D", "N"], [("A", "C", 1), ("C", "D", 101), ("D", "C", 100), ("D", "N", 1)])
    traced = trace_rows(listed(x[np.newaxis]), _one(proxy(x)), np.eye(4)[3].reshape(1, 1, 4))
    assert traced.shares[0, 0] == pytest.approx([1.0, 0, 0, 0], abs=1e-12)
    assert traced.residual[0, 0] < 1e-12


@pytest.mark.parametrize("entering", [1e-3, 1e-9])
def test_a_cycle_that_nearly_feeds_itself_keeps_its_digits(entering: float) -> None:
    # C and D pass a billion to each other; A (two thirds) and B enter a crumb of it. Whoever buys of D holds A's two
    # thirds and B's third, exactly: the mix in the cycle is that of what enters, however often it goes round.
    names = ["A", "B", "C", "D", "N"]
    x = matrix(names, [("A", "C", 2 * entering), ("B", "C", entering), ("C", "D", 1e9), ("D", "C", 1e9)])
    x[3, 4] = 3 * entering
    made = Production(np.array([2 * entering, entering, 0, 0, 0]), np.zeros(5), np.zeros(5))
    traced = _row_of(x, made, 4)
    for row in (trace_origins(x, made).origins[4], together(traced)[0, 0]):
        assert row == pytest.approx([2 / 3, 1 / 3, 0, 0, 0, 0], rel=1e-12)
    assert np.isfinite(trace_origins(x, made).origins).all()
    assert traced.residual[0, 0] < 1e-12, "no bound of rounding, which would be as large as the row"


def test_a_cycle_that_nearly_feeds_itself_keeps_what_is_of_unknown_origin() -> None:
    # As above, with B's third of unknown origin; beside it U, which makes 5 and holds 10 of unknown origin, all sold to
    # V; and P and Q, which nobody supplies.
    names = ["A", "B", "C", "D", "N", "U", "V", "P", "Q"]
    x = matrix(
        names,
        [("A", "C", 2e-9), ("B", "C", 1e-9), ("C", "D", 1e9), ("D", "C", 1e9), ("U", "V", 15), ("P", "Q", 1)],
    )
    x[3, 4] = 3e-9
    made = Production(np.array([2e-9, 0, 0, 0, 0, 5, 0, 0, 0]), np.array([0, 1e-9, 0, 0, 0, 10, 0, 0, 0]), np.zeros(9))
    traced = trace_origins(x, made)
    assert traced.origins[4] == pytest.approx([2 / 3, 0, 0, 0, 0, 0, 0, 0, 0, 1 / 3], rel=1e-12)
    assert traced.origins[6] == pytest.approx([0, 0, 0, 0, 0, 1 / 3, 0, 0, 0, 2 / 3], rel=1e-12)
    assert 0 <= traced.residual < 1e-12
    for country in (4, 6):
        row = _row_of(x, made, country)
        assert together(row)[0, 0] == pytest.approx(traced.origins[country], rel=1e-12)
        assert 0 <= row.residual[0, 0] < 1e-12


def test_a_world_that_makes_nothing_is_all_unknown_and_has_no_residual() -> None:
    x = matrix(["C", "D"], [("C", "D", 10), ("D", "C", 10)])
    traced = trace_origins(x, proxy(x))
    assert traced.origins.tolist() == [[0, 0, 1], [0, 0, 1]]
    assert traced.residual == 0.0


def test_a_flow_of_nothing_reaches_nobody() -> None:
    # A ships 5 to N and nothing to Z.
    links = Links(1, 3, np.zeros(2, np.int64), np.zeros(2, np.int64), np.array([1, 2]), np.array([5.0, 0.0]))
    made = Production(np.array([[5.0, 0, 0]]), np.zeros((1, 3)), np.zeros((1, 3)))
    traced = trace_rows(links, made, np.eye(3)[1].reshape(1, 1, 3))
    assert together(traced)[0, 0].tolist() == [1.0, 0, 0, 0]
    assert traced.residual[0, 0] == 0.0


def test_no_rows_are_asked_for() -> None:
    x = matrix(["A", "N"], [("A", "N", 5)])
    traced = trace_rows(listed(x[np.newaxis]), _one(proxy(x)), np.zeros((0, 1, 2)))
    assert traced.shares.shape == (0, 1, 2)
    assert traced.unknown.shape == traced.residual.shape == (0, 1)


def test_the_largest_gap_is_a_share_of_supply() -> None:
    # Rows of 2 and 3 for supplies of 2 and 4: a quarter of the second is missing.
    assert _largest_gap(np.array([[1.0, 1.0], [3.0, 0.0]]), np.array([2.0, 4.0])) == 0.25


def test_a_solve_without_subtractions_of_what_has_no_answer_is_an_error_and_no_figure() -> None:
    nothing, one = np.zeros((1, 1)), np.ones((1, 1))
    with pytest.raises(FloatingPointError, match="invalid value"):
        without_subtraction(nothing, np.zeros(1), one)
    with pytest.raises(FloatingPointError, match="overflow"):
        without_subtraction(nothing, np.array([1e-300]), one * 1e300)
    assert without_subtraction(nothing, np.array([4.0]), np.array([[1]])).tolist() == [[0.25]]


def test_a_dense_solve_by_hand_and_none_where_it_is_not_to_be_trusted() -> None:
    # 10 enters C, C ships 30 to D, D ships 20 back: supplies 30 and 30. M = [[30, -30], [-20, 30]], of which the
    # inverse is [[30, 30], [20, 30]] / 300.
    flows, slack = np.array([[0.0, 30], [20, 0]]), np.array([10.0, 0.0])
    assert _dense(flows, slack, np.eye(2)) == pytest.approx(np.array([[0.1, 0.1], [2 / 30, 0.1]]))
    assert _dense(flows, np.zeros(2), np.eye(2)) is None
    assert _dense(flows * 1e9, np.array([1e-6, 0.0]), np.eye(2)) is None


def test_a_dense_solve_is_judged_row_by_row_however_many_there_are() -> None:
    # Goods go round ten thousand times, which leaves an error of some 1e-12 in a row: a thousand rows are as good.
    flows, slack = np.array([[0.0, 30.1], [30.097, 0]]), np.array([0.003, 0.0])
    targets = np.tile([[0.3], [0.7]], 1000)
    found = _dense(flows, slack, targets)
    assert found is not None
    assert found == pytest.approx(without_subtraction(flows, slack, targets), rel=1e-9)
    error = np.abs(targets + flows @ found - (slack + flows.sum(axis=0))[:, np.newaxis] * found).sum()
    assert error > 1e-10, "all rows together are not, or this shows nothing"


def test_what_is_solved_for_carries_the_bound_of_its_own_error() -> None:
    # Of the solve that was certified, not of one without subtractions, which would have the gap of its sum alone.
    x = matrix(["A", "C", "D", "N"], [("A", "C", 0.3), ("C", "D", 101.7), ("D", "C", 101.4), ("D", "N", 0.3)])
    made = proxy(x)
    weights = np.eye(4)[3]
    traced = trace_rows(listed(x[np.newaxis]), _one(made), weights.reshape(1, 1, 4))
    y = _dense(x, made.made, weights[:, np.newaxis])
    assert y is not None
    supply = made.made + x.sum(axis=0)
    passed = listed(x[np.newaxis]).shares_of(supply)
    expected = np.abs(weights[:, np.newaxis] - supply[:, np.newaxis] * (y - passed @ y)).sum()
    assert traced.residual[0, 0] == pytest.approx(expected, rel=1e-6, abs=0.0)
    assert expected > 0
    assert traced.shares[0, 0, 0] == pytest.approx(y[0, 0] * made.made[0], rel=1e-15)


def _followed(stack: np.ndarray, slack: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, list[int]]:
    links = listed(stack)
    supply = (slack + stack.sum(axis=1)).ravel()
    return _follow(links, links.shares_of(supply), supply, target)


def test_hops_are_followed_until_nothing_is_left_and_cycles_are_told() -> None:
    # Product 0: A makes 4, ships 2 to N. Product 1: 1 enters A, which passes 1000 to N, and N 999 back.
    stack = np.array([[[0.0, 2], [0, 0]], [[0, 1000], [999, 0]]])
    y, rest = _followed(stack, np.array([[4.0, 0], [1, 0]]), np.array([[0.0], [1], [0], [1]]))
    assert rest == [1]
    # All of N's 2 are of A: y = 1/2 at N, and of A's 4 half as much, 1/4, is what 2 of 4 bring there.
    assert y[:2, 0].tolist() == [0.25, 0.5]
    y, rest = _followed(stack[:1], np.array([[4.0, 0]]), np.array([[0.0, 1], [1, 0]]))
    assert rest == []
    assert y.tolist() == [[0.25, 0.25], [0.5, 0.0]]


def test_what_is_on_its_way_is_let_go_below_its_limit() -> None:
    # A chain of six of whom each passes on its 1. Of 1e-14 at its end the first look, after four hops, lets go the
    # fifth hop; of twice as much it does not.
    chain = np.diag(np.ones(5), 1)[np.newaxis]
    slack = np.array([[1.0, 0, 0, 0, 0, 0]])
    y, rest = _followed(chain, slack, np.array([[0.0], [0], [0], [0], [0], [1e-14]]))
    assert rest == []
    assert y[:, 0].tolist() == [0.0, *[1e-14] * 5]
    assert _followed(chain, slack, np.array([[0.0], [0], [0], [0], [0], [2e-14]]))[0][:, 0].tolist() == [2e-14] * 6
    # Two such chains of which each has less on its way, but together they have more.
    both = np.zeros((1, 12, 12))
    both[0, :6, :6] = both[0, 6:, 6:] = chain[0]
    target = np.zeros((12, 1))
    target[[5, 11]] = 0.75e-14
    assert _followed(both, np.tile(slack, 2), target)[0][:, 0].tolist() == [0.75e-14] * 12


def test_links_of_some_products_and_a_matrix_of_some_countries() -> None:
    # Product 0: 0 -> 1 of 3, 2 -> 0 of 5; product 1: 0 -> 2 of 7, 1 -> 2 of 9.
    links = Links(
        2, 3, np.array([0, 0, 1, 1]), np.array([0, 2, 0, 1]), np.array([1, 0, 2, 2]), np.array([3.0, 5, 7, 9])
    )
    second = links.of(np.array([1]))
    assert (second.products, second.countries) == (1, 3)
    assert second.product.tolist() == [0, 0]
    assert second.matrix(0, np.arange(3)).tolist() == [[0, 0, 7], [0, 0, 9], [0, 0, 0]]
    assert second.bought.tolist() == [[0, 0, 16]]
    assert links.of(np.array([0, 1])) is links
    assert links.matrix(0, np.array([0, 2])).tolist() == [[0, 0], [5, 0]], "what 1 buys is left out"
    assert links.matrix(1, np.array([0, 2])).tolist() == [[0, 7], [0, 0]], "what 1 sells is left out"
    assert links.matrix(1, np.array([0, 1])).tolist() == [[0, 0], [0, 0]]


def _row_of(x: np.ndarray, made: Production, country: int) -> TracedRows:
    n = len(x)
    return trace_rows(listed(x[np.newaxis]), _one(made), np.eye(n)[country].reshape(1, 1, n))


def test_flows_of_nothing_trace_nothing() -> None:
    links = Links(2, 3, *(np.zeros(1, np.int64) for _ in range(2)), np.ones(1, np.int64), np.zeros(1))
    nothing = Production(*(np.zeros((2, 3)) for _ in range(3)))
    traced = trace_rows(links, nothing, np.zeros((1, 2, 3)))
    assert not together(traced).any()
    assert not traced.residual.any()


def test_who_is_not_reached_is_unknown_and_carries_it_on() -> None:
    # C <-> D feed nobody but each other and N (5, made by nobody); A ships 15 to N: .75 A, .25 unknown. A row on D
    # alone is all unknown; on half N, half D it is .375 A, .625 unknown.
    x = matrix(["A", "C", "D", "N"], [("C", "D", 10), ("D", "C", 10), ("D", "N", 5), ("A", "N", 15)])
    made = Production(np.array([15.0, 0, 0, 0]), np.zeros(4), np.zeros(4))
    weights = np.array([[0, 0, 0, 1.0], [0, 0, 1.0, 0], [0, 0, 0.5, 0.5]])[:, np.newaxis]
    traced = trace_rows(listed(x[np.newaxis]), _one(made), weights)
    assert together(traced)[:, 0] == pytest.approx(
        np.array([[0.75, 0, 0, 0, 0.25], [0, 0, 0, 0, 1.0], [0.375, 0, 0, 0, 0.625]])
    )


def test_a_statistic_at_its_word_makes_what_was_raised_of_unknown_origin() -> None:
    # Listed 50, sells 80, buys 10: raised by 20. Not listed, sells 5: raised by 5. Listed without a figure: the proxy
    # stays. A non-producer: its surplus is of unknown origin already. Listed 90, sells 30: nothing to raise.
    sold = np.array([80.0, 5.0, 40.0, 7.0, 30.0])
    bought = np.array([10.0, 0.0, 0.0, 0.0, 0.0])
    statistic = np.array([50.0, np.nan, np.nan, np.nan, 90.0])
    listed = np.array([True, False, True, False, True])
    raised = balance(sold, bought, statistic, listed, np.array([False, False, False, True, False]))
    assert raised.made.tolist() == [70.0, 5.0, 40.0, 0.0, 90.0]
    word = without_raising(raised, statistic, listed)
    assert word.made == pytest.approx([50.0, 0.0, 40.0, 0.0, 90.0])
    assert word.unknown == pytest.approx([20.0, 5.0, 0.0, 7.0, 0.0])
    assert word.imputed.tolist() == [0.0, 0.0, 1.0, 0.0, 0.0]


@SMALL
@given(trade(5), arrays(float, 5, elements=st.integers(0, 200).map(float)), arrays(bool, 5), arrays(bool, 5))
def test_supply_is_the_same_whether_production_is_raised_or_not(
    x: np.ndarray, statistic: np.ndarray, listed: np.ndarray, missing: np.ndarray
) -> None:
    figures = np.where(missing, np.nan, statistic)
    raised = balance_production(x, figures, listed, np.zeros(5, bool))
    word = without_raising(raised, figures, listed)
    assert word.made + word.unknown == pytest.approx(raised.made + raised.unknown)
    given_figure = listed & ~missing
    assert word.made[given_figure] == pytest.approx(statistic[given_figure], abs=1e-9)
    assert word.made[~listed] == pytest.approx(0.0, abs=1e-9)
    assert (word.unknown >= 0).all()
