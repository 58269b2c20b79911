"""``vqa-assets``: what it says of what was typed wrongly, in how many lines, and what its own subcommands do."""

import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from vqa_assets import materialize
from vqa_assets.command import NAME, main
from vqa_assets.home import home_of
from vqa_assets.outcomes import failed_steps, note_outcome
from vqa_assets.printing import cell
from vqa_assets.tables.paths import DataRoot
from vqa_assets.workflow import StepResult
from vqa_assets_tests.corpora.test_declarations import MINE
from vqa_assets_tests.shared.clips import tiny_clips

REPOSITORY = Path(__file__).parents[2]
MOST_LINES = 3
MISTAKES = (
    "statsu",
    "status --jsn",
    "ingest konvid150k",
    "rehearse konvid150k",
    "ingest",
    "ingest konvid-150k --max-row 5",
    "ingest konvid-150k --max-rows many",
    "ingest konvid-150k --set max_row=5",
    "ingest konvid-150k --set max_rows=0",
    "ingest konvid-150k --set max_rows",
    "ingest konvid-150k",
    "materialize mos_haed --partition konvid-150k",
    "materialize mos_head",
    "materialize mos_head --partition konvid-150",
    "materialize unified_corpus --partition konvid-150k",
    "materialize mos_head --partition konvid-150k --set epoch=5",
    "status --root nowhere",
    "run",
    "run konvid-150k",
    "mirror bucket",
    "ui --port 70000",
    "publish konvid150k --to shared",
    "publish konvid-150k --to shared",
    "export --for dovr --to lists",
)
"""What people type first, on a data root with a folder for a corpus and nothing in it."""


@pytest.fixture
def empty_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A data root with a folder for a corpus; what commands change in their process is put back."""
    handler = signal.getsignal(signal.SIGTERM)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.setenv("VQA_DATA_ROOT", str(tmp_path / "data"))
    # What is said counts, without the lines of the log beside it.
    monkeypatch.setattr("vqa_assets.workflow.log_to_stderr", lambda: None)
    monkeypatch.setattr("vqa_assets.workflow.end_with_parent", lambda: None)
    (tmp_path / "data" / "konvid-150k").mkdir(parents=True)
    yield tmp_path / "data"
    signal.signal(signal.SIGTERM, handler)


def said(capsys: pytest.CaptureFixture[str], typed: str) -> tuple[int, list[str]]:
    """The exit status, and every line that is printed."""
    try:
        status = main(typed.split())
    except SystemExit as ended:  # argparse's way to end
        status = int(ended.code or 0)
    told = capsys.readouterr()
    return status, (told.out + told.err).splitlines()


def test_the_likeliest_mistakes_take_three_lines_at_most_and_stand_in_the_docs(
    empty_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ["| typed | exit status | lines | said |", "|---|---|---|---|"]
    for typed in MISTAKES:
        status, lines = said(capsys, typed)
        assert 1 <= len(lines) <= MOST_LINES, (typed, lines)
        assert lines[0].startswith(("error: ", "nothing to do: ")), (typed, lines)
        message = " ".join(lines).replace(str(empty_root.parent), "…").removeprefix("error: ")
        shown = message if len(message) <= 120 else f"{message[:117]}…"
        rows.append(f"| `vqa-assets {typed}` | {status} | {len(lines)} | {cell(shown)} |")
    page = (REPOSITORY / "docs" / "commands.md").read_text(encoding="utf-8")
    table = page.split("<!-- mistakes: made by vqa_assets_tests.commands.test_command -->\n")[1]
    assert table.split("\n<!-- /mistakes -->")[0].splitlines() == rows, "\n".join(rows)
    assert {row.split(" | ")[1] for row in rows[2:]} == {"1", "2"}


def test_a_wrong_word_ends_with_2_before_anything_is_made(empty_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = [typed for typed in MISTAKES if typed.startswith("materialize")]
    assert [said(capsys, typed)[0] for typed in wrong] == [2] * len(wrong)
    assert not home_of(DataRoot(empty_root)).exists()


def test_help_fits_a_screen(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 30
    assert max(map(len, lines)) <= 80
    assert main([]) == 0
    assert capsys.readouterr().out.splitlines() == lines


def test_it_is_installed_as_a_program_of_its_name() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {NAME: f"{main.__module__}:{main.__name__}"}


PASSED_ON = ("run", "rehearse", "status", "describe", "verify", "judge", "predict", "backbones", "ui", "demo")


@pytest.mark.parametrize("name", PASSED_ON)
def test_every_subcommand_says_what_it_takes_under_its_own_name(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: vqa-assets {name} ")


def completed(typed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What bash would be offered, as its completion asks for it."""
    words = ["vqa-assets", *typed.split(" ")]
    for name, value in {"COMP_WORDS": " ".join(words), "COMP_CWORD": f"{len(words) - 1}"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("_VQA_ASSETS_COMPLETE", "complete_bash")
    with pytest.raises(SystemExit):
        main(typed.split(" "))
    monkeypatch.delenv("_VQA_ASSETS_COMPLETE")
    return capsys.readouterr().out.split()


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("stat", ["status"]),
        ("status --j", ["--json"]),
        ("status --root ", []),
        ("rehearse konvid-1", ["konvid-1k", "konvid-150k"]),
        ("ingest my-", ["my-clips"]),
        ("rehearse my-", ["my-clips"]),
        ("run --d", ["--dry-run"]),
        ("backbones ", ["add", "list"]),
        ("backbones list --r", ["--root"]),
        ("verify --r", ["--root"]),
        ("judge --g", ["--gate"]),
        ("predict --ev", ["--every"]),
        ("describe --js", ["--json"]),
        ("ui --no", ["--no-daemon"]),
        ("demo --cl", ["--clips"]),
        ("publish unified_f", ["unified_features"]),
        ("publish my-", ["my-clips"]),
        ("export --for q", ["q-align"]),
        ("export my-", ["my-clips"]),
    ],
)
def test_a_shell_is_offered_what_the_subcommand_takes(
    empty_root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    typed: str,
    offered: list[str],
) -> None:
    (empty_root / "corpora").mkdir()
    (empty_root / "corpora" / "my-clips.toml").write_text(MINE)
    assert completed(typed, monkeypatch, capsys) == offered


def test_init_makes_a_root_with_the_home_of_its_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "deep" / "data"
    assert main(["init", str(folder)]) == 0
    home = folder / ".dagster"
    told = capsys.readouterr().out
    assert f"{home}: dagster.yaml written, storage up to date" in told
    assert f"export VQA_DATA_ROOT={folder}" in told
    assert (home / "dagster.yaml").is_file()
    assert main(["init", str(home / "dagster.yaml")]) == 2
    assert "dagster.yaml: a file, expected a folder" in capsys.readouterr().err


def test_an_unchanged_ingest_ends_before_dagster_is_imported_and_records_nothing(
    empty_root: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    folder = empty_root / "konvid-150k"
    names = tiny_clips(folder / "clips", 2)
    (folder / "ingest.toml").write_text("min_rows = 1\n")
    (folder / "manifest.csv").write_text("video_name,mos,sd,n\n" + "".join(f"{name},3,0.5,9\n" for name in names))
    with caplog.at_level("INFO", logger="vqa_assets"):
        assert main(["ingest", "konvid-150k", "--max-rows", "2"]) == 0
    assert re.fullmatch(r"  done in \d+ s: konvid-150k/konvid_150k.jsonl", caplog.messages[-1])
    # What failed in between, and is mended by putting the score file back: status names this command.
    note_outcome(DataRoot(empty_root), ["corpus_jsonl"], "konvid-150k", {"corpus_jsonl": "the score file is empty"})
    command = "import sys; from vqa_assets.command import main; code = main(sys.argv[1:]); "
    command += "print('dagster' in sys.modules, code)"
    again = subprocess.run(
        [sys.executable, "-c", command, "ingest", "konvid-150k", "--max-rows", "2"],
        capture_output=True,
        text=True,
        check=True,
        env={"VQA_DATA_ROOT": str(empty_root), "PYTHONPATH": str(REPOSITORY), "PATH": ""},
    )
    line, loaded = again.stdout.splitlines()
    assert re.fullmatch(
        r"konvid-150k: nothing changed since the ingest of \S+: 2 rows in konvid-150k/konvid_150k.jsonl; "
        "no run is recorded",
        line,
    )
    assert loaded == "False 0"
    assert failed_steps(DataRoot(empty_root)) == []
    # The first one is a run of Dagster, in the home of this data root.
    with dg.DagsterInstance.from_config(str(empty_root / ".dagster")) as instance:
        (run,) = instance.get_runs()
    assert (run.status, run.tags["dagster/partition"]) == (dg.DagsterRunStatus.SUCCESS, "konvid-150k")
    capsys.readouterr()


def test_several_partitions_are_run_in_turn_and_a_failed_run_is_its_message(
    empty_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = "materialize corpus_annotations --partition konvid-150k --partition lsvq --partition lsvq"
    status, lines = said(capsys, typed)
    assert status == 1
    assert [line.split(": ")[1] for line in lines] == ["konvid-150k", "lsvq"]
    assert all("no annotation file" in line or "manifest.csv" in line for line in lines)


def test_a_setting_may_be_of_one_asset(empty_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    typed = "materialize corpus_annotations,corpus_jsonl --partition lsvq --set corpus_jsnl.max_rows=5"
    assert said(capsys, typed) == (
        2,
        ["error: asset with settings 'corpus_jsnl': no asset with settings of that name; did you mean corpus_jsonl?"],
    )


def test_what_is_measured_is_a_setting_of_the_runs_that_measure(
    empty_root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    configs: list[Any] = []
    monkeypatch.setattr(
        materialize, "run_step", lambda step, *_: configs.append(step.config) or StepResult(step, True, 0.0, (), ())
    )
    typed = 'materialize clip_features --partition lsvq --set feature_sets=["nr-v1","backbone:tiny"] --set workers=1'
    assert said(capsys, f"{typed} --set backbone_device=cpu")[0] == 0
    chosen = {"feature_sets": ["nr-v1", "backbone:tiny"], "backbone_device": "cpu"}
    assert configs == [
        {"ops": {"clip_features": {"config": {"workers": 1}}}, "resources": {"extractor": {"config": chosen}}}
    ]
    (line,) = said(capsys, "materialize clip_features --partition lsvq --set feature_set=x")[1]
    assert "'feature_set' of clip_features and extractor: no setting of that name; did you mean feature_sets?" in line
    (line,) = said(capsys, "materialize clip_features --partition lsvq --set backbone_batch=-1")[1]
    assert "backbone_batch: -1, expected a whole number of at least 0" in line


@pytest.mark.parametrize("name", ["", "elsewhere"])
def test_the_home_is_the_data_roots_unless_the_environment_names_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / name) if name else "")
    expected = tmp_path / name if name else tmp_path / "data" / ".dagster"
    assert home_of(DataRoot(tmp_path / "data")) == expected


@pytest.mark.parametrize("words", [["status"], ["publish", "lsvq", "--to", "shared"]], ids=["passed on", "its own"])
def test_ctrl_c_is_a_line_and_the_exit_status_of_shells(
    empty_root: Path, words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("vqa_assets.status.main", interrupted)
    monkeypatch.setattr("vqa_assets.sharing.hub.publish", interrupted)
    monkeypatch.setattr("vqa_assets.sharing.hub.shareable", interrupted)
    assert main(words) == 130
    assert capsys.readouterr().err == "stopped; the same command goes on from here\n"
