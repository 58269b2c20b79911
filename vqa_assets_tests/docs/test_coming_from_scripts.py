"""The page for those who come from the older scripts, line by line: flags, settings, and what it says is different.

The flags are facts of those scripts, as their own help gave them.
"""

import json
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from vqa_assets import workflow
from vqa_assets.corpora import CORPORA
from vqa_assets.definitions import defs
from vqa_assets.errors import DownloadError
from vqa_assets.heads.settings import TrainingSettings
from vqa_assets.ingest.progress import Entry
from vqa_assets.overview import status_of
from vqa_assets.tables.paths import DataRoot
from vqa_assets_tests.shared.fakes import KONVID, FakeDownloader, FakeProber, SmallCorpus
from vqa_assets_tests.shared.unified_corpora import clip, unify

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "coming-from-scripts.md").read_text(encoding="utf-8")
FLAGS_TABLE = PAGE.split("## Flags")[1].split("\n## ")[0]
INGESTS = (
    "--manifest-csv --output --manifest-out --progress-path --clips-subdir --clip-suffix --ffprobe-bin --curl-bin "
)
INGESTS += "--corpus-version --attrition-warn-threshold --download-timeout-s --max-rows --full --log-level"
FLAGS = {
    "<corpus>_to_corpus_jsonl.py": f"{INGESTS} --lsvq-dir --konvid-dir --chug-dir --ugc-dir --waterloo-ivc-dir "
    "--live-vqc-dir --bucket-prefix --min-csv-rows --verbose",
    "fetch_konvid_1k.py": "--root --keep-zips --manifest-out",
    "bvi_dvc_to_corpus_jsonl.py": "--cache-dir --output --encoder --preset --crf --pix-fmt --vmaf-model --manifest-out",
    "merge_corpora.py": "--inputs --output --manifest-out",
    "aggregate_corpora.py": "--inputs --output --manifest-out --corpus-source-override --log-level",
    "konvid_to_full_features.py": "--konvid-root --vmaf-bin --model --out --folds-out --no-folds-out --fold-count "
    "--manifest-out --scratch --cache-dir --no-cache --crf --max-clips --codec --codec-from-source",
    "chug_extract_features.py": "--input --output --clips-dir --cache-dir --feature-set --split --split-seed "
    "--split-manifest --audit-output --max-rows --full --include-reference-identity --ffmpeg-bin --ffprobe-bin "
    "--vmaf-bin",
    "materialize_mos_labels.py": "--features --labels --out --audit-json --feature-key-column --label-key-column "
    "--label-mos-column --key-normalize --feature-key-regex --label-key-regex --min-match-rate --status-column "
    "--overwrite",
    "batch_materialize_mos_labels.py": "--manifest --base-dir --report-json --report-md --fail-fast",
    "train_konvid_mos_head.py": "--konvid-1k --konvid-150k --feature-parquet --feature-jsonl --model-id "
    "--feature-schema --display-profile-json --log-prefix --smoke --allow-synthetic-fallback "
    "--epochs --smoke-epochs --batch-size --lr "
    "--weight-decay --k-folds --seed --device --out-onnx --out-card --out-manifest --no-export --run-entrypoint "
    "--run-argv-json",
    "train_chug_hdr_mos_head.py": "--feature-jsonl --feature-parquet --shard-dir --model-id --feature-schema "
    "--display-profile-json --out-onnx --out-card --out-manifest",
    "validate_chug_hdr_mos_head.py": "--onnx --feature-jsonl --shard-dir --out-json --out-md --gate-plcc --gate-srocc "
    "--gate-rmse",
    "train_predictor_v2_realcorpus.py": "--corpus --corpus-root --codec --epochs --seed --report-out --synthetic-smoke "
    "--allow-empty",
}
"""Script → the flags it took."""


def flag_rows() -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("| ").split(" | ")]
        for line in FLAGS_TABLE.splitlines()
        if line.startswith("| `--")
    ]


def settings_of(asset: str) -> set[str]:
    return set(getattr(defs.resolve_assets_def(asset).op.config_schema.as_field().config_type, "fields", {}))


def test_every_flag_of_every_script_stands_in_the_table_once_and_no_other() -> None:
    told = [flag for row in flag_rows() for flag in re.findall(r"`(--[a-z0-9-]+)`", row[0])]
    assert sorted(told) == sorted({flag for flags in FLAGS.values() for flag in flags.split()})


@pytest.mark.parametrize("script", FLAGS)
def test_every_script_says_what_it_is_now(script: str) -> None:
    rows = PAGE.split("## Which script")[1].split("## Flags")[0]
    assert f"`{script}`" in rows


def test_a_flag_has_a_setting_that_exists_or_a_note_that_says_what_to_do_instead() -> None:
    unknown, silent = [], []
    for flags, settings, *note in flag_rows():
        named = re.findall(r"`([a-z_0-9]+)\.([a-z_0-9]+)`", settings)
        unknown += [f"{a}.{s}" for a, s in named if s not in settings_of(a)]
        if not named and (settings != "–" or not "".join(note)):
            silent.append(flags)
    assert (unknown, silent) == ([], [])


def test_the_settings_that_notes_name_exist() -> None:
    """In a note a setting stands without its asset."""
    every = {name for key in defs.resolve_all_asset_keys() for name in settings_of(key.to_user_string())}
    words = {word for row in flag_rows() for word in re.findall(r"`([a-z]+_[a-z_]+)`", " ".join(row[2:]))}
    columns, checks = {"encoder_upstream"}, {key.name for key in defs.resolve_asset_graph().asset_check_keys}
    assert words - every - columns - checks == set()


def test_every_asset_and_every_command_of_the_page_exists() -> None:
    assets = {key.to_user_string() for key in defs.resolve_all_asset_keys()}
    rows = [
        line for line in PAGE.split("## Which script")[1].split("## Flags")[0].splitlines() if line.startswith("| ")
    ]
    named = {word for row in rows for word in re.findall(r"`([a-z_0-9]+)`", row.split("|")[2])}
    assert named - assets - {"konvid-1k"} == set()
    modules = set(re.findall(r"-m vqa_assets\.([a-z_]+)", PAGE))
    assert {name for name in modules - {"definitions"} if find_spec(f"vqa_assets.{name}") is None} == set()
    assert "--dry-run" in Path(str(workflow.__file__)).read_text()


def test_a_head_setting_of_a_flag_is_every_heads() -> None:
    """The table names one head for each flag; it holds for all of them."""
    heads = [one for row in flag_rows() for one in re.findall(r"`[a-z_0-9]+_head_v1\.([a-z_0-9]+)`", row[1])]
    assert set(heads) <= set(TrainingSettings.model_fields)


# What lies there already


def an_older_drop(root: Path) -> SmallCorpus:
    """A corpus as the scripts left it: rows without a scale, a failed download, clips, and nothing of ours."""
    small = SmallCorpus(DataRoot(root), downloader=FakeDownloader({"http://h/gone.mp4": b"there again"}))
    names = ["0001.mp4", "0002.mp4"]
    small.annotate(
        [*((name, f"http://h/{name}", 3.42, 0.51, 7) for name in names), ("gone.mp4", "http://h/gone.mp4", 3, 0.5, 5)]
    )
    for name in names:
        small.stage(name, name.encode())
    small.ingest()
    rows = [{k: v for k, v in row.items() if k != "mos_scale"} for row in small.rows() if row["src"] != "gone.mp4"]
    for name in ("konvid_150k.jsonl", "konvid_150k.losses.jsonl", "konvid_150k.manifest.json", ".ingest-cache.sqlite"):
        (small.folder / name).unlink()
    (small.folder / "clips" / "gone.mp4").unlink()
    stamp = {"ingested_at_utc": "2026-05-08T12:00:00+00:00"}
    small.drop("konvid_150k.jsonl", "".join(json.dumps({**row, **stamp}) + "\n" for row in rows))
    small.drop(
        ".download-progress.json",
        json.dumps(
            {
                **{name: {"state": "done"} for name in names},
                "gone.mp4": {"state": "failed", "reason": "curl-rc=22: HTTP 404"},
            }
        ),
    )
    small.downloader.fetched.clear()
    small.prober = FakeProber()
    return small


def test_an_older_drop_is_used_as_it_lies_and_its_rows_keep_their_time(root_path: Path) -> None:
    small = an_older_drop(root_path)
    report = small.ingest().report
    assert not small.downloader.fetched
    assert (report.skipped_download, report.rows_out, report.written) == (1, 2, 0)
    assert [(row["mos_scale"], row["ingested_at_utc"]) for row in small.rows()] == [
        ("1-5-acr", "2026-05-08T12:00:00+00:00")
    ] * 2
    assert small.prober.probed.total() == 2
    before = small.lines()
    assert small.ingest().report.unchanged == 2
    assert small.prober.probed.total() == 2
    assert small.lines() == before


def test_a_new_score_in_an_older_drop_makes_a_new_row(root_path: Path) -> None:
    small = an_older_drop(root_path)
    small.annotate([("0001.mp4", "", 4.0, 0.51, 7), ("0002.mp4", "", 3.42, 0.51, 7)])
    small.ingest()
    assert [row["ingested_at_utc"].startswith("2026-05-08") for row in small.rows()] == [False, True]


def test_the_status_of_an_older_drop_counts_its_rows(root_path: Path) -> None:
    assert status_of(KONVID, an_older_drop(root_path).root).rows == 2


# What is different


def test_lsvq_is_on_the_scale_that_its_whole_file_is_on_and_the_unified_corpus_converts_by_the_rows(
    root_path: Path,
) -> None:
    small = SmallCorpus(DataRoot(root_path), corpus=CORPORA["lsvq"])
    scores = [float(20 + 3 * i) for i in range(25)]
    small.annotate([(f"{i}.mp4", "", score, "", "") for i, score in enumerate(scores)])
    for i in range(len(scores)):
        small.stage(f"{i}.mp4", str(i).encode())
    small.ingest()
    assert {row["mos_scale"] for row in small.rows()} == {"0-100-continuous"}
    unified = unify(root_path, small.rows())
    assert [json.loads(line)["mos"] for line in unified.jsonl.read_text().splitlines()].count(20.0) == 1


def test_spreads_are_compared_on_the_unified_scale(root_path: Path) -> None:
    on_5 = clip("a", 3.0, "konvid-1k", sha="same", mos_std_dev=0.6)  # 15 of 100
    on_100 = clip("b", 50.0, "live-vqc", sha="same", mos_std_dev=10.0)
    unified = unify(root_path, [on_5], [on_100])
    assert [json.loads(line)["corpus"] for line in unified.jsonl.read_text().splitlines()] == ["live-vqc"]


def test_chugs_standard_error_is_no_sd(root_path: Path) -> None:
    small = SmallCorpus(DataRoot(root_path), corpus=CORPORA["chug"])
    small.drop("manifest.csv", "Video,mos_j,sos_j\na,40,5\nb,60,5\n")
    for name in "ab":
        small.stage(f"{name}.mp4", name.encode())
    small.ingest()
    assert {row["mos_std_dev"] for row in small.rows()} == {0.0}


def test_time_outs_leave_no_entry_and_final_answers_do_for_their_address(root_path: Path) -> None:
    slow = DownloadError("curl-rc=28: timed out", permanent=False)
    small = SmallCorpus(DataRoot(root_path), downloader=FakeDownloader({"http://h/slow": slow}))
    small.annotate([("slow", "http://h/slow", 3, "", ""), ("gone", "http://h/gone", 3, "", "")])
    small.ingest()
    assert list(small.progress()) == ["gone.mp4"]
    entry = Entry(**small.progress()["gone.mp4"])
    assert entry.forbids("http://h/gone")
    assert not entry.forbids("http://other/gone")


def test_the_score_files_of_konvid_150k_are_no_splits(root_path: Path) -> None:
    small = SmallCorpus(DataRoot(root_path))
    small.drop("k150ka_scores.csv", "video_name,video_score\na,3\n")
    small.drop("k150kb_scores.csv", "video_name,mos,video_score\nb,3,3\n")
    small.stage("a.mp4", b"a")
    small.stage("b.mp4", b"b")
    small.ingest()
    assert [(row["src"], row["score_drop"], "split" in row) for row in small.rows()] == [
        ("a.mp4", "k150ka", False),
        ("b.mp4", "k150kb", False),
    ]


ELSEWHERE = {
    "An error page or half a clip": "ingest/test_servers.py::test_what_is_no_container_is_never_kept_nor_remembered",
    "standardise inside the model": "heads/test_export.py::test_the_graph_is_the_formula",
    "A head that misses its gate": "heads/test_gate.py::test_each_miss_is_a_proposal_with_its_reason",
    "never take a real head's file name": "heads/test_build.py::test_a_smoke_run_takes_another_name",
    "`run_provenance` is as before": "provenance/test_verify.py::test_untouched_files_match_and_the_exit_code_is_0",
    "delete them once they are unpacked": "clips/test_archives.py::test_one_run_goes_from_nothing_to_rows",
}
"""Sentences of the page that tests of other rooms hold."""


@pytest.mark.parametrize("sentence", ELSEWHERE)
def test_a_sentence_that_other_tests_hold_has_them(sentence: str) -> None:
    assert sentence in " ".join(PAGE.split())
    path, _, name = ELSEWHERE[sentence].partition("::")
    assert f"def {name}" in (TESTS / path).read_text(encoding="utf-8")
