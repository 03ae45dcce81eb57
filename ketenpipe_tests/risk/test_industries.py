"""I1 to I6: by hand on a chain of three countries, reasons on rows by hand, and recomputed from random tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings

from ketenpipe.chain.industry import build_industry
from ketenpipe.risk.definitions import INDICATORS as WORDS
from ketenpipe.risk.definitions import REASONS
from ketenpipe.risk.industries import build_industry_indicators
from ketenpipe.sources.icio import IcioTable
from ketenpipe.tables.registry import (
    COUNTRY_RISK,
    INDUSTRY_EXPOSURE,
    INDUSTRY_INDICATORS,
    INDUSTRY_MEASURES,
    INDUSTRY_TIERS,
)
from ketenpipe_tests.chain.io_worlds import CHAIN, random_table, table, worlds
from ketenpipe_tests.worlds import catalogue, one, rows, scores

REFERENCE = catalogue(blocs=())
RISKS = {"CHN": 0.8, "DEU": 0.1}
IDS = ("I1", "I1a", "I2", "I2a", "I2b", "I3", "I4", "I5", "I5a", "I5b", "I6")
EDITIONS = {2020: "test 2020"}


def of_table(held: IcioTable, focus: str, risks: Mapping[str, float | None] | None = None) -> pa.Table:
    made = build_industry([held], REFERENCE, (focus,))
    risk = COUNTRY_RISK.empty() if risks is None else scores(risks, [2020])
    return build_industry_indicators(
        made.industry_exposure, made.industry_tiers, made.industry_measures, risk, EDITIONS
    )


def figure(made: pa.Table, indicator: str, **where: Any) -> dict[str, Any]:
    return one(made, indicator=indicator, **where)


def test_the_chain_by_hand() -> None:
    # FV of NLD: DEU 50/60, CHN 10/60. FIR: DEU .5/.85, CHN .35/.85: hidden(CHN) = (.35/.85) / (1/6) = 2.4706.
    made = of_table(CHAIN, "NLD", RISKS)
    assert {r["indicator"] for r in made.to_pylist()} == set(IDS)
    assert made.schema.equals(INDUSTRY_INDICATORS.schema(), check_metadata=True)
    china, germany = 0.35 / 0.85, 0.5 / 0.85
    face = figure(made, "I1")
    assert (face["value"], face["country"], face["country_share"]) == (
        pytest.approx(5 / 6),
        "DEU",
        pytest.approx(5 / 6),
    )
    assert (face["low"], face["high"]) == (face["value"], face["value"])
    assert (face["level"], face["code"], face["hs_revision"], face["group"]) == ("industry", "C10", None, None)
    assert (face["tier"], face["measure"], face["basis"]) == (None, "v", "icio")
    assert (face["unit"], face["confidence"], face["source_vintage"]) == ("share", "medium", "icio test 2020")
    through = figure(made, "I2")
    assert (through["value"], through["country"]) == (pytest.approx(germany), "DEU")
    assert figure(made, "I1a")["value"] == pytest.approx((5 / 6) ** 2 + (1 / 6) ** 2)
    assert figure(made, "I2a")["value"] == pytest.approx(germany**2 + china**2)
    # The table has no rest of the world: nothing to leave out.
    for indicator in ("I1a", "I2a"):
        row = figure(made, indicator)
        assert row["low"] == row["high"] == row["value"]
    risk = figure(made, "I2b")
    assert risk["value"] == pytest.approx(germany * 0.1 + china * 0.8)
    assert (risk["coverage"], risk["low"], risk["high"]) == (pytest.approx(1), risk["value"], risk["value"])
    assert risk["source_vintage"] == "icio test 2020; wgi 2024 edition"
    hidden = figure(made, "I4")
    assert (hidden["value"], hidden["country"]) == (pytest.approx(china * 6), "CHN")
    assert (hidden["country_share"], hidden["reason"]) == (pytest.approx(china), None)
    assert (figure(made, "I3")["value"], figure(made, "I3")["reason"]) == (None, "no_intermediate_sales")
    assert figure(made, "I5")["value"] == pytest.approx(1.0)
    assert (figure(made, "I5a")["value"], figure(made, "I5a")["country"]) == (pytest.approx(1.0), "DEU")
    assert (figure(made, "I5b")["value"], figure(made, "I5b")["country"]) == (pytest.approx(0.0), "DEU")
    rank = figure(made, "I6")
    assert (rank["value"], rank["country"], rank["worst_code"], rank["worst_value"]) == (1.0, "DEU", "DEU", 1.0)
    assert (rank["reason"], rank["unit"]) == ("rank_only", "rank")


def test_the_market_side_and_a_chain_of_two_steps() -> None:
    # CHN sells 40 to DEU and 10 to NLD, DEU 50 to NLD: FMR of CHN: DEU 8/15, NLD 7/15; CHN itself buys nothing.
    made = of_table(CHAIN, "CHN", RISKS)
    market = figure(made, "I3")
    assert (market["value"], market["country"], market["country_share"]) == (pytest.approx(8 / 15), "DEU", None)
    for indicator in ("I1", "I1a", "I2", "I2a", "I2b", "I4", "I5a", "I5b", "I6"):
        row = figure(made, indicator)
        assert (row["value"], row["reason"]) == (None, "no_intermediate_inputs"), indicator
        assert (row["country"], row["low"], row["high"], row["confidence"]) == (None, None, None, None)


def test_a_made_up_table_is_marked() -> None:
    held = table(list(CHAIN.labels), CHAIN.Z, CHAIN.OUT, synthetic=True)
    for row in of_table(held, "NLD").to_pylist():
        assert row["basis"] == "synthetic"
        assert row["confidence"] == (None if row["value"] is None else "low")


@pytest.mark.filterwarnings("error")
def test_without_scores() -> None:
    nothing = figure(of_table(CHAIN, "NLD"), "I2b")
    assert (nothing["value"], nothing["reason"]) == (None, "no_governance_data")
    other = figure(of_table(CHAIN, "NLD", {"USA": 0.5}), "I2b")
    assert (other["value"], other["reason"]) == (None, "no_governance_score")
    for row in (nothing, other):
        assert (row["low"], row["high"], row["coverage"]) == (None, None, None)
    # CHN has .35/.85 of the inputs and no score: the others' 1 is renormalised, the bounds give CHN 0 and 1.
    part = figure(of_table(CHAIN, "NLD", {"DEU": 0.1}), "I2b")
    germany = 0.5 / 0.85
    assert (part["value"], part["coverage"]) == (pytest.approx(0.1), pytest.approx(germany))
    assert (part["low"], part["high"]) == (pytest.approx(0.1 * germany), pytest.approx(0.1 * germany + 1 - germany))


# -- rows by hand: the rest of the world, and what is missing ------------------------------------------------


def exposure(*given: tuple[str, float | None, float | None, str | None], **shared: Any) -> pa.Table:
    """``(country, FV, FIR, reason)`` of industry C10 of NLD, or another; both are shares of all inputs."""
    abroad = [sum(float(r[k] or 0.0) for r in given if r[0] != "NLD") for k in (1, 2)]
    made = []
    for country, face, through, reason in given:
        row: dict[str, Any] = {
            "focus": "NLD", "industry": "C10", "country": country, "year": 2020, "face_value": face,
            "look_through": through, "market_side": 0.5 if country == "CHN" else 0.25, "basis": "icio",
            "reason": reason,
        }  # fmt: skip
        if country != "NLD" and face is not None and through is not None:
            row["face_value_foreign"] = face / abroad[0] if abroad[0] else None
            row["look_through_foreign"] = through / abroad[1] if abroad[1] else None
            if through >= 0.01 and face > 0:
                row["hidden_ratio"] = row["look_through_foreign"] / row["face_value_foreign"]
        made.append(row | shared)
    return INDUSTRY_EXPOSURE.conform(made)


def measure(name: str, value: float | None, **columns: Any) -> dict[str, Any]:
    return {
        "focus": "NLD", "industry": "C10", "country": None, "partner_industry": None, "year": 2020, "measure": name,
        "value": value, "rank": None, "basis": "icio", "reason": None,
    } | columns  # fmt: skip


def made_of(held: pa.Table, measures: list[dict[str, Any]] | None = None) -> pa.Table:
    return build_industry_indicators(
        held, INDUSTRY_TIERS.empty(), INDUSTRY_MEASURES.conform(measures or []), COUNTRY_RISK.empty(), {}
    )


def test_the_rest_of_the_world_is_no_country() -> None:
    # ROW is behind more than any country: it is never named, but a country within it may be that large.
    held = exposure(("NLD", 0.5, 0.4, None), ("CHN", 0.1, 0.2, None), ("DEU", 0.1, 0.1, None), ("ROW", 0.3, 0.3, None))
    measures = [
        measure("content_hhi", 0.39), measure("face_value_hhi", 0.44),
        measure("extraction_ghosh", None, country="ROW", rank=1, reason="rank_only"),
        measure("extraction_ghosh", None, country="DEU", rank=2, reason="rank_only"),
        measure("extraction_ghosh", None, country="CHN", rank=3, reason="rank_only"),
    ]  # fmt: skip
    made = made_of(held, measures)
    face, through = figure(made, "I1"), figure(made, "I2")
    # CHN and DEU deliver as much: the first by code is named.
    assert (face["value"], face["high"], face["country"], face["country_share"]) == (
        0.1, 0.3, "CHN", pytest.approx(0.2),
    )  # fmt: skip
    assert (through["value"], through["high"], through["country"]) == (0.2, 0.3, "CHN")
    # The HHI counts ROW as one origin (share .3/.6 of FIR, .3/.5 of FV), low leaves it out.
    assert (figure(made, "I2a")["low"], figure(made, "I2a")["high"]) == (pytest.approx(0.39 - 0.25), 0.39)
    assert figure(made, "I1a")["low"] == pytest.approx(0.44 - 0.36)
    assert (figure(made, "I2a")["country"], figure(made, "I2a")["country_share"]) == ("CHN", pytest.approx(1 / 3))
    # hidden: CHN (.2/.6)/(.1/.5) = 1.667, DEU (.1/.6)/(.1/.5) = .833; ROW's is no country's.
    assert (figure(made, "I4")["value"], figure(made, "I4")["country"]) == (pytest.approx(5 / 3), "CHN")
    # Ranks among named countries: DEU 1, CHN 2.
    rank = figure(made, "I6")
    assert (rank["value"], rank["worst_code"], rank["worst_value"]) == (2.0, "DEU", 1.0)
    assert figure(made, "I5")["source_vintage"] is None


def test_only_the_rest_of_the_world() -> None:
    made = made_of(exposure(("NLD", 0.5, 0.4, None), ("ROW", 0.5, 0.6, None)))
    for indicator in ("I1", "I2", "I3", "I5a", "I5b", "I6"):
        assert (figure(made, indicator)["value"], figure(made, indicator)["reason"]) == (None, "rest_of_world_only")
    assert (figure(made, "I4")["value"], figure(made, "I4")["reason"]) == (None, "below_reliance")


def test_a_country_behind_nothing_has_no_share() -> None:
    # All that is bought abroad comes from the rest of the world, and next to nothing of CHN stands behind it.
    held = exposure(("NLD", 0.5, 0.4, None), ("CHN", 0.0, 0.0, None), ("ROW", 0.5, 0.6, None), market_side=0.0)
    made = made_of(held, [measure("content_hhi", 1.0), measure("face_value_hhi", 1.0)])
    for indicator, high in (("I1", 0.5), ("I2", 0.6)):
        row = figure(made, indicator)
        assert (row["value"], row["high"], row["country"], row["country_share"]) == (0.0, high, None, None)
    for indicator in ("I1a", "I2a"):
        row = figure(made, indicator)
        assert (row["low"], row["high"], row["country"], row["country_share"]) == (0.0, 1.0, None, None)
    for indicator in ("I5a", "I5b", "I6"):
        assert (figure(made, indicator)["value"], figure(made, indicator)["reason"]) == (None, "rest_of_world_only")


def test_a_lean_without_a_direct_delivery_has_no_ratio() -> None:
    home = ("NLD", 0.5, 0.4, None)
    # CHN is behind 5 % and delivers nothing itself; beside DEU's ratio that is said, alone it is the reason.
    beside = figure(made_of(exposure(home, ("CHN", 0.0, 0.05, "no_face_value"), ("DEU", 0.5, 0.55, None))), "I4")
    assert (beside["value"], beside["country"], beside["reason"]) == (pytest.approx(0.55 / 0.6), "DEU", "no_face_value")
    alone = figure(made_of(exposure(home, ("CHN", 0.0, 0.05, "no_face_value"), ("DEU", 0.5, 0.005, None))), "I4")
    assert (alone["value"], alone["country"], alone["reason"]) == (None, None, "no_face_value")
    # Exactly 1 % is enough, just under it is not.
    for through, expected in ((0.01, None), (0.0099999, "below_reliance")):
        row = figure(made_of(exposure(home, ("CHN", 0.001, through, None))), "I4")
        assert row["reason"] == expected


@pytest.mark.parametrize("reason", ["no_intermediate_sales", "no_face_value", None])
def test_a_lean_without_a_direct_delivery_shows_whatever_else_is_missing(reason: str | None) -> None:
    """A row has one reason, the first: that an industry sells nothing on must not hide it."""
    held = exposure(("NLD", 0.5, 0.4, None), ("CHN", 0.0, 0.05, reason), ("DEU", 0.5, 0.005, None), market_side=None)
    row = figure(made_of(held), "I4")
    assert (row["value"], row["reason"]) == (None, "no_face_value")


def test_an_industry_that_sells_nothing_on_and_leans_on_who_delivers_nothing() -> None:
    # CHAIN without CHN's own 10: DEU delivers all of NLD's foreign inputs, CHN is behind .25 of .75 of them.
    z = CHAIN.Z.copy()
    z[2, 0] = 0.0
    made = of_table(table(list(CHAIN.labels), z, CHAIN.OUT), "NLD")
    assert figure(made, "I3")["reason"] == "no_intermediate_sales"
    hidden = figure(made, "I4")
    assert (hidden["value"], hidden["country"]) == (pytest.approx(2 / 3), "DEU")
    assert hidden["reason"] == "no_face_value"


def test_a_reason_of_the_sales_says_nothing_about_the_inputs() -> None:
    held = exposure(("NLD", 0.9, 0.9, None), ("CHN", 0.1, 0.005, "no_intermediate_sales"), market_side=None)
    made = made_of(held)
    assert (figure(made, "I3")["value"], figure(made, "I3")["reason"]) == (None, "no_intermediate_sales")
    assert (figure(made, "I4")["value"], figure(made, "I4")["reason"]) == (None, "below_reliance")
    assert (figure(made, "I1")["value"], figure(made, "I1")["reason"]) == (0.1, None)


def test_an_industry_without_a_figure_shifts_none_of_the_others() -> None:
    """C10 has none and stands first; the figures of C20 are C20's, and so are the reasons of C30, which has none."""
    none = exposure(("NLD", None, None, "zero_output"), ("CHN", None, None, "zero_output"), market_side=None)
    some = exposure(("NLD", 0.5, 0.4, None), ("CHN", 0.1, 0.2, None), ("DEU", 0.4, 0.4, None), industry="C20")
    last = exposure(
        ("NLD", None, None, "no_intermediate_inputs"), ("CHN", None, None, "no_intermediate_inputs"), industry="C30",
        market_side=None,
    )  # fmt: skip
    made = made_of(pa.concat_tables([none, some, last]))
    for indicator, value, country in (("I1", 0.4, "DEU"), ("I2", 0.4, "DEU"), ("I3", 0.5, "CHN"), ("I4", 5 / 3, "CHN")):
        row = figure(made, indicator, code="C20")
        assert (row["value"], row["country"], row["reason"]) == (pytest.approx(value), country, None)
        assert figure(made, indicator, code="C10")["reason"] == "zero_output"
        assert figure(made, indicator, code="C10")["country"] is None
    for indicator, reason in (("I1", "no_intermediate_inputs"), ("I3", "no_intermediate_sales")):
        assert figure(made, indicator, code="C30")["reason"] == reason


def test_a_leader_that_a_measure_cannot_tell_gives_the_reason_of_the_measure() -> None:
    held = exposure(("NLD", 0.5, 0.4, None), ("CHN", 0.3, 0.4, None), ("DEU", 0.2, 0.2, None))
    measures = [
        measure("propagation_length", None, country="CHN", reason="no_inputs_from_there"),
        measure("propagation_length", 1.5, country="DEU"),
        measure("extraction_ghosh", None, country="CHN", reason="zero_output"),
        measure("extraction_ghosh", None, country="DEU", rank=1, reason="rank_only"),
    ]
    made = made_of(held, measures)
    for indicator, reason in (("I5a", "no_inputs_from_there"), ("I6", "zero_output")):
        row = figure(made, indicator)
        assert (row["value"], row["reason"], row["country"]) == (None, reason, None)
    assert (figure(made, "I6")["worst_code"], figure(made, "I6")["worst_value"]) == (None, None)


def test_members_that_the_table_lacks_stand_beside_each_figure_of_their_bloc() -> None:
    given = (("CHN", 0.1, 0.2, None), ("DEU", 0.4, 0.4, None))
    bloc = exposure(("EU27", 0.5, 0.4, None), *given, focus="EU27", members_without_region="CYP MLT")
    made = made_of(
        pa.concat_tables([bloc, exposure(("NLD", 0.5, 0.4, None), *given)]),
        [
            measure("extraction_ghosh", None, country="DEU", rank=1, reason="rank_only", focus=focus)
            for focus in ("EU27", "NLD")
        ],
    )
    for indicator, own in (("I1", None), ("I2b", "no_governance_data"), ("I6", "rank_only")):
        assert figure(made, indicator, focus="NLD")["reason"] == own
        told = "members_without_region" if own is None else f"{own}; members_without_region"
        assert figure(made, indicator, focus="EU27")["reason"] == told


def test_nothing_foreign_is_nought_and_names_nobody() -> None:
    made = made_of(
        exposure(("NLD", 1.0, 1.0, None), ("CHN", 0.0, 0.0, "no_foreign_inputs")),
        [measure("content_hhi", None, reason="no_foreign_inputs")],
    )
    row = figure(made, "I1")
    assert (row["value"], row["country"], row["country_share"], row["reason"]) == (0.0, None, None, None)
    assert (figure(made, "I5a")["value"], figure(made, "I5a")["reason"]) == (None, "no_foreign_inputs")
    assert figure(made, "I2b")["reason"] == "no_foreign_inputs"
    alone = made_of(exposure(("NLD", 1.0, 1.0, None)))  # the table has no other country
    assert (figure(alone, "I2b")["value"], figure(alone, "I2b")["reason"]) == (None, "no_foreign_inputs")


@pytest.mark.parametrize("reason", ["zero_output", "singular_table", "no_intermediate_inputs"])
def test_why_a_figure_is_missing(reason: str) -> None:
    held = exposure(("NLD", None, None, reason), ("CHN", None, None, reason), market_side=None)
    made = made_of(held, [measure("content_hhi", None, reason=reason), measure("upstreamness", None, reason=reason)])
    for indicator in ("I1", "I2", "I4", "I2a", "I5", "I5a", "I5b", "I6"):
        assert figure(made, indicator)["reason"] == reason, indicator
    sales = "no_intermediate_sales" if reason == "no_intermediate_inputs" else reason
    assert figure(made, "I3")["reason"] == sales


def test_no_table_no_rows() -> None:
    made = build_industry_indicators(
        INDUSTRY_EXPOSURE.empty(), INDUSTRY_TIERS.empty(), INDUSTRY_MEASURES.empty(), COUNTRY_RISK.empty(), {}
    )
    assert made.num_rows == 0


# -- recomputed ----------------------------------------------------------------------------------------------


def behind(held: IcioTable, focus: str, industry: str) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """FV, FIR and FIR beyond tier 1 by country of one industry, with the dense inverse."""
    output = np.where(held.OUT > 0, held.OUT, 1.0)
    a = held.Z / output
    inverse = np.linalg.inv(np.eye(len(a)) - a)
    column = held.labels.index((focus, industry))
    parts = (held.Z[:, column], (inverse - np.eye(len(a)))[:, column], (inverse - np.eye(len(a)) - a)[:, column])
    return tuple(
        {
            c: float(sum(v for (owner, _), v in zip(held.labels, part, strict=True) if owner == c))
            for c in held.countries
        }
        for part in parts
    )  # type: ignore[return-value]


@settings(max_examples=15, deadline=None)
@given(worlds())
def test_figures_follow_from_the_table(held: IcioTable) -> None:
    made = of_table(held, "NLD", RISKS)
    for industry in ("C10", "C20"):
        own = {r["indicator"]: r for r in rows(made, code=industry)}
        assert set(own) == set(IDS)
        for r in own.values():
            assert (r["value"] is not None) or r["reason"] in REASONS
            assert r["unit"] == WORDS[r["indicator"]].unit
        face, through, deep = behind(held, "NLD", industry)
        if held.OUT[held.labels.index(("NLD", industry))] <= 0 or not sum(face.values()):
            assert own["I1"]["value"] is None
            continue
        abroad = {c: face[c] for c in ("CHN", "DEU")}
        assert own["I1"]["value"] == pytest.approx(max(abroad.values()) / sum(face.values()), abs=1e-9)
        fir = {c: through[c] / sum(through.values()) for c in through}
        foreign = {c: fir[c] for c in ("CHN", "DEU")}
        assert own["I2"]["value"] == pytest.approx(max(foreign.values()), abs=1e-9)
        if not sum(foreign.values()) > 1e-9:
            continue
        leader = own["I2"]["country"]
        assert fir[leader] == pytest.approx(own["I2"]["value"], abs=1e-9)
        assert own["I5b"]["value"] == pytest.approx(deep[leader] / through[leader], abs=1e-8)
        shares = {c: v / sum(foreign.values()) for c, v in foreign.items()}
        assert own["I2a"]["value"] == pytest.approx(sum(s * s for s in shares.values()), abs=1e-8)
        assert own["I2b"]["value"] == pytest.approx(sum(shares[c] * RISKS[c] for c in shares), abs=1e-8)
        ratios = {c: shares[c] / (face[c] / sum(abroad.values())) for c in shares if fir[c] >= 0.01 and face[c] > 0}
        if ratios:
            assert own["I4"]["value"] == pytest.approx(max(ratios.values()), rel=1e-6)
            assert ratios[own["I4"]["country"]] == pytest.approx(max(ratios.values()), rel=1e-6)


def test_each_industry_and_year_stands_by_itself() -> None:
    made = [build_industry([random_table(seed)], REFERENCE, ("NLD",)) for seed in (3, 5)]
    risk = scores(RISKS, [2020])

    def figures(parts: list[Any]) -> list[dict[str, Any]]:
        held, tiers, measures = (
            pa.concat_tables([getattr(p, n) for p in parts])
            for n in ("industry_exposure", "industry_tiers", "industry_measures")
        )
        made_rows: list[dict[str, Any]] = build_industry_indicators(held, tiers, measures, risk, EDITIONS).to_pylist()
        return made_rows

    def moved(industry: Any, year: int) -> Any:
        fields = {}
        for name in ("industry_exposure", "industry_tiers", "industry_measures"):
            t = getattr(industry, name)
            fields[name] = t.set_column(
                t.schema.get_field_index("year"), t.schema.field("year"), pa.array([year] * t.num_rows, pa.int32())
            )
        return type("Moved", (), fields)

    later = moved(made[1], 2021)
    together = figures([made[0], later])
    assert [r for r in together if r["year"] == 2020] == figures([made[0]])
    assert [r for r in together if r["year"] == 2021] == figures([later])
