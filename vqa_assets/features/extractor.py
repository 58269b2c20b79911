"""The extractor that joins the families of features into one clip's row.

How a family is measured is in ``libvmaf``, ``saliency``, ``shots``; which clips are measured is in ``table``.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vqa_assets.errors import ClipError
from vqa_assets.feature_names import CANONICAL_6, pooled_columns
from vqa_assets.features.ffmpeg import build_version, ffmpeg_binary
from vqa_assets.features.frames import LONG_SIDE, Picture, SmallFrames, read_picture, read_small_frames
from vqa_assets.features.libvmaf import ENCODE_RATE, RECOMPRESSION, Comparison, compare
from vqa_assets.features.protocols import Measured
from vqa_assets.features.saliency import saliency_moments
from vqa_assets.features.shots import shot_features

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ALGORITHM = 1
"""Raised with every change in this room that can change a value."""

MAX_FRAMES = 1800
"""Features are of a clip's first frames, at most so many (a minute at 30 fps); ``n_feature_frames`` tells how many."""

SAME_SHAPE_WITHIN = 1.5
"""A ladder clip whose aspect ratio differs from its reference's by more than this factor is turned, not scaled."""


@dataclass(frozen=True)
class KonvidV1Extractor:
    """Canonical-6, saliency and shots, by PyAV and the ffmpeg of the imageio-ffmpeg wheel.

    Columns: per name in ``TIME_VARYING`` the five of ``pooled_columns``; ``SHOT_FEATURES``; ``n_feature_frames``
    (frames measured); ``feature_width, feature_height`` (pixels compared, the reference's) and ``feature_bitdepth``
    (bits compared, 8 or 10); ``feature_reference`` (``ladder``, or ``recompressed`` where the clip is its own
    reference). Saliency and shots are the clip's own, never its reference's.
    """

    max_frames: int = MAX_FRAMES

    @property
    def version(self) -> str:
        """This room's algorithm number, the ffmpeg and PyAV builds, the encode settings, and the sizes chosen."""
        import av

        tools = f"ffmpeg {build_version(ffmpeg_binary())}, av {av.__version__}"
        encode = f"{' '.join(RECOMPRESSION)} at {ENCODE_RATE} fps"
        return f"konvid-v1.{ALGORITHM}; {tools}; {encode}; first {self.max_frames} frames; luma {LONG_SIDE}"

    def extract(self, clip: Path, *, reference: Path | None = None, stop: threading.Event | None = None) -> Measured:
        """See ``protocols.FeatureExtractor.extract`` and the class."""
        binary = ffmpeg_binary()
        build_version(binary)
        small = read_small_frames(clip, self.max_frames, stop)
        comparison = _comparison(clip, small, reference, self.max_frames)
        canonical = compare(comparison, binary, stop)
        saliency, saliency_var = saliency_moments(small.luma)
        row: Measured = {}
        for name in CANONICAL_6:
            row |= pooled(name, canonical[name])
        row |= pooled("saliency", saliency) | pooled("saliency_var", saliency_var)
        row |= shot_features(small.luma, small.duration_s)
        return row | {
            "n_feature_frames": small.count,
            "feature_width": comparison.width,
            "feature_height": comparison.height,
            "feature_bitdepth": comparison.bit_depth,
            "feature_reference": "recompressed" if reference is None else "ladder",
        }


def pooled(feature: str, values: "Sequence[float] | NDArray[np.float64]") -> Measured:
    """``pooled_columns`` of one feature: mean (twice), 10th and 90th percentile (linear), SD (population).

    Frames whose value is not finite are left out; with none left the columns are None.
    """
    import numpy as np

    series = np.asarray(values, dtype=np.float64)
    series = series[np.isfinite(series)]
    if not series.size:
        return dict.fromkeys(pooled_columns(feature))
    p10, p90 = np.percentile(series, (10, 90))
    mean = series.mean()
    aggregates = (mean, mean, p10, p90, series.std())
    return {column: float(value) for column, value in zip(pooled_columns(feature), aggregates, strict=True)}


def _comparison(clip: Path, small: SmallFrames, reference: Path | None, max_frames: int) -> Comparison:
    if reference is None:
        return Comparison(clip, small.picture, small.count, max_frames)
    picture = read_picture(reference)
    if _turned(small.picture, picture):
        raise ClipError(
            f"{clip.name}: not of its reference's shape",
            found=f"{small.picture.width}×{small.picture.height}, reference {picture.width}×{picture.height}",
            next_step="check that the reference is of the same content and orientation",
        )
    return Comparison(reference, picture, small.count, max_frames, clip)


def _turned(one: Picture, other: Picture) -> bool:
    ratio = (one.width * other.height) / (one.height * other.width)
    return not 1 / SAME_SHAPE_WITHIN <= ratio <= SAME_SHAPE_WITHIN
