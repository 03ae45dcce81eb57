"""Runs that Dagster starts by itself: the lock of the home, what is tried again, what the sensor says."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import uuid
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import dagster as dg
import pytest

from ketenpipe.dag import jobs, resources
from ketenpipe.dag.assets import sources as source_assets
from ketenpipe.dag.graph import graph_of
from ketenpipe.dag.jobs import RETRIES
from ketenpipe.dag.location import assemble
from ketenpipe.dag.partitions import BACI, COMTRADE_MONTHS, ICIO, range_tags
from ketenpipe.dag.resources import Workspace
from ketenpipe.dag.run import QUIET, open_instance, unwrapped
from ketenpipe.dag.specs import key
from ketenpipe.errors import ContractBroken, HomeLocked, InputRefused, KetenpipeError, QuotaExhausted, UpstreamFailed
from ketenpipe.settings import Settings, load_settings
from ketenpipe.tables.lock import home_lock
from ketenpipe.tables.registry import (
    BACI_FLOWS,
    COMTRADE_MONTHLY,
    GOVERNANCE,
    ICIO_ACCOUNTS,
    ICIO_AUDIT,
    MARGINS_MONTHLY,
    RECONCILED_MONTHLY,
    RELIABILITY_MONTHLY,
)

# -- the lock ------------------------------------------------------------------------------------------------------


def hold(home: Path, told: Connection) -> None:
    """Hold a home's lock until told."""
    with home_lock(home, "somebody else"):
        told.send("held")
        told.recv()


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Connection]:
    """Another process that holds the home's lock; anything sent to it lets go."""
    ours, theirs = multiprocessing.Pipe()
    other = multiprocessing.get_context("spawn").Process(target=hold, args=(tmp_path, theirs), daemon=True)
    other.start()
    assert ours.recv() == "held"
    yield ours
    if other.is_alive():
        other.kill()
    other.join()


def read_governance(home: Path, listener: object = None) -> dg.ExecuteInProcessResult:
    """A run that Dagster started: no tag says that the command did."""
    job = graph_of(load_settings(home=home)).resolve_implicit_global_asset_job_def()
    run_id = str(uuid.uuid4())
    with open_instance(home) as instance:
        if listener is not None:
            instance.add_event_listener(run_id, listener)  # type: ignore[arg-type]
        return job.execute_in_process(
            instance=instance, run_id=run_id, asset_selection=[key(GOVERNANCE)], run_config=QUIET
        )


def test_a_run_of_dagster_waits_for_the_home(tmp_path: Path, held: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "POLL", 0.05)
    waited: list[str] = []

    def listen(entry: dg.EventLogEntry) -> None:
        if entry.dagster_event is None and "waits until it is free" in entry.user_message:
            waited.append(entry.user_message)
            held.send("let go")

    assert read_governance(tmp_path, listen).success
    (sentence,) = waited
    assert sentence.startswith(f"{tmp_path}: somebody else (process ")
    assert sentence.endswith("holds the home's lock; this run waits until it is free")


def test_it_does_not_wait_for_ever(tmp_path: Path, held: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "PATIENCE", 0.0)
    with pytest.raises(dg.DagsterError) as caught:
        read_governance(tmp_path)
    refused = unwrapped(caught.value)
    assert isinstance(refused, HomeLocked)
    assert "somebody else (process " in str(refused)
    assert not (tmp_path / "tables").exists()


def test_a_tick_takes_no_lock(tmp_path: Path, held: Connection) -> None:
    definitions = assemble(load_settings(home=tmp_path, sources="official"))
    assert tick(definitions).skip_message is not None


# -- the refresh ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "attempts"),
    [
        (UpstreamFailed("a server is out of reach"), RETRIES + 1),
        (UpstreamFailed("there is no such file", passing=False), 1),
        (QuotaExhausted("the calls of the day are used up"), 1),
        (ContractBroken("a check failed"), 1),
        (InputRefused("a damaged file"), 1),
        (HomeLocked("another run holds it"), 1),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, Exception) else str(v),
)
def test_only_what_passes_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: KetenpipeError, attempts: int
) -> None:
    asked: list[Settings] = []

    def run(settings: Settings, *_: object, **__: object) -> None:
        asked.append(settings)
        raise error

    monkeypatch.setattr(jobs, "run_pipeline", run)
    monkeypatch.setattr(jobs, "PAUSE", 0)
    job = assemble(load_settings(home=tmp_path, depth=1)).resolve_job_def("monthly_refresh")
    with open_instance(tmp_path) as instance:
        result = job.execute_in_process(instance=instance, raise_on_error=False, run_config=QUIET)
        assert not result.success
        assert len(asked) == attempts
        assert {s.depth for s in asked} == {1}
        (failure,) = [e for e in result.all_events if e.event_type == dg.DagsterEventType.STEP_FAILURE]
        assert str(error) in str(failure.step_failure_data.error)


@pytest.mark.parametrize(("by", "attempts"), [({}, RETRIES + 1), ({resources.BY: "ketenpipe run"}, 1)])
def test_the_command_sees_the_sentence_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: dict[str, str], attempts: int
) -> None:
    asked = []

    def fetch(*_: object, **__: object) -> None:
        asked.append(1)
        raise UpstreamFailed("a server is out of reach")

    monkeypatch.setattr(source_assets, "fetch_official", fetch)
    monkeypatch.setattr(source_assets, "PAUSE", 0)
    job = graph_of(load_settings(home=tmp_path, sources="official")).resolve_implicit_global_asset_job_def()
    with open_instance(tmp_path) as instance:
        selected = [dg.AssetKey(["sources", "archive"])]
        job.execute_in_process(
            instance=instance, asset_selection=selected, tags=by, raise_on_error=False, run_config=QUIET
        )
    assert len(asked) == attempts


# -- the sensor ----------------------------------------------------------------------------------------------------


def tick(definitions: dg.Definitions) -> dg.SensorResult:
    sensor = definitions.resolve_sensor_def("new_reports_sensor")
    with (
        dg.DagsterInstance.ephemeral() as instance,
        dg.build_sensor_context(instance=instance, resources=dict(definitions.resources or {})) as context,
    ):
        return sensor.evaluate_tick(context)  # type: ignore[return-value]


def test_the_sensor_says_why_it_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KETENPIPE_COMTRADE_KEY", raising=False)
    assert tick(assemble(load_settings(home=tmp_path))).skip_message == (
        "the sources are not the official ones (set KETENPIPE_SOURCES=official)"
    )
    official = assemble(load_settings(home=tmp_path, sources="official"))
    assert tick(official).skip_message == "there is no key of UN Comtrade (set KETENPIPE_COMTRADE_KEY)"
    (tmp_path / "reference").mkdir()
    (tmp_path / "reference" / "upstreams.toml").write_text("[comtrade\n")
    monkeypatch.setenv("KETENPIPE_COMTRADE_KEY", "hush")
    assert "upstreams.toml: not readable as TOML" in str(tick(official).skip_message)
    (tmp_path / "ketenpipe.toml").write_text("depth = 'deep'\n")
    assert "setting 'depth'" in str(tick(official).skip_message)


# -- partitions that are not there ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tables", "partition", "sentence"),
    [
        ((BACI_FLOWS,), "1996", "the sources hold no BACI flows of 1996"),
        ((ICIO_ACCOUNTS, ICIO_AUDIT), "1996", "the sources hold no input-output table of 1996"),
        ((COMTRADE_MONTHLY,), "2012-05", "the sources hold no UN Comtrade reports of 2012-05"),
        (
            (RECONCILED_MONTHLY, MARGINS_MONTHLY, RELIABILITY_MONTHLY),
            "2012-05",
            "there are no UN Comtrade reports of 2012-05 to reconcile; materialise comtrade_monthly of 2012-05 first",
        ),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_a_backfill_of_what_the_sources_do_not_hold(
    tmp_path: Path, tables: tuple[object, ...], partition: str, sentence: str
) -> None:
    job = graph_of(load_settings(home=tmp_path)).resolve_implicit_global_asset_job_def()
    with open_instance(tmp_path) as instance:
        if RECONCILED_MONTHLY in tables:
            selected = [dg.AssetKey(["sources", n]) for n in ("archive", "hs_weights")]
            job.execute_in_process(
                instance=instance,
                asset_selection=[key(BACI_FLOWS)],
                tags=dict(range_tags(("2024", "2024"))),
                run_config=QUIET,
            )
            job.execute_in_process(instance=instance, asset_selection=selected, run_config=QUIET)
        with pytest.raises(Exception) as caught:  # noqa: PT011  whatever Dagster wraps around it
            job.execute_in_process(
                instance=instance,
                asset_selection=[key(t) for t in tables],  # type: ignore[arg-type]
                tags=dict(range_tags((partition, partition))),
                run_config=QUIET,
            )
    refused = unwrapped(caught.value)
    assert isinstance(refused, InputRefused)
    assert sentence in str(refused)
    assert {BACI.keys()[1], ICIO.keys()[31], COMTRADE_MONTHS.keys()[28]} == {"1996", "2012-05"}


# -- the screen ----------------------------------------------------------------------------------------------------


def test_no_warning_of_a_library_reaches_the_screen(tmp_path: Path) -> None:
    """Neither where the command refuses after everything was loaded, nor where Dagster loads the definitions."""
    command = [sys.executable, "-m", "ketenpipe.cli", "run", "--home", str(tmp_path), "--years", "1890"]
    load = "from ketenpipe.definitions import defs; import dagster as dg; dg.Definitions.validate_loadable(defs())"
    for arguments in (command, [sys.executable, "-c", load]):
        shown = subprocess.run(arguments, capture_output=True, text=True, check=False)
        assert "Warning" not in shown.stderr + shown.stdout, shown.stderr
        assert "Traceback" not in shown.stderr, shown.stderr


def test_the_workspace_is_looked_at_once_while_it_is_pinned(tmp_path: Path) -> None:
    workspace = Workspace.of(load_settings(home=tmp_path))
    assert workspace.reference() is not workspace.reference()
    with workspace.pinned():
        reference, inventory = workspace.reference(), workspace.inventory()
        with workspace.pinned():
            assert workspace.reference() is reference
        assert workspace.reference() is reference
        assert workspace.inventory() is inventory
        years = workspace.baci_years()
        assert workspace.baci_years() is years
        workspace.look_again()
        assert workspace.reference() is reference
        assert workspace.baci_years() is not years
    assert workspace.reference() is not reference
