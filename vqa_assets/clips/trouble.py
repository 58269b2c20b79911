"""The machine's trouble and the clip's: which errors say nothing about a clip's bytes, and what is tried again.

A clip whose decoder crashes twice is broken, and so is one whose child process is killed in three runs; how many deaths
there were is kept by whoever remembers clips (``ingest.cache``).
"""

import errno
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from vqa_assets.errors import ChildDiedError

MACHINES = (errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EACCES, errno.ESTALE, errno.ETIMEDOUT)
"""What a disk, a server of files, or a machine that is short of memory or descriptors says: never of a clip."""
PASSING = (errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ESTALE, errno.ETIMEDOUT)
"""Those of which a moment may make the difference."""
PAUSE_S = 0.2
CRASHES_UNTIL_BROKEN, RUNS_UNTIL_BROKEN = 2, 3
"""So many crashes of its decoder, or runs in which its process was killed, and the clip is to blame."""
_CRASHES = (-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGFPE, -signal.SIGILL, -signal.SIGTRAP)
"""Not SIGBUS: it is what a file that the disk no longer gives comes to, where it is mapped into memory."""
_Result = TypeVar("_Result")


def is_crash(status: int) -> bool:
    """Whether a process with that exit status (negative: its signal) crashed by itself, and was not killed."""
    return status in _CRASHES


def trouble_in_words(complaint: str) -> int:
    """The error of ``MACHINES`` that a program's complaint ends with; 0 where it does not."""
    return next((number for number in MACHINES if complaint.rstrip().endswith(os.strerror(number))), 0)


def tried_again(work: Callable[[], _Result], wait: Callable[[float], object]) -> _Result:
    """``work()``, a second time where the machine was in its way; the second OSError is raised."""
    try:
        return work()
    except OSError as error:
        if error.errno in PASSING:
            wait(PAUSE_S)
        return work()


@dataclass(frozen=True, slots=True)
class Deaths:
    """How often the process that read a clip's bytes died: crashes in all, and runs in which it was killed."""

    sha256: str
    crashes: int = 0
    killed_runs: int = 0
    memory_bytes: int = 0

    def and_one(self, death: ChildDiedError) -> "Deaths":
        """With another run that ended so."""
        memory_bytes = death.memory_bytes or self.memory_bytes
        if death.crashed:
            return replace(self, crashes=self.crashes + 1, memory_bytes=memory_bytes)
        return replace(self, killed_runs=self.killed_runs + 1, memory_bytes=memory_bytes)

    def verdict(self) -> str:
        """Why the clip is broken; empty while the machine may be to blame."""
        if self.crashes >= CRASHES_UNTIL_BROKEN:
            return f"the probe crashed on it {self.crashes} times"
        if self.killed_runs >= RUNS_UNTIL_BROKEN:
            held = f", at last with {self.memory_bytes / 1e6:.0f} MB" if self.memory_bytes else ""
            return f"the probe was killed in {self.killed_runs} runs{held}"
        return ""
