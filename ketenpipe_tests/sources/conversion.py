"""Flows carried to another HS revision by weights, one flow at a time: the oracle of the conversion of reports.

It shares no code with :func:`ketenpipe.sources.reconciliation.to_revision`: both must conserve the same totals.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ketenpipe.errors import WrongUse
from ketenpipe.sources.hs_weights import UNIT, HsWeights
from ketenpipe.tables.registry import MONEY


@dataclass(frozen=True)
class Conversion:
    """Converted flows, and those that have no target code (in the columns and the revision they came in)."""

    flows: pa.Table
    unconverted: pa.Table


def _one_each(remainder: np.ndarray, group: np.ndarray, left: np.ndarray) -> np.ndarray:
    """1 for the ``left[g]`` rows of each group with the largest remainder, else 0."""
    order = np.lexsort((np.arange(len(group)), -remainder, group))
    first = np.searchsorted(group[order], group[order])
    place = np.arange(len(group)) - first
    extra = np.zeros(len(group), dtype=np.int64)
    extra[order] = (place < left[group[order]]).astype(np.int64)
    return extra


def _sums(values: np.ndarray, group: np.ndarray, groups: int) -> np.ndarray:
    out = np.zeros(groups, dtype=np.int64)
    np.add.at(out, group, values)
    return out


def convert_flows(
    flows: pa.Table, weights: HsWeights, *, value: str = "value_kusd", mass: str | None = "tonnes"
) -> Conversion:
    """Flows in another HS revision: ``v'_b = sum_a w[a,b] v_a`` for every reporter, partner and period.

    Each flow's value is split into whole thousandths by largest remainder, so totals are kept exactly, flow by flow:
    what goes in comes out as ``flows`` plus ``unconverted``. A mass is split in proportion; where codes merge, known
    masses are summed and the result is null only where no part has one.

    Args:
        flows: a table with ``hs_revision``, ``code``, the value and other columns that name the flow (``baci_flows``,
            ``reconciled``); of one revision.
        weights: from that revision to another.
        value: column of money (decimal, three places).
        mass: column of tonnes, None where there is none.

    Raises:
        WrongUse: flows of another revision than the weights', or a negative value.
    """
    revisions = set(flows["hs_revision"].unique().to_pylist())
    if flows.num_rows and revisions != {weights.from_revision}:
        raise WrongUse(
            f"the flows are in {', '.join(sorted(revisions))} and the weights lead from {weights.from_revision}"
        )
    table = weights.table.filter(pc.greater(weights.table["weight"], 0.0))
    sources, start, spread = np.unique(
        table["from_code"].to_numpy(zero_copy_only=False).astype(str), return_index=True, return_counts=True
    )
    goals = table["to_code"].to_numpy(zero_copy_only=False)
    units = np.rint(table["weight"].to_numpy() * UNIT).astype(np.int64)
    # Per code of the flows: where its weights begin in the table (sorted by code) and how many there are.
    coded = pa.chunked_array(flows["code"].chunks, pa.string()).combine_chunks().dictionary_encode()
    place = pc.fill_null(pc.index_in(coded.dictionary, pa.array(sources, pa.string())), -1).to_numpy()
    which = place[coded.indices.to_numpy()]
    unconverted = flows.take(pa.array(np.flatnonzero(which < 0)))
    order = np.flatnonzero(which >= 0)
    which = which[order]
    copies = spread[which]
    group = np.repeat(np.arange(len(order)), copies)
    at = start[which][group] + np.arange(len(group)) - np.repeat(np.cumsum(copies) - copies, copies)
    thousandths = _thousandths(flows[value])[order]
    if (thousandths < 0).any():
        raise WrongUse(f"the column {value} holds a negative value, which cannot be split by shares")
    # u * w / 1e9 in two steps, for the product does not fit 64 bits.
    high, low = np.divmod(thousandths[group], UNIT)
    whole, remainder = np.divmod(low * units[at], UNIT)
    whole += high * units[at]
    left = thousandths - _sums(whole, group, len(order))
    whole += _one_each(remainder, group, left)
    keys = [n for n in flows.column_names if n not in ("hs_revision", "code", value, mass)]
    taken = flows.select(keys).take(pa.array(order[group]))
    columns: dict[str, pa.ChunkedArray | pa.Array] = {n: taken[n] for n in keys}
    columns["code"] = pa.array(goals[at], pa.string())
    columns["_money"] = pa.array(whole, pa.int64())
    aggregates: list[tuple[str, str] | tuple[str, str, pc.FunctionOptions]] = [("_money", "sum")]
    if mass is not None:
        tonnes = flows[mass].take(pa.array(order[group]))
        columns["_mass"] = pc.multiply(tonnes, pa.array(units[at] / UNIT))
        aggregates.append(("_mass", "sum", pc.ScalarAggregateOptions(min_count=1)))
    grouped = pa.table(columns).group_by([*keys, "code"], use_threads=False).aggregate(aggregates)
    out: dict[str, pa.ChunkedArray | pa.Array] = {}
    for name in flows.column_names:
        if name == "hs_revision":
            out[name] = pa.array([weights.to_revision] * grouped.num_rows, pa.string())
        elif name == value:
            out[name] = _money(grouped["_money_sum"].to_numpy())
        elif name == mass:
            out[name] = grouped["_mass_sum"]
        else:
            out[name] = grouped[name]
    by = [(n, "ascending") for n in ("hs_revision", "year", "period", "code", "importer", "exporter") if n in out]
    return Conversion(pa.table(out).cast(flows.schema).sort_by(by), unconverted)


def _thousandths(column: pa.ChunkedArray) -> np.ndarray:
    """Money as whole thousandths."""
    scaled = pc.multiply(pc.cast(column, pa.decimal128(23, 3)), pa.scalar(Decimal(1000), pa.decimal128(5, 0)))
    return pc.cast(scaled, pa.int64()).to_numpy(zero_copy_only=False).astype(np.int64)


def _money(thousandths: np.ndarray) -> pa.Array:
    whole = pc.cast(pa.array(thousandths, pa.int64()), pa.decimal128(19, 0))
    return pc.cast(pc.multiply(whole, pa.scalar(Decimal("0.001"), pa.decimal128(4, 3))), MONEY)
