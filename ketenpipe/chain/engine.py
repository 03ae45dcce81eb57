"""The engines that run flow formulas: DuckDB on this machine, or a Spark cluster.

Belongs here: opening an engine, bringing tables in, computing a lazy frame once, reading it back. Does not belong here:
any formula (:mod:`ketenpipe.chain.flows`), which is the same on every engine.
"""

from __future__ import annotations

import importlib.util
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import duckdb
import narwhals.stable.v2 as nw
import pandas as pd
import pyarrow as pa

from ketenpipe.errors import UpstreamFailed, WrongUse
from ketenpipe.settings import SPARK_MASTER

DUCKDB = "duckdb"
#: How long a master may take to answer, and a cluster to give the first executor.
ANSWER_SECONDS = 10.0
EXECUTOR_SECONDS = 60.0
BATCH_ROWS = 122_880
PARTITIONS = "spark.sql.shuffle.partitions"


class Engine:
    """One in-memory DuckDB connection; lazy frames made by it can be joined with one another.

    Args:
        threads: one by default: sums of floats on several differ in their last bits from run to run, and a figure that
            lies on a rounding edge would then change the content hash of a release. More is safe where every sum is
            one of decimals (:func:`ketenpipe.risk.importers.importer_indicators`).
        memory_limit: what DuckDB may use before it goes to disk, e.g. ``600MB``; by default DuckDB's own limit.
    """

    def __init__(self, *, threads: int = 1, memory_limit: str | None = None) -> None:
        config: dict[str, Any] = {"threads": threads}
        if memory_limit is not None:
            config["memory_limit"] = memory_limit
        self._connection = duckdb.connect(config=config)
        # DuckDB would draw a bar of its own over whatever is printed.
        self._connection.execute("SET enable_progress_bar = false")
        self._count = 0

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def frame(self, name: str, table: pa.Table) -> nw.LazyFrame:
        """A lazy frame over an Arrow table."""
        self._connection.register(name, table)
        return nw.from_native(self._connection.table(name))

    def parquet(self, paths: Sequence[Path | str]) -> nw.LazyFrame:
        """A lazy frame over stored Parquet files of one table; only what is asked for is read."""
        return nw.from_native(self._connection.read_parquet([str(p) for p in paths]))

    def keep(self, frame: nw.LazyFrame) -> nw.LazyFrame:
        """Compute a frame once; a lazy frame used three times is otherwise computed three times."""
        self._count += 1
        name = f"kept_{self._count}"
        frame.to_native().create(name)
        return nw.from_native(self._connection.table(name))

    def pandas(self, frame: nw.LazyFrame) -> pd.DataFrame:
        """The frame's rows as pandas."""
        return frame.to_native().df()

    def batches(self, frame: nw.LazyFrame) -> Iterator[pa.RecordBatch]:
        """The frame's rows as Arrow batches, in the frame's order where it has one (``sort``)."""
        yield from frame.to_native().to_arrow_reader(BATCH_ROWS)

    def arrow(self, frame: nw.LazyFrame) -> pa.Table:
        """The frame's rows as one Arrow table."""
        reader: pa.RecordBatchReader = frame.to_native().to_arrow_reader(BATCH_ROWS)
        return reader.read_all()


class SparkEngine(Engine):
    """The same on a Spark cluster: one session, open as long as the engine.

    What is expressed on frames runs in the executors' JVMs; they need no Python. Arrow tables travel from here to them;
    Parquet files must lie where every worker can read them, under the same path.

    Args:
        master: ``spark://host:port``.
        conf: further Spark settings, e.g. ``{"spark.executor.memory": "4g"}``.

    Raises:
        WrongUse: no ``pyspark`` here, or no Java.
        UpstreamFailed: the master does not answer, or has no executor to give.
    """

    def __init__(self, master: str, *, conf: dict[str, str] | None = None) -> None:
        hosts = _masters(master)
        if importlib.util.find_spec("pyspark") is None:
            raise WrongUse(
                f"engine {master} needs Spark, which is not installed here: pip install 'ketenpipe[spark]', "
                "or leave the engine at duckdb"
            )
        _reachable(master, hosts)
        self._session = _session(master, hosts, conf or {})
        try:
            _await_executor(self._session, master)
            context = self._session.sparkContext
            if not context.getConf().contains(PARTITIONS):
                # Spark's own 200 is for terabytes: most of it would be the starting of empty tasks.
                self._session.conf.set(PARTITIONS, str(max(8, 2 * context.defaultParallelism)))
        except BaseException:
            self._session.stop()
            raise

    def __enter__(self) -> SparkEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.stop()

    def frame(self, name: str, table: pa.Table) -> nw.LazyFrame:
        """A lazy frame over an Arrow table, which is sent to the cluster."""
        plain = pa.schema(
            [(f.name, f.type.value_type if pa.types.is_dictionary(f.type) else f.type) for f in table.schema]
        )
        return nw.from_native(self._session.createDataFrame(table.cast(plain)))

    def parquet(self, paths: Sequence[Path | str]) -> nw.LazyFrame:
        """A lazy frame over stored Parquet files of one table, read by the workers themselves."""
        return nw.from_native(self._session.read.parquet(*(str(p) for p in paths)))

    def keep(self, frame: nw.LazyFrame) -> nw.LazyFrame:
        """Compute a frame once, when it is first needed; the cluster keeps it until the engine closes."""
        return nw.from_native(frame.to_native().persist())

    def pandas(self, frame: nw.LazyFrame) -> pd.DataFrame:
        """The frame's rows as pandas, decimals as floats, as DuckDB has it."""
        table = self.arrow(frame)
        floats = pa.schema([f.with_type(pa.float64()) if pa.types.is_decimal(f.type) else f for f in table.schema])
        return table.cast(floats).to_pandas()

    def batches(self, frame: nw.LazyFrame) -> Iterator[pa.RecordBatch]:
        """The frame's rows as Arrow batches; they are gathered here first."""
        yield from self.arrow(frame).to_batches(BATCH_ROWS)

    def arrow(self, frame: nw.LazyFrame) -> pa.Table:
        """The frame's rows as one Arrow table."""
        table: pa.Table = frame.to_native().toArrow()
        return table


def check_engine(name: str) -> str:
    """The name of an engine as it is, if it is one.

    Raises:
        WrongUse: neither ``duckdb`` nor ``spark://host:port``.
    """
    if name != DUCKDB:
        _masters(name)
    return name


def open_engine(name: str = DUCKDB) -> Engine:
    """Open the engine that the settings name: ``duckdb`` or ``spark://host:port``.

    Raises:
        WrongUse: no such engine, or Spark or Java is not installed here.
        UpstreamFailed: the Spark master does not answer, or has no executor to give.
    """
    return Engine() if check_engine(name) == DUCKDB else SparkEngine(name)


@contextmanager
def opened(name: str = DUCKDB) -> Iterator[Callable[[], AbstractContextManager[Engine]]]:
    """What opens engines as long as the block lasts: as many as asked for on DuckDB, one shared session on Spark.

    Raises:
        WrongUse, UpstreamFailed: as :func:`open_engine`.
    """
    if check_engine(name) == DUCKDB:
        yield Engine
        return
    with SparkEngine(name) as session:
        free = threading.Lock()

        @contextmanager
        def shared() -> Iterator[Engine]:
            with free:  # frames are named by who makes them: one at a time
                yield session

        yield shared


def _masters(name: str) -> list[tuple[str, int]]:
    found = SPARK_MASTER.fullmatch(name)
    if found is None:
        raise WrongUse(f"'{name}' is no engine: it is duckdb, or the master of a Spark cluster as spark://host:port")
    pairs = (part.rpartition(":") for part in found["hosts"].split(","))
    return [(host, int(port)) for host, _, port in pairs]


def _reachable(master: str, hosts: list[tuple[str, int]]) -> None:
    """Whether any of the masters takes a connection; Spark itself would try for a minute and then end the process."""
    why = ""
    for host, port in hosts:
        try:
            socket.create_connection((host, port), timeout=ANSWER_SECONDS).close()
            return
        except (OSError, OverflowError) as error:
            why = str(error)
    raise UpstreamFailed(
        f"the Spark master does not answer ({why})", url=master, todo="start it, or leave the engine at duckdb"
    )


def _session(master: str, hosts: list[tuple[str, int]], conf: dict[str, str]) -> Any:
    """A session of our own on the master."""
    from pyspark.errors import PySparkRuntimeError
    from pyspark.sql import SparkSession

    if (open_already := SparkSession.getActiveSession()) is not None:
        raise WrongUse(
            f"engine {master}: this process has a Spark session on {open_already.sparkContext.master} already; "
            "close it first"
        )
    wanted = {
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.log.level": "ERROR",
    }
    if all(host in ("127.0.0.1", "localhost") for host, _ in hosts):
        # A master on loopback has workers on loopback: the driver need not be reachable from elsewhere.
        wanted |= {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
    builder = SparkSession.builder.master(master).appName("ketenpipe")
    for key, value in {**wanted, **conf}.items():
        builder = builder.config(key, value)
    try:
        return builder.getOrCreate()
    except (PySparkRuntimeError, FileNotFoundError) as error:
        raise WrongUse(
            f"engine {master} needs Java 17 or later, which is not here or did not start: install it (and set "
            "JAVA_HOME), or leave the engine at duckdb"
        ) from error


def _await_executor(session: Any, master: str) -> None:
    """Wait for the first executor; without one Spark would wait for ever at the first sum."""
    context = session.sparkContext._jsc.sc()
    until = time.monotonic() + EXECUTOR_SECONDS
    while context.getExecutorMemoryStatus().size() < 2:  # the driver is one of them
        if time.monotonic() > until:
            raise UpstreamFailed(
                f"the Spark master gave no executor within {EXECUTOR_SECONDS:.0f} s",
                url=master,
                todo="look whether it has a worker with free cores and memory, or leave the engine at duckdb",
            )
        time.sleep(0.1)
