"""Typed errors, each of which becomes one clear sentence and an exit code.

Belongs here: what can go wrong in words a user can act on. Does not belong here: printing, exiting.
Exit codes (the contract): 1 something failed, 2 wrong use, 3 input refused, 4 the home is locked.
"""

from __future__ import annotations

from pathlib import Path


class KetenpipeError(Exception):
    """Something failed in a way that has a name. The message is one sentence for the user."""

    exit_code = 1


class WrongUse(KetenpipeError):
    """A command, option or setting that cannot be taken as given."""

    exit_code = 2


class InputRefused(KetenpipeError):
    """An input file, row or reference line that is refused.

    Args:
        what: what is wrong, e.g. ``"column 'q' is missing"``.
        path: the file it stands in (None if no file is to blame).
        where: the place within the file: a row, a line, a column, a zip entry.
        todo: what the user can do about it.
    """

    exit_code = 3

    def __init__(
        self, what: str, *, path: Path | str | None = None, where: str | None = None, todo: str | None = None
    ) -> None:
        self.what = what
        self.path = None if path is None else str(path)
        self.where = where
        self.todo = todo
        place = ", ".join(p for p in (self.path, where) if p)
        sentence = f"{place}: {what}" if place else what
        if todo:
            sentence = f"{sentence.rstrip('.')}; {todo}"
        super().__init__(sentence if sentence.endswith("?") else sentence.rstrip(".") + ".")


class HomeLocked(KetenpipeError):
    """Another run holds the home's lock."""

    exit_code = 4


class UpstreamFailed(KetenpipeError):
    """An upstream did not give what was asked for: out of reach, an error that outlasted the retries, a broken answer.

    Args:
        what: what went wrong, e.g. ``"the server answered 500 (Internal Server Error) 6 times"``.
        url: what was asked for; never with a key in it.
        todo: what the user can do about it.
        passing: whether another try later may succeed (a time-out does, a missing file does not).
    """

    def __init__(self, what: str, *, url: str | None = None, todo: str | None = None, passing: bool = True) -> None:
        self.what = what
        self.url = url
        self.todo = todo
        self.passing = passing
        sentence = f"{url}: {what}" if url else what
        if todo:
            sentence = f"{sentence.rstrip('.')}; {todo}"
        super().__init__(sentence.rstrip(".") + ".")


class QuotaExhausted(UpstreamFailed):
    """The calls that an upstream allows in a day are used up; what was fetched so far is kept."""


class KeyRefused(WrongUse):
    """An upstream does not accept the key, or wants one and has none."""


class DiskFull(KetenpipeError):
    """There is no room for a file; what was there before is untouched."""


class ContractBroken(KetenpipeError):
    """A table does not hold what its contract in the registry promises."""


class ReleaseDamaged(KetenpipeError):
    """A published file no longer has the bytes its manifest states."""


class AuditFailed(ContractBroken):
    """An input table fails an audit that would make every figure wrong: the input is refused."""

    exit_code = 3


class Interrupted(KetenpipeError):
    """The user, or the machine, stopped the run."""
