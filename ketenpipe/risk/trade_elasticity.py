"""S3, the trade elasticity of HS6 codes: own, or carried over from another HS revision.

Belongs here: which estimates are usable, what a code of another revision takes, the cut-off of the lowest quarter. Does
not belong here: reading the source (:mod:`ketenpipe.sources.elasticity`), nodes (:mod:`ketenpipe.risk.criticality`).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa

from ketenpipe.sources.hs_industries import listed_codes

FIGURES = ["value", "low", "high", "method_value", "coverage", "reason", "confidence", "source_vintage"]
"""Columns of a row of contract ``indicators`` that :func:`elasticities_of` gives."""


def elasticity_cut(elasticity: pa.Table, quantile: float) -> float | None:
    """S3 below this is low: the quantile of the source's own products with a usable estimate; None without any.

    Args:
        elasticity: contract ``elasticity``.
        quantile: e.g. 0.25.
    """
    usable = _usable(elasticity.to_pandas())
    return float(np.quantile(usable["s3"], quantile)) if len(usable) else None


def _usable(elasticities: pd.DataFrame) -> pd.DataFrame:
    good = elasticities["significant"] & ~elasticities["positive"] & (elasticities["elasticity"] < 0)
    return elasticities[good].assign(s3=lambda f: -f["elasticity"])


def elasticities_of(codes: pd.DataFrame, elasticity: pa.Table, weights: pa.Table | None) -> pd.DataFrame:
    """S3 of HS6 codes: minus the elasticity of imports to the tariff.

    A code of the elasticities' own HS revision takes its own. A code of another revision takes the mean over the codes
    that ``hs_weights`` lead to, or that lead to it where the weights run the other way (``w[a,b]`` of each ``a`` that
    meets ``b``), ``low`` and ``high`` the least and the most. Without such weights it takes that of the same number, if
    the number stands in the code lists of HS92 and HS17 both (it has then lived through the revision
    between), with low confidence. ``method_value`` is the figure in the file, also where it is the mean of a heading.

    Args:
        codes: ``hs_revision, code``.
        elasticity: contract ``elasticity``, of one HS revision.
        weights: contract ``hs_weights``, or None.

    Returns:
        ``hs_revision, code`` and columns of a row of contract ``indicators``.
    """
    held = elasticity.to_pandas()
    revision, vintage = str(held["hs_revision"].iloc[0]), f"elasticity {held['vintage'].iloc[0]}"
    good = set(_usable(held)["code"])
    dull = ~held["significant"] | held["elasticity"].isna()
    held = held.assign(
        published=-held["elasticity"],
        s3=(-held["elasticity"]).where(held["code"].isin(good)),
        why=dull.map({True: "elasticity_not_significant", False: "elasticity_positive"}).mask(held["code"].isin(good)),
    )[["code", "s3", "published", "why"]]
    parts = []
    for own, group in codes.groupby("hs_revision"):
        wanted = group[["hs_revision", "code"]]
        led = _weights_between(weights, str(own), revision)
        if own == revision:
            part = _taken(wanted.merge(held, on="code", how="left"), "no_elasticity", "high")
        elif led is not None:
            part = _led(wanted, held, led)
        else:
            part = _taken(wanted.merge(held, on="code", how="left"), "no_concordance", "low")
            alike = part["code"].isin(listed_codes("HS92") & listed_codes("HS17")) & part["code"].isin(held["code"])
            part.loc[~alike, ["value", "low", "high", "method_value", "confidence"]] = None
            part.loc[~alike, "reason"] = "no_concordance"
            said = part["reason"].where(part["reason"].isna(), part["reason"] + "; ").fillna("")
            part.loc[alike, "reason"] = said[alike] + "same_code_other_revision"
        parts.append(part)
    return pd.concat(parts, ignore_index=True).assign(source_vintage=vintage)


def _taken(found: pd.DataFrame, absent: str, confidence: str) -> pd.DataFrame:
    """Rows of codes that take the one elasticity found for them."""
    missing = found["published"].isna() & found["why"].isna()
    return pd.DataFrame(
        {
            "hs_revision": found["hs_revision"],
            "code": found["code"],
            "value": found["s3"],
            "low": found["s3"],
            "high": found["s3"],
            "method_value": found["published"],
            "coverage": None,
            "reason": found["why"].mask(missing, absent),
            "confidence": pd.Series(confidence, index=found.index).where(found["s3"].notna(), None),
        }
    )


def _weights_between(weights: pa.Table | None, own: str, other: str) -> pd.DataFrame | None:
    """Weights from codes of ``own`` to those of ``other``; where there are none, those of the opposite way, turned.

    Table ``hs_weights`` runs towards the newest revision of BACI, so the opposite way is the usual one.
    """
    if weights is None or not weights.num_rows:
        return None
    held = weights.to_pandas()
    there = held[(held["from_revision"] == own) & (held["to_revision"] == other)]
    if not len(there):
        there = held[(held["from_revision"] == other) & (held["to_revision"] == own) & (held["weight"] > 0)]
        there = there.rename(columns={"from_code": "to_code", "to_code": "from_code"})
    return there[["from_code", "to_code", "weight"]] if len(there) else None


def _led(wanted: pd.DataFrame, held: pd.DataFrame, led: pd.DataFrame) -> pd.DataFrame:
    """Rows of codes that take the weighted mean over the codes they lead to, as far as those have an estimate."""
    joined = led.merge(held, left_on="to_code", right_on="code", how="left").drop(columns="code")
    usable, told = joined["s3"].notna(), joined["published"].notna()
    joined = joined.assign(
        used=joined["weight"].where(usable, 0.0),
        summed=(joined["weight"] * joined["s3"]).fillna(0.0),
        told=joined["weight"].where(told, 0.0),
        told_summed=(joined["weight"] * joined["published"]).fillna(0.0),
    )
    sums = joined.groupby("from_code").agg(
        weight=("weight", "sum"),
        used=("used", "sum"),
        summed=("summed", "sum"),
        told=("told", "sum"),
        told_summed=("told_summed", "sum"),
        low=("s3", "min"),
        high=("s3", "max"),
        why=("why", "first"),
        leads=("to_code", "size"),
    )
    found = wanted.merge(sums, left_on="code", right_index=True, how="left")
    some, known = found["used"] > 0, found["weight"].notna()
    reason = found["why"].fillna("no_elasticity").where(known, "no_concordance")
    sure = (found["leads"] == 1).map({True: "high", False: "medium"})
    return pd.DataFrame(
        {
            "hs_revision": found["hs_revision"],
            "code": found["code"],
            "value": (found["summed"] / found["used"]).where(some),
            "low": found["low"],
            "high": found["high"],
            "method_value": (found["told_summed"] / found["told"]).where(found["told"] > 0),
            "coverage": found["used"] / found["weight"],
            "reason": reason.mask(some),
            "confidence": sure.where(some),
        }
    )


def weighted_mean(rows: pd.DataFrame, column: str) -> float | None:
    total = float(rows["weight"].sum())
    return float((rows["weight"] * rows[column]).sum()) / total if total > 0 else None
