"""The mark in a folder of clips: a file by which workers elsewhere show that they see the folder that a run sees.

It stands for as long as they are asked, and is locked: what a killed run left is removed by the next, and what another
run is asking by stays.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = ".seen-by-workers-"


@contextmanager
def mark_in(folder: Path, content: str) -> Iterator[Path]:
    """A file of the folder that holds ``content``, which names it, too; gone when the block ends.

    OSError where nothing can be written there.
    """
    mark = folder / f"{PREFIX}{content}.part"
    while True:
        with mark.open("wb") as file:
            try:
                with suppress(OSError):  # a file system without locks: only the next run could take it for abandoned
                    fcntl.flock(file, fcntl.LOCK_EX)
                if not mark.exists():  # taken for abandoned before it was locked
                    continue
                file.write(content.encode())
                file.flush()
                yield mark
                return
            finally:
                with suppress(OSError):
                    mark.unlink()


def remove_abandoned(folder: Path) -> None:
    """Remove the marks of runs that are gone: the system let go of their locks."""
    with suppress(OSError):  # a folder that cannot be listed, or is not there
        for mark in [Path(entry.path) for entry in os.scandir(folder) if entry.name.startswith(PREFIX)]:
            with suppress(OSError), mark.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                mark.unlink()
