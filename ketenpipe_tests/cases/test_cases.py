"""Cases with a known answer: frozen figures, found a second way by :mod:`ketenpipe_tests.cases.recompute`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from ketenpipe.chain.catalogue import load_reference
from ketenpipe.chain.lookthrough import build_exposure
from ketenpipe.chain.tracing import build_tracing
from ketenpipe.observatory.validation import build_validation, load_published, render_validation, state_of, unexplained
from ketenpipe.risk.criticality import Inputs, build_criticality
from ketenpipe.risk.governance import build_country_risk
from ketenpipe.risk.indicators import World, build_indicators
from ketenpipe.risk.methods import build_flags
from ketenpipe.risk.planes import hhi_of
from ketenpipe.sources.baci import known_codes, list_years, read_year
from ketenpipe.sources.countries import country_list
from ketenpipe.sources.criticality_inputs import load_criticality_inputs
from ketenpipe.sources.mining import read_mining
from ketenpipe.sources.places import discover, embedded
from ketenpipe.sources.wgi import read_wgi
from ketenpipe.tables.registry import BACI_FLOWS, GOVERNANCE, INDICATORS, MINING_PRODUCTION
from ketenpipe_tests.cases import recompute
from ketenpipe_tests.worlds import SHIPPED, thresholds

FOCI = ("NLD", "EU27")


@lru_cache
def kept(name: str) -> Any:
    return json.loads((recompute.CASES / name).read_text(encoding="utf-8"))


# -- ketenpipe on the embedded sample -------------------------------------------------------------------------


@lru_cache
def flows_of(year: int) -> pa.Table:
    inventory = discover(embedded("sample"))
    (held,) = (y for y in list_years(inventory) if y.year == year)
    codes = known_codes(inventory, held.hs_revision)
    return BACI_FLOWS.conform(read_year(held, country_list(inventory, held.release), codes))


@lru_cache
def mining() -> pa.Table:
    read = read_mining(discover(embedded("sample"))).table
    return MINING_PRODUCTION.conform(read.rename_columns({"iso3": "country", "quantity_tonnes": "tonnes"}))


@lru_cache
def mixes(year: int) -> dict[tuple[str, str, str], dict[str, Any]]:
    """The supply mixes of the cases' codes: (focus, code, country) -> row."""
    wanted = pa.array([*recompute.SOURCED, *(code for code, _, _ in recompute.TRACED.values())])
    flows = flows_of(year).filter(pc.field("code").isin(wanted))
    made = build_tracing(flows, mining(), load_reference(SHIPPED), FOCI).supply_mix
    return {(r["focus"], r["code"], r["country"]): r for r in made.to_pylist()}


# -- the frozen figures are what a second computation finds -------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["production_hhi.json", "sourcing_shares.json", "flagged_sets.json", "traced_mixes.json"]
)
def test_what_is_kept_is_what_the_second_computation_finds(name: str) -> None:
    assert _cases()[name] == kept(name)


@lru_cache
def _cases() -> dict[str, Any]:
    return recompute.cases()


def test_the_second_computation_shares_no_code_with_ketenpipe() -> None:
    lines = (recompute.CASES / "recompute.py").read_text(encoding="utf-8").splitlines()
    assert not [line for line in lines if line.startswith(("import ketenpipe", "from ketenpipe"))]


# -- ketenpipe beside them ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("material", recompute.MATERIALS)
def test_production_concentration(material: str) -> None:
    for year, case in kept("production_hhi.json")[material].items():
        made = {
            r["country"]: r["quantity"]
            for r in mining().to_pylist()
            if r["material"] == material and r["year"] == int(year) and r["quantity"]
        }
        assert hhi_of(list(made.values())) == pytest.approx(case["hhi"], abs=1e-6), year
        largest = max(made, key=lambda c: made[c])
        assert (largest, made[largest] / sum(made.values())) == (
            case["country"], pytest.approx(case["share"], abs=1e-6),
        )  # fmt: skip


@pytest.mark.parametrize("year", [2021, 2024])
def test_sourcing_shares(year: int) -> None:
    compared = 0
    for focus, by_code in kept("sourcing_shares.json").items():
        for code, by_year in by_code.items():
            for measure, column in (("v", "share_direct"), ("q", "share_direct_q")):
                for country, share in by_year[str(year)][measure].items():
                    row = mixes(year)[focus, code, country]
                    assert row[column] == pytest.approx(share, abs=2e-6), (focus, code, country, measure)
                    compared += 1
    assert compared == 2 * 6 * 2 * 3


@pytest.mark.parametrize("name", recompute.TRACED)
def test_traced_mixes(name: str) -> None:
    case = kept("traced_mixes.json")[name]
    for country, share in case["traced"].items():
        row = mixes(case["year"])[case["focus"], case["code"], country]
        assert row["share_traced"] == pytest.approx(share, abs=2e-6), country


def test_a_direct_mix_that_hides_the_true_origin() -> None:
    # Dutch lignite of 2021: three fifths are booked on Belgium, which mines none; Germany dug it.
    case = kept("traced_mixes.json")["hidden_origin"]
    assert max(case["direct"], key=case["direct"].get) == "BEL"
    assert case["direct"]["BEL"] > 0.5 > case["direct"]["DEU"]
    assert not recompute.production()["Lignite", 2021].get("BEL")
    assert "BEL" not in case["traced"]
    assert case["traced"]["DEU"] > 0.9
    row = mixes(2021)["NLD", "270210", "BEL"]
    assert (row["rank"], row["share_traced"]) == (1, 0.0)


def test_a_direct_mix_that_is_a_false_alarm() -> None:
    # Magnesite of 2024: GeoDep flags the EU27, two thirds of whose imports are Turkish; it digs nearly all itself.
    case = kept("traced_mixes.json")["false_alarm"]
    assert "251910" in kept("flagged_sets.json")["geodep"]["EU27"]["2024"]["flagged"]
    assert case["direct"]["TUR"] > 0.65
    whole = recompute.traced(case["code"], case["year"], case["focus"])
    assert sum(whole.values()) == pytest.approx(1)
    assert sum(share for country, share in whole.items() if country in recompute.eu27()) > 0.95
    assert whole["TUR"] < 0.03


# -- the whole sample ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sample:
    """What ketenpipe makes of the embedded sample."""

    indicators: pa.Table
    flags: pa.Table
    supply_mix: pa.Table


@lru_cache
def sample() -> Sample:
    scores = read_wgi(discover(embedded("sample"))).table.rename_columns({"iso3": "country"})
    reference = load_reference(SHIPPED)
    flows = pa.concat_tables([flows_of(year) for year in recompute.YEARS])
    tracing = build_tracing(flows, mining(), reference, FOCI)
    world = World(
        flows,
        tracing,
        build_exposure(tracing, mining(), reference, FOCI, 2),
        mining(),
        build_country_risk(GOVERNANCE.conform(scores), "PV"),
        reference,
        FOCI,
        thresholds(),
        "test",
    )
    flags, indicators = build_flags(world, build_indicators(world, lambda _: None), 1000.0)
    inputs = Inputs(load_criticality_inputs(SHIPPED, nodes=reference.nodes))
    criticality = [r for r in build_criticality(world, 2020, inputs).to_pylist() if r["indicator"] in ("G5", "IR")]
    plain = pa.schema([(f.name, f.type) for f in INDICATORS.schema()])
    both = [t.cast(plain) for t in (indicators, INDICATORS.conform(criticality))]
    return Sample(pa.concat_tables(both), flags, tracing.supply_mix)


@pytest.mark.slow
@pytest.mark.parametrize("method", sorted(recompute.METHODS))
def test_flagged_sets(method: str) -> None:
    held = sample().flags.filter((pc.field("level") == "hs6") & (pc.field("method") == method)).to_pylist()
    for focus, by_year in kept("flagged_sets.json")[method].items():
        for year, case in by_year.items():
            verdicts = {r["code"]: r["flagged"] for r in held if r["focus"] == focus and r["year"] == int(year)}
            assert sorted(c for c, v in verdicts.items() if v) == case["flagged"], (focus, year)
            assert sorted(c for c, v in verdicts.items() if v is None) == case["untold"], (focus, year)


@pytest.mark.slow
def test_every_published_figure_is_found_and_every_difference_explained() -> None:
    held = sample()
    made = build_validation(held.indicators, held.flags, held.supply_mix, load_published(SHIPPED))
    assert unexplained(made) == []
    states = {r["figure"]: state_of(r) for r in made.to_pylist()}
    assert [f for f, s in states.items() if s == "missing"] == []
    assert sum(s == "within" for s in states.values()) >= 70
    # A cause that is stated for a figure that does not differ would be a leftover.
    assert [r["figure"] for r in made.to_pylist() if r["within"] and r["explanation"]] == []
    assert render_validation(made).count("<tr class=") >= made.num_rows
