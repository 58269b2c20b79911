"""Download progress: what a kill leaves, what a hand edits, and how seldom the file is rewritten."""

import json
import os

import pytest

from vqa_assets.errors import IngestError
from vqa_assets.ingest import progress as module
from vqa_assets.ingest.progress import Entry, Progress

DONE = Entry("done")
GONE = Entry("failed", "HTTP 404")


@pytest.fixture
def path(tmp_path):
    return tmp_path / ".download-progress.json"


def log_of(path):
    return path.with_name(".download-progress.log")


def on_disk(path):
    return json.loads(path.read_text(encoding="utf-8"))


def leave(path, *, json_text=None, log=None, newer="log"):
    """What an earlier run left: the JSON, the log, and which was changed last."""
    times = {"json": (1_000, 2_000), "log": (2_000, 1_000), "neither": (1_000, 1_000)}[newer]
    for file, text, when in ((log_of(path), log, times[1]), (path, json_text, times[0])):
        if text is not None:
            file.write_text(text, encoding="utf-8")
            os.utime(file, (10_000 - when, 10_000 - when))


def killed(path, entries):
    """A run that set these entries and was killed: nothing folds its log."""
    run = Progress(path)
    run.__enter__()
    for name, entry in entries.items():
        run.set(name, entry)
    run._log.close()


class TestEntries:
    """What is known of a clip."""

    def test_the_file_reads_as_the_contract_shows_it(self, path):
        with Progress(path) as progress:
            progress.set("0002.mp4", Entry("failed", "curl-rc=22: é"))
            progress.set("0001.mp4", DONE)
        assert path.read_text(encoding="utf-8") == (
            '{\n"0001.mp4": {"state": "done"},\n"0002.mp4": {"state": "failed", "reason": "curl-rc=22: é"}\n}\n'
        )

    def test_entries_of_an_earlier_run_are_known(self, path):
        leave(path, json_text='{"a.mp4": {"state": "done"}, "b.mp4": {"state": "failed", "reason": "HTTP 404"}}')
        with Progress(path) as progress:
            assert progress.entries == {"a.mp4": DONE, "b.mp4": GONE}

    def test_what_an_entry_knows_beside_state_and_reason_comes_back(self, path):
        entries = {
            "a.mp4": Entry("failed", "HTTP 404", address="http://h/a.mp4"),
            "b.mp4": Entry("retry", "truncated", sha256="0f" * 32, runs=2),
        }
        killed(path, entries)
        with Progress(path) as progress:
            assert progress.entries == entries
        assert on_disk(path) == {
            "a.mp4": {"state": "failed", "reason": "HTTP 404", "address": "http://h/a.mp4"},
            "b.mp4": {"state": "retry", "reason": "truncated", "sha256": "0f" * 32, "runs": 2},
        }
        with Progress(path) as progress:
            assert progress.entries == entries

    @pytest.mark.parametrize(
        ("entry", "forbidden"),
        [
            (Entry("failed", "", "http://h/a"), True),
            (Entry("failed", "", "http://h/b"), False),
            (Entry("failed"), True),
            (Entry("retry", sha256="0f", runs=2), False),
            (DONE, False),
        ],
    )
    def test_only_the_address_that_failed_is_not_asked_again(self, entry, forbidden):
        assert entry.forbids("http://h/a") is forbidden

    def test_a_deleted_entry_is_unknown_again(self, path):
        with Progress(path) as progress:
            progress.set("a.mp4", GONE)
        path.write_text("{}")
        with Progress(path) as progress:
            assert progress.entries == {}

    def test_a_deleted_file_knows_nothing(self, path):
        with Progress(path) as progress:
            progress.set("a.mp4", GONE)
        path.unlink()
        with Progress(path) as progress:
            assert progress.entries == {}

    def test_a_later_state_replaces_the_earlier(self, path):
        with Progress(path) as progress:
            progress.set("a.mp4", GONE)
            progress.set("a.mp4", DONE)
        assert on_disk(path) == {"a.mp4": {"state": "done"}}

    def test_a_run_that_learns_nothing_writes_nothing(self, path):
        leave(path, json_text='{"a.mp4":{"state":"done"}}')
        with Progress(path) as progress:
            progress.set("a.mp4", DONE)
        assert path.read_text() == '{"a.mp4":{"state":"done"}}'

    def test_no_progress_leaves_no_file(self, path):
        with Progress(path):
            pass
        assert list(path.parent.iterdir()) == []

    def test_an_empty_file_knows_nothing(self, path):
        path.write_bytes(b"")
        with Progress(path) as progress:
            assert progress.entries == {}


class TestInterrupts:
    """Nothing that was learnt is lost."""

    def test_an_interrupt_folds_the_log(self, path):
        def interrupted():
            with Progress(path) as progress:
                progress.set("a.mp4", DONE)
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert on_disk(path) == {"a.mp4": {"state": "done"}}
        assert not log_of(path).exists()

    def test_each_entry_is_in_the_log_at_once(self, path):
        with Progress(path) as progress:
            progress.set("a.mp4", GONE)
            continued, entry = map(json.loads, log_of(path).read_text().splitlines())
            assert continued == {"continues": ""}
            assert entry == {"name": "a.mp4", "state": "failed", "reason": "HTTP 404"}
            assert not path.exists()

    def test_what_a_killed_run_learnt_is_folded_at_the_next_start(self, path):
        killed(path, {"a.mp4": DONE, "b.mp4": GONE})
        assert not path.exists()
        with Progress(path) as progress:
            assert progress.entries == {"a.mp4": DONE, "b.mp4": GONE}
            assert on_disk(path) == {
                "a.mp4": {"state": "done"},
                "b.mp4": {"state": "failed", "reason": "HTTP 404"},
            }
            assert log_of(path).read_bytes() == b""

    def test_the_log_wins_over_the_older_json_entry_by_entry(self, path):
        leave(
            path,
            json_text='{"a.mp4": {"state": "failed"}, "z.mp4": {"state": "done"}}',
            log='{"name": "a.mp4", "state": "done"}\n',
            newer="log",
        )
        with Progress(path) as progress:
            assert progress.entries == {"a.mp4": DONE, "z.mp4": DONE}

    def test_equal_times_fold_the_log(self, path):
        leave(path, json_text="{}", log='{"name": "a.mp4", "state": "done"}\n', newer="neither")
        with Progress(path) as progress:
            assert progress.entries == {"a.mp4": DONE}

    def test_a_json_edited_after_the_logs_last_line_wins(self, path):
        leave(path, json_text="{}", log='{"name": "a.mp4", "state": "failed", "reason": "HTTP 404"}\n', newer="json")
        with Progress(path) as progress:
            assert progress.entries == {}
        assert not log_of(path).exists()

    def test_what_an_edit_undid_does_not_come_back_after_a_second_kill(self, path):
        leave(path, json_text="{}", log='{"name": "a.mp4", "state": "failed", "reason": "HTTP 404"}\n', newer="json")
        killed(path, {"b.mp4": DONE})
        with Progress(path) as progress:
            assert progress.entries == {"b.mp4": DONE}

    @pytest.mark.parametrize("newer", ["log", "json", "neither"])
    def test_which_is_later_is_no_matter_of_a_clock(self, newer, path):
        with Progress(path) as progress:
            progress.set("a.mp4", GONE)
        killed(path, {"b.mp4": DONE})
        times = {"json": (1_000, 2_000), "log": (2_000, 1_000), "neither": (1_000, 1_000)}[newer]
        os.utime(log_of(path), (times[0],) * 2)
        os.utime(path, (times[1],) * 2)
        with Progress(path) as progress:
            assert progress.entries == {"a.mp4": GONE, "b.mp4": DONE}

    @pytest.mark.parametrize("newer", ["log", "json"])
    def test_a_json_that_was_edited_since_wins_whatever_the_clock_says(self, newer, path):
        killed(path, {"a.mp4": GONE})
        leave(path, json_text="{}", newer=newer)
        os.utime(log_of(path), (5_000, 5_000))
        with Progress(path) as progress:
            assert progress.entries == {}

    def test_a_kill_between_the_json_and_the_emptying_of_the_log_takes_nothing_back(self, path):
        killed(path, {"a.mp4": GONE})
        log = log_of(path).read_bytes()
        with Progress(path) as progress:
            progress.set("a.mp4", DONE)
        log_of(path).write_bytes(log)
        with Progress(path) as progress:
            assert progress.entries == {"a.mp4": DONE}

    @pytest.mark.parametrize("torn", ['{"name": "b.mp4", "sta', '{"name"', "\0\0\0", "[1]", '"b.mp4"', "7", "{}"])
    def test_a_torn_last_line_is_left_out_with_a_warning(self, torn, path, caplog):
        leave(path, log='{"name": "a.mp4", "state": "done"}\n' + torn, newer="log")
        with Progress(path) as progress:
            assert progress.entries == {"a.mp4": DONE}
        assert on_disk(path) == {"a.mp4": {"state": "done"}}
        assert "a torn line is left out" in caplog.text

    def test_a_torn_line_is_not_glued_to_the_next_runs_first(self, path):
        leave(path, log='{"name": "a.mp4", "sta', newer="log")
        killed(path, {"b.mp4": DONE})
        with Progress(path) as progress:
            assert progress.entries == {"b.mp4": DONE}

    def test_a_write_that_fails_keeps_the_log(self, path, monkeypatch):
        def disk_full(*_):
            raise OSError("No space left on device")

        def run():
            with Progress(path) as progress:
                progress.set("a.mp4", DONE)
                monkeypatch.setattr(module, "write_bytes", disk_full)

        with pytest.raises(OSError, match="No space left"):
            run()
        monkeypatch.undo()
        with Progress(path) as progress:
            assert progress.entries == {"a.mp4": DONE}

    def test_the_log_never_takes_the_place_of_the_file_itself(self, tmp_path):
        for name in ("progress.log", "progress", "progress.json"):
            with Progress(tmp_path / name) as progress:
                progress.set("a.mp4", DONE)
            assert on_disk(tmp_path / name) == {"a.mp4": {"state": "done"}}


class TestBrokenFiles:
    """A file that is not what it should be is refused, and stays as it is."""

    @pytest.mark.parametrize(
        ("content", "found"),
        [
            (b'{"a.mp4": {"state": "done"}', "not JSON ("),
            (b"\xff\xfe\x00", "not JSON ("),
            (b"[]", "a JSON list"),
            (b'{"a.mp4": "done"}', "'a.mp4' has 'done'"),
            (b'{"a.mp4": {"state": "finished"}}', "'a.mp4' has {'state': 'finished'}"),
            (b'{"a.mp4": {}}', "'a.mp4' has {}"),
            (b'{"a.mp4": {"state": ["done"]}}', "'a.mp4' has {'state': ['done']}"),
            (b'{"a.mp4": {"state": "retry", "runs": "2"}}', "'a.mp4' has {'state': 'retry', 'runs': '2'}"),
        ],
    )
    def test_it_is_told_and_never_overwritten(self, content, found, path):
        path.write_bytes(content)
        with pytest.raises(IngestError) as caught, Progress(path) as progress:
            progress.set("b.mp4", DONE)
        assert str(caught.value).startswith(f"{path}: {found}")
        assert '{"state": "done"}' in caught.value.expected
        assert "correct the file, or delete it" in caught.value.next_step
        assert path.read_bytes() == content

    def test_a_log_with_an_unknown_state_is_told_and_stays(self, path):
        leave(path, log='{"name": "a.mp4", "state": "finished"}\n')
        with pytest.raises(IngestError, match="finished"):
            Progress(path)
        assert "finished" in log_of(path).read_text()


class TestWrites:
    """How often the JSON is rewritten while a run lasts."""

    @pytest.fixture
    def clock(self, monkeypatch):
        """A clock that stands until it is told to move."""

        class Clock:
            now = 0.0

            def monotonic(self):
                return self.now

        found = Clock()
        monkeypatch.setattr(module, "time", found)
        return found

    @pytest.fixture
    def writes(self, monkeypatch):
        counted = []
        really = module.write_bytes

        def counting(path, content):
            counted.append(len(json.loads(content)))
            really(path, content)

        monkeypatch.setattr(module, "write_bytes", counting)
        return counted

    def test_never_sooner_than_fifty_clips_after_the_last_time(self, path, clock, writes):
        with Progress(path) as progress:
            clock.now = 1e6
            for i in range(49):
                progress.set(f"{i}.mp4", DONE)
            assert writes == []
            progress.set("49.mp4", DONE)
            assert writes == [50]
            clock.now = 2e6
            for i in range(50, 99):
                progress.set(f"{i}.mp4", DONE)
            assert writes == [50]
            progress.set("99.mp4", DONE)
            assert writes == [50, 100]

    def test_never_sooner_than_ten_seconds(self, path, clock, writes):
        with Progress(path) as progress:
            for i in range(500):
                progress.set(f"{i}.mp4", DONE)
            assert writes == []
            clock.now = 10.0
            progress.set("500.mp4", DONE)
            assert writes == [501]
        assert writes == [501]

    def test_a_slow_disk_is_written_to_more_seldom(self, path, clock, writes, monkeypatch):
        quick = module.write_bytes

        def slow(*args):
            clock.now += 2.0
            quick(*args)

        monkeypatch.setattr(module, "write_bytes", slow)
        with Progress(path) as progress:
            clock.now = 10.0
            for i in range(50):
                progress.set(f"{i}.mp4", DONE)
            assert len(writes) == 1
            clock.now += 199
            for i in range(50, 150):
                progress.set(f"{i}.mp4", DONE)
            assert len(writes) == 1
            clock.now += 1
            progress.set("150.mp4", DONE)
            assert len(writes) == 2

    def test_after_a_write_the_log_holds_only_what_the_json_does_not(self, path, clock):
        with Progress(path) as progress:
            clock.now = 10.0
            for i in range(51):
                progress.set(f"{i}.mp4", DONE)
            assert len(on_disk(path)) == 50
            assert log_of(path).read_bytes().splitlines()[1:] == [b'{"name": "50.mp4", "state": "done"}']

    def test_a_kill_after_a_write_loses_nothing(self, path, clock):
        run = Progress(path)
        run.__enter__()
        clock.now = 10.0
        for i in range(60):
            run.set(f"{i}.mp4", DONE)
        run._log.close()
        with Progress(path) as progress:
            assert len(progress.entries) == 60
        assert len(on_disk(path)) == 60
