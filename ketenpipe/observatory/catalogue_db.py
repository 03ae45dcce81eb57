"""The DuckDB catalogue: views over the Parquet of the latest release, written last and swapped in whole.

Belongs here: ``<home>/ketenpipe.duckdb``. It holds no data: each view reads one file by its absolute path, so that
it works from any working directory; where the home was moved, :func:`open_catalogue` builds it anew. Of a home on an S3
store it lies in the working folder of this machine, over copies of the latest release's tables there: DuckDB's own
reader of S3 stores is an extension that it would have to fetch.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

import duckdb

from ketenpipe.observatory import reader
from ketenpipe.tables.files import write_bytes_atomic
from ketenpipe.tables.home import AnyHome, LocalPlace, place_of
from ketenpipe.tables.registry import TABLES

NAME = "ketenpipe.duckdb"
#: The view that says which release the other views show.
ABOUT = "release_info"


def catalogue_path(home: AnyHome) -> Path:
    """``<home>/ketenpipe.duckdb``; of a home on an S3 store it lies in the working folder."""
    return place_of(home).work / NAME


def build_catalogue(home: AnyHome) -> Path:
    """Write the catalogue of the latest release aside and swap it in.

    Raises:
        NoRelease: nothing was published yet.
        ReleaseDamaged: the pointer or the manifest is not what was published.
    """
    info = reader.latest(home)
    path = catalogue_path(home)
    # Written in the system's temporary folder: DuckDB cannot write below a folder with '?' in its name.
    with tempfile.TemporaryDirectory() as folder:
        aside = Path(folder) / NAME
        with duckdb.connect(str(aside)) as connection:
            _create_views(connection, info)
        content = aside.read_bytes()
    write_bytes_atomic(path, content)
    for left in path.parent.glob(f".{NAME}.*"):
        left.unlink(missing_ok=True)
    place = place_of(home)
    if not isinstance(place, LocalPlace):
        for copies in (place.work / "releases").glob("*"):
            if reader.RELEASE_ID.fullmatch(copies.name) and copies.name != info.release:
                shutil.rmtree(copies)
    return path


def open_catalogue(home: AnyHome) -> duckdb.DuckDBPyConnection:
    """A connection whose default database is the catalogue of the latest release, read-only.

    The file is built anew where it is missing, shows another release, or the home was moved. Where the home cannot
    be written to, the same views are made in memory.

    Raises:
        NoRelease: nothing was published yet.
        ReleaseDamaged: the pointer or the manifest is not what was published.
    """
    info = reader.latest(home)
    path = catalogue_path(home)
    for rebuilt in (False, True):
        if rebuilt:
            try:
                build_catalogue(home)
            except OSError:
                break
        if not path.exists():
            continue
        connection = duckdb.connect(":memory:")
        try:
            # Attached to a memory database: a connection by file name could be handed an older file of that name
            # that this process still has open.
            connection.execute(f"attach {_literal(str(path.absolute()))} as ketenpipe (read_only)")
            connection.execute("use ketenpipe")
            # fetchall: an unfinished result would block the next query on this connection.
            rows = connection.execute(f"select release, manifest_sha256, folder from {ABOUT}").fetchall()
            shown = rows[0] if rows else None
        except duckdb.Error:
            shown = None
        if shown == (info.release, info.manifest_sha256, str(info.place)) and _still_there(info):
            return connection
        connection.close()
    connection = duckdb.connect(":memory:")
    _create_views(connection, info)
    return connection


def _create_views(connection: duckdb.DuckDBPyConnection, info: reader.ReleaseInfo) -> None:
    for table in info.tables:
        # Characters that DuckDB would take for a pattern stand in brackets, so that any folder name works.
        pattern = re.sub(r"([\[*?])", r"[\1]", str(info.file(table)))
        connection.execute(f'create view "{table}" as select * from read_parquet({_literal(pattern)})')
        if table not in TABLES:
            continue
        contract = TABLES[table]
        connection.execute(f'comment on view "{table}" is {_literal(contract.description)}')
        there = {r[0] for r in connection.execute(f'describe "{table}"').fetchall()}
        for column in contract.columns:
            if column.name in there:
                text = column.description + (f" [{column.unit}]" if column.unit else "")
                connection.execute(f'comment on column "{table}"."{column.name}" is {_literal(text)}')
    facts = {
        "release": info.release,
        "created": info.created,
        "manifest_sha256": info.manifest_sha256,
        "folder": str(info.place),
    }
    selected = ", ".join(f"{_literal(value)} as {name}" for name, value in facts.items())
    connection.execute(f"create view {ABOUT} as select {selected}")


def _still_there(info: reader.ReleaseInfo) -> bool:
    """Whether the files are there that the views read: copies may have been swept from the working folder."""
    if isinstance(info.place, LocalPlace):
        return True
    return all((info.place.work / f"{table}.parquet").exists() for table in info.tables)


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
