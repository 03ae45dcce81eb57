"""What differs between two releases, and whether the world, the data, the method or the catalogue moved.

Belongs here: comparing tables of two releases row by row and naming the cause. Does not belong here: reading or
writing releases. A change of our own making (method, parameters, catalogue) is never passed off as news: where
several causes are there at once, those are named before revised data.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from ketenpipe.tables.registry import CHANGES, TABLES

DEFAULT_TOLERANCE = 0.01
#: Parameters that say what is looked at, not how; they explain what appears and vanishes, nothing else.
SCOPE = frozenset({"home", "focus", "foci", "bloc", "years", "sources", "products"})
#: The parameter that is the hash of the reference data (catalogue, producer lists, non-producers).
REFERENCE = "catalogue"
#: Register columns that are compared, and those of them that the experts move.
REGISTER_COLUMNS = (
    "verdict",
    "direct_flag",
    "indirect_specific",
    "indirect_global",
    "robust",
    "review_status",
    "provisional",
)
REVIEW_COLUMNS = frozenset({"review_status", "provisional"})
#: Levels at which each row of a year that was not there before is listed; the others are counted.
_LISTED = ("group", "set", "industry")

_Change = dict[str, Any]


def build_changes(
    previous: Mapping[str, pa.Table] | None,
    current: Mapping[str, pa.Table],
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    tolerance: float = DEFAULT_TOLERANCE,
) -> pa.Table:
    """Table ``changes``: flags, register rows and figures that differ from the previous release.

    Listed are flags whose verdict differs (all levels), register rows whose verdict, flags, robustness or review
    status differ, and indicators of level hs6, group and set that moved by more than the tolerance, appeared or
    vanished. Figures that moved by less are counted in one row per focus (level ``set``). Of a year that was not
    there before, the rows of groups are listed and those of products and nodes counted per indicator or method.
    A focus that came or went is one row.

    ``what`` is the method, the register column, or for figures the indicator's id followed by measure and basis.

    Args:
        previous: tables of the previous release by name; None for a first release, which gives no rows.
        current: tables of this one.
        before, after: what the manifests say: ``parameters``, ``method_versions``, ``source_vintages``.
        tolerance: relative move, ``|b - a| / max(|a|, |b|)``, up to which a figure is only counted.
    """
    if previous is None:
        return CHANGES.empty()
    previous, current = _of_years(previous), _of_years(current)
    causes = _Causes.of(previous, current, before or {}, after or {})
    rows = [*causes.arrivals()]
    with duckdb.connect(":memory:") as connection:
        for side, tables in (("old", previous), ("new", current)):
            for name in ("indicators", "flags", "register"):
                connection.register(f"{side}_{name}", _fit(tables.get(name), name))
        rows += _flag_changes(connection, causes)
        rows += _figure_changes(connection, causes, tolerance)
        rows += _register_changes(connection, causes)
    unique = {json.dumps(r, sort_keys=True, default=str): r for r in rows}
    ordered = sorted(unique.values(), key=lambda r: [str(r[c.name] if r[c.name] is not None else "") for c in _ORDER])
    return CHANGES.conform(ordered) if ordered else CHANGES.empty()


_ORDER = CHANGES.columns


@dataclass(frozen=True)
class _Causes:
    """What differs between the two runs as a whole, from which the cause of each single change follows."""

    foci_before: frozenset[str]
    foci_after: frozenset[str]
    years_before: Mapping[str, frozenset[int]]
    years_after: Mapping[str, frozenset[int]]
    scope: bool
    parameters: bool
    methods: bool
    groups: frozenset[str]
    reference: bool
    sources: bool

    @classmethod
    def of(
        cls,
        previous: Mapping[str, pa.Table],
        current: Mapping[str, pa.Table],
        before: Mapping[str, Any],
        after: Mapping[str, Any],
    ) -> _Causes:
        years_before, years_after = _years(previous), _years(current)
        old, new = _plain(before.get("parameters")), _plain(after.get("parameters"))
        differing = {k for k in old.keys() | new.keys() if old.get(k) != new.get(k)}
        chains_before, chains_after = _chains(previous), _chains(current)
        groups = chains_before.keys() | chains_after.keys()
        return cls(
            foci_before=frozenset(years_before),
            foci_after=frozenset(years_after),
            years_before=years_before,
            years_after=years_after,
            scope=bool(differing & SCOPE),
            parameters=bool(differing - SCOPE - {REFERENCE}),
            methods=_plain(before.get("method_versions")) != _plain(after.get("method_versions")),
            groups=frozenset(g for g in groups if chains_before.get(g) != chains_after.get(g)),
            reference=REFERENCE in differing,
            sources=_plain(before.get("source_vintages")) != _plain(after.get("source_vintages"))
            or _hashes(previous) != _hashes(current),
        )

    def shared(self, focus: str) -> bool:
        """Whether both releases look at this focus; one that came or went is told in one row."""
        return focus in self.foci_before and focus in self.foci_after

    def new_year(self, focus: str, year: int | None) -> bool:
        return year is not None and year not in self.years_before.get(focus, frozenset())

    def gone_year(self, focus: str, year: int | None) -> bool:
        return year is not None and year not in self.years_after.get(focus, frozenset())

    def kind(
        self, focus: str, year: int | None, group: str | None, *, method: bool | None = None, vintage: bool = False
    ) -> str:
        """The cause of one change.

        Args:
            group: product group, where the row belongs to one.
            method: whether the row's own method version differs; None if the row carries none.
            vintage: whether the row's own source vintage differs.
        """
        if self.new_year(focus, year):
            return "new_data"
        if self.gone_year(focus, year):
            return "parameters" if self.scope else "revised_data"
        if method or (method is None and self.methods):
            return "method"
        if self.parameters:
            return "parameters"
        if group is not None and group in self.groups:
            return "catalogue"
        if vintage or self.sources:
            return "revised_data"
        if self.methods:
            return "method"
        return "catalogue" if self.groups or self.reference else "revised_data"

    def arrivals(self) -> list[_Change]:
        """One row per focus or year that came or went."""
        rows = []
        for focus in sorted(self.foci_before | self.foci_after):
            if not self.shared(focus):
                came = focus in self.foci_after
                rows.append(
                    _row(
                        focus,
                        "set",
                        None,
                        None,
                        "focus",
                        None if came else "there",
                        "there" if came else None,
                        "parameters",
                    )
                )
                continue
            old, new = self.years_before[focus], self.years_after[focus]
            rows += [_row(focus, "set", None, y, "year", None, "there", "new_data") for y in sorted(new - old)]
            kind = "parameters" if self.scope else "revised_data"
            rows += [_row(focus, "set", None, y, "year", "there", None, kind) for y in sorted(old - new)]
        return rows


def _flag_changes(connection: duckdb.DuckDBPyConnection, causes: _Causes) -> list[_Change]:
    said = """
        case when flagged is null then null else
            case when flagged then 'true' else 'false' end
            || coalesce(' (' || band || ')', '')
            || case when below_minimum then ', below minimum' else '' end
        end"""
    keys = ("focus", "level", "code", "hs_revision", "group", "tier", "year", "method")
    found = connection.execute(
        f"""
        with o as (select *, {said} as said from old_flags), n as (select *, {said} as said from new_flags)
        select {_coalesced(keys)}, o.said, n.said, o.focus is null, n.focus is null,
               o.method_version is distinct from n.method_version
        from o full outer join n on {_matched(keys)}
        where o.said is distinct from n.said
        """
    ).fetchall()
    rows: list[_Change] = []
    counted: dict[tuple[str, str, int, str], list[int]] = {}
    for focus, level, code, _, group, _, year, method, was, now, appeared, vanished, version in found:
        if not causes.shared(focus) or causes.gone_year(focus, year):
            continue
        if causes.new_year(focus, year) and level not in _LISTED:
            count = counted.setdefault((focus, level, year, method), [0, 0])
            count[0] += now.startswith("true")
            count[1] += 1
            continue
        kind = causes.kind(focus, year, group, method=None if appeared or vanished else version)
        rows.append(_row(focus, level, code or group, year, method, was, now, kind))
    rows += [
        _row(focus, level, None, year, method, None, f"{true} flagged of {all_} told", "new_data")
        for (focus, level, year, method), (true, all_) in counted.items()
    ]
    return rows


def _figure_changes(connection: duckdb.DuckDBPyConnection, causes: _Causes, tolerance: float) -> list[_Change]:
    keys = ("focus", "level", "code", "hs_revision", "group", "tier", "year", "indicator", "measure", "basis")
    levels = "level in ('hs6', 'group', 'set', 'industry')"
    found = connection.execute(
        f"""
        with o as (select * from old_indicators where {levels}), n as (select * from new_indicators where {levels})
        select {_coalesced(keys)}, o.value, n.value, o.focus is null, n.focus is null,
               o.method_version is distinct from n.method_version,
               o.source_vintage is distinct from n.source_vintage
        from o full outer join n on {_matched(keys)}
        where o.value is distinct from n.value
        """
    ).fetchall()
    rows: list[_Change] = []
    within: dict[tuple[str, str], int] = {}
    counted: dict[tuple[str, str, int, str], int] = {}
    for found_row in found:
        focus, level, code, _, group, _, year, indicator, measure, basis = found_row[:10]
        was, now, appeared, vanished, version, vintage = found_row[10:]
        if not causes.shared(focus) or causes.gone_year(focus, year):
            continue
        what = " ".join(p for p in (indicator, measure if measure != "none" else "", basis) if p)
        if causes.new_year(focus, year) and level not in _LISTED:
            counted[focus, level, year, what] = counted.get((focus, level, year, what), 0) + 1
            continue
        one_sided = appeared or vanished
        kind = causes.kind(focus, year, group, method=None if one_sided else version, vintage=not one_sided and vintage)
        if was is not None and now is not None and abs(now - was) <= tolerance * max(abs(was), abs(now)):
            within[focus, kind] = within.get((focus, kind), 0) + 1
            continue
        rows.append(_row(focus, level, code or group, year, what, _figure(was), _figure(now), kind))
    rows += [
        _row(focus, level, None, year, what, None, f"{count} figures", "new_data")
        for (focus, level, year, what), count in counted.items()
    ]
    rows += [
        _row(focus, "set", None, None, f"figures that moved by at most {100 * tolerance:g} %", None, str(count), kind)
        for (focus, kind), count in within.items()
    ]
    return rows


def _register_changes(connection: duckdb.DuckDBPyConnection, causes: _Causes) -> list[_Change]:
    texts = ", ".join(f"cast({side}.{column} as varchar)" for column in REGISTER_COLUMNS for side in ("o", "n"))
    found = connection.execute(
        f"""
        select {_coalesced(("focus", "group"))}, o.year, n.year, o.focus is null, n.focus is null, {texts}
        from old_register o full outer join new_register n on {_matched(("focus", "group"))}
        """
    ).fetchall()
    rows: list[_Change] = []
    for focus, group, year_before, year_after, appeared, vanished, *said in found:
        if not causes.shared(focus):
            continue
        year = year_before if vanished else year_after
        for position, column in enumerate(REGISTER_COLUMNS):
            was, now = said[2 * position], said[2 * position + 1]
            if was == now or ((appeared or vanished) and column != "verdict"):
                continue
            kind = "review" if column in REVIEW_COLUMNS else causes.kind(focus, year, group)
            rows.append(_row(focus, "group", group, year, column, was, now, kind))
    return rows


def _row(
    focus: str, level: str, code: str | None, year: int | None, what: str, was: str | None, now: str | None, kind: str
) -> _Change:
    return {
        "focus": focus,
        "level": level,
        "code": code,
        "year": year,
        "what": what,
        "before": was,
        "after": now,
        "kind": kind,
    }


def _figure(value: float | None) -> str | None:
    return None if value is None else f"{value:.9g}"


def _coalesced(keys: tuple[str, ...]) -> str:
    return ", ".join(f'coalesce(o."{k}", n."{k}")' for k in keys)


def _matched(keys: tuple[str, ...]) -> str:
    return " and ".join(f'o."{k}" is not distinct from n."{k}"' for k in keys)


def _fit(table: pa.Table | None, name: str) -> pa.Table:
    """The table with the columns of today's contract, nulls where an older release lacks one."""
    contract = TABLES[name]
    if table is None:
        return contract.empty()
    return pa.table(
        {
            c.name: table.column(c.name).cast(c.type)
            if c.name in table.column_names
            else pa.nulls(table.num_rows, c.type)
            for c in contract.columns
        }
    )


def _of_years(tables: Mapping[str, pa.Table]) -> dict[str, pa.Table]:
    """The tables without nowcast figures: their window moves every month, which is no change of a year's figure."""
    out = dict(tables)
    if "indicators" in out:
        out["indicators"] = out["indicators"].filter(pc.field("basis") != "reconciled_comtrade")
    return out


def _years(tables: Mapping[str, pa.Table]) -> dict[str, frozenset[int]]:
    """Per focus the years of indicators and flags; a focus that is only in the register has none."""
    years: dict[str, set[int]] = {}
    for name in ("indicators", "flags", "register"):
        table = tables.get(name)
        if table is None or not table.num_rows:
            continue
        pairs = table.select(["focus", "year"]).group_by(["focus", "year"]).aggregate([])
        for focus, year in zip(pairs["focus"].to_pylist(), pairs["year"].to_pylist(), strict=True):
            held = years.setdefault(focus, set())
            if year is not None:
                held.add(year)
    return {focus: frozenset(held) for focus, held in years.items()}


def _chains(tables: Mapping[str, pa.Table]) -> dict[str, str]:
    """Per group what the catalogue says, without what the sources or the look-through add."""
    parts: dict[str, list[str]] = {}
    wanted = {
        "chain_nodes": ("node", "stage", "codes", "material"),
        "chain_edges": ("user", "input", "intensity", "essential", "evidence"),
    }
    for name, columns in wanted.items():
        table = tables.get(name)
        for row in [] if table is None else table.to_pylist():
            parts.setdefault(row["group"], []).append(json.dumps([name, *(row.get(c) for c in columns)]))
    return {group: "\n".join(sorted(lines)) for group, lines in parts.items()}


def _hashes(tables: Mapping[str, pa.Table]) -> set[tuple[str, str, str | None]]:
    table = tables.get("sources")
    if table is None:
        return set()
    return {(r["source"], r["file"], r["sha256"]) for r in table.to_pylist()}


def _plain(mapping: Any) -> dict[str, Any]:
    """The mapping as its JSON says it, so that a tuple and the list it became compare equal."""
    return dict(json.loads(json.dumps(dict(mapping or {}), default=str)))
