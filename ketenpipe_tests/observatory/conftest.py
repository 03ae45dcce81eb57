"""A tiny release, built through the contracts, and a home to publish it in."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ketenpipe.observatory.release import Published, Unchanged, publish
from ketenpipe.review.dossier import canonical_json, evidence_hash
from ketenpipe.review.ledger import append_decision, decisions_table, read_ledger
from ketenpipe.review.state import review_states
from ketenpipe.tables.registry import CHAIN_EDGES, CHAIN_NODES, DOSSIERS, FLAGS, INDICATORS, REGISTER, SOURCES

TODAY = datetime.date(2026, 3, 1)
Tables = dict[str, pa.Table]


def evidence_of(value: float) -> str:
    return canonical_json({"group": "magnets", "value": value})


def make_release(
    home: Path, value: float = 0.5, years: tuple[int, ...] = (2023, 2024), focus: str = "NLD", **over: Any
) -> Tables:
    """Tables of one group and one product; ``value`` is the figure, the flag is whether it is above 0.4."""
    text = evidence_of(value)
    dossiers = DOSSIERS.conform([{"group": "magnets", "evidence": text, "evidence_hash": evidence_hash(text)}])
    state = review_states(decisions_table(read_ledger(home)), dossiers)["magnets"]
    indicators, flags = [], []
    for year in years:
        for level, code in (("hs6", "850511"), ("group", "magnets")):
            common = {
                "focus": focus,
                "level": level,
                "code": code,
                "hs_revision": "HS17",
                "group": "magnets" if level == "group" else None,
                "tier": 0,
                "year": year,
                "method_version": over.get("version", "1"),
            }
            figure = {"unit": "index 0-1", "basis": "imports", "source_vintage": over.get("vintage", "a")}
            indicators.append({**common, **figure, "indicator": "C1", "measure": "v", "value": value})
            indicators.append({**common, **figure, "indicator": "S1", "measure": "v", "value": None, "reason": "x"})
            flags.append({**common, "method": "geodep", "flagged": value > 0.4})
    register = {
        "focus": focus,
        "group": "magnets",
        "year": max(years),
        "direct_flag": value > 0.4,
        "verdict": "direct" if value > 0.4 else "none found",
        "verdict_nl": "direct" if value > 0.4 else "geen gevonden",
        "review_status": state.status,
        "provisional": state.provisional,
        "signed_role": state.signed_role,
        "signed_on": state.signed_on,
        "evidence_hash": state.evidence_hash,
        **over.get("register", {}),
    }
    return {
        "indicators": INDICATORS.conform(indicators),
        "flags": FLAGS.conform(flags),
        "register": REGISTER.conform([register]),
        "dossiers": dossiers,
        "chain_nodes": CHAIN_NODES.conform(
            [{"group": "magnets", "node": "magnet", "tier": 0, "stage": "component", "status": "traded"}]
        ),
        "chain_edges": CHAIN_EDGES.conform(
            [
                {
                    "group": "magnets",
                    "user": "magnet",
                    "input": "ree",
                    "intensity": over.get("intensity", 0.3),
                    "essential": False,
                    "evidence": "literature",
                    "confidence": "high",
                    "citation": "a book",
                }
            ]
        ),
        "sources": SOURCES.conform(
            [
                {
                    "source": "baci",
                    "file": "baci/x.csv",
                    "sha256": over.get("sha", "0" * 64),
                    "licence": "Etalab 2.0",
                    "citation": "BACI, CEPII",
                    "url": "https://www.cepii.fr",
                }
            ]
        ),
    }


def publish_tables(home: Path, tables: Tables, **over: Any) -> Published | Unchanged:
    facts: dict[str, Any] = {
        "parameters": {"depth": 2, "focus": ("NLD",)},
        "method_versions": {"geodep": "1"},
        "source_vintages": {"baci": "202601"},
        "seed": 1,
        "today": TODAY,
    }
    attachments = {"dossiers/magnets.md": b"# Magnets\n", "pictures/plane.png": b"\x89PNG"}
    return publish(home, tables, attachments, **{**facts, **over})


def approve(home: Path, value: float = 0.5, decision: str = "approve") -> None:
    append_decision(
        home,
        group="magnets",
        decision=decision,
        evidence=evidence_of(value),
        reviewer="Ann Vermeer",
        role="policy adviser",
        rationale="holds",
    )


@pytest.fixture
def release_tables(tmp_path: Path) -> Callable[..., Tables]:
    return lambda *args, **over: make_release(tmp_path, *args, **over)
