"""What tests share: tools that may be absent, a data root, small real clips, fakes for faults on demand."""

import logging
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import dagster as dg
import pytest

from vqa_assets.clips import scratch, stores
from vqa_assets.tables.allowed import ALLOW_NAME
from vqa_assets.tables.paths import DataRoot
from vqa_assets_tests.shared.fakes import SmallCorpus
from vqa_assets_tests.shared.hostile_server import HostileServer
from vqa_assets_tests.shared.installed import Installed, install
from vqa_assets_tests.shared.object_server import Bucket, ObjectServer
from vqa_assets_tests.shared.platform import Platform
from vqa_assets_tests.shared.web_ui import Place, WebUi, served

TOOLS = {
    "cc": "apt-get install gcc libc6-dev",
    "ffprobe": "apt-get install ffmpeg",
    "curl": "apt-get install curl",
    "chromium": "apt-get install chromium",
    "postgres": "apt-get install postgresql",
}
_OFF_THE_PATH = {"postgres": ("/usr/lib/postgresql", "*/bin/postgres")}
_ALL = "VQA_TEST_ALL"
_LEFT_OUT = "left out: "


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker; take back an ignored Ctrl-C, which processes started here would inherit."""
    config.addinivalue_line("markers", "needs_tool(name): runs where the system tool is found")
    config.addinivalue_line("markers", f"takes_long(what): runs with {_ALL}=1 only")
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """What takes long, and what a missing tool makes impossible, is left out; with VQA_TEST_ALL=1 nothing is."""
    everything = os.environ.get(_ALL) == "1"
    for marker in item.iter_markers("needs_tool"):
        name = marker.args[0]
        if not is_there(name):
            if everything:
                pytest.fail(f"needs the tool {name}: {TOOLS[name]}", pytrace=False)
            pytest.skip(f"{_LEFT_OUT}need {name}: {TOOLS[name]}")
    for marker in item.iter_markers("takes_long"):
        if not everything:
            pytest.skip(f"{_LEFT_OUT}take long ({marker.args[0]}): set {_ALL}=1")


def is_there(tool: str) -> bool:
    """Whether the system tool is found: on the PATH, or where Debian keeps it."""
    folder, pattern = _OFF_THE_PATH.get(tool, ("/nowhere", tool))
    return shutil.which(tool) is not None or any(Path(folder).glob(pattern))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say at the end which tests were left out, and how to run them."""
    found: dict[str, int] = {}
    for report in terminalreporter.stats.get("skipped", []):
        reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
        if _LEFT_OUT in reason:
            why = reason.partition(_LEFT_OUT)[2]
            found[why] = found.get(why, 0) + 1
    for why, count in sorted(found.items()):
        terminalreporter.write_line(f"left out: {count} tests {why}")


@pytest.fixture(autouse=True)
def _process_as_it_was() -> Iterator[None]:
    """What a test changes in its process is put back: its children's environment, where our lines are shown, Ctrl-C.

    Else a test would decide about the next one's data root, and write to a terminal that is closed.
    """
    environment, logger = dict(os.environ), logging.getLogger("vqa_assets")
    interrupted = signal.getsignal(signal.SIGINT)
    handlers, level, propagate = logger.handlers[:], logger.level, logger.propagate
    yield
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)
    signal.signal(signal.SIGINT, interrupted)
    logger.handlers[:], logger.propagate = handlers, propagate
    logger.setLevel(level)


@pytest.fixture
def root_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data root in a folder that the operator allows: runs may name what a test puts beside the root."""
    monkeypatch.setenv(ALLOW_NAME, str(tmp_path))
    path = tmp_path / "data"
    path.mkdir()
    return path


@pytest.fixture
def platform(root_path: Path) -> Iterator[Platform]:
    """The definitions on an empty data root, with an instance of their own."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield Platform(root_path, instance)


@pytest.fixture
def server() -> Iterator[HostileServer]:
    """A server on 127.0.0.1 that answers as a test says."""
    with HostileServer() as running:
        yield running


@pytest.fixture(scope="session")
def object_server() -> Iterator[ObjectServer]:
    """An S3 server on 127.0.0.1, one a session."""
    with ObjectServer() as running:
        yield running


@pytest.fixture
def bucket(object_server: ObjectServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Bucket]:
    """An empty bucket of it, which the environment leads to; the scratch lies in the test's own folder."""
    for name, value in object_server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(stores, "RETRIES", 2)
    monkeypatch.setattr(stores, "_LOOK_AROUND_S", 0.02)
    monkeypatch.setattr(scratch, "_scratches", {})
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    object_server.forget()
    yield object_server.bucket(f"bucket-{uuid4().hex}")
    scratch._close_all(os.getpid())


@pytest.fixture
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Transfers go straight to 127.0.0.1, whatever proxy this machine names."""
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def corpus(root_path: Path) -> SmallCorpus:
    """KonViD-150k with clips of a few bytes: nothing is dropped or staged yet."""
    return SmallCorpus(DataRoot(root_path))


@pytest.fixture(scope="session")
def web_ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebUi]:
    """The web UI, one a session, on a data root whose first corpus was ingested by the command line a moment ago.

    ``konvid-1k`` waits to be ingested, a fifth of its clips gone for good.
    """
    place = Place.made(tmp_path_factory.mktemp("ui"))
    with HostileServer() as gone:
        place.corpus("konvid-150k", 6)
        place.corpus("konvid-1k", 4, f"gone.mp4,http://127.0.0.1:{gone.port}/gone.mp4,3,0.5,9\n")
        place.materialize("corpus_annotations,corpus_jsonl", "konvid-150k")
        with served(place) as found:
            yield found


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel, installed outside the checkout; one a session."""
    return install(tmp_path_factory.mktemp("installed"))
