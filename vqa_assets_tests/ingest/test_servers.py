"""What servers give in a clip's place, by both downloaders: what is kept, what is remembered, and what is asked again.

The server is real, and so are the clips and the prober. Transfers that fail are in ``clips.test_downloading``.
"""

import gzip
import json
import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from vqa_assets.clips.curl import CurlBinaryDownloader
from vqa_assets.clips.downloading import DownloadLimits
from vqa_assets.clips.libcurl import LibcurlDownloader
from vqa_assets.clips.probing import PyAvProber
from vqa_assets.tables.paths import DataRoot
from vqa_assets_tests.clips.test_probing import encode
from vqa_assets_tests.shared.clips import tiny_clip
from vqa_assets_tests.shared.fakes import SmallCorpus
from vqa_assets_tests.shared.hostile_server import (
    Behaviour,
    Exchange,
    HostileServer,
    at_first,
    encoded,
    gives,
    part_of_file,
    says,
    until_close,
)

pytestmark = pytest.mark.usefixtures("no_proxy", "quick")

ATTEMPTS = 1 + DownloadLimits().retries
GOOD = "good.mp4"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run's own limits, but for the pauses."""
    monkeypatch.setattr("vqa_assets.ingest.gather.DownloadLimits", partial(DownloadLimits, backoff_s=0.01))


@pytest.fixture(scope="module")
def prober() -> Iterator[PyAvProber]:
    made = PyAvProber()
    yield made
    made.close()


@pytest.fixture(
    params=[
        pytest.param(LibcurlDownloader, id="libcurl"),
        pytest.param(CurlBinaryDownloader, id="program", marks=pytest.mark.needs_tool("curl")),
    ]
)
def corpus(request: pytest.FixtureRequest, root_path: Path, prober: PyAvProber) -> Iterator[SmallCorpus]:
    downloader = request.param()
    yield SmallCorpus(DataRoot(root_path), prober=prober, downloader=downloader)
    downloader.close()


@pytest.fixture(scope="module")
def body(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return tiny_clip(tmp_path_factory.mktemp("clips") / "a.mp4", 1)


@pytest.fixture(scope="module")
def avi(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return encode(tmp_path_factory.mktemp("avi") / "a.avi", "ffv1").read_bytes()


def annotate(corpus: SmallCorpus, server: HostileServer, clips: dict[str, Behaviour], tmp_path: Path) -> None:
    """Clips that behave so, beside a good one: a run without any row is another matter."""
    served = {GOOD: gives(tiny_clip(tmp_path / GOOD, 99)), **clips}
    corpus.annotate([(name, server.on(f"/{name}", behaviour), 3, 0.5, 5) for name, behaviour in served.items()])


def left(corpus: SmallCorpus) -> list[str]:
    """The clips on the disk, but for the good one."""
    return sorted({path.name for path in (corpus.folder / "clips").iterdir()} - {GOOD})


NO_CLIPS = {
    "JSON": gives(b'{"error": "rate limited"}', "application/json"),
    "a list": gives(b'[{"error": "rate limited"}]', "video/mp4"),
    "HTML": gives(b"\n<!DOCTYPE html><html><p>Log in" + b" please" * 500, "video/mp4"),
    "XML": gives(b'<?xml version="1.0"?><Error><Code>SlowDown</Code></Error>', "application/xml"),
    "text": gives(b"please wait", "text/plain"),
    "UTF-16": gives("<html>please wait".encode("utf-16"), "text/html"),
    "a playlist": gives(b"#EXTM3U\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n"),
    "a pointer": gives(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"),
    "noise": gives(b"\xb7\x00\x01\x02" * 500),
    "a picture": gives(b"\x89PNG\r\n\x1a\n" + bytes(500), "image/png"),
    "gzip": gives(gzip.compress(b"{}" * 500, mtime=0)),
}


@pytest.mark.parametrize("kind", NO_CLIPS)
def test_what_is_no_container_is_never_kept_nor_remembered_however_often_it_comes(
    corpus: SmallCorpus, server: HostileServer, body: bytes, tmp_path: Path, kind: str
) -> None:
    annotate(corpus, server, {"a.mp4": NO_CLIPS[kind]}, tmp_path)
    for run in range(1, 5):
        report = corpus.ingest().report
        assert (report.skipped_download, report.skipped_broken) == (1, 0)
        assert report.losses[0].reason.startswith("no whole video came: ")
        assert left(corpus) == []
        assert set(corpus.progress()) == {GOOD}
        assert server.requests["/a.mp4"] == ATTEMPTS * run
    server.on("/a.mp4", gives(body))
    assert corpus.ingest().report.written == 1


@pytest.mark.parametrize("kind", ["JSON", "noise"])
def test_it_is_asked_for_again_within_the_run(
    corpus: SmallCorpus, server: HostileServer, body: bytes, tmp_path: Path, kind: str
) -> None:
    annotate(corpus, server, {"a.mp4": at_first(NO_CLIPS[kind], 2, gives(body))}, tmp_path)
    report = corpus.ingest().report
    assert (report.written, report.fetched_clips) == (2, 2)
    assert (corpus.folder / "clips" / "a.mp4").read_bytes() == body
    assert corpus.progress()["a.mp4"] == {"state": "done"}


@pytest.mark.parametrize("name", ["a.mp4", "a.avi"])
def test_a_body_cut_without_a_length_is_no_clip_and_the_whole_one_is_asked_for(
    corpus: SmallCorpus, server: HostileServer, tmp_path: Path, body: bytes, avi: bytes, name: str
) -> None:
    whole = body if name == "a.mp4" else avi

    def cut_somewhere(exchange: Exchange) -> bool:
        return until_close(whole[: len(whole) // 3 + exchange.nth])(exchange)

    annotate(corpus, server, {name: cut_somewhere}, tmp_path)
    report = corpus.ingest().report
    assert (report.skipped_download, report.skipped_broken) == (1, 0)
    assert report.losses[0].reason.startswith("no whole video came: truncated: ")
    assert left(corpus) == []
    server.on(f"/{name}", at_first(until_close(whole[:500]), server.requests[f"/{name}"] + 1, until_close(whole)))
    assert corpus.ingest().report.written == 1
    assert (corpus.folder / "clips" / name).read_bytes() == whole


def test_the_container_that_three_runs_fetched_alike_is_a_broken_clip_and_no_longer_asked_for(
    corpus: SmallCorpus, server: HostileServer, tmp_path: Path, body: bytes
) -> None:
    cut = body[: len(body) // 2]
    annotate(corpus, server, {"a.mp4": gives(cut)}, tmp_path)
    reason = f"truncated: {len(cut)} of at least "
    for run in (1, 2):
        report = corpus.ingest().report
        assert (report.skipped_download, report.skipped_broken) == (1, 0)
        assert report.losses[0].reason.startswith(f"no whole video came: {reason}")
        entry = corpus.progress()["a.mp4"]
        assert (entry["state"], entry["runs"]) == ("retry", run)
        assert left(corpus) == []
    report = corpus.ingest().report
    assert (report.skipped_download, report.skipped_broken) == (0, 1)
    assert report.losses[0].reason.startswith(reason)
    assert left(corpus) == ["a.mp4"]
    server.requests.clear()
    assert corpus.ingest().report.skipped_broken == 1
    assert not server.requests


def test_other_bytes_start_the_count_anew(
    corpus: SmallCorpus, server: HostileServer, tmp_path: Path, body: bytes
) -> None:
    cut = body[: len(body) // 2]
    annotate(corpus, server, {"a.mp4": gives(cut)}, tmp_path)
    corpus.ingest()
    corpus.ingest()
    server.on("/a.mp4", gives(cut[:-1]))
    assert corpus.ingest().report.skipped_download == 1
    assert corpus.progress()["a.mp4"]["runs"] == 1
    server.on("/a.mp4", says("503 Busy"))
    corpus.ingest()
    assert corpus.progress()["a.mp4"]["runs"] == 1
    server.on("/a.mp4", gives(body))
    assert corpus.ingest().report.written == 1
    assert corpus.progress()["a.mp4"] == {"state": "done"}


def test_a_run_that_fetched_a_cut_container_keeps_the_earlier_row(
    corpus: SmallCorpus, server: HostileServer, tmp_path: Path, body: bytes
) -> None:
    annotate(corpus, server, {"a.mp4": gives(body)}, tmp_path)
    corpus.ingest()
    before = corpus.lines()
    (corpus.folder / "clips" / "a.mp4").unlink()
    server.on("/a.mp4", gives(body[: len(body) // 2]))
    assert corpus.ingest().report.retained_unavailable == 1
    assert corpus.lines() == before


@pytest.mark.parametrize("content", [b"an old page", b'{"error": 1}', b"\x00\x00\x00\x18ftypmp42" + bytes(99)])
def test_what_a_person_staged_is_broken_at_once_and_never_deleted(
    corpus: SmallCorpus, server: HostileServer, tmp_path: Path, body: bytes, content: bytes
) -> None:
    annotate(corpus, server, {"a.mp4": gives(body)}, tmp_path)
    path = corpus.stage("a.mp4", content)
    report = corpus.ingest().report
    assert (report.written, report.skipped_broken) == (1, 1)
    assert path.read_bytes() == content
    assert server.requests["/a.mp4"] == 0


@pytest.mark.parametrize("name", ["a.avi", "a.mkv", "a.webm", "a.flv", "a.ts", "a.h264", "a.m4v", "a.ivf", "a.mpg"])
def test_a_fetched_clip_has_the_row_of_a_staged_one(
    corpus: SmallCorpus, server: HostileServer, tmp_path: Path, name: str
) -> None:
    codecs = {"a.avi": "ffv1", "a.webm": "libvpx-vp9", "a.ivf": "libvpx-vp9", "a.mpg": "mpeg2video", "a.m4v": "mpeg4"}
    whole = encode(tmp_path / name, codecs.get(name, "libx264")).read_bytes()
    annotate(corpus, server, {name: gives(whole)}, tmp_path)
    assert corpus.ingest().report.written == 2
    fetched = corpus.rows()
    corpus.root.corpus_jsonl(corpus.corpus).unlink()
    assert corpus.ingest(rescan=True).report.written == 2
    stamp = "ingested_at_utc"
    assert [{**row, stamp: ""} for row in corpus.rows()] == [{**row, stamp: ""} for row in fetched]


RAW = {"raw_video": {"width": 16, "height": 16, "framerate": 25.0, "pix_fmt": "gray"}}


@pytest.mark.parametrize("luma", [b"A", b"\x00", b"\xeb"])
def test_a_raw_clip_is_known_by_its_size_though_its_samples_may_read_as_text(
    corpus: SmallCorpus, server: HostileServer, tmp_path: Path, luma: bytes
) -> None:
    annotate(corpus, server, {"a.yuv": gives(luma * 256 * 10), "page.yuv": gives(b'{"error": "slow"}')}, tmp_path)
    report = corpus.ingest(**RAW).report
    assert (report.written, report.skipped_download) == (2, 1)
    assert left(corpus) == ["a.yuv"]


# Entries


def test_failed_is_written_for_what_will_not_change_and_for_nothing_else(
    corpus: SmallCorpus, server: HostileServer, tmp_path: Path, body: bytes
) -> None:
    lasting = {"404": says("404 No"), "410": says("410 No"), "451": says("451 No"), "204": says("204 Nothing")}
    lasting["empty"] = gives(b"")
    passing = {f"{n}": says(f"{n} Odd") for n in (202, 300, 302, 304, 400, 401, 403, 407, 409, 418, 429, 500, 503)}
    passing["206"] = part_of_file(body, len(body))
    annotate(corpus, server, {f"{name}.mp4": behaviour for name, behaviour in (lasting | passing).items()}, tmp_path)
    report = corpus.ingest().report
    assert report.skipped_download == len(lasting) + len(passing)
    failed = {name for name, entry in corpus.progress().items() if entry["state"] == "failed"}
    assert failed == {f"{name}.mp4" for name in lasting}
    for name in passing:
        server.on(f"/{name}.mp4", gives(tiny_clip(tmp_path / "x.mp4", int(name))))
    assert corpus.ingest().report.written == len(passing)


def test_a_clip_that_failed_at_one_address_is_asked_for_at_another(
    corpus: SmallCorpus, server: HostileServer, tmp_path: Path, body: bytes
) -> None:
    annotate(corpus, server, {"a.mp4": says("404 Not Found")}, tmp_path)
    corpus.ingest()
    assert corpus.progress()["a.mp4"]["address"] == server.url("/a.mp4")
    server.requests.clear()
    assert corpus.ingest().report.skipped_download == 1
    assert not server.requests
    corpus.annotate([("a.mp4", server.on("/moved.mp4", says("410 Gone")), 3, 0.5, 5)])
    assert corpus.ingest().report.skipped_download == 1
    assert corpus.progress()["a.mp4"]["address"] == server.url("/moved.mp4")
    corpus.annotate([("a.mp4", server.on("/again.mp4?id=1", gives(body)), 3, 0.5, 5)])
    assert corpus.ingest().report.written == 1


def test_an_older_entry_without_an_address_stands_whatever_the_address(
    corpus: SmallCorpus, server: HostileServer, tmp_path: Path, body: bytes
) -> None:
    annotate(corpus, server, {"a.mp4": gives(body)}, tmp_path)
    corpus.drop(".download-progress.json", json.dumps({"a.mp4": {"state": "failed", "reason": "HTTP 404"}}))
    assert corpus.ingest().report.skipped_download == 1
    assert server.requests["/a.mp4"] == 0
    assert corpus.ingest(retry_failed=True).report.written == 1


def test_a_clip_stored_encoded_is_kept_decoded(
    corpus: SmallCorpus, server: HostileServer, tmp_path: Path, body: bytes
) -> None:
    annotate(corpus, server, {"a.mp4": encoded(gzip.compress(body, mtime=0), "gzip")}, tmp_path)
    assert corpus.ingest().report.written == 2
    assert (corpus.folder / "clips" / "a.mp4").read_bytes() == body


# Being told


def test_each_row_that_is_lost_has_one_warning_with_its_line_name_and_reason(
    corpus: SmallCorpus, server: HostileServer, tmp_path: Path, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    clips = {"gone.mp4": says("404 No"), "busy.mp4": says("500 Oh"), "page.mp4": gives(b'{"error": 1}')}
    annotate(corpus, server, {**clips, "staged.mp4": gives(body)}, tmp_path)
    with (corpus.folder / "manifest.csv").open("a", encoding="utf-8") as out:
        out.write("missing.mp4,,3,0.5,5\n")
    corpus.stage("staged.mp4", b"words " * 99)
    with caplog.at_level(logging.WARNING):
        corpus.ingest()
    told = [record.getMessage() for record in caplog.records if record.getMessage().startswith("konvid-150k:")]
    assert [line for line in told if ".mp4: " in line] == [
        "konvid-150k:3: gone.mp4: skipped_download: curl-rc=22: HTTP 404 Not Found",
        "konvid-150k:4: busy.mp4: skipped_download: curl-rc=22: HTTP 500 Internal Server Error",
        "konvid-150k:5: page.mp4: skipped_download: no whole video came: the server answered JSON",
        "konvid-150k:6: staged.mp4: skipped_broken: a text file, not a clip",
        "konvid-150k:7: missing.mp4: skipped_missing: no file, and no URL",
    ]


def test_fifty_lost_rows_are_told_one_by_one_and_the_others_by_their_number(
    corpus: SmallCorpus, server: HostileServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    annotate(corpus, server, {f"{i:02d}.mp4": says("404 No") for i in range(60)}, tmp_path)
    with caplog.at_level(logging.WARNING):
        corpus.ingest()
    told = [record.getMessage() for record in caplog.records]
    assert sum("skipped_download: " in line for line in told) == 50
    assert "konvid-150k: and 10 more rows were lost" in told
