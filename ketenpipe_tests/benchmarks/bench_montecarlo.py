"""1,000 Monte Carlo draws of every HS6 code of a real-size year: two foci, every figure, ranks and verdicts.

Flows are a made-up year of BACI; scores of the countries are made up too. Tracing the year comes before and is not in
the time (``bench_tracing.py``).
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ketenpipe.risk.product_draws import build_product_draws, product_noise
from ketenpipe.risk.thresholds import load_thresholds
from ketenpipe.risk.uncertainty import load_uncertainty
from ketenpipe.sources.places import embedded
from ketenpipe.tables.registry import BACI_FLOWS, COUNTRY_RISK, DRAWN_VERDICTS, TRACING, UNCERTAINTY
from ketenpipe.tables.store import Store
from ketenpipe_tests.benchmarks.baci_year import FULL_ROWS
from ketenpipe_tests.benchmarks.bench_tracing import YEAR, reference, stored, trace
from ketenpipe_tests.benchmarks.measure import Benchmark, Measured, apart

FOCI = ("NLD", "EU27")
DRAWS = 1_000
#: What a real-size year may take, seconds.
BAR = 300.0


def scores(flows: Path) -> pa.Table:
    """Made-up governance scores of every country of the year."""
    named = Store(flows).distinct(BACI_FLOWS, ["exporter"], str(YEAR))
    countries = sorted(str(c) for (c,) in named)
    estimates = np.random.default_rng(YEAR).uniform(-2.0, 2.0, len(countries))
    return COUNTRY_RISK.conform(
        {
            "country": c, "year": YEAR, "estimate": float(e), "standard_error": 0.2, "risk": float((2.5 - e) / 5.0),
            "dimension": "PV", "vintage": "made up",
        }
        for c, e in zip(countries, estimates, strict=True)
    )  # fmt: skip


def draw(flows: Path, traced: Path) -> dict[str, Any]:
    """Ours: stored flows and what was traced to the two tables, written."""
    known = embedded("reference")
    start, worked = perf_counter(), process_time()
    found = build_product_draws(
        Store(flows).batches(BACI_FLOWS, str(YEAR)),
        YEAR,
        tracing=Store(traced).read(TRACING, [str(YEAR)]),
        mining=None,
        country_risk=scores(flows),
        reference=reference(),
        foci=FOCI,
        thresholds=load_thresholds(known),
        noise=product_noise(DRAWS, 1, load_uncertainty(known)),
    )
    for table, rows in ((UNCERTAINTY, found.uncertainty), (DRAWN_VERDICTS, found.verdicts)):
        Store(traced).write(table, rows, str(YEAR))
    return {
        "seconds": perf_counter() - start,
        "processor": process_time() - worked,
        "rows": found.uncertainty.num_rows,
        "products": len(pc.unique(found.uncertainty.column("code"))),
    }


def _year(scale: float) -> Measured:
    home = stored(scale)
    with tempfile.TemporaryDirectory() as folder:
        apart(trace, home, FOCI, Path(folder))
        ours = apart(draw, home, Path(folder))
    found = ours.value
    note = f"{found['products']:,} products, {len(FOCI)} foci, {DRAWS:,} draws, {found['rows']:,} figures"
    note += f"; {found['processor']:.0f} s of processor time by two workers"
    return Measured(found["seconds"], BAR * scale, ours.peak_mb, note)


def benchmarks() -> list[Benchmark]:
    """The benchmarks of this module."""
    return [
        Benchmark(
            "monte_carlo",
            f"{DRAWS:,} draws of every figure of 5,000 HS6 codes of a year of {FULL_ROWS:,} flows for two foci.",
            "five minutes",
            _year,
            ratio_bar=1.0,
            memory_bar_mb=4000.0,
        )
    ]
