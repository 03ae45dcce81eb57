"""The whole industry layer of a real-size input-output table, against one LU factorisation of that size."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from scipy.linalg import lu_factor

from ketenpipe.chain.industry import build_industry
from ketenpipe.sources.icio import IcioTable
from ketenpipe.sources.records import SourceRecord
from ketenpipe_tests.benchmarks.baci_year import cache
from ketenpipe_tests.benchmarks.bench_icio import INDUSTRIES, REGIONS, YEAR
from ketenpipe_tests.benchmarks.measure import Benchmark, Measured, apart
from ketenpipe_tests.sources.icio_worlds import FINAL, MICRO, country_codes, make_world
from ketenpipe_tests.worlds import bloc, catalogue

#: Members of the bloc that is measured: as many as the EU27 has, among the made-up regions.
BLOC_SIZE = 27
MATRICES = ("Z", "Y", "TLS", "VA", "OUT")


def regions_of(scale: float) -> list[str]:
    """The made-up regions: ``scale`` of the 81."""
    return country_codes(max(5, round(REGIONS * scale)))


def made_up(scale: float) -> Path:
    """A folder with the made-up table's matrices, kept between runs: who reads it holds nothing of its making."""
    codes = regions_of(scale)
    folder = cache() / f"industry-{len(codes)}"
    if not (folder / "OUT.npy").exists():
        folder.mkdir(parents=True, exist_ok=True)
        world = make_world(codes, list(INDUSTRIES), FINAL["2025"], seed=3)
        for name in MATRICES:
            np.save(folder / f"{name}.npy", getattr(world, name) / MICRO)
    return folder


def opened(codes: list[str], folder: Path) -> IcioTable:
    """The table as the reader would give it."""
    z, y, tls, va, out = (np.load(folder / f"{name}.npy") for name in MATRICES)
    record = SourceRecord("icio", "made up", "made up", "v", YEAR, YEAR, "", 0, None, None, None, None, 0, 0, None)
    labels = tuple((c, i) for c in codes for i in INDUSTRIES)
    final = tuple((c, f) for c in codes for f in FINAL["2025"])
    return IcioTable(labels, z, y, final, tls, True, va, out, YEAR, "2025", True, "v", record)


def layer(codes: list[str], folder: Path, foci: tuple[str, ...]) -> dict[str, Any]:
    """Ours, the table being in memory: every measure of every industry of the foci, to the released tables."""
    table = opened(codes, folder)
    members = sorted({"NLD", *codes[-BLOC_SIZE:]})
    reference = catalogue(blocs=(*bloc("EU27", *members), *bloc("EU", *members)))
    start = perf_counter()
    made = build_industry([table], reference, foci)
    seconds = perf_counter() - start
    tables = (made.industry_exposure, made.industry_tiers, made.industry_measures, made.industry_coefficients)
    return {"seconds": seconds, "rows": len(table.labels), "figures": sum(t.num_rows for t in tables)}


def one_lu(codes: list[str], folder: Path) -> float:
    """The floor: ``lu_factor(I - A)``, with as many threads as it likes."""
    table = opened(codes, folder)
    system = np.eye(len(table.OUT)) - table.Z / table.OUT
    start = perf_counter()
    lu_factor(system)
    return perf_counter() - start


def _against_lu(scale: float, foci: tuple[str, ...]) -> Measured:
    codes, folder = regions_of(scale), made_up(scale)
    floor, ours = apart(one_lu, codes, folder), apart(layer, codes, folder, foci)
    note = f"{ours.value['rows']:,} rows, {ours.value['figures']:,} rows of output; the table is in memory"
    return Measured(ours.value["seconds"], floor.value, ours.peak_mb, note)


def benchmarks() -> list[Benchmark]:
    """The benchmarks of this module."""
    return [
        Benchmark(
            "industry_layer",
            "Every measure of the industry layer for the Netherlands, 4,050 rows.",
            "one LU of I - A",
            partial(_against_lu, foci=("NLD",)),
            ratio_bar=3.0,
            memory_bar_mb=1000.0,
        ),
        Benchmark(
            "industry_layer_bloc",
            "The same for the Netherlands and a bloc of 27 or 28 regions at once.",
            "one LU of I - A",
            partial(_against_lu, foci=("NLD", "EU27")),
        ),
    ]
