"""``python -m ketenpipe_tests.mutation [MODULE ...]``: changes the formulas and looks which change no test sees.

A module is named as in ``modules.toml`` (``risk.planes``); without a name all of them are run, one after the other. The
checkout is copied aside, so nothing in it changes. Needs the extra ``mutation`` and a checkout, no installed wheel.
Exit code 0 where every module passes, 1 where one does not, 2 for a name that ``modules.toml`` does not have.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ketenpipe_tests.mutation.results import Change, Result, change_of, faults, read_known, read_result

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
LEFT = ("data", "ketenpipe", "ketenpipe_tests", "README.md", "constraints.txt", "pyproject.toml")
SECTION = "[tool.mutmut]\n"
# `mutmut show` takes a second or two for each name; this shows all in one go.
SHOW = """
import json, sys
from mutmut.mutation.diff_apply import get_diff_for_mutant
print(json.dumps({name: get_diff_for_mutant(name) for name in sys.argv[1:]}))
"""


@contextmanager
def copied(keep: Path | None) -> Iterator[Path]:
    """A copy of the checkout, without what runs have written: in `keep`, which stays, or in a folder that goes."""
    with tempfile.TemporaryDirectory(prefix="ketenpipe-mutation-") as folder:
        place = keep or Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        for name in LEFT:
            if (CHECKOUT / name).is_dir():
                ignore = shutil.ignore_patterns("__pycache__", ".*", "raw", "tables", "dagster")
                ignored = ignore if name == "data" else shutil.ignore_patterns("__pycache__", ".*")
                shutil.copytree(CHECKOUT / name, place / name, ignore=ignored, dirs_exist_ok=True)
            else:
                shutil.copy2(CHECKOUT / name, place / name)
        yield place


def narrowed(pyproject: str, module: str, tests: Sequence[str]) -> str:
    """`pyproject` with mutmut's section narrowed to one module and its tests."""
    if SECTION not in pyproject:
        raise ValueError("pyproject.toml has no section [tool.mutmut]")
    chosen = ", ".join(f'"{test}"' for test in tests)
    path = f"ketenpipe/{module.replace('.', '/')}.py"
    lines = f'only_mutate = ["{path}"]\npytest_add_cli_args_test_selection = [{chosen}]\n'
    return pyproject.replace(SECTION, SECTION + lines)


def run_module(place: Path, module: str, wanted: dict[str, Any]) -> tuple[Result, list[Change]]:
    """Runs mutmut for `module` in the copy `place`; the result and the changes that survived.

    Raises RuntimeError with mutmut's last words where it did not come to an end.
    """
    functions: list[str] = wanted.get("functions", [])
    (place / "pyproject.toml").write_text(
        narrowed((CHECKOUT / "pyproject.toml").read_text("utf-8"), module, wanted["tests"]), "utf-8"
    )
    shutil.rmtree(place / "mutants", ignore_errors=True)
    names = [f"ketenpipe.{module}.x_{function}__mutmut_*" for function in functions]
    ended = python(place, "-m", "mutmut", "run", "--max-children", "1", *names)
    meta = place / "mutants" / "ketenpipe" / f"{module.replace('.', '/')}.py.meta"
    if ended.returncode or not meta.exists():
        # What it shows of its progress, a line a mutant, says nothing.
        said = [line for line in (ended.stdout + ended.stderr).splitlines() if " 🎉 " not in line]
        raise RuntimeError("\n".join([f"{module}: mutmut ended with {ended.returncode}:", *said[-40:]]))
    result = read_result(module, meta, functions)
    shown = python(place, "-c", SHOW, *result.survived) if result.survived else None
    if shown is None:
        return result, []
    if shown.returncode:
        raise RuntimeError(f"{module}: mutmut could not show what survived:\n{shown.stderr[-3000:]}")
    diffs = json.loads(shown.stdout.splitlines()[-1])
    return result, [change_of(module, mutant, diffs[mutant]) for mutant in result.survived]


def python(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """One call of Python in `place`, with one thread per library and without the caller's import path."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"OPENBLAS_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *arguments], cwd=place, env=environment, capture_output=True, text=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the modules asked for and prints a line for each; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m ketenpipe_tests.mutation", description=__doc__)
    parser.add_argument("module", nargs="*", help="a module of modules.toml, such as risk.planes; all without one")
    parser.add_argument("--keep", type=Path, help="folder for the copy, which then stays")
    asked = parser.parse_args(arguments)
    modules = tomllib.loads((HERE / "modules.toml").read_text("utf-8"))
    unknown = [name for name in asked.module if name not in modules]
    if unknown:
        print(f"no such module in modules.toml: {', '.join(unknown)}; there are {', '.join(modules)}", file=sys.stderr)
        return 2
    known = read_known(HERE / "survivors.toml")
    wrong: list[str] = []
    with copied(asked.keep) as place:
        for name in asked.module or modules:
            try:
                result, survivors = run_module(place, name, modules[name])
            except RuntimeError as error:
                wrong.append(str(error))
                continue
            print(
                f"{name}: {result.total} mutants, {len(result.killed)} killed, {len(result.timed_out)} timed out, "
                f"{len(result.survived)} survived, {len(result.untested)} untested: {result.share:.1%}",
                flush=True,
            )
            found = faults(result, survivors, known)
            wrong += found
            for line in found:
                print(f"  {line}", flush=True)
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
