"""Trade elasticities: CEPII's native file, what its marks mean, and every refusal."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from ketenpipe.errors import InputRefused
from ketenpipe.sources.elasticity import HS_REVISION, read_elasticity
from ketenpipe.sources.places import Inventory, discover, embedded
from ketenpipe.sources.upstreams import load_upstreams
from ketenpipe.tables.registry import ELASTICITY
from ketenpipe_tests.sources.conftest import Drop

HEAD = "HS6,sigma,zero,positive\n"
ROWS = "280530,-6.25,0,0\n10121,-9,0,0\n850519,NA,1,0\n850520,-4,1,0\n850530,-3,0,1\n850590,0.5,0,0\n854140,,0,0\n"
NAME = "elasticity/ProTEE_0_1.csv"


def by_code(inventory: Inventory) -> dict[str, dict[str, Any]]:
    return {r["code"]: r for r in read_elasticity(inventory).table.to_pylist()}


def test_the_native_file(drop: Drop) -> None:
    drop.baci()
    drop.put(NAME, HEAD + ROWS)
    data = read_elasticity(drop.inventory())
    assert data.table.schema == ELASTICITY.schema()
    rows = {r["code"]: r for r in data.table.to_pylist()}
    assert rows["280530"] == {
        "hs_revision": "HS07", "code": "280530", "elasticity": -6.25, "significant": True, "positive": False,
        "vintage": "ProTEE 0.1",
    }  # fmt: skip
    assert rows["010121"]["elasticity"] == -9.0
    assert [rows[c]["elasticity"] for c in ("850519", "850520", "854140")] == [None, -4.0, None]
    assert [rows[c]["significant"] for c in ("850519", "850520", "850530", "854140")] == [False, False, True, True]
    assert [rows[c]["positive"] for c in ("850519", "850530", "850590")] == [False, True, False]
    (record,) = data.records
    assert (record.source, record.vintage, record.rows_read, record.rows_refused) == ("elasticity", "ProTEE 0.1", 7, 0)
    assert (record.file, record.path, record.from_year, record.to_year) == ("ProTEE_0_1.csv", NAME, None, None)
    told = (
        "1 codes were padded to six digits; 3 products have no significant elasticity; "
        "2 products have a positive elasticity"
    )
    assert record.reason == told
    assert data.notes == tuple(f"{NAME}: {part}" for part in told.split("; "))


def test_nothing_to_tell_is_nothing_told(drop: Drop) -> None:
    drop.baci()
    drop.put(NAME, HEAD + "280530,-6.25,0,0\n")
    data = read_elasticity(drop.inventory())
    assert data.records[0].reason is None
    assert data.notes == ()


def test_a_folder_without_it_gives_an_empty_table() -> None:
    data = read_elasticity(discover(embedded("sample")))
    assert data.table.equals(ELASTICITY.empty())
    assert (data.records, data.notes) == ((), ())


@pytest.mark.parametrize("head", ['"HS6","Elasticity","Zero","Positive"\n', "hs6,SIGMA,ZERO,POSITIVE\n"])
def test_other_headings_of_the_same_layout(drop: Drop, head: str) -> None:
    drop.baci()
    drop.put("protee/ProTEE_0_1.csv", head + '"010121",-9,0.0,0\n')
    assert by_code(drop.inventory())["010121"]["elasticity"] == -9.0


def test_a_zip_and_a_gz(drop: Drop, tmp_path: Any) -> None:
    drop.baci()
    drop.zip("elasticity/download.zip", {"ProTEE_0_2.csv": HEAD + ROWS, "readme.txt": "x"})
    data = read_elasticity(drop.inventory())
    assert set(data.table.column("vintage").to_pylist()) == {"ProTEE 0.2"}
    assert data.records[0].path == "elasticity/download.zip!ProTEE_0_2.csv"
    other = Drop(tmp_path / "other")
    other.baci()
    other.put(NAME + ".gz", HEAD + ROWS)
    assert len(by_code(other.inventory())) == 7


def test_the_sidecar_is_believed(drop: Drop) -> None:
    drop.baci()
    drop.put(NAME, HEAD + ROWS, {"release": "ProTEE 9", "hs_revision": "HS12", "licence": "Etalab 2.0", "url": "u"})
    data = read_elasticity(drop.inventory())
    assert set(data.table.column("hs_revision").to_pylist()) == {"HS12"}
    record = data.records[0]
    assert (record.vintage, record.licence, record.url) == ("ProTEE 9", "Etalab 2.0", "u")


def test_a_name_that_tells_nothing_is_stamped_by_its_hash(drop: Drop) -> None:
    drop.baci()
    drop.put("elasticity/values.csv", HEAD + ROWS)
    (vintage,) = set(read_elasticity(drop.inventory()).table.column("vintage").to_pylist())
    assert re.fullmatch(r"undeclared:[0-9a-f]{8}", vintage)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("HS6,zero,positive\n280530,0,0\n", "column 'sigma' is missing (found: HS6, zero, positive)."),
        ("HS6,sigma,positive\n280530,-1,0\n", "column 'zero' is missing"),
        ("code,sigma,zero,positive\n280530,-1,0,0\n", "column 'hs6' is missing"),
        (HEAD + "280530,much,0,0\n", "line 2: the elasticity 'much' is no number."),
        (HEAD + "280530,-1,0,0\n850511,-1,2,0\n", "line 3: zero is '2', which is neither 0 nor 1."),
        (HEAD + "280530,-1,0,\n", "line 2: positive is '', which is neither 0 nor 1."),
        (HEAD + "2805,-1,0,0\n", "line 2: '2805' is no HS6 code."),
        (HEAD + "28053x,-1,0,0\n", "line 2: '28053x' is no HS6 code."),
        (HEAD + "10121,-1,0,0\n010121,-1,0,0\n", "line 3: the code 010121 stands on line 2 already."),
        (HEAD, "the file holds no product; download it again."),
    ],
)
def test_what_is_refused(drop: Drop, content: str, sentence: str) -> None:
    drop.baci()
    path = drop.put(NAME, content)
    with pytest.raises(InputRefused) as refused:
        read_elasticity(drop.inventory())
    assert str(refused.value).startswith(str(path))
    assert sentence in str(refused.value)


def test_two_files_and_two_tables_in_a_zip_are_refused(drop: Drop, tmp_path: Any) -> None:
    drop.baci()
    drop.put(NAME, HEAD + ROWS)
    drop.put("elasticity/ProTEE_0_2.csv", HEAD + ROWS)
    with pytest.raises(InputRefused, match=r"there are 2 files of trade elasticities .*; keep one of them\."):
        read_elasticity(drop.inventory())
    other = Drop(tmp_path / "other")
    other.baci()
    other.zip("elasticity/p.zip", {"a.csv": HEAD + ROWS, "b.csv": HEAD + ROWS})
    with pytest.raises(InputRefused, match=r"the zip holds 2 CSV files where one is expected\."):
        read_elasticity(other.inventory())


def test_what_no_reader_takes_is_named(drop: Drop, traded: Callable[[], Inventory]) -> None:
    drop.put("elasticity/ProTEE.json", "{}")
    drop.put("elasticity/ProTEE.xlsx", "x")
    assert {u.relative: u.reason for u in traded().unrecognised} == {
        "elasticity/ProTEE.json": "trade elasticities are read from CSV",
        "elasticity/ProTEE.xlsx": "neither CSV nor JSON nor zip: save it in the source's native text layout",
    }


def test_the_upstream_names_licence_and_revision() -> None:
    row = load_upstreams(embedded("reference")).row("elasticity/ProTEE")
    assert (row.licence, row.hs_revision, row.label, row.optional) == ("Etalab 2.0", HS_REVISION, "ProTEE 0.1", True)
    assert row.citation is not None
    assert "Fontagn" in row.citation
