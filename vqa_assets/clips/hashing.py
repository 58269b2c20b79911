"""The identity of a clip: hash and size of its bytes. What the bytes say is not here (``containers``, ``pyav``)."""

import hashlib
import threading
from dataclasses import dataclass
from pathlib import Path

from vqa_assets.clips.work import StoppedError

HASH_CHUNK_BYTES = 1 << 18
"""Clips are hashed in pieces of this size, which stay in a core's cache; the digest does not depend on it."""


@dataclass(frozen=True)
class ClipBytes:
    """The identity of a clip's content: lower-case hexadecimal SHA-256 and size."""

    sha256: str
    size_bytes: int


def hash_file(path: Path, stop: threading.Event) -> ClipBytes:
    """SHA-256 and size of a file as read; OSError where it cannot be, StoppedError soon after ``stop`` is set."""
    # hashlib.file_digest has no place to look at ``stop``.
    digest, size, buffer = hashlib.sha256(), 0, bytearray(HASH_CHUNK_BYTES)
    window = memoryview(buffer)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            if stop.is_set():
                raise StoppedError
            digest.update(window[:count])
            size += count
    return ClipBytes(digest.hexdigest(), size)
