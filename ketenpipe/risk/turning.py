"""What would have to change for a flag to turn: exact answers to "how much of one thing".

Belongs here: formulas that solve a criterion for one of its inputs, and which criteria of a conjunction must move.
Pure functions on numbers. Does not belong here: where the numbers come from, and words about them
(:mod:`ketenpipe.observatory.explain`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

Sign = Literal[">", ">=", "<"]


@dataclass(frozen=True)
class Criterion:
    """One condition of a method: a figure against its limit.

    Args:
        name: what is held against the limit, an id of the indicators.
        value: the figure; None where it cannot be had.
        limit: the cut-off.
        sign: how the figure must stand to the limit for the condition to hold.
    """

    name: str
    value: float | None
    limit: float
    sign: Sign = ">"

    @property
    def holds(self) -> bool | None:
        """Whether the condition holds; None where the figure is unknown."""
        if self.value is None:
            return None
        if self.sign == ">":
            return self.value > self.limit
        return self.value >= self.limit if self.sign == ">=" else self.value < self.limit

    @property
    def margin(self) -> float | None:
        """How far the figure lies on the flagging side, as a part of the limit; below 0 (or 0) where it fails."""
        if self.value is None:
            return None
        away = (self.value - self.limit) / abs(self.limit) if self.limit else self.value
        return -away if self.sign == "<" else away


def conjunction(criteria: Sequence[Criterion]) -> bool | None:
    """Whether all hold: a failing one decides, then an unknown one."""
    seen = [c.holds for c in criteria]
    if False in seen:
        return False
    return None if None in seen else True


def to_turn(criteria: Sequence[Criterion]) -> tuple[Criterion, ...]:
    """The criteria that must change for a conjunction to turn.

    Where it holds: the one with the smallest margin (the first of equals), for one is enough. Where it fails: every
    failing one, farthest first, for all must hold. Where it cannot be told: the unknown ones.
    """
    state = conjunction(criteria)
    if state is None:
        return tuple(c for c in criteria if c.holds is None)
    if state:
        return (min(criteria, key=lambda c: c.margin or 0.0),)
    return tuple(sorted((c for c in criteria if c.holds is False), key=lambda c: c.margin or 0.0))


def rest_concentration(shares: Collection[float], top: float) -> float | None:
    """Concentration of all but the top supplier, among themselves: ``sum_{i != top} s_i^2 / (1 - s_top)^2``.

    Args:
        shares: the squares that count (for O1 those of foreign countries only), the top one's among them.
        top: the top one's share of the whole mix, own and unknown parts included.

    Returns:
        None where the top one has everything.
    """
    left = 1.0 - top
    if left <= 1e-12:
        return None
    return max(0.0, sum(s * s for s in shares) - top * top) / (left * left)


def concentration_at(share: float, rest: float) -> float:
    """``HHI(p) = p^2 + (1 - p)^2 h`` with the others scaled in proportion, h their :func:`rest_concentration`."""
    return share * share + (1.0 - share) * (1.0 - share) * rest


def share_at_limit(limit: float, share: float, rest: float, own: float = 1.0) -> float | None:
    """The share at which ``own p^2 + rest (1 - p)^2 = limit``, the solution nearest to the present share.

    With ``own`` 1 it is the share of one supplier, the others in proportion; else the share of a whole group whose
    concentration among themselves is ``own``. Solved exactly:
    ``p = (rest +- sqrt(rest^2 - (own + rest)(rest - limit))) / (own + rest)``.

    Args:
        limit: of the concentration.
        share: present share.
        rest: concentration of the others, among themselves (:func:`rest_concentration`).
        own: concentration of those whose share is asked for, among themselves.

    Returns:
        Within [0, 1]; None where no share gives the limit.
    """
    both = own + rest
    inside = rest * rest - both * (rest - limit)
    if inside < 0.0:
        return None
    root = math.sqrt(inside)
    found = [p for p in ((rest - root) / both, (rest + root) / both) if 0.0 <= p <= 1.0]
    return min(found, key=lambda p: abs(p - share)) if found else None


def least_concentration(own: float, rest: float) -> float:
    """The least of ``own p^2 + rest (1 - p)^2`` over p: ``own rest / (own + rest)``."""
    return own * rest / (own + rest)


def new_suppliers(limit: float, concentration: float) -> int:
    """The fewest new suppliers of equal size that can bring a concentration down to a limit.

    Beside n of them, what is there now (of that concentration) can come down to ``h / (1 + n h)``: n is the least whole
    number above ``1 / limit - 1 / h``.

    Args:
        limit: below the concentration.
        concentration: as it is.
    """
    return math.floor(1.0 / limit - 1.0 / concentration + 1e-12) + 1


def share_at_risk(limit: float, top: float, rest: float) -> float | None:
    """The share of one country at which ``p r_top + (1 - p) r_rest = limit``; None where none does.

    Args:
        limit: of the weighted risk (G2).
        top: risk of the country.
        rest: weighted risk of the others, among themselves.
    """
    if top == rest:
        return None
    found = (limit - rest) / (top - rest)
    return found if 0.0 <= found <= 1.0 else None


def years_to_turn(held: int, needed: int) -> int:
    """In how many years of the window the criteria must turn: fail where enough hold, hold where too few do."""
    return held - needed + 1 if held >= needed else needed - held
