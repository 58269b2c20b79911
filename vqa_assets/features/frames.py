"""One decoding pass over a clip: its small luma frames, and the size, bit depth and duration of what was decoded.

What is computed from the frames is not here (``saliency``, ``shots``), nor the comparison of full-size frames
(``libvmaf``).
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqa_assets.clip_work import StoppedError
from vqa_assets.errors import BrokenClipError, ClipError, TransientClipError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LONG_SIDE = 64
"""Pixels of a small frame's longer side: the scale at which Hou and Zhang (CVPR 2007) look for saliency."""

SHORT_SIDE_AT_LEAST = 8
"""Pixels that the shorter side keeps however elongated the picture is."""

FALLBACK_RATE = 25.0
"""Frames per second where neither the timestamps nor the container tell."""


@dataclass(frozen=True)
class Picture:
    """A decoded frame's coded size in pixels (rotation metadata ignored) and the bits of its luma samples."""

    width: int
    height: int
    bit_depth: int


@dataclass(frozen=True, eq=False)
class SmallFrames:
    """The frames of a clip, from the first on, area-averaged to small luma.

    ``luma`` is uint8 (frames, height, width), full range, longer side ``LONG_SIDE``: 2.3 kB a frame at 16:9.
    ``duration_s`` spans these frames, the last one's display time included.
    """

    picture: Picture
    luma: "NDArray[np.uint8]"
    duration_s: float

    @property
    def count(self) -> int:
        """How many frames there are, at least one."""
        return len(self.luma)

    @property
    def frame_rate(self) -> float:
        """Mean frames per second."""
        return self.count / self.duration_s


def read_picture(clip: Path) -> Picture:
    """What the clip's first frame is; raises as ``read_small_frames`` does."""
    with _opened(clip) as (container, stream):
        for frame in container.decode(stream):
            return _picture(frame)
    raise _no_frame(clip)


def read_small_frames(clip: Path, max_frames: int, stop: threading.Event | None = None) -> SmallFrames:
    """Decode at most the first ``max_frames`` frames, in one thread, full-size frames one at a time.

    Raises ``BrokenClipError`` for bytes that do not decode, ``ClipError`` for a picture that changes its size,
    ``TransientClipError`` where the file cannot be read, ``StoppedError`` when ``stop`` is set.
    """
    import numpy as np

    with _opened(clip) as (container, stream):
        shrink = _Shrinker(clip)
        small, times = [], []
        for frame in islice(container.decode(stream), max_frames):
            if stop is not None and stop.is_set():
                raise StoppedError
            small.append(shrink(frame))
            times.append(frame.time)
        if shrink.picture is None:
            raise _no_frame(clip)
        rate = float(stream.average_rate or stream.base_rate or FALLBACK_RATE)
    return SmallFrames(shrink.picture, np.stack(small), _duration(times, rate))


class _Shrinker:
    """Scales each frame of one clip to the same small luma picture, and refuses a change of size."""

    def __init__(self, clip: Path) -> None:
        from av.video.reformatter import VideoReformatter

        self._clip, self._reformatter = clip, VideoReformatter()
        self.picture: Picture | None = None

    def __call__(self, frame: Any) -> "NDArray[np.uint8]":
        import numpy as np

        first = self.picture = self.picture or _picture(frame)
        if (frame.width, frame.height) != (first.width, first.height):
            raise ClipError(
                f"{self._clip.name}: the picture changes its size",
                found=f"{first.width}×{first.height}, then {frame.width}×{frame.height}",
                expected="one size",
                next_step="re-encode the clip, or leave it out",
            )
        width, height = small_size(first.width, first.height)
        small = self._reformatter.reformat(frame, width, height, "gray", interpolation="AREA", threads=1)
        return np.asarray(small.to_ndarray(), dtype=np.uint8)


def small_size(width: int, height: int) -> tuple[int, int]:
    """The size of the small frame: longer side ``LONG_SIDE``, same shape, neither under ``SHORT_SIDE_AT_LEAST``."""
    scale = LONG_SIDE / max(width, height)
    return max(round(width * scale), SHORT_SIDE_AT_LEAST), max(round(height * scale), SHORT_SIDE_AT_LEAST)


@contextmanager
def _opened(clip: Path) -> Iterator[tuple[Any, Any]]:
    """The open container and its first real video stream, set to decode in one thread; decoding errors become ours."""
    import av

    try:
        with av.open(str(clip), options={"protocol_whitelist": "file"}) as container:
            streams = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
            if not streams or streams[0].codec_context is None:
                raise BrokenClipError(f"{clip.name}: no video stream that can be decoded")
            streams[0].codec_context.thread_count = 1
            yield container, streams[0]
    except (OSError, av.error.MemoryError) as error:
        raise TransientClipError(f"{clip.name}: cannot be read", found=_reason(error)) from error
    except av.error.FFmpegError as error:
        raise BrokenClipError(
            f"{clip.name}: does not decode", found=_reason(error), next_step="fetch or stage the clip again"
        ) from error


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _picture(frame: Any) -> Picture:
    return Picture(frame.width, frame.height, frame.format.components[0].bits)


def _no_frame(clip: Path) -> BrokenClipError:
    return BrokenClipError(f"{clip.name}: no frame decodes", next_step="fetch or stage the clip again")


def _duration(times: list[float | None], rate: float) -> float:
    """Seconds from the first frame's time to the last's, plus one mean interval; count / rate where times fail."""
    first, last, intervals = times[0], times[-1], len(times) - 1
    if first is None or last is None or last <= first:
        return len(times) / rate
    return (last - first) * (intervals + 1) / intervals
