"""Group ``chain``: step one, from flows to where things were made and through the chain."""

from collections.abc import Iterator

import dagster as dg
import pyarrow as pa

from ketenpipe.chain.industry import build_industry
from ketenpipe.chain.lookthrough import build_exposure
from ketenpipe.chain.tracing import Tracing, build_tracing
from ketenpipe.dag.resources import Workspace
from ketenpipe.dag.specs import asset_in, key, made, out
from ketenpipe.sources.hs_industries import REVISIONS, hs_industries
from ketenpipe.sources.icio import read_table
from ketenpipe.tables.registry import (
    BACI_FLOWS,
    CHAIN_EDGES,
    CHAIN_NODES,
    EXPOSURE,
    ICIO_ACCOUNTS,
    ICIO_AUDIT,
    INDUSTRY_COEFFICIENTS,
    INDUSTRY_EXPOSURE,
    INDUSTRY_MEASURES,
    INDUSTRY_TIERS,
    MINING_PRODUCTION,
    ORIGIN_MIX,
    PRODUCT_INDUSTRIES,
    PRODUCTION,
    SUPPLY_MIX,
    TRACING,
)


@dg.multi_asset(
    name="origin_tracing",
    ins={"baci_flows": asset_in(BACI_FLOWS), "mining_production": asset_in(MINING_PRODUCTION)},
    outs={
        PRODUCTION.name: out(
            PRODUCTION,
            "`p_k[i]`, the first that exists: an observed statistic of the same form, a cited producer list, the "
            "export proxy `max(0, exports - imports)`, which is a lower bound. Non-producers have `p = 0`; what "
            "they export beyond their imports is of unknown origin. Where exports exceed supply, `p` is raised "
            "to balance.",
            kinds=("python", "numpy"),
        ),
        ORIGIN_MIX.name: out(
            ORIGIN_MIX,
            "`O_k[j,c] = R[j,c] / x_j`, own production included, for the codes of the catalogue; rows sum to 1.",
            kinds=("python", "numpy"),
        ),
        TRACING.name: out(
            TRACING,
            "`Z[j,i] = X[i,j]`, `x = p + sum_i Z[j,i]`, `A = Z diag(1/x)`, `R = (I - A)^-1 diag(p)` (Kastner et "
            "al. 2011). Rows of `R` sum to `x`; `row_residual` says how closely. "
            "`imputed_share(f) = sum_c O[f,c] d_c`. Proportional mixing is an assumption.",
            kinds=("python", "numpy"),
        ),
        SUPPLY_MIX.name: out(
            SUPPLY_MIX,
            "Direct `s[i] = X[i,f] / sum_i X[i,f]` (a bloc: from outside, members summed), traced `x_0 = O_k[f,:]`.",
            kinds=("python", "duckdb"),
        ),
    },
)
def origin_tracing(
    context: dg.AssetExecutionContext, workspace: Workspace, baci_flows: pa.Table, mining_production: pa.Table
) -> Iterator[dg.Output[pa.Table]]:
    """Every product of every year traced to where it was made."""
    traced = build_tracing(
        baci_flows, mining_production, workspace.reference(), workspace.settings.foci, progress=context.log.info
    )
    yield made(PRODUCTION, traced.production)
    yield made(ORIGIN_MIX, traced.origin_mix)
    yield made(TRACING, traced.tracing)
    yield made(SUPPLY_MIX, traced.supply_mix)


@dg.multi_asset(
    name="look_through",
    ins={t.name: asset_in(t) for t in (PRODUCTION, ORIGIN_MIX, TRACING, SUPPLY_MIX, MINING_PRODUCTION)},
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
def look_through(
    workspace: Workspace,
    production: pa.Table,
    origin_mix: pa.Table,
    tracing: pa.Table,
    supply_mix: pa.Table,
    mining_production: pa.Table,
) -> Iterator[dg.Output[pa.Table]]:
    """Every group of the catalogue seen through its tiers."""
    settings = workspace.settings
    seen = build_exposure(
        Tracing(production, origin_mix, tracing, supply_mix),
        mining_production,
        workspace.reference(),
        settings.foci,
        settings.depth,
    )
    yield made(CHAIN_NODES, seen.chain_nodes)
    yield made(CHAIN_EDGES, seen.chain_edges)
    yield made(EXPOSURE, seen.exposure)


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
