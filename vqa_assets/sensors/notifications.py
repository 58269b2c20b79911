"""The sensor that tells of failed runs, through the one hook that the resource ``notifier`` is."""

import dagster as dg

from vqa_assets.assets.telling import step_failure
from vqa_assets.resources.notifier import Notifier, RunFailure, StepFailure


def make_failure_sensor(interval_s: int) -> dg.SensorDefinition:
    """The sensor; on from the start, since without a webhook it only logs."""

    @dg.run_failure_sensor(
        name="failed_runs",
        monitor_all_code_locations=True,  # runs of commands belong to no code location
        minimum_interval_seconds=interval_s,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells of every failed run: in the log, and by POSTing JSON where $VQA_FAILURE_WEBHOOK names one.",
    )
    def failed_runs(context: dg.RunFailureSensorContext, notifier: dg.ResourceParam[Notifier]) -> None:
        notifier.notify(failure_of(context))

    return failed_runs


def failure_of(context: dg.RunFailureSensorContext) -> RunFailure:
    """What is told of the run. A run that ended without a failed step is told in Dagster's own words."""
    run = context.dagster_run
    steps = tuple(StepFailure(e.step_key or run.job_name, step_failure(e)) for e in context.get_step_failure_events())
    told = steps or (StepFailure(run.job_name, context.failure_event.message or "no reason was recorded"),)
    chosen = sorted(key.to_user_string() for key in run.asset_selection or ())
    return RunFailure(run.run_id, run.job_name, tuple(chosen), run.tags.get("dagster/partition"), told)
