"""The loop itself: every clip of the run becomes an outcome, committed as it completes.

Which rows follow from the outcomes is in ``rows``; publishing them in ``publish``.
"""

import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from pathlib import Path

from vqa_assets.annotations import AnnotationRow
from vqa_assets.clip_work import ProgressLine, completed, stopping
from vqa_assets.corpora import Corpus
from vqa_assets.errors import ServerGoneError
from vqa_assets.ingest.clip_task import (
    ClipOutcome,
    ClipState,
    ClipTask,
    as_raw,
    is_lfs_pointer,
    is_raw,
    read_clip,
    stamp_of,
)
from vqa_assets.ingest.layout import ClipFolders
from vqa_assets.ingest.protocols import ClipTools
from vqa_assets.ingest.report import IngestReport
from vqa_assets.settings import IngestSettings
from vqa_assets.store.cache import FileStamp, IngestCache, ReadClip
from vqa_assets.store.progress import Entry, Progress

WINDOW_PER_WORKER = 4
_JUNK = (".part", ".tmp")
_log = logging.getLogger("vqa_assets.ingest")


@dataclass(frozen=True)
class ClipFolder:
    """What one run knows of its clips before it begins."""

    corpus: Corpus
    settings: IngestSettings
    clips: ClipFolders
    progress: Progress
    cache: IngestCache

    def path_of(self, row: AnnotationRow) -> Path:
        """Where the row's clip lies, or is to lie."""
        return self.clips.path_of(row.src, str(row.extra.get("score_drop", "")))


@dataclass
class _Run:
    """The outcomes so far; only the coordinator touches it."""

    folder: ClipFolder
    report: IngestReport
    say: Callable[[str], None]
    known: Mapping[str, ReadClip]
    outcomes: dict[str, ClipOutcome] = field(default_factory=dict)
    unreachable: int = 0

    def settle(self, name: str, outcome: ClipOutcome) -> None:
        """Commit one outcome: the cache first, then the progress."""
        self.outcomes[name] = outcome
        self.unreachable += outcome.unreachable
        if outcome.clip is not None:
            if outcome.read_bytes:
                self.folder.cache.put(name, outcome.clip)
            self.folder.progress.set(name, Entry("done"))
        elif outcome.state is ClipState.FAILED:
            self.folder.progress.set(name, Entry("failed", outcome.reason))
            _log.warning("%s: %s: %s", self.folder.corpus.name, name, outcome.reason)
        self.report.read_clips += outcome.read_bytes > 0
        self.report.read_bytes += outcome.read_bytes
        self.report.fetched_clips += outcome.fetched_bytes > 0
        self.report.fetched_bytes += outcome.fetched_bytes


def remove_leftovers(clips: ClipFolders) -> int:
    """Delete the clips' ``.part`` files an interrupted run left; their number."""
    found = (path for folder in clips.every for path in folder.rglob("*.part"))
    parts = [path for path in found if path.is_file() or path.is_symlink()]
    for path in parts:
        path.unlink()
    return len(parts)


def gather_outcomes(
    rows: Sequence[AnnotationRow], folder: ClipFolder, tools: ClipTools, executor: Executor, report: IngestReport
) -> Mapping[str, ClipOutcome]:
    """One outcome for every usable row of the run, by clip name; each is committed as it completes.

    ServerGoneError where no clip is there and none could be had because no server answered.
    """
    run = _Run(folder, report, _log.info, folder.cache.load())
    tasks = list(_tasks(rows, run))
    _tell_the_plan(tasks, len(rows), folder)
    with stopping(tools.stop, executor, tools.prober.close):
        _work(tasks, run, tools, executor)
    _check_server(run, folder.corpus)
    return run.outcomes


def count_unlabelled(clips: ClipFolders, names: set[str]) -> int:
    """Clips on disk that no annotation row names (hidden and temporary files are no clips)."""
    return sum(_unlabelled_in(folder, names) for folder in clips.every)


def _unlabelled_in(top: Path, names: set[str]) -> int:
    found = 0
    for folder, subfolders, files in os.walk(top):
        subfolders[:] = [name for name in subfolders if not name.startswith((".", "__"))]
        inside = Path(folder).relative_to(top)
        for name in files:
            if not name.startswith((".", "~$")) and not name.endswith(_JUNK):
                found += (inside / name).as_posix() not in names
    return found


def _tasks(rows: Sequence[AnnotationRow], run: _Run) -> Iterator[ClipTask]:
    """The clips that need a worker; all others are settled from the cache, the progress or their absence."""
    for row in rows:
        if row.problem or row.repeats:
            continue
        settled = _without_work(row, run)
        if settled is None:
            path = run.folder.path_of(row)
            raw = run.folder.settings.raw_video if is_raw(row.src) else None
            yield ClipTask(row.src, path, "" if _present(path) else row.url, raw, row.codec)
        else:
            run.settle(row.src, settled)


def _without_work(row: AnnotationRow, run: _Run) -> ClipOutcome | None:
    """The outcome of a clip that need not be touched, or None."""
    settings = run.folder.settings
    path = run.folder.path_of(row)
    try:
        stamp = _present(path)
    except OSError as error:
        return ClipOutcome(ClipState.UNAVAILABLE, reason=f"cannot be read: {error.strerror}")
    known = run.known.get(row.src)
    if stamp is not None:
        if known is None or known.stamp != stamp or settings.rescan:
            return None
        if settings.raw_video is not None and is_raw(row.src):
            known = as_raw(known, settings.raw_video, row.codec)
        return ClipOutcome(ClipState.BROKEN if known.broken else ClipState.READ, known, known.broken)
    if not row.url:
        return ClipOutcome(ClipState.MISSING, reason=_why_missing(path))
    entry = run.folder.progress.entries.get(row.src)
    if entry is not None and entry.state == "failed" and not settings.retry_failed:
        return ClipOutcome(ClipState.FAILED, reason=entry.reason)
    return None


def _present(path: Path) -> FileStamp | None:
    stamp = stamp_of(path)
    return None if stamp is None or is_lfs_pointer(path, stamp) else stamp


def _why_missing(path: Path) -> str:
    if path.is_symlink() and not path.exists():
        return "a dangling link, and no URL"
    if path.is_file():
        return "a Git-LFS pointer, and no URL; run git lfs pull"
    return "no file, and no URL"


def _work(tasks: Sequence[ClipTask], run: _Run, tools: ClipTools, executor: Executor) -> None:
    line = ProgressLine(f"{run.folder.corpus.name}-jsonl", len(tasks), run.say)
    window = WINDOW_PER_WORKER * workers_of(run.folder.settings)
    pairs: Iterator[tuple[ClipTask, Future[ClipOutcome]]]
    pairs = completed(executor, lambda task: read_clip(task, tools), tasks, window)
    for done, (task, future) in enumerate(pairs, 1):
        run.settle(task.name, future.result())
        line.update(done, lambda: _counts(run))


def workers_of(settings: IngestSettings) -> int:
    """Clips in hand at once: the setting, else the larger of the cores and the transfers a host may have."""
    return settings.workers or max(os.cpu_count() or 1, settings.per_host)


def _counts(run: _Run) -> str:
    states = [outcome.state for outcome in run.outcomes.values()]
    lost = states.count(ClipState.FAILED) + states.count(ClipState.UNAVAILABLE)
    megabytes = run.report.read_bytes / 1e6
    return f"{megabytes:.0f} MB read, {lost} failed, {states.count(ClipState.BROKEN)} broken"


def _tell_the_plan(tasks: Sequence[ClipTask], rows: int, folder: ClipFolder) -> None:
    corpus = folder.corpus
    to_fetch = sum(bool(task.url) for task in tasks)
    _log.info(
        "[%s-jsonl] %d rows: %d clips to fetch, %d to read, the rest known",
        corpus.name,
        rows,
        to_fetch,
        len(tasks) - to_fetch,
    )
    needed = to_fetch * corpus.bytes_per_clip
    free = shutil.disk_usage(folder.clips.target).free
    if needed > free:
        _log.warning(
            "%s: %d clips of about %.1f MB each need %.1f GB, and %.1f GB are free in %s; free some space, "
            "or set max_rows",
            corpus.name,
            to_fetch,
            corpus.bytes_per_clip / 1e6,
            needed / 1e9,
            free / 1e9,
            folder.clips.target,
        )


def _check_server(run: _Run, corpus: Corpus) -> None:
    states = {outcome.state for outcome in run.outcomes.values()}
    if run.unreachable and not states & {ClipState.READ, ClipState.BROKEN}:
        reason = next(o.reason for o in run.outcomes.values() if o.unreachable)
        raise ServerGoneError(
            f"{corpus.name}: no server answered",
            found=f"{run.unreachable} of {run.unreachable} transfers without an answer, the first: {reason}",
            expected="the hosts of the URL column to be reachable",
            next_step="check the network and the URLs, then start the same run again: no clip was marked as failed",
        )
