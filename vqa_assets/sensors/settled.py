"""Which dropped files changed since the last tick, and are whole: what a sensor remembers as its cursor.

``stat`` first, bytes only where that changed. Starts nothing and knows no corpus.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Cursor:
    """Per name the state of its files when they last were whole, and the state that is waited on."""

    seen: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def read(cls, text: str | None) -> "Cursor":
        """What an earlier tick left; nothing was seen where that cannot be read."""
        try:
            found = json.loads(text or "{}")
        except ValueError:
            found = {}
        return cls({k: v for k, v in found.items() if isinstance(v, dict)} if isinstance(found, dict) else {})

    def written(self) -> str:
        """The text for the next tick."""
        return json.dumps(self.seen, sort_keys=True)

    @property
    def waiting(self) -> list[str]:
        """The names whose files are not yet known to be whole."""
        return [name for name, state in self.seen.items() if state.get("waiting")]

    def put_back(self, name: str, state: dict[str, Any] | None) -> None:
        """Forget what this tick noted of a name: it is looked at anew by the next one."""
        self.seen.pop(name, None)
        if state is not None:
            self.seen[name] = state

    def change_of(self, name: str, files: Sequence[Path]) -> str | None:
        """``<hash>:<mtime>`` where the files of a name are whole and have other bytes than before, else None.

        Files are whole when size and time of change were the same at an earlier tick, and still are once they were
        read. The time of change is not compared with our clock: copies keep old times, and servers have other clocks.
        """
        state = self.seen.get(name, {})
        stamp = _stamp(files)
        if stamp == state.get("stamp") or (not files and "stamp" not in state):
            state.pop("waiting", None)
            return None
        if stamp != state.get("waiting"):
            self.seen[name] = {**state, "waiting": stamp}
            return None
        digest, newest = _digest(files), max((path.stat().st_mtime_ns for path in files), default=0)
        if _stamp(files) != stamp:
            self.seen[name] = {**state, "waiting": _stamp(files)}
            return None
        self.seen[name] = {"stamp": stamp, "sha256": digest}
        return f"{digest}:{newest}" if files and digest != state.get("sha256") else None


def _stamp(files: Iterable[Path]) -> str:
    """A short text that changes with name, size and time of change of any file."""
    digest = hashlib.sha256()
    for path in files:
        found = path.stat()
        digest.update(f"{path.name}\n{found.st_size}\n{found.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:32]


def _digest(files: Sequence[Path]) -> str:
    """SHA-256 of the bytes of all files; of several, with their names."""
    digest = hashlib.sha256()
    for path in files:
        if len(files) > 1:
            digest.update(f"{path.name}\n".encode("utf-8", "surrogateescape"))
        with path.open("rb") as content:
            while piece := content.read(1 << 20):
                digest.update(piece)
    return digest.hexdigest()
