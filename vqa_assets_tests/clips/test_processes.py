"""Python work in child processes: order, failures, deaths, ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vqa_assets.clips.processes import WorkerPool
from vqa_assets.errors import AggregateError


def squared(number: int) -> int:
    return number * number


def where(_: int) -> int:
    return os.getpid()


def large(size: int) -> bytes:
    return b"x" * size


def noisy(number: int) -> int:
    os.write(1, b"this is no answer")
    return number


def failing(number: int) -> int:
    if number == 3:
        raise AggregateError("the third", found="3", expected="another", next_step="go on")
    return number


def dies(parent: int) -> int:
    if os.getpid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
    return parent


@pytest.fixture(scope="module")
def children() -> Iterator[WorkerPool]:
    with WorkerPool(2) as found:
        yield found


def test_results_come_in_the_order_of_the_tasks(children: WorkerPool) -> None:
    assert list(children.map(squared, range(20))) == [n * n for n in range(20)]


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_any_number_of_tasks_is_done(count: int, children: WorkerPool) -> None:
    assert list(children.map(squared, range(count))) == [n * n for n in range(count)]


def test_the_work_is_done_in_as_many_other_processes_as_asked_for(children: WorkerPool) -> None:
    found = set(children.map(where, range(6)))
    assert len(found) == 2
    assert os.getpid() not in found


def test_results_larger_than_a_pipe_do_not_block(children: WorkerPool) -> None:
    assert [len(found) for found in children.map(large, [3_000_000] * 5)] == [3_000_000] * 5


def test_what_the_work_prints_is_not_taken_for_a_result(children: WorkerPool) -> None:
    assert list(children.map(noisy, range(3))) == [0, 1, 2]


def test_an_error_of_the_work_is_raised_here_as_it_was(children: WorkerPool) -> None:
    with pytest.raises(AggregateError, match="the third: 3, expected another; go on"):
        list(children.map(failing, [3]))


@pytest.mark.parametrize("tasks", [range(1, 9), range(3, 9)])
def test_after_an_error_the_next_work_gets_its_own_results(tasks: range, children: WorkerPool) -> None:
    with pytest.raises(AggregateError):
        list(children.map(failing, tasks))
    assert list(children.map(squared, range(7))) == [n * n for n in range(7)]


def test_results_that_nobody_takes_are_not_given_to_the_next(children: WorkerPool) -> None:
    assert next(children.map(squared, range(10))) == 0
    assert list(children.map(squared, range(5, 9))) == [25, 36, 49, 64]


def test_work_whose_process_dies_is_done_here(caplog: pytest.LogCaptureFixture) -> None:
    with WorkerPool(2) as children:
        assert list(children.map(dies, [os.getpid()] * 5)) == [os.getpid()] * 5
        assert list(children.map(squared, range(3))) == [0, 1, 4]
    assert "a child process ended (-9)" in caplog.text


def test_the_children_of_a_killed_process_end_too(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, time\n"
        "from vqa_assets.clips.processes import WorkerPool\n"
        "children = WorkerPool(2)\n"
        "print(*children.map(os.getpgid, [0, 0]), flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    groups = [int(word) for word in parent.stdout.readline().split()]
    assert all(alive(group) for group in groups)
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 30
    while any(alive(group) for group in groups) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(alive(group) for group in groups)


def alive(process: int) -> bool:
    """Whether a process runs; one that nobody has reaped yet does not."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"
