"""``ketenpipe shock`` says in one line when the tables that it reads were made of other inputs than those of now."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import dagster as dg
import pytest

from ketenpipe.dag.resources import Workspace
from ketenpipe.dag.versions import Passed, Versions, _name, _write_checked, outdated
from ketenpipe.settings import load_settings
from ketenpipe.sources.places import embedded
from ketenpipe.tables.registry import CHAIN_EDGES, CHAIN_NODES, EXPOSURE, ORIGIN_MIX, PRODUCTION, SUPPLY_MIX
from ketenpipe_tests.test_cli_shock import _clean, call, home  # noqa: F401 fixtures

READ = (EXPOSURE, CHAIN_NODES, CHAIN_EDGES, PRODUCTION, ORIGIN_MIX, SUPPLY_MIX)
ASKED = ("--country", "CHN", "--node", "ore", "--focus", "NLD")
LINE = (
    "Not made of the sources, the catalogue and the settings as they are now: {}. Run 'ketenpipe run'; options of that "
    "run (--sources, --catalogue, ...) are seen here only if ketenpipe.toml or the environment state them.\n"
)


@pytest.fixture
def proven(home: Path, tmp_path: Path) -> Path:  # noqa: F811
    """The home as a run would have left it: every table of 2020 made of the inputs as they are, and checked."""
    folder = tmp_path / "home"
    shutil.copytree(home, folder)
    workspace = Workspace.of(load_settings(home=folder))
    versions, found = Versions(workspace), {}
    for table in READ:
        partition = "2020" if table.partitioned else None
        key = dg.AssetKey([table.folder, table.name])
        left = workspace.store.sha256(table, partition)
        assert left is not None
        found[_name(key, partition)] = Passed(versions.wanted(key, partition), left)
    _write_checked(workspace, found)
    return folder


def test_of_the_inputs_of_now_nothing_is_said(proven: Path) -> None:
    assert outdated(Workspace.of(load_settings(home=proven)), READ, 2020) == []
    shown = call(proven, *ASKED)
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert json.loads(call(proven, *ASKED, "--json").stdout)["inputs"] is None


def test_another_setting_names_the_tables_that_rest_on_it(proven: Path) -> None:
    (proven / "ketenpipe.toml").write_text("depth = 1\n")
    shown = call(proven, *ASKED)
    assert shown.exit_code == 0
    assert shown.stderr == LINE.format("exposure, chain_nodes, chain_edges")
    found = json.loads(call(proven, *ASKED, "--json").stdout)
    assert found["inputs"] + "\n" == shown.stderr
    assert found["rows"]


def test_another_source_names_them_all(proven: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = tmp_path / "sources"
    shutil.copytree(embedded("sample"), sources)
    monkeypatch.setenv("KETENPIPE_SOURCES", str(sources))
    assert call(proven, *ASKED).stderr == ""  # the same bytes in another place are the same sources
    (year,) = (sources / "baci").glob("BACI_HS92_Y2020_*.csv.gz")
    year.write_bytes(gzip.compress(gzip.decompress(year.read_bytes()) + b"\n", mtime=0))
    beside = year.with_name(year.name + ".meta.json")
    told = json.loads(beside.read_text())
    beside.write_text(json.dumps({k: v for k, v in told.items() if k not in ("sha256", "bytes")}))
    assert "exposure" in call(proven, *ASKED).stderr
    assert "production, origin_mix, supply_mix. Run 'ketenpipe run'" in call(proven, *ASKED).stderr


def test_a_year_that_was_never_checked_is_named(proven: Path) -> None:
    assert outdated(Workspace.of(load_settings(home=proven)), READ, 2019) == ["production", "origin_mix", "supply_mix"]


def test_sources_that_are_gone_are_told_and_the_shock_is_shown(proven: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KETENPIPE_SOURCES", str(proven / "nowhere"))
    shown = call(proven, *ASKED)
    assert shown.exit_code == 0
    assert "NLD, 2020: CHN stops 100 % of its exports of ore" in shown.stdout
    assert shown.stderr.startswith("Whether the tables are up to date cannot be told: ")
    assert "nowhere" in shown.stderr
    assert len(shown.stderr.splitlines()) == 1
