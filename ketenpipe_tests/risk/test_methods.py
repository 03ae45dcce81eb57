"""Named methods: strict cut-offs, three values, persistence, churn, the proxy, and what a verdict turns on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from ketenpipe.risk.methods import build_flags
from ketenpipe.tables.registry import CHAIN_NODES, INDICATORS
from ketenpipe_tests.worlds import REVISION, SAID, chain_world, one, rows, thresholds

SENTINEL = thresholds().S1.sentinel
UP = 1 + 1e-6
MINIMUM = 1000.0
SPAN = (2018, 2019, 2020)
BASIS = {
    "M": ("v", "imports"), "C1": ("v", "imports"), "C2": ("v", "exports"), "C4a": ("v", "imports"),
    "C5": ("v", "imports"), "S1": ("v", "imports"), "S1b": ("v", "imports"), "C4b": ("q", "traced"),
    "C3": ("p", "observed"), "G2p": ("p", "observed"), "O1": ("q", "traced"), "G2": ("q", "traced"),
    "T": ("q", "traced"),
}  # fmt: skip
Figures = Mapping[str, Any]
Item = tuple[str, int, Figures]


def table(items: Iterable[Item], focus: str = "NLD") -> list[dict[str, Any]]:
    """Rows of indicators of HS6 codes: ``(code, year, {indicator: value or dict of columns})``."""
    out = []
    for code, year, figures in items:
        for name, given in figures.items():
            measure, basis = BASIS[name]
            columns = given if isinstance(given, dict) else {"value": given}
            row = {
                "focus": focus, "level": "hs6", "code": code, "hs_revision": REVISION, "group": None, "tier": 0,
                "year": year, "indicator": name.removesuffix("p") if name == "G2p" else name, "measure": measure,
                "basis": basis, "unit": "1", "method_version": "1",
                "method_value": columns.get("value"), "confidence": "high",
            }  # fmt: skip
            out.append(row | columns)
    return out


def flagged(
    items: Mapping[str, Iterable[Item]], *, minimum: float = 0.0, vintages: Mapping[int, str] | None = None
) -> tuple[pa.Table, pa.Table]:
    """Flags and indicators of items per focus."""
    world = SimpleNamespace(
        exposure=SimpleNamespace(chain_nodes=CHAIN_NODES.empty()),
        thresholds=thresholds(),
        wgi_vintage=dict(vintages or {}),
        vintage=lambda *_: "v",
    )
    made = [row for focus, part in items.items() for row in table(part, focus)]
    return build_flags(world, INDICATORS.conform(made), minimum)  # type: ignore[arg-type]


_ASKED: dict[tuple[str, tuple[int, ...]], list[tuple[str, list[Figures]]]] = {}


def cases(name: str, *figures: Figures, focus: str = "NLD", years: tuple[int, ...] = (2020,)) -> Callable[[str], Any]:
    """Register cases at import; all cases of a focus and span of years are run together when first asked for.

    Returns:
        ``verdicts(method)``: the row of each case in the last year.
    """
    _ASKED.setdefault((focus, years), []).append((name, list(figures)))

    def verdicts(method: str) -> list[dict[str, Any]]:
        by_code = {r["code"]: r for r in rows(_answers(focus, years), method=method, year=years[-1])}
        return [by_code[f"{name} {n}"] for n in range(len(figures))]

    return verdicts


@lru_cache
def _answers(focus: str, years: tuple[int, ...]) -> pa.Table:
    asked = _ASKED[focus, years]
    items = [(f"{name} {n}", y, f) for name, listed in asked for n, f in enumerate(listed) for y in years]
    return flagged({focus: items}, minimum=MINIMUM)[0]


HOLDS = {"M": 5000.0, "C1": 0.9, "C2": 0.9, "S1": 3.0}
FAILS = HOLDS | {"C1": 0.1}
UNION = {"M": 5000.0, "C1": 0.9, "C5": 0.9, "S1b": 2.0}


# -- cut-offs are strict -------------------------------------------------------------------------------------


geodep_edges = cases(
    "edge",
    *(HOLDS | {n: v} for n, limit in (("C1", 0.4), ("C2", 0.4), ("S1", 1.0)) for v in (limit, limit * UP)),
    years=SPAN,
)


def test_on_a_threshold_of_geodep_is_not_flagged() -> None:
    # Three years with the same figures: on the threshold never, just above it always.
    assert [r["flagged"] for r in geodep_edges("geodep")] == [False, True] * 3


union_edges = cases(
    "edge",
    *(UNION | {n: v} for n, limit in (("C1", 0.4), ("C5", 0.5), ("S1b", 1.0)) for v in (limit, limit * UP)),
    focus="EU27",
)


def test_on_a_threshold_of_the_commission_is_not_flagged() -> None:
    # One year is enough for this method (GeoDep cannot tell from one); and it is asked of no other focus.
    assert [r["flagged"] for r in union_edges("swd2021")] == [False, True] * 3
    assert rows(_answers("NLD", (2020,)), method="swd2021") == []


bands = cases("band", *({"M": 5000.0 if c else 0.0, "C1": c} for c in (0.15, 0.15 * UP, 0.25, 0.25 * UP, None)))


def test_the_bands_of_cbs_are_strict() -> None:
    found = bands("cbs")
    assert [r["band"] for r in found] == ["low", "moderate", "moderate", "high", None]
    assert [r["flagged"] for r in found] == [False, False, False, True, None]
    assert found[-1]["reason"] == "no_imports"


def production(c3: float, g2: float | None) -> Figures:
    return {"M": 5000.0, "C3": {"value": c3, "reason": "material: Ore"}, "G2p": {"value": g2}}


makers = cases(
    "maker", *(production(*c) for c in ((0.4, 0.9), (0.9, 0.5), (0.4 * UP, 0.5 * UP), (0.9, None), (0.3, None)))
)


def test_on_a_threshold_of_the_plane_of_production_is_not_flagged() -> None:
    assert [r["flagged"] for r in makers("tno")] == [False, False, True, None, False]


def plane(o1: float, g2: float | None, **columns: Any) -> dict[str, Any]:
    """Figures of the node test; ``high`` is that of O1."""
    high = columns.pop("high", o1)
    return {
        "M": 5000.0,
        "O1": {"value": o1, "low": o1, "high": high},
        "G2": {"value": g2, "low": g2, "high": g2},
        "T": {"value": None if g2 is None else float(o1 > 0.4 and g2 > 0.5), **columns},
    }


planes = cases(
    "plane", plane(0.4, 0.9), plane(0.9, 0.5), plane(0.4 * UP, 0.5 * UP), plane(0.4, None),
    plane(0.9, None, reason="no_governance_score"),
)  # fmt: skip


def test_the_node_test_is_strict_and_three_valued() -> None:
    # A concentrated supply without a score cannot be told; one that is not concentrated fails whatever its score.
    found = planes("node_test")
    assert [r["flagged"] for r in found] == [False, False, True, False, None]
    assert (found[-1]["indicated"], found[-1]["reason"]) == (None, "no_governance_score")


# -- S1 and its sentinel -------------------------------------------------------------------------------------

NO_EXPORTS = {"value": None, "method_value": SENTINEL, "reason": "no_exports"}
sentinels = cases(
    "sentinel",
    HOLDS | {"S1": NO_EXPORTS},
    {"M": 0.0, "C1": None, "C2": 0.9, "S1": {"value": None, "method_value": None}},
    years=SPAN,
)
union_sentinel = cases("sentinel", UNION | {"S1b": NO_EXPORTS}, focus="EU27")


def test_imports_without_exports_flag_by_the_sentinel_and_no_trade_does_not() -> None:
    # The value is null, the method's own column flags: GeoDep and the Commission count it. M = X = 0: no flag.
    found, nothing = sentinels("geodep")
    assert found["flagged"] is True
    assert (nothing["flagged"], nothing["reason"]) == (None, "window_incomplete")
    assert union_sentinel("swd2021")[0]["flagged"] is True


# -- persistence: all windows --------------------------------------------------------------------------------


def test_geodep_needs_two_of_three_and_says_when_it_cannot_tell() -> None:
    # y: all criteria hold; n: they do not; u: no imports (unknown); -: a year without data (unknown).
    # Flagged if two hold; null if the unknown years could make it two; else not flagged.
    figures = {"y": HOLDS, "n": FAILS, "u": {"M": 0.0, "C1": None, "C2": 0.9, "S1": None}}
    windows = [a + b + c for a in "ynu-" for b in "ynu-" for c in "ynu"]
    items = [(window, 2018 + k, figures[kind]) for window in windows for k, kind in enumerate(window) if kind != "-"]
    flags, _ = flagged({"NLD": items})
    for window in windows:
        found = one(flags, method="geodep", year=2020, code=window)
        sure = window.count("y")
        unknown = window.count("u") + window.count("-")
        expected = True if sure >= 2 else None if sure + unknown >= 2 else False
        assert found["flagged"] is expected, window
        assert found["reason"] == ("window_incomplete" if expected is None else None), window


half_known = cases("half", *(HOLDS | {"C1": c1, "C2": None} for c1 in (0.1, 0.9)), years=SPAN)


def test_one_known_false_decides_a_year_with_a_missing_figure() -> None:
    # C2 cannot be had, C1 fails: the year does not hold, whatever C2 is. C1 holds: the year is unknown.
    assert [r["flagged"] for r in half_known("geodep")] == [False, None]


# -- CRMA: which share decides -------------------------------------------------------------------------------

CRMA_GRADES = (
    (None, "high", True), (None, "medium", True), (None, "low", False), ("export_proxy", "high", False),
    ("export_proxy; small_or_precious", "low", False),
)  # fmt: skip
CRMA_SHARES = ((0.5, 0.8), (0.8, 0.5))
benchmarks = cases(
    "crma",
    *(
        {"M": 5000.0, "C4a": imports, "C4b": {"value": traced, "reason": reason, "confidence": confidence}}
        for imports, traced in CRMA_SHARES
        for reason, confidence, _ in CRMA_GRADES
    ),
)


def test_crma_decides_on_traced_supply_only_where_it_carries() -> None:
    # Where p is observed and confidence not low the traced share decides, else imports, marked as proxy.
    asked = [(*shares, carries) for shares in CRMA_SHARES for _, _, carries in CRMA_GRADES]
    for (imports, traced, carries), found in zip(asked, benchmarks("crma65"), strict=True):
        assert found["flagged"] is ((traced if carries else imports) > 0.65)
        assert found["reason"] == (None if carries else "proxy_direct_imports")
        assert "the other basis" in found["flips_on"]


crma_edges = cases(
    "crma edge",
    *({"M": 5000.0, "C4a": v} for v in (0.65, 0.65 * UP)),
    *({"M": 5000.0, "C4a": 0.1, "C4b": {"value": v, "reason": None, "confidence": "high"}} for v in (0.65, 0.65 * UP)),
)


def test_exactly_65_percent_does_not_exceed() -> None:
    assert [r["flagged"] for r in crma_edges("crma65")] == [False, True, False, True]


def test_crma_is_not_decided_on_a_producer_list() -> None:
    # METHOD 2, C4: on (b) "where p is observed", else on (a), marked proxy. A producer list is not a statistic.
    # said: NLD buys 80 from BEL and 20 from BRA; BEL passes on what it bought from CHN: C4a .2 (BRA), C4b .8 (CHN).
    held = chain_world()
    assert held.value("C4b", level="hs6", code=SAID, measure="q") == pytest.approx(0.8)
    found = held.flag("crma65", level="hs6", code=SAID)
    assert (found["flagged"], found["reason"]) == (False, "proxy_direct_imports")


# -- the proxy and small goods -------------------------------------------------------------------------------

proxies = cases("proxy", *(plane(o1, 0.9, reason="export_proxy") for o1 in (0.9, 0.1)))
smalls = cases("small", *(plane(o1, 0.9, reason="small_or_precious") for o1 in (0.1, 0.9)))


def test_the_proxy_indicates_and_neither_flags_nor_clears() -> None:
    assert [(r["flagged"], r["indicated"], r["reason"]) for r in proxies("node_test")] == [
        (None, True, "export_proxy"),
        (None, False, "export_proxy"),
    ]


def test_small_or_precious_clears_nothing_and_may_still_flag() -> None:
    cleared, found = smalls("node_test")
    assert (cleared["flagged"], cleared["indicated"], cleared["reason"]) == (None, False, "small_or_precious")
    assert (found["flagged"], found["indicated"]) == (True, None)


# name -> node_test, indirect_specific, indirect_global as (flagged, indicated), of the groups of chain_world
GROUPS: dict[str, tuple[tuple[bool | None, bool | None], ...]] = {
    "specific": ((False, None), (True, None)),
    "just_heavy": ((False, None), (True, None)),
    "too_light": ((False, None), (False, None)),
    "far": ((False, None), (False, None)),
    "direct": ((True, None), (False, None), (False, None)),
    "world": ((False, None), (False, None), (True, None)),
    "world_soft": ((False, None), (False, None), (False, None)),
    "alone": ((False, None), (False, None), (False, None)),
    "behind_dashed": ((False, None), (True, None)),
    "no_intensity": ((False, None), (None, None)),
    "recalled": ((False, None), (None, None)),
    "only_dashed": ((False, None), (None, None), (None, None)),
    "no_statistic": ((False, None), (None, None), (None, None)),
    "proxied": ((None, False), (None, True)),
    "proxied_risky": ((None, True), (None, False)),
    "proxied_upstream": ((False, None), (None, True)),
    "little": ((None, False), (None, True)),
    "little_risky": ((True, None), (False, None)),
}


@pytest.mark.parametrize("group", GROUPS)
def test_verdicts_on_chains(group: str) -> None:
    # As the figures (test_indicators), but where a proxy or a small good stands on the way: null, and an indication.
    flags = chain_world().flags
    for method, (flag, indicated) in zip(
        ("node_test", "indirect_specific", "indirect_global"), GROUPS[group], strict=False
    ):
        found = one(flags, level="group", group=group, method=method)
        assert (found["flagged"], found["indicated"]) == (flag, indicated), method
        if flag is None:
            assert found["reason"], method


@pytest.mark.parametrize("group", ["unscored", "unscored_upstream"])
@pytest.mark.parametrize("method", ["indirect_specific", "indirect_global"])
def test_a_verdict_that_cannot_be_told_is_there_as_null(group: str, method: str) -> None:
    # No score on the way: the row exists, is null and says why (a missing row reads as "not asked").
    found = rows(chain_world().flags, level="group", group=group, method=method)
    assert [r["flagged"] for r in found] == [None]
    assert found[0]["reason"]


def test_every_null_verdict_has_a_reason_and_only_null_ones_an_indication() -> None:
    for r in chain_world().flags.to_pylist():
        assert (r["flagged"] is not None) or r["reason"], r
        assert r["flagged"] is None or r["indicated"] is None, r


# -- the minimum value ---------------------------------------------------------------------------------------


modest = cases("modest", *({"M": m, "C1": 0.9} for m in (MINIMUM - 1, MINIMUM)))


def test_a_minimum_value_marks_and_never_enters_a_method() -> None:
    # 999 thousand USD against 1000: marked, the flag stands. 1000 is not below.
    assert [(r["flagged"], r["below_minimum"]) for r in modest("cbs")] == [(True, True), (True, False)]


# -- what a verdict turns on ---------------------------------------------------------------------------------

shifted = cases("shift", *({"M": 5000.0, "C1": c} for c in (0.26, 0.24, 0.9)))
raised = cases("raised", plane(0.2, 0.9, high=0.8))


def test_thresholds_ten_percent_up_and_down() -> None:
    # C1 = .26: above .25 and above .225, not above .275: two alternatives, one agrees.
    high, low, sure = shifted("cbs")
    assert (high["alternatives"], high["agreement"], high["flips_on"]) == (2, 0.5, "thresholds +10%")
    assert (low["flagged"], low["flips_on"]) == (False, "thresholds -10%")
    assert (sure["agreement"], sure["flips_on"]) == (1.0, None)


def test_unknown_origin_on_the_top_country_is_an_alternative_of_the_node_test() -> None:
    (found,) = raised("node_test")
    assert (found["flagged"], found["flips_on"]) == (False, "unknown origin on the top country")


def test_neighbouring_years_are_alternatives_but_not_across_a_wgi_break() -> None:
    # 2020 flags, 2021 does not. In one edition each turns on the other; across a break neither is compared.
    # A method without governance is compared all the same.
    items = {"NLD": [("100001", 2020, plane(0.9, 0.9) | {"C1": 0.9}), ("100001", 2021, plane(0.1, 0.9) | {"C1": 0.1})]}
    same, _ = flagged(items, vintages={2020: "2024", 2021: "2024"})
    assert one(same, method="node_test", year=2020)["flips_on"] == "the year after"
    assert one(same, method="node_test", year=2021)["flips_on"] == "the year before"
    broken, _ = flagged(items, vintages={2020: "2024", 2021: "2025"})
    for year in (2020, 2021):
        found = one(broken, method="node_test", year=year)
        assert (found["flips_on"], found["alternatives"]) == (None, 3)
    assert one(broken, method="cbs", year=2020)["flips_on"] == "the year after"


DRAWN = np.round(np.array([0.4, 0.5, 1.0]) * np.random.default_rng(5).uniform(0.85, 1.3, (200, 3)), 6).tolist()
near = cases("near", *({"M": 5000.0, "C1": a, "C5": b, "S1b": c} for a, b, c in DRAWN), focus="EU27")


def test_agreement_is_the_share_of_alternatives_that_say_the_same() -> None:
    # 200 random cases near the cut-offs, recomputed one by one.
    turned = 0
    for (c1, c5, s1b), found in zip(DRAWN, near("swd2021"), strict=True):
        now, less, more = (c1 > 0.4 * s and c5 > 0.5 * s and s1b > 1.0 * s for s in (1.0, 0.9, 1.1))
        assert found["flagged"] is now
        assert found["agreement"] == pytest.approx(((less is now) + (more is now)) / 2)
        turned += less is not more
    assert turned > 20


# -- churn (P2) ----------------------------------------------------------------------------------------------


def churn(
    sets: Mapping[str, Mapping[int, Iterable[str]]], vintages: Mapping[int, str] | None = None, method: str = "cbs"
) -> dict[str, dict[int, Any]]:
    """P2 by focus and year; ``sets`` names the flagged codes a..e of each year, the others are there, not flagged."""
    items: dict[str, list[Item]] = {
        focus: [
            (f"10000{k}", year, plane(0.9 if n in names else 0.1, 0.9) | {"C1": 0.9 if n in names else 0.1})
            for year, names in years.items()
            for k, n in enumerate("abcde")
        ]
        for focus, years in sets.items()
    }
    _, indicators = flagged(items, vintages=vintages)
    out: dict[str, dict[int, Any]] = {}
    for r in rows(indicators, indicator="P2", code=method):
        out.setdefault(r["focus"], {})[r["year"]] = (r["value"], r["reason"])
    return out


BY_HAND = {2018: "abcd", 2019: "abe", 2020: "", 2021: "a", 2023: "a"}
PAIRS = [[{n for n, u in zip("abcde", row, strict=True) if u < 0.4} for row in pair]
         for pair in np.random.default_rng(2).random((40, 2, 5))]  # fmt: skip


@lru_cache
def churned() -> dict[str, dict[int, Any]]:
    """The sets by hand and forty random pairs, each seen by a focus of its own, in one run."""
    return churn({"NLD": BY_HAND} | {f"F{k}": {2019: before, 2020: now} for k, (before, now) in enumerate(PAIRS)})


def test_churn_by_hand() -> None:
    # {a,b,c,d} -> {a,b,e}: 1 - 2/4 = .5; what is new (e) does not count. -> {} : 1. From nothing: null. A gap: no row.
    assert churned()["NLD"] == {
        2019: (pytest.approx(0.5), None),
        2020: (pytest.approx(1.0), None),
        2021: (None, "previous_set_empty"),
    }


def test_churn_stops_at_a_change_of_wgi_edition_for_methods_on_governance() -> None:
    years = {"NLD": {2019: "ab", 2020: "a", 2021: "a"}}
    vintages = {2019: "2024", 2020: "2025", 2021: "2025"}
    assert churn(years, vintages, "node_test")["NLD"] == {2020: (None, "wgi_vintage"), 2021: (0.0, None)}
    assert churn(years, vintages, "cbs")["NLD"][2020] == (pytest.approx(0.5), None)


def test_churn_is_the_share_that_left() -> None:
    # |before - now| / |before|; null from an empty set.
    for k, (before, now) in enumerate(PAIRS):
        expected = (pytest.approx(len(before - now) / len(before)), None) if before else (None, "previous_set_empty")
        assert churned()[f"F{k}"][2020] == expected
    assert any(not before for before, _ in PAIRS)


# -- many years and tables -----------------------------------------------------------------------------------


def histories(seed: int) -> pa.Table:
    """Items with figures about the cut-offs, some lacking, in years with gaps; all levels hs6."""
    chance = np.random.default_rng(seed)
    items: dict[str, list[Item]] = {"NLD": [], "EU27": []}
    for made in items.values():
        for code in range(6):
            for year in range(2015, 2023):
                if chance.random() < 0.25:
                    continue
                drawn: Figures = {
                    name: float(chance.choice([low, high]))
                    for name, low, high in (
                        ("M", 0.0, 5000.0), ("C1", 0.38, 0.9), ("C2", 0.3, 0.42), ("S1", 0.95, 2.0), ("C5", 0.4, 0.6),
                        ("S1b", 0.5, 2.0), ("C4a", 0.6, 0.7), ("C4b", 0.6, 0.7), ("O1", 0.38, 0.9), ("G2", 0.46, 0.8),
                        ("C3", 0.3, 0.5), ("G2p", 0.4, 0.6), ("T", 0.0, 1.0),
                    )
                    if chance.random() < 0.85
                }  # fmt: skip
                noted = {
                    n: {"value": v, "reason": str(chance.choice(["", "export_proxy", "small_or_precious"])) or None}
                    if n in ("T", "C4b")
                    else v
                    for n, v in drawn.items()
                }
                made.append((f"c{code}", year, noted))
    return INDICATORS.conform([row for focus, part in items.items() for row in table(part, focus)])


VINTAGES = {y: "old" if y < 2019 else "new" for y in range(2015, 2022)}


def judged(indicators: pa.Table) -> tuple[pa.Table, pa.Table]:
    world = SimpleNamespace(
        exposure=SimpleNamespace(chain_nodes=CHAIN_NODES.empty()), thresholds=thresholds(), wgi_vintage=VINTAGES,
        vintage=lambda *_: "v",
    )  # fmt: skip
    return build_flags(world, indicators, MINIMUM)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(4))
def test_neighbours_agreement_and_churn_follow_from_the_verdicts(seed: int) -> None:
    # Told from the flags alone: the verdicts of a method, those of the years beside, and its sets.
    made = histories(seed)
    flags, indicators = judged(made)
    held = {(r["focus"], r["code"], r["method"], r["year"]): r for r in flags.to_pylist()}
    assert len(held) > 200

    def raw(key: tuple[str, str, str, int]) -> bool | None:
        row = held.get(key)
        return None if row is None else row["indicated"] if row["flagged"] is None else row["flagged"]

    turned = 0
    for (focus, code, method, year), row in held.items():
        now, beside = raw((focus, code, method, year)), {}
        for name, step in (("the year before", -1), ("the year after", 1)):
            other = raw((focus, code, method, year + step))
            broken = VINTAGES.get(year) is None or VINTAGES.get(year) != VINTAGES.get(year + step)
            beside[name] = None if broken and method in ("tno", "node_test") else other
        listed = set((row["flips_on"] or "").split("; "))
        for name, other in beside.items():
            flips = now is not None and other is not None and now != other
            assert (name in listed) == flips, (focus, code, method, year)
            turned += flips
        if now is None:
            assert (row["alternatives"], row["agreement"], row["flips_on"]) == (0, None, None)
        elif row["alternatives"]:
            flipped = len(listed - {""})
            assert row["agreement"] == pytest.approx(1 - flipped / row["alternatives"])
        figure = rows(made, focus=focus, code=code, year=year, indicator="M")
        assert row["below_minimum"] == (figure[0]["value"] < MINIMUM if figure else None)
    assert turned > 20

    churned = {(r["focus"], r["code"], r["year"]): r for r in rows(indicators, indicator="P2")}
    for (focus, method), years in _sets(held).items():
        for year, (now_set, told) in years.items():
            row = churned.pop((focus, method, year), None)
            if year - 1 not in years:
                assert row is None
                continue
            assert row is not None
            before, told_before = years[year - 1]
            if method in ("tno", "node_test") and VINTAGES.get(year) != VINTAGES.get(year - 1):
                expected: tuple[float | None, str | None] = (None, "wgi_vintage")
            elif not told or not told_before:
                expected = (None, "window_incomplete")
            elif not before:
                expected = (None, "previous_set_empty")
            else:
                expected = (pytest.approx(1 - len(before & now_set) / len(before)), None)
            assert (row["value"], row["reason"]) == expected
    assert not churned


def _sets(held: Mapping[tuple[str, str, str, int], Any]) -> dict[tuple[str, str], dict[int, tuple[set[str], int]]]:
    out: dict[tuple[str, str], dict[int, tuple[set[str], int]]] = {}
    for (focus, code, method, year), row in held.items():
        years = out.setdefault((focus, method), {})
        flagged_codes, told = years.get(year, (set(), 0))
        if row["flagged"]:
            flagged_codes = flagged_codes | {code}
        years[year] = (flagged_codes, told + (row["flagged"] is not None))
    return out


def test_verdicts_do_not_depend_on_the_other_items() -> None:
    made = histories(1)
    whole = judged(made)[0]
    for code in ("c0", "c3"):
        alone = judged(made.filter(pc.field("code") == code))[0]
        assert alone.to_pylist() == whole.filter(pc.field("code") == code).to_pylist()
