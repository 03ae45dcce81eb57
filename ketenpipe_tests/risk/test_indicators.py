"""Indicators of nodes and groups: O1, O2, T, C3, C4, X1, X1g, X2, hidden exposure, P1; by hand and recomputed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from ketenpipe.chain.tracing import focus_members
from ketenpipe.risk.indicators import kleene_and, kleene_or
from ketenpipe.risk.planes import plane_of
from ketenpipe_tests.worlds import (
    FIRST,
    HUB,
    PARTLY,
    PORT,
    RISKY,
    SAFE,
    SCORES,
    Flow,
    Run,
    catalogue,
    chain_world,
    edge,
    essential,
    flows,
    link,
    mass,
    mining,
    node,
    rows,
    run,
)


@pytest.fixture(scope="module")
def held() -> Run:
    return chain_world()


def group_row(held: Run, indicator: str, group: str, **where: Any) -> dict[str, Any]:
    return held.row(indicator, level="group", group=group, **where)


# -- the plane of a product ----------------------------------------------------------------------------------


def test_the_traced_figures_of_a_safe_product_by_hand(held: Run) -> None:
    # Half DEU (.1), half USA (.2): O1 .5, G2 .15, G3 = 10 * (.25*.1 + .25*.2) = .75; T: .15 is not above .5.
    # C4b: DEU is in the EU27, so the USA's .5.
    for level, code in (("hs6", SAFE), ("group", "specific")):
        where = {"level": level, "code": code, "measure": "q", "basis": "traced"}
        assert held.value("O1", **where) == pytest.approx(0.5)
        assert held.value("G2", **where) == pytest.approx(0.15)
        assert held.value("G3", **where) == pytest.approx(0.75)
        assert held.value("T", **where) == 0.0
        top = held.row("C4b", **where)
        assert (top["value"], top["country"]) == (pytest.approx(0.5), "USA")


def test_concentration_is_not_renormalised_over_foreign_origins(held: Run) -> None:
    # hubby: NLD's supply is 600 own, 600 of CHN: O1 = .25, O1r = 1; T on O1: not passed although G2 is .8.
    where = {"level": "hs6", "code": HUB, "measure": "q", "basis": "traced"}
    assert held.value("own_share", **where) == pytest.approx(0.5)
    assert held.value("O1", **where) == pytest.approx(0.25)
    assert held.value("O1r", **where) == pytest.approx(1.0)
    assert held.value("G2", **where) == pytest.approx(0.8)
    assert held.value("T", **where) == 0.0


def test_the_hub_gap_compares_foreign_mixes_by_mass(held: Run) -> None:
    # Direct: half DEU, half USA: .5. Traced, among foreign origins: all CHN: 1. O2 = .5 (own supply plays no part).
    # Without a hub between: 0.
    assert held.value("O2", level="hs6", code=HUB, measure="q") == pytest.approx(0.5)
    assert held.value("O2", level="hs6", code=SAFE, measure="q") == pytest.approx(0.0)
    assert rows(held.indicators, indicator="O2", measure="v") == [], "both in q"


def test_a_missing_score_leaves_the_test_open(held: Run) -> None:
    # dark: all TWN, no score: O1 = 1 passes, G2 cannot be had: T null, and not "no risk".
    row = group_row(held, "T", "unscored", measure="q")
    assert row["value"] is None
    assert "no_governance_score" in row["reason"]
    assert group_row(held, "G2", "unscored", measure="q", basis="traced")["value"] is None


def test_scored_origins_carry_g2_and_the_coverage_says_how_many(held: Run) -> None:
    # partly: .75 CHN (.8), .25 TWN (no score): G2 = .8 with coverage .75, O1 over both = .625.
    where = {"level": "hs6", "code": PARTLY, "measure": "q", "basis": "traced"}
    row = held.row("T", **where)
    assert (row["value"], row["coverage"]) == (1.0, pytest.approx(0.75))
    assert held.value("G2", **where) == pytest.approx(0.8)
    assert held.value("O1", **where) == pytest.approx(0.625)
    assert held.value("G3", **where) == pytest.approx(10 * 0.5625 * 0.8)


def test_low_and_high_bound_the_traced_figures(held: Run) -> None:
    # port, DEU a non-producer that sells 300 more than it buys: .4 CHN, .3 USA, .3 UNK. O1 = .16 + .09 = .25;
    # high: .49 + .09 = .58. G2 = (.32 + .06)/.7; high: (.56 + .06)/1 = .62. T: now 0 (.25), high 1 (.58 and .62).
    where = {"level": "hs6", "code": PORT, "measure": "q", "basis": "traced"}
    o1, test, g2 = (held.row(i, **where) for i in ("O1", "T", "G2"))
    assert (o1["value"], o1["low"], o1["high"]) == (pytest.approx(0.25), pytest.approx(0.25), pytest.approx(0.58))
    assert (g2["value"], g2["high"]) == (pytest.approx(0.38 / 0.7), pytest.approx(0.62))
    assert (test["value"], test["low"], test["high"]) == (0.0, 0.0, 1.0)
    top = held.row("C4b", **where)
    assert (top["value"], top["high"]) == (pytest.approx(0.4), pytest.approx(0.7))
    assert held.value("unknown_share", **where) == pytest.approx(0.3)
    flag = held.flag("node_test", level="hs6", code=PORT)
    assert (flag["flagged"], flag["flips_on"]) == (False, "unknown origin on the top country")


# -- production ----------------------------------------------------------------------------------------------


def test_c3_and_its_g2_are_over_all_producers_the_focus_included(held: Run) -> None:
    # Hard: CHN .8, NLD .2. C3 = .64 + .04 = .68; G2 = .8*.8 + .2*.1 = .66; G3 = 10*(.64*.8 + .04*.1) = 5.16.
    where = {"level": "node", "code": "mine_hard", "group": "world", "measure": "p", "basis": "observed"}
    assert held.value("C3", **where) == pytest.approx(0.68)
    assert held.value("G2", **where) == pytest.approx(0.66)
    assert held.value("G3", **where) == pytest.approx(5.16)
    assert held.row("C3", **where)["country"] == "CHN"


def test_the_test_of_a_world_mix_leaves_out_the_focus_itself(held: Run) -> None:
    # T at the same node, as at every tier: over c not in f: O1 = .64, G2 = .8: passed, and labelled world mix.
    where = {"level": "node", "code": "mine_hard", "group": "world", "basis": "world_production_mix"}
    assert held.value("O1", **where) == pytest.approx(0.64)
    assert held.value("G2", **where) == pytest.approx(0.8)
    assert "same_for_every_country" in held.row("T", **where)["reason"]


def test_a_producer_list_that_is_not_complete_gives_a_lower_bound(held: Run) -> None:
    # mine_listed: CHN .5, RUS .2 read, .3 unknown: C3 = .25 + .04 = .29, not .29/.49.
    row = held.row("C3", level="node", code="mine_listed")
    assert (row["value"], row["basis"]) == (pytest.approx(0.29), "producer_list")


# -- several codes -------------------------------------------------------------------------------------------


def test_the_worst_code_stands_beside_the_sum(held: Run) -> None:
    # Codes: CHN 300 (C1 = 1); CHN 150, USA 150 (.5). Summed: 450 and 150 of 600: .5625 + .0625 = .625.
    # S1: 600/150 = 4; the codes: 300/50 = 6 and 300/100 = 3.
    for indicator, value, code, worst in (("C1", 0.625, FIRST, 1.0), ("S1", 4.0, FIRST, 6.0)):
        row = held.row(indicator, level="node", code="pair", measure="v")
        assert row["value"] == pytest.approx(value)
        assert (row["worst_code"], row["worst_value"]) == (code, pytest.approx(worst))
        assert group_row(held, indicator, "two_codes", measure="v")["value"] == pytest.approx(value)


def test_the_traced_mix_of_several_codes_is_weighted_by_consumption(held: Run) -> None:
    # NLD eats 250 of the first (CHN) and 200 of the second (half CHN, half USA): CHN (250 + 100)/450, USA 100/450.
    assert held.vector("pair", group="two_codes") == pytest.approx({"CHN": 350 / 450, "USA": 100 / 450})
    assert group_row(held, "C4b", "two_codes", measure="q")["value"] == pytest.approx(350 / 450)


# -- X1, X1g -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("group", "x1", "reason"),
    [
        ("specific", 1.0, None),
        ("just_heavy", 1.0, None),
        ("too_light", 0.0, None),
        ("behind_dashed", 1.0, None),
        ("mixed_source", 1.0, None),
        ("direct", 0.0, None),
        ("little_risky", 0.0, None),
        ("far", 0.0, None),
        ("alone", 0.0, "no_upstream_node"),
        ("world", 0.0, "only_world_mix_upstream"),
        ("no_intensity", None, "path_weight_unknown"),
        ("recalled", None, "path_weight_unknown"),
        ("only_dashed", None, "upstream_not_computable"),
        ("proxied", 1.0, "export_proxy"),
        ("proxied_upstream", 1.0, "export_proxy"),
        ("proxied_risky", 0.0, "export_proxy"),
    ],
)
def test_x1(held: Run, group: str, x1: float | None, reason: str | None) -> None:
    # Tier 0 fails T and a buyer-specific node of tier 1-2 of weight >= .05 passes: .05 counts, .049 does not; behind a
    # dashed step counts; tier 3 does not; a product that passes itself is direct; no intensity: cannot be told.
    row = group_row(held, "X1", group)
    assert row["value"] == x1
    if reason is not None:
        assert reason in row["reason"]
    if x1 == 1.0:
        assert row["worst_code"] in ("risky", "proxy_risky", "mixed")


@pytest.mark.parametrize(
    ("group", "x1g", "reason"),
    [
        ("world", 1.0, None),
        ("world_soft", 0.0, None),
        ("link", 1.0, None),
        ("direct", 0.0, None),
        ("alone", 0.0, "no_upstream_node"),
        ("no_statistic", None, "no_production_data"),
    ],
)
def test_x1g(held: Run, group: str, x1g: float | None, reason: str | None) -> None:
    # Hard: C3 .68, G2 .66: passes. Soft: C3 .5, G2 .15: fails. direct: tier 0 passes T itself.
    row = group_row(held, "X1g", group)
    assert row["value"] == x1g
    assert row["basis"] == "world_production_mix"
    if reason is not None:
        assert reason in row["reason"]


def test_x1_names_its_node_and_country(held: Run) -> None:
    row = group_row(held, "X1", "specific")
    assert (row["worst_code"], row["country"], row["country_share"]) == ("risky", "CHN", 1.0)
    world = group_row(held, "X1g", "world")
    assert (world["worst_code"], world["country"], world["country_share"]) == ("mine_hard", "CHN", pytest.approx(0.8))


@pytest.mark.parametrize("group", ["unscored", "unscored_upstream"])
def test_an_open_test_makes_x1_and_x1g_open_with_a_reason(held: Run, group: str) -> None:
    # dark has no score. As the product: T null, upstream passes: null. As the input: product fails, input null: null.
    for indicator in ("X1", "X1g"):
        row = group_row(held, indicator, group)
        assert row["value"] is None
        assert row["reason"], f"{indicator} of {group} is null without a reason"


# -- X2, hidden exposure -------------------------------------------------------------------------------------


def test_the_weakest_link_by_hand(held: Run) -> None:
    # specific: safe 1 * .075, risky .5 * 1 * .8 = .4: the larger. link: safe .075, mid .3 * .075, risky .1 * .8 = .08.
    # world mix beside it: .2 * (.64*.8) = .1024 (the focus's own .2 is no part of it). direct: tier 0 itself: .8.
    x2 = group_row(held, "X2", "specific")
    assert (x2["value"], x2["worst_code"]) == (pytest.approx(0.4), "risky")
    assert "safe <- risky" in x2["reason"]
    link_ = group_row(held, "X2", "link")
    assert (link_["value"], link_["worst_code"]) == (pytest.approx(0.08), "risky")
    world = group_row(held, "X2_global", "link")
    assert (world["value"], world["worst_code"]) == (pytest.approx(0.2 * 0.512), "mine_hard")
    assert group_row(held, "X2", "direct")["worst_code"] == "risky"
    assert group_row(held, "X2", "direct")["value"] == pytest.approx(0.8)


def test_a_node_of_unknown_weight_is_not_in_x2(held: Run) -> None:
    # risky would give .8; its intensity is empty, or was read by nobody: only the product's own .075 remains.
    for group in ("no_intensity", "recalled"):
        assert group_row(held, "X2", group)["value"] == pytest.approx(0.075)


def test_hidden_exposure_by_hand(held: Run) -> None:
    # specific: CHN 1 at risky, 0 at the product: 1. unscored_upstream: TWN 1 (a score is not needed).
    # mixed_source: DEU buys from CHN, USA from TWN: CHN .5 and TWN .5; the first in the alphabet.
    hidden = group_row(held, "hidden_exposure", "specific")
    assert (hidden["value"], hidden["country"], hidden["worst_code"]) == (pytest.approx(1.0), "CHN", "risky")
    assert "safe <- risky" in hidden["reason"]
    assert group_row(held, "hidden_exposure", "unscored_upstream")["country"] == "TWN"
    mixed = group_row(held, "hidden_exposure", "mixed_source")
    assert (mixed["value"], mixed["country"]) == (pytest.approx(0.5), "CHN")
    # little_risky: CHN is all of tier 0 and all of tier 1: nothing is hidden.
    assert group_row(held, "hidden_exposure", "little_risky")["value"] == pytest.approx(0.0)
    # The world mix has its own: CHN .8 - 0; a focus's own .2 does not count.
    world = group_row(held, "hidden_exposure_global", "world")
    assert (world["value"], world["country"]) == (pytest.approx(0.8), "CHN")
    assert rows(held.indicators, indicator="hidden_exposure", group="world") == []


# -- what always holds ---------------------------------------------------------------------------------------


def test_every_null_has_a_reason(held: Run) -> None:
    # Missing is not zero, and says why (METHOD 2 and the contract of the table).
    silent = [
        (r["level"], r["code"], r["indicator"], r["measure"], r["basis"])
        for r in held.indicators.to_pylist()
        if r["value"] is None and not r["reason"]
    ]
    assert silent == []


def test_every_figure_has_measure_basis_vintage_and_version(held: Run) -> None:
    for r in held.indicators.to_pylist():
        assert r["measure"] in ("v", "q", "p", "none")
        assert r["basis"]
        assert r["method_version"]
        assert r["source_vintage"] is not None
        if r["indicator"] in ("C1", "C2", "C3", "C4a", "C4b", "O1", "O1r", "G2", "X2") and r["value"] is not None:
            assert 0 <= r["value"] <= 1


def test_bounds_contain_the_value(held: Run) -> None:
    for r in held.indicators.to_pylist():
        if r["value"] is not None and r["low"] is not None and r["indicator"] != "P1":
            assert r["low"] - 1e-9 <= r["value"] <= r["high"] + 1e-9, r


def _random_world(seed: int) -> Run:
    chance = np.random.default_rng(seed)
    places = ("AUT", "BRA", "CHN", "DEU", "NLD", "RUS", "USA")
    codes = [f"{400000 + n}" for n in range(8)]
    table: list[Flow] = []
    for code in codes:
        pairs = [(i, j) for i in places for j in places if i != j and chance.random() < 0.35]
        table += mass(2020, code, *((i, j, float(np.round(10 ** chance.uniform(0, 4), 1))) for i, j in pairs))
    nodes = [node(f"n{k}", c) for k, c in enumerate(codes)] + [node("mine_x", material="X", stage="extraction")]
    edges = []
    for g in range(4):
        for item in range(1, 5):
            for user in range(item):
                if user == 0 or chance.random() < 0.5:
                    weight = None if chance.random() < 0.15 else round(float(chance.random()), 3)
                    edges.append(edge(f"n{(user + g) % 8}", f"n{(item + g) % 8}", weight, group=f"g{g}"))
        edges.append(essential(f"n{g}", "mine_x", f"g{g}"))
    statistics = mining([("X", "CHN", 2020, 70.0), ("X", "RUS", 2020, 30.0), ("M", "CHN", 2020, 9e4)])
    reference = catalogue(nodes, edges, {f"g{g}": f"n{g}" for g in range(4)}, links=[link(c, "M") for c in codes[::2]])
    risk = {"CHN": 0.8, "RUS": 0.9, "DEU": 0.15, "AUT": 0.1, "USA": 0.4, "NLD": 0.1, "BRA": None}
    return run(flows(table), reference, ("NLD", "EU27"), statistics=statistics, risk=risk)


def test_the_chain_figures_follow_from_the_exposures() -> None:
    # From the published vectors alone, in plain Python: T, X1, X1g, X2, hidden exposure of four random chains.
    made = _random_world(3)
    risk = made.world.risk[2020]
    status = {(r["group"], r["node"]): r for r in made.exposure.chain_nodes.to_pylist()}
    seen: set[object] = set()
    for focus in ("NLD", "EU27"):
        own = focus_members(made.reference, focus, [2020])[2020]
        for group, record in made.reference.groups.items():
            part = rows(made.exposure.exposure, focus=focus, group=group)
            names = sorted({r["node"] for r in part})
            if record.node not in names:
                continue
            x = {n: {r["country"]: r["share_traced"] for r in part if r["node"] == n} for n in names}
            basis = {r["node"]: r["basis"] for r in part}
            tier = {n: status[group, n]["tier"] for n in names}
            weight = {n: status[group, n]["path_weight"] for n in names}
            plane = {n: plane_of(x[n], own, risk) for n in names}

            def passes(n: str, plane: dict[str, Any] = plane) -> bool | None:
                if not plane[n].o1 > 0.4:
                    return False
                return None if plane[n].g2 is None else plane[n].g2 > 0.5

            specific = [n for n in names if basis[n] != "world_production_mix"]
            eligible = [n for n in specific if tier[n] in (1, 2) and (weight[n] or 0) >= 0.05]
            fails = passes(record.node)
            fails = None if fails is None else not fails
            x1 = kleene_and(fails, kleene_or(passes(n) for n in eligible))
            row = group_row(made, "X1", group, focus=focus)
            if eligible:
                assert row["value"] == (None if x1 is None else float(x1)), (focus, group)
            # CHN .7, RUS .3: C3 = .58, G2 = .83: the mine passes for every group.
            assert group_row(made, "X1g", group, focus=focus)["value"] == (None if fails is None else float(fails))
            links = _links(specific, weight, x, own, risk)
            got = group_row(made, "X2", group, focus=focus)
            assert got["value"] == (pytest.approx(max(links)) if links else None)
            gaps = [
                s - x[record.node].get(c, 0.0)
                for n in specific
                if tier[n] >= 1
                for c, s in x[n].items()
                if c not in own and c != "UNK"
            ]
            if gaps:
                assert group_row(made, "hidden_exposure", group, focus=focus)["value"] == pytest.approx(max(gaps))
            seen.add((x1, fails))
    assert len(seen) >= 2, "a world in which every chain says the same tests little"


def _links(
    nodes: Iterable[str], weight: dict[str, float | None], x: dict[str, dict[str, float]], own: frozenset[str],
    risk: dict[str, float],
) -> list[float]:  # fmt: skip
    out = []
    for n in nodes:
        scored = {c: s for c, s in x[n].items() if c not in own and c in risk and s > 0}
        w = weight[n]
        if w is not None and scored:
            out.append(w * sum(s * s * risk[c] for c, s in scored.items()))
    return out


# -- persistence ---------------------------------------------------------------------------------------------


def _years(*kinds: str) -> Run:
    """Years from 2020: 'y' all criteria hold, 'n' they do not (C1 .5 against RUS and CHN at S1 < 1), '-' no imports."""
    made: list[Flow] = []
    for year, kind in enumerate(kinds, 2020):
        if kind == "y":
            made += mass(year, SAFE, ("CHN", "NLD", 200))
        elif kind == "n":
            made += mass(year, SAFE, ("CHN", "NLD", 200), ("NLD", "RUS", 400))
        elif kind == "-":
            made += mass(year, SAFE, ("CHN", "RUS", 200))
        made += mass(year, RISKY, ("CHN", "NLD", 200))
    return run(flows(made), catalogue([node("other", RISKY)]), risk=SCORES)


def test_persistence_counts_years_and_bounds_unknown_ones() -> None:
    # 2020 y, 2021 n, 2022 no imports, 2023 y, 2024 y, 2025 y.
    # Window ending 2022: y n ? -> could be 2: null, 1..2. 2023: n ? y -> 1..2, null. 2024: ? y y -> at least 2: holds.
    # 2025: y y y = 3. 2021: (no 2019) ? y n -> null, 1..2.
    made = _years("y", "n", "-", "y", "y", "y")
    where = {"level": "hs6", "code": SAFE}
    single = {y: made.value("geodep_criteria", year=y, **where) for y in range(2020, 2026)}
    assert single == {2020: 1.0, 2021: 0.0, 2022: None, 2023: 1.0, 2024: 1.0, 2025: 1.0}
    for year, low, high in ((2020, 1, 3), (2021, 1, 2), (2022, 1, 2), (2023, 1, 2), (2024, 2, 3), (2025, 3, 3)):
        row = made.row("P1", year=year, **where)
        assert (row["low"], row["high"]) == (low, high), year
        flag = made.flag("geodep", year=year, **where)
        if high < 2:
            expected: bool | None = False
        else:
            expected = True if low >= 2 else None
        assert flag["flagged"] is expected, year
        assert flag["reason"] == ("window_incomplete" if expected is None else None)
        if expected is None:
            assert (row["value"], row["reason"]) == (None, "window_incomplete")
    assert made.value("P1", year=2025, **where) == 3.0
