"""Group ``review``: step three, the evidence of each group and what experts decided on it."""

from collections.abc import Iterator

import dagster as dg
import pyarrow as pa

from ketenpipe.dag.resources import Workspace
from ketenpipe.dag.specs import asset_in, key, made, out
from ketenpipe.observatory import reads
from ketenpipe.review.dossier import build_dossiers
from ketenpipe.review.ledger import decisions_table, read_ledger
from ketenpipe.tables.registry import (
    CHAIN_EDGES,
    CHAIN_NODES,
    CRMA_MONITOR,
    DOSSIERS,
    EXPOSURE,
    FLAGS,
    INDICATORS,
    REVIEW_DECISIONS,
    TRACING,
)

EVIDENCE = (CHAIN_NODES, CHAIN_EDGES, EXPOSURE, CRMA_MONITOR)


@dg.multi_asset(
    name="dossiers",
    ins={t.name: asset_in(t) for t in EVIDENCE},
    outs={
        DOSSIERS.name: out(
            DOSSIERS,
            "The rows of steps one and two that are the group's evidence, as canonical JSON (keys sorted, nine "
            "significant digits), and `evidence_hash = SHA-256(evidence)`. A signature holds for that hash only.",
        ),
        REVIEW_DECISIONS.name: out(
            REVIEW_DECISIONS,
            "The append-only ledger `<home>/review/decisions.jsonl`, without names; each line is bound to the "
            "one before.",
            kinds=("python", "json"),
        ),
    },
    deps=[key(t) for t in (INDICATORS, FLAGS, TRACING)],
)
def dossiers(
    workspace: Workspace,
    chain_nodes: pa.Table,
    chain_edges: pa.Table,
    exposure: pa.Table,
    crma_monitor: pa.Table,
) -> Iterator[dg.Output[pa.Table]]:
    """One dossier per group, and the decisions so far."""
    store, reference = workspace.store, workspace.reference()
    tables = {
        t.name: data for t, data in zip(EVIDENCE, (chain_nodes, chain_edges, exposure, crma_monitor), strict=True)
    }
    tables[INDICATORS.name] = store.read(INDICATORS, filters=reads.dossier_indicators(reference))
    tables[FLAGS.name] = store.read(FLAGS, filters=reads.dossier_flags(reference))
    tables[TRACING.name] = workspace.read(TRACING, codes=workspace.catalogue_codes())
    yield made(DOSSIERS, build_dossiers(tables))
    yield made(REVIEW_DECISIONS, decisions_table(read_ledger(workspace.place)))
