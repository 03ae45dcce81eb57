"""S5: how fragile the network of a product's world trade is: a few central exporters, and how closely traders cluster.

Belongs here: figures of the whole network of a product, the same for every focus. Does not belong here: who supplies a
focus (:mod:`ketenpipe.risk.direct`), and chains (:mod:`ketenpipe.chain.supply_graph`).

Source and what could be read of it. Korniyenko, Pinat and Dew (2017), IMF WP/17/30, was open to us in its abstract
only; the network, its nodes and the weighted outdegree centrality are as one of the authors defines them in an earlier
text (Dew, Trade_Network_Origins, read). That the dispersion is a standard deviation, and that clustering is an average
over the countries, is recalled. The clustering coefficient is the one for directed and weighted networks of Fagiolo
(2007), read in the documentation of networkx 3.6: the nearest that could be verified. The paper's third component,
international substitutability (named in the abstract of a later paper on its line, Reiter and Stehrer), could not be
read and is not computed; S3 and S4 stand nearest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from threadpoolctl import threadpool_limits

from ketenpipe.chain.catalogue import Reference
from ketenpipe.errors import WrongUse
from ketenpipe.risk.placing import Numbers, codes_of_nodes, places_of
from ketenpipe.risk.planes import Floats, Integers, first_largest
from ketenpipe.risk.products import as_indicators, portions, words_of
from ketenpipe.risk.world import Stamped
from ketenpipe.tables.registry import NETWORK_INDICATORS

#: Cells of the matrices that stand in memory at once.
CELLS = 2_000_000
MEASURES = ("v", "q", "none")
"""Edges weigh their value, their mass, or all the same."""


@dataclass(frozen=True)
class Network:
    """The trade networks of some products: edges from exporter to importer, none twice, none from a country to itself.

    Args:
        product: number of the product of each edge, from 0 to ``count - 1``.
        exporter, importer: numbers of countries, in the order of their codes.
        weight: of each edge, above 0.
        count: how many products; one without edges is allowed.
    """

    product: Integers
    exporter: Integers
    importer: Integers
    weight: Floats
    count: int


@dataclass(frozen=True)
class Dispersion:
    """S5a of some products, an array per figure; NaN (or -1) for a product without edges.

    Args:
        value: the standard deviation.
        central: number of the country of the largest centrality, the first where two are equal.
        centrality: of that country.
    """

    value: Floats
    central: Integers
    centrality: Floats


def outdegree_dispersion(network: Network, *, weighted: bool) -> Dispersion:
    """S5a: standard deviation of the outdegree centrality over all countries that trade the product.

    ``o_i = sum_j X[i,j] / sum_ij X[i,j]`` weighted, ``o_i = k_i / (n - 1)`` not, with ``k_i`` the number of countries
    that i sells to and ``n`` the number that sell or buy; ``S5a = sqrt(sum_i (o_i - mean o)^2 / n)``. A country that
    only buys counts with 0, so that a single seller is the extreme and not an even network.

    Source: Dew, Trade_Network_Origins (read) for the centrality; Korniyenko, Pinat and Dew 2017 (abstract read).
    """
    product, exporter, count = network.product, network.exporter, network.count
    size = _traders(network)[2]
    span = _span(network)
    sellers, at = _numbered(product * span + exporter, count * span)
    of, country = sellers // span, sellers % span
    with np.errstate(invalid="ignore"):
        if weighted:
            sold = np.bincount(at, network.weight, len(sellers))
            centrality = sold / np.bincount(product, network.weight, count)[of]
        else:
            centrality = np.bincount(at, minlength=len(sellers)) / (size - 1.0)[of]
        mean = np.bincount(of, centrality, count) / size
        silent = size - np.bincount(of, minlength=count)
        squares = np.bincount(of, (centrality - mean[of]) ** 2, count) + silent * mean**2
        value = np.sqrt(squares / size)
    top = first_largest(of, centrality, np.ones(len(of), dtype=bool), count)
    some = top >= 0
    central, reached = np.full(count, -1, dtype=np.int64), np.full(count, np.nan)
    central[some], reached[some] = country[top[some]], centrality[top[some]]
    return Dispersion(value, central, reached)


def average_clustering(network: Network, *, weighted: bool) -> Floats:
    """S5b: the clustering coefficient of Fagiolo, averaged over all countries that trade the product.

    ``c_i = [(A + A')^3]_ii / (2 (d_i (d_i - 1) - 2 r_i))``, with ``A = (X / max X)^(1/3)`` weighted and
    ``A = 1[X > 0]`` not; ``d_i`` counts the edges out of and into i, ``r_i`` the countries that i both sells to and
    buys from. 0 where no triangle runs through i. NaN for a product without edges.

    Source: Fagiolo 2007, Physical Review E 76, 026107, as networkx documents it (read).
    """
    node_of_exporter, node_of_importer, size = _traders(network)
    start = np.concatenate([[0], np.cumsum(size)])[:-1]
    product = network.product
    here, there = node_of_exporter - start[product], node_of_importer - start[product]
    largest = np.zeros(network.count)
    np.maximum.at(largest, product, network.weight)
    weight = np.cbrt(network.weight / largest[product]) if weighted else np.ones(len(product))
    # Products of about the same size stand in one block of matrices.
    order = np.argsort(size, kind="stable")
    order = order[size[order] > 0]
    slot = np.full(network.count, -1, dtype=np.int64)
    out = np.full(network.count, np.nan)
    edges = np.argsort(product, kind="stable")
    first = np.searchsorted(product[edges], np.arange(network.count + 1))
    begin = 0
    while begin < len(order):
        end = begin + 1
        while end < len(order) and (end + 1 - begin) * int(size[order[end]]) ** 2 <= CELLS:
            end += 1
        chosen = order[begin:end]
        slot[chosen] = np.arange(len(chosen))
        mine = np.concatenate([edges[first[p] : first[p + 1]] for p in chosen])
        wide = int(size[chosen[-1]])
        joined = np.zeros((len(chosen), wide, wide))
        place = slot[product[mine]], here[mine], there[mine]
        joined[place] = 1.0
        both = (joined * joined.transpose(0, 2, 1)).sum(axis=2)
        degree = joined.sum(axis=2) + joined.sum(axis=1)
        joined[place] = weight[mine]
        symmetric = joined + joined.transpose(0, 2, 1)
        triangles = ((symmetric @ symmetric) * symmetric).sum(axis=2)
        possible = 2.0 * (degree * (degree - 1.0) - 2.0 * both)
        local = np.divide(triangles, possible, out=np.zeros_like(triangles), where=triangles > 0)
        out[chosen] = local.sum(axis=1) / size[chosen]
        begin = end
    return out


def _traders(network: Network) -> tuple[Integers, Integers, Integers]:
    """Numbers of the edges' exporters and importers among all traders of all products, and traders per product."""
    edges, span = len(network.product), _span(network)
    both = np.concatenate([network.product * span + network.exporter, network.product * span + network.importer])
    traders, number = _numbered(both, network.count * span)
    return number[:edges], number[edges:], np.bincount(traders // span, minlength=network.count)


def _span(network: Network) -> int:
    """One more than the largest number of a country."""
    return int(max(network.exporter.max(initial=0), network.importer.max(initial=0))) + 1


def _numbered(values: Integers, reach: int) -> tuple[Integers, Integers]:
    """The distinct values below ``reach``, ascending, and of each value its place among them; no sorting."""
    there = np.zeros(reach, dtype=bool)
    there[values] = True
    return np.flatnonzero(there), (np.cumsum(there) - 1)[values]


# -- rows ----------------------------------------------------------------------------------------------------


def build_network_indicators(
    year: int,
    flows: Iterable[pa.RecordBatch],
    foci: Sequence[str],
    chain_nodes: pa.Table,
    reference: Reference,
    stamped: Stamped,
) -> pa.Table:
    """S5a and S5b of every product, node and group of one year (contract ``network_indicators``).

    Each by value (``v``), by mass (``q``) and with all edges alike (``none``). World figures: the same for every focus,
    a row for each. Nodes on the summed flows of their codes; a group's is its tier-0 node's.

    Args:
        year: of the flows.
        flows: the year's ``baci_flows`` in key order, a batch at a time (``Store.batches``).
        foci: countries and blocs that get rows; no bloc is merged.
        chain_nodes: table ``chain_nodes``; empty without a catalogue.
        reference: the catalogue.
        stamped: vintages of the releases.

    Raises:
        WrongUse: flows of another year.
    """
    places = places_of(chain_nodes, reference)
    of_nodes = codes_of_nodes(places, reference)
    blocks: list[pa.Table] = []
    kept: list[pa.Table] = []
    held = pa.array(sorted({code for _, code, _ in of_nodes}), pa.string())
    for portion in portions(flows):
        if portion.column("year").unique().to_pylist() != [year]:
            raise WrongUse(f"the networks of {year} were asked for with flows of another year")
        traded = _Traded(portion)
        named = [{"level": "hs6", "code": c, "hs_revision": r, "tier": 0} for r, c in traded.items]
        blocks += _rows(traded, named, foci, year, stamped)
        kept.append(portion.filter(pc.is_in(portion.column("code"), held)))
    if kept and places:
        table = pa.table({n: [p[k] for p in of_nodes] for k, n in enumerate(("hs_revision", "code", "node"))})
        summed = pa.concat_tables(pa.table({n: _plain(t.column(n)) for n in t.column_names}) for t in kept)
        joined = summed.join(table, ["hs_revision", "code"], join_type="inner").drop_columns("code")
        nodes = joined.rename_columns(["code" if n == "node" else n for n in joined.column_names])
        traded = _Traded(nodes, summed=True)
        where = {item: n for n, item in enumerate(traded.items)}
        for place in places:
            if (place.hs_revision, place.node) in where:
                one = {n: getattr(place, n) for n in ("level", "code", "hs_revision", "group", "tier")}
                blocks += _rows(traded, [one], foci, year, stamped, [where[place.hs_revision, place.node]])
    return as_indicators(blocks, NETWORK_INDICATORS)


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


class _Traded:
    """Figures of all products of some flows, or of all nodes: several flows of a pair of countries are then summed."""

    def __init__(self, flows: pa.Table, *, summed: bool = False) -> None:
        revisions, codes, countries = Numbers(), Numbers(), Numbers()
        revision, code = revisions.take(flows.column("hs_revision")), codes.take(flows.column("code"))
        exporter, importer = (countries.take(flows.column(side)) for side in ("exporter", "importer"))
        by_name = np.argsort(np.array(countries.words, dtype=object), kind="stable")
        self.countries = [countries.words[n] for n in by_name]
        rank = np.empty(len(by_name), dtype=np.int64)
        rank[by_name] = np.arange(len(by_name))
        exporter, importer = rank[exporter], rank[importer]
        value = pc.cast(flows.column("value_kusd"), pa.float64()).to_numpy()
        mass = pc.fill_null(flows.column("tonnes"), 0.0).to_numpy()
        items, product = _numbered(revision * len(codes) + code, len(revisions) * len(codes))
        self.items = [(revisions.words[i // len(codes)], codes.words[i % len(codes)]) for i in items.tolist()]
        weighed = np.where(mass > 0, value, 0.0)
        if summed:
            span = len(countries)
            pair, at = np.unique((product * span + exporter) * span + importer, return_inverse=True)
            product, exporter, importer = pair // (span * span), pair // span % span, pair % span
            value, mass, weighed = (np.bincount(at, w, len(pair)) for w in (value, mass, weighed))
        abroad = exporter != importer
        count = len(items)
        self.figures: dict[str, tuple[Dispersion, Floats]] = {}
        self.coverage: dict[str, Floats] = {}
        for measure in MEASURES:
            weight = mass if measure == "q" else value
            rows = np.flatnonzero(abroad & (weight > 0))
            network = Network(product[rows], exporter[rows], importer[rows], weight[rows], count)
            weighted = measure != "none"
            with threadpool_limits(limits=1):
                found = outdegree_dispersion(network, weighted=weighted), average_clustering(network, weighted=weighted)
            self.figures[measure] = found
            self.coverage[measure] = np.full(count, np.nan)
        total = np.bincount(product[abroad], value[abroad], count)
        known = np.bincount(product[abroad], weighed[abroad], count)
        np.divide(known, total, out=self.coverage["q"], where=total > 0)


def _rows(
    traded: _Traded,
    named: Sequence[Mapping[str, Any]],
    foci: Sequence[str],
    year: int,
    stamped: Stamped,
    which: Sequence[int] | None = None,
) -> Iterator[pa.Table]:
    """Rows of some items, ``named`` in the order of ``which`` (all by default), for every focus."""
    at = np.arange(len(named)) if which is None else np.array(which, dtype=np.int64)
    zeros = np.zeros(len(at), dtype=np.int32)
    base = {n: pa.array([row.get(n) for row in named], pa.string()) for n in ("level", "code", "hs_revision", "group")}
    base["tier"] = pa.array([row["tier"] for row in named], pa.int32())
    base["year"] = pa.array(np.full(len(at), year, dtype=np.int32))
    base["source_vintage"] = pa.array([stamped.vintage(row["hs_revision"], year, "baci") for row in named])
    base |= {n: words_of(zeros, [word]) for n, word in (("basis", "exports"), ("confidence", "high"))}
    for focus in foci:
        for measure in MEASURES:
            dispersion, clustering = traded.figures[measure]
            why = ["same_for_every_country", "no_exports_in_the_world", "no_mass"]
            lacking, none = np.isnan(clustering[at]), np.isnan(traded.figures["v"][1][at])
            reason = words_of(np.where(none, 1, np.where(lacking, 2, 0)), why)
            shared = base | {
                "focus": words_of(zeros, [focus]),
                "measure": words_of(zeros, [measure]),
                "coverage": _figures(traded.coverage[measure][at]),
                "reason": reason,
            }
            central = {
                "country": words_of(dispersion.central[at], traded.countries),
                "country_share": _figures(dispersion.centrality[at]),
            }
            for indicator, value, more in (("S5a", dispersion.value, central), ("S5b", clustering, {})):
                figures = {"indicator": words_of(zeros, [indicator]), "value": _figures(value[at])}
                yield pa.table(shared | figures | more)


def _figures(values: Floats) -> pa.Array:
    return pa.array(values, pa.float64(), mask=np.isnan(values))
