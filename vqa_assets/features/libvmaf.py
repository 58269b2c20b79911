"""Canonical-6 of every frame, by one ffmpeg process: libvmaf's elementary features of a reference and a second side.

Without a reference of its own a clip is the reference, and the second side is a fixed x264 re-encode of it, decoded
again inside the same process: compared with itself a clip has ADM and VIF of 1, whatever it shows. The process holds
about a hundred frames at once, however long the clip: 120 MB at 640 × 360, 2.6 GB at 3840 × 2160 in 10 bits.

Pooling over frames is in ``extractor``, the process in ``ffmpeg``.
"""

import json
import re
import signal
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vqa_assets.errors import BrokenClipError, ClipError, FeatureError, TransientClipError
from vqa_assets.feature_names import CANONICAL_6
from vqa_assets.features.ffmpeg import Finished, run_child
from vqa_assets.features.frames import Picture

SMALLEST_SIDE = 32
"""Pixels; libvmaf crashes on a 16 × 16 picture."""

_X264 = ("-preset", "veryfast", "-crf", "35", "-x264-params", "mbtree=0", "-threads", "1")
RECOMPRESSION = ("-c:v", "libx264", *_X264)
"""The re-encode. One thread, and no macroblock tree (it varies on some builds), make it the same bytes each time."""

ENCODE_RATE = 25
"""Frames per second the encoder is told, whatever the clip's: its rate control then depends on pictures alone."""

LIMIT_BASE_S = 60.0
LIMIT_PER_MEGAPIXEL_S = 3.0
"""A process may take so long, plus so long per million pixels compared: about a hundred times what it needs."""

FEATURES_FILE, COUNT_FILE = "features.json", "frames.txt"
_LIBVMAF = f"[distorted][reference]libvmaf=log_fmt=json:log_path={FEATURES_FILE}:n_threads=1:eof_action=endall[out]"
_TRUNCATED = ("File ended prematurely", ": partial file")
_KILLED = (-signal.SIGKILL, -signal.SIGTERM)
_ADDRESS = re.compile(r" @ 0x[0-9a-f]+")
_UNABLE = ("Unrecognized option", "No such filter", "Unknown encoder", "No space left on device")


@dataclass(frozen=True)
class Comparison:
    """What to compare: the reference clip, its picture, how many frames are expected, and the distorted clip.

    Without ``distorted`` the second side is the re-encode of ``reference``. Of either side no more than
    ``max_frames`` are read.
    """

    reference: Path
    picture: Picture
    frames: int
    max_frames: int
    distorted: Path | None = None

    @property
    def width(self) -> int:
        """Compared width, pixels: the reference's, without the last column where that is odd."""
        return self.picture.width // 2 * 2

    @property
    def height(self) -> int:
        """Compared height, pixels: the reference's, without the last row where that is odd."""
        return self.picture.height // 2 * 2

    @property
    def bit_depth(self) -> int:
        """Compared bits a sample: 8, or 10 for a reference of more than 8."""
        return 8 if self.picture.bit_depth <= 8 else 10

    @property
    def limit_s(self) -> float:
        """Seconds that the process may take."""
        return LIMIT_BASE_S + LIMIT_PER_MEGAPIXEL_S * self.frames * self.width * self.height / 1e6


def compare(comparison: Comparison, binary: str, stop: threading.Event | None = None) -> dict[str, list[float]]:
    """Canonical-6: for each name one value a frame, in frame order; frames of both sides pair by index.

    Raises ``ClipError`` for pictures under ``SMALLEST_SIDE`` and for sides of unequal frame counts,
    ``BrokenClipError`` where ffmpeg finds the file cut short, ``FeatureError`` where the binary cannot do it at all,
    and what ``run_child`` raises.
    """
    _check_size(comparison)
    with tempfile.TemporaryDirectory(prefix="vqa-libvmaf-") as folder:
        finished = run_child(command(comparison, binary), Path(folder), comparison.limit_s, stop)
        _check_end(comparison, finished)
        scores = read_report(Path(folder, FEATURES_FILE))
        counted = len(Path(folder, COUNT_FILE).read_text().splitlines())
    _check_counts(comparison, counted, len(scores[CANONICAL_6[0]]))
    return scores


def command(comparison: Comparison, binary: str) -> list[str]:
    """The ffmpeg command line; it writes ``FEATURES_FILE`` and ``COUNT_FILE`` (a line per frame) where it runs.

    Frames pass through 1:1 and are numbered from 0 on both sides; rotation metadata is ignored on both.
    """
    quiet = ["-nostdin", "-loglevel", "error", "-filter_threads", "1", "-filter_complex_threads", "1"]
    sides = _against_recompression(comparison) if comparison.distorted is None else _against_clip(comparison)
    return [binary, *quiet, *_input(comparison.reference), *sides, "-map", "[out]", *_passed_to_null()]


def read_report(path: Path) -> dict[str, list[float]]:
    """Canonical-6 from a libvmaf JSON report, under the exact names ``<f>`` or ``integer_<f>``, one value a frame."""
    try:
        frames = [frame["metrics"] for frame in json.loads(path.read_bytes())["frames"]]
    except (OSError, ValueError, KeyError) as error:
        raise TransientClipError("libvmaf: left no report that can be read", found=str(error)) from error
    return {name: [_value(metrics, name) for metrics in frames] for name in CANONICAL_6}


def _value(metrics: Mapping[str, float], name: str) -> float:
    for spelling in (name, f"integer_{name}"):
        if spelling in metrics:
            return float(metrics[spelling])
    raise FeatureError("libvmaf: a feature is missing", found=f"{sorted(metrics)}", expected=f"{name}, integer_{name}")


def _input(clip: Path) -> list[str]:
    read = ["-protocol_whitelist", "file", "-threads", "1", "-noautorotate", "-r", str(ENCODE_RATE)]
    return [*read, "-i", f"file:{clip.absolute()}"]


def _passed_to_null() -> list[str]:
    return ["-fps_mode", "passthrough", "-f", "null", "-"]


def _counted_to_null() -> list[str]:
    return ["-stats_enc_pre", COUNT_FILE, "-stats_enc_pre_fmt", "{n}", *_passed_to_null()]


def _numbered(comparison: Comparison, resize: str) -> str:
    """The filters that every side goes through: its first frames, one size and pixel format, numbered by index."""
    pixels = "yuv420p" if comparison.bit_depth == 8 else "yuv420p10le"
    return f"trim=end_frame={comparison.max_frames},{resize},format={pixels},settb=1/{ENCODE_RATE},setpts=N"


def _reference_filters(comparison: Comparison) -> str:
    return _numbered(comparison, f"crop={comparison.width}:{comparison.height}:0:0")


def _against_recompression(comparison: Comparison) -> list[str]:
    """Encode the reference, decode that in the same process (a loopback decoder), and compare."""
    same = _reference_filters(comparison)
    encode = ["-map", "0:V:0", "-vf", same, "-enc_time_base", f"1:{ENCODE_RATE}", *RECOMPRESSION, *_counted_to_null()]
    again = f"[dec:0]settb=1/{ENCODE_RATE},setpts=N[distorted]"
    graph = f"[0:V:0]{same}[reference];{again};{_LIBVMAF}"
    return [*encode, "-threads", "1", "-dec", "0:0", "-filter_complex", graph]


def _against_clip(comparison: Comparison) -> list[str]:
    """Scale the distorted clip to the reference (bicubic) and compare; the reference's frames are counted beside."""
    if comparison.distorted is None:
        return []
    scaled = _numbered(comparison, f"scale={comparison.width}:{comparison.height}:flags=bicubic")
    sides = f"[0:V:0]{_reference_filters(comparison)},split[reference][counted];[1:V:0]{scaled}[distorted]"
    graph = f"{sides};{_LIBVMAF}"
    return [*_input(comparison.distorted), "-filter_complex", graph, "-map", "[counted]", *_counted_to_null()]


def _name(comparison: Comparison) -> str:
    return (comparison.distorted or comparison.reference).name


def _check_size(comparison: Comparison) -> None:
    size = comparison.picture
    if min(size.width, size.height) < SMALLEST_SIDE:
        raise ClipError(
            f"{_name(comparison)}: too small for libvmaf",
            found=f"{size.width}×{size.height}",
            expected=f"{SMALLEST_SIDE} pixels or more either way",
            next_step="leave the clip out",
        )


def _check_end(comparison: Comparison, finished: Finished) -> None:
    name, said = _name(comparison), _ADDRESS.sub("", finished.said).strip()
    last = " | ".join(said.splitlines()[-3:])
    if any(line.endswith(_TRUNCATED) for line in said.splitlines()):
        raise BrokenClipError(f"{name}: cut short", found=last, next_step="fetch or stage the clip again")
    if any(sign in said for sign in _UNABLE):
        raise FeatureError("ffmpeg: cannot compare", found=last, next_step="free space, or upgrade imageio-ffmpeg")
    if finished.status in _KILLED:
        raise TransientClipError(f"{name}: ffmpeg was killed", next_step="give it more memory, or fewer workers")
    if finished.status:
        raise ClipError(f"{name}: ffmpeg failed", found=f"status {finished.status}: {last or 'no message'}")


def _check_counts(comparison: Comparison, counted: int, compared: int) -> None:
    if not counted == compared == comparison.frames:
        raise ClipError(
            f"{_name(comparison)}: the frames do not pair",
            found=f"{comparison.frames} decoded, {counted} on the reference's side, {compared} compared",
            expected="the same number everywhere",
            next_step="leave the clip out, or re-encode it",
        )
