"""Publishing at full size: 11 million figures and 20 million supply rows over 28 years, after a first release."""

from __future__ import annotations

import datetime
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ketenpipe.observatory import reader
from ketenpipe.observatory.release import Published, publish
from ketenpipe.tables.contract import Table, round_significant
from ketenpipe.tables.registry import INDICATORS, REVIEW_DECISIONS, SUPPLY_MIX, TABLES
from ketenpipe.tables.store import Stored, write_parquet
from ketenpipe_tests.benchmarks.measure import Benchmark, Measured, apart

YEARS = range(1995, 2023)
FOCI = ("EU27", "NLD")
CODES = 5_000
FIGURES, MAKERS = 39, 71


def _with_years_first(table: Table) -> Table:
    return replace(table, key=("year", *(k for k in table.key if k != "year")))


def _codes(count: int) -> pa.Array:
    return pa.array([f"{10_000 + 197 * n:06d}" for n in range(count)])


def _crossed(outer: pa.Array, inner: pa.Array, times: int = 1) -> tuple[pa.Array, pa.Array]:
    """Each of the outer with each of the inner, the whole ``times`` over."""
    left = np.tile(np.repeat(np.arange(len(outer)), len(inner)), times)
    return outer.take(left), inner.take(np.tile(np.arange(len(inner)), len(outer) * times))


def _filled(table: Table, given: dict[str, pa.Array]) -> pa.Table:
    rows = len(next(iter(given.values())))
    columns = [given[c.name].cast(c.type) if c.name in given else pa.nulls(rows, c.type) for c in table.columns]
    return pa.table(columns, schema=table.schema())


def _figures(year: int, codes: int, moved: float, seed: int) -> pa.Table:
    """A year of figures in key order; ``moved`` is added to the last of them."""
    measures = pa.array([f"C{n:02d}" for n in range(FIGURES)])
    code, indicator = _crossed(_codes(codes), measures, len(FOCI))
    rows = len(code)
    value = np.random.default_rng(seed + year).random(rows)
    value[-1] += moved
    same = {"level": "hs6", "hs_revision": "HS92", "measure": "v", "basis": "imports", "unit": "index 0-1"}
    return _filled(
        _with_years_first(INDICATORS),
        {
            "focus": pa.array(np.repeat(np.array(FOCI, object), rows // len(FOCI))),
            "code": code,
            "year": pa.repeat(year, rows),
            "indicator": indicator,
            "value": pa.array(round_significant(value)),
            "confidence": pa.repeat("medium", rows),
            "tier": pa.repeat(0, rows),
            "country": pa.repeat("CHN", rows),
            "source_vintage": pa.repeat("BACI 202601", rows),
            "method_version": pa.repeat("1", rows),
            **{name: pa.repeat(said, rows) for name, said in same.items()},
        },
    )


def _mix(year: int, codes: int) -> pa.Table:
    code, country = _crossed(
        _codes(codes), pa.array([f"A{chr(65 + n // 26)}{chr(65 + n % 26)}" for n in range(MAKERS)]), 2
    )
    rows = len(code)
    drawn = np.random.default_rng(year)
    return _filled(
        _with_years_first(SUPPLY_MIX),
        {
            "focus": pa.array(np.repeat(np.array(FOCI, object), rows // len(FOCI))),
            "code": code,
            "hs_revision": pa.repeat("HS92", rows),
            "year": pa.repeat(year, rows),
            "country": country,
            "rank": pa.array(drawn.integers(1, MAKERS, rows)),
            "value_kusd": pa.array(np.round(drawn.lognormal(5, 2, rows), 3)),
            "tonnes": pa.array(np.round(drawn.lognormal(3, 2, rows), 3)),
            **{n: pa.array(round_significant(drawn.random(rows))) for n in ("share_direct", "share_traced")},
        },
    )


def _parts(folder: Path, scale: float, moved: float, seed: int) -> dict[str, list[Path]]:
    """Both tables by year, as a run leaves them."""
    codes, made = max(2, int(CODES * scale)), {"indicators": [], "supply_mix": []}
    for year in YEARS:
        for name, rows in (("indicators", _figures(year, codes, moved, seed)), ("supply_mix", _mix(year, codes))):
            path = folder / name / f"{year}.parquet"
            write_parquet(path, rows)
            made[name].append(path)
    return made


def published(home: Path, parts: dict[str, list[Path]], vintage: str) -> dict[str, Any]:
    """Ours: the release with its checks, hashes and changes."""
    for table in (INDICATORS, SUPPLY_MIX):
        TABLES[table.name] = _with_years_first(table)
    said = publish(
        home,
        {name: Stored(TABLES[name], tuple(paths)) for name, paths in parts.items()} | {
            REVIEW_DECISIONS.name: REVIEW_DECISIONS.empty()
        },
        parameters={}, method_versions={}, source_vintages={"baci": vintage}, seed=1, today=datetime.date(2026, 3, 1),
    )  # fmt: skip
    assert isinstance(said, Published)
    rows = sum(int(f.get("rows", 0)) for f in reader.latest(home).manifest["files"].values())
    return {"rows": rows, "changes": said.changes}


def rewritten(target: Path, parts: dict[str, list[Path]]) -> None:
    """The floor: pyarrow reads the same rows and writes them into one file per table, unchecked."""
    for name, paths in parts.items():
        with pq.ParquetWriter(target / f"{name}.parquet", pq.read_schema(paths[0]), compression="zstd") as writer:
            for path in paths:
                for batch in _batches(path):
                    writer.write_batch(batch)


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(path) as file:
        yield from file.iter_batches(batch_size=122_880)


def _run(scale: float, seed: int) -> Measured:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        first = _parts(root / "first", scale, 0.0, 1)
        apart(published, root / "home", first, "1")
        second = _parts(root / "second", scale, 0.5, seed)
        (root / "floor").mkdir()
        floor = apart(rewritten, root / "floor", second)
        ours = apart(published, root / "home", second, "2")
    note = f"{ours.value['rows'] / 1e6:.1f} million rows, {ours.value['changes']:,} changes"
    return Measured(ours.seconds, floor.seconds, ours.peak_mb, note)


def _revised_a_little(scale: float) -> Measured:
    return _run(scale, 1)


def _revised_throughout(scale: float) -> Measured:
    return _run(scale, 2)


def benchmarks() -> list[Benchmark]:
    """Those of this module."""
    return [
        Benchmark(
            "release_publish",
            "the next release of every product and year: checked, hashed, compared with the one before",
            "pyarrow rewriting the same rows, unchecked",
            _revised_a_little,
            memory_bar_mb=1500,
        ),
        Benchmark(
            "release_publish_all_revised",
            "the same where every figure moved, so that each is a row of the changes",
            "pyarrow rewriting the same rows, unchecked",
            _revised_throughout,
            memory_bar_mb=1500,
        ),
    ]
