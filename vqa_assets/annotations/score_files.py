"""A score file is read in a process of its own, which may take so much memory and time and no more, in every format.

A few packed bytes may claim gigabytes, and a library may take minutes over them: neither costs the run. The process
serves one file after the other and ends with this one. What it makes of the bytes is in ``dialects``.
"""

import atexit
import hashlib
import marshal
import math
import os
import signal
import stat
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, overload

from vqa_assets.annotations.dialects import Line, import_reader, read_sheet
from vqa_assets.annotations.matlab import SheetFacts
from vqa_assets.clips.processes import DEVNULL, Worker, WorkerDiedError
from vqa_assets.errors import AnnotationError
from vqa_assets.tables.files import file_identity, kind_of_node

if TYPE_CHECKING:
    from vqa_assets.provenance import ReadInput

MOST_SECONDS = 60.0
MOST_BYTES = 1 << 30
"""Of the file, and of the memory that reading it takes."""
_LINES_AT_ONCE = 10_000
"""Lines that are unpacked together: as texts they take ten times what they take packed."""
_ALARM_GRACE_S = 5
_FEW_THREADS = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""Numerical libraries claim address space for a thread on every core, of which none is needed here."""
_REMEDY = "is it the score file? Save names and scores alone as CSV"


@dataclass(frozen=True)
class ScoreFileTask:
    """A file to read: where it lies, what is known of it, and the limits."""

    path: str
    facts: SheetFacts
    most_seconds: float
    most_bytes: int


class PackedLines(Sequence[Line]):
    """The lines of a file, in memory as few bytes; they are unpacked some at a time, each time that they are read."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self._count = len(lines)
        self._pieces = [
            marshal.dumps([(at, list(values)) for at, values in lines[start : start + _LINES_AT_ONCE]])
            for start in range(0, len(lines), _LINES_AT_ONCE)
        ]

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Line]:
        for piece in range(len(self._pieces)):
            yield from self._lines(piece)

    @overload
    def __getitem__(self, place: int) -> Line: ...
    @overload
    def __getitem__(self, place: slice) -> list[Line]: ...
    def __getitem__(self, place: int | slice) -> Line | list[Line]:
        if isinstance(place, slice):
            start, stop, step = place.indices(self._count)
            # Not line by line: each would unpack its piece.
            return list(islice(self, start, stop, step)) if step > 0 else list(self)[place]
        at = range(self._count)[place]  # IndexError, and counting from the end, as of any sequence
        return self._lines(at // _LINES_AT_ONCE)[at % _LINES_AT_ONCE]

    def _lines(self, piece: int) -> list[Line]:
        lines: list[Line] = marshal.loads(self._pieces[piece])  # noqa: S302 - from a child of ours
        return lines


@dataclass(frozen=True)
class ScoreFileAnswer:
    """A file as it was read: its lines, and which bytes of which file they are of."""

    lines: PackedLines
    decimal_comma: bool
    sha256: str
    size_bytes: int
    identity: tuple[int, int, int, int]


@dataclass(frozen=True)
class ScoreFile:
    """The lines of a file that are not blank, a header included, and the file as it was read.

    ``decimal_comma``: 3,5 may mean 3.5.
    """

    lines: Sequence[Line]
    decimal_comma: bool
    as_read: "ReadInput"


def read_score_file(path: Path, facts: SheetFacts) -> ScoreFile:
    """A score file in any of the known formats.

    AnnotationError where it is none of them, is no file, or takes more than ``MOST_BYTES`` or ``MOST_SECONDS``.
    """
    from vqa_assets.provenance import ReadInput

    answer = _READER.read(ScoreFileTask(os.fspath(path.absolute()), facts, MOST_SECONDS, MOST_BYTES))
    as_read = ReadInput.of_hashed(path, answer.sha256, answer.size_bytes, answer.identity)
    return ScoreFile(answer.lines, answer.decimal_comma, as_read)


class _Reader:
    """The process that reads; safe from many threads, which take turns. A forked process starts its own."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._worker: Worker | None = None
        self._owner = 0

    def read(self, task: ScoreFileTask) -> ScoreFileAnswer:
        """What the process answers; AnnotationError where it is ended, by its limits or by the system."""
        with self._turn:
            kept = self._kept()
            try:
                if kept is not None:
                    with suppress(WorkerDiedError):  # before this file, or of it: a new one tells
                        return self._ask(kept, task)
                return self._ask(self._started(), task)
            except TimeoutError:
                found = f"a file that takes more than {task.most_seconds:g} s to read"
                raise _too_much(task, found) from None
            except WorkerDiedError as death:
                raise _too_much(task, f"a file that ends the process that reads it ({death})") from None

    def end(self) -> None:
        """End the process, whatever it is doing; the next file starts another."""
        if (kept := self._kept()) is not None:
            kept.end()
        self._worker = None

    def _kept(self) -> Worker | None:
        return self._worker if self._owner == os.getpid() else None

    def _started(self) -> Worker:
        self._worker, self._owner = Worker(environment=_FEW_THREADS, stderr=DEVNULL), os.getpid()
        self._worker.widen_pipes()
        return self._worker

    def _ask(self, worker: Worker, task: ScoreFileTask) -> ScoreFileAnswer:
        try:
            worker.ask(answer_of, task)
            answer: ScoreFileAnswer = worker.answer(task.most_seconds)
        except AnnotationError:
            raise
        except BaseException:  # an interrupt too: what it answers now, nobody asks any more
            self.end()
            raise
        return answer


_READER = _Reader()
stop_reading = _READER.end
"""End the process that reads; the next file starts another."""
atexit.register(stop_reading)


def answer_of(task: ScoreFileTask) -> ScoreFileAnswer:
    """Read a file, in the process that is there for it; AnnotationError as ``read_score_file``'s."""
    # A library that hangs holds the interpreter too. SIGALRM ends the process even so, should the parent be gone.
    signal.alarm(math.ceil(task.most_seconds) + _ALARM_GRACE_S)
    try:
        with _at_most(task.most_bytes):
            content, status = _content(task)
        import_reader(content)  # the library is no part of what the file takes
        with _at_most(task.most_bytes - len(content)):
            sheet = read_sheet(content, task.facts)
            lines = PackedLines(sheet.lines)
    except MemoryError:
        raise _too_much(task, f"a file that takes more than {task.most_bytes >> 20} MiB of memory to read") from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise AnnotationError(
            task.facts.what,
            found=f"a file that cannot be read ({reason})",
            expected="the score file",
            next_step="mend it",
        ) from error
    finally:
        signal.alarm(0)
    sha256 = hashlib.sha256(content).hexdigest()
    return ScoreFileAnswer(lines, sheet.decimal_comma, sha256, len(content), file_identity(status))


def _content(task: ScoreFileTask) -> tuple[bytes, os.stat_result]:
    """The bytes of a regular file of a bearable size; a pipe or a device has no end that one could wait for."""
    descriptor = os.open(task.path, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise AnnotationError(
                task.facts.what,
                found=kind_of_node(status.st_mode),
                expected="a file",
                next_step="put the score file there",
            )
        if status.st_size > task.most_bytes:
            raise _too_much(task, f"a file of {status.st_size >> 20} MiB")
        content = file.read(status.st_size + 1)
        if file_identity(os.fstat(descriptor)) != file_identity(status):
            raise AnnotationError(
                task.facts.what,
                found="a file that is being written",
                expected="a file at rest",
                next_step="run again when its copy is done",
            )
    return content, status


@contextmanager
def _at_most(most_bytes: int) -> Iterator[None]:
    """MemoryError in the block once it takes so much beside what the process has."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    with suppress(OSError, ValueError):  # no such limit, or none that may be set
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        most = pages * resource.getpagesize() + most_bytes
        resource.setrlimit(resource.RLIMIT_AS, (most if soft == resource.RLIM_INFINITY else min(most, soft), hard))
    try:
        yield
    finally:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _too_much(task: ScoreFileTask, found: str) -> AnnotationError:
    expected = f"one that is read within {task.most_seconds:g} s and {task.most_bytes >> 20} MiB"
    return AnnotationError(task.facts.what, found=found, expected=expected, next_step=_REMEDY)
