"""The configuration of the official files: what a row may say, and what is refused with file and row."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ketenpipe.errors import InputRefused, WrongUse
from ketenpipe.sources.places import classify, embedded
from ketenpipe.sources.upstreams import NewestOf, Upstreams, load_upstreams, newest_link, release_order

GOOD = """
[[file]]
source = "icio"
slot = "icio/SML_2016-2022"
url = "https://example.org/ICIO/2025/2016-2022_SML.zip"
label = "2025"
stale_after_days = 45
"""


def loaded(tmp_path: Path, text: str) -> Upstreams:
    (tmp_path / "upstreams.toml").write_text(text)
    return load_upstreams(tmp_path)


def refusal(tmp_path: Path, text: str) -> str:
    with pytest.raises(InputRefused) as refused:
        loaded(tmp_path, text)
    assert str(refused.value).startswith(str(tmp_path / "upstreams.toml"))
    return str(refused.value)[len(str(tmp_path / "upstreams.toml")) :]


def test_the_shipped_file_names_every_source_with_a_reader() -> None:
    shipped = load_upstreams(embedded("reference"))
    assert {r.source for r in shipped.chosen(None)} == {"baci", "icio", "wgi", "mining", "concordance", "elasticity"}
    dimensions = ("VA", "PV", "GE", "RQ", "RL", "CC")
    assert [r.slot for r in shipped.chosen(["wgi"])] == [f"wgi/{d}{e}" for e in ("", "_error") for d in dimensions]
    for d in dimensions:
        estimate, error = shipped.row(f"wgi/{d}"), shipped.row(f"wgi/{d}_error")
        assert error.url == str(estimate.url).replace(f"GOV_WGI_{d}.EST", f"GOV_WGI_{d}.STD.ERR")
        assert (error.vintages, error.label_key, error.beside) == (estimate.vintages, "lastupdated", f"wgi/{d}")
        assert (estimate.optional, estimate.beside, error.optional) == (False, None, True)
        assert "the assumed one of uncertainty.toml is taken" in str(error.without)
    assert not shipped.row("wgi/workbook").enabled
    for row in shipped.files:
        assert row.producer, row.slot
        assert row.citation, row.slot
        name = row.name_at(row.url) if row.url else f"BACI_{row.hs_revision}_V202501.zip"
        assert not isinstance(classify(row.source, name), str), f"{row.slot}: no reader takes {name}"
        if row.newest_of:
            assert row.label_in(name) == "V202501"


def test_a_file_beside_another_names_a_slot_of_its_source(tmp_path: Path) -> None:
    second = GOOD.replace("SML_2016-2022", "other").replace("label =", "beside = 'icio/SML_2016-2022'\nlabel =")
    assert loaded(tmp_path, GOOD + second).row("icio/other").beside == "icio/SML_2016-2022"
    for strange in ("icio/nothing", "icio/other", "wgi/PV"):
        wgi = GOOD.replace("icio", "wgi").replace("wgi/SML_2016-2022", "wgi/PV")
        text = GOOD + wgi + second.replace("beside = 'icio/SML_2016-2022'", f"beside = '{strange}'")
        assert refusal(tmp_path, text) == (
            f", icio/other: '{strange}' is no other slot of icio, which the file could belong to; name the slot of the "
            "file that it stands beside."
        )


def test_a_whole_file_replaces_a_whole_file(tmp_path: Path) -> None:
    assert len(load_upstreams(embedded("reference"), tmp_path).files) > 5
    (tmp_path / "upstreams.toml").write_text(GOOD)
    assert [r.slot for r in load_upstreams(embedded("reference"), tmp_path).files] == ["icio/SML_2016-2022"]


def test_without_a_file_the_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match=r"there is no upstreams\.toml; restore it"):
        load_upstreams(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("label =", "lable ="), ", row 1 (icio/SML_2016-2022): 'lable' is no key of a row."),
        (("stale_after_days = 45", ""), ", row 1 (icio/SML_2016-2022): 'stale_after_days' is missing."),
        (('url = "https://example.org/ICIO/2025/2016-2022_SML.zip"', ""), "it needs either url or newest_of."),
        (("https://example", "ftp://example"), "is no address (https://...)."),
        (("https://example", "https://me:secret@example"), "an address holds no user name and no password."),
        (("2016-2022_SML.zip", ""), "its address ends without a name: give it a name."),
        (('"icio/SML_2016-2022"', '"baci/SML"'), "slot 'baci/SML' must begin with 'icio/'"),
        (('label = "2025"', "label_pattern = 'V(\\d'"), "label_pattern: 'V(\\d' is no regular expression"),
        (('label = "2025"', "label_pattern = 'V\\d+'"), "needs a group around the label"),
        (('label = "2025"', "label_pattern = 'V(\\d+)'"), "does not occur in the name '2016-2022_SML.zip'"),
        (('label = "2025"', 'label = "2025"\nlabel_key = "x"'), "at most one of label, label_pattern and label_key"),
        (
            ('label = "2025"', 'without = "x"'),
            "without says what is done without an optional file: set optional = true, or leave it out.",
        ),
        (("45", "0"), "stale_after_days: Input should be greater than 0"),
        (('source = "icio"', 'source = "icoi"'), "source: Input should be 'baci', 'icio'"),
        (
            ('label = "2025"', 'vintages = [{ vintage = "x", from_year = 2022, to_year = 1996 }]'),
            "vintages.0: the years of 'x' end before they begin (2022-1996).",
        ),
    ],
)
def test_a_row_that_cannot_be_taken_is_named(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    assert change[0] in GOOD
    assert said in refusal(tmp_path, GOOD.replace(*change))


def test_a_file_that_cannot_be_taken_is_named(tmp_path: Path) -> None:
    assert ", row 2 (icio/SML_2016-2022): a row of this slot stands above; keep one" in refusal(tmp_path, GOOD + GOOD)
    assert "not readable as TOML" in refusal(tmp_path, "[[file]")
    assert "'files' is no section of it" in refusal(tmp_path, "[[files]]\n")
    assert "with two brackets" in refusal(tmp_path, "[file]\n")
    assert "written [comtrade]" in refusal(tmp_path, "comtrade = 3\n")
    assert ", row 1: 'source' is missing" in refusal(tmp_path, "[[file]]\nslot = 3\n")
    both = GOOD.replace('label = "2025"', "newest_of = { page = 'https://x.org/p', pattern = '(a)' }")
    assert "it needs either url or newest_of" in refusal(tmp_path, both)
    newest = both.replace('url = "https://example.org/ICIO/2025/2016-2022_SML.zip"', "")
    assert loaded(tmp_path, newest).files[0].label_in("a") == "a"
    assert "needs a group around the release" in refusal(tmp_path, newest.replace("(a)", "a"))
    assert "leave label" in refusal(tmp_path, newest + 'label = "2025"\n')


def test_the_section_comtrade_is_handed_on(tmp_path: Path) -> None:
    assert loaded(tmp_path, GOOD + '[comtrade]\nbase = "https://x"\n').comtrade == {"base": "https://x"}
    assert loaded(tmp_path, GOOD).comtrade is None


def test_a_byte_order_mark_is_no_part_of_it(tmp_path: Path) -> None:
    assert loaded(tmp_path, "\ufeff" + GOOD).files == loaded(tmp_path, GOOD).files


def test_what_is_asked_for_by_name(tmp_path: Path) -> None:
    ups = loaded(tmp_path, GOOD + GOOD.replace("SML_2016-2022", "old") + "enabled = false\n")
    assert [r.slot for r in ups.chosen(None)] == ["icio/SML_2016-2022"]
    assert [r.slot for r in ups.chosen(["icio"])] == ["icio/SML_2016-2022"]
    assert [r.slot for r in ups.chosen(["icio/old", "icio"])] == ["icio/old", "icio/SML_2016-2022"]
    with pytest.raises(WrongUse, match=r"no source or slot 'bacci' \(it has icio, icio/SML_2016-2022, icio/old\)"):
        ups.chosen(["bacci"])
    with pytest.raises(WrongUse, match=r"\(it has icio, icio/SML_2016-2022, icio/old, comtrade\)"):
        loaded(tmp_path, (tmp_path / "upstreams.toml").read_text() + "[comtrade]\n").chosen(["bacci"])
    off = loaded(tmp_path, GOOD + "enabled = false\n")
    with pytest.raises(
        WrongUse, match=r"every row of 'icio' .* is switched off: name its slot \(icio/SML_2016-2022\), or"
    ):
        off.chosen(["icio"])
    with pytest.raises(WrongUse, match="no row for 'x'"):
        ups.row("x")


BACI = NewestOf(page="https://c.fr/baci/doc/page.html", pattern=r"BACI_HS17_(V\d{6}[a-z]?)\.zip")


def test_the_newest_link_of_a_page_is_found() -> None:
    html = """<html><a name=x>BACI_HS17_V209901.zip</a>
    <a href="../data/BACI_HS17_V202401.zip">x</a> <A HREF='../data/BACI_HS17_V202401b.zip#top'>x</A>
    <a href="https://other.org/BACI_HS17_V202501.zip?a=1">x</a> <a href="../data/BACI_HS92_V202601.zip">x</a>
    <a href="javascript:BACI_HS17_V209901.zip">x</a> <a href="/BACI_HS17_V202501.zip.md5">x</a> <a href>x</a>"""
    assert newest_link(BACI, BACI.page, html) == (
        "https://other.org/BACI_HS17_V202501.zip?a=1",
        "BACI_HS17_V202501.zip",
        "V202501",
    )
    without = html.replace("BACI_HS17_V202501.zip?a=1", "gone")
    assert newest_link(BACI, BACI.page, without) == (
        "https://c.fr/baci/data/BACI_HS17_V202401b.zip",
        "BACI_HS17_V202401b.zip",
        "V202401b",
    )
    assert newest_link(BACI, BACI.page, "<p>maintenance") is None


@given(st.lists(st.tuples(st.integers(2012, 2035), st.integers(1, 12), st.sampled_from(["", "b", "c"])), min_size=1))
def test_releases_are_in_the_order_of_year_month_and_letter(releases: list[tuple[int, int, str]]) -> None:
    names = [f"V{y}{m:02d}{letter}" for y, m, letter in releases]
    assert max(names, key=release_order) == max(names)
    assert release_order("V9") < release_order("V10")
