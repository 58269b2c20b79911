"""All transfers of one downloader, driven by one thread over libcurl's multi interface.

A thread per transfer asks for the interpreter at every 16 KiB of every transfer, and they keep it from each other; one
thread asks once for all that has arrived. What becomes of a transfer's bytes is not here (``libcurl``).
https://curl.se/libcurl/c/libcurl-multi.html
"""

import logging
import selectors
import socket
import threading
import time
from collections import deque
from contextlib import suppress
from typing import Any, Protocol

from vqa_assets.clips.downloading.answer import ABORTED

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
            self._obey(*self._orders.popleft())
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

    def _obey(self, what: str, transfer: Transfer) -> None:
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
