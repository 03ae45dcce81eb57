"""Shocks: by hand, against plain recursion and flows recomputed without the country, and what must always hold."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ketenpipe.chain.catalogue import Edge, Reference
from ketenpipe.chain.matrices import balance_production, trace_origins
from ketenpipe.chain.steps import Chain
from ketenpipe.errors import WrongUse
from ketenpipe.risk.shocks import _at_node, _through, _trade, shock, standard_shocks
from ketenpipe.tables.registry import SHOCKS
from ketenpipe_tests.chain.step_worlds import COUNTRIES, Walked, drawn_chains, walk
from ketenpipe_tests.worlds import (
    bloc,
    catalogue,
    edge,
    essential,
    figure,
    flows,
    mass,
    mining,
    node,
    non_producer,
    one,
)

A, B, C, D = "100001", "100002", "100003", "100004"

ROUTES = (
    *mass(2020, A, ("DEU", "NLD", 60), ("FRA", "NLD", 40)),
    *mass(2020, B, ("CHN", "DEU", 75), ("RUS", "DEU", 25), ("CHN", "FRA", 10), ("RUS", "BRA", 8)),
)
"""Product a: 60 DEU, 40 FRA. Input b: DEU 3/4 CHN, 1/4 RUS; FRA all CHN; RUS sells 8 to BRA besides."""


def ab(link: Edge | None = None) -> Reference:
    return catalogue([node("a", A), node("b", B)], [link or essential("a", "b")])


def cut(walked: Walked, country: str, name: str, share: float = 1.0, **where: Any) -> dict[str, Any]:
    return one(shock(walked.seen, walked.members, walked.tracing.supply_mix, country, name, share), **where)


# -- by hand -------------------------------------------------------------------------------------------------


def test_an_essential_input_by_hand() -> None:
    # CHN stops b. DEU loses .75 of its b and FRA 1: .6 * .75 + .4 * 1 = .85 of NLD's a.
    # Relief: besides CHN only RUS sells b, 25 to DEU, 8 to BRA. DEU could get 8 more of 100: .75 - .08 = .67.
    # FRA could get 33 of 10: nothing is lost there. .6 * .67 = .402. S2 where most of the cut arrives (DEU): 8 / 75.
    found = cut(walk(flows(ROUTES), ab()), "CHN", "b")
    assert (found["cut"], found["low"], found["high"]) == pytest.approx((0.85, 0.85, 0.85))
    assert (found["cut_with_relief"], found["relief_low"], found["relief_high"]) == pytest.approx((0.402,) * 3)
    assert found["relief"] == pytest.approx(8 / 75)
    assert (found["path"], found["tier"], found["scenario"]) == ("a@DEU <- b@CHN", 1, "CHN:b:1")
    assert (found["rank"], found["basis"], found["reason"], found["confidence"]) == (
        1, "export_proxy", "export_proxy", "low",
    )  # fmt: skip


def test_what_a_country_sells_itself_is_no_relief_for_it() -> None:
    # DEU sells 20 of its b on to BRA: still only RUS's 8 are to spare for DEU.
    found = cut(walk(flows([*ROUTES, *mass(2020, B, ("DEU", "BRA", 20))]), ab()), "CHN", "b")
    assert (found["cut_with_relief"], found["relief"]) == pytest.approx((0.402, 8 / 75))


def test_what_is_unknown_frees_nothing() -> None:
    # DEU, which makes no b, buys 10 of CHN and 4 of USA, and sells 20: 6 are nobody knows whose. Of its supply .5 is
    # CHN's, .2 USA's, .3 unknown. USA sells 6 elsewhere: .3 of it. Lost: .5, at worst .8; with relief .2 and .5.
    table = flows(
        [
            *mass(2020, A, ("DEU", "NLD", 10)),
            *mass(2020, B, ("CHN", "DEU", 10), ("USA", "DEU", 4), ("USA", "BRA", 6), ("DEU", "BRA", 20)),
        ]
    )
    reference = catalogue(
        [node("a", A), node("b", B)], [essential("a", "b")], non_producers=[non_producer("DEU", name="b")]
    )
    found = cut(walk(table, reference), "CHN", "b")
    assert (found["low"], found["high"]) == pytest.approx((0.5, 0.8))
    assert (found["relief_low"], found["relief_high"]) == pytest.approx((0.2, 0.5))


def test_half_of_it() -> None:
    # Half the loss: .425. DEU lacks .375 and could get .08: .295; .6 * .295 = .177.
    found = cut(walk(flows(ROUTES), ab()), "CHN", "b", 0.5)
    assert (found["cut"], found["cut_with_relief"]) == pytest.approx((0.425, 0.177))
    assert found["relief"] == pytest.approx(8 / 37.5)
    assert found["scenario"] == "CHN:b:0.5"


def test_an_input_of_known_intensity_cuts_as_much_as_it_weighs() -> None:
    found = cut(walk(flows(ROUTES), ab(edge("a", "b", 0.2))), "CHN", "b")
    assert found["cut"] == pytest.approx(0.2 * 0.85)
    assert found["cut_with_relief"] == pytest.approx(0.2 * 0.402)


@pytest.mark.parametrize("link", [edge("a", "b"), edge("a", "b", 0.2, status="recalled")])
def test_an_intensity_that_nobody_has_read_makes_the_cut_unknown(link: Edge) -> None:
    found = cut(walk(flows(ROUTES), ab(link)), "CHN", "b")
    assert (found["cut"], found["cut_with_relief"], found["rank"]) == (None, None, None)
    assert (found["low"], found["high"]) == pytest.approx((0.0, 0.85))
    assert (found["relief_low"], found["relief_high"]) == pytest.approx((0.0, 0.402))
    assert found["reason"] == "intensity_unknown; export_proxy"
    assert found["path"] == "a@DEU <- b@CHN"


def test_the_product_itself() -> None:
    # DEU stops a: 60 of 100. FRA sells nobody else any: no relief. Where it sells 30 elsewhere, 30 of 100 are covered.
    walked = walk(flows(ROUTES), ab())
    found = cut(walked, "DEU", "a")
    assert (found["cut"], found["cut_with_relief"], found["relief"], found["path"]) == (0.6, 0.6, 0.0, "a@DEU")
    assert found["evidence"] is None
    elsewhere = walk(flows([*ROUTES, *mass(2020, A, ("FRA", "BRA", 30))]), ab())
    found = cut(elsewhere, "DEU", "a")
    assert (found["cut"], found["cut_with_relief"], found["relief"]) == (0.6, 0.3, 0.5)


def test_own_use_goes_on() -> None:
    # a is made in CHN, of CHN's own b: that CHN exports no b hurts nobody here. That it exports no a, does.
    table = flows([*mass(2020, A, ("CHN", "NLD", 10)), *mass(2020, B, ("CHN", "DEU", 10), ("RUS", "CHN", 2))])
    walked = walk(table, ab())
    found = cut(walked, "CHN", "b")
    assert (found["cut"], found["high"], found["path"], found["relief"]) == (0.0, 0.0, None, None)
    assert cut(walked, "CHN", "a")["cut"] == 1.0
    # The focus as the one that stops: its own supply goes on.
    assert cut(walked, "NLD", "a")["cut"] == 0.0
    assert cut(walked, "NLD", "a")["reason"] == "country_in_focus; export_proxy"


def test_what_came_through_a_hub_is_lost_and_what_only_passed_through_is_not() -> None:
    # CHN's b reaches FRA through DEU: lost, and not for DEU to sell. BRA's b passes through CHN and still comes.
    made = [figure("b", B, 2020, c, q) for c, q in (("CHN", 60.0), ("BRA", 40.0))]
    table = flows(
        [
            *mass(2020, A, ("FRA", "NLD", 10)),
            *mass(2020, B, ("BRA", "CHN", 40), ("CHN", "DEU", 100), ("DEU", "FRA", 50)),
        ]
    )
    reference = catalogue([node("a", A), node("b", B)], [essential("a", "b")], figures=made)
    found = cut(walk(table, reference), "CHN", "b")
    assert found["cut"] == pytest.approx(0.6)
    assert cut(walk(table, reference), "DEU", "b")["cut"] == 0.0
    # To spare for FRA: BRA's 40 and the .4 of DEU's 50 that BRA made, 60, less the 20 that FRA has of it: 40 of 50.
    assert (found["relief"], found["cut_with_relief"]) == pytest.approx((40 / 30, 0.0))


def test_several_inputs_of_one_user_lose_together() -> None:
    # d goes into b and c, both into a. DEU makes a; b is all CHN's, c all RUS's; d: CHN half ZAF, RUS all ZAF.
    # b loses .5, c loses 1. Both essential to a: the larger, 1. With intensities .5 and .2: .25 + .2 = .45.
    # One essential (b), one .2 (c): .5 + .2.
    table = flows(
        [
            *mass(2020, A, ("DEU", "NLD", 10)),
            *mass(2020, B, ("CHN", "DEU", 10)),
            *mass(2020, C, ("RUS", "DEU", 10)),
            *mass(2020, D, ("ZAF", "CHN", 5), ("BRA", "CHN", 5), ("ZAF", "RUS", 10)),
        ]
    )
    nodes = [node("a", A), node("b", B), node("c", C), node("d", D)]
    tail = [essential("b", "d"), essential("c", "d")]
    for links, expected in (
        ([essential("a", "b"), essential("a", "c")], 1.0),
        ([edge("a", "b", 0.5), edge("a", "c", 0.2)], 0.45),
        ([essential("a", "b"), edge("a", "c", 0.2)], 0.7),
        ([edge("a", "b", 0.9), edge("a", "c", 0.8)], 1.0),
    ):
        assert cut(walk(table, catalogue(nodes, [*links, *tail])), "ZAF", "d")["cut"] == pytest.approx(expected)
    found = cut(walk(table, catalogue(nodes, [essential("a", "b"), edge("a", "c", 0.2), *tail])), "ZAF", "d")
    assert found["path"] == "a@DEU <- b@CHN <- d@ZAF"


def test_a_dashed_step_passes_the_loss_on() -> None:
    reference = catalogue([node("a", A), node("x", C), node("b", B)], [essential("a", "x"), edge("x", "b", 0.5)])
    found = cut(walk(flows(ROUTES), reference), "CHN", "b")
    assert (found["cut"], found["path"]) == (pytest.approx(0.425), "a@DEU <- (x) <- b@CHN")


def test_the_world_mix_cuts_the_same_of_every_buyer() -> None:
    # Ore: .8 CHN, .2 ZAF for every maker of b; RUS, which makes a quarter of DEU's b, buys it too. CHN does not.
    reference = catalogue(
        [node("a", A), node("b", B), node("mine_x", material="Ore", stage="extraction")],
        [essential("a", "b"), essential("b", "mine_x")],
    )
    made = mining([("Ore", "CHN", 2020, 80.0), ("Ore", "ZAF", 2020, 20.0)])
    walked = walk(flows(ROUTES), reference, statistics=made)
    found = cut(walked, "ZAF", "mine_x")
    assert found["cut"] == pytest.approx(0.2)
    assert (found["cut_with_relief"], found["relief_low"], found["relief"]) == (None, None, None)
    assert (found["same_for_every_country"], found["basis"], found["reason"]) == (
        True, "world_production_mix", "no_trade_codes",
    )  # fmt: skip
    assert (found["confidence"], found["path"]) == ("medium", "a@DEU <- b@CHN <- mine_x@ZAF")
    # CHN's own smelters go on: only b of RUS, .25 of DEU's, loses .8.
    assert cut(walked, "CHN", "mine_x")["cut"] == pytest.approx(0.6 * 0.25 * 0.8)
    # Half of a is now USA's, whose b nobody sees: its maker may be anybody, ZAF too.
    dark = walk(flows([*ROUTES, *mass(2020, A, ("USA", "NLD", 100))]), reference, statistics=made)
    found = cut(dark, "ZAF", "mine_x")
    assert (found["low"], found["high"]) == pytest.approx((0.1, 0.2))


def test_no_way_leads_through_a_node_with_the_world_mix() -> None:
    # b goes into a (.2) and into the mine: how much of the ore that costs nobody can say.
    reference = catalogue(
        [node("a", A), node("b", B), node("mine_x", material="Ore", stage="extraction")],
        [edge("a", "b", 0.2), essential("a", "mine_x"), essential("mine_x", "b")],
    )
    made = mining([("Ore", "CHN", 2020, 80.0), ("Ore", "ZAF", 2020, 20.0)])
    found = cut(walk(flows(ROUTES), reference, statistics=made), "CHN", "b")
    assert (found["cut"], found["low"], found["high"]) == (None, pytest.approx(0.17), 1.0)
    assert found["reason"] == "user_not_computed; export_proxy"


def test_unknown_origin_is_left_out_or_added() -> None:
    # DEU makes no b and sells 20 of nobody knows whose: a fifth of FRA's b. CHN makes the rest.
    table = flows([*mass(2020, A, ("FRA", "NLD", 10)), *mass(2020, B, ("CHN", "FRA", 80), ("DEU", "FRA", 20))])
    reference = catalogue(
        [node("a", A), node("b", B)], [essential("a", "b")], non_producers=[non_producer("DEU", name="b")]
    )
    found = cut(walk(table, reference), "CHN", "b")
    assert (found["cut"], found["low"], found["high"]) == pytest.approx((0.8, 0.8, 1.0))
    # Makers of a whose b nobody sees: nothing is known to be lost, anything may be.
    found = cut(walk(flows([*ROUTES, *mass(2020, A, ("USA", "NLD", 100))]), ab()), "RUS", "b")
    assert (found["cut"], found["low"], found["high"]) == pytest.approx((0.075, 0.075, 0.575))


def test_a_user_that_was_not_computed_makes_the_cut_unknown() -> None:
    # b has neither codes nor a statistic: what the loss of the ore does to it, and it to a, nobody can say.
    reference = catalogue(
        [node("a", A), node("b", note="no code"), node("mine_x", material="Ore", stage="extraction")],
        [essential("a", "b"), essential("b", "mine_x")],
    )
    made = mining([("Ore", "CHN", 2020, 80.0), ("Ore", "ZAF", 2020, 20.0)])
    found = cut(walk(flows(ROUTES), reference, statistics=made), "CHN", "mine_x")
    assert (found["cut"], found["low"], found["high"], found["path"]) == (None, 0.0, 0.8, None)
    assert found["reason"] == "user_not_computed; no_trade_codes"


def test_a_bloc_is_one_buyer_and_its_members_may_stop_too() -> None:
    # EU27 of DEU and FRA. DEU buys 60 of CHN and 20 of FRA, which makes 40 and buys 20 of RUS; RUS sells BRA 50.
    # FRA's row: supply 60, 40 own; DEU's: 80, of which 60 CHN, 20 from FRA (2/3 FRA, 1/3 RUS). DEU eats 80, FRA 40.
    made = [figure("a", A, 2020, c, q) for c, q in (("CHN", 60.0), ("FRA", 40.0), ("RUS", 70.0))]
    table = flows(mass(2020, A, ("CHN", "DEU", 60), ("FRA", "DEU", 20), ("RUS", "FRA", 20), ("RUS", "BRA", 50)))
    reference = catalogue([node("a", A)], figures=made, blocs=[*bloc("EU27", "DEU", "FRA"), *bloc("EU", "DEU", "FRA")])
    walked = walk(table, reference, ("EU27",))
    found = cut(walked, "CHN", "a")
    # 60 of 120. To spare: RUS sells 70, of which the bloc has 20: 50 of 120.
    assert (found["cut"], found["relief"], found["cut_with_relief"]) == pytest.approx((0.5, 50 / 60, 10 / 120))
    # FRA stops: DEU loses 20 * 2/3 of its 80; FRA's own use goes on. RUS could spare 50, CHN none.
    found = cut(walked, "FRA", "a")
    assert found["cut"] == pytest.approx(20 * 2 / 3 / 120)
    assert found["reason"] == "country_in_focus"


# -- an HS6 code instead of a node ---------------------------------------------------------------------------


def test_a_code_is_its_part_of_the_node_and_stands_by_itself_too() -> None:
    # b holds two codes; DEU eats 30 of the first (all CHN's) and 10 of the second (half CHN's, half RUS's).
    table = flows(
        [*mass(2020, A, ("DEU", "NLD", 10)), *mass(2020, B, ("CHN", "DEU", 30), ("CHN", "NLD", 6), ("RUS", "NLD", 2)),
         *mass(2020, C, ("CHN", "DEU", 5), ("RUS", "DEU", 5)), *mass(2020, D, ("CHN", "NLD", 3), ("RUS", "NLD", 1))]
    )  # fmt: skip
    walked = walk(table, catalogue([node("a", A), node("b", f"{B} {C}")], [essential("a", "b")]))
    assert cut(walked, "CHN", "b")["cut"] == pytest.approx(0.875)
    first, second = cut(walked, "CHN", B, node="b"), cut(walked, "CHN", C, node="b")
    assert (first["cut"], second["cut"]) == pytest.approx((0.75, 0.125))
    assert (first["code"], first["scenario"], first["group"]) == (B, f"CHN:{B}:1", "g")
    own = cut(walked, "CHN", B, node=None)
    assert (own["cut"], own["tier"], own["group"], own["basis"], own["path"]) == (0.75, 0, None, "traced", f"{B}@CHN")
    # A code that no node holds has only its own row.
    found = shock(walked.seen, walked.members, walked.tracing.supply_mix, "CHN", D, 0.5).to_pylist()
    assert [(r["cut"], r["node"]) for r in found] == [(0.375, None)]


def test_a_code_of_the_focus_itself() -> None:
    # NLD stops what it makes: its own supply goes on. A bloc's row does not say what its members have of each other.
    table = flows(mass(2020, A, ("NLD", "DEU", 60), ("CHN", "NLD", 20), ("CHN", "DEU", 20)))
    walked = walk(table, catalogue([node("a", A)]), ("NLD", "EU27"))
    own = cut(walked, "NLD", A, focus="NLD", group=None)
    assert (own["cut"], own["high"], own["path"]) == (0.0, 0.0, None)
    assert own["reason"] == "country_in_focus; relief_not_computed"
    of_bloc = cut(walked, "NLD", A, focus="EU27", group=None)
    assert (of_bloc["cut"], of_bloc["low"]) == (None, 0.0)
    assert of_bloc["high"] >= cut(walked, "NLD", A, focus="EU27", group="g")["cut"] > 0


# -- refusals ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("country", "name", "share", "sentence"),
    [
        ("CHN", "b", 0.0, "the share that stops must lie above 0 and not above 1, and 0 does not"),
        ("CHN", "b", 1.01, "must lie above 0 and not above 1, and 1.01 does not"),
        ("CHN", "b", float("nan"), "must lie above 0 and not above 1"),
        ("CHI", "b", 1.0, r"there is no country 'CHI'; did you mean CHN \(China\)"),
        ("China", "b", 1.0, r"there is no country 'China'; did you mean CHN \(China\)"),
        ("UNK", "b", 1.0, "there is no country 'UNK'"),
        ("VAT", "b", 1.0, "no source of 2020 shows VAT making or trading anything"),
        ("CHN", "bb", 1.0, "the catalogue has no node 'bb'; did you mean b"),
        ("CHN", "dark", 1.0, "node dark could not be computed in 2020: the sources hold none of its codes"),
        ("CHN", "far", 1.0, r"node far could not be computed in 2020: it lies deeper than .* \(setting depth\)"),
        ("CHN", "mine_x", 1.0, "node mine_x could not be computed in 2020: no source holds its codes"),
        ("CHN", "999999", 1.0, "nobody in NLD has supply of HS6 code 999999 in 2020"),
    ],
)  # fmt: skip
def test_what_is_refused(country: str, name: str, share: float, sentence: str) -> None:
    reference = catalogue(
        [node("a", A), node("b", B), node("dark", C), node("far", B), node("mine_x", material="Ore")],
        [essential("a", "b"), essential("a", "dark"), essential("b", "far"), essential("a", "mine_x")],
    )
    walked = walk(flows(ROUTES), reference, depth=1)
    with pytest.raises(WrongUse, match=sentence):
        shock(walked.seen, walked.members, walked.tracing.supply_mix, country, name, share)


def test_a_focus_that_the_tables_do_not_have() -> None:
    walked = walk(flows(ROUTES), ab())
    with pytest.raises(
        WrongUse, match=r"the tables have no focus DEU \(they have NLD\); 'ketenpipe run' takes --focus"
    ):
        shock(walked.seen, walked.members, walked.tracing.supply_mix, "CHN", "b", foci=["DEU"])


# -- the standard set ----------------------------------------------------------------------------------------


def test_the_standard_set_takes_each_node_with_its_largest_foreign_country() -> None:
    # Two groups with b: in g its largest country is CHN (.85), in h (RUS and BRA make a) it is RUS. Both scenarios are
    # reckoned for both groups. a: DEU, h's product c: BRA. NLD itself makes most of c and is not asked for.
    table = flows([*ROUTES, *mass(2020, C, ("BRA", "NLD", 4), ("RUS", "NLD", 1), ("NLD", "DEU", 20))])
    reference = catalogue(
        [node("a", A), node("b", B), node("c", C)],
        [essential("a", "b", "g"), essential("c", "b", "h")],
        {"g": "a", "h": "c"},
    )
    walked = walk(table, reference)
    found = standard_shocks(walked.seen, walked.members, walked.tracing.supply_mix).to_pylist()
    assert {(r["scenario"], r["group"]) for r in found} == {
        ("DEU:a:1", "g"), ("CHN:b:1", "g"), ("RUS:b:1", "g"), ("CHN:b:1", "h"), ("RUS:b:1", "h"), ("BRA:c:1", "h"),
    }  # fmt: skip
    for r in found:
        again = cut(walked, r["country"], r["node"], group=r["group"])
        assert {k: v for k, v in again.items() if k != "rank"} == {k: v for k, v in r.items() if k != "rank"}
    ranks = sorted((r["rank"], -r["cut"]) for r in found)
    assert [k for _, k in ranks] == sorted(k for _, k in ranks)
    assert ranks[0] == (1, pytest.approx(-0.85))


def test_ties_share_a_rank() -> None:
    table = flows([*mass(2020, A, ("DEU", "NLD", 10)), *mass(2020, B, ("CHN", "DEU", 10))])
    walked = walk(table, ab())
    found = standard_shocks(walked.seen, walked.members, walked.tracing.supply_mix).to_pylist()
    assert [(r["cut"], r["rank"]) for r in found] == [(1.0, 1), (1.0, 1)]


# -- against flows recomputed, and plain recursion -----------------------------------------------------------

PLACES = ("BRA", "CHN", "DEU", "FRA")


@st.composite
def trades(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Flows between four countries and production that feeds them (the proxy, and more in some)."""
    n = len(PLACES)
    x = np.array([[0.0 if i == j else float(draw(st.integers(0, 9))) for j in range(n)] for i in range(n)])
    made = np.maximum(x.sum(axis=1) - x.sum(axis=0), 0.0) + np.array([float(draw(st.integers(1, 5))) for _ in range(n)])
    return x, made


def kept_open(x: np.ndarray, made: np.ndarray, closed: int, share: float) -> np.ndarray:
    """Supply of each country when a share of all that ``closed`` exports stops and every other country passes on what
    it has in the old proportions: ``x'_j = p_j + sum_i X[i,j] x'_i / x_i``, with less out of ``closed``."""
    supply = made + x.sum(axis=0)
    passing = (x / supply[:, np.newaxis]).T
    passing[:, closed] *= 1.0 - share
    return np.linalg.solve(np.eye(len(x)) - passing, made)


@settings(max_examples=100, deadline=None)
@given(trades(), st.integers(0, 3), st.sampled_from([0.25, 0.5, 1.0]))
def test_flows_recomputed_without_the_country(trade: tuple[np.ndarray, np.ndarray], c: int, share: float) -> None:
    # What the definition cuts is what c made. A closed border also stops what others made and sent through c: it never
    # cuts less; for a = 1 it cuts O[j,c] / O[c,c]; where c buys nothing, and so ships on nothing, it cuts the same.
    x, made = trade
    traced = trace_origins(x, balance_production(x, made, np.ones(4, bool), np.zeros(4, bool)))
    by_definition = share * traced.origins[:, c]
    by_definition[c] = 0.0
    for alone in (False, True):
        if alone:
            x[:, c] = 0.0
            made = np.maximum(made, x.sum(axis=1) - x.sum(axis=0))
            traced = trace_origins(x, balance_production(x, made, np.ones(4, bool), np.zeros(4, bool)))
            by_definition = share * traced.origins[:, c]
            by_definition[c] = 0.0
        supply = traced.supply
        lost = 1.0 - kept_open(x, supply - x.sum(axis=0), c, share) / supply
        lost[c] = 0.0
        assert (lost >= by_definition - 1e-12).all()
        if share == 1.0:
            others = np.arange(4) != c
            assert lost[others] == pytest.approx(traced.origins[others, c] / traced.origins[c, c], abs=1e-12)
        if alone:
            assert lost == pytest.approx(by_definition, abs=1e-12)


def made_less(chain: Chain, user: str, at: int, target: str, lost: np.ndarray, worst: float) -> float:
    """What is made less of a node in a country, by plain recursion from the product up."""
    whole, part = 0.0, 0.0
    for item in chain.inputs(user):
        if item == target:
            missing = float(lost[at])
        elif item in chain.traded:
            missing = sum(
                float(chain.traded[item].origins[at, k]) * made_less(chain, item, k, target, lost, worst)
                for k in range(len(COUNTRIES))
            )
        else:
            missing = made_less(chain, item, at, target, lost, worst)
        link = chain.edges[(user, item)]
        if link.essential:
            whole = max(whole, missing)
        else:
            part += (worst if link.weight is None else link.weight) * missing
    return min(whole + part, 1.0)


@settings(max_examples=60, deadline=None)
@given(drawn_chains(), st.data(), st.sampled_from([0.3, 1.0]))
def test_through_the_chain_against_plain_recursion(chain: Chain, data: st.DataObject, share: float) -> None:
    target = data.draw(st.sampled_from([n for n in chain.order[1:] if n in chain.traded]))
    country = data.draw(st.integers(0, len(COUNTRIES) - 2))
    shocked = np.array([country])
    loss = _at_node(_trade(chain.traded[target], shocked, None), shocked, share)
    origins = chain.traded[target].origins
    made = _through(chain, target, loss.lost)
    for column, unknown, worst in ((0, 0.0, 0.0), (1, 0.0, 1.0), (2, 1.0, 1.0)):
        lost = share * (origins[:, country] + unknown * origins[:, -1])
        lost[country] = 0.0
        assert loss.lost[:, 0, column] == pytest.approx(lost, abs=1e-12)
        for at in range(len(COUNTRIES)):
            assert made[at, 0, column] == pytest.approx(
                made_less(chain, chain.head, at, target, lost, worst), abs=1e-12
            )
    # Two countries at once lose at most the sum of each alone.
    pair = np.array([country, (country + 1) % (len(COUNTRIES) - 1)])
    both = _at_node(_trade(chain.traded[target], pair, None), pair, share).lost
    summed = _through(chain, target, both).sum(axis=1)
    assert (_through(chain, target, both.sum(axis=1, keepdims=True))[:, 0] <= summed + 1e-12).all()


# -- what always holds ---------------------------------------------------------------------------------------


@st.composite
def small_worlds(draw: st.DrawFn) -> Walked:
    """Groups of a, b and c for NLD and EU27, in any trade, with known, unknown and essential inputs."""
    places = ("BEL", "CHN", "DEU", "NLD")
    pairs = [(i, j) for i in places for j in places if i != j]

    def some(code: str) -> list[Any]:
        chosen = draw(st.lists(st.sampled_from(pairs), min_size=1, max_size=7, unique=True))
        return mass(2020, code, *((i, j, float(draw(st.integers(1, 500)))) for i, j in chosen))

    def link(user: str, item: str) -> Edge:
        kind = draw(st.sampled_from(["essential", "known", "unknown"]))
        return edge(user, item, 0.3 if kind == "known" else None, essential=kind == "essential")

    apart = mass(2020, A, ("RUS", "NLD", 10), ("RUS", "DEU", 10))
    table = flows([*apart, *itertools.chain.from_iterable(some(k) for k in (A, B, C, D))])
    reference = catalogue(
        [node("a", A), node("b", f"{B} {C}"), node("c", D)],
        [link("a", "b"), link("b", "c")],
        non_producers=[non_producer("BEL", name="c")] if draw(st.booleans()) else [],
    )
    return walk(table, reference, ("NLD", "EU27"))


FIGURES = ("cut", "low", "high", "cut_with_relief", "relief_low", "relief_high")


def comparable(table: pa.Table) -> dict[tuple[str, str], dict[str, Any]]:
    return {(r["focus"], r["node"]): r for r in table.to_pylist()}


@settings(max_examples=25, deadline=None)
@given(small_worlds(), st.sampled_from(["a", "b", "c"]), st.sampled_from(["BEL", "CHN", "DEU", "NLD", "RUS"]))
def test_bounded_ordered_and_rising_with_the_share(walked: Walked, name: str, country: str) -> None:
    assume(len(walked.seen.index([country])) == 1)
    assume(any(name in chain.order for chain in walked.seen.chains()))
    mix = walked.tracing.supply_mix
    before: dict[tuple[str, str], dict[str, Any]] = {}
    for share in (1e-9, 0.2, 0.5, 1.0):
        now = comparable(shock(walked.seen, walked.members, mix, country, name, share))
        for key, r in now.items():
            held = {f: r[f] for f in FIGURES if r[f] is not None}
            assert all(0.0 <= v <= 1.0 for v in held.values())
            assert held["low"] <= held["high"] + 1e-12
            assert held["low"] == held.get("cut", held["low"])
            assert held["relief_low"] <= held["low"] + 1e-12
            assert held["relief_high"] <= held["high"] + 1e-12
            assert held["relief_low"] <= held["relief_high"] + 1e-12
            # Nothing is cut that the country does not make: at most the share that stops.
            assert held["high"] <= share + 1e-12
            for f, value in held.items():
                assert value >= (before[key][f] or 0.0) - 1e-9 if key in before else value <= 1e-9
            if "cut" in held and key in before and before[key]["cut"]:
                # The loss at the node is in proportion; through caps at 1 it never grows faster.
                assert held["cut"] / share <= before[key]["cut"] / before[key]["share"] * (1 + 1e-6)
        before = now


@settings(max_examples=15, deadline=None)
@given(small_worlds())
def test_who_makes_nothing_cuts_nothing(walked: Walked) -> None:
    mix = walked.tracing.supply_mix
    for chain in walked.seen.chains():
        for name, steps in chain.traded.items():
            for k, country in enumerate(walked.seen.countries[:-1]):
                if steps.origins[:, k].any():
                    continue
                for r in shock(walked.seen, walked.members, mix, country, name).to_pylist():
                    assert (r["low"], r["relief_low"], r["path"]) == (0.0, 0.0, None)


@settings(max_examples=15, deadline=None)
@given(small_worlds(), st.sampled_from(["CHN", "DEU"]))
def test_the_codes_of_a_node_add_up(walked: Walked, country: str) -> None:
    # Both codes of b stop one after the other: the cut of the node lies between the larger and the sum.
    assume(len(walked.seen.index([country])) == 1)
    mix = walked.tracing.supply_mix
    whole = comparable(shock(walked.seen, walked.members, mix, country, "b"))
    held = [c for c in (B, C) if any(c in ch.traded["b"].codes for ch in walked.seen.chains() if "b" in ch.traded)]
    parts = [shock(walked.seen, walked.members, mix, country, c).to_pylist() for c in held]
    for (focus, _), r in whole.items():
        lows = [p["low"] for rows in parts for p in rows if p["focus"] == focus and p["node"] == "b"]
        assert max(lows) - 1e-9 <= r["low"] <= sum(lows) + 1e-9


def test_an_empty_focus_gives_the_contract() -> None:
    walked = walk(flows(ROUTES), ab())
    found = standard_shocks(walked.seen, walked.members, walked.tracing.supply_mix, ())
    assert found.schema == SHOCKS.schema()
    assert found.num_rows == 0


def test_s2_is_that_of_the_method_where_nobody_sells_on() -> None:
    # Against the indicator's own formula: sum of the others' exports elsewhere over what the largest sells to f.
    from ketenpipe_tests.worlds import run

    table = flows(mass(2020, A, ("CHN", "NLD", 50), ("USA", "NLD", 20), ("USA", "DEU", 15), ("BRA", "DEU", 8),
                       ("CHN", "DEU", 99)))  # fmt: skip
    reference = catalogue([node("a", A)])
    method = run(table, reference).value("S2", level="node", measure="q")
    assert method == pytest.approx((15 + 8) / 50)
    assert cut(walk(table, reference), "CHN", "a")["relief"] == pytest.approx(method)
