"""The direct indicators of every importer and product: one real-size year and 28 of them, against a bare scan.

The scan reads the four columns (product, exporter, importer, value) of the same files with DuckDB and does nothing with
them but take their largest and their sum. Rivals make the same table (without ranks) of the same file.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from ketenpipe.chain.engine import Engine, open_engine
from ketenpipe.chain.flows import flow_frame
from ketenpipe.risk.importers import build_importers, importer_indicators
from ketenpipe.sources.baci import known_codes, list_years, read_year_batches
from ketenpipe.sources.countries import country_list
from ketenpipe.sources.places import discover
from ketenpipe.tables.registry import BACI_FLOWS, IMPORTERS
from ketenpipe.tables.store import Store
from ketenpipe.tables.stream import Stream
from ketenpipe_tests.benchmarks.baci_year import FULL_ROWS, REVISION, cache, release_zip
from ketenpipe_tests.benchmarks.measure import Benchmark, Measured, Unavailable, apart

YEAR = 2022
YEARS = 28
#: Years that are made besides; the 28 are the three over and over.
OTHERS = (2023, 2024)
COLUMNS = ["code", "exporter", "importer", "value_kusd"]
MEMORY_LIMIT = "500MB"
UNION = (
    "AUT", "BEL", "BGR", "CYP", "CZE", "DEU", "DNK", "ESP", "EST", "FIN", "FRA", "GRC", "HRV", "HUN", "IRL", "ITA",
    "LTU", "LUX", "LVA", "MLT", "NLD", "POL", "PRT", "ROU", "SVK", "SVN", "SWE",
)  # fmt: skip


def stored_years(scale: float, years: tuple[int, ...]) -> list[Path]:
    """Made-up years as the ``flows`` asset stores them, made once and kept."""
    rows = int(FULL_ROWS * scale)
    home = cache() / f"flows-{rows}"
    paths = [Store(home).path(BACI_FLOWS, str(year)) for year in years]
    if not all(path.exists() for path in paths):
        apart(store_years, release_zip(rows, years), home)
    return paths


def store_years(release: Path, home: Path) -> None:
    """Every year of a release zip into a store."""
    inventory = discover(release.parents[1])
    for year in list_years(inventory):
        known = known_codes(inventory, year.hs_revision)
        batches, _ = read_year_batches(year, country_list(inventory, year.release), known)
        Store(home).write_stream(BACI_FLOWS, Stream(batches), str(year.year))


def scan(paths: list[Path]) -> int:
    """The floor: every value of the four columns, file after file."""
    rows = 0
    with duckdb.connect(config={"threads": 2}) as connection:
        connection.execute("SET enable_progress_bar = false")
        for path in paths:
            found = connection.execute(
                "SELECT max(code), max(exporter), max(importer), sum(value_kusd), count(*) FROM read_parquet(?)",
                [str(path)],
            ).fetchone()
            assert found is not None
            rows += int(found[-1])
    return rows


def ours(paths: list[Path], years: list[int], home: Path | None) -> int:
    """Every indicator of every year, ranks included, as Arrow batches; or written to a store, checked."""
    rows = 0
    for path, year in zip(paths, years, strict=True):
        with Engine(threads=2, memory_limit=MEMORY_LIMIT) as engine:
            union = engine.frame("union_members", pa.table({"country": list(UNION)}))
            stream = build_importers(engine, flow_frame(engine.parquet([path])), union, [REVISION], year)
            if home is None:
                rows += sum(batch.num_rows for batch in stream.batches)
            else:
                # The same made-up year stands for several: each is written under the number of its file.
                written = Store(home).write_stream(IMPORTERS, stream, f"{rows}-{year}")
                rows += pq.read_metadata(written).num_rows
    return rows


def with_pandas(path: Path) -> int:
    """The rival: the same columns by ``groupby`` and ``merge``."""
    return len(pandas_importers(path))


def pandas_importers(path: Path) -> pd.DataFrame:
    """The table as one would write it with pandas: categories for the text, doubles for the money."""
    table = pq.ParquetFile(path, read_dictionary=["code", "exporter", "importer"]).read(columns=COLUMNS)
    value = table.column_names.index("value_kusd")
    table = table.set_column(value, "v", table.column("value_kusd").cast(pa.float64()))
    flows = table.to_pandas()
    flows = flows[(flows["exporter"].astype(str) != flows["importer"].astype(str)) & (flows["v"] > 0)]
    by = {"observed": True, "sort": False}
    flows["square"] = flows["v"] ** 2
    flows["third"] = flows["v"].where(~flows["exporter"].isin(UNION))
    into = flows.groupby(["code", "importer"], **by)
    found = into.agg(
        imports=("v", "sum"), squares=("square", "sum"), suppliers=("v", "size"), third=("third", "sum"),
        top=("v", "idxmax"),
    )  # fmt: skip
    third = flows.dropna(subset="third").groupby(["code", "importer"], **by)["third"].idxmax()
    found["top_supplier"] = flows["exporter"].loc[found["top"]].to_numpy()
    found["top_share"] = flows["v"].loc[found["top"]].to_numpy() / found["imports"]
    outside = pd.DataFrame(
        {"C4a_country": flows["exporter"].loc[third].to_numpy(), "largest": flows["v"].loc[third].to_numpy()},
        index=third.index,
    )
    found = found.join(outside)
    found["C1"] = found["squares"] / found["imports"] ** 2
    found["C4a"] = found["largest"].fillna(0.0) / found["imports"]
    found["C5"] = found["third"] / found["imports"]
    sold = flows.groupby(["code", "exporter"], **by)["v"].sum().rename("sold")
    world = (sold**2).groupby("code", observed=True).sum() / sold.groupby("code", observed=True).sum() ** 2
    found = found.reset_index().merge(
        sold.reset_index().rename(columns={"exporter": "importer"}), on=["code", "importer"], how="left"
    )
    found["C2"] = found["code"].astype(str).map(world.rename(index=str))
    found["S1"] = found["imports"] / found["sold"]
    return found


def with_polars(path: Path) -> int:
    """The other rival: the very expressions, by Polars on its own (lazy, both cores), sums of doubles."""
    return polars_importers(path).height


def polars_importers(path: Path) -> pl.DataFrame:
    """The table as one would write it with Polars."""
    v, third = pl.col("v"), ~pl.col("exporter").is_in(UNION)
    flows = (
        pl.scan_parquet(path)
        .select("code", "exporter", "importer", v=pl.col("value_kusd").cast(pl.Float64))
        .filter(v > 0, pl.col("exporter") != pl.col("importer"))
    )
    sold = flows.group_by("code", "exporter").agg(sold=v.sum())
    world = sold.group_by("code").agg(C2=(pl.col("sold") ** 2).sum() / pl.col("sold").sum() ** 2)
    into = flows.group_by("code", "importer").agg(
        imports=v.sum(),
        C1=(v**2).sum() / v.sum() ** 2,
        suppliers=pl.len(),
        top_supplier=pl.col("exporter").get(v.arg_max()),
        top_share=v.max() / v.sum(),
        third=v.filter(third).sum(),
        largest=v.filter(third).max(),
        C4a_country=pl.col("exporter").filter(third).get(v.filter(third).arg_max(), null_on_oob=True),
    )
    return (
        into.join(world, on="code", how="left")
        .join(sold.rename({"exporter": "importer"}), on=["code", "importer"], how="left")
        .with_columns(
            C4a=pl.col("largest").fill_null(0.0) / pl.col("imports"),
            C5=pl.col("third") / pl.col("imports"),
            S1=pl.col("imports") / pl.col("sold"),
        )
        .collect()
    )


def _year(scale: float, rival: Callable[..., Any] | None) -> Measured:
    (path,) = stored_years(scale, (YEAR,))
    against = apart(scan, [path]) if rival is None else apart(rival, path)
    found = apart(ours, [path], [YEAR], None)
    if rival is not None and against.value != found.value:
        raise RuntimeError(f"{found.value:,} rows are ours, {against.value:,} the rival's")
    note = f"{found.value:,} rows of output"
    if rival is not None:
        note += f"; the rival peaks at {against.peak_mb:,.0f} MB"
    return Measured(found.seconds, against.seconds, found.peak_mb, note)


def _years(scale: float, written: bool) -> Measured:
    distinct = (YEAR, *OTHERS)
    made = [*stored_years(scale, (YEAR,)), *stored_years(scale, OTHERS)]
    paths, years = [made[n % 3] for n in range(YEARS)], [distinct[n % 3] for n in range(YEARS)]
    floor = apart(scan, paths)
    with tempfile.TemporaryDirectory() as home:
        found = apart(ours, paths, years, Path(home) if written else None)
    note = f"{floor.value:,} rows of input (three made-up years over and over), {found.value:,} of output"
    return Measured(found.seconds, floor.seconds, found.peak_mb, note)


def on_engine(name: str, paths: list[Path], repeat: int) -> dict[str, float]:
    """Seconds to open an engine and to bring all importers of files to a count, the last of several times."""
    start = time.perf_counter()
    with Engine(threads=2) if name == "duckdb" else open_engine(name) as engine:
        opened = time.perf_counter() - start
        taken = 0.0
        for _ in range(repeat):
            start = time.perf_counter()
            for path in paths:
                union = engine.frame("union_members", pa.table({"country": list(UNION)}))
                base = flow_frame(engine.parquet([path]))
                found = importer_indicators(engine, base, union, REVISION, YEAR)
                rows = engine.arrow(found.select("C1")).num_rows
            taken = time.perf_counter() - start
    return {"opened": opened, "seconds": taken, "rows": rows}


def _spark(scale: float) -> Measured:
    from ketenpipe_tests.integration.spark_cluster import absent, cluster

    if why := absent():
        raise Unavailable(why)
    (path,) = stored_years(scale, (YEAR,))
    plain = apart(on_engine, "duckdb", [path], 1)
    with tempfile.TemporaryDirectory() as work, cluster(Path(work), memory="4g") as master:
        found = apart(on_engine, master, [path], 1)
    if found.value["rows"] != plain.value["rows"]:
        raise RuntimeError(f"Spark has {found.value['rows']:,} rows, DuckDB {plain.value['rows']:,}")
    note = (
        f"{int(found.value['rows']):,} rows; opening Spark {found.value['opened']:.1f} s more; memory is the driver's"
    )
    return Measured(found.value["seconds"], plain.value["seconds"], found.peak_mb, note)


def largest_difference(path: Path) -> float:
    """The largest relative difference between ours and pandas' and Polars' C1, C2, C4a, C5, S1 and top share."""
    with Engine(threads=2) as engine:
        union = engine.frame("union_members", pa.table({"country": list(UNION)}))
        made = importer_indicators(engine, flow_frame(engine.parquet([path])), union, REVISION, YEAR)
        mine = engine.arrow(made.sort("code", "importer")).to_pandas()
    worst = 0.0
    for theirs in (pandas_importers(path), polars_importers(path).to_pandas()):
        theirs = theirs.astype({"code": str, "importer": str, "top_supplier": str, "C4a_country": object})
        both = theirs.sort_values(["code", "importer"], ignore_index=True)
        assert (both["code"] == mine["code"]).all()
        assert (both["importer"] == mine["importer"]).all()
        for name in ("C1", "C2", "C4a", "C5", "S1", "top_share"):
            a, b = mine[name].to_numpy(dtype=float), both[name].to_numpy(dtype=float)
            assert (np.isnan(a) == np.isnan(b)).all(), name
            worst = max(worst, float(np.nanmax(np.abs(a - b) / np.maximum(np.abs(a), 1e-300), initial=0.0)))
    return worst


def benchmarks() -> list[Benchmark]:
    """The benchmarks of this module."""
    return [
        Benchmark(
            "importers_year",
            "C1, C2, C4a, C5, S1, suppliers and rank of every importer and product of a year of 11.3 million rows.",
            "bare DuckDB scan of the four columns",
            partial(_year, rival=None),
            ratio_bar=8.0,
            memory_bar_mb=1000.0,
        ),
        Benchmark(
            "importers_year_pandas",
            "The same against pandas, which makes no ranks.",
            "pandas groupby and merge",
            partial(_year, rival=with_pandas),
            ratio_bar=1 / 1.5,
        ),
        Benchmark(
            "importers_year_polars",
            "The same beside Polars, which makes no ranks and sums doubles.",
            "Polars lazy",
            partial(_year, rival=with_polars),
        ),
        Benchmark(
            "importers_28_years",
            "The same of 28 years (some 310 million rows), year by year.",
            "bare DuckDB scan of the four columns of all of them",
            partial(_years, written=False),
            ratio_bar=8.0,
            memory_bar_mb=1000.0,
        ),
        Benchmark(
            "importers_28_years_written",
            "The same, each year checked against its contract and written to the store.",
            "bare DuckDB scan of the four columns of all of them",
            partial(_years, written=True),
            memory_bar_mb=1000.0,
        ),
        Benchmark(
            "importers_spark",
            "The same expressions on a Spark master and worker on this machine's two cores.",
            "DuckDB on the same file",
            _spark,
        ),
    ]
