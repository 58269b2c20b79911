"""Manners towards hosts: few transfers at once, quiet when asked for it, no more knocking where nobody answers.

A host is a name with its port, as the clip's address has it; where redirects lead is not counted. What an answer
means for a clip is not here (``answer``).
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from vqa_assets.clips.work import StoppedError
from vqa_assets.errors import DownloadError

GIVEN_UP_AFTER = 20
"""So many transfers in a row without any answer, and a host is given up."""

_LOOK_AROUND_S = 0.2


@dataclass
class _Host:
    name: str
    busy: int = 0
    unanswered: int = 0
    quiet_until: float = 0.0
    changed: threading.Condition = field(default_factory=threading.Condition)


class Hosts:
    """The state of every host met by one downloader, shared by its threads; it lasts as long as the downloader."""

    def __init__(self) -> None:
        self._hosts: dict[str, _Host] = {}
        self._lock = threading.Lock()

    @contextmanager
    def slot(self, name: str, per_host: int, stop: threading.Event) -> Iterator[None]:
        """Hold one of the host's ``per_host`` places.

        StoppedError where ``stop`` is set while waiting; DownloadError where the host is given up.
        """
        host = self._host(name)
        with host.changed:
            while not self._may_start(host, per_host, stop):
                host.changed.wait(_LOOK_AROUND_S)
            host.busy += 1
        try:
            yield
        finally:
            with host.changed:
                host.busy -= 1
                host.changed.notify()

    def answered(self, name: str) -> None:
        """Note that the host gave an answer, whatever it was."""
        host = self._host(name)
        if host.unanswered:
            with host.changed:
                host.unanswered = 0

    def unanswered(self, name: str) -> None:
        """Note that a transfer, with all its retries, got no answer from the host."""
        host = self._host(name)
        with host.changed:
            host.unanswered += 1

    def keep_quiet(self, name: str, seconds: float) -> None:
        """Begin no transfer to the host for so long."""
        host = self._host(name)
        with host.changed:
            host.quiet_until = max(host.quiet_until, time.monotonic() + seconds)

    def _host(self, name: str) -> _Host:
        known = self._hosts.get(name)
        if known is not None:
            return known
        with self._lock:
            return self._hosts.setdefault(name, _Host(name))

    @staticmethod
    def _may_start(host: _Host, per_host: int, stop: threading.Event) -> bool:
        if stop.is_set():
            raise StoppedError
        if host.unanswered >= GIVEN_UP_AFTER:
            told = f"host {host.name} gave no answer to {host.unanswered} transfers in a row; given up for this run"
            raise DownloadError(told, permanent=False, unreachable=True)
        return host.busy < per_host and time.monotonic() >= host.quiet_until
