"""Reading releases: which is the latest, what is in it, whether its bytes are still those that were published.

Belongs here: everything a consumer of a release needs. Does not belong here: writing one
(:mod:`ketenpipe.observatory.release`). The pointer is resolved once per call; whoever reads several tables
takes a :class:`ReleaseInfo` first and reads all of them through it, so that two releases never mix.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ketenpipe.errors import KetenpipeError, ReleaseDamaged, WrongUse
from ketenpipe.observatory.changes import COMPARED, LOOKED_INTO, build_changes
from ketenpipe.tables.files import measured, sha256_of_stream
from ketenpipe.tables.home import AnyHome, Changed, LocalPlace, Place, place_of

RELEASE_ID = re.compile(r"(\d{4}-\d{2}-\d{2})\.([1-9]\d*)", re.ASCII)
MANIFEST = "manifest.json"
POINTER = "latest.json"


class NoRelease(KetenpipeError):
    """The home holds no release yet, or not the one that was asked for."""


@dataclass(frozen=True)
class ReleaseInfo:
    """One release, resolved: everything read through it is of this release.

    Attributes:
        release: id, ``<YYYY-MM-DD>.<N>``.
        place: its folder, or its prefix on an S3 store.
        manifest_sha256: hash of ``manifest.json`` as it stands there.
        manifest: its content.
    """

    release: str
    place: Place
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

    @property
    def path(self) -> Path:
        """Its folder (absolute).

        Raises:
            WrongUse: it lies on an S3 store.
        """
        return self.place.path()

    def _name(self, table: str) -> str:
        if table not in self.tables:
            raise WrongUse(f"release {self.release} has no table '{table}'; it has {', '.join(self.tables)}")
        return f"{table}.parquet"

    def file(self, table: str) -> Path:
        """The Parquet file of a table; of a release on an S3 store, a copy of it in the working folder.

        Raises:
            WrongUse: the release has no such table.
            ReleaseDamaged: the file on the store is gone, or is not the one that was published.
        """
        name = self._name(table)
        try:
            return self.place.local(name, self.manifest["files"][name]["sha256"])
        except (FileNotFoundError, Changed) as error:
            raise self._damaged(name, error) from error

    def read(self, table: str, columns: Sequence[str] | None = None) -> pa.Table:
        """A table of this release, or some columns of it.

        Raises:
            WrongUse: the release has no such table.
            ReleaseDamaged: its file is gone or cannot be read.
        """
        name = self._name(table)
        try:
            with pq.ParquetFile(self.place.key(name), filesystem=self.place.filesystem) as file:
                return file.read(columns=columns)
        except (OSError, pa.ArrowInvalid) as error:
            raise self._damaged(name, error) from error

    def attachment(self, name: str) -> bytes | None:
        """The bytes of a file that is no table, by its name in the manifest; None if the release has none of it.

        Raises:
            ReleaseDamaged: the manifest states the file, and it is gone.
        """
        if name not in self.manifest["files"]:
            return None
        try:
            return self.place.read(name)
        except FileNotFoundError as error:
            raise ReleaseDamaged(
                f"{self.place.text(name)}: the file is gone; run 'ketenpipe release verify {self.release}'."
            ) from error

    def _damaged(self, name: str, error: Exception) -> ReleaseDamaged:
        return ReleaseDamaged(
            f"{self.place.text(name)}: the table cannot be read ({error}); run 'ketenpipe release verify "
            f"{self.release}'."
        )


def releases_place(home: AnyHome) -> Place:
    """``<home>/releases``, absolute."""
    place = place_of(home).sub("releases")
    return LocalPlace(place.root.absolute()) if isinstance(place, LocalPlace) else place


def sort_key(release: str) -> tuple[str, int]:
    """Order of releases: by date, then by number (``.10`` after ``.9``)."""
    found = RELEASE_ID.fullmatch(release)
    if not found:
        raise WrongUse(f"'{release}' is no release id such as 2026-01-31.1")
    return found[1], int(found[2])


def read_pointer(home: AnyHome) -> tuple[str, str] | None:
    """``latest.json`` as (release, manifest_sha256); None if nothing was published yet.

    Raises:
        ReleaseDamaged: the pointer cannot be read.
    """
    found = pointer_of(home)
    return None if found is None else found[:2]


def pointer_of(home: AnyHome) -> tuple[str, str, str] | None:
    """The same with the version of the pointer, for whoever switches it."""
    place = place_of(home).sub("releases")
    found = place.look(POINTER)
    if found is None:
        return None
    try:
        pointer = json.loads(found[0])
        release, digest = str(pointer["release"]), str(pointer["manifest_sha256"])
    except (ValueError, KeyError, TypeError) as error:
        raise ReleaseDamaged(
            f"{place.text(POINTER)}: the pointer to the latest release cannot be read; put it back from a copy."
        ) from (error)
    if not RELEASE_ID.fullmatch(release):
        raise ReleaseDamaged(f"{place.text(POINTER)}: '{release}' is no release id; put the pointer back from a copy.")
    return release, digest, found[1]


def latest(home: AnyHome) -> ReleaseInfo:
    """The latest release; the pointer is read once.

    Raises:
        NoRelease: nothing was published under this home.
        ReleaseDamaged: the pointer or the manifest is not what was published.
    """
    pointer = read_pointer(home)
    if pointer is None:
        place = place_of(home).sub("releases")
        raise NoRelease(f"{place}: there is no release yet; run 'ketenpipe run' first.")
    return pointed(home, *pointer)


def pointed(home: AnyHome, release: str, digest: str) -> ReleaseInfo:
    """The release that the pointer names.

    Raises:
        ReleaseDamaged: its manifest is not the one that was published.
    """
    info = load(home, release)
    if info.manifest_sha256 != digest:
        raise ReleaseDamaged(
            f"{info.place.text(MANIFEST)}: the manifest is not the one that was published; put the release back from a "
            "copy."
        )
    return info


def load(home: AnyHome, release: str) -> ReleaseInfo:
    """The release of that id.

    Raises:
        WrongUse: this is no release id.
        NoRelease: there is no such release.
        ReleaseDamaged: its manifest is gone or cannot be read.
    """
    sort_key(release)
    releases = releases_place(home)
    place = releases.sub(release)
    found = place.look(MANIFEST)
    if found is None and release not in releases.folders():
        there = ", ".join(release_ids(releases)) or "none"
        raise NoRelease(f"{place_of(home).sub('releases')}: there is no release {release}; there are: {there}.")
    try:
        if found is None:
            raise FileNotFoundError(2, "No such file")
        content = found[0]
        manifest = json.loads(content)
        if manifest["release"] != release or not isinstance(manifest["files"], dict):
            raise ValueError(f"it is the manifest of release {manifest['release']}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ReleaseDamaged(
            f"{place.text(MANIFEST)}: the manifest cannot be read ({error}); put the release back from a copy."
        ) from error
    return ReleaseInfo(release, place, hashlib.sha256(content).hexdigest(), manifest)


def list_releases(home: AnyHome) -> list[ReleaseInfo]:
    """Every release of the home, oldest first.

    Raises:
        ReleaseDamaged: a release whose manifest cannot be read.
    """
    return [load(home, release) for release in release_ids(releases_place(home))]


def read_table(home: AnyHome, name: str, release: str | None = None) -> pa.Table:
    """One table of a release (the latest by default). For several tables take :func:`latest` once."""
    return (latest(home) if release is None else load(home, release)).read(name)


def verify(home: AnyHome, release: str | None = None) -> list[str]:
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
            return problems or [f"{place_of(home).sub('releases')}: there is no release yet."]
        release = pointer[0]
    try:
        info = load(home, release)
    except ReleaseDamaged as error:
        return [*problems, str(error)]
    expected: dict[str, str] = {}
    if pointer is not None and pointer[0] == release:
        expected[POINTER] = pointer[1]
    for other in release_ids(releases_place(home)):
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
        try:
            with info.place.open(name) as source:
                size, digest = measured(source)
        except OSError as error:
            problems.append(f"{info.release}/{name}: cannot be read ({error.strerror}).")
            continue
        if size != stated["bytes"]:
            problems.append(f"{info.release}/{name}: has {size} bytes, the manifest states {stated['bytes']}.")
        elif digest != stated["sha256"]:
            problems.append(f"{info.release}/{name}: its bytes are not those that were published (SHA-256 differs).")
    there = set(info.place.files())
    problems += [f"{info.release}/{name}: is not in the manifest." for name in sorted(there - {*files, MANIFEST})]
    if content_hash(info.manifest["files"]) != info.manifest["content_hash"]:
        problems.append(f"{info.release}/{MANIFEST}: its content hash does not follow from its files.")
    return problems


def diff(home: AnyHome, before: str, after: str, *, tolerance: float = 0.01) -> pa.Table:
    """What differs between two releases, as table ``changes`` (from ``before`` to ``after``).

    Args:
        tolerance: relative move of a figure up to which it is only counted.
    """
    old, new = load(home, before), load(home, after)
    return build_changes(compared(old), compared(new), before=old.manifest, after=new.manifest, tolerance=tolerance)


def compared(info: ReleaseInfo) -> dict[str, Path]:
    """The files of a release that a comparison looks into."""
    return {name: info.file(name) for name in info.tables if name in COMPARED or name in LOOKED_INTO}


def sha256_of(path: Path) -> str:
    """SHA-256 of a file of this machine."""
    with path.open("rb") as source:
        return sha256_of_stream(source)


def content_hash(files: dict[str, dict[str, Any]]) -> str:
    """Hash over the sorted (table, sha256) of all tables but ``changes`` (which depends on the release before)."""
    pairs = sorted((f["table"], f["sha256"]) for f in files.values() if f.get("table") and f["table"] != "changes")
    return hashlib.sha256(json.dumps(pairs).encode()).hexdigest()


def release_ids(releases: Place) -> list[str]:
    """Ids of the releases, in order; a prefix on an S3 store counts from its manifest on, which is written last."""
    found = sorted((n for n in releases.folders() if RELEASE_ID.fullmatch(n)), key=sort_key)
    if isinstance(releases, LocalPlace):
        return found
    return [n for n in found if releases.exists(f"{n}/{MANIFEST}")]
