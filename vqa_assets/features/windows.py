"""Windows of a clip: which stretches of it are measured by themselves, and what was measured of each.

How they are measured in one decode is the extractor's; what a head makes of them is ``predict``'s.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from vqa_assets.errors import ClipError
from vqa_assets.features.family import Measured

if TYPE_CHECKING:
    from vqa_assets.features.decoding import Frame, Timeline


@dataclass(frozen=True)
class Window:
    """A stretch of a clip, in seconds from its first frame on; ``timeline`` are the frames that begin in it."""

    start_s: float
    end_s: float
    timeline: "Timeline"

    @property
    def duration_s(self) -> float:
        """How long it is."""
        return self.end_s - self.start_s


@dataclass(frozen=True)
class WindowPlan:
    """The windows of a clip, in order and without gaps, and which of them a frame is of."""

    windows: Sequence[Window]
    every_s: Fraction
    first_time: int | None
    unit_s: Fraction
    interval_s: Fraction

    def place(self, frame: "Frame") -> int:
        """The window in which a frame begins; what the packets did not tell of belongs to the last."""
        if self.first_time is None or frame.coded.pts is None:
            moment = frame.index * self.interval_s
        else:
            moment = (frame.coded.pts - self.first_time) * self.unit_s
        return min(max(int(moment / self.every_s), 0), len(self.windows) - 1)


@dataclass(frozen=True)
class MeasuredWindows:
    """What families measured of a clip as a whole, by their names, and the row of each window, or why it has none.

    A window's row has the clip's own values in columns that are ``Family.of_file``.
    """

    whole: Mapping[str, Measured | ClipError]
    windows: Sequence[tuple[Window, Measured | ClipError]]


def planned_windows(timeline: "Timeline", unit_s: Fraction, rate: float, every_s: Fraction) -> WindowPlan:
    """The windows of a clip of at least one frame, each ``every_s`` seconds long, by the times of its frames.

    ``unit_s`` is the time base of the timeline, ``rate`` counts where it has no times. What is left at the end is a
    window of its own from half a window on, else it belongs to the one before: 300 frames at 29.97 a second are ten
    windows of a second. A clip shorter than a window is one.
    """
    from vqa_assets.features.decoding import Timeline

    interval_s = 1 / Fraction(rate)
    times, first = timeline.times, timeline.times[0] if timeline.times else None
    if first is None:
        moments = [index * interval_s for index in range(timeline.count)]
    else:
        moments = [(time - first) * unit_s for time in times]
    # The last frame is shown as long as the others on average: nothing says when it ends.
    last_shown = moments[-1] / (len(moments) - 1) if moments[-1] else interval_s
    end_s = moments[-1] + last_shown
    count = max(int(end_s / every_s + Fraction(1, 2)), 1)
    starts = [number * every_s for number in range(count)]
    frames: list[list[int]] = [[] for _ in starts]
    for index, moment in enumerate(moments):
        frames[min(int(moment / every_s), count - 1)].append(index)
    windows = [
        Window(float(start), float(end), Timeline(len(inside), tuple(times[index] for index in inside if times)))
        for start, end, inside in zip(starts, [*starts[1:], end_s], frames, strict=True)
    ]
    return WindowPlan(windows, every_s, first, unit_s, interval_s)
