"""How far a clip's opinion score may lie from a head's: conformal intervals, and how often they hold.

An interval is the score ± ``quantile`` · (disagreement + ``floor``), cut to the target's range; the disagreement is
that of the head's members, so that it is wider where they do not agree. Both numbers come from predictions for contents
that the predicting head never saw. Nothing is trained here, and no torch is needed: who uses a head reads this, too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vqa_assets.corpora.contents import ENOUGH_CONTENTS, balanced_folds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vqa_assets.heads.judging.evaluation import Predictions
    from vqa_assets.heads.recipe import Target

F64 = NDArray[np.float64]

LEVEL = 0.9
"""The share of clips whose score an interval is to hold."""

_PARTS = 10
_FLOORS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0)
"""Floors that are tried, in mean disagreements: from almost none to one beside which disagreement is nothing."""
_LEAST_UNIT = 1e-3
"""The least mean disagreement that counts, in spans of the target: below it are rounding errors of the runtime."""
_ROUNDING = 1e-9


def disagreement(members: NDArray[np.floating]) -> F64:
    """The population SD (N,) of the scores (N, M) that the members of a head give."""
    spread: F64 = members.astype(np.float64).std(axis=1)
    return spread


@dataclass(frozen=True)
class Interval:
    """``level`` is the share of clips that it is to hold, ``quantile`` has no unit, ``floor`` is in the target's."""

    level: float
    quantile: float
    floor: float

    def ends(self, scores: NDArray[np.floating], spread: F64, target: "Target") -> tuple[F64, F64]:
        """The low and the high end (N,) for scores (N,) whose members disagree by ``spread`` (N,); NaN for no score."""
        half, centre = self.quantile * (spread + self.floor), scores.astype(np.float64)
        low, high = (np.clip(end, target.low, target.low + target.span) for end in (centre - half, centre + half))
        return low, high


@dataclass(frozen=True)
class Coverage:
    """Some rows and how intervals did on them: the ``share`` whose score lay inside, the mean ``width``."""

    rows: int
    groups: int
    share: float
    width: float


@dataclass(frozen=True)
class Intervals:
    """The interval of a head, and its coverage; None where nothing could be measured, and ``lacking`` says why.

    ``rows`` of ``groups`` contents made it. ``holdout`` is the shipped head's on its held-out rows, which had no part
    in it; ``corpora`` are the rows that did, each judged by an interval that other contents made.
    """

    interval: Interval | None
    lacking: str = ""
    rows: int = 0
    groups: int = 0
    holdout: Coverage | None = None
    corpora: "Mapping[str, Coverage]" = field(default_factory=dict)


def measured_intervals(
    left_out: "Predictions", holdout: "Predictions | None", target: "Target", seed: int
) -> Intervals:
    """The interval that predictions for contents left out make, and how often it held.

    ``left_out`` are those of the folds' heads, or of a given split those of the rows that judge. Whoever calls this has
    seen to it that no content among them is one that was trained on.
    """
    is_known = np.isfinite(left_out.predicted) & np.isfinite(left_out.disagreement)
    rows = np.flatnonzero(is_known)
    groups = [left_out.groups[row] for row in rows]
    contents = len(set(groups))
    # Of nine contents the quantile is the largest residual, of eight there is none; and each is judged by the others.
    if contents < ENOUGH_CONTENTS:
        return Intervals(None, f"not measured: {contents} contents, at least {ENOUGH_CONTENTS} are needed")
    residuals = _Residuals.of(left_out, rows)
    interval = residuals.interval(target)
    # Each row is judged by what the contents of other parts made; by its own it would be too good.
    low, high = np.empty(len(rows)), np.empty(len(rows))
    part = np.array(balanced_folds(groups, _PARTS, seed))
    for number in range(_PARTS):
        own = part == number
        of_others = residuals.chosen(~own).interval(target)
        low[own], high[own] = of_others.ends(residuals.predicted[own], residuals.spread[own], target)
    corpora = np.array([left_out.corpora[row] for row in rows])
    of_corpus = {
        str(name): coverage_of(residuals.mos[own], residuals.content[own], low[own], high[own])
        for name in dict.fromkeys(corpora)
        for own in [corpora == name]
    }
    held = None
    if holdout is not None and len(known := np.flatnonzero(np.isfinite(holdout.predicted))):
        of_holdout = _Residuals.of(holdout, known)
        ends = interval.ends(of_holdout.predicted, of_holdout.spread, target)
        held = coverage_of(of_holdout.mos, of_holdout.content, *ends)
    return Intervals(interval, rows=len(rows), groups=contents, holdout=held, corpora=of_corpus)


@dataclass(frozen=True)
class _Residuals:
    """Rows (N,) that were predicted without their content: score, prediction, disagreement, number of the content."""

    mos: F64
    predicted: F64
    spread: F64
    content: NDArray[np.int64]

    @classmethod
    def of(cls, predictions: "Predictions", rows: NDArray[np.int64]) -> "_Residuals":
        return cls(
            predictions.mos[rows].astype(np.float64),
            predictions.predicted[rows].astype(np.float64),
            predictions.disagreement[rows],
            _numbered([predictions.groups[row] for row in rows]),
        )

    def chosen(self, rows: NDArray[np.bool_]) -> "_Residuals":
        """Some of the rows."""
        return _Residuals(self.mos[rows], self.predicted[rows], self.spread[rows], _numbered(self.content[rows]))

    def interval(self, target: "Target") -> Interval:
        """The interval of these rows: of the floors that are tried, the one of the best interval score.

        The score is the width plus 2 ÷ (1 − level) times how far a row lies outside (Gneiting and Raftery 2007), its
        mean taken over contents: it rewards narrow intervals that hold.
        """
        errors, share = np.abs(self.mos - self.predicted), self.share
        unit = max(float(self.spread.mean()), _LEAST_UNIT * target.span)
        found = []
        for floor in (unit * times for times in _FLOORS):
            quantile = self._quantile(errors / (self.spread + floor))
            half = quantile * (self.spread + floor)
            score = float(share @ (2 * half + 2 / (1 - LEVEL) * np.maximum(errors - half, 0)))
            found.append((score, Interval(LEVEL, quantile, floor)))
        return min(found, key=lambda one: one[0])[1]

    @property
    def share(self) -> F64:
        """How much each row counts (N,), 1 in all: contents count alike, however many rows they have."""
        counts = np.bincount(self.content)
        share: F64 = 1 / (len(counts) * counts[self.content])
        return share

    def _quantile(self, scaled: F64) -> float:
        """The least number that ``LEVEL`` of a new content's rows stay below: of K contents, each counts 1 ÷ (K + 1).

        Rows of one content resemble each other, so a content is what is exchanged, not a row (hierarchical conformal
        prediction: Lee, Barber and Willett 2023). The new content itself counts as infinitely far off.
        """
        contents = int(self.content.max()) + 1
        order = np.argsort(scaled, kind="stable")
        reached = np.cumsum(self.share[order]) * contents / (contents + 1)
        place = int(np.searchsorted(reached, LEVEL - _ROUNDING))
        return float(scaled[order[min(place, len(order) - 1)]])


def _numbered(names: Sequence[str] | NDArray[np.int64]) -> NDArray[np.int64]:
    """Each row's content as a number, from 0 without a gap."""
    numbers: NDArray[np.int64] = np.unique(np.asarray(names), return_inverse=True)[1]
    return numbers


def coverage_of(mos: F64, contents: NDArray[Any], low: F64, high: F64) -> Coverage:
    """How intervals from ``low`` to ``high`` (N,) did on scores (N,) of ``contents`` (N,), by number or name."""
    # A score is written as float32: the end of the range must not lie a rounding error beside it.
    inside = (mos >= low - _ROUNDING) & (mos <= high + _ROUNDING)
    return Coverage(len(inside), len(np.unique(contents)), float(inside.mean()), float((high - low).mean()))
