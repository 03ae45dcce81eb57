"""Who has reported, who is awaited, who never reports: worked examples, and a gate that never waits for the latter."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ketenpipe.errors import WrongUse
from ketenpipe.sources.coverage import (
    Availability,
    Dataset,
    coverage,
    coverage_table,
    history,
    trade_weights,
)
from ketenpipe.tables.registry import COMTRADE_ANNUAL, COMTRADE_AVAILABILITY

AT = "2026-11-24T12:00:00Z"


def held(*datasets: tuple[str, str]) -> pa.Table:
    """Availability of (period, reporter)."""
    return COMTRADE_AVAILABILITY.conform(
        [
            {
                "frequency": "M" if "-" in period else "A",
                "period": period,
                "reporter": reporter,
                "classification": "H6",
                "total_records": 10,
                "dataset_checksum": "1",
                "retrieved_at": AT,
            }
            for period, reporter in datasets
        ]
    )


def months(first: int, last: int) -> list[str]:
    """Months counted from January 2024 (0)."""
    return [f"{2024 + n // 12}-{n % 12 + 1:02d}" for n in range(first, last + 1)]


def test_a_month_by_hand() -> None:
    """August 2026 (month 31) is compared with August 2024 to July 2025 (months 7 to 18)."""
    table = held(
        *((p, "NLD") for p in months(0, 31)),
        *((p, "DEU") for p in months(0, 30)),  # one month behind
        *((p, "BRA") for p in months(0, 20)),  # far behind, and expected all the same
        *((p, "FJI") for p in months(7, 12)),  # half of them: not more than half
        *((p, "USA") for p in months(12, 18)),  # seven of twelve
        ("2023-01", "PRK"),  # last seen 43 months ago
        ("2026", "CHN"),  # another frequency
    )
    found = coverage(table, "2026-08", weights={"NLD": 50.0, "DEU": 30.0, "BRA": 20.0}, countries=["ERI"])
    assert found.compared_with == tuple(months(7, 18))
    assert found.reported == ("NLD",)
    assert found.awaited == ("BRA", "DEU", "USA")
    assert found.irregular == ("FJI",)
    assert found.never == ("ERI", "PRK")
    # The USA have no weight: the median of 20, 30 and 50.
    assert found.weights == pytest.approx({"NLD": 50 / 130, "DEU": 30 / 130, "BRA": 20 / 130, "USA": 30 / 130})
    assert found.share_expected == pytest.approx(50 / 130)
    assert found.reasons == {
        "NLD": "there is a dataset",
        "DEU": "it reported 12 of 12 comparable earlier periods",
        "BRA": "it reported 12 of 12 comparable earlier periods",
        "USA": "it reported 7 of 12 comparable earlier periods",
        "FJI": "it reported 6 of 12 comparable earlier periods, last 2025-01",
        "ERI": "no dataset from 2023-08 on",
        "PRK": "no dataset from 2023-08 on",
    }
    assert not found.passes()
    assert found.passes(0.38)
    assert found.sentence() == (
        "2026-08: reported by 1, who carry 38.5% of the expected trade, not enough (at least 90%); awaited: DEU, USA, "
        "BRA; 2 never report and are not waited for."
    )


def test_a_year_by_hand() -> None:
    """2025 is compared with 2021 to 2023."""
    table = held(
        *((str(y), "NLD") for y in range(2020, 2026)),
        *((str(y), "DEU") for y in (2021, 2022)),
        *((str(y), "FJI") for y in (2021,)),
        *((str(y), "ERI") for y in (2020, 2021)),
    )
    found = coverage(table, "2025")
    assert found.compared_with == ("2021", "2022", "2023")
    assert (found.reported, found.awaited, found.never) == (("NLD",), ("DEU",), ("ERI", "FJI"))
    assert found.share_expected == 0.5
    assert coverage(held(("2025", "NLD"), ("2022", "NLD")), "2025").sentence() == (
        "2025: reported by 1, who carry 100.0% of the expected trade, enough (at least 90%)."
    )


def test_without_history_nobody_can_say() -> None:
    found = coverage(held(("2026-08", "NLD"), ("2026-07", "DEU")), "2026-08")
    assert (found.share_expected, found.passes(0.0), found.awaited) == (None, False, ())
    assert found.reasons["DEU"] == "it reported 0 of 0 comparable earlier periods, last 2026-07"
    assert found.sentence() == (
        "2026-08: no earlier period to compare with is known, so nobody can say who is missing; ask for the "
        "availability of earlier periods."
    )


def test_the_periods_that_are_looked_at() -> None:
    assert history("2025") == ["2021", "2022", "2023", "2024", "2025"]
    asked = history("2026-08")
    assert (asked[0], asked[-1], len(asked)) == ("2023-08", "2026-08", 37)
    for wrong in ("Q1", "2026-13", "2026-"):
        with pytest.raises(WrongUse, match="is no year"):
            history(wrong)


def test_the_table_of_states() -> None:
    table = held(("2022", "NLD"), ("2025", "NLD"), ("2022", "DEU"))
    rows = coverage_table([coverage(table, "2025", countries=["ERI"])]).to_pylist()
    assert [(r["reporter"], r["status"], r["weight"]) for r in rows] == [
        ("DEU", "awaited", 0.5),
        ("ERI", "never", None),
        ("NLD", "reported", 0.5),
    ]


def test_weights_are_the_trade_of_a_year() -> None:
    given_rows: list[dict[str, Any]] = [
        {
            "period": "2024",
            "code": "010121",
            "reporter": reporter,
            "partner": "CHN",
            "flow": flow,
            "value_kusd": Decimal(value),
            "maximum_per_key": False,
            "vintage": "v",
        }
        for reporter, flow, value in (("NLD", "M", "1.500"), ("NLD", "X", "2.250"), ("DEU", "M", "7.000"))
    ]
    assert trade_weights(COMTRADE_ANNUAL.conform(given_rows)) == {"DEU": 7.0, "NLD": 3.75}


def test_two_codes_of_one_country_make_one_row_and_groups_none() -> None:
    found = Availability(
        (
            Dataset("A", "2011", 736, "H3", 7, "1", "2012-01-01", "2013-01-01"),
            Dataset("A", "2011", 729, "H4", 5, "2", "2012-06-01", None),
            Dataset("A", "2011", 97, checksum="3"),
        ),
        AT,
    )
    assert found.table().to_pylist() == [
        {
            "frequency": "A",
            "period": "2011",
            "reporter": "SDN",
            "classification": "H4+H3",
            "total_records": 12,
            "dataset_checksum": "2+1",
            "first_released": "2012-01-01",
            "last_released": "2013-01-01",
            "retrieved_at": AT,
        }
    ]
    assert Dataset("M", "2026-08", 842).slot == "comtrade/M/2026-08/842"


_names = st.sampled_from(["NLD", "DEU", "USA", "CHN", "BRA"])
_history = st.lists(st.tuples(st.sampled_from(months(0, 31)), _names), max_size=60, unique=True)
_weights = st.dictionaries(_names, st.floats(0, 1e9), max_size=5)


@given(datasets=_history, weights=_weights)
def test_states_and_shares_always_hold_together(datasets: list[tuple[str, str]], weights: dict[str, float]) -> None:
    found = coverage(held(*datasets), "2026-08", weights=weights, countries=["ERI"])
    states = [*found.reported, *found.awaited, *found.irregular, *found.never]
    assert sorted(states) == sorted({r for _, r in datasets} | {"ERI"}), "one state each"
    assert "ERI" in found.never
    if found.share_expected is None:
        assert not found.weights
        return
    assert sum(found.weights.values()) == pytest.approx(1.0)
    assert not set(found.weights) & {*found.never, *found.irregular}, "nobody waits for those"
    missing = sum(found.weights[c] for c in found.awaited)
    assert found.share_expected == pytest.approx(1.0 - missing)
    # When all who are awaited report, the gate opens, whoever never does.
    late = held(*datasets, *(("2026-08", c) for c in found.awaited))
    assert coverage(late, "2026-08", weights=weights, countries=["ERI"]).passes(1.0)


@given(datasets=_history, weights=_weights)
def test_one_more_report_never_lowers_the_share(datasets: list[tuple[str, str]], weights: dict[str, float]) -> None:
    before = coverage(held(*datasets), "2026-08", weights=weights)
    more = held(*datasets, *((("2026-08", "NLD"),) if ("2026-08", "NLD") not in datasets else ()))
    after = coverage(more, "2026-08", weights=weights)
    if before.share_expected is not None:
        assert after.share_expected is not None
        assert after.share_expected >= before.share_expected - 1e-12
