"""The archive of official files: ``<home>/raw/<source>/<vintage>/<native name>``, each with its sidecar.

A vintage is ``<label>-<first 12 of the file's sha256>``; the label is a release, an edition or the month it was
retrieved. Equal bytes of one slot stay at one address, a changed file gets a new one, nothing is ever overwritten. A
*slot* is what a file is for (``baci/HS17``): its current file is the one that upstream showed last. Belongs here:
keeping, finding, verifying. Does not belong here: talking to an upstream (:mod:`ketenpipe.sources.fetch`), reading a
row.

Whoever writes (:meth:`Archive.keep`, :meth:`Archive.checked`) holds the home's lock (:mod:`ketenpipe.tables.lock`).
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ketenpipe.errors import DiskFull, InputRefused, KetenpipeError, WrongUse
from ketenpipe.sources.opening import check_zip, magic, sha256_of
from ketenpipe.sources.places import (
    FOLDERS,
    Inventory,
    Sidecar,
    SourceFile,
    Unrecognised,
    VintageSpan,
    classify,
    parse_sidecar,
    source_file,
)
from ketenpipe.tables.store import fsync_directory, write_bytes_atomic

if TYPE_CHECKING:
    from ketenpipe.sources.upstreams import Upstreams

META = ".meta.json"
#: Folders under construction; what a killed run leaves of them is finished or removed by :meth:`Archive.recover`.
_BUILDING = ".keeping-"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._ +()-]{0,199}")
_LABEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,79}")
_SLOT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)+")
#: What the operating system says when there is no room: disk, quota, file size limit.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Provenance:
    """What is known about a file when it comes in; it becomes the sidecar.

    Attributes:
        slot: what the file is for, ``<source>/...``.
        label: release, edition or month of retrieval; the readable part of the vintage.
        url: where it came from; never with a key in it.
        retrieved_at: ISO 8601; None: now.
        query: what an API was asked, and what it said of its data set; any JSON object.
    """

    slot: str
    label: str
    url: str | None = None
    retrieved_at: str | None = None
    licence: str | None = None
    producer: str | None = None
    citation: str | None = None
    release: str | None = None
    vintages: tuple[VintageSpan, ...] = ()
    hs_revision: str | None = None
    note: str | None = None
    etag: str | None = None
    last_modified: str | None = None
    query: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class ArchivedFile:
    """A file of the archive with what its sidecar says."""

    source: str
    slot: str
    label: str
    vintage: str
    name: str
    path: Path
    sha256: str
    bytes: int
    retrieved_at: str
    sidecar: Sidecar
    etag: str | None = None
    last_modified: str | None = None
    query: Mapping[str, Any] | None = None

    @property
    def relative(self) -> str:
        """The path below ``raw/``."""
        return f"{self.source}/{self.vintage}/{self.name}"

    @property
    def at(self) -> datetime:
        """The moment of retrieval (UTC)."""
        return moment(self.retrieved_at)

    def is_there(self) -> bool:
        """Whether the file lies in its place with its size; the bytes are :meth:`Archive.verify`'s business."""
        return self.path.is_file() and self.path.stat().st_size == self.bytes


@dataclass(frozen=True)
class Kept:
    """What became of a file: ``new`` (the slot was empty), ``unchanged``, or ``changed`` (it replaces another)."""

    file: ArchivedFile
    state: Literal["new", "unchanged", "changed"]
    replaces: ArchivedFile | None = None


@dataclass(frozen=True)
class Problem:
    """Something in the archive that is not as it should be, in one sentence."""

    path: str
    sentence: str


def moment(text: str) -> datetime:
    """A moment in UTC from ISO 8601; a date alone is its midnight."""
    when = datetime.fromisoformat(text)
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)


def stamp(when: datetime) -> str:
    """The moment as a sidecar holds it, e.g. ``2026-11-05T12:00:00.000000Z``."""
    return when.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


class Archive:
    """The official files of one home.

    Args:
        home: the directory under which everything is written.
        clock: the present moment; tests give their own.
    """

    def __init__(self, home: Path, clock: Callable[[], datetime] | None = None) -> None:
        self.home = Path(home)
        self.root = self.home / "raw"
        self.now = clock or (lambda: datetime.now(UTC))
        self._recovered = False
        self._listed: dict[str, tuple[int, tuple[ArchivedFile, ...]]] = {}
        self._sidecars: dict[Path, ArchivedFile] = {}

    # What is there -------------------------------------------------------------------------------------------------

    def files(self, source: str | None = None) -> list[ArchivedFile]:
        """Every file that was kept, by path; of one source only, if one is given.

        Raises:
            InputRefused: a sidecar that cannot be read.
        """
        found: list[ArchivedFile] = []
        for folder in self._source_folders():
            if source is None or folder.name == source:
                found += self._files_in(folder)
        return found

    def current(self, source: str | None = None, slots: Collection[str] | None = None) -> dict[str, ArchivedFile]:
        """The current file per slot: the one that upstream showed last (kept or found unchanged; ties by hash).

        Raises:
            InputRefused: a sidecar, or the archive's state file, cannot be read.
        """
        seen = self._state()
        best: dict[str, tuple[datetime, str, ArchivedFile]] = {}
        for file in self.files(source):
            if slots is not None and file.slot not in slots:
                continue
            rank = (self._last_seen(file, seen), file.sha256, file)
            held = best.get(file.slot)
            if held is None or rank[:2] > held[:2]:
                best[file.slot] = rank
        return {slot: best[slot][2] for slot in sorted(best)}

    def checked_at(self, slot: str) -> str | None:
        """When upstream was last asked about a slot's file; None: never."""
        entry = self._state().get(slot)
        return None if entry is None else str(entry["checked_at"])

    def known(self, slot: str, url: str) -> ArchivedFile | None:
        """The newest file of a slot that came from an address, with the ETag and date that it was last seen under."""
        seen = self._state().get(slot, {})
        told = seen.get("seen", {})
        best: ArchivedFile | None = None
        for file in self.files(slot.partition("/")[0]):
            if file.slot != slot or not file.is_there():
                continue
            at = url if file.sidecar.url == url else None
            if told and (seen["vintage"], seen["name"]) == (file.vintage, file.name):
                at = told["url"]
                file = replace(file, etag=told["etag"], last_modified=told["last_modified"])
            if at == url and (best is None or (file.at, file.sha256) > (best.at, best.sha256)):
                best = file
        return best

    def last_query(self, slot: str) -> Mapping[str, Any] | None:
        """What the API was last asked for this slot, also where the answer had the bytes that were kept before."""
        told = self._state().get(slot, {}).get("seen")
        if told is not None:
            return told["query"]
        file = self.current(slots=[slot]).get(slot)
        return None if file is None else file.query

    # Keeping -------------------------------------------------------------------------------------------------------

    def keep(self, source: str, name: str, content: bytes | Path, provenance: Provenance) -> Kept:
        """Take a file into the archive, whole or not at all; a path is moved in.

        The rename of the vintage's folder is the commit. A ``kill -9`` at any point leaves either nothing, or
        what :meth:`recover` finishes.

        Args:
            source: ``baci``, ``comtrade``, ``icio``, ``wgi``, ``mining`` or ``concordance``.
            name: the native name.
            content: the bytes, or the file that holds them (on the archive's disk a rename, else a copy).
            provenance: what the sidecar will say.

        Raises:
            InputRefused: an empty file, a zip that is refused (:func:`ketenpipe.sources.opening.check_zip`), a name,
                label or slot that makes no path.
            DiskFull: there is no room; the archive is as before, a file given as a path is still there.
        """
        self._check_words(source, name, provenance)
        self.recover()
        folder = self.root / source
        folder.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(dir=self.root, prefix=_BUILDING))
        try:
            with room_needed(folder):
                inside = building / f".{name}"
                given = content if isinstance(content, Path) else None
                if isinstance(content, bytes):
                    _write(inside, content)
                elif content.stat().st_dev != building.stat().st_dev:
                    shutil.copyfile(content, inside)
                    _fsync(inside)
                else:
                    inside = content
                size = inside.stat().st_size
                if size == 0:
                    raise InputRefused("the file is empty", path=given or name, todo="fetch it again")
                if magic(inside) == "zip":
                    check_zip(inside, named=given or name)
                digest = sha256_of(inside)
                kept = self._known(source, name, digest, provenance)
                if kept is not None:
                    if given is not None:
                        given.unlink()
                    return kept
                file = self._described(source, name, digest, size, provenance)
                before = self.current(source, [file.slot]).get(file.slot)
                # The sidecar goes first: a folder that holds sidecar and file can be finished after a kill.
                _write(building / (name + META), _sidecar_json(file))
                inside.chmod(0o444)
                _fsync(inside)
                inside.replace(building / name)
                fsync_directory(building)
                building.chmod(0o755)
                building.replace(file.path.parent)
                fsync_directory(folder)
        finally:
            # A file that was moved in already is finished by the next start; anything else is removed.
            if building.exists() and not (building / name).exists():
                shutil.rmtree(building)
        if given is not None and given.exists():
            given.unlink()
        self._add_to_list(folder, file)
        self.checked(file, provenance)
        return Kept(file, "new" if before is None else "changed", before)

    def checked(self, file: ArchivedFile, seen: Provenance | None = None) -> None:
        """Note that upstream was asked about a slot just now and showed this file.

        Args:
            file: becomes the slot's current file.
            seen: what upstream said of it this time (its sidecar never changes, but the same bytes may come under
                another address, ETag, date or query). None: as the last time.
        """
        state = self._state()
        before = state.get(file.slot, {})
        entry: dict[str, Any] = {"checked_at": stamp(self.now()), "vintage": file.vintage, "name": file.name}
        if seen is not None:
            query = None if seen.query is None else dict(seen.query)
            now = {"url": seen.url, "etag": seen.etag, "last_modified": seen.last_modified, "query": query}
            then = (file.sidecar.url, file.etag, file.last_modified, file.query)
            if tuple(now.values()) != then:
                entry["seen"] = now
        elif "seen" in before and (before["vintage"], before["name"]) == (file.vintage, file.name):
            entry["seen"] = before["seen"]
        state[file.slot] = entry
        self.root.mkdir(parents=True, exist_ok=True)
        with room_needed(self.root):
            write_bytes_atomic(self._state_path, _json({"slots": state}))

    def recover(self) -> None:
        """Finish or remove what a killed run left under construction; once per archive object."""
        if self._recovered:
            return
        for building in sorted(self.root.glob(f"{_BUILDING}*")):
            file = self._finished(building)
            if file is not None and not file.path.parent.exists():
                file.path.parent.parent.mkdir(exist_ok=True)
                building.chmod(0o755)
                building.replace(file.path.parent)
                fsync_directory(file.path.parent.parent)
            else:
                shutil.rmtree(building)
        for own in (self._state_path, self._hashed_path):
            for torn in self.root.glob(f".{own.name}.*"):
                torn.unlink()
        self._recovered = True

    # Checking ------------------------------------------------------------------------------------------------------

    def verify(self, source: str | None = None, tell: Callable[[ArchivedFile], None] | None = None) -> list[Problem]:
        """Rehash every file and hold it against its sidecar.

        Args:
            source: one source only.
            tell: called with each file before it is hashed.

        Returns:
            One problem per thing that is wrong, by path; empty: all is well.

        Raises:
            WrongUse: nothing of such a source was ever kept.
        """
        folders = self._source_folders()
        if source is not None and source not in [f.name for f in folders]:
            held = ", ".join(f.name for f in folders) or "nothing"
            raise WrongUse(f"the archive holds no source '{source}' (it holds {held})")
        problems: list[Problem] = []
        if source is None and self.root.is_dir():
            for stray in sorted(self.root.iterdir()):
                if not stray.name.startswith(".") and stray not in folders:
                    problems.append(Problem(stray.name, f"raw/{stray.name} belongs to no source: move it away."))
        for folder in folders:
            if source is None or folder.name == source:
                problems += self._problems(folder, tell)
        return problems

    def inventory(self, upstreams: Upstreams, *, trade_needed: bool = True) -> Inventory:
        """What ``--sources official`` reads: the current file of every slot in use, classified like a drop folder.

        In use are the slots of the rows that are switched on, and every Comtrade data set where the configuration has
        a section ``[comtrade]``. A file that belongs beside another is read only while both bear the same label; where
        they do not it is listed as not read, with the reason. A file whose size and time are as they were when it was
        last hashed is not hashed again.

        Args:
            upstreams: the configuration.
            trade_needed: False: an archive without trade flows is an inventory all the same.

        Raises:
            InputRefused: no trade source; a file that is gone or no longer has the bytes of its sidecar.
        """
        slots = {row.slot: row for row in upstreams.files if row.enabled}
        files: list[SourceFile] = []
        strange: list[Unrecognised] = []
        hashed = self._hashed()
        fresh = dict(hashed)
        current = self.current()
        for slot, file in current.items():
            if slot not in slots and not (file.source == "comtrade" and upstreams.comtrade is not None):
                continue
            if slot in slots and (beside := slots[slot].beside) is not None:
                other = current.get(beside) if beside in slots else None
                if other is None or other.label != file.label:
                    theirs = "is not read" if other is None else f"is of '{other.label}'"
                    strange.append(
                        Unrecognised(
                            file.relative, f"it is of '{file.label}' and {beside}, which it belongs beside, {theirs}"
                        )
                    )
                    continue
            kind = classify(file.source, file.name)
            if isinstance(kind, str):
                strange.append(Unrecognised(file.relative, kind))
                continue
            fresh[file.relative] = self._proven(file, hashed)
            files.append(
                source_file(
                    file.source, kind, file.path, file.relative, file.sha256, file.bytes, file.sidecar, "beside"
                )
            )
        if fresh != hashed:
            write_bytes_atomic(self._hashed_path, _json(fresh))
        if trade_needed and not any(f.source == "baci" and f.kind in ("flows", "archive") for f in files):
            raise InputRefused(
                "no trade source: the archive holds no BACI file that upstreams.toml names",
                path=self.root,
                todo="run 'ketenpipe sources fetch' first, or use --sources sample",
            )
        files.sort(key=lambda f: f.relative)
        return Inventory(self.root, tuple(files), tuple(strange))

    # Inside --------------------------------------------------------------------------------------------------------

    @property
    def _state_path(self) -> Path:
        return self.root / ".state.json"

    @property
    def _hashed_path(self) -> Path:
        return self.root / ".hashed.json"

    def _state(self) -> dict[str, dict[str, Any]]:
        """Per slot: when upstream was last asked, and which file it showed."""
        raw = _read_object(
            self._state_path, "delete it: it holds only when each source was last looked at, and a fetch makes it anew"
        )
        return dict(raw.get("slots", {}))

    def _hashed(self) -> dict[str, list[Any]]:
        """Per relative path: size, modification time (ns) and hash when it was last hashed."""
        return _read_object(self._hashed_path, "delete it: it only saves hashing again")

    def _proven(self, file: ArchivedFile, hashed: Mapping[str, list[Any]]) -> list[Any]:
        """Size, time and hash of a file that has the bytes of its sidecar; hashed again where anything moved."""
        if not file.path.is_file():
            raise InputRefused(
                "the archived file is gone", path=file.path, todo="remove its folder and run 'ketenpipe sources fetch'"
            )
        if hashed.get(file.relative) == _as_hashed(file):
            return hashed[file.relative]
        if wrong := _difference(file):
            raise InputRefused(wrong, path=file.path, todo="remove its folder and run 'ketenpipe sources fetch'")
        return _as_hashed(file)

    def _last_seen(self, file: ArchivedFile, state: Mapping[str, Mapping[str, Any]]) -> datetime:
        entry = state.get(file.slot)
        if entry is not None and (entry["vintage"], entry["name"]) == (file.vintage, file.name):
            return max(file.at, moment(str(entry["checked_at"])))
        return file.at

    def _source_folders(self) -> list[Path]:
        return [self.root / s for s in sorted(set(FOLDERS.values())) if (self.root / s).is_dir()]

    def _files_in(self, folder: Path) -> tuple[ArchivedFile, ...]:
        # A vintage arrives by a rename into the folder, which moves the folder's time.
        time = folder.stat().st_mtime_ns
        known = self._listed.get(folder.name)
        if known is None or known[0] != time:
            known = time, tuple(self._read_folder(folder))
            self._listed[folder.name] = known
        return known[1]

    def _add_to_list(self, folder: Path, file: ArchivedFile) -> None:
        """Know of a file that was just kept without reading thousands of sidecars again."""
        self._sidecars[file.path.with_name(file.name + META)] = file
        listed = (*self._listed[folder.name][1], file) if folder.name in self._listed else (file,)
        self._listed[folder.name] = folder.stat().st_mtime_ns, tuple(sorted(listed, key=lambda f: f.relative))

    def _read_folder(self, folder: Path) -> Iterator[ArchivedFile]:
        for vintage in sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")):
            for sidecar in sorted(vintage.glob(f"*{META}")):
                if sidecar not in self._sidecars:
                    self._sidecars[sidecar] = _read_archived(folder.name, vintage.name, sidecar)
                yield self._sidecars[sidecar]

    def _known(self, source: str, name: str, digest: str, provenance: Provenance) -> Kept | None:
        """The slot's file with these bytes, noted as the current one; None if there is none."""
        before = self.current(source, [provenance.slot]).get(provenance.slot)
        for file in self.files(source):
            if (file.slot, file.name, file.sha256) == (provenance.slot, name, digest) and file.is_there():
                self.checked(file, provenance)
                same = before is not None and before.path == file.path
                return Kept(file, "unchanged" if same else "changed", None if same else before)
        return None

    def _described(self, source: str, name: str, digest: str, size: int, provenance: Provenance) -> ArchivedFile:
        """The file as it will stand in the archive, at a free address."""
        vintage = f"{provenance.label}-{digest[:12]}"
        if (self.root / source / vintage).exists():
            # The same bytes serve another slot (two empty answers of an API), or a damaged vintage stands there.
            vintage += f"-{sha256(f'{provenance.slot}/{name}'.encode()).hexdigest()[:8]}"
        path = self.root / source / vintage / name
        if path.parent.exists():
            raise KetenpipeError(f"{path.parent}: a damaged vintage stands here; move it away and fetch again.")
        at = provenance.retrieved_at or stamp(self.now())
        sidecar = Sidecar(
            url=provenance.url,
            retrieved_at=at,
            sha256=digest,
            bytes=size,
            licence=provenance.licence,
            producer=provenance.producer,
            citation=provenance.citation,
            release=provenance.release,
            vintages=provenance.vintages,
            hs_revision=provenance.hs_revision,
            note=provenance.note,
        )
        return ArchivedFile(
            source,
            provenance.slot,
            provenance.label,
            vintage,
            name,
            path,
            digest,
            size,
            at,
            sidecar,
            provenance.etag,
            provenance.last_modified,
            None if provenance.query is None else dict(provenance.query),
        )

    def _finished(self, building: Path) -> ArchivedFile | None:
        """The file of a folder that lacks nothing but its rename; None if it lacks more."""
        sidecars = list(building.glob(f"*{META}"))
        if len(sidecars) != 1 or not sidecars[0].with_name(sidecars[0].name.removesuffix(META)).is_file():
            return None
        try:
            raw = _read_object(sidecars[0], "")
            file = _read_archived(str(raw.get("source")), str(raw.get("vintage")), sidecars[0])
        except InputRefused:
            return None
        here = building / file.name
        whole = here.stat().st_size == file.bytes and sha256_of(here) == file.sha256
        return replace(file, path=self.root / file.relative) if whole else None

    def _problems(self, folder: Path, tell: Callable[[ArchivedFile], None] | None) -> Iterator[Problem]:
        for vintage in sorted(folder.iterdir()):
            if vintage.name.startswith("."):
                continue
            relative = f"{folder.name}/{vintage.name}"
            if not vintage.is_dir():
                yield Problem(relative, f"raw/{relative} lies outside a vintage: move it away.")
                continue
            inside = {p.name: p for p in sorted(vintage.iterdir())}
            sidecars = [n for n in inside if n.endswith(META)]
            for name, path in inside.items():
                place = f"raw/{relative}/{name}"
                if name in sidecars:
                    continue
                if not path.is_file():
                    yield Problem(f"{relative}/{name}", f"{place} is no file: move it away.")
                elif name + META not in inside:
                    yield Problem(f"{relative}/{name}", f"{place} has no sidecar: move it away and fetch again.")
            for name in sidecars:
                yield from self._against_sidecar(folder.name, relative, inside[name], tell)
            if not inside:
                yield Problem(relative, f"raw/{relative} is empty: remove it.")

    def _against_sidecar(
        self, source: str, relative: str, sidecar: Path, tell: Callable[[ArchivedFile], None] | None
    ) -> Iterator[Problem]:
        try:
            file = _read_archived(source, sidecar.parent.name, sidecar)
        except InputRefused as refused:
            yield Problem(f"{relative}/{sidecar.name}", str(refused))
            return
        place = f"raw/{relative}/{file.name}"
        if not file.path.is_file():
            yield Problem(file.relative, f"{place} is gone, its sidecar is there: remove the folder and fetch again.")
            return
        if tell is not None:
            tell(file)
        if wrong := _difference(file):
            yield Problem(file.relative, f"{place}: {wrong}; remove the folder and fetch again.")

    def _check_words(self, source: str, name: str, provenance: Provenance) -> None:
        """Refuse words that make no path of their own."""
        if source not in FOLDERS.values():
            raise WrongUse(f"'{source}' is no source (there are {', '.join(sorted(set(FOLDERS.values())))})")
        if not _NAME.fullmatch(name) or name.endswith((META, ".")) or ".." in name:
            raise InputRefused(f"'{name}' cannot be a file's name in the archive", where=provenance.slot)
        if not _LABEL.fullmatch(provenance.label) or ".." in provenance.label:
            raise InputRefused(f"'{provenance.label}' cannot be the label of a vintage", where=provenance.slot)
        if not _SLOT.fullmatch(provenance.slot) or not provenance.slot.startswith(f"{source}/"):
            raise InputRefused(f"'{provenance.slot}' is no slot of {source} (such as {source}/...)")


@contextmanager
def room_needed(folder: Path) -> Iterator[None]:
    """Turns "no room" of the operating system into :class:`ketenpipe.errors.DiskFull`."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise DiskFull(
            f"{folder}: there is no room ({os.strerror(error.errno)}); nothing that was there is touched, make room "
            "and run it again."
        ) from error


def _difference(file: ArchivedFile) -> str | None:
    """How a file differs from what its sidecar states; None if it does not."""
    size = file.path.stat().st_size
    if size != file.bytes:
        return f"the file has {size} bytes where its sidecar states {file.bytes}"
    digest = sha256_of(file.path)
    if digest != file.sha256:
        return f"the file has sha256 {digest[:12]}... where its sidecar states {file.sha256[:12]}..."
    return None


def _as_hashed(file: ArchivedFile) -> list[Any]:
    found = file.path.stat()
    return [found.st_size, found.st_mtime_ns, file.sha256]


def _write(path: Path, content: bytes) -> None:
    with path.open("xb") as sink:
        sink.write(content)
        sink.flush()
        os.fsync(sink.fileno())
    path.chmod(0o444)


def _fsync(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def _json(raw: Mapping[str, Any]) -> bytes:
    return (json.dumps(raw, ensure_ascii=False, sort_keys=True) + "\n").encode()


def _read_object(path: Path, todo: str) -> dict[str, Any]:
    """A JSON object; empty where there is no such file.

    Raises:
        InputRefused: something else stands there.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (json.JSONDecodeError, UnicodeDecodeError) as broken:
        raise InputRefused(f"not readable as JSON ({broken})", path=path, todo=todo or None) from broken
    if not isinstance(raw, dict):
        raise InputRefused("not a JSON object", path=path, todo=todo or None)
    return raw


def _sidecar_json(file: ArchivedFile) -> bytes:
    sidecar = file.sidecar
    raw: dict[str, Any] = {
        "source": file.source,
        "slot": file.slot,
        "label": file.label,
        "vintage": file.vintage,
        "name": file.name,
        "url": sidecar.url,
        "retrieved_at": file.retrieved_at,
        "sha256": file.sha256,
        "bytes": file.bytes,
        "etag": file.etag,
        "last_modified": file.last_modified,
        "licence": sidecar.licence,
        "producer": sidecar.producer,
        "citation": sidecar.citation,
        "release": sidecar.release,
        "vintages": [{"vintage": s.vintage, "from_year": s.from_year, "to_year": s.to_year} for s in sidecar.vintages],
        "hs_revision": sidecar.hs_revision,
        "note": sidecar.note,
        "query": file.query,
    }
    kept = {key: value for key, value in raw.items() if value not in (None, [], {})}
    return (json.dumps(kept, ensure_ascii=False, indent=2) + "\n").encode()


def _read_archived(source: str, vintage: str, sidecar: Path) -> ArchivedFile:
    """A file of the archive from its sidecar.

    Raises:
        InputRefused: the sidecar is unreadable, lacks what the archive needs, or contradicts its own place.
    """
    todo = "remove the folder and fetch again"
    raw = _read_object(sidecar, todo)
    texts = {key: raw.get(key) for key in ("source", "slot", "label", "vintage", "name", "sha256", "retrieved_at")}
    if lacking := sorted(key for key, value in texts.items() if not isinstance(value, str) or not value):
        raise InputRefused(f"the sidecar lacks '{lacking[0]}'", path=sidecar, todo=todo)
    if not isinstance(raw.get("bytes"), int):
        raise InputRefused("the sidecar lacks 'bytes'", path=sidecar, todo=todo)
    stated = {key: str(value) for key, value in texts.items()}
    for key, place in (("source", source), ("vintage", vintage), ("name", sidecar.name.removesuffix(META))):
        if stated[key] != place:
            raise InputRefused(f"the sidecar says {key} '{stated[key]}', it lies at '{place}'", path=sidecar, todo=todo)
    if not vintage.startswith(f"{stated['label']}-{stated['sha256'][:12]}"):
        raise InputRefused("the sidecar's label and sha256 are not those of its vintage", path=sidecar, todo=todo)
    try:
        moment(stated["retrieved_at"])
    except ValueError as broken:
        raise InputRefused(f"'{stated['retrieved_at']}' is no moment (ISO 8601)", path=sidecar, todo=todo) from broken
    query = raw.get("query")
    return ArchivedFile(
        source,
        stated["slot"],
        stated["label"],
        vintage,
        stated["name"],
        sidecar.with_name(stated["name"]),
        stated["sha256"],
        int(raw["bytes"]),
        stated["retrieved_at"],
        parse_sidecar(raw, sidecar),
        raw.get("etag"),
        raw.get("last_modified"),
        query if isinstance(query, dict) else None,
    )
