"""What a clip counts for in training by the error of its score, and whether a head is better for it.

How large errors are, and the ceiling that they set, is in ``judging.label_errors``; how a weight enters a loss in
``training``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vqa_assets.errors import TrainingError
from vqa_assets.heads.judging.baselines import bounded
from vqa_assets.heads.judging.evaluation import WITH_INTERVAL, predicted
from vqa_assets.heads.judging.label_errors import Ceilings, errors_of, impossible_sds, why_impossible
from vqa_assets.heads.members.closed_form import PENALTIES, KernelRidge
from vqa_assets.heads.members.feature_map import FeatureMap
from vqa_assets.heads.members.method import Trainer
from vqa_assets.heads.members.weights import F32, I64, HeadWeights
from vqa_assets.heads.part_training import train_parts
from vqa_assets.heads.rows.choosing import Say
from vqa_assets.heads.rows.reading import TrainingTable
from vqa_assets.heads.rows.splitting import Part, SplitPlan, deciding_folds
from vqa_assets.heads.settings import TrainingSettings
from vqa_assets.metrics import finite_or_none

F64 = NDArray[np.float64]
ALWAYS, NEVER = "always", "never"
WEIGHTED, UNWEIGHTED = "weighted", "unweighted"

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
    errors = errors_of(table)
    variance = errors[rows]
    is_known = np.isfinite(variance)
    own = bounded(rows[is_known], table.groups, _RESIDUAL_ROWS, seed)
    contents = [table.groups[row] for row in own]
    if len(own) < _LEAST_ROWS or len(set(contents)) < _LEAST_CONTENTS:
        return None
    z = FeatureMap.fitted(table.features, own, seed=seed).map(table.features[own])
    residuals = left_out_residuals(z, table.mos[own], contents)
    squared = float(np.mean(residuals**2))
    tau2 = max(squared - float(np.mean(errors[own])), _LEAST_TAU2 * squared, _TINY)
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
        return f"SD and count are known of {of_rows}{why_impossible(table)}"
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
    if wrong := why_impossible(table):
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
        "rows_sd_impossible": int(impossible_sds(table).sum()),
        "median_standard_error": float(np.median(np.sqrt(known))) if len(known) else None,
        "weighted": weighing.weighted,
        "reason": weighing.reason,
        "tau2": shipped and shipped.tau2,
        "same_splits": {way: {n: finite_or_none(v) for n, v in of.items()} for way, of in weighing.means.items()},
        "ceiling": asdict(above),
    }
