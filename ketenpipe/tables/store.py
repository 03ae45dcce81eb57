"""The store: Parquet files under the home, each written whole or not at all.

Belongs here: paths, atomic writing, reading. DuckDB reads the files; no second store is kept.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ketenpipe.errors import KetenpipeError
from ketenpipe.tables.contract import Table

ROW_GROUP = 122_880
COMPRESSION_LEVEL = 3


def fsync_directory(directory: Path) -> None:
    """Make a rename inside the directory durable."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes_atomic(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old bytes or the new ones, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as sink:
            sink.write(content)
            sink.flush()
            os.fsync(sink.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    fsync_directory(path.parent)


def write_parquet(path: Path, table: pa.Table) -> None:
    """Write one Parquet file atomically (zstd 3, row groups of 122,880), deterministic for equal content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        pq.write_table(
            table,
            temporary,
            compression="zstd",
            compression_level=COMPRESSION_LEVEL,
            row_group_size=ROW_GROUP,
            version="2.6",
            store_schema=True,
        )
        with Path(temporary).open("rb") as written:
            os.fsync(written.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    fsync_directory(path.parent)


class Store:
    """Tables of one home: ``<home>/tables/<folder>/<table>.parquet``, per year for partitioned ones.

    Args:
        home: the directory under which everything is written.
    """

    def __init__(self, home: Path) -> None:
        self.home = Path(home)

    def path(self, table: Table, partition: str | None = None) -> Path:
        """Where the table (or its year) lies."""
        base = self.home / "tables" / table.folder
        if table.partitioned:
            if partition is None:
                raise KetenpipeError(f"table {table.name} is stored per year; name the year")
            return base / table.name / f"{partition}.parquet"
        return base / f"{table.name}.parquet"

    def write(self, table: Table, data: pa.Table, partition: str | None = None) -> Path:
        """Check the data against the contract and replace the table (or its year) atomically."""
        table.check(data)
        path = self.path(table, partition)
        write_parquet(path, data)
        return path

    def partitions(self, table: Table) -> list[str]:
        """The years that are there, sorted."""
        folder = self.home / "tables" / table.folder / table.name
        return sorted(p.stem for p in folder.glob("*.parquet"))

    def read(self, table: Table, partitions: Iterable[str] | None = None) -> pa.Table:
        """Read the table, or the given years of it (all that are there by default)."""
        if table.partitioned:
            wanted = self.partitions(table) if partitions is None else list(partitions)
            paths = [self.path(table, p) for p in wanted]
        else:
            paths = [self.path(table)]
        if missing := [p for p in paths if not p.exists()]:
            raise KetenpipeError(f"table {table.name} is not there yet ({missing[0].name}); run ketenpipe run first")
        if not paths:
            return table.empty()
        tables = [pq.ParquetFile(p).read() for p in paths]
        return pa.concat_tables(tables)
