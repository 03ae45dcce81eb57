"""Opens a native file, plain, gzip or zip entry, as a byte stream, and names what is damaged.

Belongs here: bytes, compression, hashes, decoding, small CSV tables. Does not belong here: what the columns
    mean.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ketenpipe.errors import InputRefused

_CHUNK = 1 << 20
_DAMAGE = (EOFError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, NotImplementedError)


def magic(path: Path) -> str:
    """The container a file really is, by its first bytes: ``gzip``, ``zip`` or ``plain``."""
    with path.open("rb") as stream:
        head = stream.read(4)
    if head[:2] == b"\x1f\x8b":
        return "gzip"
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return "zip"
    return "plain"


def place(path: Path, entry: str | None) -> str:
    """How a file, or an entry of an archive, is named in a sentence."""
    return f"{path}!{entry}" if entry else str(path)


@contextmanager
def refuse_damaged(path: Path, entry: str | None = None) -> Iterator[None]:
    """Turns a broken container into one sentence (truncated zip or gz, wrong checksum)."""
    try:
        yield
    except _DAMAGE as damage:
        raise InputRefused(
            f"the file is truncated or damaged ({str(damage).rstrip('.') or type(damage).__name__})",
            path=path,
            where=f"zip entry {entry}" if entry else None,
            todo="download it again",
        ) from damage


@contextmanager
def open_binary(path: Path, entry: str | None = None) -> Iterator[IO[bytes]]:
    """Opens the uncompressed content of a file, or of one entry of a zip, as a stream.

    Raises:
        InputRefused: the container is truncated or damaged, or cannot be opened. This holds for errors raised
            while the caller reads inside the ``with`` block too.
    """
    with refuse_damaged(path, entry):
        if entry is not None:
            with zipfile.ZipFile(path) as archive, archive.open(entry) as inner:
                if entry.lower().endswith(".gz"):
                    with gzip.GzipFile(fileobj=inner) as stream:
                        yield stream  # type: ignore[misc]
                else:
                    yield inner
            return
        kind = magic(path)
        if kind == "plain" and path.suffix.lower() in (".gz", ".zip"):
            raise InputRefused(f"the file is named {path.suffix} but is not one", path=path, todo="download it again")
        if kind == "gzip":
            with gzip.open(path, "rb") as stream:
                yield stream  # type: ignore[misc]
        else:
            with path.open("rb") as stream:
                yield stream


def zip_entries(path: Path) -> list[str]:
    """The files within a zip, in name order, without folders and macOS leftovers.

    Raises:
        InputRefused: the zip is truncated or damaged.
    """
    with refuse_damaged(path), zipfile.ZipFile(path) as archive:
        return sorted(
            n for n in archive.namelist() if not n.endswith("/") and "__MACOSX" not in n and base_name(n)[:1] != "."
        )


def base_name(entry: str) -> str:
    """The last part of a path inside a zip (either kind of slash)."""
    return re.split(r"[\\/]", entry)[-1]


def sha256_of(path: Path) -> str:
    """SHA-256 of the file as it lies on disk."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_CHUNK):
            digest.update(block)
    return digest.hexdigest()


def content_sha256(path: Path) -> str:
    """SHA-256 of the uncompressed content of a plain or gzip file."""
    digest = hashlib.sha256()
    with open_binary(path) as stream:
        while block := stream.read(_CHUNK):
            digest.update(block)
    return digest.hexdigest()


def read_text(path: Path, entry: str | None = None) -> str:
    """The whole content as text: UTF-8 (a byte order mark is dropped), else Windows-1252, else Latin-1."""
    with open_binary(path, entry) as stream:
        raw = stream.read()
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    return raw.decode("latin-1")


def read_rows(path: Path, entry: str | None = None) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """A small CSV file as text: the header, and the rows with their line numbers.

    Blank lines are skipped; every other row must have as many fields as the header.

    Raises:
        InputRefused: the file is empty, or a row has another number of fields (a truncated file ends so).
    """
    reader = csv.reader(io.StringIO(read_text(path, entry), newline=""))
    where = f"zip entry {entry}, " if entry else ""
    header: list[str] | None = None
    rows: list[tuple[int, list[str]]] = []
    try:
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            if header is None:
                header = [cell.strip() for cell in row]
            elif len(row) != len(header):
                raise InputRefused(
                    f"the row has {len(row)} fields where the header has {len(header)}",
                    path=path,
                    where=f"{where}line {reader.line_num}",
                    todo="the file may be cut off: download it again",
                )
            else:
                rows.append((reader.line_num, row))
    except csv.Error as broken:
        raise InputRefused(
            f"not readable as CSV ({broken})", path=path, where=f"{where}line {reader.line_num}"
        ) from broken
    if header is None:
        raise InputRefused("the file is empty", path=path, where=where.rstrip(", ") or None, todo="download it again")
    return header, rows


def header_of(path: Path, entry: str | None = None) -> list[str]:
    """The cleaned column names of a CSV file: blanks, quotes and a byte order mark removed."""
    with open_binary(path, entry) as stream:
        line = stream.readline(1 << 22)
    text = line.decode("utf-8-sig", errors="replace")
    if not text.strip():
        raise InputRefused(
            "the file is empty",
            path=path,
            where=f"zip entry {entry}" if entry else None,
            todo="download it again",
        )
    return [cell.strip().strip('"').strip() for cell in next(csv.reader([text.rstrip("\r\n")]))]


def number(text: str) -> float | None:
    """A number in a CSV cell, blanks around it allowed; None where it is none. ``nan`` and ``inf`` are no
    numbers."""
    cleaned = text.strip()
    if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", cleaned):
        return None
    return float(cleaned)
