"""CRMA monitor: per material and stage the top third country against the benchmark of 65 %.

Source of the benchmark: Regulation (EU) 2024/1252 (one third country, any stage of processing).
"""

from __future__ import annotations

import pandas as pd
import pyarrow as pa

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
    shares = indicators.to_pandas()
    shares = shares[(shares["level"] == "node")]
    keys = ["focus", "group", "code", "year"]
    on_imports = shares[(shares["indicator"] == "C4a") & (shares["measure"] == "v")].set_index(keys)
    traced = shares[(shares["indicator"] == "C4b") & (shares["measure"] == "q")].set_index(keys)
    verdicts = flags.to_pandas()
    verdicts = verdicts[(verdicts["level"] == "node") & (verdicts["method"] == "crma65")].set_index(keys)
    nodes = chain_nodes.to_pandas().set_index(["group", "node"])
    rows: list[dict[str, object]] = []
    for key, verdict in verdicts.iterrows():
        focus, group, node, year = key
        record = nodes.loc[(group, node)]
        proxy = verdict["reason"] == "proxy_direct_imports"
        rows.append(
            {
                "focus": focus,
                "group": group,
                "material": node,
                "stage": record["stage"],
                "year": year,
                "top_country": on_imports["country"].get(key),
                "share_imports": on_imports["value"].get(key),
                "top_country_traced": traced["country"].get(key),
                "share_traced": traced["value"].get(key),
                "threshold": thresholds.C4.flag,
                "exceeds": verdict["flagged"],
                "decided_on": None if pd.isna(verdict["flagged"]) else "imports" if proxy else "traced",
                "confidence": traced["confidence"].get(key),
                "reason": verdict["reason"],
            }
        )
    return CRMA_MONITOR.conform(pd.DataFrame(rows, columns=CRMA_MONITOR.names))
