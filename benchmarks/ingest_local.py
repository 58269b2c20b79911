"""A first pass over clips that are there: hash, probe, rows, manifest, against one ffprobe process a clip and its hash.

On small clips the processes are the cost, on large ones the hash is: there the pass is held against hashing alone, over
so many bytes that what a pass does once does not count.
"""

import statistics
import time
from pathlib import Path

from benchmarks.corpus_folder import (
    CORPUS,
    CorpusFolder,
    clip_of,
    corpus_folder,
    grown_to,
    measured,
    spread,
    write_copies,
)
from benchmarks.plain import absent, hash_all, probe_and_hash
from vqa_assets.clips.probing import PyAvProber
from vqa_assets.ingest.gather import workers_of
from vqa_assets.ingest.settings import resolve

SMALL_CLIPS, SMALL_BYTES, SMALL_TARGET = 3000, 200_000, 30.0
LARGE_CLIPS, LARGE_FILES, LARGE_BYTES, LARGE_TARGET = 3000, 40, 20_000_000, 0.85
PROCESSES, TURNS = 24, 5


def main() -> None:
    """Print both ratios."""
    with corpus_folder() as corpus:
        if not absent("ffprobe", "ffmpeg"):
            _small(corpus)
    with corpus_folder() as corpus:
        _large(corpus)


def _small(corpus: CorpusFolder) -> None:
    names = _filled(corpus, SMALL_CLIPS, SMALL_BYTES, clip_of(corpus.folder / "x.mp4", 320, 192, 300_000))
    plain, ours = [], []
    for _ in range(TURNS):
        begun = time.perf_counter()
        for name in spread(names, PROCESSES):
            probe_and_hash(corpus.clips / name)
        plain.append(PROCESSES / (time.perf_counter() - begun))
        ours.append(_pass(corpus))
    ratio = statistics.median(a / b for a, b in zip(ours, plain, strict=True))
    print(
        f"first pass, {SMALL_CLIPS} clips of {SMALL_BYTES / 1e3:.0f} KB: {ratio:.1f} × ({_median(ours):.0f} clips/s "
        f"against {_median(plain):.1f}, medians of {TURNS}); target: at least {SMALL_TARGET:.0f} ×; bound by the "
        "probe and by Python on the cores there are"
    )


def _large(corpus: CorpusFolder) -> None:
    clip = clip_of(corpus.folder / "x.mp4", 1280, 720, 8_000_000, seconds=20)
    names = _filled(corpus, LARGE_FILES, LARGE_BYTES, clip)
    names += _linked(corpus, names, LARGE_CLIPS - LARGE_FILES)
    paths = [corpus.clips / name for name in names]
    threads = workers_of(resolve(CORPUS, {}, corpus.root.ingest_toml(CORPUS)).values)
    alone, ours = [], []
    for _ in range(TURNS):
        alone.append(measured(lambda: hash_all(paths, threads)))
        ours.append(measured(lambda: _pass(corpus)))
    by_clock = statistics.median(a[0] / b[0] for a, b in zip(alone, ours, strict=True))
    by_processor = statistics.median(a[1] / b[1] for a, b in zip(alone, ours, strict=True))
    megabytes = LARGE_CLIPS * LARGE_BYTES / 1e6
    rates = [f"{megabytes / _median([seconds for seconds, _ in found]):.0f}" for found in (ours, alone)]
    print(
        f"first pass, {LARGE_CLIPS} clips of {LARGE_BYTES / 1e6:.0f} MB: {by_clock:.2f} of hashing alone on {threads} "
        f"threads by the clock, {by_processor:.2f} by the processor ({rates[0]} MB/s against {rates[1]}, medians of "
        f"{TURNS}); target: at least {LARGE_TARGET}; bound by SHA-256, then by FFmpeg's look at each clip's beginning"
    )


def _filled(corpus: CorpusFolder, count: int, size_bytes: int, clip: bytes) -> list[str]:
    names = write_copies(corpus.clips, grown_to(clip, size_bytes - 16), count)
    corpus.annotate(names)
    _warm([corpus.clips / name for name in names])
    return names


def _linked(corpus: CorpusFolder, names: list[str], count: int) -> list[str]:
    """More names of the same files, which are read and probed like any other; the annotation file names all."""
    more = [f"link-{i:06d}.mp4" for i in range(count)]
    for number, name in enumerate(more):
        (corpus.clips / name).hardlink_to(corpus.clips / names[number % len(names)])
    corpus.annotate([*names, *more])
    return more


def _warm(paths: list[Path]) -> None:
    for path in paths:
        path.read_bytes()


def _pass(corpus: CorpusFolder) -> float:
    """Clips per second of a whole ingest that begins with nothing known."""
    corpus.forget()
    prober = PyAvProber()
    try:
        done = corpus.ingest(prober)
    finally:
        prober.close()
    if done.report.read_clips != done.report.rows_in:
        raise RuntimeError(done.report.reasons())
    return done.report.read_clips / done.seconds


def _median(values: list[float]) -> float:
    return statistics.median(values)
