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
    BAD_CONTENT_ENCODING,
    MAX_REDIRECTS,
    NO_TOKEN,
    TOO_LARGE,
    Answer,
    DownloadLimits,
    Hosts,
    Order,
    TokenSite,
    address_of,
    fetch_patiently,
    judge,
    unwritable,
)
from vqa_assets.clips.hashing import HASH_CHUNK_BYTES, ClipBytes
from vqa_assets.clips.work import StoppedError
from vqa_assets.printing import logger

LOOK_EVERY_S = 0.5
_IDLE_S = 10.0
_ADD, _RESUME = "add", "resume"
"""What the driving thread is asked to do with a transfer."""
_log = logger("vqa_assets.clips.downloading")


class Transfer(Protocol):
    """One transfer, whose handle is configured; both methods are called by the driving thread."""

    handle: Any

    def should_go_on(self) -> bool:
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
            if self._driver is None or not self._driver.accepts(_ADD, transfer):
                self._driver = _Driver()
                self._driver.accepts(_ADD, transfer)
                self._driver.start()

    def resume(self, transfer: Transfer) -> None:
        """Let a transfer go on that was paused by its write callback."""
        with self._lock:
            if self._driver is not None:
                self._driver.accepts(_RESUME, transfer)

    def close(self) -> None:
        """Close all connections; transfers under way are aborted."""
        with self._lock:
            driver, self._driver = self._driver, None
        if driver is not None:
            driver.close()


class _Driver(threading.Thread):
    """The thread: everything but ``accepts`` and ``close`` runs in it, as libcurl's handles want it.

    libcurl says which sockets it waits for and until when (``_watch``, ``_set_timer``); it is called when one is ready.
    """

    def __init__(self) -> None:
        import pycurl

        super().__init__(name="transfers", daemon=True)
        self._pycurl = pycurl
        self._requests: deque[tuple[str, Transfer]] = deque()
        self._lock = threading.Lock()
        self._closed = self._over = self._asleep = False
        # A byte through it ends the wait for sockets, when another thread has a request.
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        self._sockets = selectors.DefaultSelector()
        self._sockets.register(self._woken, selectors.EVENT_READ)
        self._live: dict[Any, Transfer] = {}
        self._due: float | None = None
        self._checked = self._used = time.monotonic()
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._set_timer)
        self._multi.setopt(pycurl.M_PIPELINING, pycurl.PIPE_NOTHING)  # a connection of its own for each transfer

    def accepts(self, what: str, transfer: Transfer) -> bool:
        """Hand a request over, from any thread; False where the thread has ended."""
        with self._lock:
            if self._over or self._closed:
                return False
            self._requests.append((what, transfer))
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
            while self._has_work():
                self._serve()
        except Exception:
            _log.exception("downloads: the thread that drives libcurl ended; its transfers are tried again")
        finally:
            self._end()

    def _wake(self) -> None:
        self._asleep = False
        with suppress(BlockingIOError):  # full: it has been woken often enough
            self._waker.send(b"x")

    def _has_work(self) -> bool:
        """Whether there is any, or may soon be; decided under the lock, so that no request is accepted and lost."""
        with self._lock:
            idle = not self._live and not self._requests and time.monotonic() - self._used > _IDLE_S
            self._over = self._closed or idle
            return not self._over

    def _serve(self) -> None:
        """One round: requests, what is due, what has arrived, what has ended."""
        while self._requests:
            what, transfer = self._requests.popleft()
            if what == _ADD:
                self._live[transfer.handle] = transfer
                self._multi.add_handle(transfer.handle)
            elif transfer.handle in self._live:  # it may have ended since it asked to go on
                transfer.handle.pause(self._pycurl.PAUSE_CONT)
        now = time.monotonic()
        if self._due is not None and self._due <= now:
            self._due = None
            self._multi.socket_action(self._pycurl.SOCKET_TIMEOUT, 0)
        for key, mask in self._sleep():
            if key.fileobj is self._woken:
                self._woken.recv(4096)
            else:
                reads = self._pycurl.CSELECT_IN if mask & selectors.EVENT_READ else 0
                writes = self._pycurl.CSELECT_OUT if mask & selectors.EVENT_WRITE else 0
                self._multi.socket_action(key.fd, reads | writes)
        self._take_ended()
        if now - self._checked >= LOOK_EVERY_S:
            # Here and not in a callback of libcurl's: of a transfer whose server sends nothing none is called.
            self._checked = now
            for handle, transfer in list(self._live.items()):
                if not transfer.should_go_on():
                    self._release(handle, ABORTED, "aborted")

    def _sleep(self) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready, after waiting for it until something is due, half a second at most."""
        with self._lock:
            self._asleep = not self._requests and not self._closed
        wait_s = LOOK_EVERY_S if self._asleep else 0.0
        if self._due is not None:
            wait_s = min(wait_s, max(0.0, self._due - time.monotonic()))
        ready = self._sockets.select(wait_s)
        self._asleep = False
        return ready

    def _watch(self, what: int, fd: int, _multi: object, _data: object) -> int:
        """libcurl's socket callback: https://curl.se/libcurl/c/CURLMOPT_SOCKETFUNCTION.html."""
        registered = fd in self._sockets.get_map()
        if what == self._pycurl.POLL_REMOVE:
            if registered:
                self._sockets.unregister(fd)
            return 0
        reads = selectors.EVENT_READ if what & self._pycurl.POLL_IN else 0
        mask = reads | (selectors.EVENT_WRITE if what & self._pycurl.POLL_OUT else 0)
        (self._sockets.modify if registered else self._sockets.register)(fd, mask)
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
                self._release(handle, 0, "")
            for handle, code, text in failed:
                self._release(handle, code, text)

    def _release(self, handle: Any, code: int, text: str) -> None:
        self._multi.remove_handle(handle)
        self._used = time.monotonic()
        self._live.pop(handle).ended(code, text)

    def _end(self) -> None:
        """End every transfer, whatever ended the thread: other threads wait for them."""
        with self._lock:
            self._over = True
        for handle in list(self._live):
            self._release(handle, ABORTED, "aborted")
        for what, transfer in self._requests:
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
"""What pycurl takes from a write callback; any other number of bytes than it handed over aborts."""


class LibcurlDownloader:
    """Satisfies the ingest loop's Downloader; safe from many threads at once.

    Hosts that never answer stay given up as long as the downloader lives: make one per run. ``ca_bundle`` is a PEM
    file; certifi's is used where none is given, because libcurl in a wheel has none of its own. ``token_site`` is shown
    its token.
    """

    def __init__(self, ca_bundle: Path | None = None, token_site: TokenSite = NO_TOKEN) -> None:
        self._ca_bundle, self._token_site = ca_bundle, token_site
        self._hosts = Hosts()
        self._transfers = Transfers()
        self._idle: deque[Any] = deque()

    def fetch(self, url: str, part: Path, limits: DownloadLimits, stop: threading.Event) -> ClipBytes:
        """Write the body of ``url`` into ``part`` and return its SHA-256 and size.

        DownloadError where the clip cannot be downloaded, IngestError where ``part`` cannot be written, StoppedError
        within about a second of ``stop``.
        """
        address = self._token_site.known_at(address_of(url))
        return fetch_patiently(Order(address, part, limits, stop), self._hosts, self._attempt)

    def close(self) -> None:
        """Close all connections; a transfer that is still under way is aborted, and tried again where it may be."""
        self._transfers.close()
        self._idle.clear()

    def _attempt(self, order: Order) -> ClipBytes:
        transfer, answer = self._transfer(order)
        if answer.rc == BAD_CONTENT_ENCODING:  # not encoded as its header says: once more, as it comes
            transfer, answer = self._transfer(order, decode=False)
        judge(answer, order.address.if_refused)
        return ClipBytes(transfer.digest.hexdigest(), transfer.size_bytes)

    def _transfer(self, order: Order, *, decode: bool = True) -> tuple["_ClipTransfer", Answer]:
        try:
            with order.part.open("wb", buffering=0) as file:
                try:
                    handle = self._idle.pop()  # with its connection and its session of TLS
                except IndexError:
                    handle = new_handle(self._ca_bundle)
                transfer = _ClipTransfer(order, file, handle, decode=decode)
                answer = transfer.run(self._transfers)
        except OSError as error:
            raise unwritable(order.part, error) from error
        self._idle.append(transfer.handle)  # only now: one whose wait was cut short may be under way still
        return transfer, answer


class _ClipTransfer:
    """One body on its way into one open file without a buffer of its own.

    libcurl hands over 16 KiB at a time; hashing and writing so little at once costs more than the work itself. The
    driving thread collects (``_write``), the thread that called ``run`` hashes and writes.
    """

    def __init__(self, order: Order, file: RawIOBase, handle: Any, *, decode: bool) -> None:
        self._order, self._file, self.handle, self._decode = order, file, handle, decode
        self._given_up = self._paused = False
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
                    # Not raised before libcurl has let go of the handle: the driving thread sees that it should.
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

    def should_go_on(self) -> bool:
        """Whether the run goes on and the file can be written."""
        return not (self._given_up or self._order.stop.is_set())

    def ended(self, code: int, text: str) -> None:
        """Hand over what is left, and the end."""
        self._arrived.put((self._pieces, (code, text)))

    def _configure(self) -> None:
        import pycurl

        handle, limits, address = self.handle, self._order.limits, self._order.address
        handle.setopt(pycurl.URL, address.url)
        # Unset where there is none: the handle may have fetched from a host with a password before.
        for option, part in zip((pycurl.USERNAME, pycurl.PASSWORD), address.credentials or (None, None), strict=True):
            handle.unsetopt(option) if part is None else handle.setopt(option, part.encode())
        # A header of this name goes to no other host that the first one redirects to.
        handle.setopt(pycurl.HTTPHEADER, [f"Authorization: Bearer {address.bearer}"] if address.bearer else [])
        handle.setopt(pycurl.TIMEOUT_MS, max(1, round(limits.timeout_s * 1000)))
        handle.setopt(pycurl.CONNECTTIMEOUT_MS, max(1, round(limits.connect_timeout_s * 1000)))
        handle.setopt(pycurl.LOW_SPEED_LIMIT, limits.stall_bytes_per_s)
        handle.setopt(pycurl.LOW_SPEED_TIME, limits.stall_s)
        handle.setopt(pycurl.MAXFILESIZE_LARGE, limits.max_bytes)
        # What libcurl is told to ask for, it also undoes: no encoding is asked for, and whichever comes is decoded.
        handle.setopt(pycurl.ACCEPT_ENCODING, "identity")
        handle.setopt(pycurl.HTTP_CONTENT_DECODING, int(self._decode))
        handle.setopt(pycurl.WRITEFUNCTION, self._write)

    def _write(self, piece: bytes) -> int | None:
        """libcurl's write callback: https://curl.se/libcurl/c/CURLOPT_WRITEFUNCTION.html."""
        import pycurl

        # Asked twice: where ``_keep`` caught up between the first answer and the note that we are paused, it did not
        # see the note, and nobody would resume the transfer.
        self._paused = self._is_behind()
        if self._paused and not self._is_behind():
            self._paused = False
        if self._paused:
            return int(pycurl.WRITEFUNC_PAUSE)  # and the same piece comes again
        self.size_bytes += len(piece)
        if self._is_too_large() or not self.should_go_on():
            return _ABORT
        self._pieces.append(piece)
        if self.size_bytes - self._handed_bytes >= HASH_CHUNK_BYTES:
            self._handed_bytes = self.size_bytes
            self._arrived.put((self._pieces, None))
            self._pieces = []
        return _ALL_TAKEN

    def _is_behind(self) -> bool:
        """Whether too much waits for the disk."""
        return self._handed_bytes - self._kept_bytes > _MOST_WAITING_BYTES

    def _keep(self, pieces: list[bytes], transfers: Transfers) -> None:
        """Hash and write what has come since the last time."""
        content = b"".join(pieces)
        self._kept_bytes += len(content)
        if self._paused and not self._is_behind():
            transfers.resume(self)
        self.digest.update(content)
        rest = memoryview(content)
        while rest and not self._given_up:  # an unbuffered file may write less than it is given
            if self._order.stop.is_set():
                raise StoppedError  # a transfer may have succeeded whose bytes were not written
            rest = rest[self._file.write(rest) :]

    def _is_too_large(self) -> bool:
        return self.size_bytes > self._order.limits.max_bytes

    def _answer(self, code: int, text: str) -> Answer:
        import pycurl

        if code == TOO_LARGE or self._is_too_large():
            code, text = TOO_LARGE, f"larger than {self._order.limits.max_bytes} bytes"
        return Answer(
            rc=code,
            text=text,
            status=self.handle.getinfo(pycurl.RESPONSE_CODE),
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
        (pycurl.NOSIGNAL, 1),  # or a slow name server's time limit is a SIGALRM, in a process of many threads
        (pycurl.TCP_KEEPALIVE, 1),
        (pycurl.BUFFERSIZE, _BUFFER_BYTES),  # what it reads from a socket at once
        (pycurl.USERAGENT, "vqa-assets"),
    ):
        handle.setopt(option, value)
    return handle
