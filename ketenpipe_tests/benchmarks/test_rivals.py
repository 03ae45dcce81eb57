"""Rivals and curves at a size that takes seconds: ours equals theirs, and what cannot be had is said, not hidden."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ketenpipe.sources.icio import list_tables, read_table
from ketenpipe.sources.places import discover
from ketenpipe_tests.benchmarks import __main__ as harness
from ketenpipe_tests.benchmarks import baci_year, bench_rivals, bench_scaling
from ketenpipe_tests.benchmarks.bench_industry import made_up, opened, regions_of
from ketenpipe_tests.benchmarks.measure import Benchmark, Measured
from ketenpipe_tests.shared_data import shared_data

SCALE = 0.06


def bench(run: Any, **more: Any) -> Benchmark:
    return Benchmark("b", "what", "rival", run, **more)


def alone(monkeypatch: pytest.MonkeyPatch, *benchmarks: Benchmark) -> None:
    monkeypatch.setattr(harness, "groups", lambda: {"some": list(benchmarks)})


def test_pymrio_finds_the_same_figures() -> None:
    codes, folder = regions_of(SCALE), made_up(SCALE)
    theirs, ours = bench_rivals.with_pymrio(codes, folder), bench_rivals.footprints(codes, folder)
    for name in ("L", "M"):
        assert ours[name] == pytest.approx(theirs[name], abs=1e-9)
    assert ours["D"] == pytest.approx(theirs["D"], rel=1e-9)
    assert ours["tier gap"] < 1e-10


def test_what_we_call_trade_content_is_the_definition_by_a_dense_inverse() -> None:
    # Whose value added is in what r delivers to d: diag(v) L t, bundle by bundle, as MARIO's source has it.
    codes, folder = regions_of(SCALE), made_up(SCALE)
    table = opened(codes, folder)
    of = np.array([c for c, _ in table.labels])
    final = np.array([c for c, _ in table.final_labels])
    inverse = np.linalg.inv(np.eye(len(of)) - table.Z / table.OUT)
    rate = (table.VA + table.TLS) / table.OUT
    shares = bench_rivals.trade_shares(table)
    for r, origin in enumerate(table.countries):
        for d, destination in enumerate(table.countries):
            delivered = table.Z[:, of == destination].sum(axis=1) + table.Y[:, final == destination].sum(axis=1)
            bundle = np.where(of == origin, delivered, 0)
            content = rate * (inverse @ bundle)
            by_country = np.array([content[of == c].sum() for c in table.countries])
            assert shares[r, :, d] == pytest.approx(by_country / by_country.sum(), abs=1e-12)


@pytest.fixture
def mario() -> None:
    if not (baci_year.cache() / f"mario-{bench_rivals.MARIO}" / "ready").exists():
        pytest.skip("needs MARIO's environment: python -m ketenpipe_tests.benchmarks rivals makes it")


@pytest.mark.slow
@pytest.mark.usefixtures("mario")
def test_mario_finds_the_same_in_a_real_table(tmp_path: Path) -> None:
    inventory = discover(shared_data("icio_like").parent)
    read = read_table(next(t for t in list_tables(inventory) if "WIOD13_2011" in t.name))
    # MARIO takes output as deliveries and final demand together, which a rounded table meets up to 100 million USD.
    table = replace(read, OUT=read.Z.sum(axis=1) + read.Y.sum(axis=1))
    for name in ("Z", "Y", "TLS", "VA", "OUT"):
        np.save(tmp_path / f"{name}.npy", getattr(table, name))
    (tmp_path / "labels.json").write_text(json.dumps({"rows": table.labels, "final": table.final_labels}))
    shares = bench_rivals.trade_shares(table)
    traded = ~np.isnan(shares).any(axis=1)
    assert (~traded).sum() == 12, "MARIO says 0 where nothing is delivered; we say nothing"
    for order, ours in (
        ({"what": "concentration"}, (shares**2).sum(axis=1)),
        ({"what": "exposure", "to": "CHN"}, shares[:, table.countries.index("CHN")]),
    ):
        bench_rivals.with_mario(tmp_path, json.dumps(order))
        theirs = np.load(tmp_path / f"mario-{order['what']}.npy")
        assert ours[traded] == pytest.approx(theirs[traded], abs=1e-9)
        assert set(theirs[~traded]) == {0.0}


@pytest.mark.slow
@pytest.mark.usefixtures("mario")
def test_mario_finds_the_same_figures() -> None:
    for benchmark in bench_rivals.benchmarks():
        if benchmark.name in ("rival_mario_concentration", "rival_mario_exposure"):
            assert "figures equal within" in benchmark.run(SCALE).note


def test_a_difference_between_ours_and_theirs_is_no_result() -> None:
    with pytest.raises(RuntimeError, match="ours and theirs differ by 1e-08 in L"):
        bench_rivals._difference(np.array([1.0, 2.0]), np.array([1.0, 2.0 + 1e-8]), "L")
    with pytest.raises(RuntimeError, match="differ by nan"):
        bench_rivals._difference(np.array([np.nan]), np.array([1.0]), "L")


def test_a_rival_that_cannot_be_installed_is_left_out_with_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def offline(command: list[str], **_: Any) -> None:
        raise subprocess.CalledProcessError(1, command, stderr="notice\nERROR: no matching distribution\n")

    monkeypatch.setattr(baci_year, "cache", lambda: tmp_path)
    monkeypatch.setattr(subprocess, "run", offline)
    monkeypatch.setenv("COLUMNS", "200")
    alone(monkeypatch, bench(lambda scale: Measured(bench_rivals.mario_python() and 1.0, 1.0, 1.0), ratio_bar=1.0))
    assert harness.main(["some", "--json", str(tmp_path / "found.json")]) == 0
    said = capsys.readouterr().out
    assert "left out: MARIO 1.3.2 cannot be installed (ERROR: no matching distribution)" in " ".join(said.split())
    (result,) = json.loads((tmp_path / "found.json").read_text())["results"]
    assert (result["seconds"], result["ratio"], result["held"]) == (None, None, None)


def test_a_benchmark_that_fails_is_said_and_takes_no_other_with_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(scale: float) -> Measured:
        raise RuntimeError("ours and theirs differ")

    monkeypatch.setenv("COLUMNS", "200")
    good = Benchmark("good", "what", "floor", lambda scale: Measured(1.0, 2.0, 10.0), ratio_bar=1.0)
    alone(monkeypatch, bench(broken), good)
    assert harness.main([]) == 1
    said = capsys.readouterr().out
    assert "FAILED: ours and theirs differ" in said
    assert "0.50" in said


def test_a_group_runs_its_benchmarks_at_their_usual_size_unless_another_is_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes: list[float] = []

    def run(scale: float) -> Measured:
        sizes.append(scale)
        return Measured(2.0, 1.0, 1.0)

    alone(monkeypatch, bench(run, ratio_bar=1.0, usual_scale=0.25))
    assert harness.main(["some", "b"]) == 0, "the bar is judged at the real size only, and nothing runs twice"
    assert harness.main(["b", "--scale", "1"]) == 1
    assert sizes == [0.25, 1.0]


def test_the_groups_are_the_modules() -> None:
    found = harness.groups()
    assert {b.name for b in found["rivals"]} >= {"rival_pymrio", "rival_mario_concentration"}
    assert len(found["scaling"]) == 12
    assert set(harness.collect()) == {b.name for group in found.values() for b in group}


def test_every_point_of_the_curves_is_drawn(tmp_path: Path) -> None:
    results = [
        {"benchmark": b.name, "run": n, "seconds": n * 1.0, "peak_mb": 300.0}
        for b in bench_scaling.benchmarks()
        for n in (1, 2, 3)
    ]
    with Image.open(bench_scaling.draw(results, tmp_path / "pictures" / "scaling.png")) as picture:
        assert picture.size == (990, 484)
    with pytest.raises(ValueError, match="no point of the curve regions"):
        bench_scaling.draw([r for r in results if "regions" not in r["benchmark"]], tmp_path / "x.png")


def test_the_points_of_a_curve_do_more_and_more_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baci_year, "cache", lambda: tmp_path)
    monkeypatch.setattr(baci_year, "PRODUCTS", 60)
    monkeypatch.setattr(bench_scaling, "flows_of", lambda rows: _flows(tmp_path / "all", rows))
    for products, years in ((3, (1997,)), (6, (1997, 1998))):
        home = tmp_path / str(products)
        bench_scaling.write_part(20_000, home, products, years)
        made = bench_scaling.trace_years(home, years, tmp_path / f"out-{products}")
        assert made["kept"] > 0
        assert made["flows"] > 0
        stored = bench_scaling.Store(home).read(bench_scaling.BACI_FLOWS)
        assert len(stored.column("code").unique()) == products
        assert set(stored.column("year").to_pylist()) == set(years)


def _flows(home: Path, rows: int) -> Path:
    if not home.exists():
        bench_scaling.ingest(baci_year.release_zip(rows, (bench_scaling.YEAR,)), home)
    return home
