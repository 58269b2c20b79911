import json
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from vqa_assets.errors import NoLabelledRowsError, SchemaError, TableError, TrainingError
from vqa_assets.feature_names import KONVID_V1, SHOT_FEATURES, FeatureSchema
from vqa_assets.heads.recipe import KONVID_MOS_HEAD_V1
from vqa_assets.heads.rows.reading import RowCounts, TrainingTable, read_training_table
from vqa_assets.heads.rows.synthetic import synthetic_table
from vqa_assets.heads.settings import TrainingSettings, schema_of
from vqa_assets_tests.shared.head_tables import labelled, written


def read(tmp_path: Path, *frames: pl.DataFrame, allow: tuple[str, ...] = ()) -> TrainingTable:
    """The training table of one or two corpora, ``konvid-1k`` first."""
    names = ("konvid-1k", "konvid-150k")
    tables = {name: written(frame, tmp_path / f"{name}.parquet") for name, frame in zip(names, frames, strict=False)}
    return read_training_table(tables, KONVID_V1, allow)


def test_rows_come_in_file_order_as_float32(tmp_path):
    frame = labelled(20)
    table = read(tmp_path, frame)
    assert table.features.shape == (20, 11)
    assert table.features.dtype == table.mos.dtype == np.float32
    np.testing.assert_array_equal(table.features, frame.select(KONVID_V1.columns).to_numpy().astype(np.float32))
    assert table.keys == tuple(frame["key"])
    assert table.groups[:3] == ("content:content-0-0", "content:content-0-0", "content:content-0-1")
    assert table.split == (None,) * 20
    assert np.isnan(table.vmaf).all()


def test_the_mean_stands_in_for_an_absent_column(tmp_path):
    frame = labelled(20)
    assert np.array_equal(read(tmp_path, frame.rename({"adm2": "adm2_mean"})).features, read(tmp_path, frame).features)


@pytest.mark.parametrize("missing", [math.nan, None, math.inf])
def test_the_mean_stands_in_for_a_missing_value(tmp_path, missing):
    frame = labelled(20)
    holed = frame.with_columns(
        adm2_mean=pl.col("adm2"),
        adm2=pl.when(pl.int_range(20) == 3).then(pl.lit(missing, pl.Float64)).otherwise("adm2"),
    )
    assert np.array_equal(read(tmp_path, holed).features, read(tmp_path, frame).features)


def test_every_column_that_cannot_be_trained_on_is_listed(tmp_path):
    frame = labelled(20).drop("motion2")
    frame = frame.with_columns(saliency_mean=pl.lit(math.nan), saliency_var=pl.lit(0.25), vif_scale0=pl.lit("?"))
    with pytest.raises(TrainingError) as told:
        read(tmp_path, labelled(30, seed=1), frame)
    for part in (
        "konvid-150k: motion2 (absent or all missing)",
        "konvid-150k: saliency_mean (absent or all missing)",
        "konvid-150k: saliency_var (constant 0.25)",
        "konvid-150k: vif_scale0 (text: '?')",
    ):
        assert part in str(told.value)
    assert "konvid-1k" not in str(told.value)


def test_allowed_columns_are_filled_and_recorded(tmp_path):
    gone = labelled(20, seed=1).drop("motion2").with_columns(saliency_var=pl.lit(0.25))
    table = read(tmp_path, labelled(20), gone, allow=("motion2", "saliency_var"))
    known = labelled(20)["motion2"].mean()
    assert table.filled["motion2"].rows == 20
    assert table.filled["motion2"].value == pytest.approx(known)
    assert table.features[20:, 5] == pytest.approx(known)
    assert table.counts["konvid-150k"].used == 20


def test_a_column_known_nowhere_is_filled_with_zero_and_listed_as_constant(tmp_path):
    table = read(tmp_path, labelled(20).drop("adm2"), allow=("adm2",))
    assert (table.filled["adm2"].value, table.constant) == (0.0, ("adm2",))


def test_allowing_a_column_the_head_does_not_have_is_an_error(tmp_path):
    with pytest.raises(TrainingError, match="adm3, expected columns of konvid-v1"):
        read(tmp_path, labelled(20), allow=("adm3",))


def test_clips_without_a_cut_keep_their_shot_columns_in_own_columns_too(tmp_path):
    still = labelled(40).with_columns(pl.lit(0.25).alias(name) for name in SHOT_FEATURES)
    assert read(tmp_path, still).constant == SHOT_FEATURES
    own = schema_of(KONVID_MOS_HEAD_V1, TrainingSettings(columns=["adm2", "shot_cut_density"]))
    table = read_training_table({"mine": written(still, tmp_path / "own.parquet")}, own)
    assert table.constant == ("shot_cut_density",)


def test_constant_metadata_is_kept_and_listed(tmp_path):
    schema = FeatureSchema("own-columns", ("adm2", "duration_s_norm"), frozenset({"adm2"}))
    path = written(labelled(20).with_columns(duration_s_norm=pl.lit(0.5)), tmp_path / "a.parquet")
    assert read_training_table({"mine": path}, schema).constant == ("duration_s_norm",)


def test_rows_in_are_rows_used_plus_counted_losses(tmp_path):
    row = pl.int_range(40)
    first = labelled(40).with_columns(
        mos_label_status=pl.when(row < 3).then(pl.lit("missing-label")).otherwise("mos_label_status"),
        mos=pl.when(row == 3).then(math.nan).otherwise("mos"),
        adm2=pl.when(row.is_in([1, 7, 8])).then(math.nan).otherwise("adm2"),
    )
    second = labelled(20, seed=1).with_columns(
        src_sha256=pl.concat([labelled(40)["src_sha256"][10:15], labelled(20, 1)["src_sha256"][5:]])
    )
    table = read(tmp_path, first, second)
    assert table.counts["konvid-1k"] == RowCounts(40, 34, 4, 2, 0)
    assert table.counts["konvid-150k"] == RowCounts(20, 15, 0, 0, 5)
    assert len(table.mos) == 49


@pytest.mark.parametrize(
    ("first_sd", "second_sd", "winner"),
    [
        (0.6, 0.5, "konvid-150k"),
        (0.5, 0.6, "konvid-1k"),
        (0.5, 0.5, "konvid-1k"),
        (3.1 * 0.04, 0.124, "konvid-1k"),
        (0.0, 0.9, "konvid-150k"),
        (None, 0.9, "konvid-150k"),
        (None, None, "konvid-1k"),
        (0.0, math.nan, "konvid-1k"),
    ],
)
def test_the_smallest_known_spread_wins_a_clip(tmp_path, first_sd, second_sd, winner):
    one, two = labelled(20), labelled(20, seed=1).with_columns(src_sha256=labelled(20)["src_sha256"])
    first = one.with_columns(mos_std_dev=pl.lit(first_sd, pl.Float64))
    second = two.with_columns(mos_std_dev=pl.lit(second_sd, pl.Float64))
    assert set(read(tmp_path, first, second).corpora) == {winner}


def test_what_varies_only_in_rows_that_fall_out_is_constant(tmp_path):
    few = pl.int_range(40) < 5
    frame = labelled(40).with_columns(
        motion2=pl.when(few).then(pl.int_range(40) + 0.0).otherwise(9.0), adm2=pl.when(few).then(None).otherwise("adm2")
    )
    with pytest.raises(TrainingError, match="motion2: constant in the 35 rows that have all features"):
        read(tmp_path, frame)
    assert read(tmp_path, frame, allow=("motion2",)).constant == ("motion2",)


def test_names_alike_in_two_corpora_are_two_clips(tmp_path):
    one, two = (labelled(20, seed).drop("content_id") for seed in (0, 1))
    table = read(tmp_path, one, two.with_columns(key=one["key"]))
    assert len(set(table.groups)) == 40


def test_several_rows_of_one_clip_in_one_corpus_all_stay(tmp_path):
    frame = labelled(20).with_columns(src_sha256=pl.lit("a" * 64), key=pl.lit("one.mp4"))
    assert len(read(tmp_path, frame).mos) == 20


def test_the_same_bytes_under_two_names_are_one_content(tmp_path):
    frame = labelled(20).drop("content_id")
    copies = frame.with_columns(key="copy/" + pl.col("key"), src_sha256=pl.col("src_sha256").str.to_uppercase())
    table = read(tmp_path, pl.concat([frame, copies]))
    assert (len(table.groups), len(set(table.groups))) == (40, 20)
    assert table.groups[:20] == table.groups[20:]


def test_clips_without_a_hash_are_all_taken(tmp_path):
    frame = labelled(20).drop("src_sha256")
    assert len(read(tmp_path, frame, frame).mos) == 40


def test_zero_labelled_rows_are_an_error(tmp_path):
    with pytest.raises(NoLabelledRowsError, match="konvid-1k: 20 rows, expected rows with a MOS"):
        read(tmp_path, labelled(20).with_columns(mos_label_status=pl.lit("missing-label")))


def test_no_row_with_all_features_is_an_error(tmp_path):
    even = pl.int_range(20) % 2 == 0
    frame = labelled(20).with_columns(adm2=pl.when(even).then("adm2"), motion2=pl.when(~even).then("motion2"))
    with pytest.raises(TrainingError, match=r"missing most often: konvid-1k: adm2, motion2,"):
        read(tmp_path, frame)


def test_rows_that_are_left_out_are_told_with_the_features_they_lack(tmp_path):
    row = pl.int_range(40)
    frame = labelled(40).with_columns(
        adm2=pl.when(row >= 3).then("adm2"),
        motion2=pl.when(row >= 9).then("motion2"),
        mos=pl.when(row < 36).then("mos"),
    )
    table = read(tmp_path, frame)
    told = table.counts["konvid-1k"].told(table.missing["konvid-1k"])
    assert told == "27 of 40 rows; left out: 4 without a label, 9 without a feature (motion2 in 9, adm2 in 3)"


def test_a_mos_off_the_training_scale_names_the_rows(tmp_path):
    with pytest.raises(TrainingError, match=r"20 of 20 MOS off the training scale: clip-0-0\.mp4 \(.*expected 1 to 5"):
        read(tmp_path, labelled(20).with_columns(mos=pl.col("mos") * 20))


def test_a_table_without_mos_or_key_says_what_it_has(tmp_path):
    with pytest.raises(TrainingError, match="expected mos or mos_raw_0_100, and one of key, clip_key"):
        read(tmp_path, labelled(20).drop("mos"))
    with pytest.raises(TrainingError, match=r"columns adm2.*expected mos or mos_raw_0_100, and one of key"):
        read(tmp_path, labelled(20).drop("key", "content_id"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.parquet", "not parquet", r"a\.parquet: found no Parquet file"),
        ("a.parquet", "", r"labelled table of mine .*found an empty file"),
        ("a.parquet", None, r"labelled table of mine .*found nothing there, expected a table with rows; materialize"),
        ("a.xlsx", "x", r"a\.xlsx: the suffix '\.xlsx', expected a table: \.parquet, \.pq, \.jsonl"),
        ("a.json", "{", r"a\.json: content that cannot be read"),
        ("a.jsonl", '{"key": 1}\n[]\n', r"a\.jsonl:2"),
    ],
)
def test_a_file_that_is_no_table_says_what_it_is(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises((TableError, SchemaError), match=message):
        read_training_table({"mine": tmp_path / name}, KONVID_V1)


@pytest.mark.parametrize("suffix", ["parquet", "pq", "jsonl", "ndjson", "json", "csv"])
def test_a_table_of_any_format_gives_the_same_rows(tmp_path, suffix):
    # names of digits with a leading zero, and a column of words that looks like numbers
    frame = labelled(30).with_columns(
        key=pl.int_range(30).cast(pl.String).str.zfill(4), content_id=pl.int_range(30) // 2
    )
    path = tmp_path / f"t.{suffix}"
    if suffix == "json":
        path.write_text(json.dumps({"rows": frame.to_dicts()}))
    else:
        {"csv": frame.write_csv, "jsonl": frame.write_ndjson, "ndjson": frame.write_ndjson}.get(
            suffix, frame.write_parquet
        )(path)
    table, expected = read_training_table({"mine": path}, KONVID_V1), read(tmp_path, frame)
    assert table.keys == expected.keys
    assert table.groups == expected.groups
    np.testing.assert_allclose(table.features, expected.features, rtol=1e-6)
    np.testing.assert_allclose(table.mos, expected.mos, rtol=1e-6)


def test_a_score_on_0_to_100_is_enough_and_its_spread_follows_it(tmp_path):
    frame, other = labelled(20), labelled(20, seed=1).with_columns(src_sha256=labelled(20)["src_sha256"])
    raw = frame.select(pl.exclude("mos"), mos_raw_0_100=(pl.col("mos") - 1) * 25).with_columns(mos_std_dev=pl.lit(10.0))
    np.testing.assert_allclose(read(tmp_path, raw).mos, read(tmp_path, frame).mos, rtol=1e-6)
    # 10 of 100 is 0.4 of 1–5, less than the other's 0.6
    assert set(read(tmp_path, raw, other).corpora) == {"konvid-1k"}


def test_where_one_score_is_missing_the_other_stands_in_and_two_that_differ_are_refused(tmp_path):
    frame = labelled(20).with_columns(mos_raw_0_100=(pl.col("mos") - 1) * 25)
    holed = frame.with_columns(mos=pl.when(pl.int_range(20) < 5).then(None).otherwise("mos"))
    np.testing.assert_allclose(read(tmp_path, holed).mos, read(tmp_path, frame).mos, rtol=1e-6)
    rounded = frame.with_columns(mos_raw_0_100=pl.col("mos_raw_0_100").round(0))
    np.testing.assert_array_equal(read(tmp_path, rounded).mos, read(tmp_path, frame).mos)
    with pytest.raises(TrainingError, match=r"mos and mos_raw_0_100 tell different scores: .*expected one score"):
        read(tmp_path, frame.with_columns(mos_raw_0_100=100 - pl.col("mos_raw_0_100")))
    with pytest.raises(TrainingError, match="columns that hold no numbers: mos_raw_0_100: 'good'"):
        read(tmp_path, frame.with_columns(mos_raw_0_100=pl.lit("good")))


def test_a_corpus_s_rows_may_lie_in_several_files_of_any_format_each_clip_in_one(tmp_path):
    frame = labelled(30)
    frame[:10].write_csv(tmp_path / "a.csv")
    written(frame[10:20].rename({"key": "clip_name"}), tmp_path / "b.parquet")
    frame[20:].write_ndjson(tmp_path / "c.jsonl")
    parts = [tmp_path / "a.csv", tmp_path / "b.parquet", tmp_path / "c.jsonl"]
    table = read_training_table({"mine": parts}, KONVID_V1)
    assert table.keys == tuple(frame["key"])
    np.testing.assert_allclose(table.features, read(tmp_path, frame).features, rtol=1e-6)
    frame[:3].write_ndjson(tmp_path / "d.jsonl")
    with pytest.raises(TrainingError, match=r"clip-0-\d\.mp4 in .*a\.csv and in .*d\.jsonl, expected each clip in one"):
        read_training_table({"mine": [*parts, tmp_path / "d.jsonl"]}, KONVID_V1)


def test_synthetic_rows_are_seeded_and_on_the_training_scale():
    one, again, other = (synthetic_table(KONVID_V1, seed=s) for s in (1, 1, 2))
    assert len(one.mos) == 600
    assert np.array_equal(one.features, again.features)
    assert not np.array_equal(one.features, other.features)
    assert one.mos.min() >= 1
    assert one.mos.max() <= 5
    assert one.synthetic
