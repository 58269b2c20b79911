"""Where the time of measuring goes: decoding, networks, and the rest, of the clip that a thread has in hand."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")


@dataclass
class ClipSeconds:
    """Seconds of one clip, or of several together: ``whole`` by the clock of the thread that measured it.

    ``network`` are those that networks computed for it, in threads of their own, while it was ``waiting`` for them.
    """

    whole: float = 0.0
    decode: float = 0.0
    network: float = 0.0
    waiting: float = 0.0

    def add(self, other: "ClipSeconds") -> None:
        """Take in those of another clip."""
        for name, seconds in vars(other).items():
            setattr(self, name, getattr(self, name) + seconds)

    def shares(self) -> dict[str, float] | None:
        """The parts of all that was done; None where nothing was."""
        parts = {
            "decode": self.decode,
            "network": self.network,
            "other": max(self.whole - self.decode - self.waiting, 0.0),
        }
        total = sum(parts.values())
        return {name: round(seconds / total, 3) for name, seconds in parts.items()} if total else None


_thread = threading.local()


@contextmanager
def seconds_of_clip() -> Iterator[ClipSeconds]:
    """The seconds of what this thread measures while the block lasts."""
    seconds, begun = ClipSeconds(), time.perf_counter()
    _thread.seconds = seconds
    try:
        yield seconds
    finally:
        seconds.whole = time.perf_counter() - begun
        _thread.seconds = None


def seconds_here() -> ClipSeconds:
    """The seconds of the clip that this thread measures; some that nobody reads where nobody asks."""
    return getattr(_thread, "seconds", None) or ClipSeconds()


def decoding(frames: Iterator[Item]) -> Iterator[Item]:
    """The same frames; what they take counts as decoding."""
    seconds, end = seconds_here(), object()
    while True:
        begun = time.perf_counter()
        frame = next(frames, end)
        seconds.decode += time.perf_counter() - begun
        if frame is end:
            return
        yield frame  # type: ignore[misc]
