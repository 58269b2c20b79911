"""Child processes: what is killed, reaped and closed, and Python work in them: order, failures, deaths, ends."""

import ast
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import vqa_assets
from vqa_assets.clips import processes
from vqa_assets.clips.processes import PIPE, Process, Worker, WorkerDiedError, WorkerPool, end_with_parent, run
from vqa_assets.clips.work import StoppedError
from vqa_assets.errors import AggregateError

PACKAGE = Path(vqa_assets.__file__).parent
STARTERS = {"fork", "forkpty", "posix_spawn", "posix_spawnp", "system", "popen", "execv", "execve", "execvp", "spawnv"}


def test_one_module_starts_child_processes() -> None:
    found = set()
    for path in PACKAGE.rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(source)) if re.search(r"subprocess|multiprocessing|\bos\.", source) else ():
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            calls = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os"
            if {name.partition(".")[0] for name in modules} & {"subprocess", "multiprocessing"} or (
                calls and node.attr in STARTERS
            ):
                found.add(path.relative_to(PACKAGE).as_posix())
    assert found == {"clips/processes.py"}


# One program


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


SLEEPS = python("import time; time.sleep(600)")
DEAF = "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); "


def test_a_program_is_asked_and_answers() -> None:
    done = run(
        python("import sys; print(sys.stdin.read()[::-1]); sys.exit('so\\nit was')"), limit_s=60, question=b"abc"
    )
    assert (done.status, done.output, done.timed_out) == (1, b"cba\n", False)
    assert (done.complaints, done.last_complaint()) == (b"so\nit was\n", "it was")


def test_questions_and_answers_larger_than_a_pipe_do_not_block() -> None:
    echo = python("import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())")
    assert run(echo, limit_s=60, question=b"x" * 3_000_000).output == b"x" * 3_000_000


def test_output_may_go_to_a_file(tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb") as file:
        assert run(python("print('here')"), limit_s=60, output=file).output == b""
    assert (tmp_path / "a").read_text() == "here\n"


def test_what_a_program_does_not_read_is_no_error() -> None:
    assert run(python("pass"), limit_s=60, question=b"x" * 3_000_000).status == 0


def too_late() -> int:
    done = run(SLEEPS, limit_s=0.2)
    assert done.timed_out
    return done.status


def too_large() -> int:
    done = run(SLEEPS, limit_s=60, is_too_large=lambda: True)
    assert not done.timed_out
    return done.status


def stopped() -> int:
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    with pytest.raises(StoppedError):
        run(SLEEPS, limit_s=60, stop=stop)
    return -signal.SIGKILL


def fed_and_stopped() -> int:
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    with Process(SLEEPS, stdin=PIPE) as process, pytest.raises(StoppedError):
        process.feed(bytes(1 << 24), 60, stop)
    return process.wait()


def fed_and_late() -> int:
    with Process(SLEEPS, stdin=PIPE) as process, pytest.raises(TimeoutError):
        process.feed(bytes(1 << 24), 0.2)
    return process.wait()


def left_early() -> int:
    with Process(SLEEPS) as process:
        assert alive(process.pid)
    return process.wait()


def asked_to_end() -> int:
    with Process(SLEEPS, grace_s=60) as process:
        assert alive(process.pid)
    return process.wait()


def deaf_to_it() -> int:
    with Process(python(DEAF + "time.sleep(600)"), stdout=PIPE, grace_s=0.2) as process:
        assert next(process.lines()) == "ready"
    return process.wait()


def killed_elsewhere() -> int:
    with Process(SLEEPS) as process:
        threading.Timer(0.2, process.kill).start()
        return process.wait(60)


KILLED, ASKED = -signal.SIGKILL, -signal.SIGTERM
ENDS = {
    too_late: KILLED,
    too_large: KILLED,
    stopped: KILLED,
    fed_and_stopped: KILLED,
    fed_and_late: KILLED,
    left_early: KILLED,
    asked_to_end: ASKED,
    deaf_to_it: KILLED,
    killed_elsewhere: KILLED,
}


@pytest.mark.parametrize("way", ENDS, ids=lambda way: way.__name__)
def test_a_program_is_ended_soon_and_reaped(way: Callable[[], int]) -> None:
    begun, others = time.monotonic(), children_of(os.getpid())
    assert way() == ENDS[way]
    assert time.monotonic() - begun < 20
    assert set(children_of(os.getpid())) <= set(others)


def test_what_a_program_started_itself_ends_with_it() -> None:
    with Process(["sh", "-c", "sleep 600 & echo $!; wait"], stdout=PIPE) as process:
        below = int(next(process.lines()))
        assert alive(below)
    assert until(lambda: not alive(below))


def test_what_left_the_programs_session_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_LAST_WORDS_S", 0.2)
    leaves = "import subprocess, time; subprocess.Popen(['sleep', '30'], start_new_session=True); time.sleep(600)"
    begun = time.monotonic()
    assert run(python(leaves), limit_s=2).timed_out
    assert time.monotonic() - begun < 20


def test_an_interrupt_reaches_a_program_through_us_alone() -> None:
    with Process(SLEEPS) as process:
        assert os.getsid(process.pid) == process.pid != os.getsid(0)


def test_a_program_that_cannot_be_started_is_an_oserror() -> None:
    with pytest.raises(FileNotFoundError):
        run(["/nowhere/program"], limit_s=60)


def test_hundreds_of_runs_leave_no_process_and_no_descriptor() -> None:
    def opened() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    run(["true"], limit_s=60)
    before, others = opened(), children_of(os.getpid())
    for number in range(200):
        with suppress(FileNotFoundError):
            run(["true" if number % 2 else "/nowhere/program"], limit_s=60, question=b"x")
    with Process(SLEEPS, stdin=PIPE, stdout=PIPE, stderr=PIPE):
        pass
    with WorkerPool(2) as pool:
        assert list(pool.map(squared, range(4))) == [0, 1, 4, 9]
    assert opened() <= before
    assert set(children_of(os.getpid())) <= set(others)


# Python work


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


def test_a_worker_that_died_says_how() -> None:
    with Worker() as worker:
        worker.ask(os._exit, 3)
        with pytest.raises(WorkerDiedError, match="exit code 3"):
            worker.answer(60)
        with pytest.raises(WorkerDiedError, match="exit code 3"):
            worker.ask(squared, 3)


@pytest.mark.parametrize("words", [b"this is no answer\n", b"\x80\x05"], ids=["no pickle", "half a pickle"])
def test_a_process_that_says_something_else_is_ended(words: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_LAST_WORDS_S", 0.2)
    program = f"import os, time; os.write(1, {words!r}); os.close(1); time.sleep(600)"
    with Worker(python(program)) as worker:
        worker.ask(squared, 3)
        with pytest.raises(WorkerDiedError, match="signal 9"):
            worker.answer(60)


def test_an_answer_is_not_waited_for_longer_than_its_limit() -> None:
    with Worker() as worker:
        worker.ask(time.sleep, 600)
        with pytest.raises(TimeoutError):
            worker.answer(0.2)


def test_work_whose_process_dies_is_done_here(caplog: pytest.LogCaptureFixture) -> None:
    with WorkerPool(2) as children:
        assert list(children.map(dies, [os.getpid()] * 5)) == [os.getpid()] * 5
        assert list(children.map(squared, range(3))) == [0, 1, 4]
    assert "a child process ended (-9)" in caplog.text


ORPHANS = {
    "idle workers": "pool = WorkerPool(2); list(pool.map(abs, [1, 2]))",
    "workers at work": "pool = WorkerPool(2); list(pool.map(abs, [1, 2])); "
    "threading.Thread(target=lambda: list(pool.map(time.sleep, [600, 600])), daemon=True).start(); time.sleep(1)",
    "a prober's worker": "prober = PyAvProber(); prober._new_worker()",
    "a program that is fed": "process = Process([sys.executable, '-c', 'import sys; sys.stdin.read()'], stdin=PIPE)",
    "a program that ends with us": "process = Process([sys.executable, '-c', 'import time\\n"
    "from vqa_assets.clips.processes import end_with_parent\\n"
    "end_with_parent(); print(0, flush=True); time.sleep(600)'], stdout=PIPE); next(process.lines())",
}


@pytest.mark.parametrize("program", ORPHANS)
def test_the_children_of_a_killed_process_end_too(tmp_path: Path, program: str) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import sys, threading, time\n"
        "from vqa_assets.clips.probing import PyAvProber\n"
        "from vqa_assets.clips.processes import PIPE, Process, WorkerPool\n"
        f"{ORPHANS[program]}\n"
        "print('ready', flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        try:
            assert parent.stdout.readline() == "ready\n"
            children = children_of(parent.pid)
            assert children
            assert all(alive(child) for child in children)
        finally:
            parent.kill()
    assert until(lambda: not any(alive(child) for child in children))


def test_a_program_started_by_hand_does_not_end_with_the_one_that_started_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before = threading.active_count()
    monkeypatch.setenv("VQA_ASSETS_PARENT_PROCESS", "1" if os.getppid() != 1 else "2")
    end_with_parent()
    monkeypatch.delenv("VQA_ASSETS_PARENT_PROCESS")
    end_with_parent()
    assert threading.active_count() <= before


def until(happened: Callable[[], bool], limit_s: float = 30) -> bool:
    """Whether it happens within the limit."""
    deadline = time.monotonic() + limit_s
    while not happened() and time.monotonic() < deadline:
        time.sleep(0.05)
    return happened()


def children_of(process: int) -> list[int]:
    """The children of a process, dead ones that nobody has reaped among them."""
    children: list[int] = []
    for thread in Path(f"/proc/{process}/task").iterdir():
        children += map(int, (thread / "children").read_text().split())
    return children


def alive(process: int) -> bool:
    """Whether a process runs; one that nobody has reaped yet does not."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"
