"""One clip asked in this process, through PyAV. Time limits and protection from crashes are not here (``probing``).

The pixel format of H.264 and HEVC in MP4 is learnt from the head of the first slice: FFmpeg decodes a whole picture for
it, or seven, which costs more than all the rest of a probe. A decoder that is given the parameter sets and the first
bytes of a slice knows the format, then fails for want of the picture. Bit layouts: ISO/IEC 14496-15, 5.3.3.1 (avcC) and
8.3.3.1 (hvcC); NAL unit types: H.264 table 7-1, H.265 table 7-1.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from vqa_assets.clips.caps import ClipCaps, ClipSize
from vqa_assets.clips.containers import ONLY_CLIPS, is_iso
from vqa_assets.clips.geometry import ProbeAnswer
from vqa_assets.clips.trouble import MACHINES
from vqa_assets.errors import BrokenClipError

_SLICE_HEAD_BYTES = 128
"""More than any slice header needs before the first block of the picture."""
_LONGEST_OTHER_BYTES = 4096


@dataclass(frozen=True)
class _Layout:
    """Where a codec's configuration record has the length of its length fields, and which NAL units are slices."""

    length_at: int
    is_slice: Callable[[int], bool]


# nal_unit_type: five bits of the first byte in H.264 (1 and 5 are slices), six in HEVC (0 to 31 are).
_LAYOUTS: Mapping[str, _Layout] = {
    "h264": _Layout(4, lambda first: first & 31 in (1, 5)),
    "hevc": _Layout(21, lambda first: first >> 1 & 63 < 32),
}


def settle_pixel_format(container: Any, stream: Any) -> None:
    """Let the stream's ``codec_context`` learn its pixel format and size; it stays without where this cannot tell."""
    import av

    context = stream.codec_context
    layout, record = _LAYOUTS.get(context.codec.canonical_name), bytes(context.extradata or b"")
    # The first byte is the record's version. A stream as broadcast (Annex B) begins with a zero instead.
    if layout is None or len(record) <= layout.length_at or record[0] != 1:
        return
    packet = next(container.demux(stream), None)
    head = _first_slice(bytes(packet), record[layout.length_at] % 4 + 1, layout) if packet is not None else b""
    if not head:
        return
    context.thread_count, context.thread_type, context.skip_frame = 1, "NONE", "DEFAULT"
    context.options = {"ec": "0"}  # no error concealment: it would paint the picture that is not there
    try:
        context.decode(av.Packet(head))
    except av.error.FFmpegError:  # as expected: the format was settled before it failed
        return


def _first_slice(packet: bytes, length_bytes: int, layout: _Layout) -> bytes:
    """The packet's small units up to its first slice, and the beginning of that; empty where there is none."""
    head, at = b"", 0
    while at + length_bytes < len(packet):
        begin = at + length_bytes
        end = begin + int.from_bytes(packet[at:begin])
        unit = packet[begin:end]
        if unit and layout.is_slice(unit[0]):
            beginning = unit[:_SLICE_HEAD_BYTES]
            return head + len(beginning).to_bytes(length_bytes) + beginning
        if len(unit) <= _LONGEST_OTHER_BYTES:  # parameter sets; of the others (SEI) some are long and tell nothing
            head += packet[at:end]
        at = end
    return b""


_TELLING = "hevc,libdav1d,av1,mpeg4,prores,mjpeg,vp9"
"""Decoders that know the pixel format once they are open; to open others, those of sound above all, tells nothing."""
_GLANCE = {**ONLY_CLIPS, "skip_frame": "all", "probesize": "65536", "codec_whitelist": _TELLING}
"""Little is read and no picture decoded: the tables of an MP4 that is not in fragments say the rest."""
_HEADER = {**ONLY_CLIPS, "skip_frame": "all", "probesize": "65536", "codec_whitelist": "none"}
"""Little is read, and no decoder is opened: of pictures that are too large, even one may be too much."""
_ISO = "mp4"
_HEAD_BYTES = 8


def silence() -> None:
    """Keep FFmpeg's own messages off standard error; what matters comes back as an error."""
    import av.logging

    av.logging.set_libav_level(av.logging.PANIC)


def answer_of(path: Path, caps: ClipCaps | None = None) -> ProbeAnswer:
    """What PyAV says of a clip; BrokenClipError where it cannot be opened, or holds no video.

    Of an MP4 or MOV, first without decoding a picture; in full where that leaves a question open. TooLargeError where
    it is over one of the ``caps``, which its header shows before a picture is decoded; OSError where it is the machine
    that stands in the way.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if is_iso(head):
        if answer := _glance(path, caps):
            return answer
    elif caps is not None:
        refuse_by_header(path, caps)
    return _look(path)


def refuse_by_header(path: Path, caps: ClipCaps) -> None:
    """TooLargeError where a clip's header shows it to be over a cap; nothing where it does not say, or is no clip's."""
    import av

    try:
        with av.open(f"file:{path.absolute()}", options=_HEADER, metadata_errors="replace") as container:
            answer = _answer(container, _first_real_video(container))
    except (av.error.FFmpegError, BrokenClipError):
        return
    caps.check(_size_of(answer))


def _size_of(answer: ProbeAnswer) -> ClipSize:
    rate = answer.average_rate or answer.base_rate
    duration_s = answer.stream_duration_s or answer.container_duration_s or 0.0
    frames = answer.frames or round(duration_s * rate if rate else 0)
    return ClipSize(answer.width or 0, answer.height or 0, duration_s, frames)


def _glance(path: Path, caps: ClipCaps | None) -> ProbeAnswer | None:
    """The answer without a picture decoded; None where it is not all there, or where decoder and container differ."""
    import av

    try:
        # ``file:``, or FFmpeg takes what stands before a colon in the name for a protocol.
        name = f"file:{path.absolute()}"
        with av.open(name, format=_ISO, options=_GLANCE, metadata_errors="replace") as container:
            stream = _first_real_video(container)
            answer, context = _answer(container, stream), stream.codec_context
            if caps is not None:
                caps.check(_size_of(answer))
            if not stream.frames:  # in fragments: its tables say neither rate nor duration
                return None
            if answer.pix_fmt is None:
                settle_pixel_format(container, stream)
                answer = replace(answer, pix_fmt=context.pix_fmt)
                if (context.width, context.height) != (answer.width, answer.height):
                    return None
    except (av.error.FFmpegError, BrokenClipError):
        return None
    return answer if answer.pix_fmt and answer.average_rate else None


def _look(path: Path) -> ProbeAnswer:
    import av

    try:
        with av.open(f"file:{path.absolute()}", options=ONLY_CLIPS, metadata_errors="replace") as container:
            answer = _answer(container, _first_real_video(container))
    except av.error.FFmpegError as error:
        if error.errno in MACHINES:
            raise OSError(error.errno, error.strerror) from error
        raise BrokenClipError(error.strerror or str(error)) from error
    return answer


def _answer(container: Any, stream: Any) -> ProbeAnswer:
    import av

    context = stream.codec_context
    if context is None:  # PyAV has none where FFmpeg has no decoder for the stream
        raise BrokenClipError("no decoder for its video codec")
    return ProbeAnswer(
        width=context.width,
        height=context.height,
        pix_fmt=context.pix_fmt,
        codec=context.codec.canonical_name,
        average_rate=stream.average_rate,
        base_rate=stream.base_rate,
        stream_duration_s=_seconds(stream.duration, stream.time_base),
        container_duration_s=_seconds(container.duration, Fraction(1, av.time_base)),
        frames=stream.frames or None,
    )


def _first_real_video(container: Any) -> Any:
    """The first video stream that is no cover art."""
    from av.stream import Disposition

    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            return stream
    kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "none"
    raise BrokenClipError(f"no video stream (streams: {kinds})")


def _seconds(duration: int | None, time_base: Fraction | None) -> float | None:
    return None if duration is None or time_base is None else duration * time_base.numerator / time_base.denominator
