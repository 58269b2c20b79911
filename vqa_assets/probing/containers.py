"""What a file is, told by its own bytes: posing files, and containers whose end is missing. Uses no media library."""

import re
import stat
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from vqa_assets.errors import BrokenClipError
from vqa_assets.probing.matroska import matroska_end

DEMUXERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,flv,asf,ogg,mxf,nut,ivf,obu,h264,hevc,vvc,"
    "yuv4mpegpipe,dv,rm"
)
"""FFmpeg's containers of clips. Others open further files (hls, concat, dash) or take text or a picture for video."""

_NOT_LISTED = "Invalid argument"
"""What FFmpeg says of a container that it knows and ``DEMUXERS`` does not list."""
_HEAD_BYTES = 512
_MOST_BOXES = 100_000
_ENDS_SHORT = "truncated: {size} of at least {end} bytes"
_POSING = (
    (re.compile(rb"version https://git-lfs"), "a Git-LFS pointer, not a clip; run git lfs pull"),
    (re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype html|html)\b", re.IGNORECASE), "an HTML page, not a clip"),
    (re.compile(rb"(?:\xef\xbb\xbf)?#EXTM3U"), "an HLS playlist, not a clip"),
)
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_ISO_BOXES = {b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"wide", b"free", b"skip", b"pnot", b"sidx"}
_ISO_NEEDED = {b"mdat", b"moov", b"moof"}


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
        refuse_if_short(status.st_size, _declared_end(file, head, status.st_size))


def is_iso(path: Path) -> bool:
    """Whether a file begins as MP4 and MOV do."""
    with path.open("rb") as file:
        return file.read(8)[4:] in _ISO_BOXES


def refuse_if_short(size_bytes: int, end: int | None) -> None:
    """BrokenClipError where the file ends before ``end``, the byte that its own tables reach to."""
    if end is not None and end > size_bytes:
        raise BrokenClipError(_ENDS_SHORT.format(size=size_bytes, end=end))


def told_better(reason: str, path: Path) -> str:
    """A library's reason for refusing a file, or what the file plainly is instead."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if not _BINARY.search(head):
        return "a text file, not a clip"
    return f"no container of clips ({reason})" if reason == _NOT_LISTED else reason


def _declared_end(file: BinaryIO, head: bytes, size_bytes: int) -> int | None:
    """Where the container says that it ends; ``None`` where it does not, or is neither MP4/MOV nor Matroska/WebM."""
    if head[4:8] in _ISO_BOXES:
        boxes = islice(_iso_boxes(file, size_bytes), _MOST_BOXES)
        return max((end for name, end in boxes if name in _ISO_NEEDED), default=None)
    return matroska_end(file, size_bytes)


def _iso_boxes(file: BinaryIO, size_bytes: int) -> Iterator[tuple[bytes, int]]:
    """Each top-level box's name and end (ISO/IEC 14496-12, 4.2); a box without a size of its own is the last."""
    start = 0
    while start < size_bytes:
        file.seek(start)
        header = file.read(16)
        size, name = int.from_bytes(header[:4]), header[4:8]
        if size == 1:
            size = int.from_bytes(header[8:16])
        if len(header) < 8 or size < 8:
            return
        start += size
        yield name, start
