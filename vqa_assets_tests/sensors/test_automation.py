"""Downstream assets follow their inputs: they miss no change, run for nothing never, and need no absent corpus."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from vqa_assets.assets.heads import EXPERIMENT_TAG, SYNTHETIC_TAG
from vqa_assets.definitions import defs
from vqa_assets.sensors.automation import STARTED_OTHERWISE, with_automation

PARTS = dg.StaticPartitionsDefinition(["a", "b", "c"])


class Line:
    """A real line of assets, jsonl → features → labels → head, whose content a test decides; what ran is counted."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self.content: dict[tuple[str, str], str] = {}
        self.fails = False
        self.rehearsing = ""
        self.ran: list[str] = []
        self.during: dict[str, Any] = {}
        self.assets = with_automation(self._assets())
        self.cursor: Any = None

    def _assets(self) -> list[dg.AssetsDefinition]:
        def result(context: dg.AssetExecutionContext, name: str) -> dg.MaterializeResult[Any]:
            part = context.partition_key if context.has_partition_key else ""
            self.ran.append(f"{name}[{part}]" if part else name)
            self.during.pop(name, lambda: None)()
            if self.fails:
                raise dg.Failure("asked for", allow_retries=False)
            tags = {self.rehearsing: "true"} if self.rehearsing else {}
            return dg.MaterializeResult(data_version=dg.DataVersion(self.content.get((name, part), "1")), tags=tags)

        same, every = dg.IdentityPartitionMapping(), dg.AllPartitionMapping()

        @dg.asset(partitions_def=PARTS)
        def corpus_jsonl(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
            return result(context, "corpus_jsonl")

        @dg.asset(partitions_def=PARTS, deps=[dg.AssetDep("corpus_jsonl", partition_mapping=same)])
        def features(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
            return result(context, "features")

        deps = [dg.AssetDep("corpus_jsonl", partition_mapping=same), dg.AssetDep("features", partition_mapping=same)]

        @dg.asset(partitions_def=PARTS, deps=deps)
        def labels(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
            return result(context, "labels")

        @dg.asset(deps=[dg.AssetDep("labels", partition_mapping=every)])
        def head(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
            return result(context, "head")

        return [corpus_jsonl, features, labels, head]

    def make(self, name: str, part: str | None = None, content: str | None = None) -> None:
        """Materialize one asset for real."""
        if content is not None:
            self.content[(name, part or "")] = content
        dg.materialize(
            self.assets,
            selection=[name],
            partition_key=part,
            instance=self.instance,
            raise_on_error=False,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )

    def tick(self) -> list[str]:
        """One evaluation; what it requested."""
        found = dg.evaluate_automation_conditions(
            self.assets, self.instance, asset_selection=dg.AssetSelection.all(), cursor=self.cursor
        )
        self.cursor = found.cursor
        requested = []
        for asset in self.assets:
            parts = found.get_requested_partitions(asset.key)
            name = asset.key.to_user_string()
            requested += [f"{name}[{part}]" if part else name for part in sorted(parts, key=str)]
        return requested

    def follow(self) -> list[str]:
        """Ticks, each followed by the runs it requested, until nothing is requested any more; what ran."""
        self.ran = []
        for _ in range(8):
            requested = self.tick()
            if not requested:
                return self.ran
            for one in requested:
                name, _, part = one.rstrip("]").partition("[")
                self.make(name, part or None)
        raise AssertionError(f"it never ends: {self.ran}")


@pytest.fixture
def line() -> Iterator[Line]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Line(instance)


def test_one_corpus_alone_flows_to_the_head_each_stage_once_and_in_order(line: Line) -> None:
    assert line.tick() == []
    line.make("corpus_jsonl", "a")
    assert line.follow() == ["features[a]", "labels[a]", "head"]


def test_content_that_is_made_again_equal_starts_nothing(line: Line) -> None:
    line.make("corpus_jsonl", "a")
    line.follow()
    for _ in range(3):
        line.make("corpus_jsonl", "a")
        assert line.follow() == []


def test_a_change_goes_as_far_as_content_changes(line: Line) -> None:
    for part in "ab":
        line.make("corpus_jsonl", part)
    line.follow()
    line.make("corpus_jsonl", "b", "2")
    assert line.follow() == ["features[b]", "labels[b]"]
    line.content[("labels", "b")] = "2"
    line.make("corpus_jsonl", "b", "3")
    assert line.follow() == ["features[b]", "labels[b]", "head"]


def test_a_change_while_the_head_is_trained_trains_it_once_more(line: Line) -> None:
    for part in "ab":
        line.make("labels", part)
    line.during["head"] = lambda: line.make("labels", "b", "2")
    assert line.follow() == ["head", "labels[b]", "head"]


def test_a_change_while_nobody_looked_is_found_by_the_next_tick(line: Line) -> None:
    line.make("labels", "a")
    line.follow()
    line.make("labels", "a", "2")
    line.make("labels", "b")
    line.cursor = None  # switched off, or the definitions were loaded anew
    assert line.follow() == ["head"]


def test_what_a_person_already_made_from_the_change_is_not_made_again(line: Line) -> None:
    line.make("labels", "a")
    line.follow()
    line.make("labels", "a", "2")
    line.make("head")
    assert line.follow() == []


def test_content_that_went_and_came_back_before_a_tick_starts_nothing(line: Line) -> None:
    line.make("labels", "a")
    line.follow()
    line.make("labels", "a", "2")
    line.make("labels", "a", "1")
    assert line.follow() == []


def test_a_run_that_fails_is_tried_again_only_after_the_next_change(line: Line) -> None:
    line.make("labels", "a")
    line.fails = True
    assert line.follow() == ["head"]
    line.fails = False
    assert line.follow() == []
    line.make("labels", "a", "2")
    assert line.follow() == ["head"]


def test_an_input_that_appears_after_the_head_was_made_without_any_is_a_change(line: Line) -> None:
    line.make("head")
    assert line.follow() == []
    line.make("labels", "c")
    assert line.follow() == ["head"]


@pytest.mark.parametrize("tag", [SYNTHETIC_TAG, EXPERIMENT_TAG])
def test_a_rehearsal_on_synthetic_rows_or_an_experiment_is_no_answer_to_a_change(line: Line, tag: str) -> None:
    line.make("labels", "a")
    line.follow()
    line.make("labels", "a", "2")
    line.rehearsing = tag
    line.make("head")
    line.make("head")
    line.rehearsing = ""
    assert line.follow() == ["head"]
    line.rehearsing = tag
    line.make("head")
    assert line.follow() == []


def test_every_asset_with_inputs_follows_them_but_those_that_are_started_otherwise() -> None:
    for spec in defs.resolve_all_asset_specs():
        follows = bool(list(spec.deps)) and spec.key.to_user_string() not in STARTED_OTHERWISE
        assert (spec.automation_condition is not None) == follows, spec.key


def test_in_the_real_definitions_a_new_corpus_starts_what_is_made_from_it_and_nothing_of_absent_ones(
    root_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VQA_DATA_ROOT", str(root_path))
    # What they read is there: nothing is started that must fail.
    (root_path / "lsvq" / "clips").mkdir(parents=True)
    for name in ("lsvq.jsonl", "clips/a.mp4"):
        (root_path / "lsvq" / name).touch()
    with dg.DagsterInstance.ephemeral() as instance:
        made = dg.AssetMaterialization("corpus_jsonl", partition="lsvq", tags={"dagster/data_version": "1"})
        instance.report_runless_asset_event(made)
        found = dg.evaluate_automation_conditions(defs, instance, asset_selection=dg.AssetSelection.all())
    requested = {
        spec.key.to_user_string(): set(parts)
        for spec in defs.resolve_all_asset_specs()
        if (parts := found.get_requested_partitions(spec.key))
    }
    assert requested == {"unified_corpus": {None}, "clip_features": {"lsvq"}}
