"""One run at a time in a corpus folder: real processes, one of them killed."""

import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from vqa_assets.errors import LockedError
from vqa_assets.tables.lock import corpus_lock

_HOLDER = (
    "import pathlib, sys\n"
    "from vqa_assets.tables.lock import corpus_lock\n"
    "with corpus_lock(pathlib.Path(sys.argv[1]), 0):\n"
    "    print('held', flush=True)\n"
    "    sys.stdin.read()\n"
)


@contextmanager
def another_run(folder):
    """A process that holds the folder's lock until its standard input closes."""
    command = [sys.executable, "-c", _HOLDER, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_a_second_run_waits_and_is_then_refused_with_folder_wait_and_remedy(tmp_path):
    with another_run(tmp_path):
        before = time.monotonic()
        with pytest.raises(LockedError) as caught, corpus_lock(tmp_path, 0.3):
            pass
        assert time.monotonic() - before >= 0.3
    assert str(caught.value) == (
        f"{tmp_path}: another run holds .ingest.lock and did not end within 0.3 s, "
        "expected one run a corpus at a time; wait for it, stop it, or raise lock_wait_s"
    )


def test_a_killed_run_leaves_no_lock_behind(tmp_path):
    with another_run(tmp_path) as process:
        process.kill()
        process.wait()
        with corpus_lock(tmp_path, 0):
            pass


def test_a_run_that_ends_in_time_lets_the_next_one_in(tmp_path):
    with another_run(tmp_path) as process:
        process.stdin.close()
        with corpus_lock(tmp_path, 10):
            pass


def test_a_failed_run_frees_the_folder(tmp_path):
    with pytest.raises(ValueError, match="failed"), corpus_lock(tmp_path, 0):
        raise ValueError("failed")
    with corpus_lock(tmp_path, 0):
        pass


def test_two_runs_of_one_process_exclude_each_other_too(tmp_path):
    with corpus_lock(tmp_path, 0), pytest.raises(LockedError), corpus_lock(tmp_path, 0):
        pass


def test_corpora_do_not_wait_for_each_other(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with corpus_lock(tmp_path / "a", 0), corpus_lock(tmp_path / "b", 0):
        pass
