"""The nowcast: direct indicators over the last twelve months of reconciled UN Comtrade flows, ahead of BACI.

Belongs here: which months make a window, whether enough of them is reported, and how the figures of a window extend
the yearly ones. Does not belong here: the formulas (:mod:`ketenpipe.risk.direct`; a window takes the place of the
year) and the reconciliation of the two partners' reports (``ketenpipe.sources``).

Rules of a window
-----------------
* A window is a calendar year of annual flows (frequency A) or twelve months on end (M), and ends in every period that
  the table holds. A bloc has the members of the year in which the window ends.
* **Months.** A window in which a month is absent for everybody has null figures, reason ``window_incomplete``.
* **Reports.** A flow is known when one of the two partners has reported its month; it is lost when neither has. The
  months of a pair that are lost are estimated at the mean of its known ones: ``reported_share`` = known trade /
  (known + lost trade). For C2 that is the trade of the whole world in all products. For the other indicators it is the
  imports of the focus: the smaller of the share of the product and the share of all products (the second sees pairs
  that have gone silent for the whole window, by what they traded in the year before it). For S2 it is the smaller of
  the two. Who never reports is no loss: the partners' reports stand for it. Below :data:`LEAST_REPORTED` (half a
  month's trade is lost, the window no longer rounds to twelve months) a figure is null, reason ``window_incomplete``.
* **Who reported.** The reason of every figure of the focus says so where the focus itself has reported only some of
  the months (``focus reported 10 of 12 months``, a bloc: ``members reported 320 of 324 months``) or none of them
  (``mirror_only``). ``mirror_share`` is the share of its imports that only the exporters reported.
* **Governance.** WGI come out about a year late: G2 and G3 take the scores of the year in which the window ends, else
  of the latest year before it, at most :data:`OLDEST_GOVERNANCE` years back; the reason names the year.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ketenpipe.chain.catalogue import Reference
from ketenpipe.chain.engine import Engine
from ketenpipe.chain.flows import KEYS, as_seen_by, imports_by_origin, total_or_null
from ketenpipe.chain.tracing import focus_members
from ketenpipe.errors import InputRefused, WrongUse
from ketenpipe.risk.definitions import INDICATORS, METHOD_VERSION
from ketenpipe.risk.direct import EU27, direct_indicators
from ketenpipe.risk.products import mass_coverage
from ketenpipe.risk.thresholds import Limit, Thresholds
from ketenpipe.tables.registry import INDICATORS as INDICATOR_TABLE
from ketenpipe.tables.registry import NOWCAST, NOWCAST_CHECK

BASIS = "reconciled_comtrade"
MONTHS = 12
LEAST_REPORTED = 11.5 / 12
"""Share of the trade that must be known: with half a month lost, a window no longer rounds to twelve months."""
OLDEST_GOVERNANCE = 3
"""Years back from which governance scores may be taken; they move slowly, and come out about a year late."""
MOSTLY_MIRROR = 0.5
"""Share of the imports known from the exporters only, above which the confidence of a figure is low."""
DIRECT = ("M", "C1", "C2", "C4a", "C5", "S1", "S1b", "S2", "G2", "G3")
GOVERNED = ("G2", "G3")

_ELSEWHERE = "elsewhere"
_BATCH_ROWS = 6_000_000
_PERIOD = {"A": re.compile(r"\d{4}"), "M": re.compile(r"\d{4}-(0[1-9]|1[0-2])")}
_TABLE = {"A": "reconciled_annual", "M": "reconciled_monthly"}
_PLACE = ["focus", "hs_revision", "code"]
_SERIES = ["focus", "hs_revision", "year"]


# -- windows -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Window:
    """Twelve months of one HS revision.

    Args:
        revision: HS revision.
        frequency: A or M.
        last: the last month, counted from year 0 (``12 * year + month - 1``).
        held: the periods of the window that the table holds.
    """

    revision: str
    frequency: str
    last: int
    held: tuple[str, ...]

    @property
    def year(self) -> int:
        """The calendar year in which the window ends."""
        return self.last // MONTHS

    @property
    def number(self) -> int:
        """What stands in the formulas' column ``year``: 202609 for the window that ends in 2026-09."""
        return self.year * 100 + self.last % MONTHS + 1

    @property
    def start(self) -> str:
        """First month, e.g. 2025-10."""
        return _month(self.last - MONTHS + 1)

    @property
    def end(self) -> str:
        """Last month, e.g. 2026-09."""
        return _month(self.last)

    @property
    def months(self) -> int:
        """Months that hold any flow; an annual flow holds twelve."""
        return MONTHS if self.frequency == "A" else len(self.held)

    @property
    def complete(self) -> bool:
        """Whether every month holds flows."""
        return self.months == MONTHS


def _month(count: int) -> str:
    return f"{count // MONTHS:04d}-{count % MONTHS + 1:02d}"


def _count(period: str) -> int:
    """The last month of a period, counted from year 0."""
    year, _, month = period.partition("-")
    return int(year) * MONTHS + (int(month) if month else MONTHS) - 1


def windows_of(frequency: str, periods: Mapping[str, Collection[str]], newest: int | None = None) -> list[Window]:
    """The windows that end in the periods that a table holds, oldest first.

    Args:
        frequency: A or M.
        periods: HS revision -> periods that hold flows.
        newest: keep the newest so many per revision; None keeps all.
    """
    out = []
    for revision in sorted(periods):
        held = sorted(periods[revision])
        for period in held[-newest:] if newest else held:
            last = _count(period)
            inside = (period,) if frequency == "A" else tuple(p for p in held if last - MONTHS < _count(p) <= last)
            out.append(Window(revision, frequency, last, inside))
    return sorted(out, key=lambda w: (w.last, w.revision))


# -- from months to what the windows need ---------------------------------------------------------------------


@dataclass
class _Months:
    """Reconciled flows, each period summed once to what the foci need.

    ``flows`` holds per period ``hs_revision, code, exporter, importer, mirror, v, q, v_with_q``; importers that belong
    to no focus are one, since only what is exported to them in all is needed.
    """

    frequency: str
    flows: dict[str, list[pa.Table]] = field(default_factory=dict)
    pairs: list[pd.DataFrame] = field(default_factory=list)
    codes: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    vintages: dict[str, set[str]] = field(default_factory=dict)

    def add(self, table: pa.Table, importers: Collection[str]) -> None:
        """Take in a table of contract ``reconciled_annual`` or ``reconciled_monthly`` (any part of it)."""
        if not table.num_rows:
            return
        form = "year like 2024" if self.frequency == "A" else "month like 2026-09"
        for period in table.column("period").unique().to_pylist():
            if not _PERIOD[self.frequency].fullmatch(period):
                raise InputRefused(
                    f"the period {period!r} is no {form}",
                    where=f"table {_TABLE[self.frequency]}, column period",
                    todo="annual and monthly flows are two tables",
                )
        with Engine() as engine:
            rows = engine.frame("reconciled", table).filter(nw.col("exporter") != nw.col("importer"))
            kept = nw.col("importer").is_in(sorted(importers))
            named = rows.select(
                "period", "hs_revision", "code", "exporter", "sides",
                importer=nw.when(kept).then(nw.col("importer")).otherwise(nw.lit(_ELSEWHERE)),
                mirror=kept & (nw.col("sides") == "exporter"),
                v=nw.col("value_kusd"),
                q=nw.col("tonnes"),
                v_with_q=nw.when(~nw.col("tonnes").is_null()).then(nw.col("value_kusd")),
            )  # fmt: skip
            keys = ["period", "hs_revision", "code", "exporter", "importer", "mirror"]
            summed = engine.keep(
                named.group_by(*keys).agg(nw.col("v").sum(), total_or_null("q").alias("q"), nw.col("v_with_q").sum())
            ).to_native()
            flows = _money(summed.to_arrow_table(), "v", "v_with_q")
            for period in flows.column("period").unique().to_pylist():
                self.flows.setdefault(period, []).append(flows.filter(pc.equal(flows.column("period"), period)))
            pairs = rows.group_by("period", "exporter", "importer", "sides").agg(
                v=nw.col("value_kusd").sum().cast(nw.Float64)
            )
            self.pairs.append(engine.pandas(pairs))
            for period, revision, code in _distinct(flows, "period", "hs_revision", "code"):
                self.codes.setdefault((period, revision), set()).add(code)
            for period, vintage in _distinct(table, "period", "vintage"):
                self.vintages.setdefault(period, set()).update(vintage.split("; "))

    @property
    def periods(self) -> dict[str, set[str]]:
        """HS revision -> periods."""
        out: dict[str, set[str]] = {}
        for period, revision in self.codes:
            out.setdefault(revision, set()).add(period)
        return out

    def of(self, periods: Iterable[str]) -> pa.Table:
        """The flows of these periods."""
        return pa.concat_tables([part for p in sorted(set(periods)) for part in self.flows[p]])

    def rows(self, window: Window) -> int:
        """How many rows the flows of a window's periods have."""
        return sum(part.num_rows for p in window.held for part in self.flows[p])

    def codes_of(self, window: Window) -> list[str]:
        """The codes that anybody trades in a window."""
        return sorted(set().union(*(self.codes[p, window.revision] for p in window.held)))

    def vintage(self, window: Window) -> str:
        """The vintages behind a window; of more than three the first, the last and their number."""
        found = sorted(set().union(*(self.vintages[p] for p in window.held)))
        told = ", ".join(found) if len(found) <= 3 else f"{found[0]} to {found[-1]} ({len(found)} vintages)"
        return f"reconciled comtrade {told}"


def _money(table: pa.Table, *names: str) -> pa.Table:
    """The columns as DECIMAL(18,3) again; a sum makes them wider, and wide decimals are slow to sum."""
    for name in names:
        narrow = pc.cast(table.column(name), pa.decimal128(18, 3))
        table = table.set_column(table.column_names.index(name), name, narrow)
    return table


def _distinct(table: pa.Table, *names: str) -> Iterator[tuple[str, ...]]:
    found = table.select(list(names)).group_by(list(names), use_threads=False).aggregate([])
    return zip(*(found.column(n).to_pylist() for n in names), strict=True)


# -- who has reported what ------------------------------------------------------------------------------------


class Reporting:
    """Which trade of a window is known, from who has reported which period.

    A country has reported a period when a flow of it rests on the country's own report, or when ``reported`` says so.

    Args:
        frequency: A or M.
        pairs: ``period, exporter, importer, sides, v``: trade of each pair of countries in all products.
        reported: ``period, reporter`` of the datasets that were read, whatever they hold; None: what the flows show.
    """

    def __init__(self, frequency: str, pairs: pd.DataFrame, reported: pa.Table | None = None) -> None:
        when, self.periods = pd.factorize(pairs["period"], sort=True)
        both, self.countries = pd.factorize(pd.concat([pairs["exporter"], pairs["importer"]]), sort=True)
        exporter, importer = np.split(both, 2)
        self._frequency = frequency
        self._at = {p: k for k, p in enumerate(self.periods)}
        self._index = {c: k for k, c in enumerate(self.countries)}
        self._trade = np.zeros((len(self.periods), len(self.countries), len(self.countries)))
        np.add.at(self._trade, (when, exporter, importer), pairs["v"].to_numpy(dtype=float))
        self._reported = np.zeros((len(self.countries), len(self.periods)), dtype=bool)
        sides = pairs["sides"].to_numpy(dtype=object)
        by_exporter, by_importer = sides != "importer", sides != "exporter"
        self._reported[exporter[by_exporter], when[by_exporter]] = True
        self._reported[importer[by_importer], when[by_importer]] = True
        if reported is not None:
            for period, reporter in _distinct(reported, "period", "reporter"):
                if period in self._at and reporter in self._index:
                    self._reported[self._index[reporter], self._at[period]] = True

    def months(self, countries: Iterable[str], window: Window) -> tuple[int, int]:
        """In how many periods of the window the countries reported themselves, of how many in all."""
        at = self._span(window)
        held = [self._reported[self._index[c], at].sum() if c in self._index else 0 for c in countries]
        return int(sum(held)), len(at) * len(held)

    def shares(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """Per exporter and importer: the part of the window in which one of them reported, and a period's usual trade.

        ``known[i,j] = periods of the window with a report of i or j / periods``; ``usual[i,j]`` is the mean trade of a
        reported period, of the window and the year before it.
        """
        inside = self._span(window)
        last = window.last - MONTHS
        before = [k for p, k in self._at.items() if last - MONTHS < _count(p) <= last]
        around = sorted({*inside, *before})
        known = self._either(inside) / len(inside)
        seen = self._either(around)
        usual = np.divide(self._trade[around].sum(axis=0), seen, out=np.zeros_like(known), where=seen > 0)
        np.fill_diagonal(usual, 0.0)
        return known, usual

    def reported_share(self, window: Window, members: Collection[str] | None = None) -> float | None:
        """``sum usual known / sum usual`` over all pairs, or over the imports of ``members`` from others.

        None where there is no such trade.
        """
        known, usual = self.shares(window)
        if members is not None:
            inside = np.array([c in members for c in self.countries])
            usual = np.where(inside[None, :] & ~inside[:, None], usual, 0.0)
        whole = usual.sum()
        return float((usual * known).sum() / whole) if whole > 0 else None

    def partly_known(self, window: Window, importers: Collection[str]) -> pd.DataFrame:
        """``exporter, importer, known`` of the pairs that have lost some periods of the window."""
        known, _ = self.shares(window)
        wanted = np.array([c in importers for c in self.countries])
        others = ~np.eye(len(self.countries), dtype=bool)
        i, j = np.nonzero((known > 0) & (known < 1) & wanted[None, :] & others)
        names = np.array(self.countries, dtype=object)
        return pd.DataFrame({"exporter": names[i], "importer": names[j], "known": known[i, j]})

    def _span(self, window: Window) -> list[int]:
        return [self._at[p] for p in window.held]

    def _either(self, at: list[int]) -> np.ndarray:
        """Number of these periods in which one country or the other reported."""
        silent = (~self._reported[:, at]).astype(float)
        return len(at) - silent @ silent.T


# -- the table ------------------------------------------------------------------------------------------------


def build_nowcast(
    monthly: pa.Table | Iterable[pa.Table] | None,
    annual: pa.Table | Iterable[pa.Table] | None,
    country_risk: pa.Table,
    reference: Reference,
    foci: tuple[str, ...],
    thresholds: Thresholds,
    *,
    reported: pa.Table | None = None,
    newest: int | None = None,
    progress: Callable[[str], None] | None = None,
) -> pa.Table:
    """Direct indicators of every focus and HS6 code over every window (contract ``nowcast``).

    M, C1, C2, C4a, C5, S1, S1b (EU27), S2, G2 and G3 as :func:`ketenpipe.risk.direct.direct_indicators` has them,
    on flows summed over the window: ``X_W[i,j] = sum_{t in W} X_t[i,j]``, in thousand USD (v) and tonnes (q). The top
    supplier stands in ``country`` of C1. The rules of a window stand at the head of this module.

    Args:
        monthly: table ``reconciled_monthly``, or its parts one by one (only sums of them are kept in memory); None
            without such a source.
        annual: table ``reconciled_annual``, likewise.
        country_risk: table ``country_risk``; empty: no G2, G3.
        reference: for the blocs.
        foci: countries and blocs.
        thresholds: cut-offs; none of them changes a value here.
        reported: ``period, reporter`` of the datasets that were read, also where they hold none of the codes (rows of
            ``comtrade_availability`` that have been fetched). Without it a country counts as having reported a period
            in which any flow rests on its own report; with flows of a few codes only that is less than was reported.
        newest: keep only the newest so many windows of each frequency and HS revision.
        progress: called with a word per step.

    Raises:
        InputRefused: a period that is no year or no month.
        WrongUse: ``newest`` below 1.
    """
    if newest is not None and newest < 1:
        raise WrongUse(f"the number of windows must be at least 1, not {newest}")
    say = progress or (lambda _: None)
    parts = [NOWCAST.empty()]
    for frequency, given in (("A", annual), ("M", monthly)):
        if given is None:
            continue
        months = _Months(frequency)
        importers = _importers(reference, foci)
        for table in [given] if isinstance(given, pa.Table) else given:
            months.add(table, importers)
        if not months.pairs:
            continue
        reporting = Reporting(frequency, pd.concat(months.pairs, ignore_index=True), reported)
        months.pairs.clear()
        windows = windows_of(frequency, months.periods, newest)
        governance = _Governance(country_risk, sorted({w.year for w in windows}))
        if lacking := [w for w in windows if not w.complete]:
            parts += [_unknown(lacking, months, focus, governance) for focus in foci]
        for batch in _batches([w for w in windows if w.complete], months):
            say(f"nowcast {batch[0].start} to {batch[-1].end}")
            parts += _batch(batch, months, reporting, governance, reference, foci, thresholds, importers)
    return NOWCAST.conform(pa.concat_tables(parts))


def _importers(reference: Reference, foci: tuple[str, ...]) -> set[str]:
    """The countries whose imports are needed one by one: the foci and whoever was ever a member of one."""
    blocs = {row.iso3 for row in reference.blocs if row.bloc in foci}
    return blocs | {f for f in foci if f not in reference.bloc_names}


def _batches(windows: list[Window], months: _Months) -> Iterator[list[Window]]:
    """Windows that are computed together: as many as fit into the memory of one batch."""
    batch: list[Window] = []
    rows = 0
    for window in windows:
        more = months.rows(window)
        if batch and rows + more > _BATCH_ROWS:
            yield batch
            batch, rows = [], 0
        batch.append(window)
        rows += more
    if batch:
        yield batch


class _Governance:
    """Which governance scores stand for a window."""

    def __init__(self, country_risk: pa.Table, years: list[int]) -> None:
        scored = country_risk.filter(pc.is_valid(country_risk.column("risk"))).to_pandas()
        held = sorted({int(y) for y in scored["year"]})
        self.there = country_risk.num_rows > 0
        self.used: dict[int, int] = {}
        for year in years:
            usable = [y for y in held if year - OLDEST_GOVERNANCE <= y <= year]
            if usable:
                self.used[year] = usable[-1]
        self._scores = {int(y): rows for y, rows in scored.groupby("year")}

    def table(self, windows: list[Window]) -> pa.Table:
        """``country, year, risk`` with the window's number as year."""
        wanted = {w.number: self.used[w.year] for w in windows if w.year in self.used}
        parts = [self._scores[y][["country", "risk"]].assign(year=n) for n, y in sorted(wanted.items())]
        frame = pd.concat(parts) if parts else pd.DataFrame({"country": [], "risk": [], "year": []})
        schema = pa.schema([("country", pa.string()), ("year", pa.int32()), ("risk", pa.float64())])
        return pa.Table.from_pandas(frame, schema=schema, preserve_index=False)

    def vintage(self, window: Window) -> str:
        """Edition and year of the scores, empty where there are none."""
        year = self.used.get(window.year)
        return "" if year is None else f"; wgi {self._scores[year]['vintage'].iloc[0]}, year {year}"

    def note(self, window: Window) -> str | None:
        """What to know about the scores: the year they are of, where it is not the window's."""
        year = self.used.get(window.year)
        return None if year is None or year == window.year else f"governance of {year}"


def _members(reference: Reference, focus: str, windows: list[Window]) -> pa.Table | None:
    """``year, country`` of a bloc with the window's number as year, None for a country."""
    if focus not in reference.bloc_names:
        return None
    by_year = focus_members(reference, focus, sorted({w.year for w in windows}))
    rows = sorted({(w.number, c) for w in windows for c in by_year[w.year]})
    return pa.table({"year": pa.array([r[0] for r in rows], pa.int32()), "country": [r[1] for r in rows]})


def _batch(
    windows: list[Window],
    months: _Months,
    reporting: Reporting,
    governance: _Governance,
    reference: Reference,
    foci: tuple[str, ...],
    thresholds: Thresholds,
    importers: set[str],
) -> list[pa.Table]:
    """The rows of complete windows, one table per focus."""
    places = pa.table(
        {
            "hs_revision": [w.revision for w in windows for _ in w.held],
            "year": pa.array([w.number for w in windows for _ in w.held], pa.int32()),
            "period": [p for w in windows for p in w.held],
        }
    )
    gaps = pd.concat([reporting.partly_known(w, importers).assign(year=w.number) for w in windows])
    gaps = gaps.drop_duplicates(["year", "exporter", "importer"])
    out = []
    with Engine() as engine:
        held = engine.frame("months", months.of(p for w in windows for p in w.held))
        inside = held.join(engine.frame("places", places), on=["hs_revision", "period"], how="inner")
        by = ["hs_revision", "year", "code", "exporter", "importer"]
        sums = [nw.col("v").sum(), total_or_null("q").alias("q"), nw.col("v_with_q").sum()]
        flows = engine.keep(inside.group_by(*by).agg(*sums))
        mirrored = engine.keep(inside.filter(nw.col("mirror")).group_by(*by).agg(*sums))
        whole = None
        if len(gaps):
            schema = pa.schema([("exporter", pa.string()), ("importer", pa.string()), ("known", pa.float64()),
                                ("year", pa.int32())])  # fmt: skip
            known = engine.frame("known", pa.Table.from_pandas(gaps, schema=schema, preserve_index=False))
            bought = flows.filter(nw.col("importer") != _ELSEWHERE)
            whole = engine.keep(
                bought.join(known, on=["year", "exporter", "importer"], how="left")
                .with_columns(v=nw.col("v").cast(nw.Float64) / nw.col("known").fill_null(1.0))
                .drop("known")
            )
        risk = engine.frame("risk", governance.table(windows)) if governance.there else None
        union = engine.frame(
            "union_members", pa.table({"country": sorted(reference.bloc_members(EU27, windows[-1].year))})
        )
        for focus in foci:
            table = _members(reference, focus, windows)
            members = None if table is None else engine.frame(f"members_{focus}", table)
            found = direct_indicators(engine, flows, members, union, risk, focus, thresholds)
            found.insert(0, "focus", focus)
            found["coverage"] = found["coverage"].where(found["coverage"].notna(), mass_coverage(found))
            found = found[found["indicator"].isin(DIRECT)]
            for name, frame in (("mirrored", mirrored), ("whole", whole)):
                found[name] = np.nan
                if frame is not None:
                    bought = imports_by_origin(as_seen_by(frame, members, focus), focus)
                    total = engine.pandas(bought.group_by(*KEYS).agg(nw.col("v").sum().cast(nw.Float64).alias(name)))
                    found = found.drop(columns=name).merge(total, on=KEYS, how="left")
            out.append(_told(found, windows, months, reporting, governance, reference, focus))
    return out


def _told(
    found: pd.DataFrame,
    windows: list[Window],
    months: _Months,
    reporting: Reporting,
    governance: _Governance,
    reference: Reference,
    focus: str,
) -> pa.Table:
    """The figures of one focus with what is known of their reports; null where too much of the trade is lost."""
    place = pd.MultiIndex.from_frame(found[["hs_revision", "year"]])
    by_window = pd.DataFrame(
        [_about(w, months, reporting, governance, reference, focus) for w in windows],
        index=pd.MultiIndex.from_tuples([(w.revision, w.number) for w in windows], names=["hs_revision", "year"]),
    )
    known = by_window.reindex(place).reset_index(drop=True)
    found = found.reset_index(drop=True)
    of_m = found[(found["indicator"] == "M") & (found["measure"] == "v")].set_index(KEYS)["value"].astype(float)
    imports = of_m.reindex(pd.MultiIndex.from_frame(found[KEYS])).to_numpy()
    bought = np.where(imports > 0, imports, np.nan)
    found["mirror_share"] = np.clip(found["mirrored"].fillna(0.0).to_numpy() / bought, 0.0, 1.0)
    of_code = np.where(found["whole"].notna(), bought / found["whole"].to_numpy(dtype=float), 1.0)
    of_focus = np.fmin(of_code, known["of_focus"].to_numpy(dtype=float))
    names = found["indicator"].to_numpy(dtype=object)
    governed = np.isin(names, GOVERNED)
    of_world = known["of_world"].to_numpy(dtype=float)
    shares = [of_world, np.fmin(of_world, of_focus)]
    found["reported_share"] = np.clip(np.select([names == "C2", names == "S2"], shares, of_focus), 0.0, 1.0)
    lost = found["reported_share"].to_numpy() < LEAST_REPORTED - 1e-9

    unscored = governed & known["unscored"].to_numpy(dtype=bool) & (found["reason"] == "no_governance_score")
    reason = found["reason"].astype(object).mask(unscored, "no_governance_data").mask(lost, "window_incomplete")
    reason = _joined(reason, known["scores_of"].where(governed & found["value"].notna() & ~lost, None))
    found["reason"] = _joined(reason, known["reporters"].where(found["indicator"] != "C2", None))
    for column in ("value", "coverage", "country_share"):
        found[column] = found[column].astype(float).mask(lost)
    found["country"] = found["country"].astype(object).mask(lost, None)
    found["source_vintage"] = known["vintage"] + known["wgi"].where(governed, "")
    for column in ("window_start", "window_end", "months"):
        found[column] = known[column]
    found["frequency"] = windows[0].frequency
    return _rows(found)


def _joined(first: pd.Series, second: pd.Series) -> pd.Series:
    """Two columns of reasons as one, ``a; b`` where both say something."""
    a, b = first.astype(object), second.astype(object)
    both = a.notna() & b.notna()
    out = a.where(a.notna(), b)
    out[both] = a[both] + "; " + b[both]
    return out.where(out.notna(), None)


def _about(
    window: Window,
    months: _Months,
    reporting: Reporting,
    governance: _Governance,
    reference: Reference,
    focus: str,
) -> dict[str, object]:
    """What one window says about all figures of a focus."""
    members = focus_members(reference, focus, [window.year])[window.year]
    world = reporting.reported_share(window)
    own = reporting.reported_share(window, members)
    reported, possible = reporting.months(sorted(members), window)
    who, unit = ("members" if len(members) > 1 else "focus"), ("years" if window.frequency == "A" else "months")
    note = None if reported == possible else f"{who} reported {reported} of {possible} {unit}"
    return {
        "window_start": window.start,
        "window_end": window.end,
        "months": window.months,
        "of_world": 1.0 if world is None else world,
        "of_focus": own if own is not None else 1.0 if world is None else world,
        "reporters": note if reported else "mirror_only",
        "vintage": months.vintage(window),
        "wgi": governance.vintage(window),
        "scores_of": governance.note(window),
        "unscored": window.year not in governance.used,
    }


def _unknown(windows: list[Window], months: _Months, focus: str, governance: _Governance) -> pa.Table:
    """The rows of windows that lack months: every figure null."""
    ids = [i for i in DIRECT if (i != "S1b" or focus == EU27) and (i not in GOVERNED or governance.there)]
    figures = pd.DataFrame(
        [(i, m, i in GOVERNED) for i in ids for m in ("v", "q")], columns=["indicator", "measure", "g"]
    )
    places = pd.concat(
        [
            pd.DataFrame({"code": months.codes_of(w)}).assign(
                hs_revision=w.revision, frequency=w.frequency, window_start=w.start, window_end=w.end,
                months=w.months, source_vintage=months.vintage(w), wgi=governance.vintage(w),
            )
            for w in windows
        ]
    )  # fmt: skip
    rows = places.merge(figures, how="cross")
    rows["source_vintage"] += rows["wgi"].where(rows["g"], "")
    return _rows(rows.assign(focus=focus, reason="window_incomplete"))


def _rows(frame: pd.DataFrame) -> pa.Table:
    """A frame as rows of the contract, constants and units filled in."""
    frame = frame.assign(level="hs6", basis=BASIS, method_version=METHOD_VERSION)
    unit = frame["indicator"].map({i: INDICATORS[i].unit for i in DIRECT}).astype(object)
    imports = frame["indicator"] == "M"
    frame["unit"] = unit.mask(imports, np.where(frame["measure"] == "q", "t", "thousand USD"))
    frame = frame.reindex(columns=NOWCAST.names)
    return pa.Table.from_pandas(frame, schema=NOWCAST.schema(), preserve_index=False)


# -- beside BACI ----------------------------------------------------------------------------------------------


def last_years(flows: pa.Table) -> dict[str, int]:
    """The last year of BACI per HS revision, from table ``baci_flows``."""
    by_revision = flows.select(["hs_revision", "year"]).group_by("hs_revision", use_threads=False)
    found = by_revision.aggregate([("year", "max")])
    return dict(zip(found.column("hs_revision").to_pylist(), found.column("year_max").to_pylist(), strict=True))


def nowcast_rows_for_indicators(nowcast: pa.Table, last_baci_year: Mapping[str, int]) -> pa.Table:
    """Rows of table ``indicators`` for the years after BACI's last (basis ``reconciled_comtrade``).

    Per focus, code and year one window: the latest that ends in the year and has imports (M by value) that are told,
    annual before monthly where both end in the same month; where none is told, the latest, with its nulls. The reason
    names the window (``twelve months to 2026-09``). Confidence is low where trade is missing or more than half of the
    imports are known from the exporters only, else medium: the reconciliation is not BACI's. ``method_value`` is null:
    the named methods are defined on BACI and read nothing of this basis.

    Args:
        nowcast: table ``nowcast``.
        last_baci_year: HS revision -> last year that BACI holds (:func:`last_years`); a revision that is not there has
            no series to extend and gives no rows.
    """
    year = pc.cast(pc.utf8_slice_codeunits(nowcast.column("window_end"), 0, 4), pa.int32())
    dated = nowcast.append_column("year", year)
    parts = [
        dated.filter(pc.and_(pc.equal(dated.column("hs_revision"), r), pc.greater(dated.column("year"), last)))
        for r, last in sorted(last_baci_year.items())
    ]
    if not sum(part.num_rows for part in parts):
        return INDICATOR_TABLE.empty()
    late = pa.concat_tables(parts)
    is_imports = pc.and_(pc.equal(late.column("indicator"), "M"), pc.equal(late.column("measure"), "v"))
    windows = late.filter(is_imports).select([*_PLACE, "year", "frequency", "window_end", "value"]).to_pandas()
    windows["told"], windows["annual"] = windows["value"].notna(), windows["frequency"] == "A"
    ranked = windows.sort_values(["told", "window_end", "annual"], kind="stable")
    chosen = ranked.drop_duplicates([*_PLACE, "year"], keep="last")
    keys = [*_PLACE, "frequency", "window_end"]
    rows = late.join(
        pa.Table.from_pandas(chosen[keys], schema=pa.schema([late.schema.field(k) for k in keys]),
                         preserve_index=False),
        keys=keys, join_type="left semi", use_threads=False,
    ).to_pandas()  # fmt: skip
    whole = rows["reported_share"].fillna(0.0) >= 1.0
    sure = whole & (rows["mirror_share"].fillna(0.0) <= MOSTLY_MIRROR)
    rows["confidence"] = np.where(sure, "medium", "low")
    rows["reason"] = _joined("twelve months to " + rows["window_end"], rows["reason"])
    rows["tier"] = 0
    return INDICATOR_TABLE.conform(rows[[c for c in INDICATOR_TABLE.names if c in rows]])


def splice_differences(nowcast: pa.Table, indicators: pa.Table) -> pd.DataFrame:
    """Each figure of annual reconciled flows beside BACI's, for the foci and years that both hold.

    Returns:
        ``focus, hs_revision, code, year, indicator, measure, baci, nowcast, country_baci, country_nowcast``; a figure
        that one side has not is NaN.
    """
    keys = [*_PLACE, "year", "indicator", "measure"]
    ours = nowcast.filter(pc.equal(nowcast.column("frequency"), "A")).select(
        [*_PLACE, "window_end", "indicator", "measure", "value", "country"]
    )
    left = ours.to_pandas()
    left["year"] = left.pop("window_end").str[:4].astype(int)
    theirs = pc.and_(
        pc.equal(indicators.column("level"), "hs6"),
        pc.is_in(indicators.column("basis"), pa.array(["imports", "exports"])),
    )
    theirs = pc.and_(theirs, pc.is_in(indicators.column("indicator"), pa.array(DIRECT)))
    right = indicators.filter(theirs).select([*keys, "value", "country"]).to_pandas()
    if left.empty or right.empty:
        return pd.DataFrame(columns=[*keys, "baci", "country_baci", "nowcast", "country_nowcast"])
    right["year"] = right["year"].astype(int)
    whole = right.rename(columns={"value": "baci", "country": "country_baci"}).merge(
        left.rename(columns={"value": "nowcast", "country": "country_nowcast"}), on=keys, how="outer"
    )
    for side in (left, right):
        whole = whole.merge(side[_SERIES].drop_duplicates(), on=_SERIES, how="inner")
    return whole


def splice_check(nowcast: pa.Table, indicators: pa.Table, thresholds: Thresholds | None = None) -> pa.Table:
    """How far annual reconciled flows lie from BACI, per focus, year and indicator (contract ``nowcast_check``).

    Over the codes for which both have a figure: median and 90th percentile of the difference (nowcast - BACI) and of
    the ratio (nowcast / BACI), for M also the ratio of the totals; the share of codes with the same country named (C1,
    S2: top supplier; C4a: top third country); with thresholds the share on the same side of the flag; the code that
    differs most. A median difference of 0 with few codes on another side says that recent months may be read like
    BACI's; codes that only one side has are counted.

    Args:
        nowcast: table ``nowcast``; only frequency A counts.
        indicators: table ``indicators`` with BACI's figures (basis imports or exports).
        thresholds: for ``same_side_share``; null without.
    """
    rows: list[dict[str, object]] = []
    pairs = splice_differences(nowcast, indicators)
    for key, part in pairs.groupby(["focus", "hs_revision", "year", "indicator", "measure"]):
        row = dict(zip(("focus", "hs_revision", "year", "indicator", "measure"), key, strict=True))
        both = part[part["baci"].notna() & part["nowcast"].notna()].sort_values("code")
        row |= {
            "codes": len(both),
            "only_baci": int((part["baci"].notna() & part["nowcast"].isna()).sum()),
            "only_nowcast": int((part["baci"].isna() & part["nowcast"].notna()).sum()),
        }
        if len(both):
            row |= _compared(both, str(row["indicator"]), _limit(thresholds, str(row["indicator"])))
        rows.append(row)
    return NOWCAST_CHECK.conform(rows)


def _limit(thresholds: Thresholds | None, indicator: str) -> Limit | None:
    named = {"C4a": "C4"}.get(indicator, indicator)
    found = None if thresholds is None else getattr(thresholds, named, None)
    return found if isinstance(found, Limit) else None


def _compared(both: pd.DataFrame, indicator: str, limit: Limit | None) -> dict[str, object]:
    baci, ours = both["baci"].to_numpy(dtype=float), both["nowcast"].to_numpy(dtype=float)
    difference = ours - baci
    # Where BACI's figure is 0 there is no ratio; imports are judged by their ratio, so a code of 0 is not the worst.
    ratio = np.divide(ours, baci, out=np.full(len(both), np.nan), where=baci > 0)
    off = np.abs(np.log(np.where(ratio > 0, ratio, np.nan))) if indicator == "M" else np.abs(difference)
    out: dict[str, object] = {
        "median_difference": float(np.median(difference)),
        "p90_difference": float(np.quantile(np.abs(difference), 0.9)),
        "median_ratio": float(np.nanmedian(ratio)) if np.isfinite(ratio).any() else None,
    }
    if np.isfinite(off).any():
        worst = int(np.nanargmax(off))
        out |= {"worst_code": both["code"].iloc[worst], "worst_baci": baci[worst], "worst_nowcast": ours[worst]}
    if indicator == "M" and baci.sum() > 0:
        out["total_ratio"] = float(ours.sum() / baci.sum())
    if limit is not None:
        out["same_side_share"] = float(np.mean(_flags(ours, limit) == _flags(baci, limit)))
    named = both["country_baci"].notna() & both["country_nowcast"].notna()
    if named.any():
        same = both.loc[named, "country_baci"].astype(str) == both.loc[named, "country_nowcast"].astype(str)
        out["same_country_share"] = float(same.mean())
    return out


def _flags(values: np.ndarray, limit: Limit) -> np.ndarray:
    """Strictly beyond the cut-off."""
    return values < limit.flag if limit.below else values > limit.flag
