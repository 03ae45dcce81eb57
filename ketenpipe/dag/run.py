"""Running the graph in this process, recorded in the Dagster instance under the home.

Belongs here: the instance, which steps are stale and in which order they run (one run per partition scheme), events as
words, errors as the sentences they were raised with. Does not belong here: printing.
"""

from __future__ import annotations

import errno
import logging
import sqlite3
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import dagster as dg
from dagster import DagsterEventType

from ketenpipe.dag.graph import graph_of
from ketenpipe.dag.partitions import SCHEMES, Scheme, range_tags
from ketenpipe.dag.resources import BY, Workspace
from ketenpipe.dag.versions import Versions, parents, table_of
from ketenpipe.errors import AuditFailed, ContractBroken, DiskFull, Interrupted, KetenpipeError
from ketenpipe.risk.published import chosen_methods
from ketenpipe.settings import Settings
from ketenpipe.tables.lock import home_lock
from ketenpipe.tables.registry import ICIO_AUDIT
from ketenpipe.tables.store import write_bytes_atomic

#: Instance settings, written beside the runs so that ``DAGSTER_HOME=<home>/dagster`` shows the same runs in the UI.
INSTANCE = b"""\
# Written by ketenpipe. Runs, events and schedules lie in this folder; nothing is sent anywhere.
telemetry:
  enabled: false
nux:
  enabled: false
compute_logs:
  module: dagster.core.storage.noop_compute_log_manager
  class: NoOpComputeLogManager
"""
#: What the tag of the command's own runs says.
COMMAND = "ketenpipe run"
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
#: What each step does, in words.
STEPS = {
    "archive": "Looking at the sources",
    "flows": "Reading trade flows",
    "governance": "Reading governance scores",
    "mining": "Reading mining statistics",
    "elasticities": "Reading trade elasticities",
    "input_output": "Reading and auditing input-output tables",
    "concordances": "Weighing the concordances of product codes",
    "comtrade_months": "Reading monthly UN Comtrade reports",
    "comtrade_years": "Reading annual UN Comtrade reports",
    "reconciled_months": "Reconciling monthly reports of both partners",
    "reconciled_years": "Reconciling annual reports of both partners",
    "coverage": "Seeing who has reported",
    "input_files": "Recording every input file",
    "origin_tracing": "Tracing every product to where it was made",
    "look_through": "Looking through the chains",
    "paths": "Walking the paths behind each exposure",
    "supply_graph": "Putting the supply graph together",
    "shocks": "Reckoning shocks",
    "product_industries": "Assigning products to industries",
    "industry_layer": "Looking through the input-output table",
    "governance_risk": "Scoring governance",
    "nowcast": "Extending the series by recent months",
    "nowcast_check": "Holding the nowcast against BACI",
    "product_risk": "Computing the figures of every product",
    "importers": "Comparing every importer of every product",
    "product_tiers": "Looking into every product by its industry's recipe",
    "chain_risk": "Computing the figures of nodes and chains",
    "criticality": "Computing criticality",
    "export_network": "Looking at the networks of exporters",
    "industry_risk": "Computing the figures of industries",
    "supply_risk": "Putting indicators and flags together",
    "method_agreement": "Comparing the named methods",
    "monte_carlo": "Drawing what the inputs could have been",
    "alternatives": "Judging again from other inputs",
    "robustness": "Seeing which verdicts survive",
    "substitutability": "Weighing how easily supplies could be replaced",
    "crma": "Holding materials against the CRMA benchmark",
    "dossiers": "Gathering the evidence of each group",
    "grades": "Grading the data",
    "register": "Passing verdicts",
    "validation": "Holding figures against published ones",
    "explanations": "Explaining the headline figures",
    "pictures": "Drawing pictures",
    "publishing": "Publishing",
    "reporting": "Stating what changed",
    "catalogue": "Writing the catalogue",
}


@dataclass(frozen=True)
class Progress:
    """One thing that happened.

    Attributes:
        kind: a step starts, says something, is done, is fresh (nothing to do), or failed.
        step: the step in words.
        detail: what it says (a year, a part), empty otherwise.
    """

    kind: Literal["start", "say", "done", "fresh", "failed"]
    step: str
    detail: str = ""


Tell = Callable[[Progress], None]


def instance_folder(home: Path) -> Path:
    """``<home>/dagster``."""
    return Path(home) / "dagster"


def open_instance(home: Path) -> dg.DagsterInstance:
    """The Dagster instance under the home, made if it is not there; telemetry is off."""
    folder = instance_folder(home).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    settings = folder / "dagster.yaml"
    if not settings.exists():
        write_bytes_atomic(settings, INSTANCE)
    return dg.DagsterInstance.from_config(str(folder))


@dataclass(frozen=True)
class Step:
    """One operation of the graph: the assets that it makes, and its partition scheme (None: without partitions)."""

    name: str
    assets: tuple[dg.AssetKey, ...]
    scheme: Scheme | None


def steps_of(definitions: dg.Definitions) -> list[Step]:
    """The operations of the graph, upstream first."""
    graph = definitions.resolve_asset_graph()
    by_op: dict[str, list[dg.AssetKey]] = {}
    schemes: dict[str, Scheme | None] = {}
    for level in graph.toposorted_asset_keys_by_level:
        for key in sorted(level, key=lambda k: k.to_user_string()):
            if key not in graph.materializable_asset_keys:
                continue
            name = graph.get(key).assets_def.op.name
            by_op.setdefault(name, []).append(key)
            definition = graph.get(key).partitions_def
            schemes[name] = next((s for s in SCHEMES if s.definition == definition), None) if definition else None
    return [Step(name, tuple(keys), schemes[name]) for name, keys in by_op.items()]


def run_pipeline(settings: Settings, tell: Tell | None = None, *, instance: dg.DagsterInstance | None = None) -> None:
    """Make anew what is stale: one run per partition scheme, upstream first. What is fresh stays as it is.

    On the official sources the run first fetches what changed (unless the setting ``fetch`` is off).

    Args:
        settings: of the run.
        tell: called for every step.
        instance: records the runs; by default the one under the home.

    Raises:
        KetenpipeError: whatever a step refused or failed on, as it was raised; a blocking check that failed, as
            :class:`ContractBroken` with the check's sentence.
    """
    logging.getLogger("dagster").setLevel(logging.CRITICAL)
    say = tell or (lambda _: None)
    workspace = Workspace.of(settings)
    workspace.check_focus()
    chosen_methods(settings.methods)
    workspace.reference().check_blocs(settings.bloc)  # what cannot be read is refused before anything is computed
    definitions = graph_of(settings)
    job = definitions.resolve_implicit_global_asset_job_def()
    graph = definitions.resolve_asset_graph()
    steps = steps_of(definitions)
    with (
        home_lock(workspace.place, "ketenpipe run"),
        nullcontext(instance) if instance is not None else open_instance(workspace.folder) as held,
    ):
        assert held is not None
        _bury(held)
        if workspace.official and settings.fetch:
            (first,) = (s for s in steps if s.name == "archive")
            _run(job, held, first.assets, {}, say)
        with workspace.pinned():
            workspace.reference().check_blocs(settings.bloc, workspace.baci_years())
            stale = stale_steps(steps, workspace)
            for step in steps:
                if step.name not in stale and workspace.partitions(step.assets[0].path[-1]):
                    say(Progress("fresh", STEPS[step.name.rsplit("__", 1)[-1]]))
        for names, scheme in _batches(steps, stale, graph):
            assets = [key for s in steps if s.name in names for key in s.assets]
            if scheme is None:
                _run(job, held, assets, {}, say)
            else:
                asked = {p for name in names for p in stale[name] if p is not None}
                for span in scheme.spans(asked):
                    _run(job, held, assets, range_tags(span), say)


def _bury(instance: dg.DagsterInstance) -> None:
    """Say of earlier runs of the command that were killed that they are over; whoever holds the home's lock knows."""
    left = dg.RunsFilter(tags={BY: COMMAND}, statuses=[dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED])
    for run in instance.get_runs(left):
        instance.report_run_failed(run, "its process was killed; what it had finished is kept")


def stale_steps(steps: Iterable[Step], workspace: Workspace) -> dict[str, list[str | None]]:
    """The steps that are to be run, each with its partitions (None stands for an unpartitioned one).

    A step is stale where one of its tables is, or where it reads what a stale step leaves that is no table.
    """
    versions = Versions(workspace)
    stale: dict[str, list[str | None]] = {}
    made_anew: set[dg.AssetKey] = set()
    for step in steps:
        after = any(parent in made_anew for key in step.assets for parent in parents()[key])
        partitions = workspace.partitions(step.assets[0].path[-1])
        if parts := [p for p in partitions if after or not all(versions.fresh(key, p) for key in step.assets)]:
            stale[step.name] = parts
            made_anew |= {key for key in step.assets if table_of(key) is None}
    return stale


def _batches(
    steps: list[Step], stale: Mapping[str, list[str | None]], graph: dg.AssetGraph
) -> list[tuple[set[str], Scheme | None]]:
    """The stale steps as runs of one scheme each, such that whatever a step needs was run before or runs with it.

    Between two partitioned runs only those unpartitioned steps run that a later partitioned one waits for; the rest
    is one run at the end.
    """
    maker = {key: step.name for step in steps for key in step.assets}
    needs = {
        step.name: {
            maker[parent]
            for key in step.assets
            for parent in graph.get(key).parent_keys
            if maker.get(parent) in stale and maker[parent] != step.name
        }
        for step in steps
        if step.name in stale
    }
    scheme_of = {step.name: step.scheme for step in steps}
    order = [step.name for step in steps if step.name in stale]
    left, out = set(order), []
    while left:
        ready: dict[Scheme | None, set[str]] = {}
        for scheme in {scheme_of[name]: None for name in order if name in left}:
            together: set[str] = set()
            for name in order:
                if name in left and scheme_of[name] == scheme and (needs[name] & left) <= together:
                    together.add(name)
            if together:
                ready[scheme] = together
        partitioned = [scheme for scheme in ready if scheme is not None]
        if partitioned:
            # First what is then done with: a step of another scheme may wait for it.
            done = (s for s in partitioned if ready[s] == {n for n in left if scheme_of[n] == s})
            chosen: Scheme | None = next(done, partitioned[0])
            names = ready[chosen]
        else:
            chosen, names = None, ready[None]
            waiting = {name for name in left if scheme_of[name] is not None}
            if waiting:
                names = names & _ancestors(waiting, needs)
        out.append((names, chosen))
        left -= names
    return out


def _ancestors(names: set[str], needs: Mapping[str, set[str]]) -> set[str]:
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        for parent in needs[waiting.pop()]:
            if parent not in found:
                found.add(parent)
                waiting.append(parent)
    return found


def _run(
    job: dg.JobDefinition,
    instance: dg.DagsterInstance,
    selection: Iterable[dg.AssetKey],
    tags: Mapping[str, str],
    tell: Tell,
) -> None:
    run_id = str(uuid.uuid4())
    listener = _Listener(tell)
    instance.add_event_listener(run_id, listener)
    try:
        job.execute_in_process(
            instance=instance,
            run_id=run_id,
            asset_selection=list(selection),
            tags={BY: COMMAND, **tags},
            run_config=QUIET,
        )
    except dg.DagsterExecutionInterruptedError as stopped:
        raise Interrupted("stopped; every step that was done is kept, and another run goes on from there.") from stopped
    except Exception as error:
        if listener.broken is not None:
            raise (AuditFailed if listener.audit else ContractBroken)(listener.broken) from error
        if (named := unwrapped(error)) is not None:
            raise named from error
        if no_room(error):
            raise DiskFull(f"{instance.root_directory}: no room left on the disk; make room and run again.") from error
        raise


def no_room(error: BaseException) -> bool:
    """Whether the disk was full for Dagster's own database, which says so in words of its own."""
    for seen in behind(error):
        text = str(seen).lower()
        if isinstance(seen, sqlite3.OperationalError) and ("disk is full" in text or "disk i/o error" in text):
            return True
        if isinstance(seen, OSError) and seen.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
    return False


def unwrapped(error: BaseException) -> KetenpipeError | None:
    """The project's own error within whatever Dagster wrapped around it."""
    return next((seen for seen in behind(error) if isinstance(seen, KetenpipeError)), None)


def behind(error: BaseException) -> Iterator[BaseException]:
    """An error and what caused it, each once: Dagster's wrappers may point at each other in a circle."""
    known: set[int] = set()
    seen: BaseException | None = error
    while seen is not None and id(seen) not in known:
        known.add(id(seen))
        yield seen
        seen = seen.__cause__ or seen.__context__


class _Listener:
    """Turns Dagster's events into words and keeps the sentence of a blocking check that failed."""

    def __init__(self, tell: Tell) -> None:
        self.tell = tell
        self.broken: str | None = None
        self.audit = False

    def __call__(self, entry: dg.EventLogEntry) -> None:
        step = entry.step_key or ""
        words = STEPS.get(step.rsplit("__", 1)[-1])
        event = entry.dagster_event
        if event is None:
            if words and entry.level == logging.INFO:
                self.tell(Progress("say", words, entry.user_message))
            return
        if event.event_type == DagsterEventType.ASSET_CHECK_EVALUATION:
            found = event.asset_check_evaluation_data
            if not found.passed and found.blocking and self.broken is None:
                self.audit = found.asset_key.path[-1] == ICIO_AUDIT.name
                self.broken = f"check {found.check_name} of {found.asset_key.to_user_string()}: {found.description}"
        elif words and event.event_type == DagsterEventType.STEP_START:
            self.tell(Progress("start", words))
        elif words and event.event_type == DagsterEventType.STEP_SUCCESS:
            self.tell(Progress("done", words))
        elif words and event.event_type == DagsterEventType.STEP_FAILURE:
            self.tell(Progress("failed", words))
