"""Indicative figures of products against worked examples and a plane computed one vector at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings

from ketenpipe.chain.proportional import indicative_tiers
from ketenpipe.risk.facts import collect_facts
from ketenpipe.risk.planes import node_test, plane_of
from ketenpipe.risk.product_tiers import ProductTiers, build_product_tiers
from ketenpipe.risk.world import Vintages
from ketenpipe.sources.icio import IcioTable
from ketenpipe.tables.registry import FLAGS, INDICATORS, PRODUCT_TIERS, TRACING
from ketenpipe_tests.chain.test_proportional import (
    CODES,
    HS92,
    INDUSTRY,
    KNOWN,
    NOBODY,
    economy,
    joins,
    members_of,
    supply,
)
from ketenpipe_tests.worlds import catalogue, edge, node, thresholds

RISK = {"CHN": 0.8, "DEU": 0.1, "NLD": 0.1}
VINTAGES = Vintages({("HS92", 2020): "V1"}, {2020: "2024 edition"})


def built(
    mix: pa.Table, held: IcioTable, *, risk: dict[str, float] | None = None, known: Any = KNOWN, **options: Any
) -> ProductTiers:
    return build_product_tiers(
        2020,
        mix,
        options.get("tracing", TRACING.empty()),
        held,
        options.get("reference", NOBODY),
        RISK if risk is None else risk,
        thresholds(),
        VINTAGES,
        known,
    )


def row(found: ProductTiers, indicator: str, tier: int = 1, code: str = "100001") -> dict[str, Any]:
    (only,) = [
        r
        for r in found.indicators.to_pylist()
        if (r["indicator"], r["tier"], r["code"]) == (indicator, tier, code)
    ]  # fmt: skip
    return only


def test_the_figures_of_a_tier_by_hand() -> None:
    """All from DEU; its C10 buys 60 from CHN's K, 20 from ROW's, 10 from NLD's and 10 from DEU's."""
    held = economy(
        {("CHN_K", "DEU_C10"): 60, ("ROW_K", "DEU_C10"): 20, ("NLD_K", "DEU_C10"): 10, ("DEU_K", "DEU_C10"): 10}
    )
    found = built(supply([("100001", "DEU", 1.0, 1.0, None)]), held)
    o1 = row(found, "O1")
    assert o1["value"] == pytest.approx(0.36 + 0.04 + 0.01)
    assert (o1["low"], o1["high"]) == pytest.approx((0.37, 0.41))
    assert (o1["country"], o1["country_share"], o1["worst_code"], o1["worst_value"]) == ("CHN", 0.6, "CHN_K", 0.6)
    assert (o1["basis"], o1["measure"], o1["confidence"], o1["level"]) == ("icio_proportional", "v", "low", "hs6")
    assert o1["reason"] == "one_recipe_per_industry"
    assert o1["source_vintage"] == "baci HS92 V1; icio test 2020"
    g2 = row(found, "G2")
    assert g2["value"] == pytest.approx((0.6 * 0.8 + 0.1 * 0.1) / 0.7)
    assert g2["coverage"] == pytest.approx(0.7 / 0.9)
    assert g2["source_vintage"] == "baci HS92 V1; wgi 2024 edition; icio test 2020"
    test = row(found, "T")
    # Without the rest of the world it would not hold.
    assert (test["value"], test["reason"]) == (None, "rest_of_world_decides; one_recipe_per_industry")
    assert not found.flags.filter(pc.field("tier") == 1).num_rows
    hidden = row(found, "hidden_exposure")
    assert (hidden["value"], hidden["country"], hidden["country_share"]) == (pytest.approx(0.6), "CHN", 0.6)
    assert row(found, "O1", 2)["reason"] == "no_intermediate_inputs; one_recipe_per_industry"
    assert row(found, "O1", 2)["value"] is None


def test_unknown_origin_stays_out_of_low_and_weighs_in_high() -> None:
    held = economy({("CHN_K", "DEU_C10"): 60, ("DEU_K", "DEU_C10"): 40})
    found = built(supply([("100001", "DEU", 1.0, 0.75, None), ("100001", "UNK", None, 0.25, None)]), held)
    o1, hidden = row(found, "O1"), row(found, "hidden_exposure")
    assert o1["value"] == o1["low"] == pytest.approx(0.45**2 + 0.3**2)
    assert o1["high"] == pytest.approx(0.7**2 + 0.3**2)
    assert (hidden["value"], hidden["low"], hidden["high"]) == pytest.approx((0.45, 0.20, 0.70))
    test = row(found, "T")
    assert (test["value"], test["reason"]) == (None, "rest_of_world_decides; one_recipe_per_industry")


def test_t_is_an_indication_and_never_a_verdict() -> None:
    held = economy({("CHN_K", "DEU_C10"): 100, ("DEU_K", "CHN_K"): 1})
    found = built(supply([("100001", "DEU", 1.0, 1.0, None)]), held)
    by_tier = {r["tier"]: r for r in found.flags.to_pylist()}
    assert {t: (r["flagged"], r["indicated"], r["method"]) for t, r in by_tier.items()} == {
        1: (None, True, "node_test"),
        2: (None, False, "node_test"),
    }
    assert {r["reason"] for r in by_tier.values()} == {"one_recipe_per_industry"}


def test_no_method_reads_an_indicative_figure() -> None:
    held = economy({("CHN_K", "DEU_C10"): 100})
    facts = collect_facts([built(supply([("100001", "DEU", 1.0, 1.0, None)]), held).indicators])
    assert not len(facts.frame)


@pytest.mark.parametrize(
    ("risk", "deliveries", "indicator", "reason"),
    [
        ({}, {("CHN_K", "DEU_C10"): 1.0}, "G2", "no_governance_data; one_recipe_per_industry"),
        ({}, {("CHN_K", "DEU_C10"): 1.0}, "T", "no_governance_data; one_recipe_per_industry"),
        ({"NLD": 0.1}, {("CHN_K", "DEU_C10"): 1.0}, "G2", "no_governance_score; one_recipe_per_industry"),
        (RISK, {("NLD_K", "DEU_C10"): 1.0}, "G2", "no_foreign_supply; one_recipe_per_industry"),
        (RISK, {("ROW_K", "DEU_C10"): 1.0}, "hidden_exposure", "no_foreign_supply; one_recipe_per_industry"),
    ],
)
def test_a_figure_that_cannot_be_had_is_null_and_says_why(
    risk: dict[str, float], deliveries: dict[tuple[str, str], float], indicator: str, reason: str
) -> None:
    found = row(built(supply([("100001", "DEU", 1.0, 1.0, None)]), economy(deliveries), risk=risk), indicator)
    assert (found["value"], found["low"], found["high"], found["confidence"]) == (None, None, None, None)
    assert found["reason"] == reason


def test_a_mix_wholly_own_is_no_dependency() -> None:
    found = built(supply([("100001", "DEU", 1.0, 1.0, None)]), economy({("NLD_K", "DEU_C10"): 1.0}))
    assert (row(found, "O1")["value"], row(found, "T")["value"], row(found, "O1")["country"]) == (0.0, 0.0, None)


def test_what_was_traced_and_has_no_supply_says_so() -> None:
    tracing = TRACING.conform(
        [{"focus": "NLD", "hs_revision": HS92, "code": "200001", "year": 2020, "measure": m} for m in ("q", "v")]
    )
    found = built(supply([("100001", "DEU", 1.0, 1.0, None)]), economy({}), tracing=tracing)
    assert row(found, "O1", code="200001")["reason"] == "no_supply; one_recipe_per_industry"
    assert {r["code"] for r in found.indicators.to_pylist()} == {"100001", "200001"}
    idle = [{**r, "reason": "no_member_consumes"} for r in tracing.to_pylist()]
    found = built(supply([]), economy({}), tracing=TRACING.conform(idle))
    assert row(found, "T", code="200001")["reason"] == "no_member_consumes; one_recipe_per_industry"


def test_an_expert_s_edge_overrides_and_is_counted() -> None:
    book = catalogue([node("magnet", "100001"), node("metal", "200001")], [edge("magnet", "metal")])
    mix = supply([("100001", "DEU", 1.0, 1.0, None), ("200001", "DEU", 1.0, 1.0, None)])
    found = built(mix, economy({("CHN_K", "DEU_C20"): 1.0}), reference=book)
    assert {r["code"] for r in found.indicators.to_pylist()} == {"200001"}
    assert set(found.product_tiers.column("code").to_pylist()) == {"200001"}
    assert found.with_recipe == {("NLD", HS92): 1}


def test_a_made_up_table_and_a_start_by_value_say_so() -> None:
    held = economy({("CHN_K", "DEU_C10"): 1.0}, synthetic=True)
    found = row(built(supply([("100001", "DEU", 1.0, None, 1.0)]), held), "O1")
    assert found["reason"] == "one_recipe_per_industry; synthetic; origin_by_value"
    assert found["basis"] == "icio_proportional"
    older = row(built(supply([("100001", "DEU", 1.0, 1.0, None)]), replace(held, year=2018, synthetic=False)), "O1")
    assert older["reason"] == "one_recipe_per_industry; recipe_of_another_year"
    assert (older["source_vintage"], older["year"]) == ("baci HS92 V1; icio test 2018", 2020)


def test_nothing_gives_empty_tables() -> None:
    found = built(supply([]), economy({}))
    assert (found.indicators.num_rows, found.flags.num_rows, found.product_tiers.num_rows) == (0, 0, 0)


@given(joins())
@settings(max_examples=30, deadline=None)
def test_every_figure_is_that_of_the_vector_alone(join: tuple[IcioTable, pa.Table, str]) -> None:
    held, mix, focus = join
    found = built(mix, held, known={HS92: INDUSTRY})
    for table, contract in (
        (found.indicators, INDICATORS), (found.flags, FLAGS), (found.product_tiers, PRODUCT_TIERS),
    ):  # fmt: skip
        contract.check(table)
    (vectors,) = indicative_tiers(mix, held, NOBODY, 2020, {HS92: INDUSTRY}).mixes
    codes = sorted({r["code"] for r in mix.to_pylist()} & set(CODES))
    assert found.indicators.num_rows == 8 * len(codes)
    by_key = {(r["code"], r["tier"], r["indicator"]): r for r in found.indicators.to_pylist()}
    own = {focus, *members_of(focus)}
    limits = thresholds()
    for k, code in enumerate(vectors.codes):
        for tier in (1, 2):
            figures = {n: by_key[code, tier, n] for n in ("O1", "G2", "T", "hidden_exposure")}
            for r in figures.values():
                assert r["value"] is not None or r["reason"] != "one_recipe_per_industry"
                if r["value"] is not None:
                    assert r["low"] - 1e-9 <= r["value"] <= r["high"] + 1e-9
            names = [*vectors.view.names, "UNK"]
            share = dict(zip(names, vectors.shares[tier, k].tolist(), strict=True))
            if np.isnan(share["UNK"]):
                assert {r["value"] for r in figures.values()} == {None}
                continue
            plane = plane_of(share, own, RISK)
            assert figures["O1"]["value"] == pytest.approx(plane.o1, abs=1e-9)
            assert figures["O1"]["high"] == pytest.approx(plane.o1_high, abs=1e-9)
            assert figures["O1"]["country"] == plane.top
            assert figures["G2"]["value"] == (None if plane.g2 is None else pytest.approx(plane.g2, abs=1e-9))
            test = node_test(plane.o1, plane.g2, limits.T_hhi.flag, limits.T_wgi.flag)
            bounds = {
                node_test(figures["O1"][b], figures["G2"][b], limits.T_hhi.flag, limits.T_wgi.flag)
                for b in ("low", "high")
            }
            told = None if test is None or len(bounds) > 1 else float(test)
            assert figures["T"]["value"] == told
            start = dict(zip(names, vectors.shares[0, k].tolist(), strict=True))
            gaps = [share[c] - start[c] for c in names if share[c] > 0 and c not in own and c not in ("UNK", "ROW")]
            value = figures["hidden_exposure"]["value"]
            assert value == (pytest.approx(max(gaps), abs=1e-9) if gaps else None)
