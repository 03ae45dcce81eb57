"""Who has reported to UN Comtrade, who is still awaited, and who never reports.

Some countries never report and are known from their partners' reports only; a gate that waits for them never opens.
Belongs here: availability as a table, the states and the gate. Does not belong here: asking for availability
(:mod:`ketenpipe.sources.comtrade_api`), filling what is missing from mirror data.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median

import pyarrow as pa
import pyarrow.compute as pc

from ketenpipe.errors import WrongUse
from ketenpipe.sources.comtrade import area, frequency_of, period_name
from ketenpipe.tables.registry import COMTRADE_AVAILABILITY, REPORTING_COVERAGE

#: Years without any dataset after which a country counts as one that never reports.
NEVER_AFTER_YEARS = 3
#: Share of the comparable earlier periods above which a country is waited for.
MOST = 0.5


@dataclass(frozen=True)
class Dataset:
    """What UN Comtrade holds of one reporter and period. ``reporter`` is its numeric code."""

    frequency: str
    period: str
    reporter: int
    classification: str | None = None
    total_records: int = 0
    checksum: str = ""
    first_released: str | None = None
    last_released: str | None = None

    @property
    def slot(self) -> str:
        """What the archive calls it, ``comtrade/M/2026-09/528``."""
        return f"comtrade/{self.frequency}/{self.period}/{self.reporter}"

    @property
    def iso3(self) -> str | None:
        """The reporter's ISO3; None for groups and codes that nobody knows."""
        found = area(self.reporter)
        return None if found is None else found.iso3


@dataclass(frozen=True)
class Availability:
    """The datasets of the periods that were asked for, in order."""

    datasets: tuple[Dataset, ...]
    retrieved_at: str

    def table(self) -> pa.Table:
        """The datasets of countries as :data:`ketenpipe.tables.registry.COMTRADE_AVAILABILITY`.

        Groups (the European Union) are left out: their members report themselves. Two codes of one country (Sudan in
        the year of its division) make one row, their checksums joined.
        """
        found: dict[tuple[str, str, str], list[Dataset]] = defaultdict(list)
        for one in sorted(self.datasets, key=lambda d: d.slot):
            if one.iso3 is not None:
                found[one.frequency, one.period, one.iso3].append(one)
        return COMTRADE_AVAILABILITY.conform(
            {
                "frequency": frequency,
                "period": period,
                "reporter": iso3,
                "classification": "+".join(d.classification for d in same if d.classification) or None,
                "total_records": sum(d.total_records for d in same),
                "dataset_checksum": "+".join(d.checksum for d in same),
                "first_released": min((d.first_released for d in same if d.first_released), default=None),
                "last_released": max((d.last_released for d in same if d.last_released), default=None),
                "retrieved_at": self.retrieved_at,
            }
            for (frequency, period, iso3), same in found.items()
        )


@dataclass(frozen=True)
class Coverage:
    """Who has reported a period.

    Attributes:
        reported, awaited, irregular, never: countries (ISO3), sorted. Only the awaited are waited for.
        weights: share of each expected country in the trade of all of them; they sum to 1.
        share_expected: sum of the weights of those that have reported; None without comparable earlier periods.
        compared_with: the earlier periods that say who is expected.
        reasons: per country, what its state rests on.
    """

    frequency: str
    period: str
    reported: tuple[str, ...]
    awaited: tuple[str, ...]
    irregular: tuple[str, ...]
    never: tuple[str, ...]
    weights: Mapping[str, float] = field(repr=False)
    share_expected: float | None
    compared_with: tuple[str, ...]
    reasons: Mapping[str, str] = field(repr=False)

    def passes(self, threshold: float = 0.9) -> bool:
        """Whether those who have reported carry enough of the expected trade.

        Args:
            threshold: the least share, 0 to 1.
        """
        return self.share_expected is not None and self.share_expected >= threshold - 1e-12

    def sentence(self, threshold: float = 0.9) -> str:
        """The verdict in one sentence."""
        if self.share_expected is None:
            return (
                f"{self.period}: no earlier period to compare with is known, so nobody can say who is missing; ask for "
                "the availability of earlier periods."
            )
        heaviest = sorted(self.awaited, key=lambda c: (-self.weights.get(c, 0.0), c))
        waiting = ""
        if heaviest:
            more = f" and {len(heaviest) - 5} more" if len(heaviest) > 5 else ""
            waiting = f"; awaited: {', '.join(heaviest[:5])}{more}"
        never = f"; {len(self.never)} never report and are not waited for" if self.never else ""
        verdict = "enough" if self.passes(threshold) else "not enough"
        return (
            f"{self.period}: reported by {len(self.reported)}, who carry {self.share_expected:.1%} of the expected "
            f"trade, {verdict} (at least {threshold:.0%}){waiting}{never}."
        )

    def rows(self) -> list[dict[str, object]]:
        """One row per country, for :func:`coverage_table`."""
        states = {"reported": self.reported, "awaited": self.awaited, "irregular": self.irregular, "never": self.never}
        return [
            {
                "frequency": self.frequency,
                "period": self.period,
                "reporter": country,
                "status": status,
                "weight": self.weights.get(country),
                "reason": self.reasons[country],
            }
            for status, countries in states.items()
            for country in countries
        ]


def coverage(
    availability: pa.Table,
    period: str,
    *,
    weights: Mapping[str, float] | None = None,
    countries: Collection[str] = (),
    never_after_years: int = NEVER_AFTER_YEARS,
) -> Coverage:
    """Who has reported a period, out of those who can be expected to.

    Comparable earlier periods: for a month the twelve months that ended a year before it, for a year the three years
    that ended two years before it, because the periods just before may still be incomplete themselves; of these only
    the ones that anybody reported. Expected is who reported more than half of them. ``share_expected`` is
    sum(w of expected and reported) / sum(w of expected).

    Args:
        availability: :data:`ketenpipe.tables.registry.COMTRADE_AVAILABILITY`, several years of it.
        period: a year (``2024``) or month (``2026-09``).
        weights: trade value per reporter (any unit), of the last complete year; who has none, or 0, weighs as much as
            the median of those who have. None: all weigh the same.
        countries: more countries to judge than the table names, for instance all that trade.
        never_after_years: years without any dataset of this frequency after which a country never reports.

    Returns:
        A state for every country of the table (of this frequency) and of ``countries``.

    Raises:
        WrongUse: not a period.
    """
    frequency = frequency_of(period)
    now = _number(period)
    per_year = 12 if frequency == "M" else 1
    rows = availability.filter(pc.equal(availability.column("frequency"), frequency))
    when: dict[str, set[int]] = defaultdict(set)
    for text, reporter in zip(rows.column("period").to_pylist(), rows.column("reporter").to_pylist(), strict=True):
        when[reporter].add(_number(text))
    known = {n for periods in when.values() for n in periods}
    window = range(now - 24, now - 12) if frequency == "M" else range(now - 4, now - 1)
    compared = [n for n in window if n in known]
    expected = {
        reporter: share
        for reporter, periods in when.items()
        if compared and (share := sum(n in periods for n in compared) / len(compared)) > MOST
    }
    shares = _shares(sorted(expected), weights)
    states: dict[str, list[str]] = {"reported": [], "awaited": [], "irregular": [], "never": []}
    reasons: dict[str, str] = {}
    first_known = min(known, default=now)
    for country in sorted(set(when) | set(countries)):
        periods = when.get(country, set())
        recent = [n for n in periods if now - never_after_years * per_year <= n <= now]
        of_compared = f"{sum(n in periods for n in compared)} of {len(compared)} comparable earlier periods"
        if now in periods:
            state, reason = "reported", "there is a dataset"
        elif country in expected:
            state, reason = "awaited", f"it reported {of_compared}"
        elif recent:
            state, reason = "irregular", f"it reported {of_compared}, last {_name(max(recent), frequency)}"
        else:
            since = max(now - never_after_years * per_year, first_known)
            state, reason = "never", f"no dataset from {_name(since, frequency)} on"
        states[state].append(country)
        reasons[country] = reason
    covered = sum((shares[c] for c in states["reported"] if c in shares), 0.0)
    return Coverage(
        frequency,
        period,
        tuple(states["reported"]),
        tuple(states["awaited"]),
        tuple(states["irregular"]),
        tuple(states["never"]),
        shares,
        min(covered, 1.0) if expected else None,
        tuple(_name(n, frequency) for n in compared),
        reasons,
    )


def history(period: str, *, never_after_years: int = NEVER_AFTER_YEARS) -> list[str]:
    """The periods, up to this one, whose availability :func:`coverage` looks at.

    Raises:
        WrongUse: not a period.
    """
    frequency, now = frequency_of(period), _number(period)
    back = max(24, 12 * never_after_years) if frequency == "M" else max(4, never_after_years)
    return [_name(n, frequency) for n in range(now - back, now + 1)]


def trade_weights(reports: pa.Table) -> dict[str, float]:
    """Trade value per reporter (thousand USD, imports and exports together) from a table of Comtrade reports."""
    summed = reports.group_by("reporter", use_threads=False).aggregate([("value_kusd", "sum")])
    values = pc.cast(summed.column("value_kusd_sum"), pa.float64()).to_pylist()
    return dict(sorted(zip(summed.column("reporter").to_pylist(), values, strict=True)))


def coverage_table(coverages: Iterable[Coverage]) -> pa.Table:
    """Several coverages as :data:`ketenpipe.tables.registry.REPORTING_COVERAGE`."""
    return REPORTING_COVERAGE.conform([row for one in coverages for row in one.rows()])


def _shares(expected: list[str], weights: Mapping[str, float] | None) -> dict[str, float]:
    known = {c: float(weights[c]) for c in expected if weights and weights.get(c, 0.0) > 0}
    other = median(known.values()) if known else 1.0
    raw = {c: known.get(c, other) for c in expected}
    total = sum(raw.values())
    return {c: value / total for c, value in raw.items()}


def _number(period: str) -> int:
    """Years or months since the year 0, so that periods can be counted."""
    year, _, month = period.partition("-")
    if period_name(year + month) != period:
        raise WrongUse(f"'{period}' is no year (2024) or month (2026-09)")
    return int(year) * 12 + int(month) - 1 if month else int(year)


def _name(number: int, frequency: str) -> str:
    return f"{number // 12}-{number % 12 + 1:02d}" if frequency == "M" else str(number)
