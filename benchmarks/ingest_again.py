"""A scheduled re-ingest of a full corpus where nothing changed: a walk over ``stat``, not over bytes."""

import re
import resource
import statistics
import sys
from multiprocessing import get_context
from pathlib import Path

from benchmarks.corpus_folder import CorpusFolder, NoProber, corpus_folder
from vqa_assets.tables.paths import DataRoot

CLIPS, TURNS = 150_000, 3
RATE_TARGET, MEMORY_TARGET = 10_000, 1024


def main() -> None:
    """Print rate and peak memory."""
    with corpus_folder() as corpus:
        names = [f"{i:06d}.mp4" for i in range(CLIPS)]
        for name in names:
            (corpus.clips / name).write_bytes(name.encode())
        corpus.annotate(names)
        corpus.ingest(NoProber())
        with get_context("spawn").Pool(1, maxtasksperchild=1) as fresh:
            found = [fresh.apply(again, (corpus.root.path,)) for _ in range(TURNS)]
    rate, memory = statistics.median(f[0] for f in found), max(f[1] for f in found)
    print(
        f"re-ingest of {CLIPS} unchanged clips: {rate:.0f} clips/s, {memory:.0f} MiB at the most, median of {TURNS} "
        f"fresh processes; target: at least {RATE_TARGET} clips/s, under {MEMORY_TARGET} MiB; bound by Python on one "
        "core: CSV, JSON, validation, a stat a clip"
    )


def again(root: Path) -> tuple[float, float]:
    """Clips per second of one re-ingest, and the process's peak memory in MiB."""
    done = CorpusFolder(DataRoot(root)).ingest(NoProber())
    if done.report.unchanged != done.report.rows_in:
        raise RuntimeError(done.report.counters())
    return done.report.unchanged / done.seconds, peak_mib()


def peak_mib() -> float:
    """The most memory this process had. On Linux ``ru_maxrss`` counts what its parent had when it was started, too."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) / 1024  # type: ignore[index]
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << (20 if sys.platform == "darwin" else 10))
