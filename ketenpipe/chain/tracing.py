"""Step one for every product: supply mix, production with its basis, origin tracing.

Belongs here: from tables of flows and production to tables of origins. The linear algebra stands in
:mod:`ketenpipe.chain.matrices`, sums over flows in :mod:`ketenpipe.chain.flows`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
import pyarrow as pa
from threadpoolctl import threadpool_limits

from ketenpipe.chain.catalogue import Reference
from ketenpipe.chain.engine import Engine
from ketenpipe.chain.flows import as_seen_by, flow_frame, imports_by_origin
from ketenpipe.chain.matrices import balance_production, consumption, trace_origins, weighted_row
from ketenpipe.tables.registry import ORIGIN_MIX, PRODUCTION, SUPPLY_MIX, TRACING

UNKNOWN = "UNK"
_ISO3 = re.compile(r"[A-Z][A-Z0-9]{2}", re.ASCII)
SMALL_MASS_TONNES = 100.0
PRECIOUS_KUSD_PER_TONNE = 1000.0
IMPUTED_SHARE_LOW_CONFIDENCE = 0.10
MEASURES = ("q", "v")


@dataclass(frozen=True)
class Tracing:
    """Tables of step one: production, origin_mix, tracing, supply_mix (contracts of the registry)."""

    production: pa.Table
    origin_mix: pa.Table
    tracing: pa.Table
    supply_mix: pa.Table


@dataclass(frozen=True)
class Statistic:
    """Production of one code and year: basis, quantity per listed country (NaN: listed without a figure)."""

    basis: str
    quantities: dict[str, float]


def focus_members(reference: Reference, focus: str, years: list[int]) -> dict[int, frozenset[str]]:
    """The countries that a focus stands for in each year: itself, or the bloc's members of that year.

    Raises:
        WrongUse: neither a country's code nor a bloc, or a bloc that has no members in one of the years: its imports
            would be 0 where there is nothing to import.
    """
    if focus in reference.bloc_names or not _ISO3.fullmatch(focus):
        reference.check_blocs((focus,), years)
        return {year: reference.bloc_members(focus, year) for year in years}
    return {year: frozenset((focus,)) for year in years}


def members_table(reference: Reference, focus: str, years: list[int]) -> pa.Table | None:
    """``year, country`` of a bloc, None for a single country (nothing to merge)."""
    if focus not in reference.bloc_names:
        return None
    rows = [(y, c) for y, cs in focus_members(reference, focus, years).items() for c in sorted(cs)]
    return pa.table({"year": pa.array([r[0] for r in rows], pa.int32()), "country": pa.array([r[1] for r in rows])})


def production_statistic(
    reference: Reference, mining: pd.DataFrame | None, hs_revision: str, code: str, year: int
) -> Statistic | None:
    """The production that a code's tracing may use, the first that exists: observed, then producer list.

    Observed only where the statistic measures the same form (``production_links.csv``, same_form) in tonnes;
    a producer list only with quantities in tonnes whose source was read. None: the export proxy.
    """
    link = reference.production_link(code, hs_revision)
    if link is not None and link.same_form and mining is not None:
        rows = mining[(mining["material"] == link.material) & (mining["year"] == year)]
        if len(rows) and rows["tonnes"].notna().any():
            return Statistic("observed", dict(zip(rows["country"], rows["tonnes"].astype(float), strict=True)))
    figures = [
        f
        for f in reference.producer_list(code, hs_revision, year)
        if f.quantity is not None and f.unit == "t" and f.citation_status == "read"
    ]
    if figures:
        return Statistic("producer_list", {f.country: float(f.quantity or 0.0) for f in figures})
    return None


def build_tracing(
    flows: pa.Table,
    mining: pa.Table | None,
    reference: Reference,
    foci: tuple[str, ...],
    progress: Callable[[str], None] | None = None,
) -> Tracing:
    """Trace every product of every year to where it was made, and keep what the foci and the catalogue need.

    ``O = diag(1/x) (I - A)^-1 diag(p)`` per product, year and measure (see
    :func:`ketenpipe.chain.matrices.trace_origins`). A bloc's row is its members' rows weighted by apparent
    consumption ``max(0, supply - exports)``.

    Args:
        flows: table ``baci_flows``.
        mining: table ``mining_production``, None without such a source.
        reference: catalogue, production links, non-producers, blocs.
        foci: countries and blocs.
        progress: called with a word per year.
    """
    years = sorted({int(y) for y in flows.column("year").unique().to_pylist()})
    members = {f: focus_members(reference, f, years) for f in foci}
    statistics = None if mining is None or not mining.num_rows else mining.to_pandas()
    kept = {
        (revision, code)
        for revision in flows.column("hs_revision").unique().to_pylist()
        for node in reference.nodes
        for code in reference.codes(node, revision)
    }
    by_year = {} if statistics is None else {int(y): part for y, part in statistics.groupby("year")}
    collected = _Collected()
    with threadpool_limits(limits=1):
        for revision, code, year, frame in _products(flows, progress):
            _trace_product(collected, reference, by_year.get(year), members, kept, revision, code, year, frame)
    direct = _direct_mix(flows, reference, foci, years)
    tracing = _with_direct(pd.DataFrame(collected.tracing), direct)
    return Tracing(
        production=PRODUCTION.conform(collected.production.frame(PRODUCTION.names)),
        origin_mix=ORIGIN_MIX.conform(collected.origins.frame(ORIGIN_MIX.names)),
        tracing=TRACING.conform(tracing[[c for c in TRACING.names if c in tracing]]),
        supply_mix=SUPPLY_MIX.conform(_supply_mix(direct, collected.rows.frame(_ROW_COLUMNS))),
    )


_ROW_COLUMNS = ["focus", "hs_revision", "code", "year", "measure", "country", "share"]


class _Blocks:
    """Rows collected block by block: columns that are constant within a block, and arrays."""

    def __init__(self) -> None:
        self._constants: list[dict[str, object]] = []
        self._arrays: list[dict[str, np.ndarray]] = []

    def add(self, constants: dict[str, object], arrays: dict[str, np.ndarray]) -> None:
        self._constants.append(constants)
        self._arrays.append(arrays)

    def frame(self, names: list[str]) -> pd.DataFrame:
        """All rows as one frame with these columns."""
        if not self._arrays:
            return pd.DataFrame(columns=names)
        lengths = [len(next(iter(block.values()))) for block in self._arrays]
        columns: dict[str, np.ndarray] = {}
        for name in names:
            if name in self._arrays[0]:
                columns[name] = np.concatenate([block[name] for block in self._arrays])
            else:
                values = np.array([block[name] for block in self._constants], dtype=object)
                columns[name] = np.repeat(values, lengths)
        return pd.DataFrame(columns)


class _Collected:
    def __init__(self) -> None:
        self.production = _Blocks()
        self.origins = _Blocks()
        self.tracing: list[dict[str, object]] = []
        self.rows = _Blocks()


def _products(flows: pa.Table, progress: Callable[[str], None] | None) -> Iterator[tuple[str, str, int, pd.DataFrame]]:
    columns = ["hs_revision", "year", "code", "exporter", "importer", "value_kusd", "tonnes"]
    years = sorted({int(y) for y in flows.column("year").unique().to_pylist()})
    for year in years:
        if progress:
            progress(str(year))
        mask = pa.compute.equal(flows.column("year"), year)
        part = flows.filter(mask).select(columns)
        frame = part.set_column(5, "value_kusd", part.column("value_kusd").cast(pa.float64())).to_pandas()
        # Arrow-backed strings are slow where they are touched one by one.
        frame = frame.astype({"exporter": object, "importer": object})
        for (revision, code), rows in frame.groupby(["hs_revision", "code"], sort=True, observed=True):
            yield str(revision), str(code), year, rows


def _trace_product(
    out: _Collected,
    reference: Reference,
    mining: pd.DataFrame | None,
    members: dict[str, dict[int, frozenset[str]]],
    kept: set[tuple[str, str]],
    revision: str,
    code: str,
    year: int,
    rows: pd.DataFrame,
) -> None:
    statistic = production_statistic(reference, mining, revision, code, year)
    barred = reference.non_producer_countries(code, revision)
    # Reference data decide (METHOD 1): a listed non-producer makes 0; that a statistic says otherwise is noted.
    contradicted = [] if statistic is None else [c for c in sorted(barred) if statistic.quantities.get(c, 0.0) > 0]
    names = sorted({*rows["exporter"], *rows["importer"], *(statistic.quantities if statistic is not None else ())})
    index = {c: k for k, c in enumerate(names)}
    non_producer = np.array([c in barred for c in names])
    labels = np.array([*names, UNKNOWN], dtype=object)
    product: dict[str, object] = {"hs_revision": revision, "code": code, "year": year}
    sender = np.array([index[c] for c in rows["exporter"].to_numpy()])
    receiver = np.array([index[c] for c in rows["importer"].to_numpy()])
    values, masses = rows["value_kusd"].to_numpy(dtype=float), rows["tonnes"].to_numpy(dtype=float)
    has_mass = masses > 0
    median = float(np.median(values[has_mass] / masses[has_mass])) if has_mass.any() else float("nan")
    inside_by_focus = {f: np.array([c in by_year[year] for c in names]) for f, by_year in members.items()}
    for measure in MEASURES:
        taken = has_mass if measure == "q" else np.ones(len(rows), dtype=bool)
        amounts = masses if measure == "q" else values
        x = np.zeros((len(names), len(names)))
        x[sender[taken], receiver[taken]] = amounts[taken]
        used = statistic if measure == "q" else None
        quantities = listed = None
        if used is not None:
            quantities = np.array([used.quantities.get(c, np.nan) for c in names], dtype=float)
            listed = np.array([c in used.quantities for c in names])
        production = balance_production(x, quantities, listed, non_producer)
        traced = trace_origins(x, production)
        eaten = consumption(x, traced.supply)
        basis = used.basis if used is not None else "export_proxy"
        if (revision, code) in kept:
            active = traced.supply > 0
            out.production.add(
                {**product, "measure": measure, "basis": basis},
                {
                    "country": labels[:-1][active],
                    "production": production.made[active],
                    "unknown_origin": production.unknown[active],
                    "imputed": production.imputed[active],
                    "supply": traced.supply[active],
                    "exports": x.sum(axis=1)[active],
                },
            )
            if measure == "q":
                j, c = np.nonzero(np.nan_to_num(traced.origins) > 0)
                out.origins.add(
                    product,
                    {"country": labels[j], "origin": labels[c], "share": np.minimum(traced.origins[j, c], 1.0)},
                )
        for focus, by_year in members.items():
            inside = inside_by_focus[focus]
            held = traced.supply[inside]
            record: dict[str, object] = {
                "focus": focus,
                "hs_revision": revision,
                "code": code,
                "year": year,
                "measure": measure,
                "basis": basis,
                "row_residual": traced.residual,
                "median_unit_value": median,
                "supply": float(held.sum()),
                "consumption": float(eaten[inside].sum()),
            }
            if contradicted and measure == "q":
                record["reason"] = f"the statistic gives production to listed non-producers: {' '.join(contradicted)}"
            out.tracing.append(record)
            if not held.sum() > 0:
                record["reason"] = "no_supply"
                continue
            single = len(by_year[year]) == 1
            weights = held if single else eaten[inside]
            row = weighted_row(traced.origins[inside], weights)
            record["dropped_member_share"] = float(held[~(weights > 0)].sum() / held.sum())
            if row is None:
                record["reason"] = "no_member_consumes"
                continue
            imputed = np.append(production.imputed, 0.0)
            record["own_share"] = float(row[:-1][inside].sum())
            record["unknown_share"] = float(row[-1])
            record["imputed_share"] = float(row @ imputed)
            nonzero = np.flatnonzero(row > 0)
            out.rows.add(
                {**product, "focus": focus, "measure": measure},
                {"country": labels[nonzero], "share": np.minimum(row[nonzero], 1.0)},
            )


def _direct_mix(flows: pa.Table, reference: Reference, foci: tuple[str, ...], years: list[int]) -> pd.DataFrame:
    frames = []
    with Engine() as engine:
        base = flow_frame(engine.frame("flows", flows))
        for focus in foci:
            members = members_table(reference, focus, years)
            lazy = None if members is None else engine.frame(f"members_{focus}", members)
            imports = imports_by_origin(as_seen_by(base, lazy, focus), focus)
            frames.append(engine.pandas(imports.with_columns(focus=nw.lit(focus))))
    mix = pd.concat(frames, ignore_index=True)
    keys = ["focus", "hs_revision", "code", "year"]
    totals = mix.groupby(keys)[["v", "q"]].transform("sum", min_count=1)
    mix["share_direct"] = mix["v"] / totals["v"].where(totals["v"] > 0)
    mix["share_direct_q"] = mix["q"] / totals["q"].where(totals["q"] > 0)
    mix = mix.sort_values([*keys, "v", "country"], ascending=[True, True, True, True, False, True])
    mix["rank"] = mix.groupby(keys).cumcount() + 1
    return mix.reset_index(drop=True)


def _with_direct(tracing: pd.DataFrame, direct: pd.DataFrame) -> pd.DataFrame:
    """Add what the direct imports say: value without mass, small or precious, confidence."""
    keys = ["focus", "hs_revision", "code", "year"]
    totals = direct.groupby(keys, as_index=False)[["v", "q", "v_with_q"]].sum(min_count=0)
    late = ["dropped_member_share", "own_share", "unknown_share", "imputed_share", "reason"]
    held = tracing.reindex(columns=[*tracing.columns, *(c for c in late if c not in tracing)])
    out = held.merge(totals, on=keys, how="left")
    value = out["v"].where(out["v"] > 0)
    out["value_without_mass"] = ((value - out["v_with_q"]).round(3) / value).clip(0.0, 1.0)
    precious = out["median_unit_value"] > PRECIOUS_KUSD_PER_TONNE
    small = out["q"].fillna(0.0) < SMALL_MASS_TONNES
    out["small_or_precious"] = precious | small
    unsure = (out["imputed_share"] > IMPUTED_SHARE_LOW_CONFIDENCE) | out["small_or_precious"]
    partly = out["value_without_mass"].fillna(0.0) > IMPUTED_SHARE_LOW_CONFIDENCE
    out["confidence"] = np.where(unsure, "low", np.where(partly, "medium", "high"))
    untraced = out["imputed_share"].isna()
    out["confidence"] = out["confidence"].astype(object).where(~untraced, None)
    return out


def _supply_mix(direct: pd.DataFrame, traced: pd.DataFrame) -> pd.DataFrame:
    keys = ["focus", "hs_revision", "code", "year", "country"]
    wide = traced.pivot_table(index=keys, columns="measure", values="share", aggfunc="sum", observed=True)
    wide = wide.reindex(columns=list(MEASURES)).reset_index()
    wide = wide.rename(columns={"q": "share_traced", "v": "share_traced_v"})
    renamed = direct.rename(columns={"v": "value_kusd", "q": "tonnes"})
    merged = renamed.merge(wide, on=keys, how="outer")
    # Where the row was traced, an origin that does not appear in it holds 0 of it; elsewhere it is unknown.
    for column, measure in (("share_traced", "q"), ("share_traced_v", "v")):
        done = traced.loc[traced["measure"] == measure, keys[:-1]].drop_duplicates().assign(done=True)
        known = merged[keys[:-1]].merge(done, on=keys[:-1], how="left")["done"].notna().to_numpy()
        merged[column] = merged[column].where(merged[column].notna() | ~known, 0.0)
    return merged[SUPPLY_MIX.names]
