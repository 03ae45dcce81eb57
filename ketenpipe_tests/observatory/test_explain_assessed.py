"""Explanations of criticality, networks, industries, product tiers and substitutability: all come out again."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from ketenpipe.chain.industry import build_industry
from ketenpipe.chain.proportional import build_uses
from ketenpipe.observatory.explain import explain_component, explain_figure, explain_verdict
from ketenpipe.observatory.explain_book import Book, Item, Lists
from ketenpipe.observatory.explain_components import score_of
from ketenpipe.observatory.explain_figures import Part
from ketenpipe.observatory.explain_release import CHECKED, named
from ketenpipe.observatory.explain_words import Cut, Words, say, with_unit
from ketenpipe.risk.criticality import Inputs, build_criticality
from ketenpipe.risk.industries import build_industry_indicators
from ketenpipe.risk.network import build_network_indicators
from ketenpipe.risk.product_tiers import build_product_tiers
from ketenpipe.risk.substitutability import FIGURE_INDICATORS, build_substitutability
from ketenpipe.risk.substitution_settings import load_substitution_settings
from ketenpipe.sources.criticality_inputs import CriticalityInputs, EndUse, Parameter
from ketenpipe.sources.icio import IcioTable
from ketenpipe.sources.icio_audit import icio_accounts
from ketenpipe.sources.places import embedded
from ketenpipe.tables.registry import ELASTICITY, HS_WEIGHTS, INDICATORS, PRODUCT_INDUSTRIES, SUBSTITUTABILITY
from ketenpipe_tests.chain.io_worlds import table
from ketenpipe_tests.chain.test_proportional import LABELS
from ketenpipe_tests.observatory.explain_worlds import METAL, ORE, SALT, YEARS, tables, world
from ketenpipe_tests.worlds import thresholds

NEWEST = YEARS[-1]
HS92 = {METAL: "C10", ORE: "C20", SALT: "C10"}
FOCI = ("NLD", "EU27")
KINDS = ("S3", "S4a", "S5a", "S5b", "IR", "G4", "G5", "G5s", "EI", "I1", "I1a", "I2", "I2a", "I2b", "I3", "I4", "I5",
         "I5a", "I5b", "I6")  # fmt: skip


def cited(name: str, value: float, *, material: str = "Metal", node: str = "", status: str = "read") -> Parameter:
    book = "a book"
    return Parameter("" if node else material, node, name, value, 2017, "EU27", book, status, "", "/x/p.csv", 2)


PARAMETERS = CriticalityInputs(
    (
        cited("eol_rir", 0.3), cited("si_sr", 0.9), cited("si_ei", 0.8), cited("eol_rir", 0.1, node="salts"),
        cited("si_sr", 0.7, material="Ore", status="recalled"), cited("si_ei", 0.6, node="salts"),
    ),
    (EndUse("", "salts", "C20", 0.5, 2017, "EU27", "a book", "read", "", "/x/u.csv", 2),),
)  # fmt: skip
LIMITS = load_substitution_settings(embedded("reference"))


@lru_cache
def economy() -> IcioTable:
    """Dense random deliveries, of which a third of the output remains; one row of the rest of the world is idle."""
    draw = np.random.default_rng(3)
    z = draw.random((len(LABELS), len(LABELS))) * (draw.random((len(LABELS), len(LABELS))) < 0.7)
    made = 1.5 * np.maximum(z.sum(axis=0), z.sum(axis=1)) + 0.1
    idle = LABELS.index(("ROW", "C20"))
    z[:, idle] = 0.0
    made[idle] = 0.0
    return table(LABELS, z, made)


@lru_cache
def assessed(partners: tuple[str, ...] = ("USA",), cited_elasticities: bool = True) -> Book:
    """The book of :func:`world` with everything that a release adds to it."""
    held, recipe = world(), economy()
    known = {"HS92": HS92}
    seen = held.tracing
    mix = seen.supply_mix.filter(pc.field("year") == NEWEST)
    uses = build_uses(mix, recipe, held.reference, NEWEST, known).product_uses
    layer = build_industry([recipe], held.reference, FOCI)
    risk = held.world.country_risk
    traced = seen.tracing.filter(pc.field("year") == NEWEST)
    scores = {r["country"]: r["risk"] for r in risk.to_pylist() if r["year"] == NEWEST}
    # Codes with a recipe in the catalogue have no tiers by that of their industry: here none has one.
    plain = replace(held.reference, edges=())
    tiers = build_product_tiers(NEWEST, mix, traced, recipe, plain, scores, thresholds(), held.world, known)
    rows = [{"hs_revision": "HS07", "code": c, "elasticity": e, "significant": s, "positive": e > 0, "vintage": "v"}
            for c, e, s in (("500001", -4.0, True), ("500002", -6.0, True), ("500003", 2.0, True),
                            ("500004", -1.0, False))]  # fmt: skip
    led = [{"from_revision": "HS07", "from_code": a, "to_revision": "HS92", "to_code": b, "weight": w,
            "weight_basis": "equal", "vintage": "v"}
           for a, b, w in (("500001", METAL, 0.5), ("500002", METAL, 1.0), ("500003", ORE, 1.0),
                           ("500002", SALT, 1.0), ("500001", SALT, 0.5))]  # fmt: skip
    elasticity = ELASTICITY.conform(rows if cited_elasticities else [])
    weights = HS_WEIGHTS.conform(led)
    accounts = icio_accounts(recipe)
    flows = held.world.flows.filter(pc.field("year") == NEWEST)
    critical = build_criticality(
        held.world, NEWEST, Inputs(PARAMETERS, elasticity if cited_elasticities else None, weights, accounts, uses)
    )
    nodes = held.exposure.chain_nodes
    network = build_network_indicators(NEWEST, flows.to_batches(), FOCI, nodes, held.reference, held.world)
    industry = build_industry_indicators(
        layer.industry_exposure, layer.industry_tiers, layer.industry_measures, risk, {NEWEST: "2025"}
    )
    every = pa.concat_tables(
        t.select(INDICATORS.names).cast(INDICATORS.schema())
        for t in (held.indicators, critical, network, industry, tiers.indicators)
    )
    figures = every.filter((pc.field("year") == NEWEST) & pc.field("indicator").isin(list(FIGURE_INDICATORS)))
    parts = build_substitutability(
        NEWEST, FOCI, {y: seen.supply_mix.filter(pc.field("year") == y) for y in YEARS}, traced, flows.to_batches(),
        figures, seen.production.filter(pc.field("year") == NEWEST), risk, nodes, held.reference, LIMITS, held.world,
        persistence_window=thresholds().P1.window, partners=partners, draws=20,
    )  # fmt: skip
    joined = [{"hs_revision": "HS92", "code": c, "industry": i, "edition": "2025", "method": "x"}
              for c, i in HS92.items()]  # fmt: skip
    given = tables(
        held, indicators=every, substitutability=parts, product_uses=uses, icio_accounts=accounts,
        industry_exposure=layer.industry_exposure, industry_tiers=layer.industry_tiers,
        industry_measures=layer.industry_measures, product_tiers=tiers.product_tiers, elasticity=elasticity,
        hs_weights=weights, product_industries=pa.Table.from_pylist(joined),
        flags=pa.concat_tables([held.flags, tiers.flags.select(held.flags.column_names).cast(held.flags.schema)]),
    )  # fmt: skip
    lists = Lists(PARAMETERS, LIMITS, partners, lambda year: recipe if year == NEWEST else None, (NEWEST,))
    return Book(given, held.reference, thresholds(), lists)


def checks(parts: list[Part]) -> dict[str, bool | None]:
    return {p.what: p.holds for p in parts if p.what in CHECKED}


def told(parts: list[Part], what: str) -> str:
    (found,) = [p.text.en for p in parts if p.what == what]
    return found


def figures(book: Book) -> Any:
    for item, year in book.items():
        if year == NEWEST:
            yield from ((item, row) for row in book.figures(item, year))


def test_every_kind_of_figure_comes_out_of_its_inputs() -> None:
    count: Counter[tuple[str, bool | None, bool]] = Counter()
    wrong = []
    for item, row in figures(assessed()):
        found = checks(explain_figure(assessed(), item, NEWEST, row))["recomputed"]
        count[row["indicator"], found, row["value"] is None] += 1
        if found is not True:
            wrong.append((row["indicator"], item, row["value"], row["reason"], found))
    assert not wrong
    # Each kind has a figure, not nulls alone.
    having = {name for name, _, null in count if not null}
    assert set(KINDS) | {"S4b", "S4c"} <= having
    assert any(r["basis"] == "icio_proportional" and r["indicator"] == n and r["value"] is not None
               for n in ("O1", "G2", "T", "hidden_exposure") for _, r in figures(assessed()))  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_what_was_tampered_with_does_not_come_out(name: str) -> None:
    item, row = next((i, r) for i, r in figures(assessed()) if r["indicator"] == name and r["value"] is not None)
    changed = explain_figure(assessed(), item, NEWEST, row | {"value": row["value"] * 1.01 + 0.01})
    assert checks(changed)["recomputed"] is False
    assert checks(explain_figure(assessed(), item, NEWEST, row | {"value": None}))["recomputed"] is False


@pytest.mark.parametrize("name", ["O1", "G2", "T", "hidden_exposure"])
def test_a_tier_that_was_tampered_with_does_not_come_out(name: str) -> None:
    item, row = next(
        (i, r)
        for i, r in figures(assessed())
        if r["basis"] == "icio_proportional" and r["indicator"] == name and r["value"] is not None
    )
    assert checks(explain_figure(assessed(), item, NEWEST, row | {"value": row["value"] + 0.01}))["recomputed"] is False


def test_a_null_says_why_and_that_there_is_none_either() -> None:
    item, row = next((i, r) for i, r in figures(assessed())
                     if r["indicator"] == "G5" and r["value"] is None and "no_trade_codes" in r["reason"])  # fmt: skip
    text = told(explain_figure(assessed(), item, NEWEST, row), "recomputed")
    assert text.startswith("null: ")
    assert text.endswith("; computed again there is no figure either")
    assert "unknown" not in text
    assert "no HS6 code" in text or "trade code" in text


def test_industries_come_out_of_the_release_where_the_table_is_not_at_hand() -> None:
    held = assessed()
    without = Book(held._tables, held.reference, held.thresholds, Lists(PARAMETERS, LIMITS))
    seen = 0
    for item, row in figures(held):
        found = explain_figure(without, item, NEWEST, row)
        if item.level == "industry":
            seen += 1
            assert checks(found)["recomputed"] is True, (item, row)
            assert "is not at hand" in told(found, "source")
        elif row["basis"] == "icio_proportional" and row["indicator"] == "O1":
            assert checks(found)["recomputed"] is None
            assert told(found, "recomputed").endswith("is not at hand (its folder: --sources)")
    assert seen


def test_without_lists_or_flows_it_says_so() -> None:
    held = assessed()
    bare = Book({n: t for n, t in held._tables.items() if n not in ("baci_flows", "elasticity", "icio_accounts")},
                held.reference, held.thresholds)  # fmt: skip
    for item, row in figures(held):
        if row["indicator"] in ("S3", "S4a", "S5a", "S5b", "IR", "G4", "G5", "G5s", "EI"):
            found = explain_figure(bare, item, NEWEST, row)
            assert checks(found)["recomputed"] is None, row["indicator"]
            assert told(found, "recomputed").startswith("not computed again: ")
    item = next(i for i, y in held.items() if held.components(i, NEWEST))
    row = held.components(item, NEWEST)[0]
    assert "substitutability.toml" in told(explain_component(bare, item, NEWEST, row), "recomputed")


def test_a_table_without_elasticities_gives_none() -> None:
    held = assessed(cited_elasticities=False)
    nulls = [(i, r) for i, r in figures(held) if r["indicator"] == "S3"]
    assert nulls
    for item, row in nulls:
        found = explain_figure(held, item, NEWEST, row)
        assert checks(found)["recomputed"] is True
        assert told(found, "elasticity") == "the sources hold no table of elasticities"


# -- substitutability ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("partners", [("USA",), ("EU27", "CHN"), ()])
def test_every_component_and_score_comes_out_of_its_inputs(partners: tuple[str, ...]) -> None:
    held = assessed(partners)
    names: set[str] = set()
    for item in {i for i, y in held.items() if y == NEWEST}:
        for row in held.components(item, NEWEST):
            found = checks(explain_component(held, item, NEWEST, row))
            assert all(v is True for v in found.values()), (item, row, found)
            names |= {row["component"]} if row["value"] is not None else set()
    lacking = {"entries", "entry_share", "exits", "suppliers_partners", "origins_partners", "exporters_partners",
               "export_share_partners"}  # fmt: skip
    every = set(LIMITS.component) | {"composite"}
    # Three years are too few for what came and went; without partners nobody is one.
    assert every - names == (lacking if not partners else {"entries", "entry_share", "exits"})


def test_what_came_and_went_is_told() -> None:
    held = assessed()
    limits = LIMITS.model_copy(update={"entry": LIMITS.entry.model_copy(update={"window": 2})})
    short = Book(held._tables, held.reference, held.thresholds, Lists(PARAMETERS, limits))
    item = Item("NLD", "hs6", METAL, "HS92", None, 0)
    row = {r["component"]: r for r in held.components(item, NEWEST)}
    # Nobody is new in 2020: the same countries sold in 2018 and 2019.
    found = explain_component(short, item, NEWEST, row["entries"] | {"value": 0.0, "score": 1.0})
    assert checks(found) == {"recomputed": True, "score again": True}
    assert told(found, "numbers") == "entries = 0: none"


@pytest.mark.parametrize("column", ["value", "score"])
def test_a_component_that_was_tampered_with_does_not_come_out(column: str) -> None:
    held = assessed()
    item = Item("NLD", "hs6", METAL, "HS92", None, 0)
    for row in held.components(item, NEWEST):
        if row[column] is None or row["component"] == "composite":
            continue
        found = checks(explain_component(held, item, NEWEST, row | {column: row[column] + 0.01}))
        assert found == {"recomputed": column != "value", "score again": column != "score"}, row["component"]


def test_the_composite_shows_its_weights_and_their_sensitivity() -> None:
    held = assessed()
    item = Item("NLD", "hs6", METAL, "HS92", None, 0)
    row = next(r for r in held.components(item, NEWEST) if r["component"] == "composite")
    found = explain_component(held, item, NEWEST, row)
    assert checks(found) == {"recomputed": True}
    assert "× weight 10.0 %" in told(found, "own_share")
    assert told(found, "weights").startswith("under drawn weights 90 in a hundred lie between ")
    assert "what moves it most: " in told(found, "matters_most")
    wrong = explain_component(held, item, NEWEST, row | {"value": row["value"] + 0.01})
    assert checks(wrong) == {"recomputed": False}


def test_names_of_components() -> None:
    assert named("suppliers_stable") == ("component", "suppliers_stable")
    assert named("Origins above a share") == ("component", "origins")
    assert named("substitutability") == named("composite") == ("component", "composite")
    # An indicator of that name goes before.
    assert named("own_share") == ("indicator", "own_share")
    assert named("eol_rir") == ("indicator", "S4a")
    assert named("substitutability.own_share") == ("component", "own_share")
    assert named("Substitutability.EoL_RIR") == ("component", "eol_rir")


@pytest.mark.parametrize(
    ("x", "kind", "score"),
    [(0.25, "x", 0.25), (2.0, "x", 1.0), (0.25, "1-x", 0.75), (2.0, "1-x", 0.0), (3.0, "x/(1+x)", 0.75),
     (3.0, "1/(1+x)", 0.25), (float("inf"), "x/(1+x)", 1.0), (float("inf"), "1/(1+x)", 0.0), (-1.0, "1/(1+x)", 1.0)],
)  # fmt: skip
def test_scores_by_hand(x: float, kind: Any, score: float) -> None:
    assert score_of(x, kind) == score


# -- methods -------------------------------------------------------------------------------------------------


def test_the_rank_of_geopolrisk_is_computed_again() -> None:
    held = assessed()
    scores: dict[str, float] = {}
    for item, row in figures(held):
        if row["indicator"] == "G4" and (item.focus, item.level) == ("NLD", "hs6"):
            shown = row["method_value"] if row["method_value"] is not None else row["value"]
            scores |= {} if shown is None else {item.code: shown}
    place = sorted(scores, key=lambda c: -scores[c]).index(METAL) + 1
    item = Item("NLD", "hs6", METAL, "HS92", None, 0)
    verdict = {**held.verdicts(item, NEWEST)[0], "method": "geopolrisk", "flagged": None, "rank": place,
               "ranked": len(scores), "band": None, "reason": "rank_only", "indicated": place <= len(scores) / 4,
               "decided_by": None}  # fmt: skip
    found = explain_verdict(held, item, NEWEST, verdict)
    assert checks(found) == {"recomputed": True, "rank again": True}
    assert checks(explain_verdict(held, item, NEWEST, verdict | {"rank": place + 1}))["rank again"] is False
    other = verdict | {"indicated": not verdict["indicated"]}
    assert checks(explain_verdict(held, item, NEWEST, other))["recomputed"] is False


def test_a_product_takes_the_verdict_of_its_industry() -> None:
    held = assessed()
    industry = next(r for i, r in figures(held) if r["indicator"] == "I4" and (i.focus, i.code) == ("NLD", "C10"))
    item = Item("NLD", "hs6", METAL, "HS92", None, 0)
    raw = False if industry["value"] is None else industry["value"] > 2.0
    verdict = {**held.verdicts(item, NEWEST)[0], "method": "foreign_input_reliance", "flagged": None,
               "indicated": raw, "band": None}  # fmt: skip
    found = explain_verdict(held, item, NEWEST, verdict)
    assert checks(found)["recomputed"] is True
    assert told(found, "industry") == "it takes the verdict of its industry, C10, in 2020"


def test_indicative_tests_of_tiers_are_judged_again() -> None:
    held = assessed()
    seen = 0
    for item, year in held.items():
        for row in held.verdicts(item, year):
            if item.level == "hs6" and item.tier and row["method"] == "node_test":
                seen += 1
                assert checks(explain_verdict(held, item, year, row))["recomputed"] is True
    assert seen


def test_whatever_is_drawn_stands_beside_a_verdict() -> None:
    held = assessed()
    item = Item("NLD", "group", "g", "HS92", "g", 0)
    row = held.verdicts(item, NEWEST)[0]
    key = {k: row[k] for k in ("year", "focus", "level", "code", "hs_revision", "group", "tier", "method")}
    drawn = pa.Table.from_pylist([{**key, "draws": 1000, "flagged_share": 0.99999, "told_share": 0.5}])
    beside = Book({**held._tables, "drawn_verdicts": drawn}, held.reference, held.thresholds)
    found = explain_verdict(beside, item, NEWEST, row)
    assert told(found, "drawn") == "it flags in 99.9 % of 1000 draws; a verdict may be told in 50 %"


# -- words ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("share", "en"), [(0.99999, "99.9 %"), (1.0, "100 %"), (0.7499, "74.9 %"), (0.0, "0 %")])
def test_shares_of_draws_are_cut_and_never_raised(share: float, en: str) -> None:
    assert say("{s}", "{s}", s=Cut(share)) == Words(en, en.replace(".", ","))


def test_figures_stand_with_their_unit() -> None:
    assert with_unit(1.0, "countries") == Words("1 country", "1 land")
    assert with_unit(2.5, "countries") == Words("2.5 countries", "2,5 landen")
    assert with_unit(0.5, "index 0-1") == Words("0.5 index 0-1", "0,5 index 0-1")
    assert with_unit(None, "share") == Words("unknown", "onbekend")


def test_the_contract_of_components_is_that_of_the_release() -> None:
    assert {"component", "score", "weight", "without", "matters_most"} <= set(SUBSTITUTABILITY.names)
    assert set(PRODUCT_INDUSTRIES.names) >= {"hs_revision", "code", "industry"}
