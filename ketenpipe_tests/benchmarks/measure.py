"""What a benchmark is, and how seconds and peak memory are taken: each thing measured in a fresh process of its own.

Belongs here: the two dataclasses and the stopwatch. Does not belong here: any benchmark (``bench_*.py``).
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any


class Unavailable(RuntimeError):
    """A rival that this machine cannot have; the benchmark is left out with the reason."""


@dataclass(frozen=True)
class Timed:
    """One function, run once in a process of its own.

    Attributes:
        seconds: wall time of the call, without starting the process and importing.
        peak_mb: the largest resident memory of that process (10^6 bytes), interpreter and libraries included.
        value: what the function returned.
    """

    seconds: float
    peak_mb: float
    value: Any = None


@dataclass(frozen=True)
class Measured:
    """What one run of a benchmark found.

    Attributes:
        seconds: ours; None where the benchmark was left out.
        against_seconds: the floor or the rival, in the same run; None if there is none.
        peak_mb: peak memory of ours.
        note: what else is worth a line (rows, bytes, the rival's memory).
    """

    seconds: float | None
    against_seconds: float | None
    peak_mb: float | None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Ours over the floor or rival: below 1 we are quicker."""
        if self.seconds is None or self.against_seconds is None:
            return None
        return self.seconds / self.against_seconds


@dataclass(frozen=True)
class Benchmark:
    """One benchmark.

    Attributes:
        name: ``baci_ingest``; unique.
        description: what is done, in one line.
        against: the floor or rival, in a few words.
        run: does it, at a share of the real size (1.0 is the size that the bars are about; the smoke test asks for
            far less), and returns what it found. Use :func:`apart` for whatever is timed.
        ratio_bar: ours takes at most so many times the floor (or rival); None: no bar.
        memory_bar_mb: ours needs at most so much memory; None: no bar.
        usual_scale: the size it has where none is asked for; below 1 where the rival needs minutes.
    """

    name: str
    description: str
    against: str
    run: Callable[[float], Measured]
    ratio_bar: float | None = None
    memory_bar_mb: float | None = None
    usual_scale: float = 1.0

    def held(self, found: Measured) -> bool | None:
        """Whether every bar holds; None if there is none."""
        verdicts = []
        if self.ratio_bar is not None and found.ratio is not None:
            verdicts.append(found.ratio <= self.ratio_bar)
        if self.memory_bar_mb is not None and found.peak_mb is not None:
            verdicts.append(found.peak_mb <= self.memory_bar_mb)
        return all(verdicts) if verdicts else None


def peak_mb() -> float:
    """Peak resident memory of this process in 10^6 bytes.

    Linux keeps ``ru_maxrss`` of the parent over fork and exec; ``VmHWM`` is the process's own, and is taken where
    there is one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def _measure(sender: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    start = time.perf_counter()
    value = function(*arguments)
    seconds = time.perf_counter() - start
    sender.send(Timed(seconds, peak_mb(), value))
    sender.close()


def apart(function: Callable[..., Any], *arguments: Any) -> Timed:
    """Run a function of a module once, in a fresh process, and say what it took.

    Args:
        function: defined at the top of a module (the process imports it before the clock starts).
        arguments: what it is called with; these and what it returns must be picklable and small.

    Raises:
        RuntimeError: the process ended without an answer (its traceback is on the error stream).
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(sender, function, arguments))
    process.start()
    sender.close()
    try:
        timed: Timed = receiver.recv()
    except EOFError:
        process.join()
        name = getattr(function, "__name__", str(function))
        raise RuntimeError(f"{name} ended with exit code {process.exitcode} and no answer") from None
    finally:
        receiver.close()
        process.join()
    return timed
