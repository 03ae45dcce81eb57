"""HS6 codes and the industries of an inter-country input-output table: one industry for one code.

Three reference files that people review make the fourth: ``isic3_icio.csv`` (an industry for each class of ISIC Rev.3),
``hs_icio_reviewed.csv`` (codes that a class would misplace, with the reason) and ``icio_industries.csv`` (how the
industries of the 2025 edition add up to those of other editions) lead to ``hs_icio.csv`` (an industry for every code).
``python -m ketenpipe.sources.hs_industries FOLDER`` makes it anew from a folder of the United Nations' concordances.

A code's industry is, first that applies: the longest reviewed prefix; the class of ISIC Rev.3; for codes of HS92 the
industry of the HS17 and HS22 codes that convert to it; the industry of its heading, where all its codes share one.

Belongs here: that join. Does not belong here: what flows through an industry.
"""

from __future__ import annotations

import argparse
import csv
import io
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pyarrow as pa

from ketenpipe.errors import InputRefused, KetenpipeError, WrongUse
from ketenpipe.sources.concordance import HS_REVISIONS, pairs_between, read_concordances
from ketenpipe.sources.opening import read_rows, sha256_of
from ketenpipe.sources.places import Inventory, Sidecar, SourceFile, classify, embedded

#: The edition whose industries the reference files name.
EDITION = "OECD ICIO 2025"
#: Codes of a revision that BACI's list of it lacks: it keeps the petroleum oils of HS92 (271000) in HS17.
BEYOND_LIST = {"HS17": frozenset(("271012", "271019", "271020", "271091", "271099"))}
METHODS = ("reviewed", "isic3", "converted", "heading", "none")
#: HS revisions whose codes stand in ``hs_icio.csv``.
REVISIONS = ("HS92", "HS17", "HS22")
HS_INDUSTRY_SCHEMA = pa.schema(
    [
        pa.field("hs_revision", pa.string(), nullable=False),
        pa.field("code", pa.string(), nullable=False),
        pa.field("industry", pa.string(), nullable=False),
        pa.field("method", pa.string(), nullable=False),
        pa.field("also", pa.string()),
    ]
)
_COLUMNS = {
    "hs_icio.csv": ("code", "hs_revisions", "industry", "method", "also"),
    "hs_icio_reviewed.csv": ("prefix", "hs_revisions", "industry", "why", "citation_status"),
    "isic3_icio.csv": ("isic3", "industry", "note"),
    "icio_industries.csv": ("edition", "industry", "edition_industry", "hs_prefixes", "note"),
}


@dataclass(frozen=True)
class HsIndustries:
    """The industries of a revision's codes in one edition.

    Attributes:
        table: :data:`HS_INDUSTRY_SCHEMA`; ``also`` names the other industries that a code holds goods of.
        unmapped: codes of the revision without an industry (goods not specified, codes not in the reference file): what
            they carry is unmapped value, reported and never dropped.
        edition: the edition whose industries stand in the table.
    """

    table: pa.Table
    unmapped: tuple[str, ...]
    edition: str

    @property
    def by_code(self) -> dict[str, str]:
        """Code -> industry."""
        return dict(zip(self.table["code"].to_pylist(), self.table["industry"].to_pylist(), strict=True))


def listed_codes(hs_revision: str, directory: Path | None = None) -> frozenset[str]:
    """The codes of a revision by the list that comes with the project; empty where there is none.

    BACI's own filler (``9999AA``) is in it.
    """
    folder = (embedded("reference") if directory is None else directory) / "hs_codes"
    return frozenset(
        row[0].strip().zfill(6)
        for path in sorted(folder.glob(f"product_codes_{hs_revision}_*.csv"))
        for _, row in read_rows(path)[1]
    )


@dataclass(frozen=True)
class _Row:
    line: int
    cells: dict[str, str]


def _read(name: str, directory: Path | None) -> tuple[Path, list[_Row]]:
    path = (embedded("reference") if directory is None else directory) / name
    if not path.is_file():
        raise InputRefused(f"the reference file {name} is missing", path=path)
    header, lines = read_rows(path)
    if tuple(header) != _COLUMNS[name]:
        raise InputRefused(f"the columns are not {', '.join(_COLUMNS[name])}", path=path, where="line 1")
    return path, [_Row(n, {k: v.strip() for k, v in zip(header, row, strict=True)}) for n, row in lines]


@lru_cache(maxsize=4)
def _editions(directory: Path | None) -> dict[str, list[tuple[str, str, tuple[str, ...]]]]:
    """Edition -> (industry of 2025, industry of the edition, HS prefixes that it holds for)."""
    path, rows = _read("icio_industries.csv", directory)
    out: dict[str, list[tuple[str, str, tuple[str, ...]]]] = {}
    seen: set[tuple[str, str, tuple[str, ...]]] = set()
    for row in rows:
        where, cells = f"line {row.line}", row.cells
        prefixes = tuple(cells["hs_prefixes"].split())
        if not (cells["edition"] and cells["industry"] and cells["edition_industry"]):
            raise InputRefused("edition, industry and edition_industry must be filled", path=path, where=where)
        if bad := [p for p in prefixes if not re.fullmatch(r"\d{2}|\d{4}|\d{6}", p)]:
            raise InputRefused(f"'{bad[0]}' is no prefix of HS codes (2, 4 or 6 digits)", path=path, where=where)
        key = (cells["edition"], cells["industry"], prefixes)
        if key in seen:
            raise InputRefused(f"the industry {cells['industry']} stands twice for its edition", path=path, where=where)
        seen.add(key)
        out.setdefault(cells["edition"], []).append((cells["industry"], cells["edition_industry"], prefixes))
    if EDITION not in out:
        raise InputRefused(f"the edition {EDITION} is missing", path=path)
    own = {industry for industry, _, _ in out[EDITION]}
    for edition, entries in out.items():
        if unknown := [i for i, _, _ in entries if i not in own]:
            raise InputRefused(f"{edition}: '{unknown[0]}' is no industry of {EDITION}", path=path)
    return out


def editions(directory: Path | None = None) -> tuple[str, ...]:
    """The editions that industries can be given in."""
    return tuple(_editions(directory))


def edition_industries(edition: str, directory: Path | None = None) -> tuple[str, ...]:
    """The industries of an edition that HS codes can lead to, in the order of the reference file.

    Raises:
        WrongUse: an edition that ``icio_industries.csv`` does not name.
    """
    return tuple(dict.fromkeys(target for _, target, _ in _of(edition, directory)))


def _of(edition: str, directory: Path | None) -> list[tuple[str, str, tuple[str, ...]]]:
    known = _editions(directory)
    if edition not in known:
        raise WrongUse(f"no industries are known for the edition '{edition}'; known are {', '.join(known)}")
    return known[edition]


def hs_industries(
    hs_revision: str,
    edition: str = EDITION,
    *,
    directory: Path | None = None,
    codes: Iterable[str] | None = None,
) -> HsIndustries:
    """The industry of every HS6 code of a revision in an edition of the OECD's tables.

    Args:
        hs_revision: ``HS92``, ``HS17`` or ``HS22``.
        edition: an edition of ``icio_industries.csv``, as the table reader names it.
        directory: the folder of the reference files; None: the one that comes with the project.
        codes: every code of the revision; None: the list that comes with the project, if there is one. What is in it
            and not in the reference file is unmapped.

    Raises:
        InputRefused: an industry that is none of the edition's, a code twice, a code that the revision does not have.
        WrongUse: a revision or an edition that the files do not cover.
    """
    path, rows = _read("hs_icio.csv", directory)
    own = {industry for industry, _, _ in _of(EDITION, directory)}
    rules = _of(edition, directory)
    known = listed_codes(hs_revision, directory) if codes is None else frozenset(codes)
    found: dict[str, tuple[str, str, str]] = {}
    unmapped: set[str] = set()
    for row in rows:
        where, cells = f"line {row.line}", row.cells
        code, industry, revisions = cells["code"], cells["industry"], cells["hs_revisions"].split()
        if not re.fullmatch(r"\d{6}|[0-9A-Z]{6}", code):
            raise InputRefused(f"'{code}' is no HS6 code", path=path, where=where)
        if bad := [r for r in revisions if r not in HS_REVISIONS]:
            raise InputRefused(f"'{bad[0]}' is no HS revision", path=path, where=where)
        if cells["method"] not in METHODS:
            raise InputRefused(
                f"'{cells['method']}' is no method; known are {', '.join(METHODS)}", path=path, where=where
            )
        if unknown := [i for i in (industry, *cells["also"].split()) if i and i not in own]:
            raise InputRefused(f"'{unknown[0]}' is no industry of {EDITION}", path=path, where=where)
        if hs_revision not in revisions:
            continue
        if code in found or code in unmapped:
            raise InputRefused(f"the code {code} stands twice for {hs_revision}", path=path, where=where)
        if known and code not in known and code not in BEYOND_LIST.get(hs_revision, ()):
            raise InputRefused(f"{hs_revision} has no code {code}", path=path, where=where)
        if industry:
            found[code] = (_target(rules, industry, code), cells["method"], cells["also"])
        else:
            unmapped.add(code)
    if not found:
        raise WrongUse(f"no industries are known for codes of {hs_revision}")
    also = {
        code: " ".join(sorted({_target(rules, i, code) for i in others.split()} - {industry}))
        for code, (industry, _, others) in found.items()
    }
    order = sorted(found)
    table = pa.table(
        [
            pa.array([hs_revision] * len(order), pa.string()),
            pa.array(order, pa.string()),
            pa.array([found[c][0] for c in order], pa.string()),
            pa.array([found[c][1] for c in order], pa.string()),
            pa.array([also[c] or None for c in order], pa.string()),
        ],
        schema=HS_INDUSTRY_SCHEMA,
    )
    return HsIndustries(table, tuple(sorted((unmapped | set(known)) - set(found))), edition)


def _target(rules: Sequence[tuple[str, str, tuple[str, ...]]], industry: str, code: str) -> str:
    """The industry of an edition; of several the one with the longest prefix of the code."""
    best: tuple[int, str] | None = None
    for own, target, prefixes in rules:
        if own != industry:
            continue
        length = max((len(p) for p in prefixes if code.startswith(p)), default=-1 if prefixes else 0)
        if length >= 0 and (best is None or length > best[0]):
            best = (length, target)
    if best is None:
        raise InputRefused(
            f"the industry {industry} of {EDITION} has no counterpart for the code {code}", path="icio_industries.csv"
        )
    return best[1]


# -- making hs_icio.csv anew ----------------------------------------------------------------------------------
def derive(
    classes: Mapping[str, Mapping[str, str]],
    conversions: Mapping[str, Mapping[str, str]],
    lists: Mapping[str, Iterable[str]],
    directory: Path | None = None,
) -> list[tuple[str, str, str, str, str]]:
    """The lines of ``hs_icio.csv`` (code, revisions, industry, method, also), sorted.

    Args:
        classes: revision -> HS6 code -> class of ISIC Rev.3, "" where the source gives none.
        conversions: revision -> HS6 code -> HS6 code of HS92.
        lists: revision -> every code of it; revisions without classes get their industries from the conversions.
        directory: the folder of the reference files.

    Raises:
        InputRefused: a class without an industry in ``isic3_icio.csv``, a reviewed line that no code needs.
    """
    own = {industry for industry, _, _ in _of(EDITION, directory)}
    path, rows = _read("isic3_icio.csv", directory)
    of_class: dict[str, str] = {}
    for row in rows:
        if row.cells["industry"] not in own:
            raise InputRefused(
                f"'{row.cells['industry']}' is no industry of {EDITION}", path=path, where=f"line {row.line}"
            )
        if of_class.setdefault(row.cells["isic3"], row.cells["industry"]) != row.cells["industry"]:
            raise InputRefused(f"the class {row.cells['isic3']} stands twice", path=path, where=f"line {row.line}")
    reviewed_path, reviewed = _read("hs_icio_reviewed.csv", directory)
    rules: dict[tuple[str, str], tuple[int, str]] = {}
    for row in reviewed:
        industry = row.cells["industry"]
        if industry and industry not in own:
            raise InputRefused(
                f"'{industry}' is no industry of {EDITION}", path=reviewed_path, where=f"line {row.line}"
            )
        for revision in row.cells["hs_revisions"].split():
            if (revision, row.cells["prefix"]) in rules:
                raise InputRefused(
                    f"the prefix {row.cells['prefix']} stands twice for {revision}",
                    path=reviewed_path,
                    where=f"line {row.line}",
                )
            rules[revision, row.cells["prefix"]] = (row.line, industry)
    used: set[int] = set()
    given: dict[tuple[str, str], tuple[str, str, str]] = {}

    def review(revision: str, code: str) -> bool:
        for length in (6, 4, 2):
            if (rule := rules.get((revision, code[:length]))) is not None:
                given[revision, code] = (rule[1], "reviewed" if rule[1] else "none", "")
                used.add(rule[0])
                return True
        return False

    for revision, by_code in classes.items():
        for code in sorted({*by_code, *lists.get(revision, ())}):
            if review(revision, code):
                continue
            kind = by_code.get(code, "")
            if kind and kind not in of_class:
                raise InputRefused(f"the class {kind} (of {revision} {code}) has no industry", path=path)
            given[revision, code] = (of_class[kind], "isic3", "") if kind else ("", "none", "")
    feeding: dict[str, list[tuple[str, str, str]]] = {}
    for revision, pairs in conversions.items():
        for code, old in pairs.items():
            industry = given.get((revision, code), ("", "", ""))[0]
            if industry:
                feeding.setdefault(old, []).append((revision, code, industry))
    headings: dict[str, set[str]] = {}
    for (_, code), (industry, _, _) in given.items():
        if industry:
            headings.setdefault(code[:4], set()).add(industry)
    for revision in lists.keys() - classes.keys():
        for code in sorted(lists[revision]):
            if review(revision, code):
                continue
            given[revision, code] = _inherited(code, feeding.get(code, []), headings.get(code[:4], set()))
    if idle := sorted({line for line, _ in rules.values()} - used):
        raise InputRefused("no code begins with this prefix", path=reviewed_path, where=f"line {idle[0]}")
    merged: dict[tuple[str, str, str, str], list[str]] = {}
    for (revision, code), (industry, method, also) in given.items():
        merged.setdefault((code, industry, method, also), []).append(revision)
    ordered = {key: " ".join(r for r in HS_REVISIONS if r in held) for key, held in merged.items()}
    return sorted((code, held, industry, method, also) for (code, industry, method, also), held in ordered.items())


def _inherited(code: str, feeding: Sequence[tuple[str, str, str]], heading: set[str]) -> tuple[str, str, str]:
    """Industry, method and other industries of an old code from the newer codes that convert to it.

    Where they disagree the code of the same number decides, else the industry of most of them, HS17 first.
    """
    if not feeding:
        return (next(iter(heading)), "heading", "") if len(heading) == 1 else ("", "none", "")
    same = [industry for _, other, industry in feeding if other == code]
    votes = Counter(industry for revision, _, industry in feeding if revision == "HS17") or Counter(
        industry for _, _, industry in feeding
    )
    most = max(votes.values())
    industry = same[0] if same else min(i for i, n in votes.items() if n == most)
    return industry, "converted", " ".join(sorted({i for _, _, i in feeding} - {industry}))


def rebuild(folder: Path, directory: Path | None = None) -> str:
    """The text of ``hs_icio.csv`` from a folder of concordances (HS17 and HS22 to ISIC Rev.3 and to HS92).

    Raises:
        InputRefused: a concordance that is needed is missing, or the reference files contradict it.
    """
    if not folder.is_dir():
        raise InputRefused("there is no such folder of concordances", path=folder)
    files = tuple(
        SourceFile("concordance", "concordance", p, p.name, sha256_of(p), p.stat().st_size, Sidecar(), None)
        for p in sorted(folder.iterdir())
        if p.is_file() and not isinstance(classify("concordance", p.name), str)
    )
    data = read_concordances(Inventory(folder, files, ()))
    classes: dict[str, dict[str, str]] = {}
    conversions: dict[str, dict[str, str]] = {}
    for revision in ("HS17", "HS22"):
        for system, into in (("ISIC3", classes), ("HS92", conversions)):
            pairs = pairs_between(data.table, revision, system, ("conversion", "pairs"))
            if pairs is None:
                raise InputRefused(f"no concordance leads from {revision} to {system}", path=folder)
            into[revision] = dict(zip(pairs["from_code"].to_pylist(), pairs["to_code"].to_pylist(), strict=True))
    lists: dict[str, Iterable[str]] = {revision: listed_codes(revision, directory) for revision in ("HS92", "HS17")}
    # No list of HS22 comes with BACI yet; its code of goods not specified is in no concordance.
    lists["HS22"] = ("999999",)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_COLUMNS["hs_icio.csv"])
    writer.writerows(derive(classes, conversions, lists, directory))
    return out.getvalue()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m ketenpipe.sources.hs_industries", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("folder", type=Path, help="the folder of concordances")
    parser.add_argument("--out", type=Path, help="the file to write; without it the text goes to standard output")
    options = parser.parse_args(arguments)
    try:
        text = rebuild(options.folder)
    except KetenpipeError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    if options.out is None:
        sys.stdout.write(text)
    else:
        options.out.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
