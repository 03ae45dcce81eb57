"""HS6 products and the industries of an input-output table: who uses a product, and what probably went into it.

Two joins, both by proportion and both of evidence ``icio_proportional``:

- *Uses.* A delivery of industry i in country c to industry j of the focus is split over the products of i that the
  focus imports from c, by import value: ``w[(c,p)->(f,j)] = Z[(c,i),(f,j)] * M_{f,c,p} / sum_{p' in i} M_{f,c,p'}``.
- *Indicative tiers.* A product without a recipe in the catalogue takes the recipe of its industry, in the countries
  where it was made: ``A y0`` are its inputs (tier 1), ``A^2 y0`` theirs (tier 2).

All products of an industry share one recipe here: what comes out is indicative and never flags alone.

Belongs here: these joins, as arrays and as tables of the release. Does not belong here: risk figures on them
(:mod:`ketenpipe.risk.product_tiers`), the inverse (:mod:`ketenpipe.chain.leontief`), which industry a code belongs to
(:mod:`ketenpipe.sources.hs_industries`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_array
from threadpoolctl import threadpool_limits

from ketenpipe.chain.catalogue import Reference
from ketenpipe.chain.tracing import UNKNOWN, focus_members
from ketenpipe.errors import InputRefused, WrongUse
from ketenpipe.sources.hs_industries import REVISIONS, hs_industries
from ketenpipe.sources.icio import IcioTable, Label
from ketenpipe.tables.registry import MONEY, PRODUCT_JOIN, PRODUCT_TIERS, PRODUCT_USES

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Truths = npt.NDArray[np.bool_]
Words = npt.NDArray[np.object_]

EVIDENCE = "icio_proportional"
#: The region that stands for every country that a table does not name.
REST = "ROW"
TIERS = (1, 2)
#: A using industry's rows: as many as explain so much of its foreign inputs, and at most so many.
USES_EXPLAIN, USES_AT_MOST = 0.95, 200
#: Part of the listed codes that sources must hold: below it a delivery is shared out among too few of them.
WHOLE = 0.5
SUBSET = "subset_of_products"
#: A product's inputs at a tier: as many as explain so much of what is known, and at most so many.
INPUTS_EXPLAIN, INPUTS_AT_MOST = 0.90, 10
#: So many inputs of inputs are computed before the bound says which others may matter.
TRIED = 128
#: Whole USD in a million USD (the tables' unit); money is held to the USD, as everywhere.
USD = 1_000_000
#: Industries are dealt with beside one another, each with one BLAS thread: the bits do not depend on the machine.
WORKERS = 2


# -- the table that a year is joined to ------------------------------------------------------------------------


def recipe_year(held: Collection[int], year: int) -> int | None:
    """Which input-output table a year of trade is joined to: its own, else the latest earlier, else the earliest.

    None where there is none at all.
    """
    earlier = [y for y in held if y <= year]
    return max(earlier) if earlier else min(held, default=None)


def industries_for(
    table: IcioTable, revisions: Iterable[str], directory: Path | None = None
) -> dict[str, dict[str, str]]:
    """HS revision -> code -> industry in the table's edition; empty for a revision that the reference file lacks.

    Args:
        table: its edition decides on the industries.
        revisions: those asked about.
        directory: the folder of the reference files; None: the one that comes with the project.

    Raises:
        WrongUse: an edition without industries in the reference file.
    """
    return {
        r: hs_industries(r, table.edition, directory=directory).by_code if r in REVISIONS else {}
        for r in set(revisions)
    }


def with_recipe(reference: Reference, hs_revision: str) -> frozenset[str]:
    """The codes that the catalogue has a recipe for: those of every node that is the user of an edge."""
    users = {edge.user for edge in reference.edges}
    return frozenset(code for user in users for code in reference.codes(user, hs_revision))


@dataclass(frozen=True)
class View:
    """An input-output table as a focus sees it in a year: the focus is one country, its members merged.

    Attributes:
        focus: country or bloc.
        year: of trade; it names a bloc's members.
        table: the table.
        members: the countries of the focus.
        names: the C countries and regions, sorted, the focus among them if the table has any of its members.
        at: place in ``names`` of each row, shape (n).
        own: place of the focus in ``names``, -1 if the table has none of its members.
    """

    focus: str
    year: int
    table: IcioTable
    members: frozenset[str]
    names: list[str]
    at: Integers
    own: int

    @classmethod
    def of(cls, table: IcioTable, reference: Reference, focus: str, year: int) -> View:
        """The view of a focus.

        Raises:
            WrongUse: neither a country's code nor a bloc with members in that year.
        """
        members = focus_members(reference, focus, [year])[year]
        owner = [focus if c in members else c for c, _ in table.labels]
        names = sorted(set(owner))
        place = {c: k for k, c in enumerate(names)}
        at = np.array([place[c] for c in owner], dtype=np.int64)
        return cls(focus, year, table, members, names, at, place.get(focus, -1))

    @cached_property
    def member_of(self) -> Floats:
        """1 where a row belongs to a country, shape (C, n)."""
        return (self.at[np.newaxis, :] == np.arange(len(self.names))[:, np.newaxis]).astype(np.float64)

    def regions(self, countries: Sequence[str]) -> Integers:
        """Place among ``table.countries`` of each country: its own, else the rest of the world's; -1 without either."""
        place = {c: k for k, c in enumerate(self.table.countries)}
        rest = place.get(REST, -1)
        return np.array([-1 if c == UNKNOWN else place.get(c, rest) for c in countries], dtype=np.int64)

    def columns(self, industry: str) -> Integers:
        """The focus's own columns of an industry."""
        return np.array(
            [k for k, (_, i) in enumerate(self.table.labels) if i == industry and self.at[k] == self.own],
            dtype=np.int64,
        )

    @cached_property
    def own_industries(self) -> list[str]:
        """The focus's own industries, in the order of the table."""
        present = {i for k, (_, i) in enumerate(self.table.labels) if self.at[k] == self.own}
        return [i for i in self.table.industries if i in present]


# -- a year of supply ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Supply:
    """What one focus imports and where it was made, in one HS revision and year: rows of ``supply_mix`` as arrays.

    Attributes:
        codes, countries: sorted; ``code`` and ``country`` are places in them, shape (rows).
        value: direct imports in whole USD, 0 where there are none, shape (rows).
        by_mass, by_value: traced shares, 0 where null, shape (rows).
    """

    focus: str
    hs_revision: str
    year: int
    codes: list[str]
    countries: list[str]
    code: Integers
    country: Integers
    value: Integers
    by_mass: Floats
    by_value: Floats


def supplies(supply_mix: pa.Table, year: int) -> list[Supply]:
    """The rows of ``supply_mix``, by focus and HS revision.

    Args:
        supply_mix: of one year.

    Raises:
        WrongUse: rows of another year.
    """
    if strange := sorted({int(y) for y in pc.unique(supply_mix.column("year")).to_pylist()} - {year}):
        raise WrongUse(f"the supply mix of {strange[0]} was given where that of {year} is to be joined; give one year")
    names = ("focus", "hs_revision", "code", "country")
    (focus, foci), (revision, revisions), (code, codes), (country, countries) = (
        _numbered(supply_mix.column(n)) for n in names
    )
    figures = [
        np.nan_to_num(supply_mix.column(n).cast(pa.float64()).to_numpy())
        for n in ("value_kusd", "share_traced", "share_traced_v")
    ]
    value = np.rint(figures[0] * 1000).astype(np.int64)
    out = []
    pair = focus * len(revisions) + revision
    for number in np.flatnonzero(np.bincount(pair, minlength=1)).tolist():
        f, r = divmod(number, len(revisions))
        rows = np.flatnonzero(pair == number)
        there = np.bincount(code[rows], minlength=len(codes)) > 0
        held, at = np.flatnonzero(there), (np.cumsum(there) - 1)[code[rows]]
        out.append(
            Supply(
                foci[f], revisions[r], year, [codes[k] for k in held], countries, at, country[rows], value[rows],
                figures[1][rows], figures[2][rows],
            )
        )  # fmt: skip
    return out


def _numbered(column: pa.ChunkedArray) -> tuple[Integers, list[str]]:
    """A text column as places in the sorted list of its words, and that list."""
    coded = pa.chunked_array(column.cast(pa.string()).chunks, pa.string()).combine_chunks().dictionary_encode()
    words = coded.dictionary.to_pylist()
    order = sorted(range(len(words)), key=words.__getitem__)
    place = np.empty(len(words), dtype=np.int64)
    place[order] = np.arange(len(words))
    return place[coded.indices.to_numpy(zero_copy_only=False)], [words[k] for k in order]


# -- uses ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Split:
    """How a focus's foreign inputs split over products: the factors from which every edge can be made.

    Attributes:
        view: the table as the focus sees it.
        supply: the imports.
        block: row of the table (foreign country and industry) of each factor, shape (factors), sorted.
        code: place in ``supply.codes`` of each factor's product.
        amount: imports of the product from that country in whole USD, above 0.
        share: the amount's share of its block.
        reason: of each row of the table, why its deliveries stay whole: ``no_product`` (no HS6 code belongs to the
            industry), ``no_imports`` (the focus imports none of its products from there); None where they split.
        no_industry: import value without an industry, in whole USD.
        no_region: import value whose country the table has no region for (of unknown origin; with a table without a
            rest of the world).
        codes_without_industry: how many imported codes have no industry.
    """

    view: View
    supply: Supply
    block: Integers
    code: Integers
    amount: Integers
    share: Floats
    reason: Words
    no_industry: int
    no_region: int
    codes_without_industry: int
    _largest: Integers = field(repr=False)

    @classmethod
    def of(cls, view: View, supply: Supply, industries: Mapping[str, str]) -> Split:
        """The factors of a focus.

        Args:
            view: the table as the focus sees it.
            supply: the focus's imports of a year, in one HS revision.
            industries: code -> industry, in that revision.
        """
        labels = view.table.labels
        row_of = {label: k for k, label in enumerate(labels)}
        imported = supply.value > 0
        region = view.regions(supply.countries)[supply.country]
        present = set(view.table.industries)
        of_code = np.array([industries.get(c) in present for c in supply.codes], dtype=bool)
        mapped = imported & of_code[supply.code] & (region >= 0)
        of_row = _rows_of(view.table, supply.codes, industries, row_of)[supply.code[mapped], region[mapped]]
        # A region that lacks the industry has no delivery to split: its value stands among what no delivery takes.
        held = of_row >= 0
        key = of_row[held] * len(supply.codes) + supply.code[mapped][held]
        unique, at = np.unique(key, return_inverse=True)
        amount = np.zeros(len(unique), dtype=np.int64)
        np.add.at(amount, at, supply.value[mapped][held])
        block, code = unique // len(supply.codes), unique % len(supply.codes)
        foreign = view.at[block] != view.own
        block, code, amount = block[foreign], code[foreign], amount[foreign]
        total = np.bincount(block, amount, len(labels))
        order = np.lexsort((code, -amount, block))
        first = np.ones(len(order), dtype=bool)
        first[1:] = block[order][1:] != block[order][:-1]
        known = set(industries.values())
        split = np.zeros(len(labels), dtype=bool)
        split[block] = True
        reason = np.array(
            [
                None if done else "no_imports" if i in known else "no_product"
                for done, (_, i) in zip(split, labels, strict=True)
            ],
            dtype=object,
        )
        return cls(
            view=view,
            supply=supply,
            block=block,
            code=code,
            amount=amount,
            share=amount / total[block] if len(block) else np.zeros(0),
            reason=reason,
            no_industry=int(supply.value[imported & ~of_code[supply.code]].sum()),
            no_region=int(supply.value[imported & of_code[supply.code] & (region < 0)].sum()),
            codes_without_industry=len(np.unique(supply.code[imported & ~of_code[supply.code]])),
            _largest=order[first],
        )

    def deliveries(self, industry: str) -> Integers:
        """What each row of the table delivers to an industry of the focus, in whole USD, shape (n)."""
        columns = self.view.columns(industry)
        return np.rint(self.view.table.Z[:, columns].sum(axis=1) * USD).astype(np.int64)

    def products(self, delivered: Integers) -> Integers:
        """The deliveries of the rows that split, over their factors, in whole USD, shape (factors).

        Each factor takes the whole USD of its share, the largest of a block also what is left: the sum over a block is
        its delivery, to the USD.
        """
        whole = delivered[self.block]
        parts = np.floor(np.abs(whole) * self.share).astype(np.int64) * np.sign(whole)
        taken = np.zeros(len(delivered), dtype=np.int64)
        np.add.at(taken, self.block, parts)
        blocks = self.block[self._largest]
        parts[self._largest] += delivered[blocks] - taken[blocks]
        return parts

    @cached_property
    def without_delivery(self) -> int:
        """Import value with an industry and a region from which no industry of the focus takes a delivery, in USD."""
        own = np.flatnonzero(self.view.at == self.view.own)
        taken = np.rint(self.view.table.Z[:, own].sum(axis=1) * USD) != 0
        split = int(self.amount[taken[self.block]].sum())
        return int(self.supply.value.sum()) - self.no_industry - self.no_region - split

    def edges(
        self, industry: str, *, explain: float | None = None, at_most: int | None = None, own: bool = True
    ) -> pa.Table:
        """The deliveries to one industry of the focus: contract ``product_uses``, largest first.

        A foreign row that splits gives an edge per product, one that does not a single edge with its reason; the own
        rows stay whole, one edge for each industry. Edges of less than a USD are left out: the sum is that of Z.

        Args:
            industry: of the focus.
            explain, at_most: only the largest foreign edges, as many as reach that share of the foreign inputs, or so
                many, and an edge with the rest; None: all of them.
            own: with the own rows.

        Raises:
            WrongUse: the focus has no such industry.
        """
        view = self.view
        if industry not in view.own_industries:
            raise WrongUse(
                f"{view.focus} has no industry '{industry}' in the table of {view.table.year}; "
                f"there are {', '.join(view.own_industries) or 'none'}"
            )
        delivered = self.deliveries(industry)
        foreign = view.at != view.own
        whole = np.flatnonzero(foreign & (delivered != 0) & np.array([r is not None for r in self.reason]))
        value = np.concatenate([self.products(delivered), delivered[whole]])
        row = np.concatenate([self.block, whole])
        code = np.concatenate([self.code, np.full(len(whole), -1)])
        total = int(delivered[foreign].sum())
        kept = np.flatnonzero(value != 0)
        if at_most is not None and len(kept) > at_most:
            least = np.partition(value[kept], len(kept) - at_most)[len(kept) - at_most]
            kept = kept[value[kept] >= least]
        rank = _ranks_of(view.table.labels)
        order = kept[np.lexsort((code[kept], rank[row[kept]], -value[kept]))][:at_most]
        if explain is not None and total > 0:
            before = np.concatenate([[0], np.cumsum(value[order])[:-1]])
            order = order[before < explain * total]
        columns: dict[str, list[Any]] = {
            "kind": ["product" if code[k] >= 0 else "industry" for k in order],
            "country": [view.table.labels[row[k]][0] for k in order],
            "supplier_industry": [view.table.labels[row[k]][1] for k in order],
            "code": [self.supply.codes[code[k]] if code[k] >= 0 else None for k in order],
            "value": value[order].tolist(),
            "share": [v / total if total > 0 else None for v in value[order].tolist()],
            "reason": [None if code[k] >= 0 else self.reason[row[k]] for k in order],
        }
        rest = total - sum(columns["value"])
        if rest:
            _add(columns, kind="rest", value=rest, share=rest / total if total > 0 else None)
        if own:
            mine: dict[str, int] = {}
            for k in np.flatnonzero(~foreign & (delivered != 0)):
                mine[view.table.labels[k][1]] = mine.get(view.table.labels[k][1], 0) + int(delivered[k])
            for name in sorted(mine, key=lambda n: (-mine[n], n)):
                _add(columns, kind="own", country=view.focus, supplier_industry=name, value=mine[name])
        return self._table(industry, columns)

    def _table(self, industry: str, columns: dict[str, list[Any]]) -> pa.Table:
        count = len(columns["kind"])
        table = self.view.table
        values = pa.array(columns.pop("value"), pa.int64())
        fixed: dict[str, Any] = {
            "focus": self.view.focus,
            "hs_revision": self.supply.hs_revision,
            "industry": industry,
            "year": self.supply.year,
            "recipe_year": table.year,
            "evidence": EVIDENCE,
            "basis": EVIDENCE,
        }
        columns["reason"] = [_noted(r, table) for r in columns["reason"]]
        given = {
            **{n: pa.repeat(pa.scalar(v, PRODUCT_USES.column(n).type), count) for n, v in fixed.items()},
            **{n: pa.array(v, PRODUCT_USES.column(n).type) for n, v in columns.items()},
            "rank": pa.array(np.arange(1, count + 1)),
            "value_kusd": _money(values),
        }
        return pa.table([given[n] for n in PRODUCT_USES.names], schema=PRODUCT_USES.schema())


def _noted(reason: str | None, table: IcioTable) -> str | None:
    """The reason, and that the table is no real economy."""
    return "; ".join([*([reason] if reason else []), *(["synthetic"] if table.synthetic else [])]) or None


def _refuse_no_number(table: IcioTable) -> None:
    if not np.isfinite(table.Z.sum()) or not np.isfinite(table.OUT.sum()):
        raise InputRefused(
            f"the input-output table of {table.year} has a delivery or an output that is no finite number",
            todo="check the file for empty or overflowing cells",
        )


def _add(columns: dict[str, list[Any]], **row: Any) -> None:
    for name, held in columns.items():
        held.append(row.get(name))


def _money(usd: pa.Array) -> pa.Array:
    """Whole USD as thousand USD with three decimals, exactly."""
    return pc.divide(usd.cast(pa.decimal128(19, 0)), pa.scalar(1000, pa.decimal128(4, 0))).cast(MONEY)


def _sums(at: Integers, weights: Floats, count: int) -> Floats:
    return np.bincount(at, weights, count).astype(np.float64)


def _ranks_of(labels: Sequence[Label]) -> Integers:
    """Place of each label in the sorted order of all."""
    ranks = np.empty(len(labels), dtype=np.int64)
    ranks[sorted(range(len(labels)), key=labels.__getitem__)] = np.arange(len(labels))
    return ranks


def _rows_of(
    table: IcioTable, codes: Sequence[str], industries: Mapping[str, str], row_of: Mapping[Label, int]
) -> Integers:
    """Row of the table for a code in a region, -1 where there is none, shape (codes, regions)."""
    of_industry = {
        i: np.array([row_of.get((c, i), -1) for c in table.countries], dtype=np.int64) for i in table.industries
    }
    nothing = np.full(len(table.countries), -1, dtype=np.int64)
    return np.array([of_industry.get(industries.get(c, ""), nothing) for c in codes]).reshape(len(codes), -1)


@dataclass(frozen=True)
class Uses:
    """Tables ``product_uses`` and ``product_join`` of a year."""

    product_uses: pa.Table
    product_join: pa.Table


def build_uses(
    supply_mix: pa.Table,
    table: IcioTable,
    reference: Reference,
    year: int,
    industries: Mapping[str, Mapping[str, str]] | None = None,
) -> Uses:
    """Who uses what: the largest product edges into every industry of every focus, and what could not be joined.

    Args:
        supply_mix: of the year, all foci and HS revisions.
        table: the input-output table of :func:`recipe_year`.
        reference: for the blocs and the catalogue's recipes.
        year: of trade.
        industries: HS revision -> code -> industry; None: :func:`industries_for`.

    Raises:
        WrongUse: rows of another year, or an edition without industries in the reference file.
        InputRefused: a delivery or an output of the table that is no finite number.
    """
    _refuse_no_number(table)
    parts, joined = [PRODUCT_USES.empty()], []
    held = supplies(supply_mix, year)
    known = industries_for(table, {s.hs_revision for s in held}) if industries is None else industries
    for supply in held:
        view = View.of(table, reference, supply.focus, year)
        listed = known.get(supply.hs_revision, {})
        split = Split.of(view, supply, listed)
        few = len(set(supply.codes).intersection(listed)) < WHOLE * len(listed)
        for industry in view.own_industries:
            edges = split.edges(industry, explain=USES_EXPLAIN, at_most=USES_AT_MOST, own=False)
            parts.append(_of_few(edges) if few else edges)
        row = _joined(split, with_recipe(reference, supply.hs_revision))
        joined.append(
            {**row, "reason": "; ".join([SUBSET, *([str(row["reason"])] if row["reason"] else [])])} if few else row
        )
    return Uses(PRODUCT_USES.conform(pa.concat_tables(parts)), PRODUCT_JOIN.conform(joined))


def _of_few(edges: pa.Table) -> pa.Table:
    """The edges with the reason that the sources hold few of the products."""
    reasons = ["; ".join([SUBSET, *([r] if r else [])]) for r in edges.column("reason").to_pylist()]
    at = edges.schema.get_field_index("reason")
    return edges.set_column(at, edges.schema.field(at), pa.array(reasons, pa.string()))


def _joined(split: Split, catalogued: frozenset[str]) -> dict[str, object]:
    """The row of ``product_join`` of a focus: every USD of its imports and of its foreign inputs is in it."""
    view, supply, table = split.view, split.supply, split.view.table
    own, foreign = np.flatnonzero(view.at == view.own), view.at != view.own
    taken = np.zeros(len(table.labels), dtype=np.int64)
    for industry in view.own_industries:
        taken += split.deliveries(industry)
    by_reason = {
        r: int(taken[foreign & (split.reason == r)].sum()) if len(own) else 0
        for r in (None, "no_imports", "no_product")
    }
    imports = int(supply.value.sum())
    unmapped = split.no_industry + split.no_region
    # A focus that the table does not have takes no delivery: nothing of its imports is joined.
    without = split.without_delivery
    return {
        "focus": view.focus,
        "hs_revision": supply.hs_revision,
        "year": supply.year,
        "recipe_year": table.year,
        "edition": table.edition,
        "imports_kusd": _kusd(imports),
        "joined_kusd": _kusd(imports - unmapped - without),
        "unmapped_kusd": _kusd(unmapped),
        "unmapped_share": unmapped / imports if imports else None,
        "no_industry_kusd": _kusd(split.no_industry),
        "no_region_kusd": _kusd(split.no_region),
        "without_delivery_kusd": _kusd(without),
        "inputs_kusd": _kusd(sum(by_reason.values())),
        "inputs_split_kusd": _kusd(by_reason[None]),
        "inputs_no_imports_kusd": _kusd(by_reason["no_imports"]),
        "inputs_no_product_kusd": _kusd(by_reason["no_product"]),
        "codes": len(supply.codes),
        "codes_without_industry": split.codes_without_industry,
        "codes_with_recipe": len(catalogued.intersection(supply.codes)),
        "reason": _noted(None if len(own) else "no_region", table),
    }


def _kusd(usd: int) -> Any:
    return _money(pa.array([usd], pa.int64()))[0].as_py()


def product_edges(
    supply_mix: pa.Table,
    table: IcioTable,
    reference: Reference,
    focus: str,
    industry: str,
    year: int,
    hs_revision: str,
    industries: Mapping[str, Mapping[str, str]] | None = None,
) -> pa.Table:
    """Every edge into one industry of one focus, own rows included: contract ``product_uses`` without a rest.

    Raises:
        WrongUse: the focus imports nothing in that revision and year, or has no such industry in the table.
    """
    for supply in supplies(supply_mix, year):
        if (supply.focus, supply.hs_revision) == (focus, hs_revision):
            known = industries_for(table, [hs_revision]) if industries is None else industries
            view = View.of(table, reference, focus, year)
            return Split.of(view, supply, known.get(hs_revision, {})).edges(industry)
    raise WrongUse(f"the supply mix of {year} has no row of {focus} in {hs_revision}")


# -- indicative tiers ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TierMix:
    """Where the products of a focus, and by their industries' recipes their inputs, probably come from.

    Attributes:
        view: the table as the focus sees it.
        hs_revision: of the codes.
        codes: the P codes.
        industry: of each, None where it has none.
        by_mass: which start from the mix traced by mass; the others from that by value, shape (P).
        shares: of countries (``view.names``, unknown origin last) at tiers 0, 1 and 2; a row sums to 1, or is NaN with
            a reason; shape (3, P, C + 1).
        reasons: why a row of tiers 1 and 2 is NaN: ``no_region``, ``no_supply``, ``no_industry``, ``no_recipe``,
            ``no_intermediate_inputs``; None where it is not; shape (2, P).
        largest: the largest input of tiers 1 and 2, shape (2, P); None where there is none.
        largest_share: its share, NaN where there is none, shape (2, P).
        with_recipe: how many codes the catalogue has a recipe for: they are left out.
    """

    view: View
    hs_revision: str
    codes: list[str]
    industry: list[str | None]
    by_mass: Truths
    shares: Floats
    reasons: Words
    largest: Words
    largest_share: Floats
    with_recipe: int


@dataclass(frozen=True)
class IndicativeTiers:
    """The mixes of every focus and HS revision, and the released table ``product_tiers``."""

    mixes: list[TierMix]
    product_tiers: pa.Table


def indicative_tiers(
    supply_mix: pa.Table,
    table: IcioTable,
    reference: Reference,
    year: int,
    industries: Mapping[str, Mapping[str, str]] | None = None,
    *,
    codes: Mapping[tuple[str, str], Collection[str]] | None = None,
    inputs: bool = True,
) -> IndicativeTiers:
    """Tiers 1 and 2 of every product without a recipe in the catalogue, by the recipe of its industry.

    ``y0`` stands at (c, ind(k)) for every country c of the traced mix ``x_0`` (by mass; by value where no mass is
    traced). Tier 1 is ``A y0``, tier 2 ``A^2 y0``, each as shares of its own sum: of inputs, not of the price. Unknown
    origin stays unknown at every tier, and what the table has no recipe for (a region without the industry, an
    industry without output) joins it. A delivery below 0 counts as none. Countries that the table does not name take
    the recipe of the rest of the world, which counts as one region. Members of a bloc that the table does not name are
    own at tier 0, and the rest of the world upstream.

    ``A^2`` is never formed: for country shares ``(C A) (A e)`` is enough (C sums the rows of a country), and of the
    inputs one by one only those are computed that a bound cannot keep out of the largest (:func:`_second_inputs`).

    Args:
        supply_mix: of the year, all foci and HS revisions.
        table: the input-output table of :func:`recipe_year`.
        reference: for the blocs and the catalogue's recipes.
        year: of trade.
        industries: HS revision -> code -> industry; None: :func:`industries_for`.
        codes: (focus, HS revision) -> codes to deal with beside those of the supply mix: what has no supply says so.
        inputs: with the inputs one by one (``product_tiers``, ``largest``); without, country shares only.

    Raises:
        WrongUse: rows of another year, a focus that is no country or bloc, an edition without industries.
        InputRefused: a delivery or an output of the table that is no finite number.
    """
    held = _with_codes(supplies(supply_mix, year), codes or {}, year)
    known = industries_for(table, {s.hs_revision for s in held}) if industries is None else industries
    economy = _Recipes.of(table)
    starts = [
        _Start.of(economy, View.of(table, reference, s.focus, year), s, known.get(s.hs_revision, {}), reference)
        for s in held
    ]
    wanted = [i for i in table.industries if any(i in s.of_industry for s in starts)]
    with threadpool_limits(limits=1), ThreadPoolExecutor(WORKERS) as pool:
        if inputs and wanted:
            list(pool.map(lambda name: getattr(economy, name), ("most_by_region", "most_by_industry")))
        above = list(pool.map(lambda s: economy.above(s, inputs), starts))
        found = list(pool.map(lambda i: _industry_tiers(economy, i, starts, above, inputs), wanted))
    rows = [part for parts in found for part in parts]
    tables = [PRODUCT_TIERS.empty(), *(_tier_rows(s, [r for k, r in rows if k == n]) for n, s in enumerate(starts))]
    return IndicativeTiers([s.mix() for s in starts], PRODUCT_TIERS.conform(pa.concat_tables(tables)))


def _with_codes(held: Sequence[Supply], codes: Mapping[tuple[str, str], Collection[str]], year: int) -> list[Supply]:
    """The supplies with codes added that have none."""
    by_key = {(s.focus, s.hs_revision): s for s in held}
    none, nothing = np.zeros(0, dtype=np.int64), np.zeros(0)
    out = []
    for key in sorted(by_key.keys() | codes.keys()):
        s = by_key.get(key) or Supply(*key, year, [], [], none, none, none, nothing, nothing)
        every = sorted({*s.codes, *codes.get(key, ())})
        place = {c: k for k, c in enumerate(every)}
        out.append(replace(s, codes=every, code=np.array([place[c] for c in s.codes], dtype=np.int64)[s.code]))
    return out


@dataclass(frozen=True)
class _Recipes:
    """A table as recipes: deliveries (none below 0), one over output (0 where there is none)."""

    table: IcioTable
    z: Floats
    per_output: Floats

    @classmethod
    def of(cls, table: IcioTable) -> _Recipes:
        _refuse_no_number(table)
        z = np.maximum(table.Z, 0.0) if (table.Z < 0).any() else table.Z
        alive = table.OUT > 0
        return cls(table, z, np.where(alive, 1.0 / np.where(alive, table.OUT, 1.0), 0.0))

    def columns(self, industry: str) -> tuple[Integers, Integers]:
        """Rows of an industry that have output, and the places of their regions."""
        place = {c: k for k, c in enumerate(self.table.countries)}
        rows = [k for k, (_, i) in enumerate(self.table.labels) if i == industry and self.per_output[k] > 0]
        regions = [place[self.table.labels[k][0]] for k in rows]
        return np.array(rows, dtype=np.int64), np.array(regions, dtype=np.int64)

    def first(self, rows: Integers) -> Floats:
        """Columns of A, shape (n, rows)."""
        return self.z[:, rows] * self.per_output[rows]

    @cached_property
    def most_by_region(self) -> tuple[Floats, Floats]:
        """The users of each region, shape (regions, n), and the largest coefficient of each row among them."""
        return self._most([c for c, _ in self.table.labels])

    @cached_property
    def most_by_industry(self) -> tuple[Floats, Floats]:
        """The same for the users of each industry."""
        return self._most([i for _, i in self.table.labels])

    def _most(self, group: Sequence[str]) -> tuple[Floats, Floats]:
        names = sorted(set(group))
        inside = np.array([[g == name for g in group] for name in names], dtype=bool)
        most = [(self.z[:, users] * self.per_output[users]).max(axis=1) for users in inside]
        return inside.astype(np.float64), np.stack(most, axis=1)

    def second_at_most(self, first: Floats) -> Floats:
        """No cell of ``A first`` is larger than here, shape of first.

        ``sum_m A_im b_m <= sum_g max_{m in g} A_im sum_{m in g} b_m`` for any grouping g of the users: the smaller of
        those by region and by industry. A sixtieth of the work of the product itself.
        """
        by_region, by_industry = (
            most @ (inside @ first) for inside, most in (self.most_by_region, self.most_by_industry)
        )
        return np.minimum(by_region, by_industry)

    def above(self, start: _Start, inputs: bool) -> _Above:
        """What the second tier of a focus needs of the table."""
        by_country = (start.view.member_of @ self.z) * self.per_output
        if not inputs:
            return _Above(by_country, np.empty((0, 0)), np.zeros(0, dtype=np.int64))
        fold = start.fold[1]
        if fold.shape[0] == fold.shape[1]:
            return _Above(by_country, self.z.T, fold.indices.astype(np.int64))
        rows = np.diff(fold.indptr)
        merged = np.empty((fold.shape[1], fold.shape[0]))
        merged[:, rows == 1] = self.z.T[:, fold.indices[fold.indptr[:-1][rows == 1]]]
        for label in np.flatnonzero(rows > 1):
            merged[:, label] = self.z.T[:, fold.indices[fold.indptr[label] : fold.indptr[label + 1]]].sum(axis=1)
        return _Above(by_country, merged, np.arange(fold.shape[0]))


@dataclass(frozen=True)
class _Above:
    """A table's deliveries as a focus needs them for the second tier.

    Attributes:
        by_country: ``C A``: a country's share in the inputs of every row, shape (C, n).
        deliveries: from a label or row to every row, shape (n, labels or n); ``at`` is where a label stands in it.
    """

    by_country: Floats
    deliveries: Floats
    at: Integers


@dataclass
class _Start:
    """Tier 0 of a focus, and room for what is above it.

    Attributes:
        start: ``y0`` by region of the table, shape (P, R); what is of unknown origin is in none.
        unknown: share of unknown origin, shape (P).
        of_industry: industry -> codes to deal with (places).
        fold: which label each row of the table adds to, and the labels, sorted.
    """

    view: View
    hs_revision: str
    codes: list[str]
    industry: list[str | None]
    by_mass: Truths
    start: Floats
    unknown: Floats
    of_industry: dict[str, Integers]
    shares: Floats
    reasons: Words
    largest: Words
    largest_share: Floats
    with_recipe: int

    @classmethod
    def of(
        cls, economy: _Recipes, view: View, supply: Supply, industries: Mapping[str, str], reference: Reference
    ) -> _Start:
        catalogued = with_recipe(reference, supply.hs_revision)
        free = np.array([c not in catalogued for c in supply.codes], dtype=bool)
        codes = [c for c, taken in zip(supply.codes, free, strict=True) if taken]
        place = np.cumsum(free) - 1
        rows = free[supply.code]
        code, country = place[supply.code[rows]], supply.country[rows]
        mass, value = supply.by_mass[rows], supply.by_value[rows]
        count, regions = len(codes), len(view.table.countries)
        by_mass = np.bincount(code, mass, count) > 0
        amount = np.where(by_mass[code], mass, value)
        total = np.bincount(code, amount, count)
        share = amount / np.where(total > 0, total, 1.0)[code]
        region = view.regions(supply.countries)[country]
        placed = region >= 0
        start = _sums(code[placed] * regions + region[placed], share[placed], count * regions)
        unknown = _sums(code[~placed], share[~placed], count)
        names, width = {c: k for k, c in enumerate(view.names)}, len(view.names) + 1
        of_region = np.array(
            [names[view.focus if c in view.members else c] for c in view.table.countries], dtype=np.int64
        )
        own = np.array([c in view.members for c in supply.countries], dtype=bool)[country] & (view.own >= 0)
        owner = np.where(own, view.own, np.where(placed, of_region[region], width - 1))
        shares = np.full((3, count, width), np.nan)
        tier0 = np.bincount(code * width + owner, share, count * width).reshape(count, width)
        shares[0][total > 0] = tier0[total > 0]
        present = set(view.table.industries)
        industry = [i if (i := industries.get(c)) in present else None for c in codes]
        reasons = np.full((2, count), None, dtype=object)
        reasons[:, [i is None for i in industry]] = "no_industry"
        reasons[:, total <= 0] = "no_supply"
        if view.own < 0:
            reasons[:] = "no_region"
        of_industry: dict[str, list[int]] = {}
        for k, i in enumerate(industry):
            if i is not None and reasons[0, k] is None:
                of_industry.setdefault(i, []).append(k)
        return cls(
            view=view,
            hs_revision=supply.hs_revision,
            codes=codes,
            industry=industry,
            by_mass=by_mass,
            start=start.reshape(count, regions),
            unknown=unknown,
            of_industry={i: np.array(held, dtype=np.int64) for i, held in of_industry.items()},
            shares=shares,
            reasons=reasons,
            largest=np.full((2, count), None, dtype=object),
            largest_share=np.full((2, count), np.nan),
            with_recipe=int((~free).sum()),
        )

    @cached_property
    def fold(self) -> tuple[list[Label], csr_array]:
        """The distinct (country, industry) as the focus sees them, sorted, and the matrix that sums rows into them."""
        seen = [(self.view.names[at], i) for at, (_, i) in zip(self.view.at, self.view.table.labels, strict=True)]
        labels = sorted(set(seen))
        place = {label: k for k, label in enumerate(labels)}
        rows = np.array([place[label] for label in seen])
        shape = (len(labels), len(seen))
        return labels, csr_array((np.ones(len(seen)), (rows, np.arange(len(seen)))), shape=shape)

    def mix(self) -> TierMix:
        return TierMix(
            self.view, self.hs_revision, self.codes, self.industry, self.by_mass, self.shares, self.reasons,
            self.largest, self.largest_share, self.with_recipe,
        )  # fmt: skip


@dataclass(frozen=True)
class _Inputs:
    """Rows of ``product_tiers`` of one tier: code and label (places; -1 the rest, -2 unknown origin), rank, share."""

    tier: int
    code: Integers
    label: Integers
    rank: Integers
    share: Floats


def _industry_tiers(
    economy: _Recipes, industry: str, starts: Sequence[_Start], above: Sequence[_Above], inputs: bool
) -> list[tuple[int, _Inputs]]:
    """Tiers 1 and 2 of an industry's products, for every focus; fills the rows of the starts."""
    rows, regions = economy.columns(industry)
    first = economy.first(rows)
    bound = economy.second_at_most(first) if inputs else np.empty((0, 0))
    into_dead = first[economy.per_output <= 0].sum(axis=0)
    # What an input is made of, per unit of the product: the second step of a column.
    scaled = first * economy.per_output[:, np.newaxis]
    out: list[tuple[int, _Inputs]] = []
    for n, start in enumerate(starts):
        codes = start.of_industry.get(industry)
        if codes is None:
            continue
        known = start.start[codes][:, regions]
        held = known.sum(axis=1)
        # Summed as a difference it would be a hair off 0 where nothing is unknown.
        lacking = np.delete(start.start[codes], regions, axis=1).sum(axis=1)
        unknown = start.unknown[codes] + lacking
        by_country = known @ (start.view.member_of @ first).T
        by_country_2 = known @ (above[n].by_country @ first).T
        sums = by_country.sum(axis=1)
        lost = np.divide(known @ into_dead, sums, out=np.zeros(len(codes)), where=sums > 0)
        unknown_2 = unknown + (1.0 - unknown) * lost
        for tier, mix, open_part in ((1, by_country, unknown), (2, by_country_2, unknown_2)):
            total = mix.sum(axis=1)
            some = total > 0
            scale = np.where(some, (1.0 - open_part) / np.where(some, total, 1.0), np.nan)
            start.shares[tier, codes, :-1] = mix * scale[:, np.newaxis]
            start.shares[tier, codes, -1] = np.where(some, open_part, np.nan)
            lacks = np.where(held > 0, "no_intermediate_inputs", "no_recipe").astype(object)
            start.reasons[tier - 1, codes] = np.where(some, np.array(None, dtype=object), lacks)
            if not inputs or not some.any():
                continue
            fold = start.fold[1]
            if tier == 1:
                values, labels = known[some] @ (fold @ first).T, np.arange(fold.shape[0])
            else:
                values, labels = _second_inputs(above[n], known[some], scaled, fold @ bound)
            values *= scale[some, np.newaxis]
            out.append((n, _largest_inputs(start, tier, codes[some], values, labels, open_part[some])))
    return out


def _second_inputs(above: _Above, known: Floats, scaled: Floats, bound: Floats) -> tuple[Floats, Integers]:
    """Inputs of inputs, of those labels only that may be among the largest of some product: values and labels.

    Those that may be largest by the bound come first; every other whose bound reaches the least of the largest found is
    added. What is left out is not among the largest of any product.
    """
    at_most = known @ bound.T
    reach = at_most.max(axis=0)
    labels = np.sort(np.argpartition(-reach, min(TRIED, len(reach)) - 1)[:TRIED])
    values = known @ (scaled.T @ above.deliveries[:, above.at[labels]])
    kth = values.shape[1] - INPUTS_AT_MOST
    least = np.partition(values, kth, axis=1)[:, kth] if kth > 0 else np.zeros(len(known))
    # Equal values count, and the bound's own rounding.
    least *= 1.0 - 1e-9
    left = np.setdiff1d(np.flatnonzero((reach > 0) & (reach >= least.min())), labels)
    left = left[(at_most[:, left] >= least[:, np.newaxis]).any(axis=0)]
    if not len(left):
        return values, labels
    both = np.concatenate([labels, left])
    order = np.argsort(both)
    more = known @ (scaled.T @ above.deliveries[:, above.at[left]])
    return np.hstack([values, more])[:, order], both[order]


def _largest_inputs(
    start: _Start, tier: int, codes: Integers, values: Floats, labels: Integers, unknown: Floats
) -> _Inputs:
    """The largest inputs of each code, the rest, and unknown origin, as rows; notes the largest of each.

    Args:
        values: shares of the inputs that may be among the largest, shape (codes, labels).
        labels: their places, ascending.
    """
    count, width = values.shape
    kth = max(width - INPUTS_AT_MOST, 0)
    least = np.partition(values, kth, axis=1)[:, kth]
    row, label = np.nonzero(values >= np.maximum(least, np.finfo(np.float64).tiny)[:, np.newaxis])
    share, label = values[row, label], labels[label]
    order = np.lexsort((label, -share, row))
    row, label, share = row[order], label[order], share[order]
    rank = np.arange(len(row)) - np.searchsorted(row, row) + 1
    summed = np.cumsum(share)
    begun = np.concatenate([[0.0], summed])[np.searchsorted(row, row)]
    before = summed - share - begun
    kept = (rank <= INPUTS_AT_MOST) & ((rank == 1) | (before < INPUTS_EXPLAIN * (1.0 - unknown[row])))
    row, label, share, rank = row[kept], label[kept], share[kept], rank[kept]
    names = start.fold[0]
    top = rank == 1
    start.largest[tier - 1, codes[row[top]]] = np.array([f"{c}_{i}" for c, i in names], dtype=object)[label[top]]
    start.largest_share[tier - 1, codes[row[top]]] = share[top]
    rest = np.maximum(1.0 - unknown - np.bincount(row, share, count), 0.0)
    # Below this the rest is what rounding left of a mix that is listed in full.
    more, open_rows = np.flatnonzero(rest > 1e-12), np.flatnonzero(unknown > 0)
    listed = np.bincount(row, minlength=count)
    return _Inputs(
        tier,
        codes[np.concatenate([row, more, open_rows])],
        np.concatenate([label, np.full(len(more), -1), np.full(len(open_rows), -2)]),
        np.concatenate([rank, listed[more] + 1, listed[open_rows] + 1 + (rest[open_rows] > 1e-12)]),
        np.concatenate([share, rest[more], unknown[open_rows]]),
    )


def _tier_rows(start: _Start, parts: Sequence[_Inputs]) -> pa.Table:
    """Rows of a focus in contract ``product_tiers``, not yet sorted."""
    if not parts:
        return PRODUCT_TIERS.empty()
    code, label, rank, share = (
        np.concatenate([getattr(p, n) for p in parts]) for n in ("code", "label", "rank", "share")
    )
    tier = np.concatenate([np.full(len(p.code), p.tier) for p in parts])
    labels, table = start.fold[0], start.view.table
    fixed = {
        "focus": start.view.focus,
        "hs_revision": start.hs_revision,
        "year": start.view.year,
        "recipe_year": table.year,
        "basis": EVIDENCE,
        "evidence": EVIDENCE,
        "reason": _noted(None, table),
    }
    # The last two words stand for the places -2 and -1.
    countries = pa.array([*(c for c, _ in labels), UNKNOWN, None], pa.string())
    made = pa.array([*(i for _, i in labels), None, None], pa.string())
    places = pa.array(np.where(label < 0, len(labels) + 2 + label, label))
    given: dict[str, Any] = {
        **{n: pa.repeat(pa.scalar(v, PRODUCT_TIERS.column(n).type), len(code)) for n, v in fixed.items()},
        "code": pa.array(start.codes, pa.string()).take(pa.array(code)),
        "tier": pa.array(tier),
        "rank": pa.array(rank),
        "country": countries.take(places),
        "industry": made.take(places),
        "share": pa.array(share),
    }
    return pa.table([given[n] for n in PRODUCT_TIERS.names], schema=PRODUCT_TIERS.schema())
