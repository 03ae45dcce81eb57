"""What every table is made of, as one hash: so that a changed source makes anew only what depends on it.

Belongs here: fingerprints and the question whether a table is fresh. A fingerprint joins the hashes of the code, of the
table's own inputs (files, settings, catalogue) and of the tables upstream. It stands in the table's own Parquet file,
so table and fingerprint are swapped in as one; a second record says which of them passed their blocking checks.
Does not belong here: running anything.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.parquet as pq

from ketenpipe.dag.resources import Workspace
from ketenpipe.errors import KetenpipeError
from ketenpipe.review.ledger import ledger_path
from ketenpipe.settings import SECRETS
from ketenpipe.sources.comtrade_api import last_availability
from ketenpipe.sources.places import SourceFile, embedded
from ketenpipe.tables.contract import Table
from ketenpipe.tables.registry import TABLES
from ketenpipe.tables.store import write_bytes_atomic

#: Where a table's Parquet file keeps its fingerprint (store metadata: never part of a release).
FINGERPRINT = b"ketenpipe.fingerprint"
#: What a figure may depend on besides our own code.
LIBRARIES = ("duckdb", "narwhals", "networkx", "numpy", "pandas", "pyarrow", "pycountry", "scipy")
#: The folders of the method, lowest first.
LAYERS = ("tables", "sources", "chain", "risk", "review", "observatory")
#: Lists of the reference data that readers of sources look into.
READERS_LISTS = ("country_aliases.csv", "comtrade_areas.csv", "hs_codes/*.csv")
#: Settings that say where things lie or how to fetch them, not what is computed.
PLACES = ("home", "sources", "catalogue", "years", "fetch", "products")


def _hash(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


@lru_cache(maxsize=8)
def code_fingerprint(folder: str) -> str:
    """One hash of the code that a table of this folder can reach, and of the libraries that figures rest on.

    Imports run downward only, so a table of ``sources`` does not depend on the code of ``risk``.
    """
    package = Path(__file__).parents[1]
    reached = [package / name for name in LAYERS[: LAYERS.index(folder) + 1]]
    files = sorted(p for part in reached for p in part.rglob("*") if p.suffix in (".py", ".json", ".j2"))
    files += [package / "dag" / "io.py", package / "dag" / "checks.py", package / "dag" / "assets" / f"{folder}.py"]
    held = [(p.relative_to(package).as_posix(), hashlib.sha256(p.read_bytes()).hexdigest()) for p in files]
    return _hash(held, [(name, importlib.metadata.version(name)) for name in LIBRARIES])


@lru_cache(maxsize=1)
def parents() -> Mapping[dg.AssetKey, frozenset[dg.AssetKey]]:
    """What every asset is made of, from the graph itself."""
    from ketenpipe.dag.graph import ASSETS  # the graph holds the IO manager, which asks here

    return {
        spec.key: frozenset(dep.asset_key for dep in spec.deps if dep.asset_key != spec.key)
        for made in ASSETS
        if isinstance(made, dg.AssetsDefinition)
        for spec in made.specs
    }


def _stamp(file: SourceFile) -> tuple[str, str, str]:
    return (file.relative, file.sha256, repr(file.sidecar))


class Versions:
    """Fingerprints of the tables of one home.

    Args:
        workspace: the home with its sources, settings and catalogue.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._wanted: dict[tuple[dg.AssetKey, str | None], str] = {}
        self._checked = read_checked(workspace)

    def own(self, key: dg.AssetKey, partition: str | None) -> str:
        """Hash of the code and of what the table reads beside other tables."""
        folder, name = key.path
        if folder == "sources":
            return _hash(code_fingerprint(folder), self._files(name, partition))
        chosen = self.workspace.settings
        settings = chosen.model_dump(mode="json", exclude={*PLACES, *SECRETS}) | {"products": chosen.chosen_products}
        reference = self.workspace.reference().sha256
        ledger = _file_hash(ledger_path(Path(self.workspace.home))) if folder in ("review", "observatory") else None
        lists = _hashes(self.workspace.reference_dirs, ("thresholds.toml", "hs_icio.csv", "hs_codes/*.csv"))
        return _hash(code_fingerprint(folder), settings, reference, lists, ledger)

    def _files(self, name: str, partition: str | None) -> Any:
        workspace = self.workspace
        inventory = workspace.inventory()
        lists = _hashes((embedded("reference"),), READERS_LISTS)
        if name == "baci_flows":
            held = workspace.baci_years().get(int(partition or 0), [])
            beside = [_stamp(f) for f in inventory.of("baci", "countries", "products")]
            return [(*_stamp(y.file), y.entry, y.release) for y in held], beside, lists
        kinds = {
            "governance": "wgi",
            "mining_production": "mining",
            "hs_weights": "concordance",
            "icio_accounts": "icio",
            "icio_audit": "icio",
        }
        if name in kinds:
            return [_stamp(f) for f in inventory.of(kinds[name])], lists
        if name in ("comtrade_annual", "comtrade_monthly"):
            parts = workspace.comtrade_periods()[str(partition)].parts
            return [(*_stamp(p.file), p.entry, p.superseded) for p in parts], lists
        if name == "reporting_coverage":
            seen = last_availability(Path(workspace.home)) if workspace.official else None
            return None if seen is None else sorted((d.slot, d.checksum) for d in seen.datasets), lists
        if name.startswith(("reconciled_", "margins_", "reliability_")):
            return lists
        reference = sorted(workspace.reference().file_sha256.items())
        return [_stamp(f) for f in inventory.files], [repr(u) for u in inventory.unrecognised], reference, lists

    def given(
        self, key: dg.AssetKey, partition: str | None, upstream: Callable[[dg.AssetKey, str | None], str | None]
    ) -> str:
        """The fingerprint of a table, given those of the tables upstream."""
        held: list[tuple[str, list[tuple[str, str | None]]]] = []
        for parent in sorted(parents()[key], key=lambda k: k.to_user_string()):
            if parent.path[-1] == "archive":
                continue  # what was fetched shows in the files themselves
            parts: Collection[str | None] = self.workspace.partitions_for(parent.path[-1], key.path[-1], partition)
            held.append((parent.to_user_string(), [(p or "", upstream(parent, p)) for p in parts]))
        return _hash(self.own(key, partition), held)

    def wanted(self, key: dg.AssetKey, partition: str | None = None) -> str:
        """The fingerprint that a table would have if everything were made anew now."""
        if (key, partition) not in self._wanted:
            self._wanted[key, partition] = self.given(key, partition, self.wanted)
        return self._wanted[key, partition]

    def held(self, key: dg.AssetKey, partition: str | None = None) -> str | None:
        """The fingerprint that stands in the table's file; None without file or fingerprint.

        An asset that is no table holds none: it stands for the tables that it is made of.
        """
        table = table_of(key)
        if table is None:
            return self.made_now(key, partition)
        path = self.workspace.store.path(table, partition)
        if not path.exists():
            return None
        value = (pq.read_schema(path).metadata or {}).get(FINGERPRINT)
        return value.decode() if value else None

    def made_now(self, key: dg.AssetKey, partition: str | None = None) -> str:
        """The fingerprint of a table that is made now of the tables as they lie in the store."""
        return self.given(key, partition, self.held)

    def fresh(self, key: dg.AssetKey, partition: str | None = None) -> bool:
        """Whether the table is what it would be if made anew, and passed its checks."""
        wanted = self.wanted(key, partition)
        return self.held(key, partition) == wanted and self._checked.get(_name(key, partition)) == wanted


def table_of(key: dg.AssetKey) -> Table | None:
    """The contract of an asset's table; None for an asset that is no table."""
    table = TABLES.get(key.path[-1])
    return table if table is not None and [table.folder, table.name] == list(key.path) else None


def _name(key: dg.AssetKey, partition: str | None) -> str:
    return key.to_user_string() + (f"@{partition}" if partition else "")


def _checked_path(workspace: Workspace) -> Path:
    return Path(workspace.home) / "tables" / "checked.json"


def read_checked(workspace: Workspace) -> dict[str, str]:
    """Which table passed its blocking checks with which fingerprint.

    Raises:
        KetenpipeError: the record is not readable.
    """
    path = _checked_path(workspace)
    if not path.exists():
        return {}
    try:
        return {str(k): str(v) for k, v in json.loads(path.read_text(encoding="utf-8")).items()}
    except (ValueError, AttributeError) as error:
        raise KetenpipeError(f"{path}: not readable ({error}); remove it, everything is then made anew.") from error


def note_checked(
    workspace: Workspace,
    passed: Iterable[tuple[dg.AssetKey, str | None]],
    made: Mapping[str, str] | None = None,
) -> None:
    """Record that tables passed their blocking checks, with the fingerprints in their files.

    Args:
        workspace: whose record it is.
        passed: tables, each with its partition or None.
        made: fingerprints of assets that are no tables, by name.
    """
    versions = Versions(workspace)
    known = read_checked(workspace) | dict(made or {})
    for key, partition in passed:
        held = versions.held(key, partition)
        if held is not None:
            known[_name(key, partition)] = held
    _write_checked(workspace, known)


def forget_checked(workspace: Workspace, failed: Iterable[tuple[dg.AssetKey, str | None]]) -> None:
    """Forget that tables ever passed their blocking checks: the next run makes them anew."""
    names = {_name(key, partition) for key, partition in failed}
    known = read_checked(workspace)
    _write_checked(workspace, {name: held for name, held in known.items() if name not in names})


def _write_checked(workspace: Workspace, known: Mapping[str, str]) -> None:
    write_bytes_atomic(_checked_path(workspace), json.dumps(known, indent=1, sort_keys=True).encode())


def _file_hash(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None


def _hashes(folders: Iterable[Path], patterns: Iterable[str]) -> list[tuple[str, str]]:
    """Names and hashes of the lists in reference folders."""
    found = (p for folder in folders for pattern in patterns for p in sorted(folder.glob(pattern)))
    return _hashed(tuple((str(p), p.stat().st_mtime_ns, p.stat().st_size) for p in found))


@lru_cache(maxsize=8)
def _hashed(stamp: tuple[tuple[str, int, int], ...]) -> list[tuple[str, str]]:
    return [(Path(p).name, hashlib.sha256(Path(p).read_bytes()).hexdigest()) for p, _, _ in stamp]
