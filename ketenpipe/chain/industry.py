"""Industry layer: how far the focus's industries lean on other countries, from inter-country input-output tables.

Belongs here: face value, look-through, market side, hidden ratio and tiers of an industry. Only the columns that
are asked for are solved, with one factorisation per table. Everything from a synthetic table says so in its basis.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from scipy.linalg import LinAlgWarning, lu_factor, lu_solve
from threadpoolctl import threadpool_limits

from ketenpipe.chain.catalogue import Reference
from ketenpipe.chain.tracing import focus_members
from ketenpipe.errors import InputRefused
from ketenpipe.sources.icio import IcioTable
from ketenpipe.tables.registry import INDUSTRY_EXPOSURE, INDUSTRY_TIERS

TIERS = 4
HIDDEN_RATIO_FROM = 0.01

Array = np.ndarray


@dataclass(frozen=True)
class Industry:
    """Tables of the industry layer: industry_exposure, industry_tiers (contracts of the registry)."""

    industry_exposure: pa.Table
    industry_tiers: pa.Table


@dataclass(frozen=True)
class Leaning:
    """Inputs and sales of one industry (of one or several countries), summed by row label (n).

    Args:
        direct: ``Z_j``, direct inputs.
        total: ``((L - I) x)_j``, direct and indirect inputs behind its output.
        tiers: ``(A x, A^2 x, ...)`` restricted to the industry, shape (tiers, n).
        sales: ``((G - I)' x)_j``, direct and indirect sales (Ghosh).
    """

    direct: Array
    total: Array
    tiers: Array
    sales: Array


def technical_coefficients(z: Array, output: Array) -> Array:
    """``A = Z diag(1/x)``; a column without output is 0 (its indicators are null, see the callers)."""
    safe = np.where(output > 0, output, 1.0)
    return np.where(output[np.newaxis, :] > 0, z / safe[np.newaxis, :], 0.0)


def leanings(z: Array, output: Array, wanted: Iterable[Array], tiers: int = TIERS) -> list[Leaning]:
    """Direct and total inputs and sales of groups of columns, from one LU factorisation.

    ``L = (I - A)^-1``, ``G = diag(1/x) L diag(x)`` (Ghosh). A group's columns are weighted by their output, so that
    its direct inputs are ``Z``'s own. Industries without output take no part.

    Args:
        z: ``Z[i, j]``, deliveries of i to j, shape (n, n).
        output: ``x``, shape (n).
        wanted: index arrays of columns, each a group.
        tiers: how many tiers ``A x, A^2 x, ...`` to return.

    Raises:
        InputRefused: ``I - A`` is singular (an industry that only feeds itself).
    """
    a = technical_coefficients(z, output)
    n = len(output)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", LinAlgWarning)
            factors = lu_factor(np.eye(n) - a)
        singular = bool(np.any(np.abs(np.diag(factors[0])) < 1e-12))
    except LinAlgWarning:
        singular = True
    if singular:
        raise InputRefused(
            "the input-output table is singular: some industries only feed themselves",
            todo="check the table's output row against its deliveries",
        )
    found = []
    for columns in wanted:
        made = np.zeros(n)
        made[columns] = output[columns]
        total = lu_solve(factors, made) - made
        step, by_tier = made, []
        for _ in range(tiers):
            step = a @ step
            by_tier.append(step)
        # Ghosh: e_i' G = (1/x_i) e_i' L diag(x); row i weighted by x_i is (L' e_i) * x, hence no second factorisation.
        sold = np.zeros(n)
        sold[columns] = output[columns] > 0
        sales = output * lu_solve(factors, sold, trans=1) - made
        found.append(Leaning(z[:, columns].sum(axis=1), total, np.array(by_tier), sales))
    return found


def build_industry(tables: Iterable[IcioTable], reference: Reference, foci: tuple[str, ...]) -> Industry:
    """Face value, look-through, market side, hidden ratio and tiers for every industry of every focus.

    ``FV[c] = sum_{i in c} Z_ij / sum_i Z_ij``; ``FIR[c] = sum_{i in c} (L-I)_ij / sum_i (L-I)_ij``; ``FMR`` with the
    Ghosh inverse; ``hidden_ratio`` = FIR/FV, both among foreign origins, where FIR >= 0.01, null where FV = 0. Tier
    t's share is ``sum_{i in c} (A^t)_ij / sum_{i in c} (L-I)_ij``; the tail is tier -1. A bloc's members are one.
    An industry without output: null, never 0.

    Source: Baldwin, Freeman, Theodorakopoulos; METHOD 1.
    """
    exposure: list[dict[str, object]] = []
    tiers: list[dict[str, object]] = []
    with threadpool_limits(limits=1):
        for table in tables:
            for focus in foci:
                _add_focus(exposure, tiers, table, reference, focus)
    return Industry(INDUSTRY_EXPOSURE.conform(exposure), INDUSTRY_TIERS.conform(tiers))


def _add_focus(
    exposure: list[dict[str, object]],
    tiers: list[dict[str, object]],
    table: IcioTable,
    reference: Reference,
    focus: str,
) -> None:
    members = focus_members(reference, focus, [table.year])[table.year]
    inside = np.array([c in members for c, _ in table.labels])
    if not inside.any():
        return
    owner = [focus if c in members else c for c, _ in table.labels]
    countries = sorted(set(owner))
    member_of = np.array([[o == c for o in owner] for c in countries], dtype=float)
    foreign = np.array([c != focus for c in countries])
    industries = [i for i in table.industries if any(inside & np.array([lab[1] == i for lab in table.labels]))]
    columns = [np.flatnonzero(inside & np.array([lab[1] == i for lab in table.labels])) for i in industries]
    basis = "synthetic" if table.synthetic else "icio"
    for industry, at, lean in zip(industries, columns, leanings(table.Z, table.OUT, columns), strict=True):
        common = {"focus": focus, "industry": industry, "year": table.year, "basis": basis}
        alive = bool(table.OUT[at].sum() > 0)
        face = _shares(member_of @ lean.direct) if alive else None
        through = _shares(member_of @ lean.total) if alive else None
        market = _shares(member_of @ lean.sales) if alive else None
        face_abroad = _shares(np.where(foreign, member_of @ lean.direct, 0.0)) if alive else None
        through_abroad = _shares(np.where(foreign, member_of @ lean.total, 0.0)) if alive else None
        for k, country in enumerate(countries):
            fv, fir = _at(face_abroad, k), _at(through_abroad, k)
            hidden = None
            if (
                foreign[k]
                and fv is not None
                and fir is not None
                and fv > 0
                and (_at(through, k) or 0) >= HIDDEN_RATIO_FROM
            ):
                hidden = fir / fv
            exposure.append(
                {
                    **common,
                    "country": country,
                    "face_value": _at(face, k),
                    "look_through": _at(through, k),
                    "market_side": _at(market, k),
                    "face_value_foreign": fv if foreign[k] else None,
                    "look_through_foreign": fir if foreign[k] else None,
                    "hidden_ratio": hidden,
                    "reason": "zero_output" if not alive else "no_intermediate_inputs" if face is None else None,
                }
            )
            whole = float((member_of[k] * lean.total).sum())
            if not alive or not whole > 0:
                continue
            parts = [float((member_of[k] * step).sum()) / whole for step in lean.tiers]
            for tier, share in [*enumerate(parts, start=1), (-1, 1.0 - sum(parts))]:
                tiers.append({**common, "country": country, "tier": tier, "share": min(max(share, 0.0), 1.0)})


def _shares(values: Array) -> Array | None:
    positive = np.maximum(values, 0.0)
    total = positive.sum()
    return np.minimum(positive / total, 1.0) if total > 0 else None


def _at(shares: Array | None, k: int) -> float | None:
    return None if shares is None else float(shares[k])
