"""A corrected edge feeds the next run; what does not fit the catalogue is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ketenpipe.chain.catalogue import Reference
from ketenpipe.errors import InputRefused, WrongUse
from ketenpipe.review.amendments import amended, check_amendment, parse_amendment
from ketenpipe.review.ledger import append_decision, read_ledger
from ketenpipe_tests.worlds import catalogue, edge, node


def chain() -> Reference:
    """g: product <- metal <- ore, the metal's share unknown."""
    return catalogue(
        [node("product", "850511"), node("metal", "280530"), node("ore", "261400")],
        [edge("product", "metal"), edge("metal", "ore", essential=True)],
        {"g": "product"},
    )


def revise(home: Path, amendment: str | dict[str, Any], group: str = "g") -> None:
    append_decision(
        home,
        group=group,
        decision="revise",
        evidence="{}",
        reviewer="A. Expert",
        role="metallurgist",
        rationale="the share is known",
        amendment=amendment,
    )


def edges(reference: Reference) -> dict[tuple[str, str], tuple[float | None, bool]]:
    return {(e.user, e.input): (e.intensity, e.essential) for e in reference.edges}


def test_an_intensity_reaches_the_edge_with_its_citation_and_no_name(tmp_path: Path) -> None:
    revise(tmp_path, {"user": "product", "input": "metal", "intensity": 0.3, "citation": "Handbook 2025"})
    after = amended(chain(), read_ledger(tmp_path))
    assert edges(after)[("product", "metal")] == (0.3, False)
    found = next(e for e in after.edges if e.input == "metal")
    assert (found.weight, found.evidence, found.citation) == (0.3, "expert_bom", "Handbook 2025")
    assert "metallurgist" in found.amendment
    assert "A. Expert" not in repr(after)


def test_the_later_decision_wins_and_both_are_told(tmp_path: Path) -> None:
    revise(tmp_path, {"user": "product", "input": "metal", "intensity": 0.3, "citation": "a"})
    revise(tmp_path, {"user": "product", "input": "metal", "essential": True})
    after = amended(chain(), read_ledger(tmp_path))
    assert edges(after)[("product", "metal")] == (0.3, True)
    assert next(e for e in after.edges if e.input == "metal").amendment.count("decision") == 2


def test_a_removed_input_takes_what_only_it_needed_along(tmp_path: Path) -> None:
    revise(tmp_path, {"user": "product", "input": "metal", "remove": True})
    after = amended(chain(), read_ledger(tmp_path))
    assert edges(after) == {}
    assert after.nodes_of("g") == ("product",)


def test_a_new_edge_is_an_experts(tmp_path: Path) -> None:
    revise(tmp_path, {"user": "product", "input": "ore", "essential": True})
    found = next(e for e in amended(chain(), read_ledger(tmp_path)).edges if (e.user, e.input) == ("product", "ore"))
    assert (found.evidence, found.weight, found.amendment.endswith("essential")) == ("expert_bom", 1.0, True)


def test_words_alone_change_nothing(tmp_path: Path) -> None:
    revise(tmp_path, "the metal is mostly recycled")
    assert edges(amended(chain(), read_ledger(tmp_path))) == edges(chain())


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"user": "product", "input": "metal", "intensity": 1.2, "citation": "x"}, "intensity"),
        ({"user": "product", "input": "metal", "intensity": 0.2}, "without a citation"),
        ({"user": "product"}, "input"),
        ({"user": "product", "input": "metal", "intensty": 0.2}, "intensty"),
        ({"user": "product", "input": "gold"}, "no node 'gold'"),
        ({"user": "product", "input": "ore", "remove": True}, "no edge"),
        ({"user": "ore", "input": "product"}, "cycle"),
    ],
)
def test_what_cannot_be_taken_is_said_before_it_is_recorded(raw: dict[str, Any], words: str) -> None:
    with pytest.raises(WrongUse, match=words):
        check_amendment(chain(), "g", parse_amendment(raw))


def test_an_amendment_that_no_longer_fits_names_its_decision(tmp_path: Path) -> None:
    revise(tmp_path, {"user": "product", "input": "gone", "essential": True})
    with pytest.raises(InputRefused, match="decision 1 no longer fits"):
        amended(chain(), read_ledger(tmp_path))
