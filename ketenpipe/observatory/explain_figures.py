"""How one figure comes about: its formula with the numbers put in, what it is made of, and what would turn its flag.

Belongs here: walking an indicator back to the flows, makers and figures that make it, and computing it again from them.
Does not belong here: finding rows (:mod:`ketenpipe.observatory.explain_book`), verdicts of methods
(:mod:`ketenpipe.observatory.explain_methods`).

A figure is computed again from the rows that are named, by other code than the one that made it: plain sums, one item
at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from ketenpipe.chain.tracing import UNKNOWN
from ketenpipe.observatory.explain_book import Amounts, Book, Item, Row, known_part, largest_first
from ketenpipe.observatory.explain_words import Percent, Words, joined, reasons, say
from ketenpipe.risk.indicators import kleene_and, kleene_or
from ketenpipe.risk.planes import Plane, hhi_of, node_test, plane_of, top_third_country
from ketenpipe.risk.turning import (
    Criterion,
    Sign,
    least_concentration,
    new_suppliers,
    rest_concentration,
    share_at_limit,
    share_at_risk,
    to_turn,
)
from ketenpipe.risk.world import MAX_TIER

PARTS = ("figure", "formula", "input", "flow", "patch", "missing", "source", "turn")
"""The parts of an explanation, in the order in which they are read."""
#: Two figures nearer than this (relative) are the same: tables hold nine significant digits.
SAME = 1e-6
#: Flows named by themselves; the rest is one row.
MOST = 10
#: Terms written out in a formula.
TERMS = 5
WORLD_MIX = "world_production_mix"


@dataclass(frozen=True)
class Part:
    """One line of an explanation.

    Args:
        part: of :data:`PARTS`.
        what: what the line is about: a supplier, an input's id, a kind of patch.
        text: in words.
        value, unit: its figure.
        country: the country it names.
        holds: of a check, whether it held; None where the line is no check.
    """

    part: str
    what: str
    text: Words
    value: float | None = None
    unit: str | None = None
    country: str | None = None
    holds: bool | None = None


@dataclass
class Found:
    """What a figure is made of.

    Args:
        formula: with the numbers put in; None where the item's rows do not allow it.
        value: computed again; None where it cannot be, and then ``absent`` says why.
        parts: inputs, flows, patches, what is missing, what would turn it.
        known: whether it was computed again (a figure that is null because there is nothing may be so too).
    """

    formula: Words | None = None
    value: float | None = None
    absent: Words | None = None
    parts: list[Part] = field(default_factory=list)
    known: bool = True


NO_FLOWS = Words(
    "this home has not the year's flows of the code (table baci_flows), so it is not computed again here",
    "dit datadepot bevat de stromen van de code in dat jaar niet (tabel baci_flows), dus het is hier niet nagerekend",
)
NOTHING = Words("the tables hold no rows about it", "de tabellen bevatten er geen rijen over")


def same(a: float | None, b: float | None) -> bool:
    """Whether two figures are the same within the digits that the tables hold; null is the same as null only."""
    if a is None or b is None:
        return a is None and b is None
    return abs(a - b) <= SAME * max(1e-3, abs(a), abs(b))


def limit_of(book: Book, indicator: str) -> tuple[float, Sign] | None:
    """The cut-off of an indicator by itself, and how a figure must stand to it to flag; None where it has none."""
    known = {"C4a": "C4", "C4b": "C4"}
    limit = getattr(book.thresholds, known.get(indicator, indicator), None)
    if indicator in ("P1", "P2", "T", "X1") or limit is None:
        return None
    if hasattr(limit, "at_least"):
        return float(limit.at_least), ">="
    if not hasattr(limit, "flag"):
        return None
    return float(limit.flag), "<" if getattr(limit, "below", False) else ">"


class Figures:
    """Walks figures back.

    Args:
        book: the tables.
        most: flows named by themselves.
        limits: cut-offs that go before those of ``thresholds.toml``: those of a published method.
    """

    def __init__(self, book: Book, most: int = MOST, limits: Mapping[str, tuple[float, Sign]] | None = None) -> None:
        self.book, self.most, self._limits = book, most, limits or {}
        self._known: dict[str, Callable[[Item, int, Row], Found]] = {
            "M": self._imports,
            "C1": self._concentration_of_imports,
            "C2": self._concentration_of_exports,
            "C3": self._concentration_of_production,
            "C4a": self._top_of_imports,
            "C4b": self._top_of_traced,
            "C5": self._extra_eu,
            "S1": self._over_exports,
            "S1b": self._over_exports,
            "S2": self._alternatives,
            "G2": self._governance,
            "G3": self._governance,
            "O1": self._concentration_of_traced,
            "O1r": self._concentration_of_traced,
            "O2": self._hub_gap,
            "T": self._node_test,
            "own_share": self._part_of_traced,
            "unknown_share": self._part_of_traced,
            "imputed_share": self._imputed,
            "value_without_mass": self._without_mass,
            "geodep_criteria": self._criteria,
            "P1": self._persistence,
            "P2": self._churn,
            "X1": self._indirect,
            "X1g": self._indirect_global,
            "X2": self._weakest,
            "X2_global": self._weakest,
            "hidden_exposure": self._hidden,
            "hidden_exposure_global": self._hidden,
        }

    def found(self, item: Item, year: int, row: Row) -> Found:
        """What a figure is made of; without a walk of its own it says so."""
        walk = self._known.get(row["indicator"])
        if walk is None:
            return Found(absent=say("this version knows no way to compute {n}", "deze versie kent geen weg om {n} na "
                                    "te rekenen", n=row["indicator"]), known=False)  # fmt: skip
        return walk(item, year, row)

    def limit(self, name: str) -> tuple[float, Sign] | None:
        return self._limits.get(name) or limit_of(self.book, name)

    # -- direct ----------------------------------------------------------------------------------------------

    def _imports(self, item: Item, year: int, row: Row) -> Found:
        amounts = self.book.suppliers(item, year)
        mix = weights_of(amounts, row["measure"])
        total = sum(mix.values())
        unit = unit_of(row["measure"])
        formula = say(
            "M = sum over {n} suppliers = {total} {unit}", "M = som over {n} leveranciers = {total} {unit}",
            n=len(mix), total=total, unit=unit,
        )  # fmt: skip
        parts = self.suppliers(amounts, row["measure"])
        # Imports without any quantity are unknown in tonnes; no imports are 0.
        return Found(formula, None if amounts and not mix else total, parts=parts)

    def _concentration_of_imports(self, item: Item, year: int, row: Row) -> Found:
        amounts = self.book.suppliers(item, year)
        mix = as_shares(weights_of(amounts, row["measure"]))
        if not mix:
            return Found(None, None)
        parts = [*self.suppliers(amounts, row["measure"]), *self._turn_concentration("C1", mix, row["value"])]
        return Found(squares("C1", mix), hhi_of(list(mix.values())), parts=parts)

    def _concentration_of_exports(self, item: Item, year: int, row: Row) -> Found:
        trade = self.book.trade(item, year)
        if trade is None:
            return Found(absent=NO_FLOWS, known=False)
        mix = as_shares(weights_of(trade.sold, row["measure"]))
        if not mix:
            return Found(None, None)
        parts = [
            *self.amounts_of(trade.sold, row["measure"], "exporter", Words("of world exports", "van de werelduitvoer")),
            *self._turn_concentration("C2", mix, row["value"]),
        ]
        if item.focus in self.book.reference.bloc_names:
            parts.append(
                Part("input", "bloc", say(
                    "{f} counts as one exporter; what its members sell to each other is left out",
                    "{f} telt als één exporteur; wat de leden elkaar leveren telt niet mee",
                    f=self.book.country(item.focus),
                ))
            )  # fmt: skip
        return Found(squares("C2", mix), hhi_of(list(mix.values())), parts=parts)

    def _top_of_imports(self, item: Item, year: int, row: Row) -> Found:
        amounts = self.book.suppliers(item, year)
        mix = as_shares(weights_of(amounts, row["measure"]))
        if not mix:
            return Found(None, None)
        own = self.book.members(item.focus, year)
        top, share, _ = top_third_country(mix, own, self.book.union(year))
        return Found(
            self._top_words("C4a", top, share, Words("of all imports", "van alle invoer")),
            share,
            parts=[*self.suppliers(amounts, row["measure"]), *self._turn_share("C4a", top, share)],
        )

    def _extra_eu(self, item: Item, year: int, row: Row) -> Found:
        amounts, union = self.book.suppliers(item, year), self.book.union(year)
        bought = weights_of(amounts, row["measure"])
        within: dict[str, float] = {}
        if item.focus in self.book.reference.bloc_names:
            trade = self.book.trade(item, year)
            if trade is None:
                return Found(absent=NO_FLOWS, known=False, parts=self.suppliers(amounts, row["measure"]))
            within = weights_of(trade.inside, row["measure"])
        extra = sum(s for c, s in bought.items() if c not in union)
        if item.focus not in ("EU27", "EU"):
            extra += sum(s for c, s in within.items() if c not in union)
        total = sum(bought.values()) + sum(within.values())
        if not bought or total <= 0:
            return Found(None, None)
        unit = unit_of(row["measure"])
        formula = say(
            "C5 = {extra} / {total} {unit} = {value}", "C5 = {extra} / {total} {unit} = {value}",
            extra=extra, total=total, unit=unit, value=extra / total,
        )  # fmt: skip
        parts = self.suppliers(amounts, row["measure"])
        limit, _ = self.limit("C5") or (None, None)
        if limit is not None:
            move = abs(extra - limit * total)
            flagged = extra / total > limit
            parts.append(
                Part("turn", "C5", say(
                    "If {move} {unit} a year were bought {where} the EU27 instead, C5 would be {limit}; {turn}",
                    "Als {move} {unit} per jaar {where} de EU27 werd gekocht, was C5 {limit}; {turn}",
                    move=move, unit=unit, limit=limit,
                    where=Words("inside", "binnen") if flagged else Words("outside", "buiten"),
                    turn=turns_words(flagged, limit),
                ), move, unit.en)
            )  # fmt: skip
        return Found(formula, extra / total, parts=parts)

    def _over_exports(self, item: Item, year: int, row: Row) -> Found:
        trade, measure, name = self.book.trade(item, year), row["measure"], row["indicator"]
        amounts = self.book.suppliers(item, year)
        bought = sum(weights_of(amounts, measure).values())
        parts = self.suppliers(amounts, measure)
        unit = unit_of(measure)
        turn = self._turn_ratio(name, bought, unit, row)
        if trade is None:
            return Found(absent=NO_FLOWS, known=False, parts=[*parts, *turn])
        sold = trade.sold[item.focus].by(measure) if item.focus in trade.sold else 0.0
        if name == "S1b":
            sold += sum(weights_of(trade.inside, measure).values())
        value = bought / sold if sold > 0 else None
        formula = say(
            "{name} = M / X = {bought} / {sold} {unit} = {value}",
            "{name} = M / X = {bought} / {sold} {unit} = {value}",
            name=name, bought=bought, sold=sold, unit=unit, value=value,
        )  # fmt: skip
        parts.append(
            Part("input", "X", say("exports of {f}: {sold} {unit}", "uitvoer van {f}: {sold} {unit}",
                                   f=self.book.country(item.focus), sold=sold, unit=unit), sold, unit.en)
        )  # fmt: skip
        if value is None and bought > 0 and row["method_value"] is not None:
            parts.append(
                Part("input", "sentinel", say(
                    "there are no exports at all: the method puts {v} in the place of the ratio, and flags",
                    "er is helemaal geen uitvoer: de methode zet {v} op de plaats van de verhouding, en slaat aan",
                    v=float(row["method_value"]),
                ), row["method_value"], row["unit"])
            )  # fmt: skip
        return Found(formula, value, parts=[*parts, *turn])

    def _turn_ratio(self, name: str, bought: float, unit: Words, row: Row) -> list[Part]:
        found = self.limit(name)
        value = row["method_value"] if row["value"] is None else row["value"]
        if found is None or value is None or bought <= 0:
            return []
        limit = found[0]
        needed, flagged = bought / limit, value > limit
        now = bought / value if row["value"] else 0.0
        return [
            Part("turn", name, say(
                "Exports of {needed} {unit} would make {name} {limit} (they are {now}); {turn}",
                "Een uitvoer van {needed} {unit} zou {name} op {limit} brengen (die is nu {now}); {turn}",
                needed=needed, unit=unit, name=name, limit=limit, now=now, turn=turns_words(flagged, limit),
            ), needed, unit.en)
        ]  # fmt: skip

    def _alternatives(self, item: Item, year: int, row: Row) -> Found:
        trade, measure = self.book.trade(item, year), row["measure"]
        if trade is None:
            return Found(absent=NO_FLOWS, known=False, parts=self.suppliers(self.book.suppliers(item, year), measure))
        mix = weights_of(trade.bought, measure)
        if not mix:
            return Found(None, None)
        top, most = largest_first(mix)[0]
        elsewhere = {
            c: s - mix.get(c, 0.0) for c, s in weights_of(trade.sold, measure).items() if c not in (top, item.focus)
        }
        other, unit = sum(elsewhere.values()), unit_of(measure)
        formula = say(
            "S2 = what others than {top} sell to others / what {top} sells to {f} = {other} / {most} {unit} = {value}",
            "S2 = wat anderen dan {top} aan anderen leveren / wat {top} aan {f} levert = {other} / {most} {unit} = "
            "{value}",
            top=self.book.country(top), f=self.book.country(item.focus), other=other, most=most, unit=unit,
            value=other / most,
        )  # fmt: skip
        parts = self.suppliers(self.book.suppliers(item, year), measure)
        parts += self._shares_of(
            elsewhere, "alternative", "flow", Words("sold to others", "aan anderen geleverd"), amounts=True, unit=unit
        )
        if (found := self.limit("S2")) is not None:
            parts.append(
                Part("turn", "S2", say(
                    "If others sold {needed} {unit} elsewhere, S2 would be {limit}; below that it flags",
                    "Als anderen {needed} {unit} elders leverden, was S2 {limit}; daaronder slaat het aan",
                    needed=found[0] * most, unit=unit, limit=found[0],
                ), found[0] * most, unit.en)
            )  # fmt: skip
        return Found(formula, other / most, parts=parts)

    def _without_mass(self, item: Item, year: int, row: Row) -> Found:
        trade = self.book.trade(item, year)
        if trade is None:
            return Found(absent=NO_FLOWS, known=False)
        total = sum(a.value for a in trade.bought.values())
        lacking = total - sum(a.weighed for a in trade.bought.values())
        if total <= 0:
            return Found(None, None)
        share = min(max(round(lacking, 3) / total, 0.0), 1.0)
        formula = say(
            "value of flows without tonnes / value = {lacking} / {total} thousand USD = {share}",
            "waarde van stromen zonder tonnen / waarde = {lacking} / {total} duizend USD = {share}",
            lacking=lacking, total=total, share=share,
        )  # fmt: skip
        return Found(formula, share, parts=self.suppliers(trade.bought, "v"))

    # -- production --------------------------------------------------------------------------------------------

    def _concentration_of_production(self, item: Item, year: int, row: Row) -> Found:
        held = self.book.world_mix(item, year)
        if held is None:
            why = say(
                "this home has not the production statistic (table mining_production)",
                "dit datadepot bevat de productiestatistiek niet (tabel mining_production)",
            )
            return Found(absent=why, known=row["value"] is None)
        mix = known_part(held[0].shares)
        whole = mix if UNKNOWN in held[0].shares else as_shares(mix)
        parts = [*self.producers(item, year), *self._turn_concentration("C3", mix, row["value"])]
        return Found(squares("C3", whole), sum(s * s for s in whole.values()), parts=parts)

    def producers(self, item: Item, year: int) -> list[Part]:
        held = self.book.world_mix(item, year)
        if held is None:
            return []
        mix, quantities = held
        unit = self.book.unit_of(mix.material, year)
        parts = [
            Part("input", "material", say(
                "production of {m}, {basis}", "productie van {m}, {basis}", m=mix.material,
                basis=Words("a statistic", "een statistiek") if mix.basis == "observed"
                else Words("a cited list of producers", "een aangehaalde lijst van producenten"),
            ))
        ]  # fmt: skip
        shares = largest_first(known_part(mix.shares))
        for country, share in shares[: self.most]:
            amount = say(", {q} {u}", ", {q} {u}", q=quantities[country], u=unit) if country in quantities else _NONE
            parts.append(self.country_part("flow", "producer", country, share, amount))
        parts += others(shares[self.most :], "flow")
        if mix.unlisted:
            parts.append(
                Part("missing", "unlisted_producers", say(
                    "listed without a figure, and left out: {c}", "genoemd zonder cijfer, en niet meegeteld: {c}",
                    c=joined([self.book.country(c) for c in mix.unlisted], ", "),
                ), float(len(mix.unlisted)), "countries")
            )  # fmt: skip
        return parts

    # -- governance ----------------------------------------------------------------------------------------------

    def _plane(self, item: Item, year: int, row: Row) -> tuple[Plane, dict[str, float], frozenset[str]] | None:
        """The plane of the mix that a figure stands on, the mix, and the countries that are the focus itself."""
        basis, risk = row["basis"], self.book.risk(year)
        own: frozenset[str] = frozenset()
        if basis == "imports":
            mix = as_shares(weights_of(self.book.suppliers(item, year), row["measure"]))
        elif basis in ("observed", "producer_list"):
            held = self.book.world_mix(item, year)
            mix = {} if held is None else known_part(held[0].shares)
        else:
            own = self.book.members(item.focus, year)
            mix = self.book.vector(item, year, "v" if row["measure"] == "v" else "q")
        return (plane_of(mix, own, risk), mix, own) if mix else None

    def _governance(self, item: Item, year: int, row: Row) -> Found:
        held, name = self._plane(item, year, row), row["indicator"]
        if held is None:
            known = row["value"] is None
            return Found(None, None, None if known else NOTHING, known=known)
        plane, mix, own = held
        risk = self.book.risk(year)
        foreign = {c: s for c, s in known_part(mix).items() if c not in own}
        scored = {c: s for c, s in foreign.items() if c in risk}
        shown, more = first_terms(largest_first(scored))
        known_total = sum(scored.values())
        power = "²" if name == "G3" else ""
        terms = " + ".join(f"{{s{k}}}{power} × {{r{k}}}" for k in range(len(shown)))
        values: dict[str, object] = {}
        for k, (country, share) in enumerate(shown):
            values |= {f"s{k}": float(share), f"r{k}": float(risk[country])}
        start, end = ("(", ") / {known}") if name == "G2" and abs(known_total - 1.0) > SAME else ("", "")
        if name == "G3":
            start, end = "10 × (", ")"
        value = plane.g2 if name == "G2" else plane.g3
        template = f"{{name}} = {start}{terms}{{more}}{end} = {{value}}"
        formula = say(template, template, name=name, more=more, known=known_total, value=value, **values)
        parts = []
        for country, share in largest_first(foreign)[: self.most]:
            text = (
                say(", risk {r}", ", risico {r}", r=float(risk[country]))
                if country in risk
                else Words(", no governance score", ", geen bestuursscore")
            )
            parts.append(self.country_part("flow", "country", country, share, text))
        parts += others(largest_first(foreign)[self.most :], "flow")
        if name == "G2":
            parts += self._turn_risk(plane, scored, risk)
        return Found(formula if shown else None, value, parts=parts)

    def _turn_risk(self, plane: Plane, scored: Mapping[str, float], risk: Mapping[str, float]) -> list[Part]:
        found = self.limit("G2")
        if found is None or plane.g2 is None:
            return []
        limit, flagged = found[0], plane.g2 > found[0]
        total = sum(scored.values())
        top = largest_first(scored)[0][0]
        left = total - scored[top]
        text = say("G2 would have to be {limit}; {turn}", "G2 zou {limit} moeten zijn; {turn}",
                   limit=limit, turn=turns_words(flagged, limit))  # fmt: skip
        parts = [Part("turn", "G2", text, limit, "index 0-1")]
        if left > 1e-12:
            rest = sum(s * risk[c] for c, s in scored.items() if c != top) / left
            share = share_at_risk(limit, risk[top], rest)
            if share is not None:
                parts.append(
                    Part("turn", "G2 top country", say(
                        "With {top} at {share} of the scored foreign part (now {now}), the others in proportion, G2 "
                        "would be {limit}",
                        "Met {top} op {share} van het buitenlandse deel met een score (nu {now}), de anderen naar "
                        "verhouding, was G2 {limit}",
                        top=self.book.country(top), share=Percent(share), now=Percent(scored[top] / total),
                        limit=limit,
                    ), share, "share", top)
                )  # fmt: skip
        needed = (limit * total - sum(s * risk[c] for c, s in scored.items() if c != top)) / scored[top]
        if 0.0 <= needed <= 1.0:
            parts.append(
                Part("turn", "G1", say(
                    "With a governance risk of {top} of {r} (now {now}), G2 would be {limit}",
                    "Met een bestuursrisico van {top} van {r} (nu {now}) was G2 {limit}",
                    top=self.book.country(top), r=needed, now=float(risk[top]), limit=limit,
                ), needed, "index 0-1", top)
            )  # fmt: skip
        return parts

    # -- traced ------------------------------------------------------------------------------------------------

    def _concentration_of_traced(self, item: Item, year: int, row: Row) -> Found:
        vector = self.book.vector(item, year, "v" if row["measure"] == "v" else "q")
        if not vector:
            return Found(None, None, None if row["value"] is None else NOTHING, known=row["value"] is None)
        own = self.book.members(item.focus, year)
        plane = plane_of(vector, own, {})
        foreign = {c: s for c, s in known_part(vector).items() if c not in own}
        name = row["indicator"]
        if name == "O1r":
            return Found(squares("O1r", as_shares(foreign)), plane.o1_renormalised,
                         parts=self.makers(item, year, row["measure"]))  # fmt: skip
        formula = squares("O1", foreign)
        left = 1.0 - plane.foreign
        if left > 0.0005:
            formula = formula + say(
                " (own supply and unknown origin, {left}, are not squared)",
                " (eigen aanbod en onbekende herkomst, {left}, tellen niet mee)", left=Percent(left),
            )  # fmt: skip
        parts = [
            *self.makers(item, year, row["measure"]),
            *self._turn_concentration("O1", foreign, row["value"]),
        ]
        return Found(formula, plane.o1, parts=parts)

    def _top_of_traced(self, item: Item, year: int, row: Row) -> Found:
        vector = (
            self.book.vector(item, year, row["measure"]) if item.level == "hs6" else self.book.own_supply(item, year)
        )
        if vector is None:
            why = say(
                "the node has several codes, and this home has not how they were traced (table tracing)",
                "de knoop heeft meerdere codes, en dit datadepot bevat niet hoe ze zijn herleid (tabel tracing)",
            )
            return Found(absent=why, known=False)
        if not vector:
            return Found(None, None)
        top, share, _ = top_third_country(vector, self.book.members(item.focus, year), self.book.union(year))
        formula = self._top_words("C4b", top, share, Words("of the traced supply", "van het herleide aanbod"))
        return Found(
            formula, share, parts=[*self.makers(item, year, row["measure"]), *self._turn_share("C4b", top, share)]
        )

    def _part_of_traced(self, item: Item, year: int, row: Row) -> Found:
        vector = self.book.vector(item, year, "v" if row["measure"] == "v" else "q")
        if not vector:
            return Found(None, None, None if row["value"] is None else NOTHING, known=row["value"] is None)
        own = self.book.members(item.focus, year)
        held = {c: s for c, s in vector.items() if (c in own if row["indicator"] == "own_share" else c == UNKNOWN)}
        value = sum(held.values())
        formula = say("{name} = {value}", "{name} = {value}", name=row["indicator"], value=value)
        return Found(formula, value, parts=self.makers(item, year, row["measure"]))

    def _imputed(self, item: Item, year: int, row: Row) -> Found:
        node = self.book.node_of(item)
        if node is None:
            traced = self.book.traced(item, item.code, year, row["measure"])
            if traced is None:
                return Found(absent=Words("this home has not table tracing", "dit datadepot bevat tabel tracing niet"),
                             known=False)  # fmt: skip
            value = traced["imputed_share"]
        else:
            rows = self.book.exposure(item, node, year)
            if not rows:
                return Found(None, None)
            value = rows[0]["imputed_share"]
        formula = say("sum over makers of share × imputed part = {v}",
                      "som over producenten van aandeel × geraamd deel = {v}", v=value)  # fmt: skip
        return Found(formula, value, parts=self.makers(item, year, row["measure"]))

    def _hub_gap(self, item: Item, year: int, row: Row) -> Found:
        vector = self.book.vector(item, year)
        plane = plane_of(vector, self.book.members(item.focus, year), {}) if vector else None
        amounts = self.book.suppliers(item, year)
        direct = hhi_of(list(weights_of(amounts, "q").values()))
        if plane is None or plane.o1_renormalised is None or direct is None:
            return Found(None, None)
        value = plane.o1_renormalised - direct
        formula = say(
            "O2 = HHI traced {a} - HHI direct {b} = {v}", "O2 = HHI herleid {a} - HHI direct {b} = {v}",
            a=plane.o1_renormalised, b=direct, v=value,
        )  # fmt: skip
        return Found(formula, value, parts=[*self.makers(item, year, "q"), *self.suppliers(amounts, "q")])

    def _node_test(self, item: Item, year: int, row: Row) -> Found:
        criteria = self.test_criteria(item, year, (row["measure"],))
        limits = self.book.thresholds
        o1, g2 = (c.value for c in criteria)
        if o1 is None:
            return Found(None, None)
        told = node_test(o1, g2, limits.T_hhi.flag, limits.T_wgi.flag)
        parts = [
            *self.criteria_parts(item, criteria),
            *self.makers(item, year, row["measure"]),
            *self.turn_conjunction(item, year, criteria),
        ]
        return Found(conjunction_words("T", criteria), None if told is None else float(told), parts=parts)

    def test_criteria(self, item: Item, year: int, measures: Sequence[str] = ("q", "p")) -> list[Criterion]:
        """The two criteria of the node test (T) of an item, on its traced or world mix plane."""
        limits = self.book.thresholds
        o1 = self.book.figure(item, year, "O1", measures, ("traced", WORLD_MIX))
        g2 = self.book.figure(item, year, "G2", measures, ("traced", WORLD_MIX))
        return [
            Criterion("O1", None if o1 is None else o1["value"], limits.T_hhi.flag),
            Criterion("G2", None if g2 is None else g2["value"], limits.T_wgi.flag),
        ]

    def production_criteria(self, item: Item, year: int) -> list[Criterion]:
        """The two criteria of TNO's plane of world production of an item."""
        c3 = self.book.figure(item, year, "C3", ("p",), ("observed", "producer_list"))
        g2 = self.book.figure(item, year, "G2", ("p",), ("observed", "producer_list"))
        limits = self.book.thresholds
        return [
            Criterion("C3", None if c3 is None else c3["value"], limits.C3.flag),
            Criterion("G2", None if g2 is None else g2["value"], limits.G2.flag),
        ]

    # -- years -------------------------------------------------------------------------------------------------

    def year_criteria(self, item: Item, year: int) -> list[Criterion]:
        """The three criteria of GeoDep in one year."""
        out = []
        for name, bases in (("C1", ("imports",)), ("C2", ("exports",)), ("S1", ("imports",))):
            row = self.book.figure(item, year, name, ("v",), bases)
            column = "method_value" if name == "S1" else "value"
            limit = self.limit(name)
            out.append(Criterion(name, None if row is None else row[column], 0.0 if limit is None else limit[0]))
        return out

    def year_holds(self, item: Item, year: int) -> bool | None:
        """Whether GeoDep's criteria hold in a year; unknown without imports."""
        imports = self.book.figure(item, year, "M", ("v",))
        if imports is None or not imports["value"]:
            return None
        criteria = self.year_criteria(item, year)
        return False if any(c.holds is False for c in criteria) else kleene_all(criteria)

    def _criteria(self, item: Item, year: int, row: Row) -> Found:
        criteria = self.year_criteria(item, year)
        told = self.year_holds(item, year)
        parts = [*self.criteria_parts(item, criteria), *self.turn_conjunction(item, year, criteria)]
        return Found(conjunction_words("geodep_criteria", criteria), None if told is None else float(told), parts=parts)

    def _persistence(self, item: Item, year: int, row: Row) -> Found:
        limits = self.book.thresholds.P1
        years = list(range(year - limits.window + 1, year + 1))
        held = {y: self.year_holds(item, y) for y in years}
        sure, unsure = sum(h is True for h in held.values()), sum(h is None for h in held.values())
        told = sure >= limits.at_least or sure + unsure < limits.at_least
        parts = [
            Part("input", f"geodep_criteria {y}", say("{y}: {h}", "{y}: {h}", y=y, h=yes_no(h)),
                 None if h is None else float(h), "0/1")
            for y, h in held.items()
        ]  # fmt: skip
        formula = say("P1 = {t} = {v}", "P1 = {t} = {v}", v=float(sure) if told else None,
                      t=" + ".join("?" if h is None else str(int(h)) for h in held.values()))  # fmt: skip
        return Found(formula, float(sure) if told else None, parts=parts)

    def _churn(self, item: Item, year: int, row: Row) -> Found:
        before, now = (self.book.flagged(item, y) for y in (year - 1, year))
        if before is None or now is None:
            why = Words("the verdicts of both years are not in the tables", "de oordelen van beide jaren ontbreken")
            return Found(absent=why, known=False)
        kept = before & now
        value = 1.0 - len(kept) / len(before) if before and row["value"] is not None else None
        formula = say(
            "P2 = 1 - {k} flagged in both years / {b} flagged in {y} = {v}",
            "P2 = 1 - {k} met een signaal in beide jaren / {b} met een signaal in {y} = {v}",
            k=len(kept), b=len(before), y=year - 1, v=value,
        )  # fmt: skip
        parts = []
        for what, codes, en, nl in (("gone", before - now, "no longer flagged", "geen signaal meer"),
                                    ("new", now - before, "newly flagged", "nieuw signaal")):  # fmt: skip
            shown = sorted(codes)[: self.most]
            if shown:
                text = ", ".join(shown) + (f" (+{len(codes) - len(shown)})" if len(codes) > len(shown) else "")
                parts.append(
                    Part("flow", what, say(f"{en}: {{c}}", f"{nl}: {{c}}", c=text), float(len(codes)), "codes")
                )
        return Found(formula, value, parts=parts)

    # -- chains ------------------------------------------------------------------------------------------------

    def _links(self, item: Item, year: int, world: bool) -> list[tuple[Row, Item, Row]]:
        """Nodes of the group that were looked through, with their item and first exposure row, by tier."""
        found = []
        for row in self.book.nodes(item.group):
            node = self.book.node_item(str(item.group), row["node"], item)
            seen = self.book.exposure(item, row["node"], year)
            if node is not None and seen and (seen[0]["basis"] == WORLD_MIX) is world:
                found.append((row, node, seen[0]))
        return sorted(found, key=lambda f: (f[0]["tier"], f[0]["node"]))

    def tested(self, node: Item, year: int) -> bool | None:
        """T of a node as its figures give it."""
        return kleene_pair(self.test_criteria(node, year))

    def _head_fails(self, item: Item, year: int) -> tuple[bool | None, Item | None]:
        product = self.book.head(str(item.group))
        head = None if product is None else self.book.node_item(str(item.group), product, item)
        told = None if head is None else self.tested(head, year)
        return (None if told is None else not told), head

    def _indirect(self, item: Item, year: int, row: Row) -> Found:
        fails, head = self._head_fails(item, year)
        if head is None:
            return Found(None, None)
        least = self.book.thresholds.X1_weight.at_least
        links = [f for f in self._links(item, year, world=False) if 1 <= f[0]["tier"] <= MAX_TIER]
        eligible = [f for f in links if (f[0]["path_weight"] or 0.0) >= least]
        upstream = kleene_or(self.tested(node, year) for _, node, _ in eligible)
        value = kleene_and(fails, upstream)
        blind = [w for w, _ in reasons(row["reason"]) if w in ("upstream_not_computable", "path_weight_unknown")]
        if not eligible and blind and fails is not False:
            value = None
        formula = say(
            "X1 = (tier 0 fails T: {fails}) and (a node of tier 1-2 passes it: {up}) = {v}",
            "X1 = (trede 0 zakt voor T: {fails}) en (een knoop van trede 1-2 slaagt: {up}) = {v}",
            fails=yes_no(fails), up=yes_no(upstream), v=None if value is None else float(value),
        )  # fmt: skip
        parts = [self._test_line(head, year, None)]
        parts += [self._test_line(node, year, place["path_weight"]) for place, node, _ in links]
        parts += self.turn_indirect(item, year, head, [n for _, n, _ in eligible], self.test_criteria, fails, upstream)
        light = [f for f in links if f not in eligible]
        parts += [
            Part("turn", "path_weight", say(
                "{n} does not count: its path weighs {w}, less than {least}",
                "{n} telt niet mee: het pad weegt {w}, minder dan {least}",
                n=self.book.name("node", place["node"]), w=place["path_weight"], least=least,
            ), least, "share")
            for place, node, _ in light if self.tested(node, year)
        ]  # fmt: skip
        if row["worst_code"]:
            parts += self.chain_down(item, row["worst_code"], year)
        return Found(formula, None if value is None else float(value), parts=parts)

    def _indirect_global(self, item: Item, year: int, row: Row) -> Found:
        fails, head = self._head_fails(item, year)
        if head is None:
            return Found(None, None)
        links = [*self._links(item, year, world=False), *self._links(item, year, world=True)]
        nodes = [
            node
            for place, node, _ in links
            if 1 <= place["tier"] <= MAX_TIER and self.production_criteria(node, year)[0].value is not None
        ]
        upstream = kleene_or(kleene_pair(self.production_criteria(n, year)) for n in nodes)
        value = kleene_and(fails, upstream)
        if not nodes and fails is not False and "no_production_data" in [w for w, _ in reasons(row["reason"])]:
            value = None
        formula = say(
            "X1g = (tier 0 fails T: {fails}) and (production of a node upstream has C3 and G2 above their limits: "
            "{up}) = {v}",
            "X1g = (trede 0 zakt voor T: {fails}) en (de productie van een knoop stroomopwaarts heeft C3 en G2 boven "
            "hun grens: {up}) = {v}",
            fails=yes_no(fails), up=yes_no(upstream), v=None if value is None else float(value),
        )  # fmt: skip
        parts = [self._test_line(head, year, None)]
        for node in nodes:
            criteria = self.production_criteria(node, year)
            parts.append(
                Part("input", node.code, say("{n}: {c}", "{n}: {c}", n=self.book.about(node),
                                             c=conjunction_words("", criteria)), criteria[0].value, "index 0-1")
            )  # fmt: skip
        parts += self.turn_indirect(item, year, head, nodes, self.production_criteria, fails, upstream)
        if row["worst_code"]:
            named = self.book.node_item(str(item.group), row["worst_code"], item)
            parts += [] if named is None else self.producers(named, year)
        return Found(formula, None if value is None else float(value), parts=parts)

    def _test_line(self, node: Item, year: int, weight: float | None) -> Part:
        criteria = self.test_criteria(node, year)
        told = kleene_pair(criteria)
        end = _NONE
        if node.tier:
            end = say(", path weight {w}", ", padgewicht {w}", w=weight)
        text = say("tier {t}, {n}: {c}{end}", "trede {t}, {n}: {c}{end}", t=node.tier, n=self.book.about(node),
                   c=conjunction_words("", criteria), end=end)  # fmt: skip
        return Part("input", node.code, text, None if told is None else float(told), "0/1")

    def _weakest(self, item: Item, year: int, row: Row) -> Found:
        world = row["indicator"] == "X2_global"
        kind = WORLD_MIX if world else "traced"
        best: tuple[float, str] | None = None
        parts: list[Part] = []
        for place, node, _ in self._links(item, year, world):
            g3 = self.book.figure(node, year, "G3", ("q", "p"), (kind,))
            weight = place["path_weight"]
            risk = None if g3 is None or g3["value"] is None else g3["value"] / 10.0
            value = None if risk is None or weight is None else weight * risk
            parts.append(
                Part("input", place["node"], say(
                    "tier {t}, {n}: path weight {w} × {r} = {v}", "trede {t}, {n}: padgewicht {w} × {r} = {v}",
                    t=place["tier"], n=self.book.name("node", place["node"]), w=weight, r=risk, v=value,
                ), value, "index 0-1")
            )  # fmt: skip
            if value is not None and (best is None or value > best[0]):
                best = (value, place["node"])
        if best is None:
            return Found(None, None, parts=parts)
        formula = say(
            "{i} = largest of path weight × sum of foreign share² × risk = {v}, at {n}",
            "{i} = grootste van padgewicht × som van buitenlands aandeel² × risico = {v}, bij {n}",
            i=row["indicator"], v=best[0], n=self.book.name("node", best[1]),
        )  # fmt: skip
        return Found(formula, best[0], parts=[*parts, *self.chain_down(item, best[1], year)])

    def _hidden(self, item: Item, year: int, row: Row) -> Found:
        start = self.book.vector(item, year)
        if not start:
            return Found(None, None)
        own = self.book.members(item.focus, year)
        best: tuple[float, str, str, float] | None = None
        for place, node, _ in self._links(item, year, row["indicator"].endswith("_global")):
            if place["tier"] < 1:
                continue
            for country, share in sorted(self.book.vector(node, year).items()):
                gap = share - start.get(country, 0.0)
                if country not in own and country != UNKNOWN and (best is None or gap > best[0]):
                    best = (gap, place["node"], country, share)
        if best is None:
            return Found(None, None)
        formula = say(
            "{i} = share of {c} at {n} - its share at tier 0 = {a} - {b} = {v}",
            "{i} = aandeel van {c} bij {n} - het aandeel op trede 0 = {a} - {b} = {v}",
            i=row["indicator"], c=self.book.country(best[2]), n=self.book.name("node", best[1]), a=best[3],
            b=start.get(best[2], 0.0), v=best[0],
        )  # fmt: skip
        return Found(formula, best[0], parts=self.chain_down(item, best[1], year))

    def chain_down(self, item: Item, node: str, year: int) -> list[Part]:
        """The path from the product to a node, each step with its largest origins, then the countries it runs by."""
        place = self.book.node(item.group, node)
        if place is None:
            return []
        parts = []
        for step in (place["path"] or "").split(" <- "):
            row, seen = self.book.node(item.group, step), self.book.exposure(item, step, year)
            if row is None:
                continue
            if not seen:
                text = say("{n}: passes its users' mix on, it has no data of its own ({s})",
                           "{n}: geeft de mix van de gebruikers door, zonder eigen data ({s})",
                           n=self.book.name("node", step), s=row["status"])  # fmt: skip
                parts.append(Part("flow", f"step {step}", text))
                continue
            shares = largest_first({r["country"]: r["share_traced"] for r in seen if r["share_traced"]})[:3]
            text = say("tier {t}, {n}: {c}", "trede {t}, {n}: {c}", t=row["tier"], n=self.book.name("node", step),
                       c=self.listed(shares))  # fmt: skip
            parts.append(Part("flow", f"step {step}", text, shares[0][1], "share", shares[0][0]))
        ways = self.book.paths(item, node, year)
        for way in ways[: self.most]:
            text = say("way {r}: {p}, {s}", "route {r}: {p}, {s}", r=way["rank"], p=way["path"],
                       s=Percent(way["share"]))  # fmt: skip
            parts.append(Part("flow", "path", text, way["share"], "share", way["origin"]))
        if ways:
            left = 1.0 - sum(w["share"] for w in ways[: self.most])
            text = say("all other ways together {s}", "alle andere routes samen {s}", s=Percent(max(left, 0.0)))
            parts.append(Part("flow", "other paths", text, max(left, 0.0), "share"))
        return parts

    # -- flows -------------------------------------------------------------------------------------------------

    def suppliers(self, amounts: Amounts, measure: str) -> list[Part]:
        """The largest direct suppliers."""
        return self.amounts_of(amounts, measure, "supplier", Words("of imports", "van de invoer"))

    def amounts_of(self, amounts: Amounts, measure: str, what: str, of: Words) -> list[Part]:
        shares = as_shares(weights_of(amounts, measure))
        parts = []
        for country, share in largest_first(shares)[: self.most]:
            held = amounts[country]
            text = say(": {v} thousand USD, {q} t", ": {v} duizend USD, {q} t", v=held.value, q=held.tonnes)
            if held.tonnes is None:
                text = say(": {v} thousand USD, no quantity", ": {v} duizend USD, geen hoeveelheid", v=held.value)
            parts.append(self.country_part("flow", what, country, share, Words(f" {of.en}", f" {of.nl}") + text))
        parts += others(largest_first(shares)[self.most :], "flow")
        lacking = [c for c, a in amounts.items() if a.tonnes is None]
        if measure == "q" and lacking:
            value = sum(amounts[c].value for c in lacking)
            parts.append(
                Part("missing", "no_mass", say(
                    "{n} countries without any quantity are left out: {v} thousand USD",
                    "{n} landen zonder enige hoeveelheid tellen niet mee: {v} duizend USD",
                    n=len(lacking), v=value,
                ), value, "thousand USD")
            )  # fmt: skip
        return parts

    def makers(self, item: Item, year: int, measure: str) -> list[Part]:
        """The largest makers of the traced supply, and through which countries it comes."""
        vector = self.book.vector(item, year, "v" if measure == "v" else "q")
        own = self.book.members(item.focus, year)
        parts = []
        bought = self.book.suppliers(item, year)
        mass = as_shares(weights_of(bought, "q"))
        through = self._through(item, year) if measure != "v" else {}
        shown = largest_first(vector)[: self.most]
        for country, share in shown:
            text = _NONE
            if country in own:
                text = Words(" (own production)", " (eigen productie)")
            elif country == UNKNOWN:
                text = Words(" (of unknown origin)", " (onbekende herkomst)")
            elif ways := [(c, s) for c, s in largest_first(through.get(country, {})) if s >= 0.001][:3]:
                text = say(", bought from {w}", ", gekocht van {w}", w=self.listed(ways))
            parts.append(self.country_part("flow", "maker", country, share, text))
        parts += others(largest_first(vector)[self.most :], "flow")
        if (item.tier or 0) == 0:
            gaps = {c: s - vector.get(c, 0.0) for c, s in mass.items() if s - vector.get(c, 0.0) > 0.01}
            for country, _ in largest_first(gaps)[:3]:
                parts.append(
                    Part("flow", "hub", say(
                        "{c} ships {d} of the imports by mass and makes {t} of the supply",
                        "{c} levert {d} van de invoer naar gewicht en maakt {t} van het aanbod",
                        c=self.book.country(country), d=Percent(mass[country]), t=Percent(vector.get(country, 0.0)),
                    ), mass[country], "share", country)
                )  # fmt: skip
        elif item.level == "node":
            parts += self.chain_down(item, item.code, year)
        return parts

    def _through(self, item: Item, year: int) -> dict[str, dict[str, float]]:
        """Maker -> direct supplier -> share of the focus's supply; of one code and one country only.

        ``tonnes_j / supply * O[j, c]``: what supplier j sells of what c made.
        """
        codes = self.book.codes(item)
        if len(codes) != 1 or item.focus in self.book.reference.bloc_names or (item.tier or 0) > 0:
            return {}
        traced = self.book.traced(item, codes[0], year)
        if traced is None or not traced["supply"]:
            return {}
        found: dict[str, dict[str, float]] = {}
        for seller, amount in self.book.suppliers(item, year).items():
            for maker, share in self.book.origins(item, codes[0], year, seller).items():
                found.setdefault(maker, {})[seller] = (amount.tonnes or 0.0) / traced["supply"] * share
        return found

    def _shares_of(
        self, weights: Mapping[str, float], what: str, part: str, of: Words, *, amounts: bool, unit: Words
    ) -> list[Part]:
        total = sum(weights.values())
        shown = largest_first(weights)[: self.most]
        parts = []
        for country, amount in shown:
            text = say(" {of}: {v} {u}", " {of}: {v} {u}", of=of, v=amount, u=unit) if amounts else _NONE
            parts.append(self.country_part(part, what, country, amount / total, text))
        return parts

    def country_part(self, part: str, what: str, country: str, share: float, more: Words) -> Part:
        text = say("{c} {s}", "{c} {s}", c=self.book.country(country), s=Percent(share)) + more
        return Part(part, what, text, share, "share", country)

    def listed(self, shares: Sequence[tuple[str, float]]) -> Words:
        texts = [say("{c} {s}", "{c} {s}", c=self.book.country(c), s=Percent(s)) for c, s in shares]
        return joined(texts, ", ")

    def _top_words(self, name: str, top: str | None, share: float, of: Words) -> Words:
        if top is None:
            return say("{n} = 0: no supplier outside the focus and the EU27",
                       "{n} = 0: geen leverancier buiten de focus en de EU27", n=name)  # fmt: skip
        country = self.book.country(top)
        return say("{n} = {c}, {s} {of}", "{n} = {c}, {s} {of}", n=name, c=country, s=float(share), of=of)

    # -- what would turn it --------------------------------------------------------------------------------------

    def _turn_concentration(self, name: str, counted: Mapping[str, float], value: float | None) -> list[Part]:
        """The share of the top supplier at which a concentration reaches its limit, the others in proportion."""
        found = self.limit(name)
        if found is None or value is None or not counted:
            return []
        limit, flagged = found[0], value > found[0]
        top, share = largest_first(counted)[0]
        country = self.book.country(top)
        rest = rest_concentration(list(counted.values()), share)
        at = None if rest is None else share_at_limit(limit, share, rest)
        if at is None:
            return self._turn_by_newcomers(name, limit, value, country, top, rest) if flagged else []
        text = say(
            "With {c} at {p} (now {now}), the others in proportion, {name} would be {limit}; {turn}",
            "Met {c} op {p} (nu {now}), de anderen naar verhouding, was {name} {limit}; {turn}",
            c=country, p=Percent(at), now=Percent(share), name=name, limit=limit, turn=turns_words(flagged, limit),
        )  # fmt: skip
        return [Part("turn", name, text, at, "share", top)]

    def _turn_by_newcomers(
        self, name: str, limit: float, value: float, country: Words, top: str, rest: float | None
    ) -> list[Part]:
        """Where no share of the top supplier brings a concentration down: new suppliers of equal size that do."""
        n = new_suppliers(limit, value)
        kept = share_at_limit(limit, 1.0, 1.0 / n, value)
        if rest is None:
            why = say("{c} is the only one", "{c} is de enige", c=country)
        else:
            why = say(
                "no share of {c} alone brings {name} below {least}", "geen aandeel van {c} alleen brengt {name} onder "
                "{least}", c=country, name=name, least=least_concentration(1.0, rest),
            )  # fmt: skip
        text = say(
            "{why}; with {n} new suppliers of equal size that take {p} together from all in proportion, {name} would "
            "be {limit}; {turn}",
            "{why}; met {n} nieuwe leveranciers van gelijke grootte die samen {p} van allen naar verhouding overnemen, "
            "was {name} {limit}; {turn}",
            why=why, n=n, p=None if kept is None else Percent(1.0 - kept), name=name, limit=limit,
            turn=turns_words(True, limit),
        )  # fmt: skip
        return [Part("turn", name, text, None if kept is None else 1.0 - kept, "share", top)]

    def _turn_share(self, name: str, top: str | None, share: float) -> list[Part]:
        found = self.limit(name)
        if found is None or top is None:
            return []
        text = say(
            "With {c} at {limit} (now {now}), {name} would be on its limit; {turn}",
            "Met {c} op {limit} (nu {now}) lag {name} op de grens; {turn}",
            c=self.book.country(top), limit=Percent(found[0]), now=Percent(share), name=name,
            turn=turns_words(share > found[0], found[0]),
        )  # fmt: skip
        return [Part("turn", name, text, found[0], "share", top)]

    def criteria_parts(self, item: Item, criteria: Sequence[Criterion]) -> list[Part]:
        """The criteria of a conjunction as inputs."""
        return [
            Part("input", c.name, say("{n}: {c}", "{n}: {c}", n=self.book.name("indicator", c.name),
                                      c=criterion_words(c)), c.value, None)
            for c in criteria
        ]  # fmt: skip

    def turn_conjunction(self, item: Item, year: int, criteria: Sequence[Criterion]) -> list[Part]:
        """What must change for a conjunction to turn: the nearest criterion where it holds, all failing ones else."""
        changing = to_turn(criteria)
        parts = []
        if len(changing) > 1:
            parts.append(
                Part("turn", "several", say(
                    "{n} things must change together: {c}", "{n} dingen moeten samen veranderen: {c}",
                    n=len(changing), c=", ".join(c.name for c in changing),
                ), float(len(changing)), "criteria")
            )  # fmt: skip
        for criterion in changing:
            parts += self.turn_criterion(item, year, criterion)
        return parts

    def turn_criterion(self, item: Item, year: int, criterion: Criterion) -> list[Part]:
        """What must change for one criterion to turn: its margin, and the change of one flow that does it."""
        if criterion.value is None:
            return [Part("turn", criterion.name, say("{n} is unknown, so nothing can be said",
                                                     "{n} is onbekend, dus er is niets te zeggen",
                                                     n=criterion.name))]  # fmt: skip
        margin = say(
            "{n} is {v}, its limit {limit}: {d} away", "{n} is {v}, de grens {limit}: {d} verschil",
            n=criterion.name, v=criterion.value, limit=criterion.limit, d=abs(criterion.value - criterion.limit),
        )  # fmt: skip
        parts = [Part("turn", f"margin of {criterion.name}", margin, criterion.value - criterion.limit, None)]
        row = self.row_of(item, year, criterion.name)
        if row is not None:
            parts += self._with(criterion).turns(item, year, row)
        return parts

    def _with(self, criterion: Criterion) -> Self:
        """The same walks, with the limit of a criterion."""
        return type(self)(self.book, self.most, {**self._limits, criterion.name: (criterion.limit, criterion.sign)})

    def turns(self, item: Item, year: int, row: Row) -> list[Part]:
        """What would turn the flag of a figure."""
        return [p for p in self.found(item, year, row).parts if p.part == "turn"]

    def row_of(self, item: Item, year: int, name: str) -> Row | None:
        """The row that a criterion stands on: by value and by direct trade, on the traced plane else."""
        preferred = {"G2": (("q", "p"), ("traced", WORLD_MIX)), "C2": (("v",), ("exports",))}
        measures, bases = preferred.get(name, (("v", "q", "p"), ()))
        return self.book.figure(item, year, name, measures, bases)

    def turn_indirect(
        self,
        item: Item,
        year: int,
        head: Item,
        nodes: Sequence[Item],
        criteria_of: Callable[[Item, int], list[Criterion]],
        fails: bool | None,
        upstream: bool | None,
    ) -> list[Part]:
        """What must change for X1 or X1g to turn: the product itself, or the node nearest to its limits."""
        parts = []
        if fails is False:
            parts.append(
                Part("turn", "tier 0", say(
                    "{n} itself passes T: it is a direct dependency, and no indirect one as long as it does",
                    "{n} slaagt zelf voor T: het is een directe afhankelijkheid, en zolang geen indirecte",
                    n=self.book.about(head),
                ))
            )  # fmt: skip
            parts += self.turn_conjunction(head, year, self.test_criteria(head, year))
            return parts
        passing = [n for n in nodes if kleene_pair(criteria_of(n, year)) is True]
        if upstream is True:
            if len(passing) > 1:
                parts.append(
                    Part("turn", "several", say(
                        "{n} nodes pass: every one of them must fail for the flag to turn",
                        "{n} knopen slagen: ze moeten allemaal zakken voordat het signaal omslaat", n=len(passing),
                    ), float(len(passing)), "nodes")
                )  # fmt: skip
            for node in passing:
                parts += self._of_node(node, year, criteria_of(node, year))
            return parts
        failing = [(n, criteria_of(n, year)) for n in nodes if kleene_pair(criteria_of(n, year)) is False]
        if failing:
            # The nearest: fewest criteria to change, then the smallest of their margins.
            node, criteria = min(
                failing,
                key=lambda f: (len(to_turn(f[1])), max(abs(c.margin or 0.0) for c in to_turn(f[1])), f[0].code),
            )
            parts += self._of_node(node, year, criteria)
        return parts

    def _of_node(self, node: Item, year: int, criteria: Sequence[Criterion]) -> list[Part]:
        prefix = say("at {n}: ", "bij {n}: ", n=self.book.about(node))
        found = []
        for criterion in to_turn(criteria):
            row = self.row_of(node, year, criterion.name)
            if criterion.name == "G2" and criteria[0].name == "C3":
                row = self.book.figure(node, year, "G2", ("p",), ("observed", "producer_list"))
            if row is not None:
                found += self._with(criterion).turns(node, year, row)
        return [Part("turn", f"{node.code} {p.what}", prefix + p.text, p.value, p.unit, p.country) for p in found]


_NONE = Words("", "")


def kleene_all(criteria: Sequence[Criterion]) -> bool | None:
    """And over criteria: a failing one decides, then an unknown one."""
    found: bool | None = True
    for criterion in criteria:
        found = kleene_and(found, criterion.holds)
    return found


def kleene_pair(criteria: Sequence[Criterion]) -> bool | None:
    """Concentration and governance as :func:`ketenpipe.risk.planes.node_test` joins them."""
    concentration, governance = criteria
    if concentration.value is None:
        return None
    return node_test(concentration.value, governance.value, concentration.limit, governance.limit)


def yes_no(value: bool | None) -> Words:
    """A three-valued answer in words."""
    return {True: Words("yes", "ja"), False: Words("no", "nee"), None: Words("unknown", "onbekend")}[value]


def criterion_words(criterion: Criterion) -> Words:
    """``0.55 > 0.4: yes``."""
    sign = criterion.sign
    if criterion.holds is False:
        sign = {">": "<=", ">=": "<", "<": ">="}[criterion.sign]  # type: ignore[assignment]
    return say("{n} {v} {sign} {limit}: {h}", "{n} {v} {sign} {limit}: {h}", n=criterion.name, v=criterion.value,
               sign=sign, limit=criterion.limit, h=yes_no(criterion.holds))  # fmt: skip


def conjunction_words(name: str, criteria: Sequence[Criterion]) -> Words:
    """``T = (O1 0.55 > 0.4: yes) and (G2 0.3 <= 0.5: no)``."""
    en = " and ".join(f"({criterion_words(c).en})" for c in criteria)
    nl = " en ".join(f"({criterion_words(c).nl})" for c in criteria)
    start = f"{name} = " if name else ""
    return Words(start + en, start + nl)


def turns_words(flagged: bool, limit: float) -> Words:
    if flagged:
        return say("at {l} or below it does not flag", "op {l} of lager slaat het niet aan", l=limit)
    return say("above {l} it flags", "boven {l} slaat het aan", l=limit)


def unit_of(measure: str) -> Words:
    return Words("thousand USD", "duizend USD") if measure == "v" else Words("t", "t")


def weights_of(amounts: Amounts, measure: str) -> dict[str, float]:
    """Amounts above 0 in a measure."""
    return {c: a.by(measure) for c, a in amounts.items() if a.by(measure) > 0}


def as_shares(weights: Mapping[str, float]) -> dict[str, float]:
    total = sum(weights.values())
    return {c: w / total for c, w in weights.items() if w > 0} if total > 0 else {}


def first_terms(shares: Sequence[tuple[str, float]]) -> tuple[Sequence[tuple[str, float]], Words]:
    """The terms that a formula writes out, and how it says that there are more."""
    left = len(shares) - TERMS
    more = say(" + ({n} more)", " + (nog {n})", n=left) if left > 0 else _NONE
    return shares[:TERMS], more


def squares(name: str, shares: Mapping[str, float]) -> Words:
    """``C1 = 0.62² + 0.21² + (4 more) = 0.44``."""
    shown, more = first_terms(largest_first(shares))
    values = {f"s{k}": float(s) for k, (_, s) in enumerate(shown)}
    terms = " + ".join(f"{{s{k}}}²" for k in range(len(shown))) or "0"
    template = f"{{name}} = {terms}{{more}} = {{value}}"
    return say(template, template, name=name, more=more, value=sum(s * s for s in shares.values()), **values)


def others(shares: Sequence[tuple[str, float]], part: str) -> list[Part]:
    if not shares:
        return []
    total = sum(s for _, s in shares)
    text = say("{n} others together {s}", "{n} andere samen {s}", n=len(shares), s=Percent(total))
    return [Part(part, "others", text, total, "share")]
