"""The dossier as a page: Markdown to read in a diff, HTML to read and print, both from the same view.

Belongs here: words, order and layout (templates in ``templates/``). Does not belong here: any figure that
is not in the evidence or the register row it is given.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import jinja2
import pyarrow as pa
from markdown_it import MarkdownIt
from markupsafe import Markup

from ketenpipe.review.dossier import Names, evidence_difference, evidence_hash
from ketenpipe.review.ledger import QUESTIONS
from ketenpipe.review.state import State
from ketenpipe.risk.definitions import INDICATORS, METHODS, REASONS
from ketenpipe.risk.shares import cut_share

MOST_CHANGES_SHOWN = 30

BASES: dict[str, str] = {
    "imports": "imports",
    "exports": "exports",
    "traced": "traced to origin",
    "observed": "production statistic",
    "producer_list": "cited list of producers",
    "export_proxy": "export proxy (a lower bound)",
    "world_production_mix": "world production mix",
    "synthetic": "synthetic table, no real economy",
    "icio": "input-output table",
    "reconciled_comtrade": "reconciled Comtrade",
    "icio_proportional": "industry proportionality",
    "published": "as published",
}
STATUS_WORDS: dict[str, str] = {
    "awaiting_sign_off": "Awaiting sign-off: provisional, no expert has confirmed it",
    "signed": "Signed",
    "rejected": "Rejected for rework: provisional",
    "reopened": "Re-opened: the evidence changed after it was judged; provisional again",
}
# Ids under which the plane's two axes may stand, and the bases in the order in which they are preferred.
_HHI = ("hhi_traced", "O1"), ("hhi_production", "C3")
_WGI = (("wgi_weighted", "G2"),)
_BASIS_ORDER = ("traced", "observed", "producer_list", "world_production_mix", "export_proxy", "imports")


@dataclass(frozen=True)
class Page:
    """What a dossier page is made of, beside evidence and state.

    Attributes:
        names: ``(kind, code) -> name``, see :func:`names_of`.
        verdicts: register rows of the group, one per focus (as dictionaries); may be empty.
        interests: the public interests the group touches, in words.
        interest_why: why, from the reference data.
        pictures: caption -> link of pictures whose files are there.
        since: the evidence that was judged last, where the dossier was re-opened and it was kept.
        narrow: where the supply graph is narrow, as Markdown; empty where there is none.
        explained: rows of table ``explanations`` of the group.
        drawn: rows of table ``uncertainty`` of the group itself.
    """

    names: Names = field(default_factory=dict)
    verdicts: Sequence[Mapping[str, Any]] = ()
    interests: Sequence[str] = ()
    interest_why: str | None = None
    pictures: Mapping[str, str] = field(default_factory=dict)
    since: str | None = None
    narrow: str = ""
    explained: Sequence[Mapping[str, Any]] = ()
    drawn: Sequence[Mapping[str, Any]] = ()


def names_of(labels: pa.Table, language: str = "en") -> dict[tuple[str, str], str]:
    """``(kind, code) -> name`` of table ``labels``; English where there is no name in the language."""
    return {(r["kind"], r["code"]): r.get(f"name_{language}") or r["name_en"] for r in labels.to_pylist()}


def render_markdown(evidence: str, state: State, page: Page | None = None) -> str:
    """The dossier as Markdown."""
    text = _environment().get_template("dossier.md.j2").render(**dossier_view(evidence, state, page or Page()))
    return text.rstrip() + "\n"


def render_html(evidence: str, state: State, page: Page | None = None) -> str:
    """The same as one HTML file without outside resources (pictures are linked)."""
    text = _environment().get_template("dossier.html.j2").render(**dossier_view(evidence, state, page or Page()))
    return text.rstrip() + "\n"


def dossier_view(evidence: str, state: State, page: Page) -> dict[str, Any]:
    """What both templates show: every figure from the evidence, every word from here."""
    data = json.loads(evidence)
    names = page.names
    nodes = {n["node"]: n for n in data["nodes"]}

    def name(kind: str, code: str) -> str:
        return names.get((kind, code), code)

    verdicts = {v["focus"]: v for v in page.verdicts}
    changes: list[str] = []
    if state.status == "reopened" and page.since is not None:
        changes = evidence_difference(page.since, evidence, names)
    return {
        "group": data["group"],
        "title": name("group", data["group"]),
        "state": state,
        "status": state.status,
        "status_words": STATUS_WORDS[state.status],
        "lines": [_verdict_line(f, name("country", f), verdicts.get(f)) for f in _foci(data, verdicts)],
        "foci": [
            _focus(f, part, nodes, name, verdicts.get(f))
            | {"drawn": _drawn(page.drawn, f, part["year"]), "explained": _explained(page.explained, f, part["year"])}
            for f, part in sorted(data["foci"].items())
        ],
        "languages": EXPLAINED_WORDS,
        "edges": [
            {
                "input": name("node", e["input"]),
                "user": name("node", e["user"]),
                "weight": "essential"
                if e.get("essential")
                else (_figure(e["intensity"]) if "intensity" in e else "share unknown"),
                "evidence": e.get("evidence", "").replace("_", " "),
                "confidence": e.get("confidence", "unknown"),
                "citation": e.get("citation", ""),
                "read": {"read": "source read", "recalled": "source not read"}.get(
                    e.get("citation_status", ""), "source status unknown"
                ),
                "amendments": e.get("amendments"),
            }
            for e in data["edges"]
        ],
        "unknown": _unknown(data, nodes, name),
        "interests": list(page.interests),
        "interest_why": page.interest_why,
        "pictures": dict(page.pictures),
        "narrow": page.narrow,
        "narrow_html": Markup(MarkdownIt("commonmark", {"html": False}).enable("table").render(page.narrow)),
        "changes": changes[:MOST_CHANGES_SHOWN],
        "changes_left": max(0, len(changes) - MOST_CHANGES_SHOWN),
        "changes_kept": page.since is not None,
        "questions": [{"field": f, "text": q} for f, q in QUESTIONS],
        "evidence_hash": evidence_hash(evidence),
    }


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ketenpipe.review", "templates"),
        autoescape=jinja2.select_autoescape(enabled_extensions=("html.j2",), default=False),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["cell"] = _cell
    return environment


def _cell(text: object) -> str:
    """Text that may stand in a cell of a Markdown table."""
    return str(text).replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def _foci(data: Mapping[str, Any], verdicts: Mapping[str, Any]) -> list[str]:
    return sorted({*data["foci"], *verdicts})


def _verdict_line(focus: str, name: str, row: Mapping[str, Any] | None) -> dict[str, Any]:
    if row is None:
        return {"focus": focus, "name": name, "verdict": "No verdict has been passed on this evidence.", "facts": []}
    facts = []
    # The reason says of each flag whether it is robust: the word before it would say so twice.
    if row.get("robust_reason"):
        said = row["robust_reason"].removesuffix(".")
        facts.append(said if row.get("robust") is not None else f"how sure the indication is: {said}")
    elif row.get("robust") is not None:
        facts.append("robust" if row["robust"] else "not robust")
    if row.get("data_grade"):
        why = f" ({row['data_grade_reason']})" if row.get("data_grade_reason") else ""
        facts.append(f"data grade {row['data_grade']}{why}")
    if row.get("priority") is not None:
        why = f" ({row['priority_reason']})" if row.get("priority_reason") else ""
        facts.append(f"priority {row['priority']}{why}")
    if row.get("imports_kusd") is not None:
        facts.append(f"imports {row['imports_kusd'] / 1000:,.1f} million USD")
    return {"focus": focus, "name": name, "verdict": row.get("verdict", ""), "facts": facts}


def _focus(
    focus: str,
    part: Mapping[str, Any],
    nodes: Mapping[str, Mapping[str, Any]],
    name: Any,
    verdict: Mapping[str, Any] | None,
) -> dict[str, Any]:
    exposure = {e["node"]: e for e in part["exposure"]}
    rows = []
    order = sorted(nodes, key=lambda n: (nodes[n].get("tier", 99), n))
    for node in order:
        own = exposure.get(node, {})
        countries: dict[str, dict[str, float]] = own.get("countries", {})
        hhi = _pick(part["indicators"], node, _HHI)
        wgi = _pick(part["indicators"], node, _WGI)
        rows.append(
            {
                "node": name("node", node),
                "tier": nodes[node].get("tier", own.get("tier")),
                "stage": nodes[node].get("stage", "").replace("_", " "),
                "hhi": _figure(hhi.get("value")),
                "wgi": _figure(wgi.get("value")),
                "top": _top(countries, "share_traced", name),
                "top_direct": _top(countries, "share_direct", name),
                "own": _percent(countries.get(focus, {}).get("share_traced")) if countries else "",
                "basis": BASES.get(own.get("basis", ""), own.get("basis", "not computed")),
                "same": bool(own.get("same_for_every_country", False)),
                "confidence": hhi.get("confidence") or nodes[node].get("confidence") or "",
            }
        )
    flags = [
        {
            "method": METHODS[f["method"]].name_en if f["method"] in METHODS else f["method"],
            "about": "the group" if f["level"] == "group" else name("node", f.get("code", "")),
            "verdict": _flag_words(f),
            "agreement": cut_share(f["agreement"])[0] if f.get("agreement") is not None else "",
            "flips_on": f.get("flips_on", ""),
            "reason": reason_words(f.get("reason")),
        }
        for f in part["flags"]
    ]
    monitor = [
        {
            "material": name("node", m["material"]),
            "stage": m["stage"].replace("_", " "),
            "country": name("country", m["top_country"]) if "top_country" in m else "unknown",
            "imports": _percent(m.get("share_imports")),
            "traced": _percent(m.get("share_traced")),
            "exceeds": {True: "above", False: "not above"}.get(m.get("exceeds"), "cannot be told"),
            "threshold": _percent(m.get("threshold")),
            "reason": reason_words(m.get("reason")),
        }
        for m in part["crma_monitor"]
    ]
    return {
        "code": focus,
        "name": name("country", focus),
        "year": part["year"],
        "nodes": rows,
        "flags": flags,
        "monitor": monitor,
        "weakest": " ← ".join(name("node", n) for n in ((verdict or {}).get("weakest_path") or "").split(" <- ") if n),
    }


#: The figures of a group whose interval its page shows, with the measure and bases that they stand on there.
INTERVALS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("C1", "v", ("imports",)),
    ("C2", "v", ("exports",)),
    ("S1", "v", ("imports",)),
    ("C3", "p", ("observed", "producer_list")),
    ("O1", "q", ("traced",)),
    ("G2", "q", ("traced",)),
    ("T", "q", ("traced",)),
    ("X1", "q", ("traced",)),
    ("X1g", "p", ("world_production_mix",)),
    ("X2", "q", ("traced",)),
)


def _drawn(rows: Sequence[Mapping[str, Any]], focus: str, year: int) -> list[dict[str, str]]:
    """How sure the headline figures of a focus are: one line per figure that was drawn, in the order of the method."""
    own = [r for r in rows if r["focus"] == focus and r["year"] == year and r["level"] == "group"]
    shown = []
    for indicator, measure, bases in INTERVALS:
        for row in own:
            if (row["indicator"], row["measure"]) != (indicator, measure) or row["basis"] not in bases:
                continue
            if row["value"] is None or row["low"] is None or row["high"] is None:
                continue
            answer = indicator in ("T", "X1", "X1g")  # yes or no: the draws say how often it is yes
            # On the export proxy a test shows, and does not tell.
            hint = " (indication)" if "export_proxy" in (row["reason"] or "").split("; ") else ""
            beyond = "" if row["flag_share"] is None else cut_share(row["flag_share"])[0]
            rank = "" if row["rank"] is None else f"{row['rank']} of {row['ranked']}"
            between = "" if row["rank_low"] is None else f" ({row['rank_low']} to {row['rank_high']})"
            shown.append(
                {
                    "figure": f"{indicator} {INDICATORS[indicator].name_en}",
                    "value": ("yes" if row["value"] else "no") + hint if answer else _figure(row["value"]),
                    "interval": "" if answer else f"{_figure(row['low'])} to {_figure(row['high'])}",
                    "limit": "" if row["threshold"] is None else _figure(row["threshold"]),
                    "beyond": f"yes in {beyond}" if answer else beyond,
                    "rank": rank + between,
                    "draws": str(row["draws"]),
                    "matters_most": (row["matters_most"] or "").replace("_", " "),
                }
            )
    return shown


#: Headings of the block that explains a focus's figures, and of its columns.
EXPLAINED_WORDS: dict[str, dict[str, Any]] = {
    "en": {
        "title": "How these figures come about",
        "columns": ("Figure", "With the numbers put in", "Largest parts", "Patched or missing", "What would turn it"),
        "sources": "Source files",
    },
    "nl": {
        "title": "Hoe deze cijfers tot stand komen",
        "columns": ("Cijfer", "Met de getallen ingevuld", "Grootste delen", "Bijgeschat of ontbreekt",
                    "Wat het zou doen omslaan"),
        "sources": "Bronbestanden",
    },
}  # fmt: skip
#: Lines of an explanation that a page shows of each part; the table and the command have them all.
_EXPLAINED_LINES = 4
_EXPLAINED_FIGURE = ("value", "verdict", "indicated", "interval", "robust", "recomputed")


def _explained(rows: Sequence[Mapping[str, Any]], focus: str, year: int) -> dict[str, Any] | None:
    """The explanations of a focus's figures by language: one record per figure, and the source files once."""
    own = [r for r in rows if r["focus"] == focus and r["year"] == year]
    if not own:
        return None
    shown: dict[str, Any] = {}
    for language in EXPLAINED_WORDS:
        figures: dict[str, list[Mapping[str, Any]]] = {}
        for row in own:
            figures.setdefault(row["indicator"], []).append(row)
        shown[language] = {
            "figures": [_explained_figure(figures[name], f"text_{language}") for name in _explained_order(figures)],
            "sources": list(dict.fromkeys(r[f"text_{language}"] for r in own if r["part"] == "source")),
        }
    return shown


def _explained_order(figures: Mapping[str, object]) -> list[str]:
    """Indicators and methods in the order of their definitions."""
    known = [*INDICATORS, *METHODS]
    return sorted(figures, key=lambda name: (known.index(name) if name in known else len(known), name))


def _explained_figure(rows: Sequence[Mapping[str, Any]], text: str) -> dict[str, Any]:
    def lines(*parts: str, most: int = _EXPLAINED_LINES) -> list[str]:
        found = [r[text] for r in sorted(rows, key=lambda r: r["position"]) if r["part"] in parts]
        return [*found[:most], *(["…"] if len(found) > most else [])]

    return {
        "figure": [r[text].removesuffix(".") for r in rows if r["part"] == "figure" and r["what"] in _EXPLAINED_FIGURE],
        "holds": next((r["holds"] for r in rows if r["what"] == "recomputed"), None),
        "formula": [r[text] for r in rows if r["part"] == "formula" and r["what"] == "numbers"],
        "parts": lines("flow") or lines("input"),
        "lacking": lines("patch", "missing"),
        "turn": lines("turn"),
    }


def _pick(rows: Sequence[Mapping[str, Any]], node: str, wanted: Sequence[Sequence[str]]) -> Mapping[str, Any]:
    """The node's figure under the first of the wanted ids that has one, on the preferred basis."""
    for ids in wanted:
        found = [r for r in rows if r["level"] == "node" and r.get("code") == node and r["indicator"] in ids]
        found.sort(
            key=lambda r: (
                "value" not in r,
                _BASIS_ORDER.index(r["basis"]) if r["basis"] in _BASIS_ORDER else len(_BASIS_ORDER),
                r["measure"] != "q",
            )
        )
        if found and "value" in found[0]:
            return found[0]
    return {}


def _top(countries: Mapping[str, Mapping[str, float]], share: str, name: Any, most: int = 3) -> list[str]:
    """The largest countries with their shares, and what is of unknown origin after them."""
    held = sorted((-s[share], c) for c, s in countries.items() if (s.get(share) or 0) > 0 and c != "UNK")
    shown = [f"{name('country', c)} {_percent(-s)}" for s, c in held[:most]]
    unknown = countries.get("UNK", {}).get(share) or 0.0
    return [*shown, f"unknown {_percent(unknown)}"] if unknown >= 0.005 else shown


def _flag_words(flag: Mapping[str, Any]) -> str:
    if "band" in flag:
        return f"{flag['band']} concentration"
    if "flagged" not in flag:
        hint = "" if "indicated" not in flag else f"; the figures suggest {'yes' if flag['indicated'] else 'no'}"
        return f"cannot be told{hint}"
    if flag["flagged"] and flag.get("below_minimum"):
        return "flagged, but imports lie below the minimum value: does not count"
    return "flagged" if flag["flagged"] else "not flagged"


def _unknown(data: Mapping[str, Any], nodes: Mapping[str, Mapping[str, Any]], name: Any) -> list[str]:
    """What the evidence cannot say, and why; each sentence once."""
    said: list[str] = []
    why = {
        "missing": "cannot be computed: the sources lack its codes or its production",
        "cut_off": "lies deeper than the look-through goes",
        "dashed": "has no data of its own; its users' mix is passed through, which is an assumption",
    }
    for node, row in sorted(nodes.items()):
        if row.get("status") in why:
            said.append(f"{name('node', node)} {why[row['status']]}.")
        if row.get("shared_code_note"):
            said.append(f"{name('node', node)}: {row['shared_code_note'].rstrip('.')}.")
    for e in data["edges"]:
        if e.get("evidence") == "assumed":
            said.append(
                f"That {name('node', e['input'])} goes into {name('node', e['user'])} is assumed, not evidenced."
            )
    for focus, part in sorted(data["foci"].items()):
        who = name("country", focus)
        for e in part["exposure"]:
            node = name("node", e["node"])
            unknown = e["countries"].get("UNK", {}).get("share_traced", 0.0)
            if unknown >= 0.01:
                said.append(f"{who}: the origin of {_percent(unknown)} of {node} is unknown.")
            if e.get("imputed_share", 0.0) > 0.1:
                said.append(
                    f"{who}: {_percent(e['imputed_share'])} of {node} rests on imputed production "
                    "(confidence low above 10 %)."
                )
            if e.get("same_for_every_country"):
                said.append(
                    f"{node}: the world production mix stands for every buyer; it says nothing specific about "
                    "one country."
                )
        for i in part["indicators"]:
            if "value" not in i and i.get("reason"):
                about = name("node", i["code"]) if i["level"] == "node" else i.get("code", "the group")
                known = INDICATORS.get(i["indicator"])
                indicator = known.name_en if known else i["indicator"]
                said.append(f"{who}: {indicator} of {about} is unknown: {reason_words(i['reason'])}.")
        for t in part["tracing"]:
            if t.get("reason"):
                said.append(f"{who}: tracing of {t['code']}: {reason_words(t['reason'])}.")
    return list(dict.fromkeys(said))


def reason_words(reason: str | None) -> str:
    """A reason of the tables in words; several are joined by '; '."""
    if not reason:
        return ""
    parts = [part.strip() for part in reason.split(";")]
    return "; ".join(REASONS[p][0] if p in REASONS else p.replace("_", " ") for p in parts if p).rstrip(".")


def _figure(value: Any) -> str:
    return "unknown" if value is None else f"{value:.2f}" if abs(value) >= 0.005 else f"{value:.2g}"


def _percent(value: Any) -> str:
    return "unknown" if value is None else f"{100 * value:.0f} %" if value >= 0.095 else f"{100 * value:.1f} %"
