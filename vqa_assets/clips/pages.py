"""Page addresses (YouTube, Vimeo, Flickr), whose clip only yt-dlp finds: one process per clip, an optional extra.

An address of a file is no page, wherever it is. When to try again is not here (``downloading``).
"""

import importlib.util
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Event
from urllib.parse import urlsplit

from vqa_assets.clips.downloading import (
    GRACE_S,
    DownloadLimits,
    FileDownloader,
    Hosts,
    Order,
    TryAgainError,
    address_of,
    fetch_patiently,
    one_line,
    size_of,
    unwritable,
)
from vqa_assets.clips.hashing import ClipBytes, hash_file
from vqa_assets.clips.processes import Completed, run
from vqa_assets.errors import DownloadError

_YOUTUBE = (
    re.compile(r"(?:www\.|m\.|music\.)?youtube(?:-nocookie)?\.com/(?:watch|shorts/|embed/|v/|live/)"),
    re.compile(r"youtu\.be/."),
)
_PAGES = (
    *_YOUTUBE,
    re.compile(r"(?:www\.|player\.)?vimeo\.com/(?:video/)?[0-9]"),
    re.compile(r"(?:www\.|m\.)?flickr\.com/photos/[^/]+/[0-9]"),
)
# Its own words for private, removed, terminated, copyright. Everything else may be otherwise tomorrow, or elsewhere.
_GONE = re.compile(
    r"private (?:video|photo)|(?:video|photo|content) is private|(?:been|was) removed|removed by|"
    r"been terminated|copyright",
    re.IGNORECASE,
)
_MAY_PASS = re.compile(r"try again|rate.?limit|requested format|in your (?:country|region)|http error", re.IGNORECASE)
_RATE_LIMIT = re.compile(r"rate.?limit|http error 429|too many requests", re.IGNORECASE)
_ADDRESS = re.compile(r"\w+://\S+")
_REMEDY = "pip install 'vqa-assets[yt-dlp]'"
_RUNTIMES = {"deno": "deno", "node": "node", "bun": "bun", "qjs": "quickjs"}
"""Programs that run YouTube's JavaScript, and yt-dlp's names for them (https://github.com/yt-dlp/yt-dlp/wiki/EJS)."""
_USAGE_ERROR = 2


def is_youtube(url: str) -> bool:
    """Whether an address is a page of YouTube, which needs more than the others."""
    return _is_one(url, _YOUTUBE)


def is_page(url: str) -> bool:
    """Whether an address is a page around a clip, not the clip."""
    return _is_one(url, _PAGES)


def _is_one(url: str, pages: tuple[re.Pattern[str], ...]) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return any(page.match(f"{(parts.hostname or '').lower()}{parts.path}") for page in pages)


def yt_dlp_command() -> list[str] | None:
    """How yt-dlp is started: the program on PATH, else the module of this Python; None where neither is there."""
    program = shutil.which("yt-dlp")
    if program:  # the person's own, which is kept newer than a wheel: sites change every few weeks
        return [program]
    return [sys.executable, "-m", "yt_dlp"] if importlib.util.find_spec("yt_dlp") else None


def javascript_runtime() -> str:
    """The JavaScript runtime on PATH, by yt-dlp's name; empty where there is none."""
    return next((name for program, name in _RUNTIMES.items() if shutil.which(program)), "")


def youtube_lacks(command: list[str]) -> str:
    """What this machine lacks for pages of YouTube, where ``command`` starts yt-dlp; empty for nothing.

    Since late 2025 yt-dlp finds no format there without a JavaScript runtime and the scripts that ``yt-dlp[default]``
    brings. A program on PATH may have them built in: only of this Python's own module is it known.
    """
    if not javascript_runtime():
        return "a JavaScript runtime, which this machine has not: install deno or node"
    if command[0] == sys.executable and not importlib.util.find_spec("yt_dlp_ejs"):
        return "yt-dlp's scripts for JavaScript, which this machine has not: pip install 'yt-dlp[default]'"
    return ""


def why_no_page(url: str, command: list[str] | None, lacks: Callable[[list[str]], str] = youtube_lacks) -> str:
    """What this machine lacks for the page at ``url``, where ``command`` starts yt-dlp; empty for nothing."""
    if command is None:
        return f"a page, which needs yt-dlp, and that is not installed: {_REMEDY}"
    # Before it is asked: without them it says "requested format is not available", as if it were the clip.
    lacking = lacks(command) if is_youtube(url) else ""
    return lacking and f"a page of YouTube, which needs {lacking}"


class PageDownloader:
    """Satisfies the ingest loop's Downloader: pages go to yt-dlp, every other address to ``files``."""

    def __init__(
        self,
        files: FileDownloader,
        command: Callable[[], list[str] | None] = yt_dlp_command,
        lacks: Callable[[list[str]], str] = youtube_lacks,
    ) -> None:
        self._files, self._command, self._lacks = files, command, lacks
        self._hosts = Hosts()

    def fetch(self, url: str, part: Path, limits: DownloadLimits, stop: Event) -> ClipBytes:
        """Write the clip that ``url`` leads to into ``part`` and return its identity.

        Errors as those of ``files``; a transient DownloadError where a page needs yt-dlp and it is not installed.
        """
        if not is_page(url):
            return self._files.fetch(url, part, limits, stop)
        return self.fetch_page(url, part, limits, stop)

    def fetch_page(self, url: str, part: Path, limits: DownloadLimits, stop: Event) -> ClipBytes:
        """As ``fetch``, by yt-dlp whatever the address."""
        return fetch_patiently(Order(address_of(url), part, limits, stop), self._hosts, self._attempt)

    def close(self) -> None:
        """Close the connections that were kept open."""
        self._files.close()

    def _attempt(self, order: Order) -> ClipBytes:
        command = self._command()
        lacking = why_no_page(order.address.url, command, self._lacks)
        if command is None or lacking:
            raise DownloadError(lacking, permanent=False)
        # Deno is the only one that it uses without being told.
        if is_youtube(order.address.url) and (runtime := javascript_runtime()) not in ("", "deno"):
            command = [*command, "--js-runtimes", runtime]
        try:
            with order.part.open("wb") as file:
                done = run(
                    [*command, *_arguments(order)],
                    question=order.address.url.encode() + b"\n",
                    limit_s=order.limits.timeout_s + GRACE_S,
                    output=file,
                    stop=order.stop,
                    is_too_large=order.is_too_large,
                )
        except OSError as error:
            raise unwritable(order.part, error) from error
        size = size_of(order.part)
        # First: where it grew too large the program was killed, and its status says nothing.
        if size > order.limits.max_bytes:
            raise DownloadError(f"yt-dlp: larger than {order.limits.max_bytes} bytes", permanent=True)
        if done.status:
            raise _failure(done)
        if not size:
            raise DownloadError("yt-dlp: empty body", permanent=True)
        return hash_file(order.part, order.stop)


def _arguments(order: Order) -> list[str]:
    """One file as the page has it, on standard output; the address comes on standard input, no configuration counts."""
    # Of a page with several formats the best single file: to join picture and sound it would need ffmpeg, and the
    # bytes would depend on which. Trying again is ours (``downloading``), so it tries once.
    switches = ["--ignore-config", "--no-playlist", "--quiet", "--no-warnings", "--no-progress", "--no-cache-dir"]
    options = {
        "format": "best[ext=mp4]/best",
        "retries": 0,
        "extractor-retries": 0,
        "socket-timeout": order.limits.connect_timeout_s,
        "max-filesize": order.limits.max_bytes,
        "output": "-",
        "batch-file": "-",
    }
    return switches + [word for name, value in options.items() for word in (f"--{name}", str(value))]


def _failure(done: Completed) -> DownloadError | TryAgainError:
    """The failure in yt-dlp's words, without addresses: for good where they say that of the clip."""
    complaints = re.findall(r"^ERROR: (.*)$", done.complaints.decode("utf-8", "replace"), re.MULTILINE)
    text = f"ended with {done.status}" if done.status > 0 else "not done in time"
    if complaints:
        text = one_line(_ADDRESS.sub("…", complaints[-1]))
    elif done.status == _USAGE_ERROR:
        text = "it does not know an option that it is given; update it"
    reason = f"yt-dlp: {text}"
    # Its exit status is 1 for a video that was removed and for a network that is down: only its words differ.
    if _GONE.search(text) and not _MAY_PASS.search(text):
        return DownloadError(reason, permanent=True)
    # YouTube's limit holds for up to an hour: asking again makes it longer.
    return DownloadError(reason, permanent=False) if _RATE_LIMIT.search(text) else TryAgainError(reason)
