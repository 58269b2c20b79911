"""What a server says of a file before its first byte: whether it gives it, and how large it is. Nothing is kept."""

import threading

from vqa_assets.clips.downloading import NO_TOKEN, Answer, DownloadLimits, TokenSite, TryAgainError, address_of, judge
from vqa_assets.clips.libcurl import new_handle
from vqa_assets.clips.work import StoppedError
from vqa_assets.errors import DownloadError

LONGEST_S = 30.0
"""Longest time for one question."""
_CUT_OFF = 23  # libcurl's code for a write callback that wants no more
_ABORT = 0


def size_at(url: str, stop: threading.Event, token_site: TokenSite = NO_TOKEN) -> int | None:
    """The size in bytes of the file at an address, as its server announces it; None where it does not.

    Asked once, by a GET that ends with the headers: many servers give files and know no HEAD. ``token_site`` is shown
    its token. DownloadError as for a download, StoppedError soon after ``stop`` is set.
    """
    import pycurl

    address, limits = token_site.known_at(address_of(url)), DownloadLimits()
    # Of an encoded body the length would not be the file's. The other one goes to no host that is redirected to.
    headers = ["Accept-Encoding: identity", *([f"Authorization: Bearer {address.bearer}"] if address.bearer else [])]
    handle = new_handle(None)
    began = False

    def begin(_piece: bytes) -> int:
        nonlocal began
        began = True
        return _ABORT

    for option, value in (
        (pycurl.URL, address.url),
        (pycurl.HTTPHEADER, headers),
        (pycurl.TIMEOUT_MS, round(LONGEST_S * 1000)),
        (pycurl.CONNECTTIMEOUT_MS, round(limits.connect_timeout_s * 1000)),
        (pycurl.MAXFILESIZE_LARGE, limits.max_bytes),
        (pycurl.WRITEFUNCTION, begin),
        (pycurl.NOPROGRESS, 0),
        (pycurl.XFERINFOFUNCTION, lambda *_sizes: int(stop.is_set())),
    ):
        handle.setopt(option, value)
    if address.credentials:
        handle.setopt(pycurl.USERPWD, ":".join(address.credentials).encode())
    code, text = 0, ""
    try:
        handle.perform()
    except pycurl.error as error:
        code, text = error.args[0], handle.errstr() or str(error.args[-1])
    if code and stop.is_set():
        raise StoppedError
    size = int(handle.getinfo(pycurl.CONTENT_LENGTH_DOWNLOAD_T))
    answer = Answer(
        rc=0 if began and code == _CUT_OFF else code,
        text=text,
        status=handle.getinfo(pycurl.RESPONSE_CODE),
        size_bytes=int(began),
        asked=handle.getinfo(pycurl.REQUEST_SIZE) > 0,
    )
    handle.close()
    try:
        judge(answer, address.if_refused)
    except TryAgainError as failure:
        raise DownloadError(failure.reason, permanent=False, unreachable=failure.unreachable) from None
    return size if size >= 0 else None
