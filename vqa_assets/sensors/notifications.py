"""The sensor that tells of failed runs, through the one hook that the resource ``notifier`` is."""

import dagster as dg

from vqa_assets.assets.runs import step_failure
from vqa_assets.resources.notifier import Notifier, RunFailure, StepFailure

_OF_AUTOMATION = "__anonymous_asset_job_"


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
    job, assets = _told_job(run.job_name), _assets_of(run, context.instance)
    what = " + ".join(assets) or job or "the run"
    steps = tuple(StepFailure(e.step_key or what, step_failure(e)) for e in context.get_step_failure_events())
    words = (context.failure_event.message or "no reason was recorded").replace(run.job_name, what)
    return RunFailure(run.run_id, job, assets, run.tags.get("dagster/partition"), steps or (StepFailure(what, words),))


def _told_job(name: str) -> str:
    """A job's name as a person knows it: of the jobs that Dagster makes itself, the schedule or sensor, or nothing."""
    own = name.startswith("__")
    return name.removeprefix(_OF_AUTOMATION) if not own or name.startswith(_OF_AUTOMATION) else ""


def _assets_of(run: dg.DagsterRun, instance: dg.DagsterInstance) -> tuple[str, ...]:
    """What the run was to make: what was chosen, else what it planned when it was started."""
    chosen = run.asset_selection or {
        entry.dagster_event.asset_key
        for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED)
        if entry.dagster_event is not None and entry.dagster_event.asset_key is not None
    }
    return tuple(sorted(key.to_user_string() for key in chosen))
