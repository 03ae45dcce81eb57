"""Concordances: every layout, zeros kept, directions kept, and what is refused."""

from __future__ import annotations

from pathlib import Path

import openpyxl
import pytest

from ketenpipe.errors import InputRefused
from ketenpipe.sources.concordance import CONCORDANCE_SCHEMA, pairs_between, read_concordances
from ketenpipe.sources.places import discover
from ketenpipe_tests.shared_data import shared_data
from ketenpipe_tests.sources.conftest import Drop

UNSD = "concordance/HS2022toHS2017ConversionAndCorrelationTables.xlsx"
CONVERSIONS = [("From HS2022", "To HS2017", None), ("010121", "010121", None), ("854151", "851712", None)]
CORRELATIONS = [
    ("Between", None, None),
    ("HS2022", "HS2017", "Relationship"),
    ("010121", "010121", "1:1"),
    ("854151", "854150", "n:n"),
    ("854151", "851712", "n:n"),
    ("854159", "854150", "n:1"),
]


def workbook(path: Path, **sheets: list[tuple[object, ...]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name.replace("_", " "))
        for row in rows:
            sheet.append(row)
    book.save(path)


def pairs(drop: Drop, one: str, two: str, *kinds: str) -> list[tuple[str, str]]:
    table = read_concordances(drop.inventory()).table
    found = pairs_between(table, one, two, kinds) if kinds else pairs_between(table, one, two)
    assert found is not None
    return list(zip(found["from_code"].to_pylist(), found["to_code"].to_pylist(), strict=True))


# -- layouts --------------------------------------------------------------------------------------------------
def test_codes_are_padded_and_pairs_distinct(drop: Drop) -> None:
    drop.baci()
    drop.put(
        "concordance/a.csv",
        "HS5_6d,HS5_4d,HS0_6d,HS0_4d\n10121,101,10111,101\n010121,0101,010111,0101\n",
        {"release": "2022"},
    )
    drop.put("concordance/desc.csv", "code,desc\nA,Agriculture\n")
    data = read_concordances(drop.inventory())
    assert data.table.to_pylist() == [
        {
            "from_system": "HS17",
            "from_code": "010121",
            "to_system": "HS92",
            "to_code": "010111",
            "kind": "pairs",
            "vintage": "2022",
        }
    ]
    assert len(data.notes) == 1
    # a file that is no concordance is not passed over in silence
    assert [(r.path, r.rows_read, r.reason) for r in data.records] == [
        ("concordance/a.csv", 2, None),
        ("concordance/desc.csv", 0, "its columns are not those of a concordance (HS5_6d, ISIC3_4d, ...)"),
    ]
    drop.put("concordance/a.csv", "HS5_6d,HS0_6d\n0101.2,010111\n")
    with pytest.raises(InputRefused, match=r"a\.csv, line 2: '0101\.2' is no code of HS17\."):
        read_concordances(drop.inventory())


def test_the_united_nations_workbook_has_conversions_and_correlations(drop: Drop) -> None:
    drop.baci()
    workbook(drop.root / UNSD, **{"HS2022-HS2017_Conversions": CONVERSIONS, "HS2022-HS2017_Correlations": CORRELATIONS})
    assert pairs(drop, "HS22", "HS17") == [("010121", "010121"), ("854151", "851712")]
    assert pairs(drop, "HS22", "HS17", "correlation") == [
        ("010121", "010121"),
        ("854151", "851712"),
        ("854151", "854150"),
        ("854159", "854150"),
    ]
    # A correlation states overlaps and reads from either side; a conversion never does.
    assert pairs(drop, "HS17", "HS22") == [
        ("010121", "010121"),
        ("851712", "854151"),
        ("854150", "854151"),
        ("854150", "854159"),
    ]
    table = read_concordances(drop.inventory()).table
    assert pairs_between(table, "HS17", "HS22", ("conversion", "pairs")) is None
    assert table.schema == CONCORDANCE_SCHEMA


def test_numbers_in_a_workbook_get_their_zeros_back(drop: Drop) -> None:
    drop.baci()
    workbook(drop.root / UNSD, Conversions=[("From HS 2022", "To HS 2017"), (10121.0, 10129), ("0102.21", "010221")])
    assert pairs(drop, "HS22", "HS17") == [("010121", "010129"), ("010221", "010221")]


def test_a_list_of_the_world_bank(drop: Drop) -> None:
    drop.baci()
    drop.zip(
        "concordance/Concordance_H4_to_I3.zip",
        {
            "JobID-81_Concordance_H4_to_I3.CSV": (
                "HS 2012 Product Code,HS 2012 Product Description,ISIC Revision 3 Product Code,"
                'ISIC Revision 3 Product Description\r\n090300,Mat\xe9.,113,"Growing of fruit, nuts"\r\n'
            ).encode("cp1252"),
            "readme.txt": "x",
        },
    )
    assert pairs(drop, "HS12", "ISIC3") == [("090300", "0113")]


def test_a_list_with_partial_marks_is_a_correlation(drop: Drop) -> None:
    drop.baci()
    drop.put("concordance/cpc.csv", "CPC21code,CPC21part,HS12code,HS12part\n1111,0,1001.11,0\n01112,1,100119,1\n")
    drop.put("concordance/isic.csv", "ISIC4code,ISIC4part,CPC21code,CPC21part\n111,1,01111,0\n")
    assert pairs(drop, "CPC21", "HS12") == [("01111", "100111"), ("01112", "100119")]
    assert pairs(drop, "HS12", "CPC21") == [("100111", "01111"), ("100119", "01112")]
    assert pairs(drop, "ISIC4", "CPC21") == [("0111", "01111")]


def test_the_wide_list_pairs_every_revision_with_bec(drop: Drop) -> None:
    drop.baci()
    rows = [
        ("HS92", "HS17", "HS22", "BEC4", "SITC4", "BEC5"),
        ("010111", "010121", "010121", "41", "00150", "112010"),
        ("010111", "010130", None, "111", "00150", "112010"),
    ]
    workbook(drop.root / "concordance" / "HS-SITC-BEC Correlations_2022.xlsx", HS_SITC_BEC=rows)
    assert pairs(drop, "HS17", "BEC4") == [("010121", "41"), ("010130", "111")]
    assert pairs(drop, "HS22", "BEC4") == [("010121", "41")]
    assert pairs(drop, "HS92", "BEC5") == [("010111", "112010")]
    assert pairs_between(read_concordances(drop.inventory()).table, "HS22", "HS17") is None


# -- refusals -------------------------------------------------------------------------------------------------
def test_a_conversion_with_two_targets_is_refused(drop: Drop) -> None:
    drop.baci()
    workbook(drop.root / UNSD, Conversions=[*CONVERSIONS, ("854151", "854150", None)])
    with pytest.raises(
        InputRefused,
        match=r"sheet Conversions, row 4: the conversion gives HS22 854151 two codes of HS17 \(851712 and 854150\); a "
        r"conversion has one target",
    ):
        read_concordances(drop.inventory())


def test_a_code_of_another_kind_is_refused_with_its_row(drop: Drop) -> None:
    drop.baci()
    workbook(drop.root / UNSD, Conversions=[*CONVERSIONS, ("85415100", "854150", None)])
    with pytest.raises(InputRefused, match=r"sheet Conversions, row 4: '85415100' is no code of HS22"):
        read_concordances(drop.inventory())


def test_a_concordance_without_a_pair_is_refused(drop: Drop) -> None:
    drop.baci()
    drop.put("concordance/a.csv", "HS5_6d,HS0_6d\n010121,\n")
    with pytest.raises(InputRefused, match=r"a\.csv: the concordance holds no pair of codes; download it again"):
        read_concordances(drop.inventory())


def test_a_damaged_workbook_is_refused(drop: Drop) -> None:
    drop.baci()
    workbook(drop.root / UNSD, Conversions=CONVERSIONS)
    path = drop.root / UNSD
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputRefused, match="truncated or damaged"):
        read_concordances(drop.inventory())


def test_two_editions_of_one_concordance_are_refused(drop: Drop) -> None:
    drop.baci()
    drop.put("concordance/a.csv", "HS5_6d,HS0_6d\n010121,010111\n", {"release": "2017"})
    drop.put("concordance/b.csv", "HS5_6d,HS0_6d\n010121,010119\n", {"release": "2022"})
    table = read_concordances(drop.inventory()).table
    with pytest.raises(
        InputRefused, match=r"two concordances pair HS17 with HS92 \(2017 and 2022\); keep one of the two files"
    ):
        pairs_between(table, "HS17", "HS92")
    assert pairs_between(table, "HS92", "HS17") is None


# -- real files -----------------------------------------------------------------------------------------------
def test_the_development_concordances() -> None:
    data = read_concordances(discover(shared_data("concordance").parent))
    assert [r.path for r in data.records if not r.rows_read] == ["concordance/isic4_desc.csv"]
    assert len(data.records) == 10
    assert {len(r["from_code"]) for r in data.table.to_pylist() if r["from_system"] == "HS17"} == {6}
    assert pairs_between(data.table, "HS92", "HS17") is None


def test_the_defects_of_the_development_concordances() -> None:
    data = read_concordances(discover(shared_data("concordance").parent))

    def chosen(one: str, two: str) -> dict[str, str]:
        found = pairs_between(data.table, one, two)
        assert found is not None
        return dict(zip(found["from_code"].to_pylist(), found["to_code"].to_pylist(), strict=True))

    newest, old = chosen("HS22", "HS17"), chosen("HS17", "HS92")
    # Semiconductor devices become mobile telephones, and nothing leads to their real predecessor.
    assert newest["854151"] == newest["854159"] == "851712"
    assert "854150" not in newest.values()
    # Platinum scrap becomes slag and ash.
    assert old["711292"] == "262090"
    # The two ways from HS22 to HS92 do not meet for 31 codes.
    direct = chosen("HS22", "HS92")
    assert sum(old[newest[code]] != goal for code, goal in direct.items()) == 31
