"""Bytes on this machine's disk: each file written whole or not at all, and made durable.

Belongs here: the temporary file beside the old one, the sync, the rename. Does not belong here: where a home lies
(:mod:`ketenpipe.tables.home`), what stands in a file.
"""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ketenpipe.errors import DiskFull

#: How an unfinished file ends: ``.2022.parquet.x1y2z3.part``. A killed run leaves it, the next one removes it.
UNFINISHED = ".part"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_CHUNK = 1 << 20


def fsync_directory(directory: Path) -> None:
    """Make a rename inside the directory durable."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside ``path`` that takes its place, durably, when the block ends well.

    A reader sees the old bytes or the new ones, never a part. Whatever goes wrong, the old file stays and the
    temporary one is removed; only a killed process leaves it (``.<name>.<random>.part``).

    Raises:
        DiskFull: no room (or no quota) left.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=UNFINISHED)
        temporary = Path(name)
        os.close(handle)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException as broken:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        if isinstance(broken, OSError) and broken.errno in _FULL:
            kept = "; the file that was there before is untouched" if path.exists() else ""
            raise DiskFull(f"{path}: no room left on the disk to write it{kept}; make room and run again.") from broken
        raise
    fsync_directory(path.parent)


def write_bytes_atomic(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old bytes or the new ones, never a part; see :func:`replacing`."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def append_durably(path: Path, content: bytes) -> None:
    """Append to a file, made for its owner alone if it is not there; what was there before stays if that fails."""
    created = not path.exists()
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        before = os.fstat(handle).st_size
        try:
            rest = content
            while rest:
                rest = rest[os.write(handle, rest) :]
            os.fsync(handle)
        except BaseException:
            # A full disk must not leave half a line: what was there before stays exactly as it was.
            os.ftruncate(handle, before)
            raise
    finally:
        os.close(handle)
    if created:
        fsync_directory(path.parent)


def measured(source: BinaryIO) -> tuple[int, str]:
    """Bytes and SHA-256 of what can be read from here on, a piece at a time."""
    digest, size = hashlib.sha256(), 0
    while chunk := source.read(_CHUNK):
        digest.update(chunk)
        size += len(chunk)
    return size, digest.hexdigest()


def sha256_of_stream(source: BinaryIO) -> str:
    """SHA-256 of what can be read from here on."""
    return measured(source)[1]
