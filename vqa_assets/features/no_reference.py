"""The family ``nr-v1``: what a clip tells by itself, of frames sampled evenly while it is decoded.

What one picture tells is in ``distortions`` and ``natural_scenes``.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from vqa_assets.feature_names import MEASURED, NO_REFERENCE, NO_REFERENCE_CLIP, NR_V1, NR_V1_COLUMNS
from vqa_assets.features import distortions
from vqa_assets.features.decoding import LONG_SIDE, DecodedClip, Frame, SmallFrames, small_size
from vqa_assets.features.family import Family, FrameRequest, Measured, pooled
from vqa_assets.features.natural_scenes import nss_features

SAMPLES_PER_S = 2.0
"""Frames measured a second of video."""

SAMPLES_AT_LEAST = 8
"""Frames measured of a short clip, as far as it has so many."""

COLOUR_LONG_SIDE = 256
"""Pixels of the longer side at which colourfulness is measured; noise in chroma is no colour."""

_LIMITED = (16, 235)


@dataclass(frozen=True)
class NrV1(Family):
    """Columns: the five ``pooled_columns`` of each name in ``NO_REFERENCE``; ``NO_REFERENCE_CLIP``.

    All of them are the clip's own, never its reference's, and of the clip as it is shown.
    """

    algorithm: int = 5
    name = NR_V1.name
    columns = tuple(MEASURED[name] for name in NR_V1_COLUMNS)
    frames = FrameRequest(per_s=SAMPLES_PER_S, at_least=SAMPLES_AT_LEAST, and_next=True, small_luma=True)
    # Bits a pixel too: those of one second say more of where key frames lie than of quality.
    of_file = NO_REFERENCE_CLIP

    def made_with(self) -> tuple[str, ...]:
        """How frames are sampled, and the size of the small frames."""
        return f"{SAMPLES_PER_S:g} samples a second, {SAMPLES_AT_LEAST} at least", f"luma {LONG_SIDE}"

    @contextmanager
    def open(self, clip: DecodedClip) -> "Iterator[NoReference]":
        """Nothing to begin."""
        yield NoReference(clip, self.frames.step(clip.source.rate, clip.expected_frames))


@dataclass
class NoReference:
    """Measures every ``step``-th frame and its change to the next; frames between may be handed over or left out.

    ``values`` has one value a sampled frame and feature; of ``flicker``, which costs nothing, one of every frame.
    """

    clip: DecodedClip
    step: int
    values: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in NO_REFERENCE})
    _before: NDArray[np.float32] | None = None

    def add(self, frame: Frame) -> None:
        """Take the next frame."""
        sampled = frame.index % self.step == 0
        if self._before is None and not sampled:
            return
        codes = frame.planes[0]
        luma = full_range_table(frame.picture.measured_bits, frame.full_range)[codes]
        if self._before is not None:
            self.values["ti"].append(distortions.temporal_information(self._before, luma))
        self._before = luma if sampled else None
        if sampled:
            for name, value in _picture_features(frame, luma).items():
                self.values[name].append(value)

    def columns(self) -> Measured:
        """All values pooled, and the clip's own geometry."""
        small = self.clip.small
        row: Measured = {}
        for name, values in self._series(small).items():
            row |= pooled(name, values)
        return row | {
            "bits_per_pixel": self.clip.source.bits_per_pixel,
            "nr_width": small.picture.width,
            "nr_height": small.picture.height,
            "nr_framerate": small.frame_rate,
            "nr_duration_s": small.duration_s,
        }

    def _series(self, small: SmallFrames) -> "dict[str, list[float] | NDArray[np.float64]]":
        means = small.luma.mean(axis=(1, 2), dtype=np.float64)
        # A clip of one frame does not change: its temporal information is 0, not missing.
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


def _picture_features(frame: Frame, luma: NDArray[np.float32]) -> dict[str, float]:
    y, u, v = frame.planes
    bits = frame.picture.measured_bits
    saturation, saturation_spread = distortions.saturation(u, v, bits)
    spread = distortions.Spread()
    spread.add(luma)
    small = frame.scaled(*small_size(frame.picture.width, frame.picture.height, COLOUR_LONG_SIDE), "rgb24")
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
        "colourfulness": distortions.colourfulness(small),
        **nss_features(luma),
    }
