"""A server on 127.0.0.1 for the clips of one folder, as a corpus's own host would serve them; counts its requests."""

import shutil
import socket
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

HOST = "127.0.0.1"
TYPES = {".mp4": "video/mp4", ".webm": "video/webm"}


class ClipServer:
    """Serves the files of ``folder`` while its ``with`` block runs, on ``port`` or a free one where that is taken.

    ``requests`` counts GETs and HEADs by file name, those that were answered 404 too. Leaving the block also ends the
    connections that clients kept alive.
    """

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.folder = folder
        self.requests: Counter[str] = Counter()
        self._counting = threading.Lock()
        self._server = _bound(port, self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def base_url(self) -> str:
        """``http://127.0.0.1:<port>``, without a final slash."""
        return f"http://{HOST}:{self._server.server_address[1]}"

    def __enter__(self) -> "ClipServer":
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()  # no new connections; those that are open end in server_close
        self._thread.join()
        self._server.server_close()

    def find(self, target: str) -> Path | None:
        """The file a request's target names, or None: no such file, or a name that leaves the folder."""
        name = PurePosixPath(unquote(urlsplit(target).path).lstrip("/"))
        with self._counting:
            self.requests[str(name)] += 1
        hidden = any(part.startswith(".") for part in name.parts)
        with suppress(OSError):  # a name too long for the file system names no file
            path = self.folder / name
            return path if not hidden and path.is_file() else None
        return None

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        find = self.find

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                _answer(self, find, body=True)

            def do_HEAD(self) -> None:
                _answer(self, find, body=False)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._open: set[socket.socket] = set()
        self._opening = threading.Lock()
        super().__init__(address, handler)  # closes itself, through server_close, where the port is taken

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._opening:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._opening:
            self._open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """End every connection, kept alive or not, and wait for their threads."""
        with self._opening:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        super().server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is its own affair."""


def _bound(port: int, handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    with suppress(OSError):
        return _Server((HOST, port), handler)
    return _Server((HOST, 0), handler)


def _answer(request: BaseHTTPRequestHandler, find: Callable[[str], Path | None], *, body: bool) -> None:
    path = find(request.path)
    if path is None:
        request.send_error(HTTPStatus.NOT_FOUND)
        return
    request.send_response(HTTPStatus.OK)
    request.send_header("Content-Type", TYPES.get(path.suffix, "application/octet-stream"))
    request.send_header("Content-Length", str(path.stat().st_size))
    request.end_headers()
    if body:
        with path.open("rb") as content:
            shutil.copyfileobj(content, request.wfile)
