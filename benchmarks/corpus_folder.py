"""A KonViD-150k folder made on the spot and ingested by the function under ``corpus_jsonl``: what benchmarks time."""

import csv
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from vqa_assets.clips.downloading import DownloadLimits
from vqa_assets.clips.geometry import Geometry
from vqa_assets.clips.hashing import ClipBytes
from vqa_assets.corpora import CORPORA
from vqa_assets.ingest.gather import Services
from vqa_assets.ingest.rows import IngestReport
from vqa_assets.ingest.run import ingest_corpus
from vqa_assets.ingest.settings import resolve
from vqa_assets.provenance import RunContext
from vqa_assets.tables.paths import DataRoot

CORPUS = CORPORA["konvid-150k"]


class NoProber:
    """Every clip has one geometry: what is timed then is everything but the probe."""

    def probe(self, path: Path, timeout_s: float) -> Geometry:  # noqa: ARG002
        """A geometry without a look at the clip."""
        return Geometry(640, 360, 25.0, 5.0, "yuv420p", "h264")

    def close(self) -> None:
        """Nothing is under way."""


class NoDownloader:
    """For folders whose clips are all there."""

    def fetch(self, url: str, part: Path, limits: DownloadLimits, stop: threading.Event) -> ClipBytes:
        """Never called."""
        raise NotImplementedError(url)


class Threads:
    """A clip pool of plain threads."""

    @contextmanager
    def open(self, workers: int) -> Iterator[ThreadPoolExecutor]:
        """Threads, joined at the end."""
        with ThreadPoolExecutor(workers) as executor:
            yield executor


@dataclass(frozen=True)
class Timed:
    """One ingest: its report and its wall-clock seconds."""

    report: IngestReport
    seconds: float


@dataclass(frozen=True)
class CorpusFolder:
    """A data root that holds one corpus."""

    root: DataRoot

    @property
    def folder(self) -> Path:
        """The corpus folder."""
        return self.root.corpus_dir(CORPUS)

    @property
    def clips(self) -> Path:
        """The folder of its clips."""
        return self.folder / "clips"

    def annotate(self, names: Iterable[str], url_prefix: str = "") -> None:
        """Write the annotation file; a score and five opinions each."""
        with (self.folder / "manifest.csv").open("w", newline="", encoding="utf-8") as out:
            rows = csv.writer(out)
            rows.writerow(("video_name", "url", "mos", "sd", "n"))
            rows.writerows((n, url_prefix and url_prefix + n, 1 + i % 400 / 100, 0.5, 5) for i, n in enumerate(names))

    def ingest(self, prober: Any, downloader: Any = None, **settings: Any) -> Timed:
        """Ingest and time it."""
        resolved = resolve(CORPUS, {"min_rows": 1, **settings}, self.root.ingest_toml(CORPUS))
        services = Services(prober, downloader or NoDownloader(), Threads())
        begun = time.perf_counter()
        done = ingest_corpus(CORPUS, resolved, services, RunContext(self.root, {}, Path(__file__)))
        return Timed(done.report, time.perf_counter() - begun)

    def forget(self) -> None:
        """Remove what earlier ingests left, but the clips."""
        for path in self.folder.iterdir():
            if path.is_file() and path.name != "manifest.csv":
                path.unlink()


def in_memory(least_free_bytes: int) -> str | None:
    """A file system in memory with so much room; None, for the ordinary temporary folder, where there is none."""
    shared = Path("/dev/shm")  # noqa: S108 - the one place that Linux always has
    if not (shared.is_dir() and os.access(shared, os.W_OK)):
        return None
    return str(shared) if shutil.disk_usage(shared).free >= least_free_bytes else None


@contextmanager
def corpus_folder(parent: str | None = None) -> Iterator[CorpusFolder]:
    """An empty corpus folder, in ``parent`` or the temporary folder, that is gone at the end of the block."""
    with TemporaryDirectory(prefix="vqa-bench-", dir=parent) as path:
        made = CorpusFolder(DataRoot(Path(path)))
        made.clips.mkdir(parents=True)
        yield made


def measured(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock and by the processors, child processes that ended included."""
    begun, used = time.perf_counter(), os.times()
    work()
    now = os.times()
    return time.perf_counter() - begun, sum(now[:4]) - sum(used[:4])


def clip_of(path: Path, width: int, height: int, bits_per_s: int, seconds: int = 5) -> bytes:
    """An x264 clip of moving noise at about that rate; its bytes."""
    import av
    import numpy as np

    noise = np.random.default_rng(0).integers(0, 255, (height // 8, width // 8, 3), dtype=np.uint8)
    picture = noise.repeat(8, axis=0).repeat(8, axis=1)
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = width, height, "yuv420p", bits_per_s
        for number in range(25 * seconds):
            shifted = np.roll(picture, (5 * number, 3 * number), axis=(1, 0))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(shifted, format="rgb24")))
        container.mux(stream.encode(None))
    content = path.read_bytes()
    path.unlink()
    return content


def write_copies(folder: Path, clip: bytes, count: int) -> list[str]:
    """``count`` copies that differ by a box that players skip, so that no two have the same hash; their names."""
    names = [f"{i:06d}.mp4" for i in range(count)]
    for number, name in enumerate(names):
        (folder / name).write_bytes(clip + b"\x00\x00\x00\x10free" + number.to_bytes(8))
    return names


def grown_to(clip: bytes, size_bytes: int) -> bytes:
    """The clip with a skipped box behind it that brings it to ``size_bytes``, where it is smaller."""
    missing = size_bytes - len(clip)
    return clip if missing < 8 else clip + missing.to_bytes(4) + b"free" + bytes(missing - 8)


def spread(names: Sequence[str], count: int) -> list[str]:
    """``count`` of the names, evenly taken."""
    return list(names[:: max(1, len(names) // count)][:count])
