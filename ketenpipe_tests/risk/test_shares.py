"""How a share of draws is written, wherever it is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ketenpipe.observatory.explain_words import Cut, say
from ketenpipe.risk.robustness import words_for
from ketenpipe.risk.shares import cut_share, of_tenths, tenths


@pytest.mark.parametrize(
    ("share", "english", "dutch"),
    [
        (0.0, "0 %", "0 %"),
        (0.0009, "0 %", "0 %"),
        (0.001, "0.1 %", "0,1 %"),
        (0.7499, "74.9 %", "74,9 %"),
        (0.75, "75 %", "75 %"),
        (0.293, "29.3 %", "29,3 %"),  # 0.293 * 1000 is 292.99999999999994
        (0.99999, "99.9 %", "99,9 %"),
        (2 / 3, "66.6 %", "66,6 %"),
        (1.0, "100 %", "100 %"),
    ],
)
def test_a_share_is_cut_to_tenths_and_never_raised(share: float, english: str, dutch: str) -> None:
    assert cut_share(share) == (english, dutch)
    said = say("{s}", "{s}", s=Cut(share))
    assert (said.en, said.nl) == (english, dutch)


def test_tenths_of_many_and_of_none() -> None:
    found = tenths(np.array([[0.7499, np.nan], [1.0, 0.0]]))
    assert found.dtype == np.int64
    assert found.tolist() == [[749, -1], [1000, 0]]
    assert of_tenths(749) == ("74.9 %", "74,9 %")


@given(st.integers(1, 100_000), st.data())
def test_every_count_of_draws_stays_below_what_it_does_not_reach(draws: int, data: st.DataObject) -> None:
    held = data.draw(st.integers(0, draws))
    found = int(tenths(held / draws))
    assert found == held * 1000 // draws


def test_a_shift_of_the_limits_that_is_no_whole_number() -> None:
    assert words_for("thresholds +2.5%") == ("limits 2.5 % higher", "grenzen 2,5 % hoger")
    assert words_for("thresholds -10%") == ("limits 10 % lower", "grenzen 10 % lager")
