"""What measures a clip, for those who ask it; how it is done is in ``extractor``."""

import threading
from pathlib import Path
from typing import Protocol

from vqa_assets.corpora.raw_video import RawVideo

Measured = dict[str, float | int | str | None]
"""What was measured of one clip, by column name."""


class FeatureExtractor(Protocol):
    """Measures one clip. Shared between threads, and pickled where the work runs in other processes."""

    @property
    def version(self) -> str:
        """Changes whenever any measured value could change."""
        ...

    def extract(
        self,
        clip: Path,
        *,
        reference: Path | None = None,
        raw: RawVideo | None = None,
        stop: threading.Event | None = None,
    ) -> Measured:
        """The measured columns of ``clip``; with ``reference`` the clip is the distorted side of it.

        ``raw`` is what clip and reference are where they have no container.

        Raises ``ClipError`` for what concerns this clip, ``FeatureError`` for what concerns them all, and
        ``StoppedError`` once ``stop`` is set.
        """
        ...
