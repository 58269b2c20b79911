"""The overview and ``vqa-assets status``: what is made of what, what failed and what mends it, and the next step.

One pass over a corpus that cannot be ingested and one with too few contents for a head is shared by several sentences.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from vqa_assets.command import main
from vqa_assets.corpora import CORPORA, ENCODE_GRID_SOURCES
from vqa_assets.encode_grid.grid_files import grid_jsonl, training_corpus
from vqa_assets.outcomes import FailedStep, failed_steps, note_outcome
from vqa_assets.overview import NONE, overview_of
from vqa_assets.status import main as status
from vqa_assets.tables.paths import DataRoot, manifest_path
from vqa_assets_tests.shared.fakes import KONVID, SmallCorpus
from vqa_assets_tests.shared.head_tables import labelled
from vqa_assets_tests.shared.platform import shown_rows

FIRST = "corpus_annotations [lsvq] failed: mend what it says, then vqa-assets ingest lsvq"


@dataclass(frozen=True)
class Pass:
    """A data root after ``vqa-assets run``: its exit status, what it printed and logged, the overview's metadata."""

    root: DataRoot
    code: int
    printed: list[str]
    logged: list[str]
    page: dict[str, Any]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Pass:
    """konvid-150k is a table of two contents, lsvq a score file of another kind; a folder is spelled wrongly."""
    root = DataRoot(tmp_path_factory.mktemp("overview"))
    for name in ("konvid-150k", "lsvq", "live_vqc"):
        (root.path / name).mkdir()
    labelled(4).write_parquet(root.labelled(KONVID))
    (root.path / "lsvq" / "manifest.csv").write_text("what,ever\na.mp4,3\n")
    (root.path / "lsvq" / "ingest.toml").write_text("min_rows = 1\n")
    said: list[str] = []
    logged: list[str] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("DAGSTER_HOME", str(root.path / ".dagster"))
        patched.setattr("vqa_assets.workflow.end_with_parent", lambda: None)
        patched.setattr("vqa_assets.workflow._log.info", logged.append)
        patched.setattr("vqa_assets.workflow.tell", lambda text, **_: said.extend(text.splitlines()))
        code = main(["run", "--root", str(root.path)])
        with dg.DagsterInstance.from_config(str(root.path / ".dagster")) as instance:
            event = instance.get_latest_materialization_event(dg.AssetKey("overview"))
    assert event is not None
    assert event.asset_materialization is not None
    page = {name: value.value for name, value in event.asset_materialization.metadata.items()}
    return Pass(root, code, said, logged, page)


def test_a_failed_step_makes_the_exit_status_1_and_what_cannot_run_after_it_is_told_once_as_skipped(ran: Pass) -> None:
    assert ran.code == 1
    assert [line.split()[-1] for line in ran.printed if line.startswith("  FAILED")] == ["[lsvq]"]
    (skipped,) = (line.split(maxsplit=1)[1] for line in ran.printed if line.startswith("  skipped"))
    assert skipped == (
        "unified_corpus, clip_features + mos_features [lsvq], unified_features, mos_head [lsvq]: "
        "corpus_annotations + corpus_jsonl [lsvq] failed"
    )
    assert not [line for line in ran.logged if "clip_features" in line or "mos_head [lsvq]" in line]
    assert [line for line in ran.printed if line.startswith("  absent")] == [
        f"  absent             {len(CORPORA) - 2} corpora (vqa-assets status --all)"
    ]
    left_out = [line.split(maxsplit=2)[2] for line in ran.printed if line.startswith("  left out")]
    few = "too few contents to train on and to judge by: 4 rows of 2 contents: content-0-0, content-0-1, expected at "
    assert [line.replace(few, "too few, ") for line in left_out] == [
        *(
            f"{head}: too few, least 4: two folds of two contents each; label clips of more contents; content_id says "
            "which clips show the same"
            for head in ("mos_head [konvid-150k]",)
        ),
        *(
            f"{head}: too few, least 4: two folds of two contents each; label clips of more contents; content_id says "
            "which clips show the same"
            for head in ("konvid_mos_head_v1",)
        ),
    ]


def test_what_failed_is_kept_with_its_words_and_the_command_that_mends_it(ran: Pass) -> None:
    ingest, *heads = failed_steps(ran.root)
    assert (ingest.title, ingest.command) == ("corpus_annotations [lsvq]", "vqa-assets ingest lsvq")
    assert "expected a clip column named one of" in ingest.message
    assert [(head.title, head.too_few) for head in heads] == [
        ("mos_head [konvid-150k]", True),
        ("konvid_mos_head_v1", True),
    ]


def test_the_page_of_a_failed_pass_says_when_it_was_made_what_failed_and_the_next_step(ran: Pass) -> None:
    first, *_ = ran.page["page"].splitlines()
    day, of_day, _ = ran.page["made_at"].split()
    assert first == f"Made at {day}T{of_day}+00:00; `vqa-assets status` reads afresh."
    assert ran.page["next"] == FIRST
    failed = shown_rows(ran.page["failed"])[0]["failed"]
    assert failed.startswith("corpus_annotations [lsvq]: lsvq: ")
    assert failed.endswith("; once mended: vqa-assets ingest lsvq")
    corpora = shown_rows(ran.page["corpora"])
    assert corpora[0] == {"corpora": "konvid-150k: rows –; lost –; features –; labels there; head –"}
    assert "| konvid-150k | – | – | – | there | – |" in ran.page["page"].splitlines()
    assert "Folders that are no corpus: live_vqc (live-vqc?)." in ran.page["page"]
    assert "heads" not in ran.page  # of which there is none


def test_status_reads_the_same_afresh(ran: Pass, capsys: pytest.CaptureFixture[str]) -> None:
    assert status(["--root", str(ran.root.path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"next: {FIRST}"
    assert "  made:            mos_features" in lines
    assert any(line.startswith("failed: corpus_annotations [lsvq]: lsvq: ") for line in lines)
    assert any(line.endswith("once that is mended: vqa-assets ingest lsvq") for line in lines)
    then = "mend what it says, then vqa-assets ingest lsvq"
    assert f"  next:            corpus_annotations failed (below): {then}" in lines
    assert status(["--root", str(ran.root.path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["next_steps"][0] == FIRST
    assert (told["failed"][0]["title"], told["failed"][0]["command"]) == (
        "corpus_annotations [lsvq]",
        "vqa-assets ingest lsvq",
    )
    assert [one["name"] for one in told["corpora"]] == ["konvid-150k", "lsvq"]
    page = (Path(__file__).parents[2] / "docs" / "commands.md").read_text(encoding="utf-8")
    assert [name for name in (*told, *told["failed"][0]) if f"`{name}`" not in page] == []
    assert (told["shared"], told["heads"], told["no_corpus"]) == ([], [], {"live_vqc": "live-vqc"})
    assert "no corpus: live_vqc (live-vqc?)" in lines


def test_a_step_that_succeeds_is_forgotten_and_so_is_one_that_another_run_made(root_path: Path) -> None:
    root = DataRoot(root_path)
    note_outcome(root, ["clip_features", "mos_features"], "lsvq", {"clip_features": "why", "mos_features": "why"})
    note_outcome(root, ["unified_corpus"], None, {"unified_corpus": "why"})
    assert [one.title for one in failed_steps(root)] == [
        "clip_features [lsvq]",
        "mos_features [lsvq]",
        "unified_corpus",
    ]
    note_outcome(root, ["clip_features"], "lsvq", {})
    assert [one.title for one in overview_of(root).failed] == ["mos_features [lsvq]", "unified_corpus"]
    assert failed_steps(root)[0].command == "vqa-assets materialize mos_features --partition lsvq"
    unified = root.unified_corpus()
    unified.parent.mkdir()
    unified.touch()
    run = {"inputs": {}, "outputs": {}, "started_at_utc": "2999-01-01T00:00:00+00:00"}
    manifest_path(unified).write_text(json.dumps({"counters": {"rows_out": 1}, "run_provenance": run}))
    assert [one.title for one in overview_of(root).failed] == ["mos_features [lsvq]"]


def test_an_ingest_that_fails_right_after_one_that_did_not_is_told(corpus: SmallCorpus) -> None:
    corpus.annotate([("0.mp4", "", 3, 0.5, 5)])
    corpus.stage("0.mp4", b"0")
    corpus.ingest()
    note_outcome(corpus.root, ["corpus_jsonl"], "konvid-150k", {"corpus_jsonl": "the score file is empty"})
    assert [one.title for one in overview_of(corpus.root).failed] == ["corpus_jsonl [konvid-150k]"]
    # Later another run, which leaves no note, ingests it.
    replay = corpus.folder / "konvid_150k.manifest.json"
    document = json.loads(replay.read_text())
    document["run_provenance"]["started_at_utc"] = "2999-01-01T00:00:00+00:00"
    replay.write_text(json.dumps(document))
    assert overview_of(corpus.root).failed == ()


@pytest.mark.parametrize("content", ["", "[]", '{"steps": 3}', '{"steps": [{"asset": "x"}]}', "[" * 100_000])
def test_a_record_of_failures_that_nobody_can_read_is_none(root_path: Path, content: str) -> None:
    root = DataRoot(root_path)
    (root_path / ".failed-steps.json").write_text(content)
    assert failed_steps(root) == []
    note_outcome(root, ["mos_head"], "lsvq", {"mos_head": "why"}, too_few=["mos_head"])
    assert failed_steps(root) == [FailedStep("mos_head", "lsvq", failed_steps(root)[0].at_utc, "why", too_few=True)]


def test_a_root_that_takes_no_note_costs_no_step(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    note_outcome(DataRoot(tmp_path / "file"), ["mos_head"], None, {"mos_head": "why"})
    assert failed_steps(DataRoot(tmp_path / "file")) == []


def test_what_is_made_of_earlier_rows_is_told_and_what_makes_it_again(corpus: SmallCorpus) -> None:
    corpus.annotate([("0.mp4", "", 3, 0.5, 5), ("1.mp4", "", 4, 0.5, 5)])
    corpus.stage("0.mp4", b"0")
    corpus.stage("1.mp4", b"1")
    corpus.ingest()
    root = corpus.root
    assert overview_of(root).next_steps[0] == (
        "konvid-150k: clip_features is not made: vqa-assets materialize clip_features mos_features --partition "
        "konvid-150k, or vqa-assets run"
    )
    jsonl = root.corpus_jsonl(KONVID)
    read = json.loads(manifest_path(jsonl).read_text())["run_provenance"]["outputs"]["corpus_jsonl"]
    features = root.features(KONVID)

    def made_of(**changed: str) -> str:
        run = {
            "inputs": {"corpus_jsonl": {**read, **changed}},
            "outputs": {},
            "started_at_utc": "2026-01-01T00:00:00+00:00",
        }
        features.touch()
        manifest_path(features).write_text(json.dumps({"counters": {"rows_in": 2}, "run_provenance": run}))
        return overview_of(root).next_steps[0]

    assert "mos_features is not made: vqa-assets materialize mos_features --partition konvid-150k" in made_of()
    assert "clip_features is of an earlier konvid-150k/konvid_150k.jsonl: vqa-assets" in made_of(sha256="0" * 64)


def test_stages_of_encodes_are_told_too_and_what_they_were_made_of(root_path: Path) -> None:
    root = DataRoot(root_path)
    grid, training = grid_jsonl(root, ENCODE_GRID_SOURCES["bvi-dvc"]), training_corpus(root)
    note_outcome(root, ["encode_grid_jsonl"], "bvi-dvc", {"encode_grid_jsonl": "why"})
    grid.parent.mkdir()

    def made(path: Path, rows: int, inputs: dict[str, Any], sha256: str) -> None:
        path.touch()
        record = {"path": root.shown(path), "kind": "file", "sha256": sha256}
        run = {"inputs": inputs, "outputs": {"jsonl": record}, "started_at_utc": "2999-01-01T00:00:00+00:00"}
        manifest_path(path).write_text(json.dumps({"counters": {"rows_out": rows}, "run_provenance": run}))

    made(grid, 3, {}, "b")
    made(training, 2, {"grid": {"path": root.shown(grid), "kind": "file", "sha256": "a"}}, "c")
    found = overview_of(root)
    assert [(one.asset, one.rows, one.behind) for one in found.shared] == [
        ("encode_grid_jsonl [bvi-dvc]", 3, ()),
        ("fr_training_corpus", 2, ("encode-grid/bvi_dvc_corpus.jsonl",)),
    ]
    assert found.failed == ()  # made since
    behind = "fr_training_corpus is of an earlier encode-grid/bvi_dvc_corpus.jsonl"
    assert found.next_steps[0] == f"{behind}: vqa-assets materialize fr_training_corpus, or vqa-assets run"


def test_a_labelled_table_of_ones_own_waits_for_its_head_only(root_path: Path) -> None:
    root, corpus = DataRoot(root_path), CORPORA["live-vqc"]
    (root_path / corpus.name).mkdir()
    labelled(40).write_parquet(root.labelled(corpus))
    assert overview_of(root).next_steps[0] == "live-vqc: train a head on the labelled table (vqa-assets run)"
    root.models().mkdir()
    head = {
        "status": "Proposed",
        "gate": {"passed": False, "reasons": ["mean SROCC 0.7100, needs at least 0.82", "another"]},
        "corpora": {"live-vqc": {"rows": 40}},
    }
    (root.models() / "live_vqc_mos_head.json").write_text(json.dumps(head))
    overview = overview_of(root)
    assert overview.head_rows() == [
        {
            "head": "live_vqc_mos_head",
            "verdict": "Proposed",
            "gate": "mean SROCC 0.7100, needs at least 0.82 (and 1 more)",
            "trained on": "40 of live-vqc",
        }
    ]
    (found,) = overview.present
    assert found.next_step == f"{NONE}: every stage is made from its rows"


def test_an_empty_root_says_what_to_begin_with(root_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status(["--root", str(root_path)]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first == (
        "next: drop a corpus's score file into its folder, or declare your own: vqa-assets new-corpus FILE"
    )
