"""The world production mix of a material or node: who makes it, in any form.

It gives C3 and, for a node that no trade code isolates, one and the same vector for every country on earth.
It is never production of a traded form (see :func:`ketenpipe.chain.tracing.production_statistic`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
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
    at = (mining["material"].to_numpy() == material) & (mining["year"].to_numpy() == year)
    countries, quantities = mining["country"].to_numpy()[at], mining["quantity"].to_numpy(dtype=float)[at]
    made = quantities > 0
    total = float(quantities[made].sum())
    if not total > 0:
        return None
    shares = {str(c): float(q) / total for c, q in zip(countries[made], quantities[made], strict=True)}
    unlisted = tuple(sorted(str(c) for c in countries[np.isnan(quantities)]))
    return WorldMix(shares, "observed", material, unlisted)


def node_mix(reference: Reference, mining: pd.DataFrame | None, node: str, year: int) -> WorldMix | None:
    """World mix of a node: its own statistic, else the shares of a producer list that was read for that very year.

    Shares that do not add to 1 leave the rest to ``UNK``: a concentration made from them is a lower bound.
    """
    own = material_mix(mining, reference.nodes[node].material, year)
    if own is not None:
        return own
    return _from_shares(reference.producer_shares(node, year), node)


def code_mix(
    reference: Reference, mining: pd.DataFrame | None, hs_revision: str, code: str, year: int
) -> WorldMix | None:
    """World mix of the material that a code belongs to, in any form, else of a producer list of that very code."""
    link = reference.production_link(code, hs_revision)
    linked = None if link is None else material_mix(mining, link.material, year)
    if linked is not None:
        return linked
    shares = {
        f.country: f.share for f in reversed(reference.producer_list(code, hs_revision, year)) if f.share is not None
    }
    return _from_shares(shares, code)


def _from_shares(shares: dict[str, float], what: str) -> WorldMix | None:
    """A world mix from shares that were read; what they leave open is ``UNK``."""
    total = sum(shares.values())
    if not total > 0:
        return None
    if total < 1.0:
        shares = {**shares, "UNK": 1.0 - total}
    return WorldMix({c: s / max(total, 1.0) for c, s in sorted(shares.items())}, "producer_list", what)
