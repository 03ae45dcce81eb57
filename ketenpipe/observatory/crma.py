"""CRMA monitor: per material and stage the top third country against the benchmark of 65 %.

Source of the benchmark: Regulation (EU) 2024/1252 (one third country, any stage of processing).
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from ketenpipe.risk.thresholds import Thresholds
from ketenpipe.tables.registry import CRMA_MONITOR


def build_crma_monitor(
    indicators: pa.Table,
    flags: pa.Table,
    chain_nodes: pa.Table,
    thresholds: Thresholds,
) -> pa.Table:
    """Largest third country per focus, group, node and year: share of imports (C4a) and of traced supply (C4b).

    The verdict is the one of method ``crma65``: on the traced share where production is observed and confidence is
    not low, else on direct imports, marked.
    """
    of_nodes = indicators.filter(pc.equal(indicators.column("level"), "node"))
    of_nodes = of_nodes.filter(pc.is_in(of_nodes.column("indicator"), pa.array(["C4a", "C4b"])))
    figures = {
        (r["focus"], r["group"], r["code"], r["year"], r["indicator"], r["measure"]): r for r in of_nodes.to_pylist()
    }
    nodes = {(r["group"], r["node"]): r for r in chain_nodes.to_pylist()}
    verdicts = flags.filter(
        pc.and_(pc.equal(flags.column("level"), "node"), pc.equal(flags.column("method"), "crma65"))
    )
    rows: list[dict[str, object]] = []
    for verdict in verdicts.to_pylist():
        key = (verdict["focus"], verdict["group"], verdict["code"], verdict["year"])
        imports = figures.get((*key, "C4a", "v"), {})
        traced = figures.get((*key, "C4b", "q"), {})
        proxy = verdict["reason"] == "proxy_direct_imports"
        rows.append(
            {
                "focus": verdict["focus"],
                "group": verdict["group"],
                "material": verdict["code"],
                "stage": nodes[(verdict["group"], verdict["code"])]["stage"],
                "year": verdict["year"],
                "top_country": imports.get("country"),
                "share_imports": imports.get("value"),
                "top_country_traced": traced.get("country"),
                "share_traced": traced.get("value"),
                "threshold": thresholds.C4.flag,
                "exceeds": verdict["flagged"],
                "decided_on": None if verdict["flagged"] is None else "imports" if proxy else "traced",
                "confidence": traced.get("confidence"),
                "reason": verdict["reason"],
            }
        )
    return CRMA_MONITOR.conform(rows)
