"""The audits that stop a run: pure functions on tables, each with a typed result and the first offending row.

Belongs here: what must hold of a table whatever its figures are. Does not belong here: how Dagster shows or
enforces it (:mod:`ketenpipe.dag.checks`), column types and lists (:mod:`ketenpipe.tables.contract`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ketenpipe.errors import ContractBroken
from ketenpipe.tables.contract import Table

#: Shares are stored with nine significant digits; a sum over some 230 countries may be off by this much.
SUM_TOLERANCE = 1e-6
#: A tracing row and the supply may differ by this much, relative to the supply.
RESIDUAL_TOLERANCE = 1e-6
#: Words and codes that stand for a total or a region, never for a country.
NOT_COUNTRIES = (
    "ALL", "DELETE", "EU", "EU27", "EU28", "EUR", "EUU", "OTH", "REST",
    "ROW", "SUM", "TOT", "TOTAL", "WLD", "WORLD", "WWW",
)  # fmt: skip
#: Areas that BACI books flows under although they are no country: Europe EFTA nes, the Southern African Customs Union.
#: They trade, so they may stand among the makers of an export proxy; they are no sum of others.
TRADING_AREAS = ("R20", "ZA1")
#: Indicators that are a Herfindahl-Hirschman index over all suppliers: within [1/n, 1].
HHI_INDICATORS = ("hhi_import", "hhi_world_export", "hhi_production", "C1", "C2", "C3")
#: The same kind of sum without the focus's own part: within [0, 1].
FOREIGN_HHI_INDICATORS = ("hhi_traced", "O1")


@dataclass(frozen=True)
class CheckResult:
    """What one audit found.

    Attributes:
        name: name of the audit.
        passed: whether it holds.
        sentence: one sentence for a person: what holds, or what does not and where.
        rows: rows, or groups of rows, that were looked at.
        offending: the first row (or group) that breaks the rule, None if none does.
    """

    name: str
    passed: bool
    sentence: str
    rows: int
    offending: dict[str, Any] | None = None


def _holds(name: str, sentence: str, rows: int) -> CheckResult:
    return CheckResult(name, True, sentence, rows)


def _fails(name: str, sentence: str, rows: int, offending: dict[str, Any]) -> CheckResult:
    return CheckResult(name, False, sentence, rows, offending)


def _first(table: pa.Table, mask: pa.ChunkedArray | pa.Array) -> dict[str, Any] | None:
    """The first row where the mask is true (null counts as false)."""
    found = table.filter(pc.fill_null(mask, False)).slice(0, 1).to_pylist()
    return found[0] if found else None


def _named(row: dict[str, Any], columns: Iterable[str]) -> str:
    return ", ".join(f"{c} {row[c]}" for c in columns if row.get(c) is not None)


def require(*results: CheckResult) -> None:
    """Raise on the first audit that does not hold.

    Raises:
        ContractBroken: with its sentence.
    """
    for result in results:
        if not result.passed:
            raise ContractBroken(result.sentence)


def schema_and_keys(contract: Table, data: pa.Table) -> CheckResult:
    """Columns, types, nulls, closed lists, bounds and the key, as the registry has them."""
    name = "schema_and_keys"
    try:
        contract.check(data)
    except ContractBroken as broken:
        return _fails(name, str(broken), data.num_rows, {"table": contract.name, "rule": str(broken)})
    return _holds(name, f"{data.num_rows} rows of {contract.name} hold their contract", data.num_rows)


def _sums_to_one(name: str, data: pa.Table, keys: Sequence[str], column: str, what: str) -> CheckResult:
    known = data.filter(pc.is_valid(data.column(column)))
    sums = known.group_by(list(keys), use_threads=False).aggregate([(column, "sum")])
    total = sums.column(f"{column}_sum")
    bad = _first(sums, pc.greater(pc.abs(pc.subtract(total, 1.0)), SUM_TOLERANCE))
    if bad is None:
        return _holds(name, f"{sums.num_rows} {what} sum to 1", sums.num_rows)
    value = bad[f"{column}_sum"]
    return _fails(
        name, f"the {what} ({column}) of {_named(bad, keys)} sum to {value:.9g}, not to 1", sums.num_rows, bad
    )


def supply_shares_sum_to_one(supply_mix: pa.Table) -> CheckResult:
    """Every kind of share in the supply mix sums to 1 over its countries, unknown origin included."""
    keys = ("focus", "hs_revision", "code", "year")
    columns = ("share_direct", "share_direct_q", "share_traced", "share_traced_v")
    seen = 0
    for column in columns:
        result = _sums_to_one("supply_shares_sum_to_one", supply_mix, keys, column, "supply shares")
        if not result.passed:
            return result
        seen += result.rows
    return _holds("supply_shares_sum_to_one", f"{seen} supply mixes sum to 1", seen)


def origin_rows_sum_to_one(origin_mix: pa.Table) -> CheckResult:
    """Every row of the supply-mix matrix O sums to 1, unknown origin included."""
    return _sums_to_one(
        "origin_rows_sum_to_one", origin_mix, ("hs_revision", "code", "year", "country"), "share", "origin shares"
    )


def lookthrough_sums_to_one(exposure: pa.Table) -> CheckResult:
    """Every look-through vector sums to 1, unknown origin included."""
    return _sums_to_one(
        "lookthrough_sums_to_one", exposure, ("focus", "group", "node", "year"), "share_traced", "look-through shares"
    )


def tracing_rows_sum_to_supply(tracing: pa.Table) -> CheckResult:
    """Every tracing row sums to the supply: ``|sum_c R[j,c] - x_j| / x_j`` within 1e-6."""
    name = "tracing_rows_sum_to_supply"
    residual = tracing.column("row_residual")
    bad = _first(tracing, pc.greater(residual, RESIDUAL_TOLERANCE))
    if bad is None:
        return _holds(name, f"{tracing.num_rows} traced products sum to their supply", tracing.num_rows)
    where = _named(bad, ("focus", "hs_revision", "code", "year", "measure"))
    sentence = f"a tracing row of {where} differs from its supply by {bad['row_residual']:.3g} of it"
    return _fails(name, sentence, tracing.num_rows, bad)


def no_total_rows(producers: pa.Table, column: str = "country") -> CheckResult:
    """Nobody among the producers is a total or a rest: country codes of three capitals, and BACI's trading areas."""
    name = "no_total_rows"
    codes = producers.column(column)
    shape = pc.match_substring_regex(codes, f"^([A-Z]{{3}}|{'|'.join(TRADING_AREAS)})$")
    total = pc.is_in(pc.utf8_upper(codes), pa.array(NOT_COUNTRIES))
    bad = _first(producers, pc.or_(pc.invert(shape), total))
    if bad is None:
        return _holds(name, f"{producers.num_rows} producers, no total row among them", producers.num_rows)
    rest = _named(bad, (c for c in ("material", "hs_revision", "code", "year") if c in bad))
    return _fails(
        name, f"'{bad[column]}' stands among the producers ({rest}): a total is no country", producers.num_rows, bad
    )


def one_vintage_per_year(governance: pa.Table) -> CheckResult:
    """No year's governance scores come from two vintages."""
    name = "one_vintage_per_year"
    pairs = governance.select(["year", "dimension", "vintage"]).group_by(
        ["year", "dimension", "vintage"], use_threads=False
    ).aggregate([])  # fmt: skip
    counted = pairs.group_by(["year", "dimension"], use_threads=False).aggregate(
        [("vintage", "count"), ("vintage", "min"), ("vintage", "max")]
    )
    bad = _first(counted, pc.greater(counted.column("vintage_count"), 1))
    if bad is None:
        return _holds(name, f"{counted.num_rows} years and dimensions, one vintage each", counted.num_rows)
    sentence = (
        f"the year {bad['year']} of {bad['dimension']} stands in two vintages, "
        f"'{bad['vintage_min']}' and '{bad['vintage_max']}'"
    )
    return _fails(name, sentence, counted.num_rows, bad)


def one_release_per_series(flows: pa.Table) -> CheckResult:
    """No series of one HS revision joins two BACI releases.

    Args:
        flows: any table with ``hs_revision, release, year``, e.g. ``baci_flows`` or its distinct triples.
    """
    name = "one_release_per_series"
    counted = (
        flows.select(["hs_revision", "release", "year"])
        .group_by(["hs_revision", "release"], use_threads=False)
        .aggregate([("year", "min"), ("year", "max")])
        .sort_by([("hs_revision", "ascending"), ("year_min", "ascending"), ("release", "ascending")])
    )
    first: dict[str, dict[str, Any]] = {}
    for row in counted.to_pylist():
        other = first.setdefault(row["hs_revision"], row)
        if other is not row:
            sentence = (
                f"the series of {row['hs_revision']} joins two BACI releases, {other['release']} (from "
                f"{other['year_min']}) and {row['release']} (from {row['year_min']}): refresh every year from one "
                f"release"
            )
            return _fails(name, sentence, counted.num_rows, row)
    return _holds(name, f"{counted.num_rows} series, one BACI release each", counted.num_rows)


def hhi_within_bounds(indicators: pa.Table, supply_mix: pa.Table | None = None) -> CheckResult:
    """Every concentration lies within ``[1/n, 1]``; n from the supply mix where it is known.

    Args:
        indicators: table ``indicators``.
        supply_mix: table ``supply_mix``; with it, n is the number of suppliers of the product, without it n is
            unbounded and only (0, 1] is held.
    """
    name = "hhi_within_bounds"
    keys = ["focus", "hs_revision", "code", "year"]
    suppliers: dict[tuple[Any, ...], int] = {}
    if supply_mix is not None:
        for measure, column in (("v", "share_direct"), ("q", "share_direct_q")):
            buying = supply_mix.filter(pc.fill_null(pc.greater(supply_mix.column(column), 0.0), False))
            for row in buying.group_by(keys, use_threads=False).aggregate([("country", "count")]).to_pylist():
                suppliers[(measure, *(row[k] for k in keys))] = row["country_count"]
    wanted = pc.is_in(indicators.column("indicator"), pa.array([*HHI_INDICATORS, *FOREIGN_HHI_INDICATORS]))
    rows = indicators.filter(pc.and_(wanted, pc.is_valid(indicators.column("value")))).to_pylist()
    for row in rows:
        value = row["value"]
        foreign = row["indicator"] in FOREIGN_HHI_INDICATORS
        n = None
        if row["indicator"] in ("hhi_import", "C1") and row["level"] == "hs6" and row["basis"] == "imports":
            n = suppliers.get((row["measure"], *(row[k] for k in keys)))
        low = 0.0 if foreign or n is None else 1 / n
        inside = low - SUM_TOLERANCE <= value <= 1 + SUM_TOLERANCE and (foreign or value > 0)
        if not inside:
            where = _named(row, ("focus", "level", "code", "group", "year", "measure"))
            bounds = f"[1/{n}, 1]" if n else ("[0, 1]" if foreign else "(0, 1]")
            sentence = f"{row['indicator']} of {where} is {value:.9g}, outside {bounds}"
            return _fails(name, sentence, len(rows), row)
    return _holds(name, f"{len(rows)} concentrations lie within [1/n, 1]", len(rows))


def unsigned_is_provisional(register: pa.Table) -> CheckResult:
    """Nothing that no expert has signed stands in the register as confirmed, and nothing signed as a draft."""
    name = "unsigned_is_provisional"
    signed = pc.equal(register.column("review_status"), "signed")
    bad = _first(register, pc.equal(signed, register.column("provisional")))
    if bad is None:
        return _holds(name, f"{register.num_rows} verdicts, provisional unless signed", register.num_rows)
    word = "is provisional" if bad["provisional"] else "is not provisional"
    sentence = f"{bad['group']} for {bad['focus']} is '{bad['review_status']}' but {word}"
    return _fails(name, sentence, register.num_rows, bad)


def weights_sum_to_one(hs_weights: pa.Table) -> CheckResult:
    """The weights of every code of a concordance sum to 1, so that a conversion keeps the value."""
    keys = ("from_revision", "from_code", "to_revision")
    return _sums_to_one("weights_sum_to_one", hs_weights, keys, "weight", "concordance weights")


def accounts_add_up(icio_audit: pa.Table) -> CheckResult:
    """No input-output table fails a check that would make every figure wrong."""
    return _findings("accounts_add_up", icio_audit, "blocking")


def accounts_are_unremarkable(icio_audit: pa.Table) -> CheckResult:
    """No input-output table has anything that an expert should know of."""
    return _findings("accounts_are_unremarkable", icio_audit, "warning")


def _findings(name: str, icio_audit: pa.Table, severity: str) -> CheckResult:
    held = icio_audit.filter(pc.equal(icio_audit.column("severity"), severity))
    bad = _first(held, pc.invert(held.column("passed")))
    if bad is None:
        return _holds(name, f"{held.num_rows} {severity} checks of input-output tables hold", held.num_rows)
    more = held.num_rows - pc.sum(pc.cast(held.column("passed"), "int64")).as_py() - 1
    rest = f" (and {more} more)" if more else ""
    return _fails(
        name, f"{bad['file']}, the input-output table of {bad['year']}: {bad['sentence']}{rest}", held.num_rows, bad
    )


#: Share of the expected trade that must be reported before a period counts as covered.
COVERED = 0.9
#: Months that most reporters take; a younger month is not held against them.
SETTLED_MONTHS = 3


def everybody_has_reported(reporting_coverage: pa.Table) -> CheckResult:
    """Those who carry nine tenths of the expected trade have reported; who never reports is not waited for.

    Held for every year, and for every month but the newest three of the table.
    """
    name = "everybody_has_reported"
    rows = reporting_coverage.select(["frequency", "period", "status", "weight", "reporter"]).to_pylist()
    months = sorted({r["period"] for r in rows if r["frequency"] == "M"})
    young = set(months[-SETTLED_MONTHS:])
    share: dict[str, float] = {}
    awaited: dict[str, list[tuple[float, str]]] = {}
    for row in rows:
        if row["weight"] is None or row["period"] in young:
            continue
        share.setdefault(row["period"], 0.0)
        if row["status"] == "reported":
            share[row["period"]] += row["weight"]
        else:
            awaited.setdefault(row["period"], []).append((-row["weight"], row["reporter"]))
    for period in sorted(share, reverse=True):
        if share[period] < COVERED - 1e-9:
            waiting = ", ".join(country for _, country in sorted(awaited[period])[:5])
            sentence = f"{period}: only {share[period]:.0%} of the expected trade is reported; awaited: {waiting}"
            return _fails(name, sentence, len(rows), {"period": period, "share": share[period], "awaited": waiting})
    return _holds(name, f"{len(share)} settled periods, at least {COVERED:.0%} of the expected trade each", len(rows))
