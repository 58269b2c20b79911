"""How good a head is: out-of-fold and held-out scores beside baselines, and the gate's verdict on them.

Metrics are in ``metrics``, splits in ``splitting``. Thresholds are the recipe's and are never changed by a result.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from vqa_assets.heads.baselines import BASELINES, baseline_predictions, vmaf_on_training_scale
from vqa_assets.heads.protocol import Protocol
from vqa_assets.heads.recipe import Gate, TrainingSettings
from vqa_assets.heads.rows import TrainingTable
from vqa_assets.heads.splitting import SplitPlan
from vqa_assets.heads.weights import F32, I64, HeadWeights
from vqa_assets.metrics import Bootstrap, Scores, bootstrap_interval, mean_scores, plcc, rmse, score, srocc

PRODUCTION, PROPOSED = "Production", "Proposed"
_TOLD = {"mean_plcc": "mean PLCC", "mean_srocc": "mean SROCC", "mean_rmse": "mean RMSE", "plcc_spread": "PLCC spread"}
_TOLD |= {"lowest_plcc": "lowest PLCC"}
_FOLDS_SHOWN = 10
_ROUNDING = 1e-9
"""What binary fractions lose: 0.905 − 0.9 is 0.005, and seven times 0.85 has the mean 0.85."""
_AT_LEAST = ("mean_plcc", "mean_srocc", "lowest_plcc")
_INTERVALS = {"srocc": srocc, "plcc": plcc, "rmse": rmse}
F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Verdict:
    """A gate's answer: Production or Proposed, a sentence per miss, and the numbers it read.

    A number that is not defined, or not measured, is NaN.
    """

    passed: bool
    status: str
    reasons: tuple[str, ...]
    numbers: Mapping[str, float]


def verdict(gate: Gate, folds: Sequence[Scores]) -> Verdict:
    """Reads raw metrics of the folds. A NaN in any fold fails; so does a spread that one fold alone cannot measure."""
    means = mean_scores(folds)
    each = [fold.plcc for fold in folds]
    spread = max(each) - min(each) if len(each) > 1 and all(map(math.isfinite, each)) else math.nan
    numbers = {f"mean_{name}": means[name] for name in ("plcc", "srocc", "rmse")}
    numbers |= {"plcc_spread": spread, "lowest_plcc": min(each) if each and not math.isnan(sum(each)) else math.nan}
    asked = {f.name: getattr(gate, f.name) for f in fields(gate) if getattr(gate, f.name) is not None}
    reasons = tuple(r for name, limit in asked.items() if (r := _miss(name, numbers[name], limit, folds)))
    return Verdict(not reasons, PROPOSED if reasons else PRODUCTION, reasons, numbers)


def _miss(name: str, value: float, limit: float, folds: Sequence[Scores]) -> str:
    """Why a number misses its limit; empty where it does not."""
    told = _TOLD[name]
    if not math.isfinite(value):
        metric = name.removeprefix("mean_") if name.startswith("mean_") else "plcc"
        nan = [str(i) for i, fold in enumerate(folds) if not math.isfinite(getattr(fold, metric))]
        broken = ", ".join(nan[:_FOLDS_SHOWN]) + (f" and {len(nan) - _FOLDS_SHOWN} more" if nan[_FOLDS_SHOWN:] else "")
        return f"{told} is not defined: NaN in fold {broken}" if broken else f"{told} not measured"
    at_least = name in _AT_LEAST
    if value >= limit - _ROUNDING if at_least else value <= limit + _ROUNDING:
        return ""
    shown = next(text for figures in range(4, 17) if float(text := f"{value:.{figures}f}") != limit)
    return f"{told} {shown}, needs {'at least' if at_least else 'at most'} {limit:g}"


@dataclass(frozen=True)
class Predictions:
    """Predictions for rows whose clip the predicting head never saw, one entry per row; ``fold`` counts the parts."""

    keys: tuple[str, ...]
    corpora: tuple[str, ...]
    groups: tuple[str, ...]
    mos: F32
    predicted: F32
    fold: I64


@dataclass(frozen=True)
class Judged:
    """One set of rows and how well they were predicted; ``interval`` holds 95 % bootstrap limits by content."""

    rows: int
    groups: int
    scores: Scores
    interval: Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Evaluation:
    """Everything measured about one head.

    ``folds`` and ``baselines`` (name → scores per fold) stand on the same rows; ``pooled`` and ``per_corpus`` read all
    folds' predictions together. ``holdout`` is the shipped head on its held-out rows and ``holdout_vmaf`` VMAF on those
    of them where it is known; ``given_tests`` the shipped head on the test rows that a corpus brought along;
    ``protocol`` the field's protocol, where it was asked for.
    """

    folds: tuple[Scores, ...]
    fold_groups: tuple[int, ...]
    pooled: Judged
    per_corpus: Mapping[str, Scores]
    baselines: Mapping[str, tuple[Scores, ...]]
    holdout: Judged | None
    holdout_vmaf: Scores | None
    given_tests: Mapping[str, Judged]
    predictions: Predictions
    protocol: Protocol | None = None

    @property
    def beats_ridge(self) -> bool:
        """Whether the head's mean PLCC over folds is above ridge's; a NaN beats nothing."""
        return mean_scores(self.folds)["plcc"] > mean_scores(self.baselines["ridge"])["plcc"]


def evaluate(
    table: TrainingTable, plan: SplitPlan, heads: Sequence[HeadWeights], settings: TrainingSettings
) -> Evaluation:
    """Judges the heads of ``plan.parts``, in that order, and the shipped head, the last of ``heads``."""
    parts = [predicted(table, part.test, heads[k], k) for k, part in enumerate(plan.parts)]
    pooled, seed, shipped = joined(parts), settings.seed, heads[-1]
    corpora = np.asarray(pooled.corpora)
    given = {c: _judged(predicted(table, rows, shipped), seed) for c, rows in plan.given_tests.items()}
    return Evaluation(
        folds=tuple(score(p.mos, p.predicted) for p in parts),
        fold_groups=tuple(len(set(p.groups)) for p in parts),
        pooled=_judged(pooled, seed),
        per_corpus={c: score(pooled.mos[corpora == c], pooled.predicted[corpora == c]) for c in dict.fromkeys(corpora)},
        baselines=_baselines(table, plan, seed),
        holdout=_judged(predicted(table, plan.holdout, shipped), seed) if len(plan.holdout) else None,
        holdout_vmaf=_vmaf_scores(table, plan.holdout),
        given_tests=given,
        predictions=pooled,
    )


def judge(table: TrainingTable, rows: I64, head: HeadWeights, seed: int) -> Judged:
    """A head on rows that it was not trained on."""
    return _judged(predicted(table, rows, head), seed)


def predicted(table: TrainingTable, rows: I64, head: HeadWeights, fold: int = 0) -> Predictions:
    """What a head makes of rows of the table."""
    from vqa_assets.heads.model import predict

    keys, corpora, groups = (tuple(of[r] for r in rows) for of in (table.keys, table.corpora, table.groups))
    scores = predict(head, table.features[rows], table.onehot[rows])
    return Predictions(keys, corpora, groups, table.mos[rows], scores, np.full(len(rows), fold, dtype=np.int64))


def joined(parts: Sequence[Predictions]) -> Predictions:
    """All parts' predictions together."""
    if not parts:
        nothing = np.empty(0, dtype=np.float32)
        return Predictions((), (), (), nothing, nothing, np.empty(0, dtype=np.int64))
    names = ("keys", "corpora", "groups")
    keys, corpora, groups = (tuple(x for p in parts for x in getattr(p, name)) for name in names)
    mos, predicted = (np.concatenate([getattr(p, name) for p in parts]) for name in ("mos", "predicted"))
    return Predictions(keys, corpora, groups, mos, predicted, np.concatenate([p.fold for p in parts]))


def _judged(of: Predictions, seed: int) -> Judged:
    draw = Bootstrap(seed=seed)
    interval = {n: bootstrap_interval(m, of.mos, of.predicted, of.groups, draw) for n, m in _INTERVALS.items()}
    return Judged(len(of.keys), len(set(of.groups)), score(of.mos, of.predicted), interval)


def _baselines(table: TrainingTable, plan: SplitPlan, seed: int) -> dict[str, tuple[Scores, ...]]:
    """Scores per baseline and part; VMAF only where every part has rows of which it is known, on those rows."""
    each = [(part, baseline_predictions(table, part, seed)) for part in plan.parts]
    result = {}
    for name in BASELINES:
        scores = tuple(_known(table.mos[part.test], predicted[name]) for part, predicted in each)
        if all(one.rows for one in scores):
            result[name] = scores
    return result


def _known(mos: F32, predicted: F64) -> Scores:
    known = np.isfinite(predicted)
    return score(mos[known], predicted[known])


def _vmaf_scores(table: TrainingTable, rows: I64) -> Scores | None:
    scores = _known(table.mos[rows], vmaf_on_training_scale(table, rows))
    return scores if scores.rows else None
