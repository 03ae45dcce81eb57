"""Running the whole graph in this process, recorded in the Dagster instance under the home.

Belongs here: the instance, one run per partition scheme, events as words, errors as the sentences they were raised
with. Does not belong here: printing.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import dagster as dg
from dagster import DagsterEventType

from ketenpipe.dag.graph import assemble
from ketenpipe.dag.partitions import range_tags, spans
from ketenpipe.dag.resources import Workspace
from ketenpipe.dag.specs import key
from ketenpipe.errors import ContractBroken, KetenpipeError
from ketenpipe.settings import Settings
from ketenpipe.tables.registry import BACI_FLOWS
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
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}

#: What each step does, in words.
STEPS = {
    "flows": "Reading trade flows",
    "statistics": "Reading governance and mining statistics",
    "origin_tracing": "Tracing every product to where it was made",
    "look_through": "Looking through the chains",
    "industry_layer": "Looking through the input-output table",
    "governance_risk": "Scoring governance",
    "supply_risk": "Computing indicators and flags",
    "crma": "Holding materials against the CRMA benchmark",
    "dossiers": "Gathering the evidence of each group",
    "register": "Passing verdicts",
    "pictures": "Drawing pictures",
    "publishing": "Publishing",
    "reporting": "Stating what changed",
    "catalogue": "Writing the catalogue",
}


@dataclass(frozen=True)
class Progress:
    """One thing that happened.

    Attributes:
        kind: a step starts, says something, is done, or failed.
        step: the step in words.
        detail: what it says (a year, a part), empty otherwise.
    """

    kind: Literal["start", "say", "done", "failed"]
    step: str
    detail: str = ""


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


def run_pipeline(settings: Settings, tell: Callable[[Progress], None] | None = None) -> None:
    """Materialise everything: one run over the years of BACI, then one over the rest.

    Args:
        settings: of the run.
        tell: called for every step.

    Raises:
        KetenpipeError: whatever a step refused or failed on, as it was raised; a blocking check that failed, as
            :class:`ContractBroken` with the check's sentence.
    """
    logging.getLogger("dagster").setLevel(logging.CRITICAL)
    workspace = Workspace.of(settings)
    workspace.check_focus()
    workspace.reference()  # an unreadable catalogue is refused before anything is computed
    years = [range_tags(first, last) for first, last in spans(workspace.baci_years())]
    definitions = assemble(settings)
    job = definitions.resolve_implicit_global_asset_job_def()
    flows = key(BACI_FLOWS)
    rest = [k for k in definitions.resolve_asset_graph().materializable_asset_keys if k != flows]
    with open_instance(settings.home) as instance:
        for tags in years:
            _run(job, instance, [flows], tags, tell)
        _run(job, instance, rest, {}, tell)


def _run(
    job: dg.JobDefinition,
    instance: dg.DagsterInstance,
    selection: list[dg.AssetKey],
    tags: dict[str, str],
    tell: Callable[[Progress], None] | None,
) -> None:
    run_id = str(uuid.uuid4())
    listener = _Listener(tell or (lambda _: None))
    instance.add_event_listener(run_id, listener)
    try:
        job.execute_in_process(
            instance=instance,
            run_id=run_id,
            asset_selection=selection,
            tags={"ketenpipe/by": "ketenpipe run", **tags},
            run_config=QUIET,
        )
    except Exception as error:
        if listener.broken is not None:
            raise ContractBroken(listener.broken) from error
        if (named := unwrapped(error)) is not None:
            raise named from error
        raise


def unwrapped(error: BaseException) -> KetenpipeError | None:
    """The project's own error within whatever Dagster wrapped around it."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, KetenpipeError):
            return seen
        seen = seen.__cause__ or seen.__context__
    return None


class _Listener:
    """Turns Dagster's events into words and keeps the sentence of a check that failed."""

    def __init__(self, tell: Callable[[Progress], None]) -> None:
        self.tell = tell
        self.broken: str | None = None

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
            if not found.passed and self.broken is None:
                self.broken = f"check {found.check_name} of {found.asset_key.to_user_string()}: {found.description}"
        elif words and event.event_type == DagsterEventType.STEP_START:
            self.tell(Progress("start", words))
        elif words and event.event_type == DagsterEventType.STEP_SUCCESS:
            self.tell(Progress("done", words))
        elif words and event.event_type == DagsterEventType.STEP_FAILURE:
            self.tell(Progress("failed", words))
