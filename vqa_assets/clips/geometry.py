"""A clip's geometry, and how a probe's answer, or the size of raw video, becomes one. Opens no file."""

import math
from dataclasses import dataclass
from fractions import Fraction

from vqa_assets.corpora.raw_video import RawVideo
from vqa_assets.errors import BrokenClipError

_RAW_SUFFIX = ".yuv"


@dataclass(frozen=True)
class Geometry:
    """Coded (unrotated) size in pixels, frames per second, length in seconds, pixel format, codec (FFmpeg's names)."""

    width: int
    height: int
    framerate: float
    duration_s: float
    pix_fmt: str
    encoder_upstream: str

    def as_dict(self) -> dict[str, object]:
        """The corpus JSONL's fields of the same names."""
        return dict(vars(self))


@dataclass(frozen=True)
class ProbeAnswer:
    """What any probe says of a clip's first real video stream; ``None`` where it says nothing.

    Rates in frames per second, durations in seconds; ``frames`` are those that the container lists.
    """

    width: int | None
    height: int | None
    pix_fmt: str | None
    codec: str | None
    average_rate: Fraction | None
    base_rate: Fraction | None
    stream_duration_s: float | None
    container_duration_s: float | None
    frames: int | None = None


def geometry_of(answer: ProbeAnswer) -> Geometry:
    """The geometry in a probe's answer: average rate else base rate, stream duration else the container's.

    BrokenClipError where size, rate or pixel format is missing or zero. A duration nobody states is 0.0. Rates and
    durations are rounded to six decimals, so that every prober gives the same row.
    """
    if not answer.width or not answer.height:
        raise BrokenClipError(f"zero geometry: {answer.width or 0}×{answer.height or 0}")
    rate = answer.average_rate or answer.base_rate
    if not rate or rate < 0:
        raise BrokenClipError("no frame rate")
    if not answer.pix_fmt or not answer.codec:
        raise BrokenClipError(f"no {'codec' if answer.pix_fmt else 'pixel format'}: the stream cannot be decoded")
    durations = [answer.stream_duration_s, answer.container_duration_s]
    if answer.stream_duration_s == 0 and answer.frames:
        # The header says 0: what the container's duration is then made from, differs between versions of FFmpeg.
        durations = [float(answer.frames / rate)]
    return Geometry(
        width=answer.width,  # coded: a player turns some clips, the bytes are as they are
        height=answer.height,
        framerate=round(float(rate), 6),
        duration_s=round(next((d for d in durations if d and 0 < d < math.inf), 0.0), 6),
        pix_fmt=answer.pix_fmt,
        encoder_upstream=answer.codec,
    )


def is_raw(name: str) -> bool:
    """True for a clip without a container, whose bytes are frames and nothing else."""
    return name.lower().endswith(_RAW_SUFFIX)


def raw_geometry(raw: RawVideo, size_bytes: int, codec: str) -> Geometry:
    """The geometry of a raw clip of that size, decoded from ``codec``; BrokenClipError where frames are not whole."""
    frames, rest = divmod(size_bytes, raw.frame_bytes)
    if rest or not frames:
        raise BrokenClipError(
            f"{size_bytes} bytes are no whole number of {raw.width}×{raw.height} {raw.pix_fmt} frames "
            f"({raw.frame_bytes} bytes each)"
        )
    return Geometry(
        raw.width, raw.height, raw.framerate, round(frames / raw.framerate, 6), raw.pix_fmt, codec or "rawvideo"
    )
