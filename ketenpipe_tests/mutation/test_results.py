"""Reading what mutmut found: which mutants count as killed, and what keeps a module from passing."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from ketenpipe_tests.mutation import __main__ as tool
from ketenpipe_tests.mutation.results import Change, Result, change_of, faults, function_of, read_known, read_result

DIFF = """--- ketenpipe/risk/planes.py
+++ ketenpipe/risk/planes.py
@@ -1,4 +1,3 @@
     if total > 0:
-        told(
-            total,
+        told(None,
     )
"""
CHANGE = Change("risk.planes.fold", "told( total,", "told(None,")


def record(tmp_path: Path, **codes: int | None) -> Path:
    held = {f"ketenpipe.risk.planes.{name}": code for name, code in codes.items()}
    path = tmp_path / "planes.py.meta"
    path.write_text(json.dumps({"exit_code_by_key": held}), "utf-8")
    return path


def result(killed: int = 0, timed_out: int = 0, survived: int = 0, untested: int = 0) -> Result:
    outcomes = {"killed": killed, "timed_out": timed_out, "survived": survived, "untested": untested}
    return Result("risk.planes", **{o: ("a.x_fold__mutmut_1",) * count for o, count in outcomes.items()})


def test_the_exit_code_tells_what_became_of_a_mutant(tmp_path: Path) -> None:
    codes = {"x_a__mutmut_1": 1, "x_a__mutmut_2": 3, "x_a__mutmut_3": 36, "x_a__mutmut_4": 0}
    meta = record(tmp_path, **codes, x_b__mutmut_1=33, x_b__mutmut_2=None, x_b__mutmut_3=2)
    found = read_result("risk.planes", meta)
    assert [len(found.killed), len(found.timed_out), len(found.survived), len(found.untested)] == [2, 1, 1, 3]
    assert found.total == 7
    assert found.share == pytest.approx(3 / 7)
    only = read_result("risk.planes", meta, ["b"])
    assert (only.total, only.share) == (3, 0.0)


def test_the_function_of_a_mutant() -> None:
    assert function_of("ketenpipe.risk.planes.x_fold__mutmut_3") == "fold"
    assert function_of("ketenpipe.risk.planes.x__mean_risk__mutmut_12") == "_mean_risk"
    assert function_of("ketenpipe.risk.world.xǁWorldǁof__mutmut_1") == "World.of"


def test_a_change_is_the_lines_that_differ() -> None:
    assert change_of("risk.planes", "ketenpipe.risk.planes.x_fold__mutmut_3", DIFF) == CHANGE


def test_ninety_percent_is_enough_and_less_is_not() -> None:
    assert faults(result(killed=8, timed_out=1, survived=1), [CHANGE], {CHANGE: "the same"}) == []
    assert faults(result(killed=89, survived=11), [CHANGE], {CHANGE: "the same"}) == [
        "risk.planes: 89.0% of 100 mutants killed, under 90%"
    ]
    assert faults(result(), [], {}) == ["risk.planes: no mutant was made"]


def test_a_survivor_without_a_reason_and_a_mutant_without_a_test_are_faults() -> None:
    assert faults(result(killed=9, survived=1), [CHANGE], {}) == [
        "risk.planes.fold: survived and is not explained: 'told( total,' -> 'told(None,'"
    ]
    assert faults(result(killed=98, untested=2), [], {}) == ["risk.planes.fold: 2 mutants were met by no test"]


def test_every_known_survivor_has_a_reason_and_stands_once(tmp_path: Path) -> None:
    entry = '[[survivor]]\nfunction = "a.b"\nwas = "x > 0"\nnow = "x >= 0"\nwhy = "{}"\n'
    path = tmp_path / "survivors.toml"
    path.write_text(entry.format("0 of nothing is 0"), "utf-8")
    assert read_known(path) == {Change("a.b", "x > 0", "x >= 0"): "0 of nothing is 0"}
    path.write_text(entry.format(" "), "utf-8")
    with pytest.raises(ValueError, match=r"a\.b: 'x >= 0' has no reason"):
        read_known(path)
    path.write_text(entry.format("so") * 2, "utf-8")
    with pytest.raises(ValueError, match="stands twice"):
        read_known(path)


def test_what_is_listed_is_there() -> None:
    modules = tomllib.loads((tool.HERE / "modules.toml").read_text("utf-8"))
    for name, wanted in modules.items():
        assert (tool.CHECKOUT / "ketenpipe" / f"{name.replace('.', '/')}.py").exists(), name
        assert all((tool.CHECKOUT / test.partition("::")[0]).exists() for test in wanted["tests"]), name
    for change in read_known(tool.HERE / "survivors.toml"):
        assert change.function.rpartition(".")[0] in modules or change.function.rsplit(".", 2)[0] in modules, change


def test_the_settings_are_narrowed_to_one_module_and_its_tests() -> None:
    whole = (tool.CHECKOUT / "pyproject.toml").read_text("utf-8")
    found = tomllib.loads(tool.narrowed(whole, "risk.planes", ["a.py", "b.py::test"]))["tool"]["mutmut"]
    assert found["only_mutate"] == ["ketenpipe/risk/planes.py"]
    assert found["pytest_add_cli_args_test_selection"] == ["a.py", "b.py::test"]
    assert found["source_paths"] == ["ketenpipe/"]
    with pytest.raises(ValueError, match=r"no section \[tool.mutmut\]"):
        tool.narrowed("[project]\n", "risk.planes", [])


def test_a_name_that_is_not_listed_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert tool.main(["risk.nothing"]) == 2
    assert "no such module in modules.toml: risk.nothing; there are risk.planes" in capsys.readouterr().err
