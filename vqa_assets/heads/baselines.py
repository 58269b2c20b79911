"""What a head is compared with on the same rows.

The baselines are a constant, a ridge regression, support vector regression, and VMAF where it is known. A baseline is
tuned on its training rows as anybody would tune it, and never sees a test row.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vqa_assets.corpora.contents import fold_of
from vqa_assets.corpora.scales import TRAINING, VMAF_0_100
from vqa_assets.heads.closed_form import PENALTIES
from vqa_assets.heads.rows import TrainingTable
from vqa_assets.heads.splitting import Part
from vqa_assets.heads.weights import I64, standardisation, standardised

F64 = NDArray[np.float64]
BASELINES = ("constant", "ridge", "vmaf")
"""Those that stand beside every head; support vector regression is in the protocol only."""

SVR_FIT_ROWS = 5_000
"""The most rows that support vector regression is fitted on: its cost grows with the square of the rows and more."""
SVR_CHOICE_ROWS = 1_500
"""The most rows that its C and gamma are chosen on."""

_RIDGE_FOLDS, _SVR_FOLDS = 5, 3
_SVR_C = (0.1, 1.0, 10.0)
_SVR_GAMMA_TIMES_FEATURES = (0.1, 0.3, 1.0)
_SVR_EPSILON = 0.1


def baseline_predictions(table: TrainingTable, part: Part, seed: int) -> dict[str, F64]:
    """MOS per baseline for a part's test rows (M,); VMAF mapped onto 1–5, NaN where unknown."""
    return {
        "constant": np.full(len(part.test), float(table.mos[part.train].mean(dtype=np.float64))),
        "ridge": _ridge_predictions(table, part, seed),
        "vmaf": vmaf_on_training_scale(table, part.test),
    }


def _ridge_predictions(table: TrainingTable, part: Part, seed: int) -> F64:
    """scikit-learn's ridge on standardised features; its penalty is chosen by an inner cross-validation by content."""
    from sklearn.linear_model import RidgeCV

    mean, std = standardisation(table.features[part.train])
    x = standardised(table.features, mean, std).astype(np.float64)
    inner = np.array([fold_of(table.groups[row], _RIDGE_FOLDS, seed + 1) for row in part.train])
    cuts = [(np.flatnonzero(inner != k), np.flatnonzero(inner == k)) for k in range(_RIDGE_FOLDS)]
    # With very few contents a fold may be empty; with one left, leave-one-out is all there is.
    usable = [cut for cut in cuts if all(map(len, cut))]
    model = RidgeCV(PENALTIES, cv=usable or None, scoring="neg_mean_squared_error" if usable else None)
    predicted: F64 = model.fit(x[part.train], table.mos[part.train].astype(np.float64)).predict(x[part.test])
    return predicted


def vmaf_on_training_scale(table: TrainingTable, rows: I64) -> F64:
    """VMAF of rows, mapped affinely from 0–100 to 1–5; NaN where unknown."""
    slope, intercept = VMAF_0_100.map_to(TRAINING)
    mapped: F64 = slope * table.vmaf[rows].astype(np.float64) + intercept
    return mapped


def svr_predictions(table: TrainingTable, part: Part, seed: int) -> F64:
    """MOS (M,) of a part's test rows by scikit-learn's SVR with a Gaussian kernel, the field's own baseline.

    Features and scores are standardised by the training rows. C and gamma are those of the least squared error over
    three folds by content of at most ``SVR_CHOICE_ROWS`` training rows; the fit reads at most ``SVR_FIT_ROWS``.
    """
    from sklearn.svm import SVR

    fit = bounded(part.train, table.groups, SVR_FIT_ROWS, seed)
    mean, std = standardisation(table.features[fit])
    level, spread = float(table.mos[fit].mean(dtype=np.float64)), float(table.mos[fit].std(dtype=np.float64)) or 1.0
    x = standardised(table.features, mean, std).astype(np.float64)
    y = (table.mos.astype(np.float64) - level) / spread
    choice = bounded(fit, table.groups, SVR_CHOICE_ROWS, seed)
    inner = np.array([fold_of(table.groups[row], _SVR_FOLDS, seed + 1) for row in choice])
    cuts = [(choice[inner != k], choice[inner == k]) for k in range(_SVR_FOLDS)]

    def squared_error(candidate: dict[str, float]) -> float:
        return sum(
            float(np.sum((SVR(epsilon=_SVR_EPSILON, **candidate).fit(x[rest], y[rest]).predict(x[own]) - y[own]) ** 2))
            for rest, own in cuts
            if len(rest) and len(own)
        )

    grid = [{"C": c, "gamma": g / x.shape[1]} for c in _SVR_C for g in _SVR_GAMMA_TIMES_FEATURES]
    best = min(grid, key=squared_error)
    predicted: F64 = SVR(epsilon=_SVR_EPSILON, **best).fit(x[fit], y[fit]).predict(x[part.test])
    return level + spread * predicted


def bounded(rows: I64, groups: Sequence[str], most: int, seed: int) -> I64:
    """At most so many of the rows: contents are drawn one after another, and the last may be cut."""
    if len(rows) <= most:
        return rows
    names, of_row = np.unique(np.asarray(groups, dtype=object)[rows].astype(str), return_inverse=True)
    rank = np.random.default_rng(seed).permutation(len(names))
    return rows[np.argsort(rank[of_row], kind="stable")[:most]]
