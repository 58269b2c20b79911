"""An ingest rehearsed: everything it would decide, by the functions that decide it, and nothing is written.

What is left open (bytes that are yet to come, clips that are yet to be read) is counted as open, never guessed to be
good. How it is asked for and printed is in ``vqa_assets.rehearse``.
"""

import errno
import math
import os
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from vqa_assets.annotations.reading import Annotations, read_annotations
from vqa_assets.annotations.rows import ANNOTATED_AS
from vqa_assets.clips.downloading import NO_TOKEN, TokenSite, address_of, told_address
from vqa_assets.clips.headers import size_at
from vqa_assets.clips.pages import is_page, why_no_page, yt_dlp_command
from vqa_assets.clips.work import clock, stopping
from vqa_assets.corpora import Corpus
from vqa_assets.corpora.corpus import Archive
from vqa_assets.corpora.scales import RAW_MOS, ScaleEvidence
from vqa_assets.errors import AnnotationError, DownloadError, IngestError, VqaError
from vqa_assets.ingest import cache
from vqa_assets.ingest.clip_task import ClipOutcome, ClipState, ClipTask, outcome_of_error, outcome_of_none
from vqa_assets.ingest.earlier import EarlierRows, read_earlier
from vqa_assets.ingest.fetching import (
    LINE_BYTES_PER_S,
    FetchPlan,
    archives_to_come,
    check_space,
    free_bytes,
)
from vqa_assets.ingest.gather import Services, arranged, gather_outcomes, refuse_dead_servers
from vqa_assets.ingest.layout import CorpusLayout, check_paths_of_run, check_targets_of, unseen_by_others
from vqa_assets.ingest.naming import LikeNames
from vqa_assets.ingest.plan import IngestPlan, KnownClips, plan_ingest
from vqa_assets.ingest.progress import Progress
from vqa_assets.ingest.rows import KEPT, LOST, IngestReport, Labelling, Loss, RowJudge
from vqa_assets.ingest.run import count_names, disk_faults_in_words, refuse_folders, refuse_nothing, this_run_only
from vqa_assets.ingest.settings import IngestSettings
from vqa_assets.ingest.tools import ClipTools, DownloaderDescription, ProberDescription
from vqa_assets.printing import size_in_words
from vqa_assets.provenance import clean_url, utc_text
from vqa_assets.settings import Resolved
from vqa_assets.tables.files import refusal_of
from vqa_assets.tables.lock import is_corpus_locked, locked
from vqa_assets.tables.paths import DataRoot
from vqa_assets.tables.specs import corpus_jsonl_of
from vqa_assets.tables.validation import validate_rows

CLIPS_ASKED = 3
"""So many clips are asked for, at each of their addresses until one gives them."""
PROBE_RATE = 100.0
"""Clips read a second, of a few megabytes each, by two ordinary cores: one hashes some 0.3 GB a second."""
_EXAMPLES = 3


@dataclass(frozen=True)
class Pace:
    """How fast clips are read and fetched: clips a second, bytes a second."""

    clips_per_s: float = PROBE_RATE
    bytes_per_s: float = LINE_BYTES_PER_S


@dataclass(frozen=True)
class AskedAddress:
    """What one server said: the size in bytes it announced (None: it announces none), or why it gives nothing."""

    address: str
    size_bytes: int | None = None
    failure: str = ""


@dataclass(frozen=True)
class WorkAhead:
    """Clips that a run would fetch, or read: how many, their bytes (None: not known), the seconds it takes."""

    clips: int = 0
    size_bytes: int | None = 0
    seconds: float = 0.0
    basis: str = ""


@dataclass
class Rehearsal:
    """What an ingest would do, as far as it can be told before clips are fetched and read.

    ``blocks`` are the errors it would end with, ``doubts`` what may go otherwise than hoped. ``rows_in`` are all rows
    of the run; ``counters`` are ``IngestReport``'s over those that are decided, the others are in ``to_fetch``,
    ``to_read`` and ``in_archives``. ``names_found`` is how clips were found → their number, ``renamed`` each clip that
    the score file calls otherwise, ``losses`` every row that would not come out, ``nearest`` the file that a missing
    clip is most like.
    """

    corpus: str
    blocks: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    annotation_files: list[str] = field(default_factory=list)
    rows_in: int = 0
    counters: dict[str, int] = field(default_factory=dict)
    scale: dict[str, Any] = field(default_factory=dict)
    names_found: dict[str, int] = field(default_factory=dict)
    renamed: list[dict[str, str]] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    nearest: dict[str, str] = field(default_factory=dict)
    unlabelled: list[str] = field(default_factory=list)
    in_archives: int = 0
    to_fetch: WorkAhead = field(default_factory=WorkAhead)
    to_read: WorkAhead = field(default_factory=WorkAhead)
    asked: list[AskedAddress] = field(default_factory=list)
    free_bytes: int | None = None

    @property
    def would_publish(self) -> bool:
        """Whether an ingest would publish, if what is open goes well."""
        return not self.blocks

    def as_dict(self) -> dict[str, Any]:
        """The rehearsal for machines."""
        return {"corpus": self.corpus, "would_publish": self.would_publish, **asdict(self)}

    def lines(self) -> list[str]:
        """The rehearsal for people."""
        verdict = "an ingest would publish" if self.would_publish else "an ingest would publish nothing"
        facts = [
            ("score file", ", ".join(self.annotation_files)),
            ("rows in", self._rows_in_words()),
            ("scale", f"{self.scale['name']} ({self.scale['from']}): {self.scale['evidence']}" if self.scale else ""),
            ("clips found", self._names_in_words()),
            ("to read", _work_in_words(self.to_read)),
            ("to fetch", _work_in_words(self.to_fetch)),
            *(("asked", _asked_in_words(one)) for one in self.asked),
            ("in archives", f"{self.in_archives} rows wait for the archives" if self.in_archives else ""),
            ("free space", "" if self.free_bytes is None else size_in_words(self.free_bytes)),
            *(("lost", line) for line in self._losses_in_words()),
            ("no row names", _several(self.unlabelled)),
            *(("doubt", doubt) for doubt in self.doubts),
            *(("blocks", block) for block in self.blocks),
        ]
        return [f"{self.corpus}: {verdict}", *(f"  {what + ':':<14} {fact}" for what, fact in facts if fact)]

    def _rows_in_words(self) -> str:
        open_rows = self.to_fetch.clips + self.to_read.clips + self.in_archives
        out = self.counters.get("rows_out", 0)
        most = f"{out} to {out + open_rows}" if open_rows else f"{out}"
        parts = [f"{count} {name}" for name, count in self.counters.items() if count and name in KEPT + LOST]
        return f"{self.rows_in}; out {most}" + (f" ({', '.join(parts)})" if parts else "") if self.rows_in else ""

    def _names_in_words(self) -> str:
        examples = {one["how"]: f" ({one['annotated_as']} is {one['src']})" for one in reversed(self.renamed)}
        return ", ".join(f"{count} {how}{examples.get(how, '')}" for how, count in self.names_found.items())

    def _losses_in_words(self) -> Iterator[str]:
        by_kind: dict[str, list[Loss]] = {}
        for loss in self.losses:
            by_kind.setdefault(loss.kind, []).append(loss)
        for kind, losses in sorted(by_kind.items(), key=lambda one: -len(one[1])):
            like = ((loss.src, self.nearest.get(loss.src)) for loss in losses)
            examples = [f"{src} (like it: {nearest})" if nearest else src for src, nearest in like]
            yield f"{len(losses)} {kind}: {_several(examples)}"


def rehearse(
    corpus: Corpus,
    resolved: Resolved[IngestSettings],
    services: Services,
    root: DataRoot,
    pace: Pace | None = None,
    *,
    read: bool = False,
) -> Rehearsal:
    """What ``ingest_corpus`` would do with the same settings and tools. Nothing below the root is written.

    With ``read`` the clips that are there are hashed and probed too, as a run would, and forgotten. Every fault of the
    input is a line of ``blocks``; KeyboardInterrupt and defects pass.
    """
    rehearsal = Rehearsal(corpus.name)
    stage = _Stage(corpus, resolved.values, services, root, pace or Pace(), rehearsal)
    stage.play(CorpusLayout.of(corpus, resolved.values, root), read=read)
    with stage.blocking(root.path):
        if unseen := unseen_by_others(resolved, corpus, root):
            rehearsal.doubts.append(this_run_only(unseen))
        # The rehearsal's own arguments are the operator's; a run with the same run config is refused.
        check_paths_of_run(resolved, corpus, root)
    return rehearsal


@dataclass
class _Stage:
    """One rehearsal under way."""

    corpus: Corpus
    settings: IngestSettings
    services: Services
    root: DataRoot
    pace: Pace
    told: Rehearsal
    archives: dict[Archive, str] = field(default_factory=dict)
    no_server_answers: bool = False

    def play(self, layout: CorpusLayout, *, read: bool) -> None:
        """From the lock to what would be published; what one step cannot do does not stop the others."""
        folder = layout.folder
        if self.settings.fetch:
            with self.blocking(folder):
                self.archives = archives_to_come(self.corpus, self.settings, folder)
                self._ask_archives()
        if is_corpus_locked(folder):
            self.told.blocks.append(str(locked(folder, "now")))
        if not self._has_scores(layout):
            return
        with self.blocking(folder):
            refuse_folders(layout)
        self._check_writable(layout)
        annotations = None
        with self.blocking(folder):
            check_targets_of(layout, self.root)
            annotations = read_annotations(self.corpus, self.settings, *layout.annotation_files)
        if annotations is None:
            return
        self._tell_scores(annotations)
        earlier = EarlierRows()
        with self.blocking(folder):
            earlier = read_earlier(self.corpus, layout)
            if wrong := earlier.in_words():
                self.told.doubts.append(f"{layout.output.name}: {wrong}; whole rows stay, the others are made again")
        known = KnownClips()
        with self.blocking(folder):
            read_clips, template, deaths = cache.read_only(layout.cache)
            known = KnownClips(read_clips, Progress(layout.progress).entries, template, deaths)
        with self.blocking(folder):
            hub = self.services.hub
            plan = plan_ingest(self.corpus, self.settings, layout, annotations, earlier.lines, hub, lambda: known)
            self._judge(self._settled(plan, read=read), layout, earlier, known)

    @contextmanager
    def blocking(self, folder: Path) -> Iterator[None]:
        """An error of ours in the block is what an ingest would end with."""
        try:
            with disk_faults_in_words(folder):
                yield
        except VqaError as error:
            self.told.blocks.append(str(error))

    def _has_scores(self, layout: CorpusLayout) -> bool:
        try:
            return bool(layout.annotation_files)
        except AnnotationError as error:
            if not self.archives:
                self.told.blocks.append(str(error))
            else:
                self.told.doubts.append(f"the score file may be in the archives: {error}")
        except VqaError as error:
            self.told.blocks.append(str(error))
        return False

    def _check_writable(self, layout: CorpusLayout) -> None:
        """What a run writes must be writable: known before it, and not after the last download."""
        clip = layout.clips.target / "clip"
        files = (
            layout.cache,
            layout.output,
            layout.manifest,
            layout.progress,
            *([clip] if isinstance(clip, Path) else []),
        )
        for folder in dict.fromkeys(_nearest(path.parent) for path in files):
            if not os.access(folder, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
                words = refusal_of(errno.EACCES, folder)
                error = IngestError(
                    words.what, found="it may not be written", expected=words.expected, next_step=words.remedy
                )
                self.told.blocks.append(str(error))

    def _tell_scores(self, annotations: Annotations) -> None:
        self.told.annotation_files = [self.root.shown(path) for path in annotations.files]
        # As published: where they are mapped at ingest, the published one stands beside it.
        scores = [row.extra.get(RAW_MOS, row.mos) for row in annotations.rows]
        finite = [score for score in scores if isinstance(score, int | float) and math.isfinite(score)]
        evidence = ScaleEvidence.of(finite, self.corpus.scales)
        self.told.scale = {
            "name": annotations.native_scale.name,
            "from": annotations.scale_from,
            "evidence": evidence.in_words(),
            "quantiles": dict(evidence.quantiles),
            "shares": dict(evidence.shares),
        }

    def _settled(self, plan: IngestPlan, *, read: bool) -> IngestPlan:
        """The plan with everything settled that can be without fetching a clip."""
        report = IngestReport()
        count_names(plan, report)
        self.told.names_found, self.told.unlabelled = dict(report.names_found), list(report.unclaimed)
        # A row that is called otherwise, and not after a file on the disk, has its name from the Hub.
        by_hub = {row.src: "hub" for row in plan.run if plan.hub.record and row.url and ANNOTATED_AS in row.extra}
        how = {**by_hub, **plan.named.how}
        self.told.renamed = [
            {"src": row.src, "annotated_as": row.named, "how": how[row.src]} for row in plan.run if row.src in how
        ]
        if plan.hub.refused is not None:
            self.told.doubts.append(plan.hub.refused.reason)
        folders = plan.clips.folders
        # Where clips are kept in a store, the disk need only hold the corpus's own files.
        target = folders.target if isinstance(folders.target, Path) else folders.folder or self.root.path
        self.told.rows_in, self.told.free_bytes = len(plan.run), None if folders.store else free_bytes(target)
        with self.blocking(target):
            check_space(self.corpus, plan.fetch, folders)
        with self.blocking(target):
            plan = self._without(plan, self._lacking_pages(plan.tasks))
        plan = self._ask(plan)
        if read:
            staged = replace(plan, tasks=[task for task in plan.tasks if not task.url], fetch=FetchPlan.of([], {}, 1))
            with self.blocking(target):
                outcomes = gather_outcomes(staged, self.services, lambda _: None, IngestReport())
                plan = self._without(plan, outcomes)
        to_read = [task for task in plan.tasks if not task.url]
        size = sum(stamp.size_bytes for task in to_read if (stamp := plan.clips.stamp_at(task.path)))
        self.told.to_read = WorkAhead(len(to_read), size, len(to_read) / self.pace.clips_per_s)
        return plan

    @staticmethod
    def _without(plan: IngestPlan, outcomes: Mapping[str, ClipOutcome]) -> IngestPlan:
        """The plan without the tasks whose outcomes are known now."""
        tasks = [task for task in plan.tasks if task.name not in outcomes]
        return replace(plan, known={**plan.known, **outcomes}, tasks=tasks)

    def _lacking_pages(self, tasks: Sequence[ClipTask]) -> dict[str, ClipOutcome]:
        """The outcomes of clips whose pages this machine cannot open; IngestError where a program is missing."""
        tools = ClipTools.of(self.services.prober, self.services.downloader)
        if isinstance(tools.prober, ProberDescription) and any(task.raw is None for task in tasks):
            tools.prober.check()
        if not isinstance(tools.downloader, DownloaderDescription):
            return {}
        pages = {task.name: task.url for task in tasks if task.url and is_page(task.url)}
        if any(task.url and task.name not in pages for task in tasks):
            tools.downloader.check()
        command = yt_dlp_command()
        reasons = {name: reason for name, url in pages.items() if (reason := why_no_page(url, command))}
        self.told.doubts += [f"{count} clips are each {reason}" for reason, count in Counter(reasons.values()).items()]
        return {name: ClipOutcome(ClipState.UNAVAILABLE, reason=reason) for name, reason in reasons.items()}

    def _ask(self, plan: IngestPlan) -> IngestPlan:
        """The plan after the headers of its first clips: what no address gave counts as lost, though it may pass."""
        to_ask = [task for task in plan.tasks if task.url and not is_page(task.url)][:CLIPS_ASKED]
        to_ask = [arranged(task, plan.template) for task in to_ask]
        addresses = [[source.url for source in task.sources] or [task.url] for task in to_ask]
        announced: dict[str, int] = {}
        lost: dict[str, ClipOutcome] = {}
        for task, answers in zip(to_ask, _ask_at_once(addresses, self.services.hub.token_site()), strict=True):
            self.told.asked += [_asked(told_address(url), answer) for url, answer in answers]
            last = answers[-1][1]
            if isinstance(last, DownloadError):
                failures = [outcome_of_error(one, url) for url, one in answers if isinstance(one, DownloadError)]
                lost[task.name] = outcome_of_none(task, failures) if task.sources else failures[0]
            elif last is not None:
                announced[task.name] = last
        plan = self._without(plan, lost)
        self._tell_fetch(plan, announced, asked=len(to_ask))
        silent = [name for name, outcome in lost.items() if outcome.unreachable]
        asked = {task.name: task.url for task in to_ask}
        dead = {_host_of(asked[name]) for name in silent}
        # A block only where every host that the run needs is one that gave no answer, and no clip comes otherwise.
        if silent and len(silent) == len(to_ask) and {_host_of(task.url) for task in plan.tasks} <= dead:
            before = len(self.told.blocks)
            with self.blocking(self.root.path):
                refuse_dead_servers(self.corpus.name, plan.known, len(silent))
            self.no_server_answers = len(self.told.blocks) > before
        return plan

    def _tell_fetch(self, plan: IngestPlan, announced: Mapping[str, int], asked: int) -> None:
        """Bytes and time of what is to fetch, by what servers announced, else by what the corpus declares."""
        names = [task.name for task in plan.tasks if task.url]
        mean = round(sum(announced.values()) / len(announced)) if announced else self.corpus.bytes_per_clip
        sized = plan.fetch.sized
        left = max(0, len(names) - sized)
        total = plan.fetch.sized_bytes + left * mean
        basis = f"{size_in_words(mean)} a clip, "
        basis += f"as {len(announced)} of {asked} servers announced" if announced else "as the corpus declares"
        if asked and not announced:
            basis += f": {asked} clips were asked for and no length was announced"
        if not left:
            basis = "sizes that an earlier run saw"
        seconds = max(total / self.pace.bytes_per_s, len(names) / self.pace.clips_per_s)
        self.told.to_fetch = WorkAhead(len(names), total, seconds, basis) if names else WorkAhead()
        target = plan.clips.folders.target
        if not isinstance(target, Path):
            return
        room = free_bytes(target)
        if total > room and plan.fetch.sized_bytes <= room:
            free = size_in_words(room)
            words = f"{len(names)} clips to fetch need about {size_in_words(total)}, and {free} are free"
            # By sizes that servers announced it is as good as certain; the declared one is a guess.
            (self.told.blocks if announced else self.told.doubts).append(f"{self.corpus.name}: {words}")

    def _ask_archives(self) -> None:
        """What the archives weigh."""
        asked = [(archive, url) for archive, url in self.archives.items() if url]
        answers = _ask_at_once([[url] for _, url in asked], NO_TOKEN)
        for (archive, url), ((_, answer),) in zip(asked, answers, strict=True):
            self.told.asked.append(_asked(clean_url(url), answer))
            if isinstance(answer, DownloadError):
                words = f"{self.corpus.name}: {clean_url(url)}: {answer.reason}"
                if archive.needed or not answer.permanent:
                    self.told.blocks.append(words)
                else:
                    self.told.doubts.append(f"{words}, and done without")
        if self.archives:
            names = ", ".join(archive.file for archive in self.archives)
            self.told.doubts.append(f"{names}: fetched first; what is in them is not known before")

    def _judge(self, plan: IngestPlan, layout: CorpusLayout, earlier: EarlierRows, known: KnownClips) -> None:
        """The rows that are decided, judged and validated as a run does it."""
        open_names = {task.name for task in plan.tasks}
        if any(archive.folder is not None for archive in self.archives):
            missing = {name for name, one in plan.known.items() if one.state is ClipState.MISSING}
            self.told.in_archives = len(missing)
            open_names |= missing
        report = IngestReport()
        count_names(plan, report)
        decided = [row for row in plan.run if row.problem or row.repeats or row.src not in open_names]
        # The earlier rows of open clips are neither kept nor lost yet.
        closed = replace(earlier, lines=earlier.lines.without(open_names))
        cached = {name: clip for name, clip in earlier.known(known.read).items() if name not in open_names}
        labelling = Labelling(self.corpus, self.settings, plan.annotations, utc_text())
        rows = RowJudge(labelling, closed, report, cached).judge(decided, plan.known)
        report.reconcile(self.corpus.name)
        self.told.counters, self.told.losses = report.counters(), report.losses
        like = LikeNames(report.unclaimed)
        missing_names = [loss.src for loss in report.losses if loss.counter == "skipped_missing"]
        self.told.nearest = {name: nearest for name in missing_names if (nearest := like.nearest(name))}
        if not open_names and not self.no_server_answers:
            refuse_nothing(self.corpus, self.settings, layout, report, plan.known)
        validate_rows((out.row for out in rows), corpus_jsonl_of(self.corpus), str(layout.output))


_Announced = int | DownloadError | None
"""What a server announces of a file: its size, that it does not say (None), or why it does not give it."""


def _ask_at_once(clips: Sequence[Sequence[str]], site: TokenSite) -> list[list[tuple[str, _Announced]]]:
    """What servers announce at the addresses of a few clips, each clip's asked in order until one gives it.

    As a run does, which asks no further where a server is not reached.
    """
    stop = threading.Event()

    def ask(url: str) -> _Announced:
        try:
            return size_at(url, stop, site)
        except DownloadError as error:
            return error

    def ask_each(urls: Sequence[str]) -> list[tuple[str, _Announced]]:
        answers: list[tuple[str, _Announced]] = []
        for url in urls:
            answer = ask(url)
            answers.append((url, answer))
            if not isinstance(answer, DownloadError) or answer.unreachable:
                break
        return answers

    if not clips:
        return []
    with ThreadPoolExecutor(len(clips)) as executor, stopping(stop, executor):
        return list(executor.map(ask_each, clips))


def _asked(address: str, answer: _Announced) -> AskedAddress:
    if isinstance(answer, DownloadError):
        return AskedAddress(address, failure=answer.reason)
    return AskedAddress(address, answer)


def _host_of(url: str) -> str:
    try:
        return address_of(url).host if url else ""
    except DownloadError:
        return ""


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())


def _work_in_words(work: WorkAhead) -> str:
    if not work.clips:
        return ""
    size = size_in_words(work.size_bytes or 0)
    return f"{work.clips} clips, {size}, {clock(work.seconds)}" + (f" ({work.basis})" if work.basis else "")


def _asked_in_words(asked: AskedAddress) -> str:
    if asked.failure:
        return f"{asked.address}: {asked.failure}"
    size = "no length announced" if asked.size_bytes is None else size_in_words(asked.size_bytes)
    return f"{asked.address}: {size}"


def _several(names: Sequence[str]) -> str:
    more = f" and {len(names) - _EXAMPLES} more" if len(names) > _EXAMPLES else ""
    return ", ".join(names[:_EXAMPLES]) + more
