"""The small luma of every frame, which saliency, shots and flicker are computed from.

Where the frames come from is in ``decoding``, the comparison of full-size frames in ``libvmaf``.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vqa_assets.features.decoding import Picture, Shown

LONG_SIDE = 64
"""Pixels of a small frame's longer side: the scale at which Hou and Zhang (CVPR 2007) look for saliency."""

SHORT_SIDE_AT_LEAST = 8
"""Pixels that the shorter side keeps however elongated the picture is."""


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


def small_luma(shown: Shown) -> NDArray[np.uint8]:
    """One frame's small luma, (height, width)."""
    return shown.scaled(*small_size(shown.picture.width, shown.picture.height), "gray")


def small_size(width: int, height: int, long_side: int = LONG_SIDE) -> tuple[int, int]:
    """The size of the small frame: same shape, longer side ``long_side``, neither under ``SHORT_SIDE_AT_LEAST``."""
    scale = long_side / max(width, height)
    return max(round(width * scale), SHORT_SIDE_AT_LEAST), max(round(height * scale), SHORT_SIDE_AT_LEAST)
