"""Table indicators, year after year: the same rows as at once, in key order, through the store's own check."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ketenpipe.chain.lookthrough import Exposure
from ketenpipe.chain.tracing import Tracing
from ketenpipe.risk.facts import Persistence, collect_facts
from ketenpipe.risk.indicators import build_chain_indicators, build_indicators
from ketenpipe.risk.methods import Judgement, build_flags
from ketenpipe.risk.products import build_product_indicators
from ketenpipe.risk.streams import stream_indicators
from ketenpipe.risk.world import Vintages, World
from ketenpipe.tables.registry import FLAGS, INDICATORS
from ketenpipe.tables.store import Store
from ketenpipe_tests.worlds import Run, catalogue, edge, flows, link, mass, mining, node, run

YEARS = (2019, 2020, 2021, 2022)


def several_years() -> Run:
    chance = np.random.default_rng(11)
    places = ("AUT", "BRA", "CHN", "DEU", "NLD", "RUS", "USA")
    codes = [f"{500000 + n}" for n in range(7)]
    made = []
    for year in YEARS:
        for code in codes:
            pairs = [(i, j) for i in places for j in places if i != j and chance.random() < 0.3]
            made += mass(year, code, *((i, j, float(np.round(10 ** chance.uniform(0, 4), 1))) for i, j in pairs))
    nodes = [node(f"n{k}", c) for k, c in enumerate(codes[:3])]
    nodes += [node("pair", f"{codes[3]} {codes[4]}"), node("mine", material="X", stage="extraction")]
    edges = [edge("n0", "n1", 0.5), edge("n1", "pair", 0.5), edge("pair", "mine", essential=True)]
    statistics = mining([("X", c, y, q) for y in YEARS for c, q in (("CHN", 70.0), ("RUS", 30.0))])
    reference = catalogue(nodes, edges, {"g": "n0"}, links=[link(codes[1], "X", same_form=False)])
    risk = {"CHN": 0.8, "RUS": 0.9, "DEU": 0.15, "AUT": 0.1, "USA": 0.4, "NLD": 0.1, "BRA": None}
    return run(flows(made), reference, ("NLD", "EU27"), statistics=statistics, risk=risk, minimum=1000.0)


def of_year(table: pa.Table, year: int) -> pa.Table:
    return table.filter(pc.field("year") == year)


def one_year(held: Run, year: int, codes: set[str] | None) -> World:
    """The world of a year; with codes only those, as far as tables by product go."""

    def cut(table: pa.Table) -> pa.Table:
        own = of_year(table, year) if "year" in table.column_names else table
        return own if codes is None else own.filter(pc.field("code").isin(sorted(codes)))

    tracing = Tracing(*(cut(t) for t in (held.tracing.production, held.tracing.origin_mix,
                                         held.tracing.tracing, held.tracing.supply_mix)))  # fmt: skip
    exposure = Exposure(held.exposure.chain_nodes, held.exposure.chain_edges, of_year(held.exposure.exposure, year))
    world = held.world
    return World(
        cut(world.flows), tracing, exposure, world.mining, world.country_risk, world.reference, world.foci,
        world.thresholds, releases={("HS92", year): world.releases["HS92", year]},
    )  # fmt: skip


def test_year_by_year_equals_all_at_once(tmp_path: Path) -> None:
    held = several_years()
    store = Store(tmp_path)
    codes = {c for n in held.reference.nodes.values() for c in n.codes("HS92")}
    products = {y: build_product_indicators(one_year(held, y, None)) for y in YEARS}
    for year, table in products.items():
        assert set(table.column("level").to_pylist()) == {"hs6"}
        assert set(table.column("year").to_pylist()) == {year}
    worlds = (one_year(held, y, codes) for y in YEARS)
    chains = build_chain_indicators(worlds, lambda years: pa.concat_tables([products[y] for y in years]))
    facts = collect_facts([*products.values(), chains])
    stamps = Vintages(held.world.releases, held.world.wgi_vintage)
    persistent = Persistence(facts, held.world.thresholds, stamps)
    judged = Judgement(facts, held.exposure.chain_nodes, held.world.thresholds, stamps, 1000.0)
    store.write_stream(FLAGS, judged.flag_stream())
    assert store.read(FLAGS).equals(held.flags)
    late = INDICATORS.conform([_late(2023), _late(2020)])
    stream = stream_indicators(YEARS, products.__getitem__, [chains, judged.churn(), late], persistent)
    store.write_stream(INDICATORS, stream)
    whole = INDICATORS.conform(pa.concat_tables([held.indicators, late]))
    assert store.read(INDICATORS).equals(whole)
    assert whole.column("year").to_pylist() == sorted(whole.column("year").to_pylist())


def _late(year: int) -> dict[str, object]:
    return {
        "focus": "NLD", "level": "hs6", "code": "500000", "hs_revision": "HS92", "tier": 0, "year": year,
        "indicator": "C1", "measure": "v", "basis": "reconciled_comtrade", "value": 0.5, "unit": "index 0-1",
        "method_version": "1",
    }  # fmt: skip


def test_all_at_once_is_the_sum_of_its_parts() -> None:
    held = several_years()
    made = build_indicators(held.world)
    flags, indicators = build_flags(held.world, made, 1000.0)
    assert flags.equals(held.flags)
    assert indicators.equals(held.indicators)
    assert set(indicators.column("level").to_pylist()) == {"hs6", "node", "group", "set"}


def test_without_products_and_parts_there_is_an_empty_table(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write_stream(INDICATORS, stream_indicators((), lambda year: INDICATORS.empty()))
    assert store.read(INDICATORS).num_rows == 0


def test_a_year_that_only_a_part_has_is_not_asked_for(tmp_path: Path) -> None:
    store = Store(tmp_path)
    asked: list[int] = []

    def read(year: int) -> pa.Table:
        asked.append(year)
        return INDICATORS.conform([_late(year) | {"basis": "imports"}])

    store.write_stream(INDICATORS, stream_indicators([2021, 2020], read, [INDICATORS.conform([_late(2023)])]))
    assert asked == [2020, 2021]
    assert store.read(INDICATORS).column("year").to_pylist() == [2020, 2021, 2023]
