"""How a pass over the clips is told while it lasts: a line every few seconds, the same counts once a minute and at the
end for whoever shows them elsewhere.
"""

from collections.abc import Callable
from dataclasses import dataclass

from vqa_assets.clips.work import ProgressLine
from vqa_assets.ingest.report import IngestReport

EVERY_S = 60.0


@dataclass(frozen=True)
class PassCounts:
    """How far a pass is: clips done of all, those lost so far, what was read and fetched, seconds since it began."""

    done: int
    total: int
    failed: int
    broken: int
    read_bytes: int
    fetched_bytes: int
    seconds: float


Observer = Callable[[PassCounts], None]


def unobserved(counts: PassCounts) -> None:
    """The observer of a run that nobody watches."""


@dataclass
class PassTotals:
    """What the pass lost so far; the coordinator counts."""

    failed: int = 0
    broken: int = 0


class Watch:
    """Tells one pass over ``total`` clips; only the coordinator calls it."""

    def __init__(self, line: ProgressLine, report: IngestReport, observe: Observer) -> None:
        self.totals = PassTotals()
        self._line, self._report, self._observe = line, report, observe
        self._done = 0
        self._begun = self._observed = self._line.now()

    def clip_done(self) -> None:
        """Count one clip, and tell what is due."""
        self._done += 1
        self.look()

    def look(self) -> None:
        """Tell what is due, though no clip was done."""
        self._line.update(self._done, self._lost, self._report.read_bytes)
        if self._line.now() - self._observed >= EVERY_S:
            self._tell()

    def end(self) -> None:
        """Tell the counts of the whole pass, where there was anything to do."""
        if self._done:
            self._tell()

    def _tell(self) -> None:
        self._observed = self._line.now()
        self._observe(
            PassCounts(
                done=self._done,
                total=self._line.total,
                failed=self.totals.failed,
                broken=self.totals.broken,
                read_bytes=self._report.read_bytes,
                fetched_bytes=self._report.fetched_bytes,
                seconds=self._observed - self._begun,
            )
        )

    def _lost(self) -> str:
        return f"{self.totals.failed} failed, {self.totals.broken} broken"
