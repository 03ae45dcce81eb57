"""What the indicators are made of: steps one's tables, governance, production, catalogue, and their vintages.

Belongs here: holding and indexing the inputs. Does not belong here: a figure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

import pandas as pd
import pyarrow as pa

from ketenpipe.chain.catalogue import Reference
from ketenpipe.chain.engine import Engine
from ketenpipe.chain.lookthrough import Exposure
from ketenpipe.chain.tracing import Tracing
from ketenpipe.risk.thresholds import Thresholds

MAX_TIER = 2
"""X1 and X1g look at tiers 1 and 2, TNO's depth, however deep the look-through goes."""

ROW = [
    "focus", "level", "code", "hs_revision", "group", "tier", "year", "indicator", "measure", "basis",
    "value", "low", "high", "method_value", "coverage", "country", "country_share", "worst_code", "worst_value",
    "reason", "confidence", "source_vintage",
]  # fmt: skip


class Stamped(Protocol):
    """What says which vintages stand behind a figure: a :class:`World`, or :class:`Vintages` alone."""

    @property
    def wgi_vintage(self) -> Mapping[int, str]:
        """Edition of the governance scores per year."""

    def vintage(self, revision: str | None, year: int, *kinds: str) -> str:
        """Vintages behind a figure, e.g. ``baci HS92 V202401b; wgi 2024 edition``."""


@dataclass(frozen=True)
class Vintages:
    """Vintages of the sources, for figures that are made without a :class:`World` (over all years).

    Args:
        releases: (HS revision, year) -> BACI release.
        wgi_vintage: year -> edition of the governance scores, see :func:`wgi_vintages`.
        production: vintage of the production statistics.
    """

    releases: Mapping[tuple[str, int], str]
    wgi_vintage: Mapping[int, str]
    production: str | None = None

    def vintage(self, revision: str | None, year: int, *kinds: str) -> str:
        """Vintages behind a figure.

        Args:
            revision: HS revision, None for a figure without trade.
            year: of the figure.
            kinds: of baci, mining, wgi, those that the figure rests on.
        """
        parts = []
        if "baci" in kinds and revision is not None:
            parts.append(f"baci {revision} {self.releases.get((revision, year), 'unknown')}")
        if "mining" in kinds and self.production:
            parts.append(f"mining {self.production}")
        if "wgi" in kinds and year in self.wgi_vintage:
            parts.append(f"wgi {self.wgi_vintage[year]}")
        return "; ".join(parts)


def wgi_vintages(country_risk: pa.Table) -> dict[int, str]:
    """Year -> edition of the scores of table ``country_risk``; years without a score are absent."""
    scored = country_risk.filter(pa.compute.is_valid(country_risk.column("risk")))
    pairs = zip(scored.column("year").to_pylist(), scored.column("vintage").to_pylist(), strict=True)
    found: dict[int, str] = {}
    for year, vintage in pairs:
        found.setdefault(int(year), str(vintage))
    return found


@dataclass
class World:
    """Everything that the indicators are made of, indexed once; of one year or of several.

    Args:
        flows: table ``baci_flows``; where all products are dealt with, only the catalogue's codes need be in it.
        tracing, exposure: step one.
        mining: table ``mining_production`` or None.
        country_risk: table ``country_risk`` (empty without governance data).
        reference: the catalogue.
        foci: countries and blocs.
        thresholds: cut-offs.
        production_vintage: vintage of the production statistics, for the provenance column.
        releases: (HS revision, year) -> BACI release, of what is not in ``flows``.
        engine: opens what runs the formulas on flows.
    """

    flows: pa.Table
    tracing: Tracing
    exposure: Exposure
    mining: pa.Table | None
    country_risk: pa.Table
    reference: Reference
    foci: tuple[str, ...]
    thresholds: Thresholds
    production_vintage: str | None = None
    releases: Mapping[tuple[str, int], str] = field(default_factory=dict)
    engine: Callable[[], AbstractContextManager[Engine]] = Engine
    years: list[int] = field(init=False)
    statistics: dict[int, pd.DataFrame] = field(init=False)
    risk: dict[int, dict[str, float]] = field(init=False)
    wgi_vintage: Mapping[int, str] = field(init=False)

    def __post_init__(self) -> None:
        parts = (self.flows, self.tracing.tracing)
        self.years = sorted({int(y) for part in parts for y in part.column("year").unique().to_pylist()})
        held = pd.DataFrame() if self.mining is None or not self.mining.num_rows else self.mining.to_pandas()
        self.statistics = (
            {int(y): part.astype({"material": object, "country": object}) for y, part in held.groupby("year")}
            if len(held)
            else {}
        )
        scored = self.country_risk.to_pandas()
        scored = scored[scored["risk"].notna()]
        self.risk = {
            int(y): dict(zip(rows["country"], rows["risk"], strict=True)) for y, rows in scored.groupby("year")
        }
        self.wgi_vintage = wgi_vintages(self.country_risk)
        stamps = self.flows.select(["hs_revision", "year", "release"]).group_by(["hs_revision", "year", "release"])
        seen = {(r["hs_revision"], r["year"]): r["release"] for r in stamps.aggregate([]).to_pylist()}
        self.releases = {**self.releases, **seen}

    def vintage(self, revision: str | None, year: int, *kinds: str) -> str:
        """Vintages behind a figure, e.g. ``baci HS92 V202401b; wgi 2024 edition``."""
        return Vintages(self.releases, self.wgi_vintage, self.production_vintage).vintage(revision, year, *kinds)


def catalogue_codes(reference: Reference) -> set[str]:
    """The HS6 codes of all nodes of the catalogue, of every HS revision that it knows."""
    return {code for node in reference.nodes.values() for code in (*node.codes_hs92, *node.codes_hs17)}
