"""The stand-in server: files with ranges and validators, answers computed per request, misbehaviour on command.

Belongs here: HTTP. What one source's protocol looks like stands in a module of its own beside this one, as a handler
that :meth:`Upstream.handle` mounts.
"""

from __future__ import annotations

import hashlib
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Asked:
    """A request as it came in."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    #: length of the raw request target, for the limit on addresses
    target_length: int


@dataclass(frozen=True)
class Reply:
    """An answer. ``headers`` may replace what the server would set by itself."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class File:
    """A file that is served with Content-Length, ETag, Last-Modified and ranges (or without any of them)."""

    content: bytes
    content_type: str = "application/octet-stream"
    etag: bool = True
    modified: float | None = 1_700_000_000.0
    ranges: bool = True


@dataclass
class Misbehaviour:
    """What goes wrong with the next requests below a path.

    Attributes:
        kind: ``status`` (answer ``status`` with ``headers`` and ``body``); ``slow`` (wait for ``released`` after the
            first ``after`` bytes); ``truncated`` (close after ``after`` bytes of the body, full Content-Length);
            ``drop`` (close without an answer); ``silent`` (take the request and say nothing until ``released``);
            ``wrong_length`` (a Content-Length that is ``after`` bytes too long, connection closed at the end);
            ``no_ranges`` (answer a range with the whole file); ``no_length`` (no Content-Length, the end of the
            connection is the end of the body, after ``after`` bytes if any).
        times: how many requests it holds for; None: until :meth:`Upstream.behave`.
    """

    kind: str
    path: str = "/"
    times: int | None = 1
    status: int = 500
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    after: int = 0
    released: threading.Event = field(default_factory=threading.Event)


class Upstream:
    """The server. Use :func:`upstream`; ``url`` is its address, ``asked`` every request in order."""

    def __init__(self) -> None:
        self.files: dict[str, File] = {}
        self.handlers: dict[str, Callable[[Asked], Reply]] = {}
        self.wrong: list[Misbehaviour] = []
        self.asked: list[Asked] = []
        self.guard = threading.Lock()
        owner = self

        class Handler(_Handler):
            upstream = owner

        self.server = _Server(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def serve(self, path: str, content: bytes | File) -> None:
        """Offer (or replace) a file."""
        self.files[path] = content if isinstance(content, File) else File(content)

    def handle(self, prefix: str, handler: Callable[[Asked], Reply]) -> None:
        """Let a function answer everything below a path."""
        self.handlers[prefix] = handler

    def misbehave(self, kind: str, path: str = "/", **how: Any) -> Misbehaviour:
        """Let the next request(s) below a path go wrong; see :class:`Misbehaviour`."""
        wrong = Misbehaviour(kind, path, **how)
        self.wrong.append(wrong)
        return wrong

    def behave(self) -> None:
        """End every misbehaviour."""
        for wrong in self.wrong:
            wrong.released.set()
        self.wrong.clear()

    def paths(self, prefix: str = "/") -> list[str]:
        """The paths asked for so far, in order."""
        return [a.path for a in self.asked if a.path.startswith(prefix)]

    def take(self, asked: Asked) -> Misbehaviour | None:
        """Note the request; the misbehaviour that holds for it, if any."""
        with self.guard:
            self.asked.append(asked)
            for wrong in self.wrong:
                if asked.path.startswith(wrong.path):
                    if wrong.times is not None:
                        wrong.times -= 1
                        if wrong.times <= 0:
                            self.wrong.remove(wrong)
                    return wrong
        return None


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up (killed, timed out, no room) is part of the tests; anything else is shown."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each body waits 40 ms for the acknowledgement of its headers
    upstream: Upstream

    def log_message(self, format: str, *args: Any) -> None:
        """Stay quiet: tests read ``asked``."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        asked = Asked(self.command, parts.path, query, dict(self.headers.items()), len(self.path))
        wrong = self.upstream.take(asked)
        if wrong is not None and wrong.kind == "drop":
            self.close_connection = True
            return
        if wrong is not None and wrong.kind == "silent":
            wrong.released.wait(30)
            self.close_connection = True
            return
        if wrong is not None and wrong.kind == "status":
            self._send(Reply(wrong.status, wrong.body, headers=wrong.headers), None)
            return
        reply = self._file(asked, ranges=wrong is None or wrong.kind != "no_ranges")
        if reply is None:
            handler = next(
                (h for p, h in sorted(self.upstream.handlers.items(), reverse=True) if asked.path.startswith(p)), None
            )
            reply = handler(asked) if handler else Reply(404, b"not found", "text/plain")
        self._send(reply, wrong)

    def _file(self, asked: Asked, *, ranges: bool) -> Reply | None:
        file = self.upstream.files.get(asked.path)
        if file is None:
            return None
        headers: dict[str, str] = {}
        tag = f'"{hashlib.sha256(file.content).hexdigest()[:16]}"' if file.etag else None
        stamp = formatdate(file.modified, usegmt=True) if file.modified is not None else None
        if tag:
            headers["ETag"] = tag
        if stamp:
            headers["Last-Modified"] = stamp
        given = {k.lower(): v for k, v in asked.headers.items()}
        if (tag and given.get("if-none-match") == tag) or (
            "if-none-match" not in given and stamp and given.get("if-modified-since") == stamp
        ):
            return Reply(304, b"", file.content_type, headers)
        if file.ranges:
            headers["Accept-Ranges"] = "bytes"
            found = re.fullmatch(r"bytes=(\d+)-", given.get("range", ""))
            valid = given.get("if-range") in (None, tag, stamp)
            if found and ranges and valid:
                start, size = int(found.group(1)), len(file.content)
                if start >= size:
                    return Reply(416, b"", file.content_type, {**headers, "Content-Range": f"bytes */{size}"})
                headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
                return Reply(206, file.content[start:], file.content_type, headers)
        return Reply(200, file.content, file.content_type, headers)

    def _send(self, reply: Reply, wrong: Misbehaviour | None) -> None:
        kind = wrong.kind if wrong else ""
        body = reply.body
        self.send_response(reply.status)
        headers = {"Content-Type": reply.content_type, "Content-Length": str(len(body)), **reply.headers}
        if wrong is not None and kind == "wrong_length":
            headers["Content-Length"] = str(len(body) + wrong.after)
        if wrong is not None and kind == "no_length":
            del headers["Content-Length"]
            headers["Connection"] = "close"
            body = body[: wrong.after or None]
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD" or reply.status == 304:
            return
        if wrong is not None and kind in ("truncated", "slow"):
            self.wfile.write(body[: wrong.after])
            self.wfile.flush()
            if kind == "truncated":
                self.close_connection = True
                return
            wrong.released.wait(30)
            body = body[wrong.after :]
        self.wfile.write(body)
        if kind == "wrong_length":
            self.close_connection = True


@contextmanager
def upstream() -> Iterator[Upstream]:
    """A running server; it is gone, and every waiting answer released, at the end."""
    server = Upstream()
    thread = threading.Thread(target=server.server.serve_forever, args=(0.02,), name="upstream", daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.behave()
        server.server.shutdown()
        server.server.server_close()
        thread.join(10)
