"""Group ``observatory``: step four, verdicts, pictures, the release and the catalogue over it."""

import base64
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pyarrow as pa

from ketenpipe.chain.catalogue import hs_code_labels
from ketenpipe.chain.supply_graph import export_graphs
from ketenpipe.dag.resources import Workspace
from ketenpipe.dag.specs import asset_in, key, made, out
from ketenpipe.dag.versions import Versions, code_fingerprint, note_made, pictures_folder
from ketenpipe.errors import KetenpipeError
from ketenpipe.observatory import pictures as drawing
from ketenpipe.observatory import reader, reads
from ketenpipe.observatory.catalogue_db import build_catalogue
from ketenpipe.observatory.crma import build_crma_monitor
from ketenpipe.observatory.explain import build_explanations, read_explained
from ketenpipe.observatory.grades import build_grades, load_grade_rules, load_shared_codes
from ketenpipe.observatory.graph_pictures import draw_graphs
from ketenpipe.observatory.labels import build_labels
from ketenpipe.observatory.pages import GraphTables, build_pages, hubs_of, members_of
from ketenpipe.observatory.register import build_register
from ketenpipe.observatory.release import publish
from ketenpipe.observatory.validation import build_validation, load_published, needed, render_validation
from ketenpipe.review.ledger import decisions_table, read_ledger
from ketenpipe.review.state import review_states
from ketenpipe.risk.definitions import METHOD_VERSION
from ketenpipe.risk.thresholds import load_thresholds
from ketenpipe.tables.contract import Table
from ketenpipe.tables.registry import (
    BACI_FLOWS,
    CHAIN_EDGES,
    CHAIN_NODES,
    CHANGES,
    COUNTRY_RISK,
    CRMA_MONITOR,
    DATA_GRADES,
    DOSSIERS,
    EXPLANATIONS,
    EXPOSURE,
    FLAGS,
    GRAPH_EDGES,
    GRAPH_MEASURES,
    GRAPH_NODES,
    HS_WEIGHTS,
    INDICATORS,
    INDUSTRY_EXPOSURE,
    INPUT_FILES,
    LABELS,
    MINING_PRODUCTION,
    NAMED_METHODS,
    ORIGIN_MIX,
    PATHS,
    PRODUCT_INDUSTRIES,
    PRODUCTION,
    REGISTER,
    RELEASED,
    REVIEW_DECISIONS,
    ROBUSTNESS,
    SOURCES,
    SUPPLY_MIX,
    TABLES,
    TRACING,
    UNCERTAINTY,
    VALIDATION,
)
from ketenpipe.tables.store import Stored

OWNERS = ["team:ketenpipe"]
FOLDER = "observatory"
#: Pictures that stand in the event log beside the asset; the others are files of the release.
SHOWN_BYTES = 100_000

#: What a release carries of the tables under the home; ``changes`` is made when it is published.
CARRIED = tuple(t for t in RELEASED if t is not CHANGES)


@dg.multi_asset(
    name="crma",
    ins={CHAIN_NODES.name: asset_in(CHAIN_NODES)},
    deps=[key(t) for t in (INDICATORS, FLAGS)],
    outs={
        CRMA_MONITOR.name: out(
            CRMA_MONITOR,
            "C4: `max_{c not in f, not in EU27}` of the traced supply where production is observed and "
            "confidence not low, else of all imports (proxy), against 65 % (Regulation (EU) 2024/1252); strictly "
            "above exceeds.",
        )
    },
)
def crma(workspace: Workspace, chain_nodes: pa.Table) -> Iterator[dg.Output[pa.Table]]:
    """Materials by stage against the benchmark of the Critical Raw Materials Act."""
    indicators = workspace.store.read(INDICATORS, filters=reads.CRMA_INDICATORS)
    flags = workspace.store.read(FLAGS, filters=reads.CRMA_FLAGS)
    thresholds = load_thresholds(*workspace.reference_dirs)
    monitor = build_crma_monitor(indicators, flags, chain_nodes, thresholds)
    yield made(CRMA_MONITOR, monitor)


@dg.multi_asset(
    name="grades",
    ins={
        t.name: asset_in(t) for t in (EXPOSURE, CHAIN_NODES, CHAIN_EDGES, PRODUCT_INDUSTRIES, HS_WEIGHTS, INPUT_FILES)
    },
    deps=[key(INDICATORS)],
    outs={
        DATA_GRADES.name: out(
            DATA_GRADES,
            "Points for each shortcoming by the rules of `grades.toml`: coverage, age, patches, mass, basis of "
            "production, concordances, evidence of the chain, codes that join goods.",
        )
    },
)
def grades(
    workspace: Workspace,
    exposure: pa.Table,
    chain_nodes: pa.Table,
    chain_edges: pa.Table,
    product_industries: pa.Table,
    hs_weights: pa.Table,
    input_files: pa.Table,
) -> Iterator[dg.Output[pa.Table]]:
    """How good the data of each group are."""
    tables = {
        INDICATORS.name: workspace.store.read(INDICATORS, filters=reads.REGISTER),
        EXPOSURE.name: exposure,
        CHAIN_NODES.name: chain_nodes,
        CHAIN_EDGES.name: chain_edges,
        PRODUCT_INDUSTRIES.name: product_industries,
        HS_WEIGHTS.name: hs_weights,
        INPUT_FILES.name: input_files,
    }
    rules, goods = load_grade_rules(*workspace.reference_dirs), load_shared_codes(*workspace.reference_dirs)
    foci, year = workspace.settings.foci, workspace.today().year
    yield made(DATA_GRADES, build_grades(tables, workspace.reference(), rules, goods, foci, year))


@dg.multi_asset(
    name="validation",
    deps=[key(t) for t in (INDICATORS, FLAGS, SUPPLY_MIX)],
    outs={
        VALIDATION.name: out(
            VALIDATION,
            "`difference = ours - published` of every figure of `published_figures.csv`, and why it differs.",
        )
    },
)
def validation(workspace: Workspace) -> Iterator[dg.Output[pa.Table]]:
    """Our figures beside published ones."""
    store, published = workspace.store, load_published(*workspace.reference_dirs)
    asked = needed(published)
    years = [str(year) for year in asked.years if year in workspace.baci_years()]
    held = build_validation(
        store.read(INDICATORS, filters=asked.indicators),
        store.read(FLAGS, filters=asked.flags),
        store.read(SUPPLY_MIX, years, filters=asked.supply_mix),
        published,
    )
    yield made(VALIDATION, held)


@dg.multi_asset(
    name="explanations",
    deps=[
        key(t)
        for t in (
            INDICATORS, FLAGS, SUPPLY_MIX, BACI_FLOWS, TRACING, PRODUCTION, ORIGIN_MIX, EXPOSURE, CHAIN_NODES, PATHS,
            COUNTRY_RISK, MINING_PRODUCTION, SOURCES, LABELS, UNCERTAINTY, ROBUSTNESS,
        )
    ],
    outs={
        EXPLANATIONS.name: out(
            EXPLANATIONS,
            "Of each headline figure: formula with the numbers put in, inputs, largest flows, patches, what is "
            "missing, source files, and what would have to change for the flag to turn.",
        )
    },
)  # fmt: skip
def explanations(workspace: Workspace) -> Iterator[dg.Output[pa.Table]]:
    """How the headline figures of each group come about."""
    tables = read_explained(workspace.store, workspace.catalogue_codes())
    thresholds = load_thresholds(*workspace.reference_dirs)
    yield made(EXPLANATIONS, build_explanations(tables, workspace.reference(), thresholds))


@dg.multi_asset(
    name="register",
    ins={
        t.name: asset_in(t)
        for t in (EXPOSURE, CHAIN_NODES, DOSSIERS, REVIEW_DECISIONS, INDUSTRY_EXPOSURE, INPUT_FILES, DATA_GRADES)
    },
    deps=[key(t) for t in (INDICATORS, FLAGS, SUPPLY_MIX, ROBUSTNESS)],
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
    exposure: pa.Table,
    chain_nodes: pa.Table,
    dossiers: pa.Table,
    review_decisions: pa.Table,
    industry_exposure: pa.Table,
    input_files: pa.Table,
    data_grades: pa.Table,
) -> Iterator[dg.Output[pa.Table]]:
    """Verdicts in words, names of every code, the inputs of the release."""
    reference, settings, store = workspace.reference(), workspace.settings, workspace.store
    thresholds = load_thresholds(*workspace.reference_dirs)
    seen = {
        INDICATORS.name: store.read(INDICATORS, filters=reads.REGISTER),
        FLAGS.name: store.read(FLAGS, filters=reads.REGISTER),
        ROBUSTNESS.name: store.read(ROBUSTNESS, filters=reads.REGISTER),
        EXPOSURE.name: exposure,
        CHAIN_NODES.name: chain_nodes,
        DATA_GRADES.name: data_grades,
    }
    states = review_states(review_decisions, dossiers)
    yield made(
        REGISTER,
        build_register(seen, reference, states, settings.foci, settings.minimum_import_kusd),
    )
    used = {EXPOSURE.name: exposure, INDUSTRY_EXPOSURE.name: industry_exposure}
    years = [str(year) for year in workspace.partitions(SUPPLY_MIX.name)]
    codes = {pair for year in years for pair in store.distinct(SUPPLY_MIX, ("hs_revision", "code"), year)}
    places = {pair for year in years for pair in store.distinct(SUPPLY_MIX, ("focus", "country"), year)}
    named = build_labels(
        used,
        reference,
        hs_code_labels(*workspace.reference_dirs),
        thresholds,
        countries={name for pair in places for name in pair},
        codes=codes,
        goods=load_shared_codes(*workspace.reference_dirs),
    )
    yield made(LABELS, named)
    yield made(SOURCES, SOURCES.conform(input_files.replace_schema_metadata(None)))


#: What pictures are drawn of.
DRAWN = (EXPOSURE, CHAIN_NODES, CHAIN_EDGES, LABELS, GRAPH_NODES, GRAPH_EDGES, GRAPH_MEASURES)


@dg.asset(
    key=[FOLDER, "pictures"],
    group_name=FOLDER,
    owners=OWNERS,
    kinds={"python", "matplotlib"},
    tags={"ketenpipe/released": "yes"},
    description="The plane of concentration (O1) and governance (G2) per focus, the suppliers and the chain of "
    "each group, and its supply graph with the choke point.",
    ins={t.name: asset_in(t) for t in DRAWN},
    deps=[key(INDICATORS)],
)
def pictures(
    workspace: Workspace,
    exposure: pa.Table,
    chain_nodes: pa.Table,
    chain_edges: pa.Table,
    labels: pa.Table,
    graph_nodes: pa.Table,
    graph_edges: pa.Table,
    graph_measures: pa.Table,
) -> dg.MaterializeResult[Any]:
    """Draw, and keep as files until they are published."""
    thresholds = load_thresholds(*workspace.reference_dirs)
    tables = {
        INDICATORS.name: workspace.store.read(INDICATORS, filters=reads.PICTURES),
        EXPOSURE.name: exposure,
        CHAIN_NODES.name: chain_nodes,
        CHAIN_EDGES.name: chain_edges,
        LABELS.name: labels,
        GRAPH_NODES.name: graph_nodes,
        GRAPH_EDGES.name: graph_edges,
        GRAPH_MEASURES.name: graph_measures,
    }
    reference = workspace.reference()
    members, hubs = members_of(graph_nodes, reference), hubs_of(reference)
    limits = {"hhi_limit": thresholds.T_hhi.flag, "wgi_limit": thresholds.T_wgi.flag}
    hashes = [workspace.store.sha256(TABLES[name]) for name in tables]
    folder, own = pictures_folder(workspace), dg.AssetKey([FOLDER, "pictures"])
    if Versions(workspace).proven(own) is None:
        (folder / drawing.NOTE).unlink(missing_ok=True)  # a picture was removed or replaced: drawn anew

    def draw() -> dict[str, bytes]:
        return {**drawing.draw_all(tables, **limits), **draw_graphs(tables, members, hubs)}

    drawn = drawing.drawn_once(folder, f"{hashes} {limits} {code_fingerprint(FOLDER)}", draw)
    shown: dict[str, Any] = {"pictures": len(drawn), "folder": dg.MetadataValue.path(str(folder))}
    for name, content in drawn.items():
        if name.startswith("plane_") and len(small := drawing.preview(content)) < SHOWN_BYTES:
            encoded = base64.b64encode(small).decode()
            shown[name.removesuffix(".png")] = dg.MetadataValue.md(f"![{name}](data:image/png;base64,{encoded})")
    note_made(workspace, own)
    return dg.MaterializeResult(metadata=shown)


#: Tables that are written as streams: a release carries them row group by row group.
STREAMED = (INDICATORS, FLAGS, ROBUSTNESS)


def carried(workspace: Workspace, table: Table) -> pa.Table | Stored | None:
    """A table as a release carries it, by reference where it may be larger than memory; None without rows."""
    store = workspace.store
    asked = [p for p in workspace.partitions(table.name) if p is not None] if table.partitioned else None
    if table.partitioned or table in STREAMED:
        rows = sum(store.rows(table, p) for p in (asked if asked is not None else [None]))
        return store.stored(table, asked) if rows else None
    data = store.read(table)
    return data if data.num_rows or table is REVIEW_DECISIONS else None


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
    home, reference = workspace.place, workspace.reference()
    tables = {t.name: data for t in (*CARRIED, DOSSIERS) if (data := carried(workspace, t)) is not None}
    drawn = {p.name: p.read_bytes() for p in sorted(pictures_folder(workspace).glob("*.png"))}
    states = review_states(decisions_table(read_ledger(home)), tables[DOSSIERS.name])
    nodes = workspace.store.read(GRAPH_NODES)
    pages = build_pages(
        tables[DOSSIERS.name],
        states,
        home=home,
        register=tables[REGISTER.name],
        labels=tables[LABELS.name],
        reference=reference,
        pictures=drawn,
        graph=GraphTables(nodes, workspace.store.read(GRAPH_MEASURES)),
        explanations=workspace.store.read(EXPLANATIONS),
        uncertainty=workspace.store.read(UNCERTAINTY),
    )
    if VALIDATION.name in tables:
        held = workspace.store.read(VALIDATION)
        pages["validation.html"] = render_validation(held).encode()
        pages["validation.nl.html"] = render_validation(held, language="nl").encode()
    graphs = dict(export_graphs(nodes, workspace.store.read(GRAPH_EDGES)))
    thresholds = load_thresholds(*workspace.reference_dirs)
    settings = workspace.settings
    judging = workspace.store.read(NAMED_METHODS, columns=["method", "version", "judges"]).to_pylist()
    versions = {row["method"]: row["version"] for row in judging if row["judges"]}
    said = publish(
        home,
        tables,
        {**{f"pictures/{name}": content for name, content in drawn.items()}, **pages, **graphs},
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
            "draws": settings.draws,
            "partners": list(settings.partners),
            "methods": sorted(versions),
            "lists": {name: dict(held) for name, held in workspace.lists().items()},
        },
        method_versions={"ketenpipe": METHOD_VERSION, **versions},
        source_vintages=_vintages(tables[SOURCES.name]),
        seed=settings.seed,
        today=workspace.today(),
    )
    context.log.info(said.sentence)
    note_made(workspace, dg.AssetKey([FOLDER, "release"]))
    return dg.MaterializeResult(
        metadata={
            "release": said.release,
            "said": said.sentence,
            "content_hash": said.content_hash,
            "folder": dg.MetadataValue.path(str(said.place)),
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
        if table.folder not in ("chain", "risk"):
            continue
        for partition in workspace.partitions(table.name):
            if versions.held(key(table), partition) != versions.wanted(key(table), partition):
                named = f"table {table.name}" + (f" of {partition}" if partition else "")
                raise KetenpipeError(
                    f"{named} was not made of the sources, the catalogue and the settings as they are now, or did not "
                    "pass its checks, so it is not published as if it were; run 'ketenpipe run', or materialise what "
                    "is stale with its checks and publish again."
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
    changes = reader.read_table(workspace.place, CHANGES.name)
    yield made(CHANGES, changes, {"release": reader.latest(workspace.place).release})


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
    path = build_catalogue(workspace.place)
    note_made(workspace, dg.AssetKey([FOLDER, "catalogue"]))
    return dg.MaterializeResult(metadata={"path": dg.MetadataValue.path(str(path.resolve()))})
