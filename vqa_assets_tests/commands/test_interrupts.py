"""Killing and interrupting the real command: nothing committed is fetched or read again, nothing is lost or torn."""

import csv
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from vqa_assets.sensors.failed_runs import end_abandoned_runs
from vqa_assets.tables.lock import JUST_MADE_S
from vqa_assets.tables.paths import DataRoot
from vqa_assets_tests.shared.clips import tiny_clips
from vqa_assets_tests.shared.command_line import materialize_here
from vqa_assets_tests.shared.hostile_server import Behaviour, HostileServer, gives, stalls

CLIPS = 48
REPOSITORY = Path(__file__).parents[2]
COMMAND = ("-m", "dagster", "asset", "materialize", "-m", "vqa_assets.definitions", "--select", "corpus_jsonl")
KILLED_AFTER = (3, 20, 40)
"""Requests that the server has seen when each run is killed."""


@pytest.fixture(scope="module")
def bodies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return tiny_clips(tmp_path_factory.mktemp("clips"), CLIPS)


def slowly(body: bytes) -> Behaviour:
    """Serve ``body`` after a pause, so that a kill finds transfers under way."""
    return gives(body, after_s=0.03)


class Folder:
    """A data root with one annotation file, and the command that ingests it."""

    def __init__(self, path: Path, server: HostileServer, names: list[str]) -> None:
        self.path = path
        self.corpus = path / "data" / "konvid-150k"
        self.corpus.mkdir(parents=True)
        (path / "home").mkdir()
        shutil.copy(REPOSITORY / "dagster.yaml", path / "home")
        (self.corpus / "ingest.toml").write_text("min_rows = 1\n")
        with (self.corpus / "manifest.csv").open("w", newline="") as out:
            rows = [
                (name, f"http://127.0.0.1:{server.port}/{name}", 2 + i / 40, 0.5, 9) for i, name in enumerate(names)
            ]
            csv.writer(out).writerows([("video_name", "url", "mos", "sd", "n"), *rows])

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        """The real command in its own process group, all of which is gone at the end."""
        environment = {
            **os.environ,
            "DAGSTER_HOME": str(self.path / "home"),
            "VQA_DATA_ROOT": str(self.path / "data"),
            "PYTHONPATH": str(REPOSITORY),
        }
        with (self.path / "log.txt").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *COMMAND, "--partition", "konvid-150k"],
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            try:
                yield process
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait(30)

    def run(self) -> int:
        """The same command, undisturbed, in this process: what an earlier one left is on the disk."""
        done = materialize_here("corpus_jsonl", "konvid-150k", home=self.path / "home", data=self.path / "data")
        return done.returncode

    def committed(self) -> set[str]:
        """The clips in the ingest cache."""
        with sqlite3.connect(f"file:{self.corpus}/.ingest-cache.sqlite?mode=ro", uri=True) as cache:
            found = {str(name) for (name,) in cache.execute("SELECT name FROM clips")}
        cache.close()
        return found

    def rows(self) -> list[dict[str, Any]]:
        lines = (self.corpus / "konvid_150k.jsonl").read_text().splitlines()
        return [{k: v for k, v in json.loads(line).items() if k != "ingested_at_utc"} for line in lines]

    def counters(self) -> dict[str, int]:
        found: dict[str, int] = json.loads((self.corpus / "konvid_150k.manifest.json").read_text())["counters"]
        return found


def wait_until(done: Callable[[], bool], process: subprocess.Popen[bytes], limit_s: float = 60) -> None:
    deadline = time.monotonic() + limit_s
    while not done():
        assert process.poll() is None, "the run ended before it was interrupted"
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_run_killed_several_times_ends_as_if_it_never_was(tmp_path: Path, bodies: dict[str, bytes]) -> None:
    with HostileServer() as server:
        for name, body in bodies.items():
            server.on(f"/{name}", slowly(body))
        undisturbed = Folder(tmp_path / "a", server, list(bodies))
        assert undisturbed.run() == 0
        server.requests.clear()
        killed = Folder(tmp_path / "b", server, list(bodies))
        fetched_when_committed: dict[str, int] = {}
        for requests in KILLED_AFTER:
            with killed.running() as process:
                wait_until(lambda n=requests: server.requests.total() >= n, process)  # type: ignore[misc]
                process.send_signal(signal.SIGKILL)
                process.wait(30)
            for name in killed.committed() - fetched_when_committed.keys():
                fetched_when_committed[name] = server.requests[f"/{name}"]
            assert not (killed.corpus / "konvid_150k.jsonl").exists()
        committed = killed.committed()
        assert 0 < len(committed) < CLIPS
        assert killed.run() == 0
        again = {n for n, count in fetched_when_committed.items() if server.requests[f"/{n}"] != count}
    assert again == set()
    assert killed.counters()["read_clips"] == CLIPS - len(committed)
    assert killed.rows() == undisturbed.rows()
    assert len(killed.rows()) == CLIPS
    assert list(killed.corpus.rglob("*.part")) == []
    assert list(killed.corpus.rglob("*.tmp")) == []


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "terminate"])
def test_an_interrupt_ends_within_two_seconds_though_the_server_stalls(
    tmp_path: Path, bodies: dict[str, bytes], end: signal.Signals
) -> None:
    with HostileServer() as server:
        names = list(bodies)[:12]
        for name in names[:4]:
            server.on(f"/{name}", slowly(bodies[name]))
        for name in names[4:]:
            server.on(f"/{name}", stalls(b"some bytes"))
        folder = Folder(tmp_path / "c", server, names)
        with folder.running() as process:
            wait_until(lambda: server.requests.total() >= len(names) - 1, process)
            wait_until(lambda: len(folder.committed()) == 4, process)
            begun = time.monotonic()
            process.send_signal(end)
            status = process.wait(30)
            took = time.monotonic() - begun
        assert status == 1
        assert took < 2, f"{took:.1f} s"
        assert json.loads((folder.corpus / ".download-progress.json").read_text()) == {
            name: {"state": "done"} for name in names[:4]
        }
        assert not (folder.corpus / ".download-progress.log").exists()
        for name in names[4:]:
            server.on(f"/{name}", slowly(bodies[name]))
        assert folder.run() == 0
    assert [row["src"] for row in folder.rows()] == names
    assert all(server.requests[f"/{name}"] == 1 for name in names[:4])


def test_a_killed_run_takes_no_place_in_the_queue_and_one_at_work_keeps_its(
    tmp_path: Path, bodies: dict[str, bytes]
) -> None:
    with HostileServer() as server:
        names = list(bodies)[:2]
        for name in names:
            server.on(f"/{name}", stalls(b"some bytes"))
        folder = Folder(tmp_path / "d", server, names)
        root = DataRoot(folder.path / "data")
        with dg.DagsterInstance.from_config(str(folder.path / "home")) as instance:
            with folder.running() as process:
                wait_until(lambda: server.requests.total() >= 1, process)
                (run,) = instance.get_runs()
                assert end_abandoned_runs(instance, root) == []
                process.send_signal(signal.SIGKILL)
                process.wait(30)
            assert instance.get_run_by_id(run.run_id).status is dg.DagsterRunStatus.STARTED
            time.sleep(2 * JUST_MADE_S)
            assert end_abandoned_runs(instance, root) == [run.run_id]
            assert instance.get_run_by_id(run.run_id).status is dg.DagsterRunStatus.FAILURE
            assert end_abandoned_runs(instance, root) == []
    assert list((root.path / ".runs").iterdir()) == []


DIES_AT_ONCE = """
import os, signal, sys
import dagster as dg
from vqa_assets.resources.data_root import DataRootResource

@dg.asset
def dies(data_root: DataRootResource) -> None:
    os.kill(os.getpid(), signal.SIGKILL)

with dg.DagsterInstance.from_config(sys.argv[1]) as instance:
    dg.materialize([dies], resources={"data_root": DataRootResource(path=sys.argv[2])}, instance=instance)
"""


def test_a_run_that_died_before_its_first_asset_told_anything_is_ended_too(tmp_path: Path, root_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(REPOSITORY / "dagster.yaml", home)
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    arguments = [sys.executable, "-c", DIES_AT_ONCE, str(home), str(root_path)]
    assert subprocess.run(arguments, env=environment, check=False).returncode == -signal.SIGKILL
    with dg.DagsterInstance.from_config(str(home)) as instance:
        (run,) = instance.get_runs()
        assert run.status is dg.DagsterRunStatus.STARTED
        time.sleep(2 * JUST_MADE_S)
        assert end_abandoned_runs(instance, DataRoot(root_path)) == [run.run_id]
