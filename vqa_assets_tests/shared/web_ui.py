"""The web UI started for real, as ``make ui`` does, on a data root of its own: what its tests share."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqa_assets_tests.shared.clips import tiny_clips

if TYPE_CHECKING:
    from playwright.sync_api import Page

REPOSITORY = Path(__file__).parents[2]
DAGSTER = (sys.executable, "-m", "dagster")
START_LIMIT_S = 120
BROWSER_LIMIT_MS = 60_000
CHROMIUM_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


@dataclass(frozen=True)
class Place:
    """A data root and a fresh ``DAGSTER_HOME`` with the repository's ``dagster.yaml``."""

    folder: Path

    @classmethod
    def made(cls, folder: Path) -> "Place":
        (folder / "home").mkdir()
        (folder / "data").mkdir()
        shutil.copy(REPOSITORY / "dagster.yaml", folder / "home")
        return cls(folder)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def environment(self) -> dict[str, str]:
        own = {"DAGSTER_HOME": str(self.folder / "home"), "VQA_DATA_ROOT": str(self.data), "VQA_SENSOR_INTERVAL_S": "3"}
        return {**os.environ, **own}

    def corpus(self, name: str, clips: int, extra_rows: str = "") -> Path:
        """A corpus of tiny clips, staged, with its annotation file; its folder."""
        folder = self.data / name
        names = tiny_clips(folder / "clips", clips)
        (folder / "ingest.toml").write_text("min_rows = 1\n")
        rows = "".join(f"{name},,{1.5 + i / 2},0.5,9\n" for i, name in enumerate(names))
        (folder / "manifest.csv").write_text("video_name,url,mos,sd,n\n" + rows + extra_rows)
        return folder

    def materialize(self, assets: str, partition: str) -> None:
        """By the command line, as CI does it."""
        command = [*DAGSTER, "asset", "materialize", "-m", "vqa_assets.definitions", "--select", assets]
        subprocess.run(
            [*command, "--partition", partition],
            cwd=REPOSITORY,
            env=self.environment,
            check=True,
            capture_output=True,
            timeout=120,
        )


@dataclass(frozen=True)
class WebUi:
    """A web UI that answers at ``address``."""

    address: str
    place: Place

    def ask(self, query: str) -> dict[str, Any]:
        """The answer to a GraphQL query."""
        return ask(f"{self.address}/graphql", query)

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    def log(self) -> str:
        """What it has printed."""
        return (self.place.folder / "log.txt").read_text(errors="replace")


@contextmanager
def served(place: Place) -> Iterator[WebUi]:
    """The web UI of a place."""
    with running_ui(place.environment, place.folder / "log.txt") as address:
        yield WebUi(address, place)


@contextmanager
def running_ui(environment: Mapping[str, str], log: Path, folder: Path = REPOSITORY) -> Iterator[str]:
    """The web UI as ``make ui`` starts it, in a folder with a ``workspace.yaml``; its address once it answers.

    All its processes are gone at the end.
    """
    port = free_port()
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "vqa_assets.ui", "--port", str(port)],
            cwd=folder,
            env=dict(environment),
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
        try:
            address = f"http://127.0.0.1:{port}"
            _wait_for(f"{address}/graphql", process)
            yield address
        finally:
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(30)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)


@contextmanager
def browser_page(*flags: str, **options: Any) -> Iterator["Page"]:
    """One tab of Chromium, with a profile of its own that is gone at the end; ``options`` are Playwright's."""
    from playwright.sync_api import expect, sync_playwright

    with tempfile.TemporaryDirectory(prefix="chromium-") as profile, sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            profile,
            executable_path=shutil.which("chromium"),
            args=[*CHROMIUM_FLAGS, *flags],
            viewport={"width": 1280, "height": 800},
            **options,
        )
        context.set_default_timeout(BROWSER_LIMIT_MS)
        expect.set_options(timeout=BROWSER_LIMIT_MS)
        yield context.pages[0]
        context.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def ask(address: str, query: str) -> dict[str, Any]:
    request = urllib.request.Request(
        address, json.dumps({"query": query}).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        found = json.load(answer)
    assert "errors" not in found, found["errors"]
    data: dict[str, Any] = found["data"]
    return data


def _wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the web UI ended with {process.returncode}"
        with suppress(OSError):
            if ask(address, "{ repositoriesOrError { ... on RepositoryConnection { nodes { name } } } }")[
                "repositoriesOrError"
            ].get("nodes"):
                return
        time.sleep(0.1)
    raise AssertionError("the web UI did not answer")
