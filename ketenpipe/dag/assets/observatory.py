"""Group ``observatory``: step four, verdicts, pictures, the release and the catalogue over it."""

import base64
import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa

from ketenpipe.chain.catalogue import hs_code_labels
from ketenpipe.dag.resources import Workspace
from ketenpipe.dag.specs import asset_in, key, made, out
from ketenpipe.dag.versions import Versions, note_made, pictures_folder
from ketenpipe.errors import KetenpipeError
from ketenpipe.observatory import pictures as drawing
from ketenpipe.observatory import reader
from ketenpipe.observatory.catalogue_db import build_catalogue
from ketenpipe.observatory.crma import build_crma_monitor
from ketenpipe.observatory.labels import build_labels
from ketenpipe.observatory.pages import build_pages
from ketenpipe.observatory.register import build_register
from ketenpipe.observatory.release import publish
from ketenpipe.review.ledger import decisions_table, read_ledger
from ketenpipe.review.state import review_states
from ketenpipe.risk.definitions import METHOD_VERSION
from ketenpipe.risk.thresholds import load_thresholds
from ketenpipe.tables.registry import (
    CHAIN_EDGES,
    CHAIN_NODES,
    CHANGES,
    CRMA_MONITOR,
    DOSSIERS,
    EXPOSURE,
    FLAGS,
    INDICATORS,
    INDUSTRY_EXPOSURE,
    INPUT_FILES,
    LABELS,
    REGISTER,
    RELEASED,
    REVIEW_DECISIONS,
    SOURCES,
    SUPPLY_MIX,
    TABLES,
    TRACING,
)

OWNERS = ["team:ketenpipe"]
FOLDER = "observatory"
#: Pictures that stand in the event log beside the asset; the others are files of the release.
SHOWN_BYTES = 100_000

#: What a release carries of the tables under the home; ``changes`` is made when it is published.
CARRIED = tuple(t for t in RELEASED if t is not CHANGES)


@dg.multi_asset(
    name="crma",
    ins={t.name: asset_in(t) for t in (INDICATORS, FLAGS, CHAIN_NODES)},
    outs={
        CRMA_MONITOR.name: out(
            CRMA_MONITOR,
            "C4: `max_{c not in f, not in EU27}` of the traced supply where production is observed and "
            "confidence not low, else of all imports (proxy), against 65 % (Regulation (EU) 2024/1252); strictly "
            "above exceeds.",
        )
    },
)
def crma(
    workspace: Workspace, indicators: pa.Table, flags: pa.Table, chain_nodes: pa.Table
) -> Iterator[dg.Output[pa.Table]]:
    """Materials by stage against the benchmark of the Critical Raw Materials Act."""
    thresholds = load_thresholds(*workspace.reference_dirs)
    monitor = build_crma_monitor(indicators, flags, chain_nodes, thresholds)
    yield made(CRMA_MONITOR, monitor)


@dg.multi_asset(
    name="register",
    ins={
        t.name: asset_in(t)
        for t in (
            INDICATORS, FLAGS, EXPOSURE, CHAIN_NODES, TRACING, DOSSIERS, REVIEW_DECISIONS,
            SUPPLY_MIX, INDUSTRY_EXPOSURE, INPUT_FILES,
        )
    },
    outs={
        REGISTER.name: out(
            REGISTER,
            "Verdict per focus and group. Direct: `geodep`, `swd2021` or test T on the product itself; through "
            "the chain: X1 (specific to the focus) or X1g (the same for every country). Priority = public "
            "interest x economic weight x risk. Provisional until an expert has signed this very evidence.",
        ),
        LABELS.name: out(LABELS, "From the catalogue, the HS code lists, Unicode CLDR and the method's definitions."),
        SOURCES.name: out(SOURCES, "The records of every file of the run, as they go into the release."),
    },
)  # fmt: skip
def register(
    workspace: Workspace,
    indicators: pa.Table,
    flags: pa.Table,
    exposure: pa.Table,
    chain_nodes: pa.Table,
    tracing: pa.Table,
    dossiers: pa.Table,
    review_decisions: pa.Table,
    supply_mix: pa.Table,
    industry_exposure: pa.Table,
    input_files: pa.Table,
) -> Iterator[dg.Output[pa.Table]]:
    """Verdicts in words, names of every code, the inputs of the release."""
    reference, settings = workspace.reference(), workspace.settings
    thresholds = load_thresholds(*workspace.reference_dirs)
    seen = {
        INDICATORS.name: indicators,
        FLAGS.name: flags,
        EXPOSURE.name: exposure,
        CHAIN_NODES.name: chain_nodes,
        TRACING.name: tracing,
    }
    states = review_states(review_decisions, dossiers)
    yield made(
        REGISTER,
        build_register(seen, reference, states, settings.foci, thresholds, settings.minimum_import_kusd),
    )
    used = {SUPPLY_MIX.name: supply_mix, EXPOSURE.name: exposure, INDUSTRY_EXPOSURE.name: industry_exposure}
    yield made(LABELS, build_labels(used, reference, hs_code_labels(*workspace.reference_dirs), thresholds))
    yield made(SOURCES, SOURCES.conform(input_files.replace_schema_metadata(None)))


@dg.asset(
    key=[FOLDER, "pictures"],
    group_name=FOLDER,
    owners=OWNERS,
    kinds={"python", "matplotlib"},
    tags={"ketenpipe/released": "yes"},
    description="The plane of concentration (O1) and governance (G2) per focus, the suppliers and the chain of "
    "each group.",
    ins={t.name: asset_in(t) for t in (INDICATORS, EXPOSURE, CHAIN_NODES, CHAIN_EDGES, LABELS)},
)
def pictures(
    workspace: Workspace,
    indicators: pa.Table,
    exposure: pa.Table,
    chain_nodes: pa.Table,
    chain_edges: pa.Table,
    labels: pa.Table,
) -> dg.MaterializeResult[Any]:
    """Draw, and keep as files until they are published."""
    thresholds = load_thresholds(*workspace.reference_dirs)
    tables = {
        INDICATORS.name: indicators,
        EXPOSURE.name: exposure,
        CHAIN_NODES.name: chain_nodes,
        CHAIN_EDGES.name: chain_edges,
        LABELS.name: labels,
    }
    limits = {"hhi_limit": thresholds.T_hhi.flag, "wgi_limit": thresholds.T_wgi.flag}
    hashes = [reader.sha256_of(workspace.store.path(TABLES[name])) for name in tables]
    folder, own = pictures_folder(workspace), dg.AssetKey([FOLDER, "pictures"])
    if Versions(workspace).proven(own) is None:
        (folder / drawing.NOTE).unlink(missing_ok=True)  # a picture was removed or replaced: drawn anew
    drawn = drawing.drawn_once(folder, f"{hashes} {limits}", lambda: drawing.draw_all(tables, **limits))
    shown: dict[str, Any] = {"pictures": len(drawn), "folder": dg.MetadataValue.path(str(folder))}
    for name, content in drawn.items():
        if name.startswith("plane_") and len(small := drawing.preview(content)) < SHOWN_BYTES:
            encoded = base64.b64encode(small).decode()
            shown[name.removesuffix(".png")] = dg.MetadataValue.md(f"![{name}](data:image/png;base64,{encoded})")
    note_made(workspace, own)
    return dg.MaterializeResult(metadata=shown)


@dg.multi_asset(
    name="publishing",
    specs=[
        dg.AssetSpec(
            [FOLDER, "release"],
            group_name=FOLDER,
            owners=OWNERS,
            kinds={"parquet", "python"},
            description="The next numbered, immutable release, unless nothing changed. Reads the decision ledger "
            "itself "
            "and refuses to publish as signed what no expert signed.",
            deps=[*(key(t) for t in CARRIED), key(DOSSIERS), dg.AssetKey([FOLDER, "pictures"])],
        ),
    ],
)
def publishing(context: dg.AssetExecutionContext, workspace: Workspace) -> dg.MaterializeResult[Any]:
    """Publish, or say that nothing changed.

    Raises:
        KetenpipeError: a table is not made of what the release would say that it is made of.
    """
    refuse_stale(workspace)
    home, store, reference = Path(workspace.home), workspace.store, workspace.reference()
    tables = {t.name: data for t in (*CARRIED, DOSSIERS) if (data := store.read(t)).num_rows or t is REVIEW_DECISIONS}
    drawn = {p.name: p.read_bytes() for p in sorted(pictures_folder(workspace).glob("*.png"))}
    states = review_states(decisions_table(read_ledger(home)), tables[DOSSIERS.name])
    pages = build_pages(
        tables[DOSSIERS.name],
        states,
        home=home,
        register=tables[REGISTER.name],
        labels=tables[LABELS.name],
        reference=reference,
        pictures=drawn,
    )
    thresholds = load_thresholds(*workspace.reference_dirs)
    settings = workspace.settings
    said = publish(
        home,
        tables,
        {**{f"pictures/{name}": content for name, content in drawn.items()}, **pages},
        parameters={
            "focus": list(settings.focus),
            "bloc": list(settings.bloc),
            "years": sorted(workspace.baci_years()),
            "products": settings.chosen_products,
            "depth": settings.depth,
            "wgi_dimension": settings.wgi_dimension,
            "minimum_import_kusd": settings.minimum_import_kusd,
            "thresholds": thresholds.model_dump(mode="json"),
            "catalogue": reference.sha256,
        },
        method_versions={"ketenpipe": METHOD_VERSION},
        source_vintages=_vintages(tables[SOURCES.name]),
        seed=settings.seed,
        today=datetime.datetime.now(datetime.UTC).date(),
    )
    context.log.info(said.sentence)
    note_made(workspace, dg.AssetKey([FOLDER, "release"]))
    return dg.MaterializeResult(
        metadata={
            "release": said.release,
            "said": said.sentence,
            "content_hash": said.content_hash,
            "folder": dg.MetadataValue.path(str(said.path)),
            "tables": len(tables),
        }
    )


def refuse_stale(workspace: Workspace) -> None:
    """Refuse to publish tables that were made of other sources or settings than the release would state.

    ``ketenpipe run`` meets this only where the sources change while it runs: it makes anew what is stale. In the UI
    somebody may ask for this asset alone. The ledger is looked into when it is published: a decision made meanwhile is
    no reason to refuse.

    Raises:
        KetenpipeError: names the table and what to do.
    """
    versions = Versions(workspace)
    for table in CARRIED:
        if table.folder in ("chain", "risk") and versions.held(key(table)) != versions.wanted(key(table)):
            raise KetenpipeError(
                f"table {table.name} was not made of the sources, the catalogue and the settings as they are now, or "
                "did not pass its checks, so it is not published as if it were; run 'ketenpipe run', or materialise "
                "what is stale with its checks and publish again."
            )


def _vintages(sources: pa.Table) -> dict[str, str]:
    found: dict[str, set[str]] = {}
    for row in sources.select(["source", "vintage"]).to_pylist():
        if row["vintage"]:
            found.setdefault(row["source"], set()).add(row["vintage"])
    return {source: "; ".join(sorted(vintages)) for source, vintages in sorted(found.items())}


@dg.multi_asset(
    name="reporting",
    outs={
        CHANGES.name: out(
            CHANGES,
            "Flags, register rows and figures that differ from the release before, and why: new data, revised data, "
            "method, catalogue, parameters or review.",
        )
    },
    deps=[dg.AssetKey([FOLDER, "release"])],
)
def reporting(workspace: Workspace) -> Iterator[dg.Output[pa.Table]]:
    """The changes that the latest release states."""
    changes = reader.read_table(Path(workspace.home), CHANGES.name)
    yield made(CHANGES, changes, {"release": reader.latest(Path(workspace.home)).release})


@dg.asset(
    key=[FOLDER, "catalogue"],
    group_name=FOLDER,
    owners=OWNERS,
    kinds={"duckdb"},
    deps=[dg.AssetKey([FOLDER, "release"])],
    description="Views over the Parquet of the latest release, `<home>/ketenpipe.duckdb`, written last and "
    "swapped in whole.",
)
def catalogue(workspace: Workspace) -> dg.MaterializeResult[Any]:
    """Write the catalogue anew."""
    path = build_catalogue(Path(workspace.home))
    note_made(workspace, dg.AssetKey([FOLDER, "catalogue"]))
    return dg.MaterializeResult(metadata={"path": dg.MetadataValue.path(str(path.resolve()))})
