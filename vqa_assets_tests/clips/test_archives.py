"""A corpus's archives: fetched once, over broken connections, and unpacked without a way out of the folder."""

import hashlib
import io
import json
import logging
import re
import stat
import threading
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vqa_assets.clips.archives import LargeFile, Unpacked, fetch_resuming, unpack_zip
from vqa_assets.clips.downloading import DownloadLimits
from vqa_assets.corpora import CORPORA
from vqa_assets.errors import DownloadError, IngestError
from vqa_assets.tables.paths import DataRoot
from vqa_assets_tests.shared.fakes import SmallCorpus
from vqa_assets_tests.shared.hostile_server import Behaviour, Exchange, HostileServer, gives, says

BODY = bytes(range(256)) * 4000
QUICK = DownloadLimits(backoff_s=0.01, retries=2, stall_s=1)
KONVID_1K = CORPORA["konvid-1k"].but(
    archives=tuple(archive.but(min_bytes=1) for archive in CORPORA["konvid-1k"].archives)
)


def ranged(body: bytes, most: int | None = None, etag: str = '"v1"', **headers: object) -> Behaviour:
    """Serves ranges; closes the connection after ``most`` bytes of each answer."""

    def behave(exchange: Exchange) -> bool:
        wanted = exchange.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-")
        start = int(wanted) if exchange.headers.get("If-Range") == etag else 0
        fields: dict[str, object] = {"ETag": etag, "Content_Type": "application/zip", **headers}
        if start and start >= len(body):
            exchange.send("416 Range Not Satisfiable", Content_Range=f"bytes */{len(body)}", Content_Length=0)
            return True
        rest = body[start:]
        if start:
            fields["Content_Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        cut = rest if most is None else rest[:most]
        exchange.send("206 Partial Content" if start else "200 OK", cut, Content_Length=len(rest), **fields)
        return len(cut) == len(rest)

    return behave


def large(url: str, folder: Path, **others: Any) -> LargeFile:
    return LargeFile(url, folder / "a.zip", threading.Event(), lambda line: None, **{"limits": QUICK, **others})


class TestResuming:
    """One large file over several connections."""

    def test_a_connection_that_breaks_goes_on_where_it_stopped(self, server: HostileServer, tmp_path: Path) -> None:
        file = large(server.on("/a.zip", ranged(BODY, most=300_000)), tmp_path)
        fetch_resuming(file)
        assert file.path.read_bytes() == BODY
        assert [e.headers.get("Range") for e in server.seen] == [
            None,
            "bytes=300000-",
            "bytes=600000-",
            "bytes=900000-",
        ]
        assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]

    def test_a_later_run_goes_on_where_an_earlier_one_gave_up(self, server: HostileServer, tmp_path: Path) -> None:
        def dying(exchange: Exchange) -> bool:
            return exchange.nth == 1 and ranged(BODY, most=500_000)(exchange)

        file = large(server.on("/a.zip", dying), tmp_path)
        with pytest.raises(DownloadError):
            fetch_resuming(file)
        assert file.part.stat().st_size == 500_000
        server.on("/a.zip", ranged(BODY))
        fetch_resuming(file)
        assert file.path.read_bytes() == BODY
        assert server.seen[-1].headers["Range"] == "bytes=500000-"

    def test_another_version_is_fetched_from_its_beginning(self, server: HostileServer, tmp_path: Path) -> None:
        file = large(server.on("/a.zip", ranged(BODY)), tmp_path)
        file.part.write_bytes(b"old" * 1000)
        file.version.write_text(json.dumps({"url": file.url, "version": '"v0"'}))
        fetch_resuming(file)
        assert file.path.read_bytes() == BODY

    def test_a_part_of_unknown_version_is_not_trusted(self, server: HostileServer, tmp_path: Path) -> None:
        file = large(server.on("/a.zip", ranged(BODY)), tmp_path)
        file.part.write_bytes(b"old" * 1000)
        fetch_resuming(file)
        assert file.path.read_bytes() == BODY
        assert "Range" not in server.seen[0].headers

    def test_a_weak_etag_is_not_resumed_by(self, server: HostileServer, tmp_path: Path) -> None:
        file = large(server.on("/a.zip", ranged(BODY, most=600_000, etag='W/"1"')), tmp_path)
        with pytest.raises(DownloadError):
            fetch_resuming(file)
        assert all("Range" not in exchange.headers for exchange in server.seen)

    def test_a_part_that_is_whole_is_only_renamed(self, server: HostileServer, tmp_path: Path) -> None:
        file = large(server.on("/a.zip", ranged(BODY)), tmp_path)
        file.part.write_bytes(BODY)
        file.version.write_text(json.dumps({"url": file.url, "version": '"v1"'}))
        fetch_resuming(file)
        assert file.path.read_bytes() == BODY

    def test_a_server_that_cannot_resume_sends_it_all(self, server: HostileServer, tmp_path: Path) -> None:
        file = large(server.on("/a.zip", gives(BODY, "application/zip")), tmp_path)
        file.part.write_bytes(b"x" * 1000)
        file.version.write_text(json.dumps({"url": file.url, "version": '"v1"'}))
        fetch_resuming(file)
        assert file.path.read_bytes() == BODY

    @pytest.mark.parametrize(
        ("behaviour", "permanent", "told"),
        [
            (says("404 Not Found"), True, "HTTP 404"),
            (gives(b"<html>log in</html>", "text/html"), False, "the server answered HTML"),
            (says("503 Service Unavailable"), False, "HTTP 503"),
        ],
    )
    def test_what_cannot_be_had_is_told_and_leaves_no_file(
        self, behaviour: Behaviour, permanent: bool, told: str, server: HostileServer, tmp_path: Path
    ) -> None:
        file = large(server.on("/a.zip", behaviour), tmp_path)
        with pytest.raises(DownloadError) as caught:
            fetch_resuming(file)
        assert caught.value.permanent is permanent
        assert told in caught.value.reason
        assert not file.path.exists()

    @pytest.mark.parametrize("most", [None, 20])
    def test_a_page_in_the_files_place_is_not_kept_on_however_many_connections_it_comes(
        self, server: HostileServer, tmp_path: Path, most: int | None
    ) -> None:
        page = b"<!doctype html><html>We are back soon. </html>"
        file = large(server.on("/a.zip", ranged(page, most)), tmp_path)
        for _ in range(2):
            with pytest.raises(DownloadError, match="the server answered HTML"):
                fetch_resuming(file)
            assert not list(tmp_path.iterdir())
        server.on("/a.zip", ranged(BODY))
        fetch_resuming(file)
        assert file.path.read_bytes() == BODY

    def test_a_page_that_an_earlier_run_kept_is_not_taken_for_the_file(
        self, server: HostileServer, tmp_path: Path
    ) -> None:
        page = b"<!doctype html><html>We are back soon. </html>"
        file = large(server.on("/a.zip", ranged(page)), tmp_path)
        file.part.write_bytes(page)
        file.version.write_text(json.dumps({"url": file.url, "version": '"v1"'}))
        with pytest.raises(DownloadError, match="the server answered HTML"):
            fetch_resuming(file)
        assert not list(tmp_path.iterdir())

    def test_a_file_that_does_not_fit_is_refused_before_it_arrives(self, server: HostileServer, tmp_path: Path) -> None:
        def huge(exchange: Exchange) -> bool:
            exchange.send("200 OK", b"PK", Content_Length=10**18, ETag='"v1"')
            return False

        limits = replace(QUICK, max_bytes=2 * 10**18)
        with pytest.raises(IngestError, match=r"bytes to come and .* free in"):
            fetch_resuming(large(server.on("/a.zip", huge), tmp_path, limits=limits))

    @pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/a.zip"])
    def test_other_schemes_are_refused(self, url: str, tmp_path: Path) -> None:
        with pytest.raises(DownloadError, match="expected http or https"):
            fetch_resuming(large(url, tmp_path))


def archive(entries: dict[str, bytes], special: dict[str, int] | None = None) -> bytes:
    """A zip file; ``special`` gives entries a Unix mode."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for name, content in entries.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (special or {}).get(name, stat.S_IFREG | 0o644) << 16
            made.writestr(info, content)
    return out.getvalue()


class TestUnpacking:
    """What may come out of an archive, and where to."""

    def unpacked(self, content: bytes, tmp_path: Path) -> Unpacked:
        path = tmp_path / "a.zip"
        path.write_bytes(content)
        return unpack_zip(path, tmp_path / "videos")

    def test_its_own_top_folder_is_the_folder(self, tmp_path: Path) -> None:
        content = archive({"videos/": b"", "videos/1.mp4": b"one", "2.mp4": b"two", "sub/3.mp4": b"three"})
        assert self.unpacked(content, tmp_path) == Unpacked(3, 3)
        assert (tmp_path / "videos" / "1.mp4").read_bytes() == b"one"
        assert (tmp_path / "videos" / "sub" / "3.mp4").read_bytes() == b"three"
        assert self.unpacked(content, tmp_path) == Unpacked(3, 0)

    def test_a_half_written_file_is_written_again(self, tmp_path: Path) -> None:
        content = archive({"videos/1.mp4": b"one", "videos/2.mp4": b"two"})
        self.unpacked(content, tmp_path)
        (tmp_path / "videos" / "2.mp4").write_bytes(b"t")
        assert self.unpacked(content, tmp_path) == Unpacked(2, 1)

    def test_what_a_mac_adds_is_left_out(self, tmp_path: Path) -> None:
        assert self.unpacked(archive({"1.mp4": b"1", "__MACOSX/._1.mp4": b"x", ".DS_Store": b"y"}), tmp_path).files == 1

    def test_hidden_files_are_left_out_so_that_none_passes_for_a_cache_or_a_journal_of_ours(
        self, tmp_path: Path
    ) -> None:
        hidden = dict.fromkeys((".x.jsonl.publishing.json", ".ingest-cache.sqlite", ".more/2.mp4"), b"x")
        assert self.unpacked(archive({"1.mp4": b"1", **hidden}), tmp_path).files == 1
        assert [path.name for path in (tmp_path / "videos").iterdir()] == ["1.mp4"]

    def test_an_archive_brings_no_settings(self, tmp_path: Path) -> None:
        told = self.unpacked(archive({"1.mp4": b"1", "ingest.toml": b"x", "a/B.TOML": b"x"}), tmp_path)
        assert told == Unpacked(1, 1, ("ingest.toml", "a/B.TOML"))
        assert [path.name for path in (tmp_path / "videos").rglob("*")] == ["1.mp4"]

    @pytest.mark.parametrize(
        "name", ["../out", "videos/../../out", "/out", "x\\..\\..\\out", "C:/out", "videos/a/../../../out"]
    )
    def test_an_entry_that_leaves_the_folder_refuses_the_whole_archive(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(IngestError, match="an entry that leaves the folder"):
            self.unpacked(archive({"1.mp4": b"1", name: b"out"}), tmp_path)
        assert [path.name for path in tmp_path.rglob("*")] == ["a.zip"]

    @pytest.mark.parametrize("mode", [stat.S_IFLNK | 0o777, stat.S_IFIFO | 0o644, stat.S_IFCHR | 0o644])
    def test_links_and_devices_are_refused(self, mode: int, tmp_path: Path) -> None:
        with pytest.raises(IngestError, match="is a link or no plain file: 'ln'"):
            self.unpacked(archive({"ln": b"/etc/passwd"}, {"ln": mode}), tmp_path)

    def test_a_link_that_lies_in_the_folder_is_not_followed(self, tmp_path: Path) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        (tmp_path / "videos").mkdir()
        (tmp_path / "videos" / "sub").symlink_to(outside)
        with pytest.raises(IngestError, match="a link that leads out of the folder"):
            self.unpacked(archive({"sub/1.mp4": b"1"}), tmp_path)
        assert not list(outside.iterdir())

    def test_damage_is_told_and_leaves_no_half_file(self, tmp_path: Path) -> None:
        content = archive({"1.mp4": b"one " * 100})
        with pytest.raises(IngestError, match="a damaged archive"):
            self.unpacked(content.replace(b"one one", b"one ONE", 1), tmp_path)
        assert not list((tmp_path / "videos").iterdir())
        with pytest.raises(IngestError, match="a damaged archive"):
            self.unpacked(content[:100], tmp_path)

    def test_damage_within_what_is_compressed_is_told_too(self, tmp_path: Path) -> None:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
            made.writestr("1.mp4", bytes(range(256)) * 40)
        content = bytearray(out.getvalue())
        content[40:60] = b"\xff" * 20
        with pytest.raises(IngestError, match="a damaged archive"):
            self.unpacked(bytes(content), tmp_path)

    def test_a_name_as_long_as_a_disk_takes_is_unpacked_and_a_longer_one_told(self, tmp_path: Path) -> None:
        longest = "l" * 251 + ".mp4"
        assert self.unpacked(archive({longest: b"1"}), tmp_path) == Unpacked(1, 1)
        with pytest.raises(IngestError, match=r"it cannot be put in its place \(File name too long\)"):
            self.unpacked(archive({"l" + longest: b"1"}), tmp_path)

    def test_a_file_in_a_folders_place_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(IngestError, match="it cannot be put in its place"):
            self.unpacked(archive({"a": b"1", "a/b.mp4": b"2"}), tmp_path)


VIDEOS = archive({"KoNViD_1k_videos/": b"", **{f"KoNViD_1k_videos/{i}.mp4": b"clip %d" % i for i in range(3)}})
METADATA = archive({"KoNViD_1k_attributes.csv": b"flickr_id,file_name,MOS\n0,a_0.mp4,3\n1,a_1.mp4,2\n2,a_2.mp4,4\n"})


class TestFetch:
    """``fetch: true``, from the archives to the rows."""

    @pytest.fixture
    def small(self, root_path: Path) -> SmallCorpus:
        return SmallCorpus(DataRoot(root_path), corpus=KONVID_1K)

    def test_one_run_goes_from_nothing_to_rows_and_the_next_asks_for_nothing(
        self, small: SmallCorpus, server: HostileServer
    ) -> None:
        server.on("/archives/KoNViD_1k_videos.zip", ranged(VIDEOS, most=300))
        server.on("/archives/KoNViD_1k_metadata.zip", ranged(METADATA))
        base = server.url("/archives/")
        small.ingest(fetch=True, archive_base=base)
        assert [row["src"] for row in small.rows()] == ["0.mp4", "1.mp4", "2.mp4"]
        told = json.loads((small.folder / "fetch_manifest.json").read_text())
        assert told["schema"] == "fetch-manifest-v1"
        videos = told["archives"]["KoNViD_1k_videos.zip"]
        assert videos["sha256"] == hashlib.sha256(VIDEOS).hexdigest()
        assert (videos["size_bytes"], videos["files"]) == (len(VIDEOS), 3)
        asked = sum(server.requests.values())
        (small.folder / "KoNViD_1k_videos" / "1.mp4").unlink()
        assert small.ingest(fetch=True, archive_base=base).report.unchanged == 3
        for path in (small.folder / "archives").iterdir():
            path.unlink()
        assert small.ingest(fetch=True, archive_base=base).report.unchanged == 3
        assert sum(server.requests.values()) == asked

    def test_credentials_of_the_archives_address_are_told_nowhere(
        self, small: SmallCorpus, server: HostileServer
    ) -> None:
        base = server.url("/", credentials="user:s3cret")
        with pytest.raises(IngestError) as caught:
            small.ingest(fetch=True, archive_base=base)
        assert "s3cret" not in str(caught.value)
        server.on("/KoNViD_1k_videos.zip", ranged(VIDEOS, most=300))
        server.on("/KoNViD_1k_metadata.zip", ranged(METADATA))
        small.ingest(fetch=True, archive_base=base)
        files = [path for path in small.folder.rglob("*.json*") if path.is_file()]
        assert files
        assert not [path for path in files if "s3cret" in path.read_text()]

    def test_a_page_instead_of_an_archive_is_told_with_the_way_by_hand(
        self, small: SmallCorpus, server: HostileServer
    ) -> None:
        server.on("/KoNViD_1k_videos.zip", gives(b"<!doctype html>", "text/html"))
        with pytest.raises(IngestError) as caught:
            small.ingest(fetch=True, archive_base=server.url())
        assert "KoNViD_1k_videos.zip: curl-rc=0: the server answered HTML" in str(caught.value)
        assert "by hand" in caught.value.next_step
        assert not small.root.corpus_jsonl(KONVID_1K).exists()

    def test_an_archive_that_is_too_small_is_removed(self, small: SmallCorpus, server: HostileServer) -> None:
        small.corpus = CORPORA["konvid-1k"]
        server.on("/KoNViD_1k_videos.zip", ranged(VIDEOS))
        with pytest.raises(IngestError, match=f"{len(VIDEOS)} bytes, expected at least 2000000000"):
            small.ingest(fetch=True, archive_base=server.url("/"))
        assert not list((small.folder / "archives").iterdir())

    def test_an_archive_that_a_person_staged_is_left_however_small_it_is(self, small: SmallCorpus) -> None:
        small.corpus = CORPORA["konvid-1k"]
        small.drop("archives/KoNViD_1k_videos.zip", VIDEOS)
        with pytest.raises(IngestError, match="or remove it to have it fetched; it was left as it is"):
            small.ingest(fetch=True, archive_base="http://127.0.0.1:9/")
        assert (small.folder / "archives/KoNViD_1k_videos.zip").read_bytes() == VIDEOS

    def test_a_body_that_is_no_archive_is_removed_and_fetched_again(
        self, small: SmallCorpus, server: HostileServer
    ) -> None:
        server.on("/KoNViD_1k_videos.zip", ranged(b"down for maintenance"))
        server.on("/KoNViD_1k_metadata.zip", ranged(METADATA))
        with pytest.raises(IngestError, match=r"20 bytes that are no zip archive, .*The file was removed"):
            small.ingest(fetch=True, archive_base=server.url("/"))
        server.on("/KoNViD_1k_videos.zip", ranged(VIDEOS))
        assert small.ingest(fetch=True, archive_base=server.url("/")).report.written == 3

    @pytest.mark.parametrize(
        "content",
        ["{", "null", '{"archives": []}', '{"archives": {"a.zip": 7}}', '{"archives": {"a.zip": {"files": "x"}}}'],
    )
    def test_a_damaged_fetch_manifest_is_made_again_and_told(
        self, small: SmallCorpus, server: HostileServer, content: str, caplog: Any
    ) -> None:
        manifest = small.drop("fetch_manifest.json", content)
        server.on("/KoNViD_1k_videos.zip", ranged(VIDEOS))
        server.on("/KoNViD_1k_metadata.zip", ranged(METADATA))
        assert small.ingest(fetch=True, archive_base=server.url("/")).report.written == 3
        assert re.search(r"fetch_manifest\.json is damaged \(.*\) and is made again", caplog.text)
        assert json.loads(manifest.read_text())["archives"].keys() == {"KoNViD_1k_videos.zip", "KoNViD_1k_metadata.zip"}

    def test_the_log_says_what_was_unpacked(self, small: SmallCorpus, server: HostileServer, caplog: Any) -> None:
        caplog.set_level(logging.INFO, logger="vqa_assets")
        server.on("/KoNViD_1k_videos.zip", ranged(VIDEOS))
        server.on("/KoNViD_1k_metadata.zip", ranged(METADATA))
        small.ingest(fetch=True, archive_base=server.url("/"))
        assert "konvid-1k: KoNViD_1k_videos.zip: 3 files, 3 unpacked now" in caplog.text


KONVID_150K = CORPORA["konvid-150k"].but(
    archives=tuple(archive.but(min_bytes=1) for archive in CORPORA["konvid-150k"].archives)
)
DROPS = {
    "k150ka_scores.csv": b"video_name,video_score\na.mp4,3\n",
    "k150kb_scores.csv": b"video_name,mos,video_score\nb.mp4,4,4.2\n",
    "k150ka_votes.csv": b"video_name,vote\na.mp4,2\na.mp4,4\n",
    "k150kb_votes.csv": b"video_name,vote\nb.mp4,4\nb.mp4,4\n",
    "k150ka.zip": archive({"k150ka/a.mp4": b"clip a"}),
    "k150kb.zip": archive({"b.mp4": b"clip b"}),
}


class TestTablesAndArchives:
    """``fetch: true`` where score files are published beside the archives of clips."""

    @pytest.fixture
    def small(self, root_path: Path) -> SmallCorpus:
        return SmallCorpus(DataRoot(root_path), corpus=KONVID_150K)

    @pytest.fixture
    def served(self, server: HostileServer) -> HostileServer:
        for name, body in DROPS.items():
            server.on(f"/archives/{name}", ranged(body, Content_Type="text/csv"))
        return server

    def test_one_run_goes_from_nothing_to_rows_with_sd_and_count_and_the_next_asks_for_nothing(
        self, small: SmallCorpus, served: HostileServer
    ) -> None:
        base = served.url("/archives/")
        small.ingest(fetch=True, archive_base=base)
        assert [(r["src"], r["score_drop"], r["mos_std_dev"], r["n_ratings"]) for r in small.rows()] == [
            ("a.mp4", "k150ka", pytest.approx(2**0.5), 2),
            ("b.mp4", "k150kb", 0.0, 2),
        ]
        told = json.loads((small.folder / "fetch_manifest.json").read_text())["archives"]
        assert set(told) == set(DROPS)
        assert told["k150ka_votes.csv"]["sha256"] == hashlib.sha256(DROPS["k150ka_votes.csv"]).hexdigest()
        served.requests.clear()
        assert small.ingest(fetch=True, archive_base=base).report.unchanged == 2
        assert not served.requests

    def test_a_table_that_a_person_dropped_stays(self, small: SmallCorpus, served: HostileServer) -> None:
        small.drop("k150ka_scores.csv", "video_name,video_score\na.mp4,1.5\n")
        small.ingest(fetch=True, archive_base=served.url("/archives/"))
        assert [row["mos"] for row in small.rows()] == [1.5, 4.0]
        assert "/archives/k150ka_scores.csv" not in served.requests

    def test_votes_that_are_gone_are_done_without(self, small: SmallCorpus, served: HostileServer, caplog: Any) -> None:
        del served.behaviours["/archives/k150ka_votes.csv"]
        small.ingest(fetch=True, archive_base=served.url("/archives/"))
        assert [row["n_ratings"] for row in small.rows()] == [0, 2]
        assert "konvid-150k: k150ka_votes.csv is gone (curl-rc=22: HTTP 404 Not Found), and done without" in caplog.text

    @pytest.mark.parametrize(
        ("name", "behaviour", "told"),
        [
            ("k150ka_scores.csv", says("404 Not Found"), "HTTP 404"),
            ("k150kb_votes.csv", says("403 Forbidden"), "HTTP 403"),
            ("k150ka_scores.csv", gives(b'{"error": 1}', "application/json"), "12 bytes of JSON"),
            ("k150ka_scores.csv", gives(b"<Error>no</Error>", "text/plain"), "17 bytes of XML"),
            ("k150ka_votes.csv", gives(b"<!doctype html>", "text/html"), "the server answered HTML"),
        ],
    )
    def test_what_is_no_table_is_not_kept(
        self, name: str, behaviour: Behaviour, told: str, small: SmallCorpus, served: HostileServer
    ) -> None:
        served.on(f"/archives/{name}", behaviour)
        with pytest.raises(IngestError, match=f"{name}: .*{told}"):
            small.ingest(fetch=True, archive_base=served.url("/archives/"))
        assert not (small.folder / name).exists()

    def test_an_archive_of_hundreds_of_gigabytes_is_a_matter_of_the_disk_alone(
        self, small: SmallCorpus, served: HostileServer
    ) -> None:
        def vast(exchange: Exchange) -> bool:
            exchange.send("200 OK", b"PK", Content_Length=900 << 30)
            return False

        served.on("/archives/k150kb.zip", vast)
        with pytest.raises(IngestError, match=r"966367641600 bytes to come and \d+ free"):
            small.ingest(fetch=True, archive_base=served.url("/archives/"))

    def test_the_files_and_their_address_are_declared(self) -> None:
        declared = CORPORA["konvid-150k"]
        assert {one.file for one in declared.archives} == set(DROPS)
        assert declared.archive_base == CORPORA["konvid-1k"].archive_base
