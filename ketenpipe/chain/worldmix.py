"""The world production mix of a material or node: who makes it, in any form.

It gives C3 and, for a node that no trade code isolates, one and the same vector for every country on earth.
It is never production of a traded form (see :func:`ketenpipe.chain.tracing.production_statistic`).
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from ketenpipe.chain.catalogue import Reference


@dataclass(frozen=True)
class WorldMix:
    """Shares of world production per country; they sum to 1, what no figure covers is under ``UNK``.

    Args:
        shares: ISO3 -> share.
        basis: observed (a statistic) or producer_list (shares or quantities read in a text).
        material: name of the statistic or node.
        unlisted: countries that the statistic lists without a figure (they are left out).
    """

    shares: dict[str, float]
    basis: str
    material: str
    unlisted: tuple[str, ...] = ()


def material_mix(mining: pd.DataFrame | None, material: str, year: int) -> WorldMix | None:
    """Shares of a production statistic: ``p_c / sum_c p_c`` over the countries with a figure; None without."""
    if mining is None or not material:
        return None
    rows = mining[(mining["material"] == material) & (mining["year"] == year)]
    known = rows[rows["quantity"].notna() & (rows["quantity"] > 0)]
    total = float(known["quantity"].sum())
    if not total > 0:
        return None
    shares = {str(c): float(q) / total for c, q in zip(known["country"], known["quantity"], strict=True)}
    return WorldMix(shares, "observed", material, tuple(sorted(rows.loc[rows["quantity"].isna(), "country"])))


def node_mix(reference: Reference, mining: pd.DataFrame | None, node: str, year: int) -> WorldMix | None:
    """World mix of a node: its own statistic, else a producer list for it that was read, else its codes' one."""
    own = material_mix(mining, reference.nodes[node].material, year)
    if own is not None:
        return own
    listed = [
        f for f in reference.producer_figures if f.node == node and f.year == year and f.citation_status == "read"
    ]
    by_country: dict[str, float] = {}
    if listed and all(f.share is not None for f in listed):
        for f in listed:
            by_country[f.country] = by_country.get(f.country, 0.0) + float(f.share or 0.0)
        rest = max(0.0, 1.0 - sum(by_country.values()))
        if rest > 1e-9:
            by_country["UNK"] = by_country.get("UNK", 0.0) + rest
    elif listed and all(f.quantity is not None for f in listed) and len({f.unit for f in listed}) == 1:
        for f in listed:
            by_country[f.country] = by_country.get(f.country, 0.0) + float(f.quantity or 0.0)
    if total := sum(by_country.values()):
        return WorldMix({c: v / total for c, v in by_country.items()}, "producer_list", node)
    return None


def code_mix(
    reference: Reference, mining: pd.DataFrame | None, hs_revision: str, code: str, year: int
) -> WorldMix | None:
    """World mix of the material that a code belongs to, in any form; None where none is linked."""
    link = reference.production_link(code, hs_revision)
    return None if link is None else material_mix(mining, link.material, year)
