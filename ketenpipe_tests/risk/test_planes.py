"""The plane of one vector: O1, G2, G3, T and their bounds; by hand and against plain arithmetic."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ketenpipe.risk.indicators import kleene_and, kleene_or
from ketenpipe.risk.planes import first_largest, hhi_of, node_test, node_tests, plane_of, planes_of, top_third_country

RISK = {"CHN": 0.8, "RUS": 0.9, "DEU": 0.1, "NLD": 0.1}
COUNTRIES = ("BEL", "BRA", "CHN", "DEU", "NLD", "RUS", "UNK")
SMALL = settings(max_examples=80, deadline=None)


def test_the_plane_by_hand() -> None:
    # NLD .2 (own), CHN .5, RUS .1, BRA .1 (no score), UNK .1.
    # O1 = .25 + .01 + .01 = .27, not renormalised; O1r = .27/.49. high: (.5 + .1)^2 + .02 = .38.
    # G2 over CHN .5 and RUS .1: (.4 + .09)/.6 = .81667; high over CHN .6, RUS .1: (.48 + .09)/.7 = .8142857.
    # G3 = 10 * (.25*.8 + .01*.9) = 2.09. Coverage = .6/.7.
    held = plane_of({"NLD": 0.2, "CHN": 0.5, "RUS": 0.1, "BRA": 0.1, "UNK": 0.1}, {"NLD"}, RISK)
    assert held.o1 == pytest.approx(0.27)
    assert held.o1_renormalised == pytest.approx(0.27 / 0.49)
    assert held.o1_high == pytest.approx(0.38)
    assert held.g2 == pytest.approx(0.49 / 0.6)
    assert held.g2_high == pytest.approx(0.57 / 0.7)
    assert held.g3 == pytest.approx(2.09)
    assert held.weakest_link == pytest.approx(0.209)
    assert held.coverage == pytest.approx(6 / 7)
    assert (held.top, held.unknown, held.foreign) == ("CHN", 0.1, pytest.approx(0.7))


def test_own_supply_is_no_dependency() -> None:
    # 90 % own: .1 of CHN gives O1 = .01, although CHN is all of the foreign part (O1r = 1, which never flags).
    held = plane_of({"NLD": 0.9, "CHN": 0.1}, {"NLD"}, RISK)
    assert held.o1 == pytest.approx(0.01)
    assert held.o1_renormalised == pytest.approx(1.0)
    bloc = plane_of({"NLD": 0.5, "DEU": 0.4, "CHN": 0.1}, {"NLD", "DEU"}, RISK)
    assert bloc.o1 == pytest.approx(0.01)


def test_nothing_foreign_and_nothing_known() -> None:
    own = plane_of({"NLD": 1.0}, {"NLD"}, RISK)
    assert (own.o1, own.o1_high, own.o1_renormalised, own.g2, own.top, own.coverage) == (
        0.0,
        0.0,
        None,
        None,
        None,
        None,
    )
    # .7 unknown and nothing known abroad: it may all be one country, .49 at most.
    dark = plane_of({"NLD": 0.3, "UNK": 0.7}, {"NLD"}, RISK)
    assert (dark.o1, dark.o1_high, dark.g2) == (0.0, pytest.approx(0.49), None)


def test_no_score_is_not_no_risk() -> None:
    held = plane_of({"BRA": 1.0}, {"NLD"}, RISK)
    assert (held.g2, held.g3, held.coverage) == (None, None, 0.0)


def test_the_node_test_is_strict_and_three_valued() -> None:
    # On either threshold: not passed. High concentration without a score: cannot be told. Low: no, score or not.
    assert node_test(0.41, 0.51, 0.4, 0.5) is True
    assert node_test(0.4, 0.9, 0.4, 0.5) is False
    assert node_test(0.9, 0.5, 0.4, 0.5) is False
    assert node_test(0.9, None, 0.4, 0.5) is None
    assert node_test(0.4, None, 0.4, 0.5) is False


def test_the_top_third_country_lies_outside_focus_and_union() -> None:
    # DEU is larger but in the union; UNK is no country. CHN .2, with the unknown .3 it may be .5.
    vector = {"NLD": 0.1, "DEU": 0.4, "CHN": 0.2, "UNK": 0.3}
    assert top_third_country(vector, {"NLD"}, {"DEU", "NLD"}) == ("CHN", 0.2, pytest.approx(0.5))
    assert top_third_country(vector, {"NLD"}, set())[0] == "DEU"
    assert top_third_country({"DEU": 0.7, "UNK": 0.3}, {"NLD"}, {"DEU"}) == (None, 0.0, 0.3)
    assert top_third_country({"RUS": 0.5, "CHN": 0.5}, set(), set())[0] == "CHN", "equals: first in the alphabet"


def test_hhi_by_hand() -> None:
    # 2, 1, 1 of 4: 1/4 + 1/16 + 1/16 = .375.
    assert hhi_of([2, 1, 1]) == pytest.approx(0.375)
    assert hhi_of([]) is None
    assert hhi_of([0.0]) is None


def test_kleene_logic() -> None:
    table = {(True, True): True, (True, None): None, (None, None): None, (False, None): False, (None, False): False}
    for (a, b), expected in table.items():
        assert kleene_and(a, b) is expected
    assert kleene_or([False, None, True]) is True
    assert kleene_or([False, None]) is None
    assert kleene_or([]) is False


@st.composite
def vectors(draw: st.DrawFn) -> dict[str, float]:
    weights = draw(st.dictionaries(st.sampled_from(COUNTRIES), st.integers(1, 1000), min_size=1))
    total = sum(weights.values())
    return {c: w / total for c, w in weights.items()}


@SMALL
@given(vectors(), st.sets(st.sampled_from(["BEL", "DEU", "NLD"])))
def test_the_plane_agrees_with_pandas(vector: dict[str, float], own: set[str]) -> None:
    held = plane_of(vector, own, RISK)
    x = pd.Series(vector, dtype=float).drop([*(own & set(vector)), "UNK"], errors="ignore")
    risk = pd.Series(RISK).reindex(x.index)
    scored = x[risk.notna()]
    assert held.o1 == pytest.approx((x**2).sum())
    if len(scored):
        assert held.g2 == pytest.approx((scored * risk.dropna()).sum() / scored.sum())
        assert held.g3 == pytest.approx(10 * (scored**2 * risk.dropna()).sum())
        assert held.coverage == pytest.approx(scored.sum() / x.sum())
    else:
        assert held.g2 is None


@SMALL
@given(vectors(), st.sets(st.sampled_from(["BEL", "DEU", "NLD"])))
def test_bounds_and_ranges_always_hold(vector: dict[str, float], own: set[str]) -> None:
    held = plane_of(vector, own, RISK)
    assert 0 <= held.o1 <= held.o1_high <= 1 + 1e-12
    if held.o1_renormalised is not None:
        assert held.o1 <= held.o1_renormalised + 1e-12
        assert held.o1_renormalised <= 1 + 1e-12
    for risk in (held.g2, held.g2_high):
        assert risk is None or 0.1 - 1e-12 <= risk <= 0.9 + 1e-12
    # Moving the unknown part to the largest known foreign country makes the high variant the figure itself.
    if held.top is not None:
        told = {c: s for c, s in vector.items() if c != "UNK"}
        told[held.top] += vector.get("UNK", 0.0)
        again = plane_of(told, own, RISK)
        assert again.o1 == pytest.approx(held.o1_high)
        assert again.g2 == (None if held.g2_high is None else pytest.approx(held.g2_high))
        # No other known foreign country would make it more concentrated.
        for other in set(told) - own:
            moved = {c: s for c, s in vector.items() if c != "UNK"}
            moved[other] += vector.get("UNK", 0.0)
            assert plane_of(moved, own, RISK).o1 <= held.o1_high + 1e-12


def test_a_vector_without_anything_foreign_has_only_what_can_be_said_of_nothing() -> None:
    held = plane_of({"NLD": 0.75, "UNK": 0.25, "CHN": 0.0}, ("NLD",), {"CHN": 0.9})
    assert (held.o1, held.g3, held.foreign, held.unknown) == (0.0, 0.0, 0.0, 0.25)
    assert held.o1_high == 0.25**2
    assert held.weakest_link == 0.0
    assert (held.o1_renormalised, held.g2, held.g2_high, held.coverage, held.top) == (None, None, None, None, None)


def test_a_share_of_zero_is_no_supplier() -> None:
    assert top_third_country({"CHN": 0.0, "NLD": 1.0}, ("NLD",), ()) == (None, 0.0, 0.0)


def test_without_an_unknown_part_the_bound_is_the_share() -> None:
    assert top_third_country({"CHN": 0.6, "NLD": 0.4}, ("NLD",), ()) == ("CHN", 0.6, 0.6)


def test_a_mix_is_concentrated_whatever_its_unit() -> None:
    assert hhi_of([0.25, 0.25]) == pytest.approx(0.5)
    assert hhi_of([0.0]) is None


def test_many_vectors_at_once_by_hand() -> None:
    # Vector 0 is that of the plane by hand; 1 is all own; 2 is .3 own and .7 unknown; 3 has a country without a score.
    rows = [
        (0, "BRA", 0.1), (0, "CHN", 0.5), (0, "NLD", 0.2), (0, "RUS", 0.1), (0, "UNK", 0.1), (1, "NLD", 1.0),
        (2, "NLD", 0.3), (2, "UNK", 0.7), (3, "BRA", 1.0),
    ]  # fmt: skip
    names = np.array([c for _, c, _ in rows])
    found = planes_of(
        np.array([n for n, _, _ in rows]), np.array([s for _, _, s in rows]), 5, own=names == "NLD",
        unknown=names == "UNK", risk=np.array([RISK.get(c, np.nan) for c in names]),
    )  # fmt: skip
    expected = {
        "o1": [0.27, 0, 0, 1, 0], "o1_high": [0.38, 0, 0.49, 1, 0],
        "o1_renormalised": [0.27 / 0.49, None, None, 1, None],
        "g2": [0.49 / 0.6, None, None, None, None], "g2_high": [0.57 / 0.7, None, None, None, None],
        "g3": [2.09, 0, 0, None, 0], "coverage": [6 / 7, None, None, 0, None], "top": [1, -1, -1, 8, -1],
        "unknown": [0.1, 0, 0.7, 0, 0], "foreign": [0.7, 0, 0, 1, 0], "own": [0.2, 1, 0.3, 0, 0],
    }  # fmt: skip
    for name, values in expected.items():
        wanted = np.array(values, dtype=float)
        assert getattr(found, name) == pytest.approx(wanted, nan_ok=True), name
        assert getattr(found, name).dtype == (np.int64 if name == "top" else np.float64), name


@pytest.mark.filterwarnings("error")
def test_vectors_of_nothing_foreign_warn_of_no_division() -> None:
    nobody = np.array([], dtype=bool)
    found = planes_of(
        np.array([], dtype=np.int64), np.array([]), 2, own=nobody, unknown=nobody, risk=np.array([], dtype=float)
    )
    assert found.o1.dtype == np.float64
    assert (found.o1.tolist(), found.top.tolist()) == ([0.0, 0.0], [-1, -1])
    one = np.array([True])
    some = planes_of(np.array([0]), np.array([1.0]), 1, own=~one, unknown=~one, risk=np.array([np.nan]))
    assert np.isnan([some.g2[0], some.g2_high[0], some.g3[0]]).all()
    assert some.coverage[0] == 0.0


def test_the_first_of_equals_is_the_largest() -> None:
    vector, share = np.array([0, 0, 1, 1, 1]), np.array([0.5, 0.5, 0.2, 0.6, 0.2])
    rows = np.array([True, True, True, False, True])
    assert first_largest(vector, share, rows, 3).tolist() == [0, 2, -1]
    assert first_largest(vector, share, ~rows, 2).tolist() == [-1, 3]


def test_many_node_tests_are_strict_and_three_valued() -> None:
    found = node_tests(np.array([0.41, 0.4, 0.9, 0.9, 0.4]), np.array([0.51, 0.9, 0.5, np.nan, np.nan]), 0.4, 0.5)
    assert found == pytest.approx(np.array([1.0, 0.0, 0.0, np.nan, 0.0]), nan_ok=True)
