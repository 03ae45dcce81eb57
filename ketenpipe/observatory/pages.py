"""The dossiers as pages of a release: one Markdown and one HTML file per product group.

Belongs here: bringing evidence, state, verdict, names and pictures of one group together. Does not belong here:
words and layout (:mod:`ketenpipe.review.render`), drawing (:mod:`ketenpipe.observatory.pictures`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import pyarrow as pa

from ketenpipe.chain.catalogue import Reference
from ketenpipe.review.ledger import signed_evidence
from ketenpipe.review.render import Page, names_of, render_html, render_markdown
from ketenpipe.review.state import State

#: Pictures of a group, by the beginning of their file name, and what they show.
GROUP_PICTURES = {"suppliers": "Who supplies the product, directly and traced", "chain": "What goes into what"}


def page_of(
    group: str,
    *,
    home: Path,
    state: State,
    register: pa.Table,
    labels: pa.Table,
    reference: Reference,
    pictures: Collection[str] = (),
    folder: str = "../pictures",
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
    """
    known = reference.groups.get(group)
    interests = [reference.public_interests[i].name_en for i in known.public_interests] if known else []
    since = None
    if state.status == "reopened" and state.decided_hash is not None:
        since = signed_evidence(home, state.decided_hash)
    return Page(
        names=names_of(labels),
        verdicts=[r for r in register.to_pylist() if r["group"] == group],
        interests=interests,
        interest_why=known.interest_why_en if known else None,
        pictures={
            words: f"{folder}/{kind}_{group}.png"
            for kind, words in GROUP_PICTURES.items()
            if f"{kind}_{group}.png" in pictures
        },
        since=since,
    )


def build_pages(
    dossiers: pa.Table,
    states: Mapping[str, State],
    *,
    home: Path,
    register: pa.Table,
    labels: pa.Table,
    reference: Reference,
    pictures: Collection[str] = (),
) -> dict[str, bytes]:
    """``dossiers/<group>.md`` and ``dossiers/<group>.html`` of every group that has evidence."""
    pages: dict[str, bytes] = {}
    for row in dossiers.to_pylist():
        group, state = row["group"], states[row["group"]]
        page = page_of(
            group, home=home, state=state, register=register, labels=labels, reference=reference, pictures=pictures
        )
        pages[f"dossiers/{group}.md"] = render_markdown(row["evidence"], state, page).encode()
        pages[f"dossiers/{group}.html"] = render_html(row["evidence"], state, page).encode()
    return pages
