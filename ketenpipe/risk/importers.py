"""Direct indicators of every importer and product of a year at once, so that every importer can be compared.

Belongs here: C1, C2, C4a, C5, S1, suppliers and rank of all importers, by value. Does not belong here: the indicators
of a focus by value and mass with their methods (:mod:`ketenpipe.risk.direct`); the sums themselves, which are lazy
expressions of :mod:`ketenpipe.chain.flows`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import narwhals.stable.v2 as nw
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ketenpipe.chain.engine import BATCH_ROWS, Engine
from ketenpipe.chain.flows import (
    exact_concentration,
    mark_of,
    sold_by_exporters,
    supply_of_importers,
    trader_marks,
    value_of,
)
from ketenpipe.tables.registry import IMPORTERS
from ketenpipe.tables.stream import Stream

#: C1 is compared to so many decimals: equal mixes have equal ranks whatever the last bits say.
RANK_DECIMALS = 12
#: A product, within an HS revision and year.
KEY = ["code"]


def importer_indicators(
    engine: Engine, flows: nw.LazyFrame, union: nw.LazyFrame, hs_revision: str, year: int
) -> nw.LazyFrame:
    """The direct indicators of every country that imports a product, for every product of an HS revision and year.

    * ``imports = sum_i X[i,j]`` over exporters i other than j, thousand USD
    * ``C1 = sum_i s_i^2``, ``C2 = sum_i e_i^2`` over all exporters of the product
    * ``C4a`` = largest origin outside j and outside the EU27, over the imports; 0 where there is none
    * ``C5`` = imports from outside the EU27 over imports
    * ``S1`` = imports over exports of j; null with reason ``no_exports`` where it exports nothing

    Sums are of decimals and exact, so that the figures have the same bits on any number of threads (and on Spark); they
    equal what :func:`ketenpipe.risk.direct.direct_indicators` gives for a country by value.

    Args:
        engine: runs the expressions and keeps what is used twice.
        flows: flow frame, between countries (no bloc merged).
        union: ``country`` of the EU27.
        hs_revision, year: the flows that are meant.

    Returns:
        Lazy frame of the columns of the contract ``importers`` without ``c1_rank``, in no order.
    """
    flows = flows.filter(nw.col("hs_revision") == hs_revision, nw.col("year") == year)
    sold = engine.keep(sold_by_exporters(flows, KEY))
    marks = engine.keep(trader_marks(sold, union))
    bought = engine.keep(supply_of_importers(flows, marks, KEY))
    world = exact_concentration(sold, "v", KEY).rename({"hhi": "C2"})
    own = sold.select(*KEY, importer="country", sold=nw.col("v").cast(nw.Float64))
    imports, exports = nw.col("imports"), nw.col("sold")
    named = (
        bought.with_columns(supplier=mark_of("top"), third_supplier=mark_of("top_third"))
        .join(marks.select(supplier="mark", top_supplier="exporter"), on="supplier", how="left")
        .join(marks.select(third_supplier="mark", C4a_country="exporter"), on="third_supplier", how="left")
    )
    return (
        named.join(world, on=KEY, how="left")
        .join(own, on=[*KEY, "importer"], how="left")
        .with_columns(imports=nw.col("bought").cast(nw.Float64))
        .select(
            "importer",
            "code",
            "top_supplier",
            "C2",
            "C4a_country",
            hs_revision=nw.lit(hs_revision),
            year=nw.lit(year).cast(nw.Int32),
            imports_kusd=nw.col("bought").cast(nw.Decimal(18, 3)),
            suppliers=nw.col("suppliers").cast(nw.Int64),
            top_share=value_of("top") / imports,
            C1=nw.col("squares") / (imports * imports),
            C4a=value_of("top_third").fill_null(0.0) / imports,
            C5=nw.col("third").cast(nw.Float64).fill_null(0.0) / imports,
            S1=nw.when(exports > 0).then(imports / exports),
            reason=nw.when(exports.is_null()).then(nw.lit("no_exports")),
        )
    )


def build_importers(
    engine: Engine, flows: nw.LazyFrame, union: nw.LazyFrame, revisions: Collection[str], year: int
) -> Stream:
    """A year of the table ``importers``, with every importer's rank, as a stream for the store.

    Args:
        engine, flows, union: as for :func:`importer_indicators`.
        revisions: HS revisions of the flows (one, in a home of one BACI release).
        year: the year.
    """
    return Stream(batch for revision in sorted(revisions) for batch in _batches(engine, flows, union, revision, year))


def _batches(
    engine: Engine, flows: nw.LazyFrame, union: nw.LazyFrame, hs_revision: str, year: int
) -> Iterator[pa.RecordBatch]:
    found = engine.arrow(importer_indicators(engine, flows, union, hs_revision, year).sort("code", "importer"))
    table = found.append_column("c1_rank", pa.array(rank_by_product(found))).select(IMPORTERS.names)
    yield from table.cast(IMPORTERS.schema()).to_batches(BATCH_ROWS)


def rank_by_product(table: pa.Table) -> npt.NDArray[np.float64]:
    """How far up the importers of its product each importer stands by C1.

    ``rank = (importers of the product with a lower C1) / (importers of the product)``, within [0, 1): 0 for the least
    concentrated, and for all where all are equal. Values of C1 that agree to 12 decimals are equal.

    Args:
        table: ``code, C1`` of one HS revision and year; the rows of a product stand together.
    """
    rows = table.num_rows
    if rows == 0:
        return np.empty(0)
    code = table.column("code").combine_chunks()
    starts = np.ones(rows, np.bool_)
    starts[1:] = pc.not_equal(code[1:], code[:-1]).to_numpy(zero_copy_only=False)
    product = np.cumsum(starts) - 1
    first = np.flatnonzero(starts)
    # Product and C1 in one whole number: C1 is at most 10^12, below 2^40, in units of its last decimal.
    place = (product << 41) + np.rint(table.column("C1").to_numpy() * 10.0**RANK_DECIMALS).astype(np.int64)
    order = np.argsort(place)
    # Walking up a product: a row that is no higher than the one before it has as few below it.
    rises = np.ones(rows, np.bool_)
    rises[1:] = place[order][1:] > place[order][:-1]
    level = np.maximum.accumulate(np.where(rises, np.arange(rows), 0))
    size = np.diff(np.append(first, rows))
    rank = np.empty(rows)
    rank[order] = (level - first[product[order]]) / size[product[order]]
    return rank
