"""The field's protocol, beside the gate: medians over repeated content-wise 80/20 splits, on which baselines stand too.

The gate never reads these numbers. How heads are trained is in ``lanes``; the baselines are in ``baselines``, ``svr``.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vqa_assets.clips.work import ProgressLine
from vqa_assets.corpora.contents import drawn_parts
from vqa_assets.heads.baselines import baseline_predictions
from vqa_assets.heads.recipe import TrainingSettings
from vqa_assets.heads.rows import TrainingTable
from vqa_assets.heads.splitting import Part, SplitPlan
from vqa_assets.heads.svr import FIT_ROWS, svr_predictions
from vqa_assets.heads.weights import HeadWeights
from vqa_assets.metrics import (
    Bootstrap,
    Metric,
    bootstrap_interval,
    krocc,
    mapped,
    plcc,
    rmse,
    srocc,
)

TEST_SHARE = 0.2
METRICS = ("srocc", "krocc", "plcc", "rmse", "rmse_over_sd")
"""PLCC and RMSE after the logistic fit; RMSE on 1–5, and over the SD of the labels."""

_SAMPLES = 200
_COMPARED = ("ridge", "svr")
F64 = NDArray[np.float64]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Summary:
    """One predictor: per metric the median over splits, and its 95 % interval over resamples of the contents.

    ``rows`` are the rows that it could be judged on.
    """

    rows: int
    median: Mapping[str, float]
    interval: Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Difference:
    """The median over splits of a metric of the head minus that of another predictor, with a 95 % interval."""

    srocc: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Protocol:
    """The protocol's result: ``predictors`` by name (head, constant, ridge, svr, and vmaf where it is known)."""

    splits: int
    rows: int
    groups: int
    svr_rows: int
    predictors: Mapping[str, Summary]
    head_minus: Mapping[str, Difference]


def protocol_parts(table: TrainingTable, plan: SplitPlan, settings: TrainingSettings) -> tuple[Part, ...]:
    """The splits: a fifth of the contents judges, the others train. None for a smoke run, or where nothing
    can be judged.

    They are drawn from the rows the gate reads (never the hold-out), or from all where every corpus has a split.
    """
    count = 0 if settings.smoke or not plan.parts else settings.protocol_splits
    rows = plan.final if plan.kind == "folds" else np.arange(len(table.mos), dtype=np.int64)
    drawn = drawn_parts([table.groups[row] for row in rows], TEST_SHARE, count, settings.seed)
    masks = (np.array(mask) for mask in drawn)
    return tuple(Part(f"protocol-{i}", rows[~mask], rows[mask]) for i, mask in enumerate(masks))


@dataclass(frozen=True)
class _Judged:
    """One predictor on one split: rows of the table, their MOS, the predictions raw and after the logistic fit."""

    rows: NDArray[np.int64]
    mos: F64
    raw: F64
    fitted: F64


def run_protocol(
    table: TrainingTable, parts: Sequence[Part], heads: Sequence[HeadWeights], seed: int, say: Say
) -> Protocol | None:
    """Judges the heads of ``parts``, in that order, beside the baselines; None without parts."""
    if not parts:
        return None
    found: dict[str, list[_Judged]] = {}
    line = ProgressLine("protocol: baselines", len(parts), say, unit="splits")
    for done, (part, predicted) in enumerate(_predicted(table, parts, heads, seed), 1):
        for name, values in predicted.items():
            found.setdefault(name, []).append(_judged(table, part, values))
        line.update(done)
    known = {name: each for name, each in found.items() if all(len(one.rows) for one in each)}
    predictors = {name: partial(_summary, each, table.groups, seed) for name, each in known.items()}
    differences = {n: partial(_difference, known["head"], known[n], table.groups, seed) for n in _COMPARED}
    told = iter(_side_by_side([*predictors.values(), *differences.values()], say))
    rows = {row for part in parts for row in (*part.train, *part.test)}
    return Protocol(
        splits=len(parts),
        rows=len(rows),
        groups=len({table.groups[row] for row in rows}),
        svr_rows=min(FIT_ROWS, max(len(part.train) for part in parts)),
        predictors={name: next(told) for name in predictors},
        head_minus={name: next(told) for name in differences},
    )


def _side_by_side(works: Sequence[Callable[[], Any]], say: Say) -> Iterator[Any]:
    """What each work returns, in order; they run on all cores."""
    line = ProgressLine("protocol: intervals", len(works), say, unit="predictors")
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        for done, result in enumerate(pool.map(lambda work: work(), works), 1):
            yield result
            line.update(done)
    finally:
        pool.shutdown(cancel_futures=True)


def _predicted(
    table: TrainingTable, parts: Sequence[Part], heads: Sequence[HeadWeights], seed: int
) -> Iterator[tuple[Part, dict[str, F64]]]:
    """Per split, each predictor's MOS of the test rows; splits side by side on all cores, in order."""
    from vqa_assets.heads.model import predict

    def baselines(part: Part) -> dict[str, F64]:
        svr = svr_predictions(table.features, table.mos, table.groups, (part.train, part.test), seed)
        return {**baseline_predictions(table, part, seed), "svr": svr}

    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        for part, head, others in zip(parts, heads, pool.map(baselines, parts), strict=True):
            mos = predict(head, table.features[part.test], table.onehot[part.test])
            yield part, {"head": mos.astype(np.float64), **others}
    finally:
        pool.shutdown(cancel_futures=True)


def _judged(table: TrainingTable, part: Part, predicted: F64) -> _Judged:
    known = np.isfinite(predicted)
    mos, raw = table.mos[part.test][known].astype(np.float64), predicted[known]
    fitted = mapped(mos, raw)
    return _Judged(part.test[known], mos, raw, raw if fitted is None else fitted)


def _summary(each: Sequence[_Judged], groups: Sequence[str], seed: int) -> Summary:
    metrics = {"srocc": srocc, "krocc": krocc, "plcc": plcc, "rmse": rmse, "rmse_over_sd": _rmse_over_sd}
    fitted = ("plcc", "rmse", "rmse_over_sd")
    pairs = {name: [(one.mos, one.fitted if name in fitted else one.raw) for one in each] for name in metrics}
    medians = {n: _median([metrics[n](*pair) for pair in pairs[n]]) for n in metrics}
    resample = _Resampling(each, groups, seed)
    rows = len({row for one in each for row in one.rows})
    return Summary(rows, medians, {n: resample.interval(_median_of(metrics[n], pairs[n])) for n in metrics})


def _difference(ours: Sequence[_Judged], theirs: Sequence[_Judged], groups: Sequence[str], seed: int) -> Difference:
    of_ours, of_theirs = (_median_of(srocc, [(one.mos, one.raw) for one in each]) for each in (ours, theirs))

    def minus(chosen: Sequence[NDArray[np.int64]]) -> float:
        return of_ours(chosen) - of_theirs(chosen)

    everything = [np.arange(len(one.rows)) for one in ours]
    return Difference(minus(everything), _Resampling(ours, groups, seed).interval(minus))


OfChosen = Callable[[Sequence[NDArray[np.int64]]], float]
"""Per split the chosen places among its test rows → one number."""


def _median_of(metric: Metric, pairs: Sequence[tuple[F64, F64]]) -> OfChosen:
    def median(chosen: Sequence[NDArray[np.int64]]) -> float:
        return _median([metric(y[i], p[i]) for (y, p), i in zip(pairs, chosen, strict=True)])

    return median


def _median(values: Sequence[float]) -> float:
    """NaN as soon as one split's value is: a split is never left out."""
    return float(np.median(values))


def _rmse_over_sd(mos: ArrayLike, predicted: ArrayLike) -> float:
    labels = np.asarray(mos, dtype=np.float64)
    spread = float(labels.std()) if labels.size else 0.0
    return rmse(mos, predicted) / spread if spread > 0 else np.nan


class _Resampling:
    """Resamples of whole contents: one that is drawn twice counts twice in every split that it judges."""

    def __init__(self, each: Sequence[_Judged], groups: Sequence[str], seed: int) -> None:
        self.groups = [groups[row] for one in each for row in one.rows]
        self.ends = np.cumsum([len(one.rows) for one in each])
        self.draw = Bootstrap(samples=_SAMPLES, seed=seed)

    def interval(self, of: OfChosen) -> tuple[float, float]:
        """The 95 % interval of a number."""
        places = np.arange(len(self.groups))
        starts = (0, *self.ends[:-1])

        def number(drawn: ArrayLike, _: ArrayLike) -> float:
            chosen = np.sort(np.asarray(drawn).astype(np.int64))
            cuts = np.searchsorted(chosen, self.ends[:-1])
            return of([own - start for own, start in zip(np.split(chosen, cuts), starts, strict=True)])

        return bootstrap_interval(number, places, places, self.groups, self.draw)
