"""What the ingest loop needs from outside: something that fetches a clip, something that probes one."""

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from vqa_assets.clips.downloading import DownloadLimits
    from vqa_assets.clips.geometry import Geometry
    from vqa_assets.clips.hashing import ClipBytes


class Downloader(Protocol):
    """Fetches clips; called from many threads at once."""

    def fetch(self, url: str, part: Path, limits: "DownloadLimits", stop: threading.Event) -> "ClipBytes":
        """Write the body of ``url`` into ``part`` and say what it is.

        DownloadError where the bytes never arrive, StoppedError soon after ``stop`` is set, IngestError where no clip
        could be had (no space, no binary). Nothing is left at ``part`` after an error.
        """
        ...


class Prober(Protocol):
    """Reads a clip's geometry; called from many threads at once."""

    def probe(self, path: Path, timeout_s: float) -> "Geometry":
        """The geometry of a clip.

        BrokenClipError with a short reason where it has none, TransientClipError where that took too long to tell.
        """
        ...

    def close(self) -> None:
        """End every probe under way (it raises StoppedError): the run was interrupted."""
        ...


@dataclass(frozen=True)
class ClipTools:
    """What a worker needs to read one clip; ``probes`` bounds the probes at once, which want a core each."""

    prober: Prober
    downloader: Downloader
    limits: "DownloadLimits"
    probe_timeout_s: float
    stop: threading.Event
    probes: threading.Semaphore
