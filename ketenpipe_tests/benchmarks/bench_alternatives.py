"""Every verdict of a year of real size under other inputs, and its robustness, against reading the same tables.

Flows are three made-up years of BACI; what the tracing gives of codes outside the catalogue is drawn at random in its
layout (see ``bench_products``), those of the catalogue are traced.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ketenpipe.chain.catalogue import load_reference
from ketenpipe.chain.lookthrough import TracedYears, build_exposure
from ketenpipe.chain.tracing import trace_year
from ketenpipe.risk.alternatives import Inputs, build_alternatives
from ketenpipe.risk.facts import FACT_COLUMNS, collect_facts
from ketenpipe.risk.indicators import build_chain_indicators
from ketenpipe.risk.methods import Judgement
from ketenpipe.risk.robustness import FLAG_COLUMNS, build_robustness
from ketenpipe.risk.thresholds import load_thresholds
from ketenpipe.risk.world import Vintages, World, catalogue_codes, wgi_vintages
from ketenpipe.sources.places import embedded
from ketenpipe.tables.registry import DRAWN_VERDICTS, FLAGS, PRODUCT_INDICATORS
from ketenpipe_tests.benchmarks.baci_year import FULL_ROWS, REVISION
from ketenpipe_tests.benchmarks.bench_importers import YEAR, stored_years
from ketenpipe_tests.benchmarks.bench_products import FOCI, draw_supply, figures_of_a_year
from ketenpipe_tests.benchmarks.measure import Benchmark, Measured, apart

WINDOW = (YEAR - 2, YEAR - 1, YEAR)
DRAWS = 1000


def _flows(paths: dict[int, Path], year: int, codes: Collection[str] | None) -> pa.Table:
    wanted = None if codes is None else pc.field("code").isin(pa.array(sorted(codes), pa.string()))
    return pq.read_table(paths[year], filters=wanted)


def _figures(folder: Path, year: int) -> pa.Table:
    """The figures of the year under another number, as if the years were alike."""
    table = pq.read_table(folder / "figures.parquet", columns=list(FACT_COLUMNS))
    at = table.schema.get_field_index("year")
    return table.set_column(at, table.schema.field(at), pa.repeat(pa.scalar(year, pa.int32()), table.num_rows))


def alternatives(paths: dict[int, Path], folder: Path) -> dict[str, Any]:
    """Ours: all alternatives of the newest year, and the robustness of every verdict of it."""
    reference, thresholds = load_reference(embedded("reference")), load_thresholds(embedded("reference"))
    codes = catalogue_codes(reference)
    flows = partial(_flows, paths)
    risk, tracing, mix = (pq.read_table(folder / f"{n}.parquet") for n in ("risk", "tracing", "mix"))
    tracked = trace_year(flows(YEAR, codes), None, reference, FOCI, YEAR)
    held = sorted(set(tracked.tracing.column("code").to_pylist()))
    traced = TracedYears({REVISION: set(held)}, (YEAR,), lambda _: tracked)
    exposure = build_exposure(traced, None, reference, FOCI, 2)
    releases = {(REVISION, year): "made up" for year in WINDOW}
    stamps = Vintages(releases, wgi_vintages(risk))
    world = World(flows(YEAR, codes), tracked, exposure, None, risk.filter(pc.field("year") == YEAR), reference, FOCI,
                  thresholds)  # fmt: skip
    chains = build_chain_indicators([world], PRODUCT_INDICATORS.empty()).select(FACT_COLUMNS)
    inputs = Inputs(
        reference=reference, foci=FOCI, thresholds=thresholds, country_risk=risk, mining=None, depth=2,
        minimum_import_kusd=1000.0, traced=traced, vintages=stamps, flows=flows, products=partial(_figures, folder),
        chain_indicators=chains, chain_nodes=exposure.chain_nodes, assumed_error=0.2, whole=lambda _: (tracing, mix),
    )  # fmt: skip
    told: list[tuple[float, str]] = []
    start = time.perf_counter()
    found = build_alternatives(inputs, lambda word: told.append((time.perf_counter() - start, word)))
    seconds = time.perf_counter() - start
    facts = collect_facts([_figures(folder, YEAR), chains])
    flags = Judgement(facts, exposure.chain_nodes, thresholds, stamps, 1000.0).flags(YEAR)
    keys = flags.select(FLAGS.key)
    drawn = DRAWN_VERDICTS.conform(
        pa.table(
            {n: keys.column(n) for n in FLAGS.key}
            | {"draws": pa.repeat(DRAWS, keys.num_rows), "flagged_share": pa.repeat(0.5, keys.num_rows),
               "method_version": pa.repeat("x", keys.num_rows)}
        )
    )  # fmt: skip
    start = time.perf_counter()
    robust = build_robustness(flags.select(FLAG_COLUMNS), drawn, found, thresholds)
    last = time.perf_counter() - start
    return {"rows": found.num_rows, "seconds": seconds, "robust": robust.num_rows, "robust_seconds": last, "told": told}


def scan(paths: dict[int, Path], folder: Path) -> int:
    """The floor: reading the same tables, nothing made of them."""
    rows = 0
    for path in [*paths.values(), *sorted(folder.glob("*.parquet"))]:
        with pq.ParquetFile(path) as file:
            rows += sum(batch.num_rows for batch in file.iter_batches())
    return rows


def _run(scale: float) -> Measured:
    paths = dict(zip(WINDOW, stored_years(scale, WINDOW), strict=True))
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        apart(draw_supply, paths[YEAR], folder)
        apart(figures_of_a_year, paths[YEAR], folder)
        floor = apart(scan, paths, folder)
        ours = apart(alternatives, paths, folder)
    found = ours.value
    steps = ", ".join(f"{word.split(': ')[1]} at {at:.0f} s" for at, word in found["told"])
    note = (
        f"{found['rows']:,} rows in {found['seconds']:.1f} s ({steps}); robustness of {found['robust']:,} verdicts in "
        f"{found['robust_seconds']:.1f} s"
    )
    return Measured(ours.seconds, floor.seconds, ours.peak_mb, note)


def benchmarks() -> list[Benchmark]:
    """The benchmarks of this module."""
    return [
        Benchmark(
            "alternatives",
            f"All verdicts on 5,000 HS6 codes of a year of {FULL_ROWS:,} flows under other inputs, and robustness.",
            "reading the same tables",
            _run,
            memory_bar_mb=3000.0,
        )
    ]
