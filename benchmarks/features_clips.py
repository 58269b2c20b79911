"""Measuring clips: time over decoding, encoding and libvmaf alone on the same clips, and the use of both cores.

The baseline is one ffmpeg process a clip that decodes it, re-encodes it and compares both: nothing that is measured
besides, no table, no cache.
"""

import os
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from vqa_assets.clips.hashing import hash_file
from vqa_assets.features.cache import FeatureCache
from vqa_assets.features.extractor import FEATURE_SETS, ClipExtractor
from vqa_assets.features.ffmpeg import ffmpeg_binary
from vqa_assets.features.libvmaf import RECOMPRESSION
from vqa_assets.features.measuring import ClipToMeasure, MeasuringRun, extract_features

SIZES = {"640×360": ("640x360", 60, 4), "1280×720": ("1280x720", 48, 2)}
"""Name → size, frames, clips."""

TURNS, TARGET, CORES_TARGET = 3, 1.6, 1.7

Times = tuple[float, float]
"""Seconds by the clock and by the processor."""


def main() -> None:
    """Print the multiples and the use of cores, per size."""
    for name, (size, frames, count) in SIZES.items():
        with tempfile.TemporaryDirectory(prefix="vqa-bench-") as folder:
            clips = [_clip(Path(folder) / f"{i}.mp4", size, frames, i) for i in range(count)]
            _multiples(name, clips, Path(folder))
            _cores(name, clips * 2, Path(folder))


def _multiples(name: str, clips: Sequence[Path], folder: Path) -> None:
    chosen = {"konvid-v1": FEATURE_SETS[:1], "konvid-v1 + nr-v1": FEATURE_SETS, "nr-v1": FEATURE_SETS[1:]}
    alone: list[Times] = []
    ours: dict[str, list[Times]] = {what: [] for what in chosen}
    with _cores_used(1):
        for _ in range(TURNS):
            alone.append(_timed(lambda: [_alone(clip) for clip in clips]))
            for what, sets in chosen.items():
                extractor = ClipExtractor(feature_sets=tuple(sets))
                ours[what].append(_timed(lambda e=extractor: _measure(clips, e, folder, workers=1)))  # type: ignore[misc]
    for what, times in ours.items():
        clock, processor = (_ratio([t[i] for t in times], [t[i] for t in alone]) for i in (0, 1))
        target = f"target: at most {TARGET} by the clock; " if what == "konvid-v1" else ""
        rate = len(clips) / statistics.median(t[0] for t in times)
        print(
            f"{what} of {len(clips)} clips of {name}, one core: {clock:.2f} × decoding, encoding and libvmaf alone by "
            f"the clock, {processor:.2f} × by the processor ({rate:.2f} clips/s, medians of {TURNS}); {target}"
            "bound by libvmaf and the encoder",
            flush=True,
        )


def _cores(name: str, clips: Sequence[Path], folder: Path) -> None:
    """One worker on one core against two workers on two: decoding and libvmaf of one clip overlap, so that one worker
    uses more than a core where it may."""
    rates: dict[str, list[float]] = {"one": [], "both": [], "free": []}
    for _ in range(TURNS):
        for what, cores, workers in (("one", 1, 1), ("both", 2, 2), ("free", 2, 1)):
            with _cores_used(cores):
                seconds, _ = _timed(lambda w=workers: _measure(clips, ClipExtractor(), folder, w))  # type: ignore[misc]
            rates[what].append(len(clips) / seconds)
    both, free = _ratio(rates["both"], rates["one"]), _ratio(rates["free"], rates["one"])
    print(
        f"both cores, {name}: {both:.2f} × of one worker on one core ({statistics.median(rates['both']):.2f} clips/s; "
        f"one worker with both {free:.2f} ×, medians of {TURNS}); target: at least {CORES_TARGET}",
        flush=True,
    )


def _measure(clips: Sequence[Path], extractor: ClipExtractor, folder: Path, workers: int) -> None:
    hashes = {clip: hash_file(clip, threading.Event()).sha256 for clip in set(clips)}
    todo = [ClipToMeasure(str(i), clip, hashes[clip]) for i, clip in enumerate(clips)]
    path = folder / "cache.sqlite"
    with FeatureCache(path) as cache, ThreadPoolExecutor(workers) as executor:
        _, report = extract_features(todo, extractor, executor, cache, MeasuringRun(2 * workers, threading.Event()))
    path.unlink()
    if report.measured != len(clips):
        raise RuntimeError(str(report.failed))


def _alone(clip: Path) -> subprocess.CompletedProcess[bytes]:
    one = ["-filter_threads", "1", "-filter_complex_threads", "1", "-threads", "1"]
    encode = ["-map", "0:v", *RECOMPRESSION, "-f", "null", "-", "-threads", "1", "-dec", "0:0"]
    graph = "[0:v][dec:0]libvmaf=n_threads=1:log_fmt=json:log_path=/dev/null[out]"
    command = [ffmpeg_binary(), "-nostdin", "-loglevel", "error", *one, "-i", str(clip), *encode]
    return subprocess.run([*command, "-filter_complex", graph, "-map", "[out]", "-f", "null", "-"], check=True)


def _clip(path: Path, size: str, frames: int, seed: int) -> Path:
    source = f"mandelbrot=size={size}:rate=30:start_scale={3 - seed / 4}"
    picture = ["-vf", f"noise=alls=4:allf=t:all_seed={seed}", "-pix_fmt", "yuv420p", "-crf", "23"]
    tool = [ffmpeg_binary(), "-y", "-loglevel", "error", "-f", "lavfi", "-i", source, "-frames:v", str(frames)]
    subprocess.run([*tool, *picture, path], check=True)
    return path


@contextmanager
def _cores_used(count: int) -> Iterator[None]:
    """Let this process and its children use so many of the cores it may."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(sorted(allowed)[:count]))
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def _timed(work: Callable[[], object]) -> Times:
    begun, used = time.perf_counter(), os.times()
    work()
    now = os.times()
    return time.perf_counter() - begun, sum(now[:4]) - sum(used[:4])


def _ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
