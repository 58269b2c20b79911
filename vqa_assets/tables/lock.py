"""Locks that last as long as their process: one run at a time in a corpus folder, and which runs are at work.

They are the operating system's, so a killed process leaves none, and processes that do not see each other's numbers
(containers) see them all the same, as long as they share the data root.
"""

import atexit
import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from vqa_assets.errors import LockedError
from vqa_assets.tables.paths import DataRoot

LOCK_NAME = ".ingest.lock"
RUNS_FOLDER = ".runs"
"""The folder of the data root that holds a lock file per run: how a killed run is distinguished from one at work."""
JUST_MADE_S = 1.0
"""A file that young may be a run's whose process is about to lock it."""
_held: dict[Path, FileLock] = {}


@contextmanager
def corpus_lock(folder: Path, wait_s: float) -> Iterator[None]:
    """Hold the folder's lock; LockedError when another run still holds it after ``wait_s`` seconds."""
    lock = FileLock(folder / LOCK_NAME)
    try:
        lock.acquire(timeout=wait_s)
    except Timeout as error:
        raise locked(folder, f"and did not end within {wait_s:g} s") from error
    try:
        yield
    finally:
        lock.release()


def locked(folder: Path, state: str) -> LockedError:
    """The error for a folder that another run holds; ``state`` says how it goes on."""
    return LockedError(
        f"{folder}",
        found=f"another run holds {LOCK_NAME} {state}",
        expected="one run a corpus at a time",
        next_step="wait for it, stop it, or raise lock_wait_s",
    )


def is_corpus_locked(folder: Path) -> bool:
    """Whether a run holds the folder's lock; looked at without making the lock's file, or holding it."""
    path = folder / LOCK_NAME
    if not path.is_file():
        return False
    try:
        with path.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)  # and let go of when the file closes
    except BlockingIOError:
        return True
    except OSError:  # there is none, or none that may be read: whoever locks it is told
        return False
    return False


def hold_run(root: DataRoot, run_id: str) -> None:
    """Show that this process works on the run, until it ends. A root that cannot be written shows nothing."""
    path = _run_lock(root, run_id)
    if path in _held:
        return
    with suppress(OSError, Timeout):
        path.parent.mkdir(exist_ok=True)
        lock = FileLock(path)
        lock.acquire(timeout=0)
        if not _held:  # the first of this process: one farewell releases them all
            atexit.register(_release_all)
        _held[path] = lock


def is_abandoned(root: DataRoot, run_id: str) -> bool:
    """Whether a process showed that it works on the run, and is gone. False where no process ever showed it."""
    path = _run_lock(root, run_id)
    if path in _held:
        return False
    try:
        # Either way: a clock that was set back must not keep a killed run's record for as long as it was wrong.
        if abs(time.time() - path.stat().st_mtime) < JUST_MADE_S:
            return False
        # The system lets go of the lock of a process that is gone: where it can be taken, nobody works on the run.
        with FileLock(path, timeout=0):
            return True
    except (Timeout, OSError):
        return False


def forget_run(root: DataRoot, run_id: str) -> None:
    """Remove what a gone process left."""
    with suppress(OSError):
        _run_lock(root, run_id).unlink(missing_ok=True)


def _run_lock(root: DataRoot, run_id: str) -> Path:
    return root.path / RUNS_FOLDER / f"{run_id}.lock"


def _release_all() -> None:
    for path, lock in _held.items():
        with suppress(OSError):
            path.unlink(missing_ok=True)
            lock.release()
