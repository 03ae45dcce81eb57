"""Explanations: how a figure or a verdict comes about, line by line, as data (table ``explanations``).

Belongs here: putting the parts of one explanation together (figure, formula, inputs, flows, what was patched or is
missing, source files, what would turn the flag), and the table of the groups' headline figures. Does not belong here:
the walk of each figure (:mod:`ketenpipe.observatory.explain_figures`) and verdict
(:mod:`ketenpipe.observatory.explain_methods`); looking a question up in a release
(:mod:`ketenpipe.observatory.explain_release`).

Dossier pages and the command ``ketenpipe explain`` render the same rows.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from ketenpipe.chain.catalogue import Reference
from ketenpipe.observatory.explain_book import Book, Item, Row, largest_first
from ketenpipe.observatory.explain_components import COMPOSITE, component_found
from ketenpipe.observatory.explain_figures import MOST, PARTS, WORLD_MIX, Found, Part, limit_of, same, yes_no
from ketenpipe.observatory.explain_methods import Verdicts
from ketenpipe.observatory.explain_walks import Walks
from ketenpipe.observatory.explain_words import Cut, Percent, Words, joined, reasons, say, with_unit
from ketenpipe.risk.definitions import COMPONENTS, INDICATORS, METHODS, Definition
from ketenpipe.risk.published import PUBLISHED
from ketenpipe.risk.robustness import words_for
from ketenpipe.risk.thresholds import Thresholds
from ketenpipe.tables.registry import (
    BACI_FLOWS,
    CHAIN_NODES,
    COUNTRY_RISK,
    EXPLANATIONS,
    EXPOSURE,
    FLAGS,
    LABELS,
    MINING_PRODUCTION,
    ORIGIN_MIX,
    PATHS,
    PRODUCTION,
    ROBUSTNESS,
    SOURCES,
    SUPPLY_MIX,
    TRACING,
    UNCERTAINTY,
)
from ketenpipe.tables.registry import INDICATORS as INDICATORS_TABLE
from ketenpipe.tables.store import Store

_MADE = ("observed", "producer_list")
#: The figures of a group that the table explains: indicator, measures, bases (the first that is there).
HEADLINES: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("C1", ("v",), ("imports",)),
    ("C2", ("v",), ("exports",)),
    ("S1", ("v",), ("imports",)),
    ("C3", ("p",), _MADE),
    ("O1", ("q",), ("traced",)),
    ("G2", ("q",), ("traced",)),
    ("T", ("q",), ("traced",)),
    ("X1", (), ()),
    ("X1g", (), ()),
    ("X2", (), ()),
)
#: The verdicts on a group that the table explains.
HEADLINE_METHODS = ("geodep", "crma65", "indirect_specific", "indirect_global")
#: Flows named by themselves in the table.
MOST_IN_TABLE = 5
#: Years before the newest one that a verdict may look at.
WINDOW = 2
MEASURES = {"v": Words("by value", "naar waarde"), "q": Words("by mass", "naar gewicht"),
            "p": Words("by production", "naar productie"), "none": Words("", "")}  # fmt: skip
BASES = {
    "imports": Words("direct imports", "directe invoer"),
    "exports": Words("exports", "uitvoer"),
    "traced": Words("traced to origin", "herleid tot de herkomst"),
    "observed": Words("production statistic", "productiestatistiek"),
    "producer_list": Words("cited list of producers", "aangehaalde lijst van producenten"),
    "export_proxy": Words("export proxy", "schatting uit de uitvoer"),
    WORLD_MIX: Words("world production mix, the same for every buyer", "wereldproductiemix, gelijk voor iedereen"),
    "synthetic": Words("a made-up table", "een verzonnen tabel"),
    "icio": Words("input-output table", "input-outputtabel"),
    "reconciled_comtrade": Words("reconciled Comtrade", "afgestemde Comtrade"),
    "published": Words("a published figure", "een gepubliceerd cijfer"),
    "icio_proportional": Words("industry recipes, indicative", "recepten van bedrijfstakken, indicatief"),
}
_KINDS = ("baci", "mining", "wgi")
#: Tables that are read as a whole.
_WHOLE = (EXPOSURE, CHAIN_NODES, PATHS, COUNTRY_RISK, MINING_PRODUCTION, SOURCES, LABELS)


def build_explanations(tables: Mapping[str, pa.Table], reference: Reference, thresholds: Thresholds) -> pa.Table:
    """How the headline figures and verdicts of every group come about (contract ``explanations``).

    Per focus and group the newest year that has figures; :data:`HEADLINES` and :data:`HEADLINE_METHODS`.

    Args:
        tables: see :func:`read_explained`; by name: ``indicators`` and ``flags`` of levels group and node (of every
            year, or of the newest three), ``supply_mix`` and ``baci_flows`` of the catalogue's codes and the newest
            years, ``exposure, chain_nodes, paths, country_risk, mining_production, sources, labels``; ``tracing,
            production, origin_mix`` of the same codes, ``uncertainty`` and ``robustness`` where they are made. What
            rests on a table that is not given is left out, and the rows say so.
        reference: the catalogue.
        thresholds: the cut-offs of the run.
    """
    book = Book(_newest(tables), reference, thresholds)
    groups = [(i, y) for i, y in book.items() if i.level == "group"]
    newest: dict[tuple[str, str], int] = {}
    for item, year in groups:
        newest[item.focus, item.code] = max(year, newest.get((item.focus, item.code), year))
    rows: list[dict[str, object]] = []
    for item, year in groups:
        if year != newest[item.focus, item.code]:
            continue
        for indicator, measures, bases in HEADLINES:
            figure = book.figure(item, year, indicator, measures, bases)
            if figure is not None:
                rows += rows_of(item, year, figure, explain_figure(book, item, year, figure, MOST_IN_TABLE))
        for verdict in book.verdicts(item, year):
            if verdict["method"] in HEADLINE_METHODS:
                rows += rows_of(item, year, verdict, explain_verdict(book, item, year, verdict, MOST_IN_TABLE))
    return EXPLANATIONS.conform(rows)


def read_explained(store: Store, codes: Collection[str]) -> dict[str, pa.Table]:
    """What :func:`build_explanations` reads, from the tables under the home: the newest three years, a few codes.

    Args:
        store: tables of the home.
        codes: the HS6 codes of the catalogue.
    """
    years = store.partitions(SUPPLY_MIX)[-WINDOW - 1 :]
    of_catalogue = pc.field("level").isin(["group", "node"])
    of_years = pc.field("year").isin(pa.array([int(y) for y in years], pa.int32()))
    tables = {t.name: store.read(t) for t in _WHOLE if store.exists(t)}
    for contract in (INDICATORS_TABLE, FLAGS, ROBUSTNESS, UNCERTAINTY):
        if store.exists(contract):
            tables[contract.name] = store.read(contract, filters=of_catalogue & of_years)
    for contract in (SUPPLY_MIX, BACI_FLOWS, TRACING, PRODUCTION, ORIGIN_MIX):
        if held := [y for y in years if store.exists(contract, y)]:
            tables[contract.name] = store.read(contract, held, codes=codes)
    return tables


def _newest(tables: Mapping[str, pa.Table]) -> dict[str, pa.Table]:
    """The tables cut down to the newest year of each focus and group, and the window before it."""
    figures = tables["indicators"]
    groups = figures.filter(pc.equal(figures.column("level"), "group"))
    newest = groups.group_by(["focus", "group"]).aggregate([("year", "max")]).to_pylist()
    if not newest:
        return {**tables, "indicators": figures.slice(0, 0)}
    years = {y for r in newest for y in range(r["year_max"] - WINDOW, r["year_max"] + 1)}
    wanted = pa.array(sorted(years), pa.int32())
    out = dict(tables)
    for name, table in tables.items():
        if "year" in table.column_names:
            out[name] = table.filter(pc.is_in(table.column("year"), wanted))
    for name in ("indicators", "flags"):
        if name in out:
            levels = pa.array(["group", "node"])
            out[name] = out[name].filter(pc.is_in(out[name].column("level"), levels))
    return out


def rows_of(item: Item, year: int, row: Row, parts: Iterable[Part]) -> list[dict[str, object]]:
    """The parts of an explanation as rows of contract ``explanations``, in reading order."""
    ordered = sorted(parts, key=lambda p: PARTS.index(p.part))
    named = next(name for name in ("indicator", "method", "component") if name in row)
    return [
        {
            "focus": item.focus, "level": item.level, "code": item.code, "hs_revision": item.hs_revision,
            "group": item.group, "tier": item.tier, "year": year, "indicator": row[named],
            "measure": row.get("measure"), "basis": row.get("basis"), "position": position, "part": p.part,
            "what": p.what, "value": p.value, "unit": p.unit, "country": p.country, "text_en": p.text.en,
            "text_nl": p.text.nl, "holds": p.holds,
        }
        for position, p in enumerate(ordered, start=1)
    ]  # fmt: skip


# -- one explanation -----------------------------------------------------------------------------------------


def explain_figure(book: Book, item: Item, year: int, row: Row, most: int = MOST) -> list[Part]:
    """How one figure comes about.

    Args:
        book: the tables.
        item, year: what it is about.
        row: its row of ``indicators``.
        most: flows named by themselves.
    """
    found = Walks(book, most).found(item, year, row)
    name = row["indicator"]
    text = say(
        "{n} of {about} for {focus}, {y}: {v}; {measure}{basis}",
        "{n} van {about} voor {focus}, {y}: {v}; {measure}{basis}",
        n=_titled(INDICATORS, name), about=book.about(item), focus=book.country(item.focus), y=year,
        v=yes_no(None if row["value"] is None else row["value"] > 0) if row["unit"] == "0/1"
        else with_unit(row["value"], row["unit"]),
        measure=_then(MEASURES[row["measure"]]),
        basis=BASES.get(row["basis"], Words(row["basis"], row["basis"])),
    )  # fmt: skip
    parts = [Part("figure", "value", text, row["value"], row["unit"], row["country"])]
    if row["low"] is not None and row["high"] is not None and row["low"] != row["high"]:
        bounds = say("what is unknown allows {l} to {h}", "wat onbekend is laat {l} tot {h} toe",
                     l=row["low"], h=row["high"])  # fmt: skip
        parts.append(Part("figure", "bounds", bounds, row["high"], row["unit"]))
    if row["method_value"] is not None and row["value"] is None:
        shown = say("the published method would say {v}", "de gepubliceerde methode zou {v} zeggen",
                    v=row["method_value"])  # fmt: skip
        parts.append(Part("figure", "method_value", shown, row["method_value"], row["unit"]))
    if row["confidence"]:
        parts.append(Part("figure", "confidence", say("confidence {c}", "betrouwbaarheid {c}",
                                                      c=_CONFIDENCE[row["confidence"]])))  # fmt: skip
    parts += _interval(book, row)
    parts += again(found, row["value"], row["reason"])
    parts += _formula(book, name, found, row)
    parts += found.parts
    parts += _no_turn(parts, limit_of(book, name) is not None or name in _TURNING)
    parts += _patches(book, item, year, row)
    parts += _missing(row["reason"])
    parts += sources(book, item, [year], kinds_of(item, row), lists_of(book, item, row))
    return parts


def explain_verdict(book: Book, item: Item, year: int, row: Row, most: int = MOST) -> list[Part]:
    """How one verdict of a named method comes about; see :func:`explain_figure`.

    Args:
        row: its row of ``flags``.
    """
    found = Verdicts(book, most).found(item, year, row)
    name, flagged, indicated = row["method"], row["flagged"], row["indicated"]
    told = {True: Words("flagged", "signaal"), False: Words("not flagged", "geen signaal"),
            None: Words("cannot be told", "niet te zeggen")}[flagged]  # fmt: skip
    text = say(
        "{n} on {about} for {focus}, {y}: {told}", "{n} over {about} voor {focus}, {y}: {told}",
        n=_titled(METHODS, name), about=book.about(item), focus=book.country(item.focus), y=year,
        told=told,
    )  # fmt: skip
    parts = [Part("figure", "verdict", text, None if flagged is None else float(flagged), "0/1")]
    if indicated is not None:
        hint = say("the figures suggest: {h}", "de cijfers wijzen op: {h}",
                   h=Words("yes", "ja") if indicated else Words("no", "nee"))  # fmt: skip
        parts.append(Part("figure", "indicated", hint, float(indicated), "0/1"))
    if row.get("rank") is not None:
        place = say("rank {r} of {n}, 1 the largest", "rang {r} van {n}, 1 de grootste", r=row["rank"], n=row["ranked"])
        parts.append(Part("figure", "rank", place, _float(row["rank"])))
    if row["band"]:
        parts.append(Part("figure", "band", say("band: {b}", "band: {b}", b=row["band"])))
    if row["below_minimum"] and flagged:
        parts.append(Part("missing", "below_minimum", Words(
            "imports lie below the minimum value: the flag does not count",
            "de invoer ligt onder de minimumwaarde: het signaal telt niet mee",
        )))  # fmt: skip
    # Robustness counts these alternatives among others; beside it they would be a second count of the same.
    if row["agreement"] is not None and book.beside("robustness", row) is None:
        text = say("{a} of {n} alternatives give the same verdict", "{a} van {n} alternatieven geeft hetzelfde oordeel",
                   a=Cut(row["agreement"]), n=row["alternatives"])  # fmt: skip
        if row["flips_on"]:
            text = text + say("; it turns on: {f}", "; het slaat om bij: {f}", f=row["flips_on"])
        parts.append(Part("figure", "agreement", text, row["agreement"], "share"))
    parts += _robustness(book, row)
    parts += _drawn(book, row)
    raw = flagged if flagged is not None else indicated
    parts += again(found, None if raw is None else float(raw), row["reason"])
    parts += _formula(book, name, found, row)
    parts += found.parts
    parts += _no_turn(parts, True)
    parts += _patches(book, item, year, row)
    parts += _missing(row["reason"])
    years = list(range(year - WINDOW, year + 1)) if name == "geodep" else [year]
    parts += sources(book, item, years, kinds_of(item, row), lists_of(book, item, row))
    return parts


def explain_component(book: Book, item: Item, year: int, row: Row, most: int = MOST) -> list[Part]:
    """How one component of substitutability, or the composite, comes about; see :func:`explain_figure`.

    Args:
        row: its row of ``substitutability``.
    """
    found = component_found(book, item, year, row, most)
    name = row["component"]
    text = say(
        "{n}, substitutability of {about} for {focus}, {y}: {v}; {measure}{d}",
        "{n}, vervangbaarheid van {about} voor {focus}, {y}: {v}; {measure}{d}",
        n=_titled(COMPONENTS, name), about=book.about(item), focus=book.country(item.focus), y=year,
        v=with_unit(row["value"], row["unit"]), measure=_then(MEASURES[row["measure"]]),
        d=_DIMENSIONS[row["dimension"]],
    )  # fmt: skip
    parts = [Part("figure", "value", text, row["value"], row["unit"])]
    if name != COMPOSITE and row["low"] is not None and row["high"] is not None and row["low"] != row["high"]:
        bounds = say("what is unknown allows {l} to {h}", "wat onbekend is laat {l} tot {h} toe",
                     l=row["low"], h=row["high"])  # fmt: skip
        parts.append(Part("figure", "bounds", bounds, row["high"], row["unit"]))
    if row["confidence"]:
        text = say("confidence {c}", "betrouwbaarheid {c}", c=_CONFIDENCE[row["confidence"]])
        parts.append(Part("figure", "confidence", text))
    parts += again(found, row["value"], row["reason"])
    parts.append(Part("formula", "definition", Words(COMPONENTS[name].formula, COMPONENTS[name].formula)))
    if found.formula is not None:
        parts.append(Part("formula", "numbers", found.formula))
    version = say("method version {v}; {s}", "methodeversie {v}; {s}", v=row["method_version"], s=row["source"])
    parts.append(Part("formula", "method_version", version))
    parts += found.parts
    parts.append(Part("turn", "none", Words(
        "components and their composite have no limit and turn no flag by themselves",
        "onderdelen en hun geheel hebben geen grens en doen zelf geen signaal omslaan",
    )))  # fmt: skip
    parts += _missing(row["reason"])
    window = 0 if book.lists.limits is None else book.lists.limits.entry.window
    back = window if name in ("entries", "entry_share", "exits", COMPOSITE) else WINDOW if name == "persistence" else 0
    parts += sources(book, item, range(year - back, year + 1), kinds_of(item, row), lists_of(book, item, row))
    return parts


_DIMENSIONS = {
    "domestic": Words("at home", "in eigen land"),
    "supplier": Words("by other suppliers", "door andere leveranciers"),
    "product": Words("by another product", "door een ander product"),
    "time": Words("over the years", "in de loop van de jaren"),
    "composite": Words("all dimensions together", "alle kanten samen"),
}
_CONFIDENCE = {"high": Words("high", "hoog"), "medium": Words("medium", "middel"), "low": Words("low", "laag")}


#: Figures that flag without a limit of their own.
_TURNING = ("T", "geodep_criteria", "P1", "X1", "X1g")


def _no_turn(parts: Iterable[Part], flags: bool) -> list[Part]:
    """A word where nothing is said about what would turn a flag."""
    if any(p.part == "turn" for p in parts):
        return []
    if flags:
        text = Words("what would turn it cannot be computed from what is known here",
                     "wat het zou doen omslaan is niet te berekenen uit wat hier bekend is")  # fmt: skip
    else:
        text = Words("the figure has no limit of its own, so it turns no flag by itself",
                     "het cijfer heeft geen eigen grens en doet dus zelf geen signaal omslaan")  # fmt: skip
    return [Part("turn", "none", text)]


def _titled(known: Mapping[str, Definition], name: str) -> Words:
    if name not in known:
        return Words(name, name)
    return Words(f"{name} ({known[name].name_en})", f"{name} ({known[name].name_nl})")


def _then(words: Words) -> Words:
    return Words(words.en and f"{words.en}, ", words.nl and f"{words.nl}, ")


def again(found: Found, value: float | None, reason: str | None) -> list[Part]:
    """Whether the figure comes out when it is computed again from the rows that are named.

    Args:
        found: computed again.
        value: as it is stated.
        reason: of its row: why it is null.
    """
    if not found.known:
        text = Words("not computed again", "niet nagerekend")
        if found.absent is not None:
            text = say("not computed again: {w}", "niet nagerekend: {w}", w=found.absent)
        return [Part("figure", "recomputed", text)]
    holds = same(found.value, value)
    if holds and value is None:
        why = joined([words for _, words in reasons(reason)], ", ")
        if not why.en:
            why = Words("the rows hold nothing about it", "de rijen zeggen er niets over")
        text = say("null: {w}; computed again there is no figure either",
                   "leeg: {w}; nagerekend is er ook geen cijfer", w=why)  # fmt: skip
    elif holds:
        text = say(
            "computed again from the rows below: {v}, the same", "nagerekend uit de rijen hieronder: {v}, gelijk",
            v=found.value,
        )  # fmt: skip
    else:
        text = say(
            "does NOT reproduce: the rows below give {v} where the release states {w}",
            "komt NIET uit: de rijen hieronder geven {v} waar de publicatie {w} noemt", v=found.value, w=value,
        )  # fmt: skip
    return [Part("figure", "recomputed", text, found.value, None, None, holds)]


def _formula(book: Book, name: str, found: Found, row: Row) -> list[Part]:
    known = METHODS.get(name) if "method" in row else INDICATORS.get(name)
    parts = []
    if known is not None:
        parts.append(Part("formula", "definition", Words(known.formula, known.formula)))
    if found.formula is not None:
        parts.append(Part("formula", "numbers", found.formula))
    limit = limit_of(book, name) if "indicator" in row else None
    if limit is not None:
        told = say("flags at {s} {l}", "signaal bij {s} {l}", s=limit[1], l=limit[0])
        parts.append(Part("formula", "threshold", told, limit[0]))
    version = say("method version {v}", "methodeversie {v}", v=row["method_version"])
    method = PUBLISHED.get(name) if "method" in row else None
    if method is not None:
        read = {"read": Words("read", "gelezen"), "recalled": Words("recalled", "uit het geheugen")}[method.status]
        version = version + say("; {c} ({r})", "; {c} ({r})", c=method.citation, r=read)
        parts.append(Part("formula", "method_version", version))
        parts.append(Part("formula", "leaves_out", Words(method.leaves_out, method.leaves_out_nl)))
    else:
        if known is not None:
            version = version + say("; {s}", "; {s}", s=known.source)
        parts.append(Part("formula", "method_version", version))
    return parts


_FAMILIES = {
    "flows": Words("the flows", "de stromen"),
    "production": Words("production", "de productie"),
    "governance": Words("the governance scores", "de bestuursscores"),
    "intensities": Words("the intensities of the chain", "de intensiteiten van de keten"),
    "input_output": Words("the input-output table", "de input-outputtabel"),
}


def _interval(book: Book, row: Row) -> list[Part]:
    """The interval of the Monte Carlo draws, where the release has one."""
    held = book.beside("uncertainty", row)
    if held is None or held.get("low") is None or held.get("high") is None:
        return []
    if row["unit"] == "0/1" and held.get("flag_share") is not None:
        text = say("the answer is yes in {s} of {n} draws", "het antwoord is ja in {s} van {n} trekkingen",
                   s=Cut(held["flag_share"]), n=held.get("draws"))  # fmt: skip
        parts = [Part("figure", "flag_share", text, held["flag_share"], "share")]
    else:
        parts = [
            Part("figure", "interval", say(
                "nine in ten of {n} draws lie between {l} and {h}", "negen van de tien van {n} trekkingen liggen "
                "tussen {l} en {h}", n=held.get("draws"), l=held["low"], h=held["high"],
            ), held["high"], row["unit"])
        ]  # fmt: skip
    if row["unit"] != "0/1" and held.get("flag_share") is not None:
        parts.append(Part("figure", "flag_share", say(
            "it lies beyond its limit in {s} of the draws", "het ligt in {s} van de trekkingen over de grens",
            s=Cut(held["flag_share"]),
        ), held["flag_share"], "share"))  # fmt: skip
    if held.get("rank_low") is not None and held.get("rank_high") is not None:
        parts.append(Part("figure", "rank", say(
            "rank {r} of {n}, in the draws {l} to {h}", "rang {r} van {n}, in de trekkingen {l} tot {h}",
            r=held.get("rank"), n=held.get("ranked"), l=held["rank_low"], h=held["rank_high"],
        ), _float(held.get("rank"))))  # fmt: skip
    if held.get("matters_most"):
        parts.append(Part("figure", "matters_most", say(
            "what is least sure about it: {m}", "het minst zeker eraan: {m}",
            m=_FAMILIES.get(held["matters_most"], Words(held["matters_most"], held["matters_most"])),
        )))  # fmt: skip
    return parts


def _robustness(book: Book, row: Row) -> list[Part]:
    """What robustness says of a verdict, where the release has it."""
    held = book.beside("robustness", row)
    if held is None:
        return []
    robust = held.get("robust")
    told = {True: Words("robust", "robuust"), False: Words("not robust", "niet robuust"),
            None: Words("robustness cannot be told", "robuustheid niet te zeggen")}[robust]  # fmt: skip
    why = Words(held.get("reason") or "", held.get("reason_nl") or held.get("reason") or "")
    text = why if why.en else told  # the sentence says itself which it is
    parts = [Part("figure", "robust", text, None if robust is None else float(robust), "0/1")]
    if held.get("draw_agreement") is not None:
        parts.append(Part("figure", "draw_agreement", say(
            "{s} of {n} draws give the same verdict", "{s} van {n} trekkingen geeft hetzelfde oordeel",
            s=Cut(held["draw_agreement"]), n=held.get("draws"),
        ), held["draw_agreement"], "share"))  # fmt: skip
    if held.get("matters_most"):
        parts.append(Part("figure", "matters_most", say(
            "the alternative that matters most: {m}", "het alternatief dat het meest uitmaakt: {m}",
            m=Words(*words_for(held["matters_most"])),
        )))  # fmt: skip
    return parts


def _drawn(book: Book, row: Row) -> list[Part]:
    """How often the method flags in the Monte Carlo, where the home has it."""
    held = book.beside("drawn_verdicts", row)
    if held is None or held["flagged_share"] is None:
        return []
    text = say("it flags in {s} of {n} draws", "het slaat aan in {s} van {n} trekkingen", s=Cut(held["flagged_share"]),
               n=held["draws"])  # fmt: skip
    if held["told_share"] is not None and held["told_share"] < 1.0:
        text = text + say("; a verdict may be told in {s}", "; een oordeel kan worden gegeven in {s}",
                          s=Cut(held["told_share"]))  # fmt: skip
    return [Part("figure", "drawn", text, held["flagged_share"], "share")]


def _float(value: object) -> float | None:
    return None if value is None else float(str(value))


def _missing(reason: str | None) -> list[Part]:
    """The reasons of a row in words."""
    return [Part("missing", word, words) for word, words in reasons(reason)]


# -- what was patched ----------------------------------------------------------------------------------------

_SCORED = ("governance scores cover {c} of the mix", "bestuursscores dekken {c} van de mix")
_NETWORK = ("quantities cover {c} of the value of world trade", "hoeveelheden dekken {c} van de waarde van de "
            "wereldhandel")  # fmt: skip
#: What the coverage of a figure says, where it is not the part of imports that is weighed.
_COVERED = {
    **dict.fromkeys(("G2", "G3", "G4", "G5", "G5s", "I2b", "T"), _SCORED),
    **dict.fromkeys(("S5a", "S5b"), _NETWORK),
    "EI": (
        "the manufacturing industries that are known to use it cover {c} of its use",
        "de industrietakken waarvan het gebruik bekend is dekken {c} van het gebruik",
    ),
    "S3": ("the elasticities cover {c} of its imports", "de elasticiteiten dekken {c} van de invoer"),
}
_COVERED_BY_MASS = ("quantities cover {c} of the import value", "hoeveelheden dekken {c} van de invoerwaarde")


def _patches(book: Book, item: Item, year: int, row: Row) -> list[Part]:
    """What stands in for data: imputed and raised production, non-producers, unknown origin, lacking quantities."""
    parts: list[Part] = []
    coverage = row.get("coverage")
    if coverage is not None and coverage < 1.0 - 5e-4:
        covered = say(*_COVERED.get(row["indicator"], _COVERED_BY_MASS), c=Percent(coverage))
        parts.append(Part("missing", "coverage", covered, coverage, "share"))
    note = None if (node := book.node_of(item)) is None else book.node(item.group, node)
    if note is not None and note["shared_code_note"]:
        parts.append(Part("missing", "shared_code", Words(note["shared_code_note"], note["shared_code_note"])))
    name = row.get("method") or row["indicator"]
    chain = name in ("node_test", "crma65", "indirect_specific") or name.startswith("X")
    if row.get("basis") not in ("traced", WORLD_MIX) and not chain:
        return parts + (_plain(book, item, year, ("value_without_mass",)) if row.get("measure") == "q" else [])
    parts += _plain(book, item, year, ("imputed_share", "unknown_share", "value_without_mass"))
    for code in book.codes(item):
        rows = book.production(item, code, year)
        raised = {r["country"]: r["production"] * r["imputed"] for r in rows
                  if r["imputed"] and r["production"] and r["basis"] != "export_proxy"}  # fmt: skip
        for country, tonnes in largest_first(raised)[:3]:
            parts.append(Part("patch", "raised_production", say(
                "{code}: production of {c} was raised by {t} t, so that its exports have a source",
                "{code}: de productie van {c} is met {t} t verhoogd, zodat de uitvoer een bron heeft",
                code=code, c=book.country(country), t=tonnes,
            ), tonnes, "t", country))  # fmt: skip
        proxied = [r for r in rows if r["basis"] == "export_proxy"]
        if proxied:
            parts.append(Part("patch", "export_proxy", say(
                "{code}: production is what {n} countries export beyond what they import, a lower bound",
                "{code}: productie is wat {n} landen meer uitvoeren dan invoeren, een ondergrens",
                code=code, n=sum(bool(r["production"]) for r in proxied),
            )))  # fmt: skip
        lost = {r["country"]: r["unknown_origin"] for r in rows if r["unknown_origin"]}
        for country, tonnes in largest_first(lost)[:3]:
            parts.append(Part("patch", "non_producer", say(
                "{code}: {c} makes none; {t} t that it exports beyond its imports are of unknown origin",
                "{code}: {c} maakt het niet; {t} t die het meer uitvoert dan invoert is van onbekende herkomst",
                code=code, c=book.country(country), t=tonnes,
            ), tonnes, "t", country))  # fmt: skip
        traced = book.traced(item, code, year)
        if traced is not None and traced["dropped_member_share"]:
            parts.append(Part("patch", "dropped_members", say(
                "{code}: {s} of the members' supply has no weight, for they export all of it",
                "{code}: {s} van het aanbod van de leden telt niet mee, want zij voeren alles uit",
                code=code, s=Percent(traced["dropped_member_share"]),
            ), traced["dropped_member_share"], "share"))  # fmt: skip
    return parts


_PLAIN = {
    "imputed_share": ("patch", "{s} of the supply rests on imputed production",
                      "{s} van het aanbod rust op geraamde productie"),
    "unknown_share": ("missing", "{s} of the supply is of unknown origin (UNK)",
                      "{s} van het aanbod is van onbekende herkomst (UNK)"),
    "value_without_mass": ("missing", "{s} of the import value has no quantity",
                           "{s} van de invoerwaarde heeft geen hoeveelheid"),
}  # fmt: skip


def _plain(book: Book, item: Item, year: int, names: Iterable[str]) -> list[Part]:
    """The shares of patches that the release states by themselves, where they are above 0."""
    parts = []
    for name in names:
        row = book.figure(item, year, name, ("q", "v", "p"))
        if row is not None and row["value"] and row["value"] > 0:
            kind, en, nl = _PLAIN[name]
            parts.append(Part(kind, name, say(en, nl, s=Percent(row["value"])), row["value"], "share"))
    return parts


# -- sources -------------------------------------------------------------------------------------------------


def kinds_of(item: Item, row: Row) -> tuple[str, ...]:
    """The sources that a figure or verdict rests on: those its vintage names, else those of its method."""
    stated = row.get("source_vintage") or ""
    kinds = tuple(k for k in (*_KINDS, "icio", "comtrade", "elasticity") if re.search(rf"(^|; ){k}\b", stated))
    if not kinds:
        direct = row.get("method") in ("geodep", "swd2021", "cbs") or row.get("basis") in ("imports", "exports")
        made = row.get("method") == "tno" or row.get("basis") in _MADE
        listed = item.level == "industry" or row.get("basis") == "published"
        kinds = () if listed else ("baci",) if direct else ("mining", "wgi") if made else _KINDS
    if row.get("basis") == "icio_proportional" or item.level == "industry":
        kinds = tuple(dict.fromkeys((*kinds, "icio")))
    return kinds


#: What rests on figures of the EC's studies.
_PARAMETERISED = (
    "S4a", "S4b", "S4c", "G5", "EI", "ec_criticality", "eol_rir", "substitution_index", COMPOSITE,
)  # fmt: skip
#: Components that rest on production and on who makes nothing.
_TRACED_COMPONENTS = (
    "own_share", "production_over_imports", "origins", "origins_stable", "origins_partners", COMPOSITE,
)  # fmt: skip


def lists_of(book: Book, item: Item, row: Row) -> tuple[str, ...]:
    """The reference lists that a figure or verdict rests on."""
    lists = ["blocs.csv"] if item.focus in book.reference.bloc_names else []
    if item.level in ("node", "group"):
        lists += ["groups.csv", "nodes.csv"]
    name = row.get("method") or row.get("component") or row["indicator"]
    if name in _PARAMETERISED:
        lists.append("material_parameters.csv")
    if "component" in row:
        made = ["non_producers.csv", "producer_lists.csv", "production_links.csv"]
        return (*lists, *(made if name in _TRACED_COMPONENTS else []))
    if row.get("basis") == "published":
        return tuple(lists)
    chain = name in ("indirect_specific", "indirect_global") or name.startswith(("X", "hidden_exposure"))
    if chain or item.tier:
        lists.append("edges.csv")
    if chain or name in ("tno", "crma65", "node_test") or row.get("basis") not in ("imports", "exports", None):
        lists += ["non_producers.csv", "producer_lists.csv", "production_links.csv"]
    return tuple(lists)


def sources(
    book: Book, item: Item, years: Iterable[int], kinds: Iterable[str], lists: Iterable[str] = ()
) -> list[Part]:
    """The input files of some kinds and years, with vintage, hash, licence and rows.

    Args:
        book: the tables.
        item: only files of its HS revision, where they are of one.
        years: only files that hold one of them.
        kinds: of table ``sources``.
        lists: reference lists by file name.
    """
    named = frozenset(lists)
    wanted, spans = tuple(kinds), tuple(years)
    parts = []
    for row in sorted(book.rows("sources"), key=lambda r: (r["source"], r["file"])):
        first, last = row["from_year"], row["to_year"]
        of_reference = row["source"] == "reference" and row["file"] in named
        if not (of_reference or row["source"] in wanted) or row["sha256"] is None:
            continue
        if row["source"] != "icio" and first is not None and not any(first <= y <= (last or first) for y in spans):
            continue
        revision = re.search(r"BACI_(HS\d\d)_", row["file"])
        if revision and item.hs_revision and revision[1] != item.hs_revision:
            continue
        facts = [f"vintage {row['vintage']}"] if row["vintage"] else []
        facts += [f"sha256 {row['sha256']}"]
        facts += [f"licence {row['licence']}"] if row["licence"] else []
        words = say("{f}: {x}", "{f}: {x}", f=row["file"], x="; ".join(facts))
        if row["rows_read"] is not None:
            words = words + say("; {n} rows read, {r} refused", "; {n} rijen gelezen, {r} geweigerd",
                                n=row["rows_read"], r=row["rows_refused"])  # fmt: skip
        if row["reason"]:
            words = words + say(" ({w})", " ({w})", w=row["reason"])
        parts.append(Part("source", f"{row['source']}:{row['file']}", words, _float(row["rows_read"]), "rows"))
    return parts
