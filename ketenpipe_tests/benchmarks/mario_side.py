"""MARIO's side of the rivals: a script that runs in MARIO's own environment, which has no ketenpipe.

``python mario_side.py FOLDER ORDER``: FOLDER holds a table (``Z, Y, TLS, VA, OUT`` as .npy, ``labels.json``), ORDER is
a JSON object ``{"what": ..., ...}``. Each figure goes to ``FOLDER/mario-*.npy``; the last line of the output is a JSON
object with the seconds of each call and the peak memory. Belongs here: calls of MARIO's public functions and nothing
else. Does not belong here: anything of ours (:mod:`ketenpipe_tests.benchmarks.bench_rivals` compares).
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import mario
import numpy as np
import pandas as pd

LEVELS = ["Region", "Level", "Item"]
FACTOR = "Value Added"


def database(folder: Path) -> Any:
    """The table as MARIO's database: one factor (value added and taxes), one unit, an empty satellite account."""
    z, y, tls, va = (np.load(folder / f"{name}.npy") for name in ("Z", "Y", "TLS", "VA"))
    labels = json.loads((folder / "labels.json").read_text())
    rows = pd.MultiIndex.from_tuples([(c, "Sector", i) for c, i in labels["rows"]], names=LEVELS)
    final = pd.MultiIndex.from_tuples([(c, "Consumption category", f) for c, f in labels["final"]], names=LEVELS)
    items = list(dict.fromkeys(i for _, i in labels["rows"]))
    units = {
        "Sector": pd.DataFrame("EUR", items, ["unit"]),
        "Factor of production": pd.DataFrame("EUR", [FACTOR], ["unit"]),
        "Satellite account": pd.DataFrame("t", ["none"], ["unit"]),
    }
    return mario.Database(
        name="rival",
        table="IOT",
        Z=pd.DataFrame(z, rows, rows),
        Y=pd.DataFrame(y, rows, final),
        V=pd.DataFrame([va + tls], [FACTOR], rows),
        E=pd.DataFrame(np.zeros((1, len(rows))), ["none"], rows),
        EY=pd.DataFrame(np.zeros((1, len(final))), ["none"], final),
        units=units,
    )


def peak_mb() -> float:
    """Peak resident memory of this process in 10^6 bytes."""
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    return float("nan")


def run(folder: Path, order: dict[str, Any]) -> dict[str, Any]:
    """One order: ``concentration``, ``exposure`` (``to``) or ``spa`` (``item``, ``region``, ``depth``, ``cutoff``)."""
    held = database(folder)
    start = time.perf_counter()
    found: dict[str, Any] = {}
    if order["what"] == "concentration":
        values = held.calc_trades_concentration(FACTOR)
    elif order["what"] == "exposure":
        values = held.calc_trades_exposure(FACTOR, order["to"])
    else:
        values = held.calc_spa(
            FACTOR,
            item=order["item"],
            final_demand_region=order["region"],
            max_depth=order["depth"],
            cutoff=order["cutoff"],
            top_n=None,
        )
        found |= {
            "paths": len(values),
            "by_depth": [float(x) for x in values.groupby("depth")["contribution"].sum().sort_index()],
            "total": float(values.attrs["total_footprint"]),
        }
    found["seconds"] = time.perf_counter() - start
    if order["what"] != "spa":
        np.save(folder / f"mario-{order['what']}.npy", values.to_numpy(dtype=float))
    return {**found, "peak_mb": peak_mb()}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(json.dumps(run(Path(sys.argv[1]), json.loads(sys.argv[2]))))
