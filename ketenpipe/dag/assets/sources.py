"""Group ``sources``: what is fetched and archived, native files read and refused, as tables."""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from datetime import timedelta

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from ketenpipe.dag.io import ByPartition
from ketenpipe.dag.partitions import BACI, COMTRADE_MONTHS, COMTRADE_YEARS, ICIO, Scheme
from ketenpipe.dag.resources import BY, Workspace, months_to
from ketenpipe.dag.specs import key, made, out
from ketenpipe.errors import InputRefused, QuotaExhausted, UpstreamFailed
from ketenpipe.sources.archive import Archive
from ketenpipe.sources.baci import BaciYear, known_codes, read_year_batches
from ketenpipe.sources.comtrade import ComtradePeriod, read_period
from ketenpipe.sources.concordance import read_concordances
from ketenpipe.sources.countries import country_list
from ketenpipe.sources.coverage import coverage, coverage_table, trade_weights
from ketenpipe.sources.elasticity import read_elasticity
from ketenpipe.sources.hs_weights import ambiguity, weights_into, world_trade
from ketenpipe.sources.icio import survey
from ketenpipe.sources.icio_audit import audit_table, icio_accounts, read_and_audit
from ketenpipe.sources.mining import read_mining
from ketenpipe.sources.official import fetch_official
from ketenpipe.sources.places import Inventory
from ketenpipe.sources.reconciliation import apply, estimate, to_revision
from ketenpipe.sources.records import SourceRecord
from ketenpipe.sources.wgi import read_wgi
from ketenpipe.tables.contract import Table
from ketenpipe.tables.registry import (
    ARCHIVE,
    BACI_FLOWS,
    COMTRADE_ANNUAL,
    COMTRADE_MONTHLY,
    ELASTICITY,
    GOVERNANCE,
    HS_WEIGHTS,
    ICIO_ACCOUNTS,
    ICIO_AUDIT,
    INPUT_FILES,
    MARGINS_ANNUAL,
    MARGINS_MONTHLY,
    MINING_PRODUCTION,
    RECONCILED_ANNUAL,
    RECONCILED_MONTHLY,
    RELIABILITY_ANNUAL,
    RELIABILITY_MONTHLY,
    REPORTING_COVERAGE,
)
from ketenpipe.tables.stream import Stream

#: Tables that carry the records of the files they were read from.
RECORDED = (
    BACI_FLOWS, GOVERNANCE, MINING_PRODUCTION, ICIO_ACCOUNTS, HS_WEIGHTS, ELASTICITY, COMTRADE_ANNUAL,
    COMTRADE_MONTHLY,
)  # fmt: skip
#: How often and after how long (seconds) a fetch is tried again when an upstream failed in a way that passes. Only
#: where Dagster itself started the run: who runs the command sees the sentence at once.
RETRIES, PAUSE = 3, 900
#: Where a table keeps the records of its files, in its Parquet metadata.
RECORDS = b"ketenpipe.records"


@dg.multi_asset(
    name="archive",
    outs={
        ARCHIVE.name: out(
            ARCHIVE,
            "The official sources: first fetches what changed upstream (nothing is ever overwritten, a changed file is "
            "a new vintage). A drop folder or the sample: the files as they lie there.",
            kinds=("python",),
            freshness_policy=dg.FreshnessPolicy.time_window(
                fail_window=timedelta(days=40), warn_window=timedelta(days=33)
            ),
        )
    },
)
def archive(context: dg.AssetExecutionContext, workspace: Workspace) -> Iterator[dg.Output[pa.Table]]:
    """Fetch, where the sources are the official ones, and list what is held."""
    said: list[str] = []
    if workspace.official and workspace.fetch:
        try:
            fetched = fetch_official(
                workspace.folder,
                workspace.upstreams(),
                workspace.comtrade_key(),
                workspace.codes_to_ask,
                progress=_Told(context.log.info),
                tell=context.log.info,
            )
            workspace.look_again()
            fetched.raise_if_failed()
        except UpstreamFailed as error:
            if worth_trying_again(error) and BY not in context.run.tags:
                raise dg.RetryRequested(max_retries=RETRIES, seconds_to_wait=PAUSE) from error
            raise
        said = fetched.sentences
    yield made(ARCHIVE, ARCHIVE.conform(_held(workspace)), {"fetched": said, "folder": str(workspace.sources_dir)})


def worth_trying_again(error: UpstreamFailed) -> bool:
    """Whether it may pass within the hour. A day's quota does not: the sensor or the next run goes on with the rest."""
    return error.passing and not isinstance(error, QuotaExhausted)


def _held(workspace: Workspace) -> Iterator[dict[str, object]]:
    """The rows of the table: the whole archive with what is read of it, or the files of a folder."""
    read = {f.relative: f for f in workspace.inventory().files}
    if not workspace.official:
        for file in read.values():
            yield {
                "source": file.source, "file": file.relative, "current": True, "sha256": file.sha256,
                "bytes": file.bytes, "vintage": file.release or file.sidecar.release,
                "licence": file.sidecar.licence, "producer": file.sidecar.producer, "url": file.sidecar.url,
                "retrieved_at": file.sidecar.retrieved_at,
            }  # fmt: skip
        return
    for kept in Archive(workspace.folder).files():
        yield {
            "source": kept.source, "file": kept.relative, "slot": kept.slot, "current": kept.relative in read,
            "vintage": kept.vintage, "sha256": kept.sha256, "bytes": kept.bytes, "licence": kept.sidecar.licence,
            "producer": kept.sidecar.producer, "url": kept.sidecar.url, "retrieved_at": kept.retrieved_at,
        }  # fmt: skip


class _Told:
    """Progress of a fetch as sentences, at most one a second."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self.slot, self.count, self.last = "", 0, 0.0
        self.total: int | None = None

    def start(self, slot: str, total_bytes: int | None) -> None:
        """A slot begins."""
        self.slot, self.total, self.count = slot, total_bytes, 0
        self.say(slot)

    def advance(self, count: int) -> None:
        """More of it is there."""
        self.count += count
        now = time.monotonic()
        if now - self.last >= 1.0:
            self.last = now
            part = f" ({self.count / self.total:.0%})" if self.total else ""
            self.say(f"{self.slot}: {self.count:,}{part}")

    def done(self, slot: str, sentence: str) -> None:
        """A slot is finished."""
        self.say(f"{slot}: {sentence}")


@dg.multi_asset(
    name="flows",
    outs={
        BACI_FLOWS.name: out(
            BACI_FLOWS,
            "Read as it is: `t,i,j,k,v,q`, `v` in thousand USD, `q` in tonnes, `k` a string of six. Refused: a damaged "
            "file, a missing column, text for a number, an unknown country or product, a negative value, a repeated "
            "`(t,i,j,k)`, an empty year. Numeric country codes become ISO3 by the release's own list (490 is TWN).",
            kinds=("python", "csv"),
        )
    },
    partitions_def=BACI.definition,
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=[key(ARCHIVE)],
)
def flows(context: dg.AssetExecutionContext, workspace: Workspace) -> Iterator[dg.Output[ByPartition]]:
    """BACI, one year after the other."""
    yield dg.Output(_years(context, workspace), output_name=BACI_FLOWS.name)


def _years(context: dg.AssetExecutionContext, workspace: Workspace) -> ByPartition:
    inventory = workspace.inventory()
    held = workspace.baci_years()
    for year in context.partition_keys:
        if int(year) not in held:
            raise InputRefused(f"the sources hold no BACI flows of {year}", path=inventory.root)
        context.log.info(year)
        records: list[SourceRecord] = []
        metadata: dict[bytes, bytes] = {}
        yield year, Stream(_flows_of(held[int(year)], inventory, records, metadata), metadata)
        context.add_asset_metadata(
            {
                "dagster/partition_row_count": workspace.store.rows(BACI_FLOWS, year),
                "release": ", ".join(sorted({r.vintage for r in records})),
                "files": ", ".join(r.path for r in records),
            },
            asset_key=key(BACI_FLOWS),
            partition_key=year,
        )


def _flows_of(
    files: list[BaciYear], inventory: Inventory, records: list[SourceRecord], metadata: dict[bytes, bytes]
) -> Iterator[pa.RecordBatch]:
    """The rows of a year, one HS revision after the other (so in key order), with the records of their files."""
    for item in sorted(files, key=lambda f: f.hs_revision):
        countries, codes = country_list(inventory, item.release), known_codes(inventory, item.hs_revision)
        batches, record = read_year_batches(item, countries, codes)
        records.append(record)
        yield from batches
        del batches  # and with them the year's arrays, before the next revision is read
    metadata[RECORDS] = json.dumps([asdict(r) for r in records]).encode()


@dg.multi_asset(
    name="governance",
    outs={
        GOVERNANCE.name: out(
            GOVERNANCE,
            "Read as it is, the vintage declared per year range in the file's sidecar; a year in two vintages is "
            "refused. Missing scores stay null.",
            kinds=("python", "csv"),
        )
    },
    deps=[key(ARCHIVE)],
)
def governance(workspace: Workspace) -> Iterator[dg.Output[pa.Table]]:
    """Governance scores of every file."""
    read = read_wgi(workspace.inventory())
    scores = GOVERNANCE.conform(read.table.rename_columns({"iso3": "country"}))
    without = pc.sum(pc.and_(scores["estimate"].is_valid(), scores["standard_error"].is_null())).as_py() or 0
    told = {"years": _span(scores), "without_standard_error": without, "notes": list(read.notes)}
    yield made(GOVERNANCE, with_records(scores, read.records), told)


@dg.multi_asset(
    name="elasticities",
    outs={
        ELASTICITY.name: out(
            ELASTICITY,
            "Optional. Read as it is; what the source calls not significant, or positive, counts as unknown.",
            kinds=("python", "csv"),
        )
    },
    deps=[key(ARCHIVE)],
)
def elasticities(workspace: Workspace) -> Iterator[dg.Output[pa.Table]]:
    """Trade elasticities of the products, where the sources hold them."""
    read = read_elasticity(workspace.inventory())
    yield made(ELASTICITY, with_records(read.table, read.records), {"notes": list(read.notes)})


@dg.multi_asset(
    name="mining",
    outs={
        MINING_PRODUCTION.name: out(
            MINING_PRODUCTION,
            "Read as it is. Total rows are not countries and are left out; a listed country without a figure "
            "stays null.",
            kinds=("python", "csv"),
        )
    },
    deps=[key(ARCHIVE)],
)
def mining(workspace: Workspace) -> Iterator[dg.Output[pa.Table]]:
    """Production by material, country and year."""
    read = read_mining(workspace.inventory())
    produced = MINING_PRODUCTION.conform(read.table.rename_columns({"iso3": "country", "quantity_tonnes": "tonnes"}))
    yield made(
        MINING_PRODUCTION, with_records(produced, read.records), {"years": _span(produced), "notes": list(read.notes)}
    )


@dg.multi_asset(
    name="input_output",
    outs={
        ICIO_ACCOUNTS.name: out(
            ICIO_ACCOUNTS,
            "Read as it is, split countries folded (CN1, CN2 into CHN; MX1, MX2 into MEX). Final demand is "
            "`OUT - Z 1`.",
            kinds=("python", "csv"),
        ),
        ICIO_AUDIT.name: out(
            ICIO_AUDIT,
            "Rows `Z 1 + Y 1 = OUT`, columns `1'Z + TLS + VA = OUT`, value added, negative entries, zero output, "
            "transposition, unit, spectral radius of `A = Z diag(1/x)` below 1. What would make every figure wrong "
            "blocks; what an expert should know warns.",
            kinds=("python", "numpy"),
        ),
    },
    partitions_def=ICIO.definition,
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=[key(ARCHIVE)],
)
def input_output(context: dg.AssetExecutionContext, workspace: Workspace) -> Iterator[dg.Output[ByPartition]]:
    """The accounts and the audit of every table, one year after the other."""
    held = workspace.icio_years()
    accounts: list[tuple[str, pa.Table]] = []
    audits: list[tuple[str, pa.Table]] = []
    for year in context.partition_keys:
        if int(year) not in held:
            raise InputRefused(f"the sources hold no input-output table of {year}", path=workspace.sources_dir)
        context.log.info(year)
        table, findings = read_and_audit(held[int(year)])
        accounts.append((year, with_records(icio_accounts(table), [table.record])))
        audits.append((year, audit_table(table, findings)))
    yield dg.Output(iter(accounts), output_name=ICIO_ACCOUNTS.name)
    yield dg.Output(iter(audits), output_name=ICIO_AUDIT.name)


@dg.multi_asset(
    name="concordances",
    outs={
        HS_WEIGHTS.name: out(
            HS_WEIGHTS,
            "`w[a,b] = V_b / sum_{b' of a} V_b'` by world trade `V` of the target codes where it is known, else "
            "evenly; the weights of a code sum to 1, so a conversion keeps the value. Towards BACI's newest revision.",
            kinds=("python", "csv"),
        )
    },
    deps=[key(ARCHIVE), key(BACI_FLOWS)],
)
def concordances(workspace: Workspace) -> Iterator[dg.Output[pa.Table]]:
    """Weights that carry reports in any HS revision to that of BACI."""
    read = read_concordances(workspace.inventory())
    target, year = workspace.newest_baci()
    columns = ["hs_revision", "year", "code", "value_kusd"]
    trade = world_trade(workspace.store.read(BACI_FLOWS, [str(year)], columns=columns), target)
    found = weights_into(target, read.table, trade)
    table = HS_WEIGHTS.conform(pa.concat_tables([HS_WEIGHTS.empty(), *(w.table for w in found)]))
    unsure = [a for w in found for a in ambiguity(w).to_pylist() if a["ambiguity"] > 0]
    yield made(
        HS_WEIGHTS,
        with_records(table, read.records),
        {
            "notes": list(read.notes),
            "towards": target,
            "codes without a target": {w.from_revision: list(w.without_target) for w in found},
            "codes that rest on splits": len({a["code"] for a in unsure}),
        },
    )


def _reports(name: str, table: Table, scheme: Scheme) -> dg.AssetsDefinition:
    """The asset of the reports of one frequency."""

    @dg.multi_asset(
        name=name,
        outs={
            table.name: out(
                table,
                "Read as it is, one row per (period, code, reporter, partner, flow), proven unique: totals over modes, "
                "second partners and customs procedures, six digits, countries only. A file that has lost its mode "
                "columns gives its largest row per key, marked. Raw rows: never part of a release.",
                kinds=("python", "json"),
            )
        },
        partitions_def=scheme.definition,
        backfill_policy=dg.BackfillPolicy.single_run(),
        deps=[key(ARCHIVE)],
    )
    def reports(context: dg.AssetExecutionContext, workspace: Workspace) -> Iterator[dg.Output[ByPartition]]:
        """UN Comtrade, one period after the other; a period that is not archived yet is fetched."""
        held = workspace.comtrade_periods()
        if missing := [p for p in context.partition_keys if p not in held]:
            held = _fetched(context, workspace, missing)
        yield dg.Output(_read(context, held), output_name=table.name)

    def _read(context: dg.AssetExecutionContext, held: dict[str, ComtradePeriod]) -> ByPartition:
        for period in context.partition_keys:
            context.log.info(period)
            data = read_period(held[period])
            context.add_asset_metadata(
                {"dagster/partition_row_count": data.table.num_rows, "files": len(data.records)},
                asset_key=key(table),
                partition_key=period,
            )
            yield period, with_records(data.table, data.records)

    return reports


def _fetched(context: dg.AssetExecutionContext, workspace: Workspace, missing: list[str]) -> dict[str, ComtradePeriod]:
    """The periods held, after fetching some that are not (a backfill of what is not kept up by itself)."""
    if not workspace.official:
        raise InputRefused(
            f"the sources hold no UN Comtrade reports of {', '.join(missing)}", path=workspace.sources_dir
        )
    fetched = fetch_official(
        workspace.folder,
        workspace.upstreams(),
        workspace.comtrade_key(),
        workspace.codes_to_ask,
        which=["comtrade"],
        periods=missing,
        progress=_Told(context.log.info),
        tell=context.log.info,
    )
    workspace.look_again()
    fetched.raise_if_failed()
    held = workspace.comtrade_periods()
    if lost := [p for p in missing if p not in held]:
        raise InputRefused(f"nobody has reported {', '.join(lost)} to UN Comtrade yet", todo="leave it out, or wait")
    return held


comtrade_years = _reports("comtrade_years", COMTRADE_ANNUAL, COMTRADE_YEARS)
comtrade_months = _reports("comtrade_months", COMTRADE_MONTHLY, COMTRADE_MONTHS)


def _reconciled(
    name: str, reports: Table, flows: Table, margins: Table, reliability: Table, scheme: Scheme, window: int
) -> dg.AssetsDefinition:
    """The asset of the reconciled flows of one frequency, with what they rest on."""
    mapping = dg.TimeWindowPartitionMapping(start_offset=1 - window) if window > 1 else None

    @dg.multi_asset(
        name=name,
        outs={
            flows.name: out(
                flows,
                "`T = X + W (M / F - X)`: the importer's report M (CIF) less freight F, the exporter's X (FOB), "
                "weighted by how reliable each reporter is in the twelve months up to the period, in the manner of "
                "BACI (Gaulier and Zignago 2010). One report only: that one.",
                kinds=("python", "numpy"),
            ),
            margins.name: out(
                margins,
                "`ln F_kij = a + r_k + e_i + s_j + p_ij` from flows that both partners reported with like weights; "
                "medians, shrunk; F within [1, 1.5].",
                kinds=("python", "numpy"),
            ),
            reliability.name: out(
                reliability,
                "Each reporter's own part of the squared mirror gap, per side, so that a bad partner does not blame a "
                "good reporter.",
                kinds=("python", "numpy"),
            ),
        },
        partitions_def=scheme.definition,
        backfill_policy=dg.BackfillPolicy.single_run(),
        deps=[dg.AssetDep(key(reports), partition_mapping=mapping), key(HS_WEIGHTS)],
    )
    def reconciled(context: dg.AssetExecutionContext, workspace: Workspace) -> Iterator[dg.Output[ByPartition]]:
        """Both partners' reports as one flow, one period after the other."""
        store = workspace.store
        weights = store.read(HS_WEIGHTS)
        target, _ = workspace.newest_baci()
        codes = known_codes(workspace.inventory(), target)
        converted: dict[str, pa.Table] = {}
        results: dict[str, list[tuple[str, pa.Table]]] = {t.name: [] for t in (flows, margins, reliability)}
        there = set(store.partitions(reports)) & {str(p) for p in workspace.partitions(reports.name)}
        for period in context.partition_keys:
            if period not in there:
                raise InputRefused(
                    f"there are no UN Comtrade reports of {period} to reconcile",
                    path=workspace.sources_dir,
                    todo=f"materialise {reports.name} of {period} first, if the sources hold it",
                )
            context.log.info(period)
            pooled = sorted(there & set(months_to(period, window) if window > 1 else [period]))
            for name_of in pooled:
                if name_of not in converted:
                    moved = to_revision(store.read(reports, [name_of]), weights, target, codes)
                    converted[name_of] = moved.reports
                    if lost := sum(moved.unconverted["value_kusd"].to_pylist()):
                        context.log.info(f"{name_of}: {lost:,.0f} thousand USD have no code in {target}")
            for old in [p for p in converted if p not in pooled]:
                del converted[old]
            if not converted[period].num_rows:
                # Nobody has reported our codes yet, or no concordance leads to them (a check of its own says so).
                for table in (flows, margins, reliability):
                    results[table.name].append((period, table.empty()))
                continue
            estimates = estimate(pa.concat_tables([converted[p] for p in pooled]))
            results[flows.name].append((period, apply(converted[period], estimates)))
            results[margins.name].append((period, estimates.margins))
            results[reliability.name].append((period, estimates.reliability))
        for name_of, parts in results.items():
            yield dg.Output(iter(parts), output_name=name_of)

    return reconciled


reconciled_years = _reconciled(
    "reconciled_years", COMTRADE_ANNUAL, RECONCILED_ANNUAL, MARGINS_ANNUAL, RELIABILITY_ANNUAL, COMTRADE_YEARS, 1
)
reconciled_months = _reconciled(
    "reconciled_months",
    COMTRADE_MONTHLY,
    RECONCILED_MONTHLY,
    MARGINS_MONTHLY,
    RELIABILITY_MONTHLY,
    COMTRADE_MONTHS,
    12,
)


@dg.multi_asset(
    name="coverage",
    outs={
        REPORTING_COVERAGE.name: out(
            REPORTING_COVERAGE,
            "Reported, awaited (it reported most of the comparable earlier periods), irregular or never: those who "
            "never report are known from their partners and not waited for.",
        )
    },
    deps=[key(COMTRADE_ANNUAL), key(COMTRADE_MONTHLY)],
)
def reporting(workspace: Workspace) -> Iterator[dg.Output[pa.Table]]:
    """Who has reported what, out of those who can be expected to."""
    datasets = workspace.availability()
    weights: dict[str, float] = {}
    years = workspace.partitions(COMTRADE_ANNUAL.name)
    if years:
        weights = trade_weights(workspace.store.read(COMTRADE_ANNUAL, [str(max(str(y) for y in years))]))
    periods = sorted(set(datasets["period"].to_pylist()))
    found = [coverage(datasets, period, weights=weights or None) for period in periods]
    yield made(REPORTING_COVERAGE, coverage_table(found))


@dg.multi_asset(
    name="input_files",
    outs={
        INPUT_FILES.name: out(
            INPUT_FILES,
            "One record per file: what was read, what was left out and why, with hash, licence and citation.",
        )
    },
    deps=[key(t) for t in RECORDED],
)
def input_files(workspace: Workspace) -> Iterator[dg.Output[pa.Table]]:
    """The record of every file of the run, from the tables that were made of them."""
    inventory = workspace.inventory()
    files = [
        _file_row(record)
        for table in RECORDED
        for partition in workspace.partitions(table.name)
        for record in records_in(workspace.store.metadata(table, partition))
    ]
    files += [_file_row(record) for record in survey(inventory).left_out]
    files += [
        {"source": source, "file": item.relative, "reason": item.reason, "rows_read": 0}
        for item in inventory.unrecognised
        for source in (item.relative.split("/")[0],)
    ]
    files += [
        {"source": "reference", "file": name, "sha256": digest}
        for name, digest in sorted(
            {**workspace.reference().file_sha256, **dict(workspace.lists()["parameters"])}.items()
        )
    ]
    yield made(INPUT_FILES, INPUT_FILES.conform(_joined(files)))


def with_records(table: pa.Table, records: Iterable[SourceRecord]) -> pa.Table:
    """The table with the records of the files behind it in its Parquet metadata."""
    text = json.dumps([asdict(r) for r in records])
    return table.replace_schema_metadata({**(table.schema.metadata or {}), RECORDS: text.encode()})


def records_in(metadata: Mapping[bytes, bytes]) -> list[SourceRecord]:
    """The records that a table's file carries in its metadata."""
    return [SourceRecord(**r) for r in json.loads(metadata.get(RECORDS, b"[]"))]


def _file_row(record: SourceRecord) -> dict[str, object]:
    row = asdict(record)
    row["file"] = row.pop("path")
    return row


def _joined(rows: Iterable[dict[str, object]]) -> list[dict[str, object]]:
    """One row per file: several vintages within a file are joined by '; ', their years and rows taken together."""
    out: dict[tuple[object, object], dict[str, object]] = {}
    for row in rows:
        seen = out.setdefault((row["source"], row["file"]), row)
        if seen is row:
            continue
        for name, value in row.items():
            old = seen.get(name)
            if old is None or value is None:
                seen[name] = value if old is None else old
            elif name in ("vintage", "reason") and str(value) not in str(old).split("; "):
                seen[name] = f"{old}; {value}"
            elif name in ("rows_read", "rows_refused"):
                seen[name] = int(str(old)) + int(str(value))
            elif name == "from_year":
                seen[name] = min(int(str(old)), int(str(value)))
            elif name == "to_year":
                seen[name] = max(int(str(old)), int(str(value)))
    return list(out.values())


def _span(table: pa.Table) -> str:
    years = table.column("year").unique().to_pylist()
    return f"{min(years)}-{max(years)}" if years else "none"
