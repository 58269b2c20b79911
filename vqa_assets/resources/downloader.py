"""What fetches clips: libcurl in this process, one reused handle a thread."""

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import PrivateAttr

from vqa_assets.clip import ClipBytes

if TYPE_CHECKING:
    from vqa_assets.downloading import DownloadLimits, LibcurlDownloader


class LibcurlDownloaderResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """libcurl in process, hashing while it writes."""

    _inner: "LibcurlDownloader | None" = PrivateAttr(default=None)
    _making: threading.Lock = PrivateAttr(default_factory=threading.Lock)

    def fetch(self, url: str, part: Path, limits: "DownloadLimits", stop: threading.Event) -> ClipBytes:
        """See ``ingest.protocols.Downloader``."""
        return self._downloader().fetch(url, part, limits, stop)

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002
        """Close the connections that were kept open."""
        if self._inner is not None:
            self._inner.close()
            self._inner = None

    def _downloader(self) -> "LibcurlDownloader":
        with self._making:
            if self._inner is None:
                from vqa_assets.downloading import LibcurlDownloader

                self._inner = LibcurlDownloader()
            return self._inner
