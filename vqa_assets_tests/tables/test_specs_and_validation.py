"""Column specs: good rows pass, and each broken constraint is named with its values and rows."""

import math
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vqa_assets.corpora import CORPORA
from vqa_assets.corpora.scales import MosScale
from vqa_assets.errors import SchemaError
from vqa_assets.feature_names import SHOT_FEATURES, TIME_VARYING, pooled_columns
from vqa_assets.tables import specs as schemas
from vqa_assets.tables import validation
from vqa_assets.tables.parquet import iterate_frames
from vqa_assets.tables.specs import (
    CLIP_FEATURES,
    CORPUS_JSONL,
    ENCODE_GRID_JSONL,
    FR_TRAINING_CORPUS,
    HEAD_CORPORA,
    HEAD_FOLDS,
    HEAD_MANIFEST,
    HEAD_PREDICTIONS,
    HEAD_TRAINING_ROWS,
    MOS_FEATURES,
    TABLES,
    UNIFIED_CORPUS,
    UNIFIED_FEATURES,
    Column,
    Table,
    corpus_jsonl_of,
    labelled_table,
    on_range,
    with_features,
)
from vqa_assets.tables.validation import validate_frames, validate_rows
from vqa_assets_tests.shared.grids import tune_row
from vqa_assets_tests.shared.tables import write_rows

STAMP = "2026-05-08T12:00:00+00:00"


def corpus_row(index=0, **changes):
    row = {
        "src": f"{index:04}.mp4",
        "src_sha256": f"{index:064x}",
        "src_size_bytes": 1000,
        "width": 960,
        "height": 540,
        "framerate": 29.97,
        "duration_s": 8.0,
        "pix_fmt": "yuv420p",
        "encoder_upstream": "h264",
        "mos": 3.5,
        "mos_scale": "1-5-acr",
        "mos_std_dev": 0.7,
        "n_ratings": 5,
        "corpus": "konvid-150k",
        "corpus_version": "konvid-150k-2019",
        "ingested_at_utc": STAMP,
    }
    return {name: value for name, value in (row | changes).items() if value is not ...}


def unified_row(index=0, **changes):
    added = {
        "mos": 62.5,
        "mos_scale": "0-100-continuous",
        "mos_native": 3.5,
        "mos_native_scale": "1-5-acr",
        "mos_std_dev_unified": 17.5,
        "corpus_source": "konvid-150k",
        "aggregated_at_utc": STAMP,
    }
    return corpus_row(index, **added) | changes


def feature_row(index=0, **changes):
    pooled = {name: 0.5 for feature in TIME_VARYING for name in pooled_columns(feature)}
    measured = {
        "n_feature_frames": 240,
        "feature_width": 960,
        "feature_height": 540,
        "feature_bitdepth": 8,
        "feature_reference": "recompressed",
    }
    clip = {c.name: corpus_row(index)[c.name] for c in schemas.CLIP_FACTS}
    identity = {"key": f"{index}.mp4", "src_sha256": f"{index:064x}", "corpus": "konvid-150k"}
    return {**identity, **pooled, **dict.fromkeys(SHOT_FEATURES, 0.1), **measured, **clip} | changes


def label_row(index=0, **changes):
    return {
        "mos": 3.5,
        "mos_raw_0_100": 62.5,
        "mos_label_status": "ok",
        "mos_label_source": "konvid_150k.jsonl",
    } | changes


def feature_row_of_all(index=0, **changes):
    identity = {"corpus_version": "1", "content_id": f"scene-{index}", "split": None}
    scores = {"mos": 3.5, "mos_raw_0_100": 62.5, "mos_std_dev": 0.5, "mos_n_ratings": 5}
    return {**feature_row(index), **identity, **scores} | changes


def grid_row(index=0, **changes):
    return tune_row(index, extra_params="", **changes)


def judged_row(index=0, **changes):
    return {"key": f"{index}.mp4", "corpus": "konvid-150k", "content_id": "a", "mos": 3.5} | changes


def predicted_row(index=0, **changes):
    return judged_row(index, fold=index % 5, predicted=3.25) | changes


def manifest_row(index=0, **changes):
    words = {"id": "konvid_mos_head_v1", "kind": "nr-mos", "status": "Proposed", "smoke": False, "synthetic": False}
    files = {"onnx": "x.onnx", "sha256": f"{index:064x}", "predictions": "x.predictions.parquet"}
    numbers = {"opset": 17, "ir_version": 8, "encoder_vocab_version": 4, "n_parameters": 100}
    return {**words, **files, **numbers, "feature_schema": "konvid-v1", "beats_ridge": True} | changes


def fold_row(index=0, **changes):
    scores = dict.fromkeys(("plcc", "srocc", "krocc", "plcc_fitted"), 0.5)
    errors = dict.fromkeys(("rmse", "rmse_fitted", "rmse_over_sd"), 0.4)
    return {"name": f"fold-{index}", "train_rows": 80, "rows": 20, "groups": 10, **scores, **errors} | changes


def read_corpus_row(index=0, **changes):
    words = {"title": "T", "version": "1", "licence": "research use", "citation": "They 2021"}
    return {"corpus": f"c{index}", "rows": 10, "redistribution": "research-only", **words} | changes


GOOD = {
    CORPUS_JSONL: corpus_row,
    UNIFIED_CORPUS: unified_row,
    CLIP_FEATURES: feature_row,
    MOS_FEATURES: label_row,
    UNIFIED_FEATURES: feature_row_of_all,
    ENCODE_GRID_JSONL: grid_row,
    FR_TRAINING_CORPUS: grid_row,
    HEAD_TRAINING_ROWS: judged_row,
    HEAD_PREDICTIONS: predicted_row,
    HEAD_MANIFEST: manifest_row,
    HEAD_FOLDS: fold_row,
    HEAD_CORPORA: read_corpus_row,
}


def refused(rows, table=CORPUS_JSONL):
    with pytest.raises(SchemaError) as caught:
        validate_rows(rows, table, "out.jsonl")
    error = caught.value
    assert error.what.startswith("out.jsonl")
    assert error.found
    assert error.expected
    assert error.next_step
    return error


@pytest.mark.parametrize("table", GOOD, ids=lambda t: t.name)
def test_good_rows_pass_and_are_counted(table):
    assert validate_rows((GOOD[table](i) for i in range(7)), table, "x") == 7


@pytest.mark.parametrize("table", GOOD, ids=lambda t: t.name)
def test_no_rows_pass(table):
    assert validate_rows([], table, "x") == 0


@pytest.mark.parametrize("table", GOOD, ids=lambda t: t.name)
def test_other_columns_are_not_judged(table):
    assert validate_rows([GOOD[table](0, chug_ref=1, anything=[None])], table, "x") == 1


def test_every_table_is_found_by_its_name_and_says_what_a_row_is():
    assert set(TABLES.values()) == set(GOOD)
    for name, table in TABLES.items():
        assert table.name == name
        assert table.row.startswith("One row per ")
        assert len({c.name for c in table.columns}) == len(table.columns)
        assert all(c.description for c in table.columns)


@pytest.mark.parametrize("value", [0, "false", 0.0])
def test_a_truth_value_is_no_number_and_no_text(value):
    error = refused([grid_row(), grid_row(1, hdr_forced=value)], ENCODE_GRID_JSONL)
    assert "hdr_forced" in error.what
    assert f"[{value!r}] in rows [2]" in error.found


def test_a_natural_key_repeats_in_no_row_and_no_batch(monkeypatch):
    monkeypatch.setattr(validation, "BATCH_ROWS", 2)
    rows = [grid_row(), grid_row(crf=24), grid_row(1), grid_row(preset="slow")]
    assert validate_rows(rows, FR_TRAINING_CORPUS, "x") == 4
    assert validate_rows([*rows, grid_row()], ENCODE_GRID_JSONL, "x") == 5
    error = refused([*rows, grid_row()], FR_TRAINING_CORPUS)
    assert error.what == "out.jsonl: src_sha256, encoder, preset, crf"
    assert "'libx264', 'medium', 23" in error.found


VIOLATIONS = [
    ("src_sha256", "A" * 64, "matches ^[0-9a-f]{64}$"),
    ("src_sha256", "0" * 63, "matches ^[0-9a-f]{64}$"),
    ("src_size_bytes", 0, "≥ 1"),
    ("width", 0, "≥ 1"),
    ("height", -1, "≥ 1"),
    ("framerate", -0.1, "≥ 0"),
    ("framerate", math.inf, "a finite number"),
    ("duration_s", -1.0, "≥ 0"),
    ("duration_s", math.inf, "a finite number"),
    ("mos", -0.06, "≥ -0.05"),
    ("mos", 100.06, "≤ 100.05"),
    ("mos", -math.inf, "a finite number"),
    ("mos_scale", "1-10", "one of 1-5-acr, 0-100-continuous, vmaf"),
    ("mos_polarity", "down", "one of mos, dmos"),
    ("mos_std_dev", -0.1, "≥ 0"),
    ("n_ratings", -1, "≥ 0"),
    ("ingested_at_utc", "2026-05-08T12:00:00Z", "matches "),
    ("ingested_at_utc", "2026-05-08T12:00:00.5+00:00", "matches "),
]


@pytest.mark.parametrize(("column", "value", "constraint"), VIOLATIONS)
def test_a_broken_constraint_is_named_with_its_value_and_row(column, value, constraint):
    error = refused([corpus_row(0), corpus_row(1, **{column: value}), corpus_row(2)])
    assert f'{column}: 1 break "{constraint}' in error.found
    assert f"[{value!r}] in rows [2]" in error.found


REQUIRED = [c.name for c in CORPUS_JSONL.columns if c.required]


@pytest.mark.parametrize("column", REQUIRED)
@pytest.mark.parametrize("missing", [None, ...])
def test_a_value_that_one_row_lacks_is_named_with_that_row(column, missing):
    error = refused([corpus_row(0), corpus_row(1, **{column: missing})])
    assert error.found.startswith(f'{column}: 1 break "not null"')
    assert "in rows [2]" in error.found


@pytest.mark.parametrize("column", REQUIRED)
def test_a_column_that_no_row_has_is_named(column):
    assert refused([corpus_row(0, **{column: ...})]).found == f"no column {column}"


@pytest.mark.parametrize("column", [c for c in CORPUS_JSONL.columns if not c.required], ids=lambda c: c.name)
def test_a_column_that_only_some_rows_have_need_not_be_there(column):
    value = (column.choices or ("its other name",))[-1]
    validate_rows([corpus_row(0), corpus_row(1, **{column.name: value})], CORPUS_JSONL, "out.jsonl")


@pytest.mark.parametrize(
    ("column", "value", "kind"),
    [
        ("width", 1.5, "integer"),
        ("width", "960", "integer"),
        ("width", True, "integer"),
        ("n_ratings", [5], "integer"),
        ("mos", "3.5", "number"),
        ("mos", True, "number"),
        ("framerate", "30000/1001", "number"),
    ],
)
def test_a_value_of_another_kind_never_passes_for_the_right_one(column, value, kind):
    error = refused([corpus_row(0), corpus_row(1, **{column: value})])
    assert error.what == f"out.jsonl: {column}"
    assert error.found == f"1 values that are no {kind} ([{value!r}] in rows [2])"


@pytest.mark.parametrize("value", [3, 3.0, ["a"]])
def test_a_text_column_takes_texts_alone(value):
    assert "corpus: not of kind string" in refused([corpus_row(0, corpus=value)]).found


def test_a_whole_number_is_a_number_too():
    assert validate_rows([corpus_row(0, mos=3, framerate=25), corpus_row(1)], CORPUS_JSONL, "x") == 2


def test_examples_are_few_and_the_count_is_whole():
    error = refused([corpus_row(i, width=0) for i in range(9)])
    assert error.found == 'width: 9 break "≥ 1" ([0, 0, 0, 0, 0] in rows [1, 2, 3, 4, 5])'


def test_all_broken_columns_are_told_at_once():
    found = refused([corpus_row(0, width=0, mos=101.0, corpus=None)]).found
    assert [part.partition(":")[0] for part in found.split("; ")] == ["width", "mos", "corpus"]


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        (UNIFIED_CORPUS, "mos", -1.26),
        (UNIFIED_CORPUS, "mos", 101.26),
        (UNIFIED_CORPUS, "mos_scale", "1-5-acr"),
        (UNIFIED_CORPUS, "mos_native_scale", "x"),
        (UNIFIED_CORPUS, "mos_std_dev_unified", -1.0),
        (UNIFIED_CORPUS, "aggregated_at_utc", "now"),
        (CLIP_FEATURES, "feature_bitdepth", 7),
        (CLIP_FEATURES, "feature_bitdepth", 17),
        (CLIP_FEATURES, "feature_reference", "self"),
        (CLIP_FEATURES, "n_feature_frames", 0),
        (CLIP_FEATURES, "adm2", math.inf),
        (MOS_FEATURES, "mos", 0.94),
        (MOS_FEATURES, "mos", 5.06),
        (MOS_FEATURES, "mos_raw_0_100", 101.3),
        (MOS_FEATURES, "mos_label_status", "maybe"),
        (HEAD_TRAINING_ROWS, "key", " "),
        (HEAD_TRAINING_ROWS, "mos", 0.94),
        (HEAD_TRAINING_ROWS, "mos", math.nan),
        (with_features(HEAD_TRAINING_ROWS, ["adm2"]), "adm2", math.nan),
        (with_features(HEAD_TRAINING_ROWS, ["adm2"]), "adm2", math.inf),
        (HEAD_PREDICTIONS, "predicted", 5.01),
        (HEAD_PREDICTIONS, "predicted", math.nan),
        (HEAD_PREDICTIONS, "fold", -1),
        (HEAD_PREDICTIONS, "content_id", None),
        (on_range(HEAD_PREDICTIONS, 0, 100), "predicted", 100.1),
        (on_range(HEAD_PREDICTIONS, 0, 100), "mos", -0.1),
        (HEAD_MANIFEST, "status", "Fine"),
        (HEAD_MANIFEST, "sha256", "0"),
        (HEAD_FOLDS, "plcc", 1.01),
        (HEAD_FOLDS, "rows", 0),
        (HEAD_CORPORA, "redistribution", "free"),
    ],
)
def test_the_other_tables_have_their_bounds_too(table, column, value):
    good = GOOD[next(one for one in GOOD if one.name == table.name)]
    features = {c.name: 0.5 for c in table.columns if c.description == "A feature"}
    rows = [good(0, **features), good(1, **{**features, column: value})]
    assert refused(rows, table).found.startswith(f"{column}: 1 break ")


def test_a_score_at_the_end_of_its_slack_that_was_kept_as_float32_is_no_fault():
    ends = [float(np.float32(mos)) for mos in (0.95, 5.05)]
    assert validate_rows([predicted_row(i, mos=mos) for i, mos in enumerate(ends)], HEAD_PREDICTIONS, "x") == 2


def verdict(part, table):
    """The rows that pass, or what is wrong with them."""
    try:
        return validate_frames([part], table, "x")
    except SchemaError as error:
        return str(error)


@pytest.mark.parametrize(
    ("kind", "bounds", "columns"),
    [
        (
            "string",
            {"pattern": "[ab]{2}$"},
            (["ab", "ba"], ["ab", None], ["abc"], ["xab"], ["ab\n"], ["AB"], ["ab", ""]),
        ),
        ("string", {"choices": ("x", "y")}, (["x", "y"], ["x", None], ["z", "x"], [None])),
        ("integer", {"low": 1, "high": 5}, ([1, 5], [0, 1], [6], [1, None], [1.0, 2.0], [1.5], ["1"])),
        ("number", {"low": 1, "high": 5}, ([1.0, 5.0], [0.9], [5.1], [math.nan, 2.0], [None, 2.0], [1, 2], [True])),
        ("number", {}, ([1.0, -1e300], [math.inf], [1.0, -math.inf], [None, None])),
        ("boolean", {}, ([True, False], [True, None], [1, 0])),
    ],
)
@pytest.mark.parametrize("nullable", [False, True])
def test_what_arrow_lets_pass_pandera_lets_pass_and_what_it_does_not_pandera_words(kind, bounds, columns, nullable):
    table = Table("t", "One row per t.", (Column("t", kind, "T", nullable=nullable, **bounds),))
    parts = [pa.table({"t": values}) for values in columns]
    for part in (*parts, parts[0].slice(0, 0)):
        assert verdict(part, table) == verdict(part.to_pandas(), table), part
    # Else nothing would be judged by Arrow, and all of this would hold.
    assert validation._plainly_keeps(parts[0], table)
    assert not any(validation._plainly_keeps(part, table) for part in parts if isinstance(verdict(part, table), str))


class TestUniqueness:
    """Values that do not repeat, over the whole table."""

    @pytest.mark.parametrize("column", ["src", "src_sha256"])
    @pytest.mark.parametrize("batch", [2, 3, 100])
    def test_a_repetition_is_found_wherever_the_batches_end(self, column, batch, monkeypatch):
        monkeypatch.setattr(validation, "BATCH_ROWS", batch)
        rows = [corpus_row(i) for i in range(7)]
        rows[5][column] = rows[1][column]
        error = refused(rows)
        assert error.what == f"out.jsonl: {column}"
        assert error.found == f"repeated values {[rows[1][column]]}"
        assert error.expected == "each value once"

    def test_a_repetition_inside_a_large_batch_is_found_as_fast_as_any(self):
        frame = pd.DataFrame({"t": [str(i) for i in range(40_000)] * 2})
        table = Table("t", "One row per t.", (Column("t", "string", "T", unique=True),))
        began = time.monotonic()
        with pytest.raises(SchemaError, match=r"repeated values \['0', '1', '2', '3', '4'\]"):
            validate_frames([frame], table, "x")
        assert time.monotonic() - began < 20

    def test_rows_are_counted_over_batches_and_so_are_their_numbers(self, monkeypatch):
        monkeypatch.setattr(validation, "BATCH_ROWS", 3)
        assert validate_rows((corpus_row(i) for i in range(8)), CORPUS_JSONL, "x") == 8
        assert "in rows [8]" in refused([corpus_row(i, width=0 if i == 7 else 9) for i in range(9)]).found

    def test_clips_of_two_corpora_may_share_a_name_in_the_unified_corpus_but_no_bytes(self):
        assert UNIFIED_CORPUS.unique == ("src_sha256",)
        assert validate_rows([unified_row(0), unified_row(1, src="0000.mp4")], UNIFIED_CORPUS, "x") == 2


class TestNullable:
    """What may be missing, and what may not."""

    @pytest.mark.parametrize("value", [None, math.nan])
    def test_a_feature_may_be_missing_in_one_row_or_in_all(self, value):
        rows = [feature_row(i, adm2=value) for i in range(3)]
        assert validate_rows(rows, CLIP_FEATURES, "x") == 3
        assert validate_rows([*rows, feature_row(4)], CLIP_FEATURES, "x") == 4

    def test_an_unlabelled_row_has_neither_score_nor_source(self):
        rows = [label_row(), label_row(mos=None, mos_raw_0_100=None, mos_label_source=None)]
        assert validate_rows(rows, MOS_FEATURES, "x") == 2
        assert validate_rows(rows[1:], MOS_FEATURES, "x") == 1

    def test_its_status_is_always_said(self):
        assert 'mos_label_status: 1 break "not null"' in refused([label_row(mos_label_status=None)], MOS_FEATURES).found

    def test_an_integer_may_be_nullable(self):
        table = Table("t", "One row per t.", (Column("n", "integer", "N", nullable=True, low=1),))
        assert validate_rows([{"n": 1}, {"n": None}], table, "x") == 2
        assert validate_rows([{"n": None}], table, "x") == 1
        assert refused([{"n": 0}, {"n": None}], table).found == 'n: 1 break "≥ 1" ([0] in rows [1])'
        assert "no integer" in refused([{"n": 1.5}, {"n": None}], table).found

    def test_a_column_that_is_not_required_may_be_absent(self):
        table = Table("t", "One row per t.", (Column("a", "string", "A"), Column("b", "number", "B", required=False)))
        assert validate_rows([{"a": "x"}], table, "x") == 1
        assert "b: 1 values that are no number" in str(refused([{"a": "x", "b": "y"}], table))


class TestFrames:
    """Tables that come from Parquet, whoever wrote them."""

    ROWS = (label_row(), label_row(mos=None, mos_raw_0_100=None, mos_label_status="missing-label"), label_row())

    def written_by_pandas(self, path, rows):
        pd.DataFrame(rows).to_parquet(path)

    def written_by_polars(self, path, rows):
        pl.DataFrame(rows, infer_schema_length=None).write_parquet(path)

    def written_by_pyarrow(self, path, rows):
        pq.write_table(pa.Table.from_pylist(rows), path, use_dictionary=True)

    def written_here(self, path, rows):
        write_rows(path, rows, list(rows[0]))

    WRITERS = ("written_by_pandas", "written_by_polars", "written_by_pyarrow", "written_here")

    def validated(self, path, table=MOS_FEATURES):
        return validate_frames(iterate_frames(path, [c.name for c in table.columns]), table, "t.parquet")

    @pytest.mark.parametrize("writer", WRITERS)
    @pytest.mark.parametrize("source", ["konvid.jsonl", None])
    def test_texts_with_nulls_pass_whole_or_in_part(self, writer, source, tmp_path):
        rows = [*self.ROWS, label_row(mos_label_source=None)]
        rows = [row | {"mos_label_source": source and row["mos_label_source"]} for row in rows]
        getattr(self, writer)(tmp_path / "t.parquet", rows)
        assert self.validated(tmp_path / "t.parquet") == 4

    @pytest.mark.parametrize("writer", WRITERS)
    def test_a_broken_value_is_named_with_its_row(self, writer, tmp_path):
        getattr(self, writer)(tmp_path / "t.parquet", [*self.ROWS, label_row(mos_label_status="?")])
        with pytest.raises(SchemaError, match=r"mos_label_status: 1 break .* \(\['\?'\] in rows \[4\]\)"):
            self.validated(tmp_path / "t.parquet")

    @pytest.mark.parametrize("writer", WRITERS)
    def test_a_null_where_none_may_be_is_named(self, writer, tmp_path):
        rows = [feature_row(i) for i in range(3)]
        rows[1]["n_feature_frames"] = None
        getattr(self, writer)(tmp_path / "t.parquet", rows)
        with pytest.raises(SchemaError, match=r'n_feature_frames: 1 break "not null" \(\[nan\] in rows \[2\]\)'):
            self.validated(tmp_path / "t.parquet", CLIP_FEATURES)

    def test_a_column_that_is_not_there_is_named(self, tmp_path):
        self.written_here(tmp_path / "t.parquet", [{"mos": 3.0, "mos_raw_0_100": 50.0, "mos_label_status": "ok"}])
        with pytest.raises(SchemaError, match=r"t\.parquet: no column mos_label_source, expected"):
            self.validated(tmp_path / "t.parquet")


def test_the_status_column_may_have_another_name():
    table = labelled_table("my_status")
    rows = [label_row() | {"my_status": "ok"}]
    assert [c.name for c in table.columns if c.required] == ["mos", "mos_raw_0_100", "my_status", "mos_label_source"]
    assert validate_rows(rows, table, "x") == 1
    assert "my_status" in refused([{**rows[0], "my_status": "?"}], table).found


def test_constraints_are_told_in_words():
    column = Column("c", "number", "C", low=0, high=2.5, pattern="^a", choices=("a", "b"))
    assert (column.constraints, column.meaning) == (["≥ 0", "≤ 2.5", "matches ^a"], "C: one of a, b")
    free = replace(column, low=None, high=None, pattern="", choices=())
    assert (free.constraints, free.meaning) == ([], "C")


def test_no_constraint_of_a_shipped_table_is_longer_than_the_web_ui_shows():
    constraints = {text for table in TABLES.values() for column in table.columns for text in column.constraints}
    assert {"64 hex digits", "UTC to the second", "not blank"} <= constraints
    assert max(map(len, constraints)) <= len("UTC to the second")


def test_a_corpus_of_its_own_scale_is_judged_on_that_scale_and_on_its_further_scores():
    scales, scores = (MosScale("cvd", -10, 100), MosScale("0-120", 0, 120)), {"technical": "T"}
    table = corpus_jsonl_of(CORPORA["live-vqc"].but(scales=scales, scores=scores))
    good = [corpus_row(0, mos=-9.5, mos_scale="cvd"), corpus_row(1, mos=119, mos_scale="0-120", mos_technical=3)]
    assert validate_rows(good, table, "out.jsonl") == 2
    found = refused([corpus_row(0, mos=120.06, mos_scale="0-130", mos_technical=math.inf)], table).found
    assert [part.partition(":")[0] for part in found.split("; ")] == ["mos", "mos_scale", "mos_technical"]
