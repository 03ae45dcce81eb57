"""The supply graph of a product group: places (a node of the chain in one country), flows between them, bottlenecks.

Belongs here: the graph as tables, as a networkx graph and as GraphML, and where it is narrow. Does not belong here:
how the shares are computed (:mod:`ketenpipe.chain.lookthrough`), drawing
(:mod:`ketenpipe.observatory.graph_pictures`).

A place is ``(m, c)``: input m made in country c. The flow from ``(m, c')`` to ``(k, c)`` is
``w_k(m) * x_k[c] * O_m[c, c']``: the part ``w_k(m)`` of the input that is reckoned to go to user k, k's share that is
made in c, and the part of c's supply of m that was made in c'. So all flows out of a place add up to ``x_m[c']``, all
flows of an input to 1, and all flows of input m into ``(k, c)`` to ``w_k(m) * x_k[c]``. A node on the world production
mix has the same O for every buyer; a dashed node passes its users' own places through; ``UNK`` is a place of its own.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

from ketenpipe.chain.tracing import UNKNOWN
from ketenpipe.errors import InputRefused, WrongUse
from ketenpipe.tables.registry import GRAPH_EDGES, GRAPH_MEASURES, GRAPH_NODES

#: The focus itself as a node of the graph; no node of the catalogue can bear that name.
FOCUS = "_focus"
#: Countries of a node under the smallest share, folded into one place.
REST = "REST"
#: Default of :func:`group_graph`: a place with less than this share of its node's supply is folded into REST.
SMALLEST = 0.001
#: Cuts and articulation points are told for each of these: a supplier counts from that share on.
THRESHOLDS = (0.01, 0.05)
#: How far the flows may stray from the exposure before the tables are refused as not belonging together.
SLACK = 1e-6
#: Capacities of cuts are whole numbers (networkx' cuts go astray on rounding errors): shares in units of 1e-12, and so
#: much for each place that of cuts of equal capacity the one with the fewest places is the smallest.
UNIT, PER_PLACE = 10**12, 10**6

Place = tuple[str, str]


@dataclass(frozen=True)
class SupplyGraph:
    """Tables of the supply graph: graph_nodes, graph_edges (contracts of the registry)."""

    graph_nodes: pa.Table
    graph_edges: pa.Table


@dataclass(frozen=True)
class YearTables:
    """What the flows of one year are made from.

    Args:
        production, origin_mix: step one, of at least the codes of the catalogue.
        supply_mix: the foci's own imports; None leaves the values null.
    """

    production: pa.Table
    origin_mix: pa.Table
    supply_mix: pa.Table | None = None


# -- tables ---------------------------------------------------------------------------------------------------
def newest_years(exposure: pa.Table) -> dict[tuple[str, str], int]:
    """``(focus, group) -> newest year`` that the look-through has."""
    newest = exposure.select(["focus", "group", "year"]).group_by(["focus", "group"]).aggregate([("year", "max")])
    return {(r["focus"], r["group"]): int(r["year_max"]) for r in newest.to_pylist()}


def build_supply_graph(
    chain_nodes: pa.Table,
    chain_edges: pa.Table,
    exposure: pa.Table,
    read_year: Callable[[int], YearTables],
    years: Collection[int] | None = None,
) -> SupplyGraph:
    """The supply graph of every focus and group, one year after the other.

    ``x`` is taken from the exposure, ``O`` made from the origin mixes of the node's codes as the look-through does
    (a country's rows weighted by its consumption, where that is 0 by its supply); what flows out of each place is then
    held against the exposure.

    Args:
        chain_nodes, chain_edges, exposure: tables of the look-through.
        read_year: gives the tables of one year; called once per year.
        years: which; None: of each focus and group the newest that it has.

    Raises:
        InputRefused: the tables do not belong together (an origin is missing, or flows do not add up to the exposure).
    """
    newest = newest_years(exposure)
    wanted = sorted(set(newest.values())) if years is None else sorted(set(years))
    chains = {g: _Chain(g, rows, chain_edges) for g, rows in _by_group(chain_nodes).items()}
    made: dict[tuple[str, str, int], tuple[pa.Table, pa.Table]] = {}
    for year in wanted:
        own = exposure.filter(pc.equal(exposure.column("year"), year)).to_pandas()
        if own.empty:
            continue
        origins = _Origins(read_year(year), year)
        for (focus, group), rows in own.groupby(["focus", "group"], sort=True):
            if years is None and newest[(focus, group)] != year:
                continue
            key = {"focus": focus, "group": group, "year": year}
            made_nodes, made_edges = _one_graph(chains[group], str(focus), rows, origins)
            made[(str(focus), str(group), year)] = (
                GRAPH_NODES.conform(made_nodes.assign(**key)[GRAPH_NODES.names]),
                GRAPH_EDGES.conform(made_edges.assign(**key)[GRAPH_EDGES.names]),
            )
    # Each graph is sorted by the rest of the key and checked: in this order the whole is, without sorting millions.
    ordered = [made[key] for key in sorted(made)]
    return SupplyGraph(
        pa.concat_tables([GRAPH_NODES.empty(), *(n for n, _ in ordered)]),
        pa.concat_tables([GRAPH_EDGES.empty(), *(e for _, e in ordered)]),
    )


def _by_group(chain_nodes: pa.Table) -> dict[str, list[dict[str, Any]]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in chain_nodes.to_pylist():
        groups.setdefault(row["group"], []).append(row)
    return groups


class _Chain:
    """One group's chain as used: which nodes are computed, and their order, users before inputs."""

    def __init__(self, group: str, rows: Sequence[Mapping[str, Any]], chain_edges: pa.Table) -> None:
        self.rows = {r["node"]: r for r in rows}
        self.revision = next((r["hs_revision"] for r in rows), None)
        self.graph = nx.DiGraph()
        self.graph.add_nodes_from(self.rows)
        for e in chain_edges.filter(pc.equal(chain_edges.column("group"), group)).to_pylist():
            read = e["intensity"] if e["citation_status"] == "read" else None
            self.graph.add_edge(e["user"], e["input"], weight=1.0 if e["essential"] else read, evidence=e["evidence"])
        self.order = [
            n for n in nx.topological_sort(self.graph) if self.rows[n]["status"] in ("traded", "production", "dashed")
        ]

    def users(self, node: str, known: Collection[str]) -> dict[str, float]:
        """User -> part of the node that is reckoned to go to it, by path weight; equal parts where none is known."""
        users = [
            u
            for u in sorted(self.graph.predecessors(node))
            if u in known and (self.rows[node]["status"] == "production" or self.rows[u]["status"] != "production")
        ]
        weights: list[float | None] = []
        for user in users:
            edge, through = self.graph.edges[user, node]["weight"], self.rows[user]["path_weight"]
            weights.append(None if edge is None or through is None else float(edge * through))
        usable = [w or 0.0 for w in weights] if any(weights) else [1.0] * len(users)
        total = sum(usable)
        return {u: w / total for u, w in zip(users, usable, strict=True) if w}


class _ByKey:
    """The rows of a table in one year by key, as pandas only where they are asked for."""

    def __init__(self, table: pa.Table, year: int, keys: list[str], columns: list[str]) -> None:
        own = table.filter(pc.equal(table.column("year"), year))
        named = own.select(keys).to_pandas(strings_to_categorical=True)
        self._at = named.groupby(keys, observed=True).indices
        self._rows = own.select(columns)

    def of(self, *key: str) -> pd.DataFrame | None:
        at = self._at.get(key)
        return None if at is None else self._rows.take(pa.array(at)).to_pandas()


class _Origins:
    """``O`` of nodes in one year, combined from their codes on demand and kept."""

    def __init__(self, tables: YearTables, year: int) -> None:
        self.year = year
        made = tables.production.filter(pc.equal(tables.production.column("measure"), "q"))
        self._made = _ByKey(made, year, ["hs_revision", "code"], ["country", "supply", "exports"])
        self._mix = _ByKey(tables.origin_mix, year, ["hs_revision", "code"], ["country", "origin", "share"])
        self._bought = None
        if tables.supply_mix is not None:
            bought = tables.supply_mix.filter(pc.is_valid(tables.supply_mix.column("value_kusd")))
            self._bought = _ByKey(bought, year, ["focus", "hs_revision", "code"], ["country", "value_kusd"])
        self._kept: dict[tuple[str, str], pd.DataFrame] = {}

    def of(self, revision: str, codes: str) -> pd.DataFrame:
        """``country, origin, share`` of a node of these codes; the shares of a country add up to 1."""
        key = (revision, codes)
        if key not in self._kept:
            self._kept[key] = self._combine(revision, codes.split())
        return self._kept[key]

    def _combine(self, revision: str, codes: list[str]) -> pd.DataFrame:
        parts = []
        for code in codes:
            made, mix = self._made.of(revision, code), self._mix.of(revision, code)
            if made is None or mix is None:
                continue
            eaten = (made["supply"] - made["exports"]).to_numpy()
            # As in the look-through: rounding may leave a trace of consumption where supply and exports are equal.
            eaten = np.where(eaten > 1e-8 * made["supply"].to_numpy(), eaten, 0.0)
            weights = pd.DataFrame({"country": made["country"], "eaten": eaten, "held": made["supply"]})
            share = mix["share"] / mix.groupby("country")["share"].transform("sum")
            own = mix[["country", "origin"]].assign(share=share, code=code)
            parts.append(own.merge(weights, on="country", how="inner"))
        if not parts:
            return pd.DataFrame({"country": [], "origin": [], "share": []})
        rows = pd.concat(parts, ignore_index=True)
        totals = rows.drop_duplicates(["country", "code"]).groupby("country")[["eaten", "held"]].sum()
        by_eaten = rows["country"].map(totals["eaten"])
        weight = np.where(
            by_eaten > 0, rows["eaten"] / by_eaten.where(by_eaten > 0, 1.0),
            rows["held"] / rows["country"].map(totals["held"]),
        )  # fmt: skip
        rows["share"] *= weight
        summed = rows.groupby(["country", "origin"], as_index=False)["share"].sum()
        return summed[summed["share"] > 0]

    def imports(self, focus: str, revision: str, codes: str) -> dict[str, Any]:
        """Country -> the focus's direct imports of these codes, thousand USD."""
        if self._bought is None:
            return {}
        held = [rows for c in codes.split() if (rows := self._bought.of(focus, revision, c)) is not None]
        if not held:
            return {}
        summed = pd.concat(held).groupby("country")["value_kusd"].sum()
        return {str(c): float(v) for c, v in summed.items()}


_FLOW = ["input", "input_country", "user", "user_country", "share"]


def _one_graph(
    chain: _Chain, focus: str, exposure: pd.DataFrame, origins: _Origins
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Places and flows of one focus, group and year."""
    held = exposure[exposure["share_traced"] > 0]
    shown = {str(n): rows.set_index("country") for n, rows in held.groupby("node")}
    head = next(n for n in chain.order if chain.rows[n]["tier"] == 0)
    vectors: dict[str, pd.Series] = {}
    flows: list[pd.DataFrame] = []
    for node in chain.order:
        row = chain.rows[node]
        users = {} if node == head else chain.users(node, vectors)
        if row["status"] == "dashed":
            if users:
                vectors[node] = pd.concat([w * vectors[u] for u, w in users.items()]).groupby(level=0).sum()
        elif node in shown:
            vectors[node] = shown[node]["share_traced"]
        if node not in vectors:
            continue
        evidence: str | None = None
        for user, weight in users.items():
            evidence = chain.graph.edges[user, node]["evidence"]
            if row["status"] == "dashed":
                own = vectors[user]
                flow = pd.DataFrame({"input_country": own.index, "user_country": own.index, "share": own.to_numpy()})
            elif row["status"] == "production":
                flow = _everywhere(vectors[node], vectors[user])
            else:
                flow = _through(vectors[user], origins.of(chain.revision or "", row["codes"] or ""))
            flow["share"] *= weight
            flows.append(
                flow.assign(
                    input=node, user=user, user_weight=weight, evidence=evidence,
                    same_for_every_country=row["status"] == "production",
                )
            )  # fmt: skip
        if row["status"] == "traded" and users:
            _hold(chain.rows[node], focus, origins.year, vectors[node], flows[-len(users) :])
    first = vectors[head]
    flows.append(
        pd.DataFrame(
            {
                "input": head, "input_country": first.index, "user": FOCUS, "user_country": focus,
                "share": first.to_numpy(), "user_weight": 1.0, "evidence": None, "same_for_every_country": False,
            }
        )
    )  # fmt: skip
    bought = origins.imports(focus, chain.revision or "", chain.rows[head]["codes"] or "")
    places: list[dict[str, Any]] = [
        {"node": FOCUS, "country": focus, "kind": "focus", "share": 1.0, "same_for_every_country": False}
    ]
    for node, vector in vectors.items():
        row, told = chain.rows[node], shown.get(node)
        own = {
            "node": node, "tier": None if pd.isna(row["tier"]) else int(row["tier"]), "stage": row["stage"],
            "kind": row["status"], "basis": None if told is None else told["basis"].iloc[0],
            "evidence": row["evidence"] if told is None else told["evidence"].iloc[0],
            "same_for_every_country": row["status"] == "production",
        }  # fmt: skip
        places += [
            {**own, "country": c, "share": s, "value_kusd": _money(bought.get(c)) if node == head else None}
            for c, s in vector.items()
        ]
    return pd.DataFrame(places, columns=_PLACE, dtype=object), pd.concat(flows, ignore_index=True)


_PLACE = [c for c in GRAPH_NODES.names if c not in ("focus", "group", "year")]


def _money(value: float | None) -> Any:
    return None if value is None else pa.scalar(f"{value:.3f}").cast(pa.decimal128(18, 3)).as_py()


def _everywhere(mix: pd.Series, users: pd.Series) -> pd.DataFrame:
    """The world mix: every buyer, the unknown one too, takes it in the same parts."""
    share = np.outer(mix.to_numpy(), users.to_numpy()).ravel()
    return pd.DataFrame(
        {
            "input_country": np.repeat(mix.index.to_numpy(), len(users)),
            "user_country": np.tile(users.index.to_numpy(), len(mix)),
            "share": share,
        }
    )


def _through(users: pd.Series, origins: pd.DataFrame) -> pd.DataFrame:
    """``x_k[c] * O_m[c, c']``; a country whose supply of the input no source shows takes it from UNK."""
    own = users.rename("held").rename_axis("country").reset_index()
    found = own[own["country"] != UNKNOWN].merge(origins, on="country", how="inner")
    lost = own[~own["country"].isin(found["country"])]
    known = pd.DataFrame(
        {
            "input_country": found["origin"],
            "user_country": found["country"],
            "share": found["held"] * found["share"],
        }
    )
    unknown = pd.DataFrame({"input_country": UNKNOWN, "user_country": lost["country"], "share": lost["held"]})
    return pd.concat([part for part in (known, unknown) if len(part)], ignore_index=True)


def _hold(row: Mapping[str, Any], focus: str, year: int, vector: pd.Series, flows: list[pd.DataFrame]) -> None:
    """Hold what flows out of each place against the exposure."""
    out = pd.concat(flows).groupby("input_country")["share"].sum()
    gap = out.subtract(vector, fill_value=0.0).abs()
    if len(gap) and float(gap.max()) > SLACK:
        country = str(gap.idxmax())
        told, flowing = float(vector.get(country, 0.0)), float(out.get(country, 0.0))
        raise InputRefused(
            f"exposure and origin_mix do not belong together: of '{row['node']}' the exposure says {told:.6f} for "
            f"{country}, the flows give {flowing:.6f}",
            where=f"group '{row['group']}', focus {focus}, {year}",
            todo="make both tables in one run",
        )


# -- as a networkx graph --------------------------------------------------------------------------------------
def select_graph(table: pa.Table, focus: str, group: str, year: int | None = None) -> pd.DataFrame:
    """The rows of one focus, group and year (None: the newest) of ``graph_nodes`` or ``graph_edges``.

    Raises:
        WrongUse: there are none.
    """
    own = table.filter(pc.and_(pc.equal(table.column("focus"), focus), pc.equal(table.column("group"), group)))
    there = own.column("year").unique().to_pylist()
    if year is None and there:
        year = max(there)
    if year not in there:
        when = "" if year is None else f" in {year}"
        raise WrongUse(f"there is no supply graph of group '{group}' for {focus}{when}.")
    return own.filter(pc.equal(own.column("year"), year)).to_pandas()


def fold_small(
    nodes: pd.DataFrame, edges: pd.DataFrame, smallest: float = SMALLEST
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Fold the countries of a node that have less than ``smallest`` of its supply into one place ``REST``.

    Flows are summed, so everything still adds up. ``UNK`` and the focus are never folded.
    """
    small = (nodes["share"] < smallest) & (nodes["country"] != UNKNOWN) & (nodes["node"] != FOCUS)
    gone = set(zip(nodes.loc[small, "node"], nodes.loc[small, "country"], strict=True))
    places = nodes.assign(country=nodes["country"].where(~small, REST))
    fixed = ["node", "country", "tier", "stage", "kind", "basis", "evidence", "same_for_every_country"]
    places["value_kusd"] = places["value_kusd"].astype(float)
    by_place = places.groupby(fixed, dropna=False, sort=False)
    folded = by_place["share"].sum().reset_index()
    folded["value_kusd"] = by_place["value_kusd"].sum(min_count=1).to_numpy()
    flows = edges.copy()
    for node, country in (("input", "input_country"), ("user", "user_country")):
        pairs = zip(edges[node], edges[country], strict=True)
        flows[country] = [REST if pair in gone else pair[1] for pair in pairs]
    fixed = [*_FLOW[:4], "user_weight", "evidence", "same_for_every_country"]
    flows = flows.groupby(fixed, dropna=False, as_index=False, sort=False)["share"].sum()
    return folded, flows


def group_graph(
    graph_nodes: pa.Table,
    graph_edges: pa.Table,
    focus: str,
    group: str,
    year: int | None = None,
    *,
    smallest: float = SMALLEST,
) -> nx.DiGraph:
    """The supply graph of one focus and group, edges from input to user, down to the focus.

    Node names are ``node@country``; attributes ``node, country, tier, stage, kind, share, value_kusd, basis,
    evidence, same_for_every_country`` and ``flow_through`` (share of all producers' flow that passes the place; see
    :func:`flow_through`), each left out where it is unknown. Edge attributes: ``share, user_weight, evidence,
    same_for_every_country``. Graph attributes: ``focus, group, year, smallest``.

    Args:
        graph_nodes, graph_edges: see :func:`build_supply_graph`.
        focus, group: whose.
        year: None: the newest.
        smallest: countries with less of a node's supply are folded into one place ``REST``; 0 folds none.

    Raises:
        WrongUse: there is no such graph.
    """
    nodes, edges = (select_graph(t, focus, group, year) for t in (graph_nodes, graph_edges))
    found = nodes["year"].iloc[0]
    accounted = FlowAccount(nodes, edges)
    through = accounted.everything()
    places, flows = fold_small(nodes, edges, smallest)
    passed: dict[Place, float] = {}
    kept = set(zip(places["node"], places["country"], strict=True))
    for place, share in zip(accounted.places, through, strict=True):
        own = place if place in kept else (place[0], REST)
        passed[own] = passed.get(own, 0.0) + float(share)
    graph = nx.DiGraph(focus=focus, group=group, year=int(found), smallest=float(smallest))
    for row in places.sort_values(["node", "country"]).to_dict("records"):
        attributes = {k: _plain(v) for k, v in row.items()}
        attributes["tier"] = None if attributes["tier"] is None else int(attributes["tier"])
        attributes["flow_through"] = passed[(row["node"], row["country"])]
        graph.add_node(_name(row["node"], row["country"]), **{k: v for k, v in attributes.items() if v is not None})
    for row in flows.sort_values(_FLOW[:4]).to_dict("records"):
        attributes = {k: _plain(row[k]) for k in ("share", "user_weight", "evidence", "same_for_every_country")}
        graph.add_edge(
            _name(row["input"], row["input_country"]),
            _name(row["user"], row["user_country"]),
            **{k: v for k, v in attributes.items() if v is not None},
        )
    return graph


def _name(node: str, country: str) -> str:
    return f"{node}@{country}"


def _plain(value: Any) -> Any:
    """A value as GraphML can hold it; None where it is missing."""
    if value is None or value is pd.NA or (isinstance(value, float) and value != value):
        return None
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value)
    return str(value)


def graphml(graph: nx.DiGraph) -> bytes:
    """The graph as GraphML, attributes typed; the same graph gives the same bytes."""
    sink = io.BytesIO()
    # Not write_graphml: that takes lxml where it is installed, whose bytes differ.
    nx.write_graphml_xml(graph, sink)
    return sink.getvalue()


def export_graphs(
    graph_nodes: pa.Table, graph_edges: pa.Table, *, smallest: float = SMALLEST
) -> Iterator[tuple[str, bytes]]:
    """``graphs/<focus>_<group>.graphml`` and its bytes, of the newest year of every focus and group."""
    for focus, group in sorted(newest_years(graph_nodes)):
        graph = group_graph(graph_nodes, graph_edges, focus, group, smallest=smallest)
        yield f"graphs/{focus}_{group}.graphml", graphml(graph)


# -- bottlenecks ----------------------------------------------------------------------------------------------
class FlowAccount:
    """Exact accounting of who passes what on: where each producer's flow goes until it reaches the focus.

    What leaves a place is split over the flows out of it in proportion, ``T[v, u] = flow(u -> v) / out(u)``. The flow
    of target m that passes v is ``f_m = s_m + T f_m`` with ``s_m`` the shares of m's places; no path is enumerated.

    Args:
        nodes, edges: rows of one focus, group and year.
    """

    def __init__(self, nodes: pd.DataFrame, edges: pd.DataFrame) -> None:
        self.places: list[Place] = list(zip(nodes["node"], nodes["country"], strict=True))
        self.at = {place: k for k, place in enumerate(self.places)}
        self.share = nodes["share"].to_numpy(dtype=float)
        node = nodes["node"].to_numpy(object)
        self.country = nodes["country"].to_numpy(object)
        computed = nodes["kind"].isin(("traded", "production"))
        linked = set(edges["input"])
        #: Computed nodes whose flow reaches the focus.
        self.targets = [str(n) for n in dict.fromkeys(node[computed]) if n in linked]
        self._node = node
        start = [self.at[p] for p in zip(edges["input"], edges["input_country"], strict=True)]
        end = [self.at[p] for p in zip(edges["user"], edges["user_country"], strict=True)]
        flow = edges["share"].to_numpy(dtype=float)
        leaving = np.bincount(start, weights=flow, minlength=len(self.places))
        self.passes_on = sparse.csr_matrix(
            (flow / leaving[start], (end, start)), shape=(len(self.places), len(self.places))
        )
        self.focus = self.at[(FOCUS, str(nodes.loc[nodes["node"] == FOCUS, "country"].iloc[0]))]

    def sources(self, target: str) -> np.ndarray:
        """The shares of the target's places, 0 elsewhere; they add up to 1."""
        own = np.where(self._node == target, self.share, 0.0)
        total = own.sum()
        return own / total if total > 0 else own

    def spread(self, start: np.ndarray, barred: np.ndarray | None = None) -> np.ndarray:
        """``f = s + T f``: what passes each place when ``start`` sets out.

        Args:
            start: places x anything.
            barred: the same shape, True where a place lets nothing through.
        """
        moving = start if barred is None else np.where(barred, 0.0, start)
        passed = moving.copy()
        while moving.any():
            moving = self.passes_on @ moving
            if barred is not None:
                moving[barred] = 0.0
            passed += moving
        return passed

    def through(self, target: str) -> np.ndarray:
        """Per place the share of the target's flow that passes it."""
        return self.spread(self.sources(target))

    def everything(self) -> np.ndarray:
        """Per place the share of all flow that passes it: every computed node sends out 1, the mean over them."""
        if not self.targets:
            return np.zeros(len(self.places))
        return self.spread(np.mean([self.sources(t) for t in self.targets], axis=0))

    def through_countries(self, start: np.ndarray, smallest: float = 0.0) -> dict[str, float]:
        """Country -> share of the flow that passes it at any node: what does not arrive when it lets nothing through.

        Args:
            start: what sets out, per place.
            smallest: countries below that may be left out.
        """
        focus = self._node == FOCUS
        # What passes a country at any node is at most what passes its places together.
        most = pd.Series(np.where(focus, 0.0, self.spread(start))).groupby(self.country).sum()
        countries = sorted(str(c) for c, f in most.items() if f >= smallest and c != UNKNOWN)
        barred = (self.country[:, None] == np.array(countries, dtype=object)[None, :]) & ~focus[:, None]
        arriving = self.spread(np.repeat(start[:, None], len(countries), axis=1), barred)[self.focus]
        lost = np.clip(start.sum() - arriving, 0.0, 1.0)
        return dict(zip(countries, lost.tolist(), strict=True))


def flow_through(
    graph_nodes: pa.Table, graph_edges: pa.Table, focus: str, group: str, target: str
) -> dict[Place, float]:
    """Per place the share of a node's flow, from all its producers to the focus, that passes it (newest year)."""
    account = FlowAccount(*(select_graph(t, focus, group) for t in (graph_nodes, graph_edges)))
    return {p: float(f) for p, f in zip(account.places, account.through(target), strict=True) if f > 0}


def counting_flows(nodes: pd.DataFrame, edges: pd.DataFrame, threshold: float) -> nx.DiGraph:
    """The graph over places of what counts.

    A place counts from ``threshold`` of its node's supply on, a flow from ``threshold`` of what its user's country
    takes of that input on. Edge attribute ``part``: the part of what leaves the input's place that takes this way.
    """
    shares = dict(zip(zip(nodes["node"], nodes["country"], strict=True), nodes["share"], strict=True))
    start = list(zip(edges["input"], edges["input_country"], strict=True))
    end = list(zip(edges["user"], edges["user_country"], strict=True))
    share = edges["share"].to_list()
    taken: dict[tuple[str, Place], float] = {}
    leaving: dict[Place, float] = {}
    for a, b, s in zip(start, end, share, strict=True):
        taken[(a[0], b)] = taken.get((a[0], b), 0.0) + s
        leaving[a] = leaving.get(a, 0.0) + s
    graph = nx.DiGraph()
    graph.add_edges_from(
        (a, b, {"part": s / leaving[a]})
        for a, b, s in zip(start, end, share, strict=True)
        if s >= threshold * taken[(a[0], b)] and shares[a] >= threshold and shares[b] >= threshold
    )
    return graph


def counting_graph(counted: nx.DiGraph, sources: Mapping[Place, float], focus: Place) -> tuple[nx.DiGraph, float]:
    """What lies between the known producers of one node and the focus.

    Places that no way joins both to a producer and to the focus are left out. ``UNK`` is no producer, but the world mix
    may pass through it.

    Args:
        counted: from :func:`counting_flows`.
        sources: the target's places with their shares.
        focus: the focus's place.

    Returns:
        The graph, with :data:`SOURCE` before the producers; and the share of the target's flow that is left out: it
        runs over what does not count, or its producer is unknown.
    """
    producers = {p: share for p, share in sources.items() if p in counted and p[1] != UNKNOWN}
    if not producers or focus not in counted:
        return nx.DiGraph(), 1.0
    reached = set(producers).union(*(nx.descendants(counted, p) for p in producers))
    if focus not in reached:
        return nx.DiGraph(), 1.0
    between = reached & (nx.ancestors(counted, focus) | {focus})
    kept = counted.subgraph(between).copy()
    kept.add_edges_from((SOURCE, p) for p in producers if p in between)
    arrived = {p: producers.get(p, 0.0) for p in kept}
    for place in nx.topological_sort(kept):
        if place != SOURCE:
            for user in kept.successors(place):
                arrived[user] += arrived[place] * kept.edges[place, user]["part"]
    return kept, float(min(max(1.0 - arrived[focus], 0.0), 1.0))


#: The one source before all producers of a target.
SOURCE: Place = ("_producers", "")


def _sink(graph: nx.DiGraph) -> Place:
    return next(p for p in graph if p[0] == FOCUS)


def _can_fail(place: Place, dashed: Collection[str]) -> bool:
    return place[1] not in (UNKNOWN, "") and place[0] != FOCUS and place[0] not in dashed


def articulation_places(graph: nx.DiGraph, dashed: Collection[str] = ()) -> list[Place]:
    """Places without which no kept way leads from any known producer to the focus.

    The articulation points of the undirected graph; as every place lies between source and focus, each of them parts
    the two. A sole producer is one. ``UNK`` and dashed nodes are no places that fail by themselves.
    """
    if not len(graph):
        return []
    points = set(nx.articulation_points(graph.to_undirected())) - {SOURCE, _sink(graph)}
    return sorted(p for p in points if _can_fail(p, dashed))


def smallest_cut(
    graph: nx.DiGraph, capacity: Mapping[Place, int] | None = None, dashed: Collection[str] = ()
) -> tuple[int, list[Place]]:
    """The smallest set of places that parts all known producers from the focus.

    Args:
        graph: from :func:`counting_graph`.
        capacity: weight of each place; None: 1 each.
        dashed: nodes whose places do not fail by themselves.

    Returns:
        The weight of the cut (0 where nothing is joined) and its places.
    """
    if not len(graph):
        return 0, []
    split = nx.DiGraph()
    for place in graph:
        if _can_fail(place, dashed):
            split.add_edge(("in", place), ("out", place), capacity=1 if capacity is None else capacity[place])
        else:
            split.add_edge(("in", place), ("out", place))
    split.add_edges_from((("out", a), ("in", b)) for a, b in graph.edges)
    weight, (before, _) = nx.minimum_cut(split, ("out", SOURCE), ("in", _sink(graph)))
    cut = [p for p in graph if ("in", p) in before and ("out", p) not in before]
    return int(weight), sorted(cut)


def build_graph_measures(
    graph_nodes: pa.Table,
    graph_edges: pa.Table,
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    smallest: float = SMALLEST,
) -> pa.Table:
    """Table ``graph_measures``: flow through places and countries, articulation points and cuts of every graph.

    Args:
        graph_nodes, graph_edges: see :func:`build_supply_graph`.
        thresholds: from which share on a supplier counts, for articulation points and cuts.
        smallest: flows through places and countries below this share are not listed.
    """
    rows: list[dict[str, Any]] = []
    nodes_by, edges_by = (
        dict(list(t.to_pandas().groupby(["focus", "group", "year"]))) for t in (graph_nodes, graph_edges)
    )
    for key, nodes in nodes_by.items():
        constants = dict(zip(("focus", "group", "year"), key, strict=True))
        rows += [{**constants, **row} for row in _measures(nodes, edges_by[key], thresholds, smallest)]
    return GRAPH_MEASURES.conform(rows)


def _measures(
    nodes: pd.DataFrame, edges: pd.DataFrame, thresholds: Sequence[float], smallest: float
) -> Iterator[dict[str, Any]]:
    account = FlowAccount(nodes, edges)
    first = nodes.drop_duplicates("node").set_index("node")
    dashed = set(nodes.loc[nodes["kind"] == "dashed", "node"])
    whole: dict[str, Any] = {"same_for_every_country": False}
    if account.targets:
        start = np.mean([account.sources(t) for t in account.targets], axis=0)
        yield from _flow_rows(account, start, whole, dashed, smallest)
    computed = nodes.loc[nodes["kind"].isin(("traded", "production")), "node"].drop_duplicates()
    counted = [(t, counting_flows(nodes, edges, t)) for t in thresholds]
    focus = account.places[account.focus]
    for target in computed:
        about = {
            "target": target,
            "basis": _plain(first.at[target, "basis"]),
            "evidence": _plain(first.at[target, "evidence"]),
            "same_for_every_country": bool(first.at[target, "same_for_every_country"]),
        }
        if target not in account.targets:
            reason = "no_user_with_known_origins"
            yield {**about, "measure": "flow_through", "value": None, "reason": reason}
            continue
        start = account.sources(target)
        yield from _flow_rows(account, start, about, dashed, smallest)
        passed = account.spread(start)
        weights = {p: round(float(f) * UNIT) + PER_PLACE for p, f in zip(account.places, passed, strict=True)}
        sources = {p: float(f) for p, f in zip(account.places, start, strict=True) if f > 0}
        for threshold, all_that_count in counted:
            graph, rest = counting_graph(all_that_count, sources, focus)
            said = {**about, "threshold": threshold, "rest": rest, "reason": "rest_over_half" if rest > 0.5 else None}
            if not len(graph):
                for measure in ("node_cut", "min_cut"):
                    yield {**said, "measure": measure, "value": None, "reason": "no_way_above_threshold"}
                continue
            for node, country in articulation_places(graph, dashed):
                yield {**said, "measure": "articulation", "node": node, "country": country, "value": 1.0}
            for measure, capacity in (("node_cut", None), ("min_cut", weights)):
                weight, cut = smallest_cut(graph, capacity, dashed)
                cut.sort(key=lambda p: (-passed[account.at[p]], p))
                value = float(weight) if capacity is None else (weight - PER_PLACE * len(cut)) / UNIT
                places = " ".join(_name(*p) for p in cut)
                yield {**said, "measure": measure, "value": value, "places": places}


def _flow_rows(
    account: FlowAccount, start: np.ndarray, about: Mapping[str, Any], dashed: Collection[str], smallest: float
) -> Iterator[dict[str, Any]]:
    for (node, country), share in zip(account.places, account.spread(start).tolist(), strict=True):
        if share >= smallest and node != FOCUS and node not in dashed:
            yield {**about, "measure": "flow_through", "node": node, "country": country, "value": min(share, 1.0)}
    for country, share in account.through_countries(start, smallest).items():
        if share >= smallest:
            yield {**about, "measure": "flow_through_country", "country": country, "value": share}
