"""The picture of the asset graph, made from the definitions themselves.

``python -m ketenpipe.dag.lineage --out docs/pictures/lineage.png``
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import dagster as dg
import networkx as nx

from ketenpipe.dag.location import assemble
from ketenpipe.observatory.pictures import lineage
from ketenpipe.settings import load_settings
from ketenpipe.tables.store import write_bytes_atomic


def asset_graph(definitions: dg.Definitions) -> nx.DiGraph:
    """Assets with their folder, and edges from what is read to what is made of it (direct ones only)."""
    graph = nx.DiGraph()
    for spec in definitions.resolve_all_asset_specs():
        graph.add_node(spec.key.to_user_string(), group=spec.key.path[0])
        for dep in spec.deps:
            graph.add_edge(dep.asset_key.to_user_string(), spec.key.to_user_string())
    reduced = nx.transitive_reduction(graph)
    reduced.add_nodes_from(graph.nodes(data=True))
    return reduced


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the graph into a file."""
    parser = argparse.ArgumentParser(prog="python -m ketenpipe.dag.lineage", description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True, help="PNG file")
    given = parser.parse_args(arguments)
    picture = lineage(asset_graph(assemble(load_settings())), "What ketenpipe makes of what (the Dagster graph)")
    write_bytes_atomic(given.out, picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
