"""Group ``risk``: step two, concentration, governance, substitutability and the named methods."""

from collections.abc import Iterator

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from ketenpipe.chain.lookthrough import Exposure
from ketenpipe.chain.tracing import Tracing
from ketenpipe.dag.resources import Workspace
from ketenpipe.dag.specs import asset_in, made, out
from ketenpipe.risk.definitions import INDICATORS as INDICATOR_DEFINITIONS
from ketenpipe.risk.definitions import METHODS as METHOD_DEFINITIONS
from ketenpipe.risk.governance import build_country_risk
from ketenpipe.risk.indicators import World, build_indicators
from ketenpipe.risk.methods import build_flags
from ketenpipe.risk.thresholds import load_thresholds
from ketenpipe.tables.registry import (
    BACI_FLOWS,
    CHAIN_EDGES,
    CHAIN_NODES,
    COUNTRY_RISK,
    EXPOSURE,
    FLAGS,
    GOVERNANCE,
    INDICATORS,
    INPUT_FILES,
    MINING_PRODUCTION,
    ORIGIN_MIX,
    PRODUCTION,
    SUPPLY_MIX,
    TRACING,
)


@dg.multi_asset(
    name="governance_risk",
    ins={"governance": asset_in(GOVERNANCE)},
    outs={
        COUNTRY_RISK.name: out(
            COUNTRY_RISK,
            "G1 `= clip((2.5 - estimate)/5, 0, 1)`; the mean of six dimensions in years that hold all six, else "
            "political stability. A country without a score stays null.",
        )
    },
)
def governance_risk(workspace: Workspace, governance: pa.Table) -> Iterator[dg.Output[pa.Table]]:
    """Governance risk per country and year."""
    yield made(COUNTRY_RISK, build_country_risk(governance, workspace.wgi_dimension))


@dg.multi_asset(
    name="supply_risk",
    ins={
        t.name: asset_in(t)
        for t in (
            BACI_FLOWS, MINING_PRODUCTION, INPUT_FILES, COUNTRY_RISK,
            PRODUCTION, ORIGIN_MIX, TRACING, SUPPLY_MIX, CHAIN_NODES, CHAIN_EDGES, EXPOSURE,
        )
    },
    outs={
        INDICATORS.name: out(
            INDICATORS,
            "\n".join(f"- {i} {d.name_en}: `{d.formula}` ({d.source})" for i, d in INDICATOR_DEFINITIONS.items()),
            kinds=("python", "duckdb"),
        ),
        FLAGS.name: out(
            FLAGS,
            "\n".join(f"- {m}: `{d.formula}` ({d.source})" for m, d in METHOD_DEFINITIONS.items())
            + "\n\nComparisons are strict. `flagged` is null where the verdict cannot be told; each verdict is tried "
            "under the alternatives that the data allow.",
            kinds=("python",),
        ),
    },
)  # fmt: skip
def supply_risk(
    context: dg.AssetExecutionContext,
    workspace: Workspace,
    baci_flows: pa.Table,
    mining_production: pa.Table,
    input_files: pa.Table,
    country_risk: pa.Table,
    production: pa.Table,
    origin_mix: pa.Table,
    tracing: pa.Table,
    supply_mix: pa.Table,
    chain_nodes: pa.Table,
    chain_edges: pa.Table,
    exposure: pa.Table,
) -> Iterator[dg.Output[pa.Table]]:
    """Every indicator and every named method's verdict."""
    mined = input_files.filter(pc.equal(input_files.column("source"), "mining")).column("vintage").drop_null()
    world = World(
        flows=baci_flows,
        tracing=Tracing(production, origin_mix, tracing, supply_mix),
        exposure=Exposure(chain_nodes, chain_edges, exposure),
        mining=mining_production,
        country_risk=country_risk,
        reference=workspace.reference(),
        foci=workspace.settings.foci,
        thresholds=load_thresholds(*workspace.reference_dirs),
        production_vintage="; ".join(sorted(set(mined.to_pylist()))) or None,
    )
    flags, indicators = build_flags(world, build_indicators(world, context.log.info), workspace.minimum_import_kusd)
    yield made(INDICATORS, indicators)
    flagged = pc.sum(pc.cast(pc.fill_null(flags.column("flagged"), False), "int64")).as_py()
    yield made(FLAGS, flags, {"flagged": flagged or 0, "cannot be told": flags.column("flagged").null_count})
