"""BACI (CEPII): bilateral trade flows per HS6 product, native year files and release zips.

Layout ``t,i,j,k,v,q``: year, exporter, importer (BACI's numeric country codes), product (six characters,
zeros kept), value in thousand USD, quantity in tonnes (empty or ``NA`` where unknown). About 11 million rows
a year in full. Belongs
here: reading and refusing. Does not belong here: any indicator.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Collection, Iterator
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
from ketenpipe.sources.opening import (
    base_name,
    header_of,
    magic,
    open_binary,
    read_rows,
    refuse_damaged,
    zip_entries,
)
from ketenpipe.sources.places import Inventory, SourceFile, baci_year_in, embedded
from ketenpipe.sources.records import SourceRecord
from ketenpipe.tables.store import ROW_GROUP

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

#: Bytes of text read at a time.
_BLOCK = 1 << 20
#: Rows looked at together after sorting.
_CHUNK = 1 << 20
#: Money is DECIMAL(18,3): fifteen digits before the point.
_LARGEST = Decimal(10) ** 15 - 1
_CODE_BITS = 20
#: No row of t,i,j,k,v,q is likely shorter (bytes); only a hint for how much room to set aside.
_SHORTEST_ROW = 24
#: Values below this (thousand USD) are exact to a thousandth as doubles; others are read as decimals.
_EXACT_BELOW = 1e11

_Keys = npt.NDArray[np.uint64]
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
    """One year of flows as one table of :data:`FLOW_SCHEMA`, and its record: for small use.

    The same rows, order and refusals as :func:`read_year_batches`, which takes a third of the memory.
    """
    batches, record = read_year_batches(baci_year, countries, known_codes)
    held = list(batches)
    table = pa.Table.from_batches(held).cast(FLOW_SCHEMA) if held else FLOW_SCHEMA.empty_table()
    return table, record


def read_year_batches(
    baci_year: BaciYear, countries: CountryList, known_codes: Collection[str] | None = None
) -> tuple[Iterator[pa.RecordBatch], SourceRecord]:
    """Reads one year of flows, streaming from zip, gzip or plain text, and gives it in key order, part by part.

    The whole file is read and judged before this returns; what is kept of a row are 24 bytes (packed key, value,
    tonnes). The batches are built while they are asked for.

    Numeric country codes become ISO3 (:mod:`ketenpipe.sources.countries`). Where two codes share an ISO3 (58
    and 56 are both BEL) their flows are summed: values exactly, quantities over the known ones. Flows of a
    country with itself, which that mapping can create, are left out and counted.

    Args:
        baci_year: one of :func:`list_years`.
        countries: the country list of the release.
        known_codes: the product codes of the HS revision; None leaves that check out.

    Returns:
        Batches of 122,880 rows (the last one shorter), sorted by code, importer, exporter over all of them, with the
        columns of :data:`FLOW_SCHEMA`, text as dictionaries; and the record of the file. Values with more than
        three decimals are rounded half to even (to a USD).

    Raises:
        InputRefused: damaged container, missing column, text in a number column, another year than the name
            says, unknown country code, lost leading zeros, unknown product codes, negative value or quantity,
            a (t,i,j,k) key that stands twice, no rows, more rows than a key can number (67
            million with today's country lists).
    """
    columns = _header_columns(baci_year)
    reader = _YearReader(baci_year, countries, known_codes)
    try:
        _read_rows(baci_year, columns, _NUMBERS, reader.take_numbers)
        read = True
    except (_Unusual, pa.ArrowInvalid):
        read = False
    if not read:
        # Something is wrong, or merely written in another way: read it as text, which can tell and name it.
        reader = _YearReader(baci_year, countries, known_codes)
        try:
            _read_rows(baci_year, columns, _TEXT, reader.take_text)
        except pa.ArrowInvalid as broken:
            message = str(broken).splitlines()[0]
            if "Empty CSV" not in message:
                raise InputRefused(
                    f"not readable as CSV after line {reader.rows + 1} ({message.removeprefix('CSV parse error: ')})",
                    path=baci_year.path,
                    where=baci_year.where,
                    todo="the file may be cut off: download it again",
                ) from broken
    record = reader.settle()
    return reader.batches(), record


class _Unusual(Exception):
    """A batch holds what the quick reading cannot judge."""


_TEXT = pacsv.ConvertOptions(
    include_columns=list(COLUMNS),
    column_types={c: pa.dictionary(pa.int32(), pa.string()) for c in "tijk"} | {"v": pa.string(), "q": pa.string()},
    strings_can_be_null=False,
)
_NUMBERS = pacsv.ConvertOptions(
    include_columns=list(COLUMNS),
    column_types={c: pa.int32() for c in "tij"} | {"k": pa.binary(6), "v": pa.float64(), "q": pa.float64()},
    null_values=[" " * blanks + word for word in MISSING for blanks in range(25)],
    strings_can_be_null=False,
)


def _read_rows(
    baci_year: BaciYear,
    columns: list[str],
    convert: pacsv.ConvertOptions,
    take: Callable[[pa.RecordBatch], None],
) -> None:
    options = pacsv.ReadOptions(column_names=columns, skip_rows=1, block_size=_BLOCK)
    with open_binary(baci_year.path, baci_year.entry) as stream:
        for batch in pacsv.open_csv(stream, read_options=options, convert_options=convert):
            if batch.num_rows:
                take(batch)


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


def _text_bytes(baci_year: BaciYear) -> int:
    """About how long the uncompressed text is: only a hint for how much room to set aside."""
    if baci_year.entry is not None:
        with refuse_damaged(baci_year.path, baci_year.entry), zipfile.ZipFile(baci_year.path) as archive:
            return archive.getinfo(baci_year.entry).file_size
    size = baci_year.path.stat().st_size
    if magic(baci_year.path) != "gzip":
        return size
    with baci_year.path.open("rb") as stream:
        stream.seek(-min(size, 4), 2)
        return int.from_bytes(stream.read(4), "little")


class _YearReader:
    """Keeps a year as two arrays, checks each batch, then sorts and gives the rows out in key order.

    A row is one unsigned 64-bit integer: product code (20 bits), importer and exporter (their ISO3 numbered in order),
    which of the codes that share the ISO3 each of them is, and in the lowest bits the row's number in the file. So
    sorting these integers in place sorts the flows, puts what must be summed or refused side by side, and says where
    value and tonnes of a row lie.
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
        self.first_listed = {position[c.iso3]: n for n, c in reversed(list(enumerate(ordered)))}
        # Per line of the list: which ISO3 it is, and which of the lines that share it.
        iso = [position[c.iso3] for c in ordered]
        variant = [n - self.first_listed[at] for n, at in enumerate(iso)]
        self.country_bits = max(len(self.iso3) - 1, 1).bit_length()
        self.variant_bits = max(variant).bit_length()
        self.row_bits = min(64 - _CODE_BITS - 2 * self.country_bits - 2 * self.variant_bits, 31)
        self.flow_shift = self.row_bits + 2 * self.variant_bits
        # What a line of the list adds to a key as importer and as exporter.
        self.as_importer: _Keys = np.array(
            [
                a << self.flow_shift + self.country_bits | v << self.row_bits + self.variant_bits
                for a, v in zip(iso, variant, strict=True)
            ],
            dtype=np.uint64,
        )
        self.as_exporter: _Keys = np.array(
            [a << self.flow_shift | v << self.row_bits for a, v in zip(iso, variant, strict=True)], dtype=np.uint64
        )
        self.line_of_code: npt.NDArray[np.int16] = np.full(10_000, -1, dtype=np.int16)
        for code, line in self.index.items():
            if code < self.line_of_code.size:  # a longer code is looked up as text
                self.line_of_code[code] = line
        self.known = None if known_codes is None else {int(k) for k in known_codes if k.isdigit()}
        self.is_known: npt.NDArray[np.bool_] | None = None
        if self.known is not None:
            self.is_known = np.zeros(10**6, dtype=np.bool_)
            self.is_known[[code for code in self.known if code < 10**6]] = True
        room = min(_text_bytes(year) // _SHORTEST_ROW, 1 << 26) + 1
        # Untouched memory is not resident: too much room costs nothing, one copy too many does.
        self.keys: _Keys = np.empty(room, dtype=np.uint64)
        # Value and tonnes of a row side by side: they are fetched together, in the order of the keys.
        self.figures: _Ints = np.empty((room, 2), dtype=np.int64)
        self.unknown_countries: dict[str, tuple[int, int]] = {}
        self.unknown_codes: dict[str, tuple[int, int]] = {}

    def refuse(self, what: str, row: int | None, todo: str | None = None) -> InputRefused:
        """The refusal of a data row (0-based), placed by its line in the file (the header is line 1)."""
        parts = [self.year.where, None if row is None else f"line {row + 2}"]
        return InputRefused(what, path=self.year.path, where=", ".join(p for p in parts if p) or None, todo=todo)

    def take_numbers(self, batch: pa.RecordBatch) -> None:
        """Keeps a batch that was read as numbers.

        Raises:
            _Unusual: it holds something to refuse, or a value too large to be exact as a double.
        """
        if any(batch.column(name).null_count for name in "tijkv"):
            raise _Unusual
        year, i, j, v = (batch.column(name).to_numpy(zero_copy_only=True) for name in "tijv")
        last = self.line_of_code.size - 1
        if (year != self.year.year).any() or min(i.min(), j.min()) < 0 or max(i.max(), j.max()) > last:
            raise _Unusual
        exporter, importer = self.line_of_code.take(i), self.line_of_code.take(j)
        if exporter.min() < 0 or importer.min() < 0:
            raise _Unusual
        k = batch.column("k")
        digits = np.frombuffer(k.buffers()[1], dtype=np.uint8)[k.offset * 6 : (k.offset + len(k)) * 6] - np.uint8(48)
        if digits.max() > 9:
            raise _Unusual
        places = digits.reshape(-1, 6)
        code = places[:, 0].astype(np.int32)
        for place in range(1, 6):
            code *= 10
            code += places[:, place]
        if self.is_known is not None and not self.is_known[code].all():
            raise _Unusual
        if not (v.min() >= 0 and v.max() < _EXACT_BELOW):
            raise _Unusual
        quantity = batch.column("q")
        tonnes = quantity.fill_null(np.nan).to_numpy(zero_copy_only=False)
        strange = ~(tonnes >= 0) | np.isinf(tonnes)
        if int(np.count_nonzero(strange)) != quantity.null_count:
            raise _Unusual
        self._keep(code, importer, exporter, _thousandths(v), tonnes)

    def take_text(self, batch: pa.RecordBatch) -> None:
        """Checks and keeps a batch that was read as text; refuses by name what is wrong."""
        self._year(batch.column("t"))
        exporter = self._country(batch.column("i"), "i")
        importer = self._country(batch.column("j"), "j")
        code = self._code(batch.column("k"))
        self._keep(code, importer, exporter, self._value(batch.column("v")), self._quantity(batch.column("q")))

    def _keep(
        self,
        code: npt.NDArray[np.integer],
        importer: npt.NDArray[np.integer],
        exporter: npt.NDArray[np.integer],
        value: _Ints,
        tonnes: _Floats,
    ) -> None:
        """Packs the rows of a batch (countries as lines of the list) behind those that are there."""
        start, end = self.rows, self.rows + len(code)
        if end > 1 << self.row_bits:
            raise self.refuse(f"the file has more than {1 << self.row_bits:,} rows", None, "is it a year of BACI?")
        if end > self.keys.size:
            room = max(end, self.keys.size * 5 // 4)
            self.keys = np.r_[self.keys[:start], np.empty(room - start, np.uint64)]
            self.figures = np.concatenate([self.figures[:start], np.empty((room - start, 2), np.int64)])
        key = self.keys[start:end]
        key[:] = code
        key <<= np.uint64(self.flow_shift + 2 * self.country_bits)
        key |= self.as_importer.take(importer)
        key |= self.as_exporter.take(exporter)
        key |= np.arange(start, end, dtype=np.uint64)
        self.figures[start:end, 0] = value
        self.figures.view(np.float64)[start:end, 1] = tonnes
        self.rows = end

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
                if abs(number) >= _LARGEST:
                    raise self.refuse(f"the value v is absurdly large ({text})", self.rows + at)
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

    def settle(self) -> SourceRecord:
        """Refuses what only the whole file shows, then sorts, leaves out and sums; the record of the file."""
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
        self.keys = self.keys[: self.rows]
        self.keys.sort()
        twins = self._twins()
        raw = self.keys >> np.uint64(self.row_bits) if twins.size else self.keys
        twice = twins[raw[twins] == raw[twins + 1]] if twins.size else twins
        if twice.size:
            at = int(twice[0])
            one, two = (int(self.keys[n]) & ((1 << self.row_bits) - 1) for n in (at, at + 1))
            i, j, k = self._unpack(int(self.keys[at]))
            raise self.refuse(
                f"the key t={self.year.year}, i={i}, j={j}, k={k} stands twice, in line {one + 2} and line "
                f"{two + 2} "
                f"({twice.size} such rows in all)",
                None,
                "download the file again",
            )
        selfs, summed = self._join(twins)
        reasons = []
        if selfs:
            reasons.append(f"{selfs} flows of a country with itself after mapping to ISO3 were left out")
        if summed:
            reasons.append(f"{summed} rows were summed because two country codes share one ISO3 code")
        file, year = self.year.file, self.year
        return SourceRecord(
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

    def _parts(self, keys: _Keys) -> tuple[_Keys, _Keys, _Keys]:
        """Code, importer and exporter (ISO3 positions) of packed rows."""
        flow = keys >> np.uint64(self.flow_shift)
        country = np.uint64((1 << self.country_bits) - 1)
        return (
            flow >> np.uint64(2 * self.country_bits),
            (flow >> np.uint64(self.country_bits)) & country,
            flow & country,
        )

    def _rows_of(self, keys: _Keys) -> _Ints:
        return (keys & np.uint64((1 << self.row_bits) - 1)).astype(np.int64)

    def _unpack(self, key: int) -> tuple[int, int, str]:
        """BACI's exporter, importer and product code of a packed row."""
        code, importer, exporter = (int(part[0]) for part in self._parts(np.array([key], dtype=np.uint64)))
        which = (1 << self.variant_bits) - 1
        ahead = key >> self.row_bits
        i = self.listed[self.first_listed[exporter] + (ahead & which)].code
        j = self.listed[self.first_listed[importer] + (ahead >> self.variant_bits & which)].code
        return i, j, f"{code:06d}"

    def _twins(self) -> _Ints:
        """Positions of sorted rows whose successor is the same flow by ISO3."""
        shift = np.uint64(self.flow_shift)
        found = [np.zeros(0, np.int64)]
        for start in range(0, self.keys.size - 1, _CHUNK):
            flow = self.keys[start : start + _CHUNK + 1] >> shift
            found.append(np.flatnonzero(flow[1:] == flow[:-1]) + start)
        return np.concatenate(found)

    def _join(self, twins: _Ints) -> tuple[int, int]:
        """Leaves out flows of a country with itself and sums the same flow of several codes into its first row.

        Returns:
            How many rows were left out, and how many fell together with another.
        """
        own = [np.zeros(0, np.int64)]
        for start in range(0, self.keys.size, _CHUNK):
            _, importer, exporter = self._parts(self.keys[start : start + _CHUNK])
            own.append(np.flatnonzero(importer == exporter) + start)
        out = np.concatenate(own)
        twins = twins[~np.isin(twins, out)]
        if twins.size:
            members = np.union1d(twins, twins + 1)
            heads = np.flatnonzero(np.r_[True, ~np.isin(members[1:] - 1, twins)])
            rows = self._rows_of(self.keys[members])
            value, tonnes = self.figures[rows, 0], self.figures.view(np.float64)[rows, 1]
            known = ~np.isnan(tonnes)
            count = np.add.reduceat(known.astype(np.int64), heads)
            total = np.add.reduceat(np.where(known, tonnes, 0.0), heads)
            self.figures[rows[heads], 0] = np.add.reduceat(value, heads)
            self.figures.view(np.float64)[rows[heads], 1] = np.where(count > 0, total, np.nan)
        if out.size or twins.size:
            keep = np.ones(self.keys.size, np.bool_)
            keep[out] = False
            keep[twins + 1] = False
            self.keys = self.keys[keep]
        return int(out.size), int(twins.size)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows in key order, a row group at a time."""
        iso3 = np.array(self.iso3)
        for start in range(0, self.keys.size, ROW_GROUP):
            keys = self.keys[start : start + ROW_GROUP]
            n = keys.size
            code, importer, exporter = self._parts(keys)
            figures = self.figures.take(self._rows_of(keys), axis=0)
            new = np.r_[True, code[1:] != code[:-1]]
            wide = np.zeros((n, 2), dtype="<i8")
            wide[:, 0] = figures[:, 0]
            columns = [
                _dictionary(np.zeros(n, np.int32), [self.year.hs_revision]),
                pa.repeat(pa.scalar(self.year.year, pa.int32()), n),
                _dictionary((np.cumsum(new) - 1).astype(np.int32), [f"{c:06d}" for c in code[new]]),
                _named_dictionary(exporter, iso3),
                _named_dictionary(importer, iso3),
                pa.Array.from_buffers(FLOW_SCHEMA.field("value_kusd").type, n, [None, pa.py_buffer(wide)]),
                pa.array(figures.view(np.float64)[:, 1], pa.float64(), from_pandas=True),
                _dictionary(np.zeros(n, np.int32), [self.year.release]),
            ]
            yield pa.record_batch(columns, names=FLOW_SCHEMA.names)


def _dictionary(indices: npt.NDArray[np.int32], names: list[str]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(indices), pa.array(names, pa.string()))


def _named_dictionary(positions: _Keys, names: npt.NDArray[np.str_]) -> pa.DictionaryArray:
    """Positions in a list of names as a dictionary of those names that occur, in the list's order."""
    occurs = np.zeros(names.size, np.bool_)
    at = positions.astype(np.int64)
    occurs[at] = True
    return _dictionary((np.cumsum(occurs) - 1).astype(np.int32).take(at), names[occurs].tolist())


def _thousandths(values: _Floats) -> _Ints:
    """Doubles as whole thousandths, rounded half to even as their shortest decimal text reads.

    Below :data:`_EXACT_BELOW` a product by 1000 is off by less than 0.02, so that rounding it is exact unless it
    comes near a half; those few are rounded as decimals.
    """
    scaled = values * 1000.0
    rounded = np.rint(scaled)
    out = rounded.astype(np.int64)
    for at in np.flatnonzero(np.abs(scaled - rounded) > 0.48):
        out[at] = int((Decimal(repr(float(values[at]))) * 1000).to_integral_value())
    return out


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
