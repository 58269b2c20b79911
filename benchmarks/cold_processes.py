"""Timing statements in cold Python processes side by side: A B A B …, medians and their ratio."""

import statistics
import subprocess
import sys
from dataclasses import dataclass

_TIMED = (
    "import time; wall, cpu = time.perf_counter(), time.process_time(); {statement}; "
    "print(time.perf_counter() - wall, time.process_time() - cpu)"
)


@dataclass(frozen=True)
class Timing:
    """Median seconds of one statement: on the clock, and on the processor."""

    wall_s: float
    cpu_s: float


@dataclass(frozen=True)
class Comparison:
    """Two statements timed in turn, ``runs`` times each."""

    subject: Timing
    baseline: Timing
    runs: int

    def line(self, what: str, target: str) -> str:
        """The figure as it is printed: the ratio by the clock, and by the processor, which neighbours disturb less."""
        wall = self.subject.wall_s / self.baseline.wall_s
        cpu = self.subject.cpu_s / self.baseline.cpu_s
        medians = f"{self.subject.wall_s:.2f} s against {self.baseline.wall_s:.2f} s, medians of {self.runs}"
        return f"{what}: {wall:.2f} × by the clock, {cpu:.2f} × by the processor ({medians}); {target}"


def compare(subject: str, baseline: str, runs: int = 5) -> Comparison:
    """Time two statements in turn, each in a fresh interpreter, after one warm-up of both.

    The interpreter's own start and end are left out: they are the same for both, and would flatter the ratio.
    """
    timed: dict[str, list[tuple[float, float]]] = {subject: [], baseline: []}
    for turn in range(runs + 1):
        for statement in (subject, baseline):
            seconds = _seconds(statement)
            if turn:
                timed[statement].append(seconds)
    return Comparison(_median(timed[subject]), _median(timed[baseline]), runs)


def _median(times: list[tuple[float, float]]) -> Timing:
    return Timing(statistics.median(wall for wall, _ in times), statistics.median(cpu for _, cpu in times))


def _seconds(statement: str) -> tuple[float, float]:
    program = _TIMED.format(statement=statement)
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    wall, cpu = done.stdout.split()
    return float(wall), float(cpu)
