"""PyAV behind child processes, so that a clip that crashes or hangs a library costs that clip only.

As many workers as probes run at once, each kept for the next clip: a question and its answer over a pipe cost a
fraction of a millisecond, where a process per clip costs a hundred. What is asked is not here (``pyav``).

A worker is this module run as a program: one JSON line in, one JSON line out, until its input ends.
In: ``{"path": …, "limit_s": …}``. Out: first ``{"ready": true}`` or ``{"failed": reason}``, then per clip ``{"answer":
{…}}`` or ``{"broken": reason}``. A clip that hangs a library ends the process by SIGALRM, should the parent be gone.
"""

import json
import math
import os
import select
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import vqa_assets
from vqa_assets.clips.containers import refuse_what_is_no_clip, told_better
from vqa_assets.clips.geometry import Geometry, ProbeAnswer, geometry_of
from vqa_assets.clips.pyav import answer_of, silence
from vqa_assets.clips.work import StoppedError
from vqa_assets.errors import BrokenClipError, IngestError, TransientClipError

_GRACE_S = 5


def encoded(answer: ProbeAnswer) -> dict[str, object]:
    """An answer as JSON has it; rates as ``30000/1001``."""
    fields = vars(answer).items()  # not asdict, which copies every fraction
    return {k: str(v) if isinstance(v, Fraction) else v for k, v in fields}


def decoded(fields: dict[str, object]) -> ProbeAnswer:
    """The inverse of ``encoded``."""
    rates = {k: Fraction(str(fields[k])) for k in ("average_rate", "base_rate") if fields[k] is not None}
    return ProbeAnswer(**(fields | rates))  # type: ignore[arg-type]


def reply_to(line: bytes) -> dict[str, object]:
    """Ask PyAV what the parent wants to know."""
    question = json.loads(line)
    signal.alarm(math.ceil(question["limit_s"]) + _GRACE_S)
    try:
        return {"answer": encoded(answer_of(Path(question["path"])))}
    except BrokenClipError as error:
        return {"broken": str(error)}
    except Exception as error:
        return {"broken": f"the probe failed: {type(error).__name__}: {error}"[:300]}
    finally:
        signal.alarm(0)


def main() -> None:
    """Be a worker: serve until standard input ends."""
    try:
        silence()
    except ImportError as error:
        _say({"failed": str(error)})
        return
    _say({"ready": True})
    for line in sys.stdin.buffer:
        _say(reply_to(line))


def _say(reply: dict[str, object]) -> None:
    sys.stdout.buffer.write(json.dumps(reply).encode() + b"\n")
    sys.stdout.buffer.flush()


_START_LIMIT_S = 120.0
_MOST_BYTES = 65536
_WORKER = (sys.executable, "-m", "vqa_assets.clips.probing")
_KEEP_MEMORY = {"MALLOC_TRIM_THRESHOLD_": str(64 << 20), "MALLOC_MMAP_THRESHOLD_": str(32 << 20)}
"""For glibc (mallopt(3)): a worker that gives memory back after each clip spends more on page faults than on clips."""


class PyAvProber:
    """Satisfies the ingest loop's Prober; safe from many threads at once.

    ``worker`` is the command of a child process that speaks as this module does when it is run.
    """

    def __init__(self, worker: Sequence[str] = _WORKER) -> None:
        self._command = worker
        self._workers = _Workers()
        weakref.finalize(self, self._workers.end)

    def probe(self, path: Path, timeout_s: float) -> Geometry:
        """The clip's geometry.

        BrokenClipError where it is no whole clip; TransientClipError where no answer comes within ``timeout_s``;
        OSError where it cannot be read; StoppedError where ``close`` is called meanwhile; IngestError where PyAV cannot
        be started.
        """
        refuse_what_is_no_clip(path)
        try:
            return geometry_of(self._answer(path, timeout_s))
        except BrokenClipError as error:
            raise BrokenClipError(told_better(str(error), path)) from None

    def close(self) -> None:
        """End all workers, those at work too; a later probe starts new ones."""
        self._workers.end()

    def _answer(self, path: Path, timeout_s: float) -> ProbeAnswer:
        """Ask a worker; where it dies, a new one, since a worker may have died before or for want of memory."""
        question = {"path": os.fspath(path.absolute()), "limit_s": timeout_s}
        try:
            reply = self._ask(self._workers.idle() or self._new_worker(), question, timeout_s)
        except EOFError:
            reply = self._ask_again(question, timeout_s)
        if "broken" in reply:
            raise BrokenClipError(str(reply["broken"]))
        return decoded(reply["answer"])  # type: ignore[arg-type]

    def _ask_again(self, question: dict[str, object], timeout_s: float) -> dict[str, object]:
        try:
            return self._ask(self._new_worker(), question, timeout_s)
        except EOFError as error:
            raise BrokenClipError(f"the probe crashes on it ({error})") from None

    def _ask(self, worker: "_Worker", question: dict[str, object], timeout_s: float) -> dict[str, object]:
        """One question; EOFError, telling how it ended, where the worker died of it."""
        try:
            reply = worker.ask(question, timeout_s)
        except BaseException as error:
            self._workers.drop(worker)
            if worker.stopped:
                raise StoppedError from None
            if isinstance(error, TimeoutError):
                raise TransientClipError(f"no answer within {timeout_s:g} s") from None
            raise
        self._workers.keep(worker)
        return reply

    def _new_worker(self) -> "_Worker":
        try:
            worker = self._workers.add(_Worker(self._command))
        except OSError as error:
            raise _not_started(error.strerror or str(error)) from error
        try:
            reply = worker.listen(_START_LIMIT_S)
        except (EOFError, TimeoutError) as error:
            reply = {"failed": str(error)}
        if not reply.get("ready"):
            self._workers.drop(worker)
            if worker.stopped:
                raise StoppedError
            raise _not_started(str(reply.get("failed")))
        return worker


def _not_started(found: str) -> IngestError:
    return IngestError("the probe's process did not start", found=found, next_step="reinstall Python or PyAV (av)")


class _Workers:
    """All workers of one prober: those that wait for a clip, and those at work."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: set[_Worker] = set()
        self._idle: list[_Worker] = []

    def add(self, worker: "_Worker") -> "_Worker":
        with self._lock:
            self._all.add(worker)
        return worker

    def idle(self) -> "_Worker | None":
        with self._lock:
            return self._idle.pop() if self._idle else None

    def keep(self, worker: "_Worker") -> None:
        with self._lock:
            kept = worker in self._all
            if kept:
                self._idle.append(worker)
        if not kept:
            worker.end()

    def drop(self, worker: "_Worker") -> None:
        with self._lock:
            self._all.discard(worker)
        worker.end()

    def end(self) -> None:
        with self._lock:
            idle, at_work = self._idle, self._all.difference(self._idle)
            self._all, self._idle = set(), []
        for worker in at_work:
            worker.stop()
        for worker in idle:
            worker.end()


class _Worker:
    """One child process; used by one thread at a time, and ended from any."""

    def __init__(self, command: Sequence[str]) -> None:
        home = str(Path(vqa_assets.__file__).parents[1])
        paths = [home, *filter(None, [os.environ.get("PYTHONPATH")])]
        self.stopped = False
        self._process = subprocess.Popen(
            list(command),
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**_KEEP_MEMORY, **os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            start_new_session=True,
        )

    def ask(self, question: dict[str, object], timeout_s: float) -> dict[str, object]:
        """Send a question and await its answer."""
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
        except BrokenPipeError:
            raise EOFError(self._how_it_ended()) from None
        return self.listen(timeout_s)

    def listen(self, timeout_s: float) -> dict[str, object]:
        """The next line; TimeoutError where none comes in time, EOFError where the process is dead."""
        assert self._process.stdout
        pipe, deadline, line = self._process.stdout.fileno(), time.monotonic() + timeout_s, b""
        waiting = select.poll()
        waiting.register(pipe, select.POLLIN)
        while not line.endswith(b"\n"):
            if not waiting.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise TimeoutError(f"no answer within {timeout_s:g} s")
            piece = os.read(pipe, _MOST_BYTES)
            if not piece:
                raise EOFError(self._how_it_ended())
            line += piece
        reply: dict[str, object] = json.loads(line)
        return reply

    def stop(self) -> None:
        """Kill the process because the run was stopped; who waits for its answer reaps it."""
        self.stopped = True
        self._process.kill()

    def end(self) -> None:
        """Kill the process and reap it."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()

    def _how_it_ended(self) -> str:
        code = self._process.wait()
        return f"signal {-code}" if code < 0 else f"exit code {code}"


if __name__ == "__main__":
    main()
