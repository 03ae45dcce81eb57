"""The tables an explanation looks into, indexed: figures, verdicts, suppliers, makers, chains, names, sources.

Belongs here: finding rows, and sums over the flows of a few codes. Does not belong here: formulas of indicators
(:mod:`ketenpipe.observatory.explain_figures`) or verdicts (:mod:`ketenpipe.observatory.explain_methods`).

The tables hold what is asked for only: a group's newest years, or the few codes of one question.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd
import pyarrow as pa

from ketenpipe.chain.catalogue import Reference
from ketenpipe.chain.proportional import recipe_year
from ketenpipe.chain.tracing import UNKNOWN, focus_members
from ketenpipe.chain.worldmix import WorldMix, code_mix, material_mix, node_mix
from ketenpipe.observatory.explain_words import Words, note
from ketenpipe.risk.direct import EU27
from ketenpipe.risk.methods import SET_LEVEL
from ketenpipe.risk.substitution_settings import SubstitutionSettings
from ketenpipe.risk.thresholds import Thresholds
from ketenpipe.sources.criticality_inputs import CriticalityInputs
from ketenpipe.sources.icio import IcioTable

Row = dict[str, Any]


@dataclass(frozen=True)
class Item:
    """What a figure or a verdict is about: the key of ``indicators`` and ``flags`` without the name and the year."""

    focus: str
    level: str
    code: str
    hs_revision: str | None
    group: str | None
    tier: int | None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Item:
        """The item of a row."""
        return cls(row["focus"], row["level"], row["code"], row["hs_revision"], row["group"], row["tier"])


@dataclass
class Amount:
    """What one country sells: value in thousand USD, tonnes of what has a quantity, value of what has one."""

    value: float = 0.0
    tonnes: float | None = None
    weighed: float = 0.0

    def add(self, value: float, tonnes: float | None) -> None:
        """Add a flow."""
        self.value += value
        if tonnes is not None:
            self.tonnes = (self.tonnes or 0.0) + tonnes
            self.weighed += value

    def by(self, measure: str) -> float:
        """The amount in a measure; 0 where there is no quantity."""
        return self.value if measure == "v" else self.tonnes or 0.0


Amounts = dict[str, Amount]


@dataclass
class Trade:
    """The flows of some codes in a year as a focus sees them.

    Args:
        bought: what the focus buys from outside, per seller.
        sold: what every exporter sells; a bloc is one exporter and its internal trade is left out.
        inside: what a bloc's members sell to each other, per seller.
        flows: how many flows there are in all.
    """

    bought: Amounts = field(default_factory=dict)
    sold: Amounts = field(default_factory=dict)
    inside: Amounts = field(default_factory=dict)
    flows: int = 0


def _no_recipe(year: int) -> IcioTable | None:
    return None


@dataclass(frozen=True)
class Lists:
    """What an explanation needs beside the tables; what is not given leaves out what rests on it.

    Args:
        parameters: recycling rates, substitution indices and end uses.
        limits: cut-offs, normalisations and weights of substitutability.
        partners: blocs and countries whose supply counts as friendly.
        recipe: gives the input-output table of a year, as it was read for the release; None where it is not at hand.
        recipe_years: the years that have one.
    """

    parameters: CriticalityInputs | None = None
    limits: SubstitutionSettings | None = None
    partners: tuple[str, ...] = ()
    recipe: Callable[[int], IcioTable | None] = _no_recipe
    recipe_years: tuple[int, ...] = ()


@dataclass(frozen=True)
class OwnForm:
    """What the members of a focus make of the very form that is traded, in tonnes.

    Args:
        tonnes: per country, above 0.
        estimated: the part that stands for countries that a statistic lists without a figure.
        unlisted: those countries.
        basis: observed or producer_list.
    """

    tonnes: Mapping[str, float]
    estimated: float
    unlisted: tuple[str, ...]
    basis: str

    @property
    def total(self) -> float:
        """All of it."""
        return sum(self.tonnes.values())


class Book:
    """Rows by what they are about.

    Args:
        tables: by name, as far as they are there: of the release ``indicators, flags, supply_mix, exposure,
            chain_nodes, paths, country_risk, sources, labels, uncertainty, robustness, substitutability,
            product_tiers, product_uses, product_industries, industry_exposure, industry_tiers, industry_measures``; of
            the home ``baci_flows, mining_production, tracing, production, origin_mix, elasticity, hs_weights,
            icio_accounts, drawn_verdicts``. A table that is not there leaves out what rests on it, and the explanation
            says so.
        reference: the catalogue: members of blocs, producer lists.
        thresholds: the cut-offs that the release was made with.
        lists: what else the figures rest on.
    """

    def __init__(
        self, tables: Mapping[str, pa.Table], reference: Reference, thresholds: Thresholds, lists: Lists | None = None
    ) -> None:
        self._tables, self.reference, self.thresholds = tables, reference, thresholds
        self.lists = lists or Lists()
        self._recipes: dict[int, IcioTable | None] = {}
        self._figures: dict[tuple[Item, int], list[Row]] = {}
        for row in self.rows("indicators"):
            self._figures.setdefault((Item.of(row), row["year"]), []).append(row)
        self._components: dict[tuple[Item, int], list[Row]] = {}
        for row in self.rows("substitutability"):
            self._components.setdefault((Item.of(row), row["year"]), []).append(row)
        self._verdicts: dict[tuple[Item, int], list[Row]] = {}
        for row in self.rows("flags"):
            self._verdicts.setdefault((Item.of(row), row["year"]), []).append(row)
        self._suppliers = _by(self.rows("supply_mix"), "focus", "hs_revision", "code", "year")
        self._exposure = _by(self.rows("exposure"), "focus", "group", "node", "year")
        self._industries = {
            name: _by(self.rows(name), "focus", "industry", "year")
            for name in ("industry_exposure", "industry_tiers", "industry_measures")
        }
        self._paths = _by(self.rows("paths"), "focus", "group", "node", "year")
        self._nodes = {(r["group"], r["node"]): r for r in self.rows("chain_nodes")}
        self._traced = _by(self.rows("tracing"), "focus", "hs_revision", "code", "year", "measure")
        self._made = _by(self.rows("production"), "hs_revision", "code", "year", "measure")
        self._origins = _by(self.rows("origin_mix"), "hs_revision", "code", "year", "country")
        self._risk = {
            year: {r["country"]: r["risk"] for r in rows if r["risk"] is not None}
            for (year,), rows in _by(self.rows("country_risk"), "year").items()
        }
        self._names = {(r["kind"], r["code"]): r for r in self.rows("labels")}
        self._flows = self._flow_index()
        self._trade: dict[tuple[str, str, tuple[str, ...], int], Trade] = {}
        mining = tables.get("mining_production")
        self._mining = None if mining is None or not mining.num_rows else mining.to_pandas()
        self._more = {name: _by(self.rows(name), *keys) for name, keys in KEY.items() if name in tables}

    def has(self, table: str) -> bool:
        """Whether the table is there."""
        return table in self._tables

    def rows(self, table: str) -> list[Row]:
        """All rows of a table; none where it is not there."""
        held = self._tables.get(table)
        found: list[Row] = [] if held is None else held.to_pylist()
        return found

    # -- names ---------------------------------------------------------------------------------------------

    def name(self, kind: str, code: str) -> Words:
        """The name of a code in both languages; the code itself where there is none."""
        row = self._names.get((kind, code))
        if row is None:
            return Words(code, code)
        return Words(row["name_en"], row["name_nl"] or row["name_en"])

    def country(self, code: str) -> Words:
        """A country's or bloc's name."""
        return self.name("country", code)

    def about(self, item: Item) -> Words:
        """The name of what an item is about."""
        kinds = {"hs6": "product", "set": "method"}
        return self.name(kinds.get(item.level, item.level), item.code)

    # -- rows ----------------------------------------------------------------------------------------------

    def items(self) -> list[tuple[Item, int]]:
        """Items and years that have a figure or a verdict."""
        return sorted({*self._figures, *self._verdicts}, key=lambda k: ([str(v) for v in vars(k[0]).values()], k[1]))

    def figures(self, item: Item, year: int) -> list[Row]:
        """All figures of an item and year."""
        return self._figures.get((item, year), [])

    def figure(
        self, item: Item, year: int, indicator: str, measures: Iterable[str] = (), bases: Iterable[str] = ()
    ) -> Row | None:
        """The figure of an indicator, the first basis and measure of those given that has one (empty: any)."""
        found = [r for r in self.figures(item, year) if r["indicator"] == indicator]
        for name, wanted in (("basis", tuple(bases)), ("measure", tuple(measures))):
            if wanted:
                found = sorted((r for r in found if r[name] in wanted), key=lambda r, n=name, w=wanted: w.index(r[n]))  # type: ignore[misc]
        return found[0] if found else None

    def verdicts(self, item: Item, year: int) -> list[Row]:
        """All verdicts on an item in a year."""
        return self._verdicts.get((item, year), [])

    def components(self, item: Item, year: int) -> list[Row]:
        """The components of substitutability of an item and year, and their composite."""
        return self._components.get((item, year), [])

    def of_all(self, indicator: str, focus: str, level: str, year: int) -> list[Row]:
        """The figures of an indicator of everything at a level, as far as they were read."""
        return self._levels.get((indicator, focus, level, year), [])

    def years_of(self, indicator: str, focus: str, level: str = "industry") -> list[int]:
        """The years that an indicator was read of, at a level."""
        return sorted({y for name, f, at, y in self._levels if (name, f, at) == (indicator, focus, level)})

    @cached_property
    def _levels(self) -> dict[tuple[Any, ...], list[Row]]:
        return _by((r for rows in self._figures.values() for r in rows), "indicator", "focus", "level", "year")

    def flagged(self, item: Item, year: int) -> set[str] | None:
        """The codes that a method flags in a year, at the level of its set; None where nothing is known of the year."""
        level = SET_LEVEL.get(item.code, "hs6")
        held = [
            row
            for (other, y), rows in self._verdicts.items()
            for row in rows
            if y == year and row["method"] == item.code and other.level == level and other.focus == item.focus
            and other.hs_revision == item.hs_revision
        ]  # fmt: skip
        return {row["code"] for row in held if row["flagged"]} if held else None

    def beside(self, table: str, row: Mapping[str, Any]) -> Row | None:
        """The row of a table of :data:`KEY` that belongs to a figure or verdict; None if there is none."""
        if table not in self._more:
            return None
        found = self._more[table].get(tuple(row[k] for k in KEY[table]), [])
        return found[0] if found else None

    def members(self, focus: str, year: int) -> frozenset[str]:
        """The countries a focus stands for."""
        return focus_members(self.reference, focus, [year])[year]

    def union(self, year: int) -> frozenset[str]:
        """The EU27."""
        return self.reference.bloc_members(EU27, year)

    def risk(self, year: int) -> Mapping[str, float]:
        """Governance risk of countries."""
        return self._risk.get(year, {})

    def node(self, group: str | None, node: str) -> Row | None:
        """A node's row of ``chain_nodes``."""
        return None if group is None else self._nodes.get((group, node))

    def nodes(self, group: str | None) -> list[Row]:
        """All nodes of a group's chain."""
        return [r for (g, _), r in self._nodes.items() if g == group]

    def head(self, group: str) -> str | None:
        """The tier-0 node of a group: the one whose path is itself; None where the tables have not the chain."""
        return next((r["node"] for r in self.nodes(group) if r["path"] == r["node"]), None)

    def node_of(self, item: Item) -> str | None:
        """The node an item is about; a group's is its product."""
        if item.level == "node":
            return item.code
        return self.head(item.code) if item.level == "group" else None

    def node_item(self, group: str, node: str, item: Item) -> Item | None:
        """The item of a node of a group's chain, seen from the same focus; None where it has no tier."""
        row = self.node(group, node)
        if row is None or row["tier"] is None:
            return None
        return Item(item.focus, "node", node, row["hs_revision"], group, row["tier"])

    def codes(self, item: Item) -> tuple[str, ...]:
        """The HS6 codes of an item in its revision."""
        if item.level == "hs6":
            return (item.code,)
        node = self.node_of(item)
        row = None if node is None else self.node(item.group, node)
        return () if row is None else tuple((row["codes"] or "").split())

    # -- suppliers -----------------------------------------------------------------------------------------

    def suppliers(self, item: Item, year: int) -> Amounts:
        """Direct imports per supplier, summed over the item's codes (table ``supply_mix``)."""
        found: Amounts = {}
        for code in self.codes(item):
            for row in self._suppliers.get((item.focus, item.hs_revision, code, year), []):
                if row["value_kusd"] is not None:
                    found.setdefault(row["country"], Amount()).add(row["value_kusd"], row["tonnes"])
        return found

    def trade(self, item: Item, year: int) -> Trade | None:
        """All flows of the item's codes, as the focus sees them; None where the home has not the flows."""
        codes, revision = self.codes(item), item.hs_revision
        if self._flows is None or revision is None:
            return None
        key = (item.focus, revision, codes, year)
        if key not in self._trade:
            own, bloc = self.members(item.focus, year), item.focus in self.reference.bloc_names
            self._trade[key] = self._sides(own, item.focus, bloc, [(revision, c, year) for c in codes])
        return self._trade[key]

    def _sides(self, own: frozenset[str], focus: str, bloc: bool, keys: list[tuple[str, str, int]]) -> Trade:
        assert self._flows is not None
        trade = Trade()
        for key in keys:
            for exporter, importer, value, tonnes in self._flows.get(key, []):
                trade.flows += 1
                sells, buys = exporter in own, importer in own
                if bloc and sells and buys:
                    trade.inside.setdefault(exporter, Amount()).add(value, tonnes)
                    continue
                if exporter == importer:
                    continue
                if buys:
                    trade.bought.setdefault(exporter, Amount()).add(value, tonnes)
                seller = focus if sells else exporter
                trade.sold.setdefault(seller, Amount()).add(value, tonnes)
        return trade

    def pairs(self, item: Item, year: int) -> dict[tuple[str, str], Amount] | None:
        """What every country sells to every other, summed over the item's codes; None without the flows."""
        if self._flows is None or item.hs_revision is None:
            return None
        found: dict[tuple[str, str], Amount] = {}
        for code in self.codes(item):
            for exporter, importer, value, tonnes in self._flows.get((item.hs_revision, code, year), []):
                if exporter != importer:
                    found.setdefault((exporter, importer), Amount()).add(value, tonnes)
        return found

    def _flow_index(self) -> dict[tuple[str, str, int], list[tuple[str, str, float, float | None]]] | None:
        table = self._tables.get("baci_flows")
        if table is None:
            return None
        names = ("hs_revision", "code", "year", "exporter", "importer", "value_kusd", "tonnes")
        columns = [table.column(n).cast(pa.float64() if n == "value_kusd" else table.column(n).type) for n in names]
        index: dict[tuple[str, str, int], list[tuple[str, str, float, float | None]]] = {}
        for revision, code, year, *flow in zip(*(c.to_pylist() for c in columns), strict=True):
            index.setdefault((revision, code, year), []).append(tuple(flow))
        return index

    # -- makers --------------------------------------------------------------------------------------------

    def vector(self, item: Item, year: int, measure: str = "q") -> dict[str, float]:
        """Traced origins with ``UNK``: of an HS6 code its traced shares, of a node or group the look-through."""
        if item.level == "hs6":
            column = "share_traced" if measure == "q" else "share_traced_v"
            rows = self._suppliers.get((item.focus, item.hs_revision, item.code, year), [])
            return {r["country"]: r[column] for r in rows if r[column]}
        node = self.node_of(item)
        rows = [] if node is None else self._exposure.get((item.focus, item.group, node, year), [])
        vector = {r["country"]: r["share_traced"] for r in rows if r["share_traced"]}
        total = sum(vector.values())
        return {c: s / total for c, s in vector.items()} if total > 0 else {}

    def exposure(self, item: Item, node: str, year: int) -> list[Row]:
        """Rows of ``exposure`` of a node of the item's group."""
        return self._exposure.get((item.focus, item.group, node, year), [])

    def industry(self, item: Item, year: int, table: str = "industry_exposure") -> list[Row]:
        """Rows of an industry in ``industry_exposure``, ``industry_tiers`` or ``industry_measures``."""
        return self._industries[table].get((item.focus, item.code, year), [])

    def industry_of(self, item: Item) -> str | None:
        """The industry that a code is joined to; None where there is none."""
        return self._joined.get((item.hs_revision, item.code))

    @cached_property
    def _joined(self) -> dict[tuple[str | None, str], str]:
        return {(r["hs_revision"], r["code"]): r["industry"] for r in self.rows("product_industries")}

    def recipe(self, year: int) -> IcioTable | None:
        """The input-output table of a year, as it was read for the release."""
        if year not in self._recipes:
            self._recipes[year] = self.lists.recipe(year)
        return self._recipes[year]

    def recipe_for(self, year: int) -> IcioTable | None:
        """The input-output table that a year of trade is joined to."""
        chosen = recipe_year(self.lists.recipe_years, year)
        return None if chosen is None else self.recipe(chosen)

    def own_supply(self, item: Item, year: int) -> dict[str, float] | None:
        """Traced supply of the item's own codes, combined by consumption, where that is 0 by supply.

        None where a node of several codes cannot be combined, because the home has not table ``tracing``.
        """
        codes = [c for c in self.codes(item) if (item.focus, item.hs_revision, c, year) in self._suppliers]
        parts: list[tuple[dict[str, float], float, float]] = []
        for code in codes:
            rows = self._suppliers[item.focus, item.hs_revision, code, year]
            vector = {r["country"]: r["share_traced"] for r in rows if r["share_traced"]}
            traced = self._traced.get((item.focus, item.hs_revision, code, year, "q"), [])
            if not vector:
                continue
            if not traced and len(codes) > 1:
                return None
            parts.append((vector, traced[0]["consumption"] or 0.0, traced[0]["supply"] or 0.0) if traced
                         else (vector, 1.0, 1.0))  # fmt: skip
        eaten = sum(p[1] for p in parts)
        weights = [p[1] if eaten > 0 else p[2] for p in parts]
        total = sum(weights)
        out: dict[str, float] = {}
        for weight, (vector, _, _) in zip(weights, parts, strict=True):
            for country, share in vector.items():
                out[country] = out.get(country, 0.0) + (weight / total if total > 0 else 0.0) * share
        return out

    def traced(self, item: Item, code: str, year: int, measure: str = "q") -> Row | None:
        """How a code's supply was traced (table ``tracing`` of the home)."""
        found = self._traced.get((item.focus, item.hs_revision, code, year, measure), [])
        return found[0] if found else None

    def production(self, item: Item, code: str, year: int, measure: str = "q") -> list[Row]:
        """Production of a code as used by the tracing (table ``production`` of the home)."""
        return self._made.get((item.hs_revision, code, year, measure), [])

    def origins(self, item: Item, code: str, year: int, country: str) -> dict[str, float]:
        """Where one country's supply of a code was made (table ``origin_mix`` of the home)."""
        rows = self._origins.get((item.hs_revision, code, year, country), [])
        return {r["origin"]: r["share"] for r in rows}

    def paths(self, item: Item, node: str, year: int) -> list[Row]:
        """Sequences of countries through which a node reaches the focus, largest first."""
        return sorted(self._paths.get((item.focus, item.group, node, year), []), key=lambda r: r["rank"])

    def world_mix(self, item: Item, year: int) -> tuple[WorldMix, dict[str, float]] | None:
        """World production behind C3 of an item, and the quantities where a statistic holds them; None without.

        The C3 row notes whose production it is; a producer list comes from the catalogue.
        """
        row = self.figure(item, year, "C3")
        material = None if row is None else note(row["reason"], "material")
        if row is None or material is None:
            return None
        if row["basis"] == "observed":
            mix = material_mix(self._mining, material, year)
            if mix is None or self._mining is None:
                return None
            at = self._mining[(self._mining["material"] == material) & (self._mining["year"] == year)]
            pairs = zip(at["country"], at["quantity"], strict=True)
            return mix, {str(c): float(q) for c, q in pairs if pd.notna(q)}
        if material in self.reference.nodes:
            listed = node_mix(self.reference, None, material, year)
        else:
            listed = code_mix(self.reference, None, item.hs_revision or "", material, year)
        return None if listed is None else (listed, {})

    def material_of(self, item: Item) -> str:
        """The material of the production statistics that an item belongs to; empty where there is none.

        Of a code that of its link; of a node its own, else the one that all its codes are linked to.
        """
        node = self.node_of(item)
        own = "" if node is None else self.reference.nodes[node].material
        if own or item.hs_revision is None:
            return own
        links = [self.reference.production_link(code, item.hs_revision) for code in self.codes(item)]
        named = {"" if link is None else link.material for link in links}
        return named.pop() if len(named) == 1 else ""

    def nodes_named(self, item: Item) -> tuple[str, ...]:
        """The nodes that a cited figure may name for an item: its own, or those that hold its code."""
        if item.level != "hs6":
            node = self.node_of(item)
            return () if node is None else (node,)
        return self.reference.nodes_with_code(item.code, str(item.hs_revision))

    def own_form(self, item: Item, year: int) -> OwnForm | None:
        """What the focus makes of the traded form; None where neither a statistic nor a cited list measures that form.

        A statistic of the node's own form, else the sum over its codes, each of which must have one of its own. A
        member that a statistic lists without a figure makes what it exports beyond its imports.
        """
        codes, revision = self.codes(item), str(item.hs_revision)
        if not codes:
            return None
        node = self.node_of(item)
        barred = {code: set(self.reference.non_producer_countries(code, revision)) for code in codes}
        if node is not None and self.reference.nodes[node].material_relation == "same_form":
            own = self._statistic(self.reference.nodes[node].material, year)
            if own is not None:
                return self._made_by(item, year, own, "observed", set.intersection(*barred.values()), codes)
        named = [link.material for c in codes if (link := self.reference.production_link(c, revision)) is not None]
        if len(codes) > 1 and len(set(named)) < len(named):
            return None
        parts = []
        for code in codes:
            held = self._of_form(code, revision, year)
            if held is None:
                return None
            parts.append(self._made_by(item, year, held[0], held[1], barred[code], (code,)))
        tonnes: dict[str, float] = {}
        for part in parts:
            for country, amount in part.tonnes.items():
                tonnes[country] = tonnes.get(country, 0.0) + amount
        listed = any(p.basis == "producer_list" for p in parts)
        gaps = tuple(sorted({c for p in parts for c in p.unlisted}))
        return OwnForm(tonnes, sum(p.estimated for p in parts), gaps, "producer_list" if listed else "observed")

    def any_form(self, item: Item, year: int) -> float | None:
        """Tonnes that the focus makes of the material in whatever form; None where no statistic or list has tonnes."""
        held = self._statistic(self.material_of(item), year)
        if held is None and len(codes := self.codes(item)) == 1:
            listed = self._of_form(codes[0], str(item.hs_revision), year)
            held = None if listed is None else dict(listed[0])
        members = self.members(item.focus, year)
        return None if held is None else sum(t for c, t in held.items() if c in members and t is not None)

    def _statistic(self, material: str, year: int) -> dict[str, float | None] | None:
        """Tonnes per country (None: listed without a figure); None where the statistic has none in tonnes."""
        rows = [r for r in self._mined.get((material, year), []) if material]
        return {r["country"]: r["tonnes"] for r in rows} if any(r["tonnes"] is not None for r in rows) else None

    @cached_property
    def _mined(self) -> dict[tuple[Any, ...], list[Row]]:
        return _by(self.rows("mining_production"), "material", "year")

    def _of_form(self, code: str, revision: str, year: int) -> tuple[Mapping[str, float | None], str] | None:
        link = self.reference.production_link(code, revision)
        if link is not None and link.same_form and (held := self._statistic(link.material, year)) is not None:
            return held, "observed"
        listed = self.reference.producer_list(code, revision, year)
        tonnes = {f.country: f.quantity for f in listed if f.quantity is not None and f.unit == "t"}
        return (tonnes, "producer_list") if tonnes else None

    def _made_by(
        self, item: Item, year: int, held: Mapping[str, float | None], basis: str, barred: set[str],
        codes: Sequence[str],
    ) -> OwnForm:  # fmt: skip
        tonnes: dict[str, float] = {}
        estimated, gaps = 0.0, []
        for country in sorted(self.members(item.focus, year) - barred):
            amount = held.get(country, 0.0)
            if amount is None:
                amount = self._surplus(str(item.hs_revision), codes, year, country)
                estimated += amount
                gaps.append(country)
            if amount > 0:
                tonnes[country] = amount
        return OwnForm(tonnes, estimated, tuple(gaps), basis)

    def _surplus(self, revision: str, codes: Iterable[str], year: int, country: str) -> float:
        """Tonnes of some codes that a country exports beyond its imports; 0 where it does not."""
        net = 0.0
        for code in codes:
            for exporter, importer, _, tonnes in (self._flows or {}).get((revision, code, year), []):
                net += (tonnes or 0.0) * ((exporter == country) - (importer == country))
        return max(net, 0.0)

    def unit_of(self, material: str, year: int) -> str:
        """The unit of a production statistic."""
        if self._mining is None:
            return ""
        at = self._mining[(self._mining["material"] == material) & (self._mining["year"] == year)]
        return "" if at.empty else str(at["unit"].iloc[0])


#: Keys under which the tables beside a figure or a verdict are found.
KEY: dict[str, tuple[str, ...]] = {
    "uncertainty": (
        "year", "focus", "level", "code", "hs_revision", "group", "tier", "indicator", "measure", "basis",
    ),
    "robustness": ("year", "focus", "level", "code", "hs_revision", "group", "tier", "method"),
    "drawn_verdicts": ("year", "focus", "level", "code", "hs_revision", "group", "tier", "method"),
}  # fmt: skip


def known_part(vector: Mapping[str, float]) -> dict[str, float]:
    """The vector without what is of unknown origin."""
    return {c: s for c, s in vector.items() if c != UNKNOWN}


def largest_first(shares: Mapping[str, float]) -> list[tuple[str, float]]:
    """Countries by falling share, equals in the alphabet."""
    return sorted(((c, s) for c, s in shares.items() if s > 0), key=lambda p: (-p[1], p[0]))


def _by(rows: Iterable[Row], *keys: str) -> dict[tuple[Any, ...], list[Row]]:
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row[k] for k in keys), []).append(row)
    return found
