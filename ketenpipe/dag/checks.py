"""The audits of :mod:`ketenpipe.tables.checks` as blocking asset checks: one operation per step of the graph.

Belongs here: which audit holds for which table. A failed audit stops everything downstream in the same run; the
publishing asset does not rely on that and reads the ledger itself.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
import pyarrow as pa

from ketenpipe.dag.resources import Workspace
from ketenpipe.dag.specs import key
from ketenpipe.tables import checks
from ketenpipe.tables.contract import Table
from ketenpipe.tables.registry import (
    BACI_FLOWS,
    CHAIN_EDGES,
    CHAIN_NODES,
    COUNTRY_RISK,
    CRMA_MONITOR,
    DOSSIERS,
    EXPOSURE,
    FLAGS,
    GOVERNANCE,
    INDICATORS,
    INDUSTRY_EXPOSURE,
    INDUSTRY_TIERS,
    INPUT_FILES,
    LABELS,
    MINING_PRODUCTION,
    ORIGIN_MIX,
    PRODUCTION,
    REGISTER,
    REVIEW_DECISIONS,
    SOURCES,
    SUPPLY_MIX,
    TRACING,
)


@dataclass(frozen=True)
class Audit:
    """One audit of one table.

    Attributes:
        table: the table it is about.
        check: function of the table (and of ``beside``).
        beside: further tables it reads.
    """

    table: Table
    check: Callable[..., checks.CheckResult]
    beside: tuple[Table, ...] = field(default=())

    @property
    def name(self) -> str:
        """Name of the check: that of its function."""
        return self.check.__name__

    @property
    def spec(self) -> dg.AssetCheckSpec:
        """The blocking check that Dagster shows."""
        described = (self.check.__doc__ or "").strip().splitlines()[0]
        return dg.AssetCheckSpec(self.name, asset=key(self.table), description=described, blocking=True)


#: Tables written by one step, and what must hold of each beside schema and key.
AUDITS: Mapping[str, tuple[tuple[Table, ...], tuple[Audit, ...]]] = {
    "statistics": (
        (GOVERNANCE, MINING_PRODUCTION, INPUT_FILES),
        (Audit(GOVERNANCE, checks.one_vintage_per_year), Audit(MINING_PRODUCTION, checks.no_total_rows)),
    ),
    "origin_tracing": (
        (PRODUCTION, ORIGIN_MIX, TRACING, SUPPLY_MIX),
        (
            Audit(PRODUCTION, checks.no_total_rows),
            Audit(ORIGIN_MIX, checks.origin_rows_sum_to_one),
            Audit(TRACING, checks.tracing_rows_sum_to_supply),
            Audit(SUPPLY_MIX, checks.supply_shares_sum_to_one),
        ),
    ),
    "look_through": (
        (CHAIN_NODES, CHAIN_EDGES, EXPOSURE),
        (Audit(EXPOSURE, checks.lookthrough_sums_to_one),),
    ),
    "industry_layer": ((INDUSTRY_EXPOSURE, INDUSTRY_TIERS), ()),
    "governance_risk": ((COUNTRY_RISK,), ()),
    "supply_risk": ((INDICATORS, FLAGS), (Audit(INDICATORS, checks.hhi_within_bounds, (SUPPLY_MIX,)),)),
    "crma": ((CRMA_MONITOR,), ()),
    "dossiers": ((DOSSIERS, REVIEW_DECISIONS), ()),
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


def shown(audit: Audit, result: checks.CheckResult) -> dg.AssetCheckResult:
    """An audit's result as Dagster shows it, with the first offending row."""
    metadata: dict[str, Any] = {"rows": result.rows}
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
        severity=dg.AssetCheckSeverity.ERROR,
    )


def _of_step(step: str, tables: Sequence[Table], more: Sequence[Audit]) -> dg.AssetChecksDefinition:
    audits = [*(schema_and_keys(t) for t in tables), *more]

    @dg.multi_asset_check(name=f"check_{step}", specs=[a.spec for a in audits])
    def checked(workspace: Workspace) -> Iterator[dg.AssetCheckResult]:
        held: dict[str, pa.Table] = {}

        def read(table: Table) -> pa.Table:
            if table.name not in held:
                held[table.name] = workspace.store.read(table)
            return held[table.name]

        for audit in audits:
            yield shown(audit, audit.check(read(audit.table), *(read(t) for t in audit.beside)))

    return checked


def _of_flows() -> dg.AssetChecksDefinition:
    schema, release = schema_and_keys(BACI_FLOWS), Audit(BACI_FLOWS, checks.one_release_per_series)

    @dg.multi_asset_check(name="check_flows", specs=[schema.spec, release.spec])
    def checked(workspace: Workspace) -> Iterator[dg.AssetCheckResult]:
        """The years of this run that are there, one in memory at a time."""
        store, stamps, rows = workspace.store, [], 0
        result = checks.schema_and_keys(BACI_FLOWS, BACI_FLOWS.empty())
        there = set(store.partitions(BACI_FLOWS))
        for year in workspace.baci_years():
            if str(year) not in there:
                continue
            data = store.read(BACI_FLOWS, [str(year)])
            result = checks.schema_and_keys(BACI_FLOWS, data)
            rows += data.num_rows
            stamps.append(
                data.select(["hs_revision", "release", "year"])
                .group_by(["hs_revision", "release", "year"])
                .aggregate([])
            )
            if not result.passed:
                break
        yield shown(schema, result)
        joined = pa.concat_tables(stamps) if stamps else BACI_FLOWS.empty()
        yield shown(release, checks.one_release_per_series(joined))

    return checked


def build_checks() -> list[dg.AssetChecksDefinition]:
    """Every blocking check of the graph."""
    return [_of_flows(), *(_of_step(step, tables, more) for step, (tables, more) in AUDITS.items())]
