"""Origin tracing of every product of a real-size year: from stored flows to the four tables of step one."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from threadpoolctl import threadpool_limits

from ketenpipe.chain.catalogue import Reference, load_reference
from ketenpipe.chain.matrices import balance_production, trace_origins
from ketenpipe.chain.tracing import WORKERS, trace_year
from ketenpipe.sources.places import embedded
from ketenpipe.tables.registry import BACI_FLOWS, ORIGIN_MIX, PRODUCTION, SUPPLY_MIX, TRACING
from ketenpipe.tables.store import ROW_GROUP, Store
from ketenpipe.tables.stream import Stream
from ketenpipe_tests.benchmarks.baci_year import COUNTRIES, FULL_ROWS, PRODUCTS, cache, release_zip
from ketenpipe_tests.benchmarks.bench_baci import ingest
from ketenpipe_tests.benchmarks.measure import Benchmark, Measured, apart

YEAR = 2022
FOCUS = "NLD"
#: Side of the matrices whose product gives the machine's gemm rate.
SIDE = 2048
PRODUCTS_OF_MATRICES = 8
#: Every so-manieth product is held against its own dense solve.
EVERY = 25


def stored(scale: float) -> Path:
    """A home with the made-up year's flows, kept between runs."""
    rows = int(FULL_ROWS * scale)
    home = cache() / f"flows-{rows}-{PRODUCTS}"
    if not Store(home).path(BACI_FLOWS, str(YEAR)).exists():
        ingest(release_zip(rows, (YEAR,)), home)
    return home


def reference() -> Reference:
    """The shipped catalogue, so that as many codes keep their whole mix as in a real run."""
    return load_reference(embedded("reference"))


def gemm_rate(threads: int) -> float:
    """Floating-point operations a second of large matrix products, one after the other for some seconds.

    The mean, not the best: whatever else the machine does slows ours in the same way.
    """
    rng = np.random.default_rng(1)
    a, b = rng.random((SIDE, SIDE)), rng.random((SIDE, SIDE))
    with threadpool_limits(limits=threads):
        a @ b
        start = perf_counter()
        for _ in range(PRODUCTS_OF_MATRICES):
            a @ b
        return float(PRODUCTS_OF_MATRICES * 2 * SIDE**3 / (perf_counter() - start))


def read(home: Path) -> int:
    """Reads the year's flows as tracing does, and does nothing with them."""
    return sum(batch.num_rows for batch in Store(home).batches(BACI_FLOWS, str(YEAR)))


def trace(home: Path, foci: tuple[str, ...], out: Path | None = None) -> dict[str, Any]:
    """Ours, both measures: stored flows to tables; written, too, where ``out`` says where to."""
    known = reference()
    start = perf_counter()
    traced = trace_year(Store(home).batches(BACI_FLOWS, str(YEAR)), None, known, foci, YEAR)
    tables = {t: getattr(traced, t.name) for t in (PRODUCTION, ORIGIN_MIX, TRACING, SUPPLY_MIX)}
    if out is not None:
        for contract, table in tables.items():
            Store(out).write_stream(contract, Stream(table.to_batches(max_chunksize=ROW_GROUP)), str(YEAR))
    return {
        "seconds": perf_counter() - start,
        "products": len(pc.unique(traced.tracing.column("code"))),
        "rows": {t.name: table.num_rows for t, table in tables.items()},
    }


def one_product(codes: pa.Table, measure: str) -> tuple[list[str], np.ndarray]:
    """Countries and ``X[i, j]`` of one product."""
    column = "value_kusd" if measure == "v" else "tonnes"
    amounts = codes.column(column).cast(pa.float64()).to_numpy()
    exporters, importers = (codes.column(c).to_pylist() for c in ("exporter", "importer"))
    names = sorted({*exporters, *importers})
    place = {c: k for k, c in enumerate(names)}
    x = np.zeros((len(names), len(names)))
    x[[place[c] for c in exporters], [place[c] for c in importers]] = np.nan_to_num(amounts)
    return names, x


def furthest_from_dense(home: Path) -> float:
    """The largest difference of a share from the dense solve of its product alone, over some of the products."""
    known = reference()
    table = Store(home).read(BACI_FLOWS, [str(YEAR)], codes=some_codes(home))
    traced = trace_year(table, None, known, (FOCUS,), YEAR)
    worst = 0.0
    for code in pc.unique(table.column("code")).to_pylist():
        part = table.filter(pc.equal(table.column("code"), code))
        rows = traced.supply_mix.filter(pc.equal(traced.supply_mix.column("code"), code))
        for measure, column in (("q", "share_traced"), ("v", "share_traced_v")):
            names, x = one_product(part, measure)
            barred = np.isin(names, sorted(known.non_producer_countries(code, "HS92")))
            origins = trace_origins(x, balance_production(x, None, None, barred)).origins
            if FOCUS not in names or np.isnan(origins[names.index(FOCUS)]).any():
                continue
            expected = dict(zip([*names, "UNK"], origins[names.index(FOCUS)], strict=True))
            found = dict(zip(rows.column("country").to_pylist(), rows.column(column).to_pylist(), strict=True))
            worst = max(worst, *(abs((found.get(c) or 0.0) - share) for c, share in expected.items()))
    return worst


def some_codes(home: Path) -> list[str]:
    """Every so-manieth code of the year."""
    codes = {code for (code,) in Store(home).distinct(BACI_FLOWS, ["code"], str(YEAR))}
    return sorted(codes)[::EVERY]


def numpy_loop(home: Path) -> float:
    """The rival: pandas holds the year, a loop over products solves ``(I - A)' y = e_f`` with NumPy.

    Masses only, one focus, no statistics, no blocs, no tables: the least that a loop can do.
    """
    start = perf_counter()
    columns = ["code", "exporter", "importer", "tonnes"]
    frame = Store(home).read(BACI_FLOWS, [str(YEAR)], columns=columns).to_pandas(categories=columns[:3])
    frame = frame[frame["tonnes"] > 0]
    with threadpool_limits(limits=WORKERS):
        for _, rows in frame.groupby("code", observed=True, sort=False):
            exporters, importers = rows["exporter"].cat, rows["importer"].cat
            names = exporters.categories.union(importers.categories)
            x = np.zeros((len(names), len(names)))
            sender = names.get_indexer(exporters.categories)[exporters.codes]
            receiver = names.get_indexer(importers.categories)[importers.codes]
            x[sender, receiver] = rows["tonnes"]
            made = np.maximum(x.sum(axis=1) - x.sum(axis=0), 0.0)
            supply = made + x.sum(axis=0)
            active = supply > 0
            a = x[np.ix_(active, active)].T / supply[active]
            here = names[active] == FOCUS
            if here.any():
                row = np.linalg.solve((np.eye(len(a)) - a).T, here / supply[active]) * made[active]
                if not abs(row.sum() - 1.0) < 1e-6:
                    raise RuntimeError("a row of the loop does not sum to 1")
    return perf_counter() - start


def _against_floor(scale: float) -> Measured:
    home = stored(scale)
    rates = {threads: apart(gemm_rate, threads).value for threads in (WORKERS, 1)}
    reading, ours = apart(read, home), apart(trace, home, (FOCUS,))
    work = ours.value["products"] * 2 / 3 * COUNTRIES**3
    apart_by = apart(furthest_from_dense, home).value
    if not apart_by <= 1e-9:
        raise RuntimeError(f"a share differs from the dense solve by {apart_by}")
    return Measured(
        ours.value["seconds"],
        work / rates[WORKERS],
        ours.peak_mb,
        f"{WORKERS} threads both, gemm {rates[WORKERS] / 1e9:.0f} GFlop/s; with one BLAS thread the floor is "
        f"{work / rates[1]:.2f} s; reading the flows alone {reading.seconds:.2f} s; both measures; "
        f"{apart_by:.0e} from the dense solve at most (shares have nine digits)",
    )


def _against_loop(scale: float) -> Measured:
    home = stored(scale)
    theirs, ours = apart(numpy_loop, home), apart(trace, home, (FOCUS,))
    note = f"the loop does one measure and no tables; it peaks at {theirs.peak_mb:,.0f} MB"
    return Measured(ours.value["seconds"], theirs.value, ours.peak_mb, note)


def _whole_year(scale: float, foci: tuple[str, ...]) -> Measured:
    home = stored(scale)
    with tempfile.TemporaryDirectory() as out:
        ours = apart(trace, home, foci, Path(out))
    note = ", ".join(f"{name} {rows:,}" for name, rows in ours.value["rows"].items())
    return Measured(ours.value["seconds"], None, ours.peak_mb, f"rows: {note}")


def benchmarks() -> list[Benchmark]:
    """The benchmarks of this module."""
    return [
        Benchmark(
            "tracing",
            "Every product of a year of 11.3 million flows traced for the Netherlands, from Parquet to tables.",
            "arithmetic of 5,000 LUs of 226 x 226",
            _against_floor,
            ratio_bar=10.0,
            memory_bar_mb=1000.0,
        ),
        Benchmark(
            "tracing_numpy_loop",
            "The same against a loop over the products.",
            "a NumPy loop, one measure",
            _against_loop,
            ratio_bar=1.0,
            memory_bar_mb=1000.0,
        ),
        Benchmark(
            "tracing_bloc",
            "The same for the Netherlands and the EU27 at once, tables written to disk.",
            "-",
            partial(_whole_year, foci=(FOCUS, "EU27")),
            memory_bar_mb=1000.0,
        ),
    ]
