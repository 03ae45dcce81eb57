"""Monte Carlo of the industry layer: I1, I2 and I4 of a focus's industries in every draw, and what they say.

Belongs here: face value and look-through of an input-output table with errors, and the verdicts of
``foreign_input_reliance`` on industries and on the HS6 codes that have their recipes. Does not belong here: the
figures without errors (:mod:`ketenpipe.chain.industry`, :mod:`ketenpipe.risk.industries`).

No publisher states an error of its table, so the one that is used is assumed (``uncertainty.toml``, input_output). Two
things are off, each by factors of its own:

* what an industry of the focus buys in a country: one factor per industry and country, in face value and look-through;
* what goods of one country hold of another: one factor per pair of countries, the same for every industry.

With ``D[c]`` what the industry buys in c, and ``B[c, b]`` what of c stands behind what it buys in b
(``sum_{k in b} (S (L - I))_ck d_k``, S summing rows by country), face value is ``D[c] e[c]`` and look-through
``D[c] e[c] + sum_b B[c, b] e[b] u[c, b]``, both as shares. Without errors that is the table's own. A whole table is not
inverted in every draw: errors of single cells within a pair of countries would largely cancel out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from threadpoolctl import threadpool_limits

from ketenpipe.chain.catalogue import Reference
from ketenpipe.chain.industry import HIDDEN_RATIO_FROM, Focus, focus_in, shares_abroad, shares_of, without_end
from ketenpipe.chain.leontief import Leontief
from ketenpipe.chain.proportional import REST
from ketenpipe.risk.definitions import METHOD_VERSION
from ketenpipe.risk.draws import ROWS, Draws, Places, summarise
from ketenpipe.risk.planes import Floats
from ketenpipe.risk.published import PUBLISHED
from ketenpipe.risk.uncertainty import Uncertainty
from ketenpipe.sources.icio import IcioTable
from ketenpipe.tables.registry import DRAWN_VERDICTS, FLAGS, UNCERTAINTY

INPUT_OUTPUT = "input_output"
"""The family of inputs that is off."""
DRAWN = ("I1", "I2", "I4")
"""Figures that are drawn."""
METHOD = "foreign_input_reliance"


@dataclass(frozen=True)
class IndustryDraws:
    """What the draws of a table say.

    Args:
        uncertainty, verdicts: rows of tables ``uncertainty`` and ``drawn_verdicts`` of the industries.
        raw: (focus, industry) -> the verdict in every draw: 1, 0 or NaN, shape (draws).
    """

    uncertainty: pa.Table
    verdicts: pa.Table
    raw: Mapping[tuple[str, str], Floats]


@dataclass(frozen=True)
class DrawnIndustry:
    """An industry in every column, shapes (columns); NaN where a figure cannot be had.

    Args:
        face_value, look_through: I1 and I2, of the largest named foreign country.
        hidden_ratio: I4.
        verdict: of ``foreign_input_reliance``: 1, 0 or NaN.
    """

    face_value: Floats
    look_through: Floats
    hidden_ratio: Floats
    verdict: Floats

    def of(self, indicator: str) -> Floats:
        """A figure by its id."""
        return {"I1": self.face_value, "I2": self.look_through, "I4": self.hidden_ratio}[indicator]


def industry_in_draws(bought: Floats, behind: Floats, foreign: npt.NDArray[np.bool_], rest: str | None,
                      countries: Sequence[str], factors: Floats, contents: Floats) -> DrawnIndustry:  # fmt: skip
    """I1, I2, I4 and the verdict of one industry in every column.

    Args:
        bought: D, shape (countries).
        behind: B, shape (countries, countries): of whom, in what is bought where.
        foreign: which countries are not the focus.
        rest: name of the rest of the world, which is no country and never the largest.
        countries: their names.
        factors: e, shape (countries, columns).
        contents: u, shape (countries, countries, columns).
    """
    direct = bought[:, np.newaxis] * factors
    total = direct + np.einsum("cb,cbx->cx", behind, contents * factors)
    face, through = shares_of(direct), shares_of(total)
    face_abroad, through_abroad = shares_abroad(direct, foreign), shares_abroad(total, foreign)
    named = foreign & np.array([c != rest for c in countries])
    wide = named[:, np.newaxis] & (np.nan_to_num(through) >= HIDDEN_RATIO_FROM)
    shown = wide & (np.nan_to_num(face_abroad) > 0)
    ratio = np.where(shown, through_abroad / np.where(shown, face_abroad, 1.0), -np.inf).max(axis=0, initial=-np.inf)
    ratio = np.where(shown.any(axis=0), ratio, np.nan)
    (limit,) = PUBLISHED[METHOD].limits
    # A country without direct deliveries has no ratio: it could be the one, unless another already is.
    unsure = (wide & ~shown).any(axis=0) | np.isnan(total).any(axis=0) | ~(np.nan_to_num(through).sum(axis=0) > 0)
    verdict = np.where(ratio > limit.cut, 1.0, np.where(unsure, np.nan, 0.0))

    def largest(shares: Floats) -> Floats:
        found = np.where(named[:, np.newaxis], shares, -np.inf).max(axis=0, initial=-np.inf)
        return np.where(np.isfinite(found), found, np.nan)

    return DrawnIndustry(largest(face), largest(through), ratio, verdict)


def build_industry_draws(
    table: IcioTable,
    reference: Reference,
    foci: Sequence[str],
    indicators: pa.Table,
    model: Uncertainty,
    draws: Draws,
) -> IndustryDraws:
    """The draws of every industry of every focus in one input-output table.

    Where the published figure cannot be had, neither can its draws.

    Args:
        table: the input-output table.
        reference: for the blocs.
        foci: countries and blocs.
        indicators: table ``industry_indicators``, of any years: which figures there are.
        model: how far the inputs are off.
        draws: how many, of which seed.
    """
    draws = Draws(draws.count, draws.seed, (INPUT_OUTPUT,))
    wanted = pc.field("indicator").isin(DRAWN) & (pc.field("year") == table.year)
    rows: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in indicators.filter(wanted).to_pylist():
        rows.setdefault((row["focus"], row["code"]), []).append(row)
    figures: list[dict[str, Any]] = []
    values: list[Floats] = []
    verdicts: list[dict[str, Any]] = []
    raw: dict[tuple[str, str], Floats] = {}
    with threadpool_limits(limits=1):
        for focus, industry, found in _drawn(table, reference, foci, model, draws):
            for row in rows.get((focus, industry), ()):
                figures.append(row)
                drawn = found.of(row["indicator"])
                values.append(drawn if row["value"] is not None else np.full(draws.columns, np.nan))
                if row["indicator"] == "I4":
                    raw[focus, industry] = found.verdict[draws.drawn]
                    told = row["basis"] != "synthetic"
                    place = {k: row[k] for k in FLAGS.key if k in row}
                    verdicts.append(place | _verdict(raw[focus, industry], told=told))
    return IndustryDraws(_uncertainty(figures, values, draws), DRAWN_VERDICTS.conform(verdicts), raw)


def product_verdicts(drawn: IndustryDraws, products: pa.Table, product_industries: pa.Table) -> pa.Table:
    """Verdicts of ``foreign_input_reliance`` on HS6 codes (contract ``drawn_verdicts``): each has its industry's.

    One recipe stands for all products of an industry, so none may be told.

    Args:
        drawn: of the industries.
        products: rows of ``drawn_verdicts`` with the codes and foci, one of each.
        product_industries: table of that name.
    """
    if not drawn.raw:
        return DRAWN_VERDICTS.empty()
    names = ("hs_revision", "code", "industry")
    industry = {(r, c): i for r, c, i in zip(*(product_industries.column(n).to_pylist() for n in names), strict=True)}
    some = next(iter(drawn.raw.values()))
    known = {key: _verdict(held, told=False) for key, held in drawn.raw.items()}
    nothing = _verdict(np.full(len(some), np.nan), told=False)
    return DRAWN_VERDICTS.conform(
        row | known.get((row["focus"], industry.get((row["hs_revision"], row["code"]), "")), nothing)
        for row in products.to_pylist()
    )


def _verdict(raw: Floats, *, told: bool) -> dict[str, Any]:
    """What a verdict's draws say, raw of shape (draws)."""
    there = ~np.isnan(raw)
    return {
        "method": METHOD,
        "draws": len(raw),
        "flagged_share": float((raw == 1).sum() / there.sum()) if there.any() else None,
        "verdict_share": float(there.mean()),
        "told_share": float(there.mean()) if told else 0.0,
        "method_version": METHOD_VERSION,
    }


def _drawn(
    table: IcioTable, reference: Reference, foci: Sequence[str], model: Uncertainty, draws: Draws
) -> Iterator[tuple[str, str, DrawnIndustry]]:
    """Every industry of every focus in every column, with the focus's and the industry's name."""
    factors = draws.factors(INPUT_OUTPUT, model.input_output.log_sd, "table", INPUT_OUTPUT, rows=ROWS).astype(
        np.float64
    )
    economy = Leontief.beside_loops(table.Z, table.OUT)
    for name in sorted(set(foci)):
        focus = focus_in(table, reference, name)
        if focus is None:
            continue
        held = _Behind(focus, economy)
        countries = [str(c) for c in focus.countries]
        places = Places(countries)
        pair = np.divmod(np.arange(len(countries) ** 2), len(countries))
        content = places.flows(INPUT_OUTPUT, "content", table.year, pair[0], pair[1])
        for number, industry in enumerate(focus.industries):
            rows = places.makers(f"purchases {name} {industry}", table.year)
            bought, behind = held.of(number)
            blocks = [
                industry_in_draws(
                    bought, behind, focus.foreign, REST, countries, factors[rows, at],
                    factors[content, at].reshape(len(countries), len(countries), -1),
                )
                for at in draws.blocks
            ]  # fmt: skip
            parts = ("face_value", "look_through", "hidden_ratio", "verdict")
            yield name, str(industry), DrawnIndustry(*(np.concatenate([getattr(b, p) for b in blocks]) for p in parts))


class _Behind:
    """What a focus's industries buy of whom, and what stands behind it.

    Args:
        focus: within the table.
        economy: the table's.
    """

    def __init__(self, focus: Focus, economy: Leontief) -> None:
        self._focus = focus
        owned = focus.member_of.T
        self._content = economy.backward(np.asfortranarray(owned)) - owned
        self._endless = without_end(focus, economy.endless_inputs)

    def of(self, number: int) -> tuple[Floats, Floats]:
        """``D``, shape (countries), and ``B``, shape (countries, countries), of an industry; NaN without a sum."""
        focus = self._focus
        group = focus.groups[number]
        direct = focus.table.Z[:, group[focus.table.OUT[group] > 0]].sum(axis=1)
        member_of = focus.member_of
        if not focus.alive[number]:
            return np.full(len(member_of), np.nan), np.full((len(member_of),) * 2, np.nan)
        behind = ((member_of * direct) @ self._content).T
        return member_of @ direct, np.full_like(behind, np.nan) if self._endless[number] else behind


def _uncertainty(figures: Sequence[Mapping[str, Any]], values: Sequence[Floats], draws: Draws) -> pa.Table:
    held = np.array(values).reshape(-1, draws.columns)
    found = summarise(held, draws)
    (limit,) = PUBLISHED[METHOD].limits
    rows = []
    for k, row in enumerate(figures):
        flags = row["indicator"] == limit.indicator
        drawn = held[k, draws.drawn]
        there = ~np.isnan(drawn)
        rows.append(
            {n: row[n] for n in UNCERTAINTY.key}
            | {
                "value": found.value[k],
                "draws": int(found.draws[k]),
                "low": found.low[k],
                "high": found.high[k],
                "mean": found.mean[k],
                "threshold": limit.cut if flags else None,
                "flag_share": float((drawn[there] > limit.cut).mean()) if flags and there.any() else None,
                "matters_most": INPUT_OUTPUT if found.matters_most[k] >= 0 else None,
                "reason": row["reason"],
                "method_version": METHOD_VERSION,
            }
        )
    return UNCERTAINTY.conform(rows)
