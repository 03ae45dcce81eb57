"""Each verdict under other inputs that the data allow, made by the functions that make the published one.

Belongs here: what the alternatives are, the inputs that they change, and which of them say something about a verdict.
Does not belong here: a verdict (:class:`ketenpipe.risk.methods.Judgement` makes all of them), alternatives that need no
other inputs (thresholds, neighbouring years, unknown origin: they stand in table ``flags``), and what all of them
together say (:mod:`ketenpipe.risk.robustness`).

The alternatives, for the newest year of each HS revision:

* ``three_year_window``: flows are the mean of years t-2 to t, by value and by mass (shares are those of the sums), with
  the production of year t, which has the size of one year;
* ``other_measure``: value in the place of mass and mass in the place of value. It is another question, shown and not
  counted (METHOD 2);
* ``direct_instead_of_traced``: the node test and crma65 on the direct imports of the product itself (no tier upstream:
  what the focus imports of an input says nothing about what goes into the product). For crma65 table ``flags`` counts
  it already, so it is shown and not counted;
* ``export_basis``: where production is observed or listed, the export proxy in its place; for tno the exporters of the
  product and their governance in the place of the producers;
* ``governance_minus_se``, ``governance_plus_se``: the risk of every country one standard error lower or higher,
  ``clip((2.5 - estimate -+ se)/5, 0, 1)``, the published error, where the source has none an assumed one;
* ``intensities_halved``, ``intensities_raised``: intensities of the catalogue, of edges that are not essential, times
  0.5 and times 1.5 (at most 1);
* ``without_patches``: production that was raised so that exports can be paid for is not; the rest is of unknown origin;
* ``other_revision``: the group by the codes of another HS revision, where the sources hold both in that year.

Equal weights of an HS concordance are none of them: no figure of BACI that a verdict rests on passes through a
concordance, only the nowcast does, and no method judges that.

An alternative is listed for a verdict only where it moves a figure that the method reads: what it leaves as it was
would agree by itself. A verdict is what is told, or where it cannot be told what is indicated.

ec_criticality and geopolrisk are tried with the three years' flows and with other scores; their recycling rates,
substitution indices and end uses have no alternative in the data. foreign_input_reliance is not tried here.

Products outside the catalogue are not traced again: of the alternatives they get the window on direct figures,
governance, the other measure, and direct in the place of traced.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ketenpipe.chain.catalogue import Reference
from ketenpipe.chain.engine import Engine
from ketenpipe.chain.lookthrough import Exposure, TracedYears, build_exposure
from ketenpipe.chain.tracing import Tracing, focus_members, trace_year
from ketenpipe.risk.criticality import Inputs as CriticalityInputs
from ketenpipe.risk.criticality import build_criticality, criticality_codes
from ketenpipe.risk.facts import FACT_COLUMNS, ITEM, Facts, collect_facts
from ketenpipe.risk.governance import risk_of
from ketenpipe.risk.indicators import build_chain_indicators
from ketenpipe.risk.methods import Judgement, Signs
from ketenpipe.risk.planes import Floats, Integers, Truths
from ketenpipe.risk.products import FLOW_COLUMNS, build_product_indicators, key_order
from ketenpipe.risk.published import chosen_methods
from ketenpipe.risk.thresholds import Thresholds
from ketenpipe.risk.world import MAX_TIER, Vintages, World, catalogue_codes
from ketenpipe.tables.registry import (
    ALTERNATIVES,
    BACI_FLOWS,
    CHAIN_EDGES,
    CHAIN_NODES,
    COUNTRY_RISK,
    EXPOSURE,
    MONEY,
    ORIGIN_MIX,
    PRODUCT_INDICATORS,
    PRODUCTION,
)
from ketenpipe.tables.registry import INDICATORS as INDICATOR_TABLE

WINDOW = 3
"""Years of the window, the newest included."""
HALVED, RAISED = 0.5, 1.5
#: Codes outside the catalogue that are dealt with at once where flows of several years are read.
CODES_AT_ONCE = 400
#: Figures that differ by no more than this share of the larger are the same: both are rounded to nine digits.
SAME = 1e-8

_FACTS = pa.schema([(name, INDICATOR_TABLE.column(name).type) for name in FACT_COLUMNS])
_ROW_KEY = [*ITEM, "year", "indicator", "measure", "basis"]
_MADE = ("observed", "producer_list")
#: Methods on criticality, and the figures that they read.
_CRITICAL = ("ec_criticality", "geopolrisk")
_CRITICAL_FIGURES = ("G4", "G5", "EI")
_ON_PRODUCTION = ("node_test", "indirect_specific", "indirect_global")
ON_CHAIN = ("indirect_specific", "indirect_global")
_DIRECT = ("geodep", "swd2021", "cbs", "crma65")
#: What earlier years are needed for: GeoDep's two years of three.
_WINDOWED = ("M", "C1", "C2", "S1")
_ABSENT, _UNKNOWN = -2, -1

FlowsOf = Callable[[int, Collection[str] | None], pa.Table]


@dataclass(frozen=True)
class Inputs:
    """What the published verdicts were made of.

    Args:
        reference: the catalogue.
        foci: countries and blocs.
        thresholds: cut-offs.
        country_risk: table ``country_risk``.
        mining: table ``mining_production`` or None.
        depth: tiers that are looked through.
        minimum_import_kusd: as given to the judgement.
        traced: step one of the catalogue's codes.
        vintages: of the sources; their releases say which HS revisions and years there are.
        flows: table ``baci_flows`` of a year, of some codes (None: all).
        products: table ``product_indicators`` of a year, columns :data:`ketenpipe.risk.facts.FACT_COLUMNS`.
        chain_indicators: the whole table, the same columns.
        chain_nodes: the whole table.
        whole: tables ``tracing`` and ``supply_mix`` of a year with the codes that are not in the catalogue; None: the
            catalogue only.
        assumed_error: standard error of a governance estimate where the source has none, WGI points.
        engine: opens what runs the formulas on flows.
        critical: table ``criticality_indicators`` of a year, columns :data:`ketenpipe.risk.facts.FACT_COLUMNS`; None:
            ec_criticality and geopolrisk are not tried.
        critical_world: what a year's criticality is made of, with the codes of
            :func:`ketenpipe.risk.criticality.criticality_codes`; goes with ``critical``.
        methods: the named methods that judge; empty: all.
    """

    reference: Reference
    foci: tuple[str, ...]
    thresholds: Thresholds
    country_risk: pa.Table
    mining: pa.Table | None
    depth: int
    minimum_import_kusd: float
    traced: TracedYears
    vintages: Vintages
    flows: FlowsOf
    products: Callable[[int], pa.Table]
    chain_indicators: pa.Table
    chain_nodes: pa.Table
    assumed_error: float
    whole: Callable[[int], tuple[pa.Table, pa.Table]] | None = None
    engine: Callable[[], AbstractContextManager[Engine]] = Engine
    critical: Callable[[int], pa.Table] | None = None
    critical_world: Callable[[int], tuple[World, CriticalityInputs]] | None = None
    methods: tuple[str, ...] = ()

    @property
    def judged(self) -> tuple[str, ...]:
        """The methods that the alternatives are about, of those that judge."""
        return tuple(m for m in _READ if m in chosen_methods(self.methods))


def build_alternatives(inputs: Inputs, progress: Callable[[str], None] | None = None) -> pa.Table:
    """Every verdict of the newest year of each HS revision under every alternative (contract ``alternatives``).

    The earlier years that GeoDep looks at stay as published (under the other measure they are in that measure).

    Args:
        inputs: what the published verdicts were made of.
        progress: called with the year and the alternative.

    Raises:
        WrongUse: a method that is none.
    """
    say = progress or (lambda _: None)
    parts = [ALTERNATIVES.empty()]
    if not inputs.judged:
        return parts[0]
    for year, revisions in newest_years(inputs.vintages.releases).items():
        parts += _Year(inputs, year, revisions, say).tables()
    return ALTERNATIVES.conform(pa.concat_tables(parts))


def newest_years(releases: Iterable[tuple[str, int]]) -> dict[int, tuple[str, ...]]:
    """Year -> the HS revisions whose newest year it is."""
    last: dict[str, int] = {}
    for revision, year in releases:
        last[revision] = max(year, last.get(revision, year))
    return {year: tuple(sorted(r for r in last if last[r] == year)) for year in sorted(set(last.values()))}


# -- changed inputs ------------------------------------------------------------------------------------------


def mean_flows(years: Sequence[pa.Table], year: int) -> pa.Table:
    """``mean_t X_t[i, j]`` by value and by mass, as flows of one year (contract ``baci_flows``, in key order).

    A flow that a year does not have counts as 0. Mass is null where every year's is; a year's null counts as 0
    beside another year's figure, as it does in sums over flows.

    Args:
        years: tables ``baci_flows``, one per year.
        year: that the flows are said to be of; releases are those of the last table.
    """
    keys = ["hs_revision", "code", "exporter", "importer"]
    held = pa.concat_tables([t.select([*keys, "value_kusd", "tonnes"]) for t in years])
    summed = held.group_by(keys, use_threads=False).aggregate(
        [("value_kusd", "sum"), ("tonnes", "sum", pc.ScalarAggregateOptions(min_count=1))]
    )
    stamps = years[-1].select(["hs_revision", "release"]).group_by(["hs_revision", "release"]).aggregate([])
    release = dict(zip(stamps.column("hs_revision").to_pylist(), stamps.column("release").to_pylist(), strict=True))
    revisions = summed.column("hs_revision").to_pylist()
    value = pc.divide(summed.column("value_kusd_sum").cast(pa.float64()), float(len(years)))
    return BACI_FLOWS.conform(
        pa.table(
            {name: summed.column(name) for name in keys}
            | {
                "year": pa.repeat(pa.scalar(year, pa.int32()), summed.num_rows),
                "value_kusd": pc.round(value, 3).cast(MONEY),
                "tonnes": pc.divide(summed.column("tonnes_sum"), float(len(years))),
                "release": pa.array([release.get(r, "unknown") for r in revisions], pa.string()),
            }
        )
    )


def shifted_risk(country_risk: pa.Table, errors: float, assumed_error: float) -> pa.Table:
    """G1 with every estimate moved by so many of its standard errors (contract ``country_risk``).

    ``risk = clip((2.5 - (estimate - errors * se)) / 5, 0, 1)``: above 0 riskier, below 0 safer.

    Args:
        country_risk: table ``country_risk``.
        errors: standard errors towards more risk.
        assumed_error: the standard error of an estimate that has none, WGI points.
    """
    held = COUNTRY_RISK.conform(country_risk)
    estimate, error = (held.column(n).to_numpy().astype(np.float64) for n in ("estimate", "standard_error"))
    moved = estimate - errors * np.where(np.isnan(error), assumed_error, error)
    return COUNTRY_RISK.conform(held.to_pandas().assign(estimate=moved, risk=risk_of(moved)))


def scaled_intensities(reference: Reference, factor: float) -> Reference:
    """The catalogue with the intensities of edges that are not essential times a factor, at most 1."""
    return replace(
        reference,
        edges=tuple(
            edge
            if edge.essential or edge.intensity is None
            else replace(edge, intensity=min(edge.intensity * factor, 1.0))
            for edge in reference.edges
        ),
    )


def exporters_plane(flows: pa.Table, own: frozenset[str], risk: Mapping[str, float]) -> float | None:
    """Governance risk of a product's exporters: ``sum_i e_i risk_i / sum_i e_i`` over scored countries, by value.

    Args:
        flows: table ``baci_flows`` of the product, or of the codes of a node.
        own: the members of a bloc, whose trade among themselves is left out; a single country has none.
        risk: country -> G1.
    """
    exporters = flows.column("exporter").to_pylist()
    values = flows.column("value_kusd").cast(pa.float64()).to_pylist()
    total, weighed = 0.0, 0.0
    for seller, buyer, value in zip(exporters, flows.column("importer").to_pylist(), values, strict=True):
        if seller in risk and not (seller in own and buyer in own):
            total += value
            weighed += value * risk[seller]
    return weighed / total if total > 0 else None


def overridden(base: pa.Table, *new: pa.Table) -> pa.Table:
    """Rows of figures with some of them replaced, in the order of their key; a new row may be one that was not there.

    Args:
        base, new: columns :data:`ketenpipe.risk.facts.FACT_COLUMNS`.
    """
    whole = pa.concat_tables([t.select(FACT_COLUMNS).cast(_FACTS) for t in (*new, base)])
    first = ~whole.select(_ROW_KEY).to_pandas().duplicated().to_numpy()
    kept = whole.filter(pa.array(first))
    return kept.take(key_order(kept, _ROW_KEY))


def swapped_measures(rows: pa.Table) -> pa.Table:
    """Figures by value as if they were by mass, and the other way round."""
    measure = rows.column("measure").to_pylist()
    other = {"v": "q", "q": "v"}
    at = rows.column_names.index("measure")
    return rows.set_column(at, "measure", pa.array([other.get(m, m) for m in measure], pa.string()))


def on_direct_mix(rows: pa.Table) -> pa.Table:
    """Traced figures of the product itself as its direct imports have them: O1, G2 by mass, C4b by value.

    The rows that are replaced; nothing where the product has no traced figure. They do not rest on production, so
    they are as good as the trade is.
    """
    frame = rows.filter(pc.field("tier") == 0).to_pandas()
    keys = [*ITEM, "year"]
    traced = frame[(frame["measure"] == "q") & (frame["basis"] == "traced")]
    parts = []
    for name, source, measure in (("O1", "C1", "q"), ("G2", "G2", "q"), ("C4b", "C4a", "v")):
        direct = frame[
            (frame["indicator"] == source) & (frame["measure"] == measure) & (frame["basis"] == "imports")
        ].set_index(keys)["value"]
        part = traced[traced["indicator"] == name]
        found = direct.reindex(pd.MultiIndex.from_frame(part[keys])).to_numpy(dtype=float)
        parts.append(
            part.assign(value=found, low=found, high=found, method_value=np.nan, reason=None, confidence="high")
        )
    tests = traced[traced["indicator"] == "T"]
    small = tests["reason"].fillna("").str.contains("small_or_precious")
    parts.append(tests.assign(reason=["small_or_precious" if s else None for s in small], confidence="high"))
    whole = pd.concat(parts, ignore_index=True)
    return _figures_table(whole)


def _figures_table(frame: pd.DataFrame) -> pa.Table:
    columns = {}
    for field in _FACTS:
        column = frame[field.name]
        if pa.types.is_floating(field.type):
            column = pd.to_numeric(column)
        columns[field.name] = pa.array(column.astype(object).where(column.notna(), None).tolist(), field.type)
    return pa.table(columns, schema=_FACTS)


# -- verdicts ------------------------------------------------------------------------------------------------

#: The facts (:mod:`ketenpipe.risk.facts`) that a method reads; ``C4`` is the one that crma65 is decided on.
_READ: dict[str, tuple[str, ...]] = {
    "geodep": ("C1", "C2", "S1"),
    "swd2021": ("C1", "C5", "S1b"),
    "cbs": ("C1",),
    "crma65": ("C4",),
    "tno": ("C3", "G2p"),
    "node_test": ("O1", "G2"),
    "indirect_specific": ("O1", "G2"),
    "indirect_global": ("C3", "G2p"),
    "ec_criticality": ("G5", "G5_published", "G5_high", "EI"),
    "geopolrisk": ("G4", "G4_published"),
}
_FIGURES = (
    "C1", "C2", "C4a", "C4b", "C5", "S1", "S1b", "C3", "G2p", "O1", "G2", "G4", "G4_published", "G5", "G5_published",
    "G5_high", "EI",
)  # fmt: skip
#: What a method is decided on where the figure itself is null, in the order in which it is asked for.
_STEAD: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "geopolrisk": {"G4": ("G4_published", "G4")},
    "ec_criticality": {"G5": ("G5", "G5_published", "G5_high")},
}


@dataclass(frozen=True)
class _Verdicts:
    """The verdicts of a method on the items of a year, as arrays over the items.

    Args:
        told, raw: 1, 0, -1 (cannot be told; nothing is indicated), -2 (the method does not apply).
        by: the deciding figure's indicator, None where there is none.
        at: the node that it is of, None where it is the item's own.
        value, limit: of the deciding figure.
    """

    told: Signs
    raw: Signs
    by: npt.NDArray[np.object_]
    at: npt.NDArray[np.object_]
    value: Floats
    limit: Floats

    @classmethod
    def none(cls, count: int) -> _Verdicts:
        """Of a method that applies nowhere (yet)."""
        absent, nobody, nothing = np.full(count, _ABSENT, dtype=np.int8), np.full(count, None), np.full(count, np.nan)
        return cls(absent, absent.copy(), nobody, nobody.copy(), nothing, nothing.copy())


class _Judged:
    """The figures and verdicts of a year, as arrays over its items.

    Attributes:
        items: (focus, level, code, hs_revision, group, tier) of each row; tier -1 where there is none.
        place: item -> its row.
        nodes: (focus, hs_revision, group, node) -> its row.
        figures: fact -> values; NaN where there is none.
        weight: path weight of nodes, NaN for others.
        upstream: method on chains -> nodes of tier 1 and 2 that it tests, as far as their basis goes.
        verdicts: method -> its verdicts.
    """

    def __init__(
        self, facts: Facts, chain_nodes: pa.Table, inputs: Inputs, year: int, methods: Collection[str]
    ) -> None:
        judged = Judgement(
            facts, chain_nodes, inputs.thresholds, inputs.vintages, inputs.minimum_import_kusd, methods=methods
        )
        frame = facts.frame.iloc[facts.of_year(year)]
        self.items: list[tuple[Any, ...]] = list(
            zip(*(_plain(frame[name]) for name in ITEM if name != "tier"), frame["tier"].tolist(), strict=True)
        )
        self.place = {item: at for at, item in enumerate(self.items)}
        self.nodes = {(i[0], i[3], i[4], i[2]): at for at, i in enumerate(self.items) if i[1] == "node"}
        self.figures: dict[str, Floats] = {name: frame[name].to_numpy(dtype=np.float64) for name in _FIGURES}
        weights = chain_nodes.select(["group", "node", "path_weight"]).to_pylist()
        known = {(r["group"], r["node"]): r["path_weight"] for r in weights}
        found = [known.get((i[4], i[2])) if i[1] == "node" else None for i in self.items]
        self.weight = np.array([np.nan if w is None else w for w in found], dtype=np.float64)
        tested = np.array([b not in (None, "world_production_mix") for b in _plain(frame["T_basis"])], dtype=bool)
        inside = np.array([i[1] == "node" and 1 <= i[5] <= MAX_TIER for i in self.items], dtype=bool)
        self.upstream: dict[str, Truths] = {
            "indirect_specific": inside & tested & ~np.isnan(self.weight),
            "indirect_global": inside & ~np.isnan(self.figures["C3"]),
        }
        self.verdicts: dict[str, _Verdicts] = {}
        self._read(judged.flags(year))
        traced = self.on_traced
        self.figures["C4"] = np.where(traced, self.figures["C4b"], self.figures["C4a"])

    @property
    def on_traced(self) -> Truths:
        """Where crma65 is decided on the traced supply."""
        held = self.verdicts.get("crma65")
        none = np.zeros(len(self.items), dtype=bool)
        return none if held is None else np.array([by == "C4b" for by in held.by], dtype=bool)

    def _read(self, flags: pa.Table) -> None:
        names = ("method", "flagged", "indicated", "decided_by", "decided_at", "decided_value", "decided_limit")
        columns = (flags.column(n).to_pylist() for n in (*ITEM, *names))
        for *item, method, flagged, indicated, by, node, value, limit in zip(*columns, strict=True):
            row = self.place[(*item[:5], -1 if item[5] is None else item[5])]
            held = self.verdicts.setdefault(method, _Verdicts.none(len(self.items)))
            held.told[row] = _sign(flagged)
            held.raw[row] = _sign(flagged if flagged is not None else indicated)
            held.by[row], held.at[row] = by, node
            held.value[row] = np.nan if value is None else value
            held.limit[row] = np.nan if limit is None else limit

    def figure_at(self, method: str, row: int, by: str, node: str | None) -> float:
        """A figure that a method reads, of the row's item or of a node of its chain; NaN where it is not there."""
        made = method == "tno" or (method == "indirect_global" and node is not None)
        fact = "G2p" if by == "G2" and made else by
        if node is not None:
            focus, _, _, revision, group, _ = self.items[row]
            row = self.nodes.get((focus, revision, group, node), -1)
        facts = _STEAD.get(method, {}).get(by, (fact,))
        held = [float(self.figures[f][row]) for f in facts if row >= 0 and f in self.figures]
        return next((value for value in held if not np.isnan(value)), np.nan)


def _plain(words: pd.Series) -> list[Any]:
    """A column of words as a list, None where there is none."""
    values = words.astype(object)
    found: list[Any] = values.where(values.notna(), None).tolist()
    return found


def _sign(verdict: bool | None) -> int:
    return _UNKNOWN if verdict is None else int(verdict)


@dataclass(frozen=True)
class _Case:
    """One alternative: the figures of the year under it, and which verdicts it is about.

    Args:
        name: of the alternative.
        rows: figures of all items that it has.
        chain_nodes: with the path weights under it.
        methods: that it can say something about.
        counted: methods for which it counts.
        earlier: figures of the years before; None: as published.
        only: rows of the published items that it is about; None: all.
        note: what to know about it.
    """

    name: str
    rows: pa.Table
    chain_nodes: pa.Table
    methods: tuple[str, ...]
    counted: frozenset[str]
    earlier: list[pa.Table] | None = None
    only: Callable[[tuple[Any, ...]], bool] | None = None
    note: str | None = None


class _Year:
    """The alternatives of one year, for the HS revisions whose newest it is."""

    def __init__(self, inputs: Inputs, year: int, revisions: tuple[str, ...], say: Callable[[str], None]) -> None:
        self.inputs, self.year, self.revisions, self.say = inputs, year, revisions, say
        self.codes = catalogue_codes(inputs.reference)
        self.flows = inputs.flows(year, self.codes)
        self.tracing = inputs.traced.of(year)
        self.rows = self._published(year)
        self.earlier = [
            self._published(y).filter(pc.field("indicator").isin(_WINDOWED))
            for y in range(year - inputs.thresholds.P1.window + 1, year)
        ]

    def tables(self) -> Iterator[pa.Table]:
        """The rows of contract ``alternatives``, an alternative at a time."""
        if not self.rows.num_rows:
            return
        inputs = self.inputs
        base = self._judged(self.rows, inputs.chain_nodes, self.earlier, inputs.judged)
        for case in self._cases():
            methods = [m for m in case.methods if m in inputs.judged]
            if not methods:
                continue
            self.say(f"{self.year}: {case.name}")
            earlier = self.earlier if case.earlier is None else case.earlier
            under = self._judged(case.rows, case.chain_nodes, earlier, methods)
            yield _compared(base, under, case, self.year)

    def _published(self, year: int) -> pa.Table:
        """The published figures of a year, of products, nodes and groups of the revisions."""
        inputs = self.inputs
        chains = inputs.chain_indicators.select(FACT_COLUMNS).filter(pc.field("year") == year)
        held = [chains]
        if any(y == year for _, y in inputs.vintages.releases):
            held.append(inputs.products(year).select(FACT_COLUMNS))
            if inputs.critical is not None:
                held.append(self._of_criticality(inputs.critical(year)))
        return pa.concat_tables(held).filter(pc.field("hs_revision").isin(self.revisions))

    @staticmethod
    def _of_criticality(rows: pa.Table) -> pa.Table:
        """The figures of criticality that verdicts rest on."""
        return rows.select(FACT_COLUMNS).filter(pc.field("indicator").isin(_CRITICAL_FIGURES))

    def _critical(self, **changed: pa.Table) -> list[pa.Table]:
        """Criticality of the year with some parts of its world replaced; nothing where it is not tried."""
        if self.inputs.critical is None or self.inputs.critical_world is None:
            return []
        world, options = self.inputs.critical_world(self.year)
        found = build_criticality(replace(world, **changed), self.year, options)
        return [self._of_criticality(found).filter(pc.field("hs_revision").isin(self.revisions))]

    def _judged(
        self, rows: pa.Table, chain_nodes: pa.Table, earlier: list[pa.Table], methods: Collection[str]
    ) -> _Judged:
        return _Judged(collect_facts([*earlier, rows]), chain_nodes, self.inputs, self.year, methods)

    def _case(
        self, name: str, rows: pa.Table, methods: tuple[str, ...], *, chain_nodes: pa.Table | None = None, **more: Any
    ) -> _Case:
        given: dict[str, Any] = {"counted": frozenset(methods)} | more
        return _Case(name, rows, self.inputs.chain_nodes if chain_nodes is None else chain_nodes, methods, **given)

    def _cases(self) -> Iterator[_Case]:
        whole = [r for r in self.revisions if all((r, y) in self.inputs.vintages.releases for y in self._window())]
        if whole:
            yield self._window_case(frozenset(whole))
        yield self._case(
            "other_measure",
            overridden(swapped_measures(self.rows)),
            (*_DIRECT, "node_test"),
            counted=frozenset(),
            earlier=[overridden(swapped_measures(rows)) for rows in self.earlier],
        )
        yield self._case(
            "direct_instead_of_traced",
            overridden(self.rows, on_direct_mix(self.rows)),
            ("node_test", "crma65"),
            counted=frozenset({"node_test"}),
            only=lambda item: item[5] == 0,
        )
        if self.flows.num_rows:
            yield self._export_case()
            yield self._patches_case()
        yield from self._governance_cases()
        yield from self._intensity_cases()
        yield from self._revision_cases()

    # -- one by one ------------------------------------------------------------------------------------------

    def _window(self) -> range:
        return range(self.year - WINDOW + 1, self.year + 1)

    def _window_case(self, whole: frozenset[str]) -> _Case:
        inputs = self.inputs
        flows = mean_flows([inputs.flows(y, self.codes) for y in self._window()], self.year)
        world = self._world(trace_year(flows, inputs.mining, inputs.reference, inputs.foci, self.year), flows)
        found = [build_product_indicators(world), build_chain_indicators([world], PRODUCT_INDICATORS.empty())]
        found += self._window_of_others()
        codes = self.codes | criticality_codes(inputs.reference)
        found += self._critical(flows=mean_flows([inputs.flows(y, codes) for y in self._window()], self.year))
        return self._case(
            "three_year_window",
            overridden(self.rows, *found),
            (*_DIRECT, *_ON_PRODUCTION, *_CRITICAL),
            only=lambda item: item[3] in whole,
        )

    def _window_of_others(self) -> list[pa.Table]:
        """Direct figures over the window of the codes that the catalogue does not have.

        Flows of the years are put beside one another as if they were of one: shares and ratios are those of the sums.
        """
        inputs, products = self.inputs, self.rows.filter(pc.field("level") == "hs6")
        others = sorted({str(c) for c in pc.unique(products.column("code")).to_pylist()} - self.codes)
        if not others or inputs.whole is None:
            return []

        def read(codes: Collection[str]) -> pa.Table:
            held = []
            for year in self._window():
                part = inputs.flows(year, codes).select(FLOW_COLUMNS)
                part = part.filter(pc.field("hs_revision").isin(self.revisions))
                here = pa.repeat(pa.scalar(self.year, pa.int32()), part.num_rows)
                held.append(part.set_column(part.column_names.index("year"), "year", here))
            whole = pa.concat_tables(held)
            return whole.take(key_order(whole, ["hs_revision", "code"]))

        def batches() -> Iterator[pa.RecordBatch]:
            for at in range(0, len(others), CODES_AT_ONCE):
                yield from read(others[at : at + CODES_AT_ONCE]).to_batches()

        nothing = Tracing(PRODUCTION.empty(), ORIGIN_MIX.empty(), self.tracing.tracing.slice(0, 0),
                          self.tracing.supply_mix.slice(0, 0))  # fmt: skip
        one = inputs.flows(self.year, others[:1]).slice(0, 1)
        world = self._world(nothing, one, Exposure(CHAIN_NODES.empty(), CHAIN_EDGES.empty(), EXPOSURE.empty()))
        found = build_product_indicators(world, batches())
        value = found.column("value")
        mean = pc.if_else(pc.equal(found.column("indicator"), "M"), pc.divide(value, float(WINDOW)), value)
        return [found.set_column(found.column_names.index("value"), "value", mean)]

    def _export_case(self) -> _Case:
        inputs = self.inputs
        unlisted = replace(inputs.reference, producer_figures=())
        tracing = trace_year(self.flows, None, unlisted, inputs.foci, self.year)
        return self._case(
            "export_basis",
            overridden(self.rows, self._exporters(), *self._retraced(tracing)),
            (*_ON_PRODUCTION, "tno"),
        )

    def _exporters(self) -> pa.Table:
        """C3 and its G2 as the exporters have them: C2 by value, and the governance of those who export."""
        inputs, frame = self.inputs, self.rows.to_pandas()
        keys = [*ITEM, "year"]
        made = frame[(frame["measure"] == "p") & frame["basis"].isin(_MADE) & frame["value"].notna()]
        exported = frame[(frame["indicator"] == "C2") & (frame["measure"] == "v")].set_index(keys)["value"]
        index = pd.MultiIndex.from_frame(made[keys])
        concentration = exported.reindex(index).to_numpy(dtype=float)
        risk = self._risk()
        members = {f: focus_members(inputs.reference, f, [self.year])[self.year] for f in inputs.foci}
        held: dict[tuple[str, str, str], float | None] = {}
        governance = np.full(len(made), np.nan)
        codes = {str(c) for c in made.loc[made["level"] == "hs6", "code"]}
        flows = inputs.flows(self.year, codes | self.codes)
        heads = {g.group: g.node for g in inputs.reference.groups.values()}
        for at, row in enumerate(made.itertuples(index=False)):
            name = str(row.code) if row.level == "hs6" else heads[row.code] if row.level == "group" else str(row.code)
            place = (str(row.focus), str(row.hs_revision), name)
            if place not in held:
                wanted = (name,) if row.level == "hs6" else inputs.reference.codes(name, str(row.hs_revision))
                own = members[place[0]] if len(members[place[0]]) > 1 else frozenset()
                chosen = flows.filter(
                    (pc.field("hs_revision") == place[1]) & pc.field("code").isin(pa.array(wanted, pa.string()))
                )
                held[place] = exporters_plane(chosen, own, risk)
            found = held[place]
            governance[at] = np.nan if found is None else found
        value = np.where(made["indicator"] == "C3", concentration, governance)
        # A statistic that no code stands for has no exporters: it stays as it is.
        kept = made["indicator"].isin(["C3", "G2"]).to_numpy() & ~np.isnan(concentration)
        return _figures_table(made.assign(value=value)[kept])

    def _patches_case(self) -> _Case:
        inputs = self.inputs
        tracing = trace_year(
            self.flows, inputs.mining, inputs.reference, inputs.foci, self.year, raise_production=False
        )
        return self._case(
            "without_patches", overridden(self.rows, *self._retraced(tracing)), (*_ON_PRODUCTION, "crma65")
        )

    def _governance_cases(self) -> Iterator[_Case]:
        inputs = self.inputs
        year = COUNTRY_RISK.conform(inputs.country_risk.filter(pc.field("year") == self.year))
        scored = year.filter(pc.field("risk").is_valid())
        if not scored.num_rows:
            return
        assumed = scored.column("standard_error").null_count > 0
        tracing = self.tracing
        if inputs.whole is not None:
            tracing = Tracing(tracing.production, tracing.origin_mix, *inputs.whole(self.year))
        exposure = build_exposure(
            self._one_year(self.tracing), inputs.mining, inputs.reference, inputs.foci, inputs.depth
        )
        for name, errors in (("governance_minus_se", -1.0), ("governance_plus_se", 1.0)):
            risk = shifted_risk(year, errors, inputs.assumed_error)
            products = replace(self._world(tracing, BACI_FLOWS.empty(), exposure), country_risk=risk)
            chains = replace(self._world(self.tracing, BACI_FLOWS.empty(), exposure), country_risk=risk)
            found = [
                build_product_indicators(products, ()),
                build_chain_indicators([chains], PRODUCT_INDICATORS.empty()),
                *self._critical(country_risk=risk),
            ]
            yield self._case(
                name,
                overridden(self.rows, *found),
                (*_ON_PRODUCTION, "tno", *_CRITICAL),
                note="assumed_error" if assumed else None,
            )

    def _intensity_cases(self) -> Iterator[_Case]:
        inputs = self.inputs
        if not any(e.intensity is not None and not e.essential for e in inputs.reference.edges):
            return
        for name, factor in (("intensities_halved", HALVED), ("intensities_raised", RAISED)):
            reference = scaled_intensities(inputs.reference, factor)
            exposure = build_exposure(self._one_year(self.tracing), inputs.mining, reference, inputs.foci, inputs.depth)
            world = self._world(self.tracing, BACI_FLOWS.empty(), exposure, reference)
            chains = build_chain_indicators([world], PRODUCT_INDICATORS.empty())
            yield self._case(
                name,
                overridden(self.rows, chains),
                ("node_test", "indirect_specific"),
                chain_nodes=exposure.chain_nodes,
            )

    def _revision_cases(self) -> Iterator[_Case]:
        """Groups by the codes of another HS revision, as if they were of their own, to be held against it."""
        inputs = self.inputs
        held = {r for r, y in inputs.vintages.releases if y == self.year}
        plan = [r for r in inputs.chain_nodes.to_pylist() if r["hs_revision"] is not None]
        for revision in self.revisions:
            others = {r: codes for r, codes in inputs.traced.available.items() if r in held and r != revision}
            groups = {r["group"] for r in plan if r["hs_revision"] == revision}
            if not others or not groups:
                continue
            tiers = {(r["group"], r["node"]): r["tier"] for r in plan if r["hs_revision"] == revision}
            wanted = pc.field("hs_revision").isin(sorted(others))
            parts = ("production", "origin_mix", "tracing", "supply_mix")
            tracing = Tracing(*(getattr(self.tracing, part).filter(wanted) for part in parts))
            exposure = build_exposure(
                self._one_year(tracing, others), inputs.mining, inputs.reference, inputs.foci, inputs.depth
            )
            world = self._world(tracing, self.flows.filter(wanted), exposure)
            frame = build_chain_indicators([world], PRODUCT_INDICATORS.empty()).select(FACT_COLUMNS).to_pandas()
            node = np.where(frame["level"] == "node", frame["code"], "")
            tier = [0 if n == "" else tiers.get((g, n)) for g, n in zip(frame["group"], node, strict=True)]
            frame = frame.assign(hs_revision=revision, tier=pd.array(tier, dtype="Int64"))
            kept = frame["group"].isin(groups) & frame["tier"].notna()
            yield self._case(
                "other_revision",
                overridden(_figures_table(frame[kept])),
                (*_DIRECT, *_ON_PRODUCTION, "tno"),
                chain_nodes=exposure.chain_nodes,
            )

    # -- worlds ----------------------------------------------------------------------------------------------

    def _retraced(self, tracing: Tracing) -> list[pa.Table]:
        """Traced figures of products, nodes and groups of another tracing; direct ones stay as they are."""
        world = self._world(tracing, BACI_FLOWS.empty())
        return [build_product_indicators(world, ()), build_chain_indicators([world], PRODUCT_INDICATORS.empty())]

    def _world(
        self,
        tracing: Tracing,
        flows: pa.Table,
        exposure: Exposure | None = None,
        reference: Reference | None = None,
    ) -> World:
        inputs = self.inputs
        if exposure is None:
            exposure = build_exposure(
                self._one_year(tracing), inputs.mining, inputs.reference, inputs.foci, inputs.depth
            )
        return World(
            flows=flows,
            tracing=tracing,
            exposure=exposure,
            mining=inputs.mining,
            country_risk=inputs.country_risk.filter(pc.field("year") == self.year),
            reference=inputs.reference if reference is None else reference,
            foci=inputs.foci,
            thresholds=inputs.thresholds,
            production_vintage=inputs.vintages.production,
            releases=inputs.vintages.releases,
            engine=inputs.engine,
        )

    def _one_year(self, tracing: Tracing, available: Mapping[str, set[str]] | None = None) -> TracedYears:
        """A tracing of the year, planned as the published one was, or on other codes."""
        held = self.inputs.traced.available if available is None else available
        return TracedYears(held, (self.year,), lambda _: tracing)

    def _risk(self) -> dict[str, float]:
        rows = self.inputs.country_risk.filter((pc.field("year") == self.year) & pc.field("risk").is_valid())
        return dict(zip(rows.column("country").to_pylist(), rows.column("risk").to_pylist(), strict=True))


# -- comparing -----------------------------------------------------------------------------------------------


def _compared(base: _Judged, under: _Judged, case: _Case, year: int) -> pa.Table:
    """The verdicts that an alternative says something about, beside the published ones."""
    at = np.array([under.place.get(item, -1) for item in base.items], dtype=np.int64)
    there = at >= 0
    if case.only is not None:
        there &= np.array([case.only(item) for item in base.items], dtype=bool)
    moved = {f: _moved(base.figures[f], _beside(under.figures[f], at)) for f in (*_FIGURES, "C4")}
    heavier = _moved(base.weight, _beside(under.weight, at))
    columns: dict[str, list[Any]] = {name: [] for name in ALTERNATIVES.names}
    for method in case.methods:
        held, other = base.verdicts.get(method), under.verdicts.get(method)
        if held is None or other is None:
            continue
        verdict = _beside(other.raw, at, _ABSENT)
        touched = np.any([moved[f] for f in _READ[method]], axis=0)
        if method in ON_CHAIN:
            touched |= heavier & (method == "indirect_specific")
            upstream = base.upstream[method]
            # Without a node to test the verdict is the same whatever the product's own figures are.
            alone = ~_of_groups(base, upstream)
            touched = _of_groups(base, upstream & touched) | ((moved["O1"] | moved["G2"]) & ~alone)
        # GeoDep rests on earlier years as well, which are not among the figures: what turns has been moved.
        chosen = there & (held.raw != _ABSENT) & (verdict != _ABSENT) & (touched | (held.raw != verdict))
        if method == "crma65" and case.name != "direct_instead_of_traced":
            # Decided on another supply it is another alternative, which table flags counts.
            chosen &= base.on_traced == _beside(under.on_traced, at, False)
        rows = np.flatnonzero(chosen)
        told, raw, told_under, raw_under = held.told[rows], held.raw[rows], other.told[at[rows]], other.raw[at[rows]]
        known = (raw != _UNKNOWN) & (raw_under != _UNKNOWN)
        figures = [
            np.nan if by is None else under.figure_at(method, int(at[row]), by, node)
            for row, by, node in zip(rows.tolist(), held.by[rows], held.at[rows], strict=True)
        ]
        for place, name in enumerate(ITEM):
            columns[name] += [base.items[row][place] for row in rows]
        columns["year"] += [year] * len(rows)
        columns["method"] += [method] * len(rows)
        columns["alternative"] += [case.name] * len(rows)
        columns["flagged"] += _truths(told_under)
        columns["indicated"] += _truths(np.where(told_under == _UNKNOWN, raw_under, _UNKNOWN))
        columns["base_flagged"] += _truths(told)
        columns["base_indicated"] += _truths(np.where(told == _UNKNOWN, raw, _UNKNOWN))
        columns["agrees"] += _truths(np.where(known, raw == raw_under, _UNKNOWN))
        columns["counted"] += [method in case.counted] * len(rows)
        columns["reason"] += [case.note if k else "no_verdict" for k in known.tolist()]
        columns["indicator"] += held.by[rows].tolist()
        columns["node"] += held.at[rows].tolist()
        columns["value"] += _numbers(np.array(figures, dtype=np.float64))
        columns["base_value"] += _numbers(held.value[rows])
        columns["threshold"] += _numbers(held.limit[rows])
    return ALTERNATIVES.conform(pa.table({c.name: pa.array(columns[c.name], c.type) for c in ALTERNATIVES.columns}))


def _of_groups(base: _Judged, nodes: Truths) -> Truths:
    """The items that are groups with one of some nodes."""
    found = {base.items[row][:1] + base.items[row][3:5] for row in np.flatnonzero(nodes)}
    return np.array([i[1] == "group" and i[:1] + i[3:5] in found for i in base.items], dtype=bool)


def _beside(values: npt.NDArray[Any], at: Integers, nothing: Any = np.nan) -> npt.NDArray[Any]:
    """Values at some rows; ``nothing`` where the row is below 0."""
    if not len(values):
        return np.full(len(at), nothing)
    return np.where(at >= 0, values[np.maximum(at, 0)], nothing)


def _moved(before: Floats, after: Floats) -> Truths:
    """Where a figure is another one, or is there in one of the two only."""
    both = ~np.isnan(before) & ~np.isnan(after)
    far = np.abs(after - before) > SAME * np.maximum(np.abs(before), np.abs(after))
    found: Truths = np.where(both, far, np.isnan(before) != np.isnan(after))
    return found


def _truths(signs: npt.NDArray[Any]) -> list[bool | None]:
    return [None if s == _UNKNOWN else bool(s) for s in signs.tolist()]


def _numbers(values: Floats) -> list[float | None]:
    return [None if v != v else v for v in values.tolist()]
