"""The identity of a clip: hash and size of its bytes, and whether the file stayed the same while it was read.

What the bytes say is not here (``containers``, ``pyav``).
"""

import errno
import hashlib
import os
import stat
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from vqa_assets.clips.folders import FileStamp
from vqa_assets.clips.work import StoppedError
from vqa_assets.errors import ClipError, TransientClipError
from vqa_assets.tables.files import file_identity

HASH_CHUNK_BYTES = 1 << 18
"""Clips are hashed in pieces of this size, which stay in a core's cache; the digest does not depend on it."""
TIMES_READ = 3
"""A file that somebody is still writing is read so often in all: a copy that takes longer is the next run's."""
CHANGED = "changed while it was read"
Result = TypeVar("Result")


@dataclass(frozen=True)
class ClipBytes:
    """The identity of a clip's content: lower-case hexadecimal SHA-256 and size."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class StampedHash:
    """What a clip's bytes hashed to when its file had this stamp."""

    stamp: FileStamp
    sha256: str


@dataclass(frozen=True, slots=True)
class HashedFile:
    """A file's content, and which file it was, in which state, when its first byte was read."""

    content: ClipBytes
    identity: tuple[int, int, int, int]

    def stands_at(self, path: Path) -> bool:
        """Whether the same file lies there, in the same state; OSError where none can be looked at."""
        return file_identity(path.stat()) == self.identity


def hash_file(path: Path, stop: threading.Event) -> ClipBytes:
    """SHA-256 and size of a file as read; OSError where it cannot be, StoppedError soon after ``stop`` is set."""
    return hash_as_opened(path, stop).content


def hash_as_opened(path: Path, stop: threading.Event, known: StampedHash | None = None) -> HashedFile:
    """As ``hash_file``, with the file's identity; a hash that is known of its stamp stands, and nothing is read."""
    # hashlib.file_digest has no place to look at ``stop``.
    digest, size, buffer = hashlib.sha256(), 0, bytearray(HASH_CHUNK_BYTES)
    window = memoryview(buffer)
    with open(path, "rb", buffering=0, opener=_without_waiting) as file:
        status = os.fstat(file.fileno())
        identity = file_identity(status)
        if known is not None and known.stamp == FileStamp(status.st_size, status.st_mtime_ns):
            return HashedFile(ClipBytes(known.sha256, status.st_size), identity)
        while count := file.readinto(buffer):
            if stop.is_set():
                raise StoppedError
            digest.update(window[:count])
            size += count
    return HashedFile(ClipBytes(digest.hexdigest(), size), identity)


def _without_waiting(path: str, flags: int) -> int:
    """Opens a regular file; a pipe or device, whose end nobody may ever see, is an OSError."""
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.ENXIO, "not a regular file", path)


def of_steady_files(
    read: Callable[[Sequence[HashedFile]], Result],
    paths: Sequence[Path],
    stop: threading.Event,
    known: Mapping[Path, StampedHash] | None = None,
) -> Result:
    """What ``read`` makes of files that stay as they are while it reads them; it is given what they hash to.

    Files that change meanwhile are hashed and read again, whatever was made of them, and after ``TIMES_READ`` it is a
    TransientClipError. OSError where a file cannot be read; ``known`` are hashes that stand for a stamp.
    """
    for _ in range(TIMES_READ):
        hashed = [hash_as_opened(path, stop, (known or {}).get(path)) for path in paths]
        failure: ClipError | None = None
        try:
            result = read(hashed)
        except ClipError as error:  # of these bytes, if they are these still
            failure = error
        if all(one.stands_at(path) for path, one in zip(paths, hashed, strict=True)):
            if failure is not None:
                raise failure
            return result
    raise TransientClipError(CHANGED, expected="a file at rest", next_step="run again when its copy is done")
