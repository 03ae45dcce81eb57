"""The harness works, at a size that takes seconds. What a benchmark takes is not judged here."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow.compute as pc
import pytest

from ketenpipe.sources.baci import known_codes, list_years, read_year
from ketenpipe.sources.countries import country_list
from ketenpipe.sources.places import discover
from ketenpipe_tests.benchmarks import __main__ as harness
from ketenpipe_tests.benchmarks import baci_year, bench_baci
from ketenpipe_tests.benchmarks.measure import Benchmark, Measured, apart


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, and few products."""
    monkeypatch.setattr(baci_year, "cache", lambda: tmp_path)
    monkeypatch.setattr(baci_year, "PRODUCTS", 60)
    return tmp_path


def test_a_made_up_year_is_read_without_a_word_and_looks_like_baci(small: Path) -> None:
    path = baci_year.release_zip(20_000)
    inventory = discover(path.parents[1])
    (year,) = list_years(inventory)
    table = read_year(year, country_list(inventory, year.release), known_codes(inventory, "HS92"))
    assert 19_000 < table.num_rows < 21_000
    assert 0.03 < table.column("tonnes").null_count / table.num_rows < 0.07
    assert pc.min(table.column("value_kusd")).as_py() > 0
    again = path.read_bytes()
    path.unlink()
    assert len(baci_year.release_zip(20_000).read_bytes()) == len(again)
    one, two = (list(baci_year.year_batches(2_000, seed=seed)) for seed in (1, 1))
    assert all(a.equals(b) for a, b in zip(one, two, strict=True))
    assert [t for t in baci_year.year_batches(2_000, seed=2)] != one


def test_the_command_measures_and_prints(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    out = small / "found.json"
    assert harness.main(["baci_ingest", "--scale", "0.001", "--json", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "bare inflate of the zip entry" in printed
    (result,) = json.loads(out.read_text())["results"]
    assert result["held"] is None  # the bars are about the real size
    assert result["seconds"] > 0
    assert result["ratio"] == result["seconds"] / result["against_seconds"]
    assert 20 < result["peak_mb"] < 2_000
    with pytest.raises(SystemExit, match="2"):
        harness.main(["no_such"])
    assert harness.main(["--list"]) == 0
    assert "baci_ingest_pandas" in capsys.readouterr().out


def test_the_rival_does_the_same_work(small: Path, tmp_path: Path) -> None:
    path = baci_year.release_zip(5_000)
    (tmp_path / "theirs").mkdir()
    theirs = bench_baci.ingest_with_pandas(path, tmp_path / "theirs")
    ours = bench_baci.ingest(path, tmp_path / "ours")
    assert theirs["rows"] == ours["rows"]
    (entry,) = [i for i in list_years(discover(path.parents[1]))]
    assert bench_baci.inflate(path, entry.entry or "") > 5_000 * 24


@pytest.mark.parametrize(
    ("seconds", "against", "peak", "held"),
    [(6.0, 1.0, 100.0, True), (6.1, 1.0, 100.0, False), (1.0, 1.0, 101.0, False), (1.0, None, 100.0, True)],
)
def test_a_bar_is_held_or_not(seconds: float, against: float | None, peak: float, held: bool) -> None:
    bench = Benchmark("b", "b", "b", lambda scale: Measured(scale, None, 0.0), ratio_bar=6.0, memory_bar_mb=100.0)
    assert bench.held(Measured(seconds, against, peak)) is held
    assert Benchmark("b", "b", "b", bench.run).held(Measured(seconds, against, peak)) is None


def test_memory_is_the_childs_own_and_a_failure_is_said() -> None:
    mine = apart(os.getpid)
    assert mine.value != os.getpid()
    large = apart(bytearray, 300_000_000)
    assert large.peak_mb - mine.peak_mb > 250
    with pytest.raises(RuntimeError, match="ended with exit code 1 and no answer"):
        apart(int, "no number")
