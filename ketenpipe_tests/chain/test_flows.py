"""Formulas on flows: worked by hand, the same on DuckDB and Polars, and against plain pandas."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from decimal import Decimal

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ketenpipe.chain.engine import Engine
from ketenpipe.chain.flows import (
    KEYS,
    SLOTS,
    alternative_capacity,
    as_seen_by,
    by_node,
    concentration,
    exact_concentration,
    exports_by_origin,
    flow_frame,
    imports_by_origin,
    internal_trade,
    largest,
    mark_of,
    sold_by_exporters,
    supply_of_importers,
    trader_marks,
    value_of,
    weighted_risk,
)
from ketenpipe_tests.worlds import Flow, flows, frame

COUNTRIES = ("BRA", "CHN", "DEU", "FRA", "NLD", "USA")
BLOC = ("DEU", "FRA", "NLD")
RISK = {"BRA": 0.5, "CHN": 0.8, "DEU": 0.1, "FRA": 0.2, "NLD": 0.1, "USA": None}


def lazy(table: pa.Table) -> nw.LazyFrame:
    """The same table for Polars."""
    return nw.from_native(pl.from_arrow(table).lazy())  # type: ignore[union-attr]


def members(years: tuple[int, ...] = (2020,)) -> pa.Table:
    pairs = [(y, c) for y in years for c in BLOC]
    return pa.table({"year": pa.array([p[0] for p in pairs], pa.int32()), "country": [p[1] for p in pairs]})


def risk_table() -> pa.Table:
    return pa.table(
        {
            "country": list(RISK),
            "year": pa.array([2020] * len(RISK), pa.int32()),
            "risk": pa.array(list(RISK.values()), pa.float64()),
        }
    )


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine() as held:
        yield held


def records(table: pd.DataFrame) -> list[dict[str, object]]:
    """Rows in a fixed order, NaN as None."""
    order = sorted(table.columns)
    out = table[order].astype(object).where(table[order].notna(), None)
    return sorted(out.to_dict("records"), key=lambda r: tuple(str(r[k]) for k in order if isinstance(r[k], str)))


def single(engine: Engine, made: nw.LazyFrame) -> dict[str, object]:
    (row,) = records(engine.pandas(made))
    return row


# -- by hand -------------------------------------------------------------------------------------------------


def test_the_supply_mix_leaves_out_oneself_and_rows_without_mass(engine: Engine) -> None:
    # CHN 30 (3 t), USA 10 (no mass): v 40, q 3; only 30 of the value has mass.
    base = flow_frame(engine.frame("f", flows([(2020, "100001", "CHN", "NLD", 30, 3), (2020, "100001", "USA", "NLD", 10, None), (2020, "100001", "NLD", "USA", 7, 1)])))  # noqa: E501  # fmt: skip
    found = {r["country"]: r for r in records(engine.pandas(imports_by_origin(base, "NLD")))}
    assert set(found) == {"CHN", "USA"}
    assert float(found["CHN"]["v"]) == 30.0  # type: ignore[arg-type]
    assert float(found["CHN"]["v_with_q"]) == 30.0  # type: ignore[arg-type]
    assert found["CHN"]["q"] == 3.0
    assert found["USA"]["q"] is None, "an unknown mass is not 0 tonnes"
    assert float(found["USA"]["v_with_q"] or 0) == 0.0  # type: ignore[arg-type]


def test_concentration_by_hand(engine: Engine) -> None:
    # 6, 3, 1 of 10: (36 + 9 + 1) / 100 = 0.46. By mass USA has no figure: 2 and 2 of 4 -> 0.5.
    rows = [
        (2020, "100001", "CHN", "NLD", 6, 2),
        (2020, "100001", "BRA", "NLD", 3, 2),
        (2020, "100001", "USA", "NLD", 1, None),
    ]
    mix = imports_by_origin(flow_frame(engine.frame("f", flows(rows))), "NLD")
    by_value, by_mass = (single(engine, concentration(mix, m)) for m in ("v", "q"))
    assert by_value["hhi"] == pytest.approx(0.46, abs=1e-15)
    assert (by_value["origins"], by_mass["origins"]) == (3, 2)
    assert by_mass["hhi"] == 0.5


def test_a_product_that_is_not_imported_is_absent_and_not_zero(engine: Engine) -> None:
    base = flow_frame(engine.frame("f", flows([(2020, "100001", "NLD", "CHN", 6, 2)])))
    assert len(engine.pandas(concentration(imports_by_origin(base, "NLD"), "v"))) == 0


def test_the_largest_of_two_equals_is_the_first_in_the_alphabet(engine: Engine) -> None:
    rows = [(2020, "100001", c, "NLD", 5, 1) for c in ("USA", "BRA", "CHN")]
    mix = imports_by_origin(flow_frame(engine.frame("f", flows(rows))), "NLD")
    found = single(engine, largest(mix, "v"))
    assert (found["top"], float(found["top_weight"])) == ("BRA", 5.0)  # type: ignore[arg-type]


BLOC_FLOWS: list[Flow] = [
    (2020, "100001", "CHN", "NLD", 6, 6),
    (2020, "100001", "CHN", "DEU", 4, 4),
    (2020, "100001", "USA", "FRA", 10, 10),
    (2020, "100001", "NLD", "DEU", 50, 50),
    (2020, "100001", "DEU", "FRA", 7, 7),
    (2020, "100001", "FRA", "USA", 3, 3),
    (2020, "100001", "CHN", "USA", 40, 40),
]


def test_a_bloc_is_one_trader_without_its_internal_trade(engine: Engine) -> None:
    # From outside: CHN 6 + 4, USA 10. Among members: 50 + 7. World exports: CHN 50, USA 10, the bloc 3.
    base = flow_frame(engine.frame("f", flows(BLOC_FLOWS)))
    seen = as_seen_by(base, engine.frame("m", members()), "EU27")
    got = {r["country"]: float(r["v"]) for r in records(engine.pandas(imports_by_origin(seen, "EU27")))}  # type: ignore[arg-type]
    assert got == {"CHN": 10.0, "USA": 10.0}
    inside = single(engine, internal_trade(seen, "EU27"))
    assert float(inside["v"]) == 57.0  # type: ignore[arg-type]
    sold = {r["country"]: float(r["v"]) for r in records(engine.pandas(exports_by_origin(seen)))}  # type: ignore[arg-type]
    assert sold == {"CHN": 50.0, "USA": 10.0, "EU27": 3.0}


def test_membership_is_of_the_year(engine: Engine) -> None:
    # GBR is a member in 2019 only: its sales to NLD are internal then, and an import in 2020.
    rows = [(y, "100001", "GBR", "NLD", 5, 5) for y in (2019, 2020)]
    table = pa.table({"year": pa.array([2019, 2019, 2020], pa.int32()), "country": ["GBR", "NLD", "NLD"]})
    seen = as_seen_by(flow_frame(engine.frame("f", flows(rows))), engine.frame("m", table), "EU")
    assert [r["year"] for r in records(engine.pandas(imports_by_origin(seen, "EU")))] == [2020]
    assert [r["year"] for r in records(engine.pandas(internal_trade(seen, "EU")))] == [2019]


def test_value_without_mass_survives_the_merging_of_members(engine: Engine) -> None:
    # CHN sells 6 with mass to NLD and 4 without to DEU: of the bloc's 10 from CHN, 6 have a mass, not 10.
    rows = [(2020, "100001", "CHN", "NLD", 6, 6), (2020, "100001", "CHN", "DEU", 4, None)]
    seen = as_seen_by(flow_frame(engine.frame("f", flows(rows))), engine.frame("m", members()), "EU27")
    found = single(engine, imports_by_origin(seen, "EU27"))
    assert (float(found["v"]), found["q"]) == (10.0, 6.0)  # type: ignore[arg-type]
    assert float(found["v_with_q"]) == 6.0  # type: ignore[arg-type]


def test_value_without_mass_survives_the_summing_of_codes(engine: Engine) -> None:
    # The node's codes: 6 with mass, 4 without, from one origin. 6 of 10 have a mass.
    rows = [(2020, "100001", "CHN", "NLD", 6, 6), (2020, "100002", "CHN", "NLD", 4, None)]
    codes = pa.table({"hs_revision": ["HS92"] * 2, "code": ["100001", "100002"], "node": ["n", "n"]})
    summed = by_node(flow_frame(engine.frame("f", flows(rows))), engine.frame("c", codes))
    found = single(engine, imports_by_origin(summed, "NLD"))
    assert (found["code"], float(found["v"]), found["q"]) == ("n", 10.0, 6.0)  # type: ignore[arg-type]
    assert float(found["v_with_q"]) == 6.0  # type: ignore[arg-type]


def test_a_node_sums_its_codes_per_pair_and_a_code_may_serve_two_nodes(engine: Engine) -> None:
    rows = [
        (2020, "100001", "CHN", "NLD", 6, None),
        (2020, "100002", "CHN", "NLD", 4, None),
        (2020, "100003", "CHN", "NLD", 99, 1),
    ]
    codes = pa.table({"hs_revision": ["HS92"] * 3, "code": ["100001", "100002", "100002"], "node": ["n", "n", "other"]})
    summed = by_node(flow_frame(engine.frame("f", flows(rows))), engine.frame("c", codes))
    found = {r["code"]: (float(r["v"]), r["q"]) for r in records(engine.pandas(summed))}  # type: ignore[arg-type]
    assert found == {"n": (10.0, None), "other": (4.0, None)}, "null + null is null, not 0"


def test_alternative_capacity_by_hand(engine: Engine) -> None:
    # NLD buys 10 from CHN (top) and 4 from BRA. Others than CHN: BRA exports 4 + 9 = 13, 13 - 4 = 9 elsewhere;
    # USA exports 6, none to NLD. S2 = (9 + 6) / 10 = 1.5. NLD's own exports (100) and CHN's to DEU (50) are no help.
    rows = [
        (2020, "100001", "CHN", "NLD", 10, 1),
        (2020, "100001", "BRA", "NLD", 4, 1),
        (2020, "100001", "BRA", "DEU", 9, 1),
        (2020, "100001", "USA", "DEU", 6, 1),
        (2020, "100001", "CHN", "DEU", 50, 1),
        (2020, "100001", "NLD", "DEU", 100, 1),
    ]
    base = flow_frame(engine.frame("f", flows(rows)))
    found = single(engine, alternative_capacity(imports_by_origin(base, "NLD"), exports_by_origin(base), "NLD", "v"))
    assert (found["top"], float(found["s2"])) == ("CHN", 1.5)  # type: ignore[arg-type]


def test_alternative_capacity_is_zero_where_nobody_else_sells(engine: Engine) -> None:
    base = flow_frame(engine.frame("f", flows([(2020, "100001", "CHN", "NLD", 10, 1)])))
    found = single(engine, alternative_capacity(imports_by_origin(base, "NLD"), exports_by_origin(base), "NLD", "v"))
    assert float(found["s2"]) == 0.0  # type: ignore[arg-type]


def test_risk_of_a_mix_drops_what_has_no_score_and_says_so(engine: Engine) -> None:
    # CHN 6 (.8), BRA 2 (.5), USA 2 (no score). G2 = (6*.8 + 2*.5)/8 = 5.8/8 = .725; coverage .8.
    # G3 = 10 * (.6^2*.8 + .2^2*.5) = 10 * (.288 + .02) = 3.08: over the whole mix, not renormalised.
    rows = [(2020, "100001", c, "NLD", v, 1) for c, v in (("CHN", 6), ("BRA", 2), ("USA", 2))]
    mix = imports_by_origin(flow_frame(engine.frame("f", flows(rows))), "NLD")
    found = single(engine, weighted_risk(mix, engine.frame("r", risk_table()), "v"))
    assert found["g2"] == pytest.approx(0.725)
    assert found["g3"] == pytest.approx(3.08)
    assert found["coverage"] == pytest.approx(0.8)


def test_risk_is_null_where_nothing_is_scored(engine: Engine) -> None:
    mix = imports_by_origin(flow_frame(engine.frame("f", flows([(2020, "100001", "USA", "NLD", 2, 1)]))), "NLD")
    found = single(engine, weighted_risk(mix, engine.frame("r", risk_table()), "v"))
    assert (found["g2"], found["g3"], found["coverage"]) == (None, None, 0.0)


def plain(row: dict[str, object]) -> dict[str, object]:
    """Numbers as floats, and what is a year or a name as it is."""
    return {k: float(v) if isinstance(v, Decimal | float) else v for k, v in row.items()}


KEY = {"hs_revision": "HS92", "year": 2020, "code": "100001"}


def test_what_each_formula_gives_in_full(engine: Engine) -> None:
    # NLD buys 6 (2 t) of CHN and 2 (no mass) of USA, and sells 4 (1 t) to DEU; CHN sells 8 (2 t) to USA, BRA 1 at home.
    rows = [
        (2020, "100001", "CHN", "NLD", 6, 2),
        (2020, "100001", "USA", "NLD", 2, None),
        (2020, "100001", "NLD", "DEU", 4, 1),
        (2020, "100001", "CHN", "USA", 8, 2),
        (2020, "100001", "BRA", "BRA", 1, 1),
    ]
    base = flow_frame(engine.frame("f", flows(rows)))
    imports, exports = imports_by_origin(base, "NLD"), exports_by_origin(base)

    def rows_of(made: nw.LazyFrame) -> list[dict[str, object]]:
        return [plain(r) for r in records(engine.pandas(made))]

    assert rows_of(imports) == [
        KEY | {"country": "CHN", "v": 6.0, "q": 2.0, "v_with_q": 6.0},
        KEY | {"country": "USA", "v": 2.0, "q": None, "v_with_q": 0.0},
    ]
    assert rows_of(exports) == [
        KEY | {"country": "CHN", "v": 14.0, "q": 4.0, "v_with_q": 14.0},
        KEY | {"country": "NLD", "v": 4.0, "q": 1.0, "v_with_q": 4.0},
        KEY | {"country": "USA", "v": 2.0, "q": None, "v_with_q": 0.0},
    ]
    assert rows_of(internal_trade(base, "BRA")) == [KEY | {"v": 1.0, "q": 1.0, "v_with_q": 1.0}]
    assert rows_of(internal_trade(base, "NLD")) == []
    assert rows_of(concentration(imports, "v")) == [KEY | {"total": 8.0, "origins": 2, "hhi": 0.625}]
    assert rows_of(largest(imports, "v")) == [KEY | {"top": "CHN", "top_weight": 6.0}]
    # Others than CHN sell elsewhere: USA nothing beyond its 2 to NLD.
    assert rows_of(alternative_capacity(imports, exports, "NLD", "v")) == [
        KEY | {"top": "CHN", "alternative": 0.0, "top_weight": 6.0, "s2": 0.0}
    ]
    assert rows_of(weighted_risk(imports, engine.frame("r", risk_table()), "v")) == [
        KEY | {"coverage": 0.75, "g2": pytest.approx(0.8), "g3": pytest.approx(10 * 0.75**2 * 0.8)}
    ]
    seen = as_seen_by(base, engine.frame("m", members()), "EU27")
    inside = [r for r in rows_of(seen) if r["exporter"] == r["importer"] == "EU27"]
    assert inside == [KEY | {"exporter": "EU27", "importer": "EU27", "v": 4.0, "q": 1.0, "v_with_q": 4.0}]
    assert as_seen_by(base, None, "NLD") is base


def test_amounts_below_one_count(engine: Engine) -> None:
    # Of half a thousand USD three fifths are CHN's, the rest BRA's, who sells .1 elsewhere: S2 = .1/.3.
    rows = [
        (2020, "100001", "CHN", "NLD", 0.3, 0.03),
        (2020, "100001", "BRA", "NLD", 0.2, 0.02),
        (2020, "100001", "BRA", "USA", 0.1, 0.01),
    ]
    base = flow_frame(engine.frame("f", flows(rows)))
    imports, exports = imports_by_origin(base, "NLD"), exports_by_origin(base)
    for measure in ("v", "q"):
        assert single(engine, concentration(imports, measure))["hhi"] == pytest.approx(0.52)
        assert single(engine, largest(imports, measure))["top"] == "CHN"
        assert single(engine, alternative_capacity(imports, exports, "NLD", measure))["s2"] == pytest.approx(1 / 3)
        found = single(engine, weighted_risk(imports, engine.frame("r", risk_table()), measure))
        assert (found["g2"], found["coverage"]) == (pytest.approx(0.68), pytest.approx(1.0))
    sold = sold_by_exporters(base)
    assert single(engine, exact_concentration(sold, "v"))["hhi"] == pytest.approx(0.5)
    supply = supply_of_importers(base, trader_marks(sold, engine.frame("u", pa.table({"country": ["NLD"]}))))
    assert sorted(records(engine.pandas(supply.select("importer", "suppliers"))), key=str) == [
        {"importer": "NLD", "suppliers": 2},
        {"importer": "USA", "suppliers": 1},
    ]


def test_products_of_two_years_revisions_and_codes_are_kept_apart(engine: Engine) -> None:
    # Each product has one origin, another one each time; what is mixed up has a concentration below 1 or another top.
    table = flows(
        [
            (2019, "100001", "CHN", "NLD", 6, 2),
            (2020, "100001", "BRA", "NLD", 4, 2),
            (2020, "100002", "USA", "NLD", 5, 2),
        ]
    )
    base = flow_frame(engine.frame("f", table))
    imports, exports = imports_by_origin(base, "NLD"), exports_by_origin(base)
    tops = {(r["year"], r["code"]): (r["top"], r["s2"]) for r in records(engine.pandas(alternative_capacity(imports, exports, "NLD", "v")))}  # noqa: E501  # fmt: skip
    assert tops == {(2019, "100001"): ("CHN", 0.0), (2020, "100001"): ("BRA", 0.0), (2020, "100002"): ("USA", 0.0)}
    for mix in (concentration(imports, "v"), exact_concentration(sold_by_exporters(base), "v")):
        assert [r["hhi"] for r in records(engine.pandas(mix))] == [1.0, 1.0, 1.0]
    risk = records(engine.pandas(weighted_risk(imports, engine.frame("r", risk_table()), "v")))
    assert {(r["year"], r["code"]): r["coverage"] for r in risk} == {
        (2019, "100001"): 0.0,
        (2020, "100001"): 1.0,
        (2020, "100002"): 0.0,
    }, "scores are of the year"


# -- what every importer buys --------------------------------------------------------------------------------

SUPPLIES: list[Flow] = [
    # NLD: 5 of CHN and of BRA, 4.001 of DEU, which is in the union; DEU's 9 for itself are none. BRA: DEU only.
    (2020, "100001", "CHN", "NLD", 5, 1),
    (2020, "100001", "BRA", "NLD", 5, None),
    (2020, "100001", "DEU", "NLD", 4.001, 1),
    (2020, "100001", "DEU", "DEU", 9, 1),
    (2020, "100001", "DEU", "BRA", 7, 1),
    (2020, "100002", "USA", "NLD", 123456789.123, 1),
]


def supplies(base: nw.LazyFrame, union: nw.LazyFrame) -> tuple[nw.LazyFrame, nw.LazyFrame, nw.LazyFrame]:
    """What is sold, the marks of those who sell, and what is bought with its largest supplier told apart."""
    sold = sold_by_exporters(base)
    marks = trader_marks(sold, union)
    bought = supply_of_importers(base, marks).with_columns(
        top_mark=mark_of("top"),
        top_value=value_of("top"),
        third_mark=mark_of("top_third"),
        third_value=value_of("top_third"),
    )
    return sold, marks, bought.drop("top", "top_third")


def check_supplies(sold: pd.DataFrame, marks: pd.DataFrame, bought: pd.DataFrame) -> None:
    assert [plain(r) for r in records(sold)] == [
        KEY | {"country": "BRA", "v": 5.0},
        KEY | {"country": "CHN", "v": 5.0},
        KEY | {"country": "DEU", "v": 11.001},
        KEY | {"code": "100002", "country": "USA", "v": 123456789.123},
    ]
    assert records(marks) == [
        {"exporter": "BRA", "mark": SLOTS - 1, "inside": None},
        {"exporter": "CHN", "mark": SLOTS - 2, "inside": None},
        {"exporter": "DEU", "mark": SLOTS - 3, "inside": 1},
        {"exporter": "USA", "mark": SLOTS - 4, "inside": None},
    ]
    german, dutch, other = [plain(r) for r in records(bought)]
    assert german.pop("third") in (None, 0.0)
    assert german == KEY | {
        "importer": "BRA", "bought": 7.0, "squares": 49.0, "suppliers": 1, "top_mark": SLOTS - 3, "top_value": 7.0,
        "third_mark": None, "third_value": None,
    }  # fmt: skip
    # Of CHN and BRA, who sell the same, the first in the alphabet.
    assert dutch == KEY | {
        "importer": "NLD", "bought": 14.001, "squares": pytest.approx(66.008001, rel=1e-15), "suppliers": 3,
        "third": 10.0, "top_mark": SLOTS - 1, "top_value": 5.0, "third_mark": SLOTS - 1, "third_value": 5.0,
    }  # fmt: skip
    amount = Decimal("123456789.123")
    assert other == KEY | {
        "code": "100002", "importer": "NLD", "bought": float(amount), "squares": float(amount * amount),
        "suppliers": 1, "third": float(amount), "top_mark": SLOTS - 4, "top_value": float(amount),
        "third_mark": SLOTS - 4, "third_value": float(amount),
    }  # fmt: skip


def test_what_every_importer_buys_by_hand_on_duckdb(engine: Engine) -> None:
    base = engine.keep(flow_frame(engine.frame("f", flows(SUPPLIES))))
    union = engine.frame("u", pa.table({"country": ["DEU", "FRA", "NLD"]}))
    check_supplies(*(engine.pandas(made) for made in supplies(base, union)))


def test_what_every_importer_buys_by_hand_on_polars() -> None:
    made = supplies(flow_frame(lazy(flows(SUPPLIES))), lazy(pa.table({"country": ["DEU", "FRA", "NLD"]})))
    check_supplies(*(part.collect("pandas").to_native() for part in made))


def test_fewer_keys_may_tell_products_apart(engine: Engine) -> None:
    base = engine.keep(flow_frame(engine.frame("f", flows(SUPPLIES))))
    sold = sold_by_exporters(base, ["code"])
    assert set(engine.pandas(sold).columns) == {"code", "country", "v"}
    # BRA 5, CHN 5, DEU 11.001 of 21.001; USA alone.
    found = engine.pandas(exact_concentration(sold, "v", ["code"]))
    assert set(found.columns) == {"code", "hhi"}
    assert found.set_index("code")["hhi"].to_dict() == {
        "100001": pytest.approx((25 + 25 + 11.001**2) / 21.001**2, rel=1e-15),
        "100002": pytest.approx(1.0, rel=1e-15),
    }
    marks = trader_marks(sold, engine.frame("u", pa.table({"country": ["DEU"]})))
    bought = engine.pandas(supply_of_importers(base, marks, ["code"]))
    assert set(bought.columns) == {
        "code", "importer", "bought", "squares", "suppliers", "top", "third", "top_third",
    }  # fmt: skip
    assert len(bought) == 3


def test_a_node_on_polars_which_minds_capitals() -> None:
    # As above: the second code serves two nodes, the third none, and what has no mass has none together.
    rows = [
        (2020, "100001", "CHN", "NLD", 6, None),
        (2020, "100002", "CHN", "NLD", 4, None),
        (2020, "100003", "CHN", "NLD", 99, 1),
    ]
    codes = pa.table({"hs_revision": ["HS92"] * 3, "code": ["100001", "100002", "100002"], "node": ["n", "n", "other"]})
    summed = by_node(flow_frame(lazy(flows(rows))), lazy(codes)).collect("pandas").to_native()
    pair = {"hs_revision": "HS92", "year": 2020, "exporter": "CHN", "importer": "NLD", "q": None, "v_with_q": 0.0}
    assert [plain(r) for r in records(summed)] == [pair | {"code": "n", "v": 10.0}, pair | {"code": "other", "v": 4.0}]


# -- the same on every engine, and in plain pandas -----------------------------------------------------------


@st.composite
def small_trade(draw: st.DrawFn) -> list[Flow]:
    pairs = draw(
        st.lists(
            st.tuples(st.sampled_from(["100001", "100002"]), st.sampled_from(COUNTRIES), st.sampled_from(COUNTRIES)),
            min_size=1,
            max_size=25,
            unique=True,
        )
    )
    amounts = st.integers(1, 10**9).map(lambda n: n / 1000)
    return [(2020, k, i, j, draw(amounts), draw(st.none() | amounts)) for k, i, j in pairs if i != j]


def everything(base: nw.LazyFrame, bloc: nw.LazyFrame, risk: nw.LazyFrame) -> Iterator[tuple[str, nw.LazyFrame]]:
    """Every formula of the module, for a country and for a bloc."""
    for focus, seen in (("NLD", base), ("EU27", as_seen_by(base, bloc, "EU27"))):
        imports, exports = imports_by_origin(seen, focus), exports_by_origin(seen)
        yield f"imports {focus}", imports
        yield f"exports {focus}", exports
        yield f"inside {focus}", internal_trade(seen, focus)
        for measure in ("v", "q"):
            yield f"c1 {focus} {measure}", concentration(imports, measure)
            yield f"c2 {focus} {measure}", concentration(exports, measure)
            yield f"top {focus} {measure}", largest(imports, measure)
            yield f"s2 {focus} {measure}", alternative_capacity(imports, exports, focus, measure)
            yield f"risk {focus} {measure}", weighted_risk(imports, risk, measure)


def same(name: str, ours: list[dict[str, object]], others: list[dict[str, object]]) -> None:
    assert len(ours) == len(others), name
    for left, right in zip(ours, others, strict=True):
        assert left.keys() == right.keys()
        for key, a in left.items():
            b = right[key]
            if isinstance(a, str) or a is None or b is None:
                assert a == b, (name, key, left, right)
            else:
                assert math.isclose(float(a), float(b), rel_tol=1e-12, abs_tol=1e-12), (name, key, a, b)  # type: ignore[arg-type]


def test_polars_gives_what_duckdb_gives() -> None:
    # One world of 30 codes: sparse ones, some without any mass, amounts from 1 USD to a billion.
    chance = np.random.default_rng(7)
    rows: list[Flow] = []
    for code in range(30):
        density, weighed = chance.choice([0.1, 0.4, 0.9]), chance.choice([0.0, 0.5, 1.0])
        for i in COUNTRIES:
            for j in COUNTRIES:
                if i != j and chance.random() < density:
                    v, q = np.round(10.0 ** chance.uniform(-3, 6, 2), 3) + 0.001
                    rows.append((2020, f"{100000 + code}", i, j, v, q if chance.random() < weighed else None))
    table = flows(rows)
    polars = dict(everything(flow_frame(lazy(table)), lazy(members()), lazy(risk_table())))
    with Engine() as engine:
        base = engine.keep(flow_frame(engine.frame("f", table)))
        for name, made in everything(base, engine.frame("m", members()), engine.frame("r", risk_table())):
            ours = engine.pandas(made)
            theirs = polars[name].collect("pandas").to_native()[list(ours.columns)]
            same(name, records(ours), records(theirs))


def _mixes(data: pd.DataFrame, bloc: bool) -> pd.DataFrame:
    if not bloc:
        return data
    out = data.copy()
    for side in ("exporter", "importer"):
        out[side] = out[side].where(~out[side].isin(BLOC), "EU27")
    return out.groupby(["code", "exporter", "importer"], as_index=False)[["v", "q"]].sum(min_count=1)


@settings(max_examples=4, deadline=None)
@given(rows=small_trade().filter(bool), bloc=st.booleans(), measure=st.sampled_from(["v", "q"]))
def test_concentration_and_alternatives_agree_with_pandas(rows: list[Flow], bloc: bool, measure: str) -> None:
    table = flows(rows)
    focus = "EU27" if bloc else "NLD"
    plain = _mixes(frame(table)[["code", "exporter", "importer", "v", "q"]], bloc)
    out = plain[plain["exporter"] != plain["importer"]]
    into = out[out["importer"] == focus].dropna(subset=[measure])
    with Engine() as engine:
        base = flow_frame(engine.frame("f", table))
        seen = as_seen_by(base, engine.frame("m", members()), focus) if bloc else base
        imports, exports = imports_by_origin(seen, focus), exports_by_origin(seen)
        c1 = engine.pandas(concentration(imports, measure)).set_index("code")["hhi"]
        c2 = engine.pandas(concentration(exports, measure)).set_index("code")["hhi"]
        s2 = engine.pandas(alternative_capacity(imports, exports, focus, measure)).set_index("code")["s2"]
        top = engine.pandas(largest(imports, measure)).set_index("code")["top"]
    hhi: Callable[[pd.Series], float] = lambda s: float(((s / s.sum()) ** 2).sum())  # noqa: E731
    assert c1.to_dict() == pytest.approx(into.groupby("code")[measure].agg(hhi).to_dict(), rel=1e-12)
    sold = out.dropna(subset=[measure]).groupby(["code", "exporter"])[measure].sum()
    assert c2.to_dict() == pytest.approx(sold.groupby("code").agg(hhi).to_dict(), rel=1e-12)
    for code, part in into.groupby("code"):
        shares = part.groupby("exporter")[measure].sum()
        best = sorted(shares.index, key=lambda c: (-shares[c], c))[0]
        others = out[(out["code"] == code) & ~out["exporter"].isin([best, focus]) & (out["importer"] != focus)]
        assert top[code] == best
        assert float(s2[code]) == pytest.approx(others[measure].sum() / shares[best], rel=1e-9, abs=1e-9)


@settings(max_examples=4, deadline=None)
@given(rows=small_trade().filter(bool))
def test_concentration_lies_between_equal_shares_and_one(rows: list[Flow]) -> None:
    with Engine() as engine:
        found = engine.pandas(concentration(exports_by_origin(flow_frame(engine.frame("f", flows(rows)))), "v"))
    assert set(KEYS) <= set(found.columns)
    assert np.all(found["hhi"] <= 1 + 1e-12)
    assert np.all(found["hhi"] >= 1 / found["origins"] - 1e-12)
