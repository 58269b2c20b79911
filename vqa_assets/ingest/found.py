"""What lies in the clips folders, by one walk: a stamp for each clip wanted, leftovers, and clips that no row names.

What becomes of a clip is not here (``loop``, ``clip_task``).
"""

import os
import unicodedata
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from vqa_assets.annotations import VIDEO_SUFFIXES
from vqa_assets.clips.folders import ClipFolders, FileStamp, may_be_lfs_pointer
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
