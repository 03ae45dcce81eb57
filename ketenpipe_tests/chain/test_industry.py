"""The industry layer's tables: by hand, on degenerate economies and on real ones."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace

import networkx as nx
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings

from ketenpipe.chain.industry import Industry, build_industry
from ketenpipe.errors import WrongUse
from ketenpipe.risk.definitions import REASONS
from ketenpipe.sources.icio import IcioTable, list_tables, read_table
from ketenpipe.sources.places import discover
from ketenpipe_tests.chain.io_worlds import (
    CHAIN,
    degenerate_worlds,
    endless,
    random_table,
    table,
    technical_coefficients,
    worlds,
)
from ketenpipe_tests.shared_data import shared_data
from ketenpipe_tests.sources.icio_worlds import country_codes, make_world
from ketenpipe_tests.worlds import bloc, catalogue, one, rows

REFERENCE = catalogue(blocs=(*bloc("EU27", "AUT", "NLD"), *bloc("EU", "AUT", "NLD")))


def all_tables(made: Industry) -> tuple[pa.Table, ...]:
    return made.industry_exposure, made.industry_tiers, made.industry_measures, made.industry_coefficients


def test_face_value_and_look_through_by_hand() -> None:
    # NLD's 100 use 50 from DEU and 10 from CHN; DEU's 80 use 40 from CHN (.5 a unit).
    # FV: DEU 50/60, CHN 10/60. Per unit of NLD: L - I: DEU .5, CHN .1 + .5*.5 = .35.
    # FIR: DEU .5/.85, CHN .35/.85. hidden(CHN) = (.35/.85)/(1/6) = 2.4706 (> 2: the flag of METHOD); DEU .7059.
    made = build_industry([CHAIN], REFERENCE, ("NLD",))
    china = one(made.industry_exposure, country="CHN")
    germany = one(made.industry_exposure, country="DEU")
    own = one(made.industry_exposure, country="NLD")
    assert china["face_value"] == pytest.approx(1 / 6)
    assert china["look_through"] == pytest.approx(0.35 / 0.85)
    assert china["hidden_ratio"] == pytest.approx((0.35 / 0.85) * 6)
    assert germany["hidden_ratio"] == pytest.approx((0.5 / 0.85) / (5 / 6))
    assert (own["face_value"], own["look_through"], own["hidden_ratio"]) == (0.0, 0.0, None)
    assert own["face_value_foreign"] is None


def test_tiers_by_hand() -> None:
    # CHN behind NLD: tier 1 is .1, tier 2 is .25 of .35; the tail is 0. DEU: all of it tier 1.
    made = build_industry([CHAIN], REFERENCE, ("NLD",)).industry_tiers
    china = {r["tier"]: r["share"] for r in rows(made, country="CHN")}
    assert china == pytest.approx({1: 0.1 / 0.35, 2: 0.25 / 0.35, 3: 0.0, 4: 0.0, -1: 0.0})
    assert one(made, country="DEU", tier=1)["share"] == pytest.approx(1.0)


def test_the_market_side_is_ghosh_by_hand() -> None:
    # CHN sells 40 of its 60 to DEU (B = 2/3) and 10 to NLD (1/6); DEU sells 50 of 80 to NLD (5/8).
    # (G - I) of CHN: DEU 2/3, NLD 1/6 + 2/3*5/8 = 7/12. FMR: DEU 8/15, NLD 7/15. (The Leontief side differs.)
    made = build_industry([CHAIN], REFERENCE, ("CHN",)).industry_exposure
    assert one(made, country="DEU")["market_side"] == pytest.approx(8 / 15)
    assert one(made, country="NLD")["market_side"] == pytest.approx(7 / 15)


def test_no_output_is_null_and_never_zero() -> None:
    idle = table(
        [("NLD", "C10"), ("NLD", "T"), ("CHN", "C10")],
        np.array([[0.0, 0, 0], [0, 0, 0], [50.0, 0, 0]]),
        np.array([100.0, 0.0, 60.0]),
    )
    made = build_industry([idle], REFERENCE, ("NLD",))
    for r in rows(made.industry_exposure, industry="T"):
        assert r["reason"] == "zero_output"
        assert {r[c] for c in ("face_value", "look_through", "market_side", "hidden_ratio")} == {None}
    assert rows(made.industry_tiers, industry="T") == []
    assert one(made.industry_exposure, industry="C10", country="CHN")["face_value"] == 1.0


def test_the_hidden_ratio_is_null_without_face_value_and_below_a_hundredth() -> None:
    # NLD buys from DEU only; DEU buys from CHN (.5) and a trace from BRA (.005). FV(CHN) = 0: null, not infinite.
    # FIR(BRA) = .0025/.7525 < .01: null, although NLD buys a trace from BRA as well.
    z = np.zeros((4, 4))
    z[1, 0], z[2, 1], z[3, 1], z[3, 0] = 50, 40, 0.4, 0.01
    made = build_industry(
        [table([(c, "C10") for c in ("NLD", "DEU", "CHN", "BRA")], z, np.array([100.0, 80, 60, 40]))],
        REFERENCE,
        ("NLD",),
    ).industry_exposure
    assert one(made, country="CHN")["face_value"] == 0.0
    assert one(made, country="CHN")["look_through"] > 0.3
    assert one(made, country="CHN")["hidden_ratio"] is None
    assert one(made, country="BRA")["face_value"] > 0
    assert one(made, country="BRA")["hidden_ratio"] is None
    assert one(made, country="DEU")["hidden_ratio"] is not None


def test_a_bloc_is_one_country_and_its_industries_are_weighted_by_output() -> None:
    # AUT's C10 (output 20) buys 10 from CHN; NLD's (80) buys 8 from CHN and 32 from AUT.
    # The bloc's C10 uses 50: 18 from CHN, 32 from itself: FV(CHN) = .36, own .64, foreign-normalised FV(CHN) = 1.
    z = np.zeros((3, 3))
    z[2, 0], z[2, 1], z[0, 1] = 10, 8, 32
    held = table([("AUT", "C10"), ("NLD", "C10"), ("CHN", "C10")], z, np.array([40.0, 80.0, 60.0]))
    made = build_industry([held], REFERENCE, ("EU27",)).industry_exposure
    assert {r["country"] for r in made.to_pylist()} == {"EU27", "CHN"}
    assert one(made, country="CHN")["face_value"] == pytest.approx(0.36)
    assert one(made, country="EU27")["face_value"] == pytest.approx(0.64)
    assert one(made, country="CHN")["face_value_foreign"] == 1.0


def test_what_comes_from_a_synthetic_table_says_so() -> None:
    held = table(list(CHAIN.labels), CHAIN.Z, CHAIN.OUT, synthetic=True)
    made = build_industry([held], REFERENCE, ("NLD",))
    assert [{r["basis"] for r in t.to_pylist()} for t in all_tables(made)] == [{"synthetic"}] * 3 + [set()]


@settings(max_examples=10, deadline=None)
@given(worlds())
def test_shares_sum_to_one_and_the_ratio_is_of_foreign_shares(held: IcioTable) -> None:
    made = build_industry([held], REFERENCE, ("NLD", "EU27"))
    for focus in ("NLD", "EU27"):
        for industry in ("C10", "C20"):
            part = rows(made.industry_exposure, focus=focus, industry=industry)
            for column in ("face_value", "look_through", "market_side"):
                if part[0][column] is not None:
                    assert sum(r[column] for r in part) == pytest.approx(1.0)
            for column in ("face_value_foreign", "look_through_foreign"):
                held_ = [r[column] for r in part if r[column] is not None]
                assert not held_ or sum(held_) == pytest.approx(1.0)
            for r in part:
                if r["hidden_ratio"] is not None:
                    assert r["country"] != focus
                    assert r["look_through"] >= 0.01
                    assert r["hidden_ratio"] == pytest.approx(r["look_through_foreign"] / r["face_value_foreign"])
            for country in {r["country"] for r in part}:
                shares = [
                    r["share"] for r in rows(made.industry_tiers, focus=focus, industry=industry, country=country)
                ]
                assert not shares or sum(shares) == pytest.approx(1.0)


def measure(made: Industry, name: str, **where: object) -> dict[str, object]:
    """One row of the measures; what is not named is null."""
    (found,) = [
        r
        for r in rows(made.industry_measures, measure=name)
        if all(r[k] == where.get(k) for k in ("industry", "country", "partner_industry"))
    ]
    return found


def test_measures_by_hand() -> None:
    # See test_leontief: U = 1, D = 1.85, APL from CHN 12/7, foreign content DEU .5 and CHN .35 of .85, direct 50 and
    # 10 of 60. Value added a unit: NLD .4, DEU .5 * .5 = .25, CHN .35, together 1.
    made = build_industry([CHAIN], REFERENCE, ("NLD",))

    def value(name: str, **where: object) -> object:
        return measure(made, name, industry="C10", **where)["value"]

    assert value("upstreamness") == pytest.approx(1.0)
    assert value("downstreamness") == pytest.approx(1.85)
    assert value("propagation_length", country="CHN") == pytest.approx(12 / 7)
    assert value("propagation_length", country="DEU") == pytest.approx(1.0)
    assert value("propagation_length", partner_industry="C10") == pytest.approx((0.5 + 0.6) / 0.85)
    assert value("content_hhi") == pytest.approx((0.5**2 + 0.35**2) / 0.85**2)
    assert value("content_top_supplier", country="DEU") == pytest.approx(0.5 / 0.85)
    assert value("face_value_hhi") == pytest.approx((25 + 1) / 36)
    assert value("face_value_top_supplier", country="DEU") == pytest.approx(5 / 6)
    assert value("value_added_content", country="NLD") == pytest.approx(0.4)
    assert value("value_added_content", country="DEU") == pytest.approx(0.25)
    assert value("value_added_hhi") == pytest.approx(0.16 + 0.0625 + 0.1225)
    own = measure(made, "propagation_length", industry="C10", country="NLD")
    assert (own["value"], own["rank"], own["reason"]) == (None, None, "no_inputs_from_there")


def test_extraction_is_a_rank_and_says_on_which_side() -> None:
    # DEU loses 5/8 of its market and CHN 1/6; without DEU's deliveries NLD loses .5 of its inputs, without CHN's .1.
    made = build_industry([CHAIN], REFERENCE, ("NLD",))
    for country, rank in (("DEU", 1), ("CHN", 2)):
        supplier = measure(made, "extraction_leontief", country=country)
        user = measure(made, "extraction_ghosh", industry="C10", country=country)
        assert (supplier["value"], supplier["rank"], supplier["reason"]) == (None, rank, "rank_only")
        assert (user["value"], user["rank"], user["reason"]) == (None, rank, "rank_only")


def test_an_idle_industry_has_no_output_to_lose() -> None:
    # DEU's C20 makes nothing, yet 9 are booked from it to DEU's C10, which sells 10 of its 20 to NLD: DEU loses 10 of
    # 20, not 14.5. CHN loses 12 of 20.
    labels = [("NLD", "C10"), ("DEU", "C10"), ("DEU", "C20"), ("CHN", "C10")]
    z = np.zeros((4, 4))
    z[1, 0], z[2, 1], z[3, 0] = 10, 9, 12
    made = build_industry([table(labels, z, np.array([100.0, 20, 0, 20]))], REFERENCE, ("NLD",))
    ranks = {c: measure(made, "extraction_leontief", country=c)["rank"] for c in ("DEU", "CHN")}
    assert ranks == {"CHN": 1, "DEU": 2}


def test_the_two_sides_of_extraction_may_order_countries_differently() -> None:
    # BRA sells all it makes (10) to NLD, CHN 40 of 400: BRA loses its market, NLD loses more inputs with CHN.
    z = np.zeros((3, 3))
    z[1, 0], z[2, 0] = 10, 40
    held = table([(c, "C10") for c in ("NLD", "BRA", "CHN")], z, np.array([100.0, 10, 400]))
    made = build_industry([held], REFERENCE, ("NLD",))
    assert measure(made, "extraction_leontief", country="BRA")["rank"] == 1
    assert measure(made, "extraction_ghosh", industry="C10", country="CHN")["rank"] == 1


def test_a_bloc_loses_inputs_by_weight_of_its_members_output() -> None:
    # CHN's 5 are half of what NLD makes (10), BRA's 50 a twentieth of AUT's 1000: of the bloc's 1010, BRA's weigh more.
    z = np.zeros((4, 4))
    z[2, 1], z[3, 0] = 5, 50
    held = table([(c, "C10") for c in ("AUT", "NLD", "CHN", "BRA")], z, np.array([1000.0, 10, 900, 900]))
    made = build_industry([held], REFERENCE, ("EU27",))
    ranks = {c: measure(made, "extraction_ghosh", industry="C10", country=c)["rank"] for c in ("BRA", "CHN")}
    assert ranks == {"BRA": 1, "CHN": 2}
    alone = build_industry([held], REFERENCE, ("NLD",))
    assert measure(alone, "extraction_ghosh", industry="C10", country="CHN")["rank"] == 1


def test_taxes_less_subsidies_are_part_of_what_is_added() -> None:
    # CHN's 60 are 54 of value added and 6 of taxes: v = 1 as before.
    held = replace(CHAIN, TLS=np.array([0.0, 0, 6]), VA=np.array([40.0, 40, 54]))
    made = build_industry([held], REFERENCE, ("NLD",))
    found = [measure(made, "value_added_content", industry="C10", country=c)["value"] for c in ("NLD", "DEU", "CHN")]
    assert found == pytest.approx([0.4, 0.25, 0.35])


def test_important_coefficients_by_hand() -> None:
    # FIR = .3 / (.2 + .3): both coefficients move it by .4 %, the own one downwards.
    held = table([("NLD", "C10"), ("CHN", "C20")], np.array([[20.0, 0], [30.0, 0]]), np.array([100.0, 100]))
    made = build_industry([held], REFERENCE, ("NLD",)).industry_coefficients
    abroad = one(made, supplier_country="CHN")
    assert (abroad["supplier_industry"], abroad["user_country"], abroad["user_industry"]) == ("C20", "NLD", "C10")
    assert (abroad["coefficient"], abroad["elasticity"]) == (pytest.approx(0.3), pytest.approx(0.4))
    assert one(made, supplier_country="NLD")["elasticity"] == pytest.approx(-0.4)
    assert sorted(made.column("rank").to_pylist()) == [1, 2]


def test_any_depth_of_tiers() -> None:
    deep = build_industry([CHAIN], REFERENCE, ("NLD",), tiers=1).industry_tiers
    assert {r["tier"]: r["share"] for r in rows(deep, country="CHN")} == pytest.approx({1: 0.1 / 0.35, -1: 0.25 / 0.35})
    with pytest.raises(WrongUse, match="at least 1 tier"):
        build_industry([CHAIN], REFERENCE, ("NLD",), tiers=0)


@pytest.mark.parametrize("share", [0.0, 1.5, -0.1])
def test_a_share_that_cannot_be_extracted_is_refused(share: float) -> None:
    with pytest.raises(WrongUse, match="above 0 and at most 1"):
        build_industry([CHAIN], REFERENCE, ("NLD",), extraction_share=share)


def test_no_coefficients_on_request_and_a_negative_number_is_refused() -> None:
    assert build_industry([random_table(1)], REFERENCE, ("NLD",), coefficients=0).industry_coefficients.num_rows == 0
    assert build_industry([random_table(1)], REFERENCE, ("NLD",), coefficients=3).industry_coefficients.num_rows == 6
    with pytest.raises(WrongUse, match="cannot be negative"):
        build_industry([CHAIN], REFERENCE, ("NLD",), coefficients=-1)


def test_a_focus_that_the_table_does_not_have_gives_no_rows() -> None:
    assert [t.num_rows for t in all_tables(build_industry([CHAIN], REFERENCE, ("FRA",)))] == [0] * 4


# -- degenerate economies --------------------------------------------------------------------------------------


def explained(made: Industry) -> None:
    """Every figure of every column is a number within its bounds, or null with a reason that has words."""
    exposure, tiers, measures, coefficients = (t.to_pylist() for t in all_tables(made))
    for row in (*exposure, *tiers, *measures, *coefficients):
        assert all(math.isfinite(v) for v in row.values() if isinstance(v, float)), row
    nothing_needed = {"no_intermediate_sales", "no_face_value"}
    for r in exposure:
        own = r["country"] == r["focus"]
        for column in ("face_value", "look_through", "market_side"):
            assert r[column] is not None or r["reason"] is not None, r
        for column in ("face_value", "look_through"):
            if r[column] is None:
                assert r["reason"] not in nothing_needed, r
            if r[f"{column}_foreign"] is None:
                assert own or r["reason"] not in {None, *nothing_needed}, r
        if r["reason"] == "no_intermediate_sales":
            assert r["market_side"] is None, r
        if r["hidden_ratio"] is None:
            small = r["look_through"] is not None and r["look_through"] < 0.01
            assert own or small or r["reason"] is not None, r
    for r in tiers:
        assert r["share"] is not None, r
    behind = {(r["focus"], r["industry"], r["country"]) for r in tiers}
    for key in behind:
        (whole,) = [r for r in exposure if (r["focus"], r["industry"], r["country"]) == key]
        assert whole["look_through"] > 0
        shares = [r["share"] for r in tiers if (r["focus"], r["industry"], r["country"]) == key]
        assert sum(shares) == pytest.approx(1.0, abs=5e-9), "each is rounded to nine digits"
    for r in measures:
        assert (r["reason"] is not None) == (r["value"] is None), r
        assert r["rank"] is not None or r["value"] is None
        assert (r["rank"] is not None) == (r["value"] is not None or r["reason"] == "rank_only"), r
        if r["measure"] in ("upstreamness", "downstreamness", "propagation_length"):
            assert r["value"] is None or r["value"] >= 1 - 1e-9, r
        else:
            assert r["value"] is None or 0 <= r["value"] <= 1 + 1e-9, r
    for r in coefficients:
        assert r["coefficient"] != 0
        assert r["elasticity"] != 0
    assert {r["reason"] for r in measures + exposure} - {None} <= set(REASONS)


DEGENERATE = {
    # NLD's T makes nothing but a delivery is booked to it.
    "zero_output": table(
        [("NLD", "C10"), ("NLD", "T"), ("CHN", "C10")],
        np.array([[0.0, 0, 0], [0, 0, 0], [50.0, 1.0, 0]]),
        np.array([100.0, 0.0, 60.0]),
    ),
    # A country that makes nothing, yet delivers.
    "dead_supplier": table(
        [("NLD", "C10"), ("CHN", "C10"), ("DEU", "C10")],
        np.array([[0.0, 0, 0], [50.0, 0, 0], [5.0, 0, 0]]),
        np.array([100.0, 60.0, 0.0]),
    ),
    # DEU sells all it makes to NLD: no final demand for it.
    "zero_final_demand": table(
        [("NLD", "C10"), ("DEU", "C10")], np.array([[0.0, 0], [60.0, 0]]), np.array([100.0, 60.0])
    ),
    # More sold to industries than made: stocks ran down by 20.
    "negative_inventories": table(
        [("NLD", "C10"), ("DEU", "C10")], np.array([[10.0, 0], [60.0, 0]]), np.array([100.0, 40.0])
    ),
    # A region with one industry among regions with two.
    "one_industry": table(
        [("NLD", "C10"), ("NLD", "C20"), ("DEU", "C10")],
        np.array([[5.0, 5, 5], [5.0, 5, 5], [5.0, 5, 5]]),
        np.array([100.0, 40.0, 50.0]),
    ),
    # NLD trades with nobody.
    "isolated": table(
        [("NLD", "C10"), ("NLD", "C20"), ("DEU", "C10")],
        np.array([[5.0, 5, 0], [5.0, 5, 0], [0, 0, 5]]),
        np.array([100.0, 40.0, 50.0]),
    ),
    # No industry buys anything at all.
    "no_trade": table([("NLD", "C10"), ("DEU", "C10")], np.zeros((2, 2)), np.array([100.0, 40.0])),
    "alone": table([("NLD", "C10")], np.array([[5.0]]), np.array([10.0])),
    "all_dead": table([("NLD", "C10"), ("DEU", "C10")], np.zeros((2, 2)), np.zeros(2)),
    "negative_value_added": table(
        [("NLD", "C10"), ("DEU", "C10")], np.array([[0.0, 0], [60.0, 0]]), np.array([50.0, 80.0])
    ),
    "singular": table([("NLD", "C10"), ("DEU", "C10")], np.array([[0.0, 5], [5, 0]]), np.array([5.0, 5.0])),
    "not_productive": table([("NLD", "C10"), ("DEU", "C10")], np.array([[0.0, 9], [9, 0]]), np.array([5.0, 5.0])),
}


@pytest.mark.parametrize("name", sorted(DEGENERATE))
@pytest.mark.filterwarnings("error")
def test_degenerate_economies_give_a_figure_or_a_reason(name: str) -> None:
    made = build_industry([DEGENERATE[name]], REFERENCE, ("NLD", "EU27"))
    assert made.industry_measures.num_rows > 0
    explained(made)


@settings(max_examples=50, deadline=None)
@given(degenerate_worlds())
def test_whatever_goes_wrong_each_column_has_a_figure_or_a_reason(held: IcioTable) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = build_industry([held], REFERENCE, ("NLD", "EU27", "CHN"))
    explained(made)
    columns, rows_ = endless(held)
    a = technical_coefficients(held.Z, held.OUT)
    graph = nx.from_numpy_array(a, create_using=nx.DiGraph)
    at = {label: k for k, label in enumerate(held.labels)}
    exposure = {(r["industry"], r["country"]): r for r in rows(made.industry_exposure, focus="NLD")}
    measures = {
        (r["measure"], r["industry"], r["country"]): r
        for r in rows(made.industry_measures, focus="NLD")
        if r["partner_industry"] is None
    }
    loops = {"singular_table", "not_productive"}
    for (industry, country), r in exposure.items():
        k = at["NLD", industry]
        up, down = measures["upstreamness", industry, None], measures["downstreamness", industry, None]
        if held.OUT[k] <= 0:
            assert {r["reason"], up["reason"], down["reason"]} == {"zero_output"}, "never a silent 0"
            continue
        assert (up["reason"] in loops) == rows_[k]
        assert (down["reason"] in loops) == columns[k], "what no loop touches keeps its figure"
        assert (up["value"] is None, down["value"] is None) == (rows_[k], columns[k])
        assert (measures["content_hhi", industry, None]["reason"] in loops) == columns[k]
        assert (measures["propagation_length", industry, country]["reason"] in loops) == columns[k]
        assert (measures["value_added_content", industry, country]["reason"] in loops) == columns[k]
        if country != "NLD":
            assert (measures["extraction_ghosh", industry, country]["reason"] in loops) == columns[k]
        assert measures["face_value_hhi", industry, None]["reason"] not in loops
        assert (r["face_value"] is None) == (not held.Z[:, k].any()), "a loop leaves face values alone"
        if columns[k]:
            assert (r["look_through"], r["reason"] in loops) == (None, True)
        elif r["look_through"] is not None:
            behind = [p for p in nx.ancestors(graph, k) if held.labels[p][0] == country]
            inside = country == "NLD" and (a[k, k] > 0 or any(graph.has_edge(k, p) for p in nx.ancestors(graph, k)))
            assert r["look_through"] <= 1e-9 or behind or inside, "nothing comes from where no chain leads"
            assert r["look_through"] > 0 or not behind, "0 only where no chain leads"


def test_a_closed_loop_elsewhere_takes_nothing_from_the_rest() -> None:
    # BRA and CHL only feed each other. NLD, DEU and CHN are the chain by hand: its figures stand, unchanged.
    z, output = np.zeros((5, 5)), np.array([100.0, 80, 60, 7, 7])
    z[:3, :3], z[3, 4], z[4, 3] = CHAIN.Z, 7, 7
    held = table([(c, "C10") for c in ("NLD", "DEU", "CHN", "BRA", "CHL")], z, output)
    made, alone = (build_industry([t], REFERENCE, ("NLD",)) for t in (held, CHAIN))
    for r in alone.industry_exposure.to_pylist():
        assert one(made.industry_exposure, country=r["country"]) == r
    for r in alone.industry_measures.to_pylist():
        assert measure(made, r["measure"], **{k: r[k] for k in ("industry", "country", "partner_industry")}) == r
    assert made.industry_tiers.num_rows == alone.industry_tiers.num_rows == 10
    assert made.industry_coefficients.equals(alone.industry_coefficients)
    for country in ("BRA", "CHL"):
        assert one(made.industry_exposure, country=country)["look_through"] == 0.0
        assert measure(made, "extraction_leontief", country=country)["rank"] == 3
    brazil = build_industry([held], REFERENCE, ("BRA",))
    assert one(brazil.industry_exposure, country="CHL")["face_value"] == 1.0
    assert one(brazil.industry_exposure, country="CHL")["reason"] == "singular_table"
    assert measure(brazil, "extraction_leontief", country="CHL")["reason"] == "singular_table"
    assert measure(brazil, "extraction_leontief", country="DEU")["rank"] == 1


def test_a_loop_upstream_and_a_loop_downstream_take_different_figures() -> None:
    # The loop BRA-CHL sells 1 to NLD's C10 and buys 1 from NLD's C20; DEU sells to both industries.
    z, output = np.zeros((5, 5)), np.array([50.0, 50, 40, 10, 10])
    z[3, 4], z[4, 3], z[3, 0], z[1, 4], z[2, 0], z[2, 1] = 10, 10, 1, 1, 5, 5
    held = table([("NLD", "C10"), ("NLD", "C20"), ("DEU", "C10"), ("BRA", "C10"), ("CHL", "C10")], z, output)
    made = build_industry([held], REFERENCE, ("NLD",))
    first, second = (one(made.industry_exposure, industry=i, country="DEU") for i in ("C10", "C20"))
    assert (first["face_value"], first["look_through"], first["reason"]) == (
        pytest.approx(5 / 6),
        None,
        "singular_table",
    )
    assert (second["face_value"], second["look_through"], second["market_side"]) == (1.0, 1.0, None)
    assert second["reason"] == "singular_table"
    assert measure(made, "upstreamness", industry="C10")["value"] == 1.0
    assert measure(made, "downstreamness", industry="C10")["reason"] == "singular_table"
    assert measure(made, "upstreamness", industry="C20")["reason"] == "singular_table"
    assert measure(made, "downstreamness", industry="C20")["value"] == pytest.approx(1.1)
    assert measure(made, "extraction_ghosh", industry="C20", country="DEU")["rank"] == 1
    assert measure(made, "extraction_ghosh", industry="C10", country="DEU")["reason"] == "singular_table"
    assert measure(made, "extraction_leontief", country="BRA")["reason"] == "singular_table"
    assert measure(made, "extraction_leontief", country="DEU")["rank"] == 1


def test_countries_without_any_part_in_it_share_the_last_rank() -> None:
    # Neither BRA nor CHL delivers anything that reaches NLD, though both trade with each other and buy from DEU.
    z = np.zeros((4, 4))
    z[1, 0], z[2, 3], z[3, 2], z[1, 2], z[0, 3] = 30, 7, 3, 11, 13
    held = table([(c, "C10") for c in ("NLD", "DEU", "BRA", "CHL")], z, np.array([100.0, 70, 50, 90]))
    made = build_industry([held], REFERENCE, ("NLD",))
    for name, where in (("extraction_leontief", {}), ("extraction_ghosh", {"industry": "C10"})):
        ranks = {c: measure(made, name, country=c, **where)["rank"] for c in ("DEU", "BRA", "CHL")}
        assert ranks == {"DEU": 1, "BRA": 2, "CHL": 2}


def test_the_reasons_are_the_right_ones() -> None:
    def reason(world: str, name: str, **where: object) -> object:
        made = build_industry([DEGENERATE[world]], REFERENCE, ("NLD",))
        found = measure(made, name, **where)
        assert found["value"] is None
        return found["reason"]

    assert reason("zero_output", "upstreamness", industry="T") == "zero_output"
    assert reason("zero_output", "content_hhi", industry="T") == "zero_output"
    assert reason("isolated", "content_hhi", industry="C10") == "no_foreign_inputs"
    assert reason("isolated", "content_top_supplier", industry="C10") == "no_foreign_inputs"
    assert reason("isolated", "propagation_length", industry="C10", country="DEU") == "no_inputs_from_there"
    assert reason("no_trade", "content_hhi", industry="C10") == "no_intermediate_inputs"
    assert reason("no_trade", "extraction_ghosh", industry="C10", country="DEU") == "rank_only"
    assert reason("dead_supplier", "extraction_leontief", country="DEU") == "zero_output"
    assert reason("all_dead", "value_added_hhi", industry="C10") == "zero_output"
    assert reason("singular", "upstreamness", industry="C10") == "singular_table"
    assert reason("not_productive", "extraction_leontief", country="DEU") == "not_productive"


def test_the_limits_are_the_right_ones() -> None:
    def value(world: str, name: str, **where: object) -> object:
        made = build_industry([DEGENERATE[world]], REFERENCE, ("NLD",))
        return measure(made, name, industry="C10", **where)["value"]

    assert value("no_trade", "upstreamness") == 1.0, "all of it goes to final use"
    assert value("no_trade", "downstreamness") == 1.0, "no inputs are bought"
    assert value("alone", "upstreamness") == pytest.approx(2.0), "half of it goes round once more"
    assert value("zero_final_demand", "content_hhi") == 1.0
    assert value("negative_inventories", "content_top_supplier", country="DEU") == 1.0
    assert value("dead_supplier", "upstreamness") == 1.0


def test_a_table_that_is_one_loop_keeps_its_face_values() -> None:
    made = build_industry([DEGENERATE["singular"]], REFERENCE, ("NLD",))
    germany = one(made.industry_exposure, country="DEU")
    assert (germany["face_value"], germany["face_value_foreign"]) == (1.0, 1.0)
    assert (germany["look_through"], germany["market_side"], germany["reason"]) == (None, None, "singular_table")
    assert measure(made, "face_value_hhi", industry="C10")["value"] == 1.0
    assert made.industry_tiers.num_rows == 0
    assert made.industry_coefficients.num_rows == 0


def test_nulls_of_the_exposure_have_their_reason() -> None:
    isolated = build_industry([DEGENERATE["isolated"]], REFERENCE, ("NLD",)).industry_exposure
    assert one(isolated, industry="C10", country="DEU")["reason"] == "no_foreign_inputs"
    assert one(isolated, industry="C10", country="DEU")["face_value_foreign"] is None
    assert one(isolated, industry="C10", country="DEU")["face_value"] == 0.0
    final = build_industry([CHAIN], REFERENCE, ("NLD",)).industry_exposure
    assert {r["reason"] for r in final.to_pylist()} == {"no_intermediate_sales"}


# -- what must always hold --------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(worlds())
def test_measures_keep_their_bounds(held: IcioTable) -> None:
    made = build_industry([held], REFERENCE, ("NLD", "EU27"))
    explained(made)
    for focus in ("NLD", "EU27"):
        for industry in ("C10", "C20"):
            part = rows(made.industry_exposure, focus=focus, industry=industry)
            for name, column in (("content", "look_through_foreign"), ("face_value", "face_value_foreign")):
                shares = {r["country"]: r[column] for r in part if r[column] is not None}
                (hhi,) = rows(made.industry_measures, focus=focus, industry=industry, measure=f"{name}_hhi")
                (top,) = rows(made.industry_measures, focus=focus, industry=industry, measure=f"{name}_top_supplier")
                if not shares:
                    assert (hhi["value"], top["value"], top["country"]) == (None, None, None)
                    continue
                assert hhi["value"] == pytest.approx(sum(s**2 for s in shares.values()))
                assert top["value"] == pytest.approx(max(shares.values())) == pytest.approx(shares[top["country"]])
    for r in made.industry_measures.to_pylist():
        if r["value"] is None:
            continue
        if r["measure"] in ("upstreamness", "downstreamness", "propagation_length"):
            assert r["value"] >= 1 - 1e-9
        else:
            assert 0 <= r["value"] <= 1 + 1e-9
        if r["measure"] in ("content_hhi", "face_value_hhi"):
            assert r["value"] >= 0.5 - 1e-9, "two foreign countries at most"
        if r["measure"] == "value_added_hhi":
            assert r["value"] >= 1 / 3 - 1e-9


@settings(max_examples=10, deadline=None)
@given(worlds())
def test_scaling_all_flows_and_reordering_rows_changes_nothing(held: IcioTable) -> None:
    order = np.array([3, 0, 5, 2, 1, 4])
    other = replace(
        held,
        labels=tuple(held.labels[k] for k in order),
        Z=held.Z[np.ix_(order, order)] * 8,
        Y=held.Y[order] * 8,
        TLS=held.TLS[order] * 8,
        VA=held.VA[order] * 8,
        OUT=held.OUT[order] * 8,
    )
    ours = all_tables(build_industry([held], REFERENCE, ("NLD",)))
    theirs = all_tables(build_industry([other], REFERENCE, ("NLD",)))
    for a, b in zip(ours[:3], theirs[:3], strict=True):
        assert a.num_rows == b.num_rows
        for left, right in zip(a.to_pylist(), b.to_pylist(), strict=True):
            assert {k: v for k, v in left.items() if not isinstance(v, float)} == {
                k: v for k, v in right.items() if not isinstance(v, float)
            }
            for name in (k for k, v in left.items() if isinstance(v, float)):
                assert left[name] == pytest.approx(right[name], rel=1e-8, abs=1e-12)


#: HHI by contributing region, and the share of CHN in it, of what a country's industry makes.
MARIO = {
    ("CHN", "C10"): (0.35647238161909445, 0.3570440362821225),
    ("DEU", "C10"): (0.7682998191897793, 0.042444070162897765),
    ("NLD", "C10"): (0.39919039749140106, 0.12425590630909664),
    ("CHN", "C20"): (0.3812384646923405, 0.4883747605322079),
    ("DEU", "C20"): (0.4994455272462051, 0.12680901977893122),
    ("NLD", "C20"): (0.3874383765572402, 0.16610174892057541),
}


def test_trade_content_is_what_mario_finds() -> None:
    # calc_trades_concentration and calc_trades_exposure("Value Added", item=...) of MARIO 1.3.2 on random_table(11),
    # in an environment of its own.
    held = random_table(11)
    for (country, industry), (concentration, exposure) in MARIO.items():
        made = build_industry([held], REFERENCE, (country,))
        assert measure(made, "value_added_hhi", industry=industry)["value"] == pytest.approx(concentration, abs=1e-9)
        found = measure(made, "value_added_content", industry=industry, country="CHN")["value"]
        assert found == pytest.approx(exposure, abs=1e-9)


# -- real tables ------------------------------------------------------------------------------------------------


def wiod(year: int) -> IcioTable:
    inventory = discover(shared_data("icio_like").parent)
    return read_table(next(t for t in list_tables(inventory) if t.year == year and "WIOD" in t.name))


@pytest.mark.parametrize("year", [2008, 2011])
def test_real_tables_against_dense_inverses(year: int) -> None:
    held = wiod(year)
    focus = "NLD"
    made = build_industry([held], REFERENCE, (focus,))
    explained(made)
    n = len(held.OUT)
    alive = held.OUT > 0
    inverse = np.linalg.inv(np.eye(n) - technical_coefficients(held.Z, held.OUT))
    own = np.array([c == focus for c, _ in held.labels])
    up = inverse @ held.OUT
    beyond = inverse - np.eye(n)
    length = inverse @ beyond
    exposure = {(r["industry"], r["country"]): r for r in made.industry_exposure.to_pylist()}
    values = {
        (r["measure"], r["industry"], r["country"]): r["value"]
        for r in made.industry_measures.to_pylist()
        if r["partner_industry"] is None
    }
    for j in np.flatnonzero(own & alive):
        industry = held.labels[j][1]
        assert values["upstreamness", industry, None] == pytest.approx(up[j] / held.OUT[j])
        assert values["downstreamness", industry, None] == pytest.approx(inverse[:, j].sum())
        for country in held.countries:
            of = np.array([c == country for c, _ in held.labels])
            row = exposure[industry, country]
            if row["look_through"] is not None:
                assert row["look_through"] == pytest.approx(beyond[of, j].sum() / beyond[:, j].sum(), abs=1e-9)
            found = values["propagation_length", industry, country]
            if found is not None:
                assert found == pytest.approx(length[of, j].sum() / beyond[of, j].sum(), rel=1e-6)
    counts = pc.value_counts(made.industry_coefficients.column("industry")).to_pylist()
    assert {c["counts"] for c in counts} == {10}


@pytest.mark.slow
def test_a_full_size_table_agrees_with_its_dense_inverse() -> None:
    codes = country_codes(81)
    world = make_world(codes, [f"X{n:02d}" for n in range(50)], ["HFCE"], seed=3)
    held = table(list(world.labels), world.Z / 1e6, world.OUT / 1e6)
    made = build_industry([held], REFERENCE, ("NLD",))
    a = technical_coefficients(held.Z, held.OUT)
    system = np.eye(len(a)) - a
    inverse = np.linalg.inv(system)
    columns = np.array([k for k, (c, _) in enumerate(held.labels) if c == "NLD"])
    total = (inverse - np.eye(len(a)))[:, columns]
    by_country = total.reshape(81, 50, 50).sum(axis=1)
    order = {c: k for k, c in enumerate(codes)}
    for r in made.industry_exposure.to_pylist():
        j = int(r["industry"][1:])
        expected = by_country[order[r["country"]], j] / by_country[:, j].sum()
        assert r["look_through"] == pytest.approx(expected, abs=1e-9)
    up = inverse @ held.OUT / held.OUT
    for r in rows(made.industry_measures, measure="upstreamness"):
        assert r["value"] == pytest.approx(up[columns[int(r["industry"][1:])]], abs=1e-8)
