"""The nowcast: windows worked by hand, a random world against plain loops, and what must always hold."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ketenpipe.errors import InputRefused, WrongUse
from ketenpipe.observatory.changes import build_changes
from ketenpipe.observatory.crma import build_crma_monitor
from ketenpipe.observatory.pictures import plane_points
from ketenpipe.review.dossier import build_evidence
from ketenpipe.risk import nowcast as nowcast_module
from ketenpipe.risk.definitions import METHOD_VERSION
from ketenpipe.risk.methods import build_flags
from ketenpipe.risk.nowcast import (
    LEAST_REPORTED,
    Reporting,
    build_nowcast,
    last_years,
    nowcast_rows_for_indicators,
    splice_check,
    splice_differences,
    windows_of,
)
from ketenpipe.sources.reconciliation import reconcile
from ketenpipe.tables.checks import hhi_within_bounds
from ketenpipe.tables.registry import (
    COUNTRY_RISK,
    INDICATORS,
    NOWCAST,
    RECONCILED_ANNUAL,
    RECONCILED_MONTHLY,
)
from ketenpipe_tests.sources.test_reconciliation import baci, real_reports
from ketenpipe_tests.worlds import (
    catalogue,
    chain_world,
    flows,
    one,
    rows,
    run,
    scores,
    shipped_blocs,
    thresholds,
)

RISK = {"CHN": 0.8, "RUS": 0.9, "BEL": 0.2, "AUT": 0.1, "NLD": 0.1}
K, OTHER, ONE = "100001", "100002", "100003"
Report = tuple[Any, ...]


def months(first: str, count: int) -> list[str]:
    year, month = (int(part) for part in first.split("-"))
    return [f"{year + (month - 1 + n) // 12}-{(month - 1 + n) % 12 + 1:02d}" for n in range(count)]


def reconciled(reports: Iterable[Report], *, annual: bool = False, revision: str = "HS92") -> pa.Table:
    """``(period, code, exporter, importer, thousand USD, tonnes or None[, sides[, vintage]])``."""
    out = []
    for period, code, exporter, importer, value, tonnes, *more in reports:
        sides, vintage = [*more, "both", "v1"][0], [*more, "both", "v1"][1] if len(more) > 1 else "v1"
        out.append(
            {
                "period": period, "hs_revision": revision, "code": code, "exporter": exporter, "importer": importer,
                "value_kusd": Decimal(f"{float(value):.3f}"), "tonnes": None if tonnes is None else float(tonnes),
                "sides": sides, "freight_margin": 1.05, "vintage": vintage,
                "importer_weight": {"both": 0.5, "importer": 1.0, "exporter": 0.0}[sides],
            }
        )  # fmt: skip
    return (RECONCILED_ANNUAL if annual else RECONCILED_MONTHLY).conform(out)


def nowcast(
    monthly: pa.Table | Iterable[pa.Table] | None = None,
    annual: pa.Table | None = None,
    foci: tuple[str, ...] = ("NLD",),
    risk: pa.Table | None = None,
    **more: Any,
) -> pa.Table:
    """A nowcast of a small world with the shipped blocs and thresholds."""
    scored = scores(RISK, [2024, 2025, 2026]) if risk is None else risk
    return build_nowcast(monthly, annual, scored, catalogue([]), foci, thresholds(), **more)


def newest(reports: Iterable[Report], **more: Any) -> pa.Table:
    """The last monthly window only."""
    return nowcast(reconciled(reports), newest=1, **more)


def told(table: pa.Table, indicator: str, end: str, code: str = K, measure: str = "v", **where: Any) -> dict[str, Any]:
    where = {"focus": "NLD", "frequency": "M", **where}
    return one(table, indicator=indicator, window_end=end, code=code, measure=measure, **where)


def value(table: pa.Table, indicator: str, end: str, **where: Any) -> Any:
    return told(table, indicator, end, **where)["value"]


# -- by hand ---------------------------------------------------------------------------------------------------

FOURTEEN = months("2025-01", 14)


def by_hand() -> list[Report]:
    """A month: NLD buys 60 from CHN, 30 from BEL, 10 from RUS and sells 50 to AUT, 30 to USA; BEL sells 20 to AUT and
    RUS 25 to USA. In 2026 what CHN sold comes from RUS.
    """
    out: list[Report] = []
    for period in FOURTEEN:
        china = period < "2026"
        out += [(period, K, "CHN", "NLD", 60, 6)] if china else []
        out += [
            (period, K, "BEL", "NLD", 30, 3),
            (period, K, "RUS", "NLD", 10 if china else 70, 1 if china else 7),
            (period, K, "NLD", "AUT", 50, 5),
            (period, K, "NLD", "USA", 30, 3),
            (period, K, "BEL", "AUT", 20, 2),
            (period, K, "RUS", "USA", 25, 5),
        ]
    return out


@pytest.fixture(scope="module")
def hand() -> pa.Table:
    return nowcast(reconciled(by_hand()), foci=("NLD", "EU27"))


def test_a_window_of_equal_months_by_hand(hand: pa.Table) -> None:
    # Twelve months: CHN 720, BEL 360, RUS 120 = 1200. The shares of test_direct's world, so its figures:
    # C1 .46, C2 13725/50625, C4a .6, C5 .7, S1 1.25, S2 .75, G2 .63, G3 3.15.
    expected = {
        "M": 1200, "C1": 0.46, "C2": 13725 / 50625, "C4a": 0.6, "C5": 0.7, "S1": 1.25, "S2": 0.75, "G2": 0.63,
        "G3": 3.15,
    }  # fmt: skip
    for indicator, figure in expected.items():
        assert value(hand, indicator, "2025-12") == pytest.approx(figure), indicator
    row = told(hand, "C1", "2025-12")
    assert (row["country"], row["country_share"]) == ("CHN", pytest.approx(0.6))
    assert (row["window_start"], row["months"], row["mirror_share"], row["reported_share"]) == ("2025-01", 12, 0.0, 1.0)
    assert (row["reason"], row["unit"], row["basis"], row["level"]) == (None, "index 0-1", "reconciled_comtrade", "hs6")
    assert (row["source_vintage"], row["method_version"]) == ("reconciled comtrade v1", METHOD_VERSION)
    assert told(hand, "M", "2025-12")["unit"] == "thousand USD"
    assert (told(hand, "M", "2025-12", measure="q")["unit"], value(hand, "M", "2025-12", measure="q")) == ("t", 120)


def test_the_window_rolls_by_a_month(hand: pa.Table) -> None:
    # To 2026-01: CHN 660, BEL 360, RUS 110 + 70 = 180: .3025 + .09 + .0225. To 2026-02: CHN 600, BEL 360, RUS 240.
    assert value(hand, "C1", "2026-01") == pytest.approx(0.415)
    assert value(hand, "C1", "2026-02") == pytest.approx(0.38)
    assert value(hand, "M", "2026-02") == 1200
    # Exports of the twelve months: CHN 600, BEL 600, RUS 240 + 300 = 540, NLD 960 = 2700.
    squares = 600**2 + 600**2 + 540**2 + 960**2
    assert value(hand, "C2", "2026-02") == pytest.approx(squares / 2700**2)
    # G2 = (600 .8 + 360 .2 + 240 .9)/1200.
    assert value(hand, "G2", "2026-02") == pytest.approx((480 + 72 + 216) / 1200)


def test_the_bloc_by_hand(hand: pa.Table) -> None:
    # From outside, to 2026-02: CHN 600, RUS 240 = 840. Inside: 12 (30 + 50 + 20) = 1200. Sold outside: 360.
    expected = {
        "M": 840, "C1": (600**2 + 240**2) / 840**2, "C4a": 600 / 840, "C5": 840 / 2040, "S1": 840 / 360,
        "S1b": 840 / 1560, "S2": 300 / 600,
    }  # fmt: skip
    for indicator, figure in expected.items():
        assert value(hand, indicator, "2026-02", focus="EU27") == pytest.approx(figure), indicator
    assert not rows(hand, focus="NLD", indicator="S1b")


def test_a_window_that_lacks_months_is_null_and_says_so(hand: pa.Table) -> None:
    early = [r for r in rows(hand, focus="NLD") if r["window_end"] < "2025-12"]
    assert {r["window_end"] for r in early} == set(FOURTEEN[:11])
    assert {r["reason"] for r in early} == {"window_incomplete"}
    for column in ("value", "country", "country_share", "mirror_share", "reported_share", "coverage"):
        assert {r[column] for r in early} == {None}, column
    assert told(hand, "M", "2025-03")["months"] == 3
    # Every figure of a told window is there too, with its null.
    assert {(r["indicator"], r["measure"]) for r in early} == {
        (r["indicator"], r["measure"]) for r in rows(hand, focus="NLD", window_end="2025-12")
    }


def test_a_hole_in_the_months_spoils_the_windows_around_it_only() -> None:
    span = months("2024-01", 26)
    reports = [(p, K, "CHN", "NLD", 10, 1) for p in span if p != "2024-02"]
    table = nowcast(reconciled(reports))
    held = {r["window_end"]: (r["months"], r["value"], r["reason"]) for r in rows(table, indicator="M", measure="v")}
    assert "2024-02" not in held
    assert held["2025-01"] == (11, None, "window_incomplete")
    assert held["2025-02"] == (12, 120.0, None)


def test_a_year_of_annual_flows_is_a_window_of_twelve_months() -> None:
    annual = reconciled([("2024", K, "CHN", "NLD", 60, 6), ("2024", K, "USA", "NLD", 40, 4)], annual=True)
    row = one(nowcast(annual=annual), indicator="C1", measure="v")
    assert (row["window_start"], row["window_end"], row["months"]) == ("2024-01", "2024-12", 12)
    assert (row["frequency"], row["value"], row["reason"]) == ("A", pytest.approx(0.52), None)


def test_each_hs_revision_has_its_own_windows() -> None:
    old = reconciled([(p, K, "CHN", "NLD", 1, 1) for p in months("2024-01", 12)], revision="HS17")
    new = reconciled([(p, K, "CHN", "NLD", 2, 1) for p in months("2025-01", 12)], revision="HS22")
    table = nowcast(pa.concat_tables([old, new]))
    told_rows = [r for r in rows(table, indicator="M", measure="v") if r["value"] is not None]
    assert [(r["hs_revision"], r["window_end"], r["value"]) for r in told_rows] == [
        ("HS17", "2024-12", 12.0), ("HS22", "2025-12", 24.0),
    ]  # fmt: skip


# -- who has reported ------------------------------------------------------------------------------------------


def test_a_focus_that_never_reports_lives_on_mirror_data() -> None:
    span = months("2025-01", 12)
    reports = [
        (p, K, i, "NLD", v, 1, "exporter") for p in span for i, v in (("CHN", 60), ("USA", 40))
    ]  # fmt: skip
    table = newest(reports)
    row = told(table, "C1", "2025-12")
    assert row["value"] == pytest.approx(0.52)
    assert (row["mirror_share"], row["reported_share"], row["reason"]) == (1.0, 1.0, "mirror_only")
    # World exports are no figure of the focus.
    assert told(table, "C2", "2025-12")["reason"] is None


def test_mirror_share_is_the_part_that_only_exporters_reported() -> None:
    span = months("2025-01", 12)
    reports = [(p, K, "CHN", "NLD", 30, 1) for p in span]
    reports += [(p, K, "USA", "NLD", 10, 1, "exporter") for p in span]
    reports += [(p, K, "USA", "AUT", 90, 1, "exporter") for p in span]
    table = newest(reports, foci=("NLD", "EU27"))
    assert told(table, "M", "2025-12")["mirror_share"] == pytest.approx(0.25)
    assert told(table, "C2", "2025-12", focus="EU27")["mirror_share"] == pytest.approx(100 / 130)


def one_silent_month(mirrored: float, lost: float) -> list[Report]:
    """NLD does not report 2025-06: CHN, which reports, stands for its own part, USA, which never does, is lost."""
    out: list[Report] = []
    for p in months("2025-01", 12):
        if p == "2025-06":
            out.append((p, K, "CHN", "NLD", mirrored, 1, "exporter"))
        else:
            out += [(p, K, "CHN", "NLD", mirrored, 1), (p, K, "USA", "NLD", lost, 1, "importer")]
    return out


def test_a_month_that_the_focus_has_not_reported_is_said_and_its_loss_estimated() -> None:
    # Known: 12 x 80 + 11 x 20 = 1180, lost: 20. 1180/1200 = .983 > .958: the figure stands and says so.
    row = told(newest(one_silent_month(80, 20)), "M", "2025-12")
    assert (row["value"], row["reported_share"]) == (1180.0, pytest.approx(1180 / 1200))
    assert row["reason"] == "focus reported 11 of 12 months"
    assert row["mirror_share"] == pytest.approx(80 / 1180)


def test_half_a_month_lost_is_no_year() -> None:
    # Lost: 60 of 1200 = .05, more than half a month (.0417).
    table = newest(one_silent_month(40, 60))
    row = told(table, "C1", "2025-12")
    assert (row["value"], row["country"]) == (None, None)
    assert row["reason"] == "window_incomplete; focus reported 11 of 12 months"
    assert row["reported_share"] == pytest.approx(1140 / 1200)
    assert row["reported_share"] < LEAST_REPORTED
    # On the edge it stands: 50 of 1200 is half a month to the cent.
    assert value(newest(one_silent_month(50, 50)), "M", "2025-12") == 1150.0


def test_a_product_from_who_never_reports_is_lost_though_all_imports_are_known() -> None:
    # Of all imports 1 in 1000 comes from RUS, of OTHER all: a month of it is lost.
    reports = []
    for p in months("2025-01", 12):
        silent = p == "2025-06"
        reports.append((p, K, "CHN", "NLD", 999, 1, "exporter" if silent else "both"))
        if not silent:
            reports.append((p, OTHER, "RUS", "NLD", 1, 1, "importer"))
    table = newest(reports)
    assert value(table, "M", "2025-12") == 999 * 12
    row = told(table, "M", "2025-12", code=OTHER)
    assert row["value"] is None
    assert row["reported_share"] == pytest.approx(11 / 12)


def test_a_partner_that_falls_silent_with_the_focus_is_missed_by_what_it_sold_the_year_before() -> None:
    # To 2024 NLD reports half its imports from RUS; in 2025 neither reports, CHN alone does.
    reports: list[Report] = [(p, K, i, "NLD", 10, 1, "importer") for p in months("2024-01", 12) for i in ("CHN", "RUS")]
    reports += [(p, K, "CHN", "NLD", 10, 1, "exporter") for p in months("2025-01", 12)]
    row = told(newest(reports), "M", "2025-12")
    assert (row["value"], row["reported_share"]) == (None, pytest.approx(0.5))
    assert row["reason"] == "window_incomplete; mirror_only"
    # So does a year of annual flows.
    yearly = [("2024", K, i, "NLD", 120, 1, "importer") for i in ("CHN", "RUS")]
    yearly.append(("2025", K, "CHN", "NLD", 120, 1, "exporter"))
    row = told(nowcast(annual=reconciled(yearly, annual=True)), "M", "2025-12", frequency="A")
    assert (row["value"], row["reported_share"]) == (None, pytest.approx(0.5))


def test_missing_reports_of_others_leave_the_imports_alone_and_spoil_world_exports() -> None:
    reports = []
    for p in months("2025-01", 12):
        reports.append((p, K, "CHN", "NLD", 10, 1))
        if p != "2025-12":
            reports.append((p, K, "RUS", "USA", 990, 1))
    table = newest(reports)
    assert value(table, "C1", "2025-12") == 1.0
    for indicator in ("C2", "S2"):
        row = told(table, indicator, "2025-12")
        assert (row["value"], row["reason"]) == (None, "window_incomplete")
        assert row["reported_share"] == pytest.approx(1 - 0.99 / 12)


def test_availability_says_what_the_flows_do_not_show() -> None:
    # NLD bought in one month only; that it reported the others is known from the list of datasets.
    reports = [(p, OTHER, "CHN", "USA", 10, 1) for p in months("2025-01", 12)]
    reports.append(("2025-04", K, "RUS", "NLD", 5, 1, "importer"))
    table = newest(reports)
    assert told(table, "M", "2025-12")["reason"] == "window_incomplete; focus reported 1 of 12 months"
    held = pa.table({"period": months("2025-01", 12), "reporter": ["NLD"] * 12})
    row = told(newest(reports, reported=held), "M", "2025-12")
    assert (row["value"], row["reason"], row["reported_share"]) == (5.0, None, 1.0)


def test_a_bloc_says_how_many_of_its_members_months_are_there() -> None:
    reports = [(p, K, "CHN", m, 10, 1) for p in months("2025-01", 12) for m in ("NLD", "BEL")]
    reports = [r for r in reports if (r[0], r[3]) != ("2025-12", "BEL")] + [
        ("2025-12", K, "CHN", "BEL", 10, 1, "exporter")
    ]
    row = told(newest(reports, foci=("EU27",)), "M", "2025-12", focus="EU27")
    assert (row["value"], row["reason"]) == (240.0, "members reported 23 of 324 months")


def test_the_bloc_has_the_members_of_the_year_in_which_the_window_ends() -> None:
    # GBR was in the EU on 31 December 2019, not 2020: in windows that end in 2020 its trade with NLD is from outside.
    reports = [(p, K, i, "NLD", 10, 1) for p in months("2019-01", 24) for i in ("GBR", "CHN")]
    table = nowcast(reconciled(reports), foci=("EU",))
    assert value(table, "M", "2019-12", focus="EU") == 120.0
    assert value(table, "M", "2020-01", focus="EU") == 240.0


# -- governance ------------------------------------------------------------------------------------------------


def governed(years: Iterable[int]) -> dict[str, Any]:
    table = newest([(p, K, "CHN", "NLD", 10, 1) for p in months("2025-01", 12)], risk=scores(RISK, years))
    return told(table, "G2", "2025-12")


def test_governance_is_of_the_latest_year_that_is_there() -> None:
    row = governed([2023, 2025, 2026])
    assert (row["value"], row["reason"]) == (pytest.approx(0.8), None)
    assert row["source_vintage"] == "reconciled comtrade v1; wgi 2024 edition, year 2025"
    row = governed([2022, 2023, 2026])
    assert (row["value"], row["reason"]) == (pytest.approx(0.8), "governance of 2023")
    assert row["source_vintage"].endswith("year 2023")


def test_governance_that_is_too_old_is_none() -> None:
    assert governed([2022])["reason"] == "governance of 2022"
    row = governed([2021])
    assert (row["value"], row["reason"], row["source_vintage"]) == (
        None,
        "no_governance_data",
        "reconciled comtrade v1",
    )


def test_without_governance_data_there_is_no_g2() -> None:
    table = nowcast(reconciled([("2025-01", K, "CHN", "NLD", 10, 1)]), risk=COUNTRY_RISK.empty())
    assert not rows(table, indicator="G2")
    full = newest([(p, K, "CHN", "NLD", 1, 1) for p in months("2025-01", 12)], risk=COUNTRY_RISK.empty())
    assert not rows(full, indicator="G3")
    assert value(full, "C1", "2025-12") == 1.0


# -- degenerate ------------------------------------------------------------------------------------------------


def test_no_imports_is_null_and_imports_of_zero() -> None:
    table = newest([(p, K, "CHN", "USA", 10, 1) for p in months("2025-01", 12)])
    assert value(table, "M", "2025-12") == 0.0
    row = told(table, "C1", "2025-12")
    assert (row["value"], row["reason"], row["mirror_share"]) == (None, "no_imports; mirror_only", None)
    assert value(table, "C2", "2025-12") == 1.0


def test_one_supplier() -> None:
    table = newest([(p, K, "CHN", "NLD", 10, None) for p in months("2025-01", 12)])
    row = told(table, "C1", "2025-12")
    assert (row["value"], row["country"], row["country_share"]) == (1.0, "CHN", 1.0)
    assert told(table, "S1", "2025-12")["reason"] == "no_exports"
    assert told(table, "C1", "2025-12", measure="q")["reason"] == "no_mass"
    assert told(table, "S2", "2025-12")["value"] == 0.0


def test_figures_by_mass_say_how_much_of_the_value_has_one() -> None:
    reports = [(p, K, "CHN", "NLD", 6, 1) for p in months("2025-01", 12)]
    reports += [(p, K, "USA", "NLD", 4, None) for p in months("2025-01", 12)]
    assert told(newest(reports), "C1", "2025-12", measure="q")["coverage"] == pytest.approx(0.6)


def test_nothing_in_nothing_out() -> None:
    assert nowcast().equals(NOWCAST.empty())
    assert nowcast(RECONCILED_MONTHLY.empty(), RECONCILED_ANNUAL.empty()).equals(NOWCAST.empty())
    assert nowcast_rows_for_indicators(NOWCAST.empty(), {"HS92": 2024}).equals(INDICATORS.empty())
    assert splice_check(NOWCAST.empty(), INDICATORS.empty()).num_rows == 0


@pytest.mark.parametrize(
    ("period", "annual"), [("202609", False), ("2026-13", False), ("2026", False), ("2026-09", True)]
)
def test_a_period_of_the_wrong_form_is_refused(period: str, annual: bool) -> None:
    table = reconciled([(period, K, "CHN", "NLD", 1, 1)], annual=annual)
    with pytest.raises(InputRefused) as refused:
        nowcast(annual=table) if annual else nowcast(table)
    name, form = ("annual", "year like 2024") if annual else ("monthly", "month like 2026-09")
    assert str(refused.value) == (
        f"table reconciled_{name}, column period: the period '{period}' is no {form}; "
        "annual and monthly flows are two tables."
    )


def test_the_newest_windows_only(hand: pa.Table) -> None:
    table = nowcast(reconciled(by_hand()), newest=2)
    assert sorted(set(table.column("window_end").to_pylist())) == ["2026-01", "2026-02"]
    assert table.equals(hand.filter((pc.field("window_end") >= "2026-01") & (pc.field("focus") == "NLD")))
    with pytest.raises(WrongUse, match="at least 1, not 0"):
        nowcast(reconciled(by_hand()), newest=0)


def test_windows_in_parts_and_batches_give_the_same_bytes(hand: pa.Table, monkeypatch: pytest.MonkeyPatch) -> None:
    table = reconciled(by_hand())
    parts = (table.filter(pc.field("period") == p) for p in reversed(FOURTEEN))
    monkeypatch.setattr(nowcast_module, "_BATCH_ROWS", 1)
    said: list[str] = []
    assert nowcast(parts, progress=said.append).equals(hand.filter(pc.field("focus") == "NLD"))
    assert said == ["nowcast 2025-01 to 2025-12", "nowcast 2025-02 to 2026-01", "nowcast 2025-03 to 2026-02"]


def test_many_vintages_are_named_by_the_first_and_the_last() -> None:
    reports = [(p, K, "CHN", "NLD", 1, 1, "both", f"{p}-15; {p}-20") for p in months("2025-01", 12)]
    row = told(newest(reports), "M", "2025-12")
    assert row["source_vintage"] == "reconciled comtrade 2025-01-15 to 2025-12-20 (24 vintages)"


def test_windows_across_the_turn_of_the_year() -> None:
    (first, second) = windows_of("M", {"HS22": ["2025-12", "2026-01"]})
    assert (first.start, first.end, first.number, first.months) == ("2025-01", "2025-12", 202512, 1)
    assert (second.start, second.end, second.number, second.months) == ("2025-02", "2026-01", 202601, 2)


# -- against plain loops ---------------------------------------------------------------------------------------

COUNTRIES = ("NLD", "BEL", "AUT", "CHN", "RUS", "USA")


def random_world(seed: int, span: list[str]) -> list[Report]:
    rng = np.random.default_rng(seed)
    # RUS never reports, USA and BEL miss some months.
    absent = {("RUS", p) for p in span} | {("USA", span[-2]), ("BEL", span[-1]), ("BEL", span[3])}
    out: list[Report] = []
    for p in span:
        for code in (K, OTHER, ONE):
            for i in COUNTRIES:
                for j in COUNTRIES:
                    if i == j or rng.random() < 0.4:
                        continue
                    by_i, by_j = (i, p) not in absent, (j, p) not in absent
                    if not (by_i or by_j):
                        continue
                    sides = "both" if by_i and by_j else "exporter" if by_i else "importer"
                    amount = round(float(rng.lognormal(3, 1)), 3)
                    out.append((p, code, i, j, amount, None if rng.random() < 0.2 else round(amount / 7, 3), sides))
    return out


def plain(reports: list[Report], window: list[str], code: str, own: set[str], union: set[str]) -> dict[str, Any]:
    """Every figure by value of one window, from the definitions in METHOD 2, by loops."""
    buys: dict[str, float] = {}
    sells: dict[str, float] = {}
    inside = mirrored = 0.0
    for p, c, i, j, v, _, sides in reports:
        if c != code or p not in window:
            continue
        seller = "f" if i in own else i
        if i in own and j in own:
            inside += v
            continue
        sells[seller] = sells.get(seller, 0.0) + v
        if j in own:
            buys[i] = buys.get(i, 0.0) + v
            mirrored += v * (sides == "exporter")
    total, world = sum(buys.values()), sum(sells.values())
    third = {i: v for i, v in buys.items() if i not in union}
    out: dict[str, Any] = {"M": total}
    out["C2"] = sum(v * v for v in sells.values()) / world**2 if world else None
    if not total:
        return out
    top = min(buys, key=lambda i: (-buys[i], i))
    out |= {
        "C1": sum(v * v for v in buys.values()) / total**2,
        "top": top,
        "C4a": max(third.values(), default=0.0) / total,
        "C5": sum(third.values()) / (total + inside),
        "S1": total / sells["f"] if sells.get("f") else None,
        "S1b": total / (sells.get("f", 0.0) + inside) if sells.get("f", 0.0) + inside else None,
        "S2": sum(v - buys.get(i, 0.0) for i, v in sells.items() if i not in ("f", top)) / buys[top],
        "mirror_share": mirrored / total,
    }
    scored = {i: v for i, v in buys.items() if i in RISK}
    if scored:
        out["G2"] = sum(v * RISK[i] for i, v in scored.items()) / sum(scored.values())
        out["G3"] = 10 * sum((v / total) ** 2 * RISK[i] for i, v in scored.items())
    return out


def plain_reporting(
    reports: list[Report], window: list[str], before: list[str], code: str, own: set[str]
) -> tuple[float, float]:
    """Reported share of a product's imports and of world trade, by loops over pairs and months."""
    said = {(i, p) for p, _, i, j, _, _, s in reports if s != "importer"}
    said |= {(j, p) for p, _, i, j, _, _, s in reports if s != "exporter"}

    def seen(i: str, j: str, periods: list[str]) -> int:
        return sum((i, p) in said or (j, p) in said for p in periods)

    weight: dict[tuple[str, str], float] = {}
    for p, _, i, j, v, *_ in reports:
        if p in window or p in before:
            weight[i, j] = weight.get((i, j), 0.0) + v
    weight = {(i, j): v / seen(i, j, [*before, *window]) for (i, j), v in weight.items()}

    def share(pairs: list[tuple[str, str]]) -> float:
        whole = sum(weight[x] for x in pairs)
        return sum(weight[x] * seen(*x, window) / len(window) for x in pairs) / whole

    into = [(i, j) for i, j in weight if j in own and i not in own]
    known = lost = 0.0
    for p, c, i, j, v, *_ in reports:
        if c == code and p in window and j in own and i not in own:
            known += v
            lost += v * (len(window) / seen(i, j, window) - 1)
    of_code = known / (known + lost) if known else 1.0
    return min(of_code, share(into)), share(list(weight))


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_against_plain_loops(seed: int) -> None:
    span = months("2024-11", 16)
    reports = random_world(seed, span)
    table = nowcast(reconciled(reports), foci=("NLD", "EU27"), risk=scores(RISK, [2026]))
    union = {m.iso3 for m in shipped_blocs() if m.bloc == "EU27"}
    held = {(r["focus"], r["code"], r["window_end"], r["indicator"]): r for r in rows(table, measure="v")}
    compared = 0
    for end in span[11:]:
        at = span.index(end)
        window, before = span[at - 11 : at + 1], span[: at - 11]
        for focus, own in (("NLD", {"NLD"}), ("EU27", union)):
            for code in (K, OTHER, ONE):
                truth = plain(reports, window, code, own, union)
                of_code, of_world = plain_reporting(reports, window, before, code, own)
                for indicator in ("M", "C1", "C2", "C4a", "C5", "S1", "S2", "G2", "G3", "S1b"):
                    if indicator == "S1b" and focus != "EU27":
                        continue
                    row = held[focus, code, end, indicator]
                    share = {"C2": of_world, "S2": min(of_world, of_code)}.get(indicator, of_code)
                    assert row["reported_share"] == pytest.approx(share, rel=1e-8), (indicator, focus, end)
                    assert row["mirror_share"] == pytest.approx(truth["mirror_share"], rel=1e-8)
                    if share < LEAST_REPORTED:
                        assert (row["value"], row["reason"][:17]) == (None, "window_incomplete")
                        continue
                    if indicator in ("G2", "G3") and end < "2026":
                        assert row["reason"].startswith("no_governance_data")
                        continue
                    compared += 1
                    assert row["value"] == pytest.approx(truth[indicator], rel=1e-8), (indicator, focus, end)
                    if indicator == "C1":
                        assert row["country"] == truth["top"]
    assert compared > 150


def test_reporting_of_a_pair_by_hand() -> None:
    # A sells to B in three months, each reported by one of them in two: known 3/3. C to B: B in two, C never.
    pairs = pd.DataFrame(
        [
            ("2025-01", "A", "B", "both", 10.0), ("2025-02", "A", "B", "exporter", 10.0),
            ("2025-03", "A", "B", "importer", 10.0), ("2025-01", "C", "B", "importer", 4.0),
            ("2025-03", "C", "B", "importer", 8.0),
        ],
        columns=["period", "exporter", "importer", "sides", "v"],
    )  # fmt: skip
    reporting = Reporting("M", pairs)
    (*_, window) = windows_of("M", {"HS92": ["2025-01", "2025-02", "2025-03"]})
    assert reporting.months(["B"], window) == (2, 3)
    assert reporting.months(["nobody"], window) == (0, 3)
    # Usual trade: A-B 10 a month, C-B 12 over the 2 months seen = 6; (10 + 6 x 2/3) / 16.
    assert reporting.reported_share(window) == pytest.approx(14 / 16)
    assert reporting.reported_share(window, {"A"}) is None
    assert reporting.partly_known(window, {"B"}).to_dict("records") == [
        {"exporter": "C", "importer": "B", "known": pytest.approx(2 / 3)}
    ]


# -- what must always hold -------------------------------------------------------------------------------------

_flow = st.tuples(
    st.sampled_from(COUNTRIES), st.sampled_from(COUNTRIES), st.integers(1, 10**6), st.none() | st.integers(1, 10**6)
)
_flows = st.lists(_flow.filter(lambda f: f[0] != f[1]), min_size=1, max_size=8, unique_by=lambda f: f[:2])
#: A month: the flows of six products. Each product is a case of its own, so that few runs try many.
one_month = st.lists(_flows, min_size=6, max_size=6)
twelve_months = st.lists(one_month, min_size=12, max_size=12)
quick = settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck))
FIGURES = ["focus", "code", "indicator", "measure", "value", "country", "country_share", "coverage", "mirror_share"]
YEAR = months("2025-01", 12)


def figures(table: pa.Table, **where: Any) -> list[tuple[Any, ...]]:
    found = (tuple(r[c] for c in FIGURES) for r in rows(table, **where))
    return sorted(found, key=lambda r: tuple(str(x) for x in r[:4]))


def spread(month: list[list[Any]], span: list[str], factor: int = 1) -> list[Report]:
    return [
        (p, f"{200000 + k}", i, j, v * factor, None if t is None else t * factor)
        for p in span
        for k, product in enumerate(month)
        for i, j, v, t in product
    ]


@quick
@given(one_month, st.sampled_from(["NLD", "EU27"]))
def test_twelve_equal_months_are_the_year_of_their_sum(month: list[Any], focus: str) -> None:
    annual = reconciled(spread(month, ["2025"], 12), annual=True)
    table = nowcast(reconciled(spread(month, YEAR)), annual, foci=(focus,), newest=1)
    assert figures(table, frequency="M") == figures(table, frequency="A")


@quick
@given(twelve_months, st.permutations(range(12)), st.integers(2, 1000), st.sampled_from(["NLD", "EU27"]))
def test_order_and_scale_do_not_matter(drawn: list[list[Any]], order: list[int], factor: int, focus: str) -> None:
    # Everybody has reported everything, so that no month counts as lost by chance.
    held = pa.table({"period": YEAR * len(COUNTRIES), "reporter": [c for c in COUNTRIES for _ in YEAR]})

    def table(of: list[int], scale: int = 1) -> list[tuple[Any, ...]]:
        reports = [r for p, k in zip(YEAR, of, strict=True) for r in spread(drawn[k], [p], scale)]
        return figures(newest(reports, foci=(focus,), reported=held))

    for was, now in zip(table(list(range(12))), table(order, factor), strict=True):
        assert (was[:4], was[5]) == (now[:4], now[5])
        expected = [None if x is None else x * factor if was[2] == "M" else x for x in was[4:5]]
        for a, b in zip(expected + list(was[6:]), now[4:5] + now[6:], strict=True):
            assert (a is None and b is None) or b == pytest.approx(a, rel=1e-8, abs=1e-12)


@quick
@given(twelve_months, st.integers(0, 11))
def test_an_absent_month_never_gives_a_figure(drawn: list[list[Any]], hole: int) -> None:
    reports = [r for k, p in enumerate(YEAR) if k != hole for r in spread(drawn[k], [p])]
    table = nowcast(reconciled(reports))
    assert {r["value"] for r in table.to_pylist()} == {None}
    assert {r["reason"] for r in table.to_pylist()} == {"window_incomplete"}


# -- BACI's side, run once -------------------------------------------------------------------------------------

SAME, SAME_TOO, TURNS = "100004", "100005", "100006"
BACI_2024 = [
    (2024, K, "CHN", "NLD", 60, 6), (2024, K, "USA", "NLD", 40, 4), (2024, OTHER, "CHN", "NLD", 100, 10),
    (2024, ONE, "CHN", "NLD", 5, 1), (2023, K, "CHN", "NLD", 1, 1),
    (2024, SAME, "CHN", "NLD", 60, 6), (2024, SAME, "BEL", "NLD", 30, None), (2024, SAME, "NLD", "USA", 25, 3),
    (2024, SAME_TOO, "USA", "BEL", 4, 1), (2024, SAME_TOO, "NLD", "CHN", 5, 2),
    (2024, TURNS, "CHN", "NLD", 70, 7), (2024, TURNS, "BEL", "NLD", 30, 3),
]  # fmt: skip
COMTRADE_2024 = [
    ("2024", K, "CHN", "NLD", 45, 4), ("2024", K, "USA", "NLD", 55, 5), ("2024", OTHER, "CHN", "NLD", 110, 11),
    ("2025", K, "CHN", "NLD", 1, 1), ("2024", TURNS, "CHN", "NLD", 60, 6), ("2024", TURNS, "BEL", "NLD", 40, 4),
    *((str(year), code, *rest) for year, code, *rest in BACI_2024 if code in (SAME, SAME_TOO)),
]  # fmt: skip


@lru_cache
def both_sides() -> tuple[pa.Table, pa.Table]:
    """Nowcast and indicators. K: BACI 60/40 from CHN/USA, the nowcast 45/55; OTHER: 100 from CHN and 110; ONE: BACI
    only; TURNS: CHN .7 and .6; SAME and SAME_TOO: equal.
    """
    foci = ("NLD", "EU27")
    annual = reconciled(COMTRADE_2024, annual=True)
    return nowcast(annual=annual, foci=foci), run(flows(BACI_2024), catalogue([], [], {}), foci, risk=RISK).indicators


def check(*codes: str, limits: Any = None) -> pa.Table:
    """The splice of a few codes for NLD."""
    wanted = (pc.field("focus") == "NLD") & pc.field("code").isin(codes)
    ours, theirs = both_sides()
    return splice_check(ours.filter(wanted), theirs.filter(wanted), limits)


def test_a_yearly_window_is_what_the_indicators_say_of_the_same_year() -> None:
    ours, theirs = both_sides()
    equal = [r for r in ours.to_pylist() if r["code"] in (SAME, SAME_TOO)]
    assert len(equal) == 2 * (18 + 20)
    for row in equal:
        basis = "exports" if row["indicator"] in ("C2", "S2") else "imports"
        same = {k: row[k] for k in ("focus", "code", "hs_revision", "indicator", "measure", "level", "unit")}
        of_baci = one(theirs, basis=basis, year=2024, **same)
        for column in ("value", "country", "country_share", "coverage"):
            assert row[column] == of_baci[column], (same, column)


# -- beside BACI -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def late() -> pa.Table:
    """Annual flows of 2024 and 2025, monthly ones of 2025 and to 2026-02."""
    yearly = [(y, K, i, "NLD", 12 * v, 12) for y in ("2024", "2025") for i, v in (("CHN", 60), ("USA", 40))]
    return nowcast(reconciled(by_hand()), reconciled(yearly, annual=True))


def test_the_latest_window_of_each_year_after_baci(late: pa.Table) -> None:
    table = nowcast_rows_for_indicators(late, {"HS92": 2024})
    assert set(table.column("basis").to_pylist()) == {"reconciled_comtrade"}
    assert set(zip(*(table.column(c).to_pylist() for c in ("level", "tier", "group")), strict=True)) == {
        ("hs6", 0, None)
    }
    # 2025: the annual flows come before the twelve months to December; 2026: the twelve months to February.
    first, second = rows(table, indicator="C1", measure="v")
    assert (first["year"], first["value"], first["reason"]) == (2025, pytest.approx(0.52), "twelve months to 2025-12")
    assert (second["year"], second["value"], second["reason"]) == (
        2026,
        pytest.approx(0.38),
        "twelve months to 2026-02",
    )
    assert (second["country"], second["method_value"], second["confidence"]) == ("CHN", None, "medium")
    assert second["method_version"] == METHOD_VERSION
    assert {r["year"] for r in nowcast_rows_for_indicators(late, {"HS92": 2025}).to_pylist()} == {2026}
    assert nowcast_rows_for_indicators(late, {"HS92": 2026}).num_rows == 0
    assert nowcast_rows_for_indicators(late, {"HS17": 2020}).num_rows == 0


def test_a_told_window_comes_before_a_later_one_that_is_not() -> None:
    # In 2026-02 NLD has not reported and its supplier never does: the twelve months to January stand for 2026.
    reports = [(p, K, "CHN", "NLD", 10, 1, "importer") for p in months("2025-02", 12)]
    reports.append(("2026-02", OTHER, "CHN", "USA", 1, 1, "importer"))
    rows_2026 = rows(nowcast_rows_for_indicators(nowcast(reconciled(reports)), {"HS92": 2025}), code=K, indicator="M")
    assert [(r["value"], r["reason"]) for r in rows_2026 if r["measure"] == "v"] == [
        (120.0, "twelve months to 2026-01")
    ]


def test_a_year_without_a_told_window_is_null_and_says_why(late: pa.Table) -> None:
    early = nowcast(reconciled([r for r in by_hand() if r[0] <= "2025-03"]))
    row = one(nowcast_rows_for_indicators(early, {"HS92": 2024}), indicator="M", measure="v")
    assert (row["value"], row["reason"], row["confidence"]) == (
        None, "twelve months to 2025-03; window_incomplete", "low",
    )  # fmt: skip


def test_confidence_is_low_on_mirror_data_and_lost_trade() -> None:
    for reports, reason in (
        ([(p, K, "CHN", "NLD", 10, 1, "exporter") for p in months("2025-01", 12)], "mirror_only"),
        (one_silent_month(80, 20), "focus reported 11 of 12 months"),
    ):
        row = one(nowcast_rows_for_indicators(newest(reports), {"HS92": 2024}), indicator="C1", measure="v")
        assert (row["confidence"], row["reason"]) == ("low", f"twelve months to 2025-12; {reason}")


def test_last_years() -> None:
    table = pa.concat_tables([flows([(2020, K, "CHN", "NLD", 1, 1), (2022, K, "CHN", "NLD", 1, 1)]),
                              flows([(2021, K, "CHN", "NLD", 1, 1)], revision="HS17")])  # fmt: skip
    assert last_years(table) == {"HS92": 2022, "HS17": 2021}


# -- readers of the indicators ---------------------------------------------------------------------------------


def extended(indicators: pa.Table, years: Iterable[int], codes: Iterable[str], revision: str = "HS92") -> pa.Table:
    """Indicators with a nowcast that would flag everywhere if it were taken for BACI's."""
    reports = [(str(y), c, "RUS", "NLD", 10**6, 10**6) for y in years for c in codes]
    table = nowcast(annual=reconciled(reports, annual=True, revision=revision), risk=scores(RISK, years))
    more = nowcast_rows_for_indicators(table, {revision: 0})
    assert more.num_rows
    return INDICATORS.conform(pa.concat_tables([indicators, more]))


def test_named_methods_raise_nothing_from_a_nowcast() -> None:
    # C1, C2 and S1 flag in 2020 and 2021 on BACI; a nowcast of 2022 that flags too must neither count nor appear.
    world = [(y, K, "CHN", "NLD", 5000, 500) for y in (2020, 2021)]
    built = run(flows(world), catalogue([], [], {}), risk=RISK)
    more = extended(built.indicators, [2021, 2022], [K])
    flags, merged = build_flags(built.world, more.filter(pc.field("indicator") != "P2"), 0.0)
    assert flags.equals(built.flags)
    assert set(flags.column("year").to_pylist()) == {2020, 2021}
    assert merged.num_rows == more.num_rows


def test_no_other_reader_takes_a_nowcast_for_baci() -> None:
    built = chain_world()
    codes = sorted(set(built.tracing.tracing.column("code").to_pylist()))
    more = extended(built.indicators, [2020, 2021], codes)
    base = {
        "chain_nodes": built.exposure.chain_nodes, "chain_edges": built.exposure.chain_edges,
        "exposure": built.exposure.exposure, "flags": built.flags, "tracing": built.tracing.tracing,
    }  # fmt: skip
    with_it, without = {**base, "indicators": more}, {**base, "indicators": built.indicators}
    groups = sorted(set(built.exposure.chain_nodes.column("group").to_pylist()))
    assert [build_evidence(g, with_it) for g in groups] == [build_evidence(g, without) for g in groups]
    for year in (2020, 2021):
        assert plane_points(more, "NLD", year) == plane_points(built.indicators, "NLD", year)
    monitors = [
        build_crma_monitor(t["indicators"], built.flags, built.exposure.chain_nodes, thresholds())
        for t in (with_it, without)
    ]
    assert monitors[0].equals(monitors[1])
    # Bounds of a concentration are held against the suppliers of BACI's year only for BACI's rows.
    assert hhi_within_bounds(more, built.tracing.supply_mix).passed


def test_a_window_that_moves_on_is_no_change_of_a_year() -> None:
    built = chain_world()
    before = {"indicators": extended(built.indicators, [2021], [K]), "flags": built.flags}
    after = {"indicators": extended(built.indicators, [2021, 2022], [K, OTHER]), "flags": built.flags}
    assert build_changes(before, after).num_rows == 0
    # When BACI's year comes, it is a new year, though a nowcast of it was there.
    _, later = both_sides()
    arrived = later.filter((pc.field("focus") == "NLD") & (pc.field("year") == 2024))
    before["indicators"] = extended(built.indicators, [2024], [K])
    merged = INDICATORS.conform(pa.concat_tables([built.indicators, arrived]))
    found = build_changes(before, {"indicators": merged, "flags": built.flags})
    assert {r["kind"] for r in found.to_pylist()} == {"new_data"}
    assert one(found, what="year", year=2024)["after"] == "there"


# -- the splice ------------------------------------------------------------------------------------------------


def test_the_splice_by_hand() -> None:
    found = check(K, OTHER, ONE, limits=thresholds())
    assert set(found.column("year").to_pylist()) == {2024}
    row = one(found, indicator="M", measure="v")
    assert (row["codes"], row["only_baci"], row["only_nowcast"]) == (2, 1, 0)
    assert (row["median_ratio"], row["total_ratio"]) == (pytest.approx(1.05), pytest.approx(1.05))
    assert (row["worst_code"], row["worst_baci"], row["worst_nowcast"]) == (OTHER, 100.0, 110.0)
    row = one(found, indicator="C1", measure="v")
    # K: .52 and .505; OTHER: 1 and 1.
    assert row["median_difference"] == pytest.approx(-0.015 / 2)
    assert row["p90_difference"] == pytest.approx(0.9 * 0.015)
    assert (row["same_country_share"], row["same_side_share"], row["worst_code"]) == (0.5, 1.0, K)
    assert row["total_ratio"] is None
    # The USA has no score: G2 is .8 on both sides.
    assert one(found, indicator="G2", measure="v")["median_difference"] == pytest.approx(0.0)
    assert one(found, indicator="G3", measure="v")["same_side_share"] is None
    assert one(check(K), indicator="C1", measure="v")["same_side_share"] is None


def test_the_splice_tells_a_flag_that_turns() -> None:
    # C4a of the largest third country: .7 in BACI, .6 in the nowcast, cut-off .65.
    row = one(check(TURNS, limits=thresholds()), indicator="C4a", measure="v")
    assert (row["same_side_share"], row["same_country_share"]) == (0.0, 1.0)
    assert row["median_difference"] == pytest.approx(-0.1)


def test_equal_flows_splice_without_a_seam() -> None:
    for row in check(SAME, SAME_TOO, limits=thresholds()).to_pylist():
        assert (row["only_baci"], row["only_nowcast"]) == (0, 0)
        if row["codes"]:
            assert (row["median_difference"], row["p90_difference"]) == (0.0, 0.0)
            assert row["same_side_share"] in (1.0, None)
    ours, theirs = both_sides()
    pairs = splice_differences(ours, theirs).query("code == @SAME")
    assert len(pairs) == 18 + 20
    assert (pairs["baci"].fillna(-1) == pairs["nowcast"].fillna(-1)).all()


@pytest.mark.slow
def test_real_reports_of_2024_splice_onto_baci() -> None:
    """The fourteen codes that both hold, for the EU27: the nowcast would have said much the same before BACI did."""
    reports, pairs = real_reports(), baci(2024)
    codes = set(pairs["code"]) & set(reports.column("code").to_pylist())
    held = pairs[pairs["code"].isin(codes)]
    theirs = flows(
        (2024, r.code, r.exporter, r.importer, r.v, None if np.isnan(r.q) else r.q) for r in held.itertuples()
    )
    ours = nowcast(annual=reconcile(reports)[0], foci=("EU27",))
    indicators = run(theirs, catalogue([], [], {}), ("EU27",), risk=RISK).indicators
    found = {r["indicator"]: r for r in splice_check(ours, indicators, thresholds()).to_pylist() if r["measure"] == "v"}
    assert {found[i]["codes"] for i in ("M", "C1", "C2", "C4a", "S1")} == {14}
    assert abs(found["M"]["total_ratio"] - 1) < 0.10
    for indicator in ("C1", "C2", "C4a", "C5"):
        assert abs(found[indicator]["median_difference"]) < 0.05, indicator
        assert found[indicator]["p90_difference"] < 0.2, indicator
        assert found[indicator]["same_side_share"] > 0.8, indicator
    assert found["C1"]["same_country_share"] > 0.8
