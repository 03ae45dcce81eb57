"""All official sources together: what is asked for, what went wrong, what is news."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from pydantic import SecretStr

from ketenpipe.errors import KeyRefused, QuotaExhausted, UpstreamFailed, WrongUse
from ketenpipe.sources.archive import Archive
from ketenpipe.sources.official import codes_to_ask, fetch_official, news, official_status
from ketenpipe.sources.upstreams import Upstreams, load_upstreams
from ketenpipe_tests.upstream.official import CODES, KEY, Official
from ketenpipe_tests.upstream.server import upstream

PAIRS = pa.table(
    {
        "from_system": ["HS22", "HS22", "HS17", "ISIC3", "HS22"],
        "from_code": ["111111", "222222", "333333", "0101", "444444"],
        "to_system": ["HS17", "HS17", "HS92", "HS17", "HS17"],
        "to_code": ["282200", "810510", "282200", "282200", "999999"],
    }
)


class Stage:
    """A home whose upstreams are a stand-in."""

    def __init__(self, official: Official, home: Path) -> None:
        self.official, self.home, self.codes = official, home, set(CODES)
        official.write(home)

    @property
    def upstreams(self) -> Upstreams:
        return load_upstreams(self.home / "reference")

    def fetch(self, *which: str, key: str | None = KEY, **more: object):
        secret = None if key is None else SecretStr(key)
        return fetch_official(
            self.home,
            self.upstreams,
            secret,
            lambda: self.codes,
            which=which or None,
            **more,  # type: ignore[arg-type]
        )


@pytest.fixture
def stage(tmp_path: Path):
    with upstream() as server:
        yield Stage(Official(server), tmp_path)


def test_codes_are_followed_back_from_newer_revisions() -> None:
    assert codes_to_ask(["282200", "810510"], "HS17", PAIRS) == {"282200", "810510", "111111", "222222"}
    assert codes_to_ask(["282200"], "HS92", PAIRS) == {"282200", "333333"}
    assert codes_to_ask([], "HS17", PAIRS) == set()


def test_everything_is_fetched_and_nothing_twice(stage: Stage) -> None:
    first = stage.fetch()
    first.raise_if_failed()
    assert first.changed
    assert {f.slot: f.state for f in first.files} == dict.fromkeys(
        ("baci/HS92", "wgi/PV", "mining/wmd", "icio/SML"), "new"
    )
    assert first.comtrade is not None
    assert first.comtrade.fetched
    again = stage.fetch()
    again.raise_if_failed()
    assert not again.changed
    assert {f.state for f in again.files} == {"unchanged"}


def test_without_a_key_the_rest_is_fetched_and_it_is_said(stage: Stage) -> None:
    fetched = stage.fetch(key=None)
    fetched.raise_if_failed()
    assert any("KETENPIPE_COMTRADE_KEY" in sentence for sentence in fetched.sentences)
    assert not Archive(stage.home).files("comtrade")
    with pytest.raises(KeyRefused, match="KETENPIPE_COMTRADE_KEY"):
        stage.fetch("comtrade", key=None)


def test_one_failure_does_not_stop_the_others(stage: Stage) -> None:
    stage.official.server.misbehave("status", "/wgi.csv", times=None, status=404)
    fetched = stage.fetch()
    assert {f.slot for f in fetched.files if f.state == "failed"} == {"wgi/PV"}
    assert Archive(stage.home).files("baci")
    assert Archive(stage.home).files("comtrade")
    with pytest.raises(UpstreamFailed, match=r"wgi\.csv: there is no such file"):
        fetched.raise_if_failed()


def test_several_failures_are_one_sentence_that_names_each(stage: Stage) -> None:
    stage.official.server.misbehave("status", "/wgi.csv", times=None, status=404)
    stage.official.comtrade.quota = 3
    fetched = stage.fetch()
    with pytest.raises(UpstreamFailed, match=r"wgi\.csv.*[Cc]all"):
        fetched.raise_if_failed()


def test_out_of_calls_goes_on_where_it_ended(stage: Stage, tmp_path: Path) -> None:
    stage.official.comtrade.quota = 5
    stopped = stage.fetch("comtrade")
    with pytest.raises(QuotaExhausted):
        stopped.raise_if_failed()
    held = {f.relative for f in Archive(stage.home).files("comtrade")}
    stage.official.comtrade.quota = None
    (stage.home / "raw" / "comtrade" / ".calls.json").unlink()
    stage.fetch("comtrade").raise_if_failed()
    whole = {f.relative for f in Archive(stage.home).files("comtrade")}
    assert held <= whole
    other = Stage(stage.official, tmp_path / "other")
    other.fetch("comtrade").raise_if_failed()
    assert {f.sha256 for f in Archive(other.home).files("comtrade")} == {
        f.sha256 for f in Archive(stage.home).files("comtrade")
    }


def test_news_are_the_datasets_that_a_fetch_would_ask_for(stage: Stage) -> None:
    before = news(stage.home, stage.upstreams, stage.codes)
    assert {d.reporter for d in before} >= {528, 276}
    stage.fetch("comtrade").raise_if_failed()
    assert news(stage.home, stage.upstreams, stage.codes) == []
    trades = list(stage.official.comtrade.trades)
    one = next(t for t in trades if t.reporter == 528)
    changed = type(one)(**{**vars(one), "value": one.value + 1})
    stage.official.comtrade.trades = [changed if t is one else t for t in trades]
    assert [(d.reporter, d.frequency) for d in news(stage.home, stage.upstreams, stage.codes)] == [(528, one.frequency)]


def test_status_counts_comtrade_as_one_source(stage: Stage) -> None:
    archive = Archive(stage.home)
    rows = {r.slot: r for r in official_status(stage.home, stage.upstreams, archive.now())}
    assert all(r.stale for r in rows.values())
    stage.fetch().raise_if_failed()
    rows = {r.slot: r for r in official_status(stage.home, stage.upstreams, archive.now())}
    assert not any(r.stale for r in rows.values())
    assert "datasets" in rows["comtrade"].why


def test_comtrade_without_its_section(stage: Stage) -> None:
    path = stage.home / "reference" / "upstreams.toml"
    path.write_text(path.read_text().split("[comtrade]")[0])
    with pytest.raises(WrongUse, match=r"no section \[comtrade\]"):
        stage.fetch("comtrade")
    with pytest.raises(WrongUse, match=r"no section \[comtrade\]"):
        news(stage.home, stage.upstreams, stage.codes)
    fetched = stage.fetch()
    assert fetched.comtrade is None
    assert {r.slot for r in official_status(stage.home, stage.upstreams, Archive(stage.home).now())} == {
        "baci/HS92", "wgi/PV", "mining/wmd", "icio/SML"
    }  # fmt: skip
