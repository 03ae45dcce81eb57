"""Paths and shocks over the whole catalogue, one made-up year of real density between 226 countries."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ketenpipe.chain.catalogue import Reference, load_reference
from ketenpipe.chain.lookthrough import build_exposure
from ketenpipe.chain.paths import MOST, build_paths
from ketenpipe.chain.steps import Chain, ChainYear
from ketenpipe.chain.tracing import focus_members, trace_year
from ketenpipe.risk.shocks import standard_shocks
from ketenpipe.sources.countries import read_country_list
from ketenpipe.sources.places import embedded
from ketenpipe.tables.registry import BACI_FLOWS, EXPOSURE
from ketenpipe_tests.benchmarks import baci_year
from ketenpipe_tests.benchmarks.measure import Benchmark, Measured, apart

YEAR = 2022
FEW = ("NLD", "EU27")
NAMES = ("exposure", "chain_nodes", "chain_edges", "production", "origin_mix")


def reference() -> Reference:
    """The shipped catalogue."""
    return load_reference(embedded("reference"))


def flows(rows: int) -> pa.Table:
    """The catalogue's codes of a made-up year of so many rows."""
    (path,) = sorted((embedded("sample") / "baci").glob("country_codes_*.csv"))
    iso3 = {c.code: c.iso3 for c in read_country_list(path).by_code.values()}
    wanted = pa.array(sorted({c for n in reference().nodes.values() for c in n.codes_hs92}))
    parts = []
    for batch in baci_year.year_batches(rows, YEAR):
        part = batch.filter(pc.is_in(batch.column("k"), wanted))
        tonnes = pc.replace_substring(pc.utf8_trim_whitespace(part.column("q")), "NA", "")
        parts.append(
            pa.table(
                {
                    "hs_revision": pa.repeat(pa.scalar(baci_year.REVISION), part.num_rows),
                    "year": pa.repeat(pa.scalar(YEAR, pa.int32()), part.num_rows),
                    "code": part.column("k"),
                    "exporter": pa.array([iso3[c] for c in part.column("i").to_pylist()], pa.string()),
                    "importer": pa.array([iso3[c] for c in part.column("j").to_pylist()], pa.string()),
                    "value_kusd": pc.utf8_trim_whitespace(part.column("v")).cast(pa.decimal128(18, 3)),
                    "tonnes": pc.if_else(pc.equal(tonnes, ""), None, tonnes).cast(pa.float64()),
                    "release": pa.repeat(pa.scalar(baci_year.RELEASE), part.num_rows),
                }
            )
        )
    return BACI_FLOWS.conform(pa.concat_tables(parts))


def everybody(seen: ChainYear, exposure: pa.Table) -> pa.Table:
    """Table ``exposure`` for every country as focus, from the matrices of the year.

    The look-through keeps each vector as a dictionary, and is not what is measured here.
    """
    parts = [exposure]
    for chain in seen.chains():
        own = chain.traded[chain.head].origins
        for at, focus in enumerate(seen.countries[:-1]):
            if focus in chain.starts or own[at, -1] == 1.0:
                continue
            vectors = replace(chain, starts={focus: own[at]}).vectors(focus)
            for node, vector in vectors.items():
                if chain.tier(node) is None:
                    continue
                places = np.flatnonzero(vector > 0)
                same: dict[str, Any] = {
                    "focus": focus, "group": chain.group, "node": node, "tier": chain.tier(node), "year": YEAR,
                    "hs_revision": chain.revision, "basis": chain.traded[node].basis, "imputed_share": 1.0,
                    "evidence": chain.nodes[node]["evidence"], "same_for_every_country": False,
                }  # fmt: skip
                columns = {
                    c.name: pa.repeat(pa.scalar(same.get(c.name), c.type), len(places)) for c in EXPOSURE.columns
                }
                columns["country"] = pa.array([seen.countries[k] for k in places], pa.string())
                columns["share_traced"] = pa.array(np.minimum(vector[places], 1.0))
                parts.append(pa.table(columns, schema=EXPOSURE.schema()))
    return EXPOSURE.conform(pa.concat_tables(parts))


def made_up(scale: float) -> Path:
    """A folder with the tables of the year for every country as focus and the EU27, kept between runs."""
    folder = baci_year.cache() / f"paths-{scale:g}"
    if not (folder / "members.parquet").exists():
        folder.mkdir(parents=True, exist_ok=True)
        catalogue, table = reference(), flows(round(baci_year.FULL_ROWS * scale))
        traders = {c for side in ("importer", "exporter") for c in table.column(side).unique().to_pylist()}
        foci = tuple(sorted({*traders, "EU27"}))
        traced = trace_year(table, None, catalogue, foci, YEAR)
        looked = build_exposure(traced, None, catalogue, FEW, 2)
        tables = {n: getattr(traced if n in ("production", "origin_mix") else looked, n) for n in NAMES}
        tables["exposure"] = everybody(ChainYear.of(**tables), looked.exposure)
        for name, content in {**tables, "supply_mix": traced.supply_mix}.items():
            pq.write_table(content, folder / f"{name}.parquet", compression="zstd")
        pairs = [(f, c) for f in foci for c in sorted(focus_members(catalogue, f, [YEAR])[YEAR])]
        pq.write_table(
            pa.table({"focus": [f for f, _ in pairs], "country": [c for _, c in pairs]}), folder / "members.parquet"
        )
    return folder


def opened(folder: Path, foci: tuple[str, ...] | None) -> ChainYear:
    """The year as the assets open it; only some foci, if told so."""
    tables = {name: pq.read_table(folder / f"{name}.parquet") for name in NAMES}
    if foci is not None:
        kept = pc.is_in(tables["exposure"].column("focus"), pa.array(foci))
        tables["exposure"] = tables["exposure"].filter(kept)
    return ChainYear.of(**tables)


def paths(folder: Path, foci: tuple[str, ...] | None) -> dict[str, Any]:
    """Ours: from the stored tables to table ``paths``."""
    start = perf_counter()
    seen = opened(folder, foci)
    table = build_paths(seen)
    seconds = perf_counter() - start
    keys = table.group_by(["focus", "group", "node"]).aggregate([("explained", "min")])
    return {
        "seconds": seconds,
        "rows": table.num_rows,
        "nodes": keys.num_rows,
        "short": pc.sum(pc.less(keys.column("explained_min"), 0.95)).as_py() or 0,
        "first": float(np.sum(table.filter(pc.equal(table.column("rank"), 1)).column("share").to_numpy())),
    }


def _every(chain: Chain, node: str) -> list[tuple[str, ...]]:
    if node == chain.head:
        return [(node,)]
    return [(*way, node) for user, _ in chain.users[node] for way in _every(chain, user)]


def listed(folder: Path, foci: tuple[str, ...]) -> dict[str, Any]:
    """The rival: the shares of all paths of each node in one array per way, sorted, the largest 1,000 taken."""
    start = perf_counter()
    seen = opened(folder, foci)
    first = 0.0
    for chain in seen.chains():
        for node in chain.order:
            if (chain.tier(node) or 0) < 1:
                continue
            for focus, start_vector in chain.starts.items():
                best: list[float] = []
                for way in _every(chain, node) if node in chain.traded else [(node,)]:
                    shares = start_vector if node in chain.traded else chain.mixes[node]
                    for user, item in itertools.pairwise(way):
                        weight = dict(chain.users[item])[user]
                        if item in chain.traded:
                            shares = weight * shares[..., np.newaxis] * chain.traded[item].origins
                        else:
                            shares = weight * shares
                    flat = shares.ravel()
                    count = min(MOST, len(flat))
                    best += np.partition(flat, -count)[-count:].tolist()
                if (focus, node) in chain.basis:
                    first += max(best)
    return {"seconds": perf_counter() - start, "first": first}


def shocks(folder: Path, foci: tuple[str, ...] | None) -> dict[str, Any]:
    """Ours: from the stored tables to the standard set of table ``shocks``."""
    held: dict[str, set[str]] = {}
    for row in pq.read_table(folder / "members.parquet").to_pylist():
        held.setdefault(row["focus"], set()).add(row["country"])
    start = perf_counter()
    seen = opened(folder, foci)
    members = {f: frozenset(c) for f, c in held.items()}
    table = standard_shocks(seen, members, pq.read_table(folder / "supply_mix.parquet"))
    return {"seconds": perf_counter() - start, "rows": table.num_rows}


def bare(folder: Path) -> float:
    """The floor: reading the same tables."""
    start = perf_counter()
    for name in (*NAMES, "supply_mix"):
        pq.read_table(folder / f"{name}.parquet")
    return perf_counter() - start


def _against_listing(scale: float) -> Measured:
    folder = made_up(scale)
    theirs, ours = apart(listed, folder, FEW), apart(paths, folder, FEW)
    if abs(ours.value["first"] - theirs.value["first"]) > 1e-6 * max(theirs.value["first"], 1.0):
        raise RuntimeError("the largest paths are not those of the listing")
    note = (
        f"{ours.value['nodes']} exposures, {ours.value['rows']:,} rows, {ours.value['short']} end at {MOST:,} below "
        f"95 %; the listing needs {theirs.peak_mb:,.0f} MB"
    )
    return Measured(ours.value["seconds"], theirs.value["seconds"], ours.peak_mb, note)


def _all_paths(scale: float) -> Measured:
    folder = made_up(scale)
    floor, ours = apart(bare, folder), apart(paths, folder, None)
    note = f"{ours.value['nodes']:,} exposures, {ours.value['rows']:,} rows, {ours.value['short']:,} below 95 %"
    return Measured(ours.value["seconds"], floor.value, ours.peak_mb, note)


def _all_shocks(scale: float) -> Measured:
    folder = made_up(scale)
    floor, ours = apart(bare, folder), apart(shocks, folder, None)
    return Measured(ours.value["seconds"], floor.value, ours.peak_mb, f"{ours.value['rows']:,} rows")


def benchmarks() -> list[Benchmark]:
    """The benchmarks of this module."""
    return [
        Benchmark(
            "paths_two_foci",
            "The paths of every exposure of the catalogue for the Netherlands and the EU27, one year.",
            "listing every path with NumPy and sorting",
            _against_listing,
        ),
        Benchmark(
            "paths_all_foci",
            "The same for every country and the EU27 at once.",
            "reading the tables",
            _all_paths,
            memory_bar_mb=4000.0,
        ),
        Benchmark(
            "shocks_all_foci",
            "The standard scenarios of every country and the EU27 at once, one year.",
            "reading the tables",
            _all_shocks,
            memory_bar_mb=4000.0,
        ),
    ]
