"""Whether what stands in a clip's place is a clip: no dangling link, no Git-LFS pointer. Reads no clip."""

import errno
import stat
from pathlib import Path

from vqa_assets.ingest.cache import FileStamp
from vqa_assets.tables.files import LFS_POINTER

NO_SUCH_NAME = (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ)
"""What a file system says of a name that no file of its own can have."""
_LFS_POINTER_MOST_BYTES = 1024


def stamp_of(path: Path) -> FileStamp | None:
    """Size and time of change of a regular file (links followed); None where there is none."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno in NO_SUCH_NAME:
            return None
        raise
    return FileStamp(found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None


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
    except OSError:
        return True
    except ValueError:  # a NUL in the name
        return False
