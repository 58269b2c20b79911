"""``vqa-assets ingest`` where nothing changed: from the command's start to its end, on 1 200 real clips.

It ends before Dagster is imported. The target is a number of seconds on a quiet machine of two cores; processor time
stands beside it, since another process's work does not change that.
"""

import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from vqa_assets_tests.shared.clips import tiny_clip

CLIPS, TURNS = 1_200, 5
TARGET_S = 2.0
_CORPUS = "konvid-150k"


def main() -> None:
    """Print seconds, processor seconds, and those of the first ingest's command that ran Dagster."""
    with TemporaryDirectory() as folder:
        root = Path(folder)
        _stage(root / _CORPUS)
        first, _ = _timed(root)
        timed = [_timed(root) for _ in range(TURNS)]
    seconds, processor = (statistics.median(values) for values in zip(*timed, strict=True))
    print(
        f"vqa-assets ingest of {CLIPS} unchanged clips: {seconds:.2f} s, {processor:.2f} s of processor time, median "
        f"of {TURNS}; target: under {TARGET_S:g} s; the first ingest of them, a run of Dagster, took {first:.1f} s"
    )


def _stage(folder: Path) -> None:
    """1 200 clips of distinct bytes: one is made, and what is appended to each names it."""
    clips = folder / "clips"
    clips.mkdir(parents=True)
    content = tiny_clip(clips / "first.mp4", 0)
    (clips / "first.mp4").unlink()
    names = [f"{at:04d}.mp4" for at in range(CLIPS)]
    for at, name in enumerate(names):
        # a box that players skip, so that every clip is a whole one
        (clips / name).write_bytes(content + (12).to_bytes(4, "big") + b"free" + at.to_bytes(4, "big"))
    rows = "".join(f"{name},{1.5 + at % 30 / 10:.1f},0.5,9\n" for at, name in enumerate(names))
    (folder / "manifest.csv").write_text("video_name,mos,sd,n\n" + rows)
    (folder / "ingest.toml").write_text("min_rows = 1\n")


def _timed(root: Path) -> tuple[float, float]:
    """Seconds and processor seconds of one command, its children's too."""
    before, begun = _processor_s(), time.monotonic()
    environment = {**os.environ, "VQA_DATA_ROOT": str(root)}
    environment.pop("DAGSTER_HOME", None)
    command = [sys.executable, "-m", "vqa_assets", "ingest", _CORPUS]
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return time.monotonic() - begun, _processor_s() - before


def _processor_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
