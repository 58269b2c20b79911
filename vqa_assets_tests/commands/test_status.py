"""``python -m vqa_assets.status``: what it says of a corpus that is absent, dropped, ingested, changed, or broken."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from vqa_assets.corpora import CORPORA
from vqa_assets.overview import status_of
from vqa_assets.status import main
from vqa_assets.tables.paths import DataRoot, manifest_path
from vqa_assets_tests.shared.fakes import KONVID, SmallCorpus
from vqa_assets_tests.shared.head_tables import labelled

HEAD = {
    "status": "Proposed",
    "gate": {"passed": False, "reasons": ["mean SROCC 0.7100, needs at least 0.82"]},
    "redistribution": {"consequence": "is for research use only; every corpus must be cited"},
    "corpora": {"live-vqc": {"rows": 40}},
    "absent": ["lsvq"],
    "protocol": {
        "head_minus": {
            "svr": {"srocc": -0.02, "interval": [-0.03, -0.01]},
            "constant": {"srocc": 0.1, "interval": [-0.1, 0.3]},
        }
    },
}


@pytest.fixture
def corpus(root_path: Path) -> SmallCorpus:
    made = SmallCorpus(DataRoot(root_path))
    made.annotate([("0.mp4", "", 3, 0.5, 5), ("1.mp4", "", 4, 0.5, 5), ("gone.mp4", "http://127.0.0.1/g", 2, "", "")])
    made.stage("0.mp4", b"0")
    made.stage("1.mp4", b"1")
    return made


def test_an_absent_corpus_says_what_to_drop(root_path: Path) -> None:
    found = status_of(KONVID, DataRoot(root_path))
    assert not found.present
    assert "drop it as manifest.csv" in found.lines()[0]


def test_a_dropped_corpus_says_how_to_ingest_it(corpus: SmallCorpus) -> None:
    found = status_of(KONVID, corpus.root)
    assert (found.annotation_file, found.clips, found.rows) == ("konvid-150k/manifest.csv", 2, None)
    assert found.next_step.startswith("vqa-assets ingest konvid-150k, or vqa-assets run ")


def test_an_ingested_corpus_says_its_rows_losses_age_and_scale(corpus: SmallCorpus) -> None:
    corpus.ingest(attrition_warn_threshold=0.5)
    (corpus.folder / "ingest.toml").write_text("attrition_warn_threshold = 0.5\n")
    found = status_of(KONVID, corpus.root)
    assert (found.rows, found.lost, found.scale) == (2, {"skipped_download": 1}, "1-5-acr")
    assert found.age_days is not None
    assert 0 <= found.age_days < 0.1
    assert found.next_step.startswith("none")
    assert "  lost:            1 skipped_download" in found.lines()


def test_the_next_step_follows_from_what_was_lost_or_changed(corpus: SmallCorpus) -> None:
    corpus.ingest()
    assert "retry_failed" in status_of(KONVID, corpus.root).next_step
    corpus.annotate([("0.mp4", "", 3, 0.5, 5), ("absent.mp4", "", 3, 0.5, 5)])
    assert "the annotation file changed" in status_of(KONVID, corpus.root).next_step
    corpus.ingest()
    assert "stage the clips that are absent" in status_of(KONVID, corpus.root).next_step


def test_a_corpus_that_cannot_be_read_is_an_error_and_the_others_are_told(
    corpus: SmallCorpus, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus.ingest()
    manifest_path(corpus.root.corpus_jsonl(KONVID)).write_text("{")
    assert main(["--root", str(corpus.root.path)]) == 1
    assert "not JSON" in capsys.readouterr().out
    (corpus.folder / "ingest.toml").write_text("min_row = 1\n")
    assert "unknown key 'min_row'" in status_of(KONVID, corpus.root).error


@pytest.mark.parametrize("content", [b"min_row = 1\n", b"\xff", b"[[[", b"ingest.toml = " + b"[" * 100_000])
def test_a_corpus_with_settings_that_cannot_be_used_is_told_as_without_them(
    corpus: SmallCorpus, content: bytes
) -> None:
    corpus.ingest()
    (corpus.folder / "ingest.toml").write_bytes(content)
    found = status_of(KONVID, corpus.root)
    assert (found.annotation_file, found.clips, found.rows) == ("konvid-150k/manifest.csv", 2, 2)
    assert "ingest.toml" in found.error
    assert found.next_step == "correct what the error names"


def test_what_cannot_be_told_is_unknown_and_not_absent(corpus: SmallCorpus) -> None:
    corpus.ingest()
    (corpus.folder / "ingest.toml").write_text(f'output = "{corpus.folder}/manifest.csv"\n')
    lines = status_of(KONVID, corpus.root).lines()
    assert [line.split()[-1] for line in lines[1:4]] == ["unknown"] * 3
    (corpus.folder / "ingest.toml").unlink()
    manifest_path(corpus.root.corpus_jsonl(KONVID)).write_text("[]")
    assert "  lost:            unknown" in status_of(KONVID, corpus.root).lines()


def test_a_manifest_of_the_future_is_told_as_such(corpus: SmallCorpus) -> None:
    corpus.ingest()
    path = manifest_path(corpus.root.corpus_jsonl(KONVID))
    manifest = json.loads(path.read_text())
    manifest["run_provenance"]["started_at_utc"] = "2999-01-01T00:00:00+00:00"
    path.write_text(json.dumps(manifest))
    assert "days in the future: was a clock wrong?" in "\n".join(status_of(KONVID, corpus.root).lines())


def test_the_command_prints_json_and_loads_no_dagster(corpus: SmallCorpus) -> None:
    corpus.ingest()
    code = (
        "import sys; from vqa_assets.status import main; status = main(sys.argv[1:]); "
        "assert 'dagster' not in sys.modules; sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "--json", "--root", str(corpus.root.path)],
        capture_output=True,
        text=True,
        check=True,
    )
    found = {status["name"]: status for status in json.loads(done.stdout)["corpora"]}
    assert found["konvid-150k"]["rows"] == 2


def test_a_data_root_that_is_not_there_gives_exit_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(tmp_path / "nowhere")]) == 1
    assert "expected an existing folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("manifest", "told"),
    [
        ("{broken", "not JSON"),
        ("[]", "a JSON list"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_a_damaged_manifest_is_told_with_the_rows_and_what_to_do(corpus: SmallCorpus, manifest: str, told: str) -> None:
    corpus.ingest()
    manifest_path(corpus.root.corpus_jsonl(KONVID)).write_text(manifest)
    found = status_of(KONVID, corpus.root)
    assert (found.annotation_file, found.clips, found.rows) == ("konvid-150k/manifest.csv", 2, 2)
    assert told in found.error
    assert found.next_step.startswith("vqa-assets ingest konvid-150k, or vqa-assets run ")


def of_the_scripts(corpus: SmallCorpus, manifest: str | None) -> None:
    """Leave of an ingest what the older scripts left: rows that say no scale, and their manifest or none."""
    corpus.ingest()
    path = corpus.root.corpus_jsonl(KONVID)
    rows = [{name: value for name, value in row.items() if name != "mos_scale"} for row in corpus.rows()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    manifest_path(path).unlink() if manifest is None else manifest_path(path).write_text(manifest)
    for ours in (".ingest-cache.sqlite", "konvid_150k.losses.jsonl"):
        (corpus.folder / ours).unlink()


@pytest.mark.parametrize(
    ("manifest", "told"),
    [
        (None, "is not there: the rows are of the older scripts, or were copied without it"),
        ('{"schema": "old"}', "is of the older scripts: it does not say 'counters'"),
        ('{"counters": {"written": 2}}', "is of the older scripts: it does not say 'dedups'"),
    ],
)
def test_a_drop_of_the_older_scripts_is_no_error_and_what_is_old_about_it_is_told(
    corpus: SmallCorpus, manifest: str | None, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    of_the_scripts(corpus, manifest)
    told = f"konvid-150k/konvid_150k.manifest.json {told}"
    found = status_of(KONVID, corpus.root)
    assert (found.annotation_file, found.clips, found.rows, found.lost) == ("konvid-150k/manifest.csv", 2, 2, None)
    assert found.old == ("2 rows do not say their scale", told)
    assert found.next_step.startswith("vqa-assets ingest konvid-150k")
    assert main(["--root", str(corpus.root.path)]) == 0
    assert f"old:             2 rows do not say their scale; {told}" in capsys.readouterr().out
    corpus.ingest()
    assert status_of(KONVID, corpus.root).old == ()


def test_rows_without_an_annotation_file_lead_on_and_say_how_to_ingest_again(corpus: SmallCorpus) -> None:
    of_the_scripts(corpus, None)
    (corpus.folder / "manifest.csv").unlink()
    step = status_of(KONVID, corpus.root).next_step
    assert step.startswith("vqa-assets run goes on from these rows; to ingest them again: ")
    assert "drop it as manifest.csv" in step


@pytest.mark.parametrize(
    ("damage", "rows", "told"),
    [
        (lambda content: content[:-20], 2, "1 lines are no rows, the first in line 2: not JSON"),
        (lambda content: content[: content.index(b"\n") + 1], 1, "1 rows are gone"),
        (lambda content: b"", 0, "2 rows are gone"),
        (
            lambda content: content.replace(b'"n_ratings":', b'"n_ratings":1'),
            2,
            "not the file that its replay",
        ),
    ],
    ids=["torn", "cut", "empty", "a digit more"],
)
def test_a_damaged_jsonl_is_told_and_what_mends_it(
    corpus: SmallCorpus, damage: Callable[[bytes], bytes], rows: int, told: str
) -> None:
    corpus.ingest()
    path = corpus.root.corpus_jsonl(KONVID)
    path.write_bytes(damage(path.read_bytes()))
    found = status_of(KONVID, corpus.root)
    assert (found.rows, found.clips, found.lost) == (rows, 2, None)
    assert told in found.error
    assert found.next_step.endswith("whole lines stay, the others are made again from cache and clips")
    assert main(["--root", str(corpus.root.path)]) == 1
    corpus.ingest()
    assert status_of(KONVID, corpus.root).error == ""


def test_an_older_name_of_the_jsonl_is_told_and_needs_nothing(root_path: Path) -> None:
    youtube = SmallCorpus(DataRoot(root_path), corpus=CORPORA["youtube-ugc"])
    youtube.drop("manifest.csv", "vid,MOSFull\nA,1.5\n")
    youtube.stage("A.mp4", b"a")
    youtube.drop("youtube-ugc.jsonl", "")
    youtube.ingest()
    found = status_of(CORPORA["youtube-ugc"], youtube.root)
    assert found.old == ("youtube-ugc.jsonl is now called youtube_ugc.jsonl, and used as it is where it stands",)
    assert (found.rows, found.next_step[:4]) == (1, "none")


def test_what_is_absent_is_named_only_unless_all_is_asked_for(
    corpus: SmallCorpus, capsys: pytest.CaptureFixture[str]
) -> None:
    root = str(corpus.root.path)
    assert main(["--root", root]) == 0
    _, *told, last = capsys.readouterr().out.splitlines()
    assert (told[0], "chug" in "".join(told)) == ("konvid-150k", False)
    assert last == f"not there: {len(CORPORA) - 1} corpora (vqa-assets status --all says what each needs)"
    assert main(["--root", root, "--all"]) == 0
    assert "chug: nothing there; " in capsys.readouterr().out
    assert main(["--root", root, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in told["corpora"]] == ["konvid-150k"]
    assert set(told["not_there"]) == set(CORPORA) - {"konvid-150k"}
    assert main(["--root", root, "--json", "--all"]) == 0
    assert {one["name"] for one in json.loads(capsys.readouterr().out)["corpora"]} == set(CORPORA)


def test_a_damaged_manifest_of_all_corpora_hides_nothing_of_one_and_concerns_no_absent_one(
    corpus: SmallCorpus, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus.ingest()
    replay = manifest_path(corpus.root.unified_features())
    replay.parent.mkdir(exist_ok=True)
    for damaged in ("{", '{"rows_per_corpus": []}'):
        replay.write_text(damaged)
        found = status_of(KONVID, corpus.root)
        assert (found.rows, found.scale, found.with_features) == (2, "1-5-acr", None)
        assert found.error
        assert main(["--root", str(corpus.root.path)]) == 1
        assert capsys.readouterr().out.count("error:") == 1


def test_a_table_alone_is_something_that_is_there(root_path: Path) -> None:
    folder = root_path / "konvid-150k"
    folder.mkdir()
    (folder / "features.parquet").touch()
    found = status_of(KONVID, DataRoot(root_path))
    assert (found.present, found.tables) == (True, ("features.parquet",))
    assert "drop it as manifest.csv" in found.next_step
    (folder / "features_with_mos.parquet").touch()
    assert status_of(KONVID, DataRoot(root_path)).next_step.startswith("train a head on the labelled table")


def test_whoever_reads_may_stop_and_may_know_ascii_only(corpus: SmallCorpus) -> None:
    command = f"{sys.executable} -m vqa_assets.status --root {corpus.root.path}"
    for line in (f"{command} | head -c 1", f"PYTHONIOENCODING=ascii {command}"):
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True)
        assert done.stderr == ""


def test_of_few_labels_beside_other_corpora_the_advice_names_the_setting(root_path: Path) -> None:
    """Until the corpus has a head that was helped, or labels enough; tables without its columns are no help."""
    root, frame = DataRoot(root_path), labelled(40)
    few, others = CORPORA["live-vqc"], CORPORA["lsvq"]
    for one in (few, others, CORPORA["chug"]):
        (root.path / one.name).mkdir()
    frame.write_parquet(root.labelled(few))
    assert status_of(few, root).advice == ""
    frame.drop("adm2").write_parquet(root.labelled(CORPORA["chug"]))
    assert status_of(few, root).advice == ""
    labelled(400, seed=1).write_parquet(root.labelled(others))
    told = "40 labels are few: mos_head with help_from (all, or some of lsvq) learns from other corpora too"
    assert f"  advice:          {told}" in status_of(few, root).lines()
    assert status_of(others, root).advice == ""
    root.models().mkdir()
    manifest = {**HEAD, "help": {"from": ["lsvq"], "used": True, "corpora": {"lsvq": {"rows": 400}}}}
    (root.models() / "live_vqc_mos_head.json").write_text(json.dumps(manifest))
    assert status_of(few, root).advice == ""
    assert "Trained on 40 rows of live-vqc, 400 rows of lsvq (help); absent: lsvq." in status_of(few, root).head


def test_a_corpus_says_the_verdict_of_its_head_and_how_it_stands_beside_baselines(root_path: Path) -> None:
    root, corpus = DataRoot(root_path), CORPORA["live-vqc"]
    root.models().mkdir()
    manifest = root.models() / "live_vqc_mos_head.json"
    manifest.write_text(json.dumps({**HEAD, "protocol": None}))
    verdict = (
        "Proposed. It missed its gate: mean SROCC 0.7100, needs at least 0.82. Do not ship it. It is for research use "
        "only; every corpus must be cited. Trained on 40 rows of live-vqc; absent: lsvq."
    )
    assert status_of(corpus, root).head == verdict
    manifest.write_text(json.dumps(HEAD))
    (root.path / corpus.name).mkdir()
    labelled(40).write_parquet(root.labelled(corpus))
    head = status_of(corpus, root).head
    assert f"  head:            {head}" in status_of(corpus, root).lines()
    worse = "On the same features RBF-SVR (SROCC of the head minus its own: -0.020 [-0.030, -0.010]) does better."
    assert head.startswith(worse)
    assert "It is no better than a constant (SROCC 0.100 [-0.100, 0.300])." in head
    assert head.endswith("SROCC minus that of RBF-SVR -0.020 [-0.030, -0.010], a constant 0.100 [-0.100, 0.300].")
    few = {"ridge": {"srocc": -0.012, "interval": [None, None]}}  # too few contents for an interval
    manifest.write_text(json.dumps({**HEAD, "protocol": {**HEAD["protocol"], "head_minus": few}}))
    assert status_of(corpus, root).head.endswith("SROCC minus that of ridge regression -0.012.")
    manifest.write_text('{"protocol": {}}')
    assert status_of(corpus, root).error.startswith("models/live_vqc_mos_head.json: no usable 'gate', expected")


def test_of_a_root_that_the_environment_does_not_name_it_says_how_commands_are_of_it(
    corpus: SmallCorpus, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VQA_DATA_ROOT", raising=False)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    root = corpus.root.path
    assert main(["--root", str(root)]) == 0
    said = f"commands without --root are of {Path('data').absolute()}; to have them of this one: "
    assert capsys.readouterr().err == f"{said}export VQA_DATA_ROOT={root}\n"
    monkeypatch.setenv("VQA_DATA_ROOT", str(root))
    assert main(["--root", str(root)]) == 0
    assert capsys.readouterr().err == ""
