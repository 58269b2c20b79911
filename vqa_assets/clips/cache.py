"""What was already found out about clips, in one SQLite file that heals itself.

Deleting such a file costs finding it out again, nothing else. What its rows mean is said where they are made:
``ingest`` keeps hashes and probes, ``features`` keeps measurements.
"""

import shutil
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self, TypeVar

from vqa_assets.printing import logger
from vqa_assets.tables.formats import FORMATS, newer_format

_log = logger(__name__)
_WAIT_FOR_OTHERS_S = 60.0
_SIDE_FILES = ("-wal", "-shm")
_NOT_THE_CONTENT = (sqlite3.ProgrammingError, UnicodeEncodeError)
"""What was asked wrongly: it says nothing about what is in the file."""
_ROWS_AT_ONCE = 500
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class CacheFormat:
    """What such a file holds: its name among the ``FORMATS``, the statements that make its tables.

    ``cost`` says, for the warning, what it costs where it has to be made anew: ``every clip is read again``. In the
    ``checked`` tables the last column, ``checksum``, is the ``checksum_of`` the others; it is null in rows of format 1.
    """

    name: str
    tables: str
    cost: str
    checked: tuple[str, ...] = ()

    @property
    def version(self) -> int:
        """The format that this version writes; it reads the earlier ones, too."""
        return FORMATS[self.name]


def checksum_of(values: Iterable[object]) -> int:
    """The CRC-32 of a row's values: by it a row that a disk or a hand changed is told from the one that was put."""
    # A REAL column gives 25.0 for the 25 that was put.
    texts = (str(int(v) if isinstance(v, float) and v.is_integer() else v) for v in values)
    return zlib.crc32("\x1f".join(texts).encode("utf-8", "surrogatepass"))


def is_whole(row: tuple[object, ...]) -> bool:
    """Whether a row of a checked table is as it was put, as far as it can be told: its checksum is last."""
    *values, checksum = row
    return checksum is None or checksum == checksum_of(values)


def ask_read_only(
    path: Path, layout: CacheFormat, question: Callable[[sqlite3.Connection], Answer], otherwise: Answer
) -> Answer:
    """What ``question`` finds in a cache file that is left as it is, without a side file or a lock beside it.

    ``otherwise`` where there is none, or one that a run would begin anew. sqlite3.OperationalError where it cannot be
    opened, NewerFormatError where a later version of ours wrote it.
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
                return question(file) if _check_version(file, path, layout) else otherwise
        except (sqlite3.DatabaseError, ValueError) as error:
            if not _is_damage(error):
                raise
            _log.warning("%s is broken (%s): %s", path, error, layout.cost)
            return otherwise


def _is_damage(error: Exception) -> bool:
    """Whether an error speaks of the file's content; else it is of the disk, its rights, or the question."""
    if isinstance(error, _NOT_THE_CONTENT):
        return False
    if isinstance(error, sqlite3.OperationalError):
        # A table or column that is gone, or a text that is none, has the general code, or none; a disk has its own.
        return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) == sqlite3.SQLITE_ERROR
    return True


def _check_version(file: sqlite3.Connection, path: Path, layout: CacheFormat) -> int:
    """The format that the file says it is of, 0 for one without tables; sqlite3.DatabaseError where it is none of ours.

    NewerFormatError where a later version of ours wrote it.
    """
    tables = {str(name) for (name,) in file.execute("SELECT name FROM sqlite_master")}
    if "format" in tables:
        row = file.execute("SELECT * FROM format").fetchone()
        # A bit that a disk flipped must not pass for a later version, which nobody may touch.
        if row is None or not is_whole(row) or row[0] != layout.name:
            raise sqlite3.DatabaseError("no format that can be read")
        version = int(row[1])
    else:
        (version,) = file.execute("PRAGMA user_version").fetchone()
        if tables and not version:
            raise sqlite3.DatabaseError("no format")
    if version > layout.version:
        raise newer_format(path, layout.name, version, layout.version)
    return int(version)


class CacheFile:
    """One SQLite file in WAL mode: a commit survives the process, one thread writes.

    A file that is damaged, or no cache at all, is made anew with a warning, once per question: with every row of its
    checked tables that can still be read and fits its checksum, without the others. What cannot be opened or written (a
    full disk, a read-only folder) is sqlite3.OperationalError, what a later version wrote is NewerFormatError, and
    nothing is deleted.
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

        Where it finds damage (sqlite3.DatabaseError, or ValueError for a row of other values) the file is made anew
        and asked again.
        """
        try:
            return question(self._opened())
        except (sqlite3.DatabaseError, ValueError) as error:
            if not _is_damage(error):
                raise
            self._make_anew(error)
            return question(self._opened())

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = self._prepared(self.path)
        return self._connection

    def _prepared(self, path: Path) -> sqlite3.Connection:
        connection = sqlite3.connect(path, timeout=_WAIT_FOR_OTHERS_S, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            # In WAL mode this loses no commit to a kill, and costs no fsync for each.
            connection.execute("PRAGMA synchronous=NORMAL")
            before = _check_version(connection, path, self._format)
            connection.executescript(self._format.tables)
            for table in self._format.checked:
                _add_checksum(connection, table)
            if before != self._format.version:
                _write_version(connection, self._format)
        except BaseException:
            connection.close()
            raise
        return connection

    def _make_anew(self, error: Exception) -> None:
        """Put a sound file in the place of a damaged one, with what of it is whole."""
        self.close()
        mended = self.path.with_name(f"{self.path.name}-mended")
        for suffix in ("", *_SIDE_FILES):  # of a run that was killed here
            mended.with_name(mended.name + suffix).unlink(missing_ok=True)
        with closing(self._prepared(mended)) as new:
            kept = sum(_copied(rows, table, new) for table, rows in _whole_rows(self.path, self._format))
            # All in one file: with its log beside it there would be two to put in place.
            new.execute("PRAGMA journal_mode=DELETE")
        _log.warning(
            "%s is broken (%s) and is made anew: %s%s, nothing else is lost",
            self.path,
            error,
            f"{kept} of its rows are whole and stay, of the others " if kept else "",
            self._format.cost,
        )
        # First the log: beside the new file it would be taken for the new file's own.
        for suffix in _SIDE_FILES:
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        mended.replace(self.path)


def _write_version(connection: sqlite3.Connection, layout: CacheFormat) -> None:
    """Have the file say its format."""
    said = (layout.name, layout.version)
    columns = "name TEXT PRIMARY KEY, version INTEGER, checksum INTEGER"
    connection.execute(f"CREATE TABLE IF NOT EXISTS format ({columns}) WITHOUT ROWID")
    connection.execute("INSERT OR REPLACE INTO format VALUES (?, ?, ?)", (*said, checksum_of(said)))
    # By it the first edition knew its files: it deletes what says anything else.
    connection.execute("PRAGMA user_version=1")


def _add_checksum(connection: sqlite3.Connection, table: str) -> None:
    """Give a table of an earlier edition its column of checksums."""

    def lacks_it() -> bool:
        return all(column[1] != "checksum" for column in connection.execute(f"PRAGMA table_info({table})"))

    if lacks_it():
        connection.execute("BEGIN IMMEDIATE")
        # Asked again: another run may have done it while this one waited.
        if lacks_it():
            connection.execute(f"ALTER TABLE {table} ADD COLUMN checksum INTEGER")
        connection.execute("COMMIT")


def _whole_rows(path: Path, layout: CacheFormat) -> Iterator[tuple[str, Iterator[tuple[object, ...]]]]:
    """Of a damaged file each checked table with its rows that can be read and fit their checksum, some of them twice.

    From either end as far as it can be read: what is lost lies between the first and the last damaged page.
    """
    with closing(sqlite3.connect(path, timeout=_WAIT_FOR_OTHERS_S)) as file:
        file.text_factory = lambda content: content.decode(errors="replace")
        for table in layout.checked:
            yield table, _sound_rows(file, table, "ASC")
            yield table, _sound_rows(file, table, "DESC")


def _sound_rows(file: sqlite3.Connection, table: str, direction: str) -> Iterator[tuple[object, ...]]:
    with suppress(sqlite3.DatabaseError):
        columns = file.execute(f"PRAGMA table_info({table})").fetchall()
        keys = sorted((place, name) for _, name, *_, place in columns if place)
        order = ", ".join(f"{name} {direction}" for _, name in keys)
        for row in file.execute(f"SELECT * FROM {table} ORDER BY {order}"):  # noqa: S608
            # A row without a checksum stands for nothing in a file of which it is known that it is damaged.
            if row[-1] is not None and is_whole(row):
                yield row


def _copied(rows: Iterator[tuple[object, ...]], table: str, new: sqlite3.Connection) -> int:
    """Copy rows into a table; the number of those that it did not have."""
    before = new.total_changes
    columns = len(new.execute(f"PRAGMA table_info({table})").fetchall())
    new.execute("BEGIN")
    while several := [row for row in islice(rows, _ROWS_AT_ONCE) if len(row) == columns]:
        places = ",".join("?" * columns)
        new.executemany(f"INSERT OR IGNORE INTO {table} VALUES ({places})", several)  # noqa: S608
    new.execute("COMMIT")
    return new.total_changes - before
