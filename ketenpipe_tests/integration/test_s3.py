"""A home on an S3 store: the same tables and the same releases, and writers that never overwrite each other.

Against a real store (SeaweedFS) in a process of its own. A machine is a working folder: publishers of different
machines meet only at the store.
"""

from __future__ import annotations

import datetime
import json
import multiprocessing
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from ketenpipe.dag.graph import graph_of
from ketenpipe.dag.resources import Workspace
from ketenpipe.dag.run import run_pipeline, stale_steps, steps_of
from ketenpipe.errors import HomeLocked, KeyRefused, ReleaseDamaged, UpstreamFailed, WrongUse
from ketenpipe.observatory import reader, release
from ketenpipe.observatory.catalogue_db import catalogue_path, open_catalogue
from ketenpipe.observatory.release import Published, Unchanged, publish
from ketenpipe.review.ledger import append_decision, read_ledger
from ketenpipe.settings import load_settings
from ketenpipe.tables import home as home_module
from ketenpipe.tables.contract import Column, Table
from ketenpipe.tables.home import Bucket, Overtaken, S3Place, place_of
from ketenpipe.tables.lock import home_lock
from ketenpipe.tables.registry import BACI_FLOWS, TABLES
from ketenpipe.tables.store import ROW_GROUP, Store
from ketenpipe.tables.stream import Stream
from ketenpipe_tests.observatory.conftest import approve, make_release, publish_tables
from ketenpipe_tests.upstream.s3 import S3Server, s3_server

ROOT = Path(__file__).resolve().parents[2]
Machine = Callable[[], S3Place]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture
def address(server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of an empty home."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    bucket = f"b{abs(hash(tmp_path)) % 10**12}"
    server.client().create_bucket(Bucket=bucket)  # type: ignore[attr-defined]
    return f"s3://{bucket}/a/home{server.query}"


@pytest.fixture
def machine(address: str, tmp_path: Path) -> Machine:
    """Each call is the same home, seen from another machine."""
    made: list[S3Place] = []

    def another() -> S3Place:
        place = place_of(address, tmp_path / f"machine-{len(made)}")
        assert isinstance(place, S3Place)
        made.append(place)
        return place

    return another


def whole(home: S3Place) -> str:
    """The id of the latest release, after checking that every release is in order."""
    for info in reader.list_releases(home):
        assert reader.verify(home, info.release) == []
    return reader.latest(home).release


# Tables


def example(table: Table) -> dict[str, object]:
    """A row that holds the contract."""

    def value(column: Column) -> object:
        if column.allowed:
            return column.allowed[0]
        if pa.types.is_boolean(column.type):
            return True
        if pa.types.is_string(column.type):
            return "x"
        return int(max(column.minimum or 0, 1)) if column.maximum is None else int(column.maximum)

    return {c.name: value(c) for c in table.columns}


def test_every_table_of_the_registry_is_read_as_it_was_written(machine: Machine, tmp_path: Path) -> None:
    here, there, local = Store(machine()), Store(machine()), Store(tmp_path / "local")
    for table in TABLES.values():
        rows, year = table.conform([example(table)]), "2020" if table.partitioned else None
        assert not here.exists(table, year)
        here.write(table, rows, year)
        local.write(table, rows, year)
        assert there.read(table, None if year is None else [year]).equals(rows)
        assert there.sha256(table, year) == local.sha256(table, year)
        assert there.rows(table, year) == 1
        assert there.metadata(table, year)[b"table"] == table.name.encode()
        if year is not None:
            assert there.partitions(table) == [year]
            assert there.check(table, year) == 1
    with pytest.raises(WrongUse, match="has no path on this machine"):
        here.path(BACI_FLOWS, "2020")


def test_a_table_that_changed_has_another_stamp_and_one_that_is_gone_says_so(machine: Machine) -> None:
    store, table = Store(machine()), TABLES["flags"]
    assert store.stamp(table) is None
    assert store.sha256(table) is None
    store.write(table, table.conform([example(table)]))
    first = store.stamp(table)
    store.write(table, table.conform([{**example(table), "reason": None}]))
    assert first != store.stamp(table) == Store(machine()).stamp(table)
    store.place.delete(store.name(table))
    with pytest.raises(Exception, match=r"table flags is not there yet \(flags.parquet\); run ketenpipe run first"):
        store.read(table)


def flows(count: int) -> Iterator[pa.RecordBatch]:
    """A year of flows, a row group at a time."""
    same: dict[str, Any] = {"hs_revision": "HS17", "year": 2020, "exporter": "CHN", "importer": "NLD", "release": "V1"}
    same["value_kusd"] = Decimal("1.000")
    for n in range(count):
        codes = pa.array([f"{n * ROW_GROUP + i:06d}" for i in range(ROW_GROUP)])
        columns = [
            codes if c.name == "code" else pa.repeat(pa.scalar(same.get(c.name, 1)), ROW_GROUP).cast(c.type, safe=False)
            for c in BACI_FLOWS.columns
        ]
        yield pa.record_batch(columns, schema=BACI_FLOWS.schema())


def test_a_stream_of_several_row_groups_and_a_look_into_one(machine: Machine, tmp_path: Path) -> None:
    remote, local = Store(machine()), Store(tmp_path / "local")
    remote.write_stream(BACI_FLOWS, Stream(flows(3)), "2020")
    local.write_stream(BACI_FLOWS, Stream(flows(3)), "2020")
    assert remote.sha256(BACI_FLOWS, "2020") == local.sha256(BACI_FLOWS, "2020")
    wanted = pc.field("code") == "200000"
    found = remote.read(BACI_FLOWS, ["2020"], columns=["code", "tonnes"], filters=wanted)
    assert found.to_pylist() == [{"code": "200000", "tonnes": 1.0}]
    assert remote.stored(BACI_FLOWS).read().equals(local.read(BACI_FLOWS))
    assert remote.distinct(BACI_FLOWS, ("hs_revision", "release"), "2020") == {("HS17", "V1")}


def test_a_batch_that_breaks_the_contract_leaves_the_old_table(machine: Machine) -> None:
    home = machine()
    store = Store(home)
    store.write_stream(BACI_FLOWS, Stream(flows(1)), "2020")
    before = store.stamp(BACI_FLOWS, "2020")
    with pytest.raises(Exception, match=r"stands more than once|against the order"):
        store.write_stream(BACI_FLOWS, Stream([*flows(1), *flows(1)]), "2020")
    assert store.stamp(BACI_FLOWS, "2020") == before
    assert [p for p in home.work.rglob("*") if p.is_file()] == []


def test_an_upload_in_parts_that_fails_is_aborted_and_leaves_what_was_there(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = machine()
    big = os.urandom(20 << 20)
    home.write("x", b"old")
    client = home.bucket.client
    send, sent = client.upload_part, []

    def fails(**given: Any) -> Any:
        sent.append(given["PartNumber"])
        if given["PartNumber"] == 2:
            raise OSError("the cable was pulled")
        return send(**given)

    with monkeypatch.context() as patched:
        patched.setattr(client, "upload_part", fails)
        with pytest.raises(OSError, match="cable"), home.replacing("x") as temporary:
            temporary.write_bytes(big)
    assert 2 in sent
    assert home.read("x") == b"old"
    assert client.list_multipart_uploads(Bucket=home.bucket.name).get("Uploads", []) == []
    with home.replacing("x") as temporary:
        temporary.write_bytes(big)
    assert home.read("x") == big


# Conditional writes


def test_one_of_many_writers_wins(machine: Machine) -> None:
    homes = [machine() for _ in range(6)]
    for condition in ("new", "same"):
        version = None if condition == "new" else homes[0].look("x")[1]  # type: ignore[index]
        together, won = threading.Barrier(len(homes)), []

        def write(n: int, version: str | None = version, together: Any = together, won: list[int] = won) -> None:
            together.wait()
            try:
                homes[n].put_if("x", b"%d" % n, version)
            except Overtaken as lost:
                assert "somebody else wrote it in between" in str(lost)  # noqa: PT017
            else:
                won.append(n)

        threads = [threading.Thread(target=write, args=(n,)) for n in range(len(homes))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        assert homes[0].read("x") == b"%d" % won[0]
        homes[0].write("x", b"next")
    gone = homes[0].look("x")
    homes[0].delete("x")
    assert gone is not None
    with pytest.raises(Overtaken):
        homes[0].put_if("x", b"y", gone[1])


# Releases


def test_a_release_is_the_one_that_a_folder_would_get(machine: Machine, tmp_path: Path) -> None:
    home, local = machine(), tmp_path / "local"
    for value in (0.5, 0.6):
        there, here = publish_tables(home, make_release(home, value)), publish_tables(local, make_release(local, value))
        assert isinstance(there, Published)
        assert isinstance(here, Published)
        assert there.content_hash == here.content_hash
        assert there.manifest_sha256 == here.manifest_sha256
        assert there.sentence == here.sentence
        assert there.place.files() == here.place.files()
    assert whole(home) == "2026-03-01.2"
    assert isinstance(publish_tables(home, make_release(home, 0.6)), Unchanged)
    elsewhere = machine()
    assert reader.verify(elsewhere) == []
    one, two = reader.list_releases(elsewhere)
    assert (one.release, two.previous, two.tables) == ("2026-03-01.1", "2026-03-01.1", here_tables(local))
    assert two.read("indicators").equals(reader.read_table(local, "indicators"))
    assert two.attachment("pictures/plane.png") == b"\x89PNG"
    changes = reader.diff(elsewhere, one.release, two.release)
    assert changes.num_rows > 0
    assert changes.equals(reader.diff(local, one.release, two.release))


def here_tables(local: Path) -> tuple[str, ...]:
    return reader.latest(local).tables


def test_a_file_that_was_changed_on_the_store_is_found(machine: Machine) -> None:
    home = machine()
    publish_tables(home, make_release(home))
    place = reader.latest(home).place
    content = place.read("flags.parquet")
    place.write("flags.parquet", content[:-1] + b"?")
    place.write("strange.txt", b"x")
    assert reader.verify(home) == [
        "2026-03-01.1/flags.parquet: its bytes are not those that were published (SHA-256 differs).",
        "2026-03-01.1/strange.txt: is not in the manifest.",
    ]
    with pytest.raises(ReleaseDamaged, match=r"s3://.*/releases/2026-03-01.1: the latest release is no longer what"):
        publish_tables(home, make_release(home, 0.6))
    with pytest.raises(ReleaseDamaged, match=r"flags.parquet: its SHA-256 is .* run 'ketenpipe release verify"):
        reader.latest(machine()).file("flags")
    place.delete("register.parquet")
    with pytest.raises(ReleaseDamaged, match=r"register.parquet: the table cannot be read"):
        reader.latest(home).read("register")
    place.delete("manifest.json")
    with pytest.raises(ReleaseDamaged, match=r"manifest.json: the manifest cannot be read \(.*No such file\)"):
        reader.latest(home)


def test_an_empty_home_and_a_release_that_is_not_there(machine: Machine) -> None:
    home = machine()
    with pytest.raises(reader.NoRelease, match=r"^s3://b\d+/a/home/releases: there is no release yet; run"):
        reader.latest(home)
    assert reader.list_releases(home) == []
    publish_tables(home, make_release(home))
    with pytest.raises(reader.NoRelease, match=r"there is no release 2026-03-01.7; there are: 2026-03-01.1\."):
        reader.load(home, "2026-03-01.7")


def test_the_catalogue_shows_copies_on_this_machine(machine: Machine) -> None:
    home = machine()
    publish_tables(home, make_release(home, 0.5))
    query = "select distinct value from indicators where value is not null"
    for value in (0.5, 0.6):
        publish_tables(home, make_release(home, value))
        for _ in range(2):
            with open_catalogue(home) as connection:
                assert connection.execute(query).fetchall() == [(value,)]
    assert catalogue_path(home).is_relative_to(home.work)
    assert [p.name for p in (home.work / "releases").iterdir() if p.is_dir()] == ["2026-03-01.2"]
    for copy in (home.work / "releases" / "2026-03-01.2").iterdir():
        copy.unlink()
    with open_catalogue(home) as connection:
        assert connection.execute(query).fetchall() == [(0.6,)]


def test_two_publishers_of_the_same_number_one_wins_and_the_other_says_so(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_tables(machine(), make_release(machine()))
    together, settle = threading.Barrier(2), S3Place.settle

    def at_once(self: S3Place, *args: Any, **named: Any) -> None:
        together.wait(60)
        settle(self, *args, **named)

    monkeypatch.setattr(S3Place, "settle", at_once)
    said: list[Any] = []

    def run(value: float) -> None:
        home = machine()
        try:
            said.append(publish_tables(home, make_release(home, value)))
        except HomeLocked as lost:
            said.append(str(lost))

    threads = [threading.Thread(target=run, args=(value,)) for value in (0.6, 0.7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (won,) = [s for s in said if isinstance(s, Published)]
    (lost,) = [s for s in said if isinstance(s, str)]
    assert lost.startswith("s3://")
    assert lost.endswith(
        "/releases/2026-03-01.2: another publisher is writing a release of this number; nothing is published here, try "
        "again when it is done."
    )
    assert whole(machine()) == won.release == "2026-03-01.2"
    assert len(reader.list_releases(machine())) == 2


def test_a_publisher_that_was_overtaken_takes_its_release_back(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, number = machine(), release._next_id

    def meanwhile(*args: Any) -> str:
        monkeypatch.setattr(release, "_next_id", number)
        other = machine()
        assert publish_tables(other, make_release(other, 0.7)).release == "2026-03-01.1"
        return number(*args)

    monkeypatch.setattr(release, "_next_id", meanwhile)
    with pytest.raises(
        HomeLocked,
        match=r"latest.json: another publisher published 2026-03-01.1 meanwhile; nothing is published here, run again "
        r"so that this release follows that one\.",
    ):
        publish_tables(home, make_release(home, 0.6))
    assert whole(home) == "2026-03-01.1"
    assert [n for n in home.files("releases") if n.startswith("releases/2026-03-01.2/")] == []
    again = publish_tables(home, make_release(home, 0.6))
    assert isinstance(again, Published)
    assert again.previous == "2026-03-01.1"


PUBLISHER = """
import sys
from pathlib import Path
from ketenpipe.errors import HomeLocked
from ketenpipe.tables.home import place_of
from ketenpipe_tests.observatory.conftest import make_release, publish_tables
home = place_of(sys.argv[1], Path(sys.argv[2]))
published = 0
for i in range(60):
    try:
        publish_tables(home, make_release(home, float(sys.argv[3]) + i / 1000))
        published += 1
    except HomeLocked:
        pass
    if published == 4:
        break
print(published)
"""


@pytest.mark.slow
def test_publishers_in_processes_of_their_own_never_lose_a_release(
    machine: Machine, address: str, tmp_path: Path
) -> None:
    started = [
        subprocess.Popen(
            [sys.executable, "-c", PUBLISHER, address, str(tmp_path / f"process-{n}"), str(0.2 * (n + 1))],
            cwd=ROOT,
            stdout=subprocess.PIPE,
        )
        for n in range(2)
    ]
    assert [int(p.communicate(timeout=240)[0]) for p in started] == [4, 4]
    home = machine()
    releases = reader.list_releases(home)
    assert whole(home) == releases[-1].release
    assert len(releases) == 8
    before = [None, *(r.release for r in releases)]
    assert [r.previous for r in releases] == before[:-1]


def test_a_whole_release_that_nobody_was_pointed_to_is_adopted(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = machine()
    publish_tables(home, make_release(home))

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(release, "_point", dies)
        with pytest.raises(KeyboardInterrupt):
            publish_tables(home, make_release(home, 0.6))
    assert reader.latest(home).release == "2026-03-01.1"
    other = machine()
    assert publish_tables(other, make_release(other, 0.7)).release == "2026-03-01.3"
    assert whole(other) == "2026-03-01.3"


def test_the_same_content_adopts_what_a_crash_left(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    home = machine()
    with monkeypatch.context() as patched:
        patched.setattr(release, "_point", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            publish_tables(home, make_release(home))
    with pytest.raises(reader.NoRelease):
        reader.latest(home)
    other = machine()
    assert publish_tables(other, make_release(other)).release == "2026-03-01.1"
    assert whole(other) == "2026-03-01.1"


KILLED = """
import os, sys
from pathlib import Path
from ketenpipe.tables.home import S3Place, place_of
from ketenpipe_tests.observatory.conftest import make_release, publish_tables
send, left = S3Place._send, [3]
def dies(self, *args):
    left[0] -= 1
    if not left[0]:
        os._exit(9)
    send(self, *args)
S3Place._send = dies
home = place_of(sys.argv[1], Path(sys.argv[2]))
publish_tables(home, make_release(home, 0.6))
"""


def test_killed_in_the_middle_of_sending_leaves_no_release_and_is_swept_a_day_later(
    machine: Machine, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = machine()
    publish_tables(home, make_release(home))
    killed = subprocess.run([sys.executable, "-c", KILLED, address, str(tmp_path / "killed")], cwd=ROOT, timeout=120)
    assert killed.returncode == 9
    left = [n for n in home.files("releases") if n.startswith("releases/2026-03-01.2/")]
    assert 2 < len(left) < 8
    assert whole(home) == "2026-03-01.1"
    assert len(reader.list_releases(home)) == 1
    # Its number is not taken by another: whoever had it may still be at work.
    assert publish_tables(home, make_release(home, 0.7)).release == "2026-03-01.3"
    assert set(left) < set(home.files("releases"))
    monkeypatch.setattr(home_module, "UNFINISHED_AFTER", datetime.timedelta(seconds=-60))
    assert isinstance(publish_tables(home, make_release(home, 0.7)), Unchanged)
    assert not set(left) & set(home.files("releases"))
    assert whole(home) == "2026-03-01.3"


def test_files_that_vanish_while_they_are_sent_stop_the_release(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, send = machine(), S3Place._send

    def swept(self: S3Place, path: Path, name: str) -> None:
        send(self, path, name)
        if name == "sources.parquet":
            self.delete("flags.parquet")

    monkeypatch.setattr(S3Place, "_send", swept)
    with pytest.raises(HomeLocked, match="nothing is published here"):
        publish_tables(home, make_release(home))
    assert home.files("releases") == []


@pytest.mark.slow
def test_readers_during_a_switch_never_mix_two_releases(machine: Machine) -> None:
    home = machine()
    publish_tables(home, make_release(home, 0.5))
    mixed: list[object] = []
    reads, done, there = [0], threading.Event(), machine()

    def read() -> None:
        try:
            while not done.is_set():
                info = reader.latest(there)
                values = set(info.read("indicators").column("value").drop_null().to_pylist())
                flags = set(info.read("flags").column("flagged").to_pylist())
                if len(values) != 1 or flags != {values.pop() > 0.4}:
                    mixed.append((info.release, flags))
                reads[0] += 1
        except Exception as error:  # noqa: BLE001 - whatever it is, the test reports it
            mixed.append(error)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for i in range(6):
        publish_tables(home, make_release(home, (0.2 if i % 2 else 0.7) + i / 100))
    done.set()
    for thread in threads:
        thread.join()
    assert mixed == []
    assert reads[0] > 6


# Decisions


def test_decisions_are_signed_and_carried(machine: Machine, tmp_path: Path) -> None:
    home, local = machine(), tmp_path / "local"
    for place in (home, local):
        publish_tables(place, make_release(place))
        approve(place)
    assert [d.role for d in read_ledger(machine())] == ["policy adviser"]
    there, here = publish_tables(home, make_release(home)), publish_tables(local, make_release(local))
    assert isinstance(there, Published)
    assert reader.read_table(home, "register").column("provisional").to_pylist() == [False]
    assert "Ann Vermeer" not in str(there.place.read("manifest.json"))
    assert there.place.sub("dossiers").files() == here.place.sub("dossiers").files()


APPENDER = """
import sys
from pathlib import Path
from ketenpipe.review.ledger import append_decision, read_ledger
from ketenpipe.tables.home import place_of
home = place_of(sys.argv[1], Path(sys.argv[2]))
for i in range(10):
    append_decision(home, group=sys.argv[3], decision="approve", evidence=f"{{}} {i}", reviewer="A", role="r",
                    rationale="x" * 500)
    read_ledger(home)
"""


@pytest.mark.slow
def test_two_machines_append_without_losing_a_line(machine: Machine, address: str, tmp_path: Path) -> None:
    started = [
        subprocess.Popen([sys.executable, "-c", APPENDER, address, str(tmp_path / group), group], cwd=ROOT)
        for group in ("one", "two")
    ]
    assert [p.wait(timeout=120) for p in started] == [0, 0]
    decisions = read_ledger(machine())
    assert [d.sequence for d in decisions] == list(range(1, 21))
    assert sorted(d.group for d in decisions) == ["one"] * 10 + ["two"] * 10


def test_a_ledger_that_was_touched_is_refused_by_its_address(machine: Machine) -> None:
    home = machine()
    for text in ("{}", "{ }"):
        append_decision(home, group="g", decision="approve", evidence=text, reviewer="A", role="r", rationale="because")
    content = home.read("review/decisions.jsonl")
    home.write("review/decisions.jsonl", content.replace(b"because", b"whatever", 1))
    with pytest.raises(Exception, match=r"^s3://b\d+/a/home/review/decisions.jsonl, line 2: the line before it"):
        read_ledger(home)
    home.delete("review/decisions.jsonl")
    with pytest.raises(Exception, match=r"decisions.jsonl: the file with the decisions is gone"):
        read_ledger(home)


# The lock


def _hold(address: str, work: Path, taken: Any, free: Any) -> None:
    with home_lock(place_of(address, work), "ketenpipe run"):
        taken.set()
        free.wait(60)


def test_a_second_machine_is_told_who_holds_the_home(machine: Machine, address: str, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    taken, free = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(address, tmp_path / "other", taken, free))
    other.start()
    home = machine()
    try:
        assert taken.wait(60)
        words = (
            rf"^s3://b\d+/a/home: ketenpipe run \(process {other.pid} on .*, since .* UTC\) holds the home's lock; try "
            r"again when it is done or, if you know that it was stopped, remove the lock by hand \(delete "
            r"s3://.*/\.lock with any S3 client, e\.g\. aws s3 rm s3://.*/\.lock\)\.$"
        )
        with pytest.raises(HomeLocked, match=words), home_lock(home, "second"):
            pass
    finally:
        free.set()
        other.join(60)
    with home_lock(home, "second"), home_lock(home, "a Dagster run of the same process"):
        assert home.exists(".lock")
    assert not home.exists(".lock")


def test_the_lock_of_a_killed_run_is_told_and_not_taken_over(machine: Machine, address: str, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    taken, free = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(address, tmp_path / "other", taken, free), daemon=True)
    other.start()
    assert taken.wait(60)
    other.kill()
    other.join()
    home = machine()
    for _ in range(2):
        with pytest.raises(HomeLocked, match="that process is no longer there, so remove the lock by hand"):
            home_lock(home, "second").__enter__()
    home.delete(".lock")
    with home_lock(home, "second"):
        pass


def test_a_lock_that_another_has_by_now_is_not_removed(machine: Machine) -> None:
    home = machine()
    with home_lock(home, "first"):
        home.write(".lock", json.dumps({"holder": "b", "host": "c", "process": 1, "since": "d", "token": "e"}).encode())
    assert home.exists(".lock")
    home.write(".lock", b"not JSON")
    with pytest.raises(HomeLocked, match="another run holds the home's lock"):
        home_lock(home, "second").__enter__()


# What can be wrong about the store


def test_wrong_credentials(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    for attempt in (
        lambda home: reader.latest(home),
        lambda home: Store(home).write(TABLES["flags"], TABLES["flags"].empty()),
        lambda home: publish_tables(home, make_release(home)),
        lambda home: home_lock(home, "x").__enter__(),
    ):
        with pytest.raises(KeyRefused) as caught:
            attempt(machine())
        # The answer to a look at a file has no words of its own.
        assert re.search(r"does not accept the credentials \((SignatureDoesNotMatch|403: Forbidden)", str(caught.value))
        assert "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and their rights" in str(caught.value)
        assert "wrong" not in str(caught.value)


def test_no_credentials(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(KeyRefused, match=r"there are no credentials for the S3 store; set AWS_ACCESS_KEY_ID"):
        reader.latest(machine())
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "only this")
    with pytest.raises(KeyRefused, match=r"the credentials for the S3 store are not complete"):
        reader.latest(machine())


def test_a_bucket_that_is_not_there(server: S3Server, address: str, tmp_path: Path) -> None:
    home = place_of(f"s3://nobody-made-it/x{server.query}", tmp_path)
    words = rf"^s3://nobody-made-it: there is no bucket of that name at http://{server.address}; make it first$"
    for attempt in (
        lambda: reader.latest(home),
        lambda: Store(home).read(TABLES["flags"]),
        lambda: home_lock(home, "x").__enter__(),
        lambda: publish(home, {"flags": TABLES["flags"].empty()}, **FACTS),
    ):
        with pytest.raises(WrongUse, match=words):
            attempt()


FACTS: dict[str, Any] = {
    "parameters": {},
    "method_versions": {},
    "source_vintages": {},
    "seed": 1,
    "today": datetime.date(2026, 3, 1),
}


def test_a_store_that_is_out_of_reach(address: str, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = place_of(f"s3://some-bucket/x?endpoint_override=http://127.0.0.1:{port}", tmp_path)
    with pytest.raises(UpstreamFailed, match=rf"the S3 store at http://127.0.0.1:{port} cannot be reached") as caught:
        reader.latest(home)
    assert caught.value.passing
    assert str(caught.value).endswith("check the address and the network, and try again.")


def test_without_the_extra(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in sys.modules if n == "boto3" or n.startswith("boto3.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(WrongUse, match=r"a home on an S3 store needs the extra s3; pip install 'ketenpipe\[s3\]'"):
        reader.latest(machine())


def test_the_credentials_of_a_role_that_change_are_taken_anew(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = machine()
    first = home.filesystem
    assert home.filesystem is first
    monkeypatch.setattr(home.bucket._session.get_credentials(), "token", "another")
    assert home.filesystem is not first
    assert isinstance(home.bucket, Bucket)


# The whole


@pytest.mark.slow
def test_a_whole_run_is_the_one_that_a_folder_would_get(machine: Machine, address: str, tmp_path: Path) -> None:
    local = load_settings(home=tmp_path / "local", years="2024", focus="NLD", bloc="")
    run_pipeline(local)
    there = load_settings(home=address, work=tmp_path / "work", years="2024", focus="NLD", bloc="")
    run_pipeline(there)
    place = machine()
    assert reader.verify(place) == []
    assert reader.latest(place).content_hash == reader.latest(local.home).content_hash
    assert set(reader.latest(place).manifest["files"]) == set(reader.latest(local.home).manifest["files"])
    # Another machine finds everything up to date, but for the pictures and the catalogue, which lie on a disk.
    again = Workspace.of(load_settings(home=address, work=tmp_path / "other", years="2024", focus="NLD", bloc=""))
    steps = steps_of(graph_of(again.settings))
    stale = {name.rsplit("__", 1)[-1] for name in stale_steps(steps, again)}
    assert stale <= {"archive", "pictures", "publishing", "reporting", "catalogue"}
