"""Child processes: the only module that starts any, watches them, and ends them.

``Process`` is the one way to start a program, and the rest stands on it: ``run`` for a program that answers once,
``Worker`` for a Python process that carries out functions, ``WorkerPool`` for one of those on every core. What a
program is asked, and what its answer means, stands with whoever asks (``curl``, ``probing``, ``features.ffmpeg``, …).

The standard library's process pool is not used: its processes outlive a parent that is killed.
"""

import io
import math
import os
import pickle
import select
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self, TypeVar

import vqa_assets
from vqa_assets.clips.work import StoppedError
from vqa_assets.printing import logger

PIPE, DEVNULL, STDOUT = subprocess.PIPE, subprocess.DEVNULL, subprocess.STDOUT
"""For ``Process``: a pipe to or from this process, nothing, and (standard error only) wherever standard output goes."""

_LOOK_AROUND_S = 0.1
"""How long a set stop signal or a passed time limit may go unseen."""
MOST_WORKERS = 8
_PIPE_BYTES = 1 << 20
_READ_BYTES = 1 << 16
_LAST_WORDS_S = 5.0
_VERSION_LIMIT_S = 20.0
_Task = TypeVar("_Task")
_Result = TypeVar("_Result")
_log = logger("vqa_assets.clips.processes")


class Process:
    """One running program; a context manager, at whose end it has ended and is reaped, and its pipes are closed.

    Streams are this process's own (None), or one of ``PIPE``, ``DEVNULL``, ``STDOUT``, or an open file. With
    ``grace_s`` it is asked to end (SIGTERM) so many seconds before it is killed. OSError where it cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        stdin: int | None = DEVNULL,
        stdout: int | IO[bytes] | None = None,
        stderr: int | IO[bytes] | None = None,
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
        grace_s: float = 0.0,
    ) -> None:
        self._grace_s = grace_s
        self.memory_bytes = 0
        """The most memory that it was seen to hold; 0 where nobody looked, or it was gone too soon."""
        self._process: subprocess.Popen[bytes] = subprocess.Popen(
            list(command),
            bufsize=0,  # ``feed`` writes as much as there is room for, and a poll sees all that has arrived
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            cwd=folder,
            env={**(os.environ if environment is None else environment), _PARENT: str(os.getpid())},
            # A session of its own: an interrupt typed at the terminal reaches it through this process alone, and what
            # it starts itself (sh, a yt-dlp's ffmpeg) is killed with it.
            start_new_session=True,
        )
        if self._process.stdin:
            os.set_blocking(self._process.stdin.fileno(), False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def pid(self) -> int:
        """Its process id, and that of its session."""
        return self._process.pid

    @property
    def stdout(self) -> int:
        """The descriptor of the pipe that its standard output is."""
        assert self._process.stdout
        return self._process.stdout.fileno()

    def widen_pipes(self) -> None:
        """Let its pipes hold 1 MiB instead of 64 KiB, where the system allows it: for frames and blocks of rows."""
        import fcntl

        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                # AttributeError: not Linux. OSError: this user's pipes hold as much as all of them may.
                with suppress(OSError, AttributeError):
                    fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def feed(
        self, samples: "memoryview | bytes", limit_s: float = math.inf, stop: threading.Event | None = None
    ) -> None:
        """Write bytes to its standard input, all of them.

        BrokenPipeError where it takes no more, StoppedError soon after ``stop`` is set, TimeoutError where they are not
        taken within ``limit_s``.
        """
        stdin = self._process.stdin
        if stdin is None or stdin.closed:
            raise BrokenPipeError
        rest, deadline = memoryview(samples).cast("B"), time.monotonic() + limit_s
        room = select.poll()
        room.register(stdin, select.POLLOUT)
        while rest:
            try:
                rest = rest[os.write(stdin.fileno(), rest) :]
            except BlockingIOError:
                if not room.poll(1000 * _LOOK_AROUND_S):
                    _look_around(deadline, stop)

    def close_stdin(self) -> None:
        """Say that no more bytes will come."""
        if self._process.stdin:
            self._process.stdin.close()

    def lines(self) -> Iterator[str]:
        """What it writes to standard output, line by line as it comes, without the white space at their ends."""
        with open(self.stdout, encoding="utf-8", errors="replace", closefd=False) as text:
            for line in text:
                yield line.rstrip()

    def communicate(
        self,
        question: bytes | None,
        limit_s: float,
        stop: threading.Event | None = None,
        is_too_large: Callable[[], bool] = lambda: False,
    ) -> "Completed":
        """Hand over ``question``, and take what it writes until it ends, or is killed; as ``run``."""
        # Not Popen.communicate: called again after a timeout, Python 3.11's no longer writes what is left to write.
        deadline, timed_out, killed = time.monotonic() + limit_s, False, False
        rest, output, complaints = memoryview(question or b""), bytearray(), bytearray()
        with selectors.DefaultSelector() as pipes:
            for pipe, content in ((self._process.stdout, output), (self._process.stderr, complaints)):
                if pipe:
                    pipes.register(pipe, selectors.EVENT_READ, content)
            if self._process.stdin and rest:
                pipes.register(self._process.stdin, selectors.EVENT_WRITE)
            else:
                self.close_stdin()
            while pipes.get_map() or self._process.poll() is None:
                if pipes.get_map():
                    rest = self._exchange(pipes, rest)
                else:  # it has closed its ends, and goes on
                    with suppress(subprocess.TimeoutExpired):
                        self._process.wait(_LOOK_AROUND_S)
                if stop is not None and stop.is_set():
                    raise StoppedError
                self.look_at_memory()
                late = time.monotonic() > deadline
                if killed and late:
                    break  # what has left its session holds the pipes open, and is not waited for
                if not killed and (late or is_too_large()):
                    self.kill()
                    killed, timed_out, deadline = True, late, time.monotonic() + _LAST_WORDS_S
        return Completed(self._process.wait(), bytes(output), bytes(complaints), timed_out, self.memory_bytes)

    def wait(self, limit_s: float = math.inf, stop: threading.Event | None = None) -> int:
        """Its exit status, once it has ended by itself; negative: the signal that ended it. Errors as ``feed``'s."""
        deadline = time.monotonic() + limit_s
        while True:
            try:
                # In short waits, between which an interrupt gets through on every platform.
                return self._process.wait(_LOOK_AROUND_S)
            except subprocess.TimeoutExpired:
                _look_around(deadline, stop)

    def look_at_memory(self) -> None:
        """Note the most memory that it has held so far, where the system tells (Linux does)."""
        # Not what wait4 says of it: of a child that begins as a copy of this process, that is at least this one's.
        with suppress(OSError, ValueError), Path(f"/proc/{self.pid}/status").open(encoding="ascii") as lines:
            peak = next((line for line in lines if line.startswith("VmHWM:")), "VmHWM: 0")
            self.memory_bytes = max(self.memory_bytes, 1024 * int(peak.split()[1]))

    def kill(self) -> None:
        """Kill it and all that it started in its session; from any thread. Whoever waits for it reaps it."""
        self._send(signal.SIGKILL)

    def end(self) -> None:
        """End it, whatever it is doing, and reap it; at once, or ``grace_s`` after it was asked to."""
        try:
            if self._grace_s and self._process.poll() is None:
                self._send(signal.SIGTERM)
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(self._grace_s)
        finally:  # a second interrupt ends the grace
            self.kill()
            for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
                if pipe:
                    pipe.close()
            self._process.wait()

    def _send(self, number: signal.Signals) -> None:
        # A process that was reaped is left alone: its id may be another's by now.
        if self._process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):  # the latter for a dead one on macOS
                os.killpg(self._process.pid, number)

    def _exchange(self, pipes: selectors.BaseSelector, rest: memoryview) -> memoryview:
        """Write and read what can be, after waiting ``_LOOK_AROUND_S`` at most; what is left to write."""
        for key, _ in pipes.select(_LOOK_AROUND_S):
            if key.data is None:
                try:
                    rest = rest[os.write(key.fd, rest) :]
                except BrokenPipeError:  # it ends without a look at the rest, which is no error
                    rest = rest[:0]
                if not rest:
                    pipes.unregister(key.fileobj)
                    self.close_stdin()
            elif piece := os.read(key.fd, _READ_BYTES):
                key.data.extend(piece)
            else:
                pipes.unregister(key.fileobj)
        return rest


def _look_around(deadline: float, stop: threading.Event | None) -> None:
    if stop is not None and stop.is_set():
        raise StoppedError
    if time.monotonic() > deadline:
        raise TimeoutError


# Programs that answer once


@dataclass(frozen=True)
class Completed:
    """How a program ended: its exit status (negative: the signal that ended it), and what it wrote.

    ``timed_out``: it was killed because its time was up. ``memory_bytes`` is the most that it was seen to hold.
    """

    status: int
    output: bytes
    complaints: bytes
    timed_out: bool = False
    memory_bytes: int = 0

    def last_complaint(self) -> str:
        """The last line of ``complaints``; empty where there is none."""
        return _last_line(self.complaints)


def run(
    command: Sequence[str],
    *,
    limit_s: float,
    question: bytes | None = None,
    output: IO[bytes] | None = None,
    stop: threading.Event | None = None,
    is_too_large: Callable[[], bool] = lambda: False,
) -> Completed:
    """Run a program with ``question`` on its standard input until it ends, or is ended; its output may go to a file.

    OSError where it cannot be started, StoppedError soon after ``stop`` is set. A program that outlives ``limit_s``, or
    writes more than ``is_too_large`` allows, is killed: its exit status is negative.
    """
    stdin = DEVNULL if question is None else PIPE
    with Process(command, stdin=stdin, stdout=output or PIPE, stderr=PIPE) as process:
        return process.communicate(question, limit_s, stop, is_too_large)


def why_unfit(binary: str, option: str, begins: str) -> str:
    """Why ``binary option`` is not a program whose answer begins with ``begins``; empty where it is one."""
    try:
        done = run([binary, option], limit_s=_VERSION_LIMIT_S)
    except OSError as error:
        return f"{binary} {option}: {error}"
    if done.timed_out:
        return f"{binary} {option}: timed out after {_VERSION_LIMIT_S} seconds"
    if done.status == 0 and done.output.decode("utf-8", "replace").startswith(begins):
        return ""
    line = _last_line(done.complaints or done.output) or "nothing"
    return f"{binary} {option} ends with {done.status} and says {line[:200]!r}"


def _last_line(text: bytes) -> str:
    lines = text.decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else ""


# Death with the parent

_PARENT = "VQA_ASSETS_PARENT_PROCESS"
"""In the environment of every ``Process``: the id of the process that started it."""
_PARENT_LOOKED_AT_S = 0.5
_ORDERLY_END_S = 30.0


def end_with_parent() -> None:
    """In a program that a ``Process`` runs: end it soon after the process that started it has died, even of SIGKILL.

    Does nothing in a program that was started otherwise, by hand or by way of ssh: it ends as they have it.
    """
    # Not PR_SET_PDEATHSIG: it tells of the end of the thread that started us, and workers outlive theirs.
    parent = os.getppid()
    if os.environ.get(_PARENT) == str(parent):
        end_after(parent)


def end_after(parent: int) -> None:
    """In a process that a library started for ``parent``: end it soon after that one has died, even of SIGKILL."""
    threading.Thread(target=_end_after, args=(parent,), name="end with parent", daemon=True).start()


def _end_after(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_PARENT_LOOKED_AT_S)
    os.kill(os.getpid(), signal.SIGTERM)  # a Dagster run below us takes this for an interrupt, and cleans up
    time.sleep(_ORDERLY_END_S)
    os.kill(os.getpid(), signal.SIGKILL)


# Python work in other processes: questions are pickles of (function, argument), answers of (exception or None, result)

WORKER = (sys.executable, "-m", "vqa_assets.clips.processes")


class WorkerDiedError(Exception):
    """A worker ended instead of answering, with this exit status; the message says how (``signal 11``).

    ``memory_bytes`` is the most that it was seen to hold; ``began`` is false where it was dead before it was asked.
    """

    def __init__(self, status: int, memory_bytes: int = 0, *, began: bool = True) -> None:
        super().__init__(f"signal {-status}" if status < 0 else f"exit code {status}")
        self.status, self.memory_bytes, self.began = status, memory_bytes, began


class _AnswerPipe(io.RawIOBase):
    """A pipe that is read until ``deadline``, a moment of the monotonic clock: TimeoutError from then on.

    ``meanwhile`` is called now and then while nothing arrives.
    """

    deadline = math.inf

    def __init__(self, pipe: int, meanwhile: Callable[[], None]) -> None:
        self._pipe, self._meanwhile, self._arrived = pipe, meanwhile, select.poll()
        self._arrived.register(pipe, select.POLLIN)

    def readable(self) -> bool:
        return True

    def is_ready(self, within_s: float) -> bool:
        """Whether something can be read, or nothing ever will, within so many seconds."""
        return bool(self._arrived.poll(1000 * within_s))

    def readinto(self, buffer: Any) -> int:
        while self.deadline < math.inf:
            left = max(0.0, self.deadline - time.monotonic())
            if self.is_ready(min(left, _LOOK_AROUND_S)):
                break
            if left <= _LOOK_AROUND_S:
                raise TimeoutError
            self._meanwhile()
        return os.readv(self._pipe, [buffer])


class Worker(Process):
    """A Python process that carries out functions, one after the other; it ends with this process, if not before.

    Used by one thread at a time, ended from any. Functions are pickled by name, arguments and results by value: all are
    functions of a module, and plain records. ``environment`` yields to this process's own.
    """

    def __init__(
        self,
        command: Sequence[str] = WORKER,
        *,
        environment: Mapping[str, str] | None = None,
        stderr: int | None = None,
    ) -> None:
        home = str(Path(vqa_assets.__file__).parents[1])  # importable there too, wherever this process found it
        paths = os.pathsep.join([home, *filter(None, [os.environ.get("PYTHONPATH")])])
        self.stopped = self.ended = False
        super().__init__(
            command,
            stdin=PIPE,
            stdout=PIPE,
            stderr=stderr,
            environment={**(environment or {}), **os.environ, "PYTHONPATH": paths},
        )
        self._pipe = _AnswerPipe(self.stdout, self.look_at_memory)
        self._answers = io.BufferedReader(self._pipe, _READ_BYTES)

    def ask(self, work: Callable[[_Task], Any], task: _Task) -> None:
        """Have it begin with ``work(task)``; WorkerDiedError where it is dead."""
        try:
            self.feed(pickle.dumps((work, task), protocol=pickle.HIGHEST_PROTOCOL))
        except BrokenPipeError:
            raise WorkerDiedError(self._last_status(), self.memory_bytes, began=False) from None

    def has_answer(self, within_s: float) -> bool:
        """Whether an answer begins, or the worker ends, within so many seconds."""
        self.look_at_memory()
        return self._pipe.is_ready(within_s)

    def answer(self, limit_s: float = math.inf) -> Any:
        """The result, or the exception that the work raised.

        TimeoutError where neither comes within ``limit_s``, WorkerDiedError where the worker has died.
        """
        self._pipe.deadline = time.monotonic() + limit_s
        try:
            failure, result = pickle.load(self._answers)  # noqa: S301  # from a child of ours
        except (EOFError, pickle.UnpicklingError):
            raise WorkerDiedError(self._last_status(), self.memory_bytes) from None
        if failure is not None:
            raise failure
        return result

    def _last_status(self) -> int:
        """The exit status of a worker that is about to end, or is made to: what it says is no answer."""
        try:
            return self.wait(_LAST_WORDS_S)
        except TimeoutError:
            self.kill()
            return self.wait()

    def stop(self) -> None:
        """Kill it because the run was stopped, from any thread; the one that waits for its answer calls ``end``."""
        self.stopped = True
        self.kill()

    def end(self) -> None:
        """Kill it, whatever it is doing, and reap it; it is dead to every further question."""
        self.ended = True
        super().end()


def serve() -> None:
    """Be a worker: answer questions from standard input until it ends, or the parent does."""
    end_with_parent()
    questions, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the work prints does not mix with its answers
    while True:
        try:
            work, task = pickle.load(questions)  # noqa: S301  # from the parent
        except EOFError:
            return
        answer: tuple[Exception | None, Any]
        try:
            answer = (None, work(task))
        except Exception as error:
            answer = (error, None)
        pickle.dump(answer, answers, protocol=pickle.HIGHEST_PROTOCOL)
        answers.flush()


class WorkerPool:
    """A few workers, started when first needed; ``close`` ends them, and so does the end of this process.

    Work whose worker dies of it, or for want of memory, is done in this process instead.
    """

    def __init__(self, workers: int | None = None) -> None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self._count = workers or min(cores, MOST_WORKERS)
        self._workers: list[Worker] = []

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers, whatever they are doing."""
        workers, self._workers = self._workers, []
        for worker in workers:
            worker.end()

    def map(self, work: Callable[[_Task], _Result], tasks: Iterable[_Task]) -> Iterator[_Result]:
        """The results in the order of the tasks; each worker holds one of either at most."""
        while len(self._workers) < self._count:
            worker = Worker()
            worker.widen_pipes()
            self._workers.append(worker)
        at_work, todo = deque[tuple[Worker, _Task]](), iter(tasks)

        def hand_out(workers: Iterable[Worker]) -> None:
            for worker, task in zip(workers, todo, strict=False):
                at_work.append((worker, task))
                with suppress(WorkerDiedError):  # whose answer is then asked for in vain, below
                    worker.ask(work, task)

        try:
            hand_out(self._workers)
            while at_work:
                worker, task = at_work.popleft()
                result = self._result(worker, work, task)
                hand_out([worker])  # first, so that it is at work while the result is used
                yield result
        finally:
            # Closed early, or by an error: what these workers answer now, nobody asks any more.
            abandoned = [worker for worker, _ in at_work]
            self._workers = [worker for worker in self._workers if worker not in abandoned]
            for worker in abandoned:
                worker.end()

    def _result(self, worker: Worker, work: Callable[[_Task], _Result], task: _Task) -> _Result:
        """A worker's answer; where it has died, the work is done here, now and whenever its turn comes again."""
        if not worker.ended:
            try:
                result: _Result = worker.answer()
            except WorkerDiedError as death:
                worker.end()
                _log.warning(
                    "a child process ended (%s); its work is done here instead, which takes longer", death.status
                )
            else:
                return result
        return work(task)


if __name__ == "__main__":
    serve()
