"""Data grades: rules with limits, sentences that name the goods, and the letter that the register shows."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ketenpipe.chain.catalogue import Reference, load_reference
from ketenpipe.errors import InputRefused, WrongUse
from ketenpipe.observatory.grades import (
    GradeRules,
    SharedGood,
    Splits,
    Step,
    Stepped,
    build_grades,
    grade_of,
    load_grade_rules,
    load_shared_codes,
    shared_uses,
)
from ketenpipe.tables.registry import (
    CHAIN_EDGES,
    CHAIN_NODES,
    EXPOSURE,
    GRADE_DIMENSIONS,
    HS_WEIGHTS,
    INDICATORS,
    INPUT_FILES,
    PRODUCT_INDUSTRIES,
)
from ketenpipe_tests.worlds import (
    SHIPPED,
    catalogue,
    chain_world,
    edge,
    figure,
    link,
    node,
    one,
    rows,
)

YEAR, AS_OF = 2024, 2026


@lru_cache
def rules() -> GradeRules:
    return load_grade_rules(SHIPPED)


@lru_cache
def goods() -> tuple[SharedGood, ...]:
    return load_shared_codes(SHIPPED)


@lru_cache
def shipped() -> Reference:
    return load_reference(SHIPPED)


# -- a group by hand ------------------------------------------------------------------------------------------


class Group:
    """Group g: head <- item, every figure as good as it gets; tests spoil one thing at a time."""

    def __init__(self) -> None:
        self.nodes = [node("head", "281820"), node("item", "260600", stage="extraction")]
        self.edges = [edge("head", "item", essential=True)]
        self.extra: dict[str, Any] = {}
        self.chain = [
            {"node": "head", "tier": 0, "status": "traded", "codes": "281820", "codes_in_sources": "281820"},
            {"node": "item", "tier": 1, "status": "traded", "codes": "260600", "codes_in_sources": "260600"},
        ]
        self.bases: dict[str, tuple[str, float | None]] = {"head": ("observed", 0.0), "item": ("observed", 0.0)}
        self.coverage: float | None = 1.0
        self.scored: float | None = 0.3
        self.without: float | None = 0.0
        self.reason: str | None = None
        self.industries: list[dict[str, Any]] = []
        self.weights: list[dict[str, Any]] = []
        self.files: list[dict[str, Any]] = [
            {"source": "baci", "file": "b", "to_year": YEAR},
            {"source": "wgi", "file": "w", "to_year": YEAR},
            {"source": "mining", "file": "m", "to_year": YEAR},
        ]
        self.goods: tuple[SharedGood, ...] = ()
        self.as_of = AS_OF
        self.years = [YEAR]

    def tables(self) -> dict[str, pa.Table]:
        base = {
            "focus": "NLD", "level": "group", "code": "g", "hs_revision": "HS92", "group": "g", "tier": 0,
            "method_version": "1",
        }  # fmt: skip
        figures = []
        for year in self.years:
            of = base | {"year": year}
            figures += [
                of | {"indicator": "T", "measure": "q", "basis": "traced", "value": 0.0, "unit": "flag",
                      "reason": self.reason},
                of | {"indicator": "G2", "measure": "q", "basis": "traced", "value": self.scored, "unit": "index",
                      "coverage": self.coverage},
                of | {"indicator": "G2", "measure": "q", "basis": "imports", "value": 0.9, "unit": "index",
                      "coverage": 0.01},
                of | {"indicator": "value_without_mass", "measure": "v", "basis": "imports", "value": self.without,
                      "unit": "share"},
            ]  # fmt: skip
        exposure = [
            {
                "focus": "NLD", "group": "g", "node": name, "tier": 0, "year": year, "hs_revision": "HS92",
                "country": country, "share_traced": 0.5, "basis": basis, "imputed_share": imputed,
                "same_for_every_country": basis == "world_production_mix",
            }
            for year in self.years
            for name, (basis, imputed) in self.bases.items()
            for country in ("DEU", "USA")
        ]  # fmt: skip
        chain = [{"group": "g", "stage": "processing", "hs_revision": "HS92", **entry} for entry in self.chain]
        edges = [
            {"group": e.group, "user": e.user, "input": e.input, "essential": e.essential, "evidence": e.evidence,
             "confidence": e.confidence, "citation": "a book", "citation_status": e.citation_status or None}
            for e in self.edges
        ]  # fmt: skip
        return {
            "indicators": INDICATORS.conform(figures),
            "exposure": EXPOSURE.conform(exposure),
            "chain_nodes": CHAIN_NODES.conform(chain),
            "chain_edges": CHAIN_EDGES.conform(edges),
            "product_industries": PRODUCT_INDUSTRIES.conform(self.industries),
            "hs_weights": HS_WEIGHTS.conform(self.weights),
            "input_files": INPUT_FILES.conform(self.files),
        }

    @property
    def reference(self) -> Reference:
        return catalogue(self.nodes, self.edges, {"g": "head"}, **self.extra)

    def grades(self) -> pa.Table:
        return build_grades(self.tables(), self.reference, rules(), self.goods, ["NLD"], self.as_of)

    def of(self, dimension: str) -> dict[str, Any]:
        return one(self.grades(), dimension=dimension)


def good(code: str, english: str, dutch: str = "", kind: str = "joins", revision: str = "HS92") -> SharedGood:
    return SharedGood(
        hs_revision=revision, code=code, kind=kind, good_en=english, good_nl=dutch or english, source="test"
    )  # type: ignore[arg-type]


# -- the dimensions, each at its limits -------------------------------------------------------------------------


def test_all_that_is_good_makes_an_a_without_a_reason() -> None:
    made = Group().grades()
    assert [r["dimension"] for r in made.to_pylist()] == sorted(GRADE_DIMENSIONS)
    assert {r["points"] for r in made.to_pylist()} == {0}
    assert {r["grade"] for r in made.to_pylist()} == {"A"}
    assert {r["year"] for r in made.to_pylist()} == {YEAR}
    assert grade_of(made) == {("NLD", "g"): ("A", None, None)}


@pytest.mark.parametrize(
    ("status", "scored", "measured", "points"),
    [
        ("traded", 1.0, 1.0, 0),
        ("traded", 0.9, 0.9, 0),
        ("traded", 0.89, 0.89, 1),
        ("traded", 0.5, 0.5, 1),
        ("traded", 0.49, 0.49, 2),
        ("dashed", 1.0, 0.5, 1),
        ("missing", 1.0, 0.5, 1),
        ("dashed", 0.4, 0.4, 2),
        ("production", 1.0, 1.0, 0),
        ("cut_off", 1.0, 1.0, 0),
    ],
)
def test_coverage_is_the_smaller_of_steps_and_scores(status: str, scored: float, measured: float, points: int) -> None:
    group = Group()
    group.chain[1]["status"], group.coverage = status, scored
    found = group.of("coverage")
    assert (found["measured"], found["points"]) == (pytest.approx(measured), points)
    assert ("no data on item" in found["sentence_en"]) == (status in ("dashed", "missing"))
    assert ("geen data over item nl" in found["sentence_nl"]) == (status in ("dashed", "missing"))
    assert (f"governance scores cover {scored:.0%}" in found["sentence_en"]) == (scored < 1)
    counted = {"cut_off": "1 of 1", "dashed": "1 of 2", "missing": "1 of 2"}.get(status, "2 of 2")
    assert found["sentence_en"].startswith(f"{counted} steps of the chain are in the sources")
    assert found["sentence_nl"].startswith(counted.replace("of", "van"))


def test_without_a_score_coverage_is_that_of_the_steps() -> None:
    group = Group()
    group.coverage = group.scored = None
    found = group.of("coverage")
    assert (found["measured"], found["points"]) == (1.0, 0)
    assert found["sentence_en"].endswith("no governance score applies")
    assert found["sentence_nl"].endswith("geen bestuursscore van toepassing")


@pytest.mark.parametrize(("as_of", "points"), [(2024, 0), (2026, 0), (2027, 1), (2028, 1), (2029, 2)])
def test_vintage_is_the_age_at_the_release(as_of: int, points: int) -> None:
    group = Group()
    group.as_of = as_of
    found = group.of("vintage_age")
    assert (found["measured"], found["points"]) == (as_of - YEAR, points)
    assert found["sentence_en"] == (
        f"newest data: trade 2024, governance 2024; the oldest is {as_of - YEAR} years before the release of {as_of}"
    )
    assert found["sentence_nl"] == (
        f"nieuwste data: handel 2024, bestuur 2024; de oudste is {as_of - YEAR} jaar ouder dan de release van {as_of}"
    )


def test_vintage_takes_the_oldest_source_that_the_group_uses() -> None:
    group = Group()
    group.files[1]["to_year"], group.files[2]["to_year"] = 2022, 2019
    assert group.of("vintage_age")["measured"] == 4, "no material in the chain: production is not used"
    group.chain[1]["material"] = "Bauxite"
    found = group.of("vintage_age")
    assert (found["measured"], found["points"]) == (7, 2)
    assert "trade 2024, governance 2022, production 2019" in found["sentence_en"]
    assert "handel 2024, bestuur 2022, productie 2019" in found["sentence_nl"]
    group.scored = None
    assert "governance" not in group.of("vintage_age")["sentence_en"]
    group.chain[1]["status"] = "dashed"
    assert "production" not in group.of("vintage_age")["sentence_en"]
    # A source newer than the figures makes them no newer, one that is not among the files is as new as they are.
    group.scored, group.files = 0.3, [{"source": "wgi", "file": "w", "to_year": 2030}]
    assert group.of("vintage_age")["measured"] == 2


def test_vintage_of_a_producer_list_is_its_own_year() -> None:
    group = Group()
    group.bases["head"] = ("producer_list", 0.0)
    group.extra["figures"] = [figure("head", "281820", y, "CHN", share=0.5) for y in (2019, 2021, 2025)]
    found = group.of("vintage_age")
    assert found["measured"] == 5
    assert "producer list 2021" in found["sentence_en"]
    assert "producentenlijst 2021" in found["sentence_nl"]


def test_data_newer_than_the_release_are_refused() -> None:
    group = Group()
    group.as_of = 2023
    with pytest.raises(WrongUse, match="the release is said to be of 2023, but group g has data of 2024"):
        group.grades()


@pytest.mark.parametrize(("imputed", "points"), [(0.0, 0), (0.1, 0), (0.11, 1), (0.5, 1), (0.51, 2)])
def test_patches_count_by_the_worst_step_on_a_statistic(imputed: float, points: int) -> None:
    group = Group()
    group.bases["item"] = ("observed", imputed)
    found = group.of("patch_share")
    assert (found["measured"], found["points"]) == (imputed, points)
    assert found["sentence_en"] == f"{imputed:.0%} of the supply of item is imputed"
    assert found["sentence_nl"] == f"{imputed:.0%} van het aanbod van item nl is geraamd"


def test_the_proxy_is_not_graded_twice() -> None:
    group = Group()
    group.bases = {"head": ("export_proxy", 1.0), "item": ("world_production_mix", 0.9)}
    found = group.of("patch_share")
    assert (found["measured"], found["points"]) == (None, 0)
    assert found["sentence_en"] == "no step rests on a production statistic, so none is patched"
    assert found["sentence_nl"] == "geen stap berust op een productiestatistiek, dus geen is aangevuld"
    group.bases["item"] = ("producer_list", None)
    assert group.of("patch_share")["measured"] is None
    group.bases["item"] = ("producer_list", 0.2)
    assert group.of("patch_share")["measured"] == 0.2


@pytest.mark.parametrize(
    ("without", "reason", "points", "sentence"),
    [
        (0.0, None, 0, "0% of the import value has no quantity"),
        (0.1, None, 0, "10% of the import value has no quantity"),
        (0.2, None, 1, "20% of the import value has no quantity"),
        (0.1, "export_proxy; small_or_precious", 1, "little mass or a precious good"),
        (0.2, "small_or_precious", 2, "little mass or a precious good; 20% of the import value has no quantity"),
        (None, None, 0, "nothing is imported, no quantity is missing"),
        (None, "small_or_precious", 1, "little mass or a precious good; nothing is imported, no quantity is missing"),
    ],
)
def test_mass(without: float | None, reason: str | None, points: int, sentence: str) -> None:
    group = Group()
    group.without, group.reason = without, reason
    found = group.of("mass")
    assert (found["measured"], found["points"], found["sentence_en"]) == (without, points, sentence)
    assert ("weinig massa" in found["sentence_nl"]) == ("little mass" in sentence)
    assert ("heeft geen hoeveelheid" in found["sentence_nl"]) == ("has no quantity" in sentence)
    assert ("ontbreekt geen hoeveelheid" in found["sentence_nl"]) == ("no quantity is missing" in sentence)


@pytest.mark.parametrize(
    ("head", "item", "measured", "points", "sentence"),
    [
        ("observed", "observed", 0.0, 0, "production is a statistic"),
        ("observed", "export_proxy", 0.5, 1, "production is a statistic, but an export proxy of item"),
        ("producer_list", "observed", 0.0, 1, "production is a cited list of producers"),
        (
            "producer_list",
            "export_proxy",
            0.5,
            1,
            "production is a cited list of producers, but an export proxy of item",
        ),
        ("world_production_mix", "observed", 0.0, 1, "origin is the world production mix"),
        ("export_proxy", "observed", 0.5, 2, "production is an export proxy"),
        ("export_proxy", "export_proxy", 1.0, 2, "production is an export proxy, also of item"),
        ("export_proxy", "world_production_mix", 1.0, 2, "production is an export proxy"),
        ("world_production_mix", "world_production_mix", None, 1, "origin is the world production mix"),
    ],
)
def test_basis(head: str, item: str, measured: float | None, points: int, sentence: str) -> None:
    group = Group()
    group.bases = {"head": (head, 0.0), "item": (item, 0.0)}
    found = group.of("production_basis")
    assert (found["measured"], found["points"], found["sentence_en"]) == (measured, points, sentence)
    assert ("ook van item nl" in found["sentence_nl"]) == ("also of" in sentence)
    assert ("maar een uitvoerschatting van item nl" in found["sentence_nl"]) == ("but an" in sentence)


def test_every_basis_has_its_words() -> None:
    group = Group()
    said = {}
    for basis in rules().production_basis.points:
        group.bases["head"] = (basis, 0.0)
        said[basis] = group.of("production_basis")["sentence_nl"]
    assert said == {
        "observed": "productie is een statistiek",
        "producer_list": "productie is een aangehaalde producentenlijst",
        "world_production_mix": "herkomst is de wereldproductiemix",
        "export_proxy": "productie is een uitvoerschatting",
    }


def test_several_names_stand_in_a_row() -> None:
    group = Group()
    group.nodes += [node("more", "281830")]
    group.edges += [edge("head", "more", essential=True, evidence="textbook")]
    group.chain += [{"node": "more", "tier": 1, "status": "traded", "codes": "281830", "codes_in_sources": "281830"}]
    group.bases = dict.fromkeys(("head", "item", "more"), ("export_proxy", 1.0))
    basis = group.of("production_basis")
    assert basis["sentence_en"] == "production is an export proxy, also of item / more"
    assert basis["sentence_nl"] == "productie is een uitvoerschatting, ook van item nl / more nl"
    evidence = group.of("chain_evidence")
    assert evidence["sentence_en"] == "edges of the chain: 1 by literature, 1 by textbook"
    assert evidence["sentence_nl"] == "verbindingen van de keten: 1 volgens literatuur, 1 volgens leerboek"
    for entry in group.chain[1:]:
        entry["status"] = "missing"
    coverage = group.of("coverage")
    assert coverage["sentence_en"] == "1 of 3 steps of the chain are in the sources: no data on item, more"
    assert (
        coverage["sentence_nl"] == "1 van 3 stappen van de keten staan in de bronnen: geen data over item nl, more nl"
    )
    assert (coverage["measured"], coverage["points"]) == (pytest.approx(1 / 3), 2)


def test_every_class_of_evidence_has_its_words() -> None:
    group = Group()
    said = {}
    for kind in rules().chain_evidence.weights:
        group.edges = [edge("head", "item", essential=True, evidence=kind)]
        found = group.of("chain_evidence")
        said[kind] = (found["sentence_en"].split(" 1 ")[1], found["sentence_nl"].split(" 1 ")[1])
    assert said == {
        "expert_bom": ("by an expert's bill of materials", "volgens de stuklijst van een expert"),
        "literature": ("by literature", "volgens literatuur"),
        "textbook": ("by textbook", "volgens leerboek"),
        "icio_proportional": ("by industry proportionality", "volgens industrieproportionaliteit"),
        "assumed": ("assumed", "aangenomen"),
    }


def test_a_product_without_traced_supply_is_graded_as_the_worst_basis() -> None:
    group = Group()
    del group.bases["head"]
    found = group.of("production_basis")
    assert (found["measured"], found["points"]) == (None, 2)
    assert found["sentence_en"] == "the product has no traced supply"
    assert found["sentence_nl"] == "het product heeft geen herleid aanbod"


def test_concordance_counts_codes_once() -> None:
    group = Group()
    found = group.of("concordance")
    assert (found["measured"], found["points"]) == (0.0, 0)
    assert found["sentence_en"] == (
        "every code has one industry and converts to one code, as far as concordances were read"
    )
    assert found["sentence_nl"] == (
        "elke code heeft één bedrijfstak en gaat naar één code om, voor zover concordanties zijn gelezen"
    )
    base = {"edition": "e", "method": "isic3", "industry": "C24B"}
    group.industries = [
        {"hs_revision": "HS92", "code": "281820", "also": "E", **base},
        {"hs_revision": "HS92", "code": "260600", "also": None, **base},
        {"hs_revision": "HS17", "code": "260600", "also": "E", **base},
    ]
    found = group.of("concordance")
    assert (found["measured"], found["points"]) == (0.5, 0), "on the limit"
    assert found["sentence_en"] == "281820 holds goods of several industries"
    split = {"from_revision": "HS92", "to_revision": "HS17", "weight": 0.5, "vintage": "v"}
    group.weights = [
        {"from_code": "281820", "to_code": "281821", "weight_basis": "trade_shares", **split},
        {"from_code": "281820", "to_code": "281822", "weight_basis": "trade_shares", **split},
        {"from_code": "260600", "to_code": "260600", "weight_basis": "one", **split},
    ]
    assert group.of("concordance")["measured"] == 0.5, "the same code twice over counts once"
    group.weights[2]["weight_basis"] = "equal"
    found = group.of("concordance")
    assert (found["measured"], found["points"]) == (1.0, 1)
    assert found["sentence_en"] == (
        "281820 holds goods of several industries; 260600, 281820 converts to several codes of another HS revision"
    )
    assert found["sentence_nl"] == (
        "281820 bevat goederen van meer bedrijfstakken; "
        "260600, 281820 gaat naar meer codes van een andere HS-revisie om"
    )
    for entry in group.chain:
        entry["status"] = "dashed"
    found = group.of("concordance")
    assert (found["measured"], found["points"]) == (None, 0)
    assert found["sentence_en"] == "no code of the chain is in the sources"
    assert found["sentence_nl"] == "geen code van de keten is in de bronnen"


@pytest.mark.parametrize(
    ("edges", "measured", "points"),
    [
        ([("literature", "read", "high")], 0.0, 0),
        ([("expert_bom", "", "high")], 0.0, 0),
        ([("textbook", "", "high")], 0.25, 0),
        ([("textbook", "", "medium")], 0.25, 0),
        ([("textbook", "", "low")], 0.5, 1),
        ([("literature", "recalled", "high")], 0.25, 0),
        ([("literature", "read", "low")], 0.25, 0),
        ([("icio_proportional", "", "high")], 0.75, 2),
        ([("assumed", "", "high")], 1.0, 2),
        ([("assumed", "", "low")], 1.0, 2),
        ([("textbook", "", "high"), ("icio_proportional", "", "high")], 0.5, 1),
    ],
)
def test_evidence_of_the_chain(edges: list[tuple[str, str, str]], measured: float, points: int) -> None:
    group = Group()
    group.nodes += [node("more", "281830")]
    ends = [("head", "item"), ("head", "more")]
    group.edges = [
        edge(*end, essential=True, evidence=kind, status=status, confidence=confidence)
        for end, (kind, status, confidence) in zip(ends, edges, strict=False)
    ]
    found = group.of("chain_evidence")
    assert (found["measured"], found["points"]) == (pytest.approx(measured), points)
    low = sum(e[2] == "low" for e in edges)
    assert (f"{low} of low confidence" in found["sentence_en"]) == bool(low)
    assert (f"{low} met lage betrouwbaarheid" in found["sentence_nl"]) == bool(low)
    assert found["sentence_en"].startswith("edges of the chain: 1 ")


def test_nothing_upstream_costs_a_point_unless_the_product_is_mined() -> None:
    group = Group()
    group.edges, group.chain, group.nodes = [], group.chain[:1], group.nodes[:1]
    found = group.of("chain_evidence")
    assert (found["measured"], found["points"]) == (None, 1)
    assert found["sentence_en"] == "the catalogue has nothing upstream"
    assert found["sentence_nl"] == "de catalogus heeft niets stroomopwaarts"
    group.nodes = [node("head", "281820", stage="extraction")]
    found = group.of("chain_evidence")
    assert (found["measured"], found["points"]) == (None, 0)
    assert found["sentence_en"] == "the product is what is mined, nothing stands upstream"
    assert found["sentence_nl"] == "het product is wat gewonnen wordt"


def test_a_shared_code_of_the_product_costs_a_point_and_is_named() -> None:
    group = Group()
    group.goods = (good("281820", "one", "een"), good("281820", "two", "twee"), good("281820", "three", "drie"))
    made = group.grades()
    found = one(made, dimension="shared_code")
    sentence = "statistics cannot split one from two and three (HS92 281820)"
    assert (found["measured"], found["points"], found["sentence_en"]) == (1.0, 1, sentence)
    assert found["sentence_nl"] == "statistieken kunnen een niet scheiden van twee en drie (HS92 281820)"
    assert grade_of(made)["NLD", "g"] == ("B", sentence, found["sentence_nl"])


def test_a_shared_code_upstream_is_named_and_costs_nothing() -> None:
    group = Group()
    group.goods = (good("260600", "ore"), good("260600", "slag"))
    made = group.grades()
    found = one(made, dimension="shared_code")
    assert (found["measured"], found["points"]) == (1.0, 0)
    assert grade_of(made)["NLD", "g"][:2] == ("A", "statistics cannot split ore from slag (HS92 260600)")
    group.chain[1]["codes_in_sources"] = None
    found = group.of("shared_code")
    assert (found["measured"], found["sentence_en"]) == (0.0, "no code of the chain joins goods"), "not in the sources"
    assert found["sentence_nl"] == "geen code van de keten voegt goederen samen"


def test_only_codes_that_the_sources_hold_are_counted() -> None:
    group = Group()
    group.nodes[0] = node("head", "281820 281830 281840")
    group.goods = tuple(good(c, name) for c in ("281820", "281830") for name in ("a", "b"))
    group.chain[0]["codes_in_sources"] = "281820 281840"
    assert group.of("shared_code")["measured"] == 1.0
    group.chain[0]["codes_in_sources"] = "281820 281830 281840"
    assert group.of("shared_code")["measured"] == 2.0
    group.chain[0].update(codes_in_sources=None, hs_revision=None)
    assert group.of("shared_code")["measured"] == 2.0, "without sources, those of every revision that are shared"


def test_what_a_code_leaves_out_and_what_it_does_in_another_revision() -> None:
    group = Group()
    group.goods = (
        good("281820", "corundum", "korund", "leaves_out"),
        good("281820", "a", revision="HS17"),
        good("281820", "b", revision="HS17"),
    )
    found = group.of("shared_code")
    assert found["sentence_en"] == "HS92 281820 leaves out corundum"
    assert found["sentence_nl"] == "HS92 281820 bevat niet: korund"
    assert found["points"] == 1
    group.goods = (good("281820", "", kind="none"),)
    group.nodes[0] = replace(group.nodes[0], shared_code_note="a note on something else")
    assert group.of("shared_code")["points"] == 0, "the file says that the code joins nothing"


def test_a_note_of_a_catalogue_stands_in_where_the_file_has_no_line() -> None:
    group = Group()
    group.nodes[0] = replace(group.nodes[0], shared_code_note="joins this and that")
    found = group.of("shared_code")
    assert (found["points"], found["sentence_en"], found["sentence_nl"]) == (1, *("joins this and that",) * 2)


def test_codes_of_several_nodes_and_materials_are_found_by_computation() -> None:
    group = Group()
    group.nodes.append(node("twin", "281820"))
    group.extra["links"] = [link("260600", m) for m in ("Bauxite", "Gallium", "Iron")]
    found = group.of("shared_code")
    assert found["sentence_en"] == (
        "HS92 281820 stands for head and twin; statistics cannot split Bauxite from Gallium and Iron (HS92 260600)"
    )
    assert found["sentence_nl"] == (
        "HS92 281820 staat voor head nl en twin nl; "
        "statistieken kunnen Bauxite niet scheiden van Gallium en Iron (HS92 260600)"
    )
    assert (found["measured"], found["points"]) == (2.0, 1)


def test_codes_that_join_the_same_goods_share_a_sentence() -> None:
    splits = Splits(
        catalogue([node("pair", "281820 281830")]),
        [good(c, name) for c in ("281820", "281830") for name in ("first", "second", "third")],
    )
    assert splits.of_node("pair", "HS92") == [
        ("statistics cannot split first from second and third (HS92 281820, HS92 281830)",
         "statistieken kunnen first niet scheiden van second en third (HS92 281820, HS92 281830)"),
    ]  # fmt: skip
    assert splits.of_node("pair", "HS92", {"281830"})[0][0].endswith("(HS92 281830)")
    assert splits.of_node("pair", "HS17") == []
    assert splits.of_node("pair", "HS92", set()) == []
    assert splits.shared("HS92", "281820")
    assert not splits.shared("HS17", "281820")


# -- the sum ------------------------------------------------------------------------------------------------------


def test_points_add_up_and_the_reason_names_what_costs() -> None:
    group = Group()
    group.bases = {"head": ("export_proxy", 1.0), "item": ("export_proxy", 1.0)}
    group.without, group.chain[1]["status"] = 0.3, "dashed"
    made = group.grades()
    assert {r["total_points"] for r in made.to_pylist()} == {4}
    letter, english, dutch = grade_of(made)["NLD", "g"]
    assert letter == "E"
    assert english == (
        "1 of 2 steps of the chain are in the sources: no data on item; 30% of the import value has no quantity; "
        "production is an export proxy, also of item"
    )
    assert dutch is not None
    assert dutch.count("; ") == 2


@given(st.lists(st.integers(0, 4), min_size=8, max_size=8), st.integers(0, 3))
def test_more_points_never_make_a_better_letter(points: list[int], more: int) -> None:
    scale = rules().scale
    assert scale.letter(sum(points)) <= scale.letter(sum(points) + more)
    assert scale.letter(0) == "A"
    assert [scale.letter(n) for n in (1, 2, 3, 4, 5, 99)] == ["B", "C", "D", "E", "E", "E"]


@given(
    st.lists(st.tuples(st.floats(0, 10), st.integers(0, 5)), max_size=4),
    st.floats(-1, 11),
    st.booleans(),
)
def test_steps_against_a_plain_walk(steps: list[tuple[float, int]], measured: float, below: bool) -> None:
    ordered = sorted(steps, key=lambda s: s[0], reverse=below)
    rule = Stepped(
        source="s", unit="u", words_en="w", words_nl="w", below=below,
        steps=tuple(Step(limit=limit, points=points) for limit, points in ordered),
    )  # fmt: skip
    expected = 0
    for limit, points in ordered:
        if (below and measured < limit) or (not below and measured > limit):
            expected = points
    assert rule.points(measured) == expected
    assert rule.points(None) == 0


def test_the_newest_year_with_a_node_test_is_graded() -> None:
    group = Group()
    group.years = [2022, 2024, 2023]
    assert {r["year"] for r in group.grades().to_pylist()} == {2024}


def test_a_group_without_trade_data_is_an_e_that_still_names_its_codes() -> None:
    group = Group()
    group.years = []
    for entry in group.chain:
        entry.update(status="missing", codes=None, codes_in_sources=None, hs_revision=None)
    group.nodes[0] = node("head", "811292")
    group.goods = tuple(g for g in goods() if g.code == "811292")
    made = group.grades()
    assert one(made, dimension="coverage")["points"] == 4
    assert one(made, dimension="coverage")["sentence_nl"] == "geen handelsdata"
    assert one(made, dimension="mass")["sentence_en"] == "cannot be graded: no trade data"
    assert one(made, dimension="mass")["sentence_nl"] == "niet te beoordelen: geen handelsdata"
    letter, english, dutch = grade_of(made)["NLD", "g"]
    assert letter == "E"
    assert english == (
        "no trade data; statistics cannot split gallium from germanium, hafnium, indium, niobium, rhenium and vanadium "
        "(HS17 811292)"
    )
    assert dutch is not None
    assert "kunnen gallium niet scheiden van germanium" in dutch


def test_every_focus_and_group_has_every_dimension_in_two_languages() -> None:
    held = chain_world()
    tables = Group().tables() | {
        "indicators": held.indicators,
        "exposure": held.exposure.exposure,
        "chain_nodes": held.exposure.chain_nodes,
        "chain_edges": held.exposure.chain_edges,
    }
    made = build_grades(tables, held.reference, rules(), goods(), ["NLD"], 2022)
    assert made.num_rows == len(held.reference.groups) * len(GRADE_DIMENSIONS)
    for row in made.to_pylist():
        assert row["sentence_en"], row
        assert row["sentence_nl"], row
        assert row["rule_en"] == getattr(rules(), row["dimension"]).words_en
    for group in held.reference.groups:
        own = rows(made, group=group)
        assert {r["total_points"] for r in own} == {sum(r["points"] for r in own)}


# -- what ships ---------------------------------------------------------------------------------------------------


def test_gallium_and_germanium_are_named_as_what_a_statistic_cannot_split() -> None:
    splits = Splits(shipped(), goods())
    (sentence,) = splits.of_codes([("HS17", "811292")])
    assert sentence[0].startswith("statistics cannot split gallium from germanium")
    assert sentence[1].startswith("statistieken kunnen gallium niet scheiden van germanium")
    assert splits.of_node("gallium_germanium", "HS17") == [sentence]
    assert splits.shared("HS17", "811292")
    assert not splits.shared("HS92", "760110")
    assert not splits.shared("HS92", "250410"), "the file says that it joins nothing"
    assert splits.shared("HS92", "252890"), "it leaves out"
    assert splits.shared("HS92", "251020")


def test_every_node_with_a_note_has_lines_and_every_line_a_node() -> None:
    known = {(g.hs_revision, g.code) for g in goods()}
    of_nodes = {(r, c) for n in shipped().nodes for r in ("HS92", "HS17") for c in shipped().codes(n, r)}
    assert known <= of_nodes
    for name, held in shipped().nodes.items():
        codes = {(r, c) for r in ("HS92", "HS17") for c in shipped().codes(name, r)}
        assert not held.shared_code_note or codes & known, name
        assert held.shared_code_note or not {k for k in codes & known if not k[1].startswith("2510")}, name


def test_codes_of_the_lines_exist_in_the_lists_of_their_revision() -> None:
    for revision, name in (("HS92", "product_codes_HS92_V202401b.csv"), ("HS17", "product_codes_HS17_V202301.csv")):
        with (SHIPPED / "hs_codes" / name).open(encoding="utf-8") as stream:
            codes = {row[0] for row in csv.reader(stream)}
        assert {g.code for g in goods() if g.hs_revision == revision} <= codes


def test_shared_uses_against_a_plain_count() -> None:
    reference = shipped()
    uses: dict[tuple[str, str], dict[str, set[str]]] = {}
    for name in reference.nodes:
        for revision in ("HS92", "HS17"):
            for code in reference.codes(name, revision):
                of_code = uses.setdefault((revision, code), {"nodes": set(), "groups": set(), "materials": set()})
                of_code["nodes"].add(name)
                of_code["groups"] |= {g for g in reference.groups if name in reference.nodes_of(g)}
    for entry in reference.production_links:
        uses.setdefault((entry.hs_revision, entry.code), {"nodes": set(), "groups": set(), "materials": set()})[
            "materials"
        ].add(entry.material)
    expected = {k for k, v in uses.items() if any(len(part) > 1 for part in v.values())}
    found = shared_uses(reference)
    assert set(found) == expected
    for key, use in found.items():
        assert (set(use.nodes), set(use.groups), set(use.materials)) == tuple(uses[key].values())
    assert found["HS92", "251020"].nodes == ("phosphate_ground", "phosphate_rock")


# -- refusals -----------------------------------------------------------------------------------------------------


def edited(tmp_path: Path, name: str, old: str, new: str) -> Path:
    text = (SHIPPED / name).read_text(encoding="utf-8")
    assert text.count(old) >= 1
    (tmp_path / name).write_text(text.replace(old, new, 1), encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("no_data = 4", "", "rule coverage.no_data: field required"),
        ("no_data = 4", "no_data = -1", "rule coverage.no_data: input should be greater than or equal to 0"),
        ("below = true", "sideways = true", "rule coverage.sideways: extra inputs are not permitted"),
        ("{ limit = 2, points = 1 }, { limit = 4, points = 2 }", "{ limit = 4, points = 2 }, { limit = 2, points = 1 }",
         "rule vintage_age: steps stand from the mildest to the worst limit"),
        ("observed = 0, ", "", "rule production_basis.points: points are for exactly observed, producer_list, "
         "world_production_mix, export_proxy"),
        ("expert_bom = 0.0, ", "", "rule chain_evidence.weights: weights are for exactly expert_bom, literature, "
         "textbook, icio_proportional, assumed; "
         "compare it with data/reference/grades.toml."),
        ('letters = ["A"', 'letters = ["F"', "rule scale.letters.0: input should be 'A', 'B', 'C', 'D' or 'E'"),
        ("[scale]", "[scale", "is not readable TOML"),
    ],
)  # fmt: skip
def test_rules_that_do_not_hold_are_refused(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    folder = edited(tmp_path, "grades.toml", old, new)
    with pytest.raises(InputRefused, match=re.escape(sentence)) as refused:
        load_grade_rules(SHIPPED, folder)
    assert "grades.toml" in str(refused.value)


def test_the_last_folder_with_rules_wins_and_none_is_refused(tmp_path: Path) -> None:
    folder = edited(tmp_path, "grades.toml", "no_data = 4", "no_data = 7")
    assert load_grade_rules(SHIPPED, folder).coverage.no_data == 7
    assert load_grade_rules(folder, SHIPPED).coverage.no_data == 4
    with pytest.raises(InputRefused, match=r"grades.toml is missing"):
        load_grade_rules(tmp_path / "nowhere")
    with pytest.raises(InputRefused, match=r"shared_codes.csv is missing"):
        load_shared_codes()


HEADER = "hs_revision,code,kind,good_en,good_nl,source\n"


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ("HS92,81129,joins,a,a,s\n", "line 2: code: string should match pattern"),
        ("HS12,811292,joins,a,a,s\n", "line 2: hs_revision: input should be 'HS92' or 'HS17'"),
        ("HS92,811292,holds,a,a,s\n", "line 2: kind: input should be"),
        ("HS92,811292,joins,a,,s\n", "line 2: a good is named in both languages"),
        (
            "HS92,811292,none,a,a,s\n",
            "line 2: a good is named in both languages, and none where the code joins nothing",
        ),
        ("HS92,811292,joins,,,s\n", "line 2: a good is named in both languages"),
        ("HS92,811292,joins,a,a,\n", "line 2: source: string should have at least 1 character"),
        ("HS92,811292,joins,a,a,s,more\n", "line 2: a value beyond the last column"),
        ("HS92,811292,joins,a,a,s\nHS92,811292,joins,a,a,s\n", "line 3: the line stands twice"),
        ("HS92,811292,joins,a,a,s\n", "line 2: HS92 811292 joins one good only"),
    ],
)
def test_lines_that_do_not_hold_are_refused(tmp_path: Path, lines: str, sentence: str) -> None:
    (tmp_path / "shared_codes.csv").write_text(HEADER + lines, encoding="utf-8")
    with pytest.raises(InputRefused, match=re.escape(f"shared_codes.csv, {sentence}")) as refused:
        load_shared_codes(tmp_path)
    said = "compare it with data/reference/shared_codes.csv."
    assert str(refused.value).endswith((said, "stands twice.", "joins one good only."))


def test_a_file_that_is_no_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "shared_codes.csv").write_bytes(HEADER.encode() + b"HS92,811292,joins,\xe9,e,s\n")
    with pytest.raises(InputRefused, match=r"shared_codes.csv: is not UTF-8 \(invalid continuation byte\)\."):
        load_shared_codes(tmp_path)


def test_the_rules_are_read_from_the_file(tmp_path: Path) -> None:
    group = Group()
    group.bases["item"] = ("observed", 0.3)
    changed: Mapping[str, GradeRules] = {
        "shipped": rules(),
        "milder": load_grade_rules(
            edited(tmp_path, "grades.toml", 'unit = "share"\nsteps = [{ limit = 0.1, points = 1 }, { limit = 0.5',
                   'unit = "share"\nsteps = [{ limit = 0.4, points = 1 }, { limit = 0.5')
        ),
    }  # fmt: skip
    points = {
        name: one(build_grades(group.tables(), group.reference, held, (), ["NLD"], AS_OF), dimension="patch_share")
        for name, held in changed.items()
    }
    assert (points["shipped"]["points"], points["milder"]["points"]) == (1, 0)
