"""Clip work on Dask: an ``Executor`` that sends calls in chunks to workers elsewhere and outlives their deaths.

Where the workers come from, and whether they are fit, is in ``dask_cluster``; what happens in their processes in
``elsewhere``. Only this executor's own threads talk to Dask; whoever submits sees futures.
"""

import math
import pickle
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from vqa_assets.clips.elsewhere import (
    Call,
    end_run_here,
    run_here,
    stop_run_here,
    why_unreachable,
    why_unseen,
    work_apart,
    work_on_chunk,
    working_for,
)
from vqa_assets.clips.folders import ClipRoot, ClipStore
from vqa_assets.clips.marks import mark_in, remove_abandoned
from vqa_assets.clips.work import StoppedError
from vqa_assets.errors import ChildDiedError, ClusterError
from vqa_assets.printing import logger

CHUNK_S = 1.0
"""What a chunk should last at least: a task costs Dask about 3 ms."""
MOST_PER_CHUNK = 1_000
CHUNKS_PER_THREAD = 2
"""One at work, one that waits for its turn beside it."""
_LOOK_EVERY_S, _ANSWER_WITHIN_S, _LOOKS_IN_VAIN = 3.0, 8.0, 2
NO_WORKER_S = 60.0
"""How long a run goes on without any worker: one that comes back, or is started anew, takes its work up again."""
_STOP_WITHIN_S = 2.0
_ASKED_FOR_EVERY_S = 0.5
_NO_SCHEDULER = "the Dask scheduler is gone"
MOST_DEATHS = 2
"""So often are clips handed to another worker; what dies then is not their process, but the worker's machine."""
_log = logger("vqa_assets.clips.dask")


@dataclass(eq=False)
class _Submitted:
    call: Call
    future: "Future[Any]"


@dataclass(eq=False)
class _Chunk:
    """Calls that travel together, and how often a worker died with them in hand."""

    submitted: list[_Submitted]
    deaths: int = 0


class DaskExecutor(Executor):
    """Carries out calls on the workers of a ``distributed.Client``, whose owner closes it afterwards.

    ``chunk_clips`` is how many calls travel together, 0 for as many as take a second. What a dead worker had in hand is
    tried in child processes of another one, which find the call that kills by halving: its future has ChildDiedError.
    ClusterError is in every future where the scheduler, or the last worker, is gone.
    """

    def __init__(self, client: Any, chunk_clips: int = 0) -> None:
        self.run = uuid4().hex
        self._client, self._fixed = client, chunk_clips
        self._resources: dict[str, float] | None = None
        self._seconds = math.inf  # of one call, by what was seen of late
        self._largest = chunk_clips or 1
        self._changed = threading.Condition()
        self._queue: deque[_Submitted] = deque()
        self._again: deque[_Chunk] = deque()
        self._at_work: dict[Any, _Chunk] = {}
        self._closed = self._stopped = False
        self._failure: ClusterError | None = None
        self._threads_seen = self.workers_seen = 1
        with _reaching_the_scheduler():
            self._look_at_workers()
        self._feeder = threading.Thread(target=self._feed, name="dask chunks", daemon=True)
        self._watcher = threading.Thread(target=self._watch, name="dask scheduler", daemon=True)
        self._feeder.start()
        self._watcher.start()

    # What the coordinator asks of it (``work.Remote``)

    @property
    def window(self) -> int:
        """Calls outstanding at once, so that every thread has a chunk at work and one that waits."""
        return self._threads_seen * CHUNKS_PER_THREAD * self._chunk_size() * 2

    def prefer(self, resource: str) -> None:
        """Send what is submitted from now on only to workers that have this Dask resource, where any has it."""
        with _reaching_the_scheduler():
            workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        # A crumb of it: all threads of such a worker share what it stands for.
        has_it = any(worker.get("resources", {}).get(resource) for worker in workers)
        self._resources = {resource: 0.001} if has_it else None

    def check_sees(self, clips: ClipRoot) -> None:
        """ClusterError where a worker does not see this folder as it is here (there may be none yet), or this store."""
        if isinstance(clips, ClipStore):
            self._refuse_blind(f"{clips}", self.everywhere(partial(why_unreachable, clips)), "give it credentials")
        elif clips.is_dir():
            remove_abandoned(clips)
            self._refuse_blind(f"{clips}", self._sight_of(clips), "mount the clips there at the same path")

    def _sight_of(self, folder: Path) -> dict[str, Any]:
        """Why each worker does not see a file of this folder; empty for one that does."""
        with ExitStack() as marked:
            content: bytes | None = self.run.encode()
            try:
                shown = marked.enter_context(mark_in(folder, self.run))
            except OSError:  # not ours to write in: any file of it will do
                content = None
                shown = next((path for path in folder.iterdir() if path.is_file()), folder)
            return self.everywhere(partial(why_unseen, shown, content, shown.stat().st_size))

    @staticmethod
    def _refuse_blind(clips: str, answers: dict[str, Any], remedy: str) -> None:
        # A connection that broke is of one that died meanwhile: another comes in its place, on the same machine.
        blind = {worker: reason for worker, reason in answers.items() if reason and not isinstance(reason, OSError)}
        if blind:
            worker, reason = next(iter(blind.items()))
            raise ClusterError(
                f"{len(blind)} of {len(answers)} Dask workers do not see the clips",
                found=f"of {clips} the worker {worker} says: {reason}",
                expected="the same clips at the same place for every worker",
                next_step=f"{remedy}, then run again; nothing was done",
            )

    def in_words(self) -> str:
        """How many workers there are."""
        return f"{self.workers_seen} worker{'s' * (self.workers_seen != 1)}"

    def everywhere(self, work: Callable[[], Any]) -> dict[str, Any]:
        """What ``work()`` answers on each worker, an exception too; ClusterError where they do not answer."""
        return everywhere(self._client, work)

    # Executor

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """See ``Executor``; all of it can be pickled."""
        future: Future[Any] = Future()
        with self._changed:
            if self._failure is not None:
                raise self._failure
            if self._closed:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._queue.append(_Submitted((fn, args, kwargs), future))
            self._changed.notify()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """See ``Executor``. With ``cancel_futures`` the workers stop what they have in hand, within two seconds."""
        with self._changed:
            self._closed = True
            stops = cancel_futures and not self._stopped and bool(self._at_work or self._queue or self._again)
            self._stopped = self._stopped or cancel_futures
            at_work = list(self._at_work)
            self._changed.notify_all()
        if cancel_futures:
            if stops and self._failure is None:
                with suppress(Exception):  # a cluster that is gone works no more
                    everywhere(self._client, partial(stop_run_here, self.run), _STOP_WITHIN_S)
                with suppress(Exception):
                    self._client.cancel(at_work)
            self._give_up(StoppedError())
        elif wait:
            with self._changed:
                self._changed.wait_for(lambda: not (self._queue or self._again or self._at_work))

    def close(self) -> None:
        """End the threads, and close on the workers what the run opened there."""
        self.shutdown(wait=False, cancel_futures=True)
        if self._failure is None:
            with suppress(Exception):
                everywhere(self._client, partial(end_run_here, self.run), _STOP_WITHIN_S)
        self._feeder.join(_STOP_WITHIN_S)

    # Threads of its own

    def _feed(self) -> None:
        """Send chunks while there are calls, never more than the workers' threads need."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._may_send())
                if not self._may_send():
                    if not (self._queue or self._again or self._at_work) or self._stopped:
                        return
                    self._changed.wait(_LOOK_EVERY_S)
                    continue
                chunk = self._again.popleft() if self._again else self._next_chunk()
            if chunk.submitted:
                self._send(chunk)

    def _may_send(self) -> bool:
        return (
            not self._stopped
            and bool(self._queue or self._again)
            and len(self._at_work) < CHUNKS_PER_THREAD * self._threads_seen
        )

    def _chunk_size(self) -> int:
        if self._fixed:
            return self._fixed
        # No chunk is more than twice as large as one that was seen: the first calls may have been the small ones.
        return max(1, min(math.ceil(CHUNK_S / self._seconds), 2 * self._largest, MOST_PER_CHUNK))

    def _next_chunk(self) -> _Chunk:
        # The last calls are shared out: no worker waits while another has a long chunk.
        share = math.ceil(len(self._queue) / (self._threads_seen * CHUNKS_PER_THREAD))
        size = min(self._fixed or max(1, min(self._chunk_size(), share)), len(self._queue))
        taken = [self._queue.popleft() for _ in range(size)]
        return _Chunk([one for one in taken if one.future.set_running_or_notify_cancel()])

    def _send(self, chunk: _Chunk) -> None:
        calls = [one.call for one in chunk.submitted]
        try:
            # As bytes: the scheduler need not have what only workers open.
            pickled = pickle.dumps(calls, protocol=pickle.HIGHEST_PROTOCOL)
            work = chunk_apart_on_dask if chunk.deaths else chunk_on_dask
            sent = self._client.submit(work, self.run, pickled, pure=False, resources=self._resources)
        except Exception as error:  # a call that cannot be pickled, or a client that is closed
            _settle(chunk.submitted, [(error, None)] * len(calls))
            return
        with self._changed:
            self._at_work[sent] = chunk
        sent.add_done_callback(self._done)

    def _done(self, sent: Any) -> None:
        """Hand the answers of a chunk to those who wait, or send it again where its worker died."""
        with self._changed:
            chunk = self._at_work.get(sent)
        if chunk is None:
            return
        try:
            if sent.status == "finished":
                seconds, answers = sent.result()
                self._learn(seconds, len(answers))
                _settle(chunk.submitted, answers)
            elif sent.status == "error":
                self._failed(chunk, sent.exception())
            elif not self._stopped:  # cancelled, and not by us: the scheduler forgot it
                self._fail(_NO_SCHEDULER, "it lost a chunk of work")
        except Exception as error:
            _settle(chunk.submitted, [(error, None)] * len(chunk.submitted))
        finally:
            with self._changed:
                self._at_work.pop(sent, None)
                self._changed.notify_all()

    def _failed(self, chunk: _Chunk, error: BaseException) -> None:
        from distributed.scheduler import KilledWorker

        if not isinstance(error, KilledWorker):
            _settle(chunk.submitted, [(error, None)] * len(chunk.submitted))
        elif chunk.deaths < MOST_DEATHS:
            # Not as it was: of further workers that die as they begin, Dask's nannies start no other.
            count = len(chunk.submitted)
            _log.warning("a Dask worker died with %d clips in hand; they are tried again, in a process apart", count)
            with self._changed:
                self._again.append(_Chunk(chunk.submitted, chunk.deaths + 1))
        else:
            died = ChildDiedError(f"its worker died {chunk.deaths + 1} times, though it was read in a process apart")
            _settle(chunk.submitted, [(died, None)] * len(chunk.submitted))

    def _learn(self, seconds: float, count: int) -> None:
        each = max(seconds / count, 1e-6)
        self._largest = max(self._largest, count)
        self._seconds = each if self._seconds == math.inf else 0.7 * self._seconds + 0.3 * each

    def _watch(self) -> None:
        """See whether the scheduler answers, and whether there are workers; ends with the run."""
        in_vain, seen = 0, time.monotonic()
        while not self._closed or self._at_work:
            with self._changed:
                self._changed.wait_for(lambda: self._stopped, _LOOK_EVERY_S)
            if self._stopped:
                return
            try:
                self._look_at_workers()
                in_vain = 0
            except Exception as error:  # whatever kept it from answering
                in_vain += 1
                if in_vain >= _LOOKS_IN_VAIN:
                    self._fail(_NO_SCHEDULER, f"{type(error).__name__}: {error}".rstrip(": "))
                    return
                continue
            if self.workers_seen:
                seen = time.monotonic()
            elif time.monotonic() - seen > NO_WORKER_S:
                self._fail("no Dask worker is left", f"none for {NO_WORKER_S:.0f} seconds")
                return

    def _look_at_workers(self) -> None:
        identity = self._client.sync(self._client.scheduler.identity, n_workers=-1, callback_timeout=_ANSWER_WITHIN_S)
        threads = [worker["nthreads"] for worker in identity["workers"].values()]
        with self._changed:
            self.workers_seen, self._threads_seen = len(threads), max(sum(threads), 1)
            self._changed.notify_all()

    def _fail(self, what: str, found: str) -> None:
        failure = _gone(what, found)
        with self._changed:
            self._failure = self._failure or failure
            self._stopped = True
        self._give_up(failure)

    def _give_up(self, error: Exception) -> None:
        """Whoever waits for a call that is not done hears this error."""
        with self._changed:
            left = [
                *self._queue,
                *(one for chunk in (*self._again, *self._at_work.values()) for one in chunk.submitted),
            ]
            self._queue.clear()
            self._again.clear()
            self._at_work.clear()
            self._changed.notify_all()
        _settle(left, [(error, None)] * len(left))


def _settle(submitted: Sequence[_Submitted], answers: Sequence[tuple[BaseException | None, Any]]) -> None:
    for one, (error, result) in zip(submitted, answers, strict=True):
        with suppress(Exception):  # one that was cancelled, or heard already that the run ended
            if error is not None:
                one.future.set_exception(error)
            else:
                one.future.set_result(result)


def everywhere(client: Any, work: Callable[[], Any], within_s: float = _ANSWER_WITHIN_S) -> dict[str, Any]:
    """What ``work()`` answers on each worker of a client, an exception too; ClusterError where they do not answer."""
    with _reaching_the_scheduler():
        try:
            answers: dict[str, Any] = client.sync(client._run, work, on_error="return", callback_timeout=within_s)
        except TimeoutError:
            raise ClusterError(
                "the Dask workers do not answer",
                found=f"nothing within {within_s:.0f} seconds",
                expected="an answer of each",
                next_step="see whether they are alive and reachable from each other, then run again",
            ) from None
    return answers


@contextmanager
def _reaching_the_scheduler() -> Iterator[None]:
    """ClusterError for an OSError in the block: Dask's, of a connection that broke, which says nothing of a file."""
    try:
        yield
    except OSError as error:
        raise _gone(_NO_SCHEDULER, f"{type(error).__name__}: {error}".rstrip(": ")) from None


def _gone(what: str, found: str) -> ClusterError:
    return ClusterError(
        what,
        found=found,
        expected="a scheduler with workers, to the end of the run",
        next_step="start it again, then run again: finished clips are kept",
    )


# In the workers' processes


def chunk_on_dask(run: str, pickled: bytes) -> tuple[float, list[Any]]:
    """A Dask task: see ``elsewhere.work_on_chunk``."""
    with working_for(run) as here:
        here.places = partial(_place, run)
    with _while_asked_for(run):
        return work_on_chunk(run, pickle.loads(pickled))  # noqa: S301  # of our own coordinator, over Dask's connection


def chunk_apart_on_dask(run: str, pickled: bytes) -> tuple[float, list[Any]]:
    """A Dask task of calls that a worker died with: see ``elsewhere.work_apart``."""
    begun = time.monotonic()
    with _while_asked_for(run):
        answers = work_apart(run, pickle.loads(pickled))  # noqa: S301  # as above
    return time.monotonic() - begun, answers


@contextmanager
def _while_asked_for(run: str) -> Iterator[None]:
    """In a Dask task: end the run in this process where nobody waits for its answer any more, its coordinator dead.

    Dask drops what has not begun and lets go on what has: the next run would meet clips that this one has in hand.
    """
    from distributed import get_worker

    worker = get_worker()
    key, over, abandoned = worker.get_current_task(), threading.Event(), threading.Event()

    def look() -> None:
        while not over.wait(_ASKED_FOR_EVERY_S):
            task = worker.state.tasks.get(key)
            if task is not None and task.state == "cancelled":
                abandoned.set()
                stop_run_here(run)
                return

    looking = threading.Thread(target=look, name="dask task", daemon=True)
    looking.start()
    try:
        yield
    finally:
        over.set()
        looking.join()
        if abandoned.is_set():
            end_run_here(run)


@contextmanager
def _place(run: str, name: str, count: int, stop: threading.Event) -> Iterator[None]:
    """One of ``count`` places over all workers, kept by the scheduler; a worker that dies gives its own back."""
    from distributed import Semaphore

    places = Semaphore(max_leases=count, name=f"vqa-{run}-{name}")
    while not places.acquire(timeout=0.5):
        here = run_here()
        if stop.is_set() or (here is not None and here.stop.is_set()):
            raise StoppedError
    try:
        yield
    finally:
        places.release()
