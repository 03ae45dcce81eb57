"""The decision ledger: one line of JSON per decision, appended, never rewritten, each line bound to the one before.

Belongs here: ``<home>/review/decisions.jsonl`` (with the names of reviewers, which never leave this
folder), the signed evidence beside it (``evidence/<hash>.json``) and the public table made of it. Does not
belong here: what a decision does to the state of a dossier (:mod:`ketenpipe.review.state`).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ketenpipe.errors import HomeLocked, InputRefused, WrongUse
from ketenpipe.tables.registry import REVIEW_DECISIONS
from ketenpipe.tables.store import fsync_directory, write_bytes_atomic

#: What the first line names as its predecessor.
GENESIS = "0" * 64
LOCK_SECONDS = 20.0

YesNo = Literal["yes", "partly", "no", "unknown"]
Level = Literal["high", "medium", "low"]

#: The questions of METHOD 3 in the order of the form: field of :class:`Answers` and the question in words.
QUESTIONS: tuple[tuple[str, str], ...] = (
    ("dependency_confirmed", "Is the dependency confirmed? (yes, partly, no, unknown)"),
    (
        "public_interest",
        "Which public interest does it touch (national security, health, food, energy and climate, digital, "
        "earning capacity, ...) and why?",
    ),
    ("short_run_replacement", "Can domestic production replace it in the short run? (yes, partly, no, unknown)"),
    ("short_run_diversification", "Can supply be diversified in the short run? (yes, partly, no, unknown)"),
    ("chain_edges_right", "Are the edges of the chain right? (yes, partly, no, unknown; which are not?)"),
    ("judgement", "Judgement"),
    ("confidence", "Confidence in the judgement (high, medium, low)"),
    ("mitigation", "Mitigation options"),
    ("comment", "Comment"),
)


class LedgerDamaged(InputRefused):
    """The decision ledger, or evidence kept beside it, is not what was written."""


class Answers(BaseModel):
    """What an expert answers to the questions of METHOD 3; every answer may be left out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dependency_confirmed: YesNo | None = None
    public_interest: str | None = None
    short_run_replacement: YesNo | None = None
    short_run_diversification: YesNo | None = None
    chain_edges_right: str | None = None
    judgement: str | None = None
    confidence: Level | None = None
    mitigation: str | None = None
    comment: str | None = None

    @field_validator("*", mode="before")
    @classmethod
    def _words(cls, value: Any) -> Any:
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, str):
            return value.strip() or None
        return value


class Decision(BaseModel):
    """One line of the ledger.

    Attributes: ``sequence`` runs from 1 without a gap; ``evidence_hash`` is the evidence that was judged;
    ``amendment`` says what should change (text, or an object with the fields of a catalogue record);
    ``previous_hash`` is the SHA-256 of the previous line's bytes without its line end.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    sequence: int = Field(ge=1, strict=True)
    group: str = Field(min_length=1)
    decision: Literal["approve", "reject", "revise"]
    evidence_hash: str = Field(pattern=r"^[0-9a-f]{64}$")
    release: str | None = None
    reviewer: str = Field(min_length=1)
    role: str = Field(min_length=1)
    date: str = Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
    rationale: str = Field(min_length=1)
    public_rationale: bool = False
    answers: Answers = Answers()
    amendment: str | dict[str, Any] | None = None
    previous_hash: str = Field(pattern=r"^[0-9a-f]{64}$")

    def line(self) -> bytes:
        """The line of the ledger, without its line end."""
        data = self.model_dump()
        data["answers"] = {k: v for k, v in data["answers"].items() if v is not None}
        return json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def review_folder(home: Path) -> Path:
    """``<home>/review``."""
    return Path(home) / "review"


def ledger_path(home: Path) -> Path:
    """``<home>/review/decisions.jsonl``."""
    return review_folder(home) / "decisions.jsonl"


def evidence_path(home: Path, evidence_hash: str) -> Path:
    """Where the signed evidence of that hash is kept."""
    return review_folder(home) / "evidence" / f"{evidence_hash}.json"


def read_ledger(home: Path) -> list[Decision]:
    """Read and verify the whole ledger; a home without one has no decisions.

    Raises:
        LedgerDamaged: a line that is torn, unreadable, out of sequence or not bound to the one before it, by
            its number; or lines that were there and are gone.
        HomeLocked: another process has been writing for longer than the lock waits.
    """
    path = ledger_path(home)
    if not path.exists():
        if _head_path(home).exists():
            raise LedgerDamaged(
                "the file with the decisions is gone, but decisions were recorded",
                path=path,
                todo="put it back from a copy",
            )
        return []
    with _lock(home, writing=False):
        return _read(home)[0]


def append_decision(
    home: Path,
    *,
    group: str,
    decision: str,
    evidence: str,
    reviewer: str,
    role: str,
    rationale: str,
    release: str | None = None,
    public_rationale: bool = False,
    answers: Answers | Mapping[str, Any] | None = None,
    amendment: str | Mapping[str, Any] | None = None,
    now: datetime | None = None,
) -> Decision:
    """Record one decision: keep the judged evidence, then append one line under the lock and fsync it.

    Args:
        evidence: the canonical evidence text that the expert saw (``dossiers.evidence``); its SHA-256 is what
            gets signed.
        reviewer: name; stays in the review folder.
        role: role, e.g. "policy adviser, Ministry of Economic Affairs"; is published.
        rationale: why; published only where ``public_rationale`` is true.
        amendment: what should change, for ``revise``.
        now: time of the decision (default: now, UTC).

    Raises:
        WrongUse: a field that is missing or not among its values.
        LedgerDamaged: the ledger cannot be trusted; nothing is appended to it.
        HomeLocked: another process holds the ledger.
    """
    for name, given in (("reviewer", reviewer), ("role", role), ("rationale", rationale), ("group", group)):
        if not given or not given.strip():
            raise WrongUse(f"a decision needs a {name}; give --{name}" if name != "group" else "name the group")
    date = (now or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    evidence_hash = hashlib.sha256(evidence.encode()).hexdigest()
    folder = review_folder(home)
    folder.mkdir(parents=True, exist_ok=True)
    with _lock(home, writing=True):
        earlier, previous_hash = _read(home)
        try:
            entry = Decision(
                sequence=len(earlier) + 1,
                group=group.strip(),
                decision=decision,  # type: ignore[arg-type]
                evidence_hash=evidence_hash,
                release=release,
                reviewer=reviewer.strip(),
                role=role.strip(),
                date=date,
                rationale=rationale.strip(),
                public_rationale=public_rationale,
                answers=answers if isinstance(answers, Answers) else Answers(**dict(answers or {})),
                amendment=dict(amendment) if isinstance(amendment, Mapping) else amendment,
                previous_hash=previous_hash,
            )
            line = entry.line()
        except (ValidationError, ValueError, TypeError) as error:
            raise WrongUse(f"the decision on '{group}' cannot be recorded: {_problem(error)}") from error
        if Decision.model_validate_json(line).line() != line:
            raise WrongUse(f"the decision on '{group}' cannot be recorded: the amendment is no plain JSON")
        _keep_evidence(home, evidence_hash, evidence)
        _append(ledger_path(home), line + b"\n")
        write_bytes_atomic(
            _head_path(home), json.dumps({"sequence": entry.sequence, "sha256": _hash(line)}).encode() + b"\n"
        )
    return entry


def signed_evidence(home: Path, evidence_hash: str) -> str | None:
    """The evidence text that was judged under this hash; None if it was not kept.

    Raises:
        LedgerDamaged: the kept text no longer has that hash.
    """
    path = evidence_path(home, evidence_hash)
    if not path.exists():
        return None
    text = path.read_bytes()
    if _hash(text) != evidence_hash:
        raise LedgerDamaged(
            "the signed evidence no longer has the hash in its name", path=path, todo="put it back from a copy"
        )
    return text.decode()


def decisions_table(ledger: Iterable[Decision]) -> pa.Table:
    """The public table of the decisions: no names, the rationale only where the expert made it public."""
    rows = [
        {
            "sequence": d.sequence,
            "group": d.group,
            "decision": d.decision,
            "evidence_hash": d.evidence_hash,
            "release": d.release,
            "role": d.role,
            "date": d.date,
            "rationale": d.rationale if d.public_rationale else None,
        }
        for d in ledger
    ]
    return REVIEW_DECISIONS.conform(rows) if rows else REVIEW_DECISIONS.empty()


def amendments(ledger: Iterable[Decision]) -> list[Decision]:
    """The decisions that ask for a change and say which, oldest first."""
    return [d for d in ledger if d.decision == "revise" and d.amendment]


def _hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


def _head_path(home: Path) -> Path:
    return review_folder(home) / "decisions.head.json"


@contextlib.contextmanager
def _lock(home: Path, *, writing: bool) -> Iterator[None]:
    lock = FileLock(review_folder(home) / ".decisions.lock", timeout=LOCK_SECONDS)
    try:
        lock.acquire()
    except Timeout as error:
        raise HomeLocked(
            f"{ledger_path(home)}: another process has held the decision ledger for {LOCK_SECONDS:.0f} s; "
            "try again when it is done."
        ) from error
    except OSError:
        if writing:
            raise
        # A home that cannot be written to (an archive, a read-only mount) has no writer to wait for either.
        yield
        return
    try:
        yield
    finally:
        lock.release()


def _read(home: Path) -> tuple[list[Decision], str]:
    """The decisions and the hash of the last line as it stands in the file (not as this version would write it)."""
    path = ledger_path(home)
    content = path.read_bytes() if path.exists() else b""
    *lines, rest = content.split(b"\n")
    if rest:
        number = len(lines) + 1
        try:
            Decision.model_validate_json(rest)
        except ValidationError:
            raise LedgerDamaged(
                "the last line was cut off while it was written, so its decision was not recorded",
                path=path,
                where=f"line {number}",
                todo="keep a copy of the file, delete that line in an editor, and give the decision again",
            ) from None
        raise LedgerDamaged(
            "the last line is complete but lacks its line end",
            path=path,
            where=f"line {number}",
            todo="keep a copy of the file and add a line end after it in an editor",
        )
    decisions: list[Decision] = []
    hashes = [GENESIS]
    for number, line in enumerate(lines, start=1):
        where = f"line {number}"
        todo = "put the review folder back from a copy; nothing is signed off or published until then"
        try:
            entry = Decision.model_validate_json(line)
        except ValidationError as error:
            raise LedgerDamaged(
                f"this is no decision ({_problem(error)})", path=path, where=where, todo=todo
            ) from error
        if entry.sequence != number:
            raise LedgerDamaged(
                f"the decision is numbered {entry.sequence}, so a line was added, lost or moved",
                path=path,
                where=where,
                todo=todo,
            )
        if entry.previous_hash != hashes[-1]:
            raise LedgerDamaged(
                f"the line before it (line {number - 1}) is not the one that was written"
                if number > 1
                else "the first line names a line before it",
                path=path,
                where=where,
                todo=todo,
            )
        decisions.append(entry)
        hashes.append(_hash(line))
    _check_head(home, hashes)
    return decisions, hashes[-1]


def _check_head(home: Path, hashes: list[str]) -> None:
    """Hold the last line against the head kept beside the ledger (written after it, so it may lag by one)."""
    head = _head_path(home)
    if not head.exists():
        return
    try:
        stated = json.loads(head.read_bytes())
        sequence, sha256 = int(stated["sequence"]), str(stated["sha256"])
    except (ValueError, KeyError, TypeError) as error:
        raise LedgerDamaged(
            "this file cannot be read", path=head, todo="put the review folder back from a copy"
        ) from error
    last = len(hashes) - 1
    if sequence > last:
        raise LedgerDamaged(
            f"{sequence} decisions were recorded but only {last} are there",
            path=ledger_path(home),
            where=f"line {last + 1}",
            todo="put the review folder back from a copy",
        )
    if last - sequence > 1 or hashes[sequence] != sha256:
        raise LedgerDamaged(
            "the line is not the one that was written",
            path=ledger_path(home),
            where=f"line {sequence}",
            todo="put the review folder back from a copy",
        )


def _append(path: Path, content: bytes) -> None:
    created = not path.exists()
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        before = os.fstat(handle).st_size
        try:
            rest = content
            while rest:
                rest = rest[os.write(handle, rest) :]
            os.fsync(handle)
        except BaseException:
            # A full disk must not leave half a line: what was there before stays exactly as it was.
            os.ftruncate(handle, before)
            raise
    finally:
        os.close(handle)
    if created:
        fsync_directory(path.parent)


def _keep_evidence(home: Path, evidence_hash: str, evidence: str) -> None:
    path = evidence_path(home, evidence_hash)
    if path.exists() and _hash(path.read_bytes()) == evidence_hash:
        return
    write_bytes_atomic(path, evidence.encode())


def _problem(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        return f"{name}: {first['msg']}" if name else first["msg"]
    return str(error)
