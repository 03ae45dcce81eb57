"""Accounting audit of an input-output table: balance, orientation, unit, signs, output, spectral radius, completeness.

What would make every figure wrong is blocking; what an expert should know is a warning. Every check is told with the
figure, the limit and the worst place, whether it holds or not. Limits are configuration (``icio_layouts.json``, each
with its reason; a layout may override). Every check is a sum or a product with ``Z``, none a decomposition, but for
the rare table whose spectral radius cannot be told otherwise.
Belongs here: whether the accounts hold, and the accounts of each industry. Does not belong here: reading, indicators.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.linalg import LinAlgWarning, solve

from ketenpipe.errors import InputRefused
from ketenpipe.sources.icio import Floats, IcioFile, IcioLayout, IcioTable, Label, read_table
from ketenpipe.tables.registry import ICIO_ACCOUNTS, ICIO_AUDIT

MUSD = "million USD"
SHARE = "share"

Severity = Literal["blocking", "warning"]


@dataclass(frozen=True)
class AuditLimits:
    """What the checks are held against; units and reasons stand beside the values in ``icio_layouts.json``.

    Attributes:
        balance_relative: gap of a row or column, as a share of its output.
        row_absolute, column_absolute: what is allowed beyond that (million USD).
        absolute_share: cap of both, as a share of the table's output.
        precision_relative: gap above which the print's exactness is lost (share of output).
        gdp_gap: final demand against value added plus taxes (share).
        transposed_gap: gap with ``Z`` transposed, as a share of the gap as it stands.
        negative_inputs_share: negative deliveries as a share of all.
        value_added_low, value_added_high: value added as a share of output, whole table.
        world_output_low, world_output_high: output of the world (million USD).
        world_regions: from how many regions on a table with a rest of the world is the world.
        self_feeding: own product in an industry's output (share).
        spectral_rounds: rounds of the power iteration.
        idle_share: industries without output (share).
        year_factor: change of a country's output from year to year (ratio).
    """

    balance_relative: float
    row_absolute: float
    column_absolute: float
    absolute_share: float
    precision_relative: float
    gdp_gap: float
    transposed_gap: float
    negative_inputs_share: float
    value_added_low: float
    value_added_high: float
    world_output_low: float
    world_output_high: float
    world_regions: float
    self_feeding: float
    spectral_rounds: float
    idle_share: float
    year_factor: float


@dataclass(frozen=True)
class AuditFinding:
    """One check of one table.

    Attributes:
        check: its name.
        severity: what a failure does.
        passed: whether it holds.
        value, limit, unit: what was measured and what it is held against; None where nothing is measured.
        where: the worst row, column or cell, as ``NLD_C17_18``.
        sentence: what was found, in words.
    """

    check: str
    severity: Severity
    passed: bool
    value: float | None
    limit: float | None
    unit: str | None
    where: str | None
    sentence: str


@dataclass(frozen=True)
class SpectralRadius:
    """``rho(A)``: an estimate, and what is certain.

    Attributes:
        value: growth of the last round of the power iteration, within the bounds.
        upper: a bound that holds.
        below_one: certified; False: certified not to be, within rounding.
        rounds: products with ``Z``.
    """

    value: float
    upper: float
    below_one: bool
    rounds: int


@lru_cache(maxsize=1)
def _configured() -> dict[str, float]:
    raw = json.loads(Path(__file__).with_name("icio_layouts.json").read_text(encoding="utf-8"))
    return {str(row["name"]): float(row["value"]) for row in raw["audit_limits"]}


def limits_for(layout: IcioLayout | None) -> AuditLimits:
    """The limits of a layout: the configured ones, with what the layout overrides.

    Raises:
        InputRefused: the layout overrides a limit that there is not.
    """
    values = dict(_configured())
    own = layout.audit_limits if layout is not None else {}
    if unknown := sorted(set(own) - set(values)):
        raise InputRefused(
            f"the layout {layout.edition if layout else ''} has the audit limit '{unknown[0]}', which there is not",
            todo=f"the limits are {', '.join(sorted(values))}",
        )
    return AuditLimits(**(values | dict(own)))


def read_and_audit(icio_file: IcioFile, previous: IcioTable | None = None) -> tuple[IcioTable, list[AuditFinding]]:
    """Reads a table and audits it with the limits of its layout.

    Raises:
        InputRefused: as :func:`ketenpipe.sources.icio.read_table`; a failed check is a finding, no error.
    """
    table = read_table(icio_file)
    return table, audit(table, previous=previous)


def failed(findings: Sequence[AuditFinding], severity: Severity | None = None) -> list[AuditFinding]:
    """The checks that do not hold; of one severity, if it is given."""
    return [f for f in findings if not f.passed and severity in (None, f.severity)]


def audit(
    table: IcioTable, limits: AuditLimits | None = None, *, previous: IcioTable | None = None
) -> list[AuditFinding]:
    """Every check of a table, in a fixed order, whether it holds or not.

    Blocking: ``unit_scale``, ``orientation``, ``row_balance`` (``Z1 + Y1 = OUT``), ``column_balance``
    (``1'Z + TLS + VA = OUT``), ``output_stated_twice``, ``gdp_identity`` (``1'Y1 = 1'VA + 1'TLS``), ``output_sign``,
    ``negative_deliveries``, ``country_value_added``, ``self_feeding``, ``spectral_radius`` (``rho(A) < 1``,
    ``A = Z diag(1/OUT)``). Warnings: ``balance_precision``, ``small_negative_deliveries``, ``final_demand_sign``,
    ``value_added_sign``, ``value_added_share``, ``idle_industries``, ``tax_row``, ``completeness``, ``year_on_year``.

    Args:
        table: as read; n industries.
        limits: None takes those of the table's layout.
        previous: the table of an earlier year, to compare with; None leaves that check out.

    Raises:
        InputRefused: a figure that is not finite, shapes that do not agree, no industry at all.
    """
    held = limits_for(table.layout) if limits is None else limits
    a = _Accounts.of(table, held)
    findings = [
        _unit_scale(a),
        _orientation(a),
        _row_balance(a),
        _column_balance(a),
        _output_stated_twice(a),
        _gdp_identity(a),
        _output_sign(a),
        _negative_deliveries(a),
        _country_value_added(a),
        _self_feeding(a),
        _spectral(a),
        _precision(a),
        _small_negative_deliveries(a),
        _final_demand_sign(a),
        _value_added_sign(a),
        _value_added_share(a),
        _idle(a),
        _tax_row(a),
        _completeness(a),
    ]
    if previous is not None:
        findings.append(_year_on_year(a, previous))
    return findings


def audit_table(table: IcioTable, findings: Sequence[AuditFinding]) -> pa.Table:
    """The findings as a table of the contract :data:`ICIO_AUDIT`."""
    return ICIO_AUDIT.conform(
        [
            {
                "year": table.year,
                "file": table.record.path,
                "check": f.check,
                "severity": f.severity,
                "passed": f.passed,
                "value": f.value,
                "limit": f.limit,
                "unit": f.unit,
                "where": f.where,
                "sentence": f.sentence,
                "edition": table.edition,
                "vintage": table.vintage,
            }
            for f in findings
        ]
    )


def icio_accounts(table: IcioTable) -> pa.Table:
    """The accounts of every industry as a table of the contract :data:`ICIO_ACCOUNTS`, million USD.

    ``inputs = 1'Z``; ``inputs_foreign`` = those from other countries; ``sales = Z1``; ``final_demand = OUT - Z1``
    (not the sum of its rounded columns). Taxes are null where the table has no such row.
    """
    inputs, sales = table.Z.sum(axis=0), table.Z.sum(axis=1)
    own = np.zeros(len(table.labels))
    for at in _by_country(table.labels).values():
        own[at] = table.Z[np.ix_(at, at)].sum(axis=0)
    n = len(table.labels)
    return ICIO_ACCOUNTS.conform(
        pa.table(
            {
                "year": pa.array([table.year] * n, ICIO_ACCOUNTS.column("year").type),
                "country": [country for country, _ in table.labels],
                "industry": [industry for _, industry in table.labels],
                "output": table.OUT,
                "value_added": table.VA,
                "taxes_less_subsidies": table.TLS if table.has_tls else pa.nulls(n, pa.float64()),
                "inputs": inputs,
                "inputs_foreign": np.where(np.abs(inputs - own) <= 1e-12 * np.abs(inputs), 0.0, inputs - own),
                "sales": sales,
                "final_demand": table.OUT - sales,
                "edition": [table.edition] * n,
                "vintage": [table.vintage] * n,
                "synthetic": [table.synthetic] * n,
            }
        )
    )


def spectral_radius(z: Floats, output: Floats, rounds: int = 60, precision: float = 1e-7) -> SpectralRadius:
    """Spectral radius of ``A = Z diag(1/x)``, whose columns without output are 0.

    Power iteration on ``|A| + I/4`` (the shift makes a periodic table settle), started from output. Two bounds are
    certain at any time, since ``rho(A) <= rho(|A|)``: the largest column sum of ``|A|``, and Collatz and Wielandt's
    ``max_i (|A| x)_i / x_i`` for any ``x > 0``. Where neither falls below 1, ``(I - |A|) s = 1`` decides: ``rho < 1``
    if and only if it has a solution ``s >= 1`` (``I - |A|`` is then an M-matrix).

    Args:
        z: shape (n, n); negative entries count by their size.
        output: x, shape (n).
        rounds: at most so many products with ``z``.
        precision: stops once the estimate moves by less (relative) and the radius is certified.
    """
    alive = output > 0
    inverse = np.where(alive, 1.0 / np.where(alive, output, 1.0), 0.0)
    size = z if z.size == 0 or z.min() >= 0 else np.abs(z)
    upper = float(np.max(size.sum(axis=0) * inverse, initial=0.0))
    shift = 0.25
    x = np.where(alive, output, 0.0)
    if not alive.any() or upper == 0.0:
        return SpectralRadius(0.0, 0.0, True, 0)
    x = np.maximum(x, x[alive].min() * 1e-3)
    value, done = 0.0, 0
    for _ in range(rounds):
        done += 1
        y = size @ (x * inverse)
        upper = min(upper, float(np.max(y / x)))
        grown = float(y.sum() / x.sum())
        moved, value = abs(grown - value), grown
        if moved <= precision * max(grown, 1e-3) and (upper < 1.0 - 1e-9 or grown > 1.0 - 1e-6):
            break
        x = y + shift * x
        x = np.maximum(x / x.max(), 1e-200)
    if upper < 1.0 - 1e-9:
        return SpectralRadius(min(value, upper), upper, True, done)
    productive = _productive_bound(size * inverse[np.newaxis, :])
    if productive is None:
        return SpectralRadius(max(value, 1.0), upper, False, done)
    return SpectralRadius(min(value, productive), productive, True, done)


def _productive_bound(a: Floats) -> float | None:
    """A bound below 1 of ``rho(a)``, ``a >= 0``; None if there is none.

    If ``(I - a) s = 1`` has a solution ``s >= 1``, then ``a s = s - 1 <= (1 - 1 / max s) s``, so
    ``rho(a) <= 1 - 1 / max s``; if ``rho(a) < 1``, then ``s = sum_k a^k 1`` is one.
    """
    n = len(a)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", LinAlgWarning)
            s = solve(np.eye(n) - a, np.ones(n))
    except (LinAlgWarning, np.linalg.LinAlgError):
        return None
    # 1e9: a table that keeps all but a billionth of its output to itself is singular for every purpose.
    if not np.isfinite(s).all() or s.min() < 1.0 - 1e-6 or s.max() > 1e9:
        return None
    return 1.0 - 1.0 / float(s.max())


@dataclass(frozen=True)
class _Accounts:
    """The margins of a table, taken once.

    Attributes:
        rows, columns: ``Z1`` and ``1'Z`` (n).
        final: ``Y1`` (n).
        row_gap: ``Z1 + Y1 - OUT``; column_gap: ``1'Z + TLS + VA - OUT`` (n).
        smallest: the lowest delivery of ``Z``.
        unit: how many of the table's units make a million USD, as its size tells; None where it cannot.
        row_allowed, column_allowed: what a gap may be (n).
    """

    table: IcioTable
    limits: AuditLimits
    names: list[str]
    rows: Floats
    columns: Floats
    final: Floats
    row_gap: Floats
    column_gap: Floats
    smallest: float
    unit: float | None
    row_allowed: Floats
    column_allowed: Floats

    @classmethod
    def of(cls, table: IcioTable, limits: AuditLimits) -> _Accounts:
        n = len(table.labels)
        if n == 0:
            raise InputRefused(f"the table of {table.year} has no industry")
        shapes = [table.Z.shape[0], table.Z.shape[1], table.Y.shape[0], *map(len, (table.TLS, table.VA, table.OUT))]
        if set(shapes) != {n} or table.Y.shape[1] != len(table.final_labels):
            raise InputRefused(f"the table of {table.year} names {n} industries, its blocks have {shapes} of them")
        rows, columns, final = table.Z.sum(axis=1), table.Z.sum(axis=0), table.Y.sum(axis=1)
        for what, figures in (
            ("Z", columns),
            ("Y", final),
            ("TLS", table.TLS),
            ("VA", table.VA),
            ("OUT", table.OUT),
        ):
            if not np.isfinite(figures).all():
                at = _name(table.labels[int(np.argmax(~np.isfinite(figures)))])
                raise InputRefused(f"{what} of the table of {table.year} holds a figure that is not finite at {at}")
        total = float(np.abs(table.OUT).sum())
        unit = _unit(table, total, limits)
        scale = unit or 1.0
        absolute = limits.absolute_share * total
        relative = limits.balance_relative * np.abs(table.OUT)
        return cls(
            table=table,
            limits=limits,
            names=[_name(label) for label in table.labels],
            rows=rows,
            columns=columns,
            final=final,
            row_gap=rows + final - table.OUT,
            column_gap=columns + table.TLS + table.VA - table.OUT,
            smallest=float(table.Z.min()),
            unit=unit,
            row_allowed=relative + min(limits.row_absolute * scale, absolute),
            column_allowed=relative + min(limits.column_absolute * scale, absolute),
        )

    @property
    def output(self) -> float:
        """Output of the whole table."""
        return float(np.abs(self.table.OUT).sum())


def _name(label: Label) -> str:
    return "_".join(label)


def _amount(value: float) -> str:
    return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.4g}"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %" if abs(share) < 10 else f"{100 * share:,.0f} %"


def _by_country(labels: Sequence[Label]) -> dict[str, npt.NDArray[np.intp]]:
    found: dict[str, list[int]] = {}
    for at, (country, _) in enumerate(labels):
        found.setdefault(country, []).append(at)
    return {country: np.array(at, dtype=np.intp) for country, at in found.items()}


def _out_of(count: int, of: int, many: str) -> str:
    return f"{f'{count:,}' if count else 'none'} of {of:,} {many} {'is' if count <= 1 else 'are'}"


# ---------------------------------------------------------------- unit and orientation


def _is_world(table: IcioTable, limits: AuditLimits) -> bool:
    countries = table.countries
    return len(countries) >= limits.world_regions and "ROW" in countries


def _unit(table: IcioTable, total: float, limits: AuditLimits) -> float | None:
    """How many of the table's units make a million USD (1, 1e3, 1e6, 1e-3); None where its size does not tell.

    A table of the world has the world's output. Of fewer regions only this is known: they make no more than the world.
    """
    if not _is_world(table, limits) and total <= limits.world_output_high:
        return None
    for unit in (1.0, 1e3, 1e6, 1e-3):
        if limits.world_output_low <= total / unit <= limits.world_output_high:
            return unit
    return None


_UNITS = {1e3: "thousand USD", 1e6: "USD", 1e-3: "billion USD"}


def _unit_scale(a: _Accounts) -> AuditFinding:
    total, limits, regions = a.output, a.limits, len(a.table.countries)
    world = _is_world(a.table, limits)
    low, high = limits.world_output_low, limits.world_output_high
    if world and a.unit == 1.0:
        sentence = f"world output of {_amount(total)} {MUSD} is of the usual size ({low:.0e} to {high:.0e})"
        return AuditFinding("unit_scale", "blocking", True, total, high, MUSD, None, sentence)
    if not world and total <= high:
        sentence = (
            f"{regions} region{'s do' if regions != 1 else ' does'} not make the world: whether output of "
            f"{_amount(total)} is in {MUSD} cannot be told from its size, but that it is no more than the world's"
        )
        return AuditFinding("unit_scale", "blocking", True, total, high, MUSD, None, sentence)
    guess = f"this looks like {_UNITS[a.unit]}" if a.unit else "it fits no unit from USD to billion USD"
    whose = "world output" if world else f"output of {regions} region{'s' if regions != 1 else ''}"
    usual = f"{low:.0e} to {high:.0e}" if world else f"at most {high:.0e}, the world's"
    sentence = f"{whose} of {_amount(total)} {MUSD} is not of the usual size ({usual}): {guess}"
    return AuditFinding("unit_scale", "blocking", False, total, high if total > high else low, MUSD, None, sentence)


def _orientation(a: _Accounts) -> AuditFinding:
    """Compares the gaps with those that ``Z`` transposed would leave; ``(sum|row| + sum|column|) / (2 sum OUT)``."""
    whole = 2 * a.output or 1.0
    gap = float(np.abs(a.row_gap).sum() + np.abs(a.column_gap).sum()) / whole
    swapped_rows = a.columns + a.final - a.table.OUT
    swapped_columns = a.rows + a.table.TLS + a.table.VA - a.table.OUT
    swapped = float(np.abs(swapped_rows).sum() + np.abs(swapped_columns).sum()) / whole
    turned = gap > a.limits.balance_relative and swapped <= a.limits.transposed_gap * gap
    if turned:
        sentence = (
            f"Z is transposed (rows buy from columns): as it stands rows and columns miss {_percent(gap)} of output, "
            f"with rows and columns of Z swapped {_percent(swapped)}"
        )
    else:
        sentence = (
            f"Z is not transposed: rows and columns miss {_percent(gap)} of output, swapped they would miss "
            f"{_percent(swapped)}"
        )
    worst = a.names[int(np.argmax(np.abs(a.row_gap)))] if turned else None
    return AuditFinding("orientation", "blocking", not turned, gap, a.limits.balance_relative, SHARE, worst, sentence)


# ---------------------------------------------------------------- balance


def _worst(gap: Floats, allowed: Floats) -> int:
    """The place with the largest gap beyond what is allowed."""
    return int(np.argmax(np.abs(gap) - allowed))


def _row_balance(a: _Accounts) -> AuditFinding:
    at = _worst(a.row_gap, a.row_allowed)
    out = np.abs(a.row_gap) > a.row_allowed
    gap, allowed = abs(float(a.row_gap[at])), float(a.row_allowed[at])
    sentence = (
        f"{_out_of(int(out.sum()), len(out), 'rows')} out of balance; the worst is {a.names[at]}: "
        f"deliveries of {_amount(float(a.rows[at]))} and final demand of "
        f"{_amount(float(a.final[at]))} miss output of {_amount(float(a.table.OUT[at]))} {MUSD} by {_amount(gap)} "
        f"({_amount(allowed)} allowed)"
    )
    if exchanged := _exchanged(a, out):
        sentence += f"; the labels of {' and '.join(exchanged)} look exchanged between rows and columns"
    elif out.any():
        sentence += _other_scale(a, {"deliveries": a.rows, "final demand": a.final}, a.row_allowed)
    return AuditFinding("row_balance", "blocking", not out.any(), gap, allowed, MUSD, a.names[at], sentence)


def _other_scale(a: _Accounts, blocks: dict[str, Floats], allowed: Floats) -> str:
    """Words on the block that has another unit, if the table would balance with it brought to the unit of the rest."""
    whole, output = np.sum(list(blocks.values()), axis=0), a.table.OUT
    for factor in (1e3, 1e6):
        for block, figures in [*blocks.items(), ("output", -output)]:
            for times, word in ((1 / factor, "divided"), (factor, "multiplied")):
                gap = whole - output + figures * (times - 1.0)
                if (np.abs(gap) <= allowed * max(times, 1.0)).all():
                    return f"; it would balance with {block} {word} by {factor:,.0f}"
    return ""


def _exchanged(a: _Accounts, out: npt.NDArray[np.bool_]) -> list[str]:
    """The rows that are out, if their sums are each other's outputs: then only the labels are in disorder."""
    at = np.flatnonzero(out)
    if not 2 <= at.size <= 12:
        return []
    sums, outputs = np.sort((a.rows + a.final)[at]), np.sort(a.table.OUT[at])
    allowed = a.limits.balance_relative * np.abs(outputs) + float(a.row_allowed[at].min())
    return [a.names[k] for k in at] if (np.abs(sums - outputs) <= allowed).all() else []


def _column_balance(a: _Accounts) -> AuditFinding:
    at = _worst(a.column_gap, a.column_allowed)
    out = np.abs(a.column_gap) > a.column_allowed
    gap, allowed = abs(float(a.column_gap[at])), float(a.column_allowed[at])
    taxes = f", taxes of {_amount(float(a.table.TLS[at]))}" if a.table.has_tls else ""
    sentence = (
        f"{_out_of(int(out.sum()), len(out), 'columns')} out of balance; the worst is {a.names[at]}: inputs of "
        f"{_amount(float(a.columns[at]))}{taxes} and value added of {_amount(float(a.table.VA[at]))} miss output of "
        f"{_amount(float(a.table.OUT[at]))} {MUSD} by {_amount(gap)} ({_amount(allowed)} allowed)"
    )
    if out.any():
        blocks = {"inputs": a.columns, "taxes": a.table.TLS, "value added": a.table.VA}
        sentence += _other_scale(a, blocks, a.column_allowed)
    return AuditFinding("column_balance", "blocking", not out.any(), gap, allowed, MUSD, a.names[at], sentence)


def _output_stated_twice(a: _Accounts) -> AuditFinding:
    stated = a.table.out_column
    if stated is None:
        sentence = "output stands once, as a row: nothing to compare it with"
        return AuditFinding("output_stated_twice", "blocking", True, None, None, MUSD, None, sentence)
    gap = stated - a.table.OUT
    at, out = _worst(gap, a.row_allowed), np.abs(gap) > a.row_allowed
    value, allowed = abs(float(gap[at])), float(a.row_allowed[at])
    sentence = f"output is the same in the last row and the last column to {_amount(value)} {MUSD}"
    if out.any():
        sentence = (
            f"output of {a.names[at]} is {_amount(float(a.table.OUT[at]))} in the last row and "
            f"{_amount(float(stated[at]))} {MUSD} in the last column; "
            f"{_out_of(int(out.sum()), len(out), 'industries')} so stated"
        )
    return AuditFinding("output_stated_twice", "blocking", not out.any(), value, allowed, MUSD, a.names[at], sentence)


def _gdp_identity(a: _Accounts) -> AuditFinding:
    final, income = float(a.final.sum()), float(a.table.VA.sum() + a.table.TLS.sum())
    base = max(abs(income), abs(final))
    gap = abs(final - income) / base if base > 0 else 0.0
    sentence = (
        f"final demand adds up to {_amount(final)}, value added and taxes on inputs to {_amount(income)} {MUSD}: "
        f"{_percent(gap)} apart ({_percent(a.limits.gdp_gap)} allowed)"
    )
    if min(final, income) > 0 and base > 10 * min(final, income):
        larger, smaller = ("final demand", "value added") if final > income else ("value added", "final demand")
        sentence += f"; {larger} is {base / min(final, income):,.0f} times {smaller}"
    passed = gap <= a.limits.gdp_gap
    return AuditFinding("gdp_identity", "blocking", passed, gap, a.limits.gdp_gap, SHARE, None, sentence)


def _precision(a: _Accounts) -> AuditFinding:
    """The largest gap in relation to the output of its industry, of those that have output."""
    limit = a.limits.precision_relative
    alive = a.table.OUT > 0
    if not alive.any():
        sentence = "no industry has output: there is no gap in relation to it"
        return AuditFinding("balance_precision", "warning", True, None, limit, SHARE, None, sentence)
    # What summing 4,000 doubles leaves is no gap of the table.
    dust = 1e-13 * a.output
    missing = [
        np.where(alive & (np.abs(gap) > dust), np.abs(gap), 0.0) / np.where(alive, a.table.OUT, 1.0)
        for gap in (a.row_gap, a.column_gap)
    ]
    side = int(missing[1].max() > missing[0].max())
    at = int(np.argmax(missing[side]))
    gap, value = (a.row_gap, a.column_gap)[side], float(missing[side][at])
    whole = float(np.abs(a.row_gap).sum() + np.abs(a.column_gap).sum()) / (2 * a.output)
    sentence = (
        f"the largest gap in relation to output is {_percent(value)}, in {('row', 'column')[side]} {a.names[at]} "
        f"({_amount(abs(float(gap[at])))} of {_amount(float(a.table.OUT[at]))} {MUSD}); all gaps together are "
        f"{_percent(whole)} of output"
        if value
        else "rows and columns balance to the last digits"
    )
    return AuditFinding("balance_precision", "warning", value <= limit, value, limit, SHARE, a.names[at], sentence)


# ---------------------------------------------------------------- signs and output


def _output_sign(a: _Accounts) -> AuditFinding:
    """Negative output, and output of 0 with inputs, value added or customers: ``A = Z / x`` would lose them."""
    t = a.table
    moved = np.maximum(np.maximum(np.abs(a.rows + a.final), np.abs(a.columns + t.TLS)), np.abs(t.VA))
    lost = np.where(t.OUT > 0, 0.0, np.where(t.OUT < 0, np.abs(t.OUT), moved))
    allowed = np.where(t.OUT < 0, 0.0, a.row_allowed)
    out = lost > allowed
    at = int(np.argmax(np.where(out, lost, -1.0))) if out.any() else int(np.argmax(lost))
    value, limit = float(lost[at]), float(allowed[at])
    if not out.any():
        idle = int((t.OUT == 0).sum())
        sentence = "every industry has output"
        if idle:
            sentence = (
                f"no output is negative; the {idle:,} industries without output have inputs and customers of at most "
                f"{_amount(value)} {MUSD}"
            )
        return AuditFinding("output_sign", "blocking", True, value, limit, MUSD, None, sentence)
    if t.OUT[at] < 0:
        what = f"output of {a.names[at]} is negative ({_amount(float(t.OUT[at]))} {MUSD})"
    else:
        what = (
            f"{a.names[at]} has no output but inputs of {_amount(float(a.columns[at]))}, value added of "
            f"{_amount(float(t.VA[at]))} and sales of {_amount(float(a.rows[at] + a.final[at]))} {MUSD}"
        )
    sentence = f"{what}; {_out_of(int(out.sum()), len(out), 'industries')} so"
    return AuditFinding("output_sign", "blocking", False, value, limit, MUSD, a.names[at], sentence)


def _negative_cells(a: _Accounts) -> tuple[float, int, str | None, float]:
    """(share of all deliveries, how many, the worst cell, its amount)."""
    z = a.table.Z
    if a.smallest >= 0:
        return 0.0, 0, None, 0.0
    negative = z < 0
    amount = -float(z[negative].sum())
    row, column = (int(k) for k in np.unravel_index(int(np.argmin(z)), z.shape))
    total = float(np.abs(z).sum())
    return amount / total, int(negative.sum()), f"{a.names[row]} to {a.names[column]}", float(z[row, column])


def _negative_deliveries(a: _Accounts) -> AuditFinding:
    share, count, where, worst = _negative_cells(a)
    limit = a.limits.negative_inputs_share
    sentence = (
        f"{count:,} {'delivery is' if count == 1 else 'deliveries are'} negative, {_percent(share)} of all; the lowest "
        f"is {where} with {_amount(worst)} {MUSD}"
        if count
        else "no delivery between industries is negative"
    )
    return AuditFinding("negative_deliveries", "blocking", share <= limit, share, limit, SHARE, where, sentence)


def _small_negative_deliveries(a: _Accounts) -> AuditFinding:
    _, count, where, worst = _negative_cells(a)
    sentence = (
        f"{count:,} {'delivery is' if count == 1 else 'deliveries are'} negative; the lowest is {where} with "
        f"{_amount(worst)} {MUSD}: shares of those "
        "industries may leave 0 to 1"
        if count
        else "no delivery between industries is negative"
    )
    return AuditFinding(
        "small_negative_deliveries", "warning", count == 0, float(count), 0.0, "deliveries", where, sentence
    )


def _final_demand_sign(a: _Accounts) -> AuditFinding:
    """Negative final demand outside the components that may be negative (inventories)."""
    t = a.table
    free = t.layout.may_be_negative if t.layout is not None else ("INVNT",)
    at = [k for k, (_, component) in enumerate(t.final_labels) if component not in free]
    y = t.Y[:, at]
    count = int((y < 0).sum()) if y.size else 0
    excused = ", ".join(free) or "none"
    if not count:
        sentence = f"no final demand is negative (inventories may be: {excused})"
        return AuditFinding("final_demand_sign", "warning", True, 0.0, 0.0, "cells", None, sentence)
    row, column = (int(k) for k in np.unravel_index(int(np.argmin(y)), y.shape))
    where = f"{a.names[row]} to {_name(t.final_labels[at[column]])}"
    sentence = (
        f"{count:,} cells of final demand are negative outside {excused}, {_amount(float(y[y < 0].sum()))} {MUSD} "
        f"together; the lowest is {where} with {_amount(float(y[row, column]))}"
    )
    return AuditFinding("final_demand_sign", "warning", False, float(count), 0.0, "cells", where, sentence)


def _country_value_added(a: _Accounts) -> AuditFinding:
    t = a.table
    least: tuple[float, str] | None = None
    bad: list[str] = []
    for country, at in _by_country(t.labels).items():
        output = float(t.OUT[at].sum())
        if output <= 0:
            continue
        share = float(t.VA[at].sum()) / output
        bad += [country] if share <= 0 else []
        least = min(least, (share, country)) if least else (share, country)
    if least is None:
        sentence = "no country has output: nothing to compare value added with"
        return AuditFinding("country_value_added", "blocking", True, None, 0.0, SHARE, None, sentence)
    share, country = least
    sentence = f"value added of {country} is {_percent(share)} of its output, the lowest of all countries"
    if bad:
        sentence += f"; it must be above 0 and is not in {len(bad)} countr{'y' if len(bad) == 1 else 'ies'}"
    return AuditFinding("country_value_added", "blocking", not bad, share, 0.0, SHARE, country, sentence)


def _value_added_sign(a: _Accounts) -> AuditFinding:
    t = a.table
    surplus = t.VA - t.OUT
    below = t.VA < 0
    above = (surplus > a.column_allowed) & (t.OUT > 0)
    count = int((below | above).sum())
    if not count:
        sentence = "value added of every industry lies between 0 and its output"
        return AuditFinding("value_added_sign", "warning", True, 0.0, 0.0, "industries", None, sentence)
    excess = np.where(below, -t.VA, np.where(above, surplus, 0.0))
    at = int(np.argmax(excess))
    sentence = (
        f"value added is negative in {int(below.sum()):,} and above output in {int(above.sum()):,} of {len(t.VA):,} "
        f"industries; the worst is {a.names[at]} with {_amount(float(t.VA[at]))} at an output of "
        f"{_amount(float(t.OUT[at]))} {MUSD}"
    )
    return AuditFinding("value_added_sign", "warning", False, float(count), 0.0, "industries", a.names[at], sentence)


def _value_added_share(a: _Accounts) -> AuditFinding:
    low, high = a.limits.value_added_low, a.limits.value_added_high
    if a.output == 0:
        sentence = "the table has no output: there is no share of value added"
        return AuditFinding("value_added_share", "warning", False, None, low, SHARE, None, sentence)
    share = float(a.table.VA.sum()) / a.output
    sentence = f"value added is {_percent(share)} of output (usual: {_percent(low)} to {_percent(high)})"
    limit = high if share > high else low
    return AuditFinding("value_added_share", "warning", low <= share <= high, share, limit, SHARE, None, sentence)


def _idle(a: _Accounts) -> AuditFinding:
    t = a.table
    idle = t.OUT == 0
    share = float(idle.mean())
    still = [country for country, at in _by_country(t.labels).items() if idle[at].all()]
    passed = share <= a.limits.idle_share and not still
    sentence = f"{int(idle.sum()):,} of {len(idle):,} industries have no output: their indicators are null"
    if still:
        sentence += f"; nothing at all is made in {', '.join(still[:5])}{' and others' if len(still) > 5 else ''}"
    where = still[0] if still else (a.names[int(np.argmax(idle))] if idle.any() else None)
    return AuditFinding("idle_industries", "warning", passed, share, a.limits.idle_share, SHARE, where, sentence)


# ---------------------------------------------------------------- productivity


def _self_feeding(a: _Accounts) -> AuditFinding:
    t = a.table
    alive = t.OUT > 0
    own = np.where(alive, np.diagonal(t.Z) / np.where(alive, t.OUT, 1.0), 0.0)
    at, limit = int(np.argmax(own)), a.limits.self_feeding
    count = int((own >= limit).sum())
    sentence = (
        f"of its own product {a.names[at]} uses {_percent(float(own[at]))} of its output, the most of all industries"
    )
    if count:
        sentence = (
            f"{count:,} industr{'y feeds only itself' if count == 1 else 'ies feed only themselves'}: {a.names[at]} "
            f"uses {_amount(float(t.Z[at, at]))} of its output of {_amount(float(t.OUT[at]))} {MUSD} itself"
        )
    return AuditFinding("self_feeding", "blocking", not count, float(own[at]), limit, SHARE, a.names[at], sentence)


def _spectral(a: _Accounts) -> AuditFinding:
    found = spectral_radius(a.table.Z, a.table.OUT, int(a.limits.spectral_rounds))
    if found.below_one:
        sentence = f"the spectral radius of A = Z / OUT is about {found.value:.4g}, certainly at most {found.upper:.7g}"
    else:
        sentence = (
            f"the spectral radius of A = Z / OUT is about {found.value:.4g} and not below 1: inputs behind an output "
            "never add up; some industries together buy as much of each other as they make"
        )
    return AuditFinding("spectral_radius", "blocking", found.below_one, found.value, 1.0, "ratio", None, sentence)


# ---------------------------------------------------------------- completeness and time


def _tax_row(a: _Accounts) -> AuditFinding:
    t = a.table
    expected = t.layout is None or t.layout.tls_row is not None or t.layout.tls_suffix is not None
    if t.has_tls:
        share = float(t.TLS.sum()) / a.output if a.output else 0.0
        sentence = f"taxes less subsidies on inputs are {_percent(share)} of output"
        return AuditFinding("tax_row", "warning", True, share, None, SHARE, None, sentence)
    sentence = "no row of taxes less subsidies: taken as 0" + ("" if expected else ", as this layout has none")
    return AuditFinding("tax_row", "warning", not expected, None, None, None, None, sentence)


def _completeness(a: _Accounts) -> AuditFinding:
    """Regions, industries and final demand columns against the layout and against each other."""
    t = a.table
    layout, countries, industries = t.layout, t.countries, t.industries
    missing: list[str] = []
    held = layout is not None and not t.synthetic
    if layout is not None and held:
        for number, expected, what in (
            (len(countries), layout.regions, "regions"),
            (len(industries), layout.industries, "industries"),
        ):
            if expected is not None and number != expected:
                missing.append(f"{number} {what} where a complete table of {layout.edition} has {expected}")
    have = set(t.labels)
    holes = [(c, i) for c in countries for i in industries if (c, i) not in have]
    if holes:
        missing.append(f"{len(holes)} industries are not there, e.g. {_name(holes[0])}")
    buyers = {country for country, _ in t.final_labels}
    if silent := [c for c in countries if c not in buyers]:
        missing.append(f"no final demand of {', '.join(silent[:3])}{' and others' if len(silent) > 3 else ''}")
    if layout is not None:
        components = {component for _, component in t.final_labels}
        if absent := [c for c in layout.final_demand if c not in components]:
            missing.append(f"no column of final demand {', '.join(absent)}")
    if missing:
        sentence = "; ".join(missing)
    else:
        why = "" if held else " (made up: not held against the layout's numbers)" if t.synthetic else ""
        sentence = f"{len(countries)} regions with the same {len(industries)} industries each{why}"
    where = _name(holes[0]) if holes else None
    return AuditFinding("completeness", "warning", not missing, float(len(missing)), 0.0, "gaps", where, sentence)


def _year_on_year(a: _Accounts, previous: IcioTable) -> AuditFinding:
    """Change of each country's output against an earlier table, as a ratio per year (above 1 either way)."""
    t = a.table
    years = max(abs(t.year - previous.year), 1)
    before = {c: float(previous.OUT[at].sum()) for c, at in _by_country(previous.labels).items()}
    worst: tuple[float, str, float, float] | None = None
    for country, at in _by_country(t.labels).items():
        now, then = float(t.OUT[at].sum()), before.get(country, 0.0)
        if now <= 0 or then <= 0:
            continue
        ratio = (max(now, then) / min(now, then)) ** (1 / years)
        if worst is None or ratio > worst[0]:
            worst = (ratio, country, then, now)
    limit = a.limits.year_factor
    if worst is None:
        sentence = f"no country has output both in {previous.year} and in {t.year}"
        return AuditFinding("year_on_year", "warning", False, None, limit, "ratio per year", None, sentence)
    ratio, country, then, now = worst
    sentence = (
        f"output of {country} goes from {_amount(then)} in {previous.year} to {_amount(now)} {MUSD} in {t.year}, the "
        f"largest change: a factor of {ratio:.3g} a year"
    )
    return AuditFinding("year_on_year", "warning", ratio <= limit, ratio, limit, "ratio per year", country, sentence)
