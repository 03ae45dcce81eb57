"""Rows of criticality on small worlds: every branch, every reason, levels, bounds, and brute force over the flows."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ketenpipe.chain.catalogue import Reference
from ketenpipe.observatory.labels import build_labels
from ketenpipe.risk.criticality import Inputs, build_criticality, criticality_codes
from ketenpipe.risk.definitions import INDICATORS, REASONS
from ketenpipe.risk.world import World
from ketenpipe.sources.criticality_inputs import CriticalityInputs, EndUse, Parameter
from ketenpipe.tables.registry import COUNTRY_RISK, CRITICALITY_INDICATORS, ELASTICITY, ICIO_ACCOUNTS, PRODUCT_USES
from ketenpipe_tests.worlds import (
    bloc,
    catalogue,
    essential,
    figure,
    flows,
    link,
    look,
    mass,
    mining,
    node,
    non_producer,
    one,
    scores,
    thresholds,
    trace,
)

YEAR = 2020
ORE, OXIDE, POWDER, BLANK, LISTED, SOLD, PART_A, PART_B = (f"{260000 + n}" for n in range(8))
RISKS = {"CHN": 0.8, "USA": 0.2, "DEU": 0.1, "NLD": 0.1, "BRA": 0.5}
MEMBERS = ("DEU", "NLD")


def reference() -> Reference:
    return catalogue(
        [
            node("ore", ORE, "Metal", stage="extraction"),
            node("oxide", OXIDE),
            node("mine_metal", "", "Metal", stage="extraction"),
            node("parts", f"{PART_A} {PART_B}"),
            node("blank", BLANK),
        ],
        [essential("oxide", "ore", "g"), essential("oxide", "mine_metal", "g"), essential("parts", "ore", "h")],
        {"g": "oxide", "h": "parts", "i": "blank"},
        links=[
            link(ORE, "Metal"),
            link(OXIDE, "Metal", same_form=False),
            link(POWDER, "Gas"),
            link(SOLD, "Metal", same_form=False),
            link(PART_A, "Part A"),
            link(PART_B, "Part B"),
        ],
        figures=[figure("blank", LISTED, YEAR, "CHN", share=0.6)],
        non_producers=[non_producer("NLD", code=ORE)],
        blocs=bloc("EU27", *MEMBERS),
    )


def trade() -> pa.Table:
    rows = mass(
        YEAR,
        ORE,
        ("CHN", "NLD", 60.0 * 10), ("USA", "NLD", 20.0 * 10), ("NLD", "DEU", 20.0 * 10), ("CHN", "DEU", 400.0),
        ("DEU", "USA", 100.0), ("BRA", "DEU", 300.0),
    )  # fmt: skip
    rows += mass(YEAR, OXIDE, ("CHN", "NLD", 500.0), ("XXA", "NLD", 500.0), ("NLD", "USA", 100.0))
    rows += mass(YEAR, POWDER, ("CHN", "NLD", 50.0))
    rows += [(YEAR, BLANK, "CHN", "NLD", 100.0, None)]
    rows += mass(YEAR, SOLD, ("NLD", "CHN", 500.0), ("CHN", "NLD", 200.0))
    rows += mass(YEAR, PART_A, ("CHN", "NLD", 300.0)) + mass(YEAR, PART_B, ("CHN", "NLD", 100.0), ("USA", "NLD", 100.0))
    rows += mass(YEAR, LISTED, ("CHN", "USA", 300.0))
    return flows(rows)


STATISTICS = [
    ("Metal", "CHN", YEAR, 6000.0), ("Metal", "USA", YEAR, 3000.0), ("Metal", "DEU", YEAR, 1000.0),
    ("Metal", "NLD", YEAR, 777.0), ("Part A", "CHN", YEAR, 900.0), ("Part A", "NLD", YEAR, None),
    ("Part B", "USA", YEAR, 500.0), ("Part B", "NLD", YEAR, 200.0),
]  # fmt: skip


def parameter(
    name: str, value: float, *, material: str = "Metal", node: str = "", status: str = "read", year: int = 2017
) -> Parameter:
    return Parameter("" if node else material, node, name, value, year, "EU27", "a book", status, "", "p.csv", 2)


PARAMETERS = CriticalityInputs(
    (
        parameter("eol_rir", 0.25),
        parameter("si_sr", 0.9),
        parameter("si_ei", 0.8),
        parameter("eol_rir", 0.1, node="parts"),
        parameter("si_sr", 0.5, material="Gas", status="recalled"),
        parameter("si_ei", 0.5, material="Gas", status="recalled"),
    )
)


@lru_cache
def default_world() -> World:
    return made_world()


def world(*args: Any, **kwargs: Any) -> World:
    return made_world(*args, **kwargs) if args or kwargs else default_world()


def made_world(
    table: pa.Table | None = None,
    ref: Reference | None = None,
    *,
    foci: tuple[str, ...] = ("NLD", "EU27"),
    statistics: list[Any] | None = None,
    risk: pa.Table | None = None,
) -> World:
    table, ref = trade() if table is None else table, reference() if ref is None else ref
    held = pa.concat_tables(
        [mining(STATISTICS if statistics is None else statistics), mining([("Gas", "CHN", YEAR, 5.0)], unit="Mio m3")]
    )
    traced = trace(table, ref, foci, held)
    exposure = look(table, ref, foci, held)
    governed = scores(RISKS, [YEAR]) if risk is None else risk
    return World(table, traced, exposure, held, governed, ref, foci, thresholds(), production_vintage="wmd")


@lru_cache
def built() -> pa.Table:
    return build_criticality(world(), YEAR, Inputs(PARAMETERS))


def got(indicator: str, code: str, focus: str = "NLD", table: pa.Table | None = None, **where: Any) -> dict[str, Any]:
    wanted = {"indicator": indicator, "code": code, "focus": focus, "level": "hs6", **where}
    return one(built() if table is None else table, **wanted)


# -- shape -----------------------------------------------------------------------------------------------------


def test_the_table_keeps_its_contract_and_its_words() -> None:
    assert built().schema == CRITICALITY_INDICATORS.schema()
    assert not CRITICALITY_INDICATORS.released
    assert CRITICALITY_INDICATORS.partitioned
    rows = built().to_pylist()
    assert {r["indicator"] for r in rows} == {"S3", "S4a", "S4b", "S4c", "IR", "G4", "G5", "G5s", "EI"}
    assert {r["level"] for r in rows} == {"hs6", "node", "group"}
    assert {r["focus"] for r in rows} == {"NLD", "EU27"}
    for row in rows:
        assert row["unit"] == INDICATORS[row["indicator"]].unit
        assert row["value"] is not None or row["reason"], row
        assert row["value"] is None or row["confidence"], row
        for word in (row["reason"] or "").split("; "):
            assert not word or word in REASONS or word.startswith(("material: ", "industry: ")), word
        if row["value"] is not None and row["low"] is not None:
            assert row["low"] - 1e-9 <= row["value"] <= row["high"] + 1e-9, row


def test_the_codes_whose_flows_are_needed() -> None:
    wanted = criticality_codes(reference())
    assert wanted == {ORE, OXIDE, POWDER, BLANK, LISTED, SOLD, PART_A, PART_B}


def test_levels_groups_and_tiers() -> None:
    rows = built().filter(pc.equal(built().column("indicator"), "S4a")).to_pylist()
    placed = {(r["level"], r["group"], r["code"], r["tier"]) for r in rows if r["focus"] == "NLD"}
    assert {p for p in placed if p[0] != "hs6"} == {
        ("node", "g", "oxide", 0), ("node", "g", "ore", 1), ("node", "g", "mine_metal", 1),
        ("node", "h", "parts", 0), ("node", "h", "ore", 1), ("node", "i", "blank", 0),
        ("group", "g", "g", 0), ("group", "h", "h", 0), ("group", "i", "i", 0),
    }  # fmt: skip
    assert {p[2] for p in placed if p[0] == "hs6"} == {ORE, OXIDE, POWDER, LISTED, SOLD, PART_A, PART_B}
    assert {p[1:2] + p[3:] for p in placed if p[0] == "hs6"} == {(None, 0)}


def test_a_group_s_figures_are_its_product_s() -> None:
    for indicator in ("IR", "G4", "G5", "S4a", "EI"):
        mine = got(indicator, "g", level="group")
        product = got(indicator, "oxide", level="node", group="g")
        assert mine | {"level": "", "code": ""} == product | {"level": "", "code": ""}


def test_another_year_has_no_trade_and_no_production() -> None:
    held = build_criticality(world(), 2019, Inputs(PARAMETERS))
    assert {r["level"] for r in held.to_pylist()} <= {"node", "group"}
    assert {r["value"] for r in held.to_pylist() if r["indicator"] in ("IR", "G4", "G5")} == {None}


def test_the_cut_offs_and_what_the_labels_say_of_them() -> None:
    held = thresholds()
    assert (held.G5.at_least, held.EI.at_least, held.S3.quantile) == (1.0, 2.8, 0.25)
    labels = build_labels({}, reference(), {}, held)
    told = {i: one(labels, kind="indicator", code=i)["threshold"] for i in ("G5", "EI", "S3", "IR")}
    assert told["G5"].startswith(">= 1 (EC criticality")
    assert told["EI"].startswith(">= 2.8 (EC criticality")
    assert told["S3"].startswith("lowest 25% of products (CEPII")
    assert told["IR"] is None


# -- S4 --------------------------------------------------------------------------------------------------------


def test_recycling_and_substitution_of_a_material() -> None:
    for indicator, value in (("S4a", 0.25), ("S4b", 0.9), ("S4c", 0.8)):
        row = got(indicator, OXIDE)
        assert (row["value"], row["basis"], row["measure"]) == (value, "published", "none")
        assert (row["reason"], row["confidence"], row["source_vintage"]) == (None, "medium", "parameters 2017")
    assert got("S4a", "mine_metal", level="node")["value"] == 0.25


def test_a_figure_of_a_node_comes_before_one_of_its_material() -> None:
    assert got("S4a", "parts", level="node", group="h")["value"] == 0.1
    assert got("S4a", PART_A)["value"] == 0.1
    assert got("S4b", PART_A)["reason"] == "no_substitution_index"


def test_a_recalled_figure_is_shown_and_enters_no_other() -> None:
    row = got("S4b", POWDER)
    assert (row["value"], row["reason"], row["confidence"]) == (0.5, "recalled_citation", "low")
    assert got("S4a", POWDER)["reason"] == "no_recycling_rate"
    risk = got("G5", POWDER)
    assert risk["value"] is None
    assert "recalled_citation" in risk["reason"].split("; ")
    assert "no_recycling_rate" in risk["reason"].split("; ")
    assert risk["method_value"] is None


# -- IR --------------------------------------------------------------------------------------------------------


def test_import_reliance_of_a_country_and_of_a_bloc() -> None:
    # NLD makes none (it is barred, whatever the statistic says): (800 - 200) / 600.
    row = got("IR", ORE)
    assert (row["value"], row["basis"], row["measure"]) == (1.0, "observed", "q")
    assert (row["low"], row["high"], row["reason"], row["confidence"]) == (None, None, None, "high")
    assert row["source_vintage"] == "baci HS92 V1; mining wmd"
    assert row["coverage"] == 1.0
    # The bloc: 1500 from outside, 100 to outside, 1000 made in Germany.
    assert got("IR", ORE, "EU27")["value"] == pytest.approx(1400 / 2400)


def test_import_reliance_without_production_of_the_form() -> None:
    row = got("IR", OXIDE)
    assert (row["value"], row["low"], row["high"]) == (None, 0.0, 1.0)
    assert (row["reason"], row["basis"], row["confidence"]) == ("no_same_form_production", "imports", None)
    sold = got("IR", SOLD)
    assert (sold["value"], sold["reason"], sold["basis"]) == (0.0, "net_exporter", "imports")
    assert sold["confidence"] == "high"


def test_import_reliance_without_mass_or_trade() -> None:
    row = got("IR", "blank", level="node")
    assert (row["value"], row["reason"], row["coverage"]) == (None, "no_mass", 0.0)
    none = got("IR", LISTED)
    assert (none["value"], none["reason"], none["coverage"]) == (None, "no_imports_no_exports", None)
    assert none["low"] is None


def test_a_listed_producer_without_a_figure_counts_with_its_surplus() -> None:
    row = got("IR", PART_A)
    assert (row["value"], row["reason"], row["confidence"]) == (1.0, "production_imputed", "medium")
    surplus = flows(mass(YEAR, PART_A, ("CHN", "NLD", 300.0), ("NLD", "USA", 500.0)))
    held = build_criticality(world(surplus), YEAR, Inputs())
    sold = got("IR", PART_A, table=held)
    assert sold["value"] == 0.0
    assert sold["reason"] == "net_exporter; production_imputed"
    assert sold["confidence"] == "low", "200 t of 500 are imputed"


def test_small_imports_carry_little() -> None:
    held = build_criticality(world(flows(mass(YEAR, ORE, ("CHN", "NLD", 99.0)))), YEAR, Inputs())
    for indicator in ("IR", "G4"):
        row = got(indicator, ORE, table=held)
        assert "small_or_precious" in row["reason"]
        assert row["confidence"] == "low"
    enough = build_criticality(world(flows(mass(YEAR, ORE, ("CHN", "NLD", 100.0)))), YEAR, Inputs())
    assert got("IR", ORE, table=enough)["confidence"] == "high"
    dear = build_criticality(world(flows(mass(YEAR, ORE, ("CHN", "NLD", 200.0), price=1001.0))), YEAR, Inputs())
    assert got("IR", ORE, table=dear)["confidence"] == "low"
    fair = build_criticality(world(flows(mass(YEAR, ORE, ("CHN", "NLD", 200.0), price=1000.0))), YEAR, Inputs())
    assert got("IR", ORE, table=fair)["reason"] is None


# -- G4 --------------------------------------------------------------------------------------------------------

HHI = (0.6**2 + 0.3**2 + 0.1**2) * (10000 / 10777) ** 2 + (777 / 10777) ** 2
"""Of the statistic as it stands: what is barred for the tracing is a producer of C3 all the same."""


def test_geopolrisk_of_a_country() -> None:
    row = got("G4", ORE)
    expected = HHI * (600 * 0.8 + 200 * 0.2) / 800
    assert (row["value"], row["low"], row["high"]) == pytest.approx((expected,) * 3)
    assert row["method_value"] == pytest.approx(HHI * (600 * 0.8 + 200 * 0.2) / (800 + 777)), "as the statistic has it"
    assert (row["country"], row["country_share"], row["coverage"]) == ("CHN", 0.75, 1.0)
    assert (row["basis"], row["measure"], row["reason"]) == ("observed", "q", "material: Metal")
    assert row["source_vintage"] == "baci HS92 V1; mining wmd; wgi 2024 edition"


def test_geopolrisk_of_a_bloc_leaves_its_own_trade_out() -> None:
    row = got("G4", ORE, "EU27")
    assert row["value"] == pytest.approx(HHI * (1000 * 0.8 + 200 * 0.2 + 300 * 0.5) / (1500 + 1000))
    assert row["method_value"] == pytest.approx(HHI * (1000 * 0.8 + 200 * 0.2 + 300 * 0.5) / (1500 + 1777))


def test_geopolrisk_without_production_of_the_form() -> None:
    row = got("G4", OXIDE)
    assert row["value"] is None
    assert row["reason"] == "no_same_form_production; material: Metal; other_form"
    assert row["low"] == 0.0
    assert row["high"] == pytest.approx(HHI * (500 * 0.8 + 500) / 1000), "no score: at worst 1"
    assert row["method_value"] == pytest.approx(HHI * (500 * 0.8 + 500 * 0.5) / (1000 + 777))
    assert row["coverage"] == 0.5
    assert row["confidence"] is None


def test_geopolrisk_says_what_is_lacking() -> None:
    assert got("G4", "parts", level="node")["reason"] == "no_production_data"
    none = got("G4", LISTED)
    assert none["reason"] == "no_imports; material: 260004; other_form"
    assert (none["value"], none["low"], none["high"], none["basis"]) == (None, None, None, "producer_list")
    volume = got("G4", POWDER)
    assert volume["method_value"] is None, "a volume is no mass"
    assert volume["high"] is not None
    bare = build_criticality(world(risk=COUNTRY_RISK.empty()), YEAR, Inputs())
    row = got("G4", ORE, table=bare)
    assert row["reason"].startswith("no_governance_data")
    assert (row["low"], row["high"], row["method_value"], row["country"]) == (None, None, None, None)
    elsewhere = build_criticality(world(risk=scores({"AUS": 0.1}, [YEAR])), YEAR, Inputs())
    assert got("G4", ORE, table=elsewhere)["reason"].startswith("no_governance_score")


def test_without_mass_there_is_no_geopolrisk() -> None:
    table = flows([(YEAR, ORE, "CHN", "NLD", 100.0, None)])
    held = build_criticality(world(table), YEAR, Inputs(PARAMETERS))
    for indicator in ("IR", "G4", "G5"):
        row = got(indicator, ORE, table=held)
        assert row["value"] is None
        assert row["reason"].startswith("no_mass"), indicator
    sold = flows([*mass(YEAR, ORE, ("CHN", "NLD", 200.0)), (YEAR, ORE, "NLD", "USA", 100.0, None)])
    assert got("IR", ORE, table=build_criticality(world(sold), YEAR, Inputs()))["reason"] == "no_mass"


# -- G5 --------------------------------------------------------------------------------------------------------

SHARES = {"CHN": 6000 / 10777, "USA": 3000 / 10777, "DEU": 1000 / 10777, "NLD": 777 / 10777}
WORLD = 10 * sum(s * s * RISKS[c] for c, s in SHARES.items())


def test_supply_risk_of_a_country_and_a_bloc() -> None:
    row = got("G5", ORE)
    sourcing = 10 * (0.75**2 * 0.8 + 0.25**2 * 0.2)
    expected = (WORLD * 0.5 + sourcing * 0.5) * 0.75 * 0.9
    assert (row["value"], row["low"], row["high"], row["method_value"]) == pytest.approx((expected,) * 4)
    assert (row["country"], row["country_share"]) == ("CHN", pytest.approx(SHARES["CHN"]))
    assert (row["reason"], row["coverage"], row["measure"]) == ("material: Metal", 1.0, "q")
    assert row["source_vintage"] == "baci HS92 V1; mining wmd; wgi 2024 edition; parameters 2017"
    # The bloc: 1000 t made in Germany beside 1500 t of imports, reliance 1400 / 2400.
    amounts = {"CHN": 1000, "USA": 200, "BRA": 300, "DEU": 1000}
    sourcing = 10 * sum((q / 2500) ** 2 * RISKS[c] for c, q in amounts.items())
    reliance = 1400 / 2400
    expected = (WORLD * reliance / 2 + sourcing * (1 - reliance / 2)) * 0.75 * 0.9
    assert got("G5", ORE, "EU27")["value"] == pytest.approx(expected)


def test_the_sourcing_stands_beside_the_supply_risk() -> None:
    amounts = {"CHN": 1000, "USA": 200, "BRA": 300, "DEU": 1000}
    row = got("G5s", ORE, "EU27")
    assert row["value"] == pytest.approx(10 * sum((q / 2500) ** 2 * RISKS[c] for c, q in amounts.items()))
    assert (row["measure"], row["basis"], row["coverage"], row["confidence"]) == ("q", "observed", 1.0, "high")
    assert (row["low"], row["high"]) == (row["value"], row["value"])
    assert row["reason"] is None
    assert row["source_vintage"] == "baci HS92 V1; mining wmd; wgi 2024 edition"
    held = {r["code"] for r in built().to_pylist() if r["indicator"] == "G5s" and r["focus"] == "NLD"}
    assert held == {ORE, PART_A, PART_B, "ore", "parts", "h"}, "of the others the form's production is not known"
    assert got("G5s", PART_A)["reason"] == "production_imputed"


def test_supply_risk_without_production_of_the_form_is_bounded() -> None:
    row = got("G5", OXIDE)
    assert row["value"] is None
    assert row["reason"] == "no_same_form_production; material: Metal; other_form; global_supply_only"
    assert row["low"] == 0.0
    # All from the two origins, one unscored: 10 * (0.25 * 0.8 + 0.25 * 1) = 4.5; the Netherlands alone: 1.
    assert row["high"] == pytest.approx(max(4.5, (WORLD + 4.5) / 2) * 0.75 * 0.9)
    assert row["method_value"] == pytest.approx(WORLD * 0.75 * 0.9)
    assert row["confidence"] is None


def test_supply_risk_without_parameters_has_an_upper_bound() -> None:
    held = build_criticality(world(), YEAR, Inputs())
    row = got("G5", ORE, table=held)
    assert row["value"] is None
    assert row["method_value"] is None
    assert row["reason"] == "no_recycling_rate; no_substitution_index; material: Metal"
    assert row["low"] == 0.0
    assert row["high"] == pytest.approx(WORLD * 0.5 + 10 * (0.75**2 * 0.8 + 0.25**2 * 0.2) * 0.5)
    half = Inputs(CriticalityInputs((parameter("eol_rir", 0.25),)))
    row = got("G5", ORE, table=build_criticality(world(), YEAR, half))
    assert row["reason"] == "no_substitution_index; material: Metal"
    assert row["high"] == pytest.approx((WORLD * 0.5 + 10 * (0.75**2 * 0.8 + 0.25**2 * 0.2) * 0.5) * 0.75)


def test_supply_risk_of_a_mine_is_that_of_the_world() -> None:
    row = got("G5", "mine_metal", level="node")
    assert row["value"] is None
    assert row["method_value"] == pytest.approx(WORLD * 0.75 * 0.9)
    assert row["reason"] == "no_trade_codes; material: Metal; global_supply_only"
    assert (row["measure"], row["basis"], row["low"], row["high"]) == ("p", "observed", None, None)
    assert not [r for r in built().to_pylist() if r["code"] == "mine_metal" and r["indicator"] in ("IR", "G4", "EI")]
    bare = build_criticality(world(), YEAR, Inputs())
    assert got("G5", "mine_metal", level="node", table=bare)["method_value"] is None


def test_supply_risk_says_what_is_lacking() -> None:
    row = got("G5", "parts", level="node")
    assert (row["value"], row["high"], row["reason"]) == (None, None, "no_production_data")
    assert got("G5", "blank", level="node")["reason"].startswith("no_mass; no_recycling_rate; no_substitution_index")
    bare = build_criticality(world(risk=COUNTRY_RISK.empty()), YEAR, Inputs(PARAMETERS))
    assert got("G5", ORE, table=bare)["reason"] == "no_governance_data"
    # Sources without a score: the world has one, the imports have none.
    table = flows(mass(YEAR, ORE, ("XXA", "NLD", 200.0)))
    held = build_criticality(world(table), YEAR, Inputs(PARAMETERS))
    row = got("G5", ORE, table=held)
    assert row["value"] is None
    assert row["reason"] == "no_governance_score; material: Metal; global_supply_only"
    assert row["coverage"] == 0.0
    assert row["high"] == pytest.approx((WORLD / 2 + 10 / 2) * 0.75 * 0.9)
    elsewhere = flows(mass(YEAR, ORE, ("CHN", "USA", 200.0)))
    held = build_criticality(world(elsewhere), YEAR, Inputs(PARAMETERS))
    assert got("G5", ORE, table=held)["reason"] == "no_imports_no_exports; material: Metal"


def test_a_producer_list_lowers_the_confidence() -> None:
    ref = replace(reference(), producer_figures=(figure("ore", ORE, YEAR, "NLD", 100.0),), non_producers=())
    held = build_criticality(world(ref=replace(ref, production_links=())), YEAR, Inputs())
    row = got("IR", ORE, table=held)
    assert (row["basis"], row["value"], row["confidence"]) == ("producer_list", pytest.approx(600 / 700), "medium")


def test_an_open_world_mix_lowers_the_confidence() -> None:
    listed = [*STATISTICS, ("Metal", "AUS", YEAR, None)]
    held = build_criticality(world(statistics=listed), YEAR, Inputs(PARAMETERS))
    assert got("G5", ORE, table=held)["confidence"] == "medium"
    assert got("G4", ORE, table=held)["confidence"] == "medium"
    assert got("IR", ORE, table=held)["confidence"] == "high"


# -- nodes of several codes --------------------------------------------------------------------------------------


def test_a_node_is_on_its_summed_flows() -> None:
    # 500 t in, 0 out; Part A: surplus of NLD 0; Part B: 200 t made.
    row = got("IR", "parts", level="node")
    assert row["value"] == pytest.approx(500 / 700)
    assert row["reason"] == "production_imputed"
    assert got("IR", PART_B)["value"] == pytest.approx(200 / 400)
    assert got("G4", "parts", level="node")["reason"] == "no_production_data", "two materials have no world mix"


def test_one_statistic_for_two_codes_counts_once() -> None:
    ref = catalogue([node("both", f"{ORE} {OXIDE}")], links=[link(ORE, "Metal"), link(OXIDE, "Metal")])
    held = build_criticality(world(ref=ref, foci=("NLD",)), YEAR, Inputs())
    assert got("IR", "both", level="node", table=held)["reason"] == "no_same_form_production"
    own = catalogue([node("both", f"{ORE} {OXIDE}", "Metal")], links=[link(ORE, "Metal", same_form=False)])
    held = build_criticality(world(ref=own, foci=("NLD",)), YEAR, Inputs())
    # 1800 t in, 300 t out, 777 t made by the node's own statistic.
    assert got("IR", "both", level="node", table=held)["value"] == pytest.approx(1500 / 2277)
    assert got("IR", ORE, table=held)["reason"] == "no_same_form_production"


def test_a_node_whose_codes_lack_a_statistic_has_none() -> None:
    ref = catalogue([node("both", f"{ORE} {OXIDE}")], links=[link(ORE, "Metal")])
    held = build_criticality(world(ref=ref, foci=("NLD",)), YEAR, Inputs())
    assert got("IR", "both", level="node", table=held)["reason"] == "no_same_form_production"


# -- S3 --------------------------------------------------------------------------------------------------------


def elasticities(*rows: tuple[str, float | None]) -> pa.Table:
    return ELASTICITY.conform(
        {
            "hs_revision": "HS92", "code": code, "elasticity": value, "significant": value is not None,
            "positive": False, "vintage": "ProTEE 0.1",
        }
        for code, value in rows
    )  # fmt: skip


def test_without_a_source_s3_says_so() -> None:
    for row in (got("S3", ORE), got("S3", "parts", level="node"), got("S3", "g", level="group")):
        assert (row["value"], row["reason"], row["basis"]) == (None, "no_elasticity_source", "published")
    empty = build_criticality(world(), YEAR, Inputs(elasticity=ELASTICITY.empty()))
    assert got("S3", ORE, table=empty)["reason"] == "no_elasticity_source"


def test_s3_of_every_code_and_of_nodes() -> None:
    source = elasticities((ORE, -6.0), (PART_A, -2.0), (PART_B, -8.0), (BLANK, None))
    held = build_criticality(world(), YEAR, Inputs(elasticity=source))
    row = got("S3", ORE, table=held)
    assert (row["value"], row["unit"], row["tier"]) == (6.0, "elasticity", 0)
    assert row["source_vintage"] == "elasticity ProTEE 0.1"
    assert got("S3", BLANK, table=held)["reason"] == "elasticity_not_significant"
    assert got("S3", SOLD, table=held)["reason"] == "no_elasticity"
    assert got("S3", ORE, "EU27", table=held)["value"] == 6.0
    # 300 t of A and 200 t of B at one price.
    node_row = got("S3", "parts", level="node", table=held)
    assert node_row["value"] == pytest.approx((300 * 2 + 200 * 8) / 500)
    assert (node_row["low"], node_row["high"], node_row["coverage"]) == (2.0, 8.0, 1.0)
    assert (node_row["worst_code"], node_row["worst_value"]) == (PART_A, 2.0)
    assert (node_row["confidence"], node_row["reason"]) == ("high", None)
    assert node_row["source_vintage"] == "baci HS92 V1; elasticity ProTEE 0.1"
    single = got("S3", "ore", level="node", group="g", table=held)
    assert (single["value"], single["confidence"], single["reason"]) == (6.0, "high", None)
    assert got("S3", "blank", level="node", table=held)["reason"] == "elasticity_not_significant"
    # Of 2, 6 and 8 the quarter lies at 4: only what is strictly below it is low.
    assert got("S3", PART_A, table=held)["reason"] == "lowest_quarter"
    assert got("S3", ORE, table=held)["reason"] is None
    low = build_criticality(world(), YEAR, Inputs(elasticity=elasticities((PART_A, -2.0), (PART_B, -2.0), (ORE, -9.0))))
    assert got("S3", "parts", level="node", table=low)["reason"] is None, "on the cut is not below it"
    deep = elasticities((PART_A, -2.0), (PART_B, -2.5), (ORE, -9.0), (SOLD, -9.0))
    held = build_criticality(world(), YEAR, Inputs(elasticity=deep))
    assert got("S3", "parts", level="node", table=held)["reason"] == "lowest_quarter"


def test_s3_of_a_node_with_a_gap() -> None:
    held = build_criticality(world(), YEAR, Inputs(elasticity=elasticities((PART_A, -2.0), (PART_B, None))))
    row = got("S3", "parts", level="node", table=held)
    assert (row["value"], row["coverage"], row["confidence"]) == (2.0, 0.6, "low")
    none = build_criticality(world(), YEAR, Inputs(elasticity=elasticities((PART_A, None), (ORE, -1.0))))
    row = got("S3", "parts", level="node", table=none)
    assert (row["value"], row["reason"]) == (None, "elasticity_not_significant; no_elasticity")
    both = Inputs(elasticity=elasticities((PART_A, -2.0), (PART_B, -8.0)))
    elsewhere = flows(mass(YEAR, PART_A, ("CHN", "USA", 200.0)) + mass(YEAR, PART_B, ("CHN", "USA", 200.0)))
    row = got("S3", "parts", level="node", table=build_criticality(world(elsewhere), YEAR, both))
    assert (row["value"], row["reason"]) == (None, "no_imports")


# -- EI --------------------------------------------------------------------------------------------------------


def accounts(*rows: tuple[str, str, float], year: int = YEAR, synthetic: bool = False) -> pa.Table:
    return ICIO_ACCOUNTS.conform(
        {
            "year": year, "country": country, "industry": industry, "value_added": value, "edition": "test",
            "vintage": "table 2020", "synthetic": synthetic,
        }
        for country, industry, value in rows
    )  # fmt: skip


def uses(
    *rows: tuple[str, str, float], focus: str = "NLD", kind: str = "product", reason: str | None = None
) -> pa.Table:
    return PRODUCT_USES.conform(
        {
            "focus": focus, "hs_revision": "HS92", "industry": industry, "year": YEAR, "recipe_year": YEAR,
            "rank": n + 1, "kind": kind, "country": "CHN", "supplier_industry": "B", "code": code,
            "value_kusd": pa.scalar(f"{value:.3f}").cast(pa.decimal128(18, 3)).as_py(), "share": 0.1,
            "basis": "icio_proportional", "evidence": "icio_proportional", "reason": reason,
        }
        for n, (industry, code, value) in enumerate(rows)
    )  # fmt: skip


ACCOUNTS = accounts(
    ("NLD", "C20", 40.0), ("NLD", "C25", 80.0), ("NLD", "G", 900.0), ("DEU", "C20", 60.0), ("DEU", "C25", 120.0),
    ("USA", "C20", 999.0),
)  # fmt: skip


def end_use(industry: str, share: float, status: str = "read") -> EndUse:
    return EndUse("Metal", "", industry, share, 2017, "EU27", "a book", status, "", "e.csv", 2)


def importance(inputs: Inputs, code: str = ORE, focus: str = "NLD") -> dict[str, Any]:
    return got("EI", code, focus, table=build_criticality(world(), YEAR, inputs))


def test_economic_importance_with_cited_end_uses() -> None:
    cited = replace(PARAMETERS, end_uses=(end_use("C20", 0.5), end_use("C25", 0.5)))
    row = importance(Inputs(cited, accounts=ACCOUNTS))
    assert row["value"] == pytest.approx(10 * (0.5 * 40 + 0.5 * 80) / 80 * 0.8)
    assert (row["low"], row["high"]) == (row["value"], row["value"])
    assert (row["basis"], row["measure"], row["confidence"], row["coverage"]) == ("icio", "v", "medium", 1.0)
    assert row["reason"] == "industry: C25"
    assert row["source_vintage"] == "icio table 2020; parameters 2017"
    # The bloc adds up its members: 100 and 200.
    assert importance(Inputs(cited, accounts=ACCOUNTS), focus="EU27")["value"] == pytest.approx(10 * 150 / 200 * 0.8)


def test_end_uses_that_leave_a_part_open_are_bounded() -> None:
    cited = replace(PARAMETERS, end_uses=(end_use("C25", 0.6),))
    row = importance(Inputs(cited, accounts=ACCOUNTS))
    assert row["value"] == pytest.approx(6.0 * 0.8)
    assert row["high"] == pytest.approx(10.0 * 0.8)
    assert row["coverage"] == 0.6


def test_economic_importance_says_what_is_lacking() -> None:
    cited = replace(PARAMETERS, end_uses=(end_use("C25", 1.0),))
    assert importance(Inputs(cited))["reason"] == "no_input_output_table"
    assert importance(Inputs(cited, accounts=ICIO_ACCOUNTS.empty()))["reason"] == "no_input_output_table"
    far = accounts(("USA", "C25", 5.0))
    assert importance(Inputs(cited, accounts=far))["reason"] == "no_region"
    services = accounts(("NLD", "G", 5.0), ("NLD", "C25", 0.0))
    assert importance(Inputs(cited, accounts=services))["reason"] == "no_manufacturing"
    other = replace(PARAMETERS, end_uses=(end_use("D35", 1.0),))
    assert importance(Inputs(other, accounts=ACCOUNTS))["reason"] == "industry_not_in_table"
    said = replace(PARAMETERS, end_uses=(end_use("C25", 1.0, "recalled"),))
    row = importance(Inputs(said, accounts=ACCOUNTS))
    assert (row["value"], row["reason"]) == (None, "recalled_citation")
    assert importance(Inputs(PARAMETERS, accounts=ACCOUNTS))["reason"] == "no_end_use; one_recipe_per_industry"


def test_without_an_index_the_importance_has_an_upper_bound() -> None:
    cited = CriticalityInputs(end_uses=(end_use("C25", 1.0),))
    row = importance(Inputs(cited, accounts=ACCOUNTS))
    assert (row["value"], row["low"], row["high"]) == (None, 0.0, 10.0)
    assert row["reason"] == "no_substitution_index; industry: C25"
    assert row["confidence"] is None
    said = CriticalityInputs((parameter("si_ei", 0.5, status="recalled"),), (end_use("C25", 1.0),))
    assert importance(Inputs(said, accounts=ACCOUNTS))["reason"] == "recalled_citation; industry: C25"


def test_without_end_uses_the_table_s_proportions_stand_in() -> None:
    table = uses(
        ("C20", ORE, 30.0), ("C25", ORE, 10.0), ("G", ORE, 60.0), ("C20", OXIDE, 99.0), reason="subset_of_products"
    )
    row = importance(Inputs(PARAMETERS, accounts=ACCOUNTS, uses=table))
    assert row["value"] == pytest.approx(10 * (0.75 * 40 + 0.25 * 80) / 80 * 0.8)
    assert (row["basis"], row["confidence"], row["coverage"]) == ("icio_proportional", "low", 0.4)
    assert row["reason"] == "industry: C20; one_recipe_per_industry; subset_of_products"
    assert row["source_vintage"] == "icio table 2020; baci HS92 V1; parameters 2017"
    for other in (uses(("C20", ORE, 30.0), focus="EU27"), uses(("C20", ORE, 30.0), kind="industry")):
        assert importance(Inputs(PARAMETERS, accounts=ACCOUNTS, uses=other))["reason"].startswith("no_end_use")
    assert importance(Inputs(PARAMETERS, accounts=ACCOUNTS, uses=uses(("G", ORE, 9.0))))["value"] is None


def test_a_made_up_table_and_one_of_another_year_say_so() -> None:
    cited = replace(PARAMETERS, end_uses=(end_use("C25", 1.0),))
    made_up = accounts(("NLD", "C25", 5.0), synthetic=True, year=2018)
    row = importance(Inputs(cited, accounts=made_up))
    assert (row["basis"], row["confidence"]) == ("synthetic", "low")
    assert row["reason"] == "industry: C25; synthetic; recipe_of_another_year"
    bloc_row = importance(Inputs(cited, accounts=made_up), focus="EU27")
    assert bloc_row["reason"].endswith("members_without_region")


# -- what must always hold ---------------------------------------------------------------------------------------


@settings(max_examples=8, deadline=None)
@given(st.floats(0.5, 50.0))
def test_another_unit_of_mass_changes_nothing(factor: float) -> None:
    table = flows(mass(YEAR, ORE, ("CHN", "NLD", 600.0 * factor), ("USA", "NLD", 400.0 * factor)))
    made = [(m, c, y, None if q is None else q * factor) for m, c, y, q in STATISTICS]
    held = build_criticality(world(table, statistics=made, foci=("NLD",)), YEAR, Inputs(PARAMETERS))
    once = build_criticality(
        world(flows(mass(YEAR, ORE, ("CHN", "NLD", 600.0), ("USA", "NLD", 400.0))), foci=("NLD",)),
        YEAR,
        Inputs(PARAMETERS),
    )
    for indicator in ("IR", "G4", "G5"):
        assert got(indicator, ORE, table=held)["value"] == pytest.approx(got(indicator, ORE, table=once)["value"])


def test_the_same_inputs_give_the_same_table() -> None:
    shuffled = trade().take(list(reversed(range(trade().num_rows))))
    again = build_criticality(world(shuffled), YEAR, Inputs(PARAMETERS))
    assert again.equals(built())
