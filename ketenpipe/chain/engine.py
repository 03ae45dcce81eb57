"""The engine that runs flow formulas: DuckDB in memory, fed from Arrow, read back as pandas or Arrow."""

from __future__ import annotations

from types import TracebackType

import duckdb
import narwhals.stable.v2 as nw
import pandas as pd
import pyarrow as pa


class Engine:
    """One in-memory DuckDB connection; lazy frames made by it can be joined with one another."""

    def __init__(self) -> None:
        # One thread: sums of floats on several differ in their last bits from run to run, and a figure that lies
        # on a rounding edge would then change the content hash of a release.
        self._connection = duckdb.connect(config={"threads": 1})
        self._count = 0

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def frame(self, name: str, table: pa.Table) -> nw.LazyFrame:
        """A lazy frame over an Arrow table."""
        self._connection.register(name, table)
        return nw.from_native(self._connection.table(name))

    def keep(self, frame: nw.LazyFrame) -> nw.LazyFrame:
        """Compute a frame once; a lazy frame used three times is otherwise computed three times."""
        self._count += 1
        name = f"kept_{self._count}"
        frame.to_native().create(name)
        return nw.from_native(self._connection.table(name))

    def pandas(self, frame: nw.LazyFrame) -> pd.DataFrame:
        """The frame's rows as pandas."""
        return frame.to_native().df()
