"""A program that transfers one clip, watched: the stop signal, the size limit, a program that outlives its time."""

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from vqa_assets.clips.downloading.attempts import Order
from vqa_assets.clips.work import StoppedError

_LOOK_AROUND_S = 0.1
_GRACE_S = 5.0


def watched(
    command: Sequence[str], question: bytes, order: Order, out: BinaryIO | None = None
) -> "subprocess.CompletedProcess[bytes]":
    """Run the program with ``question`` on its standard input until it ends, or is ended; its output may go to a file.

    OSError where it cannot be started, StoppedError soon after the stop signal. A program that goes beyond its limits
    is killed: its return code is negative.
    """
    pipe = subprocess.PIPE
    with subprocess.Popen(
        list(command), stdin=pipe, stdout=out or pipe, stderr=pipe, start_new_session=True
    ) as process:
        try:
            return _awaited(process, question, order)
        finally:
            process.kill()


def size_of(part: Path) -> int:
    """Bytes in the file so far."""
    try:
        return part.stat().st_size
    except FileNotFoundError:
        return 0


def _awaited(process: "subprocess.Popen[bytes]", question: bytes, order: Order) -> "subprocess.CompletedProcess[bytes]":
    rest: bytes | None = question
    deadline = time.monotonic() + order.limits.timeout_s + _GRACE_S
    while True:
        try:
            out, err = process.communicate(rest, timeout=_LOOK_AROUND_S)
        except subprocess.TimeoutExpired:
            rest = None
        else:
            return subprocess.CompletedProcess(process.args, process.returncode, out, err)
        if order.stop.is_set():
            raise StoppedError
        if size_of(order.part) > order.limits.max_bytes or time.monotonic() > deadline:
            process.kill()
