"""Named methods and their verdicts, with what they turn on.

Belongs here: from facts to flags, in three values (true, false, cannot be told), the criterion that decides, and the
alternatives under which each verdict is tried. What each method is stands in :mod:`ketenpipe.risk.published`; no
minimum value enters a method that has none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from ketenpipe.chain.proportional import recipe_year
from ketenpipe.risk.definitions import METHOD_VERSION
from ketenpipe.risk.direct import EU27
from ketenpipe.risk.facts import ITEM, Facts, collect_facts
from ketenpipe.risk.planes import Floats, Integers
from ketenpipe.risk.products import words_of
from ketenpipe.risk.published import PUBLISHED, Limit, chosen_methods, limits_of
from ketenpipe.risk.thresholds import Thresholds
from ketenpipe.risk.world import MAX_TIER, Stamped, World
from ketenpipe.tables.registry import FLAGS
from ketenpipe.tables.registry import INDICATORS as INDICATOR_TABLE
from ketenpipe.tables.stream import Stream

ON_GOVERNANCE = ("tno", "node_test", "indirect_specific", "indirect_global", "ec_criticality", "geopolrisk")
ON_TRACED = ("node_test", "indirect_specific", "indirect_global")
RANKING = ("geopolrisk",)
"""Methods that rank and never flag."""
SET_LEVEL = {"indirect_specific": "group", "indirect_global": "group", "foreign_input_reliance": "industry"}
"""Level of the set whose churn is counted; hs6 where it is not named."""
_BASIS_OF_SET = {
    "tno": "observed",
    "ec_criticality": "observed",
    "foreign_input_reliance": "icio",
    "node_test": "traced",
    "indirect_specific": "traced",
    "indirect_global": "world_production_mix",
}
_BANDS = ("low", "moderate", "high")
_UNKNOWN = -1
"""A verdict as a number: 1 flagged, 0 not, -1 cannot be told."""
#: An economic importance on these stands for no end use of the material: it indicates and never flags.
SOFT_BASES = ("icio_proportional", "synthetic")
#: Notes on G5 and EI that are no ground for leaving a verdict open; they stay beside the figures.
_BESIDE = (
    "other_form", "small_or_precious", "production_imputed", "subset_of_products", "recipe_of_another_year",
    "members_without_region",
)  # fmt: skip

Signs = npt.NDArray[np.int8]
Truths = npt.NDArray[np.bool_]


def build_flags(
    world: World,
    indicators: pa.Table,
    minimum_import_kusd: float,
    methods: Collection[str] = (),
    product_industries: pa.Table | None = None,
) -> tuple[pa.Table, pa.Table]:
    """Verdicts of the named methods, and the indicators with the churn of each method's set (P2) added.

    All years and products at once, for small worlds; see :class:`Judgement`.

    Args:
        world: what the indicators were made of.
        indicators: table ``indicators``.
        minimum_import_kusd: flags on smaller imports are marked and do not count.
        methods: those that judge; all where none is named.
        product_industries: table ``product_industries``.

    Returns:
        Tables ``flags`` and ``indicators``.

    Raises:
        WrongUse: a name that is no method.
    """
    facts = collect_facts([indicators])
    found = Judgement(
        facts,
        world.exposure.chain_nodes,
        world.thresholds,
        world,
        minimum_import_kusd,
        methods=methods,
        product_industries=product_industries,
    )
    flags = FLAGS.conform(pa.concat_tables([FLAGS.empty(), *(found.flags(year) for year in facts.years)]))
    return flags, INDICATOR_TABLE.conform(pa.concat_tables([indicators, found.churn()]))


@dataclass(frozen=True)
class Clause:
    """One criterion of a method on some rows.

    Attributes:
        limit: figure and cut-off.
        negated: the method holds where the criterion (with its fellows) fails: the product itself in an indirect one.
        value: the figure, NaN where it is unknown or has no part in the verdict.
        at: node whose figure it is, None where it is the row's own.
    """

    limit: Limit
    negated: bool
    value: Floats
    at: npt.NDArray[np.object_]

    @property
    def holds(self) -> Truths:
        """Whether the figure is beyond its limit; false where it is unknown."""
        return self.value >= self.limit.cut if self.limit.at_least else self.value > self.limit.cut


@dataclass(frozen=True)
class Verdicts:
    """One method's verdicts of a year.

    Attributes:
        rows: of the facts.
        raw: what the figures say; known: what may be told: 1 flagged, 0 not, -1 cannot be told.
        reason: why it cannot be told, or what to know; None where there is nothing.
        rank, ranked: of a method that ranks; 0 where there is none.
    """

    rows: Integers
    raw: Signs
    known: Signs
    reason: npt.NDArray[np.object_]
    rank: Integers
    ranked: Integers


class Judgement:
    """The verdicts of every named method on every item and year, with what they turn on.

    ``flagged`` is null where the verdict cannot be told: on the export proxy (``indicated`` says what the
    figures suggest), where nothing may be cleared (small or precious), where a figure is missing.

    Args:
        facts: of all years.
        chain_nodes: table ``chain_nodes``, for the path weights.
        thresholds: cut-offs of the methods whose limits are configuration; the others' are frozen.
        stamped: vintages; a change of the WGI edition parts the years.
        minimum_import_kusd: flags on smaller imports are marked and do not count.
        methods: those that judge; all where none is named.
        product_industries: table ``product_industries``: brings ``foreign_input_reliance`` to level hs6.

    Raises:
        WrongUse: a name that is no method.
    """

    def __init__(
        self,
        facts: Facts,
        chain_nodes: pa.Table,
        thresholds: Thresholds,
        stamped: Stamped,
        minimum_import_kusd: float,
        *,
        methods: Collection[str] = (),
        product_industries: pa.Table | None = None,
    ) -> None:
        self.methods = chosen_methods(methods)
        self.years = facts.years
        self._facts, self._stamped = facts, stamped
        frame = facts.frame
        frame["path_weight"] = _path_weights(frame, chain_nodes)
        industry = _Industries(facts, product_industries)
        shift = thresholds.robustness.threshold_shift
        base = _verdicts(facts, _Rules(thresholds), self.methods, industry)
        alternatives = {
            f"thresholds -{shift:.0%}": _verdicts(facts, _Rules(thresholds, 1.0 - shift), self.methods, industry),
            f"thresholds +{shift:.0%}": _verdicts(facts, _Rules(thresholds, 1.0 + shift), self.methods, industry),
        }
        on_traced = tuple(m for m in self.methods if m in ON_TRACED)
        on_top = _verdicts(facts, _Rules(thresholds), on_traced, industry, unknown_on_top=True)
        imports = frame["M"].to_numpy(dtype=float)
        self._below = np.where(np.isnan(imports), _UNKNOWN, imports < minimum_import_kusd).astype(np.int8)
        self._found: dict[str, _Found] = {}
        for method in self.methods:
            verdict = base[method]
            applies = verdict.applies.to_numpy(dtype=bool)
            tried = {} if method in RANKING else {name: other[method].raw for name, other in alternatives.items()}
            if method in ON_TRACED:
                tried["unknown origin on the top country"] = on_top[method].raw
            if verdict.other is not None:
                tried["the other basis (traced or imports)"] = verdict.other
            raw = _signs(verdict.raw)
            signs = {name: _signs(v) for name, v in tried.items()}
            signs |= self._neighbouring_years(raw, applies & verdict.own_year, method in ON_GOVERNANCE)
            self._found[method] = _Found(frame, raw, verdict, signs)
        del base, alternatives, on_top

    def flags(self, year: int) -> pa.Table:
        """The verdicts of a year (contract ``flags``, sorted by its key)."""
        parts = []
        for method, found in self._found.items():
            places = found.places(self._facts.frame, year)
            if len(places):
                parts.append(self._table(method, found, places))
        return FLAGS.conform(pa.concat_tables(parts)) if parts else FLAGS.empty()

    def flag_stream(self) -> Stream:
        """Table ``flags``, year after year; the contract's key begins with the year."""

        def batches() -> Iterator[pa.RecordBatch]:
            for year in self.years:
                yield from self.flags(year).to_batches()

        return Stream(batches())

    def newest_years(self) -> dict[str, int]:
        """The last year of each HS revision."""
        frame = self._facts.frame
        last = frame.groupby("hs_revision", observed=True)["year"].max()
        return {str(revision): int(year) for revision, year in last.items()}

    def items(self, rows: Integers) -> pd.DataFrame:
        """Keys of some rows of the facts, in the order of the rows."""
        return self._facts.frame.loc[rows, [*ITEM, "year"]]

    def verdicts(self, method: str, year: int) -> Verdicts:
        """A method's verdicts of a year."""
        found = self._found[method]
        places = found.places(self._facts.frame, year)
        rows = found.rows[places]
        words = np.array([*found.reasons, None], dtype=object)
        return Verdicts(
            rows,
            found.raw[rows],
            found.known[rows],
            words[found.reason[places]],
            found.rank[places],
            found.ranked[places],
        )

    def clauses(self, method: str, rows: Integers) -> list[Clause]:
        """The criteria of a method at some rows of the facts, in the order of its rule."""
        codes = self._facts.frame["code"].cat
        names = np.array([*codes.categories, None], dtype=object)
        return [
            Clause(test.limit, part.negated, test.values(rows), names[test.place(rows)])
            for part in self._found[method].parts
            for test in part.tests
        ]

    def churn(self) -> pa.Table:
        """P2 = 1 - |F_t and F_t-1| / |F_t-1| per method that flags (contract ``indicators``, level set).

        Null over an empty set, where nothing can be told, or over a change of the WGI edition.
        """
        frame = self._facts.frame
        rows: list[dict[str, object]] = []
        for method, found in self._found.items():
            if method in RANKING:
                continue
            at = found.rows[frame["level"].to_numpy()[found.rows] == SET_LEVEL.get(method, "hs6")]
            part = frame.loc[at, ["focus", "hs_revision", "code", "year"]].assign(known=found.known[at])
            if method == "foreign_input_reliance":
                part["basis"] = frame.loc[at, "I4_basis"].to_numpy()
            for (focus, revision), held in part.groupby(["focus", "hs_revision"], observed=True, dropna=False):
                sets = {int(y): set(p.loc[p["known"] == 1, "code"]) for y, p in held.groupby("year")}
                told = {int(y): int((p["known"] != _UNKNOWN).sum()) for y, p in held.groupby("year")}
                basis = _BASIS_OF_SET.get(method, "imports")
                if method == "foreign_input_reliance" and (held["basis"] == "synthetic").any():
                    basis = "synthetic"
                release = None if pd.isna(revision) else str(revision)
                for year in sorted(sets):
                    if year - 1 in sets:
                        rows.append(self._churned(method, str(focus), release, year, sets, told) | {"basis": basis})
        return INDICATOR_TABLE.conform(rows)

    def _churned(
        self,
        method: str,
        focus: str,
        revision: str | None,
        year: int,
        sets: Mapping[int, set[str]],
        told: Mapping[int, int],
    ) -> dict[str, object]:
        before, now = sets[year - 1], sets[year]
        editions = self._stamped.wgi_vintage
        value: float | None = None
        reason: str | None = None
        if method in ON_GOVERNANCE and editions.get(year) != editions.get(year - 1):
            reason = "wgi_vintage"
        elif not told[year - 1] or not told[year]:
            reason = "window_incomplete"
        elif not before:
            reason = "previous_set_empty"
        else:
            value = 1.0 - len(before & now) / len(before)
        return {
            "focus": focus,
            "level": "set",
            "code": method,
            "hs_revision": revision,
            "year": year,
            "indicator": "P2",
            "measure": "none",
            "value": value,
            "unit": "share",
            "reason": reason,
            "confidence": "high",
            "source_vintage": self._stamped.vintage(revision, year, "baci", "wgi"),
            "method_version": METHOD_VERSION,
        }

    def _neighbouring_years(self, raw: Signs, applies: Truths, governed: bool) -> dict[str, Signs]:
        """The same verdict a year earlier and later; unknown across a change of the WGI edition."""
        years = self._facts.frame["year"].to_numpy(dtype=np.int64)
        editions = {y: n for n, y in enumerate(sorted(set(self._stamped.wgi_vintage.values())))}
        out: dict[str, Signs] = {}
        for name, step in (("the year before", -1), ("the year after", 1)):
            other = self._facts.beside(step)
            there = (other >= 0) & applies[other] & applies if len(other) else np.zeros(0, dtype=bool)
            if governed:
                edition = {y: editions[v] for y, v in self._stamped.wgi_vintage.items()}
                same = {y: edition.get(y, -1) == edition.get(y + step, -2) for y in self.years}
                there = there & np.array([same[y] for y in years.tolist()], dtype=bool)
            out[name] = np.where(there, raw[other], _UNKNOWN).astype(np.int8)
        return out

    def _table(self, method: str, found: _Found, places: Integers) -> pa.Table:
        frame = self._facts.frame
        at = found.rows[places]
        count = len(at)
        raw, known = found.raw[at], found.known[at]
        columns: dict[str, Any] = {}
        for name in ITEM:
            if name == "tier":
                tiers = frame[name].to_numpy(dtype=np.int32)[at]
                columns[name] = pa.array(tiers, mask=tiers < 0)
            else:
                words = frame[name].cat
                columns[name] = words_of(words.codes.to_numpy()[at].astype(np.int64), list(words.categories))
        columns["year"] = pa.array(frame["year"].to_numpy(dtype=np.int32)[at])
        columns["method"] = words_of(np.zeros(count, dtype=np.int64), [method])
        columns["flagged"] = _truths(known)
        columns["indicated"] = _truths(np.where(known == _UNKNOWN, raw, _UNKNOWN))
        columns["band"] = words_of(found.band[places], _BANDS)
        columns["reason"] = words_of(found.reason[places], found.reasons)
        columns |= _robustness(raw, {name: signs[at] for name, signs in found.tried.items()})
        columns["below_minimum"] = _truths(self._below[at])
        columns["rank"] = pa.array(found.rank[places], mask=found.rank[places] == 0)
        columns["ranked"] = pa.array(found.ranked[places], mask=found.rank[places] == 0)
        columns["country"] = words_of(found.country[places], found.countries)
        columns |= self._deciding(found, places)
        columns["method_version"] = words_of(np.zeros(count, dtype=np.int64), [PUBLISHED[method].version])
        return pa.table(columns).select(FLAGS.names).cast(FLAGS.schema())

    def _deciding(self, found: _Found, places: Integers) -> dict[str, Any]:
        """Columns decided_*: the test that decides, its figure, its limit and the node it stands at."""
        tests = [test for part in found.parts for test in part.tests]
        which, value = found.decided[places], found.decided_value[places]
        cuts = np.array([*(t.limit.cut for t in tests), np.nan])
        cut = cuts[which]
        ranks = found.rank[places] > 0
        at = np.full(len(places), -1, dtype=np.int64)
        for number, test in enumerate(tests):
            mine = which == number
            at[mine] = test.place(found.rows[places[mine]])
        return {
            "decided_by": words_of(which, [t.limit.indicator for t in tests]),
            "decided_value": pa.array(value, mask=np.isnan(value)),
            "decided_limit": pa.array(cut, mask=np.isnan(cut) | ranks),
            "decided_at": words_of(at, list(self._facts.frame["code"].cat.categories)),
        }


def _robustness(raw: Signs, tried: Mapping[str, Signs]) -> dict[str, Any]:
    """Columns agreement, alternatives and flips_on."""
    count = len(raw)
    same = np.array([signs == raw for signs in tried.values()]).reshape(len(tried), count)
    comparable = np.array([(v != _UNKNOWN) & (raw != _UNKNOWN) for v in tried.values()]).reshape(len(tried), count)
    alternatives = comparable.sum(axis=0)
    agreeing = (same & comparable).sum(axis=0)
    share = np.divide(agreeing, alternatives, out=np.zeros(count), where=alternatives > 0)
    # Which alternatives turn a verdict, as a number of one bit each, and the words of every such number.
    bits = ((~same & comparable) * (1 << np.arange(len(tried)))[:, None]).sum(axis=0)
    turned, which = np.unique(bits, return_inverse=True)
    names = ["; ".join(n for k, n in enumerate(tried) if int(number) >> k & 1) or None for number in turned]
    return {
        "alternatives": pa.array(alternatives.astype(np.int32)),
        "agreement": pa.array(share, mask=alternatives == 0),
        "flips_on": words_of(which, names),
    }


# -- what decides --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Test:
    """One figure against its limit on all rows; where it has no part in the verdict the figure is NaN.

    Args:
        limit: figure and cut-off.
        figure: shape (rows).
        at: number of the node among the codes whose figure it is, -1 for the row's own; None: the row's own throughout.
    """

    limit: Limit
    figure: Floats
    at: Integers | None = None

    def values(self, rows: Integers) -> Floats:
        return self.figure[rows]

    def place(self, rows: Integers) -> Integers:
        return np.full(len(rows), -1, dtype=np.int64) if self.at is None else self.at[rows]


@dataclass(frozen=True)
class _Part:
    """Tests that must all hold, or must not all hold (``negated``)."""

    tests: list[_Test]
    negated: bool = False


def deciding(raw: Signs, parts: Sequence[Sequence[tuple[Limit, Floats]]], negated: Sequence[bool]) -> Integers:
    """The number of the test that decides, counted through the parts; -1 where the verdict is unknown.

    The margin of a test is ``figure / limit - 1``. A part of which some tests fail has the margin of the failing one
    farthest from its limit, else that of the one nearest to it; a negated part has the opposite margin. A verdict that
    holds is decided by the part with the smallest margin, one that does not by the part that fails with the smallest.

    Args:
        raw: verdicts, shape (rows).
        parts: per part the limits and figures of its tests, each of shape (rows); NaN takes no part.
        negated: per part whether it must fail.
    """
    count = len(raw)
    margins, fails, whichs = [], [], []
    first = 0
    for tests, turned in zip(parts, negated, strict=True):
        values = np.array([figure for _, figure in tests]).reshape(len(tests), count)
        cuts = np.array([limit.cut for limit, _ in tests])[:, None]
        least = np.array([limit.at_least for limit, _ in tests])[:, None]
        margin = values / cuts - 1.0
        known = ~np.isnan(values)
        failing = known & ~np.where(least, values >= cuts, values > cuts)
        some = failing.any(axis=0)
        counted = np.where(some, failing, known)
        held = np.where(counted, margin, np.inf)
        which = held.argmin(axis=0)
        nearest = held[which, np.arange(count)]
        there = np.isfinite(nearest)
        margins.append(np.where(there, -nearest if turned else nearest, np.inf))
        fails.append(there & (some ^ turned))
        whichs.append(which + first)
        first += len(tests)
    margin_of, fails_of, which_of = np.array(margins), np.array(fails), np.array(whichs)
    counted = np.where(raw == 0, fails_of, np.isfinite(margin_of))
    held = np.where(counted, margin_of, np.inf)
    part = held.argmin(axis=0)
    rows = np.arange(count)
    found = np.isfinite(held[part, rows]) & (raw != _UNKNOWN)
    return np.where(found, which_of[part, rows], -1).astype(np.int64)


# -- verdicts ------------------------------------------------------------------------------------------------


@dataclass
class _Verdict:
    """One method on all rows of the facts.

    Attributes:
        applies: where the method is asked at all.
        raw: what the figures say; known: what may be told of it; three-valued.
        reason: why it cannot be told, or what to know.
        parts: its tests.
        other: the verdict on the other basis.
        band: words of the bands.
        country: per row the number of the country that the deciding figure names among ``countries``, -1 for none.
        rank, ranked: of methods that rank; 0 where there is none.
        own_year: where the figures are of the row's own year, so that neighbouring years are another look.
    """

    applies: pd.Series
    raw: pd.Series
    known: pd.Series
    reason: pd.Series
    parts: list[_Part]
    other: pd.Series | None = None
    band: pd.Series | None = None
    country: Integers | None = None
    countries: list[str] = field(default_factory=list)
    rank: Integers | None = None
    ranked: Integers | None = None
    own_year: Truths | bool = True


class _Found:
    """The verdicts of one method, as numbers: signs on all rows of the facts, the rest where the method applies."""

    def __init__(self, frame: pd.DataFrame, raw: Signs, verdict: _Verdict, tried: dict[str, Signs]) -> None:
        self.rows: Integers = np.flatnonzero(verdict.applies.to_numpy(dtype=bool))
        self.raw, self.tried, self.parts = raw, tried, verdict.parts
        self.known = _signs(verdict.known)
        reason, words = pd.factorize(verdict.reason.to_numpy(dtype=object)[self.rows])
        self.reason, self.reasons = reason.astype(np.int32), [str(w) for w in words]
        count = len(self.rows)
        nothing = np.zeros(count, dtype=np.int64)
        self.band = np.full(count, -1, dtype=np.int32)
        if verdict.band is not None:
            bands = pd.Categorical(verdict.band.to_numpy(dtype=object)[self.rows], categories=list(_BANDS))
            self.band = bands.codes.astype(np.int32)
        self.country = nothing - 1 if verdict.country is None else verdict.country[self.rows]
        self.countries = verdict.countries
        self.rank = nothing if verdict.rank is None else verdict.rank[self.rows]
        self.ranked = nothing if verdict.ranked is None else verdict.ranked[self.rows]
        tests = [[(t.limit, t.values(self.rows)) for t in part.tests] for part in verdict.parts]
        flat = [figure for part in tests for _, figure in part]
        self.decided = deciding(raw[self.rows], tests, [part.negated for part in verdict.parts])
        self.decided_value = np.full(count, np.nan)
        for number, figure in enumerate(flat):
            mine = self.decided == number
            self.decided_value[mine] = figure[mine]

    def places(self, frame: pd.DataFrame, year: int) -> Integers:
        """Which of the method's rows are of a year."""
        return np.flatnonzero(frame["year"].to_numpy(dtype=np.int64)[self.rows] == year)


def _signs(verdict: pd.Series) -> Signs:
    """A three-valued column as numbers."""
    return verdict.astype("boolean").astype("Int8").fillna(_UNKNOWN).to_numpy(dtype=np.int8)


def _truths(signs: npt.NDArray[Any]) -> pa.Array:
    return pa.array(signs == 1, mask=signs == _UNKNOWN)


def _path_weights(frame: pd.DataFrame, chain_nodes: pa.Table) -> Floats:
    """The path weight of each node in its group's chain; NaN for what is no node, or where it is unknown."""
    nodes = chain_nodes.select(["group", "node", "path_weight"]).to_pylist()
    weights = {(r["group"], r["node"]): r["path_weight"] for r in nodes if r["path_weight"] is not None}
    out = np.full(len(frame), np.nan)
    at = np.flatnonzero((frame["level"] == "node").to_numpy())
    places = zip(frame["group"].to_numpy()[at], frame["code"].to_numpy()[at], strict=True)
    out[at] = [weights.get(place, np.nan) for place in places]
    return out


class _Rules:
    """The limits of every method, moved by a factor."""

    def __init__(self, thresholds: Thresholds, scale: float = 1.0) -> None:
        self.thresholds = thresholds
        self.scale = scale
        self._limits = {
            method: {
                limit.indicator: Limit(limit.indicator, limit.cut * scale, limit.at_least)
                for limit in limits_of(method, thresholds)
            }
            for method in PUBLISHED
        }

    def limit(self, method: str, indicator: str) -> Limit:
        """The limit of a figure in a method."""
        return self._limits[method][indicator]

    def holds(self, method: str, indicator: str, figure: pd.Series) -> pd.Series:
        """Whether a figure is beyond its limit, unknown where the figure is."""
        limit = self.limit(method, indicator)
        beyond = figure >= limit.cut if limit.at_least else figure > limit.cut
        return beyond.astype("boolean").where(figure.notna(), pd.NA)

    def test(self, method: str, indicator: str, figure: pd.Series, where: pd.Series | None = None) -> _Test:
        """The same as a test, on the rows where it has a part in the verdict."""
        held = figure if where is None else figure.where(where)
        return _Test(self.limit(method, indicator), held.to_numpy(dtype=float))


def _nothing(facts: pd.DataFrame) -> pd.Series:
    return pd.Series(None, index=facts.index, dtype=object)


def _words(column: pd.Series, without: Collection[str] = ()) -> pd.Series:
    """Reasons as plain words, None for the empty one; notes with a name in them (``material: Ore``) are left out."""
    told = {
        str(w): "; ".join(p for p in str(w).split("; ") if ": " not in p and p not in without) or None
        for w in column.cat.categories
    }
    held = column.astype(object).map(told)
    return held.where(held.notna(), None)


def _verdicts(
    held: Facts,
    rules: _Rules,
    methods: Collection[str],
    industry: _Industries,
    *,
    unknown_on_top: bool = False,
) -> dict[str, _Verdict]:
    """The methods on every item: raw verdict, the one that may be told, reason, where the method applies."""
    out: dict[str, _Verdict] = {}
    facts = held.frame
    direct = {"geodep": _geodep, "swd2021": _swd2021, "cbs": _cbs, "crma65": _crma65}
    for method, judge in direct.items():
        if method in methods:
            out[method] = judge(held, rules)
    if "tno" in methods:
        out["tno"] = _tno(facts, rules)
    if "ec_criticality" in methods:
        out["ec_criticality"] = _ec_criticality(facts, rules)
    if "geopolrisk" in methods:
        out["geopolrisk"] = _geopolrisk(facts)
    if "foreign_input_reliance" in methods:
        out["foreign_input_reliance"] = _foreign_input_reliance(facts, rules, industry)
    if set(methods) & set(ON_TRACED):
        test = _node_test(facts, rules, unknown_on_top=unknown_on_top)
        found = {"node_test": test, **_indirect(facts, rules, test)}
        out |= {m: v for m, v in found.items() if m in methods}
    return out


def _no_imports(facts: pd.DataFrame) -> pd.Series:
    """Why a direct figure is missing."""
    return pd.Series(np.where(facts["M"] > 0, "not_in_sources", "no_imports"), index=facts.index, dtype=object)


def _geodep(held: Facts, rules: _Rules) -> _Verdict:
    """C1, C2 and S1 in at least 2 of the last 3 years; unknown where the unknown years could make it 2."""
    facts = held.frame
    holds = pd.Series(True, index=facts.index, dtype="boolean")
    for indicator in ("C1", "C2", "S1"):
        holds = holds & rules.holds("geodep", indicator, facts[indicator])
    signs = _signs(holds.where(facts["M"] > 0, pd.NA))
    published = PUBLISHED["geodep"]
    sure, unsure = (signs == 1).astype(np.int64), (signs == _UNKNOWN).astype(np.int64)
    for back in range(1, int(published.number("window"))):
        earlier = held.beside(-back)
        then = np.where(earlier >= 0, signs[earlier], _UNKNOWN) if len(earlier) else signs
        sure += then == 1
        unsure += then == _UNKNOWN
    enough = published.number("years")
    persistent = pd.Series(False, index=facts.index, dtype="boolean")
    persistent[sure + unsure >= enough] = pd.NA
    persistent[sure >= enough] = True
    # The year's own criteria decide where they say the same as the window; else the count of years does.
    agrees = pd.Series(signs == _signs(persistent), index=facts.index)
    tests = [rules.test("geodep", i, facts[i], agrees) for i in ("C1", "C2", "S1")]
    tests.append(_Test(Limit("P1", enough, at_least=True), np.where(agrees, np.nan, sure)))
    reason = _nothing(facts).where(persistent.notna(), "window_incomplete")
    return _Verdict(facts["M"].notna(), persistent, persistent, reason, [_Part(tests)])


def _swd2021(held: Facts, rules: _Rules) -> _Verdict:
    facts = held.frame
    names = ("C1", "C5", "S1b")
    flag = pd.Series(True, index=facts.index, dtype="boolean")
    for indicator in names:
        flag = flag & rules.holds("swd2021", indicator, facts[indicator])
    tests = [rules.test("swd2021", i, facts[i]) for i in names]
    applies = facts["M"].notna() & (facts["focus"] == EU27)
    return _Verdict(applies, flag, flag, _no_imports(facts).where(flag.isna(), None), [_Part(tests)])


def _cbs(held: Facts, rules: _Rules) -> _Verdict:
    facts = held.frame
    figure = facts["C1"]
    flag = rules.holds("cbs", "C1", figure)
    moderate = PUBLISHED["cbs"].number("moderate") * rules.scale
    bands = np.select(
        [figure > rules.limit("cbs", "C1").cut, figure > moderate, figure.notna()],
        ["high", "moderate", "low"],
        default="",
    )
    band = pd.Series(bands, index=facts.index).replace({"": None})
    reason = _no_imports(facts).where(flag.isna(), None)
    return _Verdict(facts["M"].notna(), flag, flag, reason, [_Part([rules.test("cbs", "C1", figure)])], band=band)


def _crma65(held: Facts, rules: _Rules) -> _Verdict:
    facts = held.frame
    limit = rules.limit("crma65", "C4b")
    on_traced = rules.holds("crma65", "C4b", facts["C4b"])
    on_imports = rules.holds("crma65", "C4b", facts["C4a"])
    usable = (
        facts["C4b"].notna()
        & ~facts["C4b_reason"].str.contains("export_proxy|producer_list")
        & (facts["C4b_confidence"] != "low")
    )
    flag = on_traced.where(usable, on_imports)
    reason = _nothing(facts).where(usable, _no_imports(facts).where(flag.isna(), "proxy_direct_imports"))
    traced, imports = facts["C4b"].where(usable), facts["C4a"].where(~usable)
    tests = [_Test(limit, traced.to_numpy(dtype=float))]
    tests.append(_Test(Limit("C4a", limit.cut), imports.to_numpy(dtype=float)))
    countries = facts["C4b_country"].cat
    by_imports = facts["C4a_country"].cat.codes.to_numpy().astype(np.int64)
    return _Verdict(
        facts["M"].notna(),
        flag,
        flag,
        reason,
        [_Part(tests)],
        other=on_imports.where(usable, on_traced),
        country=np.where(usable, countries.codes.to_numpy().astype(np.int64), by_imports),
        countries=list(countries.categories),
    )


def _tno(facts: pd.DataFrame, rules: _Rules) -> _Verdict:
    flag = rules.holds("tno", "C3", facts["C3"]) & rules.holds("tno", "G2", facts["G2p"])
    lacking = facts["C3_reason"].astype(object).where(facts["C3"].isna(), "no_governance_score")
    reason = _nothing(facts).where(flag.notna(), lacking)
    tests = [rules.test("tno", "C3", facts["C3"]), rules.test("tno", "G2", facts["G2p"])]
    return _Verdict(facts["C3_reason"] != "", flag, flag, reason, [_Part(tests)])


def _ec_criticality(facts: pd.DataFrame, rules: _Rules) -> _Verdict:
    """G5 and EI of the EU27; without recycling and substitution G5 has an upper bound only, which may clear."""
    method = "ec_criticality"
    risk, bound = facts["G5"], facts["G5_high"]
    # What the figures suggest: the figure, else what the publication's own practice gives, else the bound.
    suggested = risk.where(risk.notna(), facts["G5_published"]).where(lambda s: s.notna(), bound)
    raw = rules.holds(method, "G5", suggested) & rules.holds(method, "EI", facts["EI"])
    risky = rules.holds(method, "G5", risk)
    below = [(rules.holds(method, "G5", f) == False).fillna(False) for f in (bound, suggested)]  # noqa: E712
    risky = risky.mask(risk.isna() & below[0] & below[1], False)
    hard = ~facts["EI_basis"].isin(SOFT_BASES)
    important = rules.holds(method, "EI", facts["EI"].where(hard))
    known = risky & important
    soft = facts["EI_basis"].astype(object).map({"icio_proportional": "one_recipe_per_industry"})
    soft = soft.where(soft.notna(), facts["EI_basis"].astype(object))
    of_importance = _words(facts["EI_reason"], _BESIDE).where(lambda s: s.notna(), soft.where(~hard, None))
    # Without trade codes there is no economic importance either.
    untraded = facts["G5_reason"].astype(object).str.contains("no_trade_codes", regex=False)
    absent = pd.Series(np.where(untraded, "no_trade_codes", "not_in_sources"), index=facts.index, dtype=object)
    of_importance = of_importance.where(lambda s: s.notna(), absent).where(important.isna(), None)
    of_risk = _words(facts["G5_reason"], _BESIDE).where(lambda s: s.notna(), "not_in_sources").where(risky.isna(), None)
    reason = _joined(of_risk, of_importance).where(known.isna(), None)
    applies = (facts["focus"] == EU27) & facts["G5_basis"].notna()
    tests = [rules.test(method, "G5", suggested), rules.test(method, "EI", facts["EI"])]
    return _Verdict(applies, raw, known, reason, [_Part(tests)])


def _joined(first: pd.Series, second: pd.Series) -> pd.Series:
    """Two columns of reasons as one, each word once."""
    pairs = zip(first.to_numpy(dtype=object), second.to_numpy(dtype=object), strict=True)
    told = {}
    out = []
    for a, b in pairs:
        if (a, b) not in told:
            words = [w for part in (a, b) if isinstance(part, str) for w in part.split("; ")]
            told[a, b] = "; ".join(dict.fromkeys(words)) or None
        out.append(told[a, b])
    return pd.Series(out, index=first.index, dtype=object)


def _geopolrisk(facts: pd.DataFrame) -> _Verdict:
    """A rank of G4 as its publication computes it; the top quarter is indicated."""
    score = facts["G4_published"].where(facts["G4_published"].notna(), facts["G4"])
    rank, ranked = ranks(facts, score)
    top = pd.Series(rank <= PUBLISHED["geopolrisk"].number("quarter") * ranked, index=facts.index, dtype="boolean")
    there = pd.Series(rank > 0, index=facts.index)
    raw = top.where(there, pd.NA)
    known = pd.Series(pd.NA, index=facts.index, dtype="boolean")
    lacking = _words(facts["G4_reason"])
    beside = _joined(pd.Series("rank_only", index=facts.index, dtype=object), lacking)
    reason = beside.where(there, lacking.where(lacking.notna(), "not_in_sources"))
    # A rank has no limit: the cut-off of the test is a scale for its margin only, and is not published.
    test = _Test(Limit("G4", 1.0), score.to_numpy(dtype=float))
    return _Verdict(facts["G4_basis"].notna(), raw, known, reason, [_Part([test])], rank=rank, ranked=ranked)


def ranks(facts: pd.DataFrame, score: pd.Series) -> tuple[Integers, Integers]:
    """Rank of a score within focus, level, HS revision and year, 1 = largest, and how many are ranked.

    A code that stands in several groups counts once; equal scores share the best rank; 0 where there is no score.

    Args:
        facts: frame of :class:`ketenpipe.risk.facts.Facts`.
        score: in its order.
    """
    rank, ranked = np.zeros(len(facts), dtype=np.int64), np.zeros(len(facts), dtype=np.int64)
    at = np.flatnonzero(score.notna().to_numpy())
    place = ["focus", "level", "hs_revision", "year"]
    held = pd.DataFrame(
        {n: facts[n].to_numpy()[at] if n == "year" else facts[n].cat.codes.to_numpy()[at] for n in [*place, "code"]}
        | {"score": score.to_numpy(dtype=float)[at]}
    )
    once = held.drop_duplicates([*place, "code"]).copy()
    once["rank"] = once.groupby(place)["score"].rank(method="min", ascending=False)
    once["ranked"] = once.groupby(place)["score"].transform("size")
    found = held.merge(once[[*place, "code", "rank", "ranked"]], on=[*place, "code"], how="left")
    rank[at], ranked[at] = found["rank"].to_numpy(dtype=np.int64), found["ranked"].to_numpy(dtype=np.int64)
    return rank, ranked


class _Industries:
    """Which row of an industry stands for each HS6 code.

    Attributes:
        row: per row of the facts the row of the industry whose recipe it has, its own for an industry; -1 for none.
        asked: rows of HS6 codes that are joined to industries.
        reason: why a code is joined to none, or what to know of the join.
    """

    def __init__(self, facts: Facts, product_industries: pa.Table | None) -> None:
        frame = facts.frame
        count = len(frame)
        self.row = np.full(count, -1, dtype=np.int64)
        self.asked = np.zeros(count, dtype=bool)
        self.reason = np.full(count, None, dtype=object)
        levels = frame["level"].to_numpy(dtype=object)
        industries = np.flatnonzero((levels == "industry") & frame["I4_basis"].notna().to_numpy())
        self.row[industries] = industries
        if product_industries is None or not len(industries):
            return
        at = np.flatnonzero((levels == "hs6") & (frame["tier"].to_numpy() == 0) & frame["M"].notna().to_numpy())
        self.asked[at] = True
        years = sorted({int(y) for y in frame["year"].to_numpy()[industries]})
        recipes = {year: recipe_year(years, year) for year in facts.years}
        joined = product_industries.select(["hs_revision", "code", "industry"]).to_pandas().astype(object)
        codes = frame.loc[at, ["focus", "hs_revision", "code", "year"]].astype({"year": int})
        codes["recipe"] = codes["year"].map(recipes)
        text = ["focus", "hs_revision", "code"]
        codes = codes.astype(dict.fromkeys(text, object)).merge(joined, on=["hs_revision", "code"], how="left")
        makers = frame.loc[industries, ["focus", "code", "year"]].astype({"focus": object, "code": object})
        makers = makers.rename(columns={"code": "industry", "year": "recipe"}).assign(row=industries)
        found = codes.merge(makers, on=["focus", "industry", "recipe"], how="left")
        row = found["row"].fillna(-1).to_numpy(dtype=np.int64)
        self.row[at] = row
        regions = set(makers["focus"])
        late = (found["recipe"] != found["year"]).to_numpy()
        why = np.where(found["industry"].isna() | found["focus"].isin(regions), "no_industry", "no_region").astype(
            object
        )
        notes = np.where(late, "one_recipe_per_industry; recipe_of_another_year", "one_recipe_per_industry")
        self.reason[at] = np.where(row < 0, why, notes.astype(object))


def _foreign_input_reliance(facts: pd.DataFrame, rules: _Rules, industry: _Industries) -> _Verdict:
    """Some foreign country is behind an industry's inputs far more than it shows; a product has its industry's."""
    method = "foreign_input_reliance"
    figure, note = facts["I4"], facts["I4_reason"].astype(object)
    own = rules.holds(method, "I4", figure)
    # A country without direct deliveries has no ratio: it could be the one, unless another already is.
    own = own.mask(note.str.contains("no_face_value") & ~own.fillna(False), pd.NA)
    own = own.mask(note.str.contains("below_reliance").fillna(False).astype(bool), False)
    row = industry.row
    there = row >= 0
    at = np.maximum(row, 0)
    joined = pd.Series(industry.asked, index=facts.index)
    empty = len(facts) == 0
    raw = (own if empty else own.take(at).set_axis(facts.index)).where(there, pd.NA)
    synthetic = (facts["I4_basis"] == "synthetic").to_numpy(dtype=bool)
    made_up = pd.Series(synthetic if empty else synthetic[at] & there, index=facts.index)
    known = raw.where(~joined & ~made_up, pd.NA)
    words = _words(facts["I4_reason"])
    open_because = (words if empty else words.take(at).set_axis(facts.index)).where(there & raw.isna(), None)
    made = _nothing(facts).where(~made_up, "synthetic")
    reason = _joined(_joined(pd.Series(industry.reason, index=facts.index, dtype=object), made), open_because)
    values = figure.to_numpy(dtype=float)
    countries = facts["I4_country"].cat
    country = countries.codes.to_numpy().astype(np.int64)
    return _Verdict(
        pd.Series(there | industry.asked, index=facts.index),
        raw,
        known,
        reason.where(known.isna(), None),
        [_Part([_Test(rules.limit(method, "I4"), values if empty else np.where(there, values[at], np.nan))])],
        country=country if empty else np.where(there, country[at], -1),
        countries=list(countries.categories),
        own_year=~industry.asked,
    )


def _node_test(facts: pd.DataFrame, rules: _Rules, *, unknown_on_top: bool) -> _Verdict:
    concentration = facts["O1_high"] if unknown_on_top else facts["O1"]
    governance = facts["G2_high"] if unknown_on_top else facts["G2"]
    test = rules.holds("node_test", "O1", concentration) & rules.holds("node_test", "G2", governance)
    proxied = facts["T_reason"].str.contains("export_proxy")
    uncleared = facts["T_reason"].str.contains("small_or_precious") & (test == False).fillna(False)  # noqa: E712
    told = test.where(~proxied & ~uncleared, pd.NA)
    note = _nothing(facts).where(~uncleared, "small_or_precious")
    note = note.where(~proxied, "export_proxy").where(told.isna() | (test.isna()), None)
    note = note.where(~(test.isna()), facts["T_reason"].astype(object).where(facts["T_reason"] != "", "no_supply"))
    tests = [rules.test("node_test", "O1", concentration), rules.test("node_test", "G2", governance)]
    return _Verdict(facts["T_basis"].notna(), test, told, note, [_Part(tests)])


def _indirect(facts: pd.DataFrame, rules: _Rules, node_test: _Verdict) -> dict[str, _Verdict]:
    """X1 and X1g from the tests of a group's nodes, once on the raw figures and once on what may be told."""
    place = ["focus", "group", "hs_revision", "year"]
    test, told = node_test.raw, node_test.known
    groups = facts["level"] == "group"
    nodes = facts[(facts["level"] == "node") & facts["tier"].between(1, MAX_TIER)]
    specific = nodes[
        (nodes["T_basis"] != "world_production_mix")
        & nodes["T_basis"].notna()
        & (nodes["path_weight"] >= rules.thresholds.X1_weight.at_least)
    ]
    producing = nodes[nodes["C3"].notna()]
    concentrated = rules.holds("tno", "C3", producing["C3"]) & rules.holds("tno", "G2", producing["G2p"])
    heads = pd.MultiIndex.from_frame(facts.loc[groups, place].astype(object))
    (own,) = node_test.parts

    def any_of(frame: pd.DataFrame, values: pd.Series) -> pd.Series:
        """Kleene-or per group: true wins, then unknown; false over nothing."""
        work = frame[place].astype(object)
        work["yes"] = (values == True).fillna(False).to_numpy(bool)  # noqa: E712
        work["open"] = values.isna().to_numpy(bool)
        found = work.groupby(place)[["yes", "open"]].any().reindex(heads, fill_value=False)
        result = pd.Series(found["yes"].to_numpy(), dtype="boolean")
        result[(~found["yes"] & found["open"]).to_numpy()] = pd.NA
        result.index = facts.index[groups]
        return result

    out: dict[str, _Verdict] = {}
    for method, indicator, frame, raw_values, told_values, upstream in (
        ("indirect_specific", "X1", specific, test.loc[specific.index], told.loc[specific.index], own.tests),
        (
            "indirect_global",
            "X1g",
            producing,
            concentrated,
            concentrated,
            [rules.test("tno", "C3", facts["C3"]), rules.test("tno", "G2", facts["G2p"])],
        ),
    ):
        reasons = facts.loc[groups, f"{indicator}_reason"]
        blind = reasons.str.contains("upstream_not_computable|path_weight_unknown|no_production_data")
        raw = ~test[groups] & any_of(frame, raw_values).where(~blind, pd.NA)
        told_head = told[groups]
        known = (~told_head & any_of(frame, told_values)).where(~blind, pd.NA)
        if method == "indirect_specific":
            # A proxy clears nobody: where T of the product cannot be told, neither can X1, whatever lies upstream.
            known = known.where(told_head.notna(), pd.NA)
        else:
            # World production is observed: what passes upstream stands where the product fails by its figures, told
            # or not. Where it passes on a proxy it may fail in truth: unknown.
            known = known.where(~raw.fillna(False).astype(bool), True)
        why = _nothing(facts)
        why[groups] = [
            _why_indirect(str(note), open_head=pd.isna(head), open_verdict=pd.isna(verdict))
            for note, head, verdict in zip(reasons, told_head, known, strict=True)
        ]
        full_raw = pd.Series(pd.NA, index=facts.index, dtype="boolean")
        full_known = full_raw.copy()
        full_raw[groups], full_known[groups] = raw, known
        out[method] = _Verdict(
            groups & (facts[f"{indicator}_reason"] != "") | groups & facts[indicator].notna(),
            full_raw,
            full_known,
            why,
            [_Part(own.tests, negated=True), _Part(_of_best(facts, frame, raw_values, upstream, place, heads, groups))],
        )
    return out


def _of_best(
    facts: pd.DataFrame,
    nodes: pd.DataFrame,
    passes: pd.Series,
    tests: Sequence[_Test],
    place: Sequence[str],
    heads: pd.MultiIndex,
    groups: pd.Series,
) -> list[_Test]:
    """The tests of a group's node that comes nearest to passing, or passes by most, on the group's row."""
    margins = np.array([t.values(nodes.index.to_numpy()) / t.limit.cut - 1.0 for t in tests])
    known = passes.notna().to_numpy(dtype=bool)
    # A node that fails by one figure is judged by that; one whose verdict is open is no candidate.
    margin = np.where(known, np.nanmin(np.where(known, margins, 0.0), axis=0), np.nan)
    work = nodes[list(place)].astype(object).assign(margin=margin, row=nodes.index.to_numpy())
    work = work[work["margin"].notna()].sort_values(["margin", "row"], ascending=[False, True], kind="stable")
    best = work.drop_duplicates(list(place)).set_index(list(place))["row"].reindex(heads)
    row = best.fillna(-1).to_numpy(dtype=np.int64)
    target = facts.index[groups].to_numpy()[row >= 0]
    source = row[row >= 0]
    at = np.full(len(facts), -1, dtype=np.int64)
    at[target] = facts["code"].cat.codes.to_numpy().astype(np.int64)[source]
    out = []
    for test in tests:
        figure = np.full(len(facts), np.nan)
        figure[target] = test.figure[source]
        out.append(_Test(test.limit, figure, at))
    return out


_STRUCTURAL = (
    "no_governance_score",
    "no_governance_data",
    "no_upstream_node",
    "only_world_mix_upstream",
    "upstream_not_computable",
    "path_weight_unknown",
    "path_weight_small",
    "no_production_data",
)


def _why_indirect(note: str, *, open_head: bool, open_verdict: bool) -> str | None:
    """Reasons of an X1 or X1g: the proxy first, then what there was to test; notes stand beside told verdicts too."""
    parts = note.split("; ") if note else []
    found = [r for r in ("export_proxy",) if r in parts and (open_head or open_verdict)]
    if open_verdict and not found and open_head:
        found.append("small_or_precious")
    return "; ".join([*found, *(r for r in _STRUCTURAL if r in parts)]) or None
