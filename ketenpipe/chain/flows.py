"""Formulas on flows, as Narwhals expressions on lazy frames: DuckDB runs them, Polars runs the same ones.

Belongs here: what is summed or divided over bilateral flows (supply mix, concentration, import and export
totals). Does not belong here: matrices (see tracing) and anything about risk.

A *flow frame* has the columns ``hs_revision, year, code, exporter, importer, v, q, v_with_q``: ``v`` thousand USD,
``q`` tonnes or null, ``v_with_q`` the value of what has a quantity. ``code`` may stand for a node instead of an HS6
code: the formulas do not care.
"""

from __future__ import annotations

from collections.abc import Sequence

import narwhals.stable.v2 as nw

KEYS = ["hs_revision", "year", "code"]
"""What identifies a product in a year."""


def flow_frame(flows: nw.LazyFrame) -> nw.LazyFrame:
    """Flows of the registry's ``baci_flows`` as a flow frame (v as exact decimal, q as float)."""
    return flows.select(
        "hs_revision",
        "year",
        "code",
        "exporter",
        "importer",
        nw.col("value_kusd").alias("v"),
        nw.col("tonnes").alias("q"),
        nw.when(~nw.col("tonnes").is_null()).then(nw.col("value_kusd")).alias("v_with_q"),
    )


def by_node(flows: nw.LazyFrame, node_codes: nw.LazyFrame) -> nw.LazyFrame:
    """Sum the flows of a node's codes: ``X_node[i,j] = sum_{k in node} X_k[i,j]``.

    Args:
        flows: flow frame on HS6 codes.
        node_codes: ``hs_revision, code, node``.
    """
    return (
        flows.join(node_codes, on=["hs_revision", "code"], how="inner")
        .drop("code")
        .rename({"node": "code"})
        .group_by("hs_revision", "year", "code", "exporter", "importer")
        .agg(nw.col("v").sum(), total_or_null("q").alias("q"), nw.col("v_with_q").sum())
    )


def total_or_null(name: str) -> nw.Expr:
    """Sum of a column, null where every value is null (a plain sum makes that 0 on some engines)."""
    return nw.when(nw.col(name).count() > 0).then(nw.col(name).sum()).otherwise(nw.lit(None))


def as_seen_by(flows: nw.LazyFrame, members: nw.LazyFrame | None, focus: str) -> nw.LazyFrame:
    """The same flows with a bloc's members merged into one trader called ``focus``.

    Rows with ``exporter == importer`` are what the members trade among themselves. A single country needs
    no merging (``members`` None).

    Args:
        flows: flow frame.
        members: ``year, country`` of the bloc in each year.
        focus: name of the bloc or country.
    """
    if members is None:
        return flows
    exporting = members.rename({"country": "exporter"}).with_columns(exporting=nw.lit(1))
    importing = members.rename({"country": "importer"}).with_columns(importing=nw.lit(1))
    joined = flows.join(exporting, on=["year", "exporter"], how="left").join(
        importing, on=["year", "importer"], how="left"
    )
    named = joined.with_columns(
        exporter=nw.when(nw.col("exporting") == 1).then(nw.lit(focus)).otherwise(nw.col("exporter")),
        importer=nw.when(nw.col("importing") == 1).then(nw.lit(focus)).otherwise(nw.col("importer")),
    )
    return named.group_by("hs_revision", "year", "code", "exporter", "importer").agg(
        nw.col("v").sum(), total_or_null("q").alias("q"), nw.col("v_with_q").sum()
    )


def _measures() -> list[nw.Expr]:
    return [
        nw.col("v").sum().alias("v"),
        total_or_null("q").cast(nw.Float64).alias("q"),
        nw.col("v_with_q").sum().alias("v_with_q"),
    ]


def imports_by_origin(seen: nw.LazyFrame, focus: str) -> nw.LazyFrame:
    """``M[i] = X[i, f]`` per origin outside the focus: ``hs_revision, year, code, country, v, q, v_with_q``."""
    into = seen.filter((nw.col("importer") == focus) & (nw.col("exporter") != focus))
    return into.group_by(*KEYS, "exporter").agg(*_measures()).rename({"exporter": "country"})


def exports_by_origin(seen: nw.LazyFrame) -> nw.LazyFrame:
    """``E[i] = sum_j X[i, j]`` per exporter, without what a bloc's members trade among themselves."""
    out = seen.filter(nw.col("exporter") != nw.col("importer"))
    return out.group_by(*KEYS, "exporter").agg(*_measures()).rename({"exporter": "country"})


def internal_trade(seen: nw.LazyFrame, focus: str) -> nw.LazyFrame:
    """What a bloc's members trade among themselves: ``hs_revision, year, code, v, q, v_with_q``."""
    inside = seen.filter((nw.col("importer") == focus) & (nw.col("exporter") == focus))
    return inside.group_by(*KEYS).agg(*_measures())


def concentration(mix: nw.LazyFrame, measure: str) -> nw.LazyFrame:
    """Herfindahl-Hirschman index of a mix: ``HHI = sum_i w_i^2 / (sum_i w_i)^2``.

    Rows without the measure are left out. No supply at all: the product is absent, not zero.

    Args:
        mix: ``hs_revision, year, code, country`` and weights.
        measure: name of the weight column.

    Returns:
        ``hs_revision, year, code, total, origins, hhi``; hhi lies within [1/origins, 1].
    """
    w = nw.col(measure).cast(nw.Float64)
    return (
        mix.filter(w > 0)
        .group_by(*KEYS)
        .agg(total=w.sum(), squares=(w * w).sum(), origins=w.count())
        .with_columns(hhi=nw.col("squares") / (nw.col("total") * nw.col("total")))
        .drop("squares")
    )


def largest(mix: nw.LazyFrame, measure: str) -> nw.LazyFrame:
    """The largest origin of a mix (the first in code order where two are equal).

    Returns:
        ``hs_revision, year, code, top, top_weight``.
    """
    w = nw.col(measure).cast(nw.Float64)
    usable = mix.filter(w > 0)
    top = usable.group_by(*KEYS).agg(top_weight=w.max())
    return (
        usable.join(top, on=KEYS, how="inner")
        .filter(w == nw.col("top_weight"))
        .group_by(*KEYS)
        .agg(top=nw.col("country").min(), top_weight=nw.col("top_weight").max())
    )


def alternative_capacity(imports: nw.LazyFrame, exports: nw.LazyFrame, focus: str, measure: str) -> nw.LazyFrame:
    """S2: what others than the largest supplier sell to others, over what the largest supplier sells to f.

    ``S2 = sum_{i != top, i not in f} (E[i] - M[i]) / M[top]``.

    Args:
        imports: of the focus, per origin (:func:`imports_by_origin`).
        exports: of every country, per origin (:func:`exports_by_origin`).
        focus: name of the focus in ``exports``.
        measure: v or q.

    Returns:
        ``hs_revision, year, code, top, alternative, top_weight, s2``.
    """
    top = largest(imports, measure)
    sold_to_focus = imports.select(*KEYS, "country", nw.col(measure).cast(nw.Float64).alias("to_focus"))
    others = (
        exports.filter((nw.col("country") != focus) & (nw.col(measure) > 0))
        .join(top, on=KEYS, how="inner")
        .filter(nw.col("country") != nw.col("top"))
        .join(sold_to_focus, on=[*KEYS, "country"], how="left")
        .with_columns(elsewhere=nw.col(measure).cast(nw.Float64) - nw.col("to_focus").fill_null(0.0))
        .group_by(*KEYS)
        .agg(alternative=nw.col("elsewhere").sum())
    )
    return (
        top.join(others, on=KEYS, how="left")
        .with_columns(alternative=nw.col("alternative").fill_null(0.0))
        .with_columns(s2=nw.col("alternative") / nw.col("top_weight"))
    )


def weighted_risk(mix: nw.LazyFrame, risk: nw.LazyFrame, measure: str) -> nw.LazyFrame:
    """G2 and G3 of a mix: ``sum s_i r_i`` over scored origins, renormalised, and ``10 * sum s_i^2 r_i``.

    Origins without a score are dropped: from G2 with the rest renormalised, from G3 without (a lower bound);
    ``coverage`` is the share of the mix that has a score.

    Args:
        mix: ``hs_revision, year, code, country`` and weights.
        risk: ``country, year, risk`` within [0, 1].
        measure: name of the weight column.

    Returns:
        ``hs_revision, year, code, coverage, g2, g3``; g2 null where nothing is scored.
    """
    w = nw.col(measure).cast(nw.Float64)
    usable = mix.filter(w > 0)
    totals = usable.group_by(*KEYS).agg(total=w.sum())
    scored = usable.join(risk.filter(~nw.col("risk").is_null()), on=["country", "year"], how="inner")
    sums = scored.group_by(*KEYS).agg(
        known=w.sum(), weighted=(w * nw.col("risk")).sum(), squares=(w * w * nw.col("risk")).sum()
    )
    known = nw.col("known")
    return (
        totals.join(sums, on=KEYS, how="left")
        .with_columns(
            coverage=known.fill_null(0.0) / nw.col("total"),
            g2=nw.when(known > 0).then(nw.col("weighted") / known),
            g3=nw.when(known > 0).then(10.0 * nw.col("squares") / (nw.col("total") * nw.col("total"))),
        )
        .select(*KEYS, "coverage", "g2", "g3")
    )


#: More traders than there are; what a trader's mark is counted in.
SLOTS = 4096
_THOUSANDTHS = 1000


def exact_squares(name: str) -> nw.Expr:
    """``sum x^2`` of a column of decimals with three places, exact: the same on any number of threads and every engine.

    Within 29 digits before the point, on the engine that has the fewest.
    """
    x = nw.col(name)
    # Six places before the product: an engine that keeps the places of its factors (Polars) then loses none.
    return (x.cast(nw.Decimal(38, 6)) * x).sum()


def exact_concentration(mix: nw.LazyFrame, measure: str, keys: Sequence[str] = KEYS) -> nw.LazyFrame:
    """:func:`concentration` of a measure in decimals: exact sums, one rounding at the end.

    Args:
        mix: the keys, ``country`` and weights in decimals with three places.
        measure: name of the weight column.
        keys: what identifies a mix; fewer columns are quicker.

    Returns:
        The keys and ``hhi``.
    """
    return (
        mix.filter(nw.col(measure) > 0)
        .group_by(*keys)
        .agg(total=nw.col(measure).sum().cast(nw.Float64), squares=exact_squares(measure).cast(nw.Float64))
        .select(*keys, hhi=nw.col("squares") / (nw.col("total") * nw.col("total")))
    )


def trader_marks(exports: nw.LazyFrame, union: nw.LazyFrame) -> nw.LazyFrame:
    """A number for every exporter, larger for those that come first in the alphabet, and whether it is in the union.

    Args:
        exports: any frame with the exporters in ``country``.
        union: ``country``.

    Returns:
        ``exporter, mark, inside``: mark within [0, :data:`SLOTS`), inside 1 or null.
    """
    names = exports.group_by("country").agg(flows=nw.len()).select("country")
    inside = union.select("country").with_columns(inside=nw.lit(1))
    return (
        names.join(inside, on="country", how="left")
        .with_row_index("place", order_by="country")
        .select(exporter="country", mark=nw.lit(SLOTS - 1) - nw.col("place").cast(nw.Int64), inside="inside")
    )


def sold_by_exporters(flows: nw.LazyFrame, keys: Sequence[str] = KEYS) -> nw.LazyFrame:
    """``E[i] = sum_j X[i, j]`` by value alone, exact: the keys, ``country, v`` (decimal), for those that sell."""
    out = flows.filter(nw.col("v") > 0, nw.col("exporter") != nw.col("importer"))
    return out.group_by(*keys, "exporter").agg(v=nw.col("v").sum()).rename({"exporter": "country"})


def supply_of_importers(flows: nw.LazyFrame, marks: nw.LazyFrame, keys: Sequence[str] = KEYS) -> nw.LazyFrame:
    """What every importer buys of every product, in one pass: total, squares, suppliers, the largest of them.

    The largest supplier is found as the largest of the whole numbers ``1000 v * SLOTS + mark``: of two that sell the
    same the one with the larger mark, the first in the alphabet. Flows below 10^12 thousand USD fit; a
    larger one is an error of the engine's, never a wrong figure.

    Args:
        flows: flow frame.
        marks: of :func:`trader_marks`.
        keys: what identifies a product; fewer columns are quicker.

    Returns:
        The keys, ``importer, bought`` (decimal), ``squares, suppliers, top, third`` (value from outside
        the union, decimal), ``top_third``; ``top`` and ``top_third`` are such whole numbers, see :func:`value_of` and
        :func:`mark_of`. ``third`` and ``top_third`` are null, or 0 the first, where nothing comes from outside.
    """
    v, weighed = nw.col("v"), nw.col("weighed")
    outside = nw.col("inside").is_null()
    return (
        flows.filter(v > 0, nw.col("exporter") != nw.col("importer"))
        .join(marks, on="exporter", how="inner")
        .with_columns(weighed=(v * _THOUSANDTHS).cast(nw.Int64) * SLOTS + nw.col("mark"))
        .group_by(*keys, "importer")
        .agg(
            bought=v.sum(),
            squares=exact_squares("v").cast(nw.Float64),
            suppliers=v.count(),
            top=weighed.max(),
            third=nw.when(outside).then(v).sum(),
            top_third=nw.when(outside).then(weighed).max(),
        )
    )


def mark_of(name: str) -> nw.Expr:
    """The mark within a whole number of :func:`supply_of_importers`."""
    return nw.col(name) % SLOTS


def value_of(name: str) -> nw.Expr:
    """The value within it, thousand USD: the double nearest to the decimal it was."""
    return (nw.col(name) - nw.col(name) % SLOTS).cast(nw.Float64) / float(SLOTS * _THOUSANDTHS)
