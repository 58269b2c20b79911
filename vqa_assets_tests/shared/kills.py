"""A process that is killed at a call of its own choosing."""

import os
import signal
from collections.abc import Callable

KILLED = -signal.SIGKILL


def killed_at(call: str, number: int, work: Callable[[], object]) -> int:
    """How a copy of this process ended that works and is killed just before its ``number``-th call of ``os.<call>``.

    A copy has this process's thread pools without their threads: work with polars waits for them for good.
    """
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    real, calls = getattr(os, call), 0

    def counted(*arguments: object, **options: object) -> object:
        nonlocal calls
        calls += 1
        if calls == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)

    setattr(os, call, counted)
    status = 1
    try:
        work()
        status = 0
    finally:
        os._exit(status)
