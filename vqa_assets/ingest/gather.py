"""Every clip of a run becomes an outcome: from what is known of it, or by a worker, committed as it completes.

What a worker does is in ``clip_task``; which rows follow from the outcomes is in ``rows``, publishing them in ``run``.
"""

import logging
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from vqa_assets.annotations import AnnotationRow
from vqa_assets.clips.downloading import DownloadLimits
from vqa_assets.clips.folders import FileStamp, is_lfs_pointer, stamp_of
from vqa_assets.clips.geometry import is_raw
from vqa_assets.clips.hub import HubAccess
from vqa_assets.clips.work import ClipPool, Observer, ProgressLine, Watch, completed_together, stopping, unobserved
from vqa_assets.corpora import Corpus
from vqa_assets.errors import ServerGoneError
from vqa_assets.ingest.cache import IngestCache, ReadClip
from vqa_assets.ingest.clip_task import (
    ClipLimits,
    ClipOutcome,
    ClipSource,
    ClipState,
    ClipTask,
    as_raw,
    read_clips,
    told_addresses,
    unreadable,
)
from vqa_assets.ingest.fetching import FetchPlan, check_space
from vqa_assets.ingest.hub import HubClips
from vqa_assets.ingest.layout import ClipsOnDisk
from vqa_assets.ingest.naming import LikeNames, score_drop
from vqa_assets.ingest.progress import DONE, Entry, Progress
from vqa_assets.ingest.rows import IngestReport
from vqa_assets.ingest.settings import IngestSettings
from vqa_assets.ingest.tools import ClipTools, DownloaderSource, ProberSource, stop_run, tools_of_run

WINDOW_PER_WORKER = 4
LEAST_WINDOW = 64
"""Small clips complete faster than the coordinator comes round: a narrower window would leave few workers idle."""
TASKS_PER_CHUNK = 1
"""How many clips travel to a worker together. A thread takes a task in 0.05 ms and reads a small clip in 1.5 ms: more
at once would win 4 %, and an interrupt would lose all that was read of a chunk, not only the clip in hand."""
_log = logging.getLogger("vqa_assets.ingest")


@dataclass(frozen=True)
class Services:
    """What an ingest is given: a prober, a downloader, a pool for per-clip work, an observer of how far it is.

    ``hub`` is who asks the Hugging Face Hub which files it has; the downloader knows by itself who fetches them.
    """

    prober: ProberSource
    downloader: DownloaderSource
    pool: ClipPool
    observe: Observer = unobserved
    hub: HubAccess = field(default_factory=HubAccess)


@dataclass(frozen=True)
class IngestInputs:
    """What one run knows of its clips before it begins.

    ``sizes`` are those of the earlier JSONL, by clip name; ``unclaimed`` are the clips on disk that no row names;
    ``taken`` are the names that no fetched clip may get instead of its own. ``hub`` says of a row without clip and
    address what the Hugging Face Hub had to say.
    """

    corpus: Corpus
    settings: IngestSettings
    clips: ClipsOnDisk
    progress: Progress
    cache: IngestCache
    sizes: Mapping[str, int] = field(default_factory=dict)
    unclaimed: LikeNames = field(default_factory=LikeNames)
    taken: Collection[str] = ()
    hub: HubClips = field(default_factory=HubClips)


def gather_outcomes(
    rows: Sequence[AnnotationRow], inputs: IngestInputs, services: Services, report: IngestReport
) -> Mapping[str, ClipOutcome]:
    """One outcome for every usable row of the run, by clip name; each is committed as it completes.

    A clip that came from one of several sources is kept by that source's name, which its outcome says.

    ServerGoneError where no clip is there and none could be fetched because no server answered; IngestError where
    clips of known size do not fit on the disk.
    """
    corpus, settings = inputs.corpus, inputs.settings
    gathering = _Gathering(inputs, report, inputs.cache.load(), inputs.cache.template)
    tasks = gathering.tasks(rows)
    fetch = FetchPlan.of([task.name for task in tasks if task.url], gathering.sizes(tasks), corpus.bytes_per_clip)
    to_fetch = f"{fetch.clips} clips to fetch" + (f" ({fetch.in_words()})" if fetch.clips else "")
    to_read = len(tasks) - fetch.clips
    _log.info("[%s-jsonl] %d rows: %s, %d to read, the rest known", corpus.name, len(rows), to_fetch, to_read)
    check_space(corpus, fetch, inputs.clips.folders.target)
    if tasks:
        tools = ClipTools.of(services.prober, services.downloader)
        watch = Watch(ProgressLine(f"{corpus.name}-jsonl", len(tasks), _log.info), services.observe)
        # The tools close after the pool, when no thread of it is left that could open them again.
        with tools_of_run(tools) as here, services.pool.open(workers_of(settings)) as executor:
            watch.update(done=0, failed=0, broken=0, read_bytes=0, fetched_bytes=0)
            with stopping(here.stop, executor, partial(stop_run, tools.run_id)):
                gathering.work(tasks, tools, executor, watch)
        gathering.check_server()
    return gathering.outcomes


def workers_of(settings: IngestSettings) -> int:
    """Clips in hand at once: the setting, else the larger of the cores and the transfers a host may have."""
    return settings.workers or max(os.cpu_count() or 1, settings.per_host)


@dataclass
class _Gathering:
    """The outcomes so far, and what came of the workers; only the coordinator touches it."""

    inputs: IngestInputs
    report: IngestReport
    cached: Mapping[str, ReadClip]
    template: str
    outcomes: dict[str, ClipOutcome] = field(default_factory=dict)
    done: int = 0
    failed: int = 0
    broken: int = 0
    unreachable: int = 0
    given: set[str] = field(default_factory=set)

    def tasks(self, rows: Sequence[AnnotationRow]) -> list[ClipTask]:
        """The clips that need a worker; all others are settled from the cache, the progress or their absence."""
        tasks: list[ClipTask] = []
        settled: dict[str, ClipOutcome] = {}
        for row in rows:
            if row.problem or row.repeats:
                continue
            result = self._outcome_or_task(row)
            if isinstance(result, ClipTask):
                tasks.append(result)
            else:
                settled[row.src] = result
        self._settle(settled)
        return tasks

    def work(self, tasks: Sequence[ClipTask], tools: ClipTools, executor: Executor, watch: Watch) -> None:
        """Hand the tasks out in chunks and commit what completes, a few at a time, whatever their order."""
        settings = self.inputs.settings
        download = replace(DownloadLimits(), timeout_s=settings.download_timeout_s, per_host=settings.per_host)
        # All that is submitted can be pickled: the executor's workers may be processes, here or elsewhere.
        read = partial(read_clips, tools, ClipLimits(download, settings.probe_timeout_s))
        # One after another, as they are handed out: what worked for the clips before goes first.
        starts = range(0, len(tasks), TASKS_PER_CHUNK)
        chunks = (self._arranged(tasks[start : start + TASKS_PER_CHUNK]) for start in starts)
        window = max(LEAST_WINDOW, WINDOW_PER_WORKER * workers_of(settings))
        with closing(completed_together(executor, read, chunks, window, watch.look)) as batches:
            for batch in batches:
                self._commit(batch, watch)
        watch.end()

    def sizes(self, tasks: Sequence[ClipTask]) -> dict[str, int]:
        """Sizes in bytes of clips that an earlier run saw, by name, those that are gone now among them."""
        cached = {task.name: self.cached[task.name].stamp.size_bytes for task in tasks if task.name in self.cached}
        return {**self.inputs.sizes, **cached}

    def check_server(self) -> None:
        """ServerGoneError where all that was asked for got no answer, and no clip is there from before."""
        states = {outcome.state for outcome in self.outcomes.values()}
        if self.unreachable and self.unreachable == self.done and not states & {ClipState.READ, ClipState.BROKEN}:
            reason = next(outcome.reason for outcome in self.outcomes.values() if outcome.unreachable)
            raise ServerGoneError(
                f"{self.inputs.corpus.name}: no server answered",
                found=f"{self.unreachable} of {self.unreachable} transfers without an answer, the first: {reason}",
                expected="the hosts of the URL column to be reachable",
                next_step="check the network and the URLs, then start the same run again: no clip was marked as failed",
            )

    def _outcome_or_task(self, row: AnnotationRow) -> ClipOutcome | ClipTask:
        """The outcome of a clip that need not be touched, else the task."""
        clips, settings = self.inputs.clips, self.inputs.settings
        drop = score_drop(row)
        stamp = clips.stamp(row.src, drop)
        outcome = self._cached_outcome(row, stamp)
        if outcome is not None:
            return outcome
        path = clips.folders.path_of(row.src, drop)
        try:
            stamp = stamp or stamp_of(path)
            if stamp is not None and is_lfs_pointer(path, stamp):
                stamp = None
        except OSError as error:
            return unreadable(error)
        raw = settings.raw_video if is_raw(row.src) else None
        if stamp is not None:
            return self._cached_outcome(row, stamp) or ClipTask(row.src, path, "", raw, row.codec)
        if not row.url:
            return self._without_address(row)
        entry = self.inputs.progress.entries.get(row.src)
        urls = [address.url for address in row.addresses] or [row.url]
        if entry is not None and entry.forbids(told_addresses(urls)) and not settings.retry_failed:
            return ClipOutcome(ClipState.FAILED, reason=entry.reason, address=entry.address)
        task = ClipTask(row.src, path, row.url, raw, row.codec, sources=self._sources(row, path))
        return replace(task, refused_sha256=entry.sha256, refused_runs=entry.runs) if entry else task

    def _sources(self, row: AnnotationRow, path: Path) -> tuple[ClipSource, ...]:
        """A clip's addresses, each with the name that what comes from there is kept by: no other clip's."""
        sources, clips = [], self.inputs.clips
        for address in row.addresses:
            name = address.src
            if name != row.src and (name in self.inputs.taken or name in self.given or clips.file_of(name)):
                name = row.src
            place = path if name == row.src else clips.folders.target / name
            sources.append(ClipSource(address.url, address.template, name, place))
        self.given.update(source.name for source in sources)
        return tuple(sources)

    def _arranged(self, tasks: Sequence[ClipTask]) -> list[ClipTask]:
        """The tasks, each with the source first whose template worked last."""
        worked = self.template
        return [
            replace(task, sources=tuple(sorted(task.sources, key=lambda source: source.template != worked)))
            if len(task.sources) > 1
            else task
            for task in tasks
        ]

    def _without_address(self, row: AnnotationRow) -> ClipOutcome:
        """The outcome of a clip that is not there and has no address; the Hub may have refused to say which it has."""
        inputs = self.inputs
        if (refused := inputs.hub.refused) is not None:
            return ClipOutcome(ClipState.UNAVAILABLE, reason=refused.reason, unreachable=refused.unreachable)
        places = [folder / row.src for folder in inputs.clips.folders.searched(row.src, score_drop(row))]
        reason = _why_missing(places, inputs.hub.without, like=inputs.unclaimed.nearest(row.src))
        return ClipOutcome(ClipState.MISSING, reason=reason)

    def _cached_outcome(self, row: AnnotationRow, stamp: FileStamp | None) -> ClipOutcome | None:
        """What the cache says of a clip that has not changed since; None where it must be read (again)."""
        clip, settings = self.cached.get(row.src), self.inputs.settings
        if clip is None or clip.stamp != stamp or settings.rescan:
            return None
        if settings.raw_video is not None and is_raw(row.src):
            clip = as_raw(clip, settings.raw_video, row.codec)  # the setting may be another than when it was read
        return ClipOutcome(ClipState.BROKEN if clip.broken else ClipState.READ, clip, clip.broken)

    def _commit(
        self,
        batch: Sequence[tuple[Sequence[ClipTask], "Future[list[ClipOutcome | Exception]]"]],
        watch: Watch,
    ) -> None:
        """Settle what completed; where one of them ended the run, the others are kept all the same."""
        outcomes: dict[str, ClipOutcome] = {}
        failures: list[BaseException] = []
        for tasks, future in batch:
            failure = future.exception()  # of the executor, such as a worker process that died
            results = future.result() if failure is None else [failure]
            for task, result in zip(tasks, results, strict=False):  # nothing comes after the error that ended a chunk
                if isinstance(result, ClipOutcome):
                    outcomes[task.name] = result
                else:
                    failures.append(result)
        self._settle(outcomes)
        for outcome in outcomes.values():
            self._count(outcome)
        watch.update(
            self.done,
            self.failed,
            broken=self.broken,
            read_bytes=self.report.read_bytes,
            fetched_bytes=self.report.fetched_bytes,
        )
        if failures:
            raise failures[0]

    def _settle(self, outcomes: Mapping[str, ClipOutcome]) -> None:
        """Commit outcomes together: the cache first, then the progress, which would call a clip done too early."""
        self.outcomes.update(outcomes)
        kept_as = {name: outcome.source.name if outcome.source else name for name, outcome in outcomes.items()}
        self.inputs.cache.put_all(
            {kept_as[name]: o.clip for name, o in outcomes.items() if o.clip is not None and o.read_bytes and o.lasting}
        )
        entries: dict[str, Entry] = {}
        for name, outcome in outcomes.items():
            if outcome.clip is not None:
                entries[kept_as[name]] = DONE
                if name in self.inputs.progress.entries:  # of a run in which it did not come
                    entries[name] = DONE
                self._learn(outcome)
            elif outcome.state is ClipState.FAILED:
                entries[name] = Entry("failed", outcome.reason, outcome.address)
            elif outcome.refused_sha256:
                entries[name] = Entry("retry", outcome.reason, sha256=outcome.refused_sha256, runs=outcome.refused_runs)
        self.inputs.progress.set_all(entries)

    def _learn(self, outcome: ClipOutcome) -> None:
        """Keep in mind, for this run and the next ones, by which template a whole clip came."""
        if outcome.source and outcome.state is ClipState.READ and outcome.source.template != self.template:
            self.template = self.inputs.cache.template = outcome.source.template

    def _count(self, outcome: ClipOutcome) -> None:
        """Count what a worker did."""
        self.done += 1
        self.failed += outcome.state in (ClipState.FAILED, ClipState.UNAVAILABLE)
        self.broken += outcome.state is ClipState.BROKEN
        self.unreachable += outcome.unreachable
        self.report.read_clips += outcome.read_bytes > 0
        self.report.read_bytes += outcome.read_bytes
        self.report.fetched_clips += outcome.fetched_bytes > 0 and outcome.clip is not None
        self.report.fetched_bytes += outcome.fetched_bytes


def _why_missing(places: Iterable[Path], without: str, like: str) -> str:
    for path in places:
        if os.path.isfile(path):  # noqa: PTH113
            return "a Git-LFS pointer, and no URL; run git lfs pull"
        if os.path.islink(path):  # noqa: PTH114
            return "a dangling link, and no URL"
    return f"no file, and no URL{without}" + (f": {like!a} is there, and only like it" if like else "")
