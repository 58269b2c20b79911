"""Whether the last picture of a stream without an index is whole: containers that do not say where they end.

These are MPEG's transport and program streams and streams without a container. The last packets are decoded from the
last key frame on. A picture is cut where the decoder, which took all before it, stumbles over the last one; and where
other bytes behind that make another picture, since a decoder that has all of it reads none of them.
"""

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vqa_assets.clips.containers import ONLY_CLIPS
from vqa_assets.errors import BrokenClipError

WITHOUT_INDEX = ("mpegts", "mpeg", "mpegvideo", "m4v", "h264", "hevc", "vvc")
"""FFmpeg's names of what says neither its length nor its end."""
# No zeros: they would begin another unit, or be taken for the padding that ends one.
_BEHIND = (bytes(range(0x41, 0x81)) * 4, bytes(range(0xC0, 0x80, -1)) * 4)
_MOST_PACKETS = 1_000
_MOST_BYTES = 64 << 20
_MOST_SECONDS, _SHARE_OF_LIMIT = 10.0, 0.25


def refuse_cut_end(path: Path, limit_s: float) -> None:
    """BrokenClipError where the last picture of the first video stream is cut; nothing where it cannot be told.

    It gives up where the last key frame is far from the end, and after a quarter of ``limit_s`` or ten seconds.
    """
    import av

    until = time.monotonic() + min(_MOST_SECONDS, _SHARE_OF_LIMIT * limit_s)
    try:
        packets, codec, extradata = _last_packets(path, until)
        if not packets:
            return
        is_cut = _stumbles(codec, extradata, packets, until)
        if not is_cut:
            pictures = {_last_pictures(codec, extradata, packets, behind, until) for behind in _BEHIND}
            is_cut = len(pictures) > 1
    except (av.error.FFmpegError, TimeoutError):
        return
    if is_cut:
        raise BrokenClipError("truncated: its last picture is cut")


def _last_packets(path: Path, until: float) -> tuple[Sequence[bytes], str, bytes]:
    """The packets from the last key frame on, their codec and its configuration; none where there are too many."""
    import av

    packets: list[bytes] = []
    size = 0
    with av.open(f"file:{path.absolute()}", options=ONLY_CLIPS, metadata_errors="replace") as container:
        stream = next(iter(container.streams.video), None)
        if stream is None or stream.codec_context is None or container.format.name not in WITHOUT_INDEX:
            return (), "", b""
        context = stream.codec_context
        name, extradata = context.codec.name, bytes(context.extradata or b"")
        for packet in container.demux(stream):
            if packet.is_keyframe and packet.size:
                packets, size = [], 0
            if packet.size and size <= _MOST_BYTES and len(packets) <= _MOST_PACKETS:
                packets.append(bytes(packet))
                size += packet.size
            if time.monotonic() > until:
                raise TimeoutError
    return (packets if size <= _MOST_BYTES and len(packets) <= _MOST_PACKETS else ()), name, extradata


def _decoder(codec: str, extradata: bytes) -> Any:
    import av

    context: Any = av.CodecContext.create(codec, "r")
    context.extradata = extradata or None
    context.thread_count, context.thread_type = 1, "NONE"
    return context


def _stumbles(codec: str, extradata: bytes, packets: Sequence[bytes], until: float) -> bool:
    """Whether a strict decoder takes all packets but the last one; TimeoutError after ``until``."""
    import av

    context = _decoder(codec, extradata)
    context.options = {"err_detect": "explode"}
    for number, packet in enumerate(packets, 1):
        try:
            context.decode(av.Packet(packet))
        except av.error.FFmpegError:
            return number == len(packets)
        if time.monotonic() > until:
            raise TimeoutError
    return False


def _last_pictures(codec: str, extradata: bytes, packets: Sequence[bytes], behind: bytes, until: float) -> str:
    """A hash of the pictures that come once the last packet is decoded; TimeoutError after ``until``."""
    import av

    context = _decoder(codec, extradata)
    for packet in packets[:-1]:
        _decoded(context, av.Packet(packet))
        if time.monotonic() > until:
            raise TimeoutError
    digest = hashlib.sha256()
    for last in (av.Packet(packets[-1] + behind), None):
        for frame in _decoded(context, last):
            for row in _rows(frame):
                digest.update(row)
    return digest.hexdigest()


def _decoded(context: Any, packet: Any) -> Sequence[Any]:
    import av

    try:
        frames: Sequence[Any] = context.decode(packet)
    except av.error.FFmpegError:  # of a picture whose reference lies before the key frame, say
        return ()
    return frames


def _rows(frame: Any) -> Sequence[memoryview]:
    """The visible samples, without what pads a line in memory."""
    rows = []
    sample = 2 if frame.format.components[0].bits > 8 else 1
    for plane in frame.planes:
        content, line = memoryview(plane), plane.line_size
        rows += [content[start : start + plane.width * sample] for start in range(0, plane.height * line, line)]
    return rows
