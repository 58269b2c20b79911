"""One clip's frames, decoded once, as they are shown: turned upright, of even size, planar 4:2:0 in 8 or 10 bits.

Families take each frame as it passes (``extractor`` hands them out); of a frame only its small luma is kept. What
ingest asks of a clip is in ``probing``.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from vqa_assets.clips.containers import ONLY_CLIPS, clearer_reason, refuse_what_is_no_clip
from vqa_assets.clips.hashing import hash_file
from vqa_assets.clips.work import StoppedError
from vqa_assets.corpora.raw_video import RawVideo
from vqa_assets.errors import BrokenClipError, ClipError, TransientClipError
from vqa_assets.printing import public

if TYPE_CHECKING:
    from vqa_assets.features.windows import Window

Samples = NDArray[np.uint8] | NDArray[np.uint16]

SMALLEST_SIDE = 8
"""Pixels either way; a smaller picture has neither a block nor a window to measure."""

LONG_SIDE = 64
"""Pixels of a small frame's longer side: the scale at which Hou and Zhang (CVPR 2007) look for saliency."""

SHORT_SIDE_AT_LEAST = 8
"""Pixels that a small frame's shorter side keeps however elongated the picture is."""

FALLBACK_RATE = 25.0
"""Frames per second where neither the timestamps nor the container tell."""

HIGH_DEFINITION = 720
"""Lines from which a picture that does not say its matrix is taken for one of BT.709."""

_FULL_RANGE = 2
_NO_MATRIX = (2, 3)
"""Code points of ITU-T H.273 of a matrix that is not said."""
_PLANAR = {"yuv420p": "yuv420p", "yuvj420p": "yuv420p", "yuv420p10le": "yuv420p10le"}
_AGAIN = "fetch or stage the clip again"


@dataclass(frozen=True)
class ClipFile:
    """A clip on disk; ``raw`` is what it is where it has no container."""

    path: Path
    raw: RawVideo | None = None

    @property
    def name(self) -> str:
        """The file's name."""
        return self.path.name


@dataclass(frozen=True)
class Picture:
    """A frame as shown: its size in pixels, turned upright, and the bits of its luma samples as coded."""

    width: int
    height: int
    bit_depth: int

    @property
    def even(self) -> tuple[int, int]:
        """Width and height without the last column or row of an odd size."""
        return self.width // 2 * 2, self.height // 2 * 2

    @property
    def measured_bits(self) -> int:
        """Bits a sample that are measured: 8, or 10 for more than 8."""
        return 8 if self.bit_depth <= 8 else 10


@dataclass(frozen=True, eq=False)
class Frame:
    """One decoded frame: PyAV's, as coded, its quarter turns counter-clockwise, and its place in the clip, from 0.

    It holds the decoder's own memory: whoever wants to keep something of it takes a copy.
    """

    coded: Any
    turns: int
    picture: Picture
    index: int

    @property
    def full_range(self) -> bool:
        """Whether luma spans all codes instead of 16–235 (times four in 10 bits), in ``planes`` too."""
        return not self.coded.format.is_rgb and _says_full_range(self.coded)

    @cached_property
    def planes(self) -> tuple[Samples, Samples, Samples]:
        """Luma and the two half-size chroma planes, of even size: uint8, or uint16 with 10 bits."""
        name = "yuv420p" if self.picture.measured_bits == 8 else "yuv420p10le"
        frame = self.coded
        if _PLANAR.get(frame.format.name) != name:
            full = _FULL_RANGE if self.full_range else 1
            source = _FULL_RANGE if _says_full_range(frame) else 0
            frame = frame.reformat(format=name, src_color_range=source, dst_color_range=full, threads=1)
        sample = np.uint8 if self.picture.measured_bits == 8 else np.uint16
        across, down = (n // 2 * 2 for n in (frame.width, frame.height))
        whole, half = (down, across), (down // 2, across // 2)
        planes = [_samples(p, sample, size) for p, size in zip(frame.planes, (whole, half, half), strict=True)]
        return tuple(self._turned(plane) for plane in planes)  # type: ignore[return-value]

    def scaled(self, width: int, height: int, pixels: str) -> NDArray[np.uint8]:
        """The frame as shown, area-averaged to that size, as ``gray`` (height, width) or ``rgb24`` (…, 3), full range.

        Of ``gray`` the codes are stretched as the declared range says.
        """
        if self.turns % 2:
            width, height = height, width
        source = _FULL_RANGE if _says_full_range(self.coded) else 0
        small = self.coded.reformat(
            width, height, pixels, interpolation="AREA", src_color_range=source, threads=1, dst_color_range=_FULL_RANGE
        )
        return cast(NDArray[np.uint8], self._turned(_pixels(small)))

    def rgb(self, width: int, height: int) -> NDArray[np.uint8]:
        """The frame as shown, bilinearly brought to that size, (height, width, 3) in red, green, blue, full range.

        Range and matrix are the frame's own where it says them; a frame that does not say its matrix is of BT.709 from
        720 lines on, else of BT.601, as players take it. PQ and HLG stay as coded, without tone mapping, in 8 bits.
        """
        from av.video.reformatter import Colorspace, Interpolation

        across, down = (height, width) if self.turns % 2 else (width, height)
        matrix = None
        if self.coded.colorspace in _NO_MATRIX and not self.coded.format.is_rgb:
            is_high = min(self.picture.width, self.picture.height) >= HIGH_DEFINITION
            matrix = Colorspace.ITU709 if is_high else Colorspace.ITU601
        picture = self.coded.reformat(
            across,
            down,
            "gbrp",
            # Else swscale halves chroma across for even widths, and is 1 to 2 codes too dark; packed it takes longer.
            interpolation=Interpolation.BILINEAR | Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND,
            src_colorspace=matrix,
            src_color_range=_FULL_RANGE if _says_full_range(self.coded) else 0,
            dst_color_range=_FULL_RANGE,
            threads=1,
        )
        green, blue, red = (_samples(plane, np.uint8, (picture.height, picture.width)) for plane in picture.planes)
        pixels: NDArray[np.uint8] = np.stack((red, green, blue), axis=-1)
        return cast(NDArray[np.uint8], self._turned(pixels))

    def of_window(self, index: int) -> "Frame":
        """The same frame at this place of a window; what is converted already is not converted again."""
        frame = copy(self)
        object.__setattr__(frame, "index", index)
        return frame

    def small_luma(self) -> NDArray[np.uint8]:
        """The small luma, (height, width), full range: ``SmallFrames`` has those of all frames."""
        return self.scaled(*small_size(self.picture.width, self.picture.height), "gray")

    def _turned(self, plane: Samples) -> Samples:
        if not self.turns:
            return plane
        return cast(Samples, np.ascontiguousarray(np.rot90(plane, self.turns)))


def small_size(width: int, height: int, long_side: int = LONG_SIDE) -> tuple[int, int]:
    """The size of a small frame: same shape, longer side ``long_side``, neither under ``SHORT_SIDE_AT_LEAST``."""
    scale = long_side / max(width, height)
    return max(round(width * scale), SHORT_SIDE_AT_LEAST), max(round(height * scale), SHORT_SIDE_AT_LEAST)


@dataclass(frozen=True, eq=False)
class SmallFrames:
    """The frames of a clip, from the first on, area-averaged to small luma.

    ``luma`` is uint8 (frames, height, width), full range, longer side ``LONG_SIDE``: 2.3 kB a frame at 16:9.
    ``duration_s`` spans these frames, the last one's display time included.
    """

    picture: Picture
    luma: NDArray[np.uint8]
    duration_s: float

    @property
    def count(self) -> int:
        """How many frames there are, at least one."""
        return len(self.luma)

    @property
    def frame_rate(self) -> float:
        """Mean frames per second."""
        return self.count / self.duration_s


class NotSoughtError(Exception):
    """A clip whose frames are not found by their times: it has to be decoded whole."""


@dataclass(frozen=True)
class Timeline:
    """What a clip's packets say of its frames, in the order shown, without decoding: how many, and when.

    ``times`` are in units of the stream's time base, ``keys`` those of the key frames; both are empty where packets
    have no times.
    """

    count: int
    times: tuple[int, ...] = ()
    keys: tuple[int, ...] = ()

    @classmethod
    def of(cls, clip: ClipFile, most: int) -> "Timeline":
        """The first ``most`` frames of a clip; raises as ``opened``."""
        with opened(clip) as source, _clip_errors(clip):
            packets = [
                (packet.pts, packet.is_keyframe)
                for packet in source.container.demux(source.stream)
                if packet.size and not packet.is_discard
            ]
        if any(time is None for time, _ in packets):
            return cls(min(len(packets), most))
        times = sorted(time for time, _ in packets)[:most]
        return cls(len(times), tuple(times), tuple(sorted(time for time, is_key in packets if is_key)))

    def first(self, most: int) -> "Timeline":
        """The first ``most`` frames."""
        return self if self.count <= most else Timeline(most, self.times[:most], self.keys)

    def reached(self, frame: Frame, position: int) -> bool:
        """Whether a frame is the one at this place, or the first after it where that one does not decode."""
        if self.times and frame.coded.pts is not None:
            return bool(frame.coded.pts >= self.times[position])
        return frame.index >= position


@dataclass
class Source:
    """An open clip: its frames once, and afterwards what was seen of them.

    ``tags`` are code points of ITU-T H.273 and whether frames are interlaced, of the first frame; ``damaged`` counts
    frames whose bytes were incomplete and which the decoder patched up, as a player does.
    """

    clip: ClipFile
    container: Any
    stream: Any
    picture: Picture | None = None
    tags: Mapping[str, int] = field(default_factory=dict)
    packets: int = 0
    packet_bytes: int = 0
    damaged: int = 0
    sha256: str = ""
    _times: list[float | None] = field(default_factory=list)

    def frames(self, most: int, stop: threading.Event | None = None) -> Iterator[Frame]:
        """At most the first ``most`` frames, in one thread.

        Raises ``BrokenClipError`` for bytes that do not decode or hold no frame, ``ClipError`` for a picture that
        changes its size or is too small, ``StoppedError`` when ``stop`` is set.
        """
        with _clip_errors(self.clip):
            for frame in islice(self._decoded(), most):
                if stop is not None and stop.is_set():
                    raise StoppedError
                self._times.append(frame.time)
                self.damaged += bool(frame.is_corrupt)
                yield self._upright(frame, self.count - 1)
        if self.picture is None:
            raise BrokenClipError(f"{self.clip.name}: no frame decodes", next_step=_AGAIN)

    def frames_at(
        self, positions: Sequence[int], timeline: Timeline, stop: threading.Event | None = None
    ) -> Iterator[Frame]:
        """The frames at these places, in order; what no key frame leads to is not decoded. Raises as ``frames``.

        The same frames as of the clip decoded whole. NotSoughtError where they are not found by their times.
        """
        if not timeline.times:
            raise NotSoughtError
        with _clip_errors(self.clip):
            decoded, last, frame = self._decoded(), None, None
            for position in positions:
                target = timeline.times[position]
                if last is not None and last >= target:  # it stands in for one that does not decode
                    yield self._upright(frame, position)
                    continue
                key = max((time for time in timeline.keys if time <= target), default=None)
                if key is None:
                    raise NotSoughtError
                if (last is None and key != timeline.times[0]) or (last is not None and key > last):
                    self.container.seek(key, stream=self.stream)
                    decoded = self._decoded()
                    frame = next(decoded, None)
                    # A demuxer may have gone past it, and a decoder may begin with what it cannot show.
                    if frame is None or frame.pts is None or frame.pts > target or frame.is_corrupt:
                        raise NotSoughtError
                    decoded = chain([frame], decoded)
                for frame in decoded:
                    if stop is not None and stop.is_set():
                        raise StoppedError
                    if frame.pts is None:
                        raise NotSoughtError
                    self.damaged += bool(frame.is_corrupt)
                    last = frame.pts
                    if last >= target:
                        yield self._upright(frame, position)
                        break
        if self.picture is None:
            raise NotSoughtError

    def content_sha256(self, stop: threading.Event) -> str:
        """The SHA-256 of the clip's bytes, read once whoever asks."""
        self.sha256 = self.sha256 or hash_file(self.clip.path, stop).sha256
        return self.sha256

    def seek_middle(self) -> None:
        """Go on from a key frame near the middle; where that cannot be, from the beginning."""
        import av

        if self.container.duration:
            with suppress(av.error.FFmpegError):
                self.container.seek(self.container.duration // 2)

    @property
    def count(self) -> int:
        """How many frames there were so far."""
        return len(self._times)

    @property
    def expected_frames(self) -> int:
        """How many frames the container says there are, exactly or by its duration; 0 where it does not."""
        if self.stream.frames:
            return int(self.stream.frames)
        if self.stream.duration:
            return round(float(self.stream.duration * self.stream.time_base) * self.rate)
        return round((self.container.duration or 0) / 1e6 * self.rate)

    @property
    def rate(self) -> float:
        """Frames per second by the container."""
        return float(self.stream.average_rate or self.stream.base_rate or FALLBACK_RATE)

    @property
    def duration_s(self) -> float:
        """Seconds from the first frame's time to the last's, plus one mean interval; count / rate where times fail."""
        first, last, intervals = self._times[0], self._times[-1], len(self._times) - 1
        if first is None or last is None or last <= first:
            return len(self._times) / self.rate
        return (last - first) * (intervals + 1) / intervals

    @property
    def bits_per_pixel(self) -> float:
        """Mean bits of the video stream a frame and pixel."""
        if self.picture is None or not self.packets:
            return float("nan")
        return 8 * self.packet_bytes / (self.packets * self.picture.width * self.picture.height)

    def _decoded(self) -> Iterator[Any]:
        for packet in self.container.demux(self.stream):
            if packet.size:
                self.packets += 1
                self.packet_bytes += packet.size
            yield from packet.decode()

    def _upright(self, frame: Any, index: int) -> Frame:
        turns = round(frame.rotation / 90) % 4
        width, height = (frame.height, frame.width) if turns % 2 else (frame.width, frame.height)
        picture = Picture(width, height, frame.format.components[0].bits)
        if self.picture is None:
            self._check_size(picture)
            self.picture, self.tags = picture, _tags(frame)
        if (width, height) != (self.picture.width, self.picture.height):
            raise ClipError(
                f"{self.clip.name}: the picture changes its size",
                found=f"{self.picture.width}×{self.picture.height}, then {width}×{height}",
                expected="one size",
                next_step="re-encode the clip, or leave it out",
            )
        return Frame(frame, turns, self.picture, index)

    def _check_size(self, picture: Picture) -> None:
        if min(picture.width, picture.height) < SMALLEST_SIDE:
            raise ClipError(
                f"{self.clip.name}: too small to be measured",
                found=f"{picture.width}×{picture.height}",
                expected=f"{SMALLEST_SIDE} pixels or more either way",
                next_step="leave the clip out",
            )


@dataclass(frozen=True, eq=False)
class DecodedClip:
    """A clip while it is decoded, as every family that measures it sees it.

    ``source`` knows the first frame's picture and tags; counts, durations and damage are known when the clip has ended.
    At most its first ``max_frames`` frames are decoded. With ``reference`` it is the distorted side of that clip.
    ``stop`` is set where nobody waits for an answer any more. With ``window`` it is that stretch of the clip: frames,
    counts and durations are the window's, what ``source`` tells is the whole clip's so far.
    """

    source: Source
    picture: Picture
    max_frames: int
    reference: ClipFile | None = None
    stop: threading.Event | None = None
    small_luma: list[NDArray[np.uint8]] = field(default_factory=list)
    known_timeline: Timeline | None = None
    window: "Window | None" = None

    @property
    def name(self) -> str:
        """The file's name."""
        return self.source.clip.name

    @property
    def expected_frames(self) -> int:
        """About how many frames will be decoded; 0 where the container does not say."""
        expected = self.source.expected_frames if self.window is None else self.window.timeline.count
        return min(expected, self.max_frames)

    @cached_property
    def timeline(self) -> Timeline:
        """What the clip's packets say of the frames that are decoded: for families that plan which they look at."""
        return self.known_timeline or Timeline.of(self.source.clip, self.max_frames)

    @cached_property
    def small(self) -> SmallFrames:
        """The small luma of all frames, once the clip has ended, for the families that ask for it."""
        duration_s = self.source.duration_s if self.window is None else self.window.duration_s
        return SmallFrames(self.picture, np.stack(self.small_luma), duration_s)


@contextmanager
def opened(clip: ClipFile) -> Iterator[Source]:
    """The clip's first real video stream, set to decode in one thread.

    Raises ``BrokenClipError`` for a file that is no whole clip, ``TransientClipError`` where it cannot be read.
    """
    import av

    with ExitStack() as stack:
        with _clip_errors(clip):
            if clip.raw is None:
                refuse_what_is_no_clip(clip.path)
            try:
                container = stack.enter_context(av.open(f"file:{clip.path.absolute()}", **_open_options(clip)))
            except av.error.ArgumentError as error:  # what FFmpeg says of a format that is not on the list
                raise BrokenClipError(clearer_reason(_reason(error), clip.path)) from None
            stream = _first_real_video(container)
            stream.codec_context.thread_count = 1
        yield Source(clip, container, stream)


def read_picture(clip: ClipFile) -> Picture:
    """What the clip's first frame is; raises as ``opened`` and ``Source.frames`` do."""
    with opened(clip) as source:
        return next(iter(source.frames(1))).picture


def _first_real_video(container: Any) -> Any:
    """The first video stream that is no cover art."""
    from av.stream import Disposition

    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic and stream.codec_context is not None:
            return stream
    kinds = ", ".join(sorted({s.type for s in container.streams})) or "none"
    raise BrokenClipError(f"no video stream that can be decoded (streams: {kinds})")


def _open_options(clip: ClipFile) -> dict[str, Any]:
    if clip.raw is None:
        return {"options": ONLY_CLIPS, "metadata_errors": "replace"}
    size, rate = f"{clip.raw.width}x{clip.raw.height}", f"{clip.raw.framerate:g}"
    shape = {"video_size": size, "pixel_format": clip.raw.pix_fmt, "framerate": rate}
    return {"format": "rawvideo", "options": {"protocol_whitelist": "file", **shape}}


@contextmanager
def _clip_errors(clip: ClipFile) -> Iterator[None]:
    """Decoding errors become ours; reasons without the file's name get it."""
    import av

    try:
        yield
    except (OSError, av.error.MemoryError) as error:
        raise TransientClipError(f"{clip.name}: cannot be read", found=_reason(error)) from error
    except av.error.FFmpegError as error:
        raise BrokenClipError(f"{clip.name}: does not decode", found=_reason(error), next_step=_AGAIN) from error
    except BrokenClipError as error:
        if public(clip.name) in error.what:
            raise
        raise BrokenClipError(f"{clip.name}: {error}", next_step=_AGAIN) from None


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _says_full_range(frame: Any) -> bool:
    return bool(frame.format.name.startswith("yuvj") or frame.color_range == _FULL_RANGE)


def _tags(frame: Any) -> dict[str, int]:
    return {
        "transfer": int(frame.color_trc),
        "primaries": int(frame.color_primaries),
        "interlaced": int(frame.interlaced_frame),
    }


def _samples(plane: Any, sample: type, size: tuple[int, int]) -> Samples:
    """A plane's samples, ``size`` (rows, columns) of them, without its padding; shared with the frame."""
    codes: Samples = np.frombuffer(plane, dtype=sample)
    rows: Samples = codes.reshape(plane.height, -1)[: size[0], : size[1]]
    return rows


def _pixels(frame: Any) -> Samples:
    """The pixels of a ``gray`` or ``rgb24`` frame, (height, width) or (height, width, 3), shared with the frame.

    Not PyAV's own array: where rows are padded it takes longer than the conversion before it.
    """
    if frame.format.name == "gray":
        return _samples(frame.planes[0], np.uint8, (frame.height, frame.width))
    return _samples(frame.planes[0], np.uint8, (frame.height, 3 * frame.width)).reshape(frame.height, frame.width, 3)
