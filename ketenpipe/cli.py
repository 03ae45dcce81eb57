"""The door for people: ``ketenpipe run``, ``sources``, ``review``, ``release``, ``db``, ``shock`` and ``explain``.

Belongs here: options, words on the screen, exit codes. Does not belong here: any figure that is not read from a
release. Exit codes: 0 done (also "nothing changed"), 1 something failed, 2 wrong use, 3 input refused, 4 the home is
locked by another run. With ``--json`` one JSON document goes to stdout; progress always goes to stderr.
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec, TypeVar

import typer
from rich import box
from rich.console import Console
from rich.markdown import Markdown
from rich.status import Status
from rich.table import Table

from ketenpipe.errors import KetenpipeError, WrongUse
from ketenpipe.settings import Settings, load_settings

if TYPE_CHECKING:
    import duckdb
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from ketenpipe.dag.resources import Workspace
    from ketenpipe.dag.run import Progress
    from ketenpipe.observatory.reader import ReleaseInfo
    from ketenpipe.review.state import State
    from ketenpipe.sources.archive import ArchivedFile
    from ketenpipe.sources.official import OfficialFetch
    from ketenpipe.tables.home import Place

P = ParamSpec("P")
R = TypeVar("R")

app = typer.Typer(
    name="ketenpipe",
    help="Which product groups a country depends on, directly and through the chain, from public data.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
review_app = typer.Typer(help="The expert's room: dossiers and decisions.", no_args_is_help=True)
release_app = typer.Typer(help="The published releases.", no_args_is_help=True)
sources_app = typer.Typer(help="The official sources: fetched, archived, verified.", no_args_is_help=True)
app.add_typer(sources_app, name="sources")
app.add_typer(review_app, name="review")
app.add_typer(release_app, name="release")

Home = Annotated[
    Path | None,
    typer.Option(
        "--home",
        help="Folder, or s3://bucket/prefix, under which everything is written (default: data).",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]


def _out() -> Console:
    return Console(highlight=False, markup=False)


def _err() -> Console:
    return Console(stderr=True, highlight=False, markup=False)


def _print_json(document: Any) -> None:
    sys.stdout.write(json.dumps(document, ensure_ascii=False, indent=2, default=str) + "\n")


def _error_json(error: KetenpipeError) -> dict[str, Any]:
    return {"sentence": str(error), "kind": type(error).__name__, "exit_code": error.exit_code}


def refusals(command: Callable[P, R]) -> Callable[P, R]:
    """Turn the project's own errors into one sentence on stderr and their exit code."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except KetenpipeError as error:
            if kwargs.get("as_json"):
                _print_json({"error": _error_json(error)})
            sys.stderr.write(f"ketenpipe: {error}\n")
            raise typer.Exit(error.exit_code) from error

    return wrapped


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"ketenpipe {importlib.metadata.version('ketenpipe')}\n")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Take options that stand before a command."""


# -- run ------------------------------------------------------------------------------------------------------


@app.command()
@refusals
def run(
    home: Home = None,
    sources: Annotated[
        str | None,
        typer.Option(
            help="'sample' (embedded), 'official' (fetched into the home's archive), or a drop folder with baci/, "
            "comtrade/, wgi/, mining/, icio/, concordance/, elasticity/.",
            show_default="sample",
        ),
    ] = None,
    focus: Annotated[
        list[str] | None,
        typer.Option(metavar="ISO3", help="Country whose dependencies are meant; may be repeated.", show_default="NLD"),
    ] = None,
    bloc: Annotated[
        list[str] | None,
        typer.Option(
            metavar="BLOC",
            help="EU27 (today's 27 in every year), EU (members of the year), or another of blocs.csv (OECD, EFTA, "
            "BRICS, ...); may be repeated.",
            show_default="EU27",
        ),
    ] = None,
    years: Annotated[
        str | None,
        typer.Option(metavar="YEARS", help="Years, e.g. 2018-2024 or 2022.", show_default="every year of the sources"),
    ] = None,
    catalogue: Annotated[
        Path | None, typer.Option(help="Folder that overrides data/reference file by file.", show_default=False)
    ] = None,
    depth: Annotated[int | None, typer.Option(help="Tiers of the look-through.", show_default="2")] = None,
    products: Annotated[
        str | None,
        typer.Option(
            metavar="all|catalogue",
            help="HS6 codes that are computed: all, or those of the catalogue.",
            show_default="all",
        ),
    ] = None,
    draws: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            max=10_000,
            help="Monte Carlo draws behind the intervals of the newest year; 0 for none.",
            show_default="1000",
        ),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METHOD", help="Named method that judges (geodep, tno, ...); may be repeated.", show_default="all"
        ),
    ] = None,
    partner: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ISO3|BLOC",
            help="Country or bloc whose supply counts as friendly in the table substitutability; may be repeated.",
            show_default="none",
        ),
    ] = None,
    fetch: Annotated[
        bool | None,
        typer.Option(
            "--fetch/--no-fetch",
            help="With --sources official: whether to fetch first what changed upstream.",
            show_default="fetch",
        ),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            metavar="duckdb|spark://HOST:PORT",
            help="What runs the flow formulas: DuckDB here, or a Spark cluster (needs ketenpipe[spark] and Java 17).",
            show_default="duckdb",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Compute what is not up to date, publish a release if anything changed, and say what was found."""
    settings = load_settings(
        home=home,
        sources=sources,
        focus=",".join(focus) if focus else None,
        bloc=",".join(bloc) if bloc else None,
        years=years,
        catalogue=catalogue,
        depth=depth,
        products=products,
        draws=draws,
        methods=",".join(method) if method else None,
        partners=",".join(partner) if partner else None,
        fetch=fetch,
        engine=engine,
    )
    from ketenpipe.dag.run import run_pipeline
    from ketenpipe.observatory import reader
    from ketenpipe.tables.lock import home_lock

    started = time.monotonic()
    place = _place(settings)
    with home_lock(place, "ketenpipe run"):
        before = reader.read_pointer(place)
        with _progress() as tell:
            run_pipeline(settings, tell)
    release = reader.latest(place)
    published = before is None or before[0] != release.release
    if as_json:
        _print_json(_found(settings, release, published))
    else:
        _show_found(settings, release, published, time.monotonic() - started)


@contextmanager
def _progress() -> Iterator[Callable[[Progress], None]]:
    """Live progress on stderr: a line per finished step, the running one with what it is at."""
    console = _err()
    begun: dict[str, float] = {}
    fresh: list[str] = []
    with Status("Starting", console=console, spinner="dots") as status:

        def tell(progress: Progress) -> None:
            if progress.kind == "start":
                begun[progress.step] = time.monotonic()
                status.update(progress.step)
            elif progress.kind == "say":
                status.update(f"{progress.step}: {progress.detail}")
            elif progress.kind == "fresh":
                fresh.append(progress.step)
            else:
                seconds = time.monotonic() - begun.get(progress.step, time.monotonic())
                mark = "done  " if progress.kind == "done" else "failed"
                console.print(f"{mark} {progress.step} ({seconds:.1f} s)")

        yield tell
    if fresh:
        console.print(f"fresh  {len(fresh)} steps had nothing to do", style="dim")


def _place(settings: Settings) -> Place:
    """The home: a folder, or a place on an S3 store."""
    from ketenpipe.tables.home import shared_place

    return shared_place(settings.home, settings.work)


def _rows(release: ReleaseInfo) -> list[dict[str, Any]]:
    """The register, in order of priority, with the names of groups and foci."""
    names = _names(release)
    rows = release.read("register").to_pylist()
    for row in rows:
        row["name"] = names.get(("group", row["group"]), row["group"])
        row["focus_name"] = names.get(("country", row["focus"]), row["focus"])
    order = list(dict.fromkeys([*release.manifest["parameters"]["focus"], *release.manifest["parameters"]["bloc"]]))
    place = {focus: at for at, focus in enumerate(order)}
    return sorted(
        rows, key=lambda r: (place.get(r["focus"], len(order)), r["year"] is None, r["priority"] or 10**9, r["group"])
    )


def _names(release: ReleaseInfo) -> dict[tuple[str, str], str]:
    labels = release.read("labels").select(["kind", "code", "name_en"]).to_pylist()
    return {(r["kind"], r["code"]): r["name_en"] for r in labels}


def _places(settings: Settings, release: ReleaseInfo) -> dict[str, str]:
    found = {"release": str(release.place)}
    for name in ("dossiers", "pictures"):
        if any(file.startswith(f"{name}/") for file in release.manifest["files"]):
            found[name] = str(release.place.sub(name))
    folder = _place(settings).work
    found["catalogue"] = str((folder / "ketenpipe.duckdb").absolute())
    found["dagster"] = str((folder / "dagster").absolute())
    return found


def _found(settings: Settings, release: ReleaseInfo, published: bool) -> dict[str, Any]:
    return {
        "release": release.release,
        "published": published,
        "nothing_changed": not published,
        "content_hash": release.content_hash,
        "manifest_sha256": release.manifest_sha256,
        "places": _places(settings, release),
        "verdicts": _rows(release),
    }


def _show_found(settings: Settings, release: ReleaseInfo, published: bool, seconds: float) -> None:
    console = _out()
    rows = _rows(release)
    for focus in dict.fromkeys(r["focus"] for r in rows):
        own = [r for r in rows if r["focus"] == focus]
        told = [r for r in own if r["year"] is not None]
        year = max((r["year"] for r in told), default=None)
        table = Table(
            title=f"{own[0]['focus_name']} ({focus}), {year or 'no year'}",
            title_justify="left",
            title_style="bold",
            box=box.SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
            pad_edge=False,
        )
        table.add_column("Product group", overflow="fold", min_width=14, max_width=26 if console.width >= 100 else 18)
        table.add_column("Verdict", overflow="fold")
        table.add_column("Robust", no_wrap=True)
        table.add_column("Status", overflow="fold", min_width=11, max_width=18)
        for kind in KINDS:
            for r in (r for r in told if _kind(r) == kind):
                table.add_row(
                    r["name"], r["verdict"], _robust(r), _status(r), style="dim" if kind == KINDS[-1] else None
                )
            table.add_section()
        console.print(table)
        if unknown := [r for r in own if r["year"] is None]:
            console.print(f"Not computed, for want of data: {', '.join(r['name'] for r in unknown)}.", style="dim")
        console.print(_summary(told))
        console.print()
    if published:
        console.print(f"Release {release.release} is published ({seconds:.0f} s).", style="bold")
    else:
        console.print(
            f"Nothing changed: release {release.release} already holds this content, so no new release is published "
            f"({seconds:.0f} s).",
            style="bold",
        )
    for name, path in _places(settings, release).items():
        console.print(f"  {name:<10}{path}", soft_wrap=True)
    if lost := _without_codes(settings):
        console.print(
            f"The UN Comtrade reports of {', '.join(lost)} have no code in the HS revision of BACI, so there is no "
            "nowcast of them: put the concordances of their HS revisions into concordance/.",
        )
    if settings.sources == "official" and (lacking := _lacking(settings)):
        console.print(
            f"Not held, so what rests on it is left out: {', '.join(lacking)}; see 'ketenpipe sources status'.",
            style="dim",
        )


def _without_codes(settings: Settings) -> list[str]:
    """The periods of which reports were read and no reconciled flow came."""
    from ketenpipe.dag.resources import Workspace
    from ketenpipe.tables.registry import COMTRADE_ANNUAL, COMTRADE_MONTHLY, RECONCILED_ANNUAL, RECONCILED_MONTHLY

    workspace = Workspace.of(settings)
    pairs = ((COMTRADE_ANNUAL, RECONCILED_ANNUAL), (COMTRADE_MONTHLY, RECONCILED_MONTHLY))
    return [period for reports, flows in pairs for period in workspace.without_codes(reports, flows)]


def _lacking(settings: Settings) -> list[str]:
    """The official sources that are switched on and of which nothing is held."""
    from ketenpipe.dag.resources import Workspace
    from ketenpipe.sources.official import official_status

    rows = official_status(_place(settings).work, Workspace.of(settings).upstreams(), datetime.now(UTC))
    return [row.slot for row in rows if row.enabled and row.held is None]


#: In which order verdicts stand in the table; within one by priority.
KINDS = ("direct", "chain", "indicated", "none", "unknown")


def _kind(row: dict[str, Any]) -> str:
    """The kind of a verdict, from the three flags and the indication of the register."""
    if row["direct_flag"] is True:
        return "direct"
    if row["indirect_specific"] is True or row["indirect_global"] is True:
        return "chain"
    if row["indication"]:
        return "indicated"
    known = all(row[f] is False for f in ("direct_flag", "indirect_specific", "indirect_global"))
    return "none" if known else "unknown"


def _robust(row: dict[str, Any]) -> str:
    return "unknown" if row["robust"] is None else "yes" if row["robust"] else "no"


def _status(row: dict[str, Any]) -> str:
    if row["provisional"]:
        return "provisional" + {"rejected": ", rejected", "reopened": ", re-opened"}.get(row["review_status"], "")
    return f"signed {str(row['signed_on'])[:10]} by {row['signed_role']}"


def _summary(rows: list[dict[str, Any]]) -> str:
    count = Counter(_kind(r) for r in rows)
    return (
        f"{len(rows)} groups computed: {count['direct']} direct, {count['chain']} through the chain, "
        f"{count['none']} none found, {count['indicated'] + count['unknown']} cannot be told "
        f"({count['indicated']} with an indication); {sum(not r['provisional'] for r in rows)} signed."
    )


# -- sources ---------------------------------------------------------------------------------------------------

Catalogue = Annotated[
    Path | None, typer.Option(help="Folder that overrides data/reference file by file.", show_default=False)
]


@sources_app.command("fetch")
@refusals
def sources_fetch(
    which: Annotated[
        list[str] | None,
        typer.Argument(help="Sources or slots, e.g. baci, wgi/PV, comtrade.", show_default="all that are switched on"),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file", help="Take this file, downloaded by hand, for the one slot that is named.", show_default=False
        ),
    ] = None,
    home: Home = None,
    catalogue: Catalogue = None,
    as_json: Json = False,
) -> None:
    """Fetch what changed at the official sources into the archive; what is unchanged stays as it is."""
    settings = load_settings(home=home, catalogue=catalogue)
    from ketenpipe.dag.resources import Workspace
    from ketenpipe.sources.archive import Archive
    from ketenpipe.sources.fetch import take_by_hand
    from ketenpipe.sources.official import fetch_official
    from ketenpipe.tables.lock import home_lock

    workspace = Workspace.of(settings)
    if file is not None:
        if not which or len(which) != 1:
            raise WrongUse("--file takes one slot, e.g. 'ketenpipe sources fetch icio/SML_2016-2022 --file FILE'.")
        with home_lock(_place(settings), "ketenpipe sources fetch"):
            taken = take_by_hand(Archive(_place(settings).work), workspace.upstreams(), which[0], file)
        if taken.error is not None:
            raise taken.error
        if as_json:
            _print_json({"slot": taken.slot, "state": taken.state, "sentence": taken.sentence, "bytes": taken.bytes})
        else:
            _out().print(f"{taken.slot}: {taken.sentence}")
        return
    with home_lock(_place(settings), "ketenpipe sources fetch"), _downloads() as progress:
        fetched = fetch_official(
            _place(settings).work,
            workspace.upstreams(),
            settings.comtrade_key,
            workspace.codes_to_ask,
            which=which or None,
            progress=progress,
            tell=progress.say,
        )
    if as_json:
        _print_fetched(fetched)
        return
    fetched.raise_if_failed()
    _out().print("Fetched." if fetched.changed else "Nothing changed upstream.", style="bold")


def _print_fetched(fetched: OfficialFetch) -> None:
    """One document, also where something failed: what was fetched and the sentence of what was not."""
    document = _fetched_json(fetched)
    try:
        fetched.raise_if_failed()
    except KetenpipeError as error:
        _print_json({**document, "error": _error_json(error)})
        sys.stderr.write(f"ketenpipe: {error}\n")
        raise typer.Exit(error.exit_code) from error
    _print_json(document)


def _fetched_json(fetched: OfficialFetch) -> dict[str, Any]:
    files = [
        {"slot": f.slot, "state": f.state, "sentence": f.sentence, "bytes": f.bytes, "seconds": round(f.seconds, 3)}
        for f in fetched.files
    ]
    comtrade = fetched.comtrade
    if comtrade is not None:
        files += [{"slot": d.slot, "state": d.state, "sentence": d.sentence} for d in comtrade.fetched]
    return {
        "changed": fetched.changed,
        "files": files,
        "comtrade": None if comtrade is None else {"sentence": comtrade.sentence, "remaining": comtrade.remaining},
    }


class _Bars:
    """A bar per download, a line when it is done; the shape that the fetching code asks for."""

    def __init__(self, bars: Bars) -> None:
        self.bars = bars
        self.task: TaskID | None = None

    def start(self, slot: str, total_bytes: int | None) -> None:
        """A download begins."""
        self._end()
        self.task = self.bars.add_task(slot, total=total_bytes)

    def advance(self, count: int) -> None:
        """More of it is there."""
        if self.task is not None:
            self.bars.advance(self.task, count)

    def done(self, slot: str, sentence: str) -> None:
        """It is finished, well or not."""
        self._end()
        self.bars.console.print(f"{slot}: {sentence}", markup=False, highlight=False)

    def say(self, sentence: str) -> None:
        """Something to know meanwhile, a wait for instance."""
        self.bars.console.print(f"  {sentence}", style="dim", markup=False, highlight=False)

    def _end(self) -> None:
        if self.task is not None:
            self.bars.remove_task(self.task)
            self.task = None


@contextmanager
def _downloads() -> Iterator[_Bars]:
    """Live bars on stderr."""
    from rich.filesize import decimal
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Amount(ProgressColumn):
        """Bytes of a file; datasets of UN Comtrade, which gives no sizes."""

        def render(self, task: Task) -> Text:
            done, total = int(task.completed), None if task.total is None else int(task.total)
            if task.description == "comtrade":
                return Text(f"{done} of {total} datasets" if total is not None else f"{done} datasets")
            return Text(f"{decimal(done)} of {decimal(total)}" if total is not None else decimal(done))

    columns = (TextColumn("{task.description}"), BarColumn(), Amount(), TimeRemainingColumn())
    with Progress(*columns, console=_err(), transient=True) as bars:
        yield _Bars(bars)


@sources_app.command("status")
@refusals
def sources_status(home: Home = None, catalogue: Catalogue = None, as_json: Json = False) -> None:
    """What is archived, from where, in which vintage, and whether it is stale."""
    settings = load_settings(home=home, catalogue=catalogue)
    from ketenpipe.dag.resources import Workspace
    from ketenpipe.sources.official import official_status

    rows = official_status(_place(settings).work, Workspace.of(settings).upstreams(), datetime.now(UTC))
    if as_json:
        _print_json(
            [
                {
                    "slot": r.slot, "source": r.source, "enabled": r.enabled, "stale": r.stale, "why": r.why,
                    "checked_at": r.checked_at, "licence": r.licence,
                    "vintage": r.held.vintage if r.held else None, "sha256": r.held.sha256 if r.held else None,
                    "bytes": r.held.bytes if r.held else None, "url": r.held.sidecar.url if r.held else None,
                    "retrieved_at": r.held.retrieved_at if r.held else None,
                    "path": str(r.held.path) if r.held else None,
                }
                for r in rows
            ]
        )  # fmt: skip
        return
    table = Table(
        title=f"Official sources under {_place(settings).work / 'raw'}", title_justify="left", box=box.SIMPLE_HEAD
    )
    for column in ("Slot", "Vintage", "Looked at", "Size", "State", "Licence"):
        table.add_column(column, overflow="fold")
    for r in rows:
        state = ("stale: " if r.stale else "") + r.why if r.enabled else f"off: {r.why}"
        table.add_row(
            r.slot,
            r.held.vintage if r.held else "-",
            str(r.checked_at or "-")[:10],
            f"{r.held.bytes / 1e6:,.1f} MB" if r.held else "-",
            state,
            r.licence,
            style=None if r.enabled else "dim",
        )
    _out().print(table)
    if settings.comtrade_key is None:
        _out().print("There is no key of UN Comtrade: set KETENPIPE_COMTRADE_KEY to fetch recent months.", style="dim")


@sources_app.command("verify")
@refusals
def sources_verify(
    source: Annotated[str | None, typer.Argument(help="One source only.", show_default="all")] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Hash every archived file against its sidecar; exit 1 if anything differs."""
    settings = load_settings(home=home)
    from ketenpipe.sources.archive import Archive

    hashed = 0
    with Status("Hashing", console=_err(), spinner="dots") as shown:

        def tell(file: ArchivedFile) -> None:
            nonlocal hashed
            hashed += 1
            shown.update(f"Hashing {file.name}")

        problems = Archive(_place(settings).work).verify(source, tell)
    if as_json:
        found = [{"path": p.path, "sentence": p.sentence} for p in problems]
        _print_json({"files": hashed, "whole": not problems, "problems": found})
    else:
        for problem in problems:
            sys.stderr.write(f"{problem.path}: {problem.sentence}\n")
        if not problems:
            _out().print(
                f"{hashed} archived files are whole: each has the bytes that were fetched."
                if hashed
                else "The archive is empty; run 'ketenpipe sources fetch' first."
            )
    if problems:
        raise typer.Exit(1)


# -- review ---------------------------------------------------------------------------------------------------

GroupName = Annotated[str, typer.Argument(help="Product group, e.g. rare_earths.", show_default=False)]


def _states(home: Place) -> tuple[ReleaseInfo, dict[str, State]]:
    """The latest release and the state of each of its dossiers as the ledger has it now."""
    from ketenpipe.observatory import reader
    from ketenpipe.review.ledger import decisions_table, read_ledger
    from ketenpipe.review.state import review_states
    from ketenpipe.tables.registry import DOSSIERS

    release = reader.latest(home)
    hashes = {r["group"]: r["evidence_hash"] for r in release.read("register").to_pylist()}
    dossiers = DOSSIERS.conform({"group": g, "evidence_hash": h, "evidence": ""} for g, h in hashes.items())
    return release, review_states(decisions_table(read_ledger(home)), dossiers)


def _evidence(release: ReleaseInfo, group: str, states: dict[str, State]) -> str:
    """The evidence of a group as the release holds it.

    Raises:
        WrongUse: no such group.
        ReleaseDamaged: the file does not have the hash that the register states.
    """
    import hashlib

    from ketenpipe.errors import ReleaseDamaged

    if group not in states:
        raise WrongUse(f"there is no product group '{group}'; there are {', '.join(sorted(states))}.")
    name = f"dossiers/{group}.json"
    try:
        text = release.place.read(name)
    except OSError as error:
        raise ReleaseDamaged(f"{release.place.text(name)}: the evidence cannot be read ({error.strerror}).") from error
    if hashlib.sha256(text).hexdigest() != states[group].evidence_hash:
        raise ReleaseDamaged(f"{release.place.text(name)}: the evidence is not the one that was published.")
    return text.decode()


@review_app.command("list")
@refusals
def review_list(home: Home = None, as_json: Json = False) -> None:
    """Every dossier with its state, the most pressing first."""
    settings = load_settings(home=home)
    release, states = _states(_place(settings))
    names = _names(release)
    priority: dict[str, int] = {}
    for row in release.read("register").to_pylist():
        if row["priority"] is not None:
            priority[row["group"]] = min(row["priority"], priority.get(row["group"], 10**9))
    order = sorted(states, key=lambda g: (priority.get(g, 10**9), g))
    if as_json:
        rows = [{**vars(states[g]), "name": names.get(("group", g), g), "priority": priority.get(g)} for g in order]
        _print_json({"release": release.release, "dossiers": rows})
        return
    table = Table(title=f"Dossiers of release {release.release}", title_justify="left")
    table.add_column("Rank", justify="right")
    table.add_column("Group", no_wrap=True)
    table.add_column("Name", overflow="fold")
    table.add_column("State", no_wrap=True)
    table.add_column("Last decision", overflow="fold")
    for group in order:
        state = states[group]
        last = f"{state.decision}, {str(state.decided_on)[:10]}, {state.decided_role}" if state.decision else ""
        rank = str(priority[group]) if group in priority else "-"
        table.add_row(rank, group, names.get(("group", group), group), state.status.replace("_", " "), last)
    _out().print(table)


@review_app.command("show")
@refusals
def review_show(group: GroupName, home: Home = None, as_json: Json = False) -> None:
    """One dossier: verdict, evidence, questions."""
    settings = load_settings(home=home)
    release, states = _states(_place(settings))
    evidence = _evidence(release, group, states)
    if as_json:
        _print_json({"release": release.release, "state": vars(states[group]), "evidence": json.loads(evidence)})
        return
    from ketenpipe.dag.resources import Workspace
    from ketenpipe.observatory.pages import GraphTables, page_of
    from ketenpipe.review.render import render_markdown

    pictures = [n for n in release.manifest["files"] if n.startswith("pictures/") and n.endswith(".png")]
    page = page_of(
        group,
        home=_place(settings),
        state=states[group],
        register=release.read("register"),
        labels=release.read("labels"),
        reference=Workspace.of(settings).reference(),
        pictures=[n.removeprefix("pictures/") for n in sorted(pictures)],
        folder=release.place.text("pictures"),
        graph=GraphTables(release.read("graph_nodes"), release.read("graph_measures"))
        if {"graph_nodes", "graph_measures"} <= set(release.tables)
        else None,
        explanations=release.read("explanations") if "explanations" in release.tables else None,
    )
    text = render_markdown(evidence, states[group], page)
    console = _out()
    if console.is_terminal:
        console.print(Markdown(text))
    else:
        sys.stdout.write(text)


Reviewer = Annotated[str, typer.Option(help="Your name; it stays in the home's review folder.", show_default=False)]
Role = Annotated[str, typer.Option(help="Your role; it is published.", show_default=False)]
Rationale = Annotated[str, typer.Option(help="Why; published only with --public-rationale.", show_default=False)]
PublicRationale = Annotated[bool, typer.Option("--public-rationale", help="Publish the rationale too.")]
Answer = Annotated[
    list[str] | None,
    typer.Option(
        "--answer",
        metavar="FIELD=TEXT",
        help="Answer to a question of the dossier, as field=text; may be repeated.",
        show_default=False,
    ),
]
Amendment = Annotated[str | None, typer.Option(help="What should change, in words.", show_default=False)]


def _decide(
    decision: str,
    group: str,
    home: Path | None,
    reviewer: str,
    role: str,
    rationale: str,
    public_rationale: bool,
    answer: list[str] | None,
    as_json: bool,
    amendment: str | dict[str, Any] | None = None,
) -> None:
    from ketenpipe.review.ledger import QUESTIONS, append_decision

    settings = load_settings(home=home)
    release, states = _states(_place(settings))
    answers: dict[str, str] = {}
    fields = [name for name, _ in QUESTIONS]
    for item in answer or []:
        name, sign, text = item.partition("=")
        if not sign or name.strip() not in fields:
            raise WrongUse(f"--answer takes field=text, and '{item}' is none; the fields are {', '.join(fields)}.")
        answers[name.strip()] = text.strip()
    entry = append_decision(
        _place(settings),
        group=group,
        decision=decision,
        evidence=_evidence(release, group, states),
        reviewer=reviewer,
        role=role,
        rationale=rationale,
        release=release.release,
        public_rationale=public_rationale,
        answers=answers,
        amendment=amendment,
    )
    if as_json:
        _print_json(
            {
                "sequence": entry.sequence,
                "group": group,
                "decision": decision,
                "evidence_hash": entry.evidence_hash,
                "release": release.release,
                "date": entry.date,
            }
        )
        return
    _out().print(
        f"Decision {entry.sequence} is recorded: {decision} {group}, on the evidence of release {release.release}. "
        "The next 'ketenpipe run' publishes it."
    )


@review_app.command("approve")
@refusals
def review_approve(
    group: GroupName,
    reviewer: Reviewer,
    role: Role,
    rationale: Rationale,
    home: Home = None,
    public_rationale: PublicRationale = False,
    answer: Answer = None,
    as_json: Json = False,
) -> None:
    """Sign the dossier as its evidence stands in the latest release."""
    _decide("approve", group, home, reviewer, role, rationale, public_rationale, answer, as_json)


@review_app.command("reject")
@refusals
def review_reject(
    group: GroupName,
    reviewer: Reviewer,
    role: Role,
    rationale: Rationale,
    home: Home = None,
    public_rationale: PublicRationale = False,
    answer: Answer = None,
    as_json: Json = False,
) -> None:
    """Reject the dossier for rework."""
    _decide("reject", group, home, reviewer, role, rationale, public_rationale, answer, as_json)


@review_app.command("revise")
@refusals
def review_revise(
    group: GroupName,
    reviewer: Reviewer,
    role: Role,
    rationale: Rationale,
    home: Home = None,
    amendment: Amendment = None,
    edge: Annotated[
        tuple[str, str] | None,
        typer.Option(
            "--edge", metavar="INPUT USER", help="Correct this edge of the chain: the input goes into the user."
        ),
    ] = None,
    intensity: Annotated[
        float | None, typer.Option("--intensity", help="Its cost or mass share, 0 to 1; needs --citation.")
    ] = None,
    essential: Annotated[
        bool | None, typer.Option("--essential/--not-essential", help="Whether the user cannot be made without it.")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="The edge is wrong: take it out.")] = False,
    citation: Annotated[str | None, typer.Option("--citation", help="Where the correction is stated.")] = None,
    catalogue: Annotated[
        Path | None, typer.Option("--catalogue", help="The catalogue folder that the run used, if any.")
    ] = None,
    public_rationale: PublicRationale = False,
    answer: Answer = None,
    as_json: Json = False,
) -> None:
    """Ask for a change. A corrected edge (--edge) feeds the next run; words alone (--amendment) change nothing."""
    if edge is None:
        if intensity is not None or essential is not None or remove or citation is not None:
            raise WrongUse("--intensity, --essential, --remove and --citation belong to --edge INPUT USER.")
        _decide("revise", group, home, reviewer, role, rationale, public_rationale, answer, as_json, amendment)
        return
    if amendment is not None:
        raise WrongUse("give --edge or --amendment, not both; what else there is to say goes into --rationale.")
    from ketenpipe.dag.resources import Workspace
    from ketenpipe.review.amendments import check_amendment, parse_amendment

    corrected = parse_amendment(
        {
            "input": edge[0], "user": edge[1], "intensity": intensity, "essential": essential, "remove": remove,
            "citation": citation,
        }
    )  # fmt: skip
    check_amendment(Workspace.of(load_settings(home=home, catalogue=catalogue)).reference(), group, corrected)
    plain = corrected.model_dump(mode="json", exclude_none=True)
    _decide("revise", group, home, reviewer, role, rationale, public_rationale, answer, as_json, plain)


# -- release --------------------------------------------------------------------------------------------------


@release_app.command("list")
@refusals
def release_list(home: Home = None, as_json: Json = False) -> None:
    """Every release of the home, oldest first."""
    from ketenpipe.observatory import reader

    settings = load_settings(home=home)
    releases = reader.list_releases(_place(settings))
    pointer = reader.read_pointer(_place(settings))
    latest = pointer[0] if pointer else None
    if as_json:
        _print_json(
            [
                {
                    "release": r.release, "created": r.created, "previous": r.previous, "tables": list(r.tables),
                    "content_hash": r.content_hash, "path": str(r.path), "latest": r.release == latest,
                }
                for r in releases
            ]
        )  # fmt: skip
        return
    if not releases:
        _out().print("There is no release yet; run 'ketenpipe run' first.")
        return
    table = Table()
    for column in ("Release", "Created", "Before it", "Changes", "Content"):
        table.add_column(column, overflow="fold")
    for r in releases:
        mark = " (latest)" if r.release == latest else ""
        changes = str(r.manifest["files"].get("changes.parquet", {}).get("rows", "-"))
        table.add_row(f"{r.release}{mark}", r.created, r.previous or "-", changes, r.content_hash[:12])
    _out().print(table)


@release_app.command("verify")
@refusals
def release_verify(
    release: Annotated[str | None, typer.Argument(help="Release id.", show_default="the latest")] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Hash every file of a release against its manifest; exit 1 if anything differs."""
    from ketenpipe.observatory import reader

    settings = load_settings(home=home)
    name = release or reader.latest(_place(settings)).release
    problems = reader.verify(_place(settings), release)
    if as_json:
        _print_json({"release": name, "whole": not problems, "problems": problems})
    else:
        for problem in problems:
            sys.stderr.write(f"{problem}\n")
        if not problems:
            _out().print(f"Release {name} is whole: every file has the bytes that were published.")
    if problems:
        raise typer.Exit(1)


@release_app.command("diff")
@refusals
def release_diff(
    before: Annotated[str, typer.Argument(help="Release id.", show_default=False)],
    after: Annotated[str, typer.Argument(help="Release id.", show_default=False)],
    home: Home = None,
    as_json: Json = False,
) -> None:
    """What differs between two releases, and why."""
    from ketenpipe.observatory import reader

    settings = load_settings(home=home)
    changes = reader.diff(_place(settings), before, after).to_pylist()
    if as_json:
        _print_json(changes)
    elif changes:
        _out().print(_as_table(changes))
    else:
        _out().print(f"Nothing differs between {before} and {after}.")


# -- db -------------------------------------------------------------------------------------------------------


@app.command()
@refusals
def db(
    sql: Annotated[
        str | None, typer.Argument(help="A query over the views of the latest release.", show_default=False)
    ] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """The DuckDB catalogue: its path and views, or the answer to a query."""
    import duckdb

    from ketenpipe.observatory.catalogue_db import catalogue_path, open_catalogue

    settings = load_settings(home=home)
    with open_catalogue(_place(settings)) as connection:
        if sql is not None:
            try:
                answer = _rows_of(connection.execute(sql))
            except duckdb.Error as error:
                raise WrongUse(f"the query cannot be answered: {str(error).splitlines()[0]}") from error
            if as_json:
                _print_json(answer)
            elif answer:
                _out().print(_as_table(answer))
            else:
                _out().print("No rows.")
            return
        views = _rows_of(
            connection.execute(
                "select view_name as view, comment as holds from duckdb_views() where not internal order by view_name"
            )
        )
    path = catalogue_path(_place(settings)).absolute()
    if as_json:
        _print_json({"path": str(path), "views": views})
        return
    _out().print(str(path), soft_wrap=True)
    _out().print(_as_table(views))


def _rows_of(answer: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """Rows by column name; a name that stands twice gets a number, so that nothing is lost."""
    names: list[str] = []
    for column in answer.description or []:
        name = str(column[0])
        names.append(name if name not in names else f"{name}_{len(names) + 1}")
    return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]


def _as_table(rows: list[dict[str, Any]]) -> Table:
    table = Table()
    for column in rows[0]:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*("" if v is None else f"{v:.6g}" if isinstance(v, float) else str(v) for v in row.values()))
    return table


# -- shock ----------------------------------------------------------------------------------------------------


@app.command()
@refusals
def shock(
    country: Annotated[
        str, typer.Option(metavar="ISO3", help="Country that stops exporting what it makes.", show_default=False)
    ],
    node: Annotated[
        str,
        typer.Option(metavar="NODE|HS6", help="Node of the catalogue, or a code of six digits.", show_default=False),
    ],
    share: Annotated[float, typer.Option(help="Part of the exports that stops, above 0, up to 1.")] = 1.0,
    focus: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FOCUS", help="Country or bloc of the run; may be repeated.", show_default="every one of the run"
        ),
    ] = None,
    year: Annotated[int | None, typer.Option(help="Year of the data.", show_default="the newest")] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """What a stop of exports would cut of each product group's supply: ranking only, upper bound."""
    settings = load_settings(home=home)
    from ketenpipe.chain.steps import ChainYear
    from ketenpipe.chain.tracing import focus_members
    from ketenpipe.dag.resources import Workspace
    from ketenpipe.risk.shocks import WORDS, read_supply_mix
    from ketenpipe.risk.shocks import shock as cut_by
    from ketenpipe.tables.store import Store

    store = Store(_place(settings))
    seen = ChainYear.read(store, year)
    workspace = Workspace.of(settings)
    reference = workspace.reference()
    members = {f: focus_members(reference, f, [seen.year])[seen.year] for f in seen.foci}
    who, what = country.strip().upper(), node.strip()
    wanted = [f.strip().upper() for f in focus] if focus else None
    rows = cut_by(seen, members, read_supply_mix(store, seen.year), who, what, share, wanted).to_pylist()
    standing = _standing(workspace, seen.year)
    if as_json:
        scenario = f"{who}:{what}:{share:g}"
        _print_json({"scenario": scenario, "year": seen.year, "words": WORDS, "inputs": standing, "rows": rows})
        return
    if standing is not None:
        _err().print(standing, soft_wrap=True)
    names = {g: record.name_en for g, record in reference.groups.items()}
    _show_shock(rows, names, f"{who} stops {100 * share:g} % of its exports of {what}", seen.year, WORDS)


def _standing(workspace: Workspace, year: int) -> str | None:
    """A line where the tables that a shock reads were made of other inputs than those of now; else None."""
    from ketenpipe.dag.versions import outdated
    from ketenpipe.tables.registry import CHAIN_EDGES, CHAIN_NODES, EXPOSURE, ORIGIN_MIX, PRODUCTION, SUPPLY_MIX

    read = (EXPOSURE, CHAIN_NODES, CHAIN_EDGES, PRODUCTION, ORIGIN_MIX, SUPPLY_MIX)
    try:
        names = outdated(workspace, read, year)
    except KetenpipeError as error:
        return f"Whether the tables are up to date cannot be told: {error}"
    if not names:
        return None
    return (
        f"Not made of the sources, the catalogue and the settings as they are now: {', '.join(names)}. Run 'ketenpipe "
        "run'; options of that run (--sources, --catalogue, ...) are seen here only if ketenpipe.toml or the "
        "environment state them."
    )


def _show_shock(rows: list[dict[str, Any]], names: dict[str, str], title: str, year: int, words: str) -> None:
    console = _out()
    if not rows:
        console.print(f"{title}, {year}: no product group of the focus has it.")
        return
    for focus in dict.fromkeys(r["focus"] for r in rows):
        table = Table(
            title=f"{focus}, {year}: {title}", title_justify="left", title_style="bold", box=box.SIMPLE_HEAD,
            padding=(0, 1, 0, 0), pad_edge=False,
        )  # fmt: skip
        table.add_column("Product group", overflow="fold", min_width=10)
        table.add_column("Tier", justify="right")
        for column in ("Cut", "With relief", "S2"):
            table.add_column(column, justify="right", no_wrap=True)
        table.add_column("Main way", overflow="fold", min_width=12)
        table.add_column("Note", overflow="fold")
        own = [r for r in rows if r["focus"] == focus]
        for r in sorted(own, key=lambda r: (r["rank"] is None, r["rank"] or 0, r["group"] or "")):
            note = [
                (r["reason"] or "").replace("_", " "),
                "the node's mix is the world's" * r["same_for_every_country"],
            ]
            table.add_row(
                names.get(r["group"], r["group"]) or f"HS6 {r['code']} itself",
                str(r["tier"]),
                _span(r["low"], r["high"]),
                _span(r["relief_low"], r["relief_high"]),
                "-" if r["relief"] is None else f"{r['relief']:.2f}" if r["relief"] < 100 else "> 100",
                r["path"] or "-",
                "; ".join(n for n in note if n),
            )
        console.print(table)
    console.print(
        f"{words[0].upper()}{words[1:]}. Share of the focus's supply of the group's product. With relief: the users "
        "have the first call on everything that others sell elsewhere (S2), a lower bound. Of two figures the higher "
        "takes what is unknown at its worst. Exports of what the country makes itself; its own use goes on."
    )


def _span(low: float | None, high: float | None) -> str:
    """A share in per cent, or the two between which it lies; unknown where there is none."""
    if low is None or high is None:
        return "unknown"
    first, last = f"{100 * low:.1f}", f"{100 * high:.1f}"
    return f"{first} %" if first == last else f"{first}-{last} %"


# -- explain --------------------------------------------------------------------------------------------------


@app.command()
@refusals
def explain(
    focus: Annotated[str, typer.Argument(metavar="FOCUS", help="Country or bloc of the run.", show_default=False)],
    code: Annotated[str, typer.Argument(metavar="CODE", help="HS6 code, node, group or industry.", show_default=False)],
    indicator: Annotated[
        str,
        typer.Argument(
            metavar="INDICATOR",
            help="Indicator by id or name (C1, hhi_import), a named method, or a component of substitutability.",
            show_default=False,
        ),
    ],
    year: Annotated[int | None, typer.Option(help="Year of the data.", show_default="the newest")] = None,
    tier: Annotated[int | None, typer.Option(help="Tier of a node.", show_default="the product first")] = None,
    group: Annotated[
        str | None, typer.Option(help="Product group, for a node of several.", show_default="the first")
    ] = None,
    measure: Annotated[
        str | None,
        typer.Option(metavar="v|q|p|none", help="By value, mass or production.", show_default="the usual one"),
    ] = None,
    basis: Annotated[
        str | None,
        typer.Option(metavar="BASIS", help="imports, exports, traced, observed, ...", show_default="the usual one"),
    ] = None,
    sources: Annotated[
        Path | None,
        typer.Option(help="Drop folder of the run, whose files are hashed again.", show_default="that of the settings"),
    ] = None,
    catalogue: Annotated[
        Path | None, typer.Option("--catalogue", help="The catalogue folder that the run used, if any.")
    ] = None,
    language: Annotated[str, typer.Option(metavar="en|nl", help="Language of the words.")] = "en",
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Walk one number of the latest release back to its sources, and say what would turn it."""
    if language not in ("en", "nl"):
        raise WrongUse(f"--language is en or nl, not '{language}'")
    if sources is not None and not sources.is_dir():
        raise WrongUse(f"--sources names {sources}, and there is no such folder")
    settings = load_settings(home=home, catalogue=catalogue, sources=None if sources is None else str(sources))
    from dataclasses import replace

    from ketenpipe.dag.resources import Workspace
    from ketenpipe.observatory import reader
    from ketenpipe.observatory.explain_console import document, show
    from ketenpipe.observatory.explain_release import Question, answer, recipes
    from ketenpipe.risk.substitution_settings import load_substitution_settings
    from ketenpipe.sources.archive import Archive
    from ketenpipe.sources.criticality_inputs import load_criticality_inputs
    from ketenpipe.sources.places import embedded
    from ketenpipe.tables.store import Store

    place, workspace = _place(settings), Workspace.of(settings)
    release = reader.latest(place)
    folders = [*reversed(workspace.reference_dirs), embedded("sample"), Archive(place.work).root]
    if settings.sources not in ("sample", "official"):
        folders.insert(0, Path(settings.sources))
    asked = Question(focus, code, indicator, year, tier, group, measure, basis)
    reference, dirs = workspace.reference(), workspace.reference_dirs
    lists = replace(
        recipes(release, workspace.icio_years),
        parameters=load_criticality_inputs(*dirs, nodes=set(reference.nodes)),
        limits=load_substitution_settings(*dirs),
    )
    hashes = dict(pair for part in ("parameters", "thresholds") for pair in workspace.lists()[part])
    found = answer(release, Store(place), reference, asked, folders, lists, hashes)
    if as_json:
        _print_json(document(found))
    else:
        show(_out(), found, language)
    if found.reproduces is False:
        sys.stderr.write(
            "ketenpipe: the figure does not come out of the rows that it names; where the tables under the home are "
            "newer than the release, run 'ketenpipe run' and ask again.\n"
        )
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
