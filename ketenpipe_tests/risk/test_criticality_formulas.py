"""Formulas of criticality: worked by hand, what must always hold, brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ketenpipe.risk.criticality_formulas import (
    economic_importance,
    geopolrisk,
    hhi_wgi,
    import_reliance,
    largest_supply_risk,
    sourcing_bound,
    supply_risk,
)

NAN = math.nan
AMOUNT = st.floats(0, 1e6)
RISK = st.floats(0, 1)


def row(*values: float) -> np.ndarray:
    return np.array(values, dtype=float)


# -- import reliance -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("imports", "exports", "production", "expected"),
    [
        (80.0, 20.0, 40.0, 0.6),  # 60 / (40 + 60)
        (80.0, 0.0, 0.0, 1.0),
        (20.0, 20.0, 40.0, 0.0),
        (20.0, 60.0, 100.0, 0.0),  # a negative reliance is none
        (20.0, 60.0, 10.0, 0.0),  # exports beyond supply: -40 / -30 would clip to 1
        (0.0, 0.0, 5.0, 0.0),
        (0.0, 0.0, 0.0, NAN),
        (0.0, 5.0, 0.0, 0.0),
        (5.0, 5.0, 0.0, 0.0),
        (80.0, 20.0, NAN, NAN),
        (20.0, 80.0, NAN, 0.0),  # whatever it makes
    ],
)
def test_import_reliance(imports: float, exports: float, production: float, expected: float) -> None:
    assert float(import_reliance(imports, exports, production)) == pytest.approx(expected, nan_ok=True)


def test_import_reliance_of_many_at_once() -> None:
    found = import_reliance(row(80, 20, 0), row(20, 60, 0), row(40, 10, 0))
    assert found == pytest.approx(row(0.6, 0.0, NAN), nan_ok=True)


@given(imports=AMOUNT, exports=AMOUNT, production=AMOUNT, more=AMOUNT)
def test_import_reliance_is_a_share_that_falls_with_production(
    imports: float, exports: float, production: float, more: float
) -> None:
    found = float(import_reliance(imports, exports, production))
    if imports == exports == production == 0:
        assert math.isnan(found)
        return
    assert 0.0 <= found <= 1.0
    assert float(import_reliance(imports, exports, production + more)) <= found + 1e-12
    net = imports - exports
    if net > 0:
        assert found == pytest.approx(min(1.0, net / (production + net)))


# -- HHI_WGI -------------------------------------------------------------------------------------------------


def test_hhi_wgi_by_hand() -> None:
    found = hhi_wgi(row(0.5, 0.3, 0.2), row(0.4, 0.8, 0.1))
    assert found.value == pytest.approx(10 * (0.25 * 0.4 + 0.09 * 0.8 + 0.04 * 0.1))
    assert found.high == pytest.approx(found.value)
    assert found.coverage == pytest.approx(1.0)


def test_hhi_wgi_without_a_score_of_a_country() -> None:
    found = hhi_wgi(row(0.5, 0.5), row(0.4, NAN))
    assert found.value == pytest.approx(10 * 0.25 * 0.4)
    assert found.high == pytest.approx(10 * (0.25 * 0.4 + 0.25))
    assert found.coverage == pytest.approx(0.5)


def test_hhi_wgi_with_an_unknown_part_joins_it_to_the_largest() -> None:
    found = hhi_wgi(row(0.2, 0.5), row(0.9, 0.4), 0.3)
    assert found.value == pytest.approx(10 * (0.04 * 0.9 + 0.25 * 0.4))
    assert found.high == pytest.approx(10 * (0.04 * 0.9 + 0.64 * 0.4))
    assert found.coverage == pytest.approx(1.0)


def test_hhi_wgi_of_nothing_known() -> None:
    for found in (hhi_wgi(row(), row()), hhi_wgi(row(0.0), row(0.3))):
        assert math.isnan(found.value)
        assert math.isnan(found.high)
        assert math.isnan(found.coverage)
    open_mix = hhi_wgi(row(), row(), 0.5)
    assert open_mix.high == pytest.approx(2.5)
    unscored = hhi_wgi(row(0.5, 0.5), row(NAN, NAN))
    assert math.isnan(unscored.value)
    assert unscored.high == pytest.approx(5.0)
    assert unscored.coverage == 0.0


@given(st.lists(st.tuples(st.floats(1e-6, 1.0), st.one_of(RISK, st.just(NAN))), min_size=1, max_size=8))
def test_hhi_wgi_lies_between_its_bounds(mix: list[tuple[float, float]]) -> None:
    shares = row(*(s for s, _ in mix))
    shares = shares / shares.sum()
    risk = row(*(r for _, r in mix))
    found = hhi_wgi(shares, risk)
    brute = [s * s * r for s, r in zip(shares, risk, strict=True) if not math.isnan(r)]
    if brute:
        assert found.value == pytest.approx(10 * sum(brute))
        assert -1e-12 <= found.value <= found.high + 1e-9
    assert found.high <= 10 + 1e-9
    # Merging two origins of the same risk never lowers it.
    if len(mix) > 1 and not np.isnan(risk[:2]).any():
        merged = hhi_wgi(row(shares[0] + shares[1], *shares[2:]), row(max(risk[0], risk[1]), *risk[2:]))
        assert merged.value >= found.value - 1e-9


# -- GeoPolRisk ----------------------------------------------------------------------------------------------


def test_geopolrisk_by_hand() -> None:
    # HHI 0.5, 60 t at risk 0.5 and 20 t at 0.25, 20 t made at home: 0.5 * (30 + 5) / 100.
    found = geopolrisk(0.5, row(60, 20), row(0.5, 0.25), 20.0, 20.0)
    assert (found.value, found.low, found.high, found.published) == pytest.approx((0.175,) * 4)
    assert found.coverage == 1.0


def test_geopolrisk_as_the_reference_implementation_tests_it() -> None:
    # Numerator 1000, trade 2000, production 500, HHI 0.3, as in geopolrisk-py's own test of its core.
    assert geopolrisk(0.3, row(2000), row(0.5), 500.0, 500.0).value == pytest.approx(0.3 * 1000 / 2500)


def test_geopolrisk_with_a_country_without_a_score() -> None:
    found = geopolrisk(0.5, row(60, 40), row(0.2, NAN), 100.0, 300.0)
    assert found.value == pytest.approx(0.5 * (12 / 60) * 100 / 200)
    assert found.low == pytest.approx(0.5 * 12 / 200)
    assert found.high == pytest.approx(0.5 * (12 + 40) / 200)
    assert found.published == pytest.approx(0.5 * (12 + 0.5 * 40) / 400)
    assert found.coverage == pytest.approx(0.6)


def test_geopolrisk_without_production_of_the_form() -> None:
    found = geopolrisk(0.5, row(60, 40), row(0.2, NAN), NAN, 25.0)
    assert math.isnan(found.value)
    assert found.low == 0.0
    assert found.high == pytest.approx(0.5 * (12 + 40) / 100)
    assert found.published == pytest.approx(0.5 * (12 + 20) / 125)
    assert found.coverage == pytest.approx(0.6)
    assert math.isnan(geopolrisk(0.5, row(60), row(0.2), NAN, NAN).published)


def test_geopolrisk_without_imports() -> None:
    own = geopolrisk(0.5, row(), row(), 10.0, 20.0)
    assert (own.value, own.low, own.high, own.published) == (0.0, 0.0, 0.0, 0.0)
    assert math.isnan(own.coverage)
    for nothing in (geopolrisk(0.5, row(), row(), 0.0, 0.0), geopolrisk(0.5, row(0.0), row(0.4), NAN, NAN)):
        assert math.isnan(nothing.value)
        assert math.isnan(nothing.published)


def test_geopolrisk_without_any_score() -> None:
    found = geopolrisk(0.5, row(60), row(NAN), 40.0, 40.0)
    assert math.isnan(found.value)
    assert (found.low, found.high) == pytest.approx((0.0, 0.3))
    assert found.published == pytest.approx(0.15)
    assert found.coverage == 0.0


@given(
    st.floats(0.01, 1),
    st.lists(st.tuples(st.floats(0.1, 1e4), st.one_of(RISK, st.just(NAN))), min_size=1, max_size=6),
    st.floats(0, 1e4),
    st.floats(0.1, 1e3),
)
def test_geopolrisk_lies_in_its_bounds_and_has_no_unit(
    concentration: float, origins: list[tuple[float, float]], production: float, factor: float
) -> None:
    imports, risk = row(*(q for q, _ in origins)), row(*(r for _, r in origins))
    found = geopolrisk(concentration, imports, risk, production, production)
    scaled = geopolrisk(concentration, imports * factor, risk, production * factor, production * factor)
    if np.isnan(risk).all():
        assert math.isnan(found.value)
        return
    assert found.low - 1e-12 <= found.value <= found.high + 1e-12
    assert found.high <= concentration + 1e-12
    assert scaled.value == pytest.approx(found.value)
    assert geopolrisk(concentration, imports, risk, NAN, NAN).high >= found.high - 1e-12
    if not np.isnan(risk).any():
        brute = sum(q * r for q, r in origins) / (imports.sum() + production) * concentration
        assert found.value == pytest.approx(brute)


# -- supply risk ---------------------------------------------------------------------------------------------


def test_supply_risk_by_hand() -> None:
    # [4 * 0.4 + 2 * 0.6] * 0.75 * 0.9
    assert supply_risk(4.0, 2.0, 0.8, 0.25, 0.9) == pytest.approx(1.89)
    assert supply_risk(4.0, 2.0, 0.0, 0.0, 1.0) == pytest.approx(2.0), "without reliance the sourcing alone"
    assert supply_risk(4.0, 2.0, 1.0, 0.0, 1.0) == pytest.approx(3.0), "at full reliance the mean of both"
    for place in range(5):
        values = [4.0, 2.0, 0.8, 0.25, 0.9]
        values[place] = NAN
        assert math.isnan(supply_risk(*values)), place


def test_the_largest_supply_risk() -> None:
    assert largest_supply_risk(4.0, 2.0) == 3.0
    assert largest_supply_risk(2.0, 4.0) == 4.0


@given(st.floats(0, 10), st.floats(0, 10), RISK, RISK, RISK)
def test_no_reliance_exceeds_the_largest_supply_risk(
    world: float, sourcing: float, reliance: float, rate: float, index: float
) -> None:
    found = supply_risk(world, sourcing, reliance, rate, index)
    assert 0.0 <= found <= largest_supply_risk(world, sourcing) + 1e-9
    assert supply_risk(world, sourcing, reliance, 0.0, 1.0) >= found - 1e-9


def test_the_bound_of_a_sourcing_by_hand() -> None:
    assert sourcing_bound(row(50, 50), row(0.4, 0.4), row(0.1)) == pytest.approx(2.0), "imports alone"
    assert sourcing_bound(row(50, 50), row(0.4, 0.4), row(0.1, 0.7)) == pytest.approx(7.0), "one member makes all"
    assert sourcing_bound(row(50, 50), row(0.4, 0.4), row(0.1, NAN)) == pytest.approx(10.0)
    assert sourcing_bound(row(), row(), row(0.3)) == pytest.approx(3.0)
    assert sourcing_bound(row(1), row(NAN), row(0.3)) == pytest.approx(10.0)


@given(
    st.lists(st.tuples(st.floats(1, 100), RISK), min_size=1, max_size=4),
    st.lists(st.tuples(st.floats(0, 100), RISK), min_size=1, max_size=4),
)
def test_no_production_exceeds_the_bound(origins: list[tuple[float, float]], own: list[tuple[float, float]]) -> None:
    imports, risk = row(*(q for q, _ in origins)), row(*(r for _, r in origins))
    made, own_risk = row(*(p for p, _ in own)), row(*(r for _, r in own))
    whole = np.concatenate([imports, made])
    found = hhi_wgi(whole / whole.sum(), np.concatenate([risk, own_risk])).value
    assert found <= sourcing_bound(imports, risk, own_risk) + 1e-9


# -- economic importance -------------------------------------------------------------------------------------


def test_economic_importance_by_hand() -> None:
    # Half of the use in an industry of 40, half in one of 80, the largest: 10 * (20 + 40) / 80 * 0.9.
    assert economic_importance(row(0.5, 0.5), row(40, 80), 80.0, 0.9) == pytest.approx(6.75)
    assert economic_importance(row(1.0), row(80), 80.0, 1.0) == pytest.approx(10.0)
    assert math.isnan(economic_importance(row(1.0), row(80), 80.0, NAN))


@given(st.lists(st.tuples(st.floats(0.01, 1), st.floats(0.1, 1e6)), min_size=1, max_size=6), RISK, st.floats(0.1, 100))
def test_economic_importance_has_no_currency(uses: list[tuple[float, float]], index: float, rate: float) -> None:
    shares = row(*(a for a, _ in uses))
    shares = shares / shares.sum()
    value_added = row(*(q for _, q in uses))
    found = economic_importance(shares, value_added, float(value_added.max()), index)
    assert -1e-9 <= found <= 10 * index + 1e-9
    other = economic_importance(shares, value_added * rate, float(value_added.max()) * rate, index)
    assert other == pytest.approx(found)


# -- edges ---------------------------------------------------------------------------------------------------


def test_import_reliance_of_less_than_a_ton_is_that_of_more() -> None:
    assert float(import_reliance(0.75, 0.25, 0.5)) == pytest.approx(0.5)


def test_import_reliance_of_what_is_missing_as_an_object_is_not_known() -> None:
    missing = np.array([None], dtype=object)
    assert math.isnan(import_reliance(row(80), row(20), missing)[0])


@pytest.mark.filterwarnings("error")
def test_no_division_by_nothing_is_made_known_as_a_warning() -> None:
    # 0 / 0, and -40 / 0 where all that is made is exported.
    assert import_reliance(row(0, 20), row(0, 60), row(0, 40)) == pytest.approx(row(NAN, 0.0), nan_ok=True)
    assert sourcing_bound(row(0.0, 0.0), row(0.3, 0.4), row(0.2, 0.7)) == pytest.approx(7.0)
