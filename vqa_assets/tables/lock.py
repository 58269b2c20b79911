"""One run at a time in a corpus folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from vqa_assets.errors import LockedError

LOCK_NAME = ".ingest.lock"


@contextmanager
def corpus_lock(folder: Path, wait_s: float) -> Iterator[None]:
    """Hold the folder's lock; LockedError when another run still holds it after ``wait_s`` seconds.

    The lock is the operating system's: a killed process leaves none behind.
    """
    lock = FileLock(folder / LOCK_NAME)
    try:
        lock.acquire(timeout=wait_s)
    except Timeout as error:
        raise LockedError(
            f"{folder}",
            found=f"another run holds {LOCK_NAME} and did not end within {wait_s:g} s",
            expected="one run a corpus at a time",
            next_step="wait for it, stop it, or raise lock_wait_s",
        ) from error
    try:
        yield
    finally:
        lock.release()
