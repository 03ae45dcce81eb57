"""Verdicts of ec_criticality and geopolrisk under other scores and three years' flows: as a run on those inputs."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from ketenpipe.risk.alternatives import Inputs, build_alternatives, mean_flows, shifted_risk
from ketenpipe.risk.criticality import build_criticality
from ketenpipe.risk.facts import FACT_COLUMNS
from ketenpipe.risk.methods import build_flags
from ketenpipe.risk.world import World
from ketenpipe.tables.registry import FLAGS, INDICATORS
from ketenpipe_tests.risk.test_alternatives import inputs_of
from ketenpipe_tests.risk.test_criticality import ORE, RISKS, STATISTICS, YEAR, made_world, reference, trade
from ketenpipe_tests.risk.test_criticality_draws import CITED
from ketenpipe_tests.worlds import mining, one, scores

YEARS = (YEAR - 2, YEAR - 1, YEAR)
METHODS = ("ec_criticality", "geopolrisk")
ERROR = 0.8


@lru_cache
def three_years() -> pa.Table:
    """The newest year as it is; in the years before other exporters sold more."""
    rows = []
    for back, year in enumerate(reversed(YEARS)):
        for n, row in enumerate(trade().to_pylist()):
            factor = 1 + back * (n % 3)
            rows.append(row | {
                "year": year, "value_kusd": row["value_kusd"] * factor,
                "tonnes": None if row["tonnes"] is None else row["tonnes"] * factor,
            })  # fmt: skip
    return pa.Table.from_pylist(rows, trade().schema)


@lru_cache
def inputs(*, critical: bool = True) -> Inputs:
    held = pa.concat_tables([mining(STATISTICS), mining([("Gas", "CHN", YEAR, 5.0)], unit="Mio m3")])
    more: dict[str, Any] = {}
    if critical:
        more = {
            "critical": critical_of,
            "critical_world": lambda year: (world(), CITED),
        }
    risk = scores(RISKS, list(YEARS))
    return inputs_of(three_years(), reference(), ("NLD", "EU27"), statistics=held, risk=risk, error=ERROR, **more)[0]


def critical_of(year: int) -> pa.Table:
    """The published figures; a year that the sources lack is not asked for."""
    assert year in YEARS
    return build_criticality(world(), year, CITED).select(FACT_COLUMNS)


@lru_cache
def world() -> World:
    return made_world()


@lru_cache
def found() -> pa.Table:
    return build_alternatives(inputs())


def verdicts(held: World) -> dict[tuple[Any, ...], bool | None]:
    """Verdicts, told or indicated, on a world's criticality."""
    table = INDICATORS.conform(build_criticality(held, YEAR, CITED))
    flags, _ = build_flags(held, table, 0.0, METHODS)
    key = [k for k in FLAGS.key if k != "year"]
    return {
        tuple(r[k] for k in key): r["flagged"] if r["flagged"] is not None else r["indicated"]
        for r in flags.to_pylist()
    }


def of_window() -> World:
    whole = [three_years().filter(pc.field("year") == y) for y in YEARS]
    held = made_world()
    return World(
        mean_flows(whole, YEAR), held.tracing, held.exposure, held.mining, held.country_risk, held.reference, held.foci,
        held.thresholds,
    )  # fmt: skip


def of_scores(errors: float) -> World:
    return made_world(risk=shifted_risk(scores(RISKS, [YEAR]), errors, ERROR))


@pytest.mark.parametrize("name", ["governance_minus_se", "governance_plus_se", "three_year_window"])
def test_a_verdict_under_other_inputs_is_that_of_a_run_on_them(name: str) -> None:
    other = {"governance_minus_se": -1.0, "governance_plus_se": 1.0}
    again = verdicts(of_scores(other[name]) if name in other else of_window())
    base = verdicts(made_world())
    key = [k for k in FLAGS.key if k != "year"]
    seen = set()
    for row in found().filter(pc.field("alternative") == name).to_pylist():
        if row["method"] not in METHODS:
            continue
        place = tuple(row[k] for k in key)
        assert (row["flagged"] if row["flagged"] is not None else row["indicated"]) == again[place], place
        known = base[place] is not None and again[place] is not None
        assert row["agrees"] == (base[place] == again[place] if known else None)
        assert row["counted"]
        assert row["threshold"] is None or row["method"] == "ec_criticality"
        seen.add(place)
    assert {p[-1] for p in seen} == set(METHODS)
    # What stays as it was is not listed.
    assert all(base[place] == again[place] for place in set(base) - seen)


def test_the_deciding_figure_stands_under_both_inputs() -> None:
    """GeoPolRisk of the ore by hand: the published practice, with every score a standard error (0.16) riskier."""
    place = {"code": ORE, "focus": "NLD", "level": "hs6", "method": "geopolrisk"}
    row = one(found(), **place, alternative="governance_plus_se")
    figures = [
        one(build_criticality(w, YEAR, CITED), indicator="G4", code=ORE, focus="NLD", level="hs6")
        for w in (made_world(), of_scores(1.0))
    ]
    assert [row["base_value"], row["value"]] == pytest.approx([f["method_value"] for f in figures])
    assert row["value"] > row["base_value"]
    assert (row["indicator"], row["node"], row["threshold"]) == ("G4", None, None)
    risk = one(found(), code=ORE, level="hs6", method="ec_criticality", alternative="governance_plus_se")
    assert risk["indicator"] in ("G5", "EI")
    assert risk["threshold"] == {"G5": 1.0, "EI": 2.8}[risk["indicator"]]


@pytest.mark.slow
def test_without_criticality_its_methods_are_not_tried() -> None:
    methods = set(build_alternatives(inputs(critical=False)).column("method").to_pylist())
    assert methods
    assert not methods & set(METHODS)
