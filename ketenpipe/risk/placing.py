"""Where the figures of nodes stand: each node in its groups and tiers, each group on its tier-0 node.

Belongs here: numbers for words, and which rows a node's figure becomes. Does not belong here: a figure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ketenpipe.chain.catalogue import Reference
from ketenpipe.risk.planes import Integers


class Numbers:
    """Numbers for words that come column after column: 0, 1, ... in the order in which they first occur."""

    def __init__(self, words: Iterable[str] = ()) -> None:
        self._number = {word: n for n, word in enumerate(dict.fromkeys(words))}

    def __len__(self) -> int:
        return len(self._number)

    @property
    def words(self) -> list[str]:
        """The words, in the order of their numbers."""
        return list(self._number)

    def take(self, column: pa.ChunkedArray | pa.Array, *, new: bool = True) -> Integers:
        """A text column, plain or as a dictionary, as numbers.

        Args:
            column: the words.
            new: whether a word that has no number gets the next one; else it becomes -1. Null becomes -1 either way.
        """
        chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
        found: list[Integers] = [np.empty(0, dtype=np.int64)]
        for chunk in chunks:
            coded = chunk if pa.types.is_dictionary(chunk.type) else chunk.dictionary_encode()
            here = coded.dictionary.to_pylist()
            if new:
                numbers = [self._number.setdefault(word, len(self._number)) for word in here]
            else:
                numbers = [self._number.get(word, -1) for word in here]
            places = np.array([*numbers, -1], dtype=np.int64)
            at = coded.indices.fill_null(len(here)).to_numpy(zero_copy_only=False).astype(np.int64)
            found.append(places[at])
        return np.concatenate(found)


@dataclass(frozen=True)
class Place:
    """One row that a node's figure becomes.

    Args:
        level: node, or group where the node is the group's product.
        code: the node, or the group.
        hs_revision: of the node's codes.
        group, tier: where in which chain.
        node: whose figure it is.
    """

    level: str
    code: str
    hs_revision: str
    group: str
    tier: int
    node: str


def places_of(chain_nodes: pa.Table, reference: Reference) -> list[Place]:
    """The rows of every traded node of table ``chain_nodes``: one per group and tier, one for the group it heads."""
    columns = ["group", "node", "tier", "hs_revision", "status"]
    found = []
    for row in chain_nodes.select(columns).to_pylist():
        if row["status"] != "traded":
            continue
        node, group, tier, revision = row["node"], row["group"], row["tier"], row["hs_revision"]
        found.append(Place("node", node, revision, group, tier, node))
        if tier == 0 and reference.groups[group].node == node:
            found.append(Place("group", group, revision, group, tier, node))
    return found


def codes_of_nodes(places: Sequence[Place], reference: Reference) -> list[tuple[str, str, str]]:
    """``(HS revision, code, node)`` of every code of the placed nodes, sorted."""
    nodes = {(place.hs_revision, place.node) for place in places}
    return sorted((revision, code, node) for revision, node in nodes for code in reference.codes(node, revision))
