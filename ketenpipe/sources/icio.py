"""Inter-country input-output tables: OECD ICIO (2018, 2021, 2023/24, 2025) and others written in its layout.

A layout is a row of ``icio_layouts.json``, dimensions come from the file. Million USD at basic prices. One table a
year: of one edition the plain table (SML) goes before the extended one (EXT), which folds into it; a real table goes
before a made-up one; two editions, or two different tables of one edition, are refused by name.
Belongs here: which tables there are, and from file to matrices, folded (CN1, CN2 into CHN; MX1, MX2 into MEX). Does
not belong here: whether the accounts hold (:mod:`ketenpipe.sources.icio_audit`), inverses.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pacsv

from ketenpipe.errors import InputRefused
from ketenpipe.sources.countries import harmonise
from ketenpipe.sources.opening import base_name, header_of, open_binary, place, zip_entries
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
    may_be_negative: tuple[str, ...] = ("INVNT",)
    regions: int | None = None
    industries: int | None = None
    audit_limits: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))


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
        layout: the configuration row that the file fits; None for a table that was not read from a file.
        out_column: n, output as the last column states it (``OUT`` is the last row); None if it has gaps.
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
    layout: IcioLayout | None = None
    out_column: Floats | None = None

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
            may_be_negative=tuple(str(x) for x in raw.get("may_be_negative", ("INVNT",))),
            regions=None if raw.get("regions") is None else int(raw["regions"]),
            industries=None if raw.get("industries") is None else int(raw["industries"]),
            audit_limits=MappingProxyType({str(k): float(v) for k, v in (raw.get("audit_limits") or {}).items()}),
        )
    except KeyError as broken:
        raise InputRefused(f"a layout row lacks {broken}", path=path, where=str(raw)[:80]) from broken
    except (TypeError, ValueError, AttributeError) as broken:
        raise InputRefused(f"a layout row is not readable ({broken})", path=path, where=str(raw)[:80]) from broken


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


@dataclass(frozen=True)
class IcioSurvey:
    """The tables of a sources folder, at most one a year, and the files that were left out, with the reason."""

    tables: tuple[IcioFile, ...]
    left_out: tuple[SourceRecord, ...]


def list_tables(inventory: Inventory) -> list[IcioFile]:
    """The input-output tables of a sources folder, one a year, by year; unread so far (:func:`survey`)."""
    return list(survey(inventory).tables)


def survey(inventory: Inventory) -> IcioSurvey:
    """Which tables a sources folder holds, and which of them are taken: one a year.

    A real table goes before a made-up one. Of one edition the plain table (SML) goes before the extended one (EXT,
    with CN1, CN2, MX1, MX2), which folds into it. The same bytes twice count once. What is left out is told, with the
    reason. Only the first line of a file is read, and only where a year has more than one.

    Raises:
        InputRefused: a damaged zip, a file name without a year, two editions or two different tables of one year.
    """
    found, left_out = _all_tables(inventory)
    taken: list[IcioFile] = []
    for year in sorted({t.year for t in found}):
        chosen, others = _choose(year, [t for t in found if t.year == year])
        taken.append(chosen)
        left_out += [_left_out(table, reason) for table, reason in others]
    return IcioSurvey(tuple(taken), tuple(left_out))


def _all_tables(inventory: Inventory) -> tuple[list[IcioFile], list[SourceRecord]]:
    known = layouts(inventory)
    tables: list[IcioFile] = []
    nameless: list[SourceRecord] = []
    for file in inventory.of("icio", "table", "archive"):
        entries: Sequence[str | None] = [None]
        if file.kind == "archive":
            entries = [e for e in zip_entries(file.path) if re.search(r"\.csv(\.gz)?$", e, re.I)]
            if not entries:
                raise InputRefused("the zip holds no CSV file", path=file.path)
            dated = [e for e in entries if e and year_in(base_name(e)) is not None]
            if dated:
                nameless += [
                    _record_of(file, entry, "", None, 0, "the name states no year: not a table")
                    for entry in entries
                    if entry not in dated
                ]
                entries = dated
        for entry in entries:
            name = base_name(entry) if entry else file.path.name
            year = year_in(name)
            if year is None:
                raise InputRefused(
                    "the name states no year", path=file.path, where=entry, todo="name it like 2022_SML.csv"
                )
            synthetic = "synthetic" in name.lower() or "synthetic" in file.path.name.lower()
            tables.append(IcioFile(year, synthetic, file.path, entry, file, known))
    return sorted(tables, key=lambda t: (t.year, str(t.path), t.entry or "")), nameless


def _choose(year: int, tables: list[IcioFile]) -> tuple[IcioFile, list[tuple[IcioFile, str]]]:
    """The table of a year, and the others with the reason why they are left out."""
    others: list[tuple[IcioFile, str]] = []
    real = [t for t in tables if not t.synthetic]
    if real and len(real) < len(tables):
        others += [(t, f"made up: {real[0].name} is taken") for t in tables if t.synthetic]
        tables = real
    if len(tables) == 1:
        return tables[0], others
    kinds = {t: _kind(t) for t in tables}
    editions = list(dict.fromkeys(edition for edition, _ in kinds.values()))
    if len(editions) > 1:
        named = " and ".join(
            f"{place(t.path, t.entry)} ({e})" for e in editions for t in [next(t for t in tables if kinds[t][0] == e)]
        )
        raise InputRefused(
            f"the year {year} stands in {len(editions)} editions: {named}",
            todo="editions differ in method and must not be mixed: keep one",
        )
    plain = [t for t in tables if not kinds[t][1]]
    if plain and len(plain) < len(tables):
        others += [
            (t, f"extended table: {plain[0].name} of the same edition is what it folds into")
            for t in tables
            if kinds[t][1]
        ]
        tables = plain
    first, *rest = tables
    for twin in rest:
        if _content(twin) != _content(first):
            raise InputRefused(
                f"the year {year} stands in two different tables of {editions[0]}: {place(first.path, first.entry)} "
                f"and {place(twin.path, twin.entry)}",
                todo="keep the one that is meant",
            )
        others.append((twin, f"the same content as {place(Path(first.path.name), first.entry)}"))
    return first, others


def _kind(table: IcioFile) -> tuple[str, bool]:
    """(edition, whether it is extended) from the first line of a table."""
    columns = header_of(table.path, table.entry)[1:]
    layout = _fit_columns(table.layouts, columns)
    if layout is None:
        raise _no_layout(columns, None, table.path, table.entry)
    return layout.edition, any(split_label(c)[0] in layout.fold for c in columns)


def _content(table: IcioFile) -> str:
    digest = hashlib.sha256()
    with open_binary(table.path, table.entry) as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _record_of(
    file: SourceFile, entry: str | None, edition: str, year: int | None, rows: int, reason: str | None
) -> SourceRecord:
    declared = file.sidecar.vintage_of(year) if year is not None else None
    return SourceRecord(
        source="icio",
        file=file.path.name,
        path=f"{file.relative}!{entry}" if entry else file.relative,
        vintage=declared or file.sidecar.release or edition,
        from_year=year,
        to_year=year,
        sha256=file.sha256,
        bytes=file.bytes,
        licence=file.sidecar.licence,
        producer=file.sidecar.producer,
        citation=file.sidecar.citation,
        url=file.sidecar.url,
        rows_read=rows,
        rows_refused=0,
        reason=reason,
    )


def _left_out(table: IcioFile, reason: str) -> SourceRecord:
    return _record_of(table.file, table.entry, "", table.year, 0, f"left out: {reason}")


def split_label(label: str) -> Label:
    """Country and industry of a label, split on the first underscore only: ``NLD_C17_18`` is NLD, C17_18."""
    country, _, industry = label.partition("_")
    return country, industry


def read_table(icio_file: IcioFile) -> IcioTable:
    """Reads one table and folds its split countries.

    Rows and columns are matched by label, in the order of the columns. An empty cell is refused where it is used
    (the corner where the rows of taxes, value added and output meet final demand may be empty). A parent of split
    countries (CHN beside CN1, CN2) may hold zeros or industries of its own, not the sum of its parts.

    Returns:
        Matrices in column-major order (``Z`` as LAPACK likes it).

    Raises:
        InputRefused: damaged container, truncated table, an unknown layout, a cell that is no number, rows
            and columns that do not name the same industries, a label that stands twice, a country that is the sum
            of its parts.
    """
    header = header_of(icio_file.path, icio_file.entry)
    rows, cells = _read_cells(icio_file, header)
    columns = header[1:]

    def refuse(what: str, todo: str | None = None) -> InputRefused:
        where = f"zip entry {icio_file.entry}" if icio_file.entry else None
        return InputRefused(what, path=icio_file.path, where=where, todo=todo)

    if not rows:
        raise refuse("the table has a header and no rows", "download it again")
    for kind, names in (("row", rows), ("column", columns)):
        twin, times = Counter(names).most_common(1)[0]
        if times > 1:
            raise refuse(f"the {kind} '{twin}' stands {'twice' if times == 2 else f'{times} times'}")
    layout = _fit(icio_file, columns, rows, refuse)
    final = [c for c in columns[:-1] if _is_final(layout, c)]
    final_set = set(final)
    industries = [c for c in columns[:-1] if c not in final_set]
    extra = _extra_rows(layout, rows)
    row_labels = [r for r in rows if r not in extra]
    if set(row_labels) != set(industries):
        raise _one_sided(industries, row_labels, layout, refuse)
    row_at = {r: n for n, r in enumerate(rows)}
    column_at = {c: n for n, c in enumerate(columns)}
    take = np.array([row_at[label] for label in industries], dtype=np.intp)
    labels = [_harmonised(label, layout) for label in industries]
    final_labels = [_harmonised(label, layout) for label in final]
    fold = _Fold.of(labels)
    final_fold = _Fold.of(final_labels)
    tls_rows = [row_at[r] for r in rows if r in extra and r not in (layout.va_row, layout.out_row)]
    used = np.concatenate([take, [row_at[layout.va_row], row_at[layout.out_row]], tls_rows]).astype(np.intp)

    def column(name: str, needed: npt.NDArray[np.intp]) -> Floats:
        values: Floats = cells.column(column_at[name] + 1).to_numpy()
        if not np.isfinite(values).all():
            bad = needed[~np.isfinite(values[needed])]
            if bad.size:
                at = int(bad[0])
                empty = not cells.column(column_at[name] + 1)[at].is_valid
                raise refuse(
                    f"the cell in row '{rows[at]}' and column '{name}' is {'empty' if empty else 'no finite number'}"
                )
        return values

    n = len(fold.labels)
    z = np.zeros((n, n), order="F")
    y = np.zeros((n, len(final_fold.labels)), order="F")
    tls, va, out = np.zeros(len(industries)), np.zeros(len(industries)), np.zeros(len(industries))
    for k, name in enumerate(industries):
        values = column(name, used)
        z[:, fold.at[k]] += fold.sum(values[take])
        va[k], out[k] = values[row_at[layout.va_row]], values[row_at[layout.out_row]]
        tls[k] = values[tls_rows].sum() if tls_rows else 0.0
    for k, name in enumerate(final):
        y[:, final_fold.at[k]] += fold.sum(column(name, take)[take])
    _refuse_totals(industries, out, layout, refuse)
    total = cells.column(column_at[columns[-1]] + 1).to_numpy()[take]
    reasons = []
    if n < len(labels):
        parts = sorted({split_label(c)[0] for c in industries} & layout.fold.keys())
        reasons.append(
            f"{len(labels) - n} industries of split countries ({', '.join(parts)}) were summed into their country"
        )
    if not tls_rows:
        reasons.append("no row of taxes less subsidies: taken as 0")
    record = _record_of(
        icio_file.file, icio_file.entry, layout.edition, icio_file.year, len(rows), "; ".join(reasons) or None
    )
    return IcioTable(
        labels=tuple(fold.labels),
        Z=z,
        Y=y,
        final_labels=tuple(final_fold.labels),
        TLS=fold.sum(tls),
        has_tls=bool(tls_rows),
        VA=fold.sum(va),
        OUT=fold.sum(out),
        year=icio_file.year,
        edition=layout.edition,
        synthetic=icio_file.synthetic,
        vintage=record.vintage,
        record=record,
        layout=layout,
        out_column=fold.sum(total) if np.isfinite(total).all() else None,
    )


def _read_cells(icio_file: IcioFile, header: list[str]) -> tuple[list[str], pa.Table]:
    """(row labels, the file's columns as Arrow doubles); the first column holds the row labels."""
    where = f"zip entry {icio_file.entry}" if icio_file.entry else None
    if len(header) < 4:
        raise InputRefused(f"{len(header)} columns make no input-output table", path=icio_file.path, where=where)
    names = [f"c{n}" for n in range(len(header))]
    # Small blocks cost: every block makes 4,500 columns. Measured at 4,050 rows: 4 MB 1.5 s, 16 MB 0.9 s, 32 MB 1.0 s.
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
    return [str(label).strip() for label in table.column(0).to_pylist()], table


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


_Refuse = Callable[..., InputRefused]


def _fit_columns(known: tuple[IcioLayout, ...], columns: list[str]) -> IcioLayout | None:
    """The first layout that the column labels fit."""
    industries = {split_label(c)[1] for c in columns[:-1]}
    for layout in known:
        if columns[-1] != layout.total_column or not industries.issuperset(layout.industries_include):
            continue
        if any(_is_final(layout, c) for c in columns[:-1]):
            return layout
    return None


def _no_layout(columns: list[str], rows: list[str] | None, path: Path, entry: str | None) -> InputRefused:
    last = "" if rows is None else f", the last row '{rows[-1] if rows else 'none'}'"
    return InputRefused(
        f"no known layout fits: the last column is '{columns[-1]}'{last}",
        path=path,
        where=f"zip entry {entry}" if entry else None,
        todo="add a row to icio/icio_layouts.json in the sources folder",
    )


def _fit(icio_file: IcioFile, columns: list[str], rows: list[str], refuse: _Refuse) -> IcioLayout:
    """The first layout that the columns fit; the refusal names what the rows lack."""
    layout = _fit_columns(icio_file.layouts, columns)
    if layout is None:
        raise _no_layout(columns, rows, icio_file.path, icio_file.entry)
    for needed in (layout.va_row, layout.out_row):
        if needed not in rows:
            raise refuse(
                f"the row '{needed}' is missing after {len(rows)} rows",
                "the file may be cut off: download it again",
            )
    return layout


def _one_sided(industries: list[str], row_labels: list[str], layout: IcioLayout, refuse: _Refuse) -> InputRefused:
    """What is only among the rows or only among the columns, and what that may mean."""
    columns_only, rows_only = sorted(set(industries) - set(row_labels)), sorted(set(row_labels) - set(industries))
    known = {split_label(r)[1] for r in row_labels}
    strange = sorted({split_label(c)[1] for c in columns_only} - known)
    if strange and not rows_only:
        return refuse(
            f"the column '{columns_only[0]}' is no industry row, nor one of the final demand columns of the layout "
            f"{layout.edition} ({', '.join(layout.final_demand)})",
            f"if '{strange[0]}' is final demand, add a layout row to icio/icio_layouts.json",
        )
    lost = (columns_only or rows_only)[0]
    return refuse(
        f"{len(row_labels)} industry rows do not match {len(industries)} industry columns (e.g. '{lost}' is only "
        f"among the {'columns' if columns_only else 'rows'})",
        "the file may be cut off: download it again",
    )


def _refuse_totals(industries: list[str], out: Floats, layout: IcioLayout, refuse: _Refuse) -> None:
    """Refuses a parent whose output is, industry for industry, the sum of its parts: folding would count it twice."""
    output = dict(zip((split_label(label) for label in industries), out.tolist(), strict=True))
    for parent in sorted(set(layout.fold.values())):
        parts = [c for c in layout.fold if layout.fold[c] == parent]
        own = {i: x for (c, i), x in output.items() if c == parent}
        summed = {i: sum(output.get((part, i), 0.0) for part in parts) for i in own}
        if any(summed.values()) and all(abs(own[i] - summed[i]) <= 1e-6 * abs(summed[i]) for i in own):
            raise refuse(
                f"the industries of {parent} are the sums of those of {' and '.join(parts)}: they would count twice",
                f"drop the rows and columns of {parent}, or those of its parts",
            )


@dataclass(frozen=True)
class _Fold:
    """The distinct labels in order of first appearance, and how longer vectors are summed into them.

    Attributes:
        labels: the distinct labels.
        at: of each given label, its place among the distinct ones.
        first: of each distinct label, its first place among those given.
        again: rounds of (distinct place, given place) for those that repeat; no distinct place twice in a round.
    """

    labels: list[Label]
    at: npt.NDArray[np.intp]
    first: npt.NDArray[np.intp] | None
    again: tuple[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]], ...]

    @classmethod
    def of(cls, given: list[Label]) -> _Fold:
        position: dict[Label, int] = {}
        at = [position.setdefault(label, len(position)) for label in given]
        seen: list[list[int]] = [[] for _ in position]
        for k, place_of in enumerate(at):
            seen[place_of].append(k)
        rounds = []
        for depth in range(1, max((len(s) for s in seen), default=0)):
            pairs = [(p, s[depth]) for p, s in enumerate(seen) if len(s) > depth]
            rounds.append((np.array([p for p, _ in pairs]), np.array([k for _, k in pairs])))
        first = np.array([s[0] for s in seen], dtype=np.intp) if rounds else None
        return cls(list(position), np.array(at, dtype=np.intp), first, tuple(rounds))

    def sum(self, values: Floats) -> Floats:
        """Sums a vector over equal labels; unchanged where all differ."""
        if self.first is None:
            return values
        out = values[self.first]
        for target, source in self.again:
            out[target] += values[source]
        return out


def _harmonised(label: str, layout: IcioLayout) -> Label:
    country, industry = split_label(label)
    return harmonise(layout.fold.get(country, country), "icio"), industry
