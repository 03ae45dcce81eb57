"""Industry layer: how far the focus's industries lean on other countries, from inter-country input-output tables.

Belongs here: the focus's industries and countries, and the tables of the release: face value, look-through, market
side, hidden ratio, tiers, position in the chain, concentration, extraction, inverse-important coefficients. Does not
belong here: the algebra (:mod:`ketenpipe.chain.leontief`). One factorisation per table serves every focus and measure.
Everything from a synthetic table says so in its basis.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.stats import rankdata
from threadpoolctl import threadpool_limits

from ketenpipe.chain.catalogue import Reference
from ketenpipe.chain.leontief import (
    TRACE,
    Array,
    Importance,
    Indices,
    Leanings,
    Leontief,
    extraction,
    leanings,
)
from ketenpipe.chain.tracing import focus_members
from ketenpipe.errors import WrongUse
from ketenpipe.sources.icio import IcioTable
from ketenpipe.tables.contract import Table, round_significant
from ketenpipe.tables.registry import INDUSTRY_COEFFICIENTS, INDUSTRY_EXPOSURE, INDUSTRY_MEASURES, INDUSTRY_TIERS

TIERS = 4
HIDDEN_RATIO_FROM = 0.01
#: Share of a country's deliveries to the focus that the extraction lets fall away.
EXTRACTION_SHARE = 1.0
#: Inverse-important coefficients per industry.
TOP_COEFFICIENTS = 10

Words = npt.NDArray[np.object_]


@dataclass(frozen=True)
class Industry:
    """Tables of the industry layer, in the registry's contracts."""

    industry_exposure: pa.Table
    industry_tiers: pa.Table
    industry_measures: pa.Table
    industry_coefficients: pa.Table


@dataclass(frozen=True)
class Focus:
    """One focus within one table.

    Attributes:
        name: country or bloc; a bloc's members are one country of that name.
        table: the input-output table.
        countries: the C countries, the focus among them, sorted.
        member_of: 1 where a row belongs to a country, shape (C, n).
        foreign: which countries are not the focus, shape (C).
        industries: the m industries of the focus.
        groups: the columns of each.
        made: output of each, shape (m).
        without_region: members that the table has no region of, sorted; they are part of its rest of the world.
    """

    name: str
    table: IcioTable
    countries: Words
    member_of: Array
    foreign: npt.NDArray[np.bool_]
    industries: Words
    groups: list[Indices]
    made: Array
    without_region: tuple[str, ...] = ()

    @property
    def common(self) -> dict[str, Any]:
        """What every row of this focus and table has."""
        return {
            "focus": self.name,
            "year": self.table.year,
            "basis": "synthetic" if self.table.synthetic else "icio",
        }

    @property
    def alive(self) -> npt.NDArray[np.bool_]:
        """Which industries have output, shape (m)."""
        return self.made > 0

    @property
    def columns(self) -> Indices:
        """The focus's own rows and columns that have output."""
        own = np.flatnonzero(self.member_of[~self.foreign][0])
        return own[self.table.OUT[own] > 0]


def focus_in(table: IcioTable, reference: Reference, name: str) -> Focus | None:
    """A focus's place in a table; None where the table has none of its countries.

    Raises:
        WrongUse: neither a country's code nor a bloc with members in that year.
    """
    members = focus_members(reference, name, [table.year])[table.year]
    owner = np.array([name if c in members else c for c, _ in table.labels], dtype=object)
    inside = owner == name
    if not inside.any():
        return None
    of = np.array([i for _, i in table.labels], dtype=object)
    countries = np.array(sorted(set(owner)), dtype=object)
    present = set(of[inside])
    industries = np.array([i for i in table.industries if i in present], dtype=object)
    groups = [np.flatnonzero(inside & (of == i)) for i in industries]
    made = np.array([np.maximum(table.OUT[g], 0.0).sum() for g in groups])
    member_of = (owner[np.newaxis, :] == countries[:, np.newaxis]).astype(np.float64)
    lacking = tuple(sorted(members - {c for c, _ in table.labels}))
    return Focus(name, table, countries, member_of, countries != name, industries, groups, made, lacking)


def build_industry(
    tables: Iterable[IcioTable],
    reference: Reference,
    foci: tuple[str, ...],
    *,
    tiers: int = TIERS,
    extraction_share: float = EXTRACTION_SHARE,
    coefficients: int = TOP_COEFFICIENTS,
) -> Industry:
    """The industry layer for every industry of every focus, from one factorisation per table.

    ``FV[c] = sum_{i in c} Z_ij / sum_i Z_ij``; ``FIR[c] = sum_{i in c} (L-I)_ij / sum_i (L-I)_ij``; ``FMR`` with the
    Ghosh inverse; ``hidden_ratio`` = FIR/FV, both among foreign origins, where FIR >= 0.01, null where FV = 0. Tier
    t's share is ``sum_{i in c} (A^t)_ij / sum_{i in c} (L-I)_ij``; the tail is tier -1. A bloc's members are one, and
    its industries weigh by output. The other measures: :func:`_measures` and :mod:`ketenpipe.chain.leontief`.
    An industry without output: null, never 0. Where industries only feed each other or use more than they make, tier
    after tier, the sums have no limit: what such a loop touches is null with the reason, face values stand
    (:meth:`ketenpipe.chain.leontief.Leontief.beside_loops`).

    Source: Baldwin, Freeman, Theodorakopoulos; METHOD 1.

    Args:
        tables: one per year.
        reference: for the blocs.
        foci: countries and blocs.
        tiers: how many tiers are shown one by one, at least 1.
        extraction_share: share of a country's deliveries to the focus that falls away, above 0 and at most 1.
        coefficients: how many inverse-important coefficients per industry; 0 for none.

    Raises:
        WrongUse: one of the last three is out of range.
    """
    if tiers < 1:
        raise WrongUse(f"the industry layer needs at least 1 tier, not {tiers}")
    if not 0 < extraction_share <= 1:
        raise WrongUse(f"the share that is extracted must be above 0 and at most 1, not {extraction_share}")
    if coefficients < 0:
        raise WrongUse(f"the number of inverse-important coefficients cannot be negative ({coefficients})")
    parts: dict[str, list[pa.Table]] = {t.name: [t.empty()] for t in _CONTRACTS}
    # The number of threads changes the last bits of a sum; one thread gives the same table everywhere.
    with threadpool_limits(limits=1):
        for table in tables:
            places = [place for name in foci if (place := focus_in(table, reference, name)) is not None]
            if places:
                _add_table(parts, table, places, tiers, extraction_share, coefficients)
    return Industry(*(t.conform(pa.concat_tables(parts[t.name])) for t in _CONTRACTS))


_CONTRACTS = (INDUSTRY_EXPOSURE, INDUSTRY_TIERS, INDUSTRY_MEASURES, INDUSTRY_COEFFICIENTS)


def _add_table(
    parts: dict[str, list[pa.Table]],
    table: IcioTable,
    places: Sequence[Focus],
    tiers: int,
    share: float,
    coefficients: int,
) -> None:
    economy = Leontief.beside_loops(table.Z, table.OUT)
    labels = np.array([c for c, _ in table.labels], dtype=object)
    sums_of = {c: k for k, c in enumerate(table.countries)}
    owned = np.stack([labels == c for c in sums_of], axis=1).astype(np.float64)
    sums = economy.backward(owned)
    # A row without output has none to lose, even where deliveries are booked to it.
    losing = economy.backward(owned * economy.alive[:, np.newaxis]) if table.Z[~economy.alive].any() else sums
    to_final = economy.forward(np.maximum(economy.output, 0.0))
    wanted = np.unique(np.concatenate([f.columns for f in places]))
    rows = economy.rows(wanted)
    for focus in places:
        at = np.searchsorted(wanted, focus.columns)
        own = rows[:, at]
        group_of = np.stack([np.isin(focus.columns, g) for g in focus.groups], axis=1).astype(np.float64)
        lean = leanings(economy, focus.groups, tiers, own @ group_of)
        parts["industry_exposure"].append(_exposure(focus, economy, lean))
        parts["industry_tiers"].append(_tiers(focus, lean))
        parts["industry_measures"].extend(_measures(focus, economy, lean, to_final))
        suppliers = [sums_of[c] for c in focus.countries[focus.foreign]]
        supplier_sums = {c: losing[:, sums_of[c]] for c in focus.countries[focus.foreign]}
        parts["industry_measures"].extend(_extractions(focus, economy, own, group_of, supplier_sums, share))
        if coefficients and suppliers:
            foreign_sums = np.sum([sums[:, k] for k in suppliers], axis=0)
            parts["industry_coefficients"].append(_coefficients(focus, economy, lean, foreign_sums, coefficients))


def without_end(focus: Focus, words: Words) -> Words:
    """Why a focus's industries have no finite sum: the first reason among the columns (or rows) with output."""
    return np.array(
        [next((w for w in words[g[focus.table.OUT[g] > 0]] if w), None) for g in focus.groups], dtype=object
    )


def _exposure(focus: Focus, economy: Leontief, lean: Leanings) -> pa.Table:
    """Rows of industry_exposure, one per country and industry."""
    shape = (len(focus.countries), len(focus.industries))
    alive, foreign = focus.alive, focus.foreign
    by_country, total, sales = (
        np.where(alive, focus.member_of @ amounts, np.nan) for amounts in (lean.direct, lean.total, lean.sales)
    )
    face, through, market = shares_of(by_country), shares_of(total), shares_of(sales)
    face_abroad, through_abroad = shares_abroad(by_country, foreign), shares_abroad(total, foreign)
    wide = foreign[:, np.newaxis] & (np.nan_to_num(through) >= HIDDEN_RATIO_FROM)
    shown = wide & (np.nan_to_num(face_abroad) > 0)
    hidden = np.where(shown, through_abroad / np.where(shown, face_abroad, 1.0), np.nan)
    reason = _first(
        shape,
        (np.broadcast_to(~alive, shape), "zero_output"),
        *_cases(without_end(focus, economy.endless_inputs)),
        *_cases(without_end(focus, economy.endless_sales)),
        (np.isnan(face), "no_intermediate_inputs"),
        (foreign[:, np.newaxis] & np.isnan(face_abroad), "no_foreign_inputs"),
        (np.isnan(market), "no_intermediate_sales"),
        (wide & ~shown, "no_face_value"),
    )
    return _block(
        INDUSTRY_EXPOSURE,
        shape,
        **focus.common,
        country=focus.countries[:, np.newaxis],
        industry=focus.industries,
        face_value=face,
        look_through=through,
        market_side=market,
        face_value_foreign=face_abroad,
        look_through_foreign=through_abroad,
        hidden_ratio=hidden,
        members_without_region=" ".join(focus.without_region) or None,
        reason=reason,
    )


def _tiers(focus: Focus, lean: Leanings) -> pa.Table:
    """Rows of industry_tiers: the tiers one by one and the tail (-1), for countries behind the industry."""
    whole = focus.member_of @ lean.total
    there = focus.alive & (whole > TRACE * np.maximum(lean.total.sum(axis=0), 0.0)) & (whole > 0)
    levels = np.concatenate([lean.tiers, lean.tail[np.newaxis]])
    shares = (focus.member_of @ levels)[:, there] / whole[there]
    at_country, at_industry = np.nonzero(there)
    tier = np.array([*range(1, len(lean.tiers) + 1), -1])
    return _block(
        INDUSTRY_TIERS,
        shares.shape,
        **focus.common,
        country=focus.countries[at_country],
        industry=focus.industries[at_industry],
        tier=tier[:, np.newaxis],
        share=np.clip(shares, 0.0, 1.0),
    )


def _measures(focus: Focus, economy: Leontief, lean: Leanings, to_final: Array) -> list[pa.Table]:
    """Position in the chain, propagation lengths and concentration.

    - ``upstreamness``: ``U = G 1``, an output-weighted mean for a bloc (a step between two members is a step).
    - ``downstreamness``: ``1'L``, weighted likewise.
    - ``propagation_length``: ``L(L-I) / (L-I)``, both summed over a country's rows, and over a supplying industry's
      rows in all countries; at least 1.
    - ``content_hhi``, ``face_value_hhi``: ``sum_c s_c^2`` over foreign origins of FIR and of FV, renormalised; the
      largest origin and its share as ``..._top_supplier`` (the first by code if two are equal).
    - ``value_added_content``: ``sum_{i in c} v_i L_ij``, own country included, ``v = (VA + TLS)/x``; absolute values
      renormalised, and ``value_added_hhi`` their HHI: what MARIO 1.3.2 calls concentration of and exposure through
      trade content (read in its source).
    """
    alive = focus.alive
    made = np.where(alive, focus.made, np.nan)
    no_end, sales = without_end(focus, economy.endless_inputs), without_end(focus, economy.endless_sales)
    behind = ((~alive, "zero_output"), *_cases(no_end))
    industries = {**focus.common, "industry": focus.industries}
    found = []

    def of_industries(measure: str, values: Array, *reasons: tuple[Any, str]) -> None:
        found.append(
            _block(
                INDUSTRY_MEASURES,
                values.shape,
                **industries,
                measure=measure,
                value=values,
                rank=_ranks(values),
                reason=_first(values.shape, *reasons),
            )
        )

    steps_on = np.array([to_final[g[economy.alive[g]]].sum() for g in focus.groups]) / made
    of_industries(
        "upstreamness", np.where(~sales.astype(bool), steps_on, np.nan), (~alive, "zero_output"), *_cases(sales)
    )
    of_industries("downstreamness", (lean.made.sum(axis=0) + lean.total.sum(axis=0)) / made, *behind)
    everything = np.maximum(lean.total.sum(axis=0), 0.0)
    of = np.array([i for _, i in focus.table.labels], dtype=object)
    partners = np.array(focus.table.industries, dtype=object)
    for key, names, summing in (
        ("country", focus.countries, focus.member_of),
        ("partner_industry", partners, (of[np.newaxis, :] == partners[:, np.newaxis]).astype(np.float64)),
    ):
        inputs = summing @ lean.total
        there = alive & (inputs > TRACE * everything) & (inputs > 0)
        values = np.where(there, (summing @ lean.steps) / np.where(there, inputs, 1.0), np.nan)
        found.append(
            _block(
                INDUSTRY_MEASURES,
                values.shape,
                **industries,
                **{key: names[:, np.newaxis]},
                measure="propagation_length",
                value=values,
                rank=_ranks(values),
                reason=_first(values.shape, *behind, (~there, "no_inputs_from_there")),
            )
        )
    found.extend(_concentration(focus, "content", lean.total, no_end))
    found.extend(_concentration(focus, "face_value", lean.direct, np.full(len(focus.industries), None, dtype=object)))
    spent = np.where(economy.alive, focus.table.VA + focus.table.TLS, 0.0)
    rate = spent / np.where(economy.alive, economy.output, 1.0)
    added = np.where(alive, np.abs(focus.member_of @ (rate[:, np.newaxis] * (lean.made + lean.total))), np.nan)
    shares = shares_of(added)
    found.append(
        _block(
            INDUSTRY_MEASURES,
            shares.shape,
            **industries,
            country=focus.countries[:, np.newaxis],
            measure="value_added_content",
            value=shares,
            rank=_ranks(shares),
            reason=_first(shares.shape, *behind, (np.isnan(shares), "no_value_added")),
        )
    )
    hhi = (shares**2).sum(axis=0)
    of_industries("value_added_hhi", hhi, *behind, (np.isnan(hhi), "no_value_added"))
    return found


def _concentration(focus: Focus, name: str, amounts: Array, endless: Words) -> list[pa.Table]:
    """HHI and top supplier among foreign origins; null where there is nothing foreign, or no end (``endless``)."""
    by_country = np.where(focus.alive, focus.member_of @ amounts, np.nan)
    shares = shares_abroad(by_country, focus.foreign)
    hhi = np.nansum(shares**2, axis=0)
    known = ~np.isnan(shares[focus.foreign]).any(axis=0) & focus.foreign.any()
    hhi = np.where(known, hhi, np.nan)
    top = np.nan_to_num(shares, nan=-1.0).argmax(axis=0)
    largest = np.where(known, shares[top, np.arange(len(top))], np.nan)
    bought = np.maximum(np.nan_to_num(by_country), 0.0).sum(axis=0) > 0
    reason = _first(
        hhi.shape,
        (~focus.alive, "zero_output"),
        *_cases(endless),
        (~known & ~bought, "no_intermediate_inputs"),
        (~known, "no_foreign_inputs"),
    )
    return [
        _block(
            INDUSTRY_MEASURES,
            values.shape,
            **focus.common,
            industry=focus.industries,
            country=country,
            measure=measure,
            value=values,
            rank=_ranks(values),
            reason=reason,
        )
        for measure, values, country in (
            (f"{name}_hhi", hhi, None),
            (f"{name}_top_supplier", largest, np.where(known, focus.countries[top], None)),
        )
    ]


def _extractions(
    focus: Focus,
    economy: Leontief,
    own: Array,
    group_of: Array,
    supplier_sums: dict[str, Array],
    share: float,
) -> list[pa.Table]:
    """Ranks of both sides of the extraction, see :func:`ketenpipe.chain.leontief.extraction`.

    ``extraction_leontief`` ranks supplying countries by *their* loss of market; ``extraction_ghosh`` ranks them by
    the loss of inputs of one industry of the focus, the *user*. No value is published: both models answer with what
    cannot be substituted, which orders countries but is no forecast of a loss.
    """
    countries = np.array(list(supplier_sums), dtype=object)
    users = focus.columns
    if not len(countries):
        return []
    market = np.full(len(countries), np.nan)
    inputs = np.full((len(countries), len(focus.industries)), np.nan)
    endless = np.full(len(countries), None, dtype=object)
    behind = without_end(focus, economy.endless_inputs)
    weights = group_of * economy.output[users][:, np.newaxis]
    weights = weights / np.where(focus.alive, weights.sum(axis=0), 1.0)
    for k, country in enumerate(countries):
        rows = np.flatnonzero(focus.member_of[focus.countries == country][0])
        rows = rows[economy.alive[rows]]
        if len(rows) and len(users):
            lost = extraction(economy, rows, users, share, own, supplier_sums[country])
            # A supplier's own chain must end, or its loss has no finite sum; what it does not deliver is not lost.
            delivering = rows[(economy.z[np.ix_(rows, users)] != 0).any(axis=1)]
            endless[k] = next((w for w in economy.endless_inputs[delivering] if w), None)
            market[k] = np.nan if endless[k] else lost.leontief
            inputs[k] = np.where(focus.alive & ~behind.astype(bool), lost.ghosh @ weights, np.nan)
    # What is left of a loss that is none is rounding, and must not decide an order.
    market[np.abs(market) < TRACE] = 0.0
    inputs[np.abs(inputs) < TRACE] = 0.0
    return [
        _block(
            INDUSTRY_MEASURES,
            market.shape,
            **focus.common,
            country=countries,
            measure="extraction_leontief",
            rank=_ranks(market),
            reason=_first(
                market.shape, *_cases(endless), (np.isnan(market), "zero_output"), (~np.isnan(market), "rank_only")
            ),
        ),
        _block(
            INDUSTRY_MEASURES,
            inputs.shape,
            **focus.common,
            industry=focus.industries,
            country=countries[:, np.newaxis],
            measure="extraction_ghosh",
            rank=_ranks(inputs),
            reason=_first(
                inputs.shape,
                (~focus.alive, "zero_output"),
                *_cases(behind),
                (np.isnan(inputs), "zero_output"),
                (~np.isnan(inputs), "rank_only"),
            ),
        ),
    ]


def _coefficients(focus: Focus, economy: Leontief, lean: Leanings, foreign_sums: Array, count: int) -> pa.Table:
    """Rows of industry_coefficients, see :class:`ketenpipe.chain.leontief.Importance`."""
    outside = focus.member_of[focus.foreign].sum(axis=0) > 0
    importance = Importance(economy, outside, foreign_sums)
    behind = without_end(focus, economy.endless_inputs)
    labels = focus.table.labels
    rows = []
    for k, industry in enumerate(focus.industries):
        if not focus.alive[k] or behind[k]:
            continue
        for rank, c in enumerate(importance.top(lean.made[:, k], lean.total[:, k], count), start=1):
            rows.append(
                {
                    **focus.common,
                    "industry": industry,
                    "rank": rank,
                    "supplier_country": labels[c.supplier][0],
                    "supplier_industry": labels[c.supplier][1],
                    "user_country": labels[c.user][0],
                    "user_industry": labels[c.user][1],
                    "coefficient": float(economy.z[c.supplier, c.user] / economy.output[c.user]),
                    "elasticity": c.elasticity,
                }
            )
    return INDUSTRY_COEFFICIENTS.conform(rows)


def shares_of(values: Array) -> Array:
    """Shares along the first axis, negative amounts as none; NaN where there is nothing to share."""
    positive = np.maximum(values, 0.0)
    total = positive.sum(axis=0)
    known = total > 0
    return np.where(known, np.minimum(positive / np.where(known, total, 1.0), 1.0), np.nan)


def shares_abroad(values: Array, foreign: npt.NDArray[np.bool_]) -> Array:
    """Shares among foreign origins; NaN for the focus itself, and where next to nothing of all amounts is foreign."""
    outside = np.where(foreign[:, np.newaxis], values, 0.0)
    none = np.maximum(outside, 0.0).sum(axis=0) <= TRACE * np.maximum(values, 0.0).sum(axis=0)
    return np.where(foreign[:, np.newaxis] & ~none, shares_of(outside), np.nan)


def _ranks(values: Array) -> Array:
    """Rank along the first axis, 1 = largest, equal values (to nine digits) share one; NaN stays."""
    return rankdata(-round_significant(values), method="min", axis=0, nan_policy="omit")


def _first(shape: tuple[int, ...], *cases: tuple[Any, str]) -> Words:
    """The first reason that holds, None where none does."""
    words = np.full(shape, None, dtype=object)
    for holds, word in reversed(cases):
        words[np.broadcast_to(holds, shape)] = word
    return words


def _cases(words: Words) -> list[tuple[Any, str]]:
    """The reasons of an array as cases of :func:`_first`."""
    return [(words == word, word) for word in sorted({w for w in words if w})]


def _block(contract: Table, shape: tuple[int, ...], **columns: Any) -> pa.Table:
    """Rows of a contract from arrays that broadcast to one shape; what is not given is null."""
    size = int(np.prod(shape))
    arrays = []
    for column in contract.columns:
        given = columns.get(column.name)
        if given is None:
            arrays.append(pa.nulls(size, column.type))
        elif isinstance(given, str | int):
            arrays.append(pa.repeat(pa.scalar(given, column.type), size))
        else:
            flat = np.broadcast_to(given, shape).ravel()
            arrays.append(pa.array(flat, from_pandas=True).cast(column.type))
    return pa.table(arrays, schema=contract.schema())
