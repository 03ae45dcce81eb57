"""``python -m ketenpipe_tests.benchmarks [NAME ...]``: runs the benchmarks and prints what they found as one table.

A name is that of a benchmark, or of a group: ``rivals`` is everything in ``bench_rivals.py``. Each row: ours, the floor
or rival in the same run, the ratio, the bar, the peak memory. A rival that cannot be installed is left out with a word;
a benchmark that fails takes no other with it.
Exit code 0 where every bar holds, 1 where one does not, 2 for a name that no benchmark has.
"""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import ketenpipe_tests.benchmarks as package
from ketenpipe_tests.benchmarks.measure import Benchmark, Measured, Unavailable


def groups() -> dict[str, list[Benchmark]]:
    """The benchmarks of the modules ``bench_*.py`` beside this one, by what follows ``bench_``."""
    return {
        module.removeprefix("bench_"): importlib.import_module(f"{package.__name__}.{module}").benchmarks()
        for module in sorted(m.name for m in pkgutil.iter_modules(package.__path__))
        if module.startswith("bench_")
    }


def collect() -> dict[str, Benchmark]:
    """Every benchmark by name."""
    found: dict[str, Benchmark] = {}
    for benchmark in (b for group in groups().values() for b in group):
        if benchmark.name in found:
            raise ValueError(f"two benchmarks are named {benchmark.name}")
        found[benchmark.name] = benchmark
    return found


def row(benchmark: Benchmark, run: int, found: Measured | RuntimeError, scale: float) -> dict[str, Any]:
    """One result as plain data; the bars are judged at the real size only, and one that failed holds none."""
    held: bool | None = None
    if isinstance(found, RuntimeError):
        absent = isinstance(found, Unavailable)
        held = None if absent else False
        found = Measured(None, None, None, f"{'left out' if absent else 'FAILED'}: {found}")
    elif scale == 1.0:
        held = benchmark.held(found)
    return {
        "benchmark": benchmark.name,
        "run": run,
        "scale": scale,
        "against": benchmark.against,
        **asdict(found),
        "ratio": found.ratio,
        "ratio_bar": benchmark.ratio_bar,
        "memory_bar_mb": benchmark.memory_bar_mb,
        "held": held,
    }


def shown(rows: Sequence[dict[str, Any]]) -> Table:
    """The results as a table for people."""
    table = Table(title="Benchmarks: each against its floor or rival in the same run", title_justify="left")
    for name in ("benchmark", "against"):
        table.add_column(name, overflow="fold")
    for name in ("ours s", "theirs s", "ratio", "bar", "peak MB", "bar MB"):
        table.add_column(name, justify="right")
    table.add_column("held")
    table.add_column("note", overflow="fold")

    def number(value: float | None, digits: int) -> str:
        return "-" if value is None else f"{value:,.{digits}f}"

    for r in rows:
        table.add_row(
            f"{r['benchmark']} #{r['run']}" + ("" if r["scale"] == 1.0 else f" (scale {r['scale']:g})"),
            r["against"],
            number(r["seconds"], 2),
            number(r["against_seconds"], 2),
            number(r["ratio"], 2),
            number(r["ratio_bar"], 2),
            number(r["peak_mb"], 0),
            number(r["memory_bar_mb"], 0),
            {True: "yes", False: "NO", None: "-"}[r["held"]],
            r["note"],
        )
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    known, by_group = collect(), groups()
    parser = argparse.ArgumentParser(prog="python -m ketenpipe_tests.benchmarks", description=(__doc__ or "").strip())
    parser.add_argument(
        "name", nargs="*", help=f"all by default; a group ({', '.join(by_group)}) or one of {', '.join(known)}"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    parser.add_argument("--runs", type=int, default=1, help="how often each is run (default 1)")
    parser.add_argument(
        "--scale",
        type=float,
        help="share of the real size; the bars are judged at 1 only (default 1, less where a rival needs minutes)",
    )
    parser.add_argument("--list", action="store_true", help="say what there is, run nothing")
    asked = parser.parse_args(arguments)
    console = Console()
    if strange := [name for name in asked.name if name not in known and name not in by_group]:
        there = f"{', '.join(known)}; and groups {', '.join(by_group)}"
        parser.error(f"no benchmark is named {', '.join(strange)}; there are {there}")
    named = [b for name in asked.name for b in ([known[name]] if name in known else by_group[name])]
    chosen = list({b.name: b for b in named}.values()) or list(known.values())
    if asked.list:
        for benchmark in chosen:
            console.print(f"{benchmark.name}: {benchmark.description} Against: {benchmark.against}.")
        return 0
    rows = []
    for benchmark in chosen:
        for run in range(1, asked.runs + 1):
            console.print(f"[dim]{benchmark.name}, run {run}: {benchmark.description}[/dim]")
            scale = benchmark.usual_scale if asked.scale is None else asked.scale
            try:
                found: Measured | RuntimeError = benchmark.run(scale)
            except RuntimeError as broken:
                found = broken
            rows.append(row(benchmark, run, found, scale))
    console.print(shown(rows))
    if asked.json:
        machine = {"python": platform.python_version(), "machine": platform.machine(), "system": platform.system()}
        asked.json.write_text(json.dumps({**machine, "results": rows}, indent=1) + "\n")
    return 1 if any(r["held"] is False for r in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
