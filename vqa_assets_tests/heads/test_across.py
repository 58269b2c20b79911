"""``cross_corpus_evaluation``: three corpora of which two follow one law and the third its opposite."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from vqa_assets.assets.metadata import heat_map_png
from vqa_assets.errors import TrainingError
from vqa_assets.feature_names import KONVID_V1
from vqa_assets.heads.across import Across, evaluate_across, recipe_of
from vqa_assets.heads.members.training import TorchTrainer
from vqa_assets.heads.publish import near_duplicates, report
from vqa_assets.heads.recipe import UNIFIED_SCHEMA, CorpusFacts
from vqa_assets.heads.settings import TrainingSettings
from vqa_assets.provenance.verify import verify
from vqa_assets_tests.shared.head_tables import FACTS, labelled, quiet, unified
from vqa_assets_tests.shared.platform import data_version, failure, metadata, shown_rows

CORPORA = ("konvid-1k", "konvid-150k", "lsvq", "live-vqc")
ALL_FACTS = {**FACTS, "lsvq": CorpusFacts("LSVQ", "CC BY", "Ying et al. 2021", "lsvq-2021", "attribution")}
QUICK = TrainingSettings(epochs=3, device="cpu", feature_schema="konvid-v1", k_folds=2)


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("tables")
    frames = {
        "konvid-1k": labelled(120),
        "konvid-150k": labelled(120, seed=1),
        "lsvq": labelled(90, seed=2).with_columns(mos=6 - pl.col("mos")),
    }
    return unified(frames, folder / "unified_features.parquet")


def across(tables: dict[str, Path], settings: TrainingSettings = QUICK) -> Across:
    return evaluate_across(recipe_of(CORPORA), tables, ALL_FACTS, settings, TorchTrainer(), quiet)


@pytest.fixture(scope="module")
def done(tables) -> Across:
    return across(tables)


def test_contents_with_equal_ids_in_two_corpora_are_told(tmp_path):
    ids = pl.Series("content_id", [str(i // 2) for i in range(60)])
    frames = {name: labelled(60, seed).with_columns(ids) for seed, name in enumerate(CORPORA[:2])}
    few = unified(frames, tmp_path / "few.parquet")
    said: list[str] = []
    done = evaluate_across(recipe_of(CORPORA), few, ALL_FACTS, QUICK, TorchTrainer(), said.append)
    assert len(done.shared_contents) == 30
    assert any(line.startswith("30 contents stand in several corpora, such as content:0: no head") for line in said)
    assert report(done, QUICK, tmp_path / "few.parquet")["shared_contents"]["count"] == 30


def test_a_head_carries_to_a_corpus_of_the_same_law_and_not_to_its_opposite(done):
    for metric in ("srocc", "plcc"):
        matrix = done.matrix(metric)
        assert matrix["konvid-1k"]["konvid-150k"] > 0.5
        assert matrix["konvid-150k"]["konvid-1k"] > 0.5
        assert matrix["konvid-1k"]["lsvq"] < -0.5
        assert matrix["lsvq"]["konvid-1k"] < -0.5
        assert all(matrix[name][name] > 0.5 for name in done.corpora)


def test_every_row_of_the_other_corpus_is_tested_and_the_diagonal_is_out_of_fold(done):
    rows = {name: done.corpora and sum(c == name for c in done.table.corpora) for name in done.corpora}
    assert {pair: cell.rows for pair, cell in done.cells.items()} == {
        (one, other): rows[other] for one in done.corpora for other in done.corpora
    }


def test_each_corpus_is_left_out_once(done):
    assert set(done.left_out) == set(done.corpora)
    assert done.left_out["lsvq"].scores.plcc < -0.5
    assert done.left_out["konvid-1k"].rows == 120


def test_the_report_has_no_nan_and_says_what_was_read_and_what_was_not(done, tables):
    told = report(done, QUICK, tables["lsvq"])
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert told["schema"] == "cross-corpus-evaluation-v1"
    assert (told["feature_schema"], told["feature_order"]) == ("konvid-v1", list(KONVID_V1.columns))
    assert told["absent"] == ["live-vqc"]
    assert told["corpora"]["lsvq"]["contents"] == 45
    assert told["srocc"]["lsvq"]["konvid-1k"] == done.matrix("srocc")["lsvq"]["konvid-1k"]
    assert len(told["cells"]) == 9


def test_contents_of_both_corpora_are_not_tested_on(tmp_path):
    one, two = labelled(40), labelled(40, seed=1)
    two = two.with_columns(content_id=pl.concat([one["content_id"][:10], two["content_id"][10:]]))
    found = across(unified({"konvid-1k": one, "lsvq": two}, tmp_path / "one.parquet"), QUICK.but(epochs=1))
    assert found.cells["konvid-1k", "lsvq"].rows == 30
    assert found.cells["lsvq", "konvid-1k"].rows == 30


def test_a_corpus_of_two_contents_has_no_diagonal(tmp_path):
    small = unified({"konvid-1k": labelled(120), "lsvq": labelled(4, seed=5)}, tmp_path / "small.parquet")
    found = across(small, QUICK.but(epochs=1, k_folds=5))
    assert found.cells["lsvq", "lsvq"] is None
    assert found.matrix("plcc")["lsvq"]["lsvq"] is None
    assert heat_map_png({"plcc": found.matrix("plcc")}).startswith(b"\x89PNG")


def test_one_corpus_is_too_few(tables):
    with pytest.raises(TrainingError, match="labelled rows of konvid-1k only; absent: konvid-150k, lsvq, live-vqc"):
        across({"konvid-1k": tables["konvid-1k"]})


def test_the_heat_map_stays_small_for_every_corpus():
    rng = np.random.default_rng(0)
    names = [f"corpus-{i}" for i in range(9)]
    matrix = {one: {other: float(rng.uniform(-1, 1)) for other in names} for one in names}
    png = heat_map_png({"srocc": matrix, "plcc": matrix})
    assert png.startswith(b"\x89PNG")
    assert len(png) < 40_000


def hashed(frame: pl.DataFrame, seed: int) -> pl.DataFrame:
    """The frame with the columns of a perceptual hash; no two clips alike."""
    rng = np.random.default_rng(seed)
    words = [["".join(rng.choice(list("0123456789abcdef"), 16)) for _ in range(5)] for _ in range(len(frame))]
    return frame.with_columns(
        clip_phash=pl.Series(["-".join(five) for five in words]), width=640, height=360, duration_s=8.0
    )


def test_clips_of_two_corpora_that_look_alike_are_reported(tmp_path):
    one, two = hashed(labelled(20), 1), hashed(labelled(20, seed=1), 2)
    same = pl.when(pl.int_range(20) == 3).then(pl.lit(one["clip_phash"][7])).otherwise("clip_phash")
    twin = pl.when(pl.int_range(20) == 5).then(pl.col("clip_phash").first()).otherwise("clip_phash")
    two = two.with_columns(clip_phash=same).with_columns(clip_phash=twin)
    table = unified({"konvid-1k": one, "lsvq": two}, tmp_path / "one.parquet")["lsvq"]
    assert near_duplicates(table, ("lsvq", "live-vqc")) is None
    found = near_duplicates(table, ("konvid-1k", "lsvq"))
    assert found == {"groups": 1, "clips": 2, "examples": [["konvid-1k: clip-0-7.mp4", "lsvq: clip-1-3.mp4"]]}


def test_without_hashes_nothing_is_said_of_clips_that_look_alike(tables):
    assert near_duplicates(tables["lsvq"], CORPORA) is None


def test_the_asset_leaves_a_file_its_manifest_and_a_picture(tables, root_path, platform):
    (root_path / "aggregated").mkdir()
    (root_path / "aggregated" / "unified_features.parquet").write_bytes(tables["lsvq"].read_bytes())
    settings = {"epochs": 2, "device": "cpu", "k_folds": 2, "feature_schema": "konvid-v1"}
    result = platform.run("cross_corpus_evaluation", **settings)
    assert result.success
    told = metadata(result, "cross_corpus_evaluation")
    first = data_version(result, "cross_corpus_evaluation")
    for _ in range(2):
        assert data_version(platform.run("cross_corpus_evaluation", **settings), "cross_corpus_evaluation") == first
    path = root_path / "models" / "cross_corpus_evaluation.json"
    assert json.loads(path.read_text())["schema"] == "cross-corpus-evaluation-v1"
    assert told["path"] == "models/cross_corpus_evaluation.json"
    assert [row["trained on"] for row in shown_rows(told["srocc"])] == ["konvid-1k", "konvid-150k", "lsvq"]
    assert told["heat_map"].startswith("![trained on, tested on](data:image/png;base64,")
    assert "chug" in told["absent_corpora"]
    assert verify(root_path / "models" / "cross_corpus_evaluation.manifest.json").holds


def test_without_the_columns_of_the_default_schema_they_are_listed(tables, root_path, platform):
    (root_path / "aggregated").mkdir()
    (root_path / "aggregated" / "unified_features.parquet").write_bytes(tables["lsvq"].read_bytes())
    told = failure(platform.run("cross_corpus_evaluation", device="cpu"))
    assert "konvid-1k: si_mean (absent or all missing)" in told
    assert UNIFIED_SCHEMA in told


def test_a_corpus_of_one_content_costs_no_other_its_cells(tmp_path):
    lonely = labelled(20, seed=6).with_columns(content_id=pl.lit("one"))
    found = across(unified({"konvid-1k": labelled(120), "lsvq": lonely}, tmp_path / "a.parquet"), QUICK.but(epochs=1))
    assert found.cells["lsvq", "konvid-1k"] is None
    assert found.cells["lsvq", "lsvq"] is None
    assert found.cells["konvid-1k", "lsvq"].rows == 20
    assert found.cells["konvid-1k", "konvid-1k"].rows == 120
