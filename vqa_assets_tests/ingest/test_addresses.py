"""Clips without a URL: the addresses that a corpus's templates make, in which order they are asked, what is kept."""

from pathlib import Path
from typing import Any

import pytest

from vqa_assets.clips.libcurl import LibcurlDownloader
from vqa_assets.clips.probing import PyAvProber
from vqa_assets.corpora import CORPORA
from vqa_assets.errors import DownloadError
from vqa_assets.tables.paths import DataRoot
from vqa_assets_tests.clips.test_probing import encode
from vqa_assets_tests.shared.fakes import FakeDownloader, SmallCorpus
from vqa_assets_tests.shared.hostile_server import HostileServer, gives

UGC = CORPORA["youtube-ugc"]
BUCKET = "https://storage.googleapis.com/ugc-dataset/"
VID = "Gaming_720P-25aa"
H264 = f"original_videos_h264/{VID}_crf_10_ss_00_t_20.0.mp4"
MKV = f"original_videos/Gaming/720P/{VID}.mkv"
NAME, BARE = f"original_videos/{VID}.mp4", f"{VID}.mp4"
EVERY = (H264, MKV, NAME, BARE)
GONE, BUSY = DownloadError("HTTP 404", permanent=True), DownloadError("HTTP 503", permanent=False)


@pytest.fixture
def small(root_path: Path) -> SmallCorpus:
    made = SmallCorpus(DataRoot(root_path), corpus=UGC)
    made.drop("manifest.csv", f"vid,MOSFull\n{VID},3.5\n")
    return made


def serve(small: SmallCorpus, bodies: dict[str, bytes | Exception], prefix: str = BUCKET) -> FakeDownloader:
    small.downloader = FakeDownloader({prefix + path: body for path, body in bodies.items()})
    return small.downloader


def asked(downloader: FakeDownloader, prefix: str = BUCKET) -> list[str]:
    return [url.removeprefix(prefix) for url in downloader.fetched]


def test_the_bucket_and_its_templates_are_declared() -> None:
    assert UGC.bucket_prefix == BUCKET
    assert CORPORA["chug"].addresses == ("{name}",)


@pytest.mark.parametrize(
    ("there", "src", "annotated_as"),
    [(H264, f"{VID}.mp4", None), (MKV, f"{VID}.mkv", VID), (NAME, f"{VID}.mp4", None), (BARE, f"{VID}.mp4", None)],
)
def test_addresses_are_tried_in_order_and_the_suffix_follows_the_one_that_gave_the_clip(
    small: SmallCorpus, there: str, src: str, annotated_as: str | None
) -> None:
    downloader = serve(small, {there: b"the clip"})
    assert small.ingest().report.written == 1
    assert asked(downloader) == list(EVERY[: EVERY.index(there) + 1])
    (row,) = small.rows()
    assert (row["src"], row.get("annotated_as")) == (src, annotated_as)
    assert (small.folder / "clips" / src).read_bytes() == b"the clip"
    assert small.progress() == {src: {"state": "done"}}
    before = small.lines()
    report = small.ingest().report
    assert (report.unchanged, report.read_clips) == (1, 0)
    assert small.lines() == before


@pytest.mark.parametrize(
    ("header", "row", "path"),
    [
        ("vid,MOSFull", "HDR_1080P-1d78,3", "original_videos/HDR/1080P/HDR_1080P-1d78.mkv"),
        ("name,mos", "HDR_1080P-1d78.mkv,3", "original_videos/HDR/1080P/HDR_1080P-1d78.mkv"),
        ("vid,category,resolution,MOSFull", "25aa,Lyric Video,480,3", "original_videos/Lyric%20Video/480P/25aa.mkv"),
        ("vid,Category,Resolution,mos", "HDR_1080P-1d78,hdr,1080p,3", "original_videos/HDR/1080P/HDR_1080P-1d78.mkv"),
    ],
)
def test_values_are_parts_of_the_name_or_columns_of_the_file(
    small: SmallCorpus, header: str, row: str, path: str
) -> None:
    small.drop("manifest.csv", f"{header}\n{row}\n")
    serve(small, {path: b"the clip"})
    assert small.ingest().report.written == 1


def test_a_template_that_lacks_a_value_makes_no_address(small: SmallCorpus) -> None:
    small.drop("manifest.csv", "vid,MOSFull\n25aa,3.5\n")
    downloader = serve(small, {})
    small.ingest()
    assert asked(downloader) == [
        "original_videos_h264/25aa_crf_10_ss_00_t_20.0.mp4",
        "original_videos/25aa.mp4",
        "25aa.mp4",
    ]


def test_an_address_in_the_score_file_is_the_only_one(small: SmallCorpus) -> None:
    small.drop("manifest.csv", f"vid,url,MOSFull\n{VID},http://h/a,3.5\n")
    downloader = serve(small, {})
    small.ingest()
    assert list(downloader.fetched) == ["http://h/a"]


@pytest.mark.parametrize(
    ("answers", "counter", "entry"),
    [
        ((GONE, GONE, GONE, GONE), "skipped_download", "HTTP 404 (at 4 addresses)"),
        ((BUSY, GONE, GONE, GONE), "skipped_download", ""),
        ((GONE, GONE, GONE, BUSY), "skipped_download", ""),
        ((BUSY, GONE, b"the clip", GONE), "written", "done"),
        ((GONE, b"the clip", BUSY, BUSY), "written", "done"),
    ],
)
def test_a_clip_is_gone_only_where_every_address_says_so(
    small: SmallCorpus, answers: tuple[Any, ...], counter: str, entry: str
) -> None:
    downloader = serve(small, dict(zip(EVERY, answers, strict=True)))
    assert getattr(small.ingest().report, counter) == 1
    (told,) = small.progress().values() or [{}]
    assert (told.get("reason") or told.get("state", "")) == entry
    downloader.fetched.clear()
    small.ingest()
    assert (not downloader.fetched) == bool(entry)


def test_what_is_gone_at_every_address_is_asked_for_at_other_ones_and_on_request(small: SmallCorpus) -> None:
    serve(small, {})
    small.ingest()
    assert small.progress()[f"{VID}.mp4"]["address"] == " ".join(sorted(BUCKET + path for path in EVERY))
    downloader = serve(small, {MKV: b"the clip"}, "http://mirror/")
    assert small.ingest().report.skipped_download == 1
    assert not downloader.fetched
    assert small.ingest(bucket_prefix="http://mirror/").report.written == 1
    assert small.progress() == {f"{VID}.mp4": {"state": "done"}, f"{VID}.mkv": {"state": "done"}}


def test_a_server_that_is_not_reached_is_asked_once_a_clip(small: SmallCorpus) -> None:
    down = DownloadError("no route", permanent=False, unreachable=True)
    downloader = serve(small, dict.fromkeys(EVERY, down))
    with pytest.raises(Exception, match="no server answered"):
        small.ingest()
    assert asked(downloader) == [H264]


def test_the_template_that_last_worked_goes_first_within_a_run_and_in_the_next(small: SmallCorpus) -> None:
    def rows(count: int) -> str:
        return "vid,MOSFull\n" + "".join(f"Gaming_720P-{i:04x},3.5\n" for i in range(count))

    paths = [f"original_videos/Gaming/720P/Gaming_720P-{i:04x}.mkv" for i in range(90)]
    small.drop("manifest.csv", rows(80))
    downloader = serve(small, {path: path.encode() for path in paths})
    assert small.ingest(workers=1).report.written == 80
    # So many are handed out before the first has come back.
    assert sum("h264" in path for path in asked(downloader)) <= 70
    downloader.fetched.clear()
    small.drop("manifest.csv", rows(90))
    assert small.ingest().report.written == 10
    assert sorted(asked(downloader)) == paths[80:]


def test_a_clip_that_comes_from_another_address_later_keeps_one_row(small: SmallCorpus) -> None:
    serve(small, {MKV: b"the original"})
    small.ingest()
    (small.folder / "clips" / f"{VID}.mkv").unlink()
    serve(small, {})
    assert small.ingest().report.retained_unavailable == 1
    serve(small, {H264: b"the H.264"})
    report = small.ingest(retry_failed=True).report
    assert (report.written, report.rows_out) == (1, 1)
    assert [row["src"] for row in small.rows()] == [f"{VID}.mp4"]
    assert small.ingest().report.unchanged == 1


def test_no_clip_is_kept_by_the_name_of_another(small: SmallCorpus) -> None:
    small.drop("manifest.csv", f"vid,MOSFull\n{VID},3.5\n{VID}.mkv,4\n{VID}.avi,2\n")
    serve(small, {f"original_videos/Gaming/720P/{VID}.mkv": b"1", f"original_videos/{VID}.avi": b"2"})
    small.ingest()
    assert {path.name for path in (small.folder / "clips").iterdir()} <= {f"{VID}{s}" for s in (".mp4", ".mkv", ".avi")}
    assert {row["src"]: row["mos"] for row in small.rows()} == {f"{VID}.mp4": 3.5}
    assert small.ingest().report.rows_out == 1


def test_a_corpus_of_ones_own_declares_templates_too(root_path: Path) -> None:
    corpus = CORPORA["live-vqc"].but(
        name="street-clips",
        bucket_prefix="https://h/",
        addresses=("{place}/{day}/{stem}.webm", "all/{name}?raw=1"),
        name_parts="{day}-{id}",
    )
    small = SmallCorpus(DataRoot(root_path), corpus=corpus)
    small.drop("manifest.csv", "name,place,mos\nmon-1,a b,30\ntue-2,,70\n")
    serve(small, {"a%20b/mon/mon-1.webm": b"1", "all/tue-2.mp4?raw=1": b"2"}, "https://h/")
    small.ingest()
    assert [row["src"] for row in small.rows()] == ["mon-1.webm", "tue-2.mp4"]


@pytest.mark.parametrize(
    ("file", "src"),
    [
        (MKV, MKV),
        (H264, H264),
        (f"clips/{VID}.mkv", f"{VID}.mkv"),
        (f"clips/ugc-dataset/{MKV}", f"ugc-dataset/{MKV}"),
        (f"clips/Gaming/720P/{VID}.mkv", f"Gaming/720P/{VID}.mkv"),
    ],
)
def test_originals_are_found_in_the_folders_that_gsutil_makes(small: SmallCorpus, file: str, src: str) -> None:
    small.drop(file, b"the clip")
    downloader = serve(small, {})
    assert small.ingest().report.written == 1
    assert [(row["src"], row["annotated_as"]) for row in small.rows()] == [(src, VID)]
    assert not downloader.fetched


@pytest.mark.usefixtures("no_proxy")
def test_an_original_of_a_real_server_is_what_it_is_called(
    small: SmallCorpus, server: HostileServer, tmp_path: Path
) -> None:
    whole = encode(tmp_path / "a.mkv", "libx264").read_bytes()
    server.on(f"/ugc-dataset/{MKV}", gives(whole))
    small.downloader, small.prober = LibcurlDownloader(), PyAvProber()
    try:
        assert small.ingest(bucket_prefix=server.url("/ugc-dataset/")).report.written == 1
    finally:
        small.downloader.close()
        small.prober.close()
    (row,) = small.rows()
    assert (row["src"], row["encoder_upstream"], row["src_size_bytes"]) == (f"{VID}.mkv", "h264", len(whole))
    assert server.requests == {f"/ugc-dataset/{H264}": 1, f"/ugc-dataset/{MKV}": 1}
