"""What is judged: a head of ours, one from elsewhere, or a column of the table itself.

What they are judged by is in ``judged_table``, and how in ``judgement``.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vqa_assets.errors import HeadError, SchemaError
from vqa_assets.heads.judging.foreign import open_foreign
from vqa_assets.heads.judging.judged_table import TRAINING_COLUMN
from vqa_assets.heads.judging.seen import Training, predictions_path, training_of
from vqa_assets.heads.manifest import SCHEMA
from vqa_assets.heads.members.weights import F32
from vqa_assets.heads.recipe import MOS_TARGET, VMAF_TARGET, Target
from vqa_assets.heads.rows.columns import columns_of_text, columns_without_numbers, number_column
from vqa_assets.heads.rows.vectors import vector_size
from vqa_assets.heads.using import ScoredRows, open_head
from vqa_assets.tables.files import read_json_object
from vqa_assets.tables.networks import Networks

GRID_TARGET = "vmaf_score"
"""The target's column in the rows of an encode grid."""
_NUMBER_OF_VECTOR = re.compile(r"(?P<column>.+)\[(?P<place>\d{1,6})\]")
F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Predictor:
    """What is judged: ``kind`` is ``head``, ``foreign head`` or ``column``; ``files`` are those that it was read from.

    ``target`` is None where nothing says on which range it predicts, ``learned`` the column of scores that it learned.
    ``scores`` gives (N,) numbers of a table's rows, and ``inputs`` of a head what it reads of them: features (N, F) and
    a one-hot (N, V). Of a head whose manifest holds an interval, ``scored`` gives both ends beside the numbers, and
    ``level`` is the share of clips that it is to hold. ``networks`` are those whose vectors a head learned from.
    """

    name: str
    kind: str
    columns: tuple[str, ...]
    files: Mapping[str, Path]
    scores: Callable[[pl.LazyFrame, str], NDArray[Any]]
    target: Target | None = None
    learned: str = TRAINING_COLUMN
    training: Training | None = None
    warnings: tuple[str, ...] = ()
    inputs: Callable[[pl.LazyFrame, str], tuple[NDArray[Any], F32]] | None = None
    scored: Callable[[pl.LazyFrame, str], ScoredRows] | None = None
    level: float | None = None
    networks: Networks = field(default_factory=dict)


def column_predictor(name: str) -> Predictor:
    """A metric that stands in the table itself; of a column of vectors one number, ``<column>[17]``."""

    def scores(rows: pl.LazyFrame, what: str) -> F64:
        if (of_vector := number_of_vector(name, rows.collect_schema().names())) is not None:
            return _number_of_vectors(rows, *of_vector, what)
        if size := vector_size(rows.collect_schema()[name]):
            raise HeadError(
                f"{what}: {name}",
                found=f"vectors of {size} numbers",
                expected="one number a row",
                next_step=f"name one of them, {name}[0] to {name}[{size - 1}], or a head that reads them",
            )
        if wrong := {**columns_without_numbers(rows, [name]), **columns_of_text(rows, [name])}:
            raise HeadError(
                f"{what}: {name}",
                found=", ".join(repr(example) for example in wrong.values()),
                expected="numbers, and null where there is none",
                next_step="correct the table, or name another column",
            )
        values: F64 = rows.select(number_column(name).cast(pl.Float64).fill_null(math.nan)).collect()[name].to_numpy()
        return values

    return Predictor(name, "column", (name,), {}, scores)


def number_of_vector(name: str, columns: Sequence[str]) -> tuple[str, int] | None:
    """The column and the place of ``<column>[17]``; None for what is a column itself, or names none of these."""
    found = None if name in columns else _NUMBER_OF_VECTOR.fullmatch(name)
    return (found["column"], int(found["place"])) if found and found["column"] in columns else None


def _number_of_vectors(rows: pl.LazyFrame, column: str, place: int, what: str) -> F64:
    kind = rows.collect_schema()[column]
    size = vector_size(kind)
    if place >= size:
        raise HeadError(
            f"{what}: {column}[{place}]",
            found=f"vectors of {size} numbers" if size else f"{column} of type {kind}",
            expected=f"a place from 0 to {size - 1}" if size else "a column of vectors",
            next_step="name another number, or another column",
        )
    number = pl.col(column).arr.get(place).cast(pl.Float64).fill_null(math.nan)
    values: F64 = rows.select(number=number).collect()["number"].to_numpy()
    return values


def head_predictor(onnx: Path, columns: Sequence[str]) -> Predictor:
    """A head: ours where its manifest lies beside it, which says its columns, else one that reads ``columns``."""
    sidecar = onnx.with_suffix(".json")
    if _is_ours(sidecar):
        if columns:
            raise HeadError(
                "columns",
                found=f"{onnx.name}, whose manifest says what it reads",
                expected="no columns beside it",
                next_step="leave columns out",
            )
        head = open_head(onnx)
        files = {"head": onnx, "head_manifest": sidecar}
        scales = read_json_object(sidecar).get("corpus_scales") or {}
        learned = scales.get("ships") == "learned"
        of_scale = [f"its scores are on the scale of {scales.get('reference')}, as their intervals"] if learned else []
        training, of_vmaf = training_of(onnx), head.target == VMAF_TARGET.name
        interval = head.manifest.interval
        if training and training.predictions:
            files["head_predictions"] = predictions_path(onnx)
        return Predictor(
            name=head.manifest.id,
            kind="head",
            columns=head.schema.feature_order,
            files=files,
            scores=head.scores,
            inputs=head.inputs,
            scored=None if interval is None else head.scored,
            level=None if interval is None else interval.level,
            target=VMAF_TARGET if of_vmaf else MOS_TARGET,
            learned=GRID_TARGET if of_vmaf else head.target,
            training=training,
            networks=head.manifest.backbones,
            warnings=(*(f"{head.manifest.id} is {warning}" for warning in head.warnings), *of_scale),
        )
    if not columns:
        beside = f"{sidecar.name}, which is no manifest of a head" if sidecar.is_file() else "no manifest beside it"
        raise HeadError(
            f"{onnx}",
            found=beside if onnx.is_file() else "found nothing there",
            expected=f"{SCHEMA} in {sidecar.name}, or the columns that it reads" if onnx.is_file() else "an ONNX file",
            next_step="name them in columns, in the order of its input" if onnx.is_file() else "name another file",
        )
    foreign = open_foreign(onnx, columns)
    note = "what it was trained on is not known: no manifest of ours lies beside it"
    return Predictor(
        name=onnx.stem,
        kind="foreign head",
        columns=tuple(columns),
        files={"head": onnx},
        scores=foreign.scores,
        inputs=foreign.inputs,
        warnings=(note,),
    )


def _is_ours(sidecar: Path) -> bool:
    """Whether a manifest of a head lies there; one of ours that is broken is told when it is opened."""
    try:
        return sidecar.is_file() and str(read_json_object(sidecar).get("schema", "")).startswith("mos-head-manifest-")
    except SchemaError:
        return False
