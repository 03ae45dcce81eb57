"""Look-through: from a product's origins to the origins of what goes into it, tier by tier.

Belongs here: which nodes of a group can be computed, their tiers, path weights and vectors. Does not belong
here: the test of a vector (risk) or the catalogue's own rules (:mod:`ketenpipe.chain.catalogue`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ketenpipe.chain.catalogue import Reference
from ketenpipe.chain.tracing import UNKNOWN, Tracing, focus_members
from ketenpipe.chain.worldmix import node_mix
from ketenpipe.tables.registry import CHAIN_EDGES, CHAIN_NODES, CONFIDENCE, EVIDENCE, EXPOSURE

REVISIONS = ("HS92", "HS96", "HS02", "HS07", "HS12", "HS17", "HS22")
BASIS_STRENGTH = ("observed", "producer_list", "export_proxy")


@dataclass(frozen=True)
class Exposure:
    """Tables of the look-through: chain_nodes, chain_edges, exposure (contracts of the registry)."""

    chain_nodes: pa.Table
    chain_edges: pa.Table
    exposure: pa.Table


@dataclass(frozen=True)
class TracedYears:
    """Step one, a year in memory at a time.

    Args:
        available: HS revision -> codes that the sources hold in any of the years.
        years: in order.
        of: gives one year's tables.
    """

    available: Mapping[str, set[str]]
    years: tuple[int, ...]
    of: Callable[[int], Tracing]

    @classmethod
    def within(cls, tracing: Tracing) -> TracedYears:
        """The years of tables that are in memory as a whole."""

        def of(year: int) -> Tracing:
            parts = (tracing.production, tracing.origin_mix, tracing.tracing, tracing.supply_mix)
            return Tracing(*(part.filter(pc.equal(part.column("year"), year)) for part in parts))

        held = tracing.tracing.select(["hs_revision", "code", "year"]).group_by(["hs_revision", "code", "year"])
        rows = held.aggregate([]).to_pylist()
        return cls(codes_by_revision(rows), tuple(sorted({int(r["year"]) for r in rows})), of)

    def each(self) -> Iterator[tuple[int, Tracing]]:
        """Year and tables, one after the other."""
        for year in self.years:
            yield year, self.of(year)


def codes_by_revision(rows: Iterable[Mapping[str, Any]]) -> dict[str, set[str]]:
    """``HS revision -> codes`` of rows that have both."""
    found: dict[str, set[str]] = {}
    for row in rows:
        found.setdefault(str(row["hs_revision"]), set()).add(str(row["code"]))
    return found


@dataclass(frozen=True)
class Plan:
    """How one group's chain is computed.

    Args:
        group: product group.
        hs_revision: revision whose codes the sources hold; None if the product cannot be computed.
        status: node -> traded, production, dashed, cut_off, missing.
        tier: node -> number of computed steps from the product; dashed nodes are no step and not in here.
        weight: node -> largest path weight, None where an intensity is empty on every path.
        path: node -> the path of that weight, from the product.
        order: computable nodes, users before inputs.
        graph: edges user -> input.
    """

    group: str
    hs_revision: str | None
    status: dict[str, str]
    tier: dict[str, int]
    weight: dict[str, float | None]
    path: dict[str, tuple[str, ...]]
    order: tuple[str, ...]
    graph: nx.DiGraph = field(repr=False)


@dataclass
class NodeOrigins:
    """Origins of a node of one or several codes in one year.

    Args:
        rows: country -> (vector over origins, consumption, supply, imputed share).
        basis: weakest basis among its codes.
    """

    rows: dict[str, tuple[dict[str, float], float, float, float]]
    basis: str


def plan_group(
    reference: Reference, group: str, available: Mapping[str, set[str]], materials: set[str], depth: int
) -> Plan:
    """Decide revision, status, tier, path weight of every node of a group.

    A tier is a computed step: a dashed node (its codes are not in the sources) passes its users' vector
    through and is no tier. The tier of a node is the smallest number of steps; its weight the largest product
    of edge weights (1 where essential, else the intensity) over its paths.

    Args:
        reference: the catalogue.
        group: product group.
        available: HS revision -> codes that the sources hold.
        materials: materials that the production statistics hold.
        depth: tiers to look through.
    """
    graph = reference.graph(group)
    head = reference.groups[group].node
    revision = _revision_of(reference, group, graph, available)
    held = available.get(revision or "", set())

    def status_of(node: str) -> str:
        if reference.nodes[node].is_statistic or not (
            reference.nodes[node].codes_hs92 or reference.nodes[node].codes_hs17
        ):
            known = reference.nodes[node].material in materials or any(
                f.node == node and f.citation_status == "read" for f in reference.producer_figures
            )
            return "production" if known else "missing"
        if any(code in held for code in reference.codes(node, revision or "")):
            return "traded"
        return "missing" if node == head else "dashed"

    status = {node: status_of(node) for node in graph.nodes}
    steps = nx.DiGraph()
    steps.add_nodes_from(graph.nodes)
    for user, item in graph.edges:
        steps.add_edge(user, item, cost=0 if status[item] == "dashed" else 1)
    distance = nx.single_source_dijkstra_path_length(steps, head, weight="cost")
    weight: dict[str, float | None] = {}
    path: dict[str, tuple[str, ...]] = {}
    tier: dict[str, int] = {}
    order: list[str] = []
    for node in nx.topological_sort(graph):
        if node == head:
            weight[node], path[node] = 1.0, (node,)
        else:
            options = []
            for user in sorted(graph.predecessors(node)):
                edge = graph.edges[user, node]["weight"]
                through = weight.get(user)
                product = None if edge is None or through is None else edge * through
                options.append((product, (*path[user], node)))
            known = [o for o in options if o[0] is not None]
            # Of paths of equal weight the shortest is the one that the tier counts.
            weight[node], path[node] = max(known or options, key=lambda o: (o[0] or 0.0, -len(o[1])))
        if status[node] in ("traded", "production") and distance[node] > depth:
            status[node] = "cut_off"
        if status[node] in ("traded", "production"):
            tier[node] = int(distance[node])
        if status[node] in ("traded", "production", "dashed"):
            order.append(node)
    if status[head] != "traded":
        order, tier = [], {}
    return Plan(group, revision, status, tier, weight, path, tuple(order), graph)


def _revision_of(reference: Reference, group: str, graph: nx.DiGraph, available: Mapping[str, set[str]]) -> str | None:
    """The revision in which most nodes of the group can be computed, the product among them; newest of equals."""
    head = reference.groups[group].node
    best: tuple[int, int] | None = None
    chosen = None
    for revision, held in available.items():
        if not any(c in held for c in reference.codes(head, revision)):
            continue
        count = sum(any(c in held for c in reference.codes(n, revision)) for n in graph.nodes)
        rank = (count, REVISIONS.index(revision) if revision in REVISIONS else -1)
        if best is None or rank > best:
            best, chosen = rank, revision
    return chosen


def combine_codes(
    parts: list[tuple[dict[str, float], float, float, float]],
) -> tuple[dict[str, float], float, float, float]:
    """One country's rows of several codes as one, weighted by its consumption, where that is 0 by its supply.

    Args:
        parts: per code: vector over origins, consumption, supply, imputed share.

    Returns:
        The same for the node; the vector sums to 1.
    """
    eaten = sum(p[1] for p in parts)
    held = sum(p[2] for p in parts)
    weights = [p[1] for p in parts] if eaten > 0 else [p[2] for p in parts]
    total = sum(weights)
    vector: dict[str, float] = {}
    imputed = 0.0
    for w, (row, _, _, d) in zip(weights, parts, strict=True):
        imputed += w / total * d
        for origin, share in row.items():
            vector[origin] = vector.get(origin, 0.0) + w / total * share
    return vector, eaten, held, imputed


def step_upstream(vector: dict[str, float], origins: NodeOrigins) -> tuple[dict[str, float], float]:
    """``x_n = x @ O_n``: who makes the input that the countries in ``x`` use, and how much of it is imputed.

    Unknown stays unknown; a country whose supply of the input no source shows is unknown too.

    Args:
        vector: country -> share, sums to 1.
        origins: the input's origins per country.
    """
    out: dict[str, float] = {}
    imputed = 0.0
    for country, share in vector.items():
        known = origins.rows.get(country) if country != UNKNOWN else None
        if known is None:
            out[UNKNOWN] = out.get(UNKNOWN, 0.0) + share
            continue
        imputed += share * known[3]
        for origin, part in known[0].items():
            out[origin] = out.get(origin, 0.0) + share * part
    return out, imputed


def build_exposure(
    tracing: Tracing | TracedYears, mining: pa.Table | None, reference: Reference, foci: tuple[str, ...], depth: int
) -> Exposure:
    """Look through every group of the catalogue for every focus and year.

    ``x_0`` is the focus's row of the product's supply-mix matrix, ``x_n = mean_of_users(x) @ O_n`` for a traded
    input, the world production mix for a node that no code isolates (the same for every buyer), and the users'
    own vector for a dashed step. Each vector sums to 1 with ``UNK``.

    Args:
        tracing: step one, as a whole or a year at a time.
        mining: table ``mining_production`` or None.
        reference: the catalogue.
        foci: countries and blocs.
        depth: tiers to look through.
    """
    traced = tracing if isinstance(tracing, TracedYears) else TracedYears.within(tracing)
    statistics = None if mining is None or not mining.num_rows else mining.to_pandas()
    plans = plan_groups(reference, traced.available, mining, depth)
    members = {f: focus_members(reference, f, list(traced.years)) for f in foci}
    by_year = {} if statistics is None else {int(y): part for y, part in statistics.groupby("year")}
    rows: list[dict[str, object]] = []
    for year, tables in traced.each():
        origins, direct = OriginIndex(tables, reference), _DirectIndex(tables)
        for plan in plans.values():
            for focus in foci:
                rows += _group_rows(
                    plan, reference, by_year.get(year), origins, direct, focus, members[focus][year], year
                )
    return Exposure(
        chain_nodes=CHAIN_NODES.conform(_node_rows(plans, reference, traced.available)),
        chain_edges=CHAIN_EDGES.conform(_edge_rows(reference)),
        exposure=EXPOSURE.conform(pd.DataFrame(rows, columns=EXPOSURE.names)),
    )


def plan_groups(
    reference: Reference, available: Mapping[str, set[str]], mining: pa.Table | None, depth: int
) -> dict[str, Plan]:
    """The plan of every group (see :func:`plan_group`)."""
    materials = set() if mining is None else {str(m) for m in mining.column("material").unique().to_pylist()}
    return {g: plan_group(reference, g, available, materials, depth) for g in reference.groups}


class OriginIndex:
    """Origins of nodes per year, combined from their codes' rows on demand and kept.

    Args:
        tracing: step one, of one year or of several.
        reference: says which codes a node has.
    """

    def __init__(self, tracing: Tracing, reference: Reference) -> None:
        self._reference = reference
        self._kept: dict[tuple[str, str, int], NodeOrigins | None] = {}
        production = tracing.production.to_pandas()
        production = production[production["measure"] == "q"]
        # Rounding to nine digits may leave a trace of consumption where supply and exports are equal.
        eaten = (production["supply"] - production["exports"]).to_numpy()
        production["consumption"] = np.where(eaten > 1e-8 * production["supply"], eaten, 0.0)
        keys = ["hs_revision", "code", "year"]
        self._production = {key: part for key, part in production.groupby(keys)}
        mix = tracing.origin_mix.to_pandas().sort_values([*keys, "country", "origin"], kind="stable")
        self._mix = {
            key: (part["country"].to_numpy(object), part["origin"].to_numpy(object), part["share"].to_numpy(float))
            for key, part in mix.groupby(keys)
        }

    def of(self, node: str, revision: str, year: int) -> NodeOrigins | None:
        """The node's origins per country; None where no code of it was traced in that year."""
        key = (node, revision, year)
        if key not in self._kept:
            self._kept[key] = self._combine(node, revision, year)
        return self._kept[key]

    def _combine(self, node: str, revision: str, year: int) -> NodeOrigins | None:
        parts: dict[str, list[tuple[dict[str, float], float, float, float]]] = {}
        bases: set[str] = set()
        for code in self._reference.codes(node, revision):
            produced = self._production.get((revision, code, year))
            mixed = self._mix.get((revision, code, year))
            if produced is None or mixed is None:
                continue
            bases.update(produced["basis"].unique())
            named = produced["country"].tolist()
            imputed = dict(zip(named, produced["imputed"].fillna(0.0).tolist(), strict=True))
            eaten = dict(zip(named, produced["consumption"].tolist(), strict=True))
            supply = dict(zip(named, produced["supply"].tolist(), strict=True))
            countries, origins, shares = mixed
            starts = np.flatnonzero(np.r_[True, countries[1:] != countries[:-1]])
            for start, stop in zip(starts, np.r_[starts[1:], len(countries)], strict=True):
                country, block = countries[start], shares[start:stop]
                vector = dict(zip(origins[start:stop].tolist(), (block / block.sum()).tolist(), strict=True))
                share = sum(s * imputed.get(c, 0.0) for c, s in vector.items())
                parts.setdefault(country, []).append((vector, eaten[country], supply[country], share))
        if not parts:
            return None
        basis = max(bases, key=BASIS_STRENGTH.index)
        return NodeOrigins({c: combine_codes(p) for c, p in parts.items()}, basis)


class _DirectIndex:
    """The focus's own imports per code, origin and year."""

    def __init__(self, tracing: Tracing) -> None:
        mix = tracing.supply_mix.select(["focus", "hs_revision", "code", "year", "country", "value_kusd"]).to_pandas()
        mix = mix[mix["value_kusd"].notna()]
        self._kept = {key: part for key, part in mix.groupby(["focus", "hs_revision", "code", "year"])}

    def shares(self, focus: str, revision: str, codes: tuple[str, ...], year: int) -> dict[str, float]:
        parts = [self._kept[k] for c in codes if (k := (focus, revision, c, year)) in self._kept]
        if not parts:
            return {}
        summed = pd.concat(parts).groupby("country")["value_kusd"].sum()
        total = float(summed.sum())
        return {str(c): float(v) / total for c, v in summed.items()} if total > 0 else {}


def focus_row(origins: NodeOrigins, members: frozenset[str], single: bool) -> tuple[dict[str, float], float] | None:
    """Tier 0: the focus's own row; a bloc's members weighted by apparent consumption. None: no supply.

    Returns:
        The vector and its imputed share.
    """
    held = [origins.rows[m] for m in sorted(members) if m in origins.rows]
    if single:
        return (held[0][0], held[0][3]) if held else None
    eating = [(row, eaten, eaten, imputed) for row, eaten, _, imputed in held if eaten > 0]
    if not eating:
        return None
    vector, _, _, imputed = combine_codes(eating)
    return vector, imputed


def _group_rows(
    plan: Plan,
    reference: Reference,
    statistics: pd.DataFrame | None,
    origins: OriginIndex,
    direct: _DirectIndex,
    focus: str,
    members: frozenset[str],
    year: int,
) -> list[dict[str, object]]:
    if not plan.order or plan.hs_revision is None:
        return []
    revision = plan.hs_revision
    head = plan.order[0]
    vectors: dict[str, dict[str, float]] = {}
    bases: dict[str, str] = {}
    imputed: dict[str, float] = {}
    rows: list[dict[str, object]] = []
    for node in plan.order:
        if node == head:
            own = origins.of(node, revision, year)
            start = None if own is None else focus_row(own, members, single=focus not in reference.bloc_names)
            if own is None or start is None:
                return []
            vectors[node], imputed[node] = start
            bases[node] = own.basis
        elif plan.status[node] == "production":
            mix = node_mix(reference, statistics, node, year)
            if mix is None:
                continue
            vectors[node], bases[node], imputed[node] = mix.shares, "world_production_mix", 0.0
        else:
            users = [
                u for u in sorted(plan.graph.predecessors(node)) if u in vectors and plan.status[u] != "production"
            ]
            if not users:
                continue
            mixed = _mean_of_users(plan, node, users, vectors)
            behind = max(imputed[u] for u in users)
            weakest = max((bases[u] for u in users), key=BASIS_STRENGTH.index)
            if plan.status[node] == "dashed":
                vectors[node], bases[node], imputed[node] = mixed, weakest, behind
                continue
            found = origins.of(node, revision, year)
            if found is None:
                continue
            vectors[node], imputed[node] = step_upstream(mixed, found)
            bases[node] = max(weakest, found.basis, key=BASIS_STRENGTH.index)
        if plan.status[node] != "dashed":
            rows += _vector_rows(plan, reference, direct, focus, year, revision, node, vectors, bases, imputed)
    return rows


def _mean_of_users(plan: Plan, node: str, users: list[str], vectors: dict[str, dict[str, float]]) -> dict[str, float]:
    """Mean of the users' vectors, weighted by path weight; unweighted where no path weight is known."""
    weights: list[float | None] = []
    for user in users:
        edge, through = plan.graph.edges[user, node]["weight"], plan.weight[user]
        weights.append(None if edge is None or through is None else float(edge * through))
    known = [w for w in weights if w]
    usable = [w or 0.0 for w in weights] if known else [1.0] * len(users)
    total = sum(usable)
    mixed: dict[str, float] = {}
    for user, w in zip(users, usable, strict=True):
        if w:
            for country, share in vectors[user].items():
                mixed[country] = mixed.get(country, 0.0) + w / total * share
    return mixed


def _vector_rows(
    plan: Plan,
    reference: Reference,
    direct: _DirectIndex,
    focus: str,
    year: int,
    revision: str,
    node: str,
    vectors: dict[str, dict[str, float]],
    bases: dict[str, str],
    imputed: dict[str, float],
) -> list[dict[str, object]]:
    vector = vectors[node]
    bought = direct.shares(focus, revision, reference.codes(node, revision), year)
    unknown = vector.get(UNKNOWN, 0.0)
    rows = []
    for country in sorted({*vector, *bought}):
        share = min(vector.get(country, 0.0), 1.0)
        rows.append(
            {
                "focus": focus,
                "group": plan.group,
                "node": node,
                "tier": plan.tier[node],
                "year": year,
                "hs_revision": revision,
                "country": country,
                "share_direct": bought.get(country),
                "share_traced": share,
                "low": 0.0 if country == UNKNOWN else share,
                "high": share if country == UNKNOWN else min(share + unknown, 1.0),
                "path_weight": plan.weight[node],
                "basis": bases[node],
                "imputed_share": min(imputed[node], 1.0),
                "evidence": _weakest(plan, node, "evidence", EVIDENCE),
                "same_for_every_country": bases[node] == "world_production_mix",
            }
        )
    return rows


def _weakest(plan: Plan, node: str, attribute: str, scale: tuple[str, ...]) -> str | None:
    """The weakest value on the node's path; a dashed step on it counts as assumed."""
    path = plan.path[node]
    found = [plan.graph.edges[a, b][attribute] for a, b in itertools.pairwise(path)]
    if attribute == "evidence" and any(plan.status[n] == "dashed" for n in path):
        found.append("assumed")
    return max(found, key=scale.index) if found else None


def _node_rows(
    plans: dict[str, Plan], reference: Reference, available: Mapping[str, set[str]]
) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for plan in plans.values():
        held = available.get(plan.hs_revision or "", set())
        for node in plan.graph.nodes:
            record = reference.nodes[node]
            codes = reference.codes(node, plan.hs_revision) if plan.hs_revision else ()
            rows.append(
                {
                    "group": plan.group,
                    "node": node,
                    "tier": plan.tier.get(node),
                    "stage": record.stage,
                    "hs_revision": plan.hs_revision,
                    "codes": " ".join(codes) or None,
                    "codes_in_sources": " ".join(c for c in codes if c in held) or None,
                    "material": record.material or None,
                    "status": plan.status[node],
                    "path_weight": plan.weight[node],
                    "path": " <- ".join(plan.path[node]),
                    "evidence": _weakest(plan, node, "evidence", EVIDENCE),
                    "confidence": _weakest(plan, node, "confidence", CONFIDENCE),
                    "shared_code_note": record.shared_code_note or None,
                    "amendments": "; ".join(
                        e.amendment for e in reference.edges_of(plan.group) if e.amendment and node in (e.user, e.input)
                    )
                    or None,
                }
            )
    return rows


def _edge_rows(reference: Reference) -> list[dict[str, object]]:
    return [
        {
            "group": e.group,
            "user": e.user,
            "input": e.input,
            "intensity": e.intensity,
            "essential": e.essential,
            "evidence": e.evidence,
            "confidence": e.confidence,
            "citation": e.citation,
            "citation_status": e.citation_status or None,
            "amendments": e.amendment or None,
        }
        for e in reference.edges
    ]
