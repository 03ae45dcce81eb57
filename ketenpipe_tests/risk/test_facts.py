"""Facts of many years: read from tables in any split, neighbours by year, persistence counted in plain Python."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ketenpipe.errors import WrongUse
from ketenpipe.risk.facts import FACT_COLUMNS, Facts, Persistence, collect_facts
from ketenpipe.risk.world import Vintages, wgi_vintages
from ketenpipe.tables.registry import COUNTRY_RISK, INDICATORS
from ketenpipe_tests.worlds import REVISION, chain_world, one, thresholds

FEW = settings(max_examples=60, deadline=None)
STAMPS = Vintages({(REVISION, 2020): "V1"}, {}, None)


def row(indicator: str, value: float | None, year: int = 2020, **columns: Any) -> dict[str, Any]:
    measure, basis = {"C2": ("v", "exports"), "O1": ("q", "traced")}.get(indicator, ("v", "imports"))
    return {
        "focus": "NLD", "level": "hs6", "code": "100001", "hs_revision": REVISION, "group": None, "tier": 0,
        "year": year, "indicator": indicator, "measure": measure, "basis": basis, "value": value, "unit": "1",
        "method_value": value, "method_version": "1",
    } | columns  # fmt: skip


def as_read(facts: Facts) -> list[dict[str, Any]]:
    """The facts as plain rows, sorted."""
    frame = facts.frame.drop(columns="item").astype(object)
    frame = frame.where(frame.notna(), None)
    records: list[dict[str, Any]] = frame.to_dict("records")
    return sorted(records, key=lambda r: [str(r[k]) for k in ("focus", "level", "code", "group", "tier", "year")])


def test_the_facts_of_an_item_by_hand() -> None:
    made = INDICATORS.conform(
        [
            row("M", 5.0), row("C1", 0.4), row("C1", 0.9, measure="q"), row("S1", None, method_value=100.0),
            row("O1", 0.3, high=0.5, low=0.3), row("T", None, measure="q", basis="traced", reason="export_proxy"),
            row("T", 1.0, measure="v", basis="traced", reason="by value"),
            row("C1", 0.7, year=2021, basis="reconciled_comtrade"), row("P2", 0.1, level="set", code="tno"),
        ]
    )  # fmt: skip
    (held,) = as_read(collect_facts([made]))
    told = {n: held[n] for n in ("M", "C1", "S1", "O1", "O1_high", "T_reason", "T_basis", "T_confidence", "C2", "year")}
    assert told == {
        "M": 5.0, "C1": 0.4, "S1": 100.0, "O1": 0.3, "O1_high": 0.5, "T_reason": "export_proxy", "T_basis": "traced",
        "T_confidence": None, "C2": None, "year": 2020,
    }  # fmt: skip


def test_figures_of_criticality_and_industries_by_hand() -> None:
    made = INDICATORS.conform(
        [
            row("G4", 0.1, measure="q", basis="observed", method_value=0.2, reason="material: Ore"),
            row("G5", None, measure="q", basis="observed", high=1.5, method_value=0.9, reason="no_recycling_rate"),
            row("EI", 3.0, basis="icio_proportional", reason="synthetic"),
            row("C4a", 0.7, country="BEL"), row("C4b", 0.6, measure="q", basis="traced", country="CHN"),
            row("C1", 0.8, basis="icio_proportional"), row("O1", 0.3, basis="icio_proportional"),
            row("I4", 2.5, basis="icio", level="industry", code="C20", hs_revision=None, tier=None, country="USA"),
            row("EI", 1.0, basis="reconciled_comtrade", code="100007"),
        ]
    )  # fmt: skip
    industry, product = as_read(collect_facts([made]))[::-1]
    assert [product[n] for n in ("G4", "G4_published", "G4_basis", "G4_reason")] == [
        0.1, 0.2, "observed", "material: Ore",
    ]  # fmt: skip
    assert [product[n] for n in ("G5", "G5_published", "G5_high", "G5_basis", "G5_reason")] == [
        None, 0.9, 1.5, "observed", "no_recycling_rate",
    ]  # fmt: skip
    # Of figures by industry recipes only EI is read, with what it rests on.
    assert [product[n] for n in ("EI", "EI_basis", "EI_reason", "C1", "O1")] == [
        3.0, "icio_proportional", "synthetic", None, None,
    ]  # fmt: skip
    assert [product[n] for n in ("C4a_country", "C4b_country", "I4", "I4_basis")] == ["BEL", "CHN", None, None]
    assert [industry[n] for n in ("level", "code", "hs_revision", "tier", "I4", "I4_basis", "I4_country")] == [
        "industry", "C20", None, -1, 2.5, "icio", "USA",
    ]  # fmt: skip


def test_facts_do_not_depend_on_the_tables_they_come_in() -> None:
    whole = chain_world().indicators
    expected = as_read(collect_facts([whole]))
    assert len(expected) > 40
    parts = [whole.filter(pc.field("level") == level) for level in ("node", "set", "hs6", "group")]
    narrow = [p.select(FACT_COLUMNS) for p in parts]
    coded = [
        pa.table({n: c.dictionary_encode() if pa.types.is_string(c.type) else c for n, c in _columns(p)})
        for p in narrow
    ]
    for tables in (parts, narrow, coded, parts[::-1]):
        assert as_read(collect_facts(tables)) == expected


def _columns(table: pa.Table) -> list[tuple[str, pa.ChunkedArray]]:
    return list(zip(table.column_names, table.columns, strict=True))


def test_an_item_in_two_tables_is_refused() -> None:
    first, second = INDICATORS.conform([row("M", 5.0)]), INDICATORS.conform([row("C1", 0.4)])
    with pytest.raises(WrongUse) as refused:
        collect_facts([first, second])
    assert str(refused.value) == "the figures of NLD 100001 in 2020 stand in two tables; give them once"


def test_nothing_at_all_is_no_fact() -> None:
    for tables in ([], [INDICATORS.empty()]):
        facts = collect_facts(tables)
        assert (len(facts.frame), facts.years) == (0, [])
        assert Persistence(facts, thresholds(), STAMPS).rows(2020).num_rows == 0


@FEW
@given(st.dictionaries(st.sampled_from(["100001", "100002", "100003"]), st.sets(st.integers(2015, 2022)), min_size=1))
def test_neighbours_by_year(years: dict[str, set[int]]) -> None:
    made = INDICATORS.conform([row("M", 1.0, year=y, code=c) for c, held in years.items() for y in held])
    facts = collect_facts([made])
    frame = facts.frame
    for step in (-2, -1, 1, 9):
        found = facts.beside(step)
        for n in range(len(frame)):
            code, year = frame["code"].iloc[n], frame["year"].iloc[n]
            expected = year + step in years[code]
            assert (found[n] >= 0) == expected
            if expected:
                assert (frame["code"].iloc[found[n]], frame["year"].iloc[found[n]]) == (code, year + step)
    for year in facts.years:
        assert set(frame["year"].to_numpy()[facts.of_year(year)]) == {year}


# -- persistence ---------------------------------------------------------------------------------------------


@FEW
@given(
    st.dictionaries(
        st.integers(2015, 2022),
        st.tuples(*(st.sampled_from([None, 0.0, limit, limit + 0.1]) for limit in (1.0, 0.4, 0.4, 1.0))),
        min_size=1,
    )
)
def test_persistence_is_counted(held: dict[int, tuple[float | None, ...]]) -> None:
    names = ("M", "C1", "C2", "S1")
    made = [row(n, v, year=y) for y, values in held.items() for n, v in zip(names, values, strict=True)]
    found = Persistence(collect_facts([INDICATORS.conform(made)]), thresholds(), STAMPS)

    def holds(year: int) -> bool | None:
        imports, *rest = held.get(year, (None,) * 4)
        if not (imports or 0) > 0:
            return None
        tests = [None if v is None else v > cut for v, cut in zip(rest, (0.4, 0.4, 1.0), strict=True)]
        return False if False in tests else None if None in tests else True

    for year, values in held.items():
        table = found.rows(year)
        if all(v is None for v in values):
            assert table.num_rows == 0
            continue
        single, three = one(table, indicator="geodep_criteria"), one(table, indicator="P1")
        now = holds(year)
        assert single["value"] == (None if now is None else float(now))
        assert single["reason"] == ("no_imports" if now is None else None)
        window = [holds(y) for y in range(year - 2, year + 1)]
        sure, open_years = window.count(True), window.count(None)
        told = sure >= 2 or sure + open_years < 2
        assert (three["value"], three["low"], three["high"]) == (sure if told else None, sure, sure + open_years)
        assert three["reason"] == (None if told else "window_incomplete")
        assert (three["source_vintage"], three["group"], three["tier"]) == (
            STAMPS.vintage(REVISION, year, "baci"),
            None,
            0,
        )


# -- vintages ------------------------------------------------------------------------------------------------


def test_vintages_by_hand() -> None:
    held = Vintages({("HS92", 2020): "V202401b"}, {2020: "2024 edition"}, "2023")
    assert held.vintage("HS92", 2020, "baci", "mining", "wgi") == "baci HS92 V202401b; mining 2023; wgi 2024 edition"
    assert held.vintage("HS92", 2021, "baci", "wgi") == "baci HS92 unknown"
    assert held.vintage(None, 2020, "baci", "mining") == "mining 2023"
    assert Vintages({}, {}).vintage("HS92", 2020, "mining", "wgi") == ""


def test_a_year_without_a_score_has_no_edition() -> None:
    rows = [
        {"country": c, "year": y, "risk": r, "estimate": r, "dimension": "PV", "vintage": v}
        for c, y, r, v in (("CHN", 2020, 0.5, "a"), ("DEU", 2020, None, "a"), ("CHN", 2021, None, "b"))
    ]
    assert wgi_vintages(COUNTRY_RISK.conform(rows)) == {2020: "a"}


def test_the_facts_hold_no_figure_twice() -> None:
    facts = collect_facts([chain_world().indicators])
    places = facts.frame[["item", "year"]].to_numpy()
    assert len(np.unique(places, axis=0)) == len(places)
