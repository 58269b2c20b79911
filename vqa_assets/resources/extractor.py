"""What measures clips: the ``konvid-v1`` features by libvmaf, saliency and shots."""

import threading
from pathlib import Path

import dagster as dg

from vqa_assets.features.protocols import Measured


class KonvidV1ExtractorResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Measures the eleven ``konvid-v1`` features from a decoded clip; needs no GPU and no system package."""

    @property
    def version(self) -> str:
        """See ``features.protocols.FeatureExtractor``."""
        from vqa_assets.features.extractor import KonvidV1Extractor

        return KonvidV1Extractor().version

    def extract(self, clip: Path, *, reference: Path | None = None, stop: threading.Event | None = None) -> Measured:
        """See ``features.protocols.FeatureExtractor``."""
        from vqa_assets.features.extractor import KonvidV1Extractor

        return KonvidV1Extractor().extract(clip, reference=reference, stop=stop)
