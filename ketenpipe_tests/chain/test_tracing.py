"""Step one on tables: which production is used, blocs, small and precious goods, what is published beside it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ketenpipe.chain.catalogue import Reference
from ketenpipe.chain.engine import Engine
from ketenpipe.chain.flows import as_seen_by, flow_frame, imports_by_origin
from ketenpipe.chain.matrices import balance_production, trace_origins
from ketenpipe.chain.tracing import (
    Tracing,
    build_tracing,
    focus_members,
    members_table,
    production_statistic,
    trace_year,
)
from ketenpipe.errors import ContractBroken, WrongUse
from ketenpipe.tables.registry import BACI_FLOWS, ORIGIN_MIX, PRODUCTION, SUPPLY_MIX, TRACING
from ketenpipe_tests.worlds import (
    Flow,
    bloc,
    catalogue,
    figure,
    flows,
    link,
    mass,
    matrix,
    mining,
    node,
    non_producer,
    one,
    rows,
    trace,
)

CODE = "100001"
ABC = bloc("ABC", "AUT", "BEL", "CZE")
EU27 = bloc("EU27", "AUT", "BEL", "CZE", "NLD")


def shares(tracing: Tracing, focus: str = "NLD", year: int = 2020, column: str = "share_traced") -> dict[str, float]:
    found = rows(tracing.supply_mix, focus=focus, year=year)
    return {r["country"]: r[column] for r in found if (r[column] or 0) > 0}


def beside(tracing: Tracing, focus: str = "NLD", year: int = 2020, measure: str = "q") -> dict[str, object]:
    return one(tracing.tracing, focus=focus, year=year, measure=measure)


# -- worked by hand ------------------------------------------------------------------------------------------


def test_gross_imports_are_not_origins() -> None:
    # CHN ships 300 t to DEU; DEU keeps 100, ships 200 to NLD; RUS ships 100 to NLD. Direct: DEU 2/3, RUS 1/3.
    # Traced: CHN 2/3, RUS 1/3, and DEU has a direct share but none of the origin (0, not missing).
    table = flows(mass(2020, CODE, ("CHN", "DEU", 300), ("DEU", "NLD", 200), ("RUS", "NLD", 100)))
    traced = trace(table, catalogue([node("a", CODE)]))
    assert shares(traced) == pytest.approx({"CHN": 2 / 3, "RUS": 1 / 3})
    assert shares(traced, column="share_direct") == pytest.approx({"DEU": 2 / 3, "RUS": 1 / 3})
    germany = one(traced.supply_mix, country="DEU")
    assert germany["share_traced"] == 0.0
    assert one(traced.supply_mix, country="CHN")["share_direct"] is None
    record = beside(traced)
    assert record["basis"] == "export_proxy"
    assert (record["supply"], record["consumption"], record["own_share"]) == (300.0, 300.0, 0.0)
    assert record["imputed_share"] == pytest.approx(1.0), "on the proxy everything is imputed"
    assert record["confidence"] == "low"


def test_rows_without_mass_stay_out_of_the_masses_and_are_reported() -> None:
    # By mass only CHN's 200 t; by value CHN 2000, RUS 6000: 75 % of the import value has no quantity.
    table = flows([(2020, CODE, "CHN", "NLD", 2000, 200), (2020, CODE, "RUS", "NLD", 6000, None)])
    traced = trace(table, catalogue([node("a", CODE)]))
    assert shares(traced) == {"CHN": 1.0}
    assert shares(traced, column="share_traced_v") == pytest.approx({"CHN": 0.25, "RUS": 0.75})
    assert beside(traced)["value_without_mass"] == pytest.approx(0.75)
    assert one(traced.supply_mix, country="RUS")["tonnes"] is None


def test_a_bloc_reports_the_value_without_mass_of_its_members() -> None:
    # CHN sells 6000 with mass to AUT and 4000 without to BEL: 40 % of the bloc's import value has no quantity.
    table = flows([(2020, CODE, "CHN", "AUT", 6000, 600), (2020, CODE, "CHN", "BEL", 4000, None)])
    traced = trace(table, catalogue([node("a", CODE)], blocs=ABC), ("ABC",))
    assert beside(traced, "ABC")["value_without_mass"] == pytest.approx(0.4)


def test_a_closed_cycle_is_unknown_in_the_tables_too() -> None:
    # DEU and NLD only ship 10 to each other: whatever they hold is of unknown origin.
    traced = trace(flows(mass(2020, CODE, ("DEU", "NLD", 10), ("NLD", "DEU", 10))), catalogue([node("a", CODE)]))
    assert shares(traced) == {"UNK": 1.0}
    assert beside(traced)["unknown_share"] == 1.0


# -- production ----------------------------------------------------------------------------------------------

WORLD = [("CHN", "NLD", 100.0), ("CHN", "DEU", 60.0), ("DEU", "NLD", 60.0), ("RUS", "NLD", 40.0)]


def test_observed_production_of_the_same_form_is_used() -> None:
    # Listed: CHN 500, NLD 100, DEU 60 (so DEU's supply is 120, half of it its own). RUS is not listed, yet exports 40:
    # raised from 0 to 40, d = 1. NLD's supply: 100 own + 100 CHN + 60 DEU (half CHN, half DEU) + 40 RUS = 300.
    # Shares: NLD 100, CHN 130, DEU 30, RUS 40 over 300. imputed_share = 40/300 * 1.
    reference = catalogue([node("a", CODE)], links=[link(CODE, "Ore")])
    made = mining([("Ore", "CHN", 2020, 500.0), ("Ore", "NLD", 2020, 100.0), ("Ore", "DEU", 2020, 60.0)])
    traced = trace(flows(mass(2020, CODE, *WORLD)), reference, statistics=made)
    assert shares(traced) == pytest.approx({"NLD": 1 / 3, "CHN": 13 / 30, "DEU": 0.1, "RUS": 4 / 30})
    record = beside(traced)
    assert record["basis"] == "observed"
    assert record["own_share"] == pytest.approx(1 / 3)
    assert record["imputed_share"] == pytest.approx(4 / 30)
    assert record["confidence"] == "low", "above 0.10 imputed"
    produced = {r["country"]: r for r in rows(traced.production, measure="q")}
    assert (produced["RUS"]["production"], produced["RUS"]["imputed"]) == (40.0, 1.0)
    # By value nothing is observed: tonnes are no dollars.
    assert beside(traced, measure="v")["basis"] == "export_proxy"


def test_exactly_a_tenth_imputed_is_not_low() -> None:
    # CHN listed 90, exports 100: raised by 10, d = 0.1, NLD all from CHN: imputed share 0.10, not above it.
    reference = catalogue([node("a", CODE)], links=[link(CODE, "Ore")])
    table = flows(mass(2020, CODE, ("CHN", "NLD", 100)))
    for listed, expected in ((90.0, "high"), (89.0, "low")):
        traced = trace(table, reference, statistics=mining([("Ore", "CHN", 2020, listed)]))
        assert beside(traced)["confidence"] == expected


def test_a_listed_null_takes_the_proxy_and_counts_as_imputed() -> None:
    # CHN is listed without a figure: proxy 160, d = 1; RUS listed 40. NLD: 100 CHN + 60 (CHN through DEU) + 40 RUS.
    reference = catalogue([node("a", CODE)], links=[link(CODE, "Ore")])
    made = mining([("Ore", "CHN", 2020, None), ("Ore", "RUS", 2020, 40.0)])
    traced = trace(flows(mass(2020, CODE, *WORLD)), reference, statistics=made)
    assert shares(traced) == pytest.approx({"CHN": 0.8, "RUS": 0.2})
    assert beside(traced)["imputed_share"] == pytest.approx(0.8)


@pytest.mark.parametrize(("same_form", "unit", "year"), [(False, "t", 2020), (True, "ct", 2020), (True, "t", 2019)])
def test_another_form_unit_or_year_is_no_licence(same_form: bool, unit: str, year: int) -> None:
    reference = catalogue([node("a", CODE)], links=[link(CODE, "Ore", same_form=same_form)])
    traced = trace(flows(mass(2020, CODE, *WORLD)), reference, statistics=mining([("Ore", "CHN", year, 500.0)], unit))
    assert beside(traced)["basis"] == "export_proxy"


def test_the_producer_list_comes_after_the_statistic_and_needs_read_tonnes() -> None:
    held = pd.DataFrame({"material": ["Ore"], "country": ["CHN"], "year": [2020], "tonnes": [5.0]})

    def basis(*listed: object, statistic: bool = False) -> str | None:
        links = [link(CODE, "Ore")] if statistic else []
        found = production_statistic(
            catalogue([node("a", CODE)], links=links, figures=listed),  # type: ignore[arg-type]
            held, "HS92", CODE, 2020,
        )  # fmt: skip
        return None if found is None else found.basis

    read = figure("a", CODE, 2020, "CHN", 7.0)
    assert basis(read) == "producer_list"
    assert basis(read, statistic=True) == "observed"
    assert basis(figure("a", CODE, 2020, "CHN", share=0.7)) is None, "shares are never production"
    assert basis(figure("a", CODE, 2020, "CHN", 7.0, status="recalled")) is None
    assert basis(figure("a", CODE, 2020, "CHN", 7.0, unit="carat")) is None
    assert basis(figure("a", CODE, 2019, "CHN", 7.0)) is None


def test_a_non_producers_surplus_is_unknown_origin() -> None:
    # NLD imports 20 from CHN, exports 30; barred, so 10 UNK: its supply of 30 is 2/3 CHN, 1/3 UNK, as is DEU's.
    reference = catalogue([node("a", CODE)], non_producers=[non_producer("NLD", name="a")])
    table = flows(mass(2020, CODE, ("CHN", "NLD", 20), ("NLD", "DEU", 30)))
    traced = trace(table, reference, ("NLD", "DEU"))
    for focus in ("NLD", "DEU"):
        assert shares(traced, focus) == pytest.approx({"CHN": 2 / 3, "UNK": 1 / 3})
    assert beside(traced, "DEU")["unknown_share"] == pytest.approx(1 / 3)
    held = one(traced.production, measure="q", country="NLD")
    assert (held["production"], held["unknown_origin"]) == (0.0, 10.0)
    # Not barred, the proxy makes the hub a producer.
    assert shares(trace(table, catalogue([node("a", CODE)])))["NLD"] == pytest.approx(1 / 3)


def test_a_listed_non_producer_makes_nothing_whatever_the_statistic_says() -> None:
    # DEU is barred and yet listed with 500: p = 0. It imports 60 and exports 60, so all of it is CHN's; and it is told.
    reference = catalogue([node("a", CODE)], links=[link(CODE, "Ore")], non_producers=[non_producer("DEU", name="a")])
    made = mining([("Ore", "CHN", 2020, 160.0), ("Ore", "RUS", 2020, 40.0), ("Ore", "DEU", 2020, 500.0)])
    traced = trace(flows(mass(2020, CODE, *WORLD)), reference, statistics=made)
    assert shares(traced) == pytest.approx({"CHN": 0.8, "RUS": 0.2})
    assert "DEU" in str(beside(traced)["reason"])


# -- small and precious --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tonnes", "price", "expected"), [(100, 10, False), (99.9, 10, True), (200, 1000, False), (200, 1000.1, True)]
)
def test_small_and_precious_are_strict(tonnes: float, price: float, expected: bool) -> None:
    # Under 100 t, or a median above 1 million USD (1000 thousand) a tonne: exactly on either line is neither.
    reference = catalogue([node("a", CODE)], links=[link(CODE, "Ore")])
    table = flows(mass(2020, CODE, ("CHN", "NLD", tonnes), price=price))
    record = beside(trace(table, reference, statistics=mining([("Ore", "CHN", 2020, 1000.0)])))
    assert record["small_or_precious"] is expected
    assert record["confidence"] == ("low" if expected else "high")


def test_the_median_unit_value_is_of_all_flows() -> None:
    # Unit values 10, 20, 90 thousand USD a tonne: median 20, whoever trades; the mean would be 40.
    rows_ = [(2020, CODE, "CHN", "NLD", 10, 1), (2020, CODE, "CHN", "DEU", 20, 1), (2020, CODE, "CHN", "USA", 90, 1)]
    assert beside(trace(flows(rows_), catalogue([node("a", CODE)])))["median_unit_value"] == 20.0


# -- blocs ---------------------------------------------------------------------------------------------------


def test_a_blocs_row_is_weighted_by_apparent_consumption() -> None:
    # AUT imports 100 from CHN and eats it (weight 100). BEL imports 300 from RUS and re-exports 250 to USA (weight 50).
    # CZE imports 50 from RUS and ships all 50 on to AUT: weight 0. AUT's supply 150: 2/3 CHN, 1/3 RUS, weight 150.
    # Bloc: CHN 100/200, RUS (50 + 50)/200. CZE's 50 of the members' supply 150 + 300 + 50 = 500 weighs nothing: 0.1.
    routes = [("CHN", "AUT", 100), ("RUS", "BEL", 300), ("BEL", "USA", 250), ("RUS", "CZE", 50), ("CZE", "AUT", 50)]
    traced = trace(flows(mass(2020, CODE, *routes)), catalogue([node("a", CODE)], blocs=ABC), ("ABC",))
    assert shares(traced, "ABC") == pytest.approx({"CHN": 0.5, "RUS": 0.5})
    record = beside(traced, "ABC")
    assert record["dropped_member_share"] == pytest.approx(0.1)
    assert (record["supply"], record["consumption"]) == (500.0, 200.0)
    # The direct view of the bloc: from outside only, CHN 100 of 450.
    assert shares(traced, "ABC", column="share_direct") == pytest.approx({"CHN": 100 / 450, "RUS": 350 / 450})


def test_a_blocs_own_share_is_that_of_all_members() -> None:
    # BEL makes 60 (proxy) and ships 60 to AUT; CHN ships 40 to AUT: AUT's 100 are .6 BEL, .4 CHN; only AUT eats.
    table = flows(mass(2020, CODE, ("BEL", "AUT", 60), ("CHN", "AUT", 40)))
    record = beside(trace(table, catalogue([node("a", CODE)], blocs=ABC), ("ABC",)), "ABC")
    assert record["own_share"] == pytest.approx(0.6)


def test_a_bloc_that_eats_nothing_has_no_row() -> None:
    # AUT passes on all it imports: every weight is 0. Null with a reason, and no shares that look like zeros.
    table = flows(mass(2020, CODE, ("CHN", "AUT", 60), ("AUT", "USA", 60)))
    traced = trace(table, catalogue([node("a", CODE)], blocs=ABC), ("ABC", "AUT"))
    record = beside(traced, "ABC")
    assert record["reason"] == "no_member_consumes"
    assert record["own_share"] is None
    assert record["imputed_share"] is None
    assert record["dropped_member_share"] == 1.0
    assert one(traced.supply_mix, focus="ABC", country="CHN")["share_traced"] is None
    # A single country's row needs no weight: AUT alone is all CHN.
    assert shares(traced, "AUT") == {"CHN": 1.0}


def test_no_imports_is_null_and_not_zero() -> None:
    table = flows([*mass(2020, CODE, ("CHN", "DEU", 60)), *mass(2020, "100002", ("CHN", "NLD", 60))])
    traced = trace(table, catalogue([node("a", CODE)]))
    for measure in ("q", "v"):
        record = one(traced.tracing, focus="NLD", code=CODE, measure=measure)
        assert record["reason"] == "no_supply"
        assert (record["own_share"], record["unknown_share"], record["confidence"]) == (None, None, None)
    assert rows(traced.supply_mix, focus="NLD", code=CODE) == []


def test_a_focus_that_trades_nothing_at_all_is_null_and_no_crash() -> None:
    traced = trace(flows(mass(2020, CODE, ("CHN", "DEU", 60))), catalogue([node("a", CODE)]))
    assert beside(traced)["reason"] == "no_supply"
    assert beside(traced)["imputed_share"] is None
    assert traced.supply_mix.num_rows == 0


def test_eu27_is_constant_and_eu_is_of_the_year() -> None:
    # GBR ships 60 to NLD in 2019 and 2020. EU27: GBR is foreign in both. EU: a member in 2019, foreign in 2020;
    # CHN ships 40 in both.
    table = flows([r for y in (2019, 2020) for r in mass(y, CODE, ("GBR", "NLD", 60), ("CHN", "NLD", 40))])
    reference = catalogue([node("a", CODE)])
    traced = trace(table, reference, ("EU27", "EU"))
    for focus, year, own, direct in (
        ("EU27", 2019, 0.0, {"GBR": 0.6, "CHN": 0.4}),
        ("EU27", 2020, 0.0, {"GBR": 0.6, "CHN": 0.4}),
        ("EU", 2019, 0.6, {"CHN": 1.0}),
        ("EU", 2020, 0.0, {"GBR": 0.6, "CHN": 0.4}),
    ):
        assert beside(traced, focus, year)["own_share"] == pytest.approx(own), (focus, year)
        assert shares(traced, focus, year, "share_direct") == pytest.approx(direct), (focus, year)
    assert len(focus_members(reference, "EU27", [1995])[1995]) == 27
    assert "GBR" in focus_members(reference, "EU", [2019])[2019]
    assert "GBR" not in focus_members(reference, "EU", [2020])[2020]


# -- what always holds ---------------------------------------------------------------------------------------

PLACES = ("AUT", "BEL", "CHN", "CZE", "NLD", "RUS")


@st.composite
def trade(draw: st.DrawFn) -> list[Flow]:
    pairs = st.tuples(st.sampled_from(PLACES), st.sampled_from(PLACES)).filter(lambda p: p[0] != p[1])
    chosen = draw(st.lists(pairs, min_size=1, max_size=14, unique=True))
    chosen += [p for p in (("CHN", "NLD"),) if p not in chosen]
    tonnes = st.none() | st.integers(1, 5000)
    return [(2020, CODE, i, j, draw(st.integers(1, 9999)), draw(tonnes)) for i, j in chosen]


@settings(max_examples=5, deadline=None)
@given(rows_=trade(), listed=st.dictionaries(st.sampled_from(PLACES), st.none() | st.integers(0, 3000), max_size=4))
def test_mixes_sum_to_one_in_both_measures_for_country_and_bloc(
    rows_: list[Flow], listed: dict[str, int | None]
) -> None:
    reference = catalogue([node("a", CODE)], links=[link(CODE, "Ore")], blocs=(*ABC, *EU27))
    made = mining([("Ore", c, 2020, None if q is None else float(q)) for c, q in listed.items()])
    traced = trace(flows(rows_), reference, ("NLD", "ABC", "EU27"), made)
    for record in traced.tracing.to_pylist():
        column = "share_traced" if record["measure"] == "q" else "share_traced_v"
        held = [r[column] for r in rows(traced.supply_mix, focus=record["focus"])]
        if record["own_share"] is not None:
            assert sum(held) == pytest.approx(1.0)
            assert 0 <= record["imputed_share"] <= 1
            assert record["row_residual"] < 1e-9
            # Own, unknown and foreign shares are the whole of it.
            own = focus_members(reference, record["focus"], [2020])[2020]
            mine = sum(r[column] for r in rows(traced.supply_mix, focus=record["focus"]) if r["country"] in own)
            assert mine == pytest.approx(record["own_share"], abs=1e-8)
        else:
            assert all(h is None for h in held)
            assert record["reason"] in ("no_supply", "no_member_consumes")
    for column in ("share_direct", "share_direct_q"):
        for focus in ("NLD", "ABC", "EU27"):
            direct = [r[column] for r in rows(traced.supply_mix, focus=focus) if r[column] is not None]
            assert not direct or sum(direct) == pytest.approx(1.0)


# -- many products, a year at a time -------------------------------------------------------------------------

CODES = ("010121", CODE, "100002", "720449", "999999")
EVERYWHERE = ("AUT", "BEL", "BRA", "CHN", "CZE", "DEU", "NLD", "RUS", "TWN", "USA", "XKX", "ZAF")


def year_of(seed: int, codes: tuple[str, ...] = CODES, year: int = 2020) -> list[Flow]:
    """Flows of several products between up to twelve countries, with all that BACI has: nulls, zeros, few or many."""
    rng = np.random.default_rng(seed)
    found: list[Flow] = []
    for code in codes:
        pairs = [(i, j) for i in EVERYWHERE for j in EVERYWHERE if i != j]
        chosen = rng.choice(len(pairs), rng.integers(1, len(pairs)), replace=False)
        for at in chosen:
            value = round(float(rng.lognormal(3, 2)), 3) if rng.random() > 0.05 else 0.0
            mass_ = None if rng.random() < 0.2 else round(float(rng.lognormal(4, 2)), 3) * (rng.random() > 0.05)
            found.append((year, code, *pairs[at], value, mass_))
    return found


def world_of_many() -> tuple[Reference, pa.Table]:
    """Some of the codes in the catalogue; a statistic with a null, a non-producer of a code, one of a stage."""
    reference = catalogue(
        [node("a", CODE), node("b", "720449", stage="extraction")],
        links=[link(CODE, "Ore")],
        figures=[figure("b", "720449", 2020, "TWN", 900.0), figure("b", "720449", 2020, "ZAF", 80.0)],
        non_producers=[non_producer("DEU", code="100002"), non_producer("BEL", stage="extraction")],
        blocs=(*ABC, *EU27),
    )
    made = [("Ore", "CHN", 2020, 500.0), ("Ore", "RUS", 2020, None), ("Ore", "PER", 2020, 70.0)]
    return reference, mining([*made, ("Ore", "CHN", 2019, 1.0)])


FOCI = ("NLD", "EU27", "ABC")


def by_hand(table: pa.Table, reference: Reference, statistics: pa.Table, focus: str, code: str, measure: str) -> Any:
    """One row by the inverse of one product's ``I - A``: shares by country, None where there is none."""
    flows_ = [r for r in table.to_pylist() if r["code"] == code and (measure == "v" or (r["tonnes"] or 0) > 0)]
    column = "value_kusd" if measure == "v" else "tonnes"
    held = statistics.to_pandas()
    used = production_statistic(reference, held[held["year"] == 2020], "HS92", code, 2020) if measure == "q" else None
    listed = used.quantities if used else {}
    names = sorted({*listed, *(r["exporter"] for r in flows_), *(r["importer"] for r in flows_)})
    x = matrix(names, [(r["exporter"], r["importer"], float(r[column])) for r in flows_])
    barred = np.array([c in reference.non_producer_countries(code, "HS92") for c in names], dtype=bool)
    given_ = np.array([listed.get(c, np.nan) for c in names], dtype=float) if used else None
    made = balance_production(x, given_, np.array([c in listed for c in names]) if used else None, barred)
    traced = trace_origins(x, made)
    inside = np.array([c in focus_members(reference, focus, [2020])[2020] for c in names], dtype=bool)
    weights = np.where(inside, traced.supply, 0.0)
    if focus != "NLD":
        rest = traced.supply - x.sum(axis=1)
        weights = np.where(inside & (rest > 1e-9 * traced.supply), rest, 0.0)
    if not weights.sum() > 0:
        return None
    shares_ = weights @ np.nan_to_num(traced.origins) / weights.sum()
    return {c: s for c, s in zip([*names, "UNK"], shares_, strict=True) if s > 1e-12}


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_every_row_equals_the_single_dense_solve(seed: int) -> None:
    reference, statistics = world_of_many()
    table = flows(year_of(seed))
    traced = trace(table, reference, FOCI, statistics)
    held: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in traced.supply_mix.to_pylist():
        held.setdefault((row["focus"], row["code"]), []).append(row)
    for record in traced.tracing.to_pylist():
        focus, code, measure = record["focus"], record["code"], record["measure"]
        expected = by_hand(table, reference, statistics, focus, code, measure)
        if expected is None:
            assert record["reason"] in ("no_supply", "no_member_consumes")
            assert record["row_residual"] is None
            continue
        column = "share_traced" if measure == "q" else "share_traced_v"
        found = {r["country"]: r[column] for r in held[focus, code] if r[column] > 1e-12}
        assert found == pytest.approx(expected, abs=1e-9)
        assert record["row_residual"] < 1e-12
        assert record["unknown_share"] == pytest.approx(expected.get("UNK", 0.0), abs=1e-9)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_direct_imports_are_those_of_the_formula_on_flows(seed: int) -> None:
    # The same sums as Narwhals expressions, which the indicators use.
    reference, statistics = world_of_many()
    table = flows(year_of(seed))
    traced = trace(table, reference, FOCI, statistics)
    for focus in FOCI:
        with Engine() as engine:
            base = flow_frame(engine.frame("flows", table))
            members = members_table(reference, focus, [2020])
            lazy = None if members is None else engine.frame("members", members)
            expected = engine.pandas(imports_by_origin(as_seen_by(base, lazy, focus), focus))
        found = {(r["code"], r["country"]): r for r in rows(traced.supply_mix, focus=focus) if r["rank"] is not None}
        assert len(found) == len(expected)
        for row in expected.itertuples():
            mine = found[row.code, row.country]
            assert mine["value_kusd"] == pytest.approx(float(row.v), rel=1e-8)
            assert (mine["tonnes"] is None) == pd.isna(row.q)
            assert pd.isna(row.q) or mine["tonnes"] == pytest.approx(float(row.q), rel=1e-8)
        for code in CODES:
            ranked = sorted((r for (c, _), r in found.items() if c == code), key=lambda r: r["rank"])
            assert [r["rank"] for r in ranked] == list(range(1, len(ranked) + 1))
            values = [(-r["value_kusd"], r["country"]) for r in ranked]
            assert values == sorted(values)


def test_only_the_catalogue_keeps_all_rows_and_its_rows_are_the_foci_s() -> None:
    reference, statistics = world_of_many()
    traced = trace(flows(year_of(1)), reference, FOCI, statistics)
    kept = {CODE, "720449"}
    assert set(traced.origin_mix.column("code").to_pylist()) == kept
    assert set(traced.production.column("code").to_pylist()) == kept
    assert set(traced.tracing.column("code").to_pylist()) == set(CODES)
    for code in kept:
        mine = {r["origin"]: r["share"] for r in rows(traced.origin_mix, code=code, country="NLD")}
        focus = rows(traced.supply_mix, code=code, focus="NLD")
        theirs = {r["country"]: r["share_traced"] for r in focus if r["share_traced"]}
        assert mine == pytest.approx(theirs, abs=1e-9)
    # PER trades nothing, but makes: it supplies itself.
    assert rows(traced.origin_mix, country="PER") == [
        {"hs_revision": "HS92", "code": CODE, "year": 2020, "country": "PER", "origin": "PER", "share": 1.0}
    ]


def same(one_: Tracing, other: Tracing) -> bool:
    names = ("production", "origin_mix", "tracing", "supply_mix")
    return all(getattr(one_, n).equals(getattr(other, n), check_metadata=True) for n in names)


@pytest.mark.parametrize("coded", [True, False])
@pytest.mark.parametrize("rows_at_once", [1, 7, 10_000])
def test_batches_of_any_size_give_the_same_as_a_table(coded: bool, rows_at_once: int) -> None:
    reference, statistics = world_of_many()
    table = flows(year_of(2))
    text = {"code", "hs_revision", "exporter", "importer", "release"}
    batches = table.to_batches(max_chunksize=rows_at_once)
    if coded:
        batches = [
            pa.record_batch(
                [c.dictionary_encode() if n in text else c for n, c in zip(b.schema.names, b.columns, strict=True)],
                names=b.schema.names,
            )
            for b in batches
        ]
    empty = table.schema.empty_table().to_batches() or [pa.RecordBatch.from_pylist([], schema=table.schema)]
    whole = trace_year(table, statistics, reference, FOCI, 2020)
    assert same(trace_year(iter([*empty, *batches]), statistics, reference, FOCI, 2020), whole)
    backwards = table.take(pa.array(range(table.num_rows - 1, -1, -1)))
    assert same(trace_year(backwards, statistics, reference, FOCI, 2020), whole)


@pytest.mark.parametrize(("workers", "at_once"), [(1, 1), (1, 100_000), (4, 1), (2, 50)])
def test_the_same_flows_give_the_same_tables_to_the_last_bit(
    monkeypatch: pytest.MonkeyPatch, workers: int, at_once: int
) -> None:
    # However many threads there are, and whatever is traced together.
    reference, statistics = world_of_many()
    table = flows(year_of(3))
    whole = trace_year(table, statistics, reference, FOCI, 2020)
    monkeypatch.setattr("ketenpipe.chain.tracing.WORKERS", workers)
    monkeypatch.setattr("ketenpipe.chain.tracing.FLOWS_AT_ONCE", at_once)
    assert same(trace_year(table, statistics, reference, FOCI, 2020), whole)


def test_the_tables_are_in_the_order_of_their_keys_and_hold_their_contracts() -> None:
    reference, statistics = world_of_many()
    traced = trace_year(flows(year_of(4)), statistics, reference, FOCI, 2020)
    for table in (PRODUCTION, ORIGIN_MIX, TRACING, SUPPLY_MIX):
        found: pa.Table = getattr(traced, table.name)
        table.check(found)
        assert found.num_rows
        assert found.equals(found.sort_by([(k, "ascending") for k in table.key]))
        assert table.conform(found).equals(found), "figures are rounded to nine digits already"


def test_a_year_may_hold_several_hs_revisions() -> None:
    # The same code is another product in another revision: each is traced by itself.
    reference = catalogue([node("a", CODE)])
    old = flows(mass(2020, CODE, ("CHN", "NLD", 60)))
    new = flows(mass(2020, CODE, ("RUS", "NLD", 60), ("BRA", "RUS", 90)), revision="HS17")
    traced = trace_year(pa.concat_tables([old, new]), None, reference, ("NLD",), 2020)
    found = {(r["hs_revision"], r["country"]): r["share_traced"] for r in traced.supply_mix.to_pylist()}
    assert found == pytest.approx({("HS92", "CHN"): 1.0, ("HS17", "BRA"): 1.0, ("HS17", "RUS"): 0.0})


def test_several_years_are_each_year_by_itself() -> None:
    reference, statistics = world_of_many()
    years = {y: flows(year_of(y, year=y)) for y in (2019, 2020)}
    together = build_tracing(pa.concat_tables(years.values()), statistics, reference, FOCI)
    for y, table in years.items():
        alone = trace_year(table, statistics, reference, FOCI, y)
        for name in ("production", "origin_mix", "tracing", "supply_mix"):
            whole: pa.Table = getattr(together, name)
            assert whole.filter(pc.equal(whole.column("year"), y)).equals(getattr(alone, name))


# -- degenerate products -------------------------------------------------------------------------------------


def figures_of(table: pa.Table) -> list[float]:
    return [v for c in table.column_names for v in table.column(c).to_pylist() if isinstance(v, float)]


@pytest.mark.parametrize(
    "trades",
    [
        [(2020, CODE, "CHN", "NLD", 5, 5)],
        [(2020, CODE, "CHN", "NLD", 0, 0)],
        [(2020, CODE, "CHN", "NLD", 5, None), (2020, CODE, "NLD", "CHN", 5, None)],
        [(2020, CODE, "DEU", "NLD", 5, 5), (2020, CODE, "NLD", "DEU", 5, 5), (2020, CODE, "CHN", "USA", 1, 1)],
        [(2020, CODE, "UNK", "NLD", 5, 5), (2020, CODE, "NLD", "UNK", 1, 1)],
        [(2020, CODE, "CHN", "NLD", 0.001, 1e-9), (2020, CODE, "NLD", "DEU", 1e12, 1e12)],
    ],
    ids=["one flow", "zero flow", "no mass", "closed pair", "unknown trader", "far apart"],
)
def test_degenerate_products_give_a_share_or_a_reason_and_never_nan(trades: list[Flow]) -> None:
    reference = catalogue([node("a", CODE)], blocs=(*ABC, *EU27))
    traced = trace(flows(trades), reference, FOCI)
    for name in ("production", "origin_mix", "tracing", "supply_mix"):
        assert np.isfinite(figures_of(getattr(traced, name))).all()
    for record in traced.tracing.to_pylist():
        column = "share_traced" if record["measure"] == "q" else "share_traced_v"
        held = [r[column] for r in rows(traced.supply_mix, focus=record["focus"])]
        if record["reason"] is None:
            assert sum(held) == pytest.approx(1.0)
        else:
            assert all(h is None for h in held)
            assert record["own_share"] is None


def test_flows_of_zero_are_no_supply() -> None:
    record = beside(trace(flows([(2020, CODE, "CHN", "NLD", 0, 0)]), catalogue([node("a", CODE)])))
    assert (record["supply"], record["reason"], record["value_without_mass"]) == (0.0, "no_supply", None)


def test_an_unknown_trader_and_unknown_origin_are_one() -> None:
    # UNK ships 30 to NLD, BEL, which makes none, 10: both are of unknown origin, in one row.
    trades = [("UNK", "NLD", 30), ("CHN", "NLD", 60), ("BEL", "NLD", 10)]
    reference = catalogue([node("a", CODE)], non_producers=[non_producer("BEL", name="a")])
    traced = trace(flows(mass(2020, CODE, *trades)), reference)
    assert shares(traced) == pytest.approx({"CHN": 0.6, "UNK": 0.4})
    assert beside(traced)["unknown_share"] == pytest.approx(0.4)
    mix = {r["origin"]: r["share"] for r in rows(traced.origin_mix, country="NLD")}
    assert mix == pytest.approx({"CHN": 0.6, "UNK": 0.4})


def test_a_year_without_flows_gives_empty_tables() -> None:
    traced = trace_year(BACI_FLOWS.empty(), None, catalogue([node("a", CODE)]), ("NLD",), 2020)
    assert [t.num_rows for t in (traced.production, traced.origin_mix, traced.tracing, traced.supply_mix)] == [0] * 4
    assert build_tracing(BACI_FLOWS.empty(), None, catalogue(), ("NLD",)).supply_mix.equals(SUPPLY_MIX.empty())


# -- refusals ------------------------------------------------------------------------------------------------


def test_flows_of_another_year_are_refused() -> None:
    table = flows(mass(2019, CODE, ("CHN", "NLD", 60)))
    with pytest.raises(WrongUse, match=r"^flows of 2019 were given where those of 2020 are to be traced$"):
        trace_year(table, None, catalogue([node("a", CODE)]), ("NLD",), 2020)


def test_batches_out_of_order_are_refused() -> None:
    later, sooner = (flows(mass(2020, c, ("CHN", "NLD", 60))).to_batches() for c in ("100002", "100001"))
    with pytest.raises(
        ContractBroken,
        match=r"^table baci_flows: the flows of 100001 \(HS92\) come after those of 100002 \(HS92\), against the "
        r"order of the key; sort the table by its key$",
    ):
        trace_year([*later, *sooner], None, catalogue([node("a", CODE)]), ("NLD",), 2020)


def test_a_focus_that_is_no_country_is_refused_before_anything_is_read() -> None:
    def never() -> Iterator[pa.RecordBatch]:
        raise AssertionError("read")
        yield

    with pytest.raises(WrongUse, match="'EU99X' is not a bloc"):
        trace_year(never(), None, catalogue([node("a", CODE)]), ("EU99X",), 2020)
