"""What fetches clips: libcurl in this process, or one curl process a clip; pages by yt-dlp, where it is installed."""

from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from vqa_assets.clips.programs import AUTO, DOWNLOADING
from vqa_assets.stages.corpora import downloader_named

if TYPE_CHECKING:
    from vqa_assets.ingest.tools import DownloaderDescription


class DownloaderResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Fetches clips from the addresses in a score file, by libcurl or by curl; pages of video sites by yt-dlp.

    Both ways keep the same manners; libcurl reuses a handle a thread and hashes while it writes.
    """

    implementation: str = Field(default=AUTO, description=DOWNLOADING.described())

    def describe_tool(self) -> "DownloaderDescription":
        """See ``ingest.tools.Described``; the environment that counts (``HF_TOKEN``) is this process's."""
        return downloader_named(self.implementation)
