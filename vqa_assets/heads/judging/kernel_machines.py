"""The kernel machines that a head is compared with: support vector regression and kernel ridge, each tuned.

Plain arrays go in and come out, and nothing here imports more than numpy at once: other processes of a run import it.
Which rows are whose is for ``baselines``. No head is ever one of these: it would hold rows of its corpora.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Scale = Callable[[F32], F64]
Settings = Mapping[str, float]
Predict = Callable[[F64, F64, F64, Settings], F64]
"""Kernels among the rows that are fitted on and their scores, kernels of other rows with them, settings → scores."""

KERNEL_MACHINES = ("svr", "kernel_ridge")
NOT_CHOSEN_ON = -1
"""In place of a row's part: the row is fitted on, and settings are chosen without it."""

_STANDARDISED, _MIN_MAX = "standardised", "min-max"
_WIDTHS, _MIDDLE_WIDTH = (0.0125, 0.05, 0.2, 0.8), 0.2
"""Gamma times the mean squared distance of two rows; steps of four are those of libsvm's guide."""
_PENALTIES, _MIDDLE_PENALTY = (0.01, 0.1, 1.0, 10.0), 0.1
_C, _MIDDLE_C = (0.25, 1.0, 4.0, 16.0), 1.0
_EPSILONS, _MIDDLE_EPSILON = (0.03, 0.1, 0.3), 0.1
"""In SDs of the scores."""
_MOST_STEPS = 1_000_000
"""libsvm takes what it has after so many: on noise, a large C may keep it for hours."""
_CACHE_MB = 100
_MOST_COLUMNS_OF_LIBSVM = 1_000
"""With more, libsvm's own kernel takes longer than all kernels together, which take 200 MB of 5 000 rows."""
_CLIP = 4.0
_ROWS_AT_ONCE = 2_000


@dataclass(frozen=True, eq=False)
class KernelRows:
    """What a machine is fitted on and tuned by, and what it is asked.

    ``features`` (N, F) and ``scores`` (N,) are fitted on. ``parts`` (N,) number the parts of whole contents by which
    settings are chosen, each judged by a machine of the others; or are ``NOT_CHOSEN_ON``. ``asked`` (M, F) are the rows
    whose scores are asked for.
    """

    features: F32
    scores: F64
    parts: I64
    asked: F32


@dataclass(frozen=True, eq=False)
class Tuned:
    """A baseline's scores (M,) of the rows that it was asked, and the settings that left-out contents chose."""

    scores: F64
    settings: Mapping[str, float | str]


@dataclass(frozen=True)
class _Kernel:
    """``exp(−gamma · |a − b|²)`` of features that are scaled one way."""

    scaling: str
    gamma: float


def tuned_machines(rows: KernelRows) -> dict[str, Tuned]:
    """Each of ``KERNEL_MACHINES`` by its name, on one thread: the same numbers wherever it runs.

    Features are standardised and clipped to ±4 SD, or brought to 0–1 by their lowest and highest value; scores are
    standardised. Scaling, width and penalty of kernel ridge are those of the least squared error over the parts.
    Support vector regression, whose fits take longer, tries the best width of each scaling with each C, then epsilons
    with the best of these. With fewer than two parts there is nothing to choose by: the middle of each range is taken.
    """
    from sklearn import config_context
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), config_context(assume_finite=True, skip_parameter_validation=True):
        return _tuned(rows)


def _tuned(rows: KernelRows) -> dict[str, Tuned]:
    level, spread = float(rows.scores.mean()), float(rows.scores.std()) or 1.0
    scores = (rows.scores - level) / spread
    scales = {_STANDARDISED: _standardising(rows.features), _MIN_MAX: _between_ends(rows.features)}
    chosen = _chosen_settings(rows, scores, scales)
    result = {}
    for name in KERNEL_MACHINES:
        kernel, own = chosen[name]
        predicted = _predicted(name, own, kernel, scales[kernel.scaling], rows, scores)
        settings: dict[str, float | str] = {"scaling": kernel.scaling, "gamma": kernel.gamma, **own}
        result[name] = Tuned(level + spread * predicted, settings)
    return result


def _chosen_settings(rows: KernelRows, scores: F64, scales: Mapping[str, Scale]) -> dict[str, tuple[_Kernel, Settings]]:
    """Per machine its kernel and its own settings."""
    chosen_on = np.flatnonzero(rows.parts != NOT_CHOSEN_ON)
    y, part = scores[chosen_on], rows.parts[chosen_on]
    cuts = [(np.flatnonzero(part != k), np.flatnonzero(part == k)) for k in np.unique(part)]
    has_choice = len(cuts) > 1
    of_scaling: dict[str, list[_Kernel]] = {}
    distances = {}
    for scaling in scales if has_choice else (_STANDARDISED,):
        x = scales[scaling](rows.features[chosen_on])
        distances[scaling] = _squared_distances(x, x)
        mean = float(distances[scaling].sum()) / max(1, len(x) * (len(x) - 1)) or 1.0
        of_scaling[scaling] = [_Kernel(scaling, w / mean) for w in (_WIDTHS if has_choice else (_MIDDLE_WIDTH,))]
    if not has_choice:
        (kernel,) = of_scaling[_STANDARDISED]
        return {
            "kernel_ridge": (kernel, {"penalty": _MIDDLE_PENALTY}),
            "svr": (kernel, {"C": _MIDDLE_C, "epsilon": _MIDDLE_EPSILON}),
        }

    def errors(kernel: _Kernel, candidates: Sequence[Settings], predict: Predict) -> F64:
        """The squared error over all parts with each of the candidates."""
        similar = np.exp(-kernel.gamma * distances[kernel.scaling])
        sums = np.zeros(len(candidates))
        for rest, own in cuts:
            among, across = similar[np.ix_(rest, rest)], similar[np.ix_(own, rest)]
            sums += [float(np.sum((predict(among, y[rest], across, one) - y[own]) ** 2)) for one in candidates]
        return sums

    penalties = [{"penalty": penalty} for penalty in _PENALTIES]
    of_ridge = {k: errors(k, penalties, _ridge_solved) for each in of_scaling.values() for k in each}
    best = {scaling: min(each, key=lambda k: float(of_ridge[k].min())) for scaling, each in of_scaling.items()}
    of_c = [{"C": c, "epsilon": _MIDDLE_EPSILON} for c in _C]
    of_svr = {kernel: errors(kernel, of_c, _svr_fitted) for kernel in best.values()}
    kernel = min(of_svr, key=lambda k: float(of_svr[k].min()))
    c = of_c[int(of_svr[kernel].argmin())]["C"]
    of_epsilon = [{"C": c, "epsilon": epsilon} for epsilon in _EPSILONS]
    of_kernel_ridge = min(best.values(), key=lambda k: float(of_ridge[k].min()))
    return {
        "kernel_ridge": (of_kernel_ridge, penalties[int(of_ridge[of_kernel_ridge].argmin())]),
        "svr": (kernel, of_epsilon[int(errors(kernel, of_epsilon, _svr_fitted).argmin())]),
    }


def _ridge_solved(among: F64, scores: F64, across: F64, settings: Settings) -> F64:
    predicted: F64 = across @ _ridge_coefficients(among.copy(), scores, settings["penalty"])
    return predicted


def _ridge_coefficients(among: F64, scores: F64, penalty: float) -> F64:
    """Kernel ridge as scikit-learn solves it, in the place of the kernels: of 5 000 rows they are 200 MB."""
    from scipy.linalg import cho_factor, cho_solve

    among.flat[:: len(among) + 1] += penalty
    # By columns, as LAPACK wants it, which is the same matrix: it makes no copy then.
    factor = cho_factor(among.T, lower=True, overwrite_a=True, check_finite=False)
    coefficients: F64 = cho_solve(factor, scores, check_finite=False)
    return coefficients


def _svr_fitted(among: F64, scores: F64, across: F64, settings: Settings) -> F64:
    predicted: F64 = _fitted_svr(among, scores, settings, kernel="precomputed").predict(across)
    return predicted


def _fitted_svr(rows: F64, scores: F64, settings: Settings, **kernel: float | str) -> Any:
    from sklearn.svm import SVR

    machine = SVR(C=settings["C"], epsilon=settings["epsilon"], max_iter=_MOST_STEPS, cache_size=_CACHE_MB, **kernel)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that libsvm took what it had
        return machine.fit(rows, scores)


def _predicted(name: str, settings: Settings, kernel: _Kernel, scale: Scale, rows: KernelRows, scores: F64) -> F64:
    """The standardised scores (M,) of the rows that are asked, by a machine that is fitted on all others."""
    x, intercept = scale(rows.features), 0.0
    if name == "kernel_ridge":
        coefficients = _ridge_coefficients(_similar(x, x, kernel.gamma), scores, settings["penalty"])
    else:
        wide = x.shape[1] > _MOST_COLUMNS_OF_LIBSVM
        machine = (
            _fitted_svr(_similar(x, x, kernel.gamma), scores, settings, kernel="precomputed")
            if wide
            else _fitted_svr(x, scores, settings, kernel="rbf", gamma=kernel.gamma)
        )
        coefficients, intercept, x = machine.dual_coef_[0], float(machine.intercept_[0]), x[machine.support_]
        if not len(x):  # every score is within epsilon of the intercept
            return np.full(len(rows.asked), intercept)
    asked = (rows.asked[first : first + _ROWS_AT_ONCE] for first in range(0, len(rows.asked), _ROWS_AT_ONCE))
    predicted = [_similar(scale(some), x, kernel.gamma) @ coefficients + intercept for some in asked]
    return np.concatenate([np.empty(0), *predicted])


def _standardising(features: F32) -> Scale:
    wide = features.astype(np.float64)
    mean, sd = wide.mean(axis=0), np.where(np.ptp(wide, axis=0) > 0, wide.std(axis=0), 1.0)
    return lambda x: np.clip((x - mean) / sd, -_CLIP, _CLIP)


def _between_ends(features: F32) -> Scale:
    low, high = (end(axis=0).astype(np.float64) for end in (features.min, features.max))
    width = np.where(high > low, high - low, 1.0)
    return lambda x: np.clip((x - low) / width, 0.0, 1.0)


def _squared_distances(a: F64, b: F64) -> F64:
    from sklearn.metrics.pairwise import euclidean_distances

    distances: F64 = euclidean_distances(a, b, squared=True)
    return distances


def _similar(a: F64, b: F64, gamma: float) -> F64:
    """The kernel (N, M) of rows (N, F) with rows (M, F)."""
    similar = _squared_distances(a, b)
    similar *= -gamma
    return np.exp(similar, out=similar)
