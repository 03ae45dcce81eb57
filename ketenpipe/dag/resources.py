"""What every asset may ask for: the settings of the run, its sources, its catalogue, its store and its lock.

Belongs here: the one resource that carries the fields of :class:`ketenpipe.settings.Settings` into Dagster. Does not
belong here: reading rows of any source.
"""

from __future__ import annotations

import datetime
import functools
import hashlib
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import dagster as dg
import pyarrow as pa
from pydantic import PrivateAttr, SecretStr

from ketenpipe.chain.catalogue import HS_REVISIONS, Reference, hs_code_labels, load_reference, validate
from ketenpipe.chain.lookthrough import TracedYears, codes_by_revision
from ketenpipe.chain.tracing import Tracing
from ketenpipe.errors import HomeLocked, InputRefused, WrongUse
from ketenpipe.review.amendments import amended
from ketenpipe.review.ledger import ledger_sha256, read_ledger
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
from ketenpipe.tables.contract import Table
from ketenpipe.tables.home import Place, shared_place
from ketenpipe.tables.lock import home_lock
from ketenpipe.tables.registry import (
    BACI_FLOWS,
    CRITICALITY_INDICATORS,
    HS_WEIGHTS,
    ICIO_ACCOUNTS,
    ICIO_AUDIT,
    IMPORTERS,
    NETWORK_INDICATORS,
    ORIGIN_MIX,
    PRODUCT_INDICATORS,
    PRODUCT_JOIN,
    PRODUCT_TIERS,
    PRODUCT_USES,
    PRODUCTION,
    SUBSTITUTABILITY,
    SUPPLY_MIX,
    TABLES,
    TIER_FLAGS,
    TIER_INDICATORS,
    TRACING,
)
from ketenpipe.tables.store import Store

#: The tag of runs that the command started, and not Dagster by itself.
BY = "ketenpipe/by"
#: How long a run that Dagster started waits for the home's lock, and how often it looks (seconds).
PATIENCE, POLL = 6 * 3600.0, 2.0
#: Lists of the reference data that readers of sources look into; they look into the shipped ones only.
READERS_LISTS = ("country_aliases.csv", "comtrade_areas.csv", "hs_codes/*.csv")
#: Lists that are no part of the catalogue's own hash.
FIXED_LISTS = ("hs_icio.csv", "icio_industries.csv")
LISTS = (*FIXED_LISTS, "hs_codes/*.csv")
#: What the figures of step two read beside the catalogue; those with figures of others are input files of the release.
PARAMETERS = ("material_parameters.csv", "end_uses.csv")
THRESHOLDS = ("thresholds.toml", "uncertainty.toml", "substitutability.toml", *PARAMETERS)
#: What grades and the validation page read.
JUDGEMENTS = ("grades.toml", "shared_codes.csv", "published_figures.csv")
#: Years before that substitutability looks at.
WINDOW = 3
#: Tables that have BACI's years.
BACI_TABLES = frozenset(
    t.name
    for t in (
        BACI_FLOWS, PRODUCTION, ORIGIN_MIX, TRACING, SUPPLY_MIX, PRODUCT_INDICATORS, PRODUCT_USES, PRODUCT_JOIN,
        PRODUCT_TIERS, TIER_INDICATORS, TIER_FLAGS, IMPORTERS, CRITICALITY_INDICATORS, NETWORK_INDICATORS,
        SUBSTITUTABILITY,
    )
)  # fmt: skip

ICIO_TABLES = frozenset((ICIO_ACCOUNTS.name, ICIO_AUDIT.name))

#: Path, size, time of the last write, time of the last change of anything (which no copying tool sets back), inode.
Stamp = tuple[str, int, int, int, int]
Look = TypeVar("Look", bound=Callable[..., Any])


@lru_cache(maxsize=4)
def _inventory(root: Path, stamp: tuple[Stamp, ...]) -> Inventory:
    return discover(root)


@lru_cache(maxsize=4)
def _official(home: Path, stamp: tuple[Stamp, ...], path: Path | None, rows: str) -> Inventory:
    del stamp, rows  # what the cache goes by
    return Archive(home).inventory(load_upstreams(*([path.parent] if path else [])))


def stamp_of(path: Path) -> Stamp:
    """What moves when a file is changed in place, also where size and time are kept."""
    s = path.stat()
    return (str(path), s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino)


def _stamp(root: Path) -> tuple[Stamp, ...]:
    """Stamps of the files below a folder: an inventory (which hashes every file) is made once per state."""
    if not root.is_dir():
        return ()
    return tuple(stamp_of(p) for p in sorted(root.rglob("*")) if p.is_file())


def hashes(folders: Iterable[Path], patterns: Iterable[str]) -> list[tuple[str, str]]:
    """Names and hashes of the lists in reference folders, in rising precedence."""
    found = [p for folder in folders for pattern in patterns for p in sorted(folder.glob(pattern))]
    return [(p.name, hashlib.sha256(p.read_bytes()).hexdigest()) for p in found]


def _once(look: Look) -> Look:
    """Look once while the workspace is pinned, else each time. What comes back is shared: not to be changed."""

    @functools.wraps(look)
    def looked(self: Workspace) -> Any:
        held = self._pinned
        if held is None:
            return look(self)
        if look.__name__ not in held:
            held[look.__name__] = look(self)
        return held[look.__name__]

    return looked  # type: ignore[return-value]


def months_to(month: str, count: int = 12) -> list[str]:
    """The months that end with a month, e.g. ``2025-10`` to ``2026-09``."""
    last = int(month[:4]) * 12 + int(month[5:]) - 1
    return [f"{n // 12}-{n % 12 + 1:02d}" for n in range(last - count + 1, last + 1)]


class Workspace(dg.ConfigurableResource):
    """The home of a run and what it was told. While a run uses it, it holds the home's lock."""

    home: str
    work: str | None = None
    sources: str
    focus: list[str]
    bloc: list[str]
    years: str | None
    catalogue: str | None
    depth: int
    wgi_dimension: str
    minimum_import_kusd: float
    seed: int
    draws: int
    methods: list[str]
    partners: list[str]
    engine: str

    products: str | None
    fetch: bool

    _pinned: dict[str, Any] | None = PrivateAttr(default=None)

    @classmethod
    def of(cls, settings: Settings) -> Workspace:
        """The resource that carries these settings, but for secrets: Dagster shows a resource's fields."""
        return cls(**settings.model_dump(mode="json", exclude=set(SECRETS)))

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[Workspace]:
        """Hold the home's lock for the whole run (its steps run in one process); a schedule's tick only looks.

        Where another run has the lock, this one waits for it: a schedule that fires while somebody works in the same
        home, or a backfill of several runs, must not fail for that. The command does not wait (it has the lock before).

        Raises:
            HomeLocked: the lock was not free within six hours.
        """
        if context.run is None:
            yield self
            return
        with ExitStack() as stack:
            self._take_lock(stack, context)
            stack.enter_context(self.pinned())
            yield self

    def _take_lock(self, stack: ExitStack, context: dg.InitResourceContext) -> None:
        assert context.run is not None
        until, told = time.monotonic() + PATIENCE, False
        while True:
            try:
                stack.enter_context(home_lock(self.place, f"Dagster run {context.run.run_id}"))
                return
            except HomeLocked as taken:
                if time.monotonic() >= until:
                    raise
                if not told and context.log is not None:
                    context.log.info(f"{str(taken).partition(';')[0]}; this run waits until it is free")
                told = True
                time.sleep(POLL)

    @contextmanager
    def pinned(self) -> Iterator[Workspace]:
        """Within it, sources and catalogue are looked at once.

        So what a table is made of and what is recorded as such are the same, whatever happens to the files meanwhile:
        a file that changes after it was looked at leaves a table that the next run finds stale.
        """
        before = self._pinned
        if before is None:
            self._pinned = {}
            # Looked at now, before anything is read of them.
            self.ledger_sha256()
            self.lists()
        try:
            yield self
        finally:
            self._pinned = before

    def look_again(self) -> None:
        """Forget what the sources held: something was fetched."""
        if self._pinned is not None:
            for name in ("inventory", "baci_years", "icio_years", "comtrade_periods", "newest_baci"):
                self._pinned.pop(name, None)

    @_once
    def _settings(self) -> Settings:
        return Settings(**{name: getattr(self, name) for name in Settings.model_fields if name not in SECRETS})

    @property
    def settings(self) -> Settings:
        """The settings of the run, without secrets."""
        return self._settings()

    @_once
    def ledger_sha256(self) -> str | None:
        """The hash of the decision ledger; None where nothing was decided yet."""
        return ledger_sha256(self.place)

    @_once
    def lists(self) -> dict[str, list[tuple[str, str]]]:
        """Hashes of the lists beside the catalogue: of readers, of the chain, of step two, of grades and validation."""
        return {
            "readers": hashes((embedded("reference"),), READERS_LISTS),
            "lists": hashes(self.reference_dirs, LISTS),
            "thresholds": hashes(self.reference_dirs, THRESHOLDS),
            "parameters": hashes(self.reference_dirs, PARAMETERS),
            "judgements": hashes(self.reference_dirs, JUDGEMENTS),
        }

    @staticmethod
    def today() -> datetime.date:
        """Today, UTC: the date of a release, and the year that the age of data is counted from."""
        return datetime.datetime.now(datetime.UTC).date()

    @property
    def place(self) -> Place:
        """The home: a folder, or a place on an S3 store."""
        return shared_place(self.home, self.work)

    @property
    def folder(self) -> Path:
        """Where what needs a disk of this machine lies: the home itself, or the working folder of one on S3."""
        return self.place.work

    @property
    def store(self) -> Store:
        """The tables under the home."""
        return Store(self.place)

    @property
    def sources_dir(self) -> Path:
        """The embedded sample, the archive under the home, or the drop folder."""
        if self.official:
            return Archive(self.folder).root
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
        return load_settings(home=Path(self.home), work=self.work).comtrade_key

    @property
    def reference_dirs(self) -> tuple[Path, ...]:
        """Folders of reference data in rising precedence: shipped, under the home, given.

        Raises:
            InputRefused: the folder that was given is not there.
        """
        dirs = [embedded("reference")]
        own = self.folder / "reference"
        if own.is_dir() and own.resolve() != dirs[0].resolve():
            dirs.append(own)
        if self.catalogue is not None:
            given = Path(self.catalogue)
            if not given.is_dir():
                raise InputRefused(
                    "there is no such catalogue folder", path=given, todo="name a folder like data/reference"
                )
            dirs.append(given)
        for one in dirs[1:]:
            for name in FIXED_LISTS:
                if (one / name).is_file() and (one / name).read_bytes() != (dirs[0] / name).read_bytes():
                    raise InputRefused(
                        "this list of industries cannot be overridden",
                        path=one / name,
                        todo="take the file out of the folder; the list that comes with ketenpipe is used",
                    )
        return tuple(dirs)

    def check_focus(self) -> None:
        """Refuse a focus that is no country, and a partner that is neither country nor bloc.

        Raises:
            WrongUse: the code, and how to find the right one.
        """
        for code in self.focus:
            if not is_known(code):
                raise WrongUse(f"focus '{code}' is no country (ISO 3166 alpha-3, e.g. NLD; Taiwan is TWN, Kosovo XKX)")
        blocs = self.reference().bloc_names
        for code in self.partners:
            if code not in blocs and not is_known(code):
                raise WrongUse(
                    f"partner '{code}' is neither a country (ISO 3166 alpha-3, e.g. NOR) nor a bloc of blocs.csv "
                    f"({', '.join(blocs)})"
                )

    @_once
    def inventory(self) -> Inventory:
        """What the sources folder holds (see :func:`ketenpipe.sources.places.discover`), or the archive."""
        root = self.sources_dir
        if self.official:
            upstreams = self.upstreams()
            return _official(self.folder, _stamp(root), upstreams.path, upstreams.model_dump_json())
        return _inventory(root, _stamp(root))

    @_once
    def baci_years(self) -> dict[int, list[BaciYear]]:
        """The wanted years of the sources, each with its files (one per HS revision).

        Raises:
            WrongUse: none of the wanted years is in the sources.
        """
        by_year: dict[int, list[BaciYear]] = {}
        for item in list_years(self.inventory()):
            by_year.setdefault(item.year, []).append(item)
        return {year: by_year[year] for year in self.settings.wanted_years(list(by_year))}

    @_once
    def icio_years(self) -> dict[int, IcioFile]:
        """The input-output tables of the sources by year (every one: their years are not those of trade)."""
        return {table.year: table for table in list_tables(self.inventory())}

    @_once
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
            reporters = self.store.read(held.contract, [name], columns=["reporter"]).column("reporter")
            found |= {(held.frequency, name, reporter) for reporter in reporters.unique().to_pylist()}
        columns = list(zip(*sorted(found), strict=True)) or [(), (), ()]
        names = ("frequency", "period", "reporter")
        return pa.table({n: pa.array(c, pa.string()) for n, c in zip(names, columns, strict=True)})

    def availability(self) -> pa.Table:
        """Every dataset that UN Comtrade was last seen to hold; of a drop folder, those that it holds itself."""
        seen = last_availability(self.folder) if self.official else None
        return self.datasets() if seen is None else seen.table()

    def read(
        self, table: Table, *, columns: Sequence[str] | None = None, codes: Collection[str] | None = None
    ) -> pa.Table:
        """A stored table; of one by partition, those that the sources ask for."""
        asked = [p for p in self.partitions(table.name) if p is not None] if table.partitioned else None
        return self.store.read(table, asked, columns=columns, codes=codes)

    def flows(self, years: Iterable[str]) -> pa.Table:
        """The flows of some years, of the products that are computed."""
        codes = self.catalogue_codes() if self.settings.chosen_products == "catalogue" else None
        return self.store.read(BACI_FLOWS, years, codes=codes)

    def flows_of(self, year: str) -> pa.Table | Iterator[pa.RecordBatch]:
        """The flows of one year, of the products that are computed: a batch at a time where they are all."""
        if self.settings.chosen_products == "catalogue":
            return self.flows([year])
        return self.store.batches(BACI_FLOWS, year)

    @_once
    def catalogue_codes(self) -> frozenset[str]:
        """The HS6 codes of the catalogue's nodes, in every HS revision that it knows."""
        nodes = self.reference().nodes.values()
        return frozenset(code for node in nodes for revision in HS_REVISIONS for code in node.codes(revision))

    def traced_years(self) -> TracedYears:
        """Step one of every year, cut down to the codes of the catalogue; read when it is asked for."""
        codes, store = self.catalogue_codes(), self.store
        years = [str(p) for p in self.partitions(TRACING.name)]
        held = [pair for year in years for pair in store.distinct(TRACING, ("hs_revision", "code"), year)]

        def of(year: int) -> Tracing:
            parts = (store.read(t, [str(year)], codes=codes) for t in (PRODUCTION, ORIGIN_MIX, TRACING, SUPPLY_MIX))
            return Tracing(*parts)

        available = codes_by_revision({"hs_revision": r, "code": c} for r, c in held)
        return TracedYears(available, tuple(int(year) for year in years), of)

    def without_codes(self, reports: Table, flows: Table) -> list[str]:
        """The periods of which reports are held and no reconciled flow came of them."""
        held = {str(p) for p in self.partitions(reports.name)} & set(self.store.partitions(flows))
        return sorted(p for p in held if self.store.rows(reports, p) and not self.store.rows(flows, p))

    @_once
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
        pairs = read_concordances(Archive(self.folder).inventory(self.upstreams(), trade_needed=False)).table
        for revision in HS_REVISIONS:
            own = {code for node in reference.nodes.values() for code in node.codes(revision)}
            codes |= codes_to_ask(own, revision, pairs)
        return codes

    def partitions(self, table: str) -> list[str | None]:
        """The partitions that the sources ask for of a table; one without a name where it has none."""
        if table in BACI_TABLES:
            return [str(year) for year in self.baci_years()]
        if table in ICIO_TABLES:
            return [str(year) for year in self.icio_years()]
        contract = TABLES.get(table)
        if contract is None or not contract.partitioned:
            return [None]
        frequency = "M" if table.endswith("_monthly") else "A"
        return [name for name, held in self.comtrade_periods().items() if held.frequency == frequency]

    def partitions_for(self, parent: str, child: str, partition: str | None) -> list[str | None]:
        """The partitions of a table that a partition of another is made of."""
        if (parent, child) == (BACI_FLOWS.name, HS_WEIGHTS.name):
            return [str(self.newest_baci()[1])]
        asked = self.partitions(parent)
        if partition is None or asked == [None] or (parent in ICIO_TABLES and child in BACI_TABLES):
            return asked
        if child.endswith("_monthly"):
            return [p for p in asked if p in months_to(partition)]
        if child == SUBSTITUTABILITY.name:
            return [p for p in asked if p is not None and int(partition) - WINDOW <= int(p) <= int(partition)]
        return [p for p in asked if p == partition]

    @_once
    def reference(self) -> Reference:
        """The catalogue and its lists, read and checked, with the experts' amendments applied."""
        labels = hs_code_labels(*self.reference_dirs)
        reference = load_reference(*self.reference_dirs)
        validate(reference, {revision: set(codes) for revision, codes in labels.items()})
        return amended(reference, read_ledger(self.place))
