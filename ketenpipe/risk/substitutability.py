"""How easily a focus could replace its supply: at home, from other suppliers, by another product, over the years.

Belongs here: the components of substitutability of one year, their scores, and the composite of them with the range
that its weights leave. Does not belong here: the figures that are indicators already (S1, S2, S3, S4, P1: they are
read), and the cut-offs and weights (:mod:`ketenpipe.risk.substitution_settings`).

Components come first; the composite stands beside them and flags nothing. Matrices are items by countries, one focus
at a time: 5,000 codes and 226 countries are 9 MB each.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ketenpipe.chain.catalogue import Reference
from ketenpipe.chain.tracing import UNKNOWN, focus_members
from ketenpipe.errors import WrongUse
from ketenpipe.risk.definitions import COMPONENTS, METHOD_VERSION
from ketenpipe.risk.placing import Numbers, Place, codes_of_nodes, places_of
from ketenpipe.risk.planes import Floats, Integers, Truths
from ketenpipe.risk.products import key_order, words_of
from ketenpipe.risk.substitution_settings import Normalisation, SubstitutionSettings
from ketenpipe.risk.world import Stamped
from ketenpipe.tables.registry import SUBSTITUTABILITY

Texts = npt.NDArray[np.object_]

COMPOSITE = "composite"
DIMENSIONS: dict[str, tuple[str, str]] = {
    "imports_over_exports": ("domestic", "v"),
    "own_share": ("domestic", "q"),
    "production_over_imports": ("domestic", "q"),
    "alternative_capacity": ("supplier", "v"),
    "suppliers": ("supplier", "v"),
    "suppliers_stable": ("supplier", "v"),
    "suppliers_partners": ("supplier", "v"),
    "origins": ("supplier", "q"),
    "origins_stable": ("supplier", "q"),
    "origins_partners": ("supplier", "q"),
    "exporters": ("supplier", "v"),
    "exporters_stable": ("supplier", "v"),
    "exporters_partners": ("supplier", "v"),
    "export_share_stable": ("supplier", "v"),
    "export_share_partners": ("supplier", "v"),
    "trade_elasticity": ("product", "none"),
    "eol_rir": ("product", "none"),
    "substitution_index": ("product", "none"),
    "persistence": ("time", "v"),
    "entries": ("time", "v"),
    "entry_share": ("time", "v"),
    "exits": ("time", "v"),
    COMPOSITE: (COMPOSITE, "none"),
}
"""Dimension and measure of each component."""
READ: dict[str, tuple[str, tuple[str, ...] | None]] = {
    "imports_over_exports": ("S1", ("v",)),
    "alternative_capacity": ("S2", ("v",)),
    "trade_elasticity": ("S3", None),
    "eol_rir": ("S4a", None),
    "substitution_index": ("S4b", None),
    "persistence": ("P1", ("v",)),
}
"""Components that are indicators already: id and measures (None: any)."""
FIGURE_INDICATORS = tuple(indicator for indicator, _ in READ.values())
FIGURE_COLUMNS = (
    "focus", "level", "code", "hs_revision", "group", "tier", "indicator", "measure", "value", "low", "high", "reason",
    "confidence", "source_vintage",
)  # fmt: skip
"""What :func:`build_substitutability` reads of the indicators of the year, of :data:`FIGURE_INDICATORS`."""
MIX_COLUMNS = ("focus", "code", "hs_revision", "country", "value_kusd", "tonnes", "share_traced")
"""What it reads of ``supply_mix``; the years before need no more than the first five."""
TRACING_COLUMNS = ("focus", "hs_revision", "code", "measure", "basis", "supply", "consumption", "confidence", "reason")
PRODUCTION_COLUMNS = ("hs_revision", "code", "measure", "country", "basis", "production")

_GRADES = ("low", "medium", "high")
_HIGH = _GRADES.index("high")
#: Rows of the composite that are dealt with at a time, each under all drawn weights.
_BLOCK = 1000
#: More than there are codes, or countries.
_MANY = 1_000_000
#: Shares are compared to so many decimals: the mixes are given to nine digits.
_SHARE_DECIMALS = 9
#: Shares of weights and what a component moves are compared to so many decimals, whatever the last bits say.
_DECIMALS = 12


# -- scores --------------------------------------------------------------------------------------------------


def score_of(x: Floats, normalisation: Normalisation) -> Floats:
    """A figure from 0 upward (infinity allowed) as a score within [0, 1]; NaN stays NaN.

    ``x``, ``1-x`` (both clipped), ``x/(1+x)`` or ``1/(1+x)``; each monotone.
    """
    if normalisation == "x":
        return np.clip(x, 0.0, 1.0)
    if normalisation == "1-x":
        return np.clip(1.0 - x, 0.0, 1.0)
    falling = 1.0 / (1.0 + np.maximum(x, 0.0))
    return falling if normalisation == "1/(1+x)" else 1.0 - falling


@dataclass(frozen=True)
class Counted:
    """Suppliers above a share, an array per figure, NaN for an item without a mix.

    Args:
        number: how many of those that are allowed.
        besides: how many of them besides the largest supplier of all. Where no supplier lies above the share, all are
            small: then the share that the allowed ones hold, in units of the threshold.
        held: share of those counted.
    """

    number: Floats
    besides: Floats
    held: Floats


def count_suppliers(shares: Floats, allowed: Truths, above: float) -> Counted:
    """Independent suppliers: ``#{i allowed: s_i > above}``, strictly.

    Args:
        shares: items by countries, each row a mix; countries in the order of their codes, so that of two equal largest
            the first counts as the largest.
        allowed: countries that may be counted.
        above: the share.
    """
    some = shares.sum(axis=1) > 0
    compared = np.round(shares, _SHARE_DECIMALS)
    large = compared > above
    counted = large & allowed
    number = counted.sum(axis=1).astype(np.float64)
    rows = np.arange(len(shares))
    besides = number - counted[rows, compared.argmax(axis=1)]
    besides = np.where(large.any(axis=1), besides, (shares * allowed).sum(axis=1) / above)
    held = (shares * counted).sum(axis=1)
    return Counted(*(np.where(some, v, np.nan) for v in (number, besides, held)))


def count_at_most(shares: Floats, possible: Truths, above: float, unknown: Floats) -> Floats:
    """How many of some countries could lie above a share if those of unknown origin were theirs.

    The fewest are lifted first: ``#{i: s_i > above} + max{k: sum of the k smallest (above - s_i) < unknown}`` over the
    countries that are possible.

    Args:
        shares: items by countries.
        possible: countries that may be counted.
        above: the share, strictly.
        unknown: share of unknown origin of each item.
    """
    held = np.round(shares[:, possible], _SHARE_DECIMALS)
    lacking = np.sort(np.where(held > above, np.inf, above - held), axis=1)
    needed = np.round(np.cumsum(lacking, axis=1), _SHARE_DECIMALS)
    lifted = (needed < np.round(unknown, _SHARE_DECIMALS)[:, None]).sum(axis=1)
    return np.where(shares.sum(axis=1) > 0, (held > above).sum(axis=1) + lifted, np.nan)


@dataclass(frozen=True)
class Moved:
    """Who came and went, an array per figure; NaN where there are no imports in the year.

    Args:
        entries, entry_share: suppliers above the share now that were above it in no year of the window.
        exits: suppliers above the share in a year of the window that are not now.
        complete: whether every year of the window has imports; the figures are for the years that have.
    """

    entries: Floats
    entry_share: Floats
    exits: Floats
    complete: Truths


def moved_suppliers(now: Floats, before: Sequence[Floats], above: float) -> Moved:
    """Entry and exit of direct suppliers (METHOD: time).

    Args:
        now: items by countries, shares of the imports in the year; a row of zeros has no imports.
        before: the same of each year of the window; a year that the sources lack is zeros.
        above: the share, strictly.
    """
    there = np.round(now, _SHARE_DECIMALS) > above
    earlier = np.zeros_like(there)
    complete = np.ones(len(now), dtype=bool)
    for shares in before:
        earlier |= np.round(shares, _SHARE_DECIMALS) > above
        complete &= shares.sum(axis=1) > 0
    new, gone = there & ~earlier, earlier & ~there
    some = now.sum(axis=1) > 0
    entries, share, exits = (
        np.where(some, v, np.nan) for v in (new.sum(axis=1), (now * new).sum(axis=1), gone.sum(axis=1))
    )
    return Moved(entries, share, exits, complete)


def rank_below(values: Floats, among: Floats) -> Floats:
    """Share of ``among`` (known ones) that lies below each value, ties counted half; NaN where either is unknown."""
    known = np.sort(among[~np.isnan(among)])
    if not len(known):
        return np.full(len(values), np.nan)
    below, upto = np.searchsorted(known, values, "left"), np.searchsorted(known, values, "right")
    return np.where(np.isnan(values), np.nan, (below + upto) / (2.0 * len(known)))


# -- composite -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Composites:
    """The composite of some items, an array per figure; NaN (or -1) where there is none.

    Args:
        value: weighted mean of the scores that are there.
        coverage: share of the weight that is there.
        low, high: quantiles under drawn weights; NaN without draws.
        moves_most: number of the component that moves it most when it is left out.
        without: the composite without it.
    """

    value: Floats
    coverage: Floats
    low: Floats
    high: Floats
    moves_most: Integers
    without: Floats


def composites(
    scores: Floats,
    weights: Floats,
    *,
    minimum_coverage: float,
    concentration: float,
    quantiles: tuple[float, float],
    draws: int,
    seed: int,
) -> Composites:
    """``sum_c w_c s_c / sum_c w_c`` over the components that are there, its range over weights, and leave-one-out.

    Weights are drawn from ``Dirichlet(concentration * w)``; a component of weight 0 takes no part. The same seed gives
    the same draws for every item.

    Args:
        scores: items by components within [0, 1], NaN where a component is not there.
        weights: of the components, from 0; they sum to 1.
        minimum_coverage: below it there is no composite; on it there is.
        concentration: of the distribution.
        quantiles: that are low and high.
        draws: how many; 0 for no range.
        seed: of the draws.
    """
    used = np.flatnonzero(weights > 0)
    known = ~np.isnan(scores[:, used])
    filled, w = np.where(known, scores[:, used], 0.0), weights[used]
    covered, total = known @ w, filled @ w
    enough = (np.round(covered, _DECIMALS) >= minimum_coverage) & (covered > 0)
    with np.errstate(invalid="ignore"):
        value = np.where(enough, total / covered, np.nan)
        # Leave one out: only a component that is there, and not the only one.
        rest = covered[:, None] - known * w
        left = (total[:, None] - filled * w) / np.where(known & (known.sum(axis=1) > 1)[:, None], rest, np.nan)
        step = np.round(np.abs(left - value[:, None]), _DECIMALS)
    most = np.argmax(np.where(np.isnan(step), -1.0, step), axis=1)
    reached = np.take_along_axis(left, most[:, None], axis=1)[:, 0]
    told = enough & ~np.isnan(reached)
    low, high = np.full(len(scores), np.nan), np.full(len(scores), np.nan)
    if draws:
        drawn = np.random.default_rng(seed).dirichlet(concentration * w, draws).T
        rows = np.flatnonzero(enough)
        for begin in range(0, len(rows), _BLOCK):
            at = rows[begin : begin + _BLOCK]
            with np.errstate(invalid="ignore"):
                under = (filled[at] @ drawn) / (known[at] @ drawn)
            low[at], high[at] = np.quantile(under, quantiles, axis=1)
    return Composites(
        value=value,
        coverage=covered,
        low=low,
        high=high,
        moves_most=np.where(told, used[most], -1),
        without=np.where(told, np.minimum(reached, 1.0), np.nan),
    )


# -- rows ----------------------------------------------------------------------------------------------------


def build_substitutability(
    year: int,
    foci: Sequence[str],
    supply_mix: Mapping[int, pa.Table],
    tracing: pa.Table,
    flows: Iterable[pa.RecordBatch],
    figures: pa.Table,
    production: pa.Table,
    country_risk: pa.Table,
    chain_nodes: pa.Table,
    reference: Reference,
    limits: SubstitutionSettings,
    stamped: Stamped,
    *,
    persistence_window: int,
    partners: Sequence[str] = (),
    draws: int = 1000,
    seed: int = 0,
) -> pa.Table:
    """The components of substitutability and their composite, of one year (contract ``substitutability``).

    Of every HS6 code that is traced, of every traded node on the sum of its codes, and of every group (its tier-0
    node's). A component that cannot be had is null with a reason and has no score.

    Args:
        year: that is meant.
        foci: countries and blocs.
        supply_mix: year -> table ``supply_mix`` (:data:`MIX_COLUMNS`) of the year and of those of the window before it
            that there are.
        tracing: table of the year, :data:`TRACING_COLUMNS`.
        flows: the year's ``baci_flows``, a batch at a time.
        figures: rows of contract ``indicators`` of the year, :data:`FIGURE_COLUMNS`, of :data:`FIGURE_INDICATORS`;
            what is not in it is null.
        production: table of the year, :data:`PRODUCTION_COLUMNS`.
        country_risk: table; other years are not looked at.
        chain_nodes: table; empty without a catalogue.
        reference: the catalogue, for members of blocs and codes of nodes.
        limits: cut-offs, normalisations, weights.
        stamped: vintages.
        persistence_window: years that P1 looks at (``Thresholds.P1.window``).
        partners: blocs of ``blocs.csv``, or countries, whose supply counts as friendly; none: null.
        draws, seed: of the composite's weights; 0 draws: no range.

    Raises:
        WrongUse: the mix of the year is not given, or ``partners`` names neither a bloc nor a country.
    """
    if year not in supply_mix:
        raise WrongUse(f"the supply mix of {year} is needed for the substitutability of {year}")
    scored = country_risk.filter((pc.field("year") == year) & pc.field("risk").is_valid())
    risk = dict(zip(scored.column("country").to_pylist(), scored.column("risk").to_pylist(), strict=True))
    friendly = frozenset[str]().union(*(focus_members(reference, p, [year])[year] for p in partners))
    countries = sorted(_countries([*supply_mix.values()], production, risk))
    exported = _exports(flows)
    places = places_of(chain_nodes, reference)
    inputs = _Inputs(
        year, supply_mix, tracing, exported, figures, production, risk, countries, places,
        codes_of_nodes(places, reference), limits, stamped, persistence_window, friendly if partners else None,
    )  # fmt: skip
    blocks: list[pa.Table] = []
    for focus in foci:
        one = _Focus(inputs, focus, focus_members(reference, focus, [year])[year])
        blocks += one.blocks(draws, seed)
    if not any(block.num_rows for block in blocks):
        return SUBSTITUTABILITY.empty()
    rows = pa.concat_tables(block for block in blocks if block.num_rows).unify_dictionaries().combine_chunks()
    rows = rows.append_column("method_version", pa.repeat(METHOD_VERSION, rows.num_rows))
    return SUBSTITUTABILITY.conform(rows.take(key_order(rows, SUBSTITUTABILITY.key)))


def _countries(mixes: Sequence[pa.Table], production: pa.Table, risk: Mapping[str, float]) -> set[str]:
    found = {UNKNOWN, *risk}
    for table in (*mixes, production):
        found |= {str(c) for c in pc.unique(table.column("country").cast(pa.string())).to_pylist()}
    return found


@dataclass(frozen=True)
class _Exports:
    """``E[k, i] = sum_{j != i} X[i, j]`` by value; a row per product, a column per country (in code order)."""

    items: list[tuple[str, str]]
    countries: list[str]
    value: Floats


def _exports(flows: Iterable[pa.RecordBatch]) -> _Exports:
    revisions, codes, countries = Numbers(), Numbers(), Numbers()
    keys: list[Integers] = [np.empty(0, dtype=np.int64)]
    sums: list[Floats] = [np.empty(0)]
    for batch in flows:
        revision, code = revisions.take(batch.column("hs_revision")), codes.take(batch.column("code"))
        exporter, importer = (countries.take(batch.column(side)) for side in ("exporter", "importer"))
        value = pc.cast(batch.column("value_kusd"), pa.float64()).to_numpy(zero_copy_only=False)
        rows = np.flatnonzero(exporter != importer)
        key, at = np.unique(((revision * _MANY + code) * _MANY + exporter)[rows], return_inverse=True)
        keys.append(key.astype(np.int64))
        sums.append(np.bincount(at, value[rows], len(key)).astype(np.float64))
    key, at = np.unique(np.concatenate(keys), return_inverse=True)
    product, row = np.unique(key // _MANY, return_inverse=True)
    matrix = np.zeros((len(product), len(countries)))
    matrix[row, key % _MANY] = np.bincount(at, np.concatenate(sums), len(key))
    by_name = np.argsort(np.array(countries.words, dtype=object), kind="stable")
    items = [(revisions.words[p // _MANY], codes.words[p % _MANY]) for p in product.tolist()]
    return _Exports(items, [countries.words[n] for n in by_name], matrix[:, by_name])


@dataclass(frozen=True)
class _Inputs:
    """What every focus shares."""

    year: int
    supply_mix: Mapping[int, pa.Table]
    tracing: pa.Table
    exported: _Exports
    figures: pa.Table
    production: pa.Table
    risk: Mapping[str, float]
    countries: list[str]
    places: list[Place]
    node_codes: list[tuple[str, str, str]]
    limits: SubstitutionSettings
    stamped: Stamped
    persistence_window: int
    partners: frozenset[str] | None


@dataclass(frozen=True)
class _Said:
    """What is said of all counts of a kind: why they are null, their sources, notes, confidence."""

    why: Texts
    kinds: tuple[str, ...] = ("baci",)
    notes: Texts | None = None
    confidence: Integers | None = None


@dataclass
class _Column:
    """A component of all items: the figure, what the score is made of, and words about it."""

    value: Floats
    base: Floats
    why: Texts
    kinds: tuple[str, ...] = ("baci",)
    notes: Texts | None = None
    low: Floats | None = None
    high: Floats | None = None
    confidence: Integers | None = None
    stamp: Texts | None = None
    score: Floats = field(default_factory=lambda: np.empty(0))


class _Focus:
    """The items of one focus: its HS6 codes, then its nodes; and the matrices about them."""

    def __init__(self, inputs: _Inputs, focus: str, members: frozenset[str]) -> None:
        self.inputs, self.focus, self.members = inputs, focus, members
        self.own = self._marked(inputs.countries, members)
        traced = inputs.tracing.filter((pc.field("focus") == focus) & (pc.field("measure") == "q"))
        rows = traced.select(["hs_revision", "code"]).to_pandas()
        self.codes: list[tuple[str, str]] = sorted({(str(r), str(c)) for r, c in rows.itertuples(index=False)})
        place = {item: n for n, item in enumerate(self.codes)}
        held: dict[tuple[str, str], list[int]] = {}
        for revision, code, node in inputs.node_codes:
            if (revision, code) in place:
                held.setdefault((revision, node), []).append(place[revision, code])
        self.nodes = sorted(held)
        self.parts = [np.array(held[node], dtype=np.int64) for node in self.nodes]
        self.revisions = [revision for revision, _ in (*self.codes, *self.nodes)]
        self.count = len(self.codes) + len(self.nodes)
        self._place = place
        keys = ["hs_revision", "code"]
        index = pd.MultiIndex.from_tuples(self.codes, names=keys)
        self.tracing = traced.to_pandas().astype(dict.fromkeys(keys, object)).set_index(keys).reindex(index)

    @staticmethod
    def _marked(countries: Sequence[str], chosen: Iterable[str]) -> Truths:
        wanted = frozenset(chosen)
        return np.array([c in wanted for c in countries], dtype=bool)

    # -- matrices

    def _matrix(self, table: pa.Table, column: str) -> Floats:
        """Codes by countries, 0 where there is nothing."""
        mine = table.filter(pc.field("focus") == self.focus)
        return self._spread(mine, np.nan_to_num(mine.column(column).to_numpy().astype(np.float64)))

    def _spread(self, table: pa.Table, values: Floats) -> Floats:
        revisions, codes = Numbers(), Numbers()
        pair = np.stack([revisions.take(table.column("hs_revision")), codes.take(table.column("code"))], axis=1)
        lookup = np.empty((len(revisions), len(codes)), dtype=np.int64)
        for r, revision in enumerate(revisions.words):
            for c, code in enumerate(codes.words):
                lookup[r, c] = self._place.get((revision, code), -1)
        row = lookup[pair[:, 0], pair[:, 1]]
        column = Numbers(self.inputs.countries).take(table.column("country"))
        out = np.zeros((len(self.codes), len(self.inputs.countries)))
        kept = row >= 0  # codes that are traced
        np.add.at(out, (row[kept], column[kept]), values[kept])
        return out

    def _summed(self, codes: Floats) -> Floats:
        """Codes, then nodes: the sum over a node's codes."""
        return np.concatenate([codes, *(codes[part].sum(axis=0, keepdims=True) for part in self.parts)])

    def _direct(self, year: int) -> Floats | None:
        """Shares of the imports by value; None where the sources lack the year."""
        if year not in self.inputs.supply_mix:
            return None
        bought = self._summed(self._matrix(self.inputs.supply_mix[year], "value_kusd"))
        bought[:, self.own] = 0.0
        return _shares(bought)

    def _traced(self) -> Floats:
        """Origins of the supply by mass; a node's codes weigh what is consumed of them, else what is supplied."""
        codes = self._matrix(self.inputs.supply_mix[self.inputs.year], "share_traced")
        some = codes.sum(axis=1) > 0
        consumed, supplied = (
            np.where(some, np.nan_to_num(self.tracing[n].to_numpy(dtype=np.float64)), 0.0)
            for n in ("consumption", "supply")
        )
        out = [codes]
        for part in self.parts:
            weights = consumed if consumed[part].sum() > 0 else supplied
            w = weights[part]
            out.append(((w / w.sum()) @ codes[part] if w.sum() > 0 else np.zeros(codes.shape[1]))[None])
        return np.concatenate(out)

    def _each(self, column: str) -> list[list[Any]]:
        """A column of ``tracing`` for the codes of every item."""
        values = self.tracing[column].tolist()
        return [[v] for v in values] + [[values[p] for p in part] for part in self.parts]

    def _exported(self) -> Floats:
        """Shares of the exports of all others than the focus."""
        exported = self.inputs.exported
        row = {item: n for n, item in enumerate(exported.items)}
        at = np.array([row.get(item, -1) for item in self.codes], dtype=np.int64)
        value = np.zeros((len(self.codes), len(exported.countries)))
        value[at >= 0] = exported.value[at[at >= 0]]
        sold = self._summed(value)
        sold[:, self._marked(exported.countries, self.members)] = 0.0
        return _shares(sold)

    # -- components

    def columns(self) -> dict[str, _Column]:
        """Every component but the composite, without scores."""
        found = self._read() | self._domestic() | self._suppliers() | self._time()
        return {name: found[name] for name in DIMENSIONS if name != COMPOSITE}

    def _words(self, word: str | None) -> Texts:
        out = np.empty(self.count, dtype=object)
        out[:] = word
        return out

    def _read(self) -> dict[str, _Column]:
        figures = self.inputs.figures
        mine = figures.filter(pc.field("focus") == self.focus).select(list(FIGURE_COLUMNS)).to_pandas()
        index = pd.MultiIndex.from_tuples(
            [("hs6", r, c) for r, c in self.codes] + [("node", r, c) for r, c in self.nodes],
            names=["level", "hs_revision", "code"],
        )
        out: dict[str, _Column] = {}
        for component, (indicator, measures) in READ.items():
            rows = mine[mine["indicator"] == indicator]
            if measures is not None:
                rows = rows[rows["measure"].isin(measures)]
            keyed = rows.astype(dict.fromkeys(index.names, object)).drop_duplicates(index.names).set_index(index.names)
            found = keyed.reindex(index)
            value, low, high = (found[n].to_numpy(dtype=np.float64) for n in ("value", "low", "high"))
            reason = _texts(r if isinstance(r, str) else None for r in found["reason"])
            why = _texts(r or "not_in_sources" for r in reason)
            base = value.copy()
            if component == "imports_over_exports":
                base[np.isnan(value) & (reason == "no_exports")] = np.inf
            elif component == "persistence":
                base = value / self.inputs.persistence_window
            elif component == "trade_elasticity":
                base = rank_below(value, value[: len(self.codes)])
            grades = {grade: n for n, grade in enumerate(_GRADES)}
            confidence = np.array([grades.get(c, -1) for c in found["confidence"].tolist()], dtype=np.int64)
            stamp = _texts(s if isinstance(s, str) else None for s in found["source_vintage"])
            out[component] = _Column(
                value, base, why, low=low, high=high, confidence=confidence, stamp=stamp,
                notes=_either(np.isnan(value), None, reason),
            )  # fmt: skip
        return out

    def _domestic(self) -> dict[str, _Column]:
        inputs = self.inputs
        self.traced = self._traced()
        self.supplied = self.traced.sum(axis=1) > 0
        bases, grades = self._each("basis"), self._each("confidence")
        reasons = self._each("reason")
        self.no_supply = _texts(next((str(r) for r in rs if isinstance(r, str)), "no_supply") for rs in reasons)
        self.proxied = np.array(["export_proxy" in b for b in bases], dtype=bool)
        listed = np.array(["producer_list" in b for b in bases], dtype=bool)
        self.basis = _either(self.proxied, "export_proxy", _either(listed, "producer_list", None))
        self.grade = np.array([min((_GRADES.index(g) for g in gs if g in _GRADES), default=-1) for gs in grades])
        unknown = self.traced[:, inputs.countries.index(UNKNOWN)]
        own = np.where(self.supplied, self.traced[:, self.own].sum(axis=1), np.nan)
        made, proxied = self._production()
        bought = self._summed(self._matrix(inputs.supply_mix[inputs.year], "tonnes"))[:, ~self.own].sum(axis=1)
        self.now = self._direct(inputs.year)
        assert self.now is not None
        imports = self.now.sum(axis=1) > 0
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(bought > 0, made / bought, np.where((made > 0) & ~imports, np.inf, np.nan))
        none = self.proxied | proxied
        ratio = np.where(none | ~self.supplied, np.nan, ratio)
        why = _either(imports, "no_mass", "no_imports")
        why = _either(~self.supplied, self.no_supply, _either(none, "export_proxy", why))
        kinds = ("baci", "mining")
        return {
            "own_share": _Column(
                own, own, self.no_supply, kinds, self.basis, low=own, high=np.minimum(own + unknown, 1.0),
                confidence=self.grade,
            ),
            "production_over_imports": _Column(
                np.where(np.isinf(ratio), np.nan, ratio), ratio, why, kinds, _either(listed, "producer_list", None),
                confidence=self.grade,
            ),
        }  # fmt: skip

    def _production(self) -> tuple[Floats, Truths]:
        """Production of the focus by mass, and whether a part of it is but a proxy."""
        mine = pc.field("country").isin(sorted(self.members))
        made = self.inputs.production.filter((pc.field("measure") == "q") & mine)
        amount = np.nan_to_num(made.column("production").to_numpy().astype(np.float64))
        proxy = pc.equal(made.column("basis").cast(pa.string()), "export_proxy").to_numpy(zero_copy_only=False)
        total = self._summed(self._spread(made, amount)).sum(axis=1)
        guessed = self._summed(self._spread(made, np.where(proxy, amount, 0.0))).sum(axis=1)
        return total, guessed > 0

    def _suppliers(self) -> dict[str, _Column]:
        inputs, limits = self.inputs, self.inputs.limits
        assert self.now is not None
        foreign = self.traced.copy()
        foreign[:, self.own] = 0.0
        unknown = foreign[:, inputs.countries.index(UNKNOWN)].copy()
        foreign[:, inputs.countries.index(UNKNOWN)] = 0.0
        no_origin = _either(unknown > 0, "origin_unknown", _either(self.supplied, "no_foreign_supply", self.no_supply))
        supplier, exporter = limits.supplier_share.above, limits.exporter_share.above
        known, traced = np.zeros(self.count), ("baci", "mining")
        sold, sellers = self._exported(), inputs.exported.countries
        nobody = self._words("no_exports_in_the_world")
        return {
            **self._counts("suppliers", self.now, inputs.countries, supplier, known, _Said(self._words("no_imports"))),
            **self._counts(
                "origins", foreign, inputs.countries, supplier, unknown,
                _Said(no_origin, traced, self.basis, self.grade),
            ),
            **self._counts("exporters", sold, sellers, exporter, known, _Said(nobody), "export_share"),
        }  # fmt: skip

    def _counts(
        self,
        name: str,
        shares: Floats,
        countries: Sequence[str],
        above: float,
        unknown: Floats,
        said: _Said,
        share_name: str | None = None,
    ) -> dict[str, _Column]:
        """The suppliers of a kind: all, the stable ones, the partners; what these two hold under ``share_name``."""
        risk, partners = self.inputs.risk, self.inputs.partners
        stable = self._marked(countries, [c for c, r in risk.items() if r < self.inputs.limits.stable.risk_below])
        scored = self._marked(countries, risk)
        every = np.ones(len(countries), dtype=bool)
        friendly = self._marked(countries, partners or ())
        out: dict[str, _Column] = {}
        for suffix, allowed, possible, lacking in (
            ("", every, every, None),
            ("_stable", stable, stable | ~scored, None if risk else "no_governance_data"),
            ("_partners", friendly, friendly, None if partners is not None else "no_partners_named"),
        ):
            kinds = (*said.kinds, "wgi") if suffix == "_stable" else said.kinds
            names = [f"{name}{suffix}", *([f"{share_name}{suffix}"] if share_name and suffix else [])]
            if lacking is not None:
                nothing = np.full(self.count, np.nan)
                out |= {n: _Column(nothing, nothing, self._words(lacking), kinds) for n in names}
                continue
            found = count_suppliers(shares, allowed, above)
            most = count_at_most(shares, possible, above, unknown)
            for n, value, base, high in (
                (names[0], found.number, found.besides, most),
                (names[-1], found.held, found.held, count_suppliers(shares, possible, above).held),
            )[: len(names)]:
                out[n] = _Column(value, base, said.why, kinds, said.notes, value, high, said.confidence)
        return out

    def _time(self) -> dict[str, _Column]:
        inputs, limits = self.inputs, self.inputs.limits
        assert self.now is not None
        window = range(inputs.year - limits.entry.window, inputs.year)
        before = [self._direct(year) for year in window]
        nothing = np.zeros_like(self.now)
        found = moved_suppliers(self.now, [nothing if b is None else b for b in before], limits.supplier_share.above)
        imports = ~np.isnan(found.entries)
        why = _either(imports, "window_incomplete", "no_imports")
        zero = np.where(imports, 0.0, np.nan)
        out = {}
        # What the years that are missing could add only takes entries away, and adds exits.
        for component, value, bounds in (
            ("entries", found.entries, (zero, found.entries)),
            ("entry_share", found.entry_share, (zero, found.entry_share)),
            ("exits", found.exits, (found.exits, np.full(self.count, np.nan))),
        ):
            known = np.where(found.complete, value, np.nan)
            low, high = (np.where(found.complete, np.nan, bound) for bound in bounds)
            out[component] = _Column(known, known, why, low=low, high=high)
        return out

    # -- table

    def blocks(self, draws: int, seed: int) -> list[pa.Table]:
        """All rows of the focus."""
        if not self.count:
            return []
        limits = self.inputs.limits
        columns = self.columns()
        weights = limits.weights()
        for name, column in columns.items():
            column.score = score_of(column.base, limits.component[name].normalisation)
        scores = np.stack([columns[name].score for name in weights], axis=1)
        found = composites(
            scores, np.array([*weights.values()]), minimum_coverage=limits.composite.minimum_coverage,
            concentration=limits.composite.concentration, quantiles=(limits.composite.low, limits.composite.high),
            draws=draws, seed=seed,
        )  # fmt: skip
        at, base = self._placed()
        out = []
        for name, column in columns.items():
            lacking = np.isnan(column.value)
            words = _joined(_either(lacking, column.why, None), column.notes)
            grade = self._graded(column)
            shown = {
                "value": column.value, "score": column.score, "weight": np.full(self.count, weights[name]),
                "low": column.low, "high": column.high,
            }  # fmt: skip
            source = f"{COMPONENTS[name].source}; normalisation and weight: {limits.component[name].source}"
            out.append(self._block(name, at, base, shown, words, np.where(lacking, -1, grade), column, source))
        told = ~np.isnan(found.value)
        weighed = [c for n, c in columns.items() if weights[n] > 0]
        there = np.stack([~np.isnan(c.score) for c in weighed], axis=1)
        grades = np.stack([self._graded(c) for c in weighed], axis=1)
        lowest = np.where(there & (grades >= 0), grades, _HIGH).min(axis=1)
        proxied = np.stack([[n is not None and "export_proxy" in n for n in self._noted(c)] for c in weighed], axis=1)
        notes = _joined(
            _either(told, None, "coverage_too_low"),
            _either(told & (there & proxied).any(axis=1), "export_proxy", None),
            _either(told & (draws == 0), "no_draws", None),
        )
        shown = {
            "value": found.value, "score": found.value, "low": found.low, "high": found.high,
            "coverage": found.coverage, "without": found.without,
        }  # fmt: skip
        kinds = _Column(found.value, found.value, notes, ("baci", "mining", "wgi"))
        source = f"{COMPONENTS[COMPOSITE].source}; {limits.composite.source}"
        most = words_of(found.moves_most[at], list(weights))
        block = self._block(COMPOSITE, at, base, shown, notes, np.where(told, lowest, -1), kinds, source, most)
        return [*out, block]

    def _graded(self, column: _Column) -> Integers:
        return np.full(self.count, _HIGH) if column.confidence is None else column.confidence

    def _noted(self, column: _Column) -> Texts:
        return self._words(None) if column.notes is None else column.notes

    def _placed(self) -> tuple[Integers, dict[str, pa.Array]]:
        """Which item each row is about, and the columns that name it: codes, then the places of nodes."""
        where = {node: len(self.codes) + n for n, node in enumerate(self.nodes)}
        places = [p for p in self.inputs.places if (p.hs_revision, p.node) in where]
        at = np.array([*range(len(self.codes)), *(where[p.hs_revision, p.node] for p in places)], dtype=np.int64)
        nothing = [None] * len(self.codes)
        names: dict[str, list[Any]] = {
            "level": ["hs6"] * len(self.codes) + [p.level for p in places],
            "code": [c for _, c in self.codes] + [p.code for p in places],
            "hs_revision": [r for r, _ in self.codes] + [p.hs_revision for p in places],
            "group": nothing + [p.group for p in places],
        }
        base = {n: pa.array(words, pa.string()).dictionary_encode() for n, words in names.items()}
        base["tier"] = pa.array([0] * len(self.codes) + [p.tier for p in places], pa.int64())
        base["year"] = pa.array(np.full(len(at), self.inputs.year, dtype=np.int32))
        base["focus"] = words_of(np.zeros(len(at), dtype=np.int64), [self.focus])
        return at, base

    def _block(
        self,
        name: str,
        at: Integers,
        base: Mapping[str, pa.Array],
        shown: Mapping[str, Floats | None],
        words: Texts,
        grade: Integers,
        column: _Column,
        source: str,
        most: pa.DictionaryArray | None = None,
    ) -> pa.Table:
        dimension, measure = DIMENSIONS[name]
        fixed = {
            "dimension": dimension, "component": name, "measure": measure, "unit": COMPONENTS[name].unit,
            "source": source,
        }  # fmt: skip
        zeros = np.zeros(len(at), dtype=np.int64)
        stamps = column.stamp
        if stamps is None:
            stamp = {r: self.inputs.stamped.vintage(r, self.inputs.year, *column.kinds) for r in set(self.revisions)}
            stamps = _texts(stamp[r] for r in self.revisions)
        figures = ("value", "score", "weight", "low", "high", "coverage", "without")
        out = dict(base) | {n: words_of(zeros, [word]) for n, word in fixed.items()}
        for n in figures:
            values = shown.get(n)
            held = np.full(self.count, np.nan) if values is None else values
            out[n] = pa.array(held[at], mask=np.isnan(held[at]))
        out["reason"] = pa.array(words[at], pa.string()).dictionary_encode()
        out["confidence"] = words_of(grade[at], _GRADES)
        out["source_vintage"] = pa.array(stamps[at], pa.string()).dictionary_encode()
        out["matters_most"] = words_of(zeros - 1, [None]) if most is None else most
        return pa.table(out)


def _shares(amounts: Floats) -> Floats:
    """Rows over their sums; a row of zeros stays one."""
    total = amounts.sum(axis=1, keepdims=True)
    return np.divide(amounts, total, out=np.zeros_like(amounts), where=total > 0)


def _texts(words: Iterable[str | None]) -> Texts:
    held = list(words)
    out = np.empty(len(held), dtype=object)
    out[:] = held
    return out


def _either(condition: Truths, one: Texts | str | None, other: Texts | str | None) -> Texts:
    """Words of ``one`` where the condition holds, else of ``other``."""
    held = [np.broadcast_to(np.array(words, dtype=object), condition.shape) for words in (one, other)]
    return np.where(condition, *held)


def _joined(*parts: Texts | None) -> Texts:
    """Words of each item, those that are None left out; None where all are."""
    held = [p for p in parts if p is not None]
    return _texts("; ".join(dict.fromkeys(w for w in words if w)) or None for words in zip(*held, strict=True))
