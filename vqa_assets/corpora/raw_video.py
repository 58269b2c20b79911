"""What clips without a container (``.yuv``) are: nothing in the file says it, so a corpus or a setting does."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

RAW_FORMATS: Mapping[str, tuple[int, int, int]] = MappingProxyType(
    {
        "gray": (1, 0, 0),
        "yuv420p": (1, 2, 2),
        "yuv422p": (1, 2, 1),
        "yuv444p": (1, 1, 1),
        "yuv420p10le": (2, 2, 2),
        "yuv422p10le": (2, 2, 1),
        "yuv444p10le": (2, 1, 1),
    }
)
"""Pixel formats of raw video: bytes a sample, then by how much chroma is smaller across and down (0: no chroma)."""


@dataclass(frozen=True)
class RawVideo:
    """What clips without a container are, since nothing in the file says it: pixels, frames per second, format."""

    width: int = 3840
    height: int = 2160
    framerate: float = 30.0
    pix_fmt: str = "yuv420p"

    @property
    def frame_bytes(self) -> int:
        """The size of one frame; odd sizes have their chroma rounded up, as FFmpeg does."""
        sample_bytes, across, down = RAW_FORMATS[self.pix_fmt]
        chroma = 2 * -(-self.width // across) * -(-self.height // down) if across else 0
        return sample_bytes * (self.width * self.height + chroma)
