"""Small worlds with everything an explanation looks into, and a home with a release of one."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from ketenpipe.chain.paths import build_paths
from ketenpipe.chain.steps import ChainYear
from ketenpipe.observatory.explain_book import Book
from ketenpipe.observatory.release import publish
from ketenpipe.tables.registry import (
    BACI_FLOWS,
    LABELS,
    MINING_PRODUCTION,
    ORIGIN_MIX,
    PRODUCTION,
    SOURCES,
    TRACING,
)
from ketenpipe.tables.store import Store
from ketenpipe_tests.worlds import (
    REVISION,
    SCORES,
    Run,
    catalogue,
    essential,
    figure,
    flows,
    link,
    mass,
    mining,
    node,
    non_producer,
    run,
    thresholds,
)

METAL, ORE, SALT = "100001", "100002", "100003"
YEARS = (2018, 2019, 2020)
FILE = "baci/BACI_HS92_Y2020_V1.csv"
CONTENT = b"t,i,j,k,v,q\n"


@lru_cache
def world() -> Run:
    """Three years, NLD and EU27. Metal through DEU and BEL (no maker), its ore a statistic, salt of two codes.

    In 2020 NLD buys metal of DEU 600 t and CHN 400 t and sells 100 t to GBR; DEU's 600 t are all CHN's; EU27 buys CHN's
    1,200 t and RUS's 50 t. The ore has no flows to NLD but a production statistic.
    """
    rows = []
    for year in YEARS:
        more = 1.0 + (year - 2018) / 10
        rows += mass(
            year, METAL, ("DEU", "NLD", 600 * more), ("CHN", "NLD", 400), ("CHN", "DEU", 800), ("NLD", "GBR", 100),
            ("RUS", "BEL", 50), ("CHN", "USA", 700), ("BEL", "FRA", 80),
        )  # fmt: skip
        rows += mass(
            year, ORE, ("BRA", "CHN", 500), ("BRA", "DEU", 20), ("RUS", "CHN", 100), ("DEU", "NLD", 10),
            ("USA", "NLD", 12),
        )  # fmt: skip
        rows += mass(year, SALT, ("USA", "NLD", 150), ("CHN", "NLD", 150), ("USA", "DEU", 90))
        rows.append((year, SALT, "RUS", "NLD", 400.0, None))
    reference = catalogue(
        [
            node("metal", METAL, note="joins metal and scrap"), node("ore", ORE),
            node("mine", material="Ore", stage="extraction"), node("salts", f"{SALT} {ORE}"),
            node("listed", stage="extraction", note="no code"), node("alone", SALT),
        ],
        [essential("metal", "ore"), essential("ore", "mine"), essential("salts", "listed", "h"),
         essential("alone", "mine", "k")],
        {"g": "metal", "h": "salts", "k": "alone"},
        links=[link(METAL, "Metal"), link(ORE, "Ore", same_form=False)],
        figures=[figure("listed", "", y, c, share=s) for y in YEARS for c, s in (("CHN", 0.5), ("RUS", 0.2))],
        non_producers=[non_producer("BEL", code=METAL)],
    )  # fmt: skip
    statistics = mining(
        [
            *(("Metal", "CHN", y, 3000.0) for y in YEARS), *(("Metal", "RUS", y, 40.0) for y in YEARS),
            *(("Ore", c, y, q) for y in YEARS for c, q in (("BRA", 700.0), ("RUS", 200.0), ("ZAF", None))),
        ]
    )  # fmt: skip
    return run(flows(rows), reference, ("NLD", "EU27"), statistics=statistics, risk={**SCORES, "BRA": 0.5})


def tables(held: Run, **over: pa.Table | None) -> dict[str, pa.Table]:
    """What the book of a run holds; a table that is given as None is left out."""
    seen = ChainYear.of(
        exposure=held.exposure.exposure, chain_nodes=held.exposure.chain_nodes,
        chain_edges=held.exposure.chain_edges, production=held.tracing.production, origin_mix=held.tracing.origin_mix,
    )  # fmt: skip
    found: dict[str, pa.Table | None] = {
        "indicators": held.indicators,
        "flags": held.flags,
        "supply_mix": held.tracing.supply_mix,
        "tracing": held.tracing.tracing,
        "production": held.tracing.production,
        "origin_mix": held.tracing.origin_mix,
        "exposure": held.exposure.exposure,
        "chain_nodes": held.exposure.chain_nodes,
        "paths": build_paths(seen),
        "country_risk": held.world.country_risk,
        "mining_production": held.world.mining,
        "baci_flows": held.world.flows,
        "sources": source_rows(),
        "labels": label_rows(),
        **over,
    }
    return {name: table for name, table in found.items() if table is not None}


def book(held: Run, **over: pa.Table | None) -> Book:
    """The book of a run."""
    return Book(tables(held, **over), held.reference, thresholds())


def source_rows() -> pa.Table:
    """Two input files and two lists."""
    digest = hashlib.sha256(CONTENT).hexdigest()
    return SOURCES.conform(
        [
            {"source": "baci", "file": FILE, "sha256": digest, "vintage": "V1", "from_year": 2020, "to_year": 2020,
             "licence": "Etalab 2.0", "rows_read": 20, "rows_refused": 1, "reason": "one row twice"},
            {"source": "baci", "file": "baci/BACI_HS17_Y2020_V1.csv", "sha256": "1" * 64, "from_year": 2020,
             "to_year": 2020},
            {"source": "mining", "file": "mining/wmd.zip!6.4.xlsx", "sha256": "2" * 64, "from_year": 2018,
             "to_year": 2020},
            {"source": "reference", "file": "nodes.csv", "sha256": "3" * 64},
            {"source": "reference", "file": "edges.csv", "sha256": "4" * 64},
            {"source": "baci", "file": "baci/readme.xyz", "reason": "not read", "rows_read": 0},
        ]
    )  # fmt: skip


def label_rows() -> pa.Table:
    """Names of a few codes."""
    rows: list[dict[str, Any]] = [
        {"kind": "country", "code": "NLD", "name_en": "Netherlands", "name_nl": "Nederland"},
        {"kind": "country", "code": "CHN", "name_en": "China", "name_nl": "China"},
        {"kind": "country", "code": "DEU", "name_en": "Germany", "name_nl": "Duitsland"},
        {"kind": "group", "code": "g", "name_en": "Metal goods", "name_nl": "Metaalwaren"},
        {"kind": "node", "code": "metal", "name_en": "Metal", "name_nl": "Metaal"},
        {"kind": "product", "code": METAL, "hs_revision": REVISION, "name_en": "Metal, unwrought"},
    ]
    return LABELS.conform(rows)


def home_of(
    folder: Path, held: Run, *, with_home_tables: bool = True, parameters: Mapping[str, Any] | None = None,
    **over: pa.Table | None,
) -> Path:  # fmt: skip
    """A home with a release of a run, and the tables under the home that no release carries."""
    given = tables(held, **over)
    unreleased = ("tracing", "production", "origin_mix", "mining_production", "baci_flows")
    publish(
        folder,
        {name: table for name, table in given.items() if name not in unreleased},
        parameters={
            "focus": ["NLD"], "bloc": ["EU27"], "thresholds": thresholds().model_dump(mode="json"), **(parameters or {})
        },
        method_versions={"ketenpipe": "1"},
        source_vintages={"baci": "V1"},
        seed=1,
        today=datetime.date(2026, 3, 1),
    )  # fmt: skip
    if with_home_tables:
        store = Store(folder)
        store.write(MINING_PRODUCTION, given["mining_production"])
        for contract in (BACI_FLOWS, TRACING, PRODUCTION, ORIGIN_MIX):
            data = given[contract.name]
            for year in YEARS:
                rows = data.filter(pa.array([y == year for y in data.column("year").to_pylist()]))
                store.write(contract, rows, str(year))
    return folder
