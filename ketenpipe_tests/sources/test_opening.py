"""Containers: what a zip may hold, and that an entry gives the bytes that it states, no more and no less."""

from __future__ import annotations

import codecs
import gzip
import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ketenpipe.errors import InputRefused
from ketenpipe.sources import opening
from ketenpipe.sources.opening import check_zip, header_of, open_binary, read_text, zip_entries


def packed(path: Path, *entries: tuple[str | zipfile.ZipInfo, bytes], how: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, content in entries:
            archive.writestr(name, content, compress_type=how)
    return path


def refusal(path: Path) -> str:
    messages = set()
    for look in (check_zip, zip_entries):
        with pytest.raises(InputRefused) as refused:
            look(path)
        messages.add(str(refused.value))
    assert len(messages) == 1
    return messages.pop().removeprefix(f"{path}")


def test_an_ordinary_zip_is_taken(tmp_path: Path) -> None:
    path = packed(
        tmp_path / "a.zip", ("d/", b""), ("d/b.csv", b"x"), ("a..b.csv", b"y"), ("__MACOSX/._b", b""), (".DS", b"")
    )
    check_zip(path)
    assert zip_entries(path) == ["a..b.csv", "d/b.csv"]


@pytest.mark.parametrize(
    "name", ["../x.csv", "a/../../x", "/etc/passwd", "C:/x", "c:\\x", "..\\x", "a\\..\\x", "\\x", "\\\\host\\x", ".."]
)
def test_a_name_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    said = refusal(packed(tmp_path / "a.zip", ("good.csv", b"x"), (name, b"x")))
    assert said.endswith(": the name leads out of the zip; download it again; if it stays so, do not use it.")
    assert said.startswith(", zip entry ")


def test_a_name_twice_is_refused_with_either_slash(tmp_path: Path) -> None:
    for second in ("d/a.csv", "d\\a.csv"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("warnings.warn", lambda *a, **k: None)
            path = packed(tmp_path / "a.zip", ("d/a.csv", b"x"), (second, b"y"))
        assert ": the name stands twice in the zip" in refusal(path)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_a_link_or_device_is_refused(tmp_path: Path, kind: int) -> None:
    entry = zipfile.ZipInfo("a.csv")
    entry.external_attr = (kind | 0o644) << 16
    assert ", zip entry 'a.csv': the entry is a link or a device, no file" in refusal(
        packed(tmp_path / "a.zip", (entry, b"/etc/passwd"))
    )


def patched(path: Path, **fields: int) -> Path:
    """The zip with fields of its first entry changed, in the local header and in the directory."""
    raw = bytearray(path.read_bytes())
    directory = raw.index(b"PK\x01\x02")
    places = {"flags": (6, 8, "<H"), "crc": (14, 16, "<L"), "packed": (18, 20, "<L"), "size": (22, 24, "<L")}
    for field, value in fields.items():
        local, central, form = places[field]
        struct.pack_into(form, raw, local, value)
        struct.pack_into(form, raw, directory + central, value)
    path.write_bytes(raw)
    return path


def test_an_encrypted_entry_is_refused(tmp_path: Path) -> None:
    assert ": the entry is encrypted" in refusal(patched(packed(tmp_path / "a.zip", ("a.csv", b"x")), flags=1))


def test_absurd_sizes_are_refused_and_real_ones_pass_by_far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = packed(tmp_path / "a.zip", ("a.csv", b"0" * 100_000))
    said = refusal(patched(bomb, size=3_000_000_000))
    assert ", zip entry 'a.csv': the entry states 3000000000 bytes packed into" in said
    assert "no data packs like that" in said
    monkeypatch.setattr(opening, "ZIP_ENTRY_BYTES", 1 << 30)
    assert "states 3000000000 bytes, more than 1073741824" in refusal(bomb)
    assert "the zip is empty" in refusal(packed(tmp_path / "b.zip"))
    three = packed(tmp_path / "c.zip", *((f"{n}.csv", b"x" * 50) for n in range(3)))
    monkeypatch.setattr(opening, "ZIP_ENTRIES", 2)
    assert "the zip has 3 entries, more than 2" in refusal(three)
    monkeypatch.setattr(opening, "ZIP_ENTRIES", 3)
    monkeypatch.setattr(opening, "ZIP_TOTAL_BYTES", 149)
    assert "the entries state 150 bytes together, more than 149" in refusal(three)


def test_the_limits_pass_the_largest_real_files() -> None:
    """BACI HS92: 30 years of 400 MB in a zip of 3 GB, packed 5 to 15 times (FORMATS.md)."""
    assert opening.ZIP_ENTRY_BYTES >= 10 * 400_000_000
    assert opening.ZIP_TOTAL_BYTES >= 10 * 30 * 400_000_000
    assert opening.ZIP_RATIO >= 10 * 15


def test_entries_that_overlap_are_refused(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.zip", ("a.csv", b"x" * 100), how=zipfile.ZIP_STORED)
    assert "they overlap" in refusal(patched(path, packed=100_000, size=100_000))


def test_a_damaged_zip_is_named_under_its_own_name(tmp_path: Path) -> None:
    path = packed(tmp_path / "x.part", ("a.csv", b"x" * 1000))
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputRefused, match=r"^BACI\.zip: the file is truncated or damaged .* download it again\."):
        check_zip(path, named="BACI.zip")


@pytest.mark.parametrize("how", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
def test_an_entry_with_more_bytes_than_stated_is_refused_though_its_checksum_fits(tmp_path: Path, how: int) -> None:
    content = b"t,i,j,k,v,q\n" * 5000
    for stated in (0, 1, 12, len(content) - 1):
        path = packed(tmp_path / "a.zip", ("a.csv", content), how=how)
        patched(path, size=stated, crc=zlib.crc32(content[:stated]))
        with pytest.raises(InputRefused, match="truncated or damaged"):
            read_text(path, "a.csv")
        patched(path, crc=zlib.crc32(content[: stated + 1]))
        with pytest.raises(InputRefused) as refused:
            read_text(path, "a.csv")
        assert f"zip entry a.csv: the entry holds more than the {stated} bytes that the zip states" in str(
            refused.value
        )


def test_an_entry_with_fewer_bytes_than_stated_is_refused(tmp_path: Path) -> None:
    content = b"t,i,j,k,v,q\n" * 5000
    path = patched(packed(tmp_path / "a.zip", ("a.csv", content)), size=len(content) + 1)
    with pytest.raises(InputRefused, match=f"the entry holds {len(content)} bytes where the {len(content) + 1} bytes"):
        read_text(path, "a.csv")


def test_a_wrong_checksum_is_refused(tmp_path: Path) -> None:
    path = patched(packed(tmp_path / "a.zip", ("a.csv", b"hello" * 100)), crc=1)
    with pytest.raises(InputRefused, match=r"truncated or damaged .*CRC"):
        read_text(path, "a.csv")


@pytest.mark.parametrize(
    "read",
    [
        lambda s: s.read(),
        lambda s: b"".join(iter(lambda: s.read(7), b"")),
        lambda s: b"".join(s),
        lambda s: b"".join(iter(lambda: s.read1(100_000), b"")),
    ],
)
@settings(max_examples=20, deadline=None)
@given(content=st.binary(max_size=3000), times=st.integers(1, 800))
def test_every_way_of_reading_gives_the_content(
    read: Callable[[io.BufferedReader], bytes], content: bytes, times: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("zip") / "a.zip"
    for how in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        packed(path, ("a.csv", content * times), how=how)
        with open_binary(path, "a.csv") as stream:
            assert read(stream) == content * times  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("t,i,j\n1,2,3\n".encode("utf-16"), "the file is UTF-16, not UTF-8; save it as CSV in UTF-8."),
        (b"t,i,j\r1,2,3\r", "its lines end in a carriage return alone; use the file as downloaded."),
        (gzip.compress(b"t,i,j\n1,2,3\n", mtime=0), "the file is no text; unpack it, or download it again."),
        (b"\r\n\r\n", "the file is empty; download it again."),
    ],
)
def test_a_header_that_is_no_line_of_text_is_refused(tmp_path: Path, content: bytes, sentence: str) -> None:
    # packed once, so that what was packed twice is met as well
    (path := tmp_path / "a.csv.gz").write_bytes(gzip.compress(content))
    with pytest.raises(InputRefused) as refused:
        header_of(path)
    assert str(refused.value) == f"{path}: {sentence}"


def test_utf_16_with_its_mark_is_read_as_such(tmp_path: Path) -> None:
    (path := tmp_path / "a.csv").write_bytes("é,b\n".encode("utf-16"))
    assert read_text(path) == "é,b\n"
    path.write_bytes(codecs.BOM_UTF16_LE + b"a")
    with pytest.raises(InputRefused, match=r"a\.csv: not readable as UTF-16 \(truncated data\); download it again\."):
        read_text(path)
