"""The identity of a file's bytes. What the bytes say is not here (``containers``, ``pyav``)."""

import hashlib
import threading
from pathlib import Path

from vqa_assets.clips.geometry import HASH_CHUNK_BYTES, ClipBytes
from vqa_assets.clips.work import StoppedError


def hash_file(path: Path, stop: threading.Event) -> ClipBytes:
    """SHA-256 and size of a file as read; OSError where it cannot be, StoppedError soon after ``stop`` is set."""
    digest, size, buffer = hashlib.sha256(), 0, bytearray(HASH_CHUNK_BYTES)
    window = memoryview(buffer)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            if stop.is_set():
                raise StoppedError
            digest.update(window[:count])
            size += count
    return ClipBytes(digest.hexdigest(), size)
