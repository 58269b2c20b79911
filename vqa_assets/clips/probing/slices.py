"""The pixel format of H.264 and HEVC in MP4, from the head of the first slice: no picture is decoded.

FFmpeg decodes a whole picture for it, or seven, which costs more than all the rest of a probe. A decoder that is given
the parameter sets and the first bytes of a slice knows the format, then fails for want of the picture. Bit layouts:
ISO/IEC 14496-15, 5.3.3.1 (avcC) and 8.3.3.1 (hvcC); NAL unit types: H.264 table 7-1, H.265 table 7-1.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

_HEAD_BYTES = 128
"""More than any slice header needs before the first block of the picture."""
_LONGEST_OTHER_BYTES = 4096


@dataclass(frozen=True)
class _Layout:
    """Where a codec's configuration record has the length of its length fields, and which NAL units are slices."""

    length_at: int
    is_slice: Callable[[int], bool]


_LAYOUTS: Mapping[str, _Layout] = {
    "h264": _Layout(4, lambda first: first & 31 in (1, 5)),
    "hevc": _Layout(21, lambda first: first >> 1 & 63 < 32),
}


def settle_pixel_format(container: Any, stream: Any) -> None:
    """Let the stream's ``codec_context`` learn its pixel format and size; it stays without where this cannot tell."""
    import av

    context = stream.codec_context
    layout, record = _LAYOUTS.get(context.codec.canonical_name), bytes(context.extradata or b"")
    if layout is None or len(record) <= layout.length_at or record[0] != 1:
        return
    packet = next(container.demux(stream), None)
    head = _head(bytes(packet), record[layout.length_at] % 4 + 1, layout) if packet is not None else b""
    if not head:
        return
    context.thread_count, context.thread_type, context.skip_frame = 1, "NONE", "DEFAULT"
    context.options = {"ec": "0"}
    try:
        context.decode(av.Packet(head))
    except av.error.FFmpegError:
        return


def _head(packet: bytes, length_bytes: int, layout: _Layout) -> bytes:
    """The packet's small units up to its first slice, and the beginning of that; empty where there is none."""
    head, at = b"", 0
    while at + length_bytes < len(packet):
        begin = at + length_bytes
        end = begin + int.from_bytes(packet[at:begin])
        unit = packet[begin:end]
        if unit and layout.is_slice(unit[0]):
            beginning = unit[:_HEAD_BYTES]
            return head + len(beginning).to_bytes(length_bytes) + beginning
        if len(unit) <= _LONGEST_OTHER_BYTES:
            head += packet[at:end]
        at = end
    return b""
