"""The family ``konvid-v1``: canonical-6 of a clip against its reference, saliency, and shots.

Each of the three has a module of its own: ``libvmaf``, ``saliency``, ``shots``. Here they become columns.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from vqa_assets.errors import ClipError
from vqa_assets.feature_names import CANONICAL_6, KONVID_V1, KONVID_V1_COLUMNS, MEASURED, VMAF
from vqa_assets.features.decoding import LONG_SIDE, DecodedClip, Frame, Picture, read_picture
from vqa_assets.features.family import Family, FrameRequest, Measured, pooled
from vqa_assets.features.ffmpeg import build_version, ffmpeg_binary
from vqa_assets.features.libvmaf import (
    ENCODE_RATE,
    RECOMPRESSION,
    Comparing,
    Comparison,
    can_be_compared,
    comparing,
)
from vqa_assets.features.saliency import saliency_moments
from vqa_assets.features.shots import shot_features

SAME_SHAPE_WITHIN = 1.5
"""A ladder clip whose aspect ratio differs from its reference's by more than this factor is turned, not scaled."""


@dataclass(frozen=True)
class KonvidV1(Family):
    """Columns: the five ``pooled_columns`` of canonical-6, ``saliency`` and ``saliency_var``; ``SHOT_FEATURES``;
    ``COMPARED``, of which ``vmaf`` is the mean over frames.

    ``feature_width, feature_height`` are the pixels compared, the reference's; ``feature_bitdepth`` the bits measured,
    8 or 10; ``feature_reference`` is ``ladder``, or ``recompressed`` where the clip is its own reference, and VMAF that
    of its re-encode. A picture too small for libvmaf has None for canonical-6 and VMAF. Saliency and shots are the
    clip's own, never its reference's.
    """

    algorithm: int = 6
    name = KONVID_V1.name
    columns = tuple(MEASURED[name] for name in KONVID_V1_COLUMNS)
    frames = FrameRequest(every=True, small_luma=True)
    compares = True
    # The re-encode spends its bits over the whole clip: a second encoded by itself has other losses.
    measures_windows = False

    def made_with(self) -> tuple[str, ...]:
        """The ffmpeg build that compares, the re-encode, and the size of the small frames."""
        ffmpeg = f"ffmpeg {build_version(ffmpeg_binary())}"
        return ffmpeg, f"{' '.join(RECOMPRESSION)} at {ENCODE_RATE} fps", f"luma {LONG_SIDE}"

    @contextmanager
    def open(self, clip: DecodedClip) -> "Iterator[_KonvidMeasurement]":
        """Start the comparison; its process has ended at the end of the block, whatever happens."""
        picture = None if clip.reference is None else read_picture(clip.reference)
        if picture is not None:
            _check_shape(clip.name, clip.picture, picture)
        comparison = Comparison(
            clip.name, clip.picture, clip.max_frames, clip.reference, picture, expected=clip.expected_frames
        )
        with ExitStack() as process:
            under_way = None
            if can_be_compared(comparison.compared):
                under_way = process.enter_context(comparing(comparison, ffmpeg_binary(), clip.stop))
            yield _KonvidMeasurement(clip, comparison, under_way, process)


@dataclass
class _KonvidMeasurement:
    clip: DecodedClip
    comparison: Comparison
    comparing: Comparing | None
    process: ExitStack

    def add(self, frame: Frame) -> None:
        """Hand the picture to libvmaf."""
        if self.comparing is not None:
            self.comparing.feed(frame.planes)

    def columns(self) -> Measured:
        """Canonical-6, saliency, shots, and what was compared."""
        scores: Mapping[str, Sequence[float]] = self.comparing.scores() if self.comparing is not None else {}
        # Other clips wait for the memory that the process held; saliency needs none of it.
        self.process.close()
        row: Measured = {}
        for name in CANONICAL_6:
            row |= pooled(name, scores.get(name, ()))
        small = self.clip.small
        saliency, saliency_var = saliency_moments(small.luma)
        row |= pooled("saliency", saliency) | pooled("saliency_var", saliency_var)
        row |= shot_features(small.luma, small.duration_s)
        ladder = self.comparison.reference is not None
        row[VMAF] = pooled(VMAF, scores.get(VMAF, ()))[VMAF]
        picture = self.comparison.compared
        width, height = picture.even
        return row | {
            "feature_width": width,
            "feature_height": height,
            "feature_bitdepth": picture.measured_bits,
            "feature_reference": "ladder" if ladder else "recompressed",
        }


def _check_shape(name: str, one: Picture, reference: Picture) -> None:
    ratio = (one.width * reference.height) / (one.height * reference.width)
    if not 1 / SAME_SHAPE_WITHIN <= ratio <= SAME_SHAPE_WITHIN:
        raise ClipError(
            f"{name}: not of its reference's shape",
            found=f"{one.width}×{one.height}, reference {reference.width}×{reference.height}",
            next_step="check that the reference is of the same content and orientation",
        )
