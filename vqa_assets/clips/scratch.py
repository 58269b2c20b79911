"""The scratch: where clips of an object store lie while this process reads them, never more than is allowed.

It is a folder below the system's temporary one (``TMPDIR``), with a lock as long as its process lives: what a killed
process left is removed by the next. What is put into a store and how is in ``stores``.
"""

import atexit
import errno
import fcntl
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from vqa_assets.clips.elsewhere import run_here
from vqa_assets.clips.folders import ClipStore, StoredClip
from vqa_assets.clips.stores import BroughtObject, open_store
from vqa_assets.clips.work import StoppedError
from vqa_assets.errors import ObjectStoreError, TransientClipError

PREFIX = "vqa-scratch-"
_LOCK = "lock"
_LONGEST_NAME_BYTES = 255
_LOOK_AROUND_S = 0.2
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO)


@dataclass(frozen=True)
class ClipAtHand:
    """A clip of a store that lies here: its file, and what was brought."""

    path: Path
    brought: BroughtObject


@dataclass(eq=False)
class _Entry:
    """A clip that is here, or on its way: how many read it, and what it takes."""

    size_bytes: int
    users: int = 1
    at_hand: ClipAtHand | None = None
    done: threading.Event = field(default_factory=threading.Event)


@dataclass(eq=False)
class FetchedPart:
    """A file that is fetched into the scratch, and the room that is held for it."""

    path: Path
    scratch: "Scratch"
    size_bytes: int = 0

    def holds(self, size_bytes: int) -> None:
        """Correct the room once the size is known."""
        with self.scratch.changed:
            self.scratch.taken_bytes += size_bytes - self.size_bytes
            self.size_bytes = size_bytes
            self.scratch.changed.notify_all()


class Scratch:
    """A folder of this process for at most ``limit_bytes`` of clips.

    What nobody reads stays until its room is needed: a reference is brought once for all its encodes.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes, self.taken_bytes = limit_bytes, 0
        self.changed = threading.Condition()
        self._entries: dict[StoredClip, _Entry] = {}  # those that were read last are last
        self._count = 0
        with _full_in_words(place := _place()):
            if not place.is_dir():
                raise scratch_error(place, "there is no such folder")
            _remove_abandoned()
            self.folder, self._lock = _locked_folder()

    @contextmanager
    def holding(
        self, clips: Sequence[StoredClip], stop: threading.Event, *, keep: bool = True
    ) -> Iterator[Mapping[StoredClip, ClipAtHand]]:
        """These clips as files, together or not at all; with ``keep`` they stay while there is room.

        FileNotFoundError where one is not there, TransientClipError where one is larger than the scratch or does not
        come whole, StoppedError soon after ``stop`` is set.
        """
        wanted = dict.fromkeys(clips)
        mine = self._entered(wanted, stop)
        try:
            for clip, is_mine in mine.items():
                if is_mine:
                    self._bring(clip, stop)
            yield {clip: self._arrived(clip, stop) for clip in wanted}
        finally:
            with self.changed:
                for clip, is_mine in mine.items():
                    if is_mine:  # also where its turn did not come, since another one failed: somebody may wait for it
                        self._entries[clip].done.set()
                    self._let_go(clip, keep=keep)
                self.changed.notify_all()

    @contextmanager
    def room(self, name: str, size_bytes: int, stop: threading.Event) -> Iterator[FetchedPart]:
        """A file to fetch a clip into, once there is room for what it is thought to take."""
        size_bytes = min(size_bytes, self.limit_bytes)
        with _full_in_words(self.folder):
            part = FetchedPart(self._path(name), self)
        try:
            with self.changed:
                while not self._make_room(size_bytes):
                    self._wait(stop)
                part.holds(size_bytes)
            yield part
        finally:
            shutil.rmtree(part.path.parent, ignore_errors=True)
            part.holds(0)

    def clear(self) -> None:
        """Remove what nobody reads."""
        with self.changed:
            self._make_room(self.limit_bytes)

    def close(self) -> None:
        """Remove it all."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.close()

    def _entered(self, wanted: Mapping[StoredClip, None], stop: threading.Event) -> dict[StoredClip, bool]:
        """Take part in these clips, and hold the room for those that are not there: which of them are to be brought."""
        with self.changed:
            while True:
                lacking = [clip for clip in wanted if clip not in self._entries]
                size = sum(clip.size_bytes for clip in lacking)
                if size > self.limit_bytes:
                    raise TransientClipError(too_large_words(f"{size}", self.limit_bytes))
                if self._make_room(size, but=wanted):
                    break
                self._wait(stop)
            mine: dict[StoredClip, bool] = {}
            for clip in wanted:
                mine[clip] = clip not in self._entries
                if mine[clip]:
                    self._entries[clip] = _Entry(clip.size_bytes)
                    self.taken_bytes += clip.size_bytes
                else:
                    entry = self._entries[clip] = self._entries.pop(clip)
                    entry.users += 1
            return mine

    def _bring(self, clip: StoredClip, stop: threading.Event) -> None:
        entry = self._entries[clip]
        try:
            with _full_in_words(self.folder):
                path = self._path(clip.src)
                try:
                    brought = open_store(clip.store.url).bring(clip.src, path, stop)
                except BaseException:
                    shutil.rmtree(path.parent, ignore_errors=True)
                    raise
            with self.changed:
                self.taken_bytes += brought.content.size_bytes - entry.size_bytes
                entry.size_bytes, entry.at_hand = brought.content.size_bytes, ClipAtHand(path, brought)
        finally:
            entry.done.set()

    def _arrived(self, clip: StoredClip, stop: threading.Event) -> ClipAtHand:
        entry = self._entries[clip]
        while not entry.done.wait(_LOOK_AROUND_S):
            if stop.is_set():
                raise StoppedError
        if entry.at_hand is None:  # it failed for whoever brought it
            raise TransientClipError(f"{clip} did not come")
        return entry.at_hand

    def _let_go(self, clip: StoredClip, *, keep: bool) -> None:
        entry = self._entries[clip]
        entry.users -= 1
        if not entry.users and (entry.at_hand is None or not keep):
            self._remove(clip)

    def _wait(self, stop: threading.Event) -> None:
        if stop.is_set():
            raise StoppedError
        self.changed.wait(_LOOK_AROUND_S)

    def _make_room(self, size_bytes: int, but: Mapping[StoredClip, None] | None = None) -> bool:
        """Whether there is room, once clips that nobody reads are gone; those read longest ago go first."""
        for clip in [one for one, entry in self._entries.items() if not entry.users and one not in (but or {})]:
            if self.taken_bytes + size_bytes <= self.limit_bytes:
                break
            self._remove(clip)
        return self.taken_bytes + size_bytes <= self.limit_bytes

    def _remove(self, clip: StoredClip) -> None:
        entry = self._entries.pop(clip)
        self.taken_bytes -= entry.size_bytes
        if entry.at_hand is not None:
            shutil.rmtree(entry.at_hand.path.parent, ignore_errors=True)

    def _path(self, name: str) -> Path:
        """A place that no other clip has; by the clip's own name, which errors may say."""
        with self.changed:
            self._count += 1
            folder = self.folder / f"{self._count}"
        folder.mkdir()
        last = name.rpartition("/")[2]
        return folder / (last if len(os.fsencode(last)) <= _LONGEST_NAME_BYTES else f"clip{Path(last).suffix[:16]}")


_scratches: dict[tuple[int, int], Scratch] = {}
_making = threading.Lock()


def scratch_of(store: ClipStore) -> Scratch:
    """This process's scratch for a store's clips."""
    key = (os.getpid(), store.scratch_bytes)
    with _making:
        if key not in _scratches:
            if not any(pid == os.getpid() for pid, _ in _scratches):
                atexit.register(_close_all, os.getpid())
            _scratches[key] = Scratch(store.scratch_bytes)
        # A worker elsewhere may go on for years, over many runs: each clears the scratch at its end.
        if (here := run_here()) and clear_scratch not in here.at_end:
            here.at_end.append(clear_scratch)
        return _scratches[key]


def clear_scratch() -> None:
    """Remove from this process's scratch what nobody reads, and what killed processes left: for the end of a run."""
    _remove_abandoned()  # also where the run needed no scratch of its own
    for (pid, _), scratch in list(_scratches.items()):
        if pid == os.getpid():
            scratch.clear()


@contextmanager
def scratch_of_run() -> Iterator[None]:
    """A run, at whose end ``clear_scratch`` is done, however it ended."""
    try:
        yield
    finally:
        clear_scratch()


@contextmanager
def clips_at_hand(
    clips: Sequence[StoredClip], stop: threading.Event | None = None, *, keep: bool = True
) -> Iterator[Mapping[StoredClip, ClipAtHand]]:
    """Clips of one store as files of this process's scratch; errors as ``Scratch.holding``'s."""
    if not clips:
        yield {}
        return
    with scratch_of(clips[0].store).holding(clips, stop or threading.Event(), keep=keep) as at_hand:
        yield at_hand


def _close_all(pid: int) -> None:
    if os.getpid() == pid:  # a forked process ends by itself, and leaves its parent's alone
        for (owner, _), scratch in _scratches.items():
            if owner == pid:
                scratch.close()


def _place() -> Path:
    """Where scratches are made: TMPDIR as it is named. Where that is full the standard library would go elsewhere."""
    return Path(os.environ.get("TMPDIR") or tempfile.gettempdir()).absolute()


def _locked_folder() -> tuple[Path, BinaryIO]:
    """A new folder and its lock; another one where somebody took the first, not yet locked, for an abandoned one."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=_place()))
        with ExitStack() as otherwise, suppress(FileNotFoundError):
            otherwise.callback(shutil.rmtree, folder, ignore_errors=True)
            lock = otherwise.enter_context((folder / _LOCK).open("wb"))
            fcntl.flock(lock, fcntl.LOCK_EX)
            if (folder / _LOCK).exists():
                otherwise.pop_all()
                return folder, lock


def _remove_abandoned() -> None:
    """Remove the scratches of processes that are gone: the system let go of their locks.

    One without a lock was left in the middle of its making or its removal.
    """
    for folder in _place().glob(f"{PREFIX}*"):
        with suppress(OSError):
            try:
                lock = (folder / _LOCK).open("rb")
            except FileNotFoundError:
                shutil.rmtree(folder, ignore_errors=True)
                continue
            with lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _full_in_words(folder: Path) -> Iterator[None]:
    """What the scratch's disk refuses, as an error of the run: the next clip would not get in either."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise scratch_error(folder, error.strerror or str(error)) from error


def too_large_words(size: str, limit_bytes: int) -> str:
    """Why a clip that the scratch cannot hold is not read."""
    return f"{size} bytes are more than scratch_bytes, {limit_bytes}: raise it"


def scratch_error(folder: Path, reason: str) -> ObjectStoreError:
    """The error of a scratch that a clip does not get into."""
    return ObjectStoreError(
        f"cannot write the scratch {folder}",
        found=reason,
        expected="room for scratch_bytes of clips",
        next_step="set TMPDIR to a larger disk, or lower scratch_bytes, then run again: finished clips are kept",
    )
