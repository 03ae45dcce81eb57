"""Thresholds: configuration with its source beside it (``data/reference/thresholds.toml``)."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ketenpipe.errors import InputRefused

Model = TypeVar("Model", bound=BaseModel)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    source: str = Field(min_length=1)


class Limit(_Part):
    """One cut-off. ``below``: flagged when the value lies below instead of above."""

    flag: float
    below: bool = False


class Bands(Limit):
    """C1: the flag of GeoDep and CDI1, and the bands of CBS."""

    moderate: float
    high: float


class Sentinel(Limit):
    """S1: the sentinel stands in ``method_value`` where there are imports and no exports."""

    sentinel: float


class AtLeast(_Part):
    """A figure that must be reached (``>=``)."""

    at_least: float


class Quantile(_Part):
    """S3: low are the products below this quantile of the source's own distribution."""

    quantile: float = Field(gt=0, lt=1)


class Window(_Part):
    """P1: at least so many of the last ``window`` years."""

    at_least: int = Field(ge=1)
    window: int = Field(ge=1, le=4)  # years that the graph reads for a year, itself among them


class Alert(_Part):
    """P2: churn above which an alert is raised."""

    alert: float


class Robustness(_Part):
    """How a flag is tried under alternatives."""

    threshold_shift: float = Field(gt=0, lt=1)
    robust_from: float = Field(ge=0, le=1)


class Thresholds(BaseModel):
    """Every threshold of METHOD 2, typed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    C1: Bands
    C2: Limit
    C3: Limit
    C4: Limit
    C5: Limit
    S1: Sentinel
    S1b: Limit
    S2: Limit
    S3: Quantile
    G2: Limit
    G5: AtLeast
    EI: AtLeast
    O1: Limit
    T_hhi: Limit
    T_wgi: Limit
    X1_weight: AtLeast
    P1: Window
    P2: Alert
    robustness: Robustness


def load_thresholds(*directories: Path) -> Thresholds:
    """Read ``thresholds.toml`` from the last directory that holds one.

    Raises:
        InputRefused: no file, not TOML, a threshold missing, unknown or not a number.
    """
    return load_toml(Thresholds, "thresholds.toml", "threshold ", directories)


def load_toml(model: type[Model], name: str, what: str, directories: Sequence[Path]) -> Model:
    """Read a file of configuration from the last directory that holds one, as a typed model.

    Args:
        model: what the file is held against.
        name: of the file, shipped in ``data/reference``.
        what: stands before the place of a value that cannot be taken, e.g. ``"threshold "``.
        directories: in rising precedence.

    Raises:
        InputRefused: no file, not TOML, a part missing, unknown or of a value that cannot be taken.
    """
    paths = [d / name for d in directories if (d / name).exists()]
    if not paths:
        raise InputRefused(f"{name} is missing", path=directories[-1] if directories else None)
    path = paths[-1]
    try:
        with path.open("rb") as stream:
            return model(**tomllib.load(stream))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputRefused(f"is not readable TOML ({error})", path=path) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(p) for p in first["loc"])
        said = first["msg"].removeprefix("Value error, ")  # which may name a value in capitals
        raise InputRefused(
            f"{what}{place}: {said[0].lower()}{said[1:]}" if place else said,
            path=path,
            todo=f"compare it with data/reference/{name}",
        ) from error
