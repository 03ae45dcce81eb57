"""Figures of the focus's industries, I1 to I6, as rows of contract ``indicators``.

Belongs here: one row per industry and figure, from the tables of the industry layer, which hold a row per country.
Does not belong here: the algebra behind them (:mod:`ketenpipe.chain.industry`), verdicts
(:mod:`ketenpipe.risk.methods`). The rest of the world is a region of the tables but no country: it is never named as
the largest, and ``high`` says how large a country within it could be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from ketenpipe.chain.proportional import REST
from ketenpipe.risk.planes import Floats
from ketenpipe.risk.products import as_indicators, words_of
from ketenpipe.risk.published import PUBLISHED
from ketenpipe.risk.world import wgi_vintages
from ketenpipe.tables.registry import INDUSTRY_INDICATORS

Words = npt.NDArray[np.object_]

ITEM = ["focus", "industry", "year"]
#: The column of ``industry_exposure`` with a bloc's members outside the table, and the reason that says that there are.
LACKING = "members_without_region"
#: Reasons in table ``industry_exposure`` that are about inputs and say nothing about sales.
_ABOUT_INPUTS = ("no_intermediate_inputs", "no_foreign_inputs", "no_face_value")


def build_industry_indicators(
    exposure: pa.Table,
    tiers: pa.Table,
    measures: pa.Table,
    country_risk: pa.Table,
    editions: Mapping[int, str],
) -> pa.Table:
    """I1 to I6 of every industry of every focus and year (contract ``industry_indicators``).

    - I1, I2, I3: FV, FIR and FMR of the largest foreign country, which is named; ``country_share`` is its share among
      foreign origins; ``high`` is the rest of the world's where that is larger.
    - I1a, I2a: HHI over foreign origins of FV and of FIR, renormalised; the rest of the world counts as one origin,
      ``low`` leaves it out.
    - I2b: ``sum_c s_c risk_c`` over foreign origins of FIR with a score, renormalised; ``low`` and ``high`` give the
      others the risks 0 and 1; ``coverage`` is the scored share.
    - I4: the largest FIR/FV, both among foreign origins, of a foreign country with FIR >= 0.01, which is named with
      its FIR. A country that reaches FIR without a direct delivery has no ratio: ``no_face_value`` stands beside.
    - Where the table has no region of some members of a bloc, they count abroad, within its rest of the world:
      ``members_without_region`` stands beside every figure of that bloc and year.
    - I5: upstreamness. I5a, I5b, I6: propagation length, share beyond tier 1 and rank by extraction (Ghosh side, among
      named foreign countries) of I2's country; I6 names the first in rank in ``worst_code``.

    Source: Baldwin, Freeman and Theodorakopoulos 2023; METHOD 1.

    Args:
        exposure, tiers, measures: tables ``industry_exposure``, ``industry_tiers``, ``industry_measures``.
        country_risk: table ``country_risk``; empty without governance data.
        editions: year -> vintage of the input-output table.
    """
    held = exposure.to_pandas()
    if held.empty:
        return INDUSTRY_INDICATORS.empty()
    items = held[[*ITEM, "basis", LACKING]].drop_duplicates(ITEM).sort_values(ITEM).reset_index(drop=True)
    held = held.merge(items[ITEM].reset_index(names="item"), on=ITEM)
    foreign = held[held["country"] != held["focus"]]
    named = foreign[foreign["country"] != REST]
    rest = foreign[foreign["country"] == REST].set_index("item")
    figures = _Figures(items, editions, wgi_vintages(country_risk))

    face = _largest(named, "face_value", items)
    through = _largest(named, "look_through", items)
    market = _largest(named, "market_side", items)
    blocks = []
    for indicator, top, column, share in (
        ("I1", face, "face_value", "face_value_foreign"),
        ("I2", through, "look_through", "look_through_foreign"),
        ("I3", market, "market_side", None),
    ):
        others = rest[column].reindex(items.index).to_numpy(dtype=float)
        why = _reasons(foreign, column, items, about_sales=column == "market_side")
        blocks.append(
            figures.block(
                indicator,
                top["value"],
                _or(why, "rest_of_world_only"),
                low=top["value"],
                high=np.fmax(top["value"], others),
                country=top["country"],
                country_share=None if share is None else _at(named, share, top["row"]),
            )
        )
    blocks += _concentration(figures, measures, rest, named, face, through)
    blocks.append(_governance(figures, foreign, country_risk))
    blocks.append(_hidden(figures, foreign, named))
    blocks += _position(figures, tiers, measures, through)
    return as_indicators(blocks, INDUSTRY_INDICATORS)


class _Figures:
    """Makes blocks of rows, one row per item."""

    def __init__(self, items: pd.DataFrame, editions: Mapping[int, str], governance: Mapping[int, str]) -> None:
        self.items = items
        self._editions, self._governance = editions, governance

    def block(
        self,
        indicator: str,
        value: Any,
        why: Any,
        *,
        notes: Any = None,
        governed: bool = False,
        **columns: Any,
    ) -> pa.Table:
        """The rows of an indicator.

        Args:
            indicator: id.
            value: figures, NaN where there is none.
            why: reasons where there is none.
            notes: reasons that stand beside a figure, None where there is none.
            governed: it rests on governance scores too.
            columns: further columns of contract ``indicators``; words of an object array, or figures.
        """
        items, count = self.items, len(self.items)
        value = np.asarray(value, dtype=float)
        null = np.isnan(value)
        beside = np.full(count, None, dtype=object) if notes is None else np.asarray(notes, dtype=object)
        reason = _pick(null, why, beside)
        lacking = items[LACKING].notna().to_numpy()
        reason = _pick(lacking, [LACKING if r is None else f"{r}; {LACKING}" for r in reason], reason)
        synthetic = (items["basis"] == "synthetic").to_numpy()
        given: dict[str, pa.Array] = {
            name: words_of(np.zeros(count, dtype=np.int64), [word])
            for name, word in (("level", "industry"), ("indicator", indicator), ("measure", "v"))
        }
        given |= {
            "focus": _words(items["focus"]),
            "code": _words(items["industry"]),
            "year": pa.array(items["year"].to_numpy(dtype=np.int32)),
            "basis": _words(items["basis"]),
            "value": _floats(value),
            "reason": _words(reason),
            "confidence": words_of(np.where(null, -1, synthetic), ["medium", "low"]),
            "source_vintage": _words([self._vintage(int(y), governed=governed) for y in items["year"]]),
        }
        for name, data in columns.items():
            if data is None:
                continue
            told = np.asarray(data)
            if told.dtype == object:
                given[name] = _words(_pick(null, None, told))
            else:
                given[name] = _floats(np.where(null, np.nan, told))
        return pa.table(given)

    def _vintage(self, year: int, *, governed: bool) -> str | None:
        parts = [self._editions.get(year), self._governance.get(year) if governed else None]
        told = [f"{kind} {part}" for kind, part in zip(("icio", "wgi"), parts, strict=True) if part]
        return "; ".join(told) or None


def _largest(named: pd.DataFrame, column: str, items: pd.DataFrame) -> pd.DataFrame:
    """Per item the largest figure, its country (the first by code if two are equal; none where it is 0) and row."""
    known = named[named[column].notna()]
    order = known.sort_values(["item", column, "country"], ascending=[True, False, True]).drop_duplicates("item")
    found = pd.DataFrame(
        {"value": order[column].to_numpy(), "country": order["country"].to_numpy(dtype=object), "row": order.index},
        index=order["item"].to_numpy(),
    ).reindex(items.index)
    nothing = ~(found["value"] > 0)
    found["country"] = found["country"].astype(object).where(~nothing & found["country"].notna(), None)
    found["row"] = found["row"].where(~nothing, np.nan)
    return found


def _at(frame: pd.DataFrame, column: str, rows: pd.Series) -> Floats:
    """A column at some rows by label; NaN where the label is."""
    return frame[column].reindex(rows).to_numpy(dtype=float)


def _reasons(foreign: pd.DataFrame, column: str, items: pd.DataFrame, *, about_sales: bool = False) -> Words:
    """Why a figure is missing: the first reason of an item's rows without it; None where there is none."""
    rows = foreign[foreign[column].isna() & foreign["reason"].notna()]
    words = rows["reason"].astype(object)
    if about_sales:
        words = words.where(~words.isin(_ABOUT_INPUTS), "no_intermediate_sales")
    first = pd.Series(words.to_numpy(), index=rows["item"].to_numpy(), dtype=object)
    first = first[~first.index.duplicated()].reindex(items.index)
    return first.where(first.notna(), None).to_numpy(dtype=object)


def _concentration(
    figures: _Figures,
    measures: pa.Table,
    rest: pd.DataFrame,
    named: pd.DataFrame,
    face: pd.DataFrame,
    through: pd.DataFrame,
) -> list[pa.Table]:
    """I1a and I2a."""
    blocks = []
    for indicator, measure, column, top in (
        ("I1a", "face_value_hhi", "face_value_foreign", face),
        ("I2a", "content_hhi", "look_through_foreign", through),
    ):
        rows = _measure(measures, measure, figures.items)
        value = rows["value"].to_numpy(dtype=float)
        share = rest[column].reindex(figures.items.index).fillna(0.0).to_numpy(dtype=float)
        blocks.append(
            figures.block(
                indicator,
                value,
                _told(rows["reason"]),
                low=np.maximum(value - share**2, 0.0),
                high=value,
                country=top["country"],
                country_share=_at(named, column, top["row"]),
            )
        )
    return blocks


def _governance(figures: _Figures, foreign: pd.DataFrame, country_risk: pa.Table) -> pa.Table:
    """I2b."""
    scores = country_risk.select(["country", "year", "risk"]).to_pandas()
    scores = scores[scores["risk"].notna()]
    rows = foreign[foreign["look_through_foreign"].notna()].merge(scores, on=["country", "year"], how="left")
    scored = rows["risk"].notna()
    weighed = rows["look_through_foreign"] * rows["risk"].fillna(0.0)
    index = figures.items.index
    mass = rows["look_through_foreign"].where(scored, 0.0).groupby(rows["item"]).sum().reindex(index)
    total = rows["look_through_foreign"].groupby(rows["item"]).sum().reindex(index).to_numpy(dtype=float)
    risk = weighed.groupby(rows["item"]).sum().reindex(index).to_numpy(dtype=float)
    share = mass.to_numpy(dtype=float)
    value = np.divide(risk, share, out=np.full(len(index), np.nan), where=share > 0)
    years = set(scores["year"].tolist())
    unscored = ["no_governance_score" if y in years else "no_governance_data" for y in figures.items["year"]]
    lacking = _reasons(foreign, "look_through_foreign", figures.items)
    why = _pick(total > 0, unscored, _or(lacking, "no_foreign_inputs"))
    return figures.block(
        "I2b", value, why, governed=True, low=risk, high=np.minimum(risk + (total - share), 1.0), coverage=share
    )


def _hidden(figures: _Figures, foreign: pd.DataFrame, named: pd.DataFrame) -> pa.Table:
    """I4."""
    least = PUBLISHED["foreign_input_reliance"].number("least_reliance")
    wide = named[named["look_through"] >= least]
    top = _largest(wide, "hidden_ratio", figures.items)
    # By the figures: another reason, such as that nothing is sold on, may stand first in the row.
    without = set(wide.loc[~(wide["face_value_foreign"] > 0), "item"])
    open_at = figures.items.index.isin(without)
    lacking = _reasons(foreign, "look_through", figures.items)
    why = _or(lacking, _pick(open_at, "no_face_value", "below_reliance"))
    return figures.block(
        "I4",
        top["value"],
        why,
        notes=_pick(open_at, "no_face_value", None),
        country=top["country"],
        country_share=_at(named, "look_through", top["row"]),
    )


def _position(figures: _Figures, tiers: pa.Table, measures: pa.Table, through: pd.DataFrame) -> list[pa.Table]:
    """I5, I5a, I5b and I6."""
    items, leader = figures.items, through["country"].to_numpy(dtype=object)
    steps = _measure(measures, "upstreamness", items)
    away = _measure(measures, "propagation_length", items, leader)
    # Where there is no leader the reason is the industry's own, which every measure of inputs gives.
    behind = _told(_measure(measures, "content_hhi", items)["reason"])
    lacking = _or(behind, "rest_of_world_only")

    first = tiers.to_pandas()
    first = first[first["tier"] == 1]
    direct = _joined(items, leader, first, ["share"])["share"].to_numpy(dtype=float)
    ranked = measures.filter(pa.compute.equal(measures.column("measure"), "extraction_ghosh")).to_pandas()
    ranked = ranked[ranked["country"] != REST]
    ranked["rank"] = ranked.groupby(ITEM)["rank"].rank(method="min")
    lost = _joined(items, leader, ranked, ["rank", "reason"])
    ahead = ranked[ranked["rank"].notna()].sort_values([*ITEM, "rank", "country"]).drop_duplicates(ITEM)
    ahead = items[ITEM].merge(ahead[[*ITEM, "country", "rank"]], on=ITEM, how="left")
    return [
        figures.block("I5", steps["value"], _told(steps["reason"])),
        figures.block("I5a", away["value"], _or(_told(away["reason"]), lacking), country=leader),
        figures.block("I5b", np.clip(1.0 - direct, 0.0, 1.0), lacking, country=leader),
        figures.block(
            "I6",
            lost["rank"],
            _or(_told(lost["reason"]), lacking),
            notes=np.full(len(items), "rank_only", dtype=object),
            country=leader,
            worst_code=_told(ahead["country"]),
            worst_value=ahead["rank"].to_numpy(dtype=float),
        ),
    ]


def _measure(measures: pa.Table, name: str, items: pd.DataFrame, countries: Words | None = None) -> pd.DataFrame:
    """Value, rank and reason of a measure of each item; towards one country each where countries are given."""
    rows = measures.filter(pa.compute.equal(measures.column("measure"), name)).to_pandas()
    if countries is None:
        return items[ITEM].merge(rows[[*ITEM, "value", "rank", "reason"]], on=ITEM, how="left")
    return _joined(items, countries, rows[rows["country"].notna()], ["value", "rank", "reason"])


def _joined(items: pd.DataFrame, countries: Words, rows: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Columns of the rows of each item's country."""
    asked = items[ITEM].assign(country=pd.array(countries, dtype="str"))
    kept = rows[[*ITEM, "country", *columns]].assign(country=rows["country"].astype("str"))
    return asked.merge(kept[kept["country"].notna()], on=[*ITEM, "country"], how="left")


def _told(words: pd.Series) -> Words:
    """Words with None for what is missing."""
    held = words.astype(object)
    return held.where(held.notna(), None).to_numpy(dtype=object)


def _or(first: Words, second: Any) -> Words:
    """The first words, the second where there are none."""
    return _pick(pd.notna(first), first, second)


def _pick(where: Any, yes: Any, no: Any) -> Words:
    """Words by a condition."""
    held: Words = np.where(where, np.asarray(yes, dtype=object), np.asarray(no, dtype=object))
    return held


def _words(values: Any) -> pa.DictionaryArray:
    return pa.array([None if pd.isna(v) else str(v) for v in values], pa.string()).dictionary_encode()


def _floats(values: Any) -> pa.Array:
    held = np.asarray(values, dtype=float)
    return pa.array(held, pa.float64(), mask=np.isnan(held))
