"""From a table's contract to what Dagster shows of it: key, group, owner, kinds, column schema, row count."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import dagster as dg
import pyarrow as pa

from ketenpipe.tables.contract import Table
from ketenpipe.tables.registry import ICIO_ACCOUNTS, ICIO_AUDIT


def key(table: Table) -> dg.AssetKey:
    """The asset key: folder of the method, then table."""
    return dg.AssetKey([table.folder, table.name])


def column_schema(table: Table) -> dg.TableSchema:
    """The contract's columns as Dagster shows them, units and closed lists in the description."""
    columns = []
    for c in table.columns:
        text = c.description + (f" [{c.unit}]" if c.unit else "")
        if c.allowed:
            text += f"; one of: {', '.join(c.allowed)}"
        columns.append(
            dg.TableColumn(
                c.name,
                str(c.type),
                description=text,
                constraints=dg.TableColumnConstraints(nullable=c.nullable),
                tags={"ketenpipe/key": ""} if c.name in table.key else None,
            )
        )
    return dg.TableSchema(columns)


def spec(
    table: Table,
    method: str,
    *,
    kinds: Iterable[str] = ("python",),
    freshness_policy: dg.FreshnessPolicy | None = None,
    deps: Iterable[Table] = (),
    years_before: int = 0,
) -> dg.AssetSpec:
    """The asset of one table.

    Args:
        table: its contract.
        method: how it is made, with the formula.
        kinds: besides ``parquet``.
        freshness_policy: how old the latest materialisation may be.
        deps: the tables that it reads, where they are no inputs of its function.
        years_before: of tables by year, how many years before its own it reads too.
    """
    return dg.AssetSpec(
        key(table),
        description=f"{table.description}.\n\n{method}",
        group_name=table.group or table.folder,
        owners=[table.owner],
        kinds={"parquet", *kinds},
        tags={"ketenpipe/released": "yes" if table.released else "no"},
        metadata={
            "dagster/column_schema": column_schema(table),
            "dagster/table_name": f"{table.folder}.{table.name}",
            "key": ", ".join(table.key) or "none",
        },
        freshness_policy=freshness_policy,
        deps=[_dep(t, years_before) for t in deps],
    )


def _dep(table: Table, years_before: int) -> dg.AssetDep:
    """A table that is read, all of its partitions where they are no years of trade."""
    if table.name in (ICIO_ACCOUNTS.name, ICIO_AUDIT.name):
        return dg.AssetDep(key(table), partition_mapping=dg.AllPartitionMapping())
    if years_before and table.partitioned:  # which of them counts is known to the fingerprints
        return dg.AssetDep(key(table), partition_mapping=dg.AllPartitionMapping())
    return dg.AssetDep(key(table))


def out(
    table: Table,
    method: str,
    *,
    kinds: Iterable[str] = ("python",),
    freshness_policy: dg.FreshnessPolicy | None = None,
) -> dg.AssetOut:
    """The same as one output of a multi-asset."""
    described = spec(table, method, kinds=kinds, freshness_policy=freshness_policy)
    return dg.AssetOut.from_spec(described, dagster_type=dg.Any)


def asset_in(table: Table) -> dg.AssetIn:
    """A table as an input."""
    return dg.AssetIn(key=key(table))


def made(table: Table, data: pa.Table, metadata: Mapping[str, Any] | None = None) -> dg.Output[pa.Table]:
    """A table as an output, with its row count."""
    return dg.Output(data, output_name=table.name, metadata={"dagster/row_count": data.num_rows, **(metadata or {})})
