"""What a table contract is: columns with types, units and meaning, keys, and the check that holds it.

Belongs here: the machinery. The contracts themselves stand in :mod:`ketenpipe.tables.registry`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ketenpipe.errors import ContractBroken

SIGNIFICANT_DIGITS = 9


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Args:
        name: column name; units ride in it where the field's habit allows (``value_kusd``).
        type: Arrow type, never nested.
        description: what it means, in one sentence.
        unit: unit of measure (``thousand USD``, ``t``, ``share``), None for labels.
        nullable: False means a null breaks the contract.
        allowed: closed list of values, if there is one.
        minimum, maximum: inclusive bounds of a figure.
        source: where the figure comes from.
    """

    name: str
    type: pa.DataType
    description: str
    unit: str | None = None
    nullable: bool = True
    allowed: tuple[str, ...] | None = None
    minimum: float | None = None
    maximum: float | None = None
    source: str | None = None

    def field(self) -> pa.Field:
        """The Arrow field, with description, unit and source as metadata."""
        metadata = {"description": self.description}
        if self.unit:
            metadata["unit"] = self.unit
        if self.source:
            metadata["source"] = self.source
        return pa.field(self.name, self.type, nullable=self.nullable, metadata=metadata)


@dataclass(frozen=True)
class Table:
    """The contract of one table: its folder, grain and columns.

    Args:
        name: table and file name.
        folder: the folder of the method it belongs to (sources, chain, risk, review, observatory).
        description: what one row is.
        columns: in order.
        key: columns that together identify a row.
        released: whether a release carries it.
        partitioned: stored one file per year.
        owner: who answers for it.
        group: the group that it stands in where the assets are shown; that of its folder where none is given.
    """

    name: str
    folder: str
    description: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    released: bool = False
    partitioned: bool = False
    owner: str = "team:ketenpipe"
    group: str | None = None
    schema_version: str = "1"
    _by_name: dict[str, Column] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._by_name.update({c.name: c for c in self.columns})
        if missing := [k for k in self.key if k not in self._by_name]:
            raise ValueError(f"table {self.name}: key columns {missing} are not among its columns")

    @property
    def names(self) -> list[str]:
        """Column names in order."""
        return [c.name for c in self.columns]

    def column(self, name: str) -> Column:
        """The column of that name (KeyError if there is none)."""
        return self._by_name[name]

    def schema(self) -> pa.Schema:
        """Arrow schema with units, sources and descriptions in the field metadata."""
        return pa.schema(
            [c.field() for c in self.columns],
            metadata={
                "table": self.name,
                "description": self.description,
                "key": ",".join(self.key),
                "schema_version": self.schema_version,
            },
        )

    def empty(self) -> pa.Table:
        """A table of this contract without rows."""
        return self.schema().empty_table()

    def conform(self, data: pa.Table | pd.DataFrame | Iterable[dict[str, object]]) -> pa.Table:
        """Bring data into the contract: columns by *name*, types cast, sorted by key, figures rounded.

        A column that the contract does not know is refused (it would be lost without a word); a missing
        nullable one is filled with nulls. NaN becomes null: a figure that cannot be had is null.
        Floats are rounded to nine significant digits, so that the last bits of BLAS never reach a hash.

        Raises:
            ContractBroken: unknown column, missing required column, a value that does not fit its type,
                a null where none may be, a value outside its list or bounds, a key that repeats.
        """
        table = _to_arrow(data, self)
        if unknown := [n for n in table.column_names if n not in self._by_name]:
            raise ContractBroken(f"table {self.name}: column(s) {', '.join(unknown)} are not in its contract")
        arrays: list[pa.ChunkedArray | pa.Array] = []
        for c in self.columns:
            if c.name not in table.column_names:
                if not c.nullable:
                    raise ContractBroken(f"table {self.name}: column {c.name} is missing")
                arrays.append(pa.nulls(table.num_rows, c.type))
                continue
            arrays.append(_cast(table.column(c.name), c, self.name))
        out = pa.table(arrays, schema=self.schema())
        if self.key:
            out = out.sort_by([(k, "ascending") for k in self.key])
        self.check(out)
        return out

    def check(self, table: pa.Table) -> None:
        """Hold a table against the contract (types, nulls, lists, bounds, key).

        Raises:
            ContractBroken: with the first rule that does not hold, the column and an example.
        """
        expected = self.schema()
        if table.schema.names != expected.names:
            raise ContractBroken(f"table {self.name}: columns {table.schema.names} instead of {expected.names}")
        for c in self.columns:
            data = table.column(c.name)
            if data.type != c.type:
                raise ContractBroken(f"table {self.name}: column {c.name} is {data.type}, not {c.type}")
            if not c.nullable and data.null_count:
                raise ContractBroken(
                    f"table {self.name}: column {c.name} has {data.null_count} null(s) where none may be"
                )
            if pa.types.is_floating(c.type):
                bad = pc.sum(pc.invert(pc.is_finite(pc.fill_null(data, 0.0)))).as_py()
                if bad:
                    raise ContractBroken(f"table {self.name}: column {c.name} has {bad} infinite value(s)")
            if c.allowed is not None:
                strange = pc.filter(data, pc.invert(pc.is_in(data, pa.array([*c.allowed, None], c.type))))
                if len(strange):
                    raise ContractBroken(
                        f"table {self.name}: column {c.name} has {strange[0].as_py()!r}, which is not one of "
                        f"{', '.join(c.allowed)}"
                    )
            if table.num_rows and (c.minimum is not None or c.maximum is not None):
                low, high = (float(x) if x is not None else None for x in pc.min_max(data).as_py().values())
                slack = 1e-9
                if low is not None and c.minimum is not None and low < c.minimum - slack:
                    raise ContractBroken(f"table {self.name}: column {c.name} falls to {low}, below {c.minimum}")
                if high is not None and c.maximum is not None and high > c.maximum + slack:
                    raise ContractBroken(f"table {self.name}: column {c.name} reaches {high}, above {c.maximum}")
        if self.key and table.num_rows:
            groups = (
                table.select(list(self.key)).group_by(list(self.key), use_threads=False).aggregate([([], "count_all")])
            )
            if groups.num_rows != table.num_rows:
                repeated = groups.filter(pc.greater(groups.column("count_all"), 1)).slice(0, 1).to_pylist()[0]
                repeated.pop("count_all")
                raise ContractBroken(f"table {self.name}: key {repeated} stands more than once")


#: The largest power of ten that a double holds exactly.
EXACT_POWERS = 22


def round_significant(values: np.ndarray, digits: int = SIGNIFICANT_DIGITS) -> np.ndarray:
    """Round to a number of significant digits (not decimals); NaN, infinities, 0 and what is near it (1e-298) stay."""
    out = np.asarray(values, dtype=np.float64).copy()
    # Below the smallest normal double there are no nine digits to keep.
    usable = np.isfinite(out) & (np.abs(out) > np.finfo(np.float64).tiny * 10.0**digits)
    exponent = np.floor(np.log10(np.abs(out[usable])))
    shift = digits - 1 - exponent
    # Powers of ten are exact doubles up to 1e22 only; what needs a larger one is rare, and written out instead.
    far = np.abs(shift) > EXACT_POWERS
    shift[far] = 0.0
    # Dividing by a power of ten >= 1 (instead of multiplying by one < 1) keeps the result the nearest double.
    scale = np.power(10.0, np.abs(shift))
    scaled = np.where(shift < 0, out[usable] / scale, out[usable] * scale)
    rounded = np.round(scaled)
    found = np.where(shift < 0, rounded * scale, rounded / scale)
    found[far] = [float(f"{value:.{digits - 1}e}") for value in out[usable][far]]
    out[usable] = found
    return out


def _to_arrow(data: pa.Table | pd.DataFrame | Iterable[dict[str, object]], table: Table) -> pa.Table:
    if isinstance(data, pa.Table):
        return data
    try:
        if isinstance(data, pd.DataFrame):
            if data.empty and set(data.columns) <= set(table.names):
                return table.empty()
            columns = {}
            for name in data.columns:
                kind = table.column(name).type if name in table._by_name else None
                series = data[name]
                if kind is not None and not pa.types.is_floating(kind):
                    columns[name] = _column_of(series, kind)
                elif kind is not None:
                    columns[name] = pa.array(pd.to_numeric(series).to_numpy(dtype=np.float64, na_value=np.nan))
                else:
                    columns[name] = pa.array(series)
            return pa.table(columns)
        rows = list(data)
        if not rows:
            return table.empty()
        names = [c.name for c in table.columns if any(c.name in r for r in rows)]
        unknown = sorted({k for r in rows for k in r} - set(table.names))
        if unknown:
            raise ContractBroken(f"table {table.name}: column(s) {', '.join(unknown)} are not in its contract")
        return pa.table(
            {n: pa.array([None if _missing(r.get(n)) else r.get(n) for r in rows], table.column(n).type) for n in names}
        )
    except (pa.ArrowInvalid, pa.ArrowTypeError, ValueError, TypeError) as error:
        raise ContractBroken(f"table {table.name}: {error}") from error


def _column_of(series: pd.Series, kind: pa.DataType) -> pa.Array:
    """A pandas column as Arrow, missing values of every sort as null; whole floats may become integers."""
    if pa.types.is_string(kind):
        return pa.array(series, kind, from_pandas=True)
    try:
        return pa.array(series, kind, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        # Whole floats among objects, and what is wrong: one value at a time, so that the value can be named.
        values = [None if _missing(v) else v for v in series.tolist()]
    if pa.types.is_integer(kind):
        if broken := [v for v in values if v is not None and int(v) != v]:
            raise ValueError(f"column {series.name} has {broken[0]!r}, which is no whole number")
        values = [None if v is None else int(v) for v in values]
    return pa.array(values, kind)


def _missing(value: object) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value)


def _cast(data: pa.ChunkedArray, column: Column, table: str) -> pa.ChunkedArray:
    try:
        if pa.types.is_floating(column.type):
            values = pc.cast(data, pa.float64()).to_numpy(zero_copy_only=False)
            rounded = round_significant(values)
            return pa.chunked_array([pa.array(rounded, column.type, mask=np.isnan(rounded))])
        return pc.cast(data, column.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ContractBroken(f"table {table}: column {column.name} does not fit {column.type}: {error}") from error
