"""What travels to a worker, and how a worker's process opens, stops and closes the tools that it reads clips with."""

import json
import multiprocessing
import pickle
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from vqa_assets.clips.downloading import DownloadLimits
from vqa_assets.clips.hashing import ClipBytes
from vqa_assets.clips.probing import PyAvProber
from vqa_assets.clips.work import PassCounts, StoppedError, unobserved
from vqa_assets.corpora.raw_video import RawVideo
from vqa_assets.errors import IngestError, SettingsError
from vqa_assets.ingest import gather
from vqa_assets.ingest.clip_task import ClipLimits, ClipOutcome, ClipState, ClipTask, read_clips
from vqa_assets.ingest.tools import (
    ClipTools,
    DownloaderDescription,
    Prober,
    ProberDescription,
    close_run,
    open_tools,
    stop_run,
    tools_of_run,
)
from vqa_assets.resources.downloader import DownloaderResource
from vqa_assets.resources.prober import ProberResource
from vqa_assets.tables.paths import DataRoot
from vqa_assets_tests.shared.clips import tiny_clips
from vqa_assets_tests.shared.fakes import FakeDownloader, FakeProber, SmallCorpus
from vqa_assets_tests.shared.hostile_server import HostileServer, gives

pytestmark = pytest.mark.usefixtures("no_proxy")
LIMITS = ClipLimits(DownloadLimits(), probe_timeout_s=20.0)
DESCRIBED = ClipTools(ProberDescription(), DownloaderDescription())


# What travels


def test_tools_limits_and_tasks_arrive_as_they_left() -> None:
    raw = RawVideo(width=64, height=48, pix_fmt="yuv420p", framerate=25.0)
    task = ClipTask("a.yuv", Path("/clips/a.yuv"), "http://127.0.0.1/a.yuv", raw, "h264")
    for record in (DESCRIBED, LIMITS, task, read_clips):
        assert pickle.loads(pickle.dumps(record)) == record
        assert hash(pickle.loads(pickle.dumps(record))) == hash(record)


def test_every_run_has_tools_of_its_own() -> None:
    assert ClipTools(ProberDescription(), DownloaderDescription()).run_id != DESCRIBED.run_id


def test_a_resource_travels_as_the_description_of_its_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FFPROBE_BIN", "/opt/ffprobe")
    monkeypatch.delenv("CURL_BIN", raising=False)
    tools = ClipTools.of(ProberResource(), DownloaderResource())
    assert (tools.prober, tools.downloader) == (ProberDescription("/opt/ffprobe"), DownloaderDescription())
    assert ClipTools.of(ProberResource(implementation="pyav"), DownloaderResource()).prober == ProberDescription()
    with pytest.raises(SettingsError, match="one of auto, pyav, ffprobe"):
        ClipTools.of(ProberResource(implementation="gstreamer"), DownloaderResource())


def test_a_tool_that_describes_nothing_is_its_own() -> None:
    prober, downloader = FakeProber(), FakeDownloader()
    with tools_of_run(ClipTools.of(prober, downloader)) as opened:
        assert opened.prober is prober
        assert opened.downloader is downloader


# Other processes


@dataclass
class OtherProcesses:
    """A clip pool of processes that are started afresh: nothing of this process's memory is there."""

    submitted: list[bytes] = field(default_factory=list)

    @contextmanager
    def open(self, workers: int) -> Iterator[Executor]:
        with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as executor:
            really = executor.submit

            def submit(work: Callable[..., Any], *arguments: Any) -> "Future[Any]":
                self.submitted.append(pickle.dumps((work, arguments)))
                return really(work, *arguments)

            executor.submit = submit  # type: ignore[method-assign, assignment]
            yield executor


@pytest.mark.parametrize("per_chunk", [1, 5])
def test_workers_in_other_processes_give_the_same_bytes_as_threads(
    tmp_path: Path, server: HostileServer, monkeypatch: pytest.MonkeyPatch, per_chunk: int
) -> None:
    monkeypatch.setattr(gather, "TASKS_PER_CHUNK", per_chunk)
    monkeypatch.setattr("vqa_assets.ingest.run.utc_text", lambda: "2026-01-01T00:00:00+00:00")
    bodies = tiny_clips(tmp_path / "made", 8)
    staged, served = dict(list(bodies.items())[:4]), dict(list(bodies.items())[4:])
    rows = [(name, "", 3, 0.5, 5) for name in (*staged, "torn.mp4", "nowhere.mp4")]
    rows += [(name, server.on(f"/{name}", gives(body)), 2, 0.5, 5) for name, body in served.items()]
    rows.append(("gone.mp4", server.url("/gone.mp4"), 2, 0.5, 5))
    results = {}
    processes = OtherProcesses()
    for place, pool in (("threads", None), ("processes", processes)):
        (tmp_path / place).mkdir()
        corpus = SmallCorpus(DataRoot(tmp_path / place), prober=ProberResource(), downloader=DownloaderResource())
        corpus.pool = pool or corpus.pool
        corpus.annotate(rows)
        for name, body in staged.items():
            corpus.stage(name, body)
        corpus.stage("torn.mp4", bodies["0000.mp4"][:900])
        report = corpus.ingest().report
        files = (corpus.root.corpus_jsonl(corpus.corpus), corpus.folder / "konvid_150k.losses.jsonl")
        fetched = {path.name: path.read_bytes() for path in (corpus.folder / "clips").iterdir()}
        results[place] = ([path.read_bytes() for path in files], report.counters(), corpus.progress(), fetched)
    assert results["threads"] == results["processes"]
    assert results["processes"][1]["written"] == 8
    assert len(processes.submitted) == -(-10 // per_chunk)


def test_an_interrupt_drops_what_other_processes_have_not_begun_and_keeps_what_they_did(
    corpus: SmallCorpus, server: HostileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vqa_assets.clips.work.OBSERVED_EVERY_S", 0.0)

    def interrupt(counts: PassCounts) -> None:
        if counts.done:
            raise KeyboardInterrupt

    bodies = tiny_clips(tmp_path / "made", 30)
    corpus.annotate([(n, server.on(f"/{n}", gives(body, after_s=0.2)), 3, 0.5, 5) for n, body in bodies.items()])
    corpus.prober, corpus.downloader, corpus.pool = ProberResource(), DownloaderResource(), OtherProcesses()
    corpus.observe = interrupt
    with pytest.raises(KeyboardInterrupt):
        corpus.ingest()
    assert server.requests.total() < 15
    kept = set(corpus.progress())
    assert kept
    server.requests.clear()
    corpus.observe = unobserved
    assert corpus.ingest().report.written == 30
    assert kept.isdisjoint(path.lstrip("/") for path in server.requests)


# Open, stop, close


@dataclass(frozen=True)
class CountedDescription:
    """Describes a ``FakeProber`` and counts, for the process, how many were opened and closed."""

    name: str = "counted"

    def open_tool(self) -> Prober:
        EVENTS["opened"] += 1

        class Counted(FakeProber):
            def close(self) -> None:
                EVENTS["closed"] += 1

        return Counted()


EVENTS: Counter[str] = Counter()


@dataclass(frozen=True)
class Counting:
    """A resource that describes such a prober."""

    def describe_tool(self) -> CountedDescription:
        return CountedDescription()


def test_a_described_tool_is_opened_once_for_all_threads_and_closed_when_the_run_ends(corpus: SmallCorpus) -> None:
    EVENTS.clear()
    corpus.prober = Counting()
    corpus.annotate([(f"{i}.mp4", "", 3, 0.5, 5) for i in range(40)])
    for i in range(40):
        corpus.stage(f"{i}.mp4", bytes([i]))
    assert corpus.ingest(workers=4).report.written == 40
    assert EVENTS == {"opened": 1, "closed": 1}
    corpus.ingest()
    assert EVENTS == {"opened": 1, "closed": 1}, "where there is nothing to read, no tool is opened"
    corpus.ingest(rescan=True)
    assert EVENTS == {"opened": 2, "closed": 2}


def test_an_open_tool_is_its_owners_to_close(corpus: SmallCorpus) -> None:
    class Owned(FakeProber):
        def close(self) -> None:
            pytest.fail("closed by the run")

    corpus.prober = Owned()
    corpus.annotate([("a.mp4", "", 3, 0.5, 5)])
    corpus.stage("a.mp4", b"a")
    assert corpus.ingest().report.written == 1


class Hanging(FakeDownloader):
    """Hangs on ``/hang`` until it is stopped."""

    begun = threading.Event()

    def fetch(self, url: str, part: Path, limits: DownloadLimits, stop: threading.Event) -> ClipBytes:
        if url.endswith("/hang"):
            self.begun.set()
            assert stop.wait(20)
            raise StoppedError
        return super().fetch(url, part, limits, stop)


def test_a_stop_by_the_runs_name_reaches_a_chunk_and_what_was_read_of_it_is_not_lost(tmp_path: Path) -> None:
    tools = ClipTools(FakeProber(), Hanging({"http://x/a": b"a"}))
    tasks = [ClipTask(name, tmp_path / name, f"http://x/{name}") for name in ("a", "hang", "never")]
    with ThreadPoolExecutor(1) as executor:
        chunk = executor.submit(read_clips, tools, LIMITS, tasks)
        assert Hanging.begun.wait(10)
        stop_run(tools.run_id)
        first, second = chunk.result(10)
        assert isinstance(first, ClipOutcome)
        assert first.state is ClipState.READ
        assert isinstance(second, StoppedError)
        (late,) = executor.submit(read_clips, tools, LIMITS, tasks[:1]).result(10)
        assert isinstance(late, StoppedError), "a chunk that comes after the stop does not begin"
    close_run(tools.run_id)
    stop_run(tools.run_id)  # of a run that is not known here: nothing to stop


def test_a_stop_ends_a_probe_under_way(tmp_path: Path) -> None:
    asked, script = tmp_path / "asked", tmp_path / "slow.py"
    script.write_text(
        "import pathlib, time\n"
        "from vqa_assets.clips import probing, processes\n"
        f"probing.probe_here = lambda _: (pathlib.Path({str(asked)!r}).touch(), time.sleep(60))\n"
        "processes.serve()\n"
    )
    prober = PyAvProber((sys.executable, str(script)))
    (body,) = tiny_clips(tmp_path / "made", 1).values()
    (tmp_path / "a.mp4").write_bytes(body)
    tools = ClipTools(prober, FakeDownloader())
    with ThreadPoolExecutor(1) as executor, tools_of_run(tools):
        chunk = executor.submit(read_clips, tools, LIMITS, [ClipTask("a.mp4", tmp_path / "a.mp4", "")])
        while not asked.exists():
            assert not chunk.done()
            time.sleep(0.01)
        stop_run(tools.run_id)
        (result,) = chunk.result(10)
    assert isinstance(result, StoppedError)


def test_a_forked_process_opens_tools_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    EVENTS.clear()
    tools = ClipTools(CountedDescription(), FakeDownloader())
    with tools_of_run(tools) as parents:
        monkeypatch.setattr("vqa_assets.ingest.tools.os.getpid", lambda: -1)
        assert open_tools(tools).prober is not parents.prober
        close_run(tools.run_id)
        monkeypatch.undo()
        assert open_tools(tools) is parents
    assert EVENTS == {"opened": 2, "closed": 2}


def test_where_a_clip_ends_the_run_the_others_of_its_chunk_are_kept(
    corpus: SmallCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gather, "TASKS_PER_CHUNK", 4)
    bodies: dict[str, bytes | Exception] = {f"http://x/{i}": bytes([i]) for i in range(4)}
    bodies["http://x/2"] = IngestError("cannot write", found="disk full")
    corpus.downloader = FakeDownloader(bodies)
    corpus.annotate([(f"{i}.mp4", f"http://x/{i}", 3, 0.5, 5) for i in range(4)])
    with pytest.raises(IngestError, match="cannot write: disk full"):
        corpus.ingest()
    assert set(corpus.progress()) == {"0.mp4", "1.mp4"}
    bodies["http://x/2"] = b"2"
    assert corpus.ingest().report.written == 4
    assert corpus.downloader.fetched == {"http://x/0": 1, "http://x/1": 1, "http://x/2": 2, "http://x/3": 1}
    assert [json.loads(line)["src"] for line in corpus.lines()] == [f"{i}.mp4" for i in range(4)]
