"""How measuring is told while it lasts: a line every few seconds, the same counts once a minute and at the end."""

from collections.abc import Callable
from dataclasses import dataclass

from vqa_assets.clips.work import ProgressLine

EVERY_S = 60.0


@dataclass(frozen=True)
class MeasuringCounts:
    """How far a run is: clips done of all, those that failed, those known from the cache, seconds since it began."""

    done: int
    total: int
    failed: int
    cached: int
    seconds: float


Observer = Callable[[MeasuringCounts], None]


def unobserved(counts: MeasuringCounts) -> None:
    """The observer of a run that nobody watches."""


class Watch:
    """Tells one run; only its coordinator calls it."""

    def __init__(self, line: ProgressLine, observe: Observer = unobserved) -> None:
        self._line, self._observe = line, observe
        self._begun = self._observed = line.now()
        self._cached: int | None = None
        self._counts = (0, 0)

    def update(self, done: int, failed: int) -> None:
        """Tell what is due; the first call says how many clips are known already."""
        self._cached = done if self._cached is None else self._cached
        self._counts = done, failed
        self._line.update(done, lambda: f"{failed} failed")
        if self._line.now() - self._observed >= EVERY_S:
            self._tell()

    def end(self) -> None:
        """Tell the counts of the whole run, where anything was measured."""
        if self._counts[0] > (self._cached or 0):
            self._tell()

    def _tell(self) -> None:
        self._observed = self._line.now()
        done, failed = self._counts
        self._observe(MeasuringCounts(done, self._line.total, failed, self._cached or 0, self._observed - self._begun))
