"""What the ingest cache says of a clip is true of its bytes: while somebody writes them, and after a power cut."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from vqa_assets.clips.geometry import Geometry
from vqa_assets.errors import BrokenClipError
from vqa_assets.ingest.cache import IngestCache
from vqa_assets.ingest.fakes import FakeDownloader, FakeProber
from vqa_assets.tables.paths import DataRoot
from vqa_assets_tests.shared.clips import sha256_of
from vqa_assets_tests.shared.fakes import SmallCorpus

URL = "http://corpus.example/a.mp4"
WHOLE = b"a whole clip"


@dataclass
class WriterBeside(FakeProber):
    """A prober while whose probe somebody writes to the clip."""

    write: Callable[[Path, int], None] = lambda path, probes: None
    probes: int = 0

    def probe(self, path: Path, timeout_s: float) -> Geometry:
        self.probes += 1
        geometry = super().probe(path, timeout_s)
        self.write(path, self.probes)
        return geometry


@pytest.fixture
def corpus(root_path: Path) -> SmallCorpus:
    corpus = SmallCorpus(DataRoot(root_path))
    corpus.annotate([("a.mp4", URL, 3, 0.5, 5), ("b.mp4", "", 4, 0.5, 5)])
    corpus.stage("b.mp4", b"another whole clip")
    return corpus


def test_a_clip_that_is_rewritten_between_its_hash_and_its_probe_is_read_again(corpus: SmallCorpus) -> None:
    path = corpus.stage("a.mp4", WHOLE)

    def write_once(written: Path, probes: int) -> None:
        if written == path and probes <= 2 and written.read_bytes() == WHOLE:
            written.write_bytes(WHOLE.upper())  # of the same size

    corpus.prober = WriterBeside(write=write_once)
    corpus.ingest(workers=1)
    assert corpus.rows()[0]["src_sha256"] == sha256_of(path)
    with IngestCache(corpus.folder / ".ingest-cache.sqlite") as cache:
        assert cache.load()["a.mp4"].sha256 == sha256_of(path)


def test_a_clip_whose_copy_goes_on_is_left_for_the_next_run(corpus: SmallCorpus) -> None:
    path = corpus.stage("a.mp4", WHOLE)

    def write(written: Path, probes: int) -> None:
        if written == path:
            os.utime(written, ns=(probes, probes))

    corpus.prober = WriterBeside(write=write)
    report = corpus.ingest().report
    assert [(loss.src, loss.reason) for loss in report.losses] == [("a.mp4", "changed while it was read")]
    corpus.prober = FakeProber()
    assert corpus.ingest().report.written == 1


def test_a_fetched_clip_is_on_the_disk_before_the_cache_knows_it(
    corpus: SmallCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus.downloader = FakeDownloader({URL: WHOLE})
    happened: list[str] = []
    synced, put_all = os.fsync, IngestCache.put_all

    def fsync(descriptor: int) -> None:
        happened.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        synced(descriptor)

    def put(cache: IngestCache, clips: Any) -> None:
        happened.extend(f"cached {name}" for name in clips)
        put_all(cache, clips)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(IngestCache, "put_all", put)
    corpus.ingest()
    clips = corpus.folder / "clips"
    # First its bytes, under the name that it has while it comes; then the folder, with the name that it keeps.
    assert happened.index(f"{clips}/a.mp4.part") < happened.index(str(clips)) < happened.index("cached a.mp4")


@dataclass
class Lossy:
    """A corpus whose clip was fetched and read, and whose file then lost what a power cut takes."""

    corpus: SmallCorpus
    left: bytes = b""
    line: str = field(init=False)

    def __post_init__(self) -> None:
        self.corpus.downloader = FakeDownloader({URL: WHOLE})
        self.corpus.ingest()
        self.line = self.corpus.lines()[0]
        # An empty file is no clip to any probe; the fake one is told so.
        (self.corpus.folder / "clips" / "a.mp4").write_bytes(self.left)


class RealisticProber(FakeProber):
    """Also refuses what is no longer whole."""

    def probe(self, path: Path, timeout_s: float) -> Geometry:
        if path.stat().st_size < 5:
            raise BrokenClipError("zero bytes" if not path.stat().st_size else "truncated")
        return super().probe(path, timeout_s)


@pytest.mark.parametrize("left", [b"", b"a wh"])
def test_an_empty_or_short_file_where_the_cache_knows_better_is_fetched_again(corpus: SmallCorpus, left: bytes) -> None:
    corpus.prober = RealisticProber()
    lossy = Lossy(corpus, left)
    report = corpus.ingest().report
    assert (report.unchanged, report.fetched_clips) == (2, 1)
    assert corpus.lines()[0] == lossy.line
    assert (corpus.folder / "clips" / "a.mp4").read_bytes() == WHOLE


def test_where_no_server_gives_it_its_row_stays_and_it_is_told(corpus: SmallCorpus) -> None:
    corpus.prober = RealisticProber()
    lossy = Lossy(corpus)
    corpus.annotate([("a.mp4", "", 3, 0.5, 5), ("b.mp4", "", 4, 0.5, 5)])
    report = corpus.ingest().report
    assert (report.retained_unavailable, report.withdrawn) == (1, [])
    assert corpus.lines()[0] == lossy.line
    assert corpus.ingest(prune=True).report.retained_unavailable == 1  # the file is there, whatever is left of it


def test_a_shorter_clip_that_a_person_put_there_is_read_as_it_is(corpus: SmallCorpus) -> None:
    corpus.prober = RealisticProber()
    Lossy(corpus, left=b"shorter")
    corpus.downloader = FakeDownloader()
    report = corpus.ingest().report
    assert (report.written, report.unchanged) == (1, 1)
    assert corpus.rows()[0]["src_size_bytes"] == 7
