"""Schedules: the re-ingest of every corpus whose annotation file is present, and the look at every corpus's age.

When they and the sensors look is ``Timing``, taken from the environment by ``definitions``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg

from vqa_assets.assets.catalog import Catalog
from vqa_assets.errors import SettingsError
from vqa_assets.resources.data_root import DataRootResource
from vqa_assets.tables.paths import DataRoot

CRON_NAME, TIMEZONE_NAME, INTERVAL_NAME = "VQA_REINGEST_CRON", "VQA_REINGEST_TIMEZONE", "VQA_SENSOR_INTERVAL_S"
FRESHNESS_CRON = "30 6 * * *"
PARTITION_TAG = "dagster/partition"


@dataclass(frozen=True)
class Timing:
    """When corpora are ingested again (a cron expression in a time zone), and the seconds between looks at files."""

    cron: str = "0 3 * * 1"
    timezone: str = "UTC"
    interval_s: int = 30

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Timing":
        """The variables, each with its default. SettingsError for an interval that is no number of seconds."""
        seconds = environment.get(INTERVAL_NAME) or str(cls.interval_s)
        if not seconds.isdecimal() or not 1 <= int(seconds) <= 86_400:
            raise SettingsError(
                INTERVAL_NAME,
                found=repr(seconds),
                expected="whole seconds from 1 to 86400",
                next_step="correct the environment variable, or unset it",
            )
        cron, timezone = environment.get(CRON_NAME), environment.get(TIMEZONE_NAME)
        return cls(cron or cls.cron, timezone or cls.timezone, int(seconds))


def make_schedules(catalog: Catalog, timing: Timing) -> list[dg.ScheduleDefinition]:
    """Both schedules, off until somebody switches them on. SettingsError for timing that means nothing."""
    try:
        return [make_reingest_schedule(catalog, timing), make_freshness_schedule(catalog, timing)]
    except dg.DagsterInvalidDefinitionError as error:
        raise SettingsError(
            "re-ingest schedule",
            found=f"{CRON_NAME}={timing.cron!r}, {TIMEZONE_NAME}={timing.timezone!r} ({error})",
            expected=f"a cron expression such as {Timing.cron!r} and a time zone such as 'Europe/Berlin'",
            next_step="correct the environment variable, or unset it",
        ) from error


def make_reingest_schedule(catalog: Catalog, timing: Timing) -> dg.ScheduleDefinition:
    """The schedule over all corpora of the catalog."""

    @dg.schedule(
        name="weekly_reingest",
        target=dg.AssetSelection.assets("corpus_annotations", "corpus_jsonl"),
        cron_schedule=timing.cron,
        execution_timezone=timing.timezone,
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="Checks every present corpus against its annotation file and its clips: Mondays at 03:00 UTC, or "
        f"as ${CRON_NAME} and ${TIMEZONE_NAME} say.",
    )
    def weekly_reingest(context: dg.ScheduleEvaluationContext, data_root: DataRootResource) -> Any:
        from vqa_assets.ingest.layout import waits_for_ingest

        root = data_root.root()
        present = [c.name for c in catalog.corpora.values() if waits_for_ingest(c, root)]
        return _requests(context, present) or dg.SkipReason(f"no annotation file under {root.path}")

    return weekly_reingest


def make_freshness_schedule(catalog: Catalog, timing: Timing) -> dg.ScheduleDefinition:
    """The schedule that judges the age of every corpus that has a JSONL: a check beside a run only sees new ones."""
    job = dg.define_asset_job(
        "corpus_freshness",
        selection=dg.AssetSelection.checks(dg.AssetCheckKey(dg.AssetKey("corpus_jsonl"), "corpus_jsonl_fresh")),
        description="Judges how long ago a corpus was checked against its clips; reads its manifest only.",
    )

    @dg.schedule(
        name="daily_freshness",
        job=job,
        cron_schedule=FRESHNESS_CRON,
        execution_timezone=timing.timezone,
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="Judges every ingested corpus, every day at 06:30: the check warns of one that is stale or whose "
        "file is gone.",
    )
    def daily_freshness(context: dg.ScheduleEvaluationContext, data_root: DataRootResource) -> Any:
        root = data_root.root()
        recorded = context.instance.get_materialized_partitions(dg.AssetKey("corpus_jsonl"))
        # A corpus whose file is gone was recorded, one copied from elsewhere was not: the check judges both.
        made = [name for name in catalog.corpora if name in recorded or _is_ingested(name, catalog, root)]
        requests = [  # a job of checks only takes no partition key but by its tag
            dg.RunRequest(run_key=request.run_key, tags={PARTITION_TAG: str(request.partition_key)})
            for request in _requests(context, made)
        ]
        return requests or dg.SkipReason(f"no corpus JSONL under {root.path}, and none was ever made")

    return daily_freshness


def _requests(context: dg.ScheduleEvaluationContext, names: list[str]) -> list[dg.RunRequest]:
    tick = context.scheduled_execution_time.isoformat()
    return [dg.RunRequest(run_key=f"{name}:{tick}", partition_key=name) for name in names]


def _is_ingested(name: str, catalog: Catalog, root: DataRoot) -> bool:
    try:
        return catalog.layout(root, name).output.is_file()
    except SettingsError:  # where its JSONL lies is not known: the check says what is wrong
        return True
