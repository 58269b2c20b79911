"""Transfers by libcurl in this process: handles kept for reuse, all of them driven by one thread (``transfers``).

A process per clip costs more than the clip (``curl_binary``). The thread that wants a clip hashes and writes it while
the driving thread takes in what arrives. When to try again is not here (``attempts``).

What a server sends beyond its Content-Length is no part of the body (RFC 9112, 6.3). libcurl drops it, closes the
connection and reports success, and bytes that come later than the rest are never seen at all: a clip that its server
declared too short arrives cut, and it is the probe that finds its end missing.
"""

import hashlib
import threading
from collections import deque
from io import RawIOBase
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from vqa_assets.clips.downloading.answer import SNIFFED_BYTES, TOO_LARGE, Answer, judge
from vqa_assets.clips.downloading.attempts import Order, fetch_patiently, unwritable
from vqa_assets.clips.downloading.hosts import Hosts
from vqa_assets.clips.downloading.limits import DownloadLimits
from vqa_assets.clips.downloading.target import MAX_REDIRECTS, target_of
from vqa_assets.clips.downloading.transfers import Transfers
from vqa_assets.clips.geometry import HASH_CHUNK_BYTES, ClipBytes
from vqa_assets.clips.work import StoppedError

_BUFFER_BYTES = 256 << 10
_MOST_WAITING_BYTES = 8 << 20
"""So much of a clip may wait for a slow disk; then its server has to wait."""
_ALL_TAKEN, _ABORT = None, 0


class LibcurlDownloader:
    """Satisfies the ingest loop's Downloader; safe from many threads at once.

    Hosts that never answer stay given up as long as the downloader lives: make one per run. ``ca_bundle`` is a PEM
    file; certifi's is used where none is given, because libcurl in a wheel has none of its own.
    """

    def __init__(self, ca_bundle: Path | None = None) -> None:
        self._ca_bundle = ca_bundle
        self._hosts = Hosts()
        self._transfers = Transfers()
        self._idle: deque[Any] = deque()

    def fetch(self, url: str, part: Path, limits: DownloadLimits, stop: threading.Event) -> ClipBytes:
        """Write the body of ``url`` into ``part`` and return its SHA-256 and size.

        DownloadError where the clip cannot be had, IngestError where ``part`` cannot be written, StoppedError within
        about a second of ``stop``.
        """
        return fetch_patiently(Order(target_of(url), part, limits, stop), self._hosts, self._attempt)

    def close(self) -> None:
        """Close all connections; a transfer that is still under way is aborted, and tried again where it may be."""
        self._transfers.close()
        self._idle.clear()

    def _attempt(self, order: Order) -> ClipBytes:
        try:
            with order.part.open("wb", buffering=0) as file:
                transfer = _Transfer(order, file, self._handle())
                answer = transfer.run(self._transfers)
        except OSError as error:
            raise unwritable(order.part, error) from error
        self._idle.append(transfer.handle)  # only now: one whose wait was cut short may be under way still
        judge(answer)
        return ClipBytes(transfer.digest.hexdigest(), transfer.size_bytes)

    def _handle(self) -> Any:
        try:
            return self._idle.pop()
        except IndexError:
            return new_handle(self._ca_bundle)


class _Transfer:
    """One body on its way into one open file without a buffer of its own.

    libcurl hands over 16 KiB at a time; hashing and writing so little at once costs more than the work itself. The
    driving thread collects (``_write``), the thread that called ``run`` hashes and writes.
    """

    def __init__(self, order: Order, file: RawIOBase, handle: Any) -> None:
        self._order, self._file, self.handle = order, file, handle
        self._given_up = self._paused = False
        self._head = b""
        self._pieces: list[bytes] = []
        self._arrived: SimpleQueue[tuple[list[bytes], tuple[int, str] | None]] = SimpleQueue()
        self._handed_bytes = self._kept_bytes = 0
        self.digest, self.size_bytes = hashlib.sha256(), 0

    def run(self, transfers: Transfers) -> Answer:
        """Transfer; OSError where the file could not be written, StoppedError where the run was stopped."""
        self._configure()
        transfers.begin(self)
        end, failure = None, None
        try:
            while end is None:
                pieces, end = self._arrived.get()
                try:
                    self._keep(pieces, transfers)
                except OSError as error:
                    self._given_up, failure = True, failure or error
        except BaseException:
            self._given_up = True
            raise
        code, text = end
        if failure:
            raise failure
        if code and self._order.stop.is_set():
            raise StoppedError
        return self._answer(code, self.handle.errstr() or text if code else "")

    def is_wanted(self) -> bool:
        """Whether the run goes on and the file can be written."""
        return not (self._given_up or self._order.stop.is_set())

    def ended(self, code: int, text: str) -> None:
        """Hand over what is left, and the end."""
        self._arrived.put((self._pieces, (code, text)))

    def _configure(self) -> None:
        import pycurl

        handle, limits, target = self.handle, self._order.limits, self._order.target
        handle.setopt(pycurl.URL, target.url)
        for option, part in zip((pycurl.USERNAME, pycurl.PASSWORD), target.credentials or (None, None), strict=True):
            handle.unsetopt(option) if part is None else handle.setopt(option, part.encode())
        handle.setopt(pycurl.TIMEOUT_MS, max(1, round(limits.timeout_s * 1000)))
        handle.setopt(pycurl.CONNECTTIMEOUT_MS, max(1, round(limits.connect_timeout_s * 1000)))
        handle.setopt(pycurl.LOW_SPEED_LIMIT, limits.stall_bytes_per_s)
        handle.setopt(pycurl.LOW_SPEED_TIME, limits.stall_s)
        handle.setopt(pycurl.MAXFILESIZE_LARGE, limits.max_bytes)
        handle.setopt(pycurl.WRITEFUNCTION, self._write)

    def _write(self, piece: bytes) -> int | None:
        """libcurl's write callback: https://curl.se/libcurl/c/CURLOPT_WRITEFUNCTION.html."""
        import pycurl

        if self._must_wait():
            return int(pycurl.WRITEFUNC_PAUSE)  # and the same piece comes again
        self.size_bytes += len(piece)
        if self._too_large() or not self.is_wanted():
            return _ABORT
        if len(self._head) < SNIFFED_BYTES:
            self._head += piece[:SNIFFED_BYTES]
        self._pieces.append(piece)
        if self.size_bytes - self._handed_bytes >= HASH_CHUNK_BYTES:
            self._handed_bytes = self.size_bytes
            self._arrived.put((self._pieces, None))
            self._pieces = []
        return _ALL_TAKEN

    def _must_wait(self) -> bool:
        """Whether too much waits for the disk; asked again once ``_keep`` can see that it was so."""
        self._paused = self._lagging()
        if self._paused and not self._lagging():
            self._paused = False
        return self._paused

    def _lagging(self) -> bool:
        return self._handed_bytes - self._kept_bytes > _MOST_WAITING_BYTES

    def _keep(self, pieces: list[bytes], transfers: Transfers) -> None:
        """Hash and write what has come since the last time."""
        content = b"".join(pieces)
        self._kept_bytes += len(content)
        if self._paused and not self._lagging():
            transfers.resume(self)
        self.digest.update(content)
        rest = memoryview(content)
        while rest and not self._given_up:
            if self._order.stop.is_set():
                raise StoppedError  # a transfer may have succeeded whose bytes were not written
            rest = rest[self._file.write(rest) :]

    def _too_large(self) -> bool:
        return self.size_bytes > self._order.limits.max_bytes

    def _answer(self, code: int, text: str) -> Answer:
        import pycurl

        if code == TOO_LARGE or self._too_large():
            code, text = TOO_LARGE, f"larger than {self._order.limits.max_bytes} bytes"
        return Answer(
            rc=code,
            text=text,
            status=self.handle.getinfo(pycurl.RESPONSE_CODE),
            content_type=self.handle.getinfo(pycurl.CONTENT_TYPE) or "",
            head=self._head,
            size_bytes=self.size_bytes,
            retry_after_s=float(self.handle.getinfo(pycurl.RETRY_AFTER)),
            asked=self.handle.getinfo(pycurl.REQUEST_SIZE) > 0,
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
        (pycurl.TCP_KEEPALIVE, 1),
        (pycurl.BUFFERSIZE, _BUFFER_BYTES),
        (pycurl.USERAGENT, "vqa-assets"),
    ):
        handle.setopt(option, value)
    return handle
