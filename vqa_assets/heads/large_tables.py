"""Features of tables that are too large to be held in memory: in a file that has no name, and goes with the process.

What is read of such a file counts as memory of the process until it is let go of; the system keeps what it has room
for. Small tables are plain arrays.
"""

import mmap
import tempfile

import numpy as np

from vqa_assets.heads.weights import F32

NUMBERS_IN_MEMORY = 64_000_000
"""Numbers of a table that are held in memory, 256 MB; beyond that they lie in a file (of ``TMPDIR``)."""


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

    To be called by who has read many rows of them, or is about to need memory of its own.
    """
    held = _file_of(features)
    if held is not None:
        held.madvise(mmap.MADV_DONTNEED)


def _file_of(features: F32) -> mmap.mmap | None:
    base: object = features
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, memoryview):
        base = base.obj
    return base if isinstance(base, mmap.mmap) else None
