"""The graph as Dagster sees it: keys, groups, job, schedule and checks are a contract with whoever uses the UI."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from ketenpipe.dag.checks import build_checks
from ketenpipe.dag.graph import assemble
from ketenpipe.dag.lineage import asset_graph
from ketenpipe.dag.partitions import BACI_YEARS, RANGE_END, RANGE_START, range_tags, spans
from ketenpipe.definitions import build_defs, defs
from ketenpipe.errors import InputRefused
from ketenpipe.settings import load_settings
from ketenpipe.tables.registry import TABLES

ASSETS = {
    "sources": ["baci_flows", "governance", "input_files", "mining_production"],
    "chain": [
        "chain_edges", "chain_nodes", "exposure", "industry_exposure", "industry_tiers", "origin_mix", "production",
        "supply_mix", "tracing",
    ],
    "risk": ["country_risk", "flags", "indicators"],
    "review": ["dossiers", "review_decisions"],
    "observatory": [
        "catalogue", "changes", "crma_monitor", "labels", "pictures", "register", "release", "sources",
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    return assemble(load_settings(home=tmp_path_factory.mktemp("home")))


def test_keys_and_groups_are_the_folders_of_the_method(definitions: dg.Definitions) -> None:
    found: dict[str, list[str]] = {}
    for spec in definitions.resolve_all_asset_specs():
        folder, name = spec.key.path
        assert spec.group_name == folder
        found.setdefault(folder, []).append(name)
    assert {folder: sorted(names) for folder, names in found.items()} == ASSETS


def test_every_asset_says_who_what_and_how(definitions: dg.Definitions) -> None:
    for spec in definitions.resolve_all_asset_specs():
        assert spec.owners == ["team:ketenpipe"], spec.key
        assert spec.kinds, spec.key
        assert spec.description, spec.key
        table = TABLES.get(spec.key.path[-1])
        if table is None or table.folder != spec.key.path[0]:
            continue
        schema = spec.metadata["dagster/column_schema"]
        assert [c.name for c in schema.columns] == table.names
        assert [c.constraints.nullable for c in schema.columns] == [c.nullable for c in table.columns]
        assert {"dagster/column_schema", "dagster/table_name"} <= set(spec.metadata)


def test_every_table_of_the_registry_is_an_asset(definitions: dg.Definitions) -> None:
    keys = {tuple(spec.key.path) for spec in definitions.resolve_all_asset_specs()}
    assert {(t.folder, t.name) for t in TABLES.values()} <= keys


def test_only_baci_is_partitioned_and_by_year(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    partitioned = [key for key in graph.materializable_asset_keys if graph.get(key).partitions_def is not None]
    assert partitioned == [dg.AssetKey(["sources", "baci_flows"])]
    assert BACI_YEARS.get_first_partition_key() == "1995"


def test_job_and_schedule(definitions: dg.Definitions) -> None:
    assert definitions.resolve_job_def("monthly_refresh").name == "monthly_refresh"
    schedule = definitions.resolve_schedule_def("monthly_refresh_schedule")
    assert schedule.cron_schedule == "0 6 1 * *"
    assert schedule.execution_timezone == "Europe/Amsterdam"
    assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED


def test_the_schedule_asks_for_every_year_of_the_sources(definitions: dg.Definitions) -> None:
    schedule = definitions.resolve_schedule_def("monthly_refresh_schedule")
    resources = dict(definitions.resources or {})
    with (
        dg.DagsterInstance.ephemeral() as instance,
        dg.build_schedule_context(instance=instance, resources=resources) as context,
    ):
        tick = schedule.evaluate_tick(context)
    assert not (Path(resources["workspace"].home) / ".lock").exists()
    assert [{k: r.tags[k] for k in (RANGE_START, RANGE_END)} for r in tick.run_requests] == [
        {RANGE_START: "2018", RANGE_END: "2024"}
    ]


def test_every_check_blocks_and_every_table_has_one() -> None:
    specs = [spec for checks in build_checks() for spec in checks.check_specs]
    assert all(spec.blocking for spec in specs)
    checked = {tuple(spec.asset_key.path) for spec in specs if spec.name == "schema_and_keys"}
    assert checked == {(t.folder, t.name) for t in TABLES.values() if t.name != "changes"}
    assert {spec.name for spec in specs} == {
        "schema_and_keys",
        "one_release_per_series",
        "one_vintage_per_year",
        "no_total_rows",
        "origin_rows_sum_to_one",
        "tracing_rows_sum_to_supply",
        "supply_shares_sum_to_one",
        "lookthrough_sums_to_one",
        "hhi_within_bounds",
        "unsigned_is_provisional",
    }


def test_the_door_loads_and_takes_overrides(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KETENPIPE_HOME", str(tmp_path))
    built = build_defs(overrides={"io_manager": dg.mem_io_manager})
    assert built.resources is not None
    assert built.resources["io_manager"] is dg.mem_io_manager
    assert built.resources["workspace"].home == str(tmp_path)
    dg.Definitions.validate_loadable(defs())


def test_the_default_executor_is_in_process(definitions: dg.Definitions) -> None:
    assert definitions.executor is dg.in_process_executor


def test_lineage_runs_downward(definitions: dg.Definitions) -> None:
    graph = asset_graph(definitions)
    assert set(graph.nodes) == {f"{folder}/{name}" for folder, names in ASSETS.items() for name in names}
    assert graph.nodes["chain/tracing"]["group"] == "chain"
    ancestors = {"sources/baci_flows", "chain/tracing", "risk/indicators", "review/dossiers", "observatory/register"}
    import networkx as nx

    assert ancestors <= nx.ancestors(graph, "observatory/release")


def test_spans_of_years() -> None:
    assert spans([]) == []
    assert spans([2021, 2018, 2019, 2019]) == [(2018, 2019), (2021, 2021)]


def test_a_year_that_cannot_be_out_yet_is_refused() -> None:
    assert range_tags(2018, 2020) == {RANGE_START: "2018", RANGE_END: "2020"}
    with pytest.raises(InputRefused, match="flows of 2999"):
        range_tags(2018, 2999)
