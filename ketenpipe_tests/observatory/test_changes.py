"""Each change bears its cause: news, revision, or a change of our own making."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ketenpipe.observatory.changes import build_changes, found_changes
from ketenpipe.tables.registry import CHAIN_EDGES, FLAGS, INDICATORS, REGISTER
from ketenpipe.tables.store import write_parquet
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


# Against a second way of doing it: rows in dictionaries, one at a time


def world(seed: int) -> dict[str, pa.Table]:
    """A few foci, years, codes and groups; values, versions and vintages drawn so that everything happens."""
    draw = random.Random(seed)
    indicators, flags, register = [], [], []
    for focus in draw.sample(["NLD", "DEU", "EU27"], draw.choice([2, 3])):
        for year in draw.sample([2020, 2021, 2022, 2023], 3):
            for level, code, group in (
                ("hs6", "850511", None), ("hs6", "284180", None), ("group", "magnets", "magnets"),
                ("node", "magnet", "magnets"), ("set", None, None),
            ):  # fmt: skip
                same = {"focus": focus, "level": level, "code": code, "hs_revision": "HS17", "group": group, "tier": 0}
                same |= {"year": year, "method_version": draw.choice("1112")}
                for measure in ("v", "none"):
                    if draw.random() < 0.2:
                        continue
                    figure = {
                        "indicator": "C1",
                        "measure": measure,
                        "unit": "index 0-1",
                        "source_vintage": draw.choice("aab"),
                    }
                    figure["basis"] = draw.choice(["imports", "imports", "reconciled_comtrade"])
                    indicators.append(
                        {**same, **figure, "value": draw.choice([None, 0.5, 0.503, 0.7, 1e-5, 123456.789])}
                    )
                if draw.random() < 0.8:
                    verdict = {"flagged": draw.choice([None, True, False]), "band": draw.choice([None, "low"])}
                    flags.append(
                        {**same, **verdict, "method": "geodep", "below_minimum": draw.choice([None, True, False])}
                    )
        for group in draw.sample(["magnets", "tungsten"], draw.choice([1, 2])):
            verdict = draw.choice(["direct", "none found"])
            register.append(
                {
                    "focus": focus, "group": group, "year": draw.choice([None, 2022, 2023]), "verdict": verdict,
                    "verdict_nl": verdict, "review_status": draw.choice(["reopened", "signed"]),
                    "provisional": draw.random() < 0.5, "direct_flag": draw.choice([None, True, False]),
                    "evidence_hash": "0" * 64,
                }
            )  # fmt: skip
    edge = {
        "group": "magnets",
        "user": "magnet",
        "input": "ree",
        "intensity": draw.choice([0.3, 0.4]),
        "essential": False,
    }
    edge |= {"evidence": "literature", "confidence": "high", "citation": "a book"}
    return {
        "indicators": INDICATORS.conform(indicators),
        "flags": FLAGS.conform(flags),
        "register": REGISTER.conform(register),
        "chain_edges": CHAIN_EDGES.conform([edge]),
    }


def facts_of(seed: int) -> dict[str, Any]:
    draw = random.Random(-seed)
    parameters = {"depth": draw.choice([2, 2, 3]), "focus": ["NLD"], "catalogue": draw.choice("aab")}
    return {
        "parameters": parameters,
        "method_versions": {"geodep": draw.choice("112")},
        "source_vintages": {"baci": draw.choice("aab")},
    }


def by_hand(
    old: dict[str, pa.Table], new: dict[str, pa.Table], before: dict[str, Any], after: dict[str, Any]
) -> list[tuple[Any, ...]]:
    """The changes as the docstring and METHOD have them, one row after the other."""
    sides = [
        {n: [r for r in t.to_pylist() if r.get("basis") != "reconciled_comtrade"] for n, t in side.items()}
        for side in (old, new)
    ]
    years: list[dict[str, set[int]]] = [{}, {}]
    for side, held in zip(sides, years, strict=True):
        for name in ("indicators", "flags", "register"):
            for row in side[name]:
                held.setdefault(row["focus"], set()).update([row["year"]] if row["year"] is not None else [])
    moved = {k for k in before["parameters"] if before["parameters"][k] != after["parameters"][k]}
    own = bool(moved - {"focus", "catalogue"})
    chain = sides[0]["chain_edges"] != sides[1]["chain_edges"]
    methods = before["method_versions"] != after["method_versions"]
    sources = before["source_vintages"] != after["source_vintages"]

    def kind(focus: str, year: int | None, group: str | None, method: bool, vintage: bool) -> str:
        if year is not None and year not in years[0][focus]:
            return "new_data"
        if year is not None and year not in years[1][focus]:
            return "revised_data"
        if method:
            return "method"
        if own:
            return "parameters"
        if group == "magnets" and chain:
            return "catalogue"
        if vintage or sources:
            return "revised_data"
        return "method" if methods else "catalogue" if chain or "catalogue" in moved else "revised_data"

    found: set[tuple[Any, ...]] = set()
    counts: dict[tuple[Any, ...], list[int]] = {}
    for focus in years[0].keys() | years[1].keys():
        if (focus in years[0]) != (focus in years[1]):
            came = focus in years[1]
            found.add(
                (focus, "set", None, None, "focus", None if came else "there", "there" if came else None, "parameters")
            )
            continue
        for year in years[1][focus] - years[0][focus]:
            found.add((focus, "set", None, year, "year", None, "there", "new_data"))
        for year in years[0][focus] - years[1][focus]:
            found.add((focus, "set", None, year, "year", "there", None, "revised_data"))

    def said(row: dict[str, Any] | None) -> str | None:
        if row is None or row["flagged"] is None:
            return None
        band = f" ({row['band']})" if row["band"] else ""
        return str(row["flagged"]).lower() + band + (", below minimum" if row["below_minimum"] else "")

    for name in ("flags", "indicators"):
        table = FLAGS if name == "flags" else INDICATORS
        one, two = ({tuple(r[k] for k in table.key): r for r in side[name]} for side in sides)
        for key in one.keys() | two.keys():
            was, now = one.get(key), two.get(key)
            row = now or was
            assert row is not None
            focus, year, level = row["focus"], row["year"], row["level"]
            if not (focus in years[0] and focus in years[1]) or year not in years[1][focus]:
                continue
            if name == "indicators" and level == "node":
                continue
            is_new = year not in years[0][focus]
            counted = is_new and level not in ("group", "set", "industry")
            both = was is not None and now is not None
            method = was["method_version"] != now["method_version"] if both else methods  # type: ignore[index]
            code = row["code"] or row["group"]
            if name == "flags":
                before_, after_ = said(was), said(now)
                if before_ == after_:
                    continue
                if counted:
                    told = counts.setdefault((focus, level, year, "geodep"), [0, 0])
                    told[0] += after_.startswith("true") if after_ else 0
                    told[1] += 1
                    continue
                cause = kind(focus, year, row["group"], method, False)
                found.add((focus, level, code, year, row["method"], before_, after_, cause))
                continue
            a, b = was and was["value"], now and now["value"]
            if a == b:
                continue
            what = " ".join(p for p in (row["indicator"], row["measure"].replace("none", ""), row["basis"]) if p)
            if counted:
                counts.setdefault((focus, level, year, what), [0])[0] += 1
                continue
            vintage = both and was["source_vintage"] != now["source_vintage"]  # type: ignore[index]
            cause = kind(focus, year, row["group"], method, vintage)
            if a is not None and b is not None and abs(b - a) <= 0.01 * max(abs(a), abs(b)):
                counts.setdefault((focus, cause), [0])[0] += 1
                continue
            found.add((focus, level, code, year, what, *(None if x is None else f"{x:.9g}" for x in (a, b)), cause))
    for key, told in counts.items():
        if len(key) == 2:
            found.add((key[0], "set", None, None, "figures that moved by at most 1 %", None, str(told[0]), key[1]))
        else:
            words = f"{told[0]} flagged of {told[1]} told" if len(told) == 2 else f"{told[0]} figures"
            found.add((key[0], key[1], None, key[2], key[3], None, words, "new_data"))
    one, two = ({(r["focus"], r["group"]): r for r in side["register"]} for side in sides)
    for key in one.keys() | two.keys():
        if not (key[0] in years[0] and key[0] in years[1]):
            continue
        was, now = one.get(key), two.get(key)
        row = now or was
        assert row is not None
        for column in ("verdict", "direct_flag", "review_status", "provisional"):
            a, b = (None if r is None or r[column] is None else str(r[column]) for r in (was, now))
            if column in ("direct_flag", "provisional"):
                a, b = a and a.lower(), b and b.lower()
            if a == b or ((was is None or now is None) and column != "verdict"):
                continue
            review = column in ("review_status", "provisional")
            cause = "review" if review else kind(key[0], row["year"], key[1], methods, False)
            found.add((key[0], "group", key[1], row["year"], column, a, b, cause))
    return sorted(found, key=lambda r: tuple((x is None, x or 0 if not isinstance(x, str) else x) for x in r))


@pytest.mark.parametrize("seed", range(20))
def test_the_changes_are_those_that_a_walk_over_the_rows_finds(seed: int) -> None:
    old, new, before, after = world(seed), world(seed + 1000), facts_of(seed), facts_of(seed + 1000)
    if seed % 4 == 0:
        new = {**world(seed), "indicators": new["indicators"]}
    found = build_changes(old, new, before=before, after=after)
    assert [tuple(r.values()) for r in found.to_pylist()] == by_hand(old, new, before, after)


def test_tables_in_files_are_compared_like_those_in_memory(tmp_path: Path) -> None:
    sides: list[dict[str, pa.Table]] = [world(1), world(2)]
    files: list[dict[str, pa.Table | Path]] = []
    for number, side in enumerate(sides):
        folder = tmp_path / f"it's [{number}]*?"
        for name, table in side.items():
            write_parquet(folder / f"{name}.parquet", table)
        files.append({name: folder / f"{name}.parquet" for name in side})
    given: dict[str, Any] = {"before": facts_of(1), "after": facts_of(2)}
    expected = build_changes(sides[0], sides[1], **given)
    assert expected.num_rows > 20
    with found_changes(files[0], files[1], **given) as found:
        assert found.read().equals(expected)
        assert found.read().equals(expected)
