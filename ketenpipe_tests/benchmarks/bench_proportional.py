"""Products joined to a real-size input-output table: two tiers of every product, and who uses what.

The floor of the look-through is the two products that give the tiers of all products as they stand: ``A Y0`` (``Y0`` is
sparse) and ``A (A Y0)`` (dense), every thread.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.sparse import csc_array

from ketenpipe.chain.proportional import Supply, build_uses, indicative_tiers, supplies
from ketenpipe.risk.product_tiers import build_product_tiers
from ketenpipe.risk.world import Vintages
from ketenpipe.sources.icio import IcioTable
from ketenpipe.tables.registry import SUPPLY_MIX, TRACING
from ketenpipe_tests.benchmarks import baci_year
from ketenpipe_tests.benchmarks.bench_icio import INDUSTRIES
from ketenpipe_tests.benchmarks.bench_industry import YEAR, made_up, opened, regions_of
from ketenpipe_tests.benchmarks.measure import Benchmark, Measured, apart
from ketenpipe_tests.worlds import bloc, catalogue, thresholds

#: As many industries have products in the HS as in the 2025 edition; the others are services.
WITH_PRODUCTS = 29
SUPPLIERS = 60
RISK_SEED, SEED = 5, 7


def industries(codes: list[str]) -> dict[str, str]:
    """An industry for each code: neighbours in the list share one, and the industries are of different size."""
    edges = np.linspace(0, 1, WITH_PRODUCTS + 1) ** 1.5 * len(codes)
    bounds = [int(e) for e in edges]
    return {c: INDUSTRIES[k] for k, (a, b) in enumerate(pairwise(bounds)) for c in codes[a:b]}


def supply_mix(scale: float, foci: tuple[str, ...]) -> pa.Table:
    """A made-up supply mix: 60 of 226 countries supply and make each product, a few of them most of it."""
    rng = np.random.default_rng(SEED)
    codes = baci_year.product_codes()[: max(40, round(baci_year.PRODUCTS * scale))]
    regions = regions_of(scale)
    countries = sorted({*regions, *(f"Z{k:02d}" for k in range(100))} - {"ROW", "NLD"})
    size = rng.lognormal(0.0, 1.5, len(countries))
    parts = []
    for focus in foci:
        keys = np.log(size) + rng.gumbel(size=(len(codes), len(countries)))
        held = np.sort(np.argsort(-keys, axis=1)[:, :SUPPLIERS], axis=1)
        weight = size[held] * rng.lognormal(0.0, 1.0, held.shape)
        count = held.size
        columns: dict[str, Any] = {
            "focus": pa.repeat(focus, count),
            "hs_revision": pa.repeat(baci_year.REVISION, count),
            "year": pa.repeat(pa.scalar(YEAR, pa.int32()), count),
            "code": pa.array(np.repeat(codes, held.shape[1])),
            "country": pa.array(np.array(countries)[held.ravel()]),
            "value_kusd": pa.array(np.round(weight.ravel() * 1000, 3)),
            "share_traced": pa.array((weight / weight.sum(axis=1, keepdims=True)).ravel()),
        }
        parts.append(
            pa.table({n: columns.get(n, pa.nulls(count, SUPPLY_MIX.column(n).type)) for n in SUPPLY_MIX.names})
        )
    return pa.concat_tables(parts).cast(SUPPLY_MIX.schema())


def _world(scale: float, folder: Path, foci: tuple[str, ...]) -> tuple[IcioTable, pa.Table, dict[str, dict[str, str]]]:
    table = opened(regions_of(scale), folder)
    # As the reader of real tables leaves it.
    table = replace(table, Z=np.asfortranarray(table.Z))
    mix = supply_mix(scale, foci)
    codes = sorted(set(mix.column("code").to_pylist()))
    return table, mix, {baci_year.REVISION: industries(codes)}


def _reference(scale: float) -> Any:
    members = [r for r in regions_of(scale) if r not in ("CHN", "MEX", "ROW")][-27:]
    return catalogue(blocs=(*bloc("EU27", *members), *bloc("EU", *members)))


def look_through(scale: float, folder: Path, foci: tuple[str, ...]) -> dict[str, Any]:
    """Ours: the country mixes of tiers 1 and 2 of every product."""
    table, mix, known = _world(scale, folder, foci)
    reference = _reference(scale)
    start = perf_counter()
    found = indicative_tiers(mix, table, reference, YEAR, known, inputs=False)
    return {"seconds": perf_counter() - start, "codes": sum(len(m.codes) for m in found.mixes)}


def tiers(scale: float, folder: Path, foci: tuple[str, ...]) -> dict[str, Any]:
    """Ours, with the largest inputs and every figure, to the tables."""
    table, mix, known = _world(scale, folder, foci)
    reference = _reference(scale)
    rng = np.random.default_rng(RISK_SEED)
    risk = dict(zip(table.countries, rng.random(len(table.countries)).tolist(), strict=True))
    start = perf_counter()
    found = build_product_tiers(
        YEAR, mix, TRACING.empty(), table, reference, risk, thresholds(), Vintages({}, {}), known
    )
    seconds = perf_counter() - start
    return {
        "seconds": seconds,
        "rows": found.product_tiers.num_rows,
        "figures": found.indicators.num_rows,
    }


def uses(scale: float, folder: Path, foci: tuple[str, ...]) -> dict[str, Any]:
    """Ours: the largest product edges into every industry of the foci."""
    table, mix, known = _world(scale, folder, foci)
    reference = _reference(scale)
    start = perf_counter()
    found = build_uses(mix, table, reference, YEAR, known)
    return {"seconds": perf_counter() - start, "rows": found.product_uses.num_rows}


def two_products(scale: float, folder: Path, foci: tuple[str, ...]) -> float:
    """The floor: ``A Y0`` and ``A (A Y0)`` for one focus."""
    table, mix, known = _world(scale, folder, foci[:1])
    (supply,) = supplies(mix, YEAR)
    y0 = _start(table, supply, known[supply.hs_revision])
    a = table.Z / table.OUT
    start = perf_counter()
    first = a @ y0.toarray() if y0.nnz > y0.shape[0] * y0.shape[1] / 4 else (y0.T @ a.T).T
    a @ first
    return perf_counter() - start


def _start(table: IcioTable, supply: Supply, known: dict[str, str]) -> csc_array:
    row_of = {label: k for k, label in enumerate(table.labels)}
    held = set(table.countries)
    regions = [c if c in held else "ROW" for c in supply.countries]
    rows = [row_of[regions[c], known[supply.codes[k]]] for c, k in zip(supply.country, supply.code, strict=True)]
    shape = (len(table.labels), len(supply.codes))
    return csc_array((supply.by_mass, (np.array(rows), supply.code)), shape=shape)


def _against_products(scale: float, ours: Any, foci: tuple[str, ...], words: str) -> Measured:
    folder = made_up(scale)
    floor, mine = apart(two_products, scale, folder, foci), apart(ours, scale, folder, foci)
    note = words.format(**{k: f"{v:,}" for k, v in mine.value.items() if k != "seconds"})
    return Measured(mine.value["seconds"], floor.value, mine.peak_mb, note)


def benchmarks() -> list[Benchmark]:
    """The benchmarks of this module."""
    look = Benchmark(
        "product_look_through",
        "Countries of tiers 1 and 2 of every product of the Netherlands, by industry recipes of 4,050 rows.",
        "A Y0 and A (A Y0)",
        partial(
            _against_products,
            ours=look_through,
            foci=("NLD",),
            words="{codes} products; bar of issue 4: under 1 second",
        ),
        ratio_bar=1.0,
        memory_bar_mb=1000.0,
    )
    return [
        look,
        replace(
            look,
            name="product_tiers",
            description="The same with the largest inputs of each, every figure and the tables, NLD and a bloc of 27.",
            run=partial(_against_products, ours=tiers, foci=("NLD", "EU27"), words="{rows} inputs, {figures} figures"),
            ratio_bar=None,
        ),
        replace(
            look,
            name="product_uses",
            description="The largest product edges into every industry of the Netherlands and a bloc of 27.",
            run=partial(_against_products, ours=uses, foci=("NLD", "EU27"), words="{rows} edges"),
            ratio_bar=None,
        ),
    ]
