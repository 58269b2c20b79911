"""What has been measured already, in one SQLite file: deleting it costs measuring again, nothing else.

What a row holds is the extractor's; which clips are asked for is in ``table``.
"""

import json
import logging
import sqlite3
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from vqa_assets.errors import FeatureError
from vqa_assets.features.protocols import Measured

logger = logging.getLogger(__name__)

FORMAT = 1
"""``PRAGMA user_version`` of a cache file; another one is not read."""

_TABLE = """CREATE TABLE IF NOT EXISTS measured (
    sha256 TEXT, reference_sha256 TEXT, version TEXT, row TEXT, reason TEXT,
    PRIMARY KEY (sha256, reference_sha256, version)) WITHOUT ROWID"""
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
        self._connection: sqlite3.Connection | None = None

    def __enter__(self) -> "FeatureCache":
        self._whole(lambda _: None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; a later call opens it again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def get(self, key: CacheKey) -> Outcome | None:
        """The outcome put under ``key``, or None."""
        found = self._whole(lambda c: c.execute(_SELECT, _columns(key)).fetchone())
        return None if found is None else _outcome(*found)

    def other_version(self, key: CacheKey) -> str:
        """A version under which an outcome of the same bytes and reference is known; empty where there is none."""
        found = self._whole(lambda c: c.execute(_OTHER, _columns(key)).fetchone())
        return "" if found is None else str(found[0])

    def put(self, key: CacheKey, outcome: Outcome) -> None:
        """Keep ``outcome`` under ``key`` in place of an earlier one; one that is not ``lasting`` is not kept."""
        if not outcome.lasting:
            return
        row = None if outcome.row is None else json.dumps(outcome.row)
        values = (*_columns(key), row, outcome.reason)
        self._whole(lambda c: c.execute("INSERT OR REPLACE INTO measured VALUES (?, ?, ?, ?, ?)", values))

    def _whole(self, ask: Callable[[sqlite3.Connection], Answer]) -> Answer:
        """``ask`` of the open file, begun anew once if it turns out to be damaged."""
        try:
            try:
                return ask(self._open())
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise
                self._begin_anew(str(error))
                return ask(self._open())
        except (sqlite3.Error, OSError) as error:
            raise FeatureError(
                f"{self.path}: the feature cache cannot be used",
                found=str(error),
                next_step="make the folder writable, or wait for the other run",
            ) from error

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(self.path, timeout=60, isolation_level=None)
            _prepare(self._connection)
        return self._connection

    def _begin_anew(self, reason: str) -> None:
        logger.warning("%s: not a whole feature cache (%s); deleted, clips are measured again", self.path, reason)
        self.close()
        for suffix in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)


def _prepare(connection: sqlite3.Connection) -> None:
    """Write-ahead log, no fsync per commit, and the table; a file of another format is a damaged one."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if version != FORMAT and (version or tables):
        raise sqlite3.DatabaseError(f"format {version}, expected {FORMAT}")
    connection.execute(_TABLE)
    connection.execute(f"PRAGMA user_version = {FORMAT}")


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
