"""Scaling curves: time and peak memory as years, products and regions grow; each point in a process of its own.

``python -m ketenpipe_tests.benchmarks scaling --json FILE`` measures them; ``python -m
ketenpipe_tests.benchmarks.bench_scaling FILE PICTURE`` draws the picture of the documentation from that file.

- years: one after the other from stored flows to stored tables (500 products, 1.1 million flows a year): the time
  grows with the years, the memory must not.
- products: one year, from the stored flows to the tables of origin tracing, 226 countries each.
- regions: the whole industry layer for the Netherlands, 50 industries a region; the LU grows with their third power.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ketenpipe.chain.catalogue import load_reference
from ketenpipe.chain.tracing import trace_year
from ketenpipe.sources.places import embedded
from ketenpipe.tables.registry import BACI_FLOWS, ORIGIN_MIX, PRODUCTION, SUPPLY_MIX, TRACING
from ketenpipe.tables.store import Store
from ketenpipe.tables.stream import Stream
from ketenpipe_tests.benchmarks.baci_year import FULL_ROWS, cache, product_codes, release_zip
from ketenpipe_tests.benchmarks.bench_baci import YEAR, ingest
from ketenpipe_tests.benchmarks.bench_industry import REGIONS, layer, made_up, one_lu, regions_of
from ketenpipe_tests.benchmarks.measure import Benchmark, Measured, apart

YEARS = (1, 7, 14, 28)
PRODUCTS = (500, 1_000, 2_500, 5_000)
REGION_COUNTS = (20, 40, 60, 81)
#: Products of each of the years.
YEAR_PRODUCTS = 500
FIRST_YEAR = 1997
FOCI = ("NLD",)


def flows_of(rows: int) -> Path:
    """A home with one stored year of flows, as the ``flows`` asset leaves it; kept between runs."""
    home = cache() / f"scaling-{rows}"
    if not Store(home).exists(BACI_FLOWS, str(YEAR)):
        apart(ingest, release_zip(rows, (YEAR,)), home)
    return home


def _part(home: Path, products: int, year: int) -> Iterator[pa.RecordBatch]:
    """The flows of the first products, as those of another year."""
    last = pa.scalar(product_codes()[products - 1])
    for batch in Store(home).batches(BACI_FLOWS, str(YEAR)):
        codes = batch.column("code").cast(pa.string())
        kept = batch.filter(pc.less_equal(codes, last))
        if kept.num_rows:
            at = kept.schema.get_field_index("year")
            kept = kept.set_column(
                at, kept.schema.field(at), pa.repeat(pa.scalar(year, kept.schema.field(at).type), kept.num_rows)
            )
            yield kept
        if kept.num_rows < batch.num_rows:
            return


def write_part(rows: int, home: Path, products: int, years: tuple[int, ...]) -> None:
    """Stored years with fewer products, made from the full one."""
    source = flows_of(rows)
    for year in years:
        if not Store(home).exists(BACI_FLOWS, str(year)):
            Store(home).write_stream(BACI_FLOWS, Stream(_part(source, products, year)), str(year))


def trace_years(home: Path, years: tuple[int, ...], target: Path) -> dict[str, Any]:
    """Ours: each year from its stored flows to the four stored tables of origin tracing, one after the other."""
    reference = load_reference(embedded("reference"))
    source, sink = Store(home), Store(target)
    start = perf_counter()
    kept = 0
    for year in years:
        made = trace_year(source.batches(BACI_FLOWS, str(year)), None, reference, FOCI, year)
        for table, rows in (
            (PRODUCTION, made.production),
            (ORIGIN_MIX, made.origin_mix),
            (TRACING, made.tracing),
            (SUPPLY_MIX, made.supply_mix),
        ):
            sink.write(table, rows, str(year) if table.partitioned else None)
            kept += rows.num_rows
    flows = sum(source.rows(BACI_FLOWS, str(y)) for y in years)
    return {"seconds": perf_counter() - start, "flows": flows, "kept": kept}


def _traced(rows: int, products: int, years: tuple[int, ...], per: str) -> Measured:
    home = cache() / f"scaling-{rows}-{products}"
    apart(write_part, rows, home, products, years)
    with tempfile.TemporaryDirectory() as target:
        ours = apart(trace_years, home, years, Path(target))
    count = len(years) if per == "year" else products
    each = 1000 * ours.value["seconds"] / count
    flows, kept = ours.value["flows"], ours.value["kept"]
    note = f"{products:,} products, {flows:,} flows; {each:,.1f} ms a {per}; {kept:,} rows kept"
    return Measured(ours.value["seconds"], None, ours.peak_mb, note)


def _years(scale: float, *, count: int) -> Measured:
    products = max(5, round(YEAR_PRODUCTS * scale))
    return _traced(round(FULL_ROWS * scale), products, tuple(range(FIRST_YEAR, FIRST_YEAR + count)), "year")


def _products(scale: float, *, count: int) -> Measured:
    return _traced(round(FULL_ROWS * scale), max(5, round(count * scale)), (YEAR,), "product")


def _regions(scale: float, *, count: int) -> Measured:
    share = scale * count / REGIONS
    codes, folder = regions_of(share), made_up(share)
    floor, ours = apart(one_lu, codes, folder), apart(layer, codes, folder, FOCI)
    note = f"{ours.value['rows']:,} rows of the table, {ours.value['figures']:,} rows of output"
    return Measured(ours.value["seconds"], floor.value, ours.peak_mb, note)


def benchmarks() -> list[Benchmark]:
    """The benchmarks of this module: one per point."""
    return [
        *(
            Benchmark(
                f"scaling_years_{count}",
                f"{count} year{'s' if count > 1 else ''} of 500 products traced and written.",
                "-",
                partial(_years, count=count),
            )
            for count in YEARS
        ),
        *(
            Benchmark(
                f"scaling_products_{count}",
                f"A year of {count:,} products traced and written.",
                "-",
                partial(_products, count=count),
            )
            for count in PRODUCTS
        ),
        *(
            Benchmark(
                f"scaling_regions_{count}",
                f"The industry layer of a table with {count} regions.",
                "one LU of I - A",
                partial(_regions, count=count),
            )
            for count in REGION_COUNTS
        ),
    ]


CURVES = (
    ("years", "years of 500 products", "Tracing, year after year"),
    ("products", "products of one year", "Tracing, one year"),
    ("regions", "regions of 50 industries", "Industry layer"),
)
TIME, MEMORY = "#1f5fa8", "#b3541e"


def draw(results: list[dict[str, Any]], target: Path) -> Path:
    """The picture of the documentation: time and peak memory of each curve, from zero.

    Args:
        results: rows as ``--json`` writes them; of several runs of a point the quickest counts, and the largest memory.
        target: a PNG.

    Raises:
        ValueError: the results hold no point of a curve.
    """
    import matplotlib.pyplot as plt  # half a second that no other benchmark needs

    figure, panels = plt.subplots(2, 3, figsize=(9, 4.4), layout="constrained", sharex="col")
    most = 0.0
    for (name, axis, title), (upper, lower) in zip(CURVES, panels.T, strict=True):
        points: dict[int, list[dict[str, Any]]] = {}
        for r in results:
            if r["benchmark"].startswith(f"scaling_{name}_") and r["seconds"] is not None:
                points.setdefault(int(r["benchmark"].rsplit("_", 1)[1]), []).append(r)
        if not points:
            raise ValueError(f"the results hold no point of the curve {name}; run the benchmarks of group scaling")
        counts = sorted(points)
        seconds = [min(r["seconds"] for r in points[c]) for c in counts]
        memory = [max(r["peak_mb"] for r in points[c]) for c in counts]
        most = max(most, *memory)
        upper.plot(counts, seconds, marker="o", color=TIME)
        lower.plot(counts, memory, marker="o", color=MEMORY)
        upper.set_title(title, fontsize=11)
        # Numbers that would touch are left out.
        ticks = [c for n, c in enumerate(counts) if n == len(counts) - 1 or counts[n + 1] - c > counts[-1] / 8]
        upper.set_ylim(0, max(seconds) * 1.25)
        lower.set(xlabel=axis, xlim=(0, counts[-1] * 1.06), xticks=ticks)
        for panel, values, unit in ((upper, seconds, "s"), (lower, memory, "MB")):
            digits = 1 if values[-1] < 10 else 0
            panel.annotate(
                f"{values[-1]:,.{digits}f} {unit}",
                (counts[-1], values[-1]),
                xytext=(-6, 6),
                textcoords="offset points",
                ha="right",
            )
            panel.spines[["top", "right"]].set_visible(False)
            panel.grid(axis="y", alpha=0.3)
    panels[0, 0].set_ylabel("seconds")
    panels[1, 0].set_ylabel("peak memory, MB")
    for lower in panels[1]:
        lower.set_ylim(0, max(1000.0, most * 1.2))
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=110, metadata={"Software": None})
    plt.close(figure)
    return target


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text())["results"], Path(sys.argv[2]))
