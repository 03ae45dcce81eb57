"""Origin tracing as linear algebra: pure functions on arrays.

Belongs here: the supply-mix matrix of one product and its rows for a focus. Does not belong here: tables,
codes, file formats.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import lu_factor, lu_solve

Array = np.ndarray


@dataclass(frozen=True)
class Production:
    """Production that closes the balance of one product in one year.

    Args:
        made: ``p``, production as used (n).
        unknown: supply of unknown origin: what non-producers export beyond their imports (n).
        imputed: ``d``, the part of ``made`` that is imputed, within [0, 1] (n).
    """

    made: Array
    unknown: Array
    imputed: Array


@dataclass(frozen=True)
class Traced:
    """Origins of every country's supply.

    Args:
        origins: ``O``, shape (n, n + 1); ``O[j, c]`` is the share of j's supply made in c, the last column is
            unknown origin; rows sum to 1, rows of countries without supply are NaN.
        supply: ``x``, shape (n).
        residual: largest ``|sum_c R[j, c] - x_j| / x_j``.
    """

    origins: Array
    supply: Array
    residual: float


def balance_production(flows: Array, statistic: Array | None, listed: Array | None, non_producer: Array) -> Production:
    """Production of every country: the statistic, or the export proxy, raised to balance.

    Export proxy: ``p = max(0, exports - imports)``, all of it imputed (d = 1). Statistic: an unlisted country
    makes 0, a listed null takes the proxy (d = 1); where ``exports > p + imports``, ``p`` is raised to
    ``exports - imports`` and ``d = raised / p``. A non-producer makes 0; what it exports beyond its imports is
    supply of unknown origin.

    Args:
        flows: ``X[i, j]``, exports of i to j, shape (n, n), zero diagonal, never negative.
        statistic: production, shape (n), NaN where unknown; None for the export proxy.
        listed: bool, shape (n): the statistic lists the country.
        non_producer: bool, shape (n).
    """
    sold, bought = flows.sum(axis=1), flows.sum(axis=0)
    surplus = sold - bought
    # What rounding leaves of equal sums is no production: a closed cycle would seem to feed itself.
    surplus = np.where(np.abs(surplus) <= 1e-9 * np.maximum(sold, bought), 0.0, surplus)
    proxy = np.maximum(surplus, 0.0)
    if statistic is None or listed is None:
        made = proxy.copy()
        imputed = np.ones_like(made)
    else:
        missing = listed & np.isnan(statistic)
        base = np.where(listed & ~missing, np.nan_to_num(statistic), 0.0)
        made = np.where(missing, proxy, np.maximum(base, surplus))
        made = np.maximum(made, 0.0)
        raised = made - base
        with np.errstate(divide="ignore", invalid="ignore"):
            imputed = np.where(made > 0, raised / made, 0.0)
        imputed = np.where(missing, 1.0, imputed)
    unknown = np.where(non_producer, proxy, 0.0)
    made = np.where(non_producer, 0.0, made)
    return Production(made=made, unknown=unknown, imputed=np.where(non_producer, 0.0, imputed))


def trace_origins(flows: Array, production: Production) -> Traced:
    """Where every country's supply was made, mixing proportionally (Kastner et al. 2011).

    ``Z[j, i] = X[i, j]``, supply ``x = p + u + sum_i Z[j, i]``, ``A = Z diag(1/x)``,
    ``R = (I - A)^-1 [diag(p) | u]``, ``O = diag(1/x) R``. Countries that no production reaches are unknown in
    their own row and carry unknown to their customers; the rest is solved for.

    Args:
        flows: ``X[i, j]``, shape (n, n), zero diagonal.
        production: what is made where.

    Source: Kastner, Kastner, Nonhebel (2011), Ecological Economics 70, as given in METHOD 1.
    """
    n = len(flows)
    made, unknown = production.made, production.unknown
    supply = made + unknown + flows.sum(axis=0)
    origins = np.full((n, n + 1), np.nan)
    reached = _reached(flows, (made + unknown) > 0)
    stranded = (supply > 0) & ~reached
    origins[stranded] = 0.0
    origins[stranded, n] = 1.0
    inside = np.flatnonzero(reached)
    residual = 0.0
    if len(inside):
        x = supply[inside]
        a = flows[np.ix_(inside, inside)].T / x[np.newaxis, :]
        sources = np.zeros((len(inside), n + 1))
        sources[np.arange(len(inside)), inside] = made[inside]
        sources[:, n] = unknown[inside] + flows[np.ix_(stranded, inside)].sum(axis=0)
        factors = lu_factor(np.eye(len(inside)) - a, check_finite=False)
        r = lu_solve(factors, sources, check_finite=False)
        r = np.maximum(r, 0.0)
        residual = float(np.max(np.abs(r.sum(axis=1) - x) / x))
        origins[inside] = r / x[:, np.newaxis]
    return Traced(origins=origins, supply=supply, residual=residual)


def _reached(flows: Array, sources: Array) -> Array:
    """Countries that supply reaches along the flows, the sources included (bool, n)."""
    linked = flows > 0
    reached = sources.copy()
    frontier = sources.copy()
    while frontier.any():
        frontier = linked[frontier].any(axis=0) & ~reached
        reached |= frontier
    return reached


def consumption(flows: Array, supply: Array) -> Array:
    """Apparent consumption: supply minus exports, never below 0, shape (n).

    What remains of a difference within rounding (1e-9 of the supply) is 0: a pure hub consumes nothing.
    """
    rest = supply - flows.sum(axis=1)
    return np.where(rest > 1e-9 * supply, rest, 0.0)


def weighted_row(origins: Array, weights: Array) -> Array | None:
    """Rows combined by weights: ``sum_j w_j O[j, :] / sum_j w_j``; None where every weight is 0.

    Args:
        origins: shape (m, n + 1).
        weights: shape (m), never negative.
    """
    usable = weights > 0
    if not usable.any():
        return None
    w = weights[usable]
    return np.asarray((w[:, np.newaxis] * origins[usable]).sum(axis=0) / w.sum())
