"""Downloading against a server that misbehaves, on 127.0.0.1; every test holds for libcurl and for the curl program."""

import base64
import errno
import gzip
import hashlib
import random
import socket
import stat
import sys
import threading
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from urllib.parse import quote

import pytest

from vqa_assets.clips.curl import CurlBinaryDownloader
from vqa_assets.clips.downloading import GIVEN_UP_AFTER, DownloadLimits, Hosts, address_of, told_address
from vqa_assets.clips.hashing import ClipBytes
from vqa_assets.clips.libcurl import LibcurlDownloader
from vqa_assets.clips.work import StoppedError
from vqa_assets.errors import DownloadError, IngestError
from vqa_assets_tests.shared.hostile_server import (
    Behaviour,
    Exchange,
    HostileServer,
    at_first,
    babbles,
    drips,
    encoded,
    gives,
    part_of_file,
    pours,
    redirects,
    resets,
    says,
    stalls,
    until_close,
)

pytestmark = pytest.mark.usefixtures("no_proxy")

CLIP = b"\x00\x00\x00\x18ftypmp42" + random.Random(1).randbytes(200_000)
QUICK = DownloadLimits(timeout_s=5, retries=2, backoff_s=0.01, max_bytes=1_000_000)
ONCE = replace(QUICK, retries=0)
PATIENT = DownloadLimits(timeout_s=30, retries=0)

libcurl = pytest.param(LibcurlDownloader, id="libcurl")
program = pytest.param(CurlBinaryDownloader, id="program", marks=pytest.mark.needs_tool("curl"))


@dataclass
class Fetching:
    """A downloader with the arguments that most tests do not care for."""

    downloader: LibcurlDownloader | CurlBinaryDownloader
    part: Path
    stop: threading.Event = field(default_factory=threading.Event)

    def __call__(self, url: str, limits: DownloadLimits = QUICK, part: Path | None = None) -> ClipBytes:
        return self.downloader.fetch(url, part or self.part, limits, self.stop)

    def failing(self, url: str, limits: DownloadLimits = QUICK) -> DownloadError:
        """The failure, which leaves no ``.part`` file."""
        with pytest.raises(DownloadError) as caught:
            self(url, limits)
        assert not self.part.exists()
        return caught.value


@pytest.fixture(params=[libcurl, program])
def fetch(request, tmp_path):
    return Fetching(request.param(), tmp_path / "clip.mp4.part")


@pytest.fixture
def fetch_by_libcurl(tmp_path):
    fetching = Fetching(LibcurlDownloader(), tmp_path / "clip.mp4.part")
    yield fetching
    fetching.downloader.close()


def seconds(work: Callable[[], object]) -> float:
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


# What arrives


def test_the_hash_and_the_size_are_those_of_the_file(server, fetch):
    answer = fetch(server.on("/a.mp4", gives(CLIP)))
    assert fetch.part.read_bytes() == CLIP
    assert answer == ClipBytes(hashlib.sha256(CLIP).hexdigest(), len(CLIP))


def test_a_body_without_a_length_is_whole_when_the_connection_ends(server, fetch):
    assert fetch(server.on("/a.mp4", until_close(CLIP))).size_bytes == len(CLIP)


def test_a_redirect_is_followed(server, fetch):
    server.on("/there.mp4", gives(CLIP))
    assert fetch(server.on("/here.mp4", redirects("/there.mp4"))).size_bytes == len(CLIP)


def test_bytes_after_the_declared_length_are_no_part_of_the_body_nor_of_the_next(server, fetch):
    server.on("/next.mp4", gives(CLIP))
    assert fetch(server.on("/long.mp4", gives(CLIP, length=1000))).size_bytes == 1000
    assert fetch(server.url("/next.mp4")).size_bytes == len(CLIP)


def test_a_clip_that_a_server_calls_html_is_a_clip_all_the_same(server, fetch):
    assert fetch(server.on("/a.mp4", gives(CLIP, content_type="text/html"))).size_bytes == len(CLIP)


def test_an_earlier_part_file_is_written_over(server, fetch):
    fetch.part.write_bytes(b"x" * 1_000_000)
    assert fetch(server.on("/a.mp4", gives(CLIP))).size_bytes == fetch.part.stat().st_size == len(CLIP)


# What will not change


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (says("404 Not Found"), "curl-rc=22: HTTP 404 Not Found"),
        (says("410 Not any more"), "curl-rc=22: HTTP 410 Gone"),
        (says("451 No"), "curl-rc=22: HTTP 451 Unavailable For Legal Reasons"),
        (says("204 Nothing"), "curl-rc=0: HTTP 204 No Content: empty body"),
        (gives(b""), "curl-rc=0: empty body"),
        (gives(bytes(1_000_001)), "curl-rc=63: larger than 1000000 bytes"),
        (pours(40), "curl-rc=63: larger than 1000000 bytes"),
    ],
)
def test_an_answer_that_will_not_change_is_permanent_and_asked_for_once(server, fetch, behaviour, reason):
    failure = fetch.failing(server.on("/a.mp4", behaviour))
    assert (failure.reason, failure.permanent, failure.unreachable) == (reason, True, False)
    assert server.requests["/a.mp4"] == 1


@pytest.mark.parametrize(
    ("status", "reason"),
    [("401 Who", "curl-rc=22: HTTP 401 Unauthorized"), ("403 No", "curl-rc=22: HTTP 403 Forbidden")],
)
def test_a_refusal_of_who_asks_condemns_no_clip_and_is_asked_for_once_a_run(server, fetch, status, reason):
    failure = fetch.failing(server.on("/a.mp4", says(status)))
    assert (failure.reason, failure.permanent, failure.unreachable) == (reason, False, False)
    assert server.requests["/a.mp4"] == 1


@pytest.mark.parametrize("to", ["file:///etc/hostname", "ftp://127.0.0.1/a.mp4"])
def test_a_redirect_to_another_scheme_is_permanent(server, fetch, to):
    failure = fetch.failing(server.on("/here.mp4", redirects(to)))
    assert failure.permanent
    assert server.requests["/here.mp4"] == 1


def test_a_redirect_in_a_circle_condemns_no_clip(server, fetch):
    failure = fetch.failing(server.on("/loop.mp4", redirects("/loop.mp4")))
    assert not failure.permanent
    assert failure.reason.startswith("curl-rc=47: ")
    assert server.requests["/loop.mp4"] == 11


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("file:///etc/hostname", "curl-rc=1: scheme 'file', expected http or https"),
        ("ftp://127.0.0.1/a.mp4", "curl-rc=1: scheme 'ftp', expected http or https"),
        ("clips/a.mp4", "curl-rc=1: scheme '', expected http or https"),
        ("http://", "curl-rc=3: URL using bad/illegal format or missing URL"),
        ("http://127.0.0.1:99999/a", "curl-rc=3: URL using bad/illegal format or missing URL"),
        ("http://two words/a", "curl-rc=3: URL using bad/illegal format or missing URL"),
        ("http://us%00er@127.0.0.1/a", "curl-rc=3: URL using bad/illegal format or missing URL"),
        ('http://[:"]/a', "curl-rc=3: URL using bad/illegal format or missing URL"),
        ("http://[::1/a", "curl-rc=3: URL using bad/illegal format or missing URL"),
    ],
)
def test_an_address_that_is_none_fails_before_any_network(fetch, url, reason):
    failure = fetch.failing(url)
    assert (failure.reason, failure.permanent) == (reason, True)


# What may pass


@pytest.mark.parametrize(
    "behaviour",
    [
        says("503 Busy"),
        says("500 Oh"),
        says("429 Slowly"),
        says("408 Late"),
        says("425 Early"),
        says("400 Bad"),
        says("409 Later"),
        says("499 Odd"),
        says("202 Wait"),
        says("205 Nothing"),
        says("304 As before"),
        says("302 Found"),
        says("300 Many"),
        part_of_file(CLIP, len(CLIP)),
        part_of_file(CLIP, 1000),
        gives(CLIP[:100], length=5000),
        resets(),
        resets(CLIP[:100]),
        babbles(b"SSH-2.0-hello\r\n"),
        babbles(b""),
    ],
)
def test_what_may_pass_is_tried_again_and_leaves_a_whole_file(server, fetch, behaviour):
    url = server.on("/a.mp4", at_first(behaviour, 2, gives(CLIP)))
    assert fetch(url).sha256 == hashlib.sha256(CLIP).hexdigest()
    assert fetch.part.read_bytes() == CLIP


@pytest.mark.parametrize(
    "behaviour",
    [
        says("503 Busy"),
        says("202 Wait"),
        says("304 As before"),
        says("400 Bad"),
        part_of_file(CLIP, len(CLIP)),
        gives(b"\0", length=9),
        resets(b"\0"),
    ],
)
def test_what_does_not_pass_is_not_permanent(server, fetch, behaviour):
    failure = fetch.failing(server.on("/a.mp4", behaviour))
    assert (failure.permanent, failure.unreachable) == (False, False)
    assert server.requests["/a.mp4"] == 1 + QUICK.retries


def test_a_stalled_body_is_cut_off(server, fetch):
    limits = replace(ONCE, timeout_s=20, stall_s=1)
    begun = time.monotonic()
    failure = fetch.failing(server.on("/a.mp4", stalls()), limits)
    assert failure.reason.startswith("curl-rc=28: Operation too slow")
    assert time.monotonic() - begun < 10


def test_a_body_that_drips_is_cut_off_when_its_time_is_up(server, fetch):
    failure = fetch.failing(server.on("/a.mp4", drips()), replace(ONCE, timeout_s=0.5))
    assert failure.reason.startswith("curl-rc=28: ")
    assert (failure.permanent, failure.unreachable) == (False, False)


def test_a_host_that_refuses_is_unreachable(fetch):
    failure = fetch.failing(f"http://127.0.0.1:{closed_port()}/a.mp4")
    assert failure.reason.startswith("curl-rc=7: ")
    assert (failure.permanent, failure.unreachable) == (False, True)


def test_a_host_that_never_finishes_its_tls_greeting_is_unreachable(server, fetch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        failure = fetch.failing(f"https://127.0.0.1:{silent.getsockname()[1]}/", replace(ONCE, timeout_s=0.5))
    assert (failure.permanent, failure.unreachable) == (False, True)


def retry_after(wish: Callable[[], object]) -> Behaviour:
    def behave(exchange: Exchange) -> bool:
        return says("429 Slowly", Retry_After=wish())(exchange)

    return behave


@pytest.mark.parametrize(
    "wish",
    [lambda: 1, lambda: format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)],
    ids=["seconds", "date"],
)
def test_retry_after_is_honoured(server, fetch, wish):
    url = server.on("/a.mp4", at_first(retry_after(wish), 1, gives(CLIP)))
    assert 0.9 < seconds(lambda: fetch(url)) < 4


def test_retry_after_holds_for_the_whole_host(server, fetch):
    url = server.on("/b.mp4", gives(CLIP))
    fetch.failing(server.on("/a.mp4", retry_after(lambda: 1)), ONCE)
    assert 0.8 < seconds(lambda: fetch(url)) < 3


def test_retry_after_is_capped(server, fetch):
    url = server.on("/a.mp4", at_first(retry_after(lambda: 3600), 1, gives(CLIP)))
    assert seconds(lambda: fetch(url, replace(QUICK, retry_after_cap_s=0.2))) < 3


# Credentials and odd names


def basic(exchange: Exchange) -> str:
    return base64.b64decode(exchange.headers["Authorization"].removeprefix("Basic ")).decode()


def test_credentials_reach_the_server_and_no_other(server, fetch):
    with HostileServer() as other:
        server.on("/a.mp4", redirects(other.on("/b.mp4", gives(CLIP))))
        fetch(server.url("/a.mp4", "us%40er:p%22w%5Cd%C3%A9"))
    assert basic(server.seen[0]) == 'us@er:p"w\\dé'
    assert "Authorization" not in other.seen[0].headers


def test_one_clips_credentials_are_not_sent_for_the_next(server, fetch):
    server.on("/a.mp4", gives(CLIP))
    fetch(server.url("/a.mp4", "user:secret"))
    fetch(server.url("/a.mp4"))
    assert ["Authorization" in exchange.headers for exchange in server.seen] == [True, False]


@pytest.mark.parametrize("behaviour", [says("401 Who"), says("503 Busy"), resets(), redirects("file:///x"), stalls()])
def test_credentials_are_never_in_a_reason(server, fetch, behaviour):
    server.on("/a.mp4", behaviour)
    failure = fetch.failing(server.url("/a.mp4?token=hidden", "user:s3cret"), replace(ONCE, timeout_s=0.3))
    told = f"{failure!r} {failure} {failure.__cause__!r} {failure.__context__!r} {failure.__context__}"
    assert "s3cret" not in told
    assert "hidden" not in told


@pytest.mark.parametrize("url", ["http://user:s3cret@two words/", "ftp://user:s3cret@x/", "http://user:s3cret@h:x/"])
def test_credentials_of_an_address_that_is_none_are_not_told_either(fetch, url):
    assert "s3cret" not in repr(fetch.failing(url))
    assert "s3cret" not in repr(address_of("http://user:s3cret@127.0.0.1/"))


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("exit 0", "--version ends with 0 and says 'nothing'"),
        ("echo hello", "--version ends with 0 and says 'hello'"),
        ("exit 1", "--version ends with 1 and says 'nothing'"),
        ("echo 'x: error while loading shared libraries' >&2; exit 127", "ends with 127 and says 'x: error while"),
    ],
)
def test_a_program_that_is_no_curl_condemns_no_clip(tmp_path, body, told):
    script = tmp_path / "curl"
    script.write_text(f"#!/bin/sh\n{body}\n")
    script.chmod(0o755)
    with pytest.raises(IngestError) as caught:
        Fetching(CurlBinaryDownloader(str(script)), tmp_path / "a.part")("http://127.0.0.1/a.mp4", limits=ONCE)
    assert told in str(caught.value)
    assert not (tmp_path / "a.part").exists()


def test_the_program_is_told_addresses_and_credentials_where_no_process_list_shows_them(tmp_path):
    told = tmp_path / "told"
    script = tmp_path / "curl"
    version = '[ "$1" = --version ] && echo "curl 8" && exit'
    script.write_text(f'#!/bin/sh\n{version}\nprintf "%s\\n" "$@" > "{told}"\ncat > "{told}.in"\nexit 6\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    fetching = Fetching(CurlBinaryDownloader(str(script)), tmp_path / "a.part")
    assert fetching.failing("http://user:s3cret@127.0.0.1/a.mp4?token=hidden", ONCE).unreachable
    assert "s3cret" not in told.read_text()
    assert "hidden" not in told.read_text()
    assert "s3cret" in (tmp_path / "told.in").read_text()


@pytest.mark.parametrize(
    "name",
    ["a#b.mp4", "100%.mp4", 'it\'s "so".mp4', "a b.mp4", "é–日本.mp4", "[x]{1-3}.mp4", "a\\b|c^`.mp4", "a+b&c.mp4"],
)
def test_a_quoted_name_arrives_as_it_is(server, fetch, name):
    server.on("/" + quote(name), gives(CLIP))
    assert fetch(server.url("/" + quote(name))).size_bytes == len(CLIP)


@pytest.mark.parametrize(
    ("written", "asked_for"),
    [
        ("/a b/é.mp4", "/a%20b/%C3%A9.mp4"),
        ("/a%20b.mp4", "/a%20b.mp4"),
        ("/100%.mp4", "/100%25.mp4"),
        ('/"{x}[1-3].mp4', "/%22%7Bx%7D%5B1-3%5D.mp4"),
        ("/a.mp4?x=1&y=a b", "/a.mp4?x=1&y=a%20b"),
        ("/a.mp4#fragment", "/a.mp4"),
        ("", "/"),
    ],
)
def test_only_what_is_illegal_in_an_address_is_quoted(server, fetch, written, asked_for):
    server.on(asked_for, gives(CLIP))
    fetch(server.url(written))
    assert server.seen[0].path == asked_for


def test_international_host_names_are_written_in_ascii():
    assert address_of("http://Bücher.example:81/ä").url == "http://xn--bcher-kva.example:81/%C3%A4"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://h/a b.mp4", "http://h/a%20b.mp4"),
        ("http://user:s3cret@h:81/a.mp4#part", "http://h:81/a.mp4"),
        ("http://h/a.mp4?token=hidden", "http://h/a.mp4?#c094b8b7"),
        ("ftp://user:s3cret@h/a.mp4", "?#bf816e97"),
    ],
)
def test_an_address_is_kept_without_what_may_be_secret(url, told):
    assert told_address(url) == told


def test_addresses_that_differ_in_their_query_alone_are_told_apart():
    assert told_address("http://h/a?id=1") != told_address("http://h/a?id=2") == told_address("http://h/a?id=2#x")


# Encodings


ENCODED = {
    "gzip": gzip.compress(CLIP, mtime=0),
    "deflate": zlib.compress(CLIP),
}


@pytest.mark.parametrize("encoding", ENCODED)
def test_no_encoding_is_asked_for_and_a_body_encoded_all_the_same_is_decoded(server, fetch, encoding):
    answer = fetch(server.on("/a.mp4", encoded(ENCODED[encoding], encoding)))
    assert server.seen[0].headers["Accept-Encoding"] == "identity"
    assert fetch.part.read_bytes() == CLIP
    assert answer == ClipBytes(hashlib.sha256(CLIP).hexdigest(), len(CLIP))


@pytest.mark.parametrize("encoding", ["gzip", "aws-chunked"])
def test_a_body_that_is_not_encoded_as_its_header_says_is_taken_as_it_comes(server, fetch, encoding):
    server.on("/next.mp4", encoded(ENCODED["gzip"], "gzip"))
    assert fetch(server.on("/a.mp4", encoded(CLIP, encoding))).sha256 == hashlib.sha256(CLIP).hexdigest()
    assert fetch(server.url("/next.mp4")).size_bytes == len(CLIP)


def test_a_body_that_grows_beyond_the_limit_as_it_is_decoded_is_too_large(server, fetch):
    failure = fetch.failing(server.on("/a.mp4", encoded(gzip.compress(bytes(5_000_000), mtime=0), "gzip")))
    assert (failure.reason, failure.permanent) == ("curl-rc=63: larger than 1000000 bytes", True)


# Many at once


def test_a_thread_keeps_its_connection_from_clip_to_clip(server, fetch_by_libcurl, tmp_path):
    url = server.on("/a.mp4", gives(CLIP[:5000]))
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda n: fetch_by_libcurl(url, part=tmp_path / f"{n}.part"), range(60)))
    assert server.requests["/a.mp4"] == 60
    assert server.connections <= 3


def test_no_more_than_so_many_transfers_at_once_go_to_one_host(server, fetch, tmp_path):
    url = server.on("/a.mp4", gives(CLIP[:5000], after_s=0.05))
    limits = replace(QUICK, per_host=3)
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(lambda n: fetch(url, limits, tmp_path / f"{n}.part"), range(30)))
    assert server.requests["/a.mp4"] == 30
    assert server.peak == 3


def test_after_closing_a_downloader_opens_new_connections(server, fetch_by_libcurl):
    url = server.on("/a.mp4", gives(CLIP))
    fetch_by_libcurl(url)
    fetch_by_libcurl.downloader.close()
    assert fetch_by_libcurl(url).size_bytes == len(CLIP)
    assert server.connections == 2


def test_a_host_that_never_answers_is_given_up(fetch_by_libcurl):
    port = closed_port()
    url, limits = f"http://127.0.0.1:{port}/a.mp4", replace(QUICK, retries=1)
    reasons = [fetch_by_libcurl.failing(url, limits).reason for _ in range(GIVEN_UP_AFTER)]
    assert all(reason.startswith("curl-rc=7: ") for reason in reasons)
    last = fetch_by_libcurl.failing(url, limits)
    assert last.reason == f"host 127.0.0.1:{port} gave no answer to 20 transfers in a row; given up for this run"
    assert (last.permanent, last.unreachable) == (False, True)


def test_any_answer_starts_the_count_anew():
    hosts = Hosts()
    for _ in range(2):
        for _ in range(GIVEN_UP_AFTER - 1):
            hosts.unanswered("h")
        hosts.answered("h")
    with hosts.slot("h", 1, threading.Event()):
        pass


# Stopping


def stopped_after(fetch: Fetching, url: str, limits: DownloadLimits) -> float:
    """Seconds from the stop signal to the end of a fetch under way."""
    signalled: list[float] = []

    def stop() -> None:
        signalled.append(time.monotonic())
        fetch.stop.set()

    threading.Timer(0.3, stop).start()
    with pytest.raises(StoppedError):
        fetch(url, limits)
    assert not fetch.part.exists()
    return time.monotonic() - signalled[0]


@pytest.mark.parametrize("behaviour", [stalls(), stalls(b"some"), drips()])
def test_a_transfer_ends_within_a_second_and_a_half_of_the_signal(server, fetch, behaviour):
    assert stopped_after(fetch, server.on("/a.mp4", behaviour), PATIENT) < 1.5


def test_the_pause_before_another_try_ends_with_the_signal(server, fetch):
    limits = replace(QUICK, backoff_s=20)
    assert stopped_after(fetch, server.on("/a.mp4", says("503 Busy")), limits) < 1


def test_a_quiet_host_is_not_waited_for_after_the_signal(server, fetch):
    assert stopped_after(fetch, server.on("/a.mp4", retry_after(lambda: 30)), QUICK) < 1


def test_waiting_for_a_place_ends_with_the_signal(server, fetch, tmp_path):
    url, limits = server.on("/a.mp4", stalls()), replace(PATIENT, per_host=1)
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(fetch, url, limits, tmp_path / "other.part")
        while not server.requests["/a.mp4"]:
            time.sleep(0.01)
        assert stopped_after(fetch, url, limits) < 1
        assert isinstance(other.exception(3), StoppedError)
    assert server.requests["/a.mp4"] == 1


def test_nothing_is_asked_for_once_the_signal_is_given(server, fetch):
    fetch.stop.set()
    with pytest.raises(StoppedError):
        fetch(server.on("/a.mp4", gives(CLIP)))
    assert not server.requests


# The disk and the program


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full not found: Linux only")
def test_a_full_disk_is_no_fault_of_the_clip(server, fetch, tmp_path):
    part = tmp_path / "full.part"
    part.symlink_to("/dev/full")
    with pytest.raises(IngestError, match=r"cannot write .*full\.part: .*free space"):
        fetch(server.on("/a.mp4", gives(CLIP)), part=part)
    assert Path("/dev/full").is_char_device()
    assert server.requests["/a.mp4"] == 1


def test_a_folder_that_is_not_there_is_no_fault_of_the_clip(server, fetch, tmp_path):
    with pytest.raises(IngestError, match="No such file or directory"):
        fetch(server.on("/a.mp4", gives(CLIP)), part=tmp_path / "absent" / "a.part")


def test_a_name_that_no_disk_takes_is_the_clips_fault(server, fetch, tmp_path):
    with pytest.raises(DownloadError) as caught:
        fetch(server.on("/a.mp4", gives(CLIP)), part=tmp_path / ("n" * 300))
    assert caught.value.permanent


def test_the_programs_absence_is_told_with_its_remedy(server, tmp_path):
    fetching = Fetching(CurlBinaryDownloader("no-such-curl"), tmp_path / "a.part")
    with pytest.raises(IngestError, match=r"'no-such-curl'.*\$CURL_BIN"):
        fetching(server.on("/a.mp4", gives(CLIP)))
    assert not fetching.part.exists()


def test_importing_the_downloaders_loads_no_libcurl():
    import subprocess

    code = "import sys, vqa_assets.clips.downloading; print('pycurl' in sys.modules or 'certifi' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_full_disks_error_is_kept_as_the_cause(server, fetch_by_libcurl, tmp_path):
    part = tmp_path / "full.part"
    part.symlink_to("/dev/full")
    with pytest.raises(IngestError) as caught:
        fetch_by_libcurl(server.on("/a.mp4", gives(CLIP)), part=part)
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.ENOSPC
