"""One shard, a corpus JSONL: which of its lines are rows, what decides about each, and how to read one again.

The first pass, ``scan``, makes one small record of every row; a line that is no row is refused here, with file and
line. Which rows are kept is decided in ``index`` and ``duplicates``.
"""

import hashlib
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from vqa_assets.corpora.scales import RAW_MOS, MosScale
from vqa_assets.errors import AggregateError, Make, SchemaError
from vqa_assets.tables.files import file_identity, json_line, parse_json_line
from vqa_assets.tables.makers import refuse_newer

REQUIRED_KEYS = ("src", "src_sha256", "mos", "corpus")
ENCODE_GRID_KEYS = ("vmaf_score", "encoder", "preset", "crf")
UNIFIED_KEY = "mos_native"
"""A row that has it has been unified already."""
NUMBER_KEYS = ("mos", RAW_MOS, "mos_std_dev")
PIECE_BYTES = 1 << 20
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
_DIGEST_BYTES = 32
_SCANNED_KEYS = ("src_sha256", "mos", "corpus", "corpus_source", "mos_scale", "mos_polarity", "mos_std_dev", RAW_MOS)
_MOST_SHOWN = 200


@dataclass(frozen=True)
class Shard:
    """One corpus JSONL; ``corpus`` overrides the name in its rows.

    ``scales`` {corpus: scale} override what its rows say of theirs, or what they would be taken for.
    """

    path: Path
    corpus: str | None = None
    scales: Mapping[str, MosScale] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class OpenedShard:
    """A shard as it was when its first line was read: a row may only be read again from the same bytes."""

    path: Path
    size_bytes: int
    _identity: tuple[int, int, int, int]

    @classmethod
    def of(cls, path: Path) -> "OpenedShard":
        """The shard as it is now; AggregateError where it cannot be read, NewerFormatError for a later version's."""
        try:
            refuse_newer(path)
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
        except OSError as error:
            raise _unreadable(path, error) from error
        return cls(path, status.st_size, file_identity(status))

    @contextmanager
    def reading(self) -> Iterator[int]:
        """A file descriptor for the block; AggregateError where the file cannot be read or is no longer the same."""
        try:
            with self.path.open("rb", buffering=0) as file:
                if file_identity(os.fstat(file.fileno())) != self._identity:
                    raise AggregateError(
                        f"{self.path}",
                        found="it changed while it was being read",
                        expected="one state from the first line to the last",
                        next_step=Make("unified_corpus", " again when corpus_jsonl is done"),
                    )
                yield file.fileno()
        except OSError as error:
            raise _unreadable(self.path, error) from error

    def line_at(self, offset: int) -> int:
        """The number, from 1, of the line that begins at a byte."""
        number, position = 1, 0
        with self.reading() as descriptor:
            while part := os.pread(descriptor, min(PIECE_BYTES, offset - position), position):
                number += part.count(b"\n")
                position += len(part)
        return number


def _unreadable(path: Path, error: OSError) -> AggregateError:
    return AggregateError(
        f"{path}",
        found=f"it cannot be read ({error.strerror})",
        expected="a readable corpus JSONL",
        next_step="correct its permissions or its disk, or move it away to go on without it",
    )


def read_row(raw: bytes, path: Path, number: int) -> dict[str, Any]:
    """The row in one line; AggregateError, with file and line, where it is no row of a corpus JSONL.

    Rows of another asset, and rows that lack what every row of a corpus JSONL has, are none.
    """
    try:
        row = parse_json_line(raw, path, number)
    except SchemaError as error:
        raise AggregateError(error.what, found=error.found, expected=error.expected, next_step=error.step) from error
    where = f"{path}:{number}"
    if all(key in row for key in ENCODE_GRID_KEYS):
        raise AggregateError(
            where,
            found="an encode-grid row",
            expected="a row with opinions",
            next_step="it belongs to fr_training_corpus",
        )
    if UNIFIED_KEY in row:
        raise AggregateError(
            where,
            found="a unified row",
            expected="a row of one corpus",
            next_step="give the corpus_jsonl files instead",
        )
    # a score that is null or a text costs its row, as one outside its scale does; a row without the field is no row
    missing = [key for key in REQUIRED_KEYS if key not in row or (row[key] is None and key != "mos")]
    if missing:
        raise AggregateError(
            f"{where}: missing required keys: {missing}", next_step="re-run the adapter (corpus_jsonl)"
        )
    for key in REQUIRED_KEYS:
        if key != "mos" and not isinstance(row[key], str):
            raise wrong_value(where, key, row[key], "a text")
    for key in NUMBER_KEYS:
        if row.get(key) is not None and not (is_number(row[key]) or (key == "mos" and isinstance(row[key], str))):
            raise wrong_value(where, key, row[key], "a number")
    try:
        json_line(row)  # what can be read need not be writable
    except TypeError as error:
        raise not_writable(where, error) from error
    return row


def is_number(value: object) -> bool:
    """Whether a value of a row is a number that a float can hold."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        float(value)
    except OverflowError:
        return False
    return True


def wrong_value(where: str, key: str, value: object, expected: str) -> AggregateError:
    """The error of a value that is of another kind than its key promises."""
    return AggregateError(
        f"{where}: {key}",
        found=shown_value(value),
        expected=expected,
        next_step="re-run the adapter (corpus_jsonl); is this a corpus JSONL?",
    )


def shown_value(value: object) -> str:
    """A value as messages show it: whole, or its beginning and its length."""
    text = "null" if value is None else repr(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}… ({len(text)} characters)"


def not_writable(where: str, error: TypeError) -> AggregateError:
    """The error of a row that cannot be written: a lone surrogate, too large an integer, too deep a nest."""
    return AggregateError(
        where,
        found=f"a value that JSON in UTF-8 cannot hold ({error})",
        expected="values that can be written again",
        next_step="re-run the adapter (corpus_jsonl)",
    )


# msgspec decodes only the fields that are named here and skips the others; the garbage collector, which would walk a
# few million of these, is kept out
class Heading(msgspec.Struct, gc=False):
    """The fields that decide about a plain row; the last two no plain row has."""

    src: str
    src_sha256: str
    mos: float
    corpus: str
    corpus_source: str | None = None
    mos_scale: str | None = None
    mos_polarity: str | None = None
    mos_std_dev: float | None = None
    mos_raw_0_100: float | None = None
    mos_native: msgspec.UnsetType | bool = msgspec.UNSET
    vmaf_score: msgspec.UnsetType | bool = msgspec.UNSET


_decode = msgspec.json.Decoder(Heading).decode
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

    ``corpora`` are (``corpus``, ``corpus_source``) and ``scales`` (``mos_scale``, ``mos_polarity``), as the rows say
    them. ``refused`` is (line from 0, offset, length) of the first line that is no row; nothing after it is read.
    """

    records: NDArray[np.void]
    lines: int
    corpora: tuple[tuple[str, str | None], ...]
    scales: tuple[tuple[Any, Any], ...]
    refused: tuple[int, int, int] | None = None


def pieces_of(shard: OpenedShard, most_bytes: int | None = None) -> list[Piece]:
    """The shard in pieces of whole lines (of ``PIECE_BYTES``); a piece is as long as one line where that is longer."""
    most_bytes = most_bytes or PIECE_BYTES
    edges = [0]
    with shard.reading() as descriptor, os.fdopen(os.dup(descriptor), "rb") as file:
        while edges[-1] + most_bytes < shard.size_bytes:
            file.seek(edges[-1] + most_bytes)
            file.readline()  # to the end of the line that the edge falls into
            edges.append(file.tell())
    if edges[-1] < shard.size_bytes:
        edges.append(shard.size_bytes)
    return [Piece(shard, start, end) for start, end in pairwise(edges)]


def scan(piece: Piece) -> Scan:
    """The records of a piece.

    A plain piece (every line a row, every value of its kind) is decoded in bulk, any other one line by line.
    """
    content = b""
    with piece.shard.reading() as descriptor:
        # one read gives less than was asked for where the file system so pleases
        while part := os.pread(descriptor, piece.end - piece.start - len(content), piece.start + len(content)):
            content = content + part if content else part
    # not splitlines, which also splits at a carriage return alone
    lines = content.split(b"\n")
    if not lines[-1]:
        lines.pop()
    lengths = np.fromiter(map(len, lines), np.uint64, len(lines))
    offsets = piece.start + np.concatenate([[0], np.cumsum(lengths[:-1] + 1)]).astype(np.uint64)
    columns, kept, refused = _plain_columns(lines, content), np.arange(len(lines)), None
    if columns is None:
        columns, numbers, refused = _careful_columns(lines, piece)
        kept = np.array(numbers, np.int64)

    records = np.zeros(len(kept), RECORD)
    records["digest"] = _digests(columns["src_sha256"])
    records["line"], records["offset"], records["length"] = kept, offsets[kept], lengths[kept]
    records["mos"] = _numbers(columns["mos"])
    records["sd"] = _numbers(columns["mos_std_dev"])
    records["raw"] = _numbers(columns[RAW_MOS])
    records["has_raw"] = [raw is not None for raw in columns[RAW_MOS]]
    records["corpus"], corpora = _numbered(list(zip(columns["corpus"], columns["corpus_source"], strict=True)))
    # a scale of any kind is a row, so far: what has no hash is numbered by its spelling
    names, polarities = (
        [s if s is None or isinstance(s, str) else repr(s).encode() for s in columns[key]]
        for key in ("mos_scale", "mos_polarity")
    )
    records["scale"], scales = _numbered(list(zip(names, polarities, strict=True)))
    place = None if refused is None else (refused, int(offsets[refused]), int(lengths[refused]))
    return Scan(records, len(lines), corpora, scales, place)


def _plain_columns(lines: Sequence[bytes], content: bytes) -> _Columns | None:
    """The fields of every line; None where any line is not plainly a row."""
    try:
        headings = list(map(_decode, lines))
        if not content.isascii():
            content.decode()
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors; it does not judge the texts it skips
        return None
    # a unified row or perhaps an encode's: reading with care says what it is
    if not all(h.mos_native is msgspec.UNSET and h.vmaf_score is msgspec.UNSET for h in headings):
        return None
    return {  # written out: the fastest way to read a few million attributes
        "src_sha256": [heading.src_sha256 for heading in headings],
        "mos": [heading.mos for heading in headings],
        "corpus": [heading.corpus for heading in headings],
        "corpus_source": [heading.corpus_source for heading in headings],
        "mos_scale": [heading.mos_scale for heading in headings],
        "mos_polarity": [heading.mos_polarity for heading in headings],
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
            # its number in the file is not known here, so the message is made where the pieces are joined
            refused = number
            break
        source = row.get("corpus_source")
        rows.append(
            {name: row.get(name) for name in _SCANNED_KEYS}
            | {
                "mos": row["mos"] if is_number(row["mos"]) else math.nan,
                "corpus_source": source if isinstance(source, str) else None,
            }
        )
        numbers.append(number)
    return {name: [row[name] for row in rows] for name in _SCANNED_KEYS}, numbers, refused


def _numbers(values: Sequence[Any]) -> NDArray[np.float64]:
    """The values as floats; 0 where there is none."""
    if not any(values):  # nothing or zeros alone: mostly a field that this corpus does not have
        return np.zeros(len(values))
    return np.array([value or 0.0 for value in values], np.float64)


def _numbered(values: Sequence[Any]) -> tuple[list[int], tuple[Any, ...]]:
    """Each value's number, and the values by number."""
    # nearly always there is one, and nothing to look up
    numbers = {value: number for number, value in enumerate(dict.fromkeys(values))}
    return list(map(numbers.__getitem__, values)) if len(numbers) > 1 else [0] * len(values), tuple(numbers)


def _digests(texts: Sequence[str]) -> NDArray[np.uint64]:
    """32 bytes a text: the digest it spells, or a hash of one that spells none (which validation refuses)."""
    digests = _unhexed("".join(texts))  # all at once, which is what a plain piece allows
    if len(digests) != _DIGEST_BYTES * len(texts) or set(map(len, texts)) != {2 * _DIGEST_BYTES}:
        spelled = [(text, _unhexed(text)) for text in texts]
        digests = b"".join(
            digest if len(digest) == _DIGEST_BYTES else hashlib.sha256(text.encode(errors="surrogatepass")).digest()
            for text, digest in spelled
        )
    return np.frombuffer(digests, ">u8").reshape(-1, 4)


def _unhexed(text: str) -> bytes:
    """The bytes that a text of small hexadecimal digits spells; nothing where it is none."""
    try:
        spelled = bytes.fromhex(text)
    except ValueError:
        return b""
    return spelled if spelled.hex() == text else b""
