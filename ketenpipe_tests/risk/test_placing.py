"""Numbers for words, and the rows that a node's figure becomes."""

from __future__ import annotations

import pyarrow as pa
import pytest

from ketenpipe.risk.placing import Numbers, Place, codes_of_nodes, places_of
from ketenpipe.tables.registry import CHAIN_NODES
from ketenpipe_tests.worlds import REVISION, catalogue, essential, node


def placed(group: str, name: str, tier: int | None, status: str = "traded") -> dict[str, object]:
    """A row of table ``chain_nodes``."""
    return {
        "group": group, "node": name, "tier": tier, "stage": "processing", "hs_revision": REVISION, "status": status,
    }  # fmt: skip


def plan(*rows: dict[str, object]) -> pa.Table:
    """Only the columns that are read; the others of the contract do not matter here."""
    columns = ("group", "node", "tier", "hs_revision", "status")
    return pa.table({n: pa.array([r[n] for r in rows], CHAIN_NODES.column(n).type) for n in columns})


def test_words_are_numbered_as_they_come() -> None:
    numbers = Numbers(["b", "b", "a"])
    assert numbers.words == ["b", "a"]
    assert len(numbers) == 2
    found = numbers.take(pa.chunked_array([["c", "a"], ["b", None, "c"]]))
    assert found.tolist() == [2, 1, 0, -1, 2]
    assert numbers.words == ["b", "a", "c"]


def test_plain_text_and_dictionaries_give_the_same_numbers() -> None:
    plain = pa.array(["x", None, "y", "x"])
    assert Numbers().take(plain).tolist() == Numbers().take(plain.dictionary_encode()).tolist() == [0, -1, 1, 0]


def test_a_word_without_a_number_can_be_left_out() -> None:
    numbers = Numbers(["a"])
    assert numbers.take(pa.array(["b", "a", None]), new=False).tolist() == [-1, 0, -1]
    assert numbers.words == ["a"]


def test_a_column_without_rows_has_no_numbers() -> None:
    assert Numbers().take(pa.chunked_array([], pa.string())).tolist() == []


def test_a_node_stands_in_each_of_its_groups_and_a_group_on_its_head() -> None:
    reference = catalogue(
        [node("top", "100001"), node("low", "100002 100003"), node("dark", "100004")],
        [essential("top", "low", "a"), essential("top", "low", "b")],
        {"a": "top", "b": "low"},
    )
    table = plan(
        placed("a", "top", 0), placed("a", "low", 1), placed("b", "low", 0), placed("a", "dark", None, "dashed"),
    )  # fmt: skip
    places = places_of(table, reference)
    assert places == [
        Place("node", "top", REVISION, "a", 0, "top"),
        Place("group", "a", REVISION, "a", 0, "top"),
        Place("node", "low", REVISION, "a", 1, "low"),
        Place("node", "low", REVISION, "b", 0, "low"),
        Place("group", "b", REVISION, "b", 0, "low"),
    ]
    assert codes_of_nodes(places, reference) == [
        (REVISION, "100001", "top"), (REVISION, "100002", "low"), (REVISION, "100003", "low"),
    ]  # fmt: skip


@pytest.mark.parametrize(("name", "tier"), [("other", 0), ("top", 1)])
def test_only_the_head_at_tier_0_stands_for_the_group(name: str, tier: int) -> None:
    reference = catalogue([node("top", "100001"), node("other", "100002")], (), {"a": "top"})
    assert [p.level for p in places_of(plan(placed("a", name, tier)), reference)] == ["node"]


def test_without_a_catalogue_nothing_is_placed() -> None:
    assert places_of(CHAIN_NODES.empty(), catalogue()) == []
    assert codes_of_nodes([], catalogue()) == []
