"""Named methods side by side: how far their sets agree, and why they differ on an item.

Belongs here: counting verdicts of pairs of methods, and putting the figures of an item against the limits of each
method in words. Does not belong here: a verdict (:mod:`ketenpipe.risk.methods`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ketenpipe.risk.definitions import REASONS
from ketenpipe.risk.facts import ITEM
from ketenpipe.risk.methods import Clause, Judgement
from ketenpipe.risk.planes import Integers
from ketenpipe.tables.registry import METHOD_AGREEMENT, METHOD_DIFFERENCES, METHODS

AGREEMENT_COLUMNS = (*ITEM, "year", "method", "flagged", "indicated")
"""What :func:`build_agreement` reads of table ``flags``."""
_SET = ["year", "focus", "level", "hs_revision"]
_ABSENT, _UNTOLD = -2, -1
#: The columns whose sum is the union of two flagged sets.
_UNION = ("flagged_by_both", "only_a", "only_b")

Matrix = npt.NDArray[np.int8]


def build_agreement(flags: Iterable[pa.Table]) -> pa.Table:
    """How far each pair of methods flags the same items (contract ``method_agreement``).

    Of the items of one focus, level, HS revision and year that both methods judge: ``flagged_by_both``, ``only_a``,
    ``only_b``, ``neither`` where both can tell, ``untold`` the others; Jaccard ``= flagged_by_both / (flagged_by_both +
    only_a + only_b)``, null over an empty union. The variant ``_indicated`` lets an indication stand in for a verdict
    that cannot be told.

    Args:
        flags: parts of table ``flags`` with :data:`AGREEMENT_COLUMNS`, all rows of a year in one of them (a year after
            the other, or all at once).
    """
    parts = [METHOD_AGREEMENT.empty()]
    for table in flags:
        parts += _of_part(table)
    return METHOD_AGREEMENT.conform(pa.concat_tables(parts))


def _of_part(flags: pa.Table) -> list[pa.Table]:
    if not flags.num_rows:
        return []
    item, first = _numbers(flags, [*ITEM, "year"])
    group, group_first = _numbers(flags, _SET)
    group_of = np.empty(len(first), dtype=np.int64)
    group_of[item] = group
    known, suggested = verdict_matrices(flags, item, len(first))
    count = len(group_first)
    found = []
    for a, method_a in enumerate(METHODS):
        for b in range(a + 1, len(METHODS)):
            shared = (known[:, a] != _ABSENT) & (known[:, b] != _ABSENT)
            if not shared.any():
                continue
            told = _counts(known[shared, a], known[shared, b], group_of[shared], count)
            hinted = _counts(suggested[shared, a], suggested[shared, b], group_of[shared], count)
            there = np.flatnonzero(np.sum([*told.values()], axis=0))
            sets = flags.select(_SET).take(pa.array(group_first[there]))
            columns: dict[str, Any] = {n: sets.column(n) for n in _SET}
            columns |= {
                "method_a": pa.repeat(method_a, len(there)),
                "method_b": pa.repeat(METHODS[b], len(there)),
            }
            columns |= {n: pa.array(told[n][there]) for n in told}
            columns |= {f"{n}_indicated": pa.array(hinted[n][there]) for n in _UNION}
            columns["jaccard"] = _jaccard(told, there)
            columns["jaccard_indicated"] = _jaccard(hinted, there)
            found.append(pa.table(columns).select(METHOD_AGREEMENT.names).cast(METHOD_AGREEMENT.schema()))
    return found


def verdict_matrices(flags: pa.Table, item: Integers, items: int) -> tuple[Matrix, Matrix]:
    """Verdicts by item and method, in the order of the registry: what is told, and with indications standing in.

    1 flagged, 0 not, -1 cannot be told, -2 the method does not judge the item.
    """
    column = flags.column("method").cast(pa.string())
    method = pc.index_in(column, pa.array(METHODS, pa.string())).to_numpy().astype(np.int64)
    flagged = flags.column("flagged").cast(pa.int8()).fill_null(_UNTOLD).to_numpy()
    hinted = flags.column("indicated").cast(pa.int8()).fill_null(_UNTOLD).to_numpy()
    known = np.full((items, len(METHODS)), _ABSENT, dtype=np.int8)
    suggested = known.copy()
    known[item, method] = flagged
    suggested[item, method] = np.where(flagged == _UNTOLD, hinted, flagged)
    return known, suggested


def _counts(a: Matrix, b: Matrix, group: Integers, groups: int) -> dict[str, Integers]:
    """Items per group by what both methods say."""
    told = (a != _UNTOLD) & (b != _UNTOLD)
    cases = {
        "flagged_by_both": told & (a == 1) & (b == 1),
        "only_a": told & (a == 1) & (b == 0),
        "only_b": told & (a == 0) & (b == 1),
        "neither": told & (a == 0) & (b == 0),
        "untold": ~told,
    }
    return {name: np.bincount(group[case], minlength=groups) for name, case in cases.items()}


def _jaccard(counts: dict[str, Integers], rows: Integers) -> pa.Array:
    union = (counts["flagged_by_both"] + counts["only_a"] + counts["only_b"])[rows]
    share = np.divide(counts["flagged_by_both"][rows], union, out=np.zeros(len(rows)), where=union > 0)
    return pa.array(share, mask=union == 0)


def _numbers(table: pa.Table, names: Sequence[str]) -> tuple[Integers, Integers]:
    """Rows numbered by their values in some columns, and the first row of each number."""
    whole = np.zeros(table.num_rows, dtype=np.int64)
    first = np.zeros(0, dtype=np.int64)
    for name in names:
        column = table.column(name).combine_chunks()
        if not pa.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        size = len(column.dictionary)
        place = column.indices.fill_null(size).to_numpy(zero_copy_only=False).astype(np.int64)
        _, first, whole = np.unique(whole * (size + 1) + place, return_index=True, return_inverse=True)
    return whole, first


# -- why they differ -----------------------------------------------------------------------------------------

_SAYS = {1: ("yes", "ja"), 0: ("no", "nee"), -1: ("cannot tell", "niet te zeggen")}
_SUGGESTS = {
    1: ("the figures suggest yes", "de cijfers wijzen op ja"),
    0: ("the figures suggest no", "de cijfers wijzen op nee"),
}
_ITSELF = ("the product itself", "het product zelf")
_NOTHING = ("no figure decides", "geen cijfer beslist")


def build_differences(judged: Judgement) -> pa.Table:
    """The items of the newest year of each HS revision on which methods that can tell disagree, and why.

    For each method the figures against its limits: all that hold where it flags, all that fail where it does not, the
    reason where it cannot tell (contract ``method_differences``).

    Args:
        judged: the verdicts.
    """
    rows: list[dict[str, object]] = []
    for revision, year in judged.newest_years().items():
        rows += _differences(judged, revision, year)
    return METHOD_DIFFERENCES.conform(rows)


def _differences(judged: Judgement, revision: str, year: int) -> list[dict[str, object]]:
    told: dict[int, dict[str, int]] = {}
    says: dict[str, dict[int, _Verdict]] = {}
    for method in judged.methods:
        given = judged.verdicts(method, year)
        mine = (judged.items(given.rows)["hs_revision"] == revision).to_numpy(dtype=bool)
        columns = (given.known, given.raw, given.reason, given.rank, given.ranked)
        verdicts = [_Verdict(*values) for values in zip(*(c[mine].tolist() for c in columns), strict=True)]
        says[method] = dict(zip(given.rows[mine].tolist(), verdicts, strict=True))
        for row, verdict in says[method].items():
            told.setdefault(row, {})[method] = verdict.known
    split = np.array(sorted(r for r, said in told.items() if {0, 1} <= set(said.values())), dtype=np.int64)
    lines: dict[int, list[tuple[str, str]]] = {row: [] for row in split.tolist()}
    for method in judged.methods:
        rows = np.array([row for row in split.tolist() if method in told[row]], dtype=np.int64)
        clauses = [_Said(clause) for clause in judged.clauses(method, rows)]
        for place, row in enumerate(rows.tolist()):
            lines[row].append(_line(method, says[method][row], clauses, place))
    items = judged.items(split).astype(object)
    out = []
    for row, item in zip(split.tolist(), items.to_dict("records"), strict=True):
        by_verdict = {v: ", ".join(m for m, said in told[row].items() if said == v) for v in (1, 0, -1)}
        found = {str(n): None if v != v else v for n, v in item.items()}
        found["tier"] = None if item["tier"] < 0 else int(item["tier"])
        out.append(
            found
            | {
                "flagging": by_verdict[1],
                "not_flagging": by_verdict[0],
                "untold": by_verdict[-1] or None,
                "why": "; ".join(en for en, _ in lines[row]),
                "why_nl": "; ".join(nl for _, nl in lines[row]),
            }
        )
    return out


class _Verdict(NamedTuple):
    """One verdict of one method on one item."""

    known: int
    raw: int
    reason: str | None
    rank: int
    ranked: int


class _Said:
    """A clause as plain lists, and in words."""

    def __init__(self, clause: Clause) -> None:
        self.limit, self.negated = clause.limit, clause.negated
        self.value, self.holds, self.at = clause.value.tolist(), clause.holds.tolist(), clause.at.tolist()

    def known(self, place: int) -> bool:
        """Whether the figure has a part in the verdict."""
        value = self.value[place]
        return bool(value == value)

    def text(self, place: int) -> str:
        """Figure against limit, e.g. ``C2 0.31 <= 0.4``."""
        limit, held = self.limit, self.holds[place]
        sign = (">=" if held else "<") if limit.at_least else (">" if held else "<=")
        return f"{limit.indicator} {figure_beside(self.value[place], limit.cut)} {sign} {limit.cut:g}"


def figure_beside(value: float, cut: float) -> str:
    """A figure in as many digits as it takes to see on which side of the cut-off it lies, at least three."""
    if value == cut:
        return f"{cut:g}"
    texts = [f"{value:.0f}"] if abs(value) >= 100.0 else []
    for text in (*texts, *(f"{value:.{digits}g}" for digits in range(3, 17))):
        if float(text) != cut and (float(text) > cut) == (value > cut):
            return text
    return repr(value)


def _line(method: str, verdict: _Verdict, clauses: Sequence[_Said], place: int) -> tuple[str, str]:
    """One method on one item, in English and Dutch."""
    notes = [REASONS.get(w, (w, w)) for w in (verdict.reason or "").split("; ") if w]
    if verdict.rank:
        notes.insert(0, (f"rank {verdict.rank} of {verdict.ranked}", f"rang {verdict.rank} van {verdict.ranked}"))
    if verdict.known < 0 and verdict.raw in _SUGGESTS:
        notes.append(_SUGGESTS[verdict.raw])
    out = []
    for language in (0, 1):
        told = _because(verdict.known, clauses, place, language)
        note = ", ".join(n[language] for n in notes)
        if not told:
            told = note or _NOTHING[language]
        elif note:
            told = f"{told} ({note})"
        out.append(f"{method} {_SAYS[verdict.known][language]}: {told}")
    return out[0], out[1]


def _because(known: int, clauses: Sequence[_Said], place: int, language: int) -> str:
    """The criteria that make a verdict: those that hold where it flags, those that fail where it does not."""
    if known < 0:
        return ""
    product = [c for c in clauses if c.negated and c.known(place)]
    others = [c for c in clauses if not c.negated and c.known(place)]
    parts = []
    # An indirect dependency asks that the product itself fails: it speaks where that decides.
    if known == 1:
        itself = [c for c in product if not c.holds[place]]
    else:
        itself = product if product and all(c.holds[place] for c in product) else []
    if itself:
        parts.append(f"{_ITSELF[language]} " + ", ".join(_local(c.text(place), language) for c in itself))
    for c in others:
        if c.holds[place] == (known == 1):
            node = c.at[place]
            parts.append(_local(c.text(place), language) + (f" ({node})" if node else ""))
    return ", ".join(parts)


def _local(text: str, language: int) -> str:
    """Dutch has a decimal comma."""
    return text.replace(".", ",") if language else text
