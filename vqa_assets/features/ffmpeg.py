"""The ffmpeg binary of the imageio-ffmpeg wheel as a child process: where it is, what it can, how it is stopped.

What it is asked to do is in ``libvmaf``.
"""

import fcntl
import os
import select
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO

from vqa_assets.clips.work import StoppedError
from vqa_assets.errors import FeatureError, TransientClipError

POLL_S = 0.1
"""How long a set stop signal or a passed time limit may go unseen."""

PIPE_BYTES = 1 << 20
SAID_FILE, MOST_SAID = "said.txt", 1 << 16

NEEDED = ("--enable-libvmaf", "--enable-libx264")
"""Options that the binary must have been built with."""


@dataclass(frozen=True)
class Finished:
    """A child process that ended by itself: its exit status (negative: the signal that ended it) and what it said."""

    status: int
    said: str


def ffmpeg_binary() -> str:
    """The wheel's ffmpeg (``$IMAGEIO_FFMPEG_EXE`` overrides it); raises ``FeatureError`` where there is none."""
    import imageio_ffmpeg

    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise FeatureError(
            "ffmpeg: not found", expected="the binary in the imageio-ffmpeg wheel", next_step="reinstall imageio-ffmpeg"
        ) from error


@lru_cache(maxsize=8)
def build_version(binary: str) -> str:
    """The build that ``binary`` names itself, as in ``n9.0.2-17-g2a571b6068``; asked once a process.

    Raises ``FeatureError`` where it does not run, or lacks libvmaf or libx264.
    """
    try:
        told = subprocess.run([binary, "-version"], capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise FeatureError(f"ffmpeg: {binary} does not run", found=str(error)) from error
    missing = [option for option in NEEDED if option not in told]
    if missing or not told.startswith("ffmpeg version "):
        raise FeatureError(
            f"ffmpeg: {binary} cannot measure",
            found=f"built without {', '.join(missing)}" if missing else "no version line",
            next_step="unset IMAGEIO_FFMPEG_EXE, or name a build that has libvmaf and libx264",
        )
    return told.split()[2]


class Child:
    """A process that reads frames from its standard input; a context manager, after which it has ended.

    ``stall_s`` is how long it may leave a frame untaken, or go on after the last one.
    """

    def __init__(
        self, command: Sequence[str], folder: Path, stall_s: float, stop: threading.Event | None = None
    ) -> None:
        self._command, self._folder, self._stall_s, self._stop = command, folder, stall_s, stop
        self._pipe: int | None = None

    def __enter__(self) -> "Child":
        with ExitStack() as opened:
            self._said = opened.enter_context((self._folder / SAID_FILE).open("w+b"))
            self._process = _started(self._command, self._folder, self._said)
            opened.callback(self._process.kill)
            self._pipe = _own_pipe(self._process)
            self._room = select.poll()
            self._room.register(self._pipe, select.POLLOUT)
            opened.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._close_pipe()
        self._process.kill()
        self._process.wait()
        self._said.close()

    def feed(self, samples: "memoryview | bytes") -> None:
        """Hand bytes over; those that a process no longer takes are dropped (``finish`` tells why it ended).

        Raises ``StoppedError`` when ``stop`` is set, ``TransientClipError`` where nothing is taken for ``stall_s``.
        """
        left, ends = memoryview(samples).cast("B"), time.monotonic() + self._stall_s
        while left and self._pipe is not None:
            taken = self._taken(left)
            left = left[taken:]
            if not taken:
                self._raise_if_over(ends)

    def finish(self) -> Finished:
        """Say that there are no more bytes, and wait; raises as ``feed`` does."""
        self._close_pipe()
        ends = time.monotonic() + self._stall_s
        while True:
            try:
                status = self._process.wait(timeout=POLL_S)
                break
            except subprocess.TimeoutExpired:
                self._raise_if_over(ends)
        self._said.seek(0)
        return Finished(status, self._said.read(MOST_SAID).decode(errors="replace"))

    def _taken(self, samples: memoryview) -> int:
        """How many bytes the process took within ``POLL_S``; all of them where it takes none any longer."""
        if self._pipe is None or not self._room.poll(1000 * POLL_S):
            return 0
        try:
            return os.write(self._pipe, samples)
        except BlockingIOError:
            return 0
        except BrokenPipeError:
            self._close_pipe()
            return len(samples)

    def _close_pipe(self) -> None:
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None

    def _raise_if_over(self, ends: float) -> None:
        if self._stop is not None and self._stop.is_set():
            raise StoppedError
        if time.monotonic() > ends:
            raise TransientClipError("ffmpeg: took too long", found=f"no progress for {self._stall_s:.0f} s")


def _started(command: Sequence[str], folder: Path, said: IO[bytes]) -> "subprocess.Popen[bytes]":
    """The child, in a process group of its own: an interrupt typed at the terminal ends it through us alone."""
    try:
        return subprocess.Popen(
            command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said, process_group=0
        )
    except OSError as error:
        raise FeatureError(f"ffmpeg: {command[0]} does not start", found=str(error)) from error


def _own_pipe(process: "subprocess.Popen[bytes]") -> int:
    """The child's standard input as a descriptor that never blocks, wide enough for a small frame where allowed."""
    if process.stdin is None:
        raise FeatureError("ffmpeg: started without standard input", next_step="report this defect")
    pipe = os.dup(process.stdin.fileno())
    process.stdin.close()
    process.stdin = None
    os.set_blocking(pipe, False)
    with suppress(OSError, AttributeError):
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return pipe
