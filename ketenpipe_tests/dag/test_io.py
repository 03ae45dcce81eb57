"""The way between Dagster and the store: contract held, years written one by one, a range read in one call."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest

from ketenpipe.dag.io import ParquetIOManager, table_of
from ketenpipe.dag.partitions import BACI_YEARS
from ketenpipe.dag.resources import Workspace
from ketenpipe.dag.specs import key
from ketenpipe.errors import ContractBroken, KetenpipeError
from ketenpipe.settings import load_settings
from ketenpipe.tables.registry import BACI_FLOWS, COUNTRY_RISK


@pytest.fixture
def manager(tmp_path: Path) -> ParquetIOManager:
    return ParquetIOManager(workspace=Workspace.of(load_settings(home=tmp_path, years="2018-2019")))


def flows(year: int, release: str = "V1") -> pa.Table:
    row = {"hs_revision": "HS92", "year": year, "code": "260400", "exporter": "NOR", "importer": "NLD"}
    return BACI_FLOWS.conform([{**row, "value_kusd": Decimal("1.000"), "tonnes": 2.0, "release": release}])


def risk(country: str = "NOR") -> pa.Table:
    row = {"country": country, "year": 2020, "estimate": 1.0, "risk": 0.3, "dimension": "PV", "vintage": "2024"}
    return COUNTRY_RISK.conform([row])


class Output:
    """What the manager asks of an output context."""

    def __init__(self, asset_key: dg.AssetKey, *years: str) -> None:
        self.asset_key, self.asset_partition_keys = asset_key, list(years)


class Input(Output):
    """What the manager asks of an input context."""

    asset_partitions_def = BACI_YEARS


def test_a_table_comes_back_as_it_was(manager: ParquetIOManager) -> None:
    manager.handle_output(dg.build_output_context(asset_key=key(COUNTRY_RISK)), risk())
    assert manager.load_input(dg.build_input_context(asset_key=key(COUNTRY_RISK))).equals(risk())


def test_what_breaks_the_contract_is_not_written(manager: ParquetIOManager) -> None:
    context = dg.build_output_context(asset_key=key(COUNTRY_RISK))
    manager.handle_output(context, risk())
    with pytest.raises(ContractBroken, match="country_risk"):
        manager.handle_output(context, risk("SWE").drop_columns("risk"))
    with pytest.raises(ContractBroken, match="columns"):
        manager.handle_output(context, risk("SWE").select(list(reversed(risk().column_names))))
    assert manager.load_input(dg.build_input_context(asset_key=key(COUNTRY_RISK))).equals(risk())


def test_years_are_written_one_by_one_and_a_range_is_one_call(manager: ParquetIOManager) -> None:
    years = ["2018", "2019", "2020"]
    manager.handle_output(Output(key(BACI_FLOWS), *years), ((y, flows(int(y))) for y in years))
    assert manager.workspace.store.partitions(BACI_FLOWS) == years
    got = manager.load_input(Input(key(BACI_FLOWS), "2019", "2020"))
    assert got.column("year").to_pylist() == [2019, 2020]


def test_all_years_means_the_years_of_the_run(manager: ParquetIOManager) -> None:
    years = ["2017", "2018", "2019", "2020"]
    manager.handle_output(Output(key(BACI_FLOWS), *years), ((y, flows(int(y))) for y in years))
    everything = Input(key(BACI_FLOWS), *BACI_YEARS.get_partition_keys())
    assert manager.load_input(everything).column("year").to_pylist() == [2018, 2019]


def test_a_missing_year_is_said_and_not_left_out(manager: ParquetIOManager) -> None:
    with pytest.raises(KetenpipeError, match="2019 were asked for"):
        manager.handle_output(Output(key(BACI_FLOWS), "2018", "2019"), iter([("2018", flows(2018))]))
    with pytest.raises(KetenpipeError, match="2020 was not asked for"):
        manager.handle_output(Output(key(BACI_FLOWS), "2018"), iter([("2020", flows(2020))]))
    with pytest.raises(KetenpipeError, match="not there yet"):
        manager.load_input(Input(key(BACI_FLOWS), "2018", "2019"))


def test_the_last_year_stays_when_a_later_one_breaks(manager: ParquetIOManager) -> None:
    manager.handle_output(Output(key(BACI_FLOWS), "2018"), flows(2018, "V1"))
    with pytest.raises(ContractBroken):
        manager.handle_output(Output(key(BACI_FLOWS), "2018"), flows(2018, "V2").append_column("x", pa.array([1])))
    assert manager.load_input(Input(key(BACI_FLOWS), "2018")).column("release").to_pylist() == ["V1"]


def test_only_tables_of_the_registry(manager: ParquetIOManager) -> None:
    with pytest.raises(KetenpipeError, match="no table in the registry"):
        table_of(dg.AssetKey(["chain", "country_risk"]))
