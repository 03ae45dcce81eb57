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
from ketenpipe_tests.chain.io_worlds import (
    CHAIN,
    degenerate_worlds,
    endless,
    living_worlds,
    random_table,
    technical_coefficients,
    worlds,
)

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


# -- closed loops -----------------------------------------------------------------------------------------------

#: 0 and 1 feed each other with all they make; 1 also sells 2 to 2, and 3 sells 4 to 0. 4 sells 5 to 5.
LOOP = np.zeros((6, 6))
LOOP[0, 1], LOOP[1, 0], LOOP[1, 2], LOOP[3, 0], LOOP[4, 5] = 10, 10, 2, 4, 5


def test_only_what_a_closed_loop_touches_has_no_limit_by_hand() -> None:
    # Inputs: the loop itself and 2, which buys from it. Sales: the loop and 3, which sells to it. 4 and 5: untouched.
    economy = Leontief.beside_loops(LOOP, np.full(6, 10.0))
    assert economy.endless_inputs.tolist() == ["singular_table"] * 3 + [None] * 3
    assert economy.endless_sales.tolist() == ["singular_table"] * 2 + [None, "singular_table", None, None]
    assert economy.downstreamness()[3:] == pytest.approx([1, 1, 1.5])
    assert economy.upstreamness()[[2, 4, 5]] == pytest.approx([1, 1.5, 1])
    assert np.isnan(economy.downstreamness()[:3]).all()
    assert np.isnan(economy.upstreamness()[[0, 1, 3]]).all()
    assert np.isnan(economy.exposure_to(np.array([True] + [False] * 5))[2])
    assert economy.exposure_to(np.array([False] * 4 + [True, False]))[5] == pytest.approx(1.0)
    with pytest.raises(NoInverse, match="only feed themselves"):
        Leontief.of(LOOP, np.full(6, 10.0))


def test_every_loop_has_its_own_reason() -> None:
    # 0 and 1 feed each other; 2 uses 15 of its own for 10; 3 buys from 1, 4 from 2, 5 from nobody.
    z = np.zeros((6, 6))
    z[0, 1], z[1, 0], z[2, 2], z[1, 3], z[2, 4] = 10, 10, 15, 1, 1
    economy = Leontief.beside_loops(z, np.full(6, 10.0))
    assert economy.endless_inputs.tolist() == [
        "singular_table",
        "singular_table",
        "not_productive",
        "singular_table",
        "not_productive",
        None,
    ]


def test_a_table_that_is_near_singular_without_a_loop_has_no_limit_anywhere() -> None:
    # A long chain in which each industry uses a hundred times what it makes: no loop, but L reaches 1e12.
    n = 7
    z = np.diag(np.full(n - 1, 1000.0), 1)
    economy = Leontief.beside_loops(z, np.full(n, 10.0))
    assert set(economy.endless_inputs) == set(economy.endless_sales) == {"singular_table"}


@settings(max_examples=60, deadline=None)
@given(degenerate_worlds())
def test_beside_a_loop_every_figure_is_that_of_the_economy_upstream_or_downstream(held: IcioTable) -> None:
    n = len(held.OUT)
    economy = Leontief.beside_loops(held.Z, held.OUT)
    columns, rows = endless(held)
    assert np.array_equal(economy.endless_inputs.astype(bool), columns)
    assert np.array_equal(economy.endless_sales.astype(bool), rows)
    a = technical_coefficients(held.Z, held.OUT)
    lean = leanings(economy, [np.array([k]) for k in range(n)], 3)
    made = np.maximum(held.OUT, 0)
    # What ends upstream needs none of the columns that do not, and is closed among itself.
    ends = np.flatnonzero(~columns)
    inverse = np.zeros((n, n))
    inverse[np.ix_(ends, ends)] = np.linalg.inv(np.eye(len(ends)) - a[np.ix_(ends, ends)])
    scale = made.max(initial=1.0) * max(inverse.max(initial=1.0), 1.0) ** 2
    expected = (inverse - np.eye(n)) * made
    assert lean.total[:, ends] == pytest.approx(expected[:, ends], abs=1e-12 * scale)
    assert lean.steps[:, ends] == pytest.approx((inverse @ expected)[:, ends], abs=1e-12 * scale)
    assert (lean.tiers.sum(axis=0) + lean.tail)[:, ends] == pytest.approx(expected[:, ends], abs=1e-12 * scale)
    for part in (lean.total, lean.steps, lean.tail, lean.tiers[2]):
        assert np.isnan(part[:, columns & (held.OUT > 0)]).all()
    ends = np.flatnonzero(~rows)
    inverse = np.zeros((n, n))
    inverse[np.ix_(ends, ends)] = np.linalg.inv(np.eye(len(ends)) - a[np.ix_(ends, ends)])
    sales = (inverse * made).T - np.diag(made)
    scale = made.max(initial=1.0) * max(inverse.max(initial=1.0), 1.0) ** 2
    alive = ends[held.OUT[ends] > 0]
    assert lean.sales[:, alive] == pytest.approx(sales[:, alive], abs=1e-12 * scale)
    assert np.isnan(lean.sales[:, rows & (held.OUT > 0)]).all()


@settings(max_examples=60, deadline=None)
@given(degenerate_worlds(), st.floats(0.05, 1.0))
def test_extraction_beside_a_loop_is_that_of_the_chains_that_end(held: IcioTable, share: float) -> None:
    # (I - A*)(x - x*) = share Z_cf 1: solved by itself on the columns whose chains end, which are closed upstream.
    economy = Leontief.beside_loops(held.Z, held.OUT)
    columns, _ = endless(held)
    alive = held.OUT > 0
    of = np.array([c for c, _ in held.labels])
    rows, users = np.flatnonzero(alive & (of == "DEU")), np.flatnonzero(alive & (of == "NLD"))
    if not len(rows) or not len(users):
        return
    sums = economy.backward((alive & (of == "DEU")).astype(float))
    lost = extraction(economy, rows, users, share, economy.rows(users), sums)
    cut = technical_coefficients(held.Z, held.OUT)
    cut[np.ix_(rows, users)] *= 1 - share
    ends = np.flatnonzero(~columns)
    inverse = np.zeros_like(cut)
    inverse[np.ix_(ends, ends)] = np.linalg.inv(np.eye(len(ends)) - cut[np.ix_(ends, ends)])
    gone = np.zeros(len(of))
    gone[rows] = share * held.Z[np.ix_(rows, users)].sum(axis=1)
    if not gone[columns].any():
        expected = (inverse @ gone)[rows].sum() / held.OUT[rows].sum()
        assert lost.leontief == pytest.approx(expected, rel=1e-8, abs=1e-10)
    # What is not bought from any industry is primary, v = 1 - 1'A; what of it is no longer behind a user is lost.
    whole = technical_coefficients(held.Z, held.OUT)
    before = np.zeros_like(cut)
    before[np.ix_(ends, ends)] = np.linalg.inv(np.eye(len(ends)) - whole[np.ix_(ends, ends)])
    primary = 1 - whole.sum(axis=0)
    for j, user in enumerate(users):
        if not columns[user]:
            assert lost.ghosh[j] == pytest.approx(primary @ (before - inverse)[:, user], rel=1e-7, abs=1e-9)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 7, 60])
def test_important_coefficients_of_a_wide_table_are_the_first_of_all_in_order(seed: int, count: int) -> None:
    # Wider than a strip and no whole number of strips; small outputs, negative deliveries, a column without output.
    n, rng = 70, np.random.default_rng(seed)
    z = rng.exponential(1.0, (n, n)) * (rng.random((n, n)) < 0.4)
    z[rng.random((n, n)) < 0.02] *= -0.2
    output = z.sum(axis=1) + z.sum(axis=0) + rng.exponential(5.0, n)
    z[:, 11] = 0.0
    output[11] = 0.0
    scale = rng.exponential(0.01)
    z, output = z * scale, output * scale
    economy, foreign = Leontief.of(z, output), rng.random(n) < 0.5
    lean = leanings(economy, [np.array([3, 40])], 1)
    made, total = lean.made[:, 0], lean.total[:, 0]
    found = Importance(economy, foreign, economy.backward(foreign.astype(float))).top(made, total, count)

    expected = every_coefficient(z, output, foreign, made)[:count]
    assert [(c.supplier, c.user) for c in found] == [(p, q) for p, q, _ in expected]
    assert [c.elasticity for c in found] == pytest.approx([value for _, _, value in expected])


def every_coefficient(
    z: np.ndarray, output: np.ndarray, foreign: np.ndarray, made: np.ndarray
) -> list[tuple[int, int, float]]:
    """Supplier, user and elasticity of every coefficient that counts, from a dense inverse, the largest first."""
    n = len(z)
    a = np.divide(z, output, out=np.zeros_like(z), where=output > 0)
    inverse = np.linalg.inv(np.eye(n) - a)
    inputs = inverse @ made - made
    reach = inverse[foreign].sum(axis=0) / inputs[foreign].sum() - inverse.sum(axis=0) / inputs.sum()
    every = (a * reach[:, np.newaxis] * (inverse @ made)).ravel()
    order = np.argsort(-np.abs(every), kind="stable")
    return [(*divmod(int(k), n), float(every[k])) for k in order if every[k]]


def important(
    z: np.ndarray, output: np.ndarray, foreign: np.ndarray, group: list[int], count: int
) -> list[tuple[int, int, float]]:
    """The same as :class:`Importance` finds it, as far as asked for."""
    economy = Leontief.of(z, output)
    lean = leanings(economy, [np.array(group)], 1)
    found = Importance(economy, foreign, economy.backward(foreign.astype(float)))
    return [(c.supplier, c.user, c.elasticity) for c in found.top(lean.made[:, 0], lean.total[:, 0], count)]


@pytest.mark.parametrize("row", [0, 31, 32, 33, 63, 64, 65, 66])
@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_a_coefficient_is_found_in_whatever_row_it_stands(row: int, unit: float) -> None:
    # Two industries of NLD make 100 each. The first buys 40 abroad, in `row`, and 5 from each of two others at home;
    # the second 30 abroad and the same at home: N = 70, T = 90. 40 (1/70 - 1/90) comes before 30 (1/70 - 1/90) and
    # all else is -5/90.
    n, other = 71, (row + 1) % 67
    z = np.zeros((n, n))
    z[row, 67], z[other, 68], z[69:, 67:69] = 40, 30, 5
    foreign = np.arange(n) < 67
    found = important(z * unit, np.full(n, 100.0) * unit, foreign, [67, 68], 1)
    assert found == [(row, 67, pytest.approx(40 / 70 - 40 / 90))]


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("near", [0.02, 0.5, 0.98])
@pytest.mark.parametrize("count", [1, 3, 20])
def test_important_coefficients_where_few_count(unit: float, sign: float, near: float, count: int) -> None:
    # Few deliveries of very different size, of which those of the users asked about may be negative; a leaning on
    # abroad that is small, middling or large; any unit of money.
    n, rng = 40, np.random.default_rng(round(1000 * near) + count)
    z = rng.lognormal(0.0, 2.5, (n, n)) * (rng.random((n, n)) < 0.1)
    foreign = np.arange(n) < n // 2
    z[foreign] *= near
    z[~foreign] *= 1 - near
    users = [n - 3, n - 2, n - 1]
    z[users] = 0.0
    z[:, users] = rng.lognormal(0.0, 2.5, (n, 3)) * np.where(foreign, near, 1 - near)[:, np.newaxis]
    output = (np.maximum(z.sum(axis=0), z.sum(axis=1)) + 1) * rng.lognormal(0.5, 0.3, n) * 1.2
    z[rng.random(n) < 0.3, n - 1] *= sign
    z, output = z * unit, output * unit
    made = np.zeros(n)
    made[users] = output[users]
    expected = every_coefficient(z, output, foreign, made)[:count]
    found = important(z, output, foreign, users, count)
    assert [(p, q) for p, q, _ in found] == [(p, q) for p, q, _ in expected]
    assert [value for _, _, value in found] == pytest.approx([value for _, _, value in expected])


def test_an_important_coefficient_of_an_industry_that_gives_back() -> None:
    # Users 2 and 3 make 100 each. 2 buys 40 of 1, at home, which gives 50 of its 100 back to 0, abroad; 3 buys 80 of 0
    # and 5 of 4, abroad: N = 85 - 20, T = N + 40. The first is 40 (-.5/65 - .5/105), the next 80 (1/65 - 1/105).
    z = np.zeros((5, 5))
    z[0, 1], z[1, 2], z[0, 3], z[4, 3] = -50, 40, 80, 5
    foreign = np.array([True, False, False, False, True])
    first, second = (1, 2, pytest.approx(-20 / 65 - 20 / 105)), (0, 3, pytest.approx(80 / 65 - 80 / 105))
    assert important(z, np.full(5, 100.0), foreign, [2, 3], 1) == [first]
    assert important(z, np.full(5, 100.0), foreign, [2, 3], 2) == [first, second]


def test_of_equal_coefficients_the_first_supplier_comes_first() -> None:
    # Users 1 and 2 make 64 each and buy 16 at home, 1 from 3 and 2 from 0, and 4 from each of four abroad: N = 32,
    # T = 64. Both coefficients at home are -16/64 and the largest, those abroad 4 (1/32 - 1/64).
    z = np.zeros((8, 8))
    z[3, 1], z[0, 2], z[4:, 1:3] = 16, 16, 4
    foreign = np.arange(8) > 3
    assert important(z, np.full(8, 64.0), foreign, [1, 2], 1) == [(0, 2, -0.25)]
    assert important(z, np.full(8, 64.0), foreign, [1, 2], 3) == [(0, 2, -0.25), (3, 1, -0.25), (4, 1, 0.0625)]
    assert len(important(z, np.full(8, 64.0), foreign, [1, 2], 64)) == 10, "what nobody delivers is no coefficient"


def test_of_many_coefficients_of_one_user_none_of_the_first_is_lost() -> None:
    # One user of five hundred suppliers, every second of them abroad, deliveries of 1 to 500 in any order.
    n, total = 501, 125250.0
    foreign = np.arange(n) % 2 == 0
    for seed in range(5):
        z = np.zeros((n, n))
        z[:-1, -1] = np.random.default_rng(seed).permutation(n - 1) + 1.0
        near = z[foreign].sum()
        each = z[:, -1] * (foreign / near - 1 / total)
        order = np.argsort(-np.abs(each), kind="stable")
        for count in (5, 100, 200):
            found = important(z, np.full(n, 1e6), foreign, [n - 1], count)
            assert [p for p, _, _ in found] == order[:count].tolist()
            assert [value for _, _, value in found] == pytest.approx(each[order[:count]])


def test_a_trace_of_inputs_has_no_important_coefficients() -> None:
    # User 1 buys of 0 abroad and of 2 at home: below 1e-12 of what it makes, or with below 1e-12 of it from abroad,
    # there is nothing to tell. Just at 1e-12 too.
    foreign = np.array([True, False, False])

    def bought(abroad: float, home: float, output: float) -> int:
        z = np.array([[0.0, abroad, 0], [0, 0, 0], [0, home, 0]])
        return len(important(z, np.full(3, output), foreign, [1], 5))

    assert bought(3e-10, 3e-10, 1000.0) == 0, "6e-10 of 1000"
    assert bought(3e-9, 3e-9, 1000.0) == 2
    assert bought(3e-15, 3e-15, 0.001) == 2, "6e-15 of 0.001"
    assert bought(5e-10, 999.0, 2000.0) == 0, "5e-10 of 999"
    assert bought(5e-9, 999.0, 2000.0) == 2
    assert bought(5e-15, 0.001, 0.002) == 2, "5e-15 of 0.001"
    economy = Leontief.of(np.array([[0.0, 1, 0], [0, 0, 0], [0, 1, 0]]), np.full(3, 4.0))
    found = Importance(economy, foreign, economy.backward(foreign.astype(float)))
    one = np.array([0.0, 1.0, 0.0])
    assert found.top(one, np.array([0.5e-12, 0, 0.5e-12]), 5) == []
    assert len(found.top(one, np.array([1e-12, 0, 1e-12]), 5)) == 2
    assert found.top(one, np.array([1e-12, 0, 1 - 1e-12]), 5) == []
    assert len(found.top(one, np.array([2e-12, 0, 1 - 2e-12]), 5)) == 2


def test_a_share_stays_a_share_where_a_delivery_is_negative() -> None:
    # 2 takes 6 of 0 and gives 1 back to 1: 6 of 5, and -1 of 5.
    economy = Leontief.of(np.array([[0.0, 0, 6], [0, 0, -1], [0, 0, 0]]), np.full(3, 10.0))
    assert economy.exposure_to(np.array([True, False, False]))[2] == 1.0
    assert economy.exposure_to(np.array([False, True, False]))[2] == 0.0


def test_whole_numbers_are_taken_as_any_other() -> None:
    economy = Leontief.of(np.array([[0, 5], [0, 0]]), np.array([10, 10]))
    assert (economy.z.dtype, economy.output.dtype) == (np.float64, np.float64)
    assert economy.downstreamness() == pytest.approx([1.0, 1.5])


def test_the_limits_of_a_usable_inverse() -> None:
    # The norm of L is 1 + a of a pair: 1e10 is within, more is not. What uses a trillion times what it makes has an L
    # of -1e-12, near to nothing, and is no more productive for that.
    def pair(rate: float) -> Leontief:
        return Leontief.of(np.array([[0.0, rate], [0.0, 0.0]]), np.ones(2))

    assert pair(1e10 - 1).column_sums.tolist() == [1.0, 1e10]
    with pytest.raises(NoInverse, match="singular"):
        pair(1e10)
    with pytest.raises(NoInverse, match="use more inputs than they make") as refused:
        Leontief.of(np.array([[1e12]]), np.ones(1))
    assert refused.value.reason == "not_productive"


def test_neither_small_outputs_nor_whole_numbers_make_a_difference_beside_a_loop() -> None:
    # 6 buys and has no output: it is in nobody's chain, and no figure is given of it.
    z = np.pad(LOOP, (0, 1))
    z[0, 6] = 1.0
    output = np.array([10.0] * 6 + [0.0])
    for economy in (
        Leontief.beside_loops(z, output),
        Leontief.beside_loops(z / 1000, output / 1000),
        Leontief.beside_loops(z.astype(int), output.astype(int)),
    ):
        assert economy.endless_inputs.tolist() == ["singular_table"] * 3 + [None] * 4
        assert economy.endless_sales.tolist() == ["singular_table"] * 2 + [None, "singular_table"] + [None] * 3
        assert economy.alive.tolist() == [True] * 6 + [False]
        assert (economy.z.dtype, economy.output.dtype) == (np.float64, np.float64)
        assert economy.downstreamness()[3:] == pytest.approx([1, 1, 1.5, np.nan], nan_ok=True)
        assert economy.upstreamness()[[2, 4, 5, 6]] == pytest.approx([1, 1.5, 1, np.nan], nan_ok=True)
        assert np.isnan(economy.exposure_to(np.array([True] * 3 + [False] * 4))[[3, 4, 6]]).all()


def test_the_refusals_in_full() -> None:
    cures = "check the table's output row against its deliveries."
    for use, words in ((8.0, "has industries that use more inputs than they make, tier after tier"),
                       (5.0, "is singular: some industries only feed themselves")):  # fmt: skip
        with pytest.raises(NoInverse) as refused:
            Leontief.of(np.array([[0.0, use], [use, 0]]), np.array([5.0, 5]))
        assert str(refused.value) == f"the input-output table {words}; {cures}"
    with pytest.raises(InputRefused) as refused_input:
        Leontief.of(np.zeros((2, 2)), np.array([5.0, np.inf]))
    assert str(refused_input.value) == (
        "the input-output table has a delivery or an output that is no finite number; "
        "check the file for empty or overflowing cells."
    )


def test_a_group_takes_the_rows_it_is_given_and_nothing_of_a_column_without_output() -> None:
    z = np.array([[0.0, 10, 3], [0, 0, 0], [0, 0, 0]])
    economy = Leontief.of(z, np.array([20.0, 40.0, 0.0]))
    group = [np.array([0, 2])]
    lean = leanings(economy, group, 1)
    assert lean.made[:, 0].tolist() == [20.0, 0.0, 0.0]
    # A quarter of the output of 1 is what 0 sells to it: 20 -> 10 of 40.
    assert lean.sales[:, 0] == pytest.approx([0.0, 10.0, 0.0])
    assert leanings(economy, group, 1, rows=economy.rows(np.array([0]))).sales == pytest.approx(lean.sales)
    assert leanings(economy, group, 1, rows=np.zeros((3, 1))).sales[:, 0] == pytest.approx([-20.0, 0.0, 0.0])
