"""Each audit holds on a good table and fails on a bad one, naming the first offending row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ketenpipe.errors import ContractBroken
from ketenpipe.tables import checks
from ketenpipe.tables.registry import COUNTRY_RISK


def table(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows))


MIX = {
    "focus": "NLD", "hs_revision": "HS92", "code": "260400", "year": 2020, "country": "NOR", "share_direct": 0.5,
    "share_direct_q": 0.5, "share_traced": 0.5, "share_traced_v": 0.5,
}  # fmt: skip
OTHER = {**MIX, "country": "SWE"}
ORIGIN = {"hs_revision": "HS92", "code": "260400", "year": 2020, "country": "NLD", "origin": "NOR", "share": 0.25}
NODE = {"focus": "NLD", "group": "g", "node": "n", "year": 2020, "country": "NOR", "share_traced": 0.5}
TRACED = {"focus": "NLD", "hs_revision": "HS92", "code": "260400", "year": 2020, "measure": "q", "row_residual": 1e-12}
MADE = {"material": "Cobalt", "country": "COD", "year": 2020}
SCORE = {"country": "NLD", "year": 2020, "dimension": "PV", "vintage": "2024"}
FLOW = {"hs_revision": "HS92", "release": "V202401b", "year": 2020}
HHI = {
    "focus": "NLD", "level": "hs6", "code": "260400", "group": None, "hs_revision": "HS92", "year": 2020,
    "indicator": "C1", "measure": "v", "basis": "imports", "value": 0.6,
}  # fmt: skip
VERDICT = {"focus": "NLD", "group": "g", "review_status": "awaiting_sign_off", "provisional": True}

Check = Callable[..., checks.CheckResult]


@pytest.mark.parametrize(
    ("check", "good", "bad", "words"),
    [
        (checks.supply_shares_sum_to_one, [MIX, OTHER], [MIX, {**OTHER, "share_traced": 0.4}], "sum to 0.9, not to 1"),
        (checks.supply_shares_sum_to_one, [MIX, {**OTHER, "share_traced": 0.5}], [MIX], "NLD.*260400.*2020"),
        (
            checks.origin_rows_sum_to_one,
            [ORIGIN, {**ORIGIN, "origin": "UNK", "share": 0.75}],
            [ORIGIN, {**ORIGIN, "origin": "UNK", "share": 0.76}],
            "country NLD sum to 1.01",
        ),
        (
            checks.lookthrough_sums_to_one,
            [NODE, {**NODE, "country": "UNK"}],
            [NODE, {**NODE, "country": "UNK", "share_traced": 0.6}],
            "node n, year 2020 sum to 1.1",
        ),
        (
            checks.tracing_rows_sum_to_supply,
            [TRACED, {**TRACED, "code": "x", "row_residual": None}],
            [TRACED, {**TRACED, "code": "260300", "row_residual": 0.02}],
            "260300.*0.02 of it",
        ),
        (checks.no_total_rows, [MADE], [MADE, {**MADE, "country": "WLD"}], "'WLD' stands among the producers"),
        (
            checks.no_total_rows,
            [MADE, {**MADE, "country": "R20"}, {**MADE, "country": "ZA1"}],
            [MADE, {**MADE, "country": "Total"}],
            "'Total'.*Cobalt",
        ),
        (checks.no_total_rows, [MADE], [MADE, {**MADE, "country": "R21"}], "'R21' stands among the producers"),
        (
            checks.one_vintage_per_year,
            [SCORE, {**SCORE, "year": 2023, "vintage": "2025"}],
            [SCORE, {**SCORE, "country": "DEU", "vintage": "2025"}],
            "2020 of PV stands in two vintages, '2024' and '2025'",
        ),
        (
            checks.one_release_per_series,
            [FLOW, {**FLOW, "hs_revision": "HS17", "release": "V202501"}],
            [FLOW, {**FLOW, "year": 2021, "release": "V202501"}],
            "HS92 joins two BACI releases, V202401b .* and V202501",
        ),
        (
            checks.unsigned_is_provisional,
            [VERDICT, {**VERDICT, "review_status": "signed", "provisional": False}],
            [{**VERDICT, "provisional": False}],
            "awaiting_sign_off' but is not provisional",
        ),
        (
            checks.unsigned_is_provisional,
            [VERDICT],
            [{**VERDICT, "review_status": "signed"}],
            "'signed' but is provisional",
        ),
    ],
)
def test_each_audit_can_fail(check: Check, good: list[dict[str, Any]], bad: list[dict[str, Any]], words: str) -> None:
    holds = check(table(*good))
    assert holds.passed
    assert holds.offending is None
    assert holds.rows >= 1
    fails = check(table(*bad))
    assert not fails.passed
    assert fails.offending
    assert fails.name == check.__name__
    with pytest.raises(ContractBroken, match=words):
        checks.require(holds, fails)


@pytest.mark.parametrize(
    ("change", "passed"),
    [
        ({"value": 0.5}, True),
        ({"value": 1.0}, True),
        ({"value": 0.49}, False),
        ({"value": 1.01}, False),
        ({"value": None}, True),
        ({"value": 0.01, "indicator": "C2", "basis": "exports"}, True),
        ({"value": 0.0, "indicator": "C2", "basis": "exports"}, False),
        ({"value": 0.0, "indicator": "O1", "basis": "traced"}, True),
        ({"value": -0.1, "indicator": "O1", "basis": "traced"}, False),
        ({"value": 7.0, "indicator": "S1"}, True),
        ({"value": 0.3, "level": "node", "code": "n"}, True),
    ],
)
def test_concentration_lies_within_its_bounds(change: dict[str, Any], passed: bool) -> None:
    found = checks.hhi_within_bounds(table({**HHI, **change}), table(MIX, OTHER))
    assert found.passed is passed
    if not passed:
        assert found.offending is not None
        assert "outside" in found.sentence


@given(st.lists(st.floats(0.001, 1000), min_size=1, max_size=30))
def test_any_real_mix_passes(weights: list[float]) -> None:
    shares = [w / sum(weights) for w in weights]
    countries = [f"{chr(65 + k // 26)}{chr(65 + k % 26)}A" for k in range(len(shares))]
    names = ("share_direct", "share_direct_q", "share_traced", "share_traced_v")
    mix = table(*({**MIX, "country": c, **dict.fromkeys(names, s)} for c, s in zip(countries, shares, strict=True)))
    hhi = sum(s * s for s in shares)
    assert checks.supply_shares_sum_to_one(mix).passed
    assert checks.hhi_within_bounds(table({**HHI, "value": hhi}), mix).passed


def test_schema_and_keys() -> None:
    row = {"country": "NOR", "year": 2020, "estimate": 1.0, "risk": 0.3, "dimension": "PV", "vintage": "2024"}
    good = COUNTRY_RISK.conform([row])
    assert checks.schema_and_keys(COUNTRY_RISK, good).passed
    twice = pa.concat_tables([good, good])
    found = checks.schema_and_keys(COUNTRY_RISK, twice)
    assert not found.passed
    assert "more than once" in found.sentence
