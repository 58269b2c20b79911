"""What fetches clips: libcurl in this process, or one curl process a clip; pages by yt-dlp, where it is installed."""

import os
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from vqa_assets.resources.programs import AUTO, DOWNLOADING

if TYPE_CHECKING:
    from vqa_assets.ingest.tools import DownloaderDescription


class DownloaderResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Fetches clips from the addresses in a score file, by libcurl or by curl; pages of video sites by yt-dlp.

    Both ways keep the same manners; libcurl reuses a handle a thread and hashes while it writes.
    """

    implementation: str = Field(default=AUTO, description=DOWNLOADING.described())

    def describe_tool(self) -> "DownloaderDescription":
        """See ``ingest.tools.Described``; the environment that counts (``HF_TOKEN``) is this process's."""
        from vqa_assets.clips.hub import HubAccess
        from vqa_assets.ingest.tools import DownloaderDescription

        return DownloaderDescription(DOWNLOADING.binary(self.implementation), HubAccess.of(os.environ))
