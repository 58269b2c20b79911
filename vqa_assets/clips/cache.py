"""What was already found out about clips, in one SQLite file that heals itself.

Deleting such a file costs finding it out again, nothing else. What its rows mean is said where they are made:
``ingest`` keeps hashes and probes, ``features`` keeps measurements.
"""

import logging
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self, TypeVar

_log = logging.getLogger(__name__)
_WAIT_FOR_OTHERS_S = 60.0
_SIDE_FILES = ("", "-wal", "-shm")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class CacheFormat:
    """What such a file holds: the ``PRAGMA user_version`` it bears, the statements that make its tables.

    A file of any other version is begun anew; ``cost`` says what that costs, for the warning: ``every clip is read
    again``.
    """

    version: int
    tables: str
    cost: str


def ask_read_only(
    path: Path, layout: CacheFormat, question: Callable[[sqlite3.Connection], Answer], otherwise: Answer
) -> Answer:
    """What ``question`` finds in a cache file that is left as it is, without a side file or a lock beside it.

    ``otherwise`` where there is none, or one that a run would begin anew. sqlite3.OperationalError where it cannot be
    opened.
    """
    if not path.is_file():
        return otherwise
    with TemporaryDirectory() as folder:
        address = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
        log = path.with_name(f"{path.name}-wal")
        if log.is_file():  # of a run at work, or killed: SQLite reads it only where it may write beside it
            copy = Path(folder) / "cache"
            shutil.copyfile(path, copy)
            shutil.copyfile(log, copy.with_name("cache-wal"))
            address = copy.as_uri()
        try:
            with closing(sqlite3.connect(address, uri=True)) as file:
                return question(file) if _check_version(file, layout) else otherwise
        except (sqlite3.DatabaseError, ValueError) as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            _log.warning("%s is broken (%s): %s", path, error, layout.cost)
            return otherwise


def _check_version(file: sqlite3.Connection, layout: CacheFormat) -> bool:
    """Whether the file has its tables; sqlite3.DatabaseError where it is of another version."""
    (version,) = file.execute("PRAGMA user_version").fetchone()
    (tables,) = file.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if version != layout.version and (version or tables):
        raise sqlite3.DatabaseError(f"format {version}, expected {layout.version}")
    return bool(tables)


class CacheFile:
    """One SQLite file in WAL mode: a commit survives the process, one thread writes.

    A file that is damaged, or no cache at all, is deleted with a warning and begun anew, once per question. What cannot
    be opened or written (a full disk, a read-only folder) is sqlite3.OperationalError, and nothing is deleted.
    """

    def __init__(self, path: Path, layout: CacheFormat) -> None:
        self.path, self._format = path, layout
        self._connection: sqlite3.Connection | None = None

    def __enter__(self) -> Self:
        self.ask(lambda _: None)
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; a later question opens it again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def ask(self, question: Callable[[sqlite3.Connection], Answer]) -> Answer:
        """What ``question`` finds in the open file.

        Where it finds damage (sqlite3.DatabaseError, or ValueError for a row of other values) the file is begun anew
        and asked again.
        """
        try:
            return question(self._opened())
        except (sqlite3.DatabaseError, ValueError) as error:
            # OperationalError is a DatabaseError too, but speaks of the disk and its rights, never of the content.
            if isinstance(error, sqlite3.OperationalError):
                raise
            self._begin_anew(error)
            return question(self._opened())

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            connection = sqlite3.connect(
                self.path, timeout=_WAIT_FOR_OTHERS_S, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        # In WAL mode this loses no commit to a kill, and costs no fsync for each.
        connection.execute("PRAGMA synchronous=NORMAL")
        _check_version(connection, self._format)
        connection.executescript(self._format.tables)
        connection.execute(f"PRAGMA user_version={self._format.version}")

    def _begin_anew(self, error: Exception) -> None:
        _log.warning(
            "%s is broken (%s) and is made anew: %s, nothing else is lost", self.path, error, self._format.cost
        )
        self.close()
        for suffix in _SIDE_FILES:
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
