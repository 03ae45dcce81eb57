"""The draws of criticality: by hand, against the formulas of one number, and a draw as a run on its inputs."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ketenpipe.risk.criticality import Inputs, build_criticality
from ketenpipe.risk.criticality_draws import (
    CriticalityDraws,
    beyond,
    both,
    build_criticality_draws,
    geopolrisk_in_draws,
    hhi_wgi_in_draws,
    sourcing_bound_in_draws,
    top_quarter,
)
from ketenpipe.risk.criticality_formulas import geopolrisk, hhi_wgi, sourcing_bound
from ketenpipe.risk.draws import FLOWS, GOVERNANCE, PRODUCTION, Draws, Noise, Places
from ketenpipe.risk.methods import build_flags
from ketenpipe.risk.published import Limit
from ketenpipe.risk.uncertainty import Uncertainty
from ketenpipe.risk.world import World
from ketenpipe.tables.registry import COUNTRY_RISK, DRAWN_VERDICTS, FLAGS, INDICATORS, UNCERTAINTY
from ketenpipe_tests.risk.test_chain_draws import quiet
from ketenpipe_tests.risk.test_criticality import (
    ACCOUNTS,
    BLANK,
    ORE,
    OXIDE,
    PARAMETERS,
    PART_A,
    RISKS,
    SOLD,
    STATISTICS,
    YEAR,
    end_use,
    reference,
    trade,
    world,
)
from ketenpipe_tests.worlds import flows, mass, one, scores

FAMILIES = (FLOWS, PRODUCTION, GOVERNANCE)
CITED = Inputs(replace(PARAMETERS, end_uses=(end_use("C25", 0.6), end_use("C20", 0.4))), accounts=ACCOUNTS)
DRAWN = {"IR", "G4", "G5", "G5s"}
LOUD = quiet(flows_q=0.4, production_observed=0.4, governance=0.3)


def noise_of(errors: Uncertainty, count: int = 3, seed: int = 11) -> Noise:
    return Noise(Draws(count, seed, FAMILIES), errors)


def draw(
    errors: Uncertainty, count: int = 3, seed: int = 11, *, held: World | None = None, inputs: Inputs = CITED
) -> CriticalityDraws:
    return build_criticality_draws(world() if held is None else held, inputs, YEAR, noise_of(errors, count, seed))


def keyed(table: pa.Table, key: Any) -> dict[tuple[Any, ...], dict[str, Any]]:
    return {tuple(row[k] for k in key): row for row in table.to_pylist()}


def near(value: float | None) -> Any:
    """A figure but for its rounding in the tables."""
    return None if value is None else pytest.approx(value, rel=1e-7)


# -- formulas --------------------------------------------------------------------------------------------------


def column(*values: float) -> np.ndarray:
    return np.array(values, dtype=float)[:, np.newaxis]


def test_a_concentration_by_hand() -> None:
    """10 (0.5^2 0.8 + 0.3^2 0.2); one country unscored, 0.1 unknown that goes to the largest."""
    found = hhi_wgi_in_draws(column(0.5, 0.3, 0.1), column(0.8, 0.2, np.nan), np.array([0.1]))
    assert found.value[0] == pytest.approx(10 * (0.25 * 0.8 + 0.09 * 0.2))
    assert found.high[0] == pytest.approx(10 * (0.36 * 0.8 + 0.09 * 0.2 + 0.01))


def test_geopolrisk_by_hand() -> None:
    """0.5 (60 0.8 + 20 0.2) / 80 * 100 / (100 + 25), 20 of the 100 tonnes unscored; published with 0.5 for them."""
    value, published = geopolrisk_in_draws(
        np.array([0.5]), column(60, 20, 20), column(0.8, 0.2, np.nan), np.array([25.0]), np.array([100.0])
    )
    assert value[0] == pytest.approx(0.5 * (52 / 80 * 100) / 125)
    assert published[0] == pytest.approx(0.5 * (52 + 10) / 200)


SHARE = st.floats(0, 1000).map(lambda v: round(v, 3))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_every_column_is_the_formula_of_its_numbers(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    columns = 4
    amounts = rng.random((count, columns)) * (rng.random((count, columns)) < 0.8)
    risk = rng.random((count, columns))
    risk[rng.random(count) < 0.3] = np.nan
    unknown = rng.random(columns) * (rng.random(columns) < 0.5)
    total = amounts.sum(axis=0) + unknown
    total[total == 0] = 1.0
    own, form = rng.random(columns) * 2, rng.random(columns) * 2
    own[0], form[1] = np.nan, np.nan
    if rng.random() < 0.3:
        own[2] = form[2] = 0.0
    concentration = rng.random(columns)
    found = hhi_wgi_in_draws(amounts / total, risk, unknown / total)
    value, published = geopolrisk_in_draws(concentration, amounts, risk, own, form)
    bound = sourcing_bound_in_draws(amounts, risk, risk[:2])
    for k in range(columns):
        wanted = hhi_wgi(amounts[:, k] / total[k], risk[:, k], float(unknown[k] / total[k]))
        assert [found.value[k], found.high[k]] == pytest.approx([wanted.value, wanted.high], nan_ok=True)
        score = geopolrisk(concentration[k], amounts[:, k], risk[:, k], own[k], form[k])
        assert [value[k], published[k]] == pytest.approx([score.value, score.published], nan_ok=True)
        assert bound[k] == pytest.approx(sourcing_bound(amounts[:, k], risk[:, k], risk[:2, k]))


def test_on_the_limit_counts_where_the_method_says_so() -> None:
    values = np.array([0.9, 1.0, 1.1, np.nan])
    np.testing.assert_array_equal(beyond(values, Limit("G5", 1.0, at_least=True)), [0, 1, 1, np.nan])
    np.testing.assert_array_equal(beyond(values, Limit("G5", 1.0)), [0, 0, 1, np.nan])


def test_both_with_unknowns() -> None:
    a, b = np.array([1, 1, 0, np.nan, np.nan]), np.array([1, 0, np.nan, 1, 0])
    np.testing.assert_array_equal(both(a, b), [1, 0, 0, np.nan, 0])


def test_the_top_quarter_of_those_that_rank() -> None:
    """Of 4 one; of 5 one; of 3 none; two that share the first of 4 both; what has no score does not rank."""
    rows = {
        "a": [9, 9, 9, 9, np.nan], "b": [8, 8, 8, 9, 8], "c": [7, 7, 7, 7, 7], "d": [6, 6, np.nan, 6, 6],
        "e": [np.nan, 5, np.nan, np.nan, 5],
    }  # fmt: skip
    rank, top = top_quarter(np.array([*rows.values()], dtype=float))
    np.testing.assert_array_equal(top[0], [1, 1, 0, 1, np.nan])
    np.testing.assert_array_equal(top[1], [0, 0, 0, 1, 1])
    np.testing.assert_array_equal(top[4], [np.nan, 0, np.nan, np.nan, 0])
    assert rank[:, 3].tolist()[:4] == [1, 1, 3, 4]


# -- without errors --------------------------------------------------------------------------------------------


@lru_cache
def published() -> pa.Table:
    return build_criticality(world(), YEAR, CITED)


def flags_of(held: World, table: pa.Table) -> dict[tuple[Any, ...], dict[str, Any]]:
    found, _ = build_flags(held, INDICATORS.conform(table), 0.0, ("ec_criticality", "geopolrisk"))
    return keyed(found, FLAGS.key)


def test_without_errors_every_draw_is_the_published_figure() -> None:
    found = draw(quiet())
    wanted = keyed(published().filter(pc.is_in(published().column("indicator"), pa.array(sorted(DRAWN)))),
                   INDICATORS.key)  # fmt: skip
    rows = keyed(found.uncertainty, UNCERTAINTY.key)
    assert set(rows) == set(wanted)
    assert {key[UNCERTAINTY.key.index("indicator")] for key, row in rows.items() if row["value"] is not None} == DRAWN
    for key, row in rows.items():
        assert row["value"] == near(wanted[key]["value"]), key
        assert row["reason"] == wanted[key]["reason"]
        assert row["draws"] == (0 if row["value"] is None else 3)
        assert row["matters_most"] is None
        for name in ("low", "high", "mean"):
            assert row[name] == near(row["value"]), key


def test_without_errors_every_verdict_is_the_published_one() -> None:
    wanted = flags_of(world(), published())
    rows = keyed(draw(quiet()).verdicts, DRAWN_VERDICTS.key)
    assert set(rows) == set(wanted)
    seen = set()
    for key, row in rows.items():
        flag = wanted[key]
        raw = flag["flagged"] if flag["flagged"] is not None else flag["indicated"]
        assert row["flagged_share"] == (None if raw is None else float(raw)), key
        assert row["told_share"] == float(flag["flagged"] is not None), key
        seen.add((row["method"], raw, flag["flagged"]))
    assert seen >= {("geopolrisk", True, None), ("geopolrisk", False, None), ("ec_criticality", True, True)}


def test_the_rank_stands_beside_g4_even_where_g4_is_null() -> None:
    wanted = {k[:-1]: r for k, r in flags_of(world(), published()).items() if r["method"] == "geopolrisk"}
    known = set()
    for row in draw(quiet()).uncertainty.to_pylist():
        flag = wanted.get(tuple(row[k] for k in FLAGS.key[:-1])) if row["indicator"] == "G4" else None
        ranked = [None] * 2 if flag is None else [flag["rank"], flag["ranked"]]
        assert [row["rank"], row["ranked"]] == ranked
        assert [row["rank_low"], row["rank_high"]] == [row["rank"]] * 2
        known.add((row["rank"] is None, row["value"] is None))
    assert (False, True) in known


def test_without_trade_and_statistics_nothing_is_drawn() -> None:
    held = build_criticality_draws(world(), CITED, 2019, noise_of(LOUD))
    assert all(row["value"] is None and row["draws"] == 0 for row in held.uncertainty.to_pylist())
    assert all(row["flagged_share"] is None for row in held.verdicts.to_pylist() if row["method"] == "geopolrisk")


# -- with errors -----------------------------------------------------------------------------------------------


def of_the_draw(errors: Uncertainty) -> World:
    """The world of the only draw, each input worked out one by one."""
    noise = noise_of(errors, 1)
    rows = []
    for row in trade().to_pylist():
        pair = Places((row["exporter"], row["importer"]))
        (at,) = pair.flows("HS92", row["code"], YEAR, np.array([0]), np.array([1]))
        factor = float(noise.flows("q")[0][at, 1])
        rows.append(row | {"tonnes": None if row["tonnes"] is None else row["tonnes"] * factor})
    made = []
    for material, country, year, tonnes in STATISTICS:
        (at,) = Places((country,)).makers(f"material {material}", YEAR)
        made.append((material, country, year, tonnes and tonnes * float(noise.production("observed")[at, 1])))
    risk = [
        row | {"risk": float(noise.risk(row["country"], YEAR, row["estimate"], None)[1])}
        for row in scores(RISKS, [YEAR]).to_pylist()
    ]
    return world(pa.Table.from_pylist(rows, trade().schema), statistics=made, risk=COUNTRY_RISK.conform(risk))


@pytest.mark.parametrize(
    ("errors", "moves"),
    [
        (LOUD, DRAWN),
        pytest.param(quiet(flows_q=0.5), DRAWN, marks=pytest.mark.slow),
        pytest.param(quiet(production_observed=0.5), DRAWN, marks=pytest.mark.slow),
        pytest.param(quiet(governance=0.4), {"G4", "G5", "G5s"}, marks=pytest.mark.slow),
    ],
)
def test_a_draw_is_a_run_on_its_inputs(errors: Uncertainty, moves: set[str]) -> None:
    redone = of_the_draw(errors)
    table = build_criticality(redone, YEAR, CITED)
    wanted, found, moved = keyed(table, INDICATORS.key), draw(errors, 1), set()
    for key, row in keyed(found.uncertainty, UNCERTAINTY.key).items():
        if row["value"] is None:
            continue
        assert row["low"] == row["high"] == row["mean"]
        assert row["mean"] == pytest.approx(wanted[key]["value"], rel=1e-7), key
        if abs(row["mean"] - row["value"]) > 1e-6:
            moved.add(row["indicator"])
    assert moved == moves
    again = flags_of(redone, table)
    for key, row in keyed(found.verdicts, DRAWN_VERDICTS.key).items():
        raw = again[key]["flagged"] if again[key]["flagged"] is not None else again[key]["indicated"]
        assert row["flagged_share"] == (None if raw is None else float(raw)), key
        assert row["told_share"] == float(again[key]["flagged"] is not None), key
    for row in found.uncertainty.to_pylist():
        if row["rank"] is not None:
            key = (*(row[k] for k in FLAGS.key[:-1]), "geopolrisk")
            assert row["rank_low"] == row["rank_high"] == again[key]["rank"]


def test_what_is_imputed_has_errors_of_its_own() -> None:
    """The Netherlands list Part A without a figure and sell more than they buy: their surplus, times its factor."""
    held = world(flows([*mass(YEAR, PART_A, ("CHN", "NLD", 300.0), ("NLD", "USA", 500.0), ("USA", "NLD", 300.0))]))
    errors = quiet(production_imputed=0.5)
    noise = noise_of(errors, 1)
    (at,) = Places(("NLD",)).makers(f"HS92 {PART_A}", YEAR)
    factor = float(noise.production("imputed")[at, 1])
    assert abs(factor - 1.0) > 0.05
    more = world(flows([*mass(YEAR, PART_A, ("CHN", "NLD", 300.0), ("NLD", "USA", 800.0), ("USA", "NLD", 300.0))]))
    row = one(draw(errors, 1, held=more).uncertainty, indicator="G4", code=PART_A, focus="NLD", level="hs6")
    assert row["mean"] / row["value"] == pytest.approx((600 + 200) / (600 + 200 * factor))
    row = one(draw(errors, 1, held=held).uncertainty, indicator="G4", code=PART_A, focus="NLD", level="hs6")
    assert row["mean"] == pytest.approx(row["value"])  # who buys more than it sells makes nothing


def test_the_seed_decides_and_more_draws_leave_the_first_as_they_are() -> None:
    assert draw(LOUD, 20).uncertainty.equals(draw(LOUD, 20).uncertainty)
    assert not draw(LOUD, 20).uncertainty.equals(draw(LOUD, 20, 12).uncertainty)


def test_a_focus_does_not_change_what_another_sees() -> None:
    alone = draw(LOUD, 20, held=world(foci=("NLD",))).uncertainty
    beside = draw(LOUD, 20).uncertainty
    assert alone.equals(beside.filter(pc.equal(beside.column("focus"), "NLD")))


@pytest.mark.parametrize(
    ("errors", "family"),
    [
        (quiet(flows_q=0.4), "flows"),
        (quiet(production_observed=0.4), "production"),
        (quiet(governance=0.3), "governance"),
    ],
)
def test_the_family_that_moves_a_figure_is_named(errors: Uncertainty, family: str) -> None:
    row = one(draw(errors, 60).uncertainty, indicator="G4", code=ORE, focus="NLD", level="hs6")
    assert row["matters_most"] == family
    assert row["low"] < row["value"] < row["high"]


def test_shares_of_flags_lie_between_and_limits_stand_beside() -> None:
    """Supply risk of the ore: the limit of the method, and the part of the draws that reach it."""
    found = draw(LOUD, 200)
    row = one(found.uncertainty, indicator="G5", code=ORE, focus="EU27", level="hs6")
    assert row["threshold"] == 1.0
    verdict = one(found.verdicts, method="ec_criticality", code=ORE, level="hs6")
    assert 0 < row["flag_share"] < 1
    assert verdict["flagged_share"] == row["flag_share"]  # its importance is beyond the limit in all of them
    assert (verdict["draws"], verdict["told_share"]) == (200, 1.0)
    assert one(found.uncertainty, indicator="IR", code=ORE, focus="EU27", level="hs6")["threshold"] is None


def test_without_production_of_the_form_the_bound_may_clear() -> None:
    """Oxide: production of another form; no draw tells that it is critical."""
    found = draw(LOUD, 50)
    row = one(found.uncertainty, indicator="G5", code=OXIDE, focus="EU27", level="hs6")
    assert (row["value"], row["draws"], row["flag_share"]) == (None, 0, None)
    verdict = one(found.verdicts, method="ec_criticality", code=OXIDE, level="hs6")
    assert verdict["flagged_share"] is not None
    assert one(found.verdicts, method="geopolrisk", code=SOLD, focus="NLD", level="hs6")["told_share"] == 0.0


def test_importance_by_recipes_of_industries_tells_nothing() -> None:
    found = draw(quiet(), inputs=Inputs(PARAMETERS, accounts=ACCOUNTS))
    row = one(found.verdicts, method="ec_criticality", code=ORE, level="hs6")
    assert row["told_share"] == 0.0


def test_one_statistic_is_off_alike_in_the_world_and_at_home() -> None:
    """G4 of a country that makes all there is: world shares stay, its own tonnes move with them."""
    held = world(
        flows([*mass(YEAR, ORE, ("CHN", "DEU", 400.0))]), statistics=[("Metal", "DEU", YEAR, 600.0)], foci=("DEU",)
    )
    errors = quiet(production_observed=0.5)
    noise = noise_of(errors, 1)
    (at,) = Places(("DEU",)).makers("material Metal", YEAR)
    factor = float(noise.production("observed")[at, 1])
    row = one(draw(errors, 1, held=held).uncertainty, indicator="G4", code=ORE, focus="DEU", level="hs6")
    assert row["value"] == pytest.approx(0.8 * 400 / 1000)
    assert row["mean"] == pytest.approx(0.8 * 400 / (400 + 600 * factor))


def test_the_world_is_that_of_the_tests() -> None:
    assert reference().groups["g"].node == "oxide"
    assert BLANK in {c for n in reference().nodes.values() for c in n.codes_hs92}
