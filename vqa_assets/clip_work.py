"""How work on many clips runs: a bounded window over an executor, a stop signal, and progress with rate and ETA.

What is done to a clip is not here (``ingest``, ``features``), nor where the executor comes from (``resources``).
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class StoppedError(Exception):
    """Raised inside a worker whose run was interrupted; never an answer about the clip."""


class ClipPool(Protocol):
    """Where per-clip work runs; ``executor`` is open for the length of a ``with`` block."""

    def open(self, workers: int) -> "PoolContext":
        """A context manager that yields a ``concurrent.futures.Executor`` of that many workers."""
        ...


class PoolContext(Protocol):
    """What ``ClipPool.open`` returns."""

    def __enter__(self) -> Executor: ...
    def __exit__(self, *exc: object) -> object: ...


def completed(
    executor: Executor, work: Callable[[Item], Result], items: Iterable[Item], window: int
) -> Iterator[tuple[Item, "Future[Result]"]]:
    """Submit ``work(item)`` for each item, at most ``window`` outstanding, and yield (item, future) as each completes.

    Closing the generator, or an exception in its consumer, cancels what has not begun.
    """
    queue = iter(items)
    pending: dict[Future[Result], Item] = {}
    try:
        while True:
            while len(pending) < window:
                try:
                    item = next(queue)
                except StopIteration:
                    break
                pending[executor.submit(work, item)] = item
            if not pending:
                return
            done, _ = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
            for future in done:
                yield pending.pop(future), future
    finally:
        for future in pending:
            future.cancel()


@contextmanager
def stopping(stop: threading.Event, executor: Executor, *endings: Callable[[], None]) -> Iterator[None]:
    """On any exception in the block (an interrupt too), set ``stop``, drop what the executor has queued, call endings.

    Without it a ``with ThreadPoolExecutor`` drains its whole queue before an interrupt gets through.
    """
    try:
        yield
    except BaseException:
        stop.set()
        executor.shutdown(wait=False, cancel_futures=True)
        for end in endings:
            end()
        raise


@dataclass
class ProgressLine:
    """One readable line every few seconds: done/total, percent, rate, ETA, and the counts the caller adds.

    ``say`` receives each line; ``every_s`` is the least time between two.
    """

    what: str
    total: int
    say: Callable[[str], None]
    every_s: float = 5.0
    unit: str = "clips"
    _begun: float = field(default_factory=time.monotonic)
    _last: float = field(default_factory=time.monotonic)
    _recent: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=12))

    def update(self, done: int, extra: Callable[[], str] = str) -> None:
        """Say a line if one is due."""
        now = time.monotonic()
        if now - self._last >= self.every_s:
            self._last = now
            self.say(self.line(done, now, extra()))

    def line(self, done: int, now: float, extra: str = "") -> str:
        """The progress line at monotonic time ``now``."""
        then, before = self._recent[0] if self._recent else (self._begun, 0)
        self._recent.append((now, done))
        rate = (done - before) / max(now - then, 1e-9)
        left = f"ETA {clock((self.total - done) / rate)}" if rate > 0 else "ETA unknown"
        share = 100 * done / self.total if self.total else 100.0
        told = f"[{self.what}] {done}/{self.total} {self.unit} ({share:.0f} %), {rate:.1f} {self.unit}/s, {left}"
        return f"{told}, {extra}" if extra else told


def clock(seconds: float) -> str:
    """``75`` seconds as ``1 m 15 s``; hours and days in the same way, the two largest units."""
    whole = round(seconds)
    units = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))
    parts: list[str] = []
    for size, name in units:
        count, whole = divmod(whole, size)
        if count or parts:
            parts.append(f"{count} {name}")
    return " ".join(parts[:2]) or "0 s"
