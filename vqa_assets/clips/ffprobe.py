"""The ``ffprobe`` program, one process per clip: far slower, and independent of the FFmpeg in the wheel."""

import json
import re
import subprocess
import threading
from fractions import Fraction
from pathlib import Path
from typing import Any

from vqa_assets.clips.containers import DEMUXERS, refuse_what_is_no_clip, told_better
from vqa_assets.clips.geometry import Geometry, ProbeAnswer, geometry_of
from vqa_assets.clips.processes import why_unfit
from vqa_assets.clips.work import StoppedError
from vqa_assets.errors import BrokenClipError, IngestError, TransientClipError

_ENTRIES = (
    "stream=codec_type,codec_name,width,height,pix_fmt,avg_frame_rate,r_frame_rate,duration"
    ":stream_disposition=attached_pic:format=duration"
)
_UNKNOWN_OPTION = re.compile(rb"Unrecognized option|Option .* not found|Failed to set value .* for option")
_OPTIONS = ("-v", "error", "-protocol_whitelist", "file", "-format_whitelist", DEMUXERS, "-of", "json")


class FfprobeProber:
    """Satisfies the ingest loop's Prober with the program ``binary`` (a name on PATH, or a path)."""

    def __init__(self, binary: str = "ffprobe") -> None:
        self._binary = binary
        self._lock = threading.Lock()
        self._under_way: set[subprocess.Popen[bytes]] = set()
        self._trusted = False

    def probe(self, path: Path, timeout_s: float) -> Geometry:
        """The clip's geometry; errors as ``PyAvProber``'s, IngestError where the program is absent or no ffprobe."""
        refuse_what_is_no_clip(path)
        try:
            return geometry_of(_answer(json.loads(self._run(path, timeout_s))))
        except BrokenClipError as error:
            raise BrokenClipError(told_better(str(error), path)) from None
        except ValueError as error:
            self._distrust()
            raise _unfit(self._binary, f"an answer that is no JSON ({error})") from error

    def close(self) -> None:
        """End the probes under way, which raise StoppedError; a later probe starts anew."""
        with self._lock:
            stopped, self._under_way = self._under_way, set()
        for process in stopped:
            process.kill()

    def _run(self, path: Path, timeout_s: float) -> bytes:
        """What the program says; once more where it was killed, which may be for want of memory."""
        name = f"file:{path.absolute()}"
        code, out, err = self._once(name, timeout_s)
        if code < 0:
            code, out, err = self._once(name, timeout_s)
        if code:
            self._distrust(err)
            raise BrokenClipError(_reason(code, err, name))
        return out

    def _distrust(self, complaint: bytes = b"") -> None:
        """IngestError where it is the program that is at fault, and no clip; asked once of a good one."""
        if wrong := _UNKNOWN_OPTION.search(complaint):
            raise _unfit(self._binary, complaint[wrong.start() :].decode("utf-8", "replace").splitlines()[0][:200])
        if not self._trusted and (why := why_unfit(self._binary, "-version", "ffprobe version")):
            raise _unfit(self._binary, why)
        self._trusted = True

    def _once(self, name: str, timeout_s: float) -> tuple[int, bytes, bytes]:
        with self._started([self._binary, *_OPTIONS, "-show_entries", _ENTRIES, name]) as process:
            try:
                out, err = process.communicate(timeout=timeout_s)
            except subprocess.TimeoutExpired:
                raise TransientClipError(f"no answer within {timeout_s:g} s") from None
            finally:
                process.kill()
                self._ended(process)
        return process.returncode, out, err

    def _started(self, command: list[str]) -> "subprocess.Popen[bytes]":
        pipe = subprocess.PIPE
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, start_new_session=True
            )
        except OSError as error:
            raise _no_binary(self._binary, error) from error
        with self._lock:
            self._under_way.add(process)
        return process

    def _ended(self, process: "subprocess.Popen[bytes]") -> None:
        """Note the end of a process; StoppedError where ``close`` brought it about."""
        with self._lock:
            if process not in self._under_way:
                raise StoppedError
            self._under_way.remove(process)


def _answer(told: dict[str, Any]) -> ProbeAnswer:
    """The first video stream that is no cover art, as ffprobe's JSON has it (https://ffmpeg.org/ffprobe.html#json)."""
    streams = told.get("streams", [])
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
                container_duration_s=_seconds(told.get("format", {}).get("duration")),
            )
    found = ", ".join(sorted({stream.get("codec_type", "unknown") for stream in streams})) or "none"
    raise BrokenClipError(f"no video stream (streams: {found})")


def _rate(text: str | None) -> Fraction | None:
    """``30000/1001``; ``0/0`` stands for unknown."""
    over, _, under = (text or "").partition("/")
    return Fraction(int(over), int(under)) if over.isdigit() and under.isdigit() and int(under) else None


def _seconds(text: str | None) -> float | None:
    return None if text in (None, "N/A") else float(text)


def _reason(code: int, stderr: bytes, name: str) -> str:
    if code < 0:
        return f"the probe crashes on it (signal {-code})"
    lines = stderr.decode("utf-8", "replace").strip().splitlines()
    return lines[-1].removeprefix(f"{name}: ")[:200] if lines else f"ffprobe ended with {code}"


def _unfit(binary: str, found: str) -> IngestError:
    return IngestError(
        f"the ffprobe program {binary!r}",
        found=found,
        expected="an ffprobe of FFmpeg 4.4 or newer; no clip was judged by it",
        next_step="name another in $FFPROBE_BIN, or leave probing to PyAV",
    )


def _no_binary(binary: str, error: OSError) -> IngestError:
    return IngestError(
        f"the ffprobe program {binary!r}",
        found=(error.strerror or str(error)).lower(),
        expected="a program that can be started",
        next_step="install it (apt-get install ffmpeg), name it in $FFPROBE_BIN, or leave probing to PyAV",
    )
