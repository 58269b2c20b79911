"""What has been measured already, in one SQLite file: deleting it costs measuring again, nothing else.

What a row holds is the extractor's; which clips are asked for is in ``table``.
"""

import json
import sqlite3
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

from vqa_assets.clips.cache import CacheFile, CacheFormat
from vqa_assets.errors import FeatureError
from vqa_assets.features.protocols import Measured

_LAYOUT = CacheFormat(
    version=1,
    cost="the old file is deleted, clips are measured again",
    tables="""CREATE TABLE IF NOT EXISTS measured (
    sha256 TEXT, reference_sha256 TEXT, version TEXT, row TEXT, reason TEXT,
    PRIMARY KEY (sha256, reference_sha256, version)) WITHOUT ROWID""",
)
_SELECT = "SELECT row, reason FROM measured WHERE sha256 = ? AND reference_sha256 = ? AND version = ?"
_OTHER = "SELECT version FROM measured WHERE sha256 = ? AND reference_sha256 = ? AND version != ? LIMIT 1"

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class CacheKey:
    """The bytes measured, those of the reference (empty without one), and the extractor's version."""

    sha256: str
    reference_sha256: str
    version: str


@dataclass(frozen=True)
class Outcome:
    """What came of one clip: its measured columns, or the reason why there are none.

    ``lasting`` is false for a failure that the same bytes need not repeat; such a one is not kept.
    """

    row: Measured | None = None
    reason: str = ""
    lasting: bool = True


class FeatureCache:
    """Outcomes by key; a context manager, used by one thread. Every ``put`` is committed when it returns.

    A file that is no cache, or a damaged one, is deleted with a warning and begun anew. Raises ``FeatureError`` where
    the file can be neither read nor written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = CacheFile(path, _LAYOUT)

    def __enter__(self) -> Self:
        self._ask(lambda _: None)
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; a later call opens it again."""
        self._file.close()

    def get(self, key: CacheKey) -> Outcome | None:
        """The outcome put under ``key``, or None."""
        stored = self._ask(lambda c: c.execute(_SELECT, _columns(key)).fetchone())
        return None if stored is None else _outcome(*stored)

    def other_version(self, key: CacheKey) -> str:
        """A version under which an outcome of the same bytes and reference is known; empty where there is none."""
        version = self._ask(lambda c: c.execute(_OTHER, _columns(key)).fetchone())
        return "" if version is None else str(version[0])

    def put(self, key: CacheKey, outcome: Outcome) -> None:
        """Keep ``outcome`` under ``key`` in place of an earlier one; one that is not ``lasting`` is not kept."""
        if not outcome.lasting:
            return
        row = None if outcome.row is None else json.dumps(outcome.row)
        values = (*_columns(key), row, outcome.reason)
        self._ask(lambda c: c.execute("INSERT OR REPLACE INTO measured VALUES (?, ?, ?, ?, ?)", values))

    def _ask(self, question: Callable[[sqlite3.Connection], Answer]) -> Answer:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            return self._file.ask(question)
        except (sqlite3.Error, OSError) as error:
            raise FeatureError(
                f"{self.path}: the feature cache cannot be used",
                found=str(error),
                next_step="make the folder writable, or wait for the other run",
            ) from error


def _columns(key: CacheKey) -> tuple[str, str, str]:
    return key.sha256, key.reference_sha256, key.version


def _outcome(row: str | None, reason: str) -> Outcome | None:
    """The stored outcome; None for a row that is no JSON object.

    All rows share their names: 250 names of its own would be four fifths of what a row takes.
    """
    if row is None:
        return Outcome(reason=reason)
    try:
        stored = json.loads(row)
    except ValueError:
        return None
    if not isinstance(stored, dict):
        return None
    return Outcome(row={sys.intern(name): value for name, value in stored.items()})
