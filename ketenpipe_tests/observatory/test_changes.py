"""Each change bears its cause: news, revision, or a change of our own making."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ketenpipe.observatory.changes import build_changes
from ketenpipe_tests.observatory.conftest import make_release

FACTS: dict[str, Any] = {
    "parameters": {"depth": 2, "focus": ["NLD"]},
    "method_versions": {"geodep": "1"},
    "source_vintages": {"baci": "202601"},
}


def rows(before: Any, after: Any, facts: dict[str, Any] | None = None, **over: Any) -> list[tuple[Any, ...]]:
    table = build_changes(before, after, before=FACTS, after=facts or FACTS, **over)
    return [
        (r["level"], r["code"], r["year"], r["what"], r["before"], r["after"], r["kind"]) for r in table.to_pylist()
    ]


def test_a_first_release_has_no_changes(tmp_path: Path) -> None:
    assert build_changes(None, make_release(tmp_path)).num_rows == 0


def test_equal_releases_have_no_changes(tmp_path: Path) -> None:
    assert rows(make_release(tmp_path), make_release(tmp_path)) == []


def test_revised_data(tmp_path: Path) -> None:
    found = rows(make_release(tmp_path), make_release(tmp_path, 0.3, sha="1" * 64, vintage="b"))
    assert ("hs6", "850511", 2024, "C1 v imports", "0.5", "0.3", "revised_data") in found
    assert ("hs6", "850511", 2024, "geodep", "true", "false", "revised_data") in found
    assert ("group", "magnets", 2024, "verdict", "direct", "none found", "revised_data") in found
    assert ("group", "magnets", 2024, "direct_flag", "true", "false", "revised_data") in found
    assert {f[-1] for f in found} == {"revised_data"}


def test_a_new_year_is_new_data_listed_for_groups_and_counted_for_products(tmp_path: Path) -> None:
    found = rows(make_release(tmp_path), make_release(tmp_path, years=(2023, 2024, 2025)))
    assert ("set", None, 2025, "year", None, "there", "new_data") in found
    assert ("group", "magnets", 2025, "C1 v imports", None, "0.5", "new_data") in found
    assert ("hs6", None, 2025, "C1 v imports", None, "1 figures", "new_data") in found
    assert ("hs6", None, 2025, "geodep", None, "1 flagged of 1 told", "new_data") in found
    assert {f[-1] for f in found} == {"new_data"}
    assert not [f for f in found if f[2] != 2025]


def test_a_verdict_that_moves_with_the_year_is_new_data(tmp_path: Path) -> None:
    before = make_release(tmp_path, years=(2023,))
    after = make_release(tmp_path, 0.2, years=(2023, 2024), vintage="b")
    found = rows(before, after)
    assert ("group", "magnets", 2024, "verdict", "direct", "none found", "new_data") in found
    assert ("hs6", "850511", 2023, "geodep", "true", "false", "revised_data") in found


@pytest.mark.parametrize(
    ("over", "facts", "kind"),
    [
        ({"version": "2"}, {}, "method"),
        ({}, {"parameters": {"depth": 3, "focus": ["NLD"]}}, "parameters"),
        ({"intensity": 0.4}, {}, "catalogue"),
        ({}, {"parameters": {"depth": 2, "focus": ["NLD"], "catalogue": "other hash"}}, "catalogue"),
        ({"vintage": "b"}, {}, "revised_data"),
        ({}, {"source_vintages": {"baci": "202602"}}, "revised_data"),
        # A change of our own making is never passed off as news.
        ({"version": "2", "vintage": "b", "sha": "1" * 64}, {"source_vintages": {"baci": "202602"}}, "method"),
        ({"intensity": 0.4, "vintage": "b"}, {"parameters": {"depth": 3, "focus": ["NLD"]}}, "parameters"),
    ],
)
def test_the_cause_of_a_flag_that_turned(
    tmp_path: Path, over: dict[str, Any], facts: dict[str, Any], kind: str
) -> None:
    found = rows(make_release(tmp_path), make_release(tmp_path, 0.3, **over), {**FACTS, **facts})
    assert ("group", "magnets", 2024, "geodep", "true", "false", kind) in found


def test_small_moves_are_counted_not_listed(tmp_path: Path) -> None:
    found = rows(make_release(tmp_path), make_release(tmp_path, 0.504, vintage="b"))
    assert found == [("set", None, None, "figures that moved by at most 1 %", None, "4", "revised_data")]
    found = rows(make_release(tmp_path), make_release(tmp_path, 0.504, vintage="b"), tolerance=0.001)
    assert len([f for f in found if f[3] == "C1 v imports"]) == 4


def test_a_focus_that_came_is_one_row(tmp_path: Path) -> None:
    one, two = make_release(tmp_path), make_release(tmp_path, focus="DEU")
    both = {n: pa.concat_tables([one[n], two[n]]) if "focus" in one[n].column_names else one[n] for n in one}
    facts = {**FACTS, "parameters": {"depth": 2, "focus": ["NLD", "DEU"]}}
    assert rows(one, both, facts) == [("set", None, None, "focus", None, "there", "parameters")]


def test_a_year_that_is_no_longer_looked_at(tmp_path: Path) -> None:
    facts = {**FACTS, "parameters": {**FACTS["parameters"], "years": "2024"}}
    assert rows(make_release(tmp_path), make_release(tmp_path, years=(2024,)), facts) == [
        ("set", None, 2023, "year", "there", None, "parameters")
    ]


def test_an_older_release_without_a_column_still_compares(tmp_path: Path) -> None:
    before = make_release(tmp_path)
    before["flags"] = before["flags"].drop_columns(["band", "below_minimum"])
    assert rows(before, make_release(tmp_path)) == []
