"""What has been measured already, in one SQLite file: deleting it costs measuring again, nothing else.

One row per clip, reference and version of a family. The first edition kept all families of a clip in one row, under
one version of them all: such rows stay in the same table and are read, and it reads its own beside ours. What a family
measures is its own affair; which clips are asked for is in ``measuring``.

Beside them stand the clips in hand: a run that dies leaves them there, and one of them may be why.
"""

import base64
import json
import sqlite3
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import orjson

from vqa_assets.clips.cache import CacheFile, CacheFormat, checksum_of, is_whole
from vqa_assets.errors import FeatureError
from vqa_assets.features.family import FamilyVersion, Measured
from vqa_assets.printing import logger

_LAYOUT = CacheFormat(
    name="feature_cache",
    cost="clips are measured again",
    checked=("measured", "in_hand"),
    tables="""CREATE TABLE IF NOT EXISTS measured (
    sha256 TEXT, reference_sha256 TEXT, version TEXT, row TEXT, reason TEXT, checksum INTEGER,
    PRIMARY KEY (sha256, reference_sha256, version)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS in_hand (sha256 TEXT PRIMARY KEY, killed_runs INTEGER, checksum INTEGER)
    WITHOUT ROWID""",
)
_SELECT = "SELECT * FROM measured WHERE sha256 = ? AND reference_sha256 = ? AND version = ?"
_EARLIER = "SELECT * FROM measured WHERE sha256 = ? AND version = ?"
_VERSIONS = "SELECT reference_sha256, version FROM measured WHERE sha256 = ?"

_VECTOR = "float32"
"""The key under which a vector's bytes stand in a row."""

_log = logger(__name__)
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class CacheKey:
    """The bytes measured, those of the reference (empty without one), and the version of a family."""

    sha256: str
    reference_sha256: str
    version: str


@dataclass(frozen=True)
class Outcome:
    """What came of one clip and family: the measured columns, or the reason why there are none.

    ``lasting`` is false for a failure that the same bytes need not repeat; such a one is not kept. ``too_large`` is
    true where it is over a cap, ``killed`` where the process that measured it was killed.
    """

    row: Measured | None = None
    reason: str = ""
    lasting: bool = True
    too_large: bool = False
    killed: bool = False


class FeatureCache:
    """Outcomes by key; a context manager, used by one thread. Every ``put`` is committed when it returns.

    A row that is not as it was put counts as none; a file that is no cache, or a damaged one, is made anew with its
    whole rows; both with a warning. Raises ``FeatureError`` where the file can be neither read nor written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = CacheFile(path, _LAYOUT)
        self._has_folder = False
        self._damaged: set[str] = set()

    def __enter__(self) -> Self:
        self._ask(lambda _: None)
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, and say how many rows were damaged; a later call opens it again."""
        if self._damaged:
            _log.warning(
                "%s: %d rows are not as they were put: what they held is measured again", self.path, len(self._damaged)
            )
            self._damaged.clear()
        self._file.close()

    def get(self, key: CacheKey) -> Outcome | None:
        """The outcome put under ``key``, or None."""
        stored = self._ask(lambda c: c.execute(_SELECT, _columns(key)).fetchone())
        return None if stored is None else self._outcome(stored)

    def of_family(self, family: FamilyVersion, clip: CacheKey) -> Outcome | None:
        """The family's outcome for a clip, in its own row or in one of the first edition; None where there is none.

        The version of ``clip`` is what the clip's geometry adds to the family's.
        """
        outcome = self.get(family_key(family, clip))
        if outcome is not None:
            return outcome
        for version in family.earlier:
            for reference, earlier in self._earlier(clip.sha256, version + clip.version):
                # What does not depend on the reference is the same beside any.
                if earlier is None or (family.compares and reference != clip.reference_sha256):
                    continue
                if earlier.row is not None:
                    row = {name: earlier.row[name] for name in family.columns if name in earlier.row}
                    if row:
                        return Outcome(row=row)
                # Which family failed was not kept; it is taken for the one that the version names first.
                elif version.startswith(family.name):
                    return earlier
        return None

    def _earlier(self, sha256: str, version: str) -> "list[tuple[str, Outcome | None]]":
        """The outcomes of the first edition for these bytes, each with the reference beside which it was measured."""
        rows = self._ask(lambda c: c.execute(_EARLIER, (sha256, version)).fetchall())
        return [(str(row[1]), self._outcome(row)) for row in rows]

    def _outcome(self, stored: tuple[Any, ...]) -> Outcome | None:
        """The outcome in a row; None in a damaged one, which counts as none, and is told once for all of them."""
        outcome = _outcome(*stored[3:5]) if is_whole(stored) else None
        if outcome is None:
            self._damaged.add(str(stored[:3]))
        return outcome

    def other_version(self, family: FamilyVersion, clip: CacheKey) -> str:
        """Another version under which the family is known of the same bytes; empty where there is none.

        For a family that compares, beside the same reference.
        """
        own = family_key(family, clip)
        rows = self._ask(lambda c: c.execute(_VERSIONS, (clip.sha256,)).fetchall())
        for reference, version in rows:
            if version == own.version or (family.compares and reference != own.reference_sha256):
                continue
            names = version.partition(";")[0].rpartition(".")[0].split(" + ")
            if family.name in names:
                return str(version)
        return ""

    def put(self, key: CacheKey, outcome: Outcome) -> None:
        """Keep ``outcome`` under ``key`` in place of an earlier one; one that is not ``lasting`` is not kept."""
        self.put_all({key: outcome})

    def put_all(self, outcomes: Mapping[CacheKey, Outcome]) -> None:
        """``put`` of several, in one commit."""
        contents = (
            (*_columns(key), None if outcome.row is None else json.dumps(outcome.row, default=_kept), outcome.reason)
            for key, outcome in outcomes.items()
            if outcome.lasting
        )
        rows = [(*content, checksum_of(content)) for content in contents]

        def write(connection: sqlite3.Connection) -> None:
            with connection:
                # The connection commits by itself; of a clip all families are there, or none.
                connection.execute("BEGIN")
                connection.executemany("INSERT OR REPLACE INTO measured VALUES (?, ?, ?, ?, ?, ?)", rows)

        if rows:
            self._ask(write)

    def suspects(self) -> dict[str, int]:
        """The clips (by their hashes) that a run which died had in hand, and in how many runs a child that measured
        them was killed."""
        rows = self._ask(lambda c: c.execute("SELECT * FROM in_hand").fetchall())
        return {str(row[0]): int(row[1]) for row in rows if is_whole(row)}

    def take(self, sha256: str, killed_runs: int = 0) -> None:
        """Note a clip before anything reads it: should this process die, the next run finds it among the suspects."""
        row = (sha256, killed_runs)
        self._ask(lambda c: c.execute("INSERT OR REPLACE INTO in_hand VALUES (?, ?, ?)", (*row, checksum_of(row))))

    def release(self, sha256: str) -> None:
        """Forget that a clip was in hand."""
        self._ask(lambda c: c.execute("DELETE FROM in_hand WHERE sha256 = ?", (sha256,)))

    def _ask(self, question: Callable[[sqlite3.Connection], Answer]) -> Answer:
        try:
            if not self._has_folder:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._has_folder = True
            return self._file.ask(question)
        except (sqlite3.Error, OSError) as error:
            raise FeatureError(
                f"{self.path}: the feature cache cannot be used",
                found=str(error),
                next_step="free space, make the folder writable, or wait for the other run",
            ) from error


def family_key(family: FamilyVersion, clip: CacheKey) -> CacheKey:
    """Where a family's outcome for a clip is kept; the clip's reference counts where the family compares."""
    return CacheKey(clip.sha256, clip.reference_sha256 if family.compares else "", family.version + clip.version)


def _columns(key: CacheKey) -> tuple[str, str, str]:
    return key.sha256, key.reference_sha256, key.version


def _outcome(row: str | None, reason: str) -> Outcome | None:
    """The stored outcome; None for a row that is no JSON object.

    All rows share their names: 250 names of its own would be four fifths of what a row takes.
    """
    if row is None:
        return Outcome(reason=reason)
    try:
        stored = orjson.loads(row)
    except orjson.JSONDecodeError:
        # A value may be NaN, which is no JSON, though Python's own module writes and reads it.
        try:
            stored = json.loads(row)
        except ValueError:
            return None
    if not isinstance(stored, dict):
        return None
    return Outcome(row={sys.intern(name): _as_measured(value) for name, value in stored.items()})


def _kept(value: Any) -> dict[str, str]:
    """A vector as JSON: thousands of float32 as the bytes that they are, lowest byte first."""
    return {_VECTOR: base64.b64encode(value.astype("<f4").tobytes()).decode()}


def _as_measured(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    import numpy as np

    return np.frombuffer(base64.b64decode(value[_VECTOR]), "<f4")
