"""A web server on 127.0.0.1 that misbehaves as told, and counts who came.

What a path does is a behaviour: a function of one ``Exchange`` that writes raw bytes and returns whether the connection
may be used again. What a downloader should make of it is in the tests.
"""

import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Exchange:
    """One request: its connection, its request line and headers, how often its path was asked for, and the end."""

    connection: socket.socket
    path: str
    headers: dict[str, str]
    nth: int
    closing: threading.Event
    answering: Callable[[], None] = lambda: None

    def send(self, head: str, body: bytes = b"", **fields: object) -> None:
        """A status line such as ``200 OK``, headers (``_`` for ``-``), and a body."""
        lines = [f"HTTP/1.1 {head}", *(f"{name.replace('_', '-')}: {value}" for name, value in fields.items())]
        self.answering()
        self.connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


Behaviour = Callable[[Exchange], bool]


class _Once:
    """Calls a function the first time only."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call: Callable[[], None] | None = call

    def __call__(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call()


@dataclass
class HostileServer:
    """Use as ``with HostileServer() as server: server.on("/a.mp4", gives(b"…"))``; unknown paths answer 404.

    ``at_port`` is its port, where it must be a certain one. ``peak`` is the most requests that waited for their answer
    at once: a client may ask again as soon as it has one.
    """

    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    at_port: int = 0
    requests: Counter[str] = field(default_factory=Counter)
    connections: int = 0
    peak: int = 0
    seen: list[Exchange] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "HostileServer":
        self._lock, self._threads, self._open, self._active = threading.Lock(), [], [], 0
        self._listener = socket.create_server(("127.0.0.1", self.at_port), backlog=128)
        self.port = self._listener.getsockname()[1]
        self._spawn(self._accept)
        return self

    def __exit__(self, *_exc: object) -> None:
        self.closing.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)

    def url(self, path: str = "/", credentials: str = "") -> str:
        return f"http://{credentials and credentials + '@'}127.0.0.1:{self.port}{path}"

    def on(self, path: str, behaviour: Behaviour) -> str:
        """Let a path (as it stands in the request line) behave so; returns its URL."""
        self.behaviours[path] = behaviour
        return self.url(path)

    def _spawn(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self.closing.is_set():
            with suppress(OSError):
                connection, _ = self._listener.accept()
                self.connections += 1
                self._open.append(connection)
                self._spawn(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(0.2)
        with connection, suppress(OSError):
            while (request := self._read(connection)) and self._answer(connection, request):
                pass

    def _read(self, connection: socket.socket) -> str:
        data = b""
        while not data.endswith(b"\r\n\r\n"):
            try:
                piece = connection.recv(65536)
            except TimeoutError:
                if self.closing.is_set():
                    return ""
                continue
            if not piece:
                return ""
            data += piece
        return data.decode("latin-1")

    def _answer(self, connection: socket.socket, request: str) -> bool:
        line, *rest = request.strip().split("\r\n")
        path = line.split(" ")[1]
        with self._lock:
            self.requests[path] += 1
            self._active += 1
            self.peak = max(self.peak, self._active)
            headers = dict(r.split(": ", 1) for r in rest)
            waiting = _Once(self._no_longer_waiting)
            exchange = Exchange(connection, path, headers, self.requests[path], self.closing, waiting)
            self.seen.append(exchange)
        try:
            connection.settimeout(5)
            return self.behaviours.get(path, says("404 Not Found"))(exchange)
        finally:
            connection.settimeout(0.2)
            waiting()

    def _no_longer_waiting(self) -> None:
        with self._lock:
            self._active -= 1


def gives(body: bytes, content_type: str = "video/mp4", after_s: float = 0.0, length: int | None = None) -> Behaviour:
    """200 with a body; ``length`` is the Content-Length told where it is not the truth (then the connection closes)."""

    def behave(exchange: Exchange) -> bool:
        time.sleep(after_s)
        told = len(body) if length is None else length
        exchange.send("200 OK", body, Content_Length=told, Content_Type=content_type)
        return told == len(body)

    return behave


def until_close(body: bytes, content_type: str = "video/mp4") -> Behaviour:
    """200 with a body whose length nobody was told: it ends with the connection, whole or not."""

    def behave(exchange: Exchange) -> bool:
        exchange.send("200 OK", body, Connection="close", Content_Type=content_type)
        return False

    return behave


def encoded(body: bytes, encoding: str) -> Behaviour:
    """200 with a body that is called encoded so, whatever was asked for."""

    def behave(exchange: Exchange) -> bool:
        exchange.send("200 OK", body, Content_Length=len(body), Content_Encoding=encoding, Content_Type="video/mp4")
        return True

    return behave


def part_of_file(body: bytes, size_bytes: int) -> Behaviour:
    """206 with the file's first bytes, all of them perhaps, though no range was asked for."""

    def behave(exchange: Exchange) -> bool:
        part = body[:size_bytes]
        span = f"bytes 0-{len(part) - 1}/{len(body)}"
        exchange.send("206 Partial Content", part, Content_Length=len(part), Content_Range=span)
        return True

    return behave


def says(status: str, **fields: object) -> Behaviour:
    """A status without a body, with these headers."""

    def behave(exchange: Exchange) -> bool:
        exchange.send(status, Content_Length=0, **fields)
        return True

    return behave


def redirects(to: str) -> Behaviour:
    return says("302 Found", Location=to)


def at_first(first: Behaviour, times: int, then: Behaviour) -> Behaviour:
    """``first`` for the first ``times`` requests of the path, ``then`` afterwards."""
    return lambda exchange: (first if exchange.nth <= times else then)(exchange)


def stalls(sent: bytes = b"") -> Behaviour:
    """Promises half a megabyte, sends ``sent``, and then nothing."""

    def behave(exchange: Exchange) -> bool:
        exchange.send("200 OK", sent, Content_Length=500_000, Content_Type="video/mp4")
        exchange.closing.wait(20)
        return False

    return behave


def drips(pieces: int = 200, every_s: float = 0.05) -> Behaviour:
    """Ten bytes at a time, never silent for long, never done in time."""

    def behave(exchange: Exchange) -> bool:
        exchange.send("200 OK", Content_Length=10 * pieces, Content_Type="video/mp4")
        for _ in range(pieces):
            exchange.connection.sendall(b"0123456789")
            if exchange.closing.wait(every_s):
                break
        return False

    return behave


def pours(chunks: int, chunk: bytes = bytes(65536)) -> Behaviour:
    """A chunked body, whose length nobody was told."""

    def behave(exchange: Exchange) -> bool:
        exchange.send("200 OK", Transfer_Encoding="chunked", Content_Type="video/mp4")
        for _ in range(chunks):
            exchange.connection.sendall(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
        exchange.connection.sendall(b"0\r\n\r\n")
        return True

    return behave


def resets(sent: bytes = b"") -> Behaviour:
    """Sends the beginning of a body, if any, then a TCP reset."""

    def behave(exchange: Exchange) -> bool:
        if sent:
            exchange.send("200 OK", sent, Content_Length=len(sent) + 1000, Content_Type="video/mp4")
            time.sleep(0.05)
        exchange.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False

    return behave


def babbles(data: bytes) -> Behaviour:
    """Bytes that are no HTTP."""

    def behave(exchange: Exchange) -> bool:
        exchange.connection.sendall(data)
        return False

    return behave


@contextmanager
def answering(with_bytes: bytes | None) -> Iterator[int]:
    """A port where something listens that says these bytes to whoever connects; None: it says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        kept: list[socket.socket] = []

        def answer() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                kept.append(connection)
                if with_bytes:
                    connection.sendall(with_bytes)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        for connection in kept:
            connection.close()
