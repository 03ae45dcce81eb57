"""Group ``risk``: step two, concentration, governance, substitutability and the named methods."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import dagster as dg
import narwhals.stable.v2 as nw
import pyarrow as pa
import pyarrow.compute as pc

from ketenpipe.chain.engine import DUCKDB, Engine, open_engine, opened
from ketenpipe.chain.flows import flow_frame
from ketenpipe.chain.lookthrough import Exposure
from ketenpipe.chain.proportional import build_uses, recipe_year
from ketenpipe.chain.steps import ChainYear
from ketenpipe.chain.tracing import Tracing, focus_members
from ketenpipe.dag.io import write_parts
from ketenpipe.dag.partitions import BACI
from ketenpipe.dag.resources import WINDOW, Workspace
from ketenpipe.dag.specs import asset_in, key, made, out, spec
from ketenpipe.observatory import reads
from ketenpipe.risk.agreement import AGREEMENT_COLUMNS, build_agreement, build_differences
from ketenpipe.risk.alternatives import Inputs as AlternativeInputs
from ketenpipe.risk.alternatives import build_alternatives, newest_years
from ketenpipe.risk.chain_draws import build_chain_draws
from ketenpipe.risk.criticality import Inputs as CriticalityOptions
from ketenpipe.risk.criticality import build_criticality, criticality_codes
from ketenpipe.risk.criticality_draws import build_criticality_draws
from ketenpipe.risk.definitions import INDICATORS as INDICATOR_DEFINITIONS
from ketenpipe.risk.definitions import METHODS as METHOD_DEFINITIONS
from ketenpipe.risk.direct import EU27
from ketenpipe.risk.draws import Draws
from ketenpipe.risk.facts import FACT_COLUMNS, Persistence, collect_facts
from ketenpipe.risk.governance import build_country_risk
from ketenpipe.risk.importers import build_importers
from ketenpipe.risk.indicators import WORST_COLUMNS, build_chain_indicators
from ketenpipe.risk.industries import build_industry_indicators
from ketenpipe.risk.industry_draws import build_industry_draws, product_verdicts
from ketenpipe.risk.methods import Judgement
from ketenpipe.risk.network import build_network_indicators
from ketenpipe.risk.nowcast import build_nowcast, nowcast_rows_for_indicators, splice_check
from ketenpipe.risk.product_draws import build_product_draws, product_noise, single_year_verdicts
from ketenpipe.risk.product_tiers import build_product_tiers
from ketenpipe.risk.products import FLOW_COLUMNS, build_product_indicators
from ketenpipe.risk.published import build_named_methods, with_frozen_limits
from ketenpipe.risk.robustness import FLAG_COLUMNS, robustness_stream
from ketenpipe.risk.shocks import read_supply_mix, standard_shocks
from ketenpipe.risk.streams import stream_indicators
from ketenpipe.risk.substitutability import (
    FIGURE_COLUMNS,
    FIGURE_INDICATORS,
    MIX_COLUMNS,
    PRODUCTION_COLUMNS,
    TRACING_COLUMNS,
    build_substitutability,
)
from ketenpipe.risk.substitution_settings import load_substitution_settings
from ketenpipe.risk.thresholds import load_thresholds
from ketenpipe.risk.uncertainty import load_uncertainty
from ketenpipe.risk.world import Vintages, World, wgi_vintages
from ketenpipe.sources.criticality_inputs import load_criticality_inputs
from ketenpipe.sources.icio import read_table
from ketenpipe.tables.contract import Table
from ketenpipe.tables.home import is_remote
from ketenpipe.tables.registry import (
    ALTERNATIVES,
    BACI_FLOWS,
    CHAIN_EDGES,
    CHAIN_INDICATORS,
    CHAIN_NODES,
    COUNTRY_RISK,
    CRITICALITY_INDICATORS,
    DRAWN_VERDICTS,
    ELASTICITY,
    EXPOSURE,
    FLAGS,
    GOVERNANCE,
    HS_WEIGHTS,
    ICIO_ACCOUNTS,
    ICIO_AUDIT,
    IMPORTERS,
    INDICATORS,
    INDUSTRY_EXPOSURE,
    INDUSTRY_INDICATORS,
    INDUSTRY_MEASURES,
    INDUSTRY_TIERS,
    METHOD_AGREEMENT,
    METHOD_DIFFERENCES,
    MINING_PRODUCTION,
    NAMED_METHODS,
    NETWORK_INDICATORS,
    NOWCAST,
    NOWCAST_CHECK,
    ORIGIN_MIX,
    PRODUCT_INDICATORS,
    PRODUCT_INDUSTRIES,
    PRODUCT_JOIN,
    PRODUCT_TIERS,
    PRODUCT_USES,
    PRODUCTION,
    RECONCILED_ANNUAL,
    RECONCILED_MONTHLY,
    ROBUSTNESS,
    SHOCKS,
    SUBSTITUTABILITY,
    SUPPLY_MIX,
    TIER_FLAGS,
    TIER_INDICATORS,
    TRACING,
    UNCERTAINTY,
)
from ketenpipe.tables.store import ROW_GROUP
from ketenpipe.tables.stream import Stream

#: Flows of years that are dealt with at once.
ROWS_TOGETHER = 1_000_000
#: What DuckDB may use before it goes to disk, where every importer is compared.
ENGINE_MEMORY = "1GB"
#: What the indicative tiers read; any year's input-output table may be the one that a year of trade takes.
TIERED_FROM = (SUPPLY_MIX, TRACING, ICIO_ACCOUNTS, ICIO_AUDIT)
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
    ins={NOWCAST.name: asset_in(NOWCAST)},
    outs={
        NOWCAST_CHECK.name: out(
            NOWCAST_CHECK,
            "For the years that both hold: reconciled annual reports beside BACI, indicator by indicator.",
        )
    },
    deps=[key(INDICATORS)],
)
def nowcast_check(workspace: Workspace, nowcast: pa.Table) -> Iterator[dg.Output[pa.Table]]:
    """How far the nowcast can be trusted before BACI comes out."""
    beside = workspace.store.read(INDICATORS, filters=reads.nowcast_check(nowcast))
    yield made(NOWCAST_CHECK, splice_check(nowcast, beside, load_thresholds(*workspace.reference_dirs)))


@dg.multi_asset(
    name="shocks",
    outs={
        SHOCKS.name: out(
            SHOCKS,
            "A country stops exporting a node: what share of the focus's supply of each group is cut. For every focus "
            "and node the largest foreign country, all of its exports, in the newest year. Ranking only: without "
            "substitution an upper bound, with what others sell elsewhere (S2) as relief a lower one.",
            kinds=("python", "numpy"),
        )
    },
    deps=[key(t) for t in (CHAIN_NODES, CHAIN_EDGES, EXPOSURE, PRODUCTION, ORIGIN_MIX, SUPPLY_MIX)],
)
def shocks(workspace: Workspace) -> Iterator[dg.Output[pa.Table]]:
    """The standard set of scenarios."""
    store = workspace.store
    if not store.rows(EXPOSURE):
        yield made(SHOCKS, SHOCKS.empty())
        return
    seen = ChainYear.read(store)
    reference = workspace.reference()
    members = {f: focus_members(reference, f, [seen.year])[seen.year] for f in workspace.settings.foci}
    yield made(SHOCKS, standard_shocks(seen, members, read_supply_mix(store, seen.year)))


@dg.multi_asset(
    name="product_risk",
    specs=[
        spec(
            PRODUCT_INDICATORS,
            "Level hs6 of what `indicators` lists: direct figures, world production, the plane of the traced supply.",
            kinds=("python", "duckdb"),
            deps=(BACI_FLOWS, MINING_PRODUCTION, COUNTRY_RISK, TRACING, SUPPLY_MIX),
        )
    ],
    partitions_def=BACI.definition,
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def product_risk(context: dg.AssetExecutionContext, workspace: Workspace) -> Iterator[dg.MaterializeResult[Any]]:
    """The figures of every HS6 code, one year after the other."""
    with opened(workspace.settings.engine) as engine:
        worlds = Worlds(workspace, engine)
        for years in worlds.together(int(year) for year in context.partition_keys):
            context.log.info(", ".join(str(year) for year in years))
            found = worlds.products(years)
            for year in years:
                own = found.filter(pc.field("year") == year)
                write_parts(context, workspace, str(year), {PRODUCT_INDICATORS: own})
    yield dg.MaterializeResult(asset_key=key(PRODUCT_INDICATORS))


@dg.multi_asset(
    name="importers",
    specs=[
        spec(
            IMPORTERS,
            "C1, C2, C4a, C5 and S1 by value of every importer and product, with the largest supplier and the rank of "
            "the importer by C1 among those of the product. Sums of decimals, so exact.",
            kinds=("python", "duckdb"),
            deps=(BACI_FLOWS,),
        )
    ],
    partitions_def=BACI.definition,
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def importers(context: dg.AssetExecutionContext, workspace: Workspace) -> Iterator[dg.MaterializeResult[Any]]:
    """Every importer beside every other, one year after the other."""
    store, reference = workspace.store, workspace.reference()
    for year in context.partition_keys:
        context.log.info(year)
        union = pa.table({"country": sorted(reference.bloc_members(EU27, int(year)))})
        with _engine(workspace.settings.engine) as engine:
            if is_remote(workspace.home):
                held = engine.frame("flows", store.read(BACI_FLOWS, [year], columns=FLOW_COLUMNS))
            else:
                held = engine.parquet([store.path(BACI_FLOWS, year)])
            flows = flow_frame(held)
            if workspace.settings.chosen_products == "catalogue":
                flows = flows.filter(nw.col("code").is_in(sorted(workspace.catalogue_codes())))
            revisions = {r for (r,) in store.distinct(BACI_FLOWS, ("hs_revision",), year)}
            found = build_importers(engine, flows, engine.frame("union_members", union), revisions, int(year))
            write_parts(context, workspace, year, {IMPORTERS: found})
    yield dg.MaterializeResult(asset_key=key(IMPORTERS))


def _engine(name: str) -> Engine:
    """The engine of the settings; sums of decimals are the same on several threads."""
    return Engine(threads=2, memory_limit=ENGINE_MEMORY) if name == DUCKDB else open_engine(name)


@dg.multi_asset(
    name="product_tiers",
    specs=[
        spec(
            PRODUCT_USES,
            "`w[(c,p)->(f,j)] = Z[(c,ind(p)),(f,j)] * M_{f,c,p} / sum_{p' in ind} M_{f,c,p'}`: foreign blocks by "
            "import proportionality; whole USD, which sum back to Z. The largest edges, and the rest as one.",
            kinds=("python", "numpy"),
            deps=TIERED_FROM,
        ),
        spec(
            PRODUCT_JOIN,
            "How much of the imports and of the foreign inputs could be joined, and why the rest could not.",
            kinds=("python", "numpy"),
            deps=TIERED_FROM,
        ),
        spec(
            PRODUCT_TIERS,
            "`y_0` at the traced makers of the product, `y_n = A^n y_0`, each as shares of its own sum. Indicative: "
            "all products of an industry share one recipe. A product with a recipe in the catalogue is left out.",
            kinds=("python", "numpy"),
            deps=TIERED_FROM,
        ),
        spec(
            TIER_INDICATORS,
            "O1, G2, T and hidden exposure of tiers 1 and 2 of every HS6 code, basis icio_proportional.",
            kinds=("python", "numpy"),
            deps=(*TIERED_FROM, COUNTRY_RISK),
        ),
        spec(
            TIER_FLAGS,
            "What T indicates there; it never flags.",
            kinds=("python", "numpy"),
            deps=(*TIERED_FROM, COUNTRY_RISK),
        ),
    ],
    partitions_def=BACI.definition,
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def product_tiers(context: dg.AssetExecutionContext, workspace: Workspace) -> Iterator[dg.MaterializeResult[Any]]:
    """What goes into every HS6 code, by the recipe of its industry, one year after the other."""
    store, reference, held = workspace.store, workspace.reference(), workspace.icio_years()
    thresholds = load_thresholds(*workspace.reference_dirs)
    worlds = Worlds(workspace)
    table, read = None, None
    for year in context.partition_keys:
        context.log.info(year)
        wanted = recipe_year(held, int(year))
        if wanted is None:  # without an input-output table there is no recipe
            empty = (PRODUCT_USES, PRODUCT_JOIN, PRODUCT_TIERS, TIER_INDICATORS, TIER_FLAGS)
            write_parts(context, workspace, year, {t: t.empty() for t in empty})
            continue
        if wanted != read:
            table, read = None, None  # one table in memory at a time
            table, read = read_table(held[wanted]), wanted
        assert table is not None
        mix = store.read(SUPPLY_MIX, [year])
        uses = build_uses(mix, table, reference, int(year))
        tiers = build_product_tiers(
            int(year),
            mix,
            store.read(TRACING, [year]),
            table,
            reference,
            worlds.risk_of(int(year)),
            thresholds,
            worlds.vintages,
        )
        write_parts(
            context,
            workspace,
            year,
            {
                PRODUCT_USES: uses.product_uses,
                PRODUCT_JOIN: uses.product_join,
                PRODUCT_TIERS: tiers.product_tiers,
                TIER_INDICATORS: TIER_INDICATORS.conform(tiers.indicators),
                TIER_FLAGS: TIER_FLAGS.conform(tiers.flags),
            },
        )
    for made_table in (PRODUCT_USES, PRODUCT_JOIN, PRODUCT_TIERS, TIER_INDICATORS, TIER_FLAGS):
        yield dg.MaterializeResult(asset_key=key(made_table))


@dg.multi_asset(
    name="chain_risk",
    outs={
        CHAIN_INDICATORS.name: out(
            CHAIN_INDICATORS,
            "Levels node and group of what `indicators` lists; nodes on the sum of their codes' flows.",
            kinds=("python", "duckdb"),
        )
    },
    deps=[
        key(t)
        for t in (
            BACI_FLOWS, MINING_PRODUCTION, COUNTRY_RISK, PRODUCTION, ORIGIN_MIX, TRACING, SUPPLY_MIX, CHAIN_NODES,
            CHAIN_EDGES, EXPOSURE, PRODUCT_INDICATORS,
        )
    ],
)  # fmt: skip
def chain_risk(context: dg.AssetExecutionContext, workspace: Workspace) -> Iterator[dg.Output[pa.Table]]:
    """The figures of nodes, groups and chains, a year in memory at a time."""
    store, reference = workspace.store, workspace.reference()

    def products(years: list[int]) -> pa.Table:
        asked = [str(year) for year in years]
        return store.read(PRODUCT_INDICATORS, asked, columns=WORST_COLUMNS, filters=reads.worst_codes(reference))

    with opened(workspace.settings.engine) as engine:
        worlds = Worlds(workspace, engine)
        yield made(CHAIN_INDICATORS, build_chain_indicators(worlds.chains(context.log.info), products))


@dg.multi_asset(
    name="criticality",
    specs=[
        spec(
            CRITICALITY_INDICATORS,
            "Trade elasticity, recycling and substitution (S3, S4), import reliance, GeoPolRisk (G4), the EC's supply "
            "risk (G5) and economic importance (EI) of what `indicators` lists. Optional inputs that are not there "
            "leave null with the reason.",
            kinds=("python", "numpy"),
            deps=(
                BACI_FLOWS, MINING_PRODUCTION, COUNTRY_RISK, TRACING, CHAIN_NODES, ELASTICITY, HS_WEIGHTS,
                ICIO_ACCOUNTS, PRODUCT_USES,
            ),
        )
    ],
    partitions_def=BACI.definition,
    backfill_policy=dg.BackfillPolicy.single_run(),
)  # fmt: skip
def criticality(context: dg.AssetExecutionContext, workspace: Workspace) -> Iterator[dg.MaterializeResult[Any]]:
    """What studies of critical raw materials compute, one year after the other."""
    store, worlds = workspace.store, Worlds(workspace)
    nodes, elasticity, weights = (store.read(t) for t in (CHAIN_NODES, ELASTICITY, HS_WEIGHTS))
    for year in context.partition_keys:
        context.log.info(year)
        world, options = worlds.criticality(int(year), nodes)
        options = replace(options, elasticity=elasticity, hs_weights=weights)
        write_parts(context, workspace, year, {CRITICALITY_INDICATORS: build_criticality(world, int(year), options)})
    yield dg.MaterializeResult(asset_key=key(CRITICALITY_INDICATORS))


@dg.multi_asset(
    name="export_network",
    specs=[
        spec(
            NETWORK_INDICATORS,
            "S5 of what `indicators` lists: how unequal the exporters of a product are in its trade network, and how "
            "clustered that network is (after Korniyenko, Pinat and Dew 2017).",
            kinds=("python", "scipy"),
            deps=(BACI_FLOWS, CHAIN_NODES),
        )
    ],
    partitions_def=BACI.definition,
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def export_network(context: dg.AssetExecutionContext, workspace: Workspace) -> Iterator[dg.MaterializeResult[Any]]:
    """The network of every product's world trade, one year after the other."""
    worlds, nodes = Worlds(workspace), workspace.store.read(CHAIN_NODES)
    for year in context.partition_keys:
        context.log.info(year)
        found = build_network_indicators(
            int(year), worlds.flows(year), workspace.settings.foci, nodes, workspace.reference(), worlds.vintages
        )
        write_parts(context, workspace, year, {NETWORK_INDICATORS: found})
    yield dg.MaterializeResult(asset_key=key(NETWORK_INDICATORS))


@dg.multi_asset(
    name="industry_risk",
    ins={t.name: asset_in(t) for t in (INDUSTRY_EXPOSURE, INDUSTRY_TIERS, INDUSTRY_MEASURES, COUNTRY_RISK)},
    outs={
        INDUSTRY_INDICATORS.name: out(
            INDUSTRY_INDICATORS,
            "Level industry of what `indicators` lists: I1 to I6 of every industry of the focus.",
            kinds=("python", "numpy"),
        )
    },
    deps=[dg.AssetDep(key(ICIO_ACCOUNTS), partition_mapping=dg.AllPartitionMapping())],
)
def industry_risk(
    workspace: Workspace,
    industry_exposure: pa.Table,
    industry_tiers: pa.Table,
    industry_measures: pa.Table,
    country_risk: pa.Table,
) -> Iterator[dg.Output[pa.Table]]:
    """The figures of industries."""
    years = [str(year) for year in workspace.icio_years()]
    named = [pair for year in years for pair in workspace.store.distinct(ICIO_ACCOUNTS, ("year", "vintage"), year)]
    editions = dict(named)
    found = build_industry_indicators(industry_exposure, industry_tiers, industry_measures, country_risk, editions)
    yield made(INDUSTRY_INDICATORS, found)


#: Figures by year that ``indicators`` is put together from, beside those by the recipes of industries.
OF_YEARS = (PRODUCT_INDICATORS, CRITICALITY_INDICATORS, NETWORK_INDICATORS)


@dg.multi_asset(
    name="supply_risk",
    ins={t.name: asset_in(t) for t in (CHAIN_INDICATORS, CHAIN_NODES, NOWCAST, INDUSTRY_INDICATORS)},
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
        NAMED_METHODS.name: out(
            NAMED_METHODS, "Published methods with the limits of their publication, frozen by version."
        ),
        METHOD_DIFFERENCES.name: out(
            METHOD_DIFFERENCES, "Where methods disagree in the newest year, each figure against its limit."
        ),
    },
    deps=[
        key(t)
        for t in (
            BACI_FLOWS, COUNTRY_RISK, MINING_PRODUCTION, *OF_YEARS, TIER_INDICATORS, TIER_FLAGS, PRODUCT_INDUSTRIES,
        )
    ],
)  # fmt: skip
def supply_risk(
    context: dg.AssetExecutionContext,
    workspace: Workspace,
    chain_indicators: pa.Table,
    chain_nodes: pa.Table,
    nowcast: pa.Table,
    industry_indicators: pa.Table,
) -> Iterator[dg.Output[Stream | pa.Table]]:
    """Every indicator and every named method's verdict, what needs several years among them."""
    store, worlds = workspace.store, Worlds(workspace)
    thresholds = load_thresholds(*workspace.reference_dirs)
    methods = workspace.settings.methods

    def narrow() -> Iterator[pa.Table]:
        upstream = [chain_indicators.select(FACT_COLUMNS)]
        for year in worlds.years:
            context.log.info(str(year))
            critical = store.read(CRITICALITY_INDICATORS, [str(year)], columns=FACT_COLUMNS)
            of_code = pc.equal(critical.column("level"), "hs6")
            products = store.read(PRODUCT_INDICATORS, [str(year)], columns=FACT_COLUMNS)
            yield pa.concat_tables([products, critical.filter(of_code)])
            upstream.append(critical.filter(pc.invert(of_code)))
        yield pa.concat_tables(upstream)
        yield industry_indicators.select(FACT_COLUMNS)

    facts = collect_facts(narrow())
    persistent = Persistence(facts, thresholds, worlds.vintages)
    judged = Judgement(
        facts,
        chain_nodes,
        thresholds,
        worlds.vintages,
        workspace.minimum_import_kusd,
        methods=methods,
        product_industries=store.read(PRODUCT_INDUSTRIES),
    )
    late = nowcast_rows_for_indicators(nowcast, worlds.last_years())

    def products(year: int) -> pa.Table:
        return pa.concat_tables(store.read(t, [str(year)]) for t in (*OF_YEARS, TIER_INDICATORS))

    parts = [chain_indicators, industry_indicators, judged.churn(), late]
    figures = stream_indicators(worlds.years, products, parts, persistent)
    yield dg.Output(figures, output_name=INDICATORS.name, metadata={"nowcast rows": late.num_rows})

    def verdicts() -> Iterator[pa.RecordBatch]:
        for year in sorted({*worlds.years, *judged.years}):
            parts = [judged.flags(year)]
            if year in worlds.years and "node_test" in judged.methods:
                parts.append(store.read(TIER_FLAGS, [str(year)]))
            yield from FLAGS.conform(pa.concat_tables(parts)).combine_chunks().to_batches(max_chunksize=ROW_GROUP)

    yield dg.Output(Stream(verdicts()), output_name=FLAGS.name)
    yield made(NAMED_METHODS, build_named_methods(thresholds, methods))
    yield made(METHOD_DIFFERENCES, build_differences(judged))


@dg.multi_asset(
    name="method_agreement",
    outs={
        METHOD_AGREEMENT.name: out(
            METHOD_AGREEMENT,
            "Jaccard `= flagged_by_both / (flagged_by_both + only_a + only_b)` of each pair of named methods, per "
            "focus, level and year.",
            kinds=("python", "numpy"),
        )
    },
    deps=[key(FLAGS)],
)
def method_agreement(workspace: Workspace) -> Iterator[dg.Output[pa.Table]]:
    """How far the named methods flag the same."""
    yield made(METHOD_AGREEMENT, build_agreement(_flags_by_year(workspace, AGREEMENT_COLUMNS)))


def _flags_by_year(workspace: Workspace, columns: Sequence[str]) -> Iterator[pa.Table]:
    for year in _flag_years(workspace):
        yield _flags_of(workspace, year, columns)


def _flag_years(workspace: Workspace) -> list[int]:
    return sorted(year for (year,) in workspace.store.distinct(FLAGS, ("year",)))


def _flags_of(workspace: Workspace, year: int, columns: Sequence[str]) -> pa.Table:
    return workspace.store.read(FLAGS, columns=columns, filters=pc.field("year") == year)


@dg.multi_asset(
    name="monte_carlo",
    outs={
        UNCERTAINTY.name: out(
            UNCERTAINTY,
            "Flows, production, governance scores, intensities and input-output tables off by the errors of "
            "`uncertainty.toml`, every code traced anew in every draw; the newest year of each HS revision, group and "
            "table. Of criticality IR, G4, G5 and G5s, of industries I1, I2 and I4.",
            kinds=("python", "numpy", "scipy"),
        ),
        DRAWN_VERDICTS.name: out(
            DRAWN_VERDICTS, "The tests of the named methods in the same draws.", kinds=("python", "numpy", "scipy")
        ),
    },
    deps=[
        key(t)
        for t in (
            BACI_FLOWS, TRACING, MINING_PRODUCTION, COUNTRY_RISK, PRODUCT_INDICATORS, CHAIN_INDICATORS, CHAIN_NODES,
            ICIO_ACCOUNTS, PRODUCT_USES, INDUSTRY_INDICATORS, PRODUCT_INDUSTRIES,
        )
    ],
)  # fmt: skip
def monte_carlo(context: dg.AssetExecutionContext, workspace: Workspace) -> Iterator[dg.Output[pa.Table]]:
    """How sure the figures of the newest year are."""
    store, settings, reference = workspace.store, workspace.settings, workspace.reference()
    if not settings.draws:
        yield made(UNCERTAINTY, UNCERTAINTY.empty())
        yield made(DRAWN_VERDICTS, DRAWN_VERDICTS.empty())
        return
    worlds = Worlds(workspace)
    thresholds = load_thresholds(*workspace.reference_dirs)
    model = load_uncertainty(*workspace.reference_dirs)
    mining, risk, nodes = (store.read(t) for t in (MINING_PRODUCTION, COUNTRY_RISK, CHAIN_NODES))
    noise = product_noise(settings.draws, settings.seed, model)
    uncertain, drawn, layers = [], [], {}
    industries, recipes, tables = (
        store.read(INDUSTRY_INDICATORS),
        store.read(PRODUCT_INDUSTRIES),
        workspace.icio_years(),
    )
    for year in sorted(newest_years(worlds.vintages.releases)):
        context.log.info(f"products {year}")
        window = with_frozen_limits(thresholds).P1.window
        before = [y for y in range(year - 1, year - window, -1) if y in worlds.years]
        found = build_product_draws(
            worlds.flows(str(year)),
            year,
            tracing=store.read(TRACING, [str(year)]),
            mining=mining,
            country_risk=risk,
            reference=reference,
            foci=settings.foci,
            thresholds=thresholds,
            noise=noise,
            earlier=[
                single_year_verdicts(store.read(PRODUCT_INDICATORS, [str(y)], columns=FACT_COLUMNS), thresholds)
                for y in before
            ],
        )
        context.log.info(f"criticality {year}")
        critical = build_criticality_draws(*worlds.criticality(year, nodes), year, noise)
        uncertain += [found.uncertainty, critical.uncertainty]
        drawn += [found.verdicts, critical.verdicts]
        wanted = recipe_year(tables, year)
        if wanted is None:
            continue
        if wanted not in layers:
            context.log.info(f"industries {wanted}")
            layers[wanted] = build_industry_draws(
                read_table(tables[wanted]), reference, settings.foci, industries, model, noise.draws
            )
            uncertain.append(layers[wanted].uncertainty)
            drawn.append(layers[wanted].verdicts)
        # Every code and focus has one verdict of a method on imports.
        codes = found.verdicts.filter(pc.equal(found.verdicts.column("method"), "cbs"))
        drawn.append(product_verdicts(layers[wanted], codes, recipes))
    del noise  # the chains make one of their own
    chains = build_chain_draws(
        lambda year: store.read(BACI_FLOWS, [str(year)], codes=workspace.catalogue_codes()),
        chain_nodes=nodes,
        chain_indicators=store.read(CHAIN_INDICATORS),
        mining=mining,
        country_risk=risk,
        reference=reference,
        foci=settings.foci,
        thresholds=thresholds,
        model=model,
        draws=Draws(settings.draws, settings.seed),
        progress=context.log.info,
    )
    yield made(UNCERTAINTY, UNCERTAINTY.conform(pa.concat_tables([*uncertain, chains.uncertainty])))
    yield made(DRAWN_VERDICTS, DRAWN_VERDICTS.conform(pa.concat_tables([*drawn, chains.verdicts])))


@dg.multi_asset(
    name="alternatives",
    outs={
        ALTERNATIVES.name: out(
            ALTERNATIVES,
            "The newest year judged again from other inputs: three years as one, the other measure, the direct mix, "
            "exports for production, scores a standard error off, other intensities, no patches, another HS revision.",
            kinds=("python", "duckdb"),
        )
    },
    deps=[
        key(t)
        for t in (
            BACI_FLOWS, TRACING, SUPPLY_MIX, PRODUCTION, ORIGIN_MIX, MINING_PRODUCTION, COUNTRY_RISK,
            PRODUCT_INDICATORS, CHAIN_INDICATORS, CHAIN_NODES, CRITICALITY_INDICATORS, ICIO_ACCOUNTS, PRODUCT_USES,
        )
    ],
)  # fmt: skip
def alternatives(context: dg.AssetExecutionContext, workspace: Workspace) -> Iterator[dg.Output[pa.Table]]:
    """Each verdict under what else its inputs could have been."""
    store, settings, nodes = workspace.store, workspace.settings, workspace.store.read(CHAIN_NODES)
    with opened(settings.engine) as engine:
        worlds = Worlds(workspace, engine)

        def flows(year: int, codes: Collection[str] | None) -> pa.Table:
            chosen = workspace.catalogue_codes() if codes is None and settings.products == "catalogue" else codes
            return store.read(BACI_FLOWS, [str(year)], codes=chosen)

        def whole(year: int) -> tuple[pa.Table, pa.Table]:
            return store.read(TRACING, [str(year)]), store.read(SUPPLY_MIX, [str(year)])

        inputs = AlternativeInputs(
            reference=workspace.reference(),
            foci=settings.foci,
            thresholds=load_thresholds(*workspace.reference_dirs),
            country_risk=store.read(COUNTRY_RISK),
            mining=store.read(MINING_PRODUCTION),
            depth=settings.depth,
            minimum_import_kusd=settings.minimum_import_kusd,
            traced=workspace.traced_years(),
            vintages=worlds.vintages,
            flows=flows,
            products=lambda year: store.read(PRODUCT_INDICATORS, [str(year)], columns=FACT_COLUMNS),
            chain_indicators=store.read(CHAIN_INDICATORS, columns=FACT_COLUMNS),
            chain_nodes=nodes,
            assumed_error=load_uncertainty(*workspace.reference_dirs).governance.standard_error,
            critical=lambda year: store.read(CRITICALITY_INDICATORS, [str(year)], columns=FACT_COLUMNS),
            critical_world=lambda year: worlds.criticality(year, nodes),
            whole=whole,
            engine=engine,
            methods=settings.methods,
        )
        yield made(ALTERNATIVES, build_alternatives(inputs, context.log.info))


@dg.multi_asset(
    name="robustness",
    ins={t.name: asset_in(t) for t in (ALTERNATIVES, DRAWN_VERDICTS)},
    outs={
        ROBUSTNESS.name: out(
            ROBUSTNESS,
            "A verdict is robust where no alternative turns it and the share of draws that give the same one reaches "
            "the cut-off; why it is or is not, in a sentence.",
        )
    },
    deps=[key(FLAGS)],
)
def robustness(workspace: Workspace, alternatives: pa.Table, drawn_verdicts: pa.Table) -> Iterator[dg.Output[Stream]]:
    """Which verdicts survive."""
    found = robustness_stream(
        _flag_years(workspace),
        lambda year: _flags_of(workspace, year, FLAG_COLUMNS),
        lambda year: drawn_verdicts.filter(pc.field("year") == year),
        alternatives,
        load_thresholds(*workspace.reference_dirs),
    )
    yield dg.Output(found, output_name=ROBUSTNESS.name)


@dg.multi_asset(
    name="substitutability",
    specs=[
        spec(
            SUBSTITUTABILITY,
            "Domestic, supplier, product and time side of how easily the focus could replace its supply, and the mean "
            "of their scores with its range under other weights (`substitutability.toml`).",
            kinds=("python", "numpy"),
            deps=(
                SUPPLY_MIX, TRACING, BACI_FLOWS, PRODUCTION, COUNTRY_RISK, CHAIN_NODES, PRODUCT_INDICATORS,
                CRITICALITY_INDICATORS, CHAIN_INDICATORS,
            ),
            years_before=WINDOW,
        )
    ],
    partitions_def=BACI.definition,
    backfill_policy=dg.BackfillPolicy.single_run(),
)  # fmt: skip
def substitutability(context: dg.AssetExecutionContext, workspace: Workspace) -> Iterator[dg.MaterializeResult[Any]]:
    """How easily a supply could be replaced, one year after the other."""
    store, settings, reference = workspace.store, workspace.settings, workspace.reference()
    worlds = Worlds(workspace)
    thresholds = load_thresholds(*workspace.reference_dirs)
    limits = load_substitution_settings(*workspace.reference_dirs)
    nodes, risk, chains = (store.read(t) for t in (CHAIN_NODES, COUNTRY_RISK, CHAIN_INDICATORS))
    wanted = pc.field("indicator").isin(FIGURE_INDICATORS)
    for name in context.partition_keys:
        year = int(name)
        context.log.info(name)
        window = [y for y in worlds.years if year - WINDOW <= y <= year]
        seen = [store.read(PRODUCT_INDICATORS, [str(y)], columns=FACT_COLUMNS) for y in window]
        seen.append(chains.filter(pc.field("year").isin(window)).select(FACT_COLUMNS))
        persistent = Persistence(collect_facts(seen), thresholds, worlds.vintages).rows(year)
        figures = [
            *(store.read(t, [name], filters=wanted) for t in (PRODUCT_INDICATORS, CRITICALITY_INDICATORS)),
            chains.filter(wanted & (pc.field("year") == year)),
            persistent.filter(wanted),
        ]
        found = build_substitutability(
            year,
            settings.foci,
            {y: store.read(SUPPLY_MIX, [str(y)], columns=MIX_COLUMNS) for y in window},
            store.read(TRACING, [name], columns=TRACING_COLUMNS),
            worlds.flows(name),
            pa.concat_tables(t.select(FIGURE_COLUMNS) for t in figures),
            store.read(PRODUCTION, [name], columns=PRODUCTION_COLUMNS),
            risk,
            nodes,
            reference,
            limits,
            worlds.vintages,
            persistence_window=thresholds.P1.window,
            partners=settings.partners,
            draws=settings.draws,
            seed=settings.seed,
        )
        write_parts(context, workspace, name, {SUBSTITUTABILITY: found})
    yield dg.MaterializeResult(asset_key=key(SUBSTITUTABILITY))


def joined(parts: Sequence[Tracing]) -> Tracing:
    """Step one of several years as one."""
    names = ("production", "origin_mix", "tracing", "supply_mix")
    return Tracing(*(pa.concat_tables([getattr(part, name) for part in parts]) for name in names))


class Worlds:
    """What the figures of each year are made of, read from the store when it is asked for."""

    def __init__(self, workspace: Workspace, engine: Callable[[], AbstractContextManager[Engine]] = Engine) -> None:
        self._engine = engine
        store = workspace.store
        self._workspace, self._store = workspace, store
        self.years = [int(str(p)) for p in workspace.partitions(PRODUCT_INDICATORS.name)]
        self._mining, self._risk = store.read(MINING_PRODUCTION), store.read(COUNTRY_RISK)
        self._thresholds = load_thresholds(*workspace.reference_dirs)
        mined = self._mining.column("vintage").drop_null()
        held = [
            (*row, year)
            for year in self.years
            for row in store.distinct(BACI_FLOWS, ("hs_revision", "release"), str(year))
        ]
        self._revisions = sorted({(year, revision) for revision, _, year in held})
        self.vintages = Vintages(
            {(revision, year): release for revision, release, year in held},
            wgi_vintages(self._risk),
            "; ".join(sorted(set(mined.to_pylist()))) or None,
        )

    def last_years(self) -> dict[str, int]:
        """The last year of BACI per HS revision."""
        return {revision: year for year, revision in self._revisions}

    def risk_of(self, year: int) -> dict[str, float]:
        """Governance risk per country that has a score in the year."""
        rows = self._risk.filter((pc.field("year") == year) & pc.field("risk").is_valid())
        return dict(zip(rows.column("country").to_pylist(), rows.column("risk").to_pylist(), strict=True))

    def together(self, years: Iterable[int]) -> Iterator[list[int]]:
        """Years that are dealt with at once: one by one where they are large; asking has a price of its own."""
        held: list[int] = []
        rows = 0
        for year in years:
            more = self._store.rows(BACI_FLOWS, str(year))
            if held and rows + more > ROWS_TOGETHER:
                yield held
                held, rows = [], 0
            held.append(year)
            rows += more
        if held:
            yield held

    def products(self, years: list[int]) -> pa.Table:
        """The figures of every HS6 code of some years."""
        asked = [str(year) for year in years]
        nothing = Exposure(CHAIN_NODES.empty(), CHAIN_EDGES.empty(), EXPOSURE.empty())
        mixes = (self._store.read(t, asked) for t in (TRACING, SUPPLY_MIX))
        tracing = Tracing(PRODUCTION.empty(), ORIGIN_MIX.empty(), *mixes)

        flows = (batch for year in asked for batch in self.flows(year))
        return build_product_indicators(self.world(BACI_FLOWS.empty(), tracing, nothing), flows)

    def flows(self, year: str) -> Iterator[pa.RecordBatch]:
        """The flows of a year, of the products that are computed, a batch at a time."""
        held = self._workspace.flows_of(year)
        yield from held.to_batches() if isinstance(held, pa.Table) else held

    def chains(self, say: Callable[[str], None]) -> Iterator[World]:
        """Worlds with what the chains need, of a year each where years are large."""
        store, traced = self._store, self._workspace.traced_years()
        nodes, edges, exposure = (store.read(t) for t in (CHAIN_NODES, CHAIN_EDGES, EXPOSURE))
        for years in self.together(traced.years):
            say(", ".join(str(year) for year in years))
            asked = [str(year) for year in years]
            flows = store.read(BACI_FLOWS, asked, codes=self._workspace.catalogue_codes())
            seen = Exposure(nodes, edges, exposure.filter(pc.field("year").isin(years)))
            yield self.world(flows, joined([traced.of(year) for year in years]), seen)

    def criticality(self, year: int, nodes: pa.Table) -> tuple[World, CriticalityOptions]:
        """What the criticality of a year is made of, but for elasticities; nodes: table ``chain_nodes``."""
        store, workspace, reference = self._store, self._workspace, self._workspace.reference()
        wanted = recipe_year(workspace.icio_years(), year)
        flows = store.read(BACI_FLOWS, [str(year)], codes=criticality_codes(reference))
        tracing = Tracing(PRODUCTION.empty(), ORIGIN_MIX.empty(), store.read(TRACING, [str(year)]), SUPPLY_MIX.empty())
        world = self.world(flows, tracing, Exposure(nodes, CHAIN_EDGES.empty(), EXPOSURE.empty()))
        options = CriticalityOptions(
            # A home without mining statistics knows no material by name; the parameters name more than any run uses.
            parameters=load_criticality_inputs(*workspace.reference_dirs, nodes=set(reference.nodes)),
            accounts=None if wanted is None else store.read(ICIO_ACCOUNTS, [str(wanted)]),
            uses=store.read(PRODUCT_USES, [str(year)]),
        )
        return world, options

    def world(self, flows: pa.Table, tracing: Tracing, exposure: Exposure) -> World:
        """What step one and the sources give for figures."""
        workspace = self._workspace
        return World(
            flows=flows,
            tracing=tracing,
            exposure=exposure,
            mining=self._mining,
            country_risk=self._risk,
            reference=workspace.reference(),
            foci=workspace.settings.foci,
            thresholds=self._thresholds,
            production_vintage=self.vintages.production,
            releases=self.vintages.releases,
            engine=self._engine,
        )
