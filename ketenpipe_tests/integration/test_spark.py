"""The flow expressions on a real Spark master and worker on loopback: the same rows, nulls and figures as DuckDB."""

from __future__ import annotations

import math
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ketenpipe.chain import engine as engines
from ketenpipe.chain.engine import Engine, SparkEngine, open_engine
from ketenpipe.chain.flows import by_node, flow_frame
from ketenpipe.errors import UpstreamFailed, WrongUse
from ketenpipe.risk.direct import direct_indicators
from ketenpipe.risk.importers import build_importers, importer_indicators
from ketenpipe.sources.baci import known_codes, list_years, read_year
from ketenpipe.sources.countries import country_list
from ketenpipe.sources.places import discover, embedded
from ketenpipe.tables.registry import BACI_FLOWS, IMPORTERS
from ketenpipe.tables.store import Store
from ketenpipe_tests.integration.spark_cluster import cluster, master_only, spark_home
from ketenpipe_tests.worlds import scores, thresholds

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

YEARS = (2021, 2022)
EU27 = (
    "AUT", "BEL", "BGR", "CYP", "CZE", "DEU", "DNK", "ESP", "EST", "FIN", "FRA", "GRC", "HRV", "HUN", "IRL", "ITA",
    "LTU", "LUX", "LVA", "MLT", "NLD", "POL", "PRT", "ROU", "SVK", "SVN", "SWE",
)  # fmt: skip
UNION = pa.table({"country": list(EU27)})


@pytest.fixture(scope="module")
def sample() -> pa.Table:
    """Two years of the embedded sample."""
    inventory = discover(embedded("sample"))
    held = {y.year: y for y in list_years(inventory)}
    return pa.concat_tables(
        read_year(y, country_list(inventory, y.release), known_codes(inventory, y.hs_revision))
        for y in (held[year] for year in YEARS)
    )


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with cluster(tmp_path_factory.mktemp("spark")) as master, open_engine(master) as engine:
        assert isinstance(engine, SparkEngine)
        yield engine


def same(ours: list[dict[str, Any]], theirs: list[dict[str, Any]], keys: list[str]) -> int:
    """The same rows, nulls, words and, within 1e-12 relative, figures; how many figures were compared."""
    left, right = (sorted(rows, key=lambda r: tuple(str(r[k]) for k in keys)) for rows in (ours, theirs))
    assert [[r[k] for k in keys] for r in left] == [[r[k] for k in keys] for r in right]
    figures = 0
    for a, b in zip(left, right, strict=True):
        assert a.keys() == b.keys()
        for name, value in a.items():
            if isinstance(value, float):
                figures += 1
                assert b[name] is not None, (name, a, b)
                assert math.isclose(value, b[name], rel_tol=1e-12, abs_tol=0.0), (name, a, b)
            else:
                assert value == b[name], (name, a, b)
    return figures


def direct(engine: Engine, flows: pa.Table, focus: str, codes: pa.Table | None = None) -> list[dict[str, Any]]:
    pairs = [(y, c) for y in YEARS for c in EU27]
    members = pa.table({"year": pa.array([p[0] for p in pairs], pa.int32()), "country": [p[1] for p in pairs]})
    risk = scores({"CHN": 0.55, "USA": 0.3, "BEL": 0.2, "NLD": 0.1, "BRA": 0.6}, YEARS)
    base = flow_frame(engine.frame("flows", flows))
    if codes is not None:
        base = engine.keep(by_node(base, engine.frame("codes", codes)))
    found = direct_indicators(
        engine,
        base,
        engine.frame("members", members) if focus == "EU27" else None,
        engine.frame("union_members", UNION),
        engine.frame("risk", risk.select(["country", "year", "risk"])),
        focus,
        thresholds(),
    )
    plain = found.astype(object).where(found.notna(), None)
    rows: list[dict[str, Any]] = plain.to_dict("records")
    return rows


@pytest.mark.parametrize("focus", ["NLD", "EU27"])
def test_direct_indicators_are_duckdbs(spark: Engine, sample: pa.Table, focus: str) -> None:
    with Engine() as engine:
        ours = direct(engine, sample, focus)
    theirs = direct(spark, sample, focus)
    assert same(ours, theirs, ["hs_revision", "year", "code", "indicator", "measure", "basis"]) > 5_000
    # Null because nothing is exported, with the reason: a division that Spark's ANSI mode would refuse.
    assert focus != "NLD" or any(r["indicator"] == "S1" and r["reason"] == "no_exports" for r in theirs)


def test_nodes_are_duckdbs(spark: Engine, sample: pa.Table) -> None:
    known = sorted(set(sample.column("code").to_pylist()))
    codes = pa.table({"hs_revision": ["HS92"] * len(known), "code": known, "node": [f"node{c[:2]}" for c in known]})
    with Engine() as engine:
        ours = direct(engine, sample, "NLD", codes)
    keys = ["hs_revision", "year", "code", "indicator", "measure", "basis"]
    assert same(ours, direct(spark, sample, "NLD", codes), keys) > 500


def test_every_importer_is_duckdbs_to_the_last_bit(spark: Engine, sample: pa.Table, tmp_path: Path) -> None:
    paths = []
    for year in YEARS:
        paths.append(tmp_path / f"{year}.parquet")
        pq.write_table(sample.filter(pa.compute.equal(sample.column("year"), year)), paths[-1])
    found = []
    for engine in (Engine(threads=2), spark):
        base = flow_frame(engine.parquet(paths))
        made = importer_indicators(engine, base, engine.frame("union_members", UNION), "HS92", 2022)
        found.append(engine.arrow(made.sort("code", "importer")))
    ours, theirs = found
    assert ours.num_rows > 5_000
    assert theirs.cast(ours.schema).to_pylist() == ours.to_pylist()
    with Engine() as engine:
        home = Store(tmp_path / "home")
        for name, each in (("duckdb", engine), ("spark", spark)):
            base = flow_frame(each.frame("flows", sample))
            stream = build_importers(each, base, each.frame("union_members", UNION), ["HS92"], 2021)
            home.write_stream(IMPORTERS, stream, name)
    one, two = (home.path(IMPORTERS, name) for name in ("duckdb", "spark"))
    assert one.read_bytes() == two.read_bytes()


def test_empty_flows_are_no_error(spark: Engine) -> None:
    empty = BACI_FLOWS.empty()
    base = flow_frame(spark.frame("flows", empty))
    made = importer_indicators(spark, base, spark.frame("union_members", UNION), "HS92", 2022)
    assert spark.arrow(made).num_rows == 0


def test_a_second_session_is_refused(spark: Engine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        master = f"spark://127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(WrongUse, match=r"this process has a Spark session on spark://127\.0\.0\.1:\d+ already"):
            open_engine(master)


WITHOUT_WORKER = """
import sys
from ketenpipe.chain import engine
engine.EXECUTOR_SECONDS = 2.0
try:
    engine.open_engine(sys.argv[1])
except engine.UpstreamFailed as refused:
    print(refused)
"""


def apart(script: str, *arguments: str, **environment: str) -> str:
    """Run in a process of its own (a session belongs to a process); what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return done.stdout


def test_a_master_without_a_worker_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    with master_only(tmp_path) as master:
        said = apart(WITHOUT_WORKER, master)
    assert said == (
        f"{master}: the Spark master gave no executor within 2 s; look whether it has a worker with free cores and "
        "memory, or leave the engine at duckdb.\n"
    )


WITHOUT_JAVA = """
import sys
from ketenpipe.chain import engine
try:
    engine.open_engine(sys.argv[1])
except engine.WrongUse as refused:
    print(refused)
"""


def test_no_java_is_said(tmp_path: Path) -> None:
    spark_home()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        master = f"spark://127.0.0.1:{listening.getsockname()[1]}"
        said = apart(WITHOUT_JAVA, master, PATH=str(tmp_path), JAVA_HOME=str(tmp_path))
    assert said == (
        f"engine {master} needs Java 17 or later, which is not here or did not start: install it (and set JAVA_HOME), "
        "or leave the engine at duckdb\n"
    )


def test_a_master_that_is_not_there_is_said() -> None:
    spark_home()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        master = f"spark://127.0.0.1:{listening.getsockname()[1]}"
    with pytest.raises(UpstreamFailed, match=f"^{master}: the Spark master does not answer .*; start it, or leave"):
        engines.open_engine(master)
