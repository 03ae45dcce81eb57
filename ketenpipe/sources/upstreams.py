"""Where the official files come from: ``upstreams.toml``, one ``[[file]]`` row per file.

Belongs here: the rows, their checks, and what a row makes of a name (label, release, address). Does not belong here:
asking for anything (:mod:`ketenpipe.sources.fetch`), the meaning of the section ``[comtrade]``
(:mod:`ketenpipe.sources.comtrade_api`).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urljoin, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ketenpipe.errors import InputRefused, WrongUse

NAME = "upstreams.toml"
SourceName = Literal["baci", "icio", "wgi", "mining", "concordance", "elasticity"]


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _compiled(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as broken:
        raise ValueError(f"'{pattern}' is no regular expression ({broken})") from broken
    return pattern


class NewestOf(_Row):
    """The newest of the links on a page: ``pattern`` matches the whole file name, its group ``release`` (else its first
    group) is the release."""

    page: str
    pattern: str

    @field_validator("pattern")
    @classmethod
    def _pattern(cls, value: str) -> str:
        if re.compile(_compiled(value)).groups == 0:
            raise ValueError(f"'{value}' needs a group around the release, as in BACI_HS17_(V\\d{{6}}[a-z]?)\\.zip")
        return value

    @field_validator("page")
    @classmethod
    def _page(cls, value: str) -> str:
        return _address(value)


class VintageRange(_Row):
    """The vintage of a range of years; ``{label}`` in it is the file's label."""

    vintage: str
    from_year: int
    to_year: int

    @model_validator(mode="after")
    def _ordered(self) -> VintageRange:
        if self.from_year > self.to_year:
            raise ValueError(f"the years of '{self.vintage}' end before they begin ({self.from_year}-{self.to_year})")
        return self


class FileRow(_Row):
    """One official file.

    Attributes:
        source: whose reader takes it.
        slot: what it is for, ``<source>/...``; one row per slot.
        url: its address; or, instead, ``newest_of``.
        newest_of: a page that links to it, of which the newest release is taken.
        name: the native name (default: the last part of the address).
        label: the release or edition, where it is fixed.
        label_pattern: a regular expression whose first group is the label within the name.
        label_key: the key of the label within the page info of a World Bank answer. Without any of the three the label
            is the month of retrieval.
        hs_revision: for trade files, e.g. ``HS17``.
        licence, producer, citation, note: go into the sidecar as they stand.
        vintages: the vintage per range of years, where the source has several or its reader needs one.
        stale_after_days: days without a look upstream after which the file counts as stale.
        sha256: the hash that the file must have, where the source publishes one.
        enabled: False: fetched only when it is named, and not read.
        by_hand: True: read, but asked for only when it is named; for servers that refuse programs, see
            :func:`ketenpipe.sources.fetch.take_by_hand`.
        optional: True: a server that refuses it, or has no such file, is told and stops nothing: its indicators are
            left out until the file is there. A failure that passes stops the run all the same, to be tried again.
        without: what is done without an optional file, in words, where its indicators are not simply left out.
        beside: the slot of the file that this one belongs to. It is read only while both bear the same label: figures
            of two editions are not joined.
    """

    source: SourceName
    slot: str
    url: str | None = None
    newest_of: NewestOf | None = None
    name: str | None = None
    label: str | None = None
    label_pattern: str | None = None
    label_key: str | None = None
    hs_revision: str | None = Field(None, pattern=r"^HS\d\d$")
    licence: str = "not stated by the source"
    producer: str | None = None
    citation: str | None = None
    note: str | None = None
    vintages: tuple[VintageRange, ...] = ()
    stale_after_days: int = Field(gt=0)
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    enabled: bool = True
    by_hand: bool = False
    optional: bool = False
    without: str | None = None
    beside: str | None = None

    @field_validator("url")
    @classmethod
    def _url(cls, value: str | None) -> str | None:
        return None if value is None else _address(value)

    @field_validator("label_pattern")
    @classmethod
    def _label_pattern(cls, value: str | None) -> str | None:
        if value is not None and re.compile(_compiled(value)).groups == 0:
            raise ValueError(f"'{value}' needs a group around the label")
        return value

    @model_validator(mode="after")
    def _whole(self) -> FileRow:
        if not self.slot.startswith(f"{self.source}/") or self.slot.endswith("/"):
            raise ValueError(f"slot '{self.slot}' must begin with '{self.source}/' and name the file after it")
        if (self.url is None) == (self.newest_of is None):
            raise ValueError("it needs either url or newest_of")
        if sum(x is not None for x in (self.label, self.label_pattern, self.label_key)) > 1:
            raise ValueError("it needs at most one of label, label_pattern and label_key")
        if self.without is not None and not self.optional:
            raise ValueError("without says what is done without an optional file: set optional = true, or leave it out")
        if self.newest_of is not None and (self.label, self.label_pattern, self.label_key) != (None, None, None):
            raise ValueError("newest_of finds the label by itself: leave label, label_pattern and label_key out")
        if self.url is not None:
            name = self.name_at(self.url)
            if not name:
                raise ValueError("its address ends without a name: give it a name")
            if self.label_pattern is not None and re.search(self.label_pattern, name) is None:
                raise ValueError(f"label_pattern '{self.label_pattern}' does not occur in the name '{name}'")
        return self

    def name_at(self, url: str) -> str:
        """The native name of the file at an address."""
        return self.name or unquote(urlsplit(url).path.rpartition("/")[2])

    def label_in(self, name: str) -> str | None:
        """The release or edition as the row or the name states it; None if neither does."""
        if self.newest_of is not None:
            found = re.fullmatch(self.newest_of.pattern, name)
            return None if found is None else _release(found)
        if self.label_pattern is not None:
            found = re.search(self.label_pattern, name)
            return None if found is None else found.group(1)
        return self.label


class Upstreams(_Row):
    """The whole configuration: ``files`` in the order of the file, and the section ``[comtrade]`` as it stands."""

    files: tuple[FileRow, ...] = Field((), alias="file")
    comtrade: dict[str, Any] | None = None
    path: Path | None = None

    def row(self, slot: str) -> FileRow:
        """The row of a slot.

        Raises:
            WrongUse: there is none.
        """
        for row in self.files:
            if row.slot == slot:
                return row
        raise WrongUse(f"upstreams.toml has no row for '{slot}' (it has {', '.join(r.slot for r in self.files)})")

    def chosen(self, which: Iterable[str] | None) -> tuple[FileRow, ...]:
        """The rows that are meant: all that are switched on, or those of the sources and slots that are named.

        Raises:
            WrongUse: a name that is neither a source nor a slot, or a source of which every row is switched off.
        """
        if which is None:
            return tuple(row for row in self.files if row.enabled)
        wanted: list[FileRow] = []
        for name in which:
            rows = [r for r in self.files if r.slot == name or (r.source == name and r.enabled)]
            if not rows and (off := [r.slot for r in self.files if r.source == name]):
                raise WrongUse(
                    f"every row of '{name}' in upstreams.toml is switched off: name its slot ({', '.join(off)}), or "
                    "set enabled = true"
                )
            if not rows:
                known = [*dict.fromkeys(r.source for r in self.files), *(r.slot for r in self.files)]
                known += [] if self.comtrade is None else ["comtrade"]
                raise WrongUse(f"upstreams.toml has no source or slot '{name}' (it has {', '.join(known)})")
            wanted += [r for r in rows if r not in wanted]
        return tuple(wanted)


def load_upstreams(*dirs: Path) -> Upstreams:
    """Reads ``upstreams.toml`` of the last folder that has one (a whole file replaces a whole file).

    Args:
        dirs: reference folders in rising precedence.

    Raises:
        InputRefused: no such file, not readable as TOML, an unknown key, a row without an address, two rows of one
            slot, a pattern that is none; with file and row.
    """
    paths = [folder / NAME for folder in dirs if (folder / NAME).is_file()]
    if not paths:
        raise InputRefused(f"there is no {NAME}", path=dirs[-1] if dirs else None, todo="restore it")
    path = paths[-1]
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as broken:
        raise InputRefused(f"not readable as TOML ({broken})", path=path) from broken
    if unknown := sorted(set(raw) - {"file", "comtrade"}):
        raise InputRefused(f"'{unknown[0]}' is no section of it (there are [[file]] and [comtrade])", path=path)
    rows = raw.get("file", [])
    if not isinstance(rows, list):
        raise InputRefused("the rows are written [[file]], with two brackets", path=path)
    files: list[FileRow] = []
    for at, item in enumerate(rows, start=1):
        named = f"row {at} ({item['slot']})" if isinstance(item, dict) and isinstance(item.get("slot"), str) else None
        where = named or f"row {at}"
        try:
            row = FileRow.model_validate(item)
        except ValidationError as error:
            raise InputRefused(_problem(error), path=path, where=where) from error
        if any(row.slot == other.slot for other in files):
            raise InputRefused("a row of this slot stands above", path=path, where=where, todo="keep one of them")
        files.append(row)
    slots = {row.slot: row.source for row in files}
    for row in files:
        if row.beside is not None and (row.beside == row.slot or slots.get(row.beside) != row.source):
            raise InputRefused(
                f"'{row.beside}' is no other slot of {row.source}, which the file could belong to",
                path=path,
                where=row.slot,
                todo="name the slot of the file that it stands beside",
            )
    comtrade = raw.get("comtrade")
    if comtrade is not None and not isinstance(comtrade, dict):
        raise InputRefused("comtrade is a section, written [comtrade]", path=path)
    return Upstreams(file=tuple(files), comtrade=comtrade, path=path)


def newest_link(wanted: NewestOf, page: str, html: str) -> tuple[str, str, str] | None:
    """The newest file that a page links to.

    Args:
        wanted: what to look for.
        page: the address of the page (links are relative to it).
        html: its text.

    Returns:
        (address, native name, release); None if no link matches the pattern.
    """
    best: tuple[tuple[tuple[int, str], ...], str, str, str] | None = None
    for link in _links(html):
        url = urljoin(page, link)
        parts = urlsplit(url)
        found = re.fullmatch(wanted.pattern, unquote(parts.path.rpartition("/")[2]))
        if found is None or parts.scheme not in ("http", "https"):
            continue
        release = _release(found)
        if best is None or release_order(release) > best[0]:
            best = release_order(release), parts._replace(fragment="").geturl(), found.group(0), release
    return None if best is None else best[1:]


def release_order(release: str) -> tuple[tuple[int, str], ...]:
    """A key in which V202401 < V202401b < V202501: numbers by value, letters after their absence."""
    parts = re.findall(r"\d+|\D+", release.lower())
    return tuple((int(p), "") if p.isdigit() else (-1, p) for p in parts)


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if tag == "a" and name == "href" and value]


def _links(html: str) -> Sequence[str]:
    parser = _Links()
    parser.feed(html)
    return parser.found


def _release(found: re.Match[str]) -> str:
    return str(found.groupdict().get("release") or found.group(1))


def _address(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"'{value}' is no address (https://...)")
    if parts.username or parts.password:
        raise ValueError("an address holds no user name and no password")
    return value


def _problem(error: ValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"'{place}' is no key of a row"
    if first["type"] == "missing":
        return f"'{place}' is missing"
    said = first["msg"].removeprefix("Value error, ")
    return f"{place}: {said}" if place else said
