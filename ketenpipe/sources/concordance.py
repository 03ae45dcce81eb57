"""Concordances between HS revisions, and from HS to ISIC or BEC, as pairs of codes.

Codes are strings; HS codes are padded to six characters, for code lists lose their leading zeros. A
concordance says which codes correspond, not in what proportion: forward and backward ones are no inverses,
    and weights are the caller's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import pyarrow as pa

from ketenpipe.errors import InputRefused
from ketenpipe.sources.opening import read_rows
from ketenpipe.sources.places import Inventory, SourceFile
from ketenpipe.sources.records import SourceRecord

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
CONCORDANCE_SCHEMA = pa.schema(
    [
        pa.field("from_system", pa.string(), nullable=False),
        pa.field("from_code", pa.string(), nullable=False),
        pa.field("to_system", pa.string(), nullable=False),
        pa.field("to_code", pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True)
class ConcordanceData:
    """Pairs of codes (:data:`CONCORDANCE_SCHEMA`), one record per file, and the files left out with the
    reason."""

    table: pa.Table
    records: tuple[SourceRecord, ...]
    notes: tuple[str, ...]


def _system(column: str) -> tuple[str, int] | None:
    found = re.fullmatch(r"(HS\d?|ISIC\d|BEC\d)_(\d)d", column.strip(), re.I)
    if not found:
        return None
    name = found.group(1).upper()
    return HS_NUMBERS.get(name, name), int(found.group(2))


def read_concordance(file: SourceFile) -> tuple[pa.Table, SourceRecord] | None:
    """The distinct pairs of the finest codes in a file; None if its columns are not those of a concordance.

    Raises:
        InputRefused: a code that is no code of its system.
    """
    header, lines = read_rows(file.path)
    finest: dict[str, tuple[int, int]] = {}
    for at, column in enumerate(header):
        system = _system(column)
        if system and system[1] > finest.get(system[0], (0, 0))[0]:
            finest[system[0]] = (system[1], at)
    if len(finest) != 2:
        return None
    (one, (one_digits, one_at)), (two, (two_digits, two_at)) = finest.items()
    pairs: set[tuple[str, str, str, str]] = set()
    blank = 0
    for line, row in lines:
        a, b = row[one_at].strip(), row[two_at].strip()
        if a in ("", "NA") or b in ("", "NA"):
            blank += 1
            continue
        for name, digits, code in ((one, one_digits, a), (two, two_digits, b)):
            if not re.fullmatch(r"[0-9A-Z]+", code) or len(code) > digits:
                raise InputRefused(f"'{code}' is no code of {name}", path=file.path, where=f"line {line}")
        pairs.add((one, _padded(one, a, one_digits), two, _padded(two, b, two_digits)))
    columns = list(zip(*sorted(pairs), strict=True)) or [(), (), (), ()]
    table = pa.table([pa.array(c, pa.string()) for c in columns], schema=CONCORDANCE_SCHEMA)
    record = SourceRecord(
        source="concordance",
        file=file.path.name,
        path=file.relative,
        vintage=file.sidecar.release or f"undeclared:{file.sha256[:8]}",
        from_year=None,
        to_year=None,
        sha256=file.sha256,
        bytes=file.bytes,
        licence=file.sidecar.licence,
        producer=file.sidecar.producer,
        citation=file.sidecar.citation,
        url=file.sidecar.url,
        rows_read=len(lines),
        rows_refused=blank,
        reason=f"{blank} rows lack one of the two codes" if blank else None,
    )
    return table, record


def _padded(system: str, code: str, digits: int) -> str:
    return code.zfill(digits) if system.startswith(("HS", "ISIC")) and code.isdigit() else code


def read_concordances(inventory: Inventory) -> ConcordanceData:
    """Every concordance of a sources folder, in one table."""
    tables: list[pa.Table] = [CONCORDANCE_SCHEMA.empty_table()]
    records: list[SourceRecord] = []
    notes: list[str] = []
    for file in inventory.of("concordance"):
        got = read_concordance(file)
        if got is None:
            notes.append(f"{file.relative}: its columns are not those of a concordance (HS5_6d, ISIC3_4d, ...)")
        else:
            tables.append(got[0])
            records.append(got[1])
    return ConcordanceData(pa.concat_tables(tables), tuple(records), tuple(notes))
