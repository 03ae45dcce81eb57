"""Opens a native file, plain, gzip or zip entry, as a byte stream, and names what is damaged.

Belongs here: bytes, compression, hashes, decoding, small CSV tables. Does not belong here: what the columns
    mean.
"""

from __future__ import annotations

import codecs
import copy
import csv
import gzip
import hashlib
import io
import re
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ketenpipe.errors import InputRefused

_CHUNK = 1 << 20
_DAMAGE = (EOFError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, NotImplementedError)

#: What a zip of official data may hold. BACI's largest has about 30 entries of 300-400 MB, packed 5 to 15 times.
ZIP_ENTRIES = 10_000
ZIP_ENTRY_BYTES = 16 << 30
ZIP_TOTAL_BYTES = 256 << 30
#: An entry over this size must not be packed more than this many times (deflate can reach 1,032).
ZIP_LARGE_BYTES = 256 << 20
ZIP_RATIO = 500


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
            with zipfile.ZipFile(path) as archive, _entry_stream(archive, path, entry) as inner:
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


class _Stated(io.RawIOBase):
    """The content of a zip entry, refused where it is not as long as the zip states."""

    def __init__(self, inner: IO[bytes], stated: int, path: Path, entry: str) -> None:
        self._inner, self._stated, self._path, self._entry = inner, stated, path, entry
        self._given = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer)
        block = self._inner.read(len(view))
        self._given += len(block)
        if self._given > self._stated or (not block and len(view) and self._given < self._stated):
            more = "more than" if self._given > self._stated else f"{self._given} bytes where"
            raise InputRefused(
                f"the entry holds {more} the {self._stated} bytes that the zip states",
                path=self._path,
                where=f"zip entry {self._entry}",
                todo="download it again; if it stays so, do not use it",
            )
        view[: len(block)] = block
        return len(block)

    def close(self) -> None:
        self._inner.close()
        super().close()


def _entry_stream(archive: zipfile.ZipFile, path: Path, entry: str) -> IO[bytes]:
    """An entry as a stream that never gives more bytes than stated, and ends by checking its checksum."""
    stated = archive.getinfo(entry)
    # The reader stops at the stated size. Stating one byte more lets it meet the real end, and a liar be seen.
    longer = copy.copy(stated)
    longer.file_size += 1
    return io.BufferedReader(_Stated(archive.open(longer), stated.file_size, path, entry), _CHUNK)


def zip_entries(path: Path) -> list[str]:
    """The files within a zip, in name order, without folders and macOS leftovers.

    Raises:
        InputRefused: the zip is truncated or damaged, or one that :func:`check_zip` refuses.
    """
    with refuse_damaged(path), zipfile.ZipFile(path) as archive:
        _check_entries(archive, path, path.stat().st_size)
        return sorted(
            n for n in archive.namelist() if not n.endswith("/") and "__MACOSX" not in n and base_name(n)[:1] != "."
        )


def check_zip(path: Path, named: Path | str | None = None) -> None:
    """Refuse a zip that no official source would make; only its directory is read.

    Args:
        path: the zip.
        named: how it is named in a sentence, where it lies under another name for the moment.

    Raises:
        InputRefused: truncated or damaged, no entry, too many, a name that leads out of the zip or stands twice, a link
            or device, an encrypted entry, a size that is absurd (:data:`ZIP_ENTRY_BYTES` and beside it).
    """
    shown = Path(named or path)
    with refuse_damaged(shown), zipfile.ZipFile(path) as archive:
        _check_entries(archive, shown, path.stat().st_size)


def _check_entries(archive: zipfile.ZipFile, path: Path, size: int) -> None:
    entries = archive.infolist()

    def refuse(what: str, entry: zipfile.ZipInfo | None = None) -> InputRefused:
        where = f"zip entry {entry.orig_filename!r}" if entry is not None else None
        return InputRefused(what, path=path, where=where, todo="download it again; if it stays so, do not use it")

    if not entries:
        raise refuse("the zip is empty")
    if len(entries) > ZIP_ENTRIES:
        raise refuse(f"the zip has {len(entries)} entries, more than {ZIP_ENTRIES}")
    names: set[str] = set()
    for entry in entries:
        name = entry.orig_filename.replace("\\", "/")
        if "\0" in name or name.startswith("/") or re.match(r"[A-Za-z]:", name) or ".." in name.split("/"):
            raise refuse("the name leads out of the zip", entry)
        if name in names:
            raise refuse("the name stands twice in the zip", entry)
        names.add(name)
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise refuse("the entry is a link or a device, no file", entry)
        if entry.flag_bits & 0x1:
            raise refuse("the entry is encrypted", entry)
        if entry.file_size > ZIP_ENTRY_BYTES:
            raise refuse(f"the entry states {entry.file_size} bytes, more than {ZIP_ENTRY_BYTES}", entry)
        if entry.file_size > ZIP_LARGE_BYTES and entry.file_size > ZIP_RATIO * entry.compress_size:
            raise refuse(
                f"the entry states {entry.file_size} bytes packed into {entry.compress_size}, no data packs like that",
                entry,
            )
    total = sum(entry.file_size for entry in entries)
    if total > ZIP_TOTAL_BYTES:
        raise refuse(f"the entries state {total} bytes together, more than {ZIP_TOTAL_BYTES}")
    packed = sum(entry.compress_size for entry in entries)
    if packed > size:
        raise refuse(f"the entries are packed into {packed} bytes where the zip has {size}: they overlap")


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
    """The whole content as text: UTF-16 where its byte order mark says so, else UTF-8, Windows-1252 or Latin-1."""
    with open_binary(path, entry) as stream:
        raw = stream.read()
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            return raw.decode("utf-16")
        except UnicodeDecodeError as broken:
            raise InputRefused(
                f"not readable as UTF-16 ({broken.reason})",
                path=path,
                where=f"zip entry {entry}" if entry else None,
                todo="download it again",
            ) from broken
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    return raw.decode("latin-1")


def read_rows(
    path: Path, entry: str | None = None, *, preamble: tuple[str, ...] = (), footer: str | None = None
) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """A small CSV file as text: the header, and the rows with their line numbers.

    Blank lines are skipped; every other row must have as many fields as the header. ``preamble`` names the first
    cells of rows that may stand before the header, ``footer`` how the first cell of a row starts that ends the table.

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
            first = row[0].strip()
            if header is None and first in preamble:
                continue
            if header is not None and footer is not None and first.startswith(footer):
                break
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


def header_line(path: Path, entry: str | None = None) -> str:
    """The first line of a CSV file as text, without a byte order mark and the end of the line.

    Raises:
        InputRefused: the file is empty, or no text in lines (UTF-16, packed once more, lines that end in CR alone).
    """
    where = f"zip entry {entry}" if entry else None
    with open_binary(path, entry) as stream:
        line = stream.readline(1 << 22)
    if line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InputRefused("the file is UTF-16, not UTF-8", path=path, where=where, todo="save it as CSV in UTF-8")
    text = line.decode("utf-8-sig", errors="replace").rstrip("\r\n")
    if not text.strip():
        raise InputRefused("the file is empty", path=path, where=where, todo="download it again")
    if re.search(r"[\x00-\x08\x0e-\x1f]", text):
        raise InputRefused("the file is no text", path=path, where=where, todo="unpack it, or download it again")
    if "\r" in text:
        raise InputRefused(
            "its lines end in a carriage return alone", path=path, where=where, todo="use the file as downloaded"
        )
    return text


def header_of(path: Path, entry: str | None = None) -> list[str]:
    """The cleaned column names of a CSV file: blanks, quotes and a byte order mark removed.

    Raises:
        InputRefused: as :func:`header_line`.
    """
    return [cell.strip().strip('"').strip() for cell in next(csv.reader([header_line(path, entry)]))]


def number(text: str) -> float | None:
    """A number in a CSV cell, blanks around it allowed; None where it is none. ``nan`` and ``inf`` are no
    numbers."""
    cleaned = text.strip()
    if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", cleaned):
        return None
    return float(cleaned)
