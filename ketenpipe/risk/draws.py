"""Monte Carlo: inputs drawn within their errors, and the supply mix of one code in every draw.

Belongs here: the order of the draws, their noise, the balance and the tracing of a code in all draws at once, and what
is said of a figure's draws. Does not belong here: which figures are drawn (:mod:`ketenpipe.risk.product_draws`).

**Columns.** Whatever is drawn has an axis of :attr:`Draws.columns` columns. Column 0 has no noise: it is the published
figure. Then come the draws, in which every family of inputs is off. Then come, for every family, some columns in which
that family alone is off, by the same errors as in the first draws: what a figure does there is what the family
contributes to its variance.

**Noise.** The factors of a family stand in one table of :data:`ROWS` rows; which row is a flow's is a hash of its code,
year, exporter and importer. So a figure depends on the seed and on its own inputs only: not on the other products of a
run, their order, or the number of workers. Two flows of one code share a row with chance ``1 / ROWS``; the variance of
a sum of n equal flows is larger for it by the part ``(n - 1) / ROWS`` in the mean. Tables take some 16 kB a draw each,
in double precision twice that.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from scipy.sparse import csr_array

from ketenpipe.chain.catalogue import Reference
from ketenpipe.chain.matrices import Links, Production, balance, consumption, trace_rows
from ketenpipe.chain.tracing import UNKNOWN, Statistic, production_statistic
from ketenpipe.errors import WrongUse
from ketenpipe.risk.uncertainty import Uncertainty

Floats = npt.NDArray[np.floating[Any]]
Integers = npt.NDArray[np.int64]
Truths = npt.NDArray[np.bool_]
Words = npt.NDArray[np.uint64]

FLOWS, PRODUCTION, GOVERNANCE, INTENSITIES = FAMILIES = ("flows", "production", "governance", "intensities")
"""Families of inputs that are off together."""
ALONE = 64
"""Columns in which one family alone is off."""
ROWS = 4096
"""Rows of a table of noise."""
ON_ITS_WAY = 1e-7
"""Supply is followed until no more than this share of it is on its way in any column."""
MOST_HOPS = 200
"""A column that takes more hops is solved by itself."""
BLOCK = 512
"""Columns that are dealt with at once: what they need stays near the processor."""
NOTHING = 1e-6
"""Consumption up to this part of the supply is what single precision leaves of nothing."""


@dataclass(frozen=True)
class Draws:
    """How many draws there are, of which seed, and where they stand among the columns.

    Args:
        count: number of draws in which everything is off.
        seed: of all noise.
        families: those that also have columns of their own.
    """

    count: int
    seed: int
    families: tuple[str, ...] = FAMILIES

    def __post_init__(self) -> None:
        if self.count < 1:
            raise WrongUse(f"{self.count} draws are none; a Monte Carlo takes 1 or more")
        if self.seed < 0:
            raise WrongUse(f"{self.seed} is no seed; it is a whole number from 0")

    @property
    def alone(self) -> int:
        """Columns of each family."""
        return min(self.count, ALONE)

    @property
    def columns(self) -> int:
        """All columns."""
        return 1 + self.count + self.alone * len(self.families)

    @property
    def drawn(self) -> slice:
        """The columns in which every family is off."""
        return slice(1, 1 + self.count)

    @property
    def blocks(self) -> list[slice]:
        """The columns, :data:`BLOCK` at a time."""
        return [slice(start, min(start + BLOCK, self.columns)) for start in range(0, self.columns, BLOCK)]

    def only(self, family: str) -> slice:
        """The columns in which one family alone is off."""
        start = 1 + self.count + self.alone * self.families.index(family)
        return slice(start, start + self.alone)

    def generator(self, *names: str | int) -> np.random.Generator:
        """A generator of its own for whatever has these names; the same for the same seed and names."""
        words = [self.seed, *(_number(f"{type(n).__name__}:{n}") for n in names)]
        return np.random.Generator(np.random.SFC64(np.random.SeedSequence(words)))

    def errors(self, family: str, *names: str | int, rows: int = 1) -> Floats:
        """Standard normal errors, shape (rows, columns); 0 where the family is not off."""
        drawn = self.generator(*names).standard_normal((rows, self.count))
        found = np.zeros((rows, self.columns))
        found[:, self.drawn] = drawn
        if family in self.families:
            found[:, self.only(family)] = drawn[:, : self.alone]
        return found

    def factors(self, family: str, log_sd: float, *names: str | int, rows: int = 1) -> Floats:
        """Lognormal factors ``exp(s z - s^2/2)`` with mean 1, shape (rows, columns); 1 where the family is not off."""
        found = self.errors(family, *names, rows=rows)
        found *= log_sd
        found[:, self.drawn] -= log_sd**2 / 2.0
        if family in self.families:
            found[:, self.only(family)] -= log_sd**2 / 2.0
        return np.exp(found, out=found)


@lru_cache(4096)
def _number(text: str) -> int:
    """64 bits of a text, the same everywhere."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


def _mixed(words: Words) -> Words:
    """The finaliser of splitmix64: every bit of the result hangs on every bit of the word."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


@dataclass
class Noise:
    """The tables of noise of a run, each made when it is first asked for.

    Args:
        draws: how many, of which seed.
        model: how far the inputs are off.
        precision: of what is computed with noise. Column 0 has double precision whatever it is.
    """

    draws: Draws
    model: Uncertainty
    precision: type[np.floating[Any]] = np.float64
    _tables: dict[str, Any] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def flows(self, measure: str) -> list[Floats]:
        """Factors of flows by value (v) or mass (q): per block of columns, shape (ROWS, columns)."""
        spread = self.model.flows_v if measure == "v" else self.model.flows_q

        def made() -> list[Floats]:
            factors = self._factors(FLOWS, f"flows_{measure}", spread.log_sd)
            return [np.ascontiguousarray(factors[:, at]) for at in self.draws.blocks]

        found: list[Floats] = self._kept(f"flows_{measure}", made)
        return found

    def production(self, basis: str) -> Floats:
        """Factors of production: observed, producer_list or imputed; shape (ROWS, columns)."""
        spread = {
            "observed": self.model.production_observed,
            "producer_list": self.model.production_listed,
            "imputed": self.model.production_imputed,
        }[basis]
        name = f"production_{basis}"
        found: Floats = self._kept(name, lambda: self._factors(PRODUCTION, name, spread.log_sd))
        return found

    def _factors(self, family: str, name: str, log_sd: float) -> Floats:
        return self.draws.factors(family, log_sd, "table", name, rows=ROWS).astype(self.precision)

    def _kept(self, name: str, make: Callable[[], Any]) -> Any:
        with self._lock:
            if name not in self._tables:
                self._tables[name] = make()
            return self._tables[name]

    def risk(self, country: str, year: int, estimate: float, standard_error: float | None = None) -> Floats:
        """G1 of a country, ``clip((2.5 - estimate - e z)/5, 0, 1)``, shape (columns).

        Args:
            country, year: whose error it is; every product and focus meets the same.
            estimate: the score.
            standard_error: published with it; None: that of the model.
        """
        error = self.model.governance.standard_error if standard_error is None else standard_error
        drawn = self.draws.errors(GOVERNANCE, "governance", country, year)[0]
        return np.clip((2.5 - (estimate + error * drawn)) / 5.0, 0.0, 1.0)


class Places:
    """Rows in the tables of noise for what belongs to some countries.

    Args:
        countries: their codes.
    """

    def __init__(self, countries: Sequence[str]) -> None:
        self._words = np.array([_number(c) for c in countries], dtype=np.uint64)

    def flows(self, revision: str, code: str, year: int, sender: Integers, receiver: Integers) -> Integers:
        """The row of each flow; sender and receiver are numbers of countries."""
        word = np.uint64(_number(f"{revision} {code} {year}"))
        pair = _mixed(self._words[sender]) * np.uint64(3) + self._words[receiver]
        return (_mixed(_mixed(pair) ^ word) % np.uint64(ROWS)).astype(np.int64)

    def makers(self, what: str, year: int) -> Integers:
        """The row of what each country makes of something."""
        word = np.uint64(_number(f"production {what} {year}"))
        return (_mixed(_mixed(self._words) ^ word) % np.uint64(ROWS)).astype(np.int64)


def weighed(row: Integers, count: int, place: Integers, amount: Floats, precision: Any) -> csr_array:
    """What sums drawn flows: ``weighed(...) @ table`` is ``sum amount * table[place]`` per row, shape (count, columns).

    Args:
        row: of each flow, from 0 to count - 1.
        count: how many rows.
        place: the row of the table of each flow.
        amount: shape (flows).
        precision: type of the sums.
    """
    return csr_array((amount.astype(precision), (row, place)), shape=(count, ROWS))


@dataclass(frozen=True)
class CodeYear:
    """One code in one year and measure, as it is in the data.

    Args:
        revision, code, year: which.
        measure: q or v.
        countries: codes, rising, unknown origin among them.
        sender, receiver: numbers of countries, shape (flows); a pair stands once.
        amount: shape (flows), above 0.
        barred: bool, shape (countries): makes none.
        statistic: production, shape (countries), NaN where unknown; None for the export proxy.
        listed: bool, shape (countries): the statistic lists the country.
        basis: observed, producer_list or export_proxy.
    """

    revision: str
    code: str
    year: int
    measure: str
    countries: tuple[str, ...]
    sender: Integers
    receiver: Integers
    amount: Floats
    barred: Truths
    statistic: Floats | None = None
    listed: Truths | None = None
    basis: str = "export_proxy"


@dataclass(frozen=True)
class Balance:
    """The balance of a code in some columns; all shapes (countries, columns).

    Args:
        sold: exports.
        made: production as used, its errors included.
        unknown: supply of unknown origin.
        imputed: the part of production that is imputed, before its own errors.
        supply: ``made + unknown`` and imports.
        balanced: the same before production's own errors, which say nothing of who consumes.
    """

    sold: Floats
    made: Floats
    unknown: Floats
    imputed: Floats
    supply: Floats
    balanced: Floats

    def consumption(self, at: Integers | slice = slice(None)) -> Floats:
        """Apparent consumption ``max(0, balanced - sold)`` of some countries; what rounding leaves of nothing is 0."""
        sold, supply = self.sold[at], self.balanced[at]
        eaten = consumption(sold, supply)
        # A statistic makes the supply double, but not what the flows in it have lost.
        if sold.dtype == np.float32:
            eaten[eaten <= NOTHING * supply] = 0.0
        return eaten


@dataclass(frozen=True)
class Mix:
    """A mix of a code's supplies, and how its origins are found.

    Args:
        weights: per block of columns, shape (countries, columns).
        exact: origins without noise, shape (countries).
        kept: numbers of the flows that are followed.
        nodes: countries that those flows touch.
        receiver: place among the nodes of each kept flow's receiver.
        gather: sums kept flows per sender, shape (nodes, kept flows).
        lost: origins, without noise, of what is not followed; sums to 1.
        near: supply is followed until no more than this share is on its way.
    """

    weights: list[Floats]
    exact: Floats
    kept: Integers
    nodes: Integers
    receiver: Integers
    gather: csr_array
    lost: Floats
    near: float


@dataclass(frozen=True)
class CodeFlows:
    """The flows of one code in one year, in both measures, and what is known of its production.

    Args:
        revision, code, year: which.
        countries: codes, rising: all that trade or that the statistic lists, and unknown origin.
        sender, receiver: numbers of countries, shape (flows); a pair stands once, and nobody sends to itself.
        value: thousand USD, shape (flows).
        tonnes: NaN where null, shape (flows).
        statistic: production in tonnes; None for the export proxy.
        barred: countries that make none.
    """

    revision: str
    code: str
    year: int
    countries: tuple[str, ...]
    sender: Integers
    receiver: Integers
    value: Floats
    tonnes: Floats
    statistic: Statistic | None
    barred: frozenset[str]

    def measured(self, measure: str) -> CodeYear:
        """The flows by value (v) or mass (q), with the production of that measure; statistics are in tonnes only."""
        amount = self.value if measure == "v" else self.tonnes
        there = np.flatnonzero(amount > 0)
        barred = np.array([c in self.barred for c in self.countries])
        figures = listed = None
        basis = "export_proxy"
        if measure == "q" and self.statistic is not None:
            held = self.statistic.quantities
            figures = np.array([held.get(c, np.nan) for c in self.countries], dtype=float)
            listed = np.array([c in held for c in self.countries])
            basis = self.statistic.basis
        flows = (self.sender[there], self.receiver[there], amount[there])
        return CodeYear(
            self.revision, self.code, self.year, measure, self.countries, *flows, barred, figures, listed, basis
        )


def read_codes(flows: pa.Table, reference: Reference, mining: pd.DataFrame | None) -> Iterator[CodeFlows]:
    """The codes of some flows of one year, in the order of revision and code.

    Args:
        flows: rows of ``baci_flows``, all of each code: ``hs_revision, year, code, exporter, importer, value_kusd,
            tonnes``; in any order.
        reference: production links, producer lists, non-producers.
        mining: table ``mining_production``, None without such a source.
    """
    numbered = {}
    for name in ("hs_revision", "code", "exporter", "importer"):
        column = flows.column(name).cast(pa.string()).combine_chunks().dictionary_encode()
        words = np.array(column.dictionary.to_pylist(), dtype=object)
        rising = np.argsort(words)
        numbered[name] = np.argsort(rising)[column.indices.to_numpy()], words[rising]
    year = flows.column("year").to_numpy()
    value, tonnes = (
        flows.column(c).cast(pa.float64()).to_numpy(zero_copy_only=False) for c in ("value_kusd", "tonnes")
    )
    revision, code, exporter, importer = (numbers for numbers, _ in numbered.values())
    revisions, codes, exporters, importers = (words for _, words in numbered.values())
    order = np.lexsort((importer, exporter, code, revision))
    item = revision[order] * len(codes) + code[order]
    for rows in np.split(order, np.flatnonzero(np.diff(item)) + 1) if len(order) else ():
        hs, hs6 = str(revisions[revision[rows[0]]]), str(codes[code[rows[0]]])
        statistic = production_statistic(reference, mining, hs, hs6, int(year[rows[0]]))
        sender, receiver = exporters[exporter[rows]], importers[importer[rows]]
        listed = () if statistic is None else statistic.quantities
        countries = sorted({*sender.tolist(), *receiver.tolist(), *listed, UNKNOWN})
        number = {country: k for k, country in enumerate(countries)}
        abroad = sender != receiver
        yield CodeFlows(
            hs,
            hs6,
            int(year[rows[0]]),
            tuple(countries),
            np.array([number[c] for c in sender[abroad]], dtype=np.int64),
            np.array([number[c] for c in receiver[abroad]], dtype=np.int64),
            value[rows][abroad],
            tonnes[rows][abroad],
            statistic,
            frozenset(reference.non_producer_countries(hs6, hs)),
        )


class DrawnCode:
    """The balance of a code in every column, and rows of its supply-mix matrices.

    In every column flows and production are multiplied by their factors and the balance is made again
    (:func:`ketenpipe.chain.matrices.balance`: proxy, raised production, non-producers, supply of unknown origin). What
    is imputed then has a factor of its own. Exports may exceed supply after that; the rows of O, which are shares of
    supply, sum to 1 all the same. Who consumes is told before that factor: what a country makes beyond what it sells is
    not known, and a larger guess would turn every exporter into a consumer.

    Args:
        code: what is in the data.
        noise: tables of factors.
        places: rows of noise of the code's countries; made here without.

    Attributes:
        base: the balance without noise, one column.
        blocks: the balance in all columns, :data:`BLOCK` at a time (:attr:`Draws.blocks`).
    """

    def __init__(self, code: CodeYear, noise: Noise, places: Places | None = None) -> None:
        self.code, self._noise = code, noise
        self._unknown_at = code.countries.index(UNKNOWN)
        places = places or Places(code.countries)
        self._place = places.flows(code.revision, code.code, code.year, code.sender, code.receiver)
        self._tables = noise.flows(code.measure)
        makers = places.makers(f"{code.revision} {code.code}", code.year)
        count = len(code.countries)
        row = np.concatenate([code.sender, code.receiver + count])
        place, amount = (np.concatenate([part, part]) for part in (self._place, code.amount))
        plain: Any = np.bincount(row, amount, 2 * count)
        self.base = self._balance(plain[:, np.newaxis], None)
        sums = weighed(row, 2 * count, place, amount, noise.precision)
        columns = noise.draws.blocks
        self.blocks = [
            self._balance(sums @ table, (makers, at)) for table, at in zip(self._tables, columns, strict=True)
        ]

    def _balance(self, sums: Floats, noise: tuple[Integers, slice] | None) -> Balance:
        """The balance of exports and imports, one above the other; noise: rows and columns of production's tables."""
        code = self.code
        sold, bought = sums[: len(code.countries)], sums[len(code.countries) :]
        statistic = listed = None
        if code.statistic is not None and code.listed is not None:
            statistic = np.broadcast_to(code.statistic[:, np.newaxis], sold.shape)
            if noise is not None:
                statistic = statistic * self._noise.production(code.basis)[noise]
            listed = np.broadcast_to(code.listed[:, np.newaxis], sold.shape)
        barred = np.broadcast_to(code.barred[:, np.newaxis], sold.shape)
        closed = balance(sold, bought, statistic, listed, barred)
        balanced = closed.made + closed.unknown + bought
        if noise is None:
            return Balance(sold, closed.made, closed.unknown, closed.imputed, balanced, balanced)
        made = self._noise.production("imputed")[noise]
        made -= 1.0
        made *= closed.imputed
        made += 1.0
        made *= closed.made
        supply = made + closed.unknown + bought
        return Balance(sold, made, closed.unknown, closed.imputed, supply, balanced)

    @property
    def countries(self) -> tuple[str, ...]:
        """The countries of the second axis of :meth:`rows`."""
        return self.code.countries

    @cached_property
    def supply(self) -> Floats:
        """Supply, shape (countries, columns)."""
        found = np.concatenate([block.supply for block in self.blocks], axis=1).astype(float)
        found[:, :1] = self.base.supply
        return found

    @cached_property
    def consumption(self) -> Floats:
        """Apparent consumption ``max(0, supply - exports)``, shape (countries, columns)."""
        found = np.concatenate([block.consumption() for block in self.blocks], axis=1).astype(float)
        found[:, :1] = self.base.consumption()
        return found

    def focus_blocks(self, members: Truths, *, single: bool) -> list[Floats]:
        """Weights of a focus's rows: 1 for a country, apparent consumption for a bloc.

        Args:
            members: bool, shape (countries): the focus itself, or the members of the bloc.
            single: the focus is a country (of a bloc, too, one member alone may be in the data).

        Returns:
            Without noise, shape (countries, 1), then per block of columns, shape (countries, columns). A column sums to
            1, or is 0 where there is no supply, or no member consumes any.
        """
        at = np.flatnonzero(members)
        found = []
        for part in (self.base, *self.blocks):
            weights = np.zeros_like(part.supply)
            if single:
                weights[at] = part.supply[at] > 0
            elif len(at):
                eaten = part.consumption(at)
                total = eaten.sum(axis=0)
                weights[at] = eaten / np.where(total > 0, total, np.ones_like(total))
            found.append(weights)
        return found

    def focus_weights(self, members: Truths, *, single: bool) -> Floats:
        """:meth:`focus_blocks` in all columns at once, shape (columns, countries)."""
        base, *blocks = self.focus_blocks(members, single=single)
        found = np.concatenate(blocks, axis=1).T.astype(float)
        found[0] = base[:, 0]
        return found

    def rows(self, weights: Floats, tail: float = 0.0) -> Floats:
        """``w @ O`` in every column: origins of a mix of countries' supplies.

        ``v_0 = w``, ``v_{k+1}[i] = sum_j v_k[j] X[i,j]/x_j``; share of c ``= sum_k v_k[c] p_c/x_c``, unknown likewise.
        All columns are followed at once, hop by hop, until :data:`ON_ITS_WAY`. What is then left, and what went through
        flows too small to be followed, has the origins that it has without noise.

        Args:
            weights: shape (columns, countries), never negative, 0 for countries without supply; a column sums to 1
                or 0.
            tail: share of the supply, in the mean of the columns, that may go through flows that are not followed.

        Returns:
            Shape (columns, countries), unknown origin at its own place; each column sums to what its weights sum to.
        """
        edges = np.cumsum([block.supply.shape[1] for block in self.blocks])[:-1]
        (mix,) = self.mixes([[weights[:1].T, *np.split(weights.T, edges, axis=1)]], tail)
        found = np.concatenate([self.origins(mix, block) for block in range(len(self.blocks))], axis=1).T.astype(float)
        found[0] = mix.exact
        return found

    def mixes(self, weights: Sequence[list[Floats]], tail: float = 0.0) -> list[Mix]:
        """Mixes whose origins can then be asked for, block by block.

        Args:
            weights: of each mix, as :meth:`focus_blocks` gives them; else as :meth:`rows`.
            tail: as :meth:`rows`.
        """
        if not weights:
            return []
        amount = self.code.amount
        exact = self._exactly(self.base, 0, amount, np.stack([w[0][:, 0] for w in weights]))
        found = []
        for (plain, *blocks), known in zip(weights, exact, strict=True):
            mean = sum(w.sum(axis=1) for w in blocks) / sum(w.shape[1] for w in blocks)
            kept = self._followed(mean, tail)
            nodes = np.unique(np.concatenate([np.flatnonzero(mean), self.code.sender[kept], self.code.receiver[kept]]))
            sender, receiver = (np.searchsorted(nodes, part[kept]) for part in (self.code.sender, self.code.receiver))
            ones, order = np.ones(len(kept), self._noise.precision), np.argsort(sender, kind="stable")
            starts = np.searchsorted(sender[order], np.arange(len(nodes) + 1))
            gather = csr_array((ones, order, starts), (len(nodes), len(kept)))
            mix = Mix(blocks, known, kept, nodes, receiver, gather, known, max(ON_ITS_WAY, tail / 10.0))
            followed, _ = self._follow(mix, self.base, plain, amount[kept, np.newaxis])
            lost = np.maximum(known - followed[:, 0], 0.0)
            if not lost.sum() > ON_ITS_WAY:
                lost = known if known.sum() > 0 else np.eye(len(known))[self._unknown_at]
            found.append(replace(mix, lost=lost / lost.sum()))
        return found

    def origins(self, mix: Mix, block: int) -> Floats:
        """Origins of a mix in the columns of one block, shape (countries, columns); see :meth:`rows`."""
        weights, table = mix.weights[block], self._tables[block]
        share = table[self._place[mix.kept]]
        share *= self.code.amount[mix.kept, np.newaxis].astype(share.dtype)
        found, going = self._follow(mix, self.blocks[block], weights, share)
        for column in np.flatnonzero(going > mix.near):
            amount = self.code.amount * table[self._place, column]
            found[:, column] = self._exactly(self.blocks[block], column, amount, weights[np.newaxis, :, column])[0]
        rest = np.maximum(weights.sum(axis=0) - found.sum(axis=0), 0.0)
        found += np.multiply.outer(mix.lost.astype(found.dtype), rest)
        return found

    def _exactly(self, part: Balance, column: Any, amount: Floats, weights: Floats) -> Floats:
        """Rows of one column, shape (mixes, countries), by :func:`ketenpipe.chain.matrices.trace_rows`."""
        code = self.code
        links = Links(1, len(code.countries), np.zeros(len(amount), np.int64), code.sender, code.receiver, amount)
        held = (values[np.newaxis, :, column].astype(float) for values in (part.made, part.unknown, part.imputed))
        traced = trace_rows(links, Production(*held), weights[:, np.newaxis, :].astype(float))
        found: Floats = traced.shares[:, 0]
        found[:, self._unknown_at] += traced.unknown[:, 0]
        return found

    def _followed(self, weights: Floats, tail: float) -> Integers:
        """The flows through which all but a tail of the supply goes, by the flows without noise."""
        code = self.code
        share = code.amount / self.base.supply[code.receiver, 0]
        passing: Any = weights
        passed = weights.copy()
        for _ in range(MOST_HOPS):
            passing = np.bincount(code.sender, share * passing[code.receiver], len(weights))
            passed += passing
            if passing.sum() <= max(tail / 10.0, ON_ITS_WAY):
                break
        through = share * passed[code.receiver]
        order = np.argsort(through, kind="stable")
        return np.sort(order[np.cumsum(through[order]) > tail])

    def _follow(self, mix: Mix, part: Balance, weights: Floats, amount: Floats) -> tuple[Floats, Floats]:
        """Origins reached along the kept flows, shape (countries, columns), and what is on its way, shape (columns).

        Args:
            mix: which flows are kept.
            part: the balance of the columns.
            weights: shape (countries, columns).
            amount: of the kept flows, shape (flows, columns).
        """
        nodes, receiver = mix.nodes, mix.receiver
        supply = part.supply[nodes]
        share = amount / supply[receiver]
        passing = weights[nodes].astype(amount.dtype)
        passed, buffer, going = passing.copy(), np.empty_like(share), passing.sum(axis=0)
        for _ in range(MOST_HOPS):
            np.take(passing, receiver, axis=0, out=buffer, mode="clip")
            buffer *= share
            passing = mix.gather @ buffer
            passed += passing
            going = passing.sum(axis=0)
            if going.max() <= mix.near:
                break
        passed /= supply
        found = np.zeros((len(self.code.countries), passed.shape[1]), passed.dtype)
        found[nodes] = passed * part.made[nodes]
        found[self._unknown_at] += (passed * part.unknown[nodes]).sum(axis=0)
        return found, going


@dataclass(frozen=True)
class Summary:
    """What the draws say of some figures; NaN where a figure could not be had.

    Args:
        value: without noise.
        draws: in how many draws it could be had.
        mean, low, high: of the draws; low and high leave out 5 % each.
        matters_most: number of the family of :attr:`Draws.families` whose own noise moves the figure most; -1: none.
    """

    value: Floats
    draws: Integers
    mean: Floats
    low: Floats
    high: Floats
    matters_most: Integers


LOW, HIGH = 0.05, 0.95


def summarise(figures: Floats, draws: Draws) -> Summary:
    """What the draws say of figures of shape (figures, columns), NaN where one cannot be had."""
    drawn = figures[:, draws.drawn]
    count = (~np.isnan(drawn)).sum(axis=1)
    mean, low, high = (np.full(len(figures), np.nan) for _ in range(3))
    for at, middle, bounds in (
        (np.flatnonzero(count == draws.count), np.mean, np.quantile),
        (np.flatnonzero((count > 0) & (count < draws.count)), np.nanmean, np.nanquantile),
    ):
        if len(at):
            mean[at] = middle(drawn[at], axis=1)
            low[at], high[at] = bounds(drawn[at], [LOW, HIGH], axis=1)
    return Summary(figures[:, 0], count, mean, low, high, matters_most(figures, draws))


def matters_most(figures: Floats, draws: Draws) -> Integers:
    """The family whose own noise, all others off, gives a figure the largest variance; -1 where none moves it."""
    spread = np.zeros((len(draws.families), len(figures)))
    for k, family in enumerate(draws.families):
        part = figures[:, draws.only(family)]
        there = ~np.isnan(part)
        count = np.maximum(there.sum(axis=1), 1)
        centre = np.where(there, part, 0.0).sum(axis=1) / count
        spread[k] = (np.where(there, part - centre[:, np.newaxis], 0.0) ** 2).sum(axis=1) / count
    size = np.maximum(np.abs(np.nan_to_num(figures[:, 0])), 1e-9)
    return np.where(spread.max(axis=0) > (1e-6 * size) ** 2, spread.argmax(axis=0), -1)


def flag_share(figures: Floats, draws: Draws, beyond: Callable[[Floats], Truths]) -> Floats:
    """Share of the draws, of those in which a figure can be had, that lie beyond a threshold; NaN without any."""
    drawn = figures[:, draws.drawn]
    there = ~np.isnan(drawn)
    count = there.sum(axis=1)
    passing = (beyond(drawn) & there).sum(axis=1)
    return np.divide(passing, count, out=np.full(len(figures), np.nan), where=count > 0)
