"""The official sources end to end: fetched from a stand-in, archived, reconciled, published, month after month."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from ketenpipe.cli import app
from ketenpipe.dag.graph import graph_of
from ketenpipe.dag.location import assemble
from ketenpipe.dag.partitions import range_tags
from ketenpipe.dag.run import open_instance
from ketenpipe.dag.specs import key
from ketenpipe.observatory import reader
from ketenpipe.settings import Settings, load_settings
from ketenpipe.sources.archive import Archive
from ketenpipe.tables.registry import COMTRADE_MONTHLY, RECONCILED_MONTHLY
from ketenpipe.tables.store import Store
from ketenpipe_tests.upstream.official import CODES, FREIGHT, KEY, Official, baci_zip, reports
from ketenpipe_tests.upstream.server import Upstream, upstream

pytestmark = pytest.mark.slow

Call = Callable[..., Result]


@pytest.fixture(scope="module")
def server() -> Iterator[Upstream]:
    with upstream() as running:
        yield running


@pytest.fixture(scope="module")
def official(server: Upstream) -> Official:
    return Official(server)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, official: Official) -> Path:
    home = tmp_path_factory.mktemp("home")
    official.write(home)
    return home


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, server: Upstream) -> Iterator[None]:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"KETENPIPE_{name.upper()}", raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    yield
    server.behave()


@pytest.fixture
def call(home: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.setenv("KETENPIPE_COMTRADE_KEY", KEY)

    def go(*arguments: str) -> Result:
        return CliRunner().invoke(app, [*arguments, "--home", str(home)])

    return go


# Fewer draws than by default: what is asked here is where the data come from.
RUN = ("run", "--sources", "official", "--bloc", "EU27", "--draws", "100")


def steps(result: Result, mark: str) -> set[str]:
    """The steps that are marked so on stderr."""
    lines = [line for line in result.stderr.splitlines() if line.startswith(mark)]
    return {line.removeprefix(mark).rsplit(" (", 1)[0].strip() for line in lines}


def test_without_a_key_and_without_an_archive(home: Path) -> None:
    empty = CliRunner().invoke(app, ["run", "--sources", "official", "--no-fetch", "--home", str(home)])
    assert empty.exit_code == 3
    assert "run 'ketenpipe sources fetch' first" in empty.stderr
    keyless = CliRunner().invoke(app, ["sources", "fetch", "comtrade", "--home", str(home)])
    assert keyless.exit_code == 2
    assert "KETENPIPE_COMTRADE_KEY" in keyless.stderr
    assert "put under comtrade/" in keyless.stderr


def test_one_command_fetches_computes_and_publishes(call: Call, home: Path) -> None:
    result = call(*RUN)
    assert result.exit_code == 0, result.stderr
    assert {"Looking at the sources", "Reconciling monthly reports of both partners", "Publishing"} <= steps(
        result, "done"
    )
    release = reader.latest(home)
    sources = {row["source"] for row in release.read("sources").to_pylist()}
    assert {"baci", "wgi", "mining", "icio", "comtrade"} <= sources
    assert "comtrade" in release.manifest["source_vintages"]
    (zipped,) = Archive(home).files("baci")
    assert zipped.path.parent.name.startswith("V202501-")
    assert json.loads(zipped.path.with_name(zipped.name + ".meta.json").read_text())["licence"] == "a licence"


def test_the_nowcast_is_what_was_reported_without_the_freight(home: Path) -> None:
    release = reader.latest(home)
    rows = release.read("nowcast").to_pylist()
    code = CODES[0]
    bought = sum(t.value for t in reports(2024, ["2024"]) if t.flow == "M" and t.reporter == 528 and t.code == code)
    told = [
        r for r in rows
        if (r["focus"], r["code"], r["indicator"], r["measure"]) == ("NLD", code, "M", "v") and r["value"] is not None
    ]  # fmt: skip
    assert {r["frequency"] for r in told} == {"A", "M"}
    for row in told:
        assert row["value"] == pytest.approx(bought / FREIGHT / 1000, rel=1e-3)
        assert row["basis"] == "reconciled_comtrade"
    late = [
        r for r in release.read("indicators").to_pylist()
        if r["basis"] == "reconciled_comtrade" and (r["focus"], r["code"], r["indicator"]) == ("NLD", code, "C1")
    ]  # fmt: skip
    assert late
    assert min(r["year"] for r in late) == 2025
    assert all("twelve months to" in r["reason"] for r in late)
    # nothing raw is published: no reporter's own figure, no partner table of reports
    assert not {"comtrade_monthly", "comtrade_annual", "reconciled_monthly", "reconciled_annual"} & set(release.tables)


def test_a_second_run_fetches_and_makes_nothing(call: Call, home: Path, server: Upstream) -> None:
    before, asked = reader.latest(home).release, len(server.asked)
    files = [f.path for f in Archive(home).files()]
    result = call(*RUN)
    assert result.exit_code == 0, result.stderr
    assert steps(result, "done") == {"Looking at the sources"}
    assert "Nothing changed" in result.stdout
    assert reader.latest(home).release == before
    assert [f.path for f in Archive(home).files()] == files
    assert not [a for a in server.asked[asked:] if "/get/" in a.path]


def test_a_reported_month_makes_anew_only_what_rests_on_reports(call: Call, home: Path, official: Official) -> None:
    trades = list(official.comtrade.trades)
    newest = max(t.period for t in trades if t.frequency == "M")
    official.comtrade.trades = [
        t if (t.period, t.reporter) != (newest, 528) else type(t)(**{**vars(t), "value": t.value * 2}) for t in trades
    ]
    flows = Store(home).path(RECONCILED_MONTHLY, f"{newest[:4]}-{newest[4:]}")
    older = sorted(flows.parent.glob("*.parquet"))[0].stat().st_mtime_ns
    result = call(*RUN)
    assert result.exit_code == 0, result.stderr
    assert "Reconciling monthly reports of both partners" in steps(result, "done")
    assert not {
        "Reading trade flows",
        "Reading annual UN Comtrade reports",
        "Reconciling annual reports of both partners",
        "Tracing every product to where it was made",
        "Reading governance scores",
    } & steps(result, "done")
    assert sorted(flows.parent.glob("*.parquet"))[0].stat().st_mtime_ns == older
    assert len({f.slot for f in Archive(home).files("comtrade")}) < len(Archive(home).files("comtrade"))
    official.comtrade.trades = trades


def test_a_changed_file_under_the_same_name_is_a_new_vintage_and_is_reported(
    call: Call, home: Path, server: Upstream
) -> None:
    was = server.files["/wgi.csv"].content
    server.serve("/wgi.csv", was.replace(b",2024,", b",2024,", 1).rstrip(b"\n") + b"\n\n")
    result = call("sources", "fetch", "wgi")
    assert result.exit_code == 0, result.stderr
    assert "changed" in result.stderr
    assert len(Archive(home).files("wgi")) == 2
    server.serve("/wgi.csv", was)
    assert call("sources", "fetch", "wgi").exit_code == 0
    assert len(Archive(home).files("wgi")) == 2


def test_when_upstream_fails_the_release_stays_and_the_archive_still_computes(
    call: Call, home: Path, server: Upstream
) -> None:
    before = reader.latest(home).release
    server.misbehave("status", "/world_mining_data.csv", times=None, status=404)
    result = call(*RUN)
    assert result.exit_code == 1
    assert "world_mining_data.csv: there is no such file" in result.stderr
    assert "Traceback" not in result.stderr
    assert reader.latest(home).release == before
    told = call("sources", "fetch", "--json")
    document = json.loads(told.stdout)
    assert told.exit_code == document["error"]["exit_code"] == 1
    assert {f["slot"]: f["state"] for f in document["files"]}["mining/wmd"] == "failed"
    again = call(*RUN, "--no-fetch")
    assert again.exit_code == 0, again.stderr


def test_a_new_release_replaces_the_whole_series(call: Call, home: Path, official: Official) -> None:
    official.baci(baci_zip(release="V202601"), "V202601")
    result = call(*RUN)
    assert result.exit_code == 0, result.stderr
    flows = Store(home).home / "tables" / "sources" / "baci_flows"
    stamps = {s for p in flows.glob("*.parquet") for s in pq.read_table(p, columns=["release"])[0].unique().to_pylist()}
    assert stamps == {"V202601"}
    assert {f.label for f in Archive(home).files("baci")} == {"V202501", "V202601"}


def test_status_and_verify(call: Call, home: Path) -> None:
    shown = json.loads(call("sources", "status", "--json").stdout)
    assert {r["slot"] for r in shown} >= {"baci/HS92", "wgi/PV", "mining/wmd", "icio/SML", "comtrade"}
    assert not [r for r in shown if r["enabled"] and r["stale"]]
    whole = json.loads(call("sources", "verify", "--json").stdout)
    assert whole["whole"]
    assert whole["files"] == len(Archive(home).files())
    victim = Archive(home).files("mining")[0].path
    victim.chmod(0o644)
    kept = victim.read_bytes()
    victim.write_bytes(kept[:-1] + b"x")
    broken = call("sources", "verify")
    assert broken.exit_code == 1
    assert victim.name in broken.stderr
    victim.write_bytes(kept)
    assert call("sources", "verify").exit_code == 0


def test_the_key_is_nowhere_under_the_home(home: Path) -> None:
    for path in (p for p in home.rglob("*") if p.is_file()):
        assert KEY.encode() not in path.read_bytes(), path


# -- in Dagster ------------------------------------------------------------------------------------------------


@pytest.fixture
def settings(home: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("KETENPIPE_COMTRADE_KEY", KEY)
    return load_settings(home=home, sources="official", bloc="EU27", draws=100)


def test_the_sensor_starts_a_refresh_once_per_state(settings: Settings, official: Official) -> None:
    definitions = assemble(settings)
    sensor = definitions.resolve_sensor_def("new_reports_sensor")

    def tick() -> dg.SensorResult | list[dg.RunRequest] | None:
        with (
            dg.DagsterInstance.ephemeral() as instance,
            dg.build_sensor_context(instance=instance, resources=dict(definitions.resources or {})) as context,
        ):
            return sensor.evaluate_tick(context)

    assert tick().run_requests == []
    trades = list(official.comtrade.trades)
    newest = max(t.period for t in trades if t.frequency == "M")
    official.comtrade.trades = [
        t if t.period != newest else type(t)(**{**vars(t), "value": t.value + 1}) for t in trades
    ]
    first, second = tick().run_requests, tick().run_requests
    assert len(first) == 1
    assert first[0].run_key == second[0].run_key
    official.comtrade.trades = trades


def test_the_refresh_job_is_the_same_run(settings: Settings, home: Path, official: Official) -> None:
    trades = list(official.comtrade.trades)
    newest = max(t.period for t in trades if t.frequency == "M")
    official.comtrade.trades = [
        t if (t.period, t.reporter) != (newest, 276) else type(t)(**{**vars(t), "value": t.value * 3}) for t in trades
    ]
    definitions = assemble(settings)
    with open_instance(home) as instance:
        result = definitions.resolve_job_def("monthly_refresh").execute_in_process(
            instance=instance, run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        )
        assert result.success
        runs = instance.get_runs(limit=5)
        assert {r.job_name for r in runs} == {"monthly_refresh", "__ASSET_JOB"}
        assert all(r.status == dg.DagsterRunStatus.SUCCESS for r in runs)
    official.comtrade.trades = trades


def test_a_backfill_of_an_older_month_fetches_it(settings: Settings, home: Path, official: Official) -> None:
    official.comtrade.trades = [*official.comtrade.trades, *reports(2023, ["2023-05"])]
    checked = Archive(home).checked_at("baci/HS92")
    job = graph_of(settings).resolve_implicit_global_asset_job_def()
    with open_instance(home) as instance:
        job.execute_in_process(
            instance=instance,
            asset_selection=[key(COMTRADE_MONTHLY)],
            tags=dict(range_tags(("2023-05", "2023-05"))),
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
    table = Store(home).read(COMTRADE_MONTHLY, ["2023-05"])
    assert table.num_rows
    assert pc.sum(table["value_kusd"]).as_py() > 0
    # an old month that is read late freshens nothing
    assert Archive(home).checked_at("baci/HS92") == checked
