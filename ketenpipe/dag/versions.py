"""What every table is made of, as one hash: so that a changed source makes anew only what depends on it.

Belongs here: fingerprints and the question whether a table is fresh. A fingerprint joins the hashes of the code, of the
table's own inputs (files, settings, catalogue) and of the tables upstream. It stands in the table's own Parquet file,
so table and fingerprint are swapped in as one. A second record says which file, by its bytes, passed its blocking
checks with which fingerprint: a file that somebody replaced by hand is not that file, whatever it says of itself.
Does not belong here: running anything.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import dagster as dg

from ketenpipe.dag.resources import Workspace
from ketenpipe.errors import KetenpipeError
from ketenpipe.observatory import reader
from ketenpipe.observatory.catalogue_db import catalogue_path
from ketenpipe.observatory.reader import NoRelease
from ketenpipe.sources.archive import Archive
from ketenpipe.sources.comtrade_api import last_availability
from ketenpipe.sources.opening import sha256_of
from ketenpipe.sources.places import SourceFile
from ketenpipe.tables.contract import Table
from ketenpipe.tables.registry import TABLES

#: Where a table's Parquet file keeps its fingerprint (store metadata: never part of a release).
FINGERPRINT = b"ketenpipe.fingerprint"
#: What a table may depend on besides our own code.
LIBRARIES = (
    "duckdb", "narwhals", "networkx", "numpy", "pandas", "pyarrow", "pycountry", "python-calamine", "scipy",
)  # fmt: skip
#: What words and pictures depend on besides.
WORDS = ("babel", "jinja2", "matplotlib", "pillow")
#: The folders of the method, lowest first.
LAYERS = ("tables", "sources", "chain", "risk", "review", "observatory")
#: Code of this folder that says what a table is made of.
OWN_CODE = ("checks.py", "io.py", "resources.py")
#: The settings that the steps of each asset read; ``foci`` are focus and bloc. What a step reads of tables upstream is
#: in their fingerprints, and ``years`` in their partitions.
FOCI = ("focus", "bloc")
OF_PRODUCTS = (*FOCI, "products")
READ_BY: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("production", "origin_mix", "tracing", "supply_mix"), OF_PRODUCTS),
    **dict.fromkeys(("chain_nodes", "chain_edges", "exposure"), (*FOCI, "depth")),
    **dict.fromkeys(("industry_exposure", "industry_tiers", "industry_measures", "industry_coefficients"), FOCI),
    "product_industries": (),
    **dict.fromkeys(("paths", "graph_nodes", "graph_edges", "graph_measures"), ()),
    "shocks": FOCI,
    "country_risk": ("wgi_dimension",),
    "nowcast": FOCI,
    "nowcast_check": (),
    "product_indicators": OF_PRODUCTS,
    "importers": ("products",),
    **dict.fromkeys(("product_uses", "product_join", "product_tiers", "tier_indicators", "tier_flags"), OF_PRODUCTS),
    "chain_indicators": OF_PRODUCTS,
    **dict.fromkeys(("criticality_indicators", "network_indicators"), OF_PRODUCTS),
    "industry_indicators": (),
    **dict.fromkeys(
        ("indicators", "flags", "named_methods", "method_differences"),
        (*OF_PRODUCTS, "minimum_import_kusd", "methods"),
    ),
    "method_agreement": (),
    **dict.fromkeys(("uncertainty", "drawn_verdicts"), (*OF_PRODUCTS, "draws", "seed")),
    "alternatives": (*OF_PRODUCTS, "depth", "minimum_import_kusd", "methods"),
    "robustness": (),
    "substitutability": (*OF_PRODUCTS, "partners", "draws", "seed"),
    **dict.fromkeys(("dossiers", "review_decisions"), ()),
    "crma_monitor": (),
    "data_grades": FOCI,
    **dict.fromkeys(("register", "labels", "sources"), (*FOCI, "minimum_import_kusd")),
    "explanations": ("products",),
    **dict.fromkeys(("validation", "pictures"), ()),
    "release": (
        *FOCI,
        "products",
        "depth",
        "wgi_dimension",
        "minimum_import_kusd",
        "seed",
        "draws",
        "methods",
        "partners",
    ),
    "changes": (),
    "catalogue": (),
}
#: Assets that look into the decision ledger themselves; amendments of the chain come with the catalogue's hash.
LEDGER = ("dossiers", "review_decisions", "release")
#: Assets that read the latest release.
OF_RELEASE = ("changes", "catalogue")


@dataclass(frozen=True)
class Passed:
    """A table that passed its blocking checks.

    Attributes:
        made_of: its fingerprint then.
        sha256: of its file; of an asset that is no table, of what it left.
        stamp: of its file, so that the file is hashed again only where something moved.
    """

    made_of: str
    sha256: str
    stamp: tuple[str | int, ...] | None = None


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
    own = [package / "dag" / name for name in OWN_CODE]
    files += [*own, package / "dag" / "assets" / f"{folder}.py", package / "settings.py"]
    held = [(p.relative_to(package).as_posix(), hashlib.sha256(p.read_bytes()).hexdigest()) for p in files]
    libraries = (*LIBRARIES, *(WORDS if folder in ("review", "observatory") else ()))
    return _hash(held, [(name, importlib.metadata.version(name)) for name in libraries])


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


def _of_file(file: SourceFile) -> tuple[str, str, str]:
    return (file.relative, file.sha256, repr(file.sidecar))


class Versions:
    """Fingerprints of the tables of one home.

    Args:
        workspace: the home with its sources, settings and catalogue.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._wanted: dict[tuple[dg.AssetKey, str | None], str] = {}
        self._read_by: dict[tuple[str, ...], str] = {}
        self._checked = read_checked(workspace)

    def own(self, key: dg.AssetKey, partition: str | None) -> str:
        """Hash of the code and of what the table reads beside other tables."""
        folder, name = key.path
        if folder == "sources":
            return _hash(code_fingerprint(folder), self._files(name, partition), self.workspace.lists()["readers"])
        lists = self.workspace.lists()
        return _hash(
            code_fingerprint(folder),
            self._chosen(READ_BY[name]),
            lists["lists"],
            lists["thresholds"] if folder in ("risk", "observatory") else None,
            (lists["judgements"], self.workspace.today().year) if folder == "observatory" else None,
            self.workspace.ledger_sha256() if name in LEDGER else None,
            reader.read_pointer(self.workspace.place) if name in OF_RELEASE else None,
        )

    def _chosen(self, names: tuple[str, ...]) -> str:
        """Hash of the catalogue and of some settings."""
        if names not in self._read_by:
            settings = self.workspace.settings
            held = settings.model_dump(mode="json", include=set(names))
            if "products" in names:
                held["products"] = settings.chosen_products
            self._read_by[names] = _hash(held, self.workspace.reference().sha256)
        return self._read_by[names]

    def _files(self, name: str, partition: str | None) -> Any:
        workspace = self.workspace
        inventory = workspace.inventory()
        if name == "baci_flows":
            held = workspace.baci_years().get(int(partition or 0), [])
            # The lists of countries and products, which may lie within another release's zip.
            beside = [_of_file(f) for f in inventory.of("baci", "countries", "products", "archive")]
            return [(*_of_file(y.file), y.entry, y.release) for y in held], beside
        if name in ("icio_accounts", "icio_audit"):
            table = workspace.icio_years().get(int(partition or 0))
            # The table with the layouts that it is fitted to, those of the folder's own list among them.
            return None if table is None else (*_of_file(table.file), table.entry, table.synthetic, repr(table.layouts))
        kinds = {
            "governance": "wgi", "mining_production": "mining", "hs_weights": "concordance", "elasticity": "elasticity",
        }  # fmt: skip
        if name in kinds:
            towards = workspace.newest_baci() if name == "hs_weights" else None
            return [_of_file(f) for f in inventory.of(kinds[name])], towards
        if name in ("comtrade_annual", "comtrade_monthly"):
            reports = workspace.comtrade_periods().get(str(partition))
            return None if reports is None else [(*_of_file(p.file), p.entry, p.superseded) for p in reports.parts]
        if name == "reporting_coverage":
            seen = last_availability(workspace.folder) if workspace.official else None
            return None if seen is None else sorted((d.slot, d.checksum) for d in seen.datasets)
        if name.startswith(("reconciled_", "margins_", "reliability_")):
            return None  # of tables upstream only: the product lists that it looks into are those of the flows
        kept = None
        if name == "archive" and workspace.official:  # superseded files and those of other slots are listed too
            kept = [(f.relative, f.sha256) for f in Archive(workspace.folder).files()]
        reference = sorted(workspace.reference().file_sha256.items()), workspace.lists()["parameters"]
        return [_of_file(f) for f in inventory.files], [repr(u) for u in inventory.unrecognised], kept, reference

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
        return _hash(_name(key, partition), self.own(key, partition), held)

    def wanted(self, key: dg.AssetKey, partition: str | None = None) -> str:
        """The fingerprint that a table would have if everything were made anew now."""
        if (key, partition) not in self._wanted:
            self._wanted[key, partition] = self.given(key, partition, self.wanted)
        return self._wanted[key, partition]

    def held(self, key: dg.AssetKey, partition: str | None = None) -> str | None:
        """What the table in the store is made of; None where there is none.

        That is its fingerprint where its file is the one that passed its checks. Of any other file it is the hash of
        the bytes, so that what is made of it is never taken for what would be made of a proven one.
        """
        known = self.proven(key, partition)
        if known is not None:
            return known.made_of
        left = left_by(self.workspace, key, partition)
        return None if left is None else f"unproven {left}"

    def made_now(self, key: dg.AssetKey, partition: str | None = None) -> str:
        """The fingerprint of a table that is made now of the tables as they lie in the store."""
        return self.given(key, partition, self.held)

    def proven(self, key: dg.AssetKey, partition: str | None = None) -> Passed | None:
        """The record of the table's checks, if its file is still the one that passed them."""
        known = self._checked.get(_name(key, partition))
        if known is None:
            return None
        table = table_of(key)
        if (
            table is not None
            and known.stamp is not None
            and self.workspace.store.stamp(table, partition) == known.stamp
        ):
            return known
        return known if left_by(self.workspace, key, partition) == known.sha256 else None

    def fresh(self, key: dg.AssetKey, partition: str | None = None) -> bool:
        """Whether the table is what it would be if made anew, and its file the one that passed its checks."""
        known = self.proven(key, partition)
        return known is not None and known.made_of == self.wanted(key, partition)


def outdated(workspace: Workspace, tables: Iterable[Table], year: int) -> list[str]:
    """Which of some tables, of those by year that year, are not what would be made of the inputs as they are now.

    Inputs are the sources, the catalogue and the settings of the workspace; a table that did not pass its checks counts
    too. Nothing is refused: a table that is read as it lies says by this what it is.

    Returns:
        Their names, in the order given.

    Raises:
        KetenpipeError: the inputs cannot be read.
    """
    versions = Versions(workspace)
    with workspace.pinned():
        return [
            table.name
            for table in tables
            if not versions.fresh(dg.AssetKey([table.folder, table.name]), str(year) if table.partitioned else None)
        ]


def table_of(key: dg.AssetKey) -> Table | None:
    """The contract of an asset's table; None for an asset that is no table."""
    table = TABLES.get(key.path[-1])
    return table if table is not None and [table.folder, table.name] == list(key.path) else None


def pictures_folder(workspace: Workspace) -> Path:
    """Where pictures lie until they are published."""
    return workspace.folder / "tables" / "observatory" / "pictures"


def left_by(workspace: Workspace, key: dg.AssetKey, partition: str | None = None) -> str | None:
    """The hash of what an asset left (its table's file, the pictures, the latest release); None if it is gone.

    Raises:
        ReleaseDamaged: the pointer to the latest release, or that release, cannot be read.
    """
    home, table = workspace.place, table_of(key)
    if table is not None:
        return workspace.store.sha256(table, partition)
    if key.path[-1] == "pictures":
        drawn = sorted(pictures_folder(workspace).glob("*.png"))
        return _hash([(p.name, sha256_of(p)) for p in drawn]) if drawn else None
    if key.path[-1] == "release":
        try:
            return reader.latest(home).manifest_sha256
        except NoRelease:
            return None
    return "there" if catalogue_path(home).exists() else None


def _name(key: dg.AssetKey, partition: str | None) -> str:
    return key.to_user_string() + (f"@{partition}" if partition else "")


CHECKED = "tables/checked.json"


def read_checked(workspace: Workspace) -> dict[str, Passed]:
    """Which table passed its blocking checks with which fingerprint.

    Raises:
        KetenpipeError: the record is not readable.
    """
    found = workspace.place.look(CHECKED)
    if found is None:
        return {}
    try:
        raw = json.loads(found[0])
        return {
            str(name): Passed(
                str(held["made_of"]), str(held["sha256"]), None if held["stamp"] is None else tuple(held["stamp"])
            )
            for name, held in raw.items()
            if not isinstance(held, str)  # as it was written before it held hashes of files: made anew
        }
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise KetenpipeError(
            f"{workspace.place.text(CHECKED)}: not readable ({error}); remove it, everything is then made anew."
        ) from error


def note_checked(workspace: Workspace, passed: Iterable[tuple[dg.AssetKey, str | None]]) -> None:
    """Record that the tables in the store passed their blocking checks, with the fingerprints in their files."""
    known = read_checked(workspace)
    for key, partition in passed:
        table = table_of(key)
        assert table is not None
        store = workspace.store
        made_of = store.metadata(table, partition).get(FINGERPRINT)
        if made_of is not None:
            left = store.sha256(table, partition)
            assert left is not None
            known[_name(key, partition)] = Passed(made_of.decode(), left, store.stamp(table, partition))
    _write_checked(workspace, known)


def note_made(workspace: Workspace, key: dg.AssetKey) -> None:
    """Record what an asset that is no table was made of; called by the asset when it is done."""
    made_of, left = Versions(workspace).made_now(key), left_by(workspace, key)
    if left is not None:
        _write_checked(workspace, read_checked(workspace) | {_name(key, None): Passed(made_of, left)})


def forget_checked(workspace: Workspace, failed: Iterable[tuple[dg.AssetKey, str | None]]) -> None:
    """Forget that tables ever passed their blocking checks: the next run makes them anew."""
    names = {_name(key, partition) for key, partition in failed}
    known = read_checked(workspace)
    _write_checked(workspace, {name: held for name, held in known.items() if name not in names})


def _write_checked(workspace: Workspace, known: Mapping[str, Passed]) -> None:
    content = {name: asdict(held) for name, held in known.items()}
    workspace.place.write(CHECKED, json.dumps(content, indent=1, sort_keys=True).encode())
