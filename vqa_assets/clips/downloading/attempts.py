"""One clip, tried until it is there or is given up. How one attempt is made is not here (``libcurl``, ``curl_binary``).

Whatever goes wrong, the ``.part`` file is gone when the error arrives.
"""

import errno
import random
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vqa_assets.clips.downloading.answer import WRITE_ERROR, TryAgainError
from vqa_assets.clips.downloading.hosts import Hosts
from vqa_assets.clips.downloading.limits import DownloadLimits
from vqa_assets.clips.downloading.target import Target
from vqa_assets.clips.geometry import ClipBytes
from vqa_assets.clips.work import StoppedError
from vqa_assets.errors import DownloadError, IngestError

LONGEST_BACKOFF_S = 30.0
_dice = random.SystemRandom()


@dataclass(frozen=True)
class Order:
    """What is to be fetched, into which file, within which limits, and the signal to stop."""

    target: Target
    part: Path
    limits: DownloadLimits
    stop: threading.Event


Attempt = Callable[[Order], ClipBytes]
"""Fetch once: the bytes' identity, or a permanent DownloadError, TryAgainError, StoppedError or IngestError."""


def fetch_patiently(order: Order, hosts: Hosts, attempt: Attempt) -> ClipBytes:
    """Fetch, trying again what may pass; the same errors, with DownloadError in place of the last TryAgainError."""
    try:
        return _fetch(order, hosts, attempt)
    except BaseException:
        discard(order.part)
        raise


def discard(part: Path) -> None:
    """Remove a half-written file; nothing that is not a regular file is touched."""
    with suppress(OSError):
        if part.is_file():
            part.unlink()


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
    limits, host = order.limits, order.target.host
    for tried in range(limits.retries + 1):
        try:
            return _attempt_in_slot(order, hosts, attempt)
        except TryAgainError as failure:
            hosts.keep_quiet(host, min(failure.retry_after_s, limits.retry_after_cap_s))
            if tried == limits.retries:
                _note(hosts, host, failure.unreachable)
                raise DownloadError(failure.reason, permanent=False, unreachable=failure.unreachable) from None
        _pause(order.stop, limits.backoff_s * 2**tried)
    raise ValueError(f"retries={limits.retries}, expected 0 or more")


def _attempt_in_slot(order: Order, hosts: Hosts, attempt: Attempt) -> ClipBytes:
    host = order.target.host
    with hosts.slot(host, order.limits.per_host, order.stop):
        try:
            clip = attempt(order)
        except DownloadError:
            hosts.answered(host)
            raise
    hosts.answered(host)
    return clip


def _note(hosts: Hosts, host: str, unreachable: bool) -> None:
    if unreachable:
        hosts.unanswered(host)
    else:
        hosts.answered(host)


def _pause(stop: threading.Event, seconds: float) -> None:
    if stop.wait(min(seconds * _dice.uniform(0.5, 1.5), LONGEST_BACKOFF_S)):
        raise StoppedError
