"""The two probers, which read a clip's geometry: PyAV in workers that are kept, and the ``ffprobe`` program.

Both give the same rows and mean the same by their errors, and a clip that crashes or hangs a library costs that clip
only. What PyAV is asked of one clip is in ``pyav``, what a file is by its own bytes in ``containers``, whether it was
cut where only decoding tells in ``last_picture``.
"""

import errno
import json
import math
import os
import re
import signal
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from vqa_assets.clips.caps import ClipCaps, ClipSize
from vqa_assets.clips.containers import ONLY_CLIPS_ARGUMENTS, clearer_reason, refuse_what_is_no_clip, says_no_end
from vqa_assets.clips.geometry import Geometry, ProbeAnswer, geometry_of
from vqa_assets.clips.last_picture import refuse_cut_end
from vqa_assets.clips.processes import DEVNULL, WORKER, Completed, Worker, WorkerDiedError, run, why_unfit
from vqa_assets.clips.pyav import answer_of, refuse_by_header, silence
from vqa_assets.clips.trouble import PASSING, is_crash, trouble_in_words
from vqa_assets.clips.work import StoppedError
from vqa_assets.errors import BrokenClipError, ChildDiedError, IngestError, TooLargeError, TransientClipError

_START_LIMIT_S = 120.0
_ALARM_GRACE_S = 5
_READ_BYTES = 1 << 20
_DEATHS_OF_ONE_PROBE = 2
_KEEP_MEMORY = {"MALLOC_TRIM_THRESHOLD_": str(64 << 20), "MALLOC_MMAP_THRESHOLD_": str(32 << 20)}
"""For glibc (mallopt(3)): a worker that gives memory back after each clip spends more on page faults than on clips."""


@dataclass(frozen=True)
class ProbeTask:
    """What a worker is asked: the clip's absolute path, how long the answer is waited for, in seconds, and the caps."""

    path: str
    limit_s: float
    caps: ClipCaps | None = None


def probe_here(task: ProbeTask) -> ProbeAnswer:
    """Ask PyAV, in a worker; BrokenClipError where it gives no answer for a reason that is the clip's.

    OSError for one that is the machine's, TooLargeError for a clip over a cap.
    """
    # A library that hangs holds the interpreter too. SIGALRM ends the process even so, should the parent be gone.
    signal.alarm(math.ceil(task.limit_s) + _ALARM_GRACE_S)
    path = Path(task.path)
    try:
        try:
            return answer_of(path, task.caps)
        except OSError:  # of the disk, or for want of descriptors: once more
            return answer_of(path, task.caps)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        # Some demuxers say EIO themselves where a file ends too early; a disk's stands in the way of reading too.
        _read_to_end(path)
        raise BrokenClipError(os.strerror(errno.EIO)) from None
    except MemoryError:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)) from None
    except (BrokenClipError, TooLargeError):
        raise
    except Exception as error:
        raise BrokenClipError(f"the probe failed: {type(error).__name__}: {error}"[:300]) from None
    finally:
        signal.alarm(0)


def _read_to_end(path: Path) -> None:
    with path.open("rb", buffering=0) as file:
        while file.read(_READ_BYTES):
            pass


def look_at_header(task: ProbeTask) -> None:
    """Judge a clip by its header alone, in a worker; TooLargeError where that shows it to be over a cap."""
    signal.alarm(math.ceil(task.limit_s) + _ALARM_GRACE_S)
    try:
        if task.caps is not None:
            refuse_by_header(Path(task.path), task.caps)
    finally:
        signal.alarm(0)


def look_at_end(task: ProbeTask) -> None:
    """Decode the last packets of a clip, in a worker; BrokenClipError where they show that its end is cut."""
    signal.alarm(math.ceil(task.limit_s) + _ALARM_GRACE_S)
    try:
        refuse_cut_end(Path(task.path), task.limit_s)
    finally:
        signal.alarm(0)


def begin(_: None) -> None:
    """A worker's first task; ImportError where it has no PyAV."""
    silence()


class PyAvProber:
    """Satisfies the ingest loop's Prober; safe from many threads at once.

    There are as many workers as probes run at once, each kept for the next clip: a question and its answer cost a
    fraction of a millisecond, where a process per clip costs a hundred. ``worker`` is the command of a process that
    serves as ``processes.serve`` does. With ``caps`` a clip over one is not decoded.
    """

    def __init__(self, worker: Sequence[str] = WORKER, caps: ClipCaps | None = None) -> None:
        self._command, self._caps = worker, caps
        self._workers = _ProbeWorkers()
        weakref.finalize(self, self._workers.end)

    def probe(self, path: Path, timeout_s: float) -> Geometry:
        """The clip's geometry.

        BrokenClipError where it is no whole clip, or crashes the library twice; TooLargeError where it is over a cap;
        ChildDiedError where the worker was killed, and another one too; TransientClipError where no answer comes within
        ``timeout_s``; OSError where it cannot be read; StoppedError where ``close`` is called meanwhile; IngestError
        where PyAV cannot be started.
        """
        refuse_what_is_no_clip(path)
        task = ProbeTask(os.fspath(path.absolute()), timeout_s, self._caps)
        try:
            geometry = geometry_of(self._asked(probe_here, task))
            if self._caps is not None:  # a header need not say it
                self._caps.check(ClipSize.of(geometry))
            if says_no_end(path):
                self._asked(look_at_end, task)
        except BrokenClipError as error:
            raise BrokenClipError(clearer_reason(str(error), path)) from None
        return geometry

    def refuse_cut_end(self, path: Path, timeout_s: float) -> None:
        """BrokenClipError where a clip without an index has a cut end; the other errors as ``probe``'s."""
        self._asked(look_at_end, ProbeTask(os.fspath(path.absolute()), timeout_s))

    def refuse_too_large(self, path: Path, timeout_s: float) -> None:
        """TooLargeError where a clip's header shows it to be over a cap; the other errors as ``probe``'s."""
        if self._caps is not None:
            self._asked(look_at_header, ProbeTask(os.fspath(path.absolute()), timeout_s, self._caps))

    def close(self) -> None:
        """End all workers, those at work too; a later probe starts new ones."""
        self._workers.end()

    def _asked(self, question: Callable[[ProbeTask], Any], task: ProbeTask) -> Any:
        """A worker's answer; where it dies of the question, that of a new one."""
        deaths: list[WorkerDiedError] = []
        worker = self._workers.idle()
        while len(deaths) < _DEATHS_OF_ONE_PROBE:
            is_new = worker is None
            try:
                return self._ask(worker or self._new_worker(), question, task)
            except WorkerDiedError as death:
                # Of this clip, or of an earlier one, or for want of memory: a new worker tells.
                if death.began or is_new:  # else it died while it waited
                    deaths.append(death)
                worker = None
        raise _verdict(deaths)

    def _ask(self, worker: Worker, question: Callable[[ProbeTask], Any], task: ProbeTask) -> Any:
        """One question; WorkerDiedError where the worker is dead, or died of it."""
        try:
            worker.ask(question, task)
            answer = worker.answer(task.limit_s)
        except BaseException as error:
            # What it answers in the words of an OSError has an errno, a deadline that passed has none.
            is_late = isinstance(error, TimeoutError) and error.errno is None
            if isinstance(error, (BrokenClipError, TooLargeError, OSError)) and not is_late:
                self._workers.keep(worker)
                raise
            self._workers.drop(worker)
            if worker.stopped:
                raise StoppedError from None
            if is_late:
                raise TransientClipError(f"no answer within {task.limit_s:g} s") from None
            raise
        self._workers.keep(worker)
        return answer

    def _new_worker(self) -> Worker:
        try:
            worker = self._workers.add(Worker(self._command, environment=_KEEP_MEMORY, stderr=DEVNULL))
        except OSError as error:
            if error.errno in PASSING:  # too many processes or descriptors, no memory: of this moment
                raise
            raise _not_started(error.strerror or str(error)) from error
        try:
            worker.ask(begin, None)
            worker.answer(_START_LIMIT_S)
        except BaseException as error:
            self._workers.drop(worker)
            if worker.stopped:
                raise StoppedError from None
            if isinstance(error, TimeoutError):
                raise _not_started(f"no answer within {_START_LIMIT_S:g} s") from None
            if isinstance(error, WorkerDiedError) and error.status < 0:  # killed before it was asked anything
                raise ChildDiedError(f"the probe was killed ({error})", crashed=False) from None
            if isinstance(error, (WorkerDiedError, ImportError)):
                raise _not_started(str(error)) from None
            raise
        return worker


def _verdict(deaths: Sequence[WorkerDiedError]) -> Exception:
    """What it says of a clip that so many workers died of it: broken where all crashed, else nothing that lasts."""
    crashes, last = [death for death in deaths if is_crash(death.status)], deaths[-1]
    if len(crashes) == _DEATHS_OF_ONE_PROBE:
        return BrokenClipError(f"the probe crashes on it ({last})")
    reason = f"the probe crashed on it ({crashes[0]}), or was killed" if crashes else f"the probe was killed ({last})"
    return ChildDiedError(reason, crashed=bool(crashes), memory_bytes=last.memory_bytes)


def _not_started(reason: str) -> IngestError:
    return IngestError("the probe's process did not start", found=reason, next_step="reinstall Python or PyAV (av)")


class _ProbeWorkers:
    """All workers of one prober: those that wait for a clip, and those at work. Safe from many threads at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: set[Worker] = set()
        self._idle: list[Worker] = []

    def add(self, worker: Worker) -> Worker:
        """Note a worker that is about to work."""
        with self._lock:
            self._all.add(worker)
        return worker

    def idle(self) -> Worker | None:
        """A worker that waits, and no longer does; None where there is none."""
        with self._lock:
            return self._idle.pop() if self._idle else None

    def keep(self, worker: Worker) -> None:
        """Let it wait for the next clip, if ``end`` was not called meanwhile."""
        with self._lock:
            kept = worker in self._all
            if kept:
                self._idle.append(worker)
        if not kept:
            worker.end()

    def drop(self, worker: Worker) -> None:
        """End one that is of no use any more."""
        with self._lock:
            self._all.discard(worker)
        worker.end()

    def end(self) -> None:
        """End all: those at work are killed here, and reaped by the threads that wait for them."""
        with self._lock:
            idle, at_work = self._idle, self._all.difference(self._idle)
            self._all, self._idle = set(), []
        for worker in at_work:
            worker.stop()
        for worker in idle:
            worker.end()


# The ffprobe program: a process per clip, far slower, and independent of the FFmpeg in the wheel

_ENTRIES = (
    "stream=codec_type,codec_name,width,height,pix_fmt,avg_frame_rate,r_frame_rate,duration,nb_frames"
    ":stream_disposition=attached_pic:format=duration"
)
# Without the two lists a playlist that is called .mp4 has ffprobe fetch what it names, for over a minute.
_OPTIONS = ("-v", "error", *ONLY_CLIPS_ARGUMENTS, "-of", "json")
_UNKNOWN_OPTION = re.compile(r"Unrecognized option|Option .* not found|Failed to set value .* for option")


class FfprobeProber:
    """Satisfies the ingest loop's Prober with the program ``binary`` (a name on PATH, or a path)."""

    def __init__(self, binary: str = "ffprobe", caps: ClipCaps | None = None) -> None:
        self._binary = binary
        self._stop = threading.Event()
        self._trusted = False
        # The program decodes before it answers, and a whole file or a part by time: it can be asked neither for the
        # header alone nor for the end of a stream without an index.
        self._library = PyAvProber(caps=caps)

    def probe(self, path: Path, timeout_s: float) -> Geometry:
        """The clip's geometry; errors as ``PyAvProber``'s, IngestError where the program is absent or no ffprobe."""
        refuse_what_is_no_clip(path)
        self._library.refuse_too_large(path, timeout_s)
        try:
            geometry = geometry_of(_answer(json.loads(self._run(path, timeout_s))))
        except BrokenClipError as error:
            raise BrokenClipError(clearer_reason(str(error), path)) from None
        except ValueError as error:
            self.check()
            raise _unfit(self._binary, f"an answer that is no JSON ({error})") from error
        if says_no_end(path):
            self._library.refuse_cut_end(path, timeout_s)
        return geometry

    def close(self) -> None:
        """End the probes under way, which raise StoppedError; a later probe starts anew."""
        stop, self._stop = self._stop, threading.Event()
        stop.set()
        self._library.close()

    def _run(self, path: Path, timeout_s: float) -> bytes:
        """The program's JSON."""
        name, stop = f"file:{path.absolute()}", self._stop
        command = [self._binary, *_OPTIONS, "-show_entries", _ENTRIES, name]
        done = self._once(command, timeout_s, stop)
        if done.status < 0 or trouble_in_words(done.last_complaint()):  # of this moment perhaps
            first, done = done, self._once(command, timeout_s, stop)
            if done.status < 0:
                ends = [WorkerDiedError(one.status, one.memory_bytes) for one in (first, done) if one.status < 0]
                raise _verdict(ends)
            if done.status and (number := trouble_in_words(done.last_complaint())):
                if number != errno.EIO:
                    raise OSError(number, os.strerror(number))
                _read_to_end(path)  # as ``probe_here``
        if done.status:
            self.check(done.complaints.decode("utf-8", "replace"))
            reason = done.last_complaint().removeprefix(f"{name}: ")[:200]
            raise BrokenClipError(reason or f"ffprobe ended with {done.status}")
        return done.output

    def _once(self, command: Sequence[str], timeout_s: float, stop: threading.Event) -> Completed:
        try:
            done = run(command, limit_s=timeout_s, stop=stop)
        except OSError as error:
            if error.errno in PASSING:
                raise
            raise IngestError(
                f"the ffprobe program {self._binary!r}",
                found=(error.strerror or str(error)).lower(),
                expected="a program that can be started",
                next_step="install it (apt-get install ffmpeg), name it in $FFPROBE_BIN, or leave probing to PyAV",
            ) from error
        if done.timed_out:
            raise TransientClipError(f"no answer within {timeout_s:g} s")
        return done

    def check(self, complaint: str = "") -> None:
        """IngestError where it is the program that is at fault, and no clip; a good one is asked once."""
        # Before FFmpeg 4.4 there is no -format_whitelist.
        if unknown := _UNKNOWN_OPTION.search(complaint):
            raise _unfit(self._binary, complaint[unknown.start() :].splitlines()[0][:200])
        if not self._trusted and (reason := why_unfit(self._binary, "-version", "ffprobe version")):
            raise _unfit(self._binary, reason)
        self._trusted = True


def _answer(report: dict[str, Any]) -> ProbeAnswer:
    """The first video stream that is no cover art, as ffprobe's JSON has it (https://ffmpeg.org/ffprobe.html#json)."""
    streams = report.get("streams", [])
    for stream in streams:
        if stream.get("codec_type") == "video" and not stream.get("disposition", {}).get("attached_pic"):
            return ProbeAnswer(
                width=stream.get("width"),
                height=stream.get("height"),
                pix_fmt=stream.get("pix_fmt"),
                codec=stream.get("codec_name"),
                average_rate=_rate(stream.get("avg_frame_rate")),
                base_rate=_rate(stream.get("r_frame_rate")),
                stream_duration_s=_seconds(stream.get("duration")),
                container_duration_s=_seconds(report.get("format", {}).get("duration")),
                frames=int(count) if (count := str(stream.get("nb_frames", ""))).isdigit() else None,
            )
    kinds = ", ".join(sorted({stream.get("codec_type", "unknown") for stream in streams})) or "none"
    raise BrokenClipError(f"no video stream (streams: {kinds})")


def _rate(text: str | None) -> Fraction | None:
    """``30000/1001``; ``0/0`` stands for unknown."""
    over, _, under = (text or "").partition("/")
    return Fraction(int(over), int(under)) if over.isdigit() and under.isdigit() and int(under) else None


def _seconds(text: str | None) -> float | None:
    return None if text in (None, "N/A") else float(text)


def _unfit(binary: str, reason: str) -> IngestError:
    return IngestError(
        f"the ffprobe program {binary!r}",
        found=reason,
        expected="an ffprobe of FFmpeg 4.4 or newer; no clip was judged by it",
        next_step="name another in $FFPROBE_BIN, or leave probing to PyAV",
    )
