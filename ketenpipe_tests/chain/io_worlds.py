"""Small input-output tables for the tests of the industry layer: one by hand, and a strategy for random ones.

Belongs here: builders only. Output, demand and value added always balance.
"""

from __future__ import annotations

import networkx as nx
import numpy as np
from hypothesis import strategies as st

from ketenpipe.sources.icio import IcioTable
from ketenpipe.sources.records import SourceRecord

RECORD = SourceRecord("icio", "t", "t", "v", 2020, 2020, "", 0, None, None, None, None, 0, 0, None)


def table(labels: list[tuple[str, str]], z: np.ndarray, output: np.ndarray, *, synthetic: bool = False) -> IcioTable:
    """A balanced table: demand and value added are what is left of output."""
    demand = (output - z.sum(axis=1))[:, None]
    nothing = np.zeros(len(output))
    added = output - z.sum(axis=0)
    return IcioTable(
        tuple(labels), z, demand, (("NLD", "HFCE"),), nothing, True, added, output, 2020, "test", synthetic, "v", RECORD
    )


CHAIN = table(
    [("NLD", "C10"), ("DEU", "C10"), ("CHN", "C10")],
    np.array([[0.0, 0, 0], [50.0, 0, 0], [10.0, 40.0, 0]]),
    np.array([100.0, 80.0, 60.0]),
)
"""NLD's 100 use 50 from DEU and 10 from CHN; DEU's 80 use 40 from CHN. L - I behind NLD: DEU .5, CHN .1 + .25."""


def endless(held: IcioTable) -> tuple[np.ndarray, np.ndarray]:
    """Which columns and which rows of the Leontief inverse have no limit: by eigenvalues and networkx, shape (n).

    A strongly connected component whose spectral radius is at least 1 is a loop; the columns of what it feeds, and the
    rows of what feeds it, at any distance, are sums without a limit.
    """
    a = technical_coefficients(held.Z, held.OUT)
    graph = nx.from_numpy_array(a, create_using=nx.DiGraph)
    columns, rows = np.zeros(len(a), dtype=bool), np.zeros(len(a), dtype=bool)
    for part in nx.strongly_connected_components(graph):
        members = sorted(part)
        if np.abs(np.linalg.eigvals(a[np.ix_(members, members)])).max() >= 1 - 1e-9:
            for k in members:
                columns[[k, *nx.descendants(graph, k)]] = True
                rows[[k, *nx.ancestors(graph, k)]] = True
    return columns, rows


def random_table(seed: int, *, dead: bool = False) -> IcioTable:
    """Three countries, two industries; at most .8 of an output is bought and sold between industries.

    Args:
        dead: one industry has no output and no deliveries.
    """
    chance = np.random.default_rng(seed)
    z = chance.random((6, 6)) * (chance.random((6, 6)) < 0.7)
    output = np.maximum(z.sum(axis=0), z.sum(axis=1)) / 0.8 + chance.random(6)
    if dead:
        k = int(chance.integers(6))
        z[k], z[:, k], output[k] = 0, 0, 0
    labels = [(c, i) for c in ("CHN", "DEU", "NLD") for i in ("C10", "C20")]
    return table(labels, z * 100, output * 100)


@st.composite
def worlds(draw: st.DrawFn) -> IcioTable:
    """Random tables, one in three of them with an industry without output."""
    return random_table(draw(st.integers(0, 10**6)), dead=draw(st.integers(0, 2)) == 0)


@st.composite
def living_worlds(draw: st.DrawFn) -> IcioTable:
    """Random tables in which every industry has output."""
    return random_table(draw(st.integers(0, 10**6)))


@st.composite
def degenerate_worlds(draw: st.DrawFn) -> IcioTable:
    """Sparse tables with whatever may go wrong in an economy, singly and together, drawn from a seed.

    No output, no final demand, more sold than made, more bought than made, a region with one industry, an isolated
    country, no deliveries at all, pairs and triples that only feed each other or use more than they make, with and
    without threads to the rest.
    """
    chance = np.random.default_rng(draw(st.integers(0, 10**6)))
    labels = [(c, i) for c in ("AUT", "CHN", "DEU", "NLD") for i in ("C10", "C20")]
    if draw(st.booleans()):
        labels.remove(("CHN", "C20"))
    n = len(labels)
    z = chance.random((n, n)) * (chance.random((n, n)) < draw(st.sampled_from([0.0, 0.15, 0.4, 1.0])))
    output = np.maximum(z.sum(axis=0), z.sum(axis=1)) / 0.8 + chance.random(n)
    if draw(st.booleans()):
        inside = np.array([c == draw(st.sampled_from(["NLD", "DEU"])) for c, _ in labels])
        z[np.ix_(inside, ~inside)], z[np.ix_(~inside, inside)] = 0, 0
    for _ in range(draw(st.integers(0, 2))):
        loop = chance.permutation(n)[: draw(st.integers(1, 3))]
        if draw(st.booleans()):
            z[loop] *= chance.random(n) < 0.3
        if draw(st.booleans()):
            z[:, loop] = 0
        used = draw(st.sampled_from([1.0, 1.0, 1.5]))
        for supplier, user in zip(loop, np.roll(loop, 1), strict=True):
            output[user] = output[loop[0]]
            z[supplier, user] = used * output[loop[0]]
    for _ in range(draw(st.integers(0, 2))):
        k = int(chance.integers(n))
        kind = draw(st.sampled_from(["no_output", "idle", "no_final_demand", "sold_out", "costly"]))
        if kind == "idle":
            z[k], z[:, k] = 0, 0
        if kind in ("no_output", "idle"):
            output[k] = 0
        if kind == "no_final_demand":
            output[k] = z[k].sum()
        if kind == "sold_out":
            output[k] = z[k].sum() * 0.8
        if kind == "costly":
            output[k] = z[:, k].sum() * 0.9
    return table(labels, z * 100, output * 100)


def technical_coefficients(z: np.ndarray, output: np.ndarray) -> np.ndarray:
    """``A = Z diag(1/x)`` for the dense oracles; a column without output is 0."""
    scale = np.divide(1.0, output, out=np.zeros(len(output)), where=output > 0)
    return z * scale[np.newaxis, :]
