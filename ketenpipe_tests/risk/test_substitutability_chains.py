"""Substitutability and the export network of whole small chains, beside the indicators of steps one and two."""

from __future__ import annotations

from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from ketenpipe.risk.network import build_network_indicators
from ketenpipe.risk.substitutability import (
    FIGURE_COLUMNS,
    FIGURE_INDICATORS,
    MIX_COLUMNS,
    PRODUCTION_COLUMNS,
    TRACING_COLUMNS,
    build_substitutability,
)
from ketenpipe.risk.substitution_settings import load_substitution_settings
from ketenpipe_tests.worlds import SHIPPED, Run, chain_world, rows, thresholds


@lru_cache
def built() -> tuple[Run, pa.Table]:
    """The world of chains and its substitutability in 2020."""
    run = chain_world()
    figures = run.indicators.filter(pc.field("indicator").isin(FIGURE_INDICATORS)).select(list(FIGURE_COLUMNS))
    table = build_substitutability(
        2020,
        ("NLD",),
        {2020: run.tracing.supply_mix.select(list(MIX_COLUMNS))},
        run.tracing.tracing.select(list(TRACING_COLUMNS)),
        run.world.flows.to_batches(),
        figures,
        run.tracing.production.select(list(PRODUCTION_COLUMNS)),
        run.world.country_risk,
        run.exposure.chain_nodes,
        run.reference,
        load_substitution_settings(SHIPPED),
        run.world,
        persistence_window=thresholds().P1.window,
        partners=("EU27",),
        draws=20,
        seed=1,
    )
    return run, table


@pytest.mark.parametrize(
    ("component", "indicator", "where"),
    [
        ("own_share", "own_share", {"measure": "q", "basis": "traced"}),
        ("imports_over_exports", "S1", {"measure": "v"}),
        ("alternative_capacity", "S2", {"measure": "v"}),
        ("persistence", "P1", {"measure": "v"}),
    ],
)
def test_equal_to_the_indicators_at_tier_0(component: str, indicator: str, where: dict[str, str]) -> None:
    run, table = built()
    keys = ("level", "code", "hs_revision", "group", "tier")
    found = {tuple(r[k] for k in keys): r["value"] for r in rows(table, component=component, tier=0)}
    expected = {
        tuple(r[k] for k in keys): r["value"] for r in rows(run.indicators, indicator=indicator, tier=0, **where)
    }
    shared = found.keys() & expected.keys()
    assert {key[0] for key in shared} == {"hs6", "node", "group"}
    for key in shared:
        if expected[key] is None:
            assert found[key] is None, key
        else:
            assert found[key] == pytest.approx(expected[key], rel=1e-8, abs=1e-9), key


def test_every_code_and_every_traded_place_has_all_rows() -> None:
    run, table = built()
    placed = {(r["level"], r["code"], r["group"], r["tier"]) for r in table.to_pylist()}
    nodes = {
        (r["node"], r["group"], r["tier"]) for r in run.exposure.chain_nodes.to_pylist() if r["status"] == "traded"
    }
    assert {(c, g, t) for level, c, g, t in placed if level == "node"} == nodes
    codes = {r["code"] for r in run.tracing.tracing.to_pylist()}
    assert {c for level, c, _, _ in placed if level == "hs6"} == codes
    assert table.num_rows == len(placed) * 23


def test_a_hub_hides_that_all_comes_from_one_country() -> None:
    """Two direct suppliers, DEU and USA, and one origin, CHN, besides the 60 % that NLD makes itself."""
    _, table = built()
    direct, traced = (rows(table, code="hubby", component=c, level="node")[0] for c in ("suppliers", "origins"))
    assert (direct["value"], direct["score"]) == (2.0, 0.5)
    assert (traced["value"], traced["score"]) == (1.0, 1.0)
    stable, origin = (
        rows(table, code="hubby", component=f"{c}_stable", level="node")[0] for c in ("suppliers", "origins")
    )
    assert (stable["value"], origin["value"]) == (2.0, 0.0)


def test_the_networks_of_the_same_world() -> None:
    run, _ = built()
    found = build_network_indicators(
        2020, run.world.flows.to_batches(), ("NLD",), run.exposure.chain_nodes, run.reference, run.world
    )
    codes = {r["code"] for r in rows(found, level="hs6")}
    assert codes == set(run.world.flows.column("code").to_pylist())
    # All of RISKY is sold by CHN, to five countries: one centrality of 1 and five of 0.
    (risky,) = (r for r in rows(found, level="node", indicator="S5a", measure="v", code="risky", group="direct"))
    assert (risky["country"], risky["country_share"]) == ("CHN", 1.0)
    assert risky["value"] == pytest.approx((1 / 6 * 5 / 6) ** 0.5)
