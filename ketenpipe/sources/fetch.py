"""Fetches the plain files of ``upstreams.toml`` into the archive: conditional, resumable, checked before they are kept.

Belongs here: downloads, what must hold of a file before the archive takes it, what is stale. Does not belong here:
APIs that are asked data set by data set (:mod:`ketenpipe.sources.comtrade_api`), printing.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal, Protocol

import requests
from urllib3.exceptions import HTTPError, MaxRetryError, ProtocolError

from ketenpipe.errors import DiskFull, InputRefused, KetenpipeError, UpstreamFailed
from ketenpipe.sources.archive import Archive, ArchivedFile, Kept, Provenance, moment, room_needed
from ketenpipe.sources.http import Http, shown
from ketenpipe.sources.opening import check_zip, magic, sha256_of
from ketenpipe.sources.places import VintageSpan
from ketenpipe.sources.upstreams import FileRow, Upstreams, newest_link
from ketenpipe.tables.store import write_bytes_atomic

_CHUNK = 1 << 20
_PAGE_LIMIT = 4 << 20
_PACKED = (".zip", ".xlsx")
#: The ids of the World Bank's messages that say that what was asked for is not there: a parameter, an indicator.
#: Recalled.
_UNKNOWN = ("120", "175")

TellBytes = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Downloaded:
    """A whole file, still outside the archive."""

    path: Path
    bytes: int
    etag: str | None
    last_modified: str | None
    content_type: str


@dataclass(frozen=True)
class Unchanged:
    """Upstream says that the archive's file is still the present one."""

    file: ArchivedFile


class Progress(Protocol):
    """How a fetch tells how far it is; the command line renders it."""

    def start(self, slot: str, total_bytes: int | None) -> None:
        """A download begins, or begins anew from its first byte. ``total_bytes`` None: the server does not say."""

    def advance(self, count: int) -> None:
        """So many more bytes are there (those kept from an earlier run included)."""

    def done(self, slot: str, sentence: str) -> None:
        """A slot is finished, well or not."""


class Silent:
    """Tells nobody."""

    def start(self, slot: str, total_bytes: int | None) -> None:
        """Nothing."""

    def advance(self, count: int) -> None:
        """Nothing."""

    def done(self, slot: str, sentence: str) -> None:
        """Nothing."""


@dataclass(frozen=True)
class Fetched:
    """What became of one slot: ``sentence`` says it in words, ``error`` is set where ``state`` is ``failed``.

    ``excused``: it failed in a way that does not pass, and its row is optional.
    """

    slot: str
    source: str
    state: Literal["new", "unchanged", "changed", "failed"]
    sentence: str
    bytes: int
    seconds: float
    file: ArchivedFile | None = None
    error: KetenpipeError | None = None
    excused: bool = False


@dataclass(frozen=True)
class SourceStatus:
    """What the archive holds for one slot, and whether it is time to look again."""

    slot: str
    source: str
    enabled: bool
    held: ArchivedFile | None
    checked_at: str | None
    stale: bool
    why: str
    licence: str


def _stem(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()[:24]


class _Partial:
    """A download under way: ``<hash of the address>.part`` and beside it what its bytes belong to."""

    def __init__(self, folder: Path, url: str) -> None:
        self.url, self.path, self.note = url, folder / f"{_stem(url)}.part", folder / f"{_stem(url)}.json"
        self.etag: str | None = None
        self.last_modified: str | None = None
        self.length: int | None = None
        self.packed = False
        folder.mkdir(parents=True, exist_ok=True)
        self._recall()

    def _recall(self) -> None:
        try:
            raw = json.loads(self.note.read_text(encoding="utf-8"))
            if not self.path.exists() or raw["url"] != self.url:
                raise KeyError
            self.etag, self.last_modified, self.length = raw["etag"], raw["last_modified"], raw["length"]
            self.packed = raw["packed"]
        except (FileNotFoundError, json.JSONDecodeError, KeyError, TypeError):
            # Bytes of which nobody knows what they are a part of are worth nothing.
            self.drop()

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def validator(self) -> str | None:
        """What If-Range may hold: a strong ETag, else the date of a file that has no ETag.

        None for a body that was packed on its way: its ranges count other bytes.
        """
        if self.packed:
            return None
        if self.etag is not None:
            return None if self.etag.startswith("W/") else self.etag
        return self.last_modified

    @property
    def resumable(self) -> bool:
        return self.size > 0 and self.validator is not None and (self.length is None or self.size <= self.length)

    @property
    def whole(self) -> bool:
        return self.resumable and self.size == self.length

    def begin(self, answer: requests.Response) -> None:
        """Start from zero with the file that this answer brings."""
        self.drop()
        self.etag, self.last_modified = answer.headers.get("ETag"), answer.headers.get("Last-Modified")
        self.packed = answer.headers.get("Content-Encoding", "identity") != "identity"
        stated = answer.headers.get("Content-Length", "")
        self.length = int(stated) if stated.isdigit() and not self.packed else None
        note = {"url": self.url, "etag": self.etag, "last_modified": self.last_modified, "length": self.length}
        write_bytes_atomic(self.note, json.dumps({**note, "packed": self.packed}).encode())

    def continues(self, answer: requests.Response) -> bool:
        """Whether a 206 goes on exactly where the part ends, in the same file."""
        found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", answer.headers.get("Content-Range", "").strip())
        if found is None or int(found[1]) != self.size:
            return False
        if self.length is not None and found[3] != "*" and int(found[3]) != self.length:
            return False
        etag, date = answer.headers.get("ETag"), answer.headers.get("Last-Modified")
        return (etag in (None, self.etag)) and (date in (None, self.last_modified))

    def drop(self) -> None:
        """Forget the bytes. The file goes first: a note without bytes is harmless."""
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)
        self.etag = self.last_modified = self.length = None
        self.packed = False


def download(
    http: Http,
    url: str,
    partial_dir: Path,
    *,
    known: ArchivedFile | None = None,
    tell_bytes: TellBytes | None = None,
    sha256: str | None = None,
) -> Downloaded | Unchanged:
    """Fetch one file, going on where an earlier try of the same version stopped.

    What the archive holds is not sent again (``If-None-Match``, ``If-Modified-Since``). A part is continued only under
    ``If-Range``: another ETag, date or length, a 416 or a Content-Range that does not fit begins from zero, and so does
    a server that gives neither a strong ETag nor a date. A body that breaks off is taken up again at once; every try
    that brings no byte more than the best before counts against the retries of ``http``.

    Args:
        http: the session.
        url: the file's address.
        partial_dir: where parts live, ``<home>/raw/.partial``.
        known: the archive's newest file from this address.
        tell_bytes: called with (bytes that are there, length of the whole or None).
        sha256: the hash that the whole must have.

    Returns:
        The whole file outside the archive, or that nothing changed.

    Raises:
        UpstreamFailed: see :meth:`ketenpipe.sources.http.Http.get`; a body that keeps breaking off; another hash.
        DiskFull: no room for what is still to come; what came so far is kept.
    """
    told = tell_bytes or (lambda done, total: None)
    with room_needed(partial_dir):
        part = _Partial(partial_dir, url)
    best, tries, length = part.size, http.retry.new(), part.length
    while True:
        answer = http.get(url, headers=_asking(part, known), stream=True, accept=(200, 206, 304, 403, 416))
        with answer:
            if answer.status_code == 403:
                raise UpstreamFailed(
                    "the server answered 403 (Forbidden): it may refuse programs and serve browsers",
                    url=shown(url),
                    passing=False,
                    todo="download it with a browser and hand it over (ketenpipe sources fetch SLOT --file FILE); "
                    "by_hand = true in its row of upstreams.toml ends the asking",
                )
            if answer.status_code == 304:
                if part.whole:
                    return _finish(part, answer, sha256)
                part.drop()
                if known is None:
                    raise UpstreamFailed("the server says 'not modified' to a first request", url=shown(url))
                return Unchanged(known)
            try:
                with room_needed(partial_dir):
                    if answer.status_code == 206 and part.continues(answer):
                        _write_body(part, answer, told, append=True)
                        return _finish(part, answer, sha256)
                    if answer.status_code == 200:
                        part.begin(answer)
                        _write_body(part, answer, told, append=False)
                        return _finish(part, answer, sha256)
                broken: Exception = ProtocolError(f"the server answered {answer.status_code} to a request to go on")
                part.drop()
            except HTTPError as error:
                broken = error
        if part.size > best:
            best, tries = part.size, http.retry.new()
        length = part.length or length
        try:
            tries = tries.increment("GET", url, error=broken)
        except MaxRetryError as error:
            raise _broke_off(part, best, length) from error
        tries.sleep()


def fetch_files(
    archive: Archive,
    upstreams: Upstreams,
    http: Http,
    which: Collection[str] | None = None,
    progress: Progress | None = None,
) -> list[Fetched]:
    """Fetch what changed upstream, row by row; one that fails does not stop the others.

    The caller holds the home's lock. A file that is unchanged makes no folder and no sidecar.

    Args:
        archive: of the home.
        upstreams: the configuration.
        http: the session.
        which: sources or slots; None: every row that is switched on and not taken by hand.
        progress: told how far it is.

    Returns:
        One result per row, in the order of the rows; see :func:`raise_if_failed`.

    Raises:
        WrongUse: ``which`` names something that is not there.
    """
    told = progress or Silent()
    rows = [row for row in upstreams.chosen(which) if which is not None or not row.by_hand]
    with room_needed(archive.root):
        archive.recover()
    for torn in (archive.root / ".partial").glob(".*"):
        torn.unlink()
    results: list[Fetched] = []
    wanted: set[str] = set()
    for row in rows:
        begun = time.monotonic()
        try:
            url, name = _target(row, http)
            wanted.add(url)
            kept, came = _fetch_row(archive, row, url, name, http, told)
            sentence = _sentence(kept)
            result = Fetched(row.slot, row.source, kept.state, sentence, came, time.monotonic() - begun, kept.file)
        except KetenpipeError as error:
            excused = row.optional and which is None and isinstance(error, UpstreamFailed) and not error.passing
            without = row.without or "what rests on it is left out"
            sentence = f"{error} It is optional: {without}." if excused else str(error)
            seconds = time.monotonic() - begun
            result = Fetched(row.slot, row.source, "failed", sentence, 0, seconds, error=error, excused=excused)
        told.done(row.slot, result.sentence)
        results.append(result)
    if which is None and len(wanted) == len(rows):
        _sweep(archive.root / ".partial", wanted)
    return results


def take_by_hand(archive: Archive, upstreams: Upstreams, slot: str, path: Path) -> Fetched:
    """Take a file that was downloaded with a browser, where a server refuses programs; the file itself stays.

    The caller holds the home's lock. The same must hold of it as of a file that was fetched.

    Args:
        archive: of the home.
        upstreams: the configuration.
        slot: what the file is for.
        path: the file. Where its row takes the newest release, its name must be the native one.

    Raises:
        WrongUse: there is no such slot.
        InputRefused: there is no such file, its name does not state the release, it is another kind of file than the
            row's, damaged, or has another hash than the row states.
        DiskFull: there is no room.
    """
    row, begun = upstreams.row(slot), time.monotonic()
    if not path.is_file():
        raise InputRefused("there is no such file", path=path)
    if row.newest_of is not None:
        url, name = row.newest_of.page, row.name or path.name
        if row.label_in(path.name) is None:
            raise InputRefused(
                f"the name does not match {row.newest_of.pattern}", path=path, todo="give it its native name"
            )
    else:
        url, name = str(row.url), row.name_at(str(row.url))
    copy = archive.root / ".partial" / f"{_stem(str(path.resolve()))}.hand"
    with room_needed(archive.root):
        archive.recover()
        copy.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(path, copy)
            note = " ".join(filter(None, (row.note, "Downloaded by hand.")))
            if row.sha256 is not None and (found := sha256_of(copy)) != row.sha256:
                raise InputRefused(
                    f"the file has sha256 {found[:12]}... where upstreams.toml expects {row.sha256[:12]}...",
                    path=path,
                    todo="compare with what the source publishes",
                )
            came = Downloaded(copy, copy.stat().st_size, None, None, "")
            kept = _keep(archive, row, url, name, came, note)
        except UpstreamFailed as failed:
            raise InputRefused(failed.what, path=path, todo="download it again") from failed
        finally:
            copy.unlink(missing_ok=True)
    return Fetched(slot, row.source, kept.state, _sentence(kept), kept.file.bytes, time.monotonic() - begun, kept.file)


def raise_if_failed(results: Sequence[Fetched]) -> None:
    """Raise what went wrong, once everything was tried; an optional file that a server refuses is excused.

    Raises:
        KetenpipeError: the only failure as it is; of several, one :class:`UpstreamFailed` that names each.
    """
    failed = [r for r in results if r.error is not None and not r.excused]
    if len(failed) == 1 and failed[0].error is not None:
        raise failed[0].error
    if failed:
        passing = any(isinstance(r.error, UpstreamFailed) and r.error.passing for r in failed)
        each = "; ".join(f"{r.slot}: {r.sentence.rstrip('.')}" for r in failed)
        raise UpstreamFailed(f"{len(failed)} of {len(results)} files were not fetched: {each}", passing=passing)


def status(archive: Archive, upstreams: Upstreams, now: datetime) -> list[SourceStatus]:
    """What is archived per slot, and what is stale: not looked at upstream for longer than its row allows.

    Args:
        archive: of the home.
        upstreams: the configuration.
        now: the present moment.

    Returns:
        The rows in their order, also those never fetched; then the slots that no row names any more.
    """
    current = archive.current()
    out: list[SourceStatus] = []
    for row in upstreams.files:
        held, looked = current.get(row.slot), archive.checked_at(row.slot)
        if held is not None:
            looked = max(filter(None, (looked, held.retrieved_at)), key=moment)
        stale, why = _staleness(row, held, looked, now)
        licence = (held.sidecar.licence if held is not None else None) or row.licence
        out.append(SourceStatus(row.slot, row.source, row.enabled, held, looked, stale, why, licence))
    named = {row.slot for row in upstreams.files}
    for slot, file in current.items():
        if slot in named or (file.source == "comtrade" and upstreams.comtrade is not None):
            continue
        licence = file.sidecar.licence or "not stated by the source"
        why = "no row of upstreams.toml names it: kept, not read"
        out.append(SourceStatus(slot, file.source, False, file, archive.checked_at(slot), False, why, licence))
    return out


def _asking(part: _Partial, known: ArchivedFile | None) -> dict[str, str]:
    """The headers of a request: for the rest of a part, for a part that is whole, or for what is new."""
    headers = {"Accept-Encoding": "identity"}
    if part.whole:
        etag, date = part.etag, part.last_modified
    elif part.resumable:
        return {**headers, "Range": f"bytes={part.size}-", "If-Range": str(part.validator)}
    elif known is not None and known.is_there():
        etag, date = known.etag, known.last_modified
    else:
        return headers
    if etag:
        headers["If-None-Match"] = etag
    elif date:
        headers["If-Modified-Since"] = date
    return headers


def _write_body(part: _Partial, answer: requests.Response, told: TellBytes, *, append: bool) -> None:
    """Write the body behind the part, byte by byte as it comes."""
    done = part.size if append else 0
    total = part.length
    if total is not None and total - done > (free := shutil.disk_usage(part.path.parent).free):
        raise DiskFull(
            f"{part.path.parent}: {shown(part.url)} needs {_size(total - done)} more and {_size(free)} are free; "
            "make room and run it again, what came so far is kept."
        )
    told(done, total)
    with part.path.open("ab" if append else "xb", buffering=0) as sink:
        # read1 gives what has come, so that a slow or broken body loses no byte.
        while block := answer.raw.read1(_CHUNK, decode_content=True):
            view = memoryview(block)
            while view:
                written = sink.write(view)
                view = view[written:]
                done += written
            told(done, total)


def _finish(part: _Partial, answer: requests.Response, expected: str | None) -> Downloaded:
    size = part.size
    if part.length is not None and size != part.length:
        length = part.length
        part.drop()
        raise UpstreamFailed(f"{size} bytes came where the server states {length}", url=shown(part.url))
    if expected is not None and (found := sha256_of(part.path)) != expected:
        part.drop()
        raise UpstreamFailed(
            f"the file has sha256 {found[:12]}... where upstreams.toml expects {expected[:12]}...",
            url=shown(part.url),
            passing=False,
            todo="compare with what the source publishes",
        )
    kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return Downloaded(part.path, size, part.etag, part.last_modified, kind)


def _broke_off(part: _Partial, best: int, length: int | None) -> UpstreamFailed:
    url = shown(part.url)
    what = f"the connection keeps breaking off after {_size(best)}" + (f" of {_size(length)}" if length else "")
    if part.resumable:
        return UpstreamFailed(what, url=url, todo="what came is kept, run it again and it goes on there")
    part.drop()
    return UpstreamFailed(
        f"{what}, and there is nothing to go on by", url=url, todo="try again later, it begins from zero"
    )


def _fetch_row(archive: Archive, row: FileRow, url: str, name: str, http: Http, told: Progress) -> tuple[Kept, int]:
    """What became of a row's file, and how many bytes it took."""
    partial_dir = archive.root / ".partial"
    known = archive.known(row.slot, url)
    came = download(http, url, partial_dir, known=known, tell_bytes=_counted(row.slot, told), sha256=row.sha256)
    if isinstance(came, Unchanged):
        before = archive.current(row.source, [row.slot]).get(row.slot)
        archive.checked(came.file)
        if before is None or before.path == came.file.path:
            return Kept(came.file, "unchanged"), 0
        return Kept(came.file, "changed", before), 0
    try:
        kept = _keep(archive, row, url, name, came, row.note)
    except DiskFull:
        raise
    except KetenpipeError:
        # What is refused is no beginning of anything: the next run asks for all of it.
        _Partial(partial_dir, url).drop()
        raise
    _Partial(partial_dir, url).drop()
    return kept, came.bytes


def _keep(archive: Archive, row: FileRow, url: str, name: str, came: Downloaded, note: str | None) -> Kept:
    """Check a whole file and give it to the archive with what its row says of it."""
    content = _accept(came, name, url)
    stated = row.label_in(name) or _label_in(content, row)
    label = stated or f"{archive.now():%Y-%m}"
    provenance = Provenance(
        slot=row.slot,
        label=label,
        url=url,
        licence=row.licence,
        producer=row.producer,
        citation=row.citation,
        release=stated,
        vintages=tuple(VintageSpan(v.vintage.replace("{label}", label), v.from_year, v.to_year) for v in row.vintages),
        hs_revision=row.hs_revision,
        note=note,
        etag=came.etag,
        last_modified=came.last_modified,
    )
    return archive.keep(row.source, name, came.path, provenance)


def _target(row: FileRow, http: Http) -> tuple[str, str]:
    """The address and native name of a row's file; of the newest release, where a page tells it."""
    if row.newest_of is None:
        url = str(row.url)
        return url, row.name_at(url)
    page = row.newest_of.page
    with http.get(page, stream=True) as answer:
        try:
            text = answer.raw.read(_PAGE_LIMIT, decode_content=True).decode("utf-8", errors="replace")
        except HTTPError as error:
            raise UpstreamFailed(
                "the page broke off before its end", url=shown(page), todo="try again later"
            ) from error
        found = newest_link(row.newest_of, answer.url, text)
    if found is None:
        raise UpstreamFailed(
            f"the page links to no file like {row.newest_of.pattern}",
            url=shown(page),
            passing=False,
            todo=f"look at the page and correct newest_of of {row.slot} in upstreams.toml",
        )
    return found[0], row.name or found[1]


def _sweep(partial_dir: Path, wanted: Collection[str]) -> None:
    """Remove the parts of addresses that nothing asks for any more."""
    stems = {_stem(url) for url in wanted}
    for path in sorted(partial_dir.glob("*")) if partial_dir.is_dir() else ():
        if path.stem not in stems:
            path.unlink()


def _counted(slot: str, told: Progress) -> TellBytes:
    """Turns "so many bytes are there" into start and advance."""
    before: list[int] = []

    def tell(done: int, total: int | None) -> None:
        if not before or done < before[0]:
            told.start(slot, total)
            before[:] = [0]
        if done > before[0]:
            told.advance(done - before[0])
        before[:] = [done]

    return tell


def _accept(came: Downloaded, name: str, url: str) -> Any:
    """What must hold of a file before the archive takes it; the content of a JSON file, else None.

    Raises:
        UpstreamFailed: empty, another kind of file than its name says, damaged, or a zip that is refused.
    """

    def refuse(what: str, passing: bool = True) -> UpstreamFailed:
        todo = "look at the address with a browser, or try again later"
        return UpstreamFailed(what, url=shown(url), todo=todo, passing=passing)

    if came.bytes == 0:
        raise refuse("the file is empty")
    lower = name.lower()
    kind = magic(came.path)
    instead = _instead(came)
    if lower.endswith(_PACKED):
        if kind != "zip":
            raise refuse(f"{instead} came instead of a {lower.rpartition('.')[2]} file")
        try:
            check_zip(came.path, named=name)
        except InputRefused as refused:
            raise refuse(f"what came is refused: {refused}") from refused
    elif lower.endswith(".gz"):
        if kind != "gzip":
            raise refuse(f"{instead} came instead of a gzip file")
        try:
            with gzip.open(came.path) as stream:
                while stream.read(_CHUNK):
                    pass
        except (EOFError, OSError) as damage:
            raise refuse(f"the gzip file is damaged ({damage})") from damage
    elif lower.endswith(".json"):
        try:
            content = json.loads(came.path.read_bytes())
        except ValueError as broken:
            raise refuse(f"{instead} came instead of JSON") from broken
        _check_answer(content, refuse)
        return content
    elif kind != "plain" or instead != "another file":
        raise refuse(f"{instead} came instead of a {lower.rpartition('.')[2]} file")
    return None


def _instead(came: Downloaded) -> str:
    """What a file is that is not what its name says, in words."""
    with came.path.open("rb") as stream:
        head = stream.read(2048)
    text = head.decode("utf-8-sig", errors="replace").lstrip()
    lower = text.lower()
    if lower.startswith(("<!doctype html", "<html")) or (came.content_type == "text/html" and "<" in lower):
        title = re.search(r"<title[^>]*>\s*(.*?)\s*</title>", text, re.I | re.S)
        named = f" ('{' '.join(title[1].split())[:80]}')" if title else ""
        return f"an HTML page{named}"
    if lower.startswith("<?xml") or lower.startswith("<error"):
        return "an XML message"
    if head.startswith(b"PK\x03\x04"):
        return "a zip file"
    if head.startswith(b"\x1f\x8b"):
        return "a gzip file"
    return "another file"


def _check_answer(content: Any, refuse: Callable[[str, bool], UpstreamFailed]) -> None:
    """A World Bank answer is ``[page info, rows]``, on one page, with as many rows as it states.

    A series that the API does not know, or has no rows of, is the same tomorrow: such a failure does not pass.
    """
    info = content[0] if isinstance(content, list) and content else None
    if not isinstance(info, dict):
        return
    if isinstance(messages := info.get("message"), list) and messages:
        first = messages[0] if isinstance(messages[0], dict) else {"value": messages[0]}
        passing = str(first.get("id")) not in _UNKNOWN
        raise refuse(f"the API answers with a message: {str(first.get('value')).rstrip('.')}", passing)
    if "total" not in info:
        return
    rows = content[1] if len(content) > 1 and isinstance(content[1], list) else []
    pages = int(info.get("pages") or 0)
    if pages > 1:
        raise refuse(f"the answer is page {info.get('page')} of {pages}; ask for more rows with per_page", True)
    if not rows or int(info["total"]) != len(rows):
        empty = not rows and int(info["total"]) == 0
        raise refuse(f"the answer states {info['total']} rows and holds {len(rows)}", not empty)


def _label_in(content: Any, row: FileRow) -> str | None:
    """The label that a World Bank answer states in its page info, e.g. the day of its last update."""
    if row.label_key is None:
        return None
    info = content[0] if isinstance(content, list) and content else None
    stated = info.get(row.label_key) if isinstance(info, dict) else None
    if not stated:
        raise UpstreamFailed(
            f"the answer does not state '{row.label_key}', by which its vintage is told",
            url=shown(str(row.url)),
            passing=False,
            todo=f"correct label_key of {row.slot} in upstreams.toml",
        )
    return str(stated)


def _sentence(kept: Kept) -> str:
    file = kept.file
    if kept.state == "unchanged":
        return f"{file.name}: unchanged since {file.retrieved_at[:10]} ({file.vintage})."
    if kept.state == "new" or kept.replaces is None:
        return f"{file.name}: new, {_size(file.bytes)}, kept as {file.vintage}."
    old = kept.replaces
    if old.name == file.name:
        return f"{file.name}: its content changed under the same name, {old.vintage} is now {file.vintage}."
    return f"{file.name}: {file.label} replaces {old.label}, kept as {file.vintage}."


def _staleness(row: FileRow, held: ArchivedFile | None, looked: str | None, now: datetime) -> tuple[bool, str]:
    if held is None:
        if row.enabled and row.by_hand:
            return True, "never handed over"
        return row.enabled, "never fetched" if row.enabled else "switched off, never fetched"
    if not held.is_there():
        return True, "its file is gone or has another size: run 'ketenpipe sources verify'"
    if not row.enabled:
        return False, "switched off: kept, not read"
    days = (now - moment(str(looked))) / timedelta(days=1)
    if row.by_hand:
        return days > row.stale_after_days, f"handed over {days:.0f} days ago ({row.stale_after_days} allowed)"
    if days > row.stale_after_days:
        return True, f"not looked at upstream for {days:.0f} days ({row.stale_after_days} allowed)"
    return False, f"looked at upstream {days:.0f} days ago ({row.stale_after_days} allowed)"


def _size(count: int) -> str:
    """Bytes in the unit that fits."""
    value = float(count)
    for unit in ("bytes", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"
