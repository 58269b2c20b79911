"""What goes wrong outside the loop, with the real downloaders and prober: what it says, and that nothing is lost."""

import errno
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from vqa_assets.clips.curl import CurlBinaryDownloader
from vqa_assets.clips.downloading import DownloadLimits
from vqa_assets.clips.hashing import ClipBytes
from vqa_assets.clips.libcurl import LibcurlDownloader
from vqa_assets.clips.probing import PyAvProber
from vqa_assets.clips.work import PassCounts
from vqa_assets.errors import IngestError
from vqa_assets.tables.paths import DataRoot
from vqa_assets_tests.clips.test_probing import add_silence
from vqa_assets_tests.shared.clips import tiny_clip, tiny_clips
from vqa_assets_tests.shared.fakes import KONVID, FakeDownloader, FakeProber, SmallCorpus
from vqa_assets_tests.shared.hostile_server import HostileServer, at_first, gives, redirects, resets, says

pytestmark = pytest.mark.usefixtures("no_proxy")

AWKWARD = [
    "a#b.mp4",
    "100%.mp4",
    "%2e%2e.mp4",
    'it\'s "so".mp4',
    "a b.mp4",
    "é–日本.mp4",
    "-rf.mp4",
    "[x]{1-3},*?.mp4",
    "a+b&c=d;e.mp4",
    "n" * 251 + ".mp4",
]


@pytest.fixture
def corpus(root_path: Path) -> Iterator[SmallCorpus]:
    """A corpus that is fetched and probed for real."""
    prober, downloader = PyAvProber(), LibcurlDownloader()
    yield SmallCorpus(DataRoot(root_path), prober=prober, downloader=downloader)
    prober.close()
    downloader.close()


@pytest.fixture(scope="module")
def bodies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return tiny_clips(tmp_path_factory.mktemp("clips"), 12)


def row(name: str, url: str) -> tuple[object, ...]:
    return (name, url, 3, 0.5, 5)


class Once:
    """A downloader that tries nothing again."""

    def __init__(self, downloader: Any) -> None:
        self.downloader = downloader

    def fetch(self, url: str, part: Path, limits: DownloadLimits, stop: threading.Event) -> ClipBytes:
        return self.downloader.fetch(url, part, replace(limits, retries=0), stop)


def told(corpus: SmallCorpus) -> str:
    """Everything that a run leaves in the folder, but for the clips and what a person dropped."""
    files = (path for path in corpus.folder.iterdir() if path.is_file() and path.name != "manifest.csv")
    return "\n".join(path.read_bytes().decode("utf-8", "replace") for path in files)


# The server


def test_an_outage_in_the_middle_of_a_run_costs_no_clip(corpus: SmallCorpus, bodies: dict[str, bytes]) -> None:
    with ThreadPoolExecutor(1) as thread:
        with HostileServer() as first:
            for name, body in bodies.items():
                first.on(f"/{name}", gives(body, after_s=0.1))
            corpus.annotate([row(n, first.url(f"/{n}")) for n in bodies])
            run = thread.submit(corpus.ingest, per_host=2)
            while first.requests.total() < 5:
                time.sleep(0.01)
        time.sleep(1.0)
        with HostileServer(first.behaviours, at_port=first.port) as second:
            report = run.result(60).report
    assert (report.written, report.skipped_download) == (len(bodies), 0)
    assert second.requests.total() >= len(bodies) - 5
    assert set(corpus.progress()) == set(bodies)


def test_a_reset_and_a_busy_server_are_asked_again(
    corpus: SmallCorpus, server: HostileServer, bodies: dict[str, bytes]
) -> None:
    faults = [resets(b"half"), says("503 Busy", Retry_After=0), says("429 Slowly")]
    names = list(bodies)[:3]
    rows = [
        row(name, server.on(f"/{name}", at_first(fault, 1, gives(bodies[name]))))
        for name, fault in zip(names, faults, strict=True)
    ]
    corpus.annotate(rows)
    assert corpus.ingest().report.written == 3


def test_a_server_that_lies_about_a_length_gives_no_row_and_condemns_no_clip(
    server: HostileServer, corpus: SmallCorpus, bodies: dict[str, bytes]
) -> None:
    body, *_ = bodies.values()
    corpus.downloader = Once(corpus.downloader)
    corpus.annotate(
        [
            row("more.mp4", server.on("/more.mp4", gives(body, length=len(body) + 9))),
            row("less.mp4", server.on("/less.mp4", gives(body, length=len(body) - 99))),
        ]
    )
    report = corpus.ingest().report
    assert {loss.src: loss.counter for loss in report.losses} == {
        "more.mp4": "skipped_download",
        "less.mp4": "skipped_download",
    }
    assert [loss.reason for loss in report.losses if loss.src == "less.mp4"] == [
        f"no whole video came: truncated: {len(body) - 99} of at least {len(body)} bytes"
    ]
    assert "more.mp4" not in corpus.progress()
    assert not (corpus.folder / "clips").exists()
    server.on("/more.mp4", gives(body))
    assert corpus.ingest().report.written == 1


def test_a_redirect_to_another_scheme_fails_that_clip_for_good(
    corpus: SmallCorpus, server: HostileServer, bodies: dict[str, bytes]
) -> None:
    (good, body), *_ = bodies.items()
    corpus.annotate(
        [
            row(good, server.on(f"/{good}", gives(body))),
            row("a.mp4", server.on("/a.mp4", redirects("file:///etc/hostname"))),
            row("b.mp4", server.on("/b.mp4", redirects("ftp://127.0.0.1/b.mp4"))),
        ]
    )
    report = corpus.ingest().report
    assert (report.written, report.skipped_download) == (1, 2)
    progress = corpus.progress()
    assert {name: entry["state"] for name, entry in progress.items()} == {
        good: "done",
        "a.mp4": "failed",
        "b.mp4": "failed",
    }
    assert progress["a.mp4"]["reason"].startswith("curl-rc=1: ")
    assert sorted(path.name for path in (corpus.folder / "clips").iterdir()) == [good]


def test_credentials_are_in_nothing_that_a_run_writes_or_logs(
    corpus: SmallCorpus, server: HostileServer, bodies: dict[str, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    (good, body), *_ = bodies.items()
    behaviours = {good: gives(body), "who.mp4": says("401 Who"), "away.mp4": redirects("file:///x")}
    for name, behaviour in behaviours.items():
        server.on(f"/{name}?token=hidden", behaviour)
    corpus.annotate([row(name, server.url(f"/{name}?token=hidden", "user:s3cret")) for name in behaviours])
    with caplog.at_level(logging.DEBUG):
        report = corpus.ingest().report
    assert (report.written, report.skipped_download) == (1, 2)
    assert "Authorization" in server.seen[0].headers
    for text in (told(corpus), caplog.text):
        assert "who.mp4" in text
        assert "s3cret" not in text
        assert "hidden" not in text


@pytest.mark.parametrize(
    "downloader",
    [LibcurlDownloader, pytest.param(CurlBinaryDownloader, marks=pytest.mark.needs_tool("curl"))],
    ids=["libcurl", "program"],
)
def test_awkward_names_arrive_as_they_are(
    corpus: SmallCorpus, server: HostileServer, tmp_path: Path, downloader: Any
) -> None:
    corpus.downloader = downloader()
    contents = {name: tiny_clip(tmp_path / "x.mp4", i) for i, name in enumerate(AWKWARD)}
    corpus.annotate([row(name, server.on(f"/{quote(name)}", gives(body))) for name, body in contents.items()])
    report = corpus.ingest().report
    assert report.reasons() == {}
    assert [r["src"] for r in corpus.rows()] == AWKWARD
    assert {name: (corpus.folder / "clips" / name).read_bytes() for name in AWKWARD} == contents
    assert corpus.ingest().report.unchanged == len(AWKWARD)
    assert set(corpus.progress()) == set(AWKWARD)


def test_half_a_surrogate_pair_in_a_json_list_is_a_bad_row_and_no_more(corpus: SmallCorpus) -> None:
    rows = [{"name": f"{i}.mp4", "mos": 3} for i in range(20)]
    listed = json.dumps([*rows, {"name": "bad\ud800.mp4", "mos": 3}])
    corpus.prober = FakeProber()
    for one in rows:
        corpus.stage(str(one["name"]), str(one["name"]).encode())
    report = corpus.ingest(manifest_csv=str(corpus.drop("scores.json", listed))).report
    assert (report.written, report.skipped_bad_row) == (20, 1)
    assert [(loss.src, loss.reason) for loss in report.losses] == [("bad\\ud800.mp4", "no text: half a surrogate pair")]


def test_globbing_characters_in_a_url_are_only_characters(
    corpus: SmallCorpus, server: HostileServer, bodies: dict[str, bytes]
) -> None:
    (_, body), *_ = bodies.items()
    server.on("/%7Ba,b%7D%5B1-3%5D.mp4?x=%5B1-2%5D", gives(body))
    corpus.annotate([row("a.mp4", server.url("/{a,b}[1-3].mp4?x=[1-2]"))])
    assert corpus.ingest().report.written == 1
    assert server.requests.total() == 1


def test_a_name_too_long_for_any_disk_is_never_asked_for(
    corpus: SmallCorpus, server: HostileServer, bodies: dict[str, bytes]
) -> None:
    (good, body), *_ = bodies.items()
    long = "n" * 252 + ".mp4"
    corpus.annotate([row(good, server.on(f"/{good}", gives(body))), row(long, server.on(f"/{long}", gives(body)))])
    report = corpus.ingest().report
    assert (report.written, report.skipped_download) == (1, 1)
    assert report.losses[0].reason == "no file can have this name: File name too long"
    assert server.requests[f"/{long}"] == 0


def test_a_folder_in_a_clips_place_costs_that_clip_only(
    corpus: SmallCorpus, server: HostileServer, bodies: dict[str, bytes]
) -> None:
    names = list(bodies)[:2]
    corpus.annotate([row(name, server.on(f"/{name}", gives(bodies[name]))) for name in names])
    (corpus.folder / "clips" / names[0]).mkdir(parents=True)
    report = corpus.ingest().report
    assert (report.written, report.losses[0].reason) == (1, "a folder stands in the clip's place")
    assert names[0] not in corpus.progress()


# Clips that are none


def test_every_kind_of_broken_clip_is_counted_with_its_reason(
    corpus: SmallCorpus, bodies: dict[str, bytes], tmp_path: Path
) -> None:
    (good, body), (_, other_body), *_ = bodies.items()
    broken = {
        "empty.mp4": (b"", "zero bytes"),
        "short.mp4": (other_body[: len(other_body) // 2], "truncated: "),
        "text.mp4": (b"just words\n" * 200, "a text file, not a clip"),
        "sound.mp4": (sound_only(tmp_path / "s.mp4"), "no video stream (streams: audio)"),
        "list.mp4": (b"#EXTM3U\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n" * 40, "an HLS playlist, not a clip"),
        "page.mp4": (b"<!doctype html><p>moved" * 90, "an HTML page, not a clip"),
    }
    for name, (content, _) in {good: (body, ""), **broken}.items():
        corpus.stage(name, content)
    corpus.annotate([row(name, "") for name in (good, *broken)])
    report = corpus.ingest().report
    assert (report.written, report.skipped_broken) == (1, len(broken))
    for loss in report.losses:
        assert loss.reason.startswith(broken[loss.src][1])
    lines = (corpus.folder / "konvid_150k.losses.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [loss.as_dict() for loss in report.losses]
    assert corpus.ingest().report.read_clips == 0


def test_a_clip_that_ran_into_the_time_limit_is_asked_again_by_the_next_run(
    corpus: SmallCorpus, tmp_path: Path
) -> None:
    corpus.stage("a.mp4", tiny_clip(tmp_path / "a.mp4", 1))
    corpus.annotate([row("a.mp4", "")])
    corpus.ingest()
    slow = tmp_path / "slow.py"
    slow.write_text(
        "import time\n"
        "from vqa_assets.clips import probing, processes\n"
        "probing.probe_here = lambda _: time.sleep(60)\n"
        "processes.serve()\n"
    )
    good, corpus.prober = corpus.prober, PyAvProber((sys.executable, str(slow)))
    os.utime(corpus.folder / "clips" / "a.mp4", ns=(1, 1))
    report = corpus.ingest(probe_timeout_s=1).report
    assert (report.retained_unavailable, report.held[0].reason, report.withdrawn) == (1, "no answer within 1 s", [])
    corpus.prober = good
    report = corpus.ingest().report
    assert (report.unchanged, report.read_clips) == (1, 1)


def sound_only(path: Path) -> bytes:
    import av

    with av.open(str(path), "w") as container:
        add_silence(container, container.add_stream("aac", rate=48000), 0.5)
    return path.read_bytes()


def test_a_symlinked_clip_is_a_clip_and_read_again_when_its_target_changes(
    corpus: SmallCorpus, bodies: dict[str, bytes], tmp_path: Path
) -> None:
    (_, first), (_, second), *_ = bodies.items()
    target = tmp_path / "elsewhere.mp4"
    target.write_bytes(first)
    (corpus.folder / "clips").mkdir(parents=True)
    (corpus.folder / "clips" / "a.mp4").symlink_to(target)
    corpus.annotate([row("a.mp4", "")])
    assert corpus.ingest().report.written == 1
    assert corpus.ingest().report.unchanged == 1
    target.write_bytes(second)
    assert corpus.ingest().report.written == 1


def test_clips_behind_a_link_to_a_folder_are_found_and_not_read_again(
    corpus: SmallCorpus, bodies: dict[str, bytes], tmp_path: Path
) -> None:
    tiny_clips(tmp_path / "far", 3)
    (corpus.folder / "clips").mkdir(parents=True)
    (corpus.folder / "clips" / "far").symlink_to(tmp_path / "far")
    corpus.annotate([row(f"far/{i:04d}.mp4", "") for i in range(3)])
    assert corpus.ingest().report.written == 3
    again = corpus.ingest().report
    assert (again.unchanged, again.read_clips) == (3, 0)


# Two runs, and what they remember


def test_a_second_run_waits_for_the_first_and_finds_all_done(corpus: SmallCorpus, bodies: dict[str, bytes]) -> None:
    fetcher = FakeDownloader(
        {f"http://x/{name}": body for name, body in bodies.items()}, before=lambda url: time.sleep(0.05)
    )
    corpus.downloader = fetcher
    corpus.annotate([row(name, f"http://x/{name}") for name in bodies])
    with ThreadPoolExecutor(2) as threads:
        runs = [threads.submit(corpus.ingest, lock_wait_s=30.0) for _ in range(2)]
        reports = [run.result(60).report for run in runs]
    assert sorted((r.written, r.unchanged) for r in reports) == [(0, len(bodies)), (len(bodies), 0)]
    assert set(fetcher.fetched.values()) == {1}


def test_a_name_that_is_no_text_in_a_progress_file_stands_and_stops_nothing(corpus: SmallCorpus) -> None:
    corpus.annotate([row("a.mp4", "http://x/a.mp4")])
    progress, failed = corpus.folder / ".download-progress.json", {"state": "failed", "reason": "?"}
    progress.write_text(json.dumps({"\ud800.mp4": failed}))
    corpus.downloader, corpus.prober = FakeDownloader({"http://x/a.mp4": b"a"}), FakeProber()
    assert corpus.ingest().report.written == 1
    assert corpus.progress() == {"a.mp4": {"state": "done"}, "\ud800.mp4": failed}


@pytest.mark.parametrize("name", ["x" * 252, "/".join(["y" * 200] * 30)])
def test_a_name_too_long_for_any_disk_is_missing_where_it_has_no_url(corpus: SmallCorpus, name: str) -> None:
    corpus.prober = FakeProber()
    corpus.stage("a.mp4", b"a")
    corpus.annotate([row("a.mp4", ""), row(name, "")])
    report = corpus.ingest().report
    assert (report.written, report.skipped_missing, report.losses[0].reason) == (1, 1, "no file, and no URL")


@pytest.mark.parametrize("sha256", ["[]", "null", "7"])
def test_an_earlier_row_without_a_hash_is_told_by_file_and_line(corpus: SmallCorpus, sha256: str) -> None:
    corpus.annotate([row("a.mp4", "")])
    corpus.drop("konvid_150k.jsonl", f'{{"src": "a.mp4", "src_sha256": {sha256}}}\n')
    with pytest.raises(IngestError, match=r"konvid_150k\.jsonl:1: a row without src or src_sha256"):
        corpus.ingest()


@pytest.mark.parametrize("content", ['{"a.mp4": {"state": "done"', '{"a.mp4": "done"}', "[]", "[" * 100_000])
def test_a_broken_progress_file_is_told_and_left_as_it_is(
    corpus: SmallCorpus, bodies: dict[str, bytes], content: str
) -> None:
    (good, body), *_ = bodies.items()
    corpus.annotate([row(good, "")])
    corpus.stage(good, body)
    progress = corpus.folder / ".download-progress.json"
    progress.write_text(content)
    with pytest.raises(IngestError, match=r"\.download-progress\.json: .*correct the file, or delete it"):
        corpus.ingest()
    assert progress.read_text() == content
    progress.unlink()
    assert corpus.ingest().report.written == 1


def test_a_read_only_progress_file_in_a_folder_of_ours_is_replaced(
    corpus: SmallCorpus, bodies: dict[str, bytes]
) -> None:
    (good, body), *_ = bodies.items()
    corpus.annotate([row(good, "")])
    corpus.stage(good, body)
    progress = corpus.folder / ".download-progress.json"
    progress.write_text('{"old.mp4": {"state": "failed", "reason": "HTTP 404"}}')
    progress.chmod(0o444)
    corpus.ingest()
    assert set(corpus.progress()) == {good, "old.mp4"}


def test_a_hand_edited_entry_is_believed(corpus: SmallCorpus, bodies: dict[str, bytes]) -> None:
    (good, body), *_ = bodies.items()
    corpus.downloader = FakeDownloader({"http://x/a": body})
    corpus.annotate([row(good, "http://x/a")])
    (corpus.folder / ".download-progress.json").write_text(
        json.dumps({good: {"state": "failed", "reason": "I do not want it"}})
    )
    report = corpus.ingest().report
    assert report.losses[0].reason == "I do not want it"
    assert not corpus.downloader.fetched


# The disk


@contextmanager
def small_disk(path: Path, megabytes: int) -> Iterator[None]:
    """A disk of that size at ``path``; the test is left out where none can be mounted."""
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", path], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("no disk can be mounted here; the same fault is made by a fake in another test")
    try:
        yield
    finally:
        subprocess.run(["umount", path], check=True)


def remounted(path: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", path], check=True)


def test_a_full_disk_ends_the_run_and_the_next_one_fetches_only_what_is_missing(
    corpus: SmallCorpus, server: HostileServer, bodies: dict[str, bytes]
) -> None:
    corpus.folder.mkdir()
    with small_disk(corpus.folder, 4):
        padded = {name: body + (600_000).to_bytes(4) + b"free" + bytes(600_000 - 8) for name, body in bodies.items()}
        corpus.annotate([row(name, server.on(f"/{name}", gives(body))) for name, body in padded.items()])
        with pytest.raises(IngestError, match=r"(No space left on device|disk is full).*free space"):
            corpus.ingest(per_host=2)
        assert not (corpus.folder / "konvid_150k.jsonl").exists()
        kept = {path.name for path in (corpus.folder / "clips").glob("*.mp4")}
        assert 1 <= len(kept) < len(bodies)
        remounted(corpus.folder, "size=20m")
        server.requests.clear()
        assert corpus.ingest().report.written == len(bodies)
        assert kept.isdisjoint(path.lstrip("/") for path in server.requests)


def test_a_folder_that_may_not_be_written_is_told_and_nothing_is_lost(
    corpus: SmallCorpus, bodies: dict[str, bytes]
) -> None:
    corpus.folder.mkdir()
    with small_disk(corpus.folder, 20):
        (good, body), (other, other_body), *_ = bodies.items()
        corpus.annotate([row(good, "")])
        corpus.stage(good, body)
        corpus.ingest()
        before = corpus.lines()
        corpus.stage(other, other_body)
        corpus.annotate([row(good, ""), row(other, "")])
        remounted(corpus.folder, "ro")
        with pytest.raises(
            IngestError, match=r"cannot write .*konvid-150k.*(Read-only|read-only|readonly).*permissions"
        ):
            corpus.ingest()
        assert corpus.lines() == before
        remounted(corpus.folder, "rw")
        assert corpus.ingest().report.written == 1


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS])
def test_what_the_disk_refuses_ends_the_run_in_words(
    corpus: SmallCorpus, bodies: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    names = list(bodies)
    corpus.downloader = FakeDownloader({f"http://x/{name}": body for name, body in bodies.items()})
    corpus.annotate([row(name, f"http://x/{name}") for name in names])
    really = Path.replace

    def replace(self: Path, target: Path) -> Path:
        if Path(target).name == names[6]:
            raise OSError(code, os.strerror(code), str(target))
        return really(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(IngestError, match=f"cannot write .*{names[6]}: {os.strerror(code)}"):
        corpus.ingest(workers=1)
    monkeypatch.undo()
    fetched = dict(corpus.downloader.fetched)
    assert corpus.ingest().report.written == len(names)
    again = {url for url, count in corpus.downloader.fetched.items() if count > fetched.get(url, 0) and url in fetched}
    assert f"http://x/{names[6]}" in again
    assert len(again) <= 5, "only the clip that could not be kept, and those in hand"


def free(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr("vqa_assets.ingest.fetching.shutil.disk_usage", lambda path: type("Usage", (), {"free": count}))


def test_clips_of_known_size_that_do_not_fit_are_an_error_before_anything_is_fetched(
    corpus: SmallCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus.downloader = FakeDownloader({f"http://x/{i}": bytes([i]) * 1000 for i in range(8)})
    corpus.prober = FakeProber()
    corpus.annotate([row(f"{i}.mp4", f"http://x/{i}") for i in range(8)])
    corpus.ingest()
    for path in (corpus.folder / "clips").iterdir():
        path.unlink()
    (corpus.folder / ".ingest-cache.sqlite").unlink()
    corpus.downloader.fetched.clear()
    free(monkeypatch, 7999)
    with pytest.raises(IngestError, match=r"do not fit.*8 KB free, expected 8 KB for 8 clips whose sizes.*max_rows"):
        corpus.ingest()
    assert not corpus.downloader.fetched
    assert len(corpus.rows()) == 8
    free(monkeypatch, 8000)
    assert corpus.ingest().report.unchanged == 8


def test_an_estimate_that_does_not_fit_only_warns(
    corpus: SmallCorpus, bodies: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (good, body), *_ = bodies.items()
    corpus.downloader = FakeDownloader({"http://x/a": body})
    corpus.annotate([row(good, "http://x/a")])
    free(monkeypatch, 500_000)
    with caplog.at_level(logging.INFO):
        assert corpus.ingest().report.written == 1
    size = KONVID.bytes_per_clip / 1e6
    rests_on = f"about {size:.1f} MB at the declared {size:.1f} MB a clip"
    assert f"1 clips to fetch ({rests_on}, 0 s at 100 Mbit/s), 0 to read" in caplog.text
    assert f"1 clips to fetch need {rests_on}, and" in caplog.text
    assert "500 KB are free" in caplog.text


# Being told


def test_the_counts_are_told_at_the_end_and_once_a_minute(
    corpus: SmallCorpus, bodies: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[PassCounts] = []
    corpus.observe = seen.append
    for name, body in bodies.items():
        corpus.stage(name, body)
    corpus.stage("text.mp4", b"words " * 300)
    corpus.annotate([row(name, "") for name in (*bodies, "text.mp4")])
    corpus.ingest()
    (last,) = seen
    assert (last.done, last.total, last.failed, last.broken) == (13, 13, 0, 1)
    assert last.read_bytes == sum(map(len, bodies.values())) + 1800
    monkeypatch.setattr("vqa_assets.clips.work.OBSERVED_EVERY_S", 0.0)
    corpus.ingest(rescan=True)
    assert len(seen) > 2
    assert [counts.done for counts in seen[1:]] == sorted(counts.done for counts in seen[1:])


def test_an_unchanged_corpus_has_nothing_to_tell(corpus: SmallCorpus, bodies: dict[str, bytes]) -> None:
    (good, body), *_ = bodies.items()
    corpus.stage(good, body)
    corpus.annotate([row(good, "")])
    corpus.ingest()
    corpus.observe = pytest.fail
    corpus.ingest()
