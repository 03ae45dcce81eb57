"""A tiny run of two groups, built through the contracts."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pytest

from ketenpipe.tables.registry import (
    CHAIN_EDGES,
    CHAIN_NODES,
    CRMA_MONITOR,
    EXPOSURE,
    FLAGS,
    INDICATORS,
    LABELS,
    TRACING,
)


def make_tables(china: float = 0.7, year: int = 2024, hhi: float = 0.55) -> dict[str, pa.Table]:
    """Magnets (two nodes) and tungsten (one), seen from NLD and EU27."""
    nodes = [
        ("magnets", "magnet", 0, "component", "traded", "850511"),
        ("magnets", "ree_ore", 1, "extraction", "production", None),
        ("tungsten", "apt", 0, "processing", "traded", "284180"),
    ]
    exposure, indicators, flags, tracing, monitor = [], [], [], [], []
    for focus in ("NLD", "EU27"):
        for y in (year - 1, year):
            for group, node, tier, _, status, code in nodes:
                shares = {"CHN": china, "DEU": round(0.9 - china, 9), "UNK": 0.1}
                for country, share in shares.items():
                    exposure.append(
                        {
                            "focus": focus,
                            "group": group,
                            "node": node,
                            "tier": tier,
                            "year": y,
                            "hs_revision": "HS17",
                            "country": country,
                            "share_direct": share if status == "traded" else None,
                            "share_traced": share,
                            "path_weight": 1.0,
                            "basis": "observed" if status == "traded" else "world_production_mix",
                            "imputed_share": 0.2,
                            "same_for_every_country": status == "production",
                        }
                    )
                for indicator, measure, value in (("O1", "q", hhi), ("G2", "q", 0.6), ("S1", "v", None)):
                    indicators.append(
                        {
                            "focus": focus,
                            "level": "node",
                            "code": node,
                            "hs_revision": "HS17",
                            "group": group,
                            "tier": tier,
                            "year": y,
                            "indicator": indicator,
                            "measure": measure,
                            "basis": "traced",
                            "value": value,
                            "unit": "index 0-1",
                            "reason": None if value is not None else "no_exports",
                            "confidence": "medium",
                            "source_vintage": "BACI 202601",
                            "method_version": "1",
                        }
                    )
                if code:
                    tracing.append(
                        {
                            "focus": focus,
                            "hs_revision": "HS17",
                            "code": code,
                            "year": y,
                            "measure": "q",
                            "basis": "observed",
                            "supply": 10.0,
                            "own_share": 0.0,
                            "row_residual": 1e-16,
                        }
                    )
                    for group_level in (True, False):
                        flags.append(
                            {
                                "focus": focus,
                                "level": "group" if group_level else "hs6",
                                "code": group if group_level else code,
                                "hs_revision": "HS17",
                                "group": group if group_level else None,
                                "tier": 0,
                                "year": y,
                                "method": "geodep",
                                "flagged": china > 0.5,
                                "method_version": "1",
                            }
                        )
            monitor.append(
                {
                    "focus": focus,
                    "group": "magnets",
                    "material": "magnet",
                    "stage": "component",
                    "year": y,
                    "top_country": "CHN",
                    "share_imports": china,
                    "share_traced": china,
                    "threshold": 0.65,
                    "exceeds": china > 0.65,
                    "decided_on": "traced",
                }
            )
    return {
        "chain_nodes": CHAIN_NODES.conform(
            {
                "group": g,
                "node": n,
                "tier": t,
                "stage": s,
                "status": st,
                "codes": c,
                "hs_revision": "HS17",
                "confidence": "medium",
            }
            for g, n, t, s, st, c in nodes
        ),
        "chain_edges": CHAIN_EDGES.conform(
            [
                {
                    "group": "magnets",
                    "user": "magnet",
                    "input": "ree_ore",
                    "essential": True,
                    "evidence": "textbook",
                    "confidence": "high",
                    "citation": "Handbook | chapter 3",
                    "citation_status": "recalled",
                }
            ]
        ),
        "exposure": EXPOSURE.conform(exposure),
        "indicators": INDICATORS.conform(indicators),
        "flags": FLAGS.conform(flags),
        "tracing": TRACING.conform(tracing),
        "crma_monitor": CRMA_MONITOR.conform(monitor),
        "labels": LABELS.conform(
            [
                {"kind": "group", "code": "magnets", "name_en": "Permanent <magnets>", "name_nl": "Magneten"},
                {"kind": "node", "code": "magnet", "name_en": "Magnets, finished"},
                {"kind": "node", "code": "ree_ore", "name_en": "Rare earth ore"},
                {"kind": "country", "code": "CHN", "name_en": "China", "name_nl": "China"},
                {"kind": "country", "code": "NLD", "name_en": "Netherlands", "name_nl": "Nederland"},
            ]
        ),
    }


@pytest.fixture
def tables() -> dict[str, pa.Table]:
    return make_tables()


@pytest.fixture
def tables_of() -> Callable[..., dict[str, pa.Table]]:
    return make_tables
