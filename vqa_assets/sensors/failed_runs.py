"""Sensors over runs that went wrong: the one that ends the records of killed runs, the one that reports failed runs.

Whom a failure is reported to is in ``resources.notifier``.
"""

import dagster as dg

from vqa_assets.assets.runs import step_failure
from vqa_assets.resources.data_root import DataRootResource
from vqa_assets.resources.notifier import Notifier, RunFailure, StepFailure
from vqa_assets.tables.lock import forget_run, is_abandoned
from vqa_assets.tables.paths import DataRoot

_PROCESS_GONE = (
    "the process of this run is gone (killed, or the machine restarted); run it again: it goes on where it stopped"
)
_JOB_OF_AUTOMATION = "__anonymous_asset_job_"


def make_abandoned_runs_sensor() -> dg.SensorDefinition:
    """The sensor; on from the start, since it acts on nothing but records of dead runs."""

    @dg.sensor(
        name="abandoned_runs",
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Marks as failed a run that was killed, so that it takes no place in the queue any longer.",
    )
    def abandoned_runs(context: dg.SensorEvaluationContext, data_root: DataRootResource) -> dg.SkipReason:
        ended = end_abandoned_runs(context.instance, data_root.root())
        return dg.SkipReason(f"ended {len(ended)} abandoned runs: {', '.join(ended)}" if ended else "no abandoned run")

    return abandoned_runs


def end_abandoned_runs(instance: dg.DagsterInstance, root: DataRoot) -> list[str]:
    """Report every run as failed that counts as started and whose process is gone; their ids."""
    ended = []
    for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
        if is_abandoned(root, run.run_id):
            instance.report_run_failed(run, _PROCESS_GONE)
            forget_run(root, run.run_id)
            ended.append(run.run_id)
    return ended


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
    """What is reported of the run. One that ended without a failed step is described in Dagster's own words."""
    run = context.dagster_run
    # Jobs that Dagster makes itself have names that say nothing to a person, but for the schedule or sensor in them.
    job = run.job_name.removeprefix(_JOB_OF_AUTOMATION)
    job = "" if job.startswith("__") else job
    assets = _assets_of(run, context.instance)
    what = " + ".join(assets) or job or "the run"
    steps = tuple(StepFailure(e.step_key or what, step_failure(e)) for e in context.get_step_failure_events())
    words = (context.failure_event.message or "no reason was recorded").replace(run.job_name, what)
    return RunFailure(run.run_id, job, assets, run.tags.get("dagster/partition"), steps or (StepFailure(what, words),))


def _assets_of(run: dg.DagsterRun, instance: dg.DagsterInstance) -> tuple[str, ...]:
    """What the run was to make: what was chosen, else what it planned when it was started."""
    chosen = run.asset_selection or {
        entry.dagster_event.asset_key
        for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED)
        if entry.dagster_event is not None and entry.dagster_event.asset_key is not None
    }
    return tuple(sorted(key.to_user_string() for key in chosen))
