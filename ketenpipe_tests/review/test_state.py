"""The state of a dossier follows from the last decision and the evidence as it is now."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ketenpipe.review.state import review_states
from ketenpipe.tables.registry import DECISIONS, DOSSIERS, REVIEW_DECISIONS, REVIEW_STATES


def decided(*rows: tuple[str, str, str]) -> pa.Table:
    if not rows:
        return REVIEW_DECISIONS.empty()
    return REVIEW_DECISIONS.conform(
        {
            "sequence": i,
            "group": group,
            "decision": decision,
            "evidence_hash": digest,
            "role": f"role {i}",
            "date": f"2026-01-{i:02d}T00:00:00Z",
        }
        for i, (group, decision, digest) in enumerate(rows, start=1)
    )


def dossiers(**hashes: str) -> pa.Table:
    return DOSSIERS.conform({"group": g, "evidence_hash": h, "evidence": "{}"} for g, h in hashes.items())


@pytest.mark.parametrize(
    ("history", "status"),
    [
        ([], "awaiting_sign_off"),
        ([("g", "approve", "a")], "signed"),
        ([("g", "reject", "a")], "rejected"),
        ([("g", "revise", "a")], "rejected"),
        ([("g", "approve", "old")], "reopened"),
        ([("g", "reject", "old")], "reopened"),
        ([("g", "approve", "a"), ("g", "reject", "a")], "rejected"),
        ([("g", "reject", "a"), ("g", "approve", "a")], "signed"),
        ([("g", "approve", "a"), ("g", "approve", "old")], "reopened"),
        ([("other", "approve", "a")], "awaiting_sign_off"),
    ],
)
def test_states(history: list[tuple[str, str, str]], status: str) -> None:
    assert review_states(decided(*history), dossiers(g="a"))["g"].status == status


def test_who_signed_is_named_only_while_the_signature_stands() -> None:
    history = decided(("g", "approve", "a"))
    signed = review_states(history, dossiers(g="a"))["g"]
    assert (signed.signed_role, signed.signed_on, signed.signed_hash) == ("role 1", "2026-01-01T00:00:00Z", "a")
    assert not signed.provisional
    reopened = review_states(history, dossiers(g="b"))["g"]
    assert (reopened.signed_role, reopened.signed_on, reopened.signed_hash) == (None, None, "a")
    assert (reopened.decided_role, reopened.decided_hash) == ("role 1", "a")
    assert reopened.provisional


@given(
    st.lists(st.tuples(st.sampled_from(["g", "h"]), st.sampled_from(DECISIONS), st.sampled_from("abc")), max_size=8),
    st.sampled_from("abc"),
    st.randoms(),
)
def test_the_state_machine(history: list[tuple[str, str, str]], now: str, random: object) -> None:
    table = decided(*history)
    order = list(range(table.num_rows))
    random.shuffle(order)  # type: ignore[attr-defined]
    state = review_states(table.take(pa.array(order, pa.int64())), dossiers(g=now))["g"]
    own = [(d, h) for g, d, h in history if g == "g"]
    assert state.status in REVIEW_STATES
    assert (state.status == "signed") == (bool(own) and own[-1] == ("approve", now))
    assert (state.status == "awaiting_sign_off") == (not own)
    assert (state.status == "reopened") == (bool(own) and own[-1][1] != now)
    assert state.provisional == (state.status != "signed")
    assert (state.signed_role is not None) == (state.status == "signed")
    approvals = [h for d, h in own if d == "approve"]
    assert state.signed_hash == (approvals[-1] if approvals else None)
