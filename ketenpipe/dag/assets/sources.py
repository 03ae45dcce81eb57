"""Group ``sources``: native files, read and refused, as tables."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq

from ketenpipe.dag.io import ByYear
from ketenpipe.dag.partitions import BACI_YEARS
from ketenpipe.dag.resources import Workspace
from ketenpipe.dag.specs import key, made, out
from ketenpipe.errors import InputRefused
from ketenpipe.sources.baci import known_codes, read_year_recorded
from ketenpipe.sources.countries import country_list
from ketenpipe.sources.icio import list_tables, read_table
from ketenpipe.sources.mining import read_mining
from ketenpipe.sources.records import SourceRecord
from ketenpipe.sources.wgi import read_wgi
from ketenpipe.tables.registry import BACI_FLOWS, GOVERNANCE, INPUT_FILES, MINING_PRODUCTION

#: Where a year of flows keeps the records of its files, in its Parquet metadata.
RECORDS = b"ketenpipe.records"


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
    partitions_def=BACI_YEARS,
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def flows(context: dg.AssetExecutionContext, workspace: Workspace) -> Iterator[dg.Output[ByYear]]:
    """BACI, one year after the other."""
    yield dg.Output(_years(context, workspace), output_name=BACI_FLOWS.name)


def _years(context: dg.AssetExecutionContext, workspace: Workspace) -> ByYear:
    inventory = workspace.inventory()
    held = workspace.baci_years()
    for year in context.partition_keys:
        if int(year) not in held:
            raise InputRefused(f"the sources hold no BACI flows of {year}", path=inventory.root)
        context.log.info(year)
        parts, records = [], []
        for item in held[int(year)]:
            part, record = read_year_recorded(
                item, country_list(inventory, item.release), known_codes(inventory, item.hs_revision)
            )
            parts.append(part.cast(BACI_FLOWS.schema()))
            records.append(record)
        table = pa.concat_tables(parts)
        context.add_asset_metadata(
            {
                "dagster/partition_row_count": table.num_rows,
                "release": ", ".join(sorted({r.vintage for r in records})),
                "files": ", ".join(r.path for r in records),
            },
            asset_key=key(BACI_FLOWS),
            partition_key=year,
        )
        text = json.dumps([asdict(r) for r in records])
        yield year, table.replace_schema_metadata({**(table.schema.metadata or {}), RECORDS: text.encode()})


@dg.multi_asset(
    name="statistics",
    outs={
        GOVERNANCE.name: out(
            GOVERNANCE,
            "Read as it is, the vintage declared per year range in the file's sidecar; a year in two vintages is "
            "refused. Missing scores stay null.",
            kinds=("python", "csv"),
        ),
        MINING_PRODUCTION.name: out(
            MINING_PRODUCTION,
            "Read as it is. Total rows are not countries and are left out; a listed country without a figure "
            "stays null.",
            kinds=("python", "csv"),
        ),
        INPUT_FILES.name: out(
            INPUT_FILES,
            "One record per file: what was read, what was left out and why, with hash, licence and citation.",
        ),
    },
    deps=[key(BACI_FLOWS)],
    internal_asset_deps={GOVERNANCE.name: set(), MINING_PRODUCTION.name: set(), INPUT_FILES.name: {key(BACI_FLOWS)}},
)
def statistics(context: dg.AssetExecutionContext, workspace: Workspace) -> Iterator[dg.Output[pa.Table]]:
    """Governance, mining production and the record of every file of the run."""
    inventory = workspace.inventory()
    governance, mining = read_wgi(inventory), read_mining(inventory)
    records = [*_flow_records(workspace), *governance.records, *mining.records]
    records += [read_table(file).record for file in list_tables(inventory)]
    scores = governance.table.rename_columns({"iso3": "country"})
    yield made(GOVERNANCE, GOVERNANCE.conform(scores), {"years": _span(scores)})
    produced = mining.table.rename_columns({"iso3": "country", "quantity_tonnes": "tonnes"}).drop_columns("vintage")
    yield made(MINING_PRODUCTION, MINING_PRODUCTION.conform(produced), {"years": _span(produced)})
    files = [_file_row(r) for r in records]
    files += [
        {"source": source, "file": item.relative, "reason": item.reason, "rows_read": 0}
        for item in inventory.unrecognised
        for source in (item.relative.split("/")[0],)
    ]
    files += [
        {"source": "reference", "file": name, "sha256": digest}
        for name, digest in sorted(workspace.reference().file_sha256.items())
    ]
    yield made(INPUT_FILES, INPUT_FILES.conform(_joined(files)), {"notes": [*governance.notes, *mining.notes]})


def _flow_records(workspace: Workspace) -> list[SourceRecord]:
    """The records that the years of this run carry in their Parquet metadata."""
    records = []
    for year in workspace.baci_years():
        metadata = pq.read_schema(workspace.store.path(BACI_FLOWS, str(year))).metadata or {}
        records += [SourceRecord(**r) for r in json.loads(metadata.get(RECORDS, b"[]"))]
    return records


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
