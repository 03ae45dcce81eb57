"""The yearly partitions of BACI, with its publication lag.

Belongs here: partition schemes and the spans of years a run asks for. Does not belong here: which years the sources
hold (:mod:`ketenpipe.dag.resources`).
"""

from __future__ import annotations

from collections.abc import Iterable

import dagster as dg

from ketenpipe.errors import InputRefused

#: First year that BACI covers.
FIRST_YEAR = 1995
#: Complete years that are not expected yet. BACI publishes t-2 early in t; a nowcast may hold the last complete year.
PUBLICATION_LAG = 0
#: Start and end of a run over several partitions, as Dagster names them.
RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"

BACI_YEARS = dg.TimeWindowPartitionsDefinition(
    start=str(FIRST_YEAR), fmt="%Y", cron_schedule="0 0 1 1 *", end_offset=-PUBLICATION_LAG
)


def spans(years: Iterable[int]) -> list[tuple[int, int]]:
    """Years as spans without gaps: ``[2018, 2019, 2021] -> [(2018, 2019), (2021, 2021)]``."""
    out: list[tuple[int, int]] = []
    for year in sorted(set(years)):
        if out and year == out[-1][1] + 1:
            out[-1] = (out[-1][0], year)
        else:
            out.append((year, year))
    return out


def range_tags(first: int, last: int) -> dict[str, str]:
    """The tags of one run over the partitions of a span.

    Raises:
        InputRefused: a year that BACI cannot have published yet, or before its first.
    """
    known = BACI_YEARS.get_partition_keys()
    for year in (first, last):
        if str(year) not in known:
            raise InputRefused(
                f"the sources hold flows of {year}, but BACI runs from {known[0]} to {known[-1]} today",
                todo="correct the file's year (or this machine's clock), or leave the year out with --years",
            )
    return {RANGE_START: str(first), RANGE_END: str(last)}
