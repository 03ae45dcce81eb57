"""Inter-country input-output tables: OECD ICIO (2018, 2021, 2023/24, 2025) and others written in its layout.

A layout is a row of ``icio_layouts.json``, dimensions come from the file. Million USD at basic prices.
Belongs here: from file to matrices, folded (CN1, CN2 into CHN; MX1, MX2 into MEX). Does not belong here:
    inverses.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pacsv

from ketenpipe.errors import InputRefused
from ketenpipe.sources.countries import harmonise
from ketenpipe.sources.opening import base_name, header_of, open_binary, zip_entries
from ketenpipe.sources.places import Inventory, SourceFile
from ketenpipe.sources.records import SourceRecord

Label = tuple[str, str]
Floats = npt.NDArray[np.float64]

_YEAR = re.compile(r"(?:^|[_-])((?:19|20)\d{2})(?=[_.]|$)")


@dataclass(frozen=True)
class IcioLayout:
    """A configuration row; its fields are explained in ``icio_layouts.json``."""

    edition: str
    total_column: str
    final_demand: tuple[str, ...]
    va_row: str
    out_row: str
    tls_row: str | None
    tls_suffix: str | None
    industries_include: tuple[str, ...]
    fold: dict[str, str]


@dataclass(frozen=True)
class IcioFile:
    """One table of a sources folder: a file, or an entry of a zip, of one year."""

    year: int
    synthetic: bool
    path: Path
    entry: str | None
    file: SourceFile = field(repr=False, compare=False)
    layouts: tuple[IcioLayout, ...] = field(repr=False, compare=False)

    @property
    def name(self) -> str:
        """The name of the table's own file."""
        return base_name(self.entry) if self.entry else self.path.name


@dataclass(frozen=True)
class IcioTable:
    """An inter-country input-output table, folded to whole countries. Million USD, basic prices.

    Attributes:
        labels: the n (country, industry) pairs, in the file's order; rows and columns of ``Z``.
        Z: n x n intermediate deliveries, row sells to column.
        Y: n x m final demand; inventories may be negative.
        final_labels: the m (country, component) pairs, columns of ``Y``.
        TLS: n, taxes less subsidies on products per using industry; zeros where the file has no such row.
        has_tls: False where the file has no such row.
        VA: n, value added.
        OUT: n, output; may be 0.
        year, edition, vintage: of the table.
        synthetic: made up (its file name says so); nothing derived from it may raise a flag.
        record: what became of the file.
    """

    labels: tuple[Label, ...]
    Z: Floats
    Y: Floats
    final_labels: tuple[Label, ...]
    TLS: Floats
    has_tls: bool
    VA: Floats
    OUT: Floats
    year: int
    edition: str
    synthetic: bool
    vintage: str
    record: SourceRecord

    @property
    def countries(self) -> tuple[str, ...]:
        """The countries, in the file's order."""
        return tuple(dict.fromkeys(country for country, _ in self.labels))

    @property
    def industries(self) -> tuple[str, ...]:
        """The industries, in the file's order."""
        return tuple(dict.fromkeys(industry for _, industry in self.labels))

    def imbalance(self) -> tuple[float, float]:
        """Largest gap of a row (``Z1 + Y1`` against ``OUT``) and of a column (``1'Z + TLS + VA``), in million
        USD."""
        rows = np.abs(self.Z.sum(axis=1) + self.Y.sum(axis=1) - self.OUT)
        columns = np.abs(self.Z.sum(axis=0) + self.TLS + self.VA - self.OUT)
        return float(rows.max(initial=0.0)), float(columns.max(initial=0.0))


def _layout(raw: dict[str, Any], path: Path) -> IcioLayout:
    try:
        return IcioLayout(
            edition=str(raw["edition"]),
            total_column=str(raw["total_column"]),
            final_demand=tuple(str(x) for x in raw["final_demand"]),
            va_row=str(raw["va_row"]),
            out_row=str(raw["out_row"]),
            tls_row=raw.get("tls_row"),
            tls_suffix=raw.get("tls_suffix"),
            industries_include=tuple(str(x) for x in raw.get("industries_include") or ()),
            fold=dict(raw.get("fold") or {}),
        )
    except (KeyError, TypeError) as broken:
        raise InputRefused(f"a layout row lacks {broken}", path=path, where=str(raw)[:80]) from broken


@lru_cache(maxsize=8)
def _read_layouts(path: Path) -> tuple[IcioLayout, ...]:
    try:
        raw = json.loads(path.read_text(encoding="utf-8-sig"))
        rows = raw["layouts"]
    except (json.JSONDecodeError, KeyError, TypeError) as broken:
        raise InputRefused(f"the layouts are not readable ({broken})", path=path) from broken
    return tuple(_layout(row, path) for row in rows)


def layouts(inventory: Inventory | None = None) -> tuple[IcioLayout, ...]:
    """The known layouts; those of the folder's own ``icio/icio_layouts.json`` come first."""
    own = [row for f in inventory.of("icio", "layouts") for row in _read_layouts(f.path)] if inventory else []
    return (*own, *_read_layouts(Path(__file__).with_name("icio_layouts.json")))


def year_in(name: str) -> int | None:
    """The table's year in a file name: the last year in it, as in ``ICIO2021_2018.csv`` or
    ``2022_SML.csv``."""
    found = _YEAR.findall(name)
    return int(found[-1]) if found else None


def list_tables(inventory: Inventory) -> list[IcioFile]:
    """The input-output tables of a sources folder, by year and name; unread so far.

    Raises:
        InputRefused: a damaged zip, a name without a year.
    """
    known = layouts(inventory)
    tables: list[IcioFile] = []
    for file in inventory.of("icio", "table", "archive"):
        entries: Sequence[str | None] = [None]
        if file.kind == "archive":
            entries = [e for e in zip_entries(file.path) if re.search(r"\.csv(\.gz)?$", e, re.I)]
            if not entries:
                raise InputRefused("the zip holds no CSV file", path=file.path)
        for entry in entries:
            name = base_name(entry) if entry else file.path.name
            year = year_in(name)
            if year is None:
                raise InputRefused(
                    "the name states no year", path=file.path, where=entry, todo="name it like 2022_SML.csv"
                )
            synthetic = "synthetic" in name.lower() or "synthetic" in file.path.name.lower()
            tables.append(IcioFile(year, synthetic, file.path, entry, file, known))
    return sorted(tables, key=lambda t: (t.year, str(t.path), t.entry or ""))


def split_label(label: str) -> Label:
    """Country and industry of a label, split on the first underscore only: ``NLD_C17_18`` is NLD, C17_18."""
    country, _, industry = label.partition("_")
    return country, industry


def read_table(icio_file: IcioFile) -> IcioTable:
    """Reads one table and folds its split countries.

    Raises:
        InputRefused: damaged container, truncated table, an unknown layout, a cell that is no number, rows
            and columns that do not name the same industries, a label that stands twice.
    """
    header = header_of(icio_file.path, icio_file.entry)
    columns, rows, data = _read_cells(icio_file, header)

    def refuse(what: str, todo: str | None = None) -> InputRefused:
        where = f"zip entry {icio_file.entry}" if icio_file.entry else None
        return InputRefused(what, path=icio_file.path, where=where, todo=todo)

    for kind, names in (("row", rows), ("column", columns)):
        if len(set(names)) != len(names):
            twin = next(n for n in names if list(names).count(n) > 1)
            raise refuse(f"the {kind} '{twin}' stands twice")
    layout = _fit(icio_file.layouts, columns, rows, refuse)
    final = [c for c in columns[:-1] if _is_final(layout, c)]
    final_set = set(final)
    industries = [c for c in columns[:-1] if c not in final_set]
    extra = _extra_rows(layout, rows)
    row_labels = [r for r in rows if r not in extra]
    if set(row_labels) != set(industries):
        lost = sorted(set(industries) ^ set(row_labels))
        raise refuse(
            f"{len(row_labels)} industry rows do not match {len(industries)} industry columns (e.g. "
            f"'{lost[0]}' is only on "
            "one side)",
            "the file may be cut off: download it again",
        )
    row_at = {r: n for n, r in enumerate(rows)}
    column_at = {c: n for n, c in enumerate(columns)}
    take_rows = [row_at[label] for label in industries]
    take_columns = [column_at[label] for label in industries]
    labels = [_harmonised(label, layout) for label in industries]
    final_labels = [_harmonised(label, layout) for label in final]
    folded, fold_at = _fold(labels)
    folded_final, final_at = _fold(final_labels)
    z = _sum_groups(_sum_groups(data[np.ix_(take_rows, take_columns)], fold_at, 0), fold_at, 1)
    y = _sum_groups(_sum_groups(data[np.ix_(take_rows, [column_at[c] for c in final])], fold_at, 0), final_at, 1)
    tls_rows = [row_at[r] for r in rows if r in extra and r not in (layout.va_row, layout.out_row)]
    tls = data[np.ix_(tls_rows, take_columns)].sum(axis=0) if tls_rows else np.zeros(len(industries))
    file = icio_file.file
    n_folded = len(labels) - len(folded)
    reasons = []
    if n_folded:
        reasons.append(f"{n_folded} industries of split countries (CN1, CN2, MX1, MX2) were summed into their country")
    if not tls_rows:
        reasons.append("no row of taxes less subsidies: taken as 0")
    record = SourceRecord(
        source="icio",
        file=icio_file.path.name,
        path=f"{file.relative}!{icio_file.entry}" if icio_file.entry else file.relative,
        vintage=file.sidecar.vintage_of(icio_file.year) or file.sidecar.release or layout.edition,
        from_year=icio_file.year,
        to_year=icio_file.year,
        sha256=file.sha256,
        bytes=file.bytes,
        licence=file.sidecar.licence,
        producer=file.sidecar.producer,
        citation=file.sidecar.citation,
        url=file.sidecar.url,
        rows_read=len(rows),
        rows_refused=0,
        reason="; ".join(reasons) or None,
    )
    return IcioTable(
        labels=tuple(folded),
        Z=z,
        Y=y,
        final_labels=tuple(folded_final),
        TLS=_sum_groups(tls, fold_at, 0),
        has_tls=bool(tls_rows),
        VA=_sum_groups(data[row_at[layout.va_row], take_columns], fold_at, 0),
        OUT=_sum_groups(data[row_at[layout.out_row], take_columns], fold_at, 0),
        year=icio_file.year,
        edition=layout.edition,
        synthetic=icio_file.synthetic,
        vintage=record.vintage,
        record=record,
    )


def _read_cells(icio_file: IcioFile, header: list[str]) -> tuple[list[str], list[str], Floats]:
    """(column labels, row labels, rows x columns) of the file; the first column holds the row labels."""
    where = f"zip entry {icio_file.entry}" if icio_file.entry else None
    if len(header) < 4:
        raise InputRefused(f"{len(header)} columns make no input-output table", path=icio_file.path, where=where)
    names = [f"c{n}" for n in range(len(header))]
    options = pacsv.ReadOptions(column_names=names, skip_rows=1, block_size=16 << 20)
    types = {name: pa.float64() for name in names[1:]} | {names[0]: pa.string()}
    convert = pacsv.ConvertOptions(column_types=types, null_values=[""], strings_can_be_null=False)
    with open_binary(icio_file.path, icio_file.entry) as stream:
        try:
            table = pacsv.read_csv(stream, read_options=options, convert_options=convert)
        except pa.ArrowInvalid as broken:
            raise InputRefused(
                _in_words(str(broken).splitlines()[0], header),
                path=icio_file.path,
                where=where,
                todo="the file may be cut off or edited: download it again",
            ) from broken
    rows = [str(label).strip() for label in table.column(0).to_pylist()]
    data = np.empty((table.num_rows, len(header) - 1))
    for at in range(1, len(header)):
        column = table.column(at)
        if column.null_count:
            empty = int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
            raise InputRefused(
                f"the cell in row '{rows[empty]}' and column '{header[at]}' is empty",
                path=icio_file.path,
                where=where,
            )
        data[:, at - 1] = column.to_numpy()
    if not np.isfinite(data).all():
        row, col = (int(x) for x in np.argwhere(~np.isfinite(data))[0])
        raise InputRefused(
            f"the cell in row '{rows[row]}' and column '{header[col + 1]}' is no finite number",
            path=icio_file.path,
            where=where,
        )
    return header[1:], rows, data


def _in_words(message: str, header: list[str]) -> str:
    """A sentence on what pyarrow's CSV reader met, with the file's own column name."""
    found = re.search(r"In CSV column #(\d+): .*?invalid value '(.*)'", message)
    if found:
        line = re.search(r"Row #(\d+)", message)
        place = f" in line {line.group(1)}" if line else ""
        return f"column '{header[int(found.group(1))]}' holds '{found.group(2)}'{place}, which is no number"
    found = re.search(r"Expected (\d+) columns, got (\d+)", message)
    if found:
        return f"a row has {found.group(2)} fields where the header has {found.group(1)}"
    return f"not readable as CSV ({message})"


def _is_final(layout: IcioLayout, column: str) -> bool:
    return split_label(column)[1] in layout.final_demand


def _extra_rows(layout: IcioLayout, rows: list[str]) -> set[str]:
    return {
        r
        for r in rows
        if r in (layout.va_row, layout.out_row, layout.tls_row)
        or (layout.tls_suffix is not None and r.endswith(layout.tls_suffix))
    }


def _fit(known: tuple[IcioLayout, ...], columns: list[str], rows: list[str], refuse: Any) -> IcioLayout:
    """The first layout that the file's labels fit; the refusal names what the nearest one lacks."""
    present = set(rows)
    industries = {split_label(c)[1] for c in columns[:-1]}
    for layout in known:
        if columns[-1] != layout.total_column or not industries.issuperset(layout.industries_include):
            continue
        if not any(_is_final(layout, c) for c in columns[:-1]):
            continue
        for needed in (layout.va_row, layout.out_row):
            if needed not in present:
                raise refuse(
                    f"the row '{needed}' is missing after {len(rows)} rows",
                    "the file may be cut off: download it again",
                )
        return layout
    raise refuse(
        f"no known layout fits: the last column is '{columns[-1]}', the last row '{rows[-1] if rows else 'none'}'",
        "add a row to icio/icio_layouts.json in the sources folder",
    )


def _harmonised(label: str, layout: IcioLayout) -> Label:
    country, industry = split_label(label)
    return harmonise(layout.fold.get(country, country), "icio"), industry


def _fold(labels: list[Label]) -> tuple[list[Label], npt.NDArray[np.intp]]:
    """The distinct labels in order of first appearance, and each label's position among them."""
    position: dict[Label, int] = {}
    at = [position.setdefault(label, len(position)) for label in labels]
    return list(position), np.array(at, dtype=np.intp)


def _sum_groups(array: Floats, at: npt.NDArray[np.intp], axis: int) -> Floats:
    """Sums the slices of an array that bear the same number; unchanged where all differ."""
    groups = int(at.max(initial=-1)) + 1
    if groups == at.size:
        return np.ascontiguousarray(array)
    shape = list(array.shape)
    shape[axis] = groups
    out = np.zeros(shape)
    np.add.at(np.moveaxis(out, axis, 0), at, np.moveaxis(array, axis, 0))
    return out
