"""The job that starts the workflow command from the web UI: one instance, its words in the log, its end on demand."""

import os
import sys
from pathlib import Path

import dagster as dg
import pytest

from vqa_assets.corpora import CORPORA
from vqa_assets.definitions import build_defs, defs
from vqa_assets.resources.data_root import DataRootResource
from vqa_assets.sensors.whole_workflow import run_streamed
from vqa_assets.tables.paths import DataRoot
from vqa_assets.workflow import OVERVIEW, Step, StepResult, plan, summary_lines
from vqa_assets_tests.shared.platform import failure
from vqa_assets_tests.shared.web_ui import Place


def execute(place: Place) -> tuple[dg.ExecuteInProcessResult, list[dg.DagsterRun]]:
    """The job, dry, in an instance that lasts; all runs that the instance knows then."""
    with dg.DagsterInstance.from_config(str(place.folder / "home")) as instance:
        job = build_defs(data_root=DataRootResource(path=str(place.data))).resolve_job_def("whole_workflow")
        result = job.execute_in_process(
            instance=instance,
            raise_on_error=False,
            run_config={
                "ops": {"run_workflow": {"config": {"dry_run": True}}},
                "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
            },
        )
        return result, list(instance.get_runs())


def test_the_stages_run_in_the_same_instance_and_their_lines_are_the_jobs_log(tmp_path: Path) -> None:
    place = Place.made(tmp_path)
    place.corpus("konvid-150k", 3)
    result, runs = execute(place)
    assert result.success
    made = {key.to_user_string() for run in runs for key in run.asset_selection or ()}
    assert {"corpus_jsonl", "unified_corpus", "mos_features"} <= made
    assert (place.data / "konvid-150k" / "features_with_mos.parquet").is_file()


def test_a_workflow_that_has_nothing_to_do_fails_the_job_in_its_own_words(tmp_path: Path) -> None:
    result, _ = execute(Place.made(tmp_path))
    assert not result.success
    assert "exit code 1: nothing to do: no annotation file, corpus JSONL or labelled table under" in failure(result)


def test_every_line_is_said_as_it_comes_and_the_last_ones_are_kept() -> None:
    said: list[str] = []
    program = "import sys; [print(i) for i in range(30)]; print('the end', file=sys.stderr); sys.exit(3)"
    code, last = run_streamed([sys.executable, "-c", program], {"PYTHONUNBUFFERED": "1"}, said.append)
    assert (code, last[-1], len(last), len(said)) == (3, "the end", 20, 31)


def test_a_child_ends_with_a_run_that_is_interrupted() -> None:
    pid: list[int] = []

    def interrupted(line: str) -> None:
        pid.append(int(line))
        raise KeyboardInterrupt

    program = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    with pytest.raises(KeyboardInterrupt):
        run_streamed([sys.executable, "-c", program], {}, interrupted)
    with pytest.raises(ProcessLookupError):
        os.kill(pid[0], 0)


def test_with_everything_there_the_workflow_makes_every_asset_but_the_batch_that_needs_a_manifest(
    root_path: Path,
) -> None:
    for corpus in CORPORA.values():
        (root_path / corpus.name).mkdir()
        (root_path / corpus.name / "ingest.toml").touch()
    (root_path / "encode-grid").mkdir()
    (root_path / "encode-grid" / "netflix_vmaf_tune.jsonl").touch()
    planned = {name for step in plan(DataRoot(root_path)) for name in step.assets}
    every = {key.to_user_string() for key in defs.resolve_asset_graph().get_all_asset_keys()}
    assert every - planned == {"mos_label_batch", *OVERVIEW.assets}
    dry = {name for step in plan(DataRoot(root_path), training=False) for name in step.assets}
    assert planned - dry == {
        spec.key.to_user_string() for spec in defs.resolve_all_asset_specs() if "pytorch" in spec.kinds
    }


def test_the_summary_tells_every_step_and_every_corpus_that_is_not_there() -> None:
    good = StepResult(Step(("corpus_jsonl",), "lsvq"), True, 75.0, (), ())
    bad = StepResult(Step(("unified_corpus",)), False, 2.0, ("a reason",), ())
    none = StepResult(Step(("mos_head",), "lsvq"), False, 0.0, (), (), "no labelled table is there")
    assert summary_lines([good, bad, none], ["chug"]) == [
        "  done     1 m 15 s  corpus_jsonl [lsvq]",
        "  FAILED        2 s  unified_corpus",
        "  left out           mos_head [lsvq]: no labelled table is there",
        "  absent             chug (vqa-assets status --all)",
        "1 of 3 steps succeeded",
    ]
