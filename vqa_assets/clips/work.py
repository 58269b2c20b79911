"""How work on many clips runs: a bounded window over an executor, a stop signal, and progress with rate and ETA.

What is done to a clip is not here (``ingest``, ``features``), nor where the executor comes from (``resources``).
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, Future
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from queue import Empty, SimpleQueue
from typing import Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
_LOOK_AROUND_S = 0.5
_GATHER_S = 0.005
"""So long is waited for others that complete: one commit for all of them, and one change of threads."""


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
    with closing(completed_together(executor, work, items, window)) as batches:
        for batch in batches:
            yield from batch


def completed_together(
    executor: Executor,
    work: Callable[[Item], Result],
    items: Iterable[Item],
    window: int,
    meanwhile: Callable[[], None] = lambda: None,
) -> Generator[list[tuple[Item, "Future[Result]"]], None, None]:
    """As ``completed``, but all that completed since the last time in one list: a consumer may commit them as one.

    None is held back: a list has one pair where the consumer keeps up. ``meanwhile`` is called every half second while
    nothing completes.
    """
    queue = iter(items)
    pending: dict[Future[Result], Item] = {}
    done: SimpleQueue[Future[Result]] = SimpleQueue()  # costs the same however wide the window is; ``wait`` does not
    try:
        while True:
            for item in islice(queue, window - len(pending)):
                future = executor.submit(work, item)
                pending[future] = item
                future.add_done_callback(done.put)
            if not pending:
                return
            if futures := _drained(done):
                yield [(pending.pop(future), future) for future in futures]
            else:
                meanwhile()
    finally:
        for future in pending:
            future.cancel()


def _drained(queue: "SimpleQueue[Future[Result]]") -> "list[Future[Result]]":
    """What is in the queue, after waiting half a second at most for the first."""
    found = []
    with suppress(Empty):
        found.append(queue.get(timeout=_LOOK_AROUND_S))
        time.sleep(_GATHER_S)
        while True:
            found.append(queue.get_nowait())
    return found


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

    ``say`` receives each line; ``every_s`` is the least time between two by the clock ``now``. Rates are over the last
    dozen lines.
    """

    what: str
    total: int
    say: Callable[[str], None]
    every_s: float = 5.0
    unit: str = "clips"
    now: Callable[[], float] = time.monotonic
    _recent: deque[tuple[float, int, int]] = field(default_factory=lambda: deque(maxlen=12))

    def __post_init__(self) -> None:
        self._begun = self._last = self.now()

    def update(self, done: int, extra: Callable[[], str] = str, read_bytes: int | None = None) -> None:
        """Say a line if one is due; with ``read_bytes``, the bytes so far, MB/s too."""
        now = self.now()
        if now - self._last >= self.every_s:
            self._last = now
            self.say(self.line(done, now, extra(), read_bytes))

    def line(self, done: int, now: float, extra: str = "", read_bytes: int | None = None) -> str:
        """The progress line at monotonic time ``now``."""
        then, done_then, bytes_then = self._recent[0] if self._recent else (self._begun, 0, 0)
        self._recent.append((now, done, read_bytes or 0))
        seconds = max(now - then, 1e-9)
        rate = (done - done_then) / seconds
        parts = [
            f"[{self.what}] {done}/{self.total} {self.unit} ({self._percent(done)} %)",
            f"{rate:.1f} {self.unit}/s",
            "" if read_bytes is None else f"{(read_bytes - bytes_then) / seconds / 1e6:.1f} MB/s",
            f"ETA {clock((self.total - done) / rate)}" if rate > 0 else "ETA unknown",
            extra,
        ]
        return ", ".join(part for part in parts if part)

    def _percent(self, done: int) -> int:
        """Rounded down: 100 % is said of a whole pass only."""
        return 100 * done // self.total if self.total else 100


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
