"""Cut-offs, normalisations and weights of substitutability, each with its source: ``substitutability.toml``.

Belongs here: reading and checking the file. Does not belong here: a figure (:mod:`ketenpipe.risk.substitutability`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ketenpipe.risk.definitions import COMPONENTS
from ketenpipe.risk.thresholds import load_toml

FILE = "substitutability.toml"
LONGEST_WINDOW = 3
"""Years before that the graph gives to a year's substitutability: a longer window could never be complete."""
Normalisation = Literal["x", "1-x", "x/(1+x)", "1/(1+x)"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    source: str = Field(min_length=1)


class Share(_Part):
    """A supplier or exporter counts above this share."""

    above: float = Field(gt=0, lt=1)


class Stable(_Part):
    """A country is stable below this risk (G1)."""

    risk_below: float = Field(gt=0, le=1)


class Entry(_Part):
    """A supplier is new if it was not there in so many years before."""

    window: int = Field(ge=1, le=LONGEST_WINDOW)


class Composite(_Part):
    """When there is a composite, and how its weights are drawn.

    Args:
        minimum_coverage: share of the weight that must be there.
        concentration: of the Dirichlet distribution; the higher, the closer to the given weights.
        low, high: quantiles that are published.
    """

    minimum_coverage: float = Field(ge=0, le=1)
    concentration: float = Field(gt=0, allow_inf_nan=False)
    low: float = Field(ge=0, lt=0.5)
    high: float = Field(gt=0.5, le=1)


class Component(_Part):
    """How the figure of a component becomes a score, and what it weighs."""

    normalisation: Normalisation
    weight: float = Field(ge=0, allow_inf_nan=False)


class SubstitutionSettings(BaseModel):
    """Everything of the file, typed; weights as given."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    supplier_share: Share
    exporter_share: Share
    stable: Stable
    entry: Entry
    composite: Composite
    component: Mapping[str, Component]

    @model_validator(mode="after")
    def _whole(self) -> SubstitutionSettings:
        wanted = set(COMPONENTS) - {"composite"}
        if missing := sorted(wanted - set(self.component)):
            raise ValueError(f"component(s) {', '.join(missing)} are missing")
        if unknown := sorted(set(self.component) - wanted):
            raise ValueError(f"there is no component {', '.join(unknown)}")
        if not sum(c.weight for c in self.component.values()) > 0:
            raise ValueError("all weights are 0")
        return self

    def weights(self) -> dict[str, float]:
        """The weight of each component, in the order of ``COMPONENTS``; they sum to 1."""
        total = sum(c.weight for c in self.component.values())
        return {name: self.component[name].weight / total for name in COMPONENTS if name != "composite"}


def load_substitution_settings(*directories: Path) -> SubstitutionSettings:
    """Read ``substitutability.toml`` from the last directory that holds one.

    Raises:
        InputRefused: no file, not TOML, a component missing or unknown, a value that cannot be taken.
    """
    return load_toml(SubstitutionSettings, FILE, "", directories)
