"""A real Spark cluster on loopback, from the pip wheel: one standalone master and one worker.

Belongs here: starting and ending it. Needs ``pyspark`` and Java 17.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import queue
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

#: How long a JVM may take to say that it is up, on a busy machine.
UP_SECONDS = 120.0


def absent() -> str | None:
    """What is lacking, in a few words; None where both are here."""
    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        return "needs Java 17 or later"
    if importlib.util.find_spec("pyspark") is None:
        return "needs pyspark (pip install '.[spark]')"
    return None


def spark_home() -> Path:
    """The folder of the wheel.

    Skips the test with a word where Java or ``pyspark`` is absent; fails where CI=true and Java is there without it.
    """
    if why := absent():
        if "pyspark" in why and os.environ.get("CI", "").lower() == "true":
            pytest.fail("CI has Java but not pyspark: install '.[test,spark]'")
        pytest.skip(why)
    found = importlib.util.find_spec("pyspark")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent


class _Daemon:
    """One process of Spark's; its log lines can be waited for."""

    def __init__(self, home: Path, work: Path, *arguments: str) -> None:
        environment = {
            **os.environ, "SPARK_HOME": str(home), "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_NO_DAEMONIZE": "1",
            "SPARK_LOCAL_DIRS": str(work), "SPARK_DAEMON_MEMORY": "256m",
        }  # fmt: skip
        self._process = subprocess.Popen(
            [str(home / "bin" / "spark-class"), *arguments],
            cwd=work,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            # Its own group, so that what it starts (executors) ends with it.
            start_new_session=True,
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def wait_for(self, pattern: str) -> str:
        """The first group of the first line that the pattern is found in."""
        until, seen = time.monotonic() + UP_SECONDS, []
        while True:
            try:
                line = self._lines.get(timeout=max(until - time.monotonic(), 0.0))
            except queue.Empty:
                raise AssertionError(f"no {pattern!r} within {UP_SECONDS:.0f} s in:\n{''.join(seen)}") from None
            if line is None:
                raise AssertionError(f"Spark ended with {self._process.wait()}:\n{''.join(seen)}")
            if found := re.search(pattern, line):
                return found[1]
            seen.append(line)

    def end(self) -> None:
        """End it and all it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._reader.join(timeout=20)
        if self._process.stdout is not None:
            self._process.stdout.close()


@contextlib.contextmanager
def master_only(work: Path) -> Iterator[str]:
    """A master without a worker: ``spark://127.0.0.1:port``."""
    home = spark_home()
    master = _Daemon(
        home, work, "org.apache.spark.deploy.master.Master", "--host", "127.0.0.1", "--port", "0", "--webui-port", "0"
    )
    try:
        yield master.wait_for(r"Starting Spark master at (spark://127\.0\.0\.1:\d+)")
    finally:
        master.end()


@contextlib.contextmanager
def cluster(work: Path, cores: int = 2, memory: str = "2g") -> Iterator[str]:
    """A master and a registered worker on loopback: the master's address."""
    with master_only(work) as address:
        worker = _Daemon(
            spark_home(), work, "org.apache.spark.deploy.worker.Worker", "--host", "127.0.0.1", "--webui-port", "0",
            "--cores", str(cores), "--memory", memory, "--work-dir", str(work), address,
        )  # fmt: skip
        try:
            worker.wait_for(r"(Successfully registered with master)")
            yield address
        finally:
            worker.end()
