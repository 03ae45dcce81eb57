"""The decision ledger: one line of JSON per decision, appended, never rewritten, each line bound to the one before.

Belongs here: ``<home>/review/decisions.jsonl`` (with the names of reviewers, which never leave this
folder), the signed evidence beside it (``evidence/<hash>.json``) and the public table made of it. Does not
belong here: what a decision does to the state of a dossier (:mod:`ketenpipe.review.state`).

On an S3 store a line is added by a write that fails if somebody else wrote the ledger since it was read; then it is
read again and the line is bound to the new last one, so that no decision is lost.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ketenpipe.errors import HomeLocked, InputRefused, WrongUse
from ketenpipe.tables.home import AnyHome, LocalPlace, Overtaken, Place, place_of
from ketenpipe.tables.registry import REVIEW_DECISIONS

#: What the first line names as its predecessor.
GENESIS = "0" * 64
LOCK_SECONDS = 20.0
LEDGER, HEAD = "decisions.jsonl", "decisions.head.json"

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


def review_place(home: AnyHome) -> Place:
    """``<home>/review``."""
    return place_of(home).sub("review")


def ledger_path(home: AnyHome) -> Path:
    """``<home>/review/decisions.jsonl`` of a home on this machine."""
    return review_place(home).path(LEDGER)


def evidence_path(home: AnyHome, evidence_hash: str) -> Path:
    """Where the signed evidence of that hash is kept in a home on this machine."""
    return review_place(home).path(_evidence(evidence_hash))


def ledger_place(home: AnyHome) -> str:
    """How the ledger is called in a sentence."""
    return review_place(home).text(LEDGER)


def ledger_sha256(home: AnyHome) -> str | None:
    """The hash of the ledger; None where nothing was decided yet."""
    found = review_place(home).look(LEDGER)
    return None if found is None else _hash(found[0])


def read_ledger(home: AnyHome) -> list[Decision]:
    """Read and verify the whole ledger; a home without one has no decisions.

    Raises:
        LedgerDamaged: a line that is torn, unreadable, out of sequence or not bound to the one before it, by
            its number; or lines that were there and are gone.
        HomeLocked: another process has been writing for longer than the lock waits.
    """
    review = review_place(home)
    decided = review.exists(HEAD)  # looked for first: it is written after the ledger
    if not review.exists(LEDGER):
        if decided:
            raise LedgerDamaged(
                "the file with the decisions is gone, but decisions were recorded",
                path=review.text(LEDGER),
                todo="put it back from a copy",
            )
        return []
    with _lock(review, writing=False):
        return _read(review).decisions


def append_decision(
    home: AnyHome,
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
    review = review_place(home)
    if isinstance(review, LocalPlace):
        review.root.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + LOCK_SECONDS
    with _lock(review, writing=True):
        while True:
            held = _read(review)
            try:
                entry = Decision(
                    sequence=len(held.decisions) + 1,
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
                    previous_hash=held.last_hash,
                )
                line = entry.line()
            except (ValidationError, ValueError, TypeError) as error:
                raise WrongUse(f"the decision on '{group}' cannot be recorded: {_problem(error)}") from error
            if Decision.model_validate_json(line).line() != line:
                raise WrongUse(f"the decision on '{group}' cannot be recorded: the amendment is no plain JSON")
            _keep_evidence(review, evidence_hash, evidence)
            # Before the next line is there, the last one is noted: whoever wrote it may have been stopped before that.
            _note_head(review, len(held.decisions), held.last_hash)
            try:
                review.append_if(LEDGER, held.content, line + b"\n", held.version)
            except Overtaken as overtaken:
                if time.monotonic() > until:
                    raise HomeLocked(
                        f"{review.text(LEDGER)}: other processes wrote the decision ledger over and over for "
                        f"{LOCK_SECONDS:.0f} s; the decision is not recorded, try again when they are done."
                    ) from overtaken
                continue
            _note_head(review, entry.sequence, _hash(line))
            return entry


def signed_evidence(home: AnyHome, evidence_hash: str) -> str | None:
    """The evidence text that was judged under this hash; None if it was not kept.

    Raises:
        LedgerDamaged: the kept text no longer has that hash.
    """
    review, name = review_place(home), _evidence(evidence_hash)
    found = review.look(name)
    if found is None:
        return None
    if _hash(found[0]) != evidence_hash:
        raise LedgerDamaged(
            "the signed evidence no longer has the hash in its name",
            path=review.text(name),
            todo="put it back from a copy",
        )
    return found[0].decode()


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


def _evidence(evidence_hash: str) -> str:
    return f"evidence/{evidence_hash}.json"


@contextmanager
def _lock(review: Place, *, writing: bool) -> Iterator[None]:
    busy = (
        f"{review.text(LEDGER)}: another process has held the decision ledger for {LOCK_SECONDS:.0f} s; "
        "try again when it is done."
    )
    with ExitStack() as stack:
        try:
            stack.enter_context(review.exclusively(".decisions.lock", LOCK_SECONDS, busy))
        except OSError:
            # A home that cannot be written to (an archive, a read-only mount) has no writer to wait for either.
            if writing:
                raise
        yield


@dataclass(frozen=True)
class _Held:
    """The ledger as it was read; ``last_hash`` is of the last line as it stands there (not as this version would write
    it)."""

    decisions: list[Decision]
    last_hash: str
    content: bytes
    version: str | None


def _read(review: Place) -> _Held:
    """The whole ledger, verified. Where others may write meanwhile, two looks at it can contradict each other."""
    while True:
        noted, found = _head(review), review.look(LEDGER)
        try:
            return _verified(review, noted, found)
        except LedgerDamaged:
            if _head(review) == noted and review.look(LEDGER) == found:
                raise


def _verified(review: Place, noted: tuple[int, str, str] | None, found: tuple[bytes, str] | None) -> _Held:
    content, version = found or (b"", None)
    path = review.text(LEDGER)
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
    _check_head(review, noted, hashes)
    return _Held(decisions, hashes[-1], content, version)


def _head(review: Place) -> tuple[int, str, str] | None:
    """The number and the hash of the last line as they were noted beside the ledger, and the version of that note."""
    found = review.look(HEAD)
    if found is None:
        return None
    try:
        stated = json.loads(found[0])
        return int(stated["sequence"]), str(stated["sha256"]), found[1]
    except (ValueError, KeyError, TypeError) as error:
        raise LedgerDamaged(
            "this file cannot be read", path=review.text(HEAD), todo="put the review folder back from a copy"
        ) from error


def _note_head(review: Place, sequence: int, sha256: str) -> None:
    """Note the last line, unless it or a later one is noted already."""
    while sequence:
        noted = _head(review)
        if noted is not None and noted[0] >= sequence:
            return
        content = json.dumps({"sequence": sequence, "sha256": sha256}).encode() + b"\n"
        try:
            review.put_if(HEAD, content, None if noted is None else noted[2])
        except Overtaken:
            continue
        return


def _check_head(review: Place, noted: tuple[int, str, str] | None, hashes: list[str]) -> None:
    """Hold the last line against the head kept beside the ledger (written after it, so it may lag by one)."""
    if noted is None:
        return
    sequence, sha256, _ = noted
    last = len(hashes) - 1
    if sequence > last:
        raise LedgerDamaged(
            f"{sequence} decisions were recorded but only {last} are there",
            path=review.text(LEDGER),
            where=f"line {last + 1}",
            todo="put the review folder back from a copy",
        )
    if last - sequence > 1 or hashes[sequence] != sha256:
        raise LedgerDamaged(
            "the line is not the one that was written",
            path=review.text(LEDGER),
            where=f"line {sequence}",
            todo="put the review folder back from a copy",
        )


def _keep_evidence(review: Place, evidence_hash: str, evidence: str) -> None:
    found = review.look(_evidence(evidence_hash))
    if found is None or _hash(found[0]) != evidence_hash:
        review.write(_evidence(evidence_hash), evidence.encode())


def _problem(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        return f"{name}: {first['msg']}" if name else first["msg"]
    return str(error)
