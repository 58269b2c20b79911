"""The extractor that decodes a clip once and joins the families of features into its row.

How a family is measured is in ``libvmaf``, ``saliency``, ``shots``, ``no_reference``; which clips are measured is in
``table``.
"""

import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vqa_assets.corpora.raw_video import RawVideo
from vqa_assets.errors import ClipError, SettingsError
from vqa_assets.feature_names import CANONICAL_6, KONVID_V1, NR_V1, pooled_columns
from vqa_assets.features.colour import primaries_name, transfer_name
from vqa_assets.features.decoding import ClipFile, Picture, Shown, Source, opened, read_picture
from vqa_assets.features.ffmpeg import build_version, ffmpeg_binary
from vqa_assets.features.frames import LONG_SIDE, SmallFrames, small_luma
from vqa_assets.features.libvmaf import (
    ENCODE_RATE,
    RECOMPRESSION,
    VMAF,
    Comparing,
    Comparison,
    can_be_compared,
    comparing,
)
from vqa_assets.features.near_duplicates import COLUMN as PHASH_COLUMN
from vqa_assets.features.near_duplicates import perceptual_hash
from vqa_assets.features.no_reference import SAMPLES_AT_LEAST, SAMPLES_PER_S, NoReference, sample_step
from vqa_assets.features.protocols import Measured
from vqa_assets.features.saliency import saliency_moments
from vqa_assets.features.shots import shot_features

ALGORITHM = 5
"""Raised with every change in this room that can change a value."""

MAX_FRAMES = 1800
"""Features are of a clip's first frames, at most so many (a minute at 30 fps); ``n_feature_frames`` tells how many."""

SAME_SHAPE_WITHIN = 1.5
"""A ladder clip whose aspect ratio differs from its reference's by more than this factor is turned, not scaled."""

FEATURE_SETS = (KONVID_V1.name, NR_V1.name)

Scores = dict[str, list[float]]


@dataclass(frozen=True)
class ClipExtractor:
    """The feature sets ``konvid-v1`` and ``nr-v1``, by PyAV and the ffmpeg of the imageio-ffmpeg wheel.

    Columns of ``konvid-v1``: the five ``pooled_columns`` of canonical-6, ``saliency`` and ``saliency_var``;
    ``SHOT_FEATURES``; ``feature_width, feature_height`` (pixels compared, the reference's), ``feature_bitdepth`` (bits
    measured, 8 or 10) and ``feature_reference`` (``ladder``, or ``recompressed`` where the clip is its own reference);
    with a reference also ``vmaf``, its mean over frames.
    A picture too small for libvmaf has None for canonical-6. Columns of ``nr-v1``: the five of each name in
    ``NO_REFERENCE``; ``NO_REFERENCE_CLIP``. Of both: ``n_feature_frames`` (frames measured), ``clip_transfer``,
    ``clip_primaries``, ``clip_bitdepth``, ``clip_damaged`` (frames), ``clip_interlaced``, and ``clip_phash`` with
    ``perceptual_hash``. All but canonical-6 are the clip's own, never its reference's.
    """

    max_frames: int = MAX_FRAMES
    feature_sets: tuple[str, ...] = FEATURE_SETS
    perceptual_hash: bool = False

    def __post_init__(self) -> None:
        unknown = sorted(set(self.feature_sets) - set(FEATURE_SETS))
        if unknown or not self.feature_sets:
            raise SettingsError(
                "feature_sets", found=", ".join(unknown) or "none", expected=f"some of {', '.join(FEATURE_SETS)}"
            )

    @property
    def version(self) -> str:
        """This room's algorithm number, the ffmpeg and PyAV builds, the encode settings, and the sizes chosen."""
        import av

        tools = f"ffmpeg {build_version(ffmpeg_binary())}, av {av.__version__}"
        encode = f"{' '.join(RECOMPRESSION)} at {ENCODE_RATE} fps"
        samples = f"{SAMPLES_PER_S:g} samples a second, {SAMPLES_AT_LEAST} at least"
        parts = (f"{' + '.join(s for s in FEATURE_SETS if s in self.feature_sets)}.{ALGORITHM}", tools, encode, samples)
        hashed = ("perceptual hash",) if self.perceptual_hash else ()
        return "; ".join((*parts, f"first {self.max_frames} frames", f"luma {LONG_SIDE}", *hashed))

    def extract(
        self,
        clip: Path,
        *,
        reference: Path | None = None,
        raw: RawVideo | None = None,
        stop: threading.Event | None = None,
    ) -> Measured:
        """See ``protocols.FeatureExtractor.extract`` and the class."""
        build_version(ffmpeg_binary())
        beside = None if reference is None else ClipFile(reference, raw)
        with opened(ClipFile(clip, raw)) as source:
            return _Pass(self, source, beside, stop).row()

    @property
    def compares(self) -> bool:
        """Whether canonical-6, saliency and shots are measured."""
        return KONVID_V1.name in self.feature_sets

    @property
    def samples(self) -> bool:
        """Whether ``nr-v1`` is measured."""
        return NR_V1.name in self.feature_sets


@dataclass
class _Pass:
    """One clip while it is decoded."""

    settings: ClipExtractor
    source: Source
    reference: ClipFile | None
    stop: threading.Event | None
    small: list[NDArray[np.uint8]] = field(default_factory=list)
    comparison: Comparison | None = None
    comparing: Comparing | None = None

    def row(self) -> Measured:
        """All columns; the comparison's process has ended whatever happens."""
        sampled = NoReference(sample_step(self.source.rate, self._expected))
        with ExitStack() as stack:
            for shown in self.source.frames(self.settings.max_frames, self.stop):
                self._take(shown, sampled, stack)
            scores = self.comparing.scores() if self.comparing is not None else {}
        small = SmallFrames(shown.picture, np.stack(self.small), self.source.duration_s)
        row: Measured = {}
        if self.settings.compares:
            row |= _konvid_v1(scores, small) | self._compared(scores, small)
        if self.settings.samples:
            row |= _nr_v1(sampled, small, self.source)
        if self.settings.perceptual_hash:
            row[PHASH_COLUMN] = perceptual_hash(small.luma)
        return row | _described(small, self.source)

    @property
    def _expected(self) -> int:
        return min(self.source.expected_frames, self.settings.max_frames)

    def _take(self, shown: Shown, sampled: NoReference, stack: ExitStack) -> None:
        if not self.small and self.settings.compares:
            self._begin_comparison(shown, stack)
        self.small.append(small_luma(shown))
        if self.comparing is not None:
            self.comparing.feed(shown.planes)
        if self.settings.samples:
            sampled.add(shown)

    def _begin_comparison(self, shown: Shown, stack: ExitStack) -> None:
        picture = None if self.reference is None else read_picture(self.reference)
        if picture is not None:
            _check_shape(self.source.clip.name, shown.picture, picture)
        name, most = self.source.clip.name, self.settings.max_frames
        self.comparison = Comparison(name, shown.picture, most, self.reference, picture, self._expected)
        if can_be_compared(self.comparison.compared):
            self.comparing = stack.enter_context(comparing(self.comparison, ffmpeg_binary(), self.stop))

    def _compared(self, scores: Scores, small: SmallFrames) -> Measured:
        """What was compared; VMAF says something of the clip only against its own reference."""
        against = {} if self.reference is None else {VMAF: pooled(VMAF, scores.get(VMAF, ()))[VMAF]}
        picture = small.picture if self.comparison is None else self.comparison.compared
        width, height = picture.even
        return against | {
            "feature_width": width,
            "feature_height": height,
            "feature_bitdepth": picture.measured_bits,
            "feature_reference": "recompressed" if self.reference is None else "ladder",
        }


def _konvid_v1(scores: Scores, small: SmallFrames) -> Measured:
    row: Measured = {}
    for name in CANONICAL_6:
        row |= pooled(name, scores.get(name, ()))
    saliency, saliency_var = saliency_moments(small.luma)
    row |= pooled("saliency", saliency) | pooled("saliency_var", saliency_var)
    return row | shot_features(small.luma, small.duration_s)


def _nr_v1(sampled: NoReference, small: SmallFrames, source: Source) -> Measured:
    row: Measured = {}
    for name, values in sampled.series(small).items():
        row |= pooled(name, values)
    return row | {
        "bits_per_pixel": source.bits_per_pixel,
        "nr_width": small.picture.width,
        "nr_height": small.picture.height,
        "nr_framerate": small.frame_rate,
        "nr_duration_s": small.duration_s,
    }


def _described(small: SmallFrames, source: Source) -> Measured:
    return {
        "n_feature_frames": small.count,
        "clip_transfer": transfer_name(source.tags["transfer"]),
        "clip_primaries": primaries_name(source.tags["primaries"]),
        "clip_bitdepth": small.picture.bit_depth,
        "clip_damaged": source.damaged,
        "clip_interlaced": source.tags["interlaced"],
    }


def pooled(feature: str, values: Sequence[float] | NDArray[np.float64]) -> Measured:
    """``pooled_columns`` of one feature: mean (twice), 10th and 90th percentile (linear), SD (population).

    Frames whose value is not finite are left out; with none left the columns are None.
    """
    series = np.asarray(values, dtype=np.float64)
    series = series[np.isfinite(series)]
    if not series.size:
        return dict.fromkeys(pooled_columns(feature))
    p10, p90 = np.percentile(series, (10, 90))
    mean = series.mean()
    aggregates = (mean, mean, p10, p90, series.std())
    return {column: float(value) for column, value in zip(pooled_columns(feature), aggregates, strict=True)}


def _check_shape(name: str, one: Picture, reference: Picture) -> None:
    ratio = (one.width * reference.height) / (one.height * reference.width)
    if not 1 / SAME_SHAPE_WITHIN <= ratio <= SAME_SHAPE_WITHIN:
        raise ClipError(
            f"{name}: not of its reference's shape",
            found=f"{one.width}×{one.height}, reference {reference.width}×{reference.height}",
            next_step="check that the reference is of the same content and orientation",
        )
