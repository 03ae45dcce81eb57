"""Whether a verdict survives: draws, alternatives, which one matters most, and the sentence."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ketenpipe.risk.robustness import (
    FLAG_COLUMNS,
    NEAREST,
    build_robustness,
    nearness,
    robustness_stream,
    words_for,
)
from ketenpipe.tables.registry import ALTERNATIVE_INPUTS, ALTERNATIVES, DRAWN_VERDICTS, FLAGS, ROBUSTNESS
from ketenpipe_tests.worlds import one, thresholds

ITEM = {"focus": "NLD", "level": "hs6", "code": "280530", "hs_revision": "HS92", "group": None, "tier": 0, "year": 2024}
PLACE = {**ITEM, "method": "geodep"}


def flag(flagged: bool | None = True, **more: Any) -> dict[str, Any]:
    return {**PLACE, "flagged": flagged, "alternatives": 0, "agreement": None, "method_version": "1", **more}


def drawn(share: float | None, draws: int = 1000, **more: Any) -> dict[str, Any]:
    return {**PLACE, "draws": draws, "flagged_share": share, "told_share": 1.0, "method_version": "1", **more}


def tried(alternative: str, agrees: bool | None, value: float | None = None, **more: Any) -> dict[str, Any]:
    figures = {"indicator": "C1", "value": value, "base_value": 0.5, "threshold": 0.4}
    return {**PLACE, "alternative": alternative, "agrees": agrees, "counted": True, **figures, **more}


def robustness(
    flags: dict[str, Any] | Iterable[dict[str, Any]],
    draws: Iterable[dict[str, Any]] = (),
    others: Iterable[dict[str, Any]] = (),
) -> pa.Table:
    held = [flags] if isinstance(flags, dict) else list(flags)
    table = FLAGS.conform(held).select(FLAG_COLUMNS)
    return build_robustness(table, DRAWN_VERDICTS.conform(draws), ALTERNATIVES.conform(others), thresholds())


def row(*args: Any) -> dict[str, Any]:
    found: dict[str, Any] = one(robustness(*args))
    return found


# -- the two shares ------------------------------------------------------------------------------------------


def test_draws_that_give_the_same_verdict() -> None:
    assert row(flag(True), [drawn(0.9)])["draw_agreement"] == 0.9
    assert row(flag(False), [drawn(0.9)])["draw_agreement"] == pytest.approx(0.1)
    # An indication is a verdict too; without either there is nothing to agree with.
    assert row(flag(None, indicated=False), [drawn(0.3)])["draw_agreement"] == pytest.approx(0.7)
    assert row(flag(None), [drawn(0.9)])["draw_agreement"] is None
    assert row(flag(True), [drawn(None)])["draw_agreement"] is None
    found = row(flag(True), [drawn(0.9, draws=0)])
    assert (found["draws"], found["draw_agreement"]) == (None, None)
    assert row(flag(True), [drawn(0.9)])["draws"] == 1000


@pytest.mark.parametrize(("method", "agreement", "robust"), [("geodep", 0.55, False), ("node_test", 1.0, True)])
def test_a_draw_that_loses_the_verdict_does_not_give_the_same(method: str, agreement: float, robust: bool) -> None:
    """GeoDep with an unknown year in its window: draws that turn the year itself give no verdict.

    The node test's ``told_share`` says something else: in how many draws its verdict, which there is, may be told.
    """
    for flagged, share in ((True, 1.0), (False, 0.0)):
        held = flag(flagged, alternatives=4, agreement=1.0, method=method)
        found = row(held, [drawn(share, told_share=0.55, method=method)])
        assert found["draw_agreement"] == pytest.approx(agreement)
        assert found["robust"] is robust


def test_alternatives_of_both_tables_count_together() -> None:
    # Flags: 3 of 4; the other table: 1 of 2 that are counted and can be compared: 4 of 6.
    others = [
        tried("three_year_window", True), tried("export_basis", False), tried("without_patches", None),
        tried("other_measure", False, counted=False),
    ]  # fmt: skip
    found = row(flag(True, alternatives=4, agreement=0.75, flips_on="the year before"), [], others)
    assert (found["alternatives"], found["agreement"]) == (6, pytest.approx(4 / 6))
    alone = row(flag(True, alternatives=4, agreement=0.75, flips_on="the year before"))
    assert (alone["alternatives"], alone["agreement"]) == (4, 0.75)
    none = row(flag(True))
    assert (none["alternatives"], none["agreement"]) == (0, None)


@pytest.mark.parametrize(
    ("share", "agreeing", "robust"),
    [
        (0.75, 4, True), (0.7499, 4, False), (0.75, 3, False), (1.0, 4, True), (1.0, 3, False), (0.0, 4, False),
        (None, 4, None), (None, 3, False),
    ],
)  # fmt: skip
def test_three_quarters_of_the_draws_and_all_alternatives(
    share: float | None, agreeing: int, robust: bool | None
) -> None:
    names = ("three_year_window", "export_basis", "without_patches", "other_revision")
    others = [tried(name, at < agreeing) for at, name in enumerate(names)]
    assert row(flag(True), [drawn(share)], others)["robust"] is robust


def test_draws_alone_fail_a_verdict_and_cannot_pass_it() -> None:
    assert row(flag(True), [drawn(0.9)])["robust"] is None
    assert row(flag(True), [drawn(0.7)])["robust"] is False
    assert row(flag(True))["robust"] is None


def test_without_a_verdict_nothing_is_robust_or_not() -> None:
    held = flag(None, alternatives=2, agreement=0.5, flips_on="the year before")
    found = row(held, [drawn(0.1)], [tried("export_basis", True, 0.9)])
    assert (found["robust"], found["matters_most"], found["turns"], found["agreement"]) == (None, None, None, 1.0)
    assert found["reason"] == "It cannot be told whether it is robust: the figures give no verdict."
    assert found["reason_nl"] == "Of het robuust is, is niet te zeggen: de cijfers geven geen oordeel."


def test_rows_find_one_another_by_the_whole_key() -> None:
    places = [
        {}, {"focus": "DEU"}, {"code": "280540"}, {"hs_revision": "HS17"}, {"group": "g"}, {"tier": 1}, {"year": 2023},
        {"method": "cbs"}, {"level": "node"}, {"tier": None},
    ]  # fmt: skip
    flags = [flag(True, **p) for p in places]
    draws = [drawn(0.5 + at / 100, **p) for at, p in enumerate(places)]
    others = [tried("export_basis", at % 2 == 0, **p) for at, p in enumerate(places)]
    found = robustness(
        flags, [*draws, drawn(0.1, code="999999")], [*others, tried("export_basis", True, code="999999")]
    )
    assert found.num_rows == len(places)
    for at, place in enumerate(places):
        mine = one(found, **{**PLACE, **place})
        assert (mine["draw_agreement"], mine["agreement"]) == (pytest.approx(0.5 + at / 100), float(at % 2 == 0))


# -- what matters most ---------------------------------------------------------------------------------------


def test_of_several_that_turn_it_the_nearest_to_the_published_inputs() -> None:
    held = flag(True, alternatives=3, agreement=1 / 3, flips_on="the year before; unknown origin on the top country")
    found = row(held, [], [tried("three_year_window", False, 0.1), tried("without_patches", False, 0.39)])
    assert (found["matters_most"], found["turns"]) == ("unknown origin on the top country", True)
    nearer = row(held, [], [tried("governance_plus_se", False, 0.39)])
    assert nearer["matters_most"] == "governance_plus_se"
    limits = row(
        flag(True, alternatives=2, agreement=0.5, flips_on="thresholds +10%"), [], [tried("export_basis", False)]
    )
    assert limits["matters_most"] == "thresholds +10%"


def test_where_none_turns_it_the_one_that_moves_the_figure_most_by_its_limit() -> None:
    others = [
        tried("three_year_window", True, 0.6),  # .1 of .4
        tried("export_basis", True, 0.3, indicator="G2", base_value=0.1, threshold=0.5),  # .2 of .5
        tried("without_patches", True, None),
        tried("other_measure", True, 9.0, counted=False),
        tried("governance_plus_se", None, 7.0),
    ]
    found = row(flag(True), [], others)
    assert (found["matters_most"], found["turns"]) == ("export_basis", False)
    downward = row(flag(True), [], [tried("three_year_window", True, 0.1), tried("without_patches", True, 0.8)])
    assert downward["matters_most"] == "three_year_window"
    # By its limit, not by itself: .1 of .4 is more than .2 of 1; and a limit below 0 is as far as one above.
    ratio = tried("export_basis", True, 1.4, indicator="S1", base_value=1.2, threshold=1.0)
    assert row(flag(True), [], [tried("three_year_window", True, 0.6), ratio])["matters_most"] == "three_year_window"
    below = tried("export_basis", True, 0.9, threshold=-0.4)
    assert row(flag(True), [], [tried("three_year_window", True, 0.6), below])["matters_most"] == "export_basis"
    same = row(flag(True), [], [tried("three_year_window", True, 0.4), tried("without_patches", True, 0.4)])
    assert same["matters_most"] == "without_patches"  # of equals the nearest
    nothing = row(flag(True), [], [tried("without_patches", True, None)])
    assert (nothing["matters_most"], nothing["turns"]) == (None, None)


def test_every_alternative_has_a_place_and_words_in_two_languages() -> None:
    # The other measure asks another question: it never counts and is not among them.
    assert set(ALTERNATIVE_INPUTS) - {"other_measure"} <= set(NEAREST)
    assert [words_for(name) for name in list(NEAREST)[2:]] == [
        ("governance risk a standard error lower", "bestuursrisico een standaardfout lager"),
        ("governance risk a standard error higher", "bestuursrisico een standaardfout hoger"),
        ("unknown origin counted with the top country", "onbekende herkomst bij het grootste land geteld"),
        (
            "production as the statistic has it, the rest of unknown origin",
            "productie zoals de statistiek haar geeft, de rest van onbekende herkomst",
        ),
        ("intensities of the chain halved", "intensiteiten in de keten gehalveerd"),
        ("intensities of the chain half as high again", "intensiteiten in de keten anderhalf maal"),
        ("the other basis (traced supply or imports)", "de andere grondslag (herleid aanbod of invoer)"),
        ("direct imports instead of traced supply", "directe invoer in plaats van herleid"),
        ("exports in the place of production", "uitvoer in plaats van productie"),
        ("flows of three years", "stromen van drie jaar"),
        ("the year before", "het jaar ervoor"),
        ("the year after", "het jaar erna"),
        ("codes of another HS revision", "codes van een andere HS-revisie"),
    ]
    assert words_for("thresholds -10%") == ("limits 10 % lower", "grenzen 10 % lager")
    assert words_for("thresholds +2.5%") == ("limits 2.5 % higher", "grenzen 2,5 % hoger")
    assert words_for("something new") == ("something new", "something new")
    assert words_for("thresholds -2.5%") == ("limits 2.5 % lower", "grenzen 2,5 % lager")
    assert nearness("thresholds -10%") == 0
    assert nearness("thresholds +10%") == 1
    assert nearness("other_revision") == len(NEAREST) - 1
    assert nearness("something new") == len(NEAREST)


# -- sentences -----------------------------------------------------------------------------------------------

BEFORE = flag(True, alternatives=4, agreement=0.75, flips_on="the year before")
STEADY = flag(True, alternatives=4, agreement=1.0)


@pytest.mark.parametrize(
    ("held", "draws", "others", "english", "dutch"),
    [
        (
            BEFORE, [drawn(0.979)], [],
            "Not robust: the same in 97.9 % of 1000 draws (75 % is asked) and under 3 of 4 alternatives (all are "
            "asked). It turns on: the year before.",
            "Niet robuust: hetzelfde in 97,9 % van 1000 trekkingen (75 % wordt gevraagd) en onder 3 van 4 "
            "alternatieven (alle worden gevraagd). Het keert om bij: het jaar ervoor.",
        ),
        (
            STEADY, [drawn(1.0)], [tried("three_year_window", True, 0.6)],
            "Robust: the same in 100 % of 1000 draws and under 5 of 5 alternatives. No alternative turns it; what "
            "moves its deciding figure most: flows of three years.",
            "Robuust: hetzelfde in 100 % van 1000 trekkingen en onder 5 van 5 alternatieven. Geen alternatief keert "
            "het om; wat het beslissende cijfer het meest verschuift: stromen van drie jaar.",
        ),
        (
            STEADY, [drawn(0.9)], [],
            "Robust: the same in 90 % of 1000 draws and under 4 of 4 alternatives.",
            "Robuust: hetzelfde in 90 % van 1000 trekkingen en onder 4 van 4 alternatieven.",
        ),
        (
            BEFORE, [drawn(0.7499)], [tried("export_basis", False)],
            "Not robust: the same in 74.9 % of 1000 draws (75 % is asked) and under 3 of 5 alternatives (all are "
            "asked). It turns on: exports in the place of production; the year before.",
            "Niet robuust: hetzelfde in 74,9 % van 1000 trekkingen (75 % wordt gevraagd) en onder 3 van 5 "
            "alternatieven (alle worden gevraagd). Het keert om bij: uitvoer in plaats van productie; het jaar ervoor.",
        ),
        (
            flag(True, alternatives=2, agreement=0.5, flips_on="thresholds +10%"), [], [],
            "Not robust: the same under 1 of 2 alternatives, where all are asked; no draws were made of it. It turns "
            "on: limits 10 % higher.",
            "Niet robuust: hetzelfde onder 1 van 2 alternatieven, waar alle worden gevraagd; er zijn geen trekkingen "
            "van gemaakt. Het keert om bij: grenzen 10 % hoger.",
        ),
        (
            flag(False), [drawn(0.5)], [],
            "Not robust: the same in 50 % of 1000 draws, where 75 % is asked; there is no alternative to compare "
            "it with.",
            "Niet robuust: hetzelfde in 50 % van 1000 trekkingen, waar 75 % wordt gevraagd; er is geen alternatief om "
            "mee te vergelijken.",
        ),
        (
            flag(True), [drawn(0.0)], [tried("export_basis", True)],
            "Not robust: the same in 0 % of 1000 draws (75 % is asked) and under 1 of 1 alternatives (all are asked).",
            "Niet robuust: hetzelfde in 0 % van 1000 trekkingen (75 % wordt gevraagd) en onder 1 van 1 alternatieven "
            "(alle worden gevraagd).",
        ),
        (
            flag(False), [drawn(0.1)], [],
            "It cannot be told whether it is robust: the same in 90 % of 1000 draws, but there is no alternative to "
            "compare it with.",
            "Of het robuust is, is niet te zeggen: hetzelfde in 90 % van 1000 trekkingen, maar er is geen alternatief "
            "om mee te vergelijken.",
        ),
        (
            STEADY, [drawn(None, 2)], [],
            "It cannot be told whether it is robust: the same under 4 of 4 alternatives, but none of 2 draws gives a "
            "verdict.",
            "Of het robuust is, is niet te zeggen: hetzelfde onder 4 van 4 alternatieven, maar geen van 2 trekkingen "
            "geeft een oordeel.",
        ),
        (
            STEADY, [drawn(0.99999)], [],
            "Robust: the same in 99.9 % of 1000 draws and under 4 of 4 alternatives.",
            "Robuust: hetzelfde in 99,9 % van 1000 trekkingen en onder 4 van 4 alternatieven.",
        ),
        (
            BEFORE, [], [],
            "Not robust: the same under 3 of 4 alternatives, where all are asked; no draws were made of it. It turns "
            "on: the year before.",
            "Niet robuust: hetzelfde onder 3 van 4 alternatieven, waar alle worden gevraagd; er zijn geen trekkingen "
            "van gemaakt. Het keert om bij: het jaar ervoor.",
        ),
        (
            STEADY, [], [tried("export_basis", True, 0.6)],
            "It cannot be told whether it is robust: the same under 5 of 5 alternatives, but no draws were made of it. "
            "No alternative turns it; what moves its deciding figure most: exports in the place of production.",
            "Of het robuust is, is niet te zeggen: hetzelfde onder 5 van 5 alternatieven, maar er zijn geen trekkingen "
            "van gemaakt. Geen alternatief keert het om; wat het beslissende cijfer het meest verschuift: uitvoer in "
            "plaats van productie.",
        ),
        (
            flag(True), [], [],
            "It cannot be told whether it is robust: no draws were made of it, and there is no alternative to compare "
            "it with.",
            "Of het robuust is, is niet te zeggen: er zijn geen trekkingen van gemaakt, en er is geen alternatief om "
            "mee te vergelijken.",
        ),
    ],
)  # fmt: skip
def test_the_sentence(
    held: dict[str, Any], draws: list[dict[str, Any]], others: list[dict[str, Any]], english: str, dutch: str
) -> None:
    found = row(held, draws, others)
    assert found["reason"] == english
    assert found["reason_nl"] == dutch


# -- as a whole ----------------------------------------------------------------------------------------------

shares = st.one_of(st.none(), st.floats(0, 1))
verdicts = st.sampled_from([True, False, None])
names = st.lists(st.sampled_from([n for n in ALTERNATIVE_INPUTS if n != "other_measure"]), unique=True, max_size=6)


@settings(max_examples=60, deadline=None)
@given(verdicts, verdicts, shares, names, st.data())
def test_what_always_holds(
    flagged: bool | None, indicated: bool | None, share: float | None, chosen: list[str], data: st.DataObject
) -> None:
    others = [tried(n, data.draw(verdicts), data.draw(st.one_of(st.none(), st.floats(0, 2)))) for n in chosen]
    found = row(flag(flagged, indicated=None if flagged is not None else indicated), [drawn(share)], others)
    verdict = flagged if flagged is not None else indicated
    compared = [o for o in others if o["agrees"] is not None]
    same = [o for o in compared if o["agrees"]]
    # By hand, one row at a time.
    agreement = len(same) / len(compared) if compared else None
    draws = None if share is None or verdict is None else (share if verdict else 1 - share)
    assert found["alternatives"] == len(compared)
    assert found["agreement"] == (None if agreement is None else pytest.approx(agreement))
    assert found["draw_agreement"] == (None if draws is None else pytest.approx(draws, abs=1e-9))
    if verdict is None:
        assert found["robust"] is None
    elif (agreement is not None and agreement < 1.0) or (draws is not None and draws < 0.75):
        assert found["robust"] is False
    else:
        assert found["robust"] is (None if agreement is None or draws is None else True)
    turning = [o["alternative"] for o in compared if not o["agrees"]]
    if verdict is not None and turning:
        assert found["matters_most"] == min(turning, key=nearness)
        assert found["turns"] is True
    assert found["reason"].endswith(".")
    assert found["reason_nl"].endswith(".")


def test_year_after_year_is_the_same_as_all_at_once() -> None:
    years = (2022, 2023, 2024)
    flags = FLAGS.conform([{**BEFORE, "year": y, "method": m} for y in years for m in ("cbs", "geodep")])
    draws = DRAWN_VERDICTS.conform([drawn(0.9, year=y) for y in years])
    others = ALTERNATIVES.conform([tried("export_basis", False, year=2024)])

    def of(table: pa.Table, year: int) -> pa.Table:
        return table.filter(pc.field("year") == year)

    stream = robustness_stream(
        [2024, 2022, 2023], lambda y: of(flags, y).select(FLAG_COLUMNS), lambda y: of(draws, y), others, thresholds()
    )
    streamed = pa.Table.from_batches(list(stream.batches), ROBUSTNESS.schema())
    assert streamed.equals(build_robustness(flags, draws, others, thresholds()))
    assert streamed.num_rows == 6
    assert one(streamed, year=2024, method="geodep")["alternatives"] == 5
    nothing = robustness_stream([], lambda y: of(flags, y), lambda y: of(draws, y), others, thresholds())
    assert not list(nothing.batches)


def test_the_nearest_of_equals_is_the_first_of_many_verdicts_too() -> None:
    # Two verdicts in one table, each with its own alternatives: none of them takes what is the other's.
    other = {**PLACE, "code": "280540"}
    found = robustness(
        [flag(True, alternatives=1, agreement=0.0, flips_on="the year after"), flag(True, **{"code": "280540"})],
        [drawn(0.8), drawn(0.6, **{"code": "280540"})],
        [tried("export_basis", True, 0.9), tried("without_patches", True, 0.5, **{"code": "280540"})],
    )
    first, second = one(found, **PLACE), one(found, **other)
    assert (first["alternatives"], first["agreement"], first["matters_most"], first["turns"]) == (
        2, 0.5, "the year after", True,
    )  # fmt: skip
    assert (second["alternatives"], second["agreement"], second["matters_most"], second["turns"]) == (
        1, 1.0, "without_patches", False,
    )  # fmt: skip
    assert (first["robust"], second["robust"]) == (False, False)


def test_without_any_verdict_the_table_is_empty() -> None:
    assert robustness([]).schema == ROBUSTNESS.schema()
    assert robustness([]).num_rows == 0


# -- what is asked for ---------------------------------------------------------------------------------------


def under(limit: float, held: dict[str, Any], draws: Iterable[dict[str, Any]] = ()) -> dict[str, Any]:
    asked = thresholds().robustness.model_copy(update={"robust_from": limit})
    found: dict[str, Any] = one(
        build_robustness(
            FLAGS.conform([held]).select(FLAG_COLUMNS),
            DRAWN_VERDICTS.conform(draws),
            ALTERNATIVES.conform([]),
            thresholds().model_copy(update={"robustness": asked}),
        )
    )
    return found


def test_a_limit_with_a_decimal_is_written_in_each_language() -> None:
    found = under(0.925, BEFORE, [drawn(0.9)])
    assert "in 90 % of 1000 draws (92.5 % is asked) and" in found["reason"]
    assert "in 90 % van 1000 trekkingen (92,5 % wordt gevraagd) en" in found["reason_nl"]


def test_where_nothing_is_asked_no_draw_that_agrees_is_still_a_draw() -> None:
    found = under(0.0, flag(True), [drawn(0.0)])
    assert found["robust"] is None
    assert found["reason"] == (
        "It cannot be told whether it is robust: the same in 0 % of 1000 draws, but there is no alternative to compare "
        "it with."
    )
    assert found["reason_nl"] == (
        "Of het robuust is, is niet te zeggen: hetzelfde in 0 % van 1000 trekkingen, maar er is geen alternatief om "
        "mee te vergelijken."
    )


@pytest.mark.filterwarnings("error")
def test_drawn_verdicts_of_other_items_are_passed_over_without_a_warning() -> None:
    other = {"code": "280540"}
    found = robustness([flag(True)], [drawn(0.2, **other), drawn(0.9)], [tried("export_basis", False, **other)])
    assert (one(found)["draw_agreement"], one(found)["alternatives"]) == (0.9, 0)
    assert (one(found)["matters_most"], one(found)["turns"]) == (None, None)


def test_no_verdict_is_not_one_that_fails_whatever_the_alternatives_say() -> None:
    found = row(flag(None), [drawn(0.2)], [tried("export_basis", False, 0.9)])
    assert (found["robust"], found["matters_most"], found["turns"]) == (None, None, None)
    assert found["agreement"] == 0.0


def test_what_moves_one_verdict_is_not_what_moves_another() -> None:
    other = {"code": "280540"}
    found = robustness(
        [flag(True), flag(True, **other)], [], [tried("export_basis", True, 0.9), tried("export_basis", True, **other)]
    )
    assert one(found, **PLACE)["matters_most"] == "export_basis"
    assert one(found, **{**PLACE, **other})["matters_most"] is None
