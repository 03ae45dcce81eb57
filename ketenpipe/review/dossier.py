"""The evidence of a product group: what the expert judges, in one canonical form whose hash gets signed.

Belongs here: choosing the rows of steps one and two that are a group's evidence, the canonical JSON, its
hash, and what differs between two versions of it. Does not belong here: words and layout
(:mod:`ketenpipe.review.render`).

The evidence holds what would make an expert look again: the chain as used, and per focus the figures and
flags of its latest year. It does not hold dates of retrieval, release ids, vintages, versions of methods or
names: where those change and no figure does, there is nothing to judge anew.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ketenpipe.tables.contract import round_significant
from ketenpipe.tables.registry import DOSSIERS, TABLES

#: Layout of the evidence; a new one re-opens every dossier.
EVIDENCE_FORMAT = 1
#: Shares below this are noise of the solver, not suppliers.
SMALLEST_SHARE = 1e-9
#: Columns that say where a figure came from, not what it is; a rank turns on the other products.
PROVENANCE = frozenset({"source_vintage", "method_version", "rank", "ranked"})
#: Diagnostics of the solver: their last bits differ between machines and mean nothing to an expert.
DIAGNOSTICS = frozenset({"row_residual"})
#: Figures closer to zero than this are zero.
SMALLEST_FIGURE = 1e-12
#: Figures at HS6 level that stand in the evidence, for the codes of the group's nodes.
HS6_INDICATORS = frozenset({"P1", "persistence"})
HS6_FLAGS = frozenset({"geodep"})

_SHARES = ("share_direct", "share_traced", "low", "high")

Names = Mapping[tuple[str, str], str]


def canonical_json(evidence: Mapping[str, Any]) -> str:
    """The one text of an evidence: keys sorted, no spaces, UTF-8, no NaN."""
    return json.dumps(evidence, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def evidence_hash(evidence: Mapping[str, Any] | str) -> str:
    """SHA-256 of the canonical text (of the text itself, where one is given)."""
    text = evidence if isinstance(evidence, str) else canonical_json(evidence)
    return hashlib.sha256(text.encode()).hexdigest()


def build_dossiers(tables: Mapping[str, pa.Table]) -> pa.Table:
    """Table ``dossiers``: one row per product group of ``chain_nodes``, with evidence and hash."""
    groups = sorted(set(_table(tables, "chain_nodes").column("group").to_pylist()))
    rows = []
    for group in groups:
        text = canonical_json(build_evidence(group, tables))
        rows.append({"group": group, "evidence_hash": evidence_hash(text), "evidence": text})
    return DOSSIERS.conform(rows) if rows else DOSSIERS.empty()


def build_evidence(group: str, tables: Mapping[str, pa.Table]) -> dict[str, Any]:
    """The evidence of one group over all foci of the run.

    Taken from ``chain_nodes, chain_edges, exposure, indicators, flags, tracing, crma_monitor``; a table
    that is not there (not computed) leaves its part empty. Per focus only the latest year that the group
    has; rows of level group and node, and at HS6 level the persistence and ``geodep`` of the nodes' codes.
    Figures carry nine significant digits; nulls are left out; rows are sorted by key, so the order of the
    tables does not matter.
    """
    nodes = _rows(tables, "chain_nodes", group)
    codes = sorted({(n.get("hs_revision"), c) for n in nodes for c in (n.get("codes") or "").split()}, key=str)
    held = {
        "exposure": _of_group(tables, "exposure", group),
        "indicators": _of_group(tables, "indicators", group, levels=("group", "node")),
        "flags": _of_group(tables, "flags", group, levels=("group", "node")),
        "crma_monitor": _of_group(tables, "crma_monitor", group),
    }
    figures = _of_codes(tables, "indicators", codes, "indicator", HS6_INDICATORS)
    verdicts = _of_codes(tables, "flags", codes, "method", HS6_FLAGS)
    traced = _of_codes(tables, "tracing", codes)

    foci: dict[str, Any] = {}
    for focus, year in sorted(_latest_years(held.values()).items()):
        latest = (pc.field("focus") == focus) & (pc.field("year") == year)
        rows = {name: table.filter(latest).to_pylist() for name, table in held.items()}
        of_codes = [_used(table.filter(latest).to_pylist(), codes) for table in (figures, verdicts, traced)]
        foci[focus] = {
            "year": year,
            "exposure": _by_node(rows["exposure"]),
            "indicators": _clean("indicators", [*rows["indicators"], *of_codes[0]]),
            "flags": _clean("flags", [*rows["flags"], *of_codes[1]]),
            "tracing": _clean("tracing", of_codes[2]),
            "crma_monitor": _clean("crma_monitor", rows["crma_monitor"]),
        }
    return {
        "format": EVIDENCE_FORMAT,
        "group": group,
        "nodes": _clean("chain_nodes", nodes),
        "edges": _clean("chain_edges", _rows(tables, "chain_edges", group)),
        "foci": foci,
    }


def evidence_difference(before: str, after: str, names: Names | None = None) -> list[str]:
    """What changed between two versions of a group's evidence, in readable lines, the weightiest first.

    Chain first, then flags, indicators, CRMA, tracing and shares of countries (largest move first). Records
    match by their key without the year, so the figures of a new year are compared with those of the old.

    Args:
        before, after: canonical evidence texts.
        names: ``(kind, code) -> name`` for nodes and countries; codes are shown where there is no name.
    """
    old, new = _flatten(json.loads(before), names or {}), _flatten(json.loads(after), names or {})
    found: list[tuple[tuple[int, float, str], str]] = []
    for entity in sorted(old.keys() | new.keys()):
        rank, label = entity
        was, now = old.get(entity), new.get(entity)
        if was is None or now is None:
            values = now if now is not None else was or {}
            weight = max((abs(v) for v in values.values() if isinstance(v, int | float)), default=0.0)
            shown = ", ".join(f"{_words(k)} {_show(v)}" for k, v in list(values.items())[:4])
            text = f"{label}: {'new' if was is None else 'no longer there'}" + (f" ({shown})" if shown else "")
            found.append(((rank, -float(weight), label), text))
            continue
        for column in sorted(was.keys() | now.keys()):
            a, b = was.get(column), now.get(column)
            if a == b:
                continue
            move = abs(float(b) - float(a)) if isinstance(a, int | float) and isinstance(b, int | float) else math.inf
            found.append(((rank, -move, label), f"{label}, {_words(column)}: {_show(a)} → {_show(b)}"))
    return [text for _, text in sorted(found)]


def _table(tables: Mapping[str, pa.Table], name: str) -> pa.Table:
    found = tables.get(name)
    return TABLES[name].empty() if found is None else found


def _rows(tables: Mapping[str, pa.Table], name: str, group: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = _of_group(tables, name, group).to_pylist()
    return rows


def _of_group(tables: Mapping[str, pa.Table], name: str, group: str, levels: tuple[str, ...] | None = None) -> pa.Table:
    wanted = pc.field("group") == group
    if levels is not None:
        wanted &= pc.field("level").isin(levels)
    return _table(tables, name).filter(wanted)


def _of_codes(
    tables: Mapping[str, pa.Table],
    name: str,
    codes: list[tuple[str | None, str]],
    column: str | None = None,
    wanted: frozenset[str] = frozenset(),
) -> pa.Table:
    """Rows about some codes, in whatever revision."""
    chosen = pc.field("code").isin(pa.array(sorted({c for _, c in codes}), pa.string()))
    if column is not None:
        chosen &= pc.field(column).isin(sorted(wanted)) & (pc.field("level") == "hs6")
    return _table(tables, name).filter(chosen)


def _used(rows: list[dict[str, Any]], codes: list[tuple[str | None, str]]) -> list[dict[str, Any]]:
    """Rows about the codes of the group's nodes in the revision in which the node uses them."""
    wanted = set(codes)
    return [r for r in rows if (r["hs_revision"], r["code"]) in wanted]


def _latest_years(tables: Iterable[pa.Table]) -> dict[str, int]:
    """The last year of each focus in any of the tables."""
    found: dict[str, int] = {}
    for table in tables:
        for row in table.group_by("focus").aggregate([("year", "max")]).to_pylist():
            found[row["focus"]] = max(row["year_max"], found.get(row["focus"], row["year_max"]))
    return found


def _clean(name: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rounded, without nulls, provenance and what the place in the evidence already says; sorted by key."""
    said = {"focus", "year", "group"} | PROVENANCE | DIAGNOSTICS
    key = [k for k in TABLES[name].key if k not in said]
    kept = [{k: _value(v) for k, v in r.items() if k not in said and v is not None} for r in rows]
    return sorted(kept, key=lambda r: ([str(r.get(k, "")) for k in key], canonical_json(r)))


def _by_node(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Exposure rows as one record per node with a share list per country; shares below the noise left out."""
    out = []
    for node in sorted({r["node"] for r in rows}):
        own = [r for r in rows if r["node"] == node]
        said = {"focus", "year", "group", "node", "country", *_SHARES, *PROVENANCE}
        common: dict[str, Any] = {"node": node}
        varying = []
        for column in sorted(set(own[0]) - said):
            values = {canonical_json({"v": _value(r[column])}) for r in own}
            if len(values) > 1:
                varying.append(column)
            elif own[0][column] is not None:
                common[column] = _value(own[0][column])
        countries: dict[str, Any] = {}
        for r in own:
            shares = {c: _value(r[c]) for c in _SHARES if r[c] is not None and abs(r[c]) >= SMALLEST_SHARE}
            if shares:
                extra = {c: _value(r[c]) for c in varying if r[c] is not None}
                countries[r["country"]] = {**shares, **extra}
        out.append({**common, "countries": countries})
    return out


def _value(value: Any) -> Any:
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        if abs(value) < SMALLEST_FIGURE:
            return 0.0
        return float(round_significant(np.array([value]))[0])
    return value


_FLAT: tuple[tuple[str, int, tuple[str, ...], str], ...] = (
    ("flags", 2, ("level", "code", "hs_revision", "tier", "method"), "flag"),
    ("indicators", 3, ("level", "code", "hs_revision", "tier", "indicator", "measure", "basis"), "indicator"),
    ("crma_monitor", 4, ("material", "stage"), "CRMA"),
    ("tracing", 5, ("code", "hs_revision", "measure"), "tracing of"),
)


def _flatten(evidence: dict[str, Any], names: Names) -> dict[tuple[int, str], dict[str, Any]]:
    """Evidence as records: (rank of the section, label) -> values."""

    def node(code: str) -> str:
        return names.get(("node", code), code)

    flat: dict[tuple[int, str], dict[str, Any]] = {}
    if "format" in evidence:
        flat[(0, "layout of the evidence")] = {"version": evidence["format"]}
    for n in evidence.get("nodes", []):
        flat[(1, f"node {node(n['node'])}")] = {k: v for k, v in n.items() if k != "node"}
    for e in evidence.get("edges", []):
        label = f"edge {node(e['input'])} → {node(e['user'])}"
        flat[(1, label)] = {k: v for k, v in e.items() if k not in ("input", "user")}
    for focus, part in evidence.get("foci", {}).items():
        who = names.get(("country", focus), focus)
        flat[(0, who)] = {"year": part["year"]}
        for section, rank, key, word in _FLAT:
            for row in part.get(section, []):
                said = []
                for k in key:
                    if k == "level" or row.get(k) is None:
                        continue
                    value = str(row[k])
                    if k in ("code", "material"):
                        value = node(value)
                    said.append(f"tier {value}" if k == "tier" else value)
                values = {k: v for k, v in row.items() if k not in key}
                flat[(rank, f"{who}, {word} {' '.join(said)}")] = values
        for row in part.get("exposure", []):
            label = f"{who}, {node(row['node'])}"
            flat[(5, label)] = {k: v for k, v in row.items() if k not in ("node", "countries")}
            for country, shares in row.get("countries", {}).items():
                flat[(6, f"{label} from {names.get(('country', country), country)}")] = shares
    return flat


def _words(column: str) -> str:
    return {
        "share_direct": "direct share",
        "share_traced": "traced share",
        "low": "lowest",
        "high": "highest",
        "flagged": "verdict",
        "indicated": "indication",
    }.get(column, column.replace("_", " "))


def _show(value: Any) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)
