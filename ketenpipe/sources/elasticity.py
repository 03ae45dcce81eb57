"""Trade elasticities per HS6 product: CEPII's ProTEE (Fontagné, Guimbard and Orefice 2022).

The file is a CSV with the columns ``HS6, sigma, zero, positive`` (``Elasticity`` for ``sigma`` on CEPII's page), plain
or in a zip, in HS 2007. ``sigma`` is the elasticity of imports to the tariff: negative, and minus the elasticity of
substitution between the product's origins. ``zero`` marks what is not significant at 1 %, ``positive`` what came out
positive. CEPII's page says that in both cases the mean of the HS4 heading stands in the column; notes of people who
load the file say that most of those cells are empty. Both are read, neither is taken for an estimate of the product.

Belongs here: reading. Does not belong here: what is low, and codes of another HS revision.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

import pyarrow as pa

from ketenpipe.errors import InputRefused
from ketenpipe.sources.opening import magic, number, place, read_rows, zip_entries
from ketenpipe.sources.places import Inventory, SourceFile
from ketenpipe.sources.records import SourceRecord
from ketenpipe.tables.registry import ELASTICITY

HS_REVISION = "HS07"
"""The revision of ProTEE 0.1; a sidecar that states another one is believed."""
_FIGURE = ("sigma", "elasticity")
_BLANK = ("", "na", "nan", ".", "null")
_VERSION = re.compile(r"protee[_ -]?(\d+)[._](\d+)", re.I)


@dataclass(frozen=True)
class ElasticityData:
    """The elasticities of a sources folder (contract ``elasticity``), a record per file, and what to know."""

    table: pa.Table
    records: tuple[SourceRecord, ...]
    notes: tuple[str, ...]


def read_elasticity(inventory: Inventory) -> ElasticityData:
    """Reads the file of trade elasticities of a sources folder.

    Codes that have lost their leading zero are padded (they are a code list, not flows), which is told. The vintage is
    the sidecar's release, else the version in the file's name, else ``undeclared:`` and the beginning of its hash.

    Returns:
        An empty table where the folder has no such file.

    Raises:
        InputRefused: two files, an unknown layout, text for a figure, a mark that is neither 0 nor 1, a code that is
            none or that stands twice, a file without a row.
    """
    files = inventory.of("elasticity")
    if not files:
        return ElasticityData(ELASTICITY.empty(), (), ())
    if len(files) > 1:
        raise InputRefused(
            f"there are {len(files)} files of trade elasticities ({', '.join(f.relative for f in files)})",
            path=files[1].path,
            todo="keep one of them",
        )
    (file,) = files
    entry = _entry(file)
    rows, padded = _rows(file, entry)
    count = Counter(_state(row) for row in rows)
    reasons = [f"{padded} codes were padded to six digits"] if padded else []
    reasons += [f"{count[state]} products {what}" for state, what in _STATES if count[state]]
    record = SourceRecord(
        source="elasticity",
        file=file.path.name,
        path=file.relative if entry is None else f"{file.relative}!{entry}",
        vintage=str(rows[0]["vintage"]),
        from_year=None,
        to_year=None,
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
    return ElasticityData(ELASTICITY.conform(rows), (record,), tuple(f"{file.relative}: {r}" for r in reasons))


_STATES = (
    ("not_significant", "have no significant elasticity"),
    ("positive", "have a positive elasticity"),
)


def _state(row: dict[str, object]) -> str:
    """What a row is good for: ``usable``, ``not_significant`` (also without a figure) or ``positive``."""
    value = row["elasticity"]
    if not row["significant"] or value is None:
        return "not_significant"
    return "positive" if row["positive"] or float(str(value)) >= 0.0 else "usable"


def _entry(file: SourceFile) -> str | None:
    if magic(file.path) != "zip":
        return None
    found = [name for name in zip_entries(file.path) if name.lower().endswith(".csv")]
    if len(found) != 1:
        raise InputRefused(f"the zip holds {len(found)} CSV files where one is expected", path=file.path)
    return found[0]


def _rows(file: SourceFile, entry: str | None) -> tuple[list[dict[str, object]], int]:
    """The rows of contract ``elasticity``, and how many codes were padded."""
    header, lines = read_rows(file.path, entry)
    at = {name.strip().strip('"').lower(): column for column, name in enumerate(header)}
    figure = next((name for name in _FIGURE if name in at), None)
    missing = [name for name in ("hs6", "zero", "positive") if name not in at] + ([] if figure else ["sigma"])
    if figure is None or missing:
        raise InputRefused(
            f"column '{missing[0]}' is missing (found: {', '.join(header)})", path=place(file.path, entry)
        )
    named = _VERSION.search(entry or file.path.name)
    stated = f"ProTEE {named.group(1)}.{named.group(2)}" if named else None
    common = {
        "hs_revision": (file.sidecar.hs_revision or HS_REVISION).upper(),
        "vintage": file.sidecar.release or stated or f"undeclared:{file.sha256[:8]}",
    }
    rows: list[dict[str, object]] = []
    seen: dict[str, int] = {}
    padded = 0
    for line, cells in lines:

        def refused(what: str, line: int = line) -> InputRefused:
            return InputRefused(what, path=place(file.path, entry), where=f"line {line}")

        code, text = cells[at["hs6"]].strip(), cells[at[figure]].strip()
        if not re.fullmatch(r"\d{5,6}", code, re.ASCII):
            raise refused(f"'{code}' is no HS6 code")
        padded += len(code) == 5
        code = code.zfill(6)
        if (first := seen.setdefault(code, line)) != line:
            raise refused(f"the code {code} stands on line {first} already")
        marks = {name: cells[at[name]].strip() for name in ("zero", "positive")}
        for name, mark in marks.items():
            if number(mark) not in (0.0, 1.0):
                raise refused(f"{name} is '{mark}', which is neither 0 nor 1")
        value = None if text.lower() in _BLANK else number(text)
        if value is None and text.lower() not in _BLANK:
            raise refused(f"the elasticity '{text}' is no number")
        rows.append(
            {
                **common,
                "code": code,
                "elasticity": value,
                "significant": number(marks["zero"]) == 0.0,
                "positive": number(marks["positive"]) == 1.0,
            }
        )
    if not rows:
        raise InputRefused("the file holds no product", path=place(file.path, entry), todo="download it again")
    return rows, padded
