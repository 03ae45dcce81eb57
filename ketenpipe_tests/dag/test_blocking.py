"""A blocking check that fails stops the run: one sentence, and what was published stays as it was."""

from __future__ import annotations

import errno
import gzip
import shutil
import sqlite3
from pathlib import Path

import dagster as dg
import pyarrow.compute as pc
import pytest

from ketenpipe.chain import tracing as chain_tracing
from ketenpipe.dag.assets import chain as chain_assets
from ketenpipe.dag.resources import Workspace
from ketenpipe.dag.run import no_room, open_instance, run_pipeline, unwrapped
from ketenpipe.dag.specs import key
from ketenpipe.errors import AuditFailed, ContractBroken, Interrupted
from ketenpipe.observatory import reader
from ketenpipe.settings import load_settings
from ketenpipe.sources.places import embedded
from ketenpipe.tables.registry import COMTRADE_ANNUAL, RECONCILED_ANNUAL, SUPPLY_MIX
from ketenpipe_tests.upstream.comtrade import Trade, api_row, envelope


def test_shares_that_do_not_add_up_publish_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = chain_tracing.trace_year

    def leaking(*arguments: object, **named: object) -> chain_tracing.Tracing:
        traced = real(*arguments, **named)  # type: ignore[arg-type]
        at = SUPPLY_MIX.names.index("share_traced")
        halved = pc.multiply(traced.supply_mix.column("share_traced"), 0.5)
        mix = traced.supply_mix.set_column(at, SUPPLY_MIX.column("share_traced").field(), halved)
        return chain_tracing.Tracing(traced.production, traced.origin_mix, traced.tracing, mix)

    monkeypatch.setattr(chain_assets, "trace_year", leaking)
    with pytest.raises(ContractBroken, match="share_traced"):
        run_pipeline(load_settings(home=tmp_path, years="2022", focus=("NLD",)))
    assert not (tmp_path / "releases").exists()
    assert not (tmp_path / "ketenpipe.duckdb").exists()


def some_sources(folder: Path, *names: str) -> Path:
    """The sample's last year of trade, with the folders that are named."""
    sample = embedded("sample")
    (folder / "baci").mkdir(parents=True)
    for path in (sample / "baci").iterdir():
        if "_Y20" not in path.name or "Y2024" in path.name:
            shutil.copy(path, folder / "baci")
    for name in names:
        shutil.copytree(sample / name, folder / name)
    return folder


def test_an_input_output_table_that_fails_its_audit_is_refused_by_name(tmp_path: Path) -> None:
    sources = some_sources(tmp_path / "sources", "icio")
    (path,) = (sources / "icio").glob("*.csv.gz")
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    cells = lines[1].split(",")
    lines[1] = ",".join([*cells[:5], str(float(cells[5]) + 1e6), *cells[6:]])
    for beside in (sources / "icio").glob("*.meta.json"):
        beside.unlink()
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    settings = load_settings(home=tmp_path / "home", sources=str(sources), focus=("NLD",))
    for _ in range(2):  # a rerun finds it again
        with pytest.raises(
            AuditFailed, match=r"icio/2022_SML_SYNTHETIC\.csv\.gz, the input-output table of 2022: "
        ) as no:
            run_pipeline(settings)
        assert no.value.exit_code == 3
    assert not (tmp_path / "home" / "releases").exists()


@pytest.mark.slow
def test_reports_without_a_code_of_baci_are_said_and_stop_nothing(tmp_path: Path) -> None:
    sources = some_sources(tmp_path / "sources")
    (sources / "comtrade").mkdir()
    rows = [api_row(Trade("2024", 528, "M", "999888", 156, 5e6, 1e3, "H6"))]
    (sources / "comtrade" / "C_A_HS_2024.json").write_bytes(envelope(rows))
    settings = load_settings(home=tmp_path / "home", sources=str(sources), focus=("NLD",), bloc=("EU27",))
    run_pipeline(settings)
    workspace = Workspace.of(settings)
    assert workspace.without_codes(COMTRADE_ANNUAL, RECONCILED_ANNUAL) == ["2024"]
    assert "nowcast" not in reader.latest(settings.home).tables
    with open_instance(settings.home) as instance:
        found = instance.event_log_storage.get_latest_asset_check_execution_by_key(
            [dg.AssetCheckKey(key(RECONCILED_ANNUAL), "reports_have_codes")]
        )
    (record,) = found.values()
    evaluation = record.event.dagster_event.asset_check_evaluation_data  # type: ignore[union-attr]
    assert not evaluation.passed
    assert "reports of 2024 were read, but none has a code in HS92" in str(evaluation.description)


def test_a_stopped_run_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise dg.DagsterExecutionInterruptedError

    monkeypatch.setattr(dg.JobDefinition, "execute_in_process", stopped)
    with pytest.raises(Interrupted, match="another run goes on from there"):
        run_pipeline(load_settings(home=tmp_path, years="2024"))


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (sqlite3.OperationalError("database or disk is full"), True),
        (sqlite3.OperationalError("disk I/O error"), True),
        (sqlite3.OperationalError("no such table: runs"), False),
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.ENOENT, "No such file"), False),
    ],
)
def test_a_full_disk_is_known_in_whatever_words(error: Exception, full: bool) -> None:
    wrapped = RuntimeError("a step failed")
    wrapped.__cause__ = error
    assert no_room(wrapped) is full
    error.__cause__ = wrapped  # a circle, as Dagster's wrappers make them
    assert no_room(wrapped) is full
    assert unwrapped(wrapped) is None
