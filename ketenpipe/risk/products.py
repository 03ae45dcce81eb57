"""Step two for every HS6 code: direct, production and traced figures, as columns, a year at a time.

Belongs here: the rows of level hs6 that need one year only. Does not belong here: nodes and chains
(:mod:`ketenpipe.risk.indicators`), and what needs several years (:mod:`ketenpipe.risk.facts`).

Figures stand in columns throughout and text in dictionaries: a year of 5,000 codes is 400,000 rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ketenpipe.chain.engine import Engine
from ketenpipe.chain.flows import exports_by_origin, flow_frame
from ketenpipe.chain.tracing import UNKNOWN, focus_members, members_table
from ketenpipe.chain.worldmix import WorldMix, code_mix
from ketenpipe.risk.definitions import INDICATORS, METHOD_VERSION
from ketenpipe.risk.direct import EU27, direct_indicators
from ketenpipe.risk.planes import Floats, Integers, first_largest, hhi_of, node_tests, plane_of, planes_of
from ketenpipe.risk.world import ROW, World
from ketenpipe.tables.contract import Table
from ketenpipe.tables.registry import INDICATORS as INDICATOR_TABLE
from ketenpipe.tables.registry import PRODUCT_INDICATORS

#: Flows that are dealt with at a time; a product's flows stay together.
PORTION = 2_000_000
#: Portions at the same time.
WORKERS = 2
#: What a :class:`World` of a full year needs of ``baci_flows``.
FLOW_COLUMNS = ["hs_revision", "year", "code", "exporter", "importer", "value_kusd", "tonnes"]

_TEXT = pa.dictionary(pa.int32(), pa.string())


def build_product_indicators(world: World, flows: Iterable[pa.RecordBatch] | None = None) -> pa.Table:
    """Every figure of level hs6 that one year's data give (contract ``product_indicators``, sorted by its key).

    Direct figures (:func:`ketenpipe.risk.direct.direct_indicators`), world production (C3, G2, G3 on its plane) and
    the plane of the traced supply (O1, O1r, O2, T, G2, G3, C4b and the shares beside them).

    Args:
        world: of one year, or of a few with few products; its tracing tables hold all products.
        flows: the year's ``baci_flows`` in key order, a batch at a time (``Store.batches``), so that they are never one
            table; the flows of the world without.
    """
    given = world.flows.to_batches() if flows is None else flows
    blocks = [*_direct_blocks(world, given), *_production_blocks(world), *_traced_blocks(world)]
    return as_indicators(blocks, PRODUCT_INDICATORS)


# -- columns -------------------------------------------------------------------------------------------------


def as_indicators(blocks: Iterable[pa.Table], contract: Table = INDICATOR_TABLE) -> pa.Table:
    """Blocks of rows as one table of contract ``indicators`` (or of one with its columns); unit and version are added.

    Args:
        blocks: tables with columns of :data:`ketenpipe.risk.world.ROW`, text plain or as dictionaries.
        contract: ``product_indicators`` or ``chain_indicators`` for the parts.
    """
    schema = pa.schema([(name, _kind(name)) for name in ROW])
    held = [_whole(block, schema) for block in blocks if block.num_rows]
    if not held:
        return contract.empty()
    rows = pa.concat_tables(held).unify_dictionaries().combine_chunks()
    indicator, measure = (rows.column(name).combine_chunks() for name in ("indicator", "measure"))
    units = [INDICATORS[name].unit for name in indicator.dictionary.to_pylist()]
    unit = pa.DictionaryArray.from_arrays(indicator.indices, pa.array(units)).dictionary_decode()
    imports = pc.equal(indicator.cast(pa.string()), "M")
    by_mass = pc.equal(measure.cast(pa.string()), "q")
    unit = pc.if_else(imports, pc.if_else(by_mass, "t", "thousand USD"), unit)
    rows = rows.append_column("unit", unit)
    rows = rows.append_column("method_version", pa.repeat(METHOD_VERSION, rows.num_rows))
    return contract.conform(rows.take(key_order(rows, contract.key)))


def key_order(rows: pa.Table, key: Sequence[str]) -> Integers:
    """Where the rows stand in the order of a key, nulls last: quicker than comparing text row by row."""
    whole = np.zeros(rows.num_rows, dtype=np.int64)
    for name in key:
        column = rows.column(name).combine_chunks()
        if not pa.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        places = pc.rank(column.dictionary, tiebreaker="dense").to_numpy().astype(np.int64)
        ranks = np.append(places, len(places) + 1)[
            column.indices.fill_null(len(places)).to_numpy(zero_copy_only=False).astype(np.int64)
        ]
        # The ranks so far are made dense, so that the product of two never overflows.
        _, whole = np.unique(whole * (len(places) + 2) + ranks, return_inverse=True)
    return np.argsort(whole, kind="stable")


def _kind(name: str) -> pa.DataType:
    kind = INDICATOR_TABLE.column(name).type
    return _TEXT if pa.types.is_string(kind) else kind


def _whole(block: pa.Table, schema: pa.Schema) -> pa.Table:
    """The block with every column, those that it lacks null."""
    columns = [
        block.column(f.name).cast(f.type) if f.name in block.column_names else pa.nulls(block.num_rows, f.type)
        for f in schema
    ]
    return pa.table(columns, schema=schema)


def rows_block(rows: list[dict[str, object]]) -> pa.Table:
    """A few rows as a block."""
    return pa.table(
        {n: pa.array([r.get(n) for r in rows], INDICATOR_TABLE.column(n).type) for n in ROW},
    )


def frame_block(frame: pd.DataFrame) -> pa.Table:
    """A frame of rows as a block, text as dictionaries."""
    out = {}
    for name in frame.columns:
        kind = INDICATOR_TABLE.column(name).type
        if pa.types.is_floating(kind):
            values = pd.to_numeric(frame[name]).to_numpy(dtype=np.float64, na_value=np.nan)
            out[name] = pa.array(values, kind, from_pandas=True)
        else:
            column = pa.array(frame[name], kind, from_pandas=True)
            out[name] = column.dictionary_encode() if pa.types.is_string(kind) else column
    return pa.table(out)


def words_of(numbers: npt.NDArray[Any], words: Sequence[str | None]) -> pa.DictionaryArray:
    """Words by number; a number below 0, or of a word that is None, is null."""
    lacking = np.array([w is None for w in words] or [True], dtype=bool)
    mask = (numbers < 0) | lacking[np.maximum(numbers, 0)]
    coded = pa.array(np.maximum(numbers, 0).astype(np.int32), mask=mask)
    return pa.DictionaryArray.from_arrays(coded, pa.array([w or "" for w in words], pa.string()))


def _figures(values: Floats) -> pa.Array:
    return pa.array(values, pa.float64(), mask=np.isnan(values))


# -- direct ------------------------------------------------------------------------------------------------


def portions(flows: Iterable[pa.RecordBatch], rows: int = PORTION) -> Iterator[pa.Table]:
    """Flows in key order as tables of about so many rows, each with all flows of its products."""
    held: list[pa.RecordBatch] = []
    count = 0
    for batch in flows:
        held.append(batch.select(FLOW_COLUMNS))
        count += batch.num_rows
        if count >= rows and (cut := _start_of_last_product(whole := pa.Table.from_batches(held))):
            yield whole.slice(0, cut)
            held, count = whole.slice(cut).to_batches(), count - cut
    if count:
        yield pa.Table.from_batches(held)


def _start_of_last_product(flows: pa.Table) -> int:
    """Where the flows of the last product begin; 0 if it is the only one."""
    other = np.zeros(flows.num_rows, dtype=bool)
    for name in ("hs_revision", "year", "code"):
        column = flows.column(name)
        last = column[flows.num_rows - 1].as_py()
        for start, chunk in _starts(column):
            if pa.types.is_dictionary(chunk.type):
                own = pc.index(chunk.dictionary, last).as_py()
                same = chunk.indices.to_numpy() == own
            else:
                same = pc.equal(chunk, last).to_numpy(zero_copy_only=False)
            other[start : start + len(chunk)] |= ~same
    return int(np.flatnonzero(other)[-1]) + 1 if other.any() else 0


def _starts(column: pa.ChunkedArray) -> Iterator[tuple[int, pa.Array]]:
    start = 0
    for chunk in column.chunks:
        yield start, chunk
        start += len(chunk)


def _direct_blocks(world: World, flows: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Direct figures, some products at a time: each product's figures rest on its own flows only."""
    with ThreadPoolExecutor(WORKERS) as pool:
        running: list[Any] = []
        for portion in portions(flows):
            running.append(pool.submit(_direct_of, world, portion))
            if len(running) == WORKERS:
                yield running.pop(0).result()
        for rest in running:
            yield rest.result()


def _direct_of(world: World, flows: pa.Table) -> pa.Table:
    with world.engine() as engine:
        frame = flow_frame(engine.frame("flows", flows))
        found = direct_figures(world, engine, frame)
    found["level"] = "hs6"
    found["tier"] = 0
    return frame_block(found)


def direct_figures(world: World, engine: Engine, frame: Any) -> pd.DataFrame:
    """Direct figures of a flow frame (of codes or nodes) for every focus, with confidence, vintage and coverage.

    Args:
        world: foci, governance, thresholds.
        engine: holds the frame.
        frame: a flow frame, see :mod:`ketenpipe.chain.flows`.
    """
    reference = world.reference
    union = engine.frame("union_members", pa.table({"country": sorted(reference.bloc_members(EU27, world.years[-1]))}))
    risk = None
    if world.country_risk.num_rows:
        risk = engine.frame("risk", world.country_risk.select(["country", "year", "risk"]))
    exported = engine.keep(exports_by_origin(frame))
    frames = []
    for focus in world.foci:
        table = members_table(reference, focus, world.years)
        members = None if table is None else engine.frame(f"members_{focus}", table)
        found = direct_indicators(engine, frame, members, union, risk, focus, world.thresholds, exported)
        found["focus"] = focus
        frames.append(found)
    out = pd.concat(frames, ignore_index=True)
    out["confidence"] = "high"
    governed = out["indicator"].isin(["G2", "G3"])
    kinds = {True: ("baci", "wgi"), False: ("baci",)}
    stamp = {
        (r, y, g): world.vintage(r, y, *kinds[g])
        for r in out["hs_revision"].unique()
        for y in out["year"].unique()
        for g in (True, False)
    }
    out["source_vintage"] = [stamp[key] for key in zip(out["hs_revision"], out["year"], governed, strict=True)]
    out["coverage"] = out["coverage"].where(out["coverage"].notna(), mass_coverage(out))
    return out


def mass_coverage(rows: pd.DataFrame) -> pd.Series:
    """Coverage of figures by mass: the share of the import value whose rows have tonnes."""
    keys = ["focus", "hs_revision", "year", "code"]
    without = rows[rows["indicator"] == "value_without_mass"].set_index(keys)["value"]
    index = pd.MultiIndex.from_frame(rows[keys])
    share = 1.0 - without.reindex(index).to_numpy(dtype=float)
    return pd.Series(np.where(rows["measure"] == "q", share, np.nan), index=rows.index)


# -- production ---------------------------------------------------------------------------------------------


def mix_rows(world: World, base: Mapping[str, object], mix: WorldMix | None, year: int) -> list[dict[str, object]]:
    """C3 and, on the plane of production, G2 and G3 over *all* producers, the focus included."""
    basis = "observed" if mix is None else mix.basis
    common = {**base, "measure": "p", "basis": basis, "year": year}
    stamp = world.vintage(None, year, "mining")
    if mix is None:
        nothing = {**common, "value": None, "reason": "no_production_data", "source_vintage": stamp}
        return [{**nothing, "indicator": i} for i in ("C3", "G2", "G3")]
    confidence = "medium" if mix.unlisted or mix.shares.get(UNKNOWN, 0.0) > 0 else "high"
    concentration = hhi_of([s for c, s in mix.shares.items() if c != UNKNOWN])
    known = {c: s for c, s in mix.shares.items() if c != UNKNOWN}
    if UNKNOWN in mix.shares:
        concentration = sum(s * s for s in known.values())
    top = min(known, key=lambda c: (-known[c], c)) if known else None
    plane = plane_of(known, (), world.risk.get(year, {}))
    why = None if plane.g2 is not None else ("no_governance_score" if world.risk else "no_governance_data")
    note = f"material: {mix.material}"
    governed = world.vintage(None, year, "mining", "wgi")
    return [
        {
            **common, "indicator": "C3", "value": concentration, "reason": note, "confidence": confidence,
            "source_vintage": stamp, "country": top, "country_share": known[top] if top else None,
        },
        {
            **common, "indicator": "G2", "value": plane.g2, "coverage": plane.coverage, "reason": why,
            "confidence": confidence, "source_vintage": governed,
        },
        {
            **common, "indicator": "G3", "value": plane.g3, "coverage": plane.coverage, "reason": why,
            "confidence": confidence, "source_vintage": governed,
        },
    ]  # fmt: skip


def _production_blocks(world: World) -> list[pa.Table]:
    reference = world.reference
    tied = {(link.hs_revision, link.code) for link in reference.production_links}
    tied |= {(f.hs_revision, f.code) for f in reference.producer_figures}
    held = world.tracing.tracing.select(["hs_revision", "code"]).group_by(["hs_revision", "code"]).aggregate([])
    traced = set(zip(held.column("hs_revision").to_pylist(), held.column("code").to_pylist(), strict=True))
    rows: list[dict[str, object]] = []
    for revision, code in sorted(tied & traced):
        for year in world.years:
            mix = code_mix(reference, world.statistics.get(year), revision, code, year)
            for focus in world.foci:
                base = {"focus": focus, "level": "hs6", "code": code, "hs_revision": revision, "group": None, "tier": 0}
                rows += mix_rows(world, base, mix, year)
    return [rows_block(rows)] if rows else []


# -- traced -------------------------------------------------------------------------------------------------


class _Supply:
    """The rows of ``tracing`` and ``supply_mix`` by number: items (focus, revision, code, year) and countries."""

    def __init__(self, world: World) -> None:
        traced, mix = world.tracing.tracing, world.tracing.supply_mix
        count = traced.num_rows
        item = np.zeros(count + mix.num_rows, dtype=np.int64)
        self.words: dict[str, list[str]] = {}
        self.numbers: dict[str, Integers] = {}
        for name in ("focus", "hs_revision", "code"):
            numbers, self.words[name] = _numbered(traced.column(name), mix.column(name))
            self.numbers[name] = numbers[:count]
            item = item * len(self.words[name]) + numbers
        year = np.concatenate([t.column("year").to_numpy().astype(np.int64) for t in (traced, mix)])
        self.year, first, last = year[:count], min(world.years), max(world.years)
        item = item * (last - first + 1) + (year - first)
        named, words = _numbered(mix.column("country"))
        self.countries = sorted(words)
        place = {word: n for n, word in enumerate(self.countries)}
        country = np.array([place[word] for word in words], dtype=np.int64)[named]
        self._item, self._mix = item[:count], mix
        self._order = np.lexsort((country, item[count:]))
        self._country, self._mix_item = country[self._order], item[count:][self._order]

    def vectors(self, chosen: Integers, column: str) -> tuple[Integers, Integers, Floats]:
        """Of some rows of ``tracing``: (which of them, number of the country, share) of every share above 0."""
        asked = self._item[chosen]
        order = np.argsort(asked, kind="stable")
        share = self._mix.column(column).to_numpy().astype(np.float64)[self._order]
        at = np.minimum(np.searchsorted(asked[order], self._mix_item), len(asked) - 1)
        kept = np.flatnonzero((asked[order][at] == self._mix_item) & (np.nan_to_num(share) > 0))
        return order[at[kept]], self._country[kept], share[kept]


def _numbered(*columns: pa.ChunkedArray) -> tuple[Integers, list[str]]:
    """Numbers for the values of text columns, the same in all of them, and the words behind the numbers."""
    chunks = [c for column in columns for c in column.cast(pa.string()).chunks]
    coded = pa.chunked_array(chunks, pa.string()).combine_chunks().dictionary_encode()
    return coded.indices.to_numpy().astype(np.int64), [str(w) for w in coded.dictionary.to_pylist()]


def _traced_blocks(world: World) -> list[pa.Table]:
    traced = world.tracing.tracing
    if not traced.num_rows:
        return []
    held = _Supply(world)
    measures = traced.column("measure").cast(pa.string()).to_numpy(zero_copy_only=False)
    blocks: list[pa.Table] = []
    for measure in ("q", "v"):
        chosen = np.flatnonzero(measures == measure)
        if len(chosen):
            blocks += _Traced(world, held, chosen, measure).blocks()
    return blocks


class _Traced:
    """The traced rows of one measure, and blocks of figures about them."""

    def __init__(self, world: World, held: _Supply, chosen: Integers, measure: str) -> None:
        self.world, self.held, self.chosen, self.measure = world, held, chosen, measure
        self.part = world.tracing.tracing.take(pa.array(chosen))
        self.numbers = {name: numbers[chosen] for name, numbers in held.numbers.items()}
        self.years, self.of_year = np.unique(held.year[chosen], return_inverse=True)
        basis, bases = _numbered(self.part.column("basis"))
        small = pc.fill_null(self.part.column("small_or_precious"), False).to_numpy().astype(np.int64)
        self.notes = [
            "; ".join([*([] if b == "observed" else [b]), *(["small_or_precious"] if s else [])]) or None
            for b in bases
            for s in (False, True)
        ]
        self.note = basis * 2 + small

    def blocks(self) -> list[pa.Table]:
        """Planes of what has a supply; what has none says why."""
        world, held, count = self.world, self.held, len(self.chosen)
        by_mass = self.measure == "q"
        vector, country, share = held.vectors(self.chosen, "share_traced" if by_mass else "share_traced_v")
        at_year, at_focus = self.of_year[vector], self.numbers["focus"][vector]
        mine = self._own()[at_focus, at_year, country]
        unknown = np.array([c == UNKNOWN for c in held.countries], dtype=bool)[country]
        risk = np.array([[world.risk.get(int(y), {}).get(c, np.nan) for c in held.countries] for y in self.years])
        union = self._members({y: world.reference.bloc_members(EU27, int(y)) for y in self.years})
        planes = planes_of(vector, share, count, own=mine, unknown=unknown, risk=risk[at_year, country])
        third = first_largest(vector, share, ~mine & ~unknown & ~union[at_year, country], count)
        some = np.bincount(vector, minlength=count) > 0
        at = np.flatnonzero(some)

        limits = world.thresholds
        now = node_tests(planes.o1, planes.g2, limits.T_hhi.flag, limits.T_wgi.flag)
        raised = node_tests(planes.o1_high, planes.g2_high, limits.T_hhi.flag, limits.T_wgi.flag)
        unscored = "no_governance_score" if world.risk else "no_governance_data"
        governed = {"coverage": planes.coverage[at], "source_vintage": self._stamps(at, "baci", "mining", "wgi")}

        def rows(indicator: str, value: Floats, why: Sequence[str] = (), which: Any = 0, **columns: Any) -> pa.Table:
            chosen = {n: c[at] if n in ("low", "high") else c for n, c in columns.items()}
            reason = self._reasons(at, np.isnan(value[at]), why, which)
            stamp = {"source_vintage": self._stamps(at, "baci", "mining")} | chosen
            confidence = self.part.column("confidence").take(pa.array(at))
            return self._block(indicator, at, value=value[at], reason=reason, confidence=confidence, **stamp)

        def named(row: Integers) -> dict[str, Any]:
            """The country of a row of the vectors, and its share; null below 0."""
            row = row[at]
            numbers = np.where(row >= 0, country[row], -1)
            return {
                "country": words_of(numbers, held.countries),
                "country_share": np.where(row >= 0, share[row], np.nan),
            }

        def with_high(row: Integers) -> dict[str, Any]:
            largest = np.where(row >= 0, share[row], 0.0)
            return {"value": largest, "low": largest, "high": np.minimum(largest + planes.unknown, 1.0)}

        out = []
        if len(at):
            # Without a foreign part there is nothing to score: that is the reason, whatever the scores are.
            lacking = np.where(planes.foreign[at] > 0, 0, 1)
            out = [
                rows("O1", planes.o1, low=planes.o1, high=planes.o1_high, **named(planes.top)),
                rows("O1r", planes.o1_renormalised, ["no_foreign_supply"]),
                rows("T", now, [unscored], low=np.fmin(now, raised), high=np.fmax(now, raised), **governed),
                rows(
                    "G2", planes.g2, [unscored, "no_foreign_supply"], lacking, low=np.fmin(planes.g2, planes.g2_high),
                    high=np.fmax(planes.g2, planes.g2_high), **governed,
                ),
                rows("G3", planes.g3, [unscored], **governed),
                rows("own_share", planes.own),
                rows("unknown_share", planes.unknown),
                rows("imputed_share", self.part.column("imputed_share").to_numpy().astype(np.float64)),
                rows("C4b", **with_high(third), **named(third)),
            ]  # fmt: skip
            if by_mass:
                gap = planes.o1_renormalised - self._direct_concentration()
                out.append(rows("O2", gap, ["no_direct_mass"]))
        return [*out, *self._without(np.flatnonzero(~some))]

    def _without(self, at: Integers) -> list[pa.Table]:
        """What has no supply: every figure null, with the reason."""
        if not len(at):
            return []
        reason = pc.fill_null(self.part.column("reason").cast(pa.string()).take(pa.array(at)), "no_supply")
        nothing = {"value": np.full(len(at), np.nan), "reason": reason, "source_vintage": self._stamps(at, "baci")}
        return [self._block(i, at, **nothing) for i in ("O1", "O1r", "C4b", "T", "G2", "G3")]

    def _direct_concentration(self) -> Floats:
        """HHI of the direct imports by mass; NaN where there are none."""
        vector, _, share = self.held.vectors(self.chosen, "share_direct_q")
        count = len(self.chosen)
        total, squares = np.bincount(vector, share, count), np.bincount(vector, share * share, count)
        return np.divide(squares, total * total, out=np.full(count, np.nan), where=total > 0)

    def _own(self) -> npt.NDArray[np.bool_]:
        """``[focus, year, country]``: the countries that a focus stands for."""
        years = [int(y) for y in self.years]
        members = [focus_members(self.world.reference, f, years) for f in self.held.words["focus"]]
        return np.array([self._members({y: held[int(y)] for y in self.years}) for held in members])

    def _members(self, by_year: Mapping[Any, frozenset[str]]) -> npt.NDArray[np.bool_]:
        return np.array([[c in by_year[y] for c in self.held.countries] for y in self.years], dtype=bool)

    def _stamps(self, at: Integers, *kinds: str) -> pa.DictionaryArray:
        revisions = self.held.words["hs_revision"]
        words = [self.world.vintage(r, int(y), *kinds) for r in revisions for y in self.years]
        return words_of(self.numbers["hs_revision"][at] * len(self.years) + self.of_year[at], words)

    def _reasons(self, at: Integers, null: npt.NDArray[np.bool_], why: Sequence[str], which: Any) -> pa.DictionaryArray:
        """The notes; where the figure is null (and there is a why), the why before them."""
        words = [*self.notes, *("; ".join([w, *([n] if n else [])]) for w in why for n in self.notes)]
        numbers = self.note[at] + (np.where(null, (1 + which) * len(self.notes), 0) if why else 0)
        return words_of(numbers, words)

    def _block(self, indicator: str, at: Integers, **columns: Any) -> pa.Table:
        base = {name: words_of(numbers[at], self.held.words[name]) for name, numbers in self.numbers.items()}
        fixed = {"level": "hs6", "indicator": indicator, "measure": self.measure, "basis": "traced"}
        zeros = np.zeros(len(at), dtype=np.int32)
        return pa.table(
            base
            | {name: words_of(zeros, [word]) for name, word in fixed.items()}
            | {"tier": pa.array(zeros), "year": pa.array(self.years[self.of_year[at]].astype(np.int32))}
            | {n: _figures(c) if isinstance(c, np.ndarray) else c for n, c in columns.items()}
        )
