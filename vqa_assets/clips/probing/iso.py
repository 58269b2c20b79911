"""Where an MP4 or MOV file ends by its own boxes and tables of samples (ISO/IEC 14496-12). Uses no media library."""

import struct
from collections.abc import Iterator
from itertools import islice, pairwise
from typing import BinaryIO

_FIRST = {
    *(b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"wide", b"free", b"skip", b"junk", b"pnot", b"pict", b"sidx"),
    *(b"udta", b"uuid", b"prfl"),
}
_NEEDED = {b"mdat", b"moov", b"moof"}
_TABLES = (b"trak", b"mdia", b"minf", b"stbl")
_MOST_BOXES = 100_000
_LONGEST_MOOV_BYTES = 256 << 20


def is_iso(head: bytes) -> bool:
    """Whether a file that begins with ``head`` (8 bytes at least) begins as MP4 and MOV do."""
    return head[4:8] in _FIRST


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
        if size == 1:
            size, body = int.from_bytes(header[8:16]), start + 16
        if len(header) < 8 or size < 8:
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
        if not chunks or not samples:
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
