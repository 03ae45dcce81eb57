"""Parquet in, Parquet out: every table an asset returns is held against its contract and replaced atomically.

Belongs here: the way between Dagster's outputs and :class:`ketenpipe.tables.store.Store`. A table by year is written
and read one year at a time; a range of years is one call.
"""

from collections.abc import Iterator

import dagster as dg
import pyarrow as pa

from ketenpipe.dag.resources import Workspace
from ketenpipe.errors import KetenpipeError
from ketenpipe.tables.contract import Table
from ketenpipe.tables.registry import TABLES

#: What an asset by year returns: year and table, one after the other, so that one year is in memory at a time.
ByYear = Iterator[tuple[str, pa.Table]]


def table_of(key: dg.AssetKey) -> Table:
    """The contract of an asset's table.

    Raises:
        KetenpipeError: the registry has no such table.
    """
    table = TABLES.get(key.path[-1])
    if table is None or [table.folder, table.name] != list(key.path):
        raise KetenpipeError(f"asset {key.to_user_string()} has no table in the registry")
    return table


class ParquetIOManager(dg.ConfigurableIOManager):
    """Tables of the registry under ``<home>/tables``."""

    workspace: Workspace

    def handle_output(self, context: dg.OutputContext, obj: pa.Table | ByYear) -> None:
        """Check and write what the asset returned (nothing is written where it returned None)."""
        if obj is None:
            return
        table = table_of(context.asset_key)
        if not table.partitioned:
            self.workspace.store.write(table, obj)
            return
        asked = list(context.asset_partition_keys)
        parts = [(asked[0], obj)] if isinstance(obj, pa.Table) else obj
        written = []
        for year, part in parts:
            if year not in asked:
                raise KetenpipeError(f"table {table.name}: the year {year} was not asked for")
            self.workspace.store.write(table, part, year)
            written.append(year)
        if missing := sorted(set(asked) - set(written)):
            raise KetenpipeError(f"table {table.name}: the year(s) {', '.join(missing)} were asked for and not made")

    def load_input(self, context: dg.InputContext) -> pa.Table:
        """The whole table; of one by year the asked range, or the years of this run where all are asked for."""
        table = table_of(context.asset_key)
        if not table.partitioned:
            return self.workspace.store.read(table)
        asked = list(context.asset_partition_keys)
        everything = context.asset_partitions_def.get_partition_keys()
        if asked == list(everything):
            asked = [str(year) for year in self.workspace.baci_years()]
        return self.workspace.store.read(table, asked)
