"""Which name a clip has on disk, where a corpus's files are named otherwise than its annotation says."""

import logging
import os
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

from vqa_assets.annotations import VIDEO_SUFFIXES, AnnotationRow
from vqa_assets.ingest.layout import ClipFolders

_log = logging.getLogger("vqa_assets.ingest")


def named_on_disk(rows: Sequence[AnnotationRow], clips: ClipFolders) -> tuple[AnnotationRow, ...]:
    """The rows, each under the name that its clip has on disk; a clip that is not there keeps its first name.

    A name that another row goes by is never taken.
    """
    if not any(row.also or row.also_starting for row in rows):
        return tuple(rows)
    disk = _Disk(clips)
    taken = {row.src for row in rows}
    return tuple(_renamed(row, disk, taken) for row in rows)


def _renamed(row: AnnotationRow, disk: "_Disk", taken: set[str]) -> AnnotationRow:
    if row.problem or row.repeats or disk.holds(row.src):
        return row
    for name in (*row.also, *disk.only_one(row)):
        if name not in taken and disk.holds(name):
            taken.add(name)
            return replace(row, src=name)
    return row


class _Disk:
    """The clips that are there, by name."""

    def __init__(self, clips: ClipFolders) -> None:
        self._clips = clips

    def holds(self, name: str) -> bool:
        return os.path.lexists(self._clips.path_of(name))

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
        begin = bisect_left(self._names, start)
        found = []
        for name in self._names[begin:]:
            if not name.startswith(start):
                break
            if name.lower().endswith(VIDEO_SUFFIXES):
                found.append(name)
        return found

    @cached_property
    def _names(self) -> list[str]:
        names = {
            os.path.relpath(os.path.join(parent, name), folder)  # noqa: PTH118
            for folder in self._clips.every
            for parent, _, files in os.walk(folder)
            for name in files
        }
        return sorted(names)
