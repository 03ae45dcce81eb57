"""The register: one verdict per product group and focus, in words, with its grade, priority and signature.

Belongs here: which flags make a verdict and how it is said. Every word and figure comes from the tables of the
release. Does not belong here: computing an indicator or a flag.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ketenpipe.chain.catalogue import Reference
from ketenpipe.chain.tracing import UNKNOWN, focus_members
from ketenpipe.observatory.grades import grade_of
from ketenpipe.review.state import State
from ketenpipe.risk.definitions import METHODS, REASONS
from ketenpipe.risk.indicators import kleene_or
from ketenpipe.sources.countries import country_names
from ketenpipe.tables.registry import REGISTER
from ketenpipe.tables.slices import slices

DIRECT_METHODS = ("geodep", "swd2021", "node_test")
"""A group is a direct dependency when one of these flags it and its imports are not below the minimum."""


_SUGGESTING = (*DIRECT_METHODS, "indirect_specific", "indirect_global")


@dataclass(frozen=True)
class Flag:
    """One verdict of one method on a group, as the register reads it."""

    method: str
    flagged: bool | None
    indicated: bool | None
    robust: bool | None
    why_robust: str | None
    why_robust_nl: str | None
    below_minimum: bool
    reason: str | None

    @property
    def counts(self) -> bool | None:
        """The verdict as it counts: a flag on imports below the minimum does not."""
        return False if self.flagged and self.below_minimum else self.flagged

    @property
    def suggests(self) -> bool:
        """Whether the figures point to a dependency that cannot be told."""
        return self.flagged is None and bool(self.indicated) and not self.below_minimum


def build_register(
    tables: Mapping[str, pa.Table],
    reference: Reference,
    states: Mapping[str, State],
    foci: tuple[str, ...],
    minimum_import_kusd: float,
) -> pa.Table:
    """One row per focus and group of the catalogue (contract ``register``).

    ``direct_flag`` is the three-valued or of GeoDep, SWD(2021)352 (EU27) and the node test T on the traced supply of
    the product itself; ``indirect_specific`` and ``indirect_global`` are X1 and X1g. Priority is public interest
    (its largest weight) times economic weight (``log(1 + M/min) / log(1 + Mmax/min)``) times risk (the larger of X2 and
    X2_global). Data grade and its reason are those of table ``data_grades`` (:mod:`ketenpipe.observatory.grades`);
    without it they are null. A dependency is robust if one of the flags behind it is (table ``robustness``), its
    absence only if all of them are; without that table it is null.

    Args:
        tables: ``indicators, flags, robustness, exposure, chain_nodes, data_grades``.
        reference: the catalogue.
        states: state of each group's dossier.
        foci: countries and blocs.
        minimum_import_kusd: scale of the economic weight.
    """
    view = _View(tables, reference)
    rows: list[dict[str, object]] = []
    for focus in foci:
        own_rows = [_row(view, focus, group, states) for group in sorted(reference.groups)]
        _prioritise(own_rows, view, reference, minimum_import_kusd)
        rows += own_rows
    return REGISTER.conform([{k: v for k, v in r.items() if not k.startswith("_")} for r in rows])


class _View:
    """The release tables of the latest year per focus and group, ready to be looked up."""

    def __init__(self, tables: Mapping[str, pa.Table], reference: Reference) -> None:
        self.reference = reference
        of_groups = tables["indicators"].filter(pc.equal(tables["indicators"].column("level"), "group"))
        rows = of_groups.to_pylist()
        self.year: dict[tuple[str, str], int] = {}
        for row in rows:
            if row["indicator"] == "T":
                place = (row["focus"], row["group"])
                self.year[place] = max(row["year"], self.year.get(place, row["year"]))
        years = sorted({*self.year.values()})
        self.members = {f: focus_members(reference, f, years) for f in {r["focus"] for r in rows}}
        self.nodes = {(r["group"], r["node"]): r for r in tables["chain_nodes"].to_pylist()}
        self.grades = grade_of(tables["data_grades"]) if "data_grades" in tables else {}
        self._figures: dict[tuple[str, str, int, str, str], dict[str, Any]] = {}
        self._notes: dict[tuple[str, str, int, str, str], str] = {}
        for row in rows:
            key = (row["focus"], row["group"], row["year"], row["indicator"], row["measure"])
            # The planes of the import mix and of production bear the same ids; the verdict reads the traced one.
            if row["indicator"] in ("G2", "G3") and row["basis"] != "traced":
                continue
            self._notes[key] = row["reason"] or ""
            if row["value"] is not None:
                self._figures[key] = row
        self._flags: dict[tuple[str, str, int], dict[str, Flag]] = {}
        survived: dict[tuple[str, str, int, str], dict[str, Any]] = {}
        if "robustness" in tables:
            held = tables["robustness"].filter(pc.equal(tables["robustness"].column("level"), "group"))
            survived = {(r["focus"], r["group"], r["year"], r["method"]): r for r in held.to_pylist()}
        flags = tables["flags"].filter(pc.equal(tables["flags"].column("level"), "group"))
        for row in flags.to_pylist():
            at = (row["focus"], row["group"], row["year"])
            tried = survived.get((*at, row["method"]), {})
            self._flags.setdefault(at, {})[row["method"]] = _flag(row, tried)
        exposure = tables["exposure"].filter(pc.is_in(tables["exposure"].column("year"), pa.array(years, pa.int32())))
        self._vectors = slices(exposure, ["focus", "group", "node", "year"], ["country", "share_traced", "basis"])

    def figure(self, focus: str, group: str, year: int, indicator: str, measure: str) -> float | None:
        found = self._figures.get((focus, group, year, indicator, measure))
        return None if found is None else float(found["value"])

    def named_node(self, focus: str, group: str, year: int, indicator: str, measure: str) -> str | None:
        found = self._figures.get((focus, group, year, indicator, measure))
        return None if found is None else found["worst_code"]

    def named_country(
        self, focus: str, group: str, year: int, indicator: str, measure: str
    ) -> tuple[str | None, float]:
        found = self._figures.get((focus, group, year, indicator, measure))
        if found is None or found["country"] is None:
            return None, 0.0
        return found["country"], float(found["country_share"] or 0.0)

    def reason(self, focus: str, group: str, year: int, indicator: str, measure: str) -> str:
        return self._notes.get((focus, group, year, indicator, measure), "")

    def flags_of(self, focus: str, group: str, year: int) -> dict[str, Flag]:
        return self._flags.get((focus, group, year), {})

    def largest_foreign(self, focus: str, group: str, node: str, year: int) -> tuple[str | None, float]:
        part = self._vectors.get((focus, group, node, year))
        if part is None:
            return None, 0.0
        own = self.members[focus][year]
        foreign = [
            (-share, country)
            for country, share in zip(part["country"], part["share_traced"], strict=True)
            if country not in own and country != UNKNOWN and share
        ]
        if not foreign:
            return None, 0.0
        share, country = min(foreign)
        return country, -share

    def grade(self, focus: str, group: str) -> dict[str, object]:
        """The columns of the data grade; the reason names what a statistic cannot split."""
        letter, why, _ = self.grades.get((focus, group), (None, None, None))
        return {"data_grade": letter, "data_grade_reason": why}

    def basis(self, focus: str, group: str, node: str, year: int) -> str | None:
        part = self._vectors.get((focus, group, node, year))
        return None if part is None else part["basis"][0]


def _flag(row: Mapping[str, Any], tried: Mapping[str, Any]) -> Flag:
    return Flag(
        method=row["method"],
        flagged=row["flagged"],
        indicated=row["indicated"],
        robust=tried.get("robust"),
        why_robust=tried.get("reason"),
        why_robust_nl=tried.get("reason_nl"),
        below_minimum=bool(row["below_minimum"]),
        reason=row["reason"],
    )


def _row(view: _View, focus: str, group: str, states: Mapping[str, State]) -> dict[str, object]:
    state = states[group]
    base: dict[str, object] = {
        "focus": focus,
        "group": group,
        "review_status": state.status,
        "provisional": state.provisional,
        "evidence_hash": state.evidence_hash,
        "signed_role": state.signed_role,
        "signed_on": state.signed_on,
    }
    year = view.year.get((focus, group))
    if year is None:
        return base | _not_computable(view, focus, group)
    flags = view.flags_of(focus, group, year)
    straight = [flags[m].counts for m in DIRECT_METHODS if m in flags]
    direct = kleene_or(straight) if straight else None
    specific = flags["indirect_specific"].counts if "indirect_specific" in flags else None
    world = flags["indirect_global"].counts if "indirect_global" in flags else None
    nodes = _Weak(view, focus, group, year)
    deciding = _deciding(flags, direct, specific, world)
    weakest = nodes.of(direct, specific, world, flags)
    country = view.largest_foreign(focus, group, weakest, year)[0] if weakest else None
    if weakest and weakest == nodes.world and not direct:
        country = view.named_country(focus, group, year, "X1g", "p")[0]
    robust = _is_robust(bool(direct or specific or world), [f.robust for f in deciding])
    # Where nothing decides, how sure the indication is: so that it does not read stronger than a verdict would.
    behind = deciding or [f for f in flags.values() if f.suggests and f.method in _SUGGESTING]
    why = [f"{METHODS[f.method].name_en}: {f.why_robust}" for f in behind if f.why_robust]
    why_nl = [f"{METHODS[f.method].name_nl}: {f.why_robust_nl}" for f in behind if f.why_robust_nl]
    english, dutch = _verdict(view, focus, group, year, direct, specific, world, flags, nodes)
    return base | {
        "year": year,
        "direct_flag": direct,
        "indirect_specific": specific,
        "indirect_global": world,
        "indication": hint[0] if (hint := _hint(flags, nodes, view)) else None,
        "verdict": english,
        "verdict_nl": dutch,
        "hhi": view.figure(focus, group, year, "O1", "q"),
        "wgi": view.figure(focus, group, year, "G2", "q"),
        "weakest_node": weakest,
        "weakest_country": country,
        "weakest_path": view.nodes[(group, weakest)]["path"] if weakest else None,
        "robust": robust,
        "robust_reason": " ".join(why) or None,
        "robust_reason_nl": " ".join(why_nl) or None,
        **view.grade(focus, group),
        "imports_kusd": view.figure(focus, group, year, "M", "v"),
        "_risk": max(
            view.figure(focus, group, year, "X2", "q") or 0.0, view.figure(focus, group, year, "X2_global", "p") or 0.0
        ),
    }


def _not_computable(view: _View, focus: str, group: str) -> dict[str, object]:
    head = view.reference.groups[group].node
    node = view.reference.nodes[head]
    codes = " ".join(f"{r} {c}" for r in ("HS92", "HS17") for c in node.codes(r))
    return {
        "verdict": f"Unknown: the sources hold no trade data for {node.name_en.lower()} ({codes})",
        "verdict_nl": f"Onbekend: de bronnen bevatten geen handelsdata over {node.name_nl.lower()} ({codes})",
        **view.grade(focus, group),
        "priority_reason": "no figures",
        "_risk": None,
    }


class _Weak:
    """The nodes that a verdict may rest on, and the countries that they name."""

    def __init__(self, view: _View, focus: str, group: str, year: int) -> None:
        self.head = view.reference.groups[group].node
        self.specific = view.named_node(focus, group, year, "X1", "q")
        self.world = view.named_node(focus, group, year, "X1g", "p")
        self.link = view.named_node(focus, group, year, "X2", "q")
        self._of = (view, focus, group, year)
        self._names = country_names()

    def of(
        self, direct: bool | None, specific: bool | None, world: bool | None, flags: Mapping[str, Flag]
    ) -> str | None:
        if direct:
            return self.head
        for verdict, method, node in (
            (specific, "indirect_specific", self.specific),
            (world, "indirect_global", self.world),
        ):
            if node and (verdict or (verdict is None and method in flags and flags[method].suggests)):
                return node
        return self.link or self.head

    def country(self, node: str | None) -> tuple[str | None, float]:
        """The largest foreign origin of a node."""
        view, focus, group, year = self._of
        return view.largest_foreign(focus, group, node, year) if node else (None, 0.0)

    def about(self, node: str | None, *, producers: bool = False) -> tuple[str, str]:
        """The country that a node names, with its share, in English and Dutch; a hub is called a hub.

        Args:
            node: node of the chain.
            producers: read the top producer of the world instead of the largest foreign origin.
        """
        view, focus, group, year = self._of
        country, share = self.country(node)
        of_world = of_world_nl = ""
        if producers:
            country, share = view.named_country(focus, group, year, "X1g", "p")
            notes = view.reason(focus, group, year, "X1g", "p").split("; ")
            material = next((n.removeprefix("material: ") for n in notes if n.startswith("material: ")), None)
            of_world = " of world production" + (f" of {material.lower()}" if material else "")
            of_world_nl = " van de wereldproductie" + (f" van {material.lower()}" if material else "")
        if country is None or node is None:
            return "", ""
        english, dutch = self._names.get(country, (country, country))
        hub = country in view.reference.hub_countries(node) and not producers
        return (
            f"{english} {share:.0%}{of_world}" + (", a recycling or refining hub" if hub else ""),
            f"{dutch} {share:.0%}{of_world_nl}" + (", een centrum van recycling of raffinage" if hub else ""),
        )


def _deciding(flags: Mapping[str, Flag], direct: bool | None, specific: bool | None, world: bool | None) -> list[Flag]:
    """The flags that the verdict rests on: those that are true; where all are false, all of them."""
    chain = [flags[m] for m in ("indirect_specific", "indirect_global") if m in flags]
    straight = [flags[m] for m in DIRECT_METHODS if m in flags]
    true = [f for f in [*straight, *chain] if f.counts]
    if true:
        return true
    return [*straight, *chain] if direct is False and specific is False and world is False else []


def _is_robust(found: bool, verdicts: list[bool | None]) -> bool | None:
    """A dependency is robust if one of the flags behind it is; its absence only if all of them are."""
    told = [v for v in verdicts if v is not None]
    if not told:
        return None
    return any(told) if found else all(told)


def _verdict(
    view: _View,
    focus: str,
    group: str,
    year: int,
    direct: bool | None,
    specific: bool | None,
    world: bool | None,
    flags: Mapping[str, Flag],
    nodes: _Weak,
) -> tuple[str, str]:
    english: list[str] = []
    dutch: list[str] = []
    if direct:
        names = [METHODS[m].name_en for m in DIRECT_METHODS if m in flags and flags[m].counts]
        names_nl = [METHODS[m].name_nl for m in DIRECT_METHODS if m in flags and flags[m].counts]
        about, about_nl = nodes.about(nodes.head)
        proxied = view.basis(focus, group, nodes.head, year) == "export_proxy"
        english.append(
            f"Direct dependency ({', '.join(names)})"
            + (f"; largest origin of the traced supply: {about}" if about else "")
            + (", by the export proxy" if about and proxied else "")
        )
        dutch.append(
            f"Directe afhankelijkheid ({', '.join(names_nl)})"
            + (f"; grootste herkomst van het herleide aanbod: {about_nl}" if about_nl else "")
            + (", volgens de uitvoerschatting" if about_nl and proxied else "")
        )
    only, only_nl = ("only ", "alleen ") if direct is False else ("", "")
    for verdict, node, words, words_nl in (
        (specific, nodes.specific, f"{only}through the chain, at", f"{only_nl}via de keten, bij"),
        (
            world,
            nodes.world,
            f"{only}through the chain and the same for every country, at",
            f"{only_nl}via de keten en gelijk voor elk land, bij",
        ),
    ):
        if not verdict or node is None:
            continue
        name, name_nl = view.reference.nodes[node].name_en, view.reference.nodes[node].name_nl
        about, about_nl = nodes.about(node, producers=verdict is world and node == nodes.world)
        english.append(f"{words} {name.lower()}" + (f" ({about})" if about else ""))
        dutch.append(f"{words_nl} {name_nl.lower()}" + (f" ({about_nl})" if about_nl else ""))
    if english and direct is None:
        why = _open_reasons(flags, direct, False, False)
        words = "; ".join(REASONS.get(r, (r, r))[0] for r in why)
        words_nl = "; ".join(REASONS.get(r, (r, r))[1] for r in why)
        english.append("whether directly too cannot be told" + (f" ({words})" if words else ""))
        dutch.append("of ook rechtstreeks is niet te zeggen" + (f" ({words_nl})" if words_nl else ""))
    if english:
        return _sentence(english), _sentence(dutch)
    tiny = [f for f in flags.values() if f.flagged and f.below_minimum]
    if direct is False and specific is False and world is False:
        aside = "; flags on imports below the minimum value do not count" if tiny else ""
        aside_nl = "; signalen op invoer onder de minimumwaarde tellen niet" if tiny else ""
        return f"None found{aside}", f"Geen gevonden{aside_nl}"
    reasons = _open_reasons(flags, direct, specific, world)
    hint = _hint(flags, nodes, view)
    words = "; ".join(REASONS.get(r, (r, r))[0] for r in reasons) or "figures are missing"
    words_nl = "; ".join(REASONS.get(r, (r, r))[1] for r in reasons) or "er ontbreken cijfers"
    return (
        f"Cannot be told: {words}" + (f". Indication: {hint[0]}" if hint else ". Indication: none"),
        f"Niet te zeggen: {words_nl}" + (f". Aanwijzing: {hint[1]}" if hint else ". Aanwijzing: geen"),
    )


def _open_reasons(
    flags: Mapping[str, Flag], direct: bool | None, specific: bool | None, world: bool | None
) -> list[str]:
    wanted = [m for m in DIRECT_METHODS if direct is None]
    wanted += ["indirect_specific"] * (specific is None) + ["indirect_global"] * (world is None)
    found: list[str] = []
    for method in wanted:
        flag = flags.get(method)
        for reason in (flag.reason or "").split("; ") if flag is not None and flag.flagged is None else []:
            if reason in REASONS and reason not in found:
                found.append(reason)
    judging = [direct is not None or any(m in flags for m in DIRECT_METHODS)]
    judging += [v is not None or m in flags for v, m in ((specific, "indirect_specific"), (world, "indirect_global"))]
    if not all(judging):
        found.append("not_switched_on")
    # The proxy is behind the others where it is one of them.
    return ["export_proxy"] if "export_proxy" in found else found


def _hint(flags: Mapping[str, Flag], nodes: _Weak, view: _View) -> tuple[str, str] | None:
    english: list[str] = []
    dutch: list[str] = []
    if any(flags[m].suggests for m in DIRECT_METHODS if m in flags):
        about, about_nl = nodes.about(nodes.head)
        english.append(f"direct, {about}")
        dutch.append(f"direct, {about_nl}")
    for method, node, words, words_nl in (
        ("indirect_specific", nodes.specific, "through the chain, at", "via de keten, bij"),
        (
            "indirect_global",
            nodes.world,
            "through the chain, the same for every country, at",
            "via de keten, gelijk voor elk land, bij",
        ),
    ):
        if method in flags and flags[method].suggests and node:
            about, about_nl = nodes.about(node, producers=method == "indirect_global")
            english.append(f"{words} {view.reference.nodes[node].name_en.lower()}" + (f" ({about})" if about else ""))
            dutch.append(
                f"{words_nl} {view.reference.nodes[node].name_nl.lower()}" + (f" ({about_nl})" if about_nl else "")
            )
    return ("; ".join(english), "; ".join(dutch)) if english else None


def _sentence(parts: list[str]) -> str:
    text = "; ".join(parts)
    return text[0].upper() + text[1:]


def _prioritise(rows: list[dict[str, object]], view: _View, reference: Reference, minimum_import_kusd: float) -> None:
    """Rank the groups of one focus: public interest x economic weight x risk; the reason says of what."""
    scale = max(minimum_import_kusd, 1.0)
    largest = max((float(str(r["imports_kusd"])) for r in rows if r.get("imports_kusd") is not None), default=0.0)
    scored = []
    for row in rows:
        if row.get("_risk") is None or row.get("imports_kusd") is None or not largest > 0:
            row.setdefault("priority_reason", "no figures")
            continue
        group = reference.groups[str(row["group"])]
        interests = sorted(
            (reference.public_interests[i] for i in group.public_interests), key=lambda i: (-i.weight, i.interest)
        )
        interest = interests[0].weight if interests else 0.0
        imports, risk = float(str(row["imports_kusd"])), float(str(row["_risk"]))
        weight = math.log1p(imports / scale) / math.log1p(largest / scale)
        row["priority_score"] = interest * weight * risk
        row["priority_reason"] = (
            f"{interests[0].name_en if interests else 'no public interest named'} ({interest:g}): "
            f"{group.interest_why_en}; imports of {imports / 1000:,.1f} million USD ({weight:.2f}); "
            f"weakest link {risk:.2f}"
        )
        scored.append(row)
    for row in scored:
        better = sum(float(str(o["priority_score"])) > float(str(row["priority_score"])) for o in scored)
        row["priority"] = better + 1
