"""Named methods and their verdicts, with what they turn on.

Belongs here: from indicators to flags, in three values (true, false, cannot be told), and the alternatives
under which each verdict is tried. Each method is as published and frozen by its version; no minimum value
enters a method that has none.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa

from ketenpipe.risk.definitions import METHOD_VERSION
from ketenpipe.risk.direct import EU27
from ketenpipe.risk.indicators import MAX_TIER, World
from ketenpipe.risk.thresholds import Thresholds
from ketenpipe.tables.registry import FLAGS
from ketenpipe.tables.registry import INDICATORS as INDICATOR_TABLE

KEYS = ["focus", "level", "code", "hs_revision", "group", "tier", "year"]
ITEM = KEYS[:-1]
ON_GOVERNANCE = ("tno", "node_test", "indirect_specific", "indirect_global")
SET_LEVEL = {"indirect_specific": "group", "indirect_global": "group"}
_BASIS_OF_SET = {
    "tno": "observed",
    "node_test": "traced",
    "indirect_specific": "traced",
    "indirect_global": "world_production_mix",
}
_NONE = "~none~"

_PICK = {
    "M": ("M", "v", None, "value"),
    "C1": ("C1", "v", "imports", "value"),
    "C2": ("C2", "v", "exports", "value"),
    "C4a": ("C4a", "v", "imports", "value"),
    "C5": ("C5", "v", "imports", "value"),
    "S1": ("S1", "v", "imports", "method_value"),
    "S1b": ("S1b", "v", "imports", "method_value"),
    "C4b": ("C4b", "q", "traced", "value"),
    "C3": ("C3", "p", ("observed", "producer_list"), "value"),
    "G2p": ("G2", "p", ("observed", "producer_list"), "value"),
    "O1": ("O1", None, ("traced", "world_production_mix"), "value"),
    "O1_high": ("O1", None, ("traced", "world_production_mix"), "high"),
    "G2": ("G2", None, ("traced", "world_production_mix"), "value"),
    "G2_low": ("G2", None, ("traced", "world_production_mix"), "low"),
    "G2_high": ("G2", None, ("traced", "world_production_mix"), "high"),
    "X1": ("X1", None, None, "value"),
    "X1g": ("X1g", None, None, "value"),
}


def build_flags(world: World, indicators: pa.Table, minimum_import_kusd: float) -> tuple[pa.Table, pa.Table]:
    """Verdicts of the named methods, and the indicators with the churn of each method's set (P2) added.

    ``flagged`` is null where the verdict cannot be told: on the export proxy (``indicated`` says what the
    figures suggest), where nothing may be cleared (small or precious), where a figure is missing.

    Args:
        world: what the indicators were made of.
        indicators: table ``indicators``.
        minimum_import_kusd: flags on smaller imports are marked and do not count.

    Returns:
        Tables ``flags`` and ``indicators``.
    """
    facts = _facts(indicators)
    weights = world.exposure.chain_nodes.to_pandas().set_index(["group", "node"])["path_weight"]
    facts["path_weight"] = [
        float(weights.get((g, c), np.nan)) if lv == "node" else np.nan
        for g, c, lv in zip(facts["group"], facts["code"], facts["level"], strict=True)
    ]
    limits = world.thresholds
    shift = limits.robustness.threshold_shift
    base = _verdicts(facts, limits, 1.0)
    alternatives = {
        f"thresholds -{shift:.0%}": _verdicts(facts, limits, 1.0 - shift),
        f"thresholds +{shift:.0%}": _verdicts(facts, limits, 1.0 + shift),
        "unknown origin on the top country": _verdicts(facts, limits, 1.0, unknown_on_top=True),
    }
    rows = []
    for method, verdict in base.items():
        keep = verdict["applies"]
        frame = facts.loc[keep, KEYS].copy()
        raw, known = verdict["raw"][keep], verdict["known"][keep]
        frame["method"] = method
        frame["flagged"] = known
        frame["indicated"] = raw.where(known.isna(), pd.NA)
        frame["reason"] = verdict["reason"][keep]
        frame["band"] = verdict["band"][keep] if "band" in verdict else None
        tried = {
            name: other[method]["raw"][keep]
            for name, other in alternatives.items()
            if method in ("node_test", "indirect_specific", "indirect_global") or "unknown" not in name
        }
        if method == "crma65":
            tried["the other basis (traced or imports)"] = verdict["other"][keep]
        tried |= _neighbouring_years(frame, raw, world if method in ON_GOVERNANCE else None)
        frame = _agreement(frame, raw, tried)
        frame["below_minimum"] = (facts.loc[keep, "M"] < minimum_import_kusd).where(facts.loc[keep, "M"].notna(), None)
        rows.append(frame)
    flags = pd.concat(rows, ignore_index=True)
    flags = flags.replace({c: {_NONE: None} for c in ("code", "hs_revision", "group")})
    flags["tier"] = flags["tier"].replace({-1: None})
    flags["method_version"] = METHOD_VERSION
    for column in ("flagged", "indicated", "below_minimum"):
        flags[column] = flags[column].astype(object).where(flags[column].notna(), None)
    table = FLAGS.conform(flags)
    churn = _churn(world, table)
    merged = pa.concat_tables([indicators, INDICATOR_TABLE.conform(churn)])
    return table, INDICATOR_TABLE.conform(merged)


def _facts(indicators: pa.Table) -> pd.DataFrame:
    """One row per item and year with the figures that the methods read."""
    long = indicators.to_pandas()
    for column in ("code", "hs_revision", "group"):
        long[column] = long[column].fillna(_NONE)
    long["tier"] = long["tier"].fillna(-1).astype(int)
    # The named methods are defined on BACI's years; a nowcast flags nothing.
    long = long[long["level"].isin(["hs6", "node", "group"]) & (long["basis"] != "reconciled_comtrade")]
    out = long[KEYS].drop_duplicates().set_index(KEYS).sort_index()
    for name, (indicator, measure, basis, column) in _PICK.items():
        rows = long[long["indicator"] == indicator]
        if measure is not None:
            rows = rows[rows["measure"] == measure]
        elif indicator in ("O1", "G2"):
            rows = rows[rows["measure"].isin(["q", "p"])]
        if basis is not None:
            rows = rows[rows["basis"].isin([basis] if isinstance(basis, str) else list(basis))]
        series = rows.set_index(KEYS)[column].astype(float)
        if series.index.has_duplicates:
            series = series[~series.index.duplicated()]
        out[name] = series.reindex(out.index)
    for name, indicator in (
        ("T_reason", "T"),
        ("C4b_reason", "C4b"),
        ("X1_reason", "X1"),
        ("X1g_reason", "X1g"),
        ("C3_reason", "C3"),
    ):
        rows = long[(long["indicator"] == indicator) & (long["measure"] != "v")].set_index(KEYS)
        rows = rows[~rows.index.duplicated()]
        out[name] = rows["reason"].reindex(out.index).fillna("").astype(str)
        if indicator in ("T", "C4b"):
            out[f"{indicator}_confidence"] = rows["confidence"].reindex(out.index)
            out[f"{indicator}_basis"] = rows["basis"].reindex(out.index)
    return out.reset_index()


Verdict = dict[str, pd.Series]


def _above(values: pd.Series, limit: float) -> pd.Series:
    """Strictly above, unknown where the figure is."""
    return (values > limit).astype("boolean").where(values.notna(), pd.NA)


def _verdicts(
    facts: pd.DataFrame, limits: Thresholds, scale: float, *, unknown_on_top: bool = False
) -> dict[str, Verdict]:
    """Every method on every item: raw verdict, the one that may be told, reason, where the method applies."""
    nothing = pd.Series(None, index=facts.index, dtype=object)
    direct = facts["level"].isin(["hs6", "node", "group"]) & facts["M"].notna()
    no_imports = nothing.where(facts["M"] > 0, "no_imports")
    out: dict[str, Verdict] = {}

    holds = (
        _above(facts["C1"], limits.C1.flag * scale)
        & _above(facts["C2"], limits.C2.flag * scale)
        & _above(facts["S1"], limits.S1.flag * scale)
    ).where(facts["M"] > 0, pd.NA)
    persistent = _persistent(facts, holds, limits)
    out["geodep"] = {
        "applies": direct,
        "raw": persistent,
        "known": persistent,
        "reason": nothing.where(persistent.notna(), "window_incomplete"),
    }
    swd = (
        _above(facts["C1"], limits.C1.flag * scale)
        & _above(facts["C5"], limits.C5.flag * scale)
        & _above(facts["S1b"], limits.S1b.flag * scale)
    )
    out["swd2021"] = {
        "applies": direct & (facts["focus"] == EU27),
        "raw": swd,
        "known": swd,
        "reason": no_imports.where(swd.isna(), None),
    }
    cbs = _above(facts["C1"], limits.C1.high * scale)
    band = pd.Series(
        np.select(
            [facts["C1"] > limits.C1.high * scale, facts["C1"] > limits.C1.moderate * scale, facts["C1"].notna()],
            ["high", "moderate", "low"],
            default=_NONE,
        ),
        index=facts.index,
    ).replace({_NONE: None})
    out["cbs"] = {
        "applies": direct,
        "raw": cbs,
        "known": cbs,
        "reason": no_imports.where(cbs.isna(), None),
        "band": band,
    }

    on_imports = _above(facts["C4a"], limits.C4.flag * scale)
    on_traced = _above(facts["C4b"], limits.C4.flag * scale)
    usable = (
        facts["C4b"].notna()
        & ~facts["C4b_reason"].str.contains("export_proxy|producer_list")
        & (facts["C4b_confidence"] != "low")
    )
    crma = on_traced.where(usable, on_imports)
    out["crma65"] = {
        "applies": direct,
        "raw": crma,
        "known": crma,
        "other": on_imports.where(usable, on_traced),
        "reason": nothing.where(usable, no_imports.where(crma.isna(), "proxy_direct_imports")),
    }

    tno = _above(facts["C3"], limits.C3.flag * scale) & _above(facts["G2p"], limits.G2.flag * scale)
    out["tno"] = {
        "applies": facts["C3_reason"] != "",
        "raw": tno,
        "known": tno,
        "reason": nothing.where(tno.notna(), facts["C3_reason"].where(facts["C3"].isna(), "no_governance_score")),
    }

    concentration = facts["O1_high"] if unknown_on_top else facts["O1"]
    governance = facts["G2_high"] if unknown_on_top else facts["G2"]
    test = _above(concentration, limits.T_hhi.flag * scale) & _above(governance, limits.T_wgi.flag * scale)
    proxied = facts["T_reason"].str.contains("export_proxy")
    uncleared = facts["T_reason"].str.contains("small_or_precious") & (test == False).fillna(False)  # noqa: E712
    told = test.where(~proxied & ~uncleared, pd.NA)
    note = nothing.where(~uncleared, "small_or_precious")
    note = note.where(~proxied, "export_proxy").where(told.isna() | (test.isna()), None)
    note = note.where(~(test.isna()), facts["T_reason"].where(facts["T_reason"] != "", "no_supply"))
    out["node_test"] = {"applies": facts["T_basis"].notna(), "raw": test, "known": told, "reason": note}

    out |= _indirect(facts, limits, scale, test, told)
    return out


def _indirect(
    facts: pd.DataFrame, limits: Thresholds, scale: float, test: pd.Series, told: pd.Series
) -> dict[str, Verdict]:
    """X1 and X1g from the tests of a group's nodes, once on the raw figures and once on what may be told."""
    place = ["focus", "group", "hs_revision", "year"]
    groups = facts["level"] == "group"
    nodes = facts[(facts["level"] == "node") & facts["tier"].between(1, MAX_TIER)]
    specific = nodes[
        (nodes["T_basis"] != "world_production_mix")
        & nodes["T_basis"].notna()
        & (nodes["path_weight"] >= limits.X1_weight.at_least)
    ]
    producing = nodes[nodes["C3"].notna()]
    concentrated = _above(producing["C3"], limits.C3.flag * scale) & _above(producing["G2p"], limits.G2.flag * scale)
    heads = pd.MultiIndex.from_frame(facts.loc[groups, place])

    def any_of(frame: pd.DataFrame, values: pd.Series) -> pd.Series:
        """Kleene-or per group: true wins, then unknown; false over nothing."""
        work = frame[place].copy()
        work["yes"] = (values == True).fillna(False).to_numpy(bool)  # noqa: E712
        work["open"] = values.isna().to_numpy(bool)
        found = work.groupby(place)[["yes", "open"]].any().reindex(heads, fill_value=False)
        result = pd.Series(found["yes"].to_numpy(), dtype="boolean")
        result[(~found["yes"] & found["open"]).to_numpy()] = pd.NA
        result.index = facts.index[groups]
        return result

    out: dict[str, Verdict] = {}
    for method, indicator, frame, raw_values, told_values in (
        ("indirect_specific", "X1", specific, test.loc[specific.index], told.loc[specific.index]),
        ("indirect_global", "X1g", producing, concentrated, concentrated),
    ):
        reasons = facts.loc[groups, f"{indicator}_reason"]
        blind = reasons.str.contains("upstream_not_computable|path_weight_unknown|no_production_data")
        raw = ~test[groups] & any_of(frame, raw_values).where(~blind, pd.NA)
        told_head = told[groups]
        known = (~told_head & any_of(frame, told_values)).where(~blind, pd.NA)
        if method == "indirect_specific":
            # A proxy clears nobody: where T of the product cannot be told, neither can X1, whatever lies upstream.
            known = known.where(told_head.notna(), pd.NA)
        else:
            # World production is observed: what passes upstream stands where the product fails by its figures, told
            # or not. Where it passes on a proxy it may fail in truth: unknown.
            known = known.where(~raw.fillna(False).astype(bool), True)
        why = pd.Series(None, index=facts.index, dtype=object)
        why[groups] = [
            _why_indirect(str(note), open_head=pd.isna(head), open_verdict=pd.isna(verdict))
            for note, head, verdict in zip(reasons, told_head, known, strict=True)
        ]
        full_raw = pd.Series(pd.NA, index=facts.index, dtype="boolean")
        full_known = full_raw.copy()
        full_raw[groups], full_known[groups] = raw, known
        out[method] = {"applies": groups & (facts[f"{indicator}_reason"] != "") | groups & facts[indicator].notna(),
                       "raw": full_raw, "known": full_known, "reason": why}  # fmt: skip
    return out


_STRUCTURAL = (
    "no_governance_score",
    "no_governance_data",
    "no_upstream_node",
    "only_world_mix_upstream",
    "upstream_not_computable",
    "path_weight_unknown",
    "path_weight_small",
    "no_production_data",
)


def _why_indirect(note: str, *, open_head: bool, open_verdict: bool) -> str | None:
    """Reasons of an X1 or X1g: the proxy first, then what there was to test; notes stand beside told verdicts too."""
    parts = note.split("; ") if note else []
    found = [r for r in ("export_proxy",) if r in parts and (open_head or open_verdict)]
    if open_verdict and not found and open_head:
        found.append("small_or_precious")
    return "; ".join([*found, *(r for r in _STRUCTURAL if r in parts)]) or None


def _persistent(facts: pd.DataFrame, holds: pd.Series, limits: Thresholds) -> pd.Series:
    """GeoDep's rule: at least 2 of the last 3 years hold; unknown where the unknown years could make it 2."""
    frame = facts[[*ITEM, "year"]].copy()
    frame["yes"] = (holds == True).fillna(False).to_numpy(bool)  # noqa: E712
    frame["open"] = holds.isna().to_numpy(bool)
    sure = frame["yes"].astype(int)
    unsure = frame["open"].astype(int)
    for back in range(1, limits.P1.window):
        earlier = frame.assign(year=frame["year"] + back).rename(columns={"yes": "was", "open": "unsure"})
        joined = frame[[*ITEM, "year"]].merge(earlier, on=[*ITEM, "year"], how="left")
        joined.index = frame.index
        sure = sure + (joined["was"] == True).astype(int)  # noqa: E712
        unsure = unsure + ((joined["unsure"] == True) | joined["was"].isna()).astype(int)  # noqa: E712
    result = pd.Series(False, index=facts.index, dtype="boolean")
    result[sure + unsure >= limits.P1.at_least] = pd.NA
    result[sure >= limits.P1.at_least] = True
    return result


def _neighbouring_years(frame: pd.DataFrame, raw: pd.Series, world: World | None) -> dict[str, pd.Series]:
    """The same verdict a year earlier and later; unknown across a change of the WGI edition."""
    out = {}
    for name, step in (("the year before", 1), ("the year after", -1)):
        other = frame[[*ITEM, "year"]].assign(verdict=raw.to_numpy(dtype=object))
        other["year"] = other["year"] + step
        joined = frame[[*ITEM, "year"]].merge(other, on=[*ITEM, "year"], how="left")["verdict"]
        values = joined.astype("boolean")
        values.index = frame.index
        if world is not None:
            now = frame["year"].map(world.wgi_vintage)
            then = (frame["year"] - step).map(world.wgi_vintage)
            values = values.where((now == then).to_numpy(), pd.NA)
        out[name] = values
    return out


def _agreement(frame: pd.DataFrame, raw: pd.Series, tried: dict[str, pd.Series]) -> pd.DataFrame:
    same = pd.DataFrame({n: (v.astype("boolean") == raw) for n, v in tried.items()}, index=frame.index)
    count = same.notna().sum(axis=1)
    agreeing = same.fillna(False).astype(bool).sum(axis=1)
    frame["alternatives"] = count.where(raw.notna(), 0)
    frame["agreement"] = (agreeing / count.where(count > 0)).where(raw.notna(), np.nan)
    turned = same.eq(False).fillna(False).to_numpy(bool)
    names = list(tried)
    frame["flips_on"] = [
        "; ".join(n for n, t in zip(names, row, strict=True) if t) or None if known else None
        for row, known in zip(turned, raw.notna(), strict=True)
    ]
    return frame


def _churn(world: World, flags: pa.Table) -> pd.DataFrame:
    """P2 = 1 - |F_t and F_t-1| / |F_t-1| per method; null over an empty set or a change of WGI edition."""
    frame = flags.to_pandas()
    rows: list[dict[str, object]] = []
    for (focus, method, revision), part in frame.groupby(["focus", "method", "hs_revision"]):
        part = part[part["level"] == SET_LEVEL.get(method, "hs6")]
        sets: dict[int, set[str]] = {int(y): set(p.loc[p["flagged"].eq(True), "code"]) for y, p in part.groupby("year")}
        told: dict[int, int] = {int(y): int(p["flagged"].notna().sum()) for y, p in part.groupby("year")}
        for year in sorted(sets):
            if year - 1 not in sets:
                continue
            before, now = sets[year - 1], sets[year]
            value: float | None = None
            reason: str | None = None
            if method in ON_GOVERNANCE and world.wgi_vintage.get(year) != world.wgi_vintage.get(year - 1):
                reason = "wgi_vintage"
            elif not told[year - 1] or not told[year]:
                reason = "window_incomplete"
            elif not before:
                reason = "previous_set_empty"
            else:
                value = 1.0 - len(before & now) / len(before)
            rows.append(
                {
                    "focus": focus,
                    "level": "set",
                    "code": method,
                    "hs_revision": revision,
                    "group": None,
                    "tier": None,
                    "year": year,
                    "indicator": "P2",
                    "measure": "none",
                    "basis": _BASIS_OF_SET.get(str(method), "imports"),
                    "value": value,
                    "unit": "share",
                    "reason": reason,
                    "confidence": "high",
                    "source_vintage": world.vintage(str(revision), year, "baci", "wgi"),
                    "method_version": METHOD_VERSION,
                }
            )
    return pd.DataFrame(rows)
