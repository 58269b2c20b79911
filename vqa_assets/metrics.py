"""How well predictions agree with opinion scores: rank and linear correlation, RMSE, logistic fit, bootstrap intervals.

What a gate demands of these numbers is in ``heads/``. A metric without meaning (constant or non-finite input, fewer
than two rows) is NaN, never a warning and never 0.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Metric = Callable[[ArrayLike, ArrayLike], float]
"""(truth, predicted), both (N,) → one number."""

LOGISTIC_PARAMETERS = 4
_ALL_BUT_FLAT = 1e-6
_BOOTSTRAP_ROWS = 20_000_000


def plcc(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Pearson's linear correlation of two (N,) arrays."""
    pair = _pair(truth, predicted)
    return math.nan if pair is None else _pearson(*pair)


def srocc(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Spearman's rank correlation; ties take the mean of their ranks."""
    from scipy.stats import rankdata

    pair = _pair(truth, predicted)
    return math.nan if pair is None else _pearson(rankdata(pair[0]), rankdata(pair[1]))


def krocc(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Kendall's rank correlation, tau-b (corrected for ties)."""
    from scipy.stats import kendalltau

    pair = _pair(truth, predicted)
    if pair is None or np.ptp(pair[0]) == 0 or np.ptp(pair[1]) == 0:
        return math.nan
    return float(kendalltau(*pair).statistic)


def rmse(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Root mean squared error, in the unit of the scores; defined for constant predictions."""
    pair = _pair(truth, predicted, least=1)
    return math.nan if pair is None else float(np.sqrt(np.mean((pair[0] - pair[1]) ** 2)))


@dataclass(frozen=True)
class LogisticFit:
    """``b2 + (b1 − b2) / (1 + exp(−(x − b3) / |b4|))``, the four-parameter logistic of VQEG's reports."""

    b1: float
    b2: float
    b3: float
    b4: float

    @property
    def rises(self) -> bool:
        """Whether scores rise with predictions."""
        return self.b1 >= self.b2

    def __call__(self, predicted: ArrayLike) -> Floats:
        """Predictions (N,) mapped onto the scale of the scores the fit was made on."""
        return _logistic(np.array([self.b1, self.b2, self.b3, self.b4]), np.asarray(predicted, dtype=np.float64))


def logistic_fit(truth: ArrayLike, predicted: ArrayLike) -> LogisticFit | None:
    """The least-squares logistic from predictions to scores; None with under five rows or a constant side."""
    from scipy.optimize import least_squares

    pair = _pair(truth, predicted, least=LOGISTIC_PARAMETERS + 1)
    if pair is None or np.ptp(pair[0]) == 0 or np.ptp(pair[1]) == 0:
        return None
    y, x = pair
    centre, width = float(x.mean()), float(x.std())
    scaled = (x - centre) / width
    start = np.array([y.max(), y.min(), 0.0, 1.0])
    b1, b2, b3, b4 = map(float, least_squares(lambda b: _logistic(b, scaled) - y, start).x)
    return LogisticFit(b1, b2, b3 * width + centre, b4 * width)


def mapped(truth: ArrayLike, predicted: ArrayLike) -> Floats | None:
    """Predictions (N,) on the scale of the scores, by ``logistic_fit``; None where there is none.

    A mapping must not turn predictions round: where scores fall as predictions rise, it is a line that all but lies
    flat, whose PLCC is that of the predictions and whose RMSE is a constant's.
    """
    fit = logistic_fit(truth, predicted)
    if fit is None or fit.rises:
        return None if fit is None else fit(predicted)
    y, x = (np.asarray(a, dtype=np.float64) for a in (truth, predicted))
    flat: Floats = np.nanmean(y) + _ALL_BUT_FLAT * np.nanstd(y) / np.nanstd(x) * (x - np.nanmean(x))
    return flat


@dataclass(frozen=True)
class Scores:
    """One set of predictions judged: raw metrics, and PLCC and RMSE after ``mapped``.

    ``rmse_over_sd`` is RMSE ÷ SD of the scores: 1 is what a constant reaches on any corpus.
    """

    rows: int
    srocc: float
    krocc: float
    plcc: float
    rmse: float
    plcc_fitted: float
    rmse_fitted: float
    rmse_over_sd: float

    def as_json(self) -> dict[str, float | None]:
        """The fields, with None for what is not defined."""
        return {f.name: finite_or_none(getattr(self, f.name)) for f in fields(self)}


METRIC_NAMES = tuple(f.name for f in fields(Scores) if f.name != "rows")


def score(truth: ArrayLike, predicted: ArrayLike) -> Scores:
    """All metrics of predictions (N,) against scores (N,)."""
    return score_fitted(truth, predicted, mapped(truth, predicted))


def score_fitted(truth: ArrayLike, predicted: ArrayLike, fitted: Floats | None) -> Scores:
    """As ``score``, where it is known what ``mapped`` makes of the predictions."""
    y = np.asarray(truth, dtype=np.float64)
    error, spread = rmse(truth, predicted), float(y.std()) if y.size else 0.0
    return Scores(
        rows=int(y.size),
        srocc=srocc(truth, predicted),
        krocc=krocc(truth, predicted),
        plcc=plcc(truth, predicted),
        rmse=error,
        plcc_fitted=math.nan if fitted is None else plcc(truth, fitted),
        rmse_fitted=math.nan if fitted is None else rmse(truth, fitted),
        rmse_over_sd=error / spread if spread > 0 else math.nan,
    )


def mean_scores(each: Sequence[Scores]) -> dict[str, float]:
    """Per metric the mean over folds, NaN as soon as one fold's is: a fold is never left out of a mean."""
    return {m: sum(getattr(s, m) for s in each) / len(each) if each else math.nan for m in METRIC_NAMES}


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are drawn: ``samples`` resamples of whole groups, seeded."""

    samples: int = 1000
    seed: int = 0
    confidence: float = 0.95


def bootstrap_interval(
    metric: Metric, truth: ArrayLike, predicted: ArrayLike, groups: Sequence[str], draw: Bootstrap | None = None
) -> tuple[float, float]:
    """A metric's percentile interval, (low, high), over resamples of whole groups with replacement.

    Resamples on which the metric is undefined are left out; (NaN, NaN) where that is half of them, or under two groups.
    Above 20 000 rows fewer resamples are drawn, never under 100.
    """
    draw = draw or Bootstrap()
    y, p = np.asarray(truth, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    members = _rows_by_group(groups)
    if len(members) < 2:
        return math.nan, math.nan
    rng = np.random.default_rng(draw.seed)
    samples = min(draw.samples, max(100, _BOOTSTRAP_ROWS // len(y)))
    drawn = (members.rows_of(rng.integers(0, len(members), len(members))) for _ in range(samples))
    values = np.array([metric(y[rows], p[rows]) for rows in drawn])
    values = values[np.isfinite(values)]
    if values.size <= samples / 2:
        return math.nan, math.nan
    low, high = np.quantile(values, [(1 - draw.confidence) / 2, (1 + draw.confidence) / 2])
    return float(low), float(high)


def finite_or_none(number: float) -> float | None:
    """The number for a JSON file: None for NaN and infinities, which JSON does not have."""
    return number if math.isfinite(number) else None


@dataclass(frozen=True)
class _Members:
    """Row numbers ordered by group: group g holds ``order[starts[g] : starts[g] + sizes[g]]``."""

    order: NDArray[np.int64]
    starts: NDArray[np.int64]
    sizes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.sizes)

    def rows_of(self, groups: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows of these groups, one after another."""
        sizes = self.sizes[groups]
        ends = np.cumsum(sizes)
        within = np.arange(ends[-1]) - np.repeat(ends - sizes, sizes)
        rows: NDArray[np.int64] = self.order[np.repeat(self.starts[groups], sizes) + within]
        return rows


def _rows_by_group(groups: Sequence[str]) -> _Members:
    _, codes = np.unique(np.asarray(groups), return_inverse=True)
    sizes = np.bincount(codes)
    return _Members(np.argsort(codes, kind="stable"), np.cumsum(sizes) - sizes, sizes)


def _pair(truth: ArrayLike, predicted: ArrayLike, least: int = 2) -> tuple[Floats, Floats] | None:
    """Both sides as float64, or None where no metric is defined on them."""
    y, p = np.asarray(truth, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    if y.shape != p.shape or y.ndim != 1:
        raise ValueError(f"truth {y.shape} and predicted {p.shape} must be the same (N,)")
    return (y, p) if y.size >= least and np.isfinite(y).all() and np.isfinite(p).all() else None


def _pearson(a: Floats, b: Floats) -> float:
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return math.nan
    a, b = a - a.mean(), b - b.mean()
    return float(np.clip(a @ b / np.sqrt((a @ a) * (b @ b)), -1.0, 1.0))


def _logistic(b: Floats, x: Floats) -> Floats:
    from scipy.special import expit

    width = max(abs(float(b[3])), np.finfo(np.float64).tiny)
    mapped: Floats = b[1] + (b[0] - b[1]) * expit((x - b[2]) / width)
    return mapped
