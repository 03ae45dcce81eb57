"""A real-size input-output table: read and audited, against the bare bytes and against pymrio."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pymrio
from scipy.linalg import lu_factor

from ketenpipe.sources.icio import IcioFile, layouts, read_table
from ketenpipe.sources.icio_audit import audit, failed, icio_accounts, read_and_audit
from ketenpipe.sources.places import Sidecar, SourceFile
from ketenpipe_tests.benchmarks.baci_year import cache
from ketenpipe_tests.benchmarks.measure import Benchmark, Measured, apart
from ketenpipe_tests.sources.icio_worlds import FINAL, country_codes, extend, make_world, write_csv

REGIONS = 81
#: As many as in the 2025 edition; those that tell the edition by name, the others by number.
INDUSTRIES = ("A01", "B05", "C24A", *(f"X{n:02d}" for n in range(47)))
YEAR = 2022


def made_up(scale: float, *, extended: bool = False) -> Path:
    """The made-up table as CSV, kept between runs: ``scale`` of the 81 regions, 50 industries each."""
    regions = max(5, round(REGIONS * scale))
    folder = cache() / f"icio-{regions}"
    # pymrio takes edition and year from the name.
    path = folder / f"ICIO2023_{YEAR}{'_EXT' if extended else ''}.csv"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        world = make_world(country_codes(regions), list(INDUSTRIES), FINAL["2025"], seed=3)
        building = path.with_suffix(".part")
        write_csv(extend(world) if extended else world, "2025", building)
        building.replace(path)
    return path


def opened(path: Path) -> IcioFile:
    """The table as the sources folder would list it."""
    file = SourceFile("icio", "table", path, path.name, "", path.stat().st_size, Sidecar(), None)
    return IcioFile(YEAR, False, path, None, file, layouts())


def read_bytes(path: Path) -> int:
    """The floor: every byte of the file, from the disk cache."""
    return len(path.read_bytes())


def read_and_check(path: Path) -> dict[str, Any]:
    """Ours: CSV to matrices, every check, the accounts of every industry."""
    table, findings = read_and_audit(opened(path))
    return {
        "rows": len(table.labels),
        "failed": [f.sentence for f in failed(findings)],
        "accounts": icio_accounts(table).num_rows,
    }


def check(path: Path) -> dict[str, Any]:
    """The audit alone, timed within: the table is read first."""
    table = read_table(opened(path))
    start = perf_counter()
    findings = audit(table)
    middle = perf_counter()
    lu_factor(np.eye(len(table.OUT)) - table.Z / table.OUT)
    return {"audit": middle - start, "lu": perf_counter() - middle, "checks": len(findings)}


def read_and_check_with_pymrio(path: Path) -> dict[str, Any]:
    """The rival: parse, and the one check that pymrio's functions give: output from the rows against the columns'."""
    world = pymrio.parse_oecd(path)
    output = pymrio.calc_x(world.Z, world.Y)["indout"]
    spent = world.Z.sum(axis=0) + world.factor_inputs.F.sum(axis=0)
    return {"gap": float((output - spent).abs().max())}


def _against_bytes(scale: float, *, extended: bool = False) -> Measured:
    path = made_up(scale, extended=extended)
    floor, ours = apart(read_bytes, path), apart(read_and_check, path)
    if ours.value["failed"] and scale == 1.0:
        raise RuntimeError(f"a balanced table failed: {ours.value['failed']}")
    note = f"{ours.value['rows']:,} rows, {floor.value / 1e6:,.0f} MB of text; issue 3 asks for less than 5 s"
    return Measured(ours.seconds, floor.seconds, ours.peak_mb, note)


def _against_pymrio(scale: float) -> Measured:
    path = made_up(scale)
    theirs, ours = apart(read_and_check_with_pymrio, path), apart(read_and_check, path)
    note = f"pymrio peaks at {theirs.peak_mb:,.0f} MB and checks the balance alone"
    return Measured(ours.seconds, theirs.seconds, ours.peak_mb, note)


def _against_lu(scale: float) -> Measured:
    ours = apart(check, made_up(scale))
    note = f"{ours.value['checks']} checks; the table is in memory"
    return Measured(ours.value["audit"], ours.value["lu"], ours.peak_mb, note)


def benchmarks() -> list[Benchmark]:
    """The benchmarks of this module."""
    return [
        Benchmark(
            "icio_audit",
            "An input-output table of 4,050 rows from CSV to matrices, audited, with the accounts of its industries.",
            "bare read of the bytes",
            _against_bytes,
        ),
        Benchmark(
            "icio_audit_extended",
            "The same in the extended layout (85 regions), folded into 81.",
            "bare read of the bytes",
            partial(_against_bytes, extended=True),
        ),
        Benchmark(
            "icio_audit_pymrio",
            "The same against pymrio's reader and its one comparable check.",
            "pymrio parse_oecd, calc_x",
            _against_pymrio,
            ratio_bar=1.0,
        ),
        Benchmark(
            "icio_audit_alone",
            "Every check on a table of 4,050 rows that is in memory.",
            "one LU of I - A",
            _against_lu,
            ratio_bar=1.0,
        ),
    ]
