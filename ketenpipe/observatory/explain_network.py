"""How the figures of a product's trade network come about: S5a and S5b.

Belongs here: computing dispersion and clustering of one network again, by networkx. Does not belong here: how they were
made for all products at once (:mod:`ketenpipe.risk.network`).
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import pstdev

import networkx as nx

from ketenpipe.observatory.explain_book import Item, Row
from ketenpipe.observatory.explain_criticality import Walk
from ketenpipe.observatory.explain_figures import NO_FLOWS, Figures, Found, Part
from ketenpipe.observatory.explain_words import Percent, Words, say


def _graph(figures: Figures, item: Item, year: int, measure: str) -> nx.DiGraph | None:
    """Who sells to whom, by value, mass, or all alike; None where the home has not the flows."""
    pairs = figures.book.pairs(item, year)
    if pairs is None:
        return None
    graph = nx.DiGraph()
    for (seller, buyer), amount in pairs.items():
        weight = amount.by("q" if measure == "q" else "v")
        if weight > 0:
            graph.add_edge(seller, buyer, weight=weight)
    return graph


def _centralities(graph: nx.DiGraph, measure: str) -> dict[str, float]:
    """Part of all trade that a country sells; unweighted, part of the others that it sells to."""
    if measure == "none":
        return {c: float(v) for c, v in nx.out_degree_centrality(graph).items()}
    total = sum(w for _, _, w in graph.edges(data="weight"))
    return {c: float(w) / total for c, w in graph.out_degree(weight="weight")}


def dispersion(figures: Figures, item: Item, year: int, row: Row) -> Found:
    """S5a."""
    graph = _graph(figures, item, year, row["measure"])
    if graph is None:
        return Found(absent=NO_FLOWS, known=False)
    if not graph.number_of_edges():
        return Found(None, None)
    held = _centralities(graph, row["measure"])
    value = pstdev(held.values())
    formula = say(
        "S5a = standard deviation of the outdegree centrality of {n} countries ({e} flows) = {v}",
        "S5a = standaardafwijking van de uitgaande centraliteit van {n} landen ({e} stromen) = {v}",
        n=len(held), e=graph.number_of_edges(), v=value,
    )  # fmt: skip
    return Found(formula, value, parts=_exporters(figures, held, graph))


def clustering(figures: Figures, item: Item, year: int, row: Row) -> Found:
    """S5b."""
    graph = _graph(figures, item, year, row["measure"])
    if graph is None:
        return Found(absent=NO_FLOWS, known=False)
    if not graph.number_of_edges():
        return Found(None, None)
    value = float(nx.average_clustering(graph, weight=None if row["measure"] == "none" else "weight"))
    formula = say(
        "S5b = mean clustering coefficient (Fagiolo) of {n} countries ({e} flows) = {v}",
        "S5b = gemiddelde clustercoëfficiënt (Fagiolo) van {n} landen ({e} stromen) = {v}",
        n=graph.number_of_nodes(), e=graph.number_of_edges(), v=value,
    )  # fmt: skip
    return Found(formula, value, parts=_exporters(figures, _centralities(graph, row["measure"]), graph))


def _exporters(figures: Figures, held: Mapping[str, float], graph: nx.DiGraph) -> list[Part]:
    """The most central exporters."""
    parts = []
    for country in sorted(held, key=lambda c: (-held[c], c))[: figures.most]:
        if held[country] > 0:
            text = say(
                "{c}: centrality {s}, sells to {n} countries", "{c}: centraliteit {s}, levert aan {n} landen",
                c=figures.book.country(country), s=Percent(held[country]), n=graph.out_degree(country),
            )  # fmt: skip
            parts.append(Part("flow", "exporter", text, held[country], "share", country))
    silent = sum(v == 0 for v in held.values())
    if silent:
        text = Words(f"{silent} countries only buy", f"{silent} landen kopen alleen")
        parts.append(Part("flow", "buyers only", text, float(silent), "countries"))
    return parts


WALKS: Mapping[str, Walk] = {"S5a": dispersion, "S5b": clustering}
