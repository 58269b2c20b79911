"""Which file is a row's clip: what lies in the clips folders, and the name that a clip goes by there.

One walk finds a stamp for each clip of the run, leftovers, and clips that no row names; a corpus's files may be named
otherwise than its annotation says. What becomes of a clip is not here (``loop``, ``clip_task``).
"""

import logging
import os
import unicodedata
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path

from vqa_assets.annotations import VIDEO_SUFFIXES, AnnotationRow
from vqa_assets.clips.folders import ClipFolders, FileStamp, is_there, may_be_lfs_pointer
from vqa_assets.ingest.layout import ARCHIVES

PART = ".part"
_JUNK = (PART, ".tmp")


@dataclass
class _Look:
    """One look at one folder; ``stamps`` has the wanted names only, ``others`` the names of all other files."""

    stamps: dict[str, FileStamp | None] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)


class ClipsOnDisk:
    """One look at every folder of a corpus's clips; links to folders are not followed.

    A capped run pays for the clips wanted only. What is not found by the look may be there all the same.
    """

    def __init__(self, folders: ClipFolders, wanted: Collection[str]) -> None:
        self.folders = folders
        self._looks = {folder: _look_at(folder, wanted) for folder in folders.every}

    def stamp(self, src: str, score_drop: str = "") -> FileStamp | None:
        """The stamp of a wanted clip where ``ClipFolders.path_of`` finds it; None where a look at it must tell."""
        searched = self.folders.searched(score_drop)
        for folder in searched:
            stamps = self._looks[folder].stamps
            if src in stamps:
                found = stamps[src]
                may_hide_another = len(searched) > 1 and found is not None and may_be_lfs_pointer(found)
                return None if may_hide_another else found
        return None

    def spelled_otherwise(self, src: str) -> str:
        """The name of a file that differs from a clip's by case or Unicode's normal form only; empty without one."""
        return self._by_plain_name.get(_plain(src), "")

    @cached_property
    def _by_plain_name(self) -> dict[str, str]:
        return {_plain(name): name for look in self._looks.values() for name in look.others if _may_be_a_clip(name)}

    def remove_leftovers(self) -> int:
        """Delete the half-fetched ``.part`` files of clips that an interrupted run left; their number."""
        every = ((folder, name) for folder, look in self._looks.items() for name in look.others)
        parts = [folder / n for folder, n in every if n.endswith(PART) and not n.startswith(f"{ARCHIVES}/")]
        for path in parts:
            path.unlink()
        return len(parts)

    def count_unlabelled(self, names: Iterable[str], suffix: str) -> int:
        """Files of this suffix or of video that none of the names means (what is hidden or temporary is no clip)."""
        suffixes = (*VIDEO_SUFFIXES, suffix.lower())
        every = (name for look in self._looks.values() for name in look.others)
        others = [name for name in every if name.lower().endswith(suffixes) and _may_be_a_clip(name)]
        named = {os.path.normpath(name) for name in names} if others else set()
        return sum(name not in named for name in others)


def _look_at(folder: Path, wanted: Collection[str]) -> _Look:
    look = _Look()
    for entry, name in _files(str(folder), ""):
        if name in wanted:
            look.stamps[name] = _stamp(entry)
        else:
            look.others.append(name)
    return look


def _files(folder: str, inside: str) -> Iterator[tuple["os.DirEntry[str]", str]]:
    """Every entry below a folder that is no folder itself, with its name relative to the folder."""
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _files(entry.path, f"{inside}{entry.name}/")
        else:
            yield entry, inside + entry.name


def _stamp(entry: "os.DirEntry[str]") -> FileStamp | None:
    try:
        if not entry.is_file():
            return None
        found = entry.stat()
    except OSError:
        return None
    return FileStamp(found.st_size, found.st_mtime_ns)


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _may_be_a_clip(name: str) -> bool:
    *folders, last = name.split("/")
    return not (
        last.startswith((".", "~$"))
        or last.endswith(_JUNK)
        or any(folder.startswith((".", "__")) for folder in folders)
    )


_log = logging.getLogger("vqa_assets.ingest")


def named_on_disk(
    rows: Sequence[AnnotationRow], clips: ClipFolders, earlier: Mapping[str, object] | None = None
) -> tuple[AnnotationRow, ...]:
    """The rows, each under the name that its clip has on disk, else the one it had in the ``earlier`` JSONL.

    ``earlier`` is clip name → score. A clip that is in neither keeps its first name. A name that another row goes by is
    never taken, nor one that begins as another row says more exactly. A bad row goes by the name of the earlier row
    that it takes away.
    """
    if not any(row.also or row.also_starting for row in rows):
        return tuple(rows)
    on_disk, before = _Disk(clips), _Earlier(earlier or {})
    beginnings = {start for row in rows for start in row.also_starting}
    naming = _Naming(earlier or {}, beginnings, {row.src for row in rows})
    usable = {i: naming.renamed(row, (on_disk, before)) for i, row in enumerate(rows) if not row.problem}
    naming.tell_other_scores(usable.values())
    return tuple(usable.get(i) or naming.renamed(row, (before, on_disk)) for i, row in enumerate(rows))


@dataclass
class _Naming:
    """The names that are given so far: ``taken`` to rows; ``found`` has the other name of a row by its first name."""

    earlier: Mapping[str, object]
    beginnings: Collection[str]
    taken: set[str]
    found: dict[str, str] = field(default_factory=dict)

    def renamed(self, row: AnnotationRow, known: Iterable["_Names"]) -> AnnotationRow:
        """The row under the name that its clip has among the first names that know it."""
        if row.repeats or not row.src:
            return row
        for names in known:
            if row.src not in self.found and names.holds(row.src):
                return row
            for name in (*row.also, *self._beginning_so(row, names)):
                if self._is_free(name, row) and names.holds(name):
                    self.taken.add(name)
                    self.found[row.src] = name
                    return replace(row, src=name)
        return row

    def tell_other_scores(self, rows: Iterable[AnnotationRow]) -> None:
        """Warn of clips that only a beginning ties to their rows, where the earlier row had another score."""
        told = [row.src for row in rows if row.also_starting and self.earlier.get(row.src, row.mos) != row.mos]
        told = [name for name in told if name in self.found.values()]
        if told:
            _log.warning(
                "%d clips are known by the beginning of their names and had another score (%s); if one of them is the "
                "clip of no row any more, remove it and its row",
                len(told),
                ", ".join(told[:3]),
            )

    def _is_free(self, name: str, row: AnnotationRow) -> bool:
        return name not in self.taken or self.found.get(row.src) == name

    def _beginning_so(self, row: AnnotationRow, names: "_Names") -> list[str]:
        """The one clip whose name begins as the row says; none where several do."""
        for start in row.also_starting:
            found = [name for name in names.starting(start) if self._may_be(name, start, row)]
            if len(found) == 1:
                return found
            if found:
                _log.warning("%s: %d clips could be meant (%s); rename the right one", row.src, len(found), found[:3])
        return []

    def _may_be(self, name: str, start: str, row: AnnotationRow) -> bool:
        """Whether no other row says the name's beginning more exactly, and no earlier row shows it to be another's.

        A clip that has an earlier row beside this row's own, with a score of neither, is another clip.
        """
        if next(name[:end] for end in range(len(name), 0, -1) if name[:end] in self.beginnings) != start:
            return False
        both = row.src in self.earlier and name in self.earlier
        return not both or self.earlier[name] in (row.mos, self.earlier[row.src])


class _Names(ABC):
    """Names of clips, to be asked by a whole name or by its beginning."""

    @abstractmethod
    def holds(self, name: str) -> bool: ...

    @cached_property
    @abstractmethod
    def _sorted(self) -> list[str]: ...

    def starting(self, start: str) -> list[str]:
        """The clips whose name begins so."""
        begin = bisect_left(self._sorted, start)
        found = []
        for name in islice(self._sorted, begin, None):
            if not name.startswith(start):
                break
            if name.lower().endswith(VIDEO_SUFFIXES):
                found.append(name)
        return found


class _Earlier(_Names):
    """The clips that the earlier JSONL has rows of."""

    def __init__(self, earlier: Collection[str]) -> None:
        self._earlier = earlier

    def holds(self, name: str) -> bool:
        return name in self._earlier

    @cached_property
    def _sorted(self) -> list[str]:
        return sorted(self._earlier)


class _Disk(_Names):
    """The clips that are there."""

    def __init__(self, clips: ClipFolders) -> None:
        self._clips = clips

    def holds(self, name: str) -> bool:
        return is_there(self._clips.path_of(name))

    @cached_property
    def _sorted(self) -> list[str]:
        names = {
            os.path.relpath(os.path.join(parent, name), folder)  # noqa: PTH118
            for folder in self._clips.every
            for parent, _, files in os.walk(folder)
            for name in files
        }
        return sorted(name for name in names if _is_text(name))


def _is_text(name: str) -> bool:
    """False for a file name of bytes that are no UTF-8, which no row, cache or log can hold."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
