"""What every asset may ask for: the settings of the run, its sources, its catalogue, its store and its lock.

Belongs here: the one resource that carries the fields of :class:`ketenpipe.settings.Settings` into Dagster. Does not
belong here: reading rows of any source.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import dagster as dg

from ketenpipe.chain.catalogue import Reference, hs_code_labels, load_reference, validate
from ketenpipe.errors import InputRefused, WrongUse
from ketenpipe.review.amendments import amended
from ketenpipe.review.ledger import read_ledger
from ketenpipe.settings import Settings
from ketenpipe.sources.baci import BaciYear, list_years
from ketenpipe.sources.countries import is_known
from ketenpipe.sources.places import Inventory, discover, embedded
from ketenpipe.tables.lock import home_lock
from ketenpipe.tables.store import Store


@lru_cache(maxsize=4)
def _inventory(root: Path, stamp: tuple[tuple[str, int, int], ...]) -> Inventory:
    return discover(root)


def _stamp(root: Path) -> tuple[tuple[str, int, int], ...]:
    """Names, sizes and times below a folder: an inventory (which hashes every file) is made once per state."""
    if not root.is_dir():
        return ()
    found = ((p, p.stat()) for p in sorted(root.rglob("*")) if p.is_file())
    return tuple((str(p), s.st_size, s.st_mtime_ns) for p, s in found)


class Workspace(dg.ConfigurableResource):
    """The home of a run and what it was told. While a run uses it, it holds the home's lock."""

    home: str
    sources: str
    focus: list[str]
    bloc: list[str]
    years: str | None
    catalogue: str | None
    depth: int
    wgi_dimension: str
    minimum_import_kusd: float
    seed: int

    @classmethod
    def of(cls, settings: Settings) -> Workspace:
        """The resource that carries these settings."""
        return cls(**settings.model_dump(mode="json"))

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[Workspace]:
        """Hold the home's lock for the whole run (its steps run in one process); a schedule's tick only looks."""
        if context.run is None:
            yield self
            return
        with home_lock(Path(self.home), f"Dagster run {context.run.run_id}"):
            yield self

    @property
    def settings(self) -> Settings:
        """The settings of the run."""
        return Settings(**{name: getattr(self, name) for name in Settings.model_fields})

    @property
    def store(self) -> Store:
        """The tables under the home."""
        return Store(Path(self.home))

    @property
    def sources_dir(self) -> Path:
        """The drop folder, or the embedded sample."""
        return embedded("sample") if self.sources == "sample" else Path(self.sources)

    @property
    def reference_dirs(self) -> tuple[Path, ...]:
        """Folders of reference data in rising precedence: shipped, under the home, given.

        Raises:
            InputRefused: the folder that was given is not there.
        """
        dirs = [embedded("reference")]
        own = Path(self.home) / "reference"
        if own.is_dir() and own.resolve() != dirs[0].resolve():
            dirs.append(own)
        if self.catalogue is not None:
            given = Path(self.catalogue)
            if not given.is_dir():
                raise InputRefused(
                    "there is no such catalogue folder", path=given, todo="name a folder like data/reference"
                )
            dirs.append(given)
        return tuple(dirs)

    def check_focus(self) -> None:
        """Refuse a focus that is no country.

        Raises:
            WrongUse: the code, and how to find the right one.
        """
        for code in self.focus:
            if not is_known(code):
                raise WrongUse(f"focus '{code}' is no country (ISO 3166 alpha-3, e.g. NLD; Taiwan is TWN, Kosovo XKX)")

    def inventory(self) -> Inventory:
        """What the sources folder holds (see :func:`ketenpipe.sources.places.discover`)."""
        root = self.sources_dir
        return _inventory(root, _stamp(root))

    def baci_years(self) -> dict[int, list[BaciYear]]:
        """The wanted years of the sources, each with its files (one per HS revision).

        Raises:
            WrongUse: none of the wanted years is in the sources.
        """
        by_year: dict[int, list[BaciYear]] = {}
        for item in list_years(self.inventory()):
            by_year.setdefault(item.year, []).append(item)
        return {year: by_year[year] for year in self.settings.wanted_years(list(by_year))}

    def reference(self) -> Reference:
        """The catalogue and its lists, read and checked, with the experts' amendments applied."""
        labels = hs_code_labels(*self.reference_dirs)
        reference = load_reference(*self.reference_dirs)
        validate(reference, {revision: set(codes) for revision, codes in labels.items()})
        return amended(reference, read_ledger(Path(self.home)))
