"""Monte Carlo of criticality: import reliance, GeoPolRisk and the EC's supply risk in every draw, and their verdicts.

Belongs here: IR, G4, G5s and G5 of :mod:`ketenpipe.risk.criticality` in all columns of the draws (column 0 has no
noise: it is the published figure), the rank of GeoPolRisk within each draw, and the verdicts of ``geopolrisk`` and
``ec_criticality``. Does not belong here: which codes and nodes have these figures, and why one has none
(:mod:`ketenpipe.risk.criticality`); noise (:mod:`ketenpipe.risk.draws`).

The worlds are those of the direct figures: a flow by mass, a producer's part of its material and a country's score
have the same factor here as in C4b, C3 and G2. Own production is a figure of the same statistic as the concentration of
world production beside it, so it has the same factor. A listed country without a figure takes its export surplus in
the draw, times the factor of what is imputed. Recycling rates and substitution indices have no error: their sources
state none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ketenpipe.chain.tracing import UNKNOWN
from ketenpipe.chain.worldmix import WorldMix
from ketenpipe.risk.criticality import Inputs, Scene, Target, trusted
from ketenpipe.risk.criticality_formulas import EC_SCALE, UNSCORED_RISK, import_reliance, supply_risk
from ketenpipe.risk.definitions import METHOD_VERSION
from ketenpipe.risk.direct import EU27
from ketenpipe.risk.draws import HIGH, LOW, Noise, Places, flag_share, read_codes, summarise, weighed
from ketenpipe.risk.methods import SOFT_BASES
from ketenpipe.risk.planes import Floats
from ketenpipe.risk.product_draws import ranks
from ketenpipe.risk.published import PUBLISHED, Limit
from ketenpipe.risk.world import World
from ketenpipe.tables.registry import DRAWN_VERDICTS, FLAGS, UNCERTAINTY

#: Figures that are drawn.
DRAWN = ("IR", "G4", "G5s", "G5")
_LIMITS: Mapping[str, Limit] = {limit.indicator: limit for limit in PUBLISHED["ec_criticality"].limits}


# -- formulas, column by column ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class DrawnConcentration:
    """:class:`ketenpipe.risk.criticality_formulas.Concentration` in every column, shapes (columns)."""

    value: Floats
    high: Floats


def hhi_wgi_in_draws(shares: Floats, risk: Floats, unknown: Floats | float = 0.0) -> DrawnConcentration:
    """:func:`ketenpipe.risk.criticality_formulas.hhi_wgi` in every column.

    Args:
        shares: shape (countries, columns), of mixes that sum to 1 with ``unknown``.
        risk: G1, shape (countries, columns); NaN without a score, then in every column.
        unknown: share of unknown origin, shape (columns).
    """
    scored = ~np.isnan(risk[:, 0])
    columns = shares.shape[1]
    held, squares = shares[scored], shares * shares
    some = shares.sum(axis=0) > 0
    value = EC_SCALE * (held * held * risk[scored]).sum(axis=0) if scored.any() else np.full(columns, np.nan)
    worst = np.where(scored[:, np.newaxis], risk, 1.0)
    top = (np.argmax(shares, axis=0), np.arange(columns))
    largest = shares[top]
    raised = ((largest + unknown) ** 2 - largest**2) * worst[top]
    nothing = np.where(unknown > 0, EC_SCALE * np.square(unknown), np.nan)
    high = np.where(some, EC_SCALE * ((squares * worst).sum(axis=0) + raised), nothing)
    return DrawnConcentration(np.where(some, value, np.nan), high)


def geopolrisk_in_draws(
    concentration: Floats, imports: Floats, risk: Floats, production: Floats, production_any_form: Floats
) -> tuple[Floats, Floats]:
    """``value`` and ``published`` of :func:`ketenpipe.risk.criticality_formulas.geopolrisk` in every column.

    Args:
        concentration: HHI of world production, shape (columns).
        imports: mass per origin outside the focus, shape (origins, columns).
        risk: G1 per origin, same shape; NaN without a score, then in every column.
        production, production_any_form: of the focus, shape (columns); NaN if not known.
    """
    scored = ~np.isnan(risk[:, 0])
    total, known = imports.sum(axis=0), imports[scored].sum(axis=0)
    weighed_risk = (imports[scored] * risk[scored]).sum(axis=0)
    some = total > 0

    def score(weight: Floats, own: Floats) -> Floats:
        supply = total + own
        return concentration * np.where(some, weight, 0.0) / np.where(supply > 0, supply, np.nan)

    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(some, weighed_risk / known * total, 0.0)
    published = score(weighed_risk + UNSCORED_RISK * (total - known), production_any_form)
    return score(mean, production), published


def sourcing_bound_in_draws(imports: Floats, risk: Floats, own_risk: Floats) -> Floats:
    """:func:`ketenpipe.risk.criticality_formulas.sourcing_bound` in every column; last axis of all: columns."""
    total = imports.sum(axis=0)
    bought = hhi_wgi_in_draws(imports / np.where(total > 0, total, 1.0), risk).high
    alone = EC_SCALE * np.where(np.isnan(own_risk), 1.0, own_risk).max(axis=0)
    return np.where(total > 0, np.fmax(alone, bought), alone)


def beyond(values: Floats, limit: Limit) -> Floats:
    """Whether figures are beyond a limit: 1 or 0, NaN where the figure is."""
    held = values >= limit.cut if limit.at_least else values > limit.cut
    return np.where(np.isnan(values), np.nan, held)


def both(a: Floats, b: Floats) -> Floats:
    """And with unknowns: false wins, then unknown."""
    return np.where((a == 0) | (b == 0), 0.0, a * b)


def top_quarter(scores: Floats) -> tuple[npt.NDArray[np.int64], Floats]:
    """Ranks of scores within each column, 1 the largest, and whether each is in the top quarter of those that rank.

    Args:
        scores: shape (items, columns); NaN does not rank.

    Returns:
        Ranks, and 1, 0 or NaN (no score); both of the shape of ``scores``.
    """
    there = ~np.isnan(scores)
    found = ranks(scores)
    inside = found <= PUBLISHED["geopolrisk"].number("quarter") * there.sum(axis=0)
    return found, np.where(there, inside, np.nan)


# -- a year ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CriticalityDraws:
    """What the draws of a year say: tables ``uncertainty`` and ``drawn_verdicts``."""

    uncertainty: pa.Table
    verdicts: pa.Table


def build_criticality_draws(world: World, inputs: Inputs, year: int, noise: Noise) -> CriticalityDraws:
    """The draws of IR, G4, G5s and G5 of a year, and of the verdicts of ``geopolrisk`` and ``ec_criticality``.

    Where the published figure cannot be had, neither can its draws. The ranks beside G4 are those of ``geopolrisk``,
    by the score as its publication computes it: within each draw, among the items of a focus, level and HS revision;
    a code has one also where G4 itself is null. Economic importance has no errors.

    Args:
        world: of the year, as for :func:`ketenpipe.risk.criticality.build_criticality`.
        inputs: the optional inputs; elasticities are not needed.
        year: the year.
        noise: tables of factors; the same as for the other figures of the year.
    """
    drawn = _Year(world, year, inputs, noise)
    found = list(drawn.figures())
    placed = [(f, place) for f in found for place in f.places]
    ranked = _ranked(placed)
    return CriticalityDraws(_uncertainty(placed, ranked, year, noise), _verdicts(placed, ranked, year, noise))


@dataclass(frozen=True)
class _Found:
    """The figures of a code or node as a focus sees it, in every column.

    Args:
        places: level, code, group and tier of the rows that it has.
        focus, revision: whose, and by which codes.
        rows: indicator -> row of table ``criticality_indicators``.
        figures: indicator -> shape (columns).
        score: what ``geopolrisk`` ranks by.
        suggested: what ``ec_criticality`` takes for the supply risk; NaN where there is none.
        told: whether the supply risk is beyond its limit, where that may be told.
        importance: whether EI is beyond its limit, and the same where that may be told.
    """

    places: list[dict[str, Any]]
    focus: str
    revision: str | None
    rows: dict[str, dict[str, object]]
    figures: dict[str, Floats]
    score: Floats
    suggested: Floats
    told: Floats
    importance: tuple[Floats, Floats]


class _Year:
    """All codes and nodes of a year with criticality, in every column."""

    def __init__(self, world: World, year: int, inputs: Inputs, noise: Noise) -> None:
        self.scene, self.noise, self.year = Scene(world, year, inputs), noise, year
        self.columns = noise.draws.columns
        flows = world.flows.filter(pc.equal(world.flows.column("year"), year))
        self.codes = {(c.revision, c.code): c for c in read_codes(flows, world.reference, self.scene.mining)}
        self.risk = self._scores(world)
        self._sums: dict[tuple[str | None, tuple[str, ...]], _Sums] = {}

    def _scores(self, world: World) -> dict[str, Floats]:
        """G1 of every scored country, shape (columns)."""
        held = world.country_risk.filter((pc.field("year") == self.year) & pc.field("risk").is_valid())
        found: dict[str, Floats] = {}
        for row in held.to_pylist():
            drawn = self.noise.risk(row["country"], self.year, row["estimate"], row["standard_error"])
            found[row["country"]] = drawn.astype(np.float64)
            found[row["country"]][0] = row["risk"]
        return found

    def figures(self) -> Iterator[_Found]:
        """Codes first, then nodes; each with the rows that it has."""
        scene = self.scene
        for target in scene.products:
            yield from self._of(target, "hs6", [{"level": "hs6", "code": target.name, "group": None, "tier": 0}])
            self._sums.clear()
        for key, target in scene.nodes.items():
            yield from self._of(target, "node", list(scene.places(key)))
            self._sums.clear()  # all of them would not fit into memory

    def _of(self, target: Target, level: str, places: list[dict[str, Any]]) -> Iterator[_Found]:
        for focus in self.scene.foci:
            rows = {str(row["indicator"]): row for row in self.scene.figures(target, level, focus)}
            figures = _Figures(self, target, level, focus, rows)
            yield _Found(
                places, focus, target.revision, rows, figures.found, figures.score, figures.suggested,
                figures.told, self._importance(rows.get("EI")),
            )  # fmt: skip

    def _importance(self, row: Mapping[str, object] | None) -> tuple[Floats, Floats]:
        """Whether EI is beyond its limit, and the same where its basis says something of the material."""
        value = None if row is None else row.get("value")
        raw = beyond(np.full(self.columns, np.nan if value is None else value, dtype=float), _LIMITS["EI"])
        soft = row is None or row["basis"] in SOFT_BASES
        return raw, np.full(self.columns, np.nan) if soft else raw

    # -- inputs in every column

    def factors(self, what: str, basis: str, countries: Sequence[str]) -> Floats:
        """Factors of what countries make of something, shape (countries, columns)."""
        rows = Places(countries).makers(what, self.year)
        found: Floats = self.noise.production(basis)[rows].astype(np.float64)
        return found

    def risks(self, countries: Iterable[str]) -> Floats:
        """G1 of countries, shape (countries, columns); NaN without a score."""
        nothing = np.full(self.columns, np.nan)
        return np.array([self.risk.get(c, nothing) for c in countries]).reshape(-1, self.columns)

    def shares(self, mix: WorldMix) -> tuple[tuple[str, ...], Floats, Floats]:
        """A world production mix: its countries, their shares of shape (countries, columns), and what is unknown.

        Each producer's part has its own factor, what no figure covers keeps its part; shares sum to 1 again.
        """
        names = tuple(sorted(c for c in mix.shares if c != UNKNOWN))
        held = np.array([mix.shares[c] for c in names])[:, np.newaxis]
        held = held * self.factors(f"material {mix.material}", mix.basis, names)
        unknown = np.full(self.columns, mix.shares.get(UNKNOWN, 0.0))
        total = held.sum(axis=0) + unknown
        return names, held / total, unknown / total

    def sums(self, target: Target) -> _Sums:
        """Flows by mass of a target's codes; kept until the next target."""
        key = (target.revision, target.codes)
        if key not in self._sums:
            self._sums[key] = _Sums.of(self, target)
        return self._sums[key]

    def own(self, target: Target, focus: str) -> dict[str, Floats] | None:
        """Production of the traded form by the members of a focus (see :meth:`Scene.own`); None if not known."""
        found: dict[str, Floats] = {}
        if target.parts:
            for part in target.parts:
                for country, made in (self.own(part, focus) or {}).items():
                    found[country] = found.get(country, 0.0) + made
            return found
        if target.statistic is None:
            return None
        countries = sorted(self.scene.members[focus] - target.barred)
        quantities = np.array([target.statistic.quantities.get(c, 0.0) for c in countries], dtype=float)
        made = quantities[:, np.newaxis] * self.factors(*_statistic_of(target), countries)
        gaps = [k for k, q in enumerate(quantities) if np.isnan(q)]
        if gaps:
            name = target.codes[0] if len(target.codes) == 1 else target.name
            guessed = self.factors(f"{target.revision} {name}", "imputed", [countries[k] for k in gaps])
            made[gaps] = self.sums(target).surplus([countries[k] for k in gaps]) * guessed
        return dict(zip(countries, made, strict=True))

    def any_form(self, target: Target, focus: str) -> Floats:
        """What the members make of the material in whatever form, shape (columns); NaN if it is no mass."""
        if target.any_form is None:
            return np.full(self.columns, np.nan)
        members = self.scene.members[focus]
        made = {c: q for c, q in target.any_form.items() if c in members and not np.isnan(q)}
        if self.scene.tonnes(target.material) is not None:
            what = (f"material {target.material}", "observed")
        else:
            what = _statistic_of(target.parts[0] if target.parts else target)
        factors = self.factors(*what, tuple(made))
        found: Floats = np.array([*made.values()], dtype=float) @ factors
        return found


def _statistic_of(target: Target) -> tuple[str, str]:
    """What the noise of a target's statistic is named after, and its basis."""
    assert target.statistic is not None
    basis = target.statistic.basis
    return f"material {target.material if basis == 'observed' else target.name}", basis


@dataclass(frozen=True)
class _Sums:
    """Sums over the flows of some codes by mass, in every column.

    Args:
        countries: their codes, rising.
        bought: focus -> what it buys of each country outside it, shape (countries, columns).
        sold: focus -> what it sells outside it, shape (columns).
        net: what each country sells beyond what it buys, shape (countries, columns).
    """

    countries: tuple[str, ...]
    bought: Mapping[str, Floats]
    sold: Mapping[str, Floats]
    net: Floats

    @classmethod
    def of(cls, year: _Year, target: Target) -> _Sums:
        """Add up the flows of a target."""
        codes = [c for code in target.codes if (c := year.codes.get((str(target.revision), code))) is not None]
        countries = tuple(sorted({UNKNOWN, *(c for code in codes for c in code.countries)}))
        place = {c: k for k, c in enumerate(countries)}
        n, foci, noise = len(countries), year.scene.foci, year.noise
        inside = [np.array([c in year.scene.members[f] for c in countries], dtype=bool) for f in foci]
        count = len(foci) * (n + 1) + n
        found, plain = np.zeros((count, noise.draws.columns)), np.zeros(count)
        for code in codes:
            data = code.measured("q")
            at = np.array([place[c] for c in data.countries], dtype=np.int64)
            sender, receiver = at[data.sender], at[data.receiver]
            every = np.arange(len(sender))
            last = len(foci) * (n + 1)
            parts = [(last + sender, every, 1.0), (last + receiver, every, -1.0)]
            for k, own in enumerate(inside):
                bought = np.flatnonzero(~own[sender] & own[receiver])
                sold = np.flatnonzero(own[sender] & ~own[receiver])
                parts.append((k * (n + 1) + sender[bought], bought, 1.0))
                parts.append((np.full(len(sold), k * (n + 1) + n), sold, 1.0))
            row, flow = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
            sign = np.concatenate([np.full(len(part[1]), part[2]) for part in parts])
            amount = data.amount[flow] * sign
            noisy = Places(data.countries).flows(data.revision, data.code, data.year, data.sender, data.receiver)
            plain += np.bincount(row, amount, count)
            summing = weighed(row, count, noisy[flow], amount, noise.precision)
            for table, columns in zip(noise.flows("q"), noise.draws.blocks, strict=True):
                found[:, columns] += summing @ table
        found[:, 0] = plain
        own_rows = [found[k * (n + 1) : (k + 1) * (n + 1)] for k in range(len(foci))]
        return cls(
            countries,
            {f: rows[:n] for f, rows in zip(foci, own_rows, strict=True)},
            {f: rows[n] for f, rows in zip(foci, own_rows, strict=True)},
            found[len(foci) * (n + 1) :],
        )

    def surplus(self, countries: Sequence[str]) -> Floats:
        """What countries export beyond their imports, shape (countries, columns); 0 where they do not."""
        place = {c: k for k, c in enumerate(self.countries)}
        nothing = np.zeros(self.net.shape[1])
        return np.array([np.maximum(self.net[place[c]], 0.0) if c in place else nothing for c in countries])


class _Figures:
    """IR, G4, G5s and G5 of a code or node for a focus, in every column.

    Attributes:
        found: indicator -> shape (columns), of the figures whose rows there are.
        score, suggested, told: as :class:`_Found` has them.
    """

    def __init__(
        self, year: _Year, target: Target, level: str, focus: str, rows: Mapping[str, Mapping[str, object]]
    ) -> None:
        self._year, self._target, self._focus, self._rows = year, target, focus, rows
        nothing = np.full(year.columns, np.nan)
        self.found = {name: nothing for name in DRAWN if name in rows}
        self.score = self.suggested = self.told = nothing
        self.level = level
        if target.codes:
            sums = year.sums(target)
            self._origins, self._imports = sums.countries, sums.bought[focus]
            self._exports = sums.sold[focus]
            self._own = year.own(target, focus)
            self._reliance()
            self._geopolrisk()
            self._sourced = self._sourcing()
        self._supply_risk()

    def _published(self, indicator: str, column: str = "value") -> bool:
        """Whether a figure is published."""
        return indicator in self._rows and self._rows[indicator].get(column) is not None

    @property
    def _made(self) -> Floats:
        """Own production in all, shape (columns); NaN if not known."""
        if self._own is None:
            return np.full(self._year.columns, np.nan)
        return np.sum([np.zeros(self._year.columns), *self._own.values()], axis=0)

    def _reliance(self) -> None:
        if self._published("IR"):
            self.found["IR"] = import_reliance(self._imports.sum(axis=0), self._exports, self._made)

    def _geopolrisk(self) -> None:
        year, mix = self._year, self._target.mix
        if mix is None or not (self._published("G4") or self._published("G4", "method_value")):
            return
        _, shares, _ = year.shares(mix)
        value, published = geopolrisk_in_draws(
            (shares * shares).sum(axis=0), self._imports, year.risks(self._origins), self._made,
            year.any_form(self._target, self._focus),
        )  # fmt: skip
        if self._published("G4"):
            self.found["G4"] = value
        self.score = published if self._published("G4", "method_value") else value

    def _supply_risk(self) -> None:
        year, target, mix = self._year, self._target, self._target.mix
        if mix is None:
            return
        names, shares, unknown = year.shares(mix)
        world = hhi_wgi_in_draws(shares, year.risks(names), unknown)
        rate, index = (trusted(year.scene.parameter(n, target)) for n in ("eol_rir", "si_sr"))
        fallback = world.value * (1 - rate) * index
        value, bound = np.full(year.columns, np.nan), np.full(year.columns, np.nan)
        if target.codes:
            value, highest = self._bracket(world, rate, index)
            bound = highest * (1 - (0.0 if np.isnan(rate) else rate)) * (1.0 if np.isnan(index) else index)
        if self._published("G5"):
            self.found["G5"] = self.suggested = value
            self.told = beyond(value, _LIMITS["G5"])
            return
        if self._published("G5", "method_value"):
            self.suggested = fallback
        elif self._published("G5", "high"):
            self.suggested = bound
        if self._published("G5", "high"):
            below = (beyond(bound, _LIMITS["G5"]) == 0) & (beyond(self.suggested, _LIMITS["G5"]) == 0)
            self.told = np.where(below, 0.0, np.nan)

    def _sourcing(self) -> DrawnConcentration:
        """HHI_WGI of what the focus makes and imports; where production is not known the largest that it can be."""
        year, risk = self._year, self._year.risks(self._origins)
        if self._own is None:
            members = year.risks(sorted(year.scene.members[self._focus]))
            return DrawnConcentration(
                np.full(year.columns, np.nan), sourcing_bound_in_draws(self._imports, risk, members)
            )
        amounts = np.concatenate([self._imports, np.array([*self._own.values()]).reshape(-1, year.columns)])
        total = amounts.sum(axis=0)
        found = hhi_wgi_in_draws(
            amounts / np.where(total > 0, total, 1.0), np.concatenate([risk, year.risks(self._own)])
        )
        if self._published("G5s"):
            self.found["G5s"] = found.value
        return found

    def _bracket(self, world: DrawnConcentration, rate: float, index: float) -> tuple[Floats, Floats]:
        """G5, and the largest bracket of it that the data allow; shapes (columns)."""
        sourcing = self._sourced
        if self._own is None:
            return sourcing.value, np.maximum(sourcing.high, (world.high + sourcing.high) / 2)
        reliance = import_reliance(self._imports.sum(axis=0), self._exports, self._made)
        value = supply_risk(world.value, sourcing.value, reliance, rate, index)
        return value, supply_risk(world.high, sourcing.high, reliance, 0.0, 1.0)


# -- tables ------------------------------------------------------------------------------------------------------

Placed = tuple[_Found, dict[str, Any]]
"""Figures, and a place where they stand."""
Ranked = dict[tuple[str, str | None, str, str], tuple[npt.NDArray[np.int64], Floats, int]]
"""Focus, HS revision, level, code: ranks and top quarter in every column, and among how many without noise."""


def _ranked(placed: Sequence[Placed]) -> Ranked:
    """GeoPolRisk's ranks within focus, level and HS revision; a code that stands in several groups counts once."""
    scores: dict[tuple[str, str | None, str], dict[str, Floats]] = {}
    for found, place in placed:
        if not np.isnan(found.score[0]):
            held = scores.setdefault((found.focus, found.revision, place["level"]), {})
            held[place["code"]] = found.score
    out: Ranked = {}
    for key, held in scores.items():
        rank, top = top_quarter(np.array([*held.values()]))
        out |= {(*key, code): (rank[k], top[k], len(held)) for k, code in enumerate(held)}
    return out


def _place(found: _Found, place: Mapping[str, Any], row: Mapping[str, object], year: int) -> dict[str, Any]:
    """The key of a figure."""
    named = {n: row[n] for n in ("indicator", "measure", "basis")}
    return {"focus": found.focus, "hs_revision": found.revision, "year": year, **place, **named}


def _uncertainty(placed: Sequence[Placed], ranked: Ranked, year: int, noise: Noise) -> pa.Table:
    draws = noise.draws
    kept = [(found, place, name) for found, place in placed for name in found.figures]
    values = np.array([found.figures[name] for found, _, name in kept]).reshape(-1, draws.columns)
    summary = summarise(np.where(np.isnan(values[:, :1]), np.nan, values), draws)
    rows = []
    for k, (found, place, name) in enumerate(kept):
        limit = _LIMITS.get(name)
        most = int(summary.matters_most[k])
        row = _place(found, place, found.rows[name], year) | {
            "value": summary.value[k],
            "draws": int(summary.draws[k]),
            "low": summary.low[k],
            "high": summary.high[k],
            "mean": summary.mean[k],
            "threshold": None if limit is None else limit.cut,
            "flag_share": None if limit is None else _flag_share(values[k : k + 1], limit, noise),
            "matters_most": draws.families[most] if most >= 0 else None,
            "reason": found.rows[name].get("reason"),
            "method_version": METHOD_VERSION,
        }
        own = ranked.get((found.focus, found.revision, place["level"], place["code"])) if name == "G4" else None
        if own is not None:
            rank, _, count = own
            low, high = np.quantile(rank[draws.drawn], [LOW, HIGH], method="inverted_cdf")
            row |= {"rank": int(rank[0]), "rank_low": int(low), "rank_high": int(high), "ranked": count}
        rows.append(row)
    return UNCERTAINTY.conform(rows)


def _flag_share(values: Floats, limit: Limit, noise: Noise) -> float:
    """Share of the draws of one figure that lie beyond its limit."""

    def holds(drawn: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.bool_]:
        return beyond(drawn.astype(np.float64), limit) == 1

    return float(flag_share(values, noise.draws, holds)[0])


def _verdicts(placed: Sequence[Placed], ranked: Ranked, year: int, noise: Noise) -> pa.Table:
    draws = noise.draws
    rows = []

    def judge(place: Mapping[str, Any], method: str, raw: Floats, told: Floats) -> None:
        drawn = raw[draws.drawn]
        there = ~np.isnan(drawn)
        rows.append(
            {k: v for k, v in place.items() if k in FLAGS.key}
            | {
                "method": method,
                "draws": draws.count,
                "flagged_share": (drawn == 1).sum() / there.sum() if there.any() else None,
                "verdict_share": there.mean(),
                "told_share": (~np.isnan(told[draws.drawn])).mean(),
                "method_version": METHOD_VERSION,
            }
        )

    nothing = np.full(draws.columns, np.nan)
    for found, place in placed:
        if "G4" in found.rows:
            key = (found.focus, found.revision, place["level"], place["code"])
            top = ranked[key][1] if key in ranked else nothing
            judge(_place(found, place, found.rows["G4"], year), "geopolrisk", top, nothing)
        if "G5" in found.rows and found.focus == EU27:
            important, told = found.importance
            raw = both(beyond(found.suggested, _LIMITS["G5"]), important)
            judge(_place(found, place, found.rows["G5"], year), "ec_criticality", raw, both(found.told, told))
    return DRAWN_VERDICTS.conform(rows)
