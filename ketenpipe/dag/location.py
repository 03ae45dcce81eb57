"""What Dagster loads: the graph with the job, the schedule and the sensor around it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import dagster as dg

from ketenpipe.dag.graph import graph_of
from ketenpipe.dag.jobs import monthly_refresh, monthly_refresh_schedule, new_reports_sensor
from ketenpipe.settings import Settings


def assemble(settings: Settings, overrides: Mapping[str, Any] | None = None) -> dg.Definitions:
    """The definitions for these settings.

    Args:
        settings: what the workspace resource carries.
        overrides: resources by key that replace the project's own (for tests).
    """
    # Dagster hands every sensor's owners (we state none) to itself when it binds resources, and warns of it.
    warnings.filterwarnings("ignore", message="Parameter `owners` of initializer `SensorDefinition", category=Warning)
    around = dg.Definitions(jobs=[monthly_refresh], schedules=[monthly_refresh_schedule], sensors=[new_reports_sensor])
    return dg.Definitions.merge(graph_of(settings, overrides), around)
