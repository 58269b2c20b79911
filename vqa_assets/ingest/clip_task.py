"""One clip, on a worker: fetch it where it is absent, hash it, probe it. Commits nothing; returns a plain record."""

import errno
import hashlib
import os
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from vqa_assets.clips.folders import NO_SUCH_NAME, stamp_of
from vqa_assets.clips.geometry import Geometry, raw_geometry
from vqa_assets.clips.hashing import ClipBytes, hash_file
from vqa_assets.clips.work import StoppedError
from vqa_assets.corpora.raw_video import RawVideo
from vqa_assets.errors import BrokenClipError, DownloadError, IngestError, TransientClipError
from vqa_assets.ingest.cache import ReadClip
from vqa_assets.ingest.naming import PART
from vqa_assets.ingest.protocols import ClipTools

_LONGEST_NAME_BYTES = 255
_IN_THE_WAY = (errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY)


class ClipState(StrEnum):
    """What became of one clip."""

    READ = "read"
    BROKEN = "broken"
    MISSING = "missing"
    FAILED = "failed"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class ClipTask:
    """One clip to read; ``url`` is empty where the clip is there already.

    ``raw`` says what the clip is where it has no container to say it, and ``codec`` what it was decoded from.
    """

    name: str
    path: Path
    url: str
    raw: RawVideo | None = None
    codec: str = ""


@dataclass(frozen=True, slots=True)
class ClipOutcome:
    """What a worker found. ``fetched_bytes`` came over the network, ``read_bytes`` were hashed.

    ``present`` is true where an unavailable clip is there, and the disk gives it to nobody; ``lasting`` is false where
    another try may find otherwise, though the clip stays as it is.
    """

    state: ClipState
    clip: ReadClip | None = None
    reason: str = ""
    unreachable: bool = False
    present: bool = False
    lasting: bool = True
    fetched_bytes: int = 0
    read_bytes: int = 0


def read_clip(task: ClipTask, tools: ClipTools) -> ClipOutcome:
    """Fetch (where ``task.url`` says so), hash and probe one clip.

    StoppedError after an interrupt; IngestError where no clip can be had. Everything else is an outcome.
    """
    if not task.url:
        return _read_present(task, tools)
    try:
        fetched = _fetch(task, tools)
    except DownloadError as error:
        state = ClipState.FAILED if error.permanent else ClipState.UNAVAILABLE
        return ClipOutcome(state, reason=error.reason, unreachable=error.unreachable)
    return _measure(task, fetched, tools, fetched_bytes=fetched.size_bytes)


def as_raw(clip: ReadClip, raw: RawVideo, codec: str) -> ReadClip:
    """The clip with the geometry that a raw clip of its size has; broken where its frames are not whole."""
    try:
        return replace(clip, geometry=raw_geometry(raw, clip.stamp.size_bytes, codec), broken="")
    except BrokenClipError as error:
        return replace(clip, geometry=None, broken=str(error))


def part_of(path: Path) -> Path:
    """Where a clip is written while it is fetched; a name too long for the suffix is shortened to its hash.

    OSError where the clip's own name is too long for any file system.
    """
    if len(os.fsencode(path.name)) > _LONGEST_NAME_BYTES:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
    name = path.name + PART
    if len(os.fsencode(name)) > _LONGEST_NAME_BYTES:
        name = hashlib.sha256(os.fsencode(path.name)).hexdigest() + PART
    return path.with_name(name)


def _fetch(task: ClipTask, tools: ClipTools) -> ClipBytes:
    try:
        part = part_of(task.path)
        part.parent.mkdir(parents=True, exist_ok=True)
        if task.path.is_dir():
            raise DownloadError("a folder stands in the clip's place", permanent=False)
        fetched = tools.downloader.fetch(task.url, part, tools.limits, tools.stop)
        part.replace(task.path)
    except OSError as error:
        raise _not_kept(task.path, error) from error
    return fetched


def _not_kept(path: Path, error: OSError) -> DownloadError | IngestError:
    """The failure for a clip that cannot be put in its place: its own, or the disk's and so the whole run's."""
    told = error.strerror or str(error)
    if error.errno in NO_SUCH_NAME:
        return DownloadError(f"no file can have this name: {told}", permanent=True)
    if error.errno in _IN_THE_WAY:
        return DownloadError(f"something stands in the clip's place: {told}", permanent=False)
    return IngestError(
        f"cannot write {path}",
        found=told,
        next_step="free space on the corpus's disk or mend its permissions, then run again: finished clips are kept",
    )


def _read_present(task: ClipTask, tools: ClipTools) -> ClipOutcome:
    try:
        found = hash_file(task.path, tools.stop)
    except OSError as error:
        return unreadable(error)
    return _measure(task, found, tools)


def unreadable(error: OSError) -> ClipOutcome:
    """What the disk refuses says nothing about the clip."""
    present, told = not isinstance(error, FileNotFoundError), error.strerror or os.strerror(errno.EIO)
    what = "the clip is there and cannot be read" if present else "cannot be read"
    return ClipOutcome(ClipState.UNAVAILABLE, reason=f"{what}: {told}", present=present)


def _measure(task: ClipTask, content: ClipBytes, tools: ClipTools, fetched_bytes: int = 0) -> ClipOutcome:
    try:
        found = _Probed() if task.raw else _probe(task.path, tools)
        stamp = stamp_of(task.path)
    except OSError as error:
        return unreadable(error)
    if stamp is None or stamp.size_bytes != content.size_bytes:
        return ClipOutcome(ClipState.UNAVAILABLE, reason="changed while it was read", present=stamp is not None)
    clip = ReadClip(stamp, content.sha256, found.geometry, found.broken)
    clip = as_raw(clip, task.raw, task.codec) if task.raw else clip
    return ClipOutcome(
        ClipState.BROKEN if clip.broken else ClipState.READ,
        clip,
        reason=clip.broken,
        lasting=found.lasting,
        fetched_bytes=fetched_bytes,
        read_bytes=content.size_bytes,
    )


@dataclass(frozen=True, slots=True)
class _Probed:
    """A clip's geometry, or why it has none, and whether that is so for good."""

    geometry: Geometry | None = None
    broken: str = ""
    lasting: bool = True


def _probe(path: Path, tools: ClipTools) -> _Probed:
    try:
        with tools.probes:
            if tools.stop.is_set():
                raise StoppedError
            return _Probed(tools.prober.probe(path, tools.probe_timeout_s))
    except BrokenClipError as error:
        return _Probed(broken=str(error))
    except TransientClipError as error:
        return _Probed(broken=str(error), lasting=False)
