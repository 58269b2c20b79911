"""Where a corpus's clips lie, and whether what stands in a clip's place is one: no dangling link, no Git-LFS pointer.

Clips lie in folders, and in an object store where one is named: its objects have names here, and ``stores`` opens them.
Reads no clip. The other files of a corpus are in ``ingest.layout``.
"""

import errno
import hashlib
import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vqa_assets.corpora import Corpus
from vqa_assets.tables.files import LFS_POINTER

NO_SUCH_NAME = (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ)
"""What a file system says of a name that no file of its own can have."""
_LFS_POINTER_MOST_BYTES = 1024
SCHEMES = ("s3", "gs", "az")
"""Of the addresses of object stores."""
_LONGEST_KEY_BYTES = 1024
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_NO_KEY = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class FileStamp:
    """What tells whether a file changed: size in bytes, time of change in nanoseconds.

    Of an object the latter is a number below zero that stands for its ETag: no file is that old, and the caches keep
    both in one column.
    """

    size_bytes: int
    mtime_ns: int


def stamp_of_object(size_bytes: int, e_tag: str) -> FileStamp:
    """The stamp of an object in a store. Some answers put its ETag into quotation marks that others leave out."""
    digest = hashlib.sha256(e_tag.removeprefix("W/").strip('"').encode()).digest()
    return FileStamp(size_bytes, -1 - (int.from_bytes(digest[:8], "big") >> 1))


def why_no_key(name: str) -> str:
    """Why no object of that name can be asked for; empty where one can."""
    if len(name.encode("utf-8", "surrogatepass")) > _LONGEST_KEY_BYTES:
        return f"longer than {_LONGEST_KEY_BYTES} bytes"
    if _NO_KEY.search(name):
        return "a control character in it, or half of a character"
    return "" if all(part not in ("", ".", "..") for part in name.split("/")) else "an empty part, . or .. in it"


def is_object_address(text: str) -> bool:
    """Whether a text names a bucket, and perhaps a prefix in it; without credentials, query and fragment."""
    scheme, _, rest = text.partition("://")
    bucket, _, prefix = rest.rstrip("/").partition("/")
    is_key = not prefix or not (why_no_key(prefix) or set("?#") & set(prefix))
    return scheme in SCHEMES and _BUCKET.fullmatch(bucket) is not None and is_key


@dataclass(frozen=True)
class ClipStore:
    """The clips of one corpus in an object store: that of the name ``src`` has the key ``<url>/<src>``.

    ``scratch_bytes`` is how much of them lies in a process's scratch at once. Credentials are the environment's.
    """

    url: str
    scratch_bytes: int

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, src: str) -> "StoredClip":
        return StoredClip(self, src)


@dataclass(frozen=True, slots=True)
class StoredClip:
    """A clip in an object store, or its place there; ``size_bytes`` is what is known of its size, 0 for nothing."""

    store: ClipStore
    src: str
    size_bytes: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return f"{self.store}/{self.src}"


ClipRoot = Path | ClipStore
"""What a clip's name is a name in."""
ClipPlace = Path | StoredClip
"""Where one clip lies."""


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

    The target may be an object store; then what lies in a folder goes before it. ``of_part`` holds the folders that the
    clips of one score drop are looked for in first. A clip's name may begin in the corpus's own ``folder``, with one of
    ``entries``: what lies there.
    """

    target: ClipRoot
    others: tuple[Path, ...] = ()
    of_part: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    folder: Path | None = None
    entries: frozenset[str] = frozenset()

    @classmethod
    def of(cls, corpus: Corpus, clips_subdir: str, folder: Path, target: ClipRoot | None = None) -> "ClipFolders":
        """The folders of one corpus that are there, and the target, whether it is there or not.

        ``target`` is one that is named; else it is ``clips_subdir`` of the corpus's folder.
        """

        def present(names: Iterable[str]) -> tuple[Path, ...]:
            return tuple(path for name in names if (path := folder / name).is_dir())

        parts = {part.value: present(part.clips) for part in corpus.parts if part.clips}
        others = present(name for name in corpus.clip_folders if name != clips_subdir)
        if target is not None:  # clips that were staged before it was named
            others = (*present([clips_subdir]), *others)
        try:
            entries = frozenset(path.name for path in folder.iterdir())
        except OSError:  # it is not there yet, or cannot be listed: reading its files says so
            entries = frozenset()
        return cls(target or folder / clips_subdir, others, parts, folder, entries)

    @property
    def every(self) -> tuple[Path, ...]:
        """All folders, each once; without the corpus's own."""
        target = (self.target,) if isinstance(self.target, Path) else ()
        return tuple(dict.fromkeys((*target, *self.others, *(p for of in self.of_part.values() for p in of))))

    @property
    def store(self) -> ClipStore | None:
        """The object store, where there is one."""
        return self.target if isinstance(self.target, ClipStore) else None

    @property
    def as_input(self) -> dict[str, Path]:
        """The target as an input of a replay manifest: none in a store, of which a look at the disk tells nothing."""
        return {"clips": self.target} if isinstance(self.target, Path) else {}

    def searched(self, src: str, score_drop: str = "") -> tuple[ClipRoot, ...]:
        """The folders that a clip of that name and score drop may lie in, in order; an object store comes last."""
        # The corpus's folder is searched only for names that begin as one of its entries: a look at no disk.
        own = (self.folder,) if self.folder is not None and src.partition("/")[0] in self.entries else ()
        first = self.of_part.get(score_drop, ())
        if isinstance(self.target, ClipStore):
            return (*first, *self.others, *own, self.target)
        return (*first, self.target, *self.others, *own)

    def path_of(self, src: str, score_drop: str = "") -> ClipPlace:
        """Where a clip lies; where it lies in no folder, its place in ``target``. No store is asked.

        A Git-LFS pointer or a dangling link hides no clip in a later folder.
        """
        searched = self.searched(src, score_drop)
        if len(searched) > 1:  # of one folder nothing is asked: a million clips cost no look at the disk here
            for folder in searched:
                if isinstance(folder, Path) and is_there(path := folder / src):
                    return path
        return self.target / src
