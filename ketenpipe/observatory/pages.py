"""The dossiers as pages of a release: one Markdown and one HTML file per product group.

Belongs here: bringing evidence, state, verdict, names and pictures of one group together. Does not belong here:
words and layout (:mod:`ketenpipe.review.render`), drawing (:mod:`ketenpipe.observatory.pictures`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from ketenpipe.chain.catalogue import Reference
from ketenpipe.observatory.graph_pictures import graph_page_markdown
from ketenpipe.review.dossier import Names
from ketenpipe.review.ledger import signed_evidence
from ketenpipe.review.render import Page, names_of, render_html, render_markdown
from ketenpipe.review.state import State
from ketenpipe.tables.home import AnyHome

#: Pictures of a group, by the beginning of their file name, and what they show.
GROUP_PICTURES = {"suppliers": "Who supplies the product, directly and traced", "chain": "What goes into what"}


@dataclass(frozen=True)
class GraphTables:
    """Tables of the supply graph: graph_nodes, graph_measures."""

    nodes: pa.Table
    measures: pa.Table

    def narrow(self, group: str, names: Names, reference: Reference) -> str:
        """Where the group's graph is narrow, as Markdown."""
        members = members_of(self.nodes, reference)
        return graph_page_markdown(self.nodes, self.measures, group, names, members, hubs_of(reference))


def members_of(graph_nodes: pa.Table, reference: Reference) -> dict[str, frozenset[str]]:
    """The members of each bloc among the foci, in the newest year of the graph."""
    foci, years = (graph_nodes.column(c).unique().to_pylist() for c in ("focus", "year"))
    return {focus: reference.bloc_members(focus, max(years)) for focus in foci if focus in reference.bloc_names}


def hubs_of(reference: Reference) -> frozenset[tuple[str, str]]:
    """Node and country where scrap or foreign intermediates are refined."""
    return frozenset((hub.node, hub.country) for hub in reference.refining_hubs)


def page_of(
    group: str,
    *,
    home: AnyHome,
    state: State,
    register: pa.Table,
    labels: pa.Table,
    reference: Reference,
    pictures: Collection[str] = (),
    folder: str = "../pictures",
    graph: GraphTables | None = None,
    explanations: pa.Table | None = None,
    uncertainty: pa.Table | None = None,
) -> Page:
    """What stands on a group's page beside its evidence.

    Args:
        group: product group.
        home: for the evidence that was judged last, where the dossier was re-opened.
        state: of the dossier.
        register, labels: tables of the release.
        reference: the catalogue, for the public interests.
        pictures: file names of the pictures that are there.
        folder: where the pictures lie, seen from the page.
        graph: the supply graph, None where the release has none.
        explanations: how the headline figures come about, None where the release does not say.
        uncertainty: how sure the figures are, None where no draws were made.
    """
    known = reference.groups.get(group)
    interests = [reference.public_interests[i].name_en for i in known.public_interests] if known else []
    since = None
    if state.status == "reopened" and state.decided_hash is not None:
        since = signed_evidence(home, state.decided_hash)
    names = names_of(labels)
    drawn = (pc.field("group") == group) & (pc.field("level") == "group")
    seen_from = re.compile(rf"graph_([A-Z][A-Z0-9_]*)_{re.escape(group)}\.png")
    graphs = {found[1]: name for name in sorted(pictures) if (found := seen_from.fullmatch(name))}
    return Page(
        names=names,
        verdicts=[r for r in register.to_pylist() if r["group"] == group],
        interests=interests,
        interest_why=known.interest_why_en if known else None,
        pictures={
            words: f"{folder}/{kind}_{group}.png"
            for kind, words in GROUP_PICTURES.items()
            if f"{kind}_{group}.png" in pictures
        }
        | {
            f"Where it is made, step by step, seen from {names.get(('country', focus), focus)}": f"{folder}/{name}"
            for focus, name in graphs.items()
        },
        since=since,
        narrow="" if graph is None else graph.narrow(group, names, reference),
        explained=[] if explanations is None else explanations.filter(pc.field("group") == group).to_pylist(),
        drawn=[] if uncertainty is None else uncertainty.filter(drawn).to_pylist(),
    )


def build_pages(
    dossiers: pa.Table,
    states: Mapping[str, State],
    *,
    home: AnyHome,
    register: pa.Table,
    labels: pa.Table,
    reference: Reference,
    pictures: Collection[str] = (),
    graph: GraphTables | None = None,
    explanations: pa.Table | None = None,
    uncertainty: pa.Table | None = None,
) -> dict[str, bytes]:
    """``dossiers/<group>.md`` and ``dossiers/<group>.html`` of every group that has evidence."""
    pages: dict[str, bytes] = {}
    for row in dossiers.to_pylist():
        group, state = row["group"], states[row["group"]]
        page = page_of(
            group, home=home, state=state, register=register, labels=labels, reference=reference, pictures=pictures,
            graph=graph, explanations=explanations, uncertainty=uncertainty,
        )  # fmt: skip
        pages[f"dossiers/{group}.md"] = render_markdown(row["evidence"], state, page).encode()
        pages[f"dossiers/{group}.html"] = render_html(row["evidence"], state, page).encode()
    return pages
