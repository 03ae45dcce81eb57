"""Table ``indicators`` of all products and years, put together year after year without ever being one table.

Belongs here: joining the parts in the order of the contract's key. Does not belong here: a figure.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from ketenpipe.risk.facts import Persistence
from ketenpipe.risk.products import key_order
from ketenpipe.tables.registry import INDICATORS
from ketenpipe.tables.store import ROW_GROUP
from ketenpipe.tables.stream import Stream


def stream_indicators(
    years: Collection[int],
    read_products: Callable[[int], pa.Table],
    parts: Iterable[pa.Table] = (),
    persistent: Persistence | None = None,
    metadata: Mapping[bytes, bytes] | None = None,
) -> Stream:
    """All rows of contract ``indicators`` in key order, a year at a time.

    Args:
        years: of the products.
        read_products: the figures of level hs6 of a year, as
            :func:`ketenpipe.risk.products.build_product_indicators` makes them; text plain or as dictionaries.
        parts: what fits in memory, of any years: nodes, groups and chains, churn, the nowcast.
        persistent: gives geodep_criteria and P1 of a year.
        metadata: further metadata of the file.
    """
    small = [part for part in parts if part.num_rows]
    late = {int(y) for part in small for y in part.column("year").unique().to_pylist()}

    def batches() -> Iterator[pa.RecordBatch]:
        for year in sorted({*years, *late}):
            held = [part.filter(pc.field("year") == year) for part in small]
            if year in years:
                held.append(read_products(year))
                if persistent is not None:
                    held.append(persistent.rows(year))
            yield from ordered(held)

    return Stream(batches(), metadata or {})


def ordered(tables: Iterable[pa.Table]) -> Iterator[pa.RecordBatch]:
    """The rows of some tables of contract ``indicators`` in key order, text as dictionaries, in row groups."""
    held = [_coded(table) for table in tables if table.num_rows]
    if not held:
        return
    rows = pa.concat_tables(held).unify_dictionaries().combine_chunks()
    held.clear()
    yield from rows.take(key_order(rows, INDICATORS.key)).to_batches(max_chunksize=ROW_GROUP)


def _coded(table: pa.Table) -> pa.Table:
    """Text as dictionaries, the schema bare."""
    columns = []
    for column in INDICATORS.columns:
        data = table.column(column.name).combine_chunks()
        if pa.types.is_string(data.type):
            data = data.dictionary_encode()
        columns.append(data)
    return pa.table(columns, names=INDICATORS.names)
