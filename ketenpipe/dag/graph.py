"""The graph of assets with their checks and resources, for the command and for the Dagster UI alike.

Belongs here: what is made of what. Jobs, schedule and sensor stand around it in :mod:`ketenpipe.dag.location`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

from ketenpipe.dag.assets import chain, observatory, review, risk, sources
from ketenpipe.dag.checks import build_checks
from ketenpipe.dag.io import ParquetIOManager
from ketenpipe.dag.resources import Workspace
from ketenpipe.settings import Settings

ASSETS = dg.load_assets_from_modules([sources, chain, risk, review, observatory])


@dg.io_manager(
    required_resource_keys={"workspace"},
    description="Parquet under <home>/tables, each table held against its contract.",
)
def parquet(context: dg.InitResourceContext) -> ParquetIOManager:
    """The IO manager with the workspace that the assets of the run have, also where a launch gives it other values."""
    return ParquetIOManager(workspace=context.resources.workspace)


def graph_of(settings: Settings, overrides: Mapping[str, Any] | None = None) -> dg.Definitions:
    """The assets and checks for these settings.

    Args:
        settings: what the workspace resource carries.
        overrides: resources by key that replace the project's own (for tests).
    """
    return dg.Definitions(
        assets=ASSETS,
        asset_checks=build_checks(),
        resources={"workspace": Workspace.of(settings), "io_manager": parquet, **(overrides or {})},
        executor=dg.in_process_executor,
    )
