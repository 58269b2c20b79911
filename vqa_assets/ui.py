"""``vqa-assets ui``: the Dagster web UI behind its guard, and the daemon beside it, until Ctrl-C.

Dagster's web server runs inside this process, so there is no other way to it than through the guard (``guard``): no
port of its own that a page in a browser could find. ``--of`` is for a web server that something else starts (Dagster's
Helm chart): the guard alone, in front of it (``proxy``). Whoever starts that server keeps everybody else from it.
"""

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from vqa_assets.arguments import CommandParser
from vqa_assets.clips.processes import Process, end_with_parent
from vqa_assets.errors import SettingsError, VqaError
from vqa_assets.guard import TOKEN_NAME, Admission, Guard
from vqa_assets.home import UNUSABLE, VARIABLE, home_of, prepare_home, unusable
from vqa_assets.printing import logger, show_log, tell, tell_error
from vqa_assets.proxy import checked_address, passed_on
from vqa_assets.tables.paths import ENVIRONMENT_NAME, DataRoot, shipped

if TYPE_CHECKING:
    from uvicorn import Server

WORKSPACE, PORT = "workspace.yaml", 3000
_POLL_RATE_MS = 2000
_STATEMENT_LIMIT_MS, _RECYCLE_S, _MOST_CONNECTIONS = 15_000, 3_600, 20
"""What ``dagster-webserver`` itself takes for questions to the storage of runs."""
_LAST_ANSWERS_S, _HIGHEST_PORT = 3, (1 << 16) - 1
_GRACE_S = 30.0
_ANSWERING: Mapping[str, Any] = {
    "log_config": None,
    "access_log": False,
    "server_header": False,
    "timeout_graceful_shutdown": _LAST_ANSWERS_S,
}
"""How uvicorn serves both."""
_log = logger("vqa_assets.ui")


def serve(workspace: Path, listener: socket.socket, admission: Admission, *, daemon: bool) -> int:
    """Answer requests at ``listener`` until an interrupt; exit status 1 where the daemon ended before."""
    import uvicorn
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import WorkspaceFileTarget
    from dagster_webserver.app import create_app_from_workspace_process_context
    from dagster_webserver.version import __version__

    with _opened_home() as instance:
        instance.optimize_for_webserver(_STATEMENT_LIMIT_MS, _RECYCLE_S, _MOST_CONNECTIONS)
        try:
            loaded = WorkspaceProcessContext(instance, WorkspaceFileTarget([str(workspace)]), version=__version__)
        except UNUSABLE as error:
            raise SettingsError(
                f"--workspace {workspace}",
                found=" ".join(str(error).split())[:300],
                expected="a file as the repository's workspace.yaml",
                next_step="correct it, or name another",
            ) from error
        with loaded as context:
            app = create_app_from_workspace_process_context(context, live_data_poll_rate=_POLL_RATE_MS)
            server = uvicorn.Server(uvicorn.Config(Guard(app, admission), **_ANSWERING))
            with _daemon(workspace, server) if daemon else _no_daemon() as ended:
                server.run(sockets=[listener])
                return 1 if ended.is_set() else 0


async def guard_alone(address: str, listener: socket.socket, admission: Admission) -> None:
    """Pass on to the web server at ``address`` what the guard lets in, until an interrupt."""
    import uvicorn

    async with passed_on(address) as app:
        config = uvicorn.Config(Guard(app, admission), lifespan="off", **_ANSWERING)
        await uvicorn.Server(config).serve(sockets=[listener])


def _opened_home() -> dg.DagsterInstance:
    try:
        return dg.DagsterInstance.get()
    except UNUSABLE as error:
        raise unusable(Path(os.environ["DAGSTER_HOME"]), error) from error


@contextmanager
def _daemon(workspace: Path, server: "Server") -> Iterator[threading.Event]:
    """The daemon as a child while the block runs; where it ends before that, the event is set and the server ends."""
    ended, over = threading.Event(), threading.Event()
    command = [sys.executable, "-m", "vqa_assets.ui", "--daemon-of", str(os.getpid()), "--workspace", str(workspace)]
    with Process(command, grace_s=_GRACE_S) as child:

        def watch() -> None:
            status = child.wait()
            if not over.is_set():
                _log.error("the daemon ended with exit status %s, so the web UI ends too: start it again", status)
                ended.set()
                server.should_exit = True

        watcher = threading.Thread(target=watch, name="daemon", daemon=True)
        watcher.start()
        try:
            yield ended
        finally:
            over.set()
    watcher.join()


@contextmanager
def _no_daemon() -> Iterator[threading.Event]:
    yield threading.Event()


def run_daemon(workspace: Path, parent: int) -> None:
    """Be the daemon: schedules, sensors, the queue of runs. It ends with ``parent``, the process that started it."""
    end_with_parent()
    if os.getppid() != parent:  # which was killed while this one was being loaded
        return
    from dagster._daemon.cli import run_command

    run_command.main(["-w", str(workspace)], standalone_mode=False)


def bound(host: str, port: int, admission: Admission) -> socket.socket:
    """A socket that listens; SettingsError where it cannot, or where other machines would come in without a token."""
    try:
        if not 0 <= port <= _HIGHEST_PORT:  # which the resolver would take modulo 65 536
            raise OverflowError("no port")  # noqa: TRY301
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        if not ip_address(address[0]).is_loopback and not admission.token:
            raise SettingsError(
                f"--host {host}",
                found=f"an address that other machines reach, and no {TOKEN_NAME}",
                expected="127.0.0.1, or a token that every request must show",
                next_step=f"set {TOKEN_NAME}, or put a proxy with a login in front of 127.0.0.1",
            )
        listener = socket.create_server(address[:2], family=family)
    except (OSError, OverflowError) as error:
        raise SettingsError(
            f"port {port} of {host}",
            found=str(getattr(error, "strerror", None) or error).lower(),
            expected="an address of this machine and a port that nobody uses",
            next_step=f"name another: vqa-assets ui --port {port + 1 if 0 < port < _HIGHEST_PORT else PORT} "
            "(PORT=… make ui)",
        ) from error
    return listener


def authority_of(host: str) -> str:
    """A host as an address in a browser has it: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; exit status 0 after an interrupt, 1 where the UI cannot be started or the daemon ended."""
    parser = CommandParser(prog="vqa-assets ui", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=PORT, help=f"port to listen on (default: {PORT})")
    parser.add_argument("--root", help="data root (default: $VQA_DATA_ROOT, else data)")
    parser.add_argument("--workspace", type=Path, default=Path(WORKSPACE), help=f"what to load (default: {WORKSPACE})")
    parser.add_argument("--of", metavar="URL", help="only the guard, in front of a Dagster web server at that address")
    parser.add_argument("--no-daemon", action="store_true", help="where the daemon is a service of its own")
    parser.add_argument("--daemon-of", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.daemon_of:
        run_daemon(options.workspace, options.daemon_of)
        return 0
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:  # a service manager's way to say Ctrl-C
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        admission = Admission.of(os.environ)
        if options.of:
            address = checked_address(options.of)
            with bound(options.host, options.port, admission) as listener:
                _log_to_stderr()
                name = authority_of(options.host)
                tell(f"the guard of {address} is at http://{name}:{listener.getsockname()[1]}", flush=True)
                asyncio.run(guard_alone(address, listener, admission.at(name)))
            return 0
        # Where the home is elsewhere, the data root may be on another machine.
        elsewhere = os.environ.get(VARIABLE) and not options.root
        root = DataRoot.named() if elsewhere else DataRoot.resolve(options.root)
        workspace = options.workspace if options.workspace.exists() else _shipped(options.workspace)
        _check_places(workspace, home_of(root))
        with bound(options.host, options.port, admission) as listener:
            # Once the port is ours: a second UI ends before it touches the home. The daemon and the code location
            # are children, and read both from the environment.
            os.environ[VARIABLE] = str(prepare_home(home_of(root)).folder)
            os.environ[ENVIRONMENT_NAME] = str(root.path)
            _log_to_stderr()
            name = authority_of(options.host)
            tell(f"on the data in {root.path}")
            tell(f"the web UI is at http://{name}:{listener.getsockname()[1]}; Ctrl-C ends it", flush=True)
            return serve(workspace, listener, admission.at(name), daemon=not options.no_daemon)
    except VqaError as error:
        tell_error(error)
        return 1
    except KeyboardInterrupt:
        return 0


def _shipped(workspace: Path) -> Path:
    """The repository's own workspace file from wherever the command is typed; what a person named stays."""
    return shipped(WORKSPACE) if str(workspace) == WORKSPACE else workspace


def _check_places(workspace: Path, home: Path) -> None:
    if not workspace.is_file():
        raise SettingsError(
            f"--workspace {workspace}",
            found="nothing there",
            expected="the repository's workspace.yaml",
            next_step="start it in the checkout, or name the file",
        )
    named = os.environ.get(VARIABLE)
    if named and not (Path(named).is_absolute() and home.is_dir()):
        raise SettingsError(
            f"DAGSTER_HOME {named}",
            found="no folder there" if Path(named).is_absolute() else "a path from the working folder",
            expected="the absolute path of an existing folder",
            next_step="correct it, or unset it: the runs are then kept in the data root",
        )


def _log_to_stderr() -> None:
    from dagster._utils.log import configure_loggers

    configure_loggers(formatter="colored", log_level="INFO")
    show_log(logging.Formatter("%(asctime)s - %(name)s - %(levelname)s - %(message)s"), ["uvicorn"])


if __name__ == "__main__":
    sys.exit(main())
