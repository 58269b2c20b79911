"""Whether a program that a setting names is what it is taken for. How it is then used is its caller's."""

import subprocess

_LIMIT_S = 20.0


def why_unfit(binary: str, option: str, begins: str) -> str:
    """Why ``binary option`` is not a program whose answer begins with ``begins``; empty where it is one."""
    try:
        done = subprocess.run(
            [binary, option], stdin=subprocess.DEVNULL, capture_output=True, timeout=_LIMIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{binary} {option}: {error}"
    if done.returncode == 0 and done.stdout.decode("utf-8", "replace").startswith(begins):
        return ""
    said = (done.stderr or done.stdout).decode("utf-8", "replace").strip().splitlines()
    return f"{binary} {option} ends with {done.returncode} and says {(said[-1] if said else 'nothing')[:200]!r}"
