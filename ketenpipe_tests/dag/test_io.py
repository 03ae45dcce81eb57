"""The way between Dagster and the store: contract held, years written one by one, a range read in one call."""

from __future__ import annotations

import multiprocessing
import threading
import time
import zipfile
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ketenpipe.dag.assets import sources as source_assets
from ketenpipe.dag.io import ParquetIOManager, table_of
from ketenpipe.dag.location import assemble
from ketenpipe.dag.partitions import BACI, range_tags
from ketenpipe.dag.resources import Workspace
from ketenpipe.dag.run import open_instance
from ketenpipe.dag.specs import key
from ketenpipe.errors import ContractBroken, KetenpipeError
from ketenpipe.settings import load_settings
from ketenpipe.sources import baci
from ketenpipe.sources.baci import list_years
from ketenpipe.sources.places import discover, embedded
from ketenpipe.tables.registry import BACI_FLOWS, COUNTRY_RISK
from ketenpipe.tables.stream import Stream


@pytest.fixture
def manager(tmp_path: Path) -> ParquetIOManager:
    return ParquetIOManager(workspace=Workspace.of(load_settings(home=tmp_path, years="2018-2019")))


#: The release of the embedded sample, whose years the tests' store stands for.
SAMPLE = list_years(discover(embedded("sample")))[0].release


def flows(year: int, release: str = SAMPLE) -> pa.Table:
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

    asset_partitions_def = BACI.definition


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
    everything = Input(key(BACI_FLOWS), *BACI.keys())
    assert manager.load_input(everything).column("year").to_pylist() == [2018, 2019]


def test_a_missing_year_is_said_and_not_left_out(manager: ParquetIOManager) -> None:
    with pytest.raises(KetenpipeError, match="2019 were asked for"):
        manager.handle_output(Output(key(BACI_FLOWS), "2018", "2019"), iter([("2018", flows(2018))]))
    with pytest.raises(KetenpipeError, match="2020 was not asked for"):
        manager.handle_output(Output(key(BACI_FLOWS), "2018"), iter([("2020", flows(2020))]))
    with pytest.raises(KetenpipeError, match="not there yet"):
        manager.load_input(Input(key(BACI_FLOWS), "2018", "2019"))


def test_the_last_year_stays_when_a_later_one_breaks(manager: ParquetIOManager) -> None:
    manager.handle_output(Output(key(BACI_FLOWS), "2018"), flows(2018))
    with pytest.raises(ContractBroken):
        manager.handle_output(Output(key(BACI_FLOWS), "2018"), flows(2018, "V2").append_column("x", pa.array([1])))
    assert manager.load_input(Input(key(BACI_FLOWS), "2018")).column("release").to_pylist() == [SAMPLE]


def test_a_stream_is_written_as_it_comes_and_what_a_killed_run_left_is_gone(manager: ParquetIOManager) -> None:
    years = ["2018", "2019"]
    left = manager.workspace.store.path(BACI_FLOWS, "2017").with_name(".2017.parquet.abc.part")
    left.parent.mkdir(parents=True)
    left.write_bytes(b"PAR1 half a file")
    parts = ((y, Stream(flows(int(y)).to_batches(), {b"year": y.encode()})) for y in years)
    manager.handle_output(Output(key(BACI_FLOWS), *years), parts)
    assert not left.exists()
    assert manager.load_input(Input(key(BACI_FLOWS), *years)).column("year").to_pylist() == [2018, 2019]
    manager.handle_output(Output(key(BACI_FLOWS), "2018"), Stream(flows(2018).to_batches()))
    assert b"year" not in pq.read_schema(manager.workspace.store.path(BACI_FLOWS, "2018")).metadata


def test_a_year_of_another_release_than_the_sources_hold_is_not_used(manager: ParquetIOManager) -> None:
    years = ["2018", "2019"]
    manager.handle_output(Output(key(BACI_FLOWS), *years), ((y, flows(int(y), "V202301")) for y in years))
    manager.handle_output(Output(key(BACI_FLOWS), "2019"), flows(2019))
    with pytest.raises(KetenpipeError, match=r"the year 2018 holds HS92 of release 'V202301' where the sources hold"):
        manager.load_input(Input(key(BACI_FLOWS), *BACI.keys()))
    assert manager.load_input(Input(key(BACI_FLOWS), "2019")).num_rows == 1
    manager.handle_output(Output(key(BACI_FLOWS), "2018"), flows(2018))
    assert manager.load_input(Input(key(BACI_FLOWS), *years)).num_rows == 2


def test_years_that_the_sources_no_longer_hold_must_agree_among_themselves(manager: ParquetIOManager) -> None:
    years = ["1996", "1997", "2018"]
    releases = dict(zip(years, ("V202301", "V202401b", SAMPLE), strict=True))
    manager.handle_output(Output(key(BACI_FLOWS), *years), ((y, flows(int(y), r)) for y, r in releases.items()))
    with pytest.raises(KetenpipeError, match="HS92 is of release 'V202301' in 1996 and of 'V202401b' in 1997"):
        manager.load_input(Input(key(BACI_FLOWS), *years))


def drop_folder(root: Path, release: str = "V202401b") -> Path:
    """Two years in two HS revisions, a few thousand rows each, in release zips."""
    for revision in ("HS92", "HS17"):
        path = root / "baci" / f"BACI_{revision}_{release}.zip"
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for year in (2021, 2022):
                rows = [f"{year},528,{j},{k:06d},  {k}.5,NA" for j in (842, 276) for k in range(260400, 262400)]
                archive.writestr(f"BACI_{revision}_Y{year}_{release}.csv", "\n".join(["t,i,j,k,v,q", *rows]))
            codes = "\n".join(["code,description", *(f"{k},x" for k in range(260400, 262400))])
            archive.writestr(f"product_codes_{revision}_{release}.csv", codes)
    return root


def ingest(home: Path, sources: Path, first: int = 2021, last: int = 2022) -> None:
    """The asset ``flows`` of the real graph, for a range of years."""
    settings = load_settings(home=home, sources=str(sources))
    job = assemble(settings).resolve_implicit_global_asset_job_def()
    with open_instance(home) as instance:
        job.execute_in_process(
            instance=instance, asset_selection=[key(BACI_FLOWS)], tags=dict(range_tags((str(first), str(last))))
        )


def ingest_and_stall(home: Path, sources: Path, batches: int) -> None:
    """The same in small row groups, but never goes on after so many of them."""
    real, given = source_assets.read_year_batches, [0]

    def stalling(*arguments: Any) -> tuple[Iterator[pa.RecordBatch], Any]:
        rows, record = real(*arguments)

        def some() -> Iterator[pa.RecordBatch]:
            for batch in rows:
                if given[0] == batches:
                    threading.Event().wait()  # until it is killed
                given[0] += 1
                yield batch

        return some(), record

    source_assets.read_year_batches = stalling  # type: ignore[assignment]
    baci.ROW_GROUP = 500
    ingest(home, sources)


def tables(home: Path) -> dict[str, bytes]:
    """Every table below ``tables/``, unfinished ones included."""
    found = (p for p in sorted((home / "tables").rglob("*")) if p.is_file() and p.name != "checked.json")
    return {p.name: p.read_bytes() for p in found}


def test_a_killed_ingest_leaves_whole_years_and_resumes_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(baci, "ROW_GROUP", 500)
    home, sources = tmp_path / "home", drop_folder(tmp_path / "drop")
    ingest(tmp_path / "undisturbed", sources)
    whole = tables(tmp_path / "undisturbed")
    assert list(whole) == ["2021.parquet", "2022.parquet"]
    # A year is 16 row groups, 8 per HS revision: killed in 2022, in the second revision.
    context = multiprocessing.get_context("spawn")
    child = context.Process(target=ingest_and_stall, args=(home, sources, 27), daemon=True)
    child.start()
    deadline = time.monotonic() + 120
    try:
        # The footer of so many small row groups is most of the file and comes last.
        while not [p for p in home.rglob(".2022.parquet.*.part") if p.stat().st_size > 5_000]:
            child.join(0.01)
            assert child.is_alive()
            assert time.monotonic() < deadline
    finally:
        child.kill()
        child.join()
    found = tables(home)
    (part,) = [name for name in found if name.endswith(".part")]
    assert part.startswith(".2022.parquet.")
    assert found == {"2021.parquet": whole["2021.parquet"], part: found[part]}
    ingest(home, sources)
    assert tables(home) == whole
    data = Workspace.of(load_settings(home=home)).store.read(BACI_FLOWS, ["2022"])
    BACI_FLOWS.check(data)
    assert data.column("hs_revision").to_pylist() == ["HS17"] * 4000 + ["HS92"] * 4000


def test_one_year_of_a_new_release_is_refused_beside_years_of_the_old_one(tmp_path: Path) -> None:
    home, old, new = tmp_path / "home", drop_folder(tmp_path / "old"), drop_folder(tmp_path / "new", "V202501")
    ingest(home, old)
    with pytest.raises(dg.DagsterError, match="one_release_per_series"):
        ingest(home, new, 2022, 2022)
    manager = ParquetIOManager(workspace=Workspace.of(load_settings(home=home, sources=str(new))))
    sentence = (
        "table baci_flows: the year 2021 holds HS17 of release 'V202401b' and HS92 of release 'V202401b' where the "
        "sources hold HS17 of release 'V202501' and HS92 of release 'V202501'; materialise that year again."
    )
    with pytest.raises(KetenpipeError) as caught:
        manager.load_input(Input(key(BACI_FLOWS), *BACI.keys()))
    assert str(caught.value) == sentence
    ingest(home, new, 2021, 2021)
    assert manager.load_input(Input(key(BACI_FLOWS), *BACI.keys())).num_rows == 16_000


def test_only_tables_of_the_registry(manager: ParquetIOManager) -> None:
    with pytest.raises(KetenpipeError, match="no table in the registry"):
        table_of(dg.AssetKey(["chain", "country_risk"]))
