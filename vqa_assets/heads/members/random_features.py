"""The second kind of member: ridge regression on random features of z, in closed form. No torch here.

``relu(gain · (W · z) + shift)`` with W normal, of SD 1/√I, and fixed is a random feature (Rahimi and Recht 2007); a
ridge regression on 4 096 of them is close to a kernel machine, but holds no row of a corpus, and needs no exponential.
Gain and penalty are chosen by parts of the contents that are left out, the same that the networks stop by. Inputs that
matter more for a first fit are stretched before the second, as recursive feature machines do (Radhakrishnan et al.
2024): of two hundred columns a kernel of equal ones hardly sees the six that count.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from vqa_assets.corpora.contents import LEAST_TO_CHOOSE
from vqa_assets.heads.members.closed_form import F64, KernelRidge, RidgeSums
from vqa_assets.heads.members.feature_map import in_steps
from vqa_assets.heads.members.large_tables import let_go
from vqa_assets.heads.members.weights import F32, I64, MOS_LOW, MOS_SPAN

FEATURES = 4_096
GAINS = (0.5, 1.0, 2.0)
RIDGE_PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Over the mean square of a row's centred features, so that one list serves any columns and gain."""
DEFAULT_GAIN, DEFAULT_PENALTY = 1.0, 0.3
"""Where contents are too few to choose by: fewer than ``LEAST_TO_CHOOSE``."""
_SHIFT = 1.5
_GAIN_ROWS = 768
"""The most rows that the gain is chosen on, drawn by content: how bent a law is does not depend on how many rows."""
_LEAST_TO_WEIGH = 15
"""Under so many contents, or with more inputs than rows, all inputs are alike: what a first fit says is chance."""
_ROWS_AT_ONCE = 2_048


@dataclass(frozen=True)
class RandomFeatureRidge:
    """One ridge member, float32; I = Z + V inputs, D random features.

    ``directions`` (I, D), as ``in_steps``, and ``shifts`` (D,) are drawn, ``weights`` (D,) and ``bias`` fitted.
    ``penalty`` is in units of the mean square of a row's centred features. Inputs are multiplied by ``relevance`` (I,),
    of mean square 1; None: all alike.
    """

    directions: F32
    shifts: F32
    gain: float
    weights: F32
    bias: float
    penalty: float
    relevance: F32 | None = None

    @classmethod
    def fitted(
        cls,
        inputs: F32,
        mos: F32,
        part: I64,
        contents: I64,
        weights: F32 | None,
        rng: np.random.Generator,
        *,
        threads: int = 1,
    ) -> "RandomFeatureRidge":
        """The member of mapped rows (N, I) with their MOS (N,) on 1–5.

        ``part`` (N,) are the parts of the contents that gain and penalty are chosen by, ``contents`` (N,) number what
        rows show; ``weights`` (N,) how much a row counts, or None. Equal arguments give equal bytes on one thread of
        algebra, whatever the number of ``threads`` that many rows are dealt to.
        """
        width = inputs.shape[1]
        directions = in_steps(rng.standard_normal((width, FEATURES), dtype=np.float32))
        shifts = rng.uniform(-_SHIFT, _SHIFT, FEATURES).astype(np.float32)
        even = None if weights is None else (weights / weights.mean(dtype=np.float64)).astype(np.float32)
        rows = _Rows(inputs, mos.astype(np.float64), part, contents, even, directions, shifts)
        gain, start, relevance = DEFAULT_GAIN, None, None
        if (count := len(np.unique(contents))) >= LEAST_TO_CHOOSE:
            some = rows.some(_GAIN_ROWS, rng)
            if count >= _LEAST_TO_WEIGH and len(inputs) > width:
                relevance = _relevance(some)
                # Stretched directions are stretched inputs, of which no copy is made.
                stretched = directions * relevance[:, None]
                some, rows = (replace(of, directions=stretched) for of in (some, rows))
            gain, start = _best_gain(some)
        fit = _by_rows(rows, gain, start) if len(inputs) <= FEATURES else _by_features(rows, gain, start, threads)
        weights_of, bias, penalty = fit
        fitted = weights_of.astype(np.float32), float(np.float32(bias))
        return cls(directions, shifts, gain, *fitted, penalty, relevance)

    @property
    def scaled_directions(self) -> F32:
        """Directions (I, D) as they are multiplied with."""
        stretched = self.directions if self.relevance is None else self.directions * self.relevance[:, None]
        return _scaled(stretched, self.gain)

    @property
    def scale(self) -> np.float32:
        """What directions are multiplied by: gain/√I."""
        return _scale(self.gain, len(self.directions))

    def arrays(self) -> Iterator[F32]:
        """The arrays alone."""
        return iter((self.directions, self.shifts, self.weights))


@dataclass(frozen=True)
class _Rows:
    """What a member is fitted on: inputs (N, I), MOS (N,), parts, contents, weights, and what was drawn for it."""

    inputs: F32
    mos: F64
    part: I64
    contents: I64
    weights: F32 | None
    directions: F32
    shifts: F32

    def some(self, most: int, rng: np.random.Generator) -> "_Rows":
        """At most so many of them, of every content as nearly alike as can be: no part of the contents may be empty."""
        if len(self.mos) <= most:
            return self
        drawn = rng.permutation(len(self.mos))
        by_content = drawn[np.argsort(self.contents[drawn], kind="stable")]
        names, firsts = np.unique(self.contents[by_content], return_index=True)
        turn = np.arange(len(drawn)) - np.repeat(firsts, np.diff([*firsts, len(drawn)]))
        rank = np.repeat(rng.permutation(len(names)), np.diff([*firsts, len(drawn)]))
        own = np.sort(by_content[np.lexsort((rank, turn))[:most]])
        weights = None if self.weights is None else self.weights[own]
        return _Rows(
            self.inputs[own],
            self.mos[own],
            self.part[own],
            self.contents[own],
            weights,
            self.directions,
            self.shifts,
        )

    def features(self, gain: float, rows: slice | I64 = slice(None)) -> F32:
        """Random features (n, D) of some rows."""
        h: F32 = self.inputs[rows] @ _scaled(self.directions, gain)
        let_go(self.inputs)
        h += self.shifts
        return np.maximum(h, 0, out=h)

    def squared_error(self, predicted: NDArray[np.floating], rows: slice | I64 = slice(None)) -> float:
        """The summed squared error of what is predicted for rows, clipped as the member's own output is."""
        share = 1.0 if self.weights is None else self.weights[rows]
        return float(np.sum(share * (np.clip(predicted, MOS_LOW, MOS_LOW + MOS_SPAN) - self.mos[rows]) ** 2))


def _scale(gain: float, inputs: int) -> np.float32:
    return np.float32(gain * inputs**-0.5)


def _scaled(directions: F32, gain: float) -> F32:
    scaled: F32 = directions * _scale(gain, len(directions))
    return scaled


def _kernel(rows: _Rows, gain: float) -> tuple[F32, float, F64, F32]:
    """Of the rows' random features: their products (N, N), the unit of penalties, the mean (D,), and they, centred."""
    features = rows.features(gain)
    centre = np.average(features, axis=0, weights=rows.weights).astype(np.float32)
    features -= centre
    kernel = features @ features.T
    unit = float(np.average(np.diagonal(kernel).astype(np.float64), weights=rows.weights)) or 1.0
    return kernel, unit, centre.astype(np.float64), features


def _relevance(rows: _Rows) -> F32:
    """How much each input matters (I,), of mean square 1: the root mean square slope of a first fit along it,
    in its own SD."""
    kernel, unit, centre, features = _kernel(rows, DEFAULT_GAIN)
    ridge = KernelRidge(kernel, rows.mos, rows.weights)

    def squared_error(penalty: float) -> float:
        return rows.squared_error(ridge.left_out(penalty * unit, rows.part))

    penalty = _best_penalty(squared_error, RIDGE_PENALTIES.index(DEFAULT_PENALTY))
    coefficients, _ = ridge.solved(penalty * unit)
    weights = features.T @ coefficients.astype(np.float32)
    # A random feature that is at rest, which is at 0 less the mean, slopes nowhere.
    slopes = ((features > -centre.astype(np.float32)) * weights) @ rows.directions.T
    power = np.average(slopes.astype(np.float64) ** 2, axis=0, weights=rows.weights) * rows.inputs.var(axis=0)
    mean = float(power.mean())
    relevance = np.sqrt(power / mean) if mean > 0 else np.ones(len(power))
    return relevance.astype(np.float32)


def _best_gain(rows: _Rows) -> tuple[float, int]:
    """The gain of the least squared error on parts left out, and which penalty it is least with, of every second."""
    errors = {}
    for gain in GAINS:
        kernel, unit, _, _ = _kernel(rows, gain)
        ridge = KernelRidge(kernel, rows.mos, rows.weights)
        for number in range(1, len(RIDGE_PENALTIES), 2):
            predicted = ridge.left_out(RIDGE_PENALTIES[number] * unit, rows.part)
            errors[gain, number] = rows.squared_error(predicted)
    return min(errors, key=lambda pair: errors[pair])


def _best_penalty(squared_error: Callable[[float], float], start: int) -> float:
    """The penalty of the least error, walking from one of them to the better neighbour: each costs a fit or several."""
    errors = {start: squared_error(RIDGE_PENALTIES[start])}
    for step in (-1, 1):
        number = start + step
        while 0 <= number < len(RIDGE_PENALTIES):
            errors[number] = squared_error(RIDGE_PENALTIES[number])
            if errors[number] >= errors[number - step]:
                break
            number += step
    return RIDGE_PENALTIES[min(errors, key=lambda one: errors[one])]


def _by_rows(rows: _Rows, gain: float, start: int | None) -> tuple[F64, float, float]:
    """Weights (D,), bias and the best penalty, by a system of as many equations as there are rows."""
    kernel, unit, centre, features = _kernel(rows, gain)
    ridge = KernelRidge(kernel, rows.mos, rows.weights)

    def squared_error(penalty: float) -> float:
        return rows.squared_error(ridge.left_out(penalty * unit, rows.part))

    penalty = DEFAULT_PENALTY if start is None else _best_penalty(squared_error, start)
    coefficients, intercept = replace(ridge, kernel=kernel.astype(np.float64)).solved(penalty * unit)
    weights = features.T.astype(np.float64) @ coefficients
    return weights, intercept - float(centre @ weights), penalty


def _by_features(rows: _Rows, gain: float, start: int | None, threads: int = 1) -> tuple[F64, float, float]:
    """The same by a system of as many equations as there are random features: one pass, one Gram matrix a part.

    Parts are added up side by side, each on one thread, and then summed in their order.
    """
    parts = {k: np.flatnonzero(rows.part == k) for k in np.unique(rows.part)}
    # Near the mean float32 loses least; the exact mean is taken out of the sums.
    centre = rows.features(gain, np.linspace(0, len(rows.mos) - 1, _ROWS_AT_ONCE).astype(np.int64)).mean(axis=0)
    with ThreadPoolExecutor(threads) as pool:
        of_parts = pool.map(partial(_part_sums, rows, gain, centre), parts.values())
        sums: dict[np.int64, RidgeSums] = dict(zip(parts, of_parts, strict=True))
    first, *others = sums.values()
    whole = sum(others, start=first)
    unit = float(np.trace(whole.xx) - whole.x @ whole.x / whole.rows) / whole.rows or 1.0

    def squared_error(penalty: float) -> float:
        error = 0.0
        for k, own in sums.items():
            weights, bias = whole.solved(penalty * unit, without=own)
            left_out = parts[k]
            for at in range(0, len(left_out), _ROWS_AT_ONCE):
                some = left_out[at : at + _ROWS_AT_ONCE]
                features = rows.features(gain, some)
                features -= centre
                predicted = features @ weights.astype(np.float32) + bias
                error += rows.squared_error(predicted, some)
        return error

    penalty = DEFAULT_PENALTY if start is None else _best_penalty(squared_error, start)
    weights, intercept = whole.solved(penalty * unit)
    return weights, intercept - float(centre.astype(np.float64) @ weights), penalty


def _part_sums(rows: _Rows, gain: float, centre: F32, own: I64) -> RidgeSums:
    """The sums of one part's random features less ``centre``, some rows at a time; the Gram matrix in float32."""
    count, x, y = 0.0, np.zeros(FEATURES), 0.0
    xx, xy = np.zeros((FEATURES, FEATURES), dtype=np.float32), np.zeros(FEATURES)
    for first in range(0, len(own), _ROWS_AT_ONCE):
        some = own[first : first + _ROWS_AT_ONCE]
        features, mos = rows.features(gain, some), rows.mos[some]
        features -= centre
        w = np.ones(len(some)) if rows.weights is None else rows.weights[some].astype(np.float64)
        count, x, y = count + float(w.sum()), x + w @ features, y + float(w @ mos)
        xy += (w * mos) @ features
        if rows.weights is not None:
            features *= np.sqrt(w, dtype=np.float32)[:, None]
        xx += features.T @ features
    return RidgeSums(count, x, y, xx, xy)
