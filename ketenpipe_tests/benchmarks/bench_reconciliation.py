"""Two million made-up reports to one flow each: freight, reliability and all, against a plain pandas mean."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ketenpipe.sources.reconciliation import reconcile
from ketenpipe.tables.registry import COMTRADE_ANNUAL
from ketenpipe_tests.benchmarks.baci_year import cache
from ketenpipe_tests.benchmarks.measure import Benchmark, Measured, apart

FLOWS = 1_200_000
PRODUCTS, COUNTRIES = 5_000, 180
YEAR = "2024"


def made_up(scale: float) -> Path:
    """Reports of both partners (a fifth by one only), kept between runs; seeded."""
    flows = max(2_000, round(FLOWS * scale))
    path = cache() / f"reports-{flows}.parquet"
    if path.exists():
        return path
    random = np.random.default_rng(5)
    key = np.unique(random.integers(0, PRODUCTS * COUNTRIES * COUNTRIES, flows * 2))
    random.shuffle(key)
    product, pair = np.divmod(key, COUNTRIES * COUNTRIES)
    exporter, importer = np.divmod(pair, COUNTRIES)
    chosen = np.flatnonzero(exporter != importer)[:flows]
    product, exporter, importer = product[chosen], exporter[chosen], importer[chosen]
    value = np.exp(random.normal(5, 2, len(chosen)))
    tonnes = value / np.exp(random.normal(1, 1, len(chosen)))
    noise = random.normal(0, 0.2, (2, len(chosen)))
    names = np.array([f"{chr(65 + n // 26)}{chr(65 + n % 26)}X" for n in range(COUNTRIES)])
    parts = []
    for flow, side, margin in (("M", noise[0], 1.06), ("X", noise[1], 1.0)):
        told = random.random(len(chosen)) < 0.9
        reporter, partner = (importer, exporter) if flow == "M" else (exporter, importer)
        cents = np.round(value * margin * np.exp(side) * 1000).astype(np.int64)[told]
        parts.append(
            pa.table(
                {
                    "period": [YEAR] * int(told.sum()),
                    "hs_revision": ["HS17"] * int(told.sum()),
                    "code": [f"{c + 10_000:06d}" for c in product[told]],
                    "reporter": names[reporter[told]],
                    "partner": names[partner[told]],
                    "flow": [flow] * int(told.sum()),
                    "value_kusd": pa.array(cents / 1000, pa.float64())
                    .cast(pa.decimal128(38, 10))
                    .cast(pa.decimal128(18, 3), safe=False),
                    "tonnes": (tonnes * np.exp(random.normal(0, 0.02, len(chosen))))[told],
                    "maximum_per_key": [False] * int(told.sum()),
                    "vintage": ["made up"] * int(told.sum()),
                }
            )
        )
    building = path.with_suffix(".part")
    pq.write_table(COMTRADE_ANNUAL.conform(pa.concat_tables(parts)), building)
    building.replace(path)
    return path


def ours(path: Path) -> dict[str, Any]:
    """Freight margins, reliabilities, and the weighted mean of every flow."""
    flows, estimates = reconcile(pq.read_table(path))
    return {"flows": flows.num_rows, "terms": estimates.margins.num_rows}


def plain_mean(path: Path) -> dict[str, Any]:
    """The rival: both sides joined in pandas, one median margin, the plain mean."""
    frame = pq.read_table(path, columns=["code", "reporter", "partner", "flow", "value_kusd"]).to_pandas()
    frame["value_kusd"] = frame["value_kusd"].astype(float)
    bought = frame[frame["flow"] == "M"].rename(columns={"reporter": "importer", "partner": "exporter"})
    sold = frame[frame["flow"] == "X"].rename(columns={"reporter": "exporter", "partner": "importer"})
    both = bought.merge(sold, on=["code", "exporter", "importer"], how="outer", suffixes=("_m", "_x"))
    margin = (both["value_kusd_m"] / both["value_kusd_x"]).median()
    mean = pd.concat([both["value_kusd_m"] / margin, both["value_kusd_x"]], axis=1).mean(axis=1)
    return {"flows": len(mean), "margin": margin}


def run(scale: float) -> Measured:
    """Ours against the rival."""
    path = made_up(scale)
    mine, other = apart(ours, path), apart(plain_mean, path)
    rows = pq.read_metadata(path).num_rows
    return Measured(mine.seconds, other.seconds, mine.peak_mb, f"{rows:,} reports, rival {other.peak_mb:,.0f} MB")


def benchmarks() -> list[Benchmark]:
    """What is measured here."""
    return [
        Benchmark(
            "reconciliation",
            "both partners' reports to one flow each, freight and reliability estimated",
            "pandas: one join, one median, the plain mean",
            partial(run),
        )
    ]
