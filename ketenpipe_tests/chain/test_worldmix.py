"""World production mixes: shares, what is left out, and what they may not be used for."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ketenpipe.chain.worldmix import code_mix, material_mix, node_mix
from ketenpipe_tests.worlds import catalogue, figure, link, mining, node

MINED = mining([("Ore", "CHN", 2020, 60.0), ("Ore", "RUS", 2020, 40.0), ("Ore", "USA", 2020, None)], "kg").to_pandas()


def test_shares_of_a_statistic_leave_out_listed_nulls_and_name_them() -> None:
    # 60 and 40 of 100, whatever the unit (any form of the material may serve); the USA's null is named, not 0.
    mix = material_mix(MINED, "Ore", 2020)
    assert mix is not None
    assert mix.shares == pytest.approx({"CHN": 0.6, "RUS": 0.4})
    assert (mix.basis, mix.unlisted) == ("observed", ("USA",))
    assert material_mix(MINED, "Ore", 2019) is None
    assert material_mix(MINED, "", 2020) is None
    assert material_mix(None, "Ore", 2020) is None
    assert material_mix(mining([("Ore", "CHN", 2020, 0.0)]).to_pandas(), "Ore", 2020) is None, "no output: no mix"


def test_the_rest_of_a_producer_list_is_unknown() -> None:
    # Read: CHN .7, RUS .1 -> UNK .2. A recalled line and another year move nothing; a repeated one counts once.
    reference = catalogue(
        [node("a", "100001 100002")],
        figures=[
            figure("a", "100001", 2020, "CHN", share=0.7),
            figure("a", "100002", 2020, "CHN", share=0.7),
            figure("a", "100001", 2020, "RUS", share=0.1),
            figure("a", "100001", 2020, "USA", share=0.15, status="recalled"),
            figure("a", "100001", 2019, "BRA", share=0.9),
        ],
    )
    mix = node_mix(reference, None, "a", 2020)
    assert mix is not None
    assert mix.shares == pytest.approx({"CHN": 0.7, "RUS": 0.1, "UNK": 0.2})
    assert mix.basis == "producer_list"
    assert node_mix(reference, None, "a", 2021) is None


def test_the_statistic_of_a_node_comes_before_its_producer_list() -> None:
    reference = catalogue([node("a", "100001", "Ore")], figures=[figure("a", "100001", 2020, "BRA", share=1.0)])
    mix = node_mix(reference, MINED, "a", 2020)
    assert mix is not None
    assert set(mix.shares) == {"CHN", "RUS"}


def test_the_material_of_a_code_serves_in_any_form() -> None:
    # contained_metal is no production of the code, yet its mix tells who mines the material (C3).
    reference = catalogue([node("a", "100001")], links=[link("100001", "Ore", same_form=False)])
    mix = code_mix(reference, MINED, "HS92", "100001", 2020)
    assert mix is not None
    assert mix.shares["CHN"] == pytest.approx(0.6)
    assert code_mix(reference, MINED, "HS92", "100002", 2020) is None


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["BRA", "CHN", "RUS", "USA", "ZAF"]),
        st.none() | st.integers(0, 10**9).map(lambda n: n / 1000),
        min_size=1,
    )
)
def test_shares_sum_to_one_and_agree_with_pandas(quantities: dict[str, float | None]) -> None:
    table = mining([("Ore", c, 2020, q) for c, q in quantities.items()]).to_pandas()
    mix = material_mix(table, "Ore", 2020)
    known = pd.Series({c: q for c, q in quantities.items() if q}, dtype=float)
    assert (mix is None) == known.empty
    if mix is not None:
        assert sum(mix.shares.values()) == pytest.approx(1.0)
        assert mix.shares == pytest.approx((known / known.sum()).to_dict())


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.sampled_from(["BRA", "CHN", "RUS", "USA"]), st.floats(0.001, 1), min_size=1))
def test_a_producer_list_sums_to_one_with_unknown(shares: dict[str, float]) -> None:
    reference = catalogue(
        [node("a", "100001")], figures=[figure("a", "100001", 2020, c, share=s) for c, s in shares.items()]
    )
    mix = node_mix(reference, None, "a", 2020)
    assert mix is not None
    assert sum(mix.shares.values()) == pytest.approx(1.0)
    if sum(shares.values()) < 1:
        assert mix.shares["UNK"] == pytest.approx(1 - sum(shares.values()))


def test_a_country_that_makes_none_has_no_share_and_a_missing_quantity_no_number() -> None:
    held = mining([("Ore", "CHN", 2020, 60.0), ("Ore", "RUS", 2020, 0.0), ("Ore", "USA", 2020, None)]).to_pandas()
    for quantity in (held["quantity"], held["quantity"].astype(object).where(held["quantity"].notna(), None)):
        mix = material_mix(held.assign(quantity=quantity), "Ore", 2020)
        assert mix is not None
        assert (mix.shares, mix.unlisted, mix.material) == ({"CHN": 1.0}, ("USA",), "Ore")


def test_a_code_without_a_statistic_takes_the_producer_list_of_that_very_code_and_year() -> None:
    reference = catalogue(
        [node("a", "100001 100002")],
        figures=[
            figure("a", "100001", 2020, "CHN", share=0.75),
            figure("a", "100001", 2020, "RUS", share=0.25),
            figure("a", "100001", 2020, "ZAF", quantity=5.0),
            figure("a", "100002", 2020, "BRA", share=1.0),
            figure("a", "100001", 2021, "USA", share=1.0),
        ],
    )
    mix = code_mix(reference, MINED, "HS92", "100001", 2020)
    assert mix is not None
    # The two add to 1: nothing is left to be unknown, and a quantity is no share.
    assert mix.shares == {"CHN": 0.75, "RUS": 0.25}
    assert (mix.basis, mix.material) == ("producer_list", "100001")
    assert code_mix(reference, MINED, "HS17", "100001", 2020) is None
    of_node = node_mix(reference, None, "a", 2021)
    assert of_node is not None
    assert of_node.material == "a"
