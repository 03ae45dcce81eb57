"""One run at a time per home: a lock file that says who holds it.

Belongs here: taking and naming the lock. The same process may take it again (the command, then its Dagster runs).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from ketenpipe.errors import HomeLocked, WrongUse


def _holder_note(home: Path) -> Path:
    return home / ".lock.holder"


@contextmanager
def home_lock(home: Path, holder: str) -> Iterator[None]:
    """Hold the home's lock.

    Args:
        home: created if it is not there.
        holder: who asks, e.g. ``ketenpipe run``; shown to whoever comes second.

    Raises:
        HomeLocked: another process holds it.
        WrongUse: the home cannot be written to.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock = FileLock(home.resolve() / ".lock", timeout=0, is_singleton=True)
        lock.acquire()
    except Timeout as taken:
        raise HomeLocked(f"{home}: {_who(home)} holds the home's lock; try again when it is done.") from taken
    except OSError as error:
        raise WrongUse(f"{home}: the home cannot be written to ({error.strerror or error}).") from error
    try:
        if lock.lock_counter == 1:
            now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
            _holder_note(home).write_text(f"{holder} (process {os.getpid()}, since {now})", encoding="utf-8")
        yield
    finally:
        if lock.lock_counter == 1:
            _holder_note(home).unlink(missing_ok=True)
        lock.release()


def _who(home: Path) -> str:
    try:
        return _holder_note(home).read_text(encoding="utf-8").strip() or "another run"
    except OSError:
        return "another run"
