"""A disk that is full, a folder that may not be written: faults of the run's surroundings, told as such."""

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vqa_assets.errors import IngestError
from vqa_assets.tables.files import fault_of, refusal_of

_IN_THE_WAY = (errno.EISDIR, errno.ENOTDIR, errno.EEXIST)


@contextmanager
def told_disk_faults(folder: Path) -> Iterator[None]:
    """Turn what the disk refuses into an IngestError that says where, why and what to do; other errors pass."""
    try:
        yield
    except OSError as error:
        name = error.filename2 or error.filename  # of a file that was to replace another, the other
        if error.errno in _IN_THE_WAY and name:
            raise _in_the_way(Path(name), error) from error
        code = fault_of(error)
        if code is None:
            raise
        raise _refused(code, Path(name or folder), error.strerror or str(error)) from error
    except sqlite3.OperationalError as error:  # full, read-only, not to be opened: SQLite has no finer classes
        raise _refused(None, folder / ".ingest-cache.sqlite", str(error)) from error


def _in_the_way(path: Path, error: OSError) -> IngestError:
    return IngestError(
        f"{path}",
        found=(error.strerror or str(error)).lower(),
        expected="a file where files are, a folder where folders are",
        next_step="move away what stands there, then run again",
    )


def _refused(code: int | None, path: Path, reason: str) -> IngestError:
    words = refusal_of(code, path)
    return IngestError(
        words.what,
        found=reason,
        expected=words.expected,
        next_step=f"{words.remedy}, then run again: the earlier output stands, finished clips are kept",
    )
