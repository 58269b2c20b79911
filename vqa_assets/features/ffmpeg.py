"""The ffmpeg binary of the imageio-ffmpeg wheel as a child process: where it is, what it can, how it is stopped.

What it is asked to do is in ``libvmaf``.
"""

import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from vqa_assets.clip_work import StoppedError
from vqa_assets.errors import FeatureError, TransientClipError

POLL_S = 0.1
"""How long a set stop signal or a passed time limit may go unseen."""

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


def run_child(command: Sequence[str], folder: Path, limit_s: float, stop: threading.Event | None = None) -> Finished:
    """Run ``command`` in ``folder`` to its end; it never outlives this call.

    Raises ``StoppedError`` when ``stop`` is set, ``TransientClipError`` after ``limit_s`` seconds, ``FeatureError``
    where no process can be started.
    """
    ends = time.monotonic() + limit_s
    with _started(command, folder) as child:
        try:
            while True:
                try:
                    _, said = child.communicate(timeout=POLL_S)
                    return Finished(child.returncode, said.decode(errors="replace"))
                except subprocess.TimeoutExpired:
                    _raise_if_over(ends, limit_s, stop)
        finally:
            child.kill()


def _started(command: Sequence[str], folder: Path) -> "subprocess.Popen[bytes]":
    """The child, in a process group of its own: an interrupt typed at the terminal ends it through us alone."""
    nothing = subprocess.DEVNULL
    try:
        return subprocess.Popen(
            command, cwd=folder, stdin=nothing, stdout=nothing, stderr=subprocess.PIPE, process_group=0
        )
    except OSError as error:
        raise FeatureError(f"ffmpeg: {command[0]} does not start", found=str(error)) from error


def _raise_if_over(ends: float, limit_s: float, stop: threading.Event | None) -> None:
    if stop is not None and stop.is_set():
        raise StoppedError
    if time.monotonic() > ends:
        raise TransientClipError("ffmpeg: took too long", found=f"no end after {limit_s:.0f} s")
