"""What Dagster shows of the project, held against a snapshot: a change is seen in the diff of ``snapshot.json``.

After a change that is meant: ``python -m ketenpipe_tests.dag.test_snapshot`` writes the snapshot anew.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import dagster as dg

from ketenpipe.dag.location import assemble
from ketenpipe.dag.partitions import SCHEMES
from ketenpipe.settings import load_settings

SNAPSHOT = Path(__file__).with_name("snapshot.json")


def windows(policy: dg.FreshnessPolicy | None) -> dict[str, str] | None:
    """The windows of a freshness policy."""
    if policy is None:
        return None
    return {name: str(getattr(policy, name).to_timedelta()) for name in ("warn_window", "fail_window")}


def shown(home: Path) -> dict[str, Any]:
    """Assets, checks, jobs, schedules, sensors and resources as plain data; texts are left out."""
    definitions = assemble(load_settings(home=home))
    graph = definitions.resolve_asset_graph()
    assets = {}
    for spec in sorted(definitions.resolve_all_asset_specs(), key=lambda s: s.key):
        node = graph.get(spec.key)
        assets[spec.key.to_user_string()] = {
            "step": node.assets_def.op.name,
            "group": spec.group_name,
            "deps": sorted(dep.asset_key.to_user_string() for dep in spec.deps),
            "mappings": {
                dep.asset_key.to_user_string(): str(dep.partition_mapping) for dep in spec.deps if dep.partition_mapping
            },
            "owners": list(spec.owners),
            "kinds": sorted(spec.kinds),
            "tags": {k: v for k, v in spec.tags.items() if k.startswith("ketenpipe/")},
            "partitions": next((s.what for s in SCHEMES if s.definition == node.partitions_def), None),
            "backfill": node.backfill_policy.policy_type.value if node.backfill_policy else None,
            "freshness": windows(spec.freshness_policy),
            "checks": {
                c.name: "blocking" if graph.get(c).blocking else "warning"
                for c in sorted(graph.asset_check_keys, key=lambda c: c.name)
                if c.asset_key == spec.key
            },
        }
    schedule = definitions.resolve_schedule_def("monthly_refresh_schedule")
    sensor = definitions.resolve_sensor_def("new_reports_sensor")
    job = definitions.resolve_job_def("monthly_refresh")
    return {
        "assets": assets,
        "schemes": {s.what: [s.definition.start.strftime("%Y-%m"), s.definition.end_offset] for s in SCHEMES},
        "jobs": {job.name: {"ops": [n.name for n in job.nodes], "tags": dict(job.tags)}},
        "schedules": {
            schedule.name: {
                "cron": schedule.cron_schedule,
                "timezone": schedule.execution_timezone,
                "job": schedule.job_name,
                "status": schedule.default_status.value,
            }
        },
        "sensors": {
            sensor.name: {
                "seconds": sensor.minimum_interval_seconds,
                "job": sensor.job_name,
                "status": sensor.default_status.value,
            }
        },
        "resources": sorted(definitions.resources or {}),
    }


def test_what_dagster_shows_is_as_it_was(tmp_path: Path) -> None:
    now, before = shown(tmp_path), json.loads(SNAPSHOT.read_text(encoding="utf-8"))
    assert json.loads(json.dumps(now)) == before, "if it is meant: python -m ketenpipe_tests.dag.test_snapshot"


def test_there_are_no_other_jobs_schedules_and_sensors(tmp_path: Path) -> None:
    repository = assemble(load_settings(home=tmp_path)).get_repository_def()
    assert {j for j in repository.job_names if not j.startswith("__")} == {"monthly_refresh"}
    assert [s.name for s in repository.schedule_defs] == ["monthly_refresh_schedule"]
    assert [s.name for s in repository.sensor_defs] == ["new_reports_sensor"]
    assert isinstance(repository, dg.RepositoryDefinition)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        SNAPSHOT.write_text(json.dumps(shown(Path(folder)), indent=1, sort_keys=True) + "\n", encoding="utf-8")
