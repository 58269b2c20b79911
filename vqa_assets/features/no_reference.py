"""``nr-v1``: what a clip tells by itself, of frames sampled evenly while it is decoded.

What one picture tells is in ``distortions``, ``natural_scenes`` and ``colour``; pooling over frames is in
``extractor``.
"""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from vqa_assets.feature_names import NO_REFERENCE
from vqa_assets.features import colour, distortions
from vqa_assets.features.decoding import Shown
from vqa_assets.features.frames import SmallFrames, small_size
from vqa_assets.features.natural_scenes import nss_features

SAMPLES_PER_S = 2.0
"""Frames measured a second of video."""

SAMPLES_AT_LEAST = 8
"""Frames measured of a short clip, as far as it has so many."""

COLOUR_LONG_SIDE = 256
"""Pixels of the longer side at which colourfulness is measured; noise in chroma is no colour."""

_LIMITED = (16, 235)


def sample_step(rate: float, expected_frames: int) -> int:
    """Every which frame is measured, the first one always; ``expected_frames`` is 0 where it is not known."""
    step = max(round(rate / SAMPLES_PER_S), 1)
    return min(step, max(expected_frames // SAMPLES_AT_LEAST, 1)) if expected_frames else step


@dataclass
class NoReference:
    """Takes each frame as it is decoded, and measures every ``step``-th and its change to the next.

    One value a sampled frame and feature; of ``flicker``, which costs nothing, one of every frame.
    """

    step: int
    values: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in NO_REFERENCE})
    _seen: int = 0
    _before: NDArray[np.float32] | None = None

    def add(self, shown: Shown) -> None:
        """Take the next frame."""
        sampled = self._seen % self.step == 0
        self._seen += 1
        if self._before is None and not sampled:
            return
        codes = shown.planes[0]
        luma = full_range_table(shown.picture.measured_bits, shown.full_range)[codes]
        if self._before is not None:
            self.values["ti"].append(distortions.temporal_information(self._before, luma))
        self._before = luma if sampled else None
        if sampled:
            for name, value in _picture_features(shown, luma).items():
                self.values[name].append(value)

    def series(self, small: SmallFrames) -> "dict[str, list[float] | NDArray[np.float64]]":
        """All values by feature, the clip's small frames being known too."""
        means = small.luma.mean(axis=(1, 2), dtype=np.float64)
        return {**self.values, "ti": self.values["ti"] or [0.0], "flicker": distortions.flicker(means)}


@lru_cache(maxsize=4)
def full_range_table(bit_depth: int, full_range: bool) -> NDArray[np.float32]:
    """Luma code → grey level on 0–255, float32: limited range stretched and rounded down, as ffmpeg's ``siti`` does."""
    scale = 1 << (bit_depth - 8)
    codes = np.arange(256 * scale)
    if not full_range:
        low, high = (level * scale for level in _LIMITED)
        codes = (256 * scale - 1) * np.clip(codes - low, 0, high - low) // (high - low)
    table: NDArray[np.float32] = (codes / scale).astype(np.float32)
    return table


def _picture_features(shown: Shown, luma: NDArray[np.float32]) -> dict[str, float]:
    y, u, v = shown.planes
    bits = shown.picture.measured_bits
    saturation, saturation_spread = colour.saturation(u, v, bits)
    spread = distortions.Spread()
    spread.add(luma)
    small = shown.scaled(*small_size(shown.picture.width, shown.picture.height, COLOUR_LONG_SIDE), "rgb24")
    return {
        "si": distortions.spatial_information(luma),
        "blockiness": distortions.blockiness(luma),
        "blur": distortions.blur(luma),
        "noise": distortions.noise(luma),
        "entropy": distortions.entropy(y, bits),
        "luma": spread.mean,
        "contrast": spread.deviation,
        "saturation": saturation,
        "saturation_spread": saturation_spread,
        "colourfulness": colour.colourfulness(small),
        **nss_features(luma),
    }
