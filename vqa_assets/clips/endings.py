"""Where a file ends by its own account, for containers that are chunks in a row.

These are AVI, ASF (WMV), Y4M, FLV, IVF, Ogg, MXF, and MPEG's program and transport streams.

A file shorter than that was cut. MP4, MOV and Matroska, whose elements nest, are in ``containers``. Here as there no
media library is used, what is unknown ends a walk, and rubbish behind the end does no harm.
"""

import re
from collections.abc import Callable, Mapping
from math import ceil
from types import MappingProxyType
from typing import BinaryIO

_MOST_STEPS = 1_000_000
"""A file of nothing but tiny chunks is not walked for minutes."""
_LONGEST_LINE_BYTES = 256
_OPEN_SIZES = (0, 0xFFFFFFFF)
"""What a writer leaves in a RIFF header that it could not come back to."""
_COUNT_ERROR_BYTES = 8
"""Some writers count a RIFF chunk's own header, which its size does not hold."""


def end_of_chunks(file: BinaryIO, head: bytes, size_bytes: int) -> int | None:
    """The byte that a file beginning with ``head`` reaches to; None where it is none of these, or does not say."""
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return _avi_end(file, size_bytes)
    if head.startswith(b"YUV4MPEG2 "):
        return _y4m_end(file, size_bytes)
    if head.startswith(_ASF_HEADER):
        return _asf_end(file, head)
    for beginning, start, length_of in (
        (b"FLV\x01", int.from_bytes(head[5:9]) + 4, _flv_tag),
        (b"DKIF", int.from_bytes(head[6:8], "little"), _ivf_frames()),
        (_MXF_KEY, 0, _mxf_triplet),
        (_PACK, 0, _ps_packet),
    ):
        if head.startswith(beginning):
            return _walk(file, start, size_bytes, length_of)
    return _ogg_end(file, size_bytes) if head.startswith(b"OggS") else _ts_end(file, head, size_bytes)


def _walk(file: BinaryIO, start: int, size_bytes: int, length_of: Callable[[bytes], int]) -> int:
    """Where the last chunk ends; ``length_of`` a chunk's first bytes is the whole chunk's, 0 for what is none."""
    for _ in range(_MOST_STEPS):
        if start >= size_bytes:
            break
        file.seek(start)
        length = length_of(file.read(_LONGEST_LINE_BYTES + 32))
        if not length:
            break
        start += length
    return start


def _avi_end(file: BinaryIO, size_bytes: int) -> int:
    """By the sizes of its RIFF chunks (OpenDML has several); chunk by chunk where the writer left them open."""
    end = start = 0
    for _ in range(_MOST_STEPS):
        file.seek(start)
        header = file.read(12)
        size = int.from_bytes(header[4:8], "little")
        if header[:4] != b"RIFF" or header[8:] not in (b"AVI ", b"AVIX"):
            break
        if size in _OPEN_SIZES:
            return _open_riff_end(file, start + 12, size_bytes)
        start += 8 + size + size % 2
        end = start - size % 2 - _COUNT_ERROR_BYTES
    return end


def _open_riff_end(file: BinaryIO, start: int, size_bytes: int) -> int:
    """Where the last chunk ends, inside the lists whose size is open too."""

    def length_of(header: bytes) -> int:
        size = int.from_bytes(header[4:8], "little")
        if header[:4] in (b"LIST", b"RIFF") and size in _OPEN_SIZES:
            return 12
        # A chunk's name is four printable characters; zeros and rubbish are none.
        return 8 + size + size % 2 if len(header) >= 8 and re.match(rb"[ -~]{4}", header) else 0

    return _walk(file, start, size_bytes, length_of)


_SUBSAMPLING: Mapping[str, tuple[int, int]] = MappingProxyType(
    {"420": (2, 2), "422": (2, 1), "444": (1, 1), "411": (4, 1)}
)
_Y4M_COLOUR = re.compile(r"(420|422|444|411|mono)(?:p?(9|1[0-6])|jpeg|paldv|mpeg2)?(alpha)?")


def _y4m_end(file: BinaryIO, size_bytes: int) -> int | None:
    """By the size of a frame (https://wiki.multimedia.cx/index.php/YUV4MPEG2); None for a colour that is unknown."""
    file.seek(0)
    line = file.readline(_LONGEST_LINE_BYTES)
    frame = _y4m_frame_bytes(line.decode("latin-1").split())
    if not frame or not line.endswith(b"\n"):
        return None

    def length_of(header: bytes) -> int:
        beginning = header[:_LONGEST_LINE_BYTES]
        name, newline, _ = beginning.partition(b"\n")
        if newline and name.startswith(b"FRAME"):
            return len(name) + 1 + frame
        return frame if b"FRAME".startswith(beginning[:5]) else 0  # the name itself is cut

    return _walk(file, len(line), size_bytes, length_of)


def _y4m_frame_bytes(words: list[str]) -> int:
    """The bytes of one frame's samples; 0 where the header does not tell."""
    tags = {word[0]: word[1:] for word in words[1:] if not word.startswith("X")}
    colour = _Y4M_COLOUR.fullmatch(tags.get("C", "420"))
    width, height = tags.get("W", ""), tags.get("H", "")
    if not colour or not width.isdecimal() or not height.isdecimal():
        return 0
    luma = int(width) * int(height)
    across, down = _SUBSAMPLING.get(colour[1], (0, 0))
    chroma = 2 * ceil(int(width) / across) * ceil(int(height) / down) if across else 0
    return (luma + chroma + (luma if colour[3] else 0)) * (2 if colour[2] else 1)


def _flv_tag(header: bytes) -> int:
    """Audio, video or script data: a header of 11 bytes, the data, the length of both (FLV 10.1, E.4.1)."""
    return 15 + int.from_bytes(header[1:4]) if header[0] & 0x1F in (8, 9, 18) else 0


_LONGEST_PAUSE = 1 << 32
_LARGEST_FRAME_BYTES = 64 << 20


def _ivf_frames() -> Callable[[bytes], int]:
    """Frames of increasing times: each a size, a time, the data."""
    last = -1

    def length_of(header: bytes) -> int:
        nonlocal last
        time = int.from_bytes(header[4:12], "little")
        size = int.from_bytes(header[:4], "little")
        if size > _LARGEST_FRAME_BYTES or (len(header) >= 12 and not last < time < last + _LONGEST_PAUSE):
            return 0  # rubbish behind the last frame
        last = time
        return 12 + size

    return length_of


_ASF_HEADER = bytes.fromhex("3026B2758E66CF11A6D900AA0062CE6C")
_ASF_DATA = bytes.fromhex("3626B2758E66CF11A6D900AA0062CE6C")


def _asf_end(file: BinaryIO, head: bytes) -> int | None:
    """Where the data object ends that follows the header (ASF 01.20.05, 2 and 5); None for a stream's open size."""
    start = int.from_bytes(head[16:24], "little")
    file.seek(min(start, 1 << 40))
    header = file.read(24)
    size = int.from_bytes(header[16:24], "little")
    if len(header) < len(_ASF_DATA):
        return start + 1  # not even the header is whole
    return start + size if header.startswith(_ASF_DATA) and size else None


_MXF_KEY = b"\x06\x0e\x2b\x34"


def _mxf_triplet(header: bytes) -> int:
    """A key of 16 bytes, a length in BER, the value (SMPTE 336M)."""
    if not header.startswith(_MXF_KEY[: len(header)]):
        return 0
    if len(header) < 17 or header[16] < 0x80:
        return 17 + (header[16] if len(header) > 16 else 0)
    count = header[16] & 0x7F
    return 17 + count + int.from_bytes(header[17 : 17 + count])


_PACK = b"\x00\x00\x01\xba"


def _ps_packet(header: bytes) -> int:
    """A pack's header, the end code, or a packet that says its length (ISO/IEC 13818-1, 2.5.3; 11172-1, 2.4.3)."""
    if header.startswith(_PACK):
        if len(header) < 14:
            return 14
        return 14 + (header[13] & 7) if header[4] >> 6 == 1 else 12
    if header.startswith(b"\x00\x00\x01\xb9"):
        return 4
    is_packet = header.startswith(b"\x00\x00\x01") and len(header) > 3 and header[3] > 0xBA
    return 6 + int.from_bytes(header[4:6]) if is_packet else 0


def _ogg_end(file: BinaryIO, size_bytes: int) -> int:
    """By its pages: a header of 27 bytes, a table of lengths, and as many bytes as it says (RFC 3533, 6).

    A last length of 255 says that the packet goes on, on a page that must follow.
    """
    is_open = False

    def length_of(header: bytes) -> int:
        nonlocal is_open
        if not header.startswith(b"OggS"):
            return 0
        count = header[26] if len(header) > 26 else 1
        lengths = header[27 : 27 + count]
        is_open = lengths.endswith(b"\xff")
        return 27 + count + sum(lengths)

    return _walk(file, 0, size_bytes, length_of) + is_open


_TS_SYNC = 0x47
_TS_LAYOUTS = ((188, 0), (192, 4), (204, 0))
"""The length of a packet, and where its first byte stands in it (M2TS puts a time before it)."""
_TS_PACKETS_LOOKED_AT = 3


def begins_as_ts(head: bytes) -> int:
    """The length of a packet of MPEG-TS, where ``head`` begins as that does; else 0."""
    for length, first in _TS_LAYOUTS:
        marks = head[first::length][:_TS_PACKETS_LOOKED_AT]
        if len(marks) >= 2 and set(marks) == {_TS_SYNC}:
            return length
    return 0


def _ts_end(file: BinaryIO, head: bytes, size_bytes: int) -> int | None:
    """By whole packets: what follows the last whole one and begins like another was cut."""
    length = begins_as_ts(head)
    rest = size_bytes % length if length else 0
    if not rest:
        return None
    first = dict(_TS_LAYOUTS)[length]
    file.seek(size_bytes - rest - length)
    last = file.read(length + rest)
    # Both begin as packets do: no rubbish, and still in step with the first.
    is_cut = rest > first and last[first] == last[length + first] == _TS_SYNC
    return size_bytes - rest + length if is_cut else None
