"""BACI (CEPII): bilateral trade flows per HS6 product, native year files and release zips.

Layout ``t,i,j,k,v,q``: year, exporter, importer (BACI's numeric country codes), product (six characters,
zeros kept), value in thousand USD, quantity in tonnes (empty or ``NA`` where unknown). About 11 million rows
a year in full. Belongs
here: reading and refusing. Does not belong here: any indicator.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from ketenpipe.errors import InputRefused
from ketenpipe.sources.countries import CountryList
from ketenpipe.sources.opening import base_name, header_of, open_binary, read_rows, zip_entries
from ketenpipe.sources.places import Inventory, SourceFile, baci_year_in, embedded
from ketenpipe.sources.records import SourceRecord

COLUMNS = ("t", "i", "j", "k", "v", "q")
#: What an unknown quantity looks like.
MISSING = ("", "NA", "NaN", "nan", "N/A", "NULL", "null")
#: The schema of a year of flows. ``value_kusd``: thousand USD (FOB); ``tonnes``: metric tonnes, null where
#: unknown.
FLOW_SCHEMA = pa.schema(
    [
        pa.field("hs_revision", pa.string(), nullable=False),
        pa.field("year", pa.int32(), nullable=False),
        pa.field("code", pa.string(), nullable=False),
        pa.field("exporter", pa.string(), nullable=False),
        pa.field("importer", pa.string(), nullable=False),
        pa.field("value_kusd", pa.decimal128(18, 3), nullable=False),
        pa.field("tonnes", pa.float64()),
        pa.field("release", pa.string(), nullable=False),
    ]
)
UNKNOWN_RELEASE = "unknown"

_Ints = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class BaciYear:
    """One year of flows in one HS revision: where it lies (``entry`` within a zip, else None) and its
    release."""

    hs_revision: str
    year: int
    release: str
    path: Path
    entry: str | None
    file: SourceFile = field(repr=False, compare=False)

    @property
    def where(self) -> str | None:
        """The place within the file, for a sentence."""
        return f"zip entry {self.entry}" if self.entry else None


def list_years(inventory: Inventory) -> list[BaciYear]:
    """The years of flows in a sources folder, by HS revision and year.

    Raises:
        InputRefused: a damaged zip, a zip without year files, two releases for one HS revision, one year
            twice.
    """
    years: list[BaciYear] = []
    for found in inventory.of("baci", "flows"):
        if found.hs_revision is None or found.year is None:  # pragma: no cover - discover() always sets both
            raise InputRefused("the name states no HS revision or year", path=found.path)
        years.append(BaciYear(found.hs_revision, found.year, found.release or UNKNOWN_RELEASE, found.path, None, found))
    for archive in inventory.of("baci", "archive"):
        entries = [(entry, baci_year_in(base_name(entry))) for entry in zip_entries(archive.path)]
        named = [(entry, parts) for entry, parts in entries if parts is not None]
        if not named:
            raise InputRefused(
                "the zip holds no BACI year file (BACI_HS.._Y...._V.....csv)",
                path=archive.path,
                todo="use the release zip from CEPII as it is",
            )
        for entry, (revision, year, release) in named:
            if archive.hs_revision and revision != archive.hs_revision:
                raise InputRefused(
                    f"the entry is of {revision}, the zip is named {archive.hs_revision}",
                    path=archive.path,
                    where=f"zip entry {entry}",
                )
            years.append(
                BaciYear(
                    revision,
                    year,
                    release or archive.release or UNKNOWN_RELEASE,
                    archive.path,
                    entry,
                    archive,
                )
            )
    years.sort(key=lambda y: (y.hs_revision, y.year, str(y.path), y.entry or ""))
    years = _with_series_stamp(years)
    first: dict[str, BaciYear] = {}
    seen: dict[tuple[str, int], BaciYear] = {}
    for item in years:
        other = first.setdefault(item.hs_revision, item)
        if other.release != item.release:
            raise InputRefused(
                f"two BACI releases of {item.hs_revision} lie side by side: {_name(other)} ({other.release}) "
                "and "
                f"{_name(item)} ({item.release})",
                path=inventory.root,
                todo="keep one release, a series never mixes two",
            )
        twin = seen.setdefault((item.hs_revision, item.year), item)
        if twin is not item:
            raise InputRefused(
                f"{item.hs_revision} {item.year} stands twice: {_name(twin)} and {_name(item)}",
                path=inventory.root,
                todo="keep one of them",
            )
    return years


def _with_series_stamp(years: list[BaciYear]) -> list[BaciYear]:
    """Files of one series (the same name but for the year) share the stamp that one of them bears.

    A year file whose content was changed by hand is no longer a known file; it still belongs to its series, and what
    is wrong with it shall be said of its rows.
    """
    stamps: dict[tuple[str, str], set[str]] = {}
    for item in years:
        if item.release != UNKNOWN_RELEASE:
            stamps.setdefault((item.hs_revision, _series(item)), set()).add(item.release)
    found = []
    for item in years:
        known = stamps.get((item.hs_revision, _series(item)), set())
        stamped = item.release == UNKNOWN_RELEASE and len(known) == 1
        found.append(replace(item, release=next(iter(known))) if stamped else item)
    return found


def _series(item: BaciYear) -> str:
    """The file's name without its year and its packing."""
    name = re.sub(r"\.(csv|gz|zip)(?=\.|$)", "", base_name(item.entry) if item.entry else item.path.name, flags=re.I)
    return re.sub(r"_Y\d{4}", "", name, flags=re.I).upper()


def _name(item: BaciYear) -> str:
    return f"{item.path.name}!{item.entry}" if item.entry else item.path.name


def read_year(baci_year: BaciYear, countries: CountryList, known_codes: Collection[str] | None = None) -> pa.Table:
    """Reads one year of flows; see :func:`read_year_recorded`."""
    return read_year_recorded(baci_year, countries, known_codes)[0]


def read_year_recorded(
    baci_year: BaciYear, countries: CountryList, known_codes: Collection[str] | None = None
) -> tuple[pa.Table, SourceRecord]:
    """Reads one year of flows, streaming from zip, gzip or plain text, and says what became of the file.

    Numeric country codes become ISO3 (:mod:`ketenpipe.sources.countries`). Where two codes share an ISO3 (58
    and 56 are both BEL) their flows are summed: values exactly, quantities over the known ones. Flows of a
    country with itself, which that mapping can create, are left out and counted.

    Args:
        baci_year: one of :func:`list_years`.
        countries: the country list of the release.
        known_codes: the product codes of the HS revision; None leaves that check out.

    Returns:
        A table of :data:`FLOW_SCHEMA`, sorted by code, importer, exporter, and its record. Values with more
        than three decimals are rounded half to even (to a USD).

    Raises:
        InputRefused: damaged container, missing column, text in a number column, another year than the name
            says, unknown country code, lost leading zeros, unknown product codes, negative value or quantity,
            a (t,i,j,k) key that stands twice, no rows.
    """
    reader = _YearReader(baci_year, countries, known_codes)
    columns = _header_columns(baci_year)
    with open_binary(baci_year.path, baci_year.entry) as stream:
        try:
            batches = pacsv.open_csv(
                stream,
                read_options=pacsv.ReadOptions(column_names=columns, skip_rows=1, block_size=4 << 20),
                convert_options=pacsv.ConvertOptions(
                    include_columns=list(COLUMNS),
                    column_types={c: pa.dictionary(pa.int32(), pa.string()) for c in "tijk"}
                    | {"v": pa.string(), "q": pa.string()},
                    strings_can_be_null=False,
                ),
            )
            for batch in batches:
                if batch.num_rows:
                    reader.take(batch)
        except pa.ArrowInvalid as broken:
            message = str(broken).splitlines()[0]
            if "Empty CSV" not in message:
                raise InputRefused(
                    f"not readable as CSV after line {reader.rows + 1} ({message.removeprefix('CSV parse error: ')})",
                    path=baci_year.path,
                    where=baci_year.where,
                    todo="the file may be cut off: download it again",
                ) from broken
    return reader.finish()


def _header_columns(baci_year: BaciYear) -> list[str]:
    header = header_of(baci_year.path, baci_year.entry)
    lower = [h.lower() for h in header]
    for name in COLUMNS:
        if lower.count(name) != 1:
            state = "is missing" if name not in lower else "stands twice"
            raise InputRefused(
                f"column '{name}' {state} (found: {', '.join(header)})",
                path=baci_year.path,
                where=baci_year.where,
                todo="BACI year files have the columns t,i,j,k,v,q",
            )
    return lower


class _YearReader:
    """Collects the batches of one year as numbers, checks each, and joins them at the end.

    The key of a flow is one 64-bit integer, code * 2^20 + importer * 2^10 + exporter, with countries numbered
    in ISO3 order, so that sorting the key sorts the table.
    """

    def __init__(self, year: BaciYear, countries: CountryList, known_codes: Collection[str] | None) -> None:
        self.year = year
        self.rows = 0
        ordered = sorted(countries.by_code.values(), key=lambda c: (c.iso3, c.code))
        if len(ordered) >= 1024:
            raise InputRefused(f"the country list has {len(ordered)} lines, at most 1023 are read", path=countries.path)
        self.listed = ordered
        self.list_path = countries.path
        self.index = {c.code: n for n, c in enumerate(ordered)}
        self.iso3 = sorted({c.iso3 for c in ordered})
        position = {iso3: n for n, iso3 in enumerate(self.iso3)}
        self.to_iso: _Ints = np.array([position[c.iso3] for c in ordered], dtype=np.int64)
        self.known = None if known_codes is None else {int(k) for k in known_codes if k.isdigit()}
        self.keys: list[_Ints] = []
        self.values: list[_Ints] = []
        self.tonnes: list[_Floats] = []
        self.unknown_countries: dict[str, tuple[int, int]] = {}
        self.unknown_codes: dict[str, tuple[int, int]] = {}

    def refuse(self, what: str, row: int | None, todo: str | None = None) -> InputRefused:
        """The refusal of a data row (0-based), placed by its line in the file (the header is line 1)."""
        parts = [self.year.where, None if row is None else f"line {row + 2}"]
        return InputRefused(what, path=self.year.path, where=", ".join(p for p in parts if p) or None, todo=todo)

    def take(self, batch: pa.RecordBatch) -> None:
        """Checks a batch and keeps its key, value (thousandths of a thousand USD) and tonnes (NaN:
        unknown)."""
        self._year(batch.column("t"))
        exporter = self._country(batch.column("i"), "i")
        importer = self._country(batch.column("j"), "j")
        code = self._code(batch.column("k"))
        self.keys.append((code << 20) | (importer << 10) | exporter)
        self.values.append(self._value(batch.column("v")))
        self.tonnes.append(self._quantity(batch.column("q")))
        self.rows += batch.num_rows

    def _first(self, indices: npt.NDArray[np.int32], at: int) -> int:
        return self.rows + int(np.argmax(indices == at))

    def _distinct(self, column: pa.DictionaryArray) -> Iterator[tuple[int, str, npt.NDArray[np.int32]]]:
        indices = column.indices.to_numpy(zero_copy_only=False)
        for at, text in enumerate(column.dictionary.to_pylist()):
            yield at, text.strip(), indices

    def _year(self, column: pa.DictionaryArray) -> None:
        for at, text, indices in self._distinct(column):
            if not re.fullmatch(r"\d+", text):
                raise self.refuse(f"column 't' holds '{text}', which is no year", self._first(indices, at))
            if int(text) != self.year.year:
                raise self.refuse(
                    f"the row is of {text} in a file of {self.year.year}",
                    self._first(indices, at),
                    "one year per file",
                )

    def _country(self, column: pa.DictionaryArray, name: str) -> _Ints:
        dictionary = np.zeros(len(column.dictionary), dtype=np.int64)
        for at, text, indices in self._distinct(column):
            if not re.fullmatch(r"\d+", text):
                shown = f"'{text}'" if text else "an empty cell"
                raise self.refuse(
                    f"column '{name}' holds {shown} where a numeric country code is needed",
                    self._first(indices, at),
                )
            number = self.index.get(int(text))
            if number is None:
                rows, first = self.unknown_countries.get(text, (0, self._first(indices, at)))
                self.unknown_countries[text] = (rows + int(np.count_nonzero(indices == at)), first)
            else:
                dictionary[at] = number
        return dictionary[column.indices.to_numpy(zero_copy_only=False)]

    def _code(self, column: pa.DictionaryArray) -> _Ints:
        dictionary = np.zeros(len(column.dictionary), dtype=np.int64)
        for at, text, indices in self._distinct(column):
            if not re.fullmatch(r"[0-9]{6}", text):
                row = self._first(indices, at)
                if re.fullmatch(r"[0-9]{1,5}", text):
                    raise self.refuse(
                        f"the product code '{text}' has {len(text)} characters instead of 6: leading zeros "
                        "were lost, "
                        "as a spreadsheet does",
                        row,
                        "use the file as downloaded",
                    )
                raise self.refuse(f"'{text}' is no six-digit product code", row)
            dictionary[at] = int(text)
            if self.known is not None and int(text) not in self.known:
                rows, first = self.unknown_codes.get(text, (0, self._first(indices, at)))
                self.unknown_codes[text] = (rows + int(np.count_nonzero(indices == at)), first)
        return dictionary[column.indices.to_numpy(zero_copy_only=False)]

    def _value(self, column: pa.StringArray) -> _Ints:
        trimmed = pc.ascii_trim_whitespace(column)
        try:
            decimals = trimmed.cast(pa.decimal128(18, 3))
        except pa.ArrowInvalid:
            decimals = self._value_by_value(trimmed)
        # A decimal128(18, 3) is a little-endian 128-bit integer of thousandths; 18 digits fit its low 64
        # bits.
        data = np.frombuffer(decimals.buffers()[1], dtype="<i8")[0::2]
        values = data[decimals.offset : decimals.offset + len(decimals)].astype(np.int64)
        if values.size and int(values.min()) < 0:
            at = int(np.argmax(values < 0))
            raise self.refuse(f"the value v is negative ({trimmed[at].as_py()})", self.rows + at)
        return values

    def _value_by_value(self, column: pa.StringArray) -> pa.Decimal128Array:
        exact: list[Decimal] = []
        for at, text in enumerate(column.to_pylist()):
            try:
                number = Decimal(text)
                if not number.is_finite() or "_" in text:
                    raise InvalidOperation
                exact.append(number.quantize(Decimal("0.001")))
            except InvalidOperation as broken:
                what = f"column 'v' holds '{text}', which is no number" if text else "column 'v' is empty"
                raise self.refuse(what, self.rows + at) from broken
        return pa.array(exact, pa.decimal128(18, 3))

    def _quantity(self, column: pa.StringArray) -> _Floats:
        trimmed = pc.ascii_trim_whitespace(column)
        missing = pc.is_in(trimmed, value_set=pa.array(MISSING))
        known = pc.if_else(missing, pa.scalar(None, pa.string()), trimmed)
        try:
            numbers = known.cast(pa.float64())
        except pa.ArrowInvalid as broken:
            for at, text in enumerate(known.to_pylist()):
                if text is not None and not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text):
                    raise self.refuse(f"column 'q' holds '{text}', which is no number", self.rows + at) from broken
            raise self.refuse(f"column 'q' is not numeric ({broken})", None) from broken
        tonnes: _Floats = numbers.fill_null(np.nan).to_numpy(zero_copy_only=False).astype(np.float64)
        bad = (tonnes < 0) | np.isinf(tonnes) | (np.isnan(tonnes) & numbers.is_valid().to_numpy(zero_copy_only=False))
        if bad.any():
            at = int(np.argmax(bad))
            word = "negative" if tonnes[at] < 0 else "not finite"
            raise self.refuse(f"the quantity q is {word} ({trimmed[at].as_py()})", self.rows + at)
        return tonnes

    def finish(self) -> tuple[pa.Table, SourceRecord]:
        """Refuses what only the whole file shows, then sorts, sums and builds the table."""
        if not self.rows:
            raise self.refuse("an empty year: the file holds a header and no rows", None, "download it again")
        if self.unknown_countries:
            shown = "; ".join(
                f"{code} ({rows} rows, first in line {first + 2})"
                for code, (rows, first) in sorted(self.unknown_countries.items())[:5]
            )
            more = len(self.unknown_countries) - 5
            raise self.refuse(
                f"unknown country code {shown}{f' and {more} more' if more > 0 else ''}, not in {self.list_path}",
                None,
                "use the country list shipped with the release",
            )
        if self.unknown_codes:
            shown = ", ".join(sorted(self.unknown_codes)[:5])
            rows = sum(n for n, _ in self.unknown_codes.values())
            raise self.refuse(
                f"{len(self.unknown_codes)} product codes "
                f"({shown}{', ...' if len(self.unknown_codes) > 5 else ''}; "
                f"{rows} rows) are not in the {self.year.hs_revision} product list",
                None,
                "is it a file of another HS revision?",
            )
        key = np.concatenate(self.keys)
        value = np.concatenate(self.values)
        tonnes = np.concatenate(self.tonnes)
        self.keys, self.values, self.tonnes = [], [], []
        order = np.argsort(key, kind="stable")
        sorted_key = key[order]
        twice = sorted_key[1:] == sorted_key[:-1]
        if twice.any():
            at = int(np.argmax(twice))
            one, two = int(order[at]), int(order[at + 1])
            i, j, k = self._unpack(int(sorted_key[at]))
            raise self.refuse(
                f"the key t={self.year.year}, i={i}, j={j}, k={k} stands twice, in line {one + 2} and line "
                f"{two + 2} "
                f"({int(twice.sum())} such rows in all)",
                None,
                "download the file again",
            )
        key, value, tonnes = sorted_key, value[order], tonnes[order]
        del order, sorted_key, twice
        key, value, tonnes, summed, selfs = self._to_iso3(key, value, tonnes)
        reasons = []
        if selfs:
            reasons.append(f"{selfs} flows of a country with itself after mapping to ISO3 were left out")
        if summed:
            reasons.append(f"{summed} rows were summed because two country codes share one ISO3 code")
        file, year = self.year.file, self.year
        record = SourceRecord(
            source="baci",
            file=year.path.name,
            path=f"{file.relative}!{year.entry}" if year.entry else file.relative,
            vintage=year.release,
            from_year=year.year,
            to_year=year.year,
            sha256=file.sha256,
            bytes=file.bytes,
            licence=file.sidecar.licence,
            producer=file.sidecar.producer or "CEPII",
            citation=file.sidecar.citation,
            url=file.sidecar.url,
            rows_read=self.rows,
            rows_refused=selfs,
            reason="; ".join(reasons) or None,
        )
        return self._table(key, value, tonnes), record

    def _unpack(self, key: int) -> tuple[int, int, str]:
        return self.listed[key & 1023].code, self.listed[(key >> 10) & 1023].code, f"{key >> 20:06d}"

    def _to_iso3(self, key: _Ints, value: _Ints, tonnes: _Floats) -> tuple[_Ints, _Ints, _Floats, int, int]:
        """From list positions to ISO3 positions (same order), summing what falls together."""
        exporter, importer = self.to_iso[key & 1023], self.to_iso[(key >> 10) & 1023]
        key = ((key >> 20) << 20) | (importer << 10) | exporter
        own = exporter == importer
        selfs = int(own.sum())
        if selfs:
            key, value, tonnes = key[~own], value[~own], tonnes[~own]
        if key.size > 1 and not (key[1:] > key[:-1]).all():
            order = np.argsort(key, kind="stable")
            key, value, tonnes = key[order], value[order], tonnes[order]
        start = np.flatnonzero(np.r_[True, key[1:] != key[:-1]]) if key.size else np.zeros(0, np.int64)
        summed = int(key.size - start.size)
        if summed:
            known = ~np.isnan(tonnes)
            count = np.add.reduceat(known.astype(np.int64), start)
            total = np.add.reduceat(np.where(known, tonnes, 0.0), start)
            tonnes = np.where(count > 0, total, np.nan)
            value = np.add.reduceat(value, start)
            key = key[start]
        return key, value, tonnes, summed, selfs

    def _table(self, key: _Ints, value: _Ints, tonnes: _Floats) -> pa.Table:
        n = key.size
        code = key >> 20
        new = np.r_[True, code[1:] != code[:-1]] if n else np.zeros(0, np.bool_)
        codes, code_at = code[new], np.cumsum(new) - 1
        del code, new
        iso3 = pa.array(self.iso3, pa.string())
        wide = np.zeros((n, 2), dtype="<i8")
        wide[:, 0] = value
        columns = [
            pa.repeat(pa.scalar(self.year.hs_revision), n),
            pa.repeat(pa.scalar(self.year.year, pa.int32()), n),
            pa.array([f"{c:06d}" for c in codes], pa.string()).take(pa.array(code_at.astype(np.int32))),
            iso3.take(pa.array((key & 1023).astype(np.int32))),
            iso3.take(pa.array(((key >> 10) & 1023).astype(np.int32))),
            pa.Array.from_buffers(pa.decimal128(18, 3), n, [None, pa.py_buffer(wide)]),
            pa.array(tonnes, pa.float64(), from_pandas=True),
            pa.repeat(pa.scalar(self.year.release), n),
        ]
        return pa.table(columns, schema=FLOW_SCHEMA)


def product_codes(inventory: Inventory, hs_revision: str) -> dict[str, str]:
    """Product code (six characters) to BACI's description, from the lists in the folder; empty if there is
    none.

    Code lists that lost their leading zeros (HS17 V202301 did) are padded; flows never are.
    """
    table: dict[str, str] = {}
    for found in inventory.of("baci", "products"):
        if found.hs_revision == hs_revision:
            table |= _product_list(found.path, None)
    for archive in inventory.of("baci", "archive"):
        if archive.hs_revision == hs_revision:
            for entry in zip_entries(archive.path):
                if re.match(r"product_codes_.*\.csv(\.gz)?$", base_name(entry), re.I):
                    table |= _product_list(archive.path, entry)
    return dict(sorted(table.items()))


def _product_list(path: Path, entry: str | None) -> dict[str, str]:
    header, rows = read_rows(path, entry)
    lower = [h.lower() for h in header]
    if "code" not in lower:
        raise InputRefused(f"column 'code' is missing (found: {', '.join(header)})", path=path, where=entry)
    at = lower.index("code")
    text = lower.index("description") if "description" in lower else None
    table = {}
    for line, row in rows:
        code = row[at].strip()
        if not re.fullmatch(r"[0-9]{1,6}", code):
            if re.fullmatch(r"[0-9A-Z]{6}", code):  # BACI lists 9999AA, "commodities not specified": no flows bear it
                continue
            raise InputRefused(f"'{code}' is no product code", path=path, where=f"line {line}")
        table[code.zfill(6)] = row[text].strip() if text is not None else ""
    return table


def known_codes(inventory: Inventory, hs_revision: str) -> frozenset[str] | None:
    """The product codes of an HS revision: the folder's lists together with the reference one.

    None if neither knows the revision; the check for a file of another revision is then left out.
    """
    codes = set(product_codes(inventory, hs_revision))
    for path in sorted((embedded("reference") / "hs_codes").glob(f"product_codes_{hs_revision}_*.csv")):
        codes |= set(_product_list(path, None))
    return frozenset(codes) or None
