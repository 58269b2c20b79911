"""Child processes: programs that answer once, transfers under watch, and Python work on every core.

Whatever is started here ends when its time is up, when the run is stopped, and (the children of ``ChildProcesses``)
when this process dies. Tasks and results are pickled, so they are plain records. What a program is asked and what its
answer means stands with whoever asks (``ffprobe``, ``curl``, ``pages``).
"""

import logging
import os
import pickle
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import vqa_assets
from vqa_assets.clips.work import StoppedError

MOST_PROCESSES = 8
_PIPE_BYTES = 1 << 20
_LOOK_AROUND_S = 0.1
_VERSION_LIMIT_S = 20.0
_CHILD = (sys.executable, "-m", "vqa_assets.clips.processes")
_log = logging.getLogger("vqa_assets.clips.processes")
_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


class ChildProcesses:
    """A few child processes, started when first needed; ``close`` ends them, and so does the end of this process.

    Work whose process dies of it, or for want of memory, is done in this process instead.
    """

    def __init__(self, processes: int | None = None) -> None:
        self._count = processes or min(_cores(), MOST_PROCESSES)
        self._children: list[_Child] = []

    def __enter__(self) -> "ChildProcesses":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the child processes, whatever they are doing."""
        children, self._children = self._children, []
        for child in children:
            child.end()

    def map(self, work: Callable[[_Task], _Result], tasks: Iterable[_Task]) -> Iterator[_Result]:
        """The results in the order of the tasks; each child holds one of either at most."""
        while len(self._children) < self._count:
            self._children.append(_Child())
        waiting: deque[tuple[_Child, _Task]] = deque()
        todo = iter(tasks)
        for child, task in zip(self._children, todo, strict=False):
            waiting.append(_asked(child, work, task))
        try:
            while waiting:
                child, task = waiting.popleft()
                result = child.answer(work, task)
                for following in todo:
                    waiting.append(_asked(child, work, following))
                    break
                yield result
        finally:
            for child, _ in waiting:  # what it answers now, nobody asks any more
                self._children.remove(child)
                child.end()


def _cores() -> int:
    """The processor's cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Child:
    """One child process; after its death everything is done here."""

    def __init__(self) -> None:
        home = str(Path(vqa_assets.__file__).parents[1])
        paths = [home, *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process: subprocess.Popen[bytes] | None = subprocess.Popen(
            _CHILD,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pipesize=_PIPE_BYTES,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            start_new_session=True,
        )

    def ask(self, work: Callable[[_Task], Any], task: _Task) -> None:
        if self._process is not None:
            assert self._process.stdin
            try:
                _send(self._process.stdin, (work, task))
            except BrokenPipeError:
                self._note_death()

    def answer(self, work: Callable[[_Task], _Result], task: _Task) -> _Result:
        if self._process is None:
            return work(task)
        assert self._process.stdout
        try:
            failure, result = pickle.load(self._process.stdout)  # noqa: S301  # from a child of ours
        except (EOFError, pickle.UnpicklingError):
            self._note_death()
            return work(task)
        if failure is not None:
            raise failure
        answered: _Result = result
        return answered

    def end(self) -> None:
        if self._process is not None:
            process, self._process = self._process, None
            process.kill()
            for pipe in (process.stdin, process.stdout):
                if pipe:
                    with suppress(BrokenPipeError):
                        pipe.close()
            process.wait()

    def _note_death(self) -> None:
        process = self._process
        self.end()
        code = process.returncode if process else None
        _log.warning("a child process ended (%s); its work is done here instead, which takes longer", code)


def _asked(child: _Child, work: Callable[[_Task], Any], task: _Task) -> tuple[_Child, _Task]:
    child.ask(work, task)
    return child, task


def _send(pipe: Any, message: object) -> None:
    pickle.dump(message, pipe, protocol=pickle.HIGHEST_PROTOCOL)
    pipe.flush()


def serve(questions: BinaryIO, answers: BinaryIO) -> None:
    """Answer (function, argument) by (exception or None, result) until the questions end."""
    while True:
        try:
            work, task = pickle.load(questions)  # noqa: S301  # from the parent
        except EOFError:
            return
        reply: tuple[Exception | None, Any]
        try:
            reply = (None, work(task))
        except Exception as error:
            reply = (error, None)
        _send(answers, reply)


def run_watched(
    command: Sequence[str],
    question: bytes,
    stop: threading.Event,
    limit_s: float,
    is_too_large: Callable[[], bool],
    out: BinaryIO | None = None,
) -> "subprocess.CompletedProcess[bytes]":
    """Run a program with ``question`` on its standard input until it ends, or is ended; its output may go to a file.

    OSError where it cannot be started, StoppedError soon after ``stop`` is set. A program that outlives ``limit_s``, or
    writes more than ``is_too_large`` allows, is killed: its return code is negative.
    """
    pipe = subprocess.PIPE
    # a session of its own: an interrupt typed at the terminal reaches the program through us alone
    with subprocess.Popen(
        list(command), stdin=pipe, stdout=out or pipe, stderr=pipe, start_new_session=True
    ) as process:
        rest: bytes | None = question
        deadline = time.monotonic() + limit_s
        try:
            while True:
                try:
                    output, complaints = process.communicate(rest, timeout=_LOOK_AROUND_S)
                except subprocess.TimeoutExpired:
                    rest = None
                else:
                    return subprocess.CompletedProcess(process.args, process.returncode, output, complaints)
                if stop.is_set():
                    raise StoppedError
                if is_too_large() or time.monotonic() > deadline:
                    process.kill()
        finally:
            process.kill()


def why_unfit(binary: str, option: str, begins: str) -> str:
    """Why ``binary option`` is not a program whose answer begins with ``begins``; empty where it is one."""
    try:
        done = subprocess.run(
            [binary, option], stdin=subprocess.DEVNULL, capture_output=True, timeout=_VERSION_LIMIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{binary} {option}: {error}"
    if done.returncode == 0 and done.stdout.decode("utf-8", "replace").startswith(begins):
        return ""
    lines = (done.stderr or done.stdout).decode("utf-8", "replace").strip().splitlines()
    return f"{binary} {option} ends with {done.returncode} and says {(lines[-1] if lines else 'nothing')[:200]!r}"


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the work prints does not mix with its results
    serve(sys.stdin.buffer, answers)
