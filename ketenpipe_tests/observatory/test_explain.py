"""Explanations: every figure comes out again, and does not where it was tampered with; turns by running them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from ketenpipe.observatory.explain import (
    HEADLINE_METHODS,
    HEADLINES,
    build_explanations,
    explain_figure,
    explain_verdict,
    kinds_of,
    lists_of,
)
from ketenpipe.observatory.explain_book import Book, Item
from ketenpipe.observatory.explain_figures import PARTS, Part, limit_of, same
from ketenpipe.observatory.explain_words import Percent, Words, dutch, note, number, percent, reasons, say
from ketenpipe.tables.registry import (
    EXPLANATION_PARTS,
    EXPLANATIONS,
    FLAGS,
    INDICATORS,
    INDUSTRY_EXPOSURE,
    PRODUCT_TIERS,
    SOURCES,
)
from ketenpipe_tests.observatory.explain_worlds import METAL, SALT, YEARS, book, tables, world
from ketenpipe_tests.worlds import Run, catalogue, chain_world, flows, mass, node, rows, run, thresholds

NEWEST = YEARS[-1]


def item(level: str = "group", code: str = "g", group: str | None = "g", tier: int = 0, focus: str = "NLD") -> Item:
    return Item(focus, level, code, "HS92", group, tier)


def hs6(code: str = METAL, focus: str = "NLD") -> Item:
    return item("hs6", code, None, 0, focus)


def parts(
    held: Book, about: Item, name: str, measure: str | None = None, basis: str | None = None, year: int = NEWEST
) -> list[Part]:
    for row in held.figures(about, year):
        if row["indicator"] == name and measure in (None, row["measure"]) and basis in (None, row["basis"]):
            return explain_figure(held, about, year, row)
    for row in held.verdicts(about, year):
        if row["method"] == name:
            return explain_verdict(held, about, year, row)
    raise AssertionError((about, name))


def of(found: list[Part], part: str, what: str | None = None) -> list[Part]:
    return [p for p in found if p.part == part and what in (None, p.what)]


def one(found: list[Part], part: str, what: str | None = None) -> Part:
    held = of(found, part, what)
    assert len(held) == 1, [p.what for p in found if p.part == part]
    return held[0]


def every(held: Run, levels: tuple[str, ...] = ("hs6", "node", "group", "set")) -> Counter[tuple[str, bool | None]]:
    """Of every figure and verdict of a run whether it came out."""
    seen = book(held)
    count: Counter[tuple[str, bool | None]] = Counter()
    for about, year in seen.items():
        if about.level not in levels:
            continue
        for row in seen.figures(about, year):
            count[row["indicator"], one(explain_figure(seen, about, year, row), "figure", "recomputed").holds] += 1
        for row in seen.verdicts(about, year):
            count[row["method"], one(explain_verdict(seen, about, year, row), "figure", "recomputed").holds] += 1
    return count


# -- it comes out again --------------------------------------------------------------------------------------


def test_every_figure_and_verdict_comes_out_again() -> None:
    found = every(world())
    assert {holds for _, holds in found} == {True}
    assert {"C1", "C2", "C3", "C4a", "C4b", "C5", "S1", "S1b", "S2", "G2", "G3", "O1", "O1r", "O2", "T", "M", "P1",
            "P2", "X1", "X1g", "X2", "X2_global", "hidden_exposure", "geodep", "swd2021", "cbs", "crma65", "tno",
            "node_test", "indirect_specific", "indirect_global", "geodep_criteria", "own_share", "unknown_share",
            "imputed_share", "value_without_mass"} <= {name for name, _ in found}  # fmt: skip


def test_every_case_of_the_chains_comes_out_again() -> None:
    assert {holds for _, holds in every(chain_world(), ("group",))} == {True}


def test_what_is_drawn_comes_out_again() -> None:
    # Six codes of random routes, some without a quantity, some that only go round, seen by a country and a bloc.
    draw = np.random.default_rng(7)
    places = ("BRA", "CHN", "DEU", "FRA", "NLD", "RUS")
    codes = [f"{200000 + n}" for n in range(6)]
    table = flows(
        (2020, code, i, j, float(v), None if draw.random() < 0.2 else float(draw.integers(1, 3000)))
        for code in codes
        for i in places
        for j in places
        if i != j and draw.random() < 0.3 and (v := draw.integers(1, 90000))
    )
    nodes = [node(f"n{n}", " ".join(codes[n : n + 2])) for n in range(0, 6, 2)]
    reference = catalogue(nodes, heads={f"g{n.node}": n.node for n in nodes})
    drawn = run(table, reference, ("NLD", "EU27"), risk={"CHN": 0.8, "DEU": 0.1, "RUS": 0.9})
    assert {holds for _, holds in every(drawn)} == {True}


@pytest.mark.parametrize("name", ["C1", "C2", "C3", "S1", "O1", "G2", "X2", "T"])
def test_what_was_tampered_with_does_not(name: str) -> None:
    changed = [
        r | ({"value": 1.0 - r["value"] if name == "T" else r["value"] + 0.01} if r["indicator"] == name and r["value"]
             is not None else {})
        for r in world().indicators.to_pylist()
    ]  # fmt: skip
    found = parts(book(world(), indicators=INDICATORS.conform(changed)), item(), name)
    told = one(found, "figure", "recomputed")
    assert told.holds is False
    assert "does NOT reproduce" in told.text.en
    assert "komt NIET uit" in told.text.nl


def test_a_verdict_that_was_tampered_with_does_not() -> None:
    turned = [r | {"flagged": not r["flagged"]} if r["flagged"] is not None else r for r in world().flags.to_pylist()]
    held = Book({**tables(world()), "flags": pa.Table.from_pylist(turned, schema=world().flags.schema)},
                world().reference, thresholds())  # fmt: skip
    for method in ("geodep", "cbs", "crma65", "tno", "node_test"):
        assert one(parts(held, item(), method), "figure", "recomputed").holds is False, method


def test_the_digits_that_tables_hold() -> None:
    assert same(0.123456789, 0.1234567891)
    assert not same(0.1234, 0.12341)
    assert same(None, None)
    assert not same(None, 0.0)
    assert not same(0.0, None)
    assert same(0.0, 1e-10)
    assert not same(0.0, 1e-8)


# -- what is not there ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["C2", "S1", "S2", "value_without_mass"])
def test_without_the_flows_it_says_so(name: str) -> None:
    told = one(parts(book(world(), baci_flows=None), item(), name), "figure", "recomputed")
    assert (told.holds, told.value) == (None, None)
    assert "not computed again: this home has not the year's flows" in told.text.en
    assert "niet nagerekend" in told.text.nl


def test_without_the_flows_what_rests_on_suppliers_still_comes_out() -> None:
    seen = book(world(), baci_flows=None, tracing=None, production=None, origin_mix=None)
    for name in ("C1", "M", "O1", "G2", "T", "C4b"):
        assert one(parts(seen, item(), name), "figure", "recomputed").holds is True, name


def test_without_the_statistic_and_the_tracing_it_says_so() -> None:
    told = one(parts(book(world(), mining_production=None), item(), "C3"), "figure", "recomputed")
    assert "has not the production statistic" in told.text.en
    told = one(parts(book(world(), tracing=None), item("node", "salts", "h"), "C4b"), "figure", "recomputed")
    assert "has not how they were traced" in told.text.en
    told = one(parts(book(world(), tracing=None), hs6(), "imputed_share"), "figure", "recomputed")
    assert "has not table tracing" in told.text.en
    lacking = [r for r in world().flags.to_pylist() if r["year"] == NEWEST]
    told = one(
        parts(book(world(), flags=pa.Table.from_pylist(lacking, schema=world().flags.schema)),
              Item("NLD", "set", "geodep", "HS92", None, None), "P2"),
        "figure", "recomputed",
    )  # fmt: skip
    assert told.holds is None


def test_what_goes_by_recipes_is_listed_and_not_computed_again() -> None:
    base = {"focus": "NLD", "level": "hs6", "code": METAL, "hs_revision": "HS92", "tier": 1, "year": NEWEST}
    figure = {**base, "indicator": "O1", "measure": "v", "basis": "icio_proportional", "value": 0.3, "unit": "x",
              "method_version": "1"}  # fmt: skip
    share = {k: v for k, v in base.items() if k != "level"} | {"recipe_year": 2020, "basis": "icio_proportional"}
    inputs = [
        {**share, "rank": k, "country": c, "industry": i, "share": s, "evidence": "icio_proportional"}
        for k, (c, i, s) in enumerate([("CHN", "C24", 0.5), ("UNK", None, 0.1), (None, None, 0.4)], start=1)
    ]
    seen = book(world(), indicators=INDICATORS.conform([figure]), product_tiers=PRODUCT_TIERS.conform(inputs))
    found = parts(seen, item("hs6", METAL, None, 1), "O1")
    assert one(found, "figure", "recomputed").holds is None
    assert [(p.country, p.value) for p in of(found, "flow")] == [("CHN", 0.5), ("UNK", 0.1), (None, 0.4)]
    assert of(found, "flow")[0].text.en == "China, C24: 50.0 %"
    assert of(found, "flow")[2].text.nl == "alle andere: 40,0 %"


def test_a_figure_that_is_unknown_says_why() -> None:
    about = Item("NLD", "group", "unscored", "HS92", "unscored", 0)
    found = parts(book(chain_world()), about, "G2", "q", "traced", 2020)
    assert one(found, "missing", "no_governance_score").text == Words(
        "no country of the mix has a governance score", "geen bestuursscore"
    )
    assert one(found, "turn").what == "none"
    assert one(found, "figure", "recomputed").holds is True


# -- by hand -------------------------------------------------------------------------------------------------


def test_concentration_of_imports_by_hand() -> None:
    # 2020: DEU 7,200 (600 * 1.2 t at 10), CHN 4,000: shares .642857, .357143; .413265 + .127551 = .540816.
    found = parts(book(world()), item(), "C1", "v")
    assert one(found, "formula", "numbers").text.en == "C1 = 0.6429² + 0.3571² = 0.5408"
    assert one(found, "formula", "numbers").text.nl == "C1 = 0,6429² + 0,3571² = 0,5408"
    assert [(p.country, p.value) for p in of(found, "flow")] == [
        ("DEU", pytest.approx(9 / 14)), ("CHN", pytest.approx(5 / 14)),
    ]  # fmt: skip
    assert of(found, "flow")[0].text.en == "Germany 64.3 % of imports: 7,200.0 thousand USD, 720 t"
    assert of(found, "flow")[0].text.nl == "Duitsland 64,3 % van de invoer: 7.200,0 duizend USD, 720 t"
    assert one(found, "figure", "value").text.en == (
        "C1 (Concentration of imports) of Metal goods for Netherlands, 2020: 0.5408 index 0-1; by value, direct imports"
    )
    assert one(found, "formula", "threshold").text.en == "flags at > 0.4"
    # Two suppliers never get below .5: new ones are needed. n > 1/.4 - 1/.5408 = .65: one; q^2 .5408 + (1-q)^2 = .4.
    turn = one(found, "turn")
    assert "with 1 new suppliers of equal size" in turn.text.en
    assert turn.value is not None
    assert (1 - turn.value) ** 2 * 0.540816 + turn.value**2 == pytest.approx(0.4, abs=1e-5)


def test_imports_over_exports_by_hand() -> None:
    # M 11,200, X 1,000 (100 t to GBR): 11.2. Exports of 11,200 make it 1.
    found = parts(book(world()), item(), "S1", "v")
    assert one(found, "formula", "numbers").text.en == "S1 = M / X = 11,200 / 1,000.0 thousand USD = 11.2"
    turn = one(found, "turn")
    assert (turn.value, turn.unit) == (pytest.approx(11200.0), "thousand USD")
    assert "Exports of 11,200 thousand USD would make S1 1 (they are 1,000.0)" in turn.text.en
    assert "at 1 or below it does not flag" in turn.text.en


def test_no_exports_show_the_sentinel_and_what_exports_would_do() -> None:
    found = parts(book(world()), item("group", "k", "k"), "S1", "v")
    assert one(found, "figure", "value").value is None
    assert one(found, "input", "sentinel").value == 9999.0
    assert one(found, "figure", "method_value").value == 9999.0
    assert one(found, "missing", "no_exports").text.nl == "wel invoer, geen uitvoer"
    # 150 + 150 t at 10 and RUS's 400: 3,400 thousand USD of exports would do.
    assert one(found, "turn").value == pytest.approx(3400.0)
    assert "they are 0" in one(found, "turn").text.en


def test_world_exports_name_the_exporters_and_the_bloc() -> None:
    found = parts(book(world()), item(focus="EU27"), "C2", "v")
    # CHN 400 + 800 + 700, RUS 50, EU27 100 t (NLD to GBR): 1900 / 2050, 100 / 2050, 50 / 2050.
    assert [p.country for p in of(found, "flow", "exporter")] == ["CHN", "EU27", "RUS"]
    assert of(found, "flow")[0].value == pytest.approx(1900 / 2050)
    assert "counts as one exporter" in one(found, "input", "bloc").text.en
    assert not of(parts(book(world()), item(), "C2", "v"), "input", "bloc")


def test_production_names_producers_and_what_is_unlisted() -> None:
    found = parts(book(world()), item("node", "mine", "g", 2), "C3")
    assert [(p.country, p.value) for p in of(found, "flow")] == [
        ("BRA", pytest.approx(7 / 9)), ("RUS", pytest.approx(2 / 9)),
    ]  # fmt: skip
    assert of(found, "flow")[0].text.en == "BRA 77.8 %, 700 t"
    assert one(found, "input", "material").text.en == "production of Ore, a statistic"
    assert one(found, "missing", "unlisted_producers").text.en == "listed without a figure, and left out: ZAF"
    # A list of shares has no quantities, and what it leaves open is not squared: .25 + .04.
    listed = parts(book(world()), item("node", "listed", "h", 1), "C3")
    assert one(listed, "input", "material").text.nl == "productie van listed, een aangehaalde lijst van producenten"
    assert one(listed, "formula", "numbers").text.en == "C3 = 0.5² + 0.2² = 0.29"
    assert of(listed, "flow")[0].text.en == "China 50.0 %"


def test_makers_name_the_way_and_the_hub() -> None:
    # 2020: NLD's 1,120 t: CHN 400 directly, DEU's 720 t. DEU has 800 t, all CHN's, and sells 720.
    found = parts(book(world()), item(), "O1", "q")
    maker = one(found, "flow", "maker")
    assert (maker.country, maker.value) == ("CHN", pytest.approx(1.0))
    assert maker.text.en == "China 100.0 %, bought from Germany 64.3 %, China 35.7 %"
    hub = one(found, "flow", "hub")
    assert hub.text.en == "Germany ships 64.3 % of the imports by mass and makes 0.0 % of the supply"
    assert hub.text.nl.startswith("Duitsland levert 64,3 % van de invoer naar gewicht")
    # Of a bloc the ways are not told, the hubs are.
    bloc = parts(book(world()), item(focus="EU27"), "O1", "q")
    assert "bought from" not in of(bloc, "flow", "maker")[0].text.en


def test_the_way_down_the_chain_and_the_paths() -> None:
    found = parts(book(world()), item("node", "ore", "g", 1), "O1", "q")
    steps = of(found, "flow", "step metal") + of(found, "flow", "step ore")
    assert steps[0].text.en.startswith("tier 0, Metal: China 100.0 %")
    assert steps[1].text.en.startswith("tier 1, ore: ")
    ways = of(found, "flow", "path")
    assert ways[0].text.en.startswith("way 1: metal@CHN <- ore@BRA")
    assert one(found, "flow", "other paths").value == pytest.approx(
        1.0 - sum(w.value for w in ways if w.value is not None), abs=1e-9
    )


def test_what_was_patched() -> None:
    # BEL makes no metal and sells 80 t of which it bought 50: 30 t of unknown origin. RUS makes 40 and sells 50.
    found = parts(book(world()), item(focus="EU27"), "O1", "q")
    assert one(found, "patch", "non_producer").text.en == (
        f"{METAL}: BEL makes none; 30 t that it exports beyond its imports are of unknown origin"
    )
    raised = one(found, "patch", "raised_production")
    assert (raised.country, raised.value) == ("RUS", pytest.approx(10.0))
    assert one(found, "patch", "imputed_share").value == pytest.approx(
        world().value("imputed_share", focus="EU27", level="group", code="g", year=NEWEST)
    )
    proxied = parts(book(world()), item("group", "k", "k"), "O1", "q")
    assert f"{SALT}: production is what 2 countries export" in one(proxied, "patch", "export_proxy").text.en
    assert one(proxied, "missing", "export_proxy").text.en == "production is only an export proxy, a lower bound"
    assert one(found, "missing", "shared_code").text.en == "joins metal and scrap"
    # RUS's salt has no quantity: 400 of 3,400 thousand USD.
    lacking = parts(book(world()), hs6(SALT), "C1", "q")
    assert one(lacking, "missing", "no_mass").value == pytest.approx(400.0)
    assert one(lacking, "missing", "value_without_mass").value == pytest.approx(400 / 3400)
    assert one(lacking, "missing", "coverage").text.en == "quantities cover 88.2 % of the import value"


def test_governance_shows_risks_and_three_ways_to_its_limit() -> None:
    # Salt by value: USA 1,500 (.2), CHN 1,500 (.8), RUS 400 (.9): (300 + 1200 + 360) / 3400 = .547059.
    found = parts(book(world()), item("group", "k", "k"), "G2", "v", "imports")
    assert one(found, "formula", "numbers").text.en == "G2 = 0.4412 × 0.8 + 0.4412 × 0.2 + 0.1176 × 0.9 = 0.5471"
    assert of(found, "flow")[0].text.en == "China 44.1 %, risk 0.8"
    assert one(found, "turn", "G2").text.en == "G2 would have to be 0.5; at 0.5 or below it does not flag"
    # p .8 + (1 - p) r = .5, r = (.2 * 1500 + .9 * 400) / 1900 = .347368: p = .337209.
    assert one(found, "turn", "G2 top country").value == pytest.approx((0.5 - 660 / 1900) / (0.8 - 660 / 1900))
    # 1500 r + 660 = .5 * 3400: r = .693333.
    assert one(found, "turn", "G1").value == pytest.approx(1040 / 1500)
    dark = parts(book(world()), item("group", "h", "h"), "G3", "v", "imports")
    assert one(dark, "formula", "numbers").text.en.startswith("G3 = 10 × (")
    assert "²" in one(dark, "formula", "numbers").text.en


def test_a_verdict_names_criteria_years_and_the_nearest_change() -> None:
    found = parts(book(world()), item(), "geodep")
    assert one(found, "figure", "verdict").text.en == (
        "geodep (GeoDep (CEPII)) on Metal goods for Netherlands, 2020: flagged"
    )
    assert one(found, "formula", "numbers").text.en == (
        "geodep = all three criteria in at least 2 of 3 years: 2018 yes, 2019 yes, 2020 yes -> yes"
    )
    assert one(found, "input", "2020").text.nl.startswith("2020: (C1 0,5408 > 0,4: ja) en (C2 ")
    years = one(found, "turn", "years")
    assert (years.value, years.text.en) == (2.0, "In 2 of the years that hold the criteria would have to fail")
    # The two nearest years, each with the criterion of the smallest margin.
    assert {p.what.split()[0] for p in of(found, "turn") if p.what != "years"} <= {"2018", "2019", "2020"}
    assert len({p.what.split()[0] for p in of(found, "turn") if p.what != "years"}) == 2
    assert "Policy Brief" in one(found, "formula", "method_version").text.en
    assert one(found, "formula", "leaves_out").text.nl
    assert of(found, "source")[0].what.startswith("baci:")


def test_criteria_that_must_change_together() -> None:
    # Ore of NLD: O1 and G2 both fail; both must change.
    seen = book(chain_world())
    about = Item("NLD", "group", "specific", "HS92", "specific", 0)
    found = parts(seen, about, "node_test", year=2020)
    # O1 .5 holds, G2 .15 fails: only G2 must change.
    assert not of(found, "turn", "several")
    assert one(found, "turn", "margin of G2").value == pytest.approx(-0.35)
    # The product of small imports passes neither: both must change, and each says how.
    calm = parts(seen, Item("NLD", "group", "hub", "HS92", "hub", 0), "node_test", year=2020)
    assert {p.what for p in of(calm, "turn")} >= {"margin of O1"}


def test_an_indirect_verdict_names_the_node_that_passes() -> None:
    seen = book(chain_world())
    about = Item("NLD", "group", "specific", "HS92", "specific", 0)
    found = parts(seen, about, "indirect_specific", year=2020)
    assert one(found, "figure", "verdict").value == 1.0
    assert one(found, "formula", "numbers").text.en == (
        "X1 = (tier 0 fails T: yes) and (a node of tier 1-2 passes it: yes) = 1"
    )
    assert "(G2 0.8 > 0.5: yes), path weight 0.5" in one(found, "input", "risky").text.en
    assert all(p.text.en.startswith("at risky: ") for p in of(found, "turn"))
    light = parts(seen, Item("NLD", "group", "too_light", "HS92", "too_light", 0), "X1", year=2020)
    assert one(light, "turn", "path_weight").text.en == "risky does not count: its path weighs 0.049, less than 0.05"
    direct = parts(seen, Item("NLD", "group", "direct", "HS92", "direct", 0), "X1g", year=2020)
    assert "itself passes T: it is a direct dependency" in one(direct, "turn", "tier 0").text.en


def test_figures_without_a_limit_turn_nothing() -> None:
    found = parts(book(world()), item(), "M", "v")
    assert one(found, "turn").text.en == "the figure has no limit of its own, so it turns no flag by itself"
    assert limit_of(book(world()), "M") is None
    assert limit_of(book(world()), "S2") == (1.0, "<")
    assert limit_of(book(world()), "C4a") == (0.65, ">")
    assert limit_of(book(world()), "P1") is None


# -- what would turn it, by turning it -----------------------------------------------------------------------


SPREADS = ((70, 10, 10, 10), (30, 25, 25, 20), (62, 30, 5, 3), (50, 30, 10, 10))


def test_the_share_that_turns_a_flag_turns_it() -> None:
    """The flows are changed as the explanation says, and run again: on the limit, and beyond it the flag turns."""
    names = ("BRA", "CHN", "RUS", "USA")
    spreads = [{c: w / sum(s) for c, w in zip(names, s, strict=True)} for s in SPREADS]

    def made(mixes: list[dict[str, float]]) -> Run:
        table = flows(
            row
            for n, mix in enumerate(mixes)
            for row in mass(2020, f"{300000 + n}", *((c, "NLD", 1e5 * s) for c, s in mix.items()))
        )
        return run(table, catalogue([node("a", "300000")]))

    def with_top_at(mix: dict[str, float], top: str, p: float) -> dict[str, float]:
        return {c: p if c == top else s / (1.0 - mix[top]) * (1.0 - p) for c, s in mix.items()}

    first = made(spreads)
    changed: list[dict[str, float]] = []
    for n, mix in enumerate(spreads):
        turn = one(parts(book(first), hs6(f"{300000 + n}"), "C1", "v", year=2020), "turn")
        assert turn.country is not None
        assert turn.value is not None
        step = 0.01 if turn.value > mix[turn.country] else -0.01
        changed += [with_top_at(mix, turn.country, turn.value), with_top_at(mix, turn.country, turn.value + step)]
    again = made(changed)
    for n in range(len(spreads)):
        before = first.row("C1", level="hs6", code=f"{300000 + n}", measure="v")["value"]
        at, beyond = (again.row("C1", level="hs6", code=f"{300000 + 2 * n + k}", measure="v")["value"] for k in (0, 1))
        assert at == pytest.approx(0.4, abs=1e-4)
        assert (before > 0.4) != (beyond > 0.4)


# -- the table -----------------------------------------------------------------------------------------------


def test_the_table_covers_the_headlines_of_every_group() -> None:
    found = build_explanations(tables(world()), world().reference, thresholds())
    EXPLANATIONS.check(found)
    assert PARTS == EXPLANATION_PARTS
    held = found.to_pylist()
    assert {r["year"] for r in held} == {NEWEST}
    assert {r["level"] for r in held} == {"group"}
    assert {(r["focus"], r["code"]) for r in held} == {(f, g) for f in ("NLD", "EU27") for g in ("g", "h", "k")}
    assert {r["indicator"] for r in held} == {name for name, _, _ in HEADLINES} | set(HEADLINE_METHODS)
    told = rows(found, what="recomputed")
    assert {r["holds"] for r in told} == {True}
    assert len(told) == len({(r["focus"], r["code"], r["indicator"]) for r in held})
    # Of several bases of an indicator one is explained: the headline's.
    assert {(r["measure"], r["basis"]) for r in rows(found, indicator="G2")} == {("q", "traced")}
    for r in held:
        assert r["text_en"]
        assert r["text_nl"]


def test_lines_stand_in_reading_order() -> None:
    found = rows(build_explanations(tables(world()), world().reference, thresholds()),
                 focus="NLD", code="g", indicator="C1")  # fmt: skip
    assert [r["position"] for r in found] == list(range(1, len(found) + 1))
    order = [PARTS.index(r["part"]) for r in found]
    assert order == sorted(order)


def test_the_table_needs_no_table_but_the_figures() -> None:
    few = {n: t for n, t in tables(world()).items() if n in ("indicators", "flags", "chain_nodes", "labels")}
    found = build_explanations(few, world().reference, thresholds())
    assert {r["holds"] for r in rows(found, what="recomputed") if r["indicator"] == "C2"} == {None}
    nothing = build_explanations({"indicators": INDICATORS.empty()}, world().reference, thresholds())
    assert nothing.num_rows == 0


def test_the_order_of_rows_does_not_matter() -> None:
    given = tables(world())
    shuffled = {
        n: t.take(np.random.default_rng(1).permutation(t.num_rows)) if n not in ("mining_production",) else t
        for n, t in given.items()
    }
    assert build_explanations(shuffled, world().reference, thresholds()).equals(
        build_explanations(given, world().reference, thresholds())
    )


# -- intervals and robustness --------------------------------------------------------------------------------


def test_intervals_and_robustness_stand_beside_where_they_are() -> None:
    figure = world().row("C1", focus="NLD", level="group", code="g", year=NEWEST, measure="v")
    key = {k: figure[k] for k in ("year", "focus", "level", "code", "hs_revision", "group", "tier", "indicator",
                                  "measure", "basis")}  # fmt: skip
    drawn = {**key, "draws": 1000, "low": 0.5, "high": 0.6, "flag_share": 1.0, "rank": 2.0, "ranked": 3,
             "rank_low": 1.0, "rank_high": 3.0, "matters_most": "flows"}  # fmt: skip
    flag = world().flag("geodep", focus="NLD", level="group", code="g", year=NEWEST)
    judged = {k: flag[k] for k in ("year", "focus", "level", "code", "hs_revision", "group", "tier", "method")}
    judged |= {"robust": False, "reason": "it turns with the window", "reason_nl": "het venster slaat het om",
               "draw_agreement": 0.6, "draws": 1000, "matters_most": "three_year_window"}  # fmt: skip
    seen = book(world(), uncertainty=pa.Table.from_pylist([drawn]), robustness=pa.Table.from_pylist([judged]))
    found = parts(seen, item(), "C1", "v")
    assert one(found, "figure", "interval").text.en == "nine in ten of 1000 draws lie between 0.5 and 0.6"
    assert one(found, "figure", "flag_share").text.en == "it lies beyond its limit in 100 % of the draws"
    assert one(found, "figure", "rank").text.nl == "rang 2 van 3, in de trekkingen 1 tot 3"
    assert one(found, "figure", "matters_most").text.en == "what is least sure about it: the flows"
    verdict = parts(seen, item(), "geodep")
    assert one(verdict, "figure", "robust").text == Words("it turns with the window", "het venster slaat het om")
    assert not of(verdict, "figure", "agreement"), "robustness counts the same alternatives, and others"
    assert one(verdict, "figure", "draw_agreement").text.nl == "60 % van 1000 trekkingen geeft hetzelfde oordeel"
    assert one(verdict, "figure", "matters_most").text.en == "the alternative that matters most: flows of three years"
    assert not of(parts(seen, item(), "C2", "v"), "figure", "interval")
    # What is yes or no has no interval: the draws say how often it is yes.
    test = world().row("T", focus="NLD", level="group", code="g", year=NEWEST, measure="q")
    told = {**drawn, **{k: test[k] for k in key}, "low": 0.0, "high": 1.0, "flag_share": 0.293, "rank_low": None}
    found = parts(book(world(), uncertainty=pa.Table.from_pylist([told])), item(), "T", "q")
    assert not of(found, "figure", "interval")
    assert one(found, "figure", "flag_share").text == Words(
        "the answer is yes in 29.3 % of 1000 draws", "het antwoord is ja in 29,3 % van 1000 trekkingen"
    )
    assert not of(parts(seen, item(), "cbs"), "figure", "robust")


def test_a_method_that_ranks_says_where() -> None:
    flag = world().flag("cbs", focus="NLD", level="group", code="g", year=NEWEST)
    ranked = {**flag, "method": "geopolrisk", "flagged": None, "rank": 2, "ranked": 9, "band": None,
              "reason": "rank_only", "decided_by": "G4", "decided_value": 0.2, "decided_limit": None}  # fmt: skip
    found = parts(book(world(), flags=FLAGS.conform([ranked])), item(), "geopolrisk")
    assert one(found, "figure", "rank").text.en == "rank 2 of 9, 1 the largest"
    # The world has no G4: where the verdict ranks, that does not come out.
    assert one(found, "figure", "rank again").holds is False


# -- sources -------------------------------------------------------------------------------------------------


def test_sources_are_those_of_the_figure() -> None:
    seen = book(world())
    direct = [p.what for p in of(parts(seen, hs6(), "C1", "v"), "source")]
    # Of the figure's year and HS revision, read, and no list for a code by itself.
    assert direct == ["baci:baci/BACI_HS92_Y2020_V1.csv"]
    text = of(parts(seen, hs6(), "C1", "v"), "source")[0].text.en
    assert "licence Etalab 2.0" in text
    assert "sha256 " in text
    assert "20 rows read, 1 refused (one row twice)" in text
    made = [p.what for p in of(parts(seen, item(), "C3"), "source")]
    assert made == ["mining:mining/wmd.zip!6.4.xlsx", "reference:nodes.csv"]
    assert kinds_of(item(), {"source_vintage": "", "indicator": "C1", "basis": "imports"}) == ("baci",)
    chain = [p.what for p in of(parts(seen, item(), "X2"), "source")]
    assert chain == ["baci:baci/BACI_HS92_Y2020_V1.csv", "reference:edges.csv", "reference:nodes.csv"]
    assert not of(parts(book(world(), sources=SOURCES.empty()), item(), "X2"), "source")


def test_kinds_and_lists() -> None:
    seen = book(world())
    assert kinds_of(hs6(), {"source_vintage": "baci HS92 V1; wgi 2024", "indicator": "G2"}) == ("baci", "wgi")
    assert kinds_of(hs6(), {"source_vintage": None, "method": "geodep"}) == ("baci",)
    assert kinds_of(hs6(), {"source_vintage": None, "method": "tno"}) == ("mining", "wgi")
    assert kinds_of(hs6(), {"source_vintage": None, "method": "node_test"}) == ("baci", "mining", "wgi")
    tiered = {"source_vintage": "baci HS92 V1", "indicator": "O1", "basis": "icio_proportional"}
    assert kinds_of(hs6(), tiered) == ("baci", "icio")
    assert kinds_of(hs6(), {"source_vintage": "parameters 2023", "indicator": "S4a", "basis": "published"}) == ()
    assert lists_of(seen, hs6(), {"indicator": "S4a", "basis": "published"}) == ("material_parameters.csv",)
    assert "material_parameters.csv" in lists_of(seen, hs6(), {"indicator": "G5", "basis": "observed"})
    assert lists_of(seen, hs6(), {"indicator": "C1", "basis": "imports"}) == ()
    assert lists_of(seen, hs6(focus="EU27"), {"indicator": "C1", "basis": "imports"}) == ("blocs.csv",)
    assert "production_links.csv" in lists_of(seen, hs6(), {"indicator": "O1", "basis": "traced"})
    assert "edges.csv" in lists_of(seen, item("node", "ore", "g", 1), {"indicator": "C1", "basis": "imports"})
    assert "edges.csv" not in lists_of(seen, item(), {"indicator": "C1", "basis": "imports"})


# -- words ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "en", "nl"),
    [(0.44012, "0.4401", "0,4401"), (999.9, "999.9", "999,9"), (1234.5, "1,234.5", "1.234,5"),
     (1633884.2, "1,633,884", "1.633.884"), (10000.0, "10,000", "10.000"), (-0.25, "-0.25", "-0,25"), (0.0, "0", "0")],
)  # fmt: skip
def test_numbers(value: float, en: str, nl: str) -> None:
    assert number(value) == en
    assert dutch(number(value)) == nl
    assert say("{v}", "{v}", v=value) == Words(en, nl)


@pytest.mark.parametrize(
    ("value", "en"),
    [
        (0.621, "62.1 %"),
        (0.0, "0.0 %"),
        (0.001, "0.1 %"),
        (0.00099, "0.099 %"),
        (1e-5, "0.001 %"),
        (9.9e-6, "< 0.001 %"),
        (1.0, "100.0 %"),
    ],
)
def test_percentages(value: float, en: str) -> None:
    assert percent(value) == en
    assert say("{v}", "{v}", v=Percent(value)).nl == en.replace(".", ",")


def test_words_in_both_languages() -> None:
    told = say("{a} of {b}: {c}", "{a} van {b}: {c}", a=Words("China", "Chyna"), b=3, c=None)
    assert told == Words("China of 3: unknown", "Chyna van 3: onbekend")
    assert told + Words("!", "!!") == Words("China of 3: unknown!", "Chyna van 3: onbekend!!")


def test_reasons_and_notes() -> None:
    assert note("material: Iron (Fe); export_proxy", "material") == "Iron (Fe)"
    assert note("export_proxy", "material") is None
    assert note(None, "path") is None
    assert [w for w, _ in reasons("path: a <- b; export_proxy; something_new")] == ["export_proxy", "something_new"]
    assert reasons("something_new")[0][1] == Words("something new", "something new")
    assert reasons(None) == []


# -- criticality ---------------------------------------------------------------------------------------------


def critical(**over: dict[str, object] | None) -> Book:
    """The metal of the EU27 with the figures of G5: world 2, sourcing 3, IR .5, EoL_RIR .2, SI_SR .9, and EI 3."""
    base = {"focus": "EU27", "level": "group", "code": "g", "hs_revision": "HS92", "group": "g", "tier": 0,
            "year": NEWEST, "unit": "index", "method_version": "1"}  # fmt: skip
    given: dict[str, dict[str, object] | None] = {
        "G3": {"measure": "p", "basis": "observed", "value": 2.0},
        "G5s": {"measure": "q", "basis": "observed", "value": 3.0},
        "IR": {"measure": "q", "basis": "observed", "value": 0.5},
        "S4a": {"measure": "none", "basis": "published", "value": 0.2},
        "S4b": {"measure": "none", "basis": "published", "value": 0.9},
        # (2 * .25 + 3 * .75) * .8 * .9 = 1.98.
        "G5": {"measure": "q", "basis": "observed", "value": 1.98, "high": 2.5},
        "EI": {"measure": "v", "basis": "icio_proportional", "value": 3.0},
        **over,
    }
    figures = [{**base, "indicator": name, **row} for name, row in given.items() if row is not None]
    flag = {k: base[k] for k in base if k != "unit"} | {"method": "ec_criticality", "flagged": None, "indicated": True}
    return book(world(), indicators=INDICATORS.conform(figures), flags=FLAGS.conform([flag]))


@pytest.mark.parametrize(
    ("indicator", "measure", "said"),
    [
        ("C1", "q", "quantities cover 25.0 % of the import value"),
        ("IR", "q", "quantities cover 25.0 % of the import value"),
        ("G4", "q", "governance scores cover 25.0 % of the mix"),
        ("G2", "v", "governance scores cover 25.0 % of the mix"),
        ("S5a", "q", "quantities cover 25.0 % of the value of world trade"),
        ("EI", "v", "the manufacturing industries that are known to use it cover 25.0 % of its use"),
    ],
)
def test_coverage_says_what_is_covered(indicator: str, measure: str, said: str) -> None:
    row = {**critical().figures(item(focus="EU27"), NEWEST)[0], "indicator": indicator, "measure": measure,
           "coverage": 0.25, "basis": "imports"}  # fmt: skip
    found = explain_figure(critical(), item(focus="EU27"), NEWEST, row)
    assert one(found, "missing", "coverage").text.en == said


def test_criticality_is_judged_on_the_figure_or_on_what_suggests() -> None:
    found = parts(critical(), item(focus="EU27"), "ec_criticality")
    assert one(found, "formula", "numbers").text.en == ("ec_criticality = (G5 1.98 >= 1: yes) and (EI 3 >= 2.8: yes)")
    assert one(found, "figure", "recomputed").holds is True
    assert not of(found, "missing", "G5")
    # EI is nearest: (3 - 2.8) / 2.8 against .98.
    assert one(found, "turn", "margin of EI").value == pytest.approx(0.2)
    open_figure = {"measure": "q", "basis": "observed", "value": None, "high": 2.5, "reason": "no_recycling_rate"}
    suggested = parts(critical(G5={**open_figure, "method_value": 1.2}), item(focus="EU27"), "ec_criticality")
    assert one(suggested, "missing", "G5").value == 1.2
    assert "(G5 1.2 >= 1: yes)" in one(suggested, "formula", "numbers").text.en
    bound = parts(critical(G5=open_figure), item(focus="EU27"), "ec_criticality")
    assert one(bound, "missing", "G5").value == 2.5


# -- industries ----------------------------------------------------------------------------------------------


def industry(**over: object) -> Book:
    """C24 of NLD: CHN .1 at face value and .3 in all (of foreign ones .2 and .5), DEU .3 and .2, the rest .4."""
    base = {"focus": "NLD", "industry": "C24", "year": NEWEST, "basis": "icio"}
    exposure = [
        {**base, "country": "CHN", "face_value": 0.1, "look_through": 0.3, "market_side": 0.05,
         "face_value_foreign": 0.2, "look_through_foreign": 0.5, "hidden_ratio": 2.5},
        {**base, "country": "DEU", "face_value": 0.3, "look_through": 0.2, "market_side": 0.1,
         "face_value_foreign": 0.6, "look_through_foreign": 0.33, "hidden_ratio": 0.55},
        {**base, "country": "ROW", "face_value": 0.4, "look_through": 0.4, "market_side": 0.9, "hidden_ratio": None},
        {**base, "country": "NLD", "face_value": 0.5, "look_through": 0.5, "market_side": 0.5},
    ]  # fmt: skip
    item = {"focus": "NLD", "level": "industry", "code": "C24", "year": NEWEST, "method_version": "1"}
    values = {"I1": 0.3, "I2": 0.3, "I3": 0.1, "I4": 2.5, "I5": 2.2, **over}
    figures = [
        {**item, "indicator": n, "measure": "v", "basis": "icio", "unit": "x", "value": v} for n, v in values.items()
    ]
    flags = [{**item, "method": "foreign_input_reliance", "flagged": True},
             {**item, "level": "hs6", "code": METAL, "hs_revision": "HS92", "tier": 0,
              "method": "foreign_input_reliance", "indicated": True}]  # fmt: skip
    return book(world(), indicators=INDICATORS.conform(figures), flags=FLAGS.conform(flags),
                industry_exposure=INDUSTRY_EXPOSURE.conform(exposure))  # fmt: skip


C24 = Item("NLD", "industry", "C24", None, None, None)


def test_an_industry_names_its_largest_foreign_country() -> None:
    for name, country in (("I1", "Germany"), ("I2", "China"), ("I3", "Germany"), ("I4", "China")):
        found = parts(industry(), C24, name)
        assert one(found, "figure", "recomputed").holds is True, name
        assert country in one(found, "formula", "numbers").text.en
        # The rest of the world and the focus itself are no foreign country.
        assert {p.country for p in of(found, "flow")} == {"CHN", "DEU"}
    assert one(parts(industry(I1=0.4), C24, "I1"), "figure", "recomputed").holds is False
    # No table says how far upstream it stands.
    assert one(parts(industry(), C24, "I5"), "figure", "recomputed").holds is False
    first = of(parts(industry(), C24, "I2"), "flow")[0]
    assert first.text.en == "China: face value 10.0 %, look-through 30.0 %, market side 5.0 %, hidden ratio 2.5"


def test_the_hidden_ratio_turns_with_the_face_value() -> None:
    found = parts(industry(), C24, "foreign_input_reliance")
    assert one(found, "figure", "recomputed").holds is True
    assert one(found, "formula", "numbers").text.en == "foreign_input_reliance = (I4 2.5 > 2: yes)"
    # .5 of all foreign inputs and a ratio of 2: .25 of the direct ones.
    turn = one(found, "turn", "I4")
    assert (turn.value, turn.country) == (pytest.approx(0.25), "CHN")
    assert "With China at 25.0 % of the direct foreign inputs (now 20.0 %)" in turn.text.en
    of_code = parts(industry(), hs6(), "foreign_input_reliance")
    assert one(of_code, "missing", "industry").text.en == "no industry is joined to it"
    assert kinds_of(C24, {"source_vintage": "icio 2022; wgi x", "indicator": "I2b"}) == ("wgi", "icio")
    assert kinds_of(C24, {"source_vintage": None, "indicator": "I1", "basis": "icio"}) == ("icio",)
    bare = book(world(), indicators=INDICATORS.conform([r for r in industry().figures(C24, NEWEST)]))
    assert one(parts(bare, C24, "I1"), "figure", "recomputed").holds is None
