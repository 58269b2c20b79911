"""Fetching and hashing clips from a loopback server, against one curl process a clip and its hash, in sequence.

What is timed is an ingest from the annotation file to the manifest, once without the probe, which the baseline does
not have either, and once with it. From a fast server the process is the cost; from one that gives each connection 200
kB/s, it is how many connections there are. Clips lie in memory where that has room, and each turn's are deleted after
it: on ext4 a new file's inode is looked for one by one among those that were deleted in the last minutes, and memory
that no turn has used before costs more than the rest of the write.
"""

import random
import shutil
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.corpus_folder import (
    CorpusFolder,
    NoProber,
    clip_of,
    corpus_folder,
    grown_to,
    in_memory,
    measured,
    spread,
)
from benchmarks.loopback import SLOW_KB_PER_S, nginx
from benchmarks.plain import absent, curl_and_hash
from vqa_assets.clips.libcurl import LibcurlDownloader
from vqa_assets.clips.probing import PyAvProber

CLIPS, LEAST_BYTES, MOST_BYTES, TARGET = 2000, 50_000, 150_000, 10.0
SLOW_CLIPS, SLOW_BYTES, SLOW_BASELINE, SLOW_CONNECTIONS, SLOW_TARGET = 160, 1_000_000, 3, 32, 15.0
BASELINE, TURNS = 200, 3
ROOM_BYTES = 4 << 30


@dataclass
class _Rates:
    """Clips per second of each turn, by the clock and by the processors (child processes included, nginx not)."""

    by_clock: list[float] = field(default_factory=list)
    by_processor: list[float] = field(default_factory=list)

    def add(self, clips: int, seconds: float, processor_s: float) -> None:
        """One more turn."""
        self.by_clock.append(clips / seconds)
        self.by_processor.append(clips / processor_s)

    def over(self, others: "_Rates") -> tuple[float, float]:
        """The median ratio by the clock, and by the processors."""
        return _ratio(self.by_clock, others.by_clock), _ratio(self.by_processor, others.by_processor)


def main() -> None:
    """Print the ratios."""
    if absent("curl", "curl") or absent("nginx", "nginx-light"):
        return
    parent = in_memory(ROOM_BYTES)
    print(f"clips lie {'in memory' if parent else 'on the disk, which counts too'}")
    with corpus_folder(parent) as corpus:
        served = corpus.root.path / "served"
        served.mkdir()
        dice = random.Random(1)  # noqa: S311
        small = _made(served, "small", [dice.randrange(LEAST_BYTES, MOST_BYTES) for _ in range(CLIPS)])
        large = _made(served, "large", [SLOW_BYTES] * SLOW_CLIPS)
        with nginx(served) as address:
            _fast(corpus, address, small)
            _slow(corpus, f"{address}slow/", large)


def _made(folder: Path, stem: str, sizes: list[int]) -> list[str]:
    """Clips of those sizes, no two with the same bytes; their names."""
    clip = clip_of(folder / "x.mp4", 160, 96, 60_000)
    names = [f"{stem}-{i:06d}.mp4" for i in range(len(sizes))]
    for number, (name, size) in enumerate(zip(names, sizes, strict=True)):
        (folder / name).write_bytes(grown_to(clip, size - 16) + b"\x00\x00\x00\x10free" + number.to_bytes(8))
    return names


def _fast(corpus: CorpusFolder, address: str, names: list[str]) -> None:
    plain, ours, probed = _Rates(), _Rates(), _Rates()
    for _ in range(TURNS):
        _plainly(corpus, address, spread(names, BASELINE), plain)
        _fetched(corpus, address, names, ours)
        _fetched(corpus, address, names, probed, PyAvProber())
    what = f"{CLIPS} clips of {LEAST_BYTES // 1000}–{MOST_BYTES // 1000} KB from a fast server"
    _tell(f"{what}, fetched and hashed", ours, plain, TARGET)
    by_clock, by_processor = probed.over(plain)
    print(
        f"  with the probe, which the baseline does without: {by_clock:.1f} × by the clock, {by_processor:.1f} × by "
        f"the processors ({_median(probed.by_clock):.0f} clips/s)"
    )
    print("  bound by system calls, Python and SHA-256 on the cores that nginx leaves")


def _slow(corpus: CorpusFolder, address: str, names: list[str]) -> None:
    plain, ours = _Rates(), _Rates()
    _plainly(corpus, address, spread(names, SLOW_BASELINE), plain)
    _fetched(corpus, address, names, ours, per_host=SLOW_CONNECTIONS)
    clips = f"{SLOW_CLIPS} clips of {SLOW_BYTES / 1e6:.0f} MB"
    _tell(f"{clips} at {SLOW_KB_PER_S} kB/s a connection, per_host {SLOW_CONNECTIONS}", ours, plain, SLOW_TARGET)
    print(f"  bound by the server: {SLOW_CONNECTIONS} × is all that so many connections can give")


def _plainly(corpus: CorpusFolder, address: str, names: list[str], rates: _Rates) -> None:
    folder = corpus.root.path / "plain"
    _clear(folder)

    def work() -> None:
        for name in names:
            curl_and_hash(address + name, folder / name)

    rates.add(len(names), *measured(work))


def _fetched(
    corpus: CorpusFolder, address: str, names: list[str], rates: _Rates, prober: Any = None, **settings: int
) -> None:
    """An ingest that begins with nothing there."""
    _clear(corpus.clips)
    corpus.forget()
    corpus.annotate(names, address)

    def work() -> None:
        prober_ = prober or NoProber()
        downloader = LibcurlDownloader()
        try:
            done = corpus.ingest(prober_, downloader, **settings)
        finally:
            downloader.close()
            prober_.close()
        if done.report.written != done.report.rows_in:
            raise RuntimeError(done.report.reasons())

    rates.add(len(names), *measured(work))


def _clear(folder: Path) -> None:
    """An empty folder of that name."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir()


def _tell(what: str, ours: _Rates, plain: _Rates, target: float) -> None:
    by_clock, by_processor = ours.over(plain)
    print(
        f"{what}: {by_clock:.1f} × by the clock, {by_processor:.1f} × by the processors ({_median(ours.by_clock):.0f} "
        f"clips/s against {_median(plain.by_clock):.1f}, medians of {len(plain.by_clock)}); target: at least "
        f"{target:.0f} ×"
    )


def _ratio(ours: list[float], plain: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(ours, plain, strict=True))


def _median(values: list[float]) -> float:
    return statistics.median(values)
