"""How far the inputs may be off: the error model, with its sources beside it (``data/reference/uncertainty.toml``).

Belongs here: the typed model and its loader. Does not belong here: a random number (:mod:`ketenpipe.risk.draws`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ketenpipe.risk.thresholds import load_toml

FILE = "uncertainty.toml"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    source: str = Field(min_length=1)
    status: Literal["measured", "read", "recalled", "assumed"]


class Spread(_Part):
    """A factor with mean 1 whose natural logarithm has this standard deviation."""

    log_sd: float = Field(ge=0, le=3)


class Score(_Part):
    """A score with an added error of this standard deviation, in the score's own points."""

    standard_error: float = Field(ge=0, le=5)


class Uncertainty(BaseModel):
    """The error model: one part per family of inputs.

    Args:
        flows_v, flows_q: of a flow between two countries by value and by mass.
        production_observed, production_listed: of a country's figure in a statistic, in a cited list of producers.
        production_imputed: of the export proxy, and of what is added so that exports can be paid for.
        governance: of a score that comes without a standard error.
        intensities: of an intensity of the catalogue.
        input_output: of what an industry buys in one country, and of what one country's goods hold of another's, in an
            inter-country input-output table.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    flows_v: Spread
    flows_q: Spread
    production_observed: Spread
    production_listed: Spread
    production_imputed: Spread
    governance: Score
    intensities: Spread
    input_output: Spread


def load_uncertainty(*directories: Path) -> Uncertainty:
    """Read ``uncertainty.toml`` from the last directory that holds one.

    Raises:
        InputRefused: no file, not TOML, a part missing, unknown or out of bounds.
    """
    return load_toml(Uncertainty, FILE, "error model ", directories)
