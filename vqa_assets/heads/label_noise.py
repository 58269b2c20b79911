"""Opinion scores have errors of their own: what a clip counts for in training, and how far any head can come.

The error of a mean opinion score has the variance SD²/n: that of its opinions over their number. How a
weight enters a loss is in ``training``.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vqa_assets.errors import TrainingError
from vqa_assets.heads.judging.baselines import bounded
from vqa_assets.heads.judging.evaluation import WITH_INTERVAL, predicted
from vqa_assets.heads.members.closed_form import PENALTIES, KernelRidge
from vqa_assets.heads.members.feature_map import FeatureMap
from vqa_assets.heads.members.method import Trainer
from vqa_assets.heads.members.weights import F32, I64, HeadWeights
from vqa_assets.heads.part_training import train_parts
from vqa_assets.heads.rows.choosing import Say
from vqa_assets.heads.rows.reading import TrainingTable
from vqa_assets.heads.rows.splitting import Part, SplitPlan, deciding_folds
from vqa_assets.heads.settings import TrainingSettings
from vqa_assets.metrics import finite_or_none, plcc

F64 = NDArray[np.float64]
ALWAYS, NEVER = "always", "never"
WEIGHTED, UNWEIGHTED = "weighted", "unweighted"

_LEAST_OPINIONS = 2
"""One opinion has no SD."""
_ROUNDED = 1.02
"""An SD may lie so far above the largest that there is: tables round."""
_LEAST_ROWS, _LEAST_CONTENTS = 10, 3
"""With fewer rows of known error, or fewer contents of them, there is no residual to speak of."""
_RESIDUAL_ROWS = 500
"""The most rows that left-out residuals are taken of: τ² is one number, and so many tell it to some 6 %."""
_LEAST_TAU2 = 0.1
"""τ² is at least this share of the squared residual: weights would differ without end where a head hardly errs."""
_TINY = 1e-12
"""Of a head that does not err."""
_ALIKE = 0.02
"""Weights whose SD is below this share of their mean change nothing that could be measured."""
_DRAWS, _FEWEST_DRAWS, _DRAWN_ROWS = 100, 10, 1_000_000
_LEAST_SHARE = 0.5
"""The share of rows of known error below which a ceiling says nothing of all of them."""


def error_variance(sd: ArrayLike, count: ArrayLike, span: float) -> F64:
    """SD²/n (N,), the variance of the errors of scores that are means of ``count`` (N,) opinions; NaN where unknown.

    Unknown is the error of a score without SD or count, of an SD of 0 (not published, or all said the same, which
    makes no score exact), of one opinion, and of an SD larger than opinions on a range of ``span`` can have.
    """
    s, n = np.asarray(sd, dtype=np.float64), np.asarray(count, dtype=np.float64)
    is_known = (s > 0) & np.isfinite(s) & (n >= _LEAST_OPINIONS) & np.isfinite(n) & ~_is_impossible(s, n, span)
    variance: F64 = np.divide(s * s, n, out=np.full(s.shape, math.nan), where=is_known)
    return variance


def _is_impossible(sd: F64, count: F64, span: float) -> NDArray[np.bool_]:
    """Half of the opinions at either end have the largest sample SD: span / 2 · √(n / (n − 1))."""
    others = np.maximum(count - 1, 1)
    with np.errstate(invalid="ignore"):
        impossible: NDArray[np.bool_] = sd > _ROUNDED * span / 2 * np.sqrt(np.where(count > 1, count, 2) / others)
    return impossible


def _impossible(table: TrainingTable) -> NDArray[np.bool_]:
    """Which rows (N,) have an SD larger than opinions can have: one that is in another unit than the score, mostly."""
    if table.opinion_sd is None or table.opinion_count is None:
        return np.zeros(len(table.mos), dtype=bool)
    return _is_impossible(_f64(table.opinion_sd), _f64(table.opinion_count), table.target.span)


def _why_impossible(table: TrainingTable) -> str:
    """What is wrong with the SDs of a table, after a colon; empty where nothing is."""
    wrong = _impossible(table)
    if not wrong.any() or table.opinion_sd is None:
        return ""
    low, high = table.target.low, table.target.low + table.target.span
    largest = f"{table.opinion_sd[wrong].max():.4g}"
    return f": {wrong.sum()} SDs, up to {largest}, are larger than opinions from {low:g} to {high:g} can have"


def errors_of(table: TrainingTable) -> F64:
    """``error_variance`` (N,) of a table's rows."""
    if table.opinion_sd is None or table.opinion_count is None:
        return np.full(len(table.mos), math.nan)
    return error_variance(table.opinion_sd, table.opinion_count, table.target.span)


@dataclass(frozen=True)
class Ceiling:
    """The SROCC and PLCC of scores with themselves, once more with their errors: what no head can be above for long.

    It was taken of ``rows``, those of known error, of ``of`` rows.
    """

    rows: int
    of: int
    srocc: float
    plcc: float


def ceiling(mos: ArrayLike, variance: F64, seed: int) -> Ceiling | None:
    """The mean over draws of how scores (N,) agree with the same plus normal errors of ``variance`` (N,).

    None, not known, where the variance is NaN in most rows, or the scores do not differ.
    """
    from scipy.stats import rankdata

    is_known = np.isfinite(variance)
    y, sd = np.asarray(mos, dtype=np.float64)[is_known], np.sqrt(variance[is_known])
    if not len(y) or len(y) < _LEAST_SHARE * len(variance):
        return None
    rng = np.random.default_rng(seed)
    draws = max(_FEWEST_DRAWS, min(_DRAWS, _DRAWN_ROWS // len(y)))
    ranks, each = rankdata(y), []
    for _ in range(draws):
        noisy = y + sd * rng.standard_normal(len(y))
        each.append((plcc(ranks, rankdata(noisy)), plcc(y, noisy)))
    of_ranks, of_scores = np.mean(each, axis=0)
    if not math.isfinite(of_ranks):
        return None
    return Ceiling(len(y), len(variance), float(of_ranks), float(of_scores))


@dataclass(frozen=True)
class Ceilings:
    """The ceilings beside a head's figures, each on the rows of its figure; None where it is not known.

    ``folds`` is the mean over folds, ``protocol`` the median over splits, ``together`` and ``per_corpus`` read the rows
    of all folds.
    """

    folds: Ceiling | None
    together: Ceiling | None
    per_corpus: Mapping[str, Ceiling | None]
    holdout: Ceiling | None
    given_tests: Mapping[str, Ceiling | None]
    protocol: Ceiling | None


def ceilings(table: TrainingTable, plan: SplitPlan, repeated: Sequence[Part], seed: int) -> Ceilings:
    """The ceilings of a plan's parts and of the protocol's (``repeated``)."""
    variance = errors_of(table)

    def of(rows: I64) -> Ceiling | None:
        return ceiling(table.mos[rows], variance[rows], seed)

    nothing = np.empty(0, dtype=np.int64)
    judged = np.concatenate([nothing, *(part.test for part in plan.parts)])
    corpora = np.asarray(table.corpora)[judged]
    return Ceilings(
        folds=_in_one([of(part.test) for part in plan.parts], np.mean),
        together=of(judged),
        per_corpus={str(corpus): of(judged[corpora == corpus]) for corpus in dict.fromkeys(corpora)},
        holdout=of(plan.holdout),
        given_tests={corpus: of(rows) for corpus, rows in plan.given_tests.items()},
        protocol=_in_one([of(part.test) for part in repeated], np.median),
    )


def _in_one(each: Sequence[Ceiling | None], how: Any) -> Ceiling | None:
    """One of several parts' ceilings; None as soon as one is not known."""
    known = [one for one in each if one is not None]
    if not known or len(known) < len(each):
        return None
    rows, of = sum(one.rows for one in known), sum(one.of for one in known)
    return Ceiling(rows, of, float(how([one.srocc for one in known])), float(how([one.plcc for one in known])))


@dataclass(frozen=True)
class NoiseWeights:
    """How much each of a head's training rows counts, (n,) with a mean of 1, and the ``tau2`` that was found for it."""

    of_rows: F32
    tau2: float


def noise_weights(table: TrainingTable, rows: I64, seed: int) -> NoiseWeights | None:
    """Weights 1 / (SD²/n + τ²) of a head's training rows; None where too few of their errors are known.

    τ², the variance of what the features do not tell, is the mean squared residual of left-out contents minus the mean
    of SD²/n; it is estimated on the same rows, so that a head never sees what judges it. A row of unknown error has the
    median weight.
    """
    variance = errors_of(table)[rows]
    is_known = np.isfinite(variance)
    own = bounded(rows[is_known], table.groups, _RESIDUAL_ROWS, seed)
    contents = [table.groups[row] for row in own]
    if len(own) < _LEAST_ROWS or len(set(contents)) < _LEAST_CONTENTS:
        return None
    z = FeatureMap.fitted(table.features, own, seed=seed).map(table.features[own])
    residuals = left_out_residuals(z, table.mos[own], contents)
    squared = float(np.mean(residuals**2))
    tau2 = max(squared - float(np.mean(errors_of(table)[own])), _LEAST_TAU2 * squared, _TINY)
    weights = 1 / (variance + tau2)
    weights[~is_known] = np.median(weights[is_known])
    return NoiseWeights((weights / weights.mean()).astype(np.float32), tau2)


def left_out_residuals(z: F32, mos: F32, contents: Sequence[str]) -> F64:
    """Scores (n,) minus what a ridge regression on the other contents predicts from mapped features z (n, Z).

    The penalty is that of the least squares.
    """
    from threadpoolctl import threadpool_limits

    x, (_, codes) = z.astype(np.float64), np.unique(np.asarray(contents), return_inverse=True)
    with threadpool_limits(1):  # the same digits whatever the number of cores
        ridge = KernelRidge(x @ x.T, mos.astype(np.float64))
        each = [ridge.target - ridge.left_out(penalty, codes) for penalty in PENALTIES]
    return min(each, key=lambda residuals: float(np.sum(residuals**2)))


@dataclass(frozen=True)
class Weighing:
    """Whether a head's clips are weighed by the errors of their scores, and why.

    ``means`` {weighted, unweighted: {srocc, plcc, rmse}} are means over the same splits, where both were trained.
    """

    weighted: bool
    reason: str
    means: Mapping[str, Mapping[str, float]]


def nothing_to_weigh(table: TrainingTable, rows: I64, weights: NoiseWeights | None) -> str:
    """Why ``weights`` change nothing in a head of these rows; empty where they may."""
    known = int(np.isfinite(errors_of(table)[rows]).sum())
    if not known or weights is None:
        of_rows = f"{known} of {len(rows)} rows, too few" if known else "no row"
        return f"SD and count are known of {of_rows}{_why_impossible(table)}"
    if float(weights.of_rows.std()) < _ALIKE:
        return "the errors of the scores are too much alike, or too small beside the head's own, to weigh by"
    return ""


def decided(means: Mapping[str, Mapping[str, float]]) -> Weighing:
    """Weights, where the mean SROCC over the same splits is higher with them; a NaN is never higher."""
    weighted = means[WEIGHTED]["srocc"] > means[UNWEIGHTED]["srocc"]
    return Weighing(weighted, f"{'' if weighted else 'not '}better on the same splits", means)


def tried_weighing(
    table: TrainingTable, plan: SplitPlan, settings: TrainingSettings, trainer: Trainer, say: Say
) -> tuple[Weighing, dict[str, HeadWeights]]:
    """Whether clips count by the errors of their scores, and the heads of ``plan.parts`` where that was tried on them.

    It is tried where it may make a difference, on ``deciding_folds``.
    """
    if settings.label_noise == NEVER:
        return Weighing(False, "label_noise: never", {}), {}
    weights = noise_weights(table, plan.final, settings.seed)
    reason = nothing_to_weigh(table, plan.final, weights)
    if wrong := _why_impossible(table):
        say(f"warning: label noise{wrong}; they count as unknown: an SD is in the unit of the score beside it")
    if settings.label_noise == ALWAYS and not table.synthetic:
        if weights is None:
            raise TrainingError(
                "label_noise: always",
                found=reason,
                expected="mos_std_dev and mos_n_ratings in the labelled tables",
                next_step="label the features with them, or set label_noise: auto",
            )
        return Weighing(True, "label_noise: always", {}), {}
    if reason:
        return Weighing(False, reason, {}), {}
    folds = deciding_folds(table, plan, settings)
    if not folds:
        return Weighing(False, "too few contents to decide by", {}), {}
    ways: dict[str, list[NoiseWeights | None]] = {
        UNWEIGHTED: [None] * len(folds),
        WEIGHTED: [noise_weights(table, part.train, settings.seed) for part in folds],
    }
    both = [weights for way in ways.values() for weights in way]
    heads = train_parts(table, [*folds, *folds], settings, trainer, say, both).heads
    of_ways = dict(zip(ways, (heads[: len(folds)], heads[len(folds) :]), strict=True))
    weighing = decided({way: _means_over(table, folds, own) for way, own in of_ways.items()})
    said = ", ".join(f"{way} {of['srocc']:.4f}" for way, of in weighing.means.items())
    say(f"label noise: mean SROCC {said}: weights are {weighing.reason}")
    chosen = of_ways[WEIGHTED if weighing.weighted else UNWEIGHTED]
    kept = {} if plan.kind == "split" else {part.name: head for part, head in zip(folds, chosen, strict=True)}
    return weighing, kept


def _means_over(table: TrainingTable, folds: Sequence[Part], heads: Sequence[HeadWeights]) -> dict[str, float]:
    """The mean over folds of each metric that is said with an interval; NaN as soon as one fold's is."""
    each = [predicted(table, part.test, head) for part, head in zip(folds, heads, strict=True)]
    return {
        name: float(np.mean([metric(one.mos, one.predicted) for one in each])) for name, metric in WITH_INTERVAL.items()
    }


def label_noise_of(
    table: TrainingTable, weighing: Weighing, shipped: NoiseWeights | None, above: Ceilings
) -> dict[str, Any]:
    """What a manifest says of the labels' errors; numbers that are not known are None."""
    variance = errors_of(table)
    known = variance[np.isfinite(variance)]
    return {
        "rows": len(variance),
        "rows_known": len(known),
        "rows_sd_impossible": int(_impossible(table).sum()),
        "median_standard_error": float(np.median(np.sqrt(known))) if len(known) else None,
        "weighted": weighing.weighted,
        "reason": weighing.reason,
        "tau2": shipped and shipped.tau2,
        "same_splits": {way: {n: finite_or_none(v) for n, v in of.items()} for way, of in weighing.means.items()},
        "ceiling": asdict(above),
    }


def _f64(values: F32) -> F64:
    return values.astype(np.float64)
