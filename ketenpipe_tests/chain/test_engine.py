"""The engines: what the name may be, what is refused, and reading back. A real cluster: integration/test_spark.py."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import narwhals.stable.v2 as nw
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ketenpipe.chain.engine import BATCH_ROWS, Engine, SparkEngine, check_engine, open_engine
from ketenpipe.errors import WrongUse


def test_duckdb_is_the_engine_by_default() -> None:
    with open_engine() as engine:
        assert not isinstance(engine, SparkEngine)
        assert engine.arrow(engine.frame("t", pa.table({"a": [1, 2]})).select(nw.col("a").sum())).to_pydict() == {
            "a": [3]
        }


@pytest.mark.parametrize("name", ["duckdb", "spark://127.0.0.1:7077", "spark://one:7077,two:7077", "spark://a-b.c:1"])
def test_names_of_engines(name: str) -> None:
    assert check_engine(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "DuckDB", "spark", "spark://", "spark://host", "spark://host:port", "spark://host:7077/", "local[2]",
     "spark://one:7077,", "http://host:7077", "spark://ho st:7077"],
)  # fmt: skip
def test_what_is_no_engine_is_refused(name: str) -> None:
    with pytest.raises(WrongUse) as refused:
        open_engine(name)
    assert str(refused.value) == (
        f"'{name}' is no engine: it is duckdb, or the master of a Spark cluster as spark://host:port"
    )


@pytest.mark.skipif(importlib.util.find_spec("pyspark") is not None, reason="pyspark is here")
def test_without_pyspark_the_way_to_it_is_said() -> None:
    with pytest.raises(WrongUse, match=r"needs Spark, which is not installed here: pip install 'ketenpipe\[spark\]'"):
        open_engine("spark://127.0.0.1:7077")


def test_what_is_kept_is_computed_once_and_sorted_rows_come_in_order(tmp_path: Path) -> None:
    rows = 300_000
    paths = [tmp_path / f"{n}.parquet" for n in range(2)]
    for n, path in enumerate(paths):
        pq.write_table(pa.table({"a": range(n, 2 * rows, 2)}), path)
    with Engine(threads=2, memory_limit="200MB") as engine:
        kept = engine.keep(engine.parquet(paths).filter(nw.col("a") >= 10))
        for path in paths:
            path.unlink()
        batches = list(engine.batches(kept.sort("a")))
    assert sum(b.num_rows for b in batches) == 2 * rows - 10
    assert max(b.num_rows for b in batches) <= BATCH_ROWS
    assert pa.Table.from_batches(batches).column("a").to_pylist() == list(range(10, 2 * rows))
