"""What a disk refuses: it is full, read-only, without permission. What is done about it is the caller's."""

import errno
import re

FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO)
_TOLD_IN_WORDS = re.compile(r"\(os error (\d+)\)")


def fault_of(error: BaseException) -> int | None:
    """The errno of a disk's refusal, None for any other error.

    Libraries written in Rust (polars) raise errors of their own whose text ends in ``(os error 28)``.
    """
    code = error.errno if isinstance(error, OSError) else None
    if code is None and (told := _TOLD_IN_WORDS.search(str(error))):
        code = int(told[1])
    return code if code in FAULTS else None
