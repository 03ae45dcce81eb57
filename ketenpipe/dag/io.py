"""Parquet in, Parquet out: every table an asset returns is held against its contract and replaced atomically.

Belongs here: the way between Dagster's outputs and :class:`ketenpipe.tables.store.Store`. A table by year is written
and read one year at a time; a range of years is one call.
"""

from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping

import dagster as dg
import pyarrow as pa

from ketenpipe.dag.resources import Workspace
from ketenpipe.dag.specs import key
from ketenpipe.dag.versions import FINGERPRINT, Versions
from ketenpipe.errors import KetenpipeError
from ketenpipe.sources.baci import list_years
from ketenpipe.tables.contract import Table
from ketenpipe.tables.registry import BACI_FLOWS, TABLES
from ketenpipe.tables.stream import Stream

#: What an asset by partition returns: partition and table, one after the other, so that one is in memory at a time. A
#: stream is written while it is made, so that not even one is.
ByPartition = Iterator[tuple[str, pa.Table | Stream]]


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

    def handle_output(self, context: dg.OutputContext, obj: pa.Table | Stream | ByPartition) -> None:
        """Check and write what the asset returned (nothing is written where it returned None).

        What a killed run left unfinished is removed first: the run that writes holds the home's lock.
        """
        if obj is None:
            return
        table, store = table_of(context.asset_key), self.workspace.store
        store.sweep()
        if not table.partitioned:
            write_table(self.workspace, table, obj, None)
            return
        asked = list(context.asset_partition_keys)
        parts = [(asked[0], obj)] if isinstance(obj, pa.Table | Stream) else obj
        written = []
        for year, part in parts:
            if year not in asked:
                raise KetenpipeError(f"table {table.name}: the year {year} was not asked for")
            write_table(self.workspace, table, part, year)
            written.append(year)
        if missing := sorted(set(asked) - set(written)):
            raise KetenpipeError(f"table {table.name}: the year(s) {', '.join(missing)} were asked for and not made")

    def load_input(self, context: dg.InputContext) -> pa.Table:
        """The whole table; of one by year the asked range, or the years of this run where all are asked for.

        Raises:
            KetenpipeError: a year is not there, or stands there from another BACI release than the sources hold now.
        """
        table = table_of(context.asset_key)
        if not table.partitioned:
            return self.workspace.store.read(table)
        asked = list(context.asset_partition_keys)
        everything = context.asset_partitions_def.get_partition_keys()
        if asked == list(everything):
            asked = [str(p) for p in self.workspace.partitions(table.name)]
        if table is BACI_FLOWS:
            refuse_stale_release(self.workspace, asked)
            return self.workspace.flows(asked)
        return self.workspace.store.read(table, asked)


def write_table(workspace: Workspace, table: Table, data: pa.Table | Stream, partition: str | None) -> None:
    """Write a table (or a partition), with the fingerprint of what it was made of in the same file."""
    store = workspace.store
    fingerprint = Versions(workspace).made_now(key(table), partition).encode()
    if isinstance(data, Stream):
        # A chain, for whoever makes the batches may add to its own on the way.
        noted = ChainMap({FINGERPRINT: fingerprint}, data.metadata)  # type: ignore[arg-type]
        store.write_stream(table, Stream(data.batches, noted), partition)
    else:
        held = {**(data.schema.metadata or {}), FINGERPRINT: fingerprint}
        store.write(table, data.replace_schema_metadata(held), partition)


def write_parts(
    context: dg.AssetExecutionContext, workspace: Workspace, partition: str, parts: Mapping[Table, pa.Table | Stream]
) -> None:
    """Write several tables of one partition, so that what makes them together holds one partition at a time.

    Each is replaced by itself; a run that is killed between two of them leaves the step stale.
    """
    workspace.store.sweep()
    for table, data in parts.items():
        write_table(workspace, table, data, partition)
        context.add_asset_metadata(
            {"dagster/partition_row_count": workspace.store.rows(table, partition)},
            asset_key=key(table),
            partition_key=partition,
        )


def refuse_stale_release(workspace: Workspace, years: Iterable[str]) -> None:
    """Refuse stored years of flows that are not of the releases that lie in the sources folder.

    Years are refreshed one by one, so that after a new release some may be of the old one: a series never mixes two.

    Raises:
        KetenpipeError: names the year, both releases and what to do.
    """
    lying: dict[str, set[tuple[str, str]]] = {}
    for item in list_years(workspace.inventory()):
        lying.setdefault(str(item.year), set()).add((item.hs_revision, item.release))
    first: dict[str, tuple[str, str]] = {}
    for year in years:
        held = workspace.store.distinct(BACI_FLOWS, ("hs_revision", "release"), year)
        wanted = lying.get(year)
        if wanted is not None and held != wanted:
            raise KetenpipeError(
                f"table {BACI_FLOWS.name}: the year {year} holds {_releases(held)} where the sources hold "
                f"{_releases(wanted)}; materialise that year again."
            )
        for revision, release in sorted(held):
            other_year, other = first.setdefault(revision, (year, release))
            if other != release:
                raise KetenpipeError(
                    f"table {BACI_FLOWS.name}: {revision} is of release '{other}' in {other_year} and of '{release}' "
                    f"in {year}, and a series never mixes two; materialise these years again from one release."
                )


def _releases(pairs: Iterable[tuple[str, str]]) -> str:
    return " and ".join(f"{revision} of release '{release}'" for revision, release in sorted(pairs)) or "no rows"
