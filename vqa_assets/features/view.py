"""What a person wants to see of a feature table: ranges, correlation with MOS, columns that say nothing.

Pictures of clips are in ``contact_sheet``; how any of it is shown is the asset's.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vqa_assets.feature_names import (
    KONVID_V1,
    NO_REFERENCE,
    NO_REFERENCE_CLIP,
    NR_V1,
    SHOT_FEATURES,
    TIME_VARYING,
)
from vqa_assets.metrics import finite_or_none, srocc
from vqa_assets.tables.parquet import open_parquet

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

SHOWN = (*TIME_VARYING, *SHOT_FEATURES, *NO_REFERENCE, *NO_REFERENCE_CLIP)
"""Features shown one by one: time-varying ones by their means."""


@dataclass(frozen=True)
class TableView:
    """``ranges`` has one row per feature, best correlation first; ``missing`` and ``constant`` are measured columns
    that no head will train on, ``patchy`` those without a value in some row (column → rows)."""

    ranges: list[dict[str, Any]]
    missing: list[str]
    constant: list[str]
    patchy: Mapping[str, int]


def table_view(path: Path, mos: Mapping[str, float]) -> TableView:
    """The view of a feature table, a Parquet file read column by column; ``mos`` {key: native score}, keys that it
    lacks are left out of the correlation."""
    file = open_parquet(path)
    names, rows = set(file.schema_arrow.names), file.metadata.num_rows
    keys = file.read(columns=["key"]).column("key").to_pylist()
    scores = np.array([mos.get(key, math.nan) for key in keys], dtype=np.float64)
    ranges = [_range(name, numbers(file, name), scores) for name in SHOWN if name in names]
    ranges.sort(key=lambda row: -abs(row["srocc_with_mos"] or 0.0))
    missing, constant, patchy = [], [], {}
    for name in (name for name in _measured() if name in names):
        values = numbers(file, name)
        values = values[np.isfinite(values)]
        if not len(values):
            missing.append(name)
            continue
        if np.ptp(values) == 0:
            constant.append(name)
        if len(values) < rows:
            patchy[name] = rows - len(values)
    return TableView(ranges, missing, constant, patchy)


def numbers(file: "ParquetFile", column: str) -> NDArray[np.float64]:
    """A column's values; NaN where a row has none."""
    values: NDArray[np.float64] = file.read(columns=[column]).column(column).cast("float64").to_numpy()
    return values


def _measured() -> list[str]:
    """The columns of both feature sets that must vary."""
    return [name for schema in (KONVID_V1, NR_V1) for name in schema.columns if name in schema.measured]


def _range(name: str, values: NDArray[np.float64], scores: NDArray[np.float64]) -> dict[str, Any]:
    known = values[np.isfinite(values)]
    both = np.isfinite(values) & np.isfinite(scores)
    low, middle, high = (_short(f(known)) if len(known) else None for f in (np.min, np.median, np.max))
    correlation = finite_or_none(srocc(scores[both], values[both]))
    return {
        "feature": name,
        "clips": len(known),
        "min": low,
        "median": middle,
        "max": high,
        "srocc_with_mos": None if correlation is None else round(correlation, 3),
    }


def _short(value: float) -> float:
    return float(f"{value:.4g}")
