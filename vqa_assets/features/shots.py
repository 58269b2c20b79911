"""Cuts between shots, found on small luma frames, and the features that count them. Gradual transitions are no cuts.

Where the frames come from is in ``decoding``.
"""

import math
from typing import TYPE_CHECKING

from vqa_assets.feature_names import SHOT_FEATURES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MIN_SHOT_S = 1 / 3
"""No two cuts lie closer, and none lies closer to an end: the window of Yeo and Liu, 10 frames at 30 fps."""

PEAK_RATIO = 2.5
"""A cut's frame difference is at least this many times any other in its window (Yeo and Liu try 2 to 3)."""

DIFFERENCE_AT_LEAST = 15.0
"""Mean absolute luma difference of a cut, grey levels of 255: PySceneDetect's adaptive detector (min_content_val)."""

DIFFERENCE_SURE = 27.0
"""Difference that needs no histogram to agree: PySceneDetect's content detector (threshold)."""

HISTOGRAM_AT_LEAST = 0.2
"""Share of the pixels that must move to another of 16 luma bins, where the difference alone is not sure."""

HISTOGRAM_BINS = 16


def find_cuts(luma: "NDArray[np.uint8]", frame_rate: float) -> list[int]:
    """Indices of the first frames of all shots but the first; ``luma`` is uint8 (frames, height, width).

    Sliding window of B.-L. Yeo and B. Liu, "Rapid Scene Analysis on Compressed Video", IEEE Trans. CSVT 5(6), 1995:
    frame t begins a shot where its difference to frame t − 1 is the greatest within ``MIN_SHOT_S`` on either side,
    and ``PEAK_RATIO`` times the second greatest. Pans, noise and fades have no such peak; a flash has two alike. A
    peak counts from ``DIFFERENCE_AT_LEAST`` on, and below ``DIFFERENCE_SURE`` only if the luma histogram moves too:
    fast motion shifts pixels, a cut changes which there are.
    """
    import numpy as np

    reach = max(round(frame_rate * MIN_SHOT_S), 2)
    differences = frame_differences(luma)
    candidates = np.flatnonzero(differences >= DIFFERENCE_AT_LEAST) + 1
    inside = [int(t) for t in candidates if reach <= t <= len(luma) - reach]
    return [t for t in inside if _is_peak(differences, t - 1, reach) and _is_change(luma, t, differences[t - 1])]


def shot_features(luma: "NDArray[np.uint8]", duration_s: float) -> dict[str, float]:
    """``SHOT_FEATURES`` of frames that span ``duration_s``; a clip without a cut is one shot.

    They are log10(1 + N) / 3 of N shots, the mean shot length in units of 30 s, and cuts per frame.
    """
    frames = len(luma)
    cuts = len(find_cuts(luma, frames / duration_s))
    shots = cuts + 1
    values = (math.log10(1 + shots) / 3, duration_s / shots / 30, cuts / frames)
    return dict(zip(SHOT_FEATURES, values, strict=True))


def frame_differences(luma: "NDArray[np.uint8]") -> "NDArray[np.float64]":
    """Mean absolute difference of each frame to the one before, grey levels: length frames − 1."""
    import numpy as np

    signed = luma.astype(np.int16)
    differences: NDArray[np.float64] = np.abs(np.diff(signed, axis=0)).mean(axis=(1, 2))
    return differences


def histogram_distance(one: "NDArray[np.uint8]", other: "NDArray[np.uint8]") -> float:
    """Half the L1 distance of two frames' luma histograms: 0 for equal ones, 1 for ones that share no bin."""
    import numpy as np

    first, second = (np.bincount(f.ravel() // (256 // HISTOGRAM_BINS), minlength=HISTOGRAM_BINS) for f in (one, other))
    return float(np.abs(first - second).sum() / (2 * one.size))


def _is_peak(differences: "NDArray[np.float64]", at: int, reach: int) -> bool:
    others = [*differences[max(at - reach + 1, 0) : at], *differences[at + 1 : at + reach]]
    return bool(differences[at] >= PEAK_RATIO * max(others, default=0.0))


def _is_change(luma: "NDArray[np.uint8]", at: int, difference: float) -> bool:
    return difference >= DIFFERENCE_SURE or histogram_distance(luma[at - 1], luma[at]) >= HISTOGRAM_AT_LEAST
