"""What fetches clips: libcurl in this process, or one curl process a clip; pages by yt-dlp, where it is installed."""

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field, PrivateAttr

from vqa_assets.clips.hashing import ClipBytes
from vqa_assets.resources.programs import AUTO, DOWNLOADING

if TYPE_CHECKING:
    from vqa_assets.clips.downloading import DownloadLimits
    from vqa_assets.clips.pages import PageDownloader


class DownloaderResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Fetches clips from the addresses in a score file, by libcurl or by curl; pages of video sites by yt-dlp.

    Both ways keep the same manners; libcurl reuses a handle a thread and hashes while it writes.
    """

    implementation: str = Field(default=AUTO, description=DOWNLOADING.described())

    _inner: "PageDownloader | None" = PrivateAttr(default=None)
    _making: threading.Lock = PrivateAttr(default_factory=threading.Lock)

    def fetch(self, url: str, part: Path, limits: "DownloadLimits", stop: threading.Event) -> ClipBytes:
        """See ``ingest.protocols.Downloader``."""
        return self._downloader().fetch(url, part, limits, stop)

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002
        """Close the connections that were kept open."""
        if self._inner is not None:
            self._inner.close()
            self._inner = None

    def _downloader(self) -> "PageDownloader":
        with self._making:
            if self._inner is None:
                from vqa_assets.clips.curl import CurlBinaryDownloader
                from vqa_assets.clips.libcurl import LibcurlDownloader
                from vqa_assets.clips.pages import PageDownloader

                binary = DOWNLOADING.binary(self.implementation)
                self._inner = PageDownloader(LibcurlDownloader() if binary is None else CurlBinaryDownloader(binary))
            return self._inner
