"""Criticality: trade elasticity, recycling and substitution, import reliance, GeoPolRisk, the EC's supply risk and
economic importance (S3, S4a-c, IR, G4, G5, EI), of one year; G5s is the part of G5 about the focus's own sourcing.

Belongs here: the rows of HS6 codes, nodes and groups. Does not belong here: the formulas
(:mod:`ketenpipe.risk.criticality_formulas`), whether a figure flags (:mod:`ketenpipe.risk.methods`), reading the
optional inputs (:mod:`ketenpipe.sources`).

What IR, G4 and G5 need of production is production *of the traded form, in tonnes*. Where there is none the figure is
null, ``low`` and ``high`` say what any production would allow, and ``method_value`` what the publication's own practice
gives: GeoPolRisk takes a statistic of any form, and 0.5 for a country without a score; the EC falls back on world
supply alone ("GS only" in its tables). The concentration of world production itself is that of any form, as in C3.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ketenpipe.chain.catalogue import Reference
from ketenpipe.chain.tracing import (
    IMPUTED_SHARE_LOW_CONFIDENCE,
    PRECIOUS_KUSD_PER_TONNE,
    SMALL_MASS_TONNES,
    UNKNOWN,
    Statistic,
    focus_members,
    production_statistic,
)
from ketenpipe.chain.worldmix import WorldMix, code_mix
from ketenpipe.risk.criticality_formulas import (
    EC_SCALE,
    Concentration,
    economic_importance,
    geopolrisk,
    hhi_wgi,
    import_reliance,
    largest_supply_risk,
    sourcing_bound,
    supply_risk,
)
from ketenpipe.risk.indicators import mix_of_node
from ketenpipe.risk.planes import Floats
from ketenpipe.risk.products import as_indicators, frame_block, rows_block
from ketenpipe.risk.trade_elasticity import FIGURES, elasticities_of, elasticity_cut, weighted_mean
from ketenpipe.risk.world import World, catalogue_codes
from ketenpipe.sources.criticality_inputs import READ, CriticalityInputs, EndUse, Parameter
from ketenpipe.tables.registry import CRITICALITY_INDICATORS

MANUFACTURING = "C"
"""First letter of the manufacturing industries of the input-output tables (sections of ISIC)."""


# -- inputs --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Inputs:
    """The optional inputs; without one its indicators are null with a reason.

    Args:
        parameters: recycling rates, substitution indices and end uses.
        elasticity: contract ``elasticity``.
        hs_weights: contract ``hs_weights``: brings elasticities to the codes of another HS revision.
        accounts: contract ``icio_accounts``, of the one year of the table that stands for the year.
        uses: contract ``product_uses`` of the year.
    """

    parameters: CriticalityInputs = field(default_factory=CriticalityInputs)
    elasticity: pa.Table | None = None
    hs_weights: pa.Table | None = None
    accounts: pa.Table | None = None
    uses: pa.Table | None = None


def criticality_codes(reference: Reference) -> frozenset[str]:
    """The HS6 codes whose flows :func:`build_criticality` needs: the catalogue's and those with production data."""
    tied = {link.code for link in reference.production_links} | {f.code for f in reference.producer_figures}
    return frozenset(tied | catalogue_codes(reference))


def build_criticality(world: World, year: int, inputs: Inputs) -> pa.Table:
    """S3, S4a-c, IR, G4, G5, G5s and EI of one year (contract ``criticality_indicators``).

    Levels: hs6 (S3: every code, where the sources hold elasticities; the others: codes with production data or a cited
    parameter), node (the product of a group and every node with a material) and group (its product's). Node figures are
    on the node's summed flows.

    Args:
        world: of the year. ``flows`` needs the codes of :func:`criticality_codes`; ``tracing.tracing`` every code that
            is dealt with; ``exposure.chain_nodes`` the plan of the groups.
        year: the year.
        inputs: the optional inputs.
    """
    scene = Scene(world, year, inputs)
    rows = [row for target in scene.products for row in scene.of(target, "hs6")]
    rows += list(_placed(scene))
    blocks = [rows_block(rows)] if rows else []
    return as_indicators([*blocks, *_product_elasticities(scene)], CRITICALITY_INDICATORS)


# -- targets and their trade ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    """An HS6 code or a node, and what is known of it whoever buys it.

    Args:
        mix: world production, of any form.
        statistic: production of the very form, in tonnes.
        any_form: tonnes per country of the material, in whatever form; None where the statistic is no mass.
        barred: countries that make none.
        parts: of a node without a statistic of its own, its codes: each has one, and production is their sum.
    """

    revision: str | None
    name: str
    codes: tuple[str, ...]
    nodes: tuple[str, ...]
    material: str
    mix: WorldMix | None
    statistic: Statistic | None
    any_form: Mapping[str, float] | None
    barred: frozenset[str]
    parts: tuple[Target, ...] = ()


@dataclass(frozen=True)
class Trade:
    """What a focus buys and sells: tonnes per origin, tonnes and thousand USD in all, value share with tonnes."""

    origins: tuple[str, ...] = ()
    tonnes: Floats = field(default_factory=lambda: np.zeros(0))
    imports_kusd: float = 0.0
    exports: float = 0.0
    exports_kusd: float = 0.0
    coverage: float | None = None

    @property
    def imports(self) -> float:
        return float(self.tonnes.sum())

    @property
    def lacks_mass(self) -> bool:
        return (self.imports_kusd > 0 and not self.imports > 0) or (self.exports_kusd > 0 and not self.exports > 0)


@dataclass(frozen=True)
class Own:
    """Production of the traded form by the members of a focus, in tonnes.

    Args:
        imputed: the part that stands for listed countries without a figure.
        gaps: whether there is such a country.
    """

    basis: str
    tonnes: Mapping[str, float]
    imputed: float
    gaps: bool

    @property
    def total(self) -> float:
        return sum(self.tonnes.values())


def _together(parts: Sequence[Own]) -> Own:
    """Production of several codes."""
    tonnes: dict[str, float] = {}
    for part in parts:
        for country, quantity in part.tonnes.items():
            tonnes[country] = tonnes.get(country, 0.0) + quantity
    basis = "producer_list" if any(part.basis == "producer_list" for part in parts) else "observed"
    return Own(basis, tonnes, sum(part.imputed for part in parts), any(part.gaps for part in parts))


class _Flows:
    """Flows of one year summed over the codes of each target."""

    def __init__(self, flows: pd.DataFrame, pairs: pd.DataFrame) -> None:
        held = flows.merge(pairs, on=["hs_revision", "code"]).drop(columns="code")
        keys = ["hs_revision", "name", "exporter", "importer"]
        self._flows = held.groupby(keys, as_index=False)[["v", "q", "v_with_q"]].sum()
        trader = ["hs_revision", "name", "country"]
        sold = self._flows.rename(columns={"exporter": "country"}).groupby(trader)["q"].sum()
        bought = self._flows.rename(columns={"importer": "country"}).groupby(trader)["q"].sum()
        self._surplus: dict[tuple[str, str, str], float] = sold.sub(bought, fill_value=0.0).to_dict()

    def surplus(self, revision: str, name: str, country: str) -> float:
        """Tonnes that a country exports beyond its imports; 0 where it does not."""
        return max(0.0, self._surplus.get((revision, name, country), 0.0))

    def seen_by(self, members: Collection[str]) -> dict[tuple[str, str], Trade]:
        """Trade of the members with all others."""
        selling, buying = (self._flows[side].isin(list(members)) for side in ("exporter", "importer"))
        key = ["hs_revision", "name"]
        bought = self._flows[buying & ~selling].groupby([*key, "exporter"], as_index=False).sum(numeric_only=True)
        sold = self._flows[selling & ~buying].groupby(key)[["v", "q", "v_with_q"]].sum()
        out = {}
        imported = dict(list(bought.groupby(key)))
        for where in {*imported, *sold.index}:
            part = imported.get(where, bought.iloc[:0])
            exports = sold.loc[where] if where in sold.index else {"v": 0.0, "q": 0.0, "v_with_q": 0.0}
            values = [(part["v"].sum(), part["v_with_q"].sum()), (exports["v"], exports["v_with_q"])]
            covered = [float(with_q / v) for v, with_q in values if v > 0]
            out[where] = Trade(
                tuple(part["exporter"]),
                part["q"].to_numpy(dtype=float),
                float(values[0][0]),
                float(exports["q"]),
                float(values[1][0]),
                min(covered, default=None),
            )
        return out


class Scene:
    """All targets of a year and what the figures of each are made of."""

    def __init__(self, world: World, year: int, inputs: Inputs) -> None:
        self.world, self.year, self.inputs = world, year, inputs
        self.reference = world.reference
        self.mining = world.statistics.get(year)
        self.risk = world.risk.get(year, {})
        self.foci = sorted(world.foci)
        self.members = {f: focus_members(self.reference, f, [year])[year] for f in self.foci}
        traced = world.tracing.tracing.select(["hs_revision", "code", "year", "measure", "median_unit_value"])
        held = traced.to_pandas()
        held = held[(held["year"] == year) & (held["measure"] == "q")]
        unit_values = held.drop_duplicates(["hs_revision", "code"]).set_index(["hs_revision", "code"])
        self.unit_value: dict[tuple[str, str], float] = unit_values["median_unit_value"].to_dict()
        self.products = self._products()
        flows = _frame(world.flows, year)
        codes = flows[["hs_revision", "code"]].drop_duplicates().assign(name=lambda f: f["code"])
        nodes = pd.DataFrame(
            [(t.revision, code, t.name) for t in self.nodes.values() for code in t.codes],
            columns=["hs_revision", "code", "name"],
        ).astype(str)
        self.flows = {"hs6": _Flows(flows, codes), "node": _Flows(flows, nodes)}
        self.trade = {
            (level, focus): held.seen_by(self.members[focus])
            for level, held in self.flows.items()
            for focus in self.foci
        }
        self.economy = {focus: _Economy(self, focus) for focus in self.foci}

    # -- targets

    def _products(self) -> list[Target]:
        """Codes that are held and have production data, or belong to a node with a cited parameter."""
        reference = self.reference
        tied: set[tuple[str, str]] = set()
        tied |= {(link.hs_revision, link.code) for link in reference.production_links}
        tied |= {(figure.hs_revision, figure.code) for figure in reference.producer_figures}
        named = {p.node for p in self.inputs.parameters.parameters if p.node in reference.nodes}
        for revision in {r for r, _ in self.unit_value}:
            tied |= {(revision, code) for node in named for code in reference.codes(node, revision)}
        return [self._product(revision, code) for revision, code in sorted(tied & set(self.unit_value))]

    def _product(self, revision: str, code: str) -> Target:
        link = self.reference.production_link(code, revision)
        material = "" if link is None else link.material
        statistic = production_statistic(self.reference, self.mining, revision, code, self.year)
        return Target(
            revision,
            code,
            (code,),
            self.reference.nodes_with_code(code, revision),
            material,
            code_mix(self.reference, self.mining, revision, code, self.year),
            statistic,
            self._any_form(material, statistic),
            frozenset(self.reference.non_producer_countries(code, revision)),
        )

    @cached_property
    def nodes(self) -> dict[tuple[object, object], Target]:
        """Targets of the nodes that are figured, by node and HS revision."""
        return {
            (row["node"], row["hs_revision"]): self._node(row["node"], row["hs_revision"], row["status"])
            for row in self.plan
        }

    @cached_property
    def plan(self) -> list[dict[str, Any]]:
        """Rows of ``chain_nodes`` that are figured: a group's product, and every node with a material."""
        columns = ["group", "node", "tier", "hs_revision", "status"]
        rows = self.world.exposure.chain_nodes.select(columns).to_pylist()
        named = {p.node for p in self.inputs.parameters.parameters}
        out = []
        for row in rows:
            node, status = row["node"], row["status"]
            tied = bool(self._material(node, row["hs_revision"])) or node in named
            if status == "production" or (status == "traded" and (row["tier"] == 0 or tied)):
                out.append(row)
        return out

    def _material(self, node: str, revision: str | None) -> str:
        """The material of a node: its own, else the one that all its codes belong to; empty where there is none."""
        held = self.reference.nodes[node]
        if held.material or revision is None:
            return held.material
        links = [self.reference.production_link(code, revision) for code in held.codes(revision)]
        materials = {"" if link is None else link.material for link in links}
        return materials.pop() if len(materials) == 1 else ""

    def _node(self, node: str, revision: str | None, status: str) -> Target:
        codes = () if status == "production" or revision is None else self.reference.codes(node, revision)
        material = self._material(node, revision)
        statistic = self._node_statistic(node)
        parts = () if statistic is not None else self._parts(str(revision), codes)
        barred = [frozenset(self.reference.non_producer_countries(code, str(revision))) for code in codes]
        return Target(
            revision,
            node,
            codes,
            (node,),
            material,
            mix_of_node(self.world, node, str(revision), self.year),
            statistic,
            self._any_form(material, parts[0].statistic if len(parts) == 1 else statistic),
            frozenset.intersection(*barred) if barred else frozenset(),
            parts,
        )

    def _node_statistic(self, node: str) -> Statistic | None:
        """A node's own statistic, where it is of the node's form."""
        held = self.reference.nodes[node]
        tonnes = self.tonnes(held.material) if held.material_relation == "same_form" else None
        return None if tonnes is None else Statistic("observed", tonnes)

    def _parts(self, revision: str, codes: Sequence[str]) -> tuple[Target, ...]:
        """The codes of a node whose statistics add up to its production; none where they do not."""
        parts = tuple(self._product(revision, code) for code in codes)
        materials = [part.material for part in parts if part.material]
        alike = len(set(materials)) < len(materials)  # one statistic for several codes would count twice
        return () if alike or any(part.statistic is None for part in parts) else parts

    def tonnes(self, material: str) -> dict[str, float] | None:
        """Tonnes per listed country (NaN: without a figure); None where the statistic has none."""
        if self.mining is None or not material:
            return None
        rows = self.mining[self.mining["material"] == material]
        if not rows["tonnes"].notna().any():
            return None
        return dict(zip(rows["country"], rows["tonnes"].astype(float), strict=True))

    def _any_form(self, material: str, statistic: Statistic | None) -> Mapping[str, float] | None:
        tonnes = self.tonnes(material)
        if tonnes is not None:
            return tonnes
        return None if statistic is None else statistic.quantities

    # -- what a focus has to do with a target

    def own(self, target: Target, level: str, focus: str) -> Own | None:
        """Production of the traded form by the focus; a listed member without a figure takes its export surplus."""
        if target.parts:
            parts = [self.own(part, "hs6", focus) for part in target.parts]
            return _together([part for part in parts if part is not None])
        if target.statistic is None:
            return None
        tonnes: dict[str, float] = {}
        imputed, gaps = 0.0, False
        for country in sorted(self.members[focus] - target.barred):
            quantity = target.statistic.quantities.get(country, 0.0)
            if np.isnan(quantity):
                quantity = self.flows[level].surplus(str(target.revision), target.name, country)
                imputed, gaps = imputed + quantity, True
            if quantity > 0:
                tonnes[country] = quantity
        return Own(target.statistic.basis, tonnes, imputed, gaps)

    def risks(self, countries: Iterable[str]) -> Floats:
        """G1 of countries; NaN without a score."""
        return np.array([self.risk.get(c, np.nan) for c in countries], dtype=float)

    def small_or_precious(self, target: Target, trade: Trade) -> bool:
        """Under 100 t imported in all, or every code above 1 million USD a tonne."""
        if not trade.imports > 0:
            return False
        values = [self.unit_value.get((str(target.revision), code), np.nan) for code in target.codes]
        return trade.imports < SMALL_MASS_TONNES or all(v > PRECIOUS_KUSD_PER_TONNE for v in values)

    def parameter(self, name: str, target: Target) -> Parameter | None:
        """A cited parameter of a target."""
        return self.inputs.parameters.parameter(name, self.year, nodes=target.nodes, material=target.material)

    def stamp(
        self, target: Target, *kinds: str, parameters: Iterable[Parameter | None] = (), also: str | None = None
    ) -> str | None:
        """Vintages behind a figure."""
        cited = sorted({_vintage_of(p) for p in parameters if p is not None})
        return _note(self.world.vintage(target.revision, self.year, *kinds), also, *cited)

    @cached_property
    def elasticities(self) -> pd.DataFrame | None:
        """S3 of every code that is held (:func:`elasticities_of`); None without a source."""
        elasticity = self.inputs.elasticity
        if elasticity is None or not elasticity.num_rows or not self.unit_value:
            return None
        codes = pd.DataFrame(sorted(self.unit_value), columns=["hs_revision", "code"])
        found = elasticities_of(codes, elasticity, self.inputs.hs_weights)
        found["reason"] = [
            _note(None if pd.isna(why) else str(why), self.low_quarter(value))
            for value, why in zip(found["value"], found["reason"], strict=True)
        ]
        return found

    def low_quarter(self, value: float | None) -> str | None:
        """The note of an elasticity below that of the lowest quarter of the source's products (strictly)."""
        cut = self.elasticity_cut
        return "lowest_quarter" if cut is not None and value is not None and value < cut else None

    @cached_property
    def elasticity_cut(self) -> float | None:
        """The quantile of ``thresholds.S3`` over the source's own products."""
        elasticity = self.inputs.elasticity
        return None if elasticity is None else elasticity_cut(elasticity, self.world.thresholds.S3.quantile)

    # -- rows

    def of(self, target: Target, level: str) -> Iterator[dict[str, object]]:
        """The rows of a target for every focus; group and tier are those of the direct view."""
        for focus in self.foci:
            base = {
                "focus": focus, "level": level, "code": target.name, "hs_revision": target.revision, "group": None,
                "tier": 0, "year": self.year,
            }  # fmt: skip
            for row in self.figures(target, level, focus):
                yield base | row

    def places(self, key: tuple[object, object]) -> Iterator[dict[str, Any]]:
        """Where the rows of a node stand: in every chain that it is part of, and as the group whose product it is."""
        heads = {g.group: g.node for g in self.reference.groups.values()}
        for plan in self.plan:
            if (plan["node"], plan["hs_revision"]) != key:
                continue
            placed = {"level": "node", "code": plan["node"], "group": plan["group"], "tier": plan["tier"]}
            yield placed
            if heads[str(plan["group"])] == plan["node"] and plan["tier"] == 0:
                yield placed | {"level": "group", "code": plan["group"]}

    def figures(self, target: Target, level: str, focus: str) -> Iterator[dict[str, object]]:
        """The rows of a target for a focus, without their place."""
        yield from _parameter_rows(self, target)
        if not target.codes:
            yield _supply_risk_row(self, target, focus, None, None)
            return
        trade = self.trade[level, focus].get((str(target.revision), target.name), Trade())
        own = self.own(target, level, focus)
        if self.elasticities is None or level == "node":
            yield _elasticity_row(self, target, focus)
        yield _import_reliance_row(self, target, trade, own)
        yield _geopolrisk_row(self, target, focus, trade, own)
        yield from _sourcing_rows(self, target, trade, own)
        yield _supply_risk_row(self, target, focus, trade, own)
        yield self.economy[focus].row(target)


def _frame(flows: pa.Table, year: int) -> pd.DataFrame:
    """Flows of a year as floats: value, tonnes (0 without), value of what has tonnes."""
    columns = ["hs_revision", "code", "exporter", "importer", "year", "value_kusd", "tonnes"]
    held = flows.select(columns).set_column(5, "value_kusd", flows.column("value_kusd").cast(pa.float64())).to_pandas()
    held = held[held["year"] == year]
    text = dict.fromkeys(("hs_revision", "code", "exporter", "importer"), str)
    out = held.astype(text).rename(columns={"value_kusd": "v", "tonnes": "q"}).drop(columns="year")
    return out.assign(v_with_q=out["v"].where(out["q"].notna(), 0.0), q=out["q"].fillna(0.0))


def _placed(scene: Scene) -> Iterator[dict[str, object]]:
    """Rows of nodes in their groups, and those of each group's product as the group's."""
    for key, target in scene.nodes.items():
        rows = list(scene.of(target, "node"))
        yield from (row | placed for placed in scene.places(key) for row in rows)


def _vintage_of(parameter: Parameter | EndUse) -> str:
    return f"parameters {parameter.year}"


def _note(*words: str | None) -> str | None:
    return "; ".join(dict.fromkeys(word for word in words if word)) or None


def _finite(value: float | None) -> float | None:
    return None if value is None or np.isnan(value) else float(value)


# -- S4 ------------------------------------------------------------------------------------------------------


_MISSING = {"eol_rir": "no_recycling_rate", "si_sr": "no_substitution_index", "si_ei": "no_substitution_index"}


def _parameter_rows(scene: Scene, target: Target) -> Iterator[dict[str, object]]:
    for indicator, name in (("S4a", "eol_rir"), ("S4b", "si_sr"), ("S4c", "si_ei")):
        found = scene.parameter(name, target)
        row: dict[str, object] = {"indicator": indicator, "measure": "none", "basis": "published"}
        if found is None:
            yield row | {"reason": _MISSING[name]}
            continue
        recalled = found.citation_status != READ
        yield row | {
            "value": found.value, "reason": "recalled_citation" if recalled else None,
            "confidence": "low" if recalled else "medium", "source_vintage": _vintage_of(found),
        }  # fmt: skip


def trusted(parameter: Parameter | None) -> float:
    """The figure of a parameter that somebody read; NaN otherwise."""
    return parameter.value if parameter is not None and parameter.citation_status == READ else np.nan


# -- IR, G4, G5 ----------------------------------------------------------------------------------------------


def _confidence(small: bool, own: Own | None, supply: float, mix: WorldMix | None = None) -> str:
    if small or (own is not None and own.imputed > IMPUTED_SHARE_LOW_CONFIDENCE * supply):
        return "low"
    listed = own is not None and (own.basis == "producer_list" or own.gaps)
    open_mix = mix is not None and (mix.basis == "producer_list" or bool(mix.unlisted) or UNKNOWN in mix.shares)
    return "medium" if listed or open_mix else "high"


def _import_reliance_row(scene: Scene, target: Target, trade: Trade, own: Own | None) -> dict[str, object]:
    production = np.nan if own is None else own.total
    value = float(import_reliance(trade.imports, trade.exports, production))
    low: float | None = None
    high: float | None = None
    why: str | None = None
    small = scene.small_or_precious(target, trade)
    notes = [
        "small_or_precious" if small else None,
        "production_imputed" if own is not None and own.gaps else None,
    ]
    if trade.lacks_mass:
        value, why = np.nan, "no_mass"
    elif trade.imports == trade.exports == 0 and not production > 0:
        value, why = np.nan, "no_imports_no_exports"
    elif np.isnan(value):
        why, low, high = "no_same_form_production", 0.0, 1.0
    else:
        why = "net_exporter" if trade.exports >= trade.imports and trade.exports > 0 else None
    return {
        "indicator": "IR", "measure": "q", "basis": "imports" if own is None else own.basis, "value": _finite(value),
        "low": low, "high": high, "coverage": trade.coverage, "reason": _note(why, *notes),
        "confidence": None if np.isnan(value) else _confidence(small, own, trade.imports + (own.total if own else 0.0)),
        "source_vintage": scene.stamp(target, "baci", "mining"),
    }  # fmt: skip


def _concentration(mix: WorldMix) -> float:
    """C3 of a mix: what is of unknown origin is left out and not renormalised."""
    return sum(share * share for country, share in mix.shares.items() if country != UNKNOWN)


def _unscored(scene: Scene) -> str:
    return "no_governance_score" if scene.world.risk else "no_governance_data"


def _geopolrisk_row(scene: Scene, target: Target, focus: str, trade: Trade, own: Own | None) -> dict[str, object]:
    mix = target.mix
    row: dict[str, object] = {
        "indicator": "G4", "measure": "q", "basis": "observed" if mix is None else mix.basis,
        "source_vintage": scene.stamp(target, "baci", "mining", "wgi"),
    }  # fmt: skip
    if mix is None or trade.lacks_mass:
        return row | {"reason": "no_production_data" if mix is None else "no_mass"}
    members = scene.members[focus]
    any_form = (
        np.nan
        if target.any_form is None
        else sum(q for c, q in target.any_form.items() if c in members and not np.isnan(q))
    )
    risk = scene.risks(trade.origins)
    production = np.nan if own is None else own.total
    found = geopolrisk(_concentration(mix), trade.tonnes, risk, production, any_form)
    small = scene.small_or_precious(target, trade)
    weighed = trade.tonnes * risk
    top = int(np.nanargmax(weighed)) if np.any(~np.isnan(weighed)) else None
    if not np.isnan(found.value):
        why = None
    elif not trade.imports > 0:
        why = "no_imports"
    else:
        why = _unscored(scene) if top is None else "no_same_form_production"
    bounded = top is not None
    notes = [
        f"material: {mix.material}",
        "other_form" if own is None else None,
        "small_or_precious" if small else None,
        "production_imputed" if own is not None and own.gaps else None,
    ]
    supply = trade.imports + (own.total if own else 0.0)
    return row | {
        "value": _finite(found.value), "low": _finite(found.low) if bounded or why is None else None,
        "high": _finite(found.high) if bounded or why is None else None,
        "method_value": _finite(found.published) if bounded or why is None else None,
        "coverage": _finite(found.coverage), "country": None if top is None else trade.origins[top],
        "country_share": None if top is None else float(trade.tonnes[top]) / trade.imports,
        "reason": _note(why, *notes), "confidence": None if why else _confidence(small, own, supply, mix),
    }  # fmt: skip


def _supply_risk_row(
    scene: Scene, target: Target, focus: str, trade: Trade | None, own: Own | None
) -> dict[str, object]:
    """G5; ``trade`` None: a node that no trade code isolates has world supply only."""
    mix = target.mix
    eol, si = scene.parameter("eol_rir", target), scene.parameter("si_sr", target)
    row: dict[str, object] = {
        "indicator": "G5", "measure": "q" if target.codes else "p", "basis": "observed" if mix is None else mix.basis,
        "source_vintage": scene.stamp(target, "baci", "mining", "wgi", parameters=(eol, si)),
    }  # fmt: skip
    if mix is None:
        return row | {"reason": "no_production_data"}
    known = {c: s for c, s in mix.shares.items() if c != UNKNOWN}
    world = hhi_wgi(np.array([*known.values()]), scene.risks(known), mix.shares.get(UNKNOWN, 0.0))
    if np.isnan(world.value):
        return row | {"reason": _unscored(scene)}
    rate, index = trusted(eol), trusted(si)
    whys = [
        None if not np.isnan(rate) else "recalled_citation" if eol is not None else "no_recycling_rate",
        None if not np.isnan(index) else "recalled_citation" if si is not None else "no_substitution_index",
    ]
    notes: list[str | None] = [f"material: {mix.material}"]
    fallback = world.value * (1 - rate) * index
    top = max(known, key=lambda c: (known[c] ** 2 * scene.risk.get(c, 0.0), c))
    row |= {"country": top, "country_share": known[top], "coverage": world.coverage}
    if trade is None:
        published = _finite(fallback)
        notes.append("global_supply_only" if published is not None else None)
        return row | {"method_value": published, "reason": _note("no_trade_codes", *whys, *notes)}
    if trade.lacks_mass:
        return row | {"reason": _note("no_mass", *whys, *notes)}
    small = scene.small_or_precious(target, trade)
    notes.append("small_or_precious" if small else None)
    sourcing, reliance = _sourcing(scene, trade, own)
    if own is None:
        members = scene.risks(sorted(scene.members[focus]))
        bound = sourcing_bound(trade.tonnes, scene.risks(trade.origins), members)
        value, highest = np.nan, largest_supply_risk(world.high, bound)
        whys.insert(0, "no_same_form_production")
        notes.append("other_form")
    elif np.isnan(reliance):
        return row | {"reason": _note("no_imports_no_exports", *whys, *notes)}
    else:
        notes.append("production_imputed" if own.gaps else None)
        value = supply_risk(world.value, sourcing.value, reliance, rate, index)
        highest = supply_risk(world.high, sourcing.high, reliance, 0.0, 1.0)
        row |= {"coverage": min(world.coverage, sourcing.coverage)}
        if np.isnan(sourcing.value):
            whys.insert(0, "no_governance_score")
    lacking = np.isnan(value)
    if lacking and not np.isnan(fallback):
        notes.append("global_supply_only")
    supply = trade.imports + (own.total if own else 0.0)
    return row | {
        "value": _finite(value), "low": 0.0 if lacking else _finite(value),
        "high": highest * (1 - (0.0 if np.isnan(rate) else rate)) * (1.0 if np.isnan(index) else index),
        "method_value": _finite(fallback if lacking else value), "reason": _note(*whys, *notes),
        "confidence": None if lacking else _confidence(small, own, supply, mix),
    }  # fmt: skip


def _sourcing(scene: Scene, trade: Trade, own: Own | None) -> tuple[Concentration, float]:
    """HHI_WGI of what a focus makes and imports, and its IR; NaN where it has neither, or production is not known."""
    nothing = Concentration(np.nan, np.nan, np.nan)
    if own is None:
        return nothing, np.nan
    amounts = np.array([*trade.tonnes, *own.tonnes.values()])
    if not amounts.sum() > 0:
        return nothing, np.nan
    reliance = float(import_reliance(trade.imports, trade.exports, own.total))
    return hhi_wgi(amounts / amounts.sum(), scene.risks([*trade.origins, *own.tonnes])), reliance


def _sourcing_rows(scene: Scene, target: Target, trade: Trade, own: Own | None) -> Iterator[dict[str, object]]:
    """HHI_WGI(sourcing), the part of G5 that no other row shows; nothing where it cannot be had."""
    sourcing, _ = _sourcing(scene, trade, own)
    if own is None or trade.lacks_mass or np.isnan(sourcing.value):
        return
    small = scene.small_or_precious(target, trade)
    yield {
        "indicator": "G5s", "measure": "q", "basis": own.basis, "value": sourcing.value, "low": sourcing.value,
        "high": sourcing.high, "coverage": sourcing.coverage,
        "reason": _note("small_or_precious" if small else None, "production_imputed" if own.gaps else None),
        "confidence": _confidence(small, own, trade.imports + own.total),
        "source_vintage": scene.stamp(target, "baci", "mining", "wgi"),
    }  # fmt: skip


# -- EI ------------------------------------------------------------------------------------------------------


class _Economy:
    """Value added of a focus's manufacturing industries, and who uses what."""

    def __init__(self, scene: Scene, focus: str) -> None:
        self._scene = scene
        members = scene.members[focus]
        accounts = scene.inputs.accounts
        held = pd.DataFrame() if accounts is None or not accounts.num_rows else accounts.to_pandas()
        self.why: str | None = "no_input_output_table" if not len(held) else None
        self.value_added: dict[str, float] = {}
        self.notes: list[str] = []
        self.synthetic = False
        self.vintage = ""
        self._uses = self._used(focus)
        if self.why:
            return
        self.synthetic = bool(held["synthetic"].any())
        self.vintage = f"icio {held['vintage'].iloc[0]}"
        if int(held["year"].iloc[0]) != scene.year:
            self.notes.append("recipe_of_another_year")
        own = held[held["country"].isin(list(members))]
        if not len(own):
            self.why = "no_region"
            return
        if set(own["country"]) != set(members):
            self.notes.append("members_without_region")
        making = own[own["industry"].str.startswith(MANUFACTURING)]
        self.value_added = making.groupby("industry")["value_added"].sum().to_dict()
        if not max(self.value_added.values(), default=0.0) > 0:
            self.why = "no_manufacturing"

    def _used(self, focus: str) -> pd.DataFrame:
        uses = self._scene.inputs.uses
        columns = ["hs_revision", "code", "industry", "value", "reason"]
        if uses is None or not uses.num_rows:
            return pd.DataFrame(columns=columns)
        targets = (*self._scene.products, *self._scene.nodes.values())
        wanted = pa.array(sorted({code for target in targets for code in target.codes}), pa.string())
        asked = (pc.field("focus") == focus) & (pc.field("kind") == "product") & pc.field("code").isin(wanted)
        held = uses.select(["focus", "kind", "hs_revision", "code", "industry", "value_kusd", "reason"])
        held = held.filter(asked).to_pandas()
        return held.assign(value=held["value_kusd"].astype(float))[columns]

    def row(self, target: Target) -> dict[str, object]:
        """EI of a target: with cited end uses, else with the proportions of the input-output table."""
        scene = self._scene
        cited = scene.inputs.parameters.uses(scene.year, nodes=target.nodes, material=target.material)
        si = scene.parameter("si_ei", target)
        basis = "icio_proportional" if not cited else "synthetic" if self.synthetic else "icio"
        notes = [*(["synthetic"] if self.synthetic else []), *self.notes]
        shares, covered = {u.industry: u.share for u in cited}, sum(u.share for u in cited)
        why = self.why
        if cited:
            if any(u.citation_status != READ for u in cited):
                why = why or "recalled_citation"
            if why is None and set(shares) - set(self.value_added):
                why = "industry_not_in_table"
        else:
            shares, covered, said = self._proportional(target)
            notes = ["one_recipe_per_industry", *said, *notes]
            if why is None and not shares:
                why = "no_end_use"
        row: dict[str, object] = {
            "indicator": "EI", "measure": "v", "basis": basis,
            "source_vintage": _note(
                self.vintage, scene.stamp(target, "baci") if not cited else None,
                *([_vintage_of(cited[0])] if cited else []), _vintage_of(si) if si is not None else None,
            ),
        }  # fmt: skip
        if why is not None:
            return row | {"reason": _note(why, *notes)}
        index = trusted(si)
        largest = max(self.value_added.values())
        known = economic_importance(
            np.array([*shares.values()]), np.array([self.value_added[s] for s in shares]), largest, 1.0
        )
        # What the end uses leave open may go to any industry.
        open_part = EC_SCALE * max(0.0, 1.0 - covered) if cited else 0.0
        top = max(shares, key=lambda s: (shares[s] * self.value_added[s], s))
        lacking = np.isnan(index)
        why = None if not lacking else "recalled_citation" if si is not None else "no_substitution_index"
        return row | {
            "value": None if lacking else known * index, "low": 0.0 if lacking else known * index,
            "high": (known + open_part) * (1.0 if lacking else index), "coverage": min(1.0, covered),
            "reason": _note(why, f"industry: {top}", *notes),
            "confidence": None if lacking else "medium" if basis == "icio" else "low",
        }  # fmt: skip

    def _proportional(self, target: Target) -> tuple[dict[str, float], float, list[str]]:
        """Shares of use over manufacturing industries, their part of the listed deliveries, what the rows say."""
        used = self._uses
        own = used[(used["hs_revision"] == target.revision) & used["code"].isin(target.codes)]
        words = {word for reason in own["reason"].dropna() for word in str(reason).split("; ")}
        making = own[own["industry"].isin(list(self.value_added))]
        by_industry = making.groupby("industry")["value"].sum()
        total = float(by_industry.sum())
        if not total > 0:
            return {}, 0.0, sorted(words)
        shares = {str(s): float(v) / total for s, v in by_industry.items()}
        return shares, total / float(own["value"].sum()), sorted(words)


# -- S3 ---------------------------------------------------------------------------------------------------


def _product_elasticities(scene: Scene) -> list[pa.Table]:
    """S3 of every code, for every focus: the same figure."""
    if scene.elasticities is None:
        return []
    rows = scene.elasticities.assign(
        level="hs6", indicator="S3", measure="none", basis="published", tier=0, year=scene.year
    )
    return [frame_block(rows.assign(focus=focus)) for focus in scene.foci]


def _elasticity_row(scene: Scene, target: Target, focus: str) -> dict[str, object]:
    """S3 of a node: the mean over its codes, by the focus's imports of each; of one code its own."""
    row: dict[str, object] = {"indicator": "S3", "measure": "none", "basis": "published"}
    if scene.elasticities is None:
        return row | {"reason": "no_elasticity_source"}
    held = scene.elasticities
    part = held[(held["hs_revision"] == target.revision) & held["code"].isin(target.codes)]
    if len(part) == 1:
        found = part.iloc[0]
        numbers = {n: None if pd.isna(found[n]) else float(found[n]) for n in FIGURES[:5]}
        return row | numbers | {n: None if pd.isna(found[n]) else str(found[n]) for n in FIGURES[5:]}
    trade = scene.trade["hs6", focus]
    bought = [trade.get((str(target.revision), c), Trade()).imports_kusd for c in part["code"]]
    part = part.assign(weight=bought)
    part["value"] = pd.to_numeric(part["value"])
    usable = part[part["value"].notna() & (part["weight"] > 0)]
    row |= {"source_vintage": scene.stamp(target, "baci", also=str(held["source_vintage"].iloc[0]))}
    if not part["weight"].sum() > 0:
        return row | {"reason": "no_imports"}
    if not len(usable):
        return row | {"reason": _note(*(w for words in part["reason"].dropna() for w in str(words).split("; ")))}
    least = usable.sort_values(["value", "code"]).iloc[0]
    sure = len(usable) == int((part["weight"] > 0).sum()) and bool((usable["confidence"] == "high").all())
    mean = weighted_mean(usable, "value")
    borrowed = usable["reason"].astype(str).str.contains("same_code_other_revision").any()
    return row | {
        "value": mean, "low": float(usable["value"].min()),
        "high": float(usable["value"].max()),
        "coverage": float(usable["weight"].sum() / part["weight"].sum()), "worst_code": least["code"],
        "worst_value": float(least["value"]), "confidence": "high" if sure else "low",
        "reason": _note("same_code_other_revision" if borrowed else None, scene.low_quarter(mean)),
    }  # fmt: skip
