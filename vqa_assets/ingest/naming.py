"""Which name a clip goes by, where a corpus's files are named otherwise than its annotation says."""

import logging
import os
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice

from vqa_assets.annotations import VIDEO_SUFFIXES, AnnotationRow
from vqa_assets.clips.folders import ClipFolders, is_there

_log = logging.getLogger("vqa_assets.ingest")


def named_on_disk(
    rows: Sequence[AnnotationRow], clips: ClipFolders, earlier: Mapping[str, object] | None = None
) -> tuple[AnnotationRow, ...]:
    """The rows, each under the name that its clip has on disk, else the one it had in the ``earlier`` JSONL.

    ``earlier`` is clip name → score. A clip that is in neither keeps its first name. A name that another row goes by is
    never taken, nor one that begins as another row says more exactly. A bad row goes by the name of the earlier row
    that it takes away.
    """
    if not any(row.also or row.also_starting for row in rows):
        return tuple(rows)
    on_disk, before = _Disk(clips), _Earlier(earlier or {})
    beginnings = {start for row in rows for start in row.also_starting}
    naming = _Naming(earlier or {}, beginnings, {row.src for row in rows})
    usable = {i: naming.renamed(row, (on_disk, before)) for i, row in enumerate(rows) if not row.problem}
    naming.tell_other_scores(usable.values())
    return tuple(usable.get(i) or naming.renamed(row, (before, on_disk)) for i, row in enumerate(rows))


@dataclass
class _Naming:
    """The names that are given so far: ``taken`` to rows; ``found`` has the other name of a row by its first name."""

    earlier: Mapping[str, object]
    beginnings: Collection[str]
    taken: set[str]
    found: dict[str, str] = field(default_factory=dict)

    def renamed(self, row: AnnotationRow, known: Iterable["_Names"]) -> AnnotationRow:
        """The row under the name that its clip has among the first names that know it."""
        if row.repeats or not row.src:
            return row
        for names in known:
            if row.src not in self.found and names.holds(row.src):
                return row
            for name in (*row.also, *self._beginning_so(row, names)):
                if self._is_free(name, row) and names.holds(name):
                    self.taken.add(name)
                    self.found[row.src] = name
                    return replace(row, src=name)
        return row

    def tell_other_scores(self, rows: Iterable[AnnotationRow]) -> None:
        """Warn of clips that only a beginning ties to their rows, where the earlier row had another score."""
        told = [row.src for row in rows if row.also_starting and self.earlier.get(row.src, row.mos) != row.mos]
        told = [name for name in told if name in self.found.values()]
        if told:
            _log.warning(
                "%d clips are known by the beginning of their names and had another score (%s); if one of them is the "
                "clip of no row any more, remove it and its row",
                len(told),
                ", ".join(told[:3]),
            )

    def _is_free(self, name: str, row: AnnotationRow) -> bool:
        return name not in self.taken or self.found.get(row.src) == name

    def _beginning_so(self, row: AnnotationRow, names: "_Names") -> list[str]:
        """The one clip whose name begins as the row says; none where several do."""
        for start in row.also_starting:
            found = [name for name in names.starting(start) if self._may_be(name, start, row)]
            if len(found) == 1:
                return found
            if found:
                _log.warning("%s: %d clips could be meant (%s); rename the right one", row.src, len(found), found[:3])
        return []

    def _may_be(self, name: str, start: str, row: AnnotationRow) -> bool:
        """Whether no other row says the name's beginning more exactly, and no earlier row shows it to be another's.

        A clip that has an earlier row beside this row's own, with a score of neither, is another clip.
        """
        if next(name[:end] for end in range(len(name), 0, -1) if name[:end] in self.beginnings) != start:
            return False
        both = row.src in self.earlier and name in self.earlier
        return not both or self.earlier[name] in (row.mos, self.earlier[row.src])


class _Names(ABC):
    """Names of clips, to be asked by a whole name or by its beginning."""

    @abstractmethod
    def holds(self, name: str) -> bool: ...

    @cached_property
    @abstractmethod
    def _sorted(self) -> list[str]: ...

    def starting(self, start: str) -> list[str]:
        """The clips whose name begins so."""
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
        return is_there(self._clips.path_of(name))

    @cached_property
    def _sorted(self) -> list[str]:
        names = {
            os.path.relpath(os.path.join(parent, name), folder)  # noqa: PTH118
            for folder in self._clips.every
            for parent, _, files in os.walk(folder)
            for name in files
        }
        return sorted(name for name in names if _is_text(name))


def _is_text(name: str) -> bool:
    """False for a file name of bytes that are no UTF-8, which no row, cache or log can hold."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
