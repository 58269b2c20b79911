"""What a file is, told by its own bytes: posing files, and containers whose end is missing. Uses no media library."""

import re
import stat
from pathlib import Path

from vqa_assets.clips.probing.iso import is_iso, iso_end
from vqa_assets.clips.probing.matroska import matroska_end
from vqa_assets.errors import BrokenClipError
from vqa_assets.tables.files import HTML_PAGE, LFS_POINTER

DEMUXERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,flv,asf,ogg,mxf,nut,ivf,obu,h264,hevc,vvc,"
    "yuv4mpegpipe,dv,rm"
)
"""FFmpeg's containers of clips. Others open further files (hls, concat, dash) or take text or a picture for video."""

_NOT_LISTED = "Invalid argument"
"""What FFmpeg says of a container that it knows and ``DEMUXERS`` does not list."""
_HEAD_BYTES = 512
_POSING = (
    (re.compile(re.escape(LFS_POINTER)), "a Git-LFS pointer, not a clip; run git lfs pull"),
    (HTML_PAGE, "an HTML page, not a clip"),
    (re.compile(rb"(?:\xef\xbb\xbf)?#EXTM3U"), "an HLS playlist, not a clip"),
)
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")


def refuse_what_is_no_clip(path: Path) -> None:
    """BrokenClipError, saying what the file is instead, where a look at its bytes shows that it is no whole clip.

    OSError where the file cannot be read: that says nothing about the clip.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise BrokenClipError("not a regular file")
    if not status.st_size:
        raise BrokenClipError("zero bytes")
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
        for pattern, reason in _POSING:
            if pattern.match(head):
                raise BrokenClipError(reason)
        end = iso_end(file, status.st_size) if is_iso(head) else matroska_end(file, status.st_size)
        if end is not None and end > status.st_size:
            raise BrokenClipError(f"truncated: {status.st_size} of at least {end} bytes")


def told_better(reason: str, path: Path) -> str:
    """A library's reason for refusing a file, or what the file plainly is instead."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if not _BINARY.search(head):
        return "a text file, not a clip"
    return f"no container of clips ({reason})" if reason == _NOT_LISTED else reason
