"""Group ``risk``: step two, concentration, governance, substitutability and the named methods."""

from collections.abc import Iterator

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from ketenpipe.chain.lookthrough import Exposure
from ketenpipe.chain.tracing import Tracing
from ketenpipe.dag.resources import Workspace
from ketenpipe.dag.specs import asset_in, key, made, out
from ketenpipe.risk.definitions import INDICATORS as INDICATOR_DEFINITIONS
from ketenpipe.risk.definitions import METHODS as METHOD_DEFINITIONS
from ketenpipe.risk.governance import build_country_risk
from ketenpipe.risk.indicators import World, build_indicators
from ketenpipe.risk.methods import build_flags
from ketenpipe.risk.nowcast import build_nowcast, last_years, nowcast_rows_for_indicators, splice_check
from ketenpipe.risk.thresholds import load_thresholds
from ketenpipe.tables.contract import Table
from ketenpipe.tables.registry import (
    BACI_FLOWS,
    CHAIN_EDGES,
    CHAIN_NODES,
    COUNTRY_RISK,
    EXPOSURE,
    FLAGS,
    GOVERNANCE,
    INDICATORS,
    MINING_PRODUCTION,
    NOWCAST,
    NOWCAST_CHECK,
    ORIGIN_MIX,
    PRODUCTION,
    RECONCILED_ANNUAL,
    RECONCILED_MONTHLY,
    SUPPLY_MIX,
    TRACING,
)

#: Windows of each frequency that are kept: a year back and the same month of the year before.
NOWCAST_WINDOWS = 13


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
    name="nowcast",
    ins={"country_risk": asset_in(COUNTRY_RISK)},
    outs={
        NOWCAST.name: out(
            NOWCAST,
            "The direct indicators over flows summed over twelve months, `X_W[i,j] = sum_{t in W} X_t[i,j]`; a window "
            "that lacks a month is null with its reason, never a smaller sum.",
            kinds=("python", "duckdb"),
        )
    },
    deps=[key(RECONCILED_ANNUAL), key(RECONCILED_MONTHLY)],
)
def nowcast(
    context: dg.AssetExecutionContext, workspace: Workspace, country_risk: pa.Table
) -> Iterator[dg.Output[pa.Table]]:
    """Twelve months of reconciled reports, month by month."""
    store = workspace.store

    def parts(table: Table) -> Iterator[pa.Table] | None:
        held = [str(p) for p in workspace.partitions(table.name)]
        return (store.read(table, [p]) for p in held) if held else None

    found = build_nowcast(
        parts(RECONCILED_MONTHLY),
        parts(RECONCILED_ANNUAL),
        country_risk,
        workspace.reference(),
        workspace.settings.foci,
        load_thresholds(*workspace.reference_dirs),
        reported=workspace.datasets().select(["period", "reporter"]),
        newest=NOWCAST_WINDOWS,
        progress=context.log.info,
    )
    yield made(NOWCAST, found)


@dg.multi_asset(
    name="nowcast_check",
    ins={t.name: asset_in(t) for t in (NOWCAST, INDICATORS)},
    outs={
        NOWCAST_CHECK.name: out(
            NOWCAST_CHECK,
            "For the years that both hold: reconciled annual reports beside BACI, indicator by indicator.",
        )
    },
)
def nowcast_check(workspace: Workspace, nowcast: pa.Table, indicators: pa.Table) -> Iterator[dg.Output[pa.Table]]:
    """How far the nowcast can be trusted before BACI comes out."""
    yield made(NOWCAST_CHECK, splice_check(nowcast, indicators, load_thresholds(*workspace.reference_dirs)))


@dg.multi_asset(
    name="supply_risk",
    ins={
        t.name: asset_in(t)
        for t in (
            BACI_FLOWS, MINING_PRODUCTION, COUNTRY_RISK,
            PRODUCTION, ORIGIN_MIX, TRACING, SUPPLY_MIX, CHAIN_NODES, CHAIN_EDGES, EXPOSURE, NOWCAST,
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
    country_risk: pa.Table,
    production: pa.Table,
    origin_mix: pa.Table,
    tracing: pa.Table,
    supply_mix: pa.Table,
    chain_nodes: pa.Table,
    chain_edges: pa.Table,
    exposure: pa.Table,
    nowcast: pa.Table,
) -> Iterator[dg.Output[pa.Table]]:
    """Every indicator and every named method's verdict."""
    mined = mining_production.column("vintage").drop_null()
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
    late = nowcast_rows_for_indicators(nowcast, last_years(baci_flows))
    yield made(INDICATORS, INDICATORS.conform(pa.concat_tables([indicators, late])), {"nowcast rows": late.num_rows})
    flagged = pc.sum(pc.cast(pc.fill_null(flags.column("flagged"), False), "int64")).as_py()
    yield made(FLAGS, flags, {"flagged": flagged or 0, "cannot be told": flags.column("flagged").null_count})
