"""How well predictions agree with opinion scores: rank and linear correlation, RMSE, logistic fit, bootstrap intervals.

What a gate demands of these numbers is in ``heads/``. A metric without meaning (constant or non-finite input, fewer
than two rows) is NaN, never a warning and never 0.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Metric = Callable[[ArrayLike, ArrayLike], float]
"""(truth, predicted), both (N,) → one number."""

LOGISTIC_PARAMETERS = 4
_ALL_BUT_FLAT = 1e-6
_BOOTSTRAP_ROWS = 20_000_000
_NUMBERS_AT_ONCE = 2_000_000
_MOST_PAIRED = 2_000
"""The most rows whose pairs are all held at once; with more, Kendall's tau is counted for each resample."""


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


def rmse_over_sd(truth: ArrayLike, predicted: ArrayLike) -> float:
    """RMSE ÷ SD of the scores: 1 is what a constant reaches on any corpus; NaN where scores are alike."""
    y = np.asarray(truth, dtype=np.float64)
    spread = float(y.std()) if y.size else 0.0
    return rmse(truth, predicted) / spread if spread > 0 else math.nan


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
    from scipy.special import expit

    pair = _pair(truth, predicted, least=LOGISTIC_PARAMETERS + 1)
    if pair is None or np.ptp(pair[0]) == 0 or np.ptp(pair[1]) == 0:
        return None
    y, x = pair
    centre, width = float(x.mean()), float(x.std())
    scaled = (x - centre) / width
    start = np.array([y.max(), y.min(), 0.0, 1.0])

    def slopes(b: Floats) -> Floats:
        across = (scaled - b[2]) / _width(b)
        share = expit(across)
        steep = (b[0] - b[1]) * share * (1 - share) / _width(b)
        return np.stack([share, 1 - share, -steep, -steep * across * np.sign(b[3])], axis=1)

    # MINPACK with exact slopes takes a sixth of the time of trust regions with estimated ones.
    fit = least_squares(lambda b: _logistic(b, scaled) - y, start, jac=slopes, method="lm")
    b1, b2, b3, b4 = map(float, fit.x)
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
    """One set of predictions judged: raw metrics, and PLCC and RMSE after ``mapped``."""

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
    return Scores(
        rows=int(np.size(truth)),
        srocc=srocc(truth, predicted),
        krocc=krocc(truth, predicted),
        plcc=plcc(truth, predicted),
        rmse=rmse(truth, predicted),
        plcc_fitted=math.nan if fitted is None else plcc(truth, fitted),
        rmse_fitted=math.nan if fitted is None else rmse(truth, fitted),
        rmse_over_sd=rmse_over_sd(truth, predicted),
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
    values = [metric_of_resamples(metric, truth, predicted, counts) for counts in resamples(groups, draw)]
    return percentile_interval(np.concatenate(values), draw) if values else (math.nan, math.nan)


def bootstrap_difference(
    metric: Metric,
    truth: ArrayLike,
    ours: ArrayLike,
    theirs: ArrayLike,
    groups: Sequence[str],
    draw: Bootstrap | None = None,
) -> tuple[float, float]:
    """The interval, as ``bootstrap_interval``'s, of a metric of ``ours`` minus that of ``theirs``.

    Both are judged on the same resamples of the groups.
    """
    draw = draw or Bootstrap()
    values = [
        metric_of_resamples(metric, truth, ours, counts) - metric_of_resamples(metric, truth, theirs, counts)
        for counts in resamples(groups, draw)
    ]
    return percentile_interval(np.concatenate(values), draw) if values else (math.nan, math.nan)


def resamples(groups: Sequence[str] | NDArray[np.int64], draw: Bootstrap) -> Iterator[Floats]:
    """How often each of the rows (N,) counts in each resample of whole groups: (S, N), some resamples at a time.

    Nothing under two groups.
    """
    _, codes = np.unique(np.asarray(groups), return_inverse=True)
    count = int(codes.max(initial=-1)) + 1
    if count < 2:
        return
    rng = np.random.default_rng(draw.seed)
    samples = min(draw.samples, max(100, _BOOTSTRAP_ROWS // len(codes)))
    at_once = max(1, _NUMBERS_AT_ONCE // len(codes))
    for begun in range(0, samples, at_once):
        drawn = [rng.integers(0, count, count) for _ in range(min(at_once, samples - begun))]
        yield np.stack([np.bincount(one, minlength=count) for one in drawn])[:, codes].astype(np.float64)


def percentile_interval(values: Floats, draw: Bootstrap) -> tuple[float, float]:
    """The interval that holds the middle of a number's resampled values (S,); (NaN, NaN) where half are no number."""
    finite = values[np.isfinite(values)]
    if finite.size <= len(values) / 2:
        return math.nan, math.nan
    low, high = np.quantile(finite, [(1 - draw.confidence) / 2, (1 + draw.confidence) / 2])
    return float(low), float(high)


def metric_of_resamples(metric: Metric, truth: ArrayLike, predicted: ArrayLike, counts: Floats) -> Floats:
    """A metric of (N,) against (N,), (S,) values: once for each of the (S, N) ``counts`` of how often a row counts.

    Those of this module are taken from weighted sums over all resamples together, others are called for each.
    """
    y, p = np.asarray(truth, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    at_once = _OF_RESAMPLES.get(metric)
    is_small = metric is not krocc or len(y) <= _MOST_PAIRED
    if at_once is not None and is_small and np.isfinite(y).all() and np.isfinite(p).all():
        return at_once(y, p, counts)
    rows = np.arange(len(y))
    chosen = (np.repeat(rows, count.astype(np.int64)) for count in counts)
    return np.array([metric(y[own], p[own]) for own in chosen])


def _plcc_of_resamples(y: Floats, p: Floats, counts: Floats) -> Floats:
    together, of_y, of_p = _products(_off_mean(y, counts), _off_mean(p, counts), counts)
    return _correlation(together, of_y * of_p, _varies(y, counts) & _varies(p, counts))


def _srocc_of_resamples(y: Floats, p: Floats, counts: Floats) -> Floats:
    middle = (counts.sum(axis=1, keepdims=True) + 1) / 2
    together, of_y, of_p = _products(_ranks(y, counts) - middle, _ranks(p, counts) - middle, counts)
    return _correlation(together, of_y * of_p, _varies(y, counts) & _varies(p, counts))


def _off_mean(values: Floats, counts: Floats) -> Floats:
    """The values minus each resample's own mean: (S, N).

    Two passes: from sums of squares about any other number a row far off, where it is not drawn, takes all digits.
    """
    return values - _divided(counts @ values, counts.sum(axis=1))[:, None]


def _products(a: Floats, b: Floats, counts: Floats) -> tuple[Floats, Floats, Floats]:
    """Of two (S, N) the sums of their products, of a's squares and of b's, in each resample: (S,) each."""
    ab, aa, bb = (np.einsum("sn,sn,sn->s", counts, *pair) for pair in ((a, b), (a, a), (b, b)))
    return ab, aa, bb


def _ranks(values: Floats, counts: Floats) -> Floats:
    """The rank (S, N) of each row in each resample, ties at the mean of their ranks."""
    _, code = np.unique(values, return_inverse=True)
    order = np.argsort(code, kind="stable")
    ends = np.cumsum(np.bincount(code))
    up_to = np.cumsum(counts[:, order], axis=1)[:, ends - 1]
    before = np.concatenate([np.zeros((len(counts), 1)), up_to[:, :-1]], axis=1)
    ranks: Floats = ((before + up_to + 1) / 2)[:, code]
    return ranks


def _krocc_of_resamples(y: Floats, p: Floats, counts: Floats) -> Floats:
    number = counts.sum(axis=1)
    alike = np.sign(y[:, None] - y) * np.sign(p[:, None] - p)
    together = np.einsum("sn,sn->s", counts @ alike, counts) / 2
    pairs = number * (number - 1) / 2
    untied = [pairs - _tied_pairs(one, counts) for one in (y, p)]
    return _correlation(together, untied[0] * untied[1], _varies(y, counts) & _varies(p, counts))


def _tied_pairs(values: Floats, counts: Floats) -> Floats:
    _, code = np.unique(values, return_inverse=True)
    order = np.argsort(code, kind="stable")
    starts = np.cumsum(np.bincount(code)) - np.bincount(code)
    each = np.add.reduceat(counts[:, order], starts, axis=1)
    pairs: Floats = (each * (each - 1) / 2).sum(axis=1)
    return pairs


def _rmse_of_resamples(y: Floats, p: Floats, counts: Floats) -> Floats:
    return np.sqrt(_divided(counts @ (y - p) ** 2, counts.sum(axis=1)))


def _rmse_over_sd_of_resamples(y: Floats, p: Floats, counts: Floats) -> Floats:
    apart = _off_mean(y, counts)
    variance = _divided(np.einsum("sn,sn,sn->s", counts, apart, apart), counts.sum(axis=1))
    return np.where(_varies(y, counts), _divided(_rmse_of_resamples(y, p, counts), np.sqrt(variance)), math.nan)


def _varies(values: Floats, counts: Floats) -> NDArray[np.bool_]:
    """Whether a resample has two values that differ: (S,)."""
    drawn = counts > 0
    lowest = np.where(drawn, values, np.inf).min(axis=1, initial=np.inf)
    highest = np.where(drawn, values, -np.inf).max(axis=1, initial=-np.inf)
    varies: NDArray[np.bool_] = lowest < highest
    return varies


def _correlation(together: Floats, product: Floats, is_defined: NDArray[np.bool_]) -> Floats:
    found = np.clip(_divided(together, np.sqrt(np.maximum(product, 0.0))), -1.0, 1.0)
    return np.where(is_defined, found, math.nan)


def _divided(numbers: Floats, by: Floats) -> Floats:
    """The quotient, NaN where there is nothing to divide by."""
    quotient: Floats = np.divide(numbers, by, out=np.full(len(numbers), math.nan), where=by > 0)
    return quotient


_OF_RESAMPLES: Mapping[Metric, Callable[[Floats, Floats, Floats], Floats]] = {
    plcc: _plcc_of_resamples,
    srocc: _srocc_of_resamples,
    krocc: _krocc_of_resamples,
    rmse: _rmse_of_resamples,
    rmse_over_sd: _rmse_over_sd_of_resamples,
}


def finite_or_none(number: float) -> float | None:
    """The number for a JSON file: None for NaN and infinities, which JSON does not have."""
    return number if math.isfinite(number) else None


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

    mapped: Floats = b[1] + (b[0] - b[1]) * expit((x - b[2]) / _width(b))
    return mapped


def _width(b: Floats) -> float:
    return max(abs(float(b[3])), np.finfo(np.float64).tiny)
