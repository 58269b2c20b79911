"""What the pages on operating and on CI say is so: what starts runs, its settings, what is posted, the steps."""

import re
from dataclasses import fields
from pathlib import Path

import dagster as dg
import yaml

from vqa_assets.assets.corpora import OLD_AFTER_DAYS
from vqa_assets.definitions import defs
from vqa_assets.pool_limits import POOLS
from vqa_assets.resources.notifier import SCHEMA, WEBHOOK_NAME, RunFailure, StepFailure
from vqa_assets.sensors.schedules import CRON_NAME, INTERVAL_NAME, TIMEZONE_NAME, Timing

DOCS = Path(__file__).parents[2] / "docs"
OPERATING = (DOCS / "operating.md").read_text(encoding="utf-8")
CI = (DOCS / "ci.md").read_text(encoding="utf-8")
ON = (dg.DefaultSensorStatus.RUNNING, dg.DefaultScheduleStatus.RUNNING)


def cells(page: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("| `")
    ]


def test_every_sensor_and_schedule_stands_in_the_table_with_how_it_begins() -> None:
    told = {row[0].strip("`"): (row[1], row[2]) for row in cells(OPERATING) if row[1] in ("sensor", "schedule")}
    assert told == {
        **{s.name: ("sensor", "on" if s.default_status in ON else "off") for s in defs.sensors or ()},
        **{s.name: ("schedule", "on" if s.default_status in ON else "off") for s in defs.schedules or ()},
    }


def test_every_variable_stands_in_the_table_with_its_default() -> None:
    told = {row[0].strip("`"): row[1].strip("`") for row in cells(OPERATING) if row[0].startswith("`VQA_")}
    assert told == {
        CRON_NAME: Timing.cron,
        TIMEZONE_NAME: Timing.timezone,
        INTERVAL_NAME: str(Timing.interval_s),
        WEBHOOK_NAME: "none",
    }


def test_the_fields_of_a_notification_are_those_that_are_posted() -> None:
    section = OPERATING.split("## Notifications of failures")[1].split("##")[0]
    posted = RunFailure("", "", (), None, ()).as_json()
    assert posted["schema"] == SCHEMA
    named = set(re.findall(r"`([a-z_0-9-]+)`", section))
    assert {*posted, *(f.name for f in fields(StepFailure)), SCHEMA} <= named


def test_the_limits_and_the_age_are_those_of_the_code() -> None:
    for pool, limit in POOLS.items():
        assert f"`{pool}` to {limit}" in OPERATING
    assert f"warns after {OLD_AFTER_DAYS} days" in OPERATING


def test_the_job_and_the_checks_that_are_named_exist() -> None:
    assert defs.resolve_job_def("whole_workflow").description
    checks = {key.name for key in defs.resolve_asset_graph().asset_check_keys}
    assert set(re.findall(r"`(\w+_fresh)`", OPERATING)) <= checks


def test_the_page_on_ci_names_the_steps_of_its_example() -> None:
    steps = yaml.safe_load((DOCS / "examples/ci.yml").read_text())["jobs"]["corpora"]["steps"]
    commands = " ".join(step.get("run", "") for step in steps)
    rows = [re.findall(r"`([^`]+)`", row[0]) for row in cells(CI) if "`" in row[0]]
    named = [name for row in rows for name in row]
    assert len(named) >= 6
    assert [name for name in named if name not in commands] == []
