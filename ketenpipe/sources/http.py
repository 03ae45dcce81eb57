"""One way to ask an upstream: a ``requests`` session with urllib3's retries, and typed errors in one sentence.

Belongs here: sessions, time-outs, retries, what an error status means in general. Does not belong here: where files are
kept (:mod:`ketenpipe.sources.archive`), what one upstream's answer means.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Collection, Mapping
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.response import BaseHTTPResponse
from urllib3.util.retry import Retry

from ketenpipe.errors import UpstreamFailed

#: Answers that pass: asked again after a pause.
PASSING = (429, 500, 502, 503, 504)
#: The longest pause that an upstream may ask for (seconds); a longer one is an error that says when to come back.
LONGEST_PAUSE = 120

Tell = Callable[[str], None]


class _Told(Retry):
    """urllib3's retries that say what they wait for."""

    tell: Tell = staticmethod(lambda _: None)

    def new(self, **changes: Any) -> _Told:
        again = super().new(**changes)
        again.tell = self.tell
        return again

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: BaseHTTPResponse | None = None,
        error: Exception | None = None,
        *more: Any,
        **named: Any,
    ) -> _Told:
        again = super().increment(method, url, response, error, *more, **named)
        if response is not None and response.status in self.status_forcelist:
            pause = self.get_retry_after(response) or again.get_backoff_time()
            self.tell(f"the server answered {response.status}, asking again in {pause:.0f} s")
        elif error is not None:
            self.tell(f"{type(error).__name__}, asking again in {again.get_backoff_time():.0f} s")
        return again


class Http:
    """A session with retries. One per run; not shared between threads.

    Args:
        retries: how often an answer that passes is asked for again.
        backoff: first pause without a ``Retry-After`` (seconds); doubles each time.
        connect_seconds, read_seconds: how long to wait for a connection, and for the next byte.
        longest_pause: see :data:`LONGEST_PAUSE`.
        tell: called with a sentence before each pause.
    """

    def __init__(
        self,
        *,
        retries: int = 5,
        backoff: float = 1.0,
        connect_seconds: float = 10.0,
        read_seconds: float = 60.0,
        longest_pause: int = LONGEST_PAUSE,
        tell: Tell | None = None,
    ) -> None:
        self.timeout = (connect_seconds, read_seconds)
        self.retries = retries
        retry = _Told(
            total=retries,
            backoff_factor=backoff,
            backoff_max=longest_pause,
            status_forcelist=PASSING,
            allowed_methods=("GET", "HEAD"),
            raise_on_status=False,
            respect_retry_after_header=True,
            retry_after_max=longest_pause,
        )
        retry.tell = tell or (lambda _: None)
        self.session = requests.Session()
        self.session.headers["User-Agent"] = f"ketenpipe/{importlib.metadata.version('ketenpipe')}"
        for scheme in ("http://", "https://"):
            self.session.mount(scheme, HTTPAdapter(max_retries=retry))

    def get(
        self,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        stream: bool = False,
        accept: Collection[int] = (200,),
    ) -> requests.Response:
        """GET, asked again while the answer is one that passes.

        Args:
            url: absolute address.
            params: query.
            headers: more headers (a key goes here, never into the address).
            stream: leave the body unread.
            accept: statuses that are returned; any other raises.

        Raises:
            UpstreamFailed: out of reach, too many redirects, or a status that is not accepted.
        """
        try:
            answer = self.session.get(url, params=params, headers=headers, stream=stream, timeout=self.timeout)
        except requests.RequestException as error:
            raise self.failed(url, error) from error
        if answer.status_code in accept:
            return answer
        with answer:
            raise status_failed(answer, self.retries)

    def failed(self, url: str, error: Exception) -> UpstreamFailed:
        """The sentence for an error below HTTP."""
        if isinstance(error, requests.Timeout):
            what = f"no answer within {self.timeout[1]:.0f} s"
        elif isinstance(error, requests.exceptions.SSLError):
            return UpstreamFailed("the server's certificate is not accepted", url=url, passing=False)
        elif isinstance(error, requests.TooManyRedirects):
            return UpstreamFailed("redirected in a circle", url=url, passing=False)
        elif isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.MissingSchema):
            return UpstreamFailed("this is no address", url=url, passing=False, todo="correct it in upstreams.toml")
        else:
            what = "the server is out of reach"
        return UpstreamFailed(f"{what} (tried {self.retries + 1} times)", url=url, todo="try again later")


def status_failed(answer: requests.Response, retries: int) -> UpstreamFailed:
    """The sentence for a status that nobody asked for."""
    status, url = answer.status_code, (answer.request.url or answer.url).partition("?")[0]
    named = f"{status} ({answer.reason})" if answer.reason else str(status)
    if status in PASSING:
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
