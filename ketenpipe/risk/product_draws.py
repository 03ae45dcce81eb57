"""Monte Carlo of every HS6 code of a year: intervals of its figures, ranks, and how often a method flags it.

Belongs here: the figures of :mod:`ketenpipe.risk.direct` and :mod:`ketenpipe.risk.planes` in all columns of the draws,
and the two tables made of them. Does not belong here: the draws and the tracing in them (:mod:`ketenpipe.risk.draws`),
nodes and chains (:mod:`ketenpipe.risk.chain_draws`).

Errors of two flows are independent, and so are those of a flow's value and its mass: no figure uses both. What a
reporter gets wrong in all of its flows at once is not drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from threadpoolctl import threadpool_limits

from ketenpipe.chain.catalogue import Reference
from ketenpipe.chain.tracing import UNKNOWN, focus_members
from ketenpipe.chain.worldmix import WorldMix, code_mix
from ketenpipe.risk.definitions import METHOD_VERSION
from ketenpipe.risk.direct import EU27, UNIONS
from ketenpipe.risk.draws import (
    FLOWS,
    GOVERNANCE,
    PRODUCTION,
    CodeFlows,
    DrawnCode,
    Draws,
    Noise,
    Places,
    flag_share,
    read_codes,
    summarise,
    weighed,
)
from ketenpipe.risk.facts import collect_facts
from ketenpipe.risk.products import portions, words_of
from ketenpipe.risk.published import with_frozen_limits
from ketenpipe.risk.thresholds import Thresholds
from ketenpipe.risk.uncertainty import Uncertainty
from ketenpipe.tables.contract import Table, round_significant
from ketenpipe.tables.registry import DRAWN_VERDICTS, UNCERTAINTY

Floats = npt.NDArray[np.floating[Any]]
Truths = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]
Item = tuple[str, str, str]
"""Focus, HS revision, code."""

#: Families that the figures of products rest on.
FAMILIES = (FLOWS, PRODUCTION, GOVERNANCE)
#: Share of a focus's supply that may go through flows too small to be followed in every draw.
TAIL = 5e-4
#: Flows that are read at a time, codes that are dealt with as one job, and jobs at the same time.
PORTION = 1_000_000
CODES_AT_ONCE = 16
WORKERS = 2
#: Draws that ranks rest on, at most: what is ranked is kept for all products.
RANKED_DRAWS = 1000


@dataclass(frozen=True)
class Figure:
    """One figure of a product: its place in the key of ``indicators``, the threshold, and whether it is ranked."""

    indicator: str
    measure: str
    basis: str
    limit: str | None = None
    ranked: bool = False


FIGURES: tuple[Figure, ...] = (
    Figure("C1", "v", "imports", "C1", ranked=True),
    Figure("C2", "v", "exports", "C2"),
    Figure("C4a", "v", "imports", "C4"),
    Figure("C5", "v", "imports", "C5"),
    Figure("S1", "v", "imports", "S1"),
    Figure("S1b", "v", "imports", "S1b"),
    Figure("S2", "v", "exports", "S2"),
    Figure("O1", "q", "traced", "O1", ranked=True),
    Figure("O1r", "q", "traced"),
    Figure("G2", "q", "traced", "G2"),
    Figure("G3", "q", "traced", ranked=True),
    Figure("T", "q", "traced"),
    Figure("C4b", "q", "traced", "C4", ranked=True),
    Figure("C3", "p", "observed", "C3", ranked=True),
    Figure("G2", "p", "observed", "G2"),
    Figure("G3", "p", "observed"),
)
DIRECT, TRACED, MADE = slice(0, 7), slice(7, 13), slice(13, 16)
AT = {f"{f.indicator}p" if f.measure == "p" else f.indicator: k for k, f in enumerate(FIGURES)}
RANKED = [k for k, f in enumerate(FIGURES) if f.ranked]
METHODS = ("geodep", "swd2021", "cbs", "crma65", "tno", "node_test")


@dataclass(frozen=True)
class ProductDraws:
    """What the draws of a year say: tables ``uncertainty`` and ``drawn_verdicts``."""

    uncertainty: pa.Table
    verdicts: pa.Table


def product_noise(count: int, seed: int, model: Uncertainty) -> Noise:
    """The noise of :func:`build_product_draws`: so many draws of a seed, in single precision.

    Args:
        count: draws, 1 or more.
        seed: of all noise.
        model: how far the inputs are off.
    """
    return Noise(Draws(count, seed, FAMILIES), model, np.float32)


def build_product_draws(
    flows: Iterable[pa.RecordBatch],
    year: int,
    *,
    tracing: pa.Table,
    mining: pa.Table | None,
    country_risk: pa.Table,
    reference: Reference,
    foci: Sequence[str],
    thresholds: Thresholds,
    noise: Noise,
    earlier: Sequence[Mapping[Item, int]] = (),
    workers: int = WORKERS,
) -> ProductDraws:
    """The draws of every HS6 code of a year.

    A figure depends on the seed and its own inputs: not on the other products, the size of the batches or the workers.

    Args:
        flows: the year's ``baci_flows`` in key order, a batch at a time (``Store.batches``).
        year: of the flows.
        tracing: table ``tracing`` of the year: what may be said of each traced figure, and why not.
        mining: table ``mining_production`` (any years), None without such a source.
        country_risk: table ``country_risk`` (any years).
        reference: catalogue, production links, producer lists, non-producers, blocs.
        foci: countries and blocs.
        thresholds: cut-offs.
        noise: of :func:`product_noise`; the same for all years of a run.
        earlier: GeoDep's criteria in the years before, the latest first (:func:`single_year_verdicts`).
        workers: threads; the result is the same for any number.

    Returns:
        Both tables of the year.

    Raises:
        WrongUse: a focus that is neither a country nor a bloc with members in that year.
    """
    scene = _Scene(year, tracing, mining, country_risk, reference, foci, thresholds, noise)
    scene.earlier = list(earlier)[: with_frozen_limits(thresholds).P1.window - 1]
    found = _Found(scene)
    with threadpool_limits(limits=1), ThreadPoolExecutor(max_workers=workers) as pool:
        waiting: list[Future[_Job]] = []
        try:
            for codes in _jobs(flows, scene):
                waiting.append(pool.submit(_draw, scene, codes))
                if len(waiting) > 2 * workers:
                    found.take(waiting.pop(0).result())
            for done in waiting:
                found.take(done.result())
        finally:
            for left in waiting:
                left.cancel()
    return ProductDraws(found.uncertainty(), found.verdicts())


def single_year_verdicts(indicators: pa.Table, thresholds: Thresholds) -> dict[Item, int]:
    """GeoDep's criteria in one year: 1 where C1, C2 and S1 all pass, 0 where one fails, -1 where it cannot be told.

    Args:
        indicators: ``product_indicators`` of the year (columns :data:`ketenpipe.risk.facts.FACT_COLUMNS`).
        thresholds: cut-offs.
    """
    frame = collect_facts([indicators]).frame
    figures = [frame[n].to_numpy(dtype=float) for n in ("C1", "C2", "S1")]
    frozen = with_frozen_limits(thresholds)
    limits = (frozen.C1.flag, frozen.C2.flag, frozen.S1.flag)
    holds = np.all([f > limit for f, limit in zip(figures, limits, strict=True)], axis=0)
    fails = np.any([f <= limit for f, limit in zip(figures, limits, strict=True)], axis=0)
    told = np.where(frame["M"].to_numpy(dtype=float) > 0, np.where(fails, 0, np.where(holds, 1, -1)), -1)
    names = zip(*(frame[n].astype(str) for n in ("focus", "hs_revision", "code")), strict=True)
    return dict(zip(names, told.tolist(), strict=True))


# -- what holds for the whole year ---------------------------------------------------------------------------


@dataclass(frozen=True)
class _Note:
    """What table ``tracing`` says of a focus's supply of a code, by mass."""

    basis: str
    small: bool
    confidence: str | None
    reason: str | None

    @property
    def words(self) -> list[str]:
        """What to know about every traced figure."""
        return [*([] if self.basis == "observed" else [self.basis]), *(["small_or_precious"] if self.small else [])]


class _Scene:
    """What a year's products have in common."""

    def __init__(
        self,
        year: int,
        tracing: pa.Table,
        mining: pa.Table | None,
        country_risk: pa.Table,
        reference: Reference,
        foci: Sequence[str],
        thresholds: Thresholds,
        noise: Noise,
    ) -> None:
        self.year, self.reference, self.limits, self.noise = year, reference, thresholds, noise
        self.draws = noise.draws
        self.foci = sorted(set(foci))
        self.members = [focus_members(reference, f, [year])[year] for f in self.foci]
        self.union = reference.bloc_members(EU27, year)
        self.mining: pd.DataFrame | None = None
        if mining is not None and mining.num_rows:
            frame = mining.filter(pc.equal(mining.column("year"), year)).to_pandas()
            self.mining = frame.astype({"material": object, "country": object})
        held = tracing.filter(pc.equal(tracing.column("measure").cast(pa.string()), "q"))
        names = ("focus", "hs_revision", "code", "basis", "small_or_precious", "confidence", "reason")
        columns = [held.column(n).to_pylist() for n in names]
        self.notes = {(f, r, c): _Note(b, bool(s), k, why) for f, r, c, b, s, k, why in zip(*columns, strict=True)}
        self.linked = {(link.hs_revision, link.code) for link in reference.production_links}
        self.linked |= {(f.hs_revision, f.code) for f in reference.producer_figures}
        self.earlier: list[Mapping[Item, int]] = []
        self._risk(country_risk)
        for measure in ("v", "q"):
            noise.flows(measure)
        noise.production("imputed")

    def _risk(self, country_risk: pa.Table) -> None:
        """Scores of the year: row of each scored country, risk without noise and in all columns."""
        rows = country_risk.filter((pc.field("year") == self.year) & pc.field("risk").is_valid()).to_pylist()
        drawn = [self.noise.risk(r["country"], self.year, r["estimate"], r.get("standard_error")) for r in rows]
        self.scored = {r["country"]: k for k, r in enumerate(rows)}
        self.base_risk = np.array([r["risk"] for r in rows], dtype=float)
        whole = np.array(drawn, dtype=np.float32).reshape(len(rows), self.draws.columns)
        self.risk = [np.ascontiguousarray(whole[:, at]) for at in self.draws.blocks]
        some = country_risk.num_rows > country_risk.column("risk").null_count
        self.unscored = "no_governance_score" if some else "no_governance_data"


def _jobs(flows: Iterable[pa.RecordBatch], scene: _Scene) -> Iterator[list[CodeFlows]]:
    for portion in portions(flows, PORTION):
        held: list[CodeFlows] = []
        for code in read_codes(portion, scene.reference, scene.mining):
            held.append(code)
            if len(held) == CODES_AT_ONCE:
                yield held
                held = []
        if held:
            yield held


# -- the figures of one code -----------------------------------------------------------------------------------


@dataclass
class _Job:
    """The figures of some codes.

    Args:
        names: revision and code of each.
        value: without noise, shape (codes, foci, figures).
        reason: of each figure, same shape.
        basis: of the figures of production, per code.
        summary: name -> array of the same shape.
        ranked: draws of what is ranked, shape (codes, foci, ranked figures, draws).
        verdicts: method -> (applies, flagged share, verdict share, told share), each of shape (codes, foci).
    """

    names: list[tuple[str, str]]
    value: Floats
    reason: npt.NDArray[np.object_]
    basis: list[str]
    summary: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    ranked: Floats = field(default_factory=lambda: np.empty(0))
    verdicts: dict[str, tuple[Truths, Floats, Floats, Floats]] = field(default_factory=dict)


def _draw(scene: _Scene, codes: Sequence[CodeFlows]) -> _Job:
    shape = (len(codes), len(scene.foci), len(FIGURES))
    job = _Job([(c.revision, c.code) for c in codes], np.full(shape, np.nan), np.full(shape, None, object), [])
    figures = np.full((*shape, scene.draws.columns), np.nan, dtype=np.float32)
    for k, code in enumerate(codes):
        seen = _Code(scene, code)
        seen.direct(job.value[k], figures[k], job.reason[k])
        seen.traced(job.value[k], figures[k], job.reason[k])
        job.basis.append(seen.made(job.value[k], figures[k], job.reason[k]))
    # Where the published figure cannot be had, neither can its draws.
    figures[np.isnan(job.value)] = np.nan
    figures[..., 0] = job.value
    found = summarise(figures.reshape(-1, scene.draws.columns), scene.draws)
    for name in ("draws", "mean", "low", "high", "matters_most"):
        job.summary[name] = getattr(found, name).reshape(shape)
    job.summary["flag_share"] = np.full(shape, np.nan)
    for at, figure in enumerate(FIGURES):
        beyond = _flagging(figure, scene.limits)
        if beyond is not None:
            share = flag_share(figures[:, :, at].reshape(-1, scene.draws.columns), scene.draws, beyond)
            job.summary["flag_share"][:, :, at] = share.reshape(shape[:2])
    job.ranked = figures[:, :, RANKED, 1 : 1 + min(scene.draws.count, RANKED_DRAWS)].copy()
    job.verdicts = _verdicts(scene, job, figures[..., scene.draws.drawn])
    return job


def limit_of(figure: Figure, limits: Thresholds) -> float | None:
    """The threshold of a figure; None where it has none."""
    return None if figure.limit is None else float(getattr(limits, figure.limit).flag)


def _flagging(figure: Figure, limits: Thresholds) -> Callable[[Floats], Truths] | None:
    """Which values of a figure are flagged; T is its own flag. None for a figure without a threshold."""
    flag = limit_of(figure, limits)
    if figure.indicator == "T":
        return lambda values: values == 1.0
    if figure.limit is None or flag is None:
        return None
    if getattr(limits, figure.limit).below:
        return lambda values: values < flag
    return lambda values: values > flag


class _Code:
    """One code as the foci see it."""

    def __init__(self, scene: _Scene, code: CodeFlows) -> None:
        self.scene, self.code = scene, code
        self.places = Places(code.countries)
        self.inside = np.array([[c in members for c in code.countries] for members in scene.members], dtype=bool)
        self.union = np.array([c in scene.union for c in code.countries], dtype=bool)
        self.known = np.array([c != UNKNOWN for c in code.countries], dtype=bool)
        self.scored = np.array([c in scene.scored for c in code.countries], dtype=bool) & self.known
        self.score = np.array([scene.scored[c] for c, s in zip(code.countries, self.scored, strict=True) if s], int)

    def direct(self, value: Floats, figures: Floats, reason: npt.NDArray[np.object_]) -> None:
        """The direct figures by value, shape (foci, figures) without noise and (foci, figures, columns)."""
        code, scene, count = self.code.measured("v"), self.scene, len(self.code.countries)
        rows, flows = [code.sender], [np.arange(len(code.amount))]
        for k, inside in enumerate(self.inside):
            sells, buys = inside[code.sender], inside[code.receiver]
            start = count + k * (count + 3)
            bought, within = np.flatnonzero(~sells & buys), np.flatnonzero(sells & buys)
            parts = (
                (start + code.sender[bought], bought),
                (start + count, np.flatnonzero(sells & ~buys)),
                (start + count + 1, within),
                (start + count + 2, within[~self.union[code.sender[within]]]),
            )
            for row, at in parts:
                rows.append(np.broadcast_to(row, at.shape))
                flows.append(at)
        row, flow = np.concatenate(rows), np.concatenate(flows)
        total = count + len(self.inside) * (count + 3)
        plain: Floats = np.bincount(row, code.amount[flow], total)[:, np.newaxis].astype(float)
        place = self.places.flows(code.revision, code.code, code.year, code.sender, code.receiver)
        sums = weighed(row, total, place[flow], code.amount[flow], np.float32)
        for table, at in zip((None, *scene.noise.flows("v")), (None, *scene.draws.blocks), strict=True):
            drawn = plain if table is None else sums @ table
            for k in range(len(self.inside)):
                start = count + k * (count + 3)
                found = self._direct(k, drawn[:count], drawn[start : start + count], *drawn[start + count :][:3])
                for number, figure in zip(range(DIRECT.stop), found, strict=True):
                    if at is None:
                        value[k, number] = figure[0]
                    else:
                        figures[k, number, at] = figure
        for k in range(len(self.inside)):
            start = count + k * (count + 3)
            why = "no_exports" if plain[start : start + count].any() else "no_imports_no_exports"
            words = {"C2": "no_exports_in_the_world", "S1": why, "S1b": why}
            for number, figure in enumerate(FIGURES[DIRECT]):
                if np.isnan(value[k, number]):
                    reason[k, number] = words.get(figure.indicator, "no_imports")

    def _direct(
        self, focus: int, sold: Floats, bought: Floats, out: Floats, within: Floats, between: Floats
    ) -> list[Any]:
        """C1, C2, C4a, C5, S1, S1b and S2 of a focus; NaN where one cannot be had.

        Args:
            focus: its number.
            sold: exports of every country, shape (countries, columns).
            bought: what the focus buys of each country outside it, same shape.
            out: what the focus sells outside it, shape (columns).
            within: what its members sell to one another.
            between: the part of that which members outside the EU27 sell.
        """
        name, own = self.scene.foci[focus], self.inside[focus]
        with np.errstate(divide="ignore", invalid="ignore"):
            imports = bought.sum(axis=0)
            third = bought[~self.union]
            others = sold[~own]
            extra = third.sum(axis=0) + (0.0 if name in UNIONS else between)
            world = others.sum(axis=0) + out
            top = bought.argmax(axis=0)
            columns = np.arange(len(top))
            largest = bought[top, columns]
            elsewhere = others.sum(axis=0) - sold[top, columns] - (imports - largest)
            nothing = np.full_like(imports, np.nan)
            some = imports > 0
            return [
                np.where(some, np.einsum("ij,ij->j", bought, bought) / (imports * imports), np.nan),
                (np.einsum("ij,ij->j", others, others) + out * out) / (world * world),
                np.where(some, third.max(axis=0, initial=0.0) / imports, np.nan),
                extra / (imports + within),
                np.where(out > 0, imports / out, np.nan),
                np.where(out + within > 0, imports / (out + within), np.nan) if name == EU27 else nothing,
                np.where(some, np.maximum(elsewhere, 0.0) / largest, np.nan),
            ]

    def traced(self, value: Floats, figures: Floats, reason: npt.NDArray[np.object_]) -> None:
        """The figures of the traced supply by mass."""
        scene, code = self.scene, self.code
        drawn = DrawnCode(code.measured("q"), scene.noise, self.places)
        single = [len(members) == 1 for members in scene.members]
        weights = [drawn.focus_blocks(i, single=s) for i, s in zip(self.inside, single, strict=True)]
        known = [k for k, w in enumerate(weights) if w[0].sum() > 0]
        mixes = drawn.mixes([weights[k] for k in known], TAIL)
        for k, mix in zip(known, mixes, strict=True):
            base = scene.base_risk[self.score][:, np.newaxis]
            for number, figure in enumerate(self._plane(k, mix.exact[:, np.newaxis], base), TRACED.start):
                value[k, number] = figure[0]
            for block, at in enumerate(scene.draws.blocks):
                origins = drawn.origins(mix, block)
                origins[:, ~(mix.weights[block].sum(axis=0) > 0)] = np.nan
                found = self._plane(k, origins, scene.risk[block][self.score])
                for number, figure in enumerate(found, TRACED.start):
                    figures[k, number, at] = figure
        for k, focus in enumerate(scene.foci):
            note = scene.notes.get((focus, code.revision, code.code))
            words = [] if note is None or k not in known else note.words
            nothing = "no_supply" if note is None or note.reason is None else note.reason
            alone = {"O1r"} if value[k, AT["O1"]] > 0 else {"O1r", "G2"}
            for number, figure in enumerate(FIGURES[TRACED], TRACED.start):
                why = []
                if np.isnan(value[k, number]):
                    lacking = "no_foreign_supply" if figure.indicator in alone else scene.unscored
                    why = [lacking if k in known else nothing]
                reason[k, number] = "; ".join([*why, *words]) or None

    def _plane(self, focus: int, origins: Floats, risk: Floats) -> list[Any]:
        """O1, O1r, G2, G3, T and C4b of origins of shape (countries, columns); see :mod:`ketenpipe.risk.planes`.

        Args:
            focus: its number.
            origins: shares with unknown origin; changed: only what is foreign and known is left.
            risk: of the scored countries, shape (scored, columns).
        """
        limits, own = self.scene.limits, self.inside[focus]
        origins[own | ~self.known] = 0.0
        with np.errstate(divide="ignore", invalid="ignore"):
            o1 = np.einsum("ij,ij->j", origins, origins)
            foreign = origins.sum(axis=0)
            some = foreign > 0
            held = origins[self.scored]
            known = held.sum(axis=0)
            weighted = held * risk
            g2 = np.where(known > 0, weighted.sum(axis=0) / known, np.nan)
            g3 = np.where(known > 0, 10.0 * np.einsum("ij,ij->j", held, weighted), np.where(some, np.nan, 0.0))
            passing = np.where(np.isnan(g2), np.nan, g2 > limits.T_wgi.flag)
            test = np.where(o1 > limits.T_hhi.flag, passing, 0.0)
            third = origins[~self.union].max(axis=0, initial=0.0)
            void = np.isnan(foreign)
            return [
                o1,
                np.where(some, o1 / (foreign * foreign), np.nan),
                g2,
                np.where(void, np.nan, g3),
                np.where(void, np.nan, test),
                third,
            ]

    def made(self, value: Floats, figures: Floats, reason: npt.NDArray[np.object_]) -> str:
        """C3, G2 and G3 over all producers, the same for every focus; returns the basis."""
        scene, name = self.scene, (self.code.revision, self.code.code)
        if name not in scene.linked:
            return ""
        mix = code_mix(scene.reference, scene.mining, *name, scene.year)
        if mix is None:
            reason[:, MADE] = "no_production_data"
            return "observed"
        base, drawn = _world_planes(scene, mix)
        value[:, MADE], figures[:, MADE] = base, drawn
        reason[:, AT["C3p"]] = f"material: {mix.material}"
        reason[:, AT["G2p"] : MADE.stop] = [scene.unscored if np.isnan(b) else None for b in base[1:]]
        return mix.basis


def _world_planes(scene: _Scene, mix: WorldMix) -> tuple[Floats, Floats]:
    """C3, G2 and G3 of a world production mix: without noise, shape (3), and in all columns, shape (3, columns).

    Each producer's share has its own factor; shares sum to 1 again. What no figure covers keeps its part and is left
    out of all three.
    """
    names = sorted(mix.shares)
    rows = Places(names).makers(f"material {mix.material}", scene.year)
    share = np.array([mix.shares[c] for c in names])[:, np.newaxis]
    open_part = np.array([c == UNKNOWN for c in names])
    factor = scene.noise.production(mix.basis)[rows].astype(float)
    factor[open_part] = 1.0
    scored = np.array([c in scene.scored for c in names]) & ~open_part
    numbers = np.array([scene.scored[c] for c, s in zip(names, scored, strict=True) if s], int)
    drawn_risk = np.concatenate([block[numbers] for block in scene.risk], axis=1)
    found = []
    for shares, risk in ((share, scene.base_risk[numbers][:, np.newaxis]), (share * factor, drawn_risk)):
        shares = shares / shares.sum(axis=0)
        shares[open_part] = 0.0
        held = shares[scored]
        with np.errstate(divide="ignore", invalid="ignore"):
            known = held.sum(axis=0)
            g2 = np.where(known > 0, (held * risk).sum(axis=0) / known, np.nan)
            g3 = np.where(known > 0, 10.0 * (held * held * risk).sum(axis=0), np.nan)
        found.append(np.stack([(shares * shares).sum(axis=0), g2, g3]))
    return found[0][:, 0], found[1]


# -- verdicts ------------------------------------------------------------------------------------------------


def _above(values: Floats, limit: float) -> Floats:
    """Strictly above: 1, 0, or NaN where the figure is."""
    return np.where(np.isnan(values), np.nan, values > limit)


def _all_of(*tests: Floats) -> Floats:
    """Kleene's and: 0 where one is 0, else NaN where one is NaN, else 1."""
    held = np.stack(np.broadcast_arrays(*tests))
    return np.where((held == 0).any(axis=0), 0.0, np.where(np.isnan(held).any(axis=0), np.nan, 1.0))


def _verdicts(scene: _Scene, job: _Job, drawn: Floats) -> dict[str, tuple[Truths, Floats, Floats, Floats]]:
    """Every method on every code and focus; see :mod:`ketenpipe.risk.methods`.

    Args:
        scene: of the year.
        job: whose codes.
        drawn: shape (codes, foci, figures, draws).
    """
    limits, frozen = scene.limits, with_frozen_limits(scene.limits)
    figure = {name: drawn[:, :, k] for name, k in AT.items()}
    bought = ~np.isnan(job.value[:, :, AT["C1"]])
    # The published methods give imports without exports their sentinel.
    for name in ("S1", "S1b"):
        gone = np.isnan(job.value[:, :, AT[name]]) & bought
        figure[name] = np.where(gone[..., np.newaxis], limits.S1.sentinel, figure[name])
    items = [[(f, *name) for f in scene.foci] for name in job.names]
    notes = [[scene.notes.get(item) for item in row] for row in items]
    everywhere = np.ones(bought.shape, dtype=bool)

    def noted(test: Any) -> Truths:
        return np.array([[n is not None and bool(test(n)) for n in row] for row in notes], dtype=bool)

    raw: dict[str, tuple[Truths, Floats, Floats | None]] = {}
    holds = _all_of(
        _above(figure["C1"], frozen.C1.flag), _above(figure["C2"], frozen.C2.flag), _above(figure["S1"], frozen.S1.flag)
    )
    holds = np.where(bought[..., np.newaxis], holds, np.nan)
    raw["geodep"] = everywhere, _persistent(holds, _before(scene, items), frozen), None
    swd = _all_of(
        _above(figure["C1"], frozen.C1.flag),
        _above(figure["C5"], frozen.C5.flag),
        _above(figure["S1b"], frozen.S1b.flag),
    )
    raw["swd2021"] = np.array([f == EU27 for f in scene.foci]) & everywhere, swd, None
    raw["cbs"] = everywhere, _above(figure["C1"], frozen.C1.high), None
    usable = noted(lambda n: n.basis == "observed" and n.confidence != "low") & ~np.isnan(job.value[:, :, AT["C4b"]])
    share = np.where(usable[..., np.newaxis], figure["C4b"], figure["C4a"])
    raw["crma65"] = everywhere, _above(share, frozen.C4.flag), None
    tno = _all_of(_above(figure["C3p"], limits.C3.flag), _above(figure["G2p"], limits.G2.flag))
    raw["tno"] = np.array([name in scene.linked for name in job.names])[:, np.newaxis] & everywhere, tno, None
    test = _all_of(_above(figure["O1"], limits.T_hhi.flag), _above(figure["G2"], limits.T_wgi.flag))
    proxied = noted(lambda n: n.basis == "export_proxy")[..., np.newaxis]
    uncleared = noted(lambda n: n.small)[..., np.newaxis] & (test == 0)
    told = np.where(proxied | uncleared, np.nan, test)
    raw["node_test"] = noted(lambda n: True), test, told
    out = {}
    for method, (applies, verdict, known) in raw.items():
        there = (~np.isnan(verdict)).sum(axis=2)
        passing = (verdict == 1).sum(axis=2)
        flagged = np.divide(passing, there, out=np.full(there.shape, np.nan), where=there > 0)
        share, said = ((~np.isnan(v)).mean(axis=2) for v in (verdict, verdict if known is None else known))
        out[method] = applies, flagged, share, said
    return out


def _before(scene: _Scene, items: Sequence[Sequence[Item]]) -> Integers:
    """GeoDep's criteria in the years before, shape (years, codes, foci); a year that is not there cannot be told."""
    years = [[[held.get(item, -1) for item in row] for row in items] for held in scene.earlier]
    missing = with_frozen_limits(scene.limits).P1.window - 1 - len(years)
    shape = (len(items), len(scene.foci))
    return np.array([*years, *([np.full(shape, -1).tolist()] * missing)], dtype=np.int64).reshape(-1, *shape)


def _persistent(holds: Floats, before: Integers, limits: Thresholds) -> Floats:
    """GeoDep over its window: 1, 0, or NaN where the unknown years could make it; shape of ``holds``."""
    sure = (before == 1).sum(axis=0)[..., np.newaxis] + (holds == 1)
    unsure = (before < 0).sum(axis=0)[..., np.newaxis] + np.isnan(holds)
    enough = limits.P1.at_least
    return np.where(sure >= enough, 1.0, np.where(sure + unsure >= enough, np.nan, 0.0))


# -- tables --------------------------------------------------------------------------------------------------


def ranks(values: Floats) -> Integers:
    """Rank of each within its column, 1 the largest, equal ones alike; what is NaN comes after all others.

    Args:
        values: shape (items, columns).
    """
    lowest = np.where(np.isnan(values), -np.inf, values)
    out = np.empty(values.shape, dtype=np.int64)
    for column in range(values.shape[1]):
        held = np.ascontiguousarray(lowest[:, column])
        out[:, column] = 1 + len(held) - np.searchsorted(np.sort(held), held, side="right")
    return out


class _Found:
    """The jobs of a year as they come."""

    def __init__(self, scene: _Scene) -> None:
        self.scene = scene
        self._jobs: list[_Job] = []

    def take(self, job: _Job) -> None:
        self._jobs.append(job)

    def _stacked(self, pick: Any, shape: tuple[int, ...], kind: Any = float) -> npt.NDArray[Any]:
        return np.concatenate([pick(j) for j in self._jobs]) if self._jobs else np.empty((0, *shape), kind)

    def uncertainty(self) -> pa.Table:
        """Table ``uncertainty``."""
        if not self._jobs:
            return UNCERTAINTY.empty()
        scene, foci = self.scene, self.scene.foci
        shape = (len(foci), len(FIGURES))
        value = round_significant(self._stacked(lambda j: j.value, shape))
        reason = self._stacked(lambda j: j.reason, shape, object)
        names = [name for job in self._jobs for name in job.names]
        basis = [b for job in self._jobs for b in job.basis]
        there = np.ones(value.shape, dtype=bool)
        there[:, [f != EU27 for f in foci], AT["S1b"]] = False
        there[[not b for b in basis], :, MADE] = False
        code, focus, figure = np.nonzero(there)
        columns = self._keys(names, code, focus)
        for part in ("indicator", "measure"):
            columns[part] = words_of(figure, [getattr(f, part) for f in FIGURES])
        bases = sorted({f.basis for f in FIGURES} | {b for b in basis if b})
        own = np.array([bases.index(f.basis) for f in FIGURES])[figure]
        made = np.array([bases.index(b) if b else 0 for b in basis])[code]
        columns["basis"] = words_of(np.where(figure >= MADE.start, made, own), bases)
        columns["value"] = _figures(value[there])
        for name in ("mean", "low", "high", "flag_share"):
            columns[name] = _figures(self._stacked(lambda j, n=name: j.summary[n], shape)[there])
        columns["draws"] = pa.array(self._stacked(lambda j: j.summary["draws"], shape)[there])
        limits = np.array([np.nan if (x := limit_of(f, scene.limits)) is None else x for f in FIGURES])
        columns["threshold"] = _figures(limits[figure])
        for name, numbers in self._ranks(value, names).items():
            columns[name] = pa.array(numbers[there], mask=numbers[there] == 0)
        most = self._stacked(lambda j: j.summary["matters_most"], shape)[there]
        columns["matters_most"] = words_of(most, scene.draws.families)
        columns["reason"] = pa.array(reason[there].tolist(), pa.string())
        return _table(UNCERTAINTY, columns)

    def _ranks(self, value: Floats, names: Sequence[tuple[str, str]]) -> dict[str, Integers]:
        """Rank, its bounds, and among how many, shape (codes, foci, figures); 0 where there is none."""
        out = {n: np.zeros(value.shape, dtype=np.int64) for n in ("rank", "rank_low", "rank_high", "ranked")}
        drawn = self._stacked(lambda j: j.ranked, (0,))
        revisions = np.array([revision for revision, _ in names])
        for revision in np.unique(revisions):
            for focus in range(value.shape[1]):
                for k, figure in enumerate(RANKED):
                    held = np.flatnonzero((revisions == revision) & ~np.isnan(value[:, focus, figure]))
                    if not len(held):
                        continue
                    every = ranks(drawn[held, focus, k])
                    low, high = np.quantile(every, [0.05, 0.95], axis=1, method="inverted_cdf")
                    out["rank"][held, focus, figure] = ranks(value[held, focus, figure][:, np.newaxis])[:, 0]
                    out["rank_low"][held, focus, figure] = low
                    out["rank_high"][held, focus, figure] = high
                    out["ranked"][held, focus, figure] = len(held)
        return out

    def verdicts(self) -> pa.Table:
        """Table ``drawn_verdicts``."""
        names = [name for job in self._jobs for name in job.names]
        parts = []
        for number, method in enumerate(METHODS):
            held = [j.verdicts[method] for j in self._jobs]
            if not held:
                continue
            applies, flagged, given, told = (np.concatenate([h[k] for h in held]) for k in range(4))
            code, focus = np.nonzero(applies)
            columns = self._keys(names, code, focus)
            columns["method"] = words_of(np.full(len(code), number), METHODS)
            columns["draws"] = pa.array(np.full(len(code), self.scene.draws.count))
            columns["flagged_share"] = _figures(flagged[applies])
            columns["verdict_share"] = _figures(given[applies])
            columns["told_share"] = _figures(told[applies])
            parts.append(_table(DRAWN_VERDICTS, columns))
        return DRAWN_VERDICTS.conform(pa.concat_tables(parts)) if parts else DRAWN_VERDICTS.empty()

    def _keys(self, names: Sequence[tuple[str, str]], code: Integers, focus: Integers) -> dict[str, Any]:
        zero = np.zeros(len(code), dtype=np.int64)
        revisions = sorted({revision for revision, _ in names})
        return {
            "focus": words_of(focus, self.scene.foci),
            "level": words_of(zero, ["hs6"]),
            "code": words_of(code, [c for _, c in names]),
            "hs_revision": words_of(np.array([revisions.index(r) for r, _ in names], dtype=np.int64)[code], revisions),
            "tier": pa.array(zero),
            "year": pa.array(np.full(len(code), self.scene.year, dtype=np.int32)),
            "method_version": words_of(zero, [METHOD_VERSION]),
        }


def _figures(values: Floats) -> pa.Array:
    held = values.astype(float)
    return pa.array(held, mask=np.isnan(held))


def _table(contract: Table, columns: Mapping[str, Any]) -> pa.Table:
    return contract.conform(pa.table(dict(columns)))
