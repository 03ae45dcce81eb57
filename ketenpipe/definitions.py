"""The door for Dagster: ``dagster dev -w workspace.yaml`` loads ``defs`` from here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

from ketenpipe.dag.location import assemble
from ketenpipe.settings import load_settings


def build_defs(*, overrides: Mapping[str, Any] | None = None) -> dg.Definitions:
    """The graph with the settings of the environment (``KETENPIPE_*``, ``<home>/ketenpipe.toml``).

    Args:
        overrides: resources by key that replace the project's own (for tests).
    """
    return assemble(load_settings(), overrides)


@dg.definitions
def defs() -> dg.Definitions:
    """What Dagster loads; nothing of the environment is read before it asks."""
    return build_defs()
