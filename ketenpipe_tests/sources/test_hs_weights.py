"""Weights between HS revisions: worked by hand, conservation for any flows, NumPy as the oracle, the real files."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ketenpipe.errors import InputRefused, WrongUse
from ketenpipe.sources.concordance import CONCORDANCE_SCHEMA, read_concordances
from ketenpipe.sources.hs_industries import listed_codes
from ketenpipe.sources.hs_weights import (
    HsWeights,
    ambiguity,
    compose,
    hs_weights,
    weights_into,
    world_trade,
)
from ketenpipe.sources.places import discover
from ketenpipe.tables.registry import BACI_FLOWS, HS_WEIGHTS
from ketenpipe_tests.shared_data import shared_data
from ketenpipe_tests.sources.conversion import convert_flows

A1, A2, A3, B1, B2, B3, C1, C2 = "100001", "100002", "100003", "200001", "200002", "200003", "300001", "300002"


def pairs(one: str, two: str, *rows: tuple[str, str], kind: str = "correlation", vintage: str = "v") -> pa.Table:
    return pa.Table.from_pylist(
        [
            {"from_system": one, "from_code": a, "to_system": two, "to_code": b, "kind": kind, "vintage": vintage}
            for a, b in rows
        ],
        schema=CONCORDANCE_SCHEMA,
    )


def held(weights: HsWeights) -> dict[tuple[str, str], float]:
    return {(r["from_code"], r["to_code"]): r["weight"] for r in weights.table.to_pylist()}


def sums(weights: HsWeights) -> dict[str, float]:
    out: dict[str, float] = {}
    for (a, _), weight in held(weights).items():
        out[a] = out.get(a, 0.0) + weight
    return out


def baci(*rows: tuple[str, str, str, str, float | None], year: int = 2020, revision: str = "HS17") -> pa.Table:
    """``(code, exporter, importer, thousand USD, tonnes)``."""
    return BACI_FLOWS.conform(
        {
            "hs_revision": revision,
            "year": year,
            "code": code,
            "exporter": i,
            "importer": j,
            "value_kusd": Decimal(v),
            "tonnes": q,
            "release": "V1",
        }
        for code, i, j, v, q in rows
    )


def total(table: pa.Table) -> Decimal:
    return Decimal(pc.sum(table["value_kusd"]).as_py() or 0)


SPLIT = pairs("HS17", "HS22", (A1, B1), (A2, B1), (A2, B2), (A3, B1), (A3, B2), (A3, B3))


# -- weights by hand ------------------------------------------------------------------------------------------
def test_by_world_trade_evenly_and_one() -> None:
    known = {B1: Decimal(30), B2: Decimal(10)}
    weights = hs_weights(SPLIT, known, "HS17", "HS22")
    # A2 meets B1 (30) and B2 (10); of A3's targets B3 is unknown, so its value is split evenly: thirds in billionths.
    assert held(weights) == {
        (A1, B1): 1.0,
        (A2, B1): 0.75,
        (A2, B2): 0.25,
        (A3, B1): 0.333333334,
        (A3, B2): 0.333333333,
        (A3, B3): 0.333333333,
    }
    basis = {(r["from_code"]): r["weight_basis"] for r in weights.table.to_pylist()}
    assert basis == {A1: "one", A2: "trade_shares", A3: "equal"}
    assert sums(weights) == pytest.approx({A1: 1.0, A2: 1.0, A3: 1.0}, abs=1e-12)
    HS_WEIGHTS.check(weights.table)
    assert (weights.from_revision, weights.to_revision) == ("HS17", "HS22")


def test_known_to_be_zero_is_known() -> None:
    weights = hs_weights(SPLIT, {B1: 30.0, B2: 10.0, B3: 0.0}, "HS17", "HS22")
    assert held(weights)[A3, B3] == 0.0
    assert held(weights)[A3, B1] == 0.75
    nothing = hs_weights(SPLIT, {B1: 0.0, B2: 0.0, B3: 0.0}, "HS17", "HS22")
    assert {r["weight_basis"] for r in nothing.table.to_pylist()} == {"one", "equal"}


def test_world_trade_sums_a_revision_and_tells_zero_from_unknown() -> None:
    flows = pa.concat_tables(
        [
            baci((A1, "CHN", "NLD", "1.5", None), (A1, "USA", "NLD", "2", 1.0)),
            baci((A1, "CHN", "NLD", "4", 1), year=2021),
        ]
    )
    assert world_trade(flows, "HS17") == {A1: Decimal("7.500")}
    assert world_trade(flows, "HS17", years=[2020], codes=[A1, A2]) == {A1: Decimal("3.500"), A2: Decimal(0)}
    assert world_trade(flows, "HS22") == {}


def test_codes_without_a_partner_are_told() -> None:
    weights = hs_weights(SPLIT, None, "HS17", "HS22", from_codes=[A1, "999999"], to_codes=[B1, "888888"])
    assert weights.without_target == ("999999",)
    assert weights.not_reached == ("888888",)


def test_identity() -> None:
    weights = hs_weights(SPLIT, None, "HS17", "HS17", from_codes=[A1, A2])
    assert held(weights) == {(A1, A1): 1.0, (A2, A2): 1.0}
    flows = baci((A1, "CHN", "NLD", "1.234", 5.0), (A2, "CHN", "NLD", "7", None))
    same = convert_flows(flows, weights)
    assert same.flows.equals(flows)
    assert same.unconverted.num_rows == 0


# -- refusals -------------------------------------------------------------------------------------------------
def test_a_direction_that_no_concordance_has_is_refused() -> None:
    one_way = pairs("HS22", "HS17", (B1, A1), kind="conversion")
    with pytest.raises(
        InputRefused, match=r"no concordance leads from HS17 to HS22; put the United Nations' workbook of the two"
    ):
        hs_weights(one_way, None, "HS17", "HS22")
    with pytest.raises(WrongUse, match="no codes of HS17 were given"):
        hs_weights(one_way, None, "HS17", "HS17")


@pytest.mark.parametrize("amount", [-1.0, float("nan"), float("inf")])
def test_trade_that_is_no_amount_is_refused(amount: float) -> None:
    with pytest.raises(InputRefused, match=f"world trade of {B1} is .*, which is no amount"):
        hs_weights(SPLIT, {B1: amount, B2: 1.0}, "HS17", "HS22")


def test_flows_of_another_revision_and_negative_values_are_refused() -> None:
    weights = hs_weights(SPLIT, None, "HS17", "HS22")
    with pytest.raises(WrongUse, match="the flows are in HS92 and the weights lead from HS17"):
        convert_flows(baci((A1, "CHN", "NLD", "1", None), revision="HS92"), weights)
    with pytest.raises(WrongUse, match="column value_kusd holds a negative value"):
        convert_flows(baci((A1, "CHN", "NLD", "-1", None)), weights)


def test_weights_that_do_not_meet_are_refused() -> None:
    first = hs_weights(SPLIT, None, "HS17", "HS22")
    with pytest.raises(WrongUse, match="weights to HS22 cannot be followed by weights from HS17: the revisions must"):
        compose(first, first)
    elsewhere = hs_weights(pairs("HS22", "HS92", (C1, C2)), None, "HS22", "HS92")
    with pytest.raises(InputRefused, match="no code of HS17 leads to HS92 by way of HS22"):
        compose(first, elsewhere)


# -- conversion by hand ---------------------------------------------------------------------------------------
def test_a_flow_is_split_to_the_last_thousandth() -> None:
    weights = hs_weights(SPLIT, None, "HS17", "HS22")
    flows = baci((A3, "CHN", "NLD", "0.002", 9.0), (A1, "CHN", "NLD", "1", None), ("999999", "CHN", "NLD", "4", 1.0))
    got = convert_flows(flows, weights)
    # 0.002 in thirds: two thousandths go to the two largest remainders (B1, then B2 by code).
    rows = {(r["code"]): (r["value_kusd"], r["tonnes"]) for r in got.flows.to_pylist()}
    assert {c: v for c, (v, _) in rows.items()} == {B1: Decimal("1.001"), B2: Decimal("0.001"), B3: Decimal("0.000")}
    # Mass: thirds of 9; at B1 a part without mass is merged with one that has some.
    assert {c: q for c, (_, q) in rows.items()} == pytest.approx({B1: 3.0, B2: 3.0, B3: 3.0}, rel=1e-8)
    assert got.unconverted.to_pylist() == flows.filter(pc.equal(flows["code"], "999999")).to_pylist()
    assert set(got.flows["hs_revision"].to_pylist()) == {"HS22"}
    BACI_FLOWS.check(got.flows)


def test_no_mass_stays_no_mass() -> None:
    got = convert_flows(baci((A2, "CHN", "NLD", "8", None)), hs_weights(SPLIT, None, "HS17", "HS22"))
    assert got.flows["tonnes"].to_pylist() == [None, None]


def test_no_flows_give_no_flows() -> None:
    got = convert_flows(BACI_FLOWS.empty(), hs_weights(SPLIT, None, "HS17", "HS22"))
    assert (got.flows.num_rows, got.unconverted.num_rows) == (0, 0)
    assert got.flows.schema == BACI_FLOWS.schema()


def test_monthly_flows_keep_their_period() -> None:
    table = pa.table(
        {
            "period": ["2026-08", "2026-09"],
            "hs_revision": ["HS22", "HS22"],
            "code": [A1, A1],
            "exporter": ["CHN", "CHN"],
            "importer": ["NLD", "NLD"],
            "value_kusd": pa.array([Decimal("1.000"), Decimal("3.000")], pa.decimal128(18, 3)),
        }
    )
    weights = hs_weights(pairs("HS22", "HS17", (A1, B1), (A1, B2)), {B1: 1, B2: 3}, "HS22", "HS17")
    got = convert_flows(table, weights, mass=None).flows
    assert [(r["period"], r["code"], float(r["value_kusd"])) for r in got.to_pylist()] == [
        ("2026-08", B1, 0.25),
        ("2026-08", B2, 0.75),
        ("2026-09", B1, 0.75),
        ("2026-09", B2, 2.25),
    ]
    assert got.column_names == table.column_names


# -- chains ---------------------------------------------------------------------------------------------------
def test_a_chain_by_hand() -> None:
    first = hs_weights(SPLIT, {B1: 3, B2: 1}, "HS17", "HS22")
    second = hs_weights(pairs("HS22", "HS92", (B1, C1), (B2, C1), (B2, C2), (B3, C2)), {C1: 1, C2: 1}, "HS22", "HS92")
    chain = compose(first, second)
    # A2: 3/4 by B1 to C1, 1/4 by B2 half and half.
    assert held(chain)[A2, C1] == pytest.approx(0.875, abs=1e-9)
    assert held(chain)[A2, C2] == pytest.approx(0.125, abs=1e-9)
    assert {r["from_code"]: r["weight_basis"] for r in chain.table.to_pylist()} == {
        A1: "one",
        A2: "trade_shares",
        A3: "equal",
    }
    assert sums(chain) == pytest.approx({A1: 1.0, A2: 1.0, A3: 1.0}, abs=1e-12)


def test_a_split_that_meets_again_is_certain() -> None:
    first = hs_weights(pairs("HS17", "HS22", (A1, B1), (A1, B2)), None, "HS17", "HS22")
    second = hs_weights(pairs("HS22", "HS92", (B1, C1), (B2, C1)), None, "HS22", "HS92")
    assert compose(first, second).table["weight_basis"].to_pylist() == ["one"]


def test_a_chain_with_a_hole_has_no_target() -> None:
    first = hs_weights(SPLIT, None, "HS17", "HS22")
    second = hs_weights(pairs("HS22", "HS92", (B1, C1), (B2, C2)), None, "HS22", "HS92")
    chain = compose(first, second)
    assert chain.without_target == (A3,)
    assert {a for a, _ in held(chain)} == {A1, A2}


# -- ambiguity ------------------------------------------------------------------------------------------------
def test_ambiguity_by_hand() -> None:
    weights = hs_weights(SPLIT, {B1: 30, B2: 10, B3: 60}, "HS17", "HS22")
    # A1 100 for certain; A2 40: 30 to B1, 10 to B2; A3 100: 30, 10, 60. B1: 60 of 160 rests on splits.
    got = {r["code"]: r for r in ambiguity(weights, {A1: 100, A2: 40, A3: 100}).to_pylist()}
    assert got[B1]["ambiguity"] == pytest.approx(60 / 160)
    assert got[B2]["ambiguity"] == got[B3]["ambiguity"] == 1.0
    assert (got[B1]["sources"], got[B1]["weight_basis"]) == (3, "trade_shares")
    alone = {r["code"]: r["ambiguity"] for r in ambiguity(weights).to_pylist()}
    # Without trade each old code counts 1: (3/4 + 3/10) / (1 + 3/4 + 3/10).
    assert alone[B1] == pytest.approx(1.05 / 2.05)
    certain = hs_weights(pairs("HS17", "HS22", (A1, B1), (A2, B1)), None, "HS17", "HS22")
    assert ambiguity(certain)["ambiguity"].to_pylist() == [0.0]


# -- whatever the world ---------------------------------------------------------------------------------------
FROM = [f"1{n:05d}" for n in range(6)]
TO = [f"2{n:05d}" for n in range(6)]
LAST = [f"3{n:05d}" for n in range(4)]


@st.composite
def concordances(draw: Any, sources: list[str], goals: list[str], one: str, two: str) -> pa.Table:
    rows = draw(st.sets(st.tuples(st.sampled_from(sources), st.sampled_from(goals)), min_size=1, max_size=18))
    return pairs(one, two, *sorted(rows))


amounts = st.dictionaries(st.sampled_from(TO), st.decimals(0, 10**12, places=3), max_size=6)
flow_rows = st.lists(
    st.tuples(
        st.sampled_from([*FROM, "999999"]),
        st.sampled_from(["CHN", "NLD", "USA"]),
        st.sampled_from(["DEU", "FRA"]),
        st.decimals(0, 10**11, places=3),
        st.one_of(st.none(), st.floats(0, 1e9)),
    ),
    max_size=25,
    unique_by=lambda r: r[:3],
)


@given(concordances(FROM, TO, "HS17", "HS22"), st.one_of(st.none(), amounts), flow_rows)
@settings(max_examples=150, deadline=None)
def test_what_goes_in_comes_out(
    table: pa.Table, known: dict[str, Decimal] | None, rows: list[tuple[str, str, str, Decimal, float | None]]
) -> None:
    weights = hs_weights(table, known, "HS17", "HS22", from_codes=FROM)
    assert all(abs(s - 1.0) < 1e-12 for s in sums(weights).values())
    assert set(sums(weights)) | set(weights.without_target) == set(FROM)
    HS_WEIGHTS.check(weights.table)
    flows = baci(*((c, i, j, str(v), q) for c, i, j, v, q in rows))
    got = convert_flows(flows, weights)
    BACI_FLOWS.check(got.flows)
    for side in ("exporter", "importer"):
        for country in set(flows[side].to_pylist()):
            parts = [t.filter(pc.equal(t[side], country)) for t in (got.flows, got.unconverted, flows)]
            assert total(parts[0]) + total(parts[1]) == total(parts[2])
    mass = [pc.sum(t["tonnes"]).as_py() or 0.0 for t in (got.flows, got.unconverted, flows)]
    assert mass[0] + mass[1] == pytest.approx(mass[2], rel=1e-9, abs=1e-9)
    # Against a plain product of matrices: within a thousandth for each flow that went in.
    dense = np.zeros((len(FROM), len(TO)))
    for (a, b), weight in held(weights).items():
        dense[FROM.index(a), TO.index(b)] = weight
    for i, j in {(r[1], r[2]) for r in rows}:
        before = np.zeros(len(FROM))
        for c, e, m, v, _ in rows:
            if (e, m) == (i, j) and c in FROM and c not in weights.without_target:
                before[FROM.index(c)] += float(v)
        after = np.zeros(len(TO))
        for r in got.flows.to_pylist():
            if (r["exporter"], r["importer"]) == (i, j):
                after[TO.index(r["code"])] = float(r["value_kusd"])
        assert after == pytest.approx(before @ dense, rel=1e-9, abs=0.001 * (len(rows) + 1))


@given(concordances(FROM, TO, "HS17", "HS22"), concordances(TO, LAST, "HS22", "HS92"), st.one_of(st.none(), amounts))
@settings(max_examples=100, deadline=None)
def test_a_chain_is_the_product_of_the_matrices(
    table: pa.Table, further: pa.Table, known: dict[str, Decimal] | None
) -> None:
    first, second = hs_weights(table, known, "HS17", "HS22"), hs_weights(further, None, "HS22", "HS92")
    one, two = np.zeros((len(FROM), len(TO))), np.zeros((len(TO), len(LAST)))
    for (a, b), weight in held(first).items():
        one[FROM.index(a), TO.index(b)] = weight
    for (b, c), weight in held(second).items():
        two[TO.index(b), LAST.index(c)] = weight
    closed = {a for a in FROM if one[FROM.index(a)].sum() and (one @ two)[FROM.index(a)].sum() > 1 - 1e-9}
    if not closed:
        with pytest.raises(InputRefused):
            compose(first, second)
        return
    chain = compose(first, second)
    assert {a for a, _ in held(chain)} == closed
    assert set(chain.without_target) == {a for a, _ in held(first)} - closed
    for (a, c), weight in held(chain).items():
        assert weight == pytest.approx((one @ two)[FROM.index(a), LAST.index(c)], abs=2e-9)
    assert all(abs(s - 1.0) < 1e-12 for s in sums(chain).values())


def test_values_near_the_end_of_the_scale_do_not_overflow() -> None:
    weights = hs_weights(SPLIT, {B1: 10**12, B2: 1, B3: 7}, "HS17", "HS22")
    huge = "900000000000000.999"
    got = convert_flows(baci((A3, "CHN", "NLD", huge, None)), weights)
    assert total(got.flows) == Decimal(huge)


# -- real files -----------------------------------------------------------------------------------------------
def real_flows() -> pa.Table:
    table = pq.read_table(shared_data("baci/baci_hs92_rawmaterials_1995_2024.parquet"))
    table = table.filter(pc.greater_equal(table["t"], 2020))
    return pa.table(
        {
            "hs_revision": pa.array(["HS92"] * table.num_rows, pa.string()),
            "year": pc.cast(table["t"], pa.int32()),
            "code": pc.cast(table["k"], pa.string()),
            "exporter": pc.cast(table["i"], pa.string()),
            "importer": pc.cast(table["j"], pa.string()),
            "value_kusd": pc.cast(pc.round(table["v"], 3), pa.decimal128(18, 3)),
            "tonnes": table["q"],
            "release": pa.array(["x"] * table.num_rows, pa.string()),
        }
    )


def test_real_flows_there_and_back_lose_nothing() -> None:
    data = read_concordances(discover(shared_data("concordance").parent)).table
    flows = real_flows()
    # The file leads from HS17 to HS92 only. Turned round by hand it is a concordance with many targets, and one that
    # leaks: no code of HS17 leads to 464 codes of HS92, and what they carry must not vanish.
    forward = data.filter(pc.and_(pc.equal(data["from_system"], "HS17"), pc.equal(data["to_system"], "HS92")))
    turned = forward.select(["to_system", "to_code", "from_system", "from_code", "kind", "vintage"])
    there = hs_weights(
        turned.rename_columns(CONCORDANCE_SCHEMA.names), None, "HS92", "HS17", from_codes=listed_codes("HS92")
    )
    assert len(there.without_target) == 464
    assert {"250390", "283030", "811230"} <= set(there.without_target)
    got = convert_flows(flows, there)
    assert total(got.flows) + total(got.unconverted) == total(flows)
    back = convert_flows(got.flows, hs_weights(data, None, "HS17", "HS92"))
    assert back.unconverted.num_rows == 0
    assert total(back.flows) == total(got.flows)
    before = flows.filter(pc.invert(pc.is_in(flows["code"], pa.array(list(there.without_target)))))
    keys = ["code", "year", "exporter", "importer", "value_kusd"]
    order = [(k, "ascending") for k in keys[:4]]
    assert back.flows.select(keys).sort_by(order).equals(before.select(keys).sort_by(order))


def test_the_real_chain_reaches_every_code() -> None:
    data = read_concordances(discover(shared_data("concordance").parent)).table
    codes = listed_codes("HS92")
    chain = compose(hs_weights(data, None, "HS22", "HS17"), hs_weights(data, None, "HS17", "HS92", to_codes=codes))
    assert chain.without_target == ()
    assert len(sums(chain)) == 5613
    assert set(sums(chain).values()) == {1.0}
    assert len(chain.not_reached) > 464


# -- into one revision -------------------------------------------------------------------------------------------------


def test_every_revision_that_leads_there_by_the_shortest_way() -> None:
    table = pa.concat_tables(
        [
            pairs("HS22", "HS17", (A1, B1), (A2, B1), (A2, B2), kind="conversion"),
            pairs("HS17", "HS92", (B1, C1), (B2, C2), kind="conversion"),
            pairs("HS17", "ISIC3", (B1, "0111")),
        ]
    )
    found = {w.from_revision: w for w in weights_into("HS92", table, {C1: Decimal(1), C2: Decimal(3)})}
    assert set(found) == {"HS17", "HS22"}
    assert held(found["HS17"]) == {(B1, C1): 1.0, (B2, C2): 1.0}
    # world trade is known of the target's codes only, so the step in between is split evenly
    assert held(found["HS22"]) == {(A1, C1): 1.0, (A2, C1): 0.5, (A2, C2): 0.5}
    direct = pa.concat_tables([table, pairs("HS22", "HS92", (A1, C2), (A2, C2), kind="conversion")])
    found = {w.from_revision: w for w in weights_into("HS92", direct, None)}
    assert held(found["HS22"]) == {(A1, C2): 1.0, (A2, C2): 1.0}


def test_a_conversion_leads_one_way_and_a_correlation_both() -> None:
    one_way = pairs("HS22", "HS17", (A1, B1), kind="conversion")
    assert weights_into("HS22", one_way, None) == []
    both = pairs("HS22", "HS17", (A1, B1), (A1, B2), kind="correlation")
    (back,) = weights_into("HS22", both, None)
    assert held(back) == {(B1, A1): 1.0, (B2, A1): 1.0}


def test_where_nothing_leads_there_are_no_weights() -> None:
    assert weights_into("HS92", CONCORDANCE_SCHEMA.empty_table(), None) == []
    assert weights_into("HS92", pairs("HS17", "ISIC3", (B1, "0111")), None) == []


reported = st.lists(
    st.tuples(
        st.sampled_from([A1, A2, A3]), st.sampled_from(["CHN", "USA", "DEU"]), st.integers(0, 10**12), st.booleans()
    ),
    min_size=1,
    max_size=12,
    unique_by=lambda r: (r[0], r[1], r[3]),
)


@settings(deadline=None, max_examples=60)
@given(reported, st.integers(1, 10**6), st.integers(1, 10**6))
def test_reports_are_converted_to_the_same_totals_as_flows(
    rows: list[tuple[str, str, int, bool]], one: int, two: int
) -> None:
    from ketenpipe.sources.reconciliation import to_revision
    from ketenpipe.tables.registry import COMTRADE_ANNUAL

    table = pairs("HS17", "HS92", (A1, B1), (A2, B1), (A2, B2), (A3, B2), (A3, B3))
    weights = hs_weights(table, {B1: one, B2: two, B3: one + two}, "HS17", "HS92")
    reports = COMTRADE_ANNUAL.conform(
        {
            "period": "2024", "hs_revision": "HS17", "code": c, "reporter": "NLD", "partner": p,
            "flow": "M" if imports else "X", "value_kusd": Decimal(v) / 1000, "maximum_per_key": False, "vintage": "v",
        }
        for c, p, v, imports in rows
    )  # fmt: skip
    got = to_revision(reports, weights.table, "HS92").reports
    for imports in (True, False):
        mine = got.filter(pc.equal(got["flow"], "M" if imports else "X"))
        chosen = [(c, p, "NLD", str(Decimal(v) / 1000), None) for c, p, v, i in rows if i is imports]
        if not chosen:
            assert mine.num_rows == 0
            continue
        theirs = convert_flows(baci(*chosen), weights).flows
        sums = mine.group_by(["code", "partner"]).aggregate([("value_kusd", "sum")])
        assert {(r["code"], r["partner"]): r["value_kusd_sum"] for r in sums.to_pylist()} == {
            (r["code"], r["exporter"]): r["value_kusd"] for r in theirs.to_pylist()
        }
