"""Each verdict under other inputs: what every alternative changes, which verdicts it is about, and against what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ketenpipe.chain.catalogue import Reference
from ketenpipe.chain.lookthrough import TracedYears
from ketenpipe.chain.tracing import Tracing
from ketenpipe.errors import WrongUse
from ketenpipe.risk.alternatives import (
    Inputs,
    build_alternatives,
    exporters_plane,
    mean_flows,
    newest_years,
    on_direct_mix,
    overridden,
    scaled_intensities,
    shifted_risk,
    swapped_measures,
)
from ketenpipe.risk.facts import FACT_COLUMNS
from ketenpipe.risk.world import Vintages, catalogue_codes, wgi_vintages
from ketenpipe.tables.registry import ALTERNATIVES, BACI_FLOWS, COUNTRY_RISK, INDICATORS
from ketenpipe_tests.worlds import (
    Run,
    catalogue,
    edge,
    essential,
    flows,
    link,
    mass,
    mining,
    node,
    one,
    rows,
    run,
    scores,
    thresholds,
)

SCORES = {"CHN": 0.8, "BRA": 0.6, "USA": 0.2, "DEU": 0.1, "BEL": 0.1, "NLD": 0.1, "FRA": 0.15, "RUS": 0.9}
CODE, INPUT, OTHER = "260111", "260112", "260199"


def inputs_of(
    table: pa.Table,
    reference: Reference,
    foci: tuple[str, ...] = ("NLD",),
    *,
    statistics: pa.Table | None = None,
    risk: pa.Table | Mapping[str, float | None] | None = None,
    error: float = 0.5,
    whole: bool = True,
    **more: Any,
) -> tuple[Inputs, Run]:
    """What the alternatives read, as a run leaves it."""
    years = sorted(set(table.column("year").to_pylist()))
    scored = risk if isinstance(risk, pa.Table) else scores(SCORES if risk is None else risk, years)
    found = run(table, reference, foci, statistics=statistics, risk=scored)
    releases = {(r["hs_revision"], r["year"]): r["release"] for r in table.to_pylist()}
    figures = found.indicators.select(FACT_COLUMNS)

    def of(year: int, codes: Any) -> pa.Table:
        part = table.filter(pc.field("year") == year)
        return part if codes is None else part.filter(pc.field("code").isin(pa.array(sorted(codes), pa.string())))

    def supply(year: int) -> tuple[pa.Table, pa.Table]:
        parts = (found.tracing.tracing, found.tracing.supply_mix)
        first, second = (part.filter(pc.field("year") == year) for part in parts)
        return first, second

    codes = pa.array(sorted(catalogue_codes(reference)), pa.string())
    parts = ("production", "origin_mix", "tracing", "supply_mix")
    catalogued = Tracing(*(getattr(found.tracing, part).filter(pc.field("code").isin(codes)) for part in parts))
    given_inputs = Inputs(
        reference=reference,
        foci=foci,
        thresholds=thresholds(),
        country_risk=scored,
        mining=statistics,
        depth=2,
        minimum_import_kusd=0.0,
        traced=TracedYears.within(catalogued),
        vintages=Vintages(releases, wgi_vintages(scored)),
        flows=of,
        products=lambda year: figures.filter((pc.field("year") == year) & (pc.field("level") == "hs6")),
        chain_indicators=figures.filter(pc.field("level").isin(["node", "group"])),
        chain_nodes=found.exposure.chain_nodes,
        assumed_error=error,
        whole=supply if whole else None,
        **more,
    )
    return given_inputs, found


def alternatives(table: pa.Table, reference: Reference, *args: Any, **more: Any) -> pa.Table:
    return build_alternatives(inputs_of(table, reference, *args, **more)[0])


# -- pieces --------------------------------------------------------------------------------------------------


def test_the_newest_year_of_each_revision() -> None:
    held = [("HS92", 2022), ("HS92", 2024), ("HS92", 2023), ("HS17", 2024), ("HS22", 2023)]
    assert newest_years(held) == {2023: ("HS22",), 2024: ("HS17", "HS92")}
    assert newest_years([]) == {}


def test_mean_flows_by_hand() -> None:
    # CHN: (10 + 20 + 33)/3 = 21; USA in one year only: 9/3 = 3; FRA null and 6: mass 6/3 = 2; DEU has no mass at all.
    table = flows(
        [
            (2018, CODE, "CHN", "NLD", 10, 1.0), (2019, CODE, "CHN", "NLD", 20, 2.0),
            (2020, CODE, "CHN", "NLD", 33, 6.0), (2019, CODE, "USA", "NLD", 9, 3.0),
            (2018, CODE, "FRA", "NLD", 3, None), (2020, CODE, "FRA", "NLD", 3, 6.0),
            (2020, CODE, "DEU", "NLD", 1, None),
        ]
    )  # fmt: skip
    years = [table.filter(pc.field("year") == y) for y in (2018, 2019, 2020)]
    found = {r["exporter"]: (float(r["value_kusd"]), r["tonnes"]) for r in mean_flows(years, 2020).to_pylist()}
    assert found == {"CHN": (21.0, 3.0), "USA": (3.0, 1.0), "FRA": (2.0, 2.0), "DEU": (0.333, None)}
    assert mean_flows(years, 2020).schema == BACI_FLOWS.schema()
    assert set(mean_flows(years, 2020).column("year").to_pylist()) == {2020}


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=4))
def test_the_mean_of_equal_years_is_the_year(amounts: list[int]) -> None:
    made = [(2020, CODE, f"AA{k}", "NLD", a, float(a)) for k, a in enumerate(amounts)]
    table = flows(made)
    assert mean_flows([table, table, table], 2020).equals(table)


def errors(*given_rows: tuple[str, float | None, float | None]) -> pa.Table:
    names = ("country", "estimate", "standard_error")
    return COUNTRY_RISK.conform(
        [
            dict(zip(names, r, strict=True), year=2020, dimension="PV", vintage="x",
                 risk=None if r[1] is None else min(max((2.5 - r[1]) / 5, 0), 1))
            for r in given_rows
        ]
    )  # fmt: skip


def test_a_standard_error_up_and_down_published_or_assumed() -> None:
    # NLD: estimate 0 with .5 -> .5 -+ .1; CHN: -1 without one, 0.25 assumed -> .7 -+ .05; BEL: 2.4, .5: clipped at 0.
    table = errors(("NLD", 0.0, 0.5), ("CHN", -1.0, None), ("BEL", 2.4, 0.5), ("PRK", -2.4, 1.0), ("TWN", None, None))
    up, down = (shifted_risk(table, sign, 0.25) for sign in (1.0, -1.0))
    assert [one(up, country=c)["risk"] for c in ("NLD", "CHN", "BEL", "PRK")] == pytest.approx([0.6, 0.75, 0.12, 1.0])
    assert [one(down, country=c)["risk"] for c in ("NLD", "CHN", "BEL", "PRK")] == pytest.approx([0.4, 0.65, 0.0, 0.78])
    assert one(up, country="TWN")["risk"] is None
    assert one(up, country="CHN")["estimate"] == pytest.approx(-1.25)
    assert shifted_risk(table.drop_columns(["standard_error"]), 1.0, 0.25).column("risk").null_count == 1


def test_only_intensities_of_edges_that_are_not_essential_are_scaled_and_capped() -> None:
    edges = [
        edge("a", "b", 0.5),
        edge("a", "c", 0.8),
        essential("a", "d"),
        edge("a", "e"),
        edge("a", "f", 0.4, essential=True),
    ]
    reference = catalogue([node(n, f"30000{k}") for k, n in enumerate("abcdef")], edges)
    assert [e.intensity for e in scaled_intensities(reference, 1.5).edges] == [0.75, 1.0, None, None, 0.4]
    assert [e.intensity for e in scaled_intensities(reference, 0.5).edges] == [0.25, 0.4, None, None, 0.4]


def test_the_governance_of_exporters() -> None:
    table = flows(
        [
            (2020, CODE, "CHN", "NLD", 300, 1.0), (2020, CODE, "DEU", "FRA", 500, 1.0),
            (2020, CODE, "DEU", "USA", 100, 1.0), (2020, CODE, "XXX", "NLD", 900, 1.0),
        ]
    )  # fmt: skip
    risk = {"CHN": 0.8, "DEU": 0.1}
    # all: (300 x .8 + 600 x .1)/900; without what DEU sells to FRA: (240 + 10)/400; XXX has no score.
    assert exporters_plane(table, frozenset(), risk) == pytest.approx(1 / 3)
    assert exporters_plane(table, frozenset({"DEU", "FRA"}), risk) == pytest.approx(0.625)
    assert exporters_plane(table, frozenset(), {}) is None


def figures(*given_rows: dict[str, Any]) -> pa.Table:
    base = {"focus": "NLD", "level": "hs6", "code": CODE, "hs_revision": "HS92", "tier": 0, "year": 2020,
            "unit": "x", "method_version": "1"}  # fmt: skip
    return INDICATORS.conform([base | r for r in given_rows]).select(FACT_COLUMNS)


def figure(indicator: str, measure: str, basis: str, value: float | None, **more: Any) -> dict[str, Any]:
    return {"indicator": indicator, "measure": measure, "basis": basis, "value": value, **more}


def test_new_rows_replace_those_of_the_same_key_and_others_stay() -> None:
    base = figures(
        figure("C1", "v", "imports", 0.1), figure("C1", "q", "imports", 0.2), figure("O1", "q", "traced", 0.3)
    )
    new = figures(figure("C1", "q", "imports", 0.9), figure("T", "q", "traced", 1.0))
    found = overridden(base, new)
    assert [(r["indicator"], r["measure"], r["value"]) for r in found.to_pylist()] == [
        ("C1", "q", 0.9), ("C1", "v", 0.1), ("O1", "q", 0.3), ("T", "q", 1.0),
    ]  # fmt: skip
    assert overridden(base).num_rows == 3
    assert overridden(base.slice(0, 0)).num_rows == 0


def test_measures_change_places_and_production_stays() -> None:
    base = figures(
        figure("C1", "v", "imports", 0.1), figure("C1", "q", "imports", 0.2), figure("C3", "p", "observed", 0.3)
    )
    assert swapped_measures(base).column("measure").to_pylist() == [
        {"q": "v", "v": "q", "p": "p"}[m] for m in base.column("measure").to_pylist()
    ]


def test_the_direct_mix_takes_the_place_of_the_traced_one_at_tier_0() -> None:
    table = figures(
        figure("C1", "q", "imports", 0.7), figure("C1", "v", "imports", 0.1), figure("G2", "q", "imports", 0.6),
        figure("C4a", "v", "imports", 0.9), figure("C4a", "q", "imports", 0.8),
        figure("O1", "q", "traced", 0.2, high=0.3, reason="export_proxy"), figure("G2", "q", "traced", 0.1),
        figure("C4b", "q", "traced", 0.5, reason="export_proxy", confidence="low"),
        figure("T", "q", "traced", 0.0, reason="export_proxy; small_or_precious"),
        figure("O1", "q", "traced", 0.4, level="node", code="n", group="g", tier=1),
        figure("C1", "q", "imports", 0.5, level="node", code="n", group="g", tier=1),
    )  # fmt: skip
    found = {(r["indicator"], r["tier"]): r for r in on_direct_mix(table).to_pylist()}
    assert {k: r["value"] for k, r in found.items()} == {
        ("O1", 0): 0.7, ("G2", 0): 0.6, ("C4b", 0): 0.9, ("T", 0): 0.0,
    }  # fmt: skip
    assert (found["O1", 0]["high"], found["C4b", 0]["reason"], found["C4b", 0]["confidence"]) == (0.7, None, "high")
    assert found["T", 0]["reason"] == "small_or_precious"


# -- one alternative at a time -------------------------------------------------------------------------------

YEARS = (2018, 2019, 2020)
(
    HUB, WINDOW, STEADY, VALUED, BY_MASS, EXPORTED, INTEGRATED, RAISED, CAR, MAGNET, WHOLE, MOTOR, SENSOR, MIXED, DOUBT,
    SURE, OUTSIDE,
) = (f"{260100 + n}" for n in range(17))  # fmt: skip
ERRORS = {"IND": 0.2}
RISKS = {**SCORES, "ZAF": 0.55, "IND": 0.55}


@lru_cache
def world() -> pa.Table:
    """The alternatives of a world in which each product shows one case, for NLD in 2020.

    * hub: all CHN's, bought through BEL; steady: made and traded alike in every year, the production just pays for it
    * window, and outside the catalogue: from DEU, then USA, then CHN; the export proxy
    * valued: by value DEU's, by mass half CHN's; by_mass: GeoDep holds in two years by value and in one by mass
    * exported: BRA makes most of it and exports none; integrated: CHN makes 1,000, buys 500 and sells 400
    * raised: CHN is said to make 500 and exports 1,000
    * car: of DEU and USA; its magnet is all CHN's. Groups light (intensity .08), hard (essential), unknown (none)
    * whole: of DEU; motor (essential) of CHN, sensor (.5) of USA; mixed goes into both, of BRA and of RUS
    * doubt, sure: all of a country of risk .55, without a published error and with one of .2 points
    """
    made: list[Any] = []
    for year, country in zip(YEARS, ("DEU", "USA", "CHN"), strict=True):
        made += mass(year, HUB, ("CHN", "BEL", 1000), ("BEL", "NLD", 1000))
        made += [*mass(year, WINDOW, (country, "NLD", 500)), *mass(year, OUTSIDE, (country, "NLD", 500))]
        made += mass(year, STEADY, ("CHN", "BEL", 300), ("CHN", "NLD", 300))
        made += [(year, VALUED, "DEU", "NLD", 9999, 500.0), (year, VALUED, "CHN", "NLD", 1, 500.0)]
        made += mass(year, EXPORTED, ("USA", "NLD", 600), ("CHN", "NLD", 400))
        made += mass(year, INTEGRATED, ("USA", "CHN", 500), ("CHN", "NLD", 400))
        made += mass(year, RAISED, ("CHN", "NLD", 1000))
        made += mass(year, CAR, ("DEU", "NLD", 500), ("USA", "NLD", 500))
        made += mass(year, MAGNET, ("CHN", "DEU", 300), ("CHN", "USA", 300))
        made += [*mass(year, WHOLE, ("DEU", "NLD", 1000)), *mass(year, MOTOR, ("CHN", "DEU", 300))]
        made += [*mass(year, SENSOR, ("USA", "DEU", 300)), *mass(year, MIXED, ("BRA", "CHN", 300), ("RUS", "USA", 300))]
        made += [*mass(year, DOUBT, ("ZAF", "NLD", 500)), *mass(year, SURE, ("IND", "NLD", 500))]
    four = ("CHN", "USA", "BRA", "DEU")
    made += mass(2018, BY_MASS, *((c, "NLD", 250.0) for c in four))
    made += [(2019, BY_MASS, c, "NLD", 9997 if c == "CHN" else 1, 250.0) for c in four]
    made += [(2020, BY_MASS, "CHN", "NLD", 5000, 200.0)]
    names = {
        "hub": HUB, "window": WINDOW, "steady": STEADY, "valued": VALUED, "by_mass": BY_MASS, "exported": EXPORTED,
        "integrated": INTEGRATED, "raised": RAISED, "car": CAR, "magnet": MAGNET, "whole": WHOLE, "motor": MOTOR,
        "sensor": SENSOR, "mixed": MIXED, "doubt": DOUBT, "sure": SURE,
    }  # fmt: skip
    makers: dict[str, dict[str, float]] = {
        "hub": {"CHN": 5000}, "steady": {"CHN": 600}, "exported": {"CHN": 1000, "BRA": 9000},
        "integrated": {"CHN": 1000, "USA": 500}, "raised": {"CHN": 500}, "car": {"DEU": 900, "USA": 900},
        "magnet": {"CHN": 900}, "whole": {"DEU": 1000}, "motor": {"CHN": 900}, "sensor": {"USA": 900},
        "mixed": {"BRA": 900, "RUS": 900}, "doubt": {"ZAF": 900}, "sure": {"IND": 900}, "Mine": {"CHN": 10},
    }  # fmt: skip
    reference = catalogue(
        [*(node(n, c) for n, c in names.items()), node("mine", material="Mine", stage="extraction")],
        [
            essential("exported", "mine", "exported"),
            edge("car", "magnet", 0.08, group="light"), edge("car", "magnet", 0.08, essential=True, group="hard"),
            edge("car", "magnet", group="unknown"),
            essential("whole", "motor", "whole"), edge("whole", "sensor", 0.5, group="whole"),
            essential("motor", "mixed", "whole"), essential("sensor", "mixed", "whole"),
        ],
        {**{n: n for n in names}, "light": "car", "hard": "car", "unknown": "car"},
        links=[link(names[n], n) for n in makers if n in names],
    )  # fmt: skip
    statistics = mining([(m, c, y, float(t)) for m, of in makers.items() for c, t in of.items() for y in YEARS])
    risk = scores(RISKS, YEARS).to_pandas()
    risk["standard_error"] = risk["country"].map(ERRORS)
    return alternatives(flows(made), reference, statistics=statistics, risk=COUNTRY_RISK.conform(risk))


def of_code(code: str, name: str, method: str, alternative: str) -> list[dict[str, Any]]:
    """The rows of a product at the levels hs6, node and group."""
    found = [
        one(world(), level=level, code=at, method=method, alternative=alternative, **group)
        for level, at, group in (("hs6", code, {}), ("node", name, {"group": name}), ("group", name, {}))
    ]
    return found


def test_a_hub_hides_the_origin_from_the_direct_mix() -> None:
    for row in of_code(HUB, "hub", "node_test", "direct_instead_of_traced"):
        # Traced: all CHN, O1 1 and G2 .8; direct: all BEL, O1 1 and G2 .1. What fails decides what failed would have to
        # change; of the two that hold as published G2 stands lower against its limit.
        assert (row["base_flagged"], row["flagged"], row["agrees"], row["counted"]) == (True, False, False, True)
        assert (row["indicator"], row["base_value"], row["value"], row["threshold"]) == (
            "G2",
            0.8,
            pytest.approx(0.1),
            0.5,
        )
        assert row["node"] is None
    for law in of_code(HUB, "hub", "crma65", "direct_instead_of_traced"):
        # C4b: CHN 1; direct: nobody outside the EU27, 0. Table flags counts this one already.
        assert (law["base_flagged"], law["flagged"], law["agrees"], law["counted"]) == (True, False, False, False)
        assert (law["indicator"], law["base_value"], law["value"], law["threshold"]) == ("C4b", 1.0, 0.0, 0.65)
    assert world().schema == ALTERNATIVES.schema()


def test_direct_in_the_place_of_traced_is_for_the_product_itself() -> None:
    found = rows(world(), alternative="direct_instead_of_traced")
    assert {r["tier"] for r in found} == {0}
    assert {r["method"] for r in found} == {"node_test", "crma65"}
    # Where crma65 is decided on imports as published, they are no alternative.
    assert not [r for r in found if r["code"] == WINDOW and r["method"] == "crma65"]


def test_what_an_alternative_leaves_as_it_was_is_not_listed() -> None:
    found: dict[str, set[str]] = {}
    for row in rows(world(), level="group"):
        found.setdefault(row["code"], set()).add(row["alternative"])
    assert "three_year_window" not in found["steady"] | found["hub"]
    assert "three_year_window" in found["window"]
    assert "other_measure" not in found["hub"]
    assert {c for c, names in found.items() if "without_patches" in names} == {"raised", "exported"}
    assert {c for c, names in found.items() if "intensities_halved" in names} == {"light", "whole"}
    assert "other_revision" not in set().union(*found.values())


def test_every_score_one_standard_error_lower_and_higher() -> None:
    # doubt: .55, assumed error .5 points = .1 of risk: .45 does not flag, .65 does. sure: .2 points = .04: .51 flags.
    for method in ("node_test", "tno"):
        lower, higher = (of_code(DOUBT, "doubt", method, f"governance_{sign}_se") for sign in ("minus", "plus"))
        for low, high in zip(lower, higher, strict=True):
            assert (low["base_flagged"], low["flagged"], low["agrees"]) == (True, False, False)
            assert (high["flagged"], high["agrees"]) == (True, True)
            assert (low["value"], low["base_value"], high["value"]) == pytest.approx((0.45, 0.55, 0.65))
            assert low["reason"] == high["reason"] == "assumed_error"
        for row in of_code(SURE, "sure", method, "governance_minus_se"):
            assert (row["flagged"], row["agrees"], row["value"]) == (True, True, pytest.approx(0.51))
            assert row["counted"] is True


def test_flows_of_three_years_turn_a_verdict_of_one() -> None:
    # 2020: all from CHN, C4a 1 and C1 1; over 2018 to 2020 a third each from DEU, USA, CHN: C4a 1/3, C1 1/3.
    for law in of_code(WINDOW, "window", "crma65", "three_year_window"):
        assert (law["base_flagged"], law["flagged"], law["agrees"], law["counted"]) == (True, False, False, True)
        assert (law["indicator"], law["base_value"], law["value"]) == ("C4a", 1.0, pytest.approx(1 / 3))
    for bands in of_code(WINDOW, "window", "cbs", "three_year_window"):
        assert (bands["flagged"], bands["agrees"], bands["value"]) == (True, True, pytest.approx(1 / 3))
    for test in of_code(WINDOW, "window", "node_test", "three_year_window"):
        # On the proxy it is indicated: CHN .8 against (.1 + .2 + .8)/3 = .367, which no longer passes.
        assert (test["base_flagged"], test["base_indicated"]) == (None, True)
        assert (test["flagged"], test["indicated"], test["agrees"]) == (None, False, False)
    assert {r["year"] for r in world().to_pylist()} == {2020}
    assert {r["method"] for r in rows(world(), alternative="three_year_window")} == {
        "geodep", "cbs", "crma65", "node_test"
    }  # fmt: skip


def test_geodep_keeps_its_earlier_years_under_the_window() -> None:
    # One supplier in each year and no exports: 3 of 3. The window makes C1 of 2020 1/3; two years of three still hold.
    (row, *_) = of_code(WINDOW, "window", "geodep", "three_year_window")
    assert (row["base_flagged"], row["flagged"], row["agrees"]) == (True, True, True)
    assert (row["indicator"], row["base_value"], row["value"]) == ("C1", 1.0, pytest.approx(1 / 3))


def test_codes_outside_the_catalogue_are_not_traced_again() -> None:
    window = {r["method"]: r for r in rows(world(), code=OUTSIDE, alternative="three_year_window")}
    assert set(window) == {"geodep", "cbs", "crma65"}
    assert (window["crma65"]["flagged"], window["crma65"]["value"]) == (False, pytest.approx(1 / 3))
    names = {r["alternative"] for r in rows(world(), code=OUTSIDE)}
    assert names == {"three_year_window", "governance_minus_se", "governance_plus_se"}


def test_value_and_mass_are_shown_beside_one_another_and_never_counted() -> None:
    # By value all but a ten thousandth is DEU's: C1 .9998; by mass half: .5.
    for row in of_code(VALUED, "valued", "cbs", "other_measure"):
        assert (row["base_value"], row["value"], row["agrees"]) == (pytest.approx(0.9998), 0.5, True)
        assert row["counted"] is False
    assert not any(r["counted"] for r in rows(world(), alternative="other_measure"))
    # A node is traced by mass only: no verdict on its plane by value.
    assert {r["level"] for r in rows(world(), alternative="other_measure", method="node_test")} == {"hs6"}


def test_geodep_by_mass_looks_at_mass_in_the_earlier_years_too() -> None:
    # By value 2019 and 2020 hold; by mass 2019 is spread over four, so that one year of three is left.
    for row in of_code(BY_MASS, "by_mass", "geodep", "other_measure"):
        assert (row["base_flagged"], row["flagged"], row["agrees"]) == (True, False, False)


def test_exports_in_the_place_of_production() -> None:
    # BRA makes .9 and exports none: C3 .82, G2 .1 x .8 + .9 x .6 = .62. Exporters: USA .6, CHN .4: C2 .52, G2 .44.
    for row in of_code(EXPORTED, "exported", "tno", "export_basis"):
        assert (row["base_flagged"], row["flagged"], row["agrees"], row["counted"]) == (True, False, False, True)
        assert (row["indicator"], row["base_value"], row["value"]) == ("G2", pytest.approx(0.62), pytest.approx(0.44))
    assert not rows(world(), method="crma65", alternative="export_basis")
    # A statistic that no code stands for has no exporters.
    assert not rows(world(), level="node", code="mine", alternative="export_basis")


def test_an_integrated_producer_vanishes_on_the_export_basis() -> None:
    # As made: CHN 2/3, USA 1/3: O1 5/9, G2 .6. Its surplus is negative: on the proxy all is USA's, and a proxy clears
    # nobody.
    for row in of_code(INTEGRATED, "integrated", "node_test", "export_basis"):
        assert (row["base_flagged"], row["flagged"], row["indicated"], row["agrees"]) == (True, None, False, False)
        assert (row["base_value"], row["value"]) == (pytest.approx(0.6), pytest.approx(0.2))


def test_production_as_the_statistic_has_it() -> None:
    # 500 of 1,000 are raised, or of unknown origin: O1 1 or .25; G2 .8 either way, which decides as published.
    for row in of_code(RAISED, "raised", "node_test", "without_patches"):
        assert (row["base_flagged"], row["flagged"], row["agrees"]) == (True, False, False)
        assert (row["indicator"], row["base_value"], row["value"]) == ("G2", 0.8, 0.8)
    # As published half is imputed, so that C4a decides: it is not traced, and C4b would be another alternative.
    assert not rows(world(), method="crma65", alternative="without_patches", code=RAISED)


def test_a_light_path_counts_no_more_when_its_intensity_is_halved() -> None:
    # .08 is heavy enough (.05), .04 is not, .12 is.
    half = one(world(), code="light", method="indirect_specific", alternative="intensities_halved")
    more = one(world(), code="light", method="indirect_specific", alternative="intensities_raised")
    assert (half["base_flagged"], half["flagged"], half["agrees"]) == (True, False, False)
    assert (more["flagged"], more["agrees"]) == (True, True)
    # Nothing of it rests on the product itself, which has nothing upstream in a group of its own.
    assert not rows(world(), level="group", code="window", method="indirect_specific")
    for name in ("hard", "unknown"):
        assert not [r for r in rows(world(), group=name) if "intensities" in r["alternative"]]


def test_intensities_move_the_mix_of_a_node_with_two_users() -> None:
    # mixed: (1 x BRA + .5 x RUS)/1.5 = 2/3 BRA; halved 4/5, raised 4/7. O1 5/9, 17/25, 25/49.
    half = one(world(), level="node", code="mixed", group="whole", alternative="intensities_halved")
    more = one(world(), level="node", code="mixed", group="whole", alternative="intensities_raised")
    assert (half["method"], half["node"], half["indicator"]) == ("node_test", None, "O1")
    assert (half["base_value"], half["value"], more["value"]) == pytest.approx((5 / 9, 17 / 25, 25 / 49))
    # The group's own verdict does not rest on it: no path is lighter than .05, but the node's figures are others.
    assert one(world(), code="whole", method="indirect_specific", alternative="intensities_halved")["agrees"] is True


def test_a_chain_names_the_node_that_decides() -> None:
    row = one(world(), code="hard", method="indirect_specific", alternative="governance_plus_se")
    # car: O1 .5, G2 .15: fails. magnet: O1 1 (2.5 of its limit), G2 .8 (1.6 of it).
    assert (row["base_flagged"], row["indicator"], row["threshold"]) == (True, "G2", 0.5)
    if row["node"] == "magnet":
        assert (row["base_value"], row["value"]) == (0.8, pytest.approx(0.9))
    else:
        assert (row["base_value"], row["value"]) == (pytest.approx(0.15), pytest.approx(0.25))


def revisions(old_years: tuple[int, ...]) -> pa.Table:
    """HS92 says all CHN's, HS17 in 2020 half USA's, half CHN's."""
    old = flows([flow for year in old_years for flow in mass(year, CODE, ("CHN", "NLD", 500))])
    new = flows([*mass(2020, CODE, ("CHN", "NLD", 250), ("USA", "NLD", 250))], revision="HS17")
    table = BACI_FLOWS.conform(pa.concat_tables([old, new]))
    return alternatives(table, catalogue([node("ore", CODE)]), methods=("crma65", "node_test"))


def test_the_same_group_in_another_revision() -> None:
    found = rows(revisions((2019, 2020)), alternative="other_revision")
    # The group is of the newest revision that holds it (HS17): the other one is HS92.
    assert {(r["hs_revision"], r["level"], r["tier"]) for r in found} == {("HS17", "node", 0), ("HS17", "group", 0)}
    law = next(r for r in found if r["method"] == "crma65" and r["level"] == "group")
    assert (law["base_flagged"], law["flagged"], law["agrees"], law["counted"]) == (False, True, False, True)
    assert (law["base_value"], law["value"]) == (0.5, 1.0)


@pytest.mark.slow
def test_another_revision_needs_the_same_year_and_each_has_its_newest() -> None:
    found = revisions((2019,))
    assert "other_revision" not in found.column("alternative").to_pylist()
    assert {(r["hs_revision"], r["year"]) for r in found.to_pylist()} == {("HS17", 2020), ("HS92", 2019)}


def small(**more: Any) -> tuple[Inputs, Run]:
    """The hub alone, in one year."""
    table = flows([*mass(2020, CODE, ("CHN", "BEL", 1000), ("BEL", "NLD", 1000))])
    reference = catalogue([node("ore", CODE)], links=[link(CODE, "Ore")])
    return inputs_of(table, reference, statistics=mining([("Ore", "CHN", 2020, 5000.0)]), **more)


def test_a_verdict_that_cannot_be_told_agrees_with_nothing_and_errors_need_scores() -> None:
    # All CHN's and CHN has no score: T is unknown; the direct mix is all BEL's, which has one: no flag.
    found = build_alternatives(small(risk={"CHN": None, "BEL": 0.1}, methods=("node_test",))[0])
    row = one(found, level="group", method="node_test", alternative="direct_instead_of_traced")
    assert (row["base_flagged"], row["base_indicated"], row["flagged"]) == (None, None, False)
    assert (row["agrees"], row["reason"]) == (None, "no_verdict")
    nobody = build_alternatives(small(risk={"CHN": None}, methods=("node_test",))[0])
    assert not [a for a in nobody.column("alternative").to_pylist() if "governance" in a]


def test_only_the_methods_that_judge_have_rows_and_published_errors_need_no_word() -> None:
    told: list[str] = []
    found_inputs, _ = small(
        risk=errors(("CHN", -1.5, 0.2), ("BEL", 2.0, 0.2), ("NLD", 2.0, 0.2)), methods=("node_test", "geopolrisk")
    )
    found = build_alternatives(found_inputs, told.append)
    assert set(found.column("method").to_pylist()) == {"node_test"}
    assert told[:2] == ["2020: other_measure", "2020: direct_instead_of_traced"]
    # One year: no window.
    assert "2020: three_year_window" not in told
    row = one(found, level="group", alternative="governance_minus_se")
    assert (row["value"], row["reason"]) == (pytest.approx(0.76), None)
    assert build_alternatives(replace(found_inputs, methods=("geopolrisk",))).num_rows == 0
    with pytest.raises(WrongUse, match="there is no named method 'guess'"):
        build_alternatives(replace(found_inputs, methods=("guess",)))
    assert build_alternatives(replace(found_inputs, vintages=Vintages({}, {}))).num_rows == 0
    # Without the products outside the catalogue governance is that of the catalogue's codes: here the same.
    assert build_alternatives(replace(found_inputs, whole=None)).equals(found)


# -- against a run on the changed inputs ---------------------------------------------------------------------

COUNTRIES = ("CHN", "USA", "DEU", "BRA", "NLD")


def random_world(seed: int) -> tuple[pa.Table, Reference, pa.Table]:
    """Two codes, three years, everybody with everybody; production of both observed; a chain with an intensity."""
    rng = np.random.default_rng(seed)
    made: list[Any] = []
    for year in (2018, 2019, 2020):
        for code in (CODE, INPUT):
            for i in COUNTRIES:
                for j in COUNTRIES:
                    if i != j and rng.random() < 0.6:
                        tonnes = float(np.round(rng.lognormal(5, 2) + 1, 3))
                        made.append((year, code, i, j, round(tonnes * float(rng.lognormal(0, 1)), 3) + 0.001, tonnes))
            made.append((year, code, "CHN", "NLD", 50.0, 200.0)) if not any(
                r[:4] == (year, code, "CHN", "NLD") for r in made
            ) else None
    reference = catalogue(
        [node("car", CODE), node("magnet", INPUT)], [edge("car", "magnet", float(np.round(rng.random() * 0.15, 3)))],
        links=[link(CODE, "Car"), link(INPUT, "Magnet")],
    )  # fmt: skip
    statistics = mining(
        [
            (m, c, year, float(np.round(rng.lognormal(7, 1), 3)))
            for m in ("Car", "Magnet") for c in COUNTRIES for year in (2018, 2019, 2020) if rng.random() < 0.7
        ]
    )  # fmt: skip
    return flows(made), reference, statistics


@pytest.mark.slow
@pytest.mark.parametrize("seed", [3, 2024])
def test_an_alternative_is_what_a_run_on_the_changed_inputs_says(seed: int) -> None:
    table, reference, statistics = random_world(seed)
    years = (2018, 2019, 2020)
    base = scores(SCORES, years)
    given_inputs, published = inputs_of(table, reference, statistics=statistics, risk=base)
    found = build_alternatives(given_inputs)
    earlier = table.filter(pc.field("year") < 2020)
    parts = [table.filter(pc.field("year") == y) for y in years]
    worse, better = ({c: min(max(r + 0.1 * sign, 0), 1) for c, r in SCORES.items()} for sign in (1, -1))
    window = BACI_FLOWS.conform(pa.concat_tables([earlier, mean_flows(parts, 2020)]))
    runs = {
        "three_year_window": run(window, reference, statistics=statistics, risk=base),
        "governance_plus_se": run(table, reference, statistics=statistics, risk=worse),
        "governance_minus_se": run(table, reference, statistics=statistics, risk=better),
        "intensities_halved": run(table, scaled_intensities(reference, 0.5), statistics=statistics, risk=base),
        "intensities_raised": run(table, scaled_intensities(reference, 1.5), statistics=statistics, risk=base),
    }  # fmt: skip
    keys = ("focus", "level", "code", "group", "tier", "method")
    told = {tuple(r[k] for k in keys): r for r in rows(published.flags, year=2020)}
    for name, changed in runs.items():
        assert rows(found, alternative=name), name
        theirs = {tuple(r[k] for k in keys): r for r in rows(changed.flags, year=2020)}
        for row in rows(found, alternative=name):
            place = tuple(row[k] for k in keys)
            assert (row["flagged"], row["indicated"]) == tuple(theirs[place][k] for k in ("flagged", "indicated"))
            assert (row["base_flagged"], row["base_indicated"]) == tuple(
                told[place][k] for k in ("flagged", "indicated")
            )
        # What is not listed has the same verdict: the alternative moves nothing that it rests on.
        listed = {tuple(r[k] for k in keys) for r in rows(found, alternative=name)}
        for place in theirs.keys() - listed:
            assert theirs[place]["flagged"] == told[place]["flagged"], (name, place)
