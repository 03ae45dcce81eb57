"""The state of each dossier: what the last decision says about the evidence as it is now.

Belongs here: the one pure function that both the review room and the publishing function ask. Does not belong
here: reading the ledger, making the evidence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa


@dataclass(frozen=True)
class State:
    """The state of one group's dossier.

    Attributes:
        group: product group.
        status: ``awaiting_sign_off``, ``signed``, ``rejected`` or ``reopened`` (registry REVIEW_STATES).
        evidence_hash: hash of the evidence as it is now.
        signed_role, signed_on: of the signature that stands; None unless the status is ``signed``.
        signed_hash: hash of the evidence of the latest approval, whether it still stands or not; None if
        none.
        decision, decided_role, decided_on, decided_hash: the last decision of any kind, and what it judged.
    """

    group: str
    status: str
    evidence_hash: str
    signed_role: str | None = None
    signed_on: str | None = None
    signed_hash: str | None = None
    decision: str | None = None
    decided_role: str | None = None
    decided_on: str | None = None
    decided_hash: str | None = None

    @property
    def provisional(self) -> bool:
        """True until an expert has signed this very evidence."""
        return self.status != "signed"


def review_states(decisions: pa.Table, dossiers: pa.Table) -> dict[str, State]:
    """The state of every group that has a dossier.

    No decision: awaiting sign-off. Otherwise the decision with the highest sequence counts: on the evidence
    as it is now, an approval makes it signed, a rejection or a wish for revision makes it rejected; on
    other evidence the dossier is re-opened.

    Args:
        decisions: table ``review_decisions`` (:func:`ketenpipe.review.ledger.decisions_table`).
        dossiers: table ``dossiers``, for the current hashes.
    """
    per_group: dict[str, list[dict[str, Any]]] = {}
    for row in sorted(decisions.to_pylist(), key=lambda r: r["sequence"]):
        per_group.setdefault(row["group"], []).append(row)
    states = {}
    for group, current in zip(
        dossiers.column("group").to_pylist(), dossiers.column("evidence_hash").to_pylist(), strict=True
    ):
        history = per_group.get(group, [])
        if not history:
            states[group] = State(group, "awaiting_sign_off", current)
            continue
        last = history[-1]
        approvals = [row for row in history if row["decision"] == "approve"]
        if last["evidence_hash"] != current:
            status = "reopened"
        else:
            status = "signed" if last["decision"] == "approve" else "rejected"
        signed = status == "signed"
        states[group] = State(
            group=group,
            status=status,
            evidence_hash=current,
            signed_role=last["role"] if signed else None,
            signed_on=last["date"] if signed else None,
            signed_hash=approvals[-1]["evidence_hash"] if approvals else None,
            decision=last["decision"],
            decided_role=last["role"],
            decided_on=last["date"],
            decided_hash=last["evidence_hash"],
        )
    return states
