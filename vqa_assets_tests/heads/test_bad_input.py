"""Tables and settings that a head must not be trained on: each ends in an error that says what and what to do."""

import json
from pathlib import Path

import dagster as dg
import numpy as np
import onnxruntime
import polars as pl
import pytest

from vqa_assets.assets.heads import columns_result
from vqa_assets.errors import SettingsError, TableError, TrainingError, VqaError
from vqa_assets.feature_names import KONVID_V1, SHOT_FEATURES
from vqa_assets.heads.build import build_head
from vqa_assets.heads.card import render_card
from vqa_assets.heads.members.training import TorchTrainer
from vqa_assets.heads.recipe import KONVID_MOS_HEAD_V1
from vqa_assets.heads.rows.reading import read_training_table
from vqa_assets.heads.rows.splitting import plan_splits
from vqa_assets.heads.settings import TrainingSettings
from vqa_assets_tests.shared.head_tables import FACTS, chug_labelled, labelled, quiet, written


def train(tmp_path: Path, frame: pl.DataFrame, **settings: object) -> dict[str, object]:
    """The manifest of a quick head on one table."""
    quick = {"epochs": 1, "device": "cpu", "export": False, "protocol_splits": 0}
    chosen = TrainingSettings.of({**quick, **settings}, "")
    tables = {"konvid-1k": written(frame, tmp_path / "t.parquet")}
    return build_head(KONVID_MOS_HEAD_V1, tables, FACTS, chosen, TorchTrainer(), quiet).manifest


def one_content(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(content_id=pl.lit("the only one"))


def contents(frame: pl.DataFrame, count: int) -> pl.DataFrame:
    return frame.with_columns(content_id=pl.int_range(pl.len()).mod(count).cast(pl.String))


def with_split(frame: pl.DataFrame, word: str | None) -> pl.DataFrame:
    return frame.with_columns(split=pl.when(pl.int_range(pl.len()) < 30).then(pl.lit("train")).otherwise(pl.lit(word)))


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (labelled(1), r"1 row of 1 content: content-0-0, expected at least 4: two folds of two contents each"),
        (one_content(labelled(40)), "40 rows of 1 content: the only one, expected at least 4"),
        (contents(labelled(40), 2), "40 rows of 2 contents: 0, 1, expected at least 4"),
        (contents(labelled(40), 3), "40 rows of 3 contents: 0, 1, 2, expected at least 4"),
        (labelled(40).with_columns(mos=pl.lit(2.5)), "all 40 labels are equal: 2.5, expected scores that differ"),
        (labelled(40).with_columns(mos=pl.col("mos") + 3), r"MOS off the training scale: .*expected 1 to 5"),
        (
            with_split(labelled(60), "holdout"),
            "unknown words in the split column: 'holdout', expected train, val, test",
        ),
        (labelled(40).with_columns(adm2=pl.lit("high")), r"konvid-1k: adm2 \(text: 'high'\)"),
        (
            labelled(40).with_columns(
                adm2=pl.when(pl.int_range(40) < 20).then(pl.lit("high")).otherwise(pl.lit("0.5"))
            ),
            r"konvid-1k: adm2 \(text: 'high'\)",
        ),
        (
            labelled(40).drop("adm2").with_columns(adm2_mean=pl.lit("high")),
            r"konvid-1k: adm2 \(text in adm2_mean: 'high'\)",
        ),
        (
            labelled(40).with_columns(content_id=pl.lit(["a"])),
            r"columns that hold no words: content_id: List\(String\), expected one word a row",
        ),
        (labelled(40).with_columns(mos_label_status=pl.lit(1)), "no labelled row: konvid-1k: 40 rows"),
        (labelled(40).with_columns(adm2=pl.lit(float("nan"))), r"konvid-1k: adm2 \(absent or all missing\)"),
        (labelled(40).with_columns(adm2=pl.lit(float("inf"))), r"konvid-1k: adm2 \(absent or all missing\)"),
        (labelled(40).with_columns(adm2=pl.lit(0.5)), r"konvid-1k: adm2 \(constant 0.5\)"),
        (
            labelled(40).with_columns(key=pl.lit(None, pl.String)),
            r"no labelled row: konvid-1k: 40 rows \(40 with a MOS, and without the name of their clip\)",
        ),
        # An SD in words would be an SD that is not known, and its clip weighed like any other.
        (labelled(40).with_columns(mos_std_dev=pl.lit("high")), "columns that hold no numbers: mos_std_dev: 'high'"),
        (labelled(40).with_columns(mos_n_ratings=pl.lit("20 people")), "mos_n_ratings: '20 people'"),
        (labelled(40).clear(), "no labelled row: konvid-1k: 0 rows"),
        (
            labelled(40).with_columns(adm2=pl.lit([0.5])),
            r"columns that hold no numbers: adm2: List\(Float64\), expected one number",
        ),
        (
            labelled(40).with_columns(mos=pl.lit("good")),
            "columns that hold no numbers: mos: 'good', expected one number",
        ),
        (
            labelled(40).with_columns(motion2=100 - 25 * pl.col("mos")),
            "features that are the label: motion2: a straight line of mos",
        ),
        (
            labelled(40).with_columns(motion2=(20 * pl.col("mos")).round(0)),
            "features that are the label: motion2: a straight line of mos",
        ),
    ],
    ids=[
        *("one clip", "one content", "two contents", "three contents", "equal labels", "off the scale", "split word"),
        *(
            "text",
            "some text",
            "text beside",
            "nested words",
            "a status of another type",
            "nan",
            "infinity",
            "constant",
            "no names",
            "SD in words",
            "count in words",
            "empty",
        ),
        *("list", "label text", "label as a feature", "rounded label as a feature"),
    ],
)
def test_a_table_that_cannot_be_trained_on_is_refused(tmp_path, frame, message):
    with pytest.raises(TrainingError, match=message):
        train(tmp_path, frame)


def test_text_is_no_missing_value_that_could_be_filled(tmp_path):
    with pytest.raises(TrainingError, match=r"konvid-1k: adm2 \(text: 'high'\)"):
        train(tmp_path, labelled(40).with_columns(adm2=pl.lit("high")), allow_missing_features=("adm2",))


def test_a_table_damaged_inside_is_told(tmp_path):
    path = tmp_path / "damaged.parquet"
    labelled(4000).write_parquet(path)
    content = bytearray(path.read_bytes())
    content[100:4000] = bytes(3900)
    path.write_bytes(content)
    settings = TrainingSettings(epochs=1, device="cpu", protocol_splits=0, export=False)
    with pytest.raises(TrainingError, match=r"labelled table of konvid-1k: .*expected a table that can be read"):
        build_head(KONVID_MOS_HEAD_V1, {"konvid-1k": path}, FACTS, settings, TorchTrainer(), quiet)


def test_some_values_that_are_not_finite_cost_their_rows_only(tmp_path):
    row = pl.int_range(60)
    holed = labelled(60).with_columns(
        adm2=pl.when(row == 3).then(float("nan")).otherwise("adm2"),
        motion2=pl.when(row == 4).then(float("-inf")).when(row == 5).then(1e300).otherwise("motion2"),
        shot_count_norm=pl.when(row == 6).then(pl.lit("n/a")).otherwise(pl.col("shot_count_norm").cast(pl.String)),
    )
    manifest = train(tmp_path, holed)
    counts = manifest["corpora"]["konvid-1k"]["counts"]  # type: ignore[index]
    assert (counts["used"], counts["rows_missing_features"]) == (56, 4)
    assert "Left out of the 60 rows of konvid-1k: 4 without all features." in render_card(manifest)
    checked = columns_result(manifest)
    assert (checked.passed, checked.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert checked.description == "rows left out for a feature that is not known: konvid-1k 4"


def test_clips_without_a_cut_make_a_head_whose_shot_columns_are_listed_with_an_sd_of_1(tmp_path):
    manifest = train(tmp_path, labelled(60).with_columns(pl.lit(0.25).alias(name) for name in SHOT_FEATURES))
    assert manifest["constant"] == list(SHOT_FEATURES)
    sd = dict(zip(manifest["feature_order"], manifest["feature_std"], strict=True))  # type: ignore[call-overload]
    assert [sd[name] for name in SHOT_FEATURES] == [1, 1, 1]
    checked = columns_result(manifest)
    assert (checked.passed, checked.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert checked.description == f"of one value: {', '.join(SHOT_FEATURES)}"
    assert f"Columns of one value: {', '.join(SHOT_FEATURES)}." in render_card(manifest)


def test_what_is_held_out_fills_nothing(tmp_path):
    frame = labelled(120).with_columns(adm2=pl.when(pl.int_range(120) % 3 > 0).then("adm2"))
    table = read_training_table({"konvid-1k": written(frame, tmp_path / "t.parquet")}, KONVID_V1, ("adm2",))
    held = plan_splits(table, TrainingSettings()).holdout
    far = frame.with_columns(adm2=pl.when(pl.int_range(120).is_in(held)).then(pl.col("adm2") + 1000).otherwise("adm2"))
    one, other = (train(tmp_path, each, allow_missing_features=("adm2",))["filled"] for each in (frame, far))
    assert one == other != {}


def test_a_card_tells_the_release_that_the_rows_are_of(tmp_path):
    manifest = train(tmp_path, labelled(60).with_columns(corpus_version=pl.lit("konvid-1k-2030")))
    assert manifest["corpora"]["konvid-1k"]["version"] == "konvid-1k-2030"  # type: ignore[index]
    assert "| konvid-1k-2030 | 60 |" in render_card(manifest)
    assert train(tmp_path, labelled(60))["corpora"]["konvid-1k"]["version"] == "konvid-1k-2017"  # type: ignore[index]


def test_a_corpus_of_one_row_does_not_make_its_columns_constant(tmp_path):
    tables = {"konvid-1k": written(labelled(60), tmp_path / "a.parquet")}
    tables["konvid-150k"] = written(labelled(1, seed=3), tmp_path / "b.parquet")
    settings = TrainingSettings(epochs=1, device="cpu", protocol_splits=0, export=False)
    manifest = build_head(KONVID_MOS_HEAD_V1, tables, FACTS, settings, TorchTrainer(), quiet).manifest
    assert manifest["corpora"]["konvid-150k"]["rows"] == 1


def test_a_table_of_a_corpus_that_is_read_already_is_no_extra_one(tmp_path):
    more = written(labelled(30, seed=5), tmp_path / "more.parquet")
    with pytest.raises(SettingsError, match="extra_tables: konvid-1k, of which a table is read already"):
        train(tmp_path, labelled(60), extra_tables={"konvid-1k": str(more)})
    manifest = train(tmp_path, labelled(60), extra_tables={"mine": str(more)})
    assert set(manifest["corpora"]) == {"konvid-1k", "mine"}
    assert str(manifest["intended_use"]).endswith("; trained here on konvid-1k, mine")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"feature_schema": "konvid-v9"}, "feature_schema: 'konvid-v9', expected one of konvid-v1, nr-v1"),
        ({"device": "tpu"}, "device: 'tpu', expected auto"),
        ({"device": "cuda:99"}, "device: 'cuda:99', expected auto"),
        (
            {"tables": {"mine": "/nowhere/mine.parquet"}},
            r"labelled table of mine /nowhere/mine\.parquet: found nothing there",
        ),
        ({"columns": ("adm2", "gone")}, r"konvid-1k: gone \(absent or all missing\)"),
        ({"display_profile_json": "/nowhere/tv.json"}, "which reads no display"),
        ({"seed": -1}, "seed: -1, expected a whole number of at least 0"),
        ({"columns": ("adm2", "mos", "mos_std_dev")}, r"columns: \['mos', 'mos_std_dev'\], expected features"),
        ({"columns": ("adm2", "Quality", "DMOS")}, r"columns: \['Quality', 'DMOS'\], expected features"),
        ({"columns": ("adm2", "v[0:8]")}, r"columns: \['v\[0:8\]'\], expected columns of one number a row"),
    ],
    ids=[
        "schema",
        "device",
        "device number",
        "table",
        "column",
        "display",
        "seed",
        "label",
        "label by another name",
        "a block",
    ],
)
def test_a_setting_that_cannot_be_followed_is_named(tmp_path, settings, message):
    with pytest.raises(VqaError, match=message) as told:
        train(tmp_path, labelled(60), **settings)
    assert isinstance(told.value, SettingsError | TableError | TrainingError)


def test_a_ladder_whose_contents_are_not_known_is_never_folded_by_clip(tmp_path):
    bare = chug_labelled(20).drop("content_id")
    with pytest.raises(TrainingError, match="a bitrate ladder whose contents are not known: 100 of 100 rows"):
        train(tmp_path, bare, columns=("adm2", "motion2"))
    named = bare.with_columns(chug_content_name=pl.col("key").str.extract(r"-(\d+)\.mp4").cast(pl.Int64) // 5)
    groups = train(tmp_path, named, columns=("adm2", "motion2"))["folds"]["pooled"]["groups"]  # type: ignore[index]
    assert groups < 20
    halves = np.where(np.arange(100) < 70, "train", "test")
    assert (
        train(tmp_path, bare.with_columns(split=pl.Series(halves)), columns=("adm2", "motion2"))["status"] == "Proposed"
    )


ROW = pl.int_range(pl.len())
ODD_BUT_TRAINED_ON = {
    "values up to 1e30": labelled(40).with_columns(motion2=pl.when(ROW % 2 == 0).then(1e30).otherwise(-1e30)),
    "one value of 1e30": labelled(40).with_columns(motion2=pl.when(ROW == 7).then(1e30).otherwise("motion2")),
    "whole numbers of two values": labelled(40).with_columns(motion2=ROW % 2),
    "a column twice": labelled(40).with_columns(motion2="adm2"),
    "labels all 3.0 but one": labelled(40).with_columns(mos=pl.when(ROW == 7).then(4.0).otherwise(3.0)),
}


@pytest.mark.parametrize("frame", ODD_BUT_TRAINED_ON.values(), ids=ODD_BUT_TRAINED_ON)
def test_a_table_that_is_odd_gives_a_head_whose_every_score_is_a_number_on_its_range(tmp_path, frame):
    settings = TrainingSettings(epochs=1, device="cpu", protocol_splits=0)
    tables = {"konvid-1k": written(frame, tmp_path / "t.parquet")}
    built = build_head(KONVID_MOS_HEAD_V1, tables, FACTS, settings, TorchTrainer(), quiet)
    scored = built.predictions.predicted
    assert np.isfinite(scored).all()
    assert ((scored >= 1) & (scored <= 5)).all()
    assert built.manifest["parity"]["max_abs_difference"] <= built.manifest["parity"]["limit"]
    assert json.loads(json.dumps(built.manifest, allow_nan=False))["status"] == "Proposed"
    session = onnxruntime.InferenceSession(built.onnx, providers=["CPUExecutionProvider"])
    extremes = np.float32([[0.0], [1e30], [-1e30], [3e38]]) * np.ones(11, dtype=np.float32)
    (scores,) = session.run(["mos"], {"features": extremes, "encoder_onehot": np.ones((4, 1), dtype=np.float32)})
    assert np.isfinite(scores).all()


def test_where_one_fold_alone_lacks_a_feature_its_clips_are_left_out_or_filled_and_folds_are_full(tmp_path):
    whole = read_training_table({"konvid-1k": written(labelled(80), tmp_path / "t.parquet")}, KONVID_V1)
    fold = plan_splits(whole, TrainingSettings()).parts[2].test
    frame = labelled(80).with_columns(adm2=pl.when(ROW.is_in(fold)).then(float("nan")).otherwise("adm2"))
    out = train(tmp_path, frame)
    assert out["corpora"]["konvid-1k"]["counts"]["rows_missing_features"] == len(fold)  # type: ignore[index]
    filled = train(tmp_path, frame, allow_missing_features=("adm2",))
    assert filled["filled"]["adm2"]["rows"] == len(fold)  # type: ignore[index]
    for manifest in (out, filled):
        assert [one["srocc"] is None for one in manifest["folds"]["each"]] == [False] * 5  # type: ignore[index]


def test_a_hundred_thousand_columns_are_told_before_anything_is_read(tmp_path):
    names = tuple(f"v{i}" for i in range(100_000))
    with pytest.raises(TrainingError, match="100000 columns, expected at most 16384; bring them down first"):
        train(tmp_path, labelled(40), columns=names)
