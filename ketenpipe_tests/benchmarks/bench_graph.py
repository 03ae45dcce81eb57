"""The supply graph of every group of the catalogue at full breadth, and a graph of the whole world's trade.

The catalogue's: every code of every node is traded by 226 countries, every statistic has producers, so every group can
be computed to the end; the tables of step one and of the look-through are made once and kept. The world's: one flow per
importer, exporter and product, as many as BACI has in a year.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from scipy import sparse

from ketenpipe.chain.catalogue import Reference, load_reference
from ketenpipe.chain.lookthrough import build_exposure
from ketenpipe.chain.supply_graph import (
    FOCUS,
    YearTables,
    build_graph_measures,
    build_supply_graph,
    export_graphs,
    newest_years,
    select_graph,
)
from ketenpipe.chain.tracing import UNKNOWN, build_tracing
from ketenpipe.sources.places import embedded
from ketenpipe.tables.registry import BACI_FLOWS, MINING_PRODUCTION
from ketenpipe_tests.benchmarks import baci_year
from ketenpipe_tests.benchmarks.measure import Benchmark, Measured, apart

YEAR, REVISION = 2024, "HS17"
FOCI = ("NLD", "EU27")
DEPTH = 6
#: Partners that an exporter of one code has, at full breadth.
PARTNERS = 40
#: The rival gets one of so many products of the world: all of them would take it more than four gigabytes.
RIVAL_PART = 10

KEPT = ("chain_nodes", "chain_edges", "exposure", "production", "origin_mix", "supply_mix")


def made_up(scale: float) -> Path:
    """A folder with step one and the look-through of the whole catalogue, kept between runs."""
    count = max(12, round(baci_year.COUNTRIES * scale))
    folder = baci_year.cache() / f"graph-{count}"
    if not (folder / "supply_mix.parquet").exists():
        folder.mkdir(parents=True, exist_ok=True)
        reference = load_reference(embedded("reference"))
        flows, mining = _trade(reference, count)
        traced = build_tracing(flows, mining, reference, FOCI)
        seen = build_exposure(traced, mining, reference, FOCI, DEPTH)
        for name in KEPT:
            pq.write_table(getattr(seen if hasattr(seen, name) else traced, name), folder / f"{name}.parquet")
    return folder


def _trade(reference: Reference, count: int) -> tuple[pa.Table, pa.Table]:
    """Flows of every code of the catalogue between the members of the bloc and other countries, and production."""
    random = np.random.default_rng(11)
    members = sorted(reference.bloc_members("EU27", YEAR))
    others = [c for c in (f"{a}{b}X" for a in "CDFGHJKLMNPQRSTU" for b in "ABCDEFGHIJKLMNOP") if c not in members]
    countries = np.array([*members, *others][:count] if count > len(members) else ["NLD", *others][:count])
    size = random.pareto(1.2, count) + 0.1
    chance = size / size.sum()
    frames = []
    for code in sorted({c for n in reference.nodes for c in reference.codes(n, REVISION)}):
        for exporter in range(count):
            buyers = random.choice(count, min(PARTNERS, count - 1), replace=False, p=chance)
            buyers = buyers[buyers != exporter]
            tonnes = np.round(random.lognormal(2.0, 2.0, len(buyers)) * size[exporter], 3) + 0.001
            frames.append((code, exporter, buyers, tonnes))
    lengths = [len(f[2]) for f in frames]
    tonnes = np.concatenate([f[3] for f in frames])
    table = pd.DataFrame(
        {
            "hs_revision": REVISION, "year": YEAR, "release": baci_year.RELEASE,
            "code": np.repeat([f[0] for f in frames], lengths),
            "exporter": countries[np.repeat([f[1] for f in frames], lengths)],
            "importer": countries[np.concatenate([f[2] for f in frames])], "tonnes": tonnes,
        }
    )  # fmt: skip
    flows = pa.Table.from_pandas(table, preserve_index=False)
    money = pa.array(np.round(tonnes * 5, 3)).cast(pa.decimal128(18, 3), safe=False)
    flows = flows.append_column("value_kusd", money)
    made = [
        {"material": m, "country": c, "year": YEAR, "quantity": float(q), "unit": "t", "tonnes": float(q)}
        for m in sorted({n.material for n in reference.nodes.values() if n.material})
        for c, q in zip(countries[: min(20, count)], random.pareto(1.0, 20) + 0.1, strict=False)
    ]
    return BACI_FLOWS.conform(flows), MINING_PRODUCTION.conform(made)


def _read(folder: Path) -> dict[str, pa.Table]:
    return {name: pq.read_table(folder / f"{name}.parquet") for name in KEPT}


def ours(folder: Path) -> dict[str, Any]:
    """Nodes, flows, bottlenecks and GraphML of every group and focus, the tables being in memory."""
    tables = _read(folder)
    start = perf_counter()
    year = YearTables(tables["production"], tables["origin_mix"], tables["supply_mix"])
    graph = build_supply_graph(tables["chain_nodes"], tables["chain_edges"], tables["exposure"], lambda _: year)
    built = perf_counter() - start
    measures = build_graph_measures(graph.graph_nodes, graph.graph_edges)
    measured = perf_counter() - start - built
    written = sum(len(content) for _, content in export_graphs(graph.graph_nodes, graph.graph_edges))
    seconds = perf_counter() - start
    for name, table in (("graph_nodes", graph.graph_nodes), ("graph_edges", graph.graph_edges)):
        pq.write_table(table, folder / f"{name}.parquet")
    return {
        "seconds": seconds, "built": built, "measured": measured, "graphs": len(newest_years(graph.graph_nodes)),
        "places": graph.graph_nodes.num_rows, "flows": graph.graph_edges.num_rows, "rows": measures.num_rows,
        "graphml": written,
    }  # fmt: skip


def accounted_by_networkx(folder: Path) -> float:
    """The rival: the same flow accounting (places and countries, per node), on networkx graphs, place by place."""
    nodes_all, edges_all = (pq.read_table(folder / f"{n}.parquet") for n in ("graph_nodes", "graph_edges"))
    start = perf_counter()
    for focus, group in newest_years(nodes_all):
        nodes, edges = select_graph(nodes_all, focus, group), select_graph(edges_all, focus, group)
        graph = nx.DiGraph()
        for a, b, c, d, share in edges[["input", "input_country", "user", "user_country", "share"]].itertuples(
            index=False
        ):
            graph.add_edge((a, b), (c, d), share=share)
        leaving = dict(graph.out_degree(weight="share"))
        order = list(nx.topological_sort(graph))
        shares = dict(zip(zip(nodes["node"], nodes["country"], strict=True), nodes["share"], strict=True))
        for target in set(edges["input"]):
            passed = _passed(graph, order, leaving, {p: s for p, s in shares.items() if p[0] == target}, None)
            countries: dict[str, float] = {}
            for place, share in passed.items():
                countries[place[1]] = countries.get(place[1], 0.0) + share
            for country, most in countries.items():
                if most >= 0.001 and country not in (UNKNOWN, focus):
                    _passed(graph, order, leaving, {p: s for p, s in shares.items() if p[0] == target}, country)
    return perf_counter() - start


def _passed(
    graph: nx.DiGraph, order: list[Any], leaving: dict[Any, float], start: dict[Any, float], barred: str | None
) -> dict[Any, float]:
    passed = dict(start)
    for place in order:
        share = passed.get(place, 0.0)
        if share and place[0] != FOCUS and place[1] != barred:
            for user, d in graph[place].items():
                passed[user] = passed.get(user, 0.0) + share * d["share"] / leaving[place]
    return passed


def _catalogue(scale: float) -> Measured:
    folder = made_up(scale)
    found = apart(ours, folder)
    rival = apart(accounted_by_networkx, folder)
    v = found.value
    note = (
        f"{v['graphs']} graphs, {v['places']:,} places, {v['flows']:,} flows, {v['rows']:,} figures, "
        f"{v['graphml'] / 1e6:.1f} MB GraphML; build {v['built']:.1f} s, bottlenecks {v['measured']:.1f} s; "
        f"networkx does the flow accounting only, {rival.peak_mb:,.0f} MB"
    )
    return Measured(v["seconds"], rival.value, found.peak_mb, note)


# -- the whole world ------------------------------------------------------------------------------------------
def world_flows(count: int, products: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """``count`` flows between 226 countries in so many products: input's place, user's place, share; and the places."""
    random = np.random.default_rng(5)
    product = random.integers(0, products, count)
    goes_into = (product * 7 + 1) % products
    start = product * baci_year.COUNTRIES + random.integers(0, baci_year.COUNTRIES, count)
    end = goes_into * baci_year.COUNTRIES + random.integers(0, baci_year.COUNTRIES, count)
    return start, end, random.random(count), baci_year.COUNTRIES * products


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return float(pages * resource.getpagesize())


def with_scipy(count: int, products: int) -> dict[str, float]:
    """One sparse matrix and one step through it: who makes the inputs of what every place makes."""
    start, end, share, places = world_flows(count, products)
    x = np.full(places, 1.0 / places)
    before, clock = _resident(), perf_counter()
    matrix = sparse.csr_matrix((share, (start, end)), shape=(places, places))
    total = float((matrix @ x).sum())
    seconds = perf_counter() - clock
    return {"seconds": seconds, "bytes": (_resident() - before) / matrix.nnz, "edges": matrix.nnz, "total": total}


def with_networkx(count: int, products: int) -> dict[str, float]:
    """The same with a networkx graph."""
    start, end, share, places = world_flows(count, products)
    triples: Iterator[tuple[int, int, float]] = zip(start.tolist(), end.tolist(), share.tolist(), strict=True)
    before, clock = _resident(), perf_counter()
    graph = nx.DiGraph()
    graph.add_weighted_edges_from(triples)
    total = sum(d["weight"] / places for _, _, d in graph.edges(data=True))
    seconds = perf_counter() - clock
    edges = graph.number_of_edges()
    return {"seconds": seconds, "bytes": (_resident() - before) / edges, "edges": edges, "total": total}


def _world(scale: float) -> Measured:
    products = max(RIVAL_PART, round(baci_year.PRODUCTS * scale))
    count = max(1000, round(baci_year.FULL_ROWS * scale))
    found = apart(with_scipy, count, products)
    rival = apart(with_networkx, count // RIVAL_PART, products // RIVAL_PART)
    a, b = found.value, rival.value
    per_edge = b["seconds"] / b["edges"]
    note = (
        f"{a['edges']:,.0f} flows, {a['bytes']:.0f} bytes each; networkx on {b['edges']:,.0f}: {b['bytes']:.0f} bytes "
        f"each, its seconds reckoned up to ours"
    )
    return Measured(a["seconds"], per_edge * a["edges"], found.peak_mb, note)


def benchmarks() -> list[Benchmark]:
    """The benchmarks of this module."""
    return [
        Benchmark(
            "graph_catalogue",
            "The supply graph of every group, NLD and EU27, one year: build, bottlenecks, GraphML.",
            "the flow accounting alone, in networkx",
            _catalogue,
        ),
        Benchmark(
            "graph_world",
            "A graph of 5,000 products x 226 countries, 11.3 million flows: build it and step through it once.",
            "networkx on a tenth of it, times ten",
            _world,
            ratio_bar=0.25,
        ),
    ]
