"""Transfers by libcurl in this process: handles kept for reuse, all of them driven by one thread.

A process per clip costs more than the clip (``curl``). A thread per transfer asks for the interpreter at every 16 KiB
of every transfer, and they keep it from each other; one thread over the multi interface asks once for all that has
arrived (https://curl.se/libcurl/c/libcurl-multi.html). The thread that wants a clip hashes and writes it.
When to try again is not here (``downloading``).

What a server sends beyond its Content-Length is no part of the body (RFC 9112, 6.3). libcurl drops it, closes the
connection and reports success, and bytes that come later than the rest are never seen at all: a clip that its server
declared too short arrives cut, and it is the probe that finds its end missing.
"""

import hashlib
import logging
import selectors
import socket
import threading
import time
from collections import deque
from contextlib import suppress
from io import RawIOBase
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Protocol

from vqa_assets.clips.downloading import (
    ABORTED,
    MAX_REDIRECTS,
    SNIFFED_BYTES,
    TOO_LARGE,
    Answer,
    DownloadLimits,
    Hosts,
    Order,
    fetch_patiently,
    judge,
    target_of,
    unwritable,
)
from vqa_assets.clips.hashing import HASH_CHUNK_BYTES, ClipBytes
from vqa_assets.clips.work import StoppedError

LOOK_EVERY_S = 0.5
_IDLE_S = 10.0
_ADD, _RESUME = "add", "resume"
_log = logging.getLogger("vqa_assets.clips.downloading")


class Transfer(Protocol):
    """One transfer, whose handle is configured; both methods are called by the driving thread."""

    handle: Any

    def is_wanted(self) -> bool:
        """Asked twice a second, whatever the server does; the transfer is aborted where the answer is no."""
        ...

    def ended(self, code: int, text: str) -> None:
        """Called once, with libcurl's code and words; the handle is free again."""
        ...


class Transfers:
    """Begins transfers; the thread behind it comes with the first one and goes when there was none for a while."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._driver: _Driver | None = None

    def begin(self, transfer: Transfer) -> None:
        """Transfer; ``transfer.ended`` is called whatever happens."""
        with self._lock:
            if self._driver is None or not self._driver.takes(_ADD, transfer):
                self._driver = _Driver()
                self._driver.takes(_ADD, transfer)
                self._driver.start()

    def resume(self, transfer: Transfer) -> None:
        """Let a transfer go on that was paused by its write callback."""
        with self._lock:
            if self._driver is not None:
                self._driver.takes(_RESUME, transfer)

    def close(self) -> None:
        """Close all connections; transfers under way are aborted."""
        with self._lock:
            driver, self._driver = self._driver, None
        if driver is not None:
            driver.close()


class _Driver(threading.Thread):
    """The thread: everything but ``takes`` and ``close`` runs in it."""

    def __init__(self) -> None:
        import pycurl

        super().__init__(name="transfers", daemon=True)
        self._pycurl = pycurl
        self._orders: deque[tuple[str, Transfer]] = deque()
        self._lock = threading.Lock()
        self._closed = self._over = self._asleep = False
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        self._sockets = selectors.DefaultSelector()
        self._sockets.register(self._woken, selectors.EVENT_READ)
        self._live: dict[Any, Transfer] = {}
        self._due: float | None = None
        self._looked = self._used = time.monotonic()
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._set_timer)
        self._multi.setopt(pycurl.M_PIPELINING, pycurl.PIPE_NOTHING)  # a connection of its own for each transfer

    def takes(self, what: str, transfer: Transfer) -> bool:
        """Hand an order over, from any thread; False where the thread has ended."""
        with self._lock:
            if self._over or self._closed:
                return False
            self._orders.append((what, transfer))
            if self._asleep:
                self._wake()
        return True

    def close(self) -> None:
        """End the thread, from another one."""
        with self._lock:
            self._closed = True
            if not self._over:
                self._wake()
        if self.is_alive():
            self.join()

    def run(self) -> None:
        """Serve until there is nothing to do for long, or ``close``."""
        try:
            while self._may_go_on():
                self._serve()
        except Exception:
            _log.exception("downloads: the thread that drives libcurl ended; its transfers are tried again")
        finally:
            self._end()

    def _wake(self) -> None:
        self._asleep = False
        with suppress(BlockingIOError):
            self._waker.send(b"x")

    def _may_go_on(self) -> bool:
        with self._lock:
            idle = not self._live and not self._orders and time.monotonic() - self._used > _IDLE_S
            self._over = self._closed or idle
            return not self._over

    def _serve(self) -> None:
        """One round: orders, what is due, what has arrived, what has ended."""
        while self._orders:
            self._carry_out(*self._orders.popleft())
        now = time.monotonic()
        if self._due is not None and self._due <= now:
            self._due = None
            self._multi.socket_action(self._pycurl.SOCKET_TIMEOUT, 0)
        for key, mask in self._sleep():
            if key.fileobj is self._woken:
                self._woken.recv(4096)
            else:
                self._multi.socket_action(key.fd, self._ready(mask))
        self._take_ended()
        if now - self._looked >= LOOK_EVERY_S:
            self._looked = now
            self._abort_unwanted()

    def _carry_out(self, what: str, transfer: Transfer) -> None:
        if what == _ADD:
            self._live[transfer.handle] = transfer
            self._multi.add_handle(transfer.handle)
        elif transfer.handle in self._live:
            transfer.handle.pause(self._pycurl.PAUSE_CONT)

    def _sleep(self) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready, after waiting for it until something is due, half a second at most."""
        with self._lock:
            self._asleep = not self._orders and not self._closed
        wait_s = LOOK_EVERY_S if self._asleep else 0.0
        if self._due is not None:
            wait_s = min(wait_s, max(0.0, self._due - time.monotonic()))
        ready = self._sockets.select(wait_s)
        self._asleep = False
        return ready

    def _ready(self, mask: int) -> int:
        reads = self._pycurl.CSELECT_IN if mask & selectors.EVENT_READ else 0
        return reads | (self._pycurl.CSELECT_OUT if mask & selectors.EVENT_WRITE else 0)

    def _watch(self, what: int, fd: int, _multi: object, _data: object) -> int:
        """libcurl's socket callback: https://curl.se/libcurl/c/CURLMOPT_SOCKETFUNCTION.html."""
        known = fd in self._sockets.get_map()
        if what == self._pycurl.POLL_REMOVE:
            if known:
                self._sockets.unregister(fd)
            return 0
        reads = selectors.EVENT_READ if what & self._pycurl.POLL_IN else 0
        mask = reads | (selectors.EVENT_WRITE if what & self._pycurl.POLL_OUT else 0)
        (self._sockets.modify if known else self._sockets.register)(fd, mask)
        return 0

    def _set_timer(self, milliseconds: int) -> int:
        """libcurl's timer callback: when to call it again though nothing arrives; −1 takes that back."""
        self._due = None if milliseconds < 0 else time.monotonic() + milliseconds / 1000
        return 0

    def _take_ended(self) -> None:
        waiting = 1
        while waiting:
            waiting, whole, failed = self._multi.info_read()
            for handle in whole:
                self._let_go(handle, 0, "")
            for handle, code, text in failed:
                self._let_go(handle, code, text)

    def _abort_unwanted(self) -> None:
        for handle, transfer in list(self._live.items()):
            if not transfer.is_wanted():
                self._let_go(handle, ABORTED, "aborted")

    def _let_go(self, handle: Any, code: int, text: str) -> None:
        self._multi.remove_handle(handle)
        self._used = time.monotonic()
        self._live.pop(handle).ended(code, text)

    def _end(self) -> None:
        """Whoever waits for a transfer is told, whatever ended the thread."""
        with self._lock:
            self._over = True
        for handle in list(self._live):
            self._let_go(handle, ABORTED, "aborted")
        for what, transfer in self._orders:
            if what == _ADD:
                transfer.ended(ABORTED, "aborted")
        self._multi.close()
        self._sockets.close()
        self._woken.close()
        self._waker.close()


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
