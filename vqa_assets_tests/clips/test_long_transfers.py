"""The thread that drives libcurl: a disk slower than the server, an end in the middle, a fault of its own."""

import hashlib
import os
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from vqa_assets.clips import libcurl as transfers
from vqa_assets.clips.downloading import DownloadLimits
from vqa_assets.clips.libcurl import LibcurlDownloader
from vqa_assets.clips.work import StoppedError
from vqa_assets.errors import DownloadError
from vqa_assets_tests.shared.hostile_server import gives, stalls

pytestmark = pytest.mark.usefixtures("no_proxy")

MIB = 1 << 20
CLIP = random.Random(1).randbytes(700_000)
DIGEST = hashlib.sha256(CLIP).hexdigest()
LIMITS = DownloadLimits(timeout_s=30, retries=0, backoff_s=0.01)


@pytest.fixture
def downloader():
    made = LibcurlDownloader()
    yield made
    made.close()


def all_drivers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "transfers"]


@pytest.fixture
def drivers():
    """The drivers that this test started; other downloaders of this process may have theirs."""
    before = set(all_drivers())
    return lambda: [thread for thread in all_drivers() if thread not in before]


def wait_until(found) -> None:
    until = time.monotonic() + 10
    while not found():
        assert time.monotonic() < until
        time.sleep(0.01)


class Pouring:
    """A body of so many MiB, sent as fast as the client takes it; counts what it sent."""

    def __init__(self, mib: int) -> None:
        self.mib, self.sent = mib, 0
        self.piece = random.Random(2).randbytes(MIB)

    def __call__(self, exchange) -> bool:
        exchange.connection.settimeout(60)
        exchange.send("200 OK", Content_Length=self.mib * MIB, Content_Type="video/mp4")
        for _ in range(self.mib):
            exchange.connection.sendall(self.piece)
            self.sent += 1
        return True

    def sha256(self) -> str:
        return hashlib.sha256(self.piece * self.mib).hexdigest()


def test_a_server_waits_for_a_slow_disk_and_nothing_is_lost(server, downloader, tmp_path):
    pipe, pouring, held, read = tmp_path / "a.mp4.part", Pouring(64), threading.Event(), []
    os.mkfifo(pipe)

    def slowly() -> None:
        with pipe.open("rb") as end:
            read.append(len(end.read(MIB)))
            held.wait(20)
            while piece := end.read(MIB):
                read.append(len(piece))

    disk = threading.Thread(target=slowly)
    disk.start()
    with ThreadPoolExecutor(1) as one:
        future = one.submit(downloader.fetch, server.on("/a.mp4", pouring), pipe, LIMITS, threading.Event())
        wait_until(lambda: read)
        time.sleep(1.0)
        assert pouring.sent < 40  # what waits here, and what two kernels' sockets hold
        held.set()
        found = future.result(30)
    disk.join()
    assert sum(read) == found.size_bytes == 64 * MIB
    assert found.sha256 == pouring.sha256()


def test_a_stop_reaches_a_transfer_that_waits_for_its_disk(server, downloader, tmp_path):
    pipe, pouring, stop = tmp_path / "a.mp4.part", Pouring(64), threading.Event()
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as one:
        future = one.submit(downloader.fetch, server.on("/a.mp4", pouring), pipe, LIMITS, stop)
        with pipe.open("rb") as end:
            end.read(MIB)
            time.sleep(0.5)
            stop.set()
            left = len(end.read())
        with pytest.raises(StoppedError):
            future.result(10)
    assert left < MIB  # what stood in the pipe


def test_a_clip_that_arrived_whole_and_was_not_written_is_not_whole(server, downloader, tmp_path):
    pipe, pouring, stop = tmp_path / "a.mp4.part", Pouring(3), threading.Event()
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as one:
        future = one.submit(downloader.fetch, server.on("/a.mp4", pouring), pipe, LIMITS, stop)
        with pipe.open("rb") as end:
            wait_until(lambda: pouring.sent == 3)
            time.sleep(0.5)  # the transfer has succeeded, and its bytes wait for the disk
            stop.set()
            assert len(end.read()) < 3 * MIB
        with pytest.raises(StoppedError):
            future.result(10)


def test_many_threads_share_one_driver(server, downloader, tmp_path, drivers):
    urls = [server.on(f"/{i}.mp4", gives(CLIP + bytes([i]))) for i in range(40)]
    with ThreadPoolExecutor(8) as eight:
        found = list(
            eight.map(lambda i: downloader.fetch(urls[i], tmp_path / f"{i}", LIMITS, threading.Event()), range(40))
        )
    assert [clip.sha256 for clip in found] == [hashlib.sha256(CLIP + bytes([i])).hexdigest() for i in range(40)]
    assert len(drivers()) == 1
    assert server.connections <= LIMITS.per_host


def test_closing_aborts_what_is_under_way_and_the_next_fetch_begins_anew(server, downloader, tmp_path, drivers):
    server.on("/b.mp4", gives(CLIP))
    with ThreadPoolExecutor(1) as one:
        future = one.submit(
            downloader.fetch, server.on("/a.mp4", stalls()), tmp_path / "a.mp4.part", LIMITS, threading.Event()
        )
        wait_until(lambda: server.requests["/a.mp4"])
        downloader.close()
        with pytest.raises(DownloadError) as caught:
            future.result(5)
    assert caught.value.reason == "curl-rc=42: aborted"
    assert not caught.value.permanent
    assert not drivers()
    assert downloader.fetch(server.url("/b.mp4"), tmp_path / "b", LIMITS, threading.Event()).sha256 == DIGEST


def test_the_thread_goes_when_there_is_nothing_to_do_and_comes_back(server, downloader, tmp_path, monkeypatch, drivers):
    monkeypatch.setattr(transfers, "_IDLE_S", 0.1)
    url = server.on("/a.mp4", gives(CLIP))
    for name in ("first", "second"):
        assert downloader.fetch(url, tmp_path / name, LIMITS, threading.Event()).sha256 == DIGEST
        wait_until(lambda: not drivers())
    assert server.connections == 2


def test_a_fault_of_the_thread_costs_one_more_attempt(server, downloader, tmp_path, monkeypatch, caplog):
    faulty, take_ended = threading.Event(), transfers._Driver._take_ended

    def once(driver) -> None:
        if driver._live and not faulty.is_set():
            faulty.set()
            raise RuntimeError("on purpose")
        take_ended(driver)

    monkeypatch.setattr(transfers._Driver, "_take_ended", once)
    twice = DownloadLimits(timeout_s=30, retries=1, backoff_s=0.01)
    url = server.on("/a.mp4", gives(CLIP))
    assert downloader.fetch(url, tmp_path / "a", twice, threading.Event()).sha256 == DIGEST
    assert faulty.is_set()
    assert "drives libcurl ended" in caplog.text
