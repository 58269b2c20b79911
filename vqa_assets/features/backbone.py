"""The family of a backbone: a clip's frames are shown to a network, and what it makes of them is pooled over time.

What a backbone is, and how its network runs, is in ``backbones``. Frames are those that ``SampledFrames`` plans, found
by their times, so that they are the same ones whether a clip is decoded whole or only around them.
"""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vqa_assets.backbones.batching import Batches
from vqa_assets.backbones.declaration import POOLINGS, FragmentsView
from vqa_assets.backbones.folder import Backbone, backbone_named
from vqa_assets.backbones.network import Device, Network, tried_out
from vqa_assets.errors import ClipError
from vqa_assets.feature_names import BACKBONE_PREFIX, FeatureColumn
from vqa_assets.features.clip_time import seconds_here
from vqa_assets.features.decoding import DecodedClip, Frame
from vqa_assets.features.family import Family, FrameRequest, Measured
from vqa_assets.tables.networks import RecordedNetwork
from vqa_assets.tables.paths import DataRoot

Pixels = NDArray[np.uint8]
"""A picture, (height, width, 3), red, green, blue."""
Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class SampledFrames:
    """Which frames are embedded: ``frames`` pictures or pieces, or ``rate`` a second. See ``Sampling``.

    ``offsets`` are the frames of a piece from its first on, of each input; a picture is a piece of one frame.
    """

    frames: int | None
    rate: float | None
    offsets: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, backbone: Backbone) -> "SampledFrames":
        """The frames that a backbone is shown."""
        offsets = tuple(tuple(range(0, one.frames * one.stride, one.stride)) for one in backbone.inputs)
        return cls(backbone.sampling.frames, backbone.sampling.rate, offsets)

    @property
    def span(self) -> int:
        """How many frames a piece reaches over."""
        return max(offsets[-1] for offsets in self.offsets) + 1

    def starts(self, count: int, rate: float) -> list[int]:
        """The first frame of each piece, of a clip of ``count`` frames at ``rate`` a second; none if it is shorter."""
        places = count - self.span + 1
        if places <= 0:
            return []
        if self.rate is not None:
            if self.rate >= rate:  # every frame, and not so many intervals as may be declared
                return list(range(places))
            # The middle of each interval; a clip shorter than half of one has its middle.
            middles = ((number + 0.5) / self.rate * rate for number in range(int(count / rate * self.rate) + 1))
            return list(dict.fromkeys(int(one) for one in middles if one < places)) or [places // 2]
        frames = min(self.frames or 1, places)
        # ⌊(i + ½) · N / n⌋ in whole numbers.
        return [(2 * number + 1) * places // (2 * frames) for number in range(frames)]

    def positions(self, count: int, rate: float) -> list[int]:
        """Every frame that is looked at, in order, each once."""
        starts = self.starts(count, rate)
        return sorted({start + offset for start in starts for offsets in self.offsets for offset in offsets})


@dataclass(frozen=True)
class BackboneFamily(Family):
    """Columns: one vector per view, output and pooling, ``<id>.<view>.<output>_<pooling>``.

    A clip of which the network makes numbers that are not finite, or that is shorter than a piece, has none of them.
    ``batch`` is how many pictures are embedded at once, 0 for as many as the memory allows.
    """

    backbone: Backbone
    name: str
    columns: tuple[FeatureColumn, ...]
    frames: FrameRequest
    device: Device = "auto"
    batch: int = 0
    algorithm: int = 1
    costs_clip = False

    def made_with(self) -> tuple[str, ...]:
        """The network by its bytes, and all in its declaration that changes numbers."""
        return f"onnx {self.backbone.content[:16]}", f"declaration {self.backbone.numbers[:16]}"

    def network(self) -> RecordedNetwork:
        """The backbone's network."""
        return self.backbone.recorded

    def reads(self) -> Mapping[str, Path]:
        """The backbone's files."""
        return self.backbone.files

    @contextmanager
    def open(self, clip: DecodedClip) -> "Iterator[_Embedding]":
        """ClipError where the clip is shorter than a piece of video; SettingsError where the network does not run."""
        batches = _batches(self.backbone, self.device, self.batch)
        yield _Embedding(self.backbone, SampledFrames.of(self.backbone), clip, batches)


def backbone_family(backbone: Backbone, device: Device = "auto", batch: int = 0) -> BackboneFamily:
    """The family of a backbone."""
    columns = tuple(
        FeatureColumn(
            f"{backbone.id}.{view}.{output}_{pooling}",
            "vector",
            f"{POOLINGS[pooling]} over time of {backbone.title}'s {output}, shown as {view}",
            nullable=True,
        )
        for view in backbone.views.names
        for output, _ in backbone.outputs
        for pooling in backbone.sampling.pooling
    )
    frames = FrameRequest(plan=SampledFrames.of(backbone))
    return BackboneFamily(backbone, f"{BACKBONE_PREFIX}{backbone.id}", columns, frames, device, batch)


def families_named(
    names: Sequence[str], root: DataRoot | None, device: Device = "auto", batch: int = 0
) -> tuple[BackboneFamily, ...]:
    """The families of ``backbone:<id>`` names; SettingsError where one is not there or cannot be used."""
    return tuple(
        backbone_family(backbone_named(name.removeprefix(BACKBONE_PREFIX), root), device, batch) for name in names
    )


_OPEN: dict[tuple[str, str, str, int], Batches] = {}
_OPENING = threading.Lock()


def _batches(backbone: Backbone, device: Device, batch: int) -> Batches:
    """The network of this process, shared by all clips in it, tried out once."""
    key = (backbone.content, backbone.numbers, device, batch)
    with _OPENING:
        if key not in _OPEN:
            # Each of its batches in one thread: cores that share one wait for each other (``batching``).
            network = Network(backbone, device, 1)
            tried_out(network)
            _OPEN[key] = Batches(network, batch)
        return _OPEN[key]


def open_devices() -> dict[str, str]:
    """The devices of the backbones whose networks are open in this process, by their families' names."""
    with _OPENING:
        return {f"{BACKBONE_PREFIX}{batches.network.backbone.id}": batches.network.device for batches in _OPEN.values()}


class _Embedding:
    """One clip's pictures, kept as they pass, and embedded when it has ended."""

    def __init__(self, backbone: Backbone, plan: SampledFrames, clip: DecodedClip, batches: Batches) -> None:
        self._backbone, self._plan, self._clip, self._batches = backbone, plan, clip, batches
        count, rate = clip.timeline.count, clip.source.rate
        if count < plan.span:
            raise ClipError(
                f"{clip.name}: shorter than what {backbone.id} looks at",
                found=f"{count} frame{'' if count == 1 else 's'}",
                expected=f"{plan.span}, a piece of video",
                next_step="leave the clip out, or use a backbone of pictures",
            )
        self._starts, self._positions = plan.starts(count, rate), plan.positions(count, rate)
        self._shown: dict[int, dict[str, Pixels]] = {}

    def add(self, frame: Frame) -> None:
        """Take the next of the planned frames."""
        taken = len(self._shown)
        self._shown[self._positions[taken]] = {
            name: self._shows(name, frame, taken) for name in self._backbone.views.names
        }

    def columns(self) -> Measured:
        """The vectors; ClipError where no frame came, or the network's numbers are not finite."""
        pieces = [start for start in self._starts if all(start + offset in self._shown for offset in self._offsets)]
        if not pieces:
            raise ClipError(f"{self._clip.name}: none of its frames that {self._backbone.id} looks at decodes")
        row: Measured = {}
        for view in self._backbone.views.names:
            for output, vectors in self._embedded(view, pieces).items():
                if not np.isfinite(vectors).all():
                    raise ClipError(
                        f"{self._clip.name}: no embedding by {self._backbone.id}",
                        found=f"numbers that are not finite in {output}, shown as {view}",
                    )
                for pooling in self._backbone.sampling.pooling:
                    row[f"{self._backbone.id}.{view}.{output}_{pooling}"] = pooled_vectors(vectors, pooling)
        return row

    def _embedded(self, view: str, pieces: Sequence[int]) -> dict[str, Vectors]:
        seconds, begun = seconds_here(), time.perf_counter()
        try:
            embedded = self._batches.embed(self._inputs(view, pieces))
        finally:
            seconds.waiting += time.perf_counter() - begun
        seconds.network += embedded.seconds
        return embedded.vectors

    @cached_property
    def _offsets(self) -> list[int]:
        return sorted({offset for offsets in self._plan.offsets for offset in offsets})

    def _inputs(self, view: str, pieces: Sequence[int]) -> list[NDArray[Any]]:
        """The pieces as a view shows them, an array (N, T, H, W, 3) for each input: uint8, differences on 0–1."""
        shown = {position: views[view] for position, views in self._shown.items()}
        if view == "difference":
            # A clip of one frame does not change.
            neighbours = list(pairwise(pieces)) or [(pieces[0], pieces[0])]
            changes = [shown[after].astype(np.float32) - shown[this] for this, after in neighbours]
            return [np.float32(0.5) + np.stack(changes)[:, None] / np.float32(510)]
        return [
            np.stack([np.stack([shown[start + offset] for offset in offsets]) for start in pieces])
            for offsets in self._plan.offsets
        ]

    def _shows(self, view: str, frame: Frame, taken: int) -> Pixels:
        """A frame as a view shows it, in the size of the network's inputs."""
        one, views = self._backbone.inputs[0], self._backbone.views
        if view == "fragments" and views.fragments is not None:
            return fragments(frame, views.fragments, self._seed, taken // views.fragments.aligned)
        resized = views.difference if view == "difference" else views.resize
        short_side = (resized.short_side if resized is not None else None) or max(one.height, one.width)
        return middle(frame, short_side, one.height, one.width)

    @cached_property
    def _seed(self) -> int:
        """The clip's hash: the same bytes are cut into the same fragments, wherever they lie."""
        sha256 = self._clip.source.content_sha256(self._clip.stop or threading.Event())
        return int(sha256[:16], 16)


def middle(frame: Frame, short_side: int, height: int, width: int) -> Pixels:
    """The middle of a frame whose shorter side is brought to ``short_side`` pixels, (height, width, 3)."""
    scale = short_side / min(frame.picture.width, frame.picture.height)
    across, down = (max(round(side * scale), short_side) for side in (frame.picture.width, frame.picture.height))
    whole = frame.rgb(across, down)
    top, left = (down - height) // 2, (across - width) // 2
    return whole[top : top + height, left : left + width]


def fragments(frame: Frame, view: FragmentsView, seed: int, group: int) -> Pixels:
    """One patch of native pixels from each cell of a grid over the frame, put together as a square picture.

    As FAST-VQA's ``get_spatial_fragments``: cells begin at ⌊side / grid⌋ · i; offsets within a cell are drawn anew for
    each ``group`` of frames. A frame smaller than the square is enlarged first.
    """
    side = view.grid * view.patch
    width, height = frame.picture.width, frame.picture.height
    if min(width, height) < side:
        scale = side / min(width, height)
        width, height = max(round(width * scale), side), max(round(height * scale), side)
    native = frame.rgb(width, height)
    draw = np.random.default_rng((seed, group))
    places = []
    for length in (height, width):
        cell = length // view.grid
        starts = np.minimum(np.arange(view.grid) * cell, length - view.patch)
        spare = cell - view.patch
        drawn = draw.integers(0, spare, (view.grid, view.grid)) if spare > 0 else np.zeros((view.grid,) * 2, np.int64)
        places.append((starts, drawn))
    (tops, downs), (lefts, rights) = places
    picture = np.empty((side, side, 3), np.uint8)
    for row in range(view.grid):
        for column in range(view.grid):
            top, left = tops[row] + downs[row, column], lefts[column] + rights[row, column]
            to_row, to_column = row * view.patch, column * view.patch
            picture[to_row : to_row + view.patch, to_column : to_column + view.patch] = native[
                top : top + view.patch, left : left + view.patch
            ]
    return picture


def pooled_vectors(vectors: Vectors, pooling: str) -> Vectors:
    """(N, numbers) over the N: the mean, the SD by N, or a percentile (linear) of each number."""
    exact = vectors.astype(np.float64)
    if pooling == "mean":
        pooled = exact.mean(axis=0)
    elif pooling == "sd":
        pooled = exact.std(axis=0)
    else:
        pooled = np.percentile(exact, float(pooling.removeprefix("p")), axis=0)
    return np.asarray(pooled, dtype=np.float32)
