"""Fetching plain files: what changed is kept, what is broken is refused, what is interrupted goes on."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ketenpipe.errors import DiskFull, InputRefused, KetenpipeError, UpstreamFailed, WrongUse
from ketenpipe.sources.archive import Archive
from ketenpipe.sources.fetch import (
    Downloaded,
    Fetched,
    Unchanged,
    download,
    fetch_files,
    raise_if_failed,
    status,
    take_by_hand,
)
from ketenpipe.sources.http import Http
from ketenpipe.sources.places import embedded
from ketenpipe.sources.upstreams import Upstreams, load_upstreams
from ketenpipe.tables.lock import home_lock
from ketenpipe_tests.upstream.server import Asked, File, Reply, Upstream, upstream

ZIP = "/ICIO/2025/2016-2022_SML.zip"
BACI = "/baci/data/BACI_HS17_V202501.zip"
PAGE = "/baci/doc/page.html"
WGI = "/v2/country/all/indicator/GOV_WGI_PV.EST"


def a_zip(name: str, *, size: int = 3000, seed: int = 1) -> bytes:
    """A small zip of bytes that do not pack, so that its length is near ``size``."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as packed:
        packed.writestr(zipfile.ZipInfo(name), random.Random(seed).randbytes(size))
    return sink.getvalue()


def wgi_answer(count: int = 2, **info: object) -> bytes:
    row = {"indicator": {"id": "GOV_WGI_PV.EST"}, "countryiso3code": "NLD", "value": 0.7}
    rows = [{**row, "date": str(2020 + n)} for n in range(count)]
    return json.dumps([{"page": 1, "pages": 1, "total": count, "lastupdated": "2025-11-05", **info}, rows]).encode()


CONFIG = """
[[file]]
source = "baci"
slot = "baci/HS17"
newest_of = { page = "@/baci/doc/page.html", pattern = 'BACI_HS17_(V\\d{6}[a-z]?)\\.zip' }
hs_revision = "HS17"
licence = "Etalab"
producer = "CEPII"
citation = "Gaulier"
stale_after_days = 45

[[file]]
source = "icio"
slot = "icio/SML_2016-2022"
url = "@/ICIO/2025/2016-2022_SML.zip"
label = "2025"
vintages = [{ vintage = "OECD ICIO 2025", from_year = 2016, to_year = 2022 }]
stale_after_days = 45

[[file]]
source = "wgi"
slot = "wgi/PV"
url = "@/v2/country/all/indicator/GOV_WGI_PV.EST?source=3&format=json"
name = "GOV_WGI_PV.EST.json"
label_key = "lastupdated"
vintages = [{ vintage = "WGI as updated {label}", from_year = 1996, to_year = 2100 }]
stale_after_days = 45

[[file]]
source = "mining"
slot = "mining/wmd"
url = "@/wmd/world.csv"
stale_after_days = 45

[[file]]
source = "mining"
slot = "mining/usgs"
url = "@/usgs/mcs.csv.gz"
stale_after_days = 45
enabled = false
"""


class World:
    """A home, the stand-in that it fetches from, and what was told on the way."""

    def __init__(self, home: Path, server: Upstream) -> None:
        self.server, self.home = server, home
        self.told: list[tuple[object, ...]] = []
        self.now = datetime(2026, 11, 5, 12, tzinfo=UTC)
        reference = home / "reference"
        reference.mkdir(parents=True)
        (reference / "upstreams.toml").write_text(CONFIG.replace("@", server.url))
        self.upstreams: Upstreams = load_upstreams(reference)
        self.http = Http(retries=3, backoff=0.0, connect_seconds=5, read_seconds=5)
        server.serve(PAGE, File(b'<a href="../data/BACI_HS17_V202501.zip">HS17</a>', "text/html"))
        server.serve(BACI, a_zip("BACI_HS17_Y2022_V202501.csv"))
        server.serve(ZIP, a_zip("2022_SML.csv"))
        server.serve(WGI, File(wgi_answer(), "application/json"))
        server.serve("/wmd/world.csv", b"country,year\nNLD,2022\n")
        server.serve("/usgs/mcs.csv.gz", gzip.compress(b"a,b\n1,2\n"))

    @property
    def archive(self) -> Archive:
        def clock() -> datetime:
            self.now += timedelta(seconds=1)
            return self.now

        return Archive(self.home, clock)

    @property
    def parts(self) -> list[Path]:
        return sorted((self.home / "raw" / ".partial").glob("*"))

    def start(self, slot: str, total_bytes: int | None) -> None:
        self.told.append(("start", slot, total_bytes))

    def advance(self, count: int) -> None:
        self.told.append(("advance", count))

    def done(self, slot: str, sentence: str) -> None:
        self.told.append(("done", slot, sentence))

    def fetch(self, *which: str) -> dict[str, Fetched]:
        results = fetch_files(self.archive, self.upstreams, self.http, which or None, self)
        return {r.slot: r for r in results}

    def one(self, slot: str = "icio/SML_2016-2022") -> Fetched:
        return self.fetch(slot)[slot]

    def files(self) -> dict[str, bytes]:
        """What the archive holds, without the moments that no two runs share."""
        found = {}
        for path in sorted((self.home / "raw").rglob("*")):
            relative = path.relative_to(self.home / "raw")
            if path.is_file() and not relative.as_posix().startswith("."):
                raw = path.read_bytes()
                if path.name.endswith(".meta.json"):
                    sidecar = json.loads(raw)
                    assert sidecar.pop("retrieved_at")
                    raw = json.dumps(sidecar).encode()
                found[relative.as_posix()] = raw
        return found


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with upstream() as server:
        yield World(tmp_path / "home", server)


# What is fetched ------------------------------------------------------------------------------------------------------


def test_every_row_that_is_on_is_fetched_with_its_provenance(world: World) -> None:
    results = world.fetch()
    assert [(r.slot, r.state) for r in results.values()] == [
        ("baci/HS17", "new"),
        ("icio/SML_2016-2022", "new"),
        ("wgi/PV", "new"),
        ("mining/wmd", "new"),
    ]
    raise_if_failed(list(results.values()))
    files = {slot: r.file for slot, r in results.items()}
    digest = hashlib.sha256(world.server.files[BACI].content).hexdigest()[:12]
    baci = files["baci/HS17"]
    assert baci is not None
    assert baci.relative == f"baci/V202501-{digest}/BACI_HS17_V202501.zip"
    assert baci.sidecar.url == world.server.url + BACI
    assert (baci.sidecar.release, baci.sidecar.hs_revision, baci.sidecar.licence) == ("V202501", "HS17", "Etalab")
    assert baci.last_modified == "Tue, 14 Nov 2023 22:13:20 GMT"
    wgi = files["wgi/PV"]
    assert wgi is not None
    assert wgi.label == "2025-11-05"
    assert wgi.sidecar.vintage_of(2019) == "WGI as updated 2025-11-05"
    assert files["mining/wmd"].label == "2026-11"  # type: ignore[union-attr]
    assert files["mining/wmd"].sidecar.licence == "not stated by the source"  # type: ignore[union-attr]
    inventory = world.archive.inventory(world.upstreams)
    assert [f.source for f in inventory.files] == ["baci", "icio", "mining", "wgi"]
    assert inventory.files[0].release == "V202501"
    assert not world.archive.verify()
    assert not world.parts
    assert results["baci/HS17"].sentence == (
        f"BACI_HS17_V202501.zip: new, {baci.bytes / 1000:.1f} kB, kept as V202501-{digest}."
    )


def test_progress_counts_the_bytes_of_each_slot(world: World) -> None:
    world.fetch("icio")
    size = len(world.server.files[ZIP].content)
    assert world.told[0] == ("start", "icio/SML_2016-2022", size)
    assert sum(t[1] for t in world.told if t[0] == "advance") == size  # type: ignore[misc]
    assert world.told[-1][:2] == ("done", "icio/SML_2016-2022")


@pytest.mark.parametrize("etag", [True, False])
def test_an_unchanged_file_is_not_sent_again_and_makes_nothing(world: World, etag: bool) -> None:
    for path in (BACI, ZIP, WGI, "/wmd/world.csv"):
        world.server.files[path].etag = etag
    first = world.fetch()
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in world.home.rglob("*.meta.json")}
    folders = sorted(world.home.glob("raw/*/*"))
    checked = world.archive.checked_at("icio/SML_2016-2022")
    world.told.clear()
    again = world.fetch()
    assert {r.state for r in again.values()} == {"unchanged"}
    assert [r.bytes for r in again.values()] == [0, 0, 0, 0]
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in world.home.rglob("*.meta.json")} == before
    assert sorted(world.home.glob("raw/*/*")) == folders
    assert world.archive.checked_at("icio/SML_2016-2022") > str(checked)
    assert not [t for t in world.told if t[0] == "start"]
    assert again["wgi/PV"].file == first["wgi/PV"].file
    assert again["icio/SML_2016-2022"].sentence.startswith("2016-2022_SML.zip: unchanged since 2026-11-05 (2025-")


def test_without_any_validator_the_bytes_are_compared(world: World) -> None:
    world.server.files[ZIP].etag, world.server.files[ZIP].modified = False, None
    assert world.one().state == "new"
    before = world.files()
    again = world.one()
    assert (again.state, again.bytes) == ("unchanged", len(world.server.files[ZIP].content))
    assert world.files() == before
    assert not world.parts


def test_the_same_bytes_under_a_new_date_are_asked_for_once_more_only(world: World) -> None:
    world.server.files[ZIP].etag = False
    assert world.one().state == "new"
    world.server.files[ZIP].modified = 1_800_000_000.0
    assert [(r.state, r.bytes > 0) for r in (world.one(), world.one())] == [("unchanged", True), ("unchanged", False)]


def test_changed_content_under_the_same_name_is_a_new_vintage_and_told(world: World) -> None:
    first = world.one()
    world.server.serve(ZIP, a_zip("2022_SML.csv", seed=2))
    second = world.one()
    assert second.state == "changed"
    assert second.file is not None
    assert first.file is not None
    assert second.sentence == (
        f"2016-2022_SML.zip: its content changed under the same name, {first.file.vintage} is now "
        f"{second.file.vintage}."
    )
    assert first.file.path.exists()
    assert world.archive.current()["icio/SML_2016-2022"] == second.file
    world.server.serve(ZIP, a_zip("2022_SML.csv"))
    back = world.one()
    assert (back.state, back.file) == ("changed", first.file)


def test_a_new_release_on_the_page_needs_no_configuration(world: World) -> None:
    world.one("baci/HS17")
    world.server.serve(
        PAGE,
        b'<a href="../data/BACI_HS17_V202501.zip">a</a><a href="../data/BACI_HS17_V202501b.zip">b</a>'
        b'<a href="../data/BACI_HS92_V202601.zip">c</a>',
    )
    world.server.serve("/baci/data/BACI_HS17_V202501b.zip", a_zip("BACI_HS17_Y2022_V202501b.csv", seed=9))
    result = world.one("baci/HS17")
    assert result.sentence.startswith("BACI_HS17_V202501b.zip: V202501b replaces V202501, kept as V202501b-")
    assert [f.release for f in world.archive.inventory(world.upstreams).of("baci")] == ["V202501b"]


def test_a_page_without_the_file_is_named(world: World) -> None:
    world.server.serve(PAGE, b"<p>maintenance")
    result = world.one("baci/HS17")
    assert result.sentence == (
        f"{world.server.url}{PAGE}: the page links to no file like BACI_HS17_(V\\d{{6}}[a-z]?)\\.zip; "
        "look at the page and correct newest_of of baci/HS17 in upstreams.toml."
    )


def test_one_that_fails_does_not_stop_the_others(world: World) -> None:
    world.server.misbehave("status", "/ICIO", status=404, times=None)
    world.server.misbehave("status", "/wmd", status=500, times=None)
    results = world.fetch()
    assert {slot: r.state for slot, r in results.items()} == {
        "baci/HS17": "new",
        "icio/SML_2016-2022": "failed",
        "wgi/PV": "new",
        "mining/wmd": "failed",
    }
    with pytest.raises(UpstreamFailed, match=r"^2 of 4 files were not fetched: icio/SML_2016-2022: .*; mining/wmd: "):
        raise_if_failed(list(results.values()))
    with pytest.raises(UpstreamFailed, match=r"there is no such file, the server answered 404"):
        raise_if_failed([r for r in results.values() if r.source != "mining"])
    raise_if_failed([r for r in results.values() if r.state == "new"])


def test_an_optional_file_that_a_server_refuses_stops_nothing(world: World) -> None:
    rows = [r.model_copy(update={"optional": r.source == "icio"}) for r in world.upstreams.files]
    upstreams = world.upstreams.model_copy(update={"files": tuple(rows)})
    world.server.misbehave("status", ZIP, times=None, status=403)
    results = fetch_files(world.archive, upstreams, world.http)
    (refused,) = [r for r in results if r.state == "failed"]
    assert refused.excused
    assert "optional: what rests on it is left out" in refused.sentence
    raise_if_failed(results)
    with pytest.raises(UpstreamFailed, match="may refuse programs"):
        raise_if_failed(fetch_files(world.archive, upstreams, world.http, ["icio"]))
    world.server.behave()
    world.server.misbehave("status", ZIP, times=None, status=500)
    with pytest.raises(UpstreamFailed, match="500"):
        raise_if_failed(fetch_files(world.archive, upstreams, world.http))


def test_a_name_that_is_not_configured_is_wrong_use(world: World) -> None:
    with pytest.raises(WrongUse, match="no source or slot 'bacci'"):
        world.fetch("bacci")


# What goes wrong ------------------------------------------------------------------------------------------------------


def tampered(change: Callable[[Upstream], object], said: str, *, held: bool = False) -> object:
    return pytest.param(change, said, held)


@pytest.mark.parametrize(
    ("change", "said", "held"),
    [
        tampered(
            lambda s: s.misbehave("status", ZIP, status=429, headers={"Retry-After": "7200"}, times=None),
            "the server answered 429 (Too Many Requests) and asks to come back in 2 hours; run it again after ",
        ),
        tampered(
            lambda s: s.misbehave("status", ZIP, status=500, times=None),
            "the server answered 500 (Internal Server Error) 4 times; it usually passes: try again later.",
        ),
        tampered(
            lambda s: s.misbehave("status", ZIP, status=404, times=None),
            "there is no such file, the server answered 404 (Not Found); correct the address in upstreams.toml.",
        ),
        tampered(
            lambda s: s.misbehave("status", ZIP, status=403, times=None),
            "the server answered 403 (Forbidden): it may refuse programs and serve browsers; download it with a "
            "browser and hand it over (ketenpipe sources fetch SLOT --file FILE); by_hand = true in its row of "
            "upstreams.toml ends the asking.",
        ),
        tampered(lambda s: s.misbehave("drop", ZIP, times=None), "closed the connection without an answer"),
        tampered(
            lambda s: s.handle(ZIP, lambda a: Reply(302, headers={"Location": ZIP})) or s.files.pop(ZIP),
            "redirected in a circle.",
        ),
        tampered(
            lambda s: s.misbehave("truncated", ZIP, after=0, times=None),
            "the connection keeps breaking off after 0 bytes of 3.1 kB, and there is nothing to go on by; "
            "try again later, it begins from zero.",
        ),
        tampered(
            lambda s: [s.misbehave("truncated", ZIP, after=1000), s.misbehave("truncated", ZIP, after=0, times=None)],
            "the connection keeps breaking off after 1.0 kB of 3.1 kB; what came is kept, run it again and it goes on "
            "there.",
            held=True,
        ),
        tampered(
            lambda s: s.misbehave("wrong_length", ZIP, after=5, times=None),
            "the connection keeps breaking off after 3.1 kB of 3.1 kB, and there is nothing to go on by; ",
        ),
        tampered(
            lambda s: s.serve(ZIP, File(b"<!DOCTYPE html>\n<html><title>Under\n maintenance</title>", "text/html")),
            "an HTML page ('Under maintenance') came instead of a zip file; look at the address with a browser, or try "
            "again later.",
        ),
        tampered(lambda s: s.serve(ZIP, b""), "the file is empty; "),
        tampered(
            lambda s: s.serve(ZIP, b"<?xml version='1.0'?><Error>"), "an XML message came instead of a zip file; "
        ),
        tampered(
            lambda s: s.serve(ZIP, a_zip("../up.csv")),
            "what came is refused: 2016-2022_SML.zip, zip entry '../up.csv': the name leads out of the zip",
        ),
        tampered(
            lambda s: s.serve(ZIP, a_zip("a.csv")[:-40]),
            "what came is refused: 2016-2022_SML.zip: the file is truncated or damaged",
        ),
    ],
)
def test_what_the_user_sees_of_a_broken_file(
    world: World, change: Callable[[Upstream], object], said: str, held: bool
) -> None:
    change(world.server)
    result = world.one()
    assert result.state == "failed"
    assert said in result.sentence
    assert result.sentence.startswith(f"{world.server.url}{ZIP}: ")
    assert world.told[-1] == ("done", "icio/SML_2016-2022", result.sentence)
    assert world.files() == {}
    assert bool([p for p in world.parts if p.suffix == ".part"]) == held
    # Once upstream is well, the next run gets the file whole.
    world.server.behave()
    world.server.handlers.clear()
    world.server.serve(ZIP, a_zip("2022_SML.csv"))
    assert world.one().state == "new"
    assert not world.parts


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.misbehave("status", ZIP, status=429, headers={"Retry-After": "1"}),
        lambda s: s.misbehave("status", ZIP, status=500, times=3),
        lambda s: s.misbehave("drop", ZIP, times=2),
        lambda s: s.misbehave("truncated", ZIP, after=0, times=2),
        lambda s: s.misbehave("truncated", ZIP, after=300, times=9),
        lambda s: s.misbehave("wrong_length", ZIP, after=7),
        lambda s: [s.misbehave("truncated", ZIP, after=1200), s.misbehave("no_ranges", ZIP)],
        lambda s: [s.misbehave("truncated", ZIP, after=1200), s.misbehave("status", ZIP, status=503)],
        lambda s: [s.misbehave("truncated", ZIP, after=1200), s.misbehave("status", ZIP, status=416)],
        lambda s: [
            s.misbehave("truncated", ZIP, after=1200),
            s.misbehave("status", ZIP, status=206, body=b"lie", headers={"Content-Range": "bytes 9-11/12"}),
        ],
        lambda s: [
            s.misbehave("truncated", ZIP, after=1200),
            s.misbehave("status", ZIP, status=206, body=b"lie", headers={"Content-Range": "bytes 1200-1202/9999"}),
        ],
        lambda s: [s.misbehave("truncated", ZIP, after=1200), s.misbehave("status", ZIP, status=206, body=b"lie")],
    ],
)
def test_what_passes_ends_in_the_whole_file(world: World, change: Callable[[Upstream], object]) -> None:
    change(world.server)
    result = world.one()
    assert result.state == "new", result.sentence
    assert result.file is not None
    assert result.file.path.read_bytes() == world.server.files[ZIP].content
    assert not world.parts


def test_an_interrupted_file_is_asked_for_from_its_last_byte(world: World) -> None:
    world.server.misbehave("truncated", ZIP, after=1000)
    assert world.one().state == "new"
    first, second = world.server.asked
    assert "Range" not in first.headers
    assert second.headers["Range"] == "bytes=1000-"
    assert second.headers["If-Range"].startswith('"')
    assert first.headers["Accept-Encoding"] == "identity"
    size = len(world.server.files[ZIP].content)
    assert [t for t in world.told if t[0] == "start"] == [("start", "icio/SML_2016-2022", size)]
    assert sum(t[1] for t in world.told if t[0] == "advance") == size  # type: ignore[misc]


def test_bytes_of_two_versions_are_never_joined(world: World) -> None:
    """The file changes while a part of it lies here, with and without anything that tells."""
    old, new = world.server.files[ZIP].content, a_zip("2022_SML.csv", seed=5)
    assert len(old) == len(new)
    for etag, modified in ((True, 1.7e9), (True, None), (False, 1.7e9), (False, None)):
        world.server.serve(ZIP, File(old, etag=etag, modified=modified))
        world.server.misbehave("truncated", ZIP, after=1000)
        world.server.misbehave("truncated", ZIP, after=0, times=4)
        assert world.one().state == "failed"
        world.server.behave()
        new = a_zip("2022_SML.csv", seed=len(new) + int(etag) + int(modified or 0))
        world.server.serve(ZIP, File(new, etag=etag, modified=modified and modified + 1))
        result = world.one()
        assert result.file is not None, result.sentence
        assert result.file.path.read_bytes() == new


def test_a_weak_etag_is_nothing_to_go_on_by(world: World) -> None:
    whole = world.server.files.pop(ZIP).content

    def weak(asked: Asked) -> Reply:
        return Reply(200, whole, "application/zip", {"ETag": 'W/"1"'})

    world.server.handle(ZIP, weak)
    world.server.misbehave("truncated", ZIP, after=1000)
    assert world.one().state == "new"
    assert not any("Range" in a.headers for a in world.server.asked)


def test_a_transfer_that_is_packed_on_its_way_is_unpacked_and_begun_anew(world: World) -> None:
    content = wgi_answer(400)
    del world.server.files[WGI]

    def answer(asked: Asked) -> Reply:
        headers = {"Content-Encoding": "gzip", "ETag": '"1"'}
        return Reply(200, gzip.compress(content, mtime=0), "application/json", headers)

    world.server.handle(WGI, answer)
    world.server.misbehave("truncated", WGI, after=50)
    result = world.one("wgi/PV")
    assert result.file is not None, result.sentence
    assert result.file.path.read_bytes() == content
    assert not any("Range" in a.headers for a in world.server.asked)


def test_a_body_without_a_length_is_taken_to_its_end(world: World) -> None:
    """No Content-Length, the end of the connection is the end of the file: the zip's own directory proves it whole."""
    whole = world.server.files[ZIP].content
    world.server.misbehave("no_length", ZIP)
    assert world.one().state == "new"
    world.server.serve(ZIP, whole + b"")
    world.server.files[ZIP].content = a_zip("2022_SML.csv", seed=3)
    world.server.misbehave("no_length", ZIP, after=1500)
    assert "what came is refused: 2016-2022_SML.zip: the file is truncated or damaged" in world.one().sentence


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<html>busy</html>", "an HTML page came instead of JSON; "),
        (wgi_answer()[:-20], "another file came instead of JSON; "),
        (
            json.dumps([{"message": [{"id": "120", "value": "The indicator was not found."}]}]).encode(),
            "the API answers with a message: The indicator was not found; ",
        ),
        (wgi_answer(2, total=3), "the answer states 3 rows and holds 2; "),
        (wgi_answer(0), "the answer states 0 rows and holds 0; "),
        (wgi_answer(2, pages=4, total=8), "the answer is page 1 of 4; ask for more rows with per_page; "),
        (wgi_answer(2, lastupdated=None), "the answer does not state 'lastupdated', by which its vintage is told; "),
    ],
)
def test_an_answer_that_is_not_whole_is_refused(world: World, content: bytes, said: str) -> None:
    world.server.serve(WGI, File(content, "application/json"))
    result = world.one("wgi/PV")
    assert said in result.sentence
    assert "source=3" not in result.sentence
    assert world.files() == {}


def test_text_and_gzip_files_must_be_what_they_are_named(world: World) -> None:
    world.server.serve("/wmd/world.csv", File(b"\n <HTML><head><TITLE>Sorry", "text/html"))
    assert "an HTML page came instead of a csv file" in world.one("mining/wmd").sentence
    world.server.serve("/wmd/world.csv", a_zip("x"))
    assert "a zip file came instead of a csv file" in world.one("mining/wmd").sentence
    world.server.serve("/usgs/mcs.csv.gz", b"a,b\n")
    assert "another file came instead of a gzip file" in world.one("mining/usgs").sentence
    world.server.serve("/usgs/mcs.csv.gz", gzip.compress(b"a,b\n" * 99)[:-9])
    assert "the gzip file is damaged" in world.one("mining/usgs").sentence
    world.server.serve("/usgs/mcs.csv.gz", gzip.compress(b"a,b\n" * 99))
    assert world.one("mining/usgs").state == "new"


def test_a_published_hash_is_held(world: World, tmp_path: Path) -> None:
    whole = world.server.files[ZIP].content
    url = world.server.url + ZIP
    good = download(world.http, url, tmp_path, sha256=hashlib.sha256(whole).hexdigest())
    assert isinstance(good, Downloaded)
    good.path.unlink()
    with pytest.raises(UpstreamFailed, match=r"the file has sha256 .* where upstreams\.toml expects 000000000000"):
        download(world.http, url, tmp_path, sha256="0" * 64)
    assert not list(tmp_path.glob("*.part"))


def test_slow_is_fine_as_long_as_bytes_come(world: World) -> None:
    """Two bytes, a wait that ends when they have arrived here, then the rest; no try is lost."""
    slow = world.server.misbehave("slow", ZIP, after=2)
    told = world.advance

    def release(count: int) -> None:
        told(count)
        slow.released.set()

    world.advance = release  # type: ignore[method-assign]
    assert world.one().state == "new"
    assert len(world.server.asked) == 1


def test_a_server_that_falls_silent_is_taken_up_again(world: World) -> None:
    world.http = Http(retries=2, backoff=0.0, read_seconds=0.2)
    world.server.misbehave("slow", ZIP, after=700)
    assert world.one().state == "new"
    assert [a.headers.get("Range") for a in world.server.asked] == [None, "bytes=700-"]


def test_a_file_lost_from_the_archive_is_fetched_again(world: World) -> None:
    first = world.one().file
    assert first is not None
    first.path.unlink()
    again = world.one()
    assert again.file is not None
    assert again.file.path.read_bytes() == world.server.files[ZIP].content


# Interrupted anywhere -------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 900), max_size=8),
    etag=st.booleans(),
    modified=st.booleans(),
    ranges=st.booleans(),
    restarts=st.booleans(),
    seed=st.integers(0, 5),
)
def test_any_split_into_interrupted_pieces_ends_in_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory,
    shared_server: Upstream,
    cuts: list[int],
    etag: bool,
    modified: bool,
    ranges: bool,
    restarts: bool,
    seed: int,
) -> None:
    """Each cut ends one answer after so many bytes of its body; ``restarts`` starts a new run after each cut."""
    folder = tmp_path_factory.mktemp("partial")
    content = random.Random(seed).randbytes(2000)
    shared_server.behave()
    shared_server.serve("/x", File(content, etag=etag, modified=1.7e9 if modified else None, ranges=ranges))
    for cut in cuts:
        shared_server.misbehave("truncated", "/x", after=cut)
    http = Http(retries=0 if restarts else len(cuts), backoff=0.0)
    for _ in range(len(cuts) + 1):
        try:
            came = download(http, f"{shared_server.url}/x", folder)
        except UpstreamFailed:
            assert restarts
            continue
        assert isinstance(came, Downloaded)
        assert came.path.read_bytes() == content
        return
    pytest.fail("the file never came whole")


@pytest.fixture(scope="module")
def shared_server() -> Iterator[Upstream]:
    with upstream() as server:
        yield server


RUN = """
import sys
from pathlib import Path
from ketenpipe.sources.archive import Archive
from ketenpipe.sources.fetch import fetch_files, raise_if_failed
from ketenpipe.sources.http import Http
from ketenpipe.sources.upstreams import load_upstreams
from ketenpipe.tables.lock import home_lock
home = Path(sys.argv[1])
def run(which=None):
    with home_lock(home, "test"):
        ups = load_upstreams(home / "reference")
        raise_if_failed(fetch_files(Archive(home), ups, Http(retries=2, backoff=0.0), which))
"""


def until(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Wait for a condition while the process lives."""
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, "the process ended before"
        assert time.monotonic() < deadline, "the condition never held"
        time.sleep(0.002)


def test_killed_within_a_body_the_next_run_goes_on_there(world: World) -> None:
    """kill -9 at several offsets: the stand-in holds the body until so many bytes lie on the disk."""
    big = a_zip("2022_SML.csv", size=300_000)
    world.server.serve(ZIP, big)
    partial = world.home / "raw" / ".partial"
    held = 0
    for offset in (1, 70_000, len(big) - 1):
        slow = world.server.misbehave("slow", ZIP, after=offset - held)
        process = subprocess.Popen([sys.executable, "-c", RUN + "run(['icio'])", str(world.home)])
        until(lambda: any(p.stat().st_size >= offset for p in partial.glob("[!.]*.part")), process)  # noqa: B023
        process.send_signal(signal.SIGKILL)
        process.wait()
        slow.released.set()
        assert [p.stat().st_size for p in partial.glob("[!.]*.part")] == [offset]
        assert world.files() == {}
        held = offset
    world.server.asked.clear()
    result = world.one()
    assert [a.headers.get("Range") for a in world.server.asked] == [f"bytes={held}-"]
    assert result.file is not None
    assert result.file.path.read_bytes() == big
    assert not world.archive.verify()
    assert not world.parts


KILLED = (
    RUN
    + """
import os, shutil, signal
FOLLOWED = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.chmod", "os.truncate", "os.link"}
origin = home
step = 0
while True:
    home = origin.with_name(f"killed-{step}")
    shutil.copytree(origin, home)
    child = os.fork()
    if child == 0:
        left = step
        def count(event, arguments):
            global left
            if event in FOLLOWED and str(home / "raw") in str(arguments[0] if arguments else ""):
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                left -= 1
        sys.addaudithook(count)
        run(WHICH)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status):
        assert os.WEXITSTATUS(status) == 0
        break
    step += 1
print(step)
"""
)


@pytest.mark.parametrize(
    ("which", "least", "held"),
    [(["icio"], 25, 2), pytest.param(["baci", "icio"], 50, 4, marks=pytest.mark.slow)],
)
def test_killed_before_any_step_on_the_disk_the_next_run_ends_in_the_same_files(
    tmp_path: Path, which: list[str], least: int, held: int
) -> None:
    """SIGKILL before the n-th open, rename, mkdir, chmod or unlink below raw/, for every n."""
    with upstream() as server:
        world = World(tmp_path / "origin", server)
        done = subprocess.run(
            [sys.executable, "-c", KILLED.replace("WHICH", repr(which)), str(world.home)],
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        steps = int(done.stdout)
        assert steps >= least
        undisturbed = World.__new__(World)
        undisturbed.home = tmp_path / f"killed-{steps}"
        expected = undisturbed.files()
        assert len(expected) == held
        for step in range(steps):
            world.home = tmp_path / f"killed-{step}"
            left = world.files()
            assert left.items() <= expected.items(), step
            assert len(left) % 2 == 0, step
            assert not world.archive.verify(), step
            results = world.fetch(*which)
            assert {r.state for r in results.values()} <= {"new", "unchanged"}, step
            assert world.files() == expected, step
            assert not [p for p in (world.home / "raw").rglob("*") if ".keeping-" in p.name], step
            assert not world.parts, step


def test_a_disk_that_is_too_small_is_told_before_the_download(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The free space is made up here; the disk that really fills up is in the next test."""
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1500))
    result = world.one()
    assert isinstance(result.error, DiskFull)
    assert result.sentence == (
        f"{world.home}/raw/.partial: {world.server.url}{ZIP} needs 3.1 kB more and 1.5 kB are free; "
        "make room and run it again, what came so far is kept."
    )
    assert world.files() == {}
    monkeypatch.undo()
    assert world.one().state == "new"


LIMITED = (
    RUN
    + """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
from ketenpipe.errors import DiskFull
try:
    run(["icio"])
except DiskFull as full:
    print(full)
    raise SystemExit(9)
"""
)


def test_a_disk_that_fills_up_keeps_what_came_and_nothing_half_read(world: World) -> None:
    """No file may grow beyond a limit (RLIMIT_FSIZE), as on a full disk; with more room the next run goes on."""
    big = a_zip("2022_SML.csv", size=300_000)
    world.server.serve(ZIP, big)
    for limit in (100_000, 200_000):
        done = subprocess.run(
            [sys.executable, "-c", LIMITED, str(world.home), str(limit)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 9, done.stderr
        assert "raw/.partial: there is no room (File too large); nothing that was there is touched" in done.stdout
        assert world.files() == {}
        assert [p.stat().st_size for p in world.parts if p.suffix == ".part"] == [limit]
    world.server.asked.clear()
    assert world.one().state == "new"
    assert world.server.asked[0].headers["Range"] == "bytes=200000-"
    assert not world.archive.verify()


def test_a_full_disk_of_its_own(tmp_path: Path) -> None:
    """A file system of 256 kB, where one may be mounted: the real ENOSPC."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = (
        os.geteuid() == 0
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True, check=False
        ).returncode
    )
    if not mounted:
        pytest.skip("no file system may be mounted here; the test with a file size limit stands for it")
    try:
        with upstream() as server:
            world = World(disk / "home", server)
            # The server does not say how long the file is, so nobody can know before.
            server.serve(ZIP, a_zip("2022_SML.csv", size=400_000))
            server.misbehave("no_length", ZIP)
            result = world.one()
            assert isinstance(result.error, DiskFull)
            assert "there is no room (No space left on device)" in result.sentence
            assert world.files() == {}
            server.serve(ZIP, a_zip("2022_SML.csv", size=40_000))
            assert world.one().state == "new"
            assert not world.archive.verify()
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_stale_part_of_an_address_that_nobody_asks_for_is_removed(world: World) -> None:
    world.server.misbehave("truncated", ZIP, after=1000)
    world.server.misbehave("truncated", ZIP, after=0, times=4)
    assert world.one().state == "failed"
    assert len(world.parts) == 2
    text = (world.home / "reference" / "upstreams.toml").read_text()
    (world.home / "reference" / "upstreams.toml").write_text(text.replace("/ICIO/2025/", "/ICIO/2026/"))
    world.upstreams = load_upstreams(world.home / "reference")
    world.server.serve("/ICIO/2026/2016-2022_SML.zip", a_zip("2022_SML.csv"))
    assert world.one().state == "new"
    assert len(world.parts) == 2
    world.fetch()
    assert not world.parts


# By hand, and what is stale -------------------------------------------------------------------------------------------


def test_a_file_downloaded_with_a_browser_is_taken_and_stays(world: World, tmp_path: Path) -> None:
    path = tmp_path / "2016-2022_SML (1).zip"
    path.write_bytes(world.server.files[ZIP].content)
    with home_lock(world.home, "test"):
        result = take_by_hand(world.archive, world.upstreams, "icio/SML_2016-2022", path)
    assert (result.state, path.exists(), world.parts) == ("new", True, [])
    assert result.file is not None
    assert result.file.name == "2016-2022_SML.zip"
    assert result.file.sidecar.note == "Downloaded by hand."
    assert result.file.sidecar.vintage_of(2019) == "OECD ICIO 2025"
    assert take_by_hand(world.archive, world.upstreams, "icio/SML_2016-2022", path).state == "unchanged"
    assert world.one().state == "unchanged"
    assert not world.archive.verify()


def test_a_row_by_hand_is_read_and_not_asked_for(world: World, tmp_path: Path) -> None:
    text = (world.home / "reference" / "upstreams.toml").read_text()
    (world.home / "reference" / "upstreams.toml").write_text(
        text.replace('label = "2025"', 'label = "2025"\nby_hand = true')
    )
    world.upstreams = load_upstreams(world.home / "reference")
    slot = "icio/SML_2016-2022"
    assert {s.slot: s.why for s in status(world.archive, world.upstreams, world.now)}[slot] == "never handed over"
    assert slot not in world.fetch()
    assert ZIP not in world.server.paths()
    path = tmp_path / "x.zip"
    path.write_bytes(world.server.files[ZIP].content)
    take_by_hand(world.archive, world.upstreams, slot, path)
    assert "icio" in {f.source for f in world.archive.inventory(world.upstreams).files}
    held = {s.slot: s for s in status(world.archive, world.upstreams, world.now + timedelta(days=60))}[slot]
    assert (held.stale, held.why) == (True, "handed over 60 days ago (45 allowed)")
    assert world.one(slot).state == "unchanged"


def test_a_file_by_hand_must_hold_what_a_fetched_one_must(world: World, tmp_path: Path) -> None:
    path = tmp_path / "BACI.zip"
    cases: list[tuple[str, type[KetenpipeError], str]] = [
        ("baci/HS17", InputRefused, r"the name does not match BACI_HS17_.* give it its native name"),
        (
            "icio/SML_2016-2022",
            InputRefused,
            r"BACI\.zip: an HTML page came instead of a zip file; download it again\.",
        ),
        ("icio/nothing", WrongUse, "has no row for 'icio/nothing'"),
    ]
    path.write_bytes(b"<html>")
    for slot, kind, said in cases:
        with pytest.raises(kind, match=said):
            take_by_hand(world.archive, world.upstreams, slot, path)
    with pytest.raises(InputRefused, match="there is no such file"):
        take_by_hand(world.archive, world.upstreams, "baci/HS17", tmp_path / "gone.zip")
    native = tmp_path / "BACI_HS17_V202601.zip"
    native.write_bytes(world.server.files[BACI].content)
    result = take_by_hand(world.archive, world.upstreams, "baci/HS17", native)
    assert result.file is not None
    assert (result.file.label, result.file.sidecar.release) == ("V202601", "V202601")
    toml = world.home / "reference" / "upstreams.toml"
    toml.write_text(toml.read_text().replace('label = "2025"', f'label = "2025"\nsha256 = "{"0" * 64}"'))
    path.write_bytes(world.server.files[ZIP].content)
    with pytest.raises(
        InputRefused, match=r"BACI\.zip: the file has sha256 .* where upstreams.toml expects 000000000000"
    ):
        take_by_hand(world.archive, load_upstreams(toml.parent), "icio/SML_2016-2022", path)
    assert not world.parts


def test_the_status_says_what_is_held_and_what_is_stale(world: World) -> None:
    before = {s.slot: s for s in status(world.archive, world.upstreams, world.now)}
    assert (before["wgi/PV"].stale, before["wgi/PV"].why, before["wgi/PV"].held) == (True, "never fetched", None)
    assert before["mining/usgs"].why == "switched off, never fetched"
    assert not before["mining/usgs"].stale
    world.fetch()
    world.fetch("mining/usgs")
    day = timedelta(days=1)
    fresh = {s.slot: s for s in status(world.archive, world.upstreams, world.now + 44 * day)}
    assert not any(s.stale for s in fresh.values())
    assert fresh["wgi/PV"].why == "looked at upstream 44 days ago (45 allowed)"
    assert fresh["mining/usgs"].why == "switched off: kept, not read"
    assert fresh["baci/HS17"].licence == "Etalab"
    later = world.now + 46 * day
    old = {s.slot: s for s in status(world.archive, world.upstreams, later)}
    assert old["wgi/PV"].stale
    assert old["wgi/PV"].why == "not looked at upstream for 46 days (45 allowed)"
    world.now = later
    world.fetch("wgi")
    looked = {s.slot: s for s in status(world.archive, world.upstreams, later)}
    assert [s.slot for s in looked.values() if not s.stale] == ["wgi/PV", "mining/usgs"]
    assert looked["wgi/PV"].held is not None
    assert looked["wgi/PV"].held.retrieved_at < str(looked["wgi/PV"].checked_at)
    looked["wgi/PV"].held.path.unlink()
    lost = {s.slot: s for s in status(world.archive, world.upstreams, later)}
    assert lost["wgi/PV"].stale
    assert "run 'ketenpipe sources verify'" in lost["wgi/PV"].why


def test_a_failed_look_does_not_make_a_source_fresh(world: World) -> None:
    world.one()
    checked = world.archive.checked_at("icio/SML_2016-2022")
    world.server.misbehave("status", ZIP, status=404)
    assert world.one().state == "failed"
    assert world.archive.checked_at("icio/SML_2016-2022") == checked


def test_a_row_that_is_gone_leaves_its_files_unread(world: World) -> None:
    world.fetch()
    text = (world.home / "reference" / "upstreams.toml").read_text()
    (world.home / "reference" / "upstreams.toml").write_text(text.replace("icio/SML_2016-2022", "icio/SML_2026"))
    world.upstreams = load_upstreams(world.home / "reference")
    rows = {s.slot: s for s in status(world.archive, world.upstreams, world.now)}
    assert rows["icio/SML_2016-2022"].why == "no row of upstreams.toml names it: kept, not read"
    assert rows["icio/SML_2026"].why == "never fetched"
    assert "icio" not in {f.source for f in world.archive.inventory(world.upstreams).files}


def test_the_shipped_configuration_can_be_asked_for_its_status(tmp_path: Path) -> None:
    shipped = load_upstreams(embedded("reference"))
    rows = status(Archive(tmp_path), shipped, datetime.now(UTC))
    assert {r.why for r in rows} == {"never fetched", "switched off, never fetched"}


def test_unchanged_is_what_the_server_says(world: World, tmp_path: Path) -> None:
    file = world.one().file
    came = download(world.http, world.server.url + ZIP, tmp_path, known=file)
    assert came == Unchanged(file)  # type: ignore[arg-type]
    world.server.misbehave("status", ZIP, status=304)
    with pytest.raises(UpstreamFailed, match="the server says 'not modified' to a first request"):
        download(world.http, world.server.url + ZIP, tmp_path)
