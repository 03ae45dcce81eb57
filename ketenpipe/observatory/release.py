"""Publishing: a numbered, immutable release, whole or not at all.

Belongs here: the release folder (Parquet, data package, dictionary, manifest), the switch of ``latest.json``, and the
refusal to publish as signed what no expert signed. Does not belong here: computing any table but ``changes`` and the
public table of decisions.

Order of things: everything is written and fsynced in ``releases/.building-…``, the folder is renamed to its final
name, and only then ``latest.json`` is replaced. A crash before the rename leaves a folder that the next run removes;
a crash between rename and switch leaves a whole release that nobody was pointed to, which the next run adopts if it
computes the same content. The catalogue (:mod:`ketenpipe.observatory.catalogue_db`) is written after this.

On an S3 store the folder is made ready in the working folder and sent under its final prefix, one file first, by a
write that fails if it is there already (so a number has one publisher), the manifest last (without it the prefix is no
release). ``latest.json`` is switched by a write that fails if somebody else switched it meanwhile: of two publishers
one wins, and the other takes back what it sent and says so.
"""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import json
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

from ketenpipe.errors import ContractBroken, HomeLocked, KetenpipeError, ReleaseDamaged, WrongUse
from ketenpipe.observatory import reader
from ketenpipe.observatory.changes import COMPARED, DEFAULT_TOLERANCE, LOOKED_INTO, found_changes
from ketenpipe.review.ledger import decisions_table, ledger_place, read_ledger
from ketenpipe.review.state import review_states
from ketenpipe.tables.contract import Column, Table
from ketenpipe.tables.files import write_bytes_atomic
from ketenpipe.tables.home import AnyHome, LocalPlace, Overtaken, Place
from ketenpipe.tables.registry import CHANGES, DOSSIERS, REGISTER, REVIEW_DECISIONS, SOURCES, TABLES, data_dictionary
from ketenpipe.tables.store import Stored, write_parquet, write_stored
from ketenpipe.tables.stream import KeyNotRising

DICTIONARY, PACKAGE = "data_dictionary.md", "datapackage.json"
#: Tables that publishing looks into, so that they are in memory.
IN_MEMORY = (DOSSIERS, REGISTER, REVIEW_DECISIONS, SOURCES, CHANGES)
LOCK_SECONDS = 20.0
MANIFEST_FORMAT = 1


class UnsignedClaim(KetenpipeError):
    """A register row claims a signature that the decision ledger does not hold."""


@dataclass(frozen=True)
class Published:
    """A new release.

    Attributes:
        release: its id.
        place: its folder, or its prefix on an S3 store.
        manifest_sha256, content_hash: hashes of the manifest and of all tables but ``changes``.
        previous: id of the release before it.
        changes: rows of table ``changes``.
    """

    release: str
    place: Place
    manifest_sha256: str
    content_hash: str
    previous: str | None
    changes: int

    @property
    def path(self) -> Path:
        """Its folder (WrongUse: it lies on an S3 store)."""
        return self.place.path()

    @property
    def sentence(self) -> str:
        """What happened, in one sentence."""
        against = f", {self.changes} change(s) against {self.previous}" if self.previous else ", the first one"
        return f"Release {self.release} is published{against}."


@dataclass(frozen=True)
class Unchanged:
    """The latest release already has this very content; nothing was published."""

    release: str
    place: Place
    content_hash: str

    @property
    def path(self) -> Path:
        """Its folder (WrongUse: it lies on an S3 store)."""
        return self.place.path()

    @property
    def sentence(self) -> str:
        """What happened, in one sentence."""
        return f"Nothing changed: release {self.release} already holds this content, so no new release is published."


def publish(
    home: AnyHome,
    tables: Mapping[str, pa.Table | Stored],
    attachments: Mapping[str, bytes] | None = None,
    *,
    parameters: Mapping[str, Any],
    method_versions: Mapping[str, str],
    source_vintages: Mapping[str, str],
    seed: int,
    today: datetime.date,
    tolerance: float = DEFAULT_TOLERANCE,
) -> Published | Unchanged:
    """Publish the tables as the next release, or say that nothing changed.

    Args:
        home: the home; the release goes to ``<home>/releases/<date>.<N>/``.
        tables: released tables by name, and ``dossiers`` (whose evidence becomes ``dossiers/<group>.json``). One that
            is :class:`~ketenpipe.tables.store.Stored` is read while it is written, a row group at a time, if its key
            rises over its parts (as it does over years, where the key begins with the year); else it is sorted in
            memory. The bytes are the same either way.
            ``changes`` is made here unless it is given; ``review_decisions`` is read from the ledger here, and one
            that is given must be its beginning.
        attachments: further files by relative path (``dossiers/x.md``, ``pictures/x.png``).
        parameters, method_versions, source_vintages, seed: recorded in the manifest; what differs from the
            previous manifest decides the kind of each change.
        today: date of the release; where the latest release bears a later one, that one is kept and counted up.
        tolerance: see :func:`ketenpipe.observatory.changes.build_changes`.

    Raises:
        UnsignedClaim: the register calls something signed, or no longer provisional, that the ledger does not.
        ContractBroken: a table that does not hold its contract, or that no release may carry.
        ReleaseDamaged: the latest release is no longer what was published; nothing is built on it.
        LedgerDamaged: the decision ledger cannot be trusted.
        HomeLocked: another process is publishing, or published meanwhile.
        WrongUse: an attachment with an impossible name.
    """
    releases = reader.releases_place(home)
    if isinstance(releases, LocalPlace):
        releases.root.mkdir(parents=True, exist_ok=True)
    busy = f"{releases}: another process is publishing; try again when it is done."
    with releases.exclusively(".publish.lock", LOCK_SECONDS, busy):
        clear_leftovers(home)
        pointer = reader.pointer_of(home)
        previous = None if pointer is None else _sound(reader.pointed(home, *pointer[:2]))
        prepared = _prepared(home, tables, previous)
        return _build(
            home,
            prepared,
            _attached(tables, attachments or {}),
            previous,
            None if pointer is None else pointer[2],
            {
                "parameters": dict(parameters),
                "method_versions": dict(method_versions),
                "source_vintages": dict(source_vintages),
                "seed": seed,
            },
            today,
            tolerance,
        )


def clear_leftovers(home: AnyHome) -> list[str]:
    """Remove what crashed builds left behind; never a release. Only under the publishing lock."""
    releases = reader.releases_place(home)
    found = releases.unfinished(reader.MANIFEST)
    for name in found:
        releases.delete_folder(name)
    if isinstance(releases, LocalPlace):
        for path in sorted(releases.root.glob(f".{reader.POINTER}.*")):
            path.unlink()
            found.append(path.name)
    return found


def _sound(info: reader.ReleaseInfo) -> reader.ReleaseInfo:
    if problems := reader.file_problems(info):
        raise ReleaseDamaged(
            f"{info.place}: the latest release is no longer what was published ({problems[0].rstrip('.')}); "
            "put it back from a copy before a new one is built on it."
        )
    return info


def _prepared(
    home: AnyHome, tables: Mapping[str, pa.Table | Stored], previous: reader.ReleaseInfo | None
) -> dict[str, pa.Table | Stored]:
    """The tables as they will be written: known, released, decisions from the ledger; those in memory within contract
    and sorted."""
    prepared: dict[str, pa.Table | Stored] = {}
    for name, data in tables.items():
        if name not in TABLES:
            raise ContractBroken(f"table {name}: there is no contract for it in the registry")
        contract = TABLES[name]
        if not contract.released and contract is not DOSSIERS:
            raise ContractBroken(f"table {name}: it is an intermediate table and no part of a release")
        if isinstance(data, Stored) and data.contract.names != contract.names:
            raise ContractBroken(f"table {name}: columns {data.contract.names} instead of {contract.names}")
        if isinstance(data, Stored) and contract in IN_MEMORY:
            data = data.read()
        prepared[name] = data if isinstance(data, Stored) else normalised(contract, data)
    if not prepared:
        raise WrongUse("there is no table to publish")
    ledger = decisions_table(read_ledger(home))
    given = prepared.setdefault(REVIEW_DECISIONS.name, ledger)
    _hold_beginning(home, given, ledger, "the table of decisions that is to be published")
    if previous is not None and REVIEW_DECISIONS.name in previous.tables:
        _hold_beginning(home, previous.read(REVIEW_DECISIONS.name), ledger, f"release {previous.release}")
    dossiers = prepared.pop(DOSSIERS.name, DOSSIERS.empty())
    _hold_dossiers(dossiers)
    if REGISTER.name in prepared:
        check_signatures(prepared[REGISTER.name], dossiers, ledger, place=str(ledger_place(home)))
    return prepared


def normalised(contract: Table, data: pa.Table) -> pa.Table:
    """The table in contract, in one chunk and in key order, so that equal content gives equal bytes.

    Raises:
        ContractBroken: it does not hold its contract.
    """
    contract.check(data)
    table = pa.table([column.combine_chunks() for column in data.columns], schema=contract.schema())
    order = contract.key or tuple(contract.names)
    return table.sort_by([(k, "ascending") for k in order]).combine_chunks()


def check_signatures(register: pa.Table, dossiers: pa.Table, decisions: pa.Table, *, place: str = "") -> None:
    """Refuse a register that claims more than the decisions say.

    A row may call itself signed, name a signature or drop ``provisional`` only where the last decision on its
    group approves the very evidence that the dossier holds now, and by the role and on the date it states.

    Raises:
        UnsignedClaim: with the first row that claims too much.
        ContractBroken: a row whose evidence hash is not that of its dossier.
    """
    states = review_states(decisions, dossiers)
    where = f"{place}: " if place else ""
    for row in register.to_pylist():
        group, state = row["group"], states.get(row["group"])
        about = f"the register row {row['focus']}, {group}"
        if state is not None and row["evidence_hash"] != state.evidence_hash:
            raise ContractBroken(
                f"table register: the row {row['focus']}, {group} bears another evidence hash than its dossier"
            )
        claims = (
            not row["provisional"]
            or row["review_status"] == "signed"
            or row["signed_role"] is not None
            or row["signed_on"] is not None
        )
        if not claims:
            continue
        if state is None or state.status != "signed" or state.signed_hash != row["evidence_hash"]:
            now = state.status.replace("_", " ") if state else "without a dossier"
            raise UnsignedClaim(
                f"{where}{about} claims to be signed, but the ledger holds no approval of this evidence (it is {now}); "
                "nothing is published, run again so that the register is made from the ledger."
            )
        if (
            row["provisional"]
            or row["review_status"] != "signed"
            or row["signed_role"] != state.signed_role
            or row["signed_on"] not in (state.signed_on, (state.signed_on or "")[:10])
        ):
            raise UnsignedClaim(
                f"{where}{about} states its signature otherwise than the ledger does (signed by {state.signed_role} on "
                f"{state.signed_on}); nothing is published, run again so that the register is made from the ledger."
            )


def _hold_beginning(home: AnyHome, part: pa.Table, ledger: pa.Table, whose: str) -> None:
    names = [n for n in part.column_names if n in ledger.column_names]
    part, whole = part.select(names), ledger.select(names)
    if part.num_rows > whole.num_rows or part.to_pylist() != whole.slice(0, part.num_rows).to_pylist():
        raise UnsignedClaim(
            f"{ledger_place(home)}: the ledger does not hold the decisions of {whose}; "
            "put the review folder back from a copy."
        )


def _hold_dossiers(dossiers: pa.Table) -> None:
    for row in dossiers.to_pylist():
        if hashlib.sha256(row["evidence"].encode()).hexdigest() != row["evidence_hash"]:
            raise ContractBroken(f"table dossiers: the evidence of {row['group']} does not have the hash beside it")


def _attached(tables: Mapping[str, pa.Table | Stored], attachments: Mapping[str, bytes]) -> dict[str, bytes]:
    """The attachments, with the evidence of every dossier as data beside them."""
    files: dict[str, bytes] = {}
    dossiers = tables.get(DOSSIERS.name, DOSSIERS.empty())
    for row in (dossiers.read() if isinstance(dossiers, Stored) else dossiers).to_pylist():
        files[f"dossiers/{row['group']}.json"] = row["evidence"].encode()
    files.update(attachments)
    own = {reader.MANIFEST, PACKAGE, DICTIONARY}
    for name in files:
        path = PurePosixPath(name)
        if (
            path.is_absolute()
            or ".." in path.parts
            or str(path) != name
            or "\\" in name
            or name in own
            or name.endswith(".parquet")
        ):
            raise WrongUse(f"'{name}' cannot be the name of an attachment of a release")
    return files


def _build(
    home: AnyHome,
    tables: dict[str, pa.Table | Stored],
    attachments: Mapping[str, bytes],
    previous: reader.ReleaseInfo | None,
    version: str | None,
    facts: dict[str, Any],
    today: datetime.date,
    tolerance: float,
) -> Published | Unchanged:
    releases = reader.releases_place(home)
    building = releases.draft()
    try:
        files: dict[str, dict[str, Any]] = {}
        for name in sorted(tables.keys() - {CHANGES.name}):
            files[f"{name}.parquet"] = _write_table(building, name, tables[name])
        content_hash = reader.content_hash(files)
        if previous is not None and previous.content_hash == content_hash:
            return Unchanged(previous.release, previous.place, content_hash)
        adopted = _orphan(home, previous, content_hash)
        if adopted is not None:
            return _point(home, adopted, previous, version)
        files[f"{CHANGES.name}.parquet"] = _write_changes(building, tables, previous, facts, tolerance)
        release = _next_id(releases, today, previous)
        names = sorted({*tables, CHANGES.name})
        sources = tables.get(SOURCES.name)
        assert not isinstance(sources, Stored)
        described = {
            DICTIONARY: _dictionary(names).encode(),
            PACKAGE: _json(_data_package(release, today, names, sources, files)),
        }
        for name, content in sorted({**attachments, **described}.items()):
            files[name] = _write_file(building, name, content)
        manifest = _json(
            {
                "format": MANIFEST_FORMAT,
                "release": release,
                "created": today.isoformat(),
                "content_hash": content_hash,
                "previous_release": None if previous is None else previous.release,
                "previous_manifest_sha256": None if previous is None else previous.manifest_sha256,
                "package_version": _package_version(),
                **facts,
                "files": files,
            }
        )
        _write_file(building, reader.MANIFEST, manifest)
        try:
            releases.settle(building, release, first=DICTIONARY, last=reader.MANIFEST)
        except Overtaken as lost:
            raise HomeLocked(
                f"{releases.text(release)}: another publisher is writing a release of this number; nothing is "
                "published here, try again when it is done."
            ) from lost
        try:
            return _point(home, reader.load(home, release), previous, version)
        except HomeLocked:
            releases.delete(f"{release}/{reader.MANIFEST}")
            releases.delete_folder(release)
            raise
    finally:
        if building.exists():
            shutil.rmtree(building, ignore_errors=True)


def _orphan(home: AnyHome, previous: reader.ReleaseInfo | None, content_hash: str) -> reader.ReleaseInfo | None:
    """A whole release with this very content that a crash kept from being pointed to."""
    before = None if previous is None else previous.release
    for name in reader.releases_place(home).folders():
        if not reader.RELEASE_ID.fullmatch(name) or name == before:
            continue
        try:
            info = reader.load(home, name)
        except (ReleaseDamaged, reader.NoRelease):
            continue
        follows = info.previous == before and (
            previous is None or reader.sort_key(info.release) > reader.sort_key(previous.release)
        )
        if follows and info.content_hash == content_hash and not reader.file_problems(info):
            return info
    return None


def _point(
    home: AnyHome, info: reader.ReleaseInfo, previous: reader.ReleaseInfo | None, version: str | None
) -> Published:
    """Switch ``latest.json``, if it still is the version that was read: from here on the release is published.

    Raises:
        HomeLocked: another publisher switched it meanwhile.
    """
    pointer = {"release": info.release, "manifest_sha256": info.manifest_sha256}
    releases = reader.releases_place(home)
    try:
        releases.put_if(reader.POINTER, _json(pointer), version)
    except Overtaken as lost:
        now = reader.read_pointer(home)
        if now != (info.release, info.manifest_sha256):
            other = now[0] if now else "nothing"
            raise HomeLocked(
                f"{releases.text(reader.POINTER)}: another publisher published {other} meanwhile; nothing is published "
                "here, run again so that this release follows that one."
            ) from lost
    return Published(
        release=info.release,
        place=info.place,
        manifest_sha256=info.manifest_sha256,
        content_hash=info.content_hash,
        previous=None if previous is None else previous.release,
        changes=int(info.manifest["files"][f"{CHANGES.name}.parquet"]["rows"]),
    )


def _next_id(releases: Place, today: datetime.date, previous: reader.ReleaseInfo | None) -> str:
    day = today.isoformat()
    if previous is not None:
        day = max(day, reader.sort_key(previous.release)[0])
    names = releases.folders()
    taken = [int(found[2]) for n in names if (found := reader.RELEASE_ID.fullmatch(n)) and found[1] == day]
    return f"{day}.{max(taken, default=0) + 1}"


def _write_changes(
    building: Path,
    tables: Mapping[str, pa.Table | Stored],
    previous: reader.ReleaseInfo | None,
    facts: Mapping[str, Any],
    tolerance: float,
) -> dict[str, Any]:
    """Table ``changes``: as given, else what the files of the previous release and of this one differ in."""
    if CHANGES.name in tables:
        return _write_table(building, CHANGES.name, tables[CHANGES.name])
    if previous is None:
        return _write_table(building, CHANGES.name, CHANGES.empty())
    ours = {n: building / f"{n}.parquet" for n in tables if n in COMPARED or n in LOOKED_INTO}
    before = reader.compared(previous)
    with found_changes(before, ours, before=previous.manifest, after=facts, tolerance=tolerance) as changes:
        path = building / f"{CHANGES.name}.parquet"
        return _stated(CHANGES, path, write_stored(path, changes))


def _write_table(building: Path, name: str, table: pa.Table | Stored) -> dict[str, Any]:
    contract, path = TABLES[name], building / f"{name}.parquet"
    if isinstance(table, Stored):
        if contract.key:
            try:
                return _stated(contract, path, write_stored(path, Stored(contract, table.parts)))
            except KeyNotRising:
                pass
        table = normalised(contract, table.read())
    write_parquet(path, table)
    return _stated(contract, path, table.num_rows)


def _stated(contract: Table, path: Path, rows: int) -> dict[str, Any]:
    return {
        "table": contract.name,
        "sha256": reader.sha256_of(path),
        "bytes": path.stat().st_size,
        "rows": rows,
        "schema_version": contract.schema_version,
    }


def _write_file(building: Path, name: str, content: bytes) -> dict[str, Any]:
    write_bytes_atomic(building / name, content)
    return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def _json(content: Mapping[str, Any]) -> bytes:
    text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False, default=_plain)
    return text.encode() + b"\n"


def _plain(value: Any) -> Any:
    if isinstance(value, Path | datetime.date):
        return str(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"a {type(value).__name__} cannot stand in a manifest")


def _package_version() -> str:
    try:
        return importlib.metadata.version("ketenpipe")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _dictionary(names: Collection[str]) -> str:
    """The registry's data dictionary, of the tables that are there."""
    head, *sections = data_dictionary().split("\n## ")
    kept = [s for s in sections if s.split("\n", 1)[0].strip() in names]
    return "\n## ".join([head, *kept])


def _data_package(
    release: str,
    today: datetime.date,
    names: Collection[str],
    sources: pa.Table | None,
    files: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """The release as a Frictionless tabular data package."""
    resources = []
    for name in sorted(names):
        contract, stated = TABLES[name], files[f"{name}.parquet"]
        schema: dict[str, Any] = {"fields": [_field(c) for c in contract.columns]}
        if contract.key:
            # A primary key may hold no nulls; where ours can, it is said as a unique key.
            strict = all(not contract.column(k).nullable for k in contract.key)
            if strict:
                schema["primaryKey"] = list(contract.key)
            else:
                schema["uniqueKeys"] = [list(contract.key)]
        resources.append(
            {
                "name": name,
                "path": f"{name}.parquet",
                "profile": "tabular-data-resource",
                "description": contract.description,
                "format": "parquet",
                "mediatype": "application/vnd.apache.parquet",
                "bytes": stated["bytes"],
                "hash": f"sha256:{stated['sha256']}",
                "schema": schema,
            }
        )
    package: dict[str, Any] = {
        "profile": "tabular-data-package",
        "name": "ketenpipe",
        "title": "Strategic supply-chain dependencies, direct and through the chain",
        "version": release,
        "created": f"{today.isoformat()}T00:00:00Z",
        "resources": resources,
    }
    if sources is not None and sources.num_rows:
        columns = ("source", "producer", "citation", "url", "licence", "vintage")
        seen = {tuple(r[c] for c in columns) for r in sources.to_pylist()}
        package["sources"] = [
            {
                key: value
                for key, value in (
                    ("title", citation or producer or source),
                    ("path", url),
                    ("licence", licence),
                    ("vintage", vintage),
                )
                if value
            }
            for source, producer, citation, url, licence, vintage in sorted(
                seen, key=lambda s: tuple(str(x or "") for x in s)
            )
        ]
    return package


def _field(column: Column) -> dict[str, Any]:
    kind = "string"
    if pa.types.is_boolean(column.type):
        kind = "boolean"
    elif pa.types.is_integer(column.type):
        kind = "integer"
    elif pa.types.is_floating(column.type) or pa.types.is_decimal(column.type):
        kind = "number"
    constraints: dict[str, Any] = {}
    if not column.nullable:
        constraints["required"] = True
    if column.allowed is not None:
        constraints["enum"] = list(column.allowed)
    if column.minimum is not None:
        constraints["minimum"] = column.minimum
    if column.maximum is not None:
        constraints["maximum"] = column.maximum
    out: dict[str, Any] = {"name": column.name, "type": kind, "description": column.description}
    if column.unit:
        out["unit"] = column.unit
    if column.source:
        out["source"] = column.source
    if constraints:
        out["constraints"] = constraints
    return out
