"""Mirror reconciliation: two reports of one flow (the importer's, CIF; the exporter's, FOB) become one FOB flow.

Belongs here: bringing reports to one HS revision, freight margins, reliability of reporters, the weighted mean.
Does not belong here: reading and cleaning UN Comtrade (see comtrade), publication, indicators.

The steps are those of BACI: Gaulier and Zignago (2010), "BACI: International Trade Database at the Product-Level.
The 1994-2007 Version", CEPII working paper 2010-23, and their earlier version, MPRA paper 31894. Of both the
abstract was read, not the full text. It states: CIF/FOB ratios are regressed on gravity variables and a
product-specific world median unit value and taken off the imports; the absolute ratios of mirror flows are decomposed
by a weighted variance analysis, and the reliabilities so found are the weights of a flow that is reported twice. What
is done here step by step is our own, as follows.

**Notation.** Product k, exporter i, importer j; M the importer's value, X the exporter's, Q_M and Q_X their tonnes;
``g = ln(M / X)``. A window is one or several periods. In a window of several, a flow is the sum over those periods in
which j reported any import and i any export: a month that one of them has not yet reported says nothing about freight.
Only flows with M > 0 and X > 0 take part in the estimates.

**Unit value.** ``u_k`` is the median of ln(value / tonnes) over all reports of k, both sides, with a weight above 0
that the UN did not estimate.

**Freight margin.** ``ln F_kij = a + r_k + e_i + s_j + p_ij``, F held within [1, 1.5]. Observations: flows whose two
weights (neither estimated) agree within 10 %, so that most likely the same goods were counted twice, and with g within
ln 2 either way, for freight neither doubles nor halves a value; where fewer than 30 flows are left, those within ln 2
whatever their weights. Five sweeps of Tukey's median polish with shrinkage, each term in turn (a, products,
importers, exporters, pairs) on the residuals of all others: a = their median; for a group with n observations and
median m the term is ``m * n / (n + 10)``. For a product the median is shrunk to a line in the unit value instead:
``r_k = b * x_k + n / (n + 10) * (m_k - b * x_k)``, ``x_k = u_k - mean(u)`` kept within what was observed, and b the
slope of m_k on x_k, products weighted by ``w = n / (n + 10)``, times ``sum(w) / (sum(w) + 10)``. Why the bounds: below
1 a cargo would be cheaper delivered than at the border (importers that report FOB come out at 1); above 1.5 two
reports more likely differ in goods than in freight. Without any observation the margin is null and an import stands
as reported.
*Given up*: no distances and no borders are used, as no such table is shipped with a licence that was read. Remoteness
is caught by the terms of importer, exporter and, with enough flows, pair; a pair with few flows gets an average
route's margin. Quantities have no freight.

**Reliability.** ``d = g - ln F``, held within ln 10 either way: a wider gap says that two different things were
reported, not how badly. d^2 is divided by its product's relative level (mean of d^2 over k, shrunk to the overall mean
with 10 observations, over that mean), so that hard products blame nobody, then read as a draw with variance
``v_j + w_i``: the importer's part and the exporter's. The parts maximise the normal likelihood times an
inverse-gamma prior, worth 10 observations at half the mean of d^2 for every reporter and side
(expectation-maximisation): a flow with a partner known to be bad says little about the other. Parts are at least
0.01^2. Mirror data alone cannot tell whether all importers are better than all exporters, as a constant can move
between v and w (ten Cate 2012, "The identification of reporting accuracies from mirror data", abstract read: an
identifying restriction is needed); ours is the common prior: neither side is presumed better.

**Weights.** Inverse variance: the importer's report counts ``W = w_i / (v_j + w_i)``. The mean is taken in levels:
``T = X + W * (M / F - X)``. Both errors are relative to one true value, so the best weights are the same in levels and
in logs; but the usual large gap is a report that lacks what it booked under another partner, and there the log mean,
nearer to the smaller figure, loses world trade (on a simulated world of such reports 17 % of it, where levels are 6 %
above the truth; see the tests). One report only: that one, the importer's as M / F.

**Tonnes.** The same mean, without freight. A weight of 0 beside a value above 0 is no weight. A weight that the UN
estimated yields to one that was reported. Two weights more than a factor of 10 apart cannot both be right in their
unit: the one whose unit value lies nearer to u_k is taken alone. One weight only: that one, as it is.

All of it is sorted first and summed on one thread: equal rows in any order give equal bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ketenpipe.errors import InputRefused, KetenpipeError
from ketenpipe.tables.contract import Table
from ketenpipe.tables.registry import (
    COMTRADE_ANNUAL,
    COMTRADE_MONTHLY,
    FREIGHT_MARGINS,
    HS_WEIGHTS,
    MONEY,
    RECONCILED_ANNUAL,
    RECONCILED_MONTHLY,
    REPORTER_RELIABILITY,
)

SHRINKAGE = 10.0
"""Observations that the mean is worth, against a group's own."""
LARGEST_MARGIN = 1.5
WIDEST_FREIGHT_GAP = float(np.log(2.0))
SAME_GOODS = float(np.log(1.1))
ENOUGH_SAME_GOODS = 30
SWEEPS = 5
WIDEST_GAP = float(np.log(10.0))
SMALLEST_VARIANCE = 1e-4
ORDERS_APART = float(np.log(10.0))
ROUNDS = 100_000
SETTLED = 1e-9
BLOCK = 1_000_000

UNCONVERTED_SCHEMA = pa.schema(
    [
        pa.field("period", pa.string(), nullable=False),
        pa.field("hs_revision", pa.string()),
        pa.field("code", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("rows", pa.int64(), nullable=False),
        pa.field("value_kusd", MONEY, nullable=False),
    ]
)
"""Reports that have no code in the target revision, per period, revision and code."""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[Any]
"""Whole numbers, 32 bits wide where they are places in a list of labels."""


@dataclass(frozen=True)
class Converted:
    """Reports in one revision, what could not be converted (:data:`UNCONVERTED_SCHEMA`), and what to know."""

    reports: pa.Table
    unconverted: pa.Table
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Estimates:
    """Freight margins and reliabilities of one window, as the contracts say; nothing else is needed to apply them."""

    margins: pa.Table
    reliability: pa.Table

    @property
    def window(self) -> str:
        """The periods pooled."""
        return str(self.margins["window"][0])

    @property
    def hs_revision(self) -> str:
        """The HS revision of the product terms."""
        return str(self.margins["hs_revision"][0])


# --- one HS revision ---------------------------------------------------------------------------------------------


def to_revision(
    reports: pa.Table, weights: pa.Table, target: str, target_codes: Iterable[str] | None = None
) -> Converted:
    """Bring every report to one HS revision, conserving value to the thousandth.

    A code's value is split by the weights (scaled to sum to 1) in thousandths of a thousand USD: every part gets the
    whole thousandths of its share, what is left goes one by one to the largest remainders (ties: the lower code). Parts
    that meet in one code are summed. Tonnes are split by the same weights, the only ones there are; where a part
    of a sum has no tonnes the sum has none (a partial weight beside a full value would be a wrong unit value).

    Args:
        reports: rows of ``comtrade_annual`` or ``comtrade_monthly``.
        weights: rows of ``hs_weights``; those to other revisions are ignored.
        target: HS revision, e.g. HS92.
        target_codes: the codes of that revision. Default: all codes that the weights lead to and all that
            are reported in it.

    Returns:
        Reports in the target revision. A report of unknown revision keeps its code if the target has it (counted in the
        notes). What has no code there, or no weights, is in ``unconverted``: value of reports = value of
        converted + value of unconverted.

    Raises:
        InputRefused: columns missing, a value below 0, weights of a code that do not sum to 1, a key twice.
    """
    data = _Reports.of(reports)
    data.refuse_twins()
    table = _weights(weights, target)
    revision, revisions = _encode(reports["hs_revision"], null="")
    codes = np.array(data.codes, dtype=object)
    own = np.array([r == target for r in revisions], dtype=bool)[revision]
    unknown = np.array([r == "" for r in revisions], dtype=bool)[revision]
    default = set(table.to_codes) | set(codes[np.unique(data.code[own])])
    known = default if target_codes is None else set(target_codes)
    in_target = np.array([c in known for c in data.codes], dtype=bool)[data.code]
    kept = own | (unknown & in_target)
    # A report in another revision: its place among the pairs of (revision, code) that have weights.
    pairs = np.unique(revision.astype(np.int64) * len(codes) + data.code)
    start = np.zeros((len(revisions), len(codes)), dtype=np.int32)
    count = np.zeros_like(start)
    for r, k in zip(pairs // max(len(codes), 1), pairs % max(len(codes), 1), strict=True):
        start[r, k], count[r, k] = table.rows.get((revisions[r], data.codes[k]), (0, 0))
    many = np.where(kept | unknown, 0, count[revision, data.code])
    lost = ~kept & (many == 0)

    to_labels = sorted(set(data.codes) | set(table.to_codes))
    at = {c: n for n, c in enumerate(to_labels)}
    same = np.array([at[c] for c in data.codes], dtype=np.int32)
    weight_to = np.array([at[c] for c in table.to_codes], dtype=np.int32)
    stay, moved, split = (np.flatnonzero(which).astype(np.int32) for which in (kept, many == 1, many > 1))
    whole = np.concatenate([stay, moved])
    parent, part_code, part_value, part_tonnes = _parts(
        data, split, start[revision[split], data.code[split]], many[split], table.share, weight_to
    )
    merged = _merge(
        data,
        np.concatenate([whole, parent]),
        np.concatenate([same[data.code[stay]], weight_to[start[revision[moved], data.code[moved]]], part_code]),
        np.concatenate([data.value[whole], part_value]),
        np.concatenate([data.tonnes[whole], part_tonnes]),
        to_labels,
        target,
    )
    notes = []
    for what, which in (
        (f"report(s) of unknown revision keep their code, which {target} has", kept & unknown),
        ("report(s) have no code there and are left out", lost),
    ):
        if which.any():
            total = int(data.value[which].sum()) / 1000
            notes.append(f"{int(which.sum())} {what} ({total:,.3f} thousand USD)")
    return Converted(merged, _unconverted(data, lost, revision, revisions, target), tuple(notes))


@dataclass(frozen=True)
class _Weights:
    """Weights to one revision, sorted: ``rows[from_revision, from_code]`` is (first row, how many)."""

    to_codes: list[str]
    share: Floats
    rows: dict[tuple[str, str], tuple[int, int]]


def _weights(weights: pa.Table, target: str) -> _Weights:
    _has_columns(weights, HS_WEIGHTS, ("from_revision", "from_code", "to_revision", "to_code", "weight"))
    chosen = weights.filter(pc.and_(pc.equal(weights["to_revision"], target), pc.greater(weights["weight"], 0.0)))
    chosen = chosen.sort_by([(c, "ascending") for c in ("from_revision", "from_code", "to_code")])
    origins = list(zip(chosen["from_revision"].to_pylist(), chosen["from_code"].to_pylist(), strict=True))
    share = chosen["weight"].to_numpy().astype(np.float64)
    rows: dict[tuple[str, str], tuple[int, int]] = {}
    for n, origin in enumerate(origins):
        first, many = rows.get(origin, (n, 0))
        rows[origin] = (first, many + 1)
    for (revision, code), (first, many) in rows.items():
        total = float(share[first : first + many].sum())
        if abs(total - 1.0) > 1e-6:
            raise InputRefused(
                f"the weights of {revision} {code} to {target} sum to {total:.6g}, not to 1",
                todo="correct the concordance: a value would be lost or made up",
            )
        share[first : first + many] /= total
    return _Weights(chosen["to_code"].to_pylist(), share, rows)


def _parts(
    data: _Reports, row: Ints, start: Ints, length: Ints, share: Floats, code: Ints
) -> tuple[Ints, Ints, Ints, Floats]:
    """Reports that go to several codes, by largest remainders: row, code, value and tonnes of every part.

    ``start`` and ``length`` of a row name its weights among ``share`` and ``code``.
    """
    first = np.cumsum(length) - length
    parent = np.repeat(row, length)
    step = np.arange(len(parent)) - np.repeat(first, length)
    weight = np.repeat(start, length) + step
    exact = data.value[parent] * share[weight]
    part = np.floor(exact).astype(np.int64)
    left = data.value[row] - _reduce(np.add, part, first)
    order = np.lexsort((code[weight], part - exact, np.repeat(np.arange(len(row)), length)))
    rank = np.empty(len(part), dtype=np.int64)
    rank[order] = step
    part += rank < np.repeat(left, length)
    return parent, code[weight], part, data.tonnes[parent] * share[weight]


def _merge(
    data: _Reports, row: Ints, code: Ints, value: Ints, tonnes: Floats, labels: list[str], target: str
) -> pa.Table:
    """Sum the parts that meet in one key; rows as the contract has them."""
    key = data.key_of(row, code, len(labels))
    # Within a key the order is that of the reported codes, so that sums do not depend on the order of the rows.
    order = np.lexsort((data.code[row], key))
    key, row, code, value, tonnes = key[order], row[order], code[order], value[order], tonnes[order]
    fresh = _starts(key)
    size = np.diff(np.r_[fresh, len(key)])
    lead, code = row[fresh], code[fresh]
    vintage, vintages = data.vintage[lead], list(data.vintages)
    of_part = data.vintage[row]
    mixed = _reduce(np.minimum, of_part, fresh) != _reduce(np.maximum, of_part, fresh)
    for n in np.flatnonzero(mixed):
        joined = _joined(data.vintages[v] for v in of_part[fresh[n] : fresh[n] + size[n]])
        if joined not in vintages:
            vintages.append(joined)
        vintage[n] = vintages.index(joined)
    estimated = _reduce(np.maximum, data.estimated[row], fresh)
    maximum = _reduce(np.maximum, data.maximum[row], fresh)
    total, mass = _reduce(np.add, value, fresh), _reduce(np.add, tonnes, fresh)
    contract = _contract(data.periods, COMTRADE_ANNUAL, COMTRADE_MONTHLY)
    pieces = [contract.empty()]
    for part in _blocks(data.period[lead], code):
        at = lead[part]
        rows = {
            "period": _strings(data.period[at], data.periods),
            "hs_revision": _strings(np.zeros(len(at), np.int32), [target]),
            "code": _strings(code[part], labels),
            "reporter": _strings(data.reporter[at], data.countries),
            "partner": _strings(data.partner[at], data.countries),
            "flow": _strings(data.exports[at], ["M", "X"]),
            "value_kusd": _money(total[part]),
            "tonnes": pa.array(mass[part], mask=np.isnan(mass[part])),
            "weight_estimated": pa.array(estimated[part] == 1, mask=estimated[part] < 0),
            "maximum_per_key": pa.array(maximum[part]),
            "vintage": _strings(vintage[part], vintages),
        }
        pieces.append(contract.conform(pa.table(rows)))
    return pa.concat_tables(pieces)


def _unconverted(data: _Reports, lost: np.ndarray, revision: Ints, revisions: list[str], target: str) -> pa.Table:
    row = np.flatnonzero(lost)
    if not len(row):
        return UNCONVERTED_SCHEMA.empty_table()
    key = (data.period[row].astype(np.int64) * len(revisions) + revision[row]) * len(data.codes) + data.code[row]
    group, inverse = np.unique(key, return_inverse=True)
    total = np.zeros(len(group), dtype=np.int64)
    np.add.at(total, inverse, data.value[row])
    k = group % len(data.codes)
    r = group // len(data.codes) % len(revisions)
    reason = [
        f"no weights from {revisions[n]} to {target} for the code"
        if revisions[n]
        else f"unknown revision, and {target} has no such code"
        for n in r
    ]
    names = _strings(r, revisions)
    return pa.table(
        {
            "period": _strings(group // len(data.codes) // len(revisions), data.periods),
            "hs_revision": pc.if_else(pc.equal(names, ""), pa.scalar(None, pa.string()), names),
            "code": _strings(k, data.codes),
            "reason": pa.array(reason, pa.string()),
            "rows": pa.array(np.bincount(inverse, minlength=len(group)).astype(np.int64)),
            "value_kusd": _money(total),
        },
        schema=UNCONVERTED_SCHEMA,
    )


# --- estimates ---------------------------------------------------------------------------------------------------


def estimate(reports: pa.Table) -> Estimates:
    """Freight margins and reliabilities from the flows that both partners reported (formulas: module docstring).

    Args:
        reports: rows of ``comtrade_annual`` or ``comtrade_monthly`` in one HS revision; several periods are pooled.

    Returns:
        Terms of the margin and variances per reporter and side. Without a flow that both reported the world's
        margin is null and no reporter has a reliability.

    Raises:
        InputRefused: no rows, columns missing, several HS revisions or an unknown one, a value below 0, a
            country that trades with itself, a key twice.
    """
    data = _Reports.of(reports)
    if not len(data.value):
        raise InputRefused("there are no reports to estimate margins and reliabilities from")
    revision = _one_revision(reports)
    window = data.periods[0] if len(data.periods) == 1 else f"{data.periods[0]}..{data.periods[-1]}"
    u = _unit_values(data)
    pooled = _pool(data)
    margins, log_margin = _freight(pooled, u, len(data.codes), len(data.countries))
    gap = np.clip(np.log(pooled.m / pooled.x) - log_margin, -WIDEST_GAP, WIDEST_GAP)
    level = _product_level(gap, pooled.code, len(data.codes))
    v, w = _variances(gap**2 / level[pooled.code], pooled.importer, pooled.exporter, len(data.countries))
    return Estimates(
        _margin_table(margins, data, u, window, revision),
        _reliability_table(v, w, gap, pooled, data.countries, window, revision),
    )


@dataclass(frozen=True)
class _Pooled:
    """Flows of a window with both reports above 0, sorted by code, importer, exporter; values in thousandths."""

    code: Ints
    exporter: Ints
    importer: Ints
    m: Floats
    x: Floats
    qm: Floats
    qx: Floats
    """Tonnes; NaN where a period has none or the UN estimated one."""


def _pool(data: _Reports) -> _Pooled:
    flows = _Flows.of(data)
    reported = np.zeros((2, len(data.periods), len(data.countries)), dtype=bool)
    reported[data.exports, data.period, data.reporter] = True
    covered = reported[0, flows.period, flows.importer] & reported[1, flows.period, flows.exporter]
    some = np.flatnonzero(covered)
    n = len(data.countries)
    key = (flows.code[some].astype(np.int64) * n + flows.importer[some]) * n + flows.exporter[some]
    if len(data.periods) > 1:
        order = np.argsort(key, kind="stable")
        some, key = some[order], key[order]
    first = _starts(key)

    def total(row: Ints, of: Floats, absent: float) -> Floats:
        picked = np.where(row[some] >= 0, of[row[some]], absent)
        return _reduce(np.add, picked, first)

    value = data.value.astype(np.float64)
    tonnes = np.where(data.estimated == 1, np.nan, data.tonnes)
    m, x = total(flows.m, value, 0.0), total(flows.x, value, 0.0)
    qm, qx = total(flows.m, tonnes, 0.0), total(flows.x, tonnes, 0.0)
    both = (m > 0) & (x > 0)
    lead = some[first][both]
    return _Pooled(flows.code[lead], flows.exporter[lead], flows.importer[lead], m[both], x[both], qm[both], qx[both])


def _unit_values(data: _Reports) -> Floats:
    """``u_k``: per product the median of ln(thousand USD per tonne); NaN where no report has a weight."""
    usable = (data.value > 0) & (data.tonnes > 0) & (data.estimated != 1)
    logs = np.log(data.value[usable] / 1000.0 / data.tonnes[usable])
    return _medians(logs, data.code[usable], len(data.codes))[0]


@dataclass(frozen=True)
class _Margins:
    """Terms of ln F: ``world`` (NaN: none), per product, per exporter, per importer, per pair [exporter, importer]."""

    world: float
    product: Floats
    exporter: Floats
    importer: Floats
    pair: Floats
    counts: tuple[int, Ints, Ints, Ints, Ints]
    """Observations behind each of them, in that order."""

    def log_margin(self, code: Ints, exporter: Ints, importer: Ints) -> Floats:
        """ln F of flows, within its bounds; 0 where no margin could be estimated."""
        if np.isnan(self.world):
            return np.zeros(len(code))
        n = len(self.importer)
        raw = self.world + self.product[code] + self.exporter[exporter] + self.importer[importer]
        return _bounded(raw + self.pair[exporter * n + importer])


def _bounded(log_margin: Floats) -> Floats:
    return np.clip(log_margin, 0.0, np.log(LARGEST_MARGIN))


def _freight(pooled: _Pooled, u: Floats, products: int, countries: int) -> tuple[_Margins, Floats]:
    """Median polish with shrinkage; the terms and ln F of every pooled flow."""
    g = np.log(pooled.m / pooled.x)
    near = np.abs(g) <= WIDEST_FREIGHT_GAP
    with np.errstate(divide="ignore", invalid="ignore"):
        same = near & (np.abs(np.log(pooled.qm / pooled.qx)) <= SAME_GOODS)
    chosen = same if int(same.sum()) >= ENOUGH_SAME_GOODS else near
    g, k = g[chosen], pooled.code[chosen]
    i, j = pooled.exporter[chosen], pooled.importer[chosen]
    p = i * countries + j
    world = float("nan")
    terms: list[Floats] = [np.zeros(size) for size in (products, countries, countries, countries * countries)]
    members = (k, j, i, p)
    counts = [np.bincount(m, minlength=len(t)) for m, t in zip(members, terms, strict=True)]
    for _ in range(SWEEPS if len(g) else 0):
        world = float(np.median(g - sum(t[m] for t, m in zip(terms, members, strict=True))))
        for n, (term, member) in enumerate(zip(terms, members, strict=True)):
            rest = g - world - sum(t[m] for t, m in zip(terms, members, strict=True)) + term[member]
            median, size = _medians(rest, member, len(term))
            median = np.where(size > 0, median, 0.0)
            share = size / (size + SHRINKAGE)
            line = _unit_value_line(median, share, u) if n == 0 else 0.0
            terms[n] = line + share * (median - line)
    product, importer, exporter, pair = terms
    margins = _Margins(world, product, exporter, importer, pair, (len(g), counts[0], counts[2], counts[1], counts[3]))
    return margins, margins.log_margin(pooled.code, pooled.exporter, pooled.importer)


def _unit_value_line(median: Floats, share: Floats, u: Floats) -> Floats:
    """``b * x_k`` of every product: what its unit value lets expect of its margin."""
    seen = (share > 0) & ~np.isnan(u)
    weight = share[seen]
    if not len(weight):
        return np.zeros(len(u))
    centre = float(np.sum(weight * u[seen]) / np.sum(weight))
    x, y = u[seen] - centre, median[seen]
    spread = float(np.sum(weight * x * x))
    if spread <= 0.0:
        return np.zeros(len(u))
    slope = float(np.sum(weight * x * (y - np.sum(weight * y) / np.sum(weight)))) / spread
    slope *= float(np.sum(weight) / (np.sum(weight) + SHRINKAGE))
    return slope * np.clip(np.where(np.isnan(u), 0.0, u - centre), x.min(), x.max())


def _product_level(gap: Floats, code: Ints, products: int) -> Floats:
    """How large a product's squared gaps are beside the mean of all (1: like it), shrunk to it."""
    squares = gap**2
    mean = float(squares.mean()) if len(squares) else 0.0
    if mean <= 0.0:
        return np.ones(products)
    total = np.bincount(code, squares, products) + SHRINKAGE * mean
    return np.asarray(total / (np.bincount(code, minlength=products) + SHRINKAGE) / mean)


def _variances(
    squares: Floats, importer: Ints, exporter: Ints, countries: int, rounds: int = ROUNDS
) -> tuple[Floats, Floats]:
    """Parts ``v_j`` and ``w_i`` of squared gaps with expectation ``v_j + w_i`` (NaN: no flow).

    Maximises ``sum -[ln(v + w) + z / (v + w)] / 2`` plus for every part c of a side
    ``-(10 / 2) * [ln c + prior / c]``, prior = mean(z) / 2, by expectation-maximisation on the sums of pairs.

    Raises:
        KetenpipeError: not settled after ``rounds``.
    """
    none = np.full(countries, np.nan)
    if not len(squares):
        return none, none.copy()
    pair, inverse = np.unique(importer * countries + exporter, return_inverse=True)
    total, n = np.bincount(inverse, squares), np.bincount(inverse).astype(np.float64)
    j, i = pair // countries, pair % countries
    prior = max(float(squares.mean()) / 2.0, SMALLEST_VARIANCE)
    sizes = [np.bincount(side, n, countries) for side in (j, i)]
    v, w = np.full(countries, prior), np.full(countries, prior)
    for _ in range(rounds):
        both = v[j] + w[i]
        shared = n * v[j] * w[i] / both
        new_v = np.bincount(j, total * (v[j] / both) ** 2 + shared, countries)
        new_w = np.bincount(i, total * (w[i] / both) ** 2 + shared, countries)
        new_v = np.maximum((new_v + SHRINKAGE * prior) / (sizes[0] + SHRINKAGE), SMALLEST_VARIANCE)
        new_w = np.maximum((new_w + SHRINKAGE * prior) / (sizes[1] + SHRINKAGE), SMALLEST_VARIANCE)
        moved = max(float(np.abs(np.log(new_v / v)).max()), float(np.abs(np.log(new_w / w)).max()))
        v, w = new_v, new_w
        if moved < SETTLED:
            return np.where(sizes[0] > 0, v, np.nan), np.where(sizes[1] > 0, w, np.nan)
    raise KetenpipeError(
        f"the reliabilities of {int((sizes[0] > 0).sum())} importers and {int((sizes[1] > 0).sum())} exporters did not "
        f"settle in {rounds} rounds (the last still moved one by {moved:.2g})"
    )


def _margin_table(margins: _Margins, data: _Reports, u: Floats, window: str, revision: str) -> pa.Table:
    world, n = margins.world, len(data.countries)
    total, per_product, per_exporter, per_importer, per_pair = margins.counts
    i, j, p = (np.flatnonzero(counts) for counts in (per_exporter, per_importer, per_pair))
    none = np.full(len(data.codes), -1)
    # Per term: its name, value, observations and the places of code, exporter and importer (-1: does not apply).
    blocks: list[tuple[str, Floats, Ints, Ints, Ints, Ints]] = [
        ("world", np.array([world]), np.array([total]), none[:1], none[:1], none[:1]),
        ("product", margins.product, per_product, np.arange(len(data.codes)), none, none),
        ("exporter", margins.exporter[i], per_exporter[i], np.full(len(i), -1), i, np.full(len(i), -1)),
        ("importer", margins.importer[j], per_importer[j], np.full(len(j), -1), np.full(len(j), -1), j),
        ("pair", margins.pair[p], per_pair[p], np.full(len(p), -1), p // n, p % n),
    ]
    term = np.repeat([b[0] for b in blocks], [len(b[1]) for b in blocks])
    value, count, code, exporter, importer = (np.concatenate([b[at] for b in blocks]) for at in range(1, 6))
    value = np.where(np.isnan(world), np.nan, value)
    ratio = np.exp(_bounded(np.where(term == "world", value, world + value)))
    unit = np.exp(np.append(u, np.nan)[code])
    rows = {
        "window": _strings(np.zeros(len(term), np.int32), [window]),
        "hs_revision": _strings(np.zeros(len(term), np.int32), [revision]),
        "term": pa.array(term.tolist(), pa.string()),
        "code": _strings(code, data.codes, absent=code < 0),
        "exporter": _strings(exporter, data.countries, absent=exporter < 0),
        "importer": _strings(importer, data.countries, absent=importer < 0),
        "log_margin": pa.array(value),
        "margin": pa.array(ratio),
        "unit_value_kusd_per_t": pa.array(unit),
        "observations": pa.array(count, pa.int64()),
    }
    return FREIGHT_MARGINS.conform(pa.table(rows))


def _reliability_table(
    v: Floats, w: Floats, gap: Floats, pooled: _Pooled, countries: list[str], window: str, revision: str
) -> pa.Table:
    rows: list[dict[str, object]] = []
    for side, own, other, member, sign in (
        ("importer", v, w, pooled.importer, 1.0),
        ("exporter", w, v, pooled.exporter, -1.0),
    ):
        size = np.bincount(member, minlength=len(countries))
        gaps = np.bincount(member, sign * gap, len(countries))
        partner = float(np.nanmean(other)) if len(gap) else np.nan
        rows += [
            {
                "window": window,
                "hs_revision": revision,
                "country": countries[at],
                "side": side,
                "variance": float(own[at]),
                "own_share": float(size[at] / (size[at] + SHRINKAGE)),
                "weight_against_mean": float(partner / (own[at] + partner)),
                "mean_gap": float(gaps[at] / size[at]),
                "observations": int(size[at]),
            }
            for at in np.flatnonzero(size)
        ]
    return REPORTER_RELIABILITY.conform(rows)


# --- reconciled flows --------------------------------------------------------------------------------------------


def apply(reports: pa.Table, estimates: Estimates) -> pa.Table:
    """One FOB flow per period, product, exporter and importer (formulas: module docstring).

    A reporter without a reliability of its own gets the mean of its side, a product, country or pair without a term
    of its own the margin of the terms there are.

    Args:
        reports: rows of ``comtrade_annual`` or ``comtrade_monthly`` in the HS revision of the estimates; every
            period is reconciled by itself, within the estimates' window or not.
        estimates: of :func:`estimate`.

    Returns:
        Rows of ``reconciled_annual`` or ``reconciled_monthly``; a flow of value 0 is kept where it was reported.

    Raises:
        InputRefused: as :func:`estimate`, or another HS revision than the estimates'.
    """
    data = _Reports.of(reports)
    contract = _contract(data.periods, RECONCILED_ANNUAL, RECONCILED_MONTHLY)
    if not len(data.value):
        return contract.empty()
    revision = _one_revision(reports)
    if revision != estimates.hs_revision:
        raise InputRefused(
            f"the reports are in {revision}, margins and reliabilities were estimated in {estimates.hs_revision}",
            todo="bring both to one revision first",
        )
    flows = _Flows.of(data)
    stored = _lookup(estimates, data)
    pieces = [
        contract.conform(_reconciled(data, flows.part(block), stored, revision))
        for block in _blocks(flows.period, flows.code)
    ]
    return pa.concat_tables(pieces)


def _reconciled(data: _Reports, flows: _Flows, stored: _Stored, revision: str) -> pa.Table:
    has_m, has_x = flows.m >= 0, flows.x >= 0
    both = has_m & has_x
    m = np.where(has_m, data.value[flows.m], 0).astype(np.float64)
    x = np.where(has_x, data.value[flows.x], 0).astype(np.float64)
    log_margin = stored.margins.log_margin(flows.code, flows.exporter, flows.importer)
    fob = m / np.exp(log_margin)
    v, w = stored.v[flows.importer], stored.w[flows.exporter]
    weight = np.where(both, w / (v + w), has_m.astype(np.float64))
    value = np.where(has_m, np.rint(x + weight * (fob - x)).astype(np.int64), data.value[flows.x])
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = np.where(both & (m > 0) & (x > 0), np.log(fob / x), np.nan)
    tonnes = _tonnes(data, flows, fob, x, weight, stored.u)
    margin = np.where(has_m & ~np.isnan(stored.margins.world), np.exp(log_margin), np.nan)
    return pa.table(
        {
            "period": _strings(flows.period, data.periods),
            "hs_revision": _strings(np.zeros(len(value), np.int32), [revision]),
            "code": _strings(flows.code, data.codes),
            "exporter": _strings(flows.exporter, data.countries),
            "importer": _strings(flows.importer, data.countries),
            "value_kusd": _money(value),
            "tonnes": pa.array(tonnes, mask=np.isnan(tonnes)),
            "sides": _strings(np.where(both, 0, np.where(has_m, 1, 2)), ["both", "importer", "exporter"]),
            "freight_margin": pa.array(margin, mask=np.isnan(margin)),
            "importer_weight": pa.array(weight),
            "mirror_gap": pa.array(gap, mask=np.isnan(gap)),
            "vintage": _vintages(data, flows),
        }
    )


def reconcile(reports: pa.Table) -> tuple[pa.Table, Estimates]:
    """:func:`estimate` and :func:`apply` on the same reports: the flows and what they rest on."""
    estimates = estimate(reports)
    return apply(reports, estimates), estimates


@dataclass(frozen=True)
class _Stored:
    """Estimates on the labels of the reports."""

    margins: _Margins
    u: Floats
    v: Floats
    w: Floats


def _lookup(estimates: Estimates, data: _Reports) -> _Stored:
    product = {c: n for n, c in enumerate(data.codes)}
    country = {c: n for n, c in enumerate(data.countries)}
    n = len(country)
    terms = {
        "world": np.zeros(1),
        "product": np.zeros(len(product)),
        "exporter": np.zeros(n),
        "importer": np.zeros(n),
        "pair": np.zeros(n * n),
    }
    u = np.full(len(product), np.nan)
    for row in estimates.margins.to_pylist():
        term, at = row["term"], 0
        e, i = country.get(row["exporter"], -1), country.get(row["importer"], -1)
        if term == "product":
            at = product.get(row["code"], -1)
            if at >= 0 and row["unit_value_kusd_per_t"]:
                u[at] = np.log(row["unit_value_kusd_per_t"])
        elif term != "world":
            at = {"exporter": e, "importer": i}.get(term, e * n + i if min(e, i) >= 0 else -1)
        if at >= 0:
            terms[term][at] = np.nan if row["log_margin"] is None else row["log_margin"]
    counts = np.zeros(0, np.int64)
    margins = _Margins(
        float(terms["world"][0]),
        terms["product"],
        terms["exporter"],
        terms["importer"],
        terms["pair"],
        (0, counts, counts, counts, counts),
    )
    parts = []
    for side in ("importer", "exporter"):
        table = estimates.reliability.filter(pc.equal(estimates.reliability["side"], side))
        variance = table["variance"].to_numpy()
        part = np.full(n, float(variance.mean()) if len(variance) else 1.0)
        for name, own in zip(table["country"].to_pylist(), variance, strict=True):
            if name in country:
                part[country[name]] = own
        parts.append(part)
    return _Stored(margins, u, parts[0], parts[1])


def _tonnes(data: _Reports, flows: _Flows, fob: Floats, x: Floats, weight: Floats, u: Floats) -> Floats:
    """The reconciled tonnes (NaN: neither side has any)."""

    def side(row: Ints) -> tuple[Floats, np.ndarray]:
        return np.where(row >= 0, data.tonnes[row], np.nan), data.estimated[row] == 1

    (qm, guess_m), (qx, guess_x) = side(flows.m), side(flows.x)
    two = ~np.isnan(qm) & ~np.isnan(qx)
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = two & (np.abs(np.log(qm / qx)) > ORDERS_APART) & (fob > 0) & (x > 0)
        off_m = np.abs(np.log(fob / 1000.0 / qm) - u[flows.code])
        off_x = np.abs(np.log(x / 1000.0 / qx) - u[flows.code])
    apart &= np.isfinite(off_m) & np.isfinite(off_x)
    nearer_m = np.where(off_m == off_x, weight >= 0.5, off_m < off_x)
    mean = qx + weight * (qm - qx)
    mean = np.where(apart, np.where(nearer_m, qm, qx), mean)
    mean = np.where(two & guess_m & ~guess_x, qx, np.where(two & guess_x & ~guess_m, qm, mean))
    return np.where(two, mean, np.where(np.isnan(qm), qx, qm))


def _vintages(data: _Reports, flows: _Flows) -> pa.Array:
    many = len(data.vintages) + 1
    # Row -1 (that side has not reported) picks the extra last entry.
    own = np.append(data.vintage, len(data.vintages))
    pairs, inverse = np.unique(own[flows.m].astype(np.int64) * many + own[flows.x], return_inverse=True)
    labels = [_joined(data.vintages[n] for n in (pair // many, pair % many) if n < many - 1) for pair in pairs]
    return _strings(inverse, labels)


def _joined(vintages: Iterable[str]) -> str:
    """Several vintages as one label, each of them once."""
    return "; ".join(sorted({part for vintage in vintages for part in vintage.split("; ")}))


# --- reports as arrays -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Reports:
    """Reports as arrays, labels sorted; values in whole thousandths of a thousand USD (that is, in USD)."""

    period: Ints
    code: Ints
    reporter: Ints
    partner: Ints
    exports: Ints
    """1: an export, 0: an import."""
    value: Ints
    tonnes: Floats
    estimated: Ints
    """1: by the UN, 0: not, -1: unknown."""
    maximum: npt.NDArray[np.bool_]
    vintage: Ints
    periods: list[str]
    codes: list[str]
    countries: list[str]
    vintages: list[str]

    @classmethod
    def of(cls, reports: pa.Table) -> _Reports:
        _has_columns(reports, COMTRADE_ANNUAL, COMTRADE_ANNUAL.names)
        period, periods = _encode(reports["period"])
        code, codes = _encode(reports["code"])
        reporter, reporters = _encode(reports["reporter"])
        partner, partners = _encode(reports["partner"])
        flow, flow_names = _encode(reports["flow"])
        vintage, vintages = _encode(reports["vintage"])
        if strange := sorted(set(flow_names) - {"M", "X"}):
            raise InputRefused(
                f"the flow '{strange[0]}' is neither an import (M) nor an export (X)", todo="leave such rows out"
            )
        countries = sorted(set(reporters) | set(partners))
        place = {c: n for n, c in enumerate(countries)}
        value = _thousandths(reports["value_kusd"])
        tonnes = reports["tonnes"].to_numpy().astype(np.float64)
        tonnes = np.where((tonnes == 0) & (value > 0), np.nan, tonnes)
        estimated = pc.fill_null(pc.cast(reports["weight_estimated"], pa.int8()), -1).to_numpy()
        data = cls(
            period,
            code,
            np.array([place[c] for c in reporters], dtype=np.int32)[reporter],
            np.array([place[c] for c in partners], dtype=np.int32)[partner],
            np.array([c == "X" for c in flow_names], dtype=np.int8)[flow],
            value,
            tonnes,
            estimated,
            reports["maximum_per_key"].to_numpy(),
            vintage,
            periods,
            codes,
            countries,
            vintages,
        )
        if (bad := np.flatnonzero(value < 0)).size:
            raise InputRefused(
                f"the value is below 0 ({value[bad[0]] / 1000:.3f} thousand USD)", where=data.name(bad[0])
            )
        if (bad := np.flatnonzero(data.reporter == data.partner)).size:
            raise InputRefused(
                "the country trades with itself", where=data.name(bad[0]), todo="leave re-imports out of the reports"
            )
        return data

    def name(self, row: int) -> str:
        """The key of a row, in words."""
        return (
            f"{self.periods[self.period[row]]}, {self.codes[self.code[row]]}, "
            f"{'export' if self.exports[row] else 'import'} of {self.countries[self.reporter[row]]} "
            f"with {self.countries[self.partner[row]]}"
        )

    def key_of(self, row: Ints, code: Ints, codes: int) -> Ints:
        """An integer that sorts by period, code, reporter, partner, flow."""
        n = len(self.countries)
        key = self.period[row].astype(np.int64)
        for place, size in ((code, codes), (self.reporter[row], n), (self.partner[row], n), (self.exports[row], 2)):
            key *= size
            key += place
        return key

    def refuse_twins(self) -> None:
        """Raises InputRefused where a key stands twice."""
        key = self.key_of(np.arange(len(self.value)), self.code, len(self.codes))
        order = np.argsort(key)
        self.refuse_equal(key[order], order)

    def refuse_equal(self, key: Ints, order: Ints) -> None:
        """Raises InputRefused where two neighbours of a sorted key are equal."""
        if (twice := np.flatnonzero(key[1:] == key[:-1])).size:
            raise InputRefused(
                "the report stands twice",
                where=self.name(int(order[twice[0]])),
                todo="keep one row per period, code, reporter, partner and flow",
            )


@dataclass(frozen=True)
class _Flows:
    """Flows, sorted by period, code, importer, exporter; ``m`` and ``x`` are rows of the reports, -1: none."""

    period: Ints
    code: Ints
    importer: Ints
    exporter: Ints
    m: Ints
    x: Ints

    @classmethod
    def of(cls, data: _Reports) -> _Flows:
        n = len(data.countries)
        importer = np.where(data.exports == 1, data.partner, data.reporter)
        exporter = np.where(data.exports == 1, data.reporter, data.partner)
        key = data.period.astype(np.int64)
        for place, size in ((data.code, len(data.codes)), (importer, n), (exporter, n), (data.exports, 2)):
            key *= size
            key += place
        order = np.argsort(key)
        key = key[order]
        data.refuse_equal(key, order)
        first = _starts(key // 2)
        lead, last = order[first], order[np.r_[first[1:], len(key)][: len(first)] - 1]
        m = np.where(data.exports[lead] == 1, -1, lead)
        x = np.where(data.exports[last] == 1, last, -1)
        return cls(data.period[lead], data.code[lead], importer[lead], exporter[lead], m, x)

    def part(self, block: slice) -> _Flows:
        """The flows of a block."""
        return _Flows(*(getattr(self, f.name)[block] for f in fields(self)))


def _one_revision(reports: pa.Table) -> str:
    found = sorted(r or "an unknown revision" for r in pc.unique(reports["hs_revision"]).to_pylist())
    if len(found) != 1 or found[0] == "an unknown revision":
        raise InputRefused(
            f"the reports are in {' and '.join(found) or 'no revision'}, but one HS revision is needed",
            todo="convert them with to_revision first",
        )
    return found[0]


def _contract(periods: Sequence[str], annual: Table, monthly: Table) -> Table:
    """The annual or the monthly contract, as the periods say."""
    kinds = {
        "annual" if re.fullmatch(r"\d{4}", p) else "monthly" if re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", p) else p
        for p in periods
    }
    if strange := sorted(kinds - {"annual", "monthly"}):
        raise InputRefused(f"the period '{strange[0]}' is neither a year (2024) nor a month (2026-09)")
    if len(kinds) > 1:
        raise InputRefused(
            f"the reports mix years and months ({periods[0]} to {periods[-1]})", todo="reconcile them apart"
        )
    return monthly if kinds == {"monthly"} else annual


def _has_columns(table: pa.Table, contract: Table, names: Sequence[str]) -> None:
    if missing := [n for n in names if n not in table.column_names]:
        raise InputRefused(f"column(s) {', '.join(missing)} are missing in what should be rows of {contract.name}")
    for name in names:
        if table[name].null_count and not contract.column(name).nullable:
            raise InputRefused(f"column {name} has {table[name].null_count} null(s) where none may be")


def _encode(column: pa.ChunkedArray, null: str | None = None) -> tuple[Ints, list[str]]:
    """Strings as places in their sorted list."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(pa.string())
    if null is not None:
        column = pc.fill_null(column, null)
    coded = column.combine_chunks().dictionary_encode()
    labels = coded.dictionary.to_pylist()
    rank = np.empty(len(labels), dtype=np.int32)
    rank[sorted(range(len(labels)), key=labels.__getitem__)] = np.arange(len(labels))
    return rank[coded.indices.to_numpy()], sorted(labels)


def _strings(places: Ints, labels: Sequence[str], absent: npt.NDArray[np.bool_] | None = None) -> pa.Array:
    indices = pa.array(np.asarray(places, dtype=np.int32), mask=absent)
    return pa.DictionaryArray.from_arrays(indices, pa.array(labels, pa.string())).cast(pa.string())


def _thousandths(column: pa.ChunkedArray) -> Ints:
    # A decimal128(18, 3) is a little-endian 128-bit integer of thousandths; its 18 digits fit the low 64 bits.
    array = pc.cast(column, MONEY).combine_chunks()
    words = np.frombuffer(array.buffers()[1] or b"", dtype="<i8")[0::2]
    return words[array.offset : array.offset + len(array)].astype(np.int64)


def _money(thousandths: Ints) -> pa.Array:
    words = np.empty((len(thousandths), 2), dtype="<i8")
    words[:, 0], words[:, 1] = thousandths, thousandths >> 63
    return pa.Array.from_buffers(MONEY, len(thousandths), [None, pa.py_buffer(words)])


def _starts(key: Ints) -> Ints:
    """Where a sorted key changes."""
    return np.flatnonzero(np.r_[True, key[1:] != key[:-1]][: len(key)])


def _reduce(operation: np.ufunc, values: npt.NDArray[Any], first: Ints) -> npt.NDArray[Any]:
    """An operation over the groups that begin at ``first``, in the order of the rows."""
    return operation.reduceat(values, first) if len(first) else values[:0]


def _blocks(period: Ints, code: Ints, rows: int = BLOCK) -> Iterator[slice]:
    """Blocks of about that many rows (memory stays bounded); a period's product is never cut in two."""
    fresh = np.flatnonzero(np.r_[True, (period[1:] != period[:-1]) | (code[1:] != code[:-1])][: len(code)])
    cuts = fresh[_starts(fresh // rows)]
    for start, end in zip(cuts, np.r_[cuts[1:], len(code)][: len(cuts)], strict=True):
        yield slice(int(start), int(end))


def _medians(values: Floats, group: Ints, groups: int) -> tuple[Floats, Ints]:
    """Median (NaN: none) and size of every group."""
    size = np.bincount(group, minlength=groups)
    ordered = values[np.lexsort((values, group))]
    first = np.cumsum(size) - size
    out = np.full(groups, np.nan)
    some = size > 0
    low, high = first[some] + (size[some] - 1) // 2, first[some] + size[some] // 2
    out[some] = (ordered[low] + ordered[high]) / 2.0
    return out, size
