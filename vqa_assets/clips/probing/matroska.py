"""Where a Matroska or WebM file ends by its own elements (RFC 9559, section 5.1; RFC 8794, 4 to 6). Uses no media
library.
"""

from typing import BinaryIO, NamedTuple

_HEAD_BYTES = 512
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
_KNOWN = {name: name.to_bytes((name.bit_length() + 7) // 8) for name in _IN_SEGMENT | _IN_CLUSTER}


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
    segment = _segment(file.read(_HEAD_BYTES))
    if segment is None:
        return None
    return segment.body + segment.size if segment.size is not None else _last_end(file, segment.body, size_bytes)


def _segment(head: bytes) -> _Element | None:
    position, wanted = 0, _EBML
    while element := _element(head, position):
        if element.name == _SEGMENT and wanted == _SEGMENT:
            return element
        if element.size is None or element.name not in (wanted, _VOID, _CRC32):
            return None
        position, wanted = element.body + element.size, _SEGMENT
    return None


def _last_end(file: BinaryIO, position: int, size_bytes: int) -> int:
    """Where the last element ends that follows the others from ``position``; what is unknown there ends the walk.

    A Cluster of unknown size ends where what is no part of it begins, so that its parts can be walked like itself.
    """
    for _ in range(_MOST_ELEMENTS):
        if position >= size_bytes:
            break
        file.seek(position)
        header = file.read(_LONGEST_HEADER_BYTES)
        element = _element(header, 0)
        if element is None:
            return size_bytes + 1 if _is_cut(header) else position
        if element.name not in _KNOWN:
            break
        position += element.body + (element.size or 0)
    return position


def _is_cut(header: bytes) -> bool:
    """Whether these last bytes of a file are the beginning of an element's header."""
    return len(header) < _LONGEST_HEADER_BYTES and any(
        header.startswith(name[: len(header)]) for name in _KNOWN.values()
    )


def _element(data: bytes, at: int) -> _Element | None:
    """The element that begins there; ``None`` past the end of the data, or where none begins."""
    id_length = _vint_length(data, at)
    size_at = at + id_length
    size_length = _vint_length(data, size_at)
    body = size_at + size_length
    if not id_length or not size_length or body > len(data):
        return None
    unknown = (1 << 7 * size_length) - 1
    size = int.from_bytes(data[size_at:body]) & unknown
    return _Element(int.from_bytes(data[at:size_at]), body, None if size == unknown else size)


def _vint_length(data: bytes, at: int) -> int:
    """The length in bytes of the variable-size integer at ``at``, by its first byte's leading zeros; 0 for none."""
    return 9 - data[at].bit_length() if at < len(data) and data[at] else 0
