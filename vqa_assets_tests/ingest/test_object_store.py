"""Clips that are kept in an object store: fetched into it, read from it, listed once; against moto's server."""

import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from vqa_assets.arguments import stated_values
from vqa_assets.clips import scratch, stores
from vqa_assets.clips.elsewhere import working_for
from vqa_assets.clips.folders import ClipFolders, ClipStore, is_object_address, stamp_of_object, why_no_key
from vqa_assets.clips.scratch import Scratch
from vqa_assets.clips.stores import OpenStore
from vqa_assets.clips.work import StoppedError
from vqa_assets.errors import ArgumentError, IngestError, ObjectStoreError, SettingsError, TransientClipError
from vqa_assets.ingest.fakes import FakeDownloader
from vqa_assets.ingest.gather import Services
from vqa_assets.ingest.rehearsal import rehearse
from vqa_assets.ingest.settings import IngestSettings, resolve
from vqa_assets.overview import status_of
from vqa_assets.tables.paths import DataRoot
from vqa_assets_tests.shared.fakes import KONVID, SmallCorpus
from vqa_assets_tests.shared.hostile_server import HostileServer, answering, says
from vqa_assets_tests.shared.object_server import ACCESS_KEY, SECRET_KEY, Bucket, ObjectServer, listing
from vqa_assets_tests.shared.platform import Platform


@pytest.fixture
def kept(bucket: Bucket, root_path: Path) -> SmallCorpus:
    """A corpus whose clips are kept in the bucket, below a prefix."""
    corpus = SmallCorpus(
        DataRoot(root_path), downloader=FakeDownloader({"http://x/a.mp4": b"clip a", "http://x/b": b"b b"})
    )
    corpus.drop("ingest.toml", f'clips_url = "s3://{bucket.name}/of/konvid"\n')
    return corpus


FETCHED = [("a.mp4", "http://x/a.mp4", 3, 0.5, 9), ("sub/b.mp4", "http://x/b", 4, 0.5, 9)]
STAGED = ("s.mp4", "", 2, 0.5, 9)


def requests(bucket: Bucket) -> dict[str, int]:
    counted: dict[str, int] = {}
    for (method, path), count in bucket.server.asked.items():
        kind = "list" if method == "GET" and path == f"/{bucket.name}" else method
        counted[kind] = counted.get(kind, 0) + count
    return counted


def test_fetched_clips_are_put_into_the_store_and_staged_ones_are_read_from_it(
    kept: SmallCorpus, bucket: Bucket
) -> None:
    bucket.put("of/konvid/s.mp4", b"staged")
    kept.annotate([*FETCHED, STAGED])
    kept.ingest()
    assert [(row["src"], row["src_size_bytes"]) for row in kept.rows()] == [
        ("a.mp4", 6),
        ("sub/b.mp4", 3),
        ("s.mp4", 6),
    ]
    assert bucket.keys() == ["of/konvid/a.mp4", "of/konvid/s.mp4", "of/konvid/sub/b.mp4"]
    assert bucket.content("of/konvid/sub/b.mp4") == b"b b"
    assert not (kept.folder / "clips").exists()
    assert [path for path in Path(tempfile.gettempdir()).rglob("*.mp4") if "vqa-scratch" in str(path)] == []


def test_an_unchanged_corpus_costs_one_listing(kept: SmallCorpus, bucket: Bucket) -> None:
    kept.annotate([*FETCHED, STAGED])
    bucket.put("of/konvid/s.mp4", b"staged")
    kept.ingest()
    lines = kept.lines()
    bucket.server.forget()
    again = kept.ingest()
    assert requests(bucket) == {"list": 1}
    assert (again.report.unchanged, kept.lines()) == (3, lines)


def test_an_object_that_was_replaced_is_read_again_by_its_size_and_etag(kept: SmallCorpus, bucket: Bucket) -> None:
    kept.annotate([STAGED])
    bucket.put("of/konvid/s.mp4", b"staged")
    kept.ingest()
    first = kept.rows()[0]["src_sha256"]
    bucket.put("of/konvid/s.mp4", b"STAGED")
    assert kept.ingest().report.written == 1
    assert kept.rows()[0]["src_sha256"] != first


def test_a_clip_that_lies_in_a_folder_of_the_corpus_needs_no_object(kept: SmallCorpus, bucket: Bucket) -> None:
    kept.stage("s.mp4", b"staged here")
    kept.annotate([STAGED])
    kept.ingest()
    assert kept.rows()[0]["src_size_bytes"] == 11
    assert bucket.keys() == []


def test_a_lone_folder_is_a_place_of_clips_too(root_path: Path, tmp_path: Path) -> None:
    corpus = SmallCorpus(DataRoot(root_path), downloader=FakeDownloader({"http://x/a.mp4": b"clip a"}))
    corpus.drop("ingest.toml", 'clips_url = "../../elsewhere"\n')
    corpus.annotate(FETCHED[:1])
    corpus.ingest()
    assert (tmp_path / "elsewhere" / "a.mp4").read_bytes() == b"clip a"


def test_the_environment_names_the_place_of_all_corpora_and_the_file_goes_before_it(
    root_path: Path, tmp_path: Path
) -> None:
    environment = {"VQA_CLIPS_URL": "gs://bucket/clips/"}
    found = resolve(KONVID, {}, tmp_path / "none", environment)
    assert found.values.clips_url == "gs://bucket/clips/konvid-150k"
    assert found.origins["clips_url"] == "VQA_CLIPS_URL"
    (tmp_path / "ingest.toml").write_text('clips_url = "az://container/x"\n')
    assert resolve(KONVID, {}, tmp_path / "ingest.toml", environment).values.clips_url == "az://container/x"


@pytest.mark.parametrize(
    "url", ["s3://key:secret@bucket/x", "s3://", "s3:///x", "s3://b/a//c", "s3://b/../c", "http://x/y", "s3://b/x?y=z"]
)
def test_an_address_that_is_none_of_a_store_or_holds_credentials_is_refused(url: str, tmp_path: Path) -> None:
    (tmp_path / "ingest.toml").write_text(f'clips_url = "{url}"\n')
    with pytest.raises(SettingsError, match="credentials come from the environment") as failure:
        resolve(KONVID, {}, tmp_path / "ingest.toml", {})
    assert "secret" not in str(failure.value)
    assert not is_object_address(url)


def test_a_bucket_that_is_not_there_is_said_and_none_is_made(bucket: Bucket, root_path: Path) -> None:
    corpus = SmallCorpus(DataRoot(root_path))
    corpus.drop("ingest.toml", 'clips_url = "s3://nobodys-bucket/x"\n')
    corpus.annotate([STAGED])
    with pytest.raises(ObjectStoreError, match="there is no such bucket: 404 NoSuchBucket, expected a bucket"):
        corpus.ingest()
    assert not corpus.root.corpus_jsonl(KONVID).exists()


@pytest.mark.parametrize(
    ("answer", "endpoint", "found"),
    [
        ("", "127.0.0.1:9000", r"\$AWS_ENDPOINT_URL: no address of a server"),
        ("", "http://key:secret@host", r"\$AWS_ENDPOINT_URL: no address of a server"),
        ("", "http://127.0.0.1:1", "connection refused"),
        ("SSH-2.0-OpenSSH_9.2\r\n", "", "an answer that is not HTTP's"),
        ("nothing", "", "timed out"),
        ("page", "", "an answer that is no object store's"),
        ("301", "", "in another region: AWS_REGION us-east-1"),
        ("400", "", "400 ExpiredToken, expected rights"),
    ],
)
def test_what_is_no_store_or_another_is_told_soon_and_never_taken_for_an_empty_one(
    answer: str, endpoint: str, found: str, kept: SmallCorpus, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("of/konvid/s.mp4", b"staged")
    kept.annotate([STAGED])
    kept.ingest()
    lines = kept.lines()
    monkeypatch.setattr(stores, "FIRST_ANSWER_S", 1.0)
    monkeypatch.setattr(stores, "_opened", {})
    bucket.server.fault = lambda *_: answer  # one that the server knows
    with ExitStack() as ends:
        if answer in ("nothing", "SSH-2.0-OpenSSH_9.2\r\n"):
            line = None if answer == "nothing" else answer.encode()
            endpoint = f"http://127.0.0.1:{ends.enter_context(answering(line))}"
        if endpoint:
            monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        with pytest.raises(ObjectStoreError, match=found) as failure:
            kept.ingest()
    assert "secret" not in str(failure.value)
    assert kept.lines() == lines


@pytest.mark.parametrize(("method", "what"), [("GET", "cannot be listed"), ("PUT", "cannot be put there")])
def test_a_store_that_gives_no_right_ends_the_run_without_a_word_of_the_credentials(
    kept: SmallCorpus, bucket: Bucket, method: str, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    kept.annotate(FETCHED)
    bucket.server.fault = lambda _server, asked, _path: "403" if asked == method else ""
    with pytest.raises(ObjectStoreError, match=what) as failure:
        kept.ingest()
    assert "403 AccessDenied" in str(failure.value)
    said = str(failure.value) + repr(failure.value.__cause__) + caplog.text
    assert ACCESS_KEY not in said
    assert SECRET_KEY not in said
    assert bucket.keys() == []


def test_no_credentials_stand_in_the_manifest(kept: SmallCorpus, bucket: Bucket) -> None:
    kept.annotate(FETCHED)
    manifest = json.dumps(kept.ingest().manifest)
    assert f"s3://{bucket.name}/of/konvid" in manifest
    assert ACCESS_KEY not in manifest
    assert SECRET_KEY not in manifest


def test_a_refused_request_is_asked_again(kept: SmallCorpus, bucket: Bucket) -> None:
    kept.annotate(FETCHED)
    bucket.server.fault = lambda server, method, path: "503" if server.asked[method, path] == 1 else ""
    kept.ingest()
    assert len(kept.rows()) == 2
    assert bucket.content("of/konvid/a.mp4") == b"clip a"


def test_an_answer_that_is_cut_is_never_taken_for_a_clip(kept: SmallCorpus, bucket: Bucket) -> None:
    content = bytes(range(256)) * 40
    bucket.put("of/konvid/s.mp4", content)
    kept.annotate([STAGED])
    bucket.server.fault = lambda server, method, path: "cut" if path.endswith("s.mp4") else ""
    kept.ingest()
    assert kept.rows() == []
    bucket.server.forget()
    kept.ingest()
    assert kept.rows()[0]["src_size_bytes"] == len(content)


def test_what_was_brought_is_one_state_of_the_object(bucket: Bucket, tmp_path: Path) -> None:
    old, new = b"old" * 5000, b"new" * 5000
    bucket.put("s.mp4", old)
    turns: list[str] = []

    def cut_and_replace(server: ObjectServer, method: str, path: str) -> str:
        turns.append(method)
        if len(turns) == 2:  # it is asked for the rest
            bucket.put("s.mp4", new)
        return "cut" if len(turns) == 1 else ""

    bucket.server.fault = cut_and_replace
    try:
        brought = bucket.open().bring("s.mp4", tmp_path / "file", threading.Event())
    except TransientClipError:
        return  # no state at all is right, too
    content = (tmp_path / "file").read_bytes()
    assert content in (old, new)
    assert brought.stamp == stamp_of_object(len(content), bucket._bucket.keys["s.mp4"].etag)


def test_a_store_that_does_not_answer_is_given_up_and_what_is_done_is_kept(
    kept: SmallCorpus, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "GIVEN_UP_AFTER", 2)
    names = [f"{number}.mp4" for number in range(6)]
    for name in names:
        bucket.put(f"of/konvid/{name}", name.encode())
    kept.annotate([(name, "", 3, 0.5, 9) for name in names])
    bucket.server.fault = lambda _server, method, path: "503" if path.endswith(".mp4") and "0." not in path else ""
    with pytest.raises(ObjectStoreError, match=r"cannot be read: 503 SlowDown.*finished clips are kept"):
        kept.ingest(workers=1)
    bucket.server.forget()
    kept.ingest(workers=1)
    assert bucket.server.asked["GET", f"/{bucket.name}/of/konvid/0.mp4"] == 0
    assert len(kept.rows()) == 6


def test_two_runs_into_one_prefix_end_with_one_clip_and_both_know_it(
    kept: SmallCorpus, bucket: Bucket, tmp_path: Path
) -> None:
    other = SmallCorpus(DataRoot(tmp_path / "other"), downloader=FakeDownloader({"http://x/a.mp4": b"another a"}))
    other.drop("ingest.toml", f'clips_url = "s3://{bucket.name}/of/konvid"\n')
    for corpus in (kept, other):
        corpus.annotate(FETCHED[:1])
    # The other run puts its clip there between this one's listing and its put.
    kept.downloader.before = lambda _: other.ingest()
    kept.ingest()
    assert bucket.content("of/konvid/a.mp4") == b"another a"
    assert kept.rows()[0]["src_sha256"] == other.rows()[0]["src_sha256"]


def test_a_name_that_no_object_can_have_costs_its_clip_only(kept: SmallCorpus, bucket: Bucket) -> None:
    kept.downloader = FakeDownloader({"http://x/a.mp4": b"clip a", "http://x/l": b"long"})
    kept.annotate([FETCHED[0], ("x" * 1100 + ".mp4", "http://x/l", 3, 0.5, 9)])
    kept.ingest()
    assert [row["src"] for row in kept.rows()] == ["a.mp4"]
    losses = kept.root.corpus_jsonl(KONVID).with_name("konvid_150k.losses.jsonl").read_text()
    assert "no object can have this name: longer than 1024 bytes" in losses
    assert why_no_key("a\tb")


def test_an_object_whose_key_is_no_name_is_named_and_nothing_is_lost(kept: SmallCorpus, bucket: Bucket) -> None:
    kept.annotate(FETCHED)
    kept.ingest()
    lines = kept.lines()
    bucket.put("of/konvid/x//y.mp4", b"strange")
    with pytest.raises(ObjectStoreError, match=r"cannot be asked for: .*x//y\.mp4.*rename or remove that object"):
        kept.ingest()
    assert kept.lines() == lines


def test_keys_of_any_characters_are_clips_by_their_names(kept: SmallCorpus, bucket: Bucket) -> None:
    names = ["ü ñ.mp4", "a%20b.mp4", "q?'\"<>|#&+.mp4", "日本/語.mp4"]
    for name in names:
        bucket.put(f"of/konvid/{name}", name.encode())
    bucket.put("of/konvid/folder/", b"")  # as consoles mark one
    kept.annotate([(name, "", 3, 0.5, 9) for name in names])
    kept.ingest()
    assert [row["src"] for row in kept.rows()] == names


def test_a_hundred_thousand_keys_are_a_hundred_pages_and_any_name_among_them_is_found(
    kept: SmallCorpus, bucket: Bucket
) -> None:
    names = [
        "e\u0301.mp4",
        "\u00e9 .mp4",
        "UPPER.MP4",
        "-rf $(id).mp4",
        "x" * 900 + ".mp4",
        "a./😀.mp4",
        "\u202egnp.mp4",
    ]
    others = [f"{number:06d}{chr(0x3A0 + number % 30)}&<>%.mp4" for number in range(100_000 - len(names))]
    for name in names:
        bucket.put(f"of/konvid/{name}", name.encode()[:6].ljust(6))
    bucket.server.pages = listing([f"of/konvid/{name}" for name in (*others, *names)])
    kept.annotate([(name, "", 3, 0.5, 9) for name in (*names, "absent.mp4")])
    report = kept.ingest().report
    assert [row["src"] for row in kept.rows()] == names
    assert (report.skipped_missing, len(report.unclaimed)) == (1, len(others))
    assert requests(bucket) == {"list": 100, "GET": len(names)}


def test_a_scratch_whose_disk_is_full_ends_the_run_and_says_what_to_do(kept: SmallCorpus, bucket: Bucket) -> None:
    full = IngestError("cannot write part", found="No space left on device")
    kept.downloader = FakeDownloader({"http://x/a.mp4": full})
    kept.annotate(FETCHED[:1])
    with pytest.raises(
        ObjectStoreError, match=r"cannot write the scratch .*No space left .*set TMPDIR to a larger disk"
    ):
        kept.ingest()


def test_a_clip_that_is_larger_than_the_scratch_is_told_and_not_lost_for_good(
    kept: SmallCorpus, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("of/konvid/s.mp4", bytes(1_000_001))
    kept.annotate([STAGED, FETCHED[0]])
    kept.ingest(scratch_bytes=1_000_000)
    losses = kept.root.corpus_jsonl(KONVID).with_name("konvid_150k.losses.jsonl").read_text()
    assert "1000001 bytes are more than scratch_bytes, 1000000: raise it" in losses
    kept.ingest()
    assert len(kept.rows()) == 2


class TestScratch:
    """What lies in it at once."""

    @pytest.fixture
    def store(self, bucket: Bucket) -> ClipStore:
        for name in "abc":
            bucket.put(name, name.encode() * 400)
        return ClipStore(f"s3://{bucket.name}", 1000)

    def clips(self, store: ClipStore, names: str) -> list[Any]:
        from dataclasses import replace

        return [replace(store / name, size_bytes=400) for name in names]

    def test_what_was_brought_is_brought_once_while_there_is_room(self, store: ClipStore, bucket: Bucket) -> None:
        small = Scratch(1000)
        stop = threading.Event()
        for _ in range(3):
            with small.holding(self.clips(store, "ab"), stop) as at_hand:
                assert [one.path.read_bytes()[:1] for one in at_hand.values()] == [b"a", b"b"]
        assert bucket.server.asked["GET", f"/{bucket.name}/a"] == 1
        with small.holding(self.clips(store, "c"), stop):
            assert small.taken_bytes == 800  # the one that was read longest ago went
        small.close()

    def test_who_finds_no_room_waits_and_an_interrupt_ends_the_wait(self, store: ClipStore) -> None:
        small, stop = Scratch(1000), threading.Event()
        with small.holding(self.clips(store, "ab"), stop):
            timer = threading.Timer(0.1, stop.set)
            timer.start()
            with pytest.raises(StoppedError), small.holding(self.clips(store, "c"), stop):
                pass
        assert small.taken_bytes == 800
        small.close()

    def test_what_is_not_there_is_not_taken_into_account(self, store: ClipStore) -> None:
        small = Scratch(1000)
        with pytest.raises(FileNotFoundError), small.holding(self.clips(store, "z"), threading.Event()):
            pass
        assert small.taken_bytes == 0
        small.close()

    def test_nobody_waits_for_a_clip_whose_turn_does_not_come(self, store: ClipStore, bucket: Bucket) -> None:
        small, stop, asked, go = Scratch(1000), threading.Event(), threading.Event(), threading.Event()

        def wait_at_the_first(_method: str, path: str) -> None:
            if path.endswith("/z"):
                asked.set()
                go.wait(10)

        bucket.server.before = wait_at_the_first
        with ThreadPoolExecutor(2) as pool:

            def hold(names: str) -> None:
                with small.holding(self.clips(store, names), stop):
                    pass

            first = pool.submit(hold, "zb")  # z is not there: b is never brought by it
            assert asked.wait(10)
            second = pool.submit(hold, "b")
            while sum(entry.users for entry in list(small._entries.values())) < 3:
                time.sleep(0.01)
            go.set()
            with pytest.raises(FileNotFoundError):
                first.result(10)
            with pytest.raises(TransientClipError, match="did not come"):
                second.result(10)
        assert small.taken_bytes == 0
        small.close()

    def test_a_temporary_folder_that_is_not_there_is_told_and_no_other_is_taken(
        self, store: ClipStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("TMPDIR", str(tmp_path / "absent"))
        with pytest.raises(ObjectStoreError, match=r"absent: there is no such folder.*set TMPDIR"):
            Scratch(1000)

    def test_a_disk_that_takes_no_folder_gives_the_room_back_and_is_told(self, store: ClipStore) -> None:
        small = Scratch(1000)
        shutil.rmtree(small.folder)
        small.folder.touch()
        with pytest.raises((ObjectStoreError, OSError)), small.room("a", 400, threading.Event()):
            pass
        assert small.taken_bytes == 0
        small.close()

    def test_a_second_run_on_a_worker_clears_the_scratch_too(self, store: ClipStore) -> None:
        for name in "ab":
            with working_for(f"scratch-{name}") as here:
                assert scratch.scratch_of(store) is scratch.scratch_of(store)
                assert here.at_end == [scratch.clear_scratch]

    def test_what_a_killed_process_left_is_removed_by_the_next(self, store: ClipStore) -> None:
        alive = Scratch(1000)
        for ends in (lambda: Scratch(1000).close(), scratch.clear_scratch):  # a run that needs none, too
            left, unlocked = (Path(tempfile.gettempdir()) / f"{scratch.PREFIX}{name}" for name in ("left", "unlocked"))
            for folder in (left, unlocked):
                folder.mkdir()
                (folder / "clip.mp4").touch()
            (left / "lock").touch()
            ends()
            assert list(Path(tempfile.gettempdir()).glob(f"{scratch.PREFIX}*")) == [alive.folder]
        alive.close()

    def test_one_that_is_taken_for_abandoned_while_it_is_made_is_made_again(
        self, store: ClipStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        really, turns = fcntl.flock, iter([scratch._remove_abandoned])

        def lock(file: Any, how: int) -> None:
            next(turns, lambda: None)()
            really(file, how)

        monkeypatch.setattr(scratch.fcntl, "flock", lock)
        made = Scratch(1000)
        assert (made.folder / "lock").exists()
        made.close()


def test_an_interrupt_ends_a_transfer_from_a_silent_store(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("s.mp4", b"clip")
    opened, stop = bucket.open(), threading.Event()
    bucket.server.fault = lambda _server, _method, path: "slow" if path.endswith("s.mp4") else ""
    threading.Timer(0.05, stop.set).start()
    with pytest.raises(StoppedError):
        opened.bring("s.mp4", tmp_path / "file", stop)


def test_a_large_file_goes_in_parts_and_a_small_one_by_one_request(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "clip"
    file.write_bytes(bytes(3000))
    bucket.open().put("small", file, threading.Event())
    assert [method for method, path in bucket.server.asked if path.endswith("small")] == ["PUT"]
    monkeypatch.setattr(stores, "MOST_AT_ONCE_BYTES", 2000)
    bucket.open().put("large", file, threading.Event())
    assert bucket.content("large") == bytes(3000)
    assert [method for method, path in bucket.server.asked if path.endswith("large")].count("POST") == 1


def test_without_the_library_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:

    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(ObjectStoreError, match=r"pip install .vqa-assets\[objects\]"):
        OpenStore("s3://bucket/x")


def test_without_credentials_a_machine_without_a_role_is_told_within_seconds(
    server: HostileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith(("AWS_", "GOOGLE_", "AZURE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", "/nowhere")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    monkeypatch.setattr(stores, "_MACHINE_ANSWERS_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as nobody:  # who never answers
        monkeypatch.setenv("AWS_METADATA_ENDPOINT", f"http://127.0.0.1:{nobody.getsockname()[1]}")
        for url in ("s3://bucket/x", "gs://bucket/x", "az://container/x"):
            begun = time.monotonic()
            with pytest.raises(ObjectStoreError, match="no credentials in the environment, and no role of this machi"):
                OpenStore(url)
            assert time.monotonic() - begun < 5
        with monkeypatch.context() as public:
            public.setenv("AWS_SKIP_SIGNATURE", "true")
            OpenStore("s3://bucket/x")
    # A machine that has a role answers, in whatever way: the library asks it for credentials.
    server.on("/", says("401 Unauthorized"))
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", server.url())
    OpenStore("s3://bucket/x")


def test_a_profile_of_aws_is_read_where_boto3_is_there(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = f"[mine]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n"
    (tmp_path / "credentials").write_text(credentials)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_PROFILE", "mine")
    bucket.put("x", b"x")
    assert [one.name for one in bucket.open().listed()] == ["x"]
    monkeypatch.setenv("AWS_PROFILE", "nobodys")
    with pytest.raises(ObjectStoreError, match="AWS_PROFILE: no credentials by it"):
        bucket.open()


def test_folders_go_before_the_store_and_the_store_is_the_place_of_what_is_nowhere(tmp_path: Path) -> None:
    store = ClipStore("s3://bucket/x", 1000)
    folders = ClipFolders.of(KONVID, "clips", tmp_path, store)
    assert str(folders.path_of("a.mp4")) == "s3://bucket/x/a.mp4"
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a.mp4").write_bytes(b"a")
    assert ClipFolders.of(KONVID, "clips", tmp_path, store).path_of("a.mp4") == tmp_path / "clips" / "a.mp4"


def test_no_run_config_states_where_clips_are_kept(platform: Platform) -> None:
    with pytest.raises(dg.DagsterInvalidConfigError, match="clips_url"):
        platform.run("corpus_jsonl", partition="konvid-150k", clips_url="s3://others/x")
    with pytest.raises(ArgumentError, match=r"--set clips_url: a setting that no run states, expected ingest\.toml"):
        stated_values(["clips_url=s3://others/x"], {"corpus_jsonl": IngestSettings})


def test_a_rehearsal_lists_the_store_and_says_what_an_ingest_would_do(kept: SmallCorpus, bucket: Bucket) -> None:
    bucket.put("of/konvid/s.mp4", b"staged")
    kept.annotate([FETCHED[0], STAGED])
    resolved = resolve(KONVID, {"min_rows": 1}, kept.root.ingest_toml(KONVID))
    services = Services(kept.prober, kept.downloader, kept.pool)
    told = rehearse(KONVID, resolved, services, kept.root)
    assert (told.to_read.clips, told.to_read.size_bytes, told.free_bytes) == (1, 6, None)
    assert bucket.keys() == ["of/konvid/s.mp4"]


def test_status_names_the_store_and_does_not_list_it(kept: SmallCorpus, bucket: Bucket) -> None:
    kept.annotate(FETCHED)
    assert f"  clips kept in:   s3://{bucket.name}/of/konvid" in status_of(KONVID, kept.root).lines()
    assert not bucket.server.asked


KILLED_INGEST = """
import sys
from pathlib import Path
from vqa_assets.ingest.fakes import FakeDownloader
from vqa_assets.tables.paths import DataRoot
from vqa_assets_tests.shared.fakes import SmallCorpus
bodies = {f"http://x/{n}": f"clip {n}".encode() * 1000 for n in range(12)}
SmallCorpus(DataRoot(Path(sys.argv[1])), downloader=FakeDownloader(bodies)).ingest(workers=2)
"""


@pytest.mark.takes_long("an ingest into an object store is killed")
def test_a_killed_ingest_leaves_whole_objects_and_the_next_one_fetches_only_the_others(
    kept: SmallCorpus, bucket: Bucket
) -> None:
    bodies = {f"http://x/{n}": f"clip {n}".encode() * 1000 for n in range(12)}
    kept.downloader = FakeDownloader(bodies)
    kept.annotate([(f"{n}.mp4", f"http://x/{n}", 3, 0.5, 9) for n in range(12)])
    bucket.server.fault = lambda _server, method, _path: "slow" if method == "PUT" else ""
    run = subprocess.Popen([sys.executable, "-c", KILLED_INGEST, str(kept.root.path)])
    while len(bucket.keys()) < 3 and run.poll() is None:
        time.sleep(0.02)
    run.kill()
    assert run.wait() == -9
    time.sleep(0.5)  # what the server had in hand
    there = bucket.keys()
    assert 3 <= len(there) < 12
    bucket.server.forget()
    kept.ingest()
    assert sorted(kept.downloader.fetched) == sorted(
        url for url in bodies if f"of/konvid/{url.removeprefix('http://x/')}.mp4" not in there
    )
    assert {key: bucket.content(key) for key in sorted(bucket.keys())} == {
        f"of/konvid/{url.removeprefix('http://x/')}.mp4": body for url, body in sorted(bodies.items())
    }
    assert len(kept.rows()) == 12
