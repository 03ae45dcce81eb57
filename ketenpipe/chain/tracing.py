"""Step one for every product: supply mix, production with its basis, origin tracing.

Belongs here: from tables of flows and production to tables of origins. The linear algebra stands in
:mod:`ketenpipe.chain.matrices`, sums over flows in :mod:`ketenpipe.chain.flows`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from threadpoolctl import threadpool_limits

from ketenpipe.chain.catalogue import Reference
from ketenpipe.chain.matrices import (
    Array,
    Links,
    Production,
    balance,
    consumption,
    trace_origins,
    trace_rows,
    without_raising,
)
from ketenpipe.errors import ContractBroken, WrongUse
from ketenpipe.tables.contract import Table, round_significant
from ketenpipe.tables.registry import BACI_FLOWS, MONEY, ORIGIN_MIX, PRODUCTION, SUPPLY_MIX, TRACING
from ketenpipe.tables.store import ROW_GROUP
from ketenpipe.tables.stream import StreamCheck

UNKNOWN = "UNK"
_ISO3 = re.compile(r"[A-Z][A-Z0-9]{2}", re.ASCII)
SMALL_MASS_TONNES = 100.0
PRECIOUS_KUSD_PER_TONNE = 1000.0
IMPUTED_SHARE_LOW_CONFIDENCE = 0.10
MEASURES = ("q", "v")
#: Products are traced together until they have so many flows, or are so many.
FLOWS_AT_ONCE = 100_000
PRODUCTS_AT_ONCE = 128
#: Blocks of products are traced beside one another, each with one BLAS thread.
WORKERS = 2


@dataclass(frozen=True)
class Tracing:
    """Tables of step one: production, origin_mix, tracing, supply_mix (contracts of the registry)."""

    production: pa.Table
    origin_mix: pa.Table
    tracing: pa.Table
    supply_mix: pa.Table


@dataclass(frozen=True)
class Statistic:
    """Production of one code and year: basis, quantity per listed country (NaN: listed without a figure)."""

    basis: str
    quantities: dict[str, float]


def focus_members(reference: Reference, focus: str, years: list[int]) -> dict[int, frozenset[str]]:
    """The countries that a focus stands for in each year: itself, or the bloc's members of that year.

    Raises:
        WrongUse: neither a country's code nor a bloc, or a bloc that has no members in one of the years: its imports
            would be 0 where there is nothing to import.
    """
    if focus in reference.bloc_names or not _ISO3.fullmatch(focus):
        reference.check_blocs((focus,), years)
        return {year: reference.bloc_members(focus, year) for year in years}
    return {year: frozenset((focus,)) for year in years}


def members_table(reference: Reference, focus: str, years: list[int]) -> pa.Table | None:
    """``year, country`` of a bloc, None for a single country (nothing to merge)."""
    if focus not in reference.bloc_names:
        return None
    rows = [(y, c) for y, cs in focus_members(reference, focus, years).items() for c in sorted(cs)]
    return pa.table({"year": pa.array([r[0] for r in rows], pa.int32()), "country": pa.array([r[1] for r in rows])})


def production_statistic(
    reference: Reference, mining: pd.DataFrame | None, hs_revision: str, code: str, year: int
) -> Statistic | None:
    """The production that a code's tracing may use, the first that exists: observed, then producer list.

    Observed only where the statistic measures the same form (``production_links.csv``, same_form) in tonnes;
    a producer list only with quantities in tonnes whose source was read. None: the export proxy.
    """
    link = reference.production_link(code, hs_revision)
    if link is not None and link.same_form and mining is not None:
        rows = mining[(mining["material"] == link.material) & (mining["year"] == year)]
        if len(rows) and rows["tonnes"].notna().any():
            return Statistic("observed", dict(zip(rows["country"], rows["tonnes"].astype(float), strict=True)))
    figures = [
        f
        for f in reference.producer_list(code, hs_revision, year)
        if f.quantity is not None and f.unit == "t" and f.citation_status == "read"
    ]
    if figures:
        return Statistic("producer_list", {f.country: float(f.quantity or 0.0) for f in figures})
    return None


def build_tracing(
    flows: pa.Table,
    mining: pa.Table | None,
    reference: Reference,
    foci: tuple[str, ...],
    progress: Callable[[str], None] | None = None,
) -> Tracing:
    """:func:`trace_year` for every year of a table of flows that fits into memory, one after the other.

    Args:
        flows: table ``baci_flows``.
        mining: table ``mining_production``, None without such a source.
        reference: catalogue, production links, non-producers, blocs.
        foci: countries and blocs.
        progress: called with a word per year.

    Raises:
        WrongUse: a focus is neither a country nor a bloc with members in every year.
    """
    years = sorted({int(y) for y in flows.column("year").unique().to_pylist()})
    for focus in foci:
        focus_members(reference, focus, years)
    found = []
    for year in years:
        if progress:
            progress(str(year))
        part = flows.filter(pc.equal(flows.column("year"), year))
        found.append(trace_year(part, mining, reference, foci, year))
    return Tracing(
        production=_all_years(PRODUCTION, [t.production for t in found]),
        origin_mix=_all_years(ORIGIN_MIX, [t.origin_mix for t in found]),
        tracing=_all_years(TRACING, [t.tracing for t in found]),
        supply_mix=_all_years(SUPPLY_MIX, [t.supply_mix for t in found]),
    )


def _all_years(table: Table, years: list[pa.Table]) -> pa.Table:
    if not years:
        return table.empty()
    return pa.concat_tables(years).sort_by([(k, "ascending") for k in table.key]).combine_chunks()


def trace_year(
    flows: pa.Table | Iterable[pa.RecordBatch],
    mining: pa.Table | None,
    reference: Reference,
    foci: tuple[str, ...],
    year: int,
    *,
    raise_production: bool = True,
) -> Tracing:
    """Trace every product of one year to where it was made, and keep what the foci and the catalogue need.

    ``O = diag(1/x) (I - A)^-1 diag(p)`` per product and measure. Of the codes of the catalogue the whole of O is kept
    (by mass), of all others only the foci's rows, and only those are solved for
    (:func:`ketenpipe.chain.matrices.trace_rows`). A bloc's row is its members' rows weighted by apparent consumption
    ``max(0, supply - exports)``. Direct imports are those of :func:`ketenpipe.chain.flows.imports_by_origin`.

    The year is never in memory as a whole: flows are read and traced some products at a time. The same flows give the
    same tables, to the last bit. An origin of less than 1e-14 of a focus's supply may be missing from its row.

    Args:
        flows: the year's ``baci_flows``: a table in any order, or its batches in the order of the table's key, as
            ``Store.batches`` gives them, text plain or as dictionaries. Any number of HS revisions.
        mining: table ``mining_production`` (any years), None without such a source.
        reference: catalogue, production links, non-producers, blocs.
        foci: countries and blocs.
        year: the year; it names the blocs' members and the statistics.
        raise_production: False takes statistics at their word: where a country exports more than it makes and buys,
            the rest is supply of unknown origin (:func:`ketenpipe.chain.matrices.without_raising`).

    Returns:
        The four tables of the year, in the order of their keys, each held against its contract.

    Raises:
        WrongUse: a flow of another year, or a focus that is neither a country nor a bloc with members in that year.
        ContractBroken: batches that are not in the order of the key.
    """
    scene = _Scene(reference, foci, year, mining, raise_production)
    found = _Found(scene)
    if isinstance(flows, pa.Table):
        flows = flows.sort_by([(k, "ascending") for k in BACI_FLOWS.key]).to_batches()
    with threadpool_limits(limits=1), ThreadPoolExecutor(max_workers=WORKERS) as pool:
        blocks = _Reader(scene, flows).blocks()
        waiting: list[Future[_Rows]] = []
        try:
            for block in blocks:
                waiting.append(pool.submit(_trace, scene, block))
                if len(waiting) > WORKERS:
                    found.take(waiting.pop(0).result())
            for done in waiting:
                found.take(done.result())
        finally:
            for left in waiting:
                left.cancel()
    return found.tables()


# -- what holds for the whole year ---------------------------------------------------------------------------


class _Scene:
    """What a year's products have in common: foci with their members, the catalogue's codes, statistics."""

    def __init__(
        self,
        reference: Reference,
        foci: tuple[str, ...],
        year: int,
        mining: pa.Table | None,
        raise_production: bool = True,
    ) -> None:
        self.reference = reference
        self.raise_production = raise_production
        self.year = year
        self.foci = sorted(set(foci))
        self.members = {f: focus_members(reference, f, [year])[year] for f in self.foci}
        self._mining = None if mining is None else mining.filter(pc.equal(mining.column("year"), year)).to_pandas()
        self._catalogued: dict[str, frozenset[str]] = {}
        self._barred: dict[str, frozenset[str]] = {}
        self._special = frozenset(row.code for row in reference.non_producers if row.code)
        self._measured = {(row.hs_revision, row.code) for row in reference.production_links}
        self._measured |= {(row.hs_revision, row.code) for row in reference.producer_figures}

    def catalogued(self, revision: str) -> frozenset[str]:
        """The codes of the catalogue in an HS revision."""
        if revision not in self._catalogued:
            codes = (self.reference.codes(node, revision) for node in self.reference.nodes)
            self._catalogued[revision] = frozenset(c for held in codes for c in held)
        return self._catalogued[revision]

    def statistic(self, revision: str, code: str) -> Statistic | None:
        """The production of a code."""
        if (revision, code) not in self._measured:
            return None
        return production_statistic(self.reference, self._mining, revision, code, self.year)

    def barred(self, revision: str, code: str) -> frozenset[str]:
        """The countries that make none of a code; the same for all codes that neither a node nor a row names."""
        if code in self.catalogued(revision) or code in self._special:
            return frozenset(self.reference.non_producer_countries(code, revision))
        if revision not in self._barred:
            self._barred[revision] = frozenset(self.reference.non_producer_countries(code, revision))
        return self._barred[revision]


@dataclass(frozen=True)
class _Product:
    revision: str
    code: str
    kept: bool
    statistic: Statistic | None
    barred: frozenset[str]

    @cached_property
    def contradicted(self) -> list[str]:
        """Non-producers to which the statistic gives production. Reference data decide (METHOD 1); it is noted."""
        if self.statistic is None:
            return []
        return [c for c in sorted(self.barred) if self.statistic.quantities.get(c, 0.0) > 0]


@dataclass(frozen=True)
class _Block:
    """The flows of some whole products.

    Args:
        products: in the order of the key.
        countries: sorted, unknown origin among them.
        product, exporter, importer: numbers within those lists, shape (flows).
        value: thousandths of a thousand USD, shape (flows).
        tonnes: NaN where null, shape (flows).
    """

    products: list[_Product]
    countries: list[str]
    product: Array
    exporter: Array
    importer: Array
    value: Array
    tonnes: Array

    @cached_property
    def unknown(self) -> int:
        """The number of unknown origin among the countries."""
        return self.countries.index(UNKNOWN)

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.products), len(self.countries)


# -- reading -------------------------------------------------------------------------------------------------


class _Reader:
    """Batches of flows in the order of the key, cut into blocks of whole products."""

    def __init__(self, scene: _Scene, batches: Iterable[pa.RecordBatch]) -> None:
        self.scene = scene
        self._batches = batches
        self._numbers: dict[str, int] = {UNKNOWN: 0}
        self._sorted: tuple[list[str], Array] = ([UNKNOWN], np.zeros(1, np.int64))
        self._last: tuple[str, str] | None = None
        self._products: list[_Product] = []
        self._held: list[tuple[int, tuple[Array, ...]]] = []
        self._rows = 0

    def blocks(self) -> Iterator[_Block]:
        """All flows, block by block."""
        for batch in self._batches:
            if not batch.num_rows:
                continue
            self._check_year(batch)
            columns = self._columns(batch)
            starts, names = _runs(batch)
            for number, (start, name) in enumerate(zip(starts, names, strict=True)):
                stop = starts[number + 1] if number + 1 < len(starts) else batch.num_rows
                if name != self._last:
                    if self._rows >= FLOWS_AT_ONCE or len(self._products) >= PRODUCTS_AT_ONCE:
                        yield self._block()
                    self._begin(name)
                self._held.append((len(self._products) - 1, tuple(c[start:stop] for c in columns)))
                self._rows += stop - start
        if self._products:
            yield self._block()

    def _check_year(self, batch: pa.RecordBatch) -> None:
        years = pc.unique(batch.column("year")).to_pylist()
        if strange := [y for y in years if y != self.scene.year]:
            raise WrongUse(f"flows of {strange[0]} were given where those of {self.scene.year} are to be traced")

    def _columns(self, batch: pa.RecordBatch) -> tuple[Array, ...]:
        return (
            self._numbered(batch.column("exporter")),
            self._numbered(batch.column("importer")),
            _thousandths(batch.column("value_kusd")),
            batch.column("tonnes").cast(pa.float64()).to_numpy(zero_copy_only=False),
        )

    def _numbered(self, column: pa.Array) -> Array:
        coded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        numbers = [self._numbers.setdefault(c, len(self._numbers)) for c in coded.dictionary.to_pylist()]
        return np.array(numbers, np.int64)[coded.indices.to_numpy(zero_copy_only=False)]

    def _begin(self, name: tuple[str, str]) -> None:
        if self._last is not None and name < self._last:
            raise ContractBroken(
                f"table {BACI_FLOWS.name}: the flows of {name[1]} ({name[0]}) come after those of {self._last[1]} "
                f"({self._last[0]}), against the order of the key; sort the table by its key"
            )
        self._last = name
        statistic = self.scene.statistic(*name)
        for country in statistic.quantities if statistic else ():
            self._numbers.setdefault(country, len(self._numbers))
        kept = name[1] in self.scene.catalogued(name[0])
        self._products.append(_Product(*name, kept, statistic, self.scene.barred(*name)))

    def _block(self) -> _Block:
        if len(self._sorted[0]) < len(self._numbers):
            names = sorted(self._numbers)
            place = {c: k for k, c in enumerate(names)}
            self._sorted = names, np.array([place[c] for c in self._numbers], np.int64)
        names, place_of = self._sorted
        product = np.repeat([number for number, _ in self._held], [len(held[0]) for _, held in self._held])
        exporter, importer, value, tonnes = (np.concatenate([held[k] for _, held in self._held]) for k in range(4))
        block = _Block(self._products, names, product, place_of[exporter], place_of[importer], value, tonnes)
        self._products, self._held, self._rows = [], [], 0
        return block


def _runs(batch: pa.RecordBatch) -> tuple[list[int], list[tuple[str, str]]]:
    """Where the products of a batch begin, and their HS revision and code."""
    columns = [batch.column(name) for name in ("hs_revision", "code")]
    coded = [c if pa.types.is_dictionary(c.type) else c.dictionary_encode() for c in columns]
    begins = np.zeros(batch.num_rows, dtype=bool)
    begins[0] = True
    for column in coded:
        numbers = column.indices.to_numpy(zero_copy_only=False)
        begins[1:] |= numbers[1:] != numbers[:-1]
    starts = np.flatnonzero(begins)
    names = (column.take(pa.array(starts)).to_pylist() for column in coded)
    return starts.tolist(), list(zip(*names, strict=True))


def _thousandths(column: pa.Array) -> Array:
    """Money as whole thousandths of its unit."""
    if column.type != MONEY:
        column = column.cast(MONEY)
    # A decimal of 128 bits is two words, of which 18 digits need the lower one only.
    words = np.frombuffer(column.buffers()[1], dtype="<i8").reshape(-1, 2)
    return words[column.offset : column.offset + len(column), 0]


# -- tracing -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Seen:
    """What one measure says of a block's products: shapes (products, countries) and (foci, products)."""

    links: Links
    basis: list[str]
    production: Production
    supply: Array
    shares: Array
    residual: Array
    known: Array
    held: Array
    eaten: Array
    dropped: Array
    own: Array
    unknown: Array
    imputed: Array


@dataclass(frozen=True)
class _Direct:
    """Direct imports of the foci: shape (foci, products, countries); ``there`` says where there is a flow."""

    there: Array
    value: Array
    tonnes: Array
    value_with_mass: Array


def _trace(scene: _Scene, block: _Block) -> _Rows:
    inside = np.array([[c in scene.members[f] for c in block.countries] for f in scene.foci], dtype=bool)
    inside = inside.reshape(len(scene.foci), len(block.countries))
    value = block.value / 1000.0
    seen = {
        "q": _measured(scene, block, inside, block.tonnes > 0, block.tonnes, "q"),
        "v": _measured(scene, block, inside, np.ones(len(value), dtype=bool), value, "v"),
    }
    direct = _imports(block, inside)
    labels = _Labels(scene, block)
    rows: _Rows = {(PRODUCTION.name, ""): [_production_rows(block, labels, seen)]}
    rows[ORIGIN_MIX.name, ""] = [
        _origin_rows(labels, k, _origins(block, seen["q"], k)) for k, p in enumerate(block.products) if p.kept
    ]
    median = _median_unit_values(block, value)
    for k, focus in enumerate(scene.foci):
        rows[TRACING.name, focus] = [_tracing_rows(block, labels, k, seen, direct, median)]
        rows[SUPPLY_MIX.name, focus] = [_supply_rows(labels, k, seen, direct)]
    return rows


def _measured(scene: _Scene, block: _Block, inside: Array, taken: Array, amounts: Array, measure: str) -> _Seen:
    links = Links(*block.shape, block.product, block.exporter, block.importer, amounts).where(taken)
    production, basis = _production(block, links, measure, raised=scene.raise_production)
    supply = production.made + production.unknown + links.bought
    eaten = consumption(links.sold, supply)
    single = np.array([len(scene.members[f]) == 1 for f in scene.foci]).reshape(-1, 1, 1)
    held = np.where(inside[:, np.newaxis, :], supply, 0.0)
    weights = np.where(inside[:, np.newaxis, :], np.where(single, supply, eaten), 0.0)
    supplied, weighed = held.sum(axis=2), weights.sum(axis=2)
    known = (supplied > 0) & (weighed > 0)
    scaled = weights / np.where(known, weighed, 1.0)[:, :, np.newaxis]
    traced = trace_rows(links, production, np.where(known[:, :, np.newaxis], scaled, 0.0))
    left_out = np.where(weights > 0, 0.0, held).sum(axis=2)
    shares = traced.shares
    seen = _Seen(
        links=links,
        basis=basis,
        production=production,
        supply=supply,
        shares=shares,
        residual=traced.residual,
        known=known,
        held=supplied,
        eaten=np.where(inside[:, np.newaxis, :], eaten, 0.0).sum(axis=2),
        dropped=left_out / np.where(supplied > 0, supplied, np.nan),
        own=np.where(inside[:, np.newaxis, :], shares, 0.0).sum(axis=2),
        unknown=traced.unknown + shares[:, :, block.unknown],
        imputed=(shares * production.imputed).sum(axis=2),
    )
    shares[:, :, block.unknown] += traced.unknown
    return seen


def _production(block: _Block, links: Links, measure: str, *, raised: bool = True) -> tuple[Production, list[str]]:
    """What is made where, and the basis of each product; statistics are in tonnes only."""
    barred = np.zeros(block.shape, dtype=bool)
    for k, product in enumerate(block.products):
        if product.barred:
            barred[k] = [c in product.barred for c in block.countries]
    proxy = balance(links.sold, links.bought, None, None, barred)
    basis = ["export_proxy"] * len(block.products)
    for k, product in enumerate(block.products):
        if measure == "v" or product.statistic is None:
            continue
        quantities = product.statistic.quantities
        listed = np.array([c in quantities for c in block.countries])
        figures = np.array([quantities.get(c, np.nan) for c in block.countries], dtype=float)
        own = balance(links.sold[k], links.bought[k], figures, listed, barred[k])
        if not raised:
            own = without_raising(own, figures, listed)
        proxy.made[k], proxy.unknown[k], proxy.imputed[k] = own.made, own.unknown, own.imputed
        basis[k] = product.statistic.basis
    return proxy, basis


def _origins(block: _Block, seen: _Seen, product: int) -> Array:
    """``O`` of one product between all countries of the block, unknown origin among them; without supply: 0."""
    active = np.flatnonzero(seen.supply[product] > 0)
    made = Production(
        *(part[product, active] for part in (seen.production.made, seen.production.unknown, seen.production.imputed))
    )
    traced = trace_origins(seen.links.matrix(product, active), made)
    full = np.zeros((len(block.countries),) * 2)
    full[np.ix_(active, active)] = traced.origins[:, :-1]
    full[active, block.unknown] += traced.origins[:, -1]
    return full


def _imports(block: _Block, inside: Array) -> _Direct:
    """``M[i] = X[i, f]`` from outside the focus; sums of money are exact, whole thousandths."""
    shape = (len(inside), *block.shape)
    size = block.shape[0] * block.shape[1]
    there, value, tonnes, with_mass = (np.zeros(shape) for _ in range(4))
    at = block.product * block.shape[1] + block.exporter
    weighed = ~np.isnan(block.tonnes)
    for k, members in enumerate(inside):
        mine = members[block.importer] & ~members[block.exporter]
        place, money, mass, has_mass = at[mine], block.value[mine], block.tonnes[mine], weighed[mine]
        there[k] = np.bincount(place, minlength=size).reshape(block.shape)
        value[k] = np.bincount(place, money, size).reshape(block.shape) / 1000.0
        summed = np.bincount(place[has_mass], mass[has_mass], size)
        counted = np.bincount(place[has_mass], minlength=size)
        tonnes[k] = np.where(counted > 0, summed, np.nan).reshape(block.shape)
        with_mass[k] = np.bincount(place[has_mass], money[has_mass], size).reshape(block.shape) / 1000.0
    return _Direct(there > 0, value, tonnes, with_mass)


def _median_unit_values(block: _Block, value: Array) -> Array:
    """Median of the unit values of all flows of each product that have a mass; NaN where none has."""
    taken = block.tonnes > 0
    unit, product = value[taken] / block.tonnes[taken], block.product[taken]
    bounds = np.searchsorted(product, np.arange(len(block.products) + 1))
    return np.array([_median(unit[a:b]) for a, b in pairwise(bounds.tolist())])


def _median(values: Array) -> float:
    """As ``np.median``, which takes five times as long for a thousand values."""
    if not len(values):
        return float("nan")
    low, high = (len(values) - 1) // 2, len(values) // 2
    sorted_there = np.partition(values, (low, high))
    return float((sorted_there[low] + sorted_there[high]) / 2.0)


# -- rows of the tables --------------------------------------------------------------------------------------

#: Batches by table and focus (none where the table has no focus).
_Rows = dict[tuple[str, str], list[pa.RecordBatch]]


class _Labels:
    """The text columns of a block's rows."""

    def __init__(self, scene: _Scene, block: _Block) -> None:
        self.scene = scene
        self.countries = pa.array(block.countries, pa.string())
        self.codes = pa.array([p.code for p in block.products], pa.string())
        self.revisions = pa.array([p.revision for p in block.products], pa.string())

    def batch(self, table: Table, product: Array, columns: dict[str, pa.Array], focus: str = "") -> pa.RecordBatch:
        """Rows of a table, given the product (its number) of each and the columns that are not its names."""
        products = pa.array(product)
        given = {
            "hs_revision": self.revisions.take(products),
            "code": self.codes.take(products),
            "year": pa.repeat(pa.scalar(self.scene.year, pa.int32()), len(product)),
            **columns,
        }
        if focus:
            given["focus"] = pa.repeat(pa.scalar(focus, pa.string()), len(product))
        return pa.RecordBatch.from_arrays([given[name] for name in table.names], schema=table.schema())


def _figures(values: Array) -> pa.Array:
    rounded = round_significant(values)
    return pa.array(rounded, mask=np.isnan(rounded))


def _production_rows(block: _Block, labels: _Labels, seen: dict[str, _Seen]) -> pa.RecordBatch:
    kept = np.array([p.kept for p in block.products])
    active = np.stack([seen[m].supply > 0 for m in MEASURES], axis=1) & kept[:, np.newaxis, np.newaxis]
    product, measure, country = np.nonzero(active)

    def of(pick: Callable[[_Seen], Array]) -> pa.Array:
        return _figures(np.stack([pick(seen[m]) for m in MEASURES], axis=1)[active])

    columns = {
        "measure": pa.array(MEASURES).take(pa.array(measure)),
        "country": labels.countries.take(pa.array(country)),
        "basis": pa.array([b for both in zip(*(seen[m].basis for m in MEASURES), strict=True) for b in both]).take(
            pa.array(product * len(MEASURES) + measure)
        ),
        "production": of(lambda s: s.production.made),
        "unknown_origin": of(lambda s: s.production.unknown),
        "imputed": of(lambda s: s.production.imputed),
        "supply": of(lambda s: s.supply),
        "exports": of(lambda s: s.links.sold),
    }
    return labels.batch(PRODUCTION, product, columns)


def _origin_rows(labels: _Labels, product: int, origins: Array) -> pa.RecordBatch:
    country, origin = np.nonzero(origins > 0)
    columns = {
        "country": labels.countries.take(pa.array(country)),
        "origin": labels.countries.take(pa.array(origin)),
        "share": _figures(np.minimum(origins[country, origin], 1.0)),
    }
    return labels.batch(ORIGIN_MIX, np.full(len(country), product), columns)


def _tracing_rows(
    block: _Block, labels: _Labels, focus: int, seen: dict[str, _Seen], direct: _Direct, median: Array
) -> pa.RecordBatch:
    """A row per product and measure, with what the direct imports say: value without mass, small or precious."""
    value = direct.value[focus].sum(axis=1)
    gap = np.round(value - direct.value_with_mass[focus].sum(axis=1), 3)
    without_mass = np.clip(gap / np.where(value > 0, value, np.nan), 0.0, 1.0)
    small = np.nansum(direct.tonnes[focus], axis=1) < SMALL_MASS_TONNES
    tricky = small | (median > PRECIOUS_KUSD_PER_TONNE)

    def both(pick: Callable[[_Seen], Array]) -> Array:
        return np.stack([pick(seen[m])[focus] for m in MEASURES], axis=1).ravel()

    def twice(values: Array) -> Array:
        return np.repeat(values, len(MEASURES))

    known, held = both(lambda s: s.known), both(lambda s: s.held)

    def where_known(pick: Callable[[_Seen], Array]) -> Array:
        return np.where(known, both(pick), np.nan)

    imputed = where_known(lambda s: s.imputed)
    unsure = (imputed > IMPUTED_SHARE_LOW_CONFIDENCE) | twice(tricky)
    partly = twice(np.nan_to_num(without_mass)) > IMPUTED_SHARE_LOW_CONFIDENCE
    confidence = np.where(unsure, "low", np.where(partly, "medium", "high"))
    noted = [p.contradicted if m == "q" else [] for p in block.products for m in MEASURES]
    reasons = [
        "no_supply" if not h > 0 else "no_member_consumes" if not k else _contradiction(names)
        for h, k, names in zip(held, known, noted, strict=True)
    ]
    columns = {
        "measure": pa.array(MEASURES * len(block.products), pa.string()),
        "basis": pa.array([b for pair in zip(*(seen[m].basis for m in MEASURES), strict=True) for b in pair]),
        "supply": _figures(held),
        "consumption": _figures(both(lambda s: s.eaten)),
        "own_share": _figures(where_known(lambda s: s.own)),
        "unknown_share": _figures(where_known(lambda s: s.unknown)),
        "imputed_share": _figures(imputed),
        "dropped_member_share": _figures(both(lambda s: s.dropped)),
        "value_without_mass": _figures(twice(without_mass)),
        "median_unit_value": _figures(twice(median)),
        "row_residual": _figures(where_known(lambda s: s.residual)),
        "small_or_precious": pa.array(twice(tricky)),
        "confidence": pa.array(confidence.tolist(), pa.string(), mask=~known),
        "reason": pa.array(reasons, pa.string()),
    }
    return labels.batch(TRACING, twice(np.arange(len(block.products))), columns, labels.scene.foci[focus])


def _contradiction(countries: list[str]) -> str | None:
    if not countries:
        return None
    return f"the statistic gives production to listed non-producers: {' '.join(countries)}"


def _supply_rows(labels: _Labels, focus: int, seen: dict[str, _Seen], direct: _Direct) -> pa.RecordBatch:
    """A row per supplier or maker. Where the row was traced, who does not appear in it made 0 of it; else null."""
    there, value, tonnes = direct.there[focus], direct.value[focus], direct.tonnes[focus]
    shares = {m: seen[m].shares[focus] for m in MEASURES}
    listed = there | (shares["q"] > 0) | (shares["v"] > 0)
    product, country = np.nonzero(listed)

    def figures(values: Array, known: Array) -> pa.Array:
        return _figures(np.where(known, values, np.nan)[listed])

    def share_of(values: Array) -> Array:
        total = np.nansum(values, axis=1, keepdims=True)
        return values / np.where(total > 0, total, np.nan)

    ranks = _ranks(there, value)[listed]
    columns = {
        "country": labels.countries.take(pa.array(country)),
        "rank": pa.array(ranks, mask=ranks == 0),
        "value_kusd": figures(value, there),
        "tonnes": figures(tonnes, there),
        "share_direct": figures(share_of(value), there),
        "share_direct_q": figures(share_of(tonnes), there),
        "share_traced": figures(np.minimum(shares["q"], 1.0), seen["q"].known[focus][:, np.newaxis]),
        "share_traced_v": figures(np.minimum(shares["v"], 1.0), seen["v"].known[focus][:, np.newaxis]),
    }
    return labels.batch(SUPPLY_MIX, product, columns, labels.scene.foci[focus])


def _ranks(there: Array, value: Array) -> Array:
    """Rank of each supplier by value, 1 the largest, in the order of the countries where equal; 0: no supplier."""
    product, country = np.nonzero(there)
    order = np.lexsort((country, -value[product, country], product))
    ranks = np.zeros(there.shape, dtype=np.int64)
    first = np.searchsorted(product, product)
    ranks[product, country[order]] = np.arange(len(product)) - first + 1
    return ranks


class _Found:
    """The rows of a year as they come, block by block."""

    def __init__(self, scene: _Scene) -> None:
        self._foci = scene.foci
        self._rows: _Rows = {}

    def take(self, rows: _Rows) -> None:
        for key, batches in rows.items():
            self._rows.setdefault(key, []).extend(b for b in batches if b.num_rows)

    def tables(self) -> Tracing:
        """All rows as tables, in the order of their keys; what was taken is given away."""
        return Tracing(
            production=self._table(PRODUCTION, [""]),
            origin_mix=self._table(ORIGIN_MIX, [""]),
            tracing=self._table(TRACING, self._foci),
            supply_mix=self._table(SUPPLY_MIX, self._foci),
        )

    def _table(self, table: Table, foci: Sequence[str]) -> pa.Table:
        batches = [batch for focus in foci for batch in self._rows.pop((table.name, focus), [])]
        whole = pa.Table.from_batches(batches, schema=table.schema()).combine_chunks()
        check = StreamCheck(table)
        for batch in whole.to_batches(max_chunksize=ROW_GROUP):
            check.take(batch)
        return whole
