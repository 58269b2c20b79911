"""What lies in the clips folder, by one walk: a stamp for each clip wanted, leftovers, and clips that no row names.

What becomes of a clip is not here (``loop``, ``clip_task``).
"""

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from vqa_assets.store.cache import FileStamp

PART = ".part"
_JUNK = (PART, ".tmp")


@dataclass
class ClipsOnDisk:
    """One look at a clips folder; links to folders are not followed, so a clip may be there without a stamp here.

    ``stamps`` has the wanted names only: a capped run does not pay for the whole folder.
    """

    folder: Path
    stamps: dict[str, FileStamp] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)

    @classmethod
    def walk(cls, folder: Path, wanted: Collection[str]) -> "ClipsOnDisk":
        """Look at every file of the folder once. What cannot be looked at is left out."""
        found = cls(folder)
        for entry, name in _files(str(folder), ""):
            if name not in wanted:
                found.others.append(name)
            elif (stamp := _stamp(entry)) is not None:
                found.stamps[name] = stamp
        return found

    def remove_leftovers(self) -> int:
        """Delete the half-fetched ``.part`` files that an interrupted run left; their number."""
        parts = [name for name in self.others if name.endswith(PART)]
        for name in parts:
            (self.folder / name).unlink()
        return len(parts)

    def count_unlabelled(self, names: Collection[str]) -> int:
        """Clips that are not among the names (hidden and temporary files and folders are no clips)."""
        return sum(name not in names and _may_be_a_clip(name) for name in self.others)


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


def _may_be_a_clip(name: str) -> bool:
    *folders, last = name.split("/")
    return not (
        last.startswith((".", "~$"))
        or last.endswith(_JUNK)
        or any(folder.startswith((".", "__")) for folder in folders)
    )
