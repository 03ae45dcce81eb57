"""UN Comtrade's protocol on the stand-in server: a small world of made-up trade, answered as the API answers.

The shapes (envelope, fields, error bodies) are those of recorded answers; every figure is made up. Mount it with
``server.handle("/", Comtrade(...))``; it misbehaves by its attributes, beyond what the server itself can do wrong.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from ketenpipe_tests.upstream.server import Asked, Reply

ISO = {
    528: "NLD",
    276: "DEU",
    156: "CHN",
    842: "USA",
    490: "S19",
    76: "BRA",
    699: "IND",
    0: "W00",
    899: "_X ",
    97: "EUR",
}
#: Fields that come with ``includeDesc=true`` only.
DESCRIPTIONS = (
    "reporterISO",
    "reporterDesc",
    "flowDesc",
    "partnerISO",
    "partnerDesc",
    "partner2ISO",
    "partner2Desc",
    "classificationSearchCode",
    "cmdDesc",
    "customsDesc",
    "motDesc",
    "qtyUnitAbbr",
    "altQtyUnitAbbr",
)
ROW_CAP, PREVIEW_CAP = 100_000, 500


@dataclass(frozen=True, order=True)
class Trade:
    """A total that a country reports: USD and kg."""

    period: str
    reporter: int
    flow: str
    code: str
    partner: int
    value: float
    weight: float | None = None
    classification: str = "H6"

    @property
    def frequency(self) -> str:
        return "A" if len(self.period) == 4 else "M"

    @property
    def dataset(self) -> tuple[str, str, int]:
        return self.frequency, self.period, self.reporter


def api_row(
    trade: Trade, *, mot: int = 0, partner2: int = 0, customs: str = "C00", share: float = 1.0
) -> dict[str, Any]:
    """A row with all 47 fields."""
    annual = trade.frequency == "A"
    weight = None if trade.weight is None else trade.weight * share
    return {
        "typeCode": "C",
        "freqCode": trade.frequency,
        "refPeriodId": int(trade.period.ljust(6, "0") + "01") if not annual else int(f"{trade.period}0101"),
        "refYear": int(trade.period[:4]),
        "refMonth": 52 if annual else int(trade.period[4:]),
        "period": trade.period,
        "reporterCode": trade.reporter,
        "reporterISO": ISO.get(trade.reporter, "XXX"),
        "reporterDesc": f"country {trade.reporter}",
        "flowCode": trade.flow,
        "flowDesc": {"M": "Import", "X": "Export"}.get(trade.flow, trade.flow),
        "partnerCode": trade.partner,
        "partnerISO": ISO.get(trade.partner, "XXX"),
        "partnerDesc": f"country {trade.partner}",
        "partner2Code": partner2,
        "partner2ISO": "W00",
        "partner2Desc": "World",
        "classificationCode": trade.classification,
        "classificationSearchCode": "HS",
        "isOriginalClassification": True,
        "cmdCode": trade.code,
        "cmdDesc": f"goods {trade.code}",
        "aggrLevel": 0 if trade.code == "TOTAL" else len(trade.code),
        "isLeaf": len(trade.code) == 6,
        "customsCode": customs,
        "customsDesc": "TOTAL CPC",
        "mosCode": "0",
        "motCode": mot,
        "motDesc": "TOTAL MOT" if mot == 0 else "Sea",
        "qtyUnitCode": -1,
        "qtyUnitAbbr": "N/A",
        "qty": None,
        "isQtyEstimated": False,
        "altQtyUnitCode": -1,
        "altQtyUnitAbbr": "N/A",
        "altQty": None,
        "isAltQtyEstimated": False,
        "netWgt": weight,
        "isNetWgtEstimated": False,
        "grossWgt": None,
        "isGrossWgtEstimated": False,
        "cifvalue": trade.value * share if trade.flow == "M" else None,
        "fobvalue": trade.value * share if trade.flow == "X" else None,
        "primaryValue": trade.value * share,
        "legacyEstimationFlag": 0,
        "isReported": True,
        "isAggregate": trade.code == "TOTAL",
    }


def envelope(rows: list[dict[str, Any]], *, count: int | None = None, error: str = "") -> bytes:
    """The answer around some rows."""
    body = {"elapsedTime": "0.07 secs", "count": len(rows) if count is None else count, "data": rows, "error": error}
    return json.dumps(body).encode()


@dataclass
class Comtrade:
    """The handler.

    Attributes:
        trades: what countries report.
        keys: accepted subscription keys.
        cap: rows after which an answer is cut off.
        quota: calls that a key has; None: no limit. ``replenished`` is the time that the refusal names.
        longest_address: characters of a request line that are accepted.
        lost: datasets that availability lists and ``get`` answers without rows, as when something is wrong upstream.
        renamed: field of a row to the name it bears instead; None: it is gone.
        counts_all: the envelope's count is that of all rows, also where the answer is cut off.
        ignores_modes: the mode parameters are not understood: totals come back with their parts.
        twice: every row comes back twice.
        stray: one row too many, of a country that was not asked for.
        released: when every dataset was last released.
        group_datasets: more availability rows, for groups.
    """

    trades: Iterable[Trade]
    keys: tuple[str, ...] = ("a-good-key",)
    cap: int = ROW_CAP
    quota: int | None = None
    replenished: str = "05:30:00"
    longest_address: int = 4_096
    lost: set[tuple[str, str, int]] = field(default_factory=set)
    renamed: dict[str, str | None] = field(default_factory=dict)
    counts_all: bool = False
    ignores_modes: bool = False
    twice: bool = False
    stray: bool = False
    released: str = "2026-11-02T10:20:30.1234567"
    calls: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.trades = list(self.trades)

    def __call__(self, asked: Asked) -> Reply:
        parts = asked.path.strip("/").split("/")
        if asked.target_length > self.longest_address:
            return Reply(414, b"<html><body>Request-URI Too Long</body></html>", "text/html")
        if parts[:2] == ["public", "v1"]:
            what = parts[2].lower()
        else:
            refused = self._key(asked)
            if refused is not None:
                return refused
            what = "bulk" if parts[0] == "bulk" else parts[2].lower()
        frequency = parts[4]
        if what == "getda":
            return Reply(200, envelope(self._availability(frequency, asked)))
        if what == "bulk":
            return Reply(200, envelope(self._bulk(frequency, asked)))
        if what in ("get", "preview"):
            return self._rows(frequency, asked, PREVIEW_CAP if what == "preview" else self.cap)
        return Reply(404, b'{"statusCode":404,"message":"Resource not found"}')

    def _key(self, asked: Asked) -> Reply | None:
        given = {k.lower(): v for k, v in asked.headers.items()}.get("ocp-apim-subscription-key")
        if given is None:
            said = (
                "Access denied due to missing subscription key. Make sure to include it when making requests to an API."
            )
            return Reply(401, json.dumps({"statusCode": 401, "message": said}).encode())
        if given not in self.keys:
            said = "Access denied due to invalid subscription key. Make sure to provide a valid key for an active one."
            return Reply(401, json.dumps({"statusCode": 401, "message": said}).encode())
        if self.quota is not None and self.calls[given] >= self.quota:
            said = f"Out of call volume quota. Quota will be replenished in {self.replenished}."
            return Reply(403, json.dumps({"statusCode": 403, "message": said}).encode())
        self.calls[given] += 1
        return None

    def datasets(self) -> list[tuple[str, str, int]]:
        """What there is of (frequency, period, reporter)."""
        return sorted({t.dataset for t in self.trades} | self.lost)

    def _availability(self, frequency: str, asked: Asked) -> list[dict[str, Any]]:
        periods = set(asked.query["period"].split(","))
        reporters = asked.query.get("reporterCode")
        rows = []
        for dataset in self.datasets():
            _, period, reporter = dataset
            if dataset[0] != frequency or period not in periods:
                continue
            if reporters is not None and str(reporter) not in reporters.split(","):
                continue
            mine = sorted(t for t in self.trades if t.dataset == dataset)
            digest = hashlib.sha256(repr(mine).encode()).hexdigest()
            rows.append(
                {
                    "datasetCode": int(f"2{reporter}{period}"),
                    "typeCode": "C",
                    "freqCode": frequency,
                    "period": int(period),
                    "reporterCode": reporter,
                    "reporterISO": ISO.get(reporter, "XXX"),
                    "reporterDesc": f"country {reporter}",
                    "classificationCode": mine[0].classification if mine else "H6",
                    "classificationSearchCode": "HS",
                    "isOriginalClassification": True,
                    "isExtendedFlowCode": False,
                    "isExtendedPartnerCode": False,
                    "isExtendedPartner2Code": False,
                    "isExtendedCmdCode": False,
                    "isExtendedCustomsCode": False,
                    "isExtendedMotCode": False,
                    "totalRecords": max(1, len(mine)),
                    "datasetChecksum": int(digest[:7], 16),
                    "firstReleased": "2026-01-05T00:00:00",
                    "lastReleased": self.released,
                }
            )
        return rows

    def _bulk(self, frequency: str, asked: Asked) -> list[dict[str, Any]]:
        return [
            {
                "fileUrl": hashlib.sha256(repr(d).encode()).hexdigest(),
                "fileSize": "1.00 KB",
                "isOriginalClassification": True,
                "reporterCode": d[2],
                "freqCode": frequency,
                "typeCode": "C",
                "classificationCode": "H6",
                "period": int(d[1]),
            }
            for d in self.datasets()
            if d[0] == frequency and str(d[2]) == asked.query.get("reporterCode")
        ]

    def _rows(self, frequency: str, asked: Asked, cap: int) -> Reply:
        query = asked.query
        unknown = [n for n in ("reporterCode", "period", "cmdCode") if n not in query]
        if unknown:
            return Reply(400, json.dumps({"statusCode": 400, "message": f"{unknown[0]} is required"}).encode())

        def wanted(name: str, value: object) -> bool:
            return name not in query or str(value) in query[name].split(",")

        totals = [
            replace(t, code="TOTAL", partner=0, value=1.0)
            for t in {(t.dataset, t.flow): t for t in self.trades}.values()
        ]
        fixed = not self.ignores_modes and all(n in query for n in ("motCode", "partner2Code", "customsCode"))
        rows: list[dict[str, Any]] = []
        for trade in [*self.trades, *totals]:
            if (
                trade.frequency == frequency
                and trade.dataset not in self.lost
                and wanted("reporterCode", trade.reporter)
                and wanted("period", trade.period)
                and wanted("flowCode", trade.flow)
                and wanted("cmdCode", trade.code)
                and wanted("partnerCode", trade.partner)
            ):
                rows.append(api_row(trade))
                if not fixed:
                    rows += [api_row(trade, mot=2100, share=0.75), api_row(trade, mot=1000, share=0.25)]
        if self.twice:
            rows += rows
        if self.stray and rows:
            rows.append(rows[0] | {"reporterCode": 4})
        everything = len(rows)
        rows = rows[:cap]
        for old, new in self.renamed.items():
            for row in rows:
                value = row.pop(old)
                if new is not None:
                    row[new] = value
        if query.get("includeDesc", "false").lower() != "true":
            rows = [{k: v for k, v in row.items() if k not in DESCRIPTIONS} for row in rows]
        return Reply(200, envelope(rows, count=everything if self.counts_all else None))
