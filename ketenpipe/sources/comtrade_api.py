"""UN Comtrade API v1: asks for what changed, within the day's calls, in parts that are never cut off.

A dataset is what one country reports of one year or month. The availability endpoint says which datasets there are and
gives each a checksum; only those whose checksum differs from what the archive holds are asked for. The answer of a
dataset becomes one file of the archive, all flows together, in the API's own fields.

Every query fixes mode of transport (0), second partner (0) and customs procedure (C00), because without them one key
comes back up to eight times. An answer at the cap of rows may be cut off: it is asked for again in halves. What the day
allows is counted in ``<home>/raw/comtrade/.calls.json``, before each call. The key goes into a header and nowhere else.

Belongs here: asking, counting calls, splitting, keeping. Does not belong here: what the rows mean
(:mod:`ketenpipe.sources.comtrade`), who is waited for (:mod:`ketenpipe.sources.coverage`).
"""

from __future__ import annotations

import gzip
import json
import math
import re
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlencode

import requests
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from ketenpipe.errors import InputRefused, KetenpipeError, KeyRefused, QuotaExhausted, UpstreamFailed, WrongUse
from ketenpipe.sources.archive import Archive, Kept, Provenance, moment, stamp
from ketenpipe.sources.comtrade import ROWS_PER_PREVIEW, Frequency, area, codes_of, frequency_of, period_name
from ketenpipe.sources.coverage import Availability, Dataset, history
from ketenpipe.sources.fetch import Fetched, Progress, Silent, SourceStatus, raise_if_failed
from ketenpipe.sources.http import Http, pause_asked, status_failed
from ketenpipe.tables.store import write_bytes_atomic

KEY_VARIABLE = "KETENPIPE_COMTRADE_KEY"
_HEADER = "Ocp-Apim-Subscription-Key"
#: What every query for rows fixes, so that a key comes back once.
FIXED = {"motCode": "0", "partner2Code": "0", "customsCode": "C00", "includeDesc": "true"}
#: Periods that one request may name.
PERIODS_PER_REQUEST = 12
#: HS6 codes of a revision, roughly: what share of a dataset some codes may be is guessed from it.
_CODES_IN_ALL = 5_000
#: How much larger than its even share the part of our codes is taken to be, before any answer has been seen.
_FIRST_MARGIN = 4.0
#: How full a call is planned to be; what turns out fuller is split.
_FILL = 0.7
#: Fields of a row that are read or prove something. An answer without one of them has changed its layout.
_FIELDS = (
    "period",
    "reporterCode",
    "flowCode",
    "partnerCode",
    "partner2Code",
    "classificationCode",
    "cmdCode",
    "customsCode",
    "motCode",
    "netWgt",
    "primaryValue",
)
_AVAILABILITY_FIELDS = (
    "period",
    "reporterCode",
    "classificationCode",
    "totalRecords",
    "datasetChecksum",
    "firstReleased",
    "lastReleased",
)
_KEY_FIELDS = (
    "flowCode",
    "cmdCode",
    "partnerCode",
    "partner2Code",
    "motCode",
    "customsCode",
    "mosCode",
    "classificationCode",
)
#: Statuses whose meaning is UN Comtrade's own.
_OWN_STATUSES = (200, 400, 401, 403, 413, 414, 429)
_RATE_TRIES = 3
#: Datasets that may fail, each for itself, before the day's calls are no longer spent on it.
_FAILURES = 20


class ComtradeConfig(BaseModel):
    """The section ``[comtrade]`` of ``upstreams.toml``.

    Attributes:
        base: address of the API.
        rows_per_call, calls_per_day: what the subscription allows.
        seconds_between_calls: pause between two calls.
        longest_address: characters of an address above which a query is split.
        annual_years, monthly_months: how many years and months back are kept up.
        lag_months: months after the end of a period before which nobody can have reported it.
        flows: M (imports) and X (exports).
        reporters: countries (ISO3) that are asked for; empty: all that report.
        licence, producer, citation: for the sidecars.
        key_page: where a key comes from.
        stale_after_days: days without a look upstream after which the source counts as stale.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    base: str
    rows_per_call: int = Field(100_000, ge=2)
    calls_per_day: int = Field(500, ge=1)
    seconds_between_calls: float = Field(1.0, ge=0)
    longest_address: int = Field(4_000, ge=300)
    annual_years: int = Field(4, ge=0)
    monthly_months: int = Field(24, ge=0)
    lag_months: int = Field(2, ge=0)
    flows: tuple[Literal["M", "X"], ...] = ("M", "X")
    reporters: tuple[str, ...] = ()
    licence: str = "not stated by the source"
    producer: str = "United Nations Statistics Division"
    citation: str | None = None
    key_page: str
    stale_after_days: int = Field(35, gt=0)

    @field_validator("base", "key_page")
    @classmethod
    def _address(cls, value: str) -> str:
        if not re.fullmatch(r"https?://[^/?#@\s]+(/[^?#\s]*)?", value):
            raise ValueError(f"'{value}' is no address (https://...) without a query")
        if not re.match(r"https:|http://(127\.0\.0\.1|localhost)(:|/|$)", value):
            raise ValueError(f"'{value}' would send the key in the open: it must begin with https://")
        return value.rstrip("/")

    @field_validator("flows")
    @classmethod
    def _flows(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("at least one of M and X is needed")
        return tuple(sorted(set(value)))

    @field_validator("reporters")
    @classmethod
    def _reporters(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if strange := [c for c in value if c not in codes_of()]:
            raise ValueError(f"'{strange[0]}' is no country (ISO 3166 alpha-3, e.g. NLD)")
        return tuple(sorted(set(value)))


def comtrade_config(section: Mapping[str, Any] | None, path: Path | None = None) -> ComtradeConfig:
    """The section ``[comtrade]``, checked.

    Raises:
        InputRefused: it is missing, or holds an unknown key or a value that cannot be taken.
    """
    if section is None:
        raise InputRefused("there is no section [comtrade]", path=path, todo="restore it")
    try:
        return ComtradeConfig.model_validate(dict(section))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        said = {"extra_forbidden": "it is no key of this section", "missing": "it is missing"}.get(
            first["type"], first["msg"].removeprefix("Value error, ")
        )
        raise InputRefused(f"'{name}': {said}", path=path, where="[comtrade]") from error


def wanted_periods(config: ComtradeConfig, today: datetime) -> list[str]:
    """The years and months that are kept up: those that ended at least ``lag_months`` ago, back to the configured span.

    Args:
        today: the present moment.
    """
    last = today.year * 12 + today.month - 1 - 1 - config.lag_months
    months = [f"{n // 12}-{n % 12 + 1:02d}" for n in range(last - config.monthly_months + 1, last + 1)]
    last_year = (last + 1) // 12 - 1
    return [*(str(y) for y in range(last_year - config.annual_years + 1, last_year + 1)), *months]


# --- calls of a day --------------------------------------------------------------------------------------------------


class _Closed(Exception):
    """No call may be made until a moment."""

    def __init__(self, why: str, until: datetime) -> None:
        super().__init__(why)
        self.why, self.until = why, until


class Calls:
    """The calls of the present day (UTC), in a small file, so that several runs share one count.

    Args:
        path: the file; its folder is made when the first call is counted.
        per_day: how many are allowed.
        now: the present moment.
    """

    def __init__(self, path: Path, per_day: int, now: Callable[[], datetime]) -> None:
        self.path, self.per_day, self.now = path, per_day, now

    def used(self) -> int:
        """Calls made today."""
        state = self._state()
        return int(state["calls"]) if state.get("day") == self._today() else 0

    def left(self) -> int:
        """Calls that today still allows."""
        return 0 if self._closed_until() else max(0, self.per_day - self.used())

    def spend(self, calls: int = 1) -> None:
        """Count a call before it is made.

        Raises:
            _Closed: it would be one too many, or UN Comtrade has said that the quota is used up.
        """
        closed = self._closed_until()
        if closed is not None:
            raise _Closed("UN Comtrade says that the quota of calls is used up", closed)
        used = self.used()
        if used >= self.per_day:
            tomorrow = datetime.combine(self.now().astimezone(UTC).date() + timedelta(days=1), datetime.min.time(), UTC)
            raise _Closed(f"the {self.per_day} calls of a day are used up", tomorrow)
        self._write({"day": self._today(), "calls": used + calls})

    def add(self, calls: int) -> None:
        """Count calls that were made already (repeats after an answer that passes)."""
        if calls:
            self._write({"day": self._today(), "calls": self.used() + calls})

    def close(self, until: datetime) -> None:
        """Remember that UN Comtrade takes no call until a moment."""
        self._write({"day": self._today(), "calls": self.used(), "closed_until": stamp(until)})

    def _today(self) -> str:
        return self.now().astimezone(UTC).date().isoformat()

    def _closed_until(self) -> datetime | None:
        text = self._state().get("closed_until")
        until = datetime.fromisoformat(text) if text else None
        return until if until is not None and until > self.now() else None

    def _state(self) -> dict[str, Any]:
        try:
            raw = json.loads(self.path.read_text(encoding="utf-8"))
            if raw.get("closed_until") is not None:
                datetime.fromisoformat(raw["closed_until"])
            return {"day": str(raw["day"]), "calls": int(raw["calls"]), "closed_until": raw.get("closed_until")}
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError, AttributeError) as broken:
            raise InputRefused(
                "the count of today's calls cannot be read", path=self.path, todo="remove the file"
            ) from broken

    def _write(self, state: Mapping[str, Any]) -> None:
        write_bytes_atomic(self.path, (json.dumps(state) + "\n").encode())


# --- queries ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Query:
    """One question for rows: the product of its lists. ``partners`` empty: all."""

    frequency: Frequency
    period: str
    reporters: tuple[int, ...]
    flows: tuple[str, ...]
    codes: tuple[str, ...]
    partners: tuple[int, ...] = ()

    def params(self) -> dict[str, str]:
        """The query's parameters, without any key."""
        given = {
            "reporterCode": _listed(self.reporters),
            "period": self.period.replace("-", ""),
            "flowCode": _listed(self.flows),
            "cmdCode": _listed(self.codes),
        }
        if self.partners:
            given["partnerCode"] = _listed(self.partners)
        return given | FIXED

    def halves(self, *, longest: bool = False) -> tuple[Query, Query] | None:
        """The question in two: by reporter, then by flow, then by code; None where nothing can be split.

        Args:
            longest: split the list that takes most of the address instead.
        """
        names = ("reporters", "flows", "codes")
        if longest:
            names = tuple(sorted(names, key=lambda n: -len(_listed(getattr(self, n)))))  # type: ignore[assignment]
        for name in names:
            items = getattr(self, name)
            if len(items) > 1:
                half = len(items) // 2
                return replace(self, **{name: items[:half]}), replace(self, **{name: items[half:]})
        return None

    def shown(self) -> str:
        """The question in words."""
        return (
            f"reporter {_listed(self.reporters)}, period {self.period}, flow {_listed(self.flows)}, "
            f"code {_listed(self.codes[:3])}{' and others' if len(self.codes) > 3 else ''}"
        )


def _listed(items: Iterable[object]) -> str:
    return ",".join(str(item) for item in items)


def _asking(url: str, params: Mapping[str, str]) -> str:
    """The whole address; commas stay as they are, which makes a list of codes a quarter shorter."""
    return f"{url}?{urlencode(params, safe=',')}"


class _DatasetFailed(UpstreamFailed):
    """One dataset, or one call for some, has something wrong; others may be well."""


# --- the client ------------------------------------------------------------------------------------------------------


class Comtrade:
    """Asks UN Comtrade. One per run.

    Args:
        http: the session.
        config: the section ``[comtrade]``.
        home: the home, where the day's calls are counted.
        key: the subscription key; None: only availability can be asked.
        now: the present moment; tests give their own.
        pause: how to wait; tests give their own.
        tell: called with a sentence before each long wait.
    """

    def __init__(
        self,
        http: Http,
        config: ComtradeConfig,
        home: Path,
        key: SecretStr | None,
        *,
        now: Callable[[], datetime] | None = None,
        pause: Callable[[float], None] = time.sleep,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self.http, self.config, self.key = http, config, _usable(key)
        self.now = now or (lambda: datetime.now(UTC))
        self.calls = Calls(Path(home) / "raw" / "comtrade" / ".calls.json", config.calls_per_day, self.now)
        self.longest_address = config.longest_address
        self._pause, self._tell = pause, tell or (lambda _: None)
        self._last_call: float | None = None

    def availability(self, periods: Sequence[str]) -> Availability:
        """The datasets that UN Comtrade holds of some years and months (HS, as reported).

        A country that has not reported a period simply has no dataset. Several datasets of one reporter and period
        (two classifications) count as one, with their checksums joined.

        Args:
            periods: such as ``2024`` and ``2026-09``.

        Raises:
            UpstreamFailed: out of reach, a field is missing, or no country has reported any period although one lies
                two years back.
            QuotaExhausted: the day's calls are used up.
            KeyRefused: the key is not accepted.
            WrongUse: not a period.
        """
        for period in periods:
            if period_name(period.replace("-", "")) != period:
                raise WrongUse(f"'{period}' is no year (2024) or month (2026-09)")
        found: list[Dataset] = []
        try:
            for frequency in ("A", "M"):
                mine = sorted({p for p in periods if frequency_of(p) == frequency})
                for at in range(0, len(mine), PERIODS_PER_REQUEST):
                    found += self._datasets(frequency, mine[at : at + PERIODS_PER_REQUEST])
        except _Closed as closed:
            raise _quota(closed, "availability could not be asked") from closed
        oldest = min((p[:4] for p in periods), default=None)
        if not found and oldest is not None and int(oldest) < self.now().year - 1:
            raise UpstreamFailed(
                f"no country has reported any of {', '.join(sorted(periods)[:3])}, which cannot be: the question "
                "or the answer is wrong",
                url=self._availability_address("A"),
            )
        return Availability(tuple(sorted(found, key=lambda d: (d.frequency, d.period, d.reporter))), stamp(self.now()))

    def _datasets(self, frequency: Frequency, periods: Sequence[str]) -> list[Dataset]:
        params = {"period": _listed(p.replace("-", "") for p in periods)}
        if self.config.reporters:
            params["reporterCode"] = _listed(sorted(codes_of()[c] for c in self.config.reporters))
        address = self._availability_address(frequency)
        try:
            rows, count = self._call(address, params)
            whole = not self._cut_off(rows, count)
        except _TooLong:
            rows, whole = [], False
        if not whole:
            if len(periods) == 1:
                raise UpstreamFailed(
                    f"the list of datasets of {periods[0]} is cut off, or its address is too long", url=address
                )
            half = len(periods) // 2
            return self._datasets(frequency, periods[:half]) + self._datasets(frequency, periods[half:])
        _need(rows, _AVAILABILITY_FIELDS, address)
        joined: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
        for row in rows:
            period = period_name(str(row["period"]))
            if period is None or period not in periods:
                raise UpstreamFailed(
                    f"it was asked for {', '.join(periods)} and answers {row['period']}",
                    url=address,
                )
            if row.get("isOriginalClassification") is not False:
                joined[period, _integer(row, "reporterCode", address)].append(row)
        return [_dataset(frequency, *key, items, address) for key, items in sorted(joined.items())]

    def rows(self, query: Query) -> list[dict[str, Any]]:
        """All rows that answer a question, asked in as many parts as it takes.

        Raises:
            UpstreamFailed: a part that cannot be split is still cut off, a field is missing, rows come back that were
                not asked for, or a key comes back twice.
        """
        found = list(self._parts(query))
        seen: set[tuple[str, ...]] = set()
        for row in found:
            key = (str(row["reporterCode"]), *(str(row.get(name)) for name in _KEY_FIELDS))
            if key in seen:
                raise _DatasetFailed(
                    f"reporter {key[0]}, flow {key[1]}, code {key[2]}, partner {key[3]} of {query.period} comes back "
                    "twice although modes are fixed",
                    url=self.rows_address(query.frequency),
                    todo="try again later",
                )
            seen.add(key)
        return found

    def _parts(self, query: Query) -> Iterator[dict[str, Any]]:
        address = self.rows_address(query.frequency)
        params = query.params()
        rows: list[dict[str, Any]] | None = None
        if len(_asking(address, params)) <= self.longest_address:
            try:
                rows, count = self._call(address, params)
            except _TooLong as too_long:
                # The server's limit is below the configured one: keep under it from now on.
                self.longest_address = too_long.length - 1
        if rows is None:
            halves = query.halves(longest=True)
            if halves is None:
                raise _DatasetFailed(
                    f"the address of a single code is longer than {self.longest_address} characters",
                    url=address,
                    todo="correct longest_address in upstreams.toml",
                    passing=False,
                )
        elif self._cut_off(rows, count):
            halves = query.halves()
            if halves is None:
                raise _DatasetFailed(
                    f"the answer for {query.shown()} is cut off at {len(rows):,} rows and cannot be asked for in parts",
                    url=address,
                    passing=False,
                )
        else:
            _need(rows, _FIELDS, address)
            _check_asked(rows, query, address)
            yield from rows
            return
        for half in halves:
            yield from self._parts(half)

    def _cut_off(self, rows: Sequence[object], count: int) -> bool:
        """Whether an answer may lack rows: at the cap, fewer than it counts, or round enough to be at a new cap."""
        n = len(rows)
        return n >= self.config.rows_per_call or count > n or (n > 0 and n % 10_000 == 0) or n == ROWS_PER_PREVIEW

    def rows_address(self, frequency: str) -> str:
        """Where rows are asked for."""
        return f"{self.config.base}/data/v1/get/C/{frequency}/HS"

    def _availability_address(self, frequency: str) -> str:
        # Without a key the public variant answers the same.
        path = "data/v1/getDa" if self.key is not None else "public/v1/getDA"
        return f"{self.config.base}/{path}/C/{frequency}/HS"

    def _call(self, url: str, params: Mapping[str, str]) -> tuple[list[dict[str, Any]], int]:
        """One call: its rows, and how many there are by its own count.

        Raises:
            _Closed, _TooLong: no call is left; the address is too long.
            KeyRefused, UpstreamFailed: as they say.
        """
        public = self.key is None
        headers = {} if self.key is None else {_HEADER: self.key.get_secret_value()}
        if public and "/public/" not in url:
            raise self._no_key("UN Comtrade gives no rows without a key")
        for left in reversed(range(_RATE_TRIES)):
            self._wait_for_turn()
            if not public:
                self.calls.spend()
            answer = self.http.get(_asking(url, params), headers=headers, accept=_OWN_STATUSES, redirects=False)
            if not public:
                self.calls.add(_repeats(answer))
            said = _said(answer)
            if answer.status_code == 200:
                return _envelope(answer, url)
            quota = _QUOTA.search(said)
            if quota:
                until = self.now() + _span(quota[1])
                if not public:
                    self.calls.close(until)
                raise _Closed("UN Comtrade says that the quota of calls is used up", until)
            if answer.status_code == 401:
                raise self._no_key("UN Comtrade does not accept the key" if self.key else "UN Comtrade wants a key")
            if answer.status_code in (413, 414):
                raise _TooLong(len(_asking(url, params)))
            again = _AGAIN.search(said)
            if answer.status_code != 429 or again is None or pause_asked(answer) is not None or not left:
                break
            seconds = float(again[1])
            if seconds > self.http.retry.longest_pause:
                raise UpstreamFailed(
                    f"UN Comtrade answered 429 and asks to come back in {seconds:.0f} s",
                    url=url,
                    todo="run it again then",
                )
            self._tell(f"UN Comtrade asks to wait {seconds:.0f} s")
            self._pause(seconds)
        if answer.status_code == 429:
            raise status_failed(answer, self.http.retries, self.http.retry.longest_pause)
        shown = f": '{said}'" if said else ""
        raise UpstreamFailed(
            f"UN Comtrade answered {answer.status_code}{self._without_key(shown)}", url=url, passing=False
        )

    def _wait_for_turn(self) -> None:
        if self._last_call is not None:
            rest = self._last_call + self.config.seconds_between_calls - time.monotonic()
            if rest > 0:
                self._pause(rest)
        self._last_call = time.monotonic()

    def _no_key(self, what: str) -> KeyRefused:
        return KeyRefused(
            f"{what}: set {KEY_VARIABLE} to a subscription key; a free one comes from {self.config.key_page}."
        )

    def _without_key(self, text: str) -> str:
        """A text of the server, in case it repeats the key."""
        secret = self.key.get_secret_value() if self.key is not None else ""
        return text.replace(secret, "...") if secret else text


def _usable(key: SecretStr | None) -> SecretStr | None:
    """The key without blanks around it; None where nothing is left.

    Raises:
        KeyRefused: it holds what no header can.
    """
    text = key.get_secret_value().strip() if key is not None else ""
    if not re.fullmatch(r"[!-~]*", text):
        raise KeyRefused(f"{KEY_VARIABLE} holds a blank or a sign that no key has: set it to the key alone.")
    return SecretStr(text) if text else None


class _TooLong(Exception):
    """The server takes no address of that length."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = length


_QUOTA = re.compile(r"out of (?:call volume|bandwidth) quota\. quota will be replenished in ([\d.:]+(?: days)?)", re.I)
_AGAIN = re.compile(r"try again in (\d+(?:\.\d+)?) seconds?", re.I)


def _span(text: str) -> timedelta:
    """The time until the quota renews, from ``HH:MM:SS``, ``D.HH:MM:SS`` or ``2.12 days``; else a day."""
    clock = re.fullmatch(r"(?:(\d+)\.)?(\d+):(\d+):(\d+)(?:\.\d+)?\.?", text)
    if clock:
        days, hours, minutes, seconds = (int(part or 0) for part in clock.groups())
        return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    number = re.match(r"\d+(\.\d+)?", text)
    return timedelta(days=float(number[0])) if number and "days" in text else timedelta(days=1)


def _repeats(answer: requests.Response) -> int:
    """How often the session had asked before this answer came."""
    retries = getattr(answer.raw, "retries", None)
    return len(retries.history) if retries is not None else 0


def _said(answer: requests.Response) -> str:
    """The message of an answer that is no data, in one short line."""
    if answer.status_code == 200:
        return ""
    try:
        raw = answer.json()
    except requests.JSONDecodeError:
        return ""
    message = raw.get("message") or raw.get("error") or "" if isinstance(raw, dict) else ""
    return re.sub(r"\s+", " ", str(message)).strip()[:200]


def _envelope(answer: requests.Response, url: str) -> tuple[list[dict[str, Any]], int]:
    try:
        raw = answer.json()
    except requests.JSONDecodeError as broken:
        kind = answer.headers.get("Content-Type", "no content type").partition(";")[0]
        raise UpstreamFailed(f"the answer is no JSON ({kind})", url=url, todo="try again later") from broken
    if not isinstance(raw, dict) or not isinstance(raw.get("data"), list):
        raise UpstreamFailed("the answer has no list 'data': its layout has changed", url=url, passing=False)
    if raw.get("error"):
        raise UpstreamFailed(f"UN Comtrade answered with the error '{str(raw['error'])[:200]}'", url=url)
    rows = raw["data"]
    if not all(isinstance(row, dict) for row in rows):
        raise UpstreamFailed("the rows under 'data' are no objects: its layout has changed", url=url, passing=False)
    count = raw.get("count", len(rows))
    return rows, count if isinstance(count, int) else len(rows)


def _need(rows: Iterable[Mapping[str, Any]], names: Sequence[str], url: str) -> None:
    """Refuse rows that lack a field.

    Raises:
        UpstreamFailed: the field, and those that are there.
    """
    for row in rows:
        for name in names:
            if name not in row:
                raise UpstreamFailed(
                    f"the answer has no field '{name}' (it has {', '.join(sorted(row))}): its layout has changed",
                    url=url,
                    todo="report it, the reader needs this field",
                    passing=False,
                )


def _check_asked(rows: Iterable[Mapping[str, Any]], query: Query, url: str) -> None:
    """Refuse rows that nobody asked for: a parameter was not understood."""
    wanted = {
        "reporterCode": {str(c) for c in query.reporters},
        "period": {query.period.replace("-", "")},
        "flowCode": set(query.flows),
        "cmdCode": set(query.codes),
        # Null says that the reporter has no such breakdown.
        "motCode": {"0", "None"},
        "partner2Code": {"0", "None"},
        "customsCode": {"C00", "None"},
    }
    for row in rows:
        for name, allowed in wanted.items():
            if str(row[name]) not in allowed:
                raise UpstreamFailed(
                    f"it was asked for {query.shown()} and answers a row with {name} {row[name]}",
                    url=url,
                    passing=False,
                )


def _integer(row: Mapping[str, Any], name: str, url: str) -> int:
    """A whole number of a row; null counts as 0.

    Raises:
        UpstreamFailed: it is something else.
    """
    value = row[name] or 0
    if isinstance(value, bool) or not isinstance(value, int):
        raise UpstreamFailed(
            f"field '{name}' holds {value!r} where a whole number is needed: its layout has changed",
            url=url,
            passing=False,
        )
    return value


def _dataset(frequency: str, period: str, reporter: int, rows: Sequence[Mapping[str, Any]], url: str) -> Dataset:
    ordered = sorted(rows, key=lambda r: (str(r["classificationCode"]), str(r["datasetChecksum"])))
    first = [str(r["firstReleased"]) for r in ordered if r["firstReleased"]]
    last = [str(r["lastReleased"]) for r in ordered if r["lastReleased"]]
    return Dataset(
        frequency,
        period,
        reporter,
        "+".join(str(r["classificationCode"]) for r in ordered),
        sum(_integer(r, "totalRecords", url) for r in ordered),
        "+".join(str(r["datasetChecksum"]) for r in ordered),
        min(first, default=None),
        max(last, default=None),
    )


def _quota(closed: _Closed, what: str) -> QuotaExhausted:
    return QuotaExhausted(
        f"{closed.why}: {what}", todo=f"run it again after {closed.until.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    )


# --- fetching --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ComtradeFetch:
    """What a fetch did.

    Attributes:
        fetched: the datasets that were asked for, in the order they were: ``new``; ``changed`` (a new revision, or more
            codes: a new vintage); ``unchanged`` (released anew, our codes came back the same); ``failed``.
        up_to_date: datasets that the archive held already.
        remaining: datasets that are still to be asked for.
        availability: what UN Comtrade holds of the periods and of those before that say who is expected; None if it was
            not asked.
        sentence: what happened, in words; says what is missing without a key.
        stopped: why the fetch ended early (:class:`QuotaExhausted`, :class:`KeyRefused`, :class:`UpstreamFailed`).
    """

    fetched: tuple[Fetched, ...]
    up_to_date: int
    remaining: int
    availability: Availability | None
    sentence: str
    stopped: KetenpipeError | None = None

    def raise_if_failed(self) -> None:
        """Raise what ended the fetch early, else the first dataset that failed.

        Raises:
            QuotaExhausted, KeyRefused, UpstreamFailed: as they say.
        """
        if self.stopped is not None:
            raise self.stopped
        raise_if_failed(self.fetched)


def fetch_comtrade(
    http: Http,
    archive: Archive,
    config: ComtradeConfig,
    key: SecretStr | None,
    codes: Collection[str],
    periods: Collection[str] | None = None,
    progress: Progress | None = None,
    *,
    named: bool = False,
    now: Callable[[], datetime] | None = None,
    pause: Callable[[float], None] = time.sleep,
    tell: Callable[[str], None] | None = None,
) -> ComtradeFetch:
    """Brings the archive up to what UN Comtrade holds of some codes.

    Asked for are the datasets of the periods whose checksum differs from what the archive holds, or that were asked for
    fewer codes or flows before; the newest period first. What is archived stays: a run that was killed or ran out of
    calls goes on where it ended, and ends in the same files.

    Args:
        http: the session.
        archive: the home's archive; the caller holds the home's lock.
        config: the section ``[comtrade]``.
        key: the subscription key, or None.
        codes: HS6 codes, six characters, of every HS revision that reporters may use.
        periods: years and months; None: :func:`wanted_periods`.
        progress: who is told; it counts datasets instead of bytes, under the slot ``comtrade``.
        named: whether the user asked for this source by name; then a missing key is an error.

    Returns:
        What was done. Without a key a sentence that says what can be done without, and nothing is asked.

    Raises:
        KeyRefused: no key, although the source was named.
        WrongUse: a code that is no six digits, a period that is none.
    """
    client = Comtrade(http, config, archive.home, key, now=now, pause=pause, tell=tell)
    if strange := sorted(c for c in codes if not re.fullmatch(r"\d{6}", c)):
        raise WrongUse(f"'{strange[0]}' is no HS6 code (six digits)")
    if client.key is None:
        sentence = _without_a_key(archive, config)
        if named:
            raise KeyRefused(sentence)
        (progress or Silent()).done("comtrade", sentence)
        return ComtradeFetch((), 0, 0, None, sentence)
    return _Fetch(client, archive, tuple(sorted(set(codes))), progress or Silent()).run(
        wanted_periods(config, client.now()) if periods is None else sorted(set(periods))
    )


def _without_a_key(archive: Archive, config: ComtradeConfig) -> str:
    held = archive.current("comtrade")
    newest = max((slot.split("/")[2] for slot in held), default=None)
    holds = f"{len(held)} datasets, the newest of {newest}" if newest else "none yet"
    return (
        "UN Comtrade gives no rows without a key. Without one, what the archive holds is read "
        f"({holds}), and files that you download by hand and put under comtrade/ in a drop folder; it can be asked who "
        "has reported; recent months cannot be fetched. A free key "
        f"({config.calls_per_day} calls a day) comes from {config.key_page}: set it as {KEY_VARIABLE}."
    )


class _Fetch:
    """One run over the datasets."""

    def __init__(self, client: Comtrade, archive: Archive, codes: tuple[str, ...], progress: Progress) -> None:
        self.client, self.archive, self.codes, self.progress = client, archive, codes, progress
        self.config = client.config
        self.done: list[Fetched] = []
        self.rows_per_record = _FIRST_MARGIN / _CODES_IN_ALL
        self._answered: tuple[int, int] = (0, 0)
        self._since = time.monotonic()

    def run(self, periods: Sequence[str]) -> ComtradeFetch:
        """Asks for availability, then for what is missing, newest period first."""
        availability: Availability | None = None
        pending: list[Dataset] = []
        current = 0
        stopped: KetenpipeError | None = None
        try:
            # Earlier periods too: they say who can be expected to report.
            newest = [max(p for p in periods if frequency_of(p) == f) for f in {frequency_of(p) for p in periods}]
            availability = self.client.availability(sorted({*periods, *(p for n in newest for p in history(n))}))
            _remember(self.archive.home, availability)
            datasets = [d for d in availability.datasets if d.period in periods]
            if self.codes:
                pending = pending_datasets(self.archive, datasets, self.codes, self.config.flows)
                current = len(datasets) - len(pending)
            self.progress.start("comtrade", len(pending))
            for period in sorted({d.period for d in pending}, key=lambda p: (p[:4], p), reverse=True):
                self._period([d for d in pending if d.period == period])
        except _Closed as closed:
            got = sum(f.state != "failed" for f in self.done)
            stopped = _quota(
                closed,
                f"{got} datasets were fetched, {current} were up to date, {len(pending) - len(self.done)} remain",
            )
        except (QuotaExhausted, KeyRefused, UpstreamFailed) as error:
            stopped = error
        sentence = self._sentence(current, len(pending) - len(self.done), stopped)
        self.progress.done("comtrade", sentence)
        return ComtradeFetch(tuple(self.done), current, len(pending) - len(self.done), availability, sentence, stopped)

    def _sentence(self, current: int, remaining: int, stopped: KetenpipeError | None) -> str:
        states = [f.state for f in self.done]
        parts = [f"{states.count(s)} {s}" for s in ("new", "changed", "unchanged", "failed") if s in states]
        none = "nothing to fetch" if stopped is None else "nothing was fetched"
        got = f"UN Comtrade: {', '.join(parts) if parts else none}, {current} up to date"
        if not self.codes:
            got = "UN Comtrade: no codes were asked for"
        if stopped is None:
            return f"{got}."
        return f"{got}, {remaining} remain. {stopped}"

    def _period(self, datasets: list[Dataset]) -> None:
        """The datasets of one period, as many per call as fit."""
        block: list[Dataset] = []
        expected = 0
        for dataset in datasets:
            rows = math.ceil(min(1.0, self.rows_per_record * len(self.codes)) * dataset.total_records) + 1
            if block and expected + rows > _FILL * self.config.rows_per_call:
                self._block(block)
                block, expected = [], 0
            block.append(dataset)
            expected += rows
        self._block(block)

    def _block(self, block: Sequence[Dataset]) -> None:
        """Some datasets of one period: asked together, proven, kept one by one."""
        first = block[0]
        query = Query(
            "M" if first.frequency == "M" else "A",
            first.period,
            tuple(d.reporter for d in block),
            self.config.flows,
            self.codes,
        )
        found: dict[int, list[dict[str, Any]]] = {d.reporter: [] for d in block}
        try:
            for row in self.client.rows(query):
                found[int(row["reporterCode"])].append(row)
            empty = tuple(reporter for reporter, rows in found.items() if not rows)
            traded = self._traded(query, empty)
        except _DatasetFailed as failed:
            if len(block) > 1:
                for dataset in block:
                    self._block([dataset])
                return
            self._failed(first, failed)
            return
        self._learn(block, sum(map(len, found.values())))
        for dataset in block:
            rows = found[dataset.reporter]
            if rows or dataset.reporter in traded:
                self._keep(dataset, rows)
            else:
                self._failed(
                    dataset,
                    _DatasetFailed(
                        f"UN Comtrade lists a dataset of {dataset.total_records:,} rows of reporter {dataset.reporter} "
                        f"for {dataset.period} and answers none, not even the total: something is wrong there, nothing "
                        "was kept",
                        url=self.client.rows_address(dataset.frequency),
                        todo="try again later",
                    ),
                )

    def _traded(self, query: Query, empty: tuple[int, ...]) -> set[int]:
        """Of reporters without a row of our codes those that have a total: they traded none of them."""
        if not empty:
            return set()
        totals = self.client.rows(replace(query, reporters=empty, flows=("M", "X"), codes=("TOTAL",), partners=(0,)))
        return {int(row["reporterCode"]) for row in totals}

    def _learn(self, block: Sequence[Dataset], rows: int) -> None:
        """How many rows our codes have per row of a dataset, as answered so far, with half as much on top."""
        records = sum(d.total_records for d in block)
        self._answered = self._answered[0] + rows, self._answered[1] + records
        if self._answered[1] > 0:
            self.rows_per_record = 1.5 * max(1, self._answered[0]) / self._answered[1] / len(self.codes)

    def _keep(self, dataset: Dataset, rows: list[dict[str, Any]]) -> None:
        name = f"C_{dataset.frequency}_HS_{dataset.period.replace('-', '')}_{dataset.reporter}.json.gz"
        released = (dataset.last_released or "")[:10]
        kept = self.archive.keep(
            "comtrade",
            name,
            _packed(rows),
            Provenance(
                slot=dataset.slot,
                label=released if re.fullmatch(r"\d{4}-\d\d-\d\d", released) else "undated",
                url=self.client.rows_address(dataset.frequency),
                retrieved_at=stamp(self.client.now()),
                licence=self.config.licence,
                producer=self.config.producer,
                citation=self.config.citation,
                release=dataset.last_released,
                note=None if rows else "the country reported, and traded none of the codes that were asked for",
                query={
                    "frequency": dataset.frequency,
                    "period": dataset.period,
                    "reporter": dataset.reporter,
                    "flows": list(self.config.flows),
                    "codes": list(self.codes),
                    "fixed": dict(FIXED),
                    "classification": dataset.classification,
                    "dataset_checksum": dataset.checksum,
                    "total_records": dataset.total_records,
                    "first_released": dataset.first_released,
                    "last_released": dataset.last_released,
                },
            ),
        )
        self._note(
            Fetched(
                dataset.slot,
                "comtrade",
                kept.state,
                self._what(dataset, kept, len(rows)),
                kept.file.bytes,
                time.monotonic() - self._since,
                kept.file,
            )
        )

    def _failed(self, dataset: Dataset, error: UpstreamFailed) -> None:
        seconds = time.monotonic() - self._since
        self._note(Fetched(dataset.slot, "comtrade", "failed", str(error), 0, seconds, None, error))
        failed = sum(f.state == "failed" for f in self.done)
        if failed >= _FAILURES:
            raise UpstreamFailed(f"{failed} datasets failed, which is no accident; the last: {error}", passing=False)

    def _what(self, dataset: Dataset, kept: Kept, rows: int) -> str:
        who = f"{dataset.iso3 or dataset.reporter} {dataset.period}"
        amount = f"{rows:,} rows" if rows else "none of the codes traded"
        if kept.state == "changed":
            before = (kept.replaces.query or {}).get("dataset_checksum") if kept.replaces else None
            why = "more codes" if before == dataset.checksum else "a new revision"
            return f"{who}: {why}, released {(dataset.last_released or 'undated')[:10]}, {amount}"
        if kept.state == "unchanged":
            return f"{who}: released anew without a change in our codes, {amount}"
        return f"{who}: {amount}"

    def _note(self, what: Fetched) -> None:
        self.done.append(what)
        self.progress.advance(1)
        self._since = time.monotonic()


def pending_datasets(
    archive: Archive, datasets: Iterable[Dataset], codes: Collection[str], flows: Collection[str]
) -> list[Dataset]:
    """The datasets that a fetch would ask for: revisions that the archive has not, or not with all codes and flows.

    Groups (the European Union) are left out. No call is made: a sensor can ask availability without a key and decide.

    Args:
        archive: the home's archive.
        datasets: what UN Comtrade holds.
        codes: HS6 codes.
        flows: M, X.
    """
    held = archive.current("comtrade")

    def covers(query: Mapping[str, Any] | None, dataset: Dataset) -> bool:
        return (
            query is not None
            and query.get("dataset_checksum") == dataset.checksum
            and set(codes) <= set(query.get("codes", ()))
            and set(flows) <= set(query.get("flows", ()))
        )

    def is_held(dataset: Dataset) -> bool:
        file = held.get(dataset.slot)
        if file is None or not file.is_there():
            return False
        # The file's own query first: the state file is read only where it differs.
        return covers(file.query, dataset) or covers(archive.last_query(dataset.slot), dataset)

    return [d for d in datasets if not _is_group(d.reporter) and not is_held(d)]


def _availability_path(home: Path) -> Path:
    return Path(home) / "raw" / "comtrade" / ".availability.json"


def _remember(home: Path, availability: Availability) -> None:
    raw = {"retrieved_at": availability.retrieved_at, "datasets": [asdict(d) for d in availability.datasets]}
    write_bytes_atomic(_availability_path(home), (json.dumps(raw, indent=0) + "\n").encode())


def last_availability(home: Path) -> Availability | None:
    """What UN Comtrade held when a fetch last asked; None if none ever did.

    Raises:
        InputRefused: the file cannot be read.
    """
    path = _availability_path(home)
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        datasets = tuple(Dataset(**item) for item in raw["datasets"])
        return Availability(datasets, stamp(moment(raw["retrieved_at"])))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as broken:
        raise InputRefused(
            "the list of datasets cannot be read", path=path, todo="remove it and fetch again"
        ) from broken


def comtrade_status(archive: Archive, config: ComtradeConfig, now: datetime) -> SourceStatus:
    """What the archive holds of UN Comtrade as a whole, and whether it is time to look again."""
    held = archive.current("comtrade")
    seen = last_availability(archive.home)
    checked = None if seen is None else seen.retrieved_at
    age = None if checked is None else (now - moment(checked)).days
    stale = age is None or age > config.stale_after_days
    if age is None:
        why = "never looked at upstream"
    else:
        why = f"looked at {age} day{'' if age == 1 else 's'} ago, stale after {config.stale_after_days}"
    newest = max(held.values(), key=lambda f: (f.slot.split("/")[2], f.retrieved_at), default=None)
    if newest is not None:
        periods = {slot.split("/")[2] for slot in held}
        why += f"; {len(held)} datasets of {len(periods)} periods, the newest {newest.slot.split('/')[2]}"
    return SourceStatus("comtrade", "comtrade", True, newest, checked, stale, why, config.licence)


def _is_group(reporter: int) -> bool:
    found = area(reporter)
    return found is not None and found.iso3 is None


def _packed(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """An envelope with the rows in order of their key, the same bytes for the same rows."""
    ordered = sorted(rows, key=lambda row: [str(row.get(name)) for name in _KEY_FIELDS])
    envelope = {"elapsedTime": "", "count": len(ordered), "data": ordered, "error": ""}
    text = json.dumps(envelope, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return gzip.compress(text.encode(), mtime=0)
