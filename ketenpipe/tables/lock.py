"""One run at a time per home: a lock that says who holds it.

Belongs here: taking and naming the lock. The same process may take it again (the command, then its Dagster runs).

In a folder it is a lock of the operating system, which a process that ends lets go of. On an S3 store it is a file
(``.lock``) that only one can create and that its holder removes; a holder that was killed leaves it, and whoever comes
next is told whose it is and how to remove it. It is never taken over by itself: nobody can tell from afar a process
that is gone from one that is slow.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ketenpipe.errors import HomeLocked, WrongUse
from ketenpipe.tables.home import AnyHome, LocalPlace, Overtaken, S3Place, place_of

LOCK = ".lock"
#: How often this process holds the lock of each S3 home.
_HELD: dict[str, int] = {}
_HELD_GUARD = threading.Lock()


def _holder_note(home: Path) -> Path:
    return home / ".lock.holder"


@contextmanager
def home_lock(home: AnyHome, holder: str) -> Iterator[None]:
    """Hold the home's lock.

    Args:
        home: a folder is created if it is not there.
        holder: who asks, e.g. ``ketenpipe run``; shown to whoever comes second.

    Raises:
        HomeLocked: another process holds it.
        WrongUse: the home cannot be written to.
    """
    place = place_of(home)
    if isinstance(place, S3Place):
        with _remote_lock(place, holder):
            yield
        return
    assert isinstance(place, LocalPlace)
    with _local_lock(place.root, holder):
        yield


@contextmanager
def _local_lock(home: Path, holder: str) -> Iterator[None]:
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock = FileLock(home.resolve() / LOCK, timeout=0, is_singleton=True)
        lock.acquire()
    except Timeout as taken:
        raise HomeLocked(f"{home}: {_who(home)} holds the home's lock; try again when it is done.") from taken
    except OSError as error:
        raise WrongUse(f"{home}: the home cannot be written to ({error.strerror or error}).") from error
    try:
        if lock.lock_counter == 1:
            _holder_note(home).write_text(f"{holder} (process {os.getpid()}, since {_now()})", encoding="utf-8")
        yield
    finally:
        if lock.lock_counter == 1:
            _holder_note(home).unlink(missing_ok=True)
        lock.release()


@contextmanager
def _remote_lock(place: S3Place, holder: str) -> Iterator[None]:
    name = place.text()
    with _HELD_GUARD:
        if _HELD.get(name, 0) == 0:
            _take(place, holder)
        _HELD[name] = _HELD.get(name, 0) + 1
    try:
        yield
    finally:
        with _HELD_GUARD:
            _HELD[name] -= 1
            if _HELD[name] == 0:
                _let_go(place)


def _take(place: S3Place, holder: str) -> None:
    """Create the lock, which only one can.

    Raises:
        HomeLocked: another has, or a killed one had.
    """
    own = {
        "holder": holder, "host": socket.gethostname(), "process": os.getpid(), "since": _now(), "token": _TOKEN
    }  # fmt: skip
    try:
        place.put_if(LOCK, json.dumps(own, indent=1).encode(), None)
    except Overtaken as taken:
        held = _read(place)
        who = (
            f"{held['holder']} (process {held['process']} on {held['host']}, since {held['since']})"
            if held
            else "another run"
        )
        gone = held and held["host"] == own["host"] and not _alive(held["process"])
        when = (
            "that process is no longer there, so remove the lock by hand"
            if gone
            else "try again when it is done or, if you know that it was stopped, remove the lock by hand"
        )
        raise HomeLocked(
            f"{place}: {who} holds the home's lock; {when} (delete {place.text(LOCK)} with any S3 client, "
            f"e.g. aws s3 rm {place.text(LOCK)})."
        ) from taken


def _let_go(place: S3Place) -> None:
    """Remove the lock if it still is ours: somebody may have removed it by hand, and another have it by now."""
    held = _read(place)
    if held is not None and held.get("token") == _TOKEN:
        place.delete(LOCK)


def _read(place: S3Place) -> dict[str, Any] | None:
    found = place.look(LOCK)
    if found is None:
        return None
    try:
        held = json.loads(found[0])
        return {key: held[key] for key in ("holder", "host", "process", "since", "token")}
    except (ValueError, KeyError, TypeError):
        return None


def _alive(process: object) -> bool:
    try:
        os.kill(int(str(process)), 0)
    except (ProcessLookupError, ValueError):
        return False
    except OSError:
        return True
    return True


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


#: What tells this process from every other one.
_TOKEN = uuid.uuid4().hex


def _who(home: Path) -> str:
    try:
        return _holder_note(home).read_text(encoding="utf-8").strip() or "another run"
    except OSError:
        return "another run"
