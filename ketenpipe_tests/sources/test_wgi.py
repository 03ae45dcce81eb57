"""Governance estimates: their layouts, one vintage a year, joined editions, Guyana twice."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from ketenpipe.errors import InputRefused
from ketenpipe.sources.places import Inventory, discover, embedded
from ketenpipe.sources.wgi import WGI_SCHEMA, edition_breaks, read_wgi
from ketenpipe_tests.shared_data import shared_data
from ketenpipe_tests.sources.conftest import Drop
from ketenpipe_tests.sources.test_workbook import book

HEAD = "Country/Territory,Code,country_code,year,estimate,indicator\n"
SPANS = [
    {"vintage": "old", "from_year": 1996, "to_year": 2022},
    {"vintage": "new", "from_year": 2023, "to_year": 2024},
]


def api(
    *rows: tuple[str, str, float | None],
    pages: int = 1,
    page: int = 1,
    total: int | None = None,
    updated: str | None = None,
    series: str = "GOV_WGI_PV.EST",
) -> str:
    items = [
        {
            "indicator": {"id": series, "value": "Political Stability"},
            "country": {"id": code[:2], "value": code},
            "countryiso3code": code,
            "date": year,
            "value": value,
        }
        for code, year, value in rows
    ]
    total = len(items) if total is None else total
    info: dict[str, object] = {"page": page, "pages": pages, "per_page": 50, "total": total}
    return json.dumps([info | ({"lastupdated": updated} if updated else {}), items])


def test_the_sample_has_two_vintages_and_takes_the_later_guyana() -> None:
    data = read_wgi(discover(embedded("sample")))
    assert data.table.schema == WGI_SCHEMA
    rows = {(r["iso3"], r["year"]): r for r in data.table.to_pylist()}
    assert len(rows) == data.table.num_rows == 216 * 26
    vintages = {year: rows["NLD", year]["vintage"] for year in (1996, 2022, 2023, 2024)}
    assert vintages[1996] == vintages[2022] != vintages[2023] == vintages[2024]
    assert rows["GUY", 2018]["estimate"] == pytest.approx(-0.1919177174568176)
    assert rows["TWN", 2022]["estimate"] is not None
    assert rows["XKX", 2018]["estimate"] == pytest.approx(-0.6754021048545837)
    assert rows["ABW", 1996]["estimate"] is None
    assert [(r.from_year, r.to_year, r.rows_refused) for r in data.records] == [(2023, 2024, 2), (1996, 2022, 24)]
    assert "French Guiana under Guyana's code" in data.notes[0]
    assert "26 years" in data.notes[0]


def test_the_sample_equals_the_development_data() -> None:
    with shared_data("wgi/wgi_pv_estimate_1996_2024.csv").open(newline="") as stream:
        theirs = list(csv.reader(stream))
    with next((embedded("sample") / "wgi").glob("*.csv")).open(newline="") as stream:
        mine = list(csv.reader(stream))
    assert len(mine) == len(theirs)
    for a, b in zip(mine, theirs, strict=True):
        assert a[:4] + a[5:] == b[:4] + b[5:]
        if a[4] != b[4]:  # the copy went through a float parser: the last digit of some differs
            assert float(a[4]) == pytest.approx(float(b[4]), rel=1e-14)


def test_the_layouts_agree(drop: Drop) -> None:
    drop.baci()
    drop.put("wgi/long.csv", HEAD + "Netherlands,NLD,528,2022,0.75,PV.EST\n", {"vintages": SPANS})
    drop.put("wgi/api.json", api(("DEU", "2022", 0.5), ("GUY", "2022", None)), {"vintages": SPANS})
    drop.put(
        "wgi/bulk.csv",
        '"Country Name","Country Code","Indicator Name","Indicator Code","2021","2022"\n'
        '"France","FRA","x","PV.EST","","0.25"\n"France","FRA","x","PV.PER.RNK","","60"\n',
        {"vintages": SPANS},
    )
    drop.put(
        "wgi/dataset.csv",
        "code,countryname,year,indicator,estimate,stddev\nBEL,Belgium,2022,pv,0.4,0.2\nBEL,Belgium,2022,cc,..,0.2\n",
        {"vintages": SPANS},
    )
    rows = read_wgi(drop.inventory()).table.to_pylist()
    assert [(r["dimension"], r["iso3"], r["estimate"]) for r in rows] == [
        ("CC", "BEL", None),
        ("PV", "BEL", 0.4),
        ("PV", "DEU", 0.5),
        ("PV", "FRA", 0.25),
        ("PV", "GUY", None),
        ("PV", "NLD", 0.75),
    ]
    assert {r["vintage"] for r in rows} == {"old"}


def test_an_undeclared_vintage_bears_the_hash(drop: Drop) -> None:
    drop.baci()
    drop.put("wgi/a.csv", HEAD + "Netherlands,NLD,528,2022,0.75,PV.EST\n")
    inventory = drop.inventory()
    (row,) = read_wgi(inventory).table.to_pylist()
    assert row["vintage"] == "undeclared:" + inventory.of("wgi")[0].sha256[:8]


def test_codes_that_are_no_country_are_counted_and_named(drop: Drop) -> None:
    drop.baci()
    drop.put("wgi/a.csv", HEAD + "Mordor,MOR,1,2022,0.75,PV.EST\nNetherlands,NLD,528,2022,1,PV.EST\n")
    data = read_wgi(drop.inventory())
    assert data.table.num_rows == 1
    assert (data.records[0].rows_read, data.records[0].rows_refused) == (2, 1)
    assert "MOR (Mordor): 1 rows" in data.notes[0]


def test_no_file_is_an_empty_table(traded: Callable[[], Inventory]) -> None:
    data = read_wgi(traded())
    assert data.table.num_rows == 0
    assert data.table.schema == WGI_SCHEMA


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.csv", HEAD + "N,NLD,1,2022,high,PV.EST\n", "line 2, column estimate: the estimate 'high' is no number"),
        ("a.csv", HEAD + "N,NLD,1,2022,1,PV.EST\nN,NLD,1,2022,2,PV.EST\n", "PV of NLD in 2022 stands 2 times"),
        ("a.csv", HEAD + "N,GUY,1,2022,1,PV.EST\nFrench Guiana,GUY,1,2022,2,PV.EST\n", "GUY in 2022 stands 2 times"),
        ("a.csv", HEAD + "N,NLD,1,2022,1,PV.RNK\n", "none of the six governance estimates"),
        ("a.csv", HEAD + "N,NLD,1,22,1,PV.EST\n", "'22' is no year"),
        ("a.csv", "a,b\n1,2\n", "the layout is not known"),
        ("a.json", "[{", "not readable as JSON"),
        ("a.json", '[{"message":[{"id":"120","value":"Invalid value"}]}]', "not an answer of the World Bank's API"),
        ("a.json", api(("NLD", "2022", 1.0), total=5), "states 5 rows and holds 1"),
        ("a.json", api(("NLD", "2022", 1.0), pages=2), "has 2 pages, page 2 is missing"),
    ],
)
def test_bad_files_are_refused(drop: Drop, name: str, content: str, sentence: str) -> None:
    drop.baci()
    drop.put(f"wgi/{name}", content)
    with pytest.raises(InputRefused, match=sentence):
        read_wgi(drop.inventory())


def test_all_pages_together_are_read(drop: Drop) -> None:
    drop.baci()
    spans = {"vintages": SPANS}
    drop.put("wgi/1.json", api(("NLD", "2022", 1.0), pages=2, total=2), spans)
    drop.put("wgi/2.json", api(("BEL", "2022", 0.5), pages=2, page=2, total=2), spans)
    assert read_wgi(drop.inventory()).table.num_rows == 2


def test_one_year_in_two_vintages_is_refused(drop: Drop) -> None:
    drop.baci()
    drop.put("wgi/a.csv", HEAD + "N,NLD,1,2022,1,PV.EST\n", {"vintages": SPANS})
    drop.put("wgi/b.csv", HEAD + "B,BEL,1,2022,1,PV.EST\n")
    with pytest.raises(InputRefused, match=r"PV of 2022 stands in two vintages, 'old' in a.csv and 'undeclared:"):
        read_wgi(drop.inventory())
    drop.put("wgi/b.csv", HEAD + "N,NLD,1,2022,1,PV.EST\n", {"vintages": SPANS})
    with pytest.raises(InputRefused, match=r"stands in two files, a\.csv and b\.csv"):
        read_wgi(drop.inventory())


def wide_sheet(value: float, *, repeated: bool = True) -> list[list[object]]:
    """A sheet of the workbook up to 2024: fourteen lines, years above six columns each, then the countries."""
    kinds = ["Estimate", "StdErr", "NumSrc", "Rank", "Lower", "Upper"]
    years = [1996, 1998]
    above: list[object] = ["", ""]
    for year in years:
        above += [year] * 6 if repeated else [year, *[None] * 5]
    rows: list[list[object]] = [["Political Stability"], *([None] for _ in range(12)), above]
    rows.append(["Country/Territory", "Code", *kinds, *kinds])
    rows.append(["Netherlands", "NLD", value, 0.2, 6, 90.0, 80.0, 95.0, value + 0.1, 0.3, 7, 91.0, 81.0, 96.0])
    rows.append(["Kosovo", "KSV", "#N/A", "#N/A", "#N/A", "#N/A", "#N/A", "#N/A", -0.5, 0.4, 3, 20.0, 10.0, 30.0])
    return rows


@pytest.mark.parametrize("repeated", [True, False])
def test_the_wide_workbook(drop: Drop, repeated: bool) -> None:
    drop.baci()
    sheets = {
        "Introduction": [["Worldwide Governance Indicators, 2023 Update"]],
        "VoiceandAccountability": wide_sheet(1.5, repeated=repeated),
        "Political StabilityNoViolence": wide_sheet(0.9, repeated=repeated),
    }
    content = book(sheets, None if repeated else {"VoiceandAccountability": "C14:H14 I14:N14"})
    drop.put("wgi/wgidataset.xlsx", content)
    data = read_wgi(drop.inventory())
    assert [tuple(r.values()) for r in data.table.to_pylist()] == [
        ("NLD", 1996, "PV", 0.9, 0.2, "WGI 2023 edition"),
        ("NLD", 1998, "PV", 1.0, 0.3, "WGI 2023 edition"),
        ("XKX", 1998, "PV", -0.5, 0.4, "WGI 2023 edition"),
        ("NLD", 1996, "VA", 1.5, 0.2, "WGI 2023 edition"),
        ("NLD", 1998, "VA", 1.6, 0.3, "WGI 2023 edition"),
        ("XKX", 1998, "VA", -0.5, 0.4, "WGI 2023 edition"),
    ]


LONG_HEAD: list[object] = [
    "Economy (code)",
    "Economy (name)",
    "Year",
    "Governance estimate (approx. -2.5 to +2.5)",
    "Standard error",
]


def test_the_long_workbook_since_2025_also_in_its_zip(drop: Drop) -> None:
    drop.baci()
    content = book(
        {
            "readme": [["about"]],
            "pv": [
                LONG_HEAD,
                ["NLD", "Netherlands", 2024, 0.75, 0.2],
                ["WBG", "West Bank and Gaza", "2024", "..", ".."],
            ],
            "rl": [LONG_HEAD, ["NLD", "Netherlands", 2024, 1.7, 0.1]],
        }
    )
    want = [("NLD", "PV", 0.75, 0.2), ("PSE", "PV", None, None), ("NLD", "RL", 1.7, 0.1)]
    path = drop.put("wgi/wgidataset_with_sourcedata-2025.xlsx", content)
    rows = read_wgi(drop.inventory()).table.to_pylist()
    assert [(r["iso3"], r["dimension"], r["estimate"], r["standard_error"]) for r in rows] == want
    assert {r["vintage"] for r in rows} == {"WGI 2025 edition"}
    path.unlink()
    drop.zip("wgi/wgidataset_excel.zip", {"wgidataset-2025.xlsx": content})
    assert read_wgi(drop.inventory()).table.to_pylist() == rows


DATABANK = (
    '"Country Name","Country Code","Series Name","Series Code","1996 [YR1996]","2022 [YR2022]"\n'
    '"Netherlands","NLD","Rule of Law: Estimate","RL.EST","1.6","1.7"\n'
    '"Netherlands","NLD","Rule of Law: Percentile Rank","RL.PER.RNK","95","96"\n'
    '"European Union","EUU","Rule of Law: Estimate","RL.EST","..","1.1"\n'
    '"High income","HIC","Rule of Law: Estimate","RL.EST","..","1.2"\n'
    '\n\n"Data from database: Worldwide Governance Indicators"\n"Last Updated: 09/29/2023"\n'
)


LONG_ERRORS = "code,countryname,year,indicator,estimate,stddev\nNLD,Netherlands,2022,pv,0.4,0.2\n"
WITH_ERRORS = (
    '"Country Name","Country Code","Series Name","Series Code","1996 [YR1996]","2022 [YR2022]"\n'
    '"Netherlands","NLD","Rule of Law: Estimate","RL.EST","1.6",".."\n'
    '"Netherlands","NLD","Rule of Law: Standard Error","RL.STD.ERR","0.21","0.19"\n'
    '"World","WLD","Rule of Law: Standard Error","RL.STD.ERR","0.1","0.1"\n'
)


def test_standard_errors_as_rows_and_columns_of_series(drop: Drop) -> None:
    drop.baci()
    path = drop.put("wgi/a.csv", WITH_ERRORS)
    data = read_wgi(drop.inventory())
    # 2022 has no estimate: its error belongs to nothing. What was read and refused is counted with the rest.
    assert [(r["year"], r["estimate"], r["standard_error"]) for r in data.table.to_pylist()] == [(1996, 1.6, 0.21)]
    assert [(r.rows_read, r.rows_refused) for r in data.records] == [(5, 2)]
    path.unlink()
    drop.put(
        "wgi/b.csv",
        "Time,Time Code,Country Name,Country Code,Voice: Estimate [VA.EST],Voice: Standard Error [VA.STD.ERR]\n"
        "2022,YR2022,Chad,TCD,-1.4,0.12\n2021,YR2021,Chad,TCD,-1.3,..\n",
    )
    rows = read_wgi(drop.inventory()).table.to_pylist()
    assert [(r["year"], r["estimate"], r["standard_error"]) for r in rows] == [(2021, -1.3, None), (2022, -1.4, 0.12)]


def test_a_row_per_country_and_year_has_its_error_beside_it_or_none(drop: Drop) -> None:
    drop.baci()
    drop.put("wgi/a.csv", LONG_ERRORS)
    drop.put("wgi/b.csv", HEAD + "Belgium,BEL,56,2021,0.75,PV.EST\n")
    rows = read_wgi(drop.inventory()).table.to_pylist()
    assert [(r["iso3"], r["standard_error"]) for r in rows] == [("BEL", None), ("NLD", 0.2)]


def test_the_api_gives_errors_as_a_series_of_their_own(drop: Drop) -> None:
    drop.baci()
    estimates = api(("NLD", "2022", 1.0), ("BEL", "2022", 0.5), updated="2025-11-05")
    errors = api(("NLD", "2022", 0.25), ("BEL", "2022", None), updated="2025-11-05", series="GOV_WGI_PV.STD.ERR")
    drop.put("wgi/pv.json", estimates)
    drop.put("wgi/se.json", errors)
    data = read_wgi(drop.inventory())
    assert [(r["iso3"], r["estimate"], r["standard_error"]) for r in data.table.to_pylist()] == [
        ("BEL", 0.5, None),
        ("NLD", 1.0, 0.25),
    ]
    assert sorted((r.file, r.rows_read) for r in data.records) == [("pv.json", 2), ("se.json", 2)]
    drop.put("wgi/se.json", errors.replace("2025-11-05", "2024-11-05"))
    with pytest.raises(
        InputRefused,
        match=r"the standard errors of PV in 2022 are of 'WGI, updated 2024-11-05' \(se\.json\), the estimates of "
        r"'WGI, updated 2025-11-05' \(pv\.json\); keep one edition per year",
    ):
        read_wgi(drop.inventory())
    drop.put("wgi/se.json", api(("NLD", "2022", 0.25), series="PV.STD.ERR"))  # states no edition: let pass
    assert read_wgi(drop.inventory()).table.to_pylist()[1]["standard_error"] == 0.25
    drop.put("wgi/again.json", api(("NLD", "2022", 0.3), series="PV.STD.ERR"))
    with pytest.raises(
        InputRefused, match=r"the standard error of PV of NLD in 2022 stands in two places, again.json \(row 1\) and se"
    ):
        read_wgi(drop.inventory())


def test_databank_with_its_footer_and_without_aggregates(drop: Drop) -> None:
    drop.baci()
    drop.put("wgi/databank.csv", DATABANK)
    data = read_wgi(drop.inventory())
    assert [tuple(r.values()) for r in data.table.to_pylist()] == [
        ("NLD", 1996, "RL", 1.6, None, "WGI, updated 2023-09-29"),
        ("NLD", 2022, "RL", 1.7, None, "WGI, updated 2023-09-29"),
    ]
    assert "left out: EUU (European Union): 1 rows, HIC (High income): 1 rows" in data.notes[0]


def test_databank_as_a_workbook_an_indicators_download_and_series_in_columns(drop: Drop) -> None:
    drop.baci()
    rows = [[cell for cell in line] for line in csv.reader(DATABANK.splitlines())]
    drop.put("wgi/a.xlsx", book({"Data": rows, "Series - Metadata": [["Code", "Licence"], ["RL.EST", "CC BY 4.0"]]}))
    drop.put(
        "wgi/b.csv",
        '"Data Source","Worldwide Governance Indicators",\n\n"Last Updated Date","2023-09-29",\n\n'
        '"Country Name","Country Code","Indicator Name","Indicator Code","1960","2022",\n'
        '"Chad","TCD","Control of Corruption: Estimate","CC.EST","","-1.25",\n',
    )
    drop.put(
        "wgi/c.csv",
        "Time,Time Code,Country Name,Country Code,Voice: Estimate [VA.EST],Voice: Rank [VA.PER.RNK]\n"
        "2022,YR2022,Chad,TCD,-1.4,8\n2021,YR2021,Chad,TCD,..,..\n"
        "Data from database: Worldwide Governance Indicators,,,,,\nLast Updated: 09/29/2023,,,,,\n",
    )
    got = read_wgi(drop.inventory()).table.to_pylist()
    assert [(r["iso3"], r["year"], r["dimension"], r["estimate"]) for r in got] == [
        ("TCD", 2022, "CC", -1.25),
        ("NLD", 1996, "RL", 1.6),
        ("NLD", 2022, "RL", 1.7),
        ("TCD", 2022, "VA", -1.4),
    ]
    assert {r["vintage"] for r in got} == {"WGI, updated 2023-09-29"}


@pytest.mark.parametrize(
    ("code", "iso3"),
    [("ROM", "ROU"), ("ZAR", "COD"), ("TMP", "TLS"), ("WBG", "PSE"), ("ADO", "AND"), ("KSV", "XKX"), ("S19", "TWN")],
)
def test_the_banks_own_codes(drop: Drop, code: str, iso3: str) -> None:
    drop.baci()
    drop.put("wgi/a.json", api((code, "2022", 0.5)))
    assert [r["iso3"] for r in read_wgi(drop.inventory()).table.to_pylist()] == [iso3]


def test_the_vintage_is_declared_then_stated_then_released(drop: Drop) -> None:
    drop.baci()
    path = drop.put("wgi/a.json", api(("NLD", "2022", 1.0), ("NLD", "2023", 1.1), updated="2025-11-05"))

    def vintages() -> list[str]:
        return [r["vintage"] for r in read_wgi(drop.inventory()).table.to_pylist()]

    assert vintages() == ["WGI, updated 2025-11-05"] * 2
    beside = path.with_name(path.name + ".meta.json")
    beside.write_text(json.dumps({"release": "R", "vintages": [{"vintage": "D", "from_year": 2022, "to_year": 2022}]}))
    assert vintages() == ["D", "WGI, updated 2025-11-05"]
    path.write_text(api(("NLD", "2022", 1.0), ("NLD", "2023", 1.1)))
    assert vintages() == ["D", "R"]
    assert read_wgi(drop.inventory()).notes[-1] == (
        "the governance estimates are of 2 editions, each year whole in one: 2022-2022 'D', 2023-2023 'R'"
    )


def test_six_dimensions_of_two_editions_are_refused(drop: Drop) -> None:
    drop.baci()
    drop.put("wgi/pv.json", api(("NLD", "2022", 1.0), updated="2025-11-05"))
    drop.put("wgi/rl.json", api(("NLD", "2022", 1.0), updated="2024-11-05", series="GOV_WGI_RL.EST"))
    with pytest.raises(
        InputRefused,
        match=r"the year 2022 stands in two editions, PV in 'WGI, updated 2025-11-05' \(pv\.json\) and RL in 'WGI, "
        r"updated 2024-11-05' \(rl\.json\); fetch all dimensions again",
    ):
        read_wgi(drop.inventory())
    drop.put("wgi/rl.json", api(("NLD", "2021", 1.0), updated="2024-11-05", series="GOV_WGI_RL.EST"))
    assert len(read_wgi(drop.inventory()).notes) == 1
    drop.put("wgi/pv.json", api(("NLD", "2021", 1.0)))
    with pytest.raises(InputRefused, match=r"PV in 'undeclared:\w{8}' \(pv\.json\) and RL in 'WGI, updated"):
        read_wgi(drop.inventory())
    drop.put("wgi/rl.json", api(("NLD", "2021", 1.0), series="GOV_WGI_RL.EST"))
    assert read_wgi(drop.inventory()).table.num_rows == 2  # nobody states anything: told apart by their hashes


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.xlsx", book({"Notes": [["a"]]}), "no sheet of the workbook holds governance estimates .sheets: Notes"),
        ("a.xlsx", book({"pv": [["a", "b"], [1, 2]]}), "sheet pv: the sheet's layout is not known"),
        ("a.xlsx", book({"pv": [LONG_HEAD, ["NLD", "x", 2024, "high", 1]]}), "sheet pv, row 2, column Governance est"),
        ("a.xlsx", book({"pv": [LONG_HEAD, ["NLD", "x", "24", 1, 1]]}), "sheet pv, row 2: '24' is no year"),
        ("a.xlsx", b"words", "damaged"),
        ("a.csv", DATABANK.replace("RL.EST", "RL.NO.SRC"), "none of the series is a governance estimate"),
        (
            "a.csv",
            DATABANK.replace("RL.EST", "RL.STD.ERR"),
            r"a.csv: .*holds standard errors of RL, and no file holds the estimates that they belong to; add the "
            "series RL.EST",
        ),
        ("a.csv", LONG_ERRORS.replace("0.2", "-0.2"), "line 2, column stddev: the standard error '-0.2' is below 0"),
        ("a.csv", LONG_ERRORS.replace("0.2", "wide"), "line 2, column stddev: the standard error 'wide' is no number"),
        ("a.csv", WITH_ERRORS.replace("0.21", "-0.21"), "line 3, column 1996 .YR1996.: the standard error '-0.21' is"),
        (
            "a.csv",
            WITH_ERRORS + '"Netherlands","NLD","x","RL.STD.ERR","0.3","0.3"\n',
            "RL of NLD in 1996 stands 2 times",
        ),
        (
            "a.csv",
            DATABANK.replace('"1.6"', '"much"'),
            "line 2, column 1996 .YR1996.: the estimate 'much' is no number",
        ),
        ("a.csv", HEAD, "the file holds no governance estimate; ask for the series and years again"),
        ("a.json", '[{"page":"x","pages":1},[]]', "states page, pages or total that are no numbers"),
        ("a.json", '[{"message":[{"id":"175"}]}]', "ask for .*GOV_WGI_PV.EST.source=3"),
    ],
)
def test_bad_official_files_are_refused(drop: Drop, name: str, content: str | bytes, sentence: str) -> None:
    drop.baci()
    drop.put(f"wgi/{name}", content)
    with pytest.raises(InputRefused, match=sentence):
        read_wgi(drop.inventory())


def test_pages_of_two_moments_are_refused(drop: Drop) -> None:
    drop.baci()
    drop.put("wgi/1.json", api(("NLD", "2022", 1.0), pages=2, total=2, updated="2025-11-05"))
    drop.put("wgi/2.json", api(("BEL", "2021", 0.5), pages=2, page=2, total=2, updated="2025-12-01"))
    with pytest.raises(
        InputRefused, match=r"GOV_WGI_PV.EST are of two moments: 1.json has 2 pages .WGI, updated 2025-11"
    ):
        read_wgi(drop.inventory())


def test_the_real_file_is_told_to_join_two_editions_and_only_there(drop: Drop) -> None:
    raw = shared_data("wgi/wgi_pv_estimate_1996_2024.csv").read_bytes()
    drop.baci()
    path = drop.put("wgi/a.csv", raw, {"release": "one edition, says the sidecar"})
    told = [note for note in read_wgi(drop.inventory()).notes if "may join two editions" in note]
    assert len(told) == 1
    assert "PV may join two editions that the file states as one: from 2022 to 2023" in told[0]
    assert (
        "moves by 0.042 (at most 0.006 in the pairs of years before), the figures have 16 and then 7 digits" in told[0]
    )
    assert "the rank correlation is 0.974" in told[0]
    path.with_name("a.csv.meta.json").write_text(json.dumps({"vintages": SPANS}))
    assert not [note for note in read_wgi(drop.inventory()).notes if "may join" in note]


def world(seed: int, years: int, countries: int = 60) -> dict[int, dict[str, float]]:
    """Made-up estimates by the old manner: a slow walk, each year centred to mean 0 and spread 1."""
    chance = np.random.default_rng(seed)
    level = chance.normal(size=countries)
    out = {}
    for year in range(2000, 2000 + years):
        level = level + chance.normal(scale=0.15, size=countries)
        level = (level - level.mean()) / level.std()
        out[year] = {f"C{i:02d}": float(v) for i, v in enumerate(level)}
    return out


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(6, 15), st.randoms())
def test_a_centred_history_has_no_break_and_a_shifted_one_has_one(seed: int, years: int, chance: random.Random) -> None:
    whole = world(seed, years)
    assert edition_breaks(whole) == []
    at = chance.randint(2005, 1999 + years)
    joined = {year: {c: v + (0.06 if year >= at else 0) for c, v in of.items()} for year, of in whole.items()}
    (found,) = edition_breaks(joined)
    assert (found.before, found.after) == (at - 1, at)
    assert found.shift == pytest.approx(0.06)
    first, second = (rankdata(list(joined[year].values())) for year in (at - 1, at))
    assert found.correlation == pytest.approx(np.corrcoef(first, second)[0, 1])


def test_figures_written_otherwise_are_a_sign_of_their_own() -> None:
    whole = world(1, 3)
    assert edition_breaks(whole, {2000: 16, 2001: 15, 2002: 14}) == []
    (found,) = edition_breaks(whole, {2000: 16, 2001: 16, 2002: 7})
    assert (found.before, found.after, found.digits, found.usual_shift) == (2001, 2002, (16, 7), None)
    small = {year: dict(list(of.items())[:29]) for year, of in whole.items()}
    assert edition_breaks(small, {2000: 16, 2001: 16, 2002: 7}) == []
