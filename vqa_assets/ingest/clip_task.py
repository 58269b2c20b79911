"""What a worker does: fetch a clip where it is absent, hash it, probe it. Tasks and outcomes are plain records.

What was fetched and is no whole video is the server's fault until three runs have fetched the same container: it is not
kept, and no clip is called broken for it. What a person put in a clip's place is read as it is, and never deleted.
What the machine stands in the way of (a disk, memory, descriptors) is tried twice, and says nothing about the clip.
A clip of an object store is brought to this process's scratch to be read, or put there once it was fetched and read.
Nothing is committed here. Which clips need a worker, and what becomes of outcomes, is in ``gather``.
"""

import errno
import hashlib
import os
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from vqa_assets.clips.caps import ClipCaps, ClipSize
from vqa_assets.clips.containers import HEAD_BYTES, begins_as_container, kind_of_text
from vqa_assets.clips.downloading import TOO_LARGE, DownloadLimits, pause_s, told_address
from vqa_assets.clips.elsewhere import run_here
from vqa_assets.clips.folders import (
    NO_SUCH_NAME,
    ClipPlace,
    FileStamp,
    StoredClip,
    is_lfs_pointer,
    stamp_of,
    why_no_key,
)
from vqa_assets.clips.geometry import Geometry, raw_geometry
from vqa_assets.clips.hashing import CHANGED, ClipBytes, hash_file, of_steady_files
from vqa_assets.clips.scratch import clips_at_hand, scratch_error, scratch_of, too_large_words
from vqa_assets.clips.stores import open_store
from vqa_assets.clips.trouble import Deaths, tried_again
from vqa_assets.clips.work import StoppedError
from vqa_assets.corpora.raw_video import RawVideo
from vqa_assets.errors import (
    BrokenClipError,
    ChildDiedError,
    DownloadError,
    IngestError,
    TooLargeError,
    TransientClipError,
)
from vqa_assets.ingest.cache import ReadClip
from vqa_assets.ingest.layout import PART
from vqa_assets.ingest.tools import ClipTools, OpenTools, open_tools
from vqa_assets.tables.files import sync_file

_LONGEST_NAME_BYTES = 255
_IN_THE_WAY = (errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY)
RUNS_UNTIL_BROKEN = 3
"""So many runs in a row must fetch the same bytes of a container until they, and not the server, are to blame."""
NO_WHOLE_VIDEO = "no whole video came: "
"""How the reason begins where a body arrived and was not kept."""


class ClipState(StrEnum):
    """How it ended with one clip: row, broken clip, over a cap, there and not readable this time, neither clip nor URL,
    lost for good, lost for this time."""

    READ = "read"
    BROKEN = "broken"
    TOO_LARGE = "too large"
    UNPROBED = "unprobed"
    MISSING = "missing"
    FAILED = "failed"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class ClipSource:
    """One of a clip's addresses, the template that made it, and the name and place of what comes from there."""

    url: str
    template: str
    name: str
    path: ClipPlace


@dataclass(frozen=True, slots=True)
class ClipTask:
    """One clip to read; ``url`` is empty where the clip is there already.

    ``sources``, where there are any, are tried one after another instead of ``url``.
    ``raw`` says what the clip is where it has no container to say it, and ``codec`` what it was decoded from.
    ``refused_sha256`` is of the container that the last run fetched and did not keep, ``refused_runs`` the number of
    runs in a row that did.
    ``cut_from`` is the size in bytes of the clip that an earlier run read, where its file is shorter by now: if that is
    no whole clip, ``fetching`` is the task that brings it again, where it has an address. ``deaths`` are those that
    earlier runs saw over the clip.
    """

    name: str
    path: ClipPlace
    url: str
    raw: RawVideo | None = None
    codec: str = ""
    refused_sha256: str = ""
    refused_runs: int = 0
    sources: tuple[ClipSource, ...] = ()
    cut_from: int = 0
    fetching: "ClipTask | None" = None
    deaths: Deaths | None = None


@dataclass(frozen=True, slots=True)
class ClipLimits:
    """What bounds the work on each clip of a run: its download, the seconds of its probe, what may be decoded."""

    download: DownloadLimits
    probe_timeout_s: float
    caps: ClipCaps = field(default_factory=ClipCaps)


@dataclass(frozen=True, slots=True)
class ClipOutcome:
    """What became of one clip. ``fetched_bytes`` came over the network, ``read_bytes`` were hashed.

    ``present`` is true where a clip is there that gives no row now, so that its earlier row is never pruned.
    ``address`` is where a clip failed for good (as ``told_addresses`` has it); ``refused_sha256``, ``refused_runs`` and
    ``deaths`` are for the next run's task. ``source`` is the one of several that the clip came from. ``fetched_to`` is
    where a fetched clip lies on a disk: its bytes are there, its name in the folder is the coordinator's to sync.
    """

    state: ClipState
    clip: ReadClip | None = None
    reason: str = ""
    unreachable: bool = False
    present: bool = False
    fetched_bytes: int = 0
    read_bytes: int = 0
    address: str = ""
    refused_sha256: str = ""
    refused_runs: int = 0
    source: ClipSource | None = None
    fetched_to: Path | None = None
    deaths: Deaths | None = None


def told_addresses(urls: Iterable[str]) -> str:
    """Addresses as the progress file keeps them, in whatever order they were asked."""
    return " ".join(sorted(map(told_address, urls)))


def read_clips(tools: ClipTools, limits: ClipLimits, tasks: Sequence[ClipTask]) -> list[ClipOutcome | Exception]:
    """Read a chunk of clips, on whatever thread or process an executor has.

    One outcome per task in their order. What ends the whole run (StoppedError after an interrupt, IngestError where no
    clip can be fetched) stands at the end, so that the outcomes before it are not lost.
    """
    opened = open_tools(tools)
    results: list[ClipOutcome | Exception] = []
    for task in tasks:
        try:
            results.append(read_clip(task, limits, opened))
        except Exception as error:  # raised again by the coordinator, once it has kept the others
            return [*results, error]
    return results


def read_clip(task: ClipTask, limits: ClipLimits, tools: OpenTools) -> ClipOutcome:
    """Fetch (where ``task.url`` says so), hash and probe one clip.

    StoppedError after an interrupt; IngestError where no clip can be fetched. Everything else is an outcome.
    """
    if tools.stop.is_set():
        raise StoppedError
    if not task.url:
        outcome = _read_present(task, limits, tools)
        if not (task.cut_from and outcome.state is ClipState.BROKEN):
            return outcome
        if task.fetching is None:
            # What an earlier run read of it stands: bytes were lost, and nobody replaced the clip by another.
            reason = (
                f"cut to {outcome.read_bytes} of the {task.cut_from} bytes that an earlier run read: stage it again"
            )
            return ClipOutcome(ClipState.UNAVAILABLE, reason=reason, present=True)
        task = task.fetching
    return _fetch_from_any(task, limits, tools) if task.sources else _fetch_in_words(task, limits, tools)


def _read_present(task: ClipTask, limits: ClipLimits, tools: OpenTools) -> ClipOutcome:
    """Hash and probe a clip that is there: one state of the file, or a copy under way, which the next run reads."""
    path = task.path
    if isinstance(path, StoredClip):
        return _read_stored(task, path, limits, tools)

    def read() -> ClipOutcome:
        return of_steady_files(
            lambda hashed: _measure(task, path, hashed[0].content, limits, tools), [path], tools.stop
        )

    try:
        return tried_again(read, tools.stop.wait)
    except TransientClipError:
        return ClipOutcome(ClipState.UNPROBED, reason=CHANGED, present=True)
    except OSError as error:
        return unreadable(error)


def _read_stored(task: ClipTask, clip: StoredClip, limits: ClipLimits, tools: OpenTools) -> ClipOutcome:
    """Bring an object, hash and probe it; its stamp is that of the state that was brought."""
    try:
        with clips_at_hand([clip], tools.stop, keep=False) as at_hand:
            file = at_hand[clip]
            stamp = stamp_of(file.path)
            if stamp is not None and is_lfs_pointer(file.path, stamp):
                return ClipOutcome(ClipState.MISSING, reason="a Git-LFS pointer; put the clip itself there")
            return _with_stamp(_measure(task, file.path, file.brought.content, limits, tools), file.brought.stamp)
    except TransientClipError as error:
        return ClipOutcome(ClipState.UNPROBED, reason=str(error), present=True)
    except OSError as error:  # it was removed since the listing, or cannot be read where it was brought to
        return unreadable(error)


def _with_stamp(outcome: ClipOutcome, stamp: FileStamp) -> ClipOutcome:
    return replace(outcome, clip=replace(outcome.clip, stamp=stamp)) if outcome.clip else outcome


def _fetch_in_words(task: ClipTask, limits: ClipLimits, tools: OpenTools) -> ClipOutcome:
    try:
        return _fetch_until_whole(task, limits, tools)
    except DownloadError as error:
        return outcome_of_error(error, task.url)


def _fetch_from_any(task: ClipTask, limits: ClipLimits, tools: OpenTools) -> ClipOutcome:
    """Fetch a clip from the first of its sources that has it; it failed for good where each of them says so."""
    outcomes: list[ClipOutcome] = []
    for source in task.sources:
        one = replace(task, url=source.url, path=source.path, sources=())
        outcomes.append(_fetch_in_words(one, limits, tools))
        came = outcomes[-1].clip is not None or outcomes[-1].state is ClipState.UNPROBED
        if came or outcomes[-1].unreachable:  # all of them lie on one server
            break
    fetched_bytes = sum(outcome.fetched_bytes for outcome in outcomes)
    last = outcomes[-1]
    if last.clip is not None:
        return replace(last, fetched_bytes=fetched_bytes, source=task.sources[len(outcomes) - 1])
    if last.state is ClipState.UNPROBED:
        return replace(last, fetched_bytes=fetched_bytes)
    return replace(outcome_of_none(task, outcomes), fetched_bytes=fetched_bytes)


def outcome_of_none(task: ClipTask, outcomes: Sequence[ClipOutcome]) -> ClipOutcome:
    """What a clip comes to that none of its sources gave, by what each that was asked came to."""
    passing = [outcome for outcome in outcomes if outcome.state is not ClipState.FAILED]
    if not passing:
        counted = Counter(outcome.reason for outcome in outcomes).items()
        reason = "; ".join(f"{reason} (at {count} addresses)" if count > 1 else reason for reason, count in counted)
        told = told_addresses(source.url for source in task.sources)
        return ClipOutcome(ClipState.FAILED, reason=reason, address=told)
    # What may be counted until it is broken goes before what is only told.
    chosen = next((outcome for outcome in passing if outcome.refused_sha256), passing[0])
    return replace(chosen, unreachable=all(outcome.unreachable for outcome in outcomes))


def outcome_of_error(error: DownloadError, url: str) -> ClipOutcome:
    """What a clip comes to that its one address did not give."""
    if error.permanent:
        return ClipOutcome(ClipState.FAILED, reason=error.reason, address=told_addresses([url]))
    return ClipOutcome(ClipState.UNAVAILABLE, reason=error.reason, unreachable=error.unreachable)


def died_over(task: ClipTask, death: ChildDiedError) -> ClipOutcome:
    """What a clip comes to over which a worker died, alone with it and twice: broken by crashes, else tried again.

    A killed one counts as a killed probe does. Only the coordinator calls it: the clip is hashed here.
    """
    try:
        if isinstance(task.path, StoredClip):
            with clips_at_hand([task.path], keep=False) as at_hand:
                brought = at_hand[task.path].brought
            stamp, sha256 = brought.stamp, brought.content.sha256
        elif (found := stamp_of(task.path)) is not None:
            stamp, sha256 = found, hash_file(task.path, threading.Event()).sha256
        else:
            return ClipOutcome(ClipState.UNAVAILABLE, reason=str(death))
    except FileNotFoundError:
        return ClipOutcome(ClipState.UNAVAILABLE, reason=str(death))
    except TransientClipError as error:
        return ClipOutcome(ClipState.UNPROBED, reason=str(error), present=True)
    except OSError as error:
        return unreadable(error)
    known = task.deaths if task.deaths and task.deaths.sha256 == sha256 else Deaths(sha256)
    deaths = known.and_one(death)
    if reason := str(death) if death.crashed else deaths.verdict():
        clip = ReadClip(stamp, sha256, None, reason, None)
        return ClipOutcome(ClipState.BROKEN, clip, reason, read_bytes=stamp.size_bytes, deaths=deaths)
    return ClipOutcome(ClipState.UNPROBED, reason=str(death), present=True, deaths=deaths)


def as_raw(clip: ReadClip, raw: RawVideo, codec: str) -> ReadClip:
    """The clip with the geometry that a raw clip of its size has; broken where its frames are not whole."""
    try:
        return replace(clip, geometry=raw_geometry(raw, clip.stamp.size_bytes, codec), broken="")
    except BrokenClipError as error:
        return replace(clip, geometry=None, broken=str(error))


def unreadable(error: OSError) -> ClipOutcome:
    """What the disk refuses says nothing about the clip."""
    present, reason = not isinstance(error, FileNotFoundError), error.strerror or os.strerror(errno.EIO)
    what = "the clip is there and cannot be read" if present else "cannot be read"
    return ClipOutcome(ClipState.UNPROBED, reason=f"{what}: {reason}", present=present)


def part_of(path: Path) -> Path:
    """Where a clip is written while it is fetched; a name too long for the suffix is shortened to its hash.

    On a worker elsewhere the run has a part in the name: such a worker may outlive a run that was killed, and the next
    one must not find its own file in that one's hands.

    OSError where the clip's own name is too long for any file system.
    """
    if len(os.fsencode(path.name)) > _LONGEST_NAME_BYTES:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
    here = run_here()
    suffix = f".{here.name[:8]}{PART}" if here else PART
    name = path.name + suffix
    if len(os.fsencode(name)) > _LONGEST_NAME_BYTES:
        name = hashlib.sha256(os.fsencode(path.name)).hexdigest() + suffix
    return path.with_name(name)


def _fetch_until_whole(task: ClipTask, limits: ClipLimits, tools: OpenTools) -> ClipOutcome:
    """Fetch and read a clip, again where no whole video came; errors as ``_fetch``'s, StoppedError after an interrupt.

    A transfer that failed has had its own retries (``clips.downloading``): this is about those that succeeded.
    """
    fetched_bytes, retries = 0, limits.download.retries
    for tried in range(retries + 1):
        outcome = _fetch(task, limits, tools)
        fetched_bytes += outcome.fetched_bytes
        if not outcome.reason.startswith(NO_WHOLE_VIDEO):
            break
        if tried < retries and tools.stop.wait(pause_s(limits.download, tried)):
            raise StoppedError
    return replace(outcome, fetched_bytes=fetched_bytes)


def _fetch(task: ClipTask, limits: ClipLimits, tools: OpenTools) -> ClipOutcome:
    """Fetch a clip, read it, and put it in its place if it is to be kept.

    DownloadError for what is this clip's fault, IngestError for the disk's.
    """
    path = task.path
    if isinstance(path, StoredClip):
        return _fetch_into_store(task, path, limits, tools)
    try:
        part = part_of(path)
        part.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise DownloadError("a folder stands in the clip's place", permanent=False)
        content = tools.downloader.fetch(task.url, part, limits.download, tools.stop)
        try:
            # Before it has the clip's name: after a kill in between nobody could tell it from what a person staged.
            outcome = _measure_fetched(task, part, content, limits, tools)
            if outcome.clip is None:
                return outcome
            sync_file(part)  # or a power cut may leave the name, and the cache's word for it, without the bytes
            part.replace(path)
            return replace(outcome, fetched_to=path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in NO_SUCH_NAME:
            raise DownloadError(f"no file can have this name: {reason}", permanent=True) from error
        if error.errno in _IN_THE_WAY:
            raise DownloadError(f"something stands in the clip's place: {reason}", permanent=False) from error
        # A full or read-only disk would refuse the next clip as well: going on would fetch the corpus for nothing.
        raise IngestError(
            f"cannot write {task.path}",
            found=reason,
            next_step="free space on the corpus's disk or mend its permissions, then run again: finished clips are "
            "kept",
        ) from error


def _fetch_into_store(task: ClipTask, clip: StoredClip, limits: ClipLimits, tools: OpenTools) -> ClipOutcome:
    """Fetch a clip into the scratch, read it there, and make it an object if it is to be kept; errors as ``_fetch``'s.

    ObjectStoreError where the store does not take it, or the scratch has no room on its disk.
    """
    if why := why_no_key(clip.src):
        raise DownloadError(f"no object can have this name: {why}", permanent=True)
    scratch = scratch_of(clip.store)
    within = replace(limits.download, max_bytes=min(limits.download.max_bytes, scratch.limit_bytes))
    with scratch.room(clip.src, clip.size_bytes, tools.stop) as part:
        try:
            content = tools.downloader.fetch(task.url, part.path, within, tools.stop)
        except (IngestError, OSError) as error:  # the disk's: the next clip would not get there either
            raise scratch_error(
                scratch.folder, error.found if isinstance(error, IngestError) else str(error)
            ) from error
        except DownloadError as error:
            if error.permanent and f"rc={TOO_LARGE}" in error.reason and within.max_bytes < limits.download.max_bytes:
                reason = too_large_words(f"{within.max_bytes + 1} or more", within.max_bytes)
                raise DownloadError(reason, permanent=False) from None
            raise
        part.holds(content.size_bytes)
        outcome = _measure_fetched(task, part.path, content, limits, tools)
        if outcome.clip is None:
            return outcome
        store = open_store(clip.store.url)
        # In place of another only where that lost its end.
        stamp = store.put(clip.src, part.path, tools.stop, replace=bool(task.cut_from))
    if stamp is not None:
        return _with_stamp(outcome, stamp)
    # Another run was quicker: what it put there is the clip.
    return replace(_read_stored(task, clip, limits, tools), fetched_bytes=content.size_bytes)


def _measure_fetched(
    task: ClipTask, part: Path, content: ClipBytes, limits: ClipLimits, tools: OpenTools
) -> ClipOutcome:
    """What a clip that just came is; without ``clip`` where it is not to be kept."""
    outcome = _measure(task, part, content, limits, tools)
    if outcome.state is ClipState.BROKEN and outcome.deaths is None:
        outcome = _doubt(task, part, outcome)
    return replace(outcome, fetched_bytes=content.size_bytes)


def _doubt(task: ClipTask, part: Path, broken: ClipOutcome) -> ClipOutcome:
    """What a fetched clip that no probe accepts comes to: broken if it came so often enough, else unavailable."""
    with part.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if kind := kind_of_text(head):  # an error in words, however often it comes
        return ClipOutcome(ClipState.UNAVAILABLE, reason=f"{NO_WHOLE_VIDEO}the server answered {kind}")
    sha256 = broken.clip.sha256 if broken.clip else ""
    runs = task.refused_runs + 1 if sha256 == task.refused_sha256 else 1
    outcome = ClipOutcome(ClipState.UNAVAILABLE, reason=f"{NO_WHOLE_VIDEO}{broken.reason}")
    if not (task.raw or begins_as_container(head)):
        return outcome
    return broken if runs >= RUNS_UNTIL_BROKEN else replace(outcome, refused_sha256=sha256, refused_runs=runs)


def _measure(task: ClipTask, path: Path, content: ClipBytes, limits: ClipLimits, tools: OpenTools) -> ClipOutcome:
    """Probe a clip whose bytes are known, at ``path``."""
    geometry, header, broken, deaths = None, None, "", None
    try:
        try:
            geometry = tried_again(lambda: _probed(task, path, limits, tools), tools.stop.wait)
        except BrokenClipError as error:
            broken = str(error)
        except TooLargeError as error:
            if error.header is None:
                return ClipOutcome(ClipState.TOO_LARGE, reason=str(error), present=True)
            header = Geometry(*error.header, "", "")
        except ChildDiedError as death:
            known = task.deaths if task.deaths and task.deaths.sha256 == content.sha256 else Deaths(content.sha256)
            deaths = known.and_one(death)
            broken = deaths.verdict()
            if not broken:
                return ClipOutcome(ClipState.UNPROBED, reason=str(death), present=True, deaths=deaths)
        except TransientClipError as error:
            return ClipOutcome(ClipState.UNPROBED, reason=str(error), present=True)
        stamp = stamp_of(path)
    except OSError as error:
        return unreadable(error)
    # The hash and the probe must be of the same bytes, or the row would be of neither.
    if stamp is None or stamp.size_bytes != content.size_bytes:
        return ClipOutcome(ClipState.UNPROBED, reason=CHANGED, present=stamp is not None)
    clip = ReadClip(stamp, content.sha256, geometry, broken, header)
    clip = as_raw(clip, task.raw, task.codec) if task.raw else clip
    return replace(settled(clip, limits.caps), read_bytes=content.size_bytes, deaths=deaths)


def settled(clip: ReadClip, caps: ClipCaps) -> ClipOutcome:
    """What a clip that was read comes to, now or in an earlier run, under the caps of this one."""
    size = clip.geometry or clip.header
    if clip.broken or size is None:
        return ClipOutcome(ClipState.BROKEN, clip, clip.broken)
    if reason := caps.why_too_large(ClipSize.of(size)):
        return ClipOutcome(ClipState.TOO_LARGE, clip, f"too large: {reason}", present=True)
    return ClipOutcome(ClipState.READ, clip)


def known_outcome(clip: ReadClip, caps: ClipCaps) -> ClipOutcome | None:
    """What a clip that an earlier run read comes to under these caps; None where it must be read again.

    Of a clip that was over a cap, and is no more, nothing but its header is known.
    """
    outcome = settled(clip, caps)
    return None if outcome.state is ClipState.READ and clip.geometry is None else outcome


def _probed(task: ClipTask, path: Path, limits: ClipLimits, tools: OpenTools) -> Geometry | None:
    """What the probe says; None for a raw clip, which has no header: its size says what it is."""
    if task.raw is not None:
        return None
    with tools.probes:
        if tools.stop.is_set():  # while it waited for its turn
            raise StoppedError
        return tools.prober.probe(path, limits.probe_timeout_s)
