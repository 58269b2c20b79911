"""Natural-scene statistics of one picture: BRISQUE's 36 features.

A. Mittal, A. K. Moorthy, A. C. Bovik, "No-Reference Image Quality Assessment in the Spatial Domain", IEEE Trans. Image
Processing 21(12), 2012. Luma in, numbers out; which pictures of a clip are measured is in ``no_reference``.
"""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from vqa_assets.feature_names import NSS_OF_SCALE
from vqa_assets.features.distortions import bands

F32 = NDArray[np.float32]

WINDOW_RADIUS, WINDOW_SIGMA = 3, 7 / 6
"""The paper's 7 × 7 Gaussian window, "sampled out to three standard deviations"; 7/6 is its authors' published code."""

STABLE = 1.0
"""The paper's C, grey levels of 255: keeps flat parts from dividing by zero."""

FLAT_BELOW = 1e-6
"""A picture whose MSCN coefficients have a smaller mean square is flat: what is left of it is rounding."""

ZERO_BELOW = np.float32(5e-5)
"""A smaller coefficient is rounding: in flat parts its sign would decide between the fits' left and right side."""

_OFFSET = np.float32(128)
"""Local moments are taken about mid-grey: squares then stay within what single precision resolves."""

_HALF_TAPS = tuple(np.float32(w / 2) for w in (-0.0234375, -0.0703125, 0.2265625, 0.8671875))
"""The cubic kernel (a = −1/2) stretched by two at distances 3.5, 2.5, 1.5, 0.5: an antialiased half size."""

_NEIGHBOURS = {"h": (0, 1), "v": (1, 0), "d1": (1, 1), "d2": (1, -1)}
"""Down and right shifts of the paper's four orientations."""


def nss_features(luma: F32) -> dict[str, float]:
    """The 36 features of ``luma`` (height, width), 0–255: 18 at its own size (``nss1_…``), 18 at half (``nss2_…``).

    NaN for a scale at which the picture is flat.
    """
    features: dict[str, float] = {}
    for number, picture in enumerate((luma, half_size(luma)), 1):
        values = _scale_features(picture)
        features |= {f"nss{number}_{name}": value for name, value in zip(NSS_OF_SCALE, values, strict=True)}
    return features


def mscn(luma: F32, first: int, last: int) -> F32:
    """Mean-subtracted, contrast-normalised coefficients of the rows from ``first`` to before ``last``.

    (I − μ) / (σ + C), moments weighted by the window; outside of the picture its border goes on (the paper leaves that
    open), so that a flat picture has none but zeros.
    """
    around = _padded(luma, first, last)
    mean = _windowed(around)
    np.square(around, out=around)
    deviation = _windowed(around)
    deviation -= np.square(mean)
    np.sqrt(np.abs(deviation, out=deviation), out=deviation)
    deviation += np.float32(STABLE)
    centred: F32 = luma[first:last] - _OFFSET
    centred -= mean
    centred /= deviation
    centred[np.abs(centred) < ZERO_BELOW] = 0
    return centred


def half_size(luma: F32) -> F32:
    """Half the size (rounded down, at least 1), bicubic and antialiased, the border mirrored."""
    height, width = max(luma.shape[0] // 2, 1), max(luma.shape[1] // 2, 1)
    small = np.empty((height, width), np.float32)
    for first, last in bands(height, 2 * luma.shape[1]):
        rows = _mirrored(np.arange(2 * first - 3, 2 * last + 3), luma.shape[0])
        columns = _mirrored(np.arange(-3, 2 * width + 3), luma.shape[1])
        down = _halved(luma[rows], last - first)
        small[first:last] = _halved(down[:, columns].T, width).T
    return small


def asymmetric_fit(moments: "Moments") -> tuple[float, float, float, float]:
    """Shape ν, mean η, left and right variance of the asymmetric generalised Gaussian of those moments (the paper's
    equations 8–18, after Lasmar, Stitou and Berthoumieu 2009)."""
    from scipy.special import gamma

    left = moments.negative_squares / max(moments.negatives, 1)
    right = moments.positive_squares / max(moments.positives, 1)
    ratio = float(np.sqrt(left / right)) if right > 0 else np.inf
    squared = (moments.absolute / moments.count) ** 2 / (moments.squares / moments.count)
    skew = 1.0 if not np.isfinite(ratio) else (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    shape = _shape_of(squared * skew)
    width = np.sqrt(gamma(1 / shape) / gamma(3 / shape))
    mean = (np.sqrt(right) - np.sqrt(left)) * width * gamma(2 / shape) / gamma(1 / shape)
    return shape, float(mean), float(left), float(right)


def symmetric_fit(moments: "Moments") -> tuple[float, float]:
    """Shape α and variance σ² of the generalised Gaussian of those moments (the paper's equations 4–7)."""
    squares = moments.squares / moments.count
    return _shape_of((moments.absolute / moments.count) ** 2 / squares), squares


class Moments:
    """Sums over numbers added piece by piece, in double precision."""

    def __init__(self) -> None:
        self.count = self.negatives = self.positives = 0
        self.absolute = self.squares = self.negative_squares = 0.0

    def add(self, values: F32) -> None:
        """Take more numbers in."""
        below = np.minimum(values, 0)
        self.count += values.size
        self.negatives += int(np.count_nonzero(values < 0))
        self.positives += int(np.count_nonzero(values > 0))
        self.absolute += float(values.sum()) - 2 * float(below.sum())
        self.squares += float(np.square(values).sum())
        self.negative_squares += float(np.square(below, out=below).sum())

    @property
    def positive_squares(self) -> float:
        """The sum of the positive numbers' squares."""
        return max(self.squares - self.negative_squares, 0.0)


def _scale_features(luma: F32) -> list[float]:
    alone, pairs = Moments(), {name: Moments() for name in _NEIGHBOURS}
    for coefficients in _bands_with_next_row(luma):
        own = coefficients[:-1]
        alone.add(own)
        for name, (down, right) in _NEIGHBOURS.items():
            pairs[name].add(own * _shifted(coefficients, down, right))
    if alone.squares < FLAT_BELOW * alone.count:
        return [float("nan")] * len(NSS_OF_SCALE)
    return [*symmetric_fit(alone), *(value for of in pairs.values() for value in asymmetric_fit(of))]


def _bands_with_next_row(luma: F32) -> Iterator[F32]:
    """The MSCN coefficients in bands, each with the row below; below the last row is the first, as in the code."""
    height = len(luma)
    for first, last in bands(height, luma.shape[1]):
        if last < height:
            yield mscn(luma, first, last + 1)
        else:
            yield np.concatenate([mscn(luma, first, last), mscn(luma, 0, 1)])


def _shifted(coefficients: F32, down: int, right: int) -> F32:
    """For each coefficient the neighbour that far down and right, round the edge."""
    rows = coefficients[1:] if down else coefficients[:-1]
    return np.roll(rows, -right, axis=1) if right else rows


def _padded(luma: F32, first: int, last: int) -> F32:
    """The rows and ``WINDOW_RADIUS`` more on every side, about mid-grey, the border going on outside."""
    reach = WINDOW_RADIUS
    rows = np.clip(np.arange(first - reach, last + reach), 0, len(luma) - 1)
    around = np.empty((len(rows), luma.shape[1] + 2 * reach), np.float32)
    np.subtract(luma[rows], _OFFSET, out=around[:, reach:-reach])
    around[:, :reach] = around[:, reach : reach + 1]
    around[:, -reach:] = around[:, -reach - 1 : -reach]
    return around


def _windowed(around: F32) -> F32:
    """Weighted local sums over the window, down and then across; the border of ``around`` is used up."""
    weights = _window()
    height, width = around.shape[0] - 2 * WINDOW_RADIUS, around.shape[1] - 2 * WINDOW_RADIUS
    down = weights[0] * around[WINDOW_RADIUS : WINDOW_RADIUS + height]
    for distance in range(1, WINDOW_RADIUS + 1):
        above = around[WINDOW_RADIUS - distance : WINDOW_RADIUS - distance + height]
        below = around[WINDOW_RADIUS + distance : WINDOW_RADIUS + distance + height]
        both = above + below
        both *= weights[distance]
        down += both
    across: F32 = weights[0] * down[:, WINDOW_RADIUS : WINDOW_RADIUS + width]
    for distance in range(1, WINDOW_RADIUS + 1):
        left = down[:, WINDOW_RADIUS - distance : WINDOW_RADIUS - distance + width]
        both = left + down[:, WINDOW_RADIUS + distance : WINDOW_RADIUS + distance + width]
        both *= weights[distance]
        across += both
    return across


@lru_cache(maxsize=1)
def _window() -> tuple[np.float32, ...]:
    """The Gaussian's weights at distances 0 to ``WINDOW_RADIUS`` in one direction; both sides sum to 1."""
    distances = np.arange(-WINDOW_RADIUS, WINDOW_RADIUS + 1)
    weights = np.exp(-(distances**2) / (2 * WINDOW_SIGMA**2))
    return tuple(np.float32(w) for w in (weights / weights.sum())[WINDOW_RADIUS:])


def _halved(rows: F32, count: int) -> F32:
    """``count`` rows out of 2 · count + 6: each the weighted sum of eight neighbours."""
    first, second, third, fourth = _HALF_TAPS
    end = 2 * count
    halved: F32 = fourth * (rows[3 : 3 + end : 2] + rows[4 : 4 + end : 2])
    halved += third * (rows[2 : 2 + end : 2] + rows[5 : 5 + end : 2])
    halved += second * (rows[1 : 1 + end : 2] + rows[6 : 6 + end : 2])
    halved += first * (rows[0:end:2] + rows[7 : 7 + end : 2])
    return halved


def _mirrored(positions: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Positions outside of 0 … size − 1 reflected at the border, which is repeated."""
    folded = np.mod(positions, 2 * size)
    return np.where(folded < size, folded, 2 * size - 1 - folded)


@lru_cache(maxsize=1)
def _shapes() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shapes from 0.2 to 10, as in the authors' code, and E|x|² / E x² of a generalised Gaussian of each: rising."""
    from scipy.special import gamma

    shapes = np.arange(0.2, 10.0005, 0.001)
    return shapes, gamma(2 / shapes) ** 2 / (gamma(1 / shapes) * gamma(3 / shapes))


def _shape_of(ratio: float) -> float:
    shapes, ratios = _shapes()
    return float(np.interp(ratio, ratios, shapes))
