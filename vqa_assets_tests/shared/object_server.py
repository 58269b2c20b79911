"""An S3 server on 127.0.0.1: moto's, behind which faults are made. Nothing is asked of it but by the library itself."""

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote
from xml.sax.saxutils import escape

from vqa_assets.clips.stores import OpenStore

ACCESS_KEY, SECRET_KEY = "AKIAACCESSKEYOFTESTS", "secretkeyoftests"
WsgiApp = Callable[[Mapping[str, Any], Callable[..., Any]], Iterable[bytes]]
Fault = Callable[["ObjectServer", str, str], str]
"""Given method and path, what goes wrong: empty, a status of ``_CODES``, ``page`` of a web server that has everything,
``slow``, ``silent``; ``cut``, half of the answer comes; ``torn``, half of the request does, and nothing is done;
``unheard``, all is done and the connection breaks."""
_CODES = {"503": "SlowDown", "403": "AccessDenied", "400": "ExpiredToken", "301": "PermanentRedirect"}


@dataclass
class ObjectServer:
    """A running server; ``asked`` counts requests by method and path, ``fault`` says what goes wrong with each."""

    asked: Counter[tuple[str, str]] = field(default_factory=Counter)
    fault: Fault = lambda _server, _method, _path: ""
    before: Callable[[str, str], None] = lambda _method, _path: None
    pages: Sequence[bytes] = ()
    """Prepared answers to a listing, where there are any: moto takes minutes for what a store lists in seconds."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _connections: int = 0

    def __enter__(self) -> "ObjectServer":
        from moto.server import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import WSGIRequestHandler, make_server

        class Silent(WSGIRequestHandler):
            protocol_version = "HTTP/1.1"

            def log(self, *_: Any) -> None:
                pass

            def setup(handler) -> None:  # noqa: N805 - the server is ``self`` here
                self._connected(1)
                super().setup()

            def finish(handler) -> None:  # noqa: N805
                try:
                    super().finish()
                finally:
                    self._connected(-1)

        self._app: WsgiApp = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True, request_handler=Silent)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._server.shutdown()
        self._thread.join(5)
        self._server.server_close()

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which a process finds the server, and may use it."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._server.server_port}",
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": "us-east-1",
            "NO_PROXY": "*",
            "no_proxy": "*",
        }

    def bucket(self, name: str) -> "Bucket":
        """A new, empty bucket."""
        from moto.s3.models import s3_backends

        s3_backends["123456789012"]["aws"].create_bucket(name, "us-east-1")
        return Bucket(self, name)

    def forget(self) -> None:
        """No fault, and nothing was asked."""
        self.asked.clear()
        self.fault = lambda *_: ""
        self.before = lambda *_: None
        self.pages = ()

    def wait_until_quiet(self) -> None:
        """Wait until whoever was connected is gone, and what it asked for is done: after a client was killed."""
        until = time.monotonic() + 60
        while self._connections and time.monotonic() < until:
            time.sleep(0.01)
        assert not self._connections, "nobody is connected any more"

    def _connected(self, by: int) -> None:
        with self._lock:
            self._connections += by

    def _answer(self, environ: Mapping[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], unquote(environ["PATH_INFO"])
        with self._lock:
            self.asked[method, path] += 1
        length = int(environ.get("CONTENT_LENGTH") or 0)
        fault = self.fault(self, method, path)
        body = environ["wsgi.input"].read(length // 2 if fault == "torn" else length)
        if len(body) < length:  # no store takes less than what was announced
            raise self._broken(environ)
        if self.pages and "list-type=2" in (query := environ["QUERY_STRING"]):
            token = parse_qs(query).get("continuation-token", ["0"])[0]
            start("200 OK", [("Content-Type", "application/xml")])
            return [self.pages[int(token)]]
        if fault == "page":
            start("200 OK", [("Content-Type", "text/html")])
            return [b"<html></html>"]
        if code := _CODES.get(fault):
            start(f"{fault} Refused", [("Content-Type", "application/xml")])
            return [f"<Error><Code>{code}</Code><AWSAccessKeyId>{ACCESS_KEY}</AWSAccessKeyId></Error>".encode()]
        self.before(method, path)
        if fault in ("slow", "silent"):
            time.sleep({"slow": 0.3, "silent": 30}[fault])
        import io

        answer = self._app({**environ, "wsgi.input": io.BytesIO(body)}, start)
        if fault == "unheard":
            raise self._broken(environ)
        return _halved(answer) if fault == "cut" else answer

    @staticmethod
    def _broken(environ: Mapping[str, Any]) -> ConnectionAbortedError:
        environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        return ConnectionAbortedError()


def _halved(answer: Iterable[bytes]) -> Iterable[bytes]:
    whole = b"".join(answer)
    yield whole[: len(whole) // 2]
    raise ConnectionAbortedError


@dataclass
class Bucket:
    """One bucket of the server, as whoever owns it sees it: behind the server's back, and without its faults."""

    server: ObjectServer
    name: str

    @property
    def _bucket(self) -> Any:
        from moto.s3.models import s3_backends

        return s3_backends["123456789012"]["aws"].buckets[self.name]

    def put(self, key: str, content: bytes) -> None:
        """Make an object, whatever its key."""
        from moto.s3.models import s3_backends

        s3_backends["123456789012"]["aws"].put_object(self.name, key, content)

    def keys(self) -> list[str]:
        """The keys of all objects, in order."""
        return sorted(self._bucket.keys)

    def content(self, key: str) -> bytes:
        """An object's bytes."""
        held: bytes = self._bucket.keys[key].value
        return held

    def remove(self, key: str) -> None:
        """Delete an object."""
        self._bucket.keys.pop(key)

    def held(self) -> dict[str, bytes]:
        """All objects."""
        return {key: self.content(key) for key in self.keys()}

    def hold(self, objects: Mapping[str, bytes]) -> None:
        """Let these be all objects; one that is there already stays the object that it is."""
        there = self.held()
        for key in there.keys() - objects.keys():
            self.remove(key)
        for key, content in objects.items():
            if there.get(key) != content:
                self.put(key, content)

    def open(self, prefix: str = "") -> OpenStore:
        """The bucket as the code under test opens it."""
        return OpenStore(f"s3://{self.name}/{prefix}".rstrip("/"))


def listing(keys: Sequence[str], size_bytes: int = 6) -> list[bytes]:
    """The pages of a listing of these keys, a thousand each, as S3 writes them."""
    pages = []
    for first in range(0, len(keys), 1000):
        after = first // 1000 + 1
        more = after * 1000 < len(keys)
        token = f"<NextContinuationToken>{after}</NextContinuationToken>" if more else ""
        objects = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
            f'<ETag>"{number}"</ETag><Size>{size_bytes}</Size></Contents>'
            for number, key in enumerate(keys[first : first + 1000], first)
        )
        pages.append(
            f'<?xml version="1.0" encoding="UTF-8"?><ListBucketResult><IsTruncated>{str(more).lower()}</IsTruncated>'
            f"{token}{objects}</ListBucketResult>".encode()
        )
    return pages
