"""Pictures in horizontal bands: arithmetic that stays in a core's cache, and little memory however large a picture."""

from collections.abc import Iterator

BAND_PIXELS = 1 << 16
"""Pixels of a band: 256 kB in single precision."""


def bands(height: int, width: int) -> Iterator[tuple[int, int]]:
    """The first row of each band and the row after its last; together all rows, each once."""
    rows = max(BAND_PIXELS // width, 8)
    for first in range(0, height, rows):
        yield first, min(first + rows, height)
