"""Chains for the tests of paths and shocks: through the whole of step one, or drawn as matrices."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from ketenpipe.chain.catalogue import Edge, Reference
from ketenpipe.chain.lookthrough import Exposure, build_exposure
from ketenpipe.chain.steps import Chain, ChainYear, CodeSteps, NodeSteps
from ketenpipe.chain.tracing import Tracing, focus_members
from ketenpipe_tests.worlds import edge, trace

COUNTRIES = ("CHN", "DEU", "RUS", "UNK")
"""Of drawn chains; the last is unknown, as everywhere."""


@dataclass(frozen=True)
class Walked:
    """A small world, looked through and indexed."""

    tracing: Tracing
    exposure: Exposure
    seen: ChainYear
    members: dict[str, frozenset[str]]


def walk(
    table: pa.Table,
    reference: Reference,
    foci: tuple[str, ...] = ("NLD",),
    statistics: pa.Table | None = None,
    depth: int = 2,
    year: int | None = None,
) -> Walked:
    """Step one, and its tables of one year as a :class:`ChainYear`."""
    tracing = trace(table, reference, foci, statistics)
    exposure = build_exposure(tracing, statistics, reference, foci, depth)
    seen = ChainYear.of(
        exposure=exposure.exposure,
        chain_nodes=exposure.chain_nodes,
        chain_edges=exposure.chain_edges,
        production=tracing.production,
        origin_mix=tracing.origin_mix,
        year=year,
    )
    return Walked(tracing, exposure, seen, {f: focus_members(reference, f, [seen.year])[seen.year] for f in foci})


def single(origins: np.ndarray) -> NodeSteps:
    """A node of one code with these origins; every country has 10 t and eats 5."""
    n = len(origins)
    ten = np.where(np.arange(n) < n - 1, 10.0, 0.0)
    rows = origins.copy()
    rows[-1] = 0.0
    return NodeSteps.of(("100001",), (CodeSteps(rows, ten, ten / 2, ten / 2, ten / 2, "observed"),))


def vectors(size: int) -> st.SearchStrategy[np.ndarray]:
    """Shares that sum to 1, often with ties and zeros."""
    counts = st.lists(st.integers(0, 4), min_size=size, max_size=size).filter(any)
    return counts.map(lambda c: np.array(c, dtype=float) / sum(c))


@st.composite
def drawn_chains(draw: st.DrawFn) -> Chain:
    """A chain of up to five nodes, some dashed, with any edges that reach from the product; the focus is NLD."""
    n = len(COUNTRIES)
    names = [f"n{k}" for k in range(draw(st.integers(2, 5)))]
    dashed = {m for m in names[1:-1] if draw(st.booleans())}
    edges: dict[tuple[str, str], Edge] = {}
    users: dict[str, tuple[tuple[str, float], ...]] = {}
    for k, item in enumerate(names[1:], start=1):
        above = draw(st.lists(st.sampled_from(names[:k]), min_size=1, max_size=2, unique=True))
        for user in sorted(above):
            whole = draw(st.booleans())
            intensity = None if whole else draw(st.sampled_from([0.25, 0.5, None]))
            edges[(user, item)] = edge(user, item, intensity, essential=whole)
        parts = draw(vectors(len(above)))
        users[item] = tuple((u, float(w)) for u, w in zip(sorted(above), parts, strict=True) if w > 0)
    traded = {}
    for name in names:
        if name not in dashed:
            rows = np.array([draw(vectors(n)) for _ in range(n - 1)] + [[0.0] * (n - 1) + [1.0]])
            traded[name] = single(rows)
    return Chain(
        group="g",
        revision="HS92",
        head="n0",
        order=tuple(names),
        nodes={
            m: {"tier": None if m in dashed else int(m[1:]), "status": "dashed" if m in dashed else "traded",
                "path": m, "evidence": None, "confidence": None}
            for m in names
        },
        users=users,
        edges=edges,
        broken=frozenset(),
        traded=traded,
        mixes={},
        starts={"NLD": draw(vectors(n))},
        basis={("NLD", m): "observed" for m in traded},
        imputed={("NLD", m): 0.0 for m in traded},
    )  # fmt: skip


def every_path(chain: Chain, target: str) -> dict[tuple[tuple[str, int], ...], float]:
    """Every path into a node by plain enumeration: ways through the catalogue times sequences of countries."""
    found: dict[tuple[tuple[str, int], ...], float] = {}
    n = len(COUNTRIES)

    def ways(node: str) -> list[tuple[str, ...]]:
        if node == chain.head:
            return [(node,)]
        return [(*way, node) for user, _ in chain.users[node] for way in ways(user)]

    for way in ways(target):
        for places in itertools.product(range(n), repeat=len(way)):
            share = float(chain.starts["NLD"][places[0]])
            for (user, item), (before, after) in zip(itertools.pairwise(way), itertools.pairwise(places), strict=True):
                share *= dict(chain.users[item])[user]
                share *= chain.traded[item].origins[before, after] if item in chain.traded else float(before == after)
            if share > 0:
                found[tuple(zip(way, places, strict=True))] = share
    return found
