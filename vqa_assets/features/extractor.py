"""The extractor: any list of families over one decode of a clip.

What a family is stands in ``family``, how each measures in the module of its name; which clips are measured, and what
is kept of them, is in ``measuring``.
"""

import sys
import threading
from collections import Counter, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vqa_assets.corpora.raw_video import RawVideo
from vqa_assets.errors import ClipError, FeatureError, SettingsError
from vqa_assets.feature_names import KONVID_V1, NR_V1
from vqa_assets.features.clip_description import ClipFacts, SoughtFacts
from vqa_assets.features.clip_time import decoding
from vqa_assets.features.decoding import (
    LONG_SIDE,
    ClipFile,
    DecodedClip,
    Frame,
    NotSoughtError,
    Source,
    Timeline,
    opened,
)
from vqa_assets.features.family import ClipMeasurement, Family, FamilyVersion, Measured, joined
from vqa_assets.features.ffmpeg import build_version, ffmpeg_binary
from vqa_assets.features.konvid_v1 import KonvidV1
from vqa_assets.features.libvmaf import ENCODE_RATE, RECOMPRESSION
from vqa_assets.features.near_duplicates import PerceptualHash
from vqa_assets.features.no_reference import SAMPLES_AT_LEAST, SAMPLES_PER_S, NrV1
from vqa_assets.features.windows import MeasuredWindows, Window, WindowPlan, planned_windows

MAX_FRAMES = 1800
"""Features are of a clip's first frames, at most so many (a minute at 30 fps); ``n_feature_frames`` tells how many."""

FEATURE_SETS = (KONVID_V1.name, NR_V1.name)
"""The families that a setting chooses from; the clip's description comes with either."""

FIRST_EDITION_ALGORITHM = 5
"""The one number that the first edition had for all families; those that still have it measure the same values."""


@dataclass(frozen=True)
class ClipExtractor:
    """The shipped families, by PyAV and the ffmpeg of the imageio-ffmpeg wheel, and ``further`` ones.

    ``feature_sets`` are some of ``FEATURE_SETS``, none only where there are further ones; with ``perceptual_hash``
    there is ``clip_phash`` too. Columns are in the docstrings of ``KonvidV1``, ``NrV1``, ``PerceptualHash`` and
    ``ClipFacts``.
    """

    max_frames: int = MAX_FRAMES
    feature_sets: tuple[str, ...] = FEATURE_SETS
    perceptual_hash: bool = False
    further: tuple[Family, ...] = ()

    def __post_init__(self) -> None:
        unknown = sorted(set(self.feature_sets) - set(FEATURE_SETS))
        if unknown or not (self.feature_sets or self.further):
            raise SettingsError(
                "feature_sets", found=", ".join(unknown) or "none", expected=f"some of {', '.join(FEATURE_SETS)}"
            )
        names = Counter(family.name for family in self._families())
        columns = Counter(column.name for family in self._families() for column in family.columns)
        twice = [name for counts in (names, columns) for name, count in counts.items() if count > 1]
        if twice:
            raise SettingsError(
                "families",
                found=f"{', '.join(twice)} more than once",
                expected="names and columns of its own for each family",
            )

    def _families(self) -> list[Family]:
        """In the order of the table's columns."""
        shipped: list[Family] = []
        if KONVID_V1.name in self.feature_sets:
            shipped.append(KonvidV1())
        if NR_V1.name in self.feature_sets:
            shipped.append(NrV1())
        if self.perceptual_hash:
            shipped.append(PerceptualHash())
        # What needs no frame but a few must not have all of them decoded for the description's sake.
        facts = SoughtFacts() if not shipped and all(one.frames.plan for one in self.further) else ClipFacts()
        return [*shipped, facts, *self.further]

    @property
    def version(self) -> str:
        """The feature sets with their algorithm number, the ffmpeg and PyAV builds, the encode settings, the sizes
        chosen, and the versions of further families."""
        chosen = [family for family in self._families() if family.name in FEATURE_SETS]
        algorithms = {family.algorithm for family in chosen}
        if len(algorithms) == 1:
            sets = f"{' + '.join(family.name for family in chosen)}.{algorithms.pop()}"
        else:
            sets = " + ".join(f"{family.name}.{family.algorithm}" for family in chosen)
        further = [family.version for family in self.further]
        shipped = [_version(sets, self.max_frames, self.perceptual_hash)] if self.feature_sets else [self._decoder]
        return "; ".join([*shipped, *further])

    @property
    def _decoder(self) -> str:
        import av

        return f"av {av.__version__}; first {self.max_frames} frames"

    @property
    def families(self) -> list[FamilyVersion]:
        """Each family with the version of its values in this pass: its own, the decoder, and how many frames."""
        return [
            FamilyVersion(
                name=family.name,
                version=f"{family.version}; {self._decoder}",
                columns=tuple(column.name for column in family.columns),
                compares=family.compares,
                earlier=self._earlier(family),
                costs_clip=family.costs_clip,
                network=family.network(),
                reads=tuple(family.reads().items()),
            )
            for family in self._families()
        ]

    def _earlier(self, family: Family) -> tuple[str, ...]:
        """The texts under which the first edition kept the same values, whatever else it measured beside."""
        if family in self.further or family.algorithm != FIRST_EDITION_ALGORITHM:
            return ()
        sets = [f"{names}.{FIRST_EDITION_ALGORITHM}" for names in (" + ".join(FEATURE_SETS), *FEATURE_SETS)]
        return tuple(
            _version(names, self.max_frames, hashed)
            for names in sets
            for hashed in (False, True)
            if (hashed or not isinstance(family, PerceptualHash))
            and (family.name in names or family.name not in FEATURE_SETS)
        )

    def measure(
        self,
        clip: Path,
        *,
        families: Collection[str] | None = None,
        reference: Path | None = None,
        raw: RawVideo | None = None,
        stop: threading.Event | None = None,
    ) -> dict[str, Measured | ClipError]:
        """See ``family.FeatureExtractor``: one decode, whatever the families."""
        chosen = [family for family in self._families() if families is None or family.name in families]
        # An ffmpeg that cannot measure is no fault of the clip, and shows before anything is decoded.
        build_version(ffmpeg_binary())
        file, beside = ClipFile(clip, raw), None if reference is None else ClipFile(reference, raw)
        plans = [family.frames.plan for family in chosen if family.frames.plan is not None]
        if chosen and len(plans) == len(chosen):
            timeline = Timeline.of(file, self.max_frames)
            with suppress(NotSoughtError), opened(file) as source:
                rate = source.rate
                positions = sorted({one for plan in plans for one in plan.positions(timeline.count, rate)})
                return self._measured(
                    chosen, source, source.frames_at(positions, timeline, stop), beside, stop, timeline
                )
        with opened(file) as source:
            return self._measured(chosen, source, source.frames(self.max_frames, stop), beside, stop)

    def _measured(
        self,
        chosen: Sequence[Family],
        source: Source,
        frames: Iterator[Frame],
        beside: ClipFile | None,
        stop: threading.Event | None,
        timeline: Timeline | None = None,
    ) -> dict[str, Measured | ClipError]:
        with ExitStack() as stack:
            under_way: _Families | None = None
            for frame in decoding(frames):
                if under_way is None:
                    # Only the first frame tells the size that a comparison needs to know before it begins.
                    decoded = DecodedClip(source, frame.picture, self.max_frames, beside, stop, known_timeline=timeline)
                    under_way = _Families(chosen, decoded, stack)
                under_way.add(frame, frame.small_luma() if under_way.want_small_luma else None)
                if under_way.have_failed:
                    break
            return under_way.columns() if under_way is not None else {}

    def measure_windows(
        self, clip: Path, every_s: Fraction, stop: threading.Event | None = None, raw: RawVideo | None = None
    ) -> MeasuredWindows:
        """What the families measure of each window of a clip, and of the clip as ``measure`` does, in one decode.

        Windows go to the clip's end, beyond ``max_frames`` too; ``planned_windows`` says where they begin. What cannot
        be measured costs its window. ``raw`` is what the clip is without a container. Raises as
        ``measure``, and SettingsError for a family that measures no windows.
        """
        families = self._families()
        if unfit := [family.name for family in families if not family.measures_windows]:
            raise SettingsError(
                "windows",
                found=f"{', '.join(unfit)}, which looks at a clip as a whole",
                expected="families whose measures of a window are those of the clip there",
                next_step="measure nr-v1 or a backbone",
            )
        file = ClipFile(clip, raw)
        timeline = Timeline.of(file, sys.maxsize)
        with opened(file) as source, ExitStack() as stack:
            if not timeline.count:
                next(source.frames(1, stop))  # says what is wrong with it
            plan = planned_windows(timeline, source.stream.time_base, source.rate, every_s)
            windows = _WindowByWindow(families, source, plan, stop, stack)
            whole: _Families | None = None
            measured: dict[str, Measured | ClipError] = {}
            for frame in source.frames(sys.maxsize, stop):
                if whole is None:
                    first = timeline.first(self.max_frames)
                    clip_ = DecodedClip(source, frame.picture, self.max_frames, stop=stop, known_timeline=first)
                    whole = _Families(families, clip_, stack)
                window = windows.of(frame)
                wanted = window.want_small_luma or (not measured and whole.want_small_luma)
                small_luma = frame.small_luma() if wanted else None
                if not measured:
                    whole.add(frame, small_luma)
                # After the whole clip's: what that converted serves the window too.
                windows.add(frame, small_luma)
                if source.count == self.max_frames:
                    measured = whole.columns()  # now: what the source tells is still of these frames only
            if whole is not None and not measured:
                measured = whole.columns()
            return MeasuredWindows(measured, windows.rows(measured))

    def extract(
        self,
        clip: Path,
        *,
        reference: Path | None = None,
        raw: RawVideo | None = None,
        stop: threading.Event | None = None,
    ) -> Measured:
        """One row of what all families measure, for one clip by itself; raises what any of them cannot measure."""
        return joined(self.measure(clip, reference=reference, raw=raw, stop=stop))


class _Families:
    """All families on one clip, or on one window of it, frame by frame."""

    def __init__(self, families: Sequence[Family], clip: DecodedClip, stack: ExitStack) -> None:
        self.clip = clip
        self._each = [_FamilyOnClip(family, clip, stack.enter_context(ExitStack())) for family in families]

    @property
    def want_small_luma(self) -> bool:
        """Whether one of them that has not failed asks for it."""
        return any(one.family.frames.small_luma and one.error is None for one in self._each)

    @property
    def have_failed(self) -> bool:
        """Whether no frame more is of use to any."""
        return all(one.error for one in self._each)

    def add(self, frame: Frame, small_luma: NDArray[np.uint8] | None) -> None:
        """Hand over the next frame, converted where a family looks at its planes, once for all of them."""
        if small_luma is not None and self.want_small_luma:
            self.clip.small_luma.append(small_luma)
        for one in self._each:
            one.add(frame)

    def columns(self) -> dict[str, Measured | ClipError]:
        """What each measured, by its name, or why it did not."""
        return {one.family.name: one.columns() for one in self._each}


class _WindowByWindow:
    """The windows of a clip while it is decoded: one is open at a time, and closed by the first frame of the next."""

    def __init__(
        self,
        families: Sequence[Family],
        source: Source,
        plan: WindowPlan,
        stop: threading.Event | None,
        stack: ExitStack,
    ) -> None:
        self._families = [one for one in families if {column.name for column in one.columns} - set(one.of_file)]
        self._source, self._plan, self._stop = source, plan, stop
        self._of_file = {name for one in families for name in one.of_file}
        self._measured: dict[int, Mapping[str, Measured | ClipError]] = {}
        self._open: _Families | None = None
        self._place, self._frames = -1, 0
        self._stack = stack.enter_context(ExitStack())

    def of(self, frame: Frame) -> _Families:
        """The window that a frame is of, opened where it is the first."""
        # Times may run backwards in a damaged clip; windows do not.
        place = max(self._plan.place(frame), self._place)
        if self._open is None or place != self._place:
            self.close()
            window = self._plan.windows[place]
            clip = DecodedClip(
                self._source, frame.picture, sys.maxsize, stop=self._stop, known_timeline=window.timeline, window=window
            )
            self._open, self._place, self._frames = _Families(self._families, clip, self._stack), place, 0
        return self._open

    def add(self, frame: Frame, small_luma: NDArray[np.uint8] | None) -> None:
        """Hand the open window its next frame."""
        if self._open is not None:
            self._open.add(frame.of_window(self._frames), small_luma)
            self._frames += 1

    def close(self) -> None:
        """Measure the open window, of which there are no frames more; also frees what it held."""
        if self._open is not None:
            self._measured[self._place], self._open = self._open.columns(), None
        self._stack.close()

    def rows(self, whole: Mapping[str, Measured | ClipError]) -> list[tuple[Window, Measured | ClipError]]:
        """Each window with its columns, in the clip's order of columns, or why it has none."""
        self.close()
        of_clip: Measured = {}
        for values in whole.values():
            of_clip |= {} if isinstance(values, ClipError) else values
        rows: list[tuple[Window, Measured | ClipError]] = []
        for place, window in enumerate(self._plan.windows):
            if place not in self._measured:
                name = self._source.clip.name
                reason = f"{name}: no frame begins between {window.start_s:g} s and {window.end_s:g} s"
                rows.append((window, ClipError(reason)))
                continue
            try:
                row = joined(self._measured[place])
            except ClipError as error:
                rows.append((window, error))
            else:
                own = {name: value for name, value in row.items() if name not in self._of_file}
                rows.append((window, {**of_clip, **own}))
        return rows


_TYPES: Mapping[str, tuple[type, ...]] = {
    "integer": (int,),
    "number": (int, float),
    "string": (str,),
    "vector": (np.ndarray,),
}


class _FamilyOnClip:
    """One family's work on one clip: where it fails, the others go on, and what it held is free at once."""

    def __init__(self, family: Family, clip: DecodedClip, resources: ExitStack) -> None:
        self.family = family
        self.error: ClipError | None = None
        self._resources = resources
        self._step = family.frames.step(clip.source.rate, clip.expected_frames)
        self._planned: deque[int] = deque()
        self._clip = clip
        self._measurement: ClipMeasurement | None = None
        try:
            if family.frames.plan is not None:
                self._planned.extend(family.frames.plan.positions(clip.timeline.count, clip.source.rate))
            self._measurement = resources.enter_context(family.open(clip))
        except ClipError as error:
            self._fail(error)

    def add(self, frame: Frame) -> None:
        """Hand over a frame if the family asked for it, for each place of its plan that the frame is at."""
        asked = self.family.frames.include(frame.index, self._step)
        if self._measurement is None or not (asked or self._planned):
            return
        try:
            if asked:
                self._measurement.add(frame)
            while self._planned and self._clip.timeline.reached(frame, self._planned[0]):
                self._planned.popleft()
                self._measurement.add(frame)
        except ClipError as error:
            self._fail(error)

    def columns(self) -> Measured | ClipError:
        """The values, or why there are none; FeatureError for a column that the family does not declare."""
        if self._measurement is None:
            return self.error or ClipError(f"{self.family.name}: did not measure")
        try:
            row = self._measurement.columns()
        except ClipError as error:
            self._fail(error)
            return error
        self._free()  # here, where an error at its end is the family's own and not the clip's
        if self.error is not None:
            return self.error
        undeclared = sorted(set(row) - {column.name for column in self.family.columns})
        if undeclared:
            raise FeatureError(
                f"{self.family.name}: measured what it does not declare",
                found=", ".join(undeclared),
                expected="columns of the family",
                next_step="add the column to the family's columns",
            )
        kinds = {column.name: column.kind for column in self.family.columns}
        return {name: self._plain(name, value, kinds[name]) for name, value in row.items()}

    def _plain(self, name: str, value: Any, kind: str) -> Any:
        """A value as the cache and the table keep it; FeatureError where it is not of the column's kind."""
        # NumPy's scalars are what a family computes with, and JSON has none.
        plain = value.item() if isinstance(value, np.generic) else value
        is_vector = isinstance(plain, np.ndarray) and plain.dtype == np.float32 and plain.ndim == 1
        if plain is None or (type(plain) in _TYPES[kind] and (is_vector or kind != "vector")):
            return plain  # by its type, not isinstance: True is no number here
        raise FeatureError(
            f"{self.family.name}: {name}",
            found=repr(value)[:200],
            expected=f"{kind}, as the family declares the column",
            next_step="correct the value, or the kind in the family's columns",
        )

    def _fail(self, error: ClipError) -> None:
        self.error, self._measurement = error, None
        self._free()

    def _free(self) -> None:
        try:
            self._resources.close()
        except ClipError as error:
            self.error = self.error or error  # the first says why; the other only follows from it


def _version(sets: str, max_frames: int, perceptual_hash: bool) -> str:
    """The text of a whole pass, as the replay manifest of a table has it: the first edition's words."""
    import av

    parts = [
        sets,
        f"ffmpeg {build_version(ffmpeg_binary())}, av {av.__version__}",
        f"{' '.join(RECOMPRESSION)} at {ENCODE_RATE} fps",
        f"{SAMPLES_PER_S:g} samples a second, {SAMPLES_AT_LEAST} at least",
        f"first {max_frames} frames",
        f"luma {LONG_SIDE}",
    ]
    return "; ".join([*parts, "perceptual hash"] if perceptual_hash else parts)
