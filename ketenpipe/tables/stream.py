"""Rows that come batch after batch, held against a table's contract without ever being one table.

Belongs here: the check. Does not belong here: files (:mod:`ketenpipe.tables.store`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ketenpipe.errors import ContractBroken
from ketenpipe.tables.contract import Table


@dataclass(frozen=True)
class Stream:
    """A table, or a year of one, that is written while it is made.

    Attributes:
        batches: in key order, over all of them; each becomes a row group. Text may come as dictionaries.
        metadata: further metadata of the file. Read after the last batch, so that whoever makes the batches may
            fill it on the way.
    """

    batches: Iterable[pa.RecordBatch]
    metadata: Mapping[bytes, bytes] = field(default_factory=dict)


class KeyNotRising(ContractBroken):
    """Rows that come in another order than that of their key."""


class StreamCheck:
    """Holds each batch against a contract: names, types, nulls, lists, bounds, and the key that must rise.

    A key that rises from row to row is both unique and sorted, so that one look at neighbours says what
    :meth:`Table.check` needs a whole table for. A null in a key comes after every value.
    """

    def __init__(self, table: Table) -> None:
        self.table = table
        self.rows = 0
        self._names = table.names
        self._columns = {c.name: replace(table, columns=(c,), key=()) for c in table.columns}
        self._last: tuple[Any, ...] | None = None

    def take(self, batch: pa.RecordBatch) -> None:
        """Check the next batch.

        Raises:
            ContractBroken: with the first rule that does not hold, the column and an example.
        """
        if batch.schema.names != self._names:
            raise ContractBroken(f"table {self.table.name}: columns {batch.schema.names} instead of {self._names}")
        for name, only in self._columns.items():
            self._column(name, only, batch.column(name))
        if self.table.key and batch.num_rows:
            self._key(batch)
        self.rows += batch.num_rows

    def _column(self, name: str, only: Table, data: pa.Array) -> None:
        column = self.table.column(name)
        if pa.types.is_dictionary(data.type) and data.type.value_type == column.type:
            if column.allowed is None and data.indices.null_count == 0 and data.dictionary.null_count == 0:
                return
            data = data.dictionary_decode()
        only.check(pa.table({name: data}))

    def _key(self, batch: pa.RecordBatch) -> None:
        columns = [batch.column(name) for name in self.table.key]
        rows = batch.num_rows
        later, same = np.zeros(rows - 1, np.bool_), np.ones(rows - 1, np.bool_)
        for column in columns:
            ranks = _ranks(column)
            if ranks[0] == ranks[-1] and (ranks == ranks[0]).all():
                continue
            later |= same & (ranks[1:] > ranks[:-1])
            same &= ranks[1:] == ranks[:-1]
        if not later.all():
            at = int(np.argmin(later))
            raise self._disorder(_key_at(columns, at), _key_at(columns, at + 1))
        first = _key_at(columns, 0)
        if self._last is not None and _ordered(first) <= _ordered(self._last):
            raise self._disorder(self._last, first)
        self._last = _key_at(columns, rows - 1)

    def _disorder(self, before: tuple[Any, ...], after: tuple[Any, ...]) -> ContractBroken:
        one, two = (dict(zip(self.table.key, key, strict=True)) for key in (before, after))
        if before == after:
            return ContractBroken(f"table {self.table.name}: key {one} stands more than once")
        return KeyNotRising(f"table {self.table.name}: key {two} comes after {one}, against the order of the key")


def _ranks(column: pa.Array) -> npt.NDArray[np.int64]:
    """Numbers that stand in the order of the column's values (nulls last), equal where the values are."""
    if pa.types.is_integer(column.type) and column.null_count == 0:
        whole: npt.NDArray[np.int64] = column.to_numpy(zero_copy_only=False)
        return whole
    coded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    places: npt.NDArray[np.int64] = pc.rank(coded.dictionary, tiebreaker="dense").to_numpy().astype(np.int64)
    indices = coded.indices.fill_null(len(places)).to_numpy(zero_copy_only=False)
    ranks: npt.NDArray[np.int64] = np.append(places, len(places) + 1)[indices]
    return ranks


def _key_at(columns: list[pa.Array], row: int) -> tuple[Any, ...]:
    return tuple(column[row].as_py() for column in columns)


def _ordered(key: tuple[Any, ...]) -> tuple[tuple[bool, Any], ...]:
    return tuple((value is None, 0 if value is None else value) for value in key)
