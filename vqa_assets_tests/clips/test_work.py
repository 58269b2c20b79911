"""Per-clip work: a bounded window, a prompt stop, readable progress."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from vqa_assets.clips.work import PassCounts, ProgressLine, Watch, clock, completed, completed_together, stopping


def test_every_item_comes_back_with_its_own_result():
    with ThreadPoolExecutor(4) as executor:
        found = {item: future.result() for item, future in completed(executor, lambda n: n * n, range(50), window=8)}
    assert found == {n: n * n for n in range(50)}


def test_no_items_are_no_work():
    with ThreadPoolExecutor(1) as executor:
        assert list(completed(executor, str, [], window=4)) == []


def test_a_failure_is_its_items_alone():
    def work(n):
        if n == 3:
            raise ValueError(n)
        return n

    with ThreadPoolExecutor(2) as executor:
        found = {n: future.exception() for n, future in completed(executor, work, range(6), window=2)}
    assert [n for n, error in found.items() if error] == [3]


@pytest.mark.parametrize("window", [1, 3])
def test_no_more_than_the_window_is_taken_from_the_items_ahead_of_the_consumer(window):
    taken = []

    def items():
        for n in range(20):
            taken.append(n)
            yield n

    with ThreadPoolExecutor(2) as executor:
        for done, _ in enumerate(completed(executor, str, items(), window)):
            assert len(taken) - done <= window


def test_finished_work_is_not_held_back_by_slow_work_before_it():
    release = threading.Event()

    def work(n):
        return release.wait(10) if n == 0 else n

    with ThreadPoolExecutor(2) as executor:
        order = []
        for item, _ in completed(executor, work, range(5), window=2):
            order.append(item)
            if len(order) == 4:
                release.set()
    assert order == [1, 2, 3, 4, 0]


def test_an_exception_in_the_consumer_cancels_what_has_not_begun():
    begun = []
    release = threading.Event()

    def work(n):
        begun.append(n)
        return n == 0 or release.wait(10)

    def consume(executor):
        for _ in completed(executor, work, range(8), window=6):
            raise KeyboardInterrupt

    with ThreadPoolExecutor(1) as executor:
        with pytest.raises(KeyboardInterrupt):
            consume(executor)
        release.set()
    assert len(begun) <= 2


def test_what_completed_while_the_consumer_was_busy_comes_together():
    with ThreadPoolExecutor(4) as executor:
        batches = completed_together(executor, str, range(40), window=40)
        first = next(batches)
        executor.shutdown()
        rest = list(batches)
    assert sum(map(len, [first, *rest])) == 40
    assert len(rest) <= 1


def test_the_consumer_is_told_while_nothing_completes(monkeypatch):
    monkeypatch.setattr("vqa_assets.clips.work._LOOK_AROUND_S", 0.01)
    release, told = threading.Event(), []

    def meanwhile():
        told.append(1)
        if len(told) == 3:
            release.set()

    with ThreadPoolExecutor(1) as executor:
        (batch,) = completed_together(executor, lambda _: release.wait(10), [0], 1, meanwhile)
    assert len(batch) == 1
    assert len(told) >= 3


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, ValueError])
def test_an_interrupt_reaches_the_workers_and_does_not_drain_the_queue(interrupt):
    stop = threading.Event()
    begun = []

    def work(n):
        begun.append(n)
        stop.wait(10)

    def interrupted(executor):
        with stopping(stop, executor):
            for n in range(100):
                executor.submit(work, n)
            raise interrupt

    before = time.monotonic()
    with pytest.raises(interrupt), ThreadPoolExecutor(2) as executor:
        interrupted(executor)
    assert stop.is_set()
    assert len(begun) <= 2
    assert time.monotonic() - before < 5


def test_a_block_that_ends_well_stops_nothing():
    stop = threading.Event()
    with ThreadPoolExecutor(1) as executor, stopping(stop, executor):
        assert executor.submit(int, "3").result() == 3
    assert not stop.is_set()


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (59.6, "1 m 0 s"),
        (75, "1 m 15 s"),
        (3600, "1 h 0 m"),
        (3 * 3600 + 125, "3 h 2 m"),
        (86400, "1 d 0 h"),
        (2 * 86400 + 5 * 3600 + 59, "2 d 5 h"),
    ],
)
def test_a_time_is_told_in_its_two_largest_units(seconds, told):
    assert clock(seconds) == told


class TestProgress:
    """The line every few seconds."""

    def line_of(self, total=200, **more):
        said = []
        return ProgressLine("konvid-150k", total, said.append, **{"now": lambda: 0.0, **more}), said

    def test_it_tells_share_rate_and_time_left(self):
        line, _ = self.line_of()
        assert line.line(50, 10.0) == "[konvid-150k] 50/200 clips (25 %), 5.0 clips/s, ETA 30 s"

    def test_what_the_caller_adds_stands_at_the_end(self):
        line, _ = self.line_of(unit="rows")
        assert line.line(50, 10.0, "2 failed").endswith("5.0 rows/s, ETA 30 s, 2 failed")

    def test_a_standstill_has_no_time_left(self):
        line, _ = self.line_of()
        assert "0.0 clips/s, ETA unknown" in line.line(0, 10.0)

    def test_the_rate_is_that_of_the_last_lines_and_not_of_the_whole_run(self):
        line, _ = self.line_of(total=10_000)
        for step in range(13):
            line.line(step, float(step))
        assert "100.0 clips/s" in line.line(1 + 100 * 12, 13.0)

    def test_nothing_to_do_is_done(self):
        line, _ = self.line_of(total=0)
        assert "0/0 clips (100 %)" in line.line(0, 1.0)

    def test_bytes_are_told_as_a_rate(self):
        line, _ = self.line_of()
        assert line.line(50, 10.0, "2 failed", read_bytes=30_000_000) == (
            "[konvid-150k] 50/200 clips (25 %), 5.0 clips/s, 3.0 MB/s, ETA 30 s, 2 failed"
        )

    def test_a_hundred_percent_is_said_of_the_whole_only(self):
        line, _ = self.line_of(total=1000)
        assert "999/1000 clips (99 %)" in line.line(999, 1.0)

    def test_a_line_is_said_only_when_it_is_due(self):
        now = [0.0]
        line, said = self.line_of(now=lambda: now[0], every_s=5.0)
        now[0] = 4.9
        line.update(1)
        assert said == []
        now[0] = 5.0
        line.update(2, lambda: "1 broken")
        line.update(3)
        assert len(said) == 1
        assert said[0].startswith("[konvid-150k] 2/200")
        assert said[0].endswith("1 broken")


class TestWatch:
    """The same watch over a pass of any stage."""

    def watched(self, total=10):
        self.now, lines, seen = 0.0, [], []
        line = ProgressLine("x", total, lines.append, every_s=5.0, now=lambda: self.now)
        return Watch(line, seen.append), lines, seen

    def test_the_line_shows_the_counts_that_the_stage_keeps(self):
        watch, lines, _ = self.watched()
        watch.update(0, failed=0)
        self.now = 5.0
        watch.update(5, failed=1)
        assert lines == ["[x] 5/10 clips (50 %), 1.0 clips/s, ETA 5 s, 1 failed"]
        self.now = 10.0
        watch.update(10, failed=1, broken=2, read_bytes=30_000_000, fetched_bytes=0)
        assert lines[1:] == ["[x] 10/10 clips (100 %), 1.0 clips/s, 6.0 MB/s, ETA 0 s, 1 failed, 2 broken"]

    def test_the_observer_gets_the_counts_once_a_minute_and_at_the_end(self):
        watch, _, seen = self.watched()
        watch.update(2, failed=0)
        self.now = 59.0
        watch.update(3, failed=0)
        assert seen == []
        self.now = 60.0
        watch.look()
        assert seen == [PassCounts(done=3, total=10, failed=0, cached=2, seconds=60.0)]
        self.now = 61.0
        watch.update(10, failed=1, broken=1, read_bytes=7, fetched_bytes=5)
        watch.end()
        assert seen[1:] == [PassCounts(10, 10, 1, cached=2, broken=1, read_bytes=7, fetched_bytes=5, seconds=61.0)]

    def test_a_pass_that_had_nothing_to_do_has_nothing_to_report(self):
        watch, lines, seen = self.watched()
        watch.update(10, failed=1)
        watch.end()
        assert (lines, seen) == ([], [])
