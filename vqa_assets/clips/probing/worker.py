"""The child process that asks PyAV: one JSON line in, one JSON line out, until its input ends.

In: ``{"path": …, "limit_s": …}``. Out: first ``{"ready": true}`` or ``{"failed": reason}``, then per clip ``{"answer":
{…}}`` or ``{"broken": reason}``. The parent is ``isolated``; a clip that hangs a library ends the process by SIGALRM,
should the parent be gone.
"""

import json
import math
import signal
import sys
from fractions import Fraction
from pathlib import Path

from vqa_assets.clips.geometry import ProbeAnswer
from vqa_assets.clips.probing.pyav import answer_of, silence
from vqa_assets.errors import BrokenClipError

_GRACE_S = 5


def encoded(answer: ProbeAnswer) -> dict[str, object]:
    """An answer as JSON has it; rates as ``30000/1001``."""
    fields = vars(answer).items()  # not asdict, which copies every fraction
    return {k: str(v) if isinstance(v, Fraction) else v for k, v in fields}


def decoded(fields: dict[str, object]) -> ProbeAnswer:
    """The inverse of ``encoded``."""
    rates = {k: Fraction(str(fields[k])) for k in ("average_rate", "base_rate") if fields[k] is not None}
    return ProbeAnswer(**(fields | rates))  # type: ignore[arg-type]


def reply_to(line: bytes) -> dict[str, object]:
    """Ask PyAV what the parent wants to know."""
    question = json.loads(line)
    signal.alarm(math.ceil(question["limit_s"]) + _GRACE_S)
    try:
        return {"answer": encoded(answer_of(Path(question["path"])))}
    except BrokenClipError as error:
        return {"broken": str(error)}
    except Exception as error:
        return {"broken": f"the probe failed: {type(error).__name__}: {error}"[:300]}
    finally:
        signal.alarm(0)


def main() -> None:
    """Serve until standard input ends."""
    try:
        silence()
    except ImportError as error:
        _say({"failed": str(error)})
        return
    _say({"ready": True})
    for line in sys.stdin.buffer:
        _say(reply_to(line))


def _say(reply: dict[str, object]) -> None:
    sys.stdout.buffer.write(json.dumps(reply).encode() + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
