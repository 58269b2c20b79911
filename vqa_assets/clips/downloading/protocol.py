"""What every way to transfer offers here; the ingest loop declares its own wish (``ingest.protocols``)."""

import threading
from pathlib import Path
from typing import Protocol

from vqa_assets.clips.downloading.limits import DownloadLimits
from vqa_assets.clips.geometry import ClipBytes


class Downloads(Protocol):
    """A way to transfer, and its end."""

    def fetch(self, url: str, part: Path, limits: DownloadLimits, stop: threading.Event) -> ClipBytes:
        """See ``ingest.protocols.Downloader``."""
        ...

    def close(self) -> None:
        """Give back what was kept open between clips."""
        ...
