"""The one failure of this room that the error tree does not have. Permanent failures of a clip are in ``errors``."""

from vqa_assets.errors import ClipError


class TransientClipError(ClipError):
    """The clip could not be measured this time, for a reason that says nothing about its bytes.

    A time limit, a killed child process, an I/O error: counted and named like any failure, and never remembered.
    """
