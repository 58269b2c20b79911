"""What each head is: its corpora, features, gate and purpose. The settings of a training run are in ``settings``.

Also what a head must say about the corpora it was trained on. A gate's numbers live here and never move. How a head is
trained and judged is in the other modules. The definitions read this, so nothing heavy is imported.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from vqa_assets.corpora import CORPORA, ENCODE_GRID_SOURCES
from vqa_assets.corpora.corpus import REDISTRIBUTION, IdFamily
from vqa_assets.errors import TrainingError
from vqa_assets.feature_names import (
    CANONICAL_6,
    DISPLAY_COLUMNS,
    FR_V2,
    KONVID_V1,
    NORMALISED,
    NR_V1,
    FeatureSchema,
)

if TYPE_CHECKING:
    from vqa_assets.backbones.folder import Backbone

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

DISPLAY_SCHEMAS = (CHUG_HDR_DISPLAY_V1.name,)
"""Schemas with columns of a display."""

_SCHEMAS = (KONVID_V1, NR_V1, CHUG_HDR_WIDE_V1, CHUG_HDR_DISPLAY_V1, FR_V2)
FEATURE_SCHEMAS: Mapping[str, FeatureSchema] = MappingProxyType({s.name: s for s in _SCHEMAS})
"""Every schema by its name."""


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
    ``name_ids`` are the sites whose ids stand in the names of its clips.
    """

    title: str
    licence: str
    citation: str
    version: str
    redistribution: str
    opinion_scores: bool = True
    name_ids: tuple[IdFamily, ...] = ()

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
    is also judged on each corpus by one trained on the others; one that ``takes_help`` is of one corpus, which others
    may help (``help_from``). ``least_sources`` folds an encode grid by what its sources show, and asks for so many
    contents. ``backbones`` are those whose vectors a run has it read, as their folders declare them (``vectors``).
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
    takes_help: bool = False
    least_sources: int | None = None
    backbones: "Mapping[str, Backbone]" = field(default_factory=dict, hash=False)


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
        takes_help=True,
        intended_use=f"the mean opinion score of clips like those of {corpus}, from pooled features",
        not_for=_NOT_FOR,
    )
