"""Addresses: which are accepted, how they are quoted, and where their credentials go. Opens no connection."""

import re
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv6Address
from urllib.parse import SplitResult, quote, unquote, urlsplit

from vqa_assets.errors import DownloadError

MAX_REDIRECTS = 10
SCHEMES = ("http", "https")
_LEGAL_IN_PATH = "!$&'()*+,/:;=?@~%"
_MALFORMED = "curl-rc=3: URL using bad/illegal format or missing URL"
_STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True)
class Target:
    """Where to fetch from: the quoted URL without credentials, the host with its port, and the credentials if any.

    Credentials are kept apart so that no message of a transfer can hold them.
    """

    url: str
    host: str
    credentials: tuple[str, str] | None = field(default=None, repr=False)


def target_of(url: str) -> Target:
    """The target that a URL names.

    A permanent DownloadError, before any network, where it is not http(s) or malformed. The fragment is dropped, as no
    client sends it; a name that holds ``#`` must come quoted.
    """
    try:
        parts = urlsplit(url.strip())
        if parts.scheme not in SCHEMES:
            raise DownloadError(f"curl-rc=1: scheme {parts.scheme!r}, expected http or https", permanent=True)
        host = _ascii_host(parts.hostname or "") + (f":{parts.port}" if parts.port else "")
        return Target(f"{parts.scheme}://{host}{_rest(parts)}", host, _credentials(parts))
    except ValueError:
        raise DownloadError(_MALFORMED, permanent=True) from None


def quoted_url(text: str) -> str:
    """A URL's path or query with its illegal characters quoted as UTF-8, and nothing else (RFC 3986).

    What is quoted already stays; a percent sign that quotes nothing is quoted itself.
    """
    return quote(_STRAY_PERCENT.sub("%25", text), safe=_LEGAL_IN_PATH, errors="surrogateescape")


@lru_cache(maxsize=1024)
def _ascii_host(name: str) -> str:
    """The host as libcurl wants it; international names by IDNA. ValueError where no host can be called so."""
    if ":" in name:
        return f"[{IPv6Address(name.partition('%')[0])}]"
    ascii_name = name.encode("idna").decode()
    if not re.fullmatch(r"[A-Za-z0-9._~-]+", ascii_name):
        raise ValueError(name)
    return ascii_name


def _rest(parts: SplitResult) -> str:
    """Path and query, quoted; ValueError where they are no text."""
    return (quoted_url(parts.path) or "/") + (f"?{quoted_url(parts.query)}" if parts.query else "")


def _credentials(parts: SplitResult) -> tuple[str, str] | None:
    """User and password, unquoted; ValueError where they hold what no header may hold."""
    if parts.username is None:
        return None
    user, password = unquote(parts.username), unquote(parts.password or "")
    if not (user + password).isprintable():
        raise ValueError("control characters")
    return user, password
