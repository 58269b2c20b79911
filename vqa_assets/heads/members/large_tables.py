"""Features of tables that are too large to be held in memory: in a file that has no name, and goes with the process.

What is read of such a file counts as memory of the process until it is let go of; the system keeps what it has room
for. Small tables are plain arrays.
"""

import mmap
import tempfile
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from vqa_assets.heads.members.weights import F32, I64

NUMBERS_IN_MEMORY = 64_000_000
"""Numbers of a table that are held in memory, 256 MB; beyond that they lie in a file (of ``TMPDIR``)."""

NUMBERS_AT_ONCE = 4_000_000
"""Numbers of a file that are looked at before their memory is given back, 16 MB."""


def empty_features(rows: int, columns: int) -> F32:
    """Features (rows, columns) to be written; of a large table in a file."""
    numbers = rows * columns
    if numbers <= NUMBERS_IN_MEMORY:
        return np.empty((rows, columns), dtype=np.float32)
    with tempfile.TemporaryFile() as file:
        file.truncate(4 * numbers)
        held = mmap.mmap(file.fileno(), 4 * numbers)
    return np.frombuffer(held, dtype=np.float32).reshape(rows, columns)


def let_go(features: F32) -> None:
    """Gives back the memory of what was read of features that lie in a file; nothing is lost. Of others, does nothing.

    Call it after reading many of the rows, or before using much other memory.
    """
    held = _file_of(features)
    if held is not None:
        held.madvise(mmap.MADV_DONTNEED)


def row_blocks(features: F32) -> Iterator[slice]:
    """The rows of features, some at a time: as many as together hold ``NUMBERS_AT_ONCE`` numbers."""
    at_once = max(1, NUMBERS_AT_ONCE // max(1, features.shape[1]))
    return (slice(first, first + at_once) for first in range(0, len(features), at_once))


def stacked(parts: Sequence[tuple[F32, NDArray[np.integer]]]) -> F32:
    """The rows of several features (n, F) that are numbered beside them, one part's after another's.

    All rows of one alone are those features themselves.
    """
    alone, _ = parts[0]
    count = sum(len(numbers) for _, numbers in parts)
    if len(parts) == 1 and len(alone) == count:
        return alone
    result, at = empty_features(count, alone.shape[1]), 0
    for features, numbers in parts:
        for rows in row_blocks(result[: len(numbers)]):
            own = features[numbers[rows]]
            result[at : at + len(own)] = own
            at += len(own)
            let_go(features)
            let_go(result)
    return result


def columns_of(features: F32, columns: slice, rows: I64 | None = None) -> F32:
    """Some columns (n, c) of features, of all rows or of those numbered.

    Rows lie one after another: of features in a file the columns are copied by a few rows at a time, for else all of
    it would be in memory at once.
    """
    block = features[:, columns]
    if _file_of(features) is None:
        return block if rows is None else block[rows]
    copied = np.empty((len(features) if rows is None else len(rows), block.shape[1]), dtype=np.float32)
    at_once = max(1, NUMBERS_AT_ONCE // max(1, features.shape[1]))
    for first in range(0, len(copied), at_once):
        some = slice(first, first + at_once)
        copied[some] = block[some] if rows is None else block[rows[some]]
        let_go(features)
    return copied


def rows_of(features: F32, rows: I64, at_once: int) -> Iterator[tuple[I64, F32]]:
    """Numbers of rows (n,), and their features (n, F), in one piece; of features in a file in several.

    A piece is a multiple of ``at_once`` rows. What was read of the file is given back before the next.
    """
    size = at_once * max(1, NUMBERS_AT_ONCE // max(1, at_once * features.shape[1]))
    if _file_of(features) is None:
        size = max(1, len(rows))
    for first in range(0, max(1, len(rows)), size):
        own = rows[first : first + size]
        yield own, features[own]
        let_go(features)


def _file_of(features: F32) -> mmap.mmap | None:
    base: object = features
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, memoryview):
        base = base.obj
    return base if isinstance(base, mmap.mmap) else None
