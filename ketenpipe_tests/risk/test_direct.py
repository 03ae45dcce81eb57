"""Direct indicators: worked by hand, and a random world against plain pandas."""

from __future__ import annotations

from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ketenpipe.chain.engine import Engine
from ketenpipe.chain.flows import (
    as_seen_by,
    by_node,
    exports_by_origin,
    flow_frame,
    imports_by_origin,
    internal_trade,
)
from ketenpipe.risk.direct import _sides, direct_indicators
from ketenpipe_tests.worlds import Flow, flows, frame, scores, thresholds

UNION = ("AUT", "BEL", "NLD")
PLACES = ("AUT", "CHN", "NLD", "USA")
RISK = {"CHN": 0.8, "RUS": 0.9, "BEL": 0.2, "AUT": 0.1, "NLD": 0.1}
SENTINEL = thresholds().S1.sentinel


def direct(
    table: pa.Table, focus: str = "NLD", risk: dict[str, float] | None = None, codes: pa.Table | None = None
) -> pd.DataFrame:
    years = sorted(set(table.column("year").to_pylist()))
    pairs = [(y, c) for y in years for c in UNION]
    bloc = pa.table({"year": pa.array([p[0] for p in pairs], pa.int32()), "country": [p[1] for p in pairs]})
    with Engine() as engine:
        base = flow_frame(engine.frame("flows", table))
        if codes is not None:
            base = by_node(base, engine.frame("codes", codes))
        scored = None
        if risk is not None:
            scored = engine.frame("risk", scores(risk, years).select(["country", "year", "risk"]))
        members = engine.frame("members", bloc) if focus == "EU27" else None
        union = engine.frame("union_", pa.table({"country": list(UNION)}))
        return direct_indicators(engine, engine.keep(base), members, union, scored, focus, thresholds())


class Held:
    """Values by code, indicator and measure."""

    def __init__(self, table: pd.DataFrame) -> None:
        table = table.astype(object).where(table.notna(), None)
        self.rows = {(r["code"], r["indicator"], r["measure"]): r for r in table.to_dict("records")}
        assert len(self.rows) == len(table)

    def row(self, code: str, indicator: str, measure: str = "v") -> dict[str, object]:
        return self.rows[code, indicator, measure]

    def value(self, code: str, indicator: str, measure: str = "v") -> object:
        return self.rows[code, indicator, measure]["value"]


K, ONLY_IN, ONLY_OUT, ELSEWHERE, INSIDE, WEIGHTLESS = (f"10000{n}" for n in range(1, 7))
WORLD: list[Flow] = [
    # K: NLD buys 60 from CHN, 30 from BEL, 10 from RUS; sells 50 to AUT and 30 to USA. BEL sells 20 to AUT.
    (2020, K, "CHN", "NLD", 60, 6),
    (2020, K, "BEL", "NLD", 30, 3),
    (2020, K, "RUS", "NLD", 10, 1),
    (2020, K, "NLD", "AUT", 50, 5),
    (2020, K, "NLD", "USA", 30, 3),
    (2020, K, "BEL", "AUT", 20, 2),
    (2020, K, "RUS", "USA", 25, 5),
    (2020, ONLY_IN, "CHN", "NLD", 5, 5),
    (2020, ONLY_OUT, "NLD", "CHN", 5, 5),
    (2020, ELSEWHERE, "CHN", "USA", 5, 5),
    (2020, INSIDE, "BEL", "AUT", 5, 5),
    (2020, WEIGHTLESS, "CHN", "NLD", 6, 1),
    (2020, WEIGHTLESS, "USA", "NLD", 4, None),
]


@pytest.fixture(scope="module")
def dutch() -> Held:
    return Held(direct(flows(WORLD), "NLD", RISK))


@pytest.fixture(scope="module")
def union() -> Held:
    return Held(direct(flows(WORLD), "EU27", RISK))


def test_a_country_by_hand(dutch: Held) -> None:
    # M = 100. C1 = .36 + .09 + .01 = .46. Exports of all: CHN 60, BEL 50, RUS 35, NLD 80 = 225:
    # C2 = (3600 + 2500 + 1225 + 6400)/50625 = 13725/50625. C4a: CHN .6 (BEL is in the union).
    # C5 = 70/100. S1 = 100/80. S2: BEL 50 - 30 = 20, RUS 35 - 10 = 25: 45/60.
    # G2 = .6*.8 + .3*.2 + .1*.9 = .63; G3 = 10*(.36*.8 + .09*.2 + .01*.9) = 3.15.
    expected = {
        "M": 100, "C1": 0.46, "C2": 13725 / 50625, "C4a": 0.6, "C5": 0.7, "S1": 1.25, "S2": 0.75, "G2": 0.63,
        "G3": 3.15,
    }  # fmt: skip
    for indicator, value in expected.items():
        assert dutch.value(K, indicator) == pytest.approx(value), indicator
    assert (dutch.row(K, "C4a")["country"], dutch.row(K, "C1")["country"]) == ("CHN", "CHN")
    assert dutch.row(K, "S1")["method_value"] == pytest.approx(1.25)
    # By mass RUS sells at another price to the USA: exports 6, 5, 6, 8 of 25.
    assert dutch.value(K, "C2", "q") == pytest.approx((36 + 25 + 36 + 64) / 625)


def test_a_bloc_by_hand(union: Held) -> None:
    # From outside: CHN 60, RUS 10 = 70. C1 = (3600 + 100)/4900. Inside: BEL->NLD 30, NLD->AUT 50, BEL->AUT 20 = 100.
    # C5 = 70/170. Sold outside: 30. S1 = 70/30. S1b = 70/(30 + 100). Exporters: CHN 60, RUS 35, EU27 30 = 125:
    # C2 = (3600 + 1225 + 900)/15625. C4a: CHN 60/70. S2: RUS 35 - 10 = 25 over 60.
    expected = {
        "M": 70, "C1": 3700 / 4900, "C2": 5725 / 15625, "C4a": 6 / 7, "C5": 70 / 170, "S1": 7 / 3, "S1b": 70 / 130,
        "S2": 25 / 60,
    }  # fmt: skip
    for indicator, value in expected.items():
        assert union.value(K, indicator) == pytest.approx(value), indicator


def test_s1b_is_for_the_union_only(dutch: Held) -> None:
    assert (K, "S1b", "v") not in dutch.rows


def test_imports_without_exports_are_null_with_the_sentinel_beside_it(dutch: Held, union: Held) -> None:
    # X = 0 < M: the ratio is not a number; the method's own column keeps a value that flags.
    for held in (dutch, union):
        row = held.row(ONLY_IN, "S1")
        assert (row["value"], row["reason"], row["method_value"]) == (None, "no_exports", SENTINEL)
    assert union.row(ONLY_IN, "S1b")["method_value"] == SENTINEL


def test_neither_imports_nor_exports_is_null_without_a_sentinel(dutch: Held) -> None:
    row = dutch.row(ELSEWHERE, "S1")
    assert (row["value"], row["method_value"], row["reason"]) == (None, None, "no_imports_no_exports")
    for indicator in ("C1", "C4a", "C5", "S2", "G2", "G3"):
        assert (dutch.value(ELSEWHERE, indicator), dutch.row(ELSEWHERE, indicator)["reason"]) == (None, "no_imports")
    assert dutch.value(ELSEWHERE, "M") == 0.0
    assert dutch.value(ELSEWHERE, "C2") == 1.0


def test_exports_without_imports_are_a_ratio_of_zero(dutch: Held) -> None:
    row = dutch.row(ONLY_OUT, "S1")
    assert (row["value"], row["method_value"]) == (0.0, 0.0)


def test_trade_inside_the_bloc_only_is_no_dependency(union: Held) -> None:
    # C5 = 0/5: the union imports, but nothing from outside. S1b = 0/5. Nothing leaves the bloc: C2 null.
    assert union.value(INSIDE, "C5") == 0.0
    assert union.value(INSIDE, "S1b") == 0.0
    assert union.value(INSIDE, "C1") is None
    assert union.row(INSIDE, "C2")["reason"] == "no_exports_in_the_world"


def test_rows_without_mass_are_left_out_of_q_and_reported(dutch: Held) -> None:
    # By value CHN 6, USA 4: C1 = .52; by mass CHN alone: 1. The 4 of 10 without mass: .4. The USA has no score: .6.
    assert dutch.value(WEIGHTLESS, "C1") == pytest.approx(0.52)
    assert dutch.value(WEIGHTLESS, "C1", "q") == 1.0
    assert dutch.value(WEIGHTLESS, "value_without_mass") == pytest.approx(0.4)
    assert dutch.row(WEIGHTLESS, "G2")["coverage"] == pytest.approx(0.6)
    assert dutch.value(WEIGHTLESS, "G2") == pytest.approx(0.8), "renormalised over what has a score"
    assert dutch.value(WEIGHTLESS, "G3") == pytest.approx(10 * 0.36 * 0.8)


def test_ratios_of_a_node_are_on_the_summed_flows() -> None:
    # Codes: CHN 10 in the first, RUS 10 in the second: each alone has C1 = 1, the node .5. S1: 20/(5 + 3).
    table = flows(
        [
            (2020, K, "CHN", "NLD", 10, 1),
            (2020, ONLY_IN, "RUS", "NLD", 10, 1),
            (2020, K, "NLD", "USA", 5, 1),
            (2020, ONLY_IN, "NLD", "USA", 3, 1),
        ]
    )
    codes = pa.table({"hs_revision": ["HS92"] * 2, "code": [K, ONLY_IN], "node": ["n", "n"]})
    held = Held(direct(table, codes=codes))
    assert held.value("n", "C1") == pytest.approx(0.5)
    assert held.value("n", "S1") == pytest.approx(2.5)


def test_without_governance_data_there_is_no_g2() -> None:
    assert not {"G2", "G3"} & set(direct(flows(WORLD))["indicator"])


def test_every_null_has_a_reason_and_every_share_lies_in_its_range(dutch: Held, union: Held) -> None:
    for held in (dutch, union):
        for key, row in held.rows.items():
            assert (row["value"] is None) == (row["reason"] is not None), key
            if key[1] in ("C1", "C2", "C4a", "C5", "G2", "value_without_mass") and row["value"] is not None:
                assert 0 <= float(str(row["value"])) <= 1 + 1e-12, key


Cells = tuple[object, ...]
# indicator, measure: basis, value, method_value, coverage, country, country_share, reason
DUTCH_K: dict[tuple[str, str], Cells] = {
    ("M", "v"): ("imports", 100.0, 100.0, None, None, None, None),
    ("C1", "v"): ("imports", 0.46, 0.46, None, "CHN", 0.6, None),
    ("C2", "v"): ("exports", 13725 / 50625, 13725 / 50625, None, None, None, None),
    ("C4a", "v"): ("imports", 0.6, 0.6, None, "CHN", 0.6, None),
    ("C5", "v"): ("imports", 0.7, 0.7, None, None, None, None),
    ("S1", "v"): ("imports", 1.25, 1.25, None, None, None, None),
    ("S2", "v"): ("exports", 0.75, 0.75, None, "CHN", 0.6, None),
    ("G2", "v"): ("imports", 0.63, 0.63, 1.0, None, None, None),
    ("G3", "v"): ("imports", 3.15, 3.15, 1.0, None, None, None),
    ("value_without_mass", "v"): ("imports", 0.0, 0.0, None, None, None, None),
    # Mass: from CHN 6, BEL 3, RUS 1 of 10; sold 8; S2: BEL 5 - 3, RUS 6 - 1, 7 over 6.
    ("M", "q"): ("imports", 10.0, 10.0, None, None, None, None),
    ("C1", "q"): ("imports", 0.46, 0.46, None, "CHN", 0.6, None),
    ("C2", "q"): ("exports", 161 / 625, 161 / 625, None, None, None, None),
    ("C4a", "q"): ("imports", 0.6, 0.6, None, "CHN", 0.6, None),
    ("C5", "q"): ("imports", 0.7, 0.7, None, None, None, None),
    ("S1", "q"): ("imports", 1.25, 1.25, None, None, None, None),
    ("S2", "q"): ("exports", 7 / 6, 7 / 6, None, "CHN", 0.6, None),
    ("G2", "q"): ("imports", 0.63, 0.63, 1.0, None, None, None),
    ("G3", "q"): ("imports", 3.15, 3.15, 1.0, None, None, None),
}
NOTHING = {
    ("M", "v"): ("imports", 0.0, 0.0, None, None, None, None),
    ("M", "q"): ("imports", 0.0, 0.0, None, None, None, None),
    ("value_without_mass", "v"): ("imports", None, None, None, None, None, "no_imports"),
} | {
    (name, measure): (basis, None, None, None, None, None, reason)
    for measure in ("v", "q")
    for name, basis, reason in (
        ("C1", "imports", "no_imports"), ("C4a", "imports", "no_imports"), ("C5", "imports", "no_imports"),
        ("S1", "imports", "no_imports_no_exports"), ("S2", "exports", "no_imports"), ("G2", "imports", "no_imports"),
        ("G3", "imports", "no_imports"),
    )
}  # fmt: skip


ONE: Cells = ("exports", 1.0, 1.0, None, None, None, None)
ELSEWHERE_C2 = {("C2", "v"): ONE, ("C2", "q"): ONE}
BESIDE: Cells = ("imports", None, SENTINEL, None, None, None, "no_exports")
DUTCH_WEIGHTLESS: dict[tuple[str, str], Cells] = {
    ("value_without_mass", "v"): ("imports", 0.4, 0.4, None, None, None, None),
    ("M", "v"): ("imports", 10.0, 10.0, None, None, None, None),
    ("C1", "v"): ("imports", 0.52, 0.52, None, "CHN", 0.6, None),
    ("C2", "v"): ("exports", 0.52, 0.52, None, None, None, None),
    ("C4a", "v"): ("imports", 0.6, 0.6, None, "CHN", 0.6, None),
    ("C5", "v"): ("imports", 1.0, 1.0, None, None, None, None),
    # Nobody but the sellers to NLD sells, and they sell to no one else.
    ("S2", "v"): ("exports", 0.0, 0.0, None, "CHN", 0.6, None),
    ("G2", "v"): ("imports", 0.8, 0.8, 0.6, None, None, None),
    ("G3", "v"): ("imports", 2.88, 2.88, 0.6, None, None, None),
    ("M", "q"): ("imports", 1.0, 1.0, None, None, None, None),
    ("C1", "q"): ("imports", 1.0, 1.0, None, "CHN", 1.0, None),
    ("C2", "q"): ("exports", 1.0, 1.0, None, None, None, None),
    ("C4a", "q"): ("imports", 1.0, 1.0, None, "CHN", 1.0, None),
    ("C5", "q"): ("imports", 1.0, 1.0, None, None, None, None),
    ("S2", "q"): ("exports", 0.0, 0.0, None, "CHN", 1.0, None),
    ("G2", "q"): ("imports", 0.8, 0.8, 1.0, None, None, None),
    ("G3", "q"): ("imports", 8.0, 8.0, 1.0, None, None, None),
    ("S1", "v"): BESIDE,
    ("S1", "q"): BESIDE,
}


def cells(held: Held, code: str) -> dict[tuple[str, str], Cells]:
    names = ("basis", "value", "method_value", "coverage", "country", "country_share", "reason")
    return {key[1:]: tuple(row[n] for n in names) for key, row in held.rows.items() if key[0] == code}


def same(found: dict[tuple[str, str], Cells], expected: dict[tuple[str, str], Cells]) -> None:
    assert set(found) == set(expected)
    for key, row in expected.items():
        wanted = tuple(pytest.approx(c, rel=1e-12) if isinstance(c, float) else c for c in row)
        assert found[key] == wanted, key


# These two reach the formulas themselves, not through a fixture that an earlier test has made: mutation testing runs
# against a change only the tests that it has seen reach the changed function.
def test_every_cell_of_a_country_by_hand() -> None:
    dutch = Held(direct(flows(WORLD), "NLD", RISK))
    same(cells(dutch, K), DUTCH_K)
    same(cells(dutch, ELSEWHERE), NOTHING | ELSEWHERE_C2)
    same(cells(dutch, WEIGHTLESS), DUTCH_WEIGHTLESS)


def test_every_cell_of_the_union_by_hand() -> None:
    union = Held(direct(flows(WORLD), "EU27", RISK))
    s1b: Cells = ("imports", None, None, None, None, None, "no_imports_no_exports")
    same(cells(union, ELSEWHERE), NOTHING | ELSEWHERE_C2 | {("S1b", "v"): s1b, ("S1b", "q"): s1b})
    # K from outside: CHN 60 and RUS 10, by mass 6 and 1. Both have a score: G2 = (48 + 9)/70,
    # G3 = 10*(3600*.8 + 100*.9)/4900.
    expected: dict[tuple[str, str], Cells] = {
        ("value_without_mass", "v"): ("imports", 0.0, 0.0, None, None, None, None),
        ("M", "v"): ("imports", 70.0, 70.0, None, None, None, None),
        ("M", "q"): ("imports", 7.0, 7.0, None, None, None, None),
        ("C2", "v"): ("exports", 5725 / 15625, 5725 / 15625, None, None, None, None),
        # Exporters by mass: CHN 6, RUS 6, the union 3 of 15.
        ("C2", "q"): ("exports", 81 / 225, 81 / 225, None, None, None, None),
        ("S2", "v"): ("exports", 25 / 60, 25 / 60, None, "CHN", 6 / 7, None),
        ("S2", "q"): ("exports", 5 / 6, 5 / 6, None, "CHN", 6 / 7, None),
    }
    for measure in ("v", "q"):
        # The shares of both measures are the same. Sold outside 30 (3), within 100 (10).
        for name, value, coverage, country, share in (
            ("C1", 3700 / 4900, None, "CHN", 6 / 7), ("C4a", 6 / 7, None, "CHN", 6 / 7),
            ("C5", 7 / 17, None, None, None),
            ("S1", 7 / 3, None, None, None), ("S1b", 7 / 13, None, None, None), ("G2", 57 / 70, 1.0, None, None),
            ("G3", 29700 / 4900, 1.0, None, None),
        ):  # fmt: skip
            expected[name, measure] = ("imports", value, value, coverage, country, share, None)
    same(cells(union, K), expected)


def test_nothing_weighed_is_not_nothing_bought() -> None:
    # One kusd from a country without a score, no tonnes at all: by mass unknown, not none; and a second product that
    # is sold for less than a kusd.
    held = Held(
        direct(flows([(2020, K, "USA", "NLD", 1, None), (2020, ONLY_IN, "CHN", "NLD", 4, 1),
                      (2020, ONLY_IN, "NLD", "CHN", 0.5, 1)]), "NLD", RISK)
    )  # fmt: skip
    found = cells(held, K)
    for name, basis in (("M", "imports"), ("C1", "imports"), ("C4a", "imports"), ("C5", "imports"), ("S2", "exports"),
                        ("G2", "imports"), ("G3", "imports")):  # fmt: skip
        assert found[name, "q"] == (basis, None, None, None, None, None, "no_mass"), name
    assert found["G2", "v"] == ("imports", None, None, 0.0, None, None, "no_governance_score")
    assert found["value_without_mass", "v"] == ("imports", 1.0, 1.0, None, None, None, None)
    assert held.value(ONLY_IN, "S1") == pytest.approx(8.0)


def test_a_product_that_a_country_sells_to_itself_is_a_row() -> None:
    held = Held(
        direct(flows([(2020, K, "NLD", "NLD", 3, 1), (2020, ONLY_IN, "CHN", "NLD", 4, 1),
                      (2020, ONLY_IN, "NLD", "NLD", 3, 1)]))
    )  # fmt: skip
    # What it sells to itself is not from outside.
    assert held.value(ONLY_IN, "C5") == pytest.approx(4 / 7)
    assert held.value(K, "M") == 0.0
    assert held.row(K, "C2")["reason"] == "no_exports_in_the_world"


def test_a_bloc_that_is_no_union_buys_from_outside_within_itself() -> None:
    # Members NLD, CHN and USA: NLD buys 10 from RUS, 30 from the member CHN and 20 from BEL; CHN buys 40 of NLD's.
    # From outside the bloc: 30, of which 10 from outside the EU27. Within: 30 + 40; from the member CHN: 30.
    # C5 = (10 + 30)/(30 + 70).
    table = flows([(2020, K, "RUS", "NLD", 10, 2), (2020, K, "CHN", "NLD", 30, 3), (2020, K, "BEL", "NLD", 20, 4),
                   (2020, K, "NLD", "CHN", 40, 5), (2020, K, "NLD", "BRA", 8, 1)])  # fmt: skip
    with Engine() as engine:
        base = engine.keep(flow_frame(engine.frame("flows", table)))
        members = engine.frame("members", pa.table({"year": pa.array([2020] * 3, pa.int32()),
                                                    "country": ["NLD", "CHN", "USA"]}))  # fmt: skip
        union = engine.frame("union_", pa.table({"country": list(UNION)}))
        held = Held(direct_indicators(engine, base, members, union, None, "BLOC", thresholds()))
    assert held.value(K, "C5") == pytest.approx(0.4)
    assert held.value(K, "C5", "q") == pytest.approx((2 + 3) / (6 + 8))
    assert held.value(K, "C4a") == pytest.approx(1 / 3)
    assert (K, "S1b", "v") not in held.rows


def test_a_bloc_that_is_no_union_and_buys_nothing_from_outside_or_nothing_from_such_members() -> None:
    # Members NLD and USA. K: 6 of CHN and, inside, 2 of NLD, which is of the union: 6/8. ONLY_IN: half a kusd of the
    # member USA is all: 0.5/0.5.
    table = flows([(2020, K, "CHN", "NLD", 6, 6), (2020, K, "NLD", "USA", 2, 2), (2020, ONLY_IN, "USA", "NLD", 0.5, 1)])
    with Engine() as engine:
        base = engine.keep(flow_frame(engine.frame("flows", table)))
        members = engine.frame(
            "members", pa.table({"year": pa.array([2020] * 2, pa.int32()), "country": ["NLD", "USA"]})
        )
        union = engine.frame("union_", pa.table({"country": list(UNION)}))
        held = Held(direct_indicators(engine, base, members, union, None, "PAIR", thresholds()))
    assert held.value(K, "C5") == pytest.approx(0.75)
    assert held.value(ONLY_IN, "C5") == pytest.approx(1.0)
    assert held.row(ONLY_IN, "C1")["reason"] == "no_imports"


def test_amounts_below_one_of_the_union() -> None:
    # .2 of CHN, .2 sold to USA, .3 within: S1b = .2/.5, C5 = .2/.5. What is only sold has S1b = 0/5.
    held = Held(
        direct(
            flows([(2020, K, "CHN", "NLD", 0.2, 1), (2020, K, "NLD", "USA", 0.2, 1), (2020, K, "BEL", "AUT", 0.3, 1),
                   (2020, ONLY_OUT, "NLD", "CHN", 5, 1)]), "EU27")
    )  # fmt: skip
    assert held.value(K, "S1b") == pytest.approx(0.4)
    assert held.value(K, "C5") == pytest.approx(0.4)
    assert held.value(K, "value_without_mass") == 0.0
    assert held.value(ONLY_OUT, "S1b") == 0.0
    assert held.row(ONLY_OUT, "C5")["reason"] == "no_imports"


# -- a random world in plain pandas --------------------------------------------------------------------------


def random_world(seed: int, codes: int = 20) -> list[Flow]:
    chance = np.random.default_rng(seed)
    places = ("AUT", "BEL", "BRA", "CHN", "NLD", "RUS", "USA")
    made: list[Flow] = []
    for n in range(codes):
        density = chance.choice([0.1, 0.3, 0.8])
        for i in places:
            for j in places:
                if i != j and chance.random() < density:
                    v, q = np.round(10.0 ** chance.uniform(-1, 5, 2), 3) + 0.001
                    made.append((2020, f"{200000 + n}", i, j, v, q if chance.random() < 0.8 else None))
    return made


@pytest.mark.parametrize("focus", ["NLD", "EU27"])
def test_a_random_world_in_plain_pandas(focus: str) -> None:
    table = flows(random_world(11))
    held = Held(direct(table, focus, RISK))
    data = frame(table)
    inside = {focus} if focus == "NLD" else set(UNION)
    compared = 0
    for code, part in data.groupby("code"):
        for measure in ("v", "q"):
            known = part.dropna(subset=[measure])
            bought = known[~known["exporter"].isin(inside) & known["importer"].isin(inside)]
            m = bought.groupby("exporter")[measure].sum()
            sold = known[known["exporter"].isin(inside) & ~known["importer"].isin(inside)][measure].sum()
            internal = known[known["exporter"].isin(inside) & known["importer"].isin(inside)][measure].sum()
            total = m.sum()
            out = known[~(known["exporter"].isin(inside) & known["importer"].isin(inside))]
            seller = out["exporter"].where(~out["exporter"].isin(inside), "focus")
            e = out.groupby(seller)[measure].sum()
            expected: dict[str, float | None] = {"C2": (e**2).sum() / e.sum() ** 2 if len(e) else None}
            if total > 0:
                top = m.idxmax()
                third = m[~m.index.isin(UNION)]
                rest = out[~out["importer"].isin(inside) & ~out["exporter"].isin([*inside, top])][measure].sum()
                risk = pd.Series(RISK).reindex(m.index)
                expected |= {
                    "C1": (m**2).sum() / total**2,
                    "C4a": third.max() / total if len(third) else 0.0,
                    "C5": third.sum() / (total + internal),
                    "S1": total / sold if sold > 0 else None,
                    "S2": rest / m[top],
                    "G2": (m * risk).sum() / m[risk.notna()].sum() if risk.notna().any() else None,
                    "G3": 10 * (m**2 * risk).sum() / total**2 if risk.notna().any() else None,
                }
                if focus == "EU27":
                    expected["S1b"] = total / (sold + internal) if sold + internal > 0 else None
            else:
                expected |= {"C1": None, "S2": None, "G2": None}
            for indicator, value in expected.items():
                got = held.value(str(code), indicator, measure)
                assert got == (None if value is None else pytest.approx(value, rel=1e-9)), (code, indicator, measure)
                compared += value is not None
    assert compared > 150


# -- a bloc in one look at the flows ---------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([2019, 2020]), st.sampled_from([K, INSIDE]), st.sampled_from(PLACES),
            st.sampled_from(PLACES), st.integers(1, 999), st.none() | st.integers(1, 99),
        ),
        min_size=1, max_size=25, unique_by=lambda f: f[:4],
    )
)  # fmt: skip
def test_what_a_bloc_buys_sells_and_trades_within(made: list[Flow]) -> None:
    # The formulas on flows in which the members are merged into one trader say the same.
    table = pa.table({"year": pa.array([2019, 2019, 2020], pa.int32()), "country": ["AUT", "NLD", "NLD"]})
    with Engine() as engine:
        base = engine.keep(flow_frame(engine.frame("flows", flows(made))))
        members = engine.frame("members", table)
        merged = engine.keep(as_seen_by(base, members, "B"))
        sides = engine.keep(_sides(base, members, "B"))
        found = {
            side: engine.pandas(sides.filter(nw.col("side") == side).drop("side"))
            for side in ("bought", "sold", "inside")
        }
        exported = engine.pandas(exports_by_origin(merged).filter(nw.col("country") == "B"))
        expected = {
            "bought": engine.pandas(imports_by_origin(merged, "B")),
            "sold": exported,
            "inside": engine.pandas(internal_trade(merged, "B")).assign(country="all"),
        }
    found["inside"] = found["inside"].assign(country="all").groupby(
        ["hs_revision", "year", "code", "country"], as_index=False
    )[["v", "q", "v_with_q"]].sum(min_count=1)  # fmt: skip
    for side, merged_flows in expected.items():
        assert _as_rows(found[side]) == _as_rows(merged_flows), side


def _as_rows(frame: pd.DataFrame) -> list[tuple[Any, ...]]:
    """Rows in order; what has no tonnes at all has no value with tonnes."""
    out = []
    for r in frame.to_dict("records"):
        q, with_q = r["q"], r["v_with_q"]
        weighed = None if pd.isna(q) else (round(float(q), 6), round(float(with_q), 6))
        out.append((r["year"], r["code"], r["country"], round(float(r["v"]), 6), weighed))
    return sorted(out)


def test_foci_may_share_the_exports_of_the_world() -> None:
    with Engine() as engine:
        base = engine.keep(flow_frame(engine.frame("flows", flows(WORLD))))
        shared = engine.keep(exports_by_origin(base))
        union = engine.frame("union", pa.table({"country": ["AUT", "BEL", "NLD"]}))
        own = direct_indicators(engine, base, None, union, None, "NLD", thresholds())
        shared_ = direct_indicators(engine, base, None, union, None, "NLD", thresholds(), shared)
        chinese = shared.filter(nw.col("country") == "CHN")
        given_ = Held(direct_indicators(engine, base, None, union, None, "NLD", thresholds(), chinese))
    assert given_.value(K, "C2") == 1.0, "what is given is what is used"
    keys = ["year", "code", "indicator", "measure"]
    left, right = (f.sort_values(keys).reset_index(drop=True) for f in (own, shared_))
    assert left.equals(right)
