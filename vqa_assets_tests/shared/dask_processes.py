"""A Dask scheduler and workers on 127.0.0.1, each a program of its own, as a person would start them."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

ALLOWED_FAILURES = "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES"
_START_LIMIT_S = 60.0


class DaskProcesses:
    """A scheduler, and workers that are added; all of them are gone at the end of the block.

    ``environment`` is added to their own. ``arguments`` are the scheduler's further ones.
    """

    def __init__(self, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        self._environment = {**os.environ, ALLOWED_FAILURES: "0", **(environment or {})}
        self._arguments = arguments
        self.workers: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        self._folder = TemporaryDirectory(prefix="vqa-dask-")
        self._file = Path(self._folder.name) / "scheduler.json"
        # Where this process is killed, the scheduler ends by itself, and its workers with it.
        begin = ("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--idle-timeout", "600")
        self.scheduler = self._start(sys.executable, *begin, "--scheduler-file", str(self._file), *self._arguments)
        wait_until(lambda: self._file.exists() and self._file.stat().st_size)
        self.address = str(json.loads(self._file.read_text(encoding="utf-8"))["address"])
        return self

    def __exit__(self, *_: object) -> None:
        for process in (*self.workers, self.scheduler):
            process.terminate()
        for process in (*self.workers, self.scheduler):
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._folder.cleanup()

    def add(
        self,
        *arguments: str,
        threads: int = 1,
        nanny: bool = False,
        python: str = sys.executable,
        cores: set[int] | None = None,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> "subprocess.Popen[bytes]":
        """One worker process more, of so many threads; it, and what it starts, use these ``cores`` only.

        ``python`` is the environment's that it runs in, ``folder`` where it is started.
        """
        allowed = os.sched_getaffinity(0)
        os.sched_setaffinity(0, cores or allowed)  # a child has its parent's
        try:
            own = ("worker", self.address, "--nthreads", str(threads), "--nworkers", "1", "--no-dashboard")
            kept = ("--local-directory", self._folder.name, "--death-timeout", "60")
            under = "--nanny" if nanny else "--no-nanny"
            worker = self._start(python, *own, *kept, under, *arguments, environment=environment, folder=folder)
        finally:
            os.sched_setaffinity(0, allowed)
        self.workers.append(worker)
        return worker

    def wait_for(self, workers: int, **options: Any) -> None:
        """Until the scheduler knows so many workers; ``options`` are a ``distributed.Client``'s."""
        from distributed import Client

        with Client(self.address, set_as_default=False, timeout=_START_LIMIT_S, **options) as client:
            client.wait_for_workers(workers, timeout=_START_LIMIT_S)

    def _start(
        self,
        python: str,
        what: str,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [python, "-m", f"distributed.cli.dask_{what}", *arguments],
            env={**self._environment, **(environment or {})},
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


def wait_until(condition: Callable[[], object], within_s: float = _START_LIMIT_S) -> None:
    """AssertionError where it does not come true in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
