"""A clip's bytes from an http(s) address into a file: libcurl in process, or one ``curl`` process per clip.

Both keep the same manners and mean the same by their errors; which part does what:

- ``target``: what may stand in an address, and how it is quoted;
- ``hosts``: at most so many transfers at once per host, quiet after Retry-After, giving up a host that never answers;
- ``attempts``: trying again, and when to stop trying;
- ``answer``: what a server's answer means for the clip;
- ``libcurl`` and ``curl_binary``: the two ways to transfer a file;
- ``pages``: clips that only yt-dlp finds, for page addresses;
- ``processes``: a transferring program under watch;
- ``resuming``: one large archive, over as many connections as it takes.

Which clips are fetched, under which name they are kept, and what is remembered of them is not here (``ingest``).
"""

from vqa_assets.clips.downloading.curl_binary import CurlBinaryDownloader
from vqa_assets.clips.downloading.libcurl import LibcurlDownloader
from vqa_assets.clips.downloading.limits import DownloadLimits
from vqa_assets.clips.downloading.pages import PageDownloader
from vqa_assets.clips.downloading.resuming import LargeFile, fetch_resuming
from vqa_assets.clips.downloading.target import quoted_url

__all__ = [
    "CurlBinaryDownloader",
    "DownloadLimits",
    "LargeFile",
    "LibcurlDownloader",
    "PageDownloader",
    "fetch_resuming",
    "quoted_url",
]
