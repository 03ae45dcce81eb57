"""The client of UN Comtrade against the stand-in server: what it asks, what it keeps, what the user sees."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from ketenpipe.errors import InputRefused, KeyRefused, QuotaExhausted, UpstreamFailed, WrongUse
from ketenpipe.sources.archive import Archive
from ketenpipe.sources.comtrade import list_periods, read_period
from ketenpipe.sources.comtrade_api import (
    Calls,
    Comtrade,
    ComtradeConfig,
    ComtradeFetch,
    Query,
    comtrade_config,
    comtrade_status,
    fetch_comtrade,
    last_availability,
    pending_datasets,
    wanted_periods,
)
from ketenpipe.sources.http import Http
from ketenpipe.sources.places import Inventory, embedded, source_file
from ketenpipe.sources.upstreams import load_upstreams
from ketenpipe_tests.shared_data import shared_data
from ketenpipe_tests.upstream.comtrade import Comtrade as World
from ketenpipe_tests.upstream.comtrade import Trade
from ketenpipe_tests.upstream.server import Asked, Reply, Upstream, upstream

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
KEY = SecretStr("a-good-key")
CODES = ("010121", "260600", "854143")
NLD, DEU, CHN, USA, TWN = 528, 276, 156, 842, 490


def trades(period: str = "202608", *, reporters: tuple[int, ...] = (NLD, DEU), value: float = 1000.0) -> list[Trade]:
    """Two codes, two flows, three partners of some reporters: 12 rows each."""
    return [
        Trade(period, reporter, flow, code, partner, value + partner + n, weight=float(partner))
        for reporter in reporters
        for n, code in enumerate(CODES[:2])
        for flow in "MX"
        for partner in (CHN, USA, 76)
    ]


class Site:
    """A server with a world, a home, and a clock."""

    def __init__(self, server: Upstream, home: Path) -> None:
        self.server, self.home = server, home
        self.now = NOW
        self.pauses: list[float] = []
        self.told: list[str] = []
        self.config = ComtradeConfig(
            base=server.url, key_page="https://comtradedeveloper.un.org", seconds_between_calls=0
        )
        self.world = World([])

    def live(self, world: World) -> World:
        self.world = world
        self.server.handle("/", world)
        return world

    def set(self, **changes: Any) -> None:
        self.config = self.config.model_copy(update=changes)

    @property
    def archive(self) -> Archive:
        return Archive(self.home, clock=lambda: self.now)

    def http(self) -> Http:
        return Http(retries=1, backoff=0, connect_seconds=5, read_seconds=5, tell=self.told.append)

    def client(self, key: SecretStr | None = KEY) -> Comtrade:
        return Comtrade(
            self.http(),
            self.config,
            self.home,
            key,
            now=lambda: self.now,
            pause=self.pauses.append,
            tell=self.told.append,
        )

    def fetch(
        self, *periods: str, key: SecretStr | None = KEY, codes: tuple[str, ...] = CODES, **more: Any
    ) -> ComtradeFetch:
        return fetch_comtrade(
            self.http(),
            self.archive,
            self.config,
            key,
            codes,
            periods or ("2026-08",),
            now=lambda: self.now,
            pause=self.pauses.append,
            tell=self.told.append,
            **more,
        )

    def asked(self, what: str = "get") -> list[dict[str, str]]:
        return [dict(a.query) for a in self.server.asked if f"/v1/{what}/" in a.path]

    def files(self) -> dict[str, bytes]:
        """Every data file of the archive by its path: equal archives have equal bytes at equal addresses."""
        raw = self.home / "raw" / "comtrade"
        return {p.relative_to(raw).as_posix(): p.read_bytes() for p in sorted(raw.glob("*/*.json.gz"))}

    def rows(self) -> list[dict[str, Any]]:
        return [row for raw in self.files().values() for row in json.loads(gzip.decompress(raw))["data"]]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with upstream() as server:
        yield Site(server, tmp_path / "home")


def states(fetch: ComtradeFetch) -> dict[str, str]:
    return {f.slot: f.state for f in fetch.fetched}


def refused(fetch: ComtradeFetch, kind: type[Exception]) -> str:
    with pytest.raises(kind) as error:
        fetch.raise_if_failed()
    return str(error.value)


# --- what is kept ----------------------------------------------------------------------------------------------------


def test_datasets_become_files_with_all_flows_and_their_provenance(site: Site) -> None:
    site.live(World([*trades(), *trades("2025", reporters=(NLD,))]))
    done = site.fetch("2026-08", "2025")
    assert states(done) == {
        "comtrade/M/2026-08/276": "new",
        "comtrade/M/2026-08/528": "new",
        "comtrade/A/2025/528": "new",
    }
    assert done.sentence == "UN Comtrade: 3 new, 0 up to date."
    assert done.fetched[0].sentence == "DEU 2026-08: 12 rows"
    done.raise_if_failed()
    file = site.archive.current("comtrade")["comtrade/M/2026-08/528"]
    assert (file.name, file.label, file.sidecar.release) == (
        "C_M_HS_202608_528.json.gz",
        "2026-11-02",
        "2026-11-02T10:20:30.1234567",
    )
    assert file.sidecar.url == f"{site.server.url}/data/v1/get/C/M/HS"
    assert file.sidecar.licence == "not stated by the source"
    assert file.query is not None
    assert file.query["codes"] == list(CODES)
    assert file.query["fixed"] == {
        "motCode": "0",
        "partner2Code": "0",
        "customsCode": "C00",
        "includeDesc": "true",
    }
    envelope = json.loads(gzip.decompress(file.path.read_bytes()))
    assert envelope["count"] == len(envelope["data"]) == 12
    assert {row["flowCode"] for row in envelope["data"]} == {"M", "X"}
    assert len(envelope["data"][0]) == 47
    assert site.archive.verify() == []


def test_every_question_fixes_the_modes_and_keeps_the_key_out_of_the_address(site: Site) -> None:
    site.live(World(trades()))
    site.fetch()
    assert len(site.asked()) == 1
    for query in site.asked():
        assert (query["motCode"], query["partner2Code"], query["customsCode"]) == ("0", "0", "C00")
        assert query["cmdCode"] == ",".join(CODES)
    secret = KEY.get_secret_value()
    assert all(secret not in str(a.query) + a.path for a in site.server.asked)
    assert all(secret not in p.read_bytes().decode("latin-1") for p in (site.home / "raw").rglob("*") if p.is_file())


def test_what_is_archived_reads_back_as_reports(site: Site) -> None:
    world = site.live(World(trades()))
    site.fetch()
    files = tuple(
        source_file(f.source, ("reports", {}), f.path, f.relative, f.sha256, f.bytes, f.sidecar, "beside")
        for f in site.archive.current("comtrade").values()
    )
    (period,) = list_periods(Inventory(site.home, files, ()))
    data = read_period(period)
    assert data.table.num_rows == len(list(world.trades)) == 24
    assert set(data.table["vintage"].to_pylist()) == {"2026-11-02"}
    assert not any(data.table["maximum_per_key"].to_pylist())


def test_an_unchanged_upstream_costs_no_question_for_rows(site: Site) -> None:
    site.live(World(trades()))
    site.fetch()
    before, files = len(site.asked()), site.files()
    done = site.fetch()
    assert len(site.asked()) == before
    assert (done.fetched, done.up_to_date, done.sentence) == ((), 2, "UN Comtrade: nothing to fetch, 2 up to date.")
    assert site.files() == files


def test_a_new_revision_is_a_new_vintage_and_said(site: Site) -> None:
    site.live(World(trades()))
    site.fetch()
    old = site.files()
    changed = [replace(t, value=t.value + 1) if t.reporter == NLD else t for t in trades()]
    site.live(World(changed, released="2026-11-20T00:00:00"))
    done = site.fetch()
    assert states(done) == {"comtrade/M/2026-08/528": "changed"}
    assert done.fetched[0].sentence == "NLD 2026-08: a new revision, released 2026-11-20, 12 rows"
    assert done.up_to_date == 1
    assert [q["reporterCode"] for q in site.asked()][-1] == "528"
    assert old.items() < site.files().items(), "the old vintage stays as it was"


def test_a_revision_that_leaves_our_codes_alone_is_no_new_vintage(site: Site) -> None:
    site.live(World(trades()))
    site.fetch()
    files = site.files()
    site.live(World([*trades(), Trade("202608", NLD, "M", "999000", CHN, 5.0)], released="2026-11-20T00:00:00"))
    done = site.fetch()
    assert states(done) == {"comtrade/M/2026-08/528": "unchanged"}
    assert done.fetched[0].sentence == "NLD 2026-08: released anew without a change in our codes, 12 rows"
    assert site.files() == files
    assert site.fetch().up_to_date == 2, "and it is not asked for again"


def test_more_codes_are_fetched_and_fewer_are_not(site: Site) -> None:
    site.live(World(trades(reporters=(NLD,))))
    site.fetch(codes=CODES[:1])
    done = site.fetch(codes=CODES[:2])
    assert done.fetched[0].sentence == "NLD 2026-08: more codes, released 2026-11-02, 12 rows"
    assert site.fetch(codes=CODES[1:2]).fetched == ()


def test_the_newest_period_comes_first_and_groups_are_left_alone(site: Site) -> None:
    site.live(World([*trades("202607", reporters=(NLD, 97)), *trades("202608", reporters=(NLD,))]))
    done = site.fetch("2026-07", "2026-08")
    assert list(states(done)) == ["comtrade/M/2026-08/528", "comtrade/M/2026-07/528"]
    assert done.availability is not None
    assert set(done.availability.table()["reporter"].to_pylist()) == {"NLD"}


def test_progress_counts_datasets(site: Site) -> None:
    told: list[tuple[Any, ...]] = []

    class Told:
        def start(self, slot: str, total_bytes: int | None) -> None:
            told.append((slot, total_bytes))

        def advance(self, count: int) -> None:
            told.append((count,))

        def done(self, slot: str, sentence: str) -> None:
            told.append((slot, sentence))

    site.live(World(trades()))
    without = site.fetch(key=None, progress=Told())
    assert told == [("comtrade", without.sentence)]
    told.clear()
    site.fetch(progress=Told())
    assert told == [("comtrade", 2), (1,), (1,), ("comtrade", "UN Comtrade: 2 new, 0 up to date.")]


def test_only_the_reporters_that_are_configured(site: Site) -> None:
    site.live(World(trades()))
    site.set(reporters=("DEU",))
    assert list(states(site.fetch())) == ["comtrade/M/2026-08/276"]


# --- nothing there ---------------------------------------------------------------------------------------------------


def test_not_reported_yet_costs_no_question_for_rows(site: Site) -> None:
    site.live(World(trades("202607")))
    done = site.fetch("2026-08")
    assert (done.fetched, site.asked()) == ((), [])
    assert done.sentence == "UN Comtrade: nothing to fetch, 0 up to date."


def test_reported_but_none_of_our_codes_is_kept_as_empty(site: Site) -> None:
    site.live(World([Trade("202608", NLD, "M", "999000", CHN, 5.0)]))
    done = site.fetch()
    assert states(done) == {"comtrade/M/2026-08/528": "new"}
    assert done.fetched[0].sentence == "NLD 2026-08: none of the codes traded"
    assert [(q["cmdCode"], q.get("partnerCode")) for q in site.asked()][-1] == ("TOTAL", "0")
    file = site.archive.current("comtrade")["comtrade/M/2026-08/528"]
    assert file.sidecar.note == "the country reported, and traded none of the codes that were asked for"
    assert site.fetch().up_to_date == 1


def test_a_country_that_reports_the_other_flow_only_has_a_total(site: Site) -> None:
    site.live(World([Trade("202608", NLD, "X", "010121", CHN, 5.0)]))
    site.set(flows=("M",))
    assert site.fetch().fetched[0].sentence == "NLD 2026-08: none of the codes traded"


def test_reported_and_not_even_a_total_is_wrong_and_nothing_is_kept(site: Site) -> None:
    world = site.live(World(trades()))
    world.lost = {("M", "202608", NLD)}
    done = site.fetch()
    assert states(done) == {"comtrade/M/2026-08/276": "new", "comtrade/M/2026-08/528": "failed"}
    assert refused(done, UpstreamFailed) == (
        f"{site.server.url}/data/v1/get/C/M/HS: UN Comtrade lists a dataset of 12 rows of reporter 528 for 2026-08 and "
        "answers none, not even the total: something is wrong there, nothing was kept; try again later."
    )
    assert "comtrade/M/2026-08/528" not in site.archive.current("comtrade")
    world.lost = set()
    assert states(site.fetch()) == {"comtrade/M/2026-08/528": "new"}


def test_nobody_reporting_a_year_long_past_is_wrong(site: Site) -> None:
    site.live(World([]))
    with pytest.raises(UpstreamFailed, match="no country has reported any of 2019, 2020, which cannot be"):
        site.client().availability(["2019", "2020"])
    assert site.client().availability(["2026-08"]).datasets == ()


# --- keys ------------------------------------------------------------------------------------------------------------


def test_without_a_key_it_says_what_can_be_done(site: Site) -> None:
    site.live(World(trades()))
    done = site.fetch(key=None)
    said = (
        "UN Comtrade gives no rows without a key. Without one, what the archive holds is read (none yet), and files "
        "that you download by hand and put under comtrade/ in a drop folder; it can be asked who has reported; recent "
        "months cannot be fetched. A free key (500 calls a day) comes from https://comtradedeveloper.un.org: set it as "
        "KETENPIPE_COMTRADE_KEY."
    )
    assert done.sentence == said
    assert site.server.asked == []
    done.raise_if_failed()
    with pytest.raises(KeyRefused) as error:
        site.fetch(key=None, named=True)
    assert str(error.value) == said
    site.fetch()
    assert "(2 datasets, the newest of 2026-08)" in site.fetch(key=None).sentence


def test_availability_needs_no_key(site: Site) -> None:
    site.live(World(trades()))
    found = site.client(key=None).availability(["2026-08"])
    assert [(d.period, d.reporter, d.iso3, d.total_records) for d in found.datasets] == [
        ("2026-08", DEU, "DEU", 12),
        ("2026-08", NLD, "NLD", 12),
    ]
    assert site.server.paths() == ["/public/v1/getDA/C/M/HS"]
    table = found.table()
    assert table["last_released"].to_pylist() == ["2026-11-02T10:20:30.1234567"] * 2
    assert table["retrieved_at"].to_pylist() == ["2026-11-24T12:00:00.000000Z"] * 2
    with pytest.raises(KeyRefused, match="UN Comtrade gives no rows without a key: set KETENPIPE_COMTRADE_KEY to a"):
        site.client(key=None).rows(Query("M", "2026-08", (NLD,), ("M",), CODES))


def test_a_key_that_is_not_accepted(site: Site) -> None:
    site.live(World(trades()))
    done = site.fetch(key=SecretStr("another-key"))
    said = refused(done, KeyRefused)
    assert said == (
        "UN Comtrade does not accept the key: set KETENPIPE_COMTRADE_KEY to a subscription key; a free one comes from "
        "https://comtradedeveloper.un.org."
    )
    assert done.sentence == f"UN Comtrade: nothing was fetched, 0 up to date, 0 remain. {said}"
    assert site.files() == {}


@pytest.mark.parametrize("text", ["a key", "s\u00e9cret", "a\nb"])
def test_a_key_that_no_header_can_hold(site: Site, text: str) -> None:
    with pytest.raises(KeyRefused) as error:
        site.fetch(key=SecretStr(text))
    assert str(error.value) == (
        "KETENPIPE_COMTRADE_KEY holds a blank or a sign that no key has: set it to the key alone."
    )


def test_blanks_around_a_key_do_no_harm_and_an_empty_one_is_none(site: Site) -> None:
    site.live(World(trades()))
    site.fetch(key=SecretStr(" a-good-key\n")).raise_if_failed()
    assert site.fetch(key=SecretStr("")).sentence.startswith("UN Comtrade gives no rows without a key.")


def test_a_server_that_wants_a_key_for_availability_too(site: Site) -> None:
    body = b'{"statusCode":401,"message":"Access denied due to missing subscription key."}'
    site.server.handle("/", lambda asked: Reply(401, body))
    with pytest.raises(KeyRefused, match="UN Comtrade wants a key: set KETENPIPE_COMTRADE_KEY"):
        site.client(key=None).availability(["2026-08"])


def test_the_key_never_goes_along_with_a_redirect(site: Site) -> None:
    site.server.handle("/", lambda asked: Reply(302, b"", headers={"Location": f"{site.server.url}/elsewhere"}))
    with pytest.raises(UpstreamFailed, match=r"/data/v1/getDa/C/M/HS: the server answered 302 \(Found\)\."):
        site.client().availability(["2026-08"])
    assert site.server.paths() == ["/data/v1/getDa/C/M/HS"]


# --- quota and pace --------------------------------------------------------------------------------------------------


def many(*periods: str) -> list[Trade]:
    return [t for p in periods for t in trades(p)]


def test_it_stops_before_the_days_calls_are_exceeded_and_goes_on_the_next_day(site: Site) -> None:
    periods = ("202605", "202606", "202607", "202608")
    world = site.live(World(many(*periods)))
    site.set(calls_per_day=6)
    named = tuple(f"{p[:4]}-{p[4:]}" for p in periods)
    done = site.fetch(*named)  # four calls for availability (37 months and history), two for rows
    assert world.calls["a-good-key"] == 6
    assert len(done.fetched) == 4
    assert refused(done, QuotaExhausted) == (
        "the 6 calls of a day are used up: 4 datasets were fetched, 0 were up to date, 4 remain; run it again after "
        "2026-11-25 00:00 UTC."
    )
    again = site.fetch(*named)
    assert world.calls["a-good-key"] == 6, "not one call more"
    assert refused(again, QuotaExhausted).startswith(
        "the 6 calls of a day are used up: availability could not be asked"
    )
    site.now = NOW + timedelta(hours=13)
    rest = site.fetch(*named)
    rest.raise_if_failed()
    assert (len(rest.fetched), rest.up_to_date) == (4, 4)
    assert len(site.rows()) == 4 * 24


@pytest.mark.parametrize(
    ("words", "until"),
    [("05:30:00", "2026-11-24 17:30"), ("1.02:00:00", "2026-11-25 14:00"), ("2.5 days", "2026-11-27 00:00")],
)
def test_a_quota_that_the_server_calls_used_up_is_honoured_and_remembered(site: Site, words: str, until: str) -> None:
    world = site.live(World(many("202607", "202608"), quota=5, replenished=words))
    done = site.fetch("2026-07", "2026-08")
    assert len(done.fetched) == 2
    assert refused(done, QuotaExhausted) == (
        "UN Comtrade says that the quota of calls is used up: 2 datasets were fetched, 0 were up to date, 2 remain; "
        f"run it again after {until} UTC."
    )
    before = len(site.server.asked)
    assert isinstance(site.fetch("2026-07", "2026-08").stopped, QuotaExhausted)
    assert len(site.server.asked) == before, "nothing is asked while it is closed"
    world.quota = None
    site.now = NOW + timedelta(days=3)
    rest = site.fetch("2026-07", "2026-08")
    assert (len(rest.fetched), rest.up_to_date, rest.stopped) == (2, 2, None)


def test_another_403_is_not_taken_for_the_quota(site: Site) -> None:
    site.live(World(trades()))
    site.server.misbehave("status", status=403, body=b'{"message":"Forbidden for a-good-key"}')
    said = refused(site.fetch(), UpstreamFailed)
    assert said.endswith("/data/v1/getDa/C/M/HS: UN Comtrade answered 403: 'Forbidden for ...'.")


def test_a_count_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / ".calls.json"
    path.write_text("many")
    with pytest.raises(
        InputRefused, match=r"\.calls\.json: the count of today's calls cannot be read; remove the file"
    ):
        Calls(path, 5, lambda: NOW).left()


def test_calls_are_counted_per_day(tmp_path: Path) -> None:
    now = NOW
    calls = Calls(tmp_path / "raw" / ".calls.json", 3, lambda: now)
    assert calls.left() == 3
    calls.spend()
    calls.add(2)
    assert (calls.used(), calls.left()) == (3, 0)
    now = NOW + timedelta(days=1)
    assert (calls.used(), calls.left()) == (0, 3)
    calls.close(now + timedelta(hours=1))
    assert calls.left() == 0
    now += timedelta(hours=2)
    assert calls.left() == 3


def test_429_with_retry_after_is_waited_out(site: Site) -> None:
    site.live(World(trades()))
    body = b'{"statusCode":429,"message":"Rate limit is exceeded. Try again in 1 seconds."}'
    site.server.misbehave("status", "/data/v1/get/", status=429, headers={"Retry-After": "0"}, body=body)
    done = site.fetch()
    done.raise_if_failed()
    assert len(done.fetched) == 2
    assert Calls(site.home / "raw" / "comtrade" / ".calls.json", 500, lambda: NOW).used() == len(site.server.asked)


def test_429_that_says_only_in_words_when_to_come_back_is_waited_out(site: Site) -> None:
    site.live(World(trades()))
    body = b'{"statusCode":429,"message":"Rate limit is exceeded. Try again in 7 seconds."}'
    site.server.misbehave("status", "/data/v1/get/", status=429, body=body, times=2)
    site.fetch().raise_if_failed()
    assert site.pauses == [7.0]
    assert "UN Comtrade asks to wait 7 s" in site.told


def test_429_with_a_long_pause_is_told_and_not_waited_for(site: Site) -> None:
    site.live(World(trades()))
    site.server.misbehave("status", "/data/v1/get/", status=429, headers={"Retry-After": "7200"})
    said = refused(site.fetch(), UpstreamFailed)
    assert re.search(r"answered 429 .* and asks to come back in 2 hours; run it again after 20\d\d-", said)
    body = b'{"statusCode":429,"message":"Rate limit is exceeded. Try again in 900 seconds."}'
    site.server.misbehave("status", "/data/v1/get/", status=429, body=body, times=2)
    said = refused(site.fetch(), UpstreamFailed)
    assert said.endswith("UN Comtrade answered 429 and asks to come back in 900 s; run it again then.")
    assert site.pauses == []


def test_429_that_stays_is_told(site: Site) -> None:
    site.live(World(trades()))
    body = b'{"statusCode":429,"message":"Rate limit is exceeded. Try again in 1 seconds."}'
    site.server.misbehave("status", "/data/v1/get/", status=429, body=body, times=None)
    said = refused(site.fetch(), UpstreamFailed)
    assert re.fullmatch(
        r".*/get/C/M/HS: the server answered 429 .* 2 times; it usually passes: try again later\.", said
    )
    assert site.files() == {}


def test_500_passes_or_is_told(site: Site) -> None:
    site.live(World(trades()))
    site.server.misbehave("status", "/data/v1/get/", status=500)
    site.fetch().raise_if_failed()
    site.live(World(trades("202607")))
    site.server.misbehave("status", "/data/v1/get/", status=500, times=None)
    assert "the server answered 500 (Internal Server Error) 2 times" in refused(site.fetch("2026-07"), UpstreamFailed)


def test_calls_keep_their_distance(site: Site) -> None:
    site.live(World(trades()))
    site.set(seconds_between_calls=30.0)
    site.fetch()
    assert len(site.pauses) == len(site.server.asked) - 1
    assert all(25 < p <= 30 for p in site.pauses)


# --- what comes back is not what was asked ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("misbehaviour", "sentence"),
    [
        (
            {"renamed": {"primaryValue": "tradeValue"}},
            "the answer has no field 'primaryValue' (it has aggrLevel, altQty",
        ),
        ({"renamed": {"motCode": None}}, "the answer has no field 'motCode'"),
        ({"stray": True}, "and answers a row with reporterCode 4"),
        ({"ignores_modes": True}, "and answers a row with motCode 2100"),
    ],
)
def test_an_answer_of_another_layout_is_refused(site: Site, misbehaviour: dict[str, Any], sentence: str) -> None:
    site.live(World(trades(), **misbehaviour))
    done = site.fetch()
    assert sentence in refused(done, UpstreamFailed)
    assert isinstance(done.stopped, UpstreamFailed)
    assert not done.stopped.passing
    assert (site.files(), done.remaining) == ({}, 2)


def test_a_key_that_comes_back_twice_is_refused(site: Site) -> None:
    site.live(World(trades(reporters=(NLD,)), twice=True))
    said = refused(site.fetch(), UpstreamFailed)
    assert "reporter 528, flow M, code 010121, partner 156 of 2026-08 comes back twice although modes are fixed" in said
    assert site.files() == {}


def test_when_everything_fails_the_days_calls_are_not_spent_on_it(site: Site) -> None:
    reporters = tuple(c for c in range(4, 200, 4) if c not in (80, 128, 148, 172, 176, 196))
    site.live(World(trades(reporters=reporters), twice=True))
    done = site.fetch()
    assert refused(done, UpstreamFailed).startswith(
        "20 datasets failed, which is no accident; the last: http://127.0.0.1"
    )
    assert len(site.asked()) == 21
    assert done.remaining == len(reporters) - 20


def test_a_number_that_is_none_in_the_list_of_datasets(site: Site) -> None:
    row = b'{"period":202608,"reporterCode":"NL","classificationCode":"H6","totalRecords":1,"datasetChecksum":1,'
    body = b'{"data":[' + row + b'"firstReleased":null,"lastReleased":null}]}'
    site.server.handle("/", lambda asked: Reply(200, body))
    with pytest.raises(UpstreamFailed, match="field 'reporterCode' holds 'NL' where a whole number is needed"):
        site.client().availability(["2026-08"])


def test_a_page_or_an_error_instead_of_data(site: Site) -> None:
    site.live(World(trades()))
    site.server.misbehave("status", "/data/v1/get/", status=200, body=b"<html>maintenance</html>")
    assert "/get/C/M/HS: the answer is no JSON (application/json); try again later." in refused(
        site.fetch(), UpstreamFailed
    )
    site.server.misbehave("status", "/data/v1/get/", status=200, body=b'{"data":[],"error":"Timeout in database"}')
    assert "UN Comtrade answered with the error 'Timeout in database'" in refused(site.fetch(), UpstreamFailed)
    site.server.misbehave("status", "/data/v1/get/", status=200, body=b'{"rows":[]}')
    assert "the answer has no list 'data': its layout has changed" in refused(site.fetch(), UpstreamFailed)
    site.server.misbehave("status", "/data/v1/getDa/", status=200, body=b'{"data":[{"period":202608}]}')
    assert "the answer has no field 'reporterCode' (it has period)" in refused(site.fetch(), UpstreamFailed)
    site.server.misbehave("status", "/data/v1/get/", status=400, body=b'{"message":"bad parameter"}')
    assert "UN Comtrade answered 400: 'bad parameter'" in refused(site.fetch(), UpstreamFailed)
    assert site.files() == {}


def test_a_body_that_breaks_off_is_told(site: Site) -> None:
    site.live(World(trades()))
    site.server.misbehave("truncated", "/data/v1/get/", after=100, times=None)
    assert "the answer broke off before its end" in refused(site.fetch(), UpstreamFailed)
    assert site.files() == {}


# --- splitting -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("counts_all", [False, True])
def test_an_answer_at_the_cap_is_asked_for_in_parts(site: Site, counts_all: bool) -> None:
    world = World(trades(reporters=(NLD, DEU, USA)), cap=7, counts_all=counts_all)
    site.live(world)
    site.set(rows_per_call=7)
    done = site.fetch()
    done.raise_if_failed()
    assert len(site.rows()) == 3 * 12
    assert all(q["motCode"] == "0" for q in site.asked())


def test_exactly_as_many_rows_as_the_cap_are_not_taken_for_whole(site: Site) -> None:
    site.live(World(trades(reporters=(NLD,)), cap=12))
    site.set(rows_per_call=12)
    site.fetch().raise_if_failed()
    assert len(site.asked()) == 3, "the whole, then both flows"
    assert len(site.rows()) == 12


def test_a_cap_that_was_lowered_without_a_word_is_noticed(site: Site) -> None:
    partners = [c for c in range(1, 900) if c not in (NLD,)]
    world = [Trade("202608", NLD, flow, "010121", c, 10.0 + c) for c in partners[:300] for flow in "MX"]
    site.live(World(world, cap=500))
    site.fetch().raise_if_failed()
    assert len(site.rows()) == 600


def test_what_cannot_be_split_and_is_still_full_is_refused_by_name(site: Site) -> None:
    site.live(World([*trades(reporters=(NLD,)), *trades(reporters=(DEU,))[:1]], cap=3))
    site.set(rows_per_call=3)
    done = site.fetch()
    assert states(done) == {"comtrade/M/2026-08/276": "new", "comtrade/M/2026-08/528": "failed"}
    assert refused(done, UpstreamFailed).endswith(
        "the answer for reporter 528, period 2026-08, flow M, code 010121 is cut off at 3 rows and cannot be asked for "
        "in parts."
    )


def test_a_long_address_is_split_before_it_is_sent(site: Site) -> None:
    codes = tuple(f"{n:06d}" for n in range(10_100, 10_400))
    site.live(World([Trade("202608", NLD, "M", code, CHN, 5.0) for code in codes], longest_address=600))
    site.set(longest_address=500)
    site.fetch(codes=codes).raise_if_failed()
    assert len(site.rows()) == 300
    assert max(a.target_length for a in site.server.asked) <= 500
    assert len(site.server.asked) < 40


def test_414_below_the_configured_limit_is_learnt(site: Site) -> None:
    codes = tuple(f"{n:06d}" for n in range(10_100, 10_400))
    site.live(World([Trade("202608", NLD, "M", code, CHN, 5.0) for code in codes], longest_address=700))
    site.fetch(codes=codes).raise_if_failed()
    assert len(site.rows()) == 300
    too_long = [a for a in site.server.asked if a.target_length > 700]
    assert len(too_long) <= 3, "the limit is found by halving, not anew for every call"


def test_an_address_that_cannot_be_short_enough_is_refused(site: Site) -> None:
    site.live(World(trades(reporters=(NLD,)), longest_address=120))
    said = refused(site.fetch(), UpstreamFailed)
    assert re.search(r"the address of a single code is longer than \d+ characters; correct longest_address", said)


def test_halves_go_by_reporter_then_flow_then_code() -> None:
    query = Query("M", "2026-08", (1, 2), ("M", "X"), ("010121", "260600"))
    asked = [query]
    shapes = []
    while asked:
        one = asked.pop(0)
        halves = one.halves()
        if halves:
            shapes.append((len(one.reporters), len(one.flows), len(one.codes)))
            asked.append(halves[0])
    assert shapes == [(2, 2, 2), (1, 2, 2), (1, 1, 2)]


def test_several_reporters_share_a_call_and_what_was_learnt_fills_it(site: Site) -> None:
    reporters = tuple(c for c in (528, 276, 156, 842, 76, 699, 392, 250, 380, 724, 56, 36))
    world = [t for p in ("202607", "202608") for t in trades(p, reporters=reporters)]
    site.live(World(world))
    site.set(rows_per_call=1000)
    site.fetch("2026-07", "2026-08").raise_if_failed()
    assert len(site.asked()) == 2
    assert len(site.rows()) == 2 * 12 * 12


_world = st.lists(
    st.builds(
        Trade,
        st.sampled_from(["202607", "202608", "2025"]),
        st.sampled_from([NLD, DEU, CHN, USA, 699, 76]),
        st.sampled_from(["M", "X"]),
        st.sampled_from([*CODES, "999000"]),
        st.sampled_from([0, NLD, DEU, CHN, USA, TWN, 899]),
        st.integers(1, 10**9).map(float),
    ),
    min_size=1,
    max_size=60,
    unique_by=lambda t: (t.period, t.reporter, t.flow, t.code, t.partner),
)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(world=_world, cap=st.integers(8, 40), limit=st.integers(300, 500), counts_all=st.booleans())
def test_any_world_is_assembled_exactly_whatever_the_cap_and_the_limit(
    tmp_path_factory: pytest.TempPathFactory, world: list[Trade], cap: int, limit: int, counts_all: bool
) -> None:
    """The archive holds every row of our codes once, and nothing else."""
    with upstream() as server:
        site = Site(server, tmp_path_factory.mktemp("home"))
        site.live(World(world, cap=cap, longest_address=limit - 60, counts_all=counts_all))
        site.set(rows_per_call=cap, longest_address=limit)
        done = site.fetch("2026-07", "2026-08", "2025")
        done.raise_if_failed()
        expected = sorted(t for t in world if t.code in CODES)
        found = sorted(
            Trade(
                row["period"],
                row["reporterCode"],
                row["flowCode"],
                row["cmdCode"],
                row["partnerCode"],
                row["primaryValue"],
            )
            for row in site.rows()
        )
        assert found == expected
        assert set(states(done)) == {f"comtrade/{f}/{_dashed(p)}/{r}" for f, p, r in {t.dataset for t in world}}


def _dashed(period: str) -> str:
    return period if len(period) == 4 else f"{period[:4]}-{period[4:]}"


# --- killed ----------------------------------------------------------------------------------------------------------


def test_killed_in_the_midst_it_goes_on_and_ends_in_the_same_files(site: Site, tmp_path: Path) -> None:
    """kill -9 while the second period is being answered: the first is kept, a rerun ends as an undisturbed run does."""
    site.live(World(many("202607", "202608")))
    script = f"""
    from datetime import UTC, datetime
    from pathlib import Path
    from pydantic import SecretStr
    from ketenpipe.sources.archive import Archive
    from ketenpipe.sources.comtrade_api import ComtradeConfig, fetch_comtrade
    from ketenpipe.sources.http import Http

    now = lambda: datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
    page = "https://comtradedeveloper.un.org"
    config = ComtradeConfig(base={site.server.url!r}, key_page=page, seconds_between_calls=0)
    fetch_comtrade(Http(), Archive(Path({str(site.home)!r})), config, SecretStr("a-good-key"), {CODES!r},
                   ("2026-07", "2026-08"), now=now)
    """
    held = site.server.misbehave("slow", "/data/v1/get/C/M/HS", after=50, times=None)
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)])
    try:
        _until(lambda: len(site.asked()) == 1, process)
        held.released.set()
        _until(lambda: len(site.asked()) == 2, process)
    finally:
        process.kill()
        process.wait()
    site.server.behave()
    site.server.wrong.clear()
    kept = site.files()
    rest = site.fetch("2026-07", "2026-08")
    rest.raise_if_failed()
    assert rest.up_to_date + len(rest.fetched) == 4
    assert kept.items() <= site.files().items()
    clean = Site(site.server, tmp_path / "undisturbed")
    clean.fetch("2026-07", "2026-08").raise_if_failed()
    assert site.files() == clean.files()
    assert site.archive.verify() == []


def _until(condition: Any, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, "the fetch ended by itself"
        assert time.monotonic() < end
        time.sleep(0.01)


# --- the stand-in itself ---------------------------------------------------------------------------------------------


def test_the_stand_in_answers_in_the_recorded_shapes(site: Site) -> None:
    site.live(World(trades()))

    def ask(path: str, key: str | None = "a-good-key", **query: str) -> tuple[int, dict[str, Any]]:
        headers = {} if key is None else {"Ocp-Apim-Subscription-Key": key}
        answer = site.http().get(f"{site.server.url}/{path}", params=query, headers=headers, accept=range(200, 600))
        return answer.status_code, answer.json()

    status, bulk = ask("bulk/v1/get/C/M/HS", reporterCode="528")
    assert (status, bulk["count"]) == (200, 1)
    recorded = json.loads(shared_data("comtrade/api_bulk_get.json").read_text())
    assert set(bulk) == set(recorded)
    assert set(bulk["data"][0]) <= set(recorded["data"][0])
    assert ask("bulk/v1/get/C/M/HS", reporterCode="4")[1]["data"] == []
    one = {"reporterCode": "528", "period": "202608", "cmdCode": "010121", "flowCode": "M", "partnerCode": "156"}
    naive = ask("data/v1/get/C/M/HS", **one)[1]["data"]
    assert (len(naive), sum(r["primaryValue"] for r in naive)) == (3, 2 * naive[0]["primaryValue"])
    fixed = {"motCode": "0", "partner2Code": "0", "customsCode": "C00"}
    (row,) = ask("data/v1/get/C/M/HS", **one, **fixed)[1]["data"]
    assert len(row) == 34
    assert len(ask("data/v1/get/C/M/HS", **one, **fixed, includeDesc="true")[1]["data"][0]) == 47
    assert ask("public/v1/preview/C/M/HS", None, **one, **fixed)[1]["count"] == 1
    assert ask("data/v1/get/C/M/HS", None, **one)[0] == 401
    status, said = ask("data/v1/get/C/M/HS", "wrong", **one)
    assert (status, said["statusCode"]) == (401, 401)
    assert "invalid subscription key" in said["message"]


# --- what others ask of it -------------------------------------------------------------------------------------------


def test_a_sensor_sees_what_a_fetch_would_ask_for(site: Site) -> None:
    site.live(World([*trades(), *trades(reporters=(97,))]))
    seen = site.client(key=None).availability(["2026-08"])
    waiting = pending_datasets(site.archive, seen.datasets, CODES, ("M", "X"))
    assert [d.slot for d in waiting] == ["comtrade/M/2026-08/276", "comtrade/M/2026-08/528"]
    site.fetch()
    assert pending_datasets(site.archive, seen.datasets, CODES, ("M", "X")) == []
    assert len(pending_datasets(site.archive, seen.datasets, [*CODES, "280461"], ("M", "X"))) == 2
    shutil.rmtree(site.archive.current("comtrade")["comtrade/M/2026-08/528"].path.parent)
    assert [d.reporter for d in pending_datasets(site.archive, seen.datasets, CODES, ("M",))] == [NLD]


def test_the_last_availability_is_remembered(site: Site) -> None:
    assert last_availability(site.home) is None
    site.live(World([*trades(), *trades("202507", reporters=(USA,))]))
    done = site.fetch()
    assert done.availability is not None
    assert last_availability(site.home) == done.availability
    assert [d.iso3 for d in done.availability.datasets] == ["USA", "DEU", "NLD"], "earlier periods too, by period"
    assert done.up_to_date + len(done.fetched) == 2, "but only what was wanted is fetched"
    (site.home / "raw" / "comtrade" / ".availability.json").write_text("[]")
    with pytest.raises(InputRefused, match="the list of datasets cannot be read; remove it and fetch again"):
        last_availability(site.home)


def test_the_status_of_the_source(site: Site) -> None:
    found = comtrade_status(site.archive, site.config, NOW)
    assert (found.stale, found.why, found.held) == (True, "never looked at upstream", None)
    site.live(World([*trades(), *trades("2025", reporters=(NLD,))]))
    site.fetch("2026-08", "2025")
    found = comtrade_status(site.archive, site.config, NOW + timedelta(days=1))
    assert (found.stale, found.checked_at) == (False, "2026-11-24T12:00:00.000000Z")
    assert found.why == "looked at 1 day ago, stale after 35; 3 datasets of 2 periods, the newest 2026-08"
    assert comtrade_status(site.archive, site.config, NOW + timedelta(days=36)).stale


def test_modes_that_are_null_are_totals(site: Site) -> None:
    class Blank(World):
        def __call__(self, asked: Asked) -> Reply:
            reply = super().__call__(asked)
            return replace(reply, body=reply.body.replace(b'"partner2Code": 0', b'"partner2Code": null'))

    site.live(Blank(trades()))
    site.fetch().raise_if_failed()
    assert len(site.rows()) == 24


# --- configuration ---------------------------------------------------------------------------------------------------


def test_the_shipped_section_is_good() -> None:
    shipped = load_upstreams(embedded("reference"))
    config = comtrade_config(shipped.comtrade, shipped.path)
    assert (config.rows_per_call, config.calls_per_day, config.flows) == (100_000, 500, ("M", "X"))


def test_wanted_periods_keep_the_publication_lag(site: Site) -> None:
    site.set(annual_years=2, monthly_months=3, lag_months=2)
    assert wanted_periods(site.config, NOW) == ["2024", "2025", "2026-06", "2026-07", "2026-08"]
    january = datetime(2027, 1, 3, tzinfo=UTC)
    assert wanted_periods(site.config, january) == ["2024", "2025", "2026-08", "2026-09", "2026-10"]
    march = datetime(2027, 3, 3, tzinfo=UTC)
    assert wanted_periods(site.config, march) == ["2025", "2026", "2026-10", "2026-11", "2026-12"]


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        (None, "u.toml: there is no section [comtrade]; restore it."),
        ({"bass": "x"}, "u.toml, [comtrade]: 'base': it is missing."),
        (
            {"base": "https://x.org", "key_page": "https://x.org", "colour": 1},
            "'colour': it is no key of this section.",
        ),
        (
            {"base": "x.org", "key_page": "https://x.org"},
            "'base': 'x.org' is no address (https://...) without a query.",
        ),
        ({"base": "https://x.org?key=1", "key_page": "https://x.org"}, "is no address (https://...) without a query."),
        (
            {"base": "https://x.org", "key_page": "https://x.org", "flows": []},
            "'flows': at least one of M and X is needed.",
        ),
        (
            {"base": "https://x.org", "key_page": "https://x.org", "reporters": ["Holland"]},
            "'reporters': 'Holland' is no country (ISO 3166 alpha-3, e.g. NLD).",
        ),
    ],
)
def test_a_wrong_section_is_refused(section: dict[str, Any] | None, sentence: str) -> None:
    with pytest.raises(InputRefused) as error:
        comtrade_config(section, Path("u.toml"))
    assert str(error.value).endswith(sentence)


def test_wrong_codes_and_periods_are_refused(site: Site) -> None:
    site.live(World(trades()))
    with pytest.raises(WrongUse, match="'10121' is no HS6 code"):
        site.fetch(codes=("10121",))
    with pytest.raises(WrongUse, match="'202608' is no year"):
        site.client().availability(["202608"])
    assert site.fetch(codes=()).sentence == "UN Comtrade: no codes were asked for."
