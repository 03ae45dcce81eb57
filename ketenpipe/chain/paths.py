"""Which sequences of countries explain an exposure: the largest paths, with a bound on every path left out.

Belongs here: the search for paths through one year's chains, and table ``paths``. Does not belong here: the vectors
themselves (:mod:`ketenpipe.chain.lookthrough`), their matrices (:mod:`ketenpipe.chain.steps`).

A path of node m as focus f sees it is ``f <- (k made in c0) <- (m made in c1)``, over any number of steps. Its share is
the product of its steps: ``x_0[c0] * w_(k->m) * O_m[c0, c1]``, where w is the part of m's vector that user k gives (1
where there is one user) and O the supply-mix matrix. A dashed node passes its user's country on and has none of its
own. All paths into a node that end in c sum to ``x_m[c]``, all of them to 1. A node with the world production mix has
the same vector for every buyer: no user's country leads to it, and each producer is a path of one step.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ketenpipe.chain.lookthrough import BASIS_STRENGTH
from ketenpipe.chain.steps import Array, Chain, ChainYear
from ketenpipe.errors import WrongUse
from ketenpipe.tables.registry import EVIDENCE, PATHS

EXPLAIN = 0.95
MOST = 1000
#: By how much a published bound is raised, so that rounding to nine digits never brings it below a path left out.
_ROUNDING = 6e-9

State = tuple[str, int]
"""A node and the place of a country in :attr:`ketenpipe.chain.steps.ChainYear.countries`."""


@dataclass(frozen=True)
class Path:
    """One sequence of nodes and countries from the focus to an origin, and its share of the node's supply."""

    states: tuple[State, ...]
    share: float


@dataclass(frozen=True)
class Found:
    """The largest paths into one node.

    Attributes:
        paths: largest first.
        total: what all paths sum to (1; less where only some origins are asked for).
        bound: no path left out is larger than this; 0 where none is left out.
    """

    paths: tuple[Path, ...]
    total: float
    bound: float

    @property
    def explained(self) -> float:
        """Sum of the paths found."""
        return sum(p.share for p in self.paths)

    @property
    def residual(self) -> float:
        """What the paths left out sum to; 0 where none is left out."""
        return max(self.total - self.explained, 0.0) if self.bound else 0.0


class PathSearch:
    """Best-first search for the largest paths into one node, whatever the focus.

    ``h(n, j)`` is the largest share with which a path from node n made in country j can still reach the target: one
    maximum per node and country, taken backwards through the chain once for all foci. A partial path of share s is
    bounded by ``s * h``; no completion exceeds it, and one attains it, so that the next path off the heap is the next
    largest of all, and the heap's first bound holds for everything that is not yet found. A popped partial path
    brings forth its best continuation and its next best sibling: for p paths of d steps the heap sees at most
    ``2 p d`` entries, however many paths there are.

    Source: best-first search with an exact heuristic, A* (Hart, Nilsson, Raphael 1968); next siblings instead of all
    children (Lawler 1972) (both recalled, not read).
    """

    def __init__(self, chain: Chain, target: str, origins: Array | None = None) -> None:
        """Take the backward maxima.

        Args:
            chain: the group in one year.
            target: one of ``chain.order``.
            origins: places of the origins that are asked for; all by default.
        """
        self._chain = chain
        self._target = target
        size = len(next(iter(chain.starts.values())))
        wanted = np.ones(size) if origins is None else np.zeros(size)
        if origins is not None:
            wanted[origins] = 1.0
        self._wanted = wanted
        self._best: dict[str, Array] = {target: wanted}
        self._steps: dict[str, list[tuple[str, float]]] = {}
        for user in reversed(chain.order):
            steps = [
                (n, w) for n in chain.inputs(user) if n in self._best and n not in chain.mixes
                for u, w in chain.users[n] if u == user
            ]  # fmt: skip
            if not steps or user == target:
                continue
            self._steps[user] = steps
            self._best[user] = np.max([self._ahead(n, w) for n, w in steps], axis=0)
        self._sorted: dict[State, list[tuple[float, float, State]]] = {}

    def _ahead(self, node: str, weight: float) -> Array:
        """For each country of the user: the largest share with which a step to this input goes on, shape (n)."""
        if node in self._chain.traded:
            best: Array = ((weight * self._chain.traded[node].origins) * self._best[node]).max(axis=1)
            return best
        return weight * self._best[node]

    def _children(self, state: State) -> list[tuple[float, float, State]]:
        """The steps from a state that can reach the target, best first: (step * h, step, next state)."""
        if state not in self._sorted:
            user, at = state
            found: list[tuple[float, float, State]] = []
            for node, weight in self._steps.get(user, ()):
                if node in self._chain.traded:
                    found += self._options(node, weight * self._chain.traded[node].origins[at])
                elif self._best[node][at] > 0:
                    found.append((weight * float(self._best[node][at]), weight, (node, at)))
            found.sort(key=lambda o: (-o[0], o[2]))
            self._sorted[state] = found
        return self._sorted[state]

    def _options(self, node: str, steps: Array) -> list[tuple[float, float, State]]:
        ahead = steps * self._best[node]
        return [(float(ahead[k]), float(steps[k]), (node, int(k))) for k in np.flatnonzero(ahead > 0)]

    def top(self, start: Array, explain: float = EXPLAIN, most: int = MOST) -> Found:
        """The largest paths, until they explain enough or there are enough of them.

        Equal shares come in the order of nodes and countries by name.

        Args:
            start: ``x_0`` of the focus, shape (n).
            explain: part of the total at which to stop.
            most: number of paths at which to stop.

        Raises:
            WrongUse: ``explain`` not within (0, 1], ``most`` below 1.
        """
        if not 0 < explain <= 1:
            raise WrongUse(f"the share to explain must lie above 0 and not above 1, and {explain:g} does not")
        if most < 1:
            raise WrongUse(f"at least one path must be allowed, not {most}")
        if self._target in self._chain.mixes:
            # The same for every buyer: no user's country has a part in it.
            mix = self._chain.mixes[self._target] * self._wanted
            roots = [(float(mix[k]), float(mix[k]), (self._target, int(k))) for k in np.flatnonzero(mix > 0)]
            total = float(mix.sum())
        else:
            head = self._chain.head
            roots = self._options(head, start) if head in self._best else []
            total = self._total(start)
        roots.sort(key=lambda o: (-o[0], o[2]))
        enough = explain * total * (1 - 1e-12)
        found: list[Path] = []
        explained = 0.0
        # (-bound, states so far, share before the last step, siblings, which of them)
        heap: list[tuple[float, tuple[State, ...], float, list[tuple[float, float, State]], int]] = []
        if roots:
            heap.append((-roots[0][0], (roots[0][2],), 1.0, roots, 0))
        while heap and len(found) < most and explained < enough:
            _, states, before, siblings, at = heapq.heappop(heap)
            if at + 1 < len(siblings):
                ahead, _, state = siblings[at + 1]
                heapq.heappush(heap, (-before * ahead, (*states[:-1], state), before, siblings, at + 1))
            share = before * siblings[at][1]
            if states[-1][0] == self._target:
                found.append(Path(states, share))
                explained += share
                continue
            children = self._children(states[-1])
            if children:
                heapq.heappush(heap, (-share * children[0][0], (*states, children[0][2]), share, children, 0))
        return Found(tuple(found), total, -heap[0][0] if heap else 0.0)

    def _total(self, start: Array) -> float:
        """What all paths into the target sum to, from the vectors."""
        chain = self._chain
        vectors: dict[str, Array] = {chain.head: start}
        for node in chain.order[1:]:
            if node in chain.mixes or node not in self._best:
                continue
            mixed = sum((w * vectors[u] for u, w in chain.users[node]), np.zeros(()))
            vectors[node] = mixed @ chain.traded[node].origins if node in chain.traded else mixed
        return float((vectors[self._target] * self._wanted).sum())


def build_paths(
    seen: ChainYear,
    *,
    foci: Iterable[str] | None = None,
    explain: float = EXPLAIN,
    most: int = MOST,
    origin: str | None = None,
) -> pa.Table:
    """The paths that explain each exposure upstream, for every focus and group of a year (contract ``paths``).

    For every computed node of tier 1 and deeper; at most ``most`` rows a focus and node. The sample's newest year gives
    1,177 rows for the Netherlands and the EU27, and 34,000 for all 214 foci there could be.

    Args:
        seen: the chains of one year.
        foci: all by default.
        explain: part of a node's supply that the paths shall explain together.
        most: paths per focus and node at most.
        origin: only paths that end in this country; ``explain`` then is of the exposure to it.

    Raises:
        WrongUse: a focus that was not looked through, an origin that no table has, figures out of range.
    """
    wanted = seen.foci if foci is None else tuple(foci)
    if strange := [f for f in wanted if f not in seen.foci]:
        raise WrongUse(f"the look-through has no focus {strange[0]} (it has {', '.join(seen.foci)})")
    ends = None if origin is None else seen.index([origin])
    if ends is not None and not len(ends):
        raise WrongUse(f"no chain of {seen.year} knows a country {origin}")
    rows: list[dict[str, object]] = []
    for chain in seen.chains():
        for node in chain.order:
            if (chain.tier(node) or 0) < 1:
                continue
            search = PathSearch(chain, node, ends)
            for focus in wanted:
                if focus in chain.starts and (focus, node) in chain.basis:
                    found = search.top(chain.starts[focus], explain, most)
                    rows += _rows(seen, chain, node, focus, found)
    return PATHS.conform(rows)


def path_text(chain: Chain, countries: tuple[str, ...], states: tuple[State, ...]) -> str:
    """``nd_magnets@DEU <- (alloy) <- rare_earth_metals@CHN``: a step in brackets has no country of its own."""
    return " <- ".join(
        f"{node}@{countries[at]}" if node in chain.traded or node in chain.mixes else f"({node})" for node, at in states
    )


def evidence_of(chain: Chain, nodes: tuple[str, ...]) -> str | None:
    """The weakest evidence along a path of nodes; a dashed one counts as assumed. None for the product alone."""
    found = [chain.edges[pair].evidence for pair in itertools.pairwise(nodes)]
    if any(chain.status(n) == "dashed" for n in nodes):
        found.append("assumed")
    return max(found, key=EVIDENCE.index) if found else None


def _rows(seen: ChainYear, chain: Chain, node: str, focus: str, found: Found) -> Iterator[dict[str, object]]:
    whole = node in chain.mixes
    sums: dict[int, float] = {}
    for path in found.paths:
        sums[path.states[-1][1]] = sums.get(path.states[-1][1], 0.0) + path.share
    exposed = seen.vector(chain.group, node, focus)
    cumulative = 0.0
    for rank, path in enumerate(found.paths, start=1):
        cumulative += path.share
        nodes = tuple(n for n, _ in path.states)
        countries = [seen.countries[at] if n in chain.traded else "-" for n, at in path.states]
        text = path_text(chain, seen.countries, path.states)
        if whole:
            behind = tuple(str(chain.nodes[node]["path"]).split(" <- "))[:-1]
            text = " <- ".join([*(f"({n})" for n in behind), text])
            nodes, countries = (*behind, node), [*("-" for _ in behind), seen.countries[path.states[-1][1]]]
        last = path.states[-1][1]
        yield {
            "focus": focus,
            "group": chain.group,
            "node": node,
            "tier": chain.tier(node),
            "year": seen.year,
            "hs_revision": chain.revision,
            "rank": rank,
            "path": text,
            "nodes": " ".join(nodes),
            "countries": " ".join(countries),
            "origin": seen.countries[last],
            "share": min(path.share, 1.0),
            "origin_exposure": None if exposed is None else float(exposed[last]),
            "cumulative": min(cumulative, 1.0),
            "explained": min(found.explained, 1.0),
            "residual": min(found.residual, 1.0),
            "bound": min(found.bound * (1.0 + _ROUNDING), 1.0),
            "basis": "world_production_mix"
            if whole
            else max((chain.traded[n].basis for n in nodes if n in chain.traded), key=BASIS_STRENGTH.index),
            "evidence": chain.nodes[node]["evidence"] if whole else evidence_of(chain, nodes),
            "same_for_every_country": whole,
        }
