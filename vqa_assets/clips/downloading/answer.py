"""What the end of a transfer means for the clip: it is there, it never will be, or it is worth another try.

Reasons read ``curl-rc=22: HTTP 404 Not Found``: libcurl's code (https://curl.se/libcurl/c/libcurl-errors.html), then
text. They hold neither the URL nor anything the server wrote freely.
"""

import re
from dataclasses import dataclass
from http import HTTPStatus

from vqa_assets.errors import DownloadError
from vqa_assets.tables.files import HTML_PAGE

SNIFFED_BYTES = 512
UNSUPPORTED_PROTOCOL, MALFORMED, WRITE_ERROR, TIMED_OUT, ABORTED = 1, 3, 23, 28, 42
HTTP_ERROR, TOO_MANY_REDIRECTS, TOO_LARGE = 22, 47, 63
UNREACHABLE = {5, 6, 7, 35, 60, 77, 97}
"""No server that may be believed has answered: proxy (5, 97), host (6), connection (7), TLS (35), trust (60, 77)."""

_TRANSIENT_4XX = {408, 425, 429}
_PROXY_LOGIN = 407
_HTML_TYPES = ("text/html", "application/xhtml+xml")
_HTML = "curl-rc=0: the server answered HTML, not a clip"
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")


class TryAgainError(Exception):
    """An attempt that failed in a way that may pass; ``retry_after_s`` is the server's own wish (0 = none)."""

    def __init__(self, reason: str, *, unreachable: bool = False, retry_after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.reason, self.unreachable, self.retry_after_s = reason, unreachable, retry_after_s


@dataclass(frozen=True)
class Answer:
    """How one transfer ended: libcurl's code and words, the last HTTP status, and the body's size and first bytes.

    ``asked`` is false where not even the request could be sent; ``retry_after_s`` is 0 where the server names none.
    """

    rc: int
    text: str
    status: int
    content_type: str = ""
    head: bytes = b""
    size_bytes: int = 0
    retry_after_s: float = 0.0
    asked: bool = True


def judge(answer: Answer) -> None:
    """Return if the body is a whole file; else raise a TryAgainError, or a DownloadError: to ask again is in vain."""
    if answer.rc == HTTP_ERROR or (answer.rc == 0 and answer.status not in (200, 203)):
        _judge_status(answer)
    elif answer.rc != 0:
        _judge_code(answer)
    elif not answer.size_bytes:
        raise DownloadError("curl-rc=0: empty body", permanent=True)
    elif is_html(answer.content_type, answer.head):
        raise DownloadError(_HTML, permanent=False)  # a network's login page says nothing about the clip


def is_html(content_type: str, head: bytes) -> bool:
    """Whether a body is a web page: it begins like one, or is called one and its first bytes are text."""
    called_html = content_type.strip().lower().startswith(_HTML_TYPES)
    return bool(HTML_PAGE.match(head)) or (called_html and not _BINARY.search(head))


def _judge_status(answer: Answer) -> None:
    status = answer.status
    phrase = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else ""
    reason = f"curl-rc={answer.rc}: HTTP {status} {phrase}".rstrip()
    if status == 204:
        raise DownloadError(f"{reason}: empty body", permanent=True)
    if status == 0 or status >= 500 or status in _TRANSIENT_4XX or status == _PROXY_LOGIN:
        raise TryAgainError(reason, unreachable=status == _PROXY_LOGIN, retry_after_s=answer.retry_after_s)
    raise DownloadError(reason, permanent=True)


def _judge_code(answer: Answer) -> None:
    reason = f"curl-rc={answer.rc}: {one_line(answer.text)}"
    redirected_away = answer.rc == UNSUPPORTED_PROTOCOL and 300 <= answer.status < 400
    if redirected_away or answer.rc in (MALFORMED, TOO_MANY_REDIRECTS, TOO_LARGE):
        raise DownloadError(reason, permanent=True)
    never_asked = answer.rc == TIMED_OUT and not answer.asked
    raise TryAgainError(reason, unreachable=answer.rc in UNREACHABLE or never_asked)


def one_line(text: str) -> str:
    """``text`` without line breaks and control characters, at most 200 characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:200]
