"""A publication is one act: all files are new or all are as they were, whatever cuts it short."""

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from itertools import count
from pathlib import Path

import pytest

from vqa_assets.errors import LockedError, PublicationError, SchemaError
from vqa_assets.tables import files
from vqa_assets.tables import publication as module
from vqa_assets.tables.files import place_to_read, read_json_object
from vqa_assets.tables.makers import made_by, published_path
from vqa_assets.tables.publication import journal_path, publishing, settle
from vqa_assets_tests.shared.kills import KILLED, killed_at

NAMES = ("x.jsonl", "x.losses.jsonl", "x.manifest.json")
HIDDEN = [".x.jsonl.published.json"]
OF_ROOT = os.geteuid() == 0


def publish(folder: Path, content: str, names: tuple[str, ...] = NAMES) -> None:
    """Every file of one run says the same word."""
    with publishing("stage", folder / names[0], "stage-v1") as publication:
        for name in names:
            publication.write(folder / name, content.encode())


def standing(folder: Path, names: tuple[str, ...] = NAMES) -> set[str]:
    """What the files say; one word where they are of one run."""
    return {(folder / name).read_text() if (folder / name).exists() else "" for name in names}


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def killed(folder: Path, content: str, call: str, number: int) -> int:
    return killed_at(call, number, lambda: publish(folder, content))


def publish_parts(folder: Path, content: str, failing: str = "") -> None:
    """Two artefacts and a report on both, which all say the same word; one of them may fail."""
    with publishing("stage", folder / "report.json", "stage-v1") as publication:
        for name in ("a/a.parquet", "b.parquet"):
            with suppress(ValueError), publication.part("part", folder / name, "part-v1") as part:
                part.write(folder / name, content.encode())
                if name == failing:
                    raise ValueError(name)
        publication.write(folder / "report.json", content.encode())


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    publish(tmp_path, "earlier")
    return tmp_path


class TestOneAct:
    """What a run publishes stands as a whole."""

    def test_all_are_replaced_at_the_end_and_nothing_is_left_beside_them(self, earlier: Path) -> None:
        with publishing("stage", earlier / NAMES[0], "stage-v1") as publication:
            for name in NAMES:
                publication.write(earlier / name, b"new")
            assert standing(earlier) == {"earlier"}
        assert standing(earlier) == {"new"}
        assert listing(earlier) == sorted([*NAMES, *HIDDEN])

    @pytest.mark.parametrize("damage", [b"", b"earlieR", b"earlier and more"])
    def test_a_file_that_is_not_what_was_published_is_made_again_with_a_warning(
        self, earlier: Path, damage: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        (earlier / NAMES[1]).write_bytes(damage)
        os.utime(earlier / NAMES[0])
        publish(earlier, "new")
        (told,) = caplog.messages
        assert told == f"{earlier / NAMES[1]} is not what was published (damaged, or edited since) and is made again"
        assert standing(earlier) == {"new"}

    @pytest.mark.parametrize("damage", ["", "[]", "{}", '{"files": []}', '{"files": {"x.jsonl": 7}}'])
    def test_a_damaged_record_of_a_publication_is_made_again_with_a_warning(
        self, earlier: Path, damage: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        record = published_path(earlier / NAMES[0])
        record.write_text(damage)
        publish(earlier, "new")
        assert f"{record} is damaged and is made again" in caplog.text
        assert read_json_object(record)["files"].keys() == set(NAMES)

    def test_what_was_published_is_named_with_its_hash_and_who_made_it(self, earlier: Path) -> None:
        digest = sha256(b"earlier").hexdigest()
        assert read_json_object(published_path(earlier / NAMES[0])) == {
            "schema": "vqa-published-v1",
            "stage": "stage",
            "format": "stage-v1",
            "files": {name: {"sha256": digest, "size_bytes": 7} for name in NAMES},
        }

    def test_a_jsonl_is_known_by_it(self, tmp_path: Path) -> None:
        jsonl = tmp_path / NAMES[0]
        with publishing("corpus_jsonl", jsonl, "mos-corpus-manifest-v1") as publication:
            publication.write(jsonl, b"{}\n")
        made = made_by(jsonl)
        assert made is not None
        assert (made.stage, made.format, made.is_ours) == ("corpus_jsonl", 1, True)
        jsonl.write_bytes(b"{}\n{}\n")
        edited = made_by(jsonl)
        assert edited is not None
        assert not edited.is_ours

    def test_a_file_that_is_kept_is_not_touched_and_named_all_the_same(self, earlier: Path) -> None:
        kept, before = earlier / NAMES[0], (earlier / NAMES[0]).stat()
        with publishing("stage", kept, "stage-v1") as publication:
            publication.write(kept, b"earlier")
            publication.keep(kept)
            publication.write(earlier / NAMES[1], b"new")
            assert publication.lies_at(kept) == kept
        assert (kept.stat().st_ino, kept.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
        assert set(read_json_object(published_path(kept))["files"]) == {*NAMES[:2]}

    def test_files_of_several_folders_are_one_act(self, tmp_path: Path) -> None:
        names = ("a/x.jsonl", "b/x.manifest.json")
        publish(tmp_path, "earlier", names)
        publish(tmp_path, "new", names)
        assert standing(tmp_path, names) == {"new"}
        assert set(read_json_object(published_path(tmp_path / "a/x.jsonl"))["files"]) == {
            "x.jsonl",
            "../b/x.manifest.json",
        }

    @pytest.mark.parametrize("error", [ValueError, OSError(28, "full"), KeyboardInterrupt])
    def test_an_error_on_the_way_replaces_none(self, earlier: Path, error: type[BaseException] | OSError) -> None:
        def interrupted() -> None:
            with publishing("stage", earlier / NAMES[0], "stage-v1") as publication:
                publication.write(earlier / NAMES[0], b"new")
                raise error

        with pytest.raises(type(error) if isinstance(error, OSError) else error):
            interrupted()
        assert standing(earlier) == {"earlier"}
        assert listing(earlier) == sorted([*NAMES, *HIDDEN])

    def test_a_folder_in_the_place_of_one_replaces_none(self, earlier: Path) -> None:
        (earlier / NAMES[2]).unlink()
        (earlier / NAMES[2]).mkdir()
        with pytest.raises(IsADirectoryError):
            publish(earlier, "new")
        assert standing(earlier, NAMES[:2]) == {"earlier"}
        assert listing(earlier) == sorted([*NAMES, *HIDDEN])

    def test_a_link_in_the_place_of_a_file_is_put_back_as_a_link(self, earlier: Path, failing: "Failing") -> None:
        (earlier / "elsewhere").write_text("earlier")
        (earlier / NAMES[0]).unlink()
        (earlier / NAMES[0]).symlink_to("elsewhere")
        failing("replace", 2)
        with pytest.raises(OSError, match="Input/output"):
            publish(earlier, "new")
        assert (earlier / NAMES[0]).is_symlink()
        assert standing(earlier) == {"earlier"}

    def test_another_run_that_publishes_meanwhile_leaves_no_manifest_of_another_file(self, earlier: Path) -> None:
        kept, manifest = earlier / NAMES[0], earlier / NAMES[2]

        def keep_and_describe() -> None:
            with publishing("stage", kept, "stage-v1") as publication:
                publication.keep(kept)
                publication.write(manifest, b"of earlier")
                assert killed_at("replace", 99, lambda: publish(earlier, "another")) == 0

        with pytest.raises(LockedError, match="another file than when this run read it"):
            keep_and_describe()
        assert standing(earlier) == {"another"}
        assert listing(earlier) == sorted([*NAMES, *HIDDEN])

    def test_runs_in_two_containers_share_no_draft_and_remove_none_of_each_other(
        self, earlier: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Processes there have the same numbers, and do not see each other."""
        with publishing("stage", earlier / NAMES[0], "stage-v1") as publication:
            for name in NAMES:
                publication.write(earlier / name, b"first")
            monkeypatch.setattr(files, "_process_table", lambda: "0123abcd")
            publish(earlier, "second")
            monkeypatch.undo()
        assert standing(earlier) == {"first"}
        assert listing(earlier) == sorted([*NAMES, *HIDDEN])

    def test_what_another_container_left_is_removed_a_day_later(
        self, earlier: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        left = [earlier / f".{NAMES[0]}.{os.getpid()}-0123abcd{suffix}" for suffix in (".tmp", ".old")]
        for path in left:
            path.touch()
            os.utime(path, (0, 0))
        publish(earlier, "new")
        assert [path.exists() for path in left] == [True, True]
        monkeypatch.setattr(files, "_LEFT_BEHIND_S", 0)
        publish(earlier, "newer")
        assert [path.exists() for path in left] == [False, False]

    @pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("nowhere")])
    def test_what_is_no_file_in_the_journals_place_is_told(self, earlier: Path, make: Callable[[Path], object]) -> None:
        make(journal_path(earlier / NAMES[0]))
        settle(earlier)
        with pytest.raises(SchemaError, match="where a publication has its journal, expected nothing there"):
            publish(earlier, "new")
        assert standing(earlier) == {"earlier"}
        assert [name for name in listing(earlier) if name.endswith((".tmp", ".old"))] == []


Failing = Callable[..., Callable[[], bool]]
CODES = (errno.EIO, errno.EACCES, errno.ENOSPC, errno.EDQUOT)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Failing:
    """Have the ``number``-th call of ``os.<name>`` fail, and all after it where ``for_good``; say whether it did."""

    def arrange(name: str, number: int, *, for_good: bool = False, code: int = errno.EIO) -> Callable[[], bool]:
        real, calls = getattr(os, name), 0

        def counted(*arguments: object, **options: object) -> object:
            nonlocal calls
            calls += 1
            if calls == number or (for_good and calls > number):
                raise OSError(code, os.strerror(code))
            return real(*arguments, **options)

        monkeypatch.setattr(os, name, counted)
        return lambda: calls >= number

    return arrange


class TestARunThatFails:
    """It puts everything back, and its message is true."""

    @pytest.mark.parametrize("call", ["replace", "fsync", "link", "unlink", "open"])
    def test_at_whatever_call_the_disk_refuses_the_files_are_of_one_run(
        self, tmp_path: Path, failing: Failing, call: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        outcomes = set()
        for number in count(1):
            folder = tmp_path / f"{number}"
            publish(folder, "earlier")
            was_refused = failing(call, number, code=CODES[number % len(CODES)])
            try:
                publish(folder, "new")
                said = "new"
            except OSError:
                said = "earlier"
            monkeypatch.undo()
            assert standing(folder) == {said}, number
            settle(folder)
            assert standing(folder) == {said}, number
            publish(folder, "next")
            assert listing(folder) == sorted([*NAMES, *HIDDEN])
            outcomes.add(said)
            if not was_refused():
                break
        assert outcomes == {"new", "earlier"}

    def test_what_was_not_there_before_is_not_there_after_it(self, tmp_path: Path, failing: Failing) -> None:
        failing("replace", 3)
        with pytest.raises(OSError, match="Input/output"):
            publish(tmp_path, "new")
        assert listing(tmp_path) == []

    def test_where_the_earlier_files_cannot_be_put_back_it_says_so_and_the_next_command_finishes(
        self, earlier: Path, failing: Failing, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        failing("replace", 2, for_good=True)
        with pytest.raises(PublicationError) as told:
            publish(earlier, "new")
        monkeypatch.undo()
        assert "the files of stage are of two runs" in str(told.value)
        assert "the next command makes them whole by .x.jsonl.publishing.json" in str(told.value)
        settle(earlier)
        assert standing(earlier) == {"new"}
        assert listing(earlier) == sorted([*NAMES, *HIDDEN])

    def test_without_hard_links_the_earlier_files_are_copied(
        self, earlier: Path, failing: Failing, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        failing("link", 1, for_good=True, code=errno.EOPNOTSUPP)
        failing("replace", 4)  # the journal is put in its place by the first
        with pytest.raises(OSError, match="Input/output"):
            publish(earlier, "new")
        monkeypatch.undo()
        assert standing(earlier) == {"earlier"}
        assert listing(earlier) == sorted([*NAMES, *HIDDEN])


class TestAfterAKill:
    """The next command finishes what is whole, and undoes what is not."""

    @pytest.mark.parametrize("call", ["replace", "fsync", "link", "unlink"])
    def test_at_whatever_call_it_was_killed_the_files_are_of_one_run(self, earlier: Path, call: str) -> None:
        outcomes, number, status = [], 0, KILLED
        while status == KILLED:
            number += 1
            publish(earlier, "earlier")
            status = killed(earlier, "new", call, number)
            settle(earlier)
            (word,) = standing(earlier)
            outcomes.append(word)
            publish(earlier, "next")
            assert listing(earlier) == sorted([*NAMES, *HIDDEN]), number
        assert status == 0
        # once decided, the new files stand: never the earlier ones again
        assert outcomes == sorted(outcomes)
        assert outcomes[-1] == "new"

    def cut_short(self, folder: Path, number: int = 3) -> None:
        """Kill a publication before its third file is replaced."""
        assert killed(folder, "new", "replace", number) == KILLED
        assert len(standing(folder)) == 2
        assert journal_path(folder / NAMES[0]).exists()

    def test_a_draft_that_is_not_whole_has_it_undone(self, earlier: Path, caplog: pytest.LogCaptureFixture) -> None:
        self.cut_short(earlier)
        (draft,) = earlier.glob(".x.manifest.json.*.tmp")
        draft.write_bytes(draft.read_bytes()[:-1])
        settle(earlier)
        assert standing(earlier) == {"earlier"}
        assert listing(earlier) == sorted([*NAMES, *HIDDEN])
        assert "a publication of stage was cut short; it is undone: the earlier files stand" in caplog.text

    def test_a_damaged_journal_has_it_undone(self, earlier: Path) -> None:
        self.cut_short(earlier)
        journal = journal_path(earlier / NAMES[0])
        journal.write_bytes(journal.read_bytes()[:40])
        settle(earlier)
        assert standing(earlier) == {"earlier"}
        publish(earlier, "next")
        assert listing(earlier) == sorted([*NAMES, *HIDDEN])

    def test_what_somebody_put_there_since_is_left(self, earlier: Path) -> None:
        self.cut_short(earlier)
        (earlier / NAMES[2]).write_text("an operator's own edit")
        settle(earlier)
        assert [(earlier / name).read_text() for name in NAMES] == ["earlier", "earlier", "an operator's own edit"]
        assert listing(earlier) == sorted([*NAMES, *HIDDEN])

    @pytest.mark.parametrize("number", [1, 2, 3, 4])
    def test_a_copy_whose_times_are_others_becomes_whole(self, earlier: Path, tmp_path: Path, number: int) -> None:
        (earlier / NAMES[0]).unlink()
        assert killed(earlier, "new", "replace", number) == KILLED
        copy = tmp_path / "copy"
        shutil.copytree(earlier, copy, copy_function=shutil.copy, ignore=shutil.ignore_patterns("copy"))
        settle(copy)
        assert standing(copy) == {"new"}
        assert listing(copy) == sorted([*NAMES, *HIDDEN])

    def test_parts_are_of_one_run_with_what_they_are_parts_of(self, tmp_path: Path) -> None:
        (tmp_path / "a").mkdir()
        names = ("a/a.parquet", "b.parquet", "report.json")
        outcomes, number, status = [], 0, KILLED
        while status == KILLED:
            number += 1
            publish_parts(tmp_path, "earlier")
            status = killed_at("replace", number, lambda: publish_parts(tmp_path, "new"))
            settle(tmp_path)
            (word,) = standing(tmp_path, names)
            outcomes.append(word)
        assert status == 0
        assert number == len(names) * 2 + 1  # each has a record of its own
        assert outcomes == sorted(outcomes)
        assert outcomes[-1] == "new"
        for name in names:
            assert list(read_json_object(published_path(tmp_path / name))["files"]) == [Path(name).name]

    def test_a_part_that_fails_is_left_out_and_what_stood_there_stays(self, tmp_path: Path) -> None:
        publish_parts(tmp_path, "earlier")
        publish_parts(tmp_path, "new", failing="b.parquet")
        assert [(tmp_path / name).read_text() for name in ("a/a.parquet", "b.parquet", "report.json")] == [
            "new",
            "earlier",
            "new",
        ]
        assert not list(tmp_path.rglob("*.tmp"))

    def test_a_folder_behind_a_link_is_settled_however_it_is_spelled(self, tmp_path: Path) -> None:
        (tmp_path / "disk" / "deep").mkdir(parents=True)
        (tmp_path / "root").mkdir()
        (tmp_path / "root" / "a").symlink_to(tmp_path / "disk" / "deep")
        names = ("root/a/x.jsonl", "root/x.manifest.json")
        publish(tmp_path, "earlier", names)
        assert killed_at("replace", 2, lambda: publish(tmp_path, "new", names)) == KILLED
        settle(tmp_path / "disk" / "deep", may_write=False)
        assert {place_to_read(tmp_path / name).read_text() for name in names} == {"earlier"}
        settle(tmp_path / "disk" / "deep")
        assert standing(tmp_path, names) == {"new"}
        assert listing(tmp_path / "root") == ["a", "x.manifest.json"]

    @pytest.mark.parametrize("name", ["a\0b", "a\ud800b"])
    def test_a_journal_of_names_that_no_file_can_have_is_told_as_damaged(
        self, earlier: Path, name: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        content = {"sha256": "0" * 64, "size_bytes": 4, "before": None, "inode": 1}
        entry = {"target": name, "draft": f".{name}.1.tmp", "backup": f".{name}.1.old", **content}
        journal = journal_path(earlier / NAMES[0])
        journal.write_text(json.dumps({"schema": "vqa-publishing-v1", "stage": "stage", "files": [entry]}))
        settle(earlier)
        assert "its journal is damaged; the earlier files stand" in caplog.text
        assert listing(earlier) == sorted([*NAMES, *HIDDEN])

    def test_a_journal_from_elsewhere_removes_no_hidden_file_that_is_no_draft_of_its_target(
        self, earlier: Path
    ) -> None:
        own = [earlier / ".own.tmp", earlier / ".own.1.old"]
        for path in own:
            path.touch()
        content = {"sha256": "0" * 64, "size_bytes": 4, "before": None, "inode": 1}
        entry = {"target": "x", "draft": own[0].name, "backup": own[1].name, **content}
        journal = journal_path(earlier / "y.jsonl")
        journal.write_text(json.dumps({"schema": "vqa-publishing-v1", "stage": "stage", "files": [entry]}))
        settle(earlier)
        assert own[0].exists()

    @pytest.mark.parametrize("place", ["../../target", "/etc/hostname"])
    def test_a_journal_from_elsewhere_moves_no_files_about(self, tmp_path: Path, place: str) -> None:
        (tmp_path / ".evil.1.tmp").write_text("evil")
        content = {"sha256": sha256(b"evil").hexdigest(), "size_bytes": 4, "before": None, "inode": 1}
        entry = {"target": place, "draft": ".evil.1.tmp", "backup": ".evil.1.old", **content}
        journal = journal_path(tmp_path / "x.jsonl")
        journal.write_text(json.dumps({"schema": "vqa-publishing-v1", "stage": "stage", "files": [entry]}))
        settle(tmp_path)
        assert listing(tmp_path) == [".evil.1.tmp"]

    def test_a_journal_from_elsewhere_removes_no_file_whose_bytes_it_knows(self, tmp_path: Path) -> None:
        (tmp_path / "root").mkdir()
        own, digest = tmp_path / "own", sha256(b"own").hexdigest()
        own.write_bytes(b"own")
        content = {"sha256": digest, "size_bytes": 3, "before": None, "inode": 1}
        entries = [
            {"target": f"../{name}", "draft": f"../.{name}.1.tmp", "backup": f"../.{name}.1.old", **content}
            for name in ("own", "none")
        ]
        journal = journal_path(tmp_path / "root" / "x.jsonl")
        journal.write_text(json.dumps({"schema": "vqa-publishing-v1", "stage": "stage", "files": entries}))
        settle(tmp_path / "root")
        assert own.read_bytes() == b"own"
        assert listing(tmp_path / "root") == []

    def test_what_a_living_process_publishes_is_left_alone(
        self, earlier: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        self.cut_short(earlier)
        monkeypatch.setattr(module, "PATIENCE_S", 0.05)
        journal = journal_path(earlier / NAMES[0])
        before = listing(earlier)
        with journal.open("rb") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            settle(earlier)
            assert listing(earlier) == before
            assert "another run is publishing" in caplog.text
            with pytest.raises(LockedError, match="another run is publishing"):
                publish(earlier, "third")
            assert listing(earlier) == before
        settle(earlier)
        assert standing(earlier) == {"new"}

    def test_what_another_run_published_meanwhile_is_what_comes_back(
        self, earlier: Path, failing: Failing, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real, others = module.settle, [lambda: publish(earlier, "another")]

        def meanwhile(*folders: Path) -> None:
            if (earlier / "about-to-publish").exists() and others:  # when the journal is about to be put there
                assert killed_at("replace", 99, others.pop()) == 0
                failing("replace", 3)
            real(*folders)

        def publish_new() -> None:
            with publishing("stage", earlier / NAMES[0], "stage-v1") as publication:
                for name in NAMES:
                    publication.write(earlier / name, b"new")
                (earlier / "about-to-publish").touch()

        monkeypatch.setattr(module, "settle", meanwhile)
        with pytest.raises(OSError, match="Input/output"):
            publish_new()
        monkeypatch.undo()
        assert others == []
        assert standing(earlier) == {"another"}
        (earlier / "about-to-publish").unlink()
        assert listing(earlier) == sorted([*NAMES, *HIDDEN])

    def test_where_nothing_may_be_written_it_says_so_and_the_earlier_files_are_read(
        self, earlier: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        self.cut_short(earlier)
        before = listing(earlier)
        settle(earlier, may_write=False)
        assert listing(earlier) == before
        assert {place_to_read(earlier / name).read_text() for name in NAMES} == {"earlier"}
        assert "cannot be settled here (nothing is written here): the earlier files are read" in caplog.text
        settle(earlier)
        assert {place_to_read(earlier / name).read_text() for name in NAMES} == {"new"}

    @pytest.mark.skipif(not OF_ROOT, reason="needs to become another user")
    def test_another_user_reads_the_earlier_files(self, earlier: Path) -> None:
        self.cut_short(earlier)
        with readable_by_all(earlier), another_user():
            settle(earlier)
            assert {place_to_read(earlier / name).read_text() for name in NAMES} == {"earlier"}
        settle(earlier)
        assert standing(earlier) == {"new"}


@contextmanager
def another_user() -> Iterator[None]:
    own = os.geteuid()
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(own)


@contextmanager
def readable_by_all(folder: Path) -> Iterator[None]:
    """A test's folder lies below those of its user alone."""
    modes = {path: path.stat().st_mode for path in (folder, *folder.parents) if not path.stat().st_mode & 0o001}
    for path in modes:
        path.chmod(0o755)
    try:
        yield
    finally:
        for path, mode in modes.items():
            path.chmod(mode)
