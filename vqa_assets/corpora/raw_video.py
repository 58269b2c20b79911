"""What clips without a container (``.yuv``) are: nothing in the file says it, so a corpus or a setting does."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from pydantic import Field

from vqa_assets.settings import Declared

RawFormat = Literal["gray", "yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le"]
RAW_FORMATS: Mapping[RawFormat, tuple[int, int, int]] = MappingProxyType(
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

_LARGEST = 100_000


class RawVideo(Declared):
    """What clips without a container are, since nothing in the file says it: pixels, frames per second, format."""

    width: int = Field(default=3840, gt=0, le=_LARGEST)
    height: int = Field(default=2160, gt=0, le=_LARGEST)
    framerate: float = Field(default=30.0, gt=0, le=_LARGEST)
    pix_fmt: RawFormat = "yuv420p"

    @property
    def frame_bytes(self) -> int:
        """The size of one frame; odd sizes have their chroma rounded up, as FFmpeg does."""
        sample_bytes, across, down = RAW_FORMATS[self.pix_fmt]
        chroma = 2 * -(-self.width // across) * -(-self.height // down) if across else 0
        return sample_bytes * (self.width * self.height + chroma)
