"""What a head is compared with on the same rows: a constant, a ridge regression, and VMAF where it is known."""

import numpy as np
from numpy.typing import NDArray

from vqa_assets.corpora.contents import fold_of
from vqa_assets.corpora.scales import TRAINING, VMAF_0_100
from vqa_assets.heads.rows import TrainingTable
from vqa_assets.heads.splitting import Part
from vqa_assets.heads.weights import I64, standardisation, standardised

F64 = NDArray[np.float64]
BASELINES = ("constant", "ridge", "vmaf")

_PENALTIES = tuple(10.0**e for e in range(-2, 5))
_INNER_FOLDS = 5


def baseline_predictions(table: TrainingTable, part: Part, seed: int) -> dict[str, F64]:
    """MOS per baseline for a part's test rows (M,); VMAF mapped onto 1–5, NaN where unknown."""
    return {
        "constant": np.full(len(part.test), float(table.mos[part.train].mean(dtype=np.float64))),
        "ridge": _ridge(table, part, seed),
        "vmaf": vmaf_on_training_scale(table, part.test),
    }


def _ridge(table: TrainingTable, part: Part, seed: int) -> F64:
    """scikit-learn's ridge on standardised features; its penalty is chosen by an inner cross-validation by content."""
    from sklearn.linear_model import RidgeCV

    mean, std = standardisation(table.features[part.train])
    x = standardised(table.features, mean, std).astype(np.float64)
    inner = np.array([fold_of(table.groups[row], _INNER_FOLDS, seed + 1) for row in part.train])
    cuts = [(np.flatnonzero(inner != k), np.flatnonzero(inner == k)) for k in range(_INNER_FOLDS)]
    usable = [cut for cut in cuts if all(map(len, cut))]
    model = RidgeCV(_PENALTIES, cv=usable or None, scoring="neg_mean_squared_error" if usable else None)
    predicted: F64 = model.fit(x[part.train], table.mos[part.train].astype(np.float64)).predict(x[part.test])
    return predicted


def vmaf_on_training_scale(table: TrainingTable, rows: I64) -> F64:
    """VMAF of rows, mapped affinely from 0–100 to 1–5; NaN where unknown."""
    slope, intercept = VMAF_0_100.map_to(TRAINING)
    mapped: F64 = slope * table.vmaf[rows].astype(np.float64) + intercept
    return mapped
