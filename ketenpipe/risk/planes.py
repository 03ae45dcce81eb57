"""The plane (concentration, governance) of one vector of origins: O1, G2, G3, T, C4b and their bounds.

Pure functions on ``country -> share`` vectors that sum to 1 with ``UNK``; no tables. One vector at a time for the
nodes of chains, all vectors of a year at once (arrays) for products: the same sums in the same order.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Truths = npt.NDArray[np.bool_]

UNKNOWN = "UNK"


@dataclass(frozen=True)
class Plane:
    """Where a vector of origins lies on TNO's plane.

    Args:
        o1, o1_high: ``sum_{c not in f} x_c^2``, not renormalised; high with the unknown part on the largest
            foreign country (low leaves it out, which is ``o1``).
        o1_renormalised: the same over the known foreign part only; None where there is none.
        g2, g2_high: governance risk of the known foreign part, renormalised over scored countries; None where
            nothing is scored.
        g3: ``10 * sum_{c not in f} x_c^2 risk_c`` over scored countries.
        coverage: share of the known foreign part that has a score; None where there is no foreign part.
        top: largest foreign country; None where there is none.
        unknown: share of unknown origin.
        foreign: share of known foreign origin.
    """

    o1: float
    o1_high: float
    o1_renormalised: float | None
    g2: float | None
    g2_high: float | None
    g3: float | None
    coverage: float | None
    top: str | None
    unknown: float
    foreign: float

    @property
    def weakest_link(self) -> float | None:
        """``sum_{c not in f} x_c^2 risk_c``: the term of X2; None where nothing foreign is scored."""
        return None if self.g3 is None else self.g3 / 10.0


def plane_of(vector: Mapping[str, float], own: Collection[str], risk: Mapping[str, float]) -> Plane:
    """Place a vector on the plane.

    Args:
        vector: country -> share, ``UNK`` for unknown origin.
        own: the focus, or the members of the bloc.
        risk: country -> G1 within [0, 1]; a country without a score is absent.
    """
    foreign = {c: s for c, s in vector.items() if c not in own and c != UNKNOWN and s > 0}
    unknown = max(0.0, vector.get(UNKNOWN, 0.0))
    total = sum(foreign.values())
    top = min((c for c in foreign), key=lambda c: (-foreign[c], c)) if foreign else None
    raised = dict(foreign)
    if top is not None:
        raised[top] += unknown
    elif unknown > 0:
        raised = {UNKNOWN: unknown}
    o1 = sum(s * s for s in foreign.values())
    scored = {c: s for c, s in foreign.items() if c in risk}
    known = sum(scored.values())
    if not foreign:
        return Plane(0.0, sum(s * s for s in raised.values()), None, None, None, 0.0, None, None, unknown, 0.0)
    return Plane(
        o1=o1,
        o1_high=sum(s * s for s in raised.values()),
        o1_renormalised=o1 / (total * total),
        g2=_mean_risk(scored, risk),
        g2_high=_mean_risk({c: s for c, s in raised.items() if c in risk}, risk),
        g3=10.0 * sum(s * s * risk[c] for c, s in scored.items()) if known > 0 else None,
        coverage=known / total,
        top=top,
        unknown=unknown,
        foreign=total,
    )


def _mean_risk(shares: Mapping[str, float], risk: Mapping[str, float]) -> float | None:
    total = sum(shares.values())
    return sum(s * risk[c] for c, s in shares.items()) / total if total > 0 else None


def node_test(hhi: float, wgi: float | None, hhi_limit: float, wgi_limit: float) -> bool | None:
    """T: ``HHI > limit and G2 > limit``, strictly. None where the concentration passes and nothing is scored."""
    if not hhi > hhi_limit:
        return False
    return None if wgi is None else wgi > wgi_limit


def top_third_country(
    vector: Mapping[str, float], own: Collection[str], union: Collection[str]
) -> tuple[str | None, float, float]:
    """C4: the largest country outside the focus and outside the EU27, its share, and that share with ``UNK``.

    Returns:
        Country (None where there is none), share, upper bound of the share.
    """
    third = {c: s for c, s in vector.items() if c not in own and c not in union and c != UNKNOWN and s > 0}
    unknown = max(0.0, vector.get(UNKNOWN, 0.0))
    if not third:
        return None, 0.0, unknown
    top = min(third, key=lambda c: (-third[c], c))
    return top, third[top], third[top] + unknown


def hhi_of(shares: Collection[float]) -> float | None:
    """``sum s^2 / (sum s)^2``; None for an empty or zero mix."""
    total = sum(shares)
    return sum(s * s for s in shares) / (total * total) if total > 0 else None


# -- many vectors at once ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Planes:
    """:class:`Plane` of many vectors, an array per figure; NaN where that has None.

    Args:
        top: row of the largest foreign country among the rows given; -1 where there is none.
        own: share of the focus itself.
    """

    o1: Floats
    o1_high: Floats
    o1_renormalised: Floats
    g2: Floats
    g2_high: Floats
    g3: Floats
    coverage: Floats
    top: Integers
    unknown: Floats
    foreign: Floats
    own: Floats


def planes_of(vector: Integers, share: Floats, count: int, *, own: Truths, unknown: Truths, risk: Floats) -> Planes:
    """Place many vectors on the plane, as :func:`plane_of` does one.

    Args:
        vector: number of the vector that each row belongs to, from 0 to ``count - 1``; a vector's rows stand in the
            order of their countries' codes.
        share: of each row, above 0.
        count: how many vectors.
        own: rows of the focus itself (or of members of the bloc).
        unknown: rows of unknown origin.
        risk: G1 of each row's country in the vector's year; NaN without a score.
    """

    def total(rows: Truths, weights: Floats) -> Floats:
        return np.bincount(vector[rows], weights[rows], count).astype(np.float64, copy=False)

    foreign_rows = ~own & ~unknown
    foreign, open_part = total(foreign_rows, share), total(unknown, share)
    some = np.bincount(vector[foreign_rows], minlength=count) > 0
    top = first_largest(vector, share, foreign_rows, count)
    raised = share.copy()
    raised[top[some]] += open_part[some]
    o1 = total(foreign_rows, share * share)
    scored = foreign_rows & ~np.isnan(risk)
    known = total(scored, share)
    with np.errstate(divide="ignore", invalid="ignore"):
        return Planes(
            o1=o1,
            o1_high=np.where(some, total(foreign_rows, raised * raised), open_part * open_part),
            o1_renormalised=np.where(some, o1 / (foreign * foreign), np.nan),
            g2=np.where(known > 0, total(scored, share * risk) / known, np.nan),
            g2_high=np.where(known > 0, total(scored, raised * risk) / total(scored, raised), np.nan),
            g3=np.where(known > 0, 10.0 * total(scored, share * share * risk), np.where(some, np.nan, 0.0)),
            coverage=np.where(some, known / foreign, np.nan),
            top=top,
            unknown=open_part,
            foreign=foreign,
            own=total(own, share),
        )


def first_largest(vector: Integers, share: Floats, rows: Truths, count: int) -> Integers:
    """Per vector the row of the largest share among ``rows``, the first where two are equal; -1 where there is none."""
    largest = np.full(count, -np.inf)
    np.maximum.at(largest, vector[rows], share[rows])
    found = np.flatnonzero(rows & (share == largest[vector]))
    holders, first = np.unique(vector[found], return_index=True)
    out = np.full(count, -1, dtype=np.int64)
    out[holders] = found[first]
    return out


def node_tests(hhi: Floats, wgi: Floats, hhi_limit: float, wgi_limit: float) -> Floats:
    """:func:`node_test` of many: 1, 0, or NaN where it cannot be told."""
    return np.where(hhi > hhi_limit, np.where(np.isnan(wgi), np.nan, wgi > wgi_limit), 0.0)
