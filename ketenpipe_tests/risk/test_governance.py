"""G1: the risk of a country, which dimension made it, and vintages."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ketenpipe.errors import InputRefused
from ketenpipe.risk.governance import DIMENSIONS, build_country_risk, risk_of
from ketenpipe.tables.registry import GOVERNANCE
from ketenpipe_tests.worlds import one


def governance(*rows: tuple[str, int, str, float | None, str]) -> object:
    names = ("country", "year", "dimension", "estimate", "vintage")
    return GOVERNANCE.conform([dict(zip(names, r, strict=True)) for r in rows])


def test_risk_by_hand() -> None:
    # (2.5 - 2.5)/5 = 0; (2.5 - 0)/5 = .5; (2.5 + 2.5)/5 = 1; 1 -> .3; outside the scale: clipped; missing: missing.
    found = risk_of(np.array([2.5, 0.0, -2.5, 1.0, 3.4, -3.0]))
    assert found == pytest.approx([0.0, 0.5, 1.0, 0.3, 0.0, 1.0])
    assert np.isnan(risk_of(np.array([np.nan]))[0])


@settings(max_examples=100, deadline=None)
@given(st.floats(-10, 10), st.floats(-10, 10))
def test_worse_governance_is_never_less_risk(a: float, b: float) -> None:
    low, high = sorted((a, b))
    better, worse = risk_of(np.array([high, low]))
    assert 0 <= better <= worse <= 1


def test_a_year_of_six_dimensions_takes_their_mean() -> None:
    # NLD: 1, 1, 1, 1, 1, 2 -> 7/6, risk (2.5 - 7/6)/5 = 4/15. CHN lacks one of the six: null, not a mean of five.
    rows = [("NLD", 2020, d, 2.0 if d == "CC" else 1.0, "2024") for d in DIMENSIONS]
    rows += [("CHN", 2020, d, -1.0, "2024") for d in DIMENSIONS if d != "CC"]
    found = build_country_risk(governance(*rows), "mean6")  # type: ignore[arg-type]
    dutch = one(found, country="NLD")
    assert dutch["risk"] == pytest.approx(4 / 15)
    assert dutch["dimension"] == "mean6"
    assert one(found, country="CHN")["risk"] is None


def test_a_year_without_all_six_takes_political_stability_and_says_so() -> None:
    rows = [("NLD", 2020, d, 1.0, "2024") for d in DIMENSIONS]
    rows += [("NLD", 2021, "PV", 0.5, "2024"), ("NLD", 2021, "CC", 2.0, "2024")]
    found = build_country_risk(governance(*rows), "mean6")  # type: ignore[arg-type]
    assert one(found, year=2020)["dimension"] == "mean6"
    late = one(found, year=2021)
    assert (late["dimension"], late["risk"]) == ("PV", pytest.approx(0.4))


def test_one_dimension_may_be_asked_for() -> None:
    rows = [("NLD", 2020, "PV", 0.5, "2024"), ("NLD", 2020, "CC", 2.0, "2024")]
    found = build_country_risk(governance(*rows), "CC")  # type: ignore[arg-type]
    assert one(found, country="NLD")["risk"] == pytest.approx(0.1)
    with pytest.raises(InputRefused, match="no estimate of RQ"):
        build_country_risk(governance(*rows), "RQ")  # type: ignore[arg-type]


def test_a_country_without_an_estimate_has_no_risk_and_not_none_at_all() -> None:
    found = build_country_risk(governance(("TWN", 2020, "PV", None, "2024"), ("NLD", 2020, "PV", 0.5, "2024")), "PV")  # type: ignore[arg-type]
    assert one(found, country="TWN")["risk"] is None


def test_one_year_in_two_vintages_is_refused_and_two_years_are_not() -> None:
    mixed = governance(("NLD", 2020, "PV", 0.5, "2024"), ("DEU", 2020, "PV", 0.5, "2025"))
    with pytest.raises(InputRefused, match="2020 stands in two WGI vintages"):
        build_country_risk(mixed, "PV")  # type: ignore[arg-type]
    apart = governance(("NLD", 2020, "PV", 0.5, "2024"), ("NLD", 2021, "PV", 0.5, "2025"))
    found = build_country_risk(apart, "PV")  # type: ignore[arg-type]
    assert [r["vintage"] for r in found.to_pylist()] == ["2024", "2025"]


def with_errors(*rows: tuple[str, int, str, float | None, float | None]) -> object:
    names = ("country", "year", "dimension", "estimate", "standard_error")
    return GOVERNANCE.conform([dict(zip(names, r, strict=True), vintage="2024") for r in rows])


def test_the_error_of_one_dimension_is_its_own_and_null_where_the_source_has_none() -> None:
    rows = [("NLD", 2020, "PV", 0.5, 0.21), ("CHN", 2020, "PV", -0.5, None), ("TWN", 2020, "PV", None, 0.3)]
    found = build_country_risk(with_errors(*rows), "PV")  # type: ignore[arg-type]
    assert one(found, country="NLD")["standard_error"] == pytest.approx(0.21)
    assert one(found, country="CHN")["standard_error"] is None
    assert one(found, country="CHN")["risk"] == pytest.approx(0.6)
    assert one(found, country="TWN")["standard_error"] is None  # an error of nothing


def test_the_error_of_a_mean_of_six_is_the_mean_of_the_six() -> None:
    # .1 .2 .3 .4 .5 .6 -> .35; independent errors would give sqrt(.91)/6 = .159, and never more than the mean.
    rows = [("NLD", 2020, d, 1.0, 0.1 * (k + 1)) for k, d in enumerate(DIMENSIONS)]
    rows += [("CHN", 2020, d, -1.0, None if d == "CC" else 0.2) for d in DIMENSIONS]
    found = build_country_risk(with_errors(*rows), "mean6")  # type: ignore[arg-type]
    assert one(found, country="NLD")["standard_error"] == pytest.approx(0.35)
    chinese = one(found, country="CHN")
    assert (chinese["risk"], chinese["standard_error"]) == (pytest.approx(0.7), None)


def test_without_a_source_there_are_no_scores() -> None:
    assert build_country_risk(None, "mean6").num_rows == 0


def test_a_score_that_is_missing_as_an_object_stays_missing() -> None:
    found = risk_of(np.array([None, 0.0], dtype=object))
    assert np.isnan(found[0])
    assert found[1] == 0.5


def test_files_without_a_declared_vintage_may_stand_together_and_not_beside_a_declared_one() -> None:
    def build(*vintages: str) -> list[str]:
        rows = [("NLD", 2020, d, 1.0, v) for d, v in zip(DIMENSIONS, vintages, strict=True)]
        return build_country_risk(governance(*rows), "mean6")["vintage"].to_pylist()  # type: ignore[arg-type]

    a, b = "undeclared:aa", "undeclared:bb"
    assert build(a, b, a, a, a, a) == ["undeclared:aa + undeclared:bb"]
    assert build(a, a, a, a, a, a) == ["undeclared:aa"]
    for mixed in (("2024", a, a, a, a, a), ("2024", "2025", "2024", "2024", "2024", "2024"), ("2024", a, b, a, a, a)):
        with pytest.raises(InputRefused) as refused:
            build(*mixed)
        assert str(refused.value) == (
            f"wgi: the year 2020 stands in two WGI vintages ({' and '.join(sorted(set(mixed)))}); "
            "keep one edition per year."
        )


def test_a_year_without_the_dimension_is_left_out_and_the_later_ones_are_not() -> None:
    rows = [("NLD", 2019, "CC", 1.0, "2024"), ("NLD", 2020, "PV", 0.5, "2024"), ("NLD", 2021, "PV", 1.0, "2024")]
    found = build_country_risk(governance(*rows), "PV")  # type: ignore[arg-type]
    assert found["year"].to_pylist() == [2020, 2021]
    assert found["risk"].to_pylist() == pytest.approx([0.4, 0.3])
    with pytest.raises(InputRefused) as refused:
        build_country_risk(governance(*rows), "RQ")  # type: ignore[arg-type]
    assert str(refused.value) == "wgi: the governance files hold no estimate of RQ; choose another wgi_dimension."
