"""How figures on input-output tables come about: I1 to I6 of industries, and tiers 1 and 2 of products by their recipe.

Belongs here: walking these back to the deliveries of the input-output table and computing them again, tier after tier
(``t_1 = Z e``, ``t_k = A t_{k-1}``), where it is at hand; from the release's industry tables where it is not. Does not
belong here: how they were made, by one factorisation (:mod:`ketenpipe.chain.leontief`, :mod:`ketenpipe.chain.industry`)
and by blocks of products (:mod:`ketenpipe.chain.proportional`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ketenpipe.chain.proportional import REST
from ketenpipe.chain.tracing import UNKNOWN
from ketenpipe.observatory.explain_book import Item, Row, largest_first
from ketenpipe.observatory.explain_criticality import Walk
from ketenpipe.observatory.explain_figures import (
    NOTHING,
    Figures,
    Found,
    Part,
    squares,
    turns_words,
    yes_no,
)
from ketenpipe.observatory.explain_words import Percent, Words, say
from ketenpipe.risk.planes import node_test, plane_of
from ketenpipe.risk.published import PUBLISHED
from ketenpipe.sources.icio import IcioTable

Floats = npt.NDArray[np.float64]

#: Tiers that are summed at most, and the part of all so far below which a further tier no longer counts.
_TIERS, _LEFT = 5000, 1e-15
#: Next to nothing of an industry's inputs.
_TRACE = 1e-12
NO_RECIPE = Words(
    "the input-output table that was read is not at hand (its folder: --sources)",
    "de input-outputtabel die is gelezen is er niet bij (de map: --sources)",
)
_FROM_TABLE = Words("computed tier by tier from the deliveries of the input-output table",
                    "trede voor trede berekend uit de leveringen van de input-outputtabel")  # fmt: skip
_FROM_RELEASE = Words("from the industry tables of the release; " + NO_RECIPE.en,
                      "uit de bedrijfstaktabellen van de publicatie; " + NO_RECIPE.nl)  # fmt: skip


@dataclass
class _Seen:
    """What stands behind an industry, per country; empty where there is nothing, or a sum has no end.

    Args:
        face, through, market: shares of direct inputs, of look-through, of sales.
        face_abroad, through_abroad: among foreign origins.
        first: share of tier 1 in the look-through of a country.
        length: propagation length.
        steps: upstreamness; None where it cannot be had.
        rank: by extraction, 1 the largest loss of inputs.
        source: where they are from, in words.
    """

    source: Words
    face: dict[str, float] = field(default_factory=dict)
    through: dict[str, float] = field(default_factory=dict)
    market: dict[str, float] = field(default_factory=dict)
    face_abroad: dict[str, float] = field(default_factory=dict)
    through_abroad: dict[str, float] = field(default_factory=dict)
    first: dict[str, float] = field(default_factory=dict)
    length: dict[str, float] = field(default_factory=dict)
    steps: float | None = None
    rank: dict[str, int] = field(default_factory=dict)


def _seen(figures: Figures, item: Item, year: int) -> _Seen | None:
    book = figures.book
    held = book.industry(item, year)
    if not held:
        return None
    table = book.recipe(year)
    found = _of_release(figures, item, year, held) if table is None else _of_table(figures, item, year, table)
    ranked = [r for r in book.industry(item, year, "industry_measures")
              if r["measure"] == "extraction_ghosh" and r["rank"] is not None and r["country"] != REST]  # fmt: skip
    # Among named foreign countries.
    found.rank = {r["country"]: 1 + sum(o["rank"] < r["rank"] for o in ranked) for r in ranked}
    return found


def _of_release(figures: Figures, item: Item, year: int, held: list[Row]) -> _Seen:
    def column(name: str) -> dict[str, float]:
        return {r["country"]: r[name] for r in held if r[name] is not None}

    found = _Seen(
        _FROM_RELEASE, column("face_value"), column("look_through"), column("market_side"),
        column("face_value_foreign"), column("look_through_foreign"),
    )  # fmt: skip
    tiers = figures.book.industry(item, year, "industry_tiers")
    found.first = {r["country"]: r["share"] for r in tiers if r["tier"] == 1}
    for r in figures.book.industry(item, year, "industry_measures"):
        if r["measure"] == "upstreamness":
            found.steps = r["value"]
        elif r["measure"] == "propagation_length" and r["country"] is not None and r["value"] is not None:
            found.length[r["country"]] = r["value"]
    return found


def _of_table(figures: Figures, item: Item, year: int, table: IcioTable) -> _Seen:
    """The same from the deliveries."""
    members = figures.book.members(item.focus, year)
    owner = [item.focus if c in members else c for c, _ in table.labels]
    at = [k for k, (c, i) in enumerate(table.labels) if c in members and i == item.code]
    alive = table.OUT > 0
    per_output = np.where(alive, 1.0 / np.where(alive, table.OUT, 1.0), 0.0)
    found = _Seen(_FROM_TABLE)
    mine = [k for k in at if alive[k]]
    if not mine:
        return found
    made = float(np.maximum(table.OUT[at], 0.0).sum())
    direct = table.Z[:, mine].sum(axis=1)
    found.face = _shares(_by_country(direct, owner))
    found.face_abroad = _abroad(_by_country(direct, owner), item.focus)

    def upstream(tier: Floats) -> Floats:
        step: Floats = table.Z @ (tier * per_output)
        return step

    def downstream(tier: Floats) -> Floats:
        step: Floats = (tier * per_output) @ table.Z
        return step

    behind, ahead = _summed(direct, upstream), _summed(table.Z[mine].sum(axis=0), downstream)
    if behind is not None:
        whole, weighted = (_by_country(v, owner) for v in behind)
        first = _by_country(direct, owner)
        found.through, found.through_abroad = _shares(whole), _abroad(whole, item.focus)
        total = max(sum(whole.values()), 0.0)
        there = {c: v for c, v in whole.items() if v > _TRACE * total and v > 0}
        found.first = {c: min(max(first[c] / v, 0.0), 1.0) for c, v in there.items()}
        found.length = {c: weighted[c] / v for c, v in there.items()}
    if ahead is not None:
        found.market = _shares(_by_country(ahead[0], owner))
        found.steps = 1.0 + float(ahead[0].sum()) / made
    return found


def _summed(first: Floats, onward: Callable[[Floats], Floats]) -> tuple[Floats, Floats] | None:
    """``sum_k t_k`` and ``sum_k k t_k``; None where the tiers do not die out."""
    tier, total, weighted = first, first.copy(), first.copy()
    for k in range(2, _TIERS):
        tier = onward(tier)
        total += tier
        weighted += k * tier
        size = float(np.abs(tier).sum())
        if not np.isfinite(size):
            return None
        if k * size <= _LEFT * float(np.abs(weighted).sum()):
            return total, weighted
    return None


def _by_country(values: Floats, owner: list[str]) -> dict[str, float]:
    found = dict.fromkeys(owner, 0.0)
    for country, value in zip(owner, values.tolist(), strict=True):
        found[country] += value
    return found


def _shares(amounts: Mapping[str, float]) -> dict[str, float]:
    """Shares, negative amounts as none; empty where there is nothing to share."""
    total = sum(v for v in amounts.values() if v > 0)
    return {c: max(v, 0.0) / total for c, v in amounts.items()} if total > 0 else {}


def _abroad(amounts: Mapping[str, float], focus: str) -> dict[str, float]:
    """Shares among foreign origins; empty where next to nothing is foreign."""
    outside = {c: v for c, v in amounts.items() if c != focus}
    foreign, every = (sum(v for v in a.values() if v > 0) for a in (outside, amounts))
    return _shares(outside) if foreign > _TRACE * every else {}


def of_industry(figures: Figures, item: Item, year: int, row: Row) -> Found:
    """I1 to I6."""
    seen, name = _seen(figures, item, year), row["indicator"]
    if seen is None:
        return Found(absent=NOTHING, known=False)
    hidden = {
        c: seen.through_abroad[c] / seen.face_abroad[c]
        for c, share in seen.through.items()
        if share >= PUBLISHED["foreign_input_reliance"].number("least_reliance") and seen.face_abroad.get(c, 0.0) > 0
        and c in seen.through_abroad
    }  # fmt: skip
    shown = {"I1": seen.face, "I1a": seen.face_abroad, "I3": seen.market, "I4": hidden, "I2a": seen.through_abroad,
             "I2b": seen.through_abroad}.get(name, seen.through)  # fmt: skip
    parts = [Part("input", "source", seen.source), *_countries(figures, item, seen, hidden, shown, row)]
    leader = _top(_named(seen.through, item.focus))
    country = figures.book.country
    if name in ("I1", "I2", "I3", "I4"):
        top = _top(_named(shown, item.focus))
        if top is None:
            return Found(None, None, parts=parts)
        value: float | None = shown[top]
        formula = say("{n} = largest foreign country: {c}, {v} {u}", "{n} = grootste buitenland: {c}, {v} {u}", n=name,
                      c=country(top), v=value, u=row["unit"])  # fmt: skip
        if name == "I4":
            parts += _turn(figures, seen, top, float(shown[top]))
    elif name in ("I1a", "I2a"):
        value = sum(s * s for s in shown.values()) if shown else None
        formula = squares(name, shown)
    elif name == "I2b":
        risk = figures.book.risk(year)
        scored = {c: s for c, s in shown.items() if c in risk}
        total = sum(scored.values())
        value = sum(s * risk[c] for c, s in scored.items()) / total if total > 0 else None
        formula = say(
            "I2b = sum of share × risk / sum of shares, over {n} origins with a score ({s} of the foreign part) = {v}",
            "I2b = som van aandeel × risico / som van aandelen, over {n} herkomstlanden met een score ({s} van het "
            "buitenlandse deel) = {v}", n=len(scored), s=Percent(total), v=value,
        )  # fmt: skip
    elif name == "I5":
        value = seen.steps
        formula = say("I5 = 1 + all sales onward / output = {v} steps", "I5 = 1 + alle verkopen verderop / productie = "
                      "{v} stappen", v=value)  # fmt: skip
    else:
        value, formula = _of_leader(name, seen, leader, None if leader is None else country(leader))
    return Found(None if value is None else formula, value, parts=parts)


def _of_leader(name: str, seen: _Seen, leader: str | None, named: Words | None) -> tuple[float | None, Words]:
    """I5a, I5b and I6: of the country that weighs most in the look-through."""
    if leader is None:
        return None, Words("", "")
    if name == "I5a":
        value = seen.length.get(leader)
        return value, say("I5a = sum of k × tier k / sum of tiers, for {c} = {v} steps",
                          "I5a = som van k × trede k / som van treden, voor {c} = {v} stappen",
                          c=named, v=value)  # fmt: skip
    if name == "I5b":
        first = seen.first.get(leader)
        value = None if first is None else 1.0 - first
        return value, say("I5b = 1 - share of tier 1 {a}, for {c} = {v}", "I5b = 1 - aandeel van trede 1 {a}, voor {c} "
                          "= {v}", a=first, c=named, v=value)  # fmt: skip
    place = seen.rank.get(leader)
    value = None if place is None else float(place)
    text = say("I6 = rank of {c} among {n} named foreign countries, by the loss of inputs if its deliveries fell away "
               "= {v}", "I6 = rang van {c} onder {n} genoemde landen, naar het verlies van inputs als de leveringen "
               "wegvallen = {v}", c=named, n=len(seen.rank), v=value)  # fmt: skip
    return value, text


def _named(shares: Mapping[str, float], focus: str) -> dict[str, float]:
    return {c: s for c, s in shares.items() if c not in (focus, REST)}


def _top(shares: Mapping[str, float]) -> str | None:
    """The largest, the first by code where two are equal."""
    return min(shares, key=lambda c: (-shares[c], c), default=None)


def _countries(
    figures: Figures, item: Item, seen: _Seen, hidden: Mapping[str, float], shown: Mapping[str, float], row: Row
) -> list[Part]:
    parts = []
    # Where one country is the largest, the rest of the world is none; in a concentration it counts.
    left_out = (item.focus, REST) if row["indicator"] in ("I1", "I2", "I3", "I4") else (item.focus,)
    order = sorted((c for c in shown if c not in left_out), key=lambda c: (-shown[c], c))
    for c in order[: figures.most]:
        text = say(
            "{c}: face value {f}, look-through {t}, market side {m}, hidden ratio {h}",
            "{c}: nominaal {f}, doorkijk {t}, marktzijde {m}, verborgen verhouding {h}",
            c=figures.book.country(c), h=hidden.get(c),
            **{k: None if (s := held.get(c)) is None else Percent(s)
               for k, held in (("f", seen.face), ("t", seen.through), ("m", seen.market))},
        )  # fmt: skip
        unit = "ratio" if row["indicator"] == "I4" else "share"
        parts.append(Part("flow", "country", text, shown[c], unit, c))
    return parts


def _turn(figures: Figures, seen: _Seen, top: str, value: float) -> list[Part]:
    given = figures.limit("I4")
    limit = PUBLISHED["foreign_input_reliance"].limits[0].cut if given is None else given[0]
    needed = seen.through_abroad[top] / limit
    text = say(
        "With {c} at {p} of the direct foreign inputs (now {now}), the ratio would be {l}; {turn}",
        "Met {c} op {p} van de directe buitenlandse inputs (nu {now}) was de verhouding {l}; {turn}",
        c=figures.book.country(top), p=Percent(needed), now=Percent(seen.face_abroad[top]), l=limit,
        turn=turns_words(value > limit, limit),
    )  # fmt: skip
    return [Part("turn", "I4", text, needed, "share", top)]


# -- products by the recipe of their industry ----------------------------------------------------------------


@dataclass(frozen=True)
class _Mix:
    """Origins of a product's inputs at a tier, and of itself at tier 0; ``UNK`` among them."""

    shares: dict[str, float]
    start: dict[str, float]


def _mix(figures: Figures, item: Item, year: int, table: IcioTable) -> _Mix | None:
    """``A y0`` or ``A^2 y0`` as shares of its own sum; None where there is none."""
    book, tier = figures.book, item.tier or 0
    members, industry = book.members(item.focus, year), book.industry_of(item)
    product = Item(item.focus, "hs6", item.code, item.hs_revision, None, 0)
    made = book.vector(product, year) or book.vector(product, year, "v")
    regions, seen = set(table.countries), members & set(table.countries)
    if not made or not seen or industry is None or industry not in table.industries:
        return None
    place = {label: k for k, label in enumerate(table.labels)}
    alive = table.OUT > 0
    z = np.maximum(table.Z, 0.0)
    total = sum(made.values())
    begun, start = np.zeros(len(table.labels)), dict.fromkeys((item.focus, *regions - members), 0.0)
    start[UNKNOWN] = lacking = 0.0
    for country, amount in made.items():
        share = amount / total
        region = UNKNOWN if country == UNKNOWN else country if country in regions else REST
        row = place.get((region, industry))
        if row is not None and alive[row]:
            begun[row] += share
        else:
            lacking += share
        named = item.focus if country in members else region
        start[named if named in start else UNKNOWN] += share
    per_output = np.where(alive, 1.0 / np.where(alive, table.OUT, 1.0), 0.0)
    inputs = z @ (begun * per_output)
    if tier == 2 and inputs.sum() > 0:
        lacking += (1.0 - lacking) * float(inputs[~alive].sum() / inputs.sum())
        inputs = z @ (inputs * per_output)
    owner = [item.focus if c in members else c for c, _ in table.labels]
    amounts = _by_country(inputs, owner)
    whole = sum(amounts.values())
    if not whole > 0:
        return None
    shares = {c: v / whole * (1.0 - lacking) for c, v in amounts.items()}
    return _Mix({**shares, UNKNOWN: lacking}, start)


def of_tier(figures: Figures, item: Item, year: int, row: Row) -> Found:
    """O1, G2, T and hidden exposure of a product's inputs, by the recipe of its industry."""
    book = figures.book
    parts = _listed_inputs(figures, item, year)
    table = book.recipe_for(year)
    if table is None:
        return Found(absent=NO_RECIPE, parts=parts, known=False)
    mix, name = _mix(figures, item, year, table), row["indicator"]
    if mix is None:
        return Found(None, None, parts=parts)
    own, risk = frozenset([item.focus]), book.risk(year)
    foreign = {c: s for c, s in mix.shares.items() if c not in (item.focus, UNKNOWN) and s > 0}
    parts += [Part("flow", "country", say("{c}: {s} of the inputs", "{c}: {s} van de inputs", c=book.country(c),
                                          s=Percent(s)), s, "share", c)
              for c, s in largest_first(foreign)[: figures.most]]  # fmt: skip
    if name == "hidden_exposure":
        gaps = {c: s - mix.start.get(c, 0.0) for c, s in foreign.items() if c != REST}
        top = _top(gaps)
        if top is None:
            return Found(None, None, parts=parts)
        formula = say(
            "{i} = share of {c} in the inputs - its share at tier 0 = {a} - {b} = {v}",
            "{i} = aandeel van {c} in de inputs - het aandeel op trede 0 = {a} - {b} = {v}", i=name,
            c=book.country(top), a=mix.shares[top], b=mix.start.get(top, 0.0), v=gaps[top],
        )  # fmt: skip
        return Found(formula, gaps[top], parts=parts)
    plane = plane_of(mix.shares, own, risk)
    if name == "O1":
        return Found(squares("O1", foreign), plane.o1, parts=parts)
    if name == "G2":
        formula = say("G2 = sum of share × risk / sum of shares, over origins with a score = {v}",
                      "G2 = som van aandeel × risico / som van aandelen, over herkomstlanden met een score = {v}",
                      v=plane.g2)  # fmt: skip
        return Found(None if plane.g2 is None else formula, plane.g2, parts=parts)
    limits = book.thresholds
    rest = 0.0 if item.focus == REST else foreign.get(REST, 0.0)
    bounds = [plane.g2] if plane.g2_high is None or plane.g2 is None else sorted((plane.g2, plane.g2_high))
    o1, low, high = (
        node_test(o, g, limits.T_hhi.flag, limits.T_wgi.flag)
        for o, g in (
            (plane.o1, plane.g2), (max(plane.o1 - rest**2, 0.0), bounds[0]), (plane.o1_high, bounds[-1]),
        )
    )  # fmt: skip
    told = o1 if low == high else None
    formula = say(
        "T = O1 {o} > {a} and G2 {g} > {b}: {h}; without the rest of the world: {l}; with what is unknown: {k}",
        "T = O1 {o} > {a} en G2 {g} > {b}: {h}; zonder de rest van de wereld: {l}; met wat onbekend is: {k}",
        o=plane.o1, a=limits.T_hhi.flag, g=plane.g2, b=limits.T_wgi.flag, h=yes_no(o1), l=yes_no(low), k=yes_no(high),
    )  # fmt: skip
    return Found(formula, None if told is None else float(told), parts=parts)


def _listed_inputs(figures: Figures, item: Item, year: int) -> list[Part]:
    """The largest inputs that the release lists."""
    parts = []
    book, key = figures.book, (item.focus, item.hs_revision, item.code, year, item.tier)
    names = ("focus", "hs_revision", "code", "year", "tier")
    rows = [r for r in book.rows("product_tiers") if tuple(r[n] for n in names) == key]
    for r in sorted(rows, key=lambda r: r["rank"])[: figures.most]:
        name = (
            Words("all others", "alle andere")
            if r["country"] is None
            else book.country(r["country"])
            if r["industry"] is None
            else say("{c}, {i}", "{c}, {i}", c=book.country(r["country"]), i=book.name("industry", r["industry"]))
        )
        text = say("{n}: {s}", "{n}: {s}", n=name, s=Percent(r["share"]))
        parts.append(Part("flow", "input", text, r["share"], "share", r["country"]))
    return parts


WALKS: Mapping[str, Walk] = dict.fromkeys(
    ("I1", "I1a", "I2", "I2a", "I2b", "I3", "I4", "I5", "I5a", "I5b", "I6"), of_industry
)
