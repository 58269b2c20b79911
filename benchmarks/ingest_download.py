"""Fetching and hashing clips from a loopback server, against one curl process a clip and its hash, in sequence.

The probe is left out on both sides. From a fast server the process is the cost; from one that gives each connection
200 kB/s, it is how many connections there are.
"""

import random
import shutil
import statistics
import time
from pathlib import Path

from benchmarks.corpus_folder import CorpusFolder, NoProber, corpus_folder, spread
from benchmarks.loopback import SLOW_KB_PER_S, nginx
from benchmarks.plain import absent, curl_and_hash
from vqa_assets.downloading import LibcurlDownloader

CLIPS, LEAST_BYTES, MOST_BYTES, TARGET = 2000, 50_000, 150_000, 10.0
SLOW_CLIPS, SLOW_BYTES, SLOW_BASELINE, SLOW_CONNECTIONS, SLOW_TARGET = 160, 1_000_000, 3, 32, 15.0
BASELINE, TURNS = 200, 3


def main() -> None:
    """Print both ratios."""
    if absent("curl", "curl") or absent("nginx", "nginx-light"):
        return
    with corpus_folder() as corpus:
        served = corpus.root.path / "served"
        served.mkdir()
        dice = random.Random(1)  # noqa: S311
        small = _made(served, "small", [dice.randrange(LEAST_BYTES, MOST_BYTES) for _ in range(CLIPS)])
        large = _made(served, "large", [SLOW_BYTES] * SLOW_CLIPS)
        with nginx(served) as address:
            _fast(corpus, address, small)
            _slow(corpus, f"{address}slow/", large)


def _made(folder: Path, stem: str, sizes: list[int]) -> list[str]:
    dice = random.Random(stem)  # noqa: S311
    names = [f"{stem}-{i:06d}.mp4" for i in range(len(sizes))]
    for name, size in zip(names, sizes, strict=True):
        (folder / name).write_bytes(dice.randbytes(size))
    return names


def _fast(corpus: CorpusFolder, address: str, names: list[str]) -> None:
    plain, ours = [], []
    for _ in range(TURNS):
        plain.append(_plainly(corpus, address, spread(names, BASELINE)))
        ours.append(_fetched(corpus, address, names))
    _tell(f"{CLIPS} clips of {LEAST_BYTES // 1000}–{MOST_BYTES // 1000} KB from a fast server", ours, plain, TARGET)
    print("  bound by Python and SHA-256 on the cores that nginx leaves")


def _slow(corpus: CorpusFolder, address: str, names: list[str]) -> None:
    plain = [_plainly(corpus, address, spread(names, SLOW_BASELINE))]
    ours = [_fetched(corpus, address, names, per_host=SLOW_CONNECTIONS)]
    clips = f"{SLOW_CLIPS} clips of {SLOW_BYTES / 1e6:.0f} MB"
    what = f"{clips} at {SLOW_KB_PER_S} kB/s a connection, per_host {SLOW_CONNECTIONS}"
    _tell(what, ours, plain, SLOW_TARGET)
    print(f"  bound by the server: {SLOW_CONNECTIONS} × is all that so many connections can give")


def _plainly(corpus: CorpusFolder, address: str, names: list[str]) -> float:
    begun = time.perf_counter()
    for name in names:
        curl_and_hash(address + name, corpus.root.path / name)
    rate = len(names) / (time.perf_counter() - begun)
    for name in names:
        (corpus.root.path / name).unlink()
    return rate


def _fetched(corpus: CorpusFolder, address: str, names: list[str], **settings: int) -> float:
    """Clips per second of an ingest that begins with nothing there."""
    shutil.rmtree(corpus.clips)
    corpus.clips.mkdir()
    corpus.forget()
    corpus.annotate(names, address)
    downloader = LibcurlDownloader()
    done = corpus.ingest(NoProber(), downloader, **settings)
    downloader.close()
    if done.report.written != done.report.rows_in:
        raise RuntimeError(done.report.reasons())
    return done.report.written / done.seconds


def _tell(what: str, ours: list[float], plain: list[float], target: float) -> None:
    ratio = statistics.median(a / b for a, b in zip(ours, plain, strict=True))
    print(
        f"{what}: {ratio:.1f} × ({statistics.median(ours):.0f} clips/s against {statistics.median(plain):.1f}, "
        f"medians of {len(ours)}); target: at least {target:.0f} ×"
    )
