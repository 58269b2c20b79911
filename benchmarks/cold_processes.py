"""Timing statements in cold Python processes side by side: A B A B …, medians and their ratio."""

import statistics
import subprocess
import sys
from dataclasses import dataclass

_TIMED = "import time; begun = time.perf_counter(); {statement}; print(time.perf_counter() - begun)"


@dataclass(frozen=True)
class Comparison:
    """Seconds of each run of both statements, taken in turn."""

    subject: tuple[float, ...]
    baseline: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """Median of the subject over the median of the baseline."""
        return statistics.median(self.subject) / statistics.median(self.baseline)

    def line(self, what: str, target: str) -> str:
        """The figure as it is printed."""
        subject, baseline = statistics.median(self.subject), statistics.median(self.baseline)
        medians = f"{subject:.2f} s against {baseline:.2f} s, medians of {len(self.subject)}"
        return f"{what}: {self.ratio:.2f} × ({medians}); {target}"


def compare(subject: str, baseline: str, runs: int = 5) -> Comparison:
    """Time two statements in turn, each in a fresh interpreter, after one warm-up of both.

    The interpreter's own start and end are left out: they are the same for both, and would flatter the ratio.
    """
    times: dict[str, list[float]] = {subject: [], baseline: []}
    for turn in range(runs + 1):
        for statement in (subject, baseline):
            seconds = _seconds(statement)
            if turn:
                times[statement].append(seconds)
    return Comparison(tuple(times[subject]), tuple(times[baseline]))


def _seconds(statement: str) -> float:
    program = _TIMED.format(statement=statement)
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return float(done.stdout)
