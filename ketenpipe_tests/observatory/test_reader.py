"""Readers get one release, the bytes that were published, the same values in every tool."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pytest

from ketenpipe.errors import ReleaseDamaged, WrongUse
from ketenpipe.observatory import reader
from ketenpipe.observatory.catalogue_db import build_catalogue, catalogue_path, open_catalogue
from ketenpipe_tests.observatory.conftest import make_release, publish_tables


def test_nothing_published_yet(tmp_path: Path) -> None:
    for read in (reader.latest, open_catalogue, build_catalogue):
        with pytest.raises(reader.NoRelease, match="no release yet"):
            read(tmp_path)
    assert reader.list_releases(tmp_path) == []
    assert reader.verify(tmp_path) != []
    with pytest.raises(WrongUse, match="no release id"):
        reader.load(tmp_path, "../x")


def test_a_flipped_byte_in_any_file_is_found(tmp_path: Path) -> None:
    published = publish_tables(tmp_path, make_release(tmp_path))
    for path in [p for p in published.path.rglob("*") if p.is_file()]:
        content = path.read_bytes()
        path.chmod(0o644)
        path.write_bytes(content[:-3] + bytes([content[-3] ^ 1]) + content[-2:])
        problems = reader.verify(tmp_path, published.release)
        assert problems, path
        assert path.name in problems[0]
        path.write_bytes(content)
    assert reader.verify(tmp_path) == []


def test_missing_added_and_shortened_files_are_found(tmp_path: Path) -> None:
    published = publish_tables(tmp_path, make_release(tmp_path))
    (published.path / "extra.csv").write_text("x")
    flags = published.path / "flags.parquet"
    flags.chmod(0o644)
    flags.write_bytes(flags.read_bytes()[:-1])
    (published.path / "pictures/plane.png").unlink()
    problems = "\n".join(reader.verify(tmp_path))
    for text in ("extra.csv: is not in the manifest", "flags.parquet: has ", "plane.png: cannot be read"):
        assert text in problems


def test_a_rewritten_manifest_is_found_by_the_pointer_and_by_the_next_release(tmp_path: Path) -> None:
    first = publish_tables(tmp_path, make_release(tmp_path))
    manifest = first.path / "manifest.json"
    manifest.chmod(0o644)
    content = manifest.read_text()
    manifest.write_text(content.replace('"seed": 1', '"seed": 2'))
    assert "latest.json" in reader.verify(tmp_path)[0]
    with pytest.raises(ReleaseDamaged, match="not the one that was published"):
        reader.latest(tmp_path)
    manifest.write_text(content)
    publish_tables(tmp_path, make_release(tmp_path, 0.6))
    manifest.write_text(content.replace('"seed": 1', '"seed": 2'))
    assert reader.verify(tmp_path) == []
    assert "2026-03-01.2/manifest.json" in reader.verify(tmp_path, first.release)[0]


def test_a_broken_pointer_says_so(tmp_path: Path) -> None:
    publish_tables(tmp_path, make_release(tmp_path))
    for content in ("", "{}", '{"release": "../../etc", "manifest_sha256": "x"}'):
        (tmp_path / "releases/latest.json").write_text(content)
        with pytest.raises(ReleaseDamaged, match=r"latest\.json"):
            reader.latest(tmp_path)


def test_diff_between_any_two(tmp_path: Path) -> None:
    for value in (0.5, 0.6, 0.3):
        publish_tables(tmp_path, make_release(tmp_path, value, vintage=str(value)))
    table = reader.diff(tmp_path, "2026-03-01.1", "2026-03-01.3")
    assert ("geodep", "true", "false") in {(r["what"], r["before"], r["after"]) for r in table.to_pylist()}
    assert reader.diff(tmp_path, "2026-03-01.1", "2026-03-01.1").num_rows == 0
    with pytest.raises(reader.NoRelease, match=r"there are: 2026-03-01\.1, "):
        reader.diff(tmp_path, "2026-03-01.1", "2026-03-01.9")
    assert set(reader.read_table(tmp_path, "flags", "2026-03-01.1").column("flagged").to_pylist()) == {True}
    with pytest.raises(WrongUse, match="has no table 'nothing'"):
        reader.read_table(tmp_path, "nothing")


def test_readers_during_a_switch_never_mix_two_releases(tmp_path: Path) -> None:
    publish_tables(tmp_path, make_release(tmp_path, 0.5))
    mixed: list[object] = []
    reads = [0]
    done = threading.Event()

    def read() -> None:
        try:
            while not done.is_set():
                info = reader.latest(tmp_path)
                values = set(info.read("indicators").column("value").drop_null().to_pylist())
                flags = set(info.read("flags").column("flagged").to_pylist())
                if len(values) != 1 or flags != {values.pop() > 0.4}:
                    mixed.append((info.release, flags))
                reads[0] += 1
        except Exception as error:  # noqa: BLE001 - whatever it is, the test reports it
            mixed.append(error)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for i in range(12):
        publish_tables(tmp_path, make_release(tmp_path, (0.2 if i % 2 else 0.7) + i / 100))
    done.set()
    for thread in threads:
        thread.join()
    assert mixed == []
    assert reads[0] > 12


def test_every_tool_reads_the_same_values(tmp_path: Path) -> None:
    publish_tables(tmp_path, make_release(tmp_path))
    info = reader.latest(tmp_path)
    for name in info.tables:
        path = info.file(name)
        expected = info.read(name).to_pylist()
        assert pl.read_parquet(path).to_dicts() == expected
        assert duckdb.read_parquet(str(path)).to_arrow_table().to_pylist() == expected
        frame = pd.read_parquet(path, dtype_backend="pyarrow")
        values = [{k: None if pd.isna(v) else v for k, v in row.items()} for row in frame.to_dict("records")]
        assert values == expected


def test_the_catalogue_works_from_another_folder_and_any_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    home = Path("it's a [home]* of ours?")
    publish_tables(home, make_release(home))
    path = build_catalogue(home).absolute()
    (tmp_path / "elsewhere").mkdir()
    os.chdir(tmp_path / "elsewhere")
    with duckdb.connect(str(path), read_only=True) as connection:
        assert connection.execute("select count(*) from indicators").fetchone() == (8,)
        assert connection.execute("select release from release_info").fetchone() == ("2026-03-01.1",)
        comment = connection.execute(
            "select comment from duckdb_columns() where table_name = 'register' and column_name = 'imports_kusd'"
        ).fetchone()
        assert comment is not None
        assert "thousand USD" in comment[0]
        tables = connection.execute("select count(*) from duckdb_tables() where not internal").fetchone()
        assert tables == (0,)
    assert [p.name for p in path.parent.iterdir() if p.name.startswith(".")] == []


def test_the_catalogue_follows_the_latest_release_and_a_moved_home(tmp_path: Path) -> None:
    home = tmp_path / "home"
    publish_tables(home, make_release(home, 0.5))
    query = "select distinct value from indicators where value is not null"
    with open_catalogue(home) as first:
        assert first.execute(query).fetchall() == [(0.5,)]
        publish_tables(home, make_release(home, 0.6))
        with open_catalogue(home) as second:
            assert second.execute(query).fetchall() == [(0.6,)]
            with pytest.raises(duckdb.Error):
                second.execute("create table ketenpipe.x as select 1")
        assert first.execute(query).fetchall() == [(0.5,)]
    moved = tmp_path / "moved"
    shutil.move(home, moved)
    with open_catalogue(moved) as third:
        assert third.execute(query).fetchall() == [(0.6,)]
    with duckdb.connect(str(catalogue_path(moved)), read_only=True) as connection:
        assert connection.execute(query).fetchall() == [(0.6,)]


def test_a_home_that_cannot_be_written_to_opens_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish_tables(tmp_path, make_release(tmp_path))

    def refuse(home: Path) -> Path:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("ketenpipe.observatory.catalogue_db.build_catalogue", refuse)
    with open_catalogue(tmp_path) as connection:
        assert connection.execute("select count(*) from flags").fetchone() == (4,)
    assert not catalogue_path(tmp_path).exists()
