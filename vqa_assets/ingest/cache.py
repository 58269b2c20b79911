"""The ingest cache: hash and probe of clips already read, so that an unchanged clip costs one ``stat``.

A row that is not as it was put counts as none. And which of a corpus's address templates worked last, and over which
clips the processes that read them died.
"""

import re
import sqlite3
import struct
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path
from types import NoneType
from typing import Self

from vqa_assets.clips.cache import CacheFile, CacheFormat, ask_read_only, checksum_of, is_whole
from vqa_assets.clips.folders import FileStamp
from vqa_assets.clips.geometry import Geometry
from vqa_assets.clips.hashing import StampedHash
from vqa_assets.clips.trouble import Deaths
from vqa_assets.printing import logger

_COLUMNS = (
    "name TEXT PRIMARY KEY, size_bytes INTEGER, mtime_ns INTEGER, sha256 TEXT, broken TEXT, width INTEGER, "
    "height INTEGER, framerate REAL, duration_s REAL, pix_fmt TEXT, encoder_upstream TEXT, checksum INTEGER"
)
_FORMAT = CacheFormat(
    name="ingest_cache",
    tables=f"CREATE TABLE IF NOT EXISTS clips ({_COLUMNS}) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS worked (what TEXT PRIMARY KEY, template TEXT) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS deaths (name TEXT PRIMARY KEY, sha256 TEXT, crashes INTEGER, killed_runs INTEGER, "
    "memory_bytes INTEGER) WITHOUT ROWID",
    cost="every clip is read again",
    checked=("clips", "deaths"),
)
_PLACES = f"({','.join('?' * (1 + _COLUMNS.count(',')))})"
_INSERT = "INSERT OR REPLACE INTO clips VALUES "
_VALUES = _COLUMNS.count(",")
"""Columns beside the checksum."""
_RECORD = struct.Struct("<32sQqI")
"""A whole clip in memory: SHA-256, size in bytes, time of change in nanoseconds, and which geometry."""
_SHA256 = re.compile("[0-9a-f]{64}")
_ROWS_AT_ONCE = 64
_NAMES_AT_ONCE = 512
_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class ReadClip:
    """A clip that was read: its stamp, its hash, and its geometry or the reason why it is broken.

    ``header`` is all that is known of one over a cap: nothing of it was decoded, and its pixel format is not known.
    """

    stamp: FileStamp
    sha256: str
    geometry: Geometry | None
    broken: str = ""
    header: Geometry | None = None


class PackedClips(MutableMapping[str, ReadClip]):
    """Name → ``ReadClip``. One that is whole takes a hundred bytes beside its name; any other is kept as it is."""

    def __init__(self) -> None:
        self._records: dict[str, bytes | ReadClip] = {}
        # Clips of a corpus have few geometries. 25 and 25.0 are equal, and not the same in a row.
        self._numbers: dict[tuple[Geometry, type, type], int] = {}
        self._geometries: list[Geometry] = []

    def __setitem__(self, name: str, clip: ReadClip) -> None:
        geometry, stamp = clip.geometry, clip.stamp
        is_whole_clip = geometry is not None and not clip.broken and clip.header is None
        if not is_whole_clip or stamp.size_bytes < 0 or not _SHA256.fullmatch(clip.sha256):
            self._records[name] = clip
            return
        assert geometry is not None
        key = geometry, type(geometry.framerate), type(geometry.duration_s)
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._geometries)
            self._geometries.append(geometry)
        self._records[name] = _RECORD.pack(bytes.fromhex(clip.sha256), stamp.size_bytes, stamp.mtime_ns, number)

    def __getitem__(self, name: str) -> ReadClip:
        record = self._records[name]
        if isinstance(record, ReadClip):
            return record
        digest, size_bytes, mtime_ns, number = _RECORD.unpack(record)
        return ReadClip(FileStamp(size_bytes, mtime_ns), digest.hex(), self._geometries[number])

    def __delitem__(self, name: str) -> None:
        del self._records[name]

    def __contains__(self, name: object) -> bool:
        return name in self._records

    def __iter__(self) -> Iterator[str]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)


class IngestCache:
    """Name → ``ReadClip``, committed as they come; a ``CacheFile``, with its errors and its healing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = CacheFile(path, _FORMAT).__enter__()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()

    def load(self) -> Mapping[str, ReadClip]:
        """All clips of the cache, by name."""
        return self._file.ask(partial(_every_clip, path=self.path))

    def known(self, names: Sequence[str]) -> Mapping[str, ReadClip]:
        """The clips of these names that it knows."""
        return self._file.ask(partial(_of_names, names=names, path=self.path))

    @property
    def template(self) -> str:
        """The address template by which a clip was fetched last; empty where none was."""
        return self._file.ask(_template)

    @template.setter
    def template(self, template: str) -> None:
        self._file.ask(lambda file: file.execute("INSERT OR REPLACE INTO worked VALUES ('address', ?)", [template]))

    def deaths(self) -> Mapping[str, Deaths]:
        """How often processes died over a clip that is not settled yet, by name."""
        return self._file.ask(_every_death)

    def put_deaths(self, deaths: Mapping[str, Deaths | None]) -> None:
        """Commit deaths at once, by clip name; None for a clip that is settled."""
        gone = [(name,) for name, one in deaths.items() if one is None]
        rows = [(name, *astuple(one)) for name, one in deaths.items() if one is not None]
        checked = [(*row, checksum_of(row)) for row in rows]

        def write(file: sqlite3.Connection) -> None:
            file.executemany("DELETE FROM deaths WHERE name = ?", gone)
            file.executemany("INSERT OR REPLACE INTO deaths VALUES (?, ?, ?, ?, ?, ?)", checked)

        if gone or rows:
            self._file.ask(write)

    def put(self, name: str, clip: ReadClip) -> None:
        """Commit one clip at once."""
        self.put_all({name: clip})

    def put_all(self, clips: Mapping[str, ReadClip]) -> None:
        """Commit clips at once, by name; a statement and a commit for all of them costs little more than for one."""
        rows: list[list[object]] = []
        for name, clip in clips.items():
            probed = clip.geometry or clip.header
            geometry = [None] * 6 if probed is None else list(probed.as_dict().values())
            if clip.header is not None:  # whose nulls an older edition takes for damage: it reads the clip again
                geometry[4:] = None, None
            row = [name, clip.stamp.size_bytes, clip.stamp.mtime_ns, clip.sha256, clip.broken, *geometry]
            rows.append([*row, checksum_of(row)])

        def write(file: sqlite3.Connection) -> None:
            for start in range(0, len(rows), _ROWS_AT_ONCE):  # SQLite takes so many values in one statement
                several = rows[start : start + _ROWS_AT_ONCE]
                statement = _INSERT + ",".join([_PLACES] * len(several))
                file.execute(statement, [value for row in several for value in row])

        self._file.ask(write)


def read_only(path: Path) -> tuple[Mapping[str, ReadClip], str, Mapping[str, Deaths]]:
    """All clips of a cache that is left as it is, by name, its ``template`` and ``deaths``; empty where a run would
    begin it."""
    nothing: tuple[Mapping[str, ReadClip], str, Mapping[str, Deaths]] = {}, "", {}
    return ask_read_only(
        path, _FORMAT, lambda file: (_every_clip(file, path), _template(file), _every_death(file)), nothing
    )


def hashes_of(path: Path, names: Sequence[str]) -> Mapping[str, StampedHash]:
    """What the clips of these names hashed to, and with which stamp; those that the cache does not know are left out.

    The file is left as it is.
    """

    def known(file: sqlite3.Connection) -> Mapping[str, StampedHash]:
        clips = _of_names(file, names, path)
        return {name: StampedHash(clip.stamp, clip.sha256) for name, clip in clips.items()}

    nothing: Mapping[str, StampedHash] = {}
    try:
        return ask_read_only(path, _FORMAT, known, nothing)
    except sqlite3.OperationalError:  # it cannot be opened: every clip is hashed, as without it
        return nothing


def _every_clip(file: sqlite3.Connection, path: Path) -> Mapping[str, ReadClip]:
    return _whole(file.execute("SELECT * FROM clips"), path)


def _of_names(file: sqlite3.Connection, names: Sequence[str], path: Path) -> Mapping[str, ReadClip]:
    found: dict[str, ReadClip] = {}
    for start in range(0, len(names), _NAMES_AT_ONCE):
        several = names[start : start + _NAMES_AT_ONCE]
        places = ",".join("?" * len(several))
        rows = file.execute(f"SELECT * FROM clips WHERE name IN ({places})", several)  # noqa: S608
        found.update(_whole(rows, path))
    return found


def _whole(rows: Iterable[tuple[object, ...]], path: Path) -> Mapping[str, ReadClip]:
    """The clips of the rows that are as they were put, by name."""
    clips = PackedClips()
    damaged = 0
    for row in rows:
        # A file of an edition without checksums, that is only read, lacks their column.
        if len(row) == _VALUES or is_whole(row):
            clips[str(row[0])] = _read_clip(row[1:_VALUES])
        else:
            damaged += 1
    if damaged:
        _log.warning("%s: %d rows are not as they were put: their clips are read again", path, damaged)
    return clips


def _has_table(file: sqlite3.Connection, name: str) -> bool:
    # A file of an older version gets its later tables when a run opens it, and may be only read here.
    return file.execute("SELECT 1 FROM sqlite_master WHERE name = ?", [name]).fetchone() is not None


def _every_death(file: sqlite3.Connection) -> Mapping[str, Deaths]:
    if not _has_table(file, "deaths"):
        return {}
    deaths: dict[str, Deaths] = {}
    for row in file.execute("SELECT * FROM deaths"):
        name, sha256, *counts, _ = row
        # A count that is damaged begins anew: nothing but patience hangs on it.
        if is_whole(row) and _of_kinds((name, sha256, *counts), (str, str, int, int, int)):
            deaths[name] = Deaths(sha256, *counts)
    return deaths


def _template(file: sqlite3.Connection) -> str:
    if not _has_table(file, "worked"):
        return ""
    row = file.execute("SELECT template FROM worked").fetchone()
    return str(row[0]) if row else ""


def _read_clip(row: tuple[object, ...]) -> ReadClip:
    size, mtime, sha256, broken, *geometry = row
    if not _of_kinds((size, mtime, sha256), (int, int, str)):
        raise ValueError(f"a row of other values: {row!r:.200}")
    stamp = FileStamp(size, mtime)  # type: ignore[arg-type]
    if geometry[0] is None:
        return ReadClip(stamp, str(sha256), None, str(broken or ""))
    is_header = geometry[4:] == [None, None]
    if not _of_kinds(geometry, (int, int, float, float, *([NoneType] * 2 if is_header else [str] * 2))):
        raise ValueError(f"a geometry of other values: {geometry!r:.200}")
    if is_header:
        return ReadClip(stamp, str(sha256), None, header=Geometry(*geometry[:4], "", ""))  # type: ignore[call-arg,arg-type]
    return ReadClip(stamp, str(sha256), Geometry(*geometry), str(broken or ""))  # type: ignore[arg-type]


def _of_kinds(values: Sequence[object], kinds: Sequence[type]) -> bool:
    return all(isinstance(value, kind) for value, kind in zip(values, kinds, strict=True))
