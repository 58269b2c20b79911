"""The ffmpeg binary of the imageio-ffmpeg wheel as a child process: where it is, what it can, how it is stopped.

What it is asked to do is in ``libvmaf``.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from vqa_assets.clips.processes import DEVNULL, PIPE, Process, run
from vqa_assets.errors import FeatureError, TransientClipError

LOG_FILE, MOST_LOGGED = "stderr.txt", 1 << 16
_VERSION_LIMIT_S = 60.0

NEEDED = ("--enable-libvmaf", "--enable-libx264")
"""Options that the binary must have been built with."""


@dataclass(frozen=True)
class Finished:
    """A child process that ended by itself: its exit status, and what it wrote to standard error.

    A negative status is the signal that ended it.
    """

    status: int
    complaints: str


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
        done = run([binary, "-version"], limit_s=_VERSION_LIMIT_S)
    except OSError as error:
        raise FeatureError(f"ffmpeg: {binary} does not run", found=str(error)) from error
    if done.status:
        reason = f"no answer within {_VERSION_LIMIT_S:g} s" if done.timed_out else f"exit status {done.status}"
        raise FeatureError(f"ffmpeg: {binary} does not run", found=reason)
    version = done.output.decode("utf-8", "replace")
    missing = [option for option in NEEDED if option not in version]
    if missing or not version.startswith("ffmpeg version "):
        raise FeatureError(
            f"ffmpeg: {binary} cannot measure",
            found=f"built without {', '.join(missing)}" if missing else "no version line",
            next_step="unset IMAGEIO_FFMPEG_EXE, or name a build that has libvmaf and libx264",
        )
    return version.split()[2]


class Child:
    """A process that reads frames from its standard input; a context manager, after which it has ended.

    ``stall_s`` is how long it may leave a frame untaken, or go on after the last one.
    """

    def __init__(
        self, command: Sequence[str], folder: Path, stall_s: float, stop: threading.Event | None = None
    ) -> None:
        self._command, self._folder, self._stall_s, self._stop = command, folder, stall_s, stop

    def __enter__(self) -> "Child":
        with ExitStack() as opened:
            # To a file, not a pipe: nobody reads what it says while it is fed, and a full pipe would stop it.
            self._log_file = opened.enter_context((self._folder / LOG_FILE).open("w+b"))
            try:
                process = Process(self._command, folder=self._folder, stdin=PIPE, stdout=DEVNULL, stderr=self._log_file)
            except OSError as error:
                raise FeatureError(f"ffmpeg: {self._command[0]} does not start", found=str(error)) from error
            self._process = opened.enter_context(process)
            self._process.widen_pipes()
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._opened.close()

    def feed(self, samples: "memoryview | bytes") -> None:
        """Hand bytes over; those that a process no longer takes are dropped (``finish`` tells why it ended).

        Raises ``StoppedError`` when ``stop`` is set, ``TransientClipError`` where nothing is taken for ``stall_s``.
        """
        with self._stalls(), suppress(BrokenPipeError):
            self._process.feed(samples, self._stall_s, self._stop)

    def finish(self) -> Finished:
        """Say that there are no more bytes, and wait; raises as ``feed`` does."""
        self._process.close_stdin()
        with self._stalls():
            status = self._process.wait(self._stall_s, self._stop)
        self._log_file.seek(0)
        return Finished(status, self._log_file.read(MOST_LOGGED).decode(errors="replace"))

    @contextmanager
    def _stalls(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError:
            raise TransientClipError("ffmpeg: took too long", found=f"no progress for {self._stall_s:.0f} s") from None
