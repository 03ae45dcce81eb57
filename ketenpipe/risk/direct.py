"""Direct indicators: C1, C2, C4a, C5, S1, S1b, S2, G2 and G3 of the import mix, for HS6 codes or nodes.

Belongs here: which sums over flows make which indicator. The sums themselves are lazy expressions of
:mod:`ketenpipe.chain.flows`; DuckDB runs them.
"""

from __future__ import annotations

from collections.abc import Iterable

import narwhals.stable.v2 as nw
import pandas as pd

from ketenpipe.chain.engine import Engine
from ketenpipe.chain.flows import (
    KEYS,
    alternative_capacity,
    concentration,
    exports_by_origin,
    imports_by_origin,
    internal_trade,
    largest,
    total_or_null,
    weighted_risk,
)
from ketenpipe.risk.thresholds import Thresholds

EU27 = "EU27"
#: Blocs whose internal trade is intra-EU as a whole; in any other bloc it may come from outside the EU27.
UNIONS = (EU27, "EU")
COLUMNS = [
    *KEYS, "indicator", "measure", "basis", "value", "method_value", "coverage", "country", "country_share", "reason",
]  # fmt: skip


def direct_indicators(
    engine: Engine,
    flows: nw.LazyFrame,
    members: nw.LazyFrame | None,
    union: nw.LazyFrame,
    risk: nw.LazyFrame | None,
    focus: str,
    thresholds: Thresholds,
    exports: nw.LazyFrame | None = None,
) -> pd.DataFrame:
    """All direct indicators of one focus for every product and year of the flows.

    * ``M = sum_i X[i,f]`` (bloc: from outside), thousand USD or tonnes
    * ``C1 = sum_i s_i^2`` over the origins of M
    * ``C2 = sum_i e_i^2`` over all exporters; a bloc is one exporter, its internal trade left out
    * ``C4a`` = largest origin outside f and outside the EU27, over M
    * ``C5`` = imports from outside the EU27 over all imports, those within the EU27 included; in a bloc that is no
      union, what members buy from members outside the EU27 counts as from outside
    * ``S1 = M / X`` of the focus; X = 0 < M: null, the sentinel stands in method_value
    * ``S1b`` (EU27): imports from outside over all exports, internal and external
    * ``S2`` = what others than the top supplier sell to others, over what the top supplier sells to f
    * ``G2``, ``G3`` of the import mix

    Args:
        engine: runs the expressions.
        flows: flow frame (codes may be nodes).
        members: ``year, country`` of a bloc, None for a country.
        union: ``country`` of the EU27.
        risk: ``country, year, risk``, None without governance data (then no G2, G3).
        focus: name of the focus.
        thresholds: for the sentinel of S1.
        exports: :func:`ketenpipe.chain.flows.exports_by_origin` of the same flows, kept, where several foci share it.

    Returns:
        Long frame with :data:`COLUMNS`; ``value`` null with a reason where a figure cannot be had.
    """
    exported = engine.keep(exports_by_origin(flows)) if exports is None else exports
    between = None
    if members is None:
        own = engine.keep(flows.filter((nw.col("importer") == focus) | (nw.col("exporter") == focus)))
        exports = exported
        imports = engine.keep(imports_by_origin(own, focus))
        internal = engine.keep(internal_trade(own, focus))
    else:
        # Only what members buy or sell changes where they become one trader; the rest of the world sells as before.
        sides = engine.keep(_sides(flows, members, focus))
        imports = engine.keep(sides.filter(nw.col("side") == "bought").drop("side"))
        of_bloc = sides.filter(nw.col("side") == "sold").drop("side")
        of_others = exported.join(members, on=["year", "country"], how="anti")
        exports = engine.keep(nw.concat([of_others.select(of_bloc.collect_schema().names()), of_bloc]))
        within = sides.filter(nw.col("side") == "inside").drop("side")
        internal = engine.keep(within.group_by(*KEYS).agg(*_sums()))
        if focus not in UNIONS:
            between = engine.keep(within.join(union, on="country", how="anti"))
    # Origins of a member country that lie within the EU27, needed for C4 and C5 of a single country.
    outside = engine.keep(imports.join(union, on="country", how="anti"))
    # Every product of the flows, also one that a country only sells to itself; the flows themselves are many.
    itself = flows.filter(nw.col("exporter") == nw.col("importer")).select(*KEYS).unique()
    grid = engine.pandas(nw.concat([exported.select(*KEYS).unique(), itself]).unique())
    parts: list[pd.DataFrame] = []
    for measure in ("v", "q"):
        total = _sum(engine, imports, measure, "imports")
        third = _sum(engine, outside, measure, "third")
        sold = _sum(engine, exports.filter(nw.col("country") == focus), measure, "exports")
        inside = _sum(engine, internal, measure, "inside")
        third_inside = None if between is None else _sum(engine, between, measure, "third_inside")
        c1 = engine.pandas(concentration(imports, measure)).rename(columns={"hhi": "C1"})
        c2 = engine.pandas(concentration(exports, measure)).rename(columns={"hhi": "C2"})
        top = engine.pandas(largest(outside, measure)).rename(columns={"top_weight": "top_third"})
        s2 = engine.pandas(alternative_capacity(imports, exports, focus, measure))
        wide = grid
        for frame in (
            total,
            third,
            sold,
            inside,
            *([] if third_inside is None else [third_inside]),
            c1[[*KEYS, "C1"]],
            c2[[*KEYS, "C2"]],
            top[[*KEYS, "top_third"]].assign(third_country=top["top"]),
            s2[[*KEYS, "s2", "top_weight"]].assign(supplier=s2["top"]),
        ):
            wide = wide.merge(frame, on=KEYS, how="left")
        parts += list(_from_wide(wide, measure, focus, thresholds))
        if risk is not None:
            planes = grid.merge(engine.pandas(weighted_risk(imports, risk, measure)), on=KEYS, how="left")
            for name, column in (("G2", "g2"), ("G3", "g3")):
                reason = planes["coverage"].map(lambda c: "no_governance_score" if c == c else "no_imports")
                parts.append(
                    _part(planes, name, measure, "imports", planes[column], reason=reason, coverage=planes["coverage"])
                )
    weighed = grid.merge(_sum(engine, imports, "v", "imports"), on=KEYS, how="left").merge(
        _sum(engine, imports, "v_with_q", "weighed"), on=KEYS, how="left"
    )
    lacking = (weighed["imports"] - weighed["weighed"].fillna(0.0)).round(3)
    share = lacking / weighed["imports"].where(weighed["imports"] > 0)
    parts.append(_part(weighed, "value_without_mass", "v", "imports", share.clip(0.0, 1.0), reason="no_imports"))
    out = pd.concat(parts, ignore_index=True)[COLUMNS]
    # Imports without any quantity are not the same as no imports.
    bought = pd.MultiIndex.from_frame(weighed.loc[weighed["imports"] > 0, KEYS])
    unweighed = (
        (out["measure"] == "q") & (out["reason"] == "no_imports") & pd.MultiIndex.from_frame(out[KEYS]).isin(bought)
    )
    out.loc[unweighed, "reason"] = "no_mass"
    nothing = (out["measure"] == "q") & (out["indicator"] == "M") & (out["reason"] == "no_imports")
    out.loc[nothing, ["value", "method_value"]] = 0.0
    out.loc[nothing, "reason"] = None
    return out


def _sides(flows: nw.LazyFrame, members: nw.LazyFrame, focus: str) -> nw.LazyFrame:
    """What a bloc buys from others, sells to others, and trades within, in one look at the flows.

    Returns:
        ``hs_revision, year, code, side, country, v, q, v_with_q``: side bought (country: the seller), sold (country:
        the bloc) or inside (country: the selling member).
    """
    marked = flows
    for place in ("exporter", "importer"):
        held = members.select("year", nw.col("country").alias(place), nw.lit(1).alias(f"{place}_in"))
        marked = marked.join(held, on=["year", place], how="left")
    sells, buys = nw.col("exporter_in") == 1, nw.col("importer_in") == 1
    within = marked.filter(sells | buys).select(
        *KEYS,
        "v",
        "q",
        "v_with_q",
        side=nw.when(sells & buys)
        .then(nw.lit("inside"))
        .otherwise(nw.when(buys).then(nw.lit("bought")).otherwise(nw.lit("sold"))),
        country=nw.when(buys).then(nw.col("exporter")).otherwise(nw.lit(focus)),
    )
    return within.group_by(*KEYS, "side", "country").agg(*_sums())


def _sums() -> list[nw.Expr]:
    return [
        nw.col("v").sum().alias("v"),
        total_or_null("q").cast(nw.Float64).alias("q"),
        nw.col("v_with_q").sum().alias("v_with_q"),
    ]


def _sum(engine: Engine, mix: nw.LazyFrame, measure: str, name: str) -> pd.DataFrame:
    """Total of a measure per product, money summed exactly (as decimals) before it becomes a float."""
    frame = mix.filter(nw.col(measure) > 0).group_by(*KEYS).agg(nw.col(measure).sum().cast(nw.Float64).alias(name))
    return engine.pandas(frame)


def _from_wide(wide: pd.DataFrame, measure: str, focus: str, thresholds: Thresholds) -> Iterable[pd.DataFrame]:
    imports = wide["imports"]
    bought = imports.notna()
    yield _part(wide, "M", measure, "imports", imports.fillna(0.0) if measure == "v" else imports, reason="no_imports")
    largest_share = wide["top_weight"] / imports
    yield _part(
        wide, "C1", measure, "imports", wide["C1"], reason="no_imports", country=wide["supplier"],
        country_share=largest_share,
    )  # fmt: skip
    yield _part(wide, "C2", measure, "exports", wide["C2"], reason="no_exports_in_the_world")
    yield _part(
        wide,
        "C4a",
        measure,
        "imports",
        (wide["top_third"].fillna(0.0) / imports).where(bought),
        reason="no_imports",
        country=wide["third_country"],
        country_share=wide["top_third"] / imports,
    )
    everything = imports.fillna(0.0) + wide["inside"].fillna(0.0)
    extra = wide["third"].fillna(0.0)
    if "third_inside" in wide:
        extra = extra + wide["third_inside"].fillna(0.0)
    yield _part(
        wide,
        "C5",
        measure,
        "imports",
        (extra / everything.where(everything > 0)),
        reason="no_imports",
    )
    sold = wide["exports"]
    ratio = imports.fillna(0.0) / sold.where(sold > 0)
    reason = pd.Series("no_imports_no_exports", index=wide.index).where(~bought, "no_exports")
    published = ratio.where(ratio.notna() | ~bought, thresholds.S1.sentinel)
    yield _part(wide, "S1", measure, "imports", ratio, reason=reason, method_value=published)
    if focus == EU27:
        all_sold = sold.fillna(0.0) + wide["inside"].fillna(0.0)
        cdi3 = imports.fillna(0.0) / all_sold.where(all_sold > 0)
        published = cdi3.where(cdi3.notna() | ~bought, thresholds.S1.sentinel)
        yield _part(wide, "S1b", measure, "imports", cdi3, reason=reason, method_value=published)
    yield _part(
        wide, "S2", measure, "exports", wide["s2"], reason="no_imports", country=wide["supplier"],
        country_share=largest_share,
    )  # fmt: skip


def _part(
    wide: pd.DataFrame,
    indicator: str,
    measure: str,
    basis: str,
    value: pd.Series,
    *,
    reason: str | pd.Series,
    method_value: pd.Series | None = None,
    coverage: pd.Series | None = None,
    country: pd.Series | None = None,
    country_share: pd.Series | None = None,
) -> pd.DataFrame:
    out = wide[KEYS].copy()
    out["indicator"], out["measure"], out["basis"] = indicator, measure, basis
    out["value"] = pd.to_numeric(value).astype(float)
    out["method_value"] = out["value"] if method_value is None else method_value.astype(float)
    out["coverage"] = None if coverage is None else coverage.astype(float)
    out["country"] = None if country is None else country.astype(object)
    out["country_share"] = None if country_share is None else country_share.clip(0.0, 1.0)
    named = pd.Series(reason, index=out.index, dtype=object) if isinstance(reason, str) else reason.astype(object)
    out["reason"] = named.where(out["value"].isna(), None)
    return out
