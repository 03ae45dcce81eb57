"""Reads Excel workbooks (.xlsx) as rows of cells, and names what is damaged.

Belongs here: opening, cells to text, which row is a header. Does not belong here: what the columns mean. The reader is
python-calamine (MIT): it took 1.6 s where openpyxl's read-only mode took 13.9 s for a made-up workbook of the size of
the World Bank's governance file (17 MB, 1.4 million cells). Only computed values are seen: a formula that no program
has ever evaluated, and a cell that shows an error such as ``#N/A``, is blank.
"""

from __future__ import annotations

import datetime
import io
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from python_calamine import CalamineError, CalamineWorkbook, PasswordError, SheetTypeEnum

from ketenpipe.errors import InputRefused
from ketenpipe.sources.opening import magic, open_binary, refuse_damaged, zip_entries

Cell = int | float | str | bool | datetime.date | datetime.time | datetime.datetime | datetime.timedelta
#: A workbook that would unpack to more than this is not opened (bytes).
UNPACKED_LIMIT = 1 << 30


@dataclass(frozen=True)
class Sheet:
    """One worksheet: ``rows[i]`` is the sheet's row ``i + 1``; blank cells are empty strings."""

    name: str
    rows: list[list[Cell]]

    def text(self, at: int) -> list[str]:
        """The cells of row ``at + 1`` as text."""
        return [text(cell) for cell in self.rows[at]]


def text(cell: Cell) -> str:
    """A cell as a CSV file would hold it: blanks around it dropped, whole numbers without a decimal point."""
    if isinstance(cell, bool):
        return "TRUE" if cell else "FALSE"
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() and abs(cell) < 1e15 else repr(cell)
    return str(cell).replace("\xa0", " ").strip()


def is_workbook(path: Path) -> bool:
    """Whether a file is an Excel workbook by its content: a zip that holds ``xl/workbook.xml``."""
    return magic(path) == "zip" and any(name.lower() == "xl/workbook.xml" for name in zip_entries(path))


def read_sheets(
    path: Path, entry: str | None = None, wanted: Callable[[str], bool] = lambda name: True
) -> Iterator[Sheet]:
    """The worksheets of a workbook in their order, one at a time.

    Args:
        path: the workbook, or the zip that holds it.
        entry: the workbook's place inside the zip.
        wanted: which sheets, by name; the others are not read.

    Raises:
        InputRefused: no workbook, damaged, protected by a password, an older ``.xls``, or absurdly large.
    """
    place = f"zip entry {entry}" if entry else None
    with open_binary(path, entry) as stream:
        raw = stream.read()
    if raw[:4] == b"\xd0\xcf\x11\xe0":
        raise InputRefused(
            "the workbook is an older .xls or is protected by a password",
            path=path,
            where=place,
            todo="save it as .xlsx without a password",
        )
    try:
        with refuse_damaged(path, entry), zipfile.ZipFile(io.BytesIO(raw)) as archive:
            size = sum(item.file_size for item in archive.infolist())
        if size > UNPACKED_LIMIT:
            raise InputRefused(
                f"the workbook would unpack to {size / 2**20:,.0f} MB, more than {UNPACKED_LIMIT / 2**20:,.0f} MB",
                path=path,
                where=place,
                todo="check where it comes from",
            )
        book = CalamineWorkbook.from_filelike(io.BytesIO(raw))
        for sheet in book.sheets_metadata:
            if sheet.typ is SheetTypeEnum.WorkSheet and wanted(sheet.name):
                yield Sheet(sheet.name, book.get_sheet_by_name(sheet.name).to_python(skip_empty_area=False))
    except PasswordError as locked:
        raise InputRefused(
            "the workbook is protected by a password", path=path, where=place, todo="save it without one"
        ) from locked
    except CalamineError as damage:
        raise InputRefused(
            f"the file is no readable Excel workbook ({str(damage).rstrip('.')})",
            path=path,
            where=place,
            todo="download it again",
        ) from damage
