"""The commands a person or CI types: exit codes and what is said; a fresh process where that is the point."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from vqa_assets.assets.runs import dagster_failures
from vqa_assets.corpora import CORPORA
from vqa_assets.definitions import build_defs
from vqa_assets.encode_grid.grid_files import reports_folder, vmaf_tune_rows
from vqa_assets.errors import SettingsError
from vqa_assets.ingest.layout import Present, waits_for_ingest
from vqa_assets.overview import overview_of
from vqa_assets.resources.data_root import DataRootResource
from vqa_assets.tables.paths import DataRoot
from vqa_assets.workflow import main, plan, run_steps, summary_lines
from vqa_assets_tests.shared.clips import tiny_clips
from vqa_assets_tests.shared.command_line import materialize_here
from vqa_assets_tests.shared.grids import small_report, tune_row, write_rows
from vqa_assets_tests.shared.hostile_server import HostileServer
from vqa_assets_tests.shared.platform import QUIET

REPOSITORY = Path(__file__).parents[2]
MOST_LINES_OF_A_FAILURE = 20


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    home = folder / "home"
    home.mkdir(exist_ok=True)
    shutil.copy(REPOSITORY / "dagster.yaml", home)
    environment = {**os.environ, "DAGSTER_HOME": str(home), "VQA_DATA_ROOT": str(folder / "data")}
    return subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def corpus(folder: Path, rows: list[str], settings: str = "min_rows = 1\n") -> Path:
    path = folder / "data" / "konvid-150k"
    path.mkdir(parents=True)
    (path / "ingest.toml").write_text(settings)
    (path / "manifest.csv").write_text("video_name,url,mos,sd,n\n" + "".join(f"{row}\n" for row in rows))
    return path


def test_a_warning_leaves_exit_code_0(tmp_path: Path) -> None:
    clips = tiny_clips(tmp_path / "clips", 2)
    with HostileServer() as server:
        path = corpus(
            tmp_path, [f"{n},,3,0.5,5" for n in clips] + [f"gone,http://127.0.0.1:{server.port}/gone,3,0.5,5"]
        )
        shutil.move(tmp_path / "clips", path / "clips")
        done = materialize_here("corpus_jsonl", "konvid-150k", home=tmp_path / "home", data=tmp_path / "data")
    assert done.returncode == 0, done.text
    assert "wrote 2 rows, skipped 1 (download-failed)" in done.text
    assert "33.3 % of the rows were lost to downloads, 10.0 % is ordinary" in done.text


@pytest.mark.parametrize(
    ("rows", "settings", "told"),
    [
        (["a,,3,0.5,5"], "", "1 rows, expected at least 5000; is this the right corpus?"),
        ([], "min_rows = 1\n", "0 rows, expected at least 1"),
        (["a,,n/a,0.5,5"], "min_rows = 1\n", "1 of 1 rows unusable (line 2: no usable MOS: 'n/a')"),
        (["a,,50,0.5,5"] * 3, "min_rows = 1\n", "3 of 3 rows unusable (line 2: MOS outside [1, 5]: 50"),
        (["a,,3,0.5,5"], "min_row = 1\n", "unknown key 'min_row', expected one of corpus_dir"),
        (["a,,3,0.5,5"], 'min_rows = 1\nmanifest_csv = "typo.csv"\n', "typo.csv: found"),
    ],
)
def test_bad_input_gives_exit_code_1_and_its_message(tmp_path: Path, rows: list[str], settings: str, told: str) -> None:
    corpus(tmp_path, rows, settings)
    done = materialize_here("corpus_jsonl", "konvid-150k", home=tmp_path / "home", data=tmp_path / "data")
    assert done.returncode == 1
    lines = done.text.splitlines()
    assert len(lines) <= MOST_LINES_OF_A_FAILURE
    # The command's own warning comes first, and has nothing to do with the failure.
    failure = lines[next(n for n, line in enumerate(lines) if "STEP_FAILURE" in line) :]
    assert [line.startswith("Failure: ") and told in line for line in failure[:3]] == [False, False, True]
    assert any(line.startswith("Failure: ") and told in line for line in failure[-3:]), failure


def test_no_asset_has_so_many_checks_that_its_failure_is_longer() -> None:
    graph = build_defs().resolve_asset_graph()
    checks = [len(graph.get_check_keys_for_assets({key})) for key in graph.materializable_asset_keys]
    # two lines warn of the command, three tell the step's failure, three the run's, one the command's
    assert 2 + 3 + max(checks) + 3 + 1 <= MOST_LINES_OF_A_FAILURE


def test_a_defect_of_ours_keeps_its_stack() -> None:
    error = SettingsError("a setting", found="7", expected="8", next_step="correct it")

    @dg.asset
    def bad_setting() -> None:
        with dagster_failures():
            raise error

    @dg.asset
    def defect() -> None:
        with dagster_failures():
            raise ZeroDivisionError

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([bad_setting, defect], instance=instance, raise_on_error=False, run_config=QUIET)
    failures = {e.step_key: e.step_failure_data for e in result.filter_events(lambda e: e.is_step_failure)}
    told, of_ours = failures["bad_setting"], failures["defect"]
    assert (told.error.message, told.error.stack, told.error.cause) == (f"Failure: {error}", [], None)
    assert {name: value.text for name, value in told.user_failure_data.metadata.items()} == {
        "what": "a setting",
        "found": "7",
        "expected": "8",
        "next": "correct it",
    }
    assert of_ours.error.cause.stack


def test_a_server_that_is_gone_gives_exit_code_1_and_condemns_no_clip(tmp_path: Path) -> None:
    with HostileServer() as server:
        port = server.port
    path = corpus(tmp_path, [f"a,http://127.0.0.1:{port}/a.mp4,3,0.5,5"])
    done = materialize_here("corpus_jsonl", "konvid-150k", home=tmp_path / "home", data=tmp_path / "data")
    assert done.returncode == 1
    assert "konvid-150k: no server answered: 1 of 1 transfers without an answer" in done.text
    assert not (path / "konvid_150k.jsonl").exists()
    assert not (path / ".download-progress.json").exists()


def test_the_workflow_plans_what_is_present_and_stops_before_training_on_a_dry_run(tmp_path: Path) -> None:
    root = DataRoot(tmp_path)
    assert plan(root) == []
    (tmp_path / "konvid-150k").mkdir()
    (tmp_path / "konvid-150k" / "manifest.csv").touch()
    titles = [step.title for step in plan(root, CORPORA)]
    assert titles == [
        "corpus_annotations + corpus_jsonl [konvid-150k]",
        "unified_corpus",
        "clip_features + mos_features [konvid-150k]",
        "unified_features",
        "mos_head [konvid-150k]",
        "konvid_mos_head_v1",
    ]
    assert [step.title for step in plan(root, CORPORA, training=False)] == titles[:4]


INGESTS = "corpus_annotations + corpus_jsonl [lsvq]"
MEASURES, LABELS = "clip_features + mos_features [lsvq]", "mos_features [lsvq]"


@pytest.mark.parametrize(
    ("files", "planned"),
    [
        (["lsvq.jsonl"], ["unified_corpus"]),
        (["lsvq.jsonl", "clips/a.mp4"], ["unified_corpus", MEASURES, "unified_features", "mos_head [lsvq]"]),
        (["lsvq.jsonl", "features.parquet"], ["unified_corpus", LABELS, "unified_features", "mos_head [lsvq]"]),
        (["rows.jsonl", "clips/a.mp4"], []),
        (["features.parquet"], []),
        (["features_with_mos.parquet"], ["mos_head [lsvq]"]),
        (["../chug/chug.jsonl", "features_with_mos.parquet"], ["unified_corpus", "mos_head [lsvq]"]),
        (
            ["features_with_mos.parquet", "../chug/features_with_mos.parquet"],
            ["mos_head [lsvq]", "mos_head [chug]", "chug_hdr_mos_head_v1"],
        ),
        (["lsvq.jsonl", "features_with_mos.parquet"], ["unified_corpus", "unified_features", "mos_head [lsvq]"]),
        (["../netflix/netflix_public.jsonl"], ["unified_corpus"]),
        (
            ["manifest.csv", "lsvq.jsonl"],
            [INGESTS, "unified_corpus", MEASURES, "unified_features", "mos_head [lsvq]"],
        ),
    ],
)
def test_the_workflow_starts_from_what_is_there(tmp_path: Path, files: list[str], planned: list[str]) -> None:
    for name in files:
        path = tmp_path / "lsvq" / name
        path.parent.resolve().mkdir(parents=True, exist_ok=True)
        path.resolve().touch()
    assert [step.title for step in plan(DataRoot(tmp_path))] == planned


@pytest.mark.parametrize(
    ("settings", "files", "ingests"),
    [
        ("", [], True),
        ('output = "rows.jsonl"\n', ["rows.jsonl"], False),
        ('manifest_csv = "gone.csv"\n', ["lsvq.jsonl"], True),
        ('corpus_dir = "/not/mounted"\n', ["lsvq.jsonl"], True),
        ("fetch = true\n", ["lsvq.jsonl"], True),
        ("typo = true\n", ["lsvq.jsonl"], True),
        ("workers = 4\n", ["features_with_mos.parquet"], False),
    ],
)
def test_settings_that_somebody_wrote_are_not_passed_over(
    tmp_path: Path, settings: str, files: list[str], ingests: bool
) -> None:
    (tmp_path / "lsvq").mkdir()
    (tmp_path / "lsvq" / "ingest.toml").write_text(settings)
    for name in files:
        (tmp_path / "lsvq" / name).touch()
    assert waits_for_ingest(CORPORA["lsvq"], DataRoot(tmp_path)) is ingests
    assert (INGESTS in [step.title for step in plan(DataRoot(tmp_path))]) is ingests


def test_what_leads_to_nothing_is_told(tmp_path: Path) -> None:
    for name, file in (("lsvq", "lsvq.jsonl"), ("chug", "features.parquet")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).touch()
    told = {name: Present.of(CORPORA[name], DataRoot(tmp_path)).left_out for name in ("lsvq", "chug", "live-vqc")}
    assert told == {
        "lsvq": "scores without clips or a feature table",
        "chug": "a feature table without scores",
        "live-vqc": "",
    }
    assert summary_lines([], ["live-vqc"], {"chug": told["chug"]}) == [
        "  left out           chug: a feature table without scores",
        "  absent             live-vqc (vqa-assets status --all)",
        "0 of 0 steps succeeded",
    ]


def test_the_workflow_trains_a_head_over_every_corpus_where_there_are_two(tmp_path: Path) -> None:
    for name in ("lsvq", "chug"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.csv").touch()
    titles = [step.title for step in plan(DataRoot(tmp_path), CORPORA)]
    assert titles[-5:-2] == ["mos_head [lsvq]", "mos_head [chug]", "chug_hdr_mos_head_v1"]
    assert titles[-2:] == ["unified_mos_head_v1", "cross_corpus_evaluation"]


def test_the_workflow_plans_the_encode_grid_for_the_sources_that_are_there(tmp_path: Path) -> None:
    root = DataRoot(tmp_path)
    write_rows(vmaf_tune_rows(root), tune_row())
    titles = [step.title for step in plan(root)]
    assert titles == ["libvmaf_reports", "encode_grid_jsonl [netflix]", "fr_training_corpus", "fr_regressor_v2"]
    (reports_folder(root)).mkdir()
    (reports_folder(root) / "a_64x48_25fps.json").write_text(small_report())
    titles = [step.title for step in plan(root, training=False)]
    assert titles[1:3] == ["encode_grid_jsonl [bvi-dvc]", "encode_grid_jsonl [netflix]"]
    assert titles[-1] == "fr_training_corpus"


def test_the_workflow_says_what_is_missing(tmp_path: Path) -> None:
    done = run(tmp_path, "-m", "vqa_assets.workflow", "--root", str(tmp_path / "nowhere"))
    assert done.returncode == 1
    assert "nowhere: found nothing there, expected an existing folder" in done.stderr
    (tmp_path / "data").mkdir()
    done = run(tmp_path, "-m", "vqa_assets.workflow")
    assert done.returncode == 1
    assert "nothing to do: no annotation file, corpus JSONL or labelled table under" in done.stderr
    assert "konvid-150k/manifest.csv" in done.stderr
    assert len(done.stderr) < 450


def test_a_dry_run_goes_from_clips_to_a_labelled_table_and_from_the_rows_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = corpus(tmp_path, [f"{i:04d}.mp4,,{2 + i / 4},0.5,5" for i in range(6)])
    tiny_clips(path / "clips", 6)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.setattr("vqa_assets.workflow.end_with_parent", lambda: None)
    assert main(["--root", str(tmp_path / "data"), "--dry-run"]) == 0
    assert "4 of 4 steps succeeded" in capsys.readouterr().out
    assert (path / "features_with_mos.parquet").is_file()
    assert (path.parent / "aggregated" / "unified_features.parquet").is_file()
    assert not (tmp_path / "data" / "models").exists()
    # what another machine may be given: the rows and the features, neither scores nor clips nor settings
    (path / "manifest.csv").unlink()
    (path / "ingest.toml").unlink()
    shutil.rmtree(path / "clips")
    (path / "features_with_mos.parquet").unlink()
    root = DataRoot(tmp_path / "data")
    with dg.DagsterInstance.ephemeral() as instance:
        defs = build_defs(data_root=DataRootResource(path=str(root.path)))
        again = run_steps(plan(root, training=False), defs, instance, lambda _: None, root)
    assert [step.failures for step in again] == [()] * 3
    overview = overview_of(root)
    assert [(one.asset, one.rows, one.behind) for one in overview.shared] == [
        ("unified_corpus", 6, ()),
        ("unified_features", 6, ()),
    ]
    assert overview.failed == ()
    assert all(step.succeeded for step in again)
    assert (path / "features_with_mos.parquet").is_file()
