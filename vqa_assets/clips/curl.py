"""Transfers by the ``curl`` program, one process per clip: slower, and independent of the libcurl in the wheel.

Addresses and credentials reach curl on its standard input, so that no process list shows them. When to try again is
not here (``downloading``).
"""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from threading import Event

from vqa_assets.clips.downloading import (
    BAD_CONTENT_ENCODING,
    GRACE_S,
    MAX_REDIRECTS,
    NO_TOKEN,
    TIMED_OUT,
    TOO_LARGE,
    WRITE_ERROR,
    Answer,
    DownloadLimits,
    Hosts,
    Order,
    TokenSite,
    address_of,
    fetch_patiently,
    judge,
    size_of,
    unwritable,
)
from vqa_assets.clips.hashing import ClipBytes, hash_file
from vqa_assets.clips.processes import Completed, run, why_unfit
from vqa_assets.errors import IngestError

# What curl writes after the headers (https://curl.se/docs/manpage.html#-w).
_REPORT = r"\n%{http_code} %{size_request}"


class CurlBinaryDownloader:
    """Satisfies the ingest loop's Downloader with the program ``binary`` (a name on PATH, or a path).

    ``token_site`` is shown its token.
    """

    def __init__(self, binary: str = "curl", token_site: TokenSite = NO_TOKEN) -> None:
        self._binary, self._token_site = binary, token_site
        self._hosts = Hosts()
        self._trusted = False

    def fetch(self, url: str, part: Path, limits: DownloadLimits, stop: Event) -> ClipBytes:
        """Write the body of ``url`` into ``part`` and return its identity; errors as ``LibcurlDownloader``'s."""
        address = self._token_site.known_at(address_of(url))
        return fetch_patiently(Order(address, part, limits, stop), self._hosts, self._attempt)

    def _attempt(self, order: Order) -> ClipBytes:
        answer = self._transfer(order)
        if answer.rc == BAD_CONTENT_ENCODING:  # not encoded as its header says: once more, as it comes
            answer = self._transfer(order, decode=False)
        judge(answer, order.address.if_refused)
        return hash_file(order.part, order.stop)

    def _transfer(self, order: Order, *, decode: bool = True) -> Answer:
        try:
            order.part.open("wb").close()
        except OSError as error:
            raise unwritable(order.part, error) from error
        try:
            done = run(
                [self._binary, *_arguments(order), *(["--compressed"] if decode else [])],
                question=_config(order).encode(),
                limit_s=order.limits.timeout_s + GRACE_S,
                stop=order.stop,
                is_too_large=order.is_too_large,  # before curl 8.4 --max-filesize heeds announced sizes only
            )
        except OSError as error:
            raise IngestError(
                f"the curl program {self._binary!r}",
                found=(error.strerror or str(error)).lower(),
                expected="a program that can be started",
                next_step="install curl, name it in $CURL_BIN, or leave downloading to libcurl",
            ) from error
        status = done.output.decode("latin-1").rpartition("\n")[2].partition(" ")[0]
        has_status = status.isdigit() and int(status) > 0
        if not has_status and not _complaint(done):  # neither curl's report nor an error in curl's words
            self.check()
        return _answer(order, done)

    def check(self) -> None:
        """IngestError where the program is no curl: it says nothing about any clip. A good one is asked once."""
        if not self._trusted and (reason := why_unfit(self._binary, "--version", "curl ")):
            raise IngestError(
                f"the curl program {self._binary!r}",
                found=reason,
                expected="a curl; no clip was judged by it",
                next_step="name another in $CURL_BIN, or leave downloading to libcurl",
            )
        self._trusted = True

    def close(self) -> None:
        """Nothing is kept open between clips."""


def _arguments(order: Order) -> list[str]:
    limits = order.limits
    options = {
        "proto": "=http,https",
        "proto-redir": "=http,https",
        "max-redirs": MAX_REDIRECTS,
        "max-time": limits.timeout_s,
        "connect-timeout": limits.connect_timeout_s,
        "speed-limit": limits.stall_bytes_per_s,
        "speed-time": limits.stall_s,
        "max-filesize": limits.max_bytes,
        "user-agent": "vqa-assets",
        # With --compressed, which by itself would ask for encodings: none is asked for, whichever comes is decoded.
        "header": "Accept-Encoding: identity",
        "dump-header": "-",
        "write-out": _REPORT,
        "output": order.part,
        "config": "-",
    }
    # --disable comes first, or ~/.curlrc is read. --globoff: brackets in a name are no range of addresses.
    switches = ["--disable", "--silent", "--show-error", "--fail", "--location", "--globoff"]
    return switches + [word for name, value in options.items() for word in (f"--{name}", str(value))]


def _config(order: Order) -> str:
    """What curl reads on its standard input: https://curl.se/docs/manpage.html#-K."""
    lines = [f'url = "{order.address.url}"']
    if order.address.credentials:
        lines.append(f'user = "{_quoted(":".join(order.address.credentials))}"')
    if order.address.bearer:  # as a header, it goes to no other host that the first one redirects to
        lines.append(f'header = "Authorization: Bearer {_quoted(order.address.bearer)}"')
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"")


def _answer(order: Order, done: Completed) -> Answer:
    headers, _, report = done.output.decode("latin-1").rpartition("\n")
    status, _, size_request = report.partition(" ")
    size = size_of(order.part)  # some versions remove what they could not finish
    code, text = done.status, _complaint(done)
    if code == TOO_LARGE or size > order.limits.max_bytes:
        code, text = TOO_LARGE, f"larger than {order.limits.max_bytes} bytes"
    if code == WRITE_ERROR:
        raise unwritable(order.part, OSError(0, text.strip() or "curl could not write"))
    return Answer(
        rc=code if code >= 0 else TIMED_OUT,  # a negative one is our own kill, when its time was up
        text=text or f"curl ended with {code}",
        status=int(status) if status.isdigit() else 0,
        size_bytes=size,
        retry_after_s=_retry_after_s(headers),
        asked=size_request not in ("", "0"),
    )


def _complaint(done: Completed) -> str:
    """The text of curl's line ``curl: (6) Could not resolve host: …``, without advice that may follow it."""
    line = re.search(r"^curl: \(\d+\) (.*)$", done.complaints.decode("utf-8", "replace"), re.MULTILINE)
    return line[1] if line else ""


def _retry_after_s(headers: str) -> float:
    """The last answer's Retry-After, in seconds or as an HTTP date (RFC 9110, 10.2.3); 0 where there is none."""
    last = headers.strip().split("\r\n\r\n")[-1]  # a block of headers for every redirect on the way
    fields = dict(line.lower().split(":", 1) for line in last.splitlines() if ":" in line)
    retry_after = fields.get("retry-after", "").strip()
    if retry_after.isdigit():
        return float(retry_after)
    try:
        then = parsedate_to_datetime(retry_after)
    except ValueError:
        return 0.0
    return max(0.0, (then.replace(tzinfo=then.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
