"""The draws of the industry layer: by hand, without errors what is published, with errors what brute force gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ketenpipe.chain.catalogue import Reference
from ketenpipe.chain.industry import build_industry
from ketenpipe.risk.draws import ROWS, Draws, Places
from ketenpipe.risk.industries import build_industry_indicators
from ketenpipe.risk.industry_draws import (
    INPUT_OUTPUT,
    DrawnIndustry,
    IndustryDraws,
    build_industry_draws,
    industry_in_draws,
    product_verdicts,
)
from ketenpipe.risk.uncertainty import Uncertainty
from ketenpipe.sources.icio import IcioTable
from ketenpipe.tables.registry import COUNTRY_RISK, DRAWN_VERDICTS, PRODUCT_INDUSTRIES, UNCERTAINTY
from ketenpipe_tests.chain.io_worlds import CHAIN, degenerate_worlds, random_table, table
from ketenpipe_tests.risk.test_chain_draws import quiet
from ketenpipe_tests.worlds import bloc, catalogue, one

REFERENCE = catalogue(blocs=bloc("EU27", "DEU", "NLD"))
FOCI = ("EU27", "NLD")


def published(held: IcioTable, foci: tuple[str, ...] = FOCI) -> pa.Table:
    made = build_industry([held], REFERENCE, foci)
    return build_industry_indicators(
        made.industry_exposure, made.industry_tiers, made.industry_measures, COUNTRY_RISK.empty(), {2020: "v"}
    )


def draw(
    held: IcioTable, errors: Uncertainty, count: int = 3, seed: int = 5, foci: tuple[str, ...] = FOCI,
    reference: Reference = REFERENCE,
) -> IndustryDraws:  # fmt: skip
    return build_industry_draws(held, reference, foci, published(held, foci), errors, Draws(count, seed))


# -- one industry ----------------------------------------------------------------------------------------------


def seen(
    bought: Sequence[float],
    behind: Sequence[Sequence[float]],
    factors: Any = None,
    contents: Any = None,
    rest: str = "ROW",
) -> DrawnIndustry:
    """NLD is the focus; DEU, CHN and the rest of the world are not."""
    names = ["NLD", "DEU", "CHN", "ROW"][: len(bought)]
    foreign = np.array([n != "NLD" for n in names])
    n = len(bought)
    e = np.ones((n, 1)) if factors is None else np.array(factors, dtype=float)[:, np.newaxis]
    u = np.ones((n, n, 1)) if contents is None else np.array(contents, dtype=float)[..., np.newaxis]
    return industry_in_draws(np.array(bought), np.array(behind), foreign, rest, names, e, u)


def test_a_draw_by_hand() -> None:
    """50 from DEU with 25 of CHN in them, 10 from CHN; DEU delivers twice as much, with half of CHN in it.

    Face value: DEU 100/110. Look-through: DEU 100, CHN 10 + 25 * 2 * 0.5 = 35. Hidden: CHN (35/135) / (10/110).
    """
    behind = [[0, 0, 0], [0, 0, 0], [0, 25, 0]]
    found = seen([0, 50, 10], behind, [1, 2, 1], [[1, 1, 1], [1, 1, 1], [1, 0.5, 1]])
    assert found.face_value[0] == pytest.approx(100 / 110)
    assert found.look_through[0] == pytest.approx(100 / 135)
    assert found.hidden_ratio[0] == pytest.approx((35 / 135) / (10 / 110))
    assert found.verdict[0] == 1.0
    assert found.of("I1") is found.face_value
    assert found.of("I2") is found.look_through
    assert found.of("I4") is found.hidden_ratio


def test_on_the_limit_is_no_flag() -> None:
    """CHN: a half of the look-through, a quarter of the face value."""
    found = seen([0, 75, 25], [[0, 0, 0], [0, 0, 0], [0, 50, 0]])
    assert found.hidden_ratio[0] == 2.0
    assert found.verdict[0] == 0.0
    assert seen([0, 75, 25], [[0, 0, 0], [0, 0, 0], [0, 51, 0]]).verdict[0] == 1.0


def test_the_rest_of_the_world_counts_and_is_never_the_one() -> None:
    """Of 100 of DEU 40 stand for the rest of the world, which delivers 1 itself: hidden, but no country."""
    behind = [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 40, 0, 0]]
    found = seen([0, 100, 10, 1], behind)
    assert found.look_through[0] == pytest.approx(100 / 151)
    assert found.hidden_ratio[0] == pytest.approx(111 / 151)
    assert found.verdict[0] == 0.0
    assert seen([0, 100, 10, 1], behind, rest="none").verdict[0] == 1.0


def test_a_country_that_delivers_nothing_itself_leaves_it_open() -> None:
    behind: list[list[float]] = [[0, 0, 0], [0, 0, 0], [0, 40, 0]]
    assert np.isnan(seen([0, 100, 0], behind).verdict[0])
    behind[2][1] = 0.5  # below a hundredth of all it is too little to matter
    assert seen([0, 100, 0], behind).verdict[0] == 0.0
    behind[2][1] = 100 / 99  # a hundredth is enough
    assert np.isnan(seen([0, 100, 0], behind).verdict[0])
    # Another country that passes decides.
    found = seen([0, 100, 1, 0], [[0, 0, 0, 0], [0, 0, 0, 0], [0, 40, 0, 0], [0, 40, 0, 0]], rest="none")
    assert found.verdict[0] == 1.0


def test_what_cannot_be_had() -> None:
    nothing = [[0.0] * 3] * 3
    found = seen([0, 0, 0], nothing)
    assert np.isnan([found.face_value[0], found.look_through[0], found.hidden_ratio[0], found.verdict[0]]).all()
    found = seen([60, 0, 0], nothing)  # all at home: nothing is behind it
    assert (found.face_value[0], found.look_through[0], found.verdict[0]) == (0.0, 0.0, 0.0)
    found = seen([0, 50, 10], [[np.nan] * 3] * 3)  # no end of inputs
    assert found.face_value[0] == pytest.approx(50 / 60)
    assert np.isnan([found.look_through[0], found.hidden_ratio[0], found.verdict[0]]).all()


# -- a table ---------------------------------------------------------------------------------------------------


def assert_published(held: IcioTable) -> None:
    wanted = {(r["focus"], r["code"], r["indicator"]): r for r in published(held).to_pylist()}
    found = draw(held, quiet())
    rows = found.uncertainty.to_pylist()
    assert {(r["focus"], r["code"], r["indicator"]) for r in rows} == {k for k in wanted if k[2] in ("I1", "I2", "I4")}
    for row in rows:
        figure = wanted[row["focus"], row["code"], row["indicator"]]
        for name in ("value", "low", "high", "mean"):
            assert row[name] == (None if figure["value"] is None else pytest.approx(figure["value"], rel=1e-6)), row
        assert (row["reason"], row["basis"], row["tier"]) == (figure["reason"], figure["basis"], figure["tier"])
        assert row["draws"] == (0 if figure["value"] is None else 3)
        assert (row["threshold"], row["matters_most"]) == (2.0 if row["indicator"] == "I4" else None, None)
    for verdict in found.verdicts.to_pylist():
        figure = wanted[verdict["focus"], verdict["code"], "I4"]
        words = (figure["reason"] or "").split("; ")
        raw: float | None = None
        if figure["value"] is not None and figure["value"] > 2:
            raw = 1.0
        elif "no_face_value" not in words and (figure["value"] is not None or words == ["below_reliance"]):
            raw = 0.0
        assert verdict["flagged_share"] == raw, (figure, verdict)
        assert verdict["told_share"] == (0.0 if raw is None else 1.0)


@pytest.mark.parametrize("seed", range(4))
def test_without_errors_every_draw_is_the_published_figure(seed: int) -> None:
    assert_published(random_table(seed, dead=seed == 3))
    if not seed:
        assert_published(CHAIN)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(degenerate_worlds())
def test_of_degenerate_tables_too(held: IcioTable) -> None:
    assert_published(held)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000))
def test_every_draw_is_brute_force(seed: int) -> None:
    """Every cell of the table by hand: who buys what of whom, what stands behind it, times the factors."""
    held, errors, draws = random_table(seed), quiet(input_output=0.5), Draws(4, seed, (INPUT_OUTPUT,))
    factors = draws.factors(INPUT_OUTPUT, 0.5, "table", INPUT_OUTPUT, rows=ROWS)
    owners = [("EU27" if c in ("DEU", "NLD") else c, i) for c, i in held.labels]
    names = sorted({c for c, _ in owners})
    inverse = np.linalg.inv(np.eye(len(owners)) - held.Z / np.where(held.OUT > 0, held.OUT, 1.0)[np.newaxis, :])
    content = inverse - np.eye(len(owners))
    found = {(r["code"], r["indicator"]): r for r in draw(held, errors, 4, seed, ("EU27",)).uncertainty.to_pylist()}
    places = Places(names)
    pairs = places.flows(INPUT_OUTPUT, "content", 2020, *np.divmod(np.arange(len(names) ** 2), len(names)))
    foreign = [c for c in names if c != "EU27"]
    for industry in sorted({i for c, i in owners if c == "EU27"}):
        mine = [k for k, owner in enumerate(owners) if owner == ("EU27", industry)]
        e = factors[places.makers(f"purchases EU27 {industry}", 2020)]
        values = []
        for x in range(1, 5):
            direct, total = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
            for k, (seller, _) in enumerate(owners):
                bought = held.Z[k, mine].sum() * e[names.index(seller), x]
                direct[seller] += bought
                total[seller] += bought
                for i, (maker, _) in enumerate(owners):
                    at = pairs[names.index(maker) * len(names) + names.index(seller)]
                    total[maker] += content[i, k] * bought * factors[at, x]
            whole, abroad = sum(total.values()), sum(total[c] for c in foreign)
            face = sum(direct[c] for c in foreign)
            ratios = [
                (total[c] / abroad) / (direct[c] / face)
                for c in foreign
                if face > 0 and direct[c] > 0 and total[c] / whole >= 0.01
            ]
            values.append(
                (
                    max(direct[c] for c in foreign) / sum(direct.values()),
                    max(total[c] for c in foreign) / whole,
                    max(ratios, default=np.nan),
                )
            )
        for n, indicator in enumerate(("I1", "I2", "I4")):
            row, column = found[industry, indicator], np.array([v[n] for v in values])
            if row["value"] is None:
                continue
            assert row["draws"] == (~np.isnan(column)).sum()
            assert row["mean"] == pytest.approx(np.nanmean(column), rel=1e-7)
            assert row["matters_most"] == (INPUT_OUTPUT if row["low"] != row["high"] else None)


def test_the_verdict_is_the_part_of_the_draws_beyond_the_limit() -> None:
    found = draw(CHAIN, quiet(input_output=0.5), 200, foci=("NLD",))
    row = one(found.uncertainty, indicator="I4")
    verdict = one(found.verdicts)
    assert 0.5 < row["flag_share"] < 1
    assert verdict["flagged_share"] == row["flag_share"]
    assert (verdict["told_share"], verdict["draws"], verdict["level"]) == (1.0, 200, "industry")
    np.testing.assert_array_equal(found.raw["NLD", "C10"].mean(), row["flag_share"])


def test_a_made_up_table_tells_nothing() -> None:
    held = table([*CHAIN.labels], CHAIN.Z, CHAIN.OUT, synthetic=True)
    verdict = one(draw(held, quiet(), foci=("NLD",)).verdicts)
    assert (verdict["flagged_share"], verdict["told_share"]) == (1.0, 0.0)


def test_a_focus_does_not_change_what_another_sees_and_the_seed_decides() -> None:
    errors, held = quiet(input_output=0.4), random_table(2)
    whole = draw(held, errors, 20).uncertainty
    alone = draw(held, errors, 20, foci=("NLD",)).uncertainty
    assert alone.equals(whole.filter(pc.equal(whole.column("focus"), "NLD")))
    assert whole.equals(draw(held, errors, 20).uncertainty)
    assert not whole.equals(draw(held, errors, 20, seed=6).uncertainty)
    assert UNCERTAINTY.schema() == whole.schema


def test_a_focus_that_the_table_has_not_and_another_year_give_nothing() -> None:
    assert draw(CHAIN, quiet(), foci=("BRA",)).uncertainty.num_rows == 0
    other = published(CHAIN).filter(pc.equal(published(CHAIN).column("year"), 1999))
    found = build_industry_draws(CHAIN, REFERENCE, FOCI, other, quiet(), Draws(2, 1))
    assert (found.uncertainty.num_rows, found.verdicts.num_rows, found.raw) == (0, 0, {})
    assert product_verdicts(found, DRAWN_VERDICTS.empty(), PRODUCT_INDUSTRIES.empty()).num_rows == 0


def test_a_code_has_its_industrys_verdict_and_tells_nothing() -> None:
    found = draw(CHAIN, quiet(), foci=("NLD",))
    place = {"level": "hs6", "hs_revision": "HS92", "tier": 0, "year": 2024, "method": "cbs", "draws": 3}
    known = {"method_version": "1", "flagged_share": 0.5, "told_share": 1.0}
    rows = [
        place | known | {"focus": focus, "code": code}
        for focus, code in (("NLD", "100000"), ("NLD", "200000"), ("NLD", "300000"), ("EU27", "100000"))
    ]
    recipes = PRODUCT_INDUSTRIES.conform(
        {"hs_revision": "HS92", "code": code, "industry": industry, "edition": "2025", "method": "isic3"}
        for code, industry in (("100000", "C10"), ("200000", "C20"))
    )
    made = product_verdicts(found, DRAWN_VERDICTS.conform(rows), recipes).to_pylist()
    assert {(r["focus"], r["code"]): r["flagged_share"] for r in made} == {
        ("NLD", "100000"): 1.0, ("NLD", "200000"): None, ("NLD", "300000"): None, ("EU27", "100000"): None,
    }  # fmt: skip
    assert {(r["method"], r["told_share"], r["draws"], r["year"]) for r in made} == {
        ("foreign_input_reliance", 0.0, 3, 2024)
    }
