"""The monthly refresh: one job over the whole graph and its schedule, stopped until somebody starts it.

Belongs here: jobs and schedules. The schedule asks the sources which years there are at each tick.
"""

import dagster as dg

from ketenpipe.dag.partitions import range_tags, spans
from ketenpipe.dag.resources import Workspace

TIMEZONE = "Europe/Amsterdam"

monthly_refresh = dg.define_asset_job(
    "monthly_refresh",
    selection=dg.AssetSelection.all(),
    description="Read the sources again, compute every step, publish a release if anything changed.",
    tags={"ketenpipe/owner": "team-ketenpipe"},
)


@dg.schedule(
    job=monthly_refresh,
    cron_schedule="0 6 1 * *",
    execution_timezone=TIMEZONE,
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="06:00 on the first of each month, Amsterdam time.",
)
def monthly_refresh_schedule(
    context: dg.ScheduleEvaluationContext, workspace: Workspace
) -> dg.RunRequest | dg.SkipReason:
    """One run over every year of the sources."""
    years = spans(workspace.baci_years())
    if len(years) != 1:
        return dg.SkipReason("the sources have gaps between their years: use 'ketenpipe run', which runs each span")
    return dg.RunRequest(tags=range_tags(*years[0]))
