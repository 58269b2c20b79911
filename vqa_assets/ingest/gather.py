"""The loop itself: what a run is going to do is said, then every clip becomes an outcome, committed as it completes.

Which rows follow from the outcomes is in ``rows``; publishing them in ``run``.
"""

import logging
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from vqa_assets.annotations import AnnotationRow
from vqa_assets.clips.folders import FileStamp, is_lfs_pointer, stamp_of
from vqa_assets.clips.geometry import is_raw
from vqa_assets.clips.work import ProgressLine, clock, completed_together, stopping
from vqa_assets.corpora import Corpus
from vqa_assets.errors import IngestError, ServerGoneError
from vqa_assets.ingest.cache import IngestCache, ReadClip
from vqa_assets.ingest.clip_task import (
    ClipOutcome,
    ClipState,
    ClipTask,
    as_raw,
    read_clip,
    unreadable,
)
from vqa_assets.ingest.naming import ClipsOnDisk
from vqa_assets.ingest.progress import DONE, Entry, Progress
from vqa_assets.ingest.report import IngestReport
from vqa_assets.ingest.tools import ClipTools
from vqa_assets.ingest.watching import Observer, Watch, unobserved
from vqa_assets.settings import IngestSettings

LINE_BYTES_PER_S = 12_500_000
"""The line of 100 Mbit/s that a time is told for: what the server gives is known only later."""
_log = logging.getLogger("vqa_assets.ingest")


@dataclass(frozen=True)
class FetchPlan:
    """Clips to fetch: how many have a size known from an earlier run and how many bytes, and how many are estimated."""

    known: int
    known_bytes: int
    estimated: int
    estimated_bytes: int

    @classmethod
    def of(cls, tasks: Iterable[ClipTask], sizes: Mapping[str, int], bytes_per_clip: int) -> "FetchPlan":
        """The plan for the tasks that have a URL; ``sizes`` are those that an earlier run saw, by clip name."""
        names = [task.name for task in tasks if task.url]
        known = [sizes[name] for name in names if name in sizes]
        estimated = len(names) - len(known)
        return cls(len(known), sum(known), estimated, estimated * bytes_per_clip)

    @property
    def clips(self) -> int:
        """All clips to fetch."""
        return self.known + self.estimated

    @property
    def total_bytes(self) -> int:
        """All bytes to fetch, as far as they can be told."""
        return self.known_bytes + self.estimated_bytes

    def told(self) -> str:
        """Bytes and time in words."""
        about = "about " if self.estimated else ""
        return f"{about}{_size(self.total_bytes)}, {clock(self.total_bytes / LINE_BYTES_PER_S)} at 100 Mbit/s"


def tell_plan(corpus: Corpus, rows: int, tasks: Iterable[ClipTask], fetch: FetchPlan) -> None:
    """Log what is to be done."""
    to_read = sum(not task.url for task in tasks)
    to_fetch = f"{fetch.clips} clips to fetch" + (f" ({fetch.told()})" if fetch.clips else "")
    _log.info("[%s-jsonl] %d rows: %s, %d to read, the rest known", corpus.name, rows, to_fetch, to_read)


def check_space(corpus: Corpus, fetch: FetchPlan, folder: Path) -> None:
    """IngestError where clips of known size do not fit on the disk; a warning where an estimate does not."""
    free = shutil.disk_usage(folder).free
    remedy = f"free some space in {folder}, move the corpus to a larger disk, or set max_rows"
    if fetch.known_bytes > free:
        raise IngestError(
            f"{corpus.name}: the clips to fetch do not fit on the disk",
            found=f"{_size(free)} free",
            expected=f"{_size(fetch.known_bytes)} for {fetch.known} clips whose sizes an earlier run saw",
            next_step=remedy,
        )
    if fetch.total_bytes > free:
        _log.warning(
            "%s: %d clips to fetch need about %s (%s each), and %s are free; %s",
            corpus.name,
            fetch.clips,
            _size(fetch.total_bytes),
            _size(fetch.total_bytes // max(1, fetch.clips)),
            _size(free),
            remedy,
        )


def _size(count: int) -> str:
    """Bytes for people, in decimal units."""
    for unit, size in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1e3:.0f} KB"


WINDOW_PER_WORKER = 4
LEAST_WINDOW = 64
"""Small clips complete faster than the coordinator comes round: a narrower window would leave few workers idle."""


@dataclass(frozen=True)
class ClipFolder:
    """What one run knows of its clips before it begins; ``sizes`` are those of the earlier JSONL, by clip name."""

    corpus: Corpus
    settings: IngestSettings
    clips: ClipsOnDisk
    progress: Progress
    cache: IngestCache
    sizes: Mapping[str, int] = field(default_factory=dict)
    observe: Observer = unobserved


@dataclass
class _Run:
    """The outcomes so far; only the coordinator touches it."""

    folder: ClipFolder
    report: IngestReport
    known: Mapping[str, ReadClip]
    outcomes: dict[str, ClipOutcome] = field(default_factory=dict)
    unreachable: int = 0
    answered: int = 0

    def known_as(self, stamp: FileStamp | None, row: AnnotationRow) -> ClipOutcome | None:
        """What is known of a clip that has not changed since it was read; None where it must be read (again)."""
        known, settings = self.known.get(row.src), self.folder.settings
        if known is None or known.stamp != stamp or settings.rescan:
            return None
        if settings.raw_video is not None and is_raw(row.src):
            known = as_raw(known, settings.raw_video, row.codec)
        return ClipOutcome(ClipState.BROKEN if known.broken else ClipState.READ, known, known.broken)

    def settle(self, outcomes: Mapping[str, ClipOutcome]) -> None:
        """Commit outcomes together: the cache first, then the progress."""
        self.outcomes.update(outcomes)
        read = {name: o.clip for name, o in outcomes.items() if o.clip is not None and o.read_bytes and o.lasting}
        self.folder.cache.put_all(read)
        entries = {name: _entry_of(outcome) for name, outcome in outcomes.items()}
        self.folder.progress.set_all({name: entry for name, entry in entries.items() if entry is not None})

    def count(self, name: str, outcome: ClipOutcome, watch: Watch) -> None:
        """Count what a worker did."""
        self.unreachable += outcome.unreachable
        self.answered += not outcome.unreachable
        self.report.read_clips += outcome.read_bytes > 0
        self.report.read_bytes += outcome.read_bytes
        self.report.fetched_clips += outcome.fetched_bytes > 0
        self.report.fetched_bytes += outcome.fetched_bytes
        watch.totals.failed += outcome.state in (ClipState.FAILED, ClipState.UNAVAILABLE)
        watch.totals.broken += outcome.state is ClipState.BROKEN
        if outcome.state is ClipState.FAILED:
            _log.warning("%s: %s: %s", self.folder.corpus.name, name, outcome.reason)
        watch.clip_done()


def gather_outcomes(
    rows: Sequence[AnnotationRow], folder: ClipFolder, tools: ClipTools, executor: Executor, report: IngestReport
) -> Mapping[str, ClipOutcome]:
    """One outcome for every usable row of the run, by clip name; each is committed as it completes.

    ServerGoneError where no clip is there and none could be had because no server answered; IngestError where clips of
    known size do not fit on the disk.
    """
    run = _Run(folder, report, folder.cache.load())
    tasks = _tasks(rows, run)
    fetch = FetchPlan.of(tasks, _known_sizes(tasks, run), folder.corpus.bytes_per_clip)
    tell_plan(folder.corpus, len(rows), tasks, fetch)
    check_space(folder.corpus, fetch, folder.clips.folders.target)
    with stopping(tools.stop, executor, tools.prober.close):
        _work(tasks, run, tools, executor)
    _check_server(run, folder.corpus)
    return run.outcomes


def workers_of(settings: IngestSettings) -> int:
    """Clips in hand at once: the setting, else the larger of the cores and the transfers a host may have."""
    return settings.workers or max(os.cpu_count() or 1, settings.per_host)


def _entry_of(outcome: ClipOutcome) -> Entry | None:
    if outcome.clip is not None:
        return DONE
    return Entry("failed", outcome.reason) if outcome.state is ClipState.FAILED else None


def _tasks(rows: Sequence[AnnotationRow], run: _Run) -> list[ClipTask]:
    """The clips that need a worker; all others are settled from the cache, the progress or their absence."""
    tasks: list[ClipTask] = []
    settled: dict[str, ClipOutcome] = {}
    for row in rows:
        if row.problem or row.repeats:
            continue
        found = _without_work(row, run)
        if isinstance(found, ClipTask):
            tasks.append(found)
        else:
            settled[row.src] = found
    run.settle(settled)
    return tasks


def _without_work(row: AnnotationRow, run: _Run) -> ClipOutcome | ClipTask:
    """The outcome of a clip that need not be touched, else the task."""
    clips, score_drop = run.folder.clips, str(row.extra.get("score_drop", ""))
    stamp = clips.stamp(row.src, score_drop)
    known = run.known_as(stamp, row)
    if known is not None:
        return known
    path = clips.folders.path_of(row.src, score_drop)
    try:
        stamp = stamp or stamp_of(path)
        if stamp is not None and is_lfs_pointer(path, stamp):
            stamp = None
    except OSError as error:
        return unreadable(error)
    if stamp is None:
        return _absent(row, path, run)
    raw = run.folder.settings.raw_video if is_raw(row.src) else None
    return run.known_as(stamp, row) or ClipTask(row.src, path, "", raw, row.codec)


def _absent(row: AnnotationRow, path: Path, run: _Run) -> ClipOutcome | ClipTask:
    if not row.url:
        folders = run.folder.clips.folders.searched(str(row.extra.get("score_drop", "")))
        spelled = run.folder.clips.spelled_otherwise(row.src)
        return ClipOutcome(ClipState.MISSING, reason=_why_missing([folder / row.src for folder in folders], spelled))
    settings, entry = run.folder.settings, run.folder.progress.entries.get(row.src)
    if entry is not None and entry.state == "failed" and not settings.retry_failed:
        return ClipOutcome(ClipState.FAILED, reason=entry.reason)
    return ClipTask(row.src, path, row.url, settings.raw_video if is_raw(row.src) else None, row.codec)


def _why_missing(places: Iterable[Path], spelled: str) -> str:
    for path in places:
        if os.path.isfile(path):  # noqa: PTH113
            return "a Git-LFS pointer, and no URL; run git lfs pull"
        if os.path.islink(path):  # noqa: PTH114
            return "a dangling link, and no URL"
    return "no file, and no URL" + (f": {spelled!a} is there, and names are compared as they stand" if spelled else "")


def _known_sizes(tasks: Sequence[ClipTask], run: _Run) -> Mapping[str, int]:
    """Sizes in bytes of clips that an earlier run saw and that are gone now."""
    sizes = dict(run.folder.sizes)
    sizes |= {task.name: run.known[task.name].stamp.size_bytes for task in tasks if task.name in run.known}
    return sizes


def _work(tasks: Sequence[ClipTask], run: _Run, tools: ClipTools, executor: Executor) -> None:
    line = ProgressLine(f"{run.folder.corpus.name}-jsonl", len(tasks), _log.info)
    watch = Watch(line, run.report, run.folder.observe)
    window = max(LEAST_WINDOW, WINDOW_PER_WORKER * workers_of(run.folder.settings))
    batches = completed_together(executor, lambda task: read_clip(task, tools), tasks, window, watch.look)
    with closing(batches):
        for batch in batches:
            _commit(batch, run, watch)
    watch.end()


def _commit(batch: Sequence[tuple[ClipTask, "Future[ClipOutcome]"]], run: _Run, watch: Watch) -> None:
    """Settle what completed; where one of them ended the run, the others are kept all the same."""
    failed = [future for _, future in batch if future.exception() is not None]
    outcomes = {task.name: future.result() for task, future in batch if future not in failed}
    run.settle(outcomes)
    for name, outcome in outcomes.items():
        run.count(name, outcome, watch)
    for future in failed:
        future.result()


def _check_server(run: _Run, corpus: Corpus) -> None:
    states = {outcome.state for outcome in run.outcomes.values()}
    if run.unreachable and not run.answered and not states & {ClipState.READ, ClipState.BROKEN}:
        reason = next(o.reason for o in run.outcomes.values() if o.unreachable)
        raise ServerGoneError(
            f"{corpus.name}: no server answered",
            found=f"{run.unreachable} of {run.unreachable} transfers without an answer, the first: {reason}",
            expected="the hosts of the URL column to be reachable",
            next_step="check the network and the URLs, then start the same run again: no clip was marked as failed",
        )
