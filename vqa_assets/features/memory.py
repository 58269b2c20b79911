"""Memory that measuring may take at once: a clip waits until what it is going to hold fits beside the others.

The number of clips at once is the clip pool's; it is enough for small pictures, and too much for 4K in 10 bits.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vqa_assets.clips.work import StoppedError

SHARE = 0.7
"""The share of the memory available when first asked that may be held."""

_FALLBACK_BYTES = 2 << 30
_LOOK_AROUND_S = 0.2
_CGROUP_FILES = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


class Memory:
    """Bytes to be held, ``budget`` of them (None: a share of what the machine or container has left)."""

    def __init__(self, budget: int | None = None) -> None:
        self._budget, self._held = budget, 0
        self._changed = threading.Condition()

    @contextmanager
    def held(self, needed: int, stop: threading.Event | None = None) -> Iterator[None]:
        """Hold about so many bytes for the block, waiting for others to end theirs; more than there is holds all.

        Raises ``StoppedError`` where ``stop`` is set while it waits.
        """
        with self._changed:
            if self._budget is None:
                self._budget = max(int(SHARE * available_bytes()), 1)
            taken = min(needed, self._budget)
            while self._held + taken > self._budget:
                if stop is not None and stop.is_set():
                    raise StoppedError
                self._changed.wait(_LOOK_AROUND_S)
            self._held += taken
        try:
            yield
        finally:
            with self._changed:
                self._held -= taken
                self._changed.notify_all()


def available_bytes() -> int:
    """Memory that the machine has available, or the container's limit where that is less."""
    lines = _text("/proc/meminfo").splitlines()
    of_machine = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    # A container without a limit says "max", or a number beyond any machine.
    limits = (_text(name).strip() for name in _CGROUP_FILES)
    of_container = [int(limit) for limit in limits if limit.isdigit()]
    return min([*of_machine, *of_container], default=_FALLBACK_BYTES)


def _text(name: str) -> str:
    try:
        return Path(name).read_text(encoding="ascii")
    except OSError:
        return ""


MEMORY = Memory()
"""This process's; every extractor in it shares it."""
