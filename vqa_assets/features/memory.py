"""Memory that measuring may take at once: a clip waits until what it is going to hold fits beside the others.

The number of clips at once is the clip pool's; it is enough for small pictures, and too much for 4K in 10 bits.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from vqa_assets.clips.caps import ClipCaps
from vqa_assets.clips.work import StoppedError
from vqa_assets.errors import TooLargeError

_LOOK_AROUND_S = 0.2


class Memory:
    """Bytes to be held, ``budget`` of them (None: a share of what the machine or container has left)."""

    def __init__(self, budget: int | None = None) -> None:
        self._caps, self._held = ClipCaps(memory_budget=budget), 0
        self._changed = threading.Condition()

    def keep_to(self, caps: ClipCaps) -> None:
        """Let the budget be that of these caps from now on; what is held already counts."""
        with self._changed:
            own = ClipCaps(memory_budget=caps.memory_budget, by_options=caps.by_options)
            if own != self._caps:
                self._caps = own
            self._changed.notify_all()

    @contextmanager
    def held(self, needed: int, stop: threading.Event | None = None) -> Iterator[None]:
        """Hold about so many bytes for the block, waiting for others to end theirs.

        Raises ``TooLargeError`` where there is never that much, ``StoppedError`` where ``stop`` is set while it waits.
        """
        with self._changed:
            while self._held + needed > self._caps.budget_bytes:
                if needed > self._caps.budget_bytes:
                    raise TooLargeError(f"too large: {self._caps.over_budget(needed)}")
                if stop is not None and stop.is_set():
                    raise StoppedError
                self._changed.wait(_LOOK_AROUND_S)
            self._held += needed
        try:
            yield
        finally:
            with self._changed:
                self._held -= needed
                self._changed.notify_all()


MEMORY = Memory()
"""This process's; every extractor in it shares it."""
