"""The monthly refresh: one switch that fetches what changed and makes anew what depends on it.

Belongs here: the job, its schedule and its sensor, both stopped until somebody starts them. The job runs the same code
as ``ketenpipe run``, one Dagster run per partition scheme, so that the UI shows the same runs either way. Does not
belong here: what is stale (:mod:`ketenpipe.dag.run`).
"""

import hashlib

import dagster as dg

from ketenpipe.dag.assets.sources import worth_trying_again
from ketenpipe.dag.resources import Workspace
from ketenpipe.dag.run import Progress, run_pipeline
from ketenpipe.errors import KetenpipeError, UpstreamFailed
from ketenpipe.sources.official import news

TIMEZONE = "Europe/Amsterdam"
#: How often and after how long (seconds) a refresh is tried again when an upstream failed in a way that passes.
RETRIES, PAUSE = 3, 900


@dg.op(name="refresh", description="Fetch what changed, make anew what depends on it, publish if anything changed.")
def refresh(context: dg.OpExecutionContext, workspace: Workspace) -> None:
    """The whole of ``ketenpipe run``, recorded in this instance."""

    def tell(progress: Progress) -> None:
        context.log.info(f"{progress.kind}: {progress.step}" + (f" ({progress.detail})" if progress.detail else ""))

    try:
        run_pipeline(workspace.settings, tell, instance=context.instance)
    except UpstreamFailed as error:
        if worth_trying_again(error):
            raise dg.RetryRequested(max_retries=RETRIES, seconds_to_wait=PAUSE) from error
        raise dg.Failure(description=str(error), allow_retries=False) from error
    except KetenpipeError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error


@dg.job(
    name="monthly_refresh",
    description="Fetch what changed, make anew what depends on it, publish a release if anything changed.",
    tags={"ketenpipe/owner": "team-ketenpipe"},
)
def monthly_refresh() -> None:
    """One operation; the runs that it starts bear the partitions."""
    refresh()


@dg.schedule(
    job=monthly_refresh,
    cron_schedule="0 6 12 * *",
    execution_timezone=TIMEZONE,
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="06:00 on the twelfth of each month, Amsterdam time.",
)
def monthly_refresh_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """One refresh a month."""
    return dg.RunRequest(run_key=f"monthly {context.scheduled_execution_time:%Y-%m-%d}")


@dg.sensor(
    name="new_reports_sensor",
    job=monthly_refresh,
    minimum_interval_seconds=6 * 3600,
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="Asks UN Comtrade four times a day what was reported anew, and starts a refresh when anything was.",
)
def new_reports_sensor(context: dg.SensorEvaluationContext, workspace: Workspace) -> dg.RunRequest | dg.SkipReason:
    """One refresh per state of what is available: a refresh that failed is not started again for the same state."""
    if not workspace.official:
        return dg.SkipReason("the sources are not the official ones (set KETENPIPE_SOURCES=official)")
    try:
        if workspace.comtrade_key() is None:
            return dg.SkipReason("there is no key of UN Comtrade (set KETENPIPE_COMTRADE_KEY)")
        found = news(workspace.folder, workspace.upstreams(), workspace.codes_to_ask())
    except KetenpipeError as error:
        return dg.SkipReason(str(error))
    if not found:
        return dg.SkipReason("nobody has reported anything new")
    state = hashlib.sha256(repr(sorted((d.slot, d.checksum) for d in found)).encode()).hexdigest()
    periods = sorted({d.period for d in found})
    context.log.info(f"{len(found)} new datasets of {periods[0]} to {periods[-1]}")
    return dg.RunRequest(run_key=f"reports {state}", tags={"ketenpipe/news": f"{len(found)} datasets"})
