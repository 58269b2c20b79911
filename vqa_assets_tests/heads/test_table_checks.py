"""A head's tables are checked like every other: training rows, predictions out of fold, manifest."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from vqa_assets.errors import SchemaError
from vqa_assets.feature_names import KONVID_V1
from vqa_assets.heads.build import build_head
from vqa_assets.heads.members.training import TorchTrainer
from vqa_assets.heads.publish import HeadInputs, publish_head
from vqa_assets.heads.recipe import KONVID_MOS_HEAD_V1, VMAF_TARGET
from vqa_assets.heads.rows.reading import TrainingTable
from vqa_assets.heads.rows.synthetic import synthetic_table
from vqa_assets.heads.settings import TrainingSettings
from vqa_assets.heads.table_checks import check_published, check_training_rows
from vqa_assets.provenance import RunContext, file_record
from vqa_assets.tables.paths import DataRoot
from vqa_assets_tests.shared.head_tables import FACTS, labelled, quiet, written

TABLE = synthetic_table(KONVID_V1, rows=60)
SETTINGS = TrainingSettings(epochs=1, device="cpu", protocol_splits=0)


def spoilt(values: np.ndarray, value: float) -> np.ndarray:
    changed = values.copy()
    changed.flat[0] = value
    return changed


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        (replace(TABLE, features=spoilt(TABLE.features, np.nan)), 'feature:adm2: 1 break "not null"'),
        (
            replace(TABLE, features=spoilt(TABLE.features, np.inf)),
            'feature:adm2: 1 break "a finite number" ([inf] in rows [1])',
        ),
        (replace(TABLE, mos=spoilt(TABLE.mos, 5.2)), 'mos: 1 break "≤ 5.05'),
        (replace(TABLE, target=VMAF_TARGET, mos=spoilt(TABLE.mos, 120)), 'mos: 1 break "≤ 100.05'),
        (replace(TABLE, keys=("", *TABLE.keys[1:])), "key: 1 break "),
        (replace(TABLE, split=("holdout", *TABLE.split[1:])), 'split: 1 break "one of train, val, test"'),
    ],
)
def test_training_rows_that_break_their_column_specs_are_refused_by_column_value_and_row(table, complaint):
    with pytest.raises(SchemaError) as told:
        check_training_rows(table)
    assert told.value.what == "training rows of synthetic"
    assert complaint in told.value.found


@pytest.mark.parametrize("table", [TABLE, replace(TABLE, target=VMAF_TARGET, mos=TABLE.mos * 20)])
def test_training_rows_of_either_target_pass_and_are_counted(table: TrainingTable):
    assert check_training_rows(table) == 60


def test_training_rows_are_checked_before_anything_is_trained(tmp_path):
    class Untouched:
        def train(self, *_: Any) -> Any:
            raise AssertionError("nothing is trained on rows that break their column specs")

    frame = labelled(40).with_columns(key=pl.when(pl.int_range(40) == 3).then(pl.lit(" ")).otherwise("key"))
    path = written(frame, tmp_path / "a.parquet")
    with pytest.raises(SchemaError, match="training rows of konvid-1k: key: 1 break"):
        build_head(KONVID_MOS_HEAD_V1, {"konvid-1k": path}, FACTS, SETTINGS, Untouched(), quiet)


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    """A published head: its manifest."""
    root = DataRoot(tmp_path_factory.mktemp("data"))
    table = written(labelled(60), root.path / "a.parquet")
    built = build_head(KONVID_MOS_HEAD_V1, {"konvid-1k": table}, FACTS, SETTINGS, TorchTrainer(), quiet)
    inputs = HeadInputs("konvid_mos_head_v1", SETTINGS, {"konvid-1k": table}, {"konvid-1k": [table]})
    return publish_head(built, inputs, RunContext(root, {}, Path(__file__))).manifest_path


@pytest.fixture
def head(published, tmp_path) -> Path:
    """A copy of the head's manifest and predictions that a test may spoil."""
    for path in published.parent.glob("*.*"):
        shutil.copy(path, tmp_path)
    return tmp_path / published.name


def predictions_of(head: Path) -> Path:
    return head.with_name(f"{head.stem}.predictions.parquet")


def checked(head: Path, **changes: Any) -> int:
    return check_published(predictions_of(head), {**json.loads(head.read_text()), **changes}, head)


def with_predictions(head: Path, frame: pl.DataFrame) -> dict[str, Any]:
    """The manifest as if these predictions were its own."""
    path = written(frame, predictions_of(head))
    document = json.loads(head.read_text())
    document["run_provenance"]["outputs"]["predictions"] = file_record(path)
    return document


def test_what_is_published_keeps_its_column_specs(head):
    assert checked(head) == len(pl.read_parquet(predictions_of(head)))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (pl.lit(7.0, pl.Float32).alias("predicted"), 'break "≤ 5"'),
        (pl.lit(None, pl.Float32).alias("predicted"), 'break "not null"'),
        (pl.lit(0, pl.Int64).alias("fold"), "rows by fold 0: "),
        (pl.col("mos").cast(pl.String), "values that are no number"),
    ],
)
def test_predictions_that_are_not_a_heads_are_refused(head, change, complaint):
    manifest = with_predictions(head, pl.read_parquet(predictions_of(head)).with_columns(change))
    with pytest.raises(SchemaError) as told:
        check_published(predictions_of(head), manifest, head)
    assert complaint in told.value.found


def test_predictions_that_lack_a_column_are_refused(head):
    manifest = with_predictions(head, pl.read_parquet(predictions_of(head)).drop("content_id"))
    with pytest.raises(SchemaError, match="no column content_id"):
        check_published(predictions_of(head), manifest, head)


def test_predictions_of_another_training_or_gone_are_told(head):
    other = pl.read_parquet(predictions_of(head)).with_columns(predicted=pl.lit(3.0, pl.Float32))
    written(other, predictions_of(head))
    with pytest.raises(SchemaError, match=r"predictions\.parquet: SHA-256 .*expected .* \(its manifest\)"):
        checked(head)
    predictions_of(head).unlink()
    with pytest.raises(SchemaError, match="found nothing there, expected the predictions out of fold; train the head"):
        checked(head)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"schema": "another-v1"}, "schema 'another-v1', expected mos-head-manifest-v1"),
        ({"status": "Fine"}, 'status: 1 break "one of Production, Proposed"'),
        ({"n_parameters": "many"}, "n_parameters: 1 values that are no integer"),
        ({"smoke": None}, "smoke: 1 break "),
        ({"sha256": "0"}, "sha256: 1 break "),
        ({"folds": {}}, "no usable each"),
        ({"corpora": []}, "no usable"),
        ({"feature_std": [1.0]}, "'feature_std': 1}, expected as many means and SDs as columns"),
    ],
)
def test_a_manifest_that_breaks_its_column_specs_is_told_by_its_field(head, changes, complaint):
    with pytest.raises(SchemaError) as told:
        checked(head, **changes)
    assert complaint in str(told.value)
