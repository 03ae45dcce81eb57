"""The audits of :mod:`ketenpipe.tables.checks` as blocking asset checks: one operation per step of the graph.

Belongs here: which audit holds for which table. A failed audit stops everything downstream in the same run; the
publishing asset does not rely on that and reads the ledger itself.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pyarrow as pa

from ketenpipe.dag.resources import Workspace
from ketenpipe.dag.specs import key
from ketenpipe.dag.versions import Versions, forget_checked, note_checked
from ketenpipe.errors import ContractBroken
from ketenpipe.sources.official import official_status
from ketenpipe.tables import checks
from ketenpipe.tables.contract import Table
from ketenpipe.tables.registry import (
    ALTERNATIVES,
    ARCHIVE,
    BACI_FLOWS,
    CHAIN_EDGES,
    CHAIN_INDICATORS,
    CHAIN_NODES,
    CHANGES,
    COMTRADE_ANNUAL,
    COMTRADE_MONTHLY,
    COUNTRY_RISK,
    CRITICALITY_INDICATORS,
    CRMA_MONITOR,
    DATA_GRADES,
    DOSSIERS,
    DRAWN_VERDICTS,
    ELASTICITY,
    EXPLANATIONS,
    EXPOSURE,
    FLAGS,
    GOVERNANCE,
    GRAPH_EDGES,
    GRAPH_MEASURES,
    GRAPH_NODES,
    HS_WEIGHTS,
    ICIO_ACCOUNTS,
    ICIO_AUDIT,
    IMPORTERS,
    INDICATORS,
    INDUSTRY_COEFFICIENTS,
    INDUSTRY_EXPOSURE,
    INDUSTRY_INDICATORS,
    INDUSTRY_MEASURES,
    INDUSTRY_TIERS,
    INPUT_FILES,
    LABELS,
    MARGINS_ANNUAL,
    MARGINS_MONTHLY,
    METHOD_AGREEMENT,
    METHOD_DIFFERENCES,
    MINING_PRODUCTION,
    NAMED_METHODS,
    NETWORK_INDICATORS,
    NOWCAST,
    NOWCAST_CHECK,
    ORIGIN_MIX,
    PATHS,
    PRODUCT_INDICATORS,
    PRODUCT_INDUSTRIES,
    PRODUCT_JOIN,
    PRODUCT_TIERS,
    PRODUCT_USES,
    PRODUCTION,
    RECONCILED_ANNUAL,
    RECONCILED_MONTHLY,
    REGISTER,
    RELIABILITY_ANNUAL,
    RELIABILITY_MONTHLY,
    REPORTING_COVERAGE,
    REVIEW_DECISIONS,
    ROBUSTNESS,
    SHOCKS,
    SOURCES,
    SUBSTITUTABILITY,
    SUPPLY_MIX,
    TIER_FLAGS,
    TIER_INDICATORS,
    TRACING,
    UNCERTAINTY,
    VALIDATION,
)


@dataclass(frozen=True)
class Audit:
    """One audit of one table.

    Attributes:
        table: the table it is about.
        check: function of the table (and of ``beside``).
        beside: further tables it reads.
        blocking: whether a failure stops everything downstream in the same run; else it warns.
        shape: for a table by partition, the columns whose distinct values the audit needs.
        singly: for a table by partition: it holds of each by itself, so that what passed before is not read again.
    """

    table: Table
    check: Callable[..., checks.CheckResult]
    beside: tuple[Table, ...] = field(default=())
    blocking: bool = True
    shape: tuple[str, ...] = ()
    singly: bool = False

    @property
    def name(self) -> str:
        """Name of the check: that of its function."""
        return self.check.__name__

    @property
    def spec(self) -> dg.AssetCheckSpec:
        """The check that Dagster shows."""
        described = (self.check.__doc__ or "").strip().splitlines()[0]
        return dg.AssetCheckSpec(self.name, asset=key(self.table), description=described, blocking=self.blocking)


#: Tables written by one step, and what must hold of each beside schema and key.
AUDITS: Mapping[str, tuple[tuple[Table, ...], tuple[Audit, ...]]] = {
    "archive": ((ARCHIVE,), ()),
    "governance": ((GOVERNANCE,), (Audit(GOVERNANCE, checks.one_vintage_per_year),)),
    "elasticities": ((ELASTICITY,), ()),
    "mining": ((MINING_PRODUCTION,), (Audit(MINING_PRODUCTION, checks.no_total_rows),)),
    "concordances": ((HS_WEIGHTS,), (Audit(HS_WEIGHTS, checks.weights_sum_to_one),)),
    "input_files": ((INPUT_FILES,), ()),
    "look_through": (
        (CHAIN_NODES, CHAIN_EDGES, EXPOSURE),
        (Audit(EXPOSURE, checks.lookthrough_sums_to_one),),
    ),
    "paths": ((PATHS,), ()),
    "supply_graph": ((GRAPH_NODES, GRAPH_EDGES, GRAPH_MEASURES), ()),
    "shocks": ((SHOCKS,), ()),
    "industry_layer": ((INDUSTRY_EXPOSURE, INDUSTRY_TIERS, INDUSTRY_MEASURES, INDUSTRY_COEFFICIENTS), ()),
    "product_industries": ((PRODUCT_INDUSTRIES,), ()),
    "governance_risk": ((COUNTRY_RISK,), ()),
    "coverage": (
        (REPORTING_COVERAGE,),
        (Audit(REPORTING_COVERAGE, checks.everybody_has_reported, blocking=False),),
    ),
    "nowcast": ((NOWCAST,), ()),
    "nowcast_check": ((NOWCAST_CHECK,), ()),
    "chain_risk": ((CHAIN_INDICATORS,), (Audit(CHAIN_INDICATORS, checks.hhi_within_bounds),)),
    "industry_risk": ((INDUSTRY_INDICATORS,), ()),
    "supply_risk": ((INDICATORS, FLAGS, NAMED_METHODS, METHOD_DIFFERENCES), ()),
    "method_agreement": ((METHOD_AGREEMENT,), ()),
    "monte_carlo": ((UNCERTAINTY, DRAWN_VERDICTS), ()),
    "alternatives": ((ALTERNATIVES,), ()),
    "robustness": ((ROBUSTNESS,), ()),
    "crma": ((CRMA_MONITOR,), ()),
    "dossiers": ((DOSSIERS, REVIEW_DECISIONS), ()),
    "reporting": ((CHANGES,), ()),
    "grades": ((DATA_GRADES,), ()),
    "validation": ((VALIDATION,), ()),
    "explanations": ((EXPLANATIONS,), ()),
    "register": (
        (REGISTER, LABELS, SOURCES),
        (Audit(REGISTER, checks.unsigned_is_provisional),),
    ),
}


def schema_and_keys(table: Table) -> Audit:
    """The audit that every table gets: columns, types, nulls, lists, bounds and the key."""

    def holds(data: pa.Table) -> checks.CheckResult:
        return checks.schema_and_keys(table, data)

    holds.__name__ = checks.schema_and_keys.__name__
    holds.__doc__ = checks.schema_and_keys.__doc__
    return Audit(table, holds)


def shown(audit: Audit, result: checks.CheckResult, more: Mapping[str, Any] | None = None) -> dg.AssetCheckResult:
    """An audit's result as Dagster shows it, with the first offending row."""
    metadata: dict[str, Any] = {"rows": result.rows, **(more or {})}
    if result.offending is not None:
        metadata["first offending row"] = dg.MetadataValue.md(
            "\n".join(f"- {name}: {value}" for name, value in result.offending.items())
        )
    return dg.AssetCheckResult(
        passed=result.passed,
        asset_key=key(audit.table),
        check_name=audit.name,
        description=result.sentence,
        metadata=metadata,
        severity=dg.AssetCheckSeverity.ERROR if audit.blocking else dg.AssetCheckSeverity.WARN,
    )


def _of_step(step: str, tables: Sequence[Table], more: Sequence[Audit]) -> dg.AssetChecksDefinition:
    audits = [*(schema_and_keys(t) for t in tables), *more]

    @dg.multi_asset_check(name=f"check_{step}", specs=[a.spec for a in audits])
    def checked(workspace: Workspace) -> Iterator[dg.AssetCheckResult]:
        held: dict[str, pa.Table] = {}
        passed = True

        def read(table: Table) -> pa.Table:
            if table.name not in held:
                held[table.name] = workspace.store.read(table)
            return held[table.name]

        for audit in audits:
            if audit.table in STREAMED and audit.name == checks.schema_and_keys.__name__:
                result = _stream_holds(workspace, audit.table)
            else:
                result = audit.check(read(audit.table), *(read(t) for t in audit.beside))
            passed = passed and (result.passed or not audit.blocking)
            yield shown(audit, result)
        (note_checked if passed else forget_checked)(workspace, [(key(table), None) for table in tables])

    return checked


#: Tables that are written as streams, and so checked: they may be larger than memory.
STREAMED = (INDICATORS, FLAGS, ROBUSTNESS)


def _stream_holds(workspace: Workspace, table: Table) -> checks.CheckResult:
    """:func:`ketenpipe.tables.checks.schema_and_keys` of a stored table, a row group in memory at a time."""
    name = checks.schema_and_keys.__name__
    try:
        rows = workspace.store.check(table)
    except ContractBroken as broken:
        return checks.CheckResult(name, False, str(broken), workspace.store.rows(table), {"table": table.name})
    return checks.CheckResult(name, True, f"{rows} rows of {table.name} hold their contract", rows)


#: Tables by partition: what must hold of each partition, and of what the partitions have in common.
PARTITIONED: Mapping[str, tuple[tuple[Table, ...], tuple[Audit, ...]]] = {
    "flows": (
        (BACI_FLOWS,),
        (Audit(BACI_FLOWS, checks.one_release_per_series, shape=("hs_revision", "release", "year")),),
    ),
    "input_output": (
        (ICIO_ACCOUNTS, ICIO_AUDIT),
        (
            Audit(ICIO_AUDIT, checks.accounts_add_up),
            Audit(ICIO_AUDIT, checks.accounts_are_unremarkable, blocking=False),
        ),
    ),
    "origin_tracing": (
        (PRODUCTION, ORIGIN_MIX, TRACING, SUPPLY_MIX),
        (
            Audit(PRODUCTION, checks.no_total_rows, singly=True),
            Audit(ORIGIN_MIX, checks.origin_rows_sum_to_one, singly=True),
            Audit(TRACING, checks.tracing_rows_sum_to_supply, singly=True),
            Audit(SUPPLY_MIX, checks.supply_shares_sum_to_one, singly=True),
        ),
    ),
    "product_risk": (
        (PRODUCT_INDICATORS,),
        (Audit(PRODUCT_INDICATORS, checks.hhi_within_bounds, (SUPPLY_MIX,), singly=True),),
    ),
    "importers": ((IMPORTERS,), ()),
    "criticality": ((CRITICALITY_INDICATORS,), ()),
    "export_network": ((NETWORK_INDICATORS,), ()),
    "substitutability": ((SUBSTITUTABILITY,), ()),
    "product_tiers": ((PRODUCT_USES, PRODUCT_JOIN, PRODUCT_TIERS, TIER_INDICATORS, TIER_FLAGS), ()),
    "comtrade_months": ((COMTRADE_MONTHLY,), ()),
    "comtrade_years": ((COMTRADE_ANNUAL,), ()),
    "reconciled_months": ((RECONCILED_MONTHLY, MARGINS_MONTHLY, RELIABILITY_MONTHLY), ()),
    "reconciled_years": ((RECONCILED_ANNUAL, MARGINS_ANNUAL, RELIABILITY_ANNUAL), ()),
}


def _of_partitions(step: str, tables: Sequence[Table], more: Sequence[Audit]) -> dg.AssetChecksDefinition:
    """Checks of tables by partition, one partition in memory at a time.

    A partition that is fresh (the same file passed before, and nothing that it is made of has changed) is not read
    again. An audit sees the rows of every partition, cut down to the distinct values of the columns it needs.
    """
    specs = [*(schema_and_keys(t).spec for t in tables), *(a.spec for a in more)]

    @dg.multi_asset_check(name=f"check_{step}", specs=specs)
    def checked(workspace: Workspace) -> Iterator[dg.AssetCheckResult]:
        store, versions = workspace.store, Versions(workspace)
        there: set[tuple[dg.AssetKey, str | None]] = set()
        failed: set[tuple[dg.AssetKey, str | None]] = set()
        for table in tables:
            schema, rows, read = schema_and_keys(table), 0, 0
            first: tuple[str, ContractBroken] | None = None
            for partition in _stored(workspace, table):
                there.add((key(table), partition))
                if versions.fresh(key(table), partition):
                    rows += store.rows(table, partition)
                    continue
                read += 1
                try:
                    rows += store.check(table, partition)
                except ContractBroken as broken:
                    failed.add((key(table), partition))
                    first = first or (partition, broken)
            if first is None:
                said = (
                    f"{rows:,} rows of {table.name} hold their contract ({read} partitions read, the others as before)"
                )
                result = checks.CheckResult(schema.name, True, said, rows)
            else:
                result = checks.CheckResult(schema.name, False, str(first[1]), rows, {"partition": first[0]})
            yield shown(schema, result, {"partitions read": read})
        for audit in more:
            if audit.singly:
                result, broken_in = _singly(workspace, versions, audit)
                failed |= {(key(audit.table), p) for p in broken_in if audit.blocking}
                yield shown(audit, result)
                continue
            parts = {p: _part(workspace, audit, p) for p in _stored(workspace, audit.table)}
            result = audit.check(pa.concat_tables(parts.values()) if parts else audit.table.empty())
            if audit.blocking and not result.passed:
                # Where no partition fails by itself they do not fit together, and any of them may be the wrong one.
                alone = {p for p, rows_of in parts.items() if not audit.check(rows_of).passed}
                failed |= {(key(audit.table), p) for p in alone or parts}
            yield shown(audit, result)
        note_checked(workspace, there - failed)
        forget_checked(workspace, failed)

    return checked


def _singly(workspace: Workspace, versions: Versions, audit: Audit) -> tuple[checks.CheckResult, list[str]]:
    """An audit partition by partition, those that passed before left out: the result, and where it does not hold."""
    rows, looked, broken_in = 0, 0, []
    first: checks.CheckResult | None = None
    for partition in _stored(workspace, audit.table):
        if versions.fresh(key(audit.table), partition):
            continue
        looked += 1
        result = audit.check(*(workspace.store.read(t, [partition]) for t in (audit.table, *audit.beside)))
        rows += result.rows
        if not result.passed:
            broken_in.append(partition)
            first = first or result
    if first is not None:
        return first, broken_in
    sentence = f"holds of {looked} partitions ({rows:,} rows or groups of rows), and of the others as before"
    return checks.CheckResult(audit.name, True, sentence, rows), []


def _stored(workspace: Workspace, table: Table) -> list[str]:
    """The partitions that the sources ask for and that are in the store."""
    return sorted({str(p) for p in workspace.partitions(table.name)} & set(workspace.store.partitions(table)))


def _part(workspace: Workspace, audit: Audit, partition: str) -> pa.Table:
    """What an audit needs of a partition."""
    if not audit.shape:
        return workspace.store.read(audit.table, [partition])
    found = workspace.store.distinct(audit.table, audit.shape, partition)
    fields = pa.schema([audit.table.schema().field(c) for c in audit.shape])
    return pa.Table.from_pylist([dict(zip(audit.shape, row, strict=True)) for row in found], schema=fields)


def _reports_have_codes(reports: Table, flows: Table) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=key(flows),
        name="reports_have_codes",
        description="Reports were read, and a concordance leads from their HS revisions to that of BACI.",
        blocking=False,
    )
    def reports_have_codes(workspace: Workspace) -> dg.AssetCheckResult:
        lost = workspace.without_codes(reports, flows)
        target, _ = workspace.newest_baci()
        said = (
            f"reports of {', '.join(lost)} were read, but none has a code in {target}: put the concordances of "
            "their HS revisions into concordance/"
            if lost
            else f"every period with reports has some in {target}"
        )
        return dg.AssetCheckResult(passed=not lost, description=said, severity=dg.AssetCheckSeverity.WARN)

    return reports_have_codes


@dg.asset_check(
    asset=key(ARCHIVE),
    name="sources_are_fresh",
    description="Every official source was looked at within the days that upstreams.toml allows it.",
    blocking=False,
)
def sources_are_fresh(workspace: Workspace) -> dg.AssetCheckResult:
    """What is stale is told by when upstream was last looked at, so that reading an old month anew freshens nothing."""
    if not workspace.official:
        return dg.AssetCheckResult(passed=True, description="a folder is not watched: its files are as they were put")
    rows = official_status(workspace.folder, workspace.upstreams(), datetime.now(UTC))
    stale = [row for row in rows if row.stale and row.enabled]
    sentence = "; ".join(f"{row.slot}: {row.why}" for row in stale) or f"{len(rows)} sources, none of them stale"
    return dg.AssetCheckResult(
        passed=not stale, description=sentence, severity=dg.AssetCheckSeverity.WARN, metadata={"sources": len(rows)}
    )


def build_checks() -> list[dg.AssetChecksDefinition]:
    """Every check of the graph."""
    return [
        *(_of_partitions(step, tables, more) for step, (tables, more) in PARTITIONED.items()),
        *(_of_step(step, tables, more) for step, (tables, more) in AUDITS.items()),
        sources_are_fresh,
        _reports_have_codes(COMTRADE_ANNUAL, RECONCILED_ANNUAL),
        _reports_have_codes(COMTRADE_MONTHLY, RECONCILED_MONTHLY),
    ]
