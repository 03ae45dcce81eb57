"""The store: Parquet files under the home, each written whole or not at all.

Belongs here: paths, atomic writing, reading. DuckDB reads the files; no second store is kept.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ketenpipe.errors import KetenpipeError
from ketenpipe.tables.contract import Table
from ketenpipe.tables.files import UNFINISHED, fsync_directory, replacing, write_bytes_atomic
from ketenpipe.tables.home import AnyHome, LocalPlace, place_of
from ketenpipe.tables.stream import Stream, StreamCheck

__all__ = ("ROW_GROUP", "Store", "Stored", "fsync_directory", "write_bytes_atomic", "write_parquet", "write_stored")

ROW_GROUP = 122_880
COMPRESSION_LEVEL = 3
#: Where Arrow keeps its schema in a Parquet file.
_ARROW_SCHEMA = b"ARROW:schema"
_OPTIONS: dict[str, Any] = {
    "compression": "zstd",
    "compression_level": COMPRESSION_LEVEL,
    "version": "2.6",
    "store_schema": True,
}


def write_parquet(path: Path, table: pa.Table) -> None:
    """Write one Parquet file atomically (zstd 3, row groups of 122,880), deterministic for equal content."""
    with replacing(path) as temporary:
        _write_table(temporary, table)


def _write_table(path: Path, table: pa.Table) -> None:
    pq.write_table(table, str(path), row_group_size=ROW_GROUP, **_OPTIONS)


#: A part of a stored table: a Parquet file of this machine, or what gives its batches anew each time it is called.
Part = Path | Callable[[], Iterable[pa.RecordBatch]]


@dataclass(frozen=True)
class Stored:
    """A table that is read a row group at a time, part after part, whenever somebody asks for its rows.

    Attributes:
        contract: its contract.
        parts: in order, e.g. one per year. Where the key rises over all of them, never more than a row group is in
            memory when it is written (:func:`write_stored`).
    """

    contract: Table
    parts: tuple[Part, ...]

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows, in the order of the parts; plain text and dictionaries alike become plain text."""
        schema = self.contract.schema()
        for part in self.parts:
            if isinstance(part, Path):
                with pq.ParquetFile(part) as file:
                    yield from (_plain(batch, schema) for batch in file.iter_batches(batch_size=ROW_GROUP))
            else:
                yield from (_plain(batch, schema) for batch in part())

    def read(self) -> pa.Table:
        """All rows in memory."""
        return pa.Table.from_batches(self.batches(), self.contract.schema())


def _plain(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch with plain text, and with the contract's schema where its columns are those of the contract."""
    columns = [c.dictionary_decode() if pa.types.is_dictionary(c.type) else c for c in batch.columns]
    if batch.schema.names == schema.names and [c.type for c in columns] == schema.types:
        return pa.record_batch(columns, schema=schema)
    return pa.record_batch(columns, names=batch.schema.names)


def write_stored(path: Path, stored: Stored) -> int:
    """Write a stored table as one Parquet file, checked while it is written; how many rows it has.

    The bytes are those that :func:`write_parquet` leaves of the same rows in key order.

    Raises:
        KeyNotRising: the key does not rise over the parts (the file is then not there).
        ContractBroken: another rule of the contract does not hold.
    """
    check = StreamCheck(stored.contract)
    with (
        replacing(path) as temporary,
        pq.ParquetWriter(str(temporary), stored.contract.schema(), **_OPTIONS) as writer,
    ):
        for group in _row_groups(stored.batches(), check):
            writer.write_table(group, row_group_size=ROW_GROUP)
    return check.rows


def _row_groups(batches: Iterable[pa.RecordBatch], check: StreamCheck) -> Iterator[pa.Table]:
    """The same rows in tables of exactly a row group (the last one may be smaller), each in one chunk."""
    schema = check.table.schema()
    held: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        check.take(batch)
        while rows + batch.num_rows >= ROW_GROUP:
            cut = ROW_GROUP - rows
            yield pa.Table.from_batches([*held, batch.slice(0, cut)], schema).combine_chunks()
            batch, held, rows = batch.slice(cut), [], 0
        if batch.num_rows:
            held.append(batch)
            rows += batch.num_rows
    if held or not check.rows:
        yield pa.Table.from_batches(held, schema).combine_chunks()


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
        home: the folder, or the place on an S3 store, under which everything is written.
    """

    def __init__(self, home: AnyHome) -> None:
        self.place = place_of(home)

    @property
    def home(self) -> Path:
        """The home's folder.

        Raises:
            WrongUse: the home lies on an S3 store.
        """
        return self.place.path()

    def name(self, table: Table, partition: str | None = None) -> str:
        """What the table (or its year) is called in the home: ``tables/risk/flags.parquet``."""
        base = f"tables/{table.folder}/{table.name}"
        if not table.partitioned:
            return f"{base}.parquet"
        if partition is None:
            raise KetenpipeError(f"table {table.name} is stored per year; name the year")
        return f"{base}/{partition}.parquet"

    def path(self, table: Table, partition: str | None = None) -> Path:
        """Where the table (or its year) lies.

        Raises:
            WrongUse: the home lies on an S3 store.
        """
        return self.place.path(self.name(table, partition))

    def exists(self, table: Table, partition: str | None = None) -> bool:
        """Whether the table (or its year) is there."""
        return self.place.exists(self.name(table, partition))

    def stamp(self, table: Table, partition: str | None = None) -> tuple[str | int, ...] | None:
        """What moves whenever the table's file is changed; None if it is not there."""
        entry = self.place.entry(self.name(table, partition))
        return None if entry is None else entry.stamp

    def sha256(self, table: Table, partition: str | None = None) -> str | None:
        """The hash of the table's file; None if it is not there."""
        name = self.name(table, partition)
        return self.place.sha256(name) if self.place.exists(name) else None

    def metadata(self, table: Table, partition: str | None = None) -> dict[bytes, bytes]:
        """The metadata beside the stored table's schema, read from the file's footer."""
        with self._file(table, partition) as file:
            return dict(file.schema_arrow.metadata or {})

    def write(self, table: Table, data: pa.Table, partition: str | None = None) -> Path | None:
        """Check the data against the contract and replace the table (or its year) atomically.

        Returns:
            Its path; None on an S3 store.
        """
        table.check(data)
        name = self.name(table, partition)
        with self.place.replacing(name) as temporary:
            _write_table(temporary, data)
        return self._written(name)

    def write_stream(self, table: Table, stream: Stream, partition: str | None = None) -> Path | None:
        """Replace the table (or its year) atomically by batches that are checked and written while they come.

        Never more than a batch is in memory. The file is in its place only after the last batch held the contract:
        an error in any of them, or in what makes them, leaves what was there.

        Args:
            table: the contract.
            stream: batches in key order (see :class:`ketenpipe.tables.stream.Stream`).
            partition: the year, of a table by year.

        Returns:
            Its path; None on an S3 store.

        Raises:
            ContractBroken: a batch breaks the contract, or the key does not rise.
            DiskFull: no room.
        """
        name = self.name(table, partition)
        with self.place.replacing(name) as temporary:
            _write_stream(temporary, table, stream)
        return self._written(name)

    def _written(self, name: str) -> Path | None:
        return self.place.path(name) if isinstance(self.place, LocalPlace) else None

    def sweep(self) -> list[Path]:
        """Remove the unfinished files that a killed run left under ``tables/``; only while holding the home's lock.

        On an S3 store no unfinished file is ever seen; what was drafted in the working folder is removed.

        Returns:
            What was removed.
        """
        local = isinstance(self.place, LocalPlace)
        below, begin = (self.place.path("tables"), ".*") if local else (self.place.work / "drafts", "*")
        left = sorted(below.rglob(f"{begin}{UNFINISHED}"))
        for path in left:
            path.unlink(missing_ok=True)
        return left

    def rows(self, table: Table, partition: str | None = None) -> int:
        """How many rows the stored table (or year) has; read from the file's footer."""
        with self._file(table, partition) as file:
            return int(file.metadata.num_rows)

    def batches(self, table: Table, partition: str | None = None) -> Iterator[pa.RecordBatch]:
        """The stored table (or year), a row group at a time, text as dictionaries."""
        text = [c.name for c in table.columns if pa.types.is_string(c.type)]
        with self._file(table, partition, read_dictionary=text) as file:
            yield from file.iter_batches(batch_size=ROW_GROUP)

    def stored(self, table: Table, partitions: Iterable[str] | None = None) -> Stored:
        """The table, or the given years of it (all that are there by default), to be read when it is needed.

        Raises:
            KetenpipeError: one of them is not there.
        """
        wanted: list[str | None] = [None]
        if table.partitioned:
            wanted = list(self.partitions(table) if partitions is None else partitions)
        for partition in wanted:
            if not self.exists(table, partition):
                raise self._absent(table, self.name(table, partition))
        if isinstance(self.place, LocalPlace):
            return Stored(table, tuple(self.path(table, one) for one in wanted))
        return Stored(table, tuple(partial(self.batches, table, one) for one in wanted))

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
        found: set[tuple[Any, ...]] = set()
        with self._file(table, partition) as file:
            at = [file.schema_arrow.get_field_index(c) for c in columns]
            for group in range(file.num_row_groups):
                stated = [file.metadata.row_group(group).column(n).statistics for n in at]
                if all(s is not None and s.has_min_max and s.null_count == 0 and s.min == s.max for s in stated):
                    found.add(tuple(s.min for s in stated))
                    continue
                rows = file.read_row_group(group, columns=list(columns)).group_by(list(columns)).aggregate([])
                found |= {tuple(row[c] for c in columns) for row in rows.to_pylist()}
        return found

    def _file(self, table: Table, partition: str | None, **options: Any) -> pq.ParquetFile:
        name = self.name(table, partition)
        if not self.place.exists(name):
            raise self._absent(table, name)
        return pq.ParquetFile(self.place.key(name), filesystem=self.place.filesystem, **options)

    def _absent(self, table: Table, name: str) -> KetenpipeError:
        last = name.rsplit("/", 1)[-1]
        return KetenpipeError(f"table {table.name} is not there yet ({last}); run ketenpipe run first")

    def partitions(self, table: Table) -> list[str]:
        """The years that are there, sorted."""
        folder = f"tables/{table.folder}/{table.name}"
        names = (n.removeprefix(f"{folder}/") for n in self.place.files(folder))
        return sorted(n.removesuffix(".parquet") for n in names if n.endswith(".parquet") and "/" not in n)

    def read(
        self,
        table: Table,
        partitions: Iterable[str] | None = None,
        *,
        columns: Sequence[str] | None = None,
        codes: Collection[str] | None = None,
        filters: pc.Expression | None = None,
    ) -> pa.Table:
        """Read the table, or the given years of it (all that are there by default).

        Args:
            table: its contract.
            partitions: the years.
            columns: only these.
            codes: only the rows of these codes (column ``code``); row groups without any of them are not read.
            filters: only the rows for which this holds (``pc.field("importer") == "NLD"``), on any column of the
                contract, read or not; row groups without a match are not read.
        """
        wanted: list[str | None] = [None]
        if table.partitioned:
            wanted = list(self.partitions(table) if partitions is None else partitions)
        names = [self.name(table, p) for p in wanted]
        for name in names:
            if not self.place.exists(name):
                raise self._absent(table, name)
        if not names:
            return table.empty()
        keys, view = [self.place.key(n) for n in names], self.place.filesystem
        chosen = None if columns is None else list(columns)  # Arrow takes no other sequence
        if codes is not None:
            wanted_codes = pc.field("code").isin(pa.array(sorted(codes), pa.string()))
            filters = wanted_codes if filters is None else filters & wanted_codes
        if filters is not None:
            return pa.concat_tables([pq.read_table(k, columns=chosen, filters=filters, filesystem=view) for k in keys])
        parts = []
        for one in keys:
            with pq.ParquetFile(one, filesystem=view) as file:
                parts.append(file.read(columns=chosen))
        return pa.concat_tables(parts)
