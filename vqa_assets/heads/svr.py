"""The field's own baseline: support vector regression with a Gaussian kernel, chosen and fitted on training rows only.

Its cost grows with the square of the rows and more, so its fits read a bounded number of them.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vqa_assets.corpora.contents import fold_of
from vqa_assets.heads.weights import F32, I64, standardisation, standardised

FIT_ROWS = 5_000
"""The most rows it is fitted on."""
CHOICE_ROWS = 1_500
"""The most rows that C and gamma are chosen on."""

_C = (0.1, 1.0, 10.0)
_GAMMA_TIMES_FEATURES = (0.1, 0.3, 1.0)
_EPSILON = 0.1
_INNER_FOLDS = 3
F64 = NDArray[np.float64]


def svr_predictions(features: F32, mos: F32, groups: Sequence[str], cut: tuple[I64, I64], seed: int) -> F64:
    """MOS (M,) of the test rows by scikit-learn's SVR fitted on the training rows; ``cut`` is (train, test) rows.

    Features and scores are standardised by the training rows. C and gamma are those of the least squared error over
    three folds by content of at most 1 500 training rows; the fit reads at most 5 000.
    """
    from sklearn.svm import SVR

    train, test = cut
    train = bounded(train, groups, FIT_ROWS, seed)
    mean, std = standardisation(features[train])
    level, spread = float(mos[train].mean(dtype=np.float64)), float(mos[train].std(dtype=np.float64)) or 1.0
    x, y = standardised(features, mean, std).astype(np.float64), (mos.astype(np.float64) - level) / spread
    chosen = _chosen(x, y, bounded(train, groups, CHOICE_ROWS, seed), groups, seed)
    predicted: F64 = SVR(epsilon=_EPSILON, **chosen).fit(x[train], y[train]).predict(x[test])
    return level + spread * predicted


def bounded(rows: I64, groups: Sequence[str], most: int, seed: int) -> I64:
    """At most so many of the rows: contents are drawn one after another, and the last may be cut."""
    if len(rows) <= most:
        return rows
    names, of_row = np.unique(np.asarray(groups, dtype=object)[rows].astype(str), return_inverse=True)
    rank = np.random.default_rng(seed).permutation(len(names))
    return rows[np.argsort(rank[of_row], kind="stable")[:most]]


def _chosen(x: F64, y: F64, rows: I64, groups: Sequence[str], seed: int) -> dict[str, float]:
    from sklearn.svm import SVR

    inner = np.array([fold_of(groups[row], _INNER_FOLDS, seed + 1) for row in rows])
    cuts = [(rows[inner != k], rows[inner == k]) for k in range(_INNER_FOLDS)]
    grid = [{"C": c, "gamma": g / x.shape[1]} for c in _C for g in _GAMMA_TIMES_FEATURES]

    def error(candidate: dict[str, float]) -> float:
        return sum(
            float(np.sum((SVR(epsilon=_EPSILON, **candidate).fit(x[fit], y[fit]).predict(x[judge]) - y[judge]) ** 2))
            for fit, judge in cuts
            if len(fit) and len(judge)
        )

    return min(grid, key=error)
