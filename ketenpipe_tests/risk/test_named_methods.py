"""Methods that rest on criticality, ranks and industries; which methods judge; what decides a verdict."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ketenpipe.errors import WrongUse
from ketenpipe.risk.facts import collect_facts
from ketenpipe.risk.methods import Judgement, build_flags, deciding, ranks
from ketenpipe.risk.published import PUBLISHED, Limit
from ketenpipe.risk.thresholds import Thresholds
from ketenpipe.risk.world import Vintages
from ketenpipe.tables.registry import CHAIN_NODES, FLAGS, INDICATORS, METHODS, PRODUCT_INDUSTRIES
from ketenpipe_tests.worlds import REVISION, chain_world, one, rows, thresholds

BASIS = {
    "M": ("v", "imports"), "C1": ("v", "imports"), "C2": ("v", "exports"), "S1": ("v", "imports"),
    "C4a": ("v", "imports"), "C4b": ("q", "traced"), "C3": ("p", "observed"), "O1": ("q", "traced"),
    "G2": ("q", "traced"), "T": ("q", "traced"), "G4": ("q", "observed"), "G5": ("q", "observed"),
    "EI": ("none", "icio"), "I4": ("v", "icio"),
}  # fmt: skip
UP = 1 + 1e-6


def row(indicator: str, value: float | None, year: int = 2020, **columns: Any) -> dict[str, Any]:
    measure, basis = BASIS[indicator]
    return {
        "focus": "EU27", "level": "hs6", "code": "100001", "hs_revision": REVISION, "group": None, "tier": 0,
        "year": year, "indicator": indicator, "measure": measure, "basis": basis, "value": value, "unit": "1",
        "method_value": value, "method_version": "1", "confidence": "high",
    } | columns  # fmt: skip


def industry(code: str, value: float | None, year: int = 2020, **columns: Any) -> dict[str, Any]:
    """I4 of an industry."""
    fixed = {"level": "industry", "code": code, "hs_revision": None, "tier": None, "country": "CHN"}
    return row("I4", value, year, **(fixed | columns))


def judged(
    made: Iterable[dict[str, Any]],
    methods: Collection[str] = (),
    *,
    products: Mapping[str, str] | None = None,
    vintages: Mapping[int, str] | None = None,
    limits: Thresholds | None = None,
) -> Judgement:
    joined = None
    if products is not None:
        joined = PRODUCT_INDUSTRIES.conform(
            {"hs_revision": REVISION, "code": c, "industry": i, "edition": "e", "method": "isic3"}
            for c, i in products.items()
        )
    facts = collect_facts([INDICATORS.conform(made)])
    stamps = Vintages({}, dict(vintages or {}))
    return Judgement(
        facts, CHAIN_NODES.empty(), limits or thresholds(), stamps, 0.0, methods=methods, product_industries=joined
    )


def flags(made: Iterable[dict[str, Any]], methods: Collection[str] = (), **given_as: Any) -> pa.Table:
    held = judged(made, methods, **given_as)
    return FLAGS.conform(pa.concat_tables([FLAGS.empty(), *(held.flags(year) for year in held.years)]))


# -- switching -----------------------------------------------------------------------------------------------

FULL = [
    row("M", 5000.0), row("C1", 0.9), row("C2", 0.9), row("S1", 2.0), row("C4a", 0.9, country="CHN"),
    row("C3", 0.9, reason="material: Ore"), row("G4", 0.3), row("G5", 1.5), row("EI", 3.0), row("O1", 0.9),
    row("G2", 0.9), row("T", 1.0), industry("C20", 3.0),
]  # fmt: skip


def test_only_the_methods_that_are_named_make_rows() -> None:
    whole = flags(FULL).to_pylist()
    assert {r["method"] for r in whole} == set(METHODS) - {"indirect_specific", "indirect_global"}
    for chosen in (["cbs"], ["geopolrisk", "crma65"], ["node_test"], ["foreign_input_reliance"]):
        found = flags(FULL, chosen).to_pylist()
        assert {r["method"] for r in found} == set(chosen)
        assert found == [r for r in whole if r["method"] in chosen]


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(WrongUse) as refused:
        flags(FULL, ["geodeep"])
    assert str(refused.value) == f"there is no named method 'geodeep'; known are {', '.join(METHODS)}"
    world = SimpleNamespace(
        exposure=SimpleNamespace(chain_nodes=CHAIN_NODES.empty()), thresholds=thresholds(), wgi_vintage={},
        vintage=lambda *_: "v",
    )  # fmt: skip
    only, merged = build_flags(world, INDICATORS.conform(FULL), 0.0, ["tno"])  # type: ignore[arg-type]
    assert {r["method"] for r in only.to_pylist()} == {"tno"}
    assert merged.num_rows == len(FULL)


def test_switching_methods_off_changes_no_other() -> None:
    held = chain_world()
    facts = collect_facts([held.indicators.filter(pa.compute.field("level") != "set")])
    for chosen in (["indirect_specific"], ["indirect_global", "geodep"]):
        j = Judgement(facts, held.exposure.chain_nodes, thresholds(), held.world, 1000.0, methods=chosen)
        assert j.flags(2020).to_pylist() == [r for r in held.flags.to_pylist() if r["method"] in chosen]


def test_every_row_has_the_version_of_its_method() -> None:
    for r in flags(FULL).to_pylist():
        assert r["method_version"] == PUBLISHED[r["method"]].version


def test_published_limits_are_frozen_and_ours_are_not() -> None:
    shipped = thresholds()
    names = ("C1", "C2", "C3", "C4", "G2", "S1", "T_hhi", "T_wgi")
    raised = {n: getattr(shipped, n).model_copy(update={"flag": 99.0}) for n in names}
    raised["C1"] = shipped.C1.model_copy(update={"flag": 99.0, "high": 99.0, "moderate": 99.0})
    other = shipped.model_copy(update=raised)
    made = [*FULL, row("G2", 0.9, measure="p", basis="observed")]
    here, there = ({r["method"]: r for r in flags(made, limits=t).to_pylist()} for t in (shipped, other))
    for method in ("cbs", "crma65", "ec_criticality", "geopolrisk", "geodep", "foreign_input_reliance"):
        assert here[method] == there[method], method
    for method in ("tno", "node_test"):
        assert (here[method]["flagged"], there[method]["flagged"]) == (True, False)
    assert (there["tno"]["decided_limit"], there["node_test"]["decided_limit"]) == (99.0, 99.0)


# -- the Commission's criticality ----------------------------------------------------------------------------


def critical(*made: dict[str, Any]) -> dict[str, Any]:
    return one(flags(made, ["ec_criticality"]), method="ec_criticality")


@pytest.mark.parametrize(
    ("risk", "importance", "expected"),
    [(1.0, 2.8, True), (1 - 1e-6, 2.8, False), (1.0, 2.8 - 1e-6, False), (5.0, 0.0, False), (0.0, 9.0, False)],
)
def test_both_limits_are_reached_by_being_on_them(risk: float, importance: float, expected: bool) -> None:
    found = critical(row("G5", risk), row("EI", importance))
    assert (found["flagged"], found["indicated"], found["reason"]) == (expected, None, None)


def test_criticality_is_asked_for_the_eu27_only() -> None:
    made = [row(i, v, focus=f) for f in ("NLD", "EU27", "EU") for i, v in (("G5", 2.0), ("EI", 3.0))]
    assert [r["focus"] for r in rows(flags(made), method="ec_criticality")] == ["EU27"]
    assert rows(flags([row("EI", 3.0), row("M", 1.0)]), method="ec_criticality") == []


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"basis": "icio_proportional"}, "one_recipe_per_industry"),
        ({"basis": "synthetic"}, "synthetic"),
        (
            {"basis": "icio_proportional", "reason": "one_recipe_per_industry; synthetic"},
            "one_recipe_per_industry; synthetic",
        ),
    ],
)  # fmt: skip
def test_importance_by_recipes_or_made_up_indicates_only(columns: dict[str, Any], reason: str) -> None:
    found = critical(row("G5", 2.0), row("EI", 3.0, **columns))
    assert (found["flagged"], found["indicated"], found["reason"]) == (None, True, reason)
    # What the supply risk clears stays cleared, whatever the importance rests on.
    cleared = critical(row("G5", 0.5), row("EI", 3.0, **columns))
    assert (cleared["flagged"], cleared["indicated"], cleared["reason"]) == (False, None, None)


def test_a_supply_risk_without_parameters_is_bounded() -> None:
    def bounded(high: float | None, published: float | None, importance: float | None = 3.0) -> tuple[Any, ...]:
        figure = row("G5", None, high=high, method_value=published, reason="not_in_sources")
        found = critical(figure, row("EI", importance))
        return found["flagged"], found["indicated"], found["reason"], found["decided_by"], found["decided_value"]

    # The bound is below the limit: no recycling and no substitution could make it critical.
    assert bounded(0.9, None) == (False, None, None, "G5", 0.9)
    # It is above: it could; the bound is what the figures suggest, else what the publication's own practice gives.
    assert bounded(1.0, None) == (None, True, "not_in_sources", "G5", 1.0)
    assert bounded(1.5, 0.8) == (None, False, "not_in_sources", "G5", 0.8)
    assert bounded(0.9, 1.2) == (None, True, "not_in_sources", "EI", 3.0)
    assert bounded(None, None) == (None, None, "not_in_sources", None, None)
    # A low importance decides whatever the risk is.
    assert bounded(1.5, None, 1.0) == (False, None, None, "EI", 1.0)


def test_why_criticality_cannot_be_told() -> None:
    risk = row("G5", None, reason="no_production_data; material: Ore")
    both = critical(risk, row("EI", None, reason="industry: C20; no_region"))
    assert (both["flagged"], both["indicated"], both["reason"]) == (None, None, "no_production_data; no_region")
    absent = critical(row("G5", 2.0))
    assert (absent["flagged"], absent["reason"]) == (None, "not_in_sources")
    same = critical(row("G5", None, reason="synthetic"), row("EI", None, reason="synthetic"))
    assert same["reason"] == "synthetic"
    nothing = critical(row("G5", None), row("EI", 3.0))
    assert nothing["reason"] == "not_in_sources"
    # What is but to be known of a figure stays beside the figure; a node without codes has no importance either.
    noted = critical(
        row("G5", None, reason="no_same_form_production; small_or_precious; other_form; global_supply_only"),
        row(
            "EI", 3.0, basis="icio_proportional",
            reason="industry: C20; one_recipe_per_industry; subset_of_products; synthetic; recipe_of_another_year; "
            "members_without_region",
        ),
    )  # fmt: skip
    assert noted["reason"] == "no_same_form_production; global_supply_only; one_recipe_per_industry; synthetic"
    imputed = critical(row("G5", 2.0, reason="production_imputed"), row("EI", None, reason="no_end_use"))
    assert imputed["reason"] == "no_end_use"
    mined = critical(row("G5", None, reason="no_trade_codes; material: Ore; global_supply_only"))
    assert mined["reason"] == "no_trade_codes; global_supply_only"


def test_criticality_near_its_limits_is_not_robust() -> None:
    # 1.05 passes 1 and .9, not 1.1; EI is far from its limit.
    found = critical(row("G5", 1.05), row("EI", 9.0))
    assert (found["flagged"], found["alternatives"], found["flips_on"]) == (True, 2, "thresholds +10%")


# -- GeoPolRisk: a rank --------------------------------------------------------------------------------------


def test_geopolrisk_ranks_and_never_flags() -> None:
    values = {"100001": 0.4, "100002": 0.1, "100003": 0.4, "100004": 0.2, "100005": None}
    made = [
        row("G4", v, code=c, focus="NLD", reason=None if v else "no_production_data") for c, v in values.items()
    ]  # fmt: skip
    found = {r["code"]: r for r in rows(flags(made, ["geopolrisk"]), method="geopolrisk")}
    # Two share the first rank; the fourth of four is the last. The top quarter of 4 is rank 1.
    assert [found[c]["rank"] for c in values] == [1, 4, 1, 3, None]
    assert [found[c]["ranked"] for c in values] == [4, 4, 4, 4, None]
    assert [found[c]["indicated"] for c in values] == [True, False, True, False, None]
    assert [found[c]["reason"] for c in values] == ["rank_only"] * 4 + ["no_production_data"]
    for r in found.values():
        assert (r["flagged"], r["decided_limit"]) == (None, None)
    assert [found[c]["decided_value"] for c in values] == [0.4, 0.1, 0.4, 0.2, None]
    assert [found[c]["decided_by"] for c in values] == ["G4"] * 4 + [None]


@pytest.mark.parametrize(("count", "top"), [(1, 0), (3, 0), (4, 1), (7, 1), (8, 2), (9, 2)])
def test_the_top_quarter(count: int, top: int) -> None:
    made = [row("G4", 1.0 - n / 10, code=f"{100000 + n}", focus="NLD") for n in range(count)]
    found = rows(flags(made, ["geopolrisk"]), method="geopolrisk")
    assert sum(r["indicated"] for r in found) == top


def test_geopolrisk_takes_what_its_publication_computes() -> None:
    # value 0.1 by METHOD, 0.5 as the publication has it (any form of production): that ranks, and the reason stays.
    figure: dict[str, Any] = {"method_value": 0.5, "focus": "NLD"}
    made = [
        row("G4", None, reason="no_production_data; material: Ore", **figure),
        row("G4", 0.3, code="100002", focus="NLD"),
        row("G4", 0.4, code="100003", focus="NLD", method_value=None),
    ]  # fmt: skip
    found = {r["code"]: r for r in rows(flags(made, ["geopolrisk"]), method="geopolrisk")}
    assert [found[c]["rank"] for c in ("100001", "100002", "100003")] == [1, 3, 2]
    assert found["100001"]["reason"] == "rank_only; no_production_data"
    bare = one(flags([row("G4", None, focus="NLD", reason="material: Ore")]), method="geopolrisk")
    assert bare["reason"] == "not_in_sources"


def test_ranks_are_within_a_set_and_count_a_code_once() -> None:
    node: dict[str, Any] = {"level": "node", "code": "ore", "focus": "NLD"}
    made = [
        row("G4", 0.9, group="a", tier=1, **node), row("G4", 0.9, group="b", tier=2, **node),
        row("G4", 0.5, level="node", code="metal", group="a", focus="NLD"), row("G4", 0.7, focus="NLD"),
        row("G4", 0.8), row("G4", 0.1, year=2021), row("G4", 0.2, hs_revision="HS17"),
    ]  # fmt: skip
    found = rows(flags(made, ["geopolrisk"]), method="geopolrisk")
    told = sorted(
        (r["focus"], r["level"], r["code"], r["year"], r["hs_revision"], r["rank"], r["ranked"]) for r in found
    )
    assert told == [
        ("EU27", "hs6", "100001", 2020, "HS17", 1, 1), ("EU27", "hs6", "100001", 2020, REVISION, 1, 1),
        ("EU27", "hs6", "100001", 2021, REVISION, 1, 1), ("NLD", "hs6", "100001", 2020, REVISION, 1, 1),
        ("NLD", "node", "metal", 2020, REVISION, 2, 2), ("NLD", "node", "ore", 2020, REVISION, 1, 2),
        ("NLD", "node", "ore", 2020, REVISION, 1, 2),
    ]  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(st.lists(st.one_of(st.none(), st.floats(0, 1).map(lambda v: round(v, 1))), min_size=1, max_size=12))
def test_ranks_are_counted(values: list[float | None]) -> None:
    facts = collect_facts([INDICATORS.conform(row("G4", v, code=f"{100000 + n}") for n, v in enumerate(values))])
    rank, ranked = ranks(facts.frame, facts.frame["G4"])
    told = [v for v in values if v is not None]
    codes = facts.frame["code"].astype(str).tolist()
    for n, v in enumerate(values):
        at = codes.index(f"{100000 + n}")
        expected = (0, 0) if v is None else (1 + sum(other > v for other in told), len(told))
        assert (rank[at], ranked[at]) == expected


def test_a_rank_is_compared_with_the_years_beside_and_has_no_limits() -> None:
    made = [
        row("G4", v, year, code=c, focus="NLD")
        for year, order in ((2019, "abcd"), (2020, "abcd"), (2021, "bacd"))
        for v, c in zip((0.4, 0.3, 0.2, 0.1), order, strict=True)
    ]
    held = flags(made, ["geopolrisk"], vintages=dict.fromkeys((2019, 2020, 2021), "e"))
    first = one(held, method="geopolrisk", code="a", year=2020)
    assert (first["alternatives"], first["flips_on"], first["agreement"]) == (2, "the year after", 0.5)
    # Governance scores of two editions are not compared.
    broken = flags(made, vintages={2019: "e", 2020: "e", 2021: "f"})
    assert one(broken, method="geopolrisk", code="a", year=2020)["alternatives"] == 1


def test_what_ranks_has_no_churn() -> None:
    held = judged([row("G4", 0.4, y) for y in (2019, 2020)])
    assert held.churn().num_rows == 0


# -- foreign input reliance ----------------------------------------------------------------------------------


def reliance(made: Iterable[dict[str, Any]], **given_as: Any) -> list[dict[str, Any]]:
    return rows(flags(made, ["foreign_input_reliance"], **given_as), method="foreign_input_reliance")


def test_an_industry_is_flagged_above_two() -> None:
    codes = {"A": 2.0, "B": 2.0 * UP, "C": 0.5}
    found = reliance(industry(c, v, focus="NLD") for c, v in codes.items())
    assert [r["flagged"] for r in found] == [False, True, False]
    for r in found:
        assert (r["level"], r["hs_revision"], r["group"], r["tier"]) == ("industry", None, None, None)
        assert (r["country"], r["decided_by"], r["decided_limit"], r["reason"]) == ("CHN", "I4", 2.0, None)
        assert r["decided_value"] == pytest.approx(codes[r["code"]])


def test_a_made_up_table_indicates_only() -> None:
    found = reliance([industry("A", 3.0, basis="synthetic"), industry("B", 1.0, basis="synthetic")])
    assert [(r["flagged"], r["indicated"], r["reason"]) for r in found] == [
        (None, True, "synthetic"), (None, False, "synthetic"),
    ]  # fmt: skip


def test_a_lean_without_a_ratio_leaves_the_verdict_open_unless_another_decides() -> None:
    cases = {
        "A": (3.0, "no_face_value", True, None), "B": (1.0, "no_face_value", None, "no_face_value"),
        "C": (None, "no_face_value", None, "no_face_value"), "D": (None, "below_reliance", False, None),
        "E": (None, "zero_output", None, "zero_output"), "F": (1.0, None, False, None),
    }  # fmt: skip
    found = reliance(industry(c, v, reason=why) for c, (v, why, _, _) in cases.items())
    assert [(r["flagged"], r["reason"]) for r in found] == [(f, w) for _, _, f, w in cases.values()]
    assert all(r["indicated"] is None for r in found)


def test_a_product_has_the_recipe_of_its_industry_and_is_never_flagged() -> None:
    made = [
        *(row("M", 10.0, y, code=c, focus="NLD") for c in ("100001", "100002", "100003") for y in (2019, 2020, 2021)),
        industry("A", 3.0, 2020, focus="NLD"), industry("B", 1.0, 2020, focus="NLD", country="DEU"),
        row("M", 10.0, focus="EU27"), row("C1", 0.9, code="100009", focus="NLD"),
        row("M", 1.0, level="node", code="ore", group="g", focus="NLD"),
    ]  # fmt: skip
    found = reliance(made, products={"100001": "A", "100002": "B", "100004": "A"})
    products = {(r["focus"], r["code"], r["year"]): r for r in found if r["level"] == "hs6"}
    assert len(products) == 10
    for year, late in ((2019, "; recipe_of_another_year"), (2020, ""), (2021, "; recipe_of_another_year")):
        high, low, none = (products["NLD", c, year] for c in ("100001", "100002", "100003"))
        assert (high["flagged"], high["indicated"], high["country"]) == (None, True, "CHN")
        assert (low["flagged"], low["indicated"], low["country"]) == (None, False, "DEU")
        assert high["reason"] == low["reason"] == f"one_recipe_per_industry{late}"
        assert (none["flagged"], none["indicated"], none["reason"]) == (None, None, "no_industry")
        assert (none["country"], none["decided_by"], none["decided_value"]) == (None, None, None)
        assert (high["decided_by"], high["decided_value"], high["tier"]) == ("I4", 3.0, 0)
        # Two shifts of the limit; the years beside share the recipe and are no other look.
        assert (high["alternatives"], none["alternatives"]) == (2, 0)
    assert products["EU27", "100001", 2020]["reason"] == "no_region"


def test_the_latest_earlier_recipe_stands() -> None:
    made = [*(row("M", 1.0, y, focus="NLD") for y in (2017, 2019, 2021)),
            *(industry("A", v, y, focus="NLD") for y, v in ((2018, 1.0), (2020, 3.0)))]  # fmt: skip
    found = {r["year"]: r for r in reliance(made, products={"100001": "A"}) if r["level"] == "hs6"}
    assert {y: r["indicated"] for y, r in found.items()} == {2017: False, 2019: False, 2021: True}


def test_a_made_up_or_open_industry_shows_at_its_products() -> None:
    made = [
        row("M", 1.0, focus="NLD"), row("M", 1.0, code="100002", focus="NLD"),
        industry("A", 3.0, focus="NLD", basis="synthetic"),
        industry("B", None, focus="NLD", reason="zero_output", country=None),
    ]  # fmt: skip
    found = {r["code"]: r for r in reliance(made, products={"100001": "A", "100002": "B"}) if r["level"] == "hs6"}
    assert (found["100001"]["indicated"], found["100001"]["reason"]) == (True, "one_recipe_per_industry; synthetic")
    assert (found["100002"]["indicated"], found["100002"]["reason"]) == (None, "one_recipe_per_industry; zero_output")


def test_without_industries_or_without_the_join_no_product_is_asked() -> None:
    made = [row("M", 1.0, focus="NLD"), industry("A", 3.0, focus="NLD")]
    assert [r["level"] for r in reliance(made)] == ["industry"]
    assert reliance(made[:1], products={"100001": "A"}) == []


def test_churn_of_industries() -> None:
    years = {2019: {"A": 3.0, "B": 3.0}, 2020: {"A": 3.0, "B": 1.0}}
    made = [industry(c, v, y, focus="NLD") for y, held in years.items() for c, v in held.items()]
    made += [industry("A", 3.0, y, focus="EU27", basis="synthetic") for y in years]
    found = {r["focus"]: r for r in judged(made).churn().to_pylist()}
    own = found["NLD"]
    assert (own["value"], own["basis"], own["hs_revision"], own["code"]) == (
        0.5,
        "icio",
        None,
        "foreign_input_reliance",
    )
    assert (own["level"], own["year"], own["unit"], own["measure"]) == ("set", 2020, "share", "none")
    made_up = found["EU27"]
    assert (made_up["value"], made_up["basis"], made_up["reason"]) == (None, "synthetic", "window_incomplete")


def test_an_industry_is_compared_with_the_years_beside() -> None:
    # Industries know no governance scores: a change of their edition breaks nothing.
    made = [industry("A", v, y, focus="NLD") for y, v in ((2019, 3.0), (2020, 3.0), (2021, 1.0))]
    held = flags(made, ["foreign_input_reliance"], vintages={2019: "e", 2020: "f", 2021: "g"})
    found = one(held, year=2020)
    assert (found["alternatives"], found["agreement"], found["flips_on"]) == (4, 0.75, "the year after")


def test_churn_of_criticality_stops_at_a_change_of_edition() -> None:
    years = {2018: 2.0, 2019: 0.5, 2020: 2.0}
    made = [r for y, v in years.items() for r in (row("G5", v, y), row("EI", 3.0, y))]
    held = judged(made, ["ec_criticality"], vintages={2018: "e", 2019: "e", 2020: "f"})
    found = {r["year"]: (r["value"], r["reason"], r["basis"]) for r in held.churn().to_pylist()}
    assert found == {2019: (1.0, None, "observed"), 2020: (None, "wgi_vintage", "observed")}


# -- what decides --------------------------------------------------------------------------------------------


def brute(raw: int, parts: list[list[tuple[Limit, float]]], negated: list[bool]) -> int:
    """The same told one by one."""
    best, number, answer = np.inf, 0, -1
    for tests, turned in zip(parts, negated, strict=True):
        known = [(number + k, lim, v) for k, (lim, v) in enumerate(tests) if v == v]
        number += len(tests)
        if not known or raw == -1:
            continue
        fails = [t for t in known if not (t[2] >= t[1].cut if t[1].at_least else t[2] > t[1].cut)]
        which, limit, value = min(fails or known, key=lambda t: t[2] / t[1].cut - 1)
        margin = value / limit.cut - 1
        if turned:
            margin = -margin
        if raw == 0 and bool(fails) == turned:
            continue
        if margin < best:
            best, answer = margin, which
    return answer


FIGURES = st.one_of(st.just(np.nan), st.sampled_from([0.1, 0.2, 0.4, 0.5, 0.8, 1.0, 3.0]))
LIMITS = st.builds(Limit, st.just("X"), st.sampled_from([0.2, 0.4, 0.5, 1.0]), st.booleans())


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_what_decides_follows_from_the_margins(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 4))
    limits = data.draw(st.lists(st.lists(LIMITS, min_size=1, max_size=3), min_size=1, max_size=2))
    negated = data.draw(st.lists(st.booleans(), min_size=len(limits), max_size=len(limits)))
    figures = [[data.draw(st.lists(FIGURES, min_size=count, max_size=count)) for _ in part] for part in limits]
    raw = data.draw(st.lists(st.sampled_from([-1, 0, 1]), min_size=count, max_size=count))
    parts = [
        [(lim, np.array(fig)) for lim, fig in zip(part, held, strict=True)]
        for part, held in zip(limits, figures, strict=True)
    ]
    found = deciding(np.array(raw, dtype=np.int8), parts, negated)
    for k in range(count):
        single = [[(lim, float(fig[k])) for lim, fig in part] for part in parts]
        assert found[k] == brute(raw[k], single, negated)


def test_what_decides_by_hand() -> None:
    a, b = Limit("A", 0.4), Limit("B", 1.0)

    def which(raw: int, first: float, second: float) -> int:
        return int(
            deciding(np.array([raw], dtype=np.int8), [[(a, np.array([first])), (b, np.array([second]))]], [False])[0]
        )

    assert which(1, 0.41, 9.0) == 0  # A is 2.5 % above its limit, B 800 %
    assert which(1, 0.8, 1.5) == 1  # A 100 %, B 50 %
    assert which(0, 0.1, 0.9) == 0  # both fail, A by 75 %
    assert which(0, 0.39, 0.5) == 1  # both fail, B by 50 %
    assert which(0, 0.8, 1.0) == 1  # only B fails, on its limit
    assert which(-1, 0.8, 2.0) == -1


HOLDS: dict[str, float] = {"M": 5000.0, "C1": 0.9, "C2": 0.5, "S1": 3.0}
FAILS = HOLDS | {"C1": 0.1, "C2": 0.35}


def windowed(*years: dict[str, float]) -> dict[str, Any]:
    made = [row(i, v, 2018 + n) for n, figures in enumerate(years) for i, v in figures.items()]
    return one(flags(made, ["geodep"]), method="geodep", year=2018 + len(years) - 1)


def test_geodep_is_decided_by_the_year_or_by_the_count() -> None:
    def told(*years: dict[str, float]) -> tuple[Any, ...]:
        r = windowed(*years)
        return r["flagged"], r["decided_by"], r["decided_value"], r["decided_limit"]

    # C2 is nearest above (.5 / .4); among C1 and C2 below C1 is farthest.
    assert told(HOLDS, HOLDS, HOLDS) == (True, "C2", 0.5, 0.4)
    assert told(FAILS, FAILS, FAILS) == (False, "C1", 0.1, 0.4)
    # The year says otherwise than the window: the count of years decides.
    assert told(HOLDS, HOLDS, FAILS) == (True, "P1", 2.0, 2.0)
    assert told(FAILS, FAILS, HOLDS) == (False, "P1", 1.0, 2.0)
    # Two hold before, the year itself is unknown (no imports).
    assert told(HOLDS, HOLDS, {"M": 0.0, "C2": 0.9}) == (True, "P1", 2.0, 2.0)
    assert told(HOLDS) == (None, None, None, None)


def test_crma_names_the_country_and_the_basis_that_decides() -> None:
    imports, traced = row("C4a", 0.7, country="BEL"), row("C4b", 0.6, country="CHN")
    found = one(flags([row("M", 5.0), imports, traced], ["crma65"]), method="crma65")
    assert (found["decided_by"], found["decided_value"], found["country"]) == ("C4b", 0.6, "CHN")
    assert (found["flagged"], found["decided_limit"]) == (False, 0.65)
    proxied = one(flags([row("M", 5.0), imports, traced | {"reason": "export_proxy"}], ["crma65"]), method="crma65")
    assert (proxied["decided_by"], proxied["decided_value"], proxied["country"]) == ("C4a", 0.7, "BEL")
    assert (proxied["flagged"], proxied["decided_limit"]) == (True, 0.65)
    alone = one(flags([row("M", 5.0), imports | {"country": None}], ["crma65"]), method="crma65")
    assert (alone["country"], alone["decided_by"]) == (None, "C4a")


def test_the_node_test_is_decided_by_the_nearer_of_two() -> None:
    def told(o1: float, g2: float, reason: str | None = None) -> tuple[Any, ...]:
        r = one(flags([row("O1", o1), row("G2", g2), row("T", 0.0, reason=reason)], ["node_test"]), method="node_test")
        return r["flagged"], r["decided_by"], r["decided_value"], r["decided_limit"], r["decided_at"]

    assert told(0.9, 0.6) == (True, "G2", 0.6, 0.5, None)
    assert told(0.42, 0.9) == (True, "O1", 0.42, 0.4, None)
    assert told(0.1, 0.3) == (False, "O1", 0.1, 0.4, None)
    # What the figures suggest has its criterion too.
    assert told(0.9, 0.6, "export_proxy") == (None, "G2", 0.6, 0.5, None)


# Groups of chain_world: method -> decided_by, value, limit, node. Products: half DEU half USA has O1 .5 and G2 .15;
# all CHN has O1 1 and G2 .8; world mine hard: C3 .68 and G2 .66, soft: C3 .5, G2 .15.
DECIDED: dict[str, dict[str, tuple[str | float | None, ...]]] = {
    # The product fails by G2 (.15, 70 % below), the input passes by G2 (.8, 60 % above): the input is nearer.
    "specific": {"indirect_specific": ("G2", 0.8, 0.5), "node_test": ("G2", 0.15, 0.5)},
    # The product itself passes the test: that is what fails, by its nearer criterion.
    "direct": {"indirect_specific": ("G2", 0.8, 0.5), "indirect_global": ("G2", 0.8, 0.5)},
    # The input is all that passes; the product fails by 70 %, world production passes by 32 %.
    "world": {"indirect_global": ("G2", 0.66, 0.5), "indirect_specific": (None, None, None)},
    "world_soft": {"indirect_global": ("G2", 0.15, 0.5)},
    "alone": {"indirect_specific": (None, None, None), "indirect_global": (None, None, None)},
}


@pytest.mark.parametrize("group", DECIDED)
def test_an_indirect_dependency_is_decided_by_the_product_or_its_input(group: str) -> None:
    held = chain_world()
    for method, expected in DECIDED[group].items():
        found = one(held.flags, level="group", group=group, method=method)
        figures = found["decided_by"], found["decided_value"], found["decided_limit"]
        assert figures == tuple(pytest.approx(e) if isinstance(e, float) else e for e in expected), method


def test_the_node_that_decides_is_named() -> None:
    held = chain_world()
    nodes = {n["code"] for n in held.indicators.to_pylist() if n["level"] == "node" and n["group"] == "specific"}
    upstream = one(held.flags, level="group", group="specific", method="indirect_specific")["decided_at"]
    assert upstream in nodes
    assert one(held.flags, level="node", group="specific", code=upstream, method="node_test")["flagged"] is True
    assert one(held.flags, level="group", group="direct", method="indirect_specific")["decided_at"] is None
    world = one(held.flags, level="group", group="world", method="indirect_global")["decided_at"]
    assert one(held.flags, level="node", group="world", code=world, method="tno")["flagged"] is True


def test_of_several_nodes_the_one_nearest_to_passing_decides() -> None:
    held = chain_world()
    tests = {
        (r["group"], r["code"]): r for r in rows(held.flags, level="node", method="node_test") if r["tier"] in (1, 2)
    }
    checked = 0
    for r in rows(held.flags, level="group", method="indirect_specific"):
        if r["decided_at"] is None:
            continue
        mine = tests[r["group"], r["decided_at"]]
        assert (mine["decided_by"], mine["decided_value"]) == (r["decided_by"], r["decided_value"])
        checked += 1
    assert checked > 3


def test_every_told_verdict_of_figures_has_what_decides() -> None:
    for r in chain_world().flags.to_pylist():
        if r["flagged"] is not None and not r["method"].startswith("indirect"):
            assert r["decided_by"] is not None, r
            assert r["decided_value"] is not None, r
            beyond = r["decided_value"] > r["decided_limit"]
            if r["decided_by"] != "P1":
                assert beyond is r["flagged"], r
        if r["flagged"] is None and r["indicated"] is None:
            assert r["decided_by"] is r["decided_value"] is r["decided_at"] is None


# -- reading verdicts ----------------------------------------------------------------------------------------


def test_verdicts_and_clauses_by_row() -> None:
    held = judged([row("G5", 2.0), row("EI", 1.0), row("M", 3.0), row("C1", 0.9, year=2021), row("M", 1.0, year=2021)])
    found = held.verdicts("ec_criticality", 2020)
    assert (found.raw.tolist(), found.known.tolist(), found.reason.tolist()) == ([0], [0], [None])
    assert (found.rank.tolist(), found.ranked.tolist()) == ([0], [0])
    at = found.rows
    clauses = held.clauses("ec_criticality", at)
    assert [(c.limit.indicator, c.value.tolist(), c.holds.tolist(), c.negated) for c in clauses] == [
        ("G5", [2.0], [True], False), ("EI", [1.0], [False], False),
    ]  # fmt: skip
    assert [c.at.tolist() for c in clauses] == [[None], [None]]
    assert held.newest_years() == {REVISION: 2021}
    assert pd.isna(held.items(at)["group"].iloc[0])
    assert held.items(at)["code"].tolist() == ["100001"]


def test_nothing_at_all() -> None:
    held = judged([])
    assert (held.years, held.churn().num_rows, held.newest_years()) == ([], 0, {})
    assert held.flags(2020).num_rows == 0


@pytest.mark.parametrize("method", ["indirect_specific", "indirect_global"])
def test_sets_of_groups_are_compared_within_an_edition_of_the_scores(method: str) -> None:
    held = chain_world()
    first = held.indicators.filter(pa.compute.field("level") != "set")
    later = first.set_column(
        first.schema.get_field_index("year"), first.schema.field("year"), pa.array([2021] * first.num_rows, pa.int32())
    )
    facts = collect_facts([first, later])
    for editions, known in (({2020: "e", 2021: "e"}, True), ({2020: "e", 2021: "f"}, False)):
        j = Judgement(facts, held.exposure.chain_nodes, thresholds(), Vintages({}, editions), 0.0, methods=[method])
        (churned,) = j.churn().to_pylist()
        assert (churned["value"], churned["reason"]) == ((0.0, None) if known else (None, "wgi_vintage"))
        beside = {r["alternatives"] for r in j.flags(2021).to_pylist() if r["flagged"]}
        assert beside == {4 if known else 3}
