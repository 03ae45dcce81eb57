"""Group ``chain``: step one, from flows to where things were made and through the chain."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pyarrow as pa

from ketenpipe.chain.industry import build_industry
from ketenpipe.chain.lookthrough import build_exposure
from ketenpipe.chain.paths import build_paths
from ketenpipe.chain.steps import ChainYear
from ketenpipe.chain.supply_graph import YearTables, build_graph_measures, build_supply_graph
from ketenpipe.chain.tracing import trace_year
from ketenpipe.dag.io import refuse_stale_release, write_parts
from ketenpipe.dag.partitions import BACI
from ketenpipe.dag.resources import Workspace
from ketenpipe.dag.specs import asset_in, key, made, out, spec
from ketenpipe.sources.hs_industries import REVISIONS, hs_industries
from ketenpipe.sources.icio import read_table
from ketenpipe.tables.registry import (
    BACI_FLOWS,
    CHAIN_EDGES,
    CHAIN_NODES,
    EXPOSURE,
    GRAPH_EDGES,
    GRAPH_MEASURES,
    GRAPH_NODES,
    ICIO_ACCOUNTS,
    ICIO_AUDIT,
    INDUSTRY_COEFFICIENTS,
    INDUSTRY_EXPOSURE,
    INDUSTRY_MEASURES,
    INDUSTRY_TIERS,
    MINING_PRODUCTION,
    ORIGIN_MIX,
    PATHS,
    PRODUCT_INDUSTRIES,
    PRODUCTION,
    SUPPLY_MIX,
    TRACING,
)

#: What step one reads.
TRACED_FROM = (BACI_FLOWS, MINING_PRODUCTION)


@dg.multi_asset(
    name="origin_tracing",
    specs=[
        spec(
            PRODUCTION,
            "`p_k[i]`, the first that exists: an observed statistic of the same form, a cited producer list, the "
            "export proxy `max(0, exports - imports)`, which is a lower bound. Non-producers have `p = 0`; what "
            "they export beyond their imports is of unknown origin. Where exports exceed supply, `p` is raised "
            "to balance. Kept for the codes of the catalogue.",
            kinds=("python", "numpy"),
            deps=TRACED_FROM,
        ),
        spec(
            ORIGIN_MIX,
            "`O_k[j,c] = R[j,c] / x_j`, own production included, for the codes of the catalogue; rows sum to 1. Of "
            "other codes the rows of the foci are kept (supply_mix), the rest can be computed again.",
            kinds=("python", "numpy"),
            deps=TRACED_FROM,
        ),
        spec(
            TRACING,
            "`Z[j,i] = X[i,j]`, `x = p + sum_i Z[j,i]`, `A = Z diag(1/x)`, `R = (I - A)^-1 diag(p)` (Kastner et "
            "al. 2011). `row_residual` bounds the errors of the row of the focus. "
            "`imputed_share(f) = sum_c O[f,c] d_c`. Proportional mixing is an assumption.",
            kinds=("python", "numpy"),
            deps=TRACED_FROM,
        ),
        spec(
            SUPPLY_MIX,
            "Direct `s[i] = X[i,f] / sum_i X[i,f]` (a bloc: from outside, members summed), traced `x_0 = O_k[f,:]`.",
            kinds=("python", "duckdb"),
            deps=TRACED_FROM,
        ),
    ],
    partitions_def=BACI.definition,
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def origin_tracing(context: dg.AssetExecutionContext, workspace: Workspace) -> Iterator[dg.MaterializeResult[Any]]:
    """Every product traced to where it was made, one year after the other."""
    years = list(context.partition_keys)
    refuse_stale_release(workspace, years)
    mining, reference = workspace.store.read(MINING_PRODUCTION), workspace.reference()
    for year in years:
        context.log.info(year)
        traced = trace_year(workspace.flows_of(year), mining, reference, workspace.settings.foci, int(year))
        write_parts(
            context,
            workspace,
            year,
            {
                PRODUCTION: traced.production,
                ORIGIN_MIX: traced.origin_mix,
                TRACING: traced.tracing,
                SUPPLY_MIX: traced.supply_mix,
            },
        )
    for table in (PRODUCTION, ORIGIN_MIX, TRACING, SUPPLY_MIX):
        yield dg.MaterializeResult(asset_key=key(table))


@dg.multi_asset(
    name="look_through",
    ins={MINING_PRODUCTION.name: asset_in(MINING_PRODUCTION)},
    deps=[key(t) for t in (PRODUCTION, ORIGIN_MIX, TRACING, SUPPLY_MIX)],
    outs={
        CHAIN_NODES.name: out(
            CHAIN_NODES,
            "The nodes of the catalogue with the tier, path and weight they have in this run. Path weight = "
            "product over edges of 1 where essential, else the intensity; null where an intensity is empty.",
            kinds=("python", "networkx"),
        ),
        CHAIN_EDGES.name: out(
            CHAIN_EDGES, "The edges of the catalogue, experts' amendments included.", kinds=("python", "networkx")
        ),
        EXPOSURE.name: out(
            EXPOSURE,
            "`x_0 = O_k[f,:]` at tier 0; `x_n(m) = x_(n-1)(k) @ O_m` for an input `m` of `k`. A node that no "
            "code isolates takes the world production mix, the same vector for every country; a dashed step "
            "passes its users' vector through. Each vector sums to 1 with `UNK`.",
            kinds=("python", "networkx"),
        ),
    },
)
def look_through(workspace: Workspace, mining_production: pa.Table) -> Iterator[dg.Output[pa.Table]]:
    """Every group of the catalogue seen through its tiers."""
    settings = workspace.settings
    seen = build_exposure(
        workspace.traced_years(), mining_production, workspace.reference(), settings.foci, settings.depth
    )
    yield made(CHAIN_NODES, seen.chain_nodes)
    yield made(CHAIN_EDGES, seen.chain_edges)
    yield made(EXPOSURE, seen.exposure)


#: What walks through the chains of a year.
WALKED = (CHAIN_NODES, CHAIN_EDGES, EXPOSURE, PRODUCTION, ORIGIN_MIX)


@dg.multi_asset(
    name="paths",
    outs={
        PATHS.name: out(
            PATHS,
            "`x_n[c]` is the sum over all sequences of countries that end in `c` of the product of their steps. The "
            "largest are found best first, until they explain 95 % of the node's supply or there are 1,000; no path "
            "that is left out is larger than `bound`, and `residual` says what they are together. Newest year.",
            kinds=("python", "numpy"),
        )
    },
    deps=[key(t) for t in WALKED],
)
def paths(workspace: Workspace) -> Iterator[dg.Output[pa.Table]]:
    """Through which countries each exposure runs."""
    seen = workspace.store.rows(EXPOSURE) > 0
    yield made(PATHS, build_paths(ChainYear.read(workspace.store)) if seen else PATHS.empty())


@dg.multi_asset(
    name="supply_graph",
    ins={t.name: asset_in(t) for t in (CHAIN_NODES, CHAIN_EDGES, EXPOSURE)},
    outs={
        GRAPH_NODES.name: out(
            GRAPH_NODES,
            "Places: nodes of the chain by country, with the share of the node's supply that is made there, of the "
            "newest year. A node on the world production mix is the same for every country.",
            kinds=("python", "networkx"),
        ),
        GRAPH_EDGES.name: out(
            GRAPH_EDGES,
            "Flows between places: `w_u x_u[c] O_m[c,c']` from an input made in c' to a user made in c. What flows out "
            "of a place is its share; what flows of an input is 1.",
            kinds=("python", "networkx"),
        ),
        GRAPH_MEASURES.name: out(
            GRAPH_MEASURES,
            "Bottlenecks: the share of all flow that passes a place or a country, articulation points, the smallest "
            "cuts between producers and the focus.",
            kinds=("python", "networkx"),
        ),
    },
    deps=[key(t) for t in (PRODUCTION, ORIGIN_MIX, SUPPLY_MIX)],
)
def supply_graph(
    workspace: Workspace, chain_nodes: pa.Table, chain_edges: pa.Table, exposure: pa.Table
) -> Iterator[dg.Output[pa.Table]]:
    """The supply graph of every focus and group, and where it is narrow."""
    traced = workspace.traced_years()

    def of(year: int) -> YearTables:
        tables = traced.of(year)
        return YearTables(tables.production, tables.origin_mix, tables.supply_mix)

    graph = build_supply_graph(chain_nodes, chain_edges, exposure, of)
    yield made(GRAPH_NODES, graph.graph_nodes)
    yield made(GRAPH_EDGES, graph.graph_edges)
    yield made(GRAPH_MEASURES, build_graph_measures(graph.graph_nodes, graph.graph_edges))


@dg.multi_asset(
    name="industry_layer",
    outs={
        INDUSTRY_EXPOSURE.name: out(
            INDUSTRY_EXPOSURE,
            "`FV[c->j] = sum_{i in c} Z_ij / sum_i Z_ij`, `FIR[c->j] = sum_{i in c}(L-I)_ij / sum_i (L-I)_ij` with "
            "`L = (I - A)^-1`, `FMR` with the Ghosh inverse, `hidden_ratio` = foreign FIR/FV where FIR >= 0.01. "
            "What rests on a synthetic table says `basis = synthetic` and never flags.",
            kinds=("python", "scipy"),
        ),
        INDUSTRY_TIERS.name: out(
            INDUSTRY_TIERS,
            "Shares of `A, A^2, ...` in the look-through of a country; the tail as tier -1.",
            kinds=("python", "scipy"),
        ),
        INDUSTRY_MEASURES.name: out(
            INDUSTRY_MEASURES,
            "Upstreamness `U = G 1`, downstreamness `L' 1`, average propagation length, concentration of the foreign "
            "content, partial hypothetical extraction (the supplier's side and the user's side; ranks only).",
            kinds=("python", "scipy"),
        ),
        INDUSTRY_COEFFICIENTS.name: out(
            INDUSTRY_COEFFICIENTS,
            "Inverse-important coefficients: elasticity of the foreign share of look-through to `a_ij`, best first "
            "with a certified bound.",
            kinds=("python", "scipy"),
        ),
    },
    deps=[key(ICIO_ACCOUNTS), key(ICIO_AUDIT)],
)
def industry_layer(workspace: Workspace) -> Iterator[dg.Output[pa.Table]]:
    """The input-output tables of the sources, looked through."""
    files = workspace.icio_years().values()
    # One table in memory at a time: of real size each is 130 MB, and there are up to thirty.
    layer = build_industry((read_table(file) for file in files), workspace.reference(), workspace.settings.foci)
    yield made(INDUSTRY_EXPOSURE, layer.industry_exposure, {"synthetic": any(f.synthetic for f in files)})
    yield made(INDUSTRY_TIERS, layer.industry_tiers)
    yield made(INDUSTRY_MEASURES, layer.industry_measures)
    yield made(INDUSTRY_COEFFICIENTS, layer.industry_coefficients)


@dg.multi_asset(
    name="product_industries",
    outs={
        PRODUCT_INDUSTRIES.name: out(
            PRODUCT_INDUSTRIES,
            "From `hs_icio.csv` of the reference data: one industry of the OECD's 2025 edition per HS6 code, by ISIC "
            "Rev.3 or by a reviewed rule.",
        )
    },
)
def product_industries() -> Iterator[dg.Output[pa.Table]]:
    """The industry of every HS6 code, in every HS revision that the list knows."""
    tables, unmapped = [], {}
    for revision in REVISIONS:
        found = hs_industries(revision)
        edition = pa.array([found.edition] * found.table.num_rows, pa.string())
        tables.append(found.table.append_column("edition", edition))
        unmapped[revision] = " ".join(found.unmapped) or "none"
    yield made(PRODUCT_INDUSTRIES, PRODUCT_INDUSTRIES.conform(pa.concat_tables(tables)), {"unmapped": unmapped})
