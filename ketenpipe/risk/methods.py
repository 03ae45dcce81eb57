"""Named methods and their verdicts, with what they turn on.

Belongs here: from facts to flags, in three values (true, false, cannot be told), and the alternatives
under which each verdict is tried. Each method is as published and frozen by its version; no minimum value
enters a method that has none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from ketenpipe.risk.definitions import METHOD_VERSION
from ketenpipe.risk.direct import EU27
from ketenpipe.risk.facts import ITEM, Facts, collect_facts
from ketenpipe.risk.products import words_of
from ketenpipe.risk.thresholds import Thresholds
from ketenpipe.risk.world import MAX_TIER, Stamped, World
from ketenpipe.tables.registry import FLAGS
from ketenpipe.tables.registry import INDICATORS as INDICATOR_TABLE
from ketenpipe.tables.stream import Stream

ON_GOVERNANCE = ("tno", "node_test", "indirect_specific", "indirect_global")
SET_LEVEL = {"indirect_specific": "group", "indirect_global": "group"}
_BASIS_OF_SET = {
    "tno": "observed",
    "node_test": "traced",
    "indirect_specific": "traced",
    "indirect_global": "world_production_mix",
}
_BANDS = ("low", "moderate", "high")
_UNKNOWN = -1
"""A verdict as a number: 1 flagged, 0 not, -1 cannot be told."""

Signs = npt.NDArray[np.int8]


def build_flags(world: World, indicators: pa.Table, minimum_import_kusd: float) -> tuple[pa.Table, pa.Table]:
    """Verdicts of the named methods, and the indicators with the churn of each method's set (P2) added.

    All years and products at once, for small worlds; see :class:`Judgement`.

    Args:
        world: what the indicators were made of.
        indicators: table ``indicators``.
        minimum_import_kusd: flags on smaller imports are marked and do not count.

    Returns:
        Tables ``flags`` and ``indicators``.
    """
    facts = collect_facts([indicators])
    found = Judgement(facts, world.exposure.chain_nodes, world.thresholds, world, minimum_import_kusd)
    flags = FLAGS.conform(pa.concat_tables([FLAGS.empty(), *(found.flags(year) for year in facts.years)]))
    return flags, INDICATOR_TABLE.conform(pa.concat_tables([indicators, found.churn()]))


class Judgement:
    """The verdicts of every named method on every item and year, with what they turn on.

    ``flagged`` is null where the verdict cannot be told: on the export proxy (``indicated`` says what the
    figures suggest), where nothing may be cleared (small or precious), where a figure is missing.

    Args:
        facts: of all years.
        chain_nodes: table ``chain_nodes``, for the path weights.
        thresholds: cut-offs.
        stamped: vintages; a change of the WGI edition parts the years.
        minimum_import_kusd: flags on smaller imports are marked and do not count.
    """

    def __init__(
        self, facts: Facts, chain_nodes: pa.Table, thresholds: Thresholds, stamped: Stamped, minimum_import_kusd: float
    ) -> None:
        self.years = facts.years
        self._facts, self._stamped = facts, stamped
        frame = facts.frame
        frame["path_weight"] = _path_weights(frame, chain_nodes)
        shift = thresholds.robustness.threshold_shift
        base = _verdicts(facts, thresholds, 1.0)
        alternatives = {
            f"thresholds -{shift:.0%}": _verdicts(facts, thresholds, 1.0 - shift),
            f"thresholds +{shift:.0%}": _verdicts(facts, thresholds, 1.0 + shift),
            "unknown origin on the top country": _verdicts(facts, thresholds, 1.0, unknown_on_top=True),
        }
        imports = frame["M"].to_numpy(dtype=float)
        self._below = np.where(np.isnan(imports), _UNKNOWN, imports < minimum_import_kusd).astype(np.int8)
        self._found: dict[str, _Found] = {}
        for method, verdict in base.items():
            applies = verdict["applies"].to_numpy(dtype=bool)
            tried = {
                name: other[method]["raw"]
                for name, other in alternatives.items()
                if method in ("node_test", "indirect_specific", "indirect_global") or "unknown" not in name
            }
            if method == "crma65":
                tried["the other basis (traced or imports)"] = verdict["other"]
            raw = _signs(verdict["raw"])
            signs = {name: _signs(v) for name, v in tried.items()}
            signs |= self._neighbouring_years(raw, applies, method in ON_GOVERNANCE)
            self._found[method] = _Found(np.flatnonzero(applies), raw, verdict, signs)
        del base, alternatives

    def flags(self, year: int) -> pa.Table:
        """The verdicts of a year (contract ``flags``, sorted by its key)."""
        parts = []
        for method, found in self._found.items():
            at = found.rows[found.rows_of(self._facts.frame, year)]
            if len(at):
                parts.append(self._table(method, found, at))
        return FLAGS.conform(pa.concat_tables(parts)) if parts else FLAGS.empty()

    def flag_stream(self) -> Stream:
        """Table ``flags``, year after year; the contract's key begins with the year."""

        def batches() -> Iterator[pa.RecordBatch]:
            for year in self.years:
                yield from self.flags(year).to_batches()

        return Stream(batches())

    def churn(self) -> pa.Table:
        """P2 = 1 - |F_t and F_t-1| / |F_t-1| per method (contract ``indicators``, level set).

        Null over an empty set, where nothing can be told, or over a change of the WGI edition.
        """
        frame = self._facts.frame
        rows: list[dict[str, object]] = []
        for method, found in self._found.items():
            at = found.rows[frame["level"].to_numpy()[found.rows] == SET_LEVEL.get(method, "hs6")]
            part = frame.loc[at, ["focus", "hs_revision", "code", "year"]].assign(known=found.known[at])
            for (focus, revision), held in part.groupby(["focus", "hs_revision"], observed=True):
                sets = {int(y): set(p.loc[p["known"] == 1, "code"]) for y, p in held.groupby("year")}
                told = {int(y): int((p["known"] != _UNKNOWN).sum()) for y, p in held.groupby("year")}
                for year in sorted(sets):
                    if year - 1 in sets:
                        rows.append(self._churned(method, str(focus), str(revision), year, sets, told))
        return INDICATOR_TABLE.conform(rows)

    def _churned(
        self, method: str, focus: str, revision: str, year: int, sets: Mapping[int, set[str]], told: Mapping[int, int]
    ) -> dict[str, object]:
        before, now = sets[year - 1], sets[year]
        editions = self._stamped.wgi_vintage
        value: float | None = None
        reason: str | None = None
        if method in ON_GOVERNANCE and editions.get(year) != editions.get(year - 1):
            reason = "wgi_vintage"
        elif not told[year - 1] or not told[year]:
            reason = "window_incomplete"
        elif not before:
            reason = "previous_set_empty"
        else:
            value = 1.0 - len(before & now) / len(before)
        return {
            "focus": focus,
            "level": "set",
            "code": method,
            "hs_revision": revision,
            "year": year,
            "indicator": "P2",
            "measure": "none",
            "basis": _BASIS_OF_SET.get(method, "imports"),
            "value": value,
            "unit": "share",
            "reason": reason,
            "confidence": "high",
            "source_vintage": self._stamped.vintage(revision, year, "baci", "wgi"),
            "method_version": METHOD_VERSION,
        }

    def _neighbouring_years(self, raw: Signs, applies: npt.NDArray[np.bool_], governed: bool) -> dict[str, Signs]:
        """The same verdict a year earlier and later; unknown across a change of the WGI edition."""
        years = self._facts.frame["year"].to_numpy(dtype=np.int64)
        editions = {y: n for n, y in enumerate(sorted(set(self._stamped.wgi_vintage.values())))}
        out: dict[str, Signs] = {}
        for name, step in (("the year before", -1), ("the year after", 1)):
            other = self._facts.beside(step)
            there = (other >= 0) & applies[other] if len(other) else np.zeros(0, dtype=bool)
            if governed:
                edition = {y: editions[v] for y, v in self._stamped.wgi_vintage.items()}
                same = {y: edition.get(y, -1) == edition.get(y + step, -2) for y in self.years}
                there = there & np.array([same[y] for y in years.tolist()], dtype=bool)
            out[name] = np.where(there, raw[other], _UNKNOWN).astype(np.int8)
        return out

    def _table(self, method: str, found: _Found, at: npt.NDArray[np.int64]) -> pa.Table:
        frame = self._facts.frame
        raw, known = found.raw[at], found.known[at]
        columns: dict[str, Any] = {}
        for name in ITEM:
            if name == "tier":
                tiers = frame[name].to_numpy(dtype=np.int32)[at]
                columns[name] = pa.array(tiers, mask=tiers < 0)
            else:
                words = frame[name].cat
                columns[name] = words_of(words.codes.to_numpy()[at].astype(np.int64), list(words.categories))
        columns["year"] = pa.array(frame["year"].to_numpy(dtype=np.int32)[at])
        columns["method"] = words_of(np.zeros(len(at), dtype=np.int64), [method])
        columns["flagged"] = _truths(known)
        columns["indicated"] = _truths(np.where(known == _UNKNOWN, raw, _UNKNOWN))
        columns["band"] = words_of(found.band[at], _BANDS)
        columns["reason"] = words_of(found.reason[at], found.reasons)
        same = np.array([found.tried[n][at] == raw for n in found.tried])
        comparable = np.array([(v[at] != _UNKNOWN) & (raw != _UNKNOWN) for v in found.tried.values()])
        count = comparable.sum(axis=0)
        agreeing = (same & comparable).sum(axis=0)
        columns["alternatives"] = pa.array(count.astype(np.int32))
        share = np.divide(agreeing, count, out=np.zeros(len(at)), where=count > 0)
        columns["agreement"] = pa.array(share, mask=count == 0)
        # Which alternatives turn a verdict, as a number of one bit each, and the words of every such number.
        bits = ((~same & comparable) * (1 << np.arange(len(found.tried)))[:, None]).sum(axis=0)
        turned, which = np.unique(bits, return_inverse=True)
        names = ["; ".join(n for k, n in enumerate(found.tried) if int(number) >> k & 1) or None for number in turned]
        columns["flips_on"] = words_of(which, names)
        columns["below_minimum"] = _truths(self._below[at])
        columns["method_version"] = words_of(np.zeros(len(at), dtype=np.int64), [METHOD_VERSION])
        return pa.table(columns).select(FLAGS.names).cast(FLAGS.schema())


class _Found:
    """The verdicts of one method on all rows of the facts, as numbers, and the rows where it applies."""

    def __init__(self, rows: npt.NDArray[np.int64], raw: Signs, verdict: Verdict, tried: dict[str, Signs]) -> None:
        self.rows, self.raw, self.tried = rows, raw, tried
        self.known = _signs(verdict["known"])
        reason, words = pd.factorize(verdict["reason"].to_numpy(dtype=object))
        self.reason, self.reasons = reason.astype(np.int32), [str(w) for w in words]
        self.band = np.full(len(raw), -1, dtype=np.int32)
        if "band" in verdict:
            self.band = pd.Categorical(verdict["band"], categories=list(_BANDS)).codes.astype(np.int32)

    def rows_of(self, frame: pd.DataFrame, year: int) -> npt.NDArray[np.bool_]:
        """Which of the rows are of a year."""
        found: npt.NDArray[np.bool_] = frame["year"].to_numpy(dtype=np.int64)[self.rows] == year
        return found


def _signs(verdict: pd.Series) -> Signs:
    """A three-valued column as numbers."""
    return verdict.astype("boolean").astype("Int8").fillna(_UNKNOWN).to_numpy(dtype=np.int8)


def _truths(signs: npt.NDArray[Any]) -> pa.Array:
    return pa.array(signs == 1, mask=signs == _UNKNOWN)


def _path_weights(frame: pd.DataFrame, chain_nodes: pa.Table) -> npt.NDArray[np.float64]:
    """The path weight of each node in its group's chain; NaN for what is no node, or where it is unknown."""
    nodes = chain_nodes.select(["group", "node", "path_weight"]).to_pylist()
    weights = {(r["group"], r["node"]): r["path_weight"] for r in nodes if r["path_weight"] is not None}
    out = np.full(len(frame), np.nan)
    at = np.flatnonzero((frame["level"] == "node").to_numpy())
    places = zip(frame["group"].to_numpy()[at], frame["code"].to_numpy()[at], strict=True)
    out[at] = [weights.get(place, np.nan) for place in places]
    return out


Verdict = dict[str, pd.Series]


def _above(values: pd.Series, limit: float) -> pd.Series:
    """Strictly above, unknown where the figure is."""
    return (values > limit).astype("boolean").where(values.notna(), pd.NA)


def _verdicts(held: Facts, limits: Thresholds, scale: float, *, unknown_on_top: bool = False) -> dict[str, Verdict]:
    """Every method on every item: raw verdict, the one that may be told, reason, where the method applies."""
    facts = held.frame
    nothing = pd.Series(None, index=facts.index, dtype=object)
    direct = facts["M"].notna()
    no_imports = nothing.where(facts["M"] > 0, "no_imports")
    out: dict[str, Verdict] = {}

    holds = (
        _above(facts["C1"], limits.C1.flag * scale)
        & _above(facts["C2"], limits.C2.flag * scale)
        & _above(facts["S1"], limits.S1.flag * scale)
    ).where(facts["M"] > 0, pd.NA)
    persistent = _persistent(held, holds, limits)
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
            default="",
        ),
        index=facts.index,
    ).replace({"": None})
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
    no_figure = facts["C3_reason"].astype(object)
    out["tno"] = {
        "applies": facts["C3_reason"] != "",
        "raw": tno,
        "known": tno,
        "reason": nothing.where(tno.notna(), no_figure.where(facts["C3"].isna(), "no_governance_score")),
    }

    concentration = facts["O1_high"] if unknown_on_top else facts["O1"]
    governance = facts["G2_high"] if unknown_on_top else facts["G2"]
    test = _above(concentration, limits.T_hhi.flag * scale) & _above(governance, limits.T_wgi.flag * scale)
    proxied = facts["T_reason"].str.contains("export_proxy")
    uncleared = facts["T_reason"].str.contains("small_or_precious") & (test == False).fillna(False)  # noqa: E712
    told = test.where(~proxied & ~uncleared, pd.NA)
    note = nothing.where(~uncleared, "small_or_precious")
    note = note.where(~proxied, "export_proxy").where(told.isna() | (test.isna()), None)
    note = note.where(~(test.isna()), facts["T_reason"].astype(object).where(facts["T_reason"] != "", "no_supply"))
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
    heads = pd.MultiIndex.from_frame(facts.loc[groups, place].astype(object))

    def any_of(frame: pd.DataFrame, values: pd.Series) -> pd.Series:
        """Kleene-or per group: true wins, then unknown; false over nothing."""
        work = frame[place].astype(object)
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


def _persistent(facts: Facts, holds: pd.Series, limits: Thresholds) -> pd.Series:
    """GeoDep's rule: at least 2 of the last 3 years hold; unknown where the unknown years could make it 2."""
    signs = _signs(holds)
    sure, unsure = (signs == 1).astype(np.int64), (signs == _UNKNOWN).astype(np.int64)
    for back in range(1, limits.P1.window):
        earlier = facts.beside(-back)
        then = np.where(earlier >= 0, signs[earlier], _UNKNOWN)
        sure += then == 1
        unsure += then == _UNKNOWN
    result = pd.Series(False, index=holds.index, dtype="boolean")
    result[sure + unsure >= limits.P1.at_least] = pd.NA
    result[sure >= limits.P1.at_least] = True
    return result
