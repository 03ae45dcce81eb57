"""``ketenpipe shock``: what it prints, what it says where something is missing, exit codes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from ketenpipe.cli import app
from ketenpipe.settings import Settings
from ketenpipe.tables.registry import CHAIN_EDGES, CHAIN_NODES, EXPOSURE, ORIGIN_MIX, PRODUCTION, SUPPLY_MIX
from ketenpipe.tables.store import Store
from ketenpipe_tests.chain.step_worlds import walk
from ketenpipe_tests.worlds import catalogue, edge, essential, flows, mass, node

METAL, ORE = "100001", "100002"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"KETENPIPE_{name.upper()}", raising=False)
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tables of two years: 60 % of NLD's metal is DEU's, whose ore is all CHN's; 40 % is FRA's, whose ore half is.

    BRA buys ore and no metal.
    """
    years = (2019, 2020)
    table = flows(
        row
        for y in years
        for row in (
            *mass(y, METAL, ("DEU", "NLD", 60), ("FRA", "NLD", 40)),
            *mass(y, ORE, ("CHN", "DEU", 75), ("CHN", "FRA", 5), ("RUS", "FRA", 5), ("RUS", "BRA", 5)),
        )
    )
    reference = catalogue(
        [node("metal", METAL), node("ore", ORE), node("slag", ORE)],
        [essential("metal", "ore"), edge("metal", "slag")],
        {"g": "metal", "h": "ore"},
    )
    walked = walk(table, reference, ("NLD", "EU27", "BRA"))
    folder = tmp_path_factory.mktemp("home")
    store = Store(folder)
    for contract, made in (
        (EXPOSURE, walked.exposure.exposure), (CHAIN_NODES, walked.exposure.chain_nodes),
        (CHAIN_EDGES, walked.exposure.chain_edges), (PRODUCTION, walked.tracing.production),
        (ORIGIN_MIX, walked.tracing.origin_mix), (SUPPLY_MIX, walked.tracing.supply_mix),
    ):  # fmt: skip
        if contract.partitioned:
            for year in years:
                rows = made.filter([y == year for y in made.column("year").to_pylist()])
                store.write(contract, rows, str(year))
        else:
            store.write(contract, made)
    return folder


def call(home: Path, *arguments: object) -> Result:
    return CliRunner().invoke(app, ["shock", "--home", str(home), *(str(a) for a in arguments)])


def test_what_it_prints(home: Path) -> None:
    shown = call(home, "--country", "chn", "--node", "ore", "--share", 1, "--focus", "nld")
    assert shown.exit_code == 0, shown.output
    assert "NLD, 2020: CHN stops 100 % of its exports of ore" in shown.stdout
    assert "80.0 %" in shown.stdout
    assert "metal@DEU <-" in shown.stdout
    assert "Ranking only; without substitution = upper bound." in shown.stdout
    assert "EU27" not in shown.stdout
    assert max(len(line.rstrip()) for line in shown.stdout.splitlines()) <= 100


def test_the_same_for_machines(home: Path) -> None:
    shown = call(home, "--country", "CHN", "--node", "ore", "--share", 0.5, "--year", 2019, "--json")
    assert shown.exit_code == 0, shown.output
    found = json.loads(shown.stdout)
    assert (found["scenario"], found["year"]) == ("CHN:ore:0.5", 2019)
    assert found["words"] == "ranking only; without substitution = upper bound"
    cuts = {(r["focus"], r["group"]): r["cut"] for r in found["rows"]}
    assert (cuts["NLD", "g"], cuts["BRA", "h"]) == (pytest.approx(0.4), 0.0)
    assert {focus for focus, _ in cuts} == {"BRA", "EU27", "NLD"}


def test_what_is_unknown_is_shown_as_a_span(home: Path) -> None:
    shown = call(home, "--country", "RUS", "--node", "slag", "--focus", "NLD")
    assert shown.exit_code == 0
    assert "0.0-20.0 %" in shown.stdout
    assert "intensity" in shown.stdout


def test_a_code_instead_of_a_node(home: Path) -> None:
    shown = call(home, "--country", "DEU", "--node", METAL, "--focus", "NLD")
    assert shown.exit_code == 0
    assert f"HS6 {METAL}" in re.sub(r"\s+", " ", shown.stdout)
    assert shown.stdout.count("60.0 %") >= 2


def test_no_group_of_the_focus_has_it(home: Path) -> None:
    shown = call(home, "--country", "CHN", "--node", "metal", "--focus", "BRA")
    assert shown.exit_code == 0
    assert "CHN stops 100 % of its exports of metal, 2020: no product group of the focus has it." in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--country", "CHI", "--node", "ore"], r"there is no country 'CHI'; did you mean CHN \(China\)"),
        (["--country", "CHN", "--node", "oer"], "the catalogue has no node 'oer'; did you mean ore"),
        (["--country", "CHN", "--node", "ore", "--share", "1.5"], "must lie above 0 and not above 1, and 1.5 does not"),
        (["--country", "CHN", "--node", "ore", "--share", "0"], "must lie above 0 and not above 1, and 0 does not"),
        (
            ["--country", "CHN", "--node", "ore", "--focus", "DEU"],
            r"the tables have no focus DEU \(they have BRA, EU27, NLD\)",
        ),
        (["--country", "CHN", "--node", "ore", "--year", "1999"], r"has no year 1999 \(it has 2019-2020\)"),
        (["--country", "CHN"], "Missing option '--node'"),
    ],
)
def test_wrong_use_is_one_sentence(home: Path, arguments: list[str], sentence: str) -> None:
    shown = call(home, *arguments)
    assert shown.exit_code == 2, shown.output
    assert re.search(sentence, shown.stderr), shown.stderr
    assert "Traceback" not in shown.output + shown.stderr


def test_a_home_without_tables(tmp_path: Path) -> None:
    shown = call(tmp_path, "--country", "CHN", "--node", "ore")
    assert shown.exit_code == 1
    assert "table exposure is not there yet" in shown.stderr
    assert "run ketenpipe run first" in shown.stderr
    answer = json.loads(call(tmp_path, "--country", "CHN", "--node", "ore", "--json").stdout)
    assert answer["error"]["exit_code"] == 1
