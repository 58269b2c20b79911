"""A PostgreSQL server of a test's own, on loopback, gone at the end."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PASSWORD = "quiet-as-a-mouse"  # what must never be found in a file
USER = "vqa"
START_LIMIT_S = 60


@dataclass(frozen=True)
class Server:
    """Where it listens (127.0.0.1) and the folder of its programs."""

    port: int
    programs: Path


def programs() -> Path:
    """The folder of PostgreSQL's programs; Debian keeps them off the PATH."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = shutil.which("initdb")
    return Path(found).resolve().parent if found else folders[0]


@contextmanager
def running() -> Iterator[Server]:
    """A fresh cluster in a temporary folder, with one superuser, ``USER``, who has a password."""
    where = programs()
    with tempfile.TemporaryDirectory(prefix="pg-") as name:
        folder = Path(name)
        (folder / "password").write_text(PASSWORD)
        user = _not_root(folder)
        initdb = [where / "initdb", "-D", folder / "data", "-U", USER, "--auth=scram-sha-256", "--no-sync"]
        initdb.append(f"--pwfile={folder / 'password'}")
        subprocess.run(initdb, check=True, capture_output=True, cwd=folder, user=user)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = int(listener.getsockname()[1])
        settings = ("listen_addresses=127.0.0.1", f"unix_socket_directories={folder}")
        command = [where / "postgres", "-D", folder / "data", "-p", str(port), "-c", settings[0], "-c", settings[1]]
        process = subprocess.Popen(command, cwd=folder, user=user, stderr=subprocess.DEVNULL)
        try:
            _wait(where, port, process)
            yield Server(port, where)
        finally:
            process.send_signal(signal.SIGINT)  # fast shutdown: clients are sent away
            process.wait(30)


def _not_root(folder: Path) -> int | None:
    """PostgreSQL refuses to run as root: the user to run it as there, who is given ``folder`` and what is in it."""
    if os.geteuid() != 0:
        return None
    user = pwd.getpwnam("postgres")
    for path in (folder, *folder.iterdir()):
        os.chown(path, user.pw_uid, user.pw_gid)
    return user.pw_uid


def _wait(where: Path, port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while subprocess.run([where / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)], check=False).returncode:
        assert process.poll() is None, "postgres ended"
        assert time.monotonic() < deadline, "postgres did not answer"
        time.sleep(0.1)
