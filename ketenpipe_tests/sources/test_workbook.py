"""Workbooks: cells as a CSV would hold them, and what is no workbook."""

from __future__ import annotations

import datetime
import io
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import Workbook

from ketenpipe.errors import InputRefused
from ketenpipe.sources import workbook
from ketenpipe.sources.workbook import is_workbook, read_sheets, text


def book(sheets: dict[str, list[list[object]]], merged: dict[str, str] | None = None) -> bytes:
    """A workbook made with openpyxl, as bytes; ``merged`` joins a range of cells of a sheet."""
    made = Workbook()
    made.remove(made.active)
    for name, rows in sheets.items():
        sheet = made.create_sheet(name)
        for row in rows:
            sheet.append(row)
        if merged and name in merged:
            for cells in merged[name].split():
                sheet.merge_cells(cells)
    out = io.BytesIO()
    made.save(out)
    return out.getvalue()


def test_cells_as_text_and_rows_in_their_place(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    rows: list[list[object]] = [[None], [" x\xa0y ", 2022, 0.25, True, datetime.date(2024, 1, 2), None, "#N/A"]]
    path.write_bytes(book({"one": rows, "two": [["z"]]}))
    one, two = read_sheets(path)
    assert (one.name, two.name) == ("one", "two")
    assert one.text(1) == ["x y", "2022", "0.25", "TRUE", "2024-01-02", "", ""]
    assert not any(one.text(0))
    assert [sheet.name for sheet in read_sheets(path, wanted=lambda name: name == "two")] == ["two"]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_as_text_reads_back(value: float) -> None:
    assert float(text(value)) == value


def test_what_is_a_workbook_is_told_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(book({"one": [["a"]]}))
    assert is_workbook(path)
    with zipfile.ZipFile(tmp_path / "b.xlsx", "w") as archive:
        archive.writestr("a.csv", "a")
    assert not is_workbook(tmp_path / "b.xlsx")


def test_a_workbook_inside_a_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("in/a.xlsx", book({"one": [["a"]]}))
    assert [sheet.text(0) for sheet in read_sheets(tmp_path / "b.zip", "in/a.xlsx")] == [["a"]]


def test_what_is_no_workbook_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.xlsx"
    whole = book({"one": [["a"]]})
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputRefused, match="truncated or damaged"):
        list(read_sheets(path))
    path.write_bytes(b"\xd0\xcf\x11\xe0" + bytes(600))
    with pytest.raises(InputRefused, match=r"older \.xls or is protected by a password; save it as \.xlsx"):
        list(read_sheets(path))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.csv", "a")
    with pytest.raises(InputRefused, match="no readable Excel workbook"):
        list(read_sheets(path))
    path.write_bytes(whole)
    monkeypatch.setattr(workbook, "UNPACKED_LIMIT", 100)
    with pytest.raises(InputRefused, match="would unpack to"):
        list(read_sheets(path))
