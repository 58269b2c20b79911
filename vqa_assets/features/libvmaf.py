"""Canonical-6 of every frame, by one ffmpeg process: libvmaf's elementary features of a reference and a second side.

The process is handed the clip's frames, decoded already. Without a reference of its own a clip is the reference, and
the second side is a fixed x264 re-encode of it, decoded again inside the same process: compared with itself a clip has
ADM and VIF of 1, whatever it shows. A reference of its own is a file that the process decodes.

Pooling over frames is in ``konvid_v1``, the process in ``ffmpeg``, how many of them there may be in ``memory``.
"""

import json
import re
import signal
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from vqa_assets.clips.containers import ONLY_CLIPS_ARGUMENTS
from vqa_assets.clips.trouble import is_crash
from vqa_assets.errors import BrokenClipError, ChildDiedError, ClipError, FeatureError, TransientClipError
from vqa_assets.feature_names import CANONICAL_6, VMAF
from vqa_assets.features.decoding import ClipFile, Picture, Samples
from vqa_assets.features.ffmpeg import Child, Finished
from vqa_assets.features.memory import MEMORY

SMALLEST_SIDE = 32
"""Pixels; libvmaf crashes on a 16 × 16 picture."""

_X264 = ("-preset", "veryfast", "-crf", "35", "-x264-params", "mbtree=0", "-threads", "1")
RECOMPRESSION = ("-c:v", "libx264", *_X264)
"""The re-encode. One thread, and no macroblock tree (it varies on some builds), make it the same bytes each time."""

ENCODE_RATE = 25
"""Frames per second the encoder is told, whatever the clip's: its rate control then depends on pictures alone."""

STALL_BASE_S = 60.0
STALL_PER_MEGAPIXEL_S = 60.0
"""A process may leave a frame untaken for so long, plus so long per million pixels: hundreds of times what it needs."""

FRAMES_HELD = 110
"""Frames of both sides that the process holds at once, however long the clip: measured, most of them in the encoder."""

FRAMES_HELD_AT_LEAST = 36
"""Frames' worth of memory that one frame takes on its way through encoder, decoder and libvmaf: measured."""

PROCESS_BYTES = 50_000_000
"""What the process holds beside frames."""

FEATURES_FILE, COUNT_FILE = "features.json", "frames.txt"
_LIBVMAF = f"[distorted][reference]libvmaf=log_fmt=json:log_path={FEATURES_FILE}:n_threads=1:eof_action=endall[out]"
_READ = ("-threads", "1", "-r", str(ENCODE_RATE), "-i")
_TO_NULL = ("-fps_mode", "passthrough", "-f", "null", "-")
_COUNTED = ("-stats_enc_pre", COUNT_FILE, "-stats_enc_pre_fmt", "{n}")
_TRUNCATED = ("File ended prematurely", ": partial file")
_ADDRESS = re.compile(r" @ 0x[0-9a-f]+")
_UNABLE = ("Unrecognized option", "No such filter", "Unknown encoder", "No space left on device")


@dataclass(frozen=True)
class Comparison:
    """What to compare: the clip whose frames are handed over and its picture, and the reference, if it has one.

    Without ``reference`` the clip is the reference, and the second side its re-encode. Of a reference no more than
    ``max_frames`` are read. ``expected`` is about how many frames there will be, where that is known.
    """

    name: str
    picture: Picture
    max_frames: int
    reference: ClipFile | None = None
    reference_picture: Picture | None = None
    expected: int = 0

    @property
    def compared(self) -> Picture:
        """The picture that both sides are brought to: the reference's."""
        return self.reference_picture or self.picture

    @property
    def stall_s(self) -> float:
        """Seconds that the process may leave a frame untaken."""
        width, height = self.compared.even
        return STALL_BASE_S + STALL_PER_MEGAPIXEL_S * width * height / 1e6

    @property
    def memory_bytes(self) -> int:
        """What the process holds at most, measured: 80 MB at 640 × 360, 390 at 1080p, 2.4 GB at 2160p in 10 bits."""
        width, height = self.compared.even
        sample_bytes = 1 if self.compared.measured_bits == 8 else 2
        frames = min(FRAMES_HELD, FRAMES_HELD_AT_LEAST + 2 * self.expected) if self.expected else FRAMES_HELD
        return PROCESS_BYTES + frames * width * height * sample_bytes * 3 // 2


class Comparing:
    """A comparison under way: ``feed`` it every frame of the clip, then ask for ``scores``."""

    def __init__(self, comparison: Comparison, child: Child, folder: Path) -> None:
        self._comparison, self._child, self._folder, self._fed = comparison, child, folder, 0

    def feed(self, planes: Iterable[Samples]) -> None:
        """Hand over one frame; raises as ``Child.feed``."""
        for plane in planes:
            self._child.feed(plane.tobytes() if not plane.flags.c_contiguous else plane.data)
        self._fed += 1

    def scores(self) -> dict[str, list[float]]:
        """Canonical-6 and VMAF: for each name one value a frame, in frame order; frames of both sides pair by index.

        Raises ``ClipError`` for sides of unequal frame counts, or where libvmaf fails on this clip;
        ``TransientClipError`` where the process was killed or did not go on; ``FeatureError`` where it cannot do it
        at all; ``StoppedError``.
        """
        _check_end(self._comparison, self._child.finish())
        scores = read_report(self._folder / FEATURES_FILE)
        reference_frames = len((self._folder / COUNT_FILE).read_text().splitlines())
        compared = len(scores[CANONICAL_6[0]])
        # libvmaf ends with the shorter side, and says nothing of what the other had left.
        if not self._fed == reference_frames == compared:
            raise ClipError(
                f"{self._comparison.name}: the frames do not pair",
                found=f"{self._fed} decoded, {reference_frames} on the reference's side, {compared} compared",
                expected="the same number everywhere",
                next_step="leave the clip out, or re-encode it",
            )
        return scores


@contextmanager
def comparing(comparison: Comparison, binary: str, stop: threading.Event | None = None) -> Iterator[Comparing]:
    """Start a comparison, once there is memory for it; it has ended, and left no file, at the end of the block."""
    with ExitStack() as stack:
        stack.enter_context(MEMORY.held(comparison.memory_bytes, stop))
        try:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vqa-libvmaf-")))
            child = stack.enter_context(Child(command(comparison, binary), folder, comparison.stall_s, stop))
        except OSError as error:
            raise FeatureError(
                "no temporary folder can be made", found=str(error), next_step="free space, or set TMPDIR"
            ) from error
        yield Comparing(comparison, child, folder)


def can_be_compared(picture: Picture) -> bool:
    """Whether libvmaf takes pictures of this size."""
    return min(picture.even) >= SMALLEST_SIDE


def command(comparison: Comparison, binary: str) -> list[str]:
    """The ffmpeg command line; it writes ``FEATURES_FILE`` and ``COUNT_FILE`` (a line per frame) where it runs.

    Frames pass through 1:1 and are numbered from 0 on both sides.
    """
    quiet = ["-nostdin", "-loglevel", "error", "-filter_threads", "1", "-filter_complex_threads", "1"]
    width, height = comparison.picture.even
    # The first input is the clip: its frames, as ``Frame.planes`` has them, on standard input.
    handed_over = ["-f", "rawvideo", "-pixel_format", _pixels(comparison.picture), "-video_size", f"{width}x{height}"]
    if comparison.reference is None:
        sides = _against_recompression()
    else:
        sides = _against_reference(comparison, comparison.reference)
    return [binary, *quiet, *handed_over, *_READ, "pipe:0", *sides, "-map", "[out]", *_TO_NULL]


def read_report(path: Path) -> dict[str, list[float]]:
    """Canonical-6 and VMAF from a libvmaf JSON report, under the exact name ``<f>`` or ``integer_<f>``, per frame."""
    try:
        frames = [frame["metrics"] for frame in json.loads(path.read_bytes())["frames"]]
    except (OSError, ValueError, KeyError) as error:
        raise TransientClipError("libvmaf: left no report that can be read", found=str(error)) from error
    return {name: [_value(metrics, name) for metrics in frames] for name in (*CANONICAL_6, VMAF)}


def _value(metrics: Mapping[str, float], name: str) -> float:
    for spelling in (name, f"integer_{name}"):
        if spelling in metrics:
            return float(metrics[spelling])
    raise FeatureError("libvmaf: a feature is missing", found=f"{sorted(metrics)}", expected=f"{name}, integer_{name}")


def _pixels(picture: Picture) -> str:
    return "yuv420p" if picture.measured_bits == 8 else "yuv420p10le"


def _against_recompression() -> list[str]:
    """Encode the frames, decode that in the same process (a loopback decoder), and compare."""
    numbered = f"settb=1/{ENCODE_RATE},setpts=N"
    encode = ["-map", "0:v:0", "-vf", numbered, "-enc_time_base", f"1:{ENCODE_RATE}"]
    graph = f"[0:v:0]{numbered}[reference];[dec:0]{numbered}[distorted];{_LIBVMAF}"
    return [*encode, *RECOMPRESSION, *_COUNTED, *_TO_NULL, "-threads", "1", "-dec", "0:0", "-filter_complex", graph]


def _against_reference(comparison: Comparison, reference: ClipFile) -> list[str]:
    """Scale the frames to the reference (bicubic) and compare; the reference's frames are counted beside.

    ffmpeg turns the reference upright as its rotation metadata says.
    """
    opening: Sequence[str] = ONLY_CLIPS_ARGUMENTS
    if reference.raw is not None:
        size = f"{reference.raw.width}x{reference.raw.height}"
        pixels = reference.raw.pix_fmt
        opening = ["-protocol_whitelist", "file", "-f", "rawvideo", "-pixel_format", pixels, "-video_size", size]
    file = [*opening, *_READ, f"file:{reference.path.absolute()}"]
    width, height = comparison.compared.even
    same = f"format={_pixels(comparison.compared)},settb=1/{ENCODE_RATE},setpts=N"
    one = f"[1:V:0]trim=end_frame={comparison.max_frames},crop={width}:{height}:0:0,{same},split"
    scaled = f"[0:v:0]scale={width}:{height}:flags=bicubic,{same}[distorted]"
    graph = f"{one}[reference][counted];{scaled};{_LIBVMAF}"
    return [*file, "-filter_complex", graph, "-map", "[counted]", *_COUNTED, *_TO_NULL]


def _check_end(comparison: Comparison, finished: Finished) -> None:
    name, message = comparison.name, _ADDRESS.sub("", finished.complaints).strip()
    last = " | ".join(message.splitlines()[-3:])
    if any(line.endswith(_TRUNCATED) for line in message.splitlines()):
        raise BrokenClipError(f"{name}: its reference is cut short", found=last, next_step="fetch or stage it again")
    if any(sign in message for sign in _UNABLE):
        raise FeatureError("ffmpeg: cannot compare", found=last, next_step="free space, or upgrade imageio-ffmpeg")
    if is_crash(finished.status):
        died = signal.Signals(-finished.status).name
        raise ChildDiedError(f"{name}: libvmaf crashes on it: {died}", crashed=True, next_step="leave the clip out")
    if finished.status < 0:
        remedy = "give it more memory, or fewer workers"
        raise ChildDiedError(f"{name}: ffmpeg was killed", crashed=False, next_step=remedy)
    if finished.status:
        raise ClipError(f"{name}: ffmpeg failed", found=f"status {finished.status}: {last or 'no message'}")
