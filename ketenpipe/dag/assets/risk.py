"""Group ``risk``: step two, concentration, governance, substitutability and the named methods."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
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
from ketenpipe.dag.resources import Workspace
from ketenpipe.dag.specs import asset_in, key, made, out, spec
from ketenpipe.observatory import reads
from ketenpipe.risk.definitions import INDICATORS as INDICATOR_DEFINITIONS
from ketenpipe.risk.definitions import METHODS as METHOD_DEFINITIONS
from ketenpipe.risk.direct import EU27
from ketenpipe.risk.facts import FACT_COLUMNS, Persistence, collect_facts
from ketenpipe.risk.governance import build_country_risk
from ketenpipe.risk.importers import build_importers
from ketenpipe.risk.indicators import WORST_COLUMNS, build_chain_indicators
from ketenpipe.risk.methods import Judgement
from ketenpipe.risk.nowcast import build_nowcast, nowcast_rows_for_indicators, splice_check
from ketenpipe.risk.product_tiers import build_product_tiers
from ketenpipe.risk.products import FLOW_COLUMNS, build_product_indicators
from ketenpipe.risk.shocks import read_supply_mix, standard_shocks
from ketenpipe.risk.streams import stream_indicators
from ketenpipe.risk.thresholds import load_thresholds
from ketenpipe.risk.world import Vintages, World, wgi_vintages
from ketenpipe.sources.icio import read_table
from ketenpipe.tables.contract import Table
from ketenpipe.tables.home import is_remote
from ketenpipe.tables.registry import (
    BACI_FLOWS,
    CHAIN_EDGES,
    CHAIN_INDICATORS,
    CHAIN_NODES,
    COUNTRY_RISK,
    EXPOSURE,
    FLAGS,
    GOVERNANCE,
    ICIO_ACCOUNTS,
    ICIO_AUDIT,
    IMPORTERS,
    INDICATORS,
    MINING_PRODUCTION,
    NOWCAST,
    NOWCAST_CHECK,
    ORIGIN_MIX,
    PRODUCT_INDICATORS,
    PRODUCT_JOIN,
    PRODUCT_TIERS,
    PRODUCT_USES,
    PRODUCTION,
    RECONCILED_ANNUAL,
    RECONCILED_MONTHLY,
    SHOCKS,
    SUPPLY_MIX,
    TIER_FLAGS,
    TIER_INDICATORS,
    TRACING,
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
    name="supply_risk",
    ins={t.name: asset_in(t) for t in (CHAIN_INDICATORS, CHAIN_NODES, NOWCAST)},
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
    deps=[
        key(t) for t in (BACI_FLOWS, COUNTRY_RISK, MINING_PRODUCTION, PRODUCT_INDICATORS, TIER_INDICATORS, TIER_FLAGS)
    ],
)
def supply_risk(
    context: dg.AssetExecutionContext,
    workspace: Workspace,
    chain_indicators: pa.Table,
    chain_nodes: pa.Table,
    nowcast: pa.Table,
) -> Iterator[dg.Output[Stream]]:
    """Every indicator and every named method's verdict, what needs several years among them."""
    store, worlds = workspace.store, Worlds(workspace)
    thresholds = load_thresholds(*workspace.reference_dirs)

    def narrow() -> Iterator[pa.Table]:
        for year in worlds.years:
            context.log.info(str(year))
            yield store.read(PRODUCT_INDICATORS, [str(year)], columns=FACT_COLUMNS)
        yield chain_indicators.select(FACT_COLUMNS)

    facts = collect_facts(narrow())
    persistent = Persistence(facts, thresholds, worlds.vintages)
    judged = Judgement(facts, chain_nodes, thresholds, worlds.vintages, workspace.minimum_import_kusd)
    late = nowcast_rows_for_indicators(nowcast, worlds.last_years())

    def products(year: int) -> pa.Table:
        return pa.concat_tables(store.read(t, [str(year)]) for t in (PRODUCT_INDICATORS, TIER_INDICATORS))

    figures = stream_indicators(worlds.years, products, [chain_indicators, judged.churn(), late], persistent)
    yield dg.Output(figures, output_name=INDICATORS.name, metadata={"nowcast rows": late.num_rows})

    def verdicts() -> Iterator[pa.RecordBatch]:
        for year in sorted({*worlds.years, *judged.years}):
            parts = [judged.flags(year)]
            if year in worlds.years:
                parts.append(store.read(TIER_FLAGS, [str(year)]))
            yield from FLAGS.conform(pa.concat_tables(parts)).combine_chunks().to_batches(max_chunksize=ROW_GROUP)

    yield dg.Output(Stream(verdicts()), output_name=FLAGS.name)


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

        def flows() -> Iterator[pa.RecordBatch]:
            for year in asked:
                held = self._workspace.flows_of(year)
                yield from held.to_batches() if isinstance(held, pa.Table) else held

        return build_product_indicators(self._world(BACI_FLOWS.empty(), tracing, nothing), flows())

    def chains(self, say: Callable[[str], None]) -> Iterator[World]:
        """Worlds with what the chains need, of a year each where years are large."""
        store, traced = self._store, self._workspace.traced_years()
        nodes, edges, exposure = (store.read(t) for t in (CHAIN_NODES, CHAIN_EDGES, EXPOSURE))
        for years in self.together(traced.years):
            say(", ".join(str(year) for year in years))
            asked = [str(year) for year in years]
            flows = store.read(BACI_FLOWS, asked, codes=self._workspace.catalogue_codes())
            seen = Exposure(nodes, edges, exposure.filter(pc.field("year").isin(years)))
            yield self._world(flows, joined([traced.of(year) for year in years]), seen)

    def _world(self, flows: pa.Table, tracing: Tracing, exposure: Exposure) -> World:
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
