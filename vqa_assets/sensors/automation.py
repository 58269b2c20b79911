"""What makes downstream assets follow what they are made from: one condition, and the sensor that evaluates it.

The condition compares data versions, so an input that was made again with equal content starts nothing, an input that
is absent holds nothing up, and whatever changed while nobody looked is found by the next tick. What must fail is not
started: which that is, says ``assets.startable``.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import dagster as dg

from vqa_assets.assets.heads import EXPERIMENT_TAG, SYNTHETIC_TAG

STARTED_OTHERWISE = frozenset(
    {"corpus_annotations", "corpus_jsonl", "libvmaf_reports", "encode_grid_jsonl", "mos_label_batch"}
)
"""Assets that files, schedules or people start; every other one follows its inputs."""
_POINTER = "dagster/input_event_pointer/"
_VERSION = "dagster/data_version"


WhyNot = Callable[[str, str | None], str]
"""Why an asset cannot be made now, by its name and partition; empty where nothing is known that speaks against it."""


def _nothing_against(asset: str, partition: str | None) -> str:  # noqa: ARG001
    return ""


class InputsChanged(dg.AutomationCondition[dg.AssetKey]):
    """True for a partition whose inputs hold other data than its last materialization read, or that was never made.

    Inputs that were never made count for nothing, and without any input it is false. A run that was planned after the
    change counts as the answer to it, whatever became of it: a run that fails is not begun again and again. One that
    must fail (``why_not``) is not begun: it waits until what it lacks is there.
    """

    def __init__(self, why_not: WhyNot = _nothing_against) -> None:
        self._why_not = why_not

    @property
    def name(self) -> str:
        """How the web UI calls it."""
        return "inputs changed"

    def evaluate(self, context: dg.AutomationContext[dg.AssetKey]) -> dg.AutomationResult[dg.AssetKey]:
        """See ``dagster.AutomationCondition``."""
        view = context.asset_graph_view
        behind = {
            one
            for one in context.candidate_subset.expensively_compute_asset_partitions()
            if _is_behind(view.instance, one.asset_key, one.partition_key, _inputs_of(context, one))
            and not self._why_not(one.asset_key.to_user_string(), one.partition_key)
        }
        return dg.AutomationResult(context, view.get_asset_subset_from_asset_partitions(context.key, behind))


def follow_inputs(why_not: WhyNot = _nothing_against) -> dg.AutomationCondition[Any]:
    """The condition of every downstream asset: its inputs changed, and neither they nor it are being made."""
    made_first = dg.AutomationCondition.any_deps_match(dg.AutomationCondition.will_be_requested())
    return (
        InputsChanged(why_not)
        & ~made_first
        & ~dg.AutomationCondition.any_deps_in_progress()
        & ~dg.AutomationCondition.in_progress()
    ).with_label("follows its inputs")


def with_automation(
    assets: Iterable[dg.AssetsDefinition], why_not: WhyNot = _nothing_against
) -> list[dg.AssetsDefinition]:
    """The same assets; those that have inputs and are not started otherwise follow their inputs."""

    def follower(spec: dg.AssetSpec) -> dg.AssetSpec:
        if spec.key.to_user_string() in STARTED_OTHERWISE or not list(spec.deps):
            return spec
        return spec.replace_attributes(automation_condition=follow_inputs(why_not))

    return [asset.map_asset_specs(follower) for asset in assets]


def make_automation_sensor(interval_s: int) -> dg.AutomationConditionSensorDefinition:
    """The sensor that evaluates the condition for all assets; off until somebody switches it on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=dg.BetaWarning)  # a condition of our own is evaluated by our own code
        return dg.AutomationConditionSensorDefinition(
            name="follow_inputs",
            target=dg.AssetSelection.all(),
            minimum_interval_seconds=interval_s,
            default_status=dg.DefaultSensorStatus.STOPPED,
            emit_backfills=False,
            use_user_code_server=True,
            description="Makes unified corpus, features, labels and heads again when what they are made from has other "
            "content. Absent corpora hold nothing up; equal content starts nothing, nor does a run that must fail.",
        )


def _inputs_of(context: dg.AutomationContext[dg.AssetKey], one: Any) -> Iterator[tuple[dg.AssetKey, str | None]]:
    """Every input partition of one partition of the asset, by the asset's partition mappings."""
    view = context.asset_graph_view
    subset = view.get_asset_subset_from_asset_partitions(context.key, {one})
    for parent in sorted(view.asset_graph.get(context.key).parent_keys):
        for part in view.compute_parent_subset(parent, subset).expensively_compute_asset_partitions():
            yield parent, part.partition_key


def _is_behind(
    instance: dg.DagsterInstance,
    key: dg.AssetKey,
    partition: str | None,
    inputs: Iterable[tuple[dg.AssetKey, str | None]],
) -> bool:
    """Whether an input changed since what stands was made, and no run was planned after that."""
    # Rehearsals on synthetic rows and experiments leave what stands as it was, so they answer no change of an input.
    rehearsals: set[str] = set()
    made = _latest(instance, key, partition)
    while made is not None and not _tags(made).keys().isdisjoint((SYNTHETIC_TAG, EXPERIMENT_TAG)):
        rehearsals.add(made.run_id)
        made = _latest(instance, key, partition, before=made.storage_id)
    # Dagster notes with a materialization the last event of each input; one that was not there then has no note.
    read = {
        dg.AssetKey.from_user_string(tag.removeprefix(_POINTER)): int(value)
        for tag, value in _tags(made).items()
        if tag.startswith(_POINTER) and value.isdecimal()
    }
    changes = [change for parent, part in inputs if (change := _change(instance, parent, part, read.get(parent)))]
    if not changes:
        return False
    planned = instance.event_log_storage.get_latest_planned_materialization_info(key, partition)
    return planned is None or planned.run_id in rehearsals or planned.storage_id < max(changes)


def _change(instance: dg.DagsterInstance, key: dg.AssetKey, partition: str | None, read: int | None) -> int | None:
    """The event by which an input got another data version than it had at the event ``read``; None without one."""
    latest = _latest(instance, key, partition)
    if latest is None or (read is not None and latest.storage_id <= read):
        return None
    before = None if read is None else _latest(instance, key, partition, before=read + 1)
    changed = before is None or _tags(before).get(_VERSION) != _tags(latest).get(_VERSION)
    return latest.storage_id if changed else None


def _latest(
    instance: dg.DagsterInstance, key: dg.AssetKey, partition: str | None, before: int | None = None
) -> dg.EventLogRecord | None:
    records_filter = dg.AssetRecordsFilter(
        key, asset_partitions=None if partition is None else [partition], before_storage_id=before
    )
    return next(iter(instance.fetch_materializations(records_filter, limit=1).records), None)


def _tags(record: dg.EventLogRecord | None) -> dict[str, str]:
    materialization = record.asset_materialization if record is not None else None
    return dict(materialization.tags or {}) if materialization is not None else {}
