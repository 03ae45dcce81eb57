"""One year of the chains as matrices: from which country to which each step of the look-through leads.

Belongs here: what walks through the chain (paths, shocks) needs of the stored tables, as arrays over one list of
countries. Does not belong here: how the tables come about (:mod:`ketenpipe.chain.lookthrough`), or what is walked for.

Every vector of the look-through is a product of these matrices: ``x_n = sum_u w_u x_u @ O_n``. So is every path and
every loss. All of it is read from the tables of *one* year.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import networkx as nx
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ketenpipe.chain.catalogue import Edge
from ketenpipe.chain.lookthrough import BASIS_STRENGTH
from ketenpipe.chain.tracing import UNKNOWN
from ketenpipe.errors import WrongUse
from ketenpipe.tables.contract import Table
from ketenpipe.tables.registry import CHAIN_EDGES, CHAIN_NODES, EXPOSURE, ORIGIN_MIX, PRODUCTION
from ketenpipe.tables.slices import slices
from ketenpipe.tables.store import Store

Array = np.ndarray

#: Consumption below this part of the supply is what rounding to nine digits leaves of nothing.
TRACE = 1e-8
COMPUTED = ("traded", "production", "dashed")


@dataclass(frozen=True)
class CodeSteps:
    """One HS6 code in one year, in tonnes; n countries, the last of them unknown.

    Attributes:
        origins: ``O_k``, shape (n, n): row j is where j's supply was made; zero where j has no supply.
        supply, eaten, exports, bought: supply, consumption, exports and imports per country, shape (n).
        basis: of the production.
    """

    origins: Array
    supply: Array
    eaten: Array
    exports: Array
    bought: Array
    basis: str


@dataclass(frozen=True)
class NodeSteps:
    """One node in one year: its codes, each country weighing them by its consumption, where that is 0 by its supply.

    Attributes:
        codes: those that the sources hold.
        parts: the codes' own matrices.
        weights: each code's part of a country's row, shape (codes, n); columns sum to 1, or to 0 without supply.
        origins: ``O_n``, shape (n, n), rows sum to 1; a country without supply is of unknown origin.
        basis: the weakest of the codes.
    """

    codes: tuple[str, ...]
    parts: tuple[CodeSteps, ...]
    weights: Array
    origins: Array
    basis: str

    @classmethod
    def of(cls, codes: tuple[str, ...], parts: tuple[CodeSteps, ...]) -> NodeSteps:
        """Combine the codes (see :func:`ketenpipe.chain.lookthrough.combine_codes`, which does one country)."""
        held = np.array([p.origins.any(axis=1) for p in parts])
        eaten = np.array([p.eaten for p in parts]) * held
        supply = np.array([p.supply for p in parts]) * held
        weights = np.where(eaten.sum(axis=0) > 0, eaten, supply)
        total = weights.sum(axis=0)
        weights = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
        origins = sum((w[:, np.newaxis] * p.origins for w, p in zip(weights, parts, strict=True)), np.zeros(()))
        origins[~(total > 0)] = 0.0
        origins[~(total > 0), -1] = 1.0
        return cls(codes, parts, weights, origins, max((p.basis for p in parts), key=BASIS_STRENGTH.index))


@dataclass(frozen=True)
class Chain:
    """One group's chain in one year.

    Attributes:
        group, revision, head: of the group; head is the product itself.
        order: nodes that were computed, users before inputs, dashed ones included.
        nodes: their rows of table ``chain_nodes``.
        users: node -> its computed users and what part of the node's vector each gives (sums to 1).
        edges: (user, input) -> edge, among computed nodes.
        broken: computed nodes with a way to the product that cannot be walked: a user on it was not computed, or is
            itself a node with the world production mix.
        traded: node -> its matrices.
        mixes: node without codes -> its world production mix, shape (n).
        starts: focus -> ``x_0``, shape (n).
        basis: (focus, node) -> basis as in table ``exposure``.
        imputed: (focus, node) -> imputed share as there, NaN where it is not known.
    """

    group: str
    revision: str
    head: str
    order: tuple[str, ...]
    nodes: Mapping[str, Mapping[str, object]]
    users: Mapping[str, tuple[tuple[str, float], ...]]
    edges: Mapping[tuple[str, str], Edge]
    broken: frozenset[str]
    traded: Mapping[str, NodeSteps]
    mixes: Mapping[str, Array]
    starts: Mapping[str, Array]
    basis: Mapping[tuple[str, str], str]
    imputed: Mapping[tuple[str, str], float]

    def inputs(self, user: str) -> list[str]:
        """What goes into a node, in the order of the chain."""
        return [n for n in self.order if (user, n) in self.edges]

    def tier(self, node: str) -> int | None:
        """Tier of a node; a dashed one has none."""
        found = self.nodes[node]["tier"]
        return found if isinstance(found, int) else None

    def status(self, node: str) -> str:
        """traded, production or dashed."""
        return str(self.nodes[node]["status"])

    def vectors(self, focus: str) -> dict[str, Array]:
        """``x_n`` of every computed node for a focus, shape (n) each; ``x_n = sum_u w_u x_u @ O_n``."""
        found: dict[str, Array] = {self.head: self.starts[focus]}
        for node in self.order[1:]:
            if node in self.mixes:
                found[node] = self.mixes[node]
                continue
            mixed = sum((w * found[u] for u, w in self.users[node]), np.zeros(()))
            found[node] = mixed @ self.traded[node].origins if node in self.traded else mixed
        return found


@dataclass
class ChainYear:
    """Every chain of one year, and the codes behind it. Made by :meth:`of`; what is not asked for is not built.

    Attributes:
        year: the year.
        countries: sorted, ``UNK`` last: what the arrays go by.
        foci: those that table ``exposure`` has.
        nodes: (group, node) -> row of table ``chain_nodes``, also of what was not computed.
    """

    year: int
    countries: tuple[str, ...]
    foci: tuple[str, ...]
    nodes: Mapping[tuple[str, str], Mapping[str, object]]
    _edges: Mapping[str, list[Edge]] = field(repr=False)
    _seen: Mapping[tuple[str, ...], Mapping[str, list[object]]] = field(repr=False)
    _production: Mapping[tuple[str, ...], Mapping[str, list[object]]] = field(repr=False)
    _mix: Mapping[tuple[str, str], tuple[Array, Array, Array]] = field(repr=False)
    _codes: dict[tuple[str, str], CodeSteps | None] = field(default_factory=dict, repr=False)
    _combined: dict[tuple[str, str], NodeSteps | None] = field(default_factory=dict, repr=False)
    _chains: dict[str, Chain | None] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls,
        *,
        exposure: pa.Table,
        chain_nodes: pa.Table,
        chain_edges: pa.Table,
        production: pa.Table,
        origin_mix: pa.Table,
        year: int | None = None,
    ) -> ChainYear:
        """Index the tables of one year.

        Args:
            exposure, chain_nodes, chain_edges, production, origin_mix: tables of those names; rows of other years
                are left aside.
            year: the newest that ``exposure`` has by default.

        Raises:
            WrongUse: ``exposure`` has no such year, or nothing at all.
        """
        chosen = _chosen(exposure, year)
        exposure, production, origin_mix = (_of_year(t, chosen) for t in (exposure, production, origin_mix))
        production = production.filter(pc.equal(production.column("measure"), "q"))
        named: set[str] = set()
        for column in (exposure["country"], production["country"], origin_mix["country"], origin_mix["origin"]):
            named.update(column.unique().to_pylist())
        countries = (*sorted(named - {UNKNOWN}), UNKNOWN)
        edges: dict[str, list[Edge]] = {}
        for row in chain_edges.to_pylist():
            edges.setdefault(row["group"], []).append(_edge(row))
        return cls(
            year=chosen,
            countries=countries,
            foci=tuple(sorted(exposure.column("focus").unique().to_pylist())),
            nodes={(r["group"], r["node"]): r for r in chain_nodes.to_pylist()},
            _edges=edges,
            _seen=slices(
                exposure, ["group", "node", "focus"], ["country", "share_traced", "basis", "imputed_share"]
            ),
            _production=slices(production, ["hs_revision", "code"], ["country", "basis", "production",
                               "unknown_origin", "supply", "exports"]),
            _mix=_mixes(origin_mix, countries),
        )  # fmt: skip

    @classmethod
    def read(cls, store: Store, year: int | None = None) -> ChainYear:
        """The same from the stored tables; of those by year only that year is read.

        Args:
            store: of the home.
            year: the newest that table ``exposure`` has by default.

        Raises:
            KetenpipeError: a table is not there yet.
            WrongUse: as for :meth:`of`.
        """
        exposure = store.read(EXPOSURE)
        chosen = _chosen(exposure, year)
        nodes = store.read(CHAIN_NODES)
        codes = {c for text in nodes.column("codes").drop_null().to_pylist() for c in text.split()}
        return cls.of(
            exposure=exposure,
            chain_nodes=nodes,
            chain_edges=store.read(CHAIN_EDGES),
            production=_read_year(store, PRODUCTION, chosen, codes),
            origin_mix=_read_year(store, ORIGIN_MIX, chosen, codes),
            year=chosen,
        )

    @property
    def groups(self) -> list[str]:
        """Groups of the catalogue, computed or not."""
        return sorted({group for group, _ in self.nodes})

    def index(self, countries: Iterable[str]) -> Array:
        """Places of countries in the arrays; those that nobody trades with are left out."""
        place = {c: k for k, c in enumerate(self.countries)}
        return np.array([place[c] for c in countries if c in place], dtype=np.intp)

    def code(self, revision: str, code: str) -> CodeSteps | None:
        """One HS6 code; None where the sources do not hold it, or nothing of it has a mass."""
        key = (revision, code)
        if key not in self._codes:
            self._codes[key] = self._code(key)
        return self._codes[key]

    def _code(self, key: tuple[str, str]) -> CodeSteps | None:
        made, mix = self._production.get(key), self._mix.get(key)
        if made is None or mix is None:
            return None
        n = len(self.countries)
        at = self.index(str(c) for c in made["country"])

        def spread(name: str) -> Array:
            out = np.zeros(n)
            out[at] = np.array(made[name], dtype=float)
            return out

        supply, exports = spread("supply"), spread("exports")
        eaten = supply - exports
        rows, columns, shares = mix
        origins = np.zeros((n, n))
        origins[rows, columns] = shares
        total = origins.sum(axis=1, keepdims=True)
        return CodeSteps(
            origins=np.divide(origins, total, out=origins, where=total > 0),
            supply=supply,
            eaten=np.where(eaten > TRACE * supply, eaten, 0.0),
            exports=exports,
            bought=np.maximum(supply - spread("production") - spread("unknown_origin"), 0.0),
            basis=max((str(b) for b in made["basis"]), key=BASIS_STRENGTH.index),
        )

    def node(self, group: str, node: str) -> NodeSteps | None:
        """A node in the HS revision of a group; None where none of its codes can be traced this year."""
        row = self.nodes[(group, node)]
        revision = str(row["hs_revision"])
        key = (node, revision)
        if key not in self._combined:
            codes = [c for c in str(row["codes"] or "").split() if self.code(revision, c) is not None]
            parts = tuple(p for c in codes if (p := self.code(revision, c)) is not None)
            self._combined[key] = NodeSteps.of(tuple(codes), parts) if parts else None
        return self._combined[key]

    def chain(self, group: str) -> Chain | None:
        """A group's chain; None where the product itself could not be computed for any focus."""
        if group not in self._chains:
            self._chains[group] = self._chain(group)
        return self._chains[group]

    def chains(self) -> Iterator[Chain]:
        """The groups that were computed, by name."""
        for group in self.groups:
            if (found := self.chain(group)) is not None:
                yield found

    def vector(self, group: str, node: str, focus: str) -> Array | None:
        """The origins of a node as table ``exposure`` has them, shape (n)."""
        held = self._seen.get((group, node, focus))
        if held is None:
            return None
        out = np.zeros(len(self.countries))
        out[self.index(str(c) for c in held["country"])] = np.array(held["share_traced"], dtype=float)
        return out

    def _chain(self, group: str) -> Chain | None:
        rows = {n: r for (g, n), r in self.nodes.items() if g == group}
        seen = [(n, f) for n in rows for f in self.foci if (group, n, f) in self._seen]
        head = next((n for n, r in rows.items() if r["tier"] == 0 and r["status"] == "traded"), None)
        starts = {f: x for f in self.foci if head is not None and (x := self.vector(group, head, f)) is not None}
        if head is None or not starts:
            return None
        graph = nx.DiGraph()
        graph.add_nodes_from(rows)
        edges = {(e.user, e.input): e for e in self._edges.get(group, [])}
        graph.add_edges_from(edges)
        order: list[str] = []
        users: dict[str, tuple[tuple[str, float], ...]] = {}
        traded: dict[str, NodeSteps] = {}
        mixes: dict[str, Array] = {}
        for node in nx.lexicographical_topological_sort(graph):
            status = rows[node]["status"]
            if status not in COMPUTED:
                continue
            if status == "production":
                mix = next((self.vector(group, n, f) for n, f in seen if n == node), None)
                if mix is None:
                    continue
                mixes[node] = mix
                order.append(node)
                continue
            if node != head:
                found = [u for u in sorted(graph.predecessors(node)) if u in order and u not in mixes]
                users[node] = tuple(_weights(node, found, edges, rows))
                if not users[node]:
                    continue
            if status == "traded":
                steps = self.node(group, node)
                if steps is None:
                    continue
                traded[node] = steps
            order.append(node)
        broken: set[str] = set()
        for node in order:
            above = list(graph.predecessors(node))
            if any(u not in order or u in mixes or u in broken for u in above):
                broken.add(node)
        return Chain(
            group=group,
            revision=str(rows[head]["hs_revision"]),
            head=head,
            order=(head, *(n for n in order if n != head)),
            nodes=rows,
            users=users,
            edges={k: e for k, e in edges.items() if k[0] in order and k[1] in order},
            broken=frozenset(broken),
            traded=traded,
            mixes=mixes,
            starts=starts,
            basis={(f, n): str(self._seen[(group, n, f)]["basis"][0]) for n, f in seen},
            imputed={(f, n): _figure(self._seen[(group, n, f)]["imputed_share"][0]) for n, f in seen},
        )


def _weights(
    node: str, users: list[str], edges: Mapping[tuple[str, str], Edge], rows: Mapping[str, Mapping[str, object]]
) -> Iterator[tuple[str, float]]:
    """What part of a node's vector each user gives: by path weight, evenly where no path weight is known."""
    weights: list[float | None] = []
    for user in users:
        edge, through = edges[(user, node)].weight, rows[user]["path_weight"]
        weights.append(None if edge is None or not isinstance(through, float) else edge * through)
    usable = [w or 0.0 for w in weights] if any(weights) else [1.0] * len(users)
    total = sum(usable)
    for user, w in zip(users, usable, strict=True):
        if w:
            yield user, w / total


def _figure(value: object) -> float:
    return value if isinstance(value, float) else float("nan")


def _edge(row: Mapping[str, object]) -> Edge:
    intensity = row["intensity"]
    return Edge(
        group=str(row["group"]),
        user=str(row["user"]),
        input=str(row["input"]),
        intensity=intensity if isinstance(intensity, float) else None,
        essential=bool(row["essential"]),
        evidence=str(row["evidence"]),
        confidence=str(row["confidence"]),
        citation=str(row["citation"]),
        citation_status=str(row["citation_status"] or ""),
        note="",
        file="chain_edges",
        line=0,
        amendment=str(row["amendments"] or ""),
    )


def _chosen(exposure: pa.Table, year: int | None) -> int:
    years: list[int] = sorted(exposure.column("year").unique().to_pylist())
    if not years:
        raise WrongUse("no product group could be looked through, so there is no chain to walk")
    if year is not None and year not in years:
        raise WrongUse(f"the look-through has no year {year} (it has {_spans(years)})")
    return years[-1] if year is None else year


def _read_year(store: Store, table: Table, year: int, codes: set[str]) -> pa.Table:
    """One year of a table, whether it is stored by year or not."""
    return store.read(
        table, [str(year)] if table.partitioned else None, codes=codes, filters=pc.equal(pc.field("year"), year)
    )


def _of_year(table: pa.Table, year: int) -> pa.Table:
    return table.filter(pc.equal(table.column("year"), year))


def _mixes(origin_mix: pa.Table, countries: tuple[str, ...]) -> dict[tuple[str, str], tuple[Array, Array, Array]]:
    """(revision, code) -> places of country and origin, and the share."""
    if not origin_mix.num_rows:
        return {}
    (ordered,) = origin_mix.sort_by([("hs_revision", "ascending"), ("code", "ascending")]).combine_chunks().to_batches()
    names = pa.array(countries)
    rows, columns = (pc.index_in(ordered.column(c), names).to_numpy() for c in ("country", "origin"))
    shares = ordered.column("share").to_numpy()
    revisions, codes = (ordered.column(c).dictionary_encode() for c in ("hs_revision", "code"))
    marks = np.stack([c.indices.to_numpy() for c in (revisions, codes)])
    starts = np.flatnonzero(np.r_[True, (marks[:, 1:] != marks[:, :-1]).any(axis=0)])
    return {
        (revisions[int(a)].as_py(), codes[int(a)].as_py()): (rows[a:b], columns[a:b], shares[a:b])
        for a, b in pairwise([*starts, len(shares)])
    }


def _spans(years: list[int]) -> str:
    return f"{years[0]}-{years[-1]}" if years == list(range(years[0], years[-1] + 1)) else ", ".join(map(str, years))
