"""Clips that look alike though their bytes differ: the family ``perceptual-hash``, and groups by it or by vectors.

A hash finds clips that were encoded again. The vectors of a backbone find what was cropped, mirrored or graded as well,
and miss some of what was damaged badly. Groups are reported, never used to delete a clip. Equal bytes are ingest's and
the aggregation's affair.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
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

_OF_FIVE = re.compile(rf"[0-9a-f]{{16}}(-[0-9a-f]{{16}}){{{len(MOMENTS) - 1}}}")

BITS_APART = 8
"""Mean bits of 64 by which the frames of two encodes of one clip may differ; other clips differ by about 32."""

SAME_WITHIN = 0.05
"""Share by which durations and aspect ratios of near duplicates may differ."""

ALIKE = 0.85
"""Cosine similarity of two clips' mean vectors, the mean of all clips taken off, from which they are told as alike.

Of efficientnet-lite0 on clips of the demo's scenes, other clips reach 0.79; nine of ten that were cropped by a tenth,
mirrored, brightened or slowed lie above, and half of those that were encoded at CRF 40."""

FEWEST_COMPARED, MOST_COMPARED = 8, 50_000
"""Clips whose vectors are compared: of fewer the mean is too much any one's, and pairs of more take minutes."""

_PROJECTED = 256
"""Numbers that vectors are brought down to: by chance directions, which move a cosine near ``ALIKE`` by about 0.02."""

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
    there; one without a size, or without a hash of five frames (a table of somebody's own may hold others), is in no
    group. Groups are transitive: two members may differ by more than
    ``BITS_APART`` where a third lies between. Every pair is compared: exact, and a minute or two for 150 000 clips.
    """
    places = [i for i, row in enumerate(rows) if _OF_FIVE.fullmatch(str(row.get(COLUMN) or ""))]
    if len(places) < 2:
        return []
    hashes = np.array([[int(word, 16) for word in rows[i][COLUMN].split("-")] for i in places], dtype=np.uint64)
    return _groups(places, *_pairs(hashes, np.array([_shape(rows[i]) for i in places])))


def alike_groups(vectors: "Iterable[NDArray[np.float32] | None]", seconds: Sequence[float]) -> list[list[int]]:
    """Indices of clips in groups of two and more whose mean vectors (F,) are alike, in their order.

    ``seconds`` are the clips' durations, which may differ by ``SAME_WITHIN``; a clip without a vector, or with one of
    zeros, is in no group. Groups are transitive. None where fewer than ``FEWEST_COMPARED`` have one.
    """
    places, brought_down = list[int](), list[NDArray[np.float32]]()
    directions: NDArray[np.float32] | None = None
    for place, vector in enumerate(vectors):
        if vector is None:
            continue
        if directions is None and len(vector) > _PROJECTED:
            directions = np.random.default_rng(0).standard_normal((len(vector), _PROJECTED), np.float32)
        places.append(place)
        brought_down.append(vector if directions is None else vector @ directions)
    if len(places) < FEWEST_COMPARED:
        return []
    units = np.stack(brought_down)
    units -= units.mean(axis=0)
    lengths = np.linalg.norm(units, axis=1, keepdims=True)
    np.divide(units, lengths, out=units, where=lengths > 0)
    logs, tolerance = np.log(np.maximum(np.array(seconds)[places], 1e-3)), np.log1p(SAME_WITHIN)
    pairs = []
    for first in range(0, len(units), _ROWS_AT_ONCE):
        one, other = np.nonzero(units[first : first + _ROWS_AT_ONCE] @ units[first:].T >= ALIKE)
        one, other = one + first, other + first
        alike = (np.abs(logs[one] - logs[other]) <= tolerance) & (one < other)
        pairs.append((one[alike], other[alike]))
    return _groups(places, np.concatenate([a for a, _ in pairs]), np.concatenate([b for _, b in pairs]))


def _groups(places: Sequence[int], one: NDArray[np.int64], other: NDArray[np.int64]) -> list[list[int]]:
    """The places that pairs of them, by their numbers, join."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(one), np.int8), (one, other)), shape=(len(places), len(places)))
    _, labels = connected_components(graph, directed=False)
    groups: dict[int, list[int]] = {}
    for place, label in zip(places, labels, strict=True):
        groups.setdefault(int(label), []).append(place)
    return [group for group in groups.values() if len(group) > 1]


def group_report(rows: Sequence[Mapping[str, Any]], named: int = 50) -> dict[str, Any]:
    """How many groups of near duplicates and clips in them, and the keys of the first ``named`` groups."""
    return _report(near_duplicate_groups(rows), [str(row["key"]) for row in rows], named)


def alike_report(
    vectors: "Iterable[NDArray[np.float32] | None]", keys: Sequence[str], seconds: Sequence[float], named: int = 50
) -> dict[str, Any]:
    """The same of clips whose vectors are alike, of the first ``MOST_COMPARED`` clips; ``compared`` are so many."""
    there = 0

    def counted() -> "Iterator[NDArray[np.float32] | None]":
        nonlocal there
        for vector in islice(vectors, MOST_COMPARED):
            there += vector is not None
            yield vector

    groups = alike_groups(counted(), seconds)
    return {"compared": there if there >= FEWEST_COMPARED else 0, **_report(groups, keys, named)}


def _report(groups: Sequence[Sequence[int]], keys: Sequence[str], named: int) -> dict[str, Any]:
    examples = [[keys[i] for i in group] for group in groups[:named]]
    return {"groups": len(groups), "clips": sum(map(len, groups)), "examples": examples}


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
    """Logarithms of aspect ratio and duration; NaN, which is like nothing, where the ratio is not known."""
    width, height = (row.get(f"nr_{side}") or row.get(side) or math.nan for side in ("width", "height"))
    seconds = row.get("nr_duration_s") or row.get("duration_s") or 1.0
    return float(np.log(width / height)), float(np.log(max(seconds, 1e-3)))
