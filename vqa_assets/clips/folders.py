"""Where a corpus's clips lie, and whether what stands in a clip's place is one: no dangling link, no Git-LFS pointer.

Reads no clip. The other files of a corpus are in ``ingest.layout``.
"""

import errno
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vqa_assets.corpora import Corpus
from vqa_assets.tables.files import LFS_POINTER

NO_SUCH_NAME = (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ)
"""What a file system says of a name that no file of its own can have."""
_LFS_POINTER_MOST_BYTES = 1024


@dataclass(frozen=True, slots=True)
class FileStamp:
    """What tells whether a file changed: size in bytes, time of change in nanoseconds."""

    size_bytes: int
    mtime_ns: int


def stamp_of(path: Path | str) -> FileStamp | None:
    """Size and time of change of a regular file (links followed); None where there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116 - a million texts need not become paths first
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno in NO_SUCH_NAME:
            return None
        raise
    return FileStamp(status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None


def may_be_lfs_pointer(stamp: FileStamp) -> bool:
    """Whether a file is as small as a Git-LFS pointer is."""
    return stamp.size_bytes <= _LFS_POINTER_MOST_BYTES


def is_lfs_pointer(path: Path, stamp: FileStamp) -> bool:
    """True for a Git-LFS pointer that stands where a clip should: the clip is absent, not broken."""
    if not may_be_lfs_pointer(stamp):
        return False
    with path.open("rb") as content:
        return content.read(len(LFS_POINTER)) == LFS_POINTER


def is_there(path: Path) -> bool:
    """Whether a clip is there, though it may turn out that it cannot be read; a pointer or dangling link is none."""
    try:
        stamp = stamp_of(path)
        return stamp is not None and not is_lfs_pointer(path, stamp)
    except OSError:  # its rights, a disk that fails: reading it says so, where it is read
        return True
    except ValueError:  # a NUL in the name
        return False


@dataclass(frozen=True)
class ClipFolders:
    """Where clips lie: ``target``, which they are fetched into, and ``others``, which a person unpacked.

    ``of_part`` holds the folders that the clips of one score drop are looked for in first. A clip's name may begin in
    the corpus's own ``folder``, with one of ``entries``: what lies there.
    """

    target: Path
    others: tuple[Path, ...] = ()
    of_part: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    folder: Path | None = None
    entries: frozenset[str] = frozenset()

    @classmethod
    def of(cls, corpus: Corpus, clips_subdir: str, folder: Path) -> "ClipFolders":
        """The folders of one corpus that are there, and the target, whether it is there or not."""

        def present(names: Iterable[str]) -> tuple[Path, ...]:
            return tuple(path for name in names if (path := folder / name).is_dir())

        parts = {part.value: present(part.clips) for part in corpus.parts if part.clips}
        others = present(name for name in corpus.clip_folders if name != clips_subdir)
        try:
            entries = frozenset(path.name for path in folder.iterdir())
        except OSError:  # it is not there yet, or cannot be listed: reading its files says so
            entries = frozenset()
        return cls(folder / clips_subdir, others, parts, folder, entries)

    @property
    def every(self) -> tuple[Path, ...]:
        """All folders, each once; without the corpus's own."""
        return tuple(dict.fromkeys((self.target, *self.others, *(p for of in self.of_part.values() for p in of))))

    def searched(self, src: str, score_drop: str = "") -> tuple[Path, ...]:
        """The folders that a clip of that name and score drop may lie in, in order."""
        # The corpus's folder is searched only for names that begin as one of its entries: a look at no disk.
        own = (self.folder,) if self.folder is not None and src.partition("/")[0] in self.entries else ()
        return (*self.of_part.get(score_drop, ()), self.target, *self.others, *own)

    def path_of(self, src: str, score_drop: str = "") -> Path:
        """Where a clip lies; where it lies nowhere, its place in ``target``.

        A Git-LFS pointer or a dangling link hides no clip in a later folder.
        """
        searched = self.searched(src, score_drop)
        if len(searched) > 1:  # of one folder nothing is asked: a million clips cost no look at the disk here
            for folder in searched:
                if is_there(path := folder / src):
                    return path
        return self.target / src
