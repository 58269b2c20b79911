"""Clip work on Dask's workers beside threads of one process, and what a core does of each kind in a second.

Scheduler and workers are programs of their own on 127.0.0.1. Of the rows with several workers each has a core to
itself, child processes too, where there are so many. What is printed is written into docs/scaling.md, too.
"""

import os
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.corpus_folder import (
    CORPUS,
    CorpusFolder,
    NoProber,
    clip_of,
    corpus_folder,
    grown_to,
    in_memory,
    measured,
    write_copies,
)
from benchmarks.loopback import SLOW_KB_PER_S, nginx
from benchmarks.plain import absent, write_between
from vqa_assets.backbones.efficientnet_lite0 import FACTS, export_onnx
from vqa_assets.backbones.making import add_backbone
from vqa_assets.clips.dask_cluster import ADDRESS, CLUSTER
from vqa_assets.clips.downloading import DownloadLimits
from vqa_assets.clips.hashing import hash_file
from vqa_assets.clips.libcurl import LibcurlDownloader
from vqa_assets.clips.probing import PyAvProber
from vqa_assets.features.backbone import backbone_family
from vqa_assets.features.cache import FeatureCache
from vqa_assets.features.extractor import ClipExtractor
from vqa_assets.features.measuring import ClipToMeasure, MeasuringRun, extract_features
from vqa_assets.ingest.gather import Services
from vqa_assets.ingest.run import ingest_corpus
from vqa_assets.ingest.settings import resolve
from vqa_assets.provenance import RunContext
from vqa_assets.resources.clip_pool import ClipPoolResource
from vqa_assets.resources.downloader import DownloaderResource
from vqa_assets.resources.prober import ProberResource
from vqa_assets_tests.shared.dask_processes import DaskProcesses

PAGE = Path(__file__).parents[1] / "docs" / "scaling.md"
BEGIN, END = "<!-- figures: made by benchmarks.clip_workers -->", "<!-- /figures -->"
SMALL_CLIPS, SMALL_BYTES, OVERHEAD = 5_000, 200_000, 1.15
SLOW_CLIPS, SLOW_BYTES, SLOW_WORKERS, LINEAR = 24, 400_000, (1, 2, 4, 8), 0.9
MEASURED_CLIPS, TWO_WORKERS = 8, 1.8
RATED = {"640×360": (640, 360, 1_000_000), "1920×1080": (1920, 1080, 6_000_000)}
"""Size → width, height, bits per second, of clips of two seconds at 25 frames a second."""
RATED_CLIPS, RATED_MEASURED, TURNS = 400, 2, 3
THREADS, DASK = ClipPoolResource(), ClipPoolResource(implementation="dask")
_ROOM_BYTES = 2 << 30


def main() -> None:
    """Print the table, and put it into the page."""
    rows = [*_overhead(), *_on_features(), *_slow_server()]
    table = [f"Measured on {os.cpu_count()} cores, {_core()}.", "", "| what | figure | wanted |", "|---|---:|---:|"]
    table += [f"| {what} | {figure} | {wanted} |" for what, figure, wanted in rows]
    sizes, rates = _rates()
    table += ["", f"| clips of two seconds per core-second | {' | '.join(sizes)} |", "|---|" + "---:|" * len(sizes)]
    table += [f"| {what} | {' | '.join(f'{rate:.3g}' for rate in each)} |" for what, each in rates.items()]
    text = "\n".join(table)
    print(text, flush=True)
    write_between(PAGE, BEGIN, END, text)


Row = tuple[str, str, str]
"""What, the figure, what is wanted."""


def _overhead() -> Iterator[Row]:
    """An ingest of small clips that are there: all that Dask costs, its client's start too."""
    cores = os.cpu_count() or 1
    with corpus_folder(in_memory(_ROOM_BYTES)) as corpus, DaskProcesses() as dask:
        clip = clip_of(corpus.folder / "x.mp4", 320, 192, 300_000)
        corpus.annotate(write_copies(corpus.clips, grown_to(clip, SMALL_BYTES - 16), SMALL_CLIPS))
        dask.add(threads=cores)
        dask.wait_for(1)
        with _named(dask):
            _ingested(corpus, THREADS)  # both open what they need, and the clips are in memory
            _ingested(corpus, DASK)
            turns = [(_ingested(corpus, DASK), _ingested(corpus, THREADS)) for _ in range(TURNS)]
    ratio = statistics.median(on_dask / on_threads for on_dask, on_threads in turns)
    rate = SMALL_CLIPS / statistics.median(on_dask for on_dask, _ in turns)
    what = f"ingest of {SMALL_CLIPS} clips of {SMALL_BYTES // 1000} kB on one worker process, time over that of threads"
    yield what, f"{ratio:.2f} × ({rate:.0f} clips/s)", f"≤ {OVERHEAD} ×"


def _on_features() -> Iterator[Row]:
    """Measuring on a worker process of one thread, against two; a worker and its child processes have a core each."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        print("left out: two workers on features (one core)")
        return
    with corpus_folder() as corpus, DaskProcesses() as one, DaskProcesses() as two:
        clip = clip_of(corpus.folder / "x.mp4", 640, 360, 1_000_000, seconds=2)
        names = write_copies(corpus.clips, clip, MEASURED_CLIPS)
        todo = [_to_measure(corpus.clips / name) for name in names]
        for core, dask in ((0, one), (0, two), (1, two)):
            dask.add(cores={cores[core]})
        rates: dict[int, list[float]] = {1: [], 2: []}
        for turn in range(TURNS + 1):
            for count, dask in ((1, one), (2, two)):
                dask.wait_for(count)
                with _named(dask), DASK.open(1) as executor:
                    begun = time.perf_counter()
                    _measure(todo, ClipExtractor(), executor, corpus.folder)
                if turn:  # at first every process finds its tools
                    rates[count].append(MEASURED_CLIPS / (time.perf_counter() - begun))
    ratio = statistics.median(both / alone for alone, both in zip(rates[1], rates[2], strict=True))
    what = f"features of {MEASURED_CLIPS} clips of 640×360, two worker processes of one thread against one"
    yield what, f"{ratio:.2f} × ({statistics.median(rates[2]):.2f} clips/s)", f"≥ {TWO_WORKERS} ×"


def _slow_server() -> Iterator[Row]:
    """Fetching and hashing from a server that gives each connection little: so many workers, so many connections."""
    if absent("nginx", "nginx-light"):
        return
    with corpus_folder() as corpus, DaskProcesses() as dask:
        served = corpus.root.path / "served"
        served.mkdir()
        names = write_copies(served, grown_to(clip_of(served / "x.mp4", 160, 96, 60_000), SLOW_BYTES), SLOW_CLIPS)
        with nginx(served) as address, _named(dask):
            seconds: dict[int, float] = {}
            for workers in SLOW_WORKERS:
                while len(dask.workers) < workers:
                    dask.add()
                dask.wait_for(workers)
                _fetched(corpus, names[:workers], address, per_host=workers)  # new ones find what they need
                seconds[workers] = _fetched(corpus, names, f"{address}slow/", per_host=SLOW_WORKERS[-1])
            bounded = _fetched(corpus, names, f"{address}slow/", per_host=4)
    clips = f"{SLOW_CLIPS} clips of {SLOW_BYTES // 1000} kB at {SLOW_KB_PER_S} kB/s a connection"
    for workers in SLOW_WORKERS[1:]:
        ratio = seconds[1] / seconds[workers]
        yield f"{clips}, {workers} workers against one", f"{ratio:.2f} ×", f"≥ {LINEAR * workers:.1f} ×"
    yield f"the same, {SLOW_WORKERS[-1]} workers with `per_host` 4", f"{seconds[1] / bounded:.2f} ×", "≤ 4 ×"


def _rates() -> tuple[list[str], dict[str, list[float]]]:
    """The sizes, and of each what a core fetches and hashes, probes, and measures in a second, the decode included."""
    sizes, rates = list[str](), dict[str, list[float]]()
    with corpus_folder(in_memory(_ROOM_BYTES)) as corpus:
        backbone = add_backbone(export_onnx(corpus.folder / "b.onnx"), corpus.folder / "backbones", FACTS)
        further = (backbone_family(backbone, "cpu"),)
        extractor = ClipExtractor(perceptual_hash=True, further=further)
        for name, (width, height, bits_per_s) in RATED.items():
            folder = corpus.root.path / f"{width}"
            folder.mkdir()
            clip = clip_of(folder / "x.mp4", width, height, bits_per_s, seconds=2)
            sizes.append(f"{name}, {len(clip) / 1e6:.1f} MB")
            names = write_copies(folder, clip, RATED_CLIPS)
            if not absent("nginx", "nginx-light"):
                with nginx(folder) as address:
                    fetched = measured(lambda f=folder, a=address, n=names: _fetch(f, a, n))[1]  # type: ignore[misc]
                rates.setdefault("fetch and hash", []).append(RATED_CLIPS / fetched)
            probed = measured(lambda f=folder, n=names: _probe(f, n))[1]  # type: ignore[misc]
            rates.setdefault("probe", []).append(RATED_CLIPS / probed)
            for chosen in [[family.name] for family in extractor.families] + [[f.name for f in extractor.families]]:
                what = f"`{chosen[0]}`" if len(chosen) == 1 else "all of them in one decode"
                extractor.measure(folder / names[0], families=chosen)  # opens what it needs
                seconds = [
                    measured(lambda p=folder / one, c=chosen: extractor.measure(p, families=c))[1]  # type: ignore[misc]
                    for one in names[:RATED_MEASURED]
                ]
                rates.setdefault(what, []).append(len(seconds) / sum(seconds))
    return sizes, rates


def _fetch(folder: Path, address: str, names: Sequence[str]) -> None:
    downloader, stop = LibcurlDownloader(), threading.Event()
    for name in names:
        downloader.fetch(address + name, folder / "fetched.part", DownloadLimits(), stop)
    downloader.close()


def _probe(folder: Path, names: Sequence[str]) -> None:
    prober = PyAvProber()
    for name in names:
        prober.probe(folder / name, 60)
    prober.close()  # whose processes' time counts once they have ended


def _to_measure(path: Path) -> ClipToMeasure:
    return ClipToMeasure(path.name, path, hash_file(path, threading.Event()).sha256)


def _measure(todo: Sequence[ClipToMeasure], extractor: ClipExtractor, executor: Executor, folder: Path) -> None:
    path = folder / "cache.sqlite"
    with FeatureCache(path) as cache:
        _, report = extract_features(todo, extractor, executor, cache, MeasuringRun(4, threading.Event()))
    path.unlink()
    if report.measured != len(todo):
        raise RuntimeError(str(report.failed))


def _ingested(corpus: CorpusFolder, pool: ClipPoolResource, prober: Any = None, **settings: Any) -> float:
    """Seconds of an ingest that begins with nothing known."""
    corpus.forget()
    resolved = resolve(CORPUS, {"min_rows": 1, **settings}, corpus.root.ingest_toml(CORPUS))
    services = Services(prober or ProberResource(), DownloaderResource(), pool)
    begun = time.perf_counter()
    report = ingest_corpus(CORPUS, resolved, services, RunContext(corpus.root, {}, Path(__file__))).report
    seconds = time.perf_counter() - begun
    if report.written != report.rows_in:
        raise RuntimeError(report.reasons())
    return seconds


def _fetched(corpus: CorpusFolder, names: Sequence[str], address: str, per_host: int) -> float:
    """Seconds of an ingest on Dask that fetches every clip, without the probe, whose processes want a core each."""
    for path in corpus.clips.iterdir():
        path.unlink()
    corpus.annotate(names, address)
    return _ingested(corpus, DASK, NoProber(), per_host=per_host)


@contextmanager
def _named(dask: DaskProcesses) -> Iterator[None]:
    """The environment names this scheduler."""
    before = {name: os.environ.pop(name, None) for name in (ADDRESS, CLUSTER)}
    os.environ[ADDRESS] = dask.address
    try:
        yield
    finally:
        os.environ.pop(ADDRESS)
        os.environ.update({name: value for name, value in before.items() if value is not None})


def _core() -> str:
    """What kind of core this is, by the system's word."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "of unknown kind")
