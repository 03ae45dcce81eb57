"""Equal evidence has equal hashes; other evidence re-opens the dossier and shows what changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ketenpipe.review.dossier import build_dossiers, build_evidence, canonical_json, evidence_difference, evidence_hash
from ketenpipe.review.ledger import append_decision, decisions_table, read_ledger, signed_evidence
from ketenpipe.review.render import Page, names_of, render_html, render_markdown
from ketenpipe.review.state import State, review_states

Tables = dict[str, pa.Table]


def test_one_dossier_per_group_with_the_hash_of_its_text(tables: Tables) -> None:
    dossiers = build_dossiers(tables).to_pylist()
    assert [d["group"] for d in dossiers] == ["magnets", "tungsten"]
    for row in dossiers:
        assert evidence_hash(row["evidence"]) == row["evidence_hash"]
        assert canonical_json(json.loads(row["evidence"])) == row["evidence"]


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_rows_does_not_matter(tables: Tables, seed: int) -> None:
    rng = np.random.default_rng(seed)
    shuffled = {name: t.take(pa.array(rng.permutation(t.num_rows))) for name, t in tables.items()}
    assert build_dossiers(shuffled).equals(build_dossiers(tables))


def test_noise_of_the_last_bits_and_provenance_do_not_reopen(tables: Tables) -> None:
    def replaced(name: str, column: str, values: list[object]) -> Tables:
        table = tables[name]
        at = table.column_names.index(column)
        return {**tables, name: table.set_column(at, table.schema.field(at), pa.array(values, table.schema.types[at]))}

    before = build_dossiers(tables)
    rows = tables["exposure"].num_rows
    shares = [s * (1 + 1e-13) for s in tables["exposure"].column("share_traced").to_pylist()]
    assert build_dossiers(replaced("exposure", "share_traced", shares)).equals(before)
    vintages = ["BACI 202701"] * tables["indicators"].num_rows
    assert build_dossiers(replaced("indicators", "source_vintage", vintages)).equals(before)
    noise = [3e-16] * tables["tracing"].num_rows
    assert build_dossiers(replaced("tracing", "row_residual", noise)).equals(before)
    moved = [0.3] * rows
    assert not build_dossiers(replaced("exposure", "share_traced", moved)).equals(before)


def test_only_the_latest_year_and_the_own_group(tables: Tables) -> None:
    evidence = build_evidence("magnets", tables)
    assert set(evidence["foci"]) == {"NLD", "EU27"}
    part = evidence["foci"]["NLD"]
    assert part["year"] == 2024
    assert [e["node"] for e in part["exposure"]] == ["magnet", "ree_ore"]
    assert part["exposure"][0]["countries"]["CHN"]["share_traced"] == 0.7
    assert {f["level"] for f in part["flags"]} == {"group", "hs6"}
    assert [t["code"] for t in part["tracing"]] == ["850511"]
    text = canonical_json(evidence)
    for absent in ("tungsten", "284180", "BACI", "method_version", "2023"):
        assert absent not in text


def test_tables_that_were_not_computed_leave_their_part_empty(tables: Tables) -> None:
    evidence = build_evidence("magnets", {"chain_nodes": tables["chain_nodes"]})
    assert evidence["foci"] == {}
    assert evidence["edges"] == []
    assert evidence_hash(evidence)


def test_a_changed_figure_reopens_and_shows_what_changed(tmp_path: Path, tables_of: Callable[..., Tables]) -> None:
    first = build_dossiers(tables_of())
    text = first.to_pylist()[0]["evidence"]
    append_decision(
        tmp_path,
        group="magnets",
        decision="approve",
        evidence=text,
        reviewer="Ann Vermeer",
        role="policy adviser",
        rationale="holds",
    )
    decisions = decisions_table(read_ledger(tmp_path))
    assert review_states(decisions, first)["magnets"].status == "signed"

    later = tables_of(china=0.45, year=2025)
    state = review_states(decisions, build_dossiers(later))["magnets"]
    assert state.status == "reopened"
    assert state.decided_hash is not None
    before = signed_evidence(tmp_path, state.decided_hash)
    assert before == text
    after = build_dossiers(later).to_pylist()[0]["evidence"]
    lines = evidence_difference(before, after, names_of(later["labels"]))
    assert "Netherlands, year: 2024 → 2025" in lines
    assert "Netherlands, flag magnets HS17 tier 0 geodep, verdict: yes → no" in lines
    assert "Netherlands, Magnets, finished from China, traced share: 0.7 → 0.45" in lines
    page = render_markdown(after, state, Page(names=names_of(later["labels"]), since=before))
    assert "What changed since the last decision" in page
    assert "traced share: 0.7 → 0.45" in page
    assert "Vermeer" not in page
    assert evidence_difference(before, before) == []


def test_an_edge_that_came_or_went_is_one_line(tables: Tables) -> None:
    after = {**tables, "chain_edges": tables["chain_edges"].slice(0, 0)}
    lines = evidence_difference(
        canonical_json(build_evidence("magnets", tables)), canonical_json(build_evidence("magnets", after))
    )
    assert len(lines) == 1
    assert lines[0].startswith("edge ree_ore → magnet: no longer there")


@pytest.mark.parametrize("status", ["awaiting_sign_off", "signed", "rejected", "reopened"])
def test_the_page_answers_before_it_explains(tables: Tables, status: str) -> None:
    row = build_dossiers(tables).to_pylist()[0]
    decided = {"decision": "approve", "decided_role": "policy adviser", "decided_on": "2026-01-02T00:00:00Z"}
    state = State(
        "magnets",
        status,
        row["evidence_hash"],
        signed_role="policy adviser" if status == "signed" else None,
        signed_on="2026-01-02T00:00:00Z" if status == "signed" else None,
        **({} if status == "awaiting_sign_off" else decided),  # type: ignore[arg-type]
    )
    page = Page(
        names=names_of(tables["labels"]),
        verdicts=[
            {
                "focus": "NLD",
                "verdict": "Only through the chain: rare earth ore, China",
                "robust": False,
                "robust_reason": "GeoDep (CEPII): Not robust: it turns on limits 10 % higher.",
                "data_grade": "C",
                "imports_kusd": 1234567.0,
            }
        ],
        interests=["energy and climate"],
        interest_why="Wind turbines.",
        pictures={"Plane": "../pictures/plane magnets.png"},
    )
    markdown = render_markdown(row["evidence"], state, page)
    html = render_html(row["evidence"], state, page)
    for text in (markdown, html):
        assert text.index("Only through the chain") < text.index("Rare earth ore")
        assert "GeoDep (CEPII): Not robust: it turns on limits 10 % higher; data grade C" in text
        assert "imports 1,234.6 million USD" in text
        assert "China 70 %" in text
        assert "Is the dependency confirmed?" in text
        assert "energy and climate. Wind turbines." in text
        assert "the origin of 10 % of Magnets, finished is unknown" in text
        assert "world production mix" in text
        assert "plane magnets.png" in text
        assert ("provisional" in text) == (status != "signed")
        assert row["evidence_hash"] in text
    assert "| 0 | Magnets, finished | component | 0.55 | 0.60 | China 70 %" in markdown
    assert "Handbook \\| chapter 3" in markdown
    assert "Permanent &lt;magnets&gt;" in html
    assert "<magnets>" not in html
    assert "http" not in html.replace("http-equiv", "")
