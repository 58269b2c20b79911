"""What measures clips: the families of features that its settings choose."""

import threading
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from vqa_assets.corpora.raw_video import RawVideo
from vqa_assets.errors import ClipError
from vqa_assets.feature_names import KONVID_V1, NR_V1
from vqa_assets.features.family import FamilyVersion, Measured

if TYPE_CHECKING:
    from vqa_assets.features.extractor import ClipExtractor


class ClipExtractorResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Measures the features of decoded clips; needs no GPU and no system package."""

    feature_sets: list[str] = Field(
        default=[KONVID_V1.name, NR_V1.name],
        description=f"What is measured: {KONVID_V1.name} (libvmaf, saliency, shots), {NR_V1.name} (a clip by itself; "
        "alone it takes about a third of the time). Default: both.",
    )

    perceptual_hash: bool = Field(
        default=False,
        description="Also hash five frames of each clip by how they look, and report groups of near duplicates. "
        "Default: false.",
    )

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

    def _extractor(self) -> "ClipExtractor":
        from vqa_assets.features.extractor import ClipExtractor

        return ClipExtractor(feature_sets=tuple(self.feature_sets), perceptual_hash=self.perceptual_hash)
