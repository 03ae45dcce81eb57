"""Reading releases: which is the latest, what is in it, whether its bytes are still those that were published.

Belongs here: everything a consumer of a release needs. Does not belong here: writing one
(:mod:`ketenpipe.observatory.release`). The pointer is resolved once per call; whoever reads several tables
takes a :class:`ReleaseInfo` first and reads all of them through it, so that two releases never mix.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ketenpipe.errors import KetenpipeError, ReleaseDamaged, WrongUse
from ketenpipe.observatory.changes import build_changes

RELEASE_ID = re.compile(r"(\d{4}-\d{2}-\d{2})\.([1-9]\d*)", re.ASCII)
MANIFEST = "manifest.json"
POINTER = "latest.json"
_CHUNK = 1 << 20


class NoRelease(KetenpipeError):
    """The home holds no release yet, or not the one that was asked for."""


@dataclass(frozen=True)
class ReleaseInfo:
    """One release, resolved: everything read through it is of this release.

    Attributes:
        release: id, ``<YYYY-MM-DD>.<N>``.
        path: its folder (absolute).
        manifest_sha256: hash of ``manifest.json`` as it stands on disk.
        manifest: its content.
    """

    release: str
    path: Path
    manifest_sha256: str
    manifest: dict[str, Any] = field(repr=False)

    @property
    def created(self) -> str:
        """Date of publication, ISO 8601."""
        return str(self.manifest["created"])

    @property
    def previous(self) -> str | None:
        """Id of the release before it."""
        before = self.manifest.get("previous_release")
        return None if before is None else str(before)

    @property
    def content_hash(self) -> str:
        """Hash over all tables but ``changes``."""
        return str(self.manifest["content_hash"])

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of its tables, sorted."""
        return tuple(sorted(f["table"] for f in self.manifest["files"].values() if f.get("table")))

    def file(self, table: str) -> Path:
        """The Parquet file of a table.

        Raises:
            WrongUse: the release has no such table.
        """
        if table not in self.tables:
            raise WrongUse(f"release {self.release} has no table '{table}'; it has {', '.join(self.tables)}")
        return self.path / f"{table}.parquet"

    def read(self, table: str) -> pa.Table:
        """A table of this release.

        Raises:
            WrongUse: the release has no such table.
            ReleaseDamaged: its file is gone or cannot be read.
        """
        path = self.file(table)
        try:
            return pq.ParquetFile(path).read()
        except (OSError, pa.ArrowInvalid) as error:
            raise ReleaseDamaged(
                f"{path}: the table cannot be read ({error}); run 'ketenpipe release verify {self.release}'."
            ) from error


def releases_folder(home: Path) -> Path:
    """``<home>/releases``."""
    return Path(home) / "releases"


def sort_key(release: str) -> tuple[str, int]:
    """Order of releases: by date, then by number (``.10`` after ``.9``)."""
    found = RELEASE_ID.fullmatch(release)
    if not found:
        raise WrongUse(f"'{release}' is no release id such as 2026-01-31.1")
    return found[1], int(found[2])


def read_pointer(home: Path) -> tuple[str, str] | None:
    """``latest.json`` as (release, manifest_sha256); None if nothing was published yet.

    Raises:
        ReleaseDamaged: the pointer cannot be read.
    """
    path = releases_folder(home) / POINTER
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        pointer = json.loads(content)
        release, digest = str(pointer["release"]), str(pointer["manifest_sha256"])
    except (ValueError, KeyError, TypeError) as error:
        raise ReleaseDamaged(
            f"{path}: the pointer to the latest release cannot be read; put it back from a copy."
        ) from (error)
    if not RELEASE_ID.fullmatch(release):
        raise ReleaseDamaged(f"{path}: '{release}' is no release id; put the pointer back from a copy.")
    return release, digest


def latest(home: Path) -> ReleaseInfo:
    """The latest release; the pointer is read once.

    Raises:
        NoRelease: nothing was published under this home.
        ReleaseDamaged: the pointer or the manifest is not what was published.
    """
    pointer = read_pointer(home)
    if pointer is None:
        raise NoRelease(f"{releases_folder(home)}: there is no release yet; run 'ketenpipe run' first.")
    release, digest = pointer
    info = load(home, release)
    if info.manifest_sha256 != digest:
        raise ReleaseDamaged(
            f"{info.path / MANIFEST}: the manifest is not the one that was published; put the release back from a copy."
        )
    return info


def load(home: Path, release: str) -> ReleaseInfo:
    """The release of that id.

    Raises:
        WrongUse: this is no release id.
        NoRelease: there is no such release.
        ReleaseDamaged: its manifest is gone or cannot be read.
    """
    sort_key(release)
    folder = releases_folder(home).absolute() / release
    if not folder.is_dir():
        there = ", ".join(_ids(home)) or "none"
        raise NoRelease(f"{releases_folder(home)}: there is no release {release}; there are: {there}.")
    path = folder / MANIFEST
    try:
        content = path.read_bytes()
        manifest = json.loads(content)
        if manifest["release"] != release or not isinstance(manifest["files"], dict):
            raise ValueError(f"it is the manifest of release {manifest['release']}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ReleaseDamaged(
            f"{path}: the manifest cannot be read ({error}); put the release back from a copy."
        ) from error
    return ReleaseInfo(release, folder, hashlib.sha256(content).hexdigest(), manifest)


def list_releases(home: Path) -> list[ReleaseInfo]:
    """Every release of the home, oldest first.

    Raises:
        ReleaseDamaged: a release whose manifest cannot be read.
    """
    return [load(home, release) for release in _ids(home)]


def read_table(home: Path, name: str, release: str | None = None) -> pa.Table:
    """One table of a release (the latest by default). For several tables take :func:`latest` once."""
    return (latest(home) if release is None else load(home, release)).read(name)


def verify(home: Path, release: str | None = None) -> list[str]:
    """What is wrong with a release (the latest by default): one sentence per problem, none if it is whole.

    Every file is hashed against the manifest; files too many or too few are named; the manifest is held
    against ``latest.json`` or, for an older release, against the release that follows it.

    Raises:
        NoRelease: there is no such release.
    """
    problems: list[str] = []
    pointer: tuple[str, str] | None = None
    try:
        pointer = read_pointer(home)
    except ReleaseDamaged as error:
        problems.append(str(error))
    if release is None:
        if pointer is None:
            return problems or [f"{releases_folder(home)}: there is no release yet."]
        release = pointer[0]
    try:
        info = load(home, release)
    except ReleaseDamaged as error:
        return [*problems, str(error)]
    expected: dict[str, str] = {}
    if pointer is not None and pointer[0] == release:
        expected[POINTER] = pointer[1]
    for other in _ids(home):
        if sort_key(other) <= sort_key(release):
            continue
        try:
            later = load(home, other).manifest
        except ReleaseDamaged:
            continue
        if later.get("previous_release") == release and later.get("previous_manifest_sha256"):
            expected[f"{other}/{MANIFEST}"] = str(later["previous_manifest_sha256"])
    for witness, digest in expected.items():
        if digest != info.manifest_sha256:
            problems.append(f"{release}/{MANIFEST}: is not the one that {witness} names.")
    return problems + file_problems(info)


def file_problems(info: ReleaseInfo) -> list[str]:
    """Files of a release that are gone, changed or not in its manifest."""
    problems = []
    files: dict[str, dict[str, Any]] = info.manifest["files"]
    for name, stated in sorted(files.items()):
        path = info.path / name
        try:
            size, digest = path.stat().st_size, sha256_of(path)
        except OSError as error:
            problems.append(f"{info.release}/{name}: cannot be read ({error.strerror}).")
            continue
        if size != stated["bytes"]:
            problems.append(f"{info.release}/{name}: has {size} bytes, the manifest states {stated['bytes']}.")
        elif digest != stated["sha256"]:
            problems.append(f"{info.release}/{name}: its bytes are not those that were published (SHA-256 differs).")
    there = {p.relative_to(info.path).as_posix() for p in info.path.rglob("*") if not p.is_dir()}
    problems += [f"{info.release}/{name}: is not in the manifest." for name in sorted(there - {*files, MANIFEST})]
    if content_hash(info.manifest["files"]) != info.manifest["content_hash"]:
        problems.append(f"{info.release}/{MANIFEST}: its content hash does not follow from its files.")
    return problems


def diff(home: Path, before: str, after: str, *, tolerance: float = 0.01) -> pa.Table:
    """What differs between two releases, as table ``changes`` (from ``before`` to ``after``).

    Args:
        tolerance: relative move of a figure up to which it is only counted.
    """
    old, new = load(home, before), load(home, after)
    return build_changes(
        {name: old.read(name) for name in old.tables},
        {name: new.read(name) for name in new.tables},
        before=old.manifest,
        after=new.manifest,
        tolerance=tolerance,
    )


def sha256_of(path: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as source:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def content_hash(files: dict[str, dict[str, Any]]) -> str:
    """Hash over the sorted (table, sha256) of all tables but ``changes`` (which depends on the release before)."""
    pairs = sorted((f["table"], f["sha256"]) for f in files.values() if f.get("table") and f["table"] != "changes")
    return hashlib.sha256(json.dumps(pairs).encode()).hexdigest()


def _ids(home: Path) -> list[str]:
    folder = releases_folder(home)
    if not folder.is_dir():
        return []
    return sorted((p.name for p in folder.iterdir() if p.is_dir() and RELEASE_ID.fullmatch(p.name)), key=sort_key)
