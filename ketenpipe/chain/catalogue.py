"""The chain catalogue and the other reference data: read, checked, handed out with file and line.

Belongs here: the CSV files of ``data/reference/`` (product groups, nodes, edges, production links, producer
lists, non-producers, refining hubs, blocs, public interests, HS code lists) as typed records, and every rule
that an edited file must keep. Does not belong here: production or trade figures, the look-through itself, the
amendments of experts (they arrive as a table and replace ``Reference.edges``).

Every record carries ``file`` and ``line`` (the physical line in that file), so that a refusal, a report and a
diff speak of the same place. An edge ``m -> k`` means "input m goes into user k" within one product group.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import networkx as nx

from ketenpipe.errors import InputRefused, WrongUse
from ketenpipe.sources.countries import iso3_to_iso2

STAGES = ("extraction", "processing", "component", "assembly", "end_product")
EVIDENCE = ("expert_bom", "literature", "textbook", "icio_proportional", "assumed")
CONFIDENCE = ("high", "medium", "low")
CITATION_STATUS = ("read", "recalled")
RELATIONS = (
    "same_form",
    "contained_metal",
    "contained_oxide",
    "upstream_ore",
    "downstream_metal",
    "broader",
    "narrower",
)
HS_REVISIONS = ("HS92", "HS17")

_CODE = re.compile(r"\d{6}", re.ASCII)
_ID = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)
_ISO3 = re.compile(r"[A-Z]{3}", re.ASCII)
_BLOC = re.compile(r"[A-Z][A-Z0-9_]*", re.ASCII)


@dataclass(frozen=True)
class PublicInterest:
    """A public interest that a product group can touch; ``weight`` in 0..1 is a convention of ours."""

    interest: str
    name_en: str
    name_nl: str
    weight: float
    source: str
    file: str
    line: int


@dataclass(frozen=True)
class Group:
    """A product group: its tier-0 node, its names and the public interests it touches."""

    group: str
    node: str
    name_en: str
    name_nl: str
    public_interests: tuple[str, ...]
    interest_why_en: str
    interest_why_nl: str
    citation: str
    citation_status: str
    note: str
    file: str
    line: int


@dataclass(frozen=True)
class Node:
    """A named set of HS6 codes per revision at one stage, or (material, no codes) a production statistic."""

    node: str
    name_en: str
    name_nl: str
    stage: str
    codes_hs92: tuple[str, ...]
    codes_hs17: tuple[str, ...]
    material: str
    material_relation: str
    shared_code_note: str
    note: str
    file: str
    line: int

    def codes(self, hs_revision: str) -> tuple[str, ...]:
        """The node's HS6 codes in one revision; empty where the product has no code there."""
        return {"HS92": self.codes_hs92, "HS17": self.codes_hs17}.get(hs_revision, ())

    @property
    def is_statistic(self) -> bool:
        """True for a node without trade codes that stands for a production statistic."""
        return bool(self.material) and not self.codes_hs92 and not self.codes_hs17


@dataclass(frozen=True)
class Edge:
    """``input`` goes into ``user`` within ``group``; ``intensity`` is a cost or mass share, or None."""

    group: str
    user: str
    input: str
    intensity: float | None
    essential: bool
    evidence: str
    confidence: str
    citation: str
    citation_status: str
    note: str
    file: str
    line: int
    amendment: str = ""

    @property
    def weight(self) -> float | None:
        """The edge's factor in a path weight: 1 where essential, else the intensity if its source was read.

        None (unknown) where there is no intensity, or where nobody has read its source: a recalled or assumed
        figure never moves a flag.
        """
        if self.essential:
            return 1.0
        return self.intensity if self.citation_status == "read" else None


@dataclass(frozen=True)
class ProductionLink:
    """Which commodity of the statistic belongs to a code; ``same_form`` allows it as production."""

    hs_revision: str
    code: str
    material: str
    relation: str
    same_form: bool
    why: str
    citation: str
    citation_status: str
    file: str
    line: int


@dataclass(frozen=True)
class ProducerFigure:
    """Production of one country from a producer list: a quantity with its unit, or only a world share."""

    node: str
    hs_revision: str
    code: str
    year: int
    country: str
    quantity: float | None
    unit: str
    share: float | None
    form: str
    citation: str
    citation_status: str
    file: str
    line: int


@dataclass(frozen=True)
class NonProducer:
    """A country that makes none of a node, a code or a stage (all that is given must match), and why."""

    country: str
    node: str
    stage: str
    code: str
    why: str
    citation: str
    citation_status: str
    file: str
    line: int


@dataclass(frozen=True)
class RefiningHub:
    """A country where scrap or foreign intermediates are really refined: marked, and not called a mine."""

    country: str
    node: str
    why: str
    citation: str
    citation_status: str
    file: str
    line: int


@dataclass(frozen=True)
class BlocMember:
    """Membership of a bloc on 31 December, from ``from_year`` to ``to_year`` (None: no limit)."""

    bloc: str
    iso3: str
    from_year: int | None
    to_year: int | None
    source: str
    file: str
    line: int


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in the reference data, with its place."""

    file: str
    line: int | None
    group: str | None
    what: str

    def __str__(self) -> str:
        place = [self.file]
        if self.line is not None:
            place.append(f"line {self.line}")
        if self.group:
            place.append(f"group '{self.group}'")
        return f"{', '.join(place)}: {self.what}"


@dataclass(frozen=True)
class Reference:
    """The reference data as read; see :func:`load_reference`. Checked by :func:`validate`."""

    groups: Mapping[str, Group]
    nodes: Mapping[str, Node]
    edges: tuple[Edge, ...]
    public_interests: Mapping[str, PublicInterest]
    production_links: tuple[ProductionLink, ...] = ()
    producer_figures: tuple[ProducerFigure, ...] = ()
    non_producers: tuple[NonProducer, ...] = ()
    refining_hubs: tuple[RefiningHub, ...] = ()
    blocs: tuple[BlocMember, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    file_sha256: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()

    # -- chains ---------------------------------------------------------------------------------------------
    def codes(self, node: str, hs_revision: str) -> tuple[str, ...]:
        """The HS6 codes of a node in one HS revision (``HS92``, ``HS17``); empty where it has none."""
        return self.nodes[node].codes(hs_revision)

    def edges_of(self, group: str) -> tuple[Edge, ...]:
        """The edges of one group, in the order of the file."""
        return tuple(e for e in self.edges if e.group == group)

    def graph(self, group: str) -> nx.DiGraph:
        """The chain of one group as a directed graph, edges user -> input, tier-0 node included.

        Edge attributes: ``weight`` (see :attr:`Edge.weight`), ``intensity``, ``essential``, ``evidence``,
        ``confidence``, ``citation``, ``citation_status``, ``file``, ``line``. Node attributes: ``stage``,
        ``material``, ``is_statistic``, ``tier`` (the smallest number of steps from tier 0). Graph attributes:
        ``group`` and ``tier0``.
        """
        head = self.groups[group].node
        graph = nx.DiGraph(group=group, tier0=head)
        graph.add_node(head)
        for edge in self.edges_of(group):
            graph.add_edge(
                edge.user,
                edge.input,
                weight=edge.weight,
                intensity=edge.intensity,
                essential=edge.essential,
                evidence=edge.evidence,
                confidence=edge.confidence,
                citation=edge.citation,
                citation_status=edge.citation_status,
                file=edge.file,
                line=edge.line,
            )
        tiers = nx.single_source_shortest_path_length(graph, head)
        for name, attributes in graph.nodes(data=True):
            node = self.nodes.get(name)
            attributes["stage"] = node.stage if node else ""
            attributes["material"] = node.material if node else ""
            attributes["is_statistic"] = node.is_statistic if node else False
            attributes["tier"] = tiers.get(name)
        return graph

    def nodes_of(self, group: str) -> tuple[str, ...]:
        """The nodes of one group, tier 0 first, then by tier and name."""
        graph = self.graph(group)
        return tuple(sorted(graph.nodes, key=lambda n: (graph.nodes[n]["tier"] or 0, n)))

    def is_dashed(self, node: str, hs_revision: str, available: Collection[str]) -> bool:
        """True where a node is a process step that the sources lack: it has no material of its own without
        codes, and none of its codes in this revision is among the ``available`` ones."""
        if self.nodes[node].is_statistic:
            return False
        return not any(code in available for code in self.codes(node, hs_revision))

    def nodes_with_code(self, code: str, hs_revision: str) -> tuple[str, ...]:
        """The nodes that hold a code in one HS revision."""
        return tuple(n for n, node in self.nodes.items() if code in node.codes(hs_revision))

    # -- production -----------------------------------------------------------------------------------------
    def production_link(self, code: str, hs_revision: str) -> ProductionLink | None:
        """The production statistic that belongs to a code, or None."""
        for link in self.production_links:
            if link.code == code and link.hs_revision == hs_revision:
                return link
        return None

    def producer_list(self, code: str, hs_revision: str, year: int) -> tuple[ProducerFigure, ...]:
        """The producer-list rows of a code and year whose source was read (a recalled one moves nothing)."""
        return tuple(
            f
            for f in self.producer_figures
            if f.code == code and f.hs_revision == hs_revision and f.year == year and f.citation_status == "read"
        )

    def producer_shares(self, node: str, year: int) -> dict[str, float]:
        """The shares of world production (ISO3 -> share) that were read for a node in a year.

        A share is a fact about the material: where the list repeats it for several codes and revisions of the
        node it counts once (the first line of a country wins). The shares need not add to 1; the rest is of
        unknown origin, so a concentration computed from them is a lower bound.
        """
        shares: dict[str, float] = {}
        for figure in self.producer_figures:
            if (figure.node, figure.year, figure.citation_status) != (node, year, "read"):
                continue
            if figure.share is not None:
                shares.setdefault(figure.country, figure.share)
        return shares

    def non_producer_countries(self, code: str, hs_revision: str) -> dict[str, str]:
        """The countries that make none of a code, with the reason (ISO3 -> why): there production is 0."""
        holders = {name: self.nodes[name] for name in self.nodes_with_code(code, hs_revision)}
        found: dict[str, str] = {}
        for row in self.non_producers:
            if row.code and row.code != code:
                continue
            if row.node:
                node = holders.get(row.node)
                if node is None or (row.stage and row.stage != node.stage):
                    continue
            elif row.stage and not row.code and not any(n.stage == row.stage for n in holders.values()):
                continue
            found.setdefault(row.country, row.why)
        return found

    def hub_countries(self, node: str) -> dict[str, str]:
        """The recycling or refining hubs of a node, with the reason (ISO3 -> why)."""
        return {h.country: h.why for h in self.refining_hubs if h.node == node}

    # -- blocs ----------------------------------------------------------------------------------------------
    @property
    def bloc_names(self) -> tuple[str, ...]:
        """The names of the blocs, sorted."""
        return tuple(sorted({row.bloc for row in self.blocs}))

    def bloc_members(self, bloc: str, year: int) -> frozenset[str]:
        """The members (ISO3) of a bloc on 31 December of a year; :class:`WrongUse` if the bloc is unknown."""
        if bloc not in self.bloc_names:
            raise WrongUse(f"the bloc {bloc} is not defined; known are {', '.join(self.bloc_names)}")
        return frozenset(
            row.iso3
            for row in self.blocs
            if row.bloc == bloc
            and (row.from_year is None or row.from_year <= year)
            and (row.to_year is None or year <= row.to_year)
        )

    def check_blocs(self, names: Iterable[str], years: Iterable[int] = ()) -> None:
        """Refuse a bloc that the reference data do not know, or that has no member in one of the years.

        Raises:
            WrongUse: the bloc, and the blocs there are or the years in which it has members.
        """
        for name in names:
            if name not in self.bloc_names:
                raise WrongUse(f"'{name}' is not a bloc; there are {', '.join(self.bloc_names)}")
            wanted = sorted(set(years))
            if empty := [y for y in wanted if not self.bloc_members(name, y)]:
                held = [y for y in wanted if y not in empty]
                spans = [(row.from_year, row.to_year) for row in self.blocs if row.bloc == name]
                first = min(start or 0 for start, _ in spans)
                last = None if any(end is None for _, end in spans) else max(end or 0 for _, end in spans)
                when = f"from {first}" + ("" if last is None else f" to {last}")
                raise WrongUse(
                    f"the bloc {name} has no members in {empty[0]} (it has members {when}); "
                    + (f"choose years such as {held[0]}-{held[-1]}" if held else "choose another bloc or other years")
                )

    # -- identity -------------------------------------------------------------------------------------------
    @property
    def sha256(self) -> str:
        """SHA-256 of the content: the same for the same facts, whatever the order of lines or the folder."""
        content: dict[str, list[str]] = {}
        for name in _TABLES:
            content[name] = sorted(
                json.dumps(
                    {f.name: getattr(row, f.name) for f in fields(row) if f.name not in ("file", "line")},
                    sort_keys=True,
                    ensure_ascii=False,
                )
                for row in self._rows(name)
            )
        return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()

    def _rows(self, name: str) -> Iterator[Any]:
        held = getattr(self, _TABLES[name].attribute)
        yield from held.values() if isinstance(held, Mapping) else held


# -- reading ------------------------------------------------------------------------------------------------
class _Refused(ValueError):
    """A field that cannot be taken; the message is the part of the sentence after the place."""


def _text(value: str) -> str:
    return value.strip()


def _ident(value: str) -> str:
    value = value.strip()
    if value and not _ID.fullmatch(value):
        raise _Refused(f"'{value}' is not an id of lower-case letters, digits and underscores")
    return value


def _words(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(";") if part.strip())


def _codes(value: str) -> tuple[str, ...]:
    codes = tuple(value.split())
    for code in codes:
        _code(code)
    if len(set(codes)) < len(codes):
        raise _Refused(f"a code stands twice in '{value.strip()}'")
    return codes


def _code(value: str) -> str:
    value = value.strip()
    if value and not _CODE.fullmatch(value):
        lost = "; the leading zero is lost" if re.fullmatch(r"\d{5}", value, re.ASCII) else ""
        raise _Refused(f"the HS code '{value}' has not six digits{lost}")
    return value


def _number(value: str) -> float | None:
    value = value.strip()
    if not value:
        return None
    try:
        number = float(value)
    except ValueError:
        raise _Refused(f"'{value}' is not a number") from None
    if number != number or number in (float("inf"), float("-inf")):
        raise _Refused(f"'{value}' is not a number")
    return number


def _quantity(value: str) -> float | None:
    number = _number(value)
    if number is not None and number < 0:
        raise _Refused(f"the quantity {value.strip()} is negative")
    return number


def _share(value: str) -> float | None:
    number = _number(value)
    if number is not None and not 0 <= number <= 1:
        raise _Refused(f"{value.strip()} lies outside 0-1")
    return number


def _sure_share(value: str) -> float:
    number = _share(value)
    if number is None:
        raise _Refused("it is empty")
    return number


def _year(value: str) -> int | None:
    value = value.strip()
    if not value:
        return None
    if not re.fullmatch(r"(19|20)\d\d", value, re.ASCII):
        raise _Refused(f"'{value}' is not a year")
    return int(value)


def _sure_year(value: str) -> int:
    year = _year(value)
    if year is None:
        raise _Refused("it is empty")
    return year


def _truth(value: str) -> bool:
    word = value.strip().lower()
    if word not in ("true", "false"):
        raise _Refused(f"'{value.strip()}' is neither true nor false")
    return word == "true"


def _country(value: str) -> str:
    value = value.strip()
    if not _ISO3.fullmatch(value) or value == "UNK":
        raise _Refused(f"'{value}' is not an ISO3 country code")
    return value


def _bloc(value: str) -> str:
    value = value.strip()
    if not _BLOC.fullmatch(value):
        raise _Refused(f"'{value}' is not the name of a bloc (capitals and digits)")
    return value


def _one_of(what: str, allowed: Collection[str], *, empty: bool = False) -> Callable[[str], str]:
    def take(value: str) -> str:
        value = value.strip()
        if value in allowed or (empty and not value):
            return value
        raise _Refused(f"the {what} '{value}' is unknown; known are {', '.join(allowed)}")

    return take


_status = _one_of("citation status", CITATION_STATUS, empty=True)


@dataclass(frozen=True)
class _Table:
    attribute: str
    record: type[Any]
    readers: Mapping[str, Callable[[str], Any]]
    required: tuple[str, ...]
    key: tuple[str, ...]
    keyed: bool = False


_TABLES: Mapping[str, _Table] = {
    "public_interests.csv": _Table(
        "public_interests",
        PublicInterest,
        {"interest": _ident, "name_en": _text, "name_nl": _text, "weight": _sure_share, "source": _text},
        ("interest", "name_en", "name_nl", "source"),
        ("interest",),
        keyed=True,
    ),
    "groups.csv": _Table(
        "groups",
        Group,
        {
            "group": _ident,
            "node": _ident,
            "name_en": _text,
            "name_nl": _text,
            "public_interests": _words,
            "interest_why_en": _text,
            "interest_why_nl": _text,
            "citation": _text,
            "citation_status": _status,
            "note": _text,
        },
        ("group", "node", "name_en", "name_nl", "public_interests", "interest_why_en", "interest_why_nl"),
        ("group",),
        keyed=True,
    ),
    "nodes.csv": _Table(
        "nodes",
        Node,
        {
            "node": _ident,
            "name_en": _text,
            "name_nl": _text,
            "stage": _one_of("stage", STAGES),
            "codes_hs92": _codes,
            "codes_hs17": _codes,
            "material": _text,
            "material_relation": _one_of("relation", RELATIONS, empty=True),
            "shared_code_note": _text,
            "note": _text,
        },
        ("node", "name_en", "name_nl"),
        ("node",),
        keyed=True,
    ),
    "edges.csv": _Table(
        "edges",
        Edge,
        {
            "group": _ident,
            "user": _ident,
            "input": _ident,
            "intensity": _share,
            "essential": _truth,
            "evidence": _one_of("evidence", EVIDENCE),
            "confidence": _one_of("confidence", CONFIDENCE),
            "citation": _text,
            "citation_status": _status,
            "note": _text,
        },
        ("group", "user", "input"),
        ("group", "user", "input"),
    ),
    "production_links.csv": _Table(
        "production_links",
        ProductionLink,
        {
            "hs_revision": _one_of("HS revision", HS_REVISIONS),
            "code": _code,
            "material": _text,
            "relation": _one_of("relation", RELATIONS),
            "same_form": _truth,
            "why": _text,
            "citation": _text,
            "citation_status": _status,
        },
        ("code", "material", "why"),
        ("hs_revision", "code"),
    ),
    "producer_lists.csv": _Table(
        "producer_figures",
        ProducerFigure,
        {
            "node": _ident,
            "hs_revision": _one_of("HS revision", HS_REVISIONS),
            "code": _code,
            "year": _sure_year,
            "country": _country,
            "quantity": _quantity,
            "unit": _text,
            "share": _share,
            "form": _text,
            "citation": _text,
            "citation_status": _status,
        },
        ("node", "code", "form"),
        ("node", "hs_revision", "code", "year", "country"),
    ),
    "non_producers.csv": _Table(
        "non_producers",
        NonProducer,
        {
            "country": _country,
            "node": _ident,
            "stage": _one_of("stage", STAGES, empty=True),
            "code": _code,
            "why": _text,
            "citation": _text,
            "citation_status": _status,
        },
        ("why",),
        ("country", "node", "stage", "code"),
    ),
    "refining_hubs.csv": _Table(
        "refining_hubs",
        RefiningHub,
        {"country": _country, "node": _ident, "why": _text, "citation": _text, "citation_status": _status},
        ("node", "why"),
        ("country", "node"),
    ),
    "blocs.csv": _Table(
        "blocs",
        BlocMember,
        {"bloc": _bloc, "iso3": _country, "from_year": _year, "to_year": _year, "source": _text},
        ("source",),
        ("bloc", "iso3", "from_year"),
    ),
}


def _refuse(problems: list[Problem]) -> None:
    """Raise one :class:`InputRefused` that names the first problem and counts the rest; nothing if none."""
    if not problems:
        return
    first, more = problems[0], len(problems) - 1
    what = first.what
    if more:
        what += f" (and {more} more {'problem' if more == 1 else 'problems'} in the reference data)"
    where = ", ".join(
        part
        for part in (
            f"line {first.line}" if first.line is not None else "",
            f"group '{first.group}'" if first.group else "",
        )
        if part
    )
    refused = InputRefused(what, path=first.file, where=where or None)
    refused.problems = tuple(problems)  # type: ignore[attr-defined]
    raise refused


def _decoded(path: Path, raw: bytes) -> str:
    if not raw.strip():
        raise InputRefused("the file is empty", path=path)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as broken:
        line = raw[: broken.start].count(b"\n") + 1
        raise InputRefused("the file is not UTF-8", path=path, where=f"line {line}", todo="save it as UTF-8") from None


def _records(path: Path, raw: bytes) -> Iterator[tuple[int, list[str]]]:
    """The records of a CSV file with the physical line on which each begins; blank lines are passed over."""
    reader = csv.reader(io.StringIO(_decoded(path, raw), newline=""), strict=True)
    line = 1
    try:
        for record in reader:
            if record and any(part.strip() for part in record):
                yield line, record
            line = reader.line_num + 1
    except csv.Error as broken:
        raise InputRefused(f"the CSV cannot be read ({broken})", path=path, where=f"line {line}") from None


def _read_table(path: Path, raw: bytes, table: _Table, problems: list[Problem]) -> list[Any]:
    records = _records(path, raw)
    head_line, header = next(records)
    header = [name.strip() for name in header]
    missing = [name for name in table.readers if name not in header]
    if missing:
        hint = None
        if len(header) == 1 and ";" in header[0]:
            hint = "the columns must be separated by commas, not semicolons"
        names = ", ".join(f"'{name}'" for name in missing)
        verb = "is" if len(missing) == 1 else "are"
        noun = "column" if len(missing) == 1 else "columns"
        raise InputRefused(f"the {noun} {names} {verb} missing", path=path, where=f"line {head_line}", todo=hint)
    if len(set(header)) < len(header):
        raise InputRefused("a column stands twice", path=path, where=f"line {head_line}")
    rows: list[Any] = []
    for line, record in records:
        values = dict(zip(header, record, strict=False))
        group = values.get("group", "").strip() or None
        if len(record) != len(header):
            problems.append(Problem(str(path), line, group, f"{len(record)} fields where the header has {len(header)}"))
            continue
        taken: dict[str, Any] = {"file": str(path), "line": line}
        sound = True
        for name, take in table.readers.items():
            try:
                taken[name] = take(values[name])
            except _Refused as refused:
                problems.append(Problem(str(path), line, group, f"{name}: {refused}"))
                sound = False
                continue
            if name in table.required and not taken[name]:
                problems.append(Problem(str(path), line, group, f"{name} is empty"))
                sound = False
        if sound:
            rows.append(table.record(**taken))
    seen: dict[tuple[Any, ...], int] = {}
    for row in rows:
        key = tuple(getattr(row, name) for name in table.key)
        if key in seen:
            told = " ".join(str(part) for part in key if part not in (None, ""))
            problems.append(
                Problem(
                    row.file,
                    row.line,
                    getattr(row, "group", None),
                    f"'{told}' stands on line {seen[key]} already",
                )
            )
        seen.setdefault(key, row.line)
    return rows


def load_reference(*dirs: Path) -> Reference:
    """Read the reference data; a file in a later directory replaces the one in an earlier directory.

    A catalogue directory given by a user may hold only some of the files: what it does not hold comes from
    the directories before it. Lines inherited that way which speak of groups or nodes that the user's own
    files no longer define are left out and told in ``Reference.left_out``.

    Args:
        dirs: directories in rising precedence, e.g. the shipped ``data/reference`` and then the user's.

    Returns:
        The reference data, read but not yet cross-checked: call :func:`validate`.

    Raises:
        InputRefused: a file is missing everywhere, is empty, is not UTF-8, lacks a column, or holds a line
            that cannot be read (wrong number of fields, malformed code, number outside its range, unknown
            value, repeated id). One sentence names the first problem and counts the others; ``.problems``
            holds all of them.
    """
    places: dict[str, Path] = {}
    rank: dict[str, int] = {}
    for place, directory in enumerate(dirs):
        for name in _TABLES:
            if (Path(directory) / name).is_file():
                places[name], rank[name] = Path(directory) / name, place
    for name in _TABLES:
        if name not in places:
            raise InputRefused(
                f"the reference file {name} is missing",
                path=", ".join(str(d) for d in dirs) or "no directory given",
            )
    problems: list[Problem] = []
    rows: dict[str, list[Any]] = {}
    hashes: dict[str, str] = {}
    for name, path in places.items():
        raw = path.read_bytes()
        hashes[name] = hashlib.sha256(raw).hexdigest()
        rows[name] = _read_table(path, raw, _TABLES[name], problems)
    for name in ("groups.csv", "nodes.csv", "blocs.csv", "public_interests.csv"):
        if not rows[name] and not problems:
            problems.append(Problem(str(places[name]), None, None, "the file holds no line below its header"))
    _refuse(problems)
    rows, left_out = _without_orphans(rows, places, rank)
    held: dict[str, Any] = {}
    for name, table in _TABLES.items():
        held[table.attribute] = (
            {getattr(row, table.key[0]): row for row in rows[name]} if table.keyed else tuple(rows[name])
        )
    return Reference(
        **held,
        files={name: str(path) for name, path in places.items()},
        file_sha256=hashes,
        left_out=tuple(left_out),
    )


def _without_orphans(
    rows: Mapping[str, list[Any]], places: Mapping[str, Path], rank: Mapping[str, int]
) -> tuple[dict[str, list[Any]], list[str]]:
    """Leave out inherited lines whose group or node the files of a later directory do not define."""
    kept = {name: list(lines) for name, lines in rows.items()}
    told: list[str] = []

    def drop(name: str, unwanted: Callable[[Any], bool], why: str) -> None:
        out = [row for row in kept[name] if unwanted(row)]
        if out:
            kept[name] = [row for row in kept[name] if not unwanted(row)]
            told.append(f"{places[name]}: {len(out)} inherited line(s) left out, {why}")

    if rank["edges.csv"] < rank["groups.csv"]:
        groups = {g.group for g in kept["groups.csv"]}
        drop("edges.csv", lambda e: e.group not in groups, "their group is not defined")
    if rank["nodes.csv"] < max(rank["groups.csv"], rank["edges.csv"]):
        used = _used(kept["groups.csv"], kept["edges.csv"])
        drop("nodes.csv", lambda n: n.node not in used, "no group uses the node")
    nodes = {n.node for n in kept["nodes.csv"]}
    gone = {n.node for n in rows["nodes.csv"]} - nodes
    for name in ("producer_lists.csv", "non_producers.csv", "refining_hubs.csv"):
        inherited = rank[name] < rank["nodes.csv"]
        unwanted = gone if not inherited else gone | {r.node for r in kept[name] if r.node} - nodes
        drop(name, partial(_speaks_of, unwanted), "their node is not defined")
    return kept, told


def _speaks_of(nodes: Collection[str], row: ProducerFigure | NonProducer | RefiningHub) -> bool:
    return row.node in nodes


def _used(groups: Iterable[Group], edges: Iterable[Edge]) -> set[str]:
    used = {g.node for g in groups}
    for edge in edges:
        used |= {edge.user, edge.input}
    return used


# -- checking -----------------------------------------------------------------------------------------------
def validate(
    reference: Reference,
    known_codes: Mapping[str, Collection[str]] | None = None,
    known_materials: Collection[str] | None = None,
) -> None:
    """Check that the reference data hold together; all problems are collected, one sentence is raised.

    Args:
        reference: what :func:`load_reference` read (or such a reference with amended edges).
        known_codes: HS revision -> HS6 codes (see :func:`hs_code_labels`); None: not checked.
        known_materials: commodity names of the production statistic; None: not checked.

    Raises:
        InputRefused: names file, line and group of the first problem and counts the others; ``.problems``
            holds every :class:`Problem`. Refused are unknown codes, materials, nodes, groups and public
            interests; nodes used nowhere; edges that the tier-0 node does not reach; cycles; a product that
            shares a code with its own input; figures and claims without a citation; figures whose source
            nobody read.
    """
    problems: list[Problem] = []
    problems += _check_groups(reference)
    problems += _check_nodes(reference, known_codes, known_materials)
    problems += _check_edges(reference)
    problems += _check_chains(reference)
    problems += _check_lists(reference, known_codes, known_materials)
    _refuse(problems)


def _uncited(row: Any, what: str) -> Iterator[str]:
    if not row.citation:
        yield f"{what} has no citation"
    elif not row.citation_status:
        yield f"{what} has a citation but no citation status (read or recalled)"


def _check_groups(reference: Reference) -> list[Problem]:
    problems = []
    for group in reference.groups.values():

        def tell(what: str, group: Group = group) -> None:
            problems.append(Problem(group.file, group.line, group.group, what))

        if group.node not in reference.nodes:
            tell(f"the tier-0 node '{group.node}' is not defined")
        for interest in group.public_interests:
            if interest not in reference.public_interests:
                known = ", ".join(reference.public_interests)
                tell(f"the public interest '{interest}' is unknown; known are {known}")
        for what in _uncited(group, "the public interest"):
            tell(what)
    return problems


def _check_nodes(
    reference: Reference,
    known_codes: Mapping[str, Collection[str]] | None,
    known_materials: Collection[str] | None,
) -> list[Problem]:
    problems = []
    used = _used(reference.groups.values(), reference.edges)
    groups_of: dict[str, str] = {g.node: g.group for g in reference.groups.values()}
    for edge in reference.edges:
        groups_of.setdefault(edge.user, edge.group)
        groups_of.setdefault(edge.input, edge.group)
    for node in reference.nodes.values():

        def tell(what: str, node: Node = node) -> None:
            problems.append(Problem(node.file, node.line, groups_of.get(node.node), what))

        if node.node not in used:
            tell(f"the node '{node.node}' is used by no group and no edge")
        for revision in HS_REVISIONS:
            for code in node.codes(revision):
                if known_codes and revision in known_codes and code not in known_codes[revision]:
                    tell(f"the node '{node.node}' holds the code {code}, which {revision} does not know")
        if not node.material and not node.codes_hs92 and not node.codes_hs17 and not node.note:
            tell(f"the node '{node.node}' has neither codes nor a material, and no note says why")
        if bool(node.material) != bool(node.material_relation):
            tell(f"the node '{node.node}' needs both a material and its relation, or neither")
        if node.material and known_materials is not None and node.material not in known_materials:
            tell(f"the material '{node.material}' is not in the production statistic")
        if node.is_statistic and not node.node.startswith("mine_"):
            tell(f"the node '{node.node}' is a production statistic: its id must start with mine_")
    return problems


def _check_edges(reference: Reference) -> list[Problem]:
    problems = []
    for edge in reference.edges:

        def tell(what: str, edge: Edge = edge) -> None:
            problems.append(Problem(edge.file, edge.line, edge.group, what))

        if edge.group not in reference.groups:
            tell(f"the group '{edge.group}' is not defined")
        for name in (edge.user, edge.input):
            if name not in reference.nodes:
                tell(f"the edge {edge.input} -> {edge.user} speaks of the undefined node '{name}'")
        if not edge.citation:
            tell(f"the edge {edge.input} -> {edge.user} has no citation")
        elif not edge.citation_status and edge.evidence not in ("textbook", "assumed"):
            tell(f"the edge {edge.input} -> {edge.user} has no citation status (read or recalled)")
        if edge.intensity is not None:
            if edge.evidence == "textbook":
                tell(f"the edge {edge.input} -> {edge.user} has a figure, but evidence textbook carries none")
            elif edge.citation_status != "read" and edge.evidence != "assumed":
                tell(f"the edge {edge.input} -> {edge.user} has a figure whose source was not read")
    return problems


def _check_chains(reference: Reference) -> list[Problem]:
    problems = []
    for name, group in reference.groups.items():
        if group.node not in reference.nodes:
            continue
        graph = reference.graph(name)
        lines = {(e.user, e.input): e for e in reference.edges_of(name)}
        try:
            cycle = nx.find_cycle(graph)
        except nx.NetworkXNoCycle:
            pass
        else:
            names = " -> ".join([*(user for user, _ in cycle), cycle[0][0]])
            edge = lines[(cycle[0][0], cycle[0][1])]
            problems.append(Problem(edge.file, edge.line, name, f"the chain runs in a circle: {names}"))
        reached = nx.descendants(graph, group.node) | {group.node}
        for edge in lines.values():
            if edge.user not in reached:
                problems.append(
                    Problem(
                        edge.file,
                        edge.line,
                        name,
                        f"the edge {edge.input} -> {edge.user} is not reached from the tier-0 node '{group.node}'",
                    )
                )
        for user in graph.nodes:
            if user not in reference.nodes:
                continue
            for other in sorted(nx.descendants(graph, user) - {user}):
                if other not in reference.nodes:
                    continue
                for revision in HS_REVISIONS:
                    both = set(reference.codes(user, revision)) & set(reference.codes(other, revision))
                    if both:
                        place = lines.get((user, other)) or next(
                            e for e in lines.values() if e.input == other and e.user in reached
                        )
                        problems.append(
                            Problem(
                                place.file,
                                place.line,
                                name,
                                f"the code {min(both)} ({revision}) stands in '{user}' and in its own input '{other}'",
                            )
                        )
    return problems


def _check_lists(
    reference: Reference,
    known_codes: Mapping[str, Collection[str]] | None,
    known_materials: Collection[str] | None,
) -> list[Problem]:
    problems = []

    def tell(row: Any, what: str) -> None:
        problems.append(Problem(row.file, row.line, None, what))

    def unknown(code: str, revision: str) -> bool:
        return known_codes is not None and revision in known_codes and code not in known_codes[revision]

    for link in reference.production_links:
        if unknown(link.code, link.hs_revision):
            tell(link, f"the code {link.code} is not known to {link.hs_revision}")
        if known_materials is not None and link.material not in known_materials:
            tell(link, f"the material '{link.material}' is not in the production statistic")
        if link.same_form != (link.relation == "same_form"):
            said = str(link.same_form).lower()
            tell(link, f"relation '{link.relation}' and same_form {said} contradict each other")
        for what in _uncited(link, f"the link of {link.code}"):
            tell(link, what)
    for figure in reference.producer_figures:
        if figure.node not in reference.nodes:
            tell(figure, f"the node '{figure.node}' is not defined")
        elif figure.code not in reference.codes(figure.node, figure.hs_revision):
            where = f"the code {figure.code} ({figure.hs_revision})"
            tell(figure, f"{where} is not one of the node '{figure.node}'")
        if figure.quantity is None and figure.share is None:
            tell(figure, "there is neither a quantity nor a share")
        if (figure.quantity is not None) != bool(figure.unit):
            tell(figure, "a quantity needs its unit, and a unit its quantity")
        for what in _uncited(figure, "the figure"):
            tell(figure, what)
    totals: dict[tuple[str, str, int], float] = {}
    for figure in reference.producer_figures:
        key = (figure.hs_revision, figure.code, figure.year)
        totals[key] = totals.get(key, 0.0) + (figure.share or 0.0)
        if totals[key] > 1 + 1e-6:
            tell(figure, f"the shares of {figure.code} in {figure.year} add up to more than 1")
    for row in reference.non_producers:
        if not (row.node or row.stage or row.code):
            tell(row, f"for {row.country} neither a node nor a code nor a stage is given")
        if row.node and row.node not in reference.nodes:
            tell(row, f"the node '{row.node}' is not defined")
        if row.code and known_codes and all(unknown(row.code, revision) for revision in known_codes):
            tell(row, f"the code {row.code} is not known")
        for what in _uncited(row, f"the line on {row.country}"):
            tell(row, what)
    for hub in reference.refining_hubs:
        if hub.node not in reference.nodes:
            tell(hub, f"the node '{hub.node}' is not defined")
        for what in _uncited(hub, f"the line on {hub.country}"):
            tell(hub, what)
    for member in reference.blocs:
        if member.bloc in iso3_to_iso2():
            tell(member, f"the bloc {member.bloc} bears the code of a country")
        if member.from_year is not None and member.to_year is not None and member.from_year > member.to_year:
            tell(member, f"{member.iso3} leaves {member.bloc} before it joins")
    return problems


# -- code lists ---------------------------------------------------------------------------------------------
def hs_code_labels(*dirs: Path) -> dict[str, dict[str, str]]:
    """HS revision -> HS6 code -> description, from ``hs_codes/product_codes_HS??_V*.csv`` of each directory.

    Later directories replace the list of a revision; codes that lost leading zeros are padded to six digits
    (this is done to code lists only, never to flows).

    Raises:
        InputRefused: a list is empty, not UTF-8, or holds a line that is no code and description (a code is
            up to six digits; the release's own filler ``9999AA`` is let through).
    """
    labels: dict[str, dict[str, str]] = {}
    for directory in dirs:
        for path in sorted((Path(directory) / "hs_codes").glob("product_codes_HS*_V*.csv")):
            revision = path.name.split("_")[2]
            records = _records(path, path.read_bytes())
            next(records)
            found: dict[str, str] = {}
            for line, record in records:
                code = record[0].strip()
                if len(record) != 2 or not re.fullmatch(r"\d{1,6}|[0-9A-Z]{6}", code, re.ASCII):
                    raise InputRefused("this is not a code and a description", path=path, where=f"line {line}")
                found[code.zfill(6)] = record[1].strip()
            if not found:
                raise InputRefused("the file holds no line below its header", path=path)
            labels[revision] = found
    return labels


def with_edges(reference: Reference, edges: Iterable[Edge]) -> Reference:
    """The same reference data with other edges, e.g. after experts' amendments; validate the result."""
    return replace(reference, edges=tuple(edges))
