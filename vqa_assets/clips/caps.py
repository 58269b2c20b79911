"""Caps on what is decoded: how large, how long, of how many frames, in how much memory. Judged before decoding.

A clip over a cap is no broken clip: it is told, left alone, and asked again when a cap changes. The settings that
state caps are in ``cap_settings``; what measuring holds beside the decoder is judged in ``features.memory``.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from vqa_assets.clips.geometry import Geometry
from vqa_assets.errors import TooLargeError

MAX_PIXELS = 7680 * 4320
MAX_DURATION_S = 3_600.0
MAX_FRAMES = 250_000
LEAST_BUDGET_BYTES = 1_000_000
SHARE = 0.7
"""The share of the memory available that may be held where no budget is set."""
BUDGET_SHOWN = "70 % of what is available"
CAP_NAMES = ("max_pixels", "max_duration_s", "max_frames", "memory_budget")
"""The caps, as settings and messages call them."""

FRAMES_DECODING = 20
"""Frames that a decoder holds: sixteen to refer to (H.264 and HEVC allow no more), and those under way."""
_BYTES_PER_PIXEL = {8: 1.5, 10: 3.0}
"""Of 4:2:0; a header that does not say the pixel format is taken for one of 8 bits."""
_FALLBACK_BYTES = 2 << 30
_CGROUP_FILES = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@dataclass(frozen=True)
class ClipSize:
    """How much decoding a clip would be, as far as it is known: pixels a frame, seconds, frames; 0 where it is not."""

    width: int
    height: int
    duration_s: float = 0.0
    frames: int = 0
    bits: int = 8

    @classmethod
    def of(cls, geometry: Geometry) -> "ClipSize":
        """The size of a clip that was probed."""
        frames = round(geometry.duration_s * geometry.framerate)
        bits = 10 if geometry.pix_fmt.endswith(("le", "be")) else 8  # samples of two bytes have an order
        return cls(geometry.width, geometry.height, geometry.duration_s, frames, bits)


@dataclass(frozen=True)
class ClipCaps:
    """The caps of one run; ``memory_budget`` in bytes, None for a share of what is available.

    ``by_options`` where a person states them as options of a command: messages then name the option.
    """

    max_pixels: int = MAX_PIXELS
    max_duration_s: float = MAX_DURATION_S
    max_frames: int = MAX_FRAMES
    memory_budget: int | None = None
    by_options: bool = False

    def values(self) -> dict[str, Any]:
        """Cap → value."""
        return {name: getattr(self, name) for name in CAP_NAMES}

    @cached_property
    def budget_bytes(self) -> int:
        """The memory that may be held, asked of the machine once where none is set."""
        return self.memory_budget or max(int(SHARE * available_bytes()), 1)

    def why_too_large(self, size: ClipSize) -> str:
        """Which cap a clip is over, with its setting; empty where it is over none."""
        pixels = size.width * size.height
        if pixels > self.max_pixels:
            return (
                f"{size.width}×{size.height} are {pixels} pixels, at most {self.max_pixels} {self._named('max_pixels')}"
            )
        if size.duration_s > self.max_duration_s:
            return f"{size.duration_s:g} s, at most {self.max_duration_s:g} {self._named('max_duration_s')}"
        if size.frames > self.max_frames:
            return f"{size.frames} frames, at most {self.max_frames} {self._named('max_frames')}"
        needed = round(FRAMES_DECODING * pixels * _BYTES_PER_PIXEL[size.bits])
        if needed > self.budget_bytes:
            return self.over_budget(needed)
        return ""

    def check(self, size: ClipSize) -> None:
        """TooLargeError where a clip is over a cap."""
        if reason := self.why_too_large(size):
            rate = size.frames / size.duration_s if size.duration_s else 0.0
            header = (size.width, size.height, rate, float(size.duration_s))
            raise TooLargeError(f"too large: {reason}", header=header)

    def over_budget(self, needed: int) -> str:
        """That a clip needs so many bytes of memory, more than may be held."""
        budget = f"{self.budget_bytes / 1e6:.0f} MB {self._named('memory_budget')}"
        return f"decoding takes about {needed / 1e6:.0f} MB, at most {budget}"

    def _named(self, cap: str) -> str:
        return f"(--{cap.replace('_', '-')} raises it)" if self.by_options else f"({cap})"


def available_bytes() -> int:
    """Memory that the machine has available, or the container's limit where that is less."""
    lines = _text("/proc/meminfo").splitlines()
    of_machine = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    # A container without a limit says "max", or a number beyond any machine.
    limits = (_text(name).strip() for name in _CGROUP_FILES)
    of_container = [int(limit) for limit in limits if limit.isdigit()]
    return min([*of_machine, *of_container], default=_FALLBACK_BYTES)


def _text(name: str) -> str:
    try:
        return Path(name).read_text(encoding="ascii")
    except OSError:
        return ""
