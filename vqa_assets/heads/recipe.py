"""What each head is: its corpora, features, gate and purpose, and the settings one training run takes.

Also what a head must say about the corpora it was trained on. A gate's numbers live here and never move. How a head is
trained and judged is in the other modules. Stdlib only, so that the definitions load nothing heavy.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import PurePath
from types import MappingProxyType

from vqa_assets.corpora import CORPORA, ENCODE_GRID_SOURCES
from vqa_assets.corpora.corpus import REDISTRIBUTION
from vqa_assets.errors import SettingsError, TrainingError
from vqa_assets.feature_names import (
    CANONICAL_6,
    DISPLAY_COLUMNS,
    FR_V2,
    KONVID_V1,
    NO_REFERENCE_CLIP,
    NORMALISED,
    NR_V1,
    FeatureSchema,
)

ENCODER_VOCAB = ("ugc-mixed",)
"""What ``encoder_onehot`` stands for, in order: user-generated clips come through encoders nobody recorded."""
ENCODER_VOCAB_VERSION = 4

HOLDOUT_SHARE = 0.10
"""The share of clips held out by content before anything else."""

OWN_COLUMNS = "own-columns"
"""The schema's name where a run names its columns itself."""

QUANTILES = ("p10", "p90", "std")
"""The aggregates that ``chug-hdr-wide-v1`` reads beside the mean."""

CHUG_METADATA = ("chug_bitrate_mbps", "chug_orientation_portrait", "chug_ref", *NORMALISED)
"""What CHUG's ladder and the clips' geometry say, in the order of its heads."""

_CHUG_MEASURED = (*CANONICAL_6, *(f"{name}_{pooled}" for name in CANONICAL_6 for pooled in QUANTILES))
CHUG_HDR_WIDE_V1 = FeatureSchema(
    name="chug-hdr-wide-v1", columns=(*_CHUG_MEASURED, *CHUG_METADATA), measured=frozenset(_CHUG_MEASURED)
)
CHUG_HDR_DISPLAY_V1 = FeatureSchema(
    name="chug-hdr-display-v1",
    columns=(*CHUG_HDR_WIDE_V1.columns, *DISPLAY_COLUMNS),
    measured=CHUG_HDR_WIDE_V1.measured,
)

_SCHEMAS = (KONVID_V1, NR_V1, CHUG_HDR_WIDE_V1, CHUG_HDR_DISPLAY_V1, FR_V2)
FEATURE_SCHEMAS: Mapping[str, FeatureSchema] = MappingProxyType({s.name: s for s in _SCHEMAS})
"""Every schema by its name."""

_SMALL = 5_000
_LABELS = ("mos", "mean_mos", "raw_mos", "dmos", "score", "quality")
_METADATA = (
    *(f"{corpus.stem}_" for corpus in CORPORA.values() if corpus.extra_columns),
    *("display_", "distorted_", "reference_", "duration_s", "feature_", "n_feature_", "width", "height"),
)
"""How the names of columns begin that describe a clip, its ladder or its display: they may be constant."""


@dataclass(frozen=True)
class Gate:
    """Thresholds over folds, RMSE on 1–5; None asks nothing.

    PLCC spread is the largest minus the smallest fold's; ``lowest_plcc`` is asked of every fold.
    """

    mean_plcc: float | None = 0.85
    mean_srocc: float | None = 0.82
    mean_rmse: float | None = 0.45
    plcc_spread: float | None = 0.005
    lowest_plcc: float | None = None


SMOKE_GATE = Gate(mean_plcc=0.75, mean_srocc=None, mean_rmse=None, plcc_spread=None)
"""What a run on synthetic rows must reach: that the machinery learns at all."""


@dataclass(frozen=True)
class Target:
    """What a head predicts: the name of its output and the range, ``low`` to ``low + span``."""

    name: str
    low: float
    span: float


MOS_TARGET = Target("mos", 1.0, 4.0)
VMAF_TARGET = Target("vmaf", 0.0, 100.0)
"""A computed score: the target of a full-reference head, never of a MOS head."""


@dataclass(frozen=True)
class CorpusFacts:
    """One corpus as a head's manifest and card name it. ``redistribution`` is a key of ``REDISTRIBUTION``.

    ``opinion_scores`` is False for a corpus whose target is a computed score (VMAF): no MOS head is trained on it.
    """

    title: str
    licence: str
    citation: str
    version: str
    redistribution: str
    opinion_scores: bool = True

    def __post_init__(self) -> None:
        if self.redistribution not in REDISTRIBUTION:
            words = ", ".join(REDISTRIBUTION)
            raise TrainingError(f"redistribution of {self.title}", found=repr(self.redistribution), expected=words)


UNDECLARED = CorpusFacts(
    title="(not declared)",
    licence="not declared",
    citation="not declared",
    version="not declared",
    redistribution="unknown",
)
"""What stands for a corpus that has a table and no declaration."""


@dataclass(frozen=True)
class HeadRecipe:
    """The declaration of one head. ``name`` is its id and its file's stem; ``feature_schema`` the default one.

    ``display_schema`` is what a display profile makes of it, where the head can read one. A head of ``every_corpus``
    is also judged on each corpus by one trained on the others. ``least_sources`` folds by source, and asks for so many.
    """

    name: str
    title: str
    corpora: tuple[str, ...]
    feature_schema: str
    intended_use: str
    not_for: tuple[str, ...]
    gate: Gate = Gate()
    kind: str = "nr-mos"
    display_schema: str | None = None
    target: Target = MOS_TARGET
    every_corpus: bool = False
    least_sources: int | None = None


_NOT_FOR = (
    "selecting or rejecting the work of single people",
    "content unlike the corpora it was trained on, before it was checked on such content",
    "comparing encoders by differences smaller than its RMSE",
)

KONVID_MOS_HEAD_V1 = HeadRecipe(
    name="konvid_mos_head_v1",
    title="KonViD MOS head",
    corpora=("konvid-1k", "konvid-150k"),
    feature_schema=KONVID_V1.name,
    intended_use="the mean opinion score of user-generated clips in the wild, from pooled features",
    not_for=_NOT_FOR,
)

CHUG_HDR_MOS_HEAD_V1 = HeadRecipe(
    name="chug_hdr_mos_head_v1",
    title="CHUG HDR MOS head",
    corpora=("chug",),
    feature_schema=CHUG_HDR_WIDE_V1.name,
    display_schema=CHUG_HDR_DISPLAY_V1.name,
    intended_use="the mean opinion score of user-generated HDR clips on a bitrate ladder, from features against the "
    "ladder's reference and the ladder's metadata",
    not_for=(*_NOT_FOR, "SDR clips, or clips without a reference of the same content"),
)

UNIFIED_SCHEMA = NR_V1.name
"""The columns that heads over all corpora read: no reference is needed for them."""

UNIFIED_MOS_HEAD_V1 = HeadRecipe(
    name="unified_mos_head_v1",
    title="Unified MOS head",
    corpora=tuple(CORPORA),
    feature_schema=UNIFIED_SCHEMA,
    every_corpus=True,
    intended_use="the mean opinion score of clips of any kind its corpora hold, from features that need no reference",
    not_for=_NOT_FOR,
)

FR_REGRESSOR_V2 = HeadRecipe(
    name="fr_regressor_v2",
    title="Full-reference regressor",
    corpora=tuple(ENCODE_GRID_SOURCES),
    feature_schema=FR_V2.name,
    kind="fr-vmaf",
    target=VMAF_TARGET,
    least_sources=5,
    gate=Gate(mean_plcc=0.95, mean_srocc=None, mean_rmse=None, plcc_spread=0.005, lowest_plcc=0.95),
    intended_use="the VMAF of an encode from libvmaf's six features, its encoder, preset and CRF",
    not_for=("standing in for opinion scores", "encoders, or ranges of CRF, that the encode grid does not hold"),
)

HEAD_RECIPES: Mapping[str, HeadRecipe] = MappingProxyType(
    {r.name: r for r in (KONVID_MOS_HEAD_V1, CHUG_HDR_MOS_HEAD_V1, UNIFIED_MOS_HEAD_V1, FR_REGRESSOR_V2)}
)
"""The heads that have a name of their own; ``corpus_head_recipe`` makes the per-corpus ones."""


def corpus_head_recipe(corpus: str) -> HeadRecipe:
    """The recipe of one corpus's own ``mos_head``: ``<c_>_mos_head``; CHUG's reads what its ladder says."""
    # The same columns as the recipe over all ladders, so that the two heads can be compared.
    ladder = corpus in CHUG_HDR_MOS_HEAD_V1.corpora
    return HeadRecipe(
        name=f"{corpus.replace('-', '_')}_mos_head",
        title=f"MOS head of {corpus}",
        corpora=(corpus,),
        feature_schema=CHUG_HDR_MOS_HEAD_V1.feature_schema if ladder else KONVID_V1.name,
        display_schema=CHUG_HDR_MOS_HEAD_V1.display_schema if ladder else None,
        intended_use=f"the mean opinion score of clips like those of {corpus}, from pooled features",
        not_for=_NOT_FOR,
    )


@dataclass(frozen=True)
class TrainingSettings:
    """What one training run may decide; the same for every recipe. SettingsError on values that mean nothing.

    ``tables`` {corpus: path} replaces the recipe's, ``extra_tables`` adds to them. ``corpus_weights`` {corpus: weight}
    is how much a row of a corpus counts in training, 1 unless named; judging never weighs. ``columns`` trains on any
    named columns instead of a feature schema. ``protocol_splits`` is how often the field's protocol is repeated beside
    the gate, 0 for not at all. ``device`` is ``auto``, ``cpu`` or ``cuda``.
    """

    epochs: int = 30
    lr: float = 1e-3
    weight_decay: float = 1e-5
    batch_size: int | None = None
    k_folds: int = 5
    protocol_splits: int = 10
    seed: int = 20260508
    device: str = "auto"
    feature_schema: str | None = None
    display_profile_json: str | None = None
    columns: tuple[str, ...] = ()
    tables: Mapping[str, str] = field(default_factory=dict)
    extra_tables: Mapping[str, str] = field(default_factory=dict)
    corpus_weights: Mapping[str, float] = field(default_factory=dict)
    exclude_corpora: tuple[str, ...] = ()
    smoke: bool = False
    allow_synthetic_fallback: bool = False
    allow_missing_features: tuple[str, ...] = ()
    export: bool = True

    def __post_init__(self) -> None:
        _require("epochs", self.epochs, self.epochs >= 1, "1 or more")
        _require("lr", self.lr, 0 < self.lr < 1, "between 0 and 1")
        _require("weight_decay", self.weight_decay, 0 <= self.weight_decay < 1, "from 0 to below 1")
        _require("batch_size", self.batch_size, self.batch_size is None or self.batch_size >= 1, "1 or more")
        _require("k_folds", self.k_folds, self.k_folds >= 2, "2 or more")
        _require("protocol_splits", self.protocol_splits, 0 <= self.protocol_splits <= 1_000, "0 to 1000")
        good = all(1e-6 <= weight <= 1e6 for weight in self.corpus_weights.values())
        wanted = "weights from 0.000001 to 1000000, all above 0 (exclude_corpora leaves one out)"
        _require("corpus_weights", dict(self.corpus_weights), good, wanted)
        known = self.feature_schema is None or self.feature_schema in FEATURE_SCHEMAS
        _require("feature_schema", self.feature_schema, known, "one of " + ", ".join(FEATURE_SCHEMAS))
        _require("seed", self.seed, 0 <= self.seed < 2**63, "0 or more, below 2 to the 63rd")
        labels = [n for n in self.columns if (small := n.strip().lower()).startswith("mos_") or small in _LABELS]
        _require("columns", labels, not labels, "features: these are the label, or made of it")
        _require("columns", self.columns, len(set(self.columns)) == len(self.columns), "each column once")
        both = bool(self.columns) and self.feature_schema is not None
        _require("columns", self.columns, not both, "no feature_schema beside it")

    def batch_rows(self, rows: int) -> int:
        """Rows a training step reads where ``rows`` are trained on: 64 up to 5 000 rows, 2 048 above."""
        return self.batch_size or (64 if rows <= _SMALL else 2_048)

    def as_json(self) -> dict[str, object]:
        """Every setting; of files the names only, since their paths and hashes are the replay manifest's inputs."""
        told = {f.name: getattr(self, f.name) for f in fields(self)}
        told = {name: list(value) if isinstance(value, tuple) else value for name, value in told.items()}
        profile = self.display_profile_json and PurePath(self.display_profile_json).name
        files = {"tables": sorted(self.tables), "extra_tables": sorted(self.extra_tables)}
        return {**told, **files, "corpus_weights": dict(self.corpus_weights), "display_profile_json": profile}


def schema_of(recipe: HeadRecipe, settings: TrainingSettings) -> FeatureSchema:
    """The features of a run: its own columns, else its schema, else what a display profile implies, else the recipe's.

    Of own columns all are measured, and must vary, but those whose name says geometry, duration, display or ladder.
    SettingsError for a display profile that a head has no columns for.
    """
    if settings.columns:
        # Geometry, a ladder or a display may well be the same in all rows; a measurement that never varies is broken.
        of_clips = frozenset(NO_REFERENCE_CLIP)
        measured = frozenset(n for n in settings.columns if not n.startswith(_METADATA) and n not in of_clips)
        return FeatureSchema(OWN_COLUMNS, settings.columns, measured)
    if settings.feature_schema:
        return FEATURE_SCHEMAS[settings.feature_schema]
    if settings.display_profile_json is None:
        return FEATURE_SCHEMAS[recipe.feature_schema]
    if recipe.display_schema is None:
        raise SettingsError(
            "display_profile_json",
            found=f"a profile for {recipe.name}, which reads no display",
            expected=f"feature_schema: {CHUG_HDR_DISPLAY_V1.name} beside it",
            next_step="set it, or leave the profile out",
        )
    return FEATURE_SCHEMAS[recipe.display_schema]


def _require(name: str, value: object, ok: bool, expected: str) -> None:
    if not ok:
        raise SettingsError(name, found=repr(value), expected=expected, next_step="correct the run config")
