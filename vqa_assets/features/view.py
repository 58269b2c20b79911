"""What a person wants to see of a feature table: ranges, correlation with MOS, columns that say nothing.

Pictures of clips are in ``contact_sheet``; how any of it is shown is the asset's.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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

Row = Mapping[str, Any]

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


def table_view(rows: Sequence[Row], mos: Mapping[str, float]) -> TableView:
    """The view of a feature table's rows; ``mos`` {key: native score}, keys that it lacks are left out of the
    correlation."""
    met = set().union(*(row.keys() for row in rows))
    scores = np.array([mos.get(row["key"], math.nan) for row in rows], dtype=np.float64)
    ranges = [_range(name, numbers(rows, name), scores) for name in SHOWN if name in met]
    ranges.sort(key=lambda row: -abs(row["srocc_with_mos"] or 0.0))
    columns = {name: numbers(rows, name) for name in _measured() if name in met}
    known = {name: values[np.isfinite(values)] for name, values in columns.items()}
    return TableView(
        ranges,
        missing=[name for name, values in known.items() if not len(values)],
        constant=[name for name, values in known.items() if len(values) and np.ptp(values) == 0],
        patchy={name: len(rows) - len(values) for name, values in known.items() if 0 < len(values) < len(rows)},
    )


def numbers(rows: Sequence[Row], column: str) -> NDArray[np.float64]:
    """A column's values; NaN where a row has none."""
    return np.array([math.nan if row.get(column) is None else row[column] for row in rows], dtype=np.float64)


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
