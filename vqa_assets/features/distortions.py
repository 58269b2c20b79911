"""What one picture tells by itself: detail, blockiness, blur, noise, contrast, entropy, colour, its change in time.

Luma is float32 (height, width), full range, 0–255. Natural-scene statistics are in ``natural_scenes``; which pictures
of a clip are measured is in ``no_reference``.
"""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]

Codes = NDArray[np.uint8] | NDArray[np.uint16]

BAND_PIXELS = 1 << 16
"""Pixels of a band of a picture, 256 kB in single precision: arithmetic in bands stays in a core's cache."""

BLOCK = 8
"""Pixels between the block borders of MPEG-2 to H.264's transforms."""

BLUR_TAPS = 9
"""Length of the averaging filter of Crété et al."""

_LEVELS = 256


def bands(height: int, width: int) -> Iterator[tuple[int, int]]:
    """The first row of each band of a picture and the row after its last; together all rows, each once."""
    rows = max(BAND_PIXELS // width, 8)
    for first in range(0, height, rows):
        yield first, min(first + rows, height)


class Spread:
    """Mean and standard deviation (population) of numbers added piece by piece, in double precision."""

    def __init__(self) -> None:
        self.count, self.sum, self.squares = 0, 0.0, 0.0

    def add(self, values: F32) -> None:
        """Take more numbers in."""
        self.count += values.size
        self.sum += float(values.sum(dtype=np.float64))
        self.squares += float(np.square(values, dtype=np.float64).sum())

    @property
    def mean(self) -> float:
        """NaN of no numbers."""
        return self.sum / self.count if self.count else math.nan

    @property
    def deviation(self) -> float:
        """NaN of no numbers."""
        return math.sqrt(max(self.squares / self.count - self.mean**2, 0.0)) if self.count else math.nan


def spatial_information(luma: F32) -> float:
    """SI of ITU-T P.910: the standard deviation of the Sobel magnitude, the outermost pixels left out."""
    spread = Spread()
    for above, here, below in _inner_bands(luma):
        smooth, step = above + below, below - above
        smooth += 2 * here
        across = smooth[:, 2:] - smooth[:, :-2]
        down = step[:, 2:] + step[:, :-2]
        down += 2 * step[:, 1:-1]
        across *= across
        down *= down
        across += down
        spread.add(np.sqrt(across, out=across))
    return spread.deviation


def temporal_information(before: F32, luma: F32) -> float:
    """TI of ITU-T P.910: the standard deviation of the difference to the frame before."""
    spread = Spread()
    for first, last in bands(*luma.shape):
        spread.add(luma[first:last] - before[first:last])
    return spread.deviation


def noise(luma: F32) -> float:
    """SD of the noise, grey levels: J. Immerkær, "Fast Noise Variance Estimation", CVIU 64(2), 1996.

    The mean magnitude of a mask that answers to neither planes nor straight edges, times √(π/2) / 6.
    """
    total, count = 0.0, 0
    for above, here, below in _inner_bands(luma):
        down = above + below
        down -= 2 * here
        both = down[:, 2:] + down[:, :-2]
        both -= 2 * down[:, 1:-1]
        total += float(np.abs(both, out=both).sum())
        count += both.size
    return math.sqrt(math.pi / 2) / 6 * total / count if count else math.nan


def blur(luma: F32) -> float:
    """Blur from 0 (sharp) to 1: F. Crété, T. Dolmiere, P. Ladret, M. Nicolas, "The Blur Effect", SPIE 6492, 2007.

    How little an average over nine pixels lessens the differences of neighbours, in the direction that is blurred more.
    NaN for a picture under ten pixels either way or without any difference.
    """
    if min(luma.shape) <= BLUR_TAPS:
        return math.nan
    shares = [_kept_by_averaging(luma), _kept_by_averaging(luma.T)]
    return max(shares, key=lambda share: -1.0 if math.isnan(share) else share)


def blockiness(luma: F32) -> float:
    """Differences across block borders over those elsewhere: 1 without blocks, more with them.

    Of the eight places that a grid of ``BLOCK`` pixels can lie at, the one with the greatest mean difference counts, so
    that cropped and turned pictures need no care; (border + 1) / (elsewhere + 1) in grey levels, the mean of both
    directions. 1 for a picture that is too small for a grid.
    """
    height, width = luma.shape
    down, across = np.zeros(max(height - 1, 0)), np.zeros(max(width - 1, 0))
    for first, last in bands(height, width):
        rows = luma[first : last + 1]
        below = np.abs(rows[1:] - rows[:-1])
        down[first : first + len(below)] = below.mean(axis=1)
        across += np.abs(luma[first:last, 1:] - luma[first:last, :-1]).sum(axis=0, dtype=np.float64)
    return (_grid_ratio(down) + _grid_ratio(across / height)) / 2


def entropy(codes: Codes, bit_depth: int) -> float:
    """Bits a pixel of the histogram of luma codes, 256 bins whatever the bit depth."""
    eight_bits = (codes if bit_depth == 8 else codes >> (bit_depth - 8)).ravel()
    counts = np.zeros(_LEVELS, np.int64)
    for first, last in bands(eight_bits.size, 1):
        counts += np.bincount(eight_bits[first:last], minlength=_LEVELS)[:_LEVELS]
    shares = counts[counts > 0] / eight_bits.size
    return float(-(shares * np.log2(shares)).sum()) + 0.0


def flicker(frame_means: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far each frame's mean luma is from the mean of its two neighbours', grey levels; 0 for the ends.

    Fades and pans change luma evenly and cancel out. One value a frame.
    """
    distances = np.zeros(len(frame_means))
    distances[1:-1] = np.abs(frame_means[1:-1] - (frame_means[:-2] + frame_means[2:]) / 2)
    return distances


def saturation(u: Codes, v: Codes, bit_depth: int) -> tuple[float, float]:
    """Mean and standard deviation of the distance from grey in the plane of both chroma samples, 8-bit levels."""
    middle, scale = np.float32(1 << (bit_depth - 1)), np.float32(1 << (bit_depth - 8))
    distance = np.hypot(u.astype(np.float32) - middle, v.astype(np.float32) - middle)
    distance /= scale
    return float(distance.mean(dtype=np.float64)), float(distance.std(dtype=np.float64))


def colourfulness(rgb: NDArray[np.uint8]) -> float:
    """Of RGB (height, width, 3), 0–255: D. Hasler and S. Süsstrunk, "Measuring Colourfulness in Natural Images", 2003.

    √(σ²rg + σ²yb) + 0.3 · √(μ²rg + μ²yb) with rg = R − G and yb = (R + G) / 2 − B.
    """
    red, green, blue = (rgb[..., i].astype(np.float32) for i in range(3))
    rg, yb = red - green, (red + green) / 2 - blue
    return math.hypot(rg.std(), yb.std()) + 0.3 * math.hypot(rg.mean(), yb.mean())


def _inner_bands(luma: F32) -> "list[tuple[F32, F32, F32]]":
    """Views of all rows but the first and the last, with the rows above and below, band by band."""
    inner = len(luma) - 2
    if inner < 1 or luma.shape[1] < 3:
        return []
    return [
        (luma[first:last], luma[first + 1 : last + 1], luma[first + 2 : last + 2])
        for first, last in bands(inner, luma.shape[1])
    ]


def _kept_by_averaging(luma: F32) -> float:
    """Σ min(D, D averaged) / Σ D over differences D of vertical neighbours.

    The difference of two neighbouring averages is that of the two pixels they do not share, over their length.
    """
    reach = BLUR_TAPS // 2
    kept = total = 0.0
    for first, last in bands(len(luma) - BLUR_TAPS, luma.shape[1]):
        sharp = np.abs(luma[first + reach + 1 : last + reach + 1] - luma[first + reach : last + reach])
        averaged = np.abs(luma[first + BLUR_TAPS : last + BLUR_TAPS] - luma[first:last])
        averaged /= BLUR_TAPS
        total += float(sharp.sum())
        kept += float(np.minimum(sharp, averaged, out=averaged).sum())
    return kept / total if total else math.nan


def _grid_ratio(differences: NDArray[np.float64]) -> float:
    whole = len(differences) // BLOCK * BLOCK
    if not whole:
        return 1.0
    phases = differences[:whole].reshape(-1, BLOCK).mean(axis=0)
    border = phases.max()
    return float((border + 1) / ((phases.sum() - border) / (BLOCK - 1) + 1))
