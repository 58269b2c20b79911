"""What a head makes of raw features before anything learns from them. No torch here.

Per column the mean of two views: the standardised value, clipped, which keeps distances, and the normal score of its
rank, which keeps order and does not mind tails (the rank-based inverse normal transform, by 33 quantiles). Both are of
the head's own training rows. Very many columns are then projected onto fewer. The same map in ONNX is in
``export``.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vqa_assets.heads.members.large_tables import columns_of, empty_features, let_go
from vqa_assets.heads.members.weights import F32, I64, standardisation, standardised

KNOTS = 33
PROJECTED_ABOVE = 2_700
"""Columns from which on z is projected: so many fit into a head of ``_HEAD_BYTES`` as they are."""
_HEAD_BYTES = 16_000_000
_BYTES_OF_COLUMN = 4 * (3 * KNOTS + 5)
"""What a column takes in a file: its knots, their widths and rises, mean, SD and the like, in float32."""
_BYTES_OF_OUTPUT = 4_096 + 4 * 5 * 65
"""What an output takes: its random directions, a byte each, and the first layers and skips of five networks."""
_STEPS = 32
_LEAST_PROJECTED = 64
_OUTERMOST = 1 / 128
"""The level that the lowest knot stands for, a quarter of the way to the next: the least value of a column may be of
one odd clip, and has no rank 0."""
_LEAST_SCALE = 0.25
"""A column that hardly ever varies is not blown up to SD 1 by more than this: one odd clip would outweigh the rest."""
_WIDEST = 3e38
_VALUES_AT_ONCE = 2_000_000
_GATHERED_TIMES = 8


@dataclass(frozen=True)
class FeatureMap:
    """The map of one head, from raw features (N, F) to z (N, Z), Z = F or, projected, P columns of ``projection``.

    ``mean`` and ``std`` (F,) standardise. ``knots`` (F, 33) are a column's quantiles from its least to its greatest
    value, ``scores`` (F, 33) their normal scores: linear between knots, flat beyond. ``centre`` and ``scale`` (F,)
    bring the mean of both views to mean 0 and SD 1. ``projection`` (F, P), drawn as ``in_steps``, is there over
    ``PROJECTED_ABOVE`` columns only.
    """

    mean: F32
    std: F32
    knots: F32
    scores: F32
    centre: F32
    scale: F32
    projection: F32 | None = None

    @classmethod
    def fitted(cls, features: F32, rows: I64 | None = None, *, seed: int = 0, quantiles: bool = True) -> "FeatureMap":
        """The map of features (N, F), or of some rows of them; some columns at a time, so that nothing is copied whole.

        A tied value gets the score of its middle rank; a column of one value is 0 everywhere. ``seed`` draws the
        projection. Without ``quantiles`` z is the standardised value alone.
        """
        count = len(features) if rows is None else len(rows)
        columns = max(1, _VALUES_AT_ONCE // max(1, count))
        # Rows lie one after another, so that each gathering reads them all: of many rows, more columns than are worked
        # on at once.
        gathered = columns * _GATHERED_TIMES
        pieces = []
        for start in range(0, features.shape[1], gathered):
            block = columns_of(features, slice(start, start + gathered), rows)
            pieces += [_of_columns(block[:, at : at + columns], quantiles) for at in range(0, block.shape[1], columns)]
        names = ("mean", "std", "knots", "scores", "centre", "scale")
        arrays = {name: np.concatenate([piece[i] for piece in pieces]) for i, name in enumerate(names)}
        return cls(**arrays, projection=_projection(features.shape[1], seed))

    @property
    def outputs(self) -> int:
        """Z, the columns it gives."""
        return len(self.mean) if self.projection is None else self.projection.shape[1]

    def map(self, features: F32) -> F32:
        """Z (N, Z) of raw features (N, F), all finite."""
        z = np.empty((len(features), self.outputs), dtype=np.float32)
        projection = None if self.projection is None else self.projection * self.projection_scale
        for part in _row_parts(features):
            mapped = _both_views(features[part], self)
            z[part] = mapped if projection is None else mapped @ projection
        return z

    @property
    def projection_scale(self) -> np.float32:
        """What the projection is multiplied by, 1/√F: what comes out has an SD near 1 too (Johnson, Lindenstrauss)."""
        return np.float32(len(self.mean) ** -0.5)

    def inputs(self, features: F32, onehot: F32, rows: I64 | None = None) -> F32:
        """What members see (N, Z + V): z, then the one-hot (N, V) as it is. Where they are many they lie in a file."""
        chosen = np.arange(len(features)) if rows is None else rows
        inputs = empty_features(len(chosen), self.outputs + onehot.shape[1])
        size = _rows_at_once(features.shape[1])
        for first in range(0, len(chosen), size):
            own = chosen[first : first + size]
            inputs[first : first + size, : self.outputs] = self.map(features[own])
            inputs[first : first + size, self.outputs :] = onehot[own]
            let_go(features)
            let_go(inputs)
        return inputs

    def segments(self) -> Iterator[tuple[F32, F32, F32]]:
        """Per segment between two knots, from the lowest: where it begins, its width, and how far its score rises, (F,)
        each. A score is that of the first knot and ``rise · clip((x − begin) / width, 0, 1)`` over all segments."""
        for j in range(self.knots.shape[1] - 1):
            begin, rise = self.knots[:, j], self.scores[:, j + 1] - self.scores[:, j]
            # Equal knots have equal scores: whatever their width, nothing rises. The widest columns overflow float32.
            width = np.minimum(self.knots[:, j + 1].astype(np.float64) - begin, _WIDEST)
            yield begin, np.where(width > 0, width, 1).astype(np.float32), rise


def _of_columns(values: F32, quantiles: bool) -> tuple[F32, ...]:
    """Mean, SD, knots, scores, centre and scale of columns (N, F)."""
    mean, std = standardisation(values)
    knots = np.zeros((values.shape[1], KNOTS), dtype=np.float32)
    scores = np.zeros_like(knots)
    if quantiles:
        ordered = np.sort(values, axis=0)
        at = np.linspace(0, len(ordered) - 1, KNOTS)
        below, share = np.floor(at).astype(np.int64), at - np.floor(at)
        above = np.minimum(below + 1, len(ordered) - 1)
        low, high = (ordered[rank].astype(np.float64) for rank in (below, above))
        knots = (low + (high - low) * share[:, None]).T.astype(np.float32)
        scores = _normal_scores(ordered, knots)
    else:
        # Half of the standardised value, brought back by a scale of a half.
        return mean, std, knots, scores, np.zeros_like(mean), np.full_like(mean, 0.5)
    raw = _both_views(values, FeatureMap(mean, std, knots, scores, np.zeros_like(mean), np.ones_like(mean)))
    spread = raw.std(axis=0, dtype=np.float64)
    scale = np.where(spread > 0, np.maximum(spread, _LEAST_SCALE), 1)
    return mean, std, knots, scores, raw.mean(axis=0, dtype=np.float64).astype(np.float32), scale.astype(np.float32)


def _normal_scores(ordered: F32, knots: F32) -> F32:
    """The normal score of the middle rank that a knot has among the ordered values (N, F) of its column."""
    from scipy.special import ndtri

    ranks = np.empty(knots.shape)
    for column, own in enumerate(knots):
        values = ordered[:, column]
        ranks[column] = np.searchsorted(values, own, "left") + np.searchsorted(values, own, "right")
    levels = np.clip(ranks / (2 * len(ordered)), _OUTERMOST, 1 - _OUTERMOST)
    scores: F32 = ndtri(levels).astype(np.float32)
    return scores


def _both_views(features: F32, of: FeatureMap) -> F32:
    """The mean of both views (N, F), centred and scaled."""
    both = standardised(features, of.mean, of.std)
    for column in range(features.shape[1]):
        both[:, column] += np.interp(features[:, column], of.knots[column], of.scores[column]).astype(np.float32)
    both *= np.float32(0.5)
    both -= of.centre
    both /= of.scale
    return both


def _rows_at_once(columns: int) -> int:
    return max(1, _VALUES_AT_ONCE // max(1, columns))


def _row_parts(features: F32) -> Iterator[slice]:
    size = _rows_at_once(features.shape[1])
    return (slice(first, first + size) for first in range(0, len(features), size))


def in_steps(drawn: NDArray[np.floating]) -> F32:
    """Standard normal numbers rounded to steps of 1/32 and cut off at ±127/32: a byte holds one as well as four do.

    A matrix that is drawn need not be exact, only the same wherever it is multiplied with.
    """
    rounded: F32 = np.clip(np.rint(drawn * _STEPS), -127, 127).astype(np.float32) / np.float32(_STEPS)
    return rounded


def as_bytes(values: F32) -> tuple[NDArray[np.int8], float]:
    """Numbers of ``in_steps`` as one byte each, and the width of a step."""
    return np.rint(values * _STEPS).astype(np.int8), 1 / _STEPS


def _projection(columns: int, seed: int) -> F32 | None:
    """A seeded normal matrix (F, P), of the most columns that keep a head small; None where z is small already."""
    if columns <= PROJECTED_ABOVE:
        return None
    fits = (_HEAD_BYTES - _BYTES_OF_COLUMN * columns) // (columns + _BYTES_OF_OUTPUT)
    return in_steps(np.random.default_rng([seed, columns]).standard_normal((columns, max(_LEAST_PROJECTED, fits))))
