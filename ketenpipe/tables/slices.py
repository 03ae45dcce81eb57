"""Rows of a table by key, as plain lists: many small groups cost a hundred times less than as data frames."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pyarrow as pa


def slices(table: pa.Table, keys: Sequence[str], columns: Sequence[str]) -> dict[tuple[Any, ...], dict[str, list[Any]]]:
    """Group a table by key: ``{(key values): {column: values}}``; a null is None, groups stand in key order.

    Args:
        table: any table of the registry.
        keys: the columns that make the key.
        columns: the columns wanted of each group.
    """
    ordered = table.select([*keys, *(c for c in columns if c not in keys)]).sort_by([(k, "ascending") for k in keys])
    found = list(zip(*(ordered.column(k).to_pylist() for k in keys), strict=True))
    starts = [k for k in range(len(found)) if k == 0 or found[k] != found[k - 1]]
    values = {c: ordered.column(c).to_pylist() for c in columns}
    return {found[a]: {c: held[a:b] for c, held in values.items()} for a, b in pairwise([*starts, len(found)])}
