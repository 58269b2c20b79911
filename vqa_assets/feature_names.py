"""Names of features: the columns of every shipped family, the schemas of heads, and the normalisers of their columns.

A column is stated here once, light enough for tables and heads to import. How a family measures it is in
``features/``; how a head reads it, and every schema by name, is in ``heads/``.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

CANONICAL_6 = ("adm2", "vif_scale0", "vif_scale1", "vif_scale2", "vif_scale3", "motion2")
"""libvmaf's six elementary features, in the order of every head."""

VMAF = "vmaf"
"""The score of libvmaf's default model, which comes with these features."""

TIME_VARYING = (*CANONICAL_6, "saliency", "saliency_var")
"""Features with one value a frame; their table columns are ``pooled_columns``."""

_SHOT = "shot_"
SHOT_FEATURES = ("shot_count_norm", "shot_mean_len_norm", "shot_cut_density")
"""Features with one value a clip."""

_PAIRS = tuple(f"{way}_{what}" for way in ("h", "v", "d1", "d2") for what in ("shape", "mean", "left", "right"))
NSS_OF_SCALE = ("shape", "variance", *_PAIRS)
"""BRISQUE's 18 features of one scale: MSCN coefficients, then products of neighbours in four directions."""

NSS = tuple(f"nss{scale}_{name}" for scale in (1, 2) for name in NSS_OF_SCALE)
"""BRISQUE's 36 features, of the picture at its own size and at half of it."""

NO_REFERENCE = (
    *("si", "ti", "blockiness", "blur", "noise", "entropy", "luma", "contrast", "saturation", "saturation_spread"),
    *("colourfulness", "flicker"),
    *NSS,
)
"""Features of a clip by itself with one value a sampled frame; their table columns are ``pooled_columns``."""

NO_REFERENCE_CLIP = ("bits_per_pixel", "nr_width", "nr_height", "nr_framerate", "nr_duration_s")
"""Features of a clip by itself with one value a clip; a corpus may have one value of them."""

TRANSFERS = ("pq", "hlg", "sdr", "unknown")
"""What a clip's transfer function can be; ``unknown`` where it declares none."""

AGGREGATES = ("mean", "p10", "p90", "std")
"""How a time-varying feature is pooled over frames; ``<f>`` alone is the mean."""


def pooled_columns(feature: str) -> tuple[str, ...]:
    """The five table columns of a time-varying feature: itself (its mean), then one per aggregate."""
    return (feature, *(f"{feature}_{a}" for a in AGGREGATES))


@dataclass(frozen=True)
class FeatureColumn:
    """A column that a family measures: its name, its kind, what it means, and what holds for every value of it.

    A ``vector`` is a list of float32, as long in every row.
    """

    name: str
    kind: Literal["string", "integer", "number", "vector"]
    description: str
    nullable: bool = False
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()


MEASURED: Mapping[str, FeatureColumn] = MappingProxyType(
    {
        column.name: column
        for column in (
            *(
                FeatureColumn(name, "number", f"{feature} over the clip's frames", nullable=True)
                for feature in (*TIME_VARYING, *NO_REFERENCE)
                for name in pooled_columns(feature)
            ),
            *(
                FeatureColumn(name, "number", "One value a clip", nullable=True)
                for name in (*SHOT_FEATURES, *NO_REFERENCE_CLIP)
            ),
            FeatureColumn("n_feature_frames", "integer", "Frames measured", low=1),
            FeatureColumn("feature_width", "integer", "Width compared at, in pixels", nullable=True, low=1),
            FeatureColumn("feature_height", "integer", "Height compared at, in pixels", nullable=True, low=1),
            FeatureColumn("feature_bitdepth", "integer", "Bits a sample", nullable=True, low=8, high=16),
            FeatureColumn(
                "feature_reference",
                "string",
                "What the clip is compared with",
                nullable=True,
                choices=("ladder", "recompressed"),
            ),
            FeatureColumn(
                VMAF,
                "number",
                "VMAF: against the ladder's reference, or of the clip's re-encode against the clip",
                nullable=True,
                low=0,
                high=100,
            ),
            FeatureColumn("clip_transfer", "string", "Transfer function", choices=TRANSFERS),
            FeatureColumn("clip_primaries", "string", "Colour primaries, FFmpeg's name"),
            FeatureColumn("clip_bitdepth", "integer", "Bits a luma sample as coded", low=1, high=32),
            FeatureColumn("clip_damaged", "integer", "Frames that the decoder had to patch up", low=0),
            FeatureColumn("clip_interlaced", "integer", "Whether the first frame is interlaced", low=0, high=1),
            FeatureColumn("clip_phash", "string", "Perceptual hash of five frames, hexadecimal"),
        )
    }
)
"""Every column of the shipped families by its name, in the order of the feature table."""

COMPARED = ("feature_width", "feature_height", "feature_bitdepth", "feature_reference", VMAF)
"""What canonical-6 was measured on, and VMAF."""

KONVID_V1_COLUMNS = (*(c for feature in TIME_VARYING for c in pooled_columns(feature)), *SHOT_FEATURES, *COMPARED)
NR_V1_COLUMNS = (*(c for feature in NO_REFERENCE for c in pooled_columns(feature)), *NO_REFERENCE_CLIP)
CLIP_COLUMNS = (
    *("n_feature_frames", "clip_transfer", "clip_primaries", "clip_bitdepth", "clip_damaged", "clip_interlaced"),
)
PERCEPTUAL_HASH_COLUMNS = ("clip_phash",)
"""Which columns each shipped family measures; a head reads those of its schema."""


@dataclass(frozen=True)
class Scaled:
    """How a column is made from one of the table where the table does not have it: ``(source − zero) / unit``."""

    source: str
    unit: float
    zero: float = 0.0


NORMALISED: Mapping[str, Scaled] = MappingProxyType(
    {
        "distorted_width_norm": Scaled("width", 3840),
        "distorted_height_norm": Scaled("height", 2160),
        "reference_width_norm": Scaled("feature_width", 3840),
        "reference_height_norm": Scaled("feature_height", 2160),
        "duration_s_norm": Scaled("duration_s", 60),
        "n_feature_frames_norm": Scaled("n_feature_frames", 1800),
        "feature_bitdepth_norm": Scaled("feature_bitdepth", 4, zero=8),
    }
)

DISPLAY_COLUMNS = (
    "display_peak_luminance_nits_norm",
    "display_black_luminance_nits_norm",
    "display_contrast_ratio_log_norm",
    "display_ambient_lux_norm",
    "display_bt2020_coverage",
    "display_p3_coverage",
    "display_panel_oled",
    "display_panel_qled",
    "display_panel_lcd",
    "display_local_dimming",
    "display_tone_mapping_dynamic",
)
"""What a display and its room say, in the order of the heads that read it."""


BACKBONE_PREFIX = "backbone:"
"""Begins the name of a backbone's family, where families are named and where a head's columns are."""

_BLOCK = re.compile(r"(?P<column>.+)\[0:(?P<size>[1-9][0-9]{0,6})\]")


@dataclass(frozen=True)
class VectorColumn:
    """A column of vectors, which a head reads as a block of ``size`` numbers; 0 until a table has told it."""

    name: str
    size: int = 0

    @property
    def block(self) -> str:
        """The whole block as ``feature_order`` has it: ``<column>[0:1280]``."""
        return f"{self.name}[0:{self.size}]"

    @property
    def numbers(self) -> tuple[str, ...]:
        """A name for each number: ``<column>[17]``."""
        return tuple(f"{self.name}[{number}]" for number in range(self.size))


@dataclass(frozen=True)
class FeatureSchema:
    """The columns a head reads, in order; ``measured`` are those that say what a picture looks like.

    ``columns`` are a name for each number that a head is fed: first ``scalars``, the columns of one number a row, then
    the blocks of ``vectors``.
    """

    name: str
    columns: tuple[str, ...]
    measured: frozenset[str]
    vectors: tuple[VectorColumn, ...] = ()

    @property
    def scalars(self) -> tuple[str, ...]:
        """The columns of a table that hold one number a row."""
        return self.columns[: len(self.columns) - sum(vector.size for vector in self.vectors)]

    @property
    def feature_order(self) -> tuple[str, ...]:
        """The same as people and manifests read it: a block is one entry, ``<column>[0:1280]``."""
        return (*self.scalars, *(vector.block for vector in self.vectors))

    @property
    def must_vary(self) -> frozenset[str]:
        """The columns of which one value in all rows means that they were measured wrongly.

        Shots are none of them: a corpus of clips without a cut is an honest one.
        """
        return frozenset(name for name in self.measured if not name.startswith(_SHOT))

    def block_of(self, vector: VectorColumn) -> slice:
        """Where a vector's numbers stand among ``columns``."""
        before = sum(one.size for one in self.vectors[: self.vectors.index(vector)])
        first = len(self.scalars) + before
        return slice(first, first + vector.size)

    def with_vectors(self, vectors: Sequence[VectorColumn]) -> "FeatureSchema":
        """The same scalars with these blocks after them."""
        numbers = [number for vector in vectors for number in vector.numbers]
        # A vector is measured as a whole: which of its numbers never vary is nobody's fault.
        return FeatureSchema(self.name, (*self.scalars, *numbers), self.measured | set(numbers), tuple(vectors))


def schema_in_order(name: str, feature_order: Sequence[str]) -> FeatureSchema:
    """The schema whose ``feature_order`` this is, with every scalar before the first block; nothing in it is measured
    but vectors."""
    blocks = {entry: found for entry in feature_order if (found := _BLOCK.fullmatch(entry))}
    scalars = FeatureSchema(name, tuple(entry for entry in feature_order if entry not in blocks), frozenset())
    return scalars.with_vectors([VectorColumn(one["column"], int(one["size"])) for one in blocks.values()])


KONVID_V1 = FeatureSchema(
    name="konvid-v1",
    columns=(*CANONICAL_6, "saliency_mean", "saliency_var", *SHOT_FEATURES),
    measured=frozenset((*CANONICAL_6, "saliency_mean", "saliency_var", *SHOT_FEATURES)),
)

_NR_TIME_VARYING = tuple(f"{feature}_{a}" for feature in NO_REFERENCE for a in AGGREGATES)

NR_V1 = FeatureSchema(
    name="nr-v1",
    columns=(*_NR_TIME_VARYING, *NO_REFERENCE_CLIP),
    measured=frozenset(_NR_TIME_VARYING),
)

FR_V2 = FeatureSchema(name="fr-v2", columns=(*CANONICAL_6, "crf_norm", "preset_rank"), measured=frozenset(CANONICAL_6))
"""One encode against its source: the six means, CRF / 63, and ``preset_rank``."""


_X264_PRESETS = (
    *("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo"),
)
_SLOWEST = len(_X264_PRESETS) - 1
_WORDS = {**{name: rank for rank, name in enumerate(_X264_PRESETS)}, "speed": 2, "balanced": 5, "quality": 7}


def crf_norm(crf: float) -> float:
    """CRF in units of 63, the largest of AV1 and VP9."""
    return crf / 63


def preset_rank(preset: str) -> float | None:
    """How slow a preset is, from 0 (fastest) to 9 (slowest); None for a word that no known encoder has.

    x264's and x265's names count from ``ultrafast`` to ``placebo``; NVENC's ``p1`` to ``p7`` and SVT-AV1's 13 to 0 are
    spread evenly over the same range.
    """
    word = preset.strip().lower()
    if word in _WORDS:
        return float(_WORDS[word])
    number = word.removeprefix("p")
    if not (number.isascii() and number.isdecimal()):
        return None
    if word != number:
        return (int(number) - 1) / 6 * _SLOWEST if 1 <= int(number) <= 7 else None
    return (1 - int(number) / 13) * _SLOWEST if int(number) <= 13 else None
