"""What a family of features is, and who measures families; how each measures is in the module of its name.

A family is a unit: a name, a version, its columns, the frames it asks for, and how it measures a clip while that is
decoded. Families share one decode (``extractor``), and each is cached by its own version (``cache``). Nothing heavy is
imported here: the asset and its resource need these names when definitions load.
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from vqa_assets.corpora.raw_video import RawVideo
from vqa_assets.errors import ClipError
from vqa_assets.feature_names import FeatureColumn, pooled_columns
from vqa_assets.tables.networks import RecordedNetwork

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vqa_assets.features.decoding import DecodedClip, Frame

Measured = dict[str, "float | int | str | NDArray[np.float32] | None"]
"""What was measured of one clip, by column name; an array is a vector, one of a list column."""


class FramePlan(Protocol):
    """Which frames of a clip a family looks at, where that depends on how many there are."""

    def positions(self, count: int, rate: float) -> Sequence[int]:
        """The places of these frames, from 0 and in order, of ``count`` frames at ``rate`` a second."""
        ...


@dataclass(frozen=True)
class FrameRequest:
    """Which frames of a clip a family is handed while the clip is decoded; none, as it stands.

    ``every`` is every frame. ``per_s`` samples evenly: the first frame and every n-th after it, so many a second of
    video, and more of a short clip, so that there are ``at_least`` if it has so many; ``and_next`` adds the frame after
    each. ``small_luma`` asks for no frame, but for the small luma of all of them together, when the clip has ended.
    ``plan`` are a few frames by their places; where all families plan, the others need not be decoded.
    """

    every: bool = False
    per_s: float = 0.0
    at_least: int = 1
    and_next: bool = False
    small_luma: bool = False
    plan: FramePlan | None = None

    def step(self, rate: float, expected_frames: int) -> int:
        """Every which frame is sampled, at ``rate`` frames a second; ``expected_frames`` is 0 where not known."""
        if not self.per_s:
            return 1
        step = max(round(rate / self.per_s), 1)
        return min(step, max(expected_frames // self.at_least, 1)) if expected_frames else step

    def include(self, index: int, step: int) -> bool:
        """Whether the frame of this index, from 0, is handed over."""
        if not self.per_s:
            return self.every
        return index % step == 0 or (self.and_next and index % step == 1 % step)


class ClipMeasurement(Protocol):
    """One family's work on one clip. Raises ``ClipError`` where it cannot measure this clip."""

    def add(self, frame: "Frame") -> None:
        """Take the next of the frames asked for. What the frame holds is gone when the next one is decoded."""
        ...

    def columns(self) -> Measured:
        """The values, the clip having ended; of the family's columns those that this clip has."""
        ...


class Family(ABC):
    """Features that are measured together. Frozen and picklable: it travels to the processes that measure.

    ``name`` and column names stand once among the families that are measured together. ``algorithm`` is raised with
    every change of the code that can change a value. ``compares`` says whether values depend on the clip's reference;
    those of other families outlive a change of it. A clip that a family which ``costs_clip`` cannot measure has no row;
    what another could not is null in its row. ``of_file`` are columns that tell of the file and not of its pictures: of
    a window of the clip they are the clip's own. ``measures_windows`` is not set where a window measured by itself is
    not the same as that window of the clip.
    """

    name: str
    algorithm: int
    columns: tuple[FeatureColumn, ...]
    frames: FrameRequest
    compares: bool = False
    costs_clip: bool = True
    of_file: tuple[str, ...] = ()
    measures_windows: bool = True

    def made_with(self) -> tuple[str, ...]:
        """Tools with their builds, and settings: all that changes a value beside the algorithm and the decoder."""
        return ()

    def network(self) -> RecordedNetwork | None:
        """The network whose vectors it gives, where it is a backbone's."""
        return None

    def reads(self) -> Mapping[str, Path]:
        """The files that it reads beside the clips, under the names that a replay manifest gives them."""
        return {}

    @property
    def version(self) -> str:
        """Name, algorithm, tools and settings; whoever decodes adds what they depend on beside (``extractor``)."""
        return "; ".join((f"{self.name}.{self.algorithm}", *self.made_with()))

    @abstractmethod
    def open(self, clip: "DecodedClip") -> "AbstractContextManager[ClipMeasurement]":
        """Begin with a clip whose first frame is known; the block's end frees what was taken, whatever happens.

        Raises ``ClipError`` for what concerns this clip, ``FeatureError`` where no clip could be measured.
        """
        ...


@dataclass(frozen=True)
class FamilyVersion:
    """What is to be known of a family to keep its values: see ``Family``.

    ``version`` changes whenever a value of it could. ``earlier`` are texts under which an earlier edition, which kept
    all families of a clip in one row, measured the very same values. ``network`` and ``reads`` (name, file) are those
    of a backbone.
    """

    name: str
    version: str
    columns: tuple[str, ...] = ()
    compares: bool = True
    earlier: tuple[str, ...] = ()
    costs_clip: bool = True
    network: RecordedNetwork | None = None
    reads: tuple[tuple[str, Path], ...] = ()


class FeatureExtractor(Protocol):
    """Measures one clip. Shared between threads, and pickled where the work runs in other processes."""

    @property
    def version(self) -> str:
        """Changes whenever any measured value could change; one text for a table's replay manifest."""
        ...

    @property
    def families(self) -> Sequence[FamilyVersion]:
        """What is measured of every clip, in the order of the table's columns."""
        ...

    def measure(
        self,
        clip: Path,
        *,
        families: Collection[str] | None = None,
        reference: Path | None = None,
        raw: RawVideo | None = None,
        stop: threading.Event | None = None,
    ) -> Mapping[str, Measured | ClipError]:
        """What ``families`` (all of them by default) measure of ``clip``, by name, or why one could not.

        With ``reference`` the clip is the distorted side of it. ``raw`` is what clip and reference are where they have
        no container. Raises ``ClipError`` for what concerns this clip whoever measures it, ``FeatureError`` for what
        concerns all clips, and ``StoppedError`` once ``stop`` is set.
        """
        ...


def joined(measured: Mapping[str, Measured | ClipError]) -> Measured:
    """One row of what the families measured, in their order; raises the first ``ClipError`` among them."""
    row: Measured = {}
    for values in measured.values():
        if isinstance(values, ClipError):
            raise values
        row |= values
    return row


def pooled(feature: str, values: "Sequence[float] | NDArray[np.float64]") -> Measured:
    """``pooled_columns`` of one feature: mean (twice), 10th and 90th percentile (linear), SD (population).

    Frames whose value is not finite are left out; with none left the columns are None.
    """
    import numpy as np

    series = np.asarray(values, dtype=np.float64)
    series = series[np.isfinite(series)]
    if not series.size:
        return dict.fromkeys(pooled_columns(feature))
    p10, p90 = np.percentile(series, (10, 90))
    mean = series.mean()
    aggregates = (mean, mean, p10, p90, series.std())
    return {column: float(value) for column, value in zip(pooled_columns(feature), aggregates, strict=True)}
