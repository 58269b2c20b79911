"""The stage of one corpus's clips: each is measured, and they become its feature table."""

import os
from functools import partial
from typing import TYPE_CHECKING

from vqa_assets.clips.work import ClipPool, Observer, unobserved
from vqa_assets.corpora import Corpus
from vqa_assets.feature_names import BACKBONE_PREFIX
from vqa_assets.features.family import FeatureExtractor
from vqa_assets.features.settings import ExtractionSettings, MeasuringSettings
from vqa_assets.provenance import RunContext
from vqa_assets.tables.paths import DataRoot

if TYPE_CHECKING:
    from vqa_assets.features.corpus_table import MeasuredTable
    from vqa_assets.features.extractor import ClipExtractor

CLIP_FEATURES_VERSION = "3"
"""The code version of ``clip_features``."""


def measure(
    corpus: Corpus,
    extraction: ExtractionSettings,
    extractor: FeatureExtractor,
    pool: ClipPool,
    run: RunContext,
    observe: Observer = unobserved,
) -> "MeasuredTable":
    """Measure the clips of a corpus's JSONL, where its ``ingest.toml`` says they lie, and publish the table."""
    from vqa_assets.features.corpus_table import FeatureSettings, make_clip_features
    from vqa_assets.ingest.cache import hashes_of
    from vqa_assets.ingest.layout import CorpusLayout

    layout = CorpusLayout.standing(corpus, run.root)
    settings = FeatureSettings(
        jsonl=layout.output,
        clips=layout.clips,
        workers=extraction.workers or os.cpu_count() or 1,
        overwrite=extraction.overwrite,
        raw=layout.settings.raw_video,
        observe=observe,
        hashes=partial(hashes_of, layout.cache),
        caps=extraction.over(layout.settings.caps()),
        stated_caps=extraction.stated_caps,
    )
    return make_clip_features(corpus, settings, extractor, pool, run)


def extractor_of_settings(settings: MeasuringSettings, root: DataRoot) -> "ClipExtractor":
    """What measures clips, with the backbones of a data root; SettingsError where one of them is not there."""
    from vqa_assets.backbones.network import device_named
    from vqa_assets.features.backbone import families_named
    from vqa_assets.features.extractor import ClipExtractor

    backbones = [name for name in settings.feature_sets if name.startswith(BACKBONE_PREFIX)]
    return ClipExtractor(
        feature_sets=tuple(name for name in settings.feature_sets if name not in backbones),
        perceptual_hash=settings.perceptual_hash,
        further=families_named(backbones, root, device_named(settings.backbone_device), settings.backbone_batch),
    )
