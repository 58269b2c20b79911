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
    GRACE_S,
    MAX_REDIRECTS,
    SNIFFED_BYTES,
    TOO_LARGE,
    WRITE_ERROR,
    Answer,
    DownloadLimits,
    Hosts,
    Order,
    fetch_patiently,
    judge,
    target_of,
    unwritable,
)
from vqa_assets.clips.geometry import ClipBytes
from vqa_assets.clips.hashing import hash_file
from vqa_assets.clips.processes import Completed, run, why_unfit
from vqa_assets.errors import IngestError

_REPORT = r"\n%{http_code} %{size_request} %{content_type}"


class CurlBinaryDownloader:
    """Satisfies the ingest loop's Downloader with the program ``binary`` (a name on PATH, or a path)."""

    def __init__(self, binary: str = "curl") -> None:
        self._binary = binary
        self._hosts = Hosts()
        self._trusted = False

    def fetch(self, url: str, part: Path, limits: DownloadLimits, stop: Event) -> ClipBytes:
        """Write the body of ``url`` into ``part`` and return its identity; errors as ``LibcurlDownloader``'s."""
        return fetch_patiently(Order(target_of(url), part, limits, stop), self._hosts, self._attempt)

    def _attempt(self, order: Order) -> ClipBytes:
        try:
            order.part.open("wb").close()
        except OSError as error:
            raise unwritable(order.part, error) from error
        done = self._run(order)
        if not _complaint(done.complaints.decode("utf-8", "replace")) and not _has_status(done):
            self._distrust()
        judge(_answer(order, done))
        return hash_file(order.part, order.stop)

    def _run(self, order: Order) -> Completed:
        try:
            return run(
                [self._binary, *_arguments(order)],
                question=_config(order).encode(),
                limit_s=order.limits.timeout_s + GRACE_S,
                stop=order.stop,
                is_too_large=order.is_too_large,
            )
        except OSError as error:
            raise _no_binary(self._binary, error) from error

    def _distrust(self) -> None:
        """IngestError where the program is no curl: it says nothing about any clip. Asked once of a good one."""
        if not self._trusted and (why := why_unfit(self._binary, "--version", "curl ")):
            raise IngestError(
                f"the curl program {self._binary!r}",
                found=why,
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
        "dump-header": "-",
        "write-out": _REPORT,
        "output": order.part,
        "config": "-",
    }
    switches = ["--disable", "--silent", "--show-error", "--fail", "--location", "--globoff"]
    return switches + [word for name, value in options.items() for word in (f"--{name}", str(value))]


def _config(order: Order) -> str:
    """What curl reads on its standard input: https://curl.se/docs/manpage.html#-K."""
    lines = [f'url = "{order.target.url}"']
    if order.target.credentials:
        lines.append(f'user = "{_escaped(":".join(order.target.credentials))}"')
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"")


def _answer(order: Order, done: Completed) -> Answer:
    headers, _, report = done.output.decode("latin-1").rpartition("\n")
    status, size_request, content_type = [*report.split(" ", 2), "", "", ""][:3]
    size, head = _body(order.part)
    code, text = done.status, _complaint(done.complaints.decode("utf-8", "replace"))
    if code == TOO_LARGE or size > order.limits.max_bytes:
        code, text = TOO_LARGE, f"larger than {order.limits.max_bytes} bytes"
    if code == WRITE_ERROR:
        raise unwritable(order.part, OSError(0, text.strip() or "curl could not write"))
    return Answer(
        rc=code if code >= 0 else 28,
        text=text or f"curl ended with {code}",
        status=int(status) if status.isdigit() else 0,
        content_type=content_type,
        head=head,
        size_bytes=size,
        retry_after_s=_retry_after_s(headers),
        asked=size_request not in ("", "0"),
    )


def _has_status(done: Completed) -> bool:
    """Whether the last line is our report, with the status of an answer."""
    status = done.output.decode("latin-1").rpartition("\n")[2].partition(" ")[0]
    return status.isdigit() and int(status) > 0


def _complaint(stderr: str) -> str:
    """The text of curl's line ``curl: (6) Could not resolve host: …``, without advice that may follow it."""
    found = re.search(r"^curl: \(\d+\) (.*)$", stderr, re.MULTILINE)
    return found[1] if found else ""


def _body(part: Path) -> tuple[int, bytes]:
    try:
        with part.open("rb") as file:
            return part.stat().st_size, file.read(SNIFFED_BYTES)
    except FileNotFoundError:  # some versions remove what they could not finish
        return 0, b""


def _retry_after_s(headers: str) -> float:
    """The last answer's Retry-After, in seconds or as an HTTP date (RFC 9110, 10.2.3); 0 where there is none."""
    last = headers.strip().split("\r\n\r\n")[-1]
    fields = dict(line.lower().split(":", 1) for line in last.splitlines() if ":" in line)
    wish = fields.get("retry-after", "").strip()
    if wish.isdigit():
        return float(wish)
    try:
        then = parsedate_to_datetime(wish)
    except ValueError:
        return 0.0
    return max(0.0, (then.replace(tzinfo=then.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def _no_binary(binary: str, error: OSError) -> IngestError:
    return IngestError(
        f"the curl program {binary!r}",
        found=(error.strerror or str(error)).lower(),
        expected="a program that can be started",
        next_step="install curl, name it in $CURL_BIN, or leave downloading to libcurl",
    )
