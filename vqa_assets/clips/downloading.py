"""What a download is, however its bytes are transferred: limits, addresses, answers, hosts, and trying again.

The ways to transfer are ``libcurl``, ``curl`` (the program) and ``pages`` (yt-dlp); all keep the manners written down
here and mean the same by their errors. Whole archives are in ``archives``. Which clips are fetched, under which
name they are kept, and what is remembered of them is not here (``ingest``).

Reasons read ``curl-rc=22: HTTP 404 Not Found``: libcurl's code (https://curl.se/libcurl/c/libcurl-errors.html), then
text. They hold neither the URL nor anything the server wrote freely.
"""

import errno
import hashlib
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from http import HTTPStatus
from ipaddress import IPv6Address
from pathlib import Path
from typing import Protocol
from urllib.parse import SplitResult, quote, unquote, urlsplit

from vqa_assets.clips.elsewhere import place_of_run
from vqa_assets.clips.hashing import ClipBytes
from vqa_assets.clips.work import StoppedError
from vqa_assets.errors import DownloadError, IngestError

GIB = 1 << 30


@dataclass(frozen=True)
class DownloadLimits:
    """One clip's limits; times in seconds, sizes in bytes.

    ``timeout_s`` bounds one attempt as a whole, ``connect_timeout_s`` its connecting. An attempt with less than
    ``stall_bytes_per_s`` for ``stall_s`` (whole seconds) is cut off. ``retries`` come on top of the first attempt; the
    pause before the n-th is ``backoff_s`` · 2ⁿ⁻¹, give or take a half, at most 30 s. A server's Retry-After is
    honoured up to ``retry_after_cap_s``. ``per_host`` bounds the transfers under way to one host at once.
    """

    timeout_s: float = 120.0
    max_bytes: int = 20 * GIB
    connect_timeout_s: float = 15.0
    stall_s: int = 30
    stall_bytes_per_s: int = 1
    retries: int = 3
    per_host: int = 8
    backoff_s: float = 0.5
    retry_after_cap_s: float = 60.0


MAX_REDIRECTS = 10
SCHEMES = ("http", "https")
_LEGAL_IN_PATH = "!$&'()*+,/:;=?@~%"
_MALFORMED = "curl-rc=3: URL using bad/illegal format or missing URL"
_STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True)
class Address:
    """Where to fetch from: the quoted URL without credentials, the host with its port, and the credentials if any.

    Credentials are kept apart so that no message of a transfer can hold them. ``bearer`` is a token for a header, for
    this host only; ``if_refused`` is what to do where the host answers 401 or 403.
    """

    url: str
    host: str
    credentials: tuple[str, str] | None = field(default=None, repr=False)
    bearer: str = field(default="", repr=False)
    if_refused: str = ""


@dataclass(frozen=True)
class TokenSite:
    """A site that knows whoever asks by a token, and no other site may see it: its address, as far as all begin."""

    url: str
    token: str = field(default="", repr=False)
    if_refused: str = ""

    def known_at(self, address: Address) -> Address:
        """The address, with the token where it is on this site and names nobody else."""
        if address.credentials or not address.url.startswith(f"{self.url}/"):
            return address
        return replace(address, bearer=self.token, if_refused=self.if_refused)


NO_TOKEN = TokenSite("no site")


def address_of(url: str) -> Address:
    """The address that a URL names.

    A permanent DownloadError, before any network, where it is not http(s) or malformed. The fragment is dropped, as no
    client sends it; a name that holds ``#`` must come quoted.
    """
    try:
        parts = urlsplit(url.strip())
        if parts.scheme not in SCHEMES:
            raise DownloadError(f"curl-rc=1: scheme {parts.scheme!r}, expected http or https", permanent=True)
        host = _ascii_host(parts.hostname or "") + (f":{parts.port}" if parts.port else "")
        path = (quoted_url(parts.path) or "/") + (f"?{quoted_url(parts.query)}" if parts.query else "")
        return Address(f"{parts.scheme}://{host}{path}", host, _credentials(parts))
    except ValueError:  # UnicodeError too: a name or a path that is no text
        raise DownloadError(_MALFORMED, permanent=True) from None


def told_address(url: str) -> str:
    """A URL as a file may keep it, equal for equal addresses: without credentials, a query as eight digits of its hash.

    A query may hold a secret (a signed address does), and two addresses may differ in nothing else.
    """
    try:
        told, _, query = address_of(url).url.partition("?")
    except DownloadError:  # none, and its text may hold anything
        told, query = "", url
    return f"{told}?#{hashlib.sha256(query.encode('utf-8', 'replace')).hexdigest()[:8]}" if query else told


def quoted_url(text: str) -> str:
    """A URL's path or query with its illegal characters quoted as UTF-8, and nothing else (RFC 3986).

    What is quoted already stays; a percent sign that quotes nothing is quoted itself.
    """
    return quote(_STRAY_PERCENT.sub("%25", text), safe=_LEGAL_IN_PATH, errors="surrogateescape")


@lru_cache(maxsize=1024)
def _ascii_host(name: str) -> str:
    """The host as libcurl wants it; international names by IDNA. ValueError where no host can be called so."""
    if ":" in name:
        # Without a zone (%eth0), which names an interface of this machine (RFC 6874).
        return f"[{IPv6Address(name.partition('%')[0])}]"
    ascii_name = name.encode("idna").decode()
    if not re.fullmatch(r"[A-Za-z0-9._~-]+", ascii_name):
        raise ValueError(name)
    return ascii_name


def _credentials(parts: SplitResult) -> tuple[str, str] | None:
    """User and password, unquoted; ValueError where they hold what no header may hold."""
    if parts.username is None:
        return None
    user, password = unquote(parts.username), unquote(parts.password or "")
    # A line break would begin another header, or another line of curl's configuration.
    if not (user + password).isprintable():
        raise ValueError("control characters")
    return user, password


UNSUPPORTED_PROTOCOL, MALFORMED, WRITE_ERROR, TIMED_OUT, ABORTED = 1, 3, 23, 28, 42
HTTP_ERROR, TOO_MANY_REDIRECTS, TOO_LARGE = 22, 47, 63
BAD_CONTENT_ENCODING = 61
UNREACHABLE = {5, 6, 7, 35, 60, 77, 97}
"""No server that may be believed has answered: proxy (5, 97), host (6), connection (7), TLS (35), trust (60, 77)."""

# Not Found, Gone, Unavailable For Legal Reasons (RFC 9110, RFC 7725): what they say of a clip will stand.
_GONE = {404, 410, 451}
# Who asks may not have it, for an hour or as long as a setting is wrong. Asking again at once makes a ban longer.
_REFUSED = {401, 403}
_NO_CONTENT = 204
_PROXY_LOGIN = 407


class TryAgainError(Exception):
    """An attempt that failed in a way that may pass; ``retry_after_s`` is the server's own wish (0 = none)."""

    def __init__(self, reason: str, *, unreachable: bool = False, retry_after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.reason, self.unreachable, self.retry_after_s = reason, unreachable, retry_after_s


@dataclass(frozen=True)
class Answer:
    """How one transfer ended: libcurl's code and words, the last HTTP status, the body's type and size.

    ``asked`` is false where not even the request could be sent; ``retry_after_s`` is 0 where the server names none.
    """

    rc: int
    text: str
    status: int
    content_type: str = ""
    size_bytes: int = 0
    retry_after_s: float = 0.0
    asked: bool = True


def judge(answer: Answer, if_refused: str = "") -> None:
    """Return if a body came, and all of it as far as the transfer shows; what it is, is not looked at.

    Else a TryAgainError, or a DownloadError where to ask again within this run is in vain: ``permanent`` where it is
    in vain in any run. ``if_refused`` says what to do about a 401 or 403.
    """
    # 203: the body as some proxy on the way has it. A 206 would be a part that nobody asked for, a 202 none yet.
    if answer.rc == HTTP_ERROR or (answer.rc == 0 and answer.status not in (200, 203)):
        _judge_status(answer, if_refused)
    elif answer.rc != 0:
        _judge_code(answer)
    elif not answer.size_bytes:
        raise DownloadError("curl-rc=0: empty body", permanent=True)


def _judge_status(answer: Answer, if_refused: str) -> None:
    status = answer.status
    phrase = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else ""
    reason = f"curl-rc={answer.rc}: HTTP {status} {phrase}".rstrip()
    if status == _NO_CONTENT:
        raise DownloadError(f"{reason}: empty body", permanent=True)
    if status in _REFUSED and if_refused:
        reason += f"; {if_refused}"
    if status in _GONE or status in _REFUSED:
        raise DownloadError(reason, permanent=status in _GONE)
    # All others say nothing about the clip. A proxy that asks for a login answers in place of every host: none of
    # them was reached.
    raise TryAgainError(reason, unreachable=status == _PROXY_LOGIN, retry_after_s=answer.retry_after_s)


def _judge_code(answer: Answer) -> None:
    reason = f"curl-rc={answer.rc}: {one_line(answer.text)}"
    # A redirect to ftp:// stays one. Without a redirect the same code speaks of this libcurl, not of the clip.
    redirected_away = answer.rc == UNSUPPORTED_PROTOCOL and 300 <= answer.status < 400
    if redirected_away or answer.rc == TOO_LARGE:
        raise DownloadError(reason, permanent=True)
    if answer.rc in (MALFORMED, TOO_MANY_REDIRECTS):  # a redirect to nowhere or in a circle, which somebody may mend
        raise DownloadError(reason, permanent=False)
    # Code 28 stands for every time limit; only where no request went out is it the host that does not answer.
    never_asked = answer.rc == TIMED_OUT and not answer.asked
    raise TryAgainError(reason, unreachable=answer.rc in UNREACHABLE or never_asked)


def one_line(text: str) -> str:
    """``text`` without line breaks and control characters, at most 200 characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:200]


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
            with place_of_run(name, per_host, stop):  # where workers are elsewhere, the places are all of theirs
                yield
        finally:
            with host.changed:
                host.busy -= 1
                host.changed.notify()

    def answered(self, name: str) -> None:
        """Note that the host gave an answer, whatever it was."""
        host = self._host(name)
        if host.unanswered:  # asked without the lock: this is called for every clip, and there is rarely one to reset
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
        host = self._hosts.get(name)
        if host is None:
            with self._lock:
                host = self._hosts.setdefault(name, _Host(name))
        return host

    @staticmethod
    def _may_start(host: _Host, per_host: int, stop: threading.Event) -> bool:
        if stop.is_set():
            raise StoppedError
        if host.unanswered >= GIVEN_UP_AFTER:
            reason = f"host {host.name} gave no answer to {host.unanswered} transfers in a row; given up for this run"
            raise DownloadError(reason, permanent=False, unreachable=True)
        return host.busy < per_host and time.monotonic() >= host.quiet_until


class FileDownloader(Protocol):
    """A downloader of files at addresses of their own, and its end."""

    def fetch(self, url: str, part: Path, limits: DownloadLimits, stop: threading.Event) -> ClipBytes:
        """See ``ingest.tools.Downloader``."""
        ...

    def close(self) -> None:
        """Give back what was kept open between clips."""
        ...


LONGEST_BACKOFF_S = 30.0
GRACE_S = 5.0
"""So much longer than its own time limit a transferring program may take before it is killed."""
_dice = random.SystemRandom()


@dataclass(frozen=True)
class Order:
    """What is to be fetched, into which file, within which limits, and the signal to stop."""

    address: Address
    part: Path
    limits: DownloadLimits
    stop: threading.Event

    def is_too_large(self) -> bool:
        """Whether more has arrived than a clip may have."""
        return size_of(self.part) > self.limits.max_bytes


def size_of(part: Path) -> int:
    """Bytes in the file so far; 0 where there is none."""
    try:
        return part.stat().st_size
    except FileNotFoundError:
        return 0


Attempt = Callable[[Order], ClipBytes]
"""Fetch once: the bytes' identity, or a permanent DownloadError, TryAgainError, StoppedError or IngestError."""


def fetch_patiently(order: Order, hosts: Hosts, attempt: Attempt) -> ClipBytes:
    """Fetch, trying again what may pass; the same errors, with DownloadError in place of the last TryAgainError.

    Nothing is left at ``order.part`` after an error.
    """
    try:
        return _fetch(order, hosts, attempt)
    except BaseException:
        with suppress(OSError):
            if order.part.is_file():  # never a device or a pipe that somebody put there
                order.part.unlink()
        raise


def pause_s(limits: DownloadLimits, tried: int) -> float:
    """How long to wait, in seconds, after so many retries and before the next."""
    # Give or take a half, so that many clips of one host do not all come back at the same moment.
    pause: float = limits.backoff_s * 2**tried * _dice.uniform(0.5, 1.5)
    return min(pause, LONGEST_BACKOFF_S)


def unwritable(part: Path, error: OSError) -> IngestError | DownloadError:
    """The failure for a file that cannot be written: of the run as a whole, unless the clip's own name is to blame."""
    if error.errno == errno.ENAMETOOLONG:
        return DownloadError(f"curl-rc={WRITE_ERROR}: {error.strerror}", permanent=True)
    return IngestError(
        f"cannot write {part}",
        found=error.strerror or str(error),
        next_step="free space on the corpus's disk or mend its permissions, then run again: finished clips are kept",
    )


def _fetch(order: Order, hosts: Hosts, attempt: Attempt) -> ClipBytes:
    limits, host = order.limits, order.address.host
    for tried in range(limits.retries + 1):
        try:
            return _attempt_in_slot(order, hosts, attempt)
        except TryAgainError as failure:
            hosts.keep_quiet(host, min(failure.retry_after_s, limits.retry_after_cap_s))
            if tried == limits.retries:
                (hosts.unanswered if failure.unreachable else hosts.answered)(host)
                raise DownloadError(failure.reason, permanent=False, unreachable=failure.unreachable) from None
        if order.stop.wait(pause_s(limits, tried)):
            raise StoppedError
    raise ValueError(f"retries={limits.retries}, expected 0 or more")


def _attempt_in_slot(order: Order, hosts: Hosts, attempt: Attempt) -> ClipBytes:
    host = order.address.host
    with hosts.slot(host, order.limits.per_host, order.stop):
        try:
            clip = attempt(order)
        except DownloadError:  # a refusal is an answer
            hosts.answered(host)
            raise
    hosts.answered(host)
    return clip
