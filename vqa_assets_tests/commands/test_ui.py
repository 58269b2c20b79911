"""``python -m vqa_assets.ui``: how it starts, ends, and says why it cannot."""

import os
import re
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path

import pytest

from vqa_assets.ui import main
from vqa_assets_tests.shared.web_ui import REPOSITORY, Place, running_ui


@pytest.mark.parametrize(
    ("arguments", "variables", "message"),
    [
        ([], {"DAGSTER_HOME": "", "VQA_DATA_ROOT": "/nowhere"}, "$VQA_DATA_ROOT /nowhere: found nothing there"),
        (["--workspace", "nowhere.yaml"], {}, "--workspace nowhere.yaml: nothing there"),
        (["--host", "0.0.0.0"], {}, "--host 0.0.0.0: an address that other machines reach, and no VQA_UI_TOKEN"),
        (["--host", "name.invalid"], {}, "port 3000 of name.invalid: "),
        (["--port", "70000"], {}, "port 70000 of 127.0.0.1: "),
        ([], {"VQA_UI_TOKEN": "short"}, "VQA_UI_TOKEN: 5 characters"),
        ([], {"DAGSTER_HOME": "home"}, "DAGSTER_HOME home: a path from the working folder"),
        ([], {"DAGSTER_HOME": "/nowhere/home"}, "DAGSTER_HOME /nowhere/home: no folder there"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_it_cannot_start_with_is_named(tmp_path, monkeypatch, capsys, arguments, variables, message):
    monkeypatch.chdir(REPOSITORY)
    for name, value in {"DAGSTER_HOME": str(tmp_path), "VQA_UI_TOKEN": "", **variables}.items():
        monkeypatch.setenv(name, value)
    handler = signal.getsignal(signal.SIGTERM)
    assert main(arguments) == 1
    signal.signal(signal.SIGTERM, handler)
    assert capsys.readouterr().err.startswith(f"error: {message}")
    assert list(tmp_path.iterdir()) == []  # nothing was started


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("dagster.yaml", "{ : x", "error: the Dagster home {folder}: while parsing a flow node"),
        (
            "dagster.yaml",
            "nonsense: 3",
            'error: the Dagster home {folder}: Received unexpected config entry "nonsense"',
        ),
        ("workspace.yaml", "{ : x", "error: --workspace {folder}/workspace.yaml: while parsing a flow node"),
    ],
)
def test_a_file_of_settings_that_cannot_be_read_is_named(tmp_path, monkeypatch, capsys, name, content, message):
    for one in ("dagster.yaml", "workspace.yaml"):
        (tmp_path / one).write_text(content if one == name else "")
    for variable in ("DAGSTER_HOME", "VQA_DATA_ROOT"):
        monkeypatch.setenv(variable, str(tmp_path))
    handler = signal.getsignal(signal.SIGTERM)
    assert main(["--no-daemon", "--port", "0", "--workspace", str(tmp_path / "workspace.yaml")]) == 1
    signal.signal(signal.SIGTERM, handler)
    assert message.format(folder=tmp_path) in capsys.readouterr().err


@pytest.mark.parametrize(("host", "name"), [("::1", "[::1]"), ("LocalHost", "LocalHost"), ("0.0.0.0", "0.0.0.0")])
def test_the_address_that_it_tells_is_let_in(tmp_path, monkeypatch, capsys, host, name):
    admitted = []
    monkeypatch.chdir(tmp_path)  # where no workspace.yaml is: the repository's is served
    # What it gives its children: the home is that of the data root.
    for variable in ("DAGSTER_HOME", "VQA_DATA_ROOT"):
        monkeypatch.setenv(variable, "")
    monkeypatch.setenv("VQA_UI_TOKEN", "a-token-of-some-length")
    monkeypatch.setattr("vqa_assets.ui.bound", lambda *_: socket.create_server(("127.0.0.1", 0)))
    monkeypatch.setattr("vqa_assets.ui.serve", lambda *given, **_: admitted.append(given[2]) or 0)
    monkeypatch.setattr("vqa_assets.ui._log_to_stderr", lambda: None)
    handler = signal.getsignal(signal.SIGTERM)
    assert main(["--host", host, "--port", "0", "--root", str(tmp_path)]) == 0
    signal.signal(signal.SIGTERM, handler)
    assert os.environ["VQA_DATA_ROOT"] == str(tmp_path)
    assert os.environ["DAGSTER_HOME"] == str(tmp_path / ".dagster")
    assert (tmp_path / ".dagster" / "dagster.yaml").is_file()
    said = capsys.readouterr().out
    assert f"on the data in {tmp_path}\n" in said
    told = re.search(r"http://(\S+);", said)[1]
    assert told.startswith(f"{name}:")
    headers = [(b"host", told.encode()), (b"authorization", b"Bearer a-token-of-some-length")]
    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": headers}
    assert admitted[0].refusal(scope) is None


def test_a_port_that_is_taken_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    handler = signal.getsignal(signal.SIGTERM)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main(["--port", str(port)]) == 1
    signal.signal(signal.SIGTERM, handler)
    told = capsys.readouterr().err
    assert told.startswith(f"error: port {port} of 127.0.0.1: address already in use")
    assert f"name another: vqa-assets ui --port {port + 1} " in told
    assert list(tmp_path.iterdir()) == []  # it was said before anything started


def children_of(pid: int) -> set[int]:
    """Every living process below one."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError):
            fields = path.read_text().rpartition(")")[2].split()
            if fields[0] != "Z":
                parents[int(path.parent.name)] = int(fields[1])
    below, known = {pid}, 0
    while len(below) != known:
        known = len(below)
        below |= {one for one, parent in parents.items() if parent in below}
    return below - {pid}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_it_listens_on_one_port_of_this_machine_and_ends_with_all_its_processes(tmp_path, number):
    place = Place.made(tmp_path)
    (place.folder / "bare.py").write_text("import dagster as dg\n\ndefs = dg.Definitions()\n")
    (place.folder / "workspace.yaml").write_text("load_from:\n  - python_module: bare\n")
    environment = {**place.environment, "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{place.folder}"}
    log = place.folder / "log.txt"
    with running_ui(environment, log, place.folder) as address:
        (ui,) = [
            int(path.parent.name)
            for path in Path("/proc").glob("[0-9]*/cmdline")
            if f"--port\0{address.rpartition(':')[2]}\0".encode() in cmdline(path)
        ]
        below = children_of(ui)
        assert len(below) >= 2  # the daemon, and who loads the definitions
        assert listening({ui, *below}) == [int(address.rpartition(":")[2])]
        if (
            number == signal.SIGKILL
        ):  # who loads the definitions misses its heartbeat, and takes a minute: Dagster's own
            below = {one for one in below if b"vqa_assets.ui" in cmdline(Path(f"/proc/{one}/cmdline"))}
            assert len(below) == 1
        os.kill(ui, number)
        until_gone({ui, *below})
    assert re.search(rf"the web UI is at {address}; Ctrl-C ends it", log.read_text())
    assert "Traceback" not in log.read_text()


def cmdline(path: Path) -> bytes:
    with suppress(OSError):
        return path.read_bytes()
    return b""


def until_gone(processes: set[int]) -> None:
    deadline = time.monotonic() + 60
    while left := {one for one in processes if is_alive(one)}:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def is_alive(process: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def listening(processes: set[int]) -> list[int]:
    """The TCP ports at which they listen."""
    inodes = set()
    for one in processes:
        for link in Path(f"/proc/{one}/fd").glob("*"):
            with suppress(OSError):
                inodes.add(str(link.readlink()))
    ports = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                ports.append(int(fields[1].rpartition(":")[2], 16))
    return ports
