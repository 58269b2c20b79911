"""What a file is by its own bytes: files that only pose as clips, and containers whose end is missing.

ISO base media (MP4, MOV) and Matroska (WebM) say where they end; the others that do are in ``endings``. No media
library is used here: what the video in a container is, ``pyav`` and ``ffprobe`` ask.
"""

import re
import stat
import struct
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path
from typing import BinaryIO, NamedTuple

from vqa_assets.clips.endings import begins_as_ts, end_of_chunks
from vqa_assets.errors import BrokenClipError
from vqa_assets.tables.files import HTML_PAGE, LFS_POINTER

HEAD_BYTES = 512
"""So much of a file says what it is."""

# The boxes that an MP4 or MOV may begin with: most have ftyp, fragments styp, sidx or moof, the oldest MOV neither.
_FIRST_BOXES = {
    *(b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"wide", b"free", b"skip", b"junk", b"pnot", b"pict", b"sidx"),
    *(b"udta", b"uuid", b"prfl"),
}
# Without these there is nothing to show. What is cut off behind them (free space, a user's notes) harms no clip.
_NEEDED = {b"mdat", b"moov", b"moof"}
_TABLES = (b"trak", b"mdia", b"minf", b"stbl")
_MOST_BOXES = 100_000
_LONGEST_MOOV_BYTES = 256 << 20


def is_iso(head: bytes) -> bool:
    """Whether a file that begins with ``head`` (8 bytes at least) begins as MP4 and MOV do."""
    return head[4:8] in _FIRST_BOXES


def iso_end(file: BinaryIO, size_bytes: int) -> int | None:
    """The byte that the boxes of samples reach to, and the samples that a ``moov`` lists; ``None`` where none says.

    A ``mdat`` may leave its size open (4.2): the tables of samples tell then what a cut file lacks.
    """
    ends = []
    for name, begin, end in islice(_top_level(file, size_bytes), _MOST_BOXES):
        if name not in _NEEDED:
            continue
        ends.append(end)
        if name == b"moov" and end <= size_bytes and end - begin <= _LONGEST_MOOV_BYTES:
            file.seek(begin)
            ends.append(_listed_end(memoryview(file.read(end - begin))))
    return max(ends, default=None)


def _top_level(file: BinaryIO, size_bytes: int) -> Iterator[tuple[bytes, int, int]]:
    """Each top-level box's name, where its body begins and where it ends; a box with an open size is the last."""
    start = 0
    while start < size_bytes:
        file.seek(start)
        header = file.read(16)
        size, name, body = int.from_bytes(header[:4]), header[4:8], start + 8
        if size == 1:  # a size beyond 32 bits follows the name
            size, body = int.from_bytes(header[8:16]), start + 16
        if len(header) < 8 or size < 8:  # 0: open, up to the end of the file; 2 to 7: no box
            return
        start += size
        yield name, body, start


def _listed_end(moov: memoryview) -> int:
    """Where the last sample of all tracks ends; 0 where the tables list none or do not agree among themselves."""
    return max((_track_end(dict(_boxes(table))) for table in _below(moov, *_TABLES)), default=0)


def _below(body: memoryview, *path: bytes) -> Iterator[memoryview]:
    if not path:
        yield body
        return
    for name, inner in _boxes(body):
        if name == path[0]:
            yield from _below(inner, *path[1:])


def _boxes(body: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    at = 0
    while at + 8 <= len(body):
        size = int.from_bytes(body[at : at + 4])
        if size < 8:
            return
        yield bytes(body[at + 4 : at + 8]), body[at + 8 : at + size]
        at += size


def _track_end(tables: dict[bytes, memoryview]) -> int:
    """Where a track's last chunk ends (8.7.3 to 8.7.5): of samples of one size, whose unit QuickTime varies, its start.

    Chunks lie in the order of time, so that the last tells as much as all.
    """
    width = 8 if b"co64" in tables else 4
    try:
        offsets, runs, sizes = tables[b"co64" if width == 8 else b"stco"], tables[b"stsc"], tables[b"stsz"]
        (chunks,), (run_count,) = struct.unpack_from(">4xI", offsets), struct.unpack_from(">4xI", runs)
        one_size, samples = struct.unpack_from(">4xII", sizes)
        if not chunks or not samples:  # in fragments: each lists its own
            return 0
        start = int.from_bytes(struct.unpack_from(f"{width}s", offsets, 8 + width * (chunks - 1))[0])
        if one_size:
            return start
        last = samples - _before_last(runs[8 : 8 + 12 * run_count], chunks)
        if not 0 < last <= samples:
            return 0
        of_last: tuple[int, ...] = struct.unpack_from(f">{last}I", sizes, 12 + 4 * (samples - last))
        return start + sum(of_last)
    except (KeyError, struct.error):
        return 0


def _before_last(runs: memoryview, chunks: int) -> int:
    """How many samples lie in front of the last chunk: runs of chunks with equally many."""
    starts = [(first, samples) for first, samples, _ in struct.iter_unpack(">III", runs)]
    return sum((after - first) * samples for (first, samples), (after, _) in pairwise([*starts, (chunks, 0)]))


_MOST_ELEMENTS = 100_000
_LONGEST_HEADER_BYTES = 12
_EBML, _SEGMENT, _CLUSTER, _VOID, _CRC32 = 0x1A45DFA3, 0x18538067, 0x1F43B675, 0xEC, 0xBF
_IN_SEGMENT = {
    *(_CLUSTER, _VOID, _CRC32),
    *(0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367),
}
"""SeekHead, Info, Tracks, Cues, Attachments, Chapters and Tags beside those with a name."""
_IN_CLUSTER = {0xE7, 0x5854, 0xA7, 0xAB, 0xA3, 0xA0, 0xAF}
"""Timestamp, SilentTracks, Position, PrevSize, SimpleBlock, BlockGroup, EncryptedBlock."""
_ELEMENTS = {name: name.to_bytes((name.bit_length() + 7) // 8) for name in _IN_SEGMENT | _IN_CLUSTER}


class _Element(NamedTuple):
    """An element's id, where its body begins, its size (``None`` = unknown)."""

    name: int
    body: int
    size: int | None


def matroska_end(file: BinaryIO, size_bytes: int) -> int | None:
    """The byte that the file's elements reach to, as far as they say; ``None`` where it is no Matroska or says nothing.

    A Segment of unknown size, as streams have it, ends with its last element: a file cut within one is short of its
    end, a file cut between two is a whole stream by its own account.
    """
    file.seek(0)
    segment = _segment(file.read(HEAD_BYTES))
    if segment is None:
        return None
    return segment.body + segment.size if segment.size is not None else _last_end(file, segment.body, size_bytes)


def _segment(head: bytes) -> _Element | None:
    """The Segment, which follows the EBML header; empty elements (Void, CRC-32) may stand between."""
    position, expected = 0, _EBML
    while element := _element(head, position):
        if element.name == _SEGMENT and expected == _SEGMENT:
            return element
        if element.size is None or element.name not in (expected, _VOID, _CRC32):
            return None
        position, expected = element.body + element.size, _SEGMENT
    return None


def _last_end(file: BinaryIO, position: int, size_bytes: int) -> int:
    """Where the last element ends that follows the others from ``position``; what is unknown there ends the walk.

    A Cluster of unknown size ends where what is no part of it begins, so that its parts can be walked like itself.
    """
    for _ in range(_MOST_ELEMENTS):  # a file of nothing but tiny elements is not walked for minutes
        if position >= size_bytes:
            break
        file.seek(position)
        header = file.read(_LONGEST_HEADER_BYTES)
        element = _element(header, 0)
        if element is None:
            # The file's last bytes: the beginning of an element's header, or rubbish behind the end.
            is_cut = len(header) < _LONGEST_HEADER_BYTES and any(
                header.startswith(name[: len(header)]) for name in _ELEMENTS.values()
            )
            return size_bytes + 1 if is_cut else position
        if element.name not in _ELEMENTS:
            break
        position += element.body + (element.size or 0)
    return position


def _element(data: bytes, at: int) -> _Element | None:
    """The element that begins there; ``None`` past the end of the data, or where none begins."""
    id_length = _vint_length(data, at)
    size_at = at + id_length
    size_length = _vint_length(data, size_at)
    body = size_at + size_length
    if not id_length or not size_length or body > len(data):
        return None
    unknown = (1 << 7 * size_length) - 1  # all bits set: reserved for it (RFC 8794, 6.2)
    size = int.from_bytes(data[size_at:body]) & unknown
    return _Element(int.from_bytes(data[at:size_at]), body, None if size == unknown else size)


def _vint_length(data: bytes, at: int) -> int:
    """The length in bytes of the variable-size integer at ``at``, by its first byte's leading zeros; 0 for none."""
    return 9 - data[at].bit_length() if at < len(data) and data[at] else 0


DEMUXERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,flv,asf,ogg,mxf,nut,ivf,obu,h264,hevc,vvc,"
    "yuv4mpegpipe,dv,rm"
)
"""FFmpeg's containers of clips. Others open further files (hls, concat, dash) or take text or a picture for video."""

ONLY_CLIPS = {"protocol_whitelist": "file", "format_whitelist": DEMUXERS}
"""FFmpeg's options by which a clip is opened wherever one is: what ingest refuses, nobody decodes after it."""

ONLY_CLIPS_ARGUMENTS = tuple(part for name, value in ONLY_CLIPS.items() for part in (f"-{name}", value))
"""The same before an input of FFmpeg's programs."""

_NOT_LISTED = "Invalid argument"
"""What FFmpeg says of a container that it knows and ``DEMUXERS`` does not list."""
# What lies in a clip's place when a download or a checkout went wrong.
_POSING = (
    (re.compile(re.escape(LFS_POINTER)), "a Git-LFS pointer, not a clip; run git lfs pull"),
    (HTML_PAGE, "an HTML page, not a clip"),
    (re.compile(rb"(?:\xef\xbb\xbf)?#EXTM3U"), "an HLS playlist, not a clip"),
)
# Control characters that no text has; ESC (0x1b) is in some.
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
HTML = "HTML"
_KINDS_OF_TEXT = ((HTML, HTML_PAGE), ("XML", re.compile(rb"\s*<")), ("JSON", re.compile(rb"\s*[\[{]")))
_START_CODES = (b"\x00\x00\x01", b"\x00\x00\x00\x01")
_CONTAINERS = (
    (4, tuple(_FIRST_BOXES)),
    # Matroska, FLV, ASF, Ogg, NUT, Y4M, IVF, RealMedia, MXF, the temporal unit of an AV1 stream, DV.
    (0, (b"\x1aE\xdf\xa3", b"FLV", b"0&\xb2u", b"OggS", b"nut/multi", b"YUV4MPEG2 ", b"DKIF", b".RMF", b"\x06\x0e+4")),
    (0, (b"\x12\x00", b"\x1f\x07\x00")),
    (8, (b"AVI ", b"AVIX")),
    # MPEG program streams and elementary streams (MPEG-1, 2 and 4, H.264, HEVC, VVC) begin with a start code.
    (0, _START_CODES),
)


def kind_of_text(head: bytes) -> str:
    """What a file that begins with ``head`` is, where that is text: HTML, XML, JSON or text; else empty."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        head = head[: len(head) // 2 * 2].decode("utf-16", "replace").encode("utf-8", "replace")
    # Of the containers only Y4M may begin without a control character: words, then samples.
    if not head or _BINARY.search(head) or head.startswith(b"YUV4MPEG2 "):
        return ""
    head = head.removeprefix(b"\xef\xbb\xbf")
    return next((kind for kind, beginning in _KINDS_OF_TEXT if beginning.match(head)), "text")


def begins_as_container(head: bytes) -> bool:
    """Whether a file that begins with ``head`` begins as some container of clips, or as a stream without one."""
    return begins_as_ts(head) > 0 or any(head[at:].startswith(marks) for at, marks in _CONTAINERS)


def says_no_end(path: Path) -> bool:
    """Whether a file is MPEG's transport or program stream or a stream without a container: none has an index."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    return begins_as_ts(head) > 0 or (head.startswith(_START_CODES) and not is_iso(head))


def refuse_what_is_no_clip(path: Path) -> None:
    """BrokenClipError, saying what the file is instead, where a look at its bytes shows that it is no whole clip.

    OSError where the file cannot be read: that says nothing about the clip.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # a pipe, say, which would be waited for
        raise BrokenClipError("not a regular file")
    if not status.st_size:
        raise BrokenClipError("zero bytes")
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        for pattern, reason in _POSING:
            if pattern.match(head):
                raise BrokenClipError(reason)
        end = iso_end(file, status.st_size) if is_iso(head) else matroska_end(file, status.st_size)
        end = end or end_of_chunks(file, head, status.st_size)
        if end is not None and end > status.st_size:
            raise BrokenClipError(f"truncated: {status.st_size} of at least {end} bytes")


def clearer_reason(reason: str, path: Path) -> str:
    """A library's reason for refusing a file, or what the file plainly is instead."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if not _BINARY.search(head):
        return "a text file, not a clip"
    return f"no container of clips ({reason})" if reason == _NOT_LISTED else reason
