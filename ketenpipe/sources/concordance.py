"""Concordances between HS revisions, and from HS to ISIC, BEC or CPC, as pairs of codes.

Codes are strings; HS codes are padded to six characters, for code lists lose their leading zeros. A concordance says
which codes correspond, not in what proportion: weights are made in :mod:`ketenpipe.sources.hs_weights`. Layouts read:
columns ``HS5_6d, HS0_6d, ISIC3_4d, BEC4_3d``; the United Nations' workbooks, which hold a sheet of conversions (one
code to one) and one of correlations (every overlap); its wide list of HS, SITC and BEC; the World Bank's and the
United Nations' lists with ``HS 2012 Product Code``, ``CPC21code`` and the like, in a zip or not.

Does not belong here: which of two concordances is right, and proportions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from ketenpipe.errors import InputRefused
from ketenpipe.sources.opening import base_name, read_rows, zip_entries
from ketenpipe.sources.places import Inventory, SourceFile
from ketenpipe.sources.records import SourceRecord
from ketenpipe.sources.workbook import is_workbook, read_sheets

#: ``HS0`` is HS1992 (H0 at the UN) and so on.
HS_NUMBERS = {
    "HS0": "HS92",
    "HS1": "HS96",
    "HS2": "HS02",
    "HS3": "HS07",
    "HS4": "HS12",
    "HS5": "HS17",
    "HS6": "HS22",
}
#: The revisions, oldest first.
HS_REVISIONS = tuple(HS_NUMBERS.values())
#: What a set of pairs is: ``conversion``, each code to the one that the source chose for it; ``correlation``, every
#: overlap of two codes, which reads in both directions; ``pairs``, not stated, read in the direction of its columns.
KINDS = ("conversion", "pairs", "correlation")
CONCORDANCE_SCHEMA = pa.schema(
    [
        pa.field("from_system", pa.string(), nullable=False),
        pa.field("from_code", pa.string(), nullable=False),
        pa.field("to_system", pa.string(), nullable=False),
        pa.field("to_code", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("vintage", pa.string(), nullable=False),
    ]
)
#: Digits of the finest codes of a system.
_DIGITS = {"ISIC3": 4, "ISIC3.1": 4, "ISIC4": 4, "BEC4": 3, "BEC5": 6, "CPC2": 5, "CPC21": 5}
_HEADER_ROWS = 12


@dataclass(frozen=True)
class ConcordanceData:
    """Pairs of codes (:data:`CONCORDANCE_SCHEMA`), one record per file, and the files left out with the
    reason."""

    table: pa.Table
    records: tuple[SourceRecord, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Column:
    system: str
    digits: int
    at: int
    role: str | None


def _column(at: int, name: str) -> _Column | None:
    """The system whose codes a column holds, by its name; None for descriptions and the like."""
    cell = name.strip()
    if found := re.fullmatch(r"(HS\d?|ISIC\d|BEC\d)_(\d)d", cell, re.I):
        system = found.group(1).upper()
        return _Column(HS_NUMBERS.get(system, system), int(found.group(2)), at, None)
    word = re.sub(r"[^a-z0-9/.]", "", cell.lower())
    if not word or "desc" in word or "title" in word or "part" in word:
        return None
    role = None
    if found := re.match(r"(from|to)(?=hs|isic|bec|cpc)", word):
        role = found.group(1)
        word = word[len(role) :]
    word = re.sub(r"(product)?codes?$", "", word).removesuffix("product").rstrip(".")
    if found := re.fullmatch(r"hs(?:(?:19|20)?\d\d/)?(?:19|20)?(\d\d)", word):
        system = f"HS{'92' if found.group(1) == '88' else found.group(1)}"
        return _Column(system, 6, at, role) if system in HS_REVISIONS else None
    if word in ("hs", "hscombined"):
        return _Column("HS", 6, at, role)
    if found := re.fullmatch(r"isic(?:revision|rev\.?)?(3\.1|31|3|4)", word):
        system = "ISIC" + found.group(1).replace("31", "3.1")
        return _Column(system, _DIGITS[system], at, role)
    if found := re.fullmatch(r"bec(?:revision|rev\.?)?([45])", word):
        return _Column(f"BEC{found.group(1)}", _DIGITS[f"BEC{found.group(1)}"], at, role)
    if found := re.fullmatch(r"cpc(?:version|ver\.?)?(2\.?1|2)", word):
        system = "CPC" + found.group(1).replace(".", "")
        return _Column(system, _DIGITS[system], at, role)
    return None


@dataclass(frozen=True)
class _Layout:
    """Which columns pair with which, and what the pairs are."""

    pairs: tuple[tuple[_Column, _Column], ...]
    kind: str


def _layout(header: Sequence[str]) -> _Layout | None:
    """What a header row says; None where it is not that of a concordance."""
    finest: dict[str, _Column] = {}
    for at, name in enumerate(header):
        found = _column(at, name)
        if found and (found.system not in finest or found.digits > finest[found.system].digits):
            finest[found.system] = found
    columns = list(finest.values())
    if len(columns) > 2:
        # The United Nations' wide list: every HS revision beside BEC and SITC. HS among themselves have own workbooks.
        hs = [c for c in columns if c.system in HS_REVISIONS]
        others = [c for c in columns if c.system.startswith("BEC")]
        pairs = tuple((a, b) for a in hs for b in others)
        return _Layout(pairs, "correlation") if pairs and len(hs) + len(others) == len(columns) else None
    if len(columns) != 2:
        return None
    one, two = columns
    if (one.role, two.role) == ("to", "from"):
        one, two = two, one
    if (one.role, two.role) == ("from", "to"):
        return _Layout(((one, two),), "conversion")
    words = [re.sub(r"[^a-z0-9]", "", name.lower()) for name in header]
    overlaps = any(w == "relationship" or re.search(r"part(ial)?$", w) for w in words)
    return _Layout(((one, two),), "correlation" if overlaps else "pairs")


def _tables(file: SourceFile) -> Iterator[tuple[str | None, _Layout, list[tuple[int, list[str]]]]]:
    """(place within the file, layout, rows with their numbers) of every part that is a concordance."""
    if is_workbook(file.path):
        for sheet in read_sheets(file.path):
            for at in range(min(_HEADER_ROWS, len(sheet.rows))):
                layout = _layout(sheet.text(at))
                if layout is not None:
                    rows = ((i + 1, sheet.text(i)) for i in range(at + 1, len(sheet.rows)))
                    yield f"sheet {sheet.name}", layout, [(n, row) for n, row in rows if any(row)]
                    break
        return
    entries: list[str | None] = [None]
    if file.path.suffix.lower() == ".zip":
        entries = [e for e in zip_entries(file.path) if re.search(r"\.(csv|txt)$", base_name(e), re.I)]
    for entry in entries:
        header, lines = read_rows(file.path, entry)
        layout = _layout(header)
        if layout is not None:
            yield (f"zip entry {entry}" if entry else None), layout, lines


def _code(column: _Column, raw: str, file: SourceFile, where: str) -> str:
    code = raw
    if column.system.startswith("HS") and re.fullmatch(r"\d{4}\.\d{2}", code):
        code = code.replace(".", "")
    if not re.fullmatch(r"[0-9A-Z]+", code) or len(code) > column.digits:
        raise InputRefused(f"'{raw}' is no code of {column.system}", path=file.path, where=where)
    return code.zfill(column.digits) if column.system.startswith(("HS", "ISIC", "CPC")) and code.isdigit() else code


def read_concordance(file: SourceFile) -> tuple[pa.Table, SourceRecord] | None:
    """The distinct pairs of the finest codes in a file; None if its columns are not those of a concordance.

    Raises:
        InputRefused: a code that is no code of its system, a conversion that gives one code two targets, no pair at
            all, a damaged file.
    """
    vintage = _vintage(file)
    found: set[tuple[str, str, str, str, str]] = set()
    parts = blank = read = 0
    for place, layout, lines in _tables(file):
        parts += 1
        read += len(lines)
        chosen: dict[tuple[str, str], str] = {}
        for number, row in lines:
            where = ", ".join(p for p in (place, f"{'row' if place and 'sheet' in place else 'line'} {number}") if p)
            incomplete = False
            for one, two in layout.pairs:
                a, b = row[one.at].strip(), row[two.at].strip()
                if a.upper() in ("", "NA", "NULL", "N/A") or b.upper() in ("", "NA", "NULL", "N/A"):
                    incomplete = True
                    continue
                pair = (one.system, _code(one, a, file, where), two.system, _code(two, b, file, where))
                if layout.kind == "conversion":
                    earlier = chosen.setdefault((two.system, pair[1]), pair[3])
                    if earlier != pair[3]:
                        raise InputRefused(
                            f"the conversion gives {one.system} {pair[1]} two codes of {two.system} "
                            f"({earlier} and {pair[3]})",
                            path=file.path,
                            where=where,
                            todo="a conversion has one target for a code: correct the file",
                        )
                found.add((*pair, layout.kind))
            blank += incomplete
    if not parts:
        return None
    if not found:
        raise InputRefused("the concordance holds no pair of codes", path=file.path, todo="download it again")
    columns = list(zip(*sorted(found), strict=True))
    arrays = [pa.array(c, pa.string()) for c in columns]
    table = pa.table([*arrays, pa.array([vintage] * len(found), pa.string())], schema=CONCORDANCE_SCHEMA)
    return table, _record(file, read, blank, f"{blank} rows lack one of the two codes" if blank else None)


def _vintage(file: SourceFile) -> str:
    return file.sidecar.release or f"undeclared:{file.sha256[:8]}"


def _record(file: SourceFile, read: int, refused: int, reason: str | None) -> SourceRecord:
    return SourceRecord(
        source="concordance",
        file=file.path.name,
        path=file.relative,
        vintage=_vintage(file),
        from_year=None,
        to_year=None,
        sha256=file.sha256,
        bytes=file.bytes,
        licence=file.sidecar.licence,
        producer=file.sidecar.producer,
        citation=file.sidecar.citation,
        url=file.sidecar.url,
        rows_read=read,
        rows_refused=refused,
        reason=reason,
    )


def read_concordances(inventory: Inventory) -> ConcordanceData:
    """Every concordance of a sources folder, in one table."""
    tables: list[pa.Table] = [CONCORDANCE_SCHEMA.empty_table()]
    records: list[SourceRecord] = []
    notes: list[str] = []
    for file in inventory.of("concordance"):
        got = read_concordance(file)
        if got is None:
            why = "its columns are not those of a concordance (HS5_6d, ISIC3_4d, ...)"
            records.append(_record(file, 0, 0, why))
            notes.append(f"{file.relative}: {why}")
        else:
            tables.append(got[0])
            records.append(got[1])
    return ConcordanceData(pa.concat_tables(tables), tuple(records), tuple(notes))


def pairs_between(table: pa.Table, from_system: str, to_system: str, kinds: Sequence[str] = KINDS) -> pa.Table | None:
    """The pairs that lead from one system to another; None where the table holds none.

    Of several kinds the first of ``kinds`` that is there is taken, whole. A conversion or unstated pairs are read in
    their own direction only: turned round they are another list with other gaps. A correlation states overlaps, so it
    is read from either side.

    Args:
        table: pairs of :data:`CONCORDANCE_SCHEMA`.
        from_system, to_system: ``HS17``, ``ISIC3``, ...
        kinds: kinds that may be used, best first.

    Returns:
        Columns of :data:`CONCORDANCE_SCHEMA`, sorted by code.

    Raises:
        InputRefused: two vintages of the same kind pair the two systems.
    """
    for kind in kinds:
        of_kind = table.filter(pc.equal(table["kind"], kind))

        def between(one: str, two: str, rows: pa.Table = of_kind) -> pa.Table:
            return rows.filter(pc.and_(pc.equal(rows["from_system"], one), pc.equal(rows["to_system"], two)))

        found = between(from_system, to_system)
        if not found.num_rows and kind == "correlation":
            other = between(to_system, from_system)
            found = other.select(
                ["to_system", "to_code", "from_system", "from_code", "kind", "vintage"]
            ).rename_columns(CONCORDANCE_SCHEMA.names)
        if not found.num_rows:
            continue
        vintages = sorted(set(found["vintage"].to_pylist()))
        if len(vintages) > 1:
            raise InputRefused(
                f"two concordances pair {from_system} with {to_system} ({' and '.join(vintages[:2])})",
                todo="keep one of the two files",
            )
        return found.cast(CONCORDANCE_SCHEMA).sort_by([("from_code", "ascending"), ("to_code", "ascending")])
    return None
