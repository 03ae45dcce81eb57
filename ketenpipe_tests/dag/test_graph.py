"""The graph as Dagster sees it: keys, groups, job, schedule and checks are a contract with whoever uses the UI."""

from __future__ import annotations

import datetime
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.partitions.context import partition_loading_context

from ketenpipe.dag.checks import build_checks
from ketenpipe.dag.lineage import asset_graph
from ketenpipe.dag.location import assemble
from ketenpipe.dag.partitions import BACI, COMTRADE_MONTHS, COMTRADE_YEARS, ICIO, RANGE_END, RANGE_START, range_tags
from ketenpipe.definitions import build_defs, defs
from ketenpipe.errors import InputRefused
from ketenpipe.settings import load_settings
from ketenpipe.tables.registry import TABLES

WARNINGS = {"reports_have_codes", "accounts_are_unremarkable", "sources_are_fresh", "everybody_has_reported"}
ASSETS = {
    "sources": [
        "archive", "baci_flows", "comtrade_annual", "comtrade_monthly", "elasticity", "governance", "hs_weights",
        "icio_accounts", "icio_audit", "input_files", "margins_annual", "margins_monthly", "mining_production",
        "reconciled_annual", "reconciled_monthly", "reliability_annual", "reliability_monthly", "reporting_coverage",
    ],
    "chain": [
        "chain_edges", "chain_nodes", "exposure", "graph_edges", "graph_measures", "graph_nodes",
        "industry_coefficients", "industry_exposure", "industry_measures", "industry_tiers", "origin_mix", "paths",
        "product_industries", "product_join", "product_tiers", "product_uses", "production", "supply_mix", "tracing",
    ],
    "risk": [
        "alternatives", "chain_indicators", "country_risk", "criticality_indicators", "drawn_verdicts", "flags",
        "importers", "indicators", "industry_indicators", "method_agreement", "method_differences", "named_methods",
        "network_indicators", "nowcast", "nowcast_check", "product_indicators", "robustness", "shocks",
        "substitutability", "tier_flags", "tier_indicators", "uncertainty",
    ],
    "review": ["dossiers", "review_decisions"],
    "observatory": [
        "catalogue", "changes", "crma_monitor", "data_grades", "explanations", "labels", "pictures", "register",
        "release", "sources", "validation",
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    return assemble(load_settings(home=tmp_path_factory.mktemp("home")))


def test_keys_and_groups_are_the_folders_of_the_method(definitions: dg.Definitions) -> None:
    found: dict[str, list[str]] = {}
    for spec in definitions.resolve_all_asset_specs():
        folder, name = spec.key.path
        # Substitutability stands in a group of its own within step two.
        assert spec.group_name == ("substitutability" if name == "substitutability" else folder)
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


def test_each_source_has_its_partitions(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    schemes = {
        key.path[-1]: graph.get(key).partitions_def
        for key in graph.materializable_asset_keys
        if graph.get(key).partitions_def is not None
    }
    assert schemes == {
        "baci_flows": BACI.definition,
        "production": BACI.definition,
        "origin_mix": BACI.definition,
        "tracing": BACI.definition,
        "supply_mix": BACI.definition,
        "product_indicators": BACI.definition,
        "importers": BACI.definition,
        "criticality_indicators": BACI.definition,
        "network_indicators": BACI.definition,
        "substitutability": BACI.definition,
        "product_uses": BACI.definition,
        "product_join": BACI.definition,
        "product_tiers": BACI.definition,
        "tier_indicators": BACI.definition,
        "tier_flags": BACI.definition,
        "icio_accounts": ICIO.definition,
        "icio_audit": ICIO.definition,
        "comtrade_annual": COMTRADE_YEARS.definition,
        "reconciled_annual": COMTRADE_YEARS.definition,
        "margins_annual": COMTRADE_YEARS.definition,
        "reliability_annual": COMTRADE_YEARS.definition,
        "comtrade_monthly": COMTRADE_MONTHS.definition,
        "reconciled_monthly": COMTRADE_MONTHS.definition,
        "margins_monthly": COMTRADE_MONTHS.definition,
        "reliability_monthly": COMTRADE_MONTHS.definition,
    }
    assert BACI.keys()[0] == "1995"
    assert COMTRADE_MONTHS.keys()[0] == "2010-01"


def test_a_month_is_asked_for_one_whole_month_after_it_ended() -> None:
    at = datetime.datetime(2026, 11, 24, tzinfo=datetime.UTC)
    with partition_loading_context(effective_dt=at):
        assert COMTRADE_MONTHS.keys()[-1] == "2026-09"
        assert BACI.keys()[-1] == "2025"


def test_job_and_schedule(definitions: dg.Definitions) -> None:
    assert definitions.resolve_job_def("monthly_refresh").name == "monthly_refresh"
    schedule = definitions.resolve_schedule_def("monthly_refresh_schedule")
    assert schedule.cron_schedule == "0 6 12 * *"
    assert schedule.execution_timezone == "Europe/Amsterdam"
    assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED


def test_the_schedule_asks_for_one_refresh_a_month(definitions: dg.Definitions) -> None:
    schedule = definitions.resolve_schedule_def("monthly_refresh_schedule")
    at = datetime.datetime(2026, 12, 12, 6, tzinfo=datetime.UTC)
    with (
        dg.DagsterInstance.ephemeral() as instance,
        dg.build_schedule_context(instance=instance, scheduled_execution_time=at) as context,
    ):
        tick = schedule.evaluate_tick(context)
    assert [r.run_key for r in tick.run_requests] == ["monthly 2026-12-12"]


def test_every_table_has_a_blocking_check_and_warnings_are_named() -> None:
    specs = [spec for checks in build_checks() for spec in checks.check_specs]
    checked = {tuple(spec.asset_key.path) for spec in specs if spec.name == "schema_and_keys"}
    assert checked == {(t.folder, t.name) for t in TABLES.values()}
    assert {spec.name for spec in specs if spec.blocking} == {
        "schema_and_keys",
        "one_release_per_series",
        "one_vintage_per_year",
        "no_total_rows",
        "weights_sum_to_one",
        "accounts_add_up",
        "origin_rows_sum_to_one",
        "tracing_rows_sum_to_supply",
        "supply_shares_sum_to_one",
        "lookthrough_sums_to_one",
        "hhi_within_bounds",
        "unsigned_is_provisional",
    }
    assert {spec.name for spec in specs if not spec.blocking} == WARNINGS


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


def test_spans_of_partitions() -> None:
    assert BACI.spans([]) == []
    assert BACI.spans(["2021", "2018", "2019", "2019"]) == [("2018", "2019"), ("2021", "2021")]
    assert COMTRADE_MONTHS.spans(["2023-12", "2024-01", "2024-03"]) == [("2023-12", "2024-01"), ("2024-03", "2024-03")]
    assert range_tags(("2018", "2020")) == {RANGE_START: "2018", RANGE_END: "2020"}


def test_a_partition_that_cannot_be_out_yet_is_refused() -> None:
    with pytest.raises(InputRefused, match="BACI flows of 2999, but they run from 1995"):
        BACI.spans(["2018", "2999"])
    with pytest.raises(InputRefused, match="monthly UN Comtrade reports of 2999-01"):
        COMTRADE_MONTHS.spans(["2999-01"])
    with pytest.raises(InputRefused, match="input-output tables of 1950"):
        ICIO.spans(["1950"])
    assert COMTRADE_YEARS.spans(["1988"]) == [("1988", "1988")]
