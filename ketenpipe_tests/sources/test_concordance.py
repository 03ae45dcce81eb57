"""Concordances: pairs of codes, zeros kept."""

from __future__ import annotations

import pytest

from ketenpipe.errors import InputRefused
from ketenpipe.sources.concordance import read_concordances
from ketenpipe.sources.places import discover
from ketenpipe_tests.shared_data import shared_data
from ketenpipe_tests.sources.conftest import Drop


def test_codes_are_padded_and_pairs_distinct(drop: Drop) -> None:
    drop.baci()
    drop.put("concordance/a.csv", "HS5_6d,HS5_4d,HS0_6d,HS0_4d\n10121,101,10111,101\n010121,0101,010111,0101\n")
    drop.put("concordance/desc.csv", "code,desc\nA,Agriculture\n")
    data = read_concordances(drop.inventory())
    assert data.table.to_pylist() == [
        {"from_system": "HS17", "from_code": "010121", "to_system": "HS92", "to_code": "010111"}
    ]
    assert len(data.notes) == 1
    drop.put("concordance/a.csv", "HS5_6d,HS0_6d\n0101.21,010111\n")
    with pytest.raises(InputRefused, match=r"'0101\.21' is no code of HS17"):
        read_concordances(drop.inventory())


def test_the_development_concordances() -> None:
    data = read_concordances(discover(shared_data("concordance").parent))
    assert len(data.records) == 9
    assert {len(r["from_code"]) for r in data.table.to_pylist() if r["from_system"] == "HS17"} == {6}
