"""Whether a verdict survives the uncertainty of its inputs, and which alternative matters most for it, in words.

Belongs here: putting the draws, the alternatives of table ``flags`` and those of table ``alternatives`` together. Does
not belong here: a draw (:mod:`ketenpipe.risk.product_draws`, :mod:`ketenpipe.risk.chain_draws`), an alternative
(:mod:`ketenpipe.risk.alternatives`), a verdict (:mod:`ketenpipe.risk.methods`).

A verdict is what is told, or where it cannot be told what is indicated. It is robust where it holds in both of these,
and not robust where one of them fails it (METHOD 2: "a flag that flips is not robust"):

* ``draw_agreement``: share of the draws, of those in which the figures can be had, that give the same verdict; at least
  ``robust_from`` of the thresholds, because draws without end turn any verdict now and then. Flagged:
  ``flagged_share`` of table ``drawn_verdicts``; not flagged: ``1 - flagged_share``. Of methods that can tell a verdict
  wherever they have one (:data:`TOLD`) it is the share of all draws: where a year of the window is unknown, GeoDep's
  verdict is lost in the draws that turn the year itself, and they do not give the same one;
* ``agreement``: share of the alternatives that count and give the same verdict; all of them must.

Where one of them is lacking and the other one holds, it cannot be told.

The alternative that matters most turns the verdict; of several it is the one nearest to the published inputs, by the
order of :data:`NEAREST`: first what leaves the inputs as they are and moves the limits, then errors that sources state,
then what is assumed about gaps in the same data, then another basis of the same year, then other years, then other
codes. Where none turns it, it is the one that moves the deciding figure most, as a part of its limit
(``|value - base_value| / limit``, in table ``alternatives``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ketenpipe.risk.planes import Floats, Integers, Truths
from ketenpipe.risk.products import words_of
from ketenpipe.risk.shares import of_tenths, tenths
from ketenpipe.risk.thresholds import Thresholds
from ketenpipe.tables.registry import FLAGS, ROBUSTNESS
from ketenpipe.tables.store import ROW_GROUP
from ketenpipe.tables.stream import Stream

NEAREST: Mapping[str, tuple[str, str]] = {
    "thresholds -": ("limits {} lower", "grenzen {} lager"),
    "thresholds +": ("limits {} higher", "grenzen {} hoger"),
    "governance_minus_se": ("governance risk a standard error lower", "bestuursrisico een standaardfout lager"),
    "governance_plus_se": ("governance risk a standard error higher", "bestuursrisico een standaardfout hoger"),
    "unknown origin on the top country": (
        "unknown origin counted with the top country",
        "onbekende herkomst bij het grootste land geteld",
    ),
    "without_patches": (
        "production as the statistic has it, the rest of unknown origin",
        "productie zoals de statistiek haar geeft, de rest van onbekende herkomst",
    ),
    "intensities_halved": ("intensities of the chain halved", "intensiteiten in de keten gehalveerd"),
    "intensities_raised": ("intensities of the chain half as high again", "intensiteiten in de keten anderhalf maal"),
    "the other basis (traced or imports)": (
        "the other basis (traced supply or imports)",
        "de andere grondslag (herleid aanbod of invoer)",
    ),
    "direct_instead_of_traced": ("direct imports instead of traced supply", "directe invoer in plaats van herleid"),
    "export_basis": ("exports in the place of production", "uitvoer in plaats van productie"),
    "three_year_window": ("flows of three years", "stromen van drie jaar"),
    "the year before": ("the year before", "het jaar ervoor"),
    "the year after": ("the year after", "het jaar erna"),
    "other_revision": ("codes of another HS revision", "codes van een andere HS-revisie"),
}
"""The alternatives, nearest to the published inputs first, in English and Dutch; of thresholds the beginning."""

KEY = FLAGS.key
FLAG_COLUMNS = (*KEY, "flagged", "indicated", "agreement", "alternatives", "flips_on")
"""What :func:`build_robustness` reads of table ``flags``."""
TOLD = ("geodep", "swd2021", "cbs", "crma65", "tno")
"""Methods whose verdict may be told wherever there is one: ``told_share`` is the share of draws that give any."""
_THRESHOLDS = re.compile(r"thresholds ([+-])\s*(\d+(?:\.\d+)?)%")
_UNKNOWN = -1


def build_robustness(flags: pa.Table, drawn: pa.Table, alternatives: pa.Table, thresholds: Thresholds) -> pa.Table:
    """Robustness of the verdicts of a year, or of some years (contract ``robustness``).

    Args:
        flags: table ``flags``, :data:`FLAG_COLUMNS`.
        drawn: table ``drawn_verdicts`` of the same years; columns of the key, ``draws``, ``flagged_share``,
            ``told_share``. Rows of verdicts that are not in ``flags`` are passed over.
        alternatives: table ``alternatives``, of any years.
        thresholds: ``robustness.robust_from``, of the draws.
    """
    return ROBUSTNESS.conform(_robustness(flags, drawn, alternatives, thresholds))


def robustness_stream(
    years: Iterable[int],
    flags_of: Callable[[int], pa.Table],
    drawn_of: Callable[[int], pa.Table],
    alternatives: pa.Table,
    thresholds: Thresholds,
) -> Stream:
    """:func:`build_robustness` year after year; the contract's key begins with the year.

    Args:
        years: that flags has.
        flags_of: table ``flags`` of a year, :data:`FLAG_COLUMNS`.
        drawn_of: table ``drawn_verdicts`` of a year, empty where there is none.
        alternatives: the whole table.
        thresholds: ``robustness.robust_from``, of the draws.
    """

    def batches() -> Iterator[pa.RecordBatch]:
        for year in sorted(years):
            of_year = alternatives.filter(pc.field("year") == year)
            found = build_robustness(flags_of(year), drawn_of(year), of_year, thresholds)
            yield from found.combine_chunks().to_batches(max_chunksize=ROW_GROUP)

    return Stream(batches())


def words_for(name: str) -> tuple[str, str]:
    """An alternative in words, English and Dutch; one that is not known here keeps its name."""
    if found := _THRESHOLDS.fullmatch(name):
        english, dutch = NEAREST[f"thresholds {found.group(1)}"]
        shift = f"{found.group(2)} %"
        return english.format(shift), dutch.format(shift.replace(".", ","))
    return NEAREST.get(name, (name, name))


def nearness(name: str) -> int:
    """The place of an alternative in :data:`NEAREST`, after all of them where it is not there."""
    order = list(NEAREST)
    found = _THRESHOLDS.fullmatch(name)
    known = f"thresholds {found.group(1)}" if found else name
    return order.index(known) if known in order else len(order)


# -- putting together ----------------------------------------------------------------------------------------


def _robustness(flags: pa.Table, drawn: pa.Table, alternatives: pa.Table, thresholds: Thresholds) -> pa.Table:
    count, limit = flags.num_rows, thresholds.robustness.robust_from
    raw = _signs(flags.column("flagged"))
    raw = np.where(raw == _UNKNOWN, _signs(flags.column("indicated")), raw)
    of_drawn, of_alternatives = _places(flags, drawn), _places(flags, alternatives)

    draws, draw_agreement = np.zeros(count), np.full(count, np.nan)
    known = of_drawn >= 0
    at = of_drawn[known]
    made, hit = (_floats(drawn, n)[known] for n in ("draws", "flagged_share"))
    draws[at] = np.nan_to_num(made)
    of_all = pc.is_in(drawn.column("method").cast(pa.string()), pa.array(TOLD)).to_numpy()[known]
    given = np.where(of_all, _floats(drawn, "told_share")[known], 1.0)
    draw_agreement[at] = np.where(raw[at] == 1, hit, 1.0 - hit) * given
    draw_agreement[(raw == _UNKNOWN) | (draws == 0)] = np.nan

    tried = _Tried(flags, alternatives, of_alternatives, raw)
    with np.errstate(invalid="ignore"):
        agreement = np.where(tried.count > 0, tried.agreeing / np.maximum(tried.count, 1), np.nan)
        short = (draw_agreement < limit) | (tried.agreeing < tried.count)
        both = ~np.isnan(draw_agreement) & ~np.isnan(agreement)
    robust = np.where(raw == _UNKNOWN, _UNKNOWN, np.where(short, 0, np.where(both, 1, _UNKNOWN)))
    most, turns = tried.matters_most()
    most = np.where(raw == _UNKNOWN, -1, most)
    english, dutch = _sentences(raw, robust, draws, draw_agreement, tried, most, limit)
    columns = {name: flags.column(name) for name in (*KEY, "flagged", "indicated")}
    columns |= {
        "draws": pa.array(draws.astype(np.int64), mask=draws == 0),
        "draw_agreement": _figures(draw_agreement),
        "alternatives": pa.array(tried.count.astype(np.int64)),
        "agreement": _figures(agreement),
        "matters_most": words_of(most, tried.names),
        "turns": pa.array(turns, mask=most < 0),
        "robust": pa.array(robust == 1, mask=robust == _UNKNOWN),
        "reason": english,
        "reason_nl": dutch,
    }
    return pa.table(columns).select(ROBUSTNESS.names)


class _Tried:
    """The alternatives of every verdict: how many count, how many agree, which turn it, what they move.

    Attributes:
        names: of the alternatives, nearest to the published inputs first.
        count, agreeing: shape (verdicts).
        turning: shape (names, verdicts).
        moves: how far each moves the deciding figure, as a part of its limit; NaN: not known; shape (names, verdicts).
    """

    def __init__(self, flags: pa.Table, alternatives: pa.Table, place: Integers, raw: Integers) -> None:
        count = flags.num_rows
        flips = flags.column("flips_on").cast(pa.string()).combine_chunks().dictionary_encode()
        words = [str(w).split("; ") for w in flips.dictionary.to_pylist()]
        which = flips.indices.fill_null(len(words)).to_numpy(zero_copy_only=False).astype(np.int64)
        agrees = _signs(alternatives.column("agrees"))
        counted = alternatives.column("counted").to_numpy(zero_copy_only=False).astype(bool)
        kept = np.flatnonzero((place >= 0) & counted & (agrees != _UNKNOWN))
        other = alternatives.column("alternative").cast(pa.string()).combine_chunks().dictionary_encode()
        mine = [str(w) for w in other.dictionary.to_pylist()]
        self.names = sorted({w for held in words for w in held} | set(mine), key=lambda n: (nearness(n), n))
        number = {name: at for at, name in enumerate(self.names)}

        tried = np.nan_to_num(_floats(flags, "alternatives"))
        self.count = np.where(raw == _UNKNOWN, 0.0, tried)
        self.agreeing = np.rint(np.nan_to_num(_floats(flags, "agreement")) * self.count)
        self.turning: Truths = np.zeros((len(self.names), count), dtype=bool)
        self.moves: Floats = np.full((len(self.names), count), np.nan)
        for at, held in enumerate(words):
            for name in held:
                self.turning[number[name], (which == at) & (raw != _UNKNOWN)] = True
        verdict, told = place[kept], agrees[kept]
        numbers = np.array([number[m] for m in mine], dtype=np.int64)
        alternative = numbers[other.indices.to_numpy(zero_copy_only=False).astype(np.int64)[kept]]
        self.count = self.count + np.bincount(verdict, minlength=count)
        self.agreeing = self.agreeing + np.bincount(verdict, told == 1, minlength=count)
        self.turning[alternative[told == 0], verdict[told == 0]] = True
        value, base, limit = (_floats(alternatives, n)[kept] for n in ("value", "base_value", "threshold"))
        self.moves[alternative, verdict] = np.abs(value - base) / np.abs(limit)

    def matters_most(self) -> tuple[Integers, Truths]:
        """Number of the alternative that matters most (-1: none), and whether it turns the verdict."""
        if not self.names:
            nothing = np.zeros(self.count.shape, dtype=bool)
            return np.full(self.count.shape, -1, dtype=np.int64), nothing
        turns = np.asarray(self.turning.any(axis=0), dtype=bool)
        moved = ~np.isnan(self.moves)
        largest = np.where(moved, self.moves, -1.0).argmax(axis=0)
        most = np.where(turns, self.turning.argmax(axis=0), np.where(moved.any(axis=0), largest, -1))
        return most.astype(np.int64), turns


def _places(flags: pa.Table, others: pa.Table) -> Integers:
    """Of each row of another table the row of ``flags`` with the same key; -1 where there is none."""
    count = flags.num_rows
    whole = np.zeros(count + others.num_rows, dtype=np.int64)
    for name in KEY:
        column = pa.chunked_array(
            [c for t in (flags, others) for c in _plain(t.column(name)).chunks], type=_plain(flags.column(name)).type
        )
        coded = column.combine_chunks().dictionary_encode()
        numbers = coded.indices.fill_null(len(coded.dictionary)).to_numpy(zero_copy_only=False).astype(np.int64)
        # The numbers so far are made dense, so that the product of two never overflows.
        _, whole = np.unique(whole * (len(coded.dictionary) + 1) + numbers, return_inverse=True)
    row = np.full(int(whole.max()) + 1 if len(whole) else 0, -1, dtype=np.int64)
    row[whole[:count]] = np.arange(count)
    found: Integers = row[whole[count:]]
    return found


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type) or pa.types.is_string(column.type):
        return column.cast(pa.string())
    return column.cast(pa.int64())


def _signs(column: pa.ChunkedArray) -> Integers:
    """A three-valued column as 1, 0 and -1 (unknown)."""
    found: Integers = pc.fill_null(column.cast(pa.int8()), _UNKNOWN).to_numpy().astype(np.int64)
    return found


def _floats(table: pa.Table, name: str) -> Floats:
    return table.column(name).cast(pa.float64()).to_numpy().astype(np.float64)


def _figures(values: Floats) -> pa.Array:
    return pa.array(values, mask=np.isnan(values))


# -- words ---------------------------------------------------------------------------------------------------


def _sentences(
    raw: Integers, robust: Integers, draws: Floats, draw_agreement: Floats, tried: _Tried, most: Integers, limit: float
) -> tuple[pa.DictionaryArray, pa.DictionaryArray]:
    """A sentence per verdict, made once for each that occurs. Shares of draws as :mod:`ketenpipe.risk.shares`."""
    part = tenths(draw_agreement)
    told = (raw != _UNKNOWN).astype(np.int64)
    figures = [told, robust, draws.astype(np.int64), part, tried.count.astype(np.int64),
               tried.agreeing.astype(np.int64), most]  # fmt: skip
    names = [words_for(name) for name in tried.names]
    turning = tried.turning.T.astype(np.int64)
    kinds, which = np.unique(np.column_stack([*figures, turning]), axis=0, return_inverse=True)
    english: list[str] = []
    dutch: list[str] = []
    for kind in kinds.tolist():
        known, verdict, number, share, count, agreeing, first = kind[:7]
        turned = [name for name, turns in zip(names, kind[7:], strict=True) if turns]
        mover = names[first] if first >= 0 and not turned else None
        for language, out in ((0, english), (1, dutch)):
            out.append(
                _SENTENCE[language](
                    bool(known), verdict, number, share, count, agreeing, [t[language] for t in turned],
                    mover[language] if mover else None, limit,
                )
            )  # fmt: skip
    flat = np.asarray(which).reshape(-1)
    return words_of(flat, english), words_of(flat, dutch)


def _english(
    known: bool, robust: int, draws: int, share: int, count: int, agreeing: int, turned: Sequence[str],
    mover: str | None, limit: float,
) -> str:  # fmt: skip
    if not known:
        return "It cannot be told whether it is robust: the figures give no verdict."
    drawn = f"in {of_tenths(share)[0]} of {draws} draws" if share >= 0 else "no draws were made of it"
    if share < 0 and draws:
        drawn = f"none of {draws} draws gives a verdict"
    compared = f"under {agreeing} of {count} alternatives" if count else "there is no alternative to compare it with"
    beyond = ""
    if turned:
        beyond = f" It turns on: {'; '.join(turned)}."
    elif mover:
        beyond = f" No alternative turns it; what moves its deciding figure most: {mover}."
    asked = f"{limit * 100:g} % is asked"
    if robust == 1:
        return f"Robust: the same {drawn} and {compared}.{beyond}"
    if robust == 0:
        if share < 0:
            return f"Not robust: the same {compared}, where all are asked; {drawn}.{beyond}"
        if not count:
            return f"Not robust: the same {drawn}, where {asked}; {compared}.{beyond}"
        return f"Not robust: the same {drawn} ({asked}) and {compared} (all are asked).{beyond}"
    if share < 0 and not count:
        return f"It cannot be told whether it is robust: {drawn}, and {compared}."
    if share < 0:
        return f"It cannot be told whether it is robust: the same {compared}, but {drawn}.{beyond}"
    return f"It cannot be told whether it is robust: the same {drawn}, but {compared}."


def _dutch(
    known: bool, robust: int, draws: int, share: int, count: int, agreeing: int, turned: Sequence[str],
    mover: str | None, limit: float,
) -> str:  # fmt: skip
    if not known:
        return "Of het robuust is, is niet te zeggen: de cijfers geven geen oordeel."
    drawn = f"in {of_tenths(share)[1]} van {draws} trekkingen" if share >= 0 else "er zijn geen trekkingen van gemaakt"
    if share < 0 and draws:
        drawn = f"geen van {draws} trekkingen geeft een oordeel"
    compared = (
        f"onder {agreeing} van {count} alternatieven" if count else "er is geen alternatief om mee te vergelijken"
    )
    beyond = ""
    if turned:
        beyond = f" Het keert om bij: {'; '.join(turned)}."
    elif mover:
        beyond = f" Geen alternatief keert het om; wat het beslissende cijfer het meest verschuift: {mover}."
    asked = f"{limit * 100:g} % wordt gevraagd".replace(".", ",")
    if robust == 1:
        return f"Robuust: hetzelfde {drawn} en {compared}.{beyond}"
    if robust == 0:
        if share < 0:
            return f"Niet robuust: hetzelfde {compared}, waar alle worden gevraagd; {drawn}.{beyond}"
        if not count:
            return f"Niet robuust: hetzelfde {drawn}, waar {asked}; {compared}.{beyond}"
        return f"Niet robuust: hetzelfde {drawn} ({asked}) en {compared} (alle worden gevraagd).{beyond}"
    if share < 0 and not count:
        return f"Of het robuust is, is niet te zeggen: {drawn}, en {compared}."
    if share < 0:
        return f"Of het robuust is, is niet te zeggen: hetzelfde {compared}, maar {drawn}.{beyond}"
    return f"Of het robuust is, is niet te zeggen: hetzelfde {drawn}, maar {compared}."


_SENTENCE: tuple[Callable[..., str], Callable[..., str]] = (_english, _dutch)
