"""The machine's trouble is not the clip's, and a clip that is too large is no broken one: no row is lost to either."""

import errno
import os
import sys
from collections import Counter
from pathlib import Path
from threading import Event

import pytest

from vqa_assets.clips.geometry import Geometry
from vqa_assets.clips.hashing import HashedFile, StampedHash, hash_as_opened
from vqa_assets.clips.probing import PyAvProber
from vqa_assets.clips.trouble import MACHINES, Deaths
from vqa_assets.errors import ChildDiedError, IngestError
from vqa_assets.ingest.cache import IngestCache
from vqa_assets.ingest.fakes import FakeDownloader, FakeProber
from vqa_assets.ingest.rehearsal import rehearse
from vqa_assets.ingest.rows import IngestReport
from vqa_assets.ingest.settings import resolve
from vqa_assets.ingest.tools import ProberDescription
from vqa_assets.overview import status_of
from vqa_assets.resources.prober import ProberResource
from vqa_assets.tables.paths import DataRoot
from vqa_assets_tests.shared.clips import tiny_clip
from vqa_assets_tests.shared.fakes import KONVID, SmallCorpus

NAMES = ("a.mp4", "b.mp4")
BOTH = [(name, "", 3, 0.5, 5) for name in NAMES]


@pytest.fixture
def corpus(root_path: Path) -> SmallCorpus:
    small = SmallCorpus(DataRoot(root_path))
    small.annotate(BOTH)
    for name in NAMES:
        small.stage(name, name.encode())
    return small


class Troubled(FakeProber):
    """A prober that ``a.mp4`` is too much for, so many times."""

    def __init__(self, trouble: Exception, times: int = 99) -> None:
        super().__init__()
        self.trouble, self.left = trouble, times

    def probe(self, path: Path, timeout_s: float) -> Geometry:
        if path.name.startswith("a.mp4") and self.left > 0:
            self.left -= 1
            self.probed[path.name] += 1
            raise self.trouble
        return super().probe(path, timeout_s)


def os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def counted(report: IngestReport) -> dict[str, int]:
    """The counters that are not zero, of rows alone."""
    told = ("read_clips", "read_bytes", "fetched_clips", "fetched_bytes")
    return {name: value for name, value in report.counters().items() if value and name not in told}


# The disk, memory, descriptors


@pytest.mark.parametrize("number", MACHINES, ids=errno.errorcode.get)
def test_what_the_machine_refuses_once_is_tried_again(corpus: SmallCorpus, number: int) -> None:
    corpus.prober = Troubled(os_error(number), times=1)
    assert counted(corpus.ingest().report) == {"rows_in": 2, "rows_out": 2, "written": 2}
    assert corpus.prober.probed["a.mp4"] == 2


@pytest.mark.parametrize("number", MACHINES, ids=errno.errorcode.get)
def test_what_the_machine_refuses_costs_no_row_and_is_asked_again(corpus: SmallCorpus, number: int) -> None:
    good, corpus.prober = corpus.prober, Troubled(os_error(number))
    report = corpus.ingest().report
    assert counted(report) == {"rows_in": 2, "rows_out": 1, "written": 1, "skipped_probe": 1}
    assert (report.attrition, report.withdrawn) == (0.0, [])
    assert report.losses[0].reason == f"the clip is there and cannot be read: {os.strerror(number)}"
    corpus.prober = good
    assert counted(corpus.ingest().report) == {"rows_in": 2, "rows_out": 2, "written": 1, "unchanged": 1}
    before = corpus.lines()
    corpus.prober = Troubled(os_error(number))
    report = corpus.ingest(rescan=True, prune=True).report
    assert counted(report) == {"rows_in": 2, "rows_out": 2, "unchanged": 1, "retained_unavailable": 1}
    assert (report.withdrawn, [held.src for held in report.held]) == ([], ["a.mp4"])
    assert corpus.lines() == before


@pytest.mark.parametrize("times", [1, 99])
def test_a_clip_whose_bytes_the_disk_does_not_give_is_tried_again(
    corpus: SmallCorpus, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    left = [times]

    def failing(path: Path, stop: Event, known: StampedHash | None = None) -> HashedFile:
        if path.name == "a.mp4" and left[0] > 0:
            left[0] -= 1
            raise os_error(errno.EIO)
        return hash_as_opened(path, stop, known)

    monkeypatch.setattr("vqa_assets.clips.hashing.hash_as_opened", failing)
    report = corpus.ingest().report
    assert (report.written, report.skipped_probe) == ((2, 0) if times == 1 else (1, 1))


def test_a_clip_without_rights_is_there_and_no_attrition(corpus: SmallCorpus) -> None:
    loop = corpus.folder / "clips" / "a.mp4"
    loop.unlink()
    loop.symlink_to("a.mp4")  # which not even root can open
    report = corpus.ingest().report
    assert (counted(report)["skipped_probe"], report.attrition) == (1, 0.0)


def test_a_clip_that_was_fetched_and_could_not_be_probed_is_fetched_again(corpus: SmallCorpus) -> None:
    body = b"as the server has it"
    corpus.annotate([("a.mp4", "http://x/a", 3, 0.5, 5), BOTH[1]])
    (corpus.folder / "clips" / "a.mp4").unlink()
    corpus.downloader = FakeDownloader({"http://x/a": body})
    good, corpus.prober = corpus.prober, Troubled(os_error(errno.ENOMEM))
    report = corpus.ingest().report
    assert (report.written, report.skipped_probe, report.attrition) == (1, 1, 0.0)
    assert [path.name for path in (corpus.folder / "clips").iterdir()] == ["b.mp4"]
    assert "a.mp4" not in corpus.progress()
    corpus.prober = good
    assert corpus.ingest().report.written == 1


def test_a_rehearsal_and_the_status_tell_what_could_not_be_read(corpus: SmallCorpus) -> None:
    corpus.prober = Troubled(os_error(errno.EMFILE))
    from vqa_assets.clips.work import ThreadClipPool
    from vqa_assets.ingest.gather import Services

    resolved = resolve(KONVID, {"min_rows": 1}, corpus.root.ingest_toml(KONVID))
    services = Services(corpus.prober, corpus.downloader, ThreadClipPool())
    told = rehearse(KONVID, resolved, services, corpus.root, read=True)
    assert told.counters["skipped_probe"] == 1
    assert "1 skipped_probe" in "\n".join(told.lines())
    corpus.ingest()
    found = status_of(KONVID, corpus.root)
    assert found.lost == {"skipped_probe": 1}
    assert found.next_step.startswith("correct what kept clips from being read")


# Processes that die over a clip

KILLED = ChildDiedError("the probe was killed (signal 9)", crashed=False, memory_bytes=1_234_000_000)
CRASHED = ChildDiedError("the probe crashed on it (signal 11), or was killed", crashed=True)


def deaths(corpus: SmallCorpus) -> dict[str, tuple[int, int]]:
    with IngestCache(corpus.folder / ".ingest-cache.sqlite") as cache:
        return {name: (one.crashes, one.killed_runs) for name, one in cache.deaths().items()}


def test_a_clip_whose_process_is_killed_in_three_runs_is_broken_with_the_memory_it_took(corpus: SmallCorpus) -> None:
    corpus.ingest()
    corpus.prober = Troubled(KILLED)
    for run in (1, 2):
        report = corpus.ingest(rescan=True).report
        assert (report.retained_unavailable, report.skipped_broken, report.withdrawn) == (1, 0, [])
        assert deaths(corpus) == {"a.mp4": (0, run)}
    report = corpus.ingest(rescan=True).report
    assert (report.skipped_broken, report.withdrawn) == (1, ["a.mp4"])
    assert report.losses[0].src == "a.mp4"
    assert report.losses[0].reason == "the probe was killed in 3 runs, at last with 1234 MB"
    assert deaths(corpus) == {}
    assert corpus.ingest().report.read_clips == 0, "it is remembered as broken"


def test_a_crash_is_remembered_and_the_second_one_is_the_clips(corpus: SmallCorpus) -> None:
    corpus.prober = Troubled(CRASHED)
    assert corpus.ingest().report.skipped_probe == 1
    assert deaths(corpus) == {"a.mp4": (1, 0)}
    report = corpus.ingest().report
    assert (report.skipped_broken, report.losses[0].reason) == (1, "the probe crashed on it 2 times")


def test_a_clip_that_is_read_after_all_or_has_other_bytes_begins_anew(corpus: SmallCorpus) -> None:
    good, corpus.prober = corpus.prober, Troubled(KILLED)
    for _ in range(2):
        corpus.ingest()
    corpus.stage("a.mp4", b"other bytes")
    assert corpus.ingest().report.skipped_probe == 1
    assert deaths(corpus) == {"a.mp4": (0, 1)}
    corpus.prober = good
    assert corpus.ingest().report.written == 1
    assert deaths(corpus) == {}


def test_deaths_come_back_from_the_cache_as_they_were_put(tmp_path: Path) -> None:
    one = Deaths("ab" * 32, crashes=1, killed_runs=2, memory_bytes=3)
    with IngestCache(tmp_path / "cache") as cache:
        cache.put_deaths({"a.mp4": one, "b.mp4": one})
        cache.put_deaths({"b.mp4": None})
    with IngestCache(tmp_path / "cache") as cache:
        assert cache.deaths() == {"a.mp4": one}


def test_a_real_crash_twice_is_broken_by_name_and_once_is_none(root_path: Path, tmp_path: Path) -> None:
    small = SmallCorpus(DataRoot(root_path))
    for seed, name in enumerate(("always.mp4", "once.mp4", "never.mp4")):
        small.stage(name, tiny_clip(tmp_path / name, seed))
    small.annotate([(name, "", 3, 0.5, 5) for name in ("always.mp4", "once.mp4", "never.mp4")])
    script = tmp_path / "worker.py"
    script.write_text(
        "import os, pathlib, signal\n"
        "from vqa_assets.clips import probing, processes\n"
        "really = probing.probe_here\n"
        "def answer(task):\n"
        f"    flag = pathlib.Path({os.fspath(tmp_path)!r}, 'crashed')\n"
        "    if 'always' in task.path or ('once' in task.path and not flag.exists()):\n"
        "        flag.touch()\n"
        "        os.kill(os.getpid(), signal.SIGSEGV)\n"
        "    return really(task)\n"
        "probing.probe_here = answer\n"
        "processes.serve()\n"
    )
    # In one thread, so that ``once`` is the first.
    small.annotate([(name, "", 3, 0.5, 5) for name in ("once.mp4", "always.mp4", "never.mp4")])
    small.prober = PyAvProber((sys.executable, str(script)))
    report = small.ingest(workers=1).report
    small.prober.close()
    assert (report.written, report.skipped_broken, report.skipped_probe) == (2, 1, 0)
    assert [(loss.src, loss.reason) for loss in report.losses] == [
        ("always.mp4", "the probe crashes on it (signal 11)")
    ]


# Caps


@pytest.fixture
def clips(root_path: Path, tmp_path: Path) -> SmallCorpus:
    """Two real clips of 64×48, five and ten frames at 25 a second, with the prober of a real run."""
    small = SmallCorpus(DataRoot(root_path), prober=ProberResource())
    small.annotate(BOTH)
    for seed, name in enumerate(NAMES):
        small.stage(name, tiny_clip(tmp_path / name, seed, frames=5 * (seed + 1)))
    return small


OVER = {
    "max_duration_s": (0.3, "too large: 0.4 s, at most 0.3 (max_duration_s)"),
    "max_frames": (9, "too large: 10 frames, at most 9 (max_frames)"),
}


@pytest.mark.parametrize("cap", OVER)
def test_a_clip_over_a_cap_has_no_row_until_the_setting_changes(clips: SmallCorpus, cap: str) -> None:
    value, reason = OVER[cap]
    report = clips.ingest(**{cap: value}).report
    assert counted(report) == {"rows_in": 2, "rows_out": 1, "written": 1, "skipped_too_large": 1}
    assert [(loss.src, loss.reason) for loss in report.losses] == [("b.mp4", reason)]
    assert status_of(KONVID, clips.root).lost == {"skipped_too_large": 1}
    assert counted(clips.ingest().report) == {"rows_in": 2, "rows_out": 2, "written": 1, "unchanged": 1}
    before = clips.lines()
    report = clips.ingest(**{cap: value}, prune=True).report
    assert counted(report) == {"rows_in": 2, "rows_out": 2, "unchanged": 1, "retained_unavailable": 1}
    assert (report.read_clips, clips.lines()) == (0, before)
    assert [(held.src, held.reason) for held in report.held] == [("b.mp4", reason)]


def test_pixels_and_memory_have_caps_too(clips: SmallCorpus) -> None:
    report = clips.ingest(max_pixels=64 * 48 - 1).report
    assert (report.skipped_too_large, report.rows_out) == (2, 0)
    assert report.losses[0].reason == "too large: 64×48 are 3072 pixels, at most 3071 (max_pixels)"
    with pytest.raises(IngestError, match=r"2 × too large\), the first: .* at most 3071 \(max_pixels\).*raise the cap"):
        clips.ingest(max_pixels=64 * 48 - 1, allow_empty=False)
    wide = Geometry(1920, 1080, 25.0, 1.0, "yuv420p10le", "h264")
    clips.prober = type("Wide", (FakeProber,), {"probe": lambda *_: wide})()
    report = clips.ingest(memory_budget=100_000_000).report
    assert (report.skipped_too_large, report.losses[0].reason) == (
        2,
        "too large: decoding takes about 124 MB, at most 100 MB (memory_budget)",
    )
    assert clips.ingest(memory_budget=200_000_000).report.written == 2


def test_a_header_that_promises_too_much_is_believed_before_anything_is_decoded(
    clips: SmallCorpus, tmp_path: Path
) -> None:
    clips.stage("a.mp4", as_wide_as(clips.folder / "clips" / "a.mp4", 60_000))
    report = clips.ingest().report
    assert (report.written, report.skipped_too_large) == (1, 1)
    assert report.losses[0].reason.startswith("too large: 60000×60000 are 3600000000 pixels, at most 33177600")
    (clips.folder / "ingest.toml").write_text("max_pixels = 4_000_000_000\nmemory_budget = 1_000_000_000_000\n")
    assert clips.ingest().report.skipped_too_large == 0


def as_wide_as(path: Path, side: int) -> bytes:
    """A clip whose MP4 header says that its pictures are squares of that side."""
    data = bytearray(path.read_bytes())
    size_at = data.index(b"avc1", data.index(b"stsd")) + 4 + 24  # ISO/IEC 14496-12, 12.1.3
    data[size_at : size_at + 4] = side.to_bytes(2) * 2
    return bytes(data)


def test_a_clip_that_was_fetched_and_is_too_large_is_kept_and_not_fetched_again(clips: SmallCorpus) -> None:
    path = clips.folder / "clips" / "b.mp4"
    body = path.read_bytes()
    path.unlink()
    clips.annotate([BOTH[0], ("b.mp4", "http://x/b", 3, 0.5, 5)])
    clips.downloader = FakeDownloader({"http://x/b": body})
    for _ in range(2):
        report = clips.ingest(max_frames=9).report
        assert (report.skipped_too_large, report.attrition, path.read_bytes()) == (1, 0.0, body)
    assert clips.ingest().report.rows_out == 2
    assert clips.downloader.fetched == Counter({"http://x/b": 1})


def test_the_caps_of_a_run_reach_the_prober_of_its_workers(clips: SmallCorpus) -> None:
    from vqa_assets.clips.caps import ClipCaps
    from vqa_assets.ingest.tools import ClipTools

    caps = ClipCaps(max_pixels=7)
    assert ClipTools.of(ProberResource(), FakeDownloader(), caps).prober == ProberDescription(caps=caps)


def test_a_link_made_after_a_run_without_clips_is_the_folder_and_one_made_inside_it_is_told(
    root_path: Path, tmp_path: Path
) -> None:
    corpus = SmallCorpus(DataRoot(root_path))
    corpus.annotate([("a.mp4", "", 3, 0.5, 5)])
    with pytest.raises(IngestError, match="every row came to nothing"):
        corpus.ingest(allow_empty=False)
    clips, elsewhere = corpus.folder / "clips", tmp_path / "elsewhere"
    assert not clips.exists()  # where the link would go
    elsewhere.mkdir()
    (elsewhere / "a.mp4").write_bytes(b"a")
    clips.mkdir()
    (clips / "elsewhere").symlink_to(elsewhere)
    with pytest.raises(IngestError, match=f"make {clips} itself the link that {clips / 'elsewhere'} is"):
        corpus.ingest(allow_empty=False)
    (clips / "elsewhere").unlink()
    clips.rmdir()
    clips.symlink_to(elsewhere)
    assert counted(corpus.ingest().report) == {"rows_in": 1, "rows_out": 1, "written": 1}
