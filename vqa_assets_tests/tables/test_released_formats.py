"""Every file that a released version wrote opens: it is read, gone on from, and nothing of it is lost or made twice."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import onnx
import polars as pl
import pytest
from onnx import helper

from vqa_assets.describe import main as describe
from vqa_assets.errors import NewerFormatError
from vqa_assets.features.cache import CacheKey, FeatureCache
from vqa_assets.heads.using import open_head
from vqa_assets.ingest.cache import read_only
from vqa_assets.ingest.progress import Progress
from vqa_assets.judge import main as judge
from vqa_assets.predict import main as predict
from vqa_assets.provenance.verify import main as verify
from vqa_assets.rehearse import main as rehearse
from vqa_assets.status import main as status
from vqa_assets.tables.files import read_json_object
from vqa_assets.tables.makers import Wrote, made_by, mark, seal, sealed
from vqa_assets_tests.shared.platform import Platform, failure
from vqa_assets_tests.shared.released_formats import CLIPS, CORPUS, HEAD, unpack

RELEASED = sorted((Path(__file__).parents[1] / "shared" / "released").glob("*.tar.gz"))
MAKERS = {
    f"{CORPUS}/konvid_150k.jsonl": "corpus_jsonl",
    f"{CORPUS}/features.parquet": "clip_features",
    f"{CORPUS}/features_with_mos.parquet": "mos_features",
    "aggregated/unified_corpus.jsonl": "unified_corpus",
    "aggregated/unified_corpus.parquet": "unified_corpus",
    "encode-grid/bvi_dvc_corpus.jsonl": "encode_grid_jsonl",
    "encode-grid/fr_v2_train_corpus.jsonl": "fr_training_corpus",
    f"models/{HEAD}.onnx": "mos_head",
}


@pytest.fixture(params=RELEASED, ids=lambda archive: archive.name.partition(".")[0])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The data root that a released version left."""
    return unpack(request.param, tmp_path)


def test_both_editions_before_this_one_are_there() -> None:
    assert {archive.name.partition(".")[0] for archive in RELEASED} >= {"first", "second"}


def test_of_every_file_it_is_known_who_made_it_and_that_nobody_changed_it(root: Path) -> None:
    made = {name: made_by(root / name) for name in MAKERS}
    assert {name: one and one.stage for name, one in made.items()} == MAKERS
    assert {one and one.content for one in made.values()} == {Wrote.SAME}


def test_every_document_opens_and_its_files_are_what_it_says(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    documents = {path: read_json_object(path) for path in root.rglob("*.json") if "/bvi-dvc/" not in str(path)}
    replayed = [path for path, document in documents.items() if "run_provenance" in document]
    assert len(replayed) >= 7
    for path in replayed:
        # Of an ingest the progress file went on when the manifest was written; all else stands.
        if path.name != "konvid_150k.manifest.json":
            assert verify(["verify", str(path)]) == 0, capsys.readouterr().out
    assert status(["--root", str(root)]) == 0
    assert f"rows:            {CLIPS}" in capsys.readouterr().out


def test_caches_and_progress_hold_all_that_was_found_out(root: Path) -> None:
    clips, *_ = read_only(root / CORPUS / ".ingest-cache.sqlite")
    assert len(clips) == CLIPS
    assert Progress(root / CORPUS / ".download-progress.json").entries["gone.mp4"].state == "failed"
    cache = root / CORPUS / ".feature-cache.sqlite"
    with sqlite3.connect(cache) as rows:
        keys = [CacheKey(*row) for row in rows.execute("SELECT sha256, reference_sha256, version FROM measured")]
    rows.close()
    assert {key.sha256 for key in keys} == {clip.sha256 for clip in clips.values()}
    with FeatureCache(cache) as opened:
        assert all(outcome is not None and outcome.row for outcome in map(opened.get, keys))


def test_its_head_scores_its_table(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnx = root / "models" / f"{HEAD}.onnx"
    assert open_head(onnx).target == "mos"
    assert predict([str(onnx), str(root / CORPUS / "features.parquet"), "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert str(scores).count(".mp4") >= CLIPS
    # Heads of earlier editions say neither how far off they may be nor what they were trained on.
    assert {(one["mos_low"], one["mos_high"], one["out_of_range"]) for one in scores["scores"]} == {(None, None, None)}


def test_a_run_goes_on_from_it_and_what_did_not_change_stays_as_it_is(root: Path) -> None:
    jsonl, features = root / CORPUS / "konvid_150k.jsonl", root / CORPUS / "features.parquet"
    lines, measured = jsonl.read_bytes(), pl.read_parquet(features)
    unified_corpus = root / "aggregated" / "unified_corpus.parquet"
    rows = pl.read_parquet(unified_corpus).drop("aggregated_at_utc")
    with dg.DagsterInstance.ephemeral() as instance:
        platform = Platform(root, instance)
        ingested = platform.run("corpus_jsonl", partition=CORPUS)
        assert ingested.success, failure(ingested)
        assert read_json_object(root / CORPUS / "konvid_150k.manifest.json")["counters"]["unchanged"] == CLIPS
        assert jsonl.read_bytes() == lines
        unified = platform.run("unified_corpus")
        assert unified.success, failure(unified)
        for asset in ("clip_features", "mos_features"):
            again = platform.run(asset, partition=CORPUS)
            assert again.success, failure(again)
    assert pl.read_parquet(unified_corpus).select(rows.columns).equals(rows)
    made = made_by(features)
    assert made is not None
    assert (made.stage, made.is_ours) == ("clip_features", True)
    assert pl.read_parquet(features)["key"].equals(measured["key"])


def test_a_corpus_whose_manifest_a_later_version_wrote_is_refused_by_every_stage_and_stays(root: Path) -> None:
    manifest = root / CORPUS / "konvid_150k.manifest.json"
    document = json.loads(manifest.read_bytes())
    manifest.write_text(json.dumps({**document, "schema": "mos-corpus-manifest-v2"}))
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    with dg.DagsterInstance.ephemeral() as instance:
        platform = Platform(root, instance)
        for asset, partition in (("corpus_jsonl", CORPUS), ("unified_corpus", None), ("clip_features", CORPUS)):
            run = platform.run(asset, partition=partition)
            assert not run.success
            assert "which a later version of vqa-assets wrote" in failure(run)
            assert "install that version" in failure(run)
    assert status(["--root", str(root)]) == 1
    after = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert {path: after[path] for path in before} == before
    with pytest.raises(NewerFormatError):
        read_json_object(manifest)


def _later_document(path: Path) -> None:
    document = json.loads(path.read_bytes())
    path.write_text(json.dumps({**document, "schema": f"{document['schema'].rpartition('-v')[0]}-v2"}))


def _later_table(path: Path) -> None:
    text = mark("clip_features")["vqa_assets"].replace('"format":1', '"format":2')
    pl.read_parquet(path).write_parquet(path, metadata={"vqa_assets": text})
    seal(path)


def _later_head(path: Path) -> None:
    path.with_suffix(".json").unlink()
    model = onnx.load(path)
    text = mark("mos_head", footer=False)["vqa_assets"].replace('"format":1', '"format":2')
    helper.set_model_props(model, {"vqa_assets": text})
    path.write_bytes(sealed(model.SerializeToString()))


def _later_cache(path: Path) -> None:
    with sqlite3.connect(path) as cache:
        cache.execute("PRAGMA user_version = 7")
    cache.close()


ONNX, LABELLED = f"models/{HEAD}.onnx", f"{CORPUS}/features_with_mos.parquet"


@pytest.mark.parametrize(
    ("name", "make_later", "command", "arguments"),
    [
        (f"models/{HEAD}.json", _later_document, predict, [ONNX, f"{CORPUS}/features.parquet"]),
        (f"{CORPUS}/features.parquet", _later_table, predict, [ONNX, f"{CORPUS}/features.parquet"]),
        (ONNX, _later_head, judge, [ONNX, LABELLED, "--columns", "adm2,vif_scale0,motion2,si"]),
        (LABELLED, _later_table, judge, ["si", LABELLED]),
        ("aggregated/unified_corpus.parquet", _later_table, describe, ["aggregated/unified_corpus.parquet"]),
        (
            "aggregated/unified_corpus.manifest.json",
            _later_document,
            verify,
            ["verify", "aggregated/unified_corpus.manifest.json"],
        ),
        (f"{CORPUS}/konvid_150k.manifest.json", _later_document, status, []),
        (f"{CORPUS}/konvid_150k.manifest.json", _later_document, rehearse, [CORPUS]),
        (f"{CORPUS}/.ingest-cache.sqlite", _later_cache, rehearse, [CORPUS]),
    ],
    ids=lambda value: (
        getattr(value, "__module__", str(value)).rpartition(".")[2] if not isinstance(value, list) else ""
    ),
)
def test_every_command_fails_and_says_what_to_do_about_a_file_of_a_later_version(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    make_later: Callable[[Path], None],
    command: Callable[[list[str]], int],
    arguments: list[str],
) -> None:
    root = unpack(RELEASED[-1], tmp_path)
    make_later(root / name)
    before = (root / name).read_bytes()
    monkeypatch.setenv("VQA_DATA_ROOT", str(root))
    monkeypatch.chdir(root)
    # 1 of judge says that a gate was missed
    assert command(arguments) == (2 if command is judge else 1)
    said = capsys.readouterr()
    assert "which a later version of vqa-assets wrote" in said.out + said.err
    assert "install that version" in said.out + said.err
    assert (root / name).read_bytes() == before
