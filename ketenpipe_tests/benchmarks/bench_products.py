"""Every figure of every HS6 code: a real-size year, and what needs 28 of them, against reading the same columns.

Flows are a made-up year of BACI; what the tracing gives is drawn at random in its layout (20 to 160 origins a product).
The 28 years are the figures of that year over and over, each under its own number.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ketenpipe.chain.catalogue import load_reference
from ketenpipe.chain.lookthrough import Exposure
from ketenpipe.chain.tracing import Tracing
from ketenpipe.risk.facts import FACT_COLUMNS, Persistence, collect_facts
from ketenpipe.risk.methods import Judgement
from ketenpipe.risk.products import FLOW_COLUMNS, build_product_indicators
from ketenpipe.risk.streams import stream_indicators
from ketenpipe.risk.thresholds import load_thresholds
from ketenpipe.risk.world import Vintages, World, wgi_vintages
from ketenpipe.sources.places import embedded
from ketenpipe.tables.registry import (
    BACI_FLOWS,
    CHAIN_EDGES,
    CHAIN_NODES,
    COUNTRY_RISK,
    EXPOSURE,
    FLAGS,
    INDICATORS,
    ORIGIN_MIX,
    PRODUCTION,
    SUPPLY_MIX,
    TRACING,
)
from ketenpipe.tables.store import Store
from ketenpipe_tests.benchmarks.baci_year import FULL_ROWS, REVISION
from ketenpipe_tests.benchmarks.bench_importers import YEAR, stored_years
from ketenpipe_tests.benchmarks.measure import Benchmark, Measured, apart

FOCI = ("EU27", "NLD")
YEARS = range(1995, 2023)


def draw_supply(flows: Path, folder: Path) -> None:
    """Tracing, supply mix and governance of every product of the flows, at random."""
    named = pq.read_table(flows, columns=["code", "importer"])
    codes = sorted(named.column("code").unique().to_pylist())
    countries = np.array(sorted({*named.column("importer").unique().to_pylist(), "UNK"}))
    rng = np.random.default_rng(YEAR)
    items = [(focus, code) for focus in FOCI for code in codes]
    held = [np.sort(rng.choice(len(countries), min(int(n), len(countries)), replace=False))
            for n in rng.integers(20, 160, len(items))]  # fmt: skip
    lengths = np.array([len(h) for h in held])
    share = np.concatenate([np.maximum(rng.dirichlet(np.full(n, 0.1)), 1e-9) for n in lengths])
    of = np.repeat(np.arange(len(items)), lengths)
    focus, code = (np.array([i[k] for i in items])[of] for k in (0, 1))
    mix: dict[str, Any] = {"focus": focus, "code": code, "country": countries[np.concatenate(held)]}
    mix |= dict.fromkeys(("share_direct", "share_direct_q", "share_traced", "share_traced_v"), share)
    fixed = {"hs_revision": pa.repeat(REVISION, len(of)), "year": pa.repeat(pa.scalar(YEAR, pa.int32()), len(of))}
    pq.write_table(SUPPLY_MIX.conform(pa.table(mix | fixed)), folder / "mix.parquet")
    rows = [
        {"focus": f, "code": c, "hs_revision": REVISION, "year": YEAR, "measure": m, "basis": "export_proxy",
         "confidence": "high", "imputed_share": float(rng.random()), "small_or_precious": bool(rng.random() < 0.1)}
        for f, c in items
        for m in ("q", "v")
    ]  # fmt: skip
    pq.write_table(TRACING.conform(rows), folder / "tracing.parquet")
    scored = [
        {"country": str(c), "year": y, "risk": float(rng.random()), "estimate": 0.0, "dimension": "PV", "vintage": "x"}
        for c in countries
        for y in YEARS
    ]
    pq.write_table(COUNTRY_RISK.conform(scored), folder / "risk.parquet")


def figures_of_a_year(flows: Path, folder: Path) -> dict[str, Any]:
    """Ours: from the stored tables of a year to its figures on disk."""
    reference = load_reference(embedded("reference"))
    text = [c.name for c in BACI_FLOWS.columns if pa.types.is_string(c.type)]
    mix, tracing, risk = (pq.read_table(folder / f"{n}.parquet") for n in ("mix", "tracing", "risk"))
    world = World(
        BACI_FLOWS.empty(),
        Tracing(PRODUCTION.empty(), ORIGIN_MIX.empty(), tracing, mix),
        Exposure(CHAIN_NODES.empty(), CHAIN_EDGES.empty(), EXPOSURE.empty()),
        None, risk, reference, FOCI, load_thresholds(embedded("reference")), releases={(REVISION, YEAR): "made up"},
    )  # fmt: skip
    with pq.ParquetFile(flows, read_dictionary=text) as file:
        found = build_product_indicators(world, file.iter_batches(batch_size=122_880))
    path = Store(folder).write(INDICATORS, found)
    path.rename(folder / "figures.parquet")
    return {"rows": found.num_rows}


def scan(flows: Path, folder: Path) -> int:
    """The floor: one look at the same columns of the same files, nothing made of them."""
    del folder
    columns = ", ".join(f"max({c})" for c in FLOW_COLUMNS)
    with duckdb.connect(config={"threads": 2}) as connection:
        connection.execute(f"select {columns} from read_parquet('{flows}')").fetchall()
    return pq.read_metadata(flows).num_rows


def _year(folder: Path, year: int, columns: Sequence[str] | None = None) -> pa.Table:
    table = pq.read_table(folder / "figures.parquet", columns=None if columns is None else list(columns))
    at = table.schema.get_field_index("year")
    return table.set_column(at, table.schema.field(at), pa.repeat(pa.scalar(year, pa.int32()), table.num_rows))


def all_years(folder: Path) -> dict[str, Any]:
    """Ours: verdicts, persistence and churn of 28 years, and flags and indicators written."""
    start = time.perf_counter()
    thresholds = load_thresholds(embedded("reference"))
    risk = pq.read_table(folder / "risk.parquet")
    stamps = Vintages({(REVISION, y): "made up" for y in YEARS}, wgi_vintages(risk))
    facts = collect_facts(_year(folder, y, FACT_COLUMNS) for y in YEARS)
    judged = Judgement(facts, CHAIN_NODES.empty(), thresholds, stamps, 1000.0)
    persistent = Persistence(facts, thresholds, stamps)
    store = Store(folder / "home")
    store.write_stream(FLAGS, judged.flag_stream())
    verdicts = time.perf_counter() - start
    stream = stream_indicators(YEARS, lambda year: _year(folder, year), [judged.churn()], persistent)
    store.write_stream(INDICATORS, stream)
    return {"verdicts": verdicts, "flags": store.rows(FLAGS), "indicators": store.rows(INDICATORS)}


def read_all_years(folder: Path) -> int:
    """The floor: reading and writing the same rows, nothing made of them."""
    rows = 0
    with pq.ParquetWriter(folder / "copy.parquet", INDICATORS.schema(), compression="zstd") as writer:
        for year in YEARS:
            table = _year(folder, year)
            writer.write_table(table)
            rows += table.num_rows
    return rows


def _one(scale: float) -> Measured:
    (flows,) = stored_years(scale, (YEAR,))
    with tempfile.TemporaryDirectory() as home:
        apart(draw_supply, flows, Path(home))
        floor = apart(scan, flows, Path(home))
        ours = apart(figures_of_a_year, flows, Path(home))
    note = f"{floor.value:,} flows, {ours.value['rows']:,} figures, {len(FOCI)} foci"
    return Measured(ours.seconds, floor.seconds, ours.peak_mb, note)


def _many(scale: float) -> Measured:
    (flows,) = stored_years(scale, (YEAR,))
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        apart(draw_supply, flows, folder)
        apart(figures_of_a_year, flows, folder)
        floor = apart(read_all_years, folder)
        ours = apart(all_years, folder)
    found = ours.value
    note = f"verdicts in {found['verdicts']:.1f} s; {found['flags']:,} flags, {found['indicators']:,} figures"
    return Measured(ours.seconds, floor.seconds, ours.peak_mb, note)


def benchmarks() -> list[Benchmark]:
    """The benchmarks of this module."""
    return [
        Benchmark(
            "product_figures",
            f"Every figure of 5,000 HS6 codes of a year of {FULL_ROWS:,} flows for two foci, direct and traced.",
            "bare scan of the flows' columns",
            _one,
            memory_bar_mb=1200.0,
        ),
        Benchmark(
            "product_years",
            "Verdicts, persistence and churn of 28 years of every HS6 code, flags and indicators written.",
            "reading and writing the figures",
            _many,
            memory_bar_mb=1500.0,
        ),
    ]
