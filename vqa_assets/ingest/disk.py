"""A disk that is full, a folder that may not be written: faults of the run's surroundings, told as such."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vqa_assets.errors import IngestError
from vqa_assets.store.disk import fault_of


@contextmanager
def told_disk_faults(folder: Path) -> Iterator[None]:
    """Turn what the disk refuses into an IngestError that says where, why and what to do; other errors pass."""
    try:
        yield
    except OSError as error:
        if fault_of(error) is None:
            raise
        raise _refused(Path(error.filename or folder), error.strerror or str(error)) from error
    except sqlite3.OperationalError as error:  # full, read-only, not to be opened: SQLite has no finer classes
        raise _refused(folder / ".ingest-cache.sqlite", str(error)) from error


def _refused(path: Path, reason: str) -> IngestError:
    return IngestError(
        f"cannot write {path}",
        found=reason,
        expected="a folder with space that this user may write",
        next_step="free space or mend the permissions, then run again: the earlier output stands, finished clips are "
        "kept",
    )
