"""The partition schemes: a year of BACI, of the input-output tables and of annual reports, a month of monthly ones.

Belongs here: the schemes with their publication lags, and the spans that a run asks for. Does not belong here: which
years and months the sources hold (:mod:`ketenpipe.dag.resources`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import dagster as dg

from ketenpipe.errors import InputRefused

#: Start and end of a run over several partitions, as Dagster names them.
RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"


@dataclass(frozen=True)
class Scheme:
    """One partition scheme.

    Attributes:
        what: what is partitioned, in words.
        definition: the partitions of today.
        instead: what else the user can do about a partition that cannot be there.
    """

    what: str
    definition: dg.TimeWindowPartitionsDefinition
    instead: str = "take it out of the folder"

    def keys(self) -> list[str]:
        """The partitions of today, in order."""
        return list(self.definition.get_partition_keys())

    def spans(self, wanted: Iterable[str]) -> list[tuple[str, str]]:
        """Partitions as spans without gaps: ``2018, 2019, 2021 -> (2018, 2019), (2021, 2021)``.

        Raises:
            InputRefused: a partition that cannot be out yet, or lies before the first.
        """
        keys = self.keys()
        place = {name: at for at, name in enumerate(keys)}
        out: list[tuple[str, str]] = []
        last = -2
        for name in sorted(set(wanted)):
            if name not in place:
                raise InputRefused(
                    f"the sources hold {self.what} of {name}, but they run from {keys[0]} to {keys[-1]} today",
                    todo=f"correct the file's period (or this machine's clock), or {self.instead}",
                )
            out = [*out[:-1], (out[-1][0], name)] if place[name] == last + 1 else [*out, (name, name)]
            last = place[name]
        return out


def _yearly(first: int) -> dg.TimeWindowPartitionsDefinition:
    """Every complete year: what comes later by habit may all the same be held as soon as the year is over."""
    return dg.TimeWindowPartitionsDefinition(start=str(first), fmt="%Y", cron_schedule="0 0 1 1 *")


BACI = Scheme("BACI flows", _yearly(1995), "leave it out with --years")
ICIO = Scheme("input-output tables", _yearly(1965))
COMTRADE_YEARS = Scheme("annual UN Comtrade reports", _yearly(1988))
#: A month is asked for one whole month after it has ended: the quick half of the reporters has published by then.
COMTRADE_MONTHS = Scheme(
    "monthly UN Comtrade reports",
    dg.TimeWindowPartitionsDefinition(start="2010-01", fmt="%Y-%m", cron_schedule="0 0 1 * *", end_offset=-1),
)


SCHEMES = (BACI, ICIO, COMTRADE_YEARS, COMTRADE_MONTHS)


def range_tags(span: tuple[str, str]) -> Mapping[str, str]:
    """The tags of one run over the partitions of a span."""
    return {RANGE_START: span[0], RANGE_END: span[1]}
