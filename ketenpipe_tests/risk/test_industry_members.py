"""A bloc of which the input-output table lacks members says so, from the layer to the figures and the verdicts."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from ketenpipe.chain.industry import build_industry, focus_in
from ketenpipe.risk.definitions import REASONS
from ketenpipe.risk.industries import build_industry_indicators
from ketenpipe.tables.registry import COUNTRY_RISK, INDUSTRY_EXPOSURE
from ketenpipe_tests.chain.io_worlds import CHAIN
from ketenpipe_tests.risk.test_named_methods import industry, reliance
from ketenpipe_tests.worlds import bloc, catalogue, one, rows

WHOLE, LACKING = ("DEU", "NLD"), ("AUT", "DEU", "HRV", "NLD")
WORD = "members_without_region"


def made_of(*members: str, focus: str = "EU27") -> tuple[pa.Table, pa.Table]:
    """The exposure and the figures of a bloc of these members in the chain NLD <- DEU <- CHN."""
    reference = catalogue(blocs=bloc("EU27", *members))
    made = build_industry([CHAIN], reference, (focus,))
    figures = build_industry_indicators(
        made.industry_exposure, made.industry_tiers, made.industry_measures, COUNTRY_RISK.empty(), {2020: "test"}
    )
    return made.industry_exposure, figures


def test_the_layer_names_the_members_that_the_table_lacks() -> None:
    held, _ = made_of(*LACKING)
    assert set(held[WORD].to_pylist()) == {"AUT HRV"}
    place = focus_in(CHAIN, catalogue(blocs=bloc("EU27", *LACKING)), "EU27")
    assert place is not None
    assert place.without_region == ("AUT", "HRV")


@pytest.mark.parametrize(("members", "focus"), [(WHOLE, "EU27"), (LACKING, "NLD")])
def test_a_whole_bloc_and_a_country_lack_nobody(members: tuple[str, ...], focus: str) -> None:
    held, figures = made_of(*members, focus=focus)
    assert held[WORD].null_count == held.num_rows
    assert not [r for r in figures.to_pylist() if WORD in (r["reason"] or "")]


def test_every_figure_of_the_bloc_says_it_and_none_changes() -> None:
    _, plain = made_of(*WHOLE)
    held, figures = made_of(*LACKING)
    assert held.drop_columns([WORD]).equals(made_of(*WHOLE)[0].drop_columns([WORD]))
    before, after = plain.to_pylist(), figures.to_pylist()
    assert len(before) == len(after)
    for one_row, other in zip(before, after, strict=True):
        assert {k: v for k, v in one_row.items() if k != "reason"} == {k: v for k, v in other.items() if k != "reason"}
        assert other["reason"] == (WORD if one_row["reason"] is None else f"{one_row['reason']}; {WORD}")
    # The bloc buys from China only: beside one figure the word stands alone, beside another (I6) a note comes first.
    assert one(figures, indicator="I1")["reason"] == WORD
    assert one(figures, indicator="I6")["reason"] == f"rank_only; {WORD}"
    assert one(figures, indicator="I2b")["reason"] == f"no_governance_data; {WORD}"
    assert "no region of their own in the table" in REASONS[WORD][0]


def test_only_the_years_and_blocs_that_lack_somebody_say_it() -> None:
    held = made_of(*LACKING)[0].to_pylist()
    later = [{**r, "year": 2021, WORD: None} for r in held]
    other = [{**r, "focus": "NLD", WORD: None} for r in held if r["country"] != "NLD"]
    made = build_industry([CHAIN], catalogue(blocs=bloc("EU27", *LACKING)), ("EU27",))
    figures = build_industry_indicators(
        INDUSTRY_EXPOSURE.conform([*held, *later, *other]), made.industry_tiers, made.industry_measures,
        COUNTRY_RISK.empty(), {},
    )  # fmt: skip
    said = {(r["focus"], r["year"]): WORD in (r["reason"] or "") for r in rows(figures, indicator="I1")}
    assert said == {("EU27", 2020): True, ("EU27", 2021): False, ("NLD", 2020): False}


@pytest.mark.parametrize(
    ("value", "reason"),
    [(2.5, None), (2.0, None), (2.5, "no_face_value"), (1.0, "no_face_value"), (None, "below_reliance")],
)
def test_no_verdict_changes_by_it(value: float | None, reason: str | None) -> None:
    def verdict(why: str | None) -> dict[str, Any]:
        (row,) = reliance([industry("A", value, reason=why)])
        return row

    plain, noted = verdict(reason), verdict(WORD if reason is None else f"{reason}; {WORD}")
    assert (noted["flagged"], noted["indicated"]) == (plain["flagged"], plain["indicated"])
    assert noted["reason"] == (None if plain["reason"] is None else f"{plain['reason']}; {WORD}")
