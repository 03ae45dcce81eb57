"""The decision ledger keeps every decision, in order, and notices when it was touched."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ketenpipe.errors import WrongUse
from ketenpipe.review import ledger
from ketenpipe.review.ledger import Answers, Decision, LedgerDamaged, append_decision, decisions_table, read_ledger
from ketenpipe.tables.home import Place

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)


def decide(home: Path, decision: str = "approve", **given: object) -> Decision:
    values: dict[str, object] = {
        "group": "magnets",
        "decision": decision,
        "evidence": '{"group":"magnets"}',
        "reviewer": "Ann Vermeer",
        "role": "policy adviser",
        "rationale": "holds up",
        "now": NOW,
    }
    return append_decision(home, **{**values, **given})  # type: ignore[arg-type]


def test_a_home_without_ledger_has_no_decisions_and_stays_untouched(tmp_path: Path) -> None:
    assert read_ledger(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_what_is_appended_is_read_back(tmp_path: Path) -> None:
    first = decide(tmp_path, answers=Answers(dependency_confirmed="yes", comment="see §3\nline two"))
    second = decide(
        tmp_path,
        "revise",
        rationale="edge is wrong",
        amendment={"input": "ree_ore", "user": "magnet", "intensity": 0.3},
        release="2026-03-01.1",
    )
    assert read_ledger(tmp_path) == [first, second]
    lines = ledger.ledger_path(tmp_path).read_bytes().splitlines()
    assert len(lines) == 2
    assert json.loads(lines[0])["previous_hash"] == ledger.GENESIS
    assert json.loads(lines[1])["previous_hash"] == hashlib.sha256(lines[0]).hexdigest()
    assert first.date == "2026-03-01T12:30:00Z"
    assert ledger.amendments(read_ledger(tmp_path)) == [second]


def test_the_judged_evidence_is_kept_by_its_hash(tmp_path: Path) -> None:
    entry = decide(tmp_path)
    assert ledger.signed_evidence(tmp_path, entry.evidence_hash) == '{"group":"magnets"}'
    assert ledger.signed_evidence(tmp_path, "0" * 64) is None
    ledger.evidence_path(tmp_path, entry.evidence_hash).write_text("{}")
    with pytest.raises(LedgerDamaged, match="hash in its name"):
        ledger.signed_evidence(tmp_path, entry.evidence_hash)


def test_names_never_leave_and_rationales_only_where_public(tmp_path: Path) -> None:
    decide(tmp_path, rationale="kept back")
    decide(tmp_path, rationale="for all to read", public_rationale=True)
    table = decisions_table(read_ledger(tmp_path))
    assert table.column("rationale").to_pylist() == [None, "for all to read"]
    assert table.column("role").to_pylist() == ["policy adviser"] * 2
    assert "Vermeer" not in str(table.to_pylist())


@pytest.mark.parametrize("field", ["reviewer", "role", "rationale"])
def test_a_decision_without_who_or_why_is_refused(tmp_path: Path, field: str) -> None:
    with pytest.raises(WrongUse, match=field):
        decide(tmp_path, **{field: "  "})
    assert read_ledger(tmp_path) == []


def test_an_unknown_decision_or_answer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongUse, match="decision"):
        decide(tmp_path, "wave through")
    with pytest.raises(WrongUse, match="confidence"):
        decide(tmp_path, answers={"confidence": "very"})
    with pytest.raises(WrongUse, match="Extra inputs"):
        decide(tmp_path, answers={"favourite_colour": "blue"})
    assert not ledger.ledger_path(tmp_path).exists()


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_line_that_was_touched_is_named(tmp_path: Path, number: int) -> None:
    for _ in range(3):
        decide(tmp_path, "reject")
    path = ledger.ledger_path(tmp_path)
    lines = path.read_text().splitlines(keepends=True)
    lines[number - 1] = lines[number - 1].replace('"reject"', '"approve"')
    path.write_text("".join(lines))
    with pytest.raises(LedgerDamaged, match=f"line {number}"):
        read_ledger(tmp_path)
    with pytest.raises(LedgerDamaged):
        decide(tmp_path)


@pytest.mark.parametrize("damage", ["first gone", "middle gone", "last gone", "swapped", "doubled"])
def test_lines_that_were_removed_moved_or_doubled_are_noticed(tmp_path: Path, damage: str) -> None:
    for _ in range(3):
        decide(tmp_path)
    path = ledger.ledger_path(tmp_path)
    a, b, c = path.read_text().splitlines(keepends=True)
    kept = {
        "first gone": [b, c],
        "middle gone": [a, c],
        "last gone": [a, b],
        "swapped": [b, a, c],
        "doubled": [a, b, c, c],
    }
    path.write_text("".join(kept[damage]))
    with pytest.raises(LedgerDamaged, match="line"):
        read_ledger(tmp_path)


def test_a_torn_last_line_is_refused_with_what_to_do(tmp_path: Path) -> None:
    decide(tmp_path)
    path = ledger.ledger_path(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:40])
    with pytest.raises(LedgerDamaged, match=r"line 2.*cut off.*delete that line"):
        read_ledger(tmp_path)
    path.write_bytes(whole)
    assert len(read_ledger(tmp_path)) == 1
    path.write_bytes(whole[:-1])
    with pytest.raises(LedgerDamaged, match="line end"):
        read_ledger(tmp_path)


def test_the_ledger_that_vanished_is_missed(tmp_path: Path) -> None:
    decide(tmp_path)
    ledger.ledger_path(tmp_path).unlink()
    with pytest.raises(LedgerDamaged, match="gone"):
        read_ledger(tmp_path)


def test_a_crash_between_line_and_head_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decide(tmp_path)

    noted = ledger._note_head

    for crash in (2, 3):

        def dies(review: Place, sequence: int, sha256: str, crash: int = crash) -> None:
            if sequence == crash:
                raise KeyboardInterrupt
            noted(review, sequence, sha256)

        with monkeypatch.context() as patched:
            patched.setattr(ledger, "_note_head", dies)
            with pytest.raises(KeyboardInterrupt):
                decide(tmp_path)
        assert len(read_ledger(tmp_path)) == crash
    decide(tmp_path)
    assert len(read_ledger(tmp_path)) == 4


def test_a_full_disk_leaves_the_ledger_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decide(tmp_path)
    before = ledger.ledger_path(tmp_path).read_bytes()
    real, left = os.write, [60]

    def fills(handle: int, data: bytes) -> int:
        if not left[0]:
            raise OSError(28, "No space left on device")
        written = real(handle, data[: left[0]])
        left[0] -= written
        return written

    with monkeypatch.context() as patched:
        patched.setattr(ledger, "_keep_evidence", lambda *_: None)
        patched.setattr(os, "write", fills)
        with pytest.raises(OSError, match="No space"):
            decide(tmp_path)
    assert left == [0]
    assert ledger.ledger_path(tmp_path).read_bytes() == before


def test_two_processes_append_without_losing_a_line(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from ketenpipe.review.ledger import append_decision
for i in range(15):
    append_decision(Path(sys.argv[1]), group=sys.argv[2], decision="approve", evidence=f"{{}} {i}",
                    reviewer="A", role="r", rationale="x" * 5000)
"""
    started = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path), group], cwd=ROOT) for group in ("one", "two")
    ]
    assert [p.wait(timeout=120) for p in started] == [0, 0]
    decisions = read_ledger(tmp_path)
    assert [d.sequence for d in decisions] == list(range(1, 31))
    assert sorted(d.group for d in decisions) == ["one"] * 15 + ["two"] * 15
