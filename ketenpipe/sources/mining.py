"""Mining production per material, country and year, in the World Mining Data layout.

``commodity,Country,Country_Code,Country_ISO,unit,data_source,year,production``. What is mined is stated as
metal or oxide content for most metals and as gross tonnes for most minerals; the commodity's name says which
(``Lithium (Li2O)``). Total rows are no countries and their figures are not the sums: they are left out.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass

import pyarrow as pa

from ketenpipe.errors import InputRefused
from ketenpipe.sources.countries import harmonise, is_known
from ketenpipe.sources.opening import base_name, number, read_rows, zip_entries
from ketenpipe.sources.places import Inventory, SourceFile
from ketenpipe.sources.records import SourceRecord

COLUMNS = ("commodity", "Country", "Country_ISO", "unit", "year", "production")
#: Units per metric tonne; a unit that is not listed (carat, million cubic metres) gives null tonnes.
UNITS_PER_TONNE: dict[str, float] = {"metr. t": 1.0, "t": 1.0, "kg": 1000.0}
#: quantity in ``unit`` (null: listed without a figure); quantity_tonnes in metric tonnes, null for carat and
#: volume.
MINING_SCHEMA = pa.schema(
    [
        pa.field("material", pa.string(), nullable=False),
        pa.field("iso3", pa.string(), nullable=False),
        pa.field("year", pa.int32(), nullable=False),
        pa.field("quantity", pa.float64()),
        pa.field("unit", pa.string(), nullable=False),
        pa.field("quantity_tonnes", pa.float64()),
        pa.field("vintage", pa.string(), nullable=False),
    ]
)
_BLANK = ("", "NA", "nan", "NaN", "null", "..", "-")


@dataclass(frozen=True)
class MiningData:
    """All production figures of a sources folder (:data:`MINING_SCHEMA`), a record per file, and what to
    know."""

    table: pa.Table
    records: tuple[SourceRecord, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Row:
    material: str
    iso3: str
    name: str
    year: int
    quantity: float | None
    unit: str
    where: str


def read_mining(inventory: Inventory) -> MiningData:
    """Reads every production file of a sources folder.

    Left out, counted and named: total rows (``Country_ISO`` DELETE or ``Country`` Total), codes that are no
    country, and every row of a material, country and year that stands more than once (gold for GUY: French
    Guiana under Guyana's code; nothing tells which figure is right, so both go). A listed country without a
    figure stays, as null.

    Returns:
        An empty table where the folder has no mining file.

    Raises:
        InputRefused: a missing column, text for a figure, a negative figure, a material in two units or two
            files.
    """
    columns: dict[str, list[object]] = {f.name: [] for f in MINING_SCHEMA}
    records: list[SourceRecord] = []
    notes: list[str] = []
    holder: dict[tuple[str, int], SourceFile] = {}
    units: dict[str, tuple[str, str]] = {}
    for file in inventory.of("mining"):
        read, kept, reasons = _read_file(file)
        spans: dict[str, list[int]] = defaultdict(list)
        for row in kept:
            twin = holder.setdefault((row.material, row.year), file)
            if twin is not file:
                raise InputRefused(
                    f"{row.material} of {row.year} stands in two files, {twin.path.name} and {file.path.name}",
                    path=file.path,
                    todo="keep one of them",
                )
            unit, first = units.setdefault(row.material, (row.unit, row.where))
            if unit != row.unit:
                raise InputRefused(
                    f"{row.material} stands in two units, '{unit}' ({first}) and '{row.unit}'",
                    path=file.path,
                    where=row.where,
                )
            vintage = file.sidecar.vintage_of(row.year) or file.sidecar.release or f"undeclared:{file.sha256[:8]}"
            per_tonne = UNITS_PER_TONNE.get(row.unit)
            tonnes = None if per_tonne is None or row.quantity is None else row.quantity / per_tonne
            values = (row.material, row.iso3, row.year, row.quantity, row.unit, tonnes, vintage)
            for name, value in zip(columns, values, strict=True):
                columns[name].append(value)
            spans[vintage].append(row.year)
        notes += [f"{file.relative}: {reason}" for reason in reasons]
        years = [year for group in spans.values() for year in group]
        records.append(
            SourceRecord(
                source="mining",
                file=file.path.name,
                path=file.relative,
                vintage=" / ".join(sorted(spans)) or file.sidecar.release or f"undeclared:{file.sha256[:8]}",
                from_year=min(years, default=None),
                to_year=max(years, default=None),
                sha256=file.sha256,
                bytes=file.bytes,
                licence=file.sidecar.licence,
                producer=file.sidecar.producer,
                citation=file.sidecar.citation,
                url=file.sidecar.url,
                rows_read=read,
                rows_refused=read - len(kept),
                reason="; ".join(reasons) or None,
            )
        )
    table = pa.table(columns, schema=MINING_SCHEMA).sort_by(
        [("material", "ascending"), ("year", "ascending"), ("iso3", "ascending")]
    )
    return MiningData(table, tuple(records), tuple(notes))


def _read_file(file: SourceFile) -> tuple[int, list[_Row], list[str]]:
    """(rows read, rows kept, reasons for the others)."""
    if file.path.suffix.lower() != ".zip":
        parts: list[str | None] = [None]
    else:
        parts = [e for e in zip_entries(file.path) if base_name(e).lower().endswith(".csv")]
        if not parts:
            raise InputRefused("the zip holds no CSV file", path=file.path)
    read = totals = 0
    unknown: Counter[str] = Counter()
    groups: dict[tuple[str, str, int], list[_Row]] = defaultdict(list)
    for entry in parts:
        header, lines = read_rows(file.path, entry)
        prefix = f"zip entry {entry}, " if entry else ""
        lower = [h.lower() for h in header]
        at: dict[str, int] = {}
        for name in COLUMNS:
            if name.lower() not in lower:
                raise InputRefused(
                    f"column '{name}' is missing (found: {', '.join(header)})",
                    path=file.path,
                    where=prefix.rstrip(", ") or None,
                )
            at[name] = lower.index(name.lower())
        for line, cells in lines:
            read += 1
            where = f"{prefix}line {line}"
            code, country = cells[at["Country_ISO"]].strip(), cells[at["Country"]].strip()
            if code.upper() == "DELETE" or country.lower() in ("total", "world", "world total"):
                totals += 1
                continue
            row = _row(file, cells, at, where, code, country)
            if not is_known(row.iso3):
                unknown[f"{code or 'empty'} ({country})"] += 1
                continue
            groups[row.material, row.iso3, row.year].append(row)
    kept = [group[0] for group in groups.values() if len(group) == 1]
    twice = [group for group in groups.values() if len(group) > 1]
    reasons = []
    if totals:
        reasons.append(f"{totals} total rows are no countries")
    if twice:
        pairs = Counter(f"{g[0].material} of {g[0].iso3}" for g in twice)
        who = {f"{g[0].material} of {g[0].iso3}": " and ".join(dict.fromkeys(r.name for r in g)) for g in twice}
        shown = ", ".join(f"{pair} in {years} years ({who[pair]})" for pair, years in sorted(pairs.items()))
        reasons.append(f"{sum(map(len, twice))} rows refused because one code stands for two rows: {shown}")
    if unknown:
        shown = ", ".join(f"{name}: {rows} rows" for name, rows in sorted(unknown.items()))
        reasons.append(f"codes that are no country were left out: {shown}")
    return read, kept, reasons


def _row(file: SourceFile, cells: list[str], at: dict[str, int], where: str, code: str, country: str) -> _Row:
    year, text = cells[at["year"]].strip(), cells[at["production"]].strip()
    if not re.fullmatch(r"\d{4}", year):
        raise InputRefused(f"'{year}' is no year", path=file.path, where=where)
    quantity = None if text in _BLANK else number(text)
    if quantity is None and text not in _BLANK:
        raise InputRefused(f"the production '{text}' is no number", path=file.path, where=where)
    if quantity is not None and quantity < 0:
        raise InputRefused(f"the production {text} of {country} is negative", path=file.path, where=where)
    return _Row(
        cells[at["commodity"]].strip(),
        harmonise(code, "mining"),
        country,
        int(year),
        quantity,
        cells[at["unit"]].strip(),
        where,
    )
