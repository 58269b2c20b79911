"""What it costs to remember and tell how far a pass is: progress log, progress file, progress line.

The pass is simulated: a clock that a clip moves on by what a small clip takes, so that every write that time brings
about is made, for 150 000 clips, in the seconds that the writing itself takes.
"""

import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.corpus_folder import clip_of, corpus_folder, grown_to, write_copies
from vqa_assets.clips.probing import PyAvProber
from vqa_assets.clips.work import ProgressLine, Watch
from vqa_assets.ingest.progress import DONE, Progress

CLIPS, TARGET = 150_000, 0.02
SAMPLE, SAMPLE_BYTES = 2000, 200_000


def main() -> None:
    """Print the share of a pass."""
    pass_s = CLIPS / _clips_per_s()
    ours = _bookkeeping_s(pass_s)
    print(
        f"progress bookkeeping for {CLIPS} clips: {ours / pass_s:.2%} of the pass ({ours:.1f} s of {pass_s:.0f} s, the "
        f"pass extrapolated from {SAMPLE} clips of {SAMPLE_BYTES / 1e3:.0f} KB); target: under {TARGET:.0%}; bound by "
        "a write to the log for each clip, and by rewriting the file for at most a hundredth of the time"
    )


class _Clock:
    """Seconds as they would pass: those that do, and those that the clips would have taken."""

    def __init__(self) -> None:
        self.skipped_s = 0.0

    def __call__(self) -> float:
        return time.perf_counter() + self.skipped_s


def _bookkeeping_s(pass_s: float) -> float:
    clock = _Clock()
    lines: list[str] = []
    with TemporaryDirectory(prefix="vqa-bench-") as folder:
        line = ProgressLine("bench", CLIPS, lines.append, now=clock)
        watch = Watch(line)
        begun = time.perf_counter()
        with Progress(Path(folder) / "progress.json", now=clock) as progress:
            for number in range(CLIPS):
                progress.set(f"{number:06d}.mp4", DONE)
                watch.update(number + 1, failed=0, broken=0, read_bytes=0, fetched_bytes=0)
                clock.skipped_s += pass_s / CLIPS
        return time.perf_counter() - begun


def _clips_per_s() -> float:
    with corpus_folder() as corpus:
        clip = grown_to(clip_of(corpus.folder / "x.mp4", 320, 192, 300_000), SAMPLE_BYTES - 16)
        corpus.annotate(write_copies(corpus.clips, clip, SAMPLE))
        prober = PyAvProber()
        done = corpus.ingest(prober, workers=os.cpu_count())
        prober.close()
        return done.report.written / done.seconds
