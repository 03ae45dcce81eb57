"""Who is who: the country list in both generations, the aliases, the names."""

from __future__ import annotations

import pytest

from ketenpipe.errors import InputRefused
from ketenpipe.sources.countries import (
    country_list,
    country_names,
    harmonise,
    is_known,
    iso3_to_iso2,
    read_country_list,
    repair_mojibake,
)
from ketenpipe.sources.places import discover, embedded
from ketenpipe_tests.sources.conftest import Drop

OLD = (
    "country_code,country_name_abbreviation,country_name_full,iso_2digit_alpha,iso_3digit_alpha\n"
    '490,"Other Asia, nes","Other Asia, not elsewhere specified",N/A,N/A\n'
    "516,Namibia,Namibia,NA,NAM\n842,USA,USA,US,USA\n"
)
NEW = (
    "country_code,country_name,country_iso2,country_iso3\n"
    '490,"Other Asia, nes",,S19\n516,Namibia,NA,NAM\n842,USA,US,USA\n'
)


@pytest.mark.parametrize("text", [OLD, NEW, "\ufeff" + NEW.replace("\n", "\r\n")], ids=["old", "new", "bom"])
def test_both_header_generations_read_the_same(drop: Drop, text: str) -> None:
    got = read_country_list(drop.put("baci/country_codes_V202301.csv", text))
    assert got.iso3 == {490: "TWN", 516: "NAM", 842: "USA"}
    assert got.by_code[516].iso2 == "NA"
    assert got.release == "V202301"


def test_the_embedded_list() -> None:
    got = country_list(discover(embedded("sample")), "V202401b")
    assert got.note is None
    expected = {842: "USA", 699: "IND", 757: "CHE", 251: "FRA", 579: "NOR", 490: "TWN", 58: "BEL", 56: "BEL"}
    assert {code: got.iso3[code] for code in expected} == expected
    assert got.iso3[697] == "R20"  # Europe EFTA, nes: not Kosovo
    assert got.by_code[516].iso2 == "NA"
    assert got.by_code[531].name == "Curaçao"


def test_the_list_of_the_release_is_taken_else_the_newest_with_a_note(drop: Drop) -> None:
    drop.baci()
    drop.put("baci/country_codes_V202301.csv", NEW)
    drop.put("baci/country_codes_V202501.csv", NEW.replace("USA,US,USA", "USA,US,USX"))
    inventory = drop.inventory()
    assert country_list(inventory, "V202301").iso3[842] == "USA"
    newest = country_list(inventory, "V202401b")
    assert newest.iso3[842] == "USX"
    assert newest.note is not None
    assert "country_codes_V202501.csv is used" in newest.note


def test_the_list_inside_a_zip_counts_and_none_at_all_falls_back(drop: Drop) -> None:
    drop.baci()
    fallback = country_list(drop.inventory(), "V202401b")
    assert fallback.note is not None
    assert "embedded" in fallback.note
    drop.zip("baci/BACI_HS22_V202401b.zip", {"country_codes_V202401b.csv": NEW})
    assert country_list(drop.inventory(), "V202401b").iso3 == {490: "TWN", 516: "NAM", 842: "USA"}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("country_code,country_name\n4,A\n", "column 'country_iso2' is missing"),
        (NEW + "842,USA,US,USA\n", "842 stands twice"),
        (NEW + "x,USA,US,USA\n", "'x' is no number"),
        (NEW + "9,Nowhere,,\n", "is not three characters"),
        (NEW + "9,Nowhere\n", "2 fields where the header has 4"),
        (NEW.splitlines()[0] + "\n", "holds no rows"),
    ],
)
def test_bad_lists_are_refused(drop: Drop, text: str, sentence: str) -> None:
    with pytest.raises(InputRefused, match=sentence):
        read_country_list(drop.put("baci/country_codes_V202301.csv", text))


def test_aliases_depend_on_the_source() -> None:
    assert harmonise("R20", "baci") == "R20"
    assert harmonise("R20", "wgi") == harmonise("R20", "mining") == "XKX"
    assert harmonise("S19", "baci") == harmonise("S19", "mining") == "TWN"
    assert harmonise("ROM", "icio") == "ROU"
    assert harmonise("RoW", "icio") == "ROW"
    assert harmonise("NLD", "icio") == "NLD"


def test_names_in_two_languages() -> None:
    names = country_names()
    assert names["NLD"] == ("Netherlands", "Nederland")
    assert names["DEU"] == ("Germany", "Duitsland")
    assert names["XKX"] == ("Kosovo", "Kosovo")
    assert names["UNK"][1] == "Onbekende herkomst"
    listed = set(country_list(discover(embedded("sample"))).iso3.values())
    assert listed <= set(names)
    assert iso3_to_iso2()["NAM"] == "NA"
    assert is_known("ANT")
    assert not is_known("DELETE")
    assert not is_known("UNK")


def test_broken_names_are_repaired_and_sound_ones_left() -> None:
    assert repair_mojibake("TÃ¼rkiye") == "Türkiye"
    assert repair_mojibake("CÃ´te d'Ivoire") == "Côte d'Ivoire"
    assert repair_mojibake("São Tomé") == "São Tomé"
    assert repair_mojibake("Åland") == "Åland"
