"""What is read of many years at once: the figures that the named methods need, narrow, an item and year per row.

Belongs here: reading them from tables of contract ``indicators``, looking at earlier and later years, and persistence
(geodep_criteria, P1). Does not belong here: verdicts (:mod:`ketenpipe.risk.methods`).

28 years of 5,000 codes for two foci are 280,000 rows of numbers; text stands as numbers of words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from ketenpipe.errors import WrongUse
from ketenpipe.risk.planes import Floats, Integers
from ketenpipe.risk.products import as_indicators, words_of
from ketenpipe.risk.thresholds import Thresholds
from ketenpipe.risk.world import Stamped

ITEM = ["focus", "level", "code", "hs_revision", "group", "tier"]
KEYS = [*ITEM, "year"]
FACT_COLUMNS = (
    *KEYS, "indicator", "measure", "basis", "value", "low", "high", "method_value", "country", "reason", "confidence",
)  # fmt: skip
"""What :func:`collect_facts` reads of a table of contract ``indicators``."""

_LEVELS = ("hs6", "node", "group", "industry")
_TEXT = (
    "focus", "level", "code", "hs_revision", "group", "indicator", "measure", "basis", "country", "reason",
    "confidence",
)  # fmt: skip
_PLANES = ("traced", "world_production_mix")
_MADE = ("observed", "producer_list")

#: Figure: indicator, measures, bases (None: any), column.
_PICK: dict[str, tuple[str, tuple[str, ...] | None, tuple[str, ...] | None, str]] = {
    "M": ("M", ("v",), None, "value"),
    "C1": ("C1", ("v",), ("imports",), "value"),
    "C2": ("C2", ("v",), ("exports",), "value"),
    "C4a": ("C4a", ("v",), ("imports",), "value"),
    "C5": ("C5", ("v",), ("imports",), "value"),
    "S1": ("S1", ("v",), ("imports",), "method_value"),
    "S1b": ("S1b", ("v",), ("imports",), "method_value"),
    "C4b": ("C4b", ("q",), ("traced",), "value"),
    "C3": ("C3", ("p",), _MADE, "value"),
    "G2p": ("G2", ("p",), _MADE, "value"),
    "O1": ("O1", ("q", "p"), _PLANES, "value"),
    "O1_high": ("O1", ("q", "p"), _PLANES, "high"),
    "G2": ("G2", ("q", "p"), _PLANES, "value"),
    "G2_low": ("G2", ("q", "p"), _PLANES, "low"),
    "G2_high": ("G2", ("q", "p"), _PLANES, "high"),
    "X1": ("X1", None, None, "value"),
    "X1g": ("X1g", None, None, "value"),
    "G4": ("G4", None, None, "value"),
    "G4_published": ("G4", None, None, "method_value"),
    "G5": ("G5", None, None, "value"),
    "G5_published": ("G5", None, None, "method_value"),
    "G5_high": ("G5", None, None, "high"),
    "EI": ("EI", None, None, "value"),
    "I4": ("I4", None, None, "value"),
}
#: Indicator: measures (None: any), which words are read beside its figure.
_NOTED: dict[str, tuple[tuple[str, ...] | None, tuple[str, ...]]] = {
    "T": (("q", "p", "none"), ("reason", "confidence", "basis")),
    "C4b": (("q", "p", "none"), ("reason", "confidence", "basis", "country")),
    "C4a": (("v",), ("country",)),
    "X1": (("q", "p", "none"), ("reason",)),
    "X1g": (("q", "p", "none"), ("reason",)),
    "C3": (("q", "p", "none"), ("reason",)),
    "G4": (None, ("reason", "basis")),
    "G5": (None, ("reason", "basis")),
    "EI": (None, ("reason", "basis")),
    "I4": (None, ("reason", "basis", "country")),
}
#: Figures that are read whatever they rest on: the method that needs them says what it makes of the basis.
_ANY_BASIS = ("EI",)


@dataclass
class Facts:
    """Items and years with their figures.

    Args:
        frame: a row per item and year, in that order: :data:`KEYS` (text as categories), ``item`` (its number), the
            figures of the methods as floats (NaN: not there); reasons (empty: none), confidence, basis as categories.
        years: those that occur.
    """

    frame: pd.DataFrame
    years: list[int]
    _at: Integers = field(init=False, repr=False)

    def __post_init__(self) -> None:
        item, year = (self.frame[c].to_numpy(dtype=np.int64) for c in ("item", "year"))
        first = min(self.years, default=0)
        span = max(self.years, default=0) - first + 1
        self._first, self._item, self._year = first, item, year - first
        self._at = np.full((int(item.max()) + 1 if len(item) else 0, span), -1, dtype=np.int64)
        self._at[item, year - first] = np.arange(len(item))

    def beside(self, step: int) -> Integers:
        """Of each row the row of the same item ``step`` years later (negative: earlier); -1 where there is none."""
        year = self._year + step
        inside = (year >= 0) & (year < self._at.shape[1])
        return np.where(inside, self._at[self._item, np.where(inside, year, 0)], -1)

    def of_year(self, year: int) -> Integers:
        """The rows of a year."""
        return np.flatnonzero(self._year == year - self._first)


class _Words:
    """Numbers for words that come table after table."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def take(self, column: pa.ChunkedArray) -> Integers:
        """The column as numbers; -1 for null."""
        found = []
        for chunk in column.chunks:
            coded = chunk if pa.types.is_dictionary(chunk.type) else chunk.dictionary_encode()
            here = [self.numbers.setdefault(w, len(self.numbers)) for w in coded.dictionary.to_pylist()]
            places = np.array([*here, -1], dtype=np.int64)
            found.append(places[coded.indices.fill_null(len(here)).to_numpy(zero_copy_only=False).astype(np.int64)])
        return np.concatenate(found) if found else np.empty(0, dtype=np.int64)

    def of(self, words: Sequence[str]) -> Integers:
        """The numbers of some words, those that never came left out."""
        return np.array([self.numbers[w] for w in words if w in self.numbers], dtype=np.int64)


def collect_facts(tables: Iterable[pa.Table]) -> Facts:
    """Read the facts from tables of contract ``indicators``, one after the other.

    Rows of levels hs6, node, group and industry count. The named methods are defined on BACI's years: rows of the
    nowcast (basis ``reconciled_comtrade``) are left out. So are figures by industry recipes (``icio_proportional``):
    they never flag; but EI is read, so that a method can say why it does not.

    Args:
        tables: with :data:`FACT_COLUMNS`, sorted by key; all rows of an item and year in one of them. A generator that
            reads the tables by year, then the one of nodes and groups, keeps one in memory.

    Raises:
        WrongUse: an item and year stand in two tables.
    """
    words = {name: _Words() for name in _TEXT}
    words["reason"].numbers[""] = 0
    parts: list[dict[str, npt.NDArray[Any]]] = [p for t in tables if (p := _facts_of(t, words))]
    if not parts:
        empty: dict[str, Any] = {n: pd.Categorical([]) for n in KEYS}
        empty |= {n: np.empty(0) for n in _PICK}
        return Facts(pd.DataFrame({**empty, **_notes({}, words), "item": [], "tier": [], "year": []}), [])
    whole = {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
    parts.clear()
    sizes = {name: len(words[name].numbers) for name in ITEM if name in words}
    _, item = np.unique(
        _combined([(whole[n], sizes.get(n, int(whole[n].max()) + 1)) for n in ITEM]), return_inverse=True
    )
    order = np.lexsort((whole["year"], item))
    whole = {name: column[order] for name, column in whole.items()}
    item = item[order]
    twice = (np.diff(item) == 0) & (np.diff(whole["year"]) == 0)
    if twice.any():
        row = int(np.argmax(twice))
        told = [list(words[n].numbers)[whole[n][row]] for n in ("focus", "code")]
        raise WrongUse(f"the figures of {' '.join(told)} in {whole['year'][row]} stand in two tables; give them once")
    frame: dict[str, Any] = {n: pd.Categorical.from_codes(whole[n], list(words[n].numbers)) for n in ITEM if n in words}
    frame |= {"tier": whole["tier"], "year": whole["year"], "item": item}
    frame |= {n: whole[n] for n in _PICK} | _notes(whole, words)
    return Facts(pd.DataFrame(frame), sorted({int(y) for y in np.unique(whole["year"])}))


def _notes(whole: Mapping[str, npt.NDArray[Any]], words: Mapping[str, _Words]) -> dict[str, pd.Categorical]:
    nothing = np.empty(0, dtype=np.int64)
    columns = [(f"{i}_{kind}", kind) for i, (_, kinds) in _NOTED.items() for kind in kinds]
    return {n: pd.Categorical.from_codes(whole.get(n, nothing), list(words[kind].numbers)) for n, kind in columns}


def _combined(columns: Sequence[tuple[Integers, int]]) -> Integers:
    """One number for several, in their order; each from -1 to its size - 1."""
    whole, reach = np.zeros(len(columns[0][0]), dtype=np.int64), 1
    for column, size in columns:
        if reach * (size + 1) >= 2**62:
            found, whole = np.unique(whole, return_inverse=True)
            reach = len(found)
        whole = whole * (size + 1) + (column + 1)
        reach *= size + 1
    return whole


def _facts_of(table: pa.Table, words: Mapping[str, _Words]) -> dict[str, npt.NDArray[Any]]:
    """The facts of one table; empty where it has none."""
    column = {name: words[name].take(table.column(name)) for name in _TEXT}
    column["tier"] = table.column("tier").fill_null(-1).to_numpy().astype(np.int64)
    column["year"] = table.column("year").to_numpy().astype(np.int64)
    figures: dict[str, Floats] = {
        n: table.column(n).to_numpy().astype(np.float64) for n in ("value", "low", "high", "method_value")
    }
    kept = np.isin(column["level"], words["level"].of(_LEVELS))
    kept &= ~np.isin(column["basis"], words["basis"].of(("reconciled_comtrade",)))
    kept &= ~np.isin(column["basis"], words["basis"].of(("icio_proportional",))) | np.isin(
        column["indicator"], words["indicator"].of(_ANY_BASIS)
    )
    rows = np.flatnonzero(kept)
    if not len(rows):
        return {}
    column = {name: values[rows] for name, values in column.items()}
    figures = {name: values[rows] for name, values in figures.items()}
    first_year = int(column["year"].min())
    key = [(column[n], len(words[n].numbers) if n in words else int(column[n].max()) + 1) for n in ITEM]
    key.append((column["year"] - first_year, int(column["year"].max()) - first_year + 1))
    _, first, item = np.unique(_combined(key), return_index=True, return_inverse=True)
    out: dict[str, npt.NDArray[Any]] = {n: column[n][first] for n in KEYS}
    count = len(first)

    def rows_of(indicator: str, measures: Sequence[str] | None, bases: Sequence[str] | None) -> Integers:
        """The rows of an indicator, the last first, so that the first of an item is the one that stays."""
        chosen = np.isin(column["indicator"], words["indicator"].of((indicator,)))
        for name, wanted in (("measure", measures), ("basis", bases)):
            if wanted is not None:
                chosen &= np.isin(column[name], words[name].of(wanted))
        return np.flatnonzero(chosen)[::-1]

    for name, (indicator, measures, bases, source) in _PICK.items():
        at = rows_of(indicator, measures, bases)
        out[name] = np.full(count, np.nan)
        out[name][item[at]] = figures[source][at]
    for indicator, (measures, kinds) in _NOTED.items():
        at = rows_of(indicator, measures, None)
        for kind in kinds:
            nothing = 0 if kind == "reason" else -1
            values = np.full(count, nothing, dtype=np.int64)
            values[item[at]] = np.where(column[kind][at] < 0, nothing, column[kind][at])
            out[f"{indicator}_{kind}"] = values
    return out


# -- persistence ---------------------------------------------------------------------------------------------


class Persistence:
    """geodep_criteria per year and P1 over three, at every level (METHOD 2, P1).

    A year without data or imports is unknown; the count of the known years is null with
    ``window_incomplete`` where the unknown ones could make it 2 and the known ones do not; its bounds say what is
    possible.

    Args:
        facts: of all years.
        thresholds: cut-offs of C1, C2, S1, and the window.
        stamped: vintages of the releases.
    """

    def __init__(self, facts: Facts, thresholds: Thresholds, stamped: Stamped) -> None:
        frame = facts.frame
        figures = {n: frame[n].to_numpy(dtype=np.float64) for n in ("C1", "C2", "S1", "M")}
        tests = [
            np.where(np.isnan(figures[i]), np.nan, figures[i] > limit.flag)
            for i, limit in (("C1", thresholds.C1), ("C2", thresholds.C2), ("S1", thresholds.S1))
        ]
        fails = np.any([t == 0 for t in tests], axis=0)
        passes = np.all([t == 1 for t in tests], axis=0)
        self._holds = np.where(figures["M"] > 0, np.where(fails, 0.0, np.where(passes, 1.0, np.nan)), np.nan)
        self._there = np.any([~np.isnan(v) for v in figures.values()], axis=0)
        self._facts, self._limits, self._stamped = facts, thresholds, stamped
        window = [self._holds]
        for back in range(1, thresholds.P1.window):
            at = facts.beside(-back)
            window.append(np.where(at >= 0, self._holds[at], np.nan) if len(at) else self._holds)
        self._sure = np.sum([w == 1 for w in window], axis=0)
        self._unsure = np.sum([np.isnan(w) for w in window], axis=0)

    def rows(self, year: int) -> pa.Table:
        """The rows of a year (contract ``indicators``)."""
        at = self._facts.of_year(year)
        at = at[self._there[at]]
        if not len(at):
            return as_indicators([])
        holds, sure, unsure = self._holds[at], self._sure[at], self._unsure[at]
        enough = self._limits.P1.at_least
        told = (sure >= enough) | (sure + unsure < enough)
        blocks = []
        for indicator, value, bounds, why in (
            ("geodep_criteria", holds, {}, "no_imports"),
            ("P1", np.where(told, sure, np.nan), {"low": sure, "high": sure + unsure}, "window_incomplete"),
        ):
            fixed = {"indicator": indicator, "measure": "v", "basis": "imports", "confidence": "high"}
            columns: dict[str, Any] = {n: words_of(np.zeros(len(at), np.int64), [w]) for n, w in fixed.items()}
            columns |= {n: pa.array(v.astype(float)) for n, v in bounds.items()}
            columns["value"] = pa.array(value, mask=np.isnan(value))
            columns["reason"] = words_of(np.where(np.isnan(value), 0, -1), [why])
            blocks.append(pa.table(columns | self._items(at, year)))
        return as_indicators(blocks)

    def _items(self, at: Integers, year: int) -> dict[str, pa.Array]:
        frame = self._facts.frame
        out: dict[str, pa.Array] = {}
        for name in ITEM:
            if name == "tier":
                tiers = frame[name].to_numpy()[at].astype(np.int32)
                out[name] = pa.array(tiers, mask=tiers < 0)
            else:
                categories = frame[name].cat
                out[name] = words_of(categories.codes.to_numpy()[at].astype(np.int64), list(categories.categories))
        revisions = frame["hs_revision"].cat
        stamps = [self._stamped.vintage(str(r), year, "baci") for r in revisions.categories]
        out["source_vintage"] = words_of(revisions.codes.to_numpy()[at].astype(np.int64), stamps)
        out["year"] = pa.array(np.full(len(at), year, dtype=np.int32))
        return out
