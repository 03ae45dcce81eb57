"""CRMA monitor: the top third country against 65 %, and on which share it was decided."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from ketenpipe.observatory.crma import build_crma_monitor
from ketenpipe.tables.registry import FLAGS
from ketenpipe_tests.worlds import chain_world, one, rows, thresholds


@pytest.fixture(scope="module")
def monitor() -> pa.Table:
    held = chain_world()
    return build_crma_monitor(held.indicators, held.flags, held.exposure.chain_nodes, thresholds())


def row(monitor: pa.Table, group: str, material: str) -> dict[str, Any]:
    return one(monitor, group=group, material=material)


def test_observed_production_decides_on_the_traced_share(monitor: pa.Table) -> None:
    # risky: all CHN, observed: 1 > .65. safe: the USA's half (DEU is in the EU27).
    risky = row(monitor, "direct", "risky")
    assert (risky["exceeds"], risky["decided_on"], risky["top_country_traced"]) == (True, "traced", "CHN")
    assert (risky["share_traced"], risky["threshold"], risky["stage"]) == (1.0, 0.65, "processing")
    safe = row(monitor, "direct" if rows(monitor, group="direct", material="safe") else "specific", "safe")
    assert (safe["exceeds"], safe["top_country_traced"], safe["share_traced"]) == (False, "USA", 0.5)


def test_direct_and_traced_shares_stand_side_by_side(monitor: pa.Table) -> None:
    # hubby: bought half from the USA (DEU is no third country); made half in CHN, half at home.
    hubby = row(monitor, "hub", "hubby")
    assert (hubby["top_country"], hubby["share_imports"]) == ("USA", pytest.approx(0.5))
    assert (hubby["top_country_traced"], hubby["share_traced"]) == ("CHN", pytest.approx(0.5))
    # relayed: nothing from a third country directly, all of it made in TWN: the traced share exceeds.
    relayed = row(monitor, "relayed", "relayed")
    assert (relayed["share_imports"], relayed["share_traced"], relayed["exceeds"]) == (0.0, 1.0, True)


def test_the_proxy_and_small_goods_are_decided_on_imports_and_marked(monitor: pa.Table) -> None:
    proxy = row(monitor, "proxied_risky", "proxy_risky")
    assert (proxy["decided_on"], proxy["reason"], proxy["exceeds"]) == ("imports", "proxy_direct_imports", True)
    small = row(monitor, "little_risky", "small_risky")
    assert (small["decided_on"], small["confidence"]) == ("imports", "low")


def test_upstream_materials_are_the_focus_s_own_supply_and_not_the_look_through(monitor: pa.Table) -> None:
    # specific: risky at tier 1. What NLD itself holds of risky is all CHN's (the law speaks of consumption).
    # proxied_upstream: NLD's own proxy_risky is all RUS's.
    assert row(monitor, "specific", "risky")["top_country_traced"] == "CHN"
    assert row(monitor, "proxied_upstream", "proxy_risky")["top_country"] == "RUS"


def test_statistics_without_a_code_are_not_a_share_of_anybodys_supply(monitor: pa.Table) -> None:
    assert rows(monitor, material="mine_hard") == []


def test_the_verdict_is_that_of_the_method(monitor: pa.Table) -> None:
    flags = {(r["group"], r["code"]): r for r in rows(chain_world().flags, level="node", method="crma65")}
    assert len(flags) == monitor.num_rows > 20
    for r in monitor.to_pylist():
        assert r["exceeds"] == flags[r["group"], r["material"]]["flagged"]
        share = r["share_traced"] if r["decided_on"] == "traced" else r["share_imports"]
        if r["exceeds"] is None:
            assert r["decided_on"] is None
        else:
            assert r["exceeds"] is (share > r["threshold"])


def test_a_verdict_that_cannot_be_told_is_decided_on_nothing() -> None:
    held = chain_world()
    flags = [r | ({"flagged": None, "reason": "no_imports"} if r["method"] == "crma65" else {}) for r in held.flags.to_pylist()]  # noqa: E501  # fmt: skip
    made = build_crma_monitor(held.indicators, FLAGS.conform(flags), held.exposure.chain_nodes, thresholds())
    assert {(r["exceeds"], r["decided_on"]) for r in made.to_pylist()} == {(None, None)}
