"""What a helper adds to a head: a line of its scores, and a second own head on what the line leaves.

The helper's scale is brought to this corpus's by a line; a head on what is left learns how this corpus differs; its sum
with the line, averaged with the head that had no help, is the helped head. So help can correct a head, and is corrected
by it (a union of the rows would bring the other laboratory's scale and clips in unasked). Line, remainder and the
decision whether a helper counts at all are of the head's own training rows. Who helps is in ``sources``; no torch here.
"""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vqa_assets.corpora.contents import balanced_folds
from vqa_assets.heads.help.sources import Helper
from vqa_assets.heads.judging.baselines import bounded
from vqa_assets.heads.judging.evaluation import WITH_INTERVAL, Predictions, joined, predicted
from vqa_assets.heads.label_noise import NoiseWeights
from vqa_assets.heads.members.closed_form import KernelRidge
from vqa_assets.heads.members.corpus_scales import numbered
from vqa_assets.heads.members.feature_map import FeatureMap
from vqa_assets.heads.members.method import Trainer
from vqa_assets.heads.members.random_features import RIDGE_PENALTIES
from vqa_assets.heads.members.weights import F32, I64, Assistance, HeadWeights, OnnxHelper
from vqa_assets.heads.part_training import both_weights, train_parts
from vqa_assets.heads.recipe import Target
from vqa_assets.heads.rows.choosing import Say
from vqa_assets.heads.rows.reading import TrainingTable
from vqa_assets.heads.rows.splitting import Part, SplitPlan, bootstrap_of, own_parts
from vqa_assets.heads.settings import TrainingSettings
from vqa_assets.metrics import metric_of_resamples, percentile_interval, resamples, srocc

F64 = NDArray[np.float64]

STEEPEST = 10.0
"""The slope of a line above which a helper hardly tells clips apart: what it says would be mostly rounding."""
_LEAST_GAIN = 0.02
"""The share of the squared error that help must take away: the mean of two heads gains nearly as much by chance."""
_STANDARD_ERRORS = 1.64
"""By how many of them, over contents, the gain must be above none: of helpers that do nothing one in twenty passes."""
_CHOICE_ROWS = 800
"""The most rows that are decided by, drawn by content: a system of as many equations per penalty."""
_PARTS = 5
_DEALS, _DEALS_UNDER = 3, 300
"""How often contents of so few rows are dealt into parts anew: of sixty clips, one deal says little."""
_PENALTIES = RIDGE_PENALTIES[1::2]
_MARGIN = 0.1
"""How far the range of what is left reaches beyond it at either end, in its own width: a sigmoid never gets there."""
_LEAST_RANGE = 0.2


@dataclass(frozen=True)
class Line:
    """``slope · helper + intercept`` is the helper's score on this corpus's scale.

    ``reason`` says why it has no weight, and is empty where it has. ``gained`` is by how much the squared error on
    left-out contents falls with help, as a share of that without, and ``gained_at_least`` the lower limit of it, which
    by chance is passed once in twenty.
    """

    slope: float
    intercept: float
    gained: float = 0.0
    reason: str = ""
    gained_at_least: float = 0.0

    def of(self, scores: F32) -> F32:
        """A helper's scores (N,) on this corpus's scale."""
        mapped: F32 = np.float32(self.slope) * scores + np.float32(self.intercept)
        return mapped


def line_of(table: TrainingTable, rows: I64, scores: F32, weights: F32 | None, seed: int) -> Line:
    """The line for a head that is trained on some rows, of a helper's ``scores`` (N,) of all rows of the table.

    ``weights`` (n,) say how much each of the rows counts, None that all are alike. The helper has no weight where its
    scores fall as this corpus's rise, and where heads in closed form predict left-out contents no better with it, or
    better by no more than chance may do. For the same digits whatever the number of cores, whoever calls this limits
    algebra to one thread.
    """
    share = np.ones(len(rows)) if weights is None else weights.astype(np.float64)
    x, y = scores[rows].astype(np.float64), table.mos[rows].astype(np.float64)
    slope, intercept = _least_squares(x, y, share)
    if not slope > 0:
        return Line(slope, intercept, reason="its scores fall where those of this corpus rise")
    if slope > STEEPEST:
        level = float(np.average(y, weights=share))
        return Line(0.0, level, reason="it tells hardly any clip of this corpus from another")
    gained, at_least = _gained(table, rows, scores, weights, seed)
    reason = ""
    if gained <= _LEAST_GAIN:
        reason = "contents left out are predicted no better with it"
    elif at_least <= 0:
        reason = "contents left out are predicted better with it, but by no more than chance may do"
    return Line(slope, intercept, gained, reason, at_least)


def _least_squares(x: F64, y: F64, share: F64) -> tuple[float, float]:
    """Slope and intercept of y (n,) by x (n,), each row by its share; of an x of one value inf and the mean."""
    x_mean, y_mean = (float(np.average(of, weights=share)) for of in (x, y))
    spread = float(np.average((x - x_mean) ** 2, weights=share))
    if not spread > 0:
        return np.inf, y_mean
    slope = float(np.average((x - x_mean) * (y - y_mean), weights=share)) / spread
    return slope, y_mean - slope * x_mean


def _gained(table: TrainingTable, rows: I64, scores: F32, weights: F32 | None, seed: int) -> tuple[float, float]:
    """The share of the squared error that help takes away, and the lower limit of that over contents.

    By kernel ridge regressions with contents left out, which stand in for the heads, whose training costs a hundred
    times as much. ``scores`` (N,) are the helper's; a part that is left out has no say in its line either.
    """
    from sklearn.metrics.pairwise import rbf_kernel

    own = np.sort(bounded(rows, table.groups, _CHOICE_ROWS, seed))
    share = None if weights is None else weights[np.searchsorted(rows, own)]
    contents = [table.groups[row] for row in own]
    names, content = np.unique(contents, return_inverse=True)
    parts = min(_PARTS, len(names))
    if parts < 2:
        return 0.0, 0.0
    z = FeatureMap.fitted(table.features, own, seed=seed).map(table.features[own])
    kernel = rbf_kernel(z.astype(np.float64), gamma=1 / z.shape[1])
    mos, x = table.mos[own].astype(np.float64), scores[own].astype(np.float64)
    counts = np.ones(len(own)) if share is None else share.astype(np.float64)
    ends = table.target.low, table.target.low + table.target.span
    without, both = np.zeros(len(own)), np.zeros(len(own))
    for deal in range(_DEALS if len(own) < _DEALS_UNDER else 1):
        part = np.array(balanced_folds(contents, parts, seed + deal))
        line = np.empty(len(own))
        for k in range(parts):
            slope, intercept = _least_squares(x[part != k], mos[part != k], counts[part != k])
            line[part == k] = (slope * x[part == k] if np.isfinite(slope) else 0.0) + intercept
        alone = np.clip(_left_out(kernel, mos, share, part), *ends)
        helped = np.clip(line + _left_out(kernel, mos - line, share, part), *ends)
        without += counts * (alone - mos) ** 2
        both += counts * ((alone + helped) / 2 - mos) ** 2
    error = float(without.sum())
    if not error > 0:
        return 0.0, 0.0
    # Clips of a content err together: contents are what is drawn.
    gains = np.bincount(content, without - both) / error
    limit = float(gains.sum() - _STANDARD_ERRORS * gains.std(ddof=1) * np.sqrt(len(names)))
    return float(gains.sum()), limit


def _left_out(kernel: F64, target: F64, weights: F32 | None, part: I64) -> F64:
    """What is predicted of left-out parts (n,), by the penalty that predicts them best."""
    each = [KernelRidge(kernel, target, weights).left_out(penalty, part) for penalty in _PENALTIES]
    return min(each, key=lambda predicted: _squared_error(predicted, target, weights))


def _squared_error(predicted: F64, target: F64, weights: F32 | None) -> float:
    return float(np.average((predicted - target) ** 2, weights=weights))


def what_is_left(table: TrainingTable, rows: I64, on_line: F32) -> tuple[F32, Target]:
    """What the line (N,) leaves of the scores of a head's training rows (n,), and the range of a head of that."""
    left: F32 = (table.mos[rows] - on_line[rows]).astype(np.float32)
    low, high = float(left.min()), float(left.max())
    width = max(high - low, _LEAST_RANGE)
    middle, half = (low + high) / 2, width * (0.5 + _MARGIN)
    return left, Target("rest", middle - half, 2 * half)


@dataclass(frozen=True)
class SameSplits:
    """Heads with and without help on the same splits: ``metrics`` {with, without: {srocc, plcc, rmse}}.

    They are means over folds, or medians over the protocol's splits. ``helped`` of ``parts`` heads took the help.
    """

    parts: int
    helped: int
    metrics: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class HelpReport:
    """By how much a helper helped: ``line`` is the shipped head's, ``folds`` and ``protocol`` what was measured.

    ``difference`` is the SROCC with help minus that without, of all folds' predictions together, and ``interval`` its
    95 % bootstrap limits by content. ``reference`` is the corpus whose scale a helper of several learned to give.
    """

    helper: Helper
    line: Line
    folds: SameSplits | None
    protocol: SameSplits | None
    difference: float
    interval: tuple[float, float]
    reference: str = ""

    @property
    def used(self) -> bool:
        """Whether the shipped head has help in it."""
        return not self.line.reason

    def as_json(self, named: Sequence[str]) -> dict[str, Any]:
        """What a manifest says of it; ``named`` are those that the run named."""
        return {
            "from": list(named),
            "used": self.used,
            "reason": self.line.reason,
            "line": asdict(self.line),
            **self.helper.as_json(),
            "reference": self.reference,
            "same_splits": {
                "folds": self.folds and asdict(self.folds),
                "protocol": self.protocol and asdict(self.protocol),
                "srocc_difference": self.difference,
                "interval_95": self.interval,
            },
        }


@dataclass(frozen=True)
class PlainHeads:
    """Heads by the names of their parts, and how much the rows of a part count by the errors of their scores."""

    heads: Mapping[str, HeadWeights]
    weights: Mapping[str, NoiseWeights | None]


def with_help(
    table: TrainingTable,
    plan: SplitPlan,
    repeated: Sequence[Part],
    known: PlainHeads,
    helper: Helper,
    settings: TrainingSettings,
    trainer: Trainer,
    say: Say,
) -> tuple[dict[str, HeadWeights], HelpReport]:
    """Heads by the names of their parts, with help where it is worth it, and what it was worth.

    The helper is trained once: rows of contents that this corpus has too were left out whole. Each part decides by its
    own training rows whether and how it is helped.
    """
    from vqa_assets.heads.members.model import helper_scores, one_thread

    by: HeadWeights | OnnxHelper
    if isinstance(helper.source, OnnxHelper):
        by = helper.source
    else:
        part = Part("helper", helper.source.rows, np.empty(0, dtype=np.int64))
        # Of several laboratories it learns the scales: taken as one, their difference would be learned from features.
        several = len(helper.counts) > 1
        (by,) = train_parts(helper.source.table, [part], settings, trainer, say, learn_scales=several).heads
    scores = helper_scores(by, table.features, table.onehot)
    parts = (*own_parts(plan), *repeated)
    count = {part.name: both_weights(part, known.weights.get(part.name), None) for part in parts}
    with one_thread(), ThreadPoolExecutor(os.cpu_count()) as pool:
        lines = list(pool.map(lambda p: line_of(table, p.train, scores, count[p.name], settings.seed), parts))
    worth = [(part, line) for part, line in zip(parts, lines, strict=True) if not line.reason]
    rest = [Part(f"{part.name}-rest", part.train, part.test) for part, _ in worth]
    left = [what_is_left(table, part.train, line.of(scores)) for part, line in worth]
    alike = settings.but(batch_size=settings.batch_rows(len(plan.final)))
    own_weights = [known.weights.get(part.name) for part, _ in worth]
    trained = train_parts(table, rest, alike, trainer, say, own_weights, left=left).heads if rest else ()
    helped = {
        part.name: replace(known.heads[part.name], help=Assistance(by, line.slope, line.intercept, head))
        for (part, line), head in zip(worth, trained, strict=True)
    }
    heads = {**known.heads, **helped}
    lines_of = {part.name: line for part, line in zip(parts, lines, strict=True)}
    report = report_of(table, helper, lines_of, heads, own_parts(plan)[-1], plan.parts, repeated, settings.seed)
    report = replace(report, reference=_reference(helper, by))
    say(f"help_from: SROCC of all folds together {report.difference:+.3f} with help")
    if not report.used:
        say(f"help_from: no weight in the shipped head: {report.line.reason}")
    return heads, report


def _reference(helper: Helper, by: HeadWeights | OnnxHelper) -> str:
    """The corpus whose scale a helper learned to give: the first that it has a map of; empty where it learned none."""
    if isinstance(helper.source, OnnxHelper) or isinstance(by, OnnxHelper) or by.scales is None:
        return ""
    has_map = np.isfinite(by.scales.values).all(axis=1)
    return numbered(helper.source.table.corpora)[0][int(has_map.argmax())]


def report_of(
    table: TrainingTable,
    helper: Helper,
    lines: Mapping[str, Line],
    heads: Mapping[str, HeadWeights],
    shipped: Part,
    parts: Sequence[Part],
    repeated: Sequence[Part],
    seed: int,
) -> HelpReport:
    """What helped heads show beside themselves without help, on the same splits.

    ``lines`` and ``heads`` go by the names of parts: the ``shipped`` head's, the plan's, and those of the protocol
    (``repeated``).
    """

    def both(parts: Sequence[Part]) -> dict[str, list[Predictions]]:
        return {
            "with": [predicted(table, part.test, heads[part.name]) for part in parts],
            "without": [predicted(table, part.test, heads[part.name].alone) for part in parts],
        }

    def same_splits(of: Mapping[str, list[Predictions]], parts: Sequence[Part], over: Any) -> SameSplits | None:
        if not parts:
            return None
        metrics = {
            way: {name: float(over([m(one.mos, one.predicted) for one in each])) for name, m in WITH_INTERVAL.items()}
            for way, each in of.items()
        }
        return SameSplits(len(parts), sum(not lines[part.name].reason for part in parts), metrics)

    folds, protocol = both(parts), both(repeated)
    together = {way: joined(each) for way, each in folds.items()}
    ours, theirs = together["with"], together["without"]
    apart = srocc(ours.mos, ours.predicted) - srocc(theirs.mos, theirs.predicted)
    draw = bootstrap_of(ours.groups, seed)
    drawn = [
        metric_of_resamples(srocc, ours.mos, ours.predicted, counts)
        - metric_of_resamples(srocc, ours.mos, theirs.predicted, counts)
        for counts in resamples(ours.groups, draw)
    ]
    interval = percentile_interval(np.concatenate([np.empty(0), *drawn]), draw)
    return HelpReport(
        helper,
        lines[shipped.name],
        same_splits(folds, parts, np.mean),
        same_splits(protocol, repeated, np.median),
        apart,
        interval,
    )
