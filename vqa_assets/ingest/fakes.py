"""Fakes of the tools of an ingest, for tests: ``build_defs(prober=FakeProber(), downloader=FakeDownloader(…))``.

They stand in for ffprobe and for servers where neither is what a test is about.
"""

import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vqa_assets.clips.downloading import DownloadLimits
from vqa_assets.clips.geometry import Geometry
from vqa_assets.clips.hashing import ClipBytes
from vqa_assets.errors import BrokenClipError, DownloadError

GEOMETRY = Geometry(640, 360, 25.0, 1.5, "yuv420p", "h264")


@dataclass
class FakeProber:
    """Every clip has ``GEOMETRY``, but one whose bytes begin with ``broken``; counts the probes by file name."""

    probed: Counter[str] = field(default_factory=Counter)

    def probe(self, path: Path, timeout_s: float) -> Geometry:  # noqa: ARG002
        """See ``tools.Prober``."""
        self.probed[path.name] += 1
        if path.read_bytes().startswith(b"broken"):
            raise BrokenClipError("no video stream")
        return GEOMETRY

    def close(self) -> None:
        """Nothing is under way."""


@dataclass
class FakeDownloader:
    """Serves ``bodies`` by URL: bytes, or the error to raise; an unknown URL is a 404. Counts the transfers."""

    bodies: Mapping[str, bytes | Exception] = field(default_factory=dict)
    fetched: Counter[str] = field(default_factory=Counter)
    before: Callable[[str], None] = lambda _: None

    def fetch(self, url: str, part: Path, limits: DownloadLimits, stop: threading.Event) -> ClipBytes:  # noqa: ARG002
        """See ``tools.Downloader``."""
        self.fetched[url] += 1
        self.before(url)
        body = self.bodies.get(url, DownloadError("curl-rc=22: HTTP 404 Not Found", permanent=True))
        if isinstance(body, Exception):
            raise body
        part.write_bytes(body)
        return ClipBytes(hashlib.sha256(body).hexdigest(), len(body))
