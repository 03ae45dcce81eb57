"""Indirect figures of every HS6 code without a recipe in the catalogue: tiers 1 and 2 by the recipe of its industry.

Belongs here: concentration, governance and hidden exposure of the mixes of :mod:`ketenpipe.chain.proportional`, as
rows of level hs6 and basis ``icio_proportional``. Does not belong here: the mixes themselves, a verdict. One recipe
stands for all products of an industry: every figure is of low confidence, says so, and flags nothing (``indicated``
only).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ketenpipe.chain.catalogue import Reference
from ketenpipe.chain.proportional import EVIDENCE, REST, TIERS, TierMix, indicative_tiers
from ketenpipe.risk.definitions import METHOD_VERSION
from ketenpipe.risk.planes import Floats, Integers, node_tests, planes_of
from ketenpipe.risk.products import as_indicators, words_of
from ketenpipe.risk.thresholds import Thresholds
from ketenpipe.risk.world import Stamped
from ketenpipe.sources.icio import IcioTable
from ketenpipe.tables.registry import FLAGS
from ketenpipe.tables.registry import INDICATORS as INDICATOR_TABLE

#: What every figure rests on.
ASSUMPTION = "one_recipe_per_industry"
#: Why T cannot be told where its bounds differ.
UNDECIDED = "rest_of_world_decides"
FIGURES = ("O1", "G2", "T", "hidden_exposure")


@dataclass(frozen=True)
class ProductTiers:
    """One year.

    Attributes:
        indicators: contract ``indicators``: :data:`FIGURES` at tiers 1 and 2 of level hs6.
        flags: contract ``flags``: what T indicates; ``flagged`` is null throughout.
        product_tiers: contract ``product_tiers``: the largest inputs.
        with_recipe: (focus, HS revision) -> how many codes were left out, because the catalogue has a recipe for them.
    """

    indicators: pa.Table
    flags: pa.Table
    product_tiers: pa.Table
    with_recipe: dict[tuple[str, str], int]


def build_product_tiers(
    year: int,
    supply_mix: pa.Table,
    tracing: pa.Table,
    table: IcioTable,
    reference: Reference,
    risk: Mapping[str, float],
    thresholds: Thresholds,
    stamped: Stamped,
    industries: Mapping[str, Mapping[str, str]] | None = None,
) -> ProductTiers:
    """Indicative figures of tiers 1 and 2 for every product of a year without a recipe in the catalogue.

    - O1 ``= sum_{c not in f} x_n[c]^2``, not renormalised. The rest of the world counts as one region; ``low`` leaves
      it out of the sum, ``high`` adds unknown origin to the largest foreign region. It names that region;
      ``worst_code`` is the largest input (country_industry) and ``worst_value`` its share.
    - G2: governance risk of the foreign part, renormalised over countries with a score (the rest of the world has
      none).
    - T: ``O1 > limit and G2 > limit``, 1 or 0; ``low`` and ``high`` by the bounds of both.
    - hidden_exposure: ``max_c x_n[c] - x_0[c]`` over foreign countries that deliver inputs, the rest of the world left
      out; ``low`` as if all unknown origin of tier 0 were of that country, ``high`` as if all of tier n were. It can be
      below 0: then no country has more of the inputs than of the product.

    Args:
        year: of trade.
        supply_mix, tracing: the year's tables, all foci and HS revisions; what was traced and has no supply says so.
        table: the input-output table of :func:`ketenpipe.chain.proportional.recipe_year`.
        reference: blocs, and the catalogue, whose recipes override.
        risk: country -> G1 of the year; empty without governance data.
        thresholds: cut-offs of T.
        stamped: vintages.
        industries: HS revision -> code -> industry; None: by the table's edition.

    Raises:
        WrongUse, InputRefused: as :func:`ketenpipe.chain.proportional.indicative_tiers`.
    """
    traced = _traced(tracing)
    mixed = indicative_tiers(supply_mix, table, reference, year, industries, codes=traced)
    found = [
        _Figures(mix, traced.get((mix.view.focus, mix.hs_revision), {}), risk, thresholds, stamped)
        for mix in mixed.mixes
    ]
    return ProductTiers(
        as_indicators(block for figures in found for block in figures.blocks()),
        FLAGS.conform(pa.concat_tables([FLAGS.empty(), *(figures.flags() for figures in found)])),
        mixed.product_tiers,
        {(mix.view.focus, mix.hs_revision): mix.with_recipe for mix in mixed.mixes},
    )


def _traced(tracing: pa.Table) -> dict[tuple[str, str], dict[str, str | None]]:
    """(focus, HS revision) -> code -> why it was not traced; None where it was, by either measure."""
    names = ["focus", "hs_revision", "code", "own_share", "reason"]
    out: dict[tuple[str, str], dict[str, str | None]] = {}
    for focus, revision, code, own, reason in zip(*(tracing.column(n).to_pylist() for n in names), strict=True):
        held = out.setdefault((focus, revision), {})
        held[code] = None if own is not None or (code in held and held[code] is None) else reason
    return out


@dataclass(frozen=True)
class _Tier:
    """The figures of one tier, shape (P); NaN where there is none. ``top`` and ``hidden_at`` are places of regions."""

    o1: Floats
    o1_low: Floats
    o1_high: Floats
    top: Integers
    top_share: Floats
    g2: Floats
    g2_low: Floats
    g2_high: Floats
    coverage: Floats
    foreign: Floats
    test: Floats
    undecided: npt.NDArray[np.bool_]
    hidden: Floats
    hidden_low: Floats
    hidden_high: Floats
    hidden_at: Integers
    hidden_share: Floats


class _Figures:
    """The rows of one focus and HS revision."""

    def __init__(
        self,
        mix: TierMix,
        untraced: Mapping[str, str | None],
        risk: Mapping[str, float],
        thresholds: Thresholds,
        stamped: Stamped,
    ) -> None:
        self.mix, self.risk, self.thresholds = mix, risk, thresholds
        told = np.array([untraced.get(code) or "no_supply" for code in mix.codes], dtype=object)
        self.nothing = np.where(mix.reasons == "no_supply", told, mix.reasons)
        view = mix.view
        self.regions = view.names
        kinds = [
            stamped.vintage(mix.hs_revision, view.year, *k) for k in (("baci", "mining"), ("baci", "mining", "wgi"))
        ]
        recipe = f"icio {view.table.edition} {view.table.year}"
        self.stamp, self.governed = (f"{k}; {recipe}" if k else recipe for k in kinds)
        self.tiers = {tier: self._tier(tier) for tier in TIERS}

    def _tier(self, tier: int) -> _Tier:
        mix = self.mix
        count, regions = len(mix.codes), len(self.regions)
        own = mix.view.own
        shares, start = mix.shares[tier], mix.shares[0]
        known = np.isfinite(shares[:, -1])
        rest = self.regions.index(REST) if REST in self.regions else -1
        vector, at = np.nonzero(np.nan_to_num(shares) > 0)
        risks = np.array([self.risk.get(c, np.nan) for c in self.regions] + [np.nan])
        planes = planes_of(vector, shares[vector, at], count, own=at == own, unknown=at == regions, risk=risks[at])
        o1, o1_high, g2, g2_high, coverage = (
            np.where(known, a, np.nan) for a in (planes.o1, planes.o1_high, planes.g2, planes.g2_high, planes.coverage)
        )
        of_rest = np.nan_to_num(shares[:, rest]) if rest >= 0 and rest != own else np.zeros(count)
        o1_low = np.maximum(o1 - of_rest**2, 0.0)
        # The rest of the world is unscored: G2 is that of the others, whichever way O1 counts it.
        g2_low, g2_high = np.fmin(g2, g2_high), np.fmax(g2, g2_high)
        limits = self.thresholds
        tests = [
            np.where(known, node_tests(o, g, limits.T_hhi.flag, limits.T_wgi.flag), np.nan)
            for o, g in ((o1, g2), (o1_low, g2_low), (o1_high, g2_high))
        ]
        top = np.where(planes.top >= 0, at[np.maximum(planes.top, 0)] if len(at) else -1, -1)
        gap = shares[:, :-1] - start[:, :-1]
        foreign = np.array([k not in (own, rest) for k in range(regions)], dtype=bool)
        gap = np.where(foreign & (np.nan_to_num(shares[:, :-1]) > 0), gap, -np.inf)
        hidden_at = gap.argmax(axis=1) if regions else np.zeros(count, dtype=np.int64)
        every = np.arange(count)
        hidden = gap[every, hidden_at]
        some = np.isfinite(hidden)
        hidden = np.where(some, hidden, np.nan)
        return _Tier(
            o1=o1,
            o1_low=o1_low,
            o1_high=o1_high,
            top=top,
            top_share=np.where(top >= 0, shares[every, np.maximum(top, 0)], np.nan),
            g2=g2,
            g2_low=g2_low,
            g2_high=g2_high,
            coverage=coverage,
            foreign=planes.foreign,
            # Where the rest of the world or unknown origin decides, nothing can be told.
            test=np.where(tests[1] == tests[2], tests[0], np.nan),
            undecided=np.isfinite(tests[0]) & (tests[1] != tests[2]),
            hidden=hidden,
            hidden_low=np.where(some, np.maximum(hidden - np.nan_to_num(start[:, -1]), -1.0), np.nan),
            hidden_high=np.where(some, np.minimum(hidden + np.nan_to_num(shares[:, -1]), 1.0), np.nan),
            hidden_at=np.where(some, hidden_at, -1),
            hidden_share=np.where(some, shares[every, hidden_at], np.nan),
        )

    def blocks(self) -> list[pa.Table]:
        """A block of rows for each figure and tier."""
        out = []
        unscored = "no_governance_score" if self.risk else "no_governance_data"
        for tier, found in self.tiers.items():
            # Without a foreign part there is nothing to score: that is the reason, whatever the scores are.
            why = np.where(found.foreign > 0, unscored, "no_foreign_supply").astype(object)
            inputs = self.mix.largest[tier - 1]
            out += [
                self._block(
                    tier, "O1", found.o1, low=found.o1_low, high=found.o1_high, stamp=self.stamp,
                    country=self._named(found.top), country_share=_figures(found.top_share),
                    worst_code=_words(inputs), worst_value=_figures(self.mix.largest_share[tier - 1]),
                ),
                self._block(
                    tier, "G2", found.g2, why, low=found.g2_low, high=found.g2_high, stamp=self.governed,
                    coverage=_figures(found.coverage),
                ),
                self._block(
                    tier, "T", found.test, np.where(found.undecided, UNDECIDED, why), low=found.test,
                    high=found.test, stamp=self.governed,
                    coverage=_figures(found.coverage),
                ),
                self._block(
                    tier, "hidden_exposure", found.hidden, low=found.hidden_low, high=found.hidden_high,
                    stamp=self.stamp, country=self._named(found.hidden_at),
                    country_share=_figures(found.hidden_share),
                ),
            ]  # fmt: skip
        return out

    def flags(self) -> pa.Table:
        """What T indicates, in contract ``flags``; never a verdict."""
        mix, parts = self.mix, [FLAGS.empty()]
        for tier, found in self.tiers.items():
            null = ~np.isfinite(found.test)
            at = np.flatnonzero(~null)
            reasons = self._reasons(self.nothing[tier - 1], None, null).cast(pa.string())
            fixed: dict[str, Any] = {
                "focus": mix.view.focus, "level": "hs6", "hs_revision": mix.hs_revision, "tier": tier,
                "year": mix.view.year, "method": "node_test", "method_version": METHOD_VERSION,
            }  # fmt: skip
            given = {
                **{n: pa.repeat(pa.scalar(v, FLAGS.column(n).type), len(at)) for n, v in fixed.items()},
                "code": pa.array(mix.codes, pa.string()).take(pa.array(at)),
                "indicated": pa.array(found.test[at] == 1),
                "reason": reasons.take(pa.array(at)),
            }
            columns = [given[c.name] if c.name in given else pa.nulls(len(at), c.type) for c in FLAGS.columns]
            parts.append(pa.table(columns, schema=FLAGS.schema()))
        return pa.concat_tables(parts)

    def _named(self, at: Integers) -> pa.DictionaryArray:
        return words_of(at, self.regions)

    def _block(
        self,
        tier: int,
        indicator: str,
        value: Floats,
        why: npt.NDArray[np.object_] | None = None,
        *,
        low: Floats,
        high: Floats,
        stamp: str,
        **named: Any,
    ) -> pa.Table:
        mix, count = self.mix, len(value)
        null = np.isnan(value)
        fixed: dict[str, Any] = {
            "focus": mix.view.focus, "level": "hs6", "hs_revision": mix.hs_revision, "tier": tier,
            "year": mix.view.year, "indicator": indicator, "measure": "v", "basis": EVIDENCE, "source_vintage": stamp,
        }  # fmt: skip
        reasons = self._reasons(self.nothing[tier - 1], why, null)
        given = {n: pa.repeat(pa.scalar(v, INDICATOR_TABLE.column(n).type), count) for n, v in fixed.items()}
        for n in ("focus", "level", "hs_revision", "indicator", "measure", "basis", "source_vintage"):
            given[n] = words_of(np.zeros(count, dtype=np.int64), [fixed[n]])
        return pa.table(
            {
                **given,
                "code": pa.array(mix.codes, pa.string()).dictionary_encode(),
                "value": _figures(value),
                "low": _figures(np.where(null, np.nan, low)),
                "high": _figures(np.where(null, np.nan, high)),
                "reason": reasons,
                "confidence": words_of(np.where(null, -1, 0), ["low"]),
                **named,
            }
        )

    def _reasons(
        self, nothing: npt.NDArray[np.object_], why: npt.NDArray[np.object_] | None, null: npt.NDArray[np.bool_]
    ) -> pa.DictionaryArray:
        """Why a figure is null, and the assumption that the others rest on."""
        view = self.mix.view
        notes = [ASSUMPTION, *(["synthetic"] if view.table.synthetic else [])]
        notes += ["recipe_of_another_year"] if view.table.year != view.year else []
        by_value = ~self.mix.by_mass & np.isfinite(self.mix.shares[0, :, -1])
        told = np.where(~by_value, "; ".join(notes), "; ".join([*notes, "origin_by_value"])).astype(object)
        first = nothing if why is None else np.where(nothing.astype(bool), nothing, why)
        first = np.where(null & ~first.astype(bool), "no_foreign_supply", first)
        words = [f"{f}; {t}" if n else t for f, t, n in zip(first, told, null, strict=True)]
        return pa.array(words, pa.string()).dictionary_encode()


def _figures(values: Floats) -> pa.Array:
    return pa.array(values, pa.float64(), mask=np.isnan(values))


def _words(values: Sequence[str | None] | npt.NDArray[np.object_]) -> pa.DictionaryArray:
    return pa.array(list(values), pa.string()).dictionary_encode()
