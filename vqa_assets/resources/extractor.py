"""What measures clips: the families of features that its settings choose."""

import threading
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from vqa_assets.corpora.raw_video import RawVideo
from vqa_assets.errors import ClipError
from vqa_assets.feature_names import BACKBONE_PREFIX, KONVID_V1, NR_V1
from vqa_assets.features.family import FamilyVersion, Measured
from vqa_assets.tables.paths import DataRoot

if TYPE_CHECKING:
    from vqa_assets.features.extractor import ClipExtractor


class ClipExtractorResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Measures the features of decoded clips; needs no GPU and no system package."""

    feature_sets: list[str] = Field(
        default=[KONVID_V1.name, NR_V1.name],
        description=f"What is measured: {KONVID_V1.name} (libvmaf, saliency, shots), {NR_V1.name} (a clip by itself; "
        "alone it takes about a third of the time), backbone:<id> (vectors of a pretrained network that lies in "
        f"<root>/backbones). Default: {KONVID_V1.name} and {NR_V1.name}.",
    )

    perceptual_hash: bool = Field(
        default=False,
        description="Also hash five frames of each clip by how they look, and report groups of near duplicates. "
        "Default: false.",
    )

    backbone_device: str = Field(
        default="auto",
        description="Where backbones run: auto (CUDA where it is there), cpu, or cuda, which is an error where it is "
        "not. Default: auto.",
    )
    backbone_batch: int = Field(
        default=0, ge=0, description="Pictures embedded at once, of any clips. Default: 0, by the device's memory."
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
        from vqa_assets.backbones.network import device_named
        from vqa_assets.features.backbone import families_named
        from vqa_assets.features.extractor import ClipExtractor

        backbones = [name for name in self.feature_sets if name.startswith(BACKBONE_PREFIX)]
        return ClipExtractor(
            feature_sets=tuple(name for name in self.feature_sets if name not in backbones),
            perceptual_hash=self.perceptual_hash,
            further=families_named(
                backbones, root or DataRoot.named(), device_named(self.backbone_device), self.backbone_batch
            ),
        )
