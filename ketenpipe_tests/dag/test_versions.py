"""What is fresh stays as it is: a changed source makes anew what depends on it, and nothing else."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from ketenpipe.dag.graph import graph_of
from ketenpipe.dag.resources import Workspace, months_to
from ketenpipe.dag.run import Progress, Step, _batches, run_pipeline, steps_of
from ketenpipe.dag.specs import key
from ketenpipe.dag.versions import Versions, parents, read_checked
from ketenpipe.errors import ContractBroken, KetenpipeError
from ketenpipe.settings import load_settings
from ketenpipe.sources.places import embedded
from ketenpipe.tables import checks
from ketenpipe.tables.registry import BACI_FLOWS, GOVERNANCE, INDICATORS, INPUT_FILES

Run = Callable[..., dict[str, list[str]]]


@pytest.fixture(scope="module")
def drop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample's last two years as a drop folder."""
    folder = tmp_path_factory.mktemp("drop")
    for name in ("wgi", "mining", "icio"):
        shutil.copytree(embedded("sample") / name, folder / name)
    (folder / "baci").mkdir()
    for path in (embedded("sample") / "baci").iterdir():
        if "_Y20" not in path.name or "Y2023" in path.name or "Y2024" in path.name:
            shutil.copy(path, folder / "baci")
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def run(home: Path, drop: Path) -> Run:
    """Run and say which steps were done and which were fresh."""

    def go(**settings: object) -> dict[str, list[str]]:
        said: dict[str, list[str]] = {"done": [], "fresh": [], "failed": []}

        def tell(progress: Progress) -> None:
            if progress.kind in said:
                said[progress.kind].append(progress.step)

        run_pipeline(load_settings(home=home, sources=str(drop), focus="NLD", bloc="EU27", **settings), tell)
        return said

    go()
    return go


def put(path: Path, content: bytes) -> None:
    """Change a file, and take its old hash out of its sidecar."""
    path.write_bytes(content)
    beside = path.with_name(path.name + ".meta.json")
    if beside.exists():
        meta = json.loads(beside.read_text())
        beside.write_text(json.dumps({k: v for k, v in meta.items() if k not in ("sha256", "bytes")}))


def test_nothing_is_made_twice(run: Run, home: Path) -> None:
    before = sorted(p.name for p in (home / "releases").iterdir())
    said = run()
    assert said["done"] == []
    assert "Reading trade flows" in said["fresh"]
    assert sorted(p.name for p in (home / "releases").iterdir()) == before


def test_a_changed_governance_file_leaves_flows_tracing_and_chains_alone(run: Run, drop: Path) -> None:
    (path,) = (drop / "wgi").glob("*.csv")
    lines = path.read_text().splitlines()
    at = next(n for n, line in enumerate(lines) if ",CHN," in line and ",2024," in line)
    parts = lines[at].split(",")
    lines[at] = ",".join([*parts[:4], "-1.5", *parts[5:]])
    put(path, ("\n".join(lines) + "\n").encode())
    said = run()
    assert {"Reading governance scores", "Scoring governance", "Computing indicators and flags", "Publishing"} <= set(
        said["done"]
    )
    untouched = {
        "Reading trade flows",
        "Reading mining statistics",
        "Reading and auditing input-output tables",
        "Tracing every product to where it was made",
        "Looking through the chains",
        "Looking through the input-output table",
    }
    assert untouched <= set(said["fresh"])
    assert not untouched & set(said["done"])


def test_a_changed_year_reads_that_year_only(run: Run, home: Path, drop: Path) -> None:
    stamps = {p.name: p.stat().st_mtime_ns for p in (home / "tables" / "sources" / "baci_flows").iterdir()}
    (path,) = (drop / "baci").glob("*Y2024*.csv.gz")
    text = gzip.decompress(path.read_bytes()).decode().splitlines()
    put(path, gzip.compress(("\n".join(text[:-1]) + "\n").encode()))
    said = run()
    assert "Reading trade flows" in said["done"]
    assert "Reading governance scores" in said["fresh"]
    now = {p.name: p.stat().st_mtime_ns for p in (home / "tables" / "sources" / "baci_flows").iterdir()}
    assert now["2023.parquet"] == stamps["2023.parquet"]
    assert now["2024.parquet"] > stamps["2024.parquet"]


def test_another_setting_reads_no_source_again(run: Run) -> None:
    said = run(depth=1)
    assert "Looking through the chains" in said["done"]
    assert {"Reading trade flows", "Reading governance scores", "Reading mining statistics"} <= set(said["fresh"])
    assert "Looking through the chains" in run()["done"]


def test_a_table_that_was_removed_is_made_again(run: Run, home: Path) -> None:
    (home / "tables" / "sources" / "governance.parquet").unlink()
    said = run()
    assert "Reading governance scores" in said["done"]
    assert "Reading trade flows" in said["fresh"]


def test_a_table_that_failed_its_check_is_not_fresh(run: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "tables" / "sources" / "governance.parquet").unlink()
    broken = checks.CheckResult("one_vintage_per_year", False, "made up", 1, {"year": 2024})
    from ketenpipe.dag import checks as dag_checks

    audit = dag_checks.AUDITS["governance"][1][0]

    def refuse(_: object) -> checks.CheckResult:
        return broken

    refuse.__name__ = audit.check.__name__
    refuse.__doc__ = audit.check.__doc__
    monkeypatch.setattr(
        dag_checks,
        "AUDITS",
        {**dag_checks.AUDITS, "governance": ((GOVERNANCE,), (dag_checks.Audit(GOVERNANCE, refuse),))},
    )
    with pytest.raises(ContractBroken, match="made up"):
        run()
    with pytest.raises(ContractBroken, match="made up"):
        run()
    monkeypatch.undo()
    assert "Reading governance scores" in run()["done"]


def test_the_release_does_not_carry_fingerprints(run: Run, home: Path) -> None:
    import pyarrow.parquet as pq

    for path in (home / "releases").rglob("*.parquet"):
        assert not [k for k in pq.read_schema(path).metadata or {} if k.startswith(b"ketenpipe.")], path


def test_a_record_of_checks_that_cannot_be_read_is_said(run: Run, home: Path, drop: Path) -> None:
    record = home / "tables" / "checked.json"
    kept = record.read_bytes()
    record.write_text("[1")
    try:
        with pytest.raises(KetenpipeError, match=r"checked\.json: not readable .* remove it"):
            run()
    finally:
        record.write_bytes(kept)
    assert read_checked(Workspace.of(load_settings(home=home, sources=str(drop))))


def test_secrets_change_nothing(home: Path, drop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def own() -> str:
        return Versions(Workspace.of(load_settings(home=home, sources=str(drop)))).own(key(INDICATORS), None)

    without = own()
    monkeypatch.setenv("KETENPIPE_COMTRADE_KEY", "hush")
    assert own() == without
    workspace = Workspace.of(load_settings(home=home, sources=str(drop)))
    assert "hush" not in repr(workspace) + str(workspace.model_dump())
    assert workspace.comtrade_key() is not None


# -- what runs when --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    return graph_of(load_settings(home=tmp_path_factory.mktemp("empty")))


def batches(definitions: dg.Definitions, *stale: str) -> list[tuple[set[str], str | None]]:
    steps = steps_of(definitions)
    everything = {s.name for s in steps}
    chosen = set(stale) or everything
    assert chosen <= everything
    found = _batches(steps, {name: ["x"] for name in chosen}, definitions.resolve_asset_graph())
    return [(names, scheme and scheme.what) for names, scheme in found]


def test_one_run_per_scheme_and_what_is_needed_first(definitions: dg.Definitions) -> None:
    found = batches(definitions)
    seen: set[str] = set()
    steps: dict[str, Step] = {s.name: s for s in steps_of(definitions)}
    maker = {k: s.name for s in steps.values() for k in s.assets}
    for names, _ in found:
        for name in names:
            needed = {maker[p] for k in steps[name].assets for p in parents()[k] if maker[p] != name}
            assert needed <= seen | names
        seen |= names
    assert seen == set(steps)
    assert len([1 for _, what in found if what == "BACI flows"]) == 1
    assert found[-1][1] is None


def test_without_reports_there_are_three_runs(definitions: dg.Definitions) -> None:
    steps = {s.name for s in steps_of(definitions)} - {
        "comtrade_years", "comtrade_months", "reconciled_years", "reconciled_months"
    }  # fmt: skip
    assert [what for _, what in batches(definitions, *sorted(steps))] == [
        None, "BACI flows", "input-output tables", None
    ]  # fmt: skip


def test_a_step_alone(definitions: dg.Definitions) -> None:
    assert batches(definitions, "flows") == [({"flows"}, "BACI flows")]


def test_months_of_a_window() -> None:
    assert months_to("2026-02", 3) == ["2025-12", "2026-01", "2026-02"]
    assert len(months_to("2026-09")) == 12
    assert months_to("2026-09")[0] == "2025-10"


def test_parents_are_those_of_the_graph(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    assert {k: set(v) for k, v in parents().items()} == {
        k: set(graph.get(k).parent_keys) for k in graph.materializable_asset_keys
    }
    assert key(BACI_FLOWS) in parents()[key(INPUT_FILES)]
