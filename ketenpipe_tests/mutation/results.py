"""What a run of mutmut found in one module, and whether that is good enough.

Reads mutmut's own record (``mutants/<module>.meta``: an exit code per mutant) and judges it against the bar and the
known survivors. Running mutmut is not done here.
"""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

BAR = 0.9
"""The share of a module's mutants that the tests must kill."""

KILLED = frozenset({1, 3})
"""pytest's exit codes of a failed test and of a run that broke."""
TIMED_OUT = frozenset({-24, 24, 36, 152, 255, -11, -9})
"""Exit codes of a mutant that never ended or took the process down; no test passed it, so it counts as killed."""


@dataclass(frozen=True, order=True)
class Change:
    """One mutant as a reader sees it: the function, the lines as they are and as the mutant has them."""

    function: str
    was: str
    now: str


@dataclass(frozen=True)
class Result:
    """The mutants of one module by what became of them, names as mutmut has them."""

    module: str
    killed: tuple[str, ...]
    timed_out: tuple[str, ...]
    survived: tuple[str, ...]
    untested: tuple[str, ...]

    @property
    def total(self) -> int:
        """All mutants of the functions that were asked for."""
        return len(self.killed) + len(self.timed_out) + len(self.survived) + len(self.untested)

    @property
    def share(self) -> float:
        """Killed, timed out included, over all; 0 where there was no mutant, so that nothing passes by being empty."""
        return (len(self.killed) + len(self.timed_out)) / self.total if self.total else 0.0


def read_result(module: str, meta: Path, only: Iterable[str] = ()) -> Result:
    """The result of `module` from mutmut's record `meta`.

    `only` names the functions that were asked for (all where empty). A mutant whose tests passed survived; one with any
    other exit code than these is untested: no test reaches it, or mutmut did not get to it. Neither is excused.
    """
    names = tuple(only)
    found: dict[str, list[str]] = {"killed": [], "timed_out": [], "survived": [], "untested": []}
    for name, code in json.loads(meta.read_text("utf-8"))["exit_code_by_key"].items():
        if names and function_of(name) not in names:
            continue
        if code in KILLED:
            found["killed"].append(name)
        elif code in TIMED_OUT:
            found["timed_out"].append(name)
        else:
            found["survived" if code == 0 else "untested"].append(name)
    return Result(module, **{outcome: tuple(mutants) for outcome, mutants in found.items()})


def function_of(mutant: str) -> str:
    """The function of a mutant: ``a.b.x_fold__mutmut_3`` is of ``fold``, ``a.xǁWorldǁof__mutmut_1`` of ``World.of``."""
    mangled = mutant.rpartition(".")[2].rpartition("__mutmut_")[0]
    return ".".join(mangled.split("ǁ")[1:]) if "ǁ" in mangled else mangled.removeprefix("x_")


def change_of(module: str, mutant: str, diff: str) -> Change:
    """The change that the unified `diff` of a mutant shows, lines stripped and joined by a space."""
    lines = diff.splitlines()
    was = [line[1:].strip() for line in lines if line.startswith("-") and not line.startswith("---")]
    now = [line[1:].strip() for line in lines if line.startswith("+") and not line.startswith("+++")]
    return Change(f"{module}.{function_of(mutant)}", " ".join(was), " ".join(now))


def read_known(path: Path) -> dict[Change, str]:
    """The survivors that are known to be no fault of the tests, with the reason of each.

    Raises ValueError where an entry has no reason or stands twice.
    """
    known: dict[Change, str] = {}
    for entry in tomllib.loads(path.read_text("utf-8")).get("survivor", []):
        change = Change(entry["function"], entry["was"], entry["now"])
        if not entry.get("why", "").strip():
            raise ValueError(f"{path.name}: {change.function}: {change.now!r} has no reason (why)")
        if change in known:
            raise ValueError(f"{path.name}: {change.function}: {change.now!r} stands twice")
        known[change] = entry["why"]
    return known


def faults(result: Result, survivors: Iterable[Change], known: Mapping[Change, str]) -> list[str]:
    """What keeps a module from passing, in sentences; empty where it passes.

    A module passes where at least `BAR` of its mutants were killed, each was tested, and every survivor is a known one.
    """
    found = []
    if not result.total:
        found.append(f"{result.module}: no mutant was made")
    elif result.share < BAR:
        found.append(f"{result.module}: {result.share:.1%} of {result.total} mutants killed, under {BAR:.0%}")
    untested = Counter(function_of(mutant) for mutant in result.untested)
    found += [f"{result.module}.{name}: {count} mutants were met by no test" for name, count in untested.items()]
    found += [
        f"{change.function}: survived and is not explained: {change.was!r} -> {change.now!r}"
        for change in sorted(set(survivors) - known.keys())
    ]
    return found
