"""The industry layer: face value, look-through, market side, hidden ratio, tiers; by hand and against pymrio."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pymrio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ketenpipe.chain.industry import build_industry, leanings, technical_coefficients
from ketenpipe.errors import InputRefused
from ketenpipe.sources.icio import IcioTable
from ketenpipe.sources.records import SourceRecord
from ketenpipe_tests.worlds import bloc, catalogue, one, rows

RECORD = SourceRecord("icio", "t", "t", "v", 2020, 2020, "", 0, None, None, None, None, 0, 0, None)
REFERENCE = catalogue(blocs=(*bloc("EU27", "AUT", "NLD"), *bloc("EU", "AUT", "NLD")))


def table(labels: list[tuple[str, str]], z: np.ndarray, output: np.ndarray, *, synthetic: bool = False) -> IcioTable:
    demand = (output - z.sum(axis=1))[:, None]
    nothing = np.zeros(len(output))
    added = output - z.sum(axis=0)
    return IcioTable(
        tuple(labels), z, demand, (("NLD", "HFCE"),), nothing, True, added, output, 2020, "test", synthetic, "v", RECORD
    )


CHAIN = table(
    [("NLD", "C10"), ("DEU", "C10"), ("CHN", "C10")],
    np.array([[0.0, 0, 0], [50.0, 0, 0], [10.0, 40.0, 0]]),
    np.array([100.0, 80.0, 60.0]),
)


def test_face_value_and_look_through_by_hand() -> None:
    # NLD's 100 use 50 from DEU and 10 from CHN; DEU's 80 use 40 from CHN (.5 a unit).
    # FV: DEU 50/60, CHN 10/60. Per unit of NLD: L - I: DEU .5, CHN .1 + .5*.5 = .35.
    # FIR: DEU .5/.85, CHN .35/.85. hidden(CHN) = (.35/.85)/(1/6) = 2.4706 (> 2: the flag of METHOD); DEU .7059.
    made = build_industry([CHAIN], REFERENCE, ("NLD",))
    china = one(made.industry_exposure, country="CHN")
    germany = one(made.industry_exposure, country="DEU")
    own = one(made.industry_exposure, country="NLD")
    assert china["face_value"] == pytest.approx(1 / 6)
    assert china["look_through"] == pytest.approx(0.35 / 0.85)
    assert china["hidden_ratio"] == pytest.approx((0.35 / 0.85) * 6)
    assert germany["hidden_ratio"] == pytest.approx((0.5 / 0.85) / (5 / 6))
    assert (own["face_value"], own["look_through"], own["hidden_ratio"]) == (0.0, 0.0, None)
    assert own["face_value_foreign"] is None


def test_tiers_by_hand() -> None:
    # CHN behind NLD: tier 1 is .1, tier 2 is .25 of .35; the tail is 0. DEU: all of it tier 1.
    made = build_industry([CHAIN], REFERENCE, ("NLD",)).industry_tiers
    china = {r["tier"]: r["share"] for r in rows(made, country="CHN")}
    assert china == pytest.approx({1: 0.1 / 0.35, 2: 0.25 / 0.35, 3: 0.0, 4: 0.0, -1: 0.0})
    assert one(made, country="DEU", tier=1)["share"] == pytest.approx(1.0)


def test_the_market_side_is_ghosh_by_hand() -> None:
    # CHN sells 40 of its 60 to DEU (B = 2/3) and 10 to NLD (1/6); DEU sells 50 of 80 to NLD (5/8).
    # (G - I) of CHN: DEU 2/3, NLD 1/6 + 2/3*5/8 = 7/12. FMR: DEU 8/15, NLD 7/15. (The Leontief side differs.)
    made = build_industry([CHAIN], REFERENCE, ("CHN",)).industry_exposure
    assert one(made, country="DEU")["market_side"] == pytest.approx(8 / 15)
    assert one(made, country="NLD")["market_side"] == pytest.approx(7 / 15)


def test_no_output_is_null_and_never_zero() -> None:
    idle = table(
        [("NLD", "C10"), ("NLD", "T"), ("CHN", "C10")],
        np.array([[0.0, 0, 0], [0, 0, 0], [50.0, 0, 0]]),
        np.array([100.0, 0.0, 60.0]),
    )
    made = build_industry([idle], REFERENCE, ("NLD",))
    for r in rows(made.industry_exposure, industry="T"):
        assert r["reason"] == "zero_output"
        assert {r[c] for c in ("face_value", "look_through", "market_side", "hidden_ratio")} == {None}
    assert rows(made.industry_tiers, industry="T") == []
    assert one(made.industry_exposure, industry="C10", country="CHN")["face_value"] == 1.0


def test_the_hidden_ratio_is_null_without_face_value_and_below_a_hundredth() -> None:
    # NLD buys from DEU only; DEU buys from CHN (.5) and a trace from BRA (.005). FV(CHN) = 0: null, not infinite.
    # FIR(BRA) = .0025/.7525 < .01: null, although NLD buys a trace from BRA as well.
    z = np.zeros((4, 4))
    z[1, 0], z[2, 1], z[3, 1], z[3, 0] = 50, 40, 0.4, 0.01
    made = build_industry(
        [table([(c, "C10") for c in ("NLD", "DEU", "CHN", "BRA")], z, np.array([100.0, 80, 60, 40]))],
        REFERENCE,
        ("NLD",),
    ).industry_exposure
    assert one(made, country="CHN")["face_value"] == 0.0
    assert one(made, country="CHN")["look_through"] > 0.3
    assert one(made, country="CHN")["hidden_ratio"] is None
    assert one(made, country="BRA")["face_value"] > 0
    assert one(made, country="BRA")["hidden_ratio"] is None
    assert one(made, country="DEU")["hidden_ratio"] is not None


def test_a_bloc_is_one_country_and_its_industries_are_weighted_by_output() -> None:
    # AUT's C10 (output 20) buys 10 from CHN; NLD's (80) buys 8 from CHN and 32 from AUT.
    # The bloc's C10 uses 50: 18 from CHN, 32 from itself: FV(CHN) = .36, own .64, foreign-normalised FV(CHN) = 1.
    z = np.zeros((3, 3))
    z[2, 0], z[2, 1], z[0, 1] = 10, 8, 32
    held = table([("AUT", "C10"), ("NLD", "C10"), ("CHN", "C10")], z, np.array([40.0, 80.0, 60.0]))
    made = build_industry([held], REFERENCE, ("EU27",)).industry_exposure
    assert {r["country"] for r in made.to_pylist()} == {"EU27", "CHN"}
    assert one(made, country="CHN")["face_value"] == pytest.approx(0.36)
    assert one(made, country="EU27")["face_value"] == pytest.approx(0.64)
    assert one(made, country="CHN")["face_value_foreign"] == 1.0


def test_what_comes_from_a_synthetic_table_says_so() -> None:
    held = table(list(CHAIN.labels), CHAIN.Z, CHAIN.OUT, synthetic=True)
    made = build_industry([held], REFERENCE, ("NLD",))
    assert {r["basis"] for r in made.industry_exposure.to_pylist()} == {"synthetic"}
    assert {r["basis"] for r in made.industry_tiers.to_pylist()} == {"synthetic"}


def test_industries_that_only_feed_themselves_are_refused() -> None:
    with pytest.raises(InputRefused, match="singular"):
        leanings(np.array([[0.0, 5.0], [5.0, 0.0]]), np.array([5.0, 5.0]), [np.array([0])])


@st.composite
def worlds(draw: st.DrawFn) -> IcioTable:
    """Three countries, two industries; at most .8 of an output is bought and sold between industries."""
    seed = draw(st.integers(0, 10**6))
    chance = np.random.default_rng(seed)
    z = chance.random((6, 6)) * (chance.random((6, 6)) < 0.7)
    output = np.maximum(z.sum(axis=0), z.sum(axis=1)) / 0.8 + chance.random(6)
    labels = [(c, i) for c in ("CHN", "DEU", "NLD") for i in ("C10", "C20")]
    return table(labels, z * 100, output * 100)


@settings(max_examples=15, deadline=None)
@given(worlds())
def test_total_inputs_agree_with_pymrio(held: IcioTable) -> None:
    # pymrio's A and L give every column of (L - I) x; the market side from an explicit Ghosh inverse.
    names = pd.MultiIndex.from_tuples(held.labels)
    z = pd.DataFrame(held.Z, index=names, columns=names)
    a = pymrio.calc_A(z, pd.Series(held.OUT, index=names))
    leontief = pymrio.calc_L(a).to_numpy()
    assert technical_coefficients(held.Z, held.OUT) == pytest.approx(a.to_numpy())
    ghosh = np.linalg.inv(np.eye(6) - held.Z / held.OUT[:, None])
    total = (leontief - np.eye(6)) @ np.diag(held.OUT)
    sales = np.diag(held.OUT) @ (ghosh - np.eye(6))
    assert held.VA / held.OUT @ leontief == pytest.approx(np.ones(6)), "v'L = 1'"
    for k, lean in enumerate(leanings(held.Z, held.OUT, [np.array([k]) for k in range(6)])):
        assert lean.total == pytest.approx(total[:, k])
        assert lean.sales == pytest.approx(sales[k])
        assert lean.direct == pytest.approx(held.Z[:, k])
        assert lean.tiers[0] == pytest.approx(lean.direct), "tier 1 is what is bought directly"
        power = np.linalg.matrix_power(a.to_numpy(), 3)
        assert lean.tiers[2] == pytest.approx(power[:, k] * held.OUT[k])
    # A group of columns is the sum of its columns.
    (both,) = leanings(held.Z, held.OUT, [np.array([0, 4])])
    assert both.total == pytest.approx(total[:, 0] + total[:, 4])
    assert both.sales == pytest.approx(sales[0] + sales[4])


@settings(max_examples=10, deadline=None)
@given(worlds())
def test_shares_sum_to_one_and_the_ratio_is_of_foreign_shares(held: IcioTable) -> None:
    made = build_industry([held], REFERENCE, ("NLD", "EU27"))
    for focus in ("NLD", "EU27"):
        for industry in ("C10", "C20"):
            part = rows(made.industry_exposure, focus=focus, industry=industry)
            for column in ("face_value", "look_through", "market_side"):
                if part[0][column] is not None:
                    assert sum(r[column] for r in part) == pytest.approx(1.0)
            for column in ("face_value_foreign", "look_through_foreign"):
                held_ = [r[column] for r in part if r[column] is not None]
                assert not held_ or sum(held_) == pytest.approx(1.0)
            for r in part:
                if r["hidden_ratio"] is not None:
                    assert r["country"] != focus
                    assert r["look_through"] >= 0.01
                    assert r["hidden_ratio"] == pytest.approx(r["look_through_foreign"] / r["face_value_foreign"])
            for country in {r["country"] for r in part}:
                shares = [
                    r["share"] for r in rows(made.industry_tiers, focus=focus, industry=industry, country=country)
                ]
                assert not shares or sum(shares) == pytest.approx(1.0)
