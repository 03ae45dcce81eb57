"""Words and numbers of an explanation, in English and Dutch at once.

Belongs here: how a number, a share, an amount or a name is written in either language. Does not belong here: which
numbers an explanation holds (:mod:`ketenpipe.observatory.explain`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ketenpipe.risk.definitions import REASONS
from ketenpipe.risk.shares import cut_share


@dataclass(frozen=True)
class Words:
    """A text in English and in Dutch."""

    en: str
    nl: str

    def __add__(self, other: Words) -> Words:
        return Words(self.en + other.en, self.nl + other.nl)


@dataclass(frozen=True)
class Percent:
    """A share, written in per cent."""

    value: float


@dataclass(frozen=True)
class Cut:
    """A share of draws or alternatives, in per cent cut to tenths: never raised, as in the sentences of robustness."""

    value: float


def number(value: float) -> str:
    """Four significant digits, thousands apart: ``0.4401``, ``1,234.5``, ``1,633,884``."""
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}" if size >= 10_000 else f"{value:,.1f}"
    return f"{value:.4g}"


def percent(value: float) -> str:
    """``62.1 %``; a small one keeps two significant digits, a tiny one is only said to be so."""
    if 0 < abs(value) < 1e-5:
        return "< 0.001 %"
    return f"{100 * value:.1f} %" if abs(value) >= 0.001 or value == 0 else f"{100 * value:.2g} %"


def dutch(text: str) -> str:
    """A number as the Dutch write it: a decimal comma, points between thousands."""
    return text.translate(str.maketrans(",.", ".,"))


def _shown(value: Any, nl: bool) -> str:
    if isinstance(value, Words):
        return value.nl if nl else value.en
    if value is None:
        return "onbekend" if nl else "unknown"
    if isinstance(value, Cut):
        return cut_share(value.value)[int(nl)]
    if isinstance(value, Percent):
        text = percent(value.value)
        return dutch(text) if nl else text
    if isinstance(value, float):
        text = number(value)
        return dutch(text) if nl else text
    return str(value)


def say(en: str, nl: str, **values: Any) -> Words:
    """A sentence with its numbers put in, each as its language writes it.

    Args:
        en, nl: templates of :meth:`str.format`.
        values: floats, :class:`Percent`, :class:`Cut`, :class:`Words`, or what stands as it is.
    """
    return Words(
        en.format(**{k: _shown(v, False) for k, v in values.items()}),
        nl.format(**{k: _shown(v, True) for k, v in values.items()}),
    )


#: Units as they are written in Dutch, and one of them in either language; others stand as they are.
_UNITS = {
    "share": Words("share", "aandeel"),
    "countries": Words("countries", "landen"),
    "years": Words("years", "jaren"),
    "steps": Words("steps", "stappen"),
    "ratio": Words("ratio", "verhouding"),
    "rank": Words("rank", "rang"),
    "elasticity": Words("elasticity", "elasticiteit"),
    "thousand USD": Words("thousand USD", "duizend USD"),
}
_ONE = {"countries": Words("country", "land"), "years": Words("year", "jaar"), "steps": Words("step", "stap")}


def with_unit(value: float | None, unit: str) -> Words:
    """A figure with its unit; an unknown one stands without."""
    if value is None:
        return Words("unknown", "onbekend")
    named = _UNITS.get(unit, Words(unit, unit))
    return say("{v} {u}", "{v} {u}", v=float(value), u=_ONE.get(unit, named) if value == 1 else named)


def joined(parts: Sequence[Words], between: str) -> Words:
    """Several texts as one."""
    return Words(between.join(p.en for p in parts), between.join(p.nl for p in parts))


def reasons(reason: str | None) -> list[tuple[str, Words]]:
    """The reasons of a row, each with its words; what stands there as ``material: x`` or ``path: x`` is no reason."""
    found = []
    for part in (reason or "").split(";"):
        word = part.strip()
        if word and ":" not in word:
            en, nl = REASONS.get(word, (word.replace("_", " "), word.replace("_", " ")))
            found.append((word, Words(en, nl)))
    return found


def note(reason: str | None, kind: str) -> str | None:
    """What a row notes under ``kind: ...`` among its reasons, e.g. the material of C3."""
    for part in (reason or "").split(";"):
        name, sign, text = part.strip().partition(":")
        if sign and name == kind:
            return text.strip()
    return None
