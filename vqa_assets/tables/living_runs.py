"""A lock file per run that lasts as long as the run's process: how a run that was killed is told from one at work.

The locks are the operating system's, so a killed process leaves none, and processes that do not see each other's
numbers (containers) see them all the same, as long as they share the data root.
"""

import atexit
import time
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from vqa_assets.tables.paths import DataRoot

FOLDER = ".runs"
JUST_MADE_S = 1.0
"""A file that young may be a run's whose process is about to lock it."""
_held: dict[Path, FileLock] = {}


def hold_run(root: DataRoot, run_id: str) -> None:
    """Show that this process works on the run, until it ends. A root that cannot be written shows nothing."""
    path = _path(root, run_id)
    if path in _held:
        return
    with suppress(OSError, Timeout):
        path.parent.mkdir(exist_ok=True)
        lock = FileLock(path)
        lock.acquire(timeout=0)
        if not _held:
            atexit.register(_let_go)
        _held[path] = lock


def is_abandoned(root: DataRoot, run_id: str) -> bool:
    """Whether a process showed that it works on the run, and is gone. False where no process ever showed it."""
    path = _path(root, run_id)
    if path in _held:
        return False
    try:
        if time.time() - path.stat().st_mtime < JUST_MADE_S:
            return False
        with FileLock(path, timeout=0):
            return True
    except (Timeout, OSError):
        return False


def forget_run(root: DataRoot, run_id: str) -> None:
    """Remove what a gone process left."""
    with suppress(OSError):
        _path(root, run_id).unlink(missing_ok=True)


def _path(root: DataRoot, run_id: str) -> Path:
    return root.path / FOLDER / f"{run_id}.lock"


def _let_go() -> None:
    for path, lock in _held.items():
        with suppress(OSError):
            path.unlink(missing_ok=True)
            lock.release()
