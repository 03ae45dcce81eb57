"""Everything official in one go: plain files and UN Comtrade, into the archive under the home.

Belongs here: the order of fetching, one result over all sources. Does not belong here: how a file or an API is asked
(:mod:`ketenpipe.sources.fetch`, :mod:`ketenpipe.sources.comtrade_api`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import SecretStr

from ketenpipe.errors import KetenpipeError, UpstreamFailed, WrongUse
from ketenpipe.sources.archive import Archive
from ketenpipe.sources.comtrade_api import (
    Comtrade,
    ComtradeConfig,
    ComtradeFetch,
    comtrade_config,
    comtrade_status,
    fetch_comtrade,
    pending_datasets,
    wanted_periods,
)
from ketenpipe.sources.coverage import Dataset
from ketenpipe.sources.fetch import Fetched, Progress, SourceStatus, fetch_files, raise_if_failed, status
from ketenpipe.sources.http import Http
from ketenpipe.sources.upstreams import Upstreams

COMTRADE = "comtrade"


@dataclass(frozen=True)
class OfficialFetch:
    """What a fetch did: per plain file, and of UN Comtrade (None where it was not meant)."""

    files: tuple[Fetched, ...]
    comtrade: ComtradeFetch | None

    @property
    def sentences(self) -> list[str]:
        """What happened, a sentence each."""
        said = [f"{f.slot}: {f.sentence}" for f in self.files]
        return said if self.comtrade is None else [*said, f"{COMTRADE}: {self.comtrade.sentence}"]

    @property
    def changed(self) -> bool:
        """Whether anything new or changed came in."""
        fetched = () if self.comtrade is None else self.comtrade.fetched
        return any(f.state in ("new", "changed") for f in (*self.files, *fetched))

    def raise_if_failed(self) -> None:
        """Raise what went wrong, once everything was tried.

        Raises:
            KetenpipeError: the only failure as it is; of several, one that names each.
        """
        errors: list[KetenpipeError] = []
        parts: list[Callable[[], None]] = [lambda: raise_if_failed(self.files)]
        if self.comtrade is not None:
            parts.append(self.comtrade.raise_if_failed)
        for part in parts:
            try:
                part()
            except KetenpipeError as error:
                errors.append(error)
        if len(errors) == 1:
            raise errors[0]
        if errors:
            passing = any(isinstance(e, UpstreamFailed) and e.passing for e in errors)
            raise UpstreamFailed("; ".join(str(e).rstrip(".") for e in errors), passing=passing)


def fetch_official(
    home: Path,
    upstreams: Upstreams,
    key: SecretStr | None,
    codes: Callable[[], Collection[str]],
    *,
    which: Collection[str] | None = None,
    periods: Collection[str] | None = None,
    progress: Progress | None = None,
    tell: Callable[[str], None] | None = None,
) -> OfficialFetch:
    """Fetch what changed at the official sources; one that fails does not stop the others.

    The caller holds the home's lock.

    Args:
        home: the archive lies under it.
        upstreams: where the sources lie.
        key: of UN Comtrade; without it that source says what it can and cannot do.
        codes: gives the HS6 codes that UN Comtrade is asked for; called when the plain files are there, the
            concordances among them.
        which: sources or slots, ``comtrade`` among them; None: all that are switched on.
        periods: years and months to ask UN Comtrade for; None: those that are kept up.
        progress: told how far it is.
        tell: told of waits and retries.

    Raises:
        WrongUse: ``which`` names something that is not there.
        KeyRefused: UN Comtrade was named and there is no key.
    """
    archive = Archive(home)
    http = Http(tell=tell)
    named = which is not None and COMTRADE in which
    plain = None if which is None else [name for name in which if name != COMTRADE]
    config = _config(upstreams)
    if named and config is None:
        raise WrongUse("upstreams.toml has no section [comtrade]")
    files = fetch_files(archive, upstreams, http, plain, progress) if plain is None or plain else []
    fetched = None
    if config is not None and (named or which is None):
        try:
            fetched = fetch_comtrade(http, archive, config, key, codes(), periods, progress, named=named, tell=tell)
        except UpstreamFailed as error:
            fetched = ComtradeFetch((), 0, 0, None, str(error), error)
    return OfficialFetch(tuple(files), fetched)


def _config(upstreams: Upstreams) -> ComtradeConfig | None:
    return None if upstreams.comtrade is None else comtrade_config(upstreams.comtrade, upstreams.path)


def codes_to_ask(codes: Iterable[str], hs_revision: str, pairs: pa.Table) -> set[str]:
    """The codes that reporters may use, in whatever HS revision, for goods of the given ones.

    Args:
        codes: HS6 codes of a revision.
        hs_revision: that revision.
        pairs: concordances (:data:`ketenpipe.sources.concordance.CONCORDANCE_SCHEMA`).
    """
    wanted = set(codes)
    leads = pc.and_(
        pc.equal(pairs["to_system"], hs_revision), pc.is_in(pairs["to_code"], pa.array(sorted(wanted), pa.string()))
    )
    from_hs = pc.starts_with(pairs["from_system"], "HS")
    return wanted | set(pairs.filter(pc.and_(leads, from_hs))["from_code"].to_pylist())


def news(home: Path, upstreams: Upstreams, codes: Collection[str], now: datetime | None = None) -> list[Dataset]:
    """The datasets that UN Comtrade holds in another revision than the archive, of the periods that are kept up.

    Asks the availability endpoint only, one call for twelve periods; no key is needed for it.

    Raises:
        WrongUse: there is no section ``[comtrade]``.
        UpstreamFailed: as it says.
    """
    config = _config(upstreams)
    if config is None:
        raise WrongUse("upstreams.toml has no section [comtrade]")
    client = Comtrade(Http(), config, home, None)
    found = client.availability(wanted_periods(config, now or datetime.now(UTC)))
    wanted = set(config.reporters)
    asked = [d for d in found.datasets if d.iso3 is not None and (not wanted or d.iso3 in wanted)]
    return list(pending_datasets(Archive(home), asked, codes, config.flows))


def official_status(home: Path, upstreams: Upstreams, now: datetime) -> list[SourceStatus]:
    """What the archive holds per source, and what is stale; UN Comtrade as one source."""
    archive = Archive(home)
    rows = status(archive, upstreams, now)
    config = _config(upstreams)
    if config is None:
        return rows
    return [*rows, comtrade_status(archive, config, now)]
