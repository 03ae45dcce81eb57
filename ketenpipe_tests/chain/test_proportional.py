"""Uses and indicative tiers against worked examples, a dense oracle in loops, and what must always hold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ketenpipe.chain.catalogue import Reference
from ketenpipe.chain.proportional import (
    IndicativeTiers,
    Split,
    TierMix,
    View,
    build_uses,
    indicative_tiers,
    industries_for,
    product_edges,
    recipe_year,
    supplies,
    with_recipe,
)
from ketenpipe.errors import InputRefused, WrongUse
from ketenpipe.sources.icio import IcioTable, list_tables, read_table
from ketenpipe.sources.places import discover
from ketenpipe.tables.registry import PRODUCT_TIERS, PRODUCT_USES, SUPPLY_MIX
from ketenpipe_tests.benchmarks import bench_industry, bench_proportional
from ketenpipe_tests.chain.io_worlds import degenerate_worlds, random_table, table, technical_coefficients
from ketenpipe_tests.shared_data import shared_data
from ketenpipe_tests.worlds import bloc, catalogue, edge, node

HS92 = "HS92"
Row = tuple[str, str, float | None, float | None, float | None]
NOBODY = catalogue(blocs=(*bloc("EU27", "AUT", "DEU"), *bloc("EU", "AUT", "DEU")))
KNOWN = {HS92: {"100001": "C10", "100002": "C10", "200001": "C20"}}
#: One code of three is fewer than half.
FEW = "subset_of_products; synthetic"


def supply(rows: Iterable[Row], *, focus: str = "NLD", year: int = 2020, revision: str = HS92) -> pa.Table:
    """``supply_mix`` of (code, country, imports in thousand USD, share by mass, share by value)."""
    names = ("code", "country", "value_kusd", "share_traced", "share_traced_v")
    given = [dict(zip(names, row, strict=True)) for row in rows]
    return SUPPLY_MIX.conform([{**r, "focus": focus, "hs_revision": revision, "year": year} for r in given])


def mixed(mix: pa.Table, held: IcioTable, reference: Reference = NOBODY, **options: Any) -> TierMix:
    """The one mix of a supply."""
    (found,) = indicative_tiers(mix, held, reference, 2020, KNOWN, **options).mixes
    return found


def vector(found: TierMix, code: str, tier: int) -> dict[str, float]:
    """Country -> share, those above 0."""
    row = found.shares[tier, found.codes.index(code)]
    return {c: float(s) for c, s in zip([*found.view.names, "UNK"], row, strict=True) if s != 0}


# -- by hand -------------------------------------------------------------------------------------------------

LABELS = [(c, i) for c in ("CHN", "DEU", "NLD", "ROW") for i in ("C10", "C20", "K")]
AT = {f"{c}_{i}": k for k, (c, i) in enumerate(LABELS)}


def economy(deliveries: Mapping[tuple[str, str], float], output: float = 100.0, **options: Any) -> IcioTable:
    """A table of CHN, DEU, NLD and the rest, industries C10, C20 (goods) and K (services)."""
    z = np.zeros((len(LABELS), len(LABELS)))
    for (supplier, user), value in deliveries.items():
        z[AT[supplier], AT[user]] = value
    return table(LABELS, z, np.full(len(LABELS), output), **options)


def test_a_delivery_splits_by_import_value_and_what_cannot_split_stays_whole() -> None:
    held = economy({
        ("CHN_C10", "NLD_C10"): 30.0, ("DEU_C10", "NLD_C10"): 50.0, ("CHN_K", "NLD_C10"): 5.0,
        ("ROW_C10", "NLD_C10"): 4.0, ("NLD_C20", "NLD_C10"): 7.0, ("NLD_K", "NLD_C10"): 9.0,
    })  # fmt: skip
    mix = supply([
        ("100001", "CHN", 10.0, 1.0, None), ("100002", "CHN", 20.0, 1.0, None),
        ("100002", "BRA", 1.0, None, None), ("100002", "IND", 2.0, None, None), ("100001", "IND", 1.0, None, None),
        ("999999", "CHN", 4.0, None, None), ("200001", "UNK", 2.0, None, None),
    ])  # fmt: skip
    edges = product_edges(mix, held, NOBODY, "NLD", "C10", 2020, HS92, KNOWN)
    found = [
        (r["kind"], r["country"], r["supplier_industry"], r["code"], float(r["value_kusd"]), r["reason"])
        for r in edges.to_pylist()
    ]
    assert found == [
        ("industry", "DEU", "C10", None, 50_000.0, "no_imports"),
        ("product", "CHN", "C10", "100002", 20_000.0, None),
        ("product", "CHN", "C10", "100001", 10_000.0, None),
        ("industry", "CHN", "K", None, 5_000.0, "no_product"),
        ("product", "ROW", "C10", "100002", 3_000.0, None),
        ("product", "ROW", "C10", "100001", 1_000.0, None),
        ("own", "NLD", "K", None, 9_000.0, None),
        ("own", "NLD", "C20", None, 7_000.0, None),
    ]
    assert edges.column("share").to_pylist()[:3] == [50 / 89, 20 / 89, 10 / 89]
    assert edges.column("share").to_pylist()[-2:] == [None, None]
    assert set(edges.column("evidence").to_pylist()) == {"icio_proportional"}
    built = build_uses(mix, held, NOBODY, 2020, KNOWN)
    (joined,) = built.product_join.to_pylist()
    assert {k: float(v) for k, v in joined.items() if k.endswith("kusd")} == {
        "imports_kusd": 40.0, "joined_kusd": 34.0, "unmapped_kusd": 6.0, "no_industry_kusd": 4.0,
        "no_region_kusd": 2.0, "without_delivery_kusd": 0.0, "inputs_kusd": 89_000.0, "inputs_split_kusd": 34_000.0,
        "inputs_no_imports_kusd": 50_000.0, "inputs_no_product_kusd": 5_000.0,
    }  # fmt: skip
    assert (joined["unmapped_share"], joined["codes_without_industry"], joined["reason"]) == (0.15, 1, None)


def test_what_does_not_divide_goes_to_the_largest() -> None:
    held = economy({("CHN_C10", "NLD_C10"): 11e-6})
    mix = supply([("100001", "CHN", 1.0, None, None), ("100002", "CHN", 2.0, None, None)])
    edges = product_edges(mix, held, NOBODY, "NLD", "C10", 2020, HS92, KNOWN)
    assert [(r["code"], r["value_kusd"]) for r in edges.to_pylist()] == [
        ("100002", Decimal("0.008")),
        ("100001", Decimal("0.003")),
    ]


def test_the_tiers_of_a_product_by_hand() -> None:
    """NLD's 100001: .5 from CHN, .25 own, .25 unknown. CHN's C10 buys 20 of CHN's C20 and 20 of DEU's; NLD's buys 40 of
    ROW's K. Tier 1 before scaling: CHN .1, DEU .1, ROW .1. DEU's C20 buys 60 of NLD's K, CHN's nothing, ROW's K 30 of
    its own."""
    held = economy({
        ("CHN_C20", "CHN_C10"): 20.0, ("DEU_C20", "CHN_C10"): 20.0, ("ROW_K", "NLD_C10"): 40.0,
        ("NLD_K", "DEU_C20"): 60.0, ("ROW_K", "ROW_K"): 30.0,
    })  # fmt: skip
    mix = supply(
        [("100001", "CHN", 1.0, 0.5, 0.9), ("100001", "NLD", None, 0.25, 0.1), ("100001", "UNK", None, 0.25, 0)]
    )
    found = mixed(mix, held)
    assert vector(found, "100001", 0) == {"CHN": 0.5, "NLD": 0.25, "UNK": 0.25}
    assert vector(found, "100001", 1) == pytest.approx({"CHN": 0.25, "DEU": 0.25, "ROW": 0.25, "UNK": 0.25})
    assert vector(found, "100001", 2) == pytest.approx({"NLD": 0.5, "ROW": 0.25, "UNK": 0.25})
    assert found.by_mass.tolist() == [True]
    assert found.largest[:, 0].tolist() == ["CHN_C20", "NLD_K"]
    rows = indicative_tiers(mix, held, NOBODY, 2020, KNOWN).product_tiers.to_pylist()
    assert [(r["tier"], r["rank"], r["country"], r["industry"], round(r["share"], 9)) for r in rows] == [
        (1, 1, "CHN", "C20", 0.25), (1, 2, "DEU", "C20", 0.25), (1, 3, "ROW", "K", 0.25), (1, 4, "UNK", None, 0.25),
        (2, 1, "NLD", "K", 0.5), (2, 2, "ROW", "K", 0.25), (2, 3, "UNK", None, 0.25),
    ]  # fmt: skip


def test_where_no_mass_is_traced_the_value_stands() -> None:
    held = economy({("DEU_K", "CHN_C10"): 1.0, ("ROW_K", "DEU_C10"): 1.0})
    found = mixed(supply([("100001", "CHN", 1.0, None, 0.5), ("100001", "DEU", 1.0, None, 0.5)]), held)
    assert not found.by_mass[0]
    assert vector(found, "100001", 1) == pytest.approx({"DEU": 0.5, "ROW": 0.5})


def test_an_unnamed_country_takes_the_recipe_of_the_rest_of_the_world() -> None:
    held = economy({("DEU_K", "ROW_C10"): 1.0})
    found = mixed(supply([("100001", "BRA", 1.0, 1.0, None)]), held)
    assert vector(found, "100001", 0) == {"ROW": 1.0}
    assert vector(found, "100001", 1) == {"DEU": 1.0}


def test_what_has_no_recipe_becomes_unknown() -> None:
    """CHN's C10 has no output: half of the product has no recipe."""
    held = economy({("CHN_K", "DEU_C10"): 10.0})
    held.OUT[AT["CHN_C10"]] = 0.0
    found = mixed(supply([("100001", "CHN", 1.0, 0.5, None), ("100001", "DEU", 1.0, 0.5, None)]), held)
    assert vector(found, "100001", 1) == {"CHN": 0.5, "UNK": 0.5}
    assert found.reasons[:, 0].tolist() == [None, "no_intermediate_inputs"]
    assert np.isnan(found.shares[2, 0]).all()


def test_inputs_from_an_industry_without_output_are_unknown_one_tier_up() -> None:
    held = economy({("CHN_K", "DEU_C10"): 10.0, ("CHN_C20", "DEU_C10"): 30.0, ("DEU_K", "CHN_K"): 5.0})
    held.OUT[AT["CHN_C20"]] = 0.0
    found = mixed(supply([("100001", "DEU", 1.0, 1.0, None)]), held)
    assert vector(found, "100001", 1) == {"CHN": 1.0}
    assert vector(found, "100001", 2) == pytest.approx({"DEU": 0.25, "UNK": 0.75})


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([("999999", "CHN", 1.0, 1.0, None)], "no_industry"),
        ([("100001", "CHN", 1.0, None, None)], "no_supply"),
        ([("100001", "UNK", None, 1.0, None)], "no_recipe"),
        ([("200001", "DEU", 1.0, 1.0, None)], "no_intermediate_inputs"),
    ],
)
def test_what_cannot_be_had_says_why(rows: list[Row], reason: str) -> None:
    found = mixed(supply(rows), economy({("CHN_K", "DEU_C10"): 10.0}))
    assert found.reasons[:, 0].tolist() == [reason, reason]
    assert np.isnan(found.shares[1:]).all()
    assert found.largest[0, 0] is None


def test_a_focus_that_the_table_lacks_says_so() -> None:
    held = economy({("CHN_K", "CHN_C10"): 10.0})
    mix = supply([("100001", "CHN", 1.0, 1.0, None)], focus="BEL")
    assert mixed(mix, held).reasons[:, 0].tolist() == ["no_region", "no_region"]
    built = build_uses(mix, held, NOBODY, 2020, KNOWN)
    assert built.product_uses.num_rows == 0
    (joined,) = built.product_join.to_pylist()
    assert joined["reason"] == "subset_of_products; no_region"
    assert (float(joined["without_delivery_kusd"]), joined["inputs_kusd"]) == (1.0, 0)


def test_codes_with_a_recipe_in_the_catalogue_are_left_out() -> None:
    held = economy({("CHN_K", "CHN_C10"): 10.0})
    book = catalogue([node("magnet", "100001"), node("metal", "200001")], [edge("magnet", "metal")])
    mix = supply([("100001", "CHN", 1.0, 1.0, None), ("100002", "CHN", 1.0, 1.0, None), ("200001", "CHN", 1, 1, None)])
    found = mixed(mix, held, book)
    assert with_recipe(book, HS92) == {"100001"}
    assert (found.codes, found.with_recipe) == (["100002", "200001"], 1)
    (joined,) = build_uses(mix, held, book, 2020, KNOWN).product_join.to_pylist()
    assert joined["codes_with_recipe"] == 1


def test_codes_without_a_row_in_the_supply_mix_can_be_asked_for() -> None:
    held = economy({("CHN_K", "CHN_C10"): 10.0})
    mix = supply([("100002", "CHN", 1.0, 1.0, None)])
    asked = {("NLD", HS92): {"100001"}, ("DEU", HS92): {"200001"}}
    dutch, german = sorted(
        indicative_tiers(mix, held, NOBODY, 2020, KNOWN, codes=asked).mixes, key=lambda m: m.view.focus != "NLD"
    )
    assert (dutch.codes, dutch.reasons[0].tolist()) == (["100001", "100002"], ["no_supply", None])
    assert (german.codes, german.reasons[0].tolist()) == (["200001"], ["no_supply"])


def test_a_bloc_is_one_country_and_its_members_recipes_count() -> None:
    held = economy({("CHN_K", "DEU_C10"): 10.0, ("DEU_C20", "DEU_C10"): 5.0, ("DEU_K", "DEU_C10"): 5.0})
    found = mixed(supply([("100001", "DEU", None, 1.0, None)], focus="EU27"), held)
    assert vector(found, "100001", 0) == {"EU27": 1.0}
    assert vector(found, "100001", 1) == {"CHN": 0.5, "EU27": 0.5}


def test_a_member_that_the_table_does_not_name_is_own_and_has_the_rest_s_recipe() -> None:
    held = economy({("CHN_K", "ROW_C10"): 10.0})
    found = mixed(supply([("100001", "AUT", None, 1.0, None)], focus="EU27"), held)
    assert vector(found, "100001", 0) == {"EU27": 1.0}
    assert vector(found, "100001", 1) == {"CHN": 1.0}


def test_the_largest_inputs_are_listed_and_the_rest_is_named() -> None:
    labels = [("NLD", f"C{k:02d}") for k in range(12)] + [("CHN", "C00")]
    z = np.zeros((13, 13))
    z[:12, 12] = [30, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]
    held = table(labels, z, np.full(13, 100.0))
    mix = supply([("100001", "CHN", 1.0, 1.0, None)])
    rows = indicative_tiers(mix, held, NOBODY, 2020, {HS92: {"100001": "C00"}}).product_tiers.to_pylist()
    # 30 of 41, then 1 each until 90 % (36.9) are reached: 7 more.
    assert [(r["rank"], r["industry"]) for r in rows if r["tier"] == 1] == [
        *((k + 1, f"C{k:02d}") for k in range(8)),
        (9, None),
    ]
    assert rows[8]["share"] == pytest.approx(4 / 41)
    z[:12, 12] = 1
    many = indicative_tiers(mix, held, NOBODY, 2020, {HS92: {"100001": "C00"}}).product_tiers.to_pylist()
    assert [(r["rank"], r["industry"]) for r in many if r["tier"] == 1][-2:] == [(10, "C09"), (11, None)]


def test_the_uses_stop_at_95_percent_or_200_rows_and_name_the_rest() -> None:
    held = economy({("CHN_C10", "NLD_C10"): 90.0, ("DEU_C10", "NLD_C10"): 6.0, ("ROW_C10", "NLD_C10"): 4.0})
    mix = supply([("100001", "CHN", 1.0, None, None)])
    rows = [r for r in build_uses(mix, held, NOBODY, 2020, KNOWN).product_uses.to_pylist() if r["industry"] == "C10"]
    assert [(r["rank"], r["kind"], r["country"], float(r["value_kusd"])) for r in rows] == [
        (1, "product", "CHN", 90_000.0), (2, "industry", "DEU", 6_000.0), (3, "rest", None, 4_000.0),
    ]  # fmt: skip
    codes = {f"{k:06d}": "C10" for k in range(300)}
    flat = supply([(c, "CHN", 1.0, None, None) for c in codes])
    uses = build_uses(flat, economy({("CHN_C10", "NLD_C10"): 3.0}), NOBODY, 2020, {HS92: codes}).product_uses
    assert uses.num_rows == 201
    assert uses.column("code").to_pylist()[:200] == sorted(codes)[:200]
    assert float(uses.column("value_kusd")[200].as_py()) == 1000.0


def test_a_made_up_table_says_so_and_the_recipes_year_is_kept() -> None:
    held = replace(economy({("CHN_C10", "NLD_C10"): 1.0, ("CHN_K", "CHN_C10"): 1.0}, synthetic=True), year=2018)
    mix = supply([("100001", "CHN", 1.0, 1.0, None)])
    built = build_uses(mix, held, NOBODY, 2020, KNOWN)
    tiers = indicative_tiers(mix, held, NOBODY, 2020, KNOWN).product_tiers
    for found, reason in ((built.product_uses, FEW), (built.product_join, FEW), (tiers, "synthetic")):
        assert set(found.column("reason").to_pylist()) == {reason}
        assert set(found.column("recipe_year").to_pylist()) == {2018}
        assert set(found.column("year").to_pylist()) == {2020}
    assert set(tiers.column("basis").to_pylist()) == {"icio_proportional"}


@pytest.mark.parametrize(
    ("year", "chosen"), [(2020, 2020), (2024, 2022), (2021, 2020), (1990, 1995)], ids=["same", "last", "gap", "before"]
)
def test_the_table_that_a_year_is_joined_to(year: int, chosen: int) -> None:
    assert recipe_year({1995, 2020, 2022}, year) == chosen
    assert recipe_year((), year) is None


def test_two_revisions_are_two_joins() -> None:
    held = economy({("CHN_C10", "NLD_C10"): 3.0, ("CHN_K", "CHN_C10"): 1.0})
    rows: list[Row] = [("100001", "CHN", 1.0, 1.0, None)]
    both = pa.concat_tables([supply(rows), supply(rows, revision="HS12")])
    found = build_uses(both, held, NOBODY, 2020, KNOWN)
    by_revision = {r["hs_revision"]: r for r in found.product_join.to_pylist()}
    assert {k: float(r["unmapped_kusd"]) for k, r in by_revision.items()} == {"HS92": 0.0, "HS12": 1.0}
    assert float(pc.sum(found.product_uses.column("value_kusd")).as_py()) == 6_000.0
    assert industries_for(replace(held, edition="OECD ICIO 2025"), ["HS12"]) == {"HS12": {}}


# -- refusals ------------------------------------------------------------------------------------------------


def test_refusals_say_what_and_what_to_do() -> None:
    held = economy({("CHN_C10", "NLD_C10"): 3.0})
    mix = supply([("100001", "CHN", 1.0, 1.0, None)])
    with pytest.raises(
        WrongUse, match="supply mix of 2020 was given where that of 2021 is to be joined; give one year"
    ):
        supplies(mix, 2021)
    with pytest.raises(WrongUse, match="NLD has no industry 'X' in the table of 2020; there are C10, C20, K"):
        product_edges(mix, held, NOBODY, "NLD", "X", 2020, HS92, KNOWN)
    with pytest.raises(WrongUse, match="supply mix of 2020 has no row of DEU in HS92"):
        product_edges(mix, held, NOBODY, "DEU", "C10", 2020, HS92, KNOWN)
    with pytest.raises(WrongUse, match="no industries are known for the edition 'test'"):
        indicative_tiers(mix, held, NOBODY, 2020)
    held.Z[0, 0] = np.nan
    for call in (indicative_tiers, build_uses):
        with pytest.raises(
            InputRefused, match="table of 2020 has a delivery or an output that is no finite"
        ) as refused:
            call(mix, held, NOBODY, 2020, KNOWN)
        assert "check the file for empty or overflowing cells" in str(refused.value)


# -- what always holds ---------------------------------------------------------------------------------------

CODES = ("100001", "100002", "100003", "200001", "200002", "300001", "999999")
INDUSTRY = {"100001": "C10", "100002": "C10", "100003": "C10", "200001": "C20", "200002": "C20", "300001": "C99"}
COUNTRIES = ("AUT", "BRA", "CHN", "DEU", "IND", "NLD", "UNK", "ROW")
SEEDS = st.integers(0, 10**6)


def random_supply(seed: int, focus: str, members: tuple[str, ...]) -> pa.Table:
    """Imports and traced shares with gaps: no mass, no value, no supply, unknown origin."""
    chance = np.random.default_rng(seed)
    rows: list[Row] = []
    for code in CODES:
        there = chance.random(len(COUNTRIES)) < 0.6
        shares = np.where(there, chance.random(len(COUNTRIES)) + 0.01, 0.0)
        shares = shares / max(shares.sum(), 1e-9)
        kind = chance.integers(4)
        for country, share, bought in zip(COUNTRIES, shares, chance.random(len(COUNTRIES)), strict=True):
            value = round(float(bought) * 1000, 3) if bought > 0.4 and country not in members else None
            mass, by_value = (float(share) if kind in k else None for k in ((0, 1), (0, 2)))
            if value is not None or mass or by_value:
                rows.append((code, country, value, mass, by_value))
    return supply(rows, focus=focus)


@st.composite
def joins(draw: st.DrawFn) -> tuple[IcioTable, pa.Table, str]:
    """A table with anything that may go wrong in it, a supply mix and a focus, country or bloc."""
    held = draw(degenerate_worlds())
    if draw(st.booleans()):
        held = replace(held, labels=tuple(("ROW" if c == "AUT" else c, i) for c, i in held.labels))
    focus, members = draw(st.sampled_from([("NLD", ("NLD",)), ("EU27", ("AUT", "DEU")), ("BEL", ("BEL",))]))
    return held, random_supply(draw(SEEDS), focus, members), focus


def members_of(focus: str) -> tuple[str, ...]:
    return ("AUT", "DEU") if focus == "EU27" else (focus,)


@given(joins())
@settings(max_examples=40, deadline=None)
def test_uses_are_the_oracle_s_and_sum_back_to_z_to_the_dollar(join: tuple[IcioTable, pa.Table, str]) -> None:
    held, mix, focus = join
    members = members_of(focus)
    imports = [r for r in mix.to_pylist() if r["value_kusd"]]
    regions = {c for c, _ in held.labels}

    def region(country: str) -> str | None:
        return (
            country
            if country in regions and country != "UNK"
            else "ROW"
            if "ROW" in regions and country != "UNK"
            else None
        )

    bought: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for r in imports:
        place = region(r["country"])
        if place is not None and INDUSTRY.get(r["code"]) in ("C10", "C20"):
            bought[place, INDUSTRY[r["code"]]][r["code"]] += round(r["value_kusd"] * 1000)
    view = View.of(held, NOBODY, focus, 2020)
    (one,) = supplies(mix, 2020)
    split = Split.of(view, one, INDUSTRY)
    total = 0
    for industry in view.own_industries:
        edges = split.edges(industry).to_pylist()
        values: dict[tuple[str, str], dict[str | None, int]] = defaultdict(dict)
        for r in edges:
            assert r["value_kusd"] != 0
            if r["kind"] != "own":
                values[r["country"], r["supplier_industry"]][r["code"]] = int(r["value_kusd"] * 1000)
        columns = [k for k, (c, i) in enumerate(held.labels) if c in members and i == industry]
        for k, (c, i) in enumerate(held.labels):
            z = round(float(held.Z[k, columns].sum()) * 1e6)
            if c in members:
                continue
            parts = values[c, i]
            assert sum(parts.values()) == z
            if products := bought.get((c, i)):
                assert None not in parts
                for code, amount in products.items():
                    exact = Fraction(z) * amount / sum(products.values())
                    assert abs(parts.get(code, 0) - exact) <= len(products)
            elif z:
                assert list(parts) == [None]
        own = sum(round(float(held.Z[k, columns].sum()) * 1e6) for k, (c, _) in enumerate(held.labels) if c in members)
        assert sum(int(r["value_kusd"] * 1000) for r in edges if r["kind"] == "own") == own
        top = split.edges(industry, explain=0.95, at_most=3, own=False)
        foreign = sum(sum(p.values()) for p in values.values())
        assert sum(int(v * 1000) for v in top.column("value_kusd").to_pylist()) == foreign
        assert top.num_rows <= 4
        total += foreign
    built = build_uses(mix, held, NOBODY, 2020, {HS92: INDUSTRY})
    PRODUCT_USES.check(built.product_uses)
    (joined,) = built.product_join.to_pylist()
    assert int(joined["inputs_kusd"] * 1000) == total
    assert joined["inputs_kusd"] == sum(joined[f"inputs_{k}_kusd"] for k in ("split", "no_imports", "no_product"))
    assert joined["imports_kusd"] == sum(joined[f"{k}_kusd"] for k in ("joined", "unmapped", "without_delivery"))
    assert int(joined["imports_kusd"] * 1000) == sum(round(r["value_kusd"] * 1000) for r in imports)
    assert joined["unmapped_kusd"] == joined["no_industry_kusd"] + joined["no_region_kusd"]


def oracle(held: IcioTable, mix: pa.Table, focus: str) -> dict[tuple[str, int], dict[str, float] | str]:
    """(code, tier) -> vector, or why there is none: dense, one product after the other."""
    members = members_of(focus)
    regions = {c for c, _ in held.labels}
    row_of = {label: k for k, label in enumerate(held.labels)}
    a = technical_coefficients(np.maximum(held.Z, 0.0), held.OUT)
    out: dict[tuple[str, int], dict[str, float] | str] = {}
    for code in sorted(set(mix.column("code").to_pylist())):
        rows = [r for r in mix.to_pylist() if r["code"] == code]
        column = "share_traced" if sum(r["share_traced"] or 0 for r in rows) > 0 else "share_traced_v"
        total = sum(r[column] or 0 for r in rows)
        industry = INDUSTRY.get(code)
        if not regions.intersection(members):
            why: str | None = "no_region"
        elif not total:
            why = "no_supply"
        elif industry not in {i for _, i in held.labels}:
            why = "no_industry"
        else:
            why = None
        if why:
            out[code, 1] = out[code, 2] = why
            continue
        y, unknown, start = np.zeros(len(held.labels)), 0.0, defaultdict(float)
        for r in rows:
            share = (r[column] or 0) / total
            place = None if r["country"] == "UNK" else r["country"] if r["country"] in regions else "ROW"
            start[
                focus if r["country"] in members else place if place in regions else "UNK"
            ] += share  # fmt: skip
            k = row_of.get((str(place), str(industry)))
            if k is None or not held.OUT[k] > 0:
                unknown += share
            else:
                y[k] += share
        out[code, 0] = dict(start)
        if not y.sum() > 0:
            out[code, 1] = out[code, 2] = "no_recipe"
            continue
        step = y
        for tier in (1, 2):
            dead = sum(step[k] for k in range(len(step)) if not held.OUT[k] > 0)
            if tier == 2 and step.sum() > 0:
                unknown += (1 - unknown) * dead / step.sum()
            step = a @ step
            if not step.sum() > 0:
                out[code, tier] = "no_intermediate_inputs"
                continue
            found: dict[str, float] = defaultdict(float)
            for k, (c, _) in enumerate(held.labels):
                found[focus if c in members else c] += step[k] / step.sum() * (1 - unknown)
            found["UNK"] += unknown
            out[code, tier] = dict(found)
    return out


@given(joins())
@settings(max_examples=50, deadline=None)
def test_tiers_are_the_oracle_s_sum_to_one_and_are_never_nan(join: tuple[IcioTable, pa.Table, str]) -> None:
    held, mix, focus = join
    result = indicative_tiers(mix, held, NOBODY, 2020, {HS92: INDUSTRY})
    (found,) = result.mixes
    expected = oracle(held, mix, focus)
    for k, code in enumerate(found.codes):
        for tier in (1, 2):
            wanted, reason = expected[code, tier], found.reasons[tier - 1, k]
            row = found.shares[tier, k]
            if isinstance(wanted, str):
                assert reason == wanted
                assert np.isnan(row).all()
                continue
            assert reason is None
            assert row.sum() == pytest.approx(1.0, abs=1e-12)
            assert (row >= 0).all()
            names = [*found.view.names, "UNK"]
            assert dict(zip(names, row, strict=True)) == pytest.approx(
                {n: wanted.get(n, 0.0) for n in names}, abs=1e-12
            )
            listed = [
                r for r in result.product_tiers.to_pylist() if r["code"] == code and r["tier"] == tier
            ]  # fmt: skip
            assert sum(r["share"] for r in listed) == pytest.approx(1.0, abs=1e-8)
            assert [r["rank"] for r in listed] == list(range(1, len(listed) + 1))
            assert found.largest[tier - 1, k] == f"{listed[0]['country']}_{listed[0]['industry']}"
        if isinstance(wanted := expected.get((code, 0), ""), dict):
            names = [*found.view.names, "UNK"]
            mine = dict(zip(names, found.shares[0, k], strict=True))
            assert mine == pytest.approx({n: wanted.get(n, 0.0) for n in names}, abs=1e-9)
    PRODUCT_TIERS.check(result.product_tiers)
    without = indicative_tiers(mix, held, NOBODY, 2020, {HS92: INDUSTRY}, inputs=False)
    assert np.array_equal(without.mixes[0].shares, found.shares, equal_nan=True)
    assert without.product_tiers.num_rows == 0


@pytest.mark.parametrize(("focus", "seed"), [("NLD", 1), ("NLD", 2), ("EU27", 3), ("EU27", 4)])
@pytest.mark.parametrize("kind", ["even", "diagonal", "sparse"])
def test_the_bound_leaves_out_nothing_that_is_largest(
    focus: str, seed: int, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More inputs than are tried at first: the ten largest are still those of the whole vector."""
    chance = np.random.default_rng(seed)
    countries = ["AUT", "BRA", "CHN", "DEU", "IND", "NLD", "ROW"]
    labels = [(c, f"C{k}") for c in countries for k in range(10, 22)]
    n = len(labels)
    size = chance.lognormal(0, 1.5, n)
    z = np.outer(size, size) * chance.random((n, n))
    if kind == "diagonal":
        z[np.arange(n), np.arange(n)] *= 50
    if kind == "sparse":
        z *= chance.random((n, n)) < 0.02
    held = table(labels, z, np.maximum(z.sum(axis=0), z.sum(axis=1)) * 1.5 + 1)
    rows: list[Row] = []
    for code in CODES:
        shares = chance.dirichlet(np.full(len(COUNTRIES), 0.5))
        rows += [(code, c, None, float(s), None) for c, s in zip(COUNTRIES, shares, strict=True)]
    mix = supply(rows, focus=focus)
    tried = []
    monkeypatch.setattr("ketenpipe.chain.proportional.TRIED", 12)
    partition = np.argpartition
    monkeypatch.setattr(np, "argpartition", lambda *a, **k: tried.append(1) or partition(*a, **k))
    found = indicative_tiers(mix, held, NOBODY, 2020, {HS92: INDUSTRY})
    assert tried
    (one,) = found.mixes
    a = technical_coefficients(held.Z, held.OUT)
    for code in (c for k, c in enumerate(one.codes) if one.reasons[1, k] is None):
        k = one.codes.index(code)
        y = np.zeros(n)
        for c, share in vector_by_country(mix, code, countries).items():
            y[labels.index((c, INDUSTRY[code]))] += share
        step = a @ (a @ y)
        merged: dict[tuple[str, str], float] = defaultdict(float)
        for (c, i), v in zip(labels, step / step.sum() * (1 - one.shares[2, k, -1]), strict=True):
            merged[focus if c in members_of(focus) else c, i] += v
        largest = sorted(merged, key=lambda x: -merged[x])[:10]
        listed = [r for r in found.product_tiers.to_pylist() if (r["code"], r["tier"]) == (code, 2) and r["industry"]]
        assert [(r["country"], r["industry"]) for r in listed] == largest[: len(listed)]
        assert [r["share"] for r in listed] == pytest.approx([merged[x] for x in largest[: len(listed)]], rel=1e-8)
        known = sum(r["share"] for r in listed) >= 0.9 * (1 - one.shares[2, k, -1]) - 1e-9
        assert len(listed) == 10 or known or len(listed) == sum(v > 0 for v in merged.values())


def vector_by_country(mix: pa.Table, code: str, regions: list[str]) -> dict[str, float]:
    """The start of a code by region, unknown origin left out; by value where no mass is traced."""
    rows = [r for r in mix.to_pylist() if r["code"] == code]
    column = "share_traced" if sum(r["share_traced"] or 0 for r in rows) > 0 else "share_traced_v"
    total = sum(r[column] or 0 for r in rows)
    out: dict[str, float] = defaultdict(float)
    for r in rows:
        if r["country"] != "UNK" and r[column]:
            out[r["country"] if r["country"] in regions else "ROW"] += r[column] / total
    return out


def tables(result: IndicativeTiers) -> Any:
    return result.product_tiers.to_pylist()


@given(SEEDS, SEEDS)
@settings(max_examples=12, deadline=None)
def test_neither_money_nor_the_order_of_rows_changes_a_share(world: int, trade: int) -> None:
    held, mix = random_table(world), random_supply(trade, "NLD", ("NLD",))
    base = indicative_tiers(mix, held, NOBODY, 2020, {HS92: INDUSTRY})
    scaled = indicative_tiers(mix, replace(held, Z=held.Z * 8, OUT=held.OUT * 8), NOBODY, 2020, {HS92: INDUSTRY})
    assert tables(base) == tables(scaled)
    order = np.random.default_rng(world).permutation(len(held.labels))
    shuffled = replace(
        held, labels=tuple(held.labels[k] for k in order), Z=held.Z[np.ix_(order, order)], OUT=held.OUT[order]
    )
    mixed_up = mix.take(pa.array(np.random.default_rng(trade).permutation(mix.num_rows)))
    moved = indicative_tiers(mixed_up, shuffled, NOBODY, 2020, {HS92: INDUSTRY})
    assert moved.mixes[0].view.names == base.mixes[0].view.names
    np.testing.assert_allclose(moved.mixes[0].shares, base.mixes[0].shares, atol=1e-12)
    assert moved.mixes[0].largest.tolist() == base.mixes[0].largest.tolist()
    uses, again = (build_uses(mix, t, NOBODY, 2020, {HS92: INDUSTRY}).product_uses for t in (held, shuffled))
    assert uses.equals(again)
    doubled = mix.set_column(
        mix.column_names.index("value_kusd"),
        SUPPLY_MIX.schema().field("value_kusd"),
        pc.multiply(mix["value_kusd"], 4.0),
    )
    assert build_uses(doubled, held, NOBODY, 2020, {HS92: INDUSTRY}).product_uses.equals(uses)


@given(SEEDS, SEEDS)
@settings(max_examples=12, deadline=None)
def test_an_industry_of_one_product_gives_z_itself(world: int, trade: int) -> None:
    held, mix = random_table(world), random_supply(trade, "NLD", ("NLD",))
    one = {"100001": "C10", "200001": "C20"}
    for industry in ("C10", "C20"):
        edges = product_edges(mix, held, NOBODY, "NLD", industry, 2020, HS92, {HS92: one}).to_pylist()
        column = held.labels.index(("NLD", industry))
        found = {(r["country"], r["supplier_industry"]): int(r["value_kusd"] * 1000) for r in edges}
        assert len(found) == len(edges)
        assert found == {
            label: v for label, z in zip(held.labels, held.Z[:, column], strict=True) if (v := round(z * 1e6))
        }


def test_a_delivery_below_zero_splits_with_its_sign_and_counts_as_no_input() -> None:
    held = economy({("CHN_C10", "NLD_C10"): -3.0, ("DEU_C10", "NLD_C10"): 9.0, ("CHN_K", "CHN_C10"): -1.0,
                    ("DEU_K", "CHN_C10"): 1.0})  # fmt: skip
    mix = supply([("100001", "CHN", 1.0, 1.0, None), ("100002", "CHN", 2.0, 1.0, None)])
    edges = product_edges(mix, held, NOBODY, "NLD", "C10", 2020, HS92, KNOWN).to_pylist()
    assert [(r["code"], float(r["value_kusd"])) for r in edges] == [
        (None, 9000.0),
        ("100001", -1000.0),
        ("100002", -2000.0),
    ]
    assert vector(mixed(mix, held), "100001", 1) == {"DEU": 1.0}


def test_the_benchmarks_run_at_a_small_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_industry, "cache", lambda: tmp_path)
    folder = bench_industry.made_up(0.07)
    assert bench_proportional.look_through(0.07, folder, ("NLD",))["codes"] == 350
    made = bench_proportional.tiers(0.07, folder, ("NLD",))
    assert (made["figures"], made["rows"]) == (8 * 350, 2 * 11 * 350)
    assert bench_proportional.uses(0.07, folder, ("NLD",))["rows"] > 50
    assert bench_proportional.two_products(0.07, folder, ("NLD",)) > 0


# -- real tables ---------------------------------------------------------------------------------------------


def test_a_real_table_in_another_edition_joins_by_its_own_industries() -> None:
    inventory = discover(shared_data("icio_like").parent)
    held = read_table(next(t for t in list_tables(inventory) if "WIOD13_2011" in t.name))
    known = industries_for(held, [HS92])[HS92]
    assert {known[c] for c in known} <= set(held.industries)
    codes = sorted(known)[::250]
    chance = np.random.default_rng(3)
    rows: list[Row] = []
    for code in codes:
        shares = chance.dirichlet(np.ones(5))
        rows += [
            (code, c, 1.0 + float(s), float(s), None)
            for c, s in zip(("CHN", "DEU", "BRA", "ZAF", "UNK"), shares, strict=True)
        ]
    mix = supply(rows, year=2011)
    result = indicative_tiers(mix, held, NOBODY, 2011)
    (found,) = result.mixes
    a = technical_coefficients(np.maximum(held.Z, 0.0), held.OUT)
    row_of = {label: k for k, label in enumerate(held.labels)}
    for k, code in enumerate(found.codes):
        y, unknown = np.zeros(len(held.labels)), 0.0
        for _, c, _, s, _ in (r for r in rows if r[0] == code):
            at = row_of.get((c if c in held.countries else "ROW", known[code]))
            if c == "UNK" or at is None or not held.OUT[at] > 0:
                unknown += s or 0.0
            else:
                y[at] += s or 0.0
        first = a @ y
        second = a @ first
        for tier, step in ((1, first), (2, second)):
            assert found.reasons[tier - 1, k] is None
            by_country = np.bincount(found.view.at, step) / step.sum() * (1 - unknown)
            np.testing.assert_allclose(found.shares[tier, k, :-1], by_country, atol=1e-9)
            top = held.labels[int(np.argmax(step))]
            assert found.largest[tier - 1, k] == "_".join(top)
    uses = build_uses(mix, held, NOBODY, 2011).product_uses.to_pylist()
    delivered = np.rint(held.Z[:, held.labels.index(("NLD", "c14"))] * 1e6)
    foreign = sum(v for v, (c, _) in zip(delivered, held.labels, strict=True) if c != "NLD")
    assert sum(int(r["value_kusd"] * 1000) for r in uses if r["industry"] == "c14") == foreign
