"""The door for people: what is in the help works, exit codes, one sentence per refusal, figures only from a release."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from ketenpipe.cli import _kind, app
from ketenpipe.observatory import reader
from ketenpipe.settings import Settings
from ketenpipe.sources.archive import Archive, Provenance
from ketenpipe.sources.places import embedded

COMMANDS = {
    (): {"run", "sources", "review", "release", "db", "shock", "explain"},
    ("sources",): {"fetch", "status", "verify"},
    ("review",): {"list", "show", "approve", "reject", "revise"},
    ("release",): {"list", "verify", "diff"},
}


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"KETENPIPE_{name.upper()}", raising=False)
    monkeypatch.setenv("COLUMNS", "100")


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def refused(result: Result, code: int, words: str) -> None:
    assert result.exit_code == code, result.output
    assert re.search(words, result.stderr), result.stderr
    assert "Traceback" not in result.output + result.stderr


@pytest.mark.parametrize("group", COMMANDS)
def test_help_lists_what_works_and_nothing_else(group: tuple[str, ...]) -> None:
    shown = call(*group, "--help")
    assert shown.exit_code == 0
    below = shown.stdout.split("Commands:")[1]
    assert set(re.findall(r"^  (\w+) ", below, re.M)) == COMMANDS[group]


@pytest.mark.parametrize("group", COMMANDS)
def test_every_command_has_home_and_json(group: tuple[str, ...]) -> None:
    for name in COMMANDS[group]:
        if group or name in ("run", "db", "shock", "explain"):
            shown = call(*group, name, "--help")
            assert shown.exit_code == 0
            assert "--home" in shown.stdout
            assert "--json" in shown.stdout


def test_wrong_use(tmp_path: Path) -> None:
    assert call("run", "--colour", "blue").exit_code == 2
    assert call("explain").exit_code == 2
    assert call("review", "approve", "cobalt", "--home", tmp_path).exit_code == 2
    refused(call("run", "--home", tmp_path, "--focus", "Holland"), 2, "focus.*HOLLAND.*three letters")
    refused(call("run", "--home", tmp_path, "--bloc", "EU15"), 2, "EU15.*not a bloc")
    refused(call("run", "--home", tmp_path, "--years", "1890"), 2, "no year of 1890 \\(they hold 2018-2024\\)")
    assert not (tmp_path / "releases").exists()


def test_inputs_that_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(call("run", "--home", tmp_path, "--sources", tmp_path / "empty"), 3, "no trade source")
    refused(call("run", "--home", tmp_path, "--sources", tmp_path / "nowhere"), 3, "no such sources folder")
    refused(call("run", "--home", tmp_path, "--catalogue", tmp_path / "nowhere"), 3, "no such catalogue folder")


def test_a_refusal_inside_a_step_is_one_sentence(tmp_path: Path) -> None:
    sources = tmp_path / "sources"
    shutil.copytree(embedded("sample") / "baci", sources / "baci", ignore=shutil.ignore_patterns("*Y20[12][0-8]*"))
    year = next((embedded("sample") / "baci").glob("*Y2018*.csv.gz"))
    (sources / "baci" / year.name).write_bytes(year.read_bytes()[:20_000])
    result = call("run", "--home", tmp_path / "home", "--sources", sources, "--years", "2018")
    refused(result, 3, f"{re.escape(year.name)}.*")
    assert len(result.stderr.strip().splitlines()[-1]) > 20
    as_json = call("run", "--home", tmp_path / "home", "--sources", sources, "--years", "2018", "--json")
    assert json.loads(as_json.stdout)["error"]["exit_code"] == 3
    assert not (tmp_path / "home" / "releases").exists()


def test_verify_names_every_archived_file_that_is_not_whole(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    one, two, three = (
        archive.keep("wgi", f"{name}.csv", name.encode(), Provenance(f"wgi/{name}", "2024")).file for name in "abc"
    )
    whole = call("sources", "verify", "--home", tmp_path)
    assert (whole.exit_code, whole.stdout.split(" are")[0]) == (0, "3 archived files")
    for path, content in ((one.path, b"x"), (two.path.with_name("b.csv.meta.json"), b"{")):
        path.chmod(0o644)
        path.write_bytes(content)
    result = call("sources", "verify", "--home", tmp_path, "--json")
    found = json.loads(result.stdout)
    assert (result.exit_code, found["whole"], found["files"]) == (1, False, 2)
    assert {p["path"] for p in found["problems"]} == {one.relative, f"{two.relative}.meta.json"}
    assert three.name not in result.stdout


def test_the_home_is_locked_by_another_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import filelock

    other = filelock.FileLock(tmp_path.resolve() / ".lock")
    with other:
        (tmp_path / ".lock.holder").write_text("ketenpipe run (process 1, since 2026-01-01 00:00 UTC)")
        refused(call("run", "--home", tmp_path), 4, "process 1, since .* holds the home's lock")


@pytest.mark.parametrize(
    "command", [("review", "list"), ("review", "show", "cobalt"), ("release", "verify"), ("db",)], ids=" ".join
)
def test_without_a_release(tmp_path: Path, command: tuple[str, ...]) -> None:
    refused(call(*command, "--home", tmp_path), 1, "there is no release yet; run 'ketenpipe run' first")


def test_sources_before_anything_was_fetched(tmp_path: Path) -> None:
    shown = json.loads(call("sources", "status", "--home", tmp_path, "--json").stdout)
    assert {"baci/HS17", "wgi/PV", "comtrade"} <= {row["slot"] for row in shown}
    assert all(row["stale"] and row["vintage"] is None for row in shown if row["enabled"])
    assert "KETENPIPE_COMTRADE_KEY" in call("sources", "status", "--home", tmp_path).stdout
    assert "archive is empty" in call("sources", "verify", "--home", tmp_path).stdout
    refused(call("sources", "fetch", "atlantis", "--home", tmp_path), 2, "no source or slot 'atlantis'")
    refused(call("sources", "fetch", "--file", tmp_path / "x.zip", "--home", tmp_path), 2, "--file takes one slot")
    refused(
        call("sources", "fetch", "icio/SML_2016-2022", "--file", tmp_path / "x.zip", "--home", tmp_path),
        3,
        "no such file",
    )
    refused(call("run", "--sources", "official", "--no-fetch", "--home", tmp_path), 3, "ketenpipe sources fetch")


def test_a_file_that_was_downloaded_by_hand_is_archived(tmp_path: Path) -> None:
    path = tmp_path / "2016-2022_SML.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("2022_SML.csv", "V1,OUT\n")
    home = tmp_path / "home"
    taken = call("sources", "fetch", "icio/SML_2016-2022", "--file", path, "--home", home, "--json")
    assert taken.exit_code == 0, taken.stderr
    assert json.loads(taken.stdout)["state"] == "new"
    assert path.exists()
    whole = json.loads(call("sources", "verify", "--home", home, "--json").stdout)
    assert (whole["files"], whole["whole"]) == (1, True)


def test_without_a_release_the_list_is_empty(tmp_path: Path) -> None:
    assert "no release yet" in call("release", "list", "--home", tmp_path).stdout
    assert json.loads(call("release", "list", "--home", tmp_path, "--json").stdout) == []


@pytest.mark.parametrize(
    ("flags", "indication", "kind"),
    [
        ((True, None, None), None, "direct"),
        ((True, True, True), "direct", "direct"),
        ((False, True, None), None, "chain"),
        ((None, False, True), None, "chain"),
        ((None, None, None), "direct, China 91%", "indicated"),
        ((False, False, False), None, "none"),
        ((None, False, False), None, "unknown"),
    ],
)
def test_kinds_of_verdicts(flags: tuple[bool | None, ...], indication: str | None, kind: str) -> None:
    names = ("direct_flag", "indirect_specific", "indirect_global")
    assert _kind({**dict(zip(names, flags, strict=True)), "indication": indication}) == kind


# -- one real run on the sample, three years of it --------------------------------------------------------------


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    home = tmp_path_factory.mktemp("home")
    result = CliRunner().invoke(app, ["run", "--home", str(home), "--years", "2022-2024", "--json"])
    assert result.exit_code == 0, result.stderr
    return home, json.loads(result.stdout)


def test_a_run_publishes_what_it_says(ran: tuple[Path, dict[str, Any]]) -> None:
    home, document = ran
    release = reader.latest(home)
    assert document["release"] == release.release
    assert document["published"] is True
    register = {(r["focus"], r["group"]): r for r in release.read("register").to_pylist()}
    assert len(document["verdicts"]) == len(register)
    for row in document["verdicts"]:
        assert row["verdict"] == register[row["focus"], row["group"]]["verdict"]
        assert row["provisional"] is True
    for place in document["places"].values():
        assert Path(place).exists()
    assert sorted((release.path / "pictures").glob("plane_*.png"))
    assert (release.path / "dossiers" / "cobalt.md").read_text().startswith("# ")
    assert (home / "dagster" / "dagster.yaml").read_text().count("enabled: false") == 2


def test_the_runs_stand_in_the_instance(ran: tuple[Path, dict[str, Any]]) -> None:
    from ketenpipe.dag.run import open_instance

    with open_instance(ran[0]) as instance:
        runs = instance.get_runs()
        assert {r.status.value for r in runs} == {"SUCCESS"}
        ranges = [r.tags.get("dagster/asset_partition_range_start") for r in runs]
        assert ranges.count("2022") >= 1
        assert ranges.count(None) >= 1
        assert not instance.telemetry_enabled


@pytest.mark.slow
def test_the_same_inputs_publish_nothing_new(ran: tuple[Path, dict[str, Any]]) -> None:
    home, first = ran
    again = call("run", "--home", home, "--years", "2022-2024")
    assert again.exit_code == 0, again.stderr
    assert f"Nothing changed: release {first['release']}" in " ".join(again.stdout.split())
    assert [r.release for r in reader.list_releases(home)] == [first["release"]]


@pytest.mark.slow
def test_sign_run_and_see_it_signed(ran: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(ran[0], home)
    who = ("--reviewer", "A. Expert", "--role", "adviser", "--rationale", "seen")
    refused(call("review", "approve", "gold", *who, "--home", home), 2, "no product group 'gold'")
    refused(
        call("review", "approve", "cobalt", *who, "--answer", "x=1", "--home", home), 2, "--answer takes field=text"
    )
    done = call("review", "approve", "cobalt", *who, "--answer", "judgement=confirmed", "--home", home)
    assert done.exit_code == 0, done.stderr
    listed = json.loads(call("review", "list", "--home", home, "--json").stdout)
    assert {d["group"]: d["status"] for d in listed["dossiers"]}["cobalt"] == "signed"
    again = json.loads(call("run", "--home", home, "--years", "2022-2024", "--json").stdout)
    assert again["published"] is True
    status = {(v["focus"], v["group"]): v["provisional"] for v in again["verdicts"]}
    assert status["NLD", "cobalt"] is False
    assert sum(not provisional for provisional in status.values()) == 2
    text = "".join(p.read_text(errors="replace") for p in reader.latest(home).path.rglob("*.md"))
    assert "A. Expert" not in text
    changes = json.loads(call("release", "diff", ran[1]["release"], again["release"], "--home", home, "--json").stdout)
    assert {c["kind"] for c in changes} == {"review"}


def test_reading_commands(ran: tuple[Path, dict[str, Any]]) -> None:
    home, document = ran
    assert "is whole" in call("release", "verify", "--home", home).stdout
    assert document["release"] in call("release", "list", "--home", home).stdout
    shown = call("review", "show", "cobalt", "--home", home)
    assert shown.stdout.startswith("# ")
    assert "provisional" in shown.stdout
    counted = call("db", "select count(*) as n from register", "--home", home, "--json")
    assert json.loads(counted.stdout) == [{"n": len(document["verdicts"])}]
    twice = call("db", "select 1 as n, 2 as n", "--home", home, "--json")
    assert json.loads(twice.stdout) == [{"n": 1, "n_2": 2}]
    refused(call("db", "selct 1", "--home", home), 2, "the query cannot be answered")
    assert "register" in call("db", "--home", home).stdout
    refused(call("release", "diff", "a", "b", "--home", home), 2, "no release id")


def test_a_damaged_release_is_told(ran: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(ran[0] / "releases", home / "releases")
    file = home / "releases" / ran[1]["release"] / "register.parquet"
    file.chmod(0o644)
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    result = call("release", "verify", "--home", home)
    assert result.exit_code == 1
    assert "register.parquet: its bytes are not those" in result.stderr
