"""The ingest cache: hash and probe of clips already read, so that an unchanged clip costs one ``stat``."""

import logging
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vqa_assets.clips.geometry import Geometry

_log = logging.getLogger(__name__)
_FORMAT = 1
_COLUMNS = (
    "name TEXT PRIMARY KEY, size_bytes INTEGER, mtime_ns INTEGER, sha256 TEXT, broken TEXT, width INTEGER, "
    "height INTEGER, framerate REAL, duration_s REAL, pix_fmt TEXT, encoder_upstream TEXT"
)
_PLACES = f"({','.join('?' * (1 + _COLUMNS.count(',')))})"
_INSERT = "INSERT OR REPLACE INTO clips VALUES "
_ROWS_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class FileStamp:
    """What tells whether a file changed: size in bytes, time of change in nanoseconds."""

    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class ReadClip:
    """A clip that was read: its stamp, its hash, and its geometry or the reason why it is broken."""

    stamp: FileStamp
    sha256: str
    geometry: Geometry | None
    broken: str = ""


class IngestCache:
    """Name → ``ReadClip``, committed as they come. Deleting the file costs reading the clips again, nothing else.

    SQLite in WAL mode: a commit survives the process; one thread writes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection = _open(path)

    def __enter__(self) -> "IngestCache":
        return self

    def __exit__(self, *exc: object) -> None:
        self._connection.close()

    def load(self) -> Mapping[str, ReadClip]:
        """Everything known, by clip name; nothing where the file turns out to be broken, which is then made anew."""
        try:
            return {str(row[0]): _read_clip(row[1:]) for row in self._connection.execute("SELECT * FROM clips")}
        except (sqlite3.DatabaseError, ValueError, TypeError) as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            self._connection.close()
            self._connection = _anew(self.path, error)
            return {}

    def put(self, name: str, clip: ReadClip) -> None:
        """Commit one clip at once."""
        self.put_all({name: clip})

    def put_all(self, clips: Mapping[str, ReadClip]) -> None:
        """Commit clips at once, by name; a statement and a commit for all of them costs little more than for one."""
        rows = [_row(name, clip) for name, clip in clips.items()]
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            several = rows[start : start + _ROWS_AT_ONCE]
            values = [value for row in several for value in row]
            self._connection.execute(_INSERT + ",".join([_PLACES] * len(several)), values)


def _row(name: str, clip: ReadClip) -> list[object]:
    fields = [None] * 6 if clip.geometry is None else list(clip.geometry.as_dict().values())
    return [name, clip.stamp.size_bytes, clip.stamp.mtime_ns, clip.sha256, clip.broken, *fields]


def _read_clip(row: tuple[object, ...]) -> ReadClip:
    size, mtime, sha256, broken, *geometry = row
    if not _of_kinds((size, mtime, sha256), (int, int, str)):
        raise ValueError(f"a row of other values: {row!r:.200}")
    if geometry[0] is not None and not _of_kinds(geometry, (int, int, float, float, str, str)):
        raise ValueError(f"a geometry of other values: {geometry!r:.200}")
    known = None if geometry[0] is None else Geometry(*geometry)  # type: ignore[arg-type]
    return ReadClip(FileStamp(size, mtime), str(sha256), known, str(broken or ""))  # type: ignore[arg-type]


def _of_kinds(values: Sequence[object], kinds: Sequence[type]) -> bool:
    return all(isinstance(value, kind) for value, kind in zip(values, kinds, strict=True))


def _open(path: Path) -> sqlite3.Connection:
    try:
        return _connect(path)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            raise
        return _anew(path, error)


def _anew(path: Path, error: Exception) -> sqlite3.Connection:
    _log.warning("%s is broken (%s) and is made anew: every clip is read again, nothing else is lost", path, error)
    for part in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
        part.unlink(missing_ok=True)
    return _connect(path)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        if connection.execute("PRAGMA user_version").fetchone()[0] != _FORMAT:
            connection.execute("DROP TABLE IF EXISTS clips")
            connection.execute(f"PRAGMA user_version={_FORMAT}")
        connection.execute(f"CREATE TABLE IF NOT EXISTS clips ({_COLUMNS}) WITHOUT ROWID")
    except BaseException:
        connection.close()
        raise
    return connection
