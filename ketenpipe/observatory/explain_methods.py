"""How one verdict comes about: the criteria of the method with their figures, and what would turn it.

Belongs here: walking a named method's verdict back to the figures it is made of, and judging them again. Does not
belong here: the methods themselves (:mod:`ketenpipe.risk.methods`), figures (:mod:`explain_figures`).
"""

from __future__ import annotations

from collections.abc import Callable

from ketenpipe.chain.proportional import recipe_year
from ketenpipe.observatory.explain_book import Book, Item, Row
from ketenpipe.observatory.explain_criticality import published_geopolrisk
from ketenpipe.observatory.explain_figures import (
    MOST,
    WORLD_MIX,
    Found,
    Part,
    conjunction_words,
    criterion_words,
    kleene_all,
    kleene_pair,
    same,
    yes_no,
)
from ketenpipe.observatory.explain_walks import Walks
from ketenpipe.observatory.explain_words import Words, joined, reasons, say
from ketenpipe.risk.published import PUBLISHED, limits_of
from ketenpipe.risk.turning import Criterion, Sign, to_turn, years_to_turn


class Verdicts:
    """Walks verdicts back.

    Args:
        book: the tables.
        most: flows named by themselves.
    """

    def __init__(self, book: Book, most: int = MOST) -> None:
        self.book, self.figures = book, Walks(book, most)
        # GeoDep's limits are frozen with the method, whatever the configuration says.
        self._yearly = Walks(book, most, {n: (cut, ">") for n, cut in self._limits("geodep").items()})
        self._known: dict[str, Callable[[Item, int, Row], Found]] = {
            "geodep": self._geodep,
            "swd2021": self._swd2021,
            "cbs": self._cbs,
            "crma65": self._crma65,
            "tno": self._tno,
            "node_test": self._node_test,
            "indirect_specific": self._indirect,
            "indirect_global": self._indirect,
            "ec_criticality": self._ec,
            "foreign_input_reliance": self._reliance,
            "geopolrisk": self._geopolrisk,
        }

    def found(self, item: Item, year: int, row: Row) -> Found:
        """What a verdict is made of; ``value`` is 1 or 0 as its figures give it, told or only indicated."""
        walk = self._known.get(row["method"])
        if walk is None:
            why = Words("this version does not know the method", "deze versie kent de methode niet")
            return Found(absent=why, known=False, parts=self._decided(row))
        if row["method"] == "node_test" and self._indicative(item, year):
            return self._by_figure(item, year, "T")
        return walk(item, year, row)

    def _by_figure(self, item: Item, year: int, name: str) -> Found:
        """A verdict that is one figure."""
        figure = self.book.figure(item, year, name)
        if figure is None:
            return Found(absent=Words("its figure is not there", "het cijfer ontbreekt"), known=False)
        return self.figures.found(item, year, figure)

    def _limits(self, method: str) -> dict[str, float]:
        """The limits that a method judges by."""
        return {limit.indicator: limit.cut for limit in limits_of(method, self.book.thresholds)}

    def _indicative(self, item: Item, year: int) -> bool:
        """Whether the item's figures are by industry recipes only."""
        held = self.book.figures(item, year)
        return bool(held) and all(r["basis"] == "icio_proportional" for r in held)

    def _decided(self, row: Row) -> list[Part]:
        """The criterion that decided, where the verdict's row says so."""
        if row.get("decided_by") is None:
            return []
        text = say("{n} {v}", "{n} {v}", n=row["decided_by"], v=row.get("decided_value"))
        if row.get("decided_limit") is not None:
            text = text + say(" against {l}", " tegen {l}", l=row["decided_limit"])
        return [Part("input", row["decided_by"], text, row.get("decided_value"), None)]

    def _told(self, item: Item, year: int, name: str, criteria: list[Criterion], told: bool | None) -> Found:
        parts = [
            *self.figures.criteria_parts(item, criteria),
            *self._of_criteria(item, year, criteria),
            *self.figures.turn_conjunction(item, year, criteria),
        ]
        return Found(conjunction_words(name, criteria), _number(told), parts=parts)

    def _of_criteria(self, item: Item, year: int, criteria: list[Criterion]) -> list[Part]:
        """The largest flows behind each criterion, three each."""
        parts: list[Part] = []
        for criterion in criteria:
            row = self.figures.row_of(item, year, criterion.name)
            if row is None:
                continue
            flows = [p for p in self.figures.found(item, year, row).parts if p.part == "flow"][:3]
            prefix = Words(f"{criterion.name}: ", f"{criterion.name}: ")
            parts += [Part("flow", f"{criterion.name} {p.what}", prefix + p.text, p.value, p.unit, p.country)
                      for p in flows]  # fmt: skip
        return parts

    def _criterion(
        self, item: Item, year: int, name: str, measure: str, basis: str, limit: float, sign: Sign = ">",
        column: str = "value",
    ) -> Criterion:  # fmt: skip
        row = self.book.figure(item, year, name, (measure,), (basis,))
        return Criterion(name, None if row is None else row[column], limit, sign)

    # -- direct methods ----------------------------------------------------------------------------------------

    def _geodep(self, item: Item, year: int, row: Row) -> Found:
        window, needed = (int(PUBLISHED["geodep"].number(n)) for n in ("window", "years"))
        years = list(range(year - window + 1, year + 1))
        held = {y: self._yearly.year_holds(item, y) for y in years}
        sure, unsure = sum(h is True for h in held.values()), sum(h is None for h in held.values())
        told: bool | None = True if sure >= needed else None if sure + unsure >= needed else False
        formula = say(
            "geodep = all three criteria in at least {n} of {w} years: {y} -> {v}",
            "geodep = alle drie de criteria in ten minste {n} van {w} jaren: {y} -> {v}",
            n=needed, w=window, v=yes_no(told),
            y=joined([say("{y} {h}", "{y} {h}", y=y, h=yes_no(h)) for y, h in held.items()], ", "),
        )  # fmt: skip
        parts = []
        for y, h in held.items():
            criteria = self._yearly.year_criteria(item, y)
            parts.append(
                Part("input", str(y), say("{y}: {c} -> {h}", "{y}: {c} -> {h}", y=y,
                                          c=conjunction_words("", criteria), h=yes_no(h)),
                     None if h is None else float(h), "0/1")
            )  # fmt: skip
        parts += self._of_criteria(item, year, self._yearly.year_criteria(item, year))
        parts += self._turn_geodep(item, held, sure, needed)
        return Found(formula, _number(told), parts=parts)

    def _turn_geodep(self, item: Item, held: dict[int, bool | None], sure: int, needed: int) -> list[Part]:
        """The years that must turn, and of those that can the one with the smallest change."""
        flagged = sure >= needed
        count = years_to_turn(sure, needed)
        wanted = (
            (
                "In {n} of the years that hold the criteria would have to fail",
                "In {n} van de jaren die voldoen zouden de criteria moeten falen",
            )
            if flagged
            else (
                "In {n} more of the years the criteria would have to hold",
                "In nog {n} van de jaren zou aan de criteria moeten zijn voldaan",
            )
        )
        text = say(*wanted, n=count)
        parts = [Part("turn", "years", text, float(count), "years")]
        candidates = []
        for y, h in held.items():
            criteria = self._yearly.year_criteria(item, y)
            if h is flagged and all(c.value is not None for c in criteria):
                changing = to_turn(criteria)
                candidates.append((len(changing), max(abs(c.margin or 0.0) for c in changing), -y, y))
        for _, _, _, y in sorted(candidates)[:count]:
            for part in self._yearly.turn_conjunction(item, y, self._yearly.year_criteria(item, y)):
                prefix = Words(f"{y}: ", f"{y}: ")
                parts.append(Part("turn", f"{y} {part.what}", prefix + part.text, part.value, part.unit, part.country))
        return parts

    def _swd2021(self, item: Item, year: int, row: Row) -> Found:
        limits = self._limits("swd2021")
        criteria = [
            self._criterion(item, year, "C1", "v", "imports", limits["C1"]),
            self._criterion(item, year, "C5", "v", "imports", limits["C5"]),
            self._criterion(item, year, "S1b", "v", "imports", limits["S1b"], column="method_value"),
        ]
        return self._told(item, year, "swd2021", criteria, kleene_all(criteria))

    def _cbs(self, item: Item, year: int, row: Row) -> Found:
        high, moderate = self._limits("cbs")["C1"], PUBLISHED["cbs"].number("moderate")
        criterion = self._criterion(item, year, "C1", "v", "imports", high)
        value = criterion.value
        band = None if value is None else "high" if value > high else "moderate" if value > moderate else "low"
        formula = say(
            "cbs = C1 {v} against {m} (moderate) and {h} (high): {b}",
            "cbs = C1 {v} tegen {m} (matig) en {h} (hoog): {b}",
            v=value, m=moderate, h=high,
            b={"high": Words("high", "hoog"), "moderate": Words("moderate", "matig"), "low": Words("low", "laag"),
               None: Words("unknown", "onbekend")}[band],
        )  # fmt: skip
        parts = [*self.figures.criteria_parts(item, [criterion]), *self._of_criteria(item, year, [criterion])]
        if value is not None:
            for name, limit in (("moderate", moderate), ("high", high)):
                parts.append(
                    Part("turn", name, say(
                        "the band {n} begins above {l}: {d} away", "de band {n} begint boven {l}: {d} verschil",
                        n=Words(name, {"moderate": "matig", "high": "hoog"}[name]), l=limit, d=abs(value - limit),
                    ), limit, "index 0-1")
                )  # fmt: skip
        return Found(formula, _number(criterion.holds), parts=parts)

    def _crma65(self, item: Item, year: int, row: Row) -> Found:
        limit = self._limits("crma65")["C4b"]
        traced = self.book.figure(item, year, "C4b", ("q",), ("traced",))
        usable = (
            traced is not None
            and traced["value"] is not None
            and not {"export_proxy", "producer_list"} & {w for w, _ in reasons(traced["reason"])}
            and traced["confidence"] != "low"
        )
        criterion = (
            self._criterion(item, year, "C4b", "q", "traced", limit)
            if usable
            else self._criterion(item, year, "C4a", "v", "imports", limit)
        )
        other = (
            self._criterion(item, year, "C4a", "v", "imports", limit)
            if usable
            else self._criterion(item, year, "C4b", "q", "traced", limit)
        )
        why = (
            Words("production is observed", "de productie is waargenomen")
            if usable
            else Words("production is not observed, or too much of it is imputed",
                       "de productie is niet waargenomen, of te veel is geraamd")
        )  # fmt: skip
        formula = say("crma65 = {c} ({why})", "crma65 = {c} ({why})", c=criterion_words(criterion), why=why)
        parts = [
            *self.figures.criteria_parts(item, [criterion]),
            Part("input", f"{other.name} (beside)", say(
                "on the other basis: {c}", "op de andere grondslag: {c}", c=criterion_words(other)
            ), other.value, "share"),
            *self._of_criteria(item, year, [criterion]),
            *self.figures.turn_conjunction(item, year, [criterion]),
        ]  # fmt: skip
        return Found(formula, _number(criterion.holds), parts=parts)

    # -- planes ------------------------------------------------------------------------------------------------

    def _tno(self, item: Item, year: int, row: Row) -> Found:
        criteria = self.figures.production_criteria(item, year)
        parts = self.figures.criteria_parts(item, criteria)
        for name in ("C3", "G2"):
            held = self.book.figure(item, year, name, ("p",), ("observed", "producer_list"))
            if held is not None:
                made = self.figures.found(item, year, held).parts
                parts += [p for p in made if p.part == "turn"] if self._must(criteria, name) else []
                parts += [p for p in made if p.part == "flow"] if name == "C3" else []
        if len(changing := to_turn(criteria)) > 1:
            parts.append(
                Part("turn", "several", say(
                    "{n} things must change together: {c}", "{n} dingen moeten samen veranderen: {c}",
                    n=len(changing), c=", ".join(c.name for c in changing),
                ), float(len(changing)), "criteria")
            )  # fmt: skip
        return Found(conjunction_words("tno", criteria), _number(kleene_all(criteria)), parts=parts)

    @staticmethod
    def _must(criteria: list[Criterion], name: str) -> bool:
        return any(c.name == name for c in to_turn(criteria))

    def _node_test(self, item: Item, year: int, row: Row) -> Found:
        criteria = self.figures.test_criteria(item, year)
        base = self.book.figure(item, year, "O1", ("q", "p"), ("traced", WORLD_MIX))
        parts = [
            *self.figures.criteria_parts(item, criteria),
            *self.figures.makers(item, year, "q" if base is None else base["measure"]),
            *self.figures.turn_conjunction(item, year, criteria),
        ]
        told = None if criteria[0].value is None else kleene_pair(criteria)
        return Found(conjunction_words("node_test", criteria), _number(told), parts=parts)

    def _indirect(self, item: Item, year: int, row: Row) -> Found:
        name = "X1" if row["method"] == "indirect_specific" else "X1g"
        made = self._by_figure(item, year, name)
        value = made.value
        if name == "X1g" and value is None and row["flagged"]:
            # World production passes upstream whatever the product's own test would say.
            value = 1.0
        return Found(made.formula, value, made.absent, made.parts, made.known)

    def _reliance(self, item: Item, year: int, row: Row) -> Found:
        """Of an industry by its own I4; of a product by its industry's, in the year of the table it is joined to."""
        cut = self._limits("foreign_input_reliance")["I4"]
        note: list[Part] = []
        if item.level == "industry":
            return self._of_industry(item, year, cut, note)
        name, chosen = self.book.industry_of(item), recipe_year(self.book.years_of("I4", item.focus), year)
        if name is None or chosen is None:
            lacks = Words("no industry is joined to it", "er hoort geen bedrijfstak bij")
            return Found(None, None, parts=[Part("missing", "industry", lacks), *self._decided(row)])
        text = say("it takes the verdict of its industry, {i}, in {y}",
                   "het krijgt het oordeel van de bedrijfstak, {i}, in {y}",
                   i=self.book.name("industry", name), y=chosen)  # fmt: skip
        note.append(Part("input", "industry", text))
        return self._of_industry(Item(item.focus, "industry", name, None, None, None), chosen, cut, note)

    def _of_industry(self, item: Item, year: int, cut: float, note: list[Part]) -> Found:
        figure = self.book.figure(item, year, "I4")
        said = [] if figure is None else [w for w, _ in reasons(figure["reason"])]
        criterion = Criterion("I4", None if figure is None else figure["value"], cut)
        told = False if criterion.value is None and "below_reliance" in said else criterion.holds
        # A country without direct deliveries has no ratio: it could be the one, unless another already is.
        told = None if "no_face_value" in said and not told else told
        found = self._told(item, year, "foreign_input_reliance", [criterion], told)
        return Found(found.formula, found.value, parts=[*note, *found.parts])

    def _geopolrisk(self, item: Item, year: int, row: Row) -> Found:
        """The place of G4 as published among all items of the level; the top quarter is indicated."""
        scores: dict[str, float] = {}
        for r in self.book.of_all("G4", item.focus, item.level, year):
            score = r["value"] if r["method_value"] is None else r["method_value"]
            if r["hs_revision"] == item.hs_revision and score is not None:
                scores[r["code"]] = score
        figure = self.book.figure(item, year, "G4")
        made = None if figure is None else self.figures.found(item, year, figure)
        parts = [] if made is None else [p for p in made.parts if p.part != "turn"]
        own = published_geopolrisk(self.figures, item, year)
        if own is None and made is not None:
            own = made.value
        if own is None:
            return Found(None, None, parts=parts)
        scores[item.code] = own
        place = 1 + sum(s > own and not same(s, own) for s in scores.values())
        last = PUBLISHED["geopolrisk"].number("quarter") * len(scores)
        formula = say(
            "geopolrisk = rank {r} of {n} by G4 as published ({v}); the top quarter, to rank {q}, is indicated: {h}",
            "geopolrisk = rang {r} van {n} naar G4 zoals gepubliceerd ({v}); het bovenste kwart, tot rang {q}, wordt "
            "aangewezen: {h}", r=place, n=len(scores), v=own, q=int(last), h=yes_no(place <= last),
        )  # fmt: skip
        at = sorted(scores.values(), reverse=True)
        if int(last) and len(at) > int(last):
            limit = at[int(last) - 1] if place > last else at[int(last)]
            parts.append(Part("turn", "rank", say(
                "with a score of {l} (now {v}) it would stand at the edge of the top quarter",
                "met een score van {l} (nu {v}) stond het op de rand van het bovenste kwart", l=limit, v=own,
            ), limit, None if figure is None else figure["unit"]))  # fmt: skip
        text = say("rank computed again: {r} of {n}", "rang nagerekend: {r} van {n}", r=place, n=len(scores))
        holds = (place, len(scores)) == (row["rank"], row["ranked"])
        parts.insert(0, Part("figure", "rank again", text, float(place), None, None, holds))
        return Found(formula, float(place <= last), parts=parts)

    def _ec(self, item: Item, year: int, row: Row) -> Found:
        criteria = []
        notes: list[Part] = []
        for name, cut in self._limits("ec_criticality").items():
            figure = self.book.figure(item, year, name)
            value = None if figure is None else figure["value"]
            if value is None and figure is not None and name == "G5":
                # Without recycling and substitution the published practice, else the upper bound, only suggests.
                value = figure["high"] if figure["method_value"] is None else figure["method_value"]
                text = say(
                    "G5 itself is unknown; {v} is what it comes to without what is missing, and only suggests",
                    "G5 zelf is onbekend; {v} is wat het wordt zonder wat ontbreekt, en wijst slechts in een richting",
                    v=value,
                )  # fmt: skip
                notes.append(Part("missing", "G5", text, value, figure["unit"]))
            criteria.append(Criterion(name, value, cut, ">="))
        found = self._told(item, year, "ec_criticality", criteria, kleene_all(criteria))
        return Found(found.formula, found.value, None, [*found.parts, *notes])


def _number(value: bool | None) -> float | None:
    return None if value is None else float(value)
