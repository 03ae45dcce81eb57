"""Mining production: no total rows, no guesses between two rows, units."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ketenpipe.errors import InputRefused
from ketenpipe.sources.countries import harmonise
from ketenpipe.sources.mining import (
    MINING_SCHEMA,
    MiningData,
    country_of,
    read_mining,
    usgs_country,
    usgs_figure,
    usgs_material,
)
from ketenpipe.sources.places import discover, embedded
from ketenpipe_tests.shared_data import shared_data
from ketenpipe_tests.sources.conftest import Drop
from ketenpipe_tests.sources.test_workbook import book

HEAD = "commodity,Country,Country_Code,Country_ISO,unit,data_source,year,production\n"


def test_the_sample_without_totals_and_without_guyanas_gold() -> None:
    data = read_mining(discover(embedded("sample")))
    assert data.table.schema == MINING_SCHEMA
    rows = data.table.to_pylist()
    assert not {r["iso3"] for r in rows} & {"DELETE", "R20", "S19"}
    assert {"XKX", "TWN"} <= {r["iso3"] for r in rows}
    assert not [r for r in rows if (r["material"], r["iso3"]) == ("Gold", "GUY")]
    assert [r for r in rows if (r["material"], r["iso3"]) == ("Bauxite", "GUY")]
    (record,) = data.records
    assert record.licence == "not stated by the source"
    assert record.rows_read - record.rows_refused == data.table.num_rows
    assert record.rows_refused == 392 + 14
    assert any("Gold of GUY in 7 years (French Guiana and Guyana)" in note for note in data.notes)
    gold = next(r for r in rows if r["material"] == "Gold" and r["quantity"])
    assert gold["unit"] == "kg"
    assert gold["quantity_tonnes"] == gold["quantity"] / 1000
    gas = next(r for r in rows if r["material"] == "Natural Gas")
    assert gas["quantity_tonnes"] is None


def test_the_sample_is_a_selection_of_the_development_data() -> None:
    with shared_data("wmd/world_mining_data_2018_2024.csv").open(newline="") as stream:
        theirs = list(csv.reader(stream))
    with next((embedded("sample") / "mining").glob("*.csv")).open(newline="") as stream:
        mine = list(csv.reader(stream))
    kept = {row[0] for row in mine}
    assert mine == [row for row in theirs if row[0] in kept]
    assert len(kept) - 1 == 56


def test_totals_nulls_and_units(drop: Drop) -> None:
    drop.baci()
    drop.put(
        "mining/m.csv",
        HEAD + "X,China,156,CHN,metr. t,r,2022,60\nX,Chile,152,CHL,metr. t,r,2022,\n"
        "X,Total,DELETE,DELETE,metr. "
        "t,r,2022,99\nY,China,156,CHN,kg,r,2022,1500\nZ,China,156,CHN,ct,r,2022,5\n",
    )
    data = read_mining(drop.inventory())
    assert [(r["material"], r["iso3"], r["quantity"], r["quantity_tonnes"]) for r in data.table.to_pylist()] == [
        ("X", "CHL", None, None),
        ("X", "CHN", 60.0, 60.0),
        ("Y", "CHN", 1500.0, 1.5),
        ("Z", "CHN", 5.0, None),
    ]
    assert data.notes == ("mining/m.csv: 1 total rows are no countries",)


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ("X,China,156,CHN,metr. t,r,2022,-1\n", "line 2: the production -1 of China is negative"),
        ("X,China,156,CHN,metr. t,r,2022,some\n", "line 2: the production 'some' is no number"),
        ("X,China,156,CHN,metr. t,r,22,1\n", "'22' is no year"),
        ("X,China,156,CHN,metr. t,r,2022,1\nX,Chile,152,CHL,kg,r,2022,1\n", "X stands in two units"),
        ("X,China,156,CHN\n", "4 fields where the header has 8"),
    ],
)
def test_bad_rows_are_refused(drop: Drop, rows: str, sentence: str) -> None:
    drop.baci()
    drop.put("mining/m.csv", HEAD + rows)
    with pytest.raises(InputRefused, match=sentence):
        read_mining(drop.inventory())


def test_a_table_that_was_joined_to_itself_is_refused(drop: Drop) -> None:
    row = "Gold,Chile,152,CHL,kg,r,2022,5\n"
    drop.baci()
    drop.put("mining/a.csv", HEAD + row * 2)
    said = "a.csv: of 2 figures none is left: each is a total, of no country, or stands twice; use the table"
    with pytest.raises(InputRefused, match=re.escape(said)):
        read_mining(drop.inventory())


def test_a_missing_column_is_refused(drop: Drop) -> None:
    drop.baci()
    drop.put("mining/m.csv", "commodity,Country\nX,China\n")
    with pytest.raises(InputRefused, match="column 'Country_ISO' is missing"):
        read_mining(drop.inventory())


WMD_SHEET: list[list[object]] = [
    ["Cobalt"],
    ["Country", "unit", 2022, 2023, "data source"],
    ["Congo, D.R.", "metr. t", 120000, 130000.5, "r"],
    ["French Guiana", "metr. t", 1, None, "e"],
    ["Guyana", "metr. t", 2, 3, "e"],
    ["Total", "metr. t", 120003, 130003.5, None],
    [None],
    ["r = reported, e = estimated"],
]
WIDE = (
    "SOURCE,COMMODITY,COUNTRY,TYPE,UNIT_MEAS,PROD_2023,PROD_EST_ 2024,PROD_NOTES,CAP_2023,RESERVES_2024\n"
    'MCS2025,Cobalt,Congo (Kinshasa),"Mine production, cobalt content, estimated",metric tons,"175,000",220000,,,6\n'
    'MCS2025,Cobalt,United States,"Mine production, cobalt content, estimated",metric tons,W,<1,,,\n'
    'MCS2025,Cobalt,Finland,"Mine production, cobalt content, estimated",metric tons,—,NA,,,\n'
    'MCS2025,Cobalt,Other Countries,"Mine production, cobalt content, estimated",metric tons,5,6,,,\n'
    'MCS2025,Cobalt,World total (rounded),"Mine production, cobalt content",metric tons,175005,220006,,,\n'
    'MCS2025,Copper ,Chile,"Mine production, recoverable copper content",thousand metric tons,5250,5300,,,\n'
    'MCS2025,Copper ,Chile,"Refinery production, copper",thousand metric tons,2080,1900,,,\n'
    'MCS2025,Copper ,Atlantis,"Refinery production, copper",thousand metric tons,,,,,\n'
)


def figures(data: MiningData) -> dict[tuple[str, str, int], float | None]:
    return {(r["material"], r["iso3"], r["year"]): r["quantity"] for r in data.table.to_pylist()}


def test_the_workbook_tells_guyana_from_french_guiana_by_name(drop: Drop) -> None:
    drop.baci()
    drop.put(
        "mining/6.4. Production_by_Minerals.xlsx", book({"Contents": [["World Mining Data"]], "Cobalt": WMD_SHEET})
    )
    drop.put("mining/6.5. Share.xlsx", book({"Cobalt": WMD_SHEET}))
    drop.put("mining/mcs2023-cobal_salient.csv", "DataSource,Commodity\n")
    inventory = drop.inventory()
    assert {u.relative: u.reason for u in inventory.unrecognised} == {
        "mining/6.5. Share.xlsx": "of the World Mining Data workbooks only 6.4 (countries by minerals) is read",
        "mining/mcs2023-cobal_salient.csv": "not a table of production by country",
    }
    data = read_mining(inventory)
    assert figures(data) == {
        ("Cobalt", "COD", 2022): 120000,
        ("Cobalt", "COD", 2023): 130000.5,
        ("Cobalt", "GUF", 2022): 1,
        ("Cobalt", "GUF", 2023): None,
        ("Cobalt", "GUY", 2022): 2,
        ("Cobalt", "GUY", 2023): 3,
    }
    assert data.notes == (
        "mining/6.4. Production_by_Minerals.xlsx: 2 total rows are no countries",
        "mining/6.4. Production_by_Minerals.xlsx: sheets without Country, unit and years were passed over: Contents",
    )
    (record,) = data.records
    assert (record.rows_read, record.rows_refused, record.from_year, record.to_year) == (8, 2, 2022, 2023)
    assert record.vintage.startswith("undeclared:")


def test_names_of_world_mining_data_give_the_codes_that_its_csv_states() -> None:
    with shared_data("wmd/world_mining_data_2018_2024.csv").open(newline="") as stream:
        pairs = {(row["Country"], row["Country_ISO"]) for row in csv.DictReader(stream) if row["Country"] != "Total"}
    differ = {(n, c, country_of(n, "wmd")) for n, c in pairs if country_of(n, "wmd") != harmonise(c, "mining")}
    assert len(pairs) > 150
    assert differ == {("French Guiana", "GUY", "GUF")}  # the CSV's known defect


def test_the_release_of_2025_keeps_mine_and_refinery_apart(drop: Drop) -> None:
    drop.baci()
    drop.put("mining/MCS2025_World_Data.csv", WIDE.encode("cp1252"))
    data = read_mining(drop.inventory())
    assert figures(data) == {
        ("Cobalt", "COD", 2023): 175000,
        ("Cobalt", "COD", 2024): 220000,
        ("Cobalt", "FIN", 2023): 0,
        ("Cobalt", "FIN", 2024): None,
        ("Cobalt", "USA", 2023): None,
        ("Cobalt", "USA", 2024): None,
        ("Copper", "CHL", 2023): 5250,
        ("Copper", "CHL", 2024): 5300,
        ("Copper: refinery production, copper (USGS)", "CHL", 2023): 2080,
        ("Copper: refinery production, copper (USGS)", "CHL", 2024): 1900,
    }
    rows = data.table.to_pylist()
    assert {r["vintage"] for r in rows} == {"USGS MCS 2025"}
    assert next(r["quantity_tonnes"] for r in rows if r["material"] == "Copper") == 5_250_000
    notes = "\n".join(data.notes)
    assert "4 world totals and 'other countries' are no countries" in notes
    assert "null by their mark: NA (not available): 1, W (withheld): 1, bound (< or >): 1" in notes
    assert "figures are estimates of the source: 2024: 3" in notes
    assert "names that are no country, all without a figure, were left out: Atlantis: 2" in notes
    (record,) = data.records
    assert record.producer == "U.S. Geological Survey"
    assert (record.rows_read, record.rows_refused) == (16, 6)


def test_files_per_commodity_in_a_zip_and_a_later_release(drop: Drop) -> None:
    drop.baci()
    cobalt = (
        "Source,Country,Type,Prod_t_2021,Prod_t_est_2022,Prod_notes,Reserves_t,Reserves_notes\n"
        'MCS2023,Congo (Kinshasa),"Mine production, metric tons of contained cobalt",119000,130000,,4000000,\n'
        'MCS2023,Canadae,"Mine production, metric tons of contained cobalt",4361,3900,,220000,\n'
    )
    helium = (
        "Source,Country,Type,Prod_mcm_2021,Prod_mcm_est_2022\n"
        "MCS2023,United States (extracted from natural gas),Mine production,71,75\n"
        "MCS2023,United States (from Cliffside Field),Mine production,7,—\n"
        "MCS2023,Qatar,Mine production,45,60\n"
    )
    pigments = "Source,Country,Prod_kt_2021,Prod_kt_est_2022\nMCS2023,Cyprus (umber),1,1\n"
    drop.zip(
        "mining/world.zip",
        {
            "world/mcs2023-cobal_world.csv": cobalt,
            "world/mcs2023-heliu_world.csv": helium,
            "world/mcs2023-feoxi_world.csv": pigments,
            "world/mcs2023-cobal_meta.xml": "<a/>",
            "salient/mcs2023-cobal_salient.csv": "DataSource,Commodity,Year\nMCS2023,Cobalt,2021\n",
        },
    )
    later = cobalt.replace("MCS2023", "MCS2024").replace("2022", "2023").replace("2021", "2022").replace("119000", "99")
    drop.put("mining/mcs2024-cobal_world.csv", later)
    data = read_mining(drop.inventory())
    got = figures(data)
    assert [got["Cobalt", "COD", year] for year in (2021, 2022, 2023)] == [119000, 99, 130000]
    assert got["Cobalt", "CAN", 2022] == 4361
    helium_name = "Heliu: mine production (USGS)"
    assert got[helium_name, "QAT", 2021] == 45
    assert got[helium_name, "USA", 2021] is None  # two figures for one country: neither, and not their sum
    assert all(r["quantity_tonnes"] is None for r in data.table.to_pylist() if r["material"] == helium_name)
    by_year = {r["year"]: r["vintage"] for r in data.table.to_pylist() if r["material"] == "Cobalt"}
    assert by_year == {2021: "USGS MCS 2023", 2022: "USGS MCS 2024", 2023: "USGS MCS 2024"}
    notes = "\n".join(data.notes)
    assert "2 figures are replaced by the MCS release of 2024 (mcs2024-cobal_world.csv)" in notes
    assert "mcs2023-feoxi_world.csv: 1 rows left out, the stage (column Type) is not stated" in notes
    assert "one code stands for two rows" in notes
    assert "the country stays without a figure" in notes
    assert "country names bear a remark that limits the figure" in notes


def test_the_long_file_since_2026(drop: Drop) -> None:
    drop.baci()
    drop.put(
        "mining/MCS2026_Commodities_Data.csv",
        (
            "MCS chapter,Section,Commodity,Country,Statistics,Statistics_detail,Unit,Year,Value,Notes\n"
            "SILVER,Salient Statistics—United States,Silver,United States,Production,Mine,metric tons,2024,9,\n"
            'SILVER,World Mine Production and Reserves,Silver,Peru,Production,"Mine production, silver content",'
            'metric tons,2025_estimated,"3,600",\n'
            'SILVER,World Mine Production and Reserves,Silver,Peru,Production,"Mine production, silver content",'
            "metric tons,2024,3500,\n"
            "SILVER,World Mine Production and Reserves,Silver,Peru,Reserves,Reserves,metric tons,2025,110000,\n"
            "SILVER,World Mine Production and Reserves,Silver,World total,Production,"
            '"Mine production, silver content: rounded",metric tons,2025,26000,\n'
        ).encode("cp1252"),
    )
    data = read_mining(drop.inventory())
    assert figures(data) == {("Silver", "PER", 2024): 3500, ("Silver", "PER", 2025): 3600}
    assert {r["vintage"] for r in data.table.to_pylist()} == {"USGS MCS 2026"}
    assert "figures are estimates of the source: 2025: 1" in "\n".join(data.notes)


def test_two_statistics_or_two_files_of_one_release_are_refused(drop: Drop) -> None:
    drop.baci()
    drop.put("mining/MCS2025_World_Data.csv", WIDE)
    drop.put("mining/wmd.csv", HEAD + "Cobalt,China,156,CHN,metr. t,r,2023,60\n", {"release": "WMD 2025"})
    sentence = (
        r"Cobalt of 2023 stands in two statistics, USGS \(MCS2025_World_Data.csv\) and World Mining Data \(wmd.csv\)"
    )
    with pytest.raises(InputRefused, match=sentence):
        read_mining(drop.inventory())
    drop.put("mining/wmd.csv", WIDE)
    with pytest.raises(InputRefused, match=r"Cobalt of 2023 stands in two files, MCS2025_World_Data.csv and wmd.csv"):
        read_mining(drop.inventory())
    drop.put("mining/wmd.csv", HEAD + "Cobalt,China,156,CHN,metr. t,r,2022,60\n", {"release": "WMD 2025"})
    vintages = {(r["year"], r["vintage"]) for r in read_mining(drop.inventory()).table.to_pylist()}
    assert (2022, "WMD 2025") in vintages


TYPED = "Source,Country,Type,Prod_t_2021\n"


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("mcs2023-cobal_world.csv", TYPED + "MCS2023,Atlantis,Mine production,5\n", "'Atlantis' has a production of 5"),
        ("mcs2023-cobal_world.csv", TYPED + "MCS2023,Congo,Mine production,5\n", "a line 'usgs,Congo,<ISO3>'"),
        ("mcs2023-cobal_world.csv", TYPED + 'MCS2023,"Guinea, Equatorial",Mine production,5\n', "is no country whose"),
        (
            "mcs2023-cobal_world.csv",
            TYPED + "MCS2023,Chile,Mine production,some\n",
            "'some' of Chile is no number and no",
        ),
        ("mcs2023-cobal_world.csv", TYPED + 'MCS2023,Chile,Mine production,"1,23"\n', "'1,23' of Chile is no number"),
        (
            "mcs2023-cobal_world.csv",
            TYPED + "MCS2023,Chile,Mine production,-5\n",
            "the production -5 of Chile is negative",
        ),
        ("mcs2023-cobal_world.csv", TYPED + "MCS2023,Chile,,5\n", "of Chile states no type, so mine, smelter and"),
        ("mcs2023-cobal_world.csv", TYPED + "MCS2023,Chile,M,5\nMCS2024,Peru,M,5\n", "MCS 2023 .line 2. and MCS 2024"),
        ("mcs2023-cobal_world.csv", "Source,Country,Prod_t_2021\nMCS2023,Chile,5\n", "the stage .column Type. is not"),
        ("mcs2023-cobal_world.csv", TYPED, "the file holds no figure of production by country; take the table"),
        ("cobalt.csv", TYPED + "MCS2023,Chile,Mine production,5\n", "neither a column COMMODITY nor the file's name"),
        ("a.xlsx", book({"Notes": [["a"]]}), "no sheet has the columns Country, unit and a year .sheets: Notes"),
        (
            "a.xlsx",
            book({"X": [["Country", "unit", 2022], ["Atlantis", "t", 4]]}),
            "sheet X, row 2, column 2022: 'Atlan",
        ),
        ("a.xlsx", book({"X": [["Country", "unit", 2022], ["Chile", "t", "many"]]}), "the production 'many' is no num"),
        ("a.xlsx", b"PK\x03\x04 and no more", "truncated or damaged"),
        ("a.xlsx", b"\xd0\xcf\x11\xe0" + bytes(600), "older .xls or is protected by a password"),
        ("a.xlsx", b"just words", "damaged"),
    ],
)
def test_bad_official_files_are_refused(drop: Drop, name: str, content: str | bytes, sentence: str) -> None:
    drop.baci()
    drop.put(f"mining/{name}", content)
    with pytest.raises(InputRefused, match=sentence):
        read_mining(drop.inventory())


def test_a_zip_of_two_statistics_is_refused(drop: Drop) -> None:
    drop.baci()
    drop.zip("mining/a.zip", {"a.csv": HEAD + "X,Chile,152,CHL,t,r,2022,1\n", "mcs2023-cobal_world.csv": TYPED})
    with pytest.raises(InputRefused, match="two statistics, World Mining Data and USGS"):
        read_mining(drop.inventory())


@pytest.mark.parametrize(
    ("label", "found"),
    [
        ("Congo (Kinshasa)", ("country", "COD", None)),
        ("Congo (Brazzaville)", ("country", "COG", None)),
        ("Korea, Republic ofe", ("country", "KOR", None)),
        ("Korea, North", ("country", "PRK", None)),
        ("Burma", ("country", "MMR", None)),
        ("C\u00f4te d\u2019Ivoire", ("country", "CIV", None)),
        ("Turkey, refined borates", ("country", "TUR", "refined borates")),
        ("Peru (exports)", ("country", "PER", "exports")),
        ("UnitedÊStates", ("country", "USA", None)),
        ("United States14, 15", ("country", "USA", None)),
        ("Trinidad and Tobago", ("country", "TTO", None)),
        ("United States and Canada", ("group", None, None)),
        ("Other countriese", ("others", None, None)),
        ("World total , excluding U.S. production", ("total", None, None)),
        ("Guinea, Equatorial", ("unknown", None, None)),
        ("Sudan, South", ("unknown", None, None)),
        ("Congo (Somewhere)", ("unknown", None, None)),
        ("Korea", ("unknown", None, None)),
        ("", ("unknown", None, None)),
    ],
)
def test_labels_of_the_usgs(label: str, found: tuple[str, str | None, str | None]) -> None:
    assert usgs_country(label) == found


@pytest.mark.parametrize(
    ("commodity", "kind", "material"),
    [
        ("Copper", "Mine production, recoverable copper content", "Copper"),
        ("Copper", "Refinery production, copper", "Copper: refinery production, copper (USGS)"),
        ("Copper", "Mine production", "Copper: mine production (USGS)"),  # the content is not stated
        ("Lithium", "Mine production, lithium content", "Lithium: mine production, lithium content (USGS)"),
        ("Bauxite and alumina", "Bauxite, mine production", "Bauxite"),
        ("Platinum-group metals", "World mine production: Palladium", "Palladium"),
        ("Aluminum", "Smelter production, aluminum", "Aluminium"),
        ("Aluminum", "Smelter yearend capacity", "Aluminum: smelter yearend capacity (USGS)"),
        ("IRON ORE", "Mine production - Usable ore", "Iron ore: mine production - Usable ore (USGS)"),
        ("Iron ore", "Mine production - Iron content", "Iron (Fe)"),
    ],
)
def test_only_the_same_stage_and_content_bear_one_name(commodity: str, kind: str, material: str) -> None:
    assert usgs_material(commodity, kind) == material


@given(st.integers(0, 10**12), st.sampled_from(["", "e", "r"]), st.sampled_from(["", " ", "\xa0"]), st.booleans())
def test_a_figure_reads_the_same_however_it_is_written(value: int, mark: str, blank: str, before: bool) -> None:
    for written in (f"{value}", f"{value:,}", f"{value}.0", f"{value:,}."):
        text = f"{blank}{mark}{written}{blank}" if before else f"{blank}{written}{mark}{blank}"
        assert usgs_figure(text) == (float(value), None, mark == "e")


@given(st.integers(0, 10**9), st.sampled_from("<>≤≥"), st.integers(1, 10**6))
def test_bounds_and_ranges_are_null_never_a_middle(value: int, sign: str, more: int) -> None:
    assert usgs_figure(f"{sign}{value:,}")[0] is None
    for between in ("-", "–", " to "):
        assert usgs_figure(f"{value}{between}{value + more}") == (None, "range", False)


@given(st.text(max_size=12))
def test_any_text_is_a_figure_a_mark_or_refused(text: str) -> None:
    try:
        value, mark, _ = usgs_figure(text)
    except ValueError:
        return
    assert (value is None) == (mark is not None)
    if value:
        assert any(c.isdigit() for c in text)


@given(st.integers(0, 10**9))
def test_a_comma_that_groups_no_thousands_is_refused(value: int) -> None:
    with pytest.raises(ValueError, match=","):
        usgs_figure(f"{value},{value % 90 + 10}")


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0, 1e9, allow_nan=False) | st.none(), min_size=1, max_size=6))
def test_a_workbook_gives_its_figures_back(quantities: list[float | None]) -> None:
    names = ["Chile", "Peru", "China", "India", "Japan", "Kenya"]
    rows: list[list[object]] = [["Country", "unit", 2023]]
    rows += [[name, "kg", quantity] for name, quantity in zip(names, quantities, strict=False)]
    with TemporaryDirectory() as folder:
        drop = Drop(Path(folder))
        drop.baci()
        drop.put("mining/a.xlsx", book({"Gold": rows}))
        got = figures(read_mining(drop.inventory()))
    for name, quantity in zip(names, quantities, strict=False):
        # The writer keeps fifteen digits.
        assert got["Gold", country_of(name, "wmd") or "", 2023] == (
            None if quantity is None else pytest.approx(quantity, rel=1e-14)
        )
