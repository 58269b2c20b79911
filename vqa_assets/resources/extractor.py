"""What measures clips: the families of features that its settings choose."""

import threading
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from vqa_assets.corpora.raw_video import RawVideo
from vqa_assets.errors import ClipError
from vqa_assets.features.family import FamilyVersion, Measured
from vqa_assets.features.settings import MeasuringSettings
from vqa_assets.stages.features import extractor_of_settings
from vqa_assets.tables.paths import DataRoot

if TYPE_CHECKING:
    from vqa_assets.features.extractor import ClipExtractor


_FIELDS, _HELP = MeasuringSettings.model_fields, MeasuringSettings.help()


class ClipExtractorResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Measures the features of decoded clips; needs no GPU and no system package."""

    feature_sets: list[str] = Field(
        default=list(_FIELDS["feature_sets"].default), description=str(_HELP["feature_sets"])
    )
    perceptual_hash: bool = Field(default=_FIELDS["perceptual_hash"].default, description=str(_HELP["perceptual_hash"]))
    backbone_device: str = Field(default=_FIELDS["backbone_device"].default, description=str(_HELP["backbone_device"]))
    backbone_batch: int = Field(
        default=_FIELDS["backbone_batch"].default, ge=0, description=str(_HELP["backbone_batch"])
    )

    def at(self, root: DataRoot) -> "ClipExtractor":
        """What measures the clips of a data root, with the backbones that lie there; they are read once, here."""
        return self._extractor(root)

    @property
    def version(self) -> str:
        """See ``features.family.FeatureExtractor``."""
        return self._extractor().version

    @property
    def families(self) -> Sequence[FamilyVersion]:
        """See ``features.family.FeatureExtractor``."""
        return self._extractor().families

    def measure(
        self,
        clip: Path,
        *,
        families: Collection[str] | None = None,
        reference: Path | None = None,
        raw: RawVideo | None = None,
        stop: threading.Event | None = None,
    ) -> Mapping[str, Measured | ClipError]:
        """See ``features.family.FeatureExtractor``."""
        return self._extractor().measure(clip, families=families, reference=reference, raw=raw, stop=stop)

    def _extractor(self, root: DataRoot | None = None) -> "ClipExtractor":
        settings = MeasuringSettings(
            feature_sets=tuple(self.feature_sets),
            perceptual_hash=self.perceptual_hash,
            backbone_device=self.backbone_device,
            backbone_batch=self.backbone_batch,
        )
        return extractor_of_settings(settings, root or DataRoot.named())
