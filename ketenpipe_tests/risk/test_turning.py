"""What would turn a flag: by hand, and against bisection on plain sums."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ketenpipe.risk.turning import (
    Criterion,
    concentration_at,
    conjunction,
    least_concentration,
    new_suppliers,
    rest_concentration,
    share_at_limit,
    share_at_risk,
    to_turn,
    years_to_turn,
)

SMALL = settings(max_examples=100, deadline=None)
PART = st.floats(0.01, 1.0)
UNIT = st.floats(0.0, 1.0)


# -- criteria ------------------------------------------------------------------------------------------------


def test_a_criterion_on_its_limit() -> None:
    # Above is strict, at least is not, below is strict.
    assert (Criterion("C1", 0.4, 0.4).holds, Criterion("C1", 0.41, 0.4).holds) == (False, True)
    assert (Criterion("G5", 1.0, 1.0, ">=").holds, Criterion("G5", 0.99, 1.0, ">=").holds) == (True, False)
    assert (Criterion("S2", 1.0, 1.0, "<").holds, Criterion("S2", 0.99, 1.0, "<").holds) == (False, True)
    assert Criterion("C1", None, 0.4).holds is None


def test_a_margin_is_a_part_of_the_limit_on_the_flagging_side() -> None:
    assert Criterion("C1", 0.5, 0.4).margin == pytest.approx(0.25)
    assert Criterion("C1", 0.3, 0.4).margin == pytest.approx(-0.25)
    assert Criterion("S2", 0.5, 1.0, "<").margin == pytest.approx(0.5)
    assert Criterion("S2", 1.5, 1.0, "<").margin == pytest.approx(-0.5)
    assert Criterion("x", 0.3, -0.5).margin == pytest.approx(1.6)
    assert Criterion("x", 0.3, 0.0).margin == pytest.approx(0.3)
    assert Criterion("C1", None, 0.4).margin is None


def test_a_conjunction_in_three_values() -> None:
    yes, no, dark = Criterion("a", 2.0, 1.0), Criterion("b", 0.0, 1.0), Criterion("c", None, 1.0)
    assert conjunction([yes, yes]) is True
    assert conjunction([yes, dark]) is None
    assert conjunction([dark, no, yes]) is False
    assert conjunction([]) is True


def test_what_must_change() -> None:
    near, far = Criterion("near", 0.44, 0.4), Criterion("far", 2.0, 1.0)
    low, lower = Criterion("low", 0.3, 0.4), Criterion("lower", 0.1, 1.0)
    dark = Criterion("dark", None, 1.0)
    # It holds: the nearest alone. It fails: all that fail, farthest first, however many hold. Unknown: those.
    assert to_turn([far, near]) == (near,)
    assert to_turn([near, low, lower, far]) == (lower, low)
    assert to_turn([near, dark]) == (dark,)
    assert to_turn([low, dark]) == (low,)
    # On the limit is the smallest margin there is, whether that holds (at least) or fails (above).
    at_least, above = Criterion("at_least", 1.0, 1.0, ">="), Criterion("above", 0.4, 0.4)
    assert to_turn([near, at_least, far]) == (at_least,)
    assert to_turn([above, low]) == (low, above)


@pytest.mark.parametrize(
    ("held", "needed", "years"), [(0, 2, 2), (1, 2, 1), (2, 2, 1), (3, 2, 2), (3, 3, 1), (0, 1, 1)]
)
def test_years_to_turn(held: int, needed: int, years: int) -> None:
    assert years_to_turn(held, needed) == years


# -- concentration -------------------------------------------------------------------------------------------


def test_the_share_of_the_top_supplier_by_hand() -> None:
    # .6, .2, .2: the others among themselves .5^2 + .5^2 = .5. HHI .44.
    # p^2 + .5 (1-p)^2 = .4: 1.5 p^2 - p + .1 = 0: p = (1 +- sqrt(.4)) / 3 = .5441518 or .1225148.
    rest = rest_concentration([0.6, 0.2, 0.2], 0.6)
    assert rest == pytest.approx(0.5)
    assert concentration_at(0.6, 0.5) == pytest.approx(0.44)
    assert share_at_limit(0.4, 0.6, 0.5) == pytest.approx((1 + math.sqrt(0.4)) / 3)
    assert share_at_limit(0.4, 0.1, 0.5) == pytest.approx((1 - math.sqrt(0.4)) / 3)


def test_own_supply_counts_in_the_share_and_not_in_the_squares() -> None:
    # O1 of CHN .5, RUS .2 beside .3 of one's own: .25 + .04; the rest .04 / .25 = .16.
    assert rest_concentration([0.5, 0.2], 0.5) == pytest.approx(0.16)
    assert concentration_at(0.5, 0.16) == pytest.approx(0.29)


def test_where_no_share_gives_the_limit() -> None:
    # Two suppliers never get below .5; of one alone there is no rest.
    assert share_at_limit(0.4, 0.7, 1.0) is None
    assert share_at_limit(0.5, 0.7, 1.0) == pytest.approx(0.5)
    assert rest_concentration([1.0], 1.0) is None
    assert rest_concentration([1.0 - 1e-13], 1.0 - 1e-13) is None
    # Squares that rounding leaves a trace below 0 are 0.
    assert rest_concentration([0.5], 0.5 + 1e-12) == 0.0
    # More than all of it is no share.
    assert share_at_limit(1.1, 0.7, 0.2) is None
    assert share_at_limit(1.0, 0.7, 0.2) == pytest.approx(1.0)
    assert share_at_limit(0.2, 0.3, 0.2) == pytest.approx(1.0 / 3.0)
    assert share_at_limit(0.2, 0.1, 0.2) == pytest.approx(0.0)


@SMALL
@given(st.lists(PART, min_size=2, max_size=6), st.floats(0.05, 0.95))
def test_the_solution_is_the_nearest_one(weights: list[float], limit: float) -> None:
    shares = sorted((w / sum(weights) for w in weights), reverse=True)
    top = shares[0]
    rest = rest_concentration(shares, top)
    assert rest is not None
    # It is the same sum as over the shares themselves, scaled.
    scaled = [0.3, *(s * 0.7 / (1 - top) for s in shares[1:])]
    assert concentration_at(0.3, rest) == pytest.approx(sum(s * s for s in scaled))
    found = share_at_limit(limit, top, rest)
    grid = [k / 2000 for k in range(2001)]
    crossing = [
        a for a, b in itertools.pairwise(grid)
        if (concentration_at(a, rest) - limit) * (concentration_at(b, rest) - limit) < 0
    ]  # fmt: skip
    if found is None:
        assert not crossing
        return
    assert 0.0 <= found <= 1.0
    assert concentration_at(found, rest) == pytest.approx(limit, abs=1e-9)
    if crossing:
        assert min(abs(a - top) for a in crossing) >= abs(found - top) - 1e-3


@SMALL
@given(PART, PART)
def test_the_least_concentration(own: float, rest: float) -> None:
    least = least_concentration(own, rest)
    assert least == pytest.approx(min(own * p * p + rest * (1 - p) ** 2 for p in [k / 5000 for k in range(5001)]),
                                  abs=1e-6)  # fmt: skip
    at = share_at_limit(least * (1 + 1e-9), 0.5, rest, own)
    assert at == pytest.approx(rest / (own + rest), abs=1e-3)


def test_new_suppliers_by_hand() -> None:
    # One supplier and a limit of .4: with one more the least is .5, with two .333.
    assert new_suppliers(0.4, 1.0) == 2
    # Down to .25 four equal ones are needed in all, and more to get below it.
    assert new_suppliers(0.25, 1.0) == 4
    assert new_suppliers(0.4, 0.44) == 1
    # .803 (Germany .89): 2; they take 1 - q, with q^2 .803 + (1-q)^2 / 2 = .4.
    kept = share_at_limit(0.4, 1.0, 0.5, 0.803)
    assert kept is not None
    assert 0.803 * kept**2 + 0.5 * (1 - kept) ** 2 == pytest.approx(0.4)
    assert 1.0 - kept == pytest.approx(0.351, abs=1e-3)


@SMALL
@given(st.floats(0.05, 0.9), UNIT)
def test_the_fewest_new_suppliers(limit: float, more: float) -> None:
    concentration = limit + (1.0 - limit) * more
    assume(concentration > limit + 1e-3)
    n = new_suppliers(limit, concentration)
    assert n >= 1
    assert least_concentration(concentration, 1.0 / n) < limit
    if n > 1:
        assert least_concentration(concentration, 1.0 / (n - 1)) >= limit - 1e-9


# -- governance ----------------------------------------------------------------------------------------------


def test_the_share_at_a_risk() -> None:
    # .8 p + .2 (1-p) = .5: p = .5.
    assert share_at_risk(0.5, 0.8, 0.2) == pytest.approx(0.5)
    assert share_at_risk(0.5, 0.3, 0.9) == pytest.approx(2 / 3)
    assert share_at_risk(0.5, 0.4, 0.2) is None
    assert share_at_risk(0.1, 0.4, 0.2) is None
    assert share_at_risk(0.5, 0.3, 0.3) is None
    assert share_at_risk(0.5, 0.5, 0.3) == 1.0
    assert share_at_risk(0.3, 0.5, 0.3) == 0.0
