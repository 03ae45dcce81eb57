"""What every reader leaves behind about the file it read: one line of the release table ``sources``.

Belongs here: the record itself. Does not belong here: reading, hashing, judging.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SourceRecord:
    """One input file (or one vintage within a file, or one entry of an archive) and what became of it.

    Attributes:
        source: ``baci``, ``wgi``, ``mining``, ``icio``, ``concordance``.
        file: the file's name.
        path: the path relative to the sources folder; an archive's entry follows after ``!``.
        vintage: the release, edition or vintage the rows belong to.
        from_year: first year the rows cover (None if the file has no years).
        to_year: last year the rows cover.
        sha256: hash of the file as it lies on disk (of the archive, for an entry).
        bytes: size of the file as it lies on disk.
        licence: the licence as the sidecar states it (None: not stated).
        producer: who made the data.
        citation: how to cite it.
        url: where it came from.
        rows_read: data rows read, those refused included.
        rows_refused: rows read and left out.
        reason: one sentence on what was left out or repaired (None: nothing).
    """

    source: str
    file: str
    path: str
    vintage: str
    from_year: int | None
    to_year: int | None
    sha256: str
    bytes: int
    licence: str | None
    producer: str | None
    citation: str | None
    url: str | None
    rows_read: int
    rows_refused: int
    reason: str | None
