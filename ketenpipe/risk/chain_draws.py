"""Monte Carlo through the chains: the figures and verdicts of nodes and groups in every draw.

Belongs here: the look-through on arrays of draws, with the rules of :mod:`ketenpipe.risk.indicators` and
:mod:`ketenpipe.risk.methods` applied to every draw. Does not belong here: noise, balance and tracing of a code
(:mod:`ketenpipe.risk.draws`), and HS6 codes seen by themselves (:mod:`ketenpipe.risk.product_draws`).

Arrays have an axis of columns, the last one: column 0 has no noise and is the published figure, then come the draws,
then the columns in which one family of inputs alone is off (:class:`ketenpipe.risk.draws.Draws`). A vector of origins
has shape (countries, columns); unknown origin is the last country. A verdict is 1, 0 or NaN: it cannot be told.

What a group's figures are hangs on its own chain only: the noise of a flow, a producer, a country's score and an
intensity is named after itself, and never after the run.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import networkx as nx
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from threadpoolctl import threadpool_limits

from ketenpipe.chain.catalogue import Edge, Reference
from ketenpipe.chain.lookthrough import Exposure
from ketenpipe.chain.steps import COMPUTED
from ketenpipe.chain.tracing import UNKNOWN, Tracing, focus_members
from ketenpipe.chain.worldmix import WorldMix, node_mix
from ketenpipe.errors import WrongUse
from ketenpipe.risk.definitions import METHOD_VERSION
from ketenpipe.risk.direct import EU27, UNIONS
from ketenpipe.risk.draws import (
    HIGH,
    INTENSITIES,
    LOW,
    CodeFlows,
    DrawnCode,
    Draws,
    Noise,
    Places,
    flag_share,
    read_codes,
    summarise,
    weighed,
)
from ketenpipe.risk.indicators import mix_of_node
from ketenpipe.risk.product_draws import ranks, single_year_verdicts
from ketenpipe.risk.published import with_frozen_limits
from ketenpipe.risk.thresholds import Limit, Thresholds
from ketenpipe.risk.uncertainty import Uncertainty
from ketenpipe.risk.world import MAX_TIER, World
from ketenpipe.tables.registry import (
    CHAIN_EDGES,
    DRAWN_VERDICTS,
    EXPOSURE,
    FLAGS,
    INDICATORS,
    ORIGIN_MIX,
    PRODUCTION,
    SUPPLY_MIX,
    TRACING,
    UNCERTAINTY,
)

Floats = npt.NDArray[np.floating[Any]]
Integers = npt.NDArray[np.int64]
Truths = npt.NDArray[np.bool_]

WORLD_MIX = "world_production_mix"
#: Groups at the same time.
WORKERS = 2
#: Indicator -> the threshold that its draws are held against.
LIMITS = {
    "C1": "C1", "C2": "C2", "C3": "C3", "C4a": "C4", "C4b": "C4", "C5": "C5", "S1": "S1", "S1b": "S1b", "S2": "S2",
    "O1": "O1", "G2": "G2",
}  # fmt: skip
#: Figures that are 0 or 1.
VERDICTS = ("T", "X1", "X1g")
#: Figures of groups that are ranked, among those of the same focus, HS revision and year.
RANKED = ("C1", "C3", "C4b", "G3", "O1", "X2", "hidden_exposure")


# -- verdicts in three values, column by column -----------------------------------------------------------------


def above(values: Floats, limit: float) -> Floats:
    """Strictly above: 1 or 0, NaN where the figure is."""
    return np.where(np.isnan(values), np.nan, values > limit)


def not_(a: Floats) -> Floats:
    """Not with unknowns."""
    return 1.0 - a


def and_(a: Floats, b: Floats) -> Floats:
    """And with unknowns: false wins, then unknown."""
    return np.where((a == 0) | (b == 0), 0.0, a * b)


def or_(values: Iterable[Floats], columns: int) -> Floats:
    """Or with unknowns: true wins, then unknown; false over nothing."""
    found = np.zeros(columns)
    for value in values:
        found = np.where((found == 1) | (value == 1), 1.0, found + value)
    return found


# -- vectors ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DrawnPlane:
    """Where a vector of origins lies on the plane, in every column (see :class:`ketenpipe.risk.planes.Plane`)."""

    o1: Floats
    o1_renormalised: Floats
    g2: Floats
    g3: Floats


def plane_in_draws(vector: Floats, foreign: Truths, risk: Floats) -> DrawnPlane:
    """:func:`ketenpipe.risk.planes.plane_of` in every column.

    ``O1 = sum_{c not in f} x_c^2``; ``O1r = O1 / (sum_{c not in f} x_c)^2``; ``G2`` over scored foreign countries,
    renormalised; ``G3 = 10 sum x_c^2 risk_c`` over them. NaN where that has None.

    Args:
        vector: shape (countries, columns).
        foreign: bool, shape (countries): neither the focus itself nor unknown origin.
        risk: G1, shape (countries, columns); NaN without a score.
    """
    scored = foreign & ~np.isnan(risk[:, 0])
    x, s, r = vector[foreign], vector[scored], risk[scored]
    squares = x * x
    o1, total = squares.sum(axis=0), x.sum(axis=0)
    known, some = s.sum(axis=0), total > 0
    weighed = s * r
    with np.errstate(divide="ignore", invalid="ignore"):
        return DrawnPlane(
            o1=o1,
            o1_renormalised=np.where(some, o1 / (total * total), np.nan),
            g2=np.where(known > 0, weighed.sum(axis=0) / known, np.nan),
            g3=np.where(known > 0, 10.0 * (s * weighed).sum(axis=0), np.where(some, np.nan, 0.0)),
        )


class Traceable(Protocol):
    """What the look-through needs of a code in every column; made by :class:`ketenpipe.risk.draws.DrawnCode`."""

    @property
    def countries(self) -> tuple[str, ...]:
        """Their codes, unknown origin among them."""

    @property
    def supply(self) -> Floats:
        """Supply, shape (countries, columns)."""

    @property
    def consumption(self) -> Floats:
        """Apparent consumption, shape (countries, columns)."""

    def left(self, weights: Floats) -> Floats:
        """``w @ O``, both of shape (countries, columns)."""


class TracedCode:
    """A code by mass in every column, in double precision where nothing has noise.

    Args:
        code: its balance and its rows.
        draws: how the columns are cut into blocks.
    """

    def __init__(self, code: DrawnCode, draws: Draws) -> None:
        self._code, self._draws = code, draws
        self.countries, self.supply = code.countries, code.supply
        self.consumption: Floats = code.consumption

    def left(self, weights: Floats) -> Floats:
        """``w @ O``, both of shape (countries, columns)."""
        parts = [
            weights[:, at].astype(block.supply.dtype, copy=False)
            for at, block in zip(self._draws.blocks, self._code.blocks, strict=True)
        ]
        (mix,) = self._code.mixes([[weights[:, :1], *parts]])
        origins = [self._code.origins(mix, number) for number in range(len(parts))]
        found: Floats = np.concatenate(origins, axis=1, dtype=np.float64)
        found[:, 0] = mix.exact
        return found


@dataclass(frozen=True)
class DrawnNode:
    """The supply-mix matrices of a node in every column, from those of its codes.

    A country weighs the codes by its consumption, where that is 0 by its supply (see
    :func:`ketenpipe.chain.lookthrough.combine_codes`).

    Args:
        codes: the codes that the year's data hold.
        at: per code the places of its countries among all countries.
        countries: how many countries there are, unknown origin included and last.
        columns: how many columns.
    """

    codes: tuple[Traceable, ...]
    at: tuple[Integers, ...]
    countries: int
    columns: int

    @cached_property
    def _sums(self) -> tuple[Floats, Floats]:
        """Consumption and supply of all codes, shape (countries, columns)."""
        eaten, supply = np.zeros((2, self.countries, self.columns))
        for code, at in zip(self.codes, self.at, strict=True):
            eaten[at] += code.consumption
            supply[at] += code.supply
        return eaten, supply

    def weights(self, number: int) -> Floats:
        """A code's part of each country's row, shape (the code's countries, columns); 0 without supply."""
        code, at = self.codes[number], self.at[number]
        if len(self.codes) == 1:
            return (code.supply > 0).astype(float)
        eaten, supply = (part[at] for part in self._sums)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(eaten > 0, code.consumption / eaten, np.where(supply > 0, code.supply / supply, 0.0))

    def through(self, vector: Floats) -> Floats:
        """``x @ O``: who makes what the countries in ``x`` use; unknown stays unknown, and so is who has no supply."""
        known = np.zeros_like(vector)
        found = np.zeros_like(vector)
        for number, (code, at) in enumerate(zip(self.codes, self.at, strict=True)):
            asked = vector[at] * self.weights(number)
            asked[at == self.countries - 1] = 0.0
            known[at] += asked
            found[at] += code.left(asked)
        found[-1] += (vector - known).sum(axis=0)
        return found

    def own(self, members: Truths, *, single: bool) -> Floats:
        """The focus's own supply: its row, or a bloc's rows weighted by apparent consumption.

        Args:
            members: bool, shape (countries): the focus itself, or the members of the bloc.
            single: the focus is a country.

        Returns:
            Shape (countries, columns); NaN in columns where there is no supply, or no member consumes any.
        """
        found, total = np.zeros((self.countries, self.columns)), np.zeros(self.columns)
        asked = []
        for number, (code, at) in enumerate(zip(self.codes, self.at, strict=True)):
            mine = members[at][:, np.newaxis]
            asked.append(np.where(mine, self.weights(number) if single else code.consumption, 0.0))
            total += asked[-1].sum(axis=0)
        divisor = np.where(total > 0, total, 1.0)
        for part, code, at in zip(asked, self.codes, self.at, strict=True):
            found[at] += code.left(part / divisor)
        found[:, ~(total > 0)] = np.nan
        return found


def summing_to_one(vector: Floats) -> Floats:
    """A vector of origins without what rounding makes of its sum."""
    return vector / vector.sum(axis=0)


# -- one group's chain --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ChainInDraws:
    """What of a group's chain is the same in every column, and the weights of its edges.

    Args:
        group, head: the group, and the product itself.
        nodes: node -> row of table ``chain_nodes``.
        graph: edges user -> input, of all nodes, computed or not.
        weights: edge -> weight, shape (columns); None where it is not known.
        columns: how many columns.
    """

    group: str
    head: str
    nodes: Mapping[str, Mapping[str, Any]]
    graph: nx.DiGraph
    weights: Mapping[tuple[str, str], Floats | None]
    columns: int

    @cached_property
    def path_weights(self) -> dict[str, Floats | None]:
        """Node -> its largest path weight, shape (columns); None where no path's weight is known."""
        found: dict[str, Floats | None] = {}
        for node in nx.topological_sort(self.graph):
            if node == self.head:
                found[node] = np.ones(self.columns)
                continue
            options = []
            for user in self.graph.predecessors(node):
                edge, through = self.weights[user, node], found[user]
                if edge is not None and through is not None:
                    options.append(edge * through)
            found[node] = np.max(options, axis=0) if options else None
        return found

    def mixed(self, node: str, vectors: Mapping[str, Floats]) -> Floats | None:
        """Mean of a node's users' vectors by path weight, evenly where no weight is known; None without a user."""
        users = [
            u for u in sorted(self.graph.predecessors(node))
            if u in vectors and self.nodes[u]["status"] != "production"
        ]  # fmt: skip
        if not users:
            return None
        weights: list[Floats | None] = []
        for user in users:
            edge, through = self.weights[user, node], self.path_weights[user]
            weights.append(None if edge is None or through is None else edge * through)
        some = any(w is not None and w.any() for w in weights)
        nothing, even = np.zeros(self.columns), np.ones(self.columns)
        usable = [nothing if w is None else w for w in weights] if some else [even] * len(users)
        total = np.sum(usable, axis=0)
        mixed = np.zeros_like(vectors[users[0]])
        for user, w in zip(users, usable, strict=True):
            if w.any():
                mixed += (w / total) * vectors[user]
        return mixed

    def vectors(
        self, start: Floats, mix: Callable[[str], Floats | None], traded: Callable[[str], DrawnNode | None]
    ) -> dict[str, Floats]:
        """``x_n`` of every computed node, dashed ones included, users before inputs.

        Args:
            start: ``x_0``.
            mix: the world production mix of a node that no code isolates; None without one in the year.
            traded: the matrices of a node; None where none of its codes is in the year's data.
        """
        found = {self.head: start}
        for node in nx.topological_sort(self.graph):
            status = self.nodes[node]["status"]
            if node == self.head or status not in COMPUTED:
                continue
            if status == "production":
                made = mix(node)
                if made is not None:
                    found[node] = made
                continue
            mixed = self.mixed(node, found)
            if mixed is None:
                continue
            if status == "dashed":
                found[node] = mixed
            elif (steps := traded(node)) is not None:
                found[node] = steps.through(mixed)
        return found


def edge_weights(edges: Iterable[Edge], noise: Noise) -> dict[tuple[str, str], Floats | None]:
    """Weights of a group's edges in every column: 1 where essential, else the intensity times its factor, at most 1.

    An intensity that is not known, or that nobody has read, stays unknown. An edge of the same user and input has the
    same factor in every group.
    """
    columns = noise.draws.columns
    found: dict[tuple[str, str], Floats | None] = {}
    for edge in edges:
        if edge.essential:
            found[edge.user, edge.input] = np.ones(columns)
        elif edge.weight is None:
            found[edge.user, edge.input] = None
        else:
            factor = noise.draws.factors(
                INTENSITIES, noise.model.intensities.log_sd, "intensity", edge.user, edge.input
            )[0]
            found[edge.user, edge.input] = np.minimum(edge.weight * factor, 1.0)
    return found


# -- direct figures of summed flows --------------------------------------------------------------------------------


@dataclass(frozen=True)
class DirectSums:
    """Sums over the flows of a node's codes by value, as a focus sees them, in every column.

    Args:
        sold: exports of every country, shape (countries, columns).
        bought: what the focus buys of each country outside it, same shape.
        out: what the focus sells outside it, shape (columns).
        within: what its members sell to one another.
        between: the part of that which members outside the EU27 sell.
    """

    sold: Floats
    bought: Floats
    out: Floats
    within: Floats
    between: Floats


def sum_flows(
    codes: Sequence[CodeFlows], at: Sequence[Integers], members: Truths, union: Truths, noise: Noise
) -> DirectSums:
    """Add up the flows of some codes by value.

    Args:
        codes: flows of each code.
        at: per code the places of its countries among all countries.
        members: bool, shape (countries): the focus itself, or the members of the bloc.
        union: bool, shape (countries): the EU27.
        noise: factors of the flows.
    """
    n, draws = len(members), noise.draws
    found = np.zeros((2 * n + 3, draws.columns))
    plain = np.zeros(2 * n + 3)
    for code, places in zip(codes, at, strict=True):
        data = code.measured("v")
        sender, receiver = places[data.sender], places[data.receiver]
        sells, buys = members[sender], members[receiver]
        chosen = (
            (sender, np.ones(len(sender), dtype=bool)),
            (n + sender, ~sells & buys),
            (np.full(len(sender), 2 * n), sells & ~buys),
            (np.full(len(sender), 2 * n + 1), sells & buys),
            (np.full(len(sender), 2 * n + 2), sells & buys & ~union[sender]),
        )
        row = np.concatenate([rows[taken] for rows, taken in chosen])
        flow = np.concatenate([np.flatnonzero(taken) for _, taken in chosen])
        noisy = Places(data.countries).flows(data.revision, data.code, data.year, data.sender, data.receiver)
        plain += np.bincount(row, data.amount[flow], len(plain))
        sums = weighed(row, len(plain), noisy[flow], data.amount[flow], noise.precision)
        for table, columns in zip(noise.flows("v"), draws.blocks, strict=True):
            found[:, columns] += sums @ table
    found[:, 0] = plain
    return DirectSums(found[:n], found[n : 2 * n], *found[2 * n :])


def direct_in_draws(sums: DirectSums, members: Truths, union: Truths, focus: str, *, bloc: bool) -> dict[str, Floats]:
    """C1, C2, C4a, C5, S1, S1b and S2 in every column, as :func:`ketenpipe.risk.direct.direct_indicators` has them.

    Args:
        sums: of the flows.
        members, union: as given to :func:`sum_flows`.
        focus: its name: S1b is of the EU27 only, and in a bloc that is no union what members buy of members outside the
            EU27 counts as from outside.
        bloc: the focus is a bloc.

    Returns:
        Indicator -> shape (columns), NaN where it cannot be had; ``M`` is the sum of the imports.
    """
    bought, others = sums.bought, sums.sold[~members]
    imports, third = bought.sum(axis=0), bought[~union]
    extra = third.sum(axis=0)
    if bloc and focus not in UNIONS:
        extra = extra + sums.between
    world = others.sum(axis=0) + sums.out
    top, columns = bought.argmax(axis=0), np.arange(len(imports))
    elsewhere = sums.sold - bought
    alternative = elsewhere[~members].sum(axis=0) - elsewhere[top, columns]
    largest = bought[top, columns]
    with np.errstate(divide="ignore", invalid="ignore"):
        found = {
            "M": imports,
            "C1": (bought * bought).sum(axis=0) / (imports * imports),
            "C2": ((others * others).sum(axis=0) + sums.out * sums.out) / (world * world),
            "C4a": third.max(axis=0, initial=0.0) / imports,
            "C5": extra / (imports + sums.within),
            "S1": imports / np.where(sums.out > 0, sums.out, np.nan),
            "S2": np.maximum(alternative, 0.0) / np.where(largest > 0, largest, np.nan),
        }
        if focus == EU27:
            sold = sums.out + sums.within
            found["S1b"] = imports / np.where(sold > 0, sold, np.nan)
    return found


def persistent(holds: Floats, before: Sequence[float], limits: Thresholds) -> Floats:
    """GeoDep over its window: 1, 0, or NaN where the unknown years could make it.

    Args:
        holds: the criteria in the year itself, shape (columns).
        before: the same in the years before, 1, 0 or NaN; a year that is missing is unknown.
        limits: for the window.
    """
    past = np.full(limits.P1.window - 1, np.nan)
    past[: len(before)] = before[: len(past)]
    sure = (past == 1).sum() + (holds == 1)
    unsure = np.isnan(past).sum() + np.isnan(holds)
    return np.where(sure >= limits.P1.at_least, 1.0, np.where(sure + unsure >= limits.P1.at_least, np.nan, 0.0))


# -- what a year's groups have in common --------------------------------------------------------------------------

#: Statuses of nodes that have figures.
WITH_FIGURES = ("traded", "production")
#: The key of table ``indicators`` within a year.
PLACE = tuple(k for k in INDICATORS.key if k != "year")


@dataclass(frozen=True)
class Published:
    """What stands in table ``chain_indicators`` of one year, by its key without the year.

    Args:
        reasons: (focus, level, code, HS revision, group, tier, indicator, measure, basis) -> reason.
        confidence: (focus, group, node) -> confidence of C4b on the traced supply.
        basis: (focus, group) -> node -> basis of its T, for the nodes that were looked through.
        earlier: GeoDep's criteria of nodes in the years before, the latest first:
            (focus, HS revision, node) -> 1, 0 or -1.
    """

    reasons: Mapping[tuple[Any, ...], str | None]
    confidence: Mapping[tuple[str, str, str], str | None]
    basis: Mapping[tuple[str, str], Mapping[str, str]]
    earlier: Sequence[Mapping[tuple[str, str, str], int]]

    @classmethod
    def of(cls, chain_indicators: pa.Table, year: int, thresholds: Thresholds) -> Published:
        """Index a year, and the years before it that the window of GeoDep asks for."""
        held = chain_indicators.column("year")
        earlier = []
        for back in range(1, with_frozen_limits(thresholds).P1.window):
            nodes = (pc.field("level") == "node") & (pc.field("year") == year - back)
            earlier.append(single_year_verdicts(chain_indicators.filter(nodes), thresholds))
        rows = chain_indicators.filter(pc.equal(held, year)).select([*PLACE, "reason", "confidence"]).to_pylist()
        confidence: dict[tuple[str, str, str], str | None] = {}
        basis: dict[tuple[str, str], dict[str, str]] = {}
        for row in rows:
            if row["level"] != "node":
                continue
            if row["indicator"] == "T":
                basis.setdefault((row["focus"], row["group"]), {})[row["code"]] = row["basis"]
            if row["indicator"] == "C4b":
                confidence[row["focus"], row["group"], row["code"]] = row["confidence"]
        return cls({tuple(row[k] for k in PLACE): row["reason"] for row in rows}, confidence, basis, earlier)

    def has(self, place: Mapping[str, Any], indicator: str) -> bool:
        """Whether a figure is published."""
        return self._key(place, indicator) in self.reasons

    def reason(self, place: Mapping[str, Any], indicator: str) -> str | None:
        """The reason beside a published figure.

        Raises:
            WrongUse: there is no such figure.
        """
        key = self._key(place, indicator)
        if key not in self.reasons:
            raise WrongUse(
                f"table chain_indicators has no {indicator} of {place['level']} {place['code']} for {place['focus']} "
                f"in {place['year']}; make it from the same catalogue and data as the draws"
            )
        return self.reasons[key]

    @staticmethod
    def _key(place: Mapping[str, Any], indicator: str) -> tuple[Any, ...]:
        return tuple(indicator if k == "indicator" else place[k] for k in PLACE)


class _Year:
    """One year in every column: scores, codes, world mixes; each made when it is first asked for."""

    def __init__(self, world: World, year: int, noise: Noise, published: Published) -> None:
        self.world, self.year, self.noise, self.published = world, year, noise, published
        reference = world.reference
        self.flows = {(c.revision, c.code): c for c in read_codes(world.flows, reference, world.statistics.get(year))}
        named = {c for flows in self.flows.values() for c in flows.countries}
        if year in world.statistics:
            named.update(world.statistics[year]["country"])
        named.update(f.country for f in reference.producer_figures)
        self.countries = (*sorted(named - {UNKNOWN}), UNKNOWN)
        self.place = {c: k for k, c in enumerate(self.countries)}
        self.known = self._among(set(self.countries) - {UNKNOWN})
        self.union = self._among(reference.bloc_members(EU27, year))
        self.members = {f: self._among(focus_members(reference, f, [year])[year]) for f in world.foci}
        self.risk = self._scores()
        self._codes: dict[tuple[str, str], TracedCode | None] = {}
        self._locks: dict[tuple[str, str], threading.Lock] = {}
        self._lock = threading.Lock()

    @property
    def columns(self) -> int:
        """How many columns there are."""
        return self.noise.draws.columns

    def single(self, focus: str) -> bool:
        """Whether a focus is a country."""
        return focus not in self.world.reference.bloc_names

    def _among(self, chosen: Iterable[str]) -> Truths:
        held = set(chosen)
        return np.array([c in held for c in self.countries], dtype=bool)

    def _scores(self) -> Floats:
        """G1, shape (countries, columns); NaN without a score."""
        found = np.full((len(self.countries), self.columns), np.nan)
        scores = self.world.country_risk.filter(pc.equal(self.world.country_risk.column("year"), self.year))
        for row in scores.to_pylist():
            at = self.place.get(row["country"])
            if at is not None and row["risk"] is not None:
                found[at] = self.noise.risk(row["country"], self.year, row["estimate"], row["standard_error"])
                found[at, 0] = row["risk"]
        return found

    def at(self, countries: Sequence[str]) -> Integers:
        """Places of countries."""
        return np.array([self.place[c] for c in countries], dtype=np.int64)

    def code(self, revision: str, code: str) -> TracedCode | None:
        """One HS6 code by mass; None where the year's data hold nothing of it."""
        key = (revision, code)
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            if key not in self._codes:
                self._codes[key] = self._drawn(key)
            return self._codes[key]

    def forget(self, revision: str, code: str) -> None:
        """Give a code's arrays away; asked for again it is made again."""
        self._codes.pop((revision, code), None)

    def _drawn(self, key: tuple[str, str]) -> TracedCode | None:
        held = self.flows.get(key)
        if held is None:
            return None
        drawn = DrawnCode(held.measured("q"), self.noise)
        return TracedCode(drawn, self.noise.draws) if drawn.base.supply.any() else None

    def node(self, node: str, revision: str) -> DrawnNode | None:
        """The matrices of a node; None where none of its codes is in the year's data."""
        codes = self.world.reference.codes(node, revision)
        drawn = tuple(held for code in codes if (held := self.code(revision, code)) is not None)
        if not drawn:
            return None
        return DrawnNode(drawn, tuple(self.at(d.countries) for d in drawn), len(self.countries), self.columns)

    def mix(self, mix: WorldMix | None) -> Floats | None:
        """A world production mix, shape (countries, columns): each producer's part times its factor, summing to 1.

        What no figure covers keeps its part of the whole.
        """
        if mix is None:
            return None
        names = tuple(sorted(mix.shares))
        rows = Places(names).makers(f"material {mix.material}", self.year)
        factors = self.noise.production(mix.basis)[rows]
        found = np.zeros((len(self.countries), self.columns))
        for name, factor in zip(names, factors, strict=True):
            found[self.place[name]] = mix.shares[name] * (1.0 if name == UNKNOWN else factor)
        return summing_to_one(found)


# -- the figures of a group ---------------------------------------------------------------------------------------


@dataclass
class Drawn:
    """Figures and verdicts of a few places, in every column.

    Args:
        figures: the key columns of ``indicators`` and the values.
        verdicts: the key columns of ``flags``, the raw verdict, and the one that may be told.
    """

    figures: list[tuple[dict[str, Any], Floats]] = field(default_factory=list)
    verdicts: list[tuple[dict[str, Any], Floats, Floats]] = field(default_factory=list)

    def add(self, base: Mapping[str, Any], indicator: str, values: Floats) -> None:
        """A figure."""
        self.figures.append(({**base, "indicator": indicator}, values))

    def judge(self, base: Mapping[str, Any], method: str, raw: Floats, told: Floats | None = None) -> None:
        """A verdict; told as it is unless another is given."""
        place = {k: v for k, v in base.items() if k in FLAGS.key}
        self.verdicts.append(({**place, "method": method}, raw, raw if told is None else told))

    def again(self, head: str, group: str) -> None:
        """What stands at the product's node, at level group as well."""
        as_group = {"level": "group", "code": group}

        def of_product(place: Mapping[str, Any]) -> bool:
            return place["level"] == "node" and place["code"] == head and place["tier"] == 0

        self.figures += [({**at, **as_group}, values) for at, values in self.figures if of_product(at)]
        self.verdicts += [({**at, **as_group}, raw, told) for at, raw, told in self.verdicts if of_product(at)]


@dataclass(frozen=True)
class SeenInDraws:
    """A node of a chain as a focus sees it.

    Args:
        vector: origins, shape (countries, columns), summing to 1.
        world_mix: the same vector for every country.
        tier: its tier.
        weight: its path weight, shape (columns); None where it is not known.
        test, told: T, and T where it may be told, shape (columns).
        g3: G3, shape (columns).
    """

    vector: Floats
    world_mix: bool
    tier: int
    weight: Floats | None
    test: Floats
    told: Floats
    g3: Floats


class _Group:
    """One group in one year."""

    def __init__(self, year: _Year, group: str, rows: Mapping[str, Mapping[str, Any]]) -> None:
        reference = year.world.reference
        self.year, self.group, self.rows, self.out = year, group, rows, Drawn()
        self.limits = year.world.thresholds
        self.head = reference.groups[group].node
        self.revision = rows[self.head]["hs_revision"]
        weights = edge_weights(reference.edges_of(group), year.noise)
        self.chain = ChainInDraws(group, self.head, rows, reference.graph(group), weights, year.columns)
        self.traded = [n for n, row in rows.items() if row["status"] == "traded"]

    @cached_property
    def matrices(self) -> dict[str, DrawnNode | None]:
        """The matrices of the traded nodes; None where no code of a node is in the year's data."""
        return {n: self.year.node(n, self.rows[n]["hs_revision"]) for n in self.traded}

    def drawn(self) -> Drawn:
        """All figures and verdicts of the group's nodes and of its chain."""
        made = {node: self._world_production(node) for node, r in self.rows.items() if r["status"] in WITH_FIGURES}
        shares: dict[tuple[str, str], Floats] = {}
        for focus in self.year.world.foci:
            published = self.year.published.basis.get((focus, self.group), {})
            if self.head in published:
                seen = self._look_through(focus, published, shares)
                self._links(focus, seen, made)
        for node in self.traded:
            self._direct(node, shares)
        self.out.again(self.head, self.group)
        return self.out

    def _base(self, focus: str, node: str, measure: str, basis: str) -> dict[str, Any]:
        row = self.rows[node]
        return {
            "focus": focus, "level": "node", "code": node, "hs_revision": row["hs_revision"], "group": self.group,
            "tier": row["tier"], "year": self.year.year, "measure": measure, "basis": basis,
        }  # fmt: skip

    def _world_production(self, node: str) -> Floats | None:
        """C3, G2 and G3 over all producers, and TNO's verdict on them; gives that verdict, None without a mix."""
        year, row = self.year, self.rows[node]
        mix = mix_of_node(year.world, node, row["hs_revision"], year.year)
        if mix is None and not year.world.reference.nodes[node].material:
            return None
        shares = year.mix(mix)
        nothing = np.full(year.columns, np.nan)
        plane = DrawnPlane(nothing, nothing, nothing, nothing)
        if shares is not None:
            plane = plane_in_draws(shares, year.known, year.risk)
        verdict = and_(above(plane.o1, self.limits.C3.flag), above(plane.g2, self.limits.G2.flag))
        for focus in year.world.foci:
            base = self._base(focus, node, "p", "observed" if mix is None else mix.basis)
            for indicator, values in (("C3", plane.o1), ("G2", plane.g2), ("G3", plane.g3)):
                self.out.add(base, indicator, values)
            self.out.judge(base, "tno", verdict)
        return None if mix is None else verdict

    def _look_through(
        self, focus: str, published: Mapping[str, str], shares: dict[tuple[str, str], Floats]
    ) -> dict[str, SeenInDraws]:
        """The plane of every node as a focus sees it; keeps C4b by focus and node."""
        year, limits, product = self.year, self.limits, self.matrices[self.head]
        if product is None:
            raise self._lacking(self.head)
        members, single = year.members[focus], year.single(focus)
        reference, mined = year.world.reference, year.world.statistics.get(year.year)
        vectors = self.chain.vectors(
            product.own(members, single=single),
            lambda node: year.mix(node_mix(reference, mined, node, year.year)),
            self.matrices.__getitem__,
        )
        found = {}
        for node, basis in published.items():
            if node not in vectors:
                raise self._lacking(node)
            vector, world_mix = summing_to_one(vectors[node]), basis == WORLD_MIX
            plane = plane_in_draws(vector, year.known & ~members, year.risk)
            test = and_(above(plane.o1, limits.T_hhi.flag), above(plane.g2, limits.T_wgi.flag))
            base = self._base(focus, node, "p" if world_mix else "q", basis)
            told = told_of(test, year.published.reason(base, "T"))
            for indicator, values in (
                ("O1", plane.o1), ("O1r", plane.o1_renormalised), ("G2", plane.g2), ("G3", plane.g3), ("T", test),
            ):  # fmt: skip
                self.out.add(base, indicator, values)
            self.out.judge(base, "node_test", test, told)
            steps = self.matrices.get(node)
            if steps is not None and year.published.has(base, "C4b"):
                own = vector if node == self.head else steps.own(members, single=single)
                third = own[year.known & ~members & ~year.union].max(axis=0, initial=0.0)
                shares[focus, node] = third
                self.out.add(base, "C4b", third)
            weight = self.chain.path_weights[node]
            found[node] = SeenInDraws(vector, world_mix, self.rows[node]["tier"], weight, test, told, plane.g3)
        return found

    def _lacking(self, node: str) -> WrongUse:
        return WrongUse(
            f"the flows of {self.year.year} have no {node}, which table chain_indicators has in group {self.group}; "
            "give both of the same sources"
        )

    def _links(self, focus: str, nodes: Mapping[str, SeenInDraws], made: Mapping[str, Floats | None]) -> None:
        """X1, X1g, X2, hidden exposure, with the verdicts of both indirect methods."""
        year, head = self.year, nodes[self.head]
        place = {**self._base(focus, self.head, "q", "traced"), "level": "group", "code": self.group}
        on_world = {**place, "measure": "p", "basis": WORLD_MIX}
        status = {row["status"] for row in self.rows.values()}
        raw, told = specific_link(nodes, self.head, self.limits, status)
        self.out.add(place, "X1", raw)
        self.out.judge(place, "indirect_specific", raw, told)

        upstream = [n for n, s in nodes.items() if s.tier >= 1]
        tested = [verdict for n in upstream if nodes[n].tier <= MAX_TIER and (verdict := made.get(n)) is not None]
        passing = or_(tested, year.columns)
        if not tested and (upstream or status & {"missing", "dashed", "cut_off"}):
            passing = np.full(year.columns, np.nan)
        raw = and_(not_(head.test), passing)
        self.out.add(on_world, "X1g", raw)
        # World production is observed: what passes upstream stands where the product fails by its figures, told or not.
        told = np.where(raw == 1, 1.0, and_(not_(head.told), passing))
        self.out.judge(on_world, "indirect_global", raw, told)

        for base, world_mix, suffix in ((place, False, ""), (on_world, True, "_global")):
            chosen = [s for s in nodes.values() if s.world_mix == world_mix]
            if chosen:
                self.out.add(base, f"X2{suffix}", weakest_link(chosen))
            foreign = year.known & ~year.members[focus]
            gaps = [hidden_exposure(s.vector, head.vector, foreign) for s in chosen if s.tier >= 1]
            if year.published.has(base, f"hidden_exposure{suffix}"):
                self.out.add(base, f"hidden_exposure{suffix}", np.fmax.reduce(gaps))

    def _direct(self, node: str, shares: Mapping[tuple[str, str], Floats]) -> None:
        """The direct figures by value of a node's summed codes, and the verdicts of the methods that read them."""
        year, limits = self.year, self.limits
        revision = str(self.rows[node]["hs_revision"])
        codes = [
            held
            for code in year.world.reference.codes(node, revision)
            if (held := year.flows.get((revision, code))) is not None
        ]
        if not codes:
            return
        at = [year.at(c.countries) for c in codes]
        for focus in year.world.foci:
            members = year.members[focus]
            sums = sum_flows(codes, at, members, year.union, year.noise)
            figures = direct_in_draws(sums, members, year.union, focus, bloc=not year.single(focus))
            imports = self._base(focus, node, "v", "imports")
            for indicator, values in figures.items():
                if indicator != "M":
                    exports = indicator in ("C2", "S2")
                    self.out.add({**imports, "basis": "exports"} if exports else imports, indicator, values)
            some = figures["M"] > 0
            # The published methods give imports without exports their sentinel.
            s1, s1b = (
                np.where(np.isnan(v) & some, limits.S1.sentinel, v)
                for v in (figures["S1"], figures.get("S1b", figures["S1"]))
            )
            c1, frozen = figures["C1"], with_frozen_limits(limits)
            holds = and_(
                and_(above(c1, frozen.C1.flag), above(figures["C2"], frozen.C2.flag)), above(s1, frozen.S1.flag)
            )
            holds = np.where(some, holds, np.nan)
            before = [held.get((focus, revision, node), -1) for held in year.published.earlier]
            known = [np.nan if b < 0 else float(b) for b in before]
            self.out.judge(imports, "geodep", persistent(holds, known, frozen))
            if focus == EU27:
                third = and_(above(figures["C5"], frozen.C5.flag), above(s1b, frozen.S1b.flag))
                self.out.judge(imports, "swd2021", and_(above(c1, frozen.C1.flag), third))
            self.out.judge(imports, "cbs", above(c1, frozen.C1.high))
            traced = shares.get((focus, node)) if self._usable(focus, node) else None
            self.out.judge(imports, "crma65", above(figures["C4a"] if traced is None else traced, frozen.C4.flag))

    def _usable(self, focus: str, node: str) -> bool:
        """Whether C4b decides for the law's benchmark: observed production, confidence not low."""
        base = self._base(focus, node, "q", "traced")
        if not self.year.published.has(base, "C4b"):
            return False
        reason = self.year.published.reason(base, "C4b") or ""
        proxied = "export_proxy" in reason or "producer_list" in reason
        return not proxied and self.year.published.confidence[focus, self.group, node] != "low"


def told_of(test: Floats, reason: str | None) -> Floats:
    """T where it may be told: a proxy tells nothing, and little mass or a precious metal clears nobody.

    Args:
        test: T, shape (columns).
        reason: what stands beside the published T.
    """
    if "export_proxy" in (reason or ""):
        return np.full_like(test, np.nan)
    return np.where(test == 0, np.nan, test) if "small_or_precious" in (reason or "") else test


def specific_link(
    nodes: Mapping[str, SeenInDraws], head: str, limits: Thresholds, status: set[str]
) -> tuple[Floats, Floats]:
    """X1: tier 0 fails T, a buyer-specific node of tier 1-2 whose path weighs enough *in that column* passes it.

    Where no node is heavy enough, it is false; but unknown where a path's weight is not known, or where steps upstream
    have no data, unless the product itself passes.

    Args:
        nodes: the chain as the focus sees it.
        head: the product.
        limits: for the least path weight.
        status: of all nodes of the chain.

    Returns:
        The raw verdict, and the one that may be told.
    """
    product = nodes[head]
    near = [s for s in nodes.values() if not s.world_mix and 1 <= s.tier <= MAX_TIER]
    heavy = [(s, s.weight >= limits.X1_weight.at_least) for s in near if s.weight is not None]
    columns = len(product.test)
    somebody = or_((h.astype(float) for _, h in heavy), columns) > 0
    blind = any(s.weight is None for s in near) if near else bool(status & {"dashed", "missing"})

    def verdict(own: Floats, tests: Iterable[Floats]) -> Floats:
        passing = or_((np.where(h, t, 0.0) for (_, h), t in zip(heavy, tests, strict=True)), columns)
        return and_(not_(own), np.where(somebody | (not blind), passing, np.nan))

    told = verdict(product.told, (s.told for s, _ in heavy))
    # A proxy clears nobody: where T of the product cannot be told, neither can X1, whatever lies upstream.
    return verdict(product.test, (s.test for s, _ in heavy)), np.where(np.isnan(product.told), np.nan, told)


def weakest_link(nodes: Sequence[SeenInDraws]) -> Floats:
    """X2: the largest path weight times ``sum_{c not in f} x_c^2 risk_c``; NaN where no node has both."""
    nothing = np.full_like(nodes[0].g3, np.nan)
    found: Floats = np.fmax.reduce([nothing if s.weight is None else s.weight * s.g3 / 10.0 for s in nodes])
    return found


def hidden_exposure(vector: Floats, start: Floats, foreign: Truths) -> Floats:
    """``max_{c not in f} x_node[c] - x_0[c]`` over the countries in the node's vector; NaN where none is foreign."""
    there = vector[foreign] > 0
    gaps = np.where(there, vector[foreign] - start[foreign], -np.inf).max(axis=0, initial=-np.inf)
    return np.where(there.any(axis=0), gaps, np.nan)


# -- all groups ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ChainDraws:
    """What the draws say of nodes and groups, each group in its newest year: ``uncertainty`` and ``drawn_verdicts``."""

    uncertainty: pa.Table
    verdicts: pa.Table


def newest_years(chain_nodes: pa.Table, chain_indicators: pa.Table) -> dict[str, int]:
    """Group -> the newest year in which it could be looked through; of a group without any, the newest of all.

    Args:
        chain_nodes: says which groups there are.
        chain_indicators: columns ``level, group, indicator, year`` are enough.
    """
    looked = chain_indicators.filter((pc.field("level") == "node") & (pc.field("indicator") == "T"))
    found = looked.group_by("group").aggregate([("year", "max")])
    years = dict(zip(found.column("group").to_pylist(), found.column("year_max").to_pylist(), strict=True))
    newest = max(years.values(), default=None)
    groups = chain_nodes.column("group").unique().to_pylist()
    return {g: int(y) for g in sorted(groups) if (y := years.get(g, newest)) is not None}


def build_chain_draws(
    flows: Callable[[int], pa.Table],
    *,
    chain_nodes: pa.Table,
    chain_indicators: pa.Table,
    mining: pa.Table | None,
    country_risk: pa.Table,
    reference: Reference,
    foci: Sequence[str],
    thresholds: Thresholds,
    model: Uncertainty,
    draws: Draws,
    progress: Callable[[str], None] | None = None,
) -> ChainDraws:
    """The draws of every group and its nodes, each in the newest year that the group was looked through.

    What a group's figures are does not depend on the other groups; its ranks, of course, do.

    Args:
        flows: gives ``baci_flows`` of a year; the catalogue's codes are enough.
        chain_nodes: table of that name.
        chain_indicators: the published figures, of the newest years and of the years before that GeoDep looks at: which
            figures there are, and what stands beside them.
        mining: table ``mining_production``, None without such a source.
        country_risk: table of that name.
        reference: the catalogue that the tables were made from.
        foci: countries and blocs.
        thresholds: cut-offs.
        model: how far the inputs are off.
        draws: how many, of which seed; all families have columns of their own.
        progress: called with the name of each group that is done.

    Raises:
        WrongUse: a group is not in the catalogue, the flows lack a product that was looked through, or a figure that
            can be drawn is not among the published ones.
    """
    noise = Noise(Draws(draws.count, draws.seed), model, np.float32)
    newest = newest_years(chain_nodes, chain_indicators)
    if strange := sorted(set(newest) - set(reference.groups)):
        raise WrongUse(f"table chain_nodes has the group {strange[0]}, which the catalogue has not; make it again")
    plan: dict[str, dict[str, dict[str, Any]]] = {}
    for row in chain_nodes.to_pylist():
        plan.setdefault(row["group"], {})[row["node"]] = row
    found = _Tables(noise, thresholds)
    for year in sorted(set(newest.values())):
        world = _world(flows(year), chain_nodes, mining, country_risk, reference, tuple(foci), thresholds)
        held = _Year(world, year, noise, Published.of(chain_indicators, year, thresholds))
        chosen = {g: plan[g] for g, newest_year in newest.items() if newest_year == year}
        for group, drawn in _draw_groups(held, chosen):
            found.take(drawn, held.published)
            if progress:
                progress(group)
    return ChainDraws(found.uncertainty(), found.verdicts())


def _world(
    flows: pa.Table,
    chain_nodes: pa.Table,
    mining: pa.Table | None,
    country_risk: pa.Table,
    reference: Reference,
    foci: tuple[str, ...],
    thresholds: Thresholds,
) -> World:
    """A world without what the draws make themselves."""
    tracing = Tracing(*(t.empty() for t in (PRODUCTION, ORIGIN_MIX, TRACING, SUPPLY_MIX)))
    exposure = Exposure(chain_nodes, CHAIN_EDGES.empty(), EXPOSURE.empty())
    return World(flows, tracing, exposure, mining, country_risk, reference, foci, thresholds)


def _draw_groups(year: _Year, groups: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Iterator[tuple[str, Drawn]]:
    """Figures and verdicts, group by group; a code's arrays are kept until the last group that reads them is done."""
    codes = {group: _codes_of(year.world.reference, rows) for group, rows in groups.items()}
    left = Counter(key for keys in codes.values() for key in keys)

    def drawn(group: str) -> Drawn:
        return _Group(year, group, groups[group]).drawn()

    with threadpool_limits(limits=1), ThreadPoolExecutor(WORKERS) as pool:
        running = [(group, pool.submit(drawn, group)) for group in groups]
        try:
            while running:
                group, task = running.pop(0)
                yield group, task.result()
                for key in codes[group]:
                    left[key] -= 1
                    if not left[key]:
                        year.forget(*key)
        finally:
            for _, task in running:
                task.cancel()


def _codes_of(reference: Reference, rows: Mapping[str, Mapping[str, Any]]) -> set[tuple[str, str]]:
    """The codes of a group's traded nodes."""
    traded = [(n, str(r["hs_revision"])) for n, r in rows.items() if r["status"] == "traded"]
    return {(revision, code) for node, revision in traded for code in reference.codes(node, revision)}


class _Tables:
    """The rows of both tables as the groups come: what is kept of each is little."""

    def __init__(self, noise: Noise, limits: Thresholds) -> None:
        self._draws, self._limits = noise.draws, limits
        self._rows: list[dict[str, Any]] = []
        self._verdicts: list[dict[str, Any]] = []
        self._ranked: dict[tuple[Any, ...], list[tuple[int, Floats]]] = {}

    def take(self, drawn: Drawn, published: Published) -> None:
        """Summarise a group's draws."""
        draws = self._draws
        # Where the published figure cannot be had, neither can its draws.
        values = np.array([np.where(np.isnan(v[0]), np.nan, v) for _, v in drawn.figures]).reshape(-1, draws.columns)
        found = summarise(values, draws)
        for k, (place, _) in enumerate(drawn.figures):
            limit: Limit | None = getattr(self._limits, LIMITS.get(place["indicator"], ""), None)
            most = int(found.matters_most[k])
            row = {
                **place,
                "value": found.value[k],
                "draws": int(found.draws[k]),
                "low": found.low[k],
                "high": found.high[k],
                "mean": found.mean[k],
                "threshold": None if limit is None else limit.flag,
                "flag_share": self._flag_share(place["indicator"], limit, values[k : k + 1]),
                "matters_most": draws.families[most] if most >= 0 else None,
                "reason": published.reason(place, place["indicator"]),
                "method_version": METHOD_VERSION,
            }
            if place["level"] == "group" and place["indicator"] in RANKED and not np.isnan(found.value[k]):
                key = tuple(place[n] for n in ("focus", "hs_revision", "year", "indicator", "measure", "basis"))
                self._ranked.setdefault(key, []).append((len(self._rows), values[k, : draws.drawn.stop]))
            self._rows.append(row)
        for place, raw, told in drawn.verdicts:
            there = ~np.isnan(raw[draws.drawn])
            passing = (raw[draws.drawn] == 1).sum()
            self._verdicts.append(
                {
                    **place,
                    "draws": draws.count,
                    "flagged_share": passing / there.sum() if there.any() else None,
                    "verdict_share": there.mean(),
                    "told_share": (~np.isnan(told[draws.drawn])).mean(),
                    "method_version": METHOD_VERSION,
                }
            )

    def _flag_share(self, indicator: str, limit: Limit | None, values: Floats) -> float | None:
        if limit is None and indicator not in VERDICTS:
            return None
        flag = 0.5 if limit is None else limit.flag
        below = limit is not None and limit.below
        return float(flag_share(values, self._draws, lambda v: v < flag if below else v > flag)[0])

    def uncertainty(self) -> pa.Table:
        """Table ``uncertainty``, ranks included."""
        for held in self._ranked.values():
            every = ranks(np.array([values for _, values in held]))
            low, high = np.quantile(every[:, 1:], [LOW, HIGH], axis=1, method="inverted_cdf")
            for k, (row, _) in enumerate(held):
                self._rows[row] |= {
                    "rank": int(every[k, 0]),
                    "rank_low": int(low[k]),
                    "rank_high": int(high[k]),
                    "ranked": len(held),
                }
        return UNCERTAINTY.conform(self._rows)

    def verdicts(self) -> pa.Table:
        """Table ``drawn_verdicts``."""
        return DRAWN_VERDICTS.conform(self._verdicts)
