"""A head's tables against their column specs: the rows it is trained on, its predictions out of fold, its manifest.

The specs are in ``tables/specs``. What a head must not be trained on for other reasons is refused in ``rows``.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from vqa_assets.corpora.contents import content_of_group
from vqa_assets.errors import SchemaError
from vqa_assets.feature_names import schema_in_order
from vqa_assets.heads.judging.seen import hashes_noted
from vqa_assets.heads.manifest import SCHEMA, target_of
from vqa_assets.heads.members.large_tables import let_go
from vqa_assets.heads.rows.columns import slots
from vqa_assets.heads.rows.reading import TrainingTable
from vqa_assets.provenance import file_record
from vqa_assets.tables.content_errors import reading
from vqa_assets.tables.makers import mark, seal
from vqa_assets.tables.parquet import iterate_frames
from vqa_assets.tables.specs import (
    HEAD_CORPORA,
    HEAD_FOLDS,
    HEAD_MANIFEST,
    HEAD_PREDICTIONS,
    HEAD_TRAINING_ROWS,
    on_range,
    with_features,
)
from vqa_assets.tables.validation import BATCH_ROWS, validate_frames, validate_rows

if TYPE_CHECKING:
    import pandas as pd

    from vqa_assets.heads.judging.evaluation import Predictions

_AGAIN = "train the head again"


def check_training_rows(table: TrainingTable) -> int:
    """The number of rows, all of which keep the column specs; SchemaError names columns and values otherwise."""
    low, high = table.target.low, table.target.low + table.target.span
    # Vectors are whole and finite as they are read; a column spec for each of thousands of numbers says no more.
    features = slots(table.schema)[: len(table.schema.scalars)]
    specs = with_features(on_range(HEAD_TRAINING_ROWS, low, high), features)

    def frames() -> Iterator["pd.DataFrame"]:
        import pandas as pd

        for first in range(0, len(table.mos), BATCH_ROWS):
            rows = slice(first, first + BATCH_ROWS)
            own = pd.DataFrame(
                {
                    "key": table.keys[rows],
                    "corpus": table.corpora[rows],
                    "content_id": [content_of_group(group) for group in table.groups[rows]],
                    "split": pd.Series(table.split[rows], dtype=object),
                    "mos": table.mos[rows],
                    "vmaf": table.vmaf[rows],
                }
            )
            yield pd.concat([own, pd.DataFrame(table.features[rows, : len(features)], columns=features)], axis=1)
            let_go(table.features)

    return validate_frames(frames(), specs, f"training rows of {', '.join(dict.fromkeys(table.corpora))}")


def write_predictions(path: Path, predictions: "Predictions") -> None:
    """The predictions out of fold as Parquet (``HEAD_PREDICTIONS``), in the order of the folds.

    The clips' hashes stand in its metadata, for ``seen``.
    """
    pl.DataFrame(
        {
            "key": predictions.keys,
            "corpus": predictions.corpora,
            "content_id": [content_of_group(group) for group in predictions.groups],
            "fold": predictions.fold.astype(np.int64),
            "mos": predictions.mos.astype(np.float32),
            "predicted": predictions.predicted.astype(np.float32),
        },
        schema={
            **dict.fromkeys(("key", "corpus", "content_id"), pl.String),
            "fold": pl.Int64,
            **dict.fromkeys(("mos", "predicted"), pl.Float32),
        },
    ).write_parquet(path, metadata={**mark("head_predictions"), **hashes_noted(predictions.src_sha256)})
    seal(path)


def check_published(predictions: Path, manifest: Mapping[str, Any], manifest_file: Path) -> int:
    """The rows of a head's predictions: they and its manifest keep their column specs, and are of one training.

    SchemaError otherwise. ``manifest_file`` is where the manifest lies, or will lie.
    """
    what = str(manifest_file)
    _check_manifest(manifest, what)
    if not predictions.is_file():
        raise SchemaError(
            f"{predictions}", found="found nothing there", expected="the predictions out of fold", next_step=_AGAIN
        )
    recorded = manifest["run_provenance"]["outputs"]["predictions"]["sha256"]
    if (sha256 := file_record(predictions)["sha256"]) != recorded:
        raise SchemaError(
            f"{predictions}", found=f"SHA-256 {sha256}", expected=f"{recorded} (its manifest)", next_step=_AGAIN
        )
    specs = on_range(HEAD_PREDICTIONS, *target_of(manifest)[1])
    rows = validate_frames(iterate_frames(predictions, [c.name for c in specs.columns]), specs, f"{predictions}")
    with reading(predictions, next_step=_AGAIN):
        of_folds = pl.scan_parquet(predictions, glob=False).group_by("fold").len().sort("fold").collect().rows()
    expected = [(number, fold["rows"]) for number, fold in enumerate(manifest["folds"]["each"])]
    if of_folds != expected:
        raise SchemaError(
            f"{predictions}",
            found=f"rows by fold {_by_fold(of_folds)}",
            expected=f"{_by_fold(expected)}, as {manifest_file.name} says",
            next_step=_AGAIN,
        )
    return rows


def _check_manifest(manifest: Mapping[str, Any], what: str) -> None:
    if manifest.get("schema") != SCHEMA:
        raise SchemaError(what, found=f"schema {manifest.get('schema')!r}", expected=SCHEMA, next_step=_AGAIN)
    try:
        folds, corpora, order = manifest["folds"]["each"], manifest["corpora"].items(), manifest["feature_order"]
        of_corpora = [{"corpus": name, **facts} for name, facts in corpora]
        lengths = {name: len(manifest[name]) for name in ("feature_mean", "feature_std")}
        columns = len(schema_in_order(manifest["feature_schema"], order).columns)
        target_of(manifest)
    except (KeyError, TypeError, AttributeError, StopIteration) as error:
        found = f"no usable {error.args[0] if error.args else 'range of its target'}"
        raise SchemaError(
            what, found=found, expected="a manifest as this version writes it", next_step=_AGAIN
        ) from error
    validate_rows([manifest], HEAD_MANIFEST, what)
    validate_rows(folds, HEAD_FOLDS, f"{what}: folds")
    validate_rows(of_corpora, HEAD_CORPORA, f"{what}: corpora")
    if set(lengths.values()) != {columns} or not order:
        lengths = {"feature_order": columns, **lengths}
        raise SchemaError(what, found=f"{lengths}", expected="as many means and SDs as columns", next_step=_AGAIN)


def _by_fold(counts: list[tuple[int, int]]) -> str:
    return ", ".join(f"{fold}: {rows}" for fold, rows in counts) or "none"
