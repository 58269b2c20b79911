"""What a disk refuses: it is full, read-only, without permission. What is done about it is the caller's."""

import errno
import os
import re
from dataclasses import dataclass
from pathlib import Path

FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO)
_MAY_BE_READING = (errno.EACCES, errno.EPERM, errno.EIO)
_TOLD_IN_WORDS = re.compile(r"\(os error (\d+)\)")


def fault_of(error: BaseException) -> int | None:
    """The errno of a disk's refusal, None for any other error.

    Libraries written in Rust (polars) raise errors of their own whose text ends in ``(os error 28)``.
    """
    code = error.errno if isinstance(error, OSError) else None
    if code is None and (told := _TOLD_IN_WORDS.search(str(error))):
        code = int(told[1])
    return code if code in FAULTS else None


@dataclass(frozen=True)
class Refusal:
    """What could not be done, what would have been needed, and what helps."""

    what: str
    expected: str
    remedy: str


def refusal_of(code: int | None, path: Path | None) -> Refusal:
    """The words for a fault: a file that may not be read is told as such, whatever else is a matter of writing."""
    if path is not None and code in _MAY_BE_READING and path.is_file():
        if not os.access(path, os.R_OK, effective_ids=os.access in os.supports_effective_ids):
            return Refusal(f"cannot read {path}", "a file that this user may read", "mend its permissions")
        if code == errno.EIO:
            return Refusal(f"cannot read or write {path}", "a disk that works", "look at the system's log of the disk")
    what = "cannot write" if path is None else f"cannot write {path}"
    return Refusal(what, "a folder with space that this user may write", "free space or mend the permissions")
