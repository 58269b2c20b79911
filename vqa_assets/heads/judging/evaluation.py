"""How good a head is: out-of-fold and held-out scores beside baselines, the gate's verdict on them, and the protocol.

The field's protocol stands beside the gate, which never reads its numbers: medians over repeated content-wise 80/20
splits, on which baselines stand too. Metrics are in ``metrics``, splits in ``splitting``, baselines in ``baselines``.
Thresholds are the recipe's and are never changed by a result.
"""

import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vqa_assets.clips.work import ProgressLine
from vqa_assets.corpora.contents import drawn_parts
from vqa_assets.heads.judging.baselines import (
    BASELINES,
    KERNEL_FIT_ROWS,
    RIVALS,
    baseline_predictions,
    kernel_predictions,
    vmaf_on_training_scale,
)
from vqa_assets.heads.judging.intervals import Intervals, disagreement, measured_intervals
from vqa_assets.heads.judging.kernel_machines import Tuned
from vqa_assets.heads.members.corpus_scales import numbered
from vqa_assets.heads.members.large_tables import rows_of
from vqa_assets.heads.members.weights import F32, I64, HeadWeights
from vqa_assets.heads.recipe import Gate
from vqa_assets.heads.rows.reading import TrainingTable
from vqa_assets.heads.rows.splitting import Part, SplitPlan, bootstrap_of
from vqa_assets.heads.settings import TrainingSettings
from vqa_assets.metrics import (
    Bootstrap,
    Metric,
    Scores,
    bootstrap_interval,
    krocc,
    mapped,
    mean_scores,
    metric_of_resamples,
    percentile_interval,
    plcc,
    resamples,
    rmse,
    rmse_over_sd,
    score,
    srocc,
)

PRODUCTION, PROPOSED = "Production", "Proposed"
TEST_SHARE = 0.2
"""The share of contents that judges in a split of the protocol."""
METRICS = ("srocc", "krocc", "plcc", "rmse", "rmse_over_sd")
"""The protocol's. PLCC and RMSE after the logistic fit; RMSE on 1–5, and over the SD of the labels."""
WITH_INTERVAL: Mapping[str, Metric] = {"srocc": srocc, "plcc": plcc, "rmse": rmse}
"""What is said with an interval of a head's predictions, and of the head before beside them."""

_MEASURES = {
    "mean_plcc": "mean PLCC",
    "mean_srocc": "mean SROCC",
    "mean_rmse": "mean RMSE",
    "plcc_spread": "PLCC spread",
    "lowest_plcc": "lowest PLCC",
}
_AT_LEAST = ("mean_plcc", "mean_srocc", "lowest_plcc")
_FOLDS_SHOWN = 10
_ROUNDING = 1e-9
"""What binary fractions lose: 0.905 − 0.9 is 0.005, and seven times 0.85 has the mean 0.85."""
_PROTOCOL_RESAMPLES = 200
F64 = NDArray[np.float64]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Verdict:
    """A gate's answer: Production or Proposed, a sentence per miss, and the numbers it read.

    A number that is not defined, or not measured, is NaN. ``not_asked`` are thresholds that the gate has and did not
    ask for, because what they limit was not measured. Where ``measured`` is False there was nothing to read it from.
    """

    passed: bool
    status: str
    reasons: tuple[str, ...]
    numbers: Mapping[str, float]
    not_asked: tuple[str, ...] = ()
    measured: bool = True


def verdict(gate: Gate, folds: Sequence[Scores]) -> Verdict:
    """Reads raw metrics of the folds; a NaN in any fold fails. Of one fold (a given split) no spread is asked for."""
    means = mean_scores(folds)
    each = [fold.plcc for fold in folds]
    spread = max(each) - min(each) if len(each) > 1 and all(map(math.isfinite, each)) else math.nan
    numbers = {f"mean_{name}": means[name] for name in ("plcc", "srocc", "rmse")}
    numbers |= {"plcc_spread": spread, "lowest_plcc": min(each) if each and not math.isnan(sum(each)) else math.nan}
    limits = {f.name: getattr(gate, f.name) for f in fields(gate) if getattr(gate, f.name) is not None}
    # How far folds differ is no property of a single part: there is nothing that could be missed.
    not_asked = ("plcc_spread",) if len(each) == 1 and "plcc_spread" in limits else ()
    limits = {name: limit for name, limit in limits.items() if name not in not_asked}
    reasons = tuple(r for name, limit in limits.items() if (r := _miss(name, numbers[name], limit, folds)))
    return Verdict(not reasons, PROPOSED if reasons else PRODUCTION, reasons, numbers, not_asked)


def unmeasured(judged: Verdict, reason: str) -> Verdict:
    """No pass, and no numbers, where what a verdict read is no measure."""
    numbers = dict.fromkeys(judged.numbers, math.nan)
    return Verdict(passed=False, status=PROPOSED, reasons=(reason,), numbers=numbers, measured=False)


def _miss(name: str, value: float, limit: float, folds: Sequence[Scores]) -> str:
    """Why a number misses its limit; empty where it does not."""
    measure = _MEASURES[name]
    if not math.isfinite(value):
        metric = name.removeprefix("mean_") if name.startswith("mean_") else "plcc"
        nan = [str(i) for i, fold in enumerate(folds) if not math.isfinite(getattr(fold, metric))]
        broken = ", ".join(nan[:_FOLDS_SHOWN]) + (f" and {len(nan) - _FOLDS_SHOWN} more" if nan[_FOLDS_SHOWN:] else "")
        return f"{measure} is not defined: NaN in fold {broken}" if broken else f"{measure} not measured"
    at_least = name in _AT_LEAST
    if value >= limit - _ROUNDING if at_least else value <= limit + _ROUNDING:
        return ""
    # So many figures that a near miss does not read as the limit itself.
    text = next(text for figures in range(4, 17) if float(text := f"{value:.{figures}f}") != limit)
    return f"{measure} {text}, needs {'at least' if at_least else 'at most'} {limit:g}"


@dataclass(frozen=True)
class Predictions:
    """Predictions for rows whose clip the predicting head never saw, one entry per row; ``fold`` counts the parts.

    ``disagreement`` is the SD of what the members of that head give; ``src_sha256`` is that of the clip's bytes, None
    where it is not known.
    """

    keys: tuple[str, ...]
    corpora: tuple[str, ...]
    groups: tuple[str, ...]
    src_sha256: tuple[str | None, ...]
    mos: F32
    predicted: F32
    fold: I64
    disagreement: F64

    def judged_by(self, mos: F32) -> "Predictions":
        """The same beside other scores (N,); rows whose score is not known (NaN) are left out."""
        known = np.flatnonzero(np.isfinite(mos))
        keys, corpora, groups = (tuple(of[row] for row in known) for of in (self.keys, self.corpora, self.groups))
        hashes = tuple(self.src_sha256[row] for row in known)
        numbers = mos[known], self.predicted[known], self.fold[known], self.disagreement[known]
        return Predictions(keys, corpora, groups, hashes, *numbers)


@dataclass(frozen=True)
class Judged:
    """One set of rows and how well they were predicted; ``interval`` holds 95 % bootstrap limits by content."""

    rows: int
    groups: int
    scores: Scores
    interval: Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Summary:
    """One predictor under the protocol: per metric the median over splits, and its 95 % interval over resamples of the
    contents.

    ``rows`` are the rows that it could be judged on.
    """

    rows: int
    median: Mapping[str, float]
    interval: Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Difference:
    """The median over splits of the head's SROCC minus that of another predictor, with a 95 % interval.

    On the rows that both could be judged on. A predictor that tells no clips of a split apart (a constant) has no SROCC
    there, and it counts as 0; where the head has none, the difference is not defined.
    """

    srocc: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Protocol:
    """The protocol's result: ``predictors`` by name (head, ``RIVALS``, and vmaf where it is known).

    ``head_minus`` compares the head with each of ``RIVALS``. ``settings`` are what a tuned predictor chose, per split;
    the kernel machines were fitted on ``kernel_rows`` rows at most.
    """

    splits: int
    rows: int
    groups: int
    kernel_rows: int
    predictors: Mapping[str, Summary]
    head_minus: Mapping[str, Difference]
    settings: Mapping[str, Sequence[Mapping[str, float | str]]]


@dataclass(frozen=True)
class Evaluation:
    """Everything measured about one head.

    ``folds`` and ``baselines`` (name → scores per fold) stand on the same rows; ``pooled`` and ``per_corpus`` read all
    folds' predictions together. ``on_reference`` {pooled, holdout} reads those of heads that learned the scales of
    their corpora beside scores that the same heads' maps brought to the reference's. ``holdout`` is the shipped head on
    its held-out rows and ``holdout_vmaf`` VMAF on them (of a given split: on the rows that judge) where it is known, by
    what it was measured against; ``vmaf_rows`` counts the folds' rows where it is known, by the same. ``given_tests``
    is the shipped head on the test rows that a corpus brought along; ``protocol`` the field's protocol, where it was
    asked for; ``intervals`` say how far from a score the opinions lie.
    """

    folds: tuple[Scores, ...]
    fold_groups: tuple[int, ...]
    pooled: Judged
    per_corpus: Mapping[str, Scores]
    baselines: Mapping[str, tuple[Scores, ...]]
    holdout: Judged | None
    holdout_vmaf: Mapping[str, Scores]
    vmaf_rows: Mapping[str, int]
    given_tests: Mapping[str, Judged]
    predictions: Predictions
    intervals: Intervals
    on_reference: Mapping[str, Judged] = field(default_factory=dict)
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
    held = predicted(table, plan.holdout, shipped) if len(plan.holdout) else None
    # A head that learned scales gives the reference's: what it is off by is told on that one.
    referred, referred_held = pooled, held
    if shipped.scales:
        own_folds = zip(parts, plan.parts, heads, strict=False)
        referred = joined([_on_reference(table, of, part.test, head) for of, part, head in own_folds])
        referred_held = held and _on_reference(table, held, plan.holdout, shipped)
    # Residuals on contents that were trained on are too small, and so would the intervals be.
    leaking = f"not measured: {plan.leaking_groups} contents stand on both sides of the given split"
    intervals = (
        Intervals(None, leaking)
        if plan.leaking_groups
        else measured_intervals(referred, referred_held, table.target, seed)
    )
    on_reference = {"pooled": referred, "holdout": referred_held} if shipped.scales else {}
    return Evaluation(
        folds=tuple(score(p.mos, p.predicted) for p in parts),
        fold_groups=tuple(len(set(p.groups)) for p in parts),
        pooled=_judged(pooled, seed),
        per_corpus={c: score(pooled.mos[corpora == c], pooled.predicted[corpora == c]) for c in dict.fromkeys(corpora)},
        baselines=_baselines(table, plan, seed),
        holdout=_judged(held, seed) if held else None,
        holdout_vmaf=_vmaf_scores(table, plan.judging),
        vmaf_rows=Counter(
            table.vmaf_mode(row) for part in plan.parts for row in part.test if np.isfinite(table.vmaf[row])
        ),
        given_tests={c: judge(table, rows, shipped, seed) for c, rows in plan.given_tests.items()},
        predictions=pooled,
        intervals=intervals,
        on_reference={name: _judged(of, seed) for name, of in on_reference.items() if of and of.keys},
    )


def _on_reference(table: TrainingTable, predictions: Predictions, rows: I64, head: HeadWeights) -> Predictions:
    """Predictions for rows of the table beside their scores on the scale of the head, which may have learned one.

    Clips of a corpus that it has no map for are left out.
    """
    if head.scales is None:
        return predictions
    return predictions.judged_by(head.scales.on_reference(predictions.mos, numbered(table.corpora)[1][rows]))


def judge(table: TrainingTable, rows: I64, head: HeadWeights, seed: int) -> Judged:
    """A head on rows that it was not trained on."""
    return _judged(predicted(table, rows, head), seed)


def predicted(table: TrainingTable, rows: I64, head: HeadWeights, fold: int = 0) -> Predictions:
    """What a head makes of rows of the table."""
    from vqa_assets.heads.members.model import ROWS_AT_ONCE, member_scores

    keys, corpora, groups = (tuple(of[r] for r in rows) for of in (table.keys, table.corpora, table.groups))
    hashes = tuple(table.src_sha256[row] for row in rows)
    # In whole pieces of what is scored at once, so that the bytes are those of all rows together.
    pieces = rows_of(table.features, rows, ROWS_AT_ONCE)
    members = np.concatenate([member_scores(head, features, table.onehot[own]) for own, features in pieces])
    scores, parts = members @ head.shares, np.full(len(rows), fold, dtype=np.int64)
    return Predictions(keys, corpora, groups, hashes, table.mos[rows], scores, parts, disagreement(members))


def joined(parts: Sequence[Predictions]) -> Predictions:
    """All parts' predictions together."""
    if not parts:
        nothing = np.empty(0, dtype=np.float32)
        return Predictions((), (), (), (), nothing, nothing, np.empty(0, dtype=np.int64), np.empty(0))
    names = ("keys", "corpora", "groups", "src_sha256")
    keys, corpora, groups, hashes = (tuple(x for p in parts for x in getattr(p, name)) for name in names)
    numbers = ("mos", "predicted", "fold", "disagreement")
    mos, predicted, fold, spread = (np.concatenate([getattr(p, name) for p in parts]) for name in numbers)
    return Predictions(keys, corpora, groups, hashes, mos, predicted, fold, spread)


def _judged(predictions: Predictions, seed: int) -> Judged:
    mos, groups = predictions.mos, predictions.groups
    draw = bootstrap_of(groups, seed)
    return Judged(
        rows=len(predictions.keys),
        groups=len(set(groups)),
        scores=score(mos, predictions.predicted),
        interval={n: bootstrap_interval(m, mos, predictions.predicted, groups, draw) for n, m in WITH_INTERVAL.items()},
    )


def _baselines(table: TrainingTable, plan: SplitPlan, seed: int) -> dict[str, tuple[Scores, ...]]:
    """Scores per baseline and part; VMAF only where every part has rows of which it is known, on those rows."""
    each = [(part, baseline_predictions(table, part, seed)) for part in plan.parts]
    result = {}
    for name in BASELINES:
        scores = tuple(_score_where_known(table.mos[part.test], predicted[name].scores) for part, predicted in each)
        if all(one.rows for one in scores):
            result[name] = scores
    return result


def _vmaf_scores(table: TrainingTable, rows: I64) -> dict[str, Scores]:
    """``feature_reference`` → VMAF on those of the rows where it is known: the two modes are two measures."""
    vmaf = vmaf_on_training_scale(table, rows)
    modes = np.array([table.vmaf_mode(row) for row in rows], dtype=object)
    scores = {
        mode: _score_where_known(table.mos[rows][modes == mode], vmaf[modes == mode]) for mode in sorted(set(modes))
    }
    return {mode: one for mode, one in scores.items() if one.rows}


def _score_where_known(mos: F32, predicted: F64) -> Scores:
    finite = np.isfinite(predicted)
    return score(mos[finite], predicted[finite])


def protocol_parts(table: TrainingTable, plan: SplitPlan, settings: TrainingSettings) -> tuple[Part, ...]:
    """The protocol's splits: a fifth of the contents judges, the others train.

    None for a smoke run, or where nothing can be judged. They are drawn from the rows the gate reads (never the
    hold-out), or from all where every corpus has a split.
    """
    count = 0 if settings.smoke or not plan.parts else settings.protocol_splits
    rows = plan.final if plan.kind == "folds" else np.arange(len(table.mos), dtype=np.int64)
    drawn = drawn_parts([table.groups[row] for row in rows], TEST_SHARE, count, settings.seed)
    masks = (np.array(mask) for mask in drawn)
    return tuple(Part(f"protocol-{i}", rows[~mask], rows[mask]) for i, mask in enumerate(masks))


@dataclass(frozen=True)
class _SplitPredictions:
    """One predictor on one split: rows of the table, their MOS, the predictions raw and after the logistic fit."""

    rows: I64
    mos: F64
    raw: F64
    fitted: F64

    def on(self, rows: I64) -> "_SplitPredictions":
        """The same for some of the rows."""
        own = np.isin(self.rows, rows)
        return _SplitPredictions(self.rows[own], self.mos[own], self.raw[own], self.fitted[own])


def run_protocol(
    table: TrainingTable, parts: Sequence[Part], heads: Sequence[HeadWeights], seed: int, say: Say
) -> Protocol | None:
    """Judges the heads of ``parts``, in that order, beside the baselines; None without parts."""
    from threadpoolctl import threadpool_limits

    if not parts:
        return None
    # One thread for each piece of algebra: rounding must not tell how many cores there are.
    with threadpool_limits(1):
        return _run_protocol(table, parts, heads, seed, say)


def _run_protocol(
    table: TrainingTable, parts: Sequence[Part], heads: Sequence[HeadWeights], seed: int, say: Say
) -> Protocol:
    of_predictor: dict[str, list[_SplitPredictions]] = {}
    settings: dict[str, list[Mapping[str, float | str]]] = {}
    line = ProgressLine("protocol: baselines", len(parts), say, unit="splits")
    for done, (part, predictors) in enumerate(_predictors_of_splits(table, parts, heads, seed), 1):
        for name, tuned in predictors.items():
            finite = np.isfinite(tuned.scores)
            mos, raw = table.mos[part.test][finite].astype(np.float64), tuned.scores[finite]
            fitted = mapped(mos, raw)
            split = _SplitPredictions(part.test[finite], mos, raw, raw if fitted is None else fitted)
            of_predictor.setdefault(name, []).append(split)
            if tuned.settings:
                settings.setdefault(name, []).append(tuned.settings)
        line.update(done)
    # A predictor that a split has nothing of (VMAF, mostly) is left out.
    whole = {name: each for name, each in of_predictor.items() if all(len(one.rows) for one in each)}
    # Contents as numbers: of a million rows in ten splits, their names are gigabytes.
    contents = np.unique(np.asarray(table.groups, dtype=object), return_inverse=True)[1]
    summaries = {name: partial(_summary, each, contents, seed) for name, each in whole.items()}
    differences = {n: partial(_difference, whole["head"], whole[n], contents, seed) for n in RIVALS}
    results = iter(_side_by_side([*summaries.values(), *differences.values()], say))
    rows = np.unique(np.concatenate([rows for part in parts for rows in (part.train, part.test)]))
    return Protocol(
        splits=len(parts),
        rows=len(rows),
        groups=len(np.unique(contents[rows])),
        kernel_rows=min(KERNEL_FIT_ROWS, max(len(part.train) for part in parts)),
        predictors={name: next(results) for name in summaries},
        head_minus={name: next(results) for name in differences},
        settings=settings,
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


def _predictors_of_splits(
    table: TrainingTable, parts: Sequence[Part], heads: Sequence[HeadWeights], seed: int
) -> Iterator[tuple[Part, dict[str, Tuned]]]:
    """Per split, what each predictor makes of the test rows."""
    from vqa_assets.heads.members.model import predict

    machines = kernel_predictions(table, parts, seed)
    for part, head in zip(parts, heads, strict=True):
        mos = predict(head, table.features[part.test], table.onehot[part.test])
        # These are made here while other processes are at the machines of the next splits.
        plain = baseline_predictions(table, part, seed)
        yield part, {"head": Tuned(mos.astype(np.float64), {}), **plain, **next(machines)}


def _summary(each: Sequence[_SplitPredictions], contents: I64, seed: int) -> Summary:
    metrics = {"srocc": srocc, "krocc": krocc, "plcc": plcc, "rmse": rmse, "rmse_over_sd": rmse_over_sd}
    fitted = ("plcc", "rmse", "rmse_over_sd")
    pairs = {name: [(one.mos, one.fitted if name in fitted else one.raw) for one in each] for name in metrics}
    # NaN as soon as one split's value is: a split is never left out.
    medians = {n: float(np.median([metrics[n](*pair) for pair in pairs[n]])) for n in metrics}
    resampling = _Resampling(each, contents, seed)
    rows = len(np.unique(np.concatenate([one.rows for one in each])))
    medians_drawn = resampling.medians({name: (metrics[name], pairs[name]) for name in metrics})
    intervals = {name: percentile_interval(medians_drawn[name], resampling.draw) for name in metrics}
    return Summary(rows, medians, intervals)


def _difference(
    ours: Sequence[_SplitPredictions], theirs: Sequence[_SplitPredictions], contents: I64, seed: int
) -> Difference:
    both = [np.intersect1d(a.rows, b.rows) for a, b in zip(ours, theirs, strict=True)]
    us, them = ([one.on(rows) for one, rows in zip(each, both, strict=True)] for each in (ours, theirs))
    measured = [np.array([srocc(one.mos, one.raw) for one in each]) for each in (us, them)]
    resampling = _Resampling(us, contents, seed)
    pairs = {name: [(one.mos, one.raw) for one in each] for name, each in (("us", us), ("them", them))}
    drawn = resampling.of_splits({name: (srocc, of) for name, of in pairs.items()})
    interval = percentile_interval(_median_apart(drawn["us"], drawn["them"]), resampling.draw)
    return Difference(float(_median_apart(*measured)), interval)


def srocc_difference(
    mos: F64, ours: F64, theirs: F64, groups: Sequence[str], draw: Bootstrap | None = None
) -> Difference:
    """As ``Difference``, of one set of rows (N,) that both were judged on."""
    draw = draw or Bootstrap()
    drawn = [
        _median_apart(*(metric_of_resamples(srocc, mos, one, counts)[None] for one in (ours, theirs)))
        for counts in resamples(groups, draw)
    ]
    apart = float(_median_apart(*(np.array([srocc(mos, one)]) for one in (ours, theirs))))
    return Difference(apart, percentile_interval(np.concatenate([np.empty(0), *drawn]), draw))


def _median_apart(ours: F64, theirs: F64) -> F64:
    """The median over splits, the first axis, of a correlation of ours minus that of theirs.

    Where only theirs is not defined, they tell nothing apart, and theirs counts as 0.
    """
    told_apart = np.where(np.isnan(theirs) & ~np.isnan(ours), 0.0, theirs)
    apart: F64 = np.median(ours, axis=0) - np.median(told_apart, axis=0)
    return apart


class _Resampling:
    """Resamples of whole contents: one that is drawn twice counts twice in every split that it judges.

    ``contents`` number what all rows of the table show; ``draw`` goes by those of the splits' rows alone.
    """

    def __init__(self, each: Sequence[_SplitPredictions], contents: I64, seed: int) -> None:
        self.contents = contents[np.concatenate([one.rows for one in each])]
        self.ends = np.cumsum([len(one.rows) for one in each])
        self.draw = bootstrap_of(np.unique(self.contents), seed, _PROTOCOL_RESAMPLES)

    def medians(self, of: Mapping[str, tuple[Metric, Sequence[tuple[F64, F64]]]]) -> dict[str, F64]:
        """Per name, the median over the splits of a metric of each split's (MOS, predictions), in every resample."""
        return {name: np.median(values, axis=0) for name, values in self.of_splits(of).items()}

    def of_splits(self, of: Mapping[str, tuple[Metric, Sequence[tuple[F64, F64]]]]) -> dict[str, F64]:
        """Per name, a metric of each split's (MOS, predictions), in every resample: (splits, S)."""
        drawn: dict[str, list[F64]] = {name: [] for name in of}
        for counts in resamples(self.contents, self.draw):
            each = np.split(counts, self.ends[:-1], axis=1)
            for name, (metric, pairs) in of.items():
                of_splits = [metric_of_resamples(metric, *pair, own) for pair, own in zip(pairs, each, strict=True)]
                drawn[name].append(np.stack(of_splits))
        nothing = np.empty((len(self.ends), 0))
        return {name: np.concatenate([nothing, *values], axis=1) for name, values in drawn.items()}
