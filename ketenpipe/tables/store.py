"""The store: Parquet files under the home, each written whole or not at all.

Belongs here: paths, atomic writing, reading. DuckDB reads the files; no second store is kept.
"""

from __future__ import annotations

import base64
import errno
import os
import tempfile
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ketenpipe.errors import DiskFull, KetenpipeError
from ketenpipe.tables.contract import Table
from ketenpipe.tables.stream import Stream, StreamCheck

ROW_GROUP = 122_880
COMPRESSION_LEVEL = 3
#: How an unfinished file ends: ``.2022.parquet.x1y2z3.part``. A killed run leaves it, the next one removes it.
UNFINISHED = ".part"
#: Where Arrow keeps its schema in a Parquet file.
_ARROW_SCHEMA = b"ARROW:schema"
_FULL = (errno.ENOSPC, errno.EDQUOT)


def fsync_directory(directory: Path) -> None:
    """Make a rename inside the directory durable."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside ``path`` that takes its place, durably, when the block ends well.

    A reader sees the old bytes or the new ones, never a part. Whatever goes wrong, the old file stays and the
    temporary one is removed; only a killed process leaves it (``.<name>.<random>.part``).

    Raises:
        DiskFull: no room (or no quota) left.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=UNFINISHED)
        temporary = Path(name)
        os.close(handle)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException as broken:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        if isinstance(broken, OSError) and broken.errno in _FULL:
            kept = "; the file that was there before is untouched" if path.exists() else ""
            raise DiskFull(f"{path}: no room left on the disk to write it{kept}; make room and run again.") from broken
        raise
    fsync_directory(path.parent)


def write_bytes_atomic(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old bytes or the new ones, never a part; see :func:`replacing`."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_parquet(path: Path, table: pa.Table) -> None:
    """Write one Parquet file atomically (zstd 3, row groups of 122,880), deterministic for equal content."""
    with replacing(path) as temporary:
        pq.write_table(
            table,
            str(temporary),
            compression="zstd",
            compression_level=COMPRESSION_LEVEL,
            row_group_size=ROW_GROUP,
            version="2.6",
            store_schema=True,
        )


def _write_stream(path: Path, table: Table, stream: Stream) -> None:
    """Check and write batch after batch, each a row group (a larger one several), deterministic for equal batches.

    Text is handed to Parquet as dictionaries, which saves it a third of the time. What Arrow then would store is a
    schema of dictionaries; the contract's own schema is stored instead, so that whoever reads gets plain text, with
    units and descriptions.
    """
    check, schema = StreamCheck(table), table.schema()
    text = [pa.types.is_string(c.type) for c in table.columns]
    coded = pa.schema(
        [f.with_type(pa.dictionary(pa.int32(), f.type)) if t else f for f, t in zip(schema, text, strict=True)]
    )
    with pq.ParquetWriter(
        str(path),
        coded,
        compression="zstd",
        compression_level=COMPRESSION_LEVEL,
        version="2.6",
        store_schema=False,
        use_dictionary=[c.name for c in table.columns if not _is_figure(c.type)],
    ) as writer:
        with closing(_ahead(stream.batches)) as batches:
            for batch in batches:
                check.take(batch)
                columns = [_coded(column) if t else column for column, t in zip(batch.columns, text, strict=True)]
                writer.write_batch(pa.record_batch(columns, schema=coded), row_group_size=ROW_GROUP)
        metadata = {**(schema.metadata or {}), **stream.metadata}
        arrow = base64.b64encode(schema.with_metadata(metadata).serialize().to_pybytes())
        writer.add_key_value_metadata({**metadata, _ARROW_SCHEMA: arrow})


def _ahead(batches: Iterable[pa.RecordBatch]) -> Generator[pa.RecordBatch, None, None]:
    """The same batches, the next one being made by a helper thread while the last one is written."""
    source = iter(batches)
    with ThreadPoolExecutor(max_workers=1) as helper:
        coming = helper.submit(next, source, None)
        while (batch := coming.result()) is not None:
            coming = helper.submit(next, source, None)
            yield batch


def _is_figure(kind: pa.DataType) -> bool:
    """Nearly every value differs: a dictionary would only cost time."""
    return pa.types.is_floating(kind) or pa.types.is_decimal(kind)


def _coded(column: pa.Array) -> pa.DictionaryArray:
    if not pa.types.is_dictionary(column.type):
        return column.dictionary_encode()
    if column.dictionary.null_count:
        return column.dictionary_decode().dictionary_encode()
    return pa.DictionaryArray.from_arrays(column.indices.cast(pa.int32()), column.dictionary)


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

    def write_stream(self, table: Table, stream: Stream, partition: str | None = None) -> Path:
        """Replace the table (or its year) atomically by batches that are checked and written while they come.

        Never more than a batch is in memory. The file is in its place only after the last batch held the contract:
        an error in any of them, or in what makes them, leaves what was there.

        Args:
            table: the contract.
            stream: batches in key order (see :class:`ketenpipe.tables.stream.Stream`).
            partition: the year, of a table by year.

        Raises:
            ContractBroken: a batch breaks the contract, or the key does not rise.
            DiskFull: no room.
        """
        path = self.path(table, partition)
        with replacing(path) as temporary:
            _write_stream(temporary, table, stream)
        return path

    def sweep(self) -> list[Path]:
        """Remove the unfinished files that a killed run left under ``tables/``; only while holding the home's lock.

        Returns:
            What was removed.
        """
        left = sorted((self.home / "tables").rglob(f".*{UNFINISHED}"))
        for path in left:
            path.unlink()
        return left

    def rows(self, table: Table, partition: str | None = None) -> int:
        """How many rows the stored table (or year) has; read from the file's footer."""
        path = self.path(table, partition)
        if not path.exists():
            raise self._absent(table, path)
        return int(pq.read_metadata(path).num_rows)

    def batches(self, table: Table, partition: str | None = None) -> Iterator[pa.RecordBatch]:
        """The stored table (or year), a row group at a time, text as dictionaries."""
        path = self.path(table, partition)
        if not path.exists():
            raise self._absent(table, path)
        text = [c.name for c in table.columns if pa.types.is_string(c.type)]
        with pq.ParquetFile(path, read_dictionary=text) as file:
            yield from file.iter_batches(batch_size=ROW_GROUP)

    def check(self, table: Table, partition: str | None = None) -> int:
        """Hold the stored table (or year) against its contract, a row group at a time; how many rows it has.

        For tables that are stored in key order, as :meth:`write_stream` leaves them.

        Raises:
            ContractBroken: with the first rule that does not hold.
        """
        check = StreamCheck(table)
        for batch in self.batches(table, partition):
            check.take(batch)
        return check.rows

    def distinct(self, table: Table, columns: Sequence[str], partition: str | None = None) -> set[tuple[Any, ...]]:
        """The different values of some columns of the stored table (or year), together.

        Where a row group's statistics say that each column has one value throughout, as they do for a release or an
        HS revision, nothing is read.
        """
        path = self.path(table, partition)
        if not path.exists():
            raise self._absent(table, path)
        found: set[tuple[Any, ...]] = set()
        with pq.ParquetFile(path) as file:
            at = [file.schema_arrow.get_field_index(c) for c in columns]
            for group in range(file.num_row_groups):
                stated = [file.metadata.row_group(group).column(n).statistics for n in at]
                if all(s is not None and s.has_min_max and s.null_count == 0 and s.min == s.max for s in stated):
                    found.add(tuple(s.min for s in stated))
                    continue
                rows = file.read_row_group(group, columns=list(columns)).group_by(list(columns)).aggregate([])
                found |= {tuple(row[c] for c in columns) for row in rows.to_pylist()}
        return found

    def _absent(self, table: Table, path: Path) -> KetenpipeError:
        return KetenpipeError(f"table {table.name} is not there yet ({path.name}); run ketenpipe run first")

    def partitions(self, table: Table) -> list[str]:
        """The years that are there, sorted."""
        folder = self.home / "tables" / table.folder / table.name
        return sorted(p.stem for p in folder.glob("*.parquet"))

    def read(
        self,
        table: Table,
        partitions: Iterable[str] | None = None,
        *,
        columns: Sequence[str] | None = None,
        codes: Collection[str] | None = None,
    ) -> pa.Table:
        """Read the table, or the given years of it (all that are there by default).

        Args:
            table: its contract.
            partitions: the years.
            columns: only these.
            codes: only the rows of these codes (column ``code``); row groups without any of them are not read.
        """
        if table.partitioned:
            wanted = self.partitions(table) if partitions is None else list(partitions)
            paths = [self.path(table, p) for p in wanted]
        else:
            paths = [self.path(table)]
        if missing := [p for p in paths if not p.exists()]:
            raise self._absent(table, missing[0])
        if not paths:
            return table.empty()
        if codes is not None:
            wanted_codes = pc.field("code").isin(pa.array(sorted(codes), pa.string()))
            return pa.concat_tables([pq.read_table(p, columns=columns, filters=wanted_codes) for p in paths])
        return pa.concat_tables([pq.ParquetFile(p).read(columns=columns) for p in paths])
