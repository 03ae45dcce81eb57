"""What every asset may ask for: the settings of the run, its sources, its catalogue, its store and its lock.

Belongs here: the one resource that carries the fields of :class:`ketenpipe.settings.Settings` into Dagster. Does not
belong here: reading rows of any source.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import dagster as dg
import pyarrow as pa
from pydantic import SecretStr

from ketenpipe.chain.catalogue import HS_REVISIONS, Reference, hs_code_labels, load_reference, validate
from ketenpipe.errors import InputRefused, WrongUse
from ketenpipe.review.amendments import amended
from ketenpipe.review.ledger import read_ledger
from ketenpipe.settings import SECRETS, Settings, load_settings
from ketenpipe.sources.archive import Archive
from ketenpipe.sources.baci import BaciYear, list_years
from ketenpipe.sources.comtrade import ComtradePeriod, area, list_periods
from ketenpipe.sources.comtrade_api import last_availability
from ketenpipe.sources.concordance import read_concordances
from ketenpipe.sources.countries import is_known
from ketenpipe.sources.icio import IcioFile, list_tables
from ketenpipe.sources.official import codes_to_ask
from ketenpipe.sources.places import Inventory, discover, embedded
from ketenpipe.sources.upstreams import Upstreams, load_upstreams
from ketenpipe.tables.lock import home_lock
from ketenpipe.tables.registry import BACI_FLOWS, ICIO_ACCOUNTS, ICIO_AUDIT, TABLES
from ketenpipe.tables.store import Store

#: The tag of runs that the command started, and not Dagster by itself.
BY = "ketenpipe/by"


@lru_cache(maxsize=4)
def _inventory(root: Path, stamp: tuple[tuple[str, int, int], ...]) -> Inventory:
    return discover(root)


@lru_cache(maxsize=4)
def _official(home: Path, stamp: tuple[tuple[str, int, int], ...], path: Path | None, rows: str) -> Inventory:
    del stamp, rows  # what the cache goes by
    return Archive(home).inventory(load_upstreams(*([path.parent] if path else [])))


def _stamp(root: Path) -> tuple[tuple[str, int, int], ...]:
    """Names, sizes and times below a folder: an inventory (which hashes every file) is made once per state."""
    if not root.is_dir():
        return ()
    found = ((p, p.stat()) for p in sorted(root.rglob("*")) if p.is_file())
    return tuple((str(p), s.st_size, s.st_mtime_ns) for p, s in found)


def months_to(month: str, count: int = 12) -> list[str]:
    """The months that end with a month, e.g. ``2025-10`` to ``2026-09``."""
    last = int(month[:4]) * 12 + int(month[5:]) - 1
    return [f"{n // 12}-{n % 12 + 1:02d}" for n in range(last - count + 1, last + 1)]


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

    products: str | None
    fetch: bool

    @classmethod
    def of(cls, settings: Settings) -> Workspace:
        """The resource that carries these settings, but for secrets: Dagster shows a resource's fields."""
        return cls(**settings.model_dump(mode="json", exclude=set(SECRETS)))

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
        """The settings of the run, without secrets."""
        return Settings(**{name: getattr(self, name) for name in Settings.model_fields if name not in SECRETS})

    @property
    def store(self) -> Store:
        """The tables under the home."""
        return Store(Path(self.home))

    @property
    def sources_dir(self) -> Path:
        """The embedded sample, the archive under the home, or the drop folder."""
        if self.official:
            return Archive(Path(self.home)).root
        return embedded("sample") if self.sources == "sample" else Path(self.sources)

    @property
    def official(self) -> bool:
        """Whether the run reads what was fetched from the official sources."""
        return self.sources == "official"

    def upstreams(self) -> Upstreams:
        """Where the official sources lie (``upstreams.toml`` of the reference folders)."""
        return load_upstreams(*self.reference_dirs)

    def comtrade_key(self) -> SecretStr | None:
        """The key of UN Comtrade, read from the settings when it is needed: a resource's fields are shown."""
        return load_settings(home=Path(self.home)).comtrade_key

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
        """What the sources folder holds (see :func:`ketenpipe.sources.places.discover`), or the archive."""
        root = self.sources_dir
        if self.official:
            upstreams = self.upstreams()
            return _official(Path(self.home), _stamp(root), upstreams.path, upstreams.model_dump_json())
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

    def icio_years(self) -> dict[int, IcioFile]:
        """The input-output tables of the sources by year (every one: their years are not those of trade)."""
        return {table.year: table for table in list_tables(self.inventory())}

    def comtrade_periods(self) -> dict[str, ComtradePeriod]:
        """The years and months that the sources hold UN Comtrade reports of, each with its files."""
        return {held.period: held for held in list_periods(self.inventory())}

    def datasets(self) -> pa.Table:
        """``frequency, period, reporter`` of every dataset of UN Comtrade that the sources hold.

        A file of the archive says whose it is, also where that country traded none of the codes asked for; of other
        files the reporters are those of their rows.
        """
        found: set[tuple[str, str, str]] = set()
        for name, held in self.comtrade_periods().items():
            for part in held.parts:
                one = None if part.reporter is None else area(part.reporter)
                if one is not None and one.iso3 is not None:
                    found.add((held.frequency, name, one.iso3))
            table = self.store.read(held.contract, [name])
            found |= {(held.frequency, name, reporter) for reporter in table.column("reporter").unique().to_pylist()}
        columns = list(zip(*sorted(found), strict=True)) or [(), (), ()]
        names = ("frequency", "period", "reporter")
        return pa.table({n: pa.array(c, pa.string()) for n, c in zip(names, columns, strict=True)})

    def availability(self) -> pa.Table:
        """Every dataset that UN Comtrade was last seen to hold; of a drop folder, those that it holds itself."""
        seen = last_availability(Path(self.home)) if self.official else None
        return self.datasets() if seen is None else seen.table()

    def flows(self, years: Iterable[str]) -> pa.Table:
        """The flows of some years, of the products that are computed."""
        codes = None
        if self.settings.chosen_products == "catalogue":
            nodes = self.reference().nodes.values()
            codes = {code for node in nodes for revision in HS_REVISIONS for code in node.codes(revision)}
        return self.store.read(BACI_FLOWS, years, codes=codes)

    def newest_baci(self) -> tuple[str, int]:
        """The newest HS revision of the flows, and its last year: what reports are brought to."""
        held = [item for items in self.baci_years().values() for item in items]
        # HS92 and HS96 are older than HS02.
        newest = max(held, key=lambda item: ((int(item.hs_revision[2:]) + 12) % 100, item.year))
        return newest.hs_revision, newest.year

    def codes_to_ask(self) -> set[str]:
        """The HS6 codes that UN Comtrade is asked for: those of the catalogue, in every HS revision in use."""
        reference = self.reference()
        codes: set[str] = set()
        pairs = read_concordances(Archive(Path(self.home)).inventory(self.upstreams(), trade_needed=False)).table
        for revision in HS_REVISIONS:
            own = {code for node in reference.nodes.values() for code in node.codes(revision)}
            codes |= codes_to_ask(own, revision, pairs)
        return codes

    def partitions(self, table: str) -> list[str | None]:
        """The partitions that the sources ask for of a table; one without a name where it has none."""
        if table == BACI_FLOWS.name:
            return [str(year) for year in self.baci_years()]
        if table in (ICIO_ACCOUNTS.name, ICIO_AUDIT.name):
            return [str(year) for year in self.icio_years()]
        contract = TABLES.get(table)
        if contract is None or not contract.partitioned:
            return [None]
        frequency = "M" if table.endswith("_monthly") else "A"
        return [name for name, held in self.comtrade_periods().items() if held.frequency == frequency]

    def partitions_for(self, parent: str, child: str, partition: str | None) -> list[str | None]:
        """The partitions of a table that a partition of another is made of."""
        asked = self.partitions(parent)
        if partition is None or asked == [None]:
            return asked
        if child.endswith("_monthly"):
            return [p for p in asked if p in months_to(partition)]
        return [p for p in asked if p == partition]

    def reference(self) -> Reference:
        """The catalogue and its lists, read and checked, with the experts' amendments applied."""
        labels = hs_code_labels(*self.reference_dirs)
        reference = load_reference(*self.reference_dirs)
        validate(reference, {revision: set(codes) for revision, codes in labels.items()})
        return amended(reference, read_ledger(Path(self.home)))
