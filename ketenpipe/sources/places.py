"""Finds the native files of a drop folder, with their sidecars, and says what was not recognised.

A drop folder holds ``baci/``, ``comtrade/``, ``icio/`` (or ``icio_like/``), ``wgi/``, ``mining/`` (or
``wmd/``), ``concordance/``, ``elasticity/`` (or ``protee/``); the embedded sample has the same shape. Belongs here:
names, places, hashes, sidecars. Does not belong here: reading a row.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from ketenpipe.errors import InputRefused
from ketenpipe.sources.opening import content_sha256, magic, sha256_of

#: Folder names as they are accepted, per source.
FOLDERS: dict[str, str] = {
    "baci": "baci",
    "comtrade": "comtrade",
    "icio": "icio",
    "icio_like": "icio",
    "wgi": "wgi",
    "mining": "mining",
    "wmd": "mining",
    "concordance": "concordance",
    "elasticity": "elasticity",
    "protee": "elasticity",
}

_BACI_YEAR = re.compile(
    r"^BACI_HS(?P<hs>\d\d)_Y(?P<year>\d{4})(?:_V(?P<release>\d{6}[a-z]?))?(?:_(?P<rest>.*?))?\.csv(?:\.gz)?$",
    re.I,
)
_BACI_ZIP = re.compile(r"^BACI_HS(?P<hs>\d\d)(?:_.*)?\.zip$", re.I)
_COUNTRIES = re.compile(r"^country_codes(?:_V(?P<release>\d{6}[a-z]?))?.*\.csv(?:\.gz)?$", re.I)
_PRODUCTS = re.compile(r"^product_codes_HS(?P<hs>\d\d)(?:_V(?P<release>\d{6}[a-z]?))?.*\.csv(?:\.gz)?$", re.I)
_RELEASE = re.compile(r"_V(\d{6}[a-z]?)(?=[_.]|$)", re.I)
_COMTRADE = re.compile(r"\.(csv|tsv|txt|json)(\.gz)?$|\.(zip|gz)$", re.I)
_COMTRADE_LIST = re.compile(r"^(reference_|reporters|partnerareas|api_bulk|bulk_|hs\.json|h\d\.json)", re.I)
_TEXTLIKE = re.compile(r"\.(csv|json)(\.gz)?$|\.zip$", re.I)
_DOCUMENT = re.compile(r"^(readme|licen[cs]e|copying|attribution|notice|changelog|sources)\b.*$", re.I)
_META = ".meta.json"
#: Files larger than this are not unpacked only to see whether they are a known file (bytes).
_CONTENT_LIMIT = 64 << 20


@dataclass(frozen=True)
class VintageSpan:
    """The years (both included) of one vintage within a file."""

    vintage: str
    from_year: int
    to_year: int


@dataclass(frozen=True)
class Sidecar:
    """What is known about a file beside its rows; None where nothing is stated."""

    url: str | None = None
    retrieved_at: str | None = None
    sha256: str | None = None
    bytes: int | None = None
    licence: str | None = None
    producer: str | None = None
    citation: str | None = None
    release: str | None = None
    vintages: tuple[VintageSpan, ...] = ()
    hs_revision: str | None = None
    note: str | None = None

    def vintage_of(self, year: int) -> str | None:
        """The declared vintage of a year, None if none is declared."""
        for span in self.vintages:
            if span.from_year <= year <= span.to_year:
                return span.vintage
        return None


@dataclass(frozen=True)
class SourceFile:
    """A recognised file. ``kind`` is ``flows``, ``archive``, ``countries``, ``products`` (baci);
    ``reports`` (comtrade); ``estimates``; ``production``; ``table`` or ``archive`` (icio);
    ``concordance``; ``elasticities``."""

    source: str
    kind: str
    path: Path
    relative: str
    sha256: str
    bytes: int
    sidecar: Sidecar
    sidecar_from: str | None
    hs_revision: str | None = None
    year: int | None = None
    release: str | None = None


@dataclass(frozen=True)
class Unrecognised:
    """A file that no reader takes, and why."""

    relative: str
    reason: str


@dataclass(frozen=True)
class Inventory:
    """What a sources folder holds."""

    root: Path
    files: tuple[SourceFile, ...]
    unrecognised: tuple[Unrecognised, ...]

    def of(self, source: str, *kinds: str) -> list[SourceFile]:
        """The recognised files of a source, in path order; of these kinds only, if kinds are given."""
        return [f for f in self.files if f.source == source and (not kinds or f.kind in kinds)]


def embedded(name: str) -> Path:
    """The data folder that comes with the project: inside the wheel, else in the work tree.

    Args:
        name: ``sample`` or ``reference``, or a path below one of them.
    """
    package = Path(__file__).parent.parent
    inside = package / "_data" / name
    return inside if inside.exists() else package.parent / "data" / name


def release_in(name: str) -> str | None:
    """The release in a BACI file name, as ``V202401b``; None if the name states none."""
    found = _RELEASE.search(re.sub(r"(\.csv)?(\.gz|\.zip)?$", "", name, flags=re.I))
    return f"V{found.group(1).lower()}" if found else None


def baci_year_in(name: str) -> tuple[str, int, str | None] | None:
    """(HS revision, year, release) from the name of a BACI year file; None if it is not such a name."""
    found = _BACI_YEAR.match(name)
    if not found:
        return None
    return f"HS{found['hs']}", int(found["year"]), release_in(name)


def parse_sidecar(raw: dict[str, Any], path: Path) -> Sidecar:
    """A sidecar from its JSON object. Unknown keys are ignored, absent ones are None.

    Raises:
        InputRefused: the vintages are malformed, or one year stands in two of them.
    """
    spans: list[VintageSpan] = []
    for item in raw.get("vintages") or []:
        try:
            span = VintageSpan(str(item["vintage"]), int(item["from_year"]), int(item["to_year"]))
        except (KeyError, TypeError, ValueError) as broken:
            raise InputRefused(
                "each entry of 'vintages' needs vintage, from_year and to_year", path=path, where=str(item)
            ) from broken
        for other in spans:
            if span.from_year <= other.to_year and other.from_year <= span.to_year:
                year = max(span.from_year, other.from_year)
                raise InputRefused(
                    f"the year {year} stands in two vintages ('{other.vintage}' and '{span.vintage}')",
                    path=path,
                    todo="give each year one vintage",
                )
        spans.append(span)

    def text(key: str) -> str | None:
        value = raw.get(key)
        return None if value is None else str(value)

    size = raw.get("bytes")
    return Sidecar(
        url=text("url"),
        retrieved_at=text("retrieved_at"),
        sha256=text("sha256"),
        bytes=size if isinstance(size, int) else None,
        licence=text("licence"),
        producer=text("producer"),
        citation=text("citation"),
        release=text("release"),
        vintages=tuple(spans),
        hs_revision=text("hs_revision"),
        note=text("note"),
    )


def _read_sidecar(path: Path) -> Sidecar:
    try:
        raw = json.loads(path.read_text(encoding="utf-8-sig"))
    except (json.JSONDecodeError, UnicodeDecodeError) as broken:
        raise InputRefused(f"the sidecar is not readable as JSON ({broken})", path=path) from broken
    if not isinstance(raw, dict):
        raise InputRefused("the sidecar is not a JSON object", path=path)
    return parse_sidecar(raw, path)


@lru_cache(maxsize=1)
def _known_files() -> dict[str, Sidecar]:
    path = embedded("sample") / "known_files.json"
    if not path.exists():
        return {}
    raw = json.loads(path.read_text(encoding="utf-8"))
    known: dict[str, Sidecar] = {}
    for item in raw["files"]:
        sidecar = parse_sidecar(item["sidecar"], path)
        for digest in item["sha256"]:
            known[str(digest)] = sidecar
    return known


def _sidecar_for(path: Path, digest: str, size: int) -> tuple[Sidecar, str | None]:
    beside = path.with_name(path.name + _META)
    if beside.exists():
        sidecar = _read_sidecar(beside)
        if sidecar.sha256 and sidecar.sha256.lower() != digest:
            raise InputRefused(
                f"the file has sha256 {digest[:12]}... where its sidecar {beside.name} states "
                f"{sidecar.sha256[:12].lower()}...",
                path=path,
                todo="download it again, or correct the sidecar",
            )
        if sidecar.bytes is not None and sidecar.bytes != size:
            raise InputRefused(
                f"the file has {size} bytes where its sidecar {beside.name} states {sidecar.bytes}",
                path=path,
                todo="download it again, or correct the sidecar",
            )
        return sidecar, "beside"
    known = _known_files()
    found = known.get(digest)
    if found is None and known and size <= _CONTENT_LIMIT and magic(path) == "gzip":
        found = known.get(content_sha256(path))
    if found is not None:
        return replace(found, sha256=None, bytes=None), "known_files"
    return Sidecar(), None


def classify(source: str, name: str) -> tuple[str, dict[str, Any]] | str:
    """(kind, fields) of a file name within a source's folder, or the reason it is not recognised."""
    lower = name.lower()
    if source == "comtrade":
        if _COMTRADE_LIST.match(lower):
            return "a list of the UN Comtrade API, not rows of trade"
        return ("reports", {}) if _COMTRADE.search(lower) else "neither CSV nor JSON nor zip: save it as downloaded"
    if source == "baci":
        if year := baci_year_in(name):
            return "flows", {"hs_revision": year[0], "year": year[1], "release": year[2]}
        if found := _BACI_ZIP.match(name):
            return "archive", {"hs_revision": f"HS{found['hs']}", "release": release_in(name)}
        if _COUNTRIES.match(name):
            return "countries", {"release": release_in(name)}
        if found := _PRODUCTS.match(name):
            return "products", {"hs_revision": f"HS{found['hs']}", "release": release_in(name)}
        if lower.endswith(".parquet"):
            return "a Parquet file is not a native BACI layout"
        return "the name is not that of a BACI file (BACI_HS17_Y2022_V202401b.csv, BACI_HS17_V202401b.zip, ...)"
    workbook = source in ("wgi", "mining", "concordance") and lower.endswith(".xlsx")
    if not workbook and not _TEXTLIKE.search(lower):
        return "neither CSV nor JSON nor zip: save it in the source's native text layout"
    if source == "mining":
        if lower.startswith("hs_code_map"):
            return "a material to code map is not a production statistic; the chain catalogue holds the links"
        if workbook and re.match(r"6\.(?!4\b)\d", lower):
            return "of the World Mining Data workbooks only 6.4 (countries by minerals) is read"
        if re.match(r"mcs.*[_-](salient|t\d+|fig\d+)[_.-]", lower):
            return "not a table of production by country"
        return ("production", {}) if ".json" not in lower else "mining statistics are read from CSV or xlsx"
    if source == "icio":
        if lower == "icio_layouts.json":
            return "layouts", {}
        if ".json" in lower:
            return "input-output tables are read from CSV"
        return ("archive" if lower.endswith(".zip") else "table"), {}
    if source == "wgi":
        return "estimates", {}
    if source == "elasticity":
        return ("elasticities", {}) if ".json" not in lower else "trade elasticities are read from CSV"
    return ("concordance", {}) if ".json" not in lower else "concordances are read from CSV or xlsx"


def source_file(
    source: str,
    kind: tuple[str, dict[str, Any]],
    path: Path,
    relative: str,
    digest: str,
    size: int,
    sidecar: Sidecar,
    origin: str | None,
) -> SourceFile:
    """A recognised file from its classification (:func:`classify`) and its sidecar.

    Raises:
        InputRefused: the name and the sidecar state different HS revisions.
    """
    fields = dict(kind[1])
    stated = sidecar.hs_revision
    if stated and fields.get("hs_revision") and stated.upper() != fields["hs_revision"]:
        raise InputRefused(
            f"the name says {fields['hs_revision']} where the sidecar says {stated}",
            path=path,
            todo="correct one",
        )
    if fields.get("release") is None and sidecar.release:
        fields["release"] = sidecar.release
    return SourceFile(source, kind[0], path, relative, digest, size, sidecar, origin, **fields)


def discover(directory: Path) -> Inventory:
    """Finds the native files in a sources folder; names are matched in any case, zip, gz or plain.

    Args:
        directory: the drop folder, holding ``baci/`` and, where there are any, the other sources' folders.

    Returns:
        The recognised files in path order, each with its hash and sidecar, and those not recognised with the
        reason. A file without a sidecar that equals a known file (``data/sample/known_files.json``, by the
        hash of the file or of its uncompressed content) takes that file's sidecar over.

    Raises:
        InputRefused: no folder, no trade source, a sidecar that contradicts its file.
    """
    root = Path(directory)
    if not root.is_dir():
        raise InputRefused("there is no such sources folder", path=root, todo="name a folder that holds baci/")
    files: list[SourceFile] = []
    strange: list[Unrecognised] = []
    for child in sorted(root.iterdir(), key=lambda p: p.name):
        if child.name.startswith(".") or child.name in ("known_files.json", "__pycache__"):
            continue
        if not child.is_dir():
            if not _DOCUMENT.match(child.name) and not child.name.endswith(_META):
                strange.append(
                    Unrecognised(child.name, "lies outside a source's folder: put it under baci/, wgi/, ...")
                )
            continue
        source = FOLDERS.get(child.name.lower())
        if source is None:
            strange.append(Unrecognised(f"{child.name}/", "not the folder of a source that is read"))
            continue
        for path in sorted(p for p in child.rglob("*") if p.is_file()):
            name = path.name
            if name.startswith(".") or name.lower().endswith(_META) or _DOCUMENT.match(name) or name == "Thumbs.db":
                continue
            relative = path.relative_to(root).as_posix()
            kind = classify(source, name)
            if isinstance(kind, str):
                strange.append(Unrecognised(relative, kind))
                continue
            size = path.stat().st_size
            if size == 0:
                raise InputRefused("the file is empty", path=path, todo="download it again")
            digest = sha256_of(path)
            sidecar, origin = _sidecar_for(path, digest, size)
            files.append(source_file(source, kind, path, relative, digest, size, sidecar, origin))
    if not any(f.source == "baci" and f.kind in ("flows", "archive") for f in files):
        if any(baci_year_in(u.relative) or _BACI_ZIP.match(u.relative) for u in strange):
            raise InputRefused(
                "no trade source: the BACI files lie beside the source folders",
                path=root,
                todo="move them into baci/",
            )
        raise InputRefused(
            "no trade source: there is no BACI file under baci/",
            path=root,
            todo="put BACI_HS.._V....zip or its year files into baci/, or use --sources sample",
        )
    return Inventory(root, tuple(files), tuple(strange))
