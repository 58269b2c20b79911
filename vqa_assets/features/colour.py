"""What one picture's colours tell: saturation, colourfulness, and which transfer function and primaries are declared.

Luma is in ``distortions``; which pictures of a clip are measured is in ``no_reference``.
"""

import math

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.uint8] | NDArray[np.uint16]

_PQ, _HLG, _UNSPECIFIED, _BT2020 = 16, 18, (0, 2, 3), 9
"""Code points of ITU-T H.273; 0 and 3 are reserved, and as good as nothing said."""

_PRIMARIES = {1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "film", 9: "bt2020"}
_PRIMARIES |= {10: "smpte428", 11: "smpte431", 12: "smpte432", 22: "ebu3213"}


def saturation(u: Samples, v: Samples, bit_depth: int) -> tuple[float, float]:
    """Mean and standard deviation of the distance from grey in the plane of both chroma samples, 8-bit levels."""
    middle, scale = np.float32(1 << (bit_depth - 1)), np.float32(1 << (bit_depth - 8))
    distance = np.hypot(u.astype(np.float32) - middle, v.astype(np.float32) - middle)
    distance /= scale
    return float(distance.mean(dtype=np.float64)), float(distance.std(dtype=np.float64))


def colourfulness(rgb: NDArray[np.uint8]) -> float:
    """Of RGB (height, width, 3), 0–255: D. Hasler and S. Süsstrunk, "Measuring Colourfulness in Natural Images", 2003.

    √(σ²rg + σ²yb) + 0.3 · √(μ²rg + μ²yb) with rg = R − G and yb = (R + G) / 2 − B.
    """
    red, green, blue = (rgb[..., i].astype(np.float32) for i in range(3))
    rg, yb = red - green, (red + green) / 2 - blue
    return math.hypot(rg.std(), yb.std()) + 0.3 * math.hypot(rg.mean(), yb.mean())


def transfer_name(code: int) -> str:
    """``pq``, ``hlg``, ``sdr`` or ``unknown`` of a transfer characteristic's code point."""
    return {_PQ: "pq", _HLG: "hlg"}.get(code, "unknown" if code in _UNSPECIFIED else "sdr")


def primaries_name(code: int) -> str:
    """FFmpeg's name of colour primaries; ``unknown`` where none are declared."""
    return _PRIMARIES.get(code, "unknown")


def is_malformed_hdr(transfer: str, primaries: str) -> bool:
    """Whether PQ or HLG is declared without BT.2020 (ITU-R BT.2100 has no other primaries)."""
    return transfer in ("pq", "hlg") and primaries != "bt2020"
