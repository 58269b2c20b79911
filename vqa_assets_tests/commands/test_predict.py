"""``python -m vqa_assets.predict``: scores of tables and of real clips, in this process and in fresh ones."""

import csv
import hashlib
import io
import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import polars as pl
import pytest
from onnx import helper

from vqa_assets import api
from vqa_assets.errors import HeadError
from vqa_assets.feature_names import KONVID_V1
from vqa_assets.features.extractor import ClipExtractor
from vqa_assets.features.measuring import one_clip_row
from vqa_assets.heads.build import build_head
from vqa_assets.heads.members.export import run_onnx
from vqa_assets.heads.members.training import TorchTrainer
from vqa_assets.heads.members.weights import encoder_onehot
from vqa_assets.heads.publish import HeadInputs, publish_head
from vqa_assets.heads.recipe import KONVID_MOS_HEAD_V1
from vqa_assets.heads.settings import TrainingSettings
from vqa_assets.heads.using import open_head
from vqa_assets.predict import main, sources_of
from vqa_assets.provenance import RunContext
from vqa_assets.tables.paths import DataRoot
from vqa_assets.tables.publication import publishing, settle
from vqa_assets_tests.shared.clips import tiny_clip, tiny_clips
from vqa_assets_tests.shared.head_tables import FACTS, labelled, quiet, written
from vqa_assets_tests.shared.kills import KILLED, killed_at

NAME = "konvid_mos_head_v1"
SETTINGS = TrainingSettings(epochs=2, device="cpu", protocol_splits=0)


@pytest.fixture(scope="module")
def root(head_root: Path) -> Path:
    """A data root with a trained head in it."""
    return head_root


@pytest.fixture(scope="module")
def half_published(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root in which a killed run left the ONNX of a new head beside the manifest of the earlier one."""
    place = tmp_path_factory.mktemp("cut") / "data"
    shutil.copytree(root, place)
    other, table = DataRoot(tmp_path_factory.mktemp("other")), root / "train.parquet"
    settings = TrainingSettings(epochs=1, device="cpu", protocol_splits=0)
    built = build_head(KONVID_MOS_HEAD_V1, {"konvid-1k": table}, FACTS, settings, TorchTrainer(), quiet)
    inputs = HeadInputs(NAME, settings, {"konvid-1k": table}, {"konvid-1k": [table]})
    publish_head(built, inputs, RunContext(other, {}, Path(__file__)))

    def publish() -> None:
        onnx = place / "models" / f"{NAME}.onnx"
        with publishing(NAME, onnx, "mos-head-manifest-v1") as publication:
            for path in (onnx, onnx.with_suffix(".json")):
                publication.write(path, (other.models() / path.name).read_bytes())

    assert killed_at("replace", 2, publish) == KILLED
    return place


def test_what_a_killed_run_left_of_a_head_is_made_whole_before_it_scores(
    half_published: Path, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def used(root: Path) -> str:
        assert main([NAME, str(table), "--root", str(root), "--json"]) == 0
        return str(json.loads(capsys.readouterr().out)["sha256"])

    table, place = written(labelled(20), tmp_path / "table.parquet"), tmp_path / "data"
    earlier = used(root)
    # Where nothing may be written the earlier head is used, and no half of it with half of another.
    shutil.copytree(half_published, place)
    settle(place / "models", may_write=False)
    assert open_head(place / "models" / f"{NAME}.onnx").manifest.sha256 == earlier
    new = used(place)
    assert new not in (earlier, "")
    assert open_head(place / "models" / f"{NAME}.onnx").manifest.sha256 == new
    assert [path.name for path in (place / "models").glob(".*")] == [f".{NAME}.onnx.published.json"]


@pytest.fixture
def head(root: Path, tmp_path: Path) -> Path:
    """A copy of the head that a test may spoil: its ONNX."""
    for suffix in (".onnx", ".json"):
        shutil.copy(root / "models" / f"{NAME}{suffix}", tmp_path)
    return tmp_path / f"{NAME}.onnx"


DISPLAY = {"file": "tv.json", "sha256": "0" * 64, "values": {}, "lacking": [], "ignored": []}
FEATURES = labelled(30, seed=7).drop("mos", "mos_std_dev", "mos_label_status")


def expected(root: Path, frame: pl.DataFrame) -> np.ndarray:
    features = frame.select(KONVID_V1.columns).to_numpy().astype(np.float32)
    return run_onnx((root / "models" / f"{NAME}.onnx").read_bytes(), features, encoder_onehot(len(frame)))


def command(*arguments: str | Path, root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vqa_assets.predict", *map(str, arguments)],
        env={**os.environ, "VQA_DATA_ROOT": str(root)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".json", ".csv"])
def test_a_table_in_any_format_is_scored_row_by_row(root, tmp_path, capsys, suffix):
    table = tmp_path / f"features{suffix}"
    writers = {".parquet": FEATURES.write_parquet, ".jsonl": FEATURES.write_ndjson, ".json": FEATURES.write_json}
    writers.get(suffix, FEATURES.write_csv)(table)
    assert main([NAME, str(table), "--root", str(root), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["schema"], found["head"], found["status"]) == ("predictions-v1", NAME, "Proposed")
    assert [one["key"] for one in found["scores"]] == FEATURES["key"].to_list()
    np.testing.assert_allclose([one["mos"] for one in found["scores"]], expected(root, FEATURES), atol=1e-3)


def test_a_table_that_was_edited_since_it_was_published_is_scored_and_told(root, tmp_path, capsys):
    table = tmp_path / "features.parquet"
    with publishing("clip_features", table, "clip-features-manifest-v1") as publication:
        FEATURES.write_parquet(publication.draft(table))
    assert main([NAME, str(table), "--root", str(root), "--csv"]) == 0
    assert "its bytes are not those" not in capsys.readouterr().err
    FEATURES.reverse().write_parquet(table)
    assert main([NAME, str(table), "--root", str(root), "--csv"]) == 0
    assert f"{table}: its bytes are not those that .features.parquet.published.json names" in capsys.readouterr().err


def test_the_command_scores_a_table_in_a_fresh_process_without_dagster(root, tmp_path):
    FEATURES.write_parquet(tmp_path / "f.parquet")
    done = command(NAME, tmp_path / "f.parquet", "--csv", root=root)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    np.testing.assert_allclose([float(row["mos"]) for row in rows], expected(root, FEATURES), atol=1e-3)
    assert done.stderr.startswith(f"warning: {NAME} is Proposed: ")
    program = "import sys, vqa_assets.predict; print([m for m in ('dagster', 'torch', 'polars') if m in sys.modules])"
    checked = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert checked.stdout.strip() == "[]"


def test_clips_are_measured_and_scored_and_a_broken_one_costs_itself(root, tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    for number in range(2):
        tiny_clip(folder / f"{number}.mp4", seed=number)
    (folder / "broken.mp4").write_bytes(b"no video" * 100)
    done = command(NAME, folder, "--json", root=root)
    assert done.returncode == 1
    scores = {one["key"]: one for one in json.loads(done.stdout)["scores"]}
    assert list(scores) == ["0.mp4", "1.mp4", "broken.mp4"]
    assert scores["broken.mp4"]["mos"] is None
    assert "broken.mp4: " in scores["broken.mp4"]["reason"]
    assert "1 of 3 without a score; first: broken.mp4" in done.stderr
    row = pl.DataFrame([one_clip_row(folder / "0.mp4", ClipExtractor(feature_sets=("konvid-v1",)))])
    named = row.with_columns(saliency_mean="saliency")
    assert scores["0.mp4"]["mos"] == pytest.approx(float(expected(root, named)[0]), abs=1e-3)


def test_a_clip_named_alone_is_printed_with_its_score(root, tmp_path):
    tiny_clip(tmp_path / "a.mp4", seed=3)
    done = command(NAME, tmp_path / "a.mp4", root=root)
    assert done.returncode == 0, done.stderr
    header, line = done.stdout.splitlines()
    assert header.split() == ["key", "mos", "mos_low", "mos_high"]
    assert line.split()[0] == "a.mp4"
    assert 1 <= float(line.split()[1]) <= 5


def test_a_missing_feature_gives_no_score_and_the_others_stand(root, tmp_path, capsys):
    row = pl.int_range(30)
    holes = FEATURES.with_columns(
        adm2=pl.when(row == 3).then(math.nan).when(row == 4).then(math.inf).otherwise("adm2"),
        motion2=pl.when(row == 5).then(None).otherwise("motion2"),
    )
    holes.write_parquet(tmp_path / "f.parquet")
    assert main([NAME, str(tmp_path / "f.parquet"), "--root", str(root), "--json"]) == 0
    told = capsys.readouterr()
    scores = json.loads(told.out)["scores"]
    assert [i for i, one in enumerate(scores) if one["mos"] is None] == [3, 4, 5]
    assert scores[3]["reason"] == "a feature is not known"
    assert "3 of 30 without a score" in told.err


def test_what_goes_to_a_file_is_not_printed_and_an_error_leaves_the_file_as_it_was(root, tmp_path, capsys):
    FEATURES.write_parquet(tmp_path / "f.parquet")
    out = tmp_path / "scores.json"
    arguments = [NAME, str(tmp_path / "f.parquet"), "--root", str(root), "--json", "--out", str(out)]
    assert main(arguments) == 0
    told = capsys.readouterr()
    assert told.out == ""
    assert f"{len(FEATURES)} scores written to {out}" in told.err
    before = out.read_bytes()
    FEATURES.drop("adm2").write_parquet(tmp_path / "f.parquet")
    assert main(arguments) == 1
    assert out.read_bytes() == before


def test_a_corpus_may_be_named_by_its_name_and_columns_that_stay_empty_are_explained(root, tmp_path, capsys):
    place = tmp_path / "root"
    shutil.copytree(root / "models", place / "models")
    sidecar = place / "models" / f"{NAME}.json"
    manifest = json.loads(sidecar.read_text())
    sidecar.write_text(json.dumps({**manifest, "interval": None, "no_interval": "too few"}))
    (place / "lsvq").mkdir()
    with pytest.raises(HeadError, match="lsvq: no clip in this folder"):
        sources_of(["lsvq"], str(place))
    (place / "lsvq" / "clips").mkdir()
    tiny_clips(place / "lsvq" / "clips", 2)
    tables, clips = sources_of(["lsvq"], str(place))
    assert (tables, [clip.path for clip in clips]) == ([], sorted((place / "lsvq" / "clips").iterdir()))
    FEATURES.write_parquet(place / "lsvq" / "features.parquet")
    assert len(sources_of(["lsvq"], str(place), clips_only=True)[1]) == 2
    assert main([NAME, "lsvq", "--root", str(place), "--csv"]) == 0
    told = capsys.readouterr()
    assert told.out.count("\n") == len(FEATURES) + 1
    assert f"lsvq: its feature table {place / 'lsvq' / 'features.parquet'}" in told.err
    assert f"mos_low and mos_high are empty: {NAME} has no interval, as its card says" in told.err


def refused(capsys, *arguments: str | Path) -> str:
    assert main([*map(str, arguments)]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    return told.err


def test_a_clip_over_a_cap_is_scored_where_an_option_allows_it_and_a_corpus_s_own_caps_hold_by_its_name(
    root, tmp_path, capsys
):
    def scored(*words: str | Path) -> dict[str, str]:
        main([NAME, *map(str, words), "--root", str(place), "--json"])
        return {one["key"]: one["reason"] for one in json.loads(capsys.readouterr().out)["scores"]}

    place = tmp_path / "root"
    shutil.copytree(root / "models", place / "models")
    for corpus, frames in {"lsvq": 30, "konvid-1k": 5}.items():
        (place / corpus / "clips").mkdir(parents=True)
        tiny_clip(place / corpus / "clips" / f"{frames}.mp4", frames, frames=frames)
    (place / "lsvq" / "ingest.toml").write_text("max_frames = 29\n")
    over = "30.mp4: too large: 30 frames, at most 29 (--max-frames raises it)"
    assert scored("lsvq", "konvid-1k") == {"30.mp4": over, "5.mp4": ""}
    assert scored("lsvq", "--max-frames=30") == {"30.mp4": ""}
    clips = place / "lsvq" / "clips"
    assert scored(clips) == {"30.mp4": ""}, "a folder is no corpus"
    assert scored(clips, "--max-frames=29") == {"30.mp4": over}
    assert scored(clips, "--max-duration-s=1.1")["30.mp4"].endswith("1.2 s, at most 1.1 (--max-duration-s raises it)")
    assert scored(clips, "--max-pixels=3071")["30.mp4"].endswith("at most 3071 (--max-pixels raises it)")
    assert scored(clips, "--memory-budget=1000000")["30.mp4"].endswith("at most 1 MB (--memory-budget raises it)")
    assert scored(clips) == {"30.mp4": ""}, "a cap ends with its run"
    # From Python the same.
    (named,) = api.predict(NAME, "lsvq", root=place)
    assert named.reason == "30.mp4: too large: 30 frames, at most 29 (max_frames)"
    assert [one.reason for one in api.predict(NAME, "lsvq", root=place, max_frames=30)] == [""]


def test_clips_may_stand_behind_options_and_their_names_forge_no_line(root, tmp_path, capsys):
    (tmp_path / "a.mp4").write_bytes(b"no video" * 100)
    forged = (tmp_path / "a.mp4").rename(tmp_path / "b\nerror: all is lost.mp4")
    assert main(["--root", str(root), NAME, "--csv", str(forged), "--workers=1"]) == 1
    assert "1 of 1 without a score; first: b\\u000aerror: all is lost.mp4\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("--max-pixels=0", "argument --max-pixels: 0, expected a whole number of at least 1"),
        ("--max-frames=1e3", "argument --max-frames: 1e3, expected a whole number of at least 1"),
        ("--max-duration-s=nan", "argument --max-duration-s: nan, expected a number above 0"),
        ("--memory-budget=2GB", "argument --memory-budget: 2GB, expected a whole number of at least 1000000"),
    ],
)
def test_a_cap_that_cannot_be_used_is_a_word_typed_wrongly(capsys, option, told):
    with pytest.raises(SystemExit, match="2"):
        main([NAME, "a.mp4", option])
    assert told in capsys.readouterr().err


def test_a_table_of_another_schema_names_what_it_lacks(root, tmp_path, capsys):
    FEATURES.drop("adm2", "saliency_mean").write_parquet(tmp_path / "f.parquet")
    told = refused(capsys, NAME, tmp_path / "f.parquet", "--root", root)
    assert "no column for adm2, saliency_mean, expected the 11 columns of konvid-v1" in told


def test_text_in_a_feature_column_is_named(root, tmp_path, capsys):
    FEATURES.with_columns(adm2=pl.lit("high")).write_parquet(tmp_path / "f.parquet")
    assert "text in feature columns: adm2: 'high', expected numbers" in refused(
        capsys, NAME, tmp_path / "f.parquet", "--root", root
    )


def test_an_onnx_that_is_not_its_manifests_is_refused(head, tmp_path, capsys):
    FEATURES.write_parquet(tmp_path / "f.parquet")
    head.write_bytes(head.read_bytes() + b"\0")
    told = refused(capsys, head, tmp_path / "f.parquet")
    assert "SHA-256" in told
    assert "(its manifest); train the head again" in told


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"schema": "mos-head-manifest-v0"}, "schema 'mos-head-manifest-v0', expected mos-head-manifest-v1"),
        ({"encoder_vocab_version": 3}, "(version 3), expected one for ugc-mixed (version 4)"),
        ({"encoder_vocab": ["x264", "x265"]}, "for the encoders x264, x265"),
        ({"feature_schema": "fr-v2"}, "feature schema fr-v2: 11 columns (adm2, vif_scale0, vif_scale1, …)"),
        ({"feature_schema": "konvid-v9"}, "feature schema konvid-v9: 11 columns (adm2, vif_scale0, vif_scale1, …)"),
        ({"feature_order": ["motion2", "adm2"]}, "feature schema konvid-v1: 2 columns (motion2, adm2, …)"),
        (
            {"feature_schema": "own-columns", "feature_order": ["motion2", "adm2"]},
            'expected that of its manifest: ["motion2", "adm2"]',
        ),
    ],
    ids=lambda case: next(iter(case)) if isinstance(case, dict) else "",
)
def test_a_manifest_of_another_schema_or_version_is_refused(head, tmp_path, capsys, changed, told):
    FEATURES.write_parquet(tmp_path / "f.parquet")
    sidecar = head.with_suffix(".json")
    sidecar.write_text(json.dumps({**json.loads(sidecar.read_text()), **changed}))
    assert told in refused(capsys, head, tmp_path / "f.parquet")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"gate": ...}, "gate: nothing, expected a value"),
        ({"gate": {}}, "gate.passed: nothing, expected a value"),
        ({"gate": {"passed": False, "reasons": [1]}}, "gate.reasons.0: 1, expected a valid string"),
        ({"sha256": 5}, "sha256: 5, expected a valid string"),
        ({"filled": [1]}, "filled: [1], expected an object"),
        ({"filled": {"adm2": {}}}, "filled.adm2.value: nothing, expected a value"),
        ({"filled": {"adm2": {"value": math.nan}}}, "filled.adm2.value: nan, expected a finite number"),
        ({"filled": {"other": {"value": 1}}}, "filled: {'other': {'value': 1}}, expected features of feature_order"),
        ({"feature_order": ...}, "feature_order: nothing, expected a value"),
        ({"encoder_vocab": None}, "encoder_vocab: None, expected a valid array"),
        ({"encoder_vocab": [1]}, "encoder_vocab.0: 1, expected a valid string"),
        ({"synthetic": "no"}, "synthetic: 'no', expected a valid boolean"),
        ({"display_profile": [1]}, "display_profile: [1], expected an object"),
        ({"interval": {"level": 0.9, "quantile": 1.0}}, "interval.floor: nothing, expected a value"),
        ({"interval": {"level": 0.9, "quantile": -1.0, "floor": 0.1}}, "interval.quantile: -1.0, expected greater"),
        ({"interval": {"level": 90, "quantile": 1.0, "floor": 0.1}}, "interval.level: 90, expected less than 1"),
        ({"feature_low": [0.0, 1.0]}, "feature_low: 2 numbers, expected one for each of 11 columns"),
        ({"feature_high": [math.inf] * 11}, "feature_high.0: inf, expected a finite number"),
        ({"display_profile": DISPLAY}, "display_profile.values: {}, expected a value of each display column, also of "),
    ],
)
def test_a_manifest_that_was_edited_names_the_field(head, tmp_path, capsys, changed, told):
    FEATURES.write_parquet(tmp_path / "f.parquet")
    sidecar = head.with_suffix(".json")
    edited = {**json.loads(sidecar.read_text()), **changed}
    sidecar.write_text(json.dumps({name: value for name, value in edited.items() if value is not ...}))
    assert f"{sidecar}: {told}" in refused(capsys, head, tmp_path / "f.parquet")


@pytest.mark.parametrize(
    ("column", "told"), [(pl.lit([1.0]), "adm2: List(Float64)"), (pl.lit("2020-01-01").str.to_date(), "adm2: Date")]
)
def test_a_feature_column_of_a_type_without_numbers_is_refused(root, tmp_path, capsys, column, told):
    FEATURES.with_columns(adm2=column).write_parquet(tmp_path / "f.parquet")
    expected_words = f"feature columns that hold no numbers: {told}, expected numbers"
    assert expected_words in refused(capsys, root / "models" / f"{NAME}.onnx", tmp_path / "f.parquet")


def test_an_empty_table_says_so(root, tmp_path, capsys):
    FEATURES.clear().write_parquet(tmp_path / "f.parquet")
    assert main([str(root / "models" / f"{NAME}.onnx"), str(tmp_path / "f.parquet")]) == 1
    assert "no row to score: the tables are empty" in capsys.readouterr().err


def test_scores_that_cannot_be_written_say_where(root, tmp_path, capsys):
    FEATURES.write_parquet(tmp_path / "f.parquet")
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "scores.csv"
    told = refused(capsys, root / "models" / f"{NAME}.onnx", tmp_path / "f.parquet", "--out", out)
    assert f"{out}: the scores cannot be written" in told


def with_model(head: Path, model: onnx.ModelProto) -> None:
    import hashlib

    content = model.SerializeToString()
    head.write_bytes(content)
    sidecar = head.with_suffix(".json")
    manifest = {**json.loads(sidecar.read_text()), "sha256": hashlib.sha256(content).hexdigest()}
    sidecar.write_text(json.dumps(manifest))


def test_an_operator_outside_the_list_is_named(head, tmp_path, capsys):
    FEATURES.write_parquet(tmp_path / "f.parquet")
    model = onnx.load(head)
    last = model.graph.node[-1]
    model.graph.node.append(helper.make_node("Exp", [last.output[0]], ["wrong"]))
    model.graph.node.append(helper.make_node("Identity", ["wrong"], ["unused"]))
    with_model(head, model)
    assert "operators Exp, expected only operators of the runtime's list" in refused(
        capsys, head, tmp_path / "f.parquet"
    )


def test_a_file_that_is_no_model_is_refused(head, tmp_path, capsys):
    import hashlib

    FEATURES.write_parquet(tmp_path / "f.parquet")
    head.write_bytes(b"not a model")
    sidecar = head.with_suffix(".json")
    manifest = {**json.loads(sidecar.read_text()), "sha256": hashlib.sha256(b"not a model").hexdigest()}
    sidecar.write_text(json.dumps(manifest))
    assert "expected a valid ONNX model" in refused(capsys, head, tmp_path / "f.parquet")


@pytest.mark.parametrize("missing", [".onnx", ".json"])
def test_a_head_without_both_files_is_refused(head, tmp_path, capsys, missing):
    FEATURES.write_parquet(tmp_path / "f.parquet")
    head.with_suffix(missing).unlink()
    assert "found nothing there" in refused(capsys, head, tmp_path / "f.parquet")


def test_a_head_that_is_not_there_lists_those_that_are(root, tmp_path, capsys):
    FEATURES.write_parquet(tmp_path / "f.parquet")
    told = refused(capsys, "my_head", tmp_path / "f.parquet", "--root", root)
    assert f"expected an .onnx file, or one of: {NAME}" in told


def test_sources_that_are_not_there_or_hold_nothing_are_refused_in_a_fresh_process(root, tmp_path):
    done = command(NAME, tmp_path / "nowhere.mp4", root=root)
    assert (done.returncode, done.stdout) == (1, "")
    assert "nowhere.mp4: found nothing there, expected a clip, a folder of clips, a feature table" in done.stderr
    assert "no clip in this folder" in command(NAME, tmp_path, root=root).stderr
    assert command(NAME, root=root).returncode == 2


@pytest.mark.parametrize(("name", "content"), [("a.parquet", b"no table"), ("a.jsonl", b"{"), ("a.csv", b"")])
def test_a_table_that_cannot_be_read_is_refused(root, tmp_path, capsys, name, content):
    (tmp_path / name).write_bytes(content)
    assert f"{name}" in refused(capsys, NAME, tmp_path / name, "--root", root)


def test_a_manifest_whose_verdict_was_edited_is_not_its_onnxs(head, tmp_path, capsys):
    FEATURES.write_parquet(tmp_path / "f.parquet")
    sidecar = head.with_suffix(".json")
    edited = {**json.loads(sidecar.read_text()), "status": "Production"}
    sidecar.write_text(json.dumps(edited))
    assert "status Proposed, expected that of its manifest: Production" in refused(capsys, head, tmp_path / "f.parquet")


def test_a_head_that_was_not_exported_is_told(head, tmp_path, capsys):
    FEATURES.write_parquet(tmp_path / "f.parquet")
    sidecar = head.with_suffix(".json")
    sidecar.write_text(json.dumps({**json.loads(sidecar.read_text()), "onnx": None, "sha256": None}))
    assert "a head that was not exported, expected one with an ONNX" in refused(capsys, head, tmp_path / "f.parquet")


def test_scores_are_never_written_over_a_folder(head, tmp_path, capsys):
    FEATURES.write_parquet(tmp_path / "f.parquet")
    assert main([str(head), str(tmp_path / "f.parquet"), "--out", str(tmp_path)]) == 1
    assert f"--out {tmp_path}: a folder, expected a file" in capsys.readouterr().err


def test_a_reader_that_has_had_enough_ends_the_command_without_a_traceback(root, tmp_path):
    FEATURES.write_parquet(tmp_path / "f.parquet")
    command = f"{sys.executable} -m vqa_assets.predict {NAME} {tmp_path / 'f.parquet'} | true"
    environment = {**os.environ, "VQA_DATA_ROOT": str(root)}
    done = subprocess.run(["sh", "-c", command], env=environment, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


def test_a_row_without_a_key_is_called_by_its_number(head, tmp_path, capsys):
    keys = pl.when(pl.int_range(pl.len()) == 2).then(None).otherwise(pl.col("key"))
    FEATURES.with_columns(key=keys).write_parquet(tmp_path / "f.parquet")
    assert main([str(head), str(tmp_path / "f.parquet"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["scores"]
    assert [one["key"] for one in told[:3]] == [FEATURES["key"][0], FEATURES["key"][1], "row 3"]


@pytest.mark.parametrize("name", ["f.txt", "f.xlsx"])
def test_a_table_of_a_format_that_is_not_read_is_no_clip(head, tmp_path, capsys, name):
    (tmp_path / name).write_text("key\tadm2\n")
    told = refused(capsys, head, tmp_path / name)
    assert f"{name}: a {Path(name).suffix} file, expected a clip, or a feature table as one of .parquet, .pq" in told


@pytest.mark.parametrize("what", ["table", "onnx", "manifest", "link"])
def test_scores_are_never_written_over_what_they_are_made_from(head, tmp_path, what):
    table, link = tmp_path / "f.parquet", tmp_path / "link.txt"
    FEATURES.write_parquet(table)
    link.symlink_to(table)
    out = {"table": table, "onnx": head, "manifest": head.with_suffix(".json"), "link": link}[what]
    before = out.read_bytes()
    done = command(head, table, "--out", out, root=tmp_path)
    assert (done.returncode, out.read_bytes()) == (1, before)
    assert "error: --out " in done.stderr


@pytest.mark.parametrize(
    ("out", "flag", "begins"),
    [("o.json", "", "{"), ("o.csv", "", "source,key,mos,reason"), ("o.txt", "", "key "), ("o.txt", "--csv", "source")],
)
def test_a_files_suffix_says_how_scores_are_written(root, tmp_path, out, flag, begins):
    FEATURES.write_parquet(tmp_path / "f.parquet")
    asked = [flag] if flag else []
    assert main([NAME, str(tmp_path / "f.parquet"), "--root", str(root), "--out", str(tmp_path / out), *asked]) == 0
    assert (tmp_path / out).read_text().startswith(begins)


@pytest.mark.parametrize("name", ["o.json", "o.csv", "o.txt"])
def test_scores_replace_scores_and_no_other_file(root, tmp_path, capsys, name):
    FEATURES.write_parquet(tmp_path / "f.parquet")
    out, arguments = tmp_path / name, [NAME, str(tmp_path / "f.parquet"), "--root", str(root), "--out"]
    assert main([*arguments, str(out)]) == main([*arguments, str(out)]) == 0
    for text in ('{"mine": 1}', "source,key\n", "years of work\n"):
        out.write_text(text)
        assert main([*arguments, str(out)]) == 1
        assert f"{out}, of which nothing says that predict wrote it" in capsys.readouterr().err
        assert out.read_text() == text


@pytest.mark.parametrize(("out", "flag"), [("o.csv", "--json"), ("o.json", "--csv"), ("o.parquet", "--csv")])
def test_a_suffix_that_says_otherwise_is_refused(root, tmp_path, capsys, out, flag):
    FEATURES.write_parquet(tmp_path / "f.parquet")
    assert main([NAME, str(tmp_path / "f.parquet"), "--root", str(root), "--out", str(tmp_path / out), flag]) == 1
    assert "expected .json for a JSON object" in capsys.readouterr().err
    assert not (tmp_path / out).exists()


@pytest.mark.parametrize("spoil", ["domain", "function"])
def test_an_operator_of_another_domain_is_none_of_the_list(head, tmp_path, spoil):
    FEATURES.write_parquet(tmp_path / "f.parquet")
    model = onnx.load(head)
    last = model.graph.node[-1]
    if spoil == "domain":
        last.domain = "mine"
        model.opset_import.append(helper.make_opsetid("mine", 1))
    else:
        rounds = helper.make_node("Round", ["x"], ["y"])
        model.functions.append(helper.make_function("mine", "Identity", ["x"], ["y"], [rounds], model.opset_import[:1]))
        model.opset_import.append(helper.make_opsetid("mine", 1))
    onnx.save(model, head)
    sidecar = head.with_suffix(".json")
    told = json.loads(sidecar.read_text())
    sidecar.write_text(json.dumps({**told, "sha256": hashlib.sha256(head.read_bytes()).hexdigest()}))
    done = command(head, tmp_path / "f.parquet", root=tmp_path)
    assert done.returncode == 1
    assert f"operators {'mine.' + last.op_type if spoil == 'domain' else 'function Identity'}" in done.stderr


def scored(capsys: pytest.CaptureFixture[str], head: Path | str, table: Path, *more: str) -> list[dict[str, Any]]:
    assert main([str(head), str(table), "--json", *more]) == 0
    scores: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["scores"]
    return scores


def members_of(head: Path, frame: pl.DataFrame) -> np.ndarray:
    """What each member gives, by an output that this test adds itself."""
    model = onnx.load(head)
    model.graph.output.append(helper.make_tensor_value_info("members", onnx.TensorProto.FLOAT, None))
    features = frame.select(KONVID_V1.columns).to_numpy().astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    members: np.ndarray = session.run(
        ["members"], {"features": features, "encoder_onehot": encoder_onehot(len(frame))}
    )[0]
    return members


def test_every_score_has_an_interval_by_what_its_members_give(head, tmp_path, capsys):
    FEATURES.write_parquet(tmp_path / "f.parquet")
    scores, manifest = scored(capsys, head, tmp_path / "f.parquet"), json.loads(head.with_suffix(".json").read_text())
    interval, members = manifest["interval"], members_of(head, FEATURES)
    assert interval["level"] == 0.9
    half = interval["quantile"] * (members.astype(np.float64).std(axis=1) + interval["floor"])
    mos = np.array([one["mos"] for one in scores])
    np.testing.assert_allclose([one["mos_low"] for one in scores], np.clip(mos - half, 1, 5), atol=2e-4)
    np.testing.assert_allclose([one["mos_high"] for one in scores], np.clip(mos + half, 1, 5), atol=2e-4)
    # Written in the other forms too; the file itself still gives one output.
    assert main([str(head), str(tmp_path / "f.parquet"), "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [float(row["mos_low"]) for row in rows] == [one["mos_low"] for one in scores]
    assert [row["out_of_range"] for row in rows] == [";".join(one["out_of_range"]) for one in scores]
    assert main([str(head), str(tmp_path / "f.parquet")]) == 0
    header, first, *_ = capsys.readouterr().out.splitlines()
    assert header.split() == ["key", "mos", "mos_low", "mos_high"]
    assert [float(cell) for cell in first.split()[1:4]] == pytest.approx(
        [scores[0][name] for name in ("mos", "mos_low", "mos_high")], abs=6e-4
    )
    assert [tensor.name for tensor in onnx.load(head).graph.output] == ["mos"]


def test_intervals_hold_most_scores_of_clips_that_the_head_never_saw(root, tmp_path, capsys):
    new = labelled(300, seed=9)
    new.write_parquet(tmp_path / "f.parquet")
    scores = scored(capsys, root / "models" / f"{NAME}.onnx", tmp_path / "f.parquet")
    inside = [one["mos_low"] <= mos <= one["mos_high"] for one, mos in zip(scores, new["mos"], strict=True)]
    assert 0.82 < np.mean(inside) < 0.99
    assert np.mean([one["mos_high"] - one["mos_low"] for one in scores]) < 3


def test_a_clip_without_a_score_has_no_interval(root, tmp_path, capsys):
    holes = FEATURES.with_columns(adm2=pl.when(pl.int_range(30) == 3).then(None).otherwise("adm2"))
    holes.write_parquet(tmp_path / "f.parquet")
    one = scored(capsys, root / "models" / f"{NAME}.onnx", tmp_path / "f.parquet")[3]
    assert (one["mos"], one["mos_low"], one["mos_high"]) == (None, None, None)
    assert one["reason"] == "a feature is not known"


def test_a_head_without_an_interval_or_ranges_leaves_those_columns_empty(head, tmp_path, capsys):
    FEATURES.write_parquet(tmp_path / "f.parquet")
    sidecar = head.with_suffix(".json")
    manifest = json.loads(sidecar.read_text())
    before = scored(capsys, head, tmp_path / "f.parquet")
    for name in ("interval", "no_interval", "feature_low", "feature_high"):
        del manifest[name]
    sidecar.write_text(json.dumps(manifest))
    scores = scored(capsys, head, tmp_path / "f.parquet")
    assert [one["mos"] for one in scores] == pytest.approx([one["mos"] for one in before], abs=2e-4)
    assert {(one["mos_low"], one["mos_high"], one["out_of_range"]) for one in scores} == {(None, None, None)}
    assert main([str(head), str(tmp_path / "f.parquet"), "--csv"]) == 0
    row = next(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert (row["mos_low"], row["mos_high"], row["out_of_range"]) == ("", "", "")


def test_columns_beyond_the_training_rows_by_over_a_tenth_of_their_range_are_listed(root, tmp_path, capsys):
    train = pl.read_parquet(root / "train.parquet")
    manifest = json.loads((root / "models" / f"{NAME}.json").read_text())
    low, high = (dict(zip(KONVID_V1.columns, manifest[end], strict=True)) for end in ("feature_low", "feature_high"))
    for name in KONVID_V1.columns:
        least, *_, most = sorted(train[name].cast(pl.Float32))
        assert least <= low[name] < high[name] <= most
    names = {"adm2": 1.09, "motion2": 1.11}  # so many ranges above the lowest value
    middle = train.select(*KONVID_V1.columns).mean()
    rows = pl.concat([middle, middle.with_columns(**{n: low[n] + t * (high[n] - low[n]) for n, t in names.items()})])
    rows = pl.concat([rows, middle.with_columns(vif_scale0=low["vif_scale0"] - 1e6, motion2=1e30)])
    rows.with_columns(key=pl.Series(["in", "near", "far"])).write_parquet(tmp_path / "f.parquet")
    assert main([NAME, str(tmp_path / "f.parquet"), "--root", str(root), "--json"]) == 0
    told = capsys.readouterr()
    found = {one["key"]: one["out_of_range"] for one in json.loads(told.out)["scores"]}
    assert found == {"in": [], "near": ["motion2"], "far": ["vif_scale0", "motion2"]}
    assert f"2 of 3 out of the range that {NAME} was trained on; first: near (motion2)" in told.err
    assert main([NAME, str(tmp_path / "f.parquet"), "--root", str(root)]) == 0
    assert capsys.readouterr().out.splitlines()[3].endswith("  out of range: vif_scale0, motion2")


def test_a_column_of_one_value_in_training_is_out_of_range_at_any_other(head, tmp_path, capsys):
    sidecar = head.with_suffix(".json")
    manifest = json.loads(sidecar.read_text())
    place = manifest["feature_order"].index("adm2")
    manifest["feature_low"][place] = manifest["feature_high"][place] = float(np.float32(0.1))
    sidecar.write_text(json.dumps(manifest))
    FEATURES[:2].with_columns(adm2=pl.Series([0.1, 0.2])).write_parquet(tmp_path / "f.parquet")
    assert ["adm2" in one["out_of_range"] for one in scored(capsys, head, tmp_path / "f.parquet")] == [False, True]


def test_an_onnx_that_does_not_say_what_its_members_give_is_not_its_manifests(head, tmp_path, capsys):
    FEATURES.write_parquet(tmp_path / "f.parquet")
    model = onnx.load(head)
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = ["others" if name == "members" else name for name in names]
    with_model(head, model)
    told = refused(capsys, head, tmp_path / "f.parquet")
    assert "no tensor members in it, expected what each member gives: its manifest holds an interval" in told
