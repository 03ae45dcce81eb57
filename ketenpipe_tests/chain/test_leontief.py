"""The algebra of an input-output table: by hand, against dense inverses and against pymrio."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pymrio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ketenpipe.chain.leontief import (
    Importance,
    Leontief,
    NoInverse,
    extraction,
    leanings,
)
from ketenpipe.errors import InputRefused
from ketenpipe.sources.icio import IcioTable
from ketenpipe_tests.chain.io_worlds import CHAIN, living_worlds, random_table, technical_coefficients, worlds

NLD, DEU, CHN = 0, 1, 2


def of(held: IcioTable) -> Leontief:
    return Leontief.of(held.Z, held.OUT)


def test_upstreamness_and_downstreamness_by_hand() -> None:
    # NLD sells to final use only: 1. DEU sells 5/8 to NLD: 1 + 5/8. CHN: 1 + 2/3 * 1.625 + 1/6 = 2.25.
    # CHN buys nothing: 1. DEU: 1 + .5. NLD: 1 + .5 * 1.5 + .1 = 1.85.
    assert of(CHAIN).upstreamness() == pytest.approx([1.0, 1.625, 2.25])
    assert of(CHAIN).downstreamness() == pytest.approx([1.85, 1.5, 1.0])


def test_propagation_length_by_hand() -> None:
    # CHN to NLD: (1 * .1 + 2 * .25) / .35; DEU to NLD is one step.
    lean = leanings(of(CHAIN), [np.array([NLD])], 2)
    assert lean.steps[CHN, 0] / lean.total[CHN, 0] == pytest.approx(0.6 / 0.35)
    assert lean.steps[DEU, 0] / lean.total[DEU, 0] == pytest.approx(1.0)


def test_exposure_to_one_country_by_hand() -> None:
    # Behind NLD .35 of .85 comes from CHN, behind DEU everything; CHN buys nothing: unknown.
    found = of(CHAIN).exposure_to(np.array([False, False, True]))
    assert found[:2] == pytest.approx([0.35 / 0.85, 1.0])
    assert np.isnan(found[CHN])


def loss(held: IcioTable, supplier: int, share: float) -> tuple[float, float]:
    economy = of(held)
    rows = np.array([supplier])
    sums = economy.rows(rows)[:, 0]
    lost = extraction(economy, rows, np.array([NLD]), share, economy.rows(np.array([NLD])), sums)
    return lost.leontief, float(lost.ghosh[0])


def test_extraction_by_hand() -> None:
    # Without CHN's 10 for NLD, CHN makes 50 of its 60, NLD 90 of its 100; without DEU's 50 DEU makes 30 of 80.
    assert loss(CHAIN, CHN, 1.0) == pytest.approx((1 / 6, 0.1))
    assert loss(CHAIN, DEU, 1.0) == pytest.approx((5 / 8, 0.5))
    assert loss(CHAIN, DEU, 0.5) == pytest.approx((5 / 16, 0.25))


def test_important_coefficients_by_hand() -> None:
    # One unit of NLD takes .2 of its own and .3 of CHN: FIR = .3 / (.2 + .3) = .6. A coefficient up by 1 %: FIR moves
    # by .4 % (a_CN) or -.4 % (a_NN).
    economy = Leontief.of(np.array([[20.0, 0], [30.0, 0]]), np.array([100.0, 100.0]))
    lean = leanings(economy, [np.array([0])], 1)
    foreign = np.array([False, True])
    found = Importance(economy, foreign, economy.backward(foreign.astype(float)))
    top = found.top(lean.made[:, 0], lean.total[:, 0], 5)
    assert {(c.supplier, c.user): round(c.elasticity, 12) for c in top} == {(1, 0): 0.4, (0, 0): -0.4}
    assert len(found.top(lean.made[:, 0], lean.total[:, 0], 1)) == 1


@settings(max_examples=20, deadline=None)
@given(living_worlds())
def test_everything_agrees_with_pymrio_and_dense_inverses(held: IcioTable) -> None:
    names = pd.MultiIndex.from_tuples(held.labels)
    z = pd.DataFrame(held.Z, index=names, columns=names)
    x = pd.Series(held.OUT, index=names)
    a = pymrio.calc_A(z, x)
    inverse = pymrio.calc_L(a).to_numpy()
    economy = of(held)
    assert technical_coefficients(held.Z, held.OUT) == pytest.approx(a.to_numpy())
    assert economy.forward(np.eye(6)) == pytest.approx(inverse, abs=1e-9)
    assert economy.backward(np.eye(6)) == pytest.approx(inverse.T, abs=1e-9)
    assert economy.rows(np.array([4, 1])) == pytest.approx(inverse[[4, 1]].T, abs=1e-9)
    dense = np.linalg.inv(np.eye(6) - held.Z / held.OUT[:, None])
    assert pymrio.calc_G(pymrio.calc_B(z, x)).to_numpy() == pytest.approx(dense, abs=1e-9)
    assert economy.upstreamness() == pytest.approx(dense.sum(axis=1))
    assert economy.downstreamness() == pytest.approx(inverse.sum(axis=0))
    # Multipliers and footprints: value added behind final demand, M = v L, D = M y.
    stressors = pd.DataFrame([held.VA], columns=names)
    multipliers = pymrio.calc_M(pymrio.calc_S(stressors, x), pd.DataFrame(inverse, index=names, columns=names))
    rate = held.VA / held.OUT
    assert economy.backward(rate) == pytest.approx(multipliers.to_numpy()[0])
    assert rate @ economy.forward(held.Y[:, 0]) == pytest.approx(float(multipliers.to_numpy()[0] @ held.Y[:, 0]))


@settings(max_examples=20, deadline=None)
@given(worlds(), st.integers(1, 7))
def test_tiers_and_tail_are_the_leontief_total(held: IcioTable, depth: int) -> None:
    a = technical_coefficients(held.Z, held.OUT)
    inverse = np.linalg.inv(np.eye(6) - a)
    groups = [np.array([k]) for k in range(6)] + [np.array([0, 4])]
    lean = leanings(of(held), groups, depth)
    assert lean.tiers.sum(axis=0) + lean.tail == pytest.approx(lean.total, abs=1e-10 * max(held.OUT))
    assert np.abs((lean.tiers.sum(axis=0) + lean.tail - lean.total).sum(axis=0)).max() <= 1e-10 * lean.total.sum()
    expected = (inverse - np.eye(6)) @ np.diag(held.OUT)
    assert lean.total[:, :6] == pytest.approx(expected, abs=1e-9)
    assert lean.direct[:, :6] == pytest.approx(held.Z)
    assert lean.tiers[0] == pytest.approx(lean.direct), "tier 1 is what is bought directly"
    assert lean.tiers[-1][:, :6] == pytest.approx(np.linalg.matrix_power(a, depth) @ np.diag(held.OUT), abs=1e-9)
    assert lean.steps[:, :6] == pytest.approx(inverse @ expected, abs=1e-8)
    for part in (lean.direct, lean.total, lean.steps, lean.sales, lean.tail):
        assert part[:, 6] == pytest.approx(part[:, 0] + part[:, 4], abs=1e-9), "a group is the sum of its columns"


@settings(max_examples=20, deadline=None)
@given(living_worlds())
def test_sales_are_those_of_an_explicit_ghosh_inverse(held: IcioTable) -> None:
    ghosh = np.linalg.inv(np.eye(6) - held.Z / held.OUT[:, None])
    expected = np.diag(held.OUT) @ (ghosh - np.eye(6))
    lean = leanings(of(held), [np.array([k]) for k in range(6)], 1)
    assert lean.sales == pytest.approx(expected.T, abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(worlds(), st.floats(0.05, 1.0))
def test_extraction_agrees_with_two_whole_economies(held: IcioTable, share: float) -> None:
    economy = of(held)
    alive = held.OUT > 0
    rows, users = np.flatnonzero(alive[:2]), 2 + np.flatnonzero(alive[2:])
    a = technical_coefficients(held.Z, held.OUT)
    cut = a.copy()
    cut[np.ix_(rows, users)] *= 1 - share
    final = held.OUT - held.Z.sum(axis=1)
    after = np.linalg.solve(np.eye(6) - cut, final)
    b = np.where(alive[:, None], held.Z / np.where(alive, held.OUT, 1)[:, None], 0)
    cut_b = b.copy()
    cut_b[np.ix_(rows, users)] *= 1 - share
    added = held.OUT - held.Z.sum(axis=0)
    after_ghosh = np.linalg.solve(np.eye(6) - cut_b.T, added)
    sums = economy.rows(rows).sum(axis=1)
    lost = extraction(economy, rows, users, share, economy.rows(users), sums)
    assert lost.leontief == pytest.approx((held.OUT - after)[rows].sum() / held.OUT[rows].sum(), abs=1e-10)
    assert lost.ghosh == pytest.approx((held.OUT - after_ghosh)[users] / held.OUT[users], abs=1e-10)
    assert 0 <= lost.leontief <= 1 + 1e-12
    assert (lost.ghosh >= 0).all()
    assert (lost.ghosh <= 1 + 1e-12).all()


@settings(max_examples=20, deadline=None)
@given(worlds(), st.integers(1, 12), st.sampled_from([[4], [5], [4, 5]]))
def test_important_coefficients_are_the_top_of_every_finite_difference(
    held: IcioTable, count: int, group: list[int]
) -> None:
    economy = of(held)
    foreign = np.array([True] * 4 + [False] * 2)
    lean = leanings(economy, [np.array(group)], 1)
    made, total = lean.made[:, 0], lean.total[:, 0]
    top = Importance(economy, foreign, economy.backward(foreign.astype(float))).top(made, total, count)
    a = technical_coefficients(held.Z, held.OUT)

    def reliance(coefficients: np.ndarray) -> float:
        inputs = np.linalg.solve(np.eye(6) - coefficients, made) - made
        return float(inputs[foreign].sum() / inputs.sum())

    if not total[foreign].sum() > 1e-9:
        assert top == []
        return
    every = []
    for p, q in zip(*np.nonzero(a), strict=True):
        up, down = a.copy(), a.copy()
        up[p, q] *= 1 + 1e-5
        down[p, q] *= 1 - 1e-5
        every.append((reliance(up) - reliance(down)) / (2e-5 * reliance(a)))
    sizes = sorted(np.abs(every), reverse=True)[: len(top)]
    assert [abs(c.elasticity) for c in top] == pytest.approx(sizes, abs=1e-7)
    for c in top:
        up = a.copy()
        up[c.supplier, c.user] *= 1 + 1e-6
        assert (reliance(up) / reliance(a) - 1) / 1e-6 == pytest.approx(c.elasticity, abs=1e-4)


@settings(max_examples=20, deadline=None)
@given(worlds())
def test_exposures_to_all_countries_add_up_to_one(held: IcioTable) -> None:
    economy = of(held)
    parts = [economy.exposure_to(np.array([c == name for c, _ in held.labels])) for name in held.countries]
    whole = np.sum(parts, axis=0)
    assert np.isnan(whole[held.OUT == 0]).all()
    assert whole[~np.isnan(whole)] == pytest.approx(1.0)


@settings(max_examples=20, deadline=None)
@given(worlds())
def test_positions_are_at_least_one_step_and_output_weighted_means_agree(held: IcioTable) -> None:
    # 1'L x = 1' (steps from primary inputs, weighted by output) = x' G 1: both ends count the same transactions.
    economy = of(held)
    up, down = economy.upstreamness(), economy.downstreamness()
    alive = held.OUT > 0
    assert np.isnan(up[~alive]).all()
    assert np.isnan(down[~alive]).all()
    assert (up[alive] >= 1 - 1e-12).all()
    assert (down[alive] >= 1 - 1e-12).all()
    assert up[alive] @ held.OUT[alive] == pytest.approx(down[alive] @ held.OUT[alive])


@pytest.mark.parametrize(
    ("z", "x", "reason", "words"),
    [
        ([[0.0, 5], [5, 0]], [5.0, 5], "singular_table", "only feed themselves"),
        ([[0.0, 5], [5, 0]], [5.0, 5 * (1 + 1e-13)], "singular_table", "only feed themselves"),
        ([[0.0, 8], [8, 0]], [5.0, 5], "not_productive", "use more inputs than they make"),
        ([[10.0]], [5.0], "not_productive", "use more inputs than they make"),
    ],
)
def test_a_table_without_an_inverse_is_refused_by_name(
    z: list[list[float]], x: list[float], reason: str, words: str
) -> None:
    with pytest.raises(NoInverse, match=words) as raised:
        Leontief.of(np.array(z), np.array(x))
    assert raised.value.reason == reason
    assert "check the table's output row" in str(raised.value)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_delivery_that_is_no_number_is_refused(bad: float) -> None:
    with pytest.raises(InputRefused, match="no finite number"):
        Leontief.of(np.array([[0.0, bad], [0, 0]]), np.array([5.0, 5]))


def test_a_column_that_uses_more_than_it_makes_is_no_obstacle_while_tiers_fade() -> None:
    # Negative value added in one industry; the supplier needs nothing.
    assert of_pair(1.5).downstreamness() == pytest.approx([1.0, 2.5])


def of_pair(rate: float) -> Leontief:
    return Leontief.of(np.array([[0.0, 10 * rate], [0, 0]]), np.array([20.0, 10.0]))


def test_the_table_itself_is_left_alone() -> None:
    held = random_table(7)
    before = held.Z.copy()
    Leontief.of(held.Z, held.OUT)
    assert np.array_equal(held.Z, before)
