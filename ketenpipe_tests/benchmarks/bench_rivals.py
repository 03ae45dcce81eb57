"""The industry layer against pymrio and MARIO: the same figures from the same table, compared before the clock counts.

What theirs is in our words (read in the source of MARIO 1.3.2 and pymrio 0.7.0):

- pymrio ``calc_all``: A, the dense L, then multipliers ``M = v L`` and footprints ``D_cba = M Y`` by consuming region.
  Ours: one factorisation, one transposed solve for M, and the columns of L that are asked for.
- MARIO ``calc_trades_concentration``: the bundle ``t`` that region r delivers to region d (inputs and final goods, all
  industries together) has the content ``diag(v) L t``; its absolute value by country of origin, as shares, and their
  HHI. ``calc_trades_exposure``: the share of one named country in it. Called for one industry, the bundle is one column
  of L whatever d is: that is what ``industry_measures`` publishes as ``value_added_hhi`` and ``value_added_content``.
  Ours: one transposed solve per country of origin, not one solve per pair of regions.
- MARIO ``calc_spa``: chains ``v_i a_ij ... y`` one by one down to a cutoff and a depth. Their sum at depth t is
  ``v A^t y``, which is our tier t; ours needs no cutoff and closes with the tail. Which single links matter most is
  ``industry_coefficients`` here, exact to the k-th, while a cutoff leaves a rest that nobody has seen.

MARIO pins its dependencies, so it runs in an environment of its own, made in the benchmarks' cache when first needed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from functools import lru_cache, partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pymrio

from ketenpipe.chain.leontief import Leontief, leanings
from ketenpipe.sources.icio import IcioTable
from ketenpipe_tests.benchmarks import baci_year
from ketenpipe_tests.benchmarks.bench_industry import layer, made_up, opened, regions_of
from ketenpipe_tests.benchmarks.measure import Benchmark, Measured, Timed, Unavailable, apart

MARIO = "1.3.2"
FOCUS, NAMED = "NLD", "CHN"
#: MARIO needs ten minutes at the real size: its benchmarks run at 20 regions unless ``--scale 1`` is said.
SMALL = 0.25
#: Its path analysis meets 4,050 suppliers at every step: 8 regions, two steps, chains above a thousandth of the demand.
PATHS_SCALE, DEPTH, CUTOFF = 0.1, 2, 1e-3
#: Any two of the compared figures differ by less.
EQUAL = 1e-9

Array = npt.NDArray[np.float64]


# -- ours -------------------------------------------------------------------------------------------------------


def _parts(table: IcioTable) -> tuple[Array, Array, Array]:
    """Value added per unit of output (n), which row is whose (C, n), final demand by region (n, C)."""
    made = table.OUT > 0
    rate = np.where(made, table.VA + table.TLS, 0.0) / np.where(made, table.OUT, 1.0)
    owner = np.array([[c == country for c, _ in table.labels] for country in table.countries], dtype=np.float64)
    of = np.array([[c == country for c, _ in table.final_labels] for country in table.countries], dtype=np.float64)
    return rate, owner, table.Y @ of.T


def trade_shares(table: IcioTable) -> Array:
    """Whose value added is in what region r delivers to region d: shares, shape (r, origin, d); NaN without trade."""
    rate, owner, demand = _parts(table)
    economy = Leontief.of(table.Z, table.OUT)
    by_origin = economy.backward((owner * rate).T)
    bundles = table.Z @ owner.T + demand
    content = np.stack([np.abs(by_origin[rows].T @ bundles[rows]) for rows in owner.astype(bool)])
    whole = content.sum(axis=1, keepdims=True)
    return np.where(whole > 0, content, np.nan) / np.where(whole > 0, whole, 1.0)


def concentration(codes: list[str], folder: Path) -> dict[str, Any]:
    """Ours of MARIO's concentration: the HHI of every pair of regions, shape (r, d)."""
    table = opened(codes, folder)
    start = perf_counter()
    values = (trade_shares(table) ** 2).sum(axis=1)
    return {"seconds": perf_counter() - start, "values": values}


def exposure(codes: list[str], folder: Path) -> dict[str, Any]:
    """Ours of MARIO's exposure to the named country: its share for every pair of regions, shape (r, d)."""
    table = opened(codes, folder)
    start = perf_counter()
    values = trade_shares(table)[:, table.countries.index(NAMED)]
    return {"seconds": perf_counter() - start, "values": values}


def tiers(codes: list[str], folder: Path, item: str) -> dict[str, Any]:
    """Ours of MARIO's paths: value added behind the focus's demand for an item, by tier, and the tail, exhaustively."""
    table = opened(codes, folder)
    rate, _, demand = _parts(table)
    start = perf_counter()
    economy = Leontief.of(table.Z, table.OUT)
    wanted = np.array([i == item for _, i in table.labels])
    amount = np.where(wanted, demand[:, table.countries.index(FOCUS)], 0.0)
    by_depth = [float(rate @ amount)]
    for _ in range(DEPTH):
        amount = economy.step(amount)
        by_depth.append(float(rate @ amount))
    rest = float(rate @ economy.forward(economy.step(amount)))
    return {"seconds": perf_counter() - start, "by_depth": by_depth, "rest": rest}


def spot_columns(table: IcioTable) -> list[int]:
    """The focus's columns of L, the ones that are compared."""
    return [k for k, (c, _) in enumerate(table.labels) if c == FOCUS]


def footprints(codes: list[str], folder: Path) -> dict[str, Any]:
    """Ours of pymrio's system: the focus's columns of L, every multiplier, every region's footprint; tiers add up."""
    table = opened(codes, folder)
    rate, _, demand = _parts(table)
    start = perf_counter()
    economy = Leontief.of(table.Z, table.OUT)
    multipliers = economy.backward(rate)
    columns = spot_columns(table)
    unit = np.zeros((len(rate), len(columns)), order="F")
    unit[columns, range(len(columns))] = 1.0
    spots = economy.forward(unit)
    behind = multipliers @ demand
    seconds = perf_counter() - start
    lean = leanings(economy, [np.array([k]) for k in columns], 4)
    gap = np.abs((lean.tiers.sum(axis=0) + lean.tail - lean.total).sum(axis=0)) / lean.total.sum(axis=0)
    return {
        "seconds": seconds,
        "L": spots,
        "M": multipliers,
        "D": behind,
        "tier gap": float(gap.max()),
        "added": float(np.abs(multipliers - 1).max()),
    }


# -- theirs -----------------------------------------------------------------------------------------------------


def with_pymrio(codes: list[str], folder: Path) -> dict[str, Any]:
    """The whole system with pymrio: A, x, L, then S, M and the footprints of one stressor, value added."""
    table = opened(codes, folder)
    names = pd.MultiIndex.from_tuples(table.labels, names=["region", "sector"])
    final = pd.MultiIndex.from_tuples(table.final_labels, names=["region", "category"])
    system = pymrio.IOSystem(Z=pd.DataFrame(table.Z, names, names), Y=pd.DataFrame(table.Y, names, final))
    system.va = pymrio.Extension("va", F=pd.DataFrame([table.VA + table.TLS], ["va"], names))
    start = perf_counter()
    system.calc_system()
    middle = perf_counter()
    system.calc_all()
    seconds = perf_counter() - start
    return {
        "seconds": seconds,
        "system": middle - start,
        "L": system.L.to_numpy()[:, spot_columns(table)],
        "M": system.va.M.to_numpy()[0],
        "D": system.va.D_cba_reg[list(table.countries)].to_numpy()[0],
    }


def mario_python() -> Path:
    """The interpreter of MARIO's own environment; made in the cache when first needed.

    Raises:
        Unavailable: it cannot be installed.
    """
    home = baci_year.cache() / f"mario-{MARIO}"
    python = home / "bin" / "python"
    ready = home / "ready"
    if ready.exists():
        return python
    try:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True, capture_output=True, text=True)
        subprocess.run(
            [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"mariopy=={MARIO}"],
            check=True,
            capture_output=True,
            text=True,
        )
    except (OSError, subprocess.CalledProcessError) as broken:
        said = (getattr(broken, "stderr", None) or str(broken)).strip().splitlines()
        raise Unavailable(f"MARIO {MARIO} cannot be installed ({said[-1] if said else broken})") from broken
    ready.touch()
    return python


@lru_cache(maxsize=4)
def with_mario(folder: Path, order: str) -> dict[str, Any]:
    """What MARIO found and took (``mario_side.py``); kept for the benchmarks of the same run that share it."""
    script = Path(__file__).with_name("mario_side.py")
    ran = subprocess.run([str(mario_python()), str(script), str(folder), order], capture_output=True, text=True)
    if ran.returncode:
        raise RuntimeError(f"MARIO ended with exit code {ran.returncode}: {ran.stderr.strip()[-2000:]}")
    found: dict[str, Any] = json.loads(ran.stdout.strip().splitlines()[-1])
    return found


def table_for_mario(scale: float) -> tuple[list[str], Path]:
    """The made-up table with its labels beside it."""
    codes, folder = regions_of(scale), made_up(scale)
    table = opened(codes, folder)
    (folder / "labels.json").write_text(json.dumps({"rows": table.labels, "final": table.final_labels}))
    return codes, folder


def _difference(ours: Any, theirs: Any, what: str) -> float:
    gap = float(np.abs(np.asarray(ours) - np.asarray(theirs)).max())
    if not gap <= EQUAL:
        raise RuntimeError(f"ours and theirs differ by {gap:.3g} in {what}")
    return gap


def _relative(ours: Any, theirs: Any, what: str) -> float:
    return _difference(np.asarray(ours) / np.asarray(theirs), 1.0, what)


# -- against each other -----------------------------------------------------------------------------------------


def _pymrio(scale: float) -> Measured:
    codes, folder = regions_of(scale), made_up(scale)
    theirs, ours = apart(with_pymrio, codes, folder), apart(footprints, codes, folder)
    gaps = [_difference(ours.value[k], theirs.value[k], k) for k in ("L", "M")]
    gaps.append(_relative(ours.value["D"], theirs.value["D"], "footprints"))
    if not ours.value["tier gap"] <= 1e-10:
        raise RuntimeError(f"tiers and tail miss the Leontief total by {ours.value['tier gap']:.3g}")
    note = (
        f"{len(ours.value['M']):,} rows; {ours.value['L'].shape[1]} columns of L, M, footprints equal within "
        f"{max(gaps):.0e}; tiers and tail miss the total by {ours.value['tier gap']:.0e}; v'L - 1 is at most "
        f"{ours.value['added']:.0e}; calc_system alone {theirs.value['system']:.1f} s, pymrio peaks at "
        f"{theirs.peak_mb:,.0f} MB"
    )
    return Measured(ours.value["seconds"], theirs.value["seconds"], ours.peak_mb, note)


def _mario(scale: float, *, what: str) -> Measured:
    codes, folder = table_for_mario(scale)
    order = {"what": what} if what == "concentration" else {"what": what, "to": NAMED}
    theirs = with_mario(folder, json.dumps(order))
    ours = apart({"concentration": concentration, "exposure": exposure}[what], codes, folder)
    gap = _difference(ours.value["values"], np.load(folder / f"mario-{what}.npy"), what)
    note = (
        f"{len(codes)} regions x 50 industries; {ours.value['values'].size:,} figures equal within {gap:.0e}; "
        f"MARIO peaks at {theirs['peak_mb']:,.0f} MB"
    )
    return Measured(ours.value["seconds"], theirs["seconds"], ours.peak_mb, note)


def _layer(scale: float) -> Measured:
    codes, folder = table_for_mario(scale)
    theirs = with_mario(folder, json.dumps({"what": "concentration"}))
    ours: Timed = apart(layer, codes, folder, (FOCUS,))
    note = (
        f"{len(codes)} regions x 50 industries; every measure, {ours.value['figures']:,} rows of output, against "
        f"MARIO's {len(codes) ** 2:,} concentrations"
    )
    return Measured(ours.value["seconds"], theirs["seconds"], ours.peak_mb, note)


def _paths(scale: float) -> Measured:
    codes, folder = table_for_mario(scale)
    table = opened(codes, folder)
    item = table.labels[2][1]
    _, _, demand = _parts(table)
    wanted = np.array([i == item for _, i in table.labels])
    asked = float(demand[wanted, codes.index(FOCUS)].sum())
    order = {"what": "spa", "item": item, "region": FOCUS, "depth": DEPTH, "cutoff": CUTOFF * asked}
    theirs = with_mario(folder, json.dumps(order))
    ours = apart(tiers, codes, folder, item)
    mine, whole = ours.value["by_depth"], theirs["total"]
    _relative(sum(mine) + ours.value["rest"], whole, "the footprint")
    # A chain of theirs that is cut off is missing, none may be too many.
    if any(t > m * (1 + EQUAL) for t, m in zip(theirs["by_depth"], mine, strict=False)):
        raise RuntimeError(f"MARIO's paths exceed the tiers: {theirs['by_depth']} against {mine}")
    held, reached = sum(theirs["by_depth"]) / whole, sum(mine) / whole
    note = (
        f"{len(codes)} regions x 50 industries; MARIO's {theirs['paths']:,} chains hold {held:.1%} of the footprint, "
        f"our tiers to the same depth {reached:.1%} and the tail the rest; MARIO peaks at {theirs['peak_mb']:,.0f} MB"
    )
    return Measured(ours.value["seconds"], theirs["seconds"], ours.peak_mb, note)


def benchmarks() -> list[Benchmark]:
    """The benchmarks of this module."""
    return [
        Benchmark(
            "rival_pymrio",
            "Multipliers and footprints of every region and the focus's columns of L, 4,050 rows.",
            "pymrio calc_all",
            _pymrio,
            ratio_bar=1.0,
            memory_bar_mb=1000.0,
        ),
        Benchmark(
            "rival_mario_concentration",
            "Concentration by origin of what every region delivers to every other; 20 regions unless --scale 1.",
            "MARIO calc_trades_concentration",
            partial(_mario, what="concentration"),
            ratio_bar=0.01,
            memory_bar_mb=1000.0,
            usual_scale=SMALL,
        ),
        Benchmark(
            "rival_mario_exposure",
            "The part of one named country in what every region delivers to every other; 20 regions unless --scale 1.",
            "MARIO calc_trades_exposure",
            partial(_mario, what="exposure"),
            ratio_bar=0.01,
            memory_bar_mb=1000.0,
            usual_scale=SMALL,
        ),
        Benchmark(
            "rival_mario_layer",
            "The whole industry layer for the Netherlands; 20 regions unless --scale 1.",
            "MARIO calc_trades_concentration",
            _layer,
            ratio_bar=0.01,
            memory_bar_mb=1000.0,
            usual_scale=SMALL,
        ),
        Benchmark(
            "rival_mario_paths",
            "Tiers behind the focus's demand for one industry's goods, closed by the tail; 8 regions unless --scale.",
            "MARIO calc_spa, two steps, cutoff",
            _paths,
            usual_scale=PATHS_SCALE,
        ),
    ]
