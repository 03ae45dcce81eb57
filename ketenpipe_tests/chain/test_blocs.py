"""Blocs: members by year, which blocs a focus may be, and what is refused."""

from __future__ import annotations

import csv
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from ketenpipe.chain.catalogue import BlocMember, Reference, load_reference, validate
from ketenpipe.chain.engine import Engine
from ketenpipe.chain.flows import flow_frame
from ketenpipe.chain.tracing import build_tracing, focus_members, members_table
from ketenpipe.errors import InputRefused, WrongUse
from ketenpipe.risk.direct import direct_indicators
from ketenpipe.settings import load_settings
from ketenpipe.sources.countries import is_known
from ketenpipe_tests.worlds import SHIPPED, catalogue, flows, mass, node, thresholds

BACI_YEARS = range(1995, 2026)


@pytest.fixture(scope="module")
def shipped() -> Reference:
    return load_reference(SHIPPED)


def row(bloc: str, iso3: str, first: int | None = None, last: int | None = None) -> BlocMember:
    return BlocMember(bloc, iso3, first, last, "test", "blocs.csv", 1)


# -- the shipped table --------------------------------------------------------------------------------------
def test_the_unions_are_as_the_method_has_them(shipped: Reference) -> None:
    today = shipped.bloc_members("EU27", 2024)
    assert all(shipped.bloc_members("EU27", year) == today for year in BACI_YEARS)
    assert shipped.bloc_members("EU", 2019) == today | {"GBR"}
    assert shipped.bloc_members("EU", 2020) == today


@pytest.mark.parametrize(
    ("bloc", "sizes"),
    [
        ("ASEAN", {1995: 7, 1996: 7, 1997: 9, 1999: 10, 2024: 10, 2025: 11}),
        ("BENELUX", {1995: 3, 2024: 3}),
        ("BRICS", {2009: 4, 2010: 5, 2023: 5, 2024: 9, 2025: 10}),
        ("CPTPP", {2018: 6, 2019: 7, 2021: 8, 2022: 9, 2023: 11, 2024: 12}),
        ("EEA", {1994: 17, 1995: 18, 2004: 28, 2007: 30, 2013: 30, 2014: 31, 2019: 31, 2020: 30}),
        ("EFTA", {1994: 7, 1995: 4, 2024: 4}),
        ("G7", {1995: 7, 2024: 7}),
        ("GCC", {1995: 6, 2024: 6}),
        ("MERCOSUR", {1995: 4, 2011: 4, 2012: 4, 2013: 5, 2015: 5, 2016: 4, 2024: 5}),
        ("NAFTA", {1994: 3, 2019: 3, 2020: 0}),
        ("OECD", {1995: 26, 1996: 29, 2000: 30, 2010: 34, 2016: 35, 2018: 36, 2020: 37, 2021: 38}),
        ("USMCA", {2019: 0, 2020: 3}),
    ],
)
def test_sizes_by_year(shipped: Reference, bloc: str, sizes: dict[int, int]) -> None:
    assert {year: len(shipped.bloc_members(bloc, year)) for year in sizes} == sizes


def test_suspended_members_are_no_members(shipped: Reference) -> None:
    inside = {y: {c for c in ("PRY", "VEN") if c in shipped.bloc_members("MERCOSUR", y)} for y in range(2011, 2018)}
    assert inside[2011] == {"PRY"}
    assert inside[2012] == {"VEN"}
    assert inside[2013] == inside[2015] == {"PRY", "VEN"}
    assert inside[2016] == {"PRY"}


def test_every_member_is_a_country_with_a_source(shipped: Reference) -> None:
    for member in shipped.blocs:
        assert is_known(member.iso3), member
        assert "read:" in member.source or member.bloc in ("EU", "EU27"), member
    with (SHIPPED / "blocs.csv").open(encoding="utf-8") as stream:
        rows = [(r["bloc"], r["iso3"]) for r in csv.DictReader(stream) if (r["bloc"], r["iso3"]) != ("MERCOSUR", "PRY")]
    assert len(rows) == len(set(rows))


def test_the_table_agrees_with_a_library(shipped: Reference) -> None:
    coco = pytest.importorskip("country_converter", reason="the oracle country_converter is in the test extra")
    table = pd.read_csv(Path(coco.__file__).with_name("country_data.tsv"), sep="\t", dtype=str).set_index("ISO3")
    joined = table["OECD"].dropna().astype(int)
    for year in (1995, 2005, 2015, 2019, 2024):
        assert shipped.bloc_members("OECD", year) == frozenset(joined[joined <= year].index)
    for bloc in ("EU", "EU27", "EEA", "G7"):
        assert shipped.bloc_members(bloc, 2024) == frozenset(table[bloc].dropna().index), bloc


# -- any bloc may be a focus ----------------------------------------------------------------------------------
def test_settings_check_the_shape_only() -> None:
    assert load_settings(bloc="oecd, brics").bloc == ("OECD", "BRICS")
    with pytest.raises(WrongUse, match=r"setting 'bloc': 'EU-27' is not the name of a bloc \(capitals and digits"):
        load_settings(bloc="EU-27")


def test_an_unknown_bloc_is_refused_with_those_there_are(shipped: Reference) -> None:
    with pytest.raises(WrongUse, match=r"^'EU28' is not a bloc; there are ASEAN, BENELUX, .*, EU, EU27, .*USMCA$"):
        shipped.check_blocs(("EU27", "EU28"))
    with pytest.raises(WrongUse, match="'ABC' is not a bloc"):
        shipped.check_blocs(("ABC",))
    with pytest.raises(WrongUse, match="'EU28' is not a bloc"):
        focus_members(shipped, "EU28", [2020])
    shipped.check_blocs(("EU27", "OECD"), range(1995, 2025))


def test_a_bloc_without_members_in_a_year_is_refused_and_not_zero(shipped: Reference) -> None:
    with pytest.raises(
        WrongUse,
        match=r"^the bloc USMCA has no members in 2018 \(it has members from 2020\); choose years such as 2020-2024$",
    ):
        shipped.check_blocs(("USMCA",), range(2018, 2025))
    with pytest.raises(WrongUse, match=r"NAFTA has no members in 2020 \(it has members from 1994 to 2019\)"):
        focus_members(shipped, "NAFTA", [2019, 2020])
    with pytest.raises(WrongUse, match="choose another bloc or other years"):
        shipped.check_blocs(("CPTPP",), (2010,))


def test_a_bloc_must_not_bear_the_code_of_a_country() -> None:
    reference = catalogue([node("a", "260600")], blocs=[row("NLD", "BEL")])
    with pytest.raises(InputRefused, match=r"blocs\.csv.*the bloc NLD bears the code of a country"):
        validate(reference)


def test_members_come_and_go_with_the_years() -> None:
    reference = catalogue(blocs=[row("ABC", "AUT"), row("ABC", "BEL", 2020, 2021), row("ABC", "CZE", 2021)])
    assert focus_members(reference, "ABC", [2019, 2020, 2021, 2022]) == {
        2019: {"AUT"},
        2020: {"AUT", "BEL"},
        2021: {"AUT", "BEL", "CZE"},
        2022: {"AUT", "CZE"},
    }
    table = members_table(reference, "ABC", [2019, 2020])
    assert table is not None
    assert table.to_pylist() == [
        {"year": 2019, "country": "AUT"},
        {"year": 2020, "country": "AUT"},
        {"year": 2020, "country": "BEL"},
    ]
    assert members_table(reference, "AUT", [2019]) is None
    assert focus_members(reference, "AUT", [2019]) == {2019: {"AUT"}}


def test_a_change_of_members_turns_outside_trade_into_inside_trade() -> None:
    # CHN sells 100 to AUT; BEL sells 50 to AUT. In 2020 BEL is outside and part of the mix, in 2021 inside.
    rows = [mass(year, "260600", ("CHN", "AUT", 100.0), ("BEL", "AUT", 50.0)) for year in (2020, 2021)]
    reference = catalogue([node("a", "260600")], blocs=[row("ABC", "AUT"), row("ABC", "BEL", 2021)])
    traced = build_tracing(flows([r for year in rows for r in year]), None, reference, ("ABC",))
    direct = {(r["year"], r["country"]): r["share_direct"] for r in traced.supply_mix.to_pylist() if r["share_direct"]}
    assert direct == pytest.approx({(2020, "CHN"): 2 / 3, (2020, "BEL"): 1 / 3, (2021, "CHN"): 1.0})


def test_a_bloc_with_members_outside_the_union_counts_what_they_sell_each_other_as_extra_eu() -> None:
    # ABC = AUT, USA, JPN. AUT buys 20 from USA (inside ABC, outside the EU27), 10 from BEL (inside the EU27), 30 from
    # CHN; USA buys 40 from AUT. C5 = (20 + 30) / (20 + 10 + 30 + 40).
    table = flows(mass(2020, "260600", ("USA", "AUT", 20), ("BEL", "AUT", 10), ("CHN", "AUT", 30), ("AUT", "USA", 40)))
    with Engine() as engine:
        base = engine.keep(flow_frame(engine.frame("flows", table)))
        union = engine.frame("union_", pa.table({"country": ["AUT", "BEL"]}))
        values = {}
        for bloc, members in (("ABC", ("AUT", "JPN", "USA")), ("EU", ("AUT", "USA")), ("EU27", ("AUT", "BEL"))):
            held = pa.table({"year": pa.array([2020] * len(members), pa.int32()), "country": list(members)})
            seen = direct_indicators(engine, base, engine.frame(bloc, held), union, None, bloc, thresholds())
            c5 = seen[seen["indicator"] == "C5"]
            values |= {(bloc, r["measure"]): r["value"] for r in c5.to_dict("records")}
    assert values["ABC", "v"] == pytest.approx(50 / 100)
    assert values["ABC", "q"] == pytest.approx(50 / 100)
    # The union of a year stays as it is: what its members sell each other is intra-EU.
    assert values["EU", "v"] == pytest.approx(30 / 100)
    assert values["EU27", "v"] == pytest.approx(50 / 60)
