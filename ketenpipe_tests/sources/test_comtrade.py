"""UN Comtrade files: each layout, each trap, each refusal with its sentence, and the maximum rule on real rows."""

from __future__ import annotations

import gzip
import json
import zipfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ketenpipe.errors import InputRefused
from ketenpipe.sources import comtrade
from ketenpipe.sources.comtrade import ComtradeData, area, areas, codes_of, list_periods, period_name, read_period
from ketenpipe.sources.opening import sha256_of
from ketenpipe.sources.places import Inventory, Sidecar, SourceFile, classify, parse_sidecar
from ketenpipe_tests.shared_data import shared_data
from ketenpipe_tests.upstream.comtrade import DESCRIPTIONS, Trade, api_row, envelope

NLD, DEU, CHN, USA, TWN = 528, 276, 156, 842, 490
OLD_HEADER = (
    "Classification,Year,Period,Period Desc.,Aggregate Level,Is Leaf Code,Trade Flow Code,Trade Flow,Reporter Code,"
    "Reporter,Reporter ISO,Partner Code,Partner,Partner ISO,2nd Partner Code,2nd Partner,2nd Partner ISO,"
    "Customs Proc. Code,Customs,Mode of Transport Code,Mode of Transport,Commodity Code,Commodity,Qty Unit Code,"
    "Qty Unit,Qty,Alt Qty Unit Code,Alt Qty Unit,Alt Qty,Netweight (kg),Gross weight (kg),Trade Value (US$),"
    "CIF Trade Value (US$),FOB Trade Value (US$),Flag"
)


class Folder:
    """A comtrade/ folder under construction."""

    def __init__(self, root: Path) -> None:
        self.root = root / "comtrade"
        self.root.mkdir(parents=True, exist_ok=True)

    def put(self, name: str, content: str | bytes, sidecar: dict[str, Any] | None = None) -> Path:
        raw = content.encode() if isinstance(content, str) else content
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(raw, mtime=0) if name.endswith(".gz") and raw[:2] != b"\x1f\x8b" else raw)
        if sidecar is not None:
            path.with_name(path.name + ".meta.json").write_text(json.dumps(sidecar))
        return path

    def rows(self, name: str, *rows: dict[str, Any], **more: Any) -> Path:
        return self.put(name, envelope(list(rows)), **more)

    def csv(self, name: str, *lines: str, header: str = "reporter,partner,cmd,flow,value,netwgt") -> Path:
        return self.put(name, "\n".join([header, *lines]) + "\n")

    def inventory(self) -> Inventory:
        files = []
        for path in sorted(p for p in self.root.rglob("*") if p.is_file() and not p.name.endswith(".meta.json")):
            kind = classify("comtrade", path.name)
            assert not isinstance(kind, str), kind
            beside = path.with_name(path.name + ".meta.json")
            sidecar = parse_sidecar(json.loads(beside.read_text()), beside) if beside.exists() else Sidecar()
            relative = path.relative_to(self.root.parent).as_posix()
            files.append(
                SourceFile("comtrade", kind[0], path, relative, sha256_of(path), path.stat().st_size, sidecar, None)
            )
        return Inventory(self.root.parent, tuple(files), ())

    def read(self) -> ComtradeData:
        (period,) = list_periods(self.inventory())
        return read_period(period)

    def refused(self) -> str:
        with pytest.raises(InputRefused) as refused:
            self.read()
        return str(refused.value).replace(str(self.root.parent) + "/", "")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def trade(**changes: Any) -> Trade:
    given = {"period": "2024", "reporter": NLD, "flow": "M", "code": "010121", "partner": CHN, "value": 1234567.0}
    return Trade(**(given | changes))  # type: ignore[arg-type]


def plain(data: ComtradeData) -> list[tuple[Any, ...]]:
    return [
        (r["code"], r["reporter"], r["partner"], r["flow"], r["value_kusd"], r["tonnes"])
        for r in data.table.to_pylist()
    ]


# --- layouts ---------------------------------------------------------------------------------------------------------


def test_an_envelope_becomes_reports(folder: Folder) -> None:
    rows = [
        api_row(trade(weight=2500.0)),
        api_row(trade(flow="X", partner=USA, value=0.5 + 1000, classification="H5")),
        api_row(trade(partner=TWN, value=2000.0, weight=0.0)),
    ]
    rows[0]["isNetWgtEstimated"] = True
    folder.rows("answer.json", *rows)
    data = folder.read()
    assert data.period.contract.name == "comtrade_annual"
    assert data.table.to_pylist() == [
        {
            "period": "2024",
            "hs_revision": revision,
            "code": "010121",
            "reporter": "NLD",
            "partner": partner,
            "flow": flow,
            "value_kusd": Decimal(value),
            "tonnes": tonnes,
            "weight_estimated": estimated,
            "maximum_per_key": False,
            "vintage": data.table["vintage"][0].as_py(),
        }
        for revision, partner, flow, value, tonnes, estimated in (
            ("HS22", "CHN", "M", "1234.567", 2.5, True),
            ("HS22", "TWN", "M", "2.000", None, False),  # a weight of 0 for goods of value is unknown
            ("HS17", "USA", "X", "1.000", None, False),  # half a USD to the even one
        )
    ]
    assert data.table["vintage"][0].as_py().startswith("undeclared:")
    (record,) = data.records
    assert (record.rows_read, record.rows_refused, record.from_year, record.reason) == (3, 0, 2024, None)


@pytest.mark.parametrize("name", ["a.json", "a.json.gz", "a.csv", "a.csv.gz", "a.tsv", "a.txt.gz", "b[2026-11-02].gz"])
@pytest.mark.parametrize("described", [True, False])
def test_every_packing_gives_the_same_reports(folder: Folder, name: str, described: bool) -> None:
    rows = [api_row(trade(weight=2500.0)), api_row(trade(flow="X", reporter=USA, partner=NLD, value=7.0))]
    if not described:
        rows = [{k: v for k, v in row.items() if k not in DESCRIPTIONS} for row in rows]
        assert len(rows[0]) == 34
    if ".json" in name:
        folder.rows(name, *rows)
    else:
        mark = "," if ".csv" in name else "\t"
        text = pd.DataFrame(rows).to_csv(index=False, sep=mark)
        folder.put(name, "\ufeff" + text.replace("reporterCode", "ReporterCode", 1).replace("cmdCode", "CMDCODE", 1))
    assert plain(folder.read()) == [
        ("010121", "NLD", "CHN", "M", Decimal("1234.567"), 2.5),
        ("010121", "USA", "NLD", "X", Decimal("0.007"), None),
    ]


def test_a_zip_of_them_is_read_entry_by_entry(folder: Folder) -> None:
    with zipfile.ZipFile(folder.root / "all.zip", "w") as archive:
        archive.writestr("a/imports.json", envelope([api_row(trade())]))
        archive.writestr("a/exports.csv", pd.DataFrame([api_row(trade(flow="X"))]).to_csv(index=False))
        archive.writestr("readme.md", "words")
    data = folder.read()
    assert [r[3] for r in plain(data)] == ["M", "X"]
    assert [r.path for r in data.records] == ["comtrade/all.zip!a/exports.csv", "comtrade/all.zip!a/imports.json"]


def test_the_former_sites_columns_are_read(folder: Folder) -> None:
    line = (
        '{},2015,{},2015,6,0,{},Import,528,Netherlands,NLD,156,China,CHN,,,,,,,,{},"Horses, asses",8,kg,1,,,,{},,{},,,0'
    )
    folder.csv(
        "old.csv",
        line.format("H4", "2015", "1", "010121", "2500", "1234567"),
        line.format("H4", "2015", "2", "010121", "", "9"),
        line.format("H4", "2015", "3", "010121", "", "8"),
        line.format("H4", "2015", "4", "010121", "", "7"),
        header=OLD_HEADER,
    )
    data = folder.read()
    assert plain(data) == [
        ("010121", "NLD", "CHN", "M", Decimal("1234.567"), 2.5),
        ("010121", "NLD", "CHN", "X", Decimal("0.009"), None),
    ]
    assert data.table["hs_revision"].to_pylist() == ["HS12", "HS12"]
    assert data.table["weight_estimated"].to_pylist() == [None, None]
    assert data.records[0].reason == "1 left out: re-exports; 1 left out: re-imports"


def test_periods_come_from_rows_or_from_the_name(folder: Folder) -> None:
    folder.rows("two.json", api_row(trade(period="202409")), api_row(trade(period="202410", value=5.0)))
    folder.csv("bilateral_202411.csv", "528,156,010121,M,7,1")
    folder.csv("comtrade_2023.csv.gz", "528.0,156.0,010121,M,9.0,")
    periods = list_periods(folder.inventory())
    assert [(p.frequency, p.period) for p in periods] == [
        ("A", "2023"), ("M", "2024-09"), ("M", "2024-10"), ("M", "2024-11"),
    ]  # fmt: skip
    assert [plain(read_period(p))[0][4] for p in periods] == [
        Decimal("0.009"), Decimal("1234.567"), Decimal("0.005"), Decimal("0.007"),
    ]  # fmt: skip
    assert read_period(periods[2]).table["period"].to_pylist() == ["2024-10"]
    assert read_period(periods[1]).period.contract.name == "comtrade_monthly"


def test_a_sidecar_states_vintage_and_revision(folder: Folder) -> None:
    stated = {"release": "2026-11-02T10:20:30", "retrieved_at": "2026-11-05T00:00:00Z", "hs_revision": "HS17"}
    path = folder.csv("c_2024.csv", "528,156,010121,M,7,1")
    path.with_name(path.name + ".meta.json").write_text(json.dumps(stated))
    row = folder.read().table.to_pylist()[0]
    assert (row["vintage"], row["hs_revision"]) == ("2026-11-02", "HS17")


# --- traps -----------------------------------------------------------------------------------------------------------


def test_only_totals_of_six_digits_between_two_countries_are_kept(folder: Folder) -> None:
    folder.rows(
        "answer.json",
        api_row(trade()),
        api_row(trade(), mot=2100, share=0.5),
        api_row(trade(), partner2=276, share=0.5),
        api_row(trade(), customs="C01", share=0.5),
        api_row(trade()) | {"mosCode": "2"},
        api_row(trade(code="0101")),
        api_row(trade(code="01")),
        api_row(trade(code="TOTAL")),
        api_row(trade(code="01012110")),
        api_row(trade(code="999999")),
        api_row(trade(code="9999AA")) | {"aggrLevel": 6},
        api_row(trade(flow="RX")),
        api_row(trade(flow="DX")),
        api_row(trade(partner=0)),
        api_row(trade(partner=0, code="010129")),
        api_row(trade(partner=899)),
        api_row(trade(partner=NLD)),
        api_row(trade(reporter=97)),
        api_row(trade(value=0.0)),
    )
    data = folder.read()
    assert plain(data) == [("010121", "NLD", "CHN", "M", Decimal("1234.567"), None)]
    (record,) = data.records
    assert (record.rows_read, record.rows_refused) == (19, 18)
    assert record.reason == "; ".join(
        f"{n} left out: {what}"
        for n, what in (
            (3, "aggregates of codes (fewer than six digits)"),
            (2, "goods that were not classified"),
            (2, "with a partner that is no country: World (0)"),
            (1, "domestic exports"),
            (1, "parts of a total (one customs procedure)"),
            (1, "parts of a total (one mode of supply)"),
            (1, "parts of a total (one mode of transport)"),
            (1, "parts of a total (one second partner)"),
            (1, "re-exports"),
            (1, "re-imports (reporter = partner)"),
            (1, "reported by a group: European Union (97)"),
            (1, "tariff lines (more than six digits)"),
            (1, "values of 0 USD"),
            (1, "with a partner that is no country: Areas, nes (899)"),
        )
    )


def test_a_key_twice_with_the_mode_columns_there_is_refused_with_both_rows(folder: Folder) -> None:
    folder.rows("answer.json", api_row(trade(partner=USA)), api_row(trade()), api_row(trade(value=99.0)))
    assert folder.refused() == (
        "comtrade/answer.json: the key 010121, reporter 528, partner 156, flow M stands twice: row 2 (1,234,567 USD) "
        "and row 3 (99 USD); drop the file that was joined twice, or fetch it again."
    )


def test_lost_mode_columns_take_the_largest_row_of_the_key(folder: Folder) -> None:
    folder.csv(
        "comtrade_2024.csv",
        "528,156,010121,M,60,6",
        "528,156,010121,M,100,",
        "528,156,010121,M,100,10",
        "528,156,010121,M,40,4",
        "528,276,010121,M,70,7",
        "528,276,010121,M,60,50",
        "528,842,010121,M,5,1",
    )
    data = folder.read()
    assert plain(data) == [
        ("010121", "NLD", "CHN", "M", Decimal("0.100"), 0.01),
        ("010121", "NLD", "DEU", "M", Decimal("0.070"), 0.007),  # the weight of the largest row, not the largest weight
        ("010121", "NLD", "USA", "M", Decimal("0.005"), 0.001),
    ]
    assert data.table["maximum_per_key"].to_pylist() == [True, True, False]
    (record,) = data.records
    assert record.rows_refused == 4
    assert record.reason == (
        "4 left out: repeated keys, the largest row standing for the total; the columns second partner, customs "
        "procedure, mode of transport are lost: 2 keys are repeated and their largest row is taken; in 1 of them the "
        "other rows add to a whole multiple of it, as they do where it is the total"
    )


def test_two_codes_of_one_country_are_summed(folder: Folder) -> None:
    folder.rows(
        "answer.json",
        api_row(trade(period="1998", partner=58, value=10.0, weight=1000.0)),
        api_row(trade(period="1998", partner=56, value=5.0, weight=500.0)),
        api_row(trade(period="1998", partner=736, value=10.0, weight=1000.0)),
        api_row(trade(period="1998", partner=729, value=5.0)),
    )
    data = folder.read()
    assert plain(data) == [
        ("010121", "NLD", "BEL", "M", Decimal("0.015"), 1.5),
        ("010121", "NLD", "SDN", "M", Decimal("0.015"), None),  # one weight unknown: the sum is unknown
    ]
    assert data.records[0].reason == "2 rows were summed because two country codes share one ISO3 code"


def test_a_country_that_reports_under_two_codes_in_two_files_is_summed(folder: Folder) -> None:
    for reporter, value in ((729, 10.0), (736, 5.0)):
        folder.rows(
            f"v{reporter}/C_A_HS_2011_{reporter}.json.gz",
            api_row(trade(period="2011", reporter=reporter, value=value, weight=1000.0)),
        )
    data = folder.read()
    assert plain(data) == [("010121", "SDN", "CHN", "M", Decimal("0.015"), 2.0)]


def test_a_dataset_may_lie_in_parts_and_never_twice(folder: Folder) -> None:
    folder.rows("imports.json", api_row(trade()))
    folder.rows("exports.json", api_row(trade(flow="X")))
    folder.rows("other.json", api_row(trade(code="010129")))
    assert len(plain(folder.read())) == 3
    folder.rows("again.json", api_row(trade(partner=USA)))
    assert folder.refused() == (
        "comtrade/imports.json: imports of 010121 as reported by NLD stand in two files, comtrade/again.json and "
        "comtrade/imports.json; keep one of them."
    )


def test_of_two_archived_releases_the_newer_is_read(folder: Folder) -> None:
    for release, value in (("2026-10-01T00:00:00", 1000.0), ("2026-11-02T00:00:00", 2000.0)):
        folder.rows(
            f"{release[:10]}-abc/C_A_HS_2024_528.json.gz",
            api_row(trade(value=value)),
            sidecar={"release": release, "slot": "comtrade/A/2024/528"},
        )
    data = folder.read()
    assert plain(data)[0][4] == Decimal("2.000")
    assert [r.reason for r in data.records] == [
        "superseded by comtrade/2026-11-02-abc/C_A_HS_2024_528.json.gz",
        None,
    ]


def test_the_same_archived_dataset_without_a_release_is_refused(folder: Folder) -> None:
    for name in ("one", "two"):
        folder.rows(f"{name}/C_A_HS_2024_528.json.gz", api_row(trade()))
    assert folder.refused() == (
        "the same dataset stands in two files, comtrade/one/C_A_HS_2024_528.json.gz and "
        "comtrade/two/C_A_HS_2024_528.json.gz, and nothing says which is newer; keep one of them."
    )


def test_an_archived_dataset_without_our_codes_says_so(folder: Folder) -> None:
    note = "the country reported, and traded none of the codes that were asked for"
    folder.rows("v/C_M_HS_202409_528.json.gz", sidecar={"release": "2026-11-02", "note": note})
    data = folder.read()
    assert data.period.period == "2024-09"
    assert data.table.num_rows == 0
    assert data.records[0].reason == note


def test_an_archived_file_with_another_reporters_row_is_refused(folder: Folder) -> None:
    folder.rows("v/C_A_HS_2024_528.json.gz", api_row(trade()), api_row(trade(reporter=DEU)))
    assert folder.refused() == (
        "comtrade/v/C_A_HS_2024_528.json.gz, row 2 of data: the row is reported by 276, the file is named for 528."
    )


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"cmdCode": "10121"},
            "the product code '10121' has 5 characters: leading zeros were lost, as a spreadsheet does",
        ),
        ({"cmdCode": 10121}, "the product code '10121' has 5 characters: leading zeros were lost"),
        ({"cmdCode": "101"}, "the product code '101' has 3 characters: leading zeros were lost"),
        ({"cmdCode": "horses"}, "'horses' is no product code"),
        ({"cmdCode": "010121", "aggrLevel": 4}, "the code 010121 has six digits and aggregation level 4"),
        ({"flowCode": "Q"}, "'Q' is no trade flow (M, X, ...)"),
        ({"classificationCode": "S4"}, "'S4' is no HS revision that is known (H0, H1, H2, H3, H4, H5, H6); ask for"),
        ({"classificationCode": "H7"}, "'H7' is no HS revision that is known"),
        (
            {"partnerCode": 998, "partnerISO": "QQQ"},
            "the partner 998 (QQQ) is no country that is known (1 row); add it to",
        ),
        ({"reporterCode": "China"}, "column 'reporterCode' holds 'China' where a numeric country code is needed"),
        ({"partnerCode": None}, "column 'partnerCode' holds an empty cell where a numeric country code is needed"),
        ({"partnerISO": "BRA"}, "the partner 156 is CHN in ISO 3166 and BRA in the row: columns are shifted"),
        ({"primaryValue": -1.0}, "column 'primaryValue' is negative (-1.0)"),
        ({"primaryValue": "about 7"}, "'about 7' in column 'primaryValue' is no number"),
        ({"primaryValue": None}, "there is no value"),
        ({"primaryValue": 1e17}, "column 'primaryValue' holds 1e+17, which no flow can reach"),
        ({"netWgt": -3}, "column 'netWgt' is negative (-3)"),
        ({"netWgt": "inf"}, "'inf' in column 'netWgt' is no number"),
        ({"freqCode": "M"}, "the row is of 2024 and of frequency 'M'"),
        ({"period": "2024Q1"}, "'2024Q1' is no period (2024, 202409)"),
    ],
)
def test_a_row_that_is_wrong_is_refused_by_its_place(folder: Folder, changes: dict[str, object], sentence: str) -> None:
    good = api_row(trade(partner=USA))
    folder.rows("answer.json", good, api_row(trade()) | changes)
    said = folder.refused()
    assert said.startswith(f"comtrade/answer.json, row 2 of data: {sentence}"), said
    path = folder.root / "answer.json"
    path.unlink()
    folder.put("answer.csv", pd.DataFrame([good, api_row(trade()) | changes], dtype=object).to_csv(index=False))
    said = folder.refused()
    assert said.startswith("comtrade/answer.csv, line 3: "), said


def test_rows_that_are_left_out_need_not_be_right(folder: Folder) -> None:
    folder.rows("answer.json", api_row(trade()), api_row(trade(partner=0)) | {"primaryValue": -1, "netWgt": "?"})
    assert len(plain(folder.read())) == 1


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        (
            "empty.json",
            envelope([]),
            "the file holds no rows; an empty answer means that the country has not reported yet",
        ),
        (
            "cut.json",
            envelope([api_row(trade())], count=2),
            "the answer counts 2 rows and holds 1: it is cut off; ask for",
        ),
        ("broken.json", envelope([api_row(trade())])[:-9], "not readable as JSON ("),
        (
            "said.json",
            envelope([], error="Invalid parameter"),
            "the file is an error answer of the API ('Invalid parameter'",
        ),
        ("key.json", '{"statusCode":401,"message":"Access denied"}', "the file is an error answer of the API ('Access"),
        ("else.json", '{"results":[]}', "there is no list of rows under 'data'; use an answer of the API as it is"),
        ("page.json", "<html>sign in</html>", "the file is a web page, not data; download it again"),
        ("none.json", " \n", "the file is empty; download it again"),
        (
            "utf_2024.csv",
            "reporter,partner,cmd,flow,value,netwgt\r\n528,156,010121,M,1,1\r\n".encode("utf-16"),
            "the file is UTF-16, not UTF-8; save it as CSV in UTF-8",
        ),
        (
            "mac_2024.csv",
            "reporter,partner,cmd,flow,value,netwgt\r528,156,010121,M,1,1\r",
            "its lines end in a carriage",
        ),
        (
            "c_2024.csv",
            "reporter,partner,cmd,flow,netwgt\n",
            "column 'primaryValue' is missing (found: reporter, partner",
        ),
        ("c_2024.csv", "reporter,partner,cmd,flow,value,netwgt\n1,2,3\n", "not readable as CSV ("),
        ("c_2024.csv", "reporter,partner,cmd,flow,value,netwgt\n", "the file holds no rows"),
        (
            "trade.csv",
            "reporter,partner,cmd,flow,value,netwgt\n528,156,010121,M,1,1\n",
            "there is no column 'period', and",
        ),
        (
            "2023_2024.csv",
            "reporter,partner,cmd,flow,value,netwgt\n528,156,010121,M,1,1\n",
            "there is no column 'period'",
        ),
    ],
)
def test_a_file_that_is_no_data_is_refused(folder: Folder, name: str, content: str | bytes, sentence: str) -> None:
    folder.put(name, content)
    said = folder.refused()
    assert said.startswith(f"comtrade/{name}: {sentence}"), said


def test_a_truncated_gzip_is_refused(folder: Folder) -> None:
    folder.put("a.json.gz", gzip.compress(envelope([api_row(trade(value=float(n))) for n in range(1, 99)]))[:-200])
    assert "the file is truncated or damaged" in folder.refused()


@pytest.mark.parametrize(("rows", "shown"), [(500, "500"), (100_000, "100,000")])
def test_a_file_of_as_many_rows_as_the_cap_is_refused(folder: Folder, rows: int, shown: str) -> None:
    folder.csv("comtrade_2024.csv.gz", *["528,156,010121,M,1,1"] * rows)
    assert folder.refused() == (
        f"comtrade/comtrade_2024.csv.gz: the file has exactly {shown} rows, which is where the API cuts an answer off; "
        "ask for it in parts (a flow or some codes each); several files may share a period."
    )


def test_descriptions_may_be_in_any_encoding_and_on_two_lines(folder: Folder) -> None:
    text = "reporterCode,reporterDesc,partnerCode,cmdCode,cmdDesc,flowCode,primaryValue,netWgt,period\n"
    text += '384,"Côte d\'Ivoire",156,010121,"Horses,\nlive",M,5,1,2024\n'
    folder.put("latin.csv", text.encode("latin-1"))
    assert plain(folder.read()) == [("010121", "CIV", "CHN", "M", Decimal("0.005"), 0.001)]


def test_a_column_that_stands_twice_is_refused(folder: Folder) -> None:
    folder.csv("c_2024.csv", "528,156,010121,M,7,8,1", header="reporter,partner,cmd,flow,value,VALUE,netwgt")
    assert folder.refused() == "comtrade/c_2024.csv: column 'value' stands twice."


def test_names_of_the_archive_and_zips_that_hold_nothing_are_refused(folder: Folder) -> None:
    folder.rows("C_A_HS_202408_528.json.gz", api_row(trade()))
    assert folder.refused() == "comtrade/C_A_HS_202408_528.json.gz: '202408' is no period of frequency A."
    (folder.root / "C_A_HS_202408_528.json.gz").unlink()
    with zipfile.ZipFile(folder.root / "nothing.zip", "w") as archive:
        archive.writestr("words.md", "words")
    assert folder.refused() == "comtrade/nothing.zip: the zip holds no CSV or JSON file."


def test_names_that_are_no_rows_are_not_taken() -> None:
    assert classify("comtrade", "comtrade_2024.csv.gz") == ("reports", {})
    assert classify("comtrade", "reference_HS.json") == "a list of the UN Comtrade API, not rows of trade"
    assert classify("comtrade", "rows.parquet") == "neither CSV nor JSON nor zip: save it as downloaded"


# --- who is who ------------------------------------------------------------------------------------------------------


def test_the_codes_that_are_no_iso_numbers() -> None:
    for code, iso3 in ((842, "USA"), (699, "IND"), (757, "CHE"), (251, "FRA"), (579, "NOR"), (490, "TWN"), (58, "BEL")):
        found = area(code, {490: "S19"}.get(code))
        assert found is not None
        assert found.iso3 == iso3
    for code in (0, 568, 577, 636, 837, 838, 839, 899, 97):
        found = area(code)
        assert found is not None
        assert found.iso3 is None
    assert area(528) == area(528, "NLD")
    assert area(998) is None
    assert codes_of()["USA"] == 842
    assert codes_of()["TWN"] == 490
    assert [period_name(x) for x in ("2024", "202409", "202413", "24", "")] == ["2024", "2024-09", None, None, None]


def test_every_reporter_of_the_recorded_list_since_1988_is_known() -> None:
    listed = json.loads(shared_data("comtrade/reference_Reporters.json").read_text(encoding="utf-8-sig"))["results"]
    for one in listed:
        if one.get("entryExpiredDate", "9999") < "1988":
            continue
        found = area(one["id"])
        assert found is not None, one["text"]
        expected = {490: "TWN"}.get(one["id"], None if one["isGroup"] else one["reporterCodeIsoAlpha3"])
        assert found.iso3 == expected, one["text"]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("x,NLD,country,,why", "the code 'x' is no number or stands twice"),
        ("1,NLD,planet,,why", "'planet' is none of country, former, nes, group"),
        ("1,,country,,why", "a country has an ISO3 code of three characters"),
        ("1,NLD,nes,,why", "a country has an ISO3 code of three characters"),
        ("1,NLD,country", "the columns are code, iso3, kind, until, why"),
    ],
)
def test_a_wrong_list_of_areas_is_refused(tmp_path: Path, line: str, sentence: str) -> None:
    path = tmp_path / "comtrade_areas.csv"
    path.write_text(f"code,iso3,kind,until,why\n{line}\n")
    with pytest.raises(InputRefused, match=r"line 2: ") as refused:
        areas(path)
    assert sentence in str(refused.value)


# --- properties ------------------------------------------------------------------------------------------------------

_totals = st.dictionaries(
    st.tuples(
        st.sampled_from([NLD, DEU, USA, TWN]),
        st.sampled_from([CHN, 699, 757, 76]),
        st.sampled_from(["010121", "854143", "260600"]),
        st.sampled_from(["M", "X"]),
    ),
    st.tuples(st.integers(1, 10**12), st.lists(st.integers(1, 9), min_size=0, max_size=4)),
    min_size=1,
    max_size=25,
)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(totals=_totals, order=st.randoms(use_true_random=False))
def test_totals_survive_lost_mode_columns_and_kept_ones(
    tmp_path_factory: pytest.TempPathFactory, totals: dict[Any, Any], order: Any
) -> None:
    """Whatever parts stand beside a total, both layouts give back the totals and nothing else."""
    lost, kept = [], []
    for (reporter, partner, code, flow), (value, parts) in totals.items():
        one = trade(reporter=reporter, partner=partner, code=code, flow=flow, value=float(value))
        lost.append(f"{reporter},{partner},{code},{flow},{value},")
        kept.append(api_row(one))
        for n, part in enumerate(parts):
            share = part / (sum(parts) + 1)
            lost.append(f"{reporter},{partner},{code},{flow},{value * share},")
            kept.append(api_row(one, mot=1000 + n, share=share))
    order.shuffle(lost)
    order.shuffle(kept)
    one, two = (Folder(tmp_path_factory.mktemp("c")) for _ in range(2))
    one.csv("comtrade_2024.csv", *lost)
    two.rows("answer.json", *kept)
    expected = {
        (code, area(r).iso3, area(p).iso3, flow): Decimal(value) / 1000  # type: ignore[union-attr]
        for (r, p, code, flow), (value, _) in totals.items()
    }
    for folder in (one, two):
        data = folder.read()
        assert {row[:4]: row[4] for row in plain(data)} == expected
        assert data.records[0].rows_read - data.records[0].rows_refused == len(expected)


# --- real rows -------------------------------------------------------------------------------------------------------


def real_2024() -> ComtradeData:
    path = shared_data("comtrade/comtrade_2024.csv.gz")
    file = SourceFile(
        "comtrade", "reports", path, f"comtrade/{path.name}", sha256_of(path), path.stat().st_size, Sidecar(), None
    )
    (period,) = list_periods(Inventory(path.parent, (file,), ()))
    return read_period(period)


def test_the_real_file_agrees_with_baci_by_the_maximum_and_not_by_the_sum() -> None:
    data = real_2024()
    table = data.table.to_pandas()
    record = data.records[0]
    assert record.rows_read == 164_831
    assert record.rows_read - record.rows_refused == len(table) == 30_985
    assert table["hs_revision"].isna().all()
    assert {"TWN", "USA", "IND", "FRA"} <= set(table["reporter"])
    # The other rows of a repeated key add to a whole multiple of the largest: it is the total.
    raw = pd.read_csv(shared_data("comtrade/comtrade_2024.csv.gz"), dtype={"cmd": str})
    grouped = raw.groupby(["reporter", "partner", "cmd", "flow"]).value.agg(["size", "max", "sum"])
    repeated = grouped[grouped["size"] > 1]
    ratio = (repeated["sum"] - repeated["max"]) / repeated["max"]
    assert ((ratio - ratio.round()).abs() < 1e-3).mean() > 0.99
    # Against BACI, on the codes that both hold.
    baci = pd.read_csv(shared_data("baci/BACI_HS92_Y2024_subset74.csv.gz"), dtype={"k": str}, skipinitialspace=True)
    iso = {n: a.iso3 for n in range(1000) if (a := area(n)) is not None}
    baci = baci.assign(i=baci.i.map(iso), j=baci.j.map(iso)).dropna(subset=["i", "j"])
    flows = baci.groupby(["i", "j", "k"]).v.sum()
    both = sorted(set(baci.k) & set(table["code"]))
    assert len(both) == 14
    raw = raw.assign(reporter=raw.reporter.map(iso), partner=raw.partner.map(iso)).dropna()
    summed = raw.groupby(["reporter", "partner", "cmd", "flow"]).value.sum().div(1000)
    for flow, keys in (("M", ["partner", "reporter", "code"]), ("X", ["reporter", "partner", "code"])):
        mine = table[(table["flow"] == flow) & table["code"].isin(both)].set_index(keys)["value_kusd"].astype(float)
        pairs = pd.concat([mine.rename_axis(["i", "j", "k"]), flows], axis=1, join="inner")
        assert 0.99 < (pairs["value_kusd"] / pairs["v"]).median() < 1.01
        assert 0.95 < pairs["value_kusd"].sum() / pairs["v"].sum() < 1.07
        naive = summed.xs(flow, level="flow").rename_axis(["reporter", "partner", "code"])
        naive = naive[naive.index.get_level_values("code").isin(both)].reset_index().set_index(keys)["value"]
        wrong = pd.concat([naive.rename_axis(["i", "j", "k"]), flows], axis=1, join="inner")
        assert (wrong["value"] / wrong["v"]).median() > 1.9


def test_the_recorded_answer_is_read_and_holds_aggregates_only() -> None:
    path = shared_data("comtrade/api_get_C_A_HS.json")
    file = SourceFile("comtrade", "reports", path, path.name, sha256_of(path), path.stat().st_size, Sidecar(), None)
    (period,) = list_periods(Inventory(path.parent, (file,), ()))
    data = read_period(period)
    assert (period.period, data.table.num_rows) == ("2010", 0)
    assert data.records[0].reason == "4 left out: aggregates of codes (fewer than six digits)"
    recorded = json.loads(path.read_text())["data"][0]
    assert set(recorded) == set(api_row(trade())), "the stand-in's rows have the recorded fields"
    assert comtrade.REVISIONS[recorded["classificationCode"]] == "HS07"
