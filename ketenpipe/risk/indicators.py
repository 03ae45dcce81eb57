"""Step two: the indicators of nodes, groups and chains, and all figures of a small run in one table.

Belongs here: putting direct, production, traced and chain figures of the catalogue's nodes into rows with measure,
basis, bounds, reason and confidence. The formulas stand in ``direct``, ``planes`` and ``chain``; the figures of HS6
codes come from :mod:`ketenpipe.risk.products`; what needs several years stands in :mod:`ketenpipe.risk.facts`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ketenpipe.chain.flows import by_node, flow_frame
from ketenpipe.chain.tracing import (
    IMPUTED_SHARE_LOW_CONFIDENCE,
    PRECIOUS_KUSD_PER_TONNE,
    SMALL_MASS_TONNES,
    UNKNOWN,
    focus_members,
)
from ketenpipe.chain.worldmix import WorldMix, code_mix, material_mix, node_mix
from ketenpipe.risk.direct import EU27
from ketenpipe.risk.facts import Persistence, collect_facts
from ketenpipe.risk.planes import Plane, hhi_of, node_test, plane_of, top_third_country
from ketenpipe.risk.products import as_indicators, build_product_indicators, direct_figures, frame_block, mix_rows
from ketenpipe.risk.thresholds import Thresholds
from ketenpipe.risk.world import MAX_TIER, ROW, World
from ketenpipe.tables.registry import CHAIN_INDICATORS
from ketenpipe.tables.registry import INDICATORS as INDICATOR_TABLE
from ketenpipe.tables.slices import slices

WORSE_HIGH = ("C1", "C2", "C3", "C4a", "C5", "S1", "S1b")
"""Indicators that get worse as they rise: the code with the largest value is a node's worst."""
WORST_COLUMNS = ("focus", "level", "code", "hs_revision", "year", "indicator", "measure", "basis", "value")
"""What :func:`build_chain_indicators` reads of the products' figures."""


def build_indicators(world: World, progress: Callable[[str], None] | None = None) -> pa.Table:
    """Compute every indicator for every focus (contract ``indicators``), all years of a small world at once.

    Node figures are on the node's summed codes, with the worst code beside them; a group's are its product's
    (tier 0) plus X1, X1g, X2 and hidden exposure.
    """
    say = progress or (lambda _: None)
    say("products")
    products = build_product_indicators(world)
    say("nodes and chains")
    chains = build_chain_indicators([world], products)
    say("persistence")
    facts = collect_facts([products, chains])
    persistent = Persistence(facts, world.thresholds, world)
    over_years = [persistent.rows(year) for year in facts.years]
    return INDICATOR_TABLE.conform(pa.concat_tables([products, chains, *over_years]))


def build_chain_indicators(worlds: Iterable[World], products: pa.Table | Callable[[list[int]], pa.Table]) -> pa.Table:
    """Figures of nodes, groups and chains (contract ``chain_indicators``), one world after the other.

    Node figures are on the node's summed codes, with the worst code beside them; a group's are its product's
    (tier 0) plus X1, X1g, X2 and hidden exposure. What needs several years is not in here.

    Args:
        worlds: of a year each, made one by one (a generator), or of several years. Flows, tracing tables and exposure
            need no more than the catalogue's codes.
        products: figures of level hs6, or what gives those of some years; :data:`WORST_COLUMNS`, indicators
            :data:`WORSE_HIGH` and the catalogue's codes are enough.
    """
    found = []
    for world in worlds:
        figures = products(world.years) if callable(products) else products
        found.append(_chains_of(world, figures))
    return CHAIN_INDICATORS.conform(pa.concat_tables(found)) if found else CHAIN_INDICATORS.empty()


def _chains_of(world: World, products: pa.Table) -> pa.Table:
    nodes = _direct(world)
    node_made = pd.DataFrame(_production_rows(world), columns=ROW)
    node_traced = pd.DataFrame(_traced_rows(world), columns=ROW)
    node_rows = _worst_codes(world, _concat([nodes, node_made, node_traced]), products)
    chain_rows = pd.DataFrame(_chain_rows(world, node_rows), columns=ROW)
    heads = pd.DataFrame([(g.group, g.node) for g in world.reference.groups.values()], columns=["group", "head"])
    of_groups = node_rows.merge(heads, on="group").query("code == head and tier == 0").drop(columns="head")
    of_groups = of_groups.assign(level="group", code=of_groups["group"])
    rows = _concat([node_rows, of_groups, chain_rows])
    return as_indicators([frame_block(rows)] if len(rows) else [])


def _concat(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    usable = [f for f in frames if len(f)]
    if not usable:
        return pd.DataFrame(columns=ROW)
    return pd.concat([f.astype(object) for f in usable], ignore_index=True)[ROW]


# -- direct ------------------------------------------------------------------------------------------------


def _direct(world: World) -> pd.DataFrame:
    plan = world.exposure.chain_nodes.to_pandas()
    traded = plan[plan["status"] == "traded"]
    pairs = sorted(
        {
            (revision, code, node)
            for revision, node in zip(traded["hs_revision"], traded["node"], strict=True)
            for code in world.reference.codes(node, revision)
        }
    )
    if not pairs or not world.flows.num_rows:
        return pd.DataFrame(columns=ROW)
    table = pa.table({n: [p[k] for p in pairs] for k, n in enumerate(("hs_revision", "code", "node"))})
    with world.engine() as engine:
        flows = flow_frame(engine.frame("flows", world.flows))
        out = direct_figures(world, engine, engine.keep(by_node(flows, engine.frame("node_codes", table))))
    out["level"] = "node"
    for missing in ("low", "high", "worst_code", "worst_value"):
        out[missing] = None
    placed = traded[["group", "node", "tier", "hs_revision"]].rename(columns={"node": "code"})
    return out.merge(placed, on=["code", "hs_revision"], how="inner")[ROW]


# -- production ---------------------------------------------------------------------------------------------


def _nodes(world: World) -> pd.DataFrame:
    plan = world.exposure.chain_nodes.to_pandas()
    return plan[plan["status"].isin(["traded", "production"])]


def _production_rows(world: World) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for record in _nodes(world).itertuples(index=False):
        for year in world.years:
            mix = mix_of_node(world, record.node, record.hs_revision, year)
            if mix is None and not world.reference.nodes[record.node].material:
                continue
            for focus in world.foci:
                base = {
                    "focus": focus, "level": "node", "code": record.node, "hs_revision": record.hs_revision,
                    "group": record.group, "tier": record.tier,
                }  # fmt: skip
                rows += mix_rows(world, base, mix, year)
    return rows


def mix_of_node(world: World, node: str, revision: str, year: int) -> WorldMix | None:
    """World mix of a node: its own statistic, else the one of the material that all its codes belong to, else a list.

    A statistic of any form comes before a producer list, so that a node and its codes bear the same C3.
    """
    own = material_mix(world.statistics.get(year), world.reference.nodes[node].material, year)
    if own is not None:
        return own
    codes = world.reference.codes(node, revision)
    links = [world.reference.production_link(c, revision) for c in codes]
    materials = {link.material for link in links if link is not None}
    if codes and all(links) and len(materials) == 1:
        shared = code_mix(world.reference, world.statistics.get(year), revision, codes[0], year)
        if shared is not None:
            return shared
    return node_mix(world.reference, world.statistics.get(year), node, year)


# -- traced -------------------------------------------------------------------------------------------------


def plane_rows(
    world: World,
    base: dict[str, object],
    vector: Mapping[str, float],
    own: frozenset[str],
    union: frozenset[str],
    notes: list[str],
    confidence: str | None,
    imputed_share: float | None,
    direct_hhi: float | None,
    *,
    hub_gap: bool,
    benchmark: Mapping[str, float] | None = None,
) -> list[dict[str, object]]:
    """O1, O1r, C4b, T, G2, G3, O2 and the shares beside them of one vector.

    Args:
        benchmark: the vector that C4b reads, where it is not ``vector`` (the node's own supply upstream).
    """
    year = int(str(base["year"]))
    revision = None if base["hs_revision"] is None else str(base["hs_revision"])
    plane = plane_of(vector, own, world.risk.get(year, {}))
    test, low, high = _tests(world.thresholds, plane)
    note = "; ".join(notes) or None
    stamp = world.vintage(revision, year, "baci", "mining")
    governed = world.vintage(revision, year, "baci", "mining", "wgi")
    common = {**base, "confidence": confidence, "source_vintage": stamp, "reason": note}
    unscored = "no_governance_score" if world.risk else "no_governance_data"
    with_risk = {**common, "source_vintage": governed, "coverage": plane.coverage}

    def noted(value: float | None, why: str) -> str | None:
        return note if value is not None else "; ".join([why, *notes])

    rows = [
        {
            **common, "indicator": "O1", "value": plane.o1, "low": plane.o1, "high": plane.o1_high,
            "country": plane.top, "country_share": vector[plane.top] if plane.top else None,
        },
        {
            **common, "indicator": "O1r", "value": plane.o1_renormalised,
            "reason": noted(plane.o1_renormalised, "no_foreign_supply"),
        },
        {**with_risk, "indicator": "T", "value": test, "low": low, "high": high, "reason": noted(test, unscored)},
        {
            **with_risk, "indicator": "G2", "value": plane.g2, "low": _least(plane.g2, plane.g2_high),
            "high": _most(plane.g2, plane.g2_high),
            "reason": noted(plane.g2, unscored if plane.foreign else "no_foreign_supply"),
        },
        {**with_risk, "indicator": "G3", "value": plane.g3, "reason": noted(plane.g3, unscored)},
        {**common, "indicator": "own_share", "value": sum(s for c, s in vector.items() if c in own)},
        {**common, "indicator": "unknown_share", "value": plane.unknown},
        {**common, "indicator": "imputed_share", "value": imputed_share},
    ]  # fmt: skip
    top, share, bound = top_third_country(benchmark if benchmark is not None else vector, own, union)
    rows.append(
        {
            **common, "indicator": "C4b", "value": share, "low": share, "high": min(bound, 1.0), "country": top,
            "country_share": share if top else None,
        }
    )  # fmt: skip
    if hub_gap:
        gap = None if direct_hhi is None or plane.o1_renormalised is None else plane.o1_renormalised - direct_hhi
        rows.append({**common, "indicator": "O2", "value": gap, "reason": noted(gap, "no_direct_mass")})
    return rows


def _tests(thresholds: Thresholds, plane: Plane) -> tuple[float | None, float | None, float | None]:
    """T of the vector as it is, its lower and its upper variant (the unknown part on the top country)."""
    hhi, wgi = thresholds.T_hhi.flag, thresholds.T_wgi.flag
    now = node_test(plane.o1, plane.g2, hhi, wgi)
    raised = node_test(plane.o1_high, plane.g2_high, hhi, wgi)
    known = [float(v) for v in (now, raised) if v is not None]
    return (
        None if now is None else float(now),
        min(known) if known else None,
        max(known) if known else None,
    )


def _least(a: float | None, b: float | None) -> float | None:
    return a if b is None else b if a is None else min(a, b)


def _most(a: float | None, b: float | None) -> float | None:
    return a if b is None else b if a is None else max(a, b)


@dataclass(frozen=True)
class Seen:
    """A node of a chain as a focus sees it in a year: origins (they sum to 1), basis, imputed share, tier."""

    vector: dict[str, float]
    basis: str
    imputed: float
    tier: int


def _seen(world: World) -> dict[tuple[str, str, int], dict[str, Seen]]:
    """``(focus, group, year) -> node -> Seen`` of the exposure."""
    columns = ["country", "share_traced", "basis", "imputed_share", "tier"]
    out: dict[tuple[str, str, int], dict[str, Seen]] = {}
    parts = slices(world.exposure.exposure, ["focus", "group", "year", "node"], columns)
    for (focus, group, year, node), part in parts.items():
        vector = {c: s for c, s in zip(part["country"], part["share_traced"], strict=True) if s > 0}
        total = sum(vector.values())
        vector = {c: s / total for c, s in vector.items()}
        found = Seen(vector, part["basis"][0], part["imputed_share"][0] or 0.0, part["tier"][0])
        out.setdefault((focus, group, year), {})[node] = found
    return out


def _plan(world: World) -> dict[str, dict[str, dict[str, Any]]]:
    """``group -> node -> row`` of the chain's nodes."""
    out: dict[str, dict[str, dict[str, Any]]] = {}
    for row in world.exposure.chain_nodes.to_pylist():
        out.setdefault(row["group"], {})[row["node"]] = row
    return out


def _traced_rows(world: World) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    plan = _plan(world)
    own = {f: focus_members(world.reference, f, world.years) for f in world.foci}
    union = {y: world.reference.bloc_members(EU27, y) for y in world.years}
    grades = NodeSupply(world)
    heads = {g.group: g.node for g in world.reference.groups.values()}
    every = [(*key, node, per_node) for key, per_node in _seen(world).items() for node in per_node]
    for focus, group, year, node, per_node in every:
        seen, record = per_node[node], plan[group][node]
        revision, tier = record["hs_revision"], seen.tier
        world_mix = seen.basis == "world_production_mix"
        notes = [] if seen.basis == "observed" else [seen.basis]
        if world_mix:
            notes = ["same_for_every_country"]
        head_codes = world.reference.codes(heads[group], revision)
        if not world_mix and grades.small_or_precious(focus, revision, head_codes, year):
            notes.append("small_or_precious")
        # What is imputed on the way to a node makes its figures unsure too.
        behind = max(per_node[n].imputed for n in record["path"].split(" <- ") if n in per_node)
        unsure = "small_or_precious" in notes or (behind > IMPUTED_SHARE_LOW_CONFIDENCE and not world_mix)
        base = {
            "focus": focus, "level": "node", "code": node, "hs_revision": revision, "group": group, "tier": tier,
            "year": year, "measure": "p" if world_mix else "q",
            "basis": "world_production_mix" if world_mix else "traced",
        }  # fmt: skip
        supply = None if world_mix else grades.own_supply(focus, revision, world.reference.codes(node, revision), year)
        bought = grades.direct_mass(focus, revision, world.reference.codes(node, revision), year)
        produced = plane_rows(
            world, base, seen.vector, own[focus][year], union[year], notes, "low" if unsure else "high",
            seen.imputed, hhi_of(bought), hub_gap=not world_mix and tier == 0, benchmark=supply,
        )  # fmt: skip
        if world_mix or supply is None:
            produced = [r for r in produced if r["indicator"] != "C4b"]
        elif tier > 0:
            codes = world.reference.codes(node, revision)
            reason, confidence = grades.own_grade(focus, revision, codes, year)
            for row in produced:
                if row["indicator"] == "C4b":
                    row |= {"reason": reason, "confidence": confidence}
        rows += produced
    return rows


class NodeSupply:
    """The focus's own traced supply and direct imports of a node's codes (not the look-through)."""

    def __init__(self, world: World) -> None:
        keys = ["focus", "hs_revision", "code", "year"]
        self._mix = slices(world.tracing.supply_mix, keys, ["country", "share_traced", "tonnes"])
        self._traced = {
            tuple(row[k] for k in keys): row for row in world.tracing.tracing.to_pylist() if row["measure"] == "q"
        }

    def own_supply(self, focus: str, revision: str, codes: Iterable[str], year: int) -> dict[str, float] | None:
        """Codes' traced rows combined by the focus's consumption, where that is 0 by its supply."""
        parts = []
        for code in codes:
            key = (focus, revision, code, year)
            if key in self._mix and key in self._traced:
                part = self._mix[key]
                row = {c: s for c, s in zip(part["country"], part["share_traced"], strict=True) if s}
                if row:
                    parts.append((row, self._traced[key]["consumption"], self._traced[key]["supply"]))
        if not parts:
            return None
        eaten = sum(p[1] for p in parts)
        weights = [p[1] if eaten > 0 else p[2] for p in parts]
        total = sum(weights)
        out: dict[str, float] = {}
        for w, (row, _, _) in zip(weights, parts, strict=True):
            for country, share in row.items():
                out[country] = out.get(country, 0.0) + w / total * share
        return out

    def direct_mass(self, focus: str, revision: str, codes: Iterable[str], year: int) -> list[float]:
        """Direct imports by mass per origin, codes summed."""
        summed: dict[str, float] = {}
        for code in codes:
            part = self._mix.get((focus, revision, code, year), {"country": [], "tonnes": []})
            for country, tonnes in zip(part["country"], part["tonnes"], strict=True):
                summed[country] = summed.get(country, 0.0) + (tonnes or 0.0)
        return [v for v in summed.values() if v > 0]

    def own_grade(self, focus: str, revision: str, codes: Iterable[str], year: int) -> tuple[str | None, str]:
        """Reason and confidence of the focus's own traced supply of some codes: the worst code decides."""
        found = [self._traced[k] for c in codes if (k := (focus, revision, c, year)) in self._traced]
        notes = [b for b in ("export_proxy", "producer_list") if any(r["basis"] == b for r in found)][:1]
        if self.small_or_precious(focus, revision, codes, year):
            notes.append("small_or_precious")
        low = any(r["confidence"] == "low" for r in found)
        return "; ".join(notes) or None, "low" if low else "high"

    def small_or_precious(self, focus: str, revision: str, codes: Iterable[str], year: int) -> bool:
        """Imports under 100 t in all, or every code above 1 million USD a tonne."""
        codes = tuple(codes)
        found = [self._traced[k] for c in codes if (k := (focus, revision, c, year)) in self._traced]
        if not found:
            return False
        light = sum(self.direct_mass(focus, revision, codes, year)) < SMALL_MASS_TONNES
        return light or all((r["median_unit_value"] or 0.0) > PRECIOUS_KUSD_PER_TONNE for r in found)


# -- chains --------------------------------------------------------------------------------------------------


def kleene_and(a: bool | None, b: bool | None) -> bool | None:
    """And with unknowns: false wins, then unknown."""
    if a is False or b is False:
        return False
    return None if a is None or b is None else True


def kleene_or(values: Iterable[bool | None]) -> bool | None:
    """Or with unknowns: true wins, then unknown; false over nothing."""
    seen = list(values)
    if any(v is True for v in seen):
        return True
    return None if any(v is None for v in seen) else False


def _chain_rows(world: World, nodes: pd.DataFrame) -> list[dict[str, object]]:
    """X1, X1g, X2, X2_global and hidden exposure of every group, focus and year."""
    rows: list[dict[str, object]] = []
    plan = _plan(world)
    planes = nodes[nodes["measure"].isin(["q", "p"]) & nodes["indicator"].isin(["T", "G3", "C3", "G2"])]
    figure: dict[tuple[object, ...], float | None] = {
        (r.focus, r.group, r.code, r.year, r.indicator, r.basis): r.value for r in planes.itertuples(index=False)
    }
    makers: dict[tuple[object, ...], tuple[str | None, float | None, str | None]] = {
        (r.focus, r.group, r.code, r.year): (r.country, r.country_share, r.reason)
        for r in planes[planes["indicator"] == "C3"].itertuples(index=False)
    }
    own = {f: focus_members(world.reference, f, world.years) for f in world.foci}
    for (focus, group, year), per_node in _seen(world).items():
        placed = plan[group]
        head = world.reference.groups[group].node
        if head not in per_node:
            continue
        base = {
            "focus": focus, "level": "group", "code": group, "hs_revision": placed[head]["hs_revision"],
            "group": group, "tier": 0, "year": year, "measure": "q", "basis": "traced",
            "source_vintage": world.vintage(placed[head]["hs_revision"], year, "baci", "mining", "wgi"),
        }  # fmt: skip
        rows += _links_of_chain(world, base, per_node, placed, head, figure, makers, own[focus][year])
    return rows


def _links_of_chain(
    world: World,
    base: dict[str, object],
    per_node: Mapping[str, Seen],
    placed: Mapping[str, Mapping[str, Any]],
    head: str,
    figure: Mapping[tuple[object, ...], float | None],
    makers: Mapping[tuple[object, ...], tuple[str | None, float | None, str | None]],
    own: frozenset[str],
) -> list[dict[str, object]]:
    focus, group, year = base["focus"], base["group"], base["year"]
    basis = {n: g.basis for n, g in per_node.items()}
    weight: dict[str, float | None] = {n: placed[n]["path_weight"] for n in per_node}
    tier = {n: g.tier for n, g in per_node.items()}
    status = {r["status"] for r in placed.values()}
    specific = [n for n in per_node if basis[n] != "world_production_mix"]
    upstream = [n for n in per_node if tier[n] >= 1]
    notes = ["export_proxy"] if any(basis[n] == "export_proxy" for n in specific) else []

    def tested(node: str) -> bool | None:
        kind = "world_production_mix" if basis[node] == "world_production_mix" else "traced"
        value = _float(figure.get((focus, group, node, year, "T", kind)))
        return None if value is None else value > 0

    fails = None if tested(head) is None else not tested(head)
    rows: list[dict[str, object]] = []

    # X1: a buyer-specific node upstream passes T while the product does not.
    eligible = [
        n for n in specific
        if 1 <= tier[n] <= MAX_TIER and (weight[n] or 0.0) >= world.thresholds.X1_weight.at_least
    ]  # fmt: skip
    passing = [n for n in eligible if tested(n)]
    x1 = kleene_and(fails, kleene_or(tested(n) for n in eligible))
    why = list(notes)
    if not eligible:
        if any(1 <= tier[n] <= MAX_TIER and weight[n] is None for n in specific):
            why.insert(0, "path_weight_unknown")
        elif any(1 <= tier[n] <= MAX_TIER for n in specific):
            why.insert(0, "path_weight_small")
        elif status & {"dashed", "missing"}:
            why.insert(0, "upstream_not_computable")
        elif len(placed) == 1:
            why.insert(0, "no_upstream_node")
        else:
            why.insert(0, "only_world_mix_upstream")
        if why[0] in ("upstream_not_computable", "path_weight_unknown") and fails is not False:
            x1 = None
    if x1 is None and not why:
        why.append("no_governance_score")
    named = _strongest(passing, figure, focus, group, year, weight)
    country, share = _top_foreign(per_node[named], own) if named else (None, None)
    rows.append(
        {
            **base, "indicator": "X1", "value": _number(x1), "worst_code": named, "country": country,
            "country_share": share, "reason": "; ".join(why) or None,
        }
    )  # fmt: skip

    # X1g: TNO's own reading, on world production, equal for every buyer.
    concentrated: dict[str, bool | None] = {}
    for node in upstream:
        if tier[node] > MAX_TIER:
            continue
        for kind in ("observed", "producer_list"):
            c3 = _float(figure.get((focus, group, node, year, "C3", kind)))
            if c3 is None:
                continue
            g2 = _float(figure.get((focus, group, node, year, "G2", kind)))
            concentrated[node] = node_test(c3, g2, world.thresholds.C3.flag, world.thresholds.G2.flag)
    x1g = kleene_and(fails, kleene_or(concentrated.values()))
    # The node that the statistic itself stands for is the better name than a later stage tied to it.
    holders = sorted(
        (n for n, v in concentrated.items() if v), key=lambda n: (basis[n] != "world_production_mix", -tier[n], n)
    )
    why = ["export_proxy"] if basis[head] == "export_proxy" else []
    if not concentrated:
        lacking = bool(status & {"missing", "dashed", "cut_off"})
        why.insert(0, "no_production_data" if upstream or lacking else "no_upstream_node")
        if why[0] == "no_production_data" and fails is not False:
            x1g = None
    if x1g is None and not why:
        why.append("no_governance_score")
    country, share, material = makers[(focus, group, holders[0], year)] if holders else (None, None, None)
    if material:
        why.append(material)
    rows.append(
        {
            **base, "indicator": "X1g", "basis": "world_production_mix", "measure": "p", "value": _number(x1g),
            "worst_code": holders[0] if holders else None, "country": country, "country_share": share,
            "reason": "; ".join(why) or None,
        }
    )  # fmt: skip

    for name, members, kind in (
        ("X2", specific, "traced"),
        ("X2_global", [n for n in per_node if n not in specific], "world_production_mix"),
    ):
        links = {
            n: w * g3 / 10.0
            for n in members
            if (w := weight[n]) is not None
            and (g3 := _float(figure.get((focus, group, n, year, "G3", kind)))) is not None
        }
        if not members:
            continue
        worst = min(links, key=lambda n: (-links[n], n)) if links else None
        country, share = _top_foreign(per_node[worst], own) if worst else (None, None)
        rows.append(
            {
                **base, "indicator": name, "basis": kind, "measure": "q" if kind == "traced" else "p",
                "value": links[worst] if worst else None, "worst_code": worst, "country": country,
                "country_share": share,
                "reason": "; ".join([f"path: {placed[worst]['path']}" if worst else "no_governance_score", *notes]),
            }
        )  # fmt: skip

    start = per_node[head].vector
    for name, members, kind in (
        ("hidden_exposure", [n for n in specific if tier[n] >= 1], "traced"),
        ("hidden_exposure_global", [n for n in upstream if n not in specific], "world_production_mix"),
    ):
        best: tuple[float, str, str] | None = None
        for node in sorted(members):
            for country, share in per_node[node].vector.items():
                if country in own or country == UNKNOWN:
                    continue
                gap = share - start.get(country, 0.0)
                if best is None or gap > best[0]:
                    best = (gap, node, country)
        if best is not None:
            rows.append(
                {
                    **base, "indicator": name, "basis": kind, "measure": "q" if kind == "traced" else "p",
                    "value": best[0], "worst_code": best[1], "country": best[2],
                    "country_share": per_node[best[1]].vector[best[2]],
                    "reason": "; ".join([f"path: {placed[best[1]]['path']}", *notes]),
                }
            )  # fmt: skip
    return rows


def _top_foreign(seen: Seen, own: frozenset[str]) -> tuple[str | None, float | None]:
    """The largest foreign origin of a node and its share."""
    vector = {c: s for c, s in seen.vector.items() if c not in own and c != UNKNOWN and s > 0}
    if not vector:
        return None, None
    top = min(vector, key=lambda c: (-vector[c], c))
    return top, vector[top]


def _strongest(
    nodes: list[str], figure: Mapping[tuple[object, ...], float | None], focus: object, group: object, year: object,
    weight: Mapping[str, float | None],
) -> str | None:  # fmt: skip
    """Of the passing nodes the one with the largest weakest-link value."""
    if not nodes:
        return None
    return min(
        nodes,
        key=lambda n: (-(weight[n] or 0.0) * (_float(figure.get((focus, group, n, year, "G3", "traced"))) or 0.0), n),
    )


def _number(value: bool | None) -> float | None:
    return None if value is None else float(value)


def _float(value: object) -> float | None:
    if value is None or value is pd.NA:
        return None
    number = float(str(value))
    return None if number != number else number


# -- worst codes ---------------------------------------------------------------------------------------------


def _worst_codes(world: World, nodes: pd.DataFrame, products: pa.Table) -> pd.DataFrame:
    """For nodes of several codes: the code with the worst value beside the ratio on the summed flows."""
    pairs = [
        (node, revision, code)
        for node in world.reference.nodes
        for revision in world.tracing.tracing.column("hs_revision").unique().to_pylist()
        if len(world.reference.codes(node, revision)) > 1
        for code in world.reference.codes(node, revision)
    ]
    if not pairs or not len(nodes):
        return nodes
    inside = pd.DataFrame(pairs, columns=["node", "hs_revision", "code"])
    wanted = (
        (pc.field("level") == "hs6")
        & pc.field("indicator").isin(WORSE_HIGH)
        & pc.field("code").isin(sorted(set(inside["code"])))
        & pc.field("value").is_valid()
    )
    candidates = products.select(WORST_COLUMNS).filter(wanted).to_pandas().merge(inside, on=["code", "hs_revision"])
    keys = ["focus", "node", "hs_revision", "year", "indicator", "measure", "basis"]
    worst = candidates.sort_values(["value", "code"], ascending=[False, True]).drop_duplicates(keys)
    worst = worst[[*keys, "code", "value"]].rename(
        columns={"node": "code", "code": "found_code", "value": "found_value"}
    )
    merged = nodes.merge(
        worst, on=["focus", "code", "hs_revision", "year", "indicator", "measure", "basis"], how="left"
    )
    merged["worst_code"] = merged["worst_code"].where(merged["worst_code"].notna(), merged["found_code"])
    merged["worst_value"] = merged["worst_value"].where(merged["worst_value"].notna(), merged["found_value"])
    return merged[ROW]
