"""Data grades: how good the data behind a product group are, dimension by dimension, from documented rules.

Belongs here: the rules (``grades.toml``), what each dimension measures, the points, the sentences, and the codes that a
statistic cannot split (``shared_codes.csv``, and by computation every code that stands for more than one node or
material). Does not belong here: any figure of the method, the verdict of a group, a clock (the year of the release is
given).
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ketenpipe.chain.catalogue import Reference
from ketenpipe.errors import InputRefused, WrongUse
from ketenpipe.risk.thresholds import load_toml
from ketenpipe.tables.registry import DATA_GRADES, EVIDENCE, GRADE_DIMENSIONS
from ketenpipe.tables.slices import slices

RULES_FILE, SHARED_FILE = "grades.toml", "shared_codes.csv"
REVISIONS = ("HS92", "HS17")
Words = tuple[str, str]
"""A text in English and in Dutch."""
BASIS_WORDS: dict[str, Words] = {
    "observed": ("production is a statistic", "productie is een statistiek"),
    "producer_list": ("production is a cited list of producers", "productie is een aangehaalde producentenlijst"),
    "world_production_mix": ("origin is the world production mix", "herkomst is de wereldproductiemix"),
    "export_proxy": ("production is an export proxy", "productie is een uitvoerschatting"),
}
EVIDENCE_WORDS: dict[str, Words] = {
    "expert_bom": ("by an expert's bill of materials", "volgens de stuklijst van een expert"),
    "literature": ("by literature", "volgens literatuur"),
    "textbook": ("by textbook", "volgens leerboek"),
    "icio_proportional": ("by industry proportionality", "volgens industrieproportionaliteit"),
    "assumed": ("assumed", "aangenomen"),
}


# -- the rules ------------------------------------------------------------------------------------------------
class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    source: str = Field(min_length=1)


class Step(BaseModel):
    """Beyond ``limit`` (strictly) the dimension costs ``points``."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    limit: float
    points: int = Field(ge=0)


class Scale(_Part):
    """The letter by points: the first for none, the last for as many or more."""

    letters: tuple[Literal["A", "B", "C", "D", "E"], ...] = Field(min_length=1)

    def letter(self, points: int) -> str:
        """The letter of a number of points."""
        return self.letters[min(points, len(self.letters) - 1)]


class Rule(_Part):
    """What every dimension has: a unit and its rule in words."""

    unit: str = Field(min_length=1)
    words_en: str = Field(min_length=1)
    words_nl: str = Field(min_length=1)


class Stepped(Rule):
    """A measured figure against limits; ``below``: worse where it lies below them."""

    steps: tuple[Step, ...] = ()
    below: bool = False

    @model_validator(mode="after")
    def _mildest_first(self) -> Stepped:
        if [s.limit for s in self.steps] != sorted((s.limit for s in self.steps), reverse=self.below):
            raise ValueError("steps stand from the mildest to the worst limit")
        return self

    def points(self, measured: float | None) -> int:
        """Points of the last limit that is passed; 0 for no figure."""
        if measured is None:
            return 0
        passed = [s.points for s in self.steps if (measured < s.limit if self.below else measured > s.limit)]
        return passed[-1] if passed else 0


class Coverage(Stepped):
    """``no_data``: points where the product itself has no trade data."""

    no_data: int = Field(ge=0)


class Mass(Stepped):
    """``small_or_precious``: points more where nothing can be cleared by mass."""

    small_or_precious: int = Field(ge=0)


class Basis(Rule):
    """Points by the basis of the product's production; ``upstream_proxy`` where only an input rests on the proxy."""

    points: dict[str, int]
    upstream_proxy: int = Field(ge=0)

    @field_validator("points")
    @classmethod
    def _every_basis(cls, points: dict[str, int]) -> dict[str, int]:
        if set(points) != set(BASIS_WORDS):
            raise ValueError(f"points are for exactly {', '.join(BASIS_WORDS)}")
        return points


class Evidence(Stepped):
    """Weakness of an edge by its class of evidence, more where its confidence is low."""

    weights: dict[str, float]
    low_confidence: float = Field(ge=0)
    no_chain: int = Field(ge=0)

    @field_validator("weights")
    @classmethod
    def _every_class(cls, weights: dict[str, float]) -> dict[str, float]:
        if set(weights) != set(EVIDENCE):
            raise ValueError(f"weights are for exactly {', '.join(EVIDENCE)}")
        return weights

    def weakness(self, edge: Mapping[str, Any]) -> float:
        """0 (sure) to 1 of one edge; literature from memory counts as textbook."""
        kind = edge["evidence"]
        if kind == "literature" and edge["citation_status"] == "recalled":
            kind = "textbook"
        return min(1.0, self.weights[kind] + (self.low_confidence if edge["confidence"] == "low" else 0.0))


class SharedRule(Rule):
    """Points for a shared code of the product itself, and for one that stands upstream only."""

    product: int = Field(ge=0)
    upstream: int = Field(ge=0)


class GradeRules(BaseModel):
    """``grades.toml``, typed: one part per dimension."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scale: Scale
    coverage: Coverage
    vintage_age: Stepped
    patch_share: Stepped
    mass: Mass
    production_basis: Basis
    concordance: Stepped
    chain_evidence: Evidence
    shared_code: SharedRule


def load_grade_rules(*directories: Path) -> GradeRules:
    """Read ``grades.toml`` from the last directory that holds one.

    Raises:
        InputRefused: no file, not TOML, a rule missing, unknown or of the wrong kind.
    """
    return load_toml(GradeRules, RULES_FILE, "rule ", directories)


# -- codes that a statistic cannot split ------------------------------------------------------------------------
class SharedGood(BaseModel):
    """One good that an HS6 code joins with others (``joins``) or does not hold (``leaves_out``).

    ``none``: the code joins nothing, whatever the note of its node is about.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    hs_revision: Literal["HS92", "HS17"]
    code: str = Field(pattern=r"^[0-9]{6}$")
    kind: Literal["joins", "leaves_out", "none"]
    good_en: str
    good_nl: str
    source: str = Field(min_length=1)

    @model_validator(mode="after")
    def _names_a_good(self) -> SharedGood:
        if (self.kind == "none") != (not self.good_en) or bool(self.good_en) != bool(self.good_nl):
            raise ValueError("a good is named in both languages, and none where the code joins nothing")
        return self


def load_shared_codes(*directories: Path) -> tuple[SharedGood, ...]:
    """Read ``shared_codes.csv`` from the last directory that holds one.

    Raises:
        InputRefused: no file, no UTF-8, a line that does not hold together, a line that stands twice, a code that
            joins one good only.
    """
    path = _last(SHARED_FILE, directories)
    goods: dict[SharedGood, int] = {}
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream, restkey="a value beyond the last column")
            for row in reader:
                good = SharedGood.model_validate({k: v.strip() if isinstance(v, str) else v for k, v in row.items()})
                if good in goods:
                    raise InputRefused("the line stands twice", path=path, where=f"line {reader.line_num}")
                goods[good] = reader.line_num
    except UnicodeDecodeError as error:
        raise InputRefused(f"is not UTF-8 ({error.reason})", path=path) from error
    except ValidationError as error:
        place, said = _first(error)
        raise InputRefused(
            f"{place}: {said}" if place else said,
            path=path,
            where=f"line {reader.line_num}",
            todo="compare it with data/reference/shared_codes.csv",
        ) from error
    joined: dict[tuple[str, str], list[int]] = {}
    for good, line in goods.items():
        if good.kind == "joins":
            joined.setdefault((good.hs_revision, good.code), []).append(line)
    for (revision, code), lines in joined.items():
        if len(lines) == 1:
            raise InputRefused(f"{revision} {code} joins one good only", path=path, where=f"line {lines[0]}")
    return tuple(goods)


@dataclass(frozen=True)
class Use:
    """Who uses one HS6 code: nodes and groups of the catalogue, materials of the production statistic."""

    hs_revision: str
    code: str
    nodes: tuple[str, ...]
    groups: tuple[str, ...]
    materials: tuple[str, ...]


def shared_uses(reference: Reference) -> dict[tuple[str, str], Use]:
    """Every HS6 code that stands for more than one node, group or material, by HS revision and code."""
    nodes: dict[tuple[str, str], list[str]] = {}
    for node in sorted(reference.nodes):
        for revision in REVISIONS:
            for code in reference.codes(node, revision):
                nodes.setdefault((revision, code), []).append(node)
    groups_of: dict[str, list[str]] = {}
    for group in sorted(reference.groups):
        for node in reference.nodes_of(group):
            groups_of.setdefault(node, []).append(group)
    materials: dict[tuple[str, str], set[str]] = {}
    for link in reference.production_links:
        materials.setdefault((link.hs_revision, link.code), set()).add(link.material)
    found = {}
    for key in sorted(set(nodes) | set(materials)):
        of_code = nodes.get(key, [])
        use = Use(
            *key,
            nodes=tuple(of_code),
            groups=tuple(sorted({g for n in of_code for g in groups_of.get(n, [])})),
            materials=tuple(sorted(materials.get(key, ()))),
        )
        if max(len(use.nodes), len(use.groups), len(use.materials)) > 1:
            found[key] = use
    return found


class Splits:
    """What a statistic cannot split, in words, for codes and nodes of the catalogue."""

    def __init__(self, reference: Reference, goods: Sequence[SharedGood]) -> None:
        self._reference = reference
        self._uses = shared_uses(reference)
        self._goods: dict[tuple[str, str], list[SharedGood]] = {}
        for good in goods:
            self._goods.setdefault((good.hs_revision, good.code), []).append(good)

    def shared(self, hs_revision: str, code: str) -> bool:
        """Whether the code joins goods, leaves some out, or stands for several nodes or materials."""
        use = self._uses.get((hs_revision, code))
        several = use is not None and max(len(use.nodes), len(use.materials)) > 1
        return several or any(g.kind != "none" for g in self._goods.get((hs_revision, code), []))

    def of_codes(self, codes: Iterable[tuple[str, str]]) -> list[Words]:
        """One sentence for each set of goods that (HS revision, code) pairs join or leave out."""
        asked = sorted(set(codes))
        sentences: list[Words] = []
        for kind in ("joins", "leaves_out"):
            together: dict[tuple[tuple[str, str], ...], list[str]] = {}
            for key in asked:
                names = tuple((g.good_en, g.good_nl) for g in self._goods.get(key, []) if g.kind == kind)
                if names:
                    together.setdefault(names, []).append(" ".join(key))
            sentences += [_split(kind, names, found) for names, found in together.items()]
        for key in asked:
            use = self._uses.get(key)
            if use is None:
                continue
            if len(use.nodes) > 1:
                named = [self._reference.nodes[n] for n in use.nodes]
                sentences.append(
                    (
                        f"{use.hs_revision} {use.code} stands for {_and([n.name_en.lower() for n in named], 'and')}",
                        f"{use.hs_revision} {use.code} staat voor {_and([n.name_nl.lower() for n in named], 'en')}",
                    )
                )
            if len(use.materials) > 1:
                first, *rest = use.materials
                sentences.append(
                    (
                        f"statistics cannot split {first} from {_and(rest, 'and')} ({use.hs_revision} {use.code})",
                        f"statistieken kunnen {first} niet scheiden van {_and(rest, 'en')} "
                        f"({use.hs_revision} {use.code})",
                    )
                )
        return sentences

    def of_node(self, node: str, hs_revision: str | None = None, held: Collection[str] | None = None) -> list[Words]:
        """The sentences of a node's codes, in one HS revision or in all; of the codes in ``held`` where it is given.

        A catalogue may describe a shared code by the node's note alone: where none of its codes is in
        ``shared_codes.csv``, the note is the sentence, in English in both languages.
        """
        revisions = REVISIONS if hs_revision is None else (hs_revision,)
        codes = [(r, c) for r in revisions for c in self._reference.codes(node, r) if held is None or c in held]
        sentences = self.of_codes(codes)
        note = self._reference.nodes[node].shared_code_note
        known = any((r, c) in self._goods for r in REVISIONS for c in self._reference.codes(node, r))
        return sentences or ([] if known or not note else [(note, note)])


def _split(kind: str, goods: Sequence[Words], codes: Sequence[str]) -> Words:
    where = ", ".join(codes)
    english, dutch = [g[0] for g in goods], [g[1] for g in goods]
    if kind == "leaves_out":
        return f"{where} leaves out {_and(english, 'and')}", f"{where} bevat niet: {_and(dutch, 'en')}"
    return (
        f"statistics cannot split {english[0]} from {_and(english[1:], 'and')} ({where})",
        f"statistieken kunnen {dutch[0]} niet scheiden van {_and(dutch[1:], 'en')} ({where})",
    )


def _and(parts: Sequence[str], word: str) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} {word} {parts[-1]}"


# -- the grades -------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Finding:
    """What one dimension found: the figure, its points, and the sentence."""

    measured: float | None
    points: int
    words: Words


def build_grades(
    tables: Mapping[str, pa.Table],
    reference: Reference,
    rules: GradeRules,
    goods: Sequence[SharedGood],
    foci: Sequence[str],
    as_of: int,
) -> pa.Table:
    """The grade of every focus and group of the catalogue, dimension by dimension (contract ``data_grades``).

    The year of a group is the newest with a node test T. ``total_points`` is the sum over the dimensions, the letter
    that of ``grades.toml``. A group without trade data is graded on its catalogue and gets the points of ``no_data``.

    Args:
        tables: ``indicators`` (level group is enough), ``exposure, chain_nodes, chain_edges, product_industries,
            hs_weights, input_files``.
        reference: the catalogue.
        rules: see :func:`load_grade_rules`.
        goods: see :func:`load_shared_codes`.
        foci: countries and blocs.
        as_of: year of the release.

    Raises:
        WrongUse: the data are newer than the release is said to be.
    """
    inputs = _Inputs(tables, reference, rules, Splits(reference, goods), as_of)
    rows: list[dict[str, object]] = []
    for focus in foci:
        for group in sorted(reference.groups):
            year = inputs.year.get((focus, group))
            found = inputs.without_data(group) if year is None else inputs.of(focus, group, year)
            total = sum(f.points for f in found.values())
            for dimension in GRADE_DIMENSIONS:
                rule: Rule = getattr(rules, dimension)
                rows.append(
                    {
                        "focus": focus,
                        "group": group,
                        "dimension": dimension,
                        "year": year,
                        "measured": found[dimension].measured,
                        "unit": rule.unit,
                        "points": found[dimension].points,
                        "sentence_en": found[dimension].words[0],
                        "sentence_nl": found[dimension].words[1],
                        "rule_en": rule.words_en,
                        "rule_nl": rule.words_nl,
                        "total_points": total,
                        "grade": rules.scale.letter(total),
                    }
                )
    return DATA_GRADES.conform(rows)


def grade_of(data_grades: pa.Table) -> dict[tuple[str, str], tuple[str, str | None, str | None]]:
    """``(focus, group) -> (letter, why not A, the same in Dutch)``: what the register says.

    The reason names each dimension that costs points, and every shared code even where it costs none.
    """
    order = {d: i for i, d in enumerate(GRADE_DIMENSIONS)}
    found: dict[tuple[str, str], tuple[str, list[str], list[str]]] = {}
    for row in sorted(data_grades.to_pylist(), key=lambda r: order[r["dimension"]]):
        _, english, dutch = found.setdefault((row["focus"], row["group"]), (row["grade"], [], []))
        if row["points"] or (row["dimension"] == "shared_code" and row["measured"]):
            english.append(row["sentence_en"])
            dutch.append(row["sentence_nl"])
    return {k: (letter, "; ".join(en) or None, "; ".join(nl) or None) for k, (letter, en, nl) in found.items()}


class _Inputs:
    """The tables, ready to be looked up per focus, group and year."""

    def __init__(
        self, tables: Mapping[str, pa.Table], reference: Reference, rules: GradeRules, splits: Splits, as_of: int
    ) -> None:
        self.reference, self.rules, self.splits, self.as_of = reference, rules, splits, as_of
        indicators = tables["indicators"]
        self.figures: dict[tuple[str, str, int, str, str, str], dict[str, Any]] = {}
        self.year: dict[tuple[str, str], int] = {}
        self.of_test: dict[tuple[str, str, int], str] = {}
        kept = pc.field("indicator").isin(["T", "G2", "value_without_mass"]) & (pc.field("level") == "group")
        for row in indicators.filter(kept).to_pylist():
            place = (row["focus"], row["group"], row["year"], row["indicator"], row["measure"], row["basis"])
            self.figures[place] = row
            if row["indicator"] == "T":
                key = (row["focus"], row["group"])
                self.of_test[*key, row["year"]] = row["reason"] or ""
                self.year[key] = max(row["year"], self.year.get(key, row["year"]))
        newest = pa.array(sorted({*self.year.values()}), pa.int32())
        exposure = tables["exposure"].filter(pc.is_in(tables["exposure"].column("year"), newest))
        self.exposure = slices(exposure, ["focus", "group", "year", "node"], ["basis", "imputed_share"])
        self.nodes: dict[str, list[dict[str, Any]]] = {}
        for row in tables["chain_nodes"].to_pylist():
            self.nodes.setdefault(row["group"], []).append(row)
        self.edges: dict[str, list[dict[str, Any]]] = {}
        for row in tables["chain_edges"].to_pylist():
            self.edges.setdefault(row["group"], []).append(row)
        several = tables["product_industries"].filter(pc.is_valid(pc.field("also")))
        self.several_industries = _pairs(several, "hs_revision", "code")
        split = tables["hs_weights"].filter(pc.field("weight_basis") != "one")
        self.several_codes = _pairs(split, "from_revision", "from_code")
        self.last: dict[str, int] = {}
        for row in tables["input_files"].select(["source", "to_year"]).to_pylist():
            if row["to_year"] is not None:
                self.last[row["source"]] = max(row["to_year"], self.last.get(row["source"], row["to_year"]))

    def of(self, focus: str, group: str, year: int) -> dict[str, Finding]:
        """All dimensions of a group with figures."""
        return {
            "coverage": self._coverage(focus, group, year),
            "vintage_age": self._vintage(focus, group, year),
            "patch_share": self._patched(focus, group, year),
            "mass": self._mass(focus, group, year),
            "production_basis": self._basis(focus, group, year),
            "concordance": self._concordance(group),
            "chain_evidence": self._evidence(group),
            "shared_code": self._shared(group),
        }

    def without_data(self, group: str) -> dict[str, Finding]:
        """A group that the sources hold no trade data on: only its catalogue can be graded."""
        none = Finding(None, 0, ("cannot be graded: no trade data", "niet te beoordelen: geen handelsdata"))
        return {
            **dict.fromkeys(GRADE_DIMENSIONS, none),
            "coverage": Finding(0.0, self.rules.coverage.no_data, ("no trade data", "geen handelsdata")),
            "chain_evidence": self._evidence(group),
            "shared_code": self._shared(group),
        }

    def _coverage(self, focus: str, group: str, year: int) -> Finding:
        steps = [n for n in self.nodes[group] if n["status"] != "cut_off"]
        lacking = [self.reference.nodes[n["node"]] for n in steps if n["status"] in ("dashed", "missing")]
        share = 1 - len(lacking) / len(steps)
        scored = self.figures.get((focus, group, year, "G2", "q", "traced"), {}).get("coverage")
        measured = share if scored is None else min(share, scored)
        english = f"{len(steps) - len(lacking)} of {len(steps)} steps of the chain are in the sources"
        dutch = f"{len(steps) - len(lacking)} van {len(steps)} stappen van de keten staan in de bronnen"
        if lacking:
            english += f": no data on {', '.join(sorted(n.name_en.lower() for n in lacking))}"
            dutch += f": geen data over {', '.join(sorted(n.name_nl.lower() for n in lacking))}"
        if scored is None:
            english += "; no governance score applies"
            dutch += "; er is geen bestuursscore van toepassing"
        elif scored < 1:
            english += f"; governance scores cover {scored:.0%} of the traced mix"
            dutch += f"; bestuursscores dekken {scored:.0%} van de herleide mix"
        return Finding(measured, self.rules.coverage.points(measured), (english, dutch))

    def _vintage(self, focus: str, group: str, year: int) -> Finding:
        used = {("trade", "handel"): year}
        if self.figures.get((focus, group, year, "G2", "q", "traced"), {}).get("value") is not None:
            used["governance", "bestuur"] = min(year, self.last.get("wgi", year))
        if any(n["material"] for n in self.nodes[group] if n["status"] in ("traded", "production")):
            used["production", "productie"] = min(year, self.last.get("mining", year))
        head = self.reference.groups[group].node
        if self._basis_of(focus, group, year, head) == "producer_list":
            listed = [f.year for f in self.reference.producer_figures if f.node == head and f.year <= year]
            used["producer list", "producentenlijst"] = max(listed, default=year)
        age = self.as_of - min(used.values())
        if self.as_of < year:
            raise WrongUse(f"the release is said to be of {self.as_of}, but group {group} has data of {year}")
        english = ", ".join(f"{name[0]} {of}" for name, of in used.items())
        dutch = ", ".join(f"{name[1]} {of}" for name, of in used.items())
        return Finding(
            float(age),
            self.rules.vintage_age.points(age),
            (
                f"newest data: {english}; the oldest is {age} years before the release of {self.as_of}",
                f"nieuwste data: {dutch}; de oudste is {age} jaar ouder dan de release van {self.as_of}",
            ),
        )

    def _patched(self, focus: str, group: str, year: int) -> Finding:
        shares = []
        for entry in self.nodes[group]:
            part = self.exposure.get((focus, group, year, entry["node"]))
            if part is None or part["basis"][0] in ("export_proxy", "world_production_mix"):
                continue
            if part["imputed_share"][0] is not None:
                shares.append((part["imputed_share"][0], entry["node"]))
        if not shares:
            return Finding(
                None,
                0,
                (
                    "no step rests on a production statistic, so none is patched",
                    "geen stap berust op een productiestatistiek, dus geen is aangevuld",
                ),
            )
        share, worst = max(shares)
        node = self.reference.nodes[worst]
        return Finding(
            share,
            self.rules.patch_share.points(share),
            (
                f"{share:.0%} of the supply of {node.name_en.lower()} is imputed",
                f"{share:.0%} van het aanbod van {node.name_nl.lower()} is geraamd",
            ),
        )

    def _mass(self, focus: str, group: str, year: int) -> Finding:
        rule = self.rules.mass
        without = self.figures.get((focus, group, year, "value_without_mass", "v", "imports"), {}).get("value")
        small = "small_or_precious" in self.of_test[focus, group, year]
        words: list[Words] = []
        if small:
            words.append(("little mass or a precious good", "weinig massa of een kostbaar goed"))
        if without is None:
            words.append(("nothing is imported, no quantity is missing", "geen invoer, er ontbreekt geen hoeveelheid"))
        elif not small or rule.points(without):
            words.append(
                (
                    f"{without:.0%} of the import value has no quantity",
                    f"{without:.0%} van de invoerwaarde heeft geen hoeveelheid",
                )
            )
        points = rule.points(without) + (rule.small_or_precious if small else 0)
        return Finding(without, points, ("; ".join(w[0] for w in words), "; ".join(w[1] for w in words)))

    def _basis_of(self, focus: str, group: str, year: int, node: str) -> str | None:
        part = self.exposure.get((focus, group, year, node))
        return None if part is None else part["basis"][0]

    def _basis(self, focus: str, group: str, year: int) -> Finding:
        rule, head = self.rules.production_basis, self.reference.groups[group].node
        basis = self._basis_of(focus, group, year, head)
        if basis is None:
            words = ("the product has no traced supply", "het product heeft geen herleid aanbod")
            return Finding(None, max(rule.points.values()), words)
        bases = {n["node"]: self._basis_of(focus, group, year, n["node"]) for n in self.nodes[group]}
        traded = {n: b for n, b in bases.items() if b not in (None, "world_production_mix")}
        proxied = sorted(n for n, b in traded.items() if b == "export_proxy")
        upstream = [self.reference.nodes[n] for n in proxied if n != head]
        english, dutch = BASIS_WORDS[basis]
        if upstream:
            also = ("also", "ook") if basis == "export_proxy" else ("but an export proxy", "maar een uitvoerschatting")
            english += f", {also[0]} of {' / '.join(n.name_en.lower() for n in upstream)}"
            dutch += f", {also[1]} van {' / '.join(n.name_nl.lower() for n in upstream)}"
        points = max(rule.points[basis], rule.upstream_proxy if upstream else 0)
        return Finding(len(proxied) / len(traded) if traded else None, points, (english, dutch))

    def _concordance(self, group: str) -> Finding:
        codes = [
            (n["hs_revision"], c)
            for n in self.nodes[group]
            if n["status"] == "traded"
            for c in (n["codes_in_sources"] or "").split()
        ]
        if not codes:
            return Finding(
                None, 0, ("no code of the chain is in the sources", "geen code van de keten is in de bronnen")
            )
        industries = sorted({c for r, c in codes if (r, c) in self.several_industries})
        converted = sorted({c for r, c in codes if (r, c) in self.several_codes})
        share = sum(key in self.several_industries or key in self.several_codes for key in codes) / len(codes)
        if not industries and not converted:
            words = (
                "every code has one industry and converts to one code, as far as concordances were read",
                "elke code heeft één bedrijfstak en gaat naar één code om, voor zover concordanties zijn gelezen",
            )
            return Finding(0.0, self.rules.concordance.points(0.0), words)
        english, dutch = [], []
        if industries:
            english.append(f"{', '.join(industries)} holds goods of several industries")
            dutch.append(f"{', '.join(industries)} bevat goederen van meer bedrijfstakken")
        if converted:
            english.append(f"{', '.join(converted)} converts to several codes of another HS revision")
            dutch.append(f"{', '.join(converted)} gaat naar meer codes van een andere HS-revisie om")
        return Finding(share, self.rules.concordance.points(share), ("; ".join(english), "; ".join(dutch)))

    def _evidence(self, group: str) -> Finding:
        rule, edges = self.rules.chain_evidence, self.edges.get(group, [])
        if not edges:
            if self.reference.nodes[self.reference.groups[group].node].stage == "extraction":
                words = ("the product is what is mined, nothing stands upstream", "het product is wat gewonnen wordt")
                return Finding(None, 0, words)
            words = ("the catalogue has nothing upstream", "de catalogus heeft niets stroomopwaarts")
            return Finding(None, rule.no_chain, words)
        weakness = sum(rule.weakness(e) for e in edges) / len(edges)
        counted = {kind: sum(e["evidence"] == kind for e in edges) for kind in EVIDENCE}
        english = ", ".join(f"{n} {EVIDENCE_WORDS[k][0]}" for k, n in counted.items() if n)
        dutch = ", ".join(f"{n} {EVIDENCE_WORDS[k][1]}" for k, n in counted.items() if n)
        low = sum(e["confidence"] == "low" for e in edges)
        return Finding(
            weakness,
            rule.points(weakness),
            (
                f"edges of the chain: {english}" + (f", {low} of low confidence" if low else ""),
                f"verbindingen van de keten: {dutch}" + (f", {low} met lage betrouwbaarheid" if low else ""),
            ),
        )

    def _shared(self, group: str) -> Finding:
        head = self.reference.groups[group].node
        sentences: dict[str, list[Words]] = {}
        count = 0
        for node in sorted(self.nodes[group], key=lambda n: (n["node"] != head, n["node"])):
            held = None if node["codes_in_sources"] is None else set(node["codes_in_sources"].split())
            if node["node"] != head and held is None:
                continue
            found = self.splits.of_node(node["node"], node["hs_revision"], held)
            if found:
                sentences[node["node"]] = found
                codes = [(r, c) for r in REVISIONS for c in self.reference.codes(node["node"], r)]
                if node["hs_revision"] is not None:
                    codes = [(r, c) for r, c in codes if r == node["hs_revision"] and (held is None or c in held)]
                count += max(1, sum(self.splits.shared(r, c) for r, c in codes))
        rule = self.rules.shared_code
        if not sentences:
            words = ("no code of the chain joins goods", "geen code van de keten voegt goederen samen")
            return Finding(0.0, 0, words)
        points = rule.product if head in sentences else rule.upstream
        flat = list(dict.fromkeys(w for part in sentences.values() for w in part))
        return Finding(float(count), points, ("; ".join(w[0] for w in flat), "; ".join(w[1] for w in flat)))


def _pairs(table: pa.Table, first: str, second: str) -> frozenset[tuple[str, str]]:
    return frozenset(zip(table.column(first).to_pylist(), table.column(second).to_pylist(), strict=True))


def _last(name: str, directories: Sequence[Path]) -> Path:
    paths = [d / name for d in directories if (d / name).exists()]
    if not paths:
        raise InputRefused(f"{name} is missing", path=directories[-1] if directories else None)
    return paths[-1]


def _first(error: ValidationError) -> tuple[str, str]:
    first = error.errors()[0]
    said = first["msg"].removeprefix("Value error, ")
    return ".".join(str(part) for part in first["loc"]), said[0].lower() + said[1:]
