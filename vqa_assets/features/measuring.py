"""Measuring clips with the cache between, and the rows of the feature table: of many clips, or of one file.

One clip is measured in ``extractor``; which clips a corpus has, and the file, are in ``corpus_table``.

Clips are decoded in the run's own process, which a clip that crashes its decoder takes with it. So the clips in hand
are noted before they are read: those that a dead run left are measured by the next one in a process apart.
"""

import math
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from vqa_assets.clips.caps import ClipCaps, ClipSize
from vqa_assets.clips.containers import clearer_reason, refuse_what_is_no_clip
from vqa_assets.clips.elsewhere import run_here
from vqa_assets.clips.folders import ClipPlace, StoredClip, stamp_of
from vqa_assets.clips.geometry import Geometry, geometry_of, raw_geometry
from vqa_assets.clips.hashing import HashedFile, StampedHash, of_steady_files
from vqa_assets.clips.processes import Worker, WorkerDiedError
from vqa_assets.clips.pyav import answer_of, refuse_by_header
from vqa_assets.clips.scratch import ClipAtHand, clips_at_hand
from vqa_assets.clips.trouble import RUNS_UNTIL_BROKEN, is_crash
from vqa_assets.clips.work import Remote, StoppedError, completed, stopping
from vqa_assets.corpora.raw_video import RawVideo
from vqa_assets.errors import (
    BrokenClipError,
    ChildDiedError,
    ClipError,
    FeatureError,
    Make,
    TooLargeError,
    TransientClipError,
)
from vqa_assets.feature_names import BACKBONE_PREFIX, CANONICAL_6, VMAF, pooled_columns
from vqa_assets.features.cache import CacheKey, FeatureCache, Outcome, family_key
from vqa_assets.features.clip_time import ClipSeconds, seconds_of_clip
from vqa_assets.features.family import FamilyVersion, FeatureExtractor, Measured, joined
from vqa_assets.features.memory import MEMORY
from vqa_assets.features.windows import Window

if TYPE_CHECKING:
    from vqa_assets.features.extractor import ClipExtractor

_Answer = TypeVar("_Answer")

IDENTITY = ("key", "src_sha256")
"""Which clip a feature row is of."""

CARRIED = ("width", "height", "framerate", "duration_s", "pix_fmt", "encoder_upstream", "src_size_bytes", "corpus")
"""Corpus-row fields that every feature row has; None where the corpus row lacks them."""

CARRIED_WHERE_PRESENT = ("content_id", "score_drop")
"""Corpus-row fields that a feature row has where the corpus row does, beside those that the corpus declares."""

_LOOK_AROUND_S = 0.2
_ASKED_AT_ONCE = 1_024
"""Clips whose known hashes are asked for together."""

RESERVED = {*IDENTITY, *CARRIED, *CARRIED_WHERE_PRESENT, "corpus_version", "split"}
"""Columns that mean something to labels and heads: a family that measured them would stand in for the truth."""


@dataclass(frozen=True)
class ClipToMeasure:
    """One clip of the table: its key, its file and hash, and those of its reference in a ladder corpus.

    The hashes are the corpus rows': what is measured is of these bytes, or of none. ``ladder`` without a reference is a
    clip whose reference is missing. ``raw`` is what it is without a container, ``size`` what its row says of it.
    """

    key: str
    path: ClipPlace
    sha256: str
    reference: ClipPlace | None = None
    reference_sha256: str | None = None
    reference_key: str = ""
    ladder: bool = False
    raw: RawVideo | None = None
    size: ClipSize | None = None

    @property
    def alone(self) -> bool:
        """Whether it is a ladder clip without its reference."""
        return self.ladder and self.reference is None


KnownHashes = Callable[[Sequence[str]], Mapping[str, StampedHash]]
"""What an earlier reading found of clips, by their keys: a clip whose stamp is still that one is not hashed again."""


def nothing_known(keys: Sequence[str]) -> Mapping[str, StampedHash]:  # noqa: ARG001
    """``KnownHashes`` where nobody read the clips before: every one is hashed."""
    return {}


@dataclass(frozen=True)
class MeasuringRun:
    """How a run goes: clips outstanding at once, the stop signal, and who shows how far it is.

    ``progress`` gets the counts of clips done and failed; ``meanwhile`` is called while a long clip is measured.
    ``hashes`` says what is known of clips before they are opened, ``caps`` are on what is decoded. ``measured`` is
    called with each clip of which this run measured values.
    """

    window: int
    stop: threading.Event
    progress: Callable[[int, int], None] | None = None
    meanwhile: Callable[[], None] = lambda: None
    hashes: KnownHashes = nothing_known
    caps: ClipCaps = field(default_factory=ClipCaps)
    measured: Callable[[ClipToMeasure], object] = lambda _: None


@dataclass
class FamilyCounts:
    """Clips by what became of them in one family: measured by this run, known before it, without values."""

    measured: int = 0
    known: int = 0
    failed: int = 0


@dataclass(frozen=True)
class FeatureReport:
    """What became of the clips: measured now, taken from the cache, or failed (key, reason), now or earlier.

    ``too_large`` are those over a cap (key, reason), which are asked again by the next run. A clip of which one family
    had to be measured counts as measured; one of which one family failed has failed. Of those with features,
    ``no_reference`` are the keys of ladder clips without their reference, and ``failed_alone`` those that only a family
    which costs no clip could not measure (key, reason). ``again`` tells how many clips were measured before by another
    version, and what differs. ``families`` has each family's own counts, ``seconds`` where the time of all clips went.
    """

    rows_in: int
    measured: int
    cached: int
    failed: list[tuple[str, str]]
    no_reference: list[str] = field(default_factory=list)
    again: str = ""
    too_large: list[tuple[str, str]] = field(default_factory=list)
    families: Mapping[str, "FamilyCounts"] = field(default_factory=dict)
    failed_alone: list[tuple[str, str]] = field(default_factory=list)
    seconds: ClipSeconds = field(default_factory=ClipSeconds, compare=False)

    @property
    def reconciles(self) -> bool:
        """Whether every clip is accounted for once."""
        return self.rows_in == self.measured + self.cached + len(self.failed) + len(self.too_large)


@dataclass(frozen=True)
class MeasuringTask:
    """A clip to measure, its place among the clips, and the families of which the cache has nothing.

    ``known`` are the hashes known of its file and of its reference's. ``apart`` is a clip that must not be decoded in
    this process: a run died that had it in hand.
    """

    index: int
    clip: ClipToMeasure
    families: tuple[str, ...]
    known: Mapping[Path, StampedHash] = field(default_factory=dict)
    apart: bool = False


def extract_features(
    clips: Iterable[ClipToMeasure],
    extractor: FeatureExtractor,
    executor: Executor,
    cache: FeatureCache,
    run: MeasuringRun,
    reserved: Collection[str] = (),
) -> "tuple[MeasuredRows, FeatureReport]":
    """The measured columns of each clip, in input order; None for a clip that failed.

    ``clips`` are gone through several times and never held, nor are the rows: they stay in the cache and are read from
    it as they are asked for. Only the families that the cache lacks are measured, in one decode of the clip. No family
    may measure a column of ``reserved``, which the corpus declares, or of ``RESERVED``.

    Each clip's outcomes are committed to the cache as it completes, in the calling thread: an interrupt loses the clips
    in hand and no others. A ``ClipError`` costs its clip, though not what other families measured of it; any other
    error, ``FeatureError`` and ``StoppedError`` included, ends the run. Threads of a
    ``ThreadPoolExecutor`` see ``run.stop`` within a clip, workers elsewhere that of their own process.
    """
    families = tuple(extractor.families)
    measured_columns = {name for family in families for name in family.columns}
    labels = {name for name in measured_columns if name == "mos" or name.startswith("mos_")}
    if taken := sorted((RESERVED | set(reserved)) & measured_columns | labels):
        raise FeatureError(
            "a family measures columns that come from the corpus JSONL or from labels",
            found=", ".join(taken),
            expected="columns of its own",
            next_step="name them otherwise",
        )
    ledger = _looked_up(clips, families, extractor.version, cache)
    done = ledger.count - len(ledger.lacking)
    if run.progress is not None:
        run.progress(done, len(ledger.failed))
    tasks = _with_hashes(
        (
            MeasuringTask(index, clip, tuple(family.name for family in ledger.lacking[index]))
            for index, clip in enumerate(clips)
            if index in ledger.lacking
        ),
        run.hashes,
    )
    work = partial(_measure, extractor, run.caps, run.stop if isinstance(executor, ThreadPoolExecutor) else None)
    with _clips_in_hand(cache) as hand, stopping(run.stop, executor):
        if isinstance(executor, Remote) and any(family.name.startswith(BACKBONE_PREFIX) for family in families):
            executor.prefer("GPU")
        for task, future in completed(executor, work, hand.taken(tasks), run.window, run.meanwhile):
            result = _result(task, future)
            ledger.seconds.add(result.seconds)
            measured, key = hand.given_back(task, result.outcomes), _clip_key(task.clip)
            cache.put_all({family_key(family, key): measured[family.name] for family in ledger.lacking[task.index]})
            if ledger.judge(task.index, task.clip, {one: measured[one.name] for one in ledger.lacking[task.index]}):
                run.measured(task.clip)
            done += 1
            if run.progress is not None:
                run.progress(done, len(ledger.failed))
            if run.stop.is_set():
                raise StoppedError
    return MeasuredRows(clips, families, frozenset((*ledger.failed, *ledger.too_large)), cache), ledger.report()


class _ClipsInHand:
    """The clips of a run while they are measured, as the cache knows them."""

    def __init__(self, cache: FeatureCache) -> None:
        self.cache, self.suspects, self.mine = cache, cache.suspects(), set[str]()

    def taken(self, tasks: Iterable[MeasuringTask]) -> Iterator[MeasuringTask]:
        """The tasks, each noted as it is handed out."""
        for task in tasks:
            sha256 = task.clip.sha256
            suspected = sha256 in self.suspects
            if not suspected:
                self.cache.take(sha256)
                self.mine.add(sha256)
            yield replace(task, apart=suspected)

    def given_back(self, task: MeasuringTask, outcomes: dict[str, Outcome]) -> dict[str, Outcome]:
        """The outcomes of a clip that is done with; one whose child was killed in so many runs is to blame."""
        sha256 = task.clip.sha256
        killed_runs = self.suspects.get(sha256, 0) + 1
        if not any(outcome.killed for outcome in outcomes.values()):
            self.cache.release(sha256)
        elif killed_runs < RUNS_UNTIL_BROKEN:
            self.cache.take(sha256, killed_runs)
        else:
            self.cache.release(sha256)
            outcomes = {
                name: replace(outcome, reason=f"in {killed_runs} runs: {outcome.reason}", lasting=True)
                if outcome.killed
                else outcome
                for name, outcome in outcomes.items()
            }
        self.mine.discard(sha256)
        return outcomes


@contextmanager
def _clips_in_hand(cache: FeatureCache) -> Iterator[_ClipsInHand]:
    """Nothing is in hand any more after the block: a run that ends by itself leaves no suspects."""
    hand = _ClipsInHand(cache)
    try:
        yield hand
    finally:
        with suppress(FeatureError):  # what ended the block says more than a cache that cannot be written either
            for sha256 in hand.mine:
                cache.release(sha256)


@dataclass
class _Ledger:
    """What became of the clips so far, by their place: the families they lack, why they failed, which stand alone.

    Of a clip it has a few words at most, and nothing of one that is measured: a row of 250 columns takes 10 kB.
    """

    count: int = 0
    cached: int = 0
    lacking: dict[int, tuple[FamilyVersion, ...]] = field(default_factory=dict)
    failed: dict[int, tuple[str, str]] = field(default_factory=dict)
    too_large: dict[int, tuple[str, str]] = field(default_factory=dict)
    alone: dict[int, str] = field(default_factory=dict)
    failed_alone: dict[int, tuple[str, str]] = field(default_factory=dict)
    families: dict[str, FamilyCounts] = field(default_factory=dict)
    changes: Counter[tuple[str, str]] = field(default_factory=Counter)
    seconds: ClipSeconds = field(default_factory=ClipSeconds)

    def judge(
        self, index: int, clip: ClipToMeasure, outcomes: Mapping[FamilyVersion, Outcome | None], *, known: bool = False
    ) -> bool:
        """Whether no family that costs a clip has failed of these; the first that has is the clip's reason.

        ``known`` outcomes are the cache's.
        """
        costly = None
        for family, outcome in outcomes.items():
            if outcome is None:
                continue
            counts = self.families.setdefault(family.name, FamilyCounts())
            if outcome.row is None:
                counts.failed += 1
                costly = costly or (outcome if family.costs_clip else None)
                if not family.costs_clip:
                    self.failed_alone.setdefault(index, (clip.key, f"{family.name}: {outcome.reason}"))
            elif known:
                counts.known += 1
            else:
                counts.measured += 1
        if costly is not None:
            (self.too_large if costly.too_large else self.failed)[index] = clip.key, costly.reason
        return costly is None

    def report(self) -> FeatureReport:
        """The report of the clips, all of them measured by now."""
        again = ""
        if self.changes:
            (gone, new), _ = self.changes.most_common(1)[0]
            again = f"{self.changes.total()} clips are measured again: {gone} became {new}"
        lost = self.failed.keys() | self.too_large.keys()
        return FeatureReport(
            rows_in=self.count,
            measured=len(self.lacking.keys() - lost),
            cached=self.cached,
            failed=[self.failed[index] for index in sorted(self.failed)],
            no_reference=[self.alone[index] for index in sorted(self.alone.keys() - lost)],
            again=again,
            too_large=[self.too_large[index] for index in sorted(self.too_large)],
            families=self.families,
            failed_alone=[self.failed_alone[index] for index in sorted(self.failed_alone.keys() - lost)],
            seconds=self.seconds,
        )


def _looked_up(
    clips: Iterable[ClipToMeasure], families: Sequence[FamilyVersion], pass_version: str, cache: FeatureCache
) -> _Ledger:
    """What the cache has of the clips, and what it lacks."""
    ledger = _Ledger(families={family.name: FamilyCounts() for family in families})
    for index, clip in enumerate(clips):
        ledger.count += 1
        if clip.alone:
            ledger.alone[index] = clip.key
        key = _clip_key(clip)
        outcomes = {family: cache.of_family(family, key) for family in families}
        lacking = tuple(family for family, outcome in outcomes.items() if outcome is None)
        # Without one that costs it a clip has no row: measuring the others would change nothing.
        if not ledger.judge(index, clip, outcomes, known=True):
            continue
        if lacking:
            ledger.lacking[index] = lacking
            if change := _version_change(lacking, key, pass_version, cache):
                ledger.changes[change] += 1
        else:
            ledger.cached += 1
    return ledger


def feature_row(
    corpus_row: Mapping[str, Any], measured: Mapping[str, Any], extra_columns: Collection[str] = ()
) -> dict[str, Any]:
    """One row per clip: ``key`` (the corpus row's ``src``), ``src_sha256``, then measured and carried columns.

    ``extra_columns`` are the fields that the corpus's declaration adds; a row has those that its corpus row has.
    """
    identity = {"key": corpus_row["src"], "src_sha256": corpus_row["src_sha256"]}
    carried = {name: corpus_row.get(name) for name in CARRIED}
    present = {
        name: value for name, value in corpus_row.items() if name in CARRIED_WHERE_PRESENT or name in extra_columns
    }
    return {**identity, **measured, **carried, **present}


def without_reference(measured: Mapping[str, Any]) -> Measured:
    """``measured`` of a ladder clip whose reference is missing: nothing in all that only the reference could tell.

    That is NaN in canonical-6, null in VMAF and ``feature_width``, ``feature_height``; saliency, shots, the frame count
    are its own.
    """
    unknown = {column for name in CANONICAL_6 for column in pooled_columns(name)} & set(measured)
    of_comparison = {VMAF, "feature_width", "feature_height"} & set(measured)
    blank = {**dict.fromkeys(unknown, math.nan), **dict.fromkeys(of_comparison)}
    return {**measured, **blank, "feature_reference": "ladder"}


@dataclass(frozen=True)
class MeasuredRows:
    """The measured columns of clips in their order, None for those that failed; read from the cache one by one."""

    clips: Iterable[ClipToMeasure]
    families: Sequence[FamilyVersion]
    failed: frozenset[int]
    cache: FeatureCache

    def __iter__(self) -> Iterator[Measured | None]:
        for index, clip in enumerate(self.clips):
            yield None if index in self.failed else self._row(clip)

    def _row(self, clip: ClipToMeasure) -> Measured:
        row: Measured = {}
        for family in self.families:
            outcome = self.cache.of_family(family, _clip_key(clip))
            if not family.costs_clip and (outcome is None or outcome.row is None):
                # Why is in the report; a failure that need not last is not kept.
                row |= dict.fromkeys(family.columns)
                continue
            if outcome is None or outcome.row is None:
                # Only a cache that turned out damaged, or that somebody deleted, in the middle of a run lost a row.
                raise FeatureError(
                    f"{self.cache.path}: the feature cache lost what was measured of {clip.key}",
                    next_step="run it again: clips that it lost are measured again",
                )
            row |= outcome.row
        return without_reference(row) if clip.alone else row


def _clip_key(clip: ClipToMeasure) -> CacheKey:
    """The clip as the cache keeps it; what is declared of a raw clip changes what is measured of the same bytes."""
    raw = clip.raw
    declared = f"; raw {raw.width}x{raw.height} {raw.pix_fmt} {raw.framerate:g}" if raw else ""
    return CacheKey(clip.sha256, clip.reference_sha256 or "", declared)


def _version_change(
    families: Sequence[FamilyVersion], clip: CacheKey, pass_version: str, cache: FeatureCache
) -> tuple[str, str] | None:
    """How the version of a family that was measured before differs from today's: what went, and what came."""
    for family in families:
        before = cache.other_version(family, clip)
        if before:
            # A row of the first edition names all families at once: it is compared with the text that does so today.
            parts = before.split("; ")
            texts = [f"{text}{clip.version}".split("; ") for text in (family.version, pass_version)]
            now = max(texts, key=lambda text: len(set(text) & set(parts)))
            gone, new = ([part for part in one if part not in other] for one, other in ((parts, now), (now, parts)))
            return ", ".join(gone) or "nothing", ", ".join(new) or "nothing"
    return None


@dataclass(frozen=True)
class MeasuredClip:
    """What came of one clip, by family, and where its time went."""

    outcomes: dict[str, Outcome]
    seconds: ClipSeconds


def _result(task: MeasuringTask, future: "Future[MeasuredClip]") -> MeasuredClip:
    """What a worker made of a clip; where it died of it, alone with it and twice, that is what became of it."""
    try:
        return future.result()
    except ChildDiedError as death:
        return MeasuredClip(dict.fromkeys(task.families, _outcome(death)), ClipSeconds())


def _measure(
    extractor: FeatureExtractor, caps: ClipCaps, stop: threading.Event | None, task: MeasuringTask
) -> MeasuredClip:
    """What came of one clip; failures that are the clip's own are outcomes, all others are raised.

    Where the machine stood in the way, or a process died over the clip, it is tried once more.
    """
    MEMORY.keep_to(caps)  # here: the process may be another than the run's
    if stop is None and (here := run_here()):
        stop = here.stop
    with seconds_of_clip() as seconds:
        measured = _tried(extractor, caps, stop, task)
        again = tuple(name for name, values in measured.items() if _may_pass(values))
        if again:
            measured = {**measured, **_tried(extractor, caps, stop, replace(task, families=again))}
    return MeasuredClip({name: _outcome(values) for name, values in measured.items()}, seconds)


def _tried(
    extractor: FeatureExtractor, caps: ClipCaps, stop: threading.Event | None, task: MeasuringTask
) -> Mapping[str, Measured | ClipError]:
    """What the families of a task measure of its clip in one go, or why they do not."""
    clip = task.clip
    if stop is not None and stop.is_set():
        raise StoppedError
    stored = [place for place in (clip.path, clip.reference) if isinstance(place, StoredClip)]
    try:
        # Once for all families, and a reference once for all its encodes while the scratch has room.
        with clips_at_hand(stored, stop) as at_hand:
            return _tried_on_files(extractor, caps, stop, _with_files(task, at_hand))
    except FileNotFoundError:
        return dict.fromkeys(task.families, TransientClipError("clip file absent"))
    except ClipError as error:
        return dict.fromkeys(task.families, error)


def _with_files(task: MeasuringTask, at_hand: Mapping[StoredClip, ClipAtHand]) -> MeasuringTask:
    """The task with the files that clips of a store were brought to, hashed as they came."""
    if not at_hand:
        return task

    def file_of(place: ClipPlace | None) -> Path | None:
        return at_hand[place].path if isinstance(place, StoredClip) else place

    stamps = {one.path: (stamp_of(one.path), one.brought.content.sha256) for one in at_hand.values()}
    known = {path: StampedHash(stamp, sha256) for path, (stamp, sha256) in stamps.items() if stamp is not None}
    clip = task.clip
    brought = replace(clip, path=file_of(clip.path) or clip.path, reference=file_of(clip.reference))
    return replace(task, clip=brought, known=known)


def _tried_on_files(
    extractor: FeatureExtractor, caps: ClipCaps, stop: threading.Event | None, task: MeasuringTask
) -> Mapping[str, Measured | ClipError]:
    """As ``_tried``, of clips that lie in files."""
    clip = task.clip
    file, reference = clip.path, clip.reference
    if not isinstance(file, Path) or isinstance(reference, StoredClip):
        raise TypeError(f"{file}, {reference}: no files")
    sides = {"clip": (file, clip.sha256)}
    if reference is not None and reference != file:  # a ladder's reference is its own
        sides["reference"] = (reference, clip.reference_sha256 or "")

    def measure(hashed: Sequence[HashedFile]) -> Mapping[str, Measured | ClipError]:
        for one, (what, (_, sha256)) in zip(hashed, sides.items(), strict=True):
            if one.content.sha256 != sha256:
                raise TransientClipError(
                    f"{what} changed since ingest",
                    found=f"SHA-256 {one.content.sha256}",
                    expected=f"{sha256}, the corpus JSONL's",
                    next_step=Make("corpus_jsonl", " again, or bring the clip back"),
                )
        if task.apart:
            return _measured_apart(_Question(extractor, caps, clip, task.families, file, reference), stop)
        return extractor.measure(file, families=task.families, reference=reference, raw=clip.raw, stop=stop)

    paths = [path for path, _ in sides.values()]
    try:
        for what, (path, _) in sides.items():
            if not path.exists():
                raise TransientClipError(f"{what} file absent")
        if clip.size is not None:
            caps.check(clip.size)
        for path in paths:
            refuse_too_large(path, clip.raw, caps)
        return of_steady_files(measure, paths, stop or threading.Event(), task.known)
    except ClipError as error:
        return dict.fromkeys(task.families, error)
    except (OSError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or str(error) or "no memory"
        unreadable = TransientClipError(f"cannot be read: {reason}")
        unreadable.__cause__ = error
        return dict.fromkeys(task.families, unreadable)


@dataclass(frozen=True)
class _Question:
    """What another process is asked to measure."""

    extractor: FeatureExtractor
    caps: ClipCaps
    clip: ClipToMeasure
    families: tuple[str, ...]
    path: Path
    reference: Path | None


def _answered(question: _Question) -> dict[str, Measured | ClipError]:
    MEMORY.keep_to(question.caps)
    clip = question.clip
    measured = question.extractor.measure(
        question.path, families=question.families, reference=question.reference, raw=clip.raw
    )
    return dict(measured)


def _measured_apart(question: _Question, stop: threading.Event | None) -> Mapping[str, Measured | ClipError]:
    """What a process of its own measures of a clip; ChildDiedError where that dies of it."""
    worker = Worker()
    try:
        worker.ask(_answered, question)
        while not worker.has_answer(_LOOK_AROUND_S):
            if stop is not None and stop.is_set():
                raise StoppedError
        measured: Mapping[str, Measured | ClipError] = worker.answer()
    except WorkerDiedError as death:
        crashed = is_crash(death.status)
        what = f"its decoder crashes on it ({death})" if crashed else f"its decoder was killed ({death})"
        raise ChildDiedError(what, crashed=crashed, memory_bytes=death.memory_bytes) from None
    finally:
        worker.end()
    return measured


def _may_pass(values: Measured | ClipError) -> bool:
    """Whether the machine or a first death was in the way; a time limit that passed is not waited for twice."""
    return isinstance(values, ChildDiedError) or (
        isinstance(values, TransientClipError) and isinstance(values.__cause__, OSError | MemoryError)
    )


def _outcome(values: Measured | ClipError) -> Outcome:
    if not isinstance(values, ClipError):
        return Outcome(row=values)
    # A process that crashed on the second try too has crashed on the clip.
    crashed = isinstance(values, ChildDiedError) and values.crashed
    passing = isinstance(values, (TransientClipError, TooLargeError)) and not crashed
    return Outcome(
        reason=str(values),
        lasting=not passing,
        too_large=isinstance(values, TooLargeError),
        killed=isinstance(values, ChildDiedError) and not values.crashed,
    )


def refuse_too_large(path: Path, raw: RawVideo | None, caps: ClipCaps) -> None:
    """TooLargeError where a clip is over a cap, by its header or by what it is without one; nothing is decoded."""
    if raw is None:
        refuse_by_header(path, caps)
    else:
        frames = path.stat().st_size // raw.frame_bytes
        caps.check(ClipSize(raw.width, raw.height, frames / raw.framerate, frames))


def _with_hashes(tasks: Iterable[MeasuringTask], hashes: KnownHashes) -> Iterator[MeasuringTask]:
    """The tasks with what is known of their files, which is asked for many clips at once."""
    waiting = iter(tasks)
    while batch := list(islice(waiting, _ASKED_AT_ONCE)):
        keys = {key: None for task in batch for key in (task.clip.key, task.clip.reference_key) if key}
        known = hashes(list(keys))
        for task in batch:
            clip = task.clip
            files = ((clip.path, clip.key), (clip.reference, clip.reference_key))
            # What lies in a store is hashed as it is brought.
            of_files = {path: known[key] for path, key in files if isinstance(path, Path) and key in known}
            yield replace(task, known=of_files)


def one_clip_row(
    clip: Path,
    extractor: FeatureExtractor,
    *,
    reference: Path | None = None,
    raw: RawVideo | None = None,
    caps: ClipCaps | None = None,
    stop: threading.Event | None = None,
) -> dict[str, Any]:
    """The columns of the feature table for one file: measured ones, geometry, size and hash; ``key`` is its name.

    With ``reference`` the clip is a ladder clip compared with it. ``raw`` is what it is where it has no container,
    ``caps`` are on what is decoded. ``corpus`` is None. Raises ``BrokenClipError`` for a file that is no whole clip,
    ``TooLargeError`` for one that is over a cap, ``ClipError`` for one that cannot be measured,
    ``TransientClipError`` where it cannot be read, ``FeatureError`` where no clip could be.
    """

    def row(facts: Mapping[str, Any]) -> dict[str, Any]:
        return feature_row(facts, joined(extractor.measure(clip, reference=reference, raw=raw, stop=stop)))

    return _of_one_clip(clip, raw, caps or ClipCaps(), stop, row)


@dataclass(frozen=True)
class ClipByWindows:
    """The row of a clip as ``one_clip_row`` gives it, and a row of each of its windows, or why it has none."""

    row: Mapping[str, Any]
    windows: Sequence[tuple[Window, Mapping[str, Any] | ClipError]]


def one_clip_windows(
    clip: Path,
    extractor: "ClipExtractor",
    every_s: Fraction,
    *,
    raw: RawVideo | None = None,
    caps: ClipCaps | None = None,
    stop: threading.Event | None = None,
) -> ClipByWindows:
    """The columns of the feature table for a clip and for each window of it; raises as ``one_clip_row``."""

    def rows(facts: Mapping[str, Any]) -> ClipByWindows:
        measured = extractor.measure_windows(clip, every_s, stop, raw)
        windows = [
            (window, row if isinstance(row, ClipError) else feature_row(facts, row)) for window, row in measured.windows
        ]
        return ClipByWindows(feature_row(facts, joined(measured.whole)), windows)

    return _of_one_clip(clip, raw, caps or ClipCaps(), stop, rows)


def _of_one_clip(
    clip: Path,
    raw: RawVideo | None,
    caps: ClipCaps,
    stop: threading.Event | None,
    measure: Callable[[Mapping[str, Any]], _Answer],
) -> _Answer:
    """What ``measure`` makes of a clip, given what its corpus row would say of the file; errors name the clip."""

    MEMORY.keep_to(caps)

    def answer(hashed: Sequence[HashedFile]) -> _Answer:
        content = hashed[0].content
        geometry = _geometry(clip, raw, caps, content.size_bytes)
        identity = {"src": clip.name, "src_sha256": content.sha256, "src_size_bytes": content.size_bytes}
        return measure({**identity, **geometry.as_dict()})

    try:
        if raw is None:
            refuse_what_is_no_clip(clip)
        return of_steady_files(answer, [clip], stop or threading.Event())
    except BrokenClipError as error:
        if clip.name in error.what:
            raise
        raise BrokenClipError(f"{clip.name}: {error}", next_step="fetch or stage the clip again") from None
    except TooLargeError as error:
        raise TooLargeError(f"{clip.name}: {error}") from None
    except OSError as error:
        raise TransientClipError(f"{clip.name}: cannot be read", found=error.strerror or str(error)) from error


def _geometry(clip: Path, raw: RawVideo | None, caps: ClipCaps, size_bytes: int) -> Geometry:
    """The same geometry that ingest reads from the file; BrokenClipError where it has none, TooLargeError by a cap."""
    try:
        geometry = raw_geometry(raw, size_bytes, "") if raw else geometry_of(answer_of(clip, caps))
    except BrokenClipError as error:
        raise BrokenClipError(clearer_reason(str(error), clip)) from None
    caps.check(ClipSize.of(geometry))  # a header need not say it
    return geometry
