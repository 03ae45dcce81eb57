"""Validation: where ketenpipe's figure is found, when it is within, and what the page says."""

from __future__ import annotations

import csv
import html
import re
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from pydantic import ValidationError

from ketenpipe.chain.catalogue import Reference, load_reference
from ketenpipe.errors import InputRefused
from ketenpipe.observatory.validation import (
    SECTIONS,
    WORDS,
    PublishedFigure,
    build_validation,
    chart_of,
    draw_validation,
    load_published,
    needed,
    render_validation,
    section_of,
    state_of,
    unexplained,
)
from ketenpipe.risk.definitions import INDICATORS as DEFINED
from ketenpipe.risk.definitions import METHODS
from ketenpipe.tables.registry import FLAGS, INDICATORS, SUPPLY_MIX, VALIDATION
from ketenpipe_tests.worlds import SHIPPED, one

CODE, OTHER = "283691", "282520"


@lru_cache
def shipped() -> tuple[PublishedFigure, ...]:
    return load_published(SHIPPED)


@lru_cache
def reference() -> Reference:
    return load_reference(SHIPPED)


def published(**over: Any) -> PublishedFigure:
    """A figure on the concentration of production of node ``mine``, 0.5 of 2020."""
    fields: dict[str, Any] = {
        "figure": "one", "subject_en": "Something", "subject_nl": "Iets", "quantity": "indicator", "level": "node",
        "codes": "mine", "indicator": "C3", "measure": "p", "year": 2020, "compared_year": 2020, "relation": "equal",
        "value": 0.5, "unit": "index 0-1", "tolerance": 0.05, "tolerance_why": "estimates", "citation": "A book (2020)",
        "citation_status": "read", "opened": "2026-01-01, the book", "url": "https://example.org/book",
    }  # fmt: skip
    return PublishedFigure.model_validate(fields | over)


def mix(**over: Any) -> PublishedFigure:
    """A share of imports from CHL."""
    fields = {
        "figure": "mix", "quantity": "import_share", "level": "hs6", "codes": CODE, "codes_hs17": CODE, "focus": "NLD",
        "indicator": None, "measure": "v", "country": "CHL", "unit": "share",
    }  # fmt: skip
    return published(**fields | over)


def of_set(quantity: str, **over: Any) -> PublishedFigure:
    fields = {
        "figure": "set", "quantity": quantity, "level": "set", "codes": "geodep", "focus": "EU27", "indicator": None,
        "measure": None, "unit": "share",
    }  # fmt: skip
    return published(**fields | over)


def indicator(**over: Any) -> dict[str, Any]:
    return {
        "focus": "NLD", "level": "node", "code": "mine", "hs_revision": "HS92", "group": "g", "tier": 1, "year": 2020,
        "indicator": "C3", "measure": "p", "basis": "observed", "value": 0.52, "unit": "index 0-1", "method_value": 0.7,
        "country": "CHN", "country_share": 0.6, "source_vintage": "mining 2025", "method_version": "1", **over,
    }  # fmt: skip


def supply(country: str, value: float | None, tonnes: float | None, **over: Any) -> dict[str, Any]:
    return {
        "focus": "NLD", "code": CODE, "hs_revision": "HS92", "year": 2020, "country": country, "value_kusd": value,
        "tonnes": tonnes, **over,
    }  # fmt: skip


def flag(code: str, flagged: bool | None, **over: Any) -> dict[str, Any]:
    return {
        "focus": "EU27", "level": "hs6", "code": code, "hs_revision": "HS92", "tier": 0, "year": 2020,
        "method": "geodep", "flagged": flagged, "method_version": "1", **over,
    }  # fmt: skip


def validate(
    figures: list[PublishedFigure],
    indicators: list[dict[str, Any]] | None = None,
    flags: list[dict[str, Any]] | None = None,
    supplies: list[dict[str, Any]] | None = None,
) -> pa.Table:
    return build_validation(
        INDICATORS.conform(indicators if indicators is not None else [indicator()]),
        FLAGS.conform(flags or []),
        SUPPLY_MIX.conform(supplies or []),
        figures,
    )


def row(figure: PublishedFigure, **given_tables: Any) -> dict[str, Any]:
    (found,) = validate([figure], **given_tables).to_pylist()
    return dict(found)


# -- ketenpipe's own figure -----------------------------------------------------------------------------------


def test_an_indicator_with_its_difference_ratio_and_vintage() -> None:
    found = row(published())
    assert (found["ours"], found["published"]) == (0.52, 0.5)
    assert found["difference"] == pytest.approx(0.02)
    assert found["ratio"] == pytest.approx(1.04)
    assert (found["within"], found["explained"], found["reason"]) == (True, None, None)
    assert (found["hs_revision"], found["source_vintage"], found["position"]) == ("HS92", "mining 2025", 1)
    assert found["codes"] == "mine"


@pytest.mark.parametrize(
    "change",
    [
        {"focus": "EU27"}, {"codes": "mine_other"}, {"indicator": "C2"}, {"measure": "q"}, {"compared_year": 2021},
        {"level": "set"},
    ],
)  # fmt: skip
def test_another_item_is_not_in_the_run(change: dict[str, Any]) -> None:
    found = row(published(**change))
    assert (found["ours"], found["reason"]) == (None, "not_in_run")
    assert (found["difference"], found["ratio"], found["within"], found["explained"]) == (None,) * 4


def test_a_figure_of_the_world_is_taken_from_any_focus_and_one_of_a_focus_from_it() -> None:
    tables = [indicator(focus="NLD", value=None, reason="no_production_data"), indicator(focus="EU27", value=0.6)]
    assert row(published(), indicators=tables)["ours"] == 0.6, "a row with a figure before one without"
    found = row(published(focus="NLD"), indicators=tables)
    assert (found["ours"], found["reason"]) == (None, "no_production_data")
    bare = row(published(), indicators=[indicator(value=None, reason=None)])
    assert (bare["ours"], bare["reason"]) == (None, "not_in_run")


def test_the_methods_own_value_is_another_column() -> None:
    assert row(published(quantity="method_value"))["ours"] == 0.7
    assert row(published(quantity="method_value"), indicators=[indicator(method_value=None)])["ours"] is None


def test_a_named_share_only_of_the_country_that_is_named() -> None:
    figure = published(quantity="named_share", country="CHN", unit="share")
    assert row(figure)["ours"] == 0.6
    found = row(figure.model_copy(update={"country": "USA"}))
    assert (found["ours"], found["reason"]) == (None, "other_country_named; CHN")


def test_an_indicator_of_an_hs6_code_is_found_by_the_code_of_its_revision() -> None:
    figure = published(level="hs6", codes="810310", codes_hs17="810320")
    rows_of = [indicator(level="hs6", code="810310", hs_revision="HS17"), indicator(level="hs6", code="810320")]
    assert row(figure, indicators=rows_of)["reason"] == "not_in_run"
    found = row(figure, indicators=[indicator(level="hs6", code="810320", hs_revision="HS17", value=0.44)])
    assert (found["ours"], found["hs_revision"], found["codes"]) == (0.44, "HS17", "810320")
    later = [indicator(level="hs6", code="810310", hs_revision="HS22")]
    assert row(figure, indicators=later)["reason"] == "not_in_run", "no code is known in that revision"


SUPPLIES = [
    supply("CHL", 60.0, 2.0, share_traced=0.4),
    supply("ARG", 40.0, 2.0, share_traced=0.5),
    supply("BOL", None, None, share_traced=0.1),
    supply("CHL", 100.0, 4.0, code=OTHER),
    supply("CHL", 900.0, 9.0, year=2021),
    supply("CHL", 900.0, 9.0, focus="EU27"),
    supply("CHL", 900.0, 9.0, hs_revision="HS17"),
]


@pytest.mark.parametrize(
    ("change", "ours"),
    [
        ({}, 0.6),
        ({"measure": "q"}, 0.5),
        ({"country": "BOL"}, 0.0),
        ({"country": "USA"}, 0.0),
        ({"codes": f"{CODE} {OTHER}"}, 0.8),
        ({"codes": f"{CODE} {OTHER}", "measure": "q"}, 0.75),
        ({"quantity": "traced_share"}, 0.4),
        ({"quantity": "traced_share", "country": "BOL"}, 0.1),
        ({"quantity": "traced_share", "country": "USA"}, 0.0),
        ({"compared_year": 2021}, 1.0),
        ({"focus": "EU27"}, 1.0),
    ],
)
def test_shares_of_imports_and_of_traced_supply(change: dict[str, Any], ours: float) -> None:
    found = row(mix(**change), supplies=SUPPLIES)
    assert (found["ours"], found["hs_revision"]) == (pytest.approx(ours), "HS92")


def test_another_revision_has_its_own_codes() -> None:
    figure = mix(codes="252890", codes_hs17="252800")
    found = row(figure, supplies=[supply("CHL", 1.0, 1.0, code="252800", hs_revision="HS17")])
    assert (found["ours"], found["hs_revision"], found["codes"]) == (1.0, "HS17", "252800")
    only = mix(codes_hs17=None)
    assert row(only, supplies=[supply("CHL", 1.0, 1.0, hs_revision="HS17")])["reason"] == "not_in_run"
    assert row(only)["codes"] == CODE
    both = mix(codes=f"{OTHER} {CODE}")
    assert row(both, supplies=SUPPLIES)["codes"] == f"{OTHER} {CODE}"
    assert both.shown_codes("HS92") == f"{OTHER} {CODE}"
    with pytest.raises(ValidationError):
        both.value = 0.1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("change", "held", "reason"),
    [
        ({}, [supply("CHL", None, 1.0)], "no_imports"),
        ({"measure": "q"}, [supply("CHL", 1.0, None)], "no_mass"),
        ({"quantity": "traced_share"}, [supply("CHL", 1.0, 1.0)], "no_supply"),
        ({}, [], "not_in_run"),
    ],
)
def test_no_share_says_why(change: dict[str, Any], held: list[dict[str, Any]], reason: str) -> None:
    found = row(mix(**change), supplies=held)
    assert (found["ours"], found["reason"]) == (None, reason)


FLAGGED = [flag("1" * 6, True), flag("2" * 6, True), flag("3" * 6, False), flag("4" * 6, False), flag("5" * 6, None)]
ELSEWHERE = [
    flag("6" * 6, True, focus="NLD"), flag("6" * 6, True, year=2021), flag("6" * 6, True, method="cbs"),
    flag("g", True, level="group", hs_revision=None, group="g"),
]  # fmt: skip


def top(code: str, country: str, **over: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "focus": "EU27", "level": "hs6", "code": code, "group": None, "tier": 0, "indicator": "C1", "basis": "imports",
        "measure": "v", "country": country,
    }  # fmt: skip
    return indicator(**fields | over)


def test_the_share_that_a_method_flags_is_of_what_it_can_tell() -> None:
    assert row(of_set("flagged_share"), flags=FLAGGED + ELSEWHERE)["ours"] == 0.5
    assert row(of_set("flagged_share"), flags=FLAGGED[2:3])["ours"] == 0.0
    assert row(of_set("flagged_share"), flags=FLAGGED[4:])["reason"] == "nothing_told"
    assert row(of_set("flagged_share"), flags=ELSEWHERE)["reason"] == "not_in_run"


def test_the_share_of_flagged_products_from_one_supplier() -> None:
    figure = of_set("flagged_from", country="CHN")
    tops = [
        top("1" * 6, "CHN"), top("2" * 6, "TUR"), top("3" * 6, "CHN"), top("2" * 6, "CHN", measure="q"),
        top("2" * 6, "CHN", focus="NLD"), top("2" * 6, "CHN", year=2021), top("2" * 6, "CHN", hs_revision="HS17"),
    ]  # fmt: skip
    assert row(figure, indicators=tops, flags=FLAGGED + ELSEWHERE)["ours"] == 0.5
    # Another figure may ask for the same code by mass: the two do not mix.
    by_mass = published(figure="q", level="hs6", codes="2" * 6, indicator="C1", measure="q", focus="EU27")
    made = validate([figure, by_mass], indicators=tops, flags=FLAGGED)
    assert one(made, figure="set")["ours"] == 0.5
    assert row(figure, indicators=tops, flags=FLAGGED[2:])["reason"] == "nothing_flagged"
    assert row(figure, indicators=tops, flags=FLAGGED[4:])["reason"] == "nothing_told"


def test_the_filters_change_nothing() -> None:
    figures = [published(), mix(), of_set("flagged_share"), of_set("flagged_from", figure="from", country="CHN")]
    noise = [indicator(indicator="O1"), indicator(year=2019), top("1" * 6, "CHN"), top("1" * 6, "CHN", level="node")]
    tables = (
        INDICATORS.conform([indicator(), *noise]), FLAGS.conform(FLAGGED + ELSEWHERE), SUPPLY_MIX.conform(SUPPLIES),
    )  # fmt: skip
    wanted = needed(figures)
    narrow = [t.filter(f) for t, f in zip(tables, (wanted.indicators, wanted.flags, wanted.supply_mix), strict=True)]
    assert [t.num_rows for t in narrow] == [2, 5, 4]
    assert wanted.years == (2020,)
    assert build_validation(*narrow, figures).equals(build_validation(*tables, figures))
    assert build_validation(*tables, []).num_rows == 0


# -- the judgement ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("relation", "value", "ours", "within"),
    [
        ("equal", 0.32, 0.37, True), ("equal", 0.32, 0.27, True), ("equal", 0.32, 0.3701, False),
        ("equal", 0.32, 0.2699, False), ("above", 0.7, 0.70001, True), ("above", 0.7, 0.7, False),
        ("above", 0.7, 0.69, False), ("below", 0.09, 0.0899, True), ("below", 0.09, 0.09, False),
        ("below", 0.09, 0.1, False),
    ],
)  # fmt: skip
def test_within_at_its_limits(relation: str, value: float, ours: float, within: bool) -> None:
    assert published(relation=relation, value=value).holds(ours) is within
    assert row(published(relation=relation, value=value), indicators=[indicator(value=ours)])["within"] is within


@given(st.floats(-10, 10), st.floats(-10, 10), st.floats(0, 3))
def test_within_is_a_distance(value: float, ours: float, tolerance: float) -> None:
    figure = published(value=value, tolerance=tolerance)
    assert figure.holds(ours) == (abs(round(ours - value, 9)) <= tolerance)
    assert figure.holds(value)
    assert published(value=ours, tolerance=tolerance).holds(value) == figure.holds(ours), "either way round"


def test_a_recalled_figure_judges_nothing() -> None:
    found = row(published(value=0.1, citation_status="recalled", opened=None))
    assert (found["ours"], found["difference"]) == (0.52, pytest.approx(0.42))
    assert (found["within"], found["explained"]) == (None, None)
    assert state_of(found) == "recalled"


def test_a_difference_without_a_cause_is_named() -> None:
    figures = [
        published(),
        published(figure="far", value=0.2, explanation="another year", explanation_nl="een ander jaar"),
        published(figure="odd", value=0.2),
        published(figure="absent", codes="nowhere"),
    ]
    made = validate(figures)
    assert {r["figure"]: r["explained"] for r in made.to_pylist()} == {
        "one": None, "far": True, "odd": False, "absent": None,
    }  # fmt: skip
    assert {r["figure"]: state_of(r) for r in made.to_pylist()} == {
        "one": "within", "far": "beyond", "odd": "unexplained", "absent": "missing",
    }  # fmt: skip
    assert unexplained(made) == ["odd: published 0.2, ketenpipe 0.52, tolerance 0.05"]


def test_a_published_zero_has_no_ratio() -> None:
    found = row(published(value=0.0))
    assert (found["ratio"], found["difference"]) == (None, 0.52)


# -- the page -----------------------------------------------------------------------------------------------------


def page(figures: list[PublishedFigure], language: Any = "en") -> str:
    return render_validation(validate(figures), "2026-01-01.1", language)


def test_the_page_counts_shows_and_explains() -> None:
    figures = [
        published(subject_en="Rock & <roll>"),
        published(
            figure="far", value=0.2, explanation="see figure one, not figure two", explanation_nl="zie cijfer one"
        ),
        published(figure="absent", codes="nowhere"),
        published(figure="old", citation_status="recalled", opened=None, url=None, compared_year=2020, year=2016),
        published(figure="limit", relation="above", value=0.4, tolerance=0.0),
    ]
    text = page(figures)
    assert text.startswith('<!DOCTYPE html>\n<html lang="en">')
    assert "Rock &amp; &lt;roll&gt;" in text
    assert "<roll>" not in text
    assert "2026-01-01.1" in text
    for count, words in ((2, "within tolerance"), (1, "beyond it, explained"), (1, "not in this run")):
        assert f"<strong>{count}</strong>{words}" in text
    assert "beyond it, not explained" not in text
    assert "see no. 1, not figure two" in text, "a reader knows a figure by its number"
    assert "this run has no such focus, year or product" in text
    assert 'class="recalled"' in text
    assert "compared with 2020" in text
    assert "above 0.400" in text
    assert '<a href="https://example.org/book">A book (2020)</a>' in text
    assert 'src="data:image/png;base64,' in text
    assert not re.search(r'(?:src|href)="(?!data:|https://example)', text), "nothing from outside"
    dutch = page(figures, "nl")
    for words in ("binnen de tolerantie", "zie nr. 1", "Iets", "boven 0.400", "deze run heeft die focus"):
        assert words in dutch, words
    assert "within tolerance" not in dutch
    assert dutch.startswith('<!DOCTYPE html>\n<html lang="nl">')


HEADINGS = {
    "en": ["No.", "What", "Year", "Published", "ketenpipe", "Difference", "Ratio", "Tolerance", "Verdict", "Source"],
    "nl": [
        "Nr.",
        "Wat",
        "Jaar",
        "Gepubliceerd",
        "ketenpipe",
        "Verschil",
        "Verhouding",
        "Tolerantie",
        "Oordeel",
        "Bron",
    ],
}


@pytest.mark.parametrize("language", ["en", "nl"])
def test_a_row_of_the_page_reads_across(language: Any) -> None:
    figures = [published(), published(figure="limit", relation="below", value=0.9, year=2019)]
    text = page(figures, language)
    assert re.findall(r"<th[^>]*>([^<]*)</th>", text) == HEADINGS[language]
    cells = [re.sub(r"<[^>]+>", "|", c) for c in re.findall(r"<tr class.*</tr>", text)]
    said = [[part.strip() for part in c.split("|") if part.strip()] for c in cells]
    within = {"en": "within tolerance", "nl": "binnen de tolerantie"}[language]
    name, compared, below, opened = {
        "en": ("Something", "compared with 2020", "below 0.900", "(opened 2026-01-01, the book)"),
        "nl": ("Iets", "vergeleken met 2020", "onder 0.900", "(geopend 2026-01-01, the book)"),
    }[language]
    assert said == [
        ["1", name, "2020", "0.500", "0.520", "+0.020", "1.040", "0.050", within, "A book (2020)", opened],
        ["2", name, "2019", compared, below, "0.520", "-0.380", "0.578", within, "A book (2020)", opened],
    ]
    for word in ("title", "chart", "note", "index"):
        assert WORDS[word][0 if language == "en" else 1] in html.unescape(text), word


def test_a_cause_is_shown_only_where_there_is_a_difference() -> None:
    near = published(explanation="a cause", explanation_nl="een oorzaak")
    assert "a cause" not in page([near])
    assert "a cause" in page([near.model_copy(update={"value": 0.1})])


def test_an_unexplained_difference_stands_out() -> None:
    text = page([published(value=0.1)])
    assert "<strong>1</strong>beyond it, not explained" in text
    assert 'class="unexplained"' in text


def test_each_figure_stands_in_one_section() -> None:
    sections = {
        "share": {"quantity": "named_share", "level": "node", "indicator": "C3", "unit": "share"},
        "index": {"quantity": "indicator", "level": "node", "indicator": "C3", "unit": "index 0-1"},
        "criticality": {"quantity": "method_value", "level": "hs6", "indicator": "G5", "unit": "index 0-10"},
        "imports": {"quantity": "import_share", "level": "hs6", "indicator": None, "unit": "share"},
        "sets": {"quantity": "indicator", "level": "set", "indicator": "P2", "unit": "share"},
    }
    assert {section_of(r): name for name, r in sections.items()} == {s: s for s in SECTIONS}
    assert section_of(sections["imports"] | {"quantity": "traced_share"}) == "imports"
    assert section_of(sections["criticality"] | {"indicator": "IR", "unit": "share"}) == "imports"
    for words in WORDS.values():
        assert all(words), words


def test_the_chart_shows_each_figure_where_it_belongs() -> None:
    figures = [
        published(),
        published(figure="far", value=0.2, explanation="x", explanation_nl="x"),
        published(figure="odd", value=0.1),
        published(figure="old", value=0.3, citation_status="recalled", opened=None),
        published(figure="absent", codes="nowhere"),
        mix(value=0.6),
        published(figure="ec", unit="index 0-10", value=4.4, indicator="G5"),
    ]
    rows_of = [indicator(), indicator(indicator="G5", value=4.2)]
    for language, column in (("en", 0), ("nl", 1)):
        chart = chart_of(validate(figures, indicators=rows_of, supplies=SUPPLIES), language)  # type: ignore[arg-type]
        panels = {axes.get_title(): axes for axes in chart.axes}
        assert list(panels) == [WORDS[s][column] for s in ("index", "criticality", "imports")]
        assert list(chart.get_size_inches()) == [12.0, 4.3]
        index, criticality, imports = panels.values()
        spots = {
            tuple(map(float, spot.get_offsets()[0])): to_hex(spot.get_facecolor()[0]) for spot in index.collections
        }
        assert spots == {
            (0.5, 0.52): "#1f5fa8",
            (0.2, 0.52): "#d9822b",
            (0.1, 0.52): "#b3261e",
            (0.3, 0.52): "#b8c0c9",
        }
        assert {text.xy: text.get_text() for text in index.texts} == {(0.2, 0.52): "2", (0.1, 0.52): "3"}
        assert [text.get_text() for text in imports.texts] == []
        assert index.get_xlim() == index.get_ylim() == imports.get_xlim() == (0.0, 1.0)
        assert criticality.get_xlim() == criticality.get_ylim() == (0.0, 5.0)
        for axes in chart.axes:
            (line,) = axes.lines
            assert list(line.get_xdata()) == list(line.get_ydata()) == list(axes.get_xlim()), "where both are equal"
            assert axes.get_xlabel() == WORDS["published"][column]
            assert axes.get_ylabel() == WORDS["ours"][column]


def test_the_chart_is_a_picture_with_the_same_bytes_every_time() -> None:
    figures = [published(), mix(value=0.1), published(figure="ec", unit="index 0-10", value=4.4)]
    made = validate(figures, supplies=SUPPLIES)
    first = draw_validation(made)
    assert first.startswith(b"\x89PNG")
    assert draw_validation(made) == first
    assert draw_validation(made, "nl") != first
    assert draw_validation(VALIDATION.empty()).startswith(b"\x89PNG"), "no figure, an empty frame"
    assert "<h2>" not in render_validation(VALIDATION.empty())


# -- reading ------------------------------------------------------------------------------------------------------


def edited(tmp_path: Path, **change: str) -> Path:
    """The first line of the shipped file with some cells changed, as the only one."""
    with (SHIPPED / "published_figures.csv").open(encoding="utf-8", newline="") as stream:
        lines = list(csv.DictReader(stream))
    target = tmp_path / "published_figures.csv"
    with target.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerow(lines[0] | change)
    return tmp_path


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"figure": "Big"}, "line 2: figure: string should match pattern"),
        ({"quantity": "guess"}, "line 2: quantity: input should be 'indicator', 'method_value'"),
        ({"value": "much"}, "line 2: value: input should be a valid number"),
        ({"value": ""}, "line 2: value: input should be a valid number"),
        ({"tolerance": "-1"}, "line 2: tolerance: input should be greater than or equal to 0"),
        ({"tolerance_why": " "}, "line 2: tolerance_why: input should be a valid string"),
        ({"citation": ""}, "line 2: citation: input should be a valid string"),
        ({"country": ""}, "line 2: quantity named_share needs country"),
        ({"indicator": "", "country": ""}, "line 2: quantity named_share needs indicator and country"),
        ({"quantity": "import_share"}, "line 2: quantity import_share needs focus"),
        ({"quantity": "import_share", "focus": "NLD"}, "an import share is by value (v) or by mass (q)"),
        ({"quantity": "flagged_share"}, "line 2: quantity flagged_share needs focus"),
        ({"quantity": "flagged_from"}, "line 2: quantity flagged_from needs focus"),
        ({"quantity": "method_value", "measure": ""}, "line 2: quantity method_value needs measure"),
        ({"quantity": "indicator", "indicator": ""}, "line 2: quantity indicator needs indicator"),
        ({"level": "hs6", "codes": "81129"}, "line 2: the HS code '81129' has not six digits"),
        ({"level": "hs6", "codes": "811291", "codes_hs17": "abc"}, "line 2: the HS code 'abc' has not six digits"),
        (
            {"quantity": "traced_share", "level": "hs6", "focus": "NLD", "codes": "811291 811292"},
            "line 2: a traced share is of one code",
        ),
        ({"opened": ""}, "line 2: a figure that was read says when and what was opened"),
        ({"citation_status": "recalled"}, "line 2: a figure that was read says when and what was opened"),
        ({"explanation": "why"}, "line 2: an explanation stands in both languages"),
        ({"citation_status": "guessed"}, "line 2: citation_status: input should be 'read' or 'recalled'"),
    ],
)  # fmt: skip
def test_lines_that_do_not_hold_are_refused(tmp_path: Path, change: dict[str, str], sentence: str) -> None:
    with pytest.raises(InputRefused, match=re.escape(sentence)) as refused:
        load_published(edited(tmp_path, **change))
    assert "published_figures.csv" in str(refused.value)


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match=r"published_figures.csv is missing"):
        load_published(tmp_path)
    target = edited(tmp_path) / "published_figures.csv"
    text = target.read_text(encoding="utf-8")
    target.write_text(text + text.splitlines()[1] + "\n", encoding="utf-8")
    with pytest.raises(InputRefused, match="line 3: figure cobalt_2023_usgs stands twice"):
        load_published(tmp_path)
    target.write_text(text.rstrip("\n") + ",more\n", encoding="utf-8")
    with pytest.raises(InputRefused, match="a value beyond the last column: extra inputs are not permitted"):
        load_published(tmp_path)
    target.write_text(text.replace("figure,", "id,", 1), encoding="utf-8")
    with pytest.raises(InputRefused, match="figure: field required"):
        load_published(tmp_path)
    target.write_bytes(text.encode("latin-1", "replace") + b"\xe9")
    with pytest.raises(InputRefused, match="is not UTF-8"):
        load_published(tmp_path)


def test_the_last_folder_with_a_file_wins(tmp_path: Path) -> None:
    assert len(load_published(SHIPPED, edited(tmp_path))) == 1
    assert len(load_published(tmp_path, SHIPPED)) == len(shipped())


# -- what ships -----------------------------------------------------------------------------------------------------


def test_enough_figures_were_read_and_every_one_says_where() -> None:
    counted = Counter(f.citation_status for f in shipped())
    assert counted["read"] >= 15
    for figure in shipped():
        assert len(figure.citation) > 30, figure.figure
        assert figure.url is not None, figure.figure
        assert figure.url.startswith(("https://", "http://")), figure.figure
        assert 2015 < figure.year < 2026, figure.figure


def test_tolerances_are_of_a_kind_of_figure_and_not_of_one() -> None:
    kinds: dict[tuple[str, str | None, str], set[float]] = {}
    for figure in shipped():
        if figure.relation == "equal" and figure.citation_status == "read":
            kinds.setdefault((figure.quantity, figure.indicator, figure.tolerance_why), set()).add(figure.tolerance)
    assert {len(v) for v in kinds.values()} == {1}


def test_figures_are_about_things_that_ketenpipe_knows() -> None:
    for figure in shipped():
        if figure.level == "node":
            assert figure.codes in reference().nodes, figure.figure
        elif figure.level == "set":
            assert figure.codes in METHODS, figure.figure
        else:
            for revision, name in (
                ("HS92", "product_codes_HS92_V202401b.csv"),
                ("HS17", "product_codes_HS17_V202301.csv"),
            ):
                listed = {line.split(",")[0] for line in (SHIPPED / "hs_codes" / name).read_text("utf-8").splitlines()}
                assert figure.codes_in(revision) <= listed, figure.figure
        if figure.focus is not None and figure.focus != "NLD":
            assert figure.focus in reference().bloc_names
        if figure.indicator is not None:
            assert figure.indicator in DEFINED, figure.figure


def test_an_explanation_names_figures_that_exist() -> None:
    known = {f.figure for f in shipped()}
    for figure in shipped():
        for word, text in (("figure", figure.explanation), ("cijfer", figure.explanation_nl)):
            assert set(re.findall(rf"\b{word} (\w+_\w+)", text or "")) <= known, figure.figure
        assert Counter(re.findall(r"\w+_\w+", figure.explanation or "")) == Counter(
            re.findall(r"\w+_\w+", figure.explanation_nl or "")
        )


def test_the_position_is_that_of_the_file() -> None:
    made = validate([published(figure=n) for n in ("b", "a")])
    assert one(made, figure="b")["position"] == 1
    assert one(made, figure="a")["position"] == 2
