"""A sensor that ends the records of runs whose process is gone: they count as running, and would fill the queue."""

import dagster as dg

from vqa_assets.resources.data_root import DataRootResource
from vqa_assets.tables.lock import forget_run, is_abandoned
from vqa_assets.tables.paths import DataRoot

_TOLD = "the process of this run is gone (killed, or the machine restarted); run it again: it goes on where it stopped"


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
            instance.report_run_failed(run, _TOLD)
            forget_run(root, run.run_id)
            ended.append(run.run_id)
    return ended
