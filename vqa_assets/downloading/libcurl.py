"""Transfers by libcurl in this process: one handle per thread, kept for its connections, hashing while it writes.

A process per clip costs more than the clip (``curl_binary``); a handle per thread keeps connections alive between
clips. When to try again is not here (``attempts``).

What a server sends beyond its Content-Length is no part of the body (RFC 9112, 6.3). libcurl drops it, closes the
connection and reports success, and bytes that come later than the rest are never seen at all: a clip that its server
declared too short arrives cut, and it is the probe that finds its end missing.
"""

import hashlib
import threading
import weakref
from io import RawIOBase
from pathlib import Path
from typing import Any

from vqa_assets.clip import HASH_CHUNK_BYTES, ClipBytes
from vqa_assets.clip_work import StoppedError
from vqa_assets.downloading.answer import SNIFFED_BYTES, TOO_LARGE, Answer, judge
from vqa_assets.downloading.attempts import Order, fetch_patiently, unwritable
from vqa_assets.downloading.hosts import Hosts
from vqa_assets.downloading.limits import DownloadLimits
from vqa_assets.downloading.target import MAX_REDIRECTS, target_of

_BUFFER_BYTES = 256 << 10
_ABORT, _GO_ON = 1, 0


class LibcurlDownloader:
    """Satisfies the ingest loop's Downloader; safe from many threads at once.

    Hosts that never answer stay given up as long as the downloader lives: make one per run. ``ca_bundle`` is a PEM
    file; certifi's is used where none is given, because libcurl in a wheel has none of its own.
    """

    def __init__(self, ca_bundle: Path | None = None) -> None:
        self._ca_bundle = ca_bundle
        self._hosts = Hosts()
        self._of_thread = threading.local()
        self._handles: weakref.WeakSet[Any] = weakref.WeakSet()
        self._lock = threading.Lock()

    def fetch(self, url: str, part: Path, limits: DownloadLimits, stop: threading.Event) -> ClipBytes:
        """Write the body of ``url`` into ``part`` and return its SHA-256 and size.

        DownloadError where the clip cannot be had, IngestError where ``part`` cannot be written, StoppedError within
        about a second of ``stop``.
        """
        return fetch_patiently(Order(target_of(url), part, limits, stop), self._hosts, self._attempt)

    def close(self) -> None:
        """Close all connections that are not in use; a thread's own are closed when it ends, too."""
        import pycurl

        with self._lock:
            handles, self._handles, self._of_thread = list(self._handles), weakref.WeakSet(), threading.local()
        for handle in handles:
            try:
                handle.close()
            except pycurl.error:  # at work in another thread, and closed when that is done
                continue

    def _handle(self) -> Any:
        handle = getattr(self._of_thread, "handle", None)
        if handle is None:
            handle = self._of_thread.handle = new_handle(self._ca_bundle)
            with self._lock:
                self._handles.add(handle)
        return handle

    def _attempt(self, order: Order) -> ClipBytes:
        try:
            with order.part.open("wb", buffering=0) as file:
                transfer = _Transfer(order, file)
                answer = transfer.run(self._handle())
        except OSError as error:
            raise unwritable(order.part, error) from error
        judge(answer)
        return ClipBytes(transfer.digest.hexdigest(), transfer.size_bytes)


class _Transfer:
    """One body on its way into one open file without a buffer of its own.

    libcurl hands over 16 KiB at a time; hashing and writing so little at once costs more than the work itself.
    """

    def __init__(self, order: Order, file: RawIOBase) -> None:
        self._order, self._file = order, file
        self._write_error: OSError | None = None
        self._head = b""
        self._waiting: list[bytes] = []
        self._settled_bytes = 0
        self.digest, self.size_bytes = hashlib.sha256(), 0

    def run(self, handle: Any) -> Answer:
        """Transfer; OSError where the file could not be written, StoppedError where the run was stopped."""
        import pycurl

        self._configure(handle)
        code, text = 0, ""
        try:
            handle.perform()
        except pycurl.error as error:
            code, text = error.args[0], handle.errstr() or str(error.args[-1])
        if self._write_error:
            raise self._write_error
        if code and self._order.stop.is_set():
            raise StoppedError
        self._settle()
        return self._answer(handle, code, text)

    def _configure(self, handle: Any) -> None:
        import pycurl

        limits, target = self._order.limits, self._order.target
        handle.setopt(pycurl.URL, target.url)
        for option, part in zip((pycurl.USERNAME, pycurl.PASSWORD), target.credentials or (None, None), strict=True):
            handle.unsetopt(option) if part is None else handle.setopt(option, part.encode())
        handle.setopt(pycurl.TIMEOUT_MS, max(1, round(limits.timeout_s * 1000)))
        handle.setopt(pycurl.CONNECTTIMEOUT_MS, max(1, round(limits.connect_timeout_s * 1000)))
        handle.setopt(pycurl.LOW_SPEED_LIMIT, limits.stall_bytes_per_s)
        handle.setopt(pycurl.LOW_SPEED_TIME, limits.stall_s)
        handle.setopt(pycurl.MAXFILESIZE_LARGE, limits.max_bytes)
        handle.setopt(pycurl.WRITEFUNCTION, self._write)
        handle.setopt(pycurl.XFERINFOFUNCTION, self._go_on)

    def _write(self, piece: bytes) -> int | None:
        """libcurl's write callback: ``None`` for "all written", 0 to abort."""
        self.size_bytes += len(piece)
        if self._too_large():
            return 0
        if len(self._head) < SNIFFED_BYTES:
            self._head += piece[:SNIFFED_BYTES]
        self._waiting.append(piece)
        try:
            if self.size_bytes - self._settled_bytes >= HASH_CHUNK_BYTES:
                self._settle()
        except OSError as error:
            self._write_error = error
            return 0
        return None

    def _settle(self) -> None:
        """Hash and write what has come since the last time."""
        pieces, self._waiting, self._settled_bytes = b"".join(self._waiting), [], self.size_bytes
        self.digest.update(pieces)
        rest = memoryview(pieces)
        while rest:
            rest = rest[self._file.write(rest) :]

    def _go_on(self, *_sizes: int) -> int:
        """libcurl's progress callback, called about once a second even when nothing arrives."""
        return _ABORT if self._order.stop.is_set() else _GO_ON

    def _too_large(self) -> bool:
        return self.size_bytes > self._order.limits.max_bytes

    def _answer(self, handle: Any, code: int, text: str) -> Answer:
        import pycurl

        if code == TOO_LARGE or self._too_large():
            code, text = TOO_LARGE, f"larger than {self._order.limits.max_bytes} bytes"
        return Answer(
            rc=code,
            text=text,
            status=handle.getinfo(pycurl.RESPONSE_CODE),
            content_type=handle.getinfo(pycurl.CONTENT_TYPE) or "",
            head=self._head,
            size_bytes=self.size_bytes,
            retry_after_s=float(handle.getinfo(pycurl.RETRY_AFTER)),
            asked=handle.getinfo(pycurl.REQUEST_SIZE) > 0,
        )


def new_handle(ca_bundle: Path | None) -> Any:
    """A handle with the options that never change: verified TLS, http and https only, redirects too."""
    import certifi
    import pycurl

    handle = pycurl.Curl()
    web = pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS
    for option, value in (
        (pycurl.CAINFO, str(ca_bundle or certifi.where())),
        (pycurl.PROTOCOLS, web),
        (pycurl.REDIR_PROTOCOLS, web),
        (pycurl.FOLLOWLOCATION, 1),
        (pycurl.MAXREDIRS, MAX_REDIRECTS),
        (pycurl.FAILONERROR, 1),
        (pycurl.NOSIGNAL, 1),
        (pycurl.NOPROGRESS, 0),
        (pycurl.TCP_KEEPALIVE, 1),
        (pycurl.BUFFERSIZE, _BUFFER_BYTES),
        (pycurl.USERAGENT, "vqa-assets"),
    ):
        handle.setopt(option, value)
    return handle
