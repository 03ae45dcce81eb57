"""A question about one number of a release, answered: which row is meant, what it is made of, whether it still holds.

Belongs here: looking names up and saying the nearest known ones, reading no more than the question needs, hashing the
source files again. Does not belong here: the walk itself (:mod:`ketenpipe.observatory.explain`), words on the screen
(:mod:`ketenpipe.observatory.explain_console`).
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError

from ketenpipe.chain.catalogue import Reference
from ketenpipe.chain.proportional import recipe_year
from ketenpipe.errors import InputRefused, KetenpipeError, WrongUse
from ketenpipe.observatory.explain import (
    WINDOW,
    explain_component,
    explain_figure,
    explain_verdict,
    lists_of,
    rows_of,
)
from ketenpipe.observatory.explain_book import Book, Item, Lists, Row
from ketenpipe.observatory.explain_components import COMPOSITE
from ketenpipe.observatory.explain_figures import PARTS, Part
from ketenpipe.observatory.explain_words import Words, say
from ketenpipe.observatory.reader import ReleaseInfo
from ketenpipe.risk.definitions import COMPONENTS, INDICATORS, METHODS, Definition
from ketenpipe.risk.methods import SET_LEVEL
from ketenpipe.risk.thresholds import Thresholds, load_thresholds
from ketenpipe.sources.icio import IcioFile, IcioTable, read_table
from ketenpipe.sources.opening import sha256_of
from ketenpipe.sources.places import embedded
from ketenpipe.tables.registry import (
    BACI_FLOWS,
    DRAWN_VERDICTS,
    ELASTICITY,
    EXPLANATIONS,
    HS_WEIGHTS,
    ICIO_ACCOUNTS,
    MINING_PRODUCTION,
    ORIGIN_MIX,
    PRODUCTION,
    SUBSTITUTABILITY,
    TRACING,
)
from ketenpipe.tables.store import Store

#: Which of several rows of an indicator is meant where the question does not say: by value before mass for what is
#: direct, by mass for what is traced, a statistic before a list.
_BASES = ("imports", "exports", "traced", "world_production_mix", "observed", "producer_list")
_PREFERRED = {"G2": ("traced", "world_production_mix", "imports"), "G3": ("traced", "world_production_mix", "imports")}
_MEASURES = ("v", "q", "p", "none")
_TRACED_MEASURES = ("q", "p", "v", "none")
#: A group's own figures before those of a node of that name.
_LEVELS = ("hs6", "group", "node", "industry", "set")
#: What is asked about -> the table that holds it.
_TABLES = {"indicator": "indicators", "method": "flags", "component": SUBSTITUTABILITY.name}
_EXPLAIN = {"indicator": explain_figure, "method": explain_verdict, "component": explain_component}
#: Before the name of a component that an indicator or method is called too.
PREFIX = f"{SUBSTITUTABILITY.name}."
#: Years before its own that a component of substitutability may look at.
_LONGEST = 3
#: Lists that a release states the hash of, by the part of its parameters that holds it.
_STATED = {"material_parameters.csv": "parameters", "substitutability.toml": "thresholds"}


#: Lines that say whether something came out when it was computed again.
CHECKED = ("recomputed", "rank again", "score again")


@dataclass(frozen=True)
class Question:
    """What is asked.

    Args:
        focus: country or bloc, by code or name.
        code: HS6 code, node, group or industry, by code or name.
        indicator: id or name of an indicator, name of a method, or of a component of substitutability.
        year: None for the newest.
        tier: of a node in its group; None for any, the product first.
        group: for a node of several groups.
        measure, basis: for an indicator that has several rows.
    """

    focus: str
    code: str
    indicator: str
    year: int | None = None
    tier: int | None = None
    group: str | None = None
    measure: str | None = None
    basis: str | None = None


@dataclass(frozen=True)
class SourceFile:
    """An input file and whether its bytes are still those that were read.

    Args:
        file: as table ``sources`` names it.
        row: its row there.
        path: where a file of that name was found; None if nowhere.
        holds: whether it has the hash of the release; None where it was not found.
    """

    file: str
    row: Mapping[str, Any]
    path: str | None
    holds: bool | None


@dataclass(frozen=True)
class Answer:
    """How one number of a release comes about.

    Attributes:
        release, manifest_sha256: where it stands.
        row: of ``indicators``, ``flags`` or ``substitutability``.
        lines: rows of contract ``explanations``.
        files: the source files, hashed again.
        others: what else the release has under the same names, in words that a question can take up.
        published: whether the lines are those that the release carries (else they were made now).
    """

    release: str
    manifest_sha256: str
    row: Row
    lines: tuple[Row, ...]
    files: tuple[SourceFile, ...]
    others: tuple[str, ...]
    published: bool

    @property
    def reproduces(self) -> bool | None:
        """Whether the number came out when it was computed again; None where it was not computed again."""
        found = [line["holds"] for line in self.lines if line["what"] == "recomputed"]
        if not found or found[0] is None:
            return None
        return all(line["holds"] for line in self.lines if line["what"] in CHECKED)


def answer(
    release: ReleaseInfo, store: Store, reference: Reference, question: Question, folders: Sequence[Path],
    lists: Lists | None = None, hashes: Mapping[str, str] | None = None,
) -> Answer:  # fmt: skip
    """Answer a question about a release.

    Args:
        release: the release.
        store: tables of the home: flows, production and how supply was traced, as far as they are there.
        reference: the catalogue.
        question: what is asked.
        folders: where source files may lie: the embedded sample, the archive, a drop folder, reference folders.
        lists: cited parameters, settings of substitutability, input-output tables; without them what rests on them is
            not computed again.
        hashes: of the files of ``lists``, by name: told where they are not those of the release.

    Raises:
        WrongUse: a name that the release does not know (with the nearest that it knows), or nothing under it.
        KetenpipeError: the release states thresholds that this version cannot read.
    """
    for what, given in (("focus", question.focus), ("code", question.code), ("indicator", question.indicator)):
        if not given.strip():
            raise WrongUse(f"the {what} is empty; name a focus, a code and an indicator, such as NLD 810110 C1")
    thresholds = thresholds_of(release)
    kind, name = named(question.indicator)
    focus = _focus(release, question.focus)
    row, others = _row(release, replace(question, focus=focus), kind, name)
    item, year = Item.of(row), int(row["year"])
    book = Book(_tables(release, store, item, year, name), reference, thresholds, lists)
    parts = [*_EXPLAIN[kind](book, item, year, row), *_other_catalogue(release, reference)]
    named_lists = [*lists_of(book, item, row), *(["substitutability.toml"] if kind == "component" else [])]
    parts += _settings(release, named_lists, hashes or {})
    lines = rows_of(item, year, row, parts)
    published = [] if kind == "component" else _published(release, item, year, row)
    if published:
        # The check is of now; everything else stands as it was published.
        now = next(line for line in lines if line["what"] == "recomputed")
        fresh = {k: now[k] for k in ("value", "text_en", "text_nl", "holds")}
        lines = [{**line, **fresh} if line["what"] == "recomputed" else line for line in published]
    files = checked(book.rows("sources"), [str(line["what"]) for line in lines if line["part"] == "source"], folders)
    return Answer(
        release.release, release.manifest_sha256, row, tuple(lines), tuple(files), tuple(others), bool(published)
    )


def _other_catalogue(release: ReleaseInfo, reference: Reference) -> list[Part]:
    """A word where the catalogue here (blocs, producer lists) is not the one that the release was made with."""
    stated = release.manifest["parameters"].get("catalogue")
    if stated in (None, reference.sha256):
        return []
    text = Words(
        "the catalogue here is not the one of the release: name that with --catalogue",
        "de catalogus hier is niet die van de publicatie: noem die met --catalogue",
    )
    return [Part("missing", "catalogue", text)]


def _settings(release: ReleaseInfo, named: Iterable[str], hashes: Mapping[str, str]) -> list[Part]:
    """The lists beside the catalogue that a figure rests on, with the hash that the release states; a word if it is not
    that of the list at hand."""
    stated = release.manifest["parameters"].get("lists") or {}
    parts = []
    for name in named:
        sha256 = (stated.get(_STATED.get(name, "")) or {}).get(name)
        if sha256 is None:
            continue
        text = say("{n}: sha256 {h}", "{n}: sha256 {h}", n=name, h=sha256)
        parts.append(Part("formula", "settings", text))
        if hashes.get(name, sha256) != sha256:
            text = say("{n} here is not the one of the release: name its folder with --catalogue",
                       "{n} hier is niet die van de publicatie: noem de map met --catalogue", n=name)  # fmt: skip
            parts.append(Part("missing", "settings", text))
    return parts


def recipes(release: ReleaseInfo, files: Callable[[], Mapping[int, IcioFile]]) -> Lists:
    """The input-output tables that a release was made from, as far as they are at hand with the same bytes.

    Args:
        release: the release.
        files: gives the input-output tables of the sources, by year; asked only when one is needed.
    """
    rows = release.read("sources").to_pylist() if "sources" in release.tables else []
    stated = {int(r["from_year"]): r["sha256"] for r in rows
              if r["source"] == "icio" and r["sha256"] and r["from_year"] is not None}  # fmt: skip

    def recipe(year: int) -> IcioTable | None:
        try:
            held = files().get(year)
        except InputRefused:
            return None  # the sources are not here: the answer says that the table is not at hand
        if held is None or sha256_of(held.path) != stated.get(year):
            return None
        return read_table(held)

    partners = tuple(str(p) for p in release.manifest["parameters"].get("partners") or ())
    return Lists(partners=partners, recipe=recipe, recipe_years=tuple(sorted(stated)))


# -- names ---------------------------------------------------------------------------------------------------


def named(name: str) -> tuple[str, str]:
    """``("indicator", id)``, ``("method", name)`` or ``("component", name)`` of an id, a plain name or a title.

    An id (``C1``) means the indicator; a name that an indicator and a method have (``indirect_specific``) means the
    method. A component of substitutability comes last; ``substitutability.<name>`` means it whatever else bears the
    name, and ``substitutability`` the composite.

    Raises:
        WrongUse: no such name, with the nearest ones.
    """
    wanted = name.strip().lower()
    if wanted == SUBSTITUTABILITY.name:
        return "component", COMPOSITE
    only = wanted.startswith(PREFIX)
    wanted = wanted.removeprefix(PREFIX)
    plain = (("indicator", INDICATORS), ("method", METHODS))
    every = [("component", COMPONENTS)] if only else [*plain, ("component", COMPONENTS)]
    for kind, known in every if only else plain:
        found = [i for i in known if i.lower() == wanted]
        if found:
            return kind, found[0]
    for kind, known in every:
        for identifier, entry in known.items():
            if wanted in (entry.name.lower(), entry.name_en.lower(), entry.name_nl.lower()):
                return kind, identifier
    words: dict[str, str] = {}
    for _, known in every:
        for word, shown in _words(known).items():
            words.setdefault(word, shown)
    what = "component of substitutability" if only else "indicator, method or component"
    raise WrongUse(f"there is no {what} '{name}'; {_nearest(wanted, words)}")


def _words(known: Mapping[str, Definition]) -> dict[str, str]:
    """What names may be written as -> the id to show."""
    found = {}
    for identifier, entry in known.items():
        for word in (identifier, entry.name, entry.name_en, entry.name_nl):
            found[word.lower()] = identifier if identifier == entry.name else f"{identifier} ({entry.name})"
    return found


def _nearest(wanted: str, words: Mapping[str, str], many: int = 5) -> str:
    """The nearest known names as the end of a sentence."""
    near = difflib.get_close_matches(wanted, list(words), n=many, cutoff=0.5)
    near += [w for w in words if wanted and wanted in w and w not in near][: many - len(near)]
    shown = list(dict.fromkeys(words[w] for w in near))
    if shown:
        return f"the nearest are {', '.join(shown)}" if len(shown) > 1 else f"the nearest is {shown[0]}"
    every = list(dict.fromkeys(words.values()))
    return f"known are {', '.join(every[:12])}" + (f" and {len(every) - 12} more" if len(every) > 12 else "")


def _labels(release: ReleaseInfo) -> list[Row]:
    if "labels" not in release.tables:
        return []
    rows: list[Row] = release.read("labels", ["kind", "code", "name_en", "name_nl"]).to_pylist()
    return rows


def _by_name(release: ReleaseInfo, wanted: str, kinds: Sequence[str]) -> list[str]:
    """Codes that bear a name in either language, those of the first kinds first."""
    low = wanted.strip().lower()
    found = [r for r in _labels(release) if low in ((r["name_en"] or "").lower(), (r["name_nl"] or "").lower())]
    found = [r for r in found if r["kind"] in kinds]
    return [str(r["code"]) for r in sorted(found, key=lambda r: kinds.index(r["kind"]))]


def _focus(release: ReleaseInfo, wanted: str) -> str:
    parameters = release.manifest["parameters"]
    foci = [str(f) for f in (*parameters["focus"], *parameters["bloc"])]
    code = wanted.strip().upper()
    if code in foci:
        return code
    for found in _by_name(release, wanted, ("country",)):
        if found in foci:
            return found
    raise WrongUse(f"release {release.release} has no focus '{wanted}'; it has {', '.join(foci)}")


# -- the row -------------------------------------------------------------------------------------------------


def read(release: ReleaseInfo, table: str, filters: pc.Expression, columns: Sequence[str] | None = None) -> pa.Table:
    """Rows of a table of a release; row groups without a match are not read.

    Raises:
        WrongUse: the release has no such table.
        ReleaseDamaged: its file is gone or cannot be read.
    """
    if table not in release.tables:
        return release.read(table)  # says which tables there are
    try:
        return pq.read_table(
            release.place.key(f"{table}.parquet"), filesystem=release.place.filesystem, filters=filters,
            columns=None if columns is None else list(columns),
        )  # fmt: skip
    except (OSError, pa.ArrowInvalid):
        return release.read(table)  # says what is wrong with it


def _row(release: ReleaseInfo, question: Question, kind: str, name: str) -> tuple[Row, list[str]]:
    """The row that is meant, and the others under the same names."""
    table = _TABLES[kind]
    code = question.code.strip()
    wanted = (pc.field("focus") == question.focus) & (pc.field(kind) == name)
    codes = [code, code.lower(), code.upper(), *_by_name(release, code, ("group", "node", "product", "industry"))]
    rows: list[Row] = read(release, table, wanted & pc.field("code").isin(list(dict.fromkeys(codes)))).to_pylist()
    if not rows:
        raise WrongUse(_no_such(release, question, kind, name, table, code))
    first = next(c for c in dict.fromkeys(codes) if any(r["code"] == c for r in rows))
    rows = [r for r in rows if r["code"] == first]
    for what, value in (("group", question.group), ("tier", question.tier), ("measure", question.measure),
                        ("basis", question.basis), ("year", question.year)):  # fmt: skip
        if value is None:
            continue
        chosen = [r for r in rows if r.get(what) == value]
        if not chosen:
            there = ", ".join(sorted({str(r[what]) for r in rows if r.get(what) is not None})) or "none"
            raise WrongUse(f"{name} of {first} for {question.focus} has no {what} {value}; there is {there}")
        rows = chosen
    newest = max(r["year"] for r in rows)
    rows = [r for r in rows if r["year"] == newest]
    rows.sort(key=lambda r: _order(r, name))
    shown = [_other(r, rows[0]) for r in rows[1:]]
    return rows[0], list(dict.fromkeys(s for s in shown if s))


def _order(row: Row, name: str) -> tuple[Any, ...]:
    bases = _PREFERRED.get(name, _BASES)
    basis = row.get("basis")
    measures = _MEASURES if basis in ("imports", "exports", None) else _TRACED_MEASURES
    return (
        _LEVELS.index(row["level"]),
        _revision_age(row["hs_revision"]),
        row["tier"] or 0,
        row["group"] or "",
        bases.index(basis) if basis in bases else len(bases),
        measures.index(row["measure"]) if row.get("measure") else 0,
    )


def _revision_age(revision: str | None) -> int:
    """HS revisions, newest first; HS92 and HS96 are older than HS02."""
    return 0 if revision is None else -((int(revision[2:]) + 12) % 100)


def _other(row: Row, chosen: Row) -> str:
    """How another row differs from the one that is explained, as options of the command."""
    differs = [k for k in ("level", "hs_revision", "group", "tier", "measure", "basis") if row.get(k) != chosen.get(k)]
    options = [f"--{k} {row[k]}" for k in differs if k in ("group", "tier", "measure", "basis") and row[k] is not None]
    plain = [f"{k.replace('_', ' ')} {row[k]}" for k in differs if k in ("level", "hs_revision")]
    return " ".join([*plain, *options])


def _no_such(release: ReleaseInfo, question: Question, kind: str, name: str, table: str, code: str) -> str:
    """Why there is no row: the code is not known (with the nearest), or it has no such figure."""
    of_focus = pc.field("focus") == question.focus
    known = set(read(release, table, of_focus, ["code"]).column("code").unique().to_pylist())
    exact = [c for c in known if c is not None and c.lower() == code.lower()]
    if exact:
        held = read(release, table, of_focus & (pc.field("code") == exact[0]), [kind])
        names = ", ".join(sorted(held.column(kind).unique().to_pylist()))
        return f"the release has no {name} of {exact[0]} for {question.focus}; it has {names}"
    shown = {c: c for c in sorted(c for c in known if c)}
    titles = [r for r in _labels(release) if r["code"] in known]
    shown |= {r["code"]: f"{r['code']} ({r['name_en']})" for r in titles}
    words = {c.lower(): text for c, text in shown.items()}
    for row in titles:
        for title in (row["name_en"], row["name_nl"]):
            if title:
                words.setdefault(title.lower(), shown[row["code"]])
    return f"release {release.release} knows no code '{code}' for {question.focus}; {_nearest(code.lower(), words)}"


# -- the tables ----------------------------------------------------------------------------------------------


def thresholds_of(release: ReleaseInfo) -> Thresholds:
    """The cut-offs that a release was made with.

    What it states no cut-off of it has no figure of either: there the shipped one fills the place.

    Raises:
        KetenpipeError: they are not those that this version knows.
    """
    shipped = load_thresholds(embedded("reference")).model_dump(mode="json")
    try:
        return Thresholds(**{**shipped, **release.manifest["parameters"]["thresholds"]})
    except (KeyError, TypeError, ValidationError) as error:
        raise KetenpipeError(
            f"release {release.release} was made by another version of ketenpipe: its thresholds are not those that "
            "this one knows; run 'ketenpipe run' to publish one that can be explained."
        ) from error


def _tables(release: ReleaseInfo, store: Store, item: Item, year: int, name: str) -> dict[str, pa.Table]:
    """What the walk of one item looks into: of the release, and of the home where it is there."""
    years = list(range(year - WINDOW, year + 1))
    of_year, of_focus = pc.field("year") == year, pc.field("focus") == item.focus
    of_years = pc.field("year").isin(pa.array(years, pa.int32()))
    about = pc.field("code") == item.code
    if item.group is not None:
        about = pc.field("group") == item.group
    tables: dict[str, pa.Table] = {}

    def take(name: str, filters: pc.Expression) -> None:
        if name in release.tables:
            tables[name] = read(release, name, filters)

    take("indicators", of_focus & (of_years & about | _others_needed(name, year)))
    judged = (pc.field("method") == item.code) if item.level == "set" else about
    take("flags", of_focus & of_years & judged)
    for beside in ("uncertainty", "robustness", SUBSTITUTABILITY.name):
        take(beside, of_focus & of_year & about)
    take("country_risk", of_year)
    codes = {item.code}
    if item.group is not None:
        of_group = pc.field("group") == item.group
        take("chain_nodes", of_group)
        take("exposure", of_group & of_focus & of_year)
        take("paths", of_group & of_focus & of_year)
        codes = {c for r in tables["chain_nodes"].to_pylist() for c in (r["codes"] or "").split()}
    of_codes = pc.field("code").isin(pa.array(sorted(codes), pa.string()))
    longest = pc.field("year").isin(pa.array(range(year - _LONGEST, year + 1), pa.int32()))
    take("supply_mix", of_focus & longest & of_codes)
    take("product_tiers", of_focus & of_year & of_codes)
    take("product_uses", of_focus & of_year & of_codes)
    take("product_industries", of_codes)
    industries = {item.code} if item.level == "industry" else set()
    if SET_LEVEL.get(name) == "industry" and "product_industries" in tables:
        industries |= set(tables["product_industries"].column("industry").to_pylist())
    if industries:
        those = pc.field("industry").isin(pa.array(sorted(industries), pa.string()))
        for of_industry in ("industry_exposure", "industry_tiers", "industry_measures"):
            take(of_industry, of_focus & those)
    for whole in ("sources", "labels"):
        if whole in release.tables:
            tables[whole] = release.read(whole)
    return tables | _of_home(store, codes, years, item, about)


def _others_needed(name: str, year: int) -> pc.Expression:
    """Figures of other items that one is held against: all that are ranked beside it, those of industries."""
    of_year, indicator = pc.field("year") == year, pc.field("indicator")
    if name == "geopolrisk":
        return of_year & (indicator == "G4")
    if SET_LEVEL.get(name) == "industry":
        return (pc.field("level") == "industry") & (indicator == "I4")
    if name in ("trade_elasticity", COMPOSITE):
        return of_year & (indicator == "S3")
    return pc.scalar(False)


def _of_home(
    store: Store, codes: Iterable[str], years: Sequence[int], item: Item, about: pc.Expression
) -> dict[str, pa.Table]:
    """Tables of the home that no release carries, cut down to some codes and years; those that are there."""
    tables: dict[str, pa.Table] = {}
    wanted = sorted(codes)
    of_focus = pc.field("focus") == item.focus
    for contract in (BACI_FLOWS, TRACING, PRODUCTION, ORIGIN_MIX):
        held = [str(y) for y in years if store.exists(contract, str(y))]
        if str(years[-1]) in held:
            filters = of_focus if contract is TRACING else None
            tables[contract.name] = store.read(contract, held, codes=wanted, filters=filters)
    if store.exists(MINING_PRODUCTION):
        of_years = pc.field("year").isin(pa.array(list(years), pa.int32()))
        tables[MINING_PRODUCTION.name] = store.read(MINING_PRODUCTION, filters=of_years)
    if store.exists(ELASTICITY):
        tables[ELASTICITY.name] = store.read(ELASTICITY)
    led = pa.array(wanted, pa.string())
    if store.exists(HS_WEIGHTS):
        filters = pc.field("from_code").isin(led) | pc.field("to_code").isin(led)
        tables[HS_WEIGHTS.name] = store.read(HS_WEIGHTS, filters=filters)
    if store.exists(DRAWN_VERDICTS):
        filters = of_focus & (pc.field("year") == years[-1]) & about
        tables[DRAWN_VERDICTS.name] = store.read(DRAWN_VERDICTS, filters=filters)
    accounts = recipe_year([int(y) for y in store.partitions(ICIO_ACCOUNTS)], years[-1])
    if accounts is not None:
        tables[ICIO_ACCOUNTS.name] = store.read(ICIO_ACCOUNTS, [str(accounts)])
    return tables


def _published(release: ReleaseInfo, item: Item, year: int, row: Row) -> list[Row]:
    """The lines that the release carries about a row; none where its table does not cover it."""
    if EXPLANATIONS.name not in release.tables:
        return []
    key: dict[str, Any] = {
        **vars(item), "year": year, "indicator": row.get("indicator", row.get("method")),
        "measure": row.get("measure"), "basis": row.get("basis"),
    }  # fmt: skip
    wanted = pc.field("focus") == item.focus
    for name, value in key.items():
        wanted &= pc.field(name).is_null() if value is None else pc.field(name) == value
    rows: list[Row] = read(release, EXPLANATIONS.name, wanted).to_pylist()
    return sorted(rows, key=lambda r: (PARTS.index(r["part"]), r["position"]))


# -- bytes ---------------------------------------------------------------------------------------------------


def checked(
    rows: Iterable[Mapping[str, Any]], named: Iterable[str], folders: Sequence[Path],
    hash_of: Callable[[Path], str] = sha256_of,
) -> list[SourceFile]:  # fmt: skip
    """Hash source files again: is each still the file that was read?

    Args:
        rows: of table ``sources``.
        named: ``source:file`` of those that are meant.
        folders: where they may lie; the first file with the right bytes counts, else the first of that name.
        hash_of: gives a file's SHA-256.
    """
    held = {f"{r['source']}:{r['file']}": r for r in rows}
    found = []
    for name in named:
        row = held[name]
        # An entry of an archive follows after '!': the hash is the archive's.
        relative = str(row["file"]).partition("!")[0]
        there = [path for folder in folders if (path := folder / relative).is_file()]
        matching = next((p for p in there if hash_of(p) == row["sha256"]), None)
        seen = matching or next(iter(there), None)
        holds = None if seen is None else matching is not None
        found.append(SourceFile(str(row["file"]), row, None if seen is None else str(seen), holds))
    return found
