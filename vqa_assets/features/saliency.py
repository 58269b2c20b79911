"""Saliency by the spectral residual: how a frame's conspicuous parts are spread over its area.

X. Hou and L. Zhang, "Saliency Detection: A Spectral Residual Approach", CVPR 2007. Training-free. Where the frames
come from is in ``decoding``, pooling over frames in ``konvid_v1``.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BLUR_SIGMA = 2.5
"""Pixels, at a longer side of 64: the authors' published code (a 10 × 10 Gaussian window)."""

FLAT_BELOW = 2
"""A small frame whose luma spans fewer grey levels (of 255) shows nothing but rounding: nothing is salient."""

AMPLITUDE_FLOOR = 1 / 255
"""What one grey level in one pixel adds to a spectrum: amplitudes below say nothing, and their logarithm much."""

BATCH = 64
"""Frames transformed at once: arrays of about a megabyte, work enough to let other threads run meanwhile."""


def saliency_maps(luma: "NDArray[np.uint8]") -> "NDArray[np.float32]":
    """Maps in [0, 1], float32, same shape as ``luma``: uint8 (frames, height, width).

    The log amplitude spectrum minus its 3 × 3 local mean (the spectrum being periodic, over its edges), back with the
    phase, squared, blurred, and stretched so that each frame's least value is 0 and its greatest is 1. A flat frame's
    map is 0 everywhere.
    """
    import numpy as np
    from scipy.fft import fft2, ifft2
    from scipy.ndimage import gaussian_filter, uniform_filter

    spectrum = fft2(luma.astype(np.float32) / 255, axes=(1, 2), workers=1)
    amplitude = np.maximum(np.abs(spectrum), np.float32(AMPLITUDE_FLOOR))
    log_amplitude = np.log(amplitude)
    residual = log_amplitude - uniform_filter(log_amplitude, size=(1, 3, 3), mode="wrap")
    back = ifft2(spectrum * (np.exp(residual) / amplitude), axes=(1, 2), workers=1, overwrite_x=True)
    energy = back.real**2 + back.imag**2
    blurred = gaussian_filter(energy, (0, BLUR_SIGMA, BLUR_SIGMA), mode="nearest", truncate=2.0)
    return _stretched(blurred, flat=np.ptp(luma, axis=(1, 2)) < FLAT_BELOW)


def saliency_moments(luma: "NDArray[np.uint8]") -> "tuple[NDArray[np.float64], NDArray[np.float64]]":
    """The mean and the variance (population) of each frame's saliency map: two arrays of length frames."""
    import numpy as np

    means, variances = [], []
    for start in range(0, len(luma), BATCH):
        maps = saliency_maps(luma[start : start + BATCH])
        means.append(maps.mean(axis=(1, 2), dtype=np.float64))
        variances.append(maps.var(axis=(1, 2), dtype=np.float64))
    return np.concatenate(means), np.concatenate(variances)


def _stretched(maps: "NDArray[np.float32]", flat: "NDArray[np.bool_]") -> "NDArray[np.float32]":
    """Each map's range mapped onto [0, 1]; maps of flat frames, or of no range, become 0."""
    import numpy as np

    low = maps.min(axis=(1, 2), keepdims=True)
    span = maps.max(axis=(1, 2), keepdims=True) - low
    nothing = flat[:, None, None] | (span <= 0)
    return np.where(nothing, np.float32(0), (maps - low) / np.where(nothing, np.float32(1), span))
