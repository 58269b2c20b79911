"""Python work on every core: module-level functions called in child processes that end when their parent does.

Tasks and results are pickled, so they are plain records. What the work is stands with whoever hands it in; clips and
their programs have rooms of their own (``probing``, ``downloading``).
"""

import logging
import os
import pickle
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import vqa_assets

MOST_PROCESSES = 8
_PIPE_BYTES = 1 << 20
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
                self._mourn()

    def answer(self, work: Callable[[_Task], _Result], task: _Task) -> _Result:
        if self._process is None:
            return work(task)
        assert self._process.stdout
        try:
            failure, result = pickle.load(self._process.stdout)  # noqa: S301  # from a child of ours
        except (EOFError, pickle.UnpicklingError):
            self._mourn()
            return work(task)
        if failure is not None:
            raise failure
        found: _Result = result
        return found

    def end(self) -> None:
        if self._process is not None:
            process, self._process = self._process, None
            process.kill()
            for pipe in (process.stdin, process.stdout):
                if pipe:
                    with suppress(BrokenPipeError):
                        pipe.close()
            process.wait()

    def _mourn(self) -> None:
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


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the work prints does not mix with its results
    serve(sys.stdin.buffer, answers)
