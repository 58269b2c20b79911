"""Which name a clip goes by, where a corpus's files are named otherwise than its annotation says."""

import logging
import os
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import islice

from vqa_assets.annotations import VIDEO_SUFFIXES, AnnotationRow
from vqa_assets.ingest.layout import ClipFolders

_log = logging.getLogger("vqa_assets.ingest")


def named_on_disk(
    rows: Sequence[AnnotationRow], clips: ClipFolders, earlier: Collection[str] = ()
) -> tuple[AnnotationRow, ...]:
    """The rows, each under the name that its clip has on disk, else the one it had in the ``earlier`` JSONL.

    A clip that is in neither keeps its first name. A name that another row goes by is never taken.
    """
    if not any(row.also or row.also_starting for row in rows):
        return tuple(rows)
    known = (_Disk(clips), _Earlier(earlier))
    taken = {row.src for row in rows}
    return tuple(_renamed(row, known, taken) for row in rows)


def _renamed(row: AnnotationRow, known: Iterable["_Names"], taken: set[str]) -> AnnotationRow:
    if row.problem or row.repeats:
        return row
    for names in known:
        if names.holds(row.src):
            return row
        for name in (*row.also, *names.only_one(row)):
            if name not in taken and names.holds(name):
                taken.add(name)
                return replace(row, src=name)
    return row


class _Names(ABC):
    """Names of clips, to be asked by a whole name or by its beginning."""

    @abstractmethod
    def holds(self, name: str) -> bool: ...

    @cached_property
    @abstractmethod
    def _sorted(self) -> list[str]: ...

    def only_one(self, row: AnnotationRow) -> list[str]:
        """The one clip whose name begins as the row says; none where several do."""
        for start in row.also_starting:
            found = self._starting(start)
            if len(found) == 1:
                return found
            if found:
                _log.warning("%s: %d clips could be meant (%s); rename the right one", row.src, len(found), found[:3])
        return []

    def _starting(self, start: str) -> list[str]:
        begin = bisect_left(self._sorted, start)
        found = []
        for name in islice(self._sorted, begin, None):
            if not name.startswith(start):
                break
            if name.lower().endswith(VIDEO_SUFFIXES):
                found.append(name)
        return found


class _Earlier(_Names):
    """The clips that the earlier JSONL has rows of."""

    def __init__(self, earlier: Collection[str]) -> None:
        self._earlier = earlier

    def holds(self, name: str) -> bool:
        return name in self._earlier

    @cached_property
    def _sorted(self) -> list[str]:
        return sorted(self._earlier)


class _Disk(_Names):
    """The clips that are there."""

    def __init__(self, clips: ClipFolders) -> None:
        self._clips = clips

    def holds(self, name: str) -> bool:
        return os.path.lexists(self._clips.path_of(name))

    @cached_property
    def _sorted(self) -> list[str]:
        names = {
            os.path.relpath(os.path.join(parent, name), folder)  # noqa: PTH118
            for folder in self._clips.every
            for parent, _, files in os.walk(folder)
            for name in files
        }
        return sorted(names)
