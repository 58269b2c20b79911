"""``unified_mos_head_v1``: every corpus that is in unified_features, and how well each is predicted by the others."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from vqa_assets.corpora import CORPORA
from vqa_assets.errors import SettingsError, TrainingError
from vqa_assets.feature_names import KONVID_V1
from vqa_assets.heads.build import build_head
from vqa_assets.heads.members.training import TorchTrainer
from vqa_assets.heads.part_training import train_parts
from vqa_assets.heads.recipe import KONVID_MOS_HEAD_V1, UNIFIED_MOS_HEAD_V1
from vqa_assets.heads.rows.reading import read_training_table
from vqa_assets.heads.rows.splitting import Part, corpora_out
from vqa_assets.heads.settings import TrainingSettings
from vqa_assets_tests.shared.head_tables import FACTS, labelled, quiet, unified, written

QUICK = TrainingSettings(epochs=2, device="cpu", protocol_splits=0, feature_schema="konvid-v1", export=False)


def build(tables: dict[str, Path], settings: TrainingSettings = QUICK, say=quiet) -> dict[str, Any]:
    return build_head(UNIFIED_MOS_HEAD_V1, tables, FACTS, settings, TorchTrainer(), say).manifest


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> dict[str, Path]:
    """Two corpora of one law in one table."""
    path = tmp_path_factory.mktemp("tables") / "unified_features.parquet"
    return unified({"konvid-1k": labelled(100), "konvid-150k": labelled(70, seed=1)}, path)


@pytest.fixture(scope="module")
def manifest(tables) -> dict[str, Any]:
    return build(tables)


def test_it_reads_every_corpus_and_lists_the_absent(manifest):
    assert UNIFIED_MOS_HEAD_V1.corpora == tuple(CORPORA)
    assert set(manifest["corpora"]) == {"konvid-1k", "konvid-150k"}
    assert set(manifest["absent"]) == set(CORPORA) - set(manifest["corpora"])


def test_of_the_one_table_each_corpus_has_its_own_rows(manifest):
    rows = {name: (corpus["rows"], corpus["counts"]["rows_in"]) for name, corpus in manifest["corpora"].items()}
    assert rows == {"konvid-1k": (100, 100), "konvid-150k": (70, 70)}


def test_columns_of_a_ladder_concern_the_rows_that_are_on_one(tmp_path):
    """In the one table every corpus has CHUG's columns: clips without a content are refused only on a ladder."""
    on_none = labelled(40).drop("content_id").with_columns(chug_ref=pl.lit(None, pl.Int64))
    frames = {"konvid-1k": on_none, "chug": labelled(40, seed=1).with_columns(chug_ref=pl.lit(0))}
    table = read_training_table(unified(frames, tmp_path / "one.parquet"), KONVID_V1, unified=True)
    assert {name: counts.used for name, counts in table.counts.items()} == {"konvid-1k": 40, "chug": 40}
    frames["chug"] = frames["chug"].with_columns(content_id=pl.lit(None, pl.String))
    with pytest.raises(TrainingError, match="chug: a bitrate ladder whose contents are not known: 40 of 40 rows"):
        read_training_table(unified(frames, tmp_path / "two.parquet"), KONVID_V1, unified=True)


def test_a_ladder_with_a_split_but_no_contents_is_not_folded_beside_corpora_that_have_no_split(tmp_path):
    """Its training rows would be folded by clip then, and rungs of one source stand on both sides."""
    words = pl.Series("split", ["train"] * 30 + ["test"] * 10)
    ladder = labelled(40, seed=1).drop("content_id").with_columns(words, beyond8bits_ref=pl.lit(0))
    alone = read_training_table(unified({"beyond8bits": ladder}, tmp_path / "one.parquet"), KONVID_V1, unified=True)
    assert alone.counts["beyond8bits"].used == 40
    frames = {"konvid-1k": labelled(40), "beyond8bits": ladder}
    with pytest.raises(TrainingError, match="beyond8bits: a bitrate ladder whose contents are not known: 30 of 30"):
        read_training_table(unified(frames, tmp_path / "two.parquet"), KONVID_V1, unified=True)


def test_each_corpus_is_judged_by_a_head_of_the_others(manifest):
    told = manifest["leave_one_corpus_out"]
    assert {corpus: judged["rows"] for corpus, judged in told.items()} == {"konvid-1k": 100, "konvid-150k": 70}
    assert all(judged["plcc"] > 0.3 for judged in told.values())  # both corpora follow one law
    assert all(low <= told[c]["plcc"] <= high for c in told for low, high in [told[c]["interval_95"]["plcc"]])


def test_a_corpus_whose_scores_run_the_other_way_is_told(tmp_path):
    turned, told = labelled(50, seed=1).with_columns(mos=6 - pl.col("mos")), []
    of_both = unified({"konvid-1k": labelled(60), "konvid-150k": turned}, tmp_path / "unified_features.parquet")
    build(of_both, QUICK.but(k_folds=2), told.append)
    backwards = "warning: konvid-150k: a head of the other corpora ranks its clips backwards (SROCC -0."
    assert any(line.startswith(backwards) and line.endswith("fall as quality rises?") for line in told)


def test_a_corpus_of_one_score_is_told(tmp_path):
    told = []
    of_both = {"konvid-1k": labelled(40), "konvid-150k": labelled(20, seed=1).with_columns(mos=pl.lit(3.0))}
    build(unified(of_both, tmp_path / "unified_features.parquet"), QUICK.but(k_folds=2, epochs=1), told.append)
    assert [line.partition(", and")[0] for line in told if "labels are" in line] == [
        "warning: konvid-150k: all its labels are 3"
    ]


def test_a_head_of_one_corpus_has_no_other_to_be_judged_by(tables):
    assert build(tables, QUICK.but(exclude_corpora=("konvid-150k",)))["leave_one_corpus_out"] == {}


def test_a_head_of_some_corpora_reports_no_corpus_left_out(tables):
    m = build_head(KONVID_MOS_HEAD_V1, tables, FACTS, QUICK, TorchTrainer(), quiet).manifest
    assert "leave_one_corpus_out" not in m


def test_the_shared_contents_of_a_corpus_left_out_are_not_trained_on(tmp_path):
    one, two = labelled(40), labelled(40, seed=1)
    two = two.with_columns(content_id=pl.concat([one["content_id"][:6], two["content_id"][6:]]))
    paths = {"a": written(one, tmp_path / "a.parquet"), "b": written(two, tmp_path / "b.parquet")}
    table = read_training_table(paths, KONVID_V1)
    part = corpora_out(table)["a"]
    assert (len(part.train), len(part.test)) == (34, 40)
    assert not {table.groups[row] for row in part.train} & {table.groups[row] for row in part.test}


def predictions(tables: dict[str, Path], **weights: float) -> np.ndarray:
    from vqa_assets.heads.members.model import predict

    table = read_training_table(tables, KONVID_V1)
    settings = QUICK.but(epochs=4, corpus_weights={k.replace("_", "-"): v for k, v in weights.items()})
    everything = np.arange(len(table.mos))
    trained = train_parts(table, [Part("all", everything, everything)], settings, TorchTrainer(), quiet)
    return predict(trained.heads[0], table.features, table.onehot)


def test_weights_move_the_head_towards_a_corpus_and_equal_ones_leave_it(tmp_path):
    one, two = labelled(80), labelled(80, seed=1).with_columns(mos=(pl.col("mos") - 1.0).clip(1, 5))
    paths = {"konvid-1k": written(one, tmp_path / "a.parquet"), "konvid-150k": written(two, tmp_path / "b.parquet")}
    plain, first, second = (
        predictions(paths, konvid_1k=one, konvid_150k=two) for one, two in ((1, 1), (50, 1), (1, 50))
    )
    np.testing.assert_array_equal(plain, predictions(paths))
    assert first.mean() > plain.mean() + 0.2 > second.mean() + 0.4


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf"), 3e38, 1e-60])
def test_a_weight_that_means_nothing_is_refused(weight):
    with pytest.raises(SettingsError, match=r"corpus_weights\.lsvq: .*expected a weight from 0.000001 to 1000000"):
        TrainingSettings.of({"corpus_weights": {"lsvq": weight}}, "")


def test_a_weight_of_a_corpus_that_is_not_there_is_refused(tables):
    with pytest.raises(SettingsError, match="corpus_weights: konvid, expected some of konvid-1k"):
        build(tables, QUICK.but(corpus_weights={"konvid": 2.0}))


def test_what_a_run_weighs_and_leaves_out_is_in_the_manifest(tables):
    m = build(tables, QUICK.but(corpus_weights={"konvid-1k": 2.0}, exclude_corpora=("lsvq",)))
    assert m["training_recipe"]["settings"]["corpus_weights"] == {"konvid-1k": 2.0}
    assert m["excluded"] == ["lsvq"]
    assert "lsvq" not in m["absent"]
