"""Experts' corrections of the chain: decided in the room, recorded in the ledger, applied by the next run.

Belongs here: from ``revise`` decisions to catalogue edges. A correction in words alone (no edge named) changes nothing
by itself; it waits for somebody to edit the catalogue. Names stay in the ledger: the catalogue only carries the role.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Literal

import networkx as nx
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ketenpipe.chain.catalogue import Edge, Reference, with_edges
from ketenpipe.errors import InputRefused, WrongUse
from ketenpipe.review.ledger import Decision, amendments


class EdgeAmendment(BaseModel):
    """A corrected edge of one group: ``input`` goes into ``user``.

    Attributes:
        user, input: nodes of the catalogue.
        remove: the edge is wrong and goes.
        intensity: cost or mass share within [0, 1]; None leaves it as it is (unknown for a new edge).
        essential: None leaves it as it is (false for a new edge).
        citation: where the expert takes it from; needed with an intensity.
        confidence: the expert's confidence in the edge.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    user: str = Field(min_length=1)
    input: str = Field(min_length=1)
    remove: bool = False
    intensity: float | None = Field(default=None, ge=0, le=1)
    essential: bool | None = None
    citation: str | None = None
    confidence: Literal["high", "medium", "low"] = "medium"


def parse_amendment(raw: Mapping[str, Any]) -> EdgeAmendment:
    """An edge amendment from plain data.

    Raises:
        WrongUse: a field that is unknown, missing or out of bounds; an intensity without a citation.
    """
    try:
        amendment = EdgeAmendment(**raw)
    except ValidationError as error:
        first = error.errors()[0]
        raise WrongUse(f"the amendment's {'.'.join(map(str, first['loc']))}: {first['msg'].lower()}") from error
    if amendment.intensity is not None and not (amendment.citation or "").strip():
        raise WrongUse("the amendment gives an intensity without a citation: say where the figure comes from")
    return amendment


def check_amendment(reference: Reference, group: str, amendment: EdgeAmendment) -> None:
    """Refuse an amendment that the catalogue cannot take (the same sentence when it is decided as when it is applied).

    Raises:
        WrongUse: an unknown group or node, an edge to remove that is not there, a cycle.
    """
    if group not in reference.groups:
        raise WrongUse(f"there is no group '{group}' in the catalogue")
    for node in (amendment.user, amendment.input):
        if node not in reference.nodes:
            raise WrongUse(f"group '{group}': there is no node '{node}' in the catalogue")
    there = any((e.user, e.input) == (amendment.user, amendment.input) for e in reference.edges_of(group))
    if amendment.remove:
        if not there:
            raise WrongUse(
                f"group '{group}': there is no edge from '{amendment.input}' into '{amendment.user}' to remove"
            )
        return
    graph = nx.DiGraph((e.user, e.input) for e in reference.edges_of(group))
    graph.add_edge(amendment.user, amendment.input)
    if not nx.is_directed_acyclic_graph(graph):
        raise WrongUse(f"group '{group}': '{amendment.input}' into '{amendment.user}' would close a cycle")


def amended(reference: Reference, ledger: Iterable[Decision]) -> Reference:
    """The catalogue with every recorded edge amendment applied, in the order of the ledger.

    Raises:
        InputRefused: an amendment in the ledger that the catalogue can no longer take, by its number.
    """
    out = reference
    for decision in amendments(ledger):
        if not isinstance(decision.amendment, dict):
            continue
        try:
            amendment = parse_amendment(decision.amendment)
            check_amendment(out, decision.group, amendment)
        except WrongUse as error:
            raise InputRefused(
                f"the amendment of decision {decision.sequence} no longer fits the catalogue "
                f"({str(error).rstrip('.')})",
                path="review/decisions.jsonl",
                todo="record a new decision that revises it, or bring the catalogue's node back",
            ) from error
        out = _apply(out, decision, amendment)
    return out


def _apply(reference: Reference, decision: Decision, amendment: EdgeAmendment) -> Reference:
    place = (decision.group, amendment.user, amendment.input)
    kept = [e for e in reference.edges if (e.group, e.user, e.input) != place]
    old = next((e for e in reference.edges if (e.group, e.user, e.input) == place), None)
    if not amendment.remove:
        kept.append(_edge(decision, amendment, old))
        return with_edges(reference, kept)
    # An input that nothing uses any more leaves the group with all that only it needed.
    head = reference.groups[decision.group].node
    graph = nx.DiGraph((e.user, e.input) for e in kept if e.group == decision.group)
    graph.add_node(head)
    reachable = {head} | nx.descendants(graph, head)
    return with_edges(reference, [e for e in kept if e.group != decision.group or e.user in reachable])


def _edge(decision: Decision, amendment: EdgeAmendment, old: Edge | None) -> Edge:
    by = f"decision {decision.sequence} ({decision.role}, {decision.date[:10]})"
    changed = [f"intensity {amendment.intensity:g}"] if amendment.intensity is not None else []
    if amendment.essential is not None:
        changed.append("essential" if amendment.essential else "not essential")
    note = f"{by}: {', '.join(changed) or ('confirmed' if old else 'new edge')}"
    citation = amendment.citation or f"expert judgement, {by}"
    if old is None:
        return Edge(
            group=decision.group,
            user=amendment.user,
            input=amendment.input,
            intensity=amendment.intensity,
            essential=bool(amendment.essential),
            evidence="expert_bom",
            confidence=amendment.confidence,
            citation=citation,
            citation_status="read",
            note="",
            file="review/decisions.jsonl",
            line=decision.sequence,
            amendment=note,
        )
    return replace(
        old,
        intensity=old.intensity if amendment.intensity is None else amendment.intensity,
        essential=old.essential if amendment.essential is None else amendment.essential,
        evidence="expert_bom",
        confidence=amendment.confidence,
        citation=citation,
        citation_status="read" if amendment.intensity is not None else old.citation_status,
        amendment="; ".join(n for n in (old.amendment, note) if n),
    )
