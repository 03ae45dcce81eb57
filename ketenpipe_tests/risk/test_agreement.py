"""Methods side by side: counts by hand and one by one, and why methods differ in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ketenpipe.risk.agreement import AGREEMENT_COLUMNS, build_agreement, build_differences, figure_beside
from ketenpipe.risk.facts import collect_facts
from ketenpipe.risk.methods import Judgement
from ketenpipe.tables.registry import FLAGS, METHODS
from ketenpipe_tests.risk.test_named_methods import HOLDS, industry, judged, row
from ketenpipe_tests.worlds import REVISION, chain_world, one, rows, thresholds

Said = tuple[bool | None, bool | None]
YES, NO, OPEN, HINTED, DOUBTED = (True, None), (False, None), (None, None), (None, True), (None, False)


def verdict(method: str, code: str, said: Said, **columns: Any) -> dict[str, Any]:
    return {
        "focus": "NLD", "level": "hs6", "code": code, "hs_revision": REVISION, "group": None, "tier": 0, "year": 2020,
        "method": method, "flagged": said[0], "indicated": said[1], "method_version": "1",
    } | columns  # fmt: skip


def table(made: Iterable[dict[str, Any]]) -> pa.Table:
    return FLAGS.conform(made)


def side_by_side(first: Sequence[Said], second: Sequence[Said]) -> dict[str, Any]:
    made = [verdict(m, str(n), s) for m, held in (("geodep", first), ("cbs", second)) for n, s in enumerate(held)]
    return one(build_agreement([table(made)]), method_a="geodep", method_b="cbs")


# -- counts --------------------------------------------------------------------------------------------------


def test_counts_by_hand() -> None:
    # Eight items: both, both, only a, only b, only b, only b, neither, and one that the second cannot tell.
    first = [YES, YES, YES, NO, NO, NO, NO, YES]
    second = [YES, YES, NO, YES, YES, YES, NO, HINTED]
    found = side_by_side(first, second)
    counted = [found[n] for n in ("flagged_by_both", "only_a", "only_b", "neither", "untold")]
    assert counted == [2, 1, 3, 1, 1]
    assert found["jaccard"] == pytest.approx(2 / 6)
    # With the indication the last is one that both flag.
    assert [found[f"{n}_indicated"] for n in ("flagged_by_both", "only_a", "only_b")] == [3, 1, 3]
    assert found["jaccard_indicated"] == pytest.approx(3 / 7)
    assert (found["focus"], found["level"], found["hs_revision"], found["year"]) == ("NLD", "hs6", REVISION, 2020)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("said", [[NO, NO], [OPEN, DOUBTED]])
def test_nothing_flagged_has_no_jaccard(said: Sequence[Said]) -> None:
    found = side_by_side(said, [NO, NO])
    assert (found["jaccard"], found["jaccard_indicated"], found["flagged_by_both"]) == (None, None, 0)
    assert found["untold"] == (0 if said == [NO, NO] else 2)


def test_a_method_that_tells_nothing_has_indications_only() -> None:
    found = side_by_side([YES, NO, NO], [HINTED, HINTED, DOUBTED])
    assert (found["untold"], found["jaccard"]) == (3, None)
    assert found["jaccard_indicated"] == pytest.approx(1 / 2)


def test_only_items_that_both_judge_are_compared() -> None:
    made = [verdict("geodep", "1", YES), verdict("cbs", "2", YES), verdict("tno", "1", YES), verdict("tno", "2", NO)]
    found = {(r["method_a"], r["method_b"]): r for r in build_agreement([table(made)]).to_pylist()}
    assert set(found) == {("geodep", "tno"), ("cbs", "tno")}
    assert (found["geodep", "tno"]["flagged_by_both"], found["cbs", "tno"]["only_a"]) == (1, 1)


@pytest.mark.filterwarnings("error")
def test_items_are_told_apart_by_all_of_their_key() -> None:
    # The same node in two groups, and at two tiers, is as many items; foci, levels and revisions are sets of their own.
    places: list[dict[str, Any]] = [
        {"level": "node", "group": "a", "tier": 1}, {"level": "node", "group": "b", "tier": 1},
        {"level": "node", "group": "b", "tier": 2},
    ]  # fmt: skip
    made = [verdict(m, "ore", YES, **p) for p in places for m in ("geodep", "cbs")]
    made += [verdict("geodep", "ore", NO), verdict("cbs", "ore", YES)]
    made += [verdict(m, "ore", NO, focus="EU27") for m in ("geodep", "cbs")]
    made += [verdict(m, "ore", YES, hs_revision="HS17") for m in ("geodep", "cbs")]
    made += [verdict(m, "C20", YES, level="industry", hs_revision=None, tier=None) for m in ("geodep", "cbs")]
    found = {(r["focus"], r["level"], r["hs_revision"]): r for r in build_agreement([table(made)]).to_pylist()}
    assert found["NLD", "node", REVISION]["flagged_by_both"] == 3
    assert found["NLD", "hs6", REVISION]["only_b"] == 1
    assert found["EU27", "hs6", REVISION]["neither"] == 1
    assert found["NLD", "hs6", "HS17"]["flagged_by_both"] == 1
    assert found["NLD", "industry", None]["flagged_by_both"] == 1
    assert len(found) == 5


def test_years_may_come_one_by_one_or_together_and_text_as_dictionaries() -> None:
    flags = chain_world().flags.select(AGREEMENT_COLUMNS)
    later = flags.set_column(
        flags.schema.get_field_index("year"), flags.schema.field("year"), pa.array([2021] * flags.num_rows, pa.int32())
    )
    together = build_agreement([pa.concat_tables([flags, later])])
    assert together.equals(build_agreement([flags, flags.slice(0, 0), later]))
    coded = pa.table(
        {n: c.dictionary_encode() if pa.types.is_string(c.type) else c
         for n, c in zip(flags.column_names, flags.columns, strict=True)}
    )  # fmt: skip
    assert build_agreement([coded]).equals(build_agreement([flags]))
    assert together.num_rows == 2 * build_agreement([flags]).num_rows > 0
    assert build_agreement([]).num_rows == 0


SAYS = st.sampled_from([YES, NO, OPEN, HINTED, DOUBTED, None])


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["NLD", "EU27"]), st.sampled_from(["hs6", "group"]), *[SAYS] * 4), min_size=1,
        max_size=12,
    )
)  # fmt: skip
def test_counts_one_by_one(items: list[tuple[Any, ...]]) -> None:
    methods = ("geodep", "cbs", "tno", "node_test")
    made = [
        verdict(m, str(n), said, focus=focus, level=level)
        for n, (focus, level, *sayings) in enumerate(items)
        for m, said in zip(methods, sayings, strict=True)
        if said is not None
    ]
    found = {
        (r["focus"], r["level"], r["method_a"], r["method_b"]): r for r in build_agreement([table(made)]).to_pylist()
    }
    for focus in ("NLD", "EU27"):
        for level in ("hs6", "group"):
            for a, b in combinations(range(4), 2):
                mine = [i[2:] for i in items if i[:2] == (focus, level)]
                pairs = [(s[a], s[b]) for s in mine if s[a] is not None and s[b] is not None]
                r = found.pop((focus, level, methods[a], methods[b]), None)
                assert (r is None) == (not pairs)
                if r is None:
                    continue
                for suffix, pick in (("", lambda s: s[0]), ("_indicated", lambda s: s[1] if s[0] is None else s[0])):
                    told = [(pick(x), pick(y)) for x, y in pairs]
                    both = sum(x is True and y is True for x, y in told)
                    only = [
                        sum(x is True and y is False for x, y in told),
                        sum(x is False and y is True for x, y in told),
                    ]
                    assert [r[f"flagged_by_both{suffix}"], r[f"only_a{suffix}"], r[f"only_b{suffix}"]] == [both, *only]
                    union = both + sum(only)
                    assert r[f"jaccard{suffix}"] == (pytest.approx(both / union) if union else None)
                assert r["neither"] == sum(x[0] is False and y[0] is False for x, y in pairs)
                assert r["untold"] == sum(x[0] is None or y[0] is None for x, y in pairs)
                assert sum(r[n] for n in ("flagged_by_both", "only_a", "only_b", "neither", "untold")) == len(pairs)
    assert not found


def test_pairs_stand_once_in_the_order_of_the_registry() -> None:
    made = [verdict(m, "1", YES) for m in METHODS]
    found = [(r["method_a"], r["method_b"]) for r in build_agreement([table(made)]).to_pylist()]
    assert sorted(found) == sorted(combinations(METHODS, 2))


def test_a_set_agrees_with_itself() -> None:
    chance = np.random.default_rng(3)
    said = [YES if u < 0.3 else NO for u in chance.random(50)]
    assert side_by_side(said, said)["jaccard"] == 1.0
    assert side_by_side(said, [NO if s is YES else YES for s in said])["jaccard"] == 0.0


# -- figures in words ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "cut", "expected"),
    [
        (0.31, 0.4, "0.31"), (0.4, 0.4, "0.4"), (0.40001, 0.4, "0.40001"), (0.39999, 0.4, "0.39999"),
        (0.123456, 0.4, "0.123"), (9999.0, 1.0, "9999"), (1234.56, 1.0, "1235"), (999.9, 1.0, "1000"),
        (99.96, 1.0, "100"), (100.4, 100.0, "100.4"),
        (0.6499999, 0.65, "0.6499999"), (2.0, 2.0, "2"), (0.4 + 1e-16, 0.4, "0.4000000000000001"),
        (0.1 + 2e-17, 0.1, "0.10000000000000002"),
    ],
)  # fmt: skip
def test_a_figure_shows_on_which_side_it_lies(value: float, cut: float, expected: str) -> None:
    assert figure_beside(value, cut) == expected


@settings(max_examples=200)
@given(st.floats(0.0, 999.0), st.sampled_from([0.15, 0.25, 0.4, 0.5, 0.65, 1.0, 2.8]))
def test_a_figure_in_words_is_on_the_side_of_the_figure(value: float, cut: float) -> None:
    text = float(figure_beside(value, cut))
    assert (text > cut, text == cut) == (value > cut, value == cut)


# -- why methods differ --------------------------------------------------------------------------------------


def lines(why: str, separator: str = "; ") -> dict[str, str]:
    return dict(part.split(": ", 1) for part in why.split(separator))


def test_why_methods_differ_by_hand() -> None:
    made = [
        *(row(i, v, y, focus="NLD") for y in (2018, 2019, 2020) for i, v in (HOLDS | {"C1": 0.3, "C2": 0.35}).items()),
        row("C4a", 0.7, focus="NLD", country="CHN"),
        row("O1", 0.9, focus="NLD"), row("G2", 0.6, focus="NLD"), row("T", 1.0, focus="NLD", reason="export_proxy"),
        row("C3", 0.5, focus="NLD", reason="material: Ore"),
    ]  # fmt: skip
    found = one(build_differences(judged(made)))
    assert (found["focus"], found["level"], found["code"], found["group"], found["tier"], found["year"]) == (
        "NLD", "hs6", "100001", None, 0, 2020,
    )  # fmt: skip
    assert (found["flagging"], found["not_flagging"], found["untold"]) == ("cbs, crma65", "geodep", "tno, node_test")
    assert found["why"] == (
        "geodep no: C1 0.3 <= 0.4, C2 0.35 <= 0.4; cbs yes: C1 0.3 > 0.25; "
        "crma65 yes: C4a 0.7 > 0.65 (decided on direct imports, because production is not observed); "
        "tno cannot tell: no country of the mix has a governance score; "
        "node_test cannot tell: production is only an export proxy, a lower bound, the figures suggest yes"
    )
    assert found["why_nl"] == (
        "geodep nee: C1 0,3 <= 0,4, C2 0,35 <= 0,4; cbs ja: C1 0,3 > 0,25; "
        "crma65 ja: C4a 0,7 > 0,65 (beslist op directe invoer, omdat productie niet is waargenomen); "
        "tno niet te zeggen: geen bestuursscore; "
        "node_test niet te zeggen: productie is slechts een schatting uit de uitvoer, een ondergrens, de cijfers "
        "wijzen op ja"
    )


def test_at_least_and_indications_in_words() -> None:
    made = [
        row("M", 5.0), row("C1", 0.9), row("G5", 0.9), row("EI", 2.8), row("G4", 0.2), industry("A", 1.0),
    ]  # fmt: skip
    found = one(build_differences(judged(made, products={"100001": "A"})))
    assert (found["flagging"], found["not_flagging"]) == ("cbs", "ec_criticality")
    told = lines(found["why"])
    assert told["ec_criticality no"] == "G5 0.9 < 1"
    assert told["geopolrisk cannot tell"] == ("rank 1 of 1, a rank only, no loss in money, the figures suggest no")
    assert "geopolrisk niet te zeggen: rang 1 van 1, alleen een rangorde" in found["why_nl"]
    assert told["foreign_input_reliance cannot tell"] == (
        "one recipe stands for all products of the industry: indicative only, the figures suggest no"
    )
    critical = [row("M", 5.0), row("C1", 0.1), row("G5", 1.0), row("EI", 2.8)]
    assert lines(one(build_differences(judged(critical)))["why"])["ec_criticality yes"] == "G5 1 >= 1, EI 2.8 >= 2.8"


def test_each_reason_of_several_stands_in_words() -> None:
    made = [
        row("M", 5.0), row("C1", 0.9), row("C3", None, reason="material: Ore"),
        industry("A", 1.0, basis="synthetic"), row("C4a", 0.1),
    ]  # fmt: skip
    found = one(build_differences(judged(made, products={"100001": "A"})))
    assert lines(found["why"])["foreign_input_reliance cannot tell"] == (
        "one recipe stands for all products of the industry: indicative only, the input-output table is made up, the "
        "figures suggest no"
    )
    assert lines(found["why_nl"])["foreign_input_reliance niet te zeggen"] == (
        "één recept staat voor alle producten van de bedrijfstak: slechts indicatief, de input-outputtabel is "
        "verzonnen, de cijfers wijzen op nee"
    )
    # A name that a source gives is no word of the list: it stands as it is.
    assert lines(found["why"])["tno cannot tell"] == "material: Ore"
    assert lines(found["why_nl"])["tno niet te zeggen"] == "material: Ore"


def test_an_item_without_a_tier_has_none() -> None:
    made = [row(i, v, tier=None) for i, v in (("M", 5.0), ("C1", 0.9), ("C4a", 0.1))]
    found = one(build_differences(judged(made, ["cbs", "crma65"])))
    assert (found["flagging"], found["not_flagging"], found["tier"], found["group"]) == ("cbs", "crma65", None, None)


def test_a_product_that_fails_by_the_one_figure_it_has() -> None:
    """Upstream passes by world production; of the product itself only G2 is known, and that fails it."""
    head: dict[str, Any] = {"level": "group", "code": "g", "group": "g"}
    input_: dict[str, Any] = {"level": "node", "code": "ore", "group": "g", "tier": 1}
    made = [
        *(row(i, v, **head) for i, v in (("M", 5.0), ("C1", 0.1), ("G2", 0.1), ("T", 0.0))),
        row("T", 1.0, **head) | {"indicator": "X1g"},
        row("C3", 0.9, **input_), row("G2", 0.8, **input_, measure="p", basis="observed"),
    ]  # fmt: skip
    found = one(build_differences(judged(made, ["cbs", "indirect_global"])))
    assert found["why"] == (
        "cbs no: C1 0.1 <= 0.25; "
        "indirect_global yes: the product itself G2 0.1 <= 0.5, C3 0.9 > 0.4 (ore), G2 0.8 > 0.5 (ore)"
    )


def test_a_window_that_says_otherwise_than_the_year() -> None:
    made = [row(i, v, y) for y, c1 in ((2018, 0.9), (2019, 0.9), (2020, 0.1)) for i, v in (HOLDS | {"C1": c1}).items()]
    found = one(build_differences(judged(made, ["geodep", "cbs"])))
    assert found["why"] == "geodep yes: P1 2 >= 2; cbs no: C1 0.1 <= 0.25"


def test_methods_that_agree_make_no_row() -> None:
    assert build_differences(judged([row("M", 5.0), row("C1", 0.9), row("C4a", 0.9)])).num_rows == 0
    # One flags, the others cannot tell: no difference that is known.
    made = [row("M", 5.0), row("C1", 0.9), row("T", 1.0, reason="export_proxy"), row("O1", 0.1), row("G2", 0.9)]
    assert build_differences(judged(made, ["cbs", "node_test"])).num_rows == 0
    assert build_differences(judged([])).num_rows == 0


def test_the_newest_year_of_each_revision() -> None:
    def pair(year: int, revision: str) -> list[dict[str, Any]]:
        return [row(i, v, year, hs_revision=revision) for i, v in (("M", 5.0), ("C1", 0.9), ("C4a", 0.1))]

    made = [*pair(2019, REVISION), *pair(2020, REVISION), *pair(2020, "HS17"), *pair(2021, "HS17")]
    found = build_differences(judged(made)).to_pylist()
    assert [(r["hs_revision"], r["year"]) for r in found] == [(REVISION, 2020), ("HS17", 2021)]
    assert {r["why"] for r in found} == {
        "geodep cannot tell: the window is incomplete; swd2021 cannot tell: the sources hold no such figure for it; "
        "cbs yes: C1 0.9 > 0.25; crma65 no: C4a 0.1 <= 0.65 (decided on "
        "direct imports, because production is not observed)"
    }


def chain_differences() -> pa.Table:
    held = chain_world()
    facts = collect_facts([held.indicators.filter(pc.field("level") != "set")])
    return build_differences(Judgement(facts, held.exposure.chain_nodes, thresholds(), held.world, 1000.0))


def test_what_is_upstream_is_named() -> None:
    made = chain_differences()
    found = one(made, level="group", group="specific")
    told = lines(found["why"])
    flags = {r["method"]: r for r in rows(chain_world().flags, level="group", group="specific")}
    node = flags["indirect_specific"]["decided_at"]
    # The product fails by G2 alone (O1 .5 is above .4); its input passes by both.
    assert (
        told["indirect_specific yes"]
        == f"the product itself G2 0.15 <= 0.5, O1 1 > 0.4 ({node}), G2 0.8 > 0.5 ({node})"
    )
    assert lines(found["why_nl"])["indirect_specific ja"] == (
        f"het product zelf G2 0,15 <= 0,5, O1 1 > 0,4 ({node}), G2 0,8 > 0,5 ({node})"
    )
    assert (found["tier"], found["hs_revision"]) == (0, REVISION)
    direct = one(made, level="group", group="direct")
    assert lines(direct["why"])["indirect_specific no"].startswith("the product itself O1 1 > 0.4, G2 0.8 > 0.5")


def test_every_method_that_judges_an_item_stands_in_its_line() -> None:
    flags = chain_world().flags.to_pylist()
    key = ("focus", "level", "code", "hs_revision", "group", "tier", "year")
    held: dict[tuple[Any, ...], dict[str, Any]] = {}
    for r in flags:
        held.setdefault(tuple(r[k] for k in key), {})[r["method"]] = r["flagged"]
    expected = {k for k, said in held.items() if {True, False} <= set(said.values())}
    made = {tuple(r[k] for k in key): r for r in chain_differences().to_pylist()}
    assert set(made) == expected
    assert len(expected) > 10
    for place, r in made.items():
        told = held[place]
        for column, value in (("flagging", True), ("not_flagging", False), ("untold", None)):
            listed = set((r[column] or "").split(", ")) - {""}
            assert listed == {m for m, f in told.items() if f is value}, (place, column)
        words = {True: ("yes", "ja"), False: ("no", "nee"), None: ("cannot tell", "niet te zeggen")}
        for method, value in told.items():
            assert f"{method} {words[value][0]}: " in r["why"]
            assert f"{method} {words[value][1]}: " in r["why_nl"]


def test_a_verdict_without_a_figure_says_so() -> None:
    # An indirect dependency of a group of which no node upstream is there, and nothing says why.
    group: dict[str, Any] = {"level": "group", "code": "g", "group": "g", "focus": "NLD"}
    figures = {"M": 5.0, "C1": 0.9, "O1": 0.1, "G2": 0.9, "T": 0.0}
    x1 = row("T", 0.0, **group) | {"indicator": "X1"}
    made = [*(row(i, v, **group) for i, v in figures.items()), x1]
    found = one(build_differences(judged(made, ["cbs", "indirect_specific"])))
    assert found["why"] == "cbs yes: C1 0.9 > 0.25; indirect_specific no: no figure decides"
    assert found["why_nl"] == "cbs ja: C1 0,9 > 0,25; indirect_specific nee: geen cijfer beslist"
