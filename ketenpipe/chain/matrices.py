"""Origin tracing as linear algebra: pure functions on arrays.

Belongs here: the supply-mix matrix of one product, and its rows for a focus, of one product or of many at once. Does
not belong here: tables, codes, file formats.

One product at a time it is ``O = diag(1/x) (I - A)^-1 [diag(p) | u]`` (:func:`trace_origins`). With
``M = diag(x) - X`` the same matrix reads ``O = (M^-1)' [diag(p) | u]``, so that rows combined with weights ``w`` that
sum to 1 need one right-hand side: ``M y = w``, share of c ``= y_c p_c`` (:func:`trace_rows`). The inverse of ``M`` is
never negative.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.sparse import csc_array

Array = np.ndarray

ROUNDING = 1e-9
"""What remains of a difference within this share of its terms is rounding, and counts as 0."""
CERTIFIED = 1e-10
"""A solve whose error may be larger than this is done again without subtractions."""
STILL_ON_ITS_WAY = 1e-14
"""Supply is followed from hop to hop until no more than this share of it is on its way."""
_HOPS, _LOOKS = 4, 24
"""Hops that are followed between two looks at which products are done, and how many such looks."""


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
class Links:
    """The flows of several products in one measure, as a list.

    Args:
        products, countries: how many there are.
        product, sender, receiver: whole numbers, shape (flows); nobody sends to itself, a pair stands once a product.
        amount: shape (flows), never negative.
    """

    products: int
    countries: int
    product: Array
    sender: Array
    receiver: Array
    amount: Array

    @cached_property
    def at_sender(self) -> Array:
        """``product * countries + sender``, shape (flows)."""
        return self.product * self.countries + self.sender

    @cached_property
    def at_receiver(self) -> Array:
        """``product * countries + receiver``, shape (flows)."""
        return self.product * self.countries + self.receiver

    @cached_property
    def sold(self) -> Array:
        """Exports, shape (products, countries)."""
        return self._sums(self.at_sender)

    @cached_property
    def bought(self) -> Array:
        """Imports, shape (products, countries)."""
        return self._sums(self.at_receiver)

    def _sums(self, at: Array) -> Array:
        return np.bincount(at, self.amount, self.products * self.countries).reshape(self.products, self.countries)

    def where(self, taken: Array) -> Links:
        """Some of the flows (bool, shape (flows))."""
        if taken.all():
            return self
        parts = (self.product, self.sender, self.receiver, self.amount)
        return Links(self.products, self.countries, *(part[taken] for part in parts))

    def of(self, products: Array) -> Links:
        """Some of the products (numbers, rising), renumbered from 0."""
        if len(products) == self.products:
            return self
        number = np.full(self.products, -1)
        number[products] = np.arange(len(products))
        held = self.where(number[self.product] >= 0)
        return Links(len(products), self.countries, number[held.product], held.sender, held.receiver, held.amount)

    def shares_of(self, supply: Array) -> csc_array:
        """``X[i, j] / supply[i]`` of all products, in blocks along the diagonal; supply of shape (places)."""
        at, sender, amount = self.at_receiver, self.at_sender, self.amount
        if np.any(at[1:] < at[:-1]):
            order = np.argsort(at, kind="stable")
            at, sender, amount = at[order], sender[order], amount[order]
        places = len(supply)
        starts = np.zeros(places + 1, dtype=np.int32)
        np.cumsum(np.bincount(at, minlength=places), out=starts[1:])
        return csc_array((amount / supply[sender], sender.astype(np.int32), starts), shape=(places, places))

    def matrix(self, product: int, countries: Array) -> Array:
        """``X[i, j]`` of one product between some countries (numbers, rising), shape (n, n)."""
        place = np.full(self.countries, -1)
        place[countries] = np.arange(len(countries))
        mine = np.flatnonzero(self.product == product)
        sender, receiver = place[self.sender[mine]], place[self.receiver[mine]]
        among = (sender >= 0) & (receiver >= 0)
        flows = np.zeros((len(countries), len(countries)))
        flows[sender[among], receiver[among]] = self.amount[mine[among]]
        return flows


@dataclass(frozen=True)
class TracedRows:
    """Combined rows of the supply-mix matrices of several products; all zero where all weights are.

    Args:
        shares: what was made where, shape (rows, products, countries).
        unknown: of unknown origin, shape (rows, products); with the shares it sums to 1.
        residual: what the errors of a row, unknown included, sum to at most; shape (rows, products).
    """

    shares: Array
    unknown: Array
    residual: Array


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
    return balance(flows.sum(axis=1), flows.sum(axis=0), statistic, listed, non_producer)


def balance(
    sold: Array, bought: Array, statistic: Array | None, listed: Array | None, non_producer: Array
) -> Production:
    """:func:`balance_production` from exports and imports: element by element, for arrays of any one shape."""
    surplus = sold - bought
    # What rounding leaves of equal sums is no production: a closed cycle would seem to feed itself.
    surplus = np.where(np.abs(surplus) <= ROUNDING * np.maximum(sold, bought), 0.0, surplus)
    proxy = np.maximum(surplus, 0.0)
    if statistic is None or listed is None:
        made = proxy.copy()
        imputed = np.ones_like(made)
    else:
        missing = listed & np.isnan(statistic)
        base = np.where(listed & ~missing, np.nan_to_num(statistic), 0.0)
        # A listed null has a base of 0, which leaves it the proxy.
        made = np.maximum(np.maximum(base, surplus), 0.0)
        raised = made - base
        with np.errstate(divide="ignore", invalid="ignore"):
            imputed = np.where(made > 0, raised / made, 0.0)
        imputed = np.where(missing, 1.0, imputed)
    unknown = np.where(non_producer, proxy, 0.0)
    made = np.where(non_producer, 0.0, made)
    return Production(made=made, unknown=unknown, imputed=np.where(non_producer, 0.0, imputed))


def without_raising(production: Production, statistic: Array, listed: Array) -> Production:
    """The same balance with the statistic taken at its word: what was raised is supply of unknown origin instead.

    ``p = statistic``, ``u = raised``, so that supply stays ``p + u + imports``. A listed null keeps the proxy: there is
    nothing to take at its word. ``d`` is 0 where nothing is imputed any more.

    Args:
        production: of :func:`balance`, shape (n).
        statistic, listed: as given to it, shape (n).
    """
    missing = listed & np.isnan(statistic)
    raised = np.where(missing, 0.0, production.made * production.imputed)
    return Production(
        made=production.made - raised,
        unknown=production.unknown + raised,
        imputed=np.where(missing, production.imputed, 0.0),
    )


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
        within = flows[np.ix_(inside, inside)]
        slack = unknown[inside] + flows[np.ix_(stranded, inside)].sum(axis=0)
        sources = np.zeros((len(inside), n + 1))
        sources[np.arange(len(inside)), inside] = made[inside]
        sources[:, n] = slack
        try:
            r = np.linalg.solve(np.eye(len(inside)) - within.T / x[np.newaxis, :], sources)
        except np.linalg.LinAlgError:
            r = np.full_like(sources, np.nan)
        r = np.maximum(r, 0.0)
        residual = _largest_gap(r, x)
        if not residual <= CERTIFIED:
            ends = without_subtraction(within, made[inside] + slack, np.eye(len(inside)))
            r = (x[:, np.newaxis] * ends.T) @ sources
            residual = _largest_gap(r, x)
        origins[inside] = r / x[:, np.newaxis]
    return Traced(origins=origins, supply=supply, residual=residual)


def _largest_gap(r: Array, x: Array) -> float:
    return float(np.max(np.abs(r.sum(axis=1) - x) / x))


def without_subtraction(flows: Array, slack: Array, targets: Array) -> Array:
    """``M^-1 targets`` with ``M = diag(slack + imports) - flows``, however near to singular ``M`` is.

    Elimination that adds, multiplies and divides numbers that are never negative, and subtracts none: every figure
    comes out with nearly all its digits, even where countries pass goods round in circles a billion times what
    enters. Some hundred times slower than a plain solve.

    Args:
        flows: ``X[i, j]``, shape (n, n), zero diagonal, never negative.
        slack: what enters from outside, shape (n); every country is reached from one where it is above 0.
        targets: shape (n, k), never negative.

    Source: Grassmann, Taksar, Heyman (1985), Operations Research 33, for Markov chains (recalled, not read).
    """
    x, enters, y = flows.copy(), slack.copy(), targets.astype(float)
    pivots = np.zeros(len(x))
    with np.errstate(divide="raise", invalid="raise", over="raise"):
        for k in range(len(x) - 1, -1, -1):
            pivots[k] = enters[k] + x[:k, k].sum()
            sent = x[:k, k] / pivots[k]
            y[:k] += sent[:, np.newaxis] * y[k]
            x[:k, :k] += sent[:, np.newaxis] * x[k, :k]
            enters[:k] += enters[k] / pivots[k] * x[k, :k]
        for k in range(len(x)):
            y[k] = (y[k] + x[k, :k] @ y[:k]) / pivots[k]
    return y


def trace_rows(links: Links, production: Production, weights: Array) -> TracedRows:
    """Combined rows of the supply-mix matrices of many products: ``sum_j w_j O[j, :]``.

    ``M y = w`` with ``M = diag(x) - X``; share of c ``= y_c p_c``; unknown ``= sum_c y_c (u_c + what c buys of those
    that no production reaches)`` plus the weight of the latter. ``x_c y_c`` is the sum over 0, 1, 2, ... hops of what
    ends in the row; all products are followed at once, until ``STILL_ON_ITS_WAY`` is all that is left. Nothing is
    subtracted, so that shares are never negative. A product where goods go round for longer is solved as a dense
    system.

    The residual is a certificate. Where ``r = w - M y``, the row's error at c is ``p_c (M^-1 r)_c``; as ``M^-1`` is
    never negative and ``(p + u)' M^-1 = 1'``, the errors of a row sum to at most ``sum_i |r_i|`` (but for the rounding
    of the residual itself, some 1e-15), which is what is given. It bounds ``|sum of the row - 1|`` as well. Where goods
    go round so often that rounding alone would spend the bound, the product is solved by :func:`without_subtraction`,
    which needs no such bound, and the residual is ``|sum of the row - 1|``.

    Args:
        links: the flows.
        production: shape (products, countries).
        weights: shape (rows, products, countries), never negative, 0 for countries without supply; a row's weights
            sum to 1 or are all 0.

    Source: as :func:`trace_origins`; equal to its rows.
    """
    shape = (links.products, links.countries)
    made, unknown = production.made.ravel(), production.unknown.ravel()
    supply = made + unknown + links.bought.ravel()
    links = links.where(links.amount > 0)
    reached = _spread((made + unknown) > 0, links.at_sender, links.at_receiver)
    led = reached[links.at_sender]
    if not led.all():
        stray = links.where(~led & reached[links.at_receiver])
        unknown = unknown + stray.bought.ravel()
        links = links.where(led)
    wanted = np.moveaxis(weights, 0, 2).reshape(len(supply), len(weights))
    target = np.where(reached[:, np.newaxis], wanted, 0.0)
    divisor = np.where(reached, supply, 1.0)
    passed = links.shares_of(divisor)
    y, round_and_round = _follow(links, passed, divisor, target)
    slowly = []
    for product in round_and_round:
        at = np.flatnonzero(reached.reshape(shape)[product])
        place = product * links.countries + at
        flows, slack = links.matrix(product, at), (made + unknown)[place]
        solved = _dense(flows, slack, target[place])
        if solved is None:
            solved = without_subtraction(flows, slack, target[place])
            slowly.append(product)
        y[place] = solved

    def by_product(values: Array) -> Array:
        return values.reshape(*shape, len(weights)).sum(axis=1).T

    residual = by_product(np.abs(target - divisor[:, np.newaxis] * (y - passed @ y)))
    sums = by_product(y * (made + unknown)[:, np.newaxis]) - by_product(target)
    residual[:, slowly] = np.abs(sums[:, slowly])
    lost = np.where(reached[:, np.newaxis], 0.0, wanted)
    return TracedRows(
        shares=np.moveaxis((y * made[:, np.newaxis]).reshape(*shape, len(weights)), 2, 0),
        unknown=by_product(y * unknown[:, np.newaxis] + lost),
        residual=residual,
    )


def _spread(sources: Array, sender: Array, receiver: Array) -> Array:
    """Places that supply reaches along the flows, the sources included."""
    reached = sources.copy()
    while True:
        dry = ~reached[receiver]
        sender, receiver = sender[dry], receiver[dry]
        fresh = receiver[reached[sender]]
        if not len(fresh):
            return reached
        reached[fresh] = True


def _follow(links: Links, passed: csc_array, supply: Array, target: Array) -> tuple[Array, list[int]]:
    """``y = sum_k (X / supply)^k (target / supply)``, and the products that would take too many hops.

    Args:
        links: the flows.
        passed: the part of each country's supply that it passes on to each other, shape (places, places).
        supply: shape (places), above 0.
        target: shape (places, rows).

    Returns:
        ``y``, shape (places, rows); numbers of products whose ``y`` is not all there.
    """
    shape = (links.products, links.countries, target.shape[1])
    total = target / supply[:, np.newaxis]
    y, fresh = total.reshape(shape).copy(), total
    going, x = np.arange(links.products), supply
    done = np.zeros(links.products, dtype=bool)
    for _ in range(_LOOKS):
        for _ in range(_HOPS):
            fresh = passed @ fresh
            total = total + fresh
        size = (len(going), *shape[1:])
        on_its_way = (fresh * x[:, np.newaxis]).reshape(size).sum(axis=1).max(axis=1, initial=0.0)
        # What a product's figures are must not hang on the products that it is followed with.
        just = (on_its_way <= STILL_ON_ITS_WAY) & ~done[going]
        y[going[just]] = total.reshape(size)[just]
        done[going[just]] = True
        left = ~done[going]
        if not left.any():
            break
        if 4 * left.sum() <= len(going):
            going = going[left]
            x = supply.reshape(shape[:2])[going].ravel()
            passed = links.of(going).shares_of(x)
            total, fresh = (part.reshape(size)[left].reshape(len(x), shape[2]) for part in (total, fresh))
    return y.reshape(target.shape), np.flatnonzero(~done).tolist()


def _dense(flows: Array, slack: Array, target: Array) -> Array | None:
    """``M y = target`` of one product, ``M = diag(slack + imports) - flows``; None where ``M`` is all but singular."""
    supply = slack + flows.sum(axis=0)
    try:
        y = np.maximum(np.linalg.solve(np.diag(supply) - flows, target), 0.0)
    except np.linalg.LinAlgError:
        return None
    error = np.abs(target + flows @ y - supply[:, np.newaxis] * y).sum(axis=0)
    return y if (error <= CERTIFIED).all() else None


def _reached(flows: Array, sources: Array) -> Array:
    """Countries that supply reaches along the flows, the sources included (bool, n)."""
    linked = flows > 0
    reached = sources.copy()
    frontier = sources.copy()
    while frontier.any():
        frontier = linked[frontier].any(axis=0) & ~reached
        reached |= frontier
    return reached


def consumption(sold: Array, supply: Array) -> Array:
    """Apparent consumption: supply minus exports, never below 0; element by element.

    What remains of a difference within rounding (1e-9 of the supply) is 0: a pure hub consumes nothing.
    """
    rest = supply - sold
    return np.where(rest > ROUNDING * supply, rest, 0.0)
