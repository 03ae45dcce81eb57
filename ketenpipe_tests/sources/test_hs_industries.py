"""HS codes and industries: the shipped files, the rules that make them, editions, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pyarrow.compute as pc
import pytest

from ketenpipe.errors import InputRefused, WrongUse
from ketenpipe.sources.concordance import pairs_between, read_concordances
from ketenpipe.sources.hs_industries import (
    EDITION,
    derive,
    edition_industries,
    editions,
    hs_industries,
    listed_codes,
    main,
    rebuild,
)
from ketenpipe.sources.icio import layouts
from ketenpipe.sources.places import discover, embedded
from ketenpipe_tests.shared_data import shared_data

NAMES = ("hs_icio.csv", "hs_icio_reviewed.csv", "isic3_icio.csv", "icio_industries.csv")
SMALL = {
    "icio_industries.csv": (
        "edition,industry,edition_industry,hs_prefixes,note\n"
        "OECD ICIO 2025,A01,A01,,\nOECD ICIO 2025,C24A,C24A,,\nOECD ICIO 2025,C24B,C24B,,\nOECD ICIO 2025,E,E,,\n"
        "Old,A01,AGR,,\nOld,C24A,MET,,\nOld,C24B,MET,,\nOld,C24B,GEM,7106 7108,precious metals are apart\nOld,E,MET,,\n"
    ),
    "isic3_icio.csv": "isic3,industry,note\n0111,A01,\n2710,C24A,\n2720,C24B,\n9999,E,\n",
    "hs_icio_reviewed.csv": (
        "prefix,hs_revisions,industry,why,citation_status\n7404,HS17,E,scrap,read\n"
        "999999,HS17 HS92,,not specified,read\n"
    ),
    "hs_icio.csv": (
        "code,hs_revisions,industry,method,also\n"
        "100110,HS92 HS17,A01,isic3,\n710610,HS17,C24B,isic3,\n740311,HS17,C24B,isic3,E\n999999,HS17,,none,\n"
    ),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in SMALL.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def changed(folder: Path, name: str, old: str, new: str) -> Path:
    text = (folder / name).read_text(encoding="utf-8")
    assert text.count(old) == 1, old
    (folder / name).write_text(text.replace(old, new), encoding="utf-8")
    return folder


# -- reading --------------------------------------------------------------------------------------------------
def test_every_code_has_one_industry_and_the_rest_is_told(folder: Path) -> None:
    got = hs_industries("HS17", directory=folder, codes=["100110", "710610", "740311", "999999", "888888"])
    assert got.by_code == {"100110": "A01", "710610": "C24B", "740311": "C24B"}
    assert got.unmapped == ("888888", "999999")
    assert got.edition == EDITION
    assert got.table["also"].to_pylist() == [None, None, "E"]
    assert hs_industries("HS92", directory=folder, codes=["100110"]).by_code == {"100110": "A01"}


def test_another_edition_adds_industries_up_and_may_split_by_code(folder: Path) -> None:
    got = hs_industries("HS17", "Old", directory=folder)
    assert got.by_code == {"100110": "AGR", "710610": "GEM", "740311": "MET"}
    # What was another industry in 2025 is the same one here.
    assert got.table["also"].to_pylist() == [None, None, None]
    assert editions(folder) == (EDITION, "Old")
    assert edition_industries("Old", folder) == ("AGR", "MET", "GEM")


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("100110,HS92 HS17,A01", "100110,HS92 HS17,A99", r"line 2: 'A99' is no industry of OECD ICIO 2025"),
        ("740311,HS17,C24B,isic3,E", "740311,HS17,C24B,isic3,X1", r"line 4: 'X1' is no industry of OECD ICIO 2025"),
        ("710610,HS17", "100110,HS17", r"line 3: the code 100110 stands twice for HS17"),
        ("710610,HS17", "71061,HS17", r"line 3: '71061' is no HS6 code"),
        ("710610,HS17", "710610,HS18", r"line 3: 'HS18' is no HS revision"),
        ("710610,HS17,C24B,isic3", "710610,HS17,C24B,guess", r"line 3: 'guess' is no method; known are reviewed"),
        ("code,hs_revisions", "code,revision", r"line 1: the columns are not code, hs_revisions, industry"),
        ("710610,HS17,C24B,isic3,\n", "710610,HS17,C24B\n", r"line 3: the row has 3 fields where the header has 5"),
    ],
)
def test_what_does_not_hold_together_is_refused(folder: Path, old: str, new: str, sentence: str) -> None:
    with pytest.raises(InputRefused, match=rf"hs_icio\.csv, {sentence}"):
        hs_industries("HS17", directory=changed(folder, "hs_icio.csv", old, new))


def test_a_code_that_the_revision_does_not_have_is_refused(folder: Path) -> None:
    with pytest.raises(InputRefused, match=r"line 3: HS17 has no code 710610"):
        hs_industries("HS17", directory=folder, codes=["100110", "740311", "999999"])


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("Old,E,MET", "Old,E9,MET", r"Old: 'E9' is no industry of OECD ICIO 2025"),
        ("Old,A01,AGR", "Old,E,AGR", r"line 10: the industry E stands twice for its edition"),
        ("7106 7108", "7106 71x8", r"line 9: '71x8' is no prefix of HS codes"),
        ("Old,A01,AGR", "Old,A01,", r"line 6: edition, industry and edition_industry must be filled"),
    ],
)
def test_editions_that_do_not_hold_together_are_refused(folder: Path, old: str, new: str, sentence: str) -> None:
    with pytest.raises(InputRefused, match=rf"icio_industries\.csv.*{sentence}"):
        hs_industries("HS17", "Old", directory=changed(folder, "icio_industries.csv", old, new))


def test_an_industry_without_a_counterpart_is_refused(folder: Path) -> None:
    changed(folder, "icio_industries.csv", "Old,A01,AGR,,\n", "")
    with pytest.raises(InputRefused, match="the industry A01 of OECD ICIO 2025 has no counterpart for the code 100110"):
        hs_industries("HS17", "Old", directory=folder)


def test_what_is_not_known_is_wrong_use(folder: Path) -> None:
    with pytest.raises(
        WrongUse, match="no industries are known for the edition 'ICIO 1999'; known are OECD ICIO 2025, Old"
    ):
        hs_industries("HS17", "ICIO 1999", directory=folder)
    with pytest.raises(WrongUse, match="no industries are known for codes of HS02"):
        hs_industries("HS02", directory=folder)
    (folder / "hs_icio.csv").unlink()
    with pytest.raises(InputRefused, match=r"the reference file hs_icio\.csv is missing"):
        hs_industries("HS17", directory=folder)


# -- the rules ------------------------------------------------------------------------------------------------
CLASSES = {"HS17": {"100110": "0111", "720110": "2710", "740311": "2720", "740400": "9999"}}


def test_reviewed_beats_class_and_old_codes_inherit(folder: Path) -> None:
    conversions = {"HS17": {"100110": "100190", "720110": "720110", "740311": "720110", "740400": "740400"}}
    lists = {"HS17": ["999999"], "HS92": ["100190", "720110", "740400", "740499", "100100", "550000", "999999"]}
    assert derive(CLASSES, conversions, lists, folder) == [
        ("100100", "HS92", "A01", "heading", ""),
        ("100110", "HS17", "A01", "isic3", ""),
        ("100190", "HS92", "A01", "converted", ""),
        ("550000", "HS92", "", "none", ""),
        # Two industries feed the old code: that of the same number decides, the other is told.
        ("720110", "HS17", "C24A", "isic3", ""),
        ("720110", "HS92", "C24A", "converted", "C24B"),
        ("740311", "HS17", "C24B", "isic3", ""),
        ("740400", "HS17", "E", "reviewed", ""),
        ("740400", "HS92", "E", "converted", ""),
        ("740499", "HS92", "E", "heading", ""),
        ("999999", "HS92 HS17", "", "none", ""),
    ]


def test_most_newer_codes_decide_where_none_bears_the_number(folder: Path) -> None:
    classes = {"HS17": {"100001": "2710", "100002": "2720", "100003": "2720", "740400": "9999"}}
    conversions = {"HS17": dict.fromkeys(("100001", "100002", "100003"), "100099")}
    rows = derive(classes, conversions, {"HS17": ["999999"], "HS92": ["100099", "999999"]}, folder)
    assert ("100099", "HS92", "C24B", "converted", "C24A") in rows


@pytest.mark.parametrize(
    ("name", "old", "new", "sentence"),
    [
        ("isic3_icio.csv", "2720,C24B,\n", "", r"the class 2720 \(of HS17 740311\) has no industry"),
        ("isic3_icio.csv", "2720,C24B", "2720,Z", r"line 4: 'Z' is no industry of OECD ICIO 2025"),
        ("isic3_icio.csv", "2720,C24B", "0111,C24B", r"line 4: the class 0111 stands twice"),
        ("hs_icio_reviewed.csv", "7404,HS17,E", "7405,HS17,E", r"line 2: no code begins with this prefix"),
        ("hs_icio_reviewed.csv", "7404,HS17,E", "7404,HS17,F", r"line 2: 'F' is no industry of OECD ICIO 2025"),
        ("hs_icio_reviewed.csv", "7404,HS17,E", "999999,HS17,E", r"line 3: the prefix 999999 stands twice for HS17"),
    ],
)
def test_rules_that_do_not_hold_are_refused(folder: Path, name: str, old: str, new: str, sentence: str) -> None:
    with pytest.raises(InputRefused, match=sentence):
        derive(CLASSES, {}, {"HS17": ["999999"], "HS92": ["999999"]}, changed(folder, name, old, new))


@pytest.fixture(scope="module")
def hs17() -> dict[str, str]:
    return hs_industries("HS17").by_code


# -- the shipped files ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("revision", ["HS92", "HS17", "HS22"])
def test_the_shipped_file_covers_its_revision(revision: str) -> None:
    got = hs_industries(revision)
    assert set(got.unmapped) <= {"999999", "9999AA"}
    assert set(got.by_code.values()) <= set(edition_industries(EDITION))
    for edition in editions():
        other = hs_industries(revision, edition)
        assert set(other.by_code) == set(got.by_code)
        assert set(other.by_code.values()) <= set(edition_industries(edition))


def test_the_editions_are_those_of_the_table_reader() -> None:
    known = {layout.edition for layout in layouts()}
    assert set(editions()) <= known
    assert {e: len(edition_industries(e)) for e in editions() if e.startswith("OECD")} == {
        "OECD ICIO 2025": 50,
        "OECD ICIO 2023": 45,
        "OECD ICIO 2021": 45,
        "OECD ICIO 2018": 36,
    }


@pytest.mark.parametrize(
    ("code", "industry"),
    [
        ("854231", "C26"), ("854239", "C26"), ("381800", "C26"), ("848620", "C28"), ("850760", "C27"),
        ("850511", "C25"), ("850231", "C28"), ("261100", "B07"), ("250410", "B08"), ("270112", "B05"),
        ("270900", "B06"), ("720292", "C24A"), ("811292", "C24B"), ("281820", "C24B"), ("280530", "C20"),
        ("294110", "C21"), ("300490", "C21"), ("720449", "E"), ("711292", "E"), ("890120", "C301"),
        ("880240", "C302T309"), ("940120", "C29"), ("901890", "C31T33"), ("902214", "C26"), ("271600", "D"),
        ("440320", None), ("440321", "A02"), ("030212", None), ("030213", "A03"), ("100119", "A01"),
    ],
)  # fmt: skip
def test_codes_that_matter(hs17: dict[str, str], code: str, industry: str | None) -> None:
    assert hs17.get(code) == industry


def test_the_shipped_file_is_what_the_rules_make_of_the_concordances() -> None:
    folder = shared_data("concordance")
    assert rebuild(folder) == (embedded("reference") / "hs_icio.csv").read_text(encoding="utf-8")


def test_the_noisy_table_contains_nearly_every_industry() -> None:
    """HS to ISIC Rev.4 by way of Rev.3 lists every class that might be meant, so it can only contradict."""
    data = read_concordances(discover(shared_data("concordance").parent)).table
    rows = data.filter(pc.and_(pc.equal(data["from_system"], "HS"), pc.equal(data["to_system"], "ISIC4")))
    candidates: dict[str, set[str]] = {}
    for code, kind in zip(rows["from_code"].to_pylist(), rows["to_code"].to_pylist(), strict=True):
        candidates.setdefault(code, set()).add(industry_of(kind))
    got = hs_industries("HS17")
    outside = {c: i for c, i in got.by_code.items() if c in candidates and i not in candidates[c]}
    assert len(outside) / len(set(got.by_code) & set(candidates)) < 0.02
    reviewed = dict(zip(got.table["code"].to_pylist(), got.table["method"].to_pylist(), strict=True))
    assert {reviewed[c] for c in outside} == {"reviewed"}


def industry_of(isic4: str) -> str:
    """The industry of 2025 of a class of ISIC Rev.4, by the divisions in its label."""
    division = isic4[:2]
    if division == "24":
        return "C24A" if isic4 in ("2410", "2431") else "C24B"
    if division == "30":
        return "C301" if isic4.startswith("301") else "C302T309"
    spans = {
        "C10T12": ("10", "12"), "C13T15": ("13", "15"), "C17_18": ("17", "18"), "C31T33": ("31", "33"),
        "D": ("35", "35"), "E": ("36", "39"), "J58T60": ("58", "60"), "M": ("69", "75"), "R": ("90", "93"),
        "S": ("94", "96"),
    }  # fmt: skip
    for industry, (first, last) in spans.items():
        if first <= division <= last:
            return industry
    return f"{'A' if division < '05' else 'B' if division < '10' else 'C'}{division}"


# -- the command ----------------------------------------------------------------------------------------------
def test_the_command_writes_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "nowhere")]) == 3
    assert "there is no such folder of concordances" in capsys.readouterr().err
    (tmp_path / "a.csv").write_text("HS5_6d,ISIC3_4d\n010121,0121\n", encoding="utf-8")
    assert main([str(tmp_path)]) == 3
    assert "no concordance leads from HS17 to HS92" in capsys.readouterr().err
    out = tmp_path / "out.csv"
    assert main([str(shared_data("concordance")), "--out", str(out)]) == 0
    assert out.read_bytes() == (embedded("reference") / "hs_icio.csv").read_bytes()


def test_the_pairs_the_rules_need_are_there() -> None:
    data = read_concordances(discover(shared_data("concordance").parent)).table
    found = pairs_between(data, "HS17", "ISIC3")
    assert found is not None
    assert listed_codes("HS17") - set(found["from_code"].to_pylist()) == {"271000", "999999"}
