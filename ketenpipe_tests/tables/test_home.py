"""What names a home, and a folder as one: the S3 half is proven in integration/test_s3.py."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from ketenpipe.errors import HomeLocked, WrongUse
from ketenpipe.tables.home import LocalPlace, Overtaken, S3Place, default_work, is_remote, place_of


def remote(name: str | Path) -> S3Place:
    place = place_of(name, Path("work"))
    assert isinstance(place, S3Place)
    return place


@pytest.mark.parametrize("name", ["data", "/a/b", Path("s3"), Path("x/s3:/y"), "s3data"])
def test_a_folder(name: str | Path) -> None:
    place = place_of(name)
    assert isinstance(place, LocalPlace)
    assert not is_remote(name)
    assert not is_remote(place)
    assert place.path() == place.work == Path(name)
    assert place_of(place) is place


@pytest.mark.parametrize(
    ("name", "text", "endpoint", "region"),
    [
        ("s3://bucket", "s3://bucket", None, None),
        ("s3://bucket/a//b/", "s3://bucket/a/b", None, None),
        ("s3://bucket/a?region=eu-west-1", "s3://bucket/a", None, "eu-west-1"),
        ("s3://bucket/a?endpoint_override=host:9000", "s3://bucket/a", "https://host:9000", None),
        ("s3://bucket/a?endpoint_override=host:9000&scheme=http", "s3://bucket/a", "http://host:9000", None),
        ("s3://bucket/a?endpoint_override=http://host:9000/", "s3://bucket/a", "http://host:9000", None),
    ],
)
def test_an_s3_home(name: str, text: str, endpoint: str | None, region: str | None) -> None:
    # As a path swallows one of two slashes, the name is understood either way.
    for given in (name, Path(name)):
        place = remote(given)
        assert is_remote(given)
        assert is_remote(place)
        assert str(place) == text
        assert (place.bucket.endpoint, place.bucket.region) == (endpoint, region)
    assert place.sub("releases").text("latest.json") == f"{text}/releases/latest.json"
    assert place.key("x").removeprefix(text.removeprefix("s3://")) == "/x"
    assert place.sub("releases").work == Path("work/releases")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("s3://", r"names no bucket; a home on an S3 store is named s3://bucket/prefix"),
        ("s3:", r"names no bucket"),  # what a path makes of s3://
        ("s3://UPPER/x", r"names no bucket"),
        ("s3://key:secret@bucket/x", r"^a home on an S3 store is named without credentials; set AWS_ACCESS_KEY_ID"),
        (
            "s3://bucket/x?secret_key=a",
            r"has the option secret_key; an S3 home takes endpoint_override, region",
        ),
        ("s3://bucket/x?scheme=ftp", r"has the scheme 'ftp'; take http or https"),
        ("s3://bucket/x/../y", r"has '\.\.' in its prefix"),
        ("s3://bucket/x#y", r"names no bucket"),
    ],
)
def test_an_address_that_cannot_be_taken(name: str, words: str) -> None:
    with pytest.raises(WrongUse, match=words) as caught:
        place_of(name)
    assert "key:secret" not in str(caught.value)


def test_the_working_folder_is_one_per_address() -> None:
    folders = {default_work(f"s3://{n}") for n in ("bucket/a", "bucket/b", "bucket/a?region=x", "bucket-a")}
    assert len(folders) == 4
    assert all(f.parent == Path.home() / ".cache" / "ketenpipe" for f in folders)


def test_files_of_a_folder(tmp_path: Path) -> None:
    place = LocalPlace(tmp_path)
    assert place.look("a/x") is None
    assert place.entry("a/x") is None
    assert place.files("a") == place.folders("a") == []
    with pytest.raises(FileNotFoundError):
        place.read("a/x")
    place.write("a/x", b"one")
    place.write("a/b/y", b"two")
    with place.replacing("z") as temporary:
        temporary.write_bytes(b"three")
    assert place.files() == ["a/b/y", "a/x", "z"]
    assert place.files("a") == ["a/b/y", "a/x"]
    assert (place.folders(), place.folders("a"), place.folders("z")) == (["a"], ["b"], [])
    assert place.sub("a").files() == ["b/y", "x"]
    assert place.read("z") == b"three"
    assert place.sha256("z") == hashlib.sha256(b"three").hexdigest()
    place.delete("z")
    place.delete("z")
    place.delete_folder("a")
    assert place.files() == []
    assert place.entry("z/under/a/file") is None


def test_a_change_in_place_moves_the_stamp(tmp_path: Path) -> None:
    place = LocalPlace(tmp_path)
    place.write("x", b"one")
    before = place.entry("x")
    assert before is not None
    kept = (tmp_path / "x").stat()
    (tmp_path / "x").write_bytes(b"two")
    os.utime(tmp_path / "x", ns=(kept.st_atime_ns, kept.st_mtime_ns))
    after = place.entry("x")
    assert after is not None
    assert (before.size, before.changed) == (after.size, after.changed)
    assert before.stamp != after.stamp


def test_a_write_on_a_condition(tmp_path: Path) -> None:
    place = LocalPlace(tmp_path)
    place.put_if("x", b"one", None)
    with pytest.raises(Overtaken, match=r"x: somebody else wrote it in between\."):
        place.put_if("x", b"two", None)
    found = place.look("x")
    assert found is not None
    place.append_if("x", found[0], b"more", found[1])
    assert place.read("x") == b"onemore"
    for write in (lambda: place.put_if("x", b"two", found[1]), lambda: place.append_if("x", b"one", b"?", found[1])):
        with pytest.raises(Overtaken):
            write()
    assert place.read("x") == b"onemore"


def test_one_at_a_time(tmp_path: Path) -> None:
    one, two = LocalPlace(tmp_path), LocalPlace(tmp_path)
    with one.exclusively(".lock", 1, "busy"), pytest.raises(HomeLocked, match=r"^busy$"):
        two.exclusively(".lock", 0, "busy").__enter__()
    with two.exclusively(".lock", 0, "busy"):
        pass


def test_a_folder_appears_whole_and_once(tmp_path: Path) -> None:
    place = LocalPlace(tmp_path)
    drafts = [place.draft(), place.draft()]
    for draft in drafts:
        (draft / "sub").mkdir()
        (draft / "sub" / "x").write_bytes(b"x")
    place.settle(drafts[0], "done", first="sub/x", last="sub/x")
    assert place.files("done") == ["done/sub/x"]
    assert not os.access(tmp_path / "done/sub/x", os.W_OK) or os.geteuid() == 0
    with pytest.raises(Overtaken, match="it is there already"):
        place.settle(drafts[1], "done", first="sub/x", last="sub/x")
    assert place.unfinished("x") == [drafts[1].name]
