"""Opinion scores of several laboratories on one scale: a monotone map per corpus, and where learning them begins.

The idea is that of mixed training (Li, Jiang & Jiang, "Unified quality assessment of in-the-wild videos with mixed
datasets training", IJCV 2021): a head of several corpora gives one scale, and each corpus's own scores are a monotone
map of it. The one scale is that of the reference, the corpus with most rows, whose map is the identity. How maps are
learned with the networks is in ``training``; which head ships is decided in ``scale_choice``. No torch here.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vqa_assets.heads.members.closed_form import PENALTIES, RidgeRows
from vqa_assets.heads.members.weights import F32, I64, MOS_LOW, MOS_SPAN

F64 = NDArray[np.float64]
STEPS = 8
"""Pieces of a map, of equal width; it is a line in each."""
KNOTS: F64 = np.linspace(MOS_LOW, MOS_LOW + MOS_SPAN, STEPS + 1)
"""Where on the reference scale the pieces meet."""
FLATTEST, STEEPEST = 0.1, 10.0
"""Slopes of a map. A flatter one could not be turned round: what a corpus says would be read as anything."""
_START_ROWS = 2_000
"""Rows of a corpus that its first line is drawn from; a line has two numbers."""
_PRIOR_ROWS = 20
"""So many rows speak for the slope of the reference: a corpus of few is believed less."""
_ROUNDS = 2
_TINY = 1e-12


@dataclass(frozen=True)
class CorpusScales:
    """``values`` (C, 9): what each corpus, by its number, calls what is ``KNOTS`` on the reference scale.

    NaN for a corpus that the head was not trained on: it has no map.
    """

    values: F32

    def on_own(self, scores: F32, corpora: I64) -> F32:
        """Scores (N,) of the reference scale on the scale of each row's corpus (N,)."""
        return self._mapped(scores, corpora, backwards=False)

    def on_reference(self, scores: F32, corpora: I64) -> F32:
        """Scores (N,) of corpora on the reference scale, within 1–5."""
        return self._mapped(scores, corpora, backwards=True)

    def weights(self, corpora: I64, weights: F32 | None) -> F32:
        """How much rows (N,) count that were brought to the reference scale, beside ``weights`` (N,) of their own.

        The square of how steep their corpus's map is, by its mean: what is one off on the reference scale is that much
        off on the corpus's own, and a flat scale would be blown up with its noise.
        """
        slopes = (self.values[:, -2] - self.values[:, 1]).astype(np.float64) / (KNOTS[-2] - KNOTS[1])
        steep: F32 = (slopes[corpora] ** 2).astype(np.float32)
        return steep if weights is None else steep * weights

    def _mapped(self, scores: F32, corpora: I64, *, backwards: bool) -> F32:
        result = np.empty(len(scores), dtype=np.float32)
        for number, own in enumerate(self.values.astype(np.float64)):
            rows = corpora == number
            known = np.isfinite(own).all()
            result[rows] = np.interp(scores[rows], *((own, KNOTS) if backwards else (KNOTS, own))) if known else np.nan
        return result


def numbered(corpora: Sequence[str]) -> tuple[tuple[str, ...], I64]:
    """The corpora of rows (N,), that with most rows first (the reference), and the number of each row's (N,)."""
    counts = Counter(corpora)
    names = tuple(sorted(counts, key=lambda name: -counts[name]))  # stable: of equals the first that is read
    number = {name: i for i, name in enumerate(names)}
    return names, np.array([number[name] for name in corpora], dtype=np.int64)


def mean_of(networks: Sequence[F32 | None]) -> CorpusScales | None:
    """A head's maps: the mean of its networks' values (C, 9), which is as monotone as they are; None without any."""
    known = [values for values in networks if values is not None]
    if not known:
        return None
    mean: F32 = np.stack(known).astype(np.float64).mean(axis=0).astype(np.float32)
    return CorpusScales(mean)


def first_scales(rows: RidgeRows, corpora: I64, part: I64, count: int) -> CorpusScales:
    """Where learning begins: a line per corpus, from a ridge regression that sees only what differs within corpora.

    ``rows`` are a head's own, ``corpora`` (N,) their corpora's numbers of ``count``, ``part`` (N,) the parts of whole
    contents that are left out in turn: what a regression says of rows that it was fitted to is too good, and the more
    so in a small corpus. Were corpora not centred, features by which one can be told from another would explain what
    is a difference of scales.
    """
    values = np.full((count, STEPS + 1), np.nan)
    present = np.unique(corpora)
    values[present] = KNOTS
    reference = present[0]
    chosen = np.concatenate([_spread(np.flatnonzero(corpora == number)) for number in present])
    x, y = rows.features[chosen].astype(np.float64), rows.mos[chosen].astype(np.float64)
    of, held = corpora[chosen], part[chosen]
    x_mean, y_mean = ({c: a[of == c].mean(axis=0) for c in present} for a in (x, y))
    x -= np.stack([x_mean[c] for c in of])
    y -= np.array([y_mean[c] for c in of])
    slopes, gain, direction = dict.fromkeys(present, 1.0), 1.0, np.zeros(x.shape[1])
    for _ in range(_ROUNDS):
        # Flat corpora are not blown up beyond their worth: an error there is an error on their own scale.
        slope = np.array([slopes[c] for c in of])
        weights = slope**2 * (1 if rows.weights is None else rows.weights[chosen].astype(np.float64))
        direction, unseen = _left_out(x, y / slope, weights, held)
        own = of == reference
        gain = float(unseen[own] @ y[own]) / max(float(unseen[own] @ unseen[own]), _TINY)
        if gain <= 0:
            # Features do not follow the scores of the reference: nothing is known of the others' scales.
            return CorpusScales(values.astype(np.float32))
        # What is predicted of unseen rows is too flat or too steep in all corpora alike; the reference is the measure.
        prior = _PRIOR_ROWS * float(unseen @ unseen) / len(unseen)
        for c in present[1:]:
            u, v = unseen[of == c], y[of == c]
            steepness = (float(u @ v) + prior * gain) / max(float(u @ u) + prior, _TINY)
            slopes[c] = float(np.clip(steepness / gain, FLATTEST, STEEPEST))
    for c in present[1:]:
        level = y_mean[reference] + gain * float((x_mean[c] - x_mean[reference]) @ direction)
        values[c] = y_mean[c] + slopes[c] * (KNOTS - np.clip(level, MOS_LOW, MOS_LOW + MOS_SPAN))
    return CorpusScales(values.astype(np.float32))


def _left_out(x: F64, y: F64, weights: F64, part: I64) -> tuple[F64, F64]:
    """A ridge regression without a bias: its direction (F,), and what it says (N,) of each part by the others.

    The direction is the mean of those by the others; the penalty is the one that predicts parts left out best.
    """
    unseen, directions = np.zeros((len(PENALTIES), len(y))), []
    for k in np.unique(part):
        fit = part != k
        directions.append(_ridges(x[fit], y[fit], weights[fit]))
        unseen[:, ~fit] = directions[-1] @ x[~fit].T
    best = int(np.argmin((weights * (unseen - y) ** 2).sum(axis=1)))
    return np.mean([each[best] for each in directions], axis=0), unseen[best]


def _ridges(x: F64, y: F64, weights: F64) -> F64:
    """Directions (P, F), one a penalty; by rows where columns are more than rows."""
    root = np.sqrt(weights)
    x, y = x * root[:, None], y * root
    by_rows = len(x) < x.shape[1]
    values, vectors = np.linalg.eigh(x @ x.T if by_rows else x.T @ x)
    moments = vectors.T @ (y if by_rows else x.T @ y)
    solved: F64 = (moments / (values + np.array(PENALTIES)[:, None])) @ vectors.T
    return np.asarray(solved @ x if by_rows else solved)


def _spread(rows: I64) -> I64:
    """At most ``_START_ROWS`` of the rows, spread evenly over them."""
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), _START_ROWS)).astype(np.int64)]
