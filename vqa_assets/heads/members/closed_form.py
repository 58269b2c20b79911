"""Ridge regression in closed form, by rows or by columns, and what it makes of parts that are left out. No torch here.

The linear skip of a network begins at such a ridge regression (of the logit of the MOS), and the last layer of
``random_features`` is one.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from vqa_assets.heads.members.large_tables import let_go
from vqa_assets.heads.members.weights import F32, I64, MOS_LOW, MOS_SPAN

F64 = NDArray[np.float64]
PENALTIES = tuple(10.0**e for e in range(-2, 5))
_ROWS_AT_ONCE = 65_536
_LOGIT_MARGIN = 0.02
"""The ends of the MOS range have no logit: what is nearer to them counts as so near."""


@dataclass(frozen=True)
class KernelRidge:
    """Ridge regression by rows, which costs the cube of their number and hardly minds how many columns there are.

    ``kernel`` (N, N) holds the products of the rows' columns, in float64, or in float32 where that is near enough and
    takes half the time; ``target`` (N,) is what is learned; ``weights`` (N,) how much a row counts, or None. The
    intercept carries no penalty.
    """

    kernel: NDArray[np.floating]
    target: F64
    weights: F32 | None = None

    def solved(self, penalty: float) -> tuple[F64, float]:
        """Coefficients (N,) of the rows, and the intercept: a row's target is ``kernel @ coefficients + intercept``."""
        _, coefficients, intercept, roots = self._inverse(penalty)
        return (roots * coefficients).astype(np.float64), intercept

    def left_out(self, penalty: float, part: I64) -> F64:
        """What is predicted (N,) for each part of the rows by a fit to all others; ``part`` (N,) numbers them.

        One fit suffices: residuals of a part left out are ``(C_SS)⁻¹ (C y)_S`` with C the inverse of the system,
        bordered by the intercept (Stone's cross-validation in the form of e.g. Craven and Wahba 1979, by blocks).
        """
        inverse, coefficients, _, roots = self._inverse(penalty)
        predicted = np.empty(len(part))
        for k in np.unique(part):
            own = np.flatnonzero(part == k)
            residual = np.linalg.solve(inverse[np.ix_(own, own)], coefficients[own])
            predicted[own] = self.target[own] - residual / roots[own]
        return predicted

    def _inverse(
        self, penalty: float
    ) -> tuple[NDArray[np.floating], NDArray[np.floating], float, NDArray[np.floating]]:
        """The bordered inverse C (N, N), C y, the intercept, and the roots of the weights (N,)."""
        from scipy.linalg import get_lapack_funcs

        count, kind = len(self.target), self.kernel.dtype
        potrf, potri = get_lapack_funcs(("potrf", "potri"), dtype=kind)
        roots = np.ones(count, kind) if self.weights is None else np.sqrt(self.weights.astype(kind))
        system = self.kernel * roots[:, None] * roots if self.weights is not None else self.kernel.copy()
        system[np.diag_indices(count)] += penalty
        factor, failed = potrf(system.T, lower=1, overwrite_a=1)
        inverse, _ = potri(factor, lower=1, overwrite_c=1)
        if failed:
            raise np.linalg.LinAlgError(f"no Cholesky factor of {count} rows with a penalty of {penalty:g}")
        inverse = np.tril(inverse) + np.tril(inverse, -1).T
        of_roots, target = inverse @ roots, roots * self.target.astype(kind)
        whole = float(roots @ of_roots)
        intercept = float(of_roots @ target) / whole
        inverse -= np.outer(of_roots, of_roots / whole)
        return inverse, inverse @ target, intercept, roots


@dataclass(frozen=True)
class RidgeSums:
    """Ridge regression by columns: what it needs of rows, their weight and the sums of x, y, x xᵀ and x y.

    Sums of several parts add up, so that a part is left out by a subtraction.
    """

    rows: float
    x: F64
    y: float
    xx: NDArray[np.floating]
    xy: F64

    @classmethod
    def of(cls, x: F64, y: F64, weights: F32 | None = None) -> "RidgeSums":
        """The sums of rows x (N, F) with target y (N,)."""
        w = np.ones(len(x)) if weights is None else weights.astype(np.float64)
        weighted = x if weights is None else x * w[:, None]
        return cls(float(w.sum()), weighted.sum(axis=0), float(w @ y), weighted.T @ x, weighted.T @ y)

    def __add__(self, other: "RidgeSums") -> "RidgeSums":
        return RidgeSums(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})

    def solved(self, penalty: float, without: "RidgeSums | None" = None) -> tuple[F64, float]:
        """Weights (F,) and intercept, of all rows or of those ``without`` a part; the intercept carries no penalty."""
        from scipy.linalg import lapack

        rows, x, y, xy = self.rows, self.x, self.y, self.xy
        if without is not None:
            rows, x, y, xy = rows - without.rows, x - without.x, y - without.y, xy - without.xy
        centre, level = x / rows, y / rows
        # In one piece of memory, line by line: of 4 096 columns each further one would be 64 MB or 128.
        system = np.outer(centre, centre)
        np.multiply(system, rows, out=system)
        for own, line in enumerate(system):
            xx = self.xx[own] if without is None else self.xx[own] - without.xx[own]
            np.subtract(xx, line, out=line)
        system[np.diag_indices(len(system))] += penalty
        moment = xy - rows * level * centre
        _, weights, failed = lapack.dposv(system.T, moment, lower=1, overwrite_a=1)
        if failed:
            raise np.linalg.LinAlgError(f"no Cholesky factor of {len(centre)} columns with a penalty of {penalty:g}")
        return weights, level - float(centre @ weights)


@dataclass(frozen=True)
class RidgeRows:
    """Mapped ``features`` (N, Z), ``mos`` (N,) on 1–5, and how much each row counts (N,); None: all alike."""

    features: F32
    mos: F32
    weights: F32 | None = None

    def __getitem__(self, chosen: I64 | NDArray[np.bool_]) -> "RidgeRows":
        weights = None if self.weights is None else self.weights[chosen]
        return RidgeRows(self.features[chosen], self.mos[chosen], weights)

    def pieces(self, chosen: I64) -> Iterator["RidgeRows"]:
        """Some of the rows, ``_ROWS_AT_ONCE`` at a time, since each is copied."""
        for first in range(0, len(chosen), _ROWS_AT_ONCE):
            piece = self[chosen[first : first + _ROWS_AT_ONCE]]
            let_go(self.features)
            yield piece

    @property
    def logit(self) -> F64:
        """The MOS before the sigmoid, (N,)."""
        share = np.clip((self.mos.astype(np.float64) - MOS_LOW) / MOS_SPAN, _LOGIT_MARGIN, 1 - _LOGIT_MARGIN)
        logit: F64 = np.log(share / (1 - share))
        return logit


def logit_skips(rows: RidgeRows, part: I64, whole: bool = False) -> list[tuple[F64, float]]:
    """Per part of the rows, the weights (Z,) and bias of a ridge regression of the logit on all other parts.

    With ``whole``, on all parts, for each. The penalty is the one that predicts parts best from all others, the middle
    one where there is but one part. Where columns are more than rows the regression is solved by rows.
    """
    by_rows = len(rows.mos) < rows.features.shape[1]
    if part.min() == part.max():  # nothing is left out that could choose
        return [_by_middle_penalty(rows, by_rows)]
    return _skips_by_rows(rows, part, whole) if by_rows else _skips_by_columns(rows, part, whole)


def _by_middle_penalty(rows: RidgeRows, by_rows: bool) -> tuple[F64, float]:
    x, penalty = rows.features.astype(np.float64), PENALTIES[len(PENALTIES) // 2]
    if not by_rows:
        return RidgeSums.of(x, rows.logit, rows.weights).solved(penalty)
    coefficients, bias = KernelRidge(x @ x.T, rows.logit, rows.weights).solved(penalty)
    return x.T @ coefficients, bias


def _skips_by_columns(rows: RidgeRows, part: I64, whole: bool) -> list[tuple[F64, float]]:
    parts = [np.flatnonzero(part == k) for k in np.unique(part)]
    sums = [_sums_of_pieces(rows, own) for own in parts]
    everything = sum(sums[1:], start=sums[0])
    # Per penalty and part one small system of equations, however many the rows.
    fits = [[everything.solved(penalty, without=own) for own in sums] for penalty in PENALTIES]
    losses = [
        sum(
            _squared_error(piece, piece.features @ w + b)
            for own, (w, b) in zip(parts, each, strict=True)
            for piece in rows.pieces(own)
        )
        for each in fits
    ]
    best = int(np.argmin(losses))
    return [everything.solved(PENALTIES[best])] * len(parts) if whole else fits[best]


def _sums_of_pieces(rows: RidgeRows, chosen: I64) -> RidgeSums:
    pieces = rows.pieces(chosen)
    first, *others = (RidgeSums.of(own.features.astype(np.float64), own.logit, own.weights) for own in pieces)
    return sum(others, start=first)


def _skips_by_rows(rows: RidgeRows, part: I64, whole: bool) -> list[tuple[F64, float]]:
    x = rows.features.astype(np.float64)
    kernel, logit = x @ x.T, rows.logit
    ridge = KernelRidge(kernel, logit, rows.weights)
    losses = [_squared_error(rows, ridge.left_out(penalty, part)) for penalty in PENALTIES]
    penalty = PENALTIES[int(np.argmin(losses))]
    skips = []
    for k in np.unique(part):
        own = np.arange(len(part)) if whole else np.flatnonzero(part != k)
        weights = None if rows.weights is None else rows.weights[own]
        coefficients, bias = KernelRidge(kernel[np.ix_(own, own)], logit[own], weights).solved(penalty)
        skips.append((x[own].T @ coefficients, bias))
    return skips


def _squared_error(rows: RidgeRows, logit: F64) -> float:
    """The summed squared error in MOS, each row by its weight."""
    share = 1.0 if rows.weights is None else rows.weights
    mos = MOS_LOW + MOS_SPAN / (1 + np.exp(-logit))
    return float(np.sum(share * (mos - rows.mos) ** 2))
