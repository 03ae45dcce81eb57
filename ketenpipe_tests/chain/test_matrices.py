"""Origin tracing as linear algebra: worked by hand, against a power series, and what must always hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ketenpipe.chain.matrices import (
    Production,
    balance_production,
    consumption,
    trace_origins,
    weighted_row,
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
    assert consumption(x, np.array([0.1, 0.2, 0.1 + 0.2, 0.3])).tolist() == [0.0, 0.0, 0.0, 0.3]
    assert consumption(matrix(["A", "B"], [("A", "B", 9)]), np.array([5.0, 9.0])).tolist() == [0.0, 9.0]


def test_a_combined_row_is_the_weighted_mean() -> None:
    # (3 * [1, 0] + 1 * [0, 1]) / 4 = [.75, .25]; a row of weight 0 may even be NaN.
    rows = np.array([[1.0, 0.0], [0.0, 1.0], [np.nan, np.nan]])
    assert weighted_row(rows, np.array([3.0, 1.0, 0.0])) == pytest.approx([0.75, 0.25])
    assert weighted_row(rows, np.zeros(3)) is None
