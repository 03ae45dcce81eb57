"""One way to ask an upstream: a ``requests`` session with urllib3's retries, and typed errors in one sentence.

Belongs here: sessions, time-outs, retries, what an error status means in general. Does not belong here: where files are
kept (:mod:`ketenpipe.sources.archive`), what one upstream's answer means.
"""

from __future__ import annotations

import importlib.metadata
import math
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import (
    HTTPError,
    InvalidHeader,
    MaxRetryError,
    NameResolutionError,
    ProtocolError,
    ProxyError,
    ReadTimeoutError,
    ResponseError,
)
from urllib3.response import BaseHTTPResponse
from urllib3.util.retry import Retry

from ketenpipe.errors import UpstreamFailed

#: Answers that pass: asked again after a pause.
PASSING = (429, 500, 502, 503, 504)
#: The longest pause that an upstream may ask for (seconds); a longer one is an error that says when to come back.
LONGEST_PAUSE = 120
#: Retry-After is read up to this many seconds (ten years), so that what the server asked for can be told.
_READABLE_PAUSE = 315_360_000

Tell = Callable[[str], None]


class Told(Retry):
    """urllib3's retries that say what they wait for, and that give up at once where the pause asked for is too long."""

    tell: Tell = staticmethod(lambda _: None)
    longest_pause: float = LONGEST_PAUSE

    def new(self, **changes: Any) -> Told:
        again = super().new(**changes)
        again.tell, again.longest_pause = self.tell, self.longest_pause
        return again

    def get_retry_after(self, response: BaseHTTPResponse) -> float | None:
        """The seconds that the server asks to wait; None where it says nothing, or nothing that can be read."""
        try:
            return super().get_retry_after(response)
        except InvalidHeader:
            return None

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: BaseHTTPResponse | None = None,
        error: Exception | None = None,
        *more: Any,
        **named: Any,
    ) -> Told:
        """One try less.

        Raises:
            MaxRetryError: none is left, or the server asks for a pause longer than ``longest_pause``.
        """
        again = super().increment(method, url, response, error, *more, **named)
        if response is not None and response.status in self.status_forcelist:
            pause = self.get_retry_after(response)
            if pause is not None and pause > self.longest_pause:
                # urllib3 hands the answer back to the caller, who reads Retry-After from it.
                raise MaxRetryError(named.get("_pool"), url or "", ResponseError("the pause asked for is too long"))  # type: ignore[arg-type]
            pause = pause or again.get_backoff_time()
            self.tell(f"the server answered {response.status}, asking again in {pause:.0f} s")
        elif error is not None:
            self.tell(f"{_below_http(error)}, asking again in {again.get_backoff_time():.0f} s")
        return again


class Http:
    """A session with retries. One per run; not shared between threads.

    Args:
        retries: how often an answer that passes is asked for again.
        connect_retries: how often a server that cannot be reached at all is tried again. Once it was not, its other
            addresses are not tried in this session: a machine without a network shall say so in seconds.
        backoff: first pause without a ``Retry-After`` (seconds); doubles each time.
        connect_seconds, read_seconds: how long to wait for a connection, and for the next byte.
        longest_pause: see :data:`LONGEST_PAUSE`.
        tell: called with a sentence before each pause.
    """

    def __init__(
        self,
        *,
        retries: int = 5,
        connect_retries: int = 2,
        backoff: float = 1.0,
        connect_seconds: float = 10.0,
        read_seconds: float = 60.0,
        longest_pause: int = LONGEST_PAUSE,
        tell: Tell | None = None,
    ) -> None:
        self.timeout = (connect_seconds, read_seconds)
        self.retries = retries
        self.connect_retries = min(connect_retries, retries)
        self.out_of_reach: dict[str, str] = {}
        self.retry = Told(
            total=retries,
            connect=self.connect_retries,
            backoff_factor=backoff,
            backoff_max=longest_pause,
            status_forcelist=PASSING,
            allowed_methods=("GET", "HEAD"),
            raise_on_status=False,
            respect_retry_after_header=True,
            retry_after_max=_READABLE_PAUSE,
        )
        self.retry.tell = tell or (lambda _: None)
        self.retry.longest_pause = longest_pause
        self.session = requests.Session()
        self.session.headers["User-Agent"] = f"ketenpipe/{importlib.metadata.version('ketenpipe')}"
        for scheme in ("http://", "https://"):
            self.session.mount(scheme, HTTPAdapter(max_retries=self.retry))

    def get(
        self,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        stream: bool = False,
        accept: Collection[int] = (200,),
        redirects: bool = True,
    ) -> requests.Response:
        """GET, asked again while the answer is one that passes.

        Args:
            url: absolute address.
            params: query.
            headers: more headers (a key goes here, never into the address).
            stream: leave the body unread.
            accept: statuses that are returned; any other raises.
            redirects: whether a redirect is followed; not where a header holds a key, which would go along.

        Raises:
            UpstreamFailed: out of reach, too many redirects, an answer that breaks off, a pause asked for that is
                longer than ``longest_pause`` (it says when to come back), or a status that is not accepted.
        """
        host = urlsplit(url).netloc
        if host in self.out_of_reach:
            raise UpstreamFailed(self.out_of_reach[host], url=shown(url), todo="try again later")
        try:
            answer = self.session.get(
                url, params=params, headers=headers, stream=stream, timeout=self.timeout, allow_redirects=redirects
            )
        except requests.RequestException as error:
            raise self.failed(url, error) from error
        if answer.status_code in accept:
            return answer
        with answer:
            raise status_failed(answer, self.retries, self.retry.longest_pause)

    def failed(self, url: str, error: Exception) -> UpstreamFailed:
        """The sentence for an error below HTTP."""
        if isinstance(error, requests.exceptions.SSLError):
            return UpstreamFailed("the server's certificate is not accepted", url=shown(url), passing=False)
        if isinstance(error, requests.TooManyRedirects):
            return UpstreamFailed("redirected in a circle", url=shown(url), passing=False)
        if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.MissingSchema):
            return UpstreamFailed(
                "this is no address", url=shown(url), passing=False, todo="correct it in upstreams.toml"
            )
        if isinstance(error, requests.exceptions.ChunkedEncodingError | requests.exceptions.ContentDecodingError):
            return UpstreamFailed("the answer broke off before its end", url=shown(url), todo="try again later")
        what = _below_http(error)
        if what == _SILENT:
            what = f"no answer within {self.timeout[1]:g} s"
        unreached = isinstance(error, requests.ConnectionError) and what in (_UNKNOWN, _UNREACHED)
        if error.args and isinstance(error.args[0], MaxRetryError):
            what = f"{what} (tried {(self.connect_retries if unreached else self.retries) + 1} times)"
        if unreached:
            self.out_of_reach[urlsplit(url).netloc] = what
        return UpstreamFailed(what, url=shown(url), todo="try again later")


_SILENT = "no byte in time"
_UNKNOWN = "the server's name is not known here (no network, or a wrong address)"
_UNREACHED = "the server is out of reach"


def shown(url: str) -> str:
    """An address as it may stand in a sentence: without its query."""
    return url.partition("?")[0]


def _below_http(error: Exception) -> str:
    """What went wrong below HTTP, in words; looks through the wrappers of requests and urllib3."""
    inner: object = error.args[0] if isinstance(error, requests.RequestException) and error.args else error
    if isinstance(inner, MaxRetryError) and inner.reason is not None:
        inner = inner.reason
    if isinstance(inner, ReadTimeoutError) or isinstance(error, requests.ReadTimeout):
        return _SILENT
    if isinstance(inner, ProxyError) or isinstance(error, requests.exceptions.ProxyError):
        return "the proxy does not answer"
    if isinstance(inner, NameResolutionError):
        return _UNKNOWN
    if isinstance(inner, HTTPError) and "closed connection without response" in str(inner):
        return "the server closed the connection without an answer"
    if isinstance(inner, ProtocolError):
        return "the connection broke off"
    return _UNREACHED


def pause_asked(answer: requests.Response) -> float | None:
    """The seconds that an answer's Retry-After asks to wait; None where it says nothing readable."""
    return Told(retry_after_max=_READABLE_PAUSE).get_retry_after(answer.raw)


def status_failed(answer: requests.Response, retries: int, longest_pause: float = LONGEST_PAUSE) -> UpstreamFailed:
    """The sentence for a status that nobody asked for."""
    status, url = answer.status_code, shown(answer.request.url or answer.url)
    named = f"{status} ({answer.reason})" if answer.reason else str(status)
    if status in PASSING:
        pause = pause_asked(answer)
        if pause is not None and pause > longest_pause:
            back = datetime.now(UTC) + timedelta(seconds=pause)
            return UpstreamFailed(
                f"the server answered {named} and asks to come back in {_span(pause)}",
                url=url,
                todo=f"run it again after {back:%Y-%m-%d %H:%M} UTC",
            )
        return UpstreamFailed(
            f"the server answered {named} {retries + 1} times", url=url, todo="it usually passes: try again later"
        )
    if status in (404, 410):
        return UpstreamFailed(
            f"there is no such file, the server answered {named}",
            url=url,
            todo="correct the address in upstreams.toml",
            passing=False,
        )
    return UpstreamFailed(f"the server answered {named}", url=url, passing=False)


def _span(seconds: float) -> str:
    """A span of time in the unit that fits, rounded up."""
    for unit, size in (("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{math.ceil(seconds / size)} {unit}"
    return f"{math.ceil(seconds)} s"
