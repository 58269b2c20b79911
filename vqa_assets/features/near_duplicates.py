"""Clips that look alike though their bytes differ: the family ``perceptual-hash``, and groups by it.

Groups are reported, never used to delete a clip. Equal bytes are ingest's and the aggregation's affair.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vqa_assets.errors import FeatureError
from vqa_assets.feature_names import MEASURED, PERCEPTUAL_HASH_COLUMNS
from vqa_assets.features.decoding import LONG_SIDE, DecodedClip, Frame
from vqa_assets.features.family import Family, FrameRequest, Measured

(COLUMN,) = PERCEPTUAL_HASH_COLUMNS
"""The feature table's column: one 64-bit hash in hexadecimal a moment, joined by ``-``."""

COMPARED = ("key", COLUMN, *("nr_width", "nr_height", "nr_duration_s"), *("width", "height", "duration_s"))
"""The columns that groups are made by."""

MOMENTS = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Where in the measured frames the hashed ones are."""

BITS_APART = 8
"""Mean bits of 64 by which the frames of two encodes of one clip may differ; other clips differ by about 32."""

SAME_WITHIN = 0.05
"""Share by which durations and aspect ratios of near duplicates may differ."""

_ROWS_AT_ONCE = 512


@dataclass(frozen=True)
class PerceptualHash(Family):
    """One column: ``COLUMN``."""

    algorithm: int = 5
    name = "perceptual-hash"
    columns = (MEASURED[COLUMN],)
    frames = FrameRequest(small_luma=True)

    def made_with(self) -> tuple[str, ...]:
        """The size of the small frames."""
        return (f"luma {LONG_SIDE}",)

    @contextmanager
    def open(self, clip: DecodedClip) -> "Iterator[_Hash]":
        """Nothing to begin."""
        yield _Hash(clip)


@dataclass
class _Hash:
    clip: DecodedClip

    def add(self, frame: Frame) -> None:
        """No frame is asked for."""

    def columns(self) -> Measured:
        """The hash."""
        return {COLUMN: perceptual_hash(self.clip.small.luma)}


def perceptual_hash(luma: NDArray[np.uint8]) -> str:
    """The hash of a clip's small frames (frames, height, width): ``imagehash.phash`` of five of them.

    FeatureError where imagehash is not installed.
    """
    from PIL import Image

    try:
        import imagehash
    except ImportError as error:
        raise FeatureError(
            "perceptual_hash needs imagehash",
            found=str(error),
            next_step="pip install 'vqa-assets[perceptual-hash]', or set perceptual_hash to false",
        ) from error

    chosen = [luma[min(int(moment * len(luma)), len(luma) - 1)] for moment in MOMENTS]
    return "-".join(str(imagehash.phash(Image.fromarray(frame))) for frame in chosen)


def near_duplicate_groups(rows: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    """Indices of rows in groups of two and more that look alike, in the order of the rows.

    Rows need ``clip_phash, nr_width, nr_height, nr_duration_s``, or ``width, height, duration_s`` where those are not
    there; a row without a hash is in no group. Groups are transitive: two members may differ by more than
    ``BITS_APART`` where a third lies between. Every pair is compared: exact, and a minute or two for 150 000 clips.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    places = [i for i, row in enumerate(rows) if row.get(COLUMN)]
    if len(places) < 2:
        return []
    hashes = np.array([[int(word, 16) for word in rows[i][COLUMN].split("-")] for i in places], dtype=np.uint64)
    one, other = _pairs(hashes, np.array([_shape(rows[i]) for i in places]))
    graph = coo_array((np.ones(len(one), np.int8), (one, other)), shape=(len(places), len(places)))
    _, labels = connected_components(graph, directed=False)
    groups: dict[int, list[int]] = {}
    for place, label in zip(places, labels, strict=True):
        groups.setdefault(int(label), []).append(place)
    return [group for group in groups.values() if len(group) > 1]


def group_report(rows: Sequence[Mapping[str, Any]], named: int = 50) -> dict[str, Any]:
    """How many groups of near duplicates and clips in them, and the keys of the first ``named`` groups."""
    groups = near_duplicate_groups(rows)
    keys = [[str(rows[i]["key"]) for i in group] for group in groups[:named]]
    return {"groups": len(groups), "clips": sum(map(len, groups)), "examples": keys}


def _pairs(hashes: NDArray[np.uint64], shapes: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    pairs: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    most, tolerance = BITS_APART * hashes.shape[1], np.log1p(SAME_WITHIN)
    for first in range(0, len(hashes), _ROWS_AT_ONCE):
        block, rest = slice(first, first + _ROWS_AT_ONCE), slice(first, None)
        apart = np.zeros((len(hashes[block]), len(hashes[rest])), np.uint16)
        for word in range(hashes.shape[1]):
            apart += np.bitwise_count(hashes[block, word, None] ^ hashes[None, rest, word])
        one, other = np.nonzero(apart <= most)
        one, other = one + first, other + first
        alike = (np.abs(shapes[one] - shapes[other]) <= tolerance).all(axis=1) & (one < other)
        pairs.append((one[alike], other[alike]))
    return np.concatenate([a for a, _ in pairs]), np.concatenate([b for _, b in pairs])


def _shape(row: Mapping[str, Any]) -> tuple[float, float]:
    """Logarithms of aspect ratio and duration."""
    width, height = row.get("nr_width") or row["width"], row.get("nr_height") or row["height"]
    seconds = row.get("nr_duration_s") or row.get("duration_s") or 1.0
    return float(np.log(width / height)), float(np.log(max(seconds, 1e-3)))
