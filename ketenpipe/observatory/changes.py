"""What differs between two releases, and whether the world, the data, the method or the catalogue moved.

Belongs here: comparing tables of two releases row by row and naming the cause. Does not belong here: reading or
writing releases. A change of our own making (method, parameters, catalogue) is never passed off as news: where
several causes are there at once, those are named before revised data.

Two releases of every HS6 code hold tens of millions of rows. DuckDB compares them a year at a time, reads only the
columns that it needs, and keeps what it finds on disk where it is more than a little.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from ketenpipe.tables.registry import CHANGES, TABLES
from ketenpipe.tables.store import ROW_GROUP, Stored

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

#: Memory that DuckDB may take for a comparison before it goes to disk.
MEMORY = "400MB"
#: Tables that are compared, each with the columns that are looked at; of the others some are looked into for causes.
COMPARED: Mapping[str, tuple[str, ...]] = {
    "indicators": (
        "focus", "level", "code", "hs_revision", "group", "tier", "year", "indicator", "measure", "basis", "value",
        "method_version", "source_vintage",
    ),
    "flags": (
        "focus", "level", "code", "hs_revision", "group", "tier", "year", "method", "flagged", "band", "below_minimum",
        "method_version",
    ),
    "register": ("focus", "group", "year", *REGISTER_COLUMNS),
}  # fmt: skip
LOOKED_INTO: Mapping[str, tuple[str, ...]] = {
    "chain_nodes": ("group", "node", "stage", "codes", "material"),
    "chain_edges": ("group", "user", "input", "intensity", "essential", "evidence"),
    "sources": ("source", "file", "sha256"),
}
#: A table as it is handed over: in memory, or a Parquet file of this machine.
Side = Mapping[str, pa.Table | Path]
_Change = dict[str, Any]


def build_changes(
    previous: Side | None,
    current: Side,
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    tolerance: float = DEFAULT_TOLERANCE,
) -> pa.Table:
    """Table ``changes`` in memory; see :func:`found_changes`."""
    if previous is None:
        return CHANGES.empty()
    with found_changes(previous, current, before=before, after=after, tolerance=tolerance) as changes:
        return CHANGES.conform(changes.read())


@contextmanager
def found_changes(
    previous: Side,
    current: Side,
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    tolerance: float = DEFAULT_TOLERANCE,
) -> Iterator[Stored]:
    """Table ``changes``: flags, register rows and figures that differ from the previous release.

    Listed are flags whose verdict differs (all levels), register rows whose verdict, flags, robustness or review
    status differ, and indicators of level hs6, group and set that moved by more than the tolerance, appeared or
    vanished. Figures that moved by less are counted in one row per focus (level ``set``). Of a year that was not
    there before, the rows of groups are listed and those of products and nodes counted per indicator or method.
    A focus that came or went is one row.

    ``what`` is the method, the register column, or for figures the indicator's id followed by measure and basis.

    Args:
        previous: tables of the previous release by name (:data:`COMPARED` and :data:`LOOKED_INTO`; one that is not
            there has no rows).
        current: tables of this one.
        before, after: what the manifests say: ``parameters``, ``method_versions``, ``source_vintages``.
        tolerance: relative move, ``|b - a| / max(|a|, |b|)``, up to which a figure is only counted.

    Returns:
        The rows, sorted by all columns, to be read within the context.
    """
    with (
        tempfile.TemporaryDirectory(prefix="ketenpipe-changes-") as folder,
        duckdb.connect(str(Path(folder) / "found.duckdb")) as connection,
    ):
        connection.execute("set enable_progress_bar = false")  # it would stand in the way of what a command prints
        connection.execute(f"set memory_limit = '{MEMORY}'")
        connection.execute(f"set temp_directory = {_literal(str(Path(folder) / 'spilled'))}")
        # The order is made at the end; keeping that of the input would cost memory.
        connection.execute("set preserve_insertion_order = false")
        for side, tables in (("old", previous), ("new", current)):
            for name in COMPARED:
                _view(connection, f"{side}_{name}", name, tables.get(name))
        columns = ", ".join(f'"{c.name}" {"integer" if c.name == "year" else "varchar"}' for c in CHANGES.columns)
        connection.execute(f"create table found ({columns})")
        connection.execute("create table within_tolerance (focus varchar, kind varchar, figures bigint)")
        causes = _Causes.of(connection, previous, current, before or {}, after or {})
        _add(connection, causes.arrivals())
        for year in causes.years():
            causes.tell_scope(connection, year)
            _flag_changes(connection, causes, year)
            _figure_changes(connection, causes, year, tolerance)
        connection.execute(
            f"""
            insert into found
            select focus, 'set', null, null, 'figures that moved by at most {100 * tolerance:g} %', null,
                   cast(sum(figures) as varchar), kind
            from within_tolerance group by focus, kind
            """
        )
        _add(connection, _register_changes(connection, causes))

        def batches() -> Iterator[pa.RecordBatch]:
            ordered = ", ".join(f'"{name}" asc nulls last' for name in CHANGES.names)
            rows = connection.sql(f"select distinct * from found order by {ordered}")
            schema = CHANGES.schema()
            for batch in rows.to_arrow_reader(ROW_GROUP):
                yield pa.record_batch(
                    [c.cast(f.type) for c, f in zip(batch.columns, schema, strict=True)], schema=schema
                )

        yield Stored(CHANGES, (batches,))


def _view(connection: duckdb.DuckDBPyConnection, view: str, name: str, source: pa.Table | Path | None) -> None:
    """The columns that are compared, as today's contract has them; nulls where an older release lacks one.

    Nowcast figures are left out: their window moves every month, which is no change of a year's figure.
    """
    contract = TABLES[name]
    if isinstance(source, Path):
        there = set(pq.read_schema(source).names)
        # Characters that DuckDB would take for a pattern stand in brackets, so that any folder name works.
        pattern = re.sub(r"([*?[])", r"[\1]", str(source))
        rows = f"read_parquet({_literal(pattern)})"
    else:
        held = contract.empty() if source is None else source
        there = set(held.column_names)
        connection.register(f"held_{view}", held.select([n for n in COMPARED[name] if n in there]))
        rows = f"held_{view}"
    given = {n: f'"{n}"' if n in there else "null" for n in COMPARED[name]}
    columns = ", ".join(f'cast({said} as {_sql_type(contract.column(n).type)}) as "{n}"' for n, said in given.items())
    kept = "where basis not in ('reconciled_comtrade', 'icio_proportional')" if name == "indicators" else ""
    connection.execute(f"create temp view {view} as select * from (select {columns} from {rows}) {kept}")


def _sql_type(kind: pa.DataType) -> str:
    if pa.types.is_boolean(kind):
        return "boolean"
    if pa.types.is_integer(kind):
        return "bigint"
    return "double" if pa.types.is_floating(kind) else "varchar"


def _add(connection: duckdb.DuckDBPyConnection, rows: list[_Change]) -> None:
    if rows:
        connection.executemany(
            f"insert into found values ({', '.join('?' for _ in CHANGES.columns)})",
            [[row[c.name] for c in CHANGES.columns] for row in rows],
        )


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
        connection: duckdb.DuckDBPyConnection,
        previous: Side,
        current: Side,
        before: Mapping[str, Any],
        after: Mapping[str, Any],
    ) -> _Causes:
        years_before, years_after = _years(connection, "old"), _years(connection, "new")
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

    def years(self) -> list[int | None]:
        """Every year of either release, and None for rows without one."""
        held = [*self.years_before.values(), *self.years_after.values()]
        return [*sorted(frozenset[int]().union(*held)), None]

    def tell_scope(self, connection: duckdb.DuckDBPyConnection, year: int | None) -> None:
        """Table ``scope``: the foci whose rows of this year are compared, and whether the year is new to them."""
        connection.execute("create or replace temp table scope (focus varchar, is_new boolean)")
        told = [
            [focus, self.new_year(focus, year)]
            for focus in sorted(self.foci_before & self.foci_after)
            if not self.gone_year(focus, year)
        ]
        if told:
            connection.executemany("insert into scope values (?, ?)", told)

    def kind(self, focus: str, year: int | None, group: str | None) -> str:
        """The cause of a change of a register row, which carries no version of its own."""
        if self.new_year(focus, year):
            return "new_data"
        if self.gone_year(focus, year):
            return "parameters" if self.scope else "revised_data"
        if self.methods:
            return "method"
        if self.parameters:
            return "parameters"
        if group is not None and group in self.groups:
            return "catalogue"
        return self._otherwise()

    def _otherwise(self) -> str:
        if self.sources:
            return "revised_data"
        return "catalogue" if self.groups or self.reference else "revised_data"

    def kind_in_sql(self, *, version: str, vintage: str) -> str:
        """The cause of each row of a query that has ``is_new``, ``one_sided`` and ``"group"``.

        Args:
            version: expression: whether the row's own method version differs.
            vintage: expression: whether the row's own source vintage differs.
        """
        groups = ", ".join(_literal(g) for g in sorted(self.groups)) or "null"
        return f"""case
            when is_new then 'new_data'
            when case when one_sided then {self.methods} else {version} end then 'method'
            when {self.parameters} then 'parameters'
            when coalesce("group" in ({groups}), false) then 'catalogue'
            when not one_sided and {vintage} then 'revised_data'
            when {self.sources} then 'revised_data'
            when {self.methods} then 'method'
            else {_literal(self._otherwise())} end"""

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


_FLAG_KEYS = ("focus", "level", "code", "hs_revision", "group", "tier", "year", "method")
_FIGURE_KEYS = ("focus", "level", "code", "hs_revision", "group", "tier", "year", "indicator", "measure", "basis")
_COUNTED = f"is_new and level not in ({', '.join(repr(level) for level in _LISTED)})"
_CODE = """coalesce(nullif(code, ''), "group")"""


def _flag_changes(connection: duckdb.DuckDBPyConnection, causes: _Causes, year: int | None) -> None:
    said = """
        case when flagged is null then null else
            case when flagged then 'true' else 'false' end
            || coalesce(' (' || band || ')', '')
            || case when below_minimum then ', below minimum' else '' end
        end"""
    kind = causes.kind_in_sql(version="version", vintage="false")
    connection.execute(
        f"""
        create or replace temp table moved as
        with o as (select *, {said} as said from old_flags where {_of(year)}),
             n as (select *, {said} as said from new_flags where {_of(year)}),
             j as (select {_coalesced(_FLAG_KEYS)}, o.said as was, n.said as now,
                          o.focus is null or n.focus is null as one_sided,
                          o.method_version is distinct from n.method_version as version
                   from o full outer join n on {_matched(_FLAG_KEYS)} where o.said is distinct from n.said)
        select *, {kind} as kind from j join scope using (focus)
        """
    )
    connection.execute(
        f"""
        insert into found
        select focus, level, {_CODE}, year, method, was, now, kind from moved where not ({_COUNTED})
        union all
        select focus, level, null, year, method, null,
               count(*) filter (now like 'true%') || ' flagged of ' || count(*) || ' told', 'new_data'
        from moved where {_COUNTED} group by focus, level, year, method
        """
    )


def _figure_changes(connection: duckdb.DuckDBPyConnection, causes: _Causes, year: int | None, tolerance: float) -> None:
    levels = "level in ('hs6', 'group', 'set', 'industry')"
    kind = causes.kind_in_sql(version="version", vintage="vintage")
    connection.execute(
        f"""
        create or replace temp table moved as
        with o as (select * from old_indicators where {levels} and {_of(year)}),
             n as (select * from new_indicators where {levels} and {_of(year)}),
             j as (select {_coalesced(_FIGURE_KEYS)}, o.value as was, n.value as now,
                          o.focus is null or n.focus is null as one_sided,
                          o.method_version is distinct from n.method_version as version,
                          o.source_vintage is distinct from n.source_vintage as vintage
                   from o full outer join n on {_matched(_FIGURE_KEYS)} where o.value is distinct from n.value)
        select focus, level, {_CODE} as code, year,
               concat_ws(' ', nullif(indicator, ''), nullif(nullif(measure, 'none'), ''), nullif(basis, '')) as what,
               was, now, {kind} as kind, {_COUNTED} as counted,
               coalesce(abs(now - was) <= {tolerance!r} * greatest(abs(was), abs(now)), false) as little
        from j join scope using (focus)
        """
    )
    connection.execute(
        """
        insert into found
        select focus, level, code, year, what, printf('%.9g', was), printf('%.9g', now), kind
        from moved where not counted and not little
        union all
        select focus, level, null, year, what, null, count(*) || ' figures', 'new_data'
        from moved where counted group by focus, level, year, what
        """
    )
    connection.execute(
        """
        insert into within_tolerance
        select focus, kind, count(*) from moved where little and not counted group by focus, kind
        """
    )


def _of(year: int | None) -> str:
    return "year is null" if year is None else f"year = {int(year)}"


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


def _coalesced(keys: tuple[str, ...]) -> str:
    return ", ".join(f'coalesce(o."{k}", n."{k}") as "{k}"' for k in keys)


def _matched(keys: tuple[str, ...]) -> str:
    return " and ".join(f'o."{k}" is not distinct from n."{k}"' for k in keys)


def _years(connection: duckdb.DuckDBPyConnection, side: str) -> dict[str, frozenset[int]]:
    """Per focus the years of indicators and flags; a focus that is only in the register has none."""
    years: dict[str, set[int]] = {}
    for name in COMPARED:
        for focus, year in connection.execute(f"select distinct focus, year from {side}_{name}").fetchall():
            held = years.setdefault(focus, set())
            if year is not None:
                held.add(year)
    return {focus: frozenset(held) for focus, held in years.items()}


def _rows(tables: Side, name: str) -> list[_Change]:
    """The rows of a small table, of the columns that are looked into; None where an older release lacks one."""
    source = tables.get(name)
    if source is None:
        return []
    there = pq.read_schema(source).names if isinstance(source, Path) else source.column_names
    wanted = [n for n in LOOKED_INTO[name] if n in there]
    held = pq.read_table(source, columns=wanted) if isinstance(source, Path) else source.select(wanted)
    return [{n: row.get(n) for n in LOOKED_INTO[name]} for row in held.to_pylist()]


def _chains(tables: Side) -> dict[str, str]:
    """Per group what the catalogue says, without what the sources or the look-through add."""
    parts: dict[str, list[str]] = {}
    for name in ("chain_nodes", "chain_edges"):
        for row in _rows(tables, name):
            said = [name, *(row[c] for c in LOOKED_INTO[name] if c != "group")]
            parts.setdefault(row["group"], []).append(json.dumps(said))
    return {group: "\n".join(sorted(lines)) for group, lines in parts.items()}


def _hashes(tables: Side) -> set[tuple[str, str, str | None]]:
    return {(r["source"], r["file"], r["sha256"]) for r in _rows(tables, "sources")}


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _plain(mapping: Any) -> dict[str, Any]:
    """The mapping as its JSON says it, so that a tuple and the list it became compare equal."""
    return dict(json.loads(json.dumps(dict(mapping or {}), default=str)))
