"""What a criticality assessment needs beside trade and production: recycling, substitution, end uses of a material.

Two reference files that people edit and review, each line with its citation: ``material_parameters.csv`` (EoL_RIR,
SI_SR and SI_EI of a material or of a node of the catalogue) and ``end_uses.csv`` (which industries use it, and how
much). Both may be absent: then the figures that need them are null with a reason.

Belongs here: reading and checking the two files, choosing the figure of a year. Does not belong here: a formula.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ketenpipe.errors import InputRefused
from ketenpipe.sources.opening import number, read_rows

PARAMETERS_FILE, END_USES_FILE = "material_parameters.csv", "end_uses.csv"
PARAMETERS = ("eol_rir", "si_sr", "si_ei")
"""End-of-life recycling input rate; substitution index of the supply risk; that of the economic importance."""
READ, RECALLED = "read", "recalled"
_COLUMNS = {
    PARAMETERS_FILE: (
        "material", "node", "parameter", "value", "year", "geography", "citation", "citation_status", "note",
    ),
    END_USES_FILE: (
        "material", "node", "industry", "share", "year", "geography", "citation", "citation_status", "note",
    ),
}  # fmt: skip
_SLACK = 1e-9


@dataclass(frozen=True)
class Parameter:
    """One figure about a material (as the production statistic names it) or about a node of the catalogue.

    Attributes:
        parameter: of :data:`PARAMETERS`, all of them shares within [0, 1].
        year: of the assessment that published it, not of the data behind it.
        citation_status: ``read`` or ``recalled``; a recalled figure is shown and enters no other figure.
    """

    material: str
    node: str
    parameter: str
    value: float
    year: int
    geography: str
    citation: str
    citation_status: str
    note: str
    file: str
    line: int


@dataclass(frozen=True)
class EndUse:
    """Share of a material's (or a node's) use that one industry of the input-output tables takes."""

    material: str
    node: str
    industry: str
    share: float
    year: int
    geography: str
    citation: str
    citation_status: str
    note: str
    file: str
    line: int


_Dated = TypeVar("_Dated", Parameter, EndUse)
_Row = TypeVar("_Row")


@dataclass(frozen=True)
class CriticalityInputs:
    """Both files as read.

    Attributes:
        files: name -> path of what was read; a file that is nowhere is not in it.
        file_sha256: name -> hash of its bytes.
    """

    parameters: tuple[Parameter, ...] = ()
    end_uses: tuple[EndUse, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    file_sha256: Mapping[str, str] = field(default_factory=dict)

    def parameter(self, name: str, year: int, *, nodes: Collection[str] = (), material: str = "") -> Parameter | None:
        """The figure for a year: of the last assessment up to that year, else of the first; None where there is none.

        Args:
            name: of :data:`PARAMETERS`.
            year: of the data that it is to stand beside.
            nodes: nodes in question; a figure of a node comes before one of the material.
            material: as the production statistic names it; empty for none.
        """
        held = [p for p in self.parameters if p.parameter == name and p.node and p.node in nodes]
        if not held:
            held = [p for p in self.parameters if p.parameter == name and p.material and p.material == material]
        return _of_year(held, year)

    def uses(self, year: int, *, nodes: Collection[str] = (), material: str = "") -> tuple[EndUse, ...]:
        """The end uses for a year, chosen as :meth:`parameter` does; empty where none are known."""
        held = [u for u in self.end_uses if u.node and u.node in nodes]
        if not held:
            held = [u for u in self.end_uses if u.material and u.material == material]
        chosen = _of_year(held, year)
        return () if chosen is None else tuple(u for u in held if (u.node, u.year) == (chosen.node, chosen.year))


def _of_year(held: list[_Dated], year: int) -> _Dated | None:
    past = [row for row in held if row.year <= year]
    if past:
        return max(past, key=lambda row: row.year)
    return min(held, key=lambda row: row.year, default=None)


def load_criticality_inputs(
    *dirs: Path, materials: Collection[str] | None = None, nodes: Collection[str] | None = None
) -> CriticalityInputs:
    """Read both files; a file in a later directory replaces the one in an earlier directory.

    Args:
        dirs: directories in rising precedence, the shipped ``data/reference`` first.
        materials: names of the production statistic; None: not checked.
        nodes: nodes of the catalogue; None: not checked.

    Raises:
        InputRefused: other columns, neither or both of material and node, an unknown name, a figure that is no share,
            no year, no citation or status, a line that repeats another, end uses of a material that exceed 1.
    """
    places = {n: Path(d) / n for d in dirs for n in _COLUMNS if (Path(d) / n).is_file()}
    known = {"material": materials, "node": nodes}
    parameters = _records(places.get(PARAMETERS_FILE), known, _parameter)
    end_uses = _records(places.get(END_USES_FILE), known, _end_use)
    _refuse_repeated(parameters, lambda p: (p.material, p.node, p.parameter, p.year))
    _refuse_repeated(end_uses, lambda u: (u.material, u.node, u.industry, u.year))
    totals: dict[tuple[str, str, int], float] = defaultdict(float)
    for use in end_uses:
        key = (use.material, use.node, use.year)
        totals[key] += use.share
        if totals[key] > 1.0 + _SLACK:
            raise InputRefused(
                f"the end uses of {use.material or use.node} in {use.year} add up to {totals[key]:g}, more than 1",
                path=use.file,
                where=f"line {use.line}",
            )
    return CriticalityInputs(
        parameters,
        end_uses,
        {name: str(path) for name, path in places.items()},
        {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in places.items()},
    )


def _records(
    path: Path | None,
    known: Mapping[str, Collection[str] | None],
    make: Callable[[dict[str, str], dict[str, Any], Callable[[str], InputRefused]], _Row],
) -> tuple[_Row, ...]:
    if path is None:
        return ()
    header, lines = read_rows(path)
    if tuple(header) != _COLUMNS[path.name]:
        raise InputRefused(
            f"the columns are not {', '.join(_COLUMNS[path.name])}",
            path=path,
            where="line 1",
            todo="compare it with data/reference/README.md",
        )
    made = []
    for line, row in lines:
        cells = {name: cell.strip() for name, cell in zip(header, row, strict=True)}

        def refused(what: str, line: int = line) -> InputRefused:
            return InputRefused(what, path=path, where=f"line {line}")

        if bool(cells["material"]) == bool(cells["node"]):
            raise refused("it needs either a material or a node")
        for kind, names in known.items():
            if names is not None and cells[kind] and cells[kind] not in names:
                raise refused(f"the {kind} '{cells[kind]}' is unknown")
        if not cells["year"].isascii() or not cells["year"].isdigit() or len(cells["year"]) != 4:
            raise refused(f"'{cells['year']}' is no year")
        if not cells["citation"]:
            raise refused("there is no citation")
        if cells["citation_status"] not in (READ, RECALLED):
            raise refused(f"the citation status '{cells['citation_status']}' is neither {READ} nor {RECALLED}")
        common = {"year": int(cells["year"]), "file": str(path), "line": line}
        common |= {n: cells[n] for n in ("material", "node", "geography", "citation", "citation_status", "note")}
        made.append(make(cells, common, refused))
    return tuple(made)


def _parameter(cells: dict[str, str], common: dict[str, Any], refused: Callable[[str], InputRefused]) -> Parameter:
    if cells["parameter"] not in PARAMETERS:
        raise refused(f"the parameter '{cells['parameter']}' is unknown; known are {', '.join(PARAMETERS)}")
    return Parameter(parameter=cells["parameter"], value=_share(cells["value"], refused), **common)


def _end_use(cells: dict[str, str], common: dict[str, Any], refused: Callable[[str], InputRefused]) -> EndUse:
    if not cells["industry"]:
        raise refused("the industry is empty")
    return EndUse(industry=cells["industry"], share=_share(cells["share"], refused), **common)


def _share(text: str, refused: Callable[[str], InputRefused]) -> float:
    value = number(text)
    if value is None or not 0.0 <= value <= 1.0:
        raise refused(f"'{text}' is no share from 0 to 1")
    return value


def _refuse_repeated(rows: Iterable[_Dated], key: Callable[[_Dated], tuple[object, ...]]) -> None:
    seen: dict[tuple[object, ...], int] = {}
    for row in rows:
        if (first := seen.setdefault(key(row), row.line)) != row.line:
            told = " ".join(str(part) for part in key(row) if part != "")
            raise InputRefused(f"'{told}' stands on line {first} already", path=row.file, where=f"line {row.line}")
