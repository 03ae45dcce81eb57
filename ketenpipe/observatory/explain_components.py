"""How a component of substitutability comes about, and the composite of them with its weights.

Belongs here: walking rows of table ``substitutability`` back to suppliers, origins, exporters, production and the
figures that they are read from, and computing value and score again, one item at a time. Does not belong here: how they
were made for all items at once (:mod:`ketenpipe.risk.substitutability`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ketenpipe.chain.tracing import UNKNOWN
from ketenpipe.observatory.explain_book import Book, Item, Row, largest_first
from ketenpipe.observatory.explain_figures import MOST, NO_FLOWS, Found, Part, as_shares, same, weights_of
from ketenpipe.observatory.explain_walks import Walks
from ketenpipe.observatory.explain_words import Percent, Words, reasons, say
from ketenpipe.risk.definitions import COMPONENTS
from ketenpipe.risk.substitution_settings import Normalisation, SubstitutionSettings

COMPOSITE = "composite"
#: Components that are figures of indicators already.
_READ = {
    "imports_over_exports": ("S1", ("v",)),
    "alternative_capacity": ("S2", ("v",)),
    "trade_elasticity": ("S3", ()),
    "eol_rir": ("S4a", ()),
    "substitution_index": ("S4b", ()),
    "persistence": ("P1", ("v",)),
}
#: Shares are compared to so many decimals: tables hold nine digits.
_DECIMALS = 9
_INFINITE = float("inf")
_NO_SETTINGS = Words(
    "the cut-offs and weights (substitutability.toml) are not at hand",
    "de grenzen en gewichten (substitutability.toml) zijn er niet bij",
)
_SCORE = {"x": "x", "1-x": "1 - x", "x/(1+x)": "x / (1 + x)", "1/(1+x)": "1 / (1 + x)"}


@dataclass
class _Component:
    """A component: its figure, what its score is made of (None: no score), its parts; ``absent``: why it is unknown."""

    value: float | None = None
    base: float | None = None
    formula: Words | None = None
    parts: list[Part] = field(default_factory=list)
    absent: Words | None = None


def component_found(book: Book, item: Item, year: int, row: Row, most: int = MOST) -> Found:
    """What a component is made of, with its score; of the composite, every score with its weight.

    Args:
        book: the tables.
        item, year: what it is about.
        row: its row of ``substitutability``.
        most: flows named by themselves.
    """
    if book.lists.limits is None:
        return Found(absent=_NO_SETTINGS, known=False)
    components = _Components(book, book.lists.limits, most)
    name = row["component"]
    if name == COMPOSITE:
        return components.composite(item, year, row)
    made = components.of(item, year, name)
    if made.absent is not None:
        return Found(absent=made.absent, known=False, parts=made.parts)
    score = components.score(name, made)
    kind = book.lists.limits.component[name].normalisation
    text = say(
        "score {s} = {f} with x = {x} (0 easily substituted, 1 hardly); weight {w} in the composite",
        "score {s} = {f} met x = {x} (0 gemakkelijk te vervangen, 1 nauwelijks); gewicht {w} in het geheel",
        s=score, f=_SCORE[kind], x=_shown(made.base), w=Percent(book.lists.limits.weights()[name]),
    )  # fmt: skip
    if score is None:
        text = say("no score, so it takes no part in the composite (weight {w})",
                   "geen score, dus het telt niet mee in het geheel (gewicht {w})",
                   w=Percent(book.lists.limits.weights()[name]))  # fmt: skip
    parts = [Part("figure", "score again", text, score, None, None, same(score, row["score"])), *made.parts]
    return Found(None if made.value is None else made.formula, made.value, parts=parts)


def _shown(base: float | None) -> object:
    return Words("infinite", "oneindig") if base == _INFINITE else base


def score_of(x: float, normalisation: Normalisation) -> float:
    """A figure from 0 upward, infinity allowed, as a score within [0, 1]."""
    if normalisation in ("x", "1-x"):
        held = min(max(x, 0.0), 1.0)
        return held if normalisation == "x" else min(max(1.0 - x, 0.0), 1.0)
    x = max(x, 0.0)
    if normalisation == "1/(1+x)":
        return 1.0 / (1.0 + x)
    return 1.0 if x == _INFINITE else x / (1.0 + x)


class _Components:
    def __init__(self, book: Book, limits: SubstitutionSettings, most: int) -> None:
        self.book, self.limits, self.most = book, limits, most
        self.walks = Walks(book, most)

    def of(self, item: Item, year: int, name: str) -> _Component:
        """One component."""
        if name in _READ:
            return self._read(item, year, name)
        if name in ("own_share", "production_over_imports"):
            return self._own_share(item, year) if name == "own_share" else self._production(item, year)
        if name in ("entries", "entry_share", "exits"):
            return self._moved(item, year, name)
        return self._counted(item, year, name)

    def score(self, name: str, made: _Component) -> float | None:
        """The score of a component; None where it has none."""
        return None if made.base is None else score_of(made.base, self.limits.component[name].normalisation)

    # -- read ------------------------------------------------------------------------------------------------

    def _read(self, item: Item, year: int, name: str) -> _Component:
        """A figure of an indicator, computed again."""
        indicator, measures = _READ[name]
        row = self.book.figure(item, year, indicator, measures)
        if row is None:
            none = say("the release has no {i} of it", "de publicatie heeft er geen {i} van", i=indicator)
            return _Component(parts=[Part("missing", indicator, none)])
        found = self.walks.found(item, year, row)
        parts = [p for p in found.parts if p.part != "turn"]
        if not found.known:
            return _Component(absent=found.absent, parts=parts)
        value = base = found.value
        if name == "imports_over_exports" and value is None and "no_exports" in [w for w, _ in reasons(row["reason"])]:
            base = _INFINITE
        elif name == "persistence" and value is not None:
            base = value / self.book.thresholds.P1.window
        elif name == "trade_elasticity" and value is not None:
            every = [r["value"] for r in self.book.of_all("S3", item.focus, "hs6", year) if r["value"] is not None]
            below = sum(v < value and not same(v, value) for v in every)
            alike = sum(same(v, value) for v in every)
            base = (below + alike / 2.0) / len(every) if every else None
        return _Component(value, base, found.formula, parts)

    # -- at home ---------------------------------------------------------------------------------------------

    def _supply(self, item: Item, year: int) -> dict[str, float] | None:
        if item.level == "hs6":
            return self.book.vector(item, year)
        return self.book.own_supply(item, year)

    def _own_share(self, item: Item, year: int) -> _Component:
        vector = self._supply(item, year)
        if vector is None:
            return _Component(absent=_NO_TRACING)
        if not vector:
            return _Component()
        own = self.book.members(item.focus, year)
        value = sum(s for c, s in vector.items() if c in own)
        formula = say("own_share = {v} of the traced supply", "own_share = {v} van het herleide aanbod", v=value)
        return _Component(value, value, formula, self._shares_of(vector, "maker"))

    def _production(self, item: Item, year: int) -> _Component:
        book = self.book
        if not book.has("production") or not book.has("tracing"):
            return _Component(absent=_NO_TRACING)
        own = book.members(item.focus, year)
        rows = [r for code in book.codes(item) for r in book.production(item, code, year) if r["country"] in own]
        made = sum(r["production"] or 0.0 for r in rows)
        guessed = any(r["basis"] == "export_proxy" and (r["production"] or 0.0) > 0 for r in rows)
        traced = [t for code in book.codes(item) if (t := book.traced(item, code, year)) is not None]
        proxied = any(t["basis"] == "export_proxy" for t in traced)
        suppliers = {c: a for c, a in book.suppliers(item, year).items() if c not in own}
        bought = sum(weights_of(suppliers, "q").values())
        parts = [
            Part("input", "own production", say("own production: {p} t", "eigen productie: {p} t", p=made), made, "t"),
            *self.walks.suppliers(suppliers, "q"),
        ]
        if guessed or proxied or not self._supply(item, year):
            why = Words("production is not observed, so there is no ratio",
                        "de productie is niet waargenomen, dus er is geen verhouding")  # fmt: skip
            return _Component(parts=[*parts, *([Part("missing", "export_proxy", why)] if guessed or proxied else [])])
        if not bought > 0:
            paid = sum(a.value for a in suppliers.values())
            return _Component(None, _INFINITE if made > 0 and not paid > 0 else None, parts=parts)
        value = made / bought
        formula = say("production_over_imports = {p} / {m} t = {v}", "production_over_imports = {p} / {m} t = {v}",
                      p=made, m=bought, v=value)  # fmt: skip
        return _Component(value, value, formula, parts)

    # -- suppliers -------------------------------------------------------------------------------------------

    def _direct(self, item: Item, year: int) -> dict[str, float]:
        own = self.book.members(item.focus, year)
        bought = weights_of(self.book.suppliers(item, year), "v")
        return as_shares({c: v for c, v in bought.items() if c not in own})

    def _kind(self, item: Item, year: int, kind: str) -> tuple[dict[str, float], float, str] | Words:
        """Shares by country, the share above which one counts, what a country is called; or why there are none."""
        own, limits = self.book.members(item.focus, year), self.limits
        if kind == "suppliers":
            return self._direct(item, year), limits.supplier_share.above, "supplier"
        if kind == "origins":
            vector = self._supply(item, year)
            if vector is None:
                return _NO_TRACING
            foreign = {c: s for c, s in vector.items() if c not in own and c != UNKNOWN}
            return foreign, limits.supplier_share.above, "maker"
        pairs = self.book.pairs(item, year)
        if pairs is None:
            return NO_FLOWS
        sold: dict[str, float] = {}
        for (seller, _), amount in pairs.items():
            if seller not in own:
                sold[seller] = sold.get(seller, 0.0) + amount.value
        return as_shares(sold), limits.exporter_share.above, "exporter"

    def _counted(self, item: Item, year: int, name: str) -> _Component:
        """How many lie above the share, or what those hold of the whole."""
        kind, _, whose = name.partition("_")
        held = name.startswith("export_share")
        if held:
            kind, whose = "exporters", name.removeprefix("export_share_")
        found = self._kind(item, year, kind)
        if isinstance(found, Words):
            return _Component(absent=found)
        shares, above, what = found
        risk, allowed = self.book.risk(year), self._allowed(year, whose)
        who = say(_WHO[whose].en, _WHO[whose].nl, r=self.limits.stable.risk_below)
        if (whose == "stable" and not risk) or (whose == "partners" and not self.book.lists.partners):
            return _Component(parts=[Part("missing", whose, _LACKS[whose])])
        if not shares:
            return _Component()
        large = [c for c, s in shares.items() if round(s, _DECIMALS) > above]
        counted = [c for c in large if allowed(c)]
        within = sum(shares[c] for c in counted)
        top = min(shares, key=lambda c: (-round(shares[c], _DECIMALS), c))
        besides = len(counted) - (top in counted)
        base = besides if large else sum(s for c, s in shares.items() if allowed(c)) / above
        value = within if held else float(len(counted))
        formula = say(
            "{n} = {k} above {a}{w}: {c}; they hold {s}", "{n} = {k} boven {a}{w}: {c}; zij houden {s}", n=name,
            k=len(counted), a=Percent(above), w=who, s=Percent(within),
            c=self.walks.listed([(c, shares[c]) for c in sorted(counted, key=lambda c: (-shares[c], c))][: self.most])
            if counted else Words("none", "geen"),
        )  # fmt: skip
        return _Component(value, within if held else float(base), formula, self._shares_of(shares, what, risk))

    def _allowed(self, year: int, whose: str) -> Callable[[str], bool]:
        if whose == "stable":
            risk, below = self.book.risk(year), self.limits.stable.risk_below
            return lambda c: c in risk and risk[c] < below
        if whose == "partners":
            friends: set[str] = set()
            for partner in self.book.lists.partners:
                friends |= self.book.members(partner, year)
            return lambda c: c in friends
        return lambda c: True

    def _shares_of(self, shares: Mapping[str, float], what: str, risk: Mapping[str, float] | None = None) -> list[Part]:
        parts = []
        ordered = largest_first(shares)
        for country, share in ordered[: self.most]:
            more = Words("", "")
            if risk is not None and country in risk:
                more = say(", risk {r}", ", risico {r}", r=float(risk[country]))
            parts.append(self.walks.country_part("flow", what, country, share, more))
        left = ordered[self.most :]
        if left:
            rest = sum(s for _, s in left)
            text = say("{n} others together {s}", "{n} andere samen {s}", n=len(left), s=Percent(rest))
            parts.append(Part("flow", "others", text, rest, "share"))
        return parts

    # -- time ------------------------------------------------------------------------------------------------

    def _moved(self, item: Item, year: int, name: str) -> _Component:
        above = self.limits.supplier_share.above
        window = range(year - self.limits.entry.window, year)
        now = self._direct(item, year)
        before = {y: self._direct(item, y) for y in window}
        parts = [
            Part("input", str(y), say("{y}: {c}", "{y}: {c}", y=y, c=self._above(shares, above)), None)
            for y, shares in (*before.items(), (year, now))
        ]  # fmt: skip
        if not now or not all(before.values()):
            return _Component(parts=parts)
        there = set(_large(now, above))
        earlier = {c for shares in before.values() for c in _large(shares, above)}
        new, gone = sorted(there - earlier), sorted(earlier - there)
        value = float(len(new)) if name == "entries" else float(len(gone))
        if name == "entry_share":
            value = sum(now[c] for c in new)
        shown = gone if name == "exits" else new
        formula = say(
            "{n} = {v}: {c}", "{n} = {v}: {c}", n=name, v=value,
            c=self.walks.listed([(c, now.get(c, 0.0)) for c in shown]) if shown else Words("none", "geen"),
        )  # fmt: skip
        return _Component(value, value, formula, parts)

    def _above(self, shares: Mapping[str, float], above: float) -> Words:
        if not shares:
            return Words("no imports, or the year is not in the sources", "geen invoer, of het jaar staat niet in de "
                         "bronnen")  # fmt: skip
        held = [(c, s) for c, s in largest_first(shares) if round(s, _DECIMALS) > above]
        return self.walks.listed(held) if held else Words("none above the share", "geen boven het aandeel")

    # -- composite -------------------------------------------------------------------------------------------

    def composite(self, item: Item, year: int, row: Row) -> Found:
        """The weighted mean of the scores, each computed again."""
        parts = []
        total = covered = 0.0
        there = 0
        for name, weight in self.limits.weights().items():
            if not weight > 0:
                continue
            made = self.of(item, year, name)
            if made.absent is not None:
                return Found(absent=made.absent, known=False)
            score = self.score(name, made)
            title = Words(COMPONENTS[name].name_en, COMPONENTS[name].name_nl)
            text = say("{t} ({n}): no score", "{t} ({n}): geen score", t=title, n=name)
            if score is not None:
                there += 1
                total, covered = total + weight * score, covered + weight
                text = say("{t} ({n}): figure {v}, score {s} × weight {w}",
                           "{t} ({n}): cijfer {v}, score {s} × gewicht {w}", t=title, n=name, v=made.value, s=score,
                           w=Percent(weight))  # fmt: skip
            parts.append(Part("input", name, text, score, "score"))
        least = self.limits.composite.minimum_coverage
        text = say("scores are there for {c} of the weight ({n} components); {l} is asked",
                   "voor {c} van het gewicht is er een score ({n} onderdelen); {l} wordt gevraagd", c=Percent(covered),
                   n=there, l=Percent(least))  # fmt: skip
        parts.append(Part("input", "coverage", text, covered, "share"))
        if covered <= 0 or round(covered, 12) < least:
            return Found(None, None, parts=parts)
        value = total / covered
        formula = say("composite = sum of weight × score {t} / weight that is there {c} = {v}",
                      "composite = som van gewicht × score {t} / gewicht dat er is {c} = {v}", t=total, c=covered,
                      v=value)  # fmt: skip
        parts += _sensitivity(row, self.limits)
        return Found(formula, value, parts=parts)


def _large(shares: Mapping[str, float], above: float) -> Sequence[str]:
    return [c for c, s in shares.items() if round(s, _DECIMALS) > above]


def _sensitivity(row: Row, limits: SubstitutionSettings) -> list[Part]:
    """What drawn weights and leaving one component out do to it."""
    parts = []
    if row["low"] is not None and row["high"] is not None:
        share = round(100 * (limits.composite.high - limits.composite.low))
        text = say("under drawn weights {n} in a hundred lie between {l} and {h}",
                   "bij getrokken gewichten liggen {n} van de honderd tussen {l} en {h}", n=share, l=row["low"],
                   h=row["high"])  # fmt: skip
        parts.append(Part("figure", "weights", text, row["high"], row["unit"]))
    if row["matters_most"] is not None:
        known = COMPONENTS[row["matters_most"]]
        text = say("what moves it most: {c}; without it {v}", "wat het meest uitmaakt: {c}; zonder dat {v}",
                   c=Words(known.name_en, known.name_nl), v=row["without"])  # fmt: skip
        parts.append(Part("figure", "matters_most", text, row["without"], row["unit"]))
    return parts


_NO_TRACING = Words(
    "this home has not how the code was traced (tables tracing and production)",
    "dit datadepot bevat niet hoe de code is herleid (tabellen tracing en production)",
)
_WHO: Mapping[str, Words] = {
    "": Words("", ""),
    "stable": Words(", stable countries only (risk below {r})", ", alleen stabiele landen (risico onder {r})"),
    "partners": Words(", partners only", ", alleen partners"),
}
_LACKS: Mapping[str, Words] = {
    "stable": Words("there are no governance scores of the year", "er zijn geen bestuursscores van het jaar"),
    "partners": Words("the run named no partners (setting partners)", "de run noemde geen partners (instelling "
                      "partners)"),
}  # fmt: skip
