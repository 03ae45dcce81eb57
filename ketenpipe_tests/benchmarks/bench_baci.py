"""One real-size year of BACI from its release zip to sorted Parquet, with every check."""

from __future__ import annotations

import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from ketenpipe.sources.baci import known_codes, list_years, read_year_batches
from ketenpipe.sources.countries import country_list
from ketenpipe.sources.places import discover
from ketenpipe.tables.registry import BACI_FLOWS
from ketenpipe.tables.store import Store
from ketenpipe.tables.stream import Stream
from ketenpipe_tests.benchmarks.baci_year import FULL_ROWS, entry_of, release_zip
from ketenpipe_tests.benchmarks.measure import Benchmark, Measured, apart

YEAR = 2022


def inflate(path: Path, entry: str) -> int:
    """The floor: the entry's compressed bytes through zlib to nowhere. Returns the bytes that came out."""
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(entry)
    out = 0
    with path.open("rb") as stream:
        stream.seek(info.header_offset)
        header = stream.read(30)
        stream.seek(int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little"), 1)
        inflater, left = zlib.decompressobj(-zlib.MAX_WBITS), info.compress_size
        while left:
            block = stream.read(min(left, 1 << 20))
            left -= len(block)
            out += len(inflater.decompress(block))
    return out


def ingest(path: Path, home: Path) -> dict[str, Any]:
    """Ours: zip to sorted, checked Parquet on disk, as the ``flows`` asset does it. The zip is hashed, too."""
    inventory = discover(path.parents[1])
    (year,) = list_years(inventory)
    batches, record = read_year_batches(
        year, country_list(inventory, year.release), known_codes(inventory, year.hs_revision)
    )
    written = Store(home).write_stream(BACI_FLOWS, Stream(batches), str(year.year))
    return {"rows": record.rows_read, "bytes": written.stat().st_size}


def ingest_with_pandas(path: Path, home: Path) -> dict[str, Any]:
    """The rival: ``read_csv``, map the countries, sort, ``to_parquet``; no check of anything."""
    inventory = discover(path.parents[1])
    iso3 = country_list(inventory, list_years(inventory)[0].release).iso3
    with zipfile.ZipFile(path) as archive, archive.open(entry_of(YEAR)) as stream:
        frame = pd.read_csv(
            stream, dtype={"k": "string", "i": "int32", "j": "int32"}, na_values=["NA"], skipinitialspace=True
        )
    frame["exporter"], frame["importer"] = frame["i"].map(iso3), frame["j"].map(iso3)
    frame = frame[["k", "importer", "exporter", "v", "q"]].sort_values(["k", "importer", "exporter"])
    written = home / "flows.parquet"
    frame.to_parquet(written, compression="zstd", index=False, row_group_size=122_880)
    return {"rows": len(frame), "bytes": written.stat().st_size}


def _against_inflate(scale: float) -> Measured:
    path = release_zip(int(FULL_ROWS * scale), (YEAR,))
    floor = apart(inflate, path, entry_of(YEAR))
    with tempfile.TemporaryDirectory() as home:
        ours = apart(ingest, path, Path(home))
        (written,) = Path(home).rglob("*.parquet")
        if pq.read_metadata(written).num_rows != ours.value["rows"]:
            raise RuntimeError("rows were lost")
    return Measured(
        ours.seconds,
        floor.seconds,
        ours.peak_mb,
        f"{ours.value['rows']:,} rows; text {floor.value / 1e6:,.0f} MB, Parquet {ours.value['bytes'] / 1e6:,.0f} MB",
    )


def _against_pandas(scale: float) -> Measured:
    path = release_zip(int(FULL_ROWS * scale), (YEAR,))
    with tempfile.TemporaryDirectory() as home:
        theirs = apart(ingest_with_pandas, path, Path(home))
    with tempfile.TemporaryDirectory() as home:
        ours = apart(ingest, path, Path(home))
    return Measured(
        ours.seconds,
        theirs.seconds,
        ours.peak_mb,
        f"pandas peaks at {theirs.peak_mb:,.0f} MB, writes {theirs.value['bytes'] / 1e6:,.0f} MB, checks nothing",
    )


def benchmarks() -> list[Benchmark]:
    """The benchmarks of this module."""
    return [
        Benchmark(
            "baci_ingest",
            "A BACI year of 11.3 million rows from its zip to sorted Parquet, every row checked.",
            "bare inflate of the zip entry",
            _against_inflate,
            ratio_bar=6.0,
            memory_bar_mb=1200.0,
        ),
        Benchmark(
            "baci_ingest_pandas",
            "The same against what one would write with pandas, without any check.",
            "pandas read_csv, sort, to_parquet",
            _against_pandas,
            ratio_bar=1.0,
            memory_bar_mb=1200.0,
        ),
    ]
