"""How long, how much and how often: the limits of a download. How they are kept is in the other modules here."""

from dataclasses import dataclass

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
