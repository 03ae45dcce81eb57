"""1,000 Monte Carlo draws through the chains of the whole catalogue: all groups of the embedded sample, two foci.

Steps one and two of the sample's newest year come before and are not in the time.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ketenpipe.chain.catalogue import Reference, load_reference
from ketenpipe.chain.lookthrough import build_exposure
from ketenpipe.chain.tracing import build_tracing
from ketenpipe.risk.chain_draws import ChainDraws, build_chain_draws
from ketenpipe.risk.draws import Draws
from ketenpipe.risk.governance import build_country_risk
from ketenpipe.risk.indicators import build_indicators
from ketenpipe.risk.thresholds import load_thresholds
from ketenpipe.risk.uncertainty import Uncertainty, load_uncertainty
from ketenpipe.risk.world import World, catalogue_codes
from ketenpipe.sources.baci import known_codes, list_years, read_year
from ketenpipe.sources.countries import country_list
from ketenpipe.sources.mining import read_mining
from ketenpipe.sources.places import discover, embedded
from ketenpipe.sources.wgi import read_wgi
from ketenpipe.tables.registry import (
    BACI_FLOWS,
    CHAIN_INDICATORS,
    CHAIN_NODES,
    COUNTRY_RISK,
    GOVERNANCE,
    MINING_PRODUCTION,
)
from ketenpipe.tables.store import Store
from ketenpipe_tests.benchmarks.measure import Benchmark, Measured, apart

FOCI = ("NLD", "EU27")
DRAWS = 1_000
DEPTH = 2
#: What all groups of the sample may take, seconds.
BAR = 20.0
TABLES = (CHAIN_NODES, CHAIN_INDICATORS, MINING_PRODUCTION, COUNTRY_RISK)


def known() -> Reference:
    """The shipped catalogue."""
    return load_reference(embedded("reference"))


def sample_world() -> World:
    """Steps one and the inputs of step two for the catalogue's codes in the sample's newest year."""
    inventory, reference = discover(embedded("sample")), known()
    newest = max(list_years(inventory), key=lambda held: held.year)
    read = read_year(newest, country_list(inventory, newest.release), known_codes(inventory, newest.hs_revision))
    flows = BACI_FLOWS.conform(read)
    flows = flows.filter(pc.is_in(flows.column("code"), pa.array(sorted(catalogue_codes(reference)))))
    mined = read_mining(inventory).table.rename_columns({"iso3": "country", "quantity_tonnes": "tonnes"})
    mining = MINING_PRODUCTION.conform(mined)
    scores = GOVERNANCE.conform(read_wgi(inventory).table.rename_columns({"iso3": "country"}))
    tracing = build_tracing(flows, mining, reference, FOCI)
    exposure = build_exposure(tracing, mining, reference, FOCI, DEPTH)
    risk, limits = build_country_risk(scores, "mean6"), load_thresholds(embedded("reference"))
    return World(flows, tracing, exposure, mining, risk, reference, FOCI, limits)


def prepare(home: Path) -> None:
    """Store what the draws read."""
    world, store = sample_world(), Store(home)
    figures = build_indicators(world)
    chains = figures.filter(pc.is_in(figures.column("level"), pa.array(["node", "group"])))
    store.write(BACI_FLOWS, world.flows, str(world.years[-1]))
    store.write(CHAIN_NODES, world.exposure.chain_nodes)
    store.write(CHAIN_INDICATORS, CHAIN_INDICATORS.conform(chains))
    if world.mining is not None:
        store.write(MINING_PRODUCTION, world.mining)
    store.write(COUNTRY_RISK, world.country_risk)


def drawn(home: Path, draws: int, model: Uncertainty | None = None) -> ChainDraws:
    """The draws of every group of a stored sample."""
    store = Store(home)
    nodes, figures, mining, risk = (store.read(table) for table in TABLES)
    return build_chain_draws(
        lambda year: store.read(BACI_FLOWS, [str(year)]),
        chain_nodes=nodes,
        chain_indicators=figures,
        mining=mining,
        country_risk=risk,
        reference=known(),
        foci=FOCI,
        thresholds=load_thresholds(embedded("reference")),
        model=model or load_uncertainty(embedded("reference")),
        draws=Draws(draws, 1),
    )


def timed(home: Path, draws: int) -> dict[str, Any]:
    """Ours, from the stored tables to the two tables."""
    start, worked = perf_counter(), process_time()
    found = drawn(home, draws)
    return {
        "seconds": perf_counter() - start,
        "processor": process_time() - worked,
        "figures": found.uncertainty.num_rows,
        "groups": len(pc.unique(found.uncertainty.column("group"))),
    }


def _sample(scale: float) -> Measured:
    draws = max(1, round(DRAWS * scale))
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        apart(prepare, home)
        ours = apart(timed, home, draws)
    found = ours.value
    note = f"{found['groups']} groups, {len(FOCI)} foci, {draws:,} draws, {found['figures']:,} figures"
    note += f"; {found['processor']:.0f} s of processor time by two workers"
    return Measured(found["seconds"], BAR * scale, ours.peak_mb, note)


def benchmarks() -> list[Benchmark]:
    """The benchmarks of this module."""
    return [
        Benchmark(
            "monte_carlo_chains",
            f"{DRAWS:,} draws of every group of the sample and its chain for two foci.",
            "twenty seconds",
            _sample,
            ratio_bar=1.0,
            memory_bar_mb=4000.0,
        )
    ]
