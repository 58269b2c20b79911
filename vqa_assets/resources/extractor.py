"""What measures clips: the ``konvid-v1`` features by libvmaf, saliency and shots."""

import threading
from pathlib import Path

import dagster as dg
from pydantic import PrivateAttr

from vqa_assets.features.extractor import KonvidV1Extractor, Measured


class KonvidV1ExtractorResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Measures the eleven ``konvid-v1`` features from a decoded clip; needs no GPU and no system package."""

    _inner: KonvidV1Extractor = PrivateAttr(default_factory=KonvidV1Extractor)

    @property
    def version(self) -> str:
        """See ``features.extractor.FeatureExtractor``."""
        return self._inner.version

    def extract(self, clip: Path, *, reference: Path | None = None, stop: threading.Event | None = None) -> Measured:
        """See ``features.extractor.FeatureExtractor``."""
        return self._inner.extract(clip, reference=reference, stop=stop)
