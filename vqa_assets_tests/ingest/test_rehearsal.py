"""A rehearsal says what the ingest then does, verdict and counts, and leaves every file as it was.

Clips, prober, downloader and server are real; each case is a corpus as a person may have left it.
"""

import hashlib
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vqa_assets.clips.folders import FileStamp
from vqa_assets.clips.hub import HubAccess
from vqa_assets.clips.libcurl import LibcurlDownloader
from vqa_assets.clips.pages import PageDownloader
from vqa_assets.clips.probing import PyAvProber
from vqa_assets.corpora import CORPORA
from vqa_assets.errors import VqaError
from vqa_assets.ingest.cache import IngestCache, ReadClip
from vqa_assets.ingest.fakes import GEOMETRY
from vqa_assets.ingest.gather import Services
from vqa_assets.ingest.rehearsal import Pace, Rehearsal, rehearse
from vqa_assets.ingest.rows import KEPT, LOST, IngestReport
from vqa_assets.ingest.settings import resolve
from vqa_assets.ingest.tools import DownloaderDescription, ProberDescription
from vqa_assets.tables.lock import corpus_lock
from vqa_assets.tables.paths import DataRoot
from vqa_assets_tests.shared.clips import tiny_clips
from vqa_assets_tests.shared.fakes import SmallCorpus
from vqa_assets_tests.shared.hostile_server import HostileServer, gives, says, until_close
from vqa_assets_tests.shared.hub_server import Dataset, HubServer
from vqa_assets_tests.tables.test_disk import another_user

pytestmark = pytest.mark.usefixtures("no_proxy")
COMPARED = (*KEPT, *LOST, "retained_outside", "outside_dedups", "pruned")
DEAD = "http://127.0.0.1:9/a.mp4"


@pytest.fixture(scope="module")
def bodies(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    return list(tiny_clips(tmp_path_factory.mktemp("clips"), 4).values())


@pytest.fixture(scope="module")
def prober() -> Iterator[PyAvProber]:
    made = PyAvProber()
    yield made
    made.close()


@pytest.fixture
def corpus(root_path: Path, prober: PyAvProber) -> Iterator[SmallCorpus]:
    downloader = PageDownloader(LibcurlDownloader())
    yield SmallCorpus(DataRoot(root_path), prober=prober, downloader=downloader)
    downloader.close()


def everything_below(root: Path) -> dict[str, tuple[int, str]]:
    """Every file and folder → its time of change and the hash of its bytes."""
    return {
        path.relative_to(root).as_posix(): (
            path.lstat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
        )
        for path in [root, *root.rglob("*")]
    }


def rehearsed(
    corpus: SmallCorpus, *, read: bool = True, tools: dict[str, Any] | None = None, **settings: Any
) -> Rehearsal:
    """A rehearsal that left everything as it was."""
    resolved = resolve(corpus.corpus, {"min_rows": 1, **settings}, corpus.root.ingest_toml(corpus.corpus))
    services = Services(
        **{
            "prober": corpus.prober,
            "downloader": corpus.downloader,
            "pool": corpus.pool,
            "hub": corpus.hub,
            **(tools or {}),
        }
    )
    before = everything_below(corpus.root.path)
    done = rehearse(corpus.corpus, resolved, services, corpus.root, read=read)
    assert everything_below(corpus.root.path) == before
    return done


def score_file(corpus: SmallCorpus, *rows: tuple[object, ...]) -> None:
    corpus.annotate([(*row, "", "", "")[:5] if len(row) > 2 else (row[0], "", row[1], "", "") for row in rows])


def staged(corpus: SmallCorpus, bodies: list[bytes], names: str = "a b c") -> list[str]:
    """Distinct clips of these names, and a score file that names them."""
    for name, body in zip(names.split(), bodies, strict=False):
        corpus.stage(f"{name}.mp4", body)
    score_file(corpus, *((f"{name}.mp4", 2 + i) for i, name in enumerate(names.split())))
    return names.split()


# Cases: each leaves a corpus, and may return settings


def good(corpus: SmallCorpus, bodies: list[bytes], server: HostileServer) -> None:
    corpus.stage("x.mov.mp4", bodies[0])
    corpus.stage("deep/y.mp4", bodies[1])
    corpus.stage("z.mkv", bodies[2])
    corpus.stage("nobody.mp4", bodies[3])
    score_file(corpus, ("x.mov", 2), ("y.mp4", 3), ("z.mp4", 4))


def missing(corpus: SmallCorpus, bodies: list[bytes], server: HostileServer) -> None:
    corpus.stage("a.mp4", bodies[0])
    corpus.stage("bNEW.mp4", bodies[1])
    score_file(corpus, ("a.mp4", 2), ("b_bb.mp4", 3), ("c.mp4", 3), ("A.mp4", "n/a"), ("a.mp4", 2))


def no_clip_at_all(corpus: SmallCorpus, bodies: list[bytes], server: HostileServer) -> None:
    corpus.stage("other.mp4", bodies[0])
    score_file(corpus, ("a.mp4", 2), ("b.mp4", 3))


def nothing_but_allowed(corpus: SmallCorpus, bodies: list[bytes], server: HostileServer) -> dict[str, Any]:
    score_file(corpus, ("a.mp4", 2), ("b.mp4", 3))
    return {"allow_empty": True}


def another_scale(corpus: SmallCorpus, bodies: list[bytes], server: HostileServer) -> None:
    corpus.corpus = CORPORA["lsvq"]
    score_file(corpus, *((f"{i}.mp4", i % 11) for i in range(60)))


def too_many_bad_rows(corpus: SmallCorpus, bodies: list[bytes], server: HostileServer) -> None:
    corpus.stage("a.mp4", bodies[0])
    score_file(corpus, ("a.mp4", 2), ("b.mp4", 77), ("c.mp4", "n/a"))


def torn_clip(corpus: SmallCorpus, bodies: list[bytes], server: HostileServer) -> None:
    corpus.stage("a.mp4", bodies[0])
    corpus.stage("b.mp4", bodies[1][: len(bodies[1]) // 2])
    corpus.stage("c.mp4", bodies[0])
    score_file(corpus, ("a.mp4", 2), ("b.mp4", 3), ("c.mp4", 3))


def torn_earlier_rows(corpus: SmallCorpus, bodies: list[bytes], server: HostileServer) -> None:
    staged(corpus, bodies)
    corpus.drop("konvid_150k.jsonl", '{"src": "a.mp4", "src_sha')


def empty_score_file(corpus: SmallCorpus, bodies: list[bytes], server: HostileServer) -> None:
    corpus.drop("manifest.csv", "")


def no_score_file(corpus: SmallCorpus, bodies: list[bytes], server: HostileServer) -> None:
    corpus.stage("a.mp4", bodies[0])


def broken_progress(corpus: SmallCorpus, bodies: list[bytes], server: HostileServer) -> None:
    staged(corpus, bodies)
    corpus.drop(".download-progress.json", "[]")


def a_folder_in_the_way(corpus: SmallCorpus, bodies: list[bytes], server: HostileServer) -> None:
    staged(corpus, bodies)
    (corpus.folder / "konvid_150k.losses.jsonl").mkdir()


def addresses(corpus: SmallCorpus, bodies: list[bytes], server: HostileServer) -> None:
    behaviours = [gives(bodies[0]), says("404 Gone"), until_close(bodies[1]), gives(bodies[2]), gives(bodies[3])]
    urls = [server.on(f"/{i}.mp4", behaviour) for i, behaviour in enumerate(behaviours)]
    score_file(corpus, *((f"{i}.mp4", url, 3) for i, url in enumerate(urls)))


def several_addresses(corpus: SmallCorpus, bodies: list[bytes], server: HostileServer) -> dict[str, Any]:
    corpus.corpus = CORPORA["youtube-ugc"]
    names = [f"Gaming_720P-{i:04x}" for i in range(5)]
    corpus.drop("manifest.csv", "vid,MOSFull\n" + "".join(f"{name},{1 + i / 2}\n" for i, name in enumerate(names)))
    for name, body in zip(names[1:], bodies, strict=True):
        server.on(f"/original_videos/Gaming/720P/{name}.mkv", gives(body))
    server.on(f"/original_videos_h264/{names[1]}_crf_10_ss_00_t_20.0.mp4", says("403 No"))
    return {"bucket_prefix": server.url("/")}


def refused_everywhere(corpus: SmallCorpus, bodies: list[bytes], server: HostileServer) -> None:
    score_file(corpus, *((f"{i}.mp4", server.on(f"/{i}.mp4", says("403 No")), 3) for i in range(3)))


def dead_server(corpus: SmallCorpus, bodies: list[bytes], server: HostileServer) -> None:
    score_file(corpus, *((f"{i}.mp4", f"{DEAD}?{i}", 3) for i in range(5)))


def dead_server_beside_a_clip(corpus: SmallCorpus, bodies: list[bytes], server: HostileServer) -> None:
    corpus.stage("a.mp4", bodies[0])
    corpus.annotate([("a.mp4", "", 3, "", ""), ("b.mp4", DEAD, 3, "", "")])


def ingested_before(corpus: SmallCorpus, bodies: list[bytes], server: HostileServer) -> dict[str, Any]:
    staged(corpus, bodies, "a b c d")
    corpus.ingest()
    (corpus.folder / "clips" / "b.mp4").unlink()
    corpus.stage("c.mp4", bodies[2] + b"\0\0\0\x08free")
    (corpus.folder / "clips" / "d.mp4").rename(corpus.folder / "clips" / "e.mp4")
    score_file(corpus, ("a.mp4", 5), ("b.mp4", 4), ("c.mp4", 4), ("e.mp4", 5))
    return {"max_rows": 3}


def pruned(corpus: SmallCorpus, bodies: list[bytes], server: HostileServer) -> dict[str, Any]:
    ingested_before(corpus, bodies, server)
    return {"prune": True}


CASES: dict[Callable[..., dict[str, Any] | None], str] = {
    good: "",
    missing: "",
    no_clip_at_all: "every row came to nothing",
    nothing_but_allowed: "",
    another_scale: "expected scores that stand on one declared scale",
    too_many_bad_rows: "2 of 3 rows unusable",
    torn_clip: "",
    torn_earlier_rows: "konvid_150k.jsonl:1: not JSON",
    empty_score_file: "manifest.csv",
    no_score_file: "no annotation file",
    broken_progress: ".download-progress.json: a JSON list",
    a_folder_in_the_way: "konvid_150k.losses.jsonl: is a directory",
    addresses: "",
    several_addresses: "",
    refused_everywhere: "every row came to nothing",
    dead_server: "no server answered",
    dead_server_beside_a_clip: "",
    ingested_before: "",
    pruned: "",
}
"""Case → what blocks it, in the words that an ingest ends with."""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_the_verdict_and_the_counts_are_those_of_the_ingest_that_follows(
    corpus: SmallCorpus, bodies: list[bytes], server: HostileServer, case: Callable[..., dict[str, Any] | None]
) -> None:
    settings = {"allow_empty": False, **(case(corpus, bodies, server) or {})}
    told = rehearsed(corpus, **settings)
    blocks = CASES[case]
    assert told.would_publish == (not blocks), told.blocks
    assert (told.free_bytes is None) == (not told.rows_in)  # not known where nothing was looked at, and never 0
    if blocks:
        assert [blocks in block for block in told.blocks] == [True], told.blocks
        with pytest.raises(VqaError) as caught:
            corpus.ingest(**settings)
        assert blocks in str(caught.value)
        return
    assert_as_ingested(told, corpus.ingest(**settings).report)


def assert_as_ingested(told: Rehearsal, report: IngestReport) -> None:
    """The counts, names and losses that were told are those of the ingest; what was to fetch came."""
    expected = {name: told.counters[name] for name in COMPARED}
    expected["written"] += told.to_fetch.clips
    assert {name: report.counters()[name] for name in COMPARED} == expected
    assert (report.rows_in, report.rows_out) == (told.rows_in, told.counters["rows_out"] + told.to_fetch.clips)
    assert report.names_found == told.names_found
    assert [loss.as_dict() for loss in report.losses] == [loss.as_dict() for loss in told.losses]


def test_addresses_are_asked_until_one_gives_the_clip_and_the_one_that_worked_last_goes_first(
    corpus: SmallCorpus, bodies: list[bytes], server: HostileServer
) -> None:
    settings = several_addresses(corpus, bodies, server)
    told = rehearsed(corpus, **settings)
    failures = [one.failure for one in told.asked]
    assert ["404" in one for one in failures] == [True] * 4 + [False, False] + [True, False]
    assert [one.size_bytes for one in told.asked if not one.failure] == [len(bodies[0]), len(bodies[1])]
    assert told.to_fetch.basis.endswith("as 2 of 3 servers announced")
    corpus.ingest(**settings)
    for name in ("Gaming_720P-0001.mkv", "Gaming_720P-0002.mkv"):
        (corpus.folder / "clips" / name).unlink()
    told = rehearsed(corpus, **settings)
    assert [(one.size_bytes, one.failure) for one in told.asked] == [(len(bodies[0]), ""), (len(bodies[1]), "")]


@pytest.mark.parametrize(("token", "blocks"), [("hf_ours", ""), ("", "is gated (HF_TOKEN is not set)")])
def test_clips_of_a_dataset_on_the_hub_are_named_and_asked_for_as_the_ingest_does_it(
    root_path: Path, prober: PyAvProber, bodies: list[bytes], token: str, blocks: str
) -> None:
    files = {"README.md": b"# clips", "Videos/a/1.mp4": bodies[0], "Videos/x.mov.mp4": bodies[1]}
    with HubServer({"someone/clips": Dataset({"1" * 40: files}, {"main": "1" * 40}, ("hf_ours",), gated=True)}) as hub:
        access = HubAccess(hub.endpoint, token)
        downloader = LibcurlDownloader(token_site=access.token_site())
        corpus = SmallCorpus(DataRoot(root_path), prober, downloader, CORPORA["lsvq"], hub=access)
        corpus.drop("manifest.csv", "name,mos\na/1,60\nx.mov,40\nnowhere,50\n")
        settings = {"hf": "someone/clips", "allow_empty": False}
        told = rehearsed(corpus, **settings)
        if blocks:
            assert [blocks in block for block in told.blocks] == [True]
            assert [blocks in doubt for doubt in told.doubts] == [True]
            with pytest.raises(VqaError) as caught:
                corpus.ingest(**settings)
            assert str(caught.value) == told.blocks[0]
        else:
            assert told.renamed == [
                {"src": "Videos/a/1.mp4", "annotated_as": "a/1", "how": "hub"},
                {"src": "Videos/x.mov.mp4", "annotated_as": "x.mov", "how": "hub"},
            ]
            assert [one.size_bytes for one in told.asked] == [len(bodies[0]), len(bodies[1])]
            assert_as_ingested(told, corpus.ingest(**settings).report)
        downloader.close()


def test_it_says_how_each_clip_was_found_and_what_is_like_a_missing_one(
    corpus: SmallCorpus, bodies: list[bytes], server: HostileServer
) -> None:
    good(corpus, bodies, server)
    told = rehearsed(corpus)
    assert told.names_found == {"added_suffix": 1, "below": 1, "other_suffix": 1}
    assert told.renamed == [
        {"src": "x.mov.mp4", "annotated_as": "x.mov", "how": "added_suffix"},
        {"src": "deep/y.mp4", "annotated_as": "y.mp4", "how": "below"},
        {"src": "z.mkv", "annotated_as": "z.mp4", "how": "other_suffix"},
    ]
    assert told.unlabelled == ["nobody.mp4"]
    score_file(corpus, ("x.mov", 2), ("NOBODY.mp4", 3))
    told = rehearsed(corpus)
    assert told.nearest == {"NOBODY.mp4": "nobody.mp4"}
    assert "  lost:          1 skipped_missing: no file, and no URL: NOBODY.mp4 (like it: nobody.mp4)" in told.lines()


def test_it_says_the_scale_with_its_evidence_as_the_file_has_it(corpus: SmallCorpus, bodies: list[bytes]) -> None:
    corpus.corpus = CORPORA["chug"]
    corpus.drop("manifest.csv", "Video,mos_j,sos_j\n" + "".join(f"c{i},{40 + i},5\n" for i in range(4)))
    corpus.stage("c0.mp4", bodies[0])
    told = rehearsed(corpus)
    assert (told.scale["name"], told.scale["from"]) == ("0-100-continuous", "detected")
    assert told.scale["quantiles"] == {"0%": 40, "10%": 40, "50%": 42, "90%": 43, "100%": 43}
    assert told.scale["shares"] == {"0-100-continuous": 1.0}


def test_without_reading_clips_are_counted_as_open_with_their_bytes_and_time(
    corpus: SmallCorpus, bodies: list[bytes]
) -> None:
    staged(corpus, bodies)
    told = rehearsed(corpus, read=False)
    assert (told.would_publish, told.counters["rows_out"], told.to_read.clips) == (True, 0, 3)
    assert told.to_read.size_bytes == sum(len(body) for body in bodies[:3])
    assert "  rows in:       3; out 0 to 3" in told.lines()


# Addresses


def test_three_addresses_are_asked_for_their_headers_and_the_others_are_extrapolated(
    corpus: SmallCorpus, server: HostileServer
) -> None:
    urls = [server.on(f"/{i}.mp4", gives(bytes(1_000_000 * (i + 1)))) for i in range(5)]
    score_file(corpus, *((f"{i}.mp4", url, 3) for i, url in enumerate(urls)))
    resolved = resolve(corpus.corpus, {"min_rows": 1}, corpus.root.ingest_toml(corpus.corpus))
    services = Services(corpus.prober, corpus.downloader, corpus.pool)
    told = rehearse(corpus.corpus, resolved, services, corpus.root, Pace(clips_per_s=1000.0, bytes_per_s=1e6))
    assert server.requests == {f"/{i}.mp4": 1 for i in range(3)}
    assert [one.size_bytes for one in told.asked] == [1_000_000, 2_000_000, 3_000_000]
    assert (told.to_fetch.clips, told.to_fetch.size_bytes, told.to_fetch.seconds) == (5, 10_000_000, 10.0)
    assert told.to_fetch.basis == "2.0 MB a clip, as 3 of 3 servers announced"


def test_a_server_that_announces_no_length_is_told_and_the_declared_size_stands_in(
    corpus: SmallCorpus, server: HostileServer, bodies: list[bytes]
) -> None:
    score_file(corpus, *((f"{i}.mp4", server.on(f"/{i}", until_close(bodies[i])), 3) for i in range(2)))
    told = rehearsed(corpus)
    assert [(one.size_bytes, one.failure) for one in told.asked] == [(None, "")] * 2
    assert told.to_fetch.size_bytes == 2 * corpus.corpus.bytes_per_clip
    assert told.to_fetch.basis.endswith("as the corpus declares: 2 clips were asked for and no length was announced")


def test_credentials_and_queries_of_an_address_are_not_told(corpus: SmallCorpus, server: HostileServer) -> None:
    server.on("/a.mp4?signature=secret", gives(b"x" * 100))
    score_file(corpus, ("a.mp4", server.url("/a.mp4?signature=secret", "me:hidden"), 3))
    told = "\n".join([*rehearsed(corpus).lines(), str(rehearsed(corpus).as_dict())])
    assert server.seen[0].headers["Authorization"].startswith("Basic ")
    assert "secret" not in told
    assert "hidden" not in told


def test_what_servers_announced_and_does_not_fit_blocks(
    corpus: SmallCorpus, server: HostileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    score_file(corpus, ("a.mp4", server.on("/a.mp4", gives(bytes(50_000))), 3))
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10_000))
    told = rehearsed(corpus)
    assert told.blocks == ["konvid-150k: 1 clips to fetch need about 50 KB, and 10 KB are free"]


# What the machine lacks


def test_pages_that_this_machine_cannot_open_are_lost_and_block_where_nothing_else_comes(
    corpus: SmallCorpus, bodies: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # no deno, no node
    monkeypatch.setattr("vqa_assets.clips.pages.yt_dlp_command", lambda: ["yt-dlp"])
    page = ("p.mp4", "https://www.youtube.com/watch?v=aaaaaaaaaaa", 3)
    score_file(corpus, page)
    tools = {"downloader": DownloaderDescription()}
    told = rehearsed(corpus, tools=tools)
    assert not told.would_publish
    assert told.counters["skipped_download"] == 1
    assert "a JavaScript runtime, which this machine has not: install deno or node" in told.doubts[0]
    corpus.stage("a.mp4", bodies[0])
    corpus.annotate([("a.mp4", "", 3, "", ""), (*page, "", "")])
    told = rehearsed(corpus, tools=tools)
    assert (told.would_publish, told.counters["written"], told.counters["skipped_download"]) == (True, 1, 1)


@pytest.mark.parametrize(
    ("tools", "words"),
    [
        ({"prober": ProberDescription("no-such-ffprobe")}, "the ffprobe program 'no-such-ffprobe'"),
        ({"downloader": DownloaderDescription("no-such-curl")}, "the curl program 'no-such-curl'"),
    ],
    ids=["ffprobe", "curl"],
)
def test_a_program_that_is_missing_blocks_where_a_clip_needs_it(
    corpus: SmallCorpus, bodies: list[bytes], server: HostileServer, tools: dict[str, Any], words: str
) -> None:
    corpus.stage("a.mp4", bodies[0])
    corpus.annotate([("a.mp4", "", 3, "", ""), ("b.mp4", server.on("/b.mp4", gives(bodies[1])), 3, "", "")])
    told = rehearsed(corpus, read=False, tools=tools)
    assert [words in block for block in told.blocks] == [True]
    corpus.ingest()
    assert rehearsed(corpus, read=False, tools=tools).would_publish  # every clip is known: no program is started


def test_a_run_at_work_blocks_and_everything_else_is_told_all_the_same(
    corpus: SmallCorpus, bodies: list[bytes]
) -> None:
    staged(corpus, bodies)
    with corpus_lock(corpus.folder, 0):
        told = rehearsed(corpus)
    assert [".ingest.lock now" in block for block in told.blocks] == [True]
    assert told.counters["written"] == 3
    assert rehearsed(corpus).would_publish  # the lock's file stays, and nobody holds it


def test_a_root_that_may_not_be_written_is_told_and_can_be_rehearsed(prober: PyAvProber, bodies: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        corpus = SmallCorpus(DataRoot(Path(folder)), prober=prober)
        staged(corpus, bodies)
        corpus.ingest()
        assert rehearsed(corpus).would_publish  # and everything is imported that another user may not read
        inside = [Path(folder), *Path(folder).rglob("*")]
        for path in inside:
            path.chmod(0o555 if path.is_dir() else 0o444)
        with another_user():
            told = rehearsed(corpus)
        for path in inside:
            path.chmod(0o755)
    assert told.counters["unchanged"] == 3
    assert {"cannot write" in block for block in told.blocks} == {True}


# The cache


def test_what_a_killed_run_committed_is_known_though_its_cache_is_only_read(
    corpus: SmallCorpus, bodies: list[bytes]
) -> None:
    staged(corpus, bodies)
    status = (corpus.folder / "clips" / "a.mp4").stat()
    with IngestCache(corpus.folder / ".ingest-cache.sqlite") as cache:
        cache.put("a.mp4", ReadClip(FileStamp(status.st_size, status.st_mtime_ns), "0" * 64, GEOMETRY))
        assert (corpus.folder / ".ingest-cache.sqlite-wal").stat().st_size
        assert rehearsed(corpus, read=False).counters["written"] == 1


@pytest.mark.parametrize("content", [b"no database", b""])
def test_a_cache_that_is_none_is_left_as_it_is_and_every_clip_is_to_read(
    corpus: SmallCorpus, bodies: list[bytes], content: bytes
) -> None:
    staged(corpus, bodies)
    corpus.drop(".ingest-cache.sqlite", content)
    assert rehearsed(corpus, read=False).to_read.clips == 3


def test_archives_that_are_yet_to_come_are_asked_for_their_size_and_their_clips_are_open(
    corpus: SmallCorpus, server: HostileServer
) -> None:
    corpus.corpus = CORPORA["konvid-1k"]
    for archive in corpus.corpus.archives:
        server.on(f"/{archive.file}", gives(bytes(5_000), "application/zip"))
    settings = {"fetch": True, "archive_base": server.url("/")}
    told = rehearsed(corpus, **settings)
    assert [one.size_bytes for one in told.asked] == [5_000] * len(corpus.corpus.archives)
    assert told.would_publish
    assert "the score file may be in the archives" in " ".join(told.doubts)
    corpus.annotate([(f"{i}.mp4", "", 3, "", "") for i in range(3)])
    assert rehearsed(corpus, **settings).in_archives == 3
    server.behaviours.clear()
    told = rehearsed(corpus, **settings)
    assert not told.would_publish
    assert "HTTP 404" in told.blocks[0]


def test_a_table_that_is_yet_to_come_is_asked_for_too_and_may_be_gone_where_it_is_not_needed(
    corpus: SmallCorpus, server: HostileServer
) -> None:
    for archive in corpus.corpus.archives:
        if archive.needed and archive.folder is None:
            server.on(f"/{archive.file}", gives(bytes(archive.min_bytes), "text/csv"))
    settings = {"fetch": True, "archive_base": server.url("/")}
    told = rehearsed(corpus, **settings)
    gone = [one.address.rpartition("/")[2] for one in told.asked if one.failure]
    assert gone == ["k150ka_votes.csv", "k150kb_votes.csv", "k150kb.zip", "k150ka.zip"]
    assert [gone[2] in told.blocks[0], gone[3] in told.blocks[1], len(told.blocks)] == [True, True, 2]
    assert [name in doubt and "done without" in doubt for name, doubt in zip(gone, told.doubts, strict=False)][:2] == [
        True,
        True,
    ]
    corpus.drop("k150ka_votes.csv", "there")
    assert len(rehearsed(corpus, **settings).asked) == len(told.asked) - 1


def test_settings_that_other_stages_will_not_see_are_a_doubt(corpus: SmallCorpus, bodies: list[bytes]) -> None:
    staged(corpus, bodies)
    told = rehearsed(corpus, output=corpus.folder / "elsewhere.jsonl")
    assert told.would_publish
    assert ["output: set for this run only" in doubt for doubt in told.doubts] == [True]


def test_a_cache_without_the_table_of_templates_is_read(corpus: SmallCorpus, bodies: list[bytes]) -> None:
    staged(corpus, bodies)
    corpus.ingest()
    with closing(sqlite3.connect(corpus.folder / ".ingest-cache.sqlite")) as file:
        file.execute("DROP TABLE worked")
    assert rehearsed(corpus, read=False).counters["unchanged"] == 3


def test_no_folder_that_an_ingest_would_make_is_made(corpus: SmallCorpus) -> None:
    score_file(corpus, ("a.mp4", 3))
    rehearsed(corpus)
    assert os.listdir(corpus.folder) == ["manifest.csv"]  # noqa: PTH208
