"""Governance risk of countries: G1, from the Worldwide Governance Indicators."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa

from ketenpipe.errors import InputRefused
from ketenpipe.tables.registry import COUNTRY_RISK

DIMENSIONS = ("VA", "PV", "GE", "RQ", "RL", "CC")
_FIGURES = ("estimate", "standard_error")


def risk_of(estimate: np.ndarray) -> np.ndarray:
    """G1 ``= clip((2.5 - estimate) / 5, 0, 1)``; NaN stays NaN. Source: World Bank WGI, METHOD 2."""
    return np.clip((2.5 - np.asarray(estimate, dtype=float)) / 5.0, 0.0, 1.0)


def build_country_risk(governance: pa.Table | None, dimension: str) -> pa.Table:
    """G1 for every country and year.

    ``mean6``: the mean of the six dimensions in years that hold all six, political stability in others; what
    was used is recorded per row. A country without an estimate has a null risk, never 0.

    ``standard_error``: the published one of the dimension; of a mean of six the mean of the six,
    ``sum_d se_d / 6``. That is the error of the mean where the six err together, as they do in good part (the World
    Bank makes them from the same surveys), and the most that it can be: with errors that are independent of each
    other it would be ``sqrt(sum_d se_d^2) / 6``. Null where one of those that are needed is.

    Args:
        governance: table ``governance``, None without such a source (an empty table comes back).
        dimension: mean6 or one of VA PV GE RQ RL CC.

    Raises:
        InputRefused: a year of the used dimension in two vintages, or the dimension is not in the sources.
    """
    if governance is None or not governance.num_rows:
        return COUNTRY_RISK.empty()
    frame = governance.to_pandas()
    parts = []
    for year, rows in frame.groupby("year"):
        held = set(rows.loc[rows["estimate"].notna(), "dimension"])
        used = (list(DIMENSIONS) if held == set(DIMENSIONS) else ["PV"]) if dimension == "mean6" else [dimension]
        chosen = rows[rows["dimension"].isin(used)]
        if chosen.empty:
            continue
        vintages = sorted(set(chosen["vintage"]))
        # Files without a declared vintage each bear their own stamp; one file a dimension is no break.
        declared = [v for v in vintages if not v.startswith("undeclared:")]
        if len(declared) > 1 or (declared and len(vintages) > 1):
            raise InputRefused(
                f"the year {year} stands in two WGI vintages ({' and '.join(vintages)})",
                path="wgi",
                todo="keep one edition per year",
            )
        complete, errors = (
            by_country["mean"].where(by_country["count"] == len(used))
            for by_country in (chosen.groupby("country")[of].agg(["mean", "count"]) for of in _FIGURES)
        )
        parts.append(
            pd.DataFrame(
                {
                    "country": complete.index,
                    "year": year,
                    "estimate": complete.to_numpy(),
                    "standard_error": errors.where(complete.notna()).to_numpy(),
                    "dimension": dimension if len(used) == len(DIMENSIONS) else used[0],
                    "vintage": " + ".join(vintages),
                }
            )
        )
    if not parts:
        raise InputRefused(
            f"the governance files hold no estimate of {dimension}", path="wgi", todo="choose another wgi_dimension"
        )
    out = pd.concat(parts, ignore_index=True)
    out["risk"] = risk_of(out["estimate"].to_numpy())
    return COUNTRY_RISK.conform(out)
