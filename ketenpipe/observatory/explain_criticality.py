"""How the figures of a criticality assessment come about: S3, S4a-c, IR, G4, G5 with its part G5s, and EI.

Belongs here: walking these back to flows, production, scores, cited parameters, elasticities and accounts, and
computing them again. Does not belong here: how they were made (:mod:`ketenpipe.risk.criticality`), other figures.

Each walk starts from the rows of the sources, never from the figures that stand beside it in the release.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ketenpipe.observatory.explain_book import Item, OwnForm, Row, known_part, largest_first
from ketenpipe.observatory.explain_figures import (
    NO_FLOWS,
    NOTHING,
    Figures,
    Found,
    Part,
    as_shares,
    first_terms,
    weights_of,
)
from ketenpipe.observatory.explain_words import Percent, Words, say
from ketenpipe.sources.criticality_inputs import READ, EndUse, Parameter
from ketenpipe.sources.hs_industries import listed_codes

Walk = Callable[[Figures, Item, int, Row], Found]

_PARAMETER = {"S4a": "eol_rir", "S4b": "si_sr", "S4c": "si_ei"}
_LISTED = {
    "eol_rir": Words("recycling input rate", "aandeel recycling"),
    "si_sr": Words("substitution index of the supply risk", "substitutie-index van het aanbodrisico"),
    "si_ei": Words("substitution index of the economic importance", "substitutie-index van het economisch belang"),
}
_NO_LISTS = Words(
    "the list of cited parameters (material_parameters.csv) is not at hand",
    "de lijst van aangehaalde parameters (material_parameters.csv) is er niet bij",
)
_STATUS = {READ: Words("read", "gelezen")}
_MANUFACTURING = "C"
_EC_SCALE = 10.0
_UNSCORED = 0.5


# -- cited parameters ----------------------------------------------------------------------------------------


def _cited(figures: Figures, item: Item, year: int, name: str) -> Parameter | None:
    """The line of the list that counts: of the node before the material, of the last assessment up to the year."""
    book = figures.book
    assert book.lists.parameters is not None
    held = [p for p in book.lists.parameters.parameters if p.parameter == name]
    nodes, material = book.nodes_named(item), book.material_of(item)
    return _of_assessment([p for p in held if p.node in nodes] or [p for p in held if p.material and
                                                                   p.material == material], year)  # fmt: skip


def _of_assessment(held: Sequence[Parameter], year: int) -> Parameter | None:
    ordered = sorted(held, key=lambda p: (p.year > year, p.year if p.year > year else -p.year))
    return ordered[0] if ordered else None


def _trusted(cited: Parameter | None) -> float | None:
    """A figure that somebody read; a recalled one enters no other figure."""
    return cited.value if cited is not None and cited.citation_status == READ else None


def _cited_part(name: str, cited: Parameter | None) -> Part:
    if cited is None:
        return Part("missing", name, say("no {n} is cited for it", "er is geen {n} voor aangehaald", n=_LISTED[name]))
    status = _STATUS.get(cited.citation_status, Words("recalled", "uit het geheugen"))
    text = say(
        "{n} {v}, assessment of {y}, {g}: {c} ({s}; {f}, line {l})",
        "{n} {v}, beoordeling van {y}, {g}: {c} ({s}; {f}, regel {l})",
        n=_LISTED[name], v=cited.value, y=cited.year, g=cited.geography, c=cited.citation, s=status,
        f=Path(cited.file).name, l=cited.line,
    )  # fmt: skip
    return Part("input", name, text, cited.value, "share" if name == "eol_rir" else "index 0-1")


def parameter(figures: Figures, item: Item, year: int, row: Row) -> Found:
    """S4a-c: the cited line."""
    if figures.book.lists.parameters is None:
        return Found(absent=_NO_LISTS, known=False)
    name = _PARAMETER[row["indicator"]]
    cited = _cited(figures, item, year, name)
    if cited is None:
        return Found(None, None, parts=[_cited_part(name, None)])
    about = cited.node or cited.material
    formula = say("{i} = {v}, as published for {m}", "{i} = {v}, zoals gepubliceerd voor {m}", i=row["indicator"],
                  v=cited.value, m=about)  # fmt: skip
    return Found(formula, cited.value, parts=[_cited_part(name, cited)])


# -- S3 ------------------------------------------------------------------------------------------------------


def elasticity(figures: Figures, item: Item, year: int, row: Row) -> Found:
    """S3: minus the elasticity of the code's estimate; of a node the mean over its codes by value of imports."""
    book = figures.book
    if not book.has("elasticity"):
        why = Words("this home has not table elasticity", "dit datadepot bevat tabel elasticity niet")
        return Found(absent=why, known=False)
    listed = book.rows("elasticity")
    if not listed:
        none = Words("the sources hold no table of elasticities", "de bronnen bevatten geen tabel van elasticiteiten")
        return Found(None, None, parts=[Part("missing", "elasticity", none)])
    codes = book.codes(item)
    if len(codes) == 1:
        value, lines = _elasticity_of(figures, str(item.hs_revision), codes[0])
        formula = say("S3 = -(elasticity of imports to the tariff) = {v}",
                      "S3 = -(elasticiteit van de invoer voor het tarief) = {v}", v=value)  # fmt: skip
        return Found(None if value is None else formula, value, parts=lines)
    weighed: list[tuple[float, float]] = []
    parts = []
    for code in codes:
        bought = sum(a.value for a in book.suppliers(Item(item.focus, "hs6", code, item.hs_revision, None, 0),
                                                     year).values())  # fmt: skip
        value, _ = _elasticity_of(figures, str(item.hs_revision), code)
        text = say("{c}: S3 {v}, imports {m} thousand USD", "{c}: S3 {v}, invoer {m} duizend USD", c=code, v=value,
                   m=bought)  # fmt: skip
        parts.append(Part("input", code, text, value, "elasticity"))
        if value is not None and bought > 0:
            weighed.append((value, bought))
    total = sum(w for _, w in weighed)
    mean = sum(v * w for v, w in weighed) / total if total > 0 else None
    formula = say("S3 = mean over {n} codes by imports = {v}", "S3 = gemiddelde over {n} codes naar invoer = {v}",
                  n=len(weighed), v=mean)  # fmt: skip
    return Found(None if mean is None else formula, mean, parts=parts)


def _elasticity_of(figures: Figures, revision: str, code: str) -> tuple[float | None, list[Part]]:
    """S3 of a code and the estimates behind it: its own, those that the weights lead to, or that of the same number."""
    book = figures.book
    listed = {r["code"]: r for r in book.rows("elasticity")}
    other = next(iter(listed.values()))["hs_revision"]

    def usable(name: str) -> float | None:
        row = listed.get(name)
        good = row is not None and row["significant"] and not row["positive"] and (row["elasticity"] or 0.0) < 0
        return -row["elasticity"] if good and row is not None else None

    def line(name: str, weight: float | None) -> Part:
        row = listed.get(name)
        said = None if row is None else row["elasticity"]
        text = say("{r} {c}: elasticity {e}", "{r} {c}: elasticiteit {e}", r=other, c=name, e=said)
        if weight is not None:
            text = text + say(", weight {w}", ", gewicht {w}", w=weight)
        return Part("input", name, text, said, "elasticity")

    if revision == other:
        return usable(code), [line(code, None)]
    weights = book.rows("hs_weights")
    forth = [r for r in weights if (r["from_revision"], r["to_revision"]) == (revision, other)]
    back = [r for r in weights if (r["from_revision"], r["to_revision"]) == (other, revision) and r["weight"] > 0]
    if forth or back:
        led = ([(r["to_code"], r["weight"]) for r in forth if r["from_code"] == code] if forth
               else [(r["from_code"], r["weight"]) for r in back if r["to_code"] == code])  # fmt: skip
        known = [(v, w) for name, w in led if (v := usable(name)) is not None]
        total = sum(w for _, w in known)
        mean = sum(v * w for v, w in known) / total if total > 0 else None
        return mean, [line(name, w) for name, w in led]
    if code in listed and code in listed_codes("HS92") and code in listed_codes("HS17"):
        return usable(code), [line(code, None)]
    why = say("no weights lead from {r} to {o}", "geen gewichten leiden van {r} naar {o}", r=revision, o=other)
    return None, [Part("missing", "hs_weights", why)]


# -- trade and production ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Scene:
    """What the focus imports, exports and makes of the traded form, in tonnes.

    Args:
        origins: tonnes per supplier.
        bought, sold: in all; ``own`` None where no statistic or list measures that form.
        massless: imports or exports have a value and no tonnes.
        parts: these as lines.
    """

    origins: Mapping[str, float]
    bought: float
    sold: float
    own: OwnForm | None
    massless: bool
    parts: list[Part]

    @property
    def made(self) -> float | None:
        return None if self.own is None else self.own.total

    @property
    def reliance(self) -> float | None:
        """IR; None where nothing is traded or made, or what decides is not known."""
        net = self.bought - self.sold
        if self.massless or (self.bought == self.sold == 0 and not (self.made or 0.0) > 0):
            return None
        if net <= 0:
            return 0.0
        return None if self.made is None else net / (self.made + net)


def _scene(figures: Figures, item: Item, year: int) -> _Scene | None:
    """None where the home has not the flows."""
    book = figures.book
    trade = book.trade(item, year)
    if trade is None:
        return None
    origins = weights_of(trade.bought, "q")
    sold = trade.sold.get(item.focus)
    value, tonnes = (0.0, 0.0) if sold is None else (sold.value, sold.by("q"))
    own = book.own_form(item, year)
    bought = sum(origins.values())
    paid = sum(a.value for a in trade.bought.values())
    parts = figures.suppliers(trade.bought, "q")
    parts.append(Part("input", "X", say("exports of {f}: {x} t", "uitvoer van {f}: {x} t", f=book.country(item.focus),
                                        x=tonnes), tonnes, "t"))  # fmt: skip
    if own is None:
        parts.append(Part("missing", "own production", Words(
            "no statistic and no cited list measures this very form in tonnes",
            "geen statistiek en geen aangehaalde lijst meet juist deze vorm in tonnen",
        )))  # fmt: skip
    else:
        parts.append(Part("input", "own production", say(
            "own production of this very form: {p} t ({b})", "eigen productie van juist deze vorm: {p} t ({b})",
            p=own.total, b=Words("a statistic", "een statistiek") if own.basis == "observed"
            else Words("a cited list of producers", "een aangehaalde lijst van producenten"),
        ), own.total, "t"))  # fmt: skip
        if own.unlisted:
            parts.append(Part("patch", "own production", say(
                "{c} is listed without a figure: what it exports beyond its imports stands in, {t} t",
                "{c} staat er zonder cijfer: wat het meer uitvoert dan invoert vult dit in, {t} t",
                c=", ".join(own.unlisted), t=own.estimated,
            ), own.estimated, "t"))  # fmt: skip
    massless = (paid > 0 and not bought > 0) or (value > 0 and not tonnes > 0)
    return _Scene(origins, bought, tonnes, own, massless, parts)


def reliance(figures: Figures, item: Item, year: int, row: Row) -> Found:
    """IR."""
    scene = _scene(figures, item, year)
    if scene is None:
        return Found(absent=NO_FLOWS, known=False, parts=figures.suppliers(figures.book.suppliers(item, year), "q"))
    value, bought, sold = scene.reliance, scene.bought, scene.sold
    if value == 0.0:
        formula = say(
            "IR = 0: exports of {x} t are no less than imports of {m} t, whatever is made",
            "IR = 0: de uitvoer van {x} t is niet minder dan de invoer van {m} t, wat er ook wordt gemaakt",
            m=bought, x=sold,
        )  # fmt: skip
    else:
        template = "IR = ({m} - {x}) / ({p} + {m} - {x}) t = {v}"
        formula = say(template, template, m=bought, x=sold, p=scene.made, v=value)
    return Found(formula, value, parts=scene.parts)


def _world(figures: Figures, item: Item, year: int) -> Mapping[str, float] | None:
    """Shares of world production, ``UNK`` among them; None without."""
    held = figures.book.world_mix(item, year)
    return None if held is None else held[0].shares


def _weighed(shares: Mapping[str, float], risk: Mapping[str, float]) -> float | None:
    """``10 sum s^2 risk`` over scored countries; None where none is scored."""
    scored = {c: s for c, s in known_part(shares).items() if c in risk}
    return _EC_SCALE * sum(s * s * risk[c] for c, s in scored.items()) if scored else None


def _weighed_words(name: str, shares: Mapping[str, float], risk: Mapping[str, float], value: float) -> Words:
    shown, more = first_terms(largest_first({c: s for c, s in shares.items() if c in risk}))
    terms = " + ".join(f"{{s{k}}}² × {{r{k}}}" for k in range(len(shown)))
    put: dict[str, object] = {}
    for k, (country, share) in enumerate(shown):
        put |= {f"s{k}": float(share), f"r{k}": float(risk[country])}
    template = f"{{name}} = 10 × ({terms}{{more}}) = {{value}}"
    return say(template, template, name=name, more=more, value=value, **put)


def geopolitical(figures: Figures, item: Item, year: int, row: Row) -> Found:
    """G4."""
    scene, mix, risk = _scene(figures, item, year), _world(figures, item, year), figures.book.risk(year)
    if scene is None:
        return Found(absent=NO_FLOWS, known=False, parts=figures.suppliers(figures.book.suppliers(item, year), "q"))
    parts = [*scene.parts, *figures.producers(item, year)]
    if mix is None:
        return Found(None, None, None if row["value"] is None else NOTHING, parts, known=row["value"] is None)
    concentration = sum(s * s for s in known_part(mix).values())
    scored = {c: t for c, t in scene.origins.items() if c in risk}
    supply = None if scene.made is None else scene.bought + scene.made
    if scene.massless or supply is None or not supply > 0 or (scene.bought > 0 and not scored):
        return Found(None, None, parts=parts)
    # Origins without a score take the mean of the others.
    weighed = sum(t * risk[c] for c, t in scored.items()) / sum(scored.values()) * scene.bought if scored else 0.0
    value = concentration * weighed / supply
    formula = say(
        "G4 = HHI of production {h} × imports by risk {w} t / ({m} + {p}) t = {v}",
        "G4 = HHI van productie {h} × invoer naar risico {w} t / ({m} + {p}) t = {v}",
        h=concentration, w=weighed, m=scene.bought, p=scene.made, v=value,
    )  # fmt: skip
    return Found(formula, value, parts=parts)


def published_geopolrisk(figures: Figures, item: Item, year: int) -> float | None:
    """G4 as its publication has it: production of any form, and the middle risk for a country without a score."""
    scene, mix, risk = _scene(figures, item, year), _world(figures, item, year), figures.book.risk(year)
    made = figures.book.any_form(item, year)
    if scene is None or mix is None or made is None or scene.massless or not scene.bought + made > 0:
        return None
    if not (any(c in risk for c in scene.origins) if scene.bought > 0 else (scene.made or 0.0) > 0):
        return None
    weighed = sum(t * risk.get(c, _UNSCORED) for c, t in scene.origins.items())
    return sum(s * s for s in known_part(mix).values()) * weighed / (scene.bought + made)


def sourcing(figures: Figures, item: Item, year: int, row: Row) -> Found:
    """G5s."""
    scene, risk = _scene(figures, item, year), figures.book.risk(year)
    if scene is None:
        return Found(absent=NO_FLOWS, known=False)
    shares = _sourced(scene)
    value = _weighed(shares, risk)
    if value is None or scene.massless:
        return Found(None, None, parts=scene.parts)
    return Found(_weighed_words("G5s", shares, risk, value), value, parts=scene.parts)


def _sourced(scene: _Scene) -> dict[str, float]:
    """Shares of what the focus imports and makes; empty where its production is not known."""
    return {} if scene.own is None else as_shares({**scene.origins, **scene.own.tonnes})


def supply_risk(figures: Figures, item: Item, year: int, row: Row) -> Found:
    """G5, from world production, own supply, reliance and the two cited parameters."""
    book = figures.book
    if book.lists.parameters is None:
        return Found(absent=_NO_LISTS, known=False, parts=figures.producers(item, year))
    mix, risk = _world(figures, item, year), book.risk(year)
    rate, index = (_cited(figures, item, year, n) for n in ("eol_rir", "si_sr"))
    cited = [_cited_part("eol_rir", rate), _cited_part("si_sr", index)]
    scene = _scene(figures, item, year) if book.codes(item) else None
    if book.codes(item) and scene is None:
        return Found(absent=NO_FLOWS, known=False, parts=[*cited, *figures.producers(item, year)])
    parts = [*cited, *figures.producers(item, year)]
    world = None if mix is None else _weighed(mix, risk)
    if scene is None or mix is None:
        return Found(None, None, parts=parts)
    within, own = _weighed(_sourced(scene), risk), scene.reliance
    for name, value, en, nl in (
        ("G3", world, "world production", "wereldproductie"), ("G5s", within, "own supply", "eigen aanbod"),
    ):  # fmt: skip
        text = say(f"concentration by risk of {en}: {{v}} (0-10)", f"concentratie naar risico van {nl}: {{v}} (0-10)",
                   v=value)  # fmt: skip
        parts.append(Part("input", name, text, value, "index 0-10"))
    parts.append(Part("input", "IR", say("import reliance: {v}", "invoerafhankelijkheid: {v}", v=own), own, "share"))
    parts += scene.parts
    recycled, substituted = _trusted(rate), _trusted(index)
    if world is None or within is None or own is None or recycled is None or substituted is None or scene.massless:
        return Found(None, None, parts=parts)
    value = (world * own / 2 + within * (1 - own / 2)) * (1 - recycled) * substituted
    template = "G5 = ({w} × {r} / 2 + {s} × (1 - {r} / 2)) × (1 - {e}) × {i} = {v}"
    formula = say(template, template, w=world, r=own, s=within, e=recycled, i=substituted, v=value)
    limit = figures.limit("G5")
    if limit is not None:
        told = say("G5 would have to be {l}: {d} away", "G5 zou {l} moeten zijn: {d} verschil", l=limit[0],
                   d=abs(value - limit[0]))  # fmt: skip
        parts.append(Part("turn", "G5", told, limit[0], row["unit"]))
    return Found(formula, value, parts=parts)


# -- EI ------------------------------------------------------------------------------------------------------


def importance(figures: Figures, item: Item, year: int, row: Row) -> Found:
    """EI, from the accounts of the focus's industries and who uses the product: cited, else by the recipes."""
    book = figures.book
    if book.lists.parameters is None:
        return Found(absent=_NO_LISTS, known=False)
    if not book.has("icio_accounts") or not book.has("product_uses"):
        why = Words("this home has not tables icio_accounts and product_uses",
                    "dit datadepot bevat de tabellen icio_accounts en product_uses niet")  # fmt: skip
        return Found(absent=why, known=False)
    members = book.members(item.focus, year)
    added: dict[str, float] = {}
    for account in book.rows("icio_accounts"):
        if account["country"] in members and account["industry"].startswith(_MANUFACTURING):
            added[account["industry"]] = added.get(account["industry"], 0.0) + (account["value_added"] or 0.0)
    largest = max(added.values(), default=0.0)
    cited = _end_uses(figures, item, year)
    used = {u.industry: u.share for u in cited} if cited else _uses(figures, item, year, added)
    index = _cited(figures, item, year, "si_ei")
    parts = [_cited_part("si_ei", index)]
    top = max(added, key=lambda i: (added[i], i), default=None)
    if top is not None:
        parts.append(Part("input", "Q max", say(
            "largest manufacturing industry of {f}: {i}, value added {q} million USD",
            "grootste industrietak van {f}: {i}, toegevoegde waarde {q} miljoen USD",
            f=book.country(item.focus), i=book.name("industry", top), q=largest,
        ), largest, "million USD"))  # fmt: skip
    terms = {i: share * added.get(i, 0.0) for i, share in used.items()}
    for industry in sorted(terms, key=lambda i: (-terms[i], i))[: figures.most]:
        parts.append(Part("flow", industry, say(
            "{i}: {s} of its use, value added {q} million USD", "{i}: {s} van het gebruik, toegevoegde waarde {q} "
            "miljoen USD", i=book.name("industry", industry), s=Percent(used[industry]), q=added.get(industry),
        ), used[industry], "share"))  # fmt: skip
    parts += [
        Part("input", "end use", say("{i} {s}: {c} ({r})", "{i} {s}: {c} ({r})", i=book.name("industry", u.industry),
                                     s=Percent(u.share), c=u.citation,
                                     r=_STATUS.get(u.citation_status, Words("recalled", "uit het geheugen"))), u.share,
             "share")
        for u in cited
    ]  # fmt: skip
    unread = any(u.citation_status != READ for u in cited) or bool(cited and set(used) - set(added))
    substituted = _trusted(index)
    if not used or not largest > 0 or unread or substituted is None:
        return Found(None, None, parts=parts)
    mean = sum(terms.values())
    value = _EC_SCALE * mean / largest * substituted
    formula = say(
        "EI = 10 × {m} million USD (value added, by use) / {q} million USD × {i} = {v}",
        "EI = 10 × {m} miljoen USD (toegevoegde waarde, naar gebruik) / {q} miljoen USD × {i} = {v}",
        m=mean, q=largest, i=substituted, v=value,
    )  # fmt: skip
    if (limit := figures.limit("EI")) is not None:
        told = say("EI would have to be {l}: {d} away", "EI zou {l} moeten zijn: {d} verschil", l=limit[0],
                   d=abs(value - limit[0]))  # fmt: skip
        parts.append(Part("turn", "EI", told, limit[0], row["unit"]))
    return Found(formula, value, parts=parts)


def _end_uses(figures: Figures, item: Item, year: int) -> list[EndUse]:
    """The cited end uses that count: of the node before the material, of the last assessment up to the year."""
    assert figures.book.lists.parameters is not None
    listed = figures.book.lists.parameters.end_uses
    nodes, material = figures.book.nodes_named(item), figures.book.material_of(item)
    held = [u for u in listed if u.node and u.node in nodes]
    held = held or [u for u in listed if u.material and u.material == material]
    ordered = sorted(held, key=lambda u: (u.year > year, u.year if u.year > year else -u.year))
    return [u for u in held if (u.node, u.year) == (ordered[0].node, ordered[0].year)] if ordered else []


def _uses(figures: Figures, item: Item, year: int, added: Mapping[str, float]) -> dict[str, float]:
    """Shares of the listed deliveries to manufacturing industries (table ``product_uses``)."""
    codes = figures.book.codes(item)
    key = (item.focus, item.hs_revision, year, "product")
    used: dict[str, float] = {}
    for r in figures.book.rows("product_uses"):
        if (r["focus"], r["hs_revision"], r["year"], r["kind"]) == key and r["code"] in codes:
            used[r["industry"]] = used.get(r["industry"], 0.0) + float(r["value_kusd"])
    return as_shares({i: v for i, v in used.items() if i in added})


WALKS: Mapping[str, Walk] = {
    "S3": elasticity,
    "S4a": parameter,
    "S4b": parameter,
    "S4c": parameter,
    "IR": reliance,
    "G4": geopolitical,
    "G5": supply_risk,
    "G5s": sourcing,
    "EI": importance,
}
