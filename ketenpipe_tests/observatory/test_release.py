"""A release is whole or not there, never overwritten, and never says signed where nobody signed."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from ketenpipe.errors import ContractBroken, ReleaseDamaged, WrongUse
from ketenpipe.observatory import reader
from ketenpipe.observatory.release import Published, Unchanged, UnsignedClaim, publish
from ketenpipe.review.ledger import LedgerDamaged, ledger_path
from ketenpipe.tables.registry import BACI_FLOWS, INDICATORS, TABLES
from ketenpipe.tables.store import Stored
from ketenpipe_tests.observatory.conftest import TODAY, approve, make_release, publish_tables

ROOT = Path(__file__).resolve().parents[2]


def whole(home: Path) -> str:
    """The id of the latest release, after checking that every release and the folder are in order."""
    for info in reader.list_releases(home):
        assert reader.verify(home, info.release) == []
    return reader.latest(home).release


def test_a_release_and_what_is_in_it(tmp_path: Path) -> None:
    published = publish_tables(tmp_path, make_release(tmp_path))
    assert isinstance(published, Published)
    assert published.release == "2026-03-01.1"
    assert published.sentence == "Release 2026-03-01.1 is published, the first one."
    names = sorted(p.relative_to(published.path).as_posix() for p in published.path.rglob("*") if p.is_file())
    assert names == [
        "chain_edges.parquet",
        "chain_nodes.parquet",
        "changes.parquet",
        "data_dictionary.md",
        "datapackage.json",
        "dossiers/magnets.json",
        "dossiers/magnets.md",
        "flags.parquet",
        "indicators.parquet",
        "manifest.json",
        "pictures/plane.png",
        "register.parquet",
        "review_decisions.parquet",
        "sources.parquet",
    ]
    assert all((published.path / n).stat().st_mode & 0o777 == 0o444 for n in names)
    pointer = json.loads((tmp_path / "releases/latest.json").read_text())
    assert pointer == {"release": published.release, "manifest_sha256": published.manifest_sha256}
    manifest = json.loads((published.path / "manifest.json").read_text())
    assert manifest["seed"] == 1
    assert manifest["source_vintages"] == {"baci": "202601"}
    assert manifest["parameters"]["depth"] == 2
    assert manifest["previous_release"] is None
    assert manifest["created"] == "2026-03-01"
    assert manifest["files"]["indicators.parquet"]["rows"] == 8
    assert manifest["files"]["indicators.parquet"]["schema_version"] == "1"
    evidence_sha = manifest["files"]["dossiers/magnets.json"]["sha256"]
    assert evidence_sha == reader.read_table(tmp_path, "register").column("evidence_hash")[0].as_py()
    assert whole(tmp_path) == published.release


def test_the_data_package_describes_every_table(tmp_path: Path) -> None:
    published = publish_tables(tmp_path, make_release(tmp_path))
    package = json.loads((published.path / "datapackage.json").read_text())
    assert package["version"] == published.release
    assert package["sources"] == [{"title": "BACI, CEPII", "path": "https://www.cepii.fr", "licence": "Etalab 2.0"}]
    for resource in package["resources"]:
        path = published.path / resource["path"]
        assert resource["hash"] == f"sha256:{reader.sha256_of(path)}"
        assert resource["bytes"] == path.stat().st_size
        schema = pq.read_schema(path)
        assert [f["name"] for f in resource["schema"]["fields"]] == schema.names
        assert schema.equals(TABLES[resource["name"]].schema(), check_metadata=True)
    fields = {f["name"]: f for r in package["resources"] if r["name"] == "register" for f in r["schema"]["fields"]}
    assert fields["imports_kusd"]["unit"] == "thousand USD"
    assert fields["year"]["type"] == "integer"
    assert fields["provisional"] == {
        "name": "provisional",
        "type": "boolean",
        "description": "true until an expert has signed this very evidence",
        "constraints": {"required": True},
    }
    dictionary = (published.path / "data_dictionary.md").read_text()
    assert "## register" in dictionary
    assert "## industry_tiers" not in dictionary


def test_unchanged_content_publishes_nothing(tmp_path: Path) -> None:
    first = publish_tables(tmp_path, make_release(tmp_path))
    tables = make_release(tmp_path)
    shuffled = {n: pa.concat_tables([t.slice(i, 1) for i in reversed(range(t.num_rows))]) for n, t in tables.items()}
    again = publish_tables(tmp_path, shuffled, today=datetime.date(2026, 4, 1))
    assert isinstance(again, Unchanged)
    assert (again.release, again.content_hash) == (first.release, first.content_hash)
    assert "Nothing changed" in again.sentence
    assert [i.release for i in reader.list_releases(tmp_path)] == [first.release]
    assert not list((tmp_path / "releases").glob(".building*"))


def test_the_same_content_gives_the_same_bytes_in_another_home(tmp_path: Path) -> None:
    one, two = (publish_tables(tmp_path / h, make_release(tmp_path / h)) for h in ("a", "b"))
    assert isinstance(one, Published)
    assert isinstance(two, Published)
    assert one.manifest_sha256 == two.manifest_sha256


def test_numbers_count_up_and_past_ten(tmp_path: Path) -> None:
    for i in range(11):
        published = publish_tables(tmp_path, make_release(tmp_path, 0.5 + i / 100))
        assert published.release == f"2026-03-01.{i + 1}"
    assert [i.release for i in reader.list_releases(tmp_path)][-2:] == ["2026-03-01.10", "2026-03-01.11"]
    later = publish_tables(tmp_path, make_release(tmp_path, 0.1), today=datetime.date(2026, 3, 2))
    assert later.release == "2026-03-02.1"
    assert isinstance(later, Published)
    assert later.previous == "2026-03-01.11"
    back = publish_tables(tmp_path, make_release(tmp_path, 0.2), today=TODAY)
    assert back.release == "2026-03-02.2"
    assert whole(tmp_path) == "2026-03-02.2"


@pytest.mark.parametrize(
    ("name", "error"),
    [("baci_flows", "intermediate"), ("surprise", "no contract")],
)
def test_only_released_tables_are_carried(tmp_path: Path, name: str, error: str) -> None:
    with pytest.raises(ContractBroken, match=error):
        publish_tables(tmp_path, {**make_release(tmp_path), name: BACI_FLOWS.empty()})
    assert not list((tmp_path / "releases").glob("2*"))


@pytest.mark.parametrize("name", ["../x", "/x", "a/../b", "manifest.json", "register.parquet", "a\\b", "./a"])
def test_attachments_stay_inside(tmp_path: Path, name: str) -> None:
    facts: dict[str, Any] = {"parameters": {}, "method_versions": {}, "source_vintages": {}, "seed": 1, "today": TODAY}
    with pytest.raises(WrongUse, match="attachment"):
        publish(tmp_path, make_release(tmp_path), {name: b""}, **facts)


# What is signed


def test_a_signature_reaches_the_register(tmp_path: Path) -> None:
    publish_tables(tmp_path, make_release(tmp_path))
    approve(tmp_path)
    published = publish_tables(tmp_path, make_release(tmp_path))
    row = reader.read_table(tmp_path, "register").to_pylist()[0]
    assert (row["review_status"], row["provisional"], row["signed_role"]) == ("signed", False, "policy adviser")
    decisions = reader.read_table(tmp_path, "review_decisions").to_pylist()
    assert [d["decision"] for d in decisions] == ["approve"]
    content = b"".join(p.read_bytes() for p in published.path.rglob("*") if p.is_file())
    assert b"Vermeer" not in content
    changed = reader.read_table(tmp_path, "changes").to_pylist()
    assert {(c["what"], c["before"], c["after"], c["kind"]) for c in changed} == {
        ("review_status", "awaiting_sign_off", "signed", "review"),
        ("provisional", "true", "false", "review"),
    }


SIGNED = {
    "review_status": "signed",
    "provisional": False,
    "signed_role": "policy adviser",
    "signed_on": "2026-01-01T00:00:00Z",
}


@pytest.mark.parametrize(
    "claim",
    [SIGNED, {"provisional": False}, {"review_status": "signed"}, {"signed_role": "minister"}, {"signed_on": "2026"}],
)
@pytest.mark.parametrize("history", ["none", "rejected", "other evidence", "approved then rejected"])
def test_a_forged_signature_is_refused(tmp_path: Path, claim: dict[str, Any], history: str) -> None:
    publish_tables(tmp_path, make_release(tmp_path))
    if history == "rejected":
        approve(tmp_path, decision="reject")
    elif history == "other evidence":
        approve(tmp_path, value=0.9)
    elif history == "approved then rejected":
        approve(tmp_path)
        approve(tmp_path, decision="reject")
    with pytest.raises(UnsignedClaim, match="NLD, magnets"):
        publish_tables(tmp_path, make_release(tmp_path, register=claim))
    assert whole(tmp_path) == "2026-03-01.1"
    assert not list((tmp_path / "releases").glob(".building*"))


@pytest.mark.parametrize("claim", [{"signed_role": "minister"}, {"signed_on": "2020-01-01"}, {"provisional": True}])
def test_a_true_signature_told_otherwise_is_refused(tmp_path: Path, claim: dict[str, Any]) -> None:
    approve(tmp_path)
    with pytest.raises(UnsignedClaim, match="otherwise"):
        publish_tables(tmp_path, make_release(tmp_path, register=claim))


def test_a_claim_without_dossier_is_refused(tmp_path: Path) -> None:
    approve(tmp_path)
    tables = make_release(tmp_path)
    del tables["dossiers"]
    with pytest.raises(UnsignedClaim, match="without a dossier"):
        publish_tables(tmp_path, tables)


def test_a_dossier_whose_hash_is_not_its_own_is_refused(tmp_path: Path) -> None:
    approve(tmp_path)
    tables = make_release(tmp_path)
    text = pa.array(['{"group":"magnets","value":0.0}'])
    tables["dossiers"] = tables["dossiers"].set_column(2, tables["dossiers"].schema.field(2), text)
    with pytest.raises(ContractBroken, match="hash beside it"):
        publish_tables(tmp_path, tables)


def test_changed_evidence_reopens_and_is_published_as_such(tmp_path: Path) -> None:
    approve(tmp_path)
    publish_tables(tmp_path, make_release(tmp_path))
    publish_tables(tmp_path, make_release(tmp_path, 0.6))
    row = reader.read_table(tmp_path, "register").to_pylist()[0]
    assert (row["review_status"], row["provisional"], row["signed_role"]) == ("reopened", True, None)


def test_a_ledger_that_lost_published_decisions_stops_the_release(tmp_path: Path) -> None:
    approve(tmp_path)
    publish_tables(tmp_path, make_release(tmp_path))
    for path in sorted((tmp_path / "review").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    with pytest.raises(UnsignedClaim, match=r"does not hold the decisions of release 2026-03-01\.1"):
        publish_tables(tmp_path, make_release(tmp_path, 0.6))


def test_a_damaged_ledger_stops_the_release(tmp_path: Path) -> None:
    approve(tmp_path)
    tables = make_release(tmp_path)
    ledger_path(tmp_path).write_bytes(ledger_path(tmp_path).read_bytes() + b'{"seq')
    with pytest.raises(LedgerDamaged, match="line 2"):
        publish_tables(tmp_path, tables)


def test_nothing_is_built_on_a_damaged_release(tmp_path: Path) -> None:
    first = publish_tables(tmp_path, make_release(tmp_path))
    path = first.path / "flags.parquet"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ReleaseDamaged, match=r"flags\.parquet"):
        publish_tables(tmp_path, make_release(tmp_path, 0.6))


# Crashes


class Crash(BaseException):
    """The machine stops here: nothing after it runs."""


STEPS = ("fsync", "rename", "replace", "chmod", "mkdir")


@contextlib.contextmanager
def crashing(at: int) -> Iterator[None]:
    """Let the n-th call that touches the disk be the last one; what comes after it, cleaning up included, fails."""
    count = [0]
    with pytest.MonkeyPatch.context() as patch:
        for name in (*STEPS, "unlink", "rmdir"):
            real = getattr(os, name)

            def step(*args: Any, real: Callable[..., Any] = real, name: str = name, **kwargs: Any) -> Any:
                if count[0] >= at:
                    raise Crash
                if name in STEPS:
                    count[0] += 1
                if count[0] == at:
                    real(*args, **kwargs)
                    raise Crash
                return real(*args, **kwargs)

            patch.setattr(os, name, step)
        yield


@pytest.mark.slow
def test_a_crash_at_any_step_leaves_the_previous_release_and_a_clean_rerun(tmp_path: Path) -> None:
    base = tmp_path / "base"
    publish_tables(base, make_release(base))
    approve(base)
    tables = make_release(base, 0.6)
    seen, after_switch = 0, 0
    for step in range(1, 500):
        home = tmp_path / str(step)
        shutil.copytree(base, home)
        try:
            with crashing(step):
                publish_tables(home, tables)
        except Crash:
            seen += 1
        else:
            break
        latest = whole(home)
        after_switch += latest != "2026-03-01.1"
        values = set(reader.read_table(home, "indicators").column("value").drop_null().to_pylist())
        assert values == ({0.5} if latest == "2026-03-01.1" else {0.6})
        again = publish_tables(home, tables)
        assert isinstance(again, Unchanged if latest != "2026-03-01.1" else Published)
        assert whole(home) == "2026-03-01.2"
        assert reader.latest(home).previous == "2026-03-01.1"
        left = sorted(p.name for p in (home / "releases").iterdir() if p.name != ".publish.lock")
        assert left == ["2026-03-01.1", "2026-03-01.2", "latest.json"]
    else:
        pytest.fail("the publishing never came to its end")
    assert seen > 50
    assert after_switch > 0


def test_a_crash_in_the_first_publication_leaves_no_release(tmp_path: Path) -> None:
    for step in (5, 20, 35):
        home = tmp_path / str(step)
        with pytest.raises(Crash), crashing(step):
            publish_tables(home, make_release(home))
        with pytest.raises(reader.NoRelease, match="no release yet"):
            reader.latest(home)
        assert publish_tables(home, make_release(home)).release == "2026-03-01.1"


def test_a_whole_release_that_was_not_pointed_to_is_not_overwritten(tmp_path: Path) -> None:
    publish_tables(tmp_path, make_release(tmp_path))

    def dies(*_: object) -> None:
        raise Crash

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ketenpipe.observatory.release._point", dies)
        with pytest.raises(Crash):
            publish_tables(tmp_path, make_release(tmp_path, 0.6))
    orphan = (tmp_path / "releases/2026-03-01.2/manifest.json").read_bytes()
    other = publish_tables(tmp_path, make_release(tmp_path, 0.7))
    assert other.release == "2026-03-01.3"
    assert (tmp_path / "releases/2026-03-01.2/manifest.json").read_bytes() == orphan
    assert whole(tmp_path) == "2026-03-01.3"


def test_kill_minus_nine_while_publishing(tmp_path: Path) -> None:
    publish_tables(tmp_path, make_release(tmp_path))
    script = """
import sys
from pathlib import Path
from ketenpipe_tests.observatory.conftest import make_release, publish_tables
home = Path(sys.argv[1])
print("ready", flush=True)
i = 0
while True:
    i += 1
    publish_tables(home, make_release(home, 0.1 + i / 1000))
"""
    for delay in (0.03, 0.11, 0.23, 0.31):
        with subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
            process.wait(timeout=30)
        whole(tmp_path)
        published = publish_tables(tmp_path, make_release(tmp_path, 0.9 + delay / 10))
        assert whole(tmp_path) == published.release
        left = [p.name for p in (tmp_path / "releases").iterdir() if p.name.startswith(".")]
        assert left == [".publish.lock"]


# Tables that are read while they are written


BY_YEAR = replace(INDICATORS, key=("year", *(k for k in INDICATORS.key if k != "year")))


def in_years(table: pa.Table) -> tuple[Callable[[], list[pa.RecordBatch]], ...]:
    """The table a year at a time, sorted by its key."""
    years = sorted(set(table.column("year").to_pylist()))
    parts = [BY_YEAR.conform(table.filter(pc.field("year") == year)) for year in years]
    return tuple(part.to_batches for part in parts)


@pytest.mark.parametrize("order", ["rising", "falling", "mixed"])
def test_a_stored_table_gives_the_release_that_one_in_memory_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: str
) -> None:
    monkeypatch.setitem(TABLES, "indicators", BY_YEAR)
    in_memory, streamed = tmp_path / "memory", tmp_path / "streamed"
    for value in (0.5, 0.6):
        tables = make_release(in_memory, value, years=(2022, 2023, 2024))
        tables["indicators"] = BY_YEAR.conform(tables["indicators"])
        parts = in_years(tables["indicators"])
        parts = {"rising": parts, "falling": parts[::-1], "mixed": (*parts[1:], parts[0])}[order]
        given: dict[str, Any] = {**tables, "indicators": Stored(BY_YEAR, parts)}
        for name in ("register", "dossiers", "sources"):
            given[name] = Stored(TABLES[name], (tables[name].to_batches,))
        one, two = publish_tables(in_memory, tables), publish_tables(streamed, given)
        assert isinstance(one, Published)
        assert isinstance(two, Published)
        assert one.manifest_sha256 == two.manifest_sha256
    assert whole(streamed) == "2026-03-01.2"
    assert isinstance(publish_tables(streamed, given), Unchanged)


def test_a_stored_table_that_rises_is_never_whole_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TABLES, "indicators", BY_YEAR)
    tables: dict[str, Any] = make_release(tmp_path)
    tables["indicators"] = Stored(BY_YEAR, in_years(tables["indicators"]))
    monkeypatch.setattr(Stored, "read", lambda self: pytest.fail("read as a whole"))
    assert publish_tables(tmp_path, tables).release == "2026-03-01.1"


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [("unit", None, "column unit has 4 null"), ("level", "country", "level has 'country', which is not one of")],
)
def test_a_stored_table_that_breaks_its_contract_publishes_nothing(
    tmp_path: Path, column: str, value: str | None, words: str
) -> None:
    publish_tables(tmp_path, make_release(tmp_path))
    tables: dict[str, Any] = make_release(tmp_path, 0.6)
    spoilt = tables["indicators"]
    at = spoilt.column_names.index(column)
    rows = [*spoilt.column(column).to_pylist()[:4], *[value] * (spoilt.num_rows - 4)]
    spoilt = spoilt.set_column(at, spoilt.schema.field(at).with_nullable(True), pa.array(rows, pa.string()))
    tables["indicators"] = Stored(INDICATORS, (spoilt.to_batches,))
    with pytest.raises(ContractBroken, match=words):
        publish_tables(tmp_path, tables)
    assert whole(tmp_path) == "2026-03-01.1"
    left = sorted(p.name for p in (tmp_path / "releases").iterdir() if p.name != ".publish.lock")
    assert left == ["2026-03-01.1", "latest.json"]
    tables["indicators"] = Stored(TABLES["flags"], (tables["flags"].to_batches,))
    with pytest.raises(ContractBroken, match="table indicators: columns"):
        publish_tables(tmp_path, tables)
