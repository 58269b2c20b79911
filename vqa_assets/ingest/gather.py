"""Every clip of a run becomes an outcome: known from the plan, or found by a worker and committed as it completes.

What a worker does is in ``clip_task``, which clips need one in ``plan``; which rows follow from the outcomes is in
``rows``, publishing them in ``run``.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice

from vqa_assets.clips.downloading import DownloadLimits
from vqa_assets.clips.hub import HubAccess
from vqa_assets.clips.work import (
    ClipPool,
    Observer,
    ProgressLine,
    Remote,
    Watch,
    completed_together,
    stopping,
    unobserved,
)
from vqa_assets.errors import ChildDiedError, ServerGoneError
from vqa_assets.ingest.cache import IngestCache
from vqa_assets.ingest.clip_task import ClipLimits, ClipOutcome, ClipState, ClipTask, died_over, read_clips
from vqa_assets.ingest.fetching import check_space
from vqa_assets.ingest.outcomes import Outcomes
from vqa_assets.ingest.plan import IngestPlan
from vqa_assets.ingest.progress import DONE, Entry, Progress
from vqa_assets.ingest.rows import IngestReport
from vqa_assets.ingest.settings import IngestSettings
from vqa_assets.ingest.tools import ClipTools, DownloaderSource, ProberSource, stop_run, tools_of_run
from vqa_assets.printing import logger
from vqa_assets.tables.files import sync_folder

WINDOW_PER_WORKER = 4
LEAST_WINDOW = 64
"""Small clips complete faster than the coordinator comes round: a narrower window would leave few workers idle."""
SETTLED_AT_ONCE = 10_000
"""Known outcomes that are committed together: a few megabytes of them."""
TASKS_PER_CHUNK = 1
"""How many clips travel to a worker together. A thread takes a task in 0.05 ms and reads a small clip in 1.5 ms: more
at once would win 4 %, and an interrupt would lose all that was read of a chunk, not only the clip in hand."""
_log = logger("vqa_assets.ingest")


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


Keep = Callable[[Mapping[str, ClipOutcome]], None]
"""What commits outcomes, by clip name."""


def keep_in(progress: Progress, cache: IngestCache) -> Keep:
    """Commit outcomes together: the cache first, then the progress, which would call a clip done too early.

    A fetched clip's name is on the disk before, as its bytes are: the cache knows of none that a power cut takes.
    A clip is kept by the name of the source that it came from, and its template goes first in the next runs.
    """
    worked, dying = cache.template, set(cache.deaths())

    def keep(outcomes: Mapping[str, ClipOutcome]) -> None:
        nonlocal worked
        kept_as = {name: outcome.source.name if outcome.source else name for name, outcome in outcomes.items()}
        for folder in {outcome.fetched_to.parent for outcome in outcomes.values() if outcome.fetched_to}:
            sync_folder(folder)
        cache.put_all({kept_as[name]: o.clip for name, o in outcomes.items() if o.clip is not None and o.read_bytes})
        deaths = {name: None if o.clip else o.deaths for name, o in outcomes.items() if o.deaths or name in dying}
        cache.put_deaths({name: one for name, one in deaths.items() if one or outcomes[name].clip})
        if (template := _template_of(outcomes)) not in ("", worked):
            cache.template = worked = template
        entries: dict[str, Entry] = {}
        for name, outcome in outcomes.items():
            if outcome.clip is not None:
                entries[kept_as[name]] = DONE
                if name in progress.entries:  # of a run in which it did not come
                    entries[name] = DONE
            elif outcome.state is ClipState.FAILED:
                entries[name] = Entry("failed", outcome.reason, outcome.address)
            elif outcome.refused_sha256:
                entries[name] = Entry("retry", outcome.reason, sha256=outcome.refused_sha256, runs=outcome.refused_runs)
        progress.set_all(entries)

    return keep


def gather_outcomes(
    plan: IngestPlan, services: Services, keep: Keep, report: IngestReport
) -> Mapping[str, ClipOutcome]:
    """One outcome for every usable row of the run, by clip name; each is committed as it completes.

    A clip that came from one of several sources is kept by that source's name, which its outcome says.

    ServerGoneError where no clip is there and none could be fetched because no server answered; IngestError where
    clips of known size do not fit on the disk.
    """
    name, tasks, fetch = plan.corpus.name, plan.tasks, plan.fetch
    gathering = _Gathering(plan.settings, keep, report, plan.template)
    known = iter(plan.known.items())
    while several := dict(islice(known, SETTLED_AT_ONCE)):
        gathering.settle(several)
    to_fetch = f"{fetch.clips} clips to fetch" + (f" ({fetch.in_words()})" if fetch.clips else "")
    to_read = len(tasks) - fetch.clips
    _log.info("[%s-jsonl] %d rows: %s, %d to read, the rest known", name, len(plan.run), to_fetch, to_read)
    check_space(plan.corpus, fetch, plan.clips.folders)
    if tasks:
        tools = ClipTools.of(services.prober, services.downloader, plan.settings.caps())
        watch = Watch(ProgressLine(f"{name}-jsonl", len(tasks), _log.info), services.observe)
        # The tools close after the pool, when no thread of it is left that could open them again.
        with tools_of_run(tools) as here, services.pool.open(workers_of(plan.settings)) as executor:
            if isinstance(executor, Remote):
                executor.check_sees(plan.clips.folders.target)
            watch.at(executor)
            watch.update(done=0, failed=0, broken=0, read_bytes=0, fetched_bytes=0)
            with stopping(here.stop, executor, partial(stop_run, tools.run_id)):
                gathering.work(tasks, tools, executor, watch)
        if gathering.unreachable and gathering.unreachable == gathering.done:
            refuse_dead_servers(name, gathering.outcomes, gathering.unreachable)
    return gathering.outcomes


def refuse_dead_servers(corpus: str, outcomes: Mapping[str, ClipOutcome], unreachable: int) -> None:
    """ServerGoneError where no clip is there from before, and none of ``unreachable`` transfers got an answer."""
    are_there = {ClipState.READ, ClipState.BROKEN, ClipState.TOO_LARGE, ClipState.UNPROBED}
    if {outcome.state for outcome in outcomes.values()} & are_there:
        return
    reason = next(outcome.reason for outcome in outcomes.values() if outcome.unreachable)
    raise ServerGoneError(
        f"{corpus}: no server answered",
        found=f"{unreachable} of {unreachable} transfers without an answer, the first: {reason}",
        expected="the hosts of the URL column to be reachable",
        next_step="check the network and the URLs, then start the same run again: no clip was marked as failed",
    )


def arranged(task: ClipTask, template: str) -> ClipTask:
    """The task with the source first that this template made: it worked last."""
    if len(task.sources) <= 1:
        return task
    return replace(task, sources=tuple(sorted(task.sources, key=lambda source: source.template != template)))


def workers_of(settings: IngestSettings) -> int:
    """Clips in hand at once: the setting, else the larger of the cores and the transfers a host may have."""
    return settings.workers or max(os.cpu_count() or 1, settings.per_host)


def _template_of(outcomes: Mapping[str, ClipOutcome]) -> str:
    """The template by which the last whole clip of these came; empty where none of several sources gave one."""
    worked = [o.source.template for o in outcomes.values() if o.source and o.state is ClipState.READ]
    return worked[-1] if worked else ""


@dataclass
class _Gathering:
    """The outcomes so far, and what came of the workers; only the coordinator touches it."""

    settings: IngestSettings
    keep: Keep
    report: IngestReport
    template: str
    outcomes: Outcomes = field(default_factory=Outcomes)
    done: int = 0
    failed: int = 0
    broken: int = 0
    unreachable: int = 0

    def settle(self, outcomes: Mapping[str, ClipOutcome]) -> None:
        """Commit these outcomes, and keep in mind by which template a whole clip came."""
        self.outcomes.update(outcomes)
        self.keep(outcomes)
        self.template = _template_of(outcomes) or self.template

    def work(self, tasks: list[ClipTask], tools: ClipTools, executor: Executor, watch: Watch) -> None:
        """Hand the tasks out in chunks and commit what completes, a few at a time, whatever their order.

        A task is gone from the list once it is handed out: a million of them take as much memory as their rows.
        """
        settings = self.settings
        download = replace(DownloadLimits(), timeout_s=settings.download_timeout_s, per_host=settings.per_host)
        # All that is submitted can be pickled: the executor's workers may be processes, here or elsewhere.
        read = partial(read_clips, tools, ClipLimits(download, settings.probe_timeout_s, settings.caps()))
        # One after another, as they are handed out: what worked for the clips before goes first.
        tasks.reverse()
        chunks = iter(lambda: [arranged(tasks.pop(), self.template) for _ in tasks[-TASKS_PER_CHUNK:]], [])
        window = max(LEAST_WINDOW, WINDOW_PER_WORKER * workers_of(settings))
        with closing(completed_together(executor, read, chunks, window, watch.look)) as batches:
            for batch in batches:
                self._commit(batch, watch)
        watch.end()

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
            if isinstance(failure, ChildDiedError):
                # A worker elsewhere died of these clips, alone with them.
                results: Sequence[ClipOutcome | BaseException] = [died_over(task, failure) for task in tasks]
            else:
                results = future.result() if failure is None else [failure]
            for task, result in zip(tasks, results, strict=False):  # nothing comes after the error that ended a chunk
                if isinstance(result, ClipOutcome):
                    outcomes[task.name] = result
                else:
                    failures.append(result)
        self.settle(outcomes)
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

    def _count(self, outcome: ClipOutcome) -> None:
        """Count what a worker did."""
        self.done += 1
        self.failed += outcome.state not in (ClipState.READ, ClipState.BROKEN)
        self.broken += outcome.state is ClipState.BROKEN
        self.unreachable += outcome.unreachable
        self.report.read_clips += outcome.read_bytes > 0
        self.report.read_bytes += outcome.read_bytes
        self.report.fetched_clips += outcome.fetched_bytes > 0 and outcome.clip is not None
        self.report.fetched_bytes += outcome.fetched_bytes
