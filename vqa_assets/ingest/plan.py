"""What one run will do, decided before anything is written: which file is a row's clip, what is known of it already.

``run`` carries a plan out, ``rehearsal`` only tells it. What workers do with the clips that are left is in ``gather``.
"""

import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from vqa_assets.annotations.reading import Annotations
from vqa_assets.annotations.rows import CONTENT_ID, AnnotationRow
from vqa_assets.clips.caps import ClipCaps
from vqa_assets.clips.folders import ClipPlace, FileStamp, StoredClip, is_lfs_pointer
from vqa_assets.clips.geometry import is_raw
from vqa_assets.clips.hub import HubAccess
from vqa_assets.clips.trouble import Deaths, tried_again
from vqa_assets.corpora import Corpus
from vqa_assets.corpora.raw_video import RawVideo
from vqa_assets.ingest.cache import ReadClip
from vqa_assets.ingest.clip_task import (
    ClipOutcome,
    ClipSource,
    ClipState,
    ClipTask,
    as_raw,
    known_outcome,
    told_addresses,
    unreadable,
)
from vqa_assets.ingest.earlier import RowsOf
from vqa_assets.ingest.fetching import FetchPlan
from vqa_assets.ingest.hub import HubClips, rows_with_hub_addresses
from vqa_assets.ingest.layout import ClipsOnDisk, CorpusLayout
from vqa_assets.ingest.naming import LikeNames, NamedRows, named_on_disk, score_drop
from vqa_assets.ingest.outcomes import Outcomes
from vqa_assets.ingest.progress import Entry
from vqa_assets.ingest.settings import IngestSettings
from vqa_assets.tables.files import JsonLine


@dataclass(frozen=True)
class KnownClips:
    """What earlier runs left, by clip name: the clips they read, and how their downloads ended.

    ``template`` is the address template by which the last clip came; ``deaths`` are those of the processes that read a
    clip that is not settled yet.
    """

    read: Mapping[str, ReadClip] = field(default_factory=dict)
    downloads: Mapping[str, Entry] = field(default_factory=dict)
    template: str = ""
    deaths: Mapping[str, Deaths] = field(default_factory=dict)


@dataclass(frozen=True)
class IngestPlan:
    """One run as decided.

    ``annotations`` and ``run`` (the rows of this run) go by the names that clips have on disk. Every usable row of the
    run is settled in ``known``, by clip name, or is one of ``tasks``, the clips that a worker must fetch or read.
    ``template`` is ``KnownClips``'s; ``hub`` is what the Hugging Face Hub gave.
    """

    corpus: Corpus
    settings: IngestSettings
    annotations: Annotations
    run: list[AnnotationRow]
    clips: ClipsOnDisk
    named: NamedRows
    known: Mapping[str, ClipOutcome]
    tasks: list[ClipTask]
    fetch: FetchPlan
    template: str
    hub: HubClips


def plan_ingest(
    corpus: Corpus,
    settings: IngestSettings,
    layout: CorpusLayout,
    annotations: Annotations,
    earlier: Mapping[str, JsonLine],
    access: HubAccess,
    known: Callable[[], KnownClips],
) -> IngestPlan:
    """The plan of a run over an annotation that was read; ``earlier`` is the JSONL that is there, by ``src``.

    ``known`` is asked once the clips are named: what naming needs and what is known need not be in memory together.
    Reads the disk's listings, and no clip; the Hugging Face Hub is asked what it has where a row waits for it.
    """
    clips = ClipsOnDisk(layout.clips, settings.clip_suffix)
    named = named_on_disk(annotations.rows, clips, settings.clip_suffix, RowsOf(earlier))
    annotations = replace(annotations, rows=named.rows)
    run = rows_of_this_run(annotations, settings.max_rows)
    hub = rows_with_hub_addresses(annotations.rows, run, clips, settings, access, layout.manifest)
    if hub.rows is not annotations.rows:
        annotations = replace(annotations, rows=hub.rows)
        run = rows_of_this_run(annotations, settings.max_rows)
    taken = {*earlier, *(row.src for row in annotations.rows)}
    earlier_runs = known()
    sorting = _Sorting(
        settings, clips, earlier_runs, LikeNames(named.unclaimed), taken, hub, settings.caps(), corpus.bytes_per_clip
    )
    settled = Outcomes()
    tasks: list[ClipTask] = []
    for row in run:
        if row.problem or row.repeats:
            continue
        result = sorting.outcome_or_task(row)
        if isinstance(result, ClipTask):
            tasks.append(result)
        else:
            settled[row.src] = result
    to_fetch = [task for task in tasks if task.url]
    sizes = {**_sizes_of(to_fetch, earlier), **sorting.sizes(to_fetch)}
    fetch = FetchPlan.of([task.name for task in to_fetch], sizes, corpus.bytes_per_clip)
    return IngestPlan(
        corpus, settings, annotations, run, clips, named, settled, tasks, fetch, earlier_runs.template, hub
    )


def rows_of_this_run(annotations: Annotations, max_rows: int | None) -> list[AnnotationRow]:
    """The first rows in file order, bad ones included, and the reference clips of their contents.

    A repeat whose first row lies outside cannot occur.
    """
    if max_rows is None:
        return list(annotations.rows)
    first = list(annotations.rows[:max_rows])
    contents = {row.extra[CONTENT_ID] for row in first if CONTENT_ID in row.extra}
    later = annotations.rows[max_rows:]
    return first + [row for row in later if row.reference and row.extra.get(CONTENT_ID) in contents]


def _sizes_of(tasks: Iterable[ClipTask], earlier: Mapping[str, JsonLine]) -> dict[str, int]:
    """The sizes in bytes that clips have by the earlier JSONL, by name, where a row says it."""
    # Rows of an older version may lack it.
    sizes = ((one.name, earlier[one.name].row.get("src_size_bytes")) for one in tasks if one.name in earlier)
    return {src: size for src, size in sizes if isinstance(size, int)}


@dataclass(frozen=True)
class _Sorting:
    """Tells the clips that need a worker from those that are settled by the cache, the progress or their absence.

    ``unclaimed`` are the clips on disk that no row names; ``taken`` are the names that no fetched clip may get instead
    of its own, ``given`` those that one may get now. ``hub`` says of a row without clip and address what the Hugging
    Face Hub had to say; ``caps`` what may be decoded; ``bytes_per_clip`` what a clip takes that nobody saw yet.
    """

    settings: IngestSettings
    clips: ClipsOnDisk
    earlier_runs: KnownClips
    unclaimed: LikeNames
    taken: Collection[str]
    hub: HubClips
    caps: ClipCaps
    bytes_per_clip: int
    given: set[str] = field(default_factory=set)

    def sizes(self, tasks: Iterable[ClipTask]) -> dict[str, int]:
        """Sizes in bytes of clips that an earlier run read, by name, those that are gone now among them."""
        read = self.earlier_runs.read
        return {task.name: read[task.name].stamp.size_bytes for task in tasks if task.name in read}

    def outcome_or_task(self, row: AnnotationRow) -> ClipOutcome | ClipTask:
        """The outcome of a clip that need not be touched, else the task."""
        clips, settings = self.clips, self.settings
        drop = score_drop(row)
        stamp = clips.stamp(row.src, drop)
        outcome = self._cached_outcome(row, stamp)
        if outcome is not None:
            return outcome
        path = clips.folders.path_of(row.src, drop)
        try:
            stamp = tried_again(partial(_stamp_at, clips, path, stamp), time.sleep)
        except OSError as error:
            return unreadable(error)
        if isinstance(path, StoredClip):
            seen = self.earlier_runs.read.get(row.src)
            size = stamp.size_bytes if stamp else seen.stamp.size_bytes if seen else self.bytes_per_clip
            path = replace(path, size_bytes=size)
        raw = settings.raw_video if is_raw(row.src) else None
        if stamp is not None:
            return self._cached_outcome(row, stamp) or self._reading(row, path, stamp, raw)
        if not row.url:
            return self._without_address(row)
        return self._fetching(row, path, raw)

    def _reading(self, row: AnnotationRow, path: ClipPlace, stamp: FileStamp, raw: RawVideo | None) -> ClipTask:
        """The task of a clip that is there; one that is shorter than when it was read may have lost its end.

        A power cut leaves such files. Another clip in its place, which may be shorter, is read as it is.
        """
        task = ClipTask(row.src, path, "", raw, row.codec, deaths=self.earlier_runs.deaths.get(row.src))
        clip = self.earlier_runs.read.get(row.src)
        if clip is None or clip.broken or clip.stamp.size_bytes <= stamp.size_bytes:
            return task
        fetching = self._fetching(row, path, raw) if row.url else None
        again = fetching if isinstance(fetching, ClipTask) else None
        cut_from = clip.stamp.size_bytes
        return replace(task, cut_from=cut_from, fetching=again and replace(again, cut_from=cut_from))

    def _fetching(self, row: AnnotationRow, path: ClipPlace, raw: RawVideo | None) -> ClipOutcome | ClipTask:
        """The task that fetches a clip; its outcome where an earlier run failed at the same addresses for good."""
        entry = self.earlier_runs.downloads.get(row.src)
        urls = [address.url for address in row.addresses] or [row.url]
        if entry is not None and entry.forbids(told_addresses(urls)) and not self.settings.retry_failed:
            return ClipOutcome(ClipState.FAILED, reason=entry.reason, address=entry.address)
        task = ClipTask(row.src, path, row.url, raw, row.codec, sources=self._sources(row, path))
        task = replace(task, deaths=self.earlier_runs.deaths.get(row.src))
        return replace(task, refused_sha256=entry.sha256, refused_runs=entry.runs) if entry else task

    def _sources(self, row: AnnotationRow, path: ClipPlace) -> tuple[ClipSource, ...]:
        """A clip's addresses, each with the name that what comes from there is kept by: no other clip's."""
        sources, clips = [], self.clips
        for address in row.addresses:
            name = address.src
            if name != row.src and (name in self.taken or name in self.given or clips.file_of(name)):
                name = row.src
            place = path if name == row.src else clips.folders.target / name
            if isinstance(place, StoredClip) and isinstance(path, StoredClip):
                place = replace(place, size_bytes=path.size_bytes)
            sources.append(ClipSource(address.url, address.template, name, place))
        self.given.update(source.name for source in sources)
        return tuple(sources)

    def _without_address(self, row: AnnotationRow) -> ClipOutcome:
        """The outcome of a clip that is not there and has no address; the Hub may have refused to say which it has."""
        if (refused := self.hub.refused) is not None:
            return ClipOutcome(ClipState.UNAVAILABLE, reason=refused.reason, unreachable=refused.unreachable)
        places = [folder / row.src for folder in self.clips.folders.searched(row.src, score_drop(row))]
        reason = _why_missing(
            [place for place in places if isinstance(place, Path)],
            self.hub.without,
            like=self.unclaimed.nearest(row.src),
        )
        return ClipOutcome(ClipState.MISSING, reason=reason)

    def _cached_outcome(self, row: AnnotationRow, stamp: FileStamp | None) -> ClipOutcome | None:
        """What the cache says of a clip that has not changed since; None where it must be read (again)."""
        clip, settings = self.earlier_runs.read.get(row.src), self.settings
        if clip is None or clip.stamp != stamp or settings.rescan:
            return None
        if settings.raw_video is not None and is_raw(row.src):
            clip = as_raw(clip, settings.raw_video, row.codec)  # the setting may be another than when it was read
        return known_outcome(clip, self.caps)


def _stamp_at(clips: ClipsOnDisk, path: ClipPlace, listed: FileStamp | None) -> FileStamp | None:
    """The stamp of the clip at a place, which a listing may have told already; None where none is there."""
    stamp = listed or clips.stamp_at(path)
    is_pointer = stamp is not None and isinstance(path, Path) and is_lfs_pointer(path, stamp)
    return None if is_pointer else stamp


def _why_missing(places: Iterable[Path], without: str, like: str) -> str:
    for path in places:
        if os.path.isfile(path):  # noqa: PTH113
            return "a Git-LFS pointer, and no URL; run git lfs pull"
        if os.path.islink(path):  # noqa: PTH114
            return "a dangling link, and no URL"
    return f"no file, and no URL{without}" + (f": {like!a} is there, and only like it" if like else "")
