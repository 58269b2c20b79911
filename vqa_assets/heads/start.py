"""Where a member begins: random hidden layers, a silent last layer, and a skip that is a ridge regression (or zero).

With few rows, thirty epochs are some sixty steps of 0.001, which cannot move a linear layer from zero to where ridge
is at once, and the less so the more features there are; ``docs/head-architecture.md`` has the figures.
"""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from vqa_assets.heads.weights import F32, HIDDEN, I64, MOS_LOW, MOS_SPAN, MemberWeights

_PENALTIES = tuple(10.0**e for e in range(-2, 5))
_INSIDE = 0.02
F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Rows:
    """Standardised ``features`` (N, F), ``mos`` (N,), and how much each row counts (N,); None: all alike."""

    features: F32
    mos: F32
    weights: F32 | None = None

    def __getitem__(self, chosen: I64 | NDArray[np.bool_]) -> "Rows":
        weights = None if self.weights is None else self.weights[chosen]
        return Rows(self.features[chosen], self.mos[chosen], weights)


def starting_member(rows: Rows, penalty: float | None, encoders: int, rng: np.random.Generator) -> MemberWeights:
    """A member's first weights, the skip fitted on ``rows`` with this ridge penalty; None begins it at zero."""
    found = None if penalty is None else _ridge(_Moments.of(rows), penalty)
    skip, skip_bias = found or (np.zeros(rows.features.shape[1]), 0.0)
    wide = len(skip) + encoders
    return MemberWeights(
        hidden1=_uniform(rng, (wide, HIDDEN), wide),
        bias1=_uniform(rng, (HIDDEN,), wide),
        hidden2=_uniform(rng, (HIDDEN, HIDDEN), HIDDEN),
        bias2=_uniform(rng, (HIDDEN,), HIDDEN),
        hidden3=np.zeros((HIDDEN, 1), dtype=np.float32),
        bias3=np.zeros(1, dtype=np.float32),
        skip=np.concatenate([skip, np.zeros(encoders)]).astype(np.float32)[:, None],
        skip_bias=np.array([skip_bias], dtype=np.float32),
    )


def best_penalty(rows: Rows, part: I64) -> float:
    """The ridge penalty that predicts each part of the rows best from all other parts; ``part`` (N,) numbers them."""
    each = [_Moments.of(rows[part == k]) for k in np.unique(part)]
    whole = sum(each[1:], start=each[0])
    losses = np.zeros(len(_PENALTIES))
    for k, own in zip(np.unique(part), each, strict=True):
        left = rows[part == k]
        x, share = left.features.astype(np.float64), 1.0 if left.weights is None else left.weights
        found = [_ridge(whole - own, penalty) for penalty in _PENALTIES]
        losses += [float(np.sum(share * (_mos(x @ w + b) - left.mos) ** 2)) for w, b in found]
    return _PENALTIES[int(np.argmin(losses))]


def _uniform(rng: np.random.Generator, shape: tuple[int, ...], fan_in: int) -> F32:
    """U(−1/√in, 1/√in), torch's own start of a Linear layer."""
    bound = fan_in**-0.5
    return rng.uniform(-bound, bound, shape).astype(np.float32)


@dataclass(frozen=True)
class _Moments:
    """What ridge needs of rows: their weight, the sums of x and of the target, and the sums of products."""

    rows: float
    x: F64
    target: float
    xx: F64
    xt: F64

    @classmethod
    def of(cls, rows: Rows) -> "_Moments":
        x, target = rows.features.astype(np.float64), _logit(rows.mos)
        if rows.weights is None:
            return cls(len(x), x.sum(axis=0), float(target.sum()), x.T @ x, x.T @ target)
        w = rows.weights.astype(np.float64)
        xw = x * w[:, None]
        return cls(float(w.sum()), xw.sum(axis=0), float(w @ target), xw.T @ x, xw.T @ target)

    def __add__(self, other: "_Moments") -> "_Moments":
        return _Moments(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def __sub__(self, other: "_Moments") -> "_Moments":
        return _Moments(*(getattr(self, f.name) - getattr(other, f.name) for f in fields(self)))


def _ridge(of: _Moments, penalty: float) -> tuple[F64, float]:
    """Ridge before the sigmoid: weights (F,) and bias."""
    centre, level = of.x / of.rows, of.target / of.rows
    gram = of.xx - of.rows * np.outer(centre, centre)
    moment = of.xt - of.rows * level * centre
    weights: F64 = np.asarray(np.linalg.solve(gram + penalty * np.eye(len(gram)), moment), dtype=np.float64)
    return weights, level - float(centre @ weights)


def _logit(mos: F32) -> F64:
    share = np.clip((mos.astype(np.float64) - MOS_LOW) / MOS_SPAN, _INSIDE, 1 - _INSIDE)
    logit: F64 = np.log(share / (1 - share))
    return logit


def _mos(summed: F64) -> F64:
    mos: F64 = MOS_LOW + MOS_SPAN / (1 + np.exp(-summed))
    return mos
