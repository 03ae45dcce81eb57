"""How an upstream is asked: what passes is asked again, what does not becomes one sentence."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from ketenpipe.errors import UpstreamFailed
from ketenpipe.sources.http import Http
from ketenpipe_tests.upstream.server import Asked, Reply, Upstream, upstream


@pytest.fixture
def server() -> Iterator[Upstream]:
    with upstream() as running:
        running.serve("/a.txt", b"hello")
        yield running


def quick(**more: float) -> Http:
    return Http(retries=3, backoff=0.0, connect_seconds=5, read_seconds=5, **more)  # type: ignore[arg-type]


def sentence(http: Http, url: str) -> str:
    with pytest.raises(UpstreamFailed) as failed:
        http.get(url)
    assert failed.value.url is None or "?" not in failed.value.url
    return str(failed.value)


def test_an_answer_comes_back_and_the_asker_says_who_it_is(server: Upstream) -> None:
    assert quick().get(f"{server.url}/a.txt", params={"x": "1"}, headers={"Key": "k"}).content == b"hello"
    asked = server.asked[0]
    assert asked.query == {"x": "1"}
    assert asked.headers["Key"] == "k"
    assert asked.headers["User-Agent"].startswith("ketenpipe/")


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_an_error_that_passes_is_asked_again(server: Upstream, status: int) -> None:
    told: list[str] = []
    server.misbehave("status", status=status, times=2)
    http = Http(retries=3, backoff=0.0, tell=told.append)
    assert http.get(f"{server.url}/a.txt").content == b"hello"
    assert len(server.asked) == 3
    assert told == [f"the server answered {status}, asking again in 0 s"] * 2


def test_an_error_that_stays_is_named_with_the_number_of_tries(server: Upstream) -> None:
    server.misbehave("status", status=500, times=None)
    assert sentence(quick(), f"{server.url}/a.txt?key=secret") == (
        f"{server.url}/a.txt: the server answered 500 (Internal Server Error) 4 times; "
        "it usually passes: try again later."
    )
    assert len(server.asked) == 4


def test_a_pause_that_is_asked_for_is_kept(server: Upstream) -> None:
    told: list[str] = []
    server.misbehave("status", status=429, headers={"Retry-After": "1"})
    before = datetime.now(UTC)
    assert Http(retries=2, backoff=0.0, tell=told.append).get(f"{server.url}/a.txt").content == b"hello"
    assert datetime.now(UTC) - before >= timedelta(seconds=1)
    assert told == ["the server answered 429, asking again in 1 s"]


@pytest.mark.parametrize(
    ("retry_after", "said"),
    [("7200", "come back in 2 hours"), ("86400", "come back in 24 hours"), ("180", "come back in 3 minutes")],
)
def test_a_pause_that_is_too_long_is_not_cut_but_told(server: Upstream, retry_after: str, said: str) -> None:
    server.misbehave("status", status=429, headers={"Retry-After": retry_after}, times=None)
    told = sentence(quick(), f"{server.url}/a.txt")
    assert f"the server answered 429 (Too Many Requests) and asks to {said}" in told
    back = datetime.strptime(told.partition("run it again after ")[2], "%Y-%m-%d %H:%M UTC.").replace(tzinfo=UTC)
    assert abs(back - datetime.now(UTC) - timedelta(seconds=int(retry_after))) < timedelta(minutes=2)
    assert len(server.asked) == 1


def test_a_pause_until_a_date_is_read_and_one_that_is_no_pause_is_ignored(server: Upstream) -> None:
    when = format_datetime(datetime.now(UTC) + timedelta(hours=5), usegmt=True)
    server.misbehave("status", status=503, headers={"Retry-After": when}, times=None)
    assert "asks to come back in 5 hours" in sentence(quick(), f"{server.url}/a.txt")
    server.behave()
    server.misbehave("status", status=503, headers={"Retry-After": "soon"})
    assert quick().get(f"{server.url}/a.txt").content == b"hello"


def test_an_accepted_status_with_a_long_pause_comes_back_to_the_caller(server: Upstream) -> None:
    server.misbehave("status", status=429, headers={"Retry-After": "7200"}, body=b"quota", times=None)
    answer = quick().get(f"{server.url}/a.txt", accept=(200, 429))
    assert (answer.status_code, answer.content) == (429, b"quota")


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (404, "there is no such file, the server answered 404 (Not Found); correct the address in upstreams.toml."),
        (410, "there is no such file, the server answered 410 (Gone); correct the address in upstreams.toml."),
        (401, "the server answered 401 (Unauthorized)."),
        (414, "the server answered 414"),
    ],
)
def test_what_does_not_pass_is_asked_once(server: Upstream, status: int, said: str) -> None:
    server.misbehave("status", status=status, times=None)
    with pytest.raises(UpstreamFailed) as failed:
        quick().get(f"{server.url}/a.txt")
    assert said in str(failed.value)
    assert not failed.value.passing
    assert len(server.asked) == 1


def test_a_dropped_connection_is_asked_again_and_then_named(server: Upstream) -> None:
    server.misbehave("drop", times=2)
    assert quick().get(f"{server.url}/a.txt").content == b"hello"
    server.misbehave("drop", times=None)
    assert "the server closed the connection without an answer (tried 4 times)" in sentence(
        quick(), f"{server.url}/a.txt"
    )


def test_a_server_that_is_not_there_is_named() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        assert "the server is out of reach (tried 3 times); try again later" in sentence(
            quick(), f"http://127.0.0.1:{port}/x"
        )


def test_a_server_out_of_reach_is_not_waited_for_at_each_of_its_addresses(server: Upstream) -> None:
    said: list[str] = []
    http = Http(retries=3, connect_retries=1, backoff=0.001, tell=said.append)
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        there = f"http://127.0.0.1:{reserved.getsockname()[1]}"
        assert "out of reach (tried 2 times)" in sentence(http, f"{there}/a")
        waits = len(said)
        assert "out of reach (tried 2 times)" in sentence(http, f"{there}/b")
        assert len(said) == waits
    assert http.get(f"{server.url}/a.txt").content == b"hello"
    server.misbehave("drop", times=4)
    assert "closed the connection" in sentence(http, f"{server.url}/a.txt")
    assert http.get(f"{server.url}/a.txt").content == b"hello"


def test_a_name_that_nobody_knows_is_named() -> None:
    assert "the server's name is not known here" in sentence(quick(), "http://nowhere.invalid/x")


def test_a_silent_server_is_named_with_the_seconds(server: Upstream) -> None:
    server.misbehave("silent", times=None)
    http = Http(retries=1, backoff=0.0, read_seconds=0.3)
    assert "no answer within 0.3 s (tried 2 times)" in sentence(http, f"{server.url}/a.txt")


def test_a_body_that_breaks_off_is_no_answer(server: Upstream) -> None:
    for kind in ("truncated", "wrong_length"):
        server.misbehave(kind, after=3)
        assert "the answer broke off before its end; try again later." in sentence(quick(), f"{server.url}/a.txt")


def test_a_body_that_stops_is_named(server: Upstream) -> None:
    server.misbehave("slow", after=2)
    http = Http(retries=1, backoff=0.0, read_seconds=0.3)
    assert sentence(http, f"{server.url}/a.txt").endswith("a.txt: no answer within 0.3 s; try again later.")


def test_a_circle_of_redirects_is_named(server: Upstream) -> None:
    server.handle("/circle", lambda asked: Reply(302, headers={"Location": "/circle"}))
    assert "redirected in a circle" in sentence(quick(), f"{server.url}/circle")


def test_a_redirect_is_followed(server: Upstream) -> None:
    def elsewhere(asked: Asked) -> Reply:
        return Reply(302, headers={"Location": "/a.txt"})

    server.handle("/moved", elsewhere)
    assert quick().get(f"{server.url}/moved").content == b"hello"


@pytest.mark.parametrize("url", ["nowhere", "http://"])
def test_what_is_no_address_is_named(url: str) -> None:
    assert "this is no address; correct it in upstreams.toml" in sentence(quick(), url)
