"""The rows that a head is trained on, in memory. How they are read is in ``table_reading``, refused in ``refusals``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from vqa_assets.feature_names import FeatureSchema
from vqa_assets.heads.recipe import ENCODER_VOCAB, MOS_TARGET, Target
from vqa_assets.heads.weights import F32, I64


@dataclass(frozen=True)
class RowCounts:
    """One corpus's rows: ``rows_in`` is the sum of the others. ``duplicates`` are clips taken from another corpus.

    ``rows_failed`` are encodes that ended in an error.
    """

    rows_in: int
    used: int
    rows_unlabelled: int
    rows_missing_features: int
    duplicates: int
    rows_failed: int = 0


@dataclass(frozen=True)
class Filled:
    """An allowed column's missing values: how many rows got which value (the mean of the known, 0 without any)."""

    rows: int
    value: float


@dataclass(frozen=True)
class TrainingTable:
    """N rows for training, in the order of the corpora and of their files.

    ``features`` (N, F) are raw values in the order of ``schema.columns``, all finite; ``mos`` (N,) is the target, on
    1–5 (of a full-reference head it is VMAF on 0–100); ``vmaf`` (N,) on 0–100 is NaN where unknown. ``split`` is a
    row's word, None where its corpus has no split. ``constant`` are the columns of one value. ``onehot`` (N, V) says
    which of ``encoder_vocab`` made a row. ``unknown`` (N,) are, per filled column, the rows where it was;
    ``versions`` are the releases that each corpus's rows say they are of.
    """

    schema: FeatureSchema
    features: F32
    mos: F32
    vmaf: F32
    keys: tuple[str, ...]
    groups: tuple[str, ...]
    corpora: tuple[str, ...]
    src_sha256: tuple[str | None, ...]
    split: tuple[str | None, ...]
    counts: Mapping[str, RowCounts]
    filled: Mapping[str, Filled]
    constant: tuple[str, ...]
    onehot: F32
    encoder_vocab: tuple[str, ...] = ENCODER_VOCAB
    target: Target = MOS_TARGET
    synthetic: bool = False
    unknown: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    versions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def refilled(table: TrainingTable, rows: I64) -> TrainingTable:
    """The same with the means over ``rows`` of it in place of what was filled: what judges a head fills nothing."""
    if not table.filled:
        return table
    features, filled = table.features.copy(), {}
    for name, before in table.filled.items():
        column, unknown = table.schema.columns.index(name), table.unknown[name]
        known = features[rows, column][~unknown[rows]]
        filled[name] = replace(before, value=float(known.mean(dtype=np.float64)) if len(known) else 0.0)
        features[unknown, column] = filled[name].value
    return replace(table, features=features, filled=filled, constant=constant_columns(features, table.schema.columns))


def constant_columns(features: F32, columns: Sequence[str]) -> tuple[str, ...]:
    """The columns (F,) of features (N, F) that hold one value only."""
    still = np.ptp(features, axis=0) == 0 if len(features) else np.zeros(len(columns), dtype=bool)
    return tuple(name for name, same in zip(columns, still, strict=True) if same)
