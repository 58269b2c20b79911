"""``vqa-assets run``: all stages, in order, for every corpus of which something is present.

A corpus begins with its annotation file, else with a corpus JSONL, a feature table or a labelled table that is there.

The stages are the assets; each is materialized through Dagster, so that runs, checks and lineage are in the web UI.
"""

import argparse
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from vqa_assets.arguments import CommandParser
from vqa_assets.assets.catalog import Catalog
from vqa_assets.assets.runs import is_too_few, step_failure
from vqa_assets.assets.startable import Startable
from vqa_assets.clips.processes import end_with_parent
from vqa_assets.clips.work import clock
from vqa_assets.corpora import CORPORA, EXTERNAL_SHARDS, Corpus
from vqa_assets.corpora.external import BVI_DVC, NETFLIX
from vqa_assets.definitions import build_defs, declared_corpora
from vqa_assets.encode_grid.grid_files import reports_folder, vmaf_tune_rows
from vqa_assets.errors import VqaError
from vqa_assets.heads.recipe import FR_REGRESSOR_V2, HEAD_RECIPES, HeadRecipe
from vqa_assets.home import instance_of
from vqa_assets.ingest.layout import Present
from vqa_assets.outcomes import note_outcome
from vqa_assets.printing import logger, named_or_counted, plain, show_log, tell, tell_error
from vqa_assets.resources.data_root import DataRootResource
from vqa_assets.sensors.automation import STARTED_OTHERWISE
from vqa_assets.tables.paths import DataRoot
from vqa_assets.tables.publication import settle_root

_log = logger("vqa_assets.workflow")


@dataclass(frozen=True)
class Step:
    """One run: which assets, for which corpus (None: unpartitioned), with which run config."""

    assets: tuple[str, ...]
    corpus: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The step in one line: its assets and its corpus."""
        return " + ".join(self.assets) + (f" [{self.corpus}]" if self.corpus else "")


_OF_GRID = ("libvmaf_reports", "encode_grid_jsonl", "fr_training_corpus", FR_REGRESSOR_V2.name)
OVERVIEW = Step(("overview",))
"""What every pass ends with."""


@dataclass(frozen=True)
class StepResult:
    """What became of a step: its time in seconds, its failures in words, the checks that did not pass.

    ``written`` are the files that stand after it, from the data root.
    ``left_out`` says why it could not run though nothing is wrong with it: what it reads is not there, or its clips are
    too few for a head. ``skipped_after`` is the step before it that failed, for want of whose files it could not run.
    """

    step: Step
    succeeded: bool
    seconds: float
    failures: tuple[str, ...]
    warned: tuple[str, ...]
    left_out: str = ""
    skipped_after: Step | None = None
    written: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether something is wrong with it."""
        return not (self.succeeded or self.left_out)

    @property
    def word(self) -> str:
        """What became of it, in a word or two."""
        if self.left_out:
            return "skipped" if self.skipped_after else "left out"
        return "done" if self.succeeded else "FAILED"

    def in_words(self) -> str:
        """What became of it, how long it took and what it wrote, in a line."""
        files = f": {', '.join(self.written)}" if self.written else ""
        return f"{self.word} in {clock(self.seconds)}{files}"


def plan(root: DataRoot, corpora: Mapping[str, Corpus] = CORPORA, *, training: bool = True) -> list[Step]:
    """The steps for what is present: per corpus ingest, features, labels, head; what is unified, heads, the grid.

    What is there already is where a corpus begins: without an annotation file its JSONL, without clips its features.
    """
    present = {corpus.name: Present.of(corpus, root) for corpus in corpora.values()}
    steps = [Step(("corpus_annotations", "corpus_jsonl"), name) for name, one in present.items() if one.to_ingest]
    if any(one.rows for one in present.values()) or _external_shard_is_there(root):
        steps.append(Step(("unified_corpus",)))
    for name, one in present.items():
        if one.rows and one.measurable:
            steps.append(Step(("clip_features", "mos_features"), name))
        elif one.rows and one.features:
            steps.append(Step(("mos_features",), name))
    trainable = [name for name, one in present.items() if one.trainable]
    # A labelled table of which there is no JSONL is of no clip of the unified corpus.
    unified = [name for name in trainable if present[name].rows]
    if unified:
        steps.append(Step(("unified_features",)))
    if training and trainable:
        steps += [Step(("mos_head",), name) for name in trainable]
        recipes = HEAD_RECIPES.values()
        steps += [Step((r.name,)) for r in recipes if _can_be_trained(r, unified if r.every_corpus else trainable)]
        steps += [Step(("cross_corpus_evaluation",))] if len(unified) > 1 else []
    return steps + _grid_steps(root, training)


def _external_shard_is_there(root: DataRoot) -> bool:
    return any((root.path / shard.jsonl).is_file() for shard in EXTERNAL_SHARDS.values())


def _can_be_trained(recipe: HeadRecipe, present: Sequence[str]) -> bool:
    """Whether a head's corpora are there; of one corpus a head over every corpus would be that corpus's own again."""
    return len(present) > 1 if recipe.every_corpus else bool(set(recipe.corpora) & set(present))


def _grid_steps(root: DataRoot, training: bool) -> list[Step]:
    """The encode grid's stages for the sources whose files are there, and the head that is trained on them."""
    rows = {BVI_DVC.name: any(reports_folder(root).glob("*.json")), NETFLIX.name: vmaf_tune_rows(root).is_file()}
    steps = [Step(("encode_grid_jsonl",), name) for name, there in rows.items() if there]
    if not steps:
        return []
    head = [Step((FR_REGRESSOR_V2.name,))] if training else []
    return [Step(("libvmaf_reports",)), *steps, Step(("fr_training_corpus",)), *head]


def run_steps(
    steps: Sequence[Step],
    defs: dg.Definitions,
    instance: dg.DagsterInstance,
    log: Callable[[str], None],
    root: DataRoot,
) -> list[StepResult]:
    """Run the steps in order, and behind them the overview of the data root.

    A failed step does not stop the others. One whose input is not there does not run; ``summary_lines`` says so, once.
    """
    job = defs.resolve_implicit_global_asset_job_def()
    lacks = Startable(Catalog(declared_corpora(root)), lambda: root).lacks
    results = list[StepResult]()
    for number, step in enumerate(steps, 1):
        if why := _why_left_out(step, lacks):
            failed = next((one.step for one in results if one.failed and _feeds(one.step, step)), None)
            results.append(StepResult(step, False, 0.0, (), (), why, failed))
            continue
        log(f"→ {number}/{len(steps)} {step.title}")
        outcome = run_step(step, job, instance, root)
        results.append(outcome)
        log(f"  {outcome.in_words()}")
        for line in (*([outcome.left_out] if outcome.left_out else outcome.failures), *outcome.warned):
            log(f"  ! {line}")
    # However the steps ended: it is the page that says so.
    of_overview = run_step(OVERVIEW, job, instance, root)
    for line in of_overview.failures:
        log(f"! the overview could not be made: {line}")
    return results


def _why_left_out(step: Step, lacks: Callable[[str, str | None], str]) -> str:
    """Why a step cannot run after those before it; empty where nothing speaks against it."""
    first = step.assets[0]
    if first in STARTED_OTHERWISE:
        return ""
    recipe = HEAD_RECIPES.get(first)
    if recipe is not None and recipe.every_corpus:
        # It was planned for corpora of which some may have come to nothing since.
        return lacks(first, None) or lacks("cross_corpus_evaluation", None)
    return lacks(first, step.corpus)


def _feeds(earlier: Step, later: Step) -> bool:
    """Whether a step reads what an earlier one makes: of its corpus or of all, and of its side of the chain."""
    of_one = earlier.corpus and later.corpus
    return (not of_one or earlier.corpus == later.corpus) and _is_of_grid(earlier) == _is_of_grid(later)


def _is_of_grid(step: Step) -> bool:
    """Whether a step is of encodes, which have no opinions."""
    return step.assets[0] in _OF_GRID


def log_to_stderr() -> None:
    """Show our own lines, and of Dagster only what went wrong."""
    show_log(logging.Formatter("%(asctime)s %(levelname).1s %(message)s", "%H:%M:%S"))


def run_step(step: Step, job: dg.JobDefinition, instance: dg.DagsterInstance, root: DataRoot) -> StepResult:
    """Run one step of the job that holds every asset; what went wrong is in the result, and noted in the data root."""
    begun = time.monotonic()
    # Dagster's console log is silenced, since it says a failure in a hundred lines: its events say it in one.
    result = job.execute_in_process(
        asset_selection=[dg.AssetKey(name) for name in step.assets],
        partition_key=step.corpus,
        run_config={**step.config, "loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        instance=instance,
        raise_on_error=False,
    )
    evaluations = result.get_asset_check_evaluations()
    warned = tuple(f"{e.check_name}: {e.description or 'failed'}" for e in evaluations if not e.passed)
    events = result.filter_events(lambda e: e.is_step_failure)
    by_asset = {_asset_of(e, step): step_failure(e) for e in events}
    too_few = [_asset_of(e, step) for e in events if is_too_few(e)]
    note_outcome(root, step.assets, step.corpus, by_asset, too_few)
    return StepResult(
        step=step,
        succeeded=result.success,
        seconds=time.monotonic() - begun,
        failures=tuple(map(step_failure, events)),
        warned=warned,
        left_out=step_failure(events[0]) if events and len(too_few) == len(events) else "",
        written=tuple(_written(result)),
    )


def _written(result: dg.ExecuteInProcessResult) -> Iterator[str]:
    """The path of each asset that was made; what an asset only read (a score file) is no file of its own."""
    for event in result.filter_events(lambda e: e.is_step_materialization):
        metadata = event.step_materialization_data.materialization.metadata
        if "path" in metadata and "manifest_path" in metadata:
            yield str(metadata["path"].value)


def _asset_of(event: dg.DagsterEvent, step: Step) -> str:
    """The asset that a failure is of; a check's step begins with its asset's name."""
    key = event.step_key or ""
    return next((name for name in sorted(step.assets, key=len, reverse=True) if key.startswith(name)), step.assets[-1])


def left_out_lines(results: Sequence[StepResult]) -> list[str]:
    """The steps that did not run: one line for all that an earlier failure stopped, and one for each of the others."""
    skipped: dict[str, list[str]] = {}
    for one in results:
        if one.skipped_after is not None:
            skipped.setdefault(one.skipped_after.title, []).append(one.step.title)
    lines = [f"  {'skipped':<17}  {', '.join(titles)}: {failed} failed" for failed, titles in skipped.items()]
    others = (one for one in results if one.left_out and one.skipped_after is None)
    return [*lines, *(f"  {one.word:<17}  {one.step.title}: {one.left_out}" for one in others)]


def summary_lines(
    results: Sequence[StepResult], absent: Sequence[str], left_out: Mapping[str, str] | None = None
) -> list[str]:
    """What became of every step, which corpora are not there or came to nothing, and how many steps succeeded."""
    lines = [f"  {r.word:<9}{clock(r.seconds):>8}  {r.step.title}" for r in results if not r.left_out]
    lines += left_out_lines(results)
    lines += [f"  {'left out':<17}  {name}: {why}" for name, why in (left_out or {}).items()]
    lines += [f"  {'absent':<17}  {named_or_counted(absent)} (vqa-assets status --all)"] if absent else []
    return [*lines, f"{sum(r.succeeded for r in results)} of {len(results)} steps succeeded"]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; exit status 0 where all that could run did, what was left out being told; 1 where a step failed."""
    parser = CommandParser(prog="vqa-assets run", description=__doc__)
    parser.add_argument("--root", help="data root (default: $VQA_DATA_ROOT, else data)")
    parser.add_argument("--dry-run", action="store_true", help="stop before training")
    parser.add_argument("corpora", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.corpora:
        parser.error(
            "run takes no name: it is of every corpus that is there; of one: "
            f"vqa-assets materialize ASSETS --partition {options.corpora[0]}"
        )
    end_with_parent()  # where a job of the web UI started it
    log_to_stderr()
    try:
        root = DataRoot.resolve(options.root)
        settle_root(root)
    except VqaError as error:
        tell_error(error)
        return 1
    corpora = declared_corpora(root)
    steps = plan(root, corpora, training=not options.dry_run)
    present = {corpus.name: Present.of(corpus, root) for corpus in corpora.values()}
    left_out = {name: one.left_out for name, one in present.items() if one.left_out}
    if not steps:
        there = "".join(f"; {name} has {why}" for name, why in left_out.items())
        message = f"nothing to do: no annotation file, corpus JSONL or labelled table under {root.path}{there}; "
        message += "expected a corpus's score file in its folder, such as konvid-150k/manifest.csv (vqa-assets status "
        message += "--all says what each corpus needs; vqa-assets new-corpus scores.csv declares your own)"
        tell(message, file=sys.stderr)
        return 1
    defs = build_defs(data_root=DataRootResource(path=str(root.path)))
    try:
        instance = instance_of(root)
    except VqaError as error:
        tell_error(error)
        return 1
    results = run_steps(steps, defs, instance, _log.info, root)
    absent = [name for name, one in present.items() if not (one.rows or one.features or one.labelled)]
    tell("\n".join(map(plain, [*summary_lines(results, absent, left_out), f"under {root.path}"])))
    return 1 if any(one.failed for one in results) else 0


if __name__ == "__main__":
    sys.exit(main())
