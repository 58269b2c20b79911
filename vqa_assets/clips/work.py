"""How work on many clips runs: a bounded window over an executor, a stop signal, and who hears how far it is.

What is done to a clip is not here (``ingest``, ``features``), nor which executor a Dagster run has (``resources``).
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

if TYPE_CHECKING:
    from vqa_assets.clips.folders import ClipRoot

Item = TypeVar("Item")
Result = TypeVar("Result")
OBSERVED_EVERY_S = 60.0
"""An observer hears of a pass so often: what it makes of it (an event in Dagster's storage) is kept for good."""
_LOOK_AROUND_S, _GATHER_S = 0.5, 0.005


class StoppedError(Exception):
    """Raised inside a worker whose run was interrupted; never an answer about the clip."""


class ClipPool(Protocol):
    """Where per-clip work runs; ``executor`` is open for the length of a ``with`` block."""

    def open(self, workers: int) -> AbstractContextManager[Executor]:
        """A context manager that yields a ``concurrent.futures.Executor`` of that many workers."""
        ...


class ThreadClipPool:
    """Works on several clips at once: a pool of threads on this machine."""

    @contextmanager
    def open(self, workers: int) -> Iterator[Executor]:
        """A thread pool of that many workers, joined at the end of the block."""
        with ThreadPoolExecutor(workers, thread_name_prefix="clip") as executor:
            yield executor


@runtime_checkable
class Remote(Protocol):
    """What an executor is beside, whose workers are other processes that somebody else started, elsewhere perhaps."""

    @property
    def window(self) -> int:
        """Calls outstanding at once, so that none of its workers is idle; it changes with what calls take."""
        ...

    def check_sees(self, clips: "ClipRoot") -> None:
        """ClusterError where a worker does not see this folder as it is here, or cannot open this object store."""
        ...

    def prefer(self, resource: str) -> None:
        """Send what comes only to workers that have this resource (``GPU``), where any has it."""
        ...

    def in_words(self) -> str:
        """How many workers there are: ``4 workers``."""
        ...

    def everywhere(self, work: Callable[[], object]) -> Mapping[str, object]:
        """What ``work()`` answers on each worker, by its name, an exception too; ClusterError where they do not."""
        ...


def completed(
    executor: Executor,
    work: Callable[[Item], Result],
    items: Iterable[Item],
    window: int,
    meanwhile: Callable[[], None] = lambda: None,
) -> Iterator[tuple[Item, "Future[Result]"]]:
    """Submit ``work(item)`` for each item, at most ``window`` outstanding, and yield (item, future) as each completes.

    Closing the generator, or an exception in its consumer, cancels what has not begun. ``meanwhile`` is called every
    half second while nothing completes. An executor with workers elsewhere may have a wider window.
    """
    with closing(completed_together(executor, work, items, window, meanwhile)) as batches:
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

    None is held back: a list has one pair where the consumer keeps up.
    """
    queue = iter(items)
    pending: dict[Future[Result], Item] = {}
    done: SimpleQueue[Future[Result]] = SimpleQueue()  # costs the same however wide the window is; ``wait`` does not
    try:
        while True:
            wide = max(window, executor.window) if isinstance(executor, Remote) else window
            for item in islice(queue, max(wide - len(pending), 0)):
                future = executor.submit(work, item)
                pending[future] = item
                future.add_done_callback(done.put)
            if not pending:
                return
            futures: list[Future[Result]] = []
            with suppress(Empty):
                futures.append(done.get(timeout=_LOOK_AROUND_S))
                # Others complete within moments of the first: one commit for all of them, and one change of threads.
                time.sleep(_GATHER_S)
                while True:
                    futures.append(done.get_nowait())
            if futures:
                yield [(pending.pop(future), future) for future in futures]
            else:
                meanwhile()
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
        percent = 100 * done // self.total if self.total else 100  # rounded down: 100 % is said of a whole pass only
        parts = [
            f"[{self.what}] {done}/{self.total} {self.unit} ({percent} %)",
            f"{rate:.1f} {self.unit}/s",
            "" if read_bytes is None else f"{(read_bytes - bytes_then) / seconds / 1e6:.1f} MB/s",
            f"ETA {clock((self.total - done) / rate)}" if rate > 0 else "ETA unknown",
            extra,
        ]
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True)
class PassCounts:
    """How far a pass over clips is; what a stage does not count stays 0.

    ``cached`` of the ``done`` clips were done before the pass began. ``failed`` and ``broken`` clips are lost,
    ``read_bytes`` were hashed, ``fetched_bytes`` came over the network; ``seconds`` since the pass began.
    """

    done: int
    total: int
    failed: int
    cached: int = 0
    broken: int = 0
    read_bytes: int = 0
    fetched_bytes: int = 0
    seconds: float = 0.0


Observer = Callable[[PassCounts], None]


def unobserved(counts: PassCounts) -> None:
    """The observer of a pass that nobody watches."""


class Watch:
    """Says how far one pass is: a line every few seconds; the counts once a minute and at the end to the observer.

    Only the coordinator calls it.
    """

    def __init__(self, line: ProgressLine, observe: Observer = unobserved) -> None:
        self._line, self._observe = line, observe
        self._begun = self._observed = line.now()
        self._counts = {"done": 0, "failed": 0}
        self._cached: int | None = None
        self._where: Callable[[], str] = str

    def at(self, executor: Executor) -> None:
        """From now on lines say how many workers elsewhere there are, where the executor has such."""
        if isinstance(executor, Remote):
            self._where = executor.in_words

    def update(self, done: int, failed: int, **counts: int) -> None:
        """Take the counts as they are now, and say what is due.

        The first call comes before any work: what is done then was known already. ``counts`` are the others of
        ``PassCounts`` that the stage keeps; the line shows ``broken`` and the rate of ``read_bytes`` where it does.
        """
        if self._cached is None:
            self._cached = done
        self._counts = {"done": done, "failed": failed, **counts}
        self.look()

    def look(self) -> None:
        """Say what is due, though no clip was done."""
        self._line.update(self._counts["done"], self._lost, self._counts.get("read_bytes"))
        if self._line.now() - self._observed >= OBSERVED_EVERY_S:
            self._report()

    def end(self) -> None:
        """Report the counts of the whole pass, where there was anything to do."""
        if self._counts["done"] > (self._cached or 0):
            self._report()

    def _report(self) -> None:
        self._observed = self._line.now()
        seconds = self._observed - self._begun
        self._observe(PassCounts(**self._counts, total=self._line.total, cached=self._cached or 0, seconds=seconds))

    def _lost(self) -> str:
        lost = [f"{self._counts[name]} {name}" for name in ("failed", "broken") if name in self._counts]
        return ", ".join(filter(None, [*lost, self._where()]))


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
