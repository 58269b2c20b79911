"""The first pass: a piece of a shard becomes one small record a row. Judges only what a line must be to be a row.

A plain piece (every line a row, every value of its kind) is decoded in bulk; any other one line by line. The records
hold what decides about a row and where it lies; the row itself is read again by ``rows``.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from vqa_assets.corpora.scales import RAW_MOS
from vqa_assets.errors import AggregateError
from vqa_assets.unified.shards import OpenedShard, read_row

PIECE_BYTES = 1 << 20
_DIGEST_HEX = 64
RECORD = np.dtype(
    [
        ("digest", ">u8", 4),
        ("offset", "<u8"),
        ("length", "<u4"),
        ("line", "<u4"),
        ("mos", "<f8"),
        ("raw", "<f8"),
        ("sd", "<f8"),
        ("has_raw", "?"),
        ("corpus", "<u4"),
        ("scale", "<u4"),
    ]
)
"""One row: SHA-256 of its clip, where it lies, line from 0 within the piece, scores; corpus and scale by number."""


class Heading(msgspec.Struct, gc=False):
    """The fields that decide about a plain row; the last two no plain row has."""

    src: str
    src_sha256: str
    mos: float
    corpus: str
    mos_scale: str | None = None
    mos_std_dev: float | None = None
    mos_raw_0_100: float | None = None
    mos_native: msgspec.UnsetType | bool = msgspec.UNSET
    vmaf_score: msgspec.UnsetType | bool = msgspec.UNSET


_decode = msgspec.json.Decoder(Heading).decode
_KEPT = ("src_sha256", "mos", "corpus", "mos_scale", "mos_std_dev", RAW_MOS)
_Columns = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Piece:
    """Whole lines of a shard: the bytes from ``start`` to before ``end``."""

    shard: OpenedShard
    start: int
    end: int


@dataclass(frozen=True)
class Scan:
    """What a piece holds: its records, its lines (blank ones too), and what the records number.

    ``refused`` is (line from 0, offset, length) of the first line that is no row; nothing after it is read.
    """

    records: NDArray[np.void]
    lines: int
    corpora: tuple[str, ...]
    scales: tuple[Any, ...]
    refused: tuple[int, int, int] | None = None


def pieces_of(shard: OpenedShard, most_bytes: int = PIECE_BYTES) -> list[Piece]:
    """The shard in pieces of whole lines; a piece is as long as one line where that is longer."""
    edges = [0]
    with shard.reading() as descriptor, os.fdopen(os.dup(descriptor), "rb") as file:
        while edges[-1] + most_bytes < shard.size_bytes:
            file.seek(edges[-1] + most_bytes)
            file.readline()
            edges.append(file.tell())
    if edges[-1] < shard.size_bytes:
        edges.append(shard.size_bytes)
    return [Piece(shard, start, end) for start, end in pairwise(edges)]


def scan(piece: Piece) -> Scan:
    """The records of a piece."""
    with piece.shard.reading() as descriptor:
        content = _read(descriptor, piece)
    lines = content.split(b"\n")
    if not lines[-1]:
        lines.pop()
    lengths = np.fromiter(map(len, lines), np.uint64, len(lines))
    offsets = piece.start + np.concatenate([[0], np.cumsum(lengths[:-1] + 1)]).astype(np.uint64)
    columns = _plain_columns(lines, content)
    kept, refused = list(range(len(lines))), None
    if columns is None:
        columns, kept, refused = _careful_columns(lines, piece)
    records, corpora, scales = _records(columns, np.array(kept, np.int64), (offsets, lengths))
    place = None if refused is None else (refused, int(offsets[refused]), int(lengths[refused]))
    return Scan(records, len(lines), corpora, scales, place)


def _read(descriptor: int, piece: Piece) -> bytes:
    parts, position = [], piece.start
    while position < piece.end and (part := os.pread(descriptor, piece.end - position, position)):
        parts.append(part)
        position += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _plain_columns(lines: Sequence[bytes], content: bytes) -> _Columns | None:
    """The fields of every line; None where any line is not plainly a row."""
    try:
        headings = list(map(_decode, lines))
        if not content.isascii():
            content.decode()
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors; it does not judge the texts it skips
        return None
    if not all(h.mos_native is msgspec.UNSET and h.vmaf_score is msgspec.UNSET for h in headings):
        return None
    return {  # written out: the fastest way to read a few million attributes
        "src_sha256": [heading.src_sha256 for heading in headings],
        "mos": [heading.mos for heading in headings],
        "corpus": [heading.corpus for heading in headings],
        "mos_scale": [heading.mos_scale for heading in headings],
        "mos_std_dev": [heading.mos_std_dev for heading in headings],
        RAW_MOS: [heading.mos_raw_0_100 for heading in headings],
    }


def _careful_columns(lines: Sequence[bytes], piece: Piece) -> tuple[_Columns, list[int], int | None]:
    """(fields, their lines, the first line that is no row) of a piece that may hold anything."""
    rows, numbers, refused = [], [], None
    for number, line in enumerate(lines):
        if not line.strip():
            continue
        try:
            row = read_row(line, piece.shard.path, number)
        except AggregateError:
            refused = number
            break
        rows.append({name: row.get(name) for name in _KEPT})
        numbers.append(number)
    return {name: [row[name] for row in rows] for name in _KEPT}, numbers, refused


def _records(
    columns: _Columns, lines: NDArray[np.int64], places: tuple[NDArray[np.uint64], NDArray[np.uint64]]
) -> tuple[NDArray[np.void], tuple[str, ...], tuple[Any, ...]]:
    """(records, corpora, scales) of rows in these lines of the piece; ``places`` are each line's offset and length."""
    records = np.zeros(len(lines), RECORD)
    records["digest"] = _digests(columns["src_sha256"])
    records["line"], records["offset"], records["length"] = lines, places[0][lines], places[1][lines]
    records["mos"] = _numbers(columns["mos"])
    records["sd"] = _numbers(columns["mos_std_dev"])
    records["raw"] = _numbers(columns[RAW_MOS])
    records["has_raw"] = [raw is not None for raw in columns[RAW_MOS]]
    records["corpus"], corpora = _numbered(columns["corpus"])
    records["scale"], scales = _numbered(list(map(_hashable, columns["mos_scale"])))
    return records, corpora, scales


def _numbers(values: Sequence[Any]) -> NDArray[np.float64]:
    """The values as floats; 0 where there is none."""
    if not any(values):
        return np.zeros(len(values))
    return np.array([value or 0.0 for value in values], np.float64)


def _numbered(values: Sequence[Any]) -> tuple[list[int], tuple[Any, ...]]:
    """Each value's number, and the values by number."""
    numbers = {value: number for number, value in enumerate(dict.fromkeys(values))}
    return list(map(numbers.__getitem__, values)) if len(numbers) > 1 else [0] * len(values), tuple(numbers)


def _hashable(scale: Any) -> Any:
    return scale if scale is None or isinstance(scale, str) else repr(scale).encode()


def _digests(texts: Sequence[str]) -> NDArray[np.uint64]:
    """32 bytes a text: the digest it spells, or a hash of one that spells none (which validation refuses)."""
    joined = "".join(texts)
    found = _unhexed(joined)
    if len(found) != 32 * len(texts) or set(map(len, texts)) != {_DIGEST_HEX}:
        found = b"".join(_digest(text) for text in texts)
    return np.frombuffer(found, ">u8").reshape(-1, 4)


def _digest(text: str) -> bytes:
    found = _unhexed(text)
    return found if len(found) == 32 else hashlib.sha256(text.encode(errors="surrogatepass")).digest()


def _unhexed(text: str) -> bytes:
    """The bytes that a text of small hexadecimal digits spells; nothing where it is none."""
    try:
        found = bytes.fromhex(text)
    except ValueError:
        return b""
    return found if found.hex() == text else b""
