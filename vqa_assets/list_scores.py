"""``predict … --from list.parquet --out scores.parquet``: a head's score of every clip that a list names.

Rows go through in windows, whatever their number: their clips are hashed and probed, what the feature cache lacks of
them is measured on the clip pool, and the scores are written behind those of the window before. Nothing of a score is
kept but the finished table: a run that was cut short is begun again, and finds in the caches what was read and
measured. Which clips a list names is in ``clip_list``, what the command takes in ``predict``.
"""

import csv
import math
import os
import sqlite3
import threading
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from vqa_assets.clip_list import ClipList, ListedClip, ListFacts
from vqa_assets.clips.cap_settings import cap_args
from vqa_assets.clips.caps import ClipCaps, ClipSize
from vqa_assets.clips.downloading import DownloadLimits
from vqa_assets.clips.folders import ClipPlace, FileStamp, StoredClip, is_lfs_pointer, stamp_of
from vqa_assets.clips.hashing import StampedHash
from vqa_assets.clips.scratch import clips_at_hand, scratch_of_run
from vqa_assets.clips.stores import open_store
from vqa_assets.clips.work import ClipPool, ProgressLine, Remote, Watch, completed_together, stopping
from vqa_assets.errors import (
    ChildDiedError,
    FeatureError,
    HeadError,
    SchemaError,
    TableError,
    TransientClipError,
)
from vqa_assets.features.cache import FeatureCache
from vqa_assets.features.family import FeatureExtractor
from vqa_assets.features.measuring import ClipToMeasure, MeasuringRun, extract_features, feature_row
from vqa_assets.ingest.cache import IngestCache, ReadClip
from vqa_assets.ingest.clip_task import (
    ClipLimits,
    ClipOutcome,
    ClipState,
    ClipTask,
    as_raw,
    died_over,
    known_outcome,
    read_clip,
    unreadable,
)
from vqa_assets.ingest.tools import ClipTools, OpenTools, open_tools, stop_run, tools_of_run
from vqa_assets.predict import STAGE, Scored, csv_columns, csv_row, scored_row
from vqa_assets.provenance import Manifest, RunContext, write_manifest
from vqa_assets.provenance.reading import read_now, refuse_changes
from vqa_assets.tables.files import (
    PROCESS,
    fault_of,
    is_alive,
    kind_of_node,
    read_json_object,
    this_process,
    write_json,
)
from vqa_assets.tables.makers import mark
from vqa_assets.tables.parquet import ColumnKinds
from vqa_assets.tables.paths import DataRoot, manifest_path, sibling
from vqa_assets.tables.publication import publishing
from vqa_assets.tables.targets import OwnTarget, check_targets, why_other_manifest

if TYPE_CHECKING:
    from vqa_assets.heads.using import Head

MANIFEST_SCHEMA = "predictions-manifest-v1"
UNFINISHED_SCHEMA = "unfinished-predictions-v1"
SUFFIXES = (".parquet", ".csv")
WINDOW_ROWS = 4_096
"""Rows in hand at once, and in a row group. Workers wait for the last clips of a window: a wide one lets few wait long;
the clips of one, at 5 MB, fill the scratch of an object store."""
SCORED_AT_ONCE = 1_024
"""Feature rows in memory at once: 10 kB each where they hold vectors."""
PROBE_TIMEOUT_S = 60.0
_PER_WORKER = 2
_UNFINISHED = ".unfinished.json"
_READ_CACHE, _FEATURE_CACHE = ".clip-cache.sqlite", ".feature-cache.sqlite"
_SHOWN, _LONGEST = 3, 300
Say = Callable[[str], None]


@dataclass(frozen=True)
class ListServices:
    """What a list is scored with: who measures clips, who probes them, where that runs, and who hears of it.

    ``read_cache`` keeps what clips hash to and their geometry, by their places, ``feature_cache`` what was measured.
    ``caps`` are on what is decoded, of which the run states ``stated_caps``.
    """

    extractor: FeatureExtractor
    tools: ClipTools
    pool: ClipPool
    read_cache: Path
    feature_cache: Path
    say: Say
    workers: int = 1
    caps: ClipCaps = field(default_factory=ClipCaps)
    stated_caps: frozenset[str] = frozenset()


@dataclass
class ListReport:
    """What became of the rows of a list: ``without`` are those without a score, by what was in the way.

    ``measured`` counts the clips that this run measured, ``known`` those that it had not to; rows of equal bytes are
    one clip, wherever in the list they are. ``first`` are a few keys, or numbers of rows without one, with the reason
    why there is no score.
    """

    rows: int = 0
    scored: int = 0
    without: Counter[str] = field(default_factory=Counter)
    out_of_range: int = 0
    measured: int = 0
    known: int = 0
    first: list[tuple[str, str]] = field(default_factory=list)

    @property
    def reconciles(self) -> bool:
        """Whether every row is accounted for once."""
        return self.rows == self.scored + self.without.total()

    def in_words(self) -> str:
        """How many rows have no score, by what was in the way."""
        kinds = ", ".join(f"{count} {what}" for what, count in self.without.most_common())
        return f"{self.without.total()} of {self.rows} rows without a score ({kinds})"

    def counters(self) -> dict[str, Any]:
        """As the manifest has it."""
        return {
            "rows": self.rows,
            "scored": self.scored,
            "without_score": dict(sorted(self.without.items())),
            "out_of_range": self.out_of_range,
            "clips_measured": self.measured,
            "clips_known": self.known,
        }


class PoolOfEnvironment:
    """A clip pool: the Dask workers that ``VQA_DASK_ADDRESS`` or ``VQA_DASK_CLUSTER`` names, else threads."""

    def open(self, workers: int) -> Any:
        """See ``clips.work.ClipPool``; SettingsError or ClusterError where Dask's workers are not there or not fit."""
        return _executor_of_environment(workers)


@contextmanager
def _executor_of_environment(workers: int) -> Iterator[Executor]:
    from vqa_assets.clips.dask_cluster import ADDRESS, CLUSTER, dask_executor

    if os.environ.get(ADDRESS) or os.environ.get(CLUSTER):
        with dask_executor(os.environ) as connected:
            yield connected.executor
    else:
        with ThreadPoolExecutor(workers, thread_name_prefix="clip") as executor:
            yield executor


def caches_of(clips: ClipList, root: DataRoot, out: Path) -> tuple[Path, Path]:
    """Where it is kept what clips of lists hash to, and what was measured of them: in the data root, where it is there.

    Of a corpus's own list the latter is the corpus's cache: what ``clip_features`` measured is known. Without a data
    root, and in one that this user may only read, both lie beside the scores.
    """
    folder = root.path if _may_be_written(root.path) else out.absolute().parent
    of_corpus = root.feature_cache(clips.corpus) if clips.corpus is not None else None
    if of_corpus is None or not _may_be_written(of_corpus.parent):
        of_corpus = folder / _FEATURE_CACHE
    return folder / _READ_CACHE, of_corpus


def _may_be_written(folder: Path) -> bool:
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def check_out(out: Path | None, inputs: Mapping[str, Path], root: DataRoot, is_own: Callable[[Path], bool]) -> Path:
    """The place of the scores; HeadError where it names none of the formats.

    SettingsError where scores or their manifest would replace an input, or what this command did not write.
    """
    if out is None or out.suffix.lower() not in SUFFIXES or out.is_dir():
        raise HeadError(
            "--from",
            found="no --out" if out is None else f"--out {out}" + (", a folder" if out.is_dir() else ""),
            expected="--out with a name in .parquet or .csv",
            next_step="name the file that the scores go to",
        )
    manifest = OwnTarget(
        "the manifest beside --out", manifest_path(out), STAGE, why_not=why_other_manifest(STAGE, out, root.shown)
    )
    check_targets(STAGE, [OwnTarget("--out", out, STAGE, is_own=is_own), manifest], inputs)
    return out


def score_list(
    head: "Head", onnx: Path, clips: ClipList, out: Path, services: ListServices, context: RunContext
) -> ListReport:
    """Score every row of the list, in its order, and publish the scores with their manifest.

    A row without a score has its reason. TableError for a list without rows, HeadError where no row has a score,
    ChangedInputError where the list or the head changed meanwhile, FeatureError where a cache or the table cannot be
    written: nothing is published then, and what was measured is kept.
    """
    inputs = read_now({"list": clips.path, "head": onnx, "head_manifest": onnx.with_suffix(".json")})
    facts = clips.facts()
    if not facts.rows:
        raise TableError(
            f"{clips.path}", found="no row", expected="a clip in each row", next_step="list the clips to score"
        )
    _tell_repeats(facts, clips, services.say)
    note = {
        "schema": UNFINISHED_SCHEMA,
        "process": this_process(),
        "list_sha256": inputs["list"].sha256,
        "head": head.manifest.id,
        "head_sha256": head.manifest.sha256,
        "extractor": services.extractor.version,
        "caps": services.caps.values(),
    }
    unfinished = sibling(out, _UNFINISHED)
    _tell_earlier(unfinished, note, services.say)
    report = ListReport()
    try:  # before anything is measured: whatever is in the way here is the place's
        out.parent.mkdir(parents=True, exist_ok=True)
        write_json(unfinished, note)
    except OSError as error:
        raise _unwritten(f"{out}: the scores cannot be written", error.strerror or str(error)) from error
    try:
        with (
            scratch_of_run(),
            IngestCache(services.read_cache) as read,
            FeatureCache(services.feature_cache) as features,
            # The tools close after the pool, when no thread of it is left that could open them again.
            tools_of_run(services.tools) as tools,
            services.pool.open(services.workers) as executor,
        ):
            scoring = _Scoring(head, services, read, features, tools, executor, report, facts.rows)
            with publishing(STAGE, out, MANIFEST_SCHEMA) as publication:
                _write(publication.draft(out), out.suffix.lower(), head.target, scoring.windows(clips))
                scoring.watch.end()
                if not report.reconciles or report.rows != facts.rows:
                    raise FeatureError(
                        f"{clips.path}: rows do not reconcile",
                        found=f"{report.counters()} of {facts.rows}",
                        next_step="report this defect",
                    )
                if not report.scored:
                    unfinished.unlink(missing_ok=True)  # it did finish
                    raise _nothing_scored(clips, report)
                refuse_changes(inputs.values())
                further = {name: path for family in services.extractor.families for name, path in family.reads}
                described = Manifest(
                    MANIFEST_SCHEMA,
                    _body(head, clips, facts, services, report),
                    {
                        "workers": {"value": services.workers},
                        "clip_column": {"value": clips.clip_column},
                        **cap_args(services.caps, services.stated_caps, "command line"),
                    },
                    {**inputs, **further},
                    {"scores": out},
                )
                write_manifest(publication, manifest_path(out), described, context)
        unfinished.unlink(missing_ok=True)
    except sqlite3.Error as error:
        raise _unwritten(f"{services.read_cache}: the cache cannot be used", str(error)) from error
    except OSError as error:
        if fault_of(error) is None:
            raise
        raise _unwritten(f"{out}: the scores cannot be written", error.strerror or str(error)) from error
    return report


def _nothing_scored(clips: ClipList, report: ListReport) -> HeadError:
    """The error of a list whose clips all came to nothing: earlier scores are worth more than a table of none."""
    return HeadError(
        f"{clips.path}: no clip could be scored",
        found=f"{report.in_words()}; {'; '.join(f'{key}: {reason}' for key, reason in report.first)}",
        expected="a score for one row at least",
        next_step="are the clips where the list, and --clips-url, say they are? Nothing was written",
    )


def _unwritten(what: str, found: str) -> FeatureError:
    return FeatureError(
        what,
        found=found,
        next_step="free space or mend the folder's permissions, then run again: what was measured is kept",
    )


def _tell_repeats(facts: ListFacts, clips: ClipList, say: Say) -> None:
    if facts.repeats:
        rows = " and ".join(map(str, facts.rows_of_it))
        say(
            f"{clips.path}: {facts.repeats} of {facts.rows} rows repeat a key of a row before, the first "
            f"{facts.repeated[:_LONGEST]} (rows {rows}); each row is scored and keeps its place"
        )


def _tell_earlier(unfinished: Path, note: Mapping[str, Any], say: Say) -> None:
    """What an earlier run into the same file was about, where it did not finish."""
    try:
        earlier = read_json_object(unfinished)
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, SchemaError):
        earlier = {}
    process = str(earlier.get("process", ""))
    if process != this_process() and PROCESS.fullmatch(process) and is_alive(process):
        say("another run into this file is at work; each measures what is not known yet, and the last table stands")
        return
    names = {"list_sha256": "the list", "head_sha256": "the head", "extractor": "what measures", "caps": "the caps"}
    changed = [what for name, what in names.items() if earlier.get(name) != note[name]]
    named = " and ".join(filter(None, [", ".join(changed[:-1]), *changed[-1:]]))
    what = f"{named} changed since: every score is of them as they are now" if changed else ""
    say(
        "an earlier run into this file did not finish; "
        + (what or "this one goes on from it")
        + "; clips that were read and measured are not measured again"
    )


def _body(
    head: "Head", clips: ClipList, facts: ListFacts, services: ListServices, report: ListReport
) -> dict[str, Any]:
    return {
        **{name: value for name, value in head.as_json().items() if name != "sha256"},
        "head_sha256": head.manifest.sha256,
        "extractor": services.extractor.version,
        "clips": f"{clips.root}",
        "columns": {"clip": clips.clip_column, "key": clips.key_column or None},
        "repeated_keys": facts.repeats,
        "counters": report.counters(),
        "first_without_score": [{"key": key, "reason": reason} for key, reason in report.first],
    }


# Windows


class _Scoring:
    """One run over a list: what it was given, and how far it is. Only the coordinator touches it."""

    def __init__(
        self,
        head: "Head",
        services: ListServices,
        read: IngestCache,
        features: FeatureCache,
        tools: OpenTools,
        executor: Executor,
        report: ListReport,
        rows: int,
    ) -> None:
        self._head, self._services, self._executor, self._tools = head, services, executor, tools
        self._read, self._features, self._report = read, features, report
        self._deaths = dict(read.deaths())
        # The first eight bytes of hashes: of the clips that have features, in each window, and of those measured now.
        self._with_features, self._measured_now = array("Q"), array("Q")
        self.watch = Watch(ProgressLine("predict", rows, services.say))
        self.watch.at(executor)
        self.watch.update(0, 0)

    def windows(self, clips: Iterable[ListedClip]) -> Iterator[list[Scored]]:
        """The scores of each window of rows, in the list's order."""
        rows = iter(clips)
        checked = False
        while window := list(islice(rows, WINDOW_ROWS)):
            if not checked and isinstance(self._executor, Remote):
                checked = self._check_sees(window)
            scored = self._scored(window)
            self._count(scored)
            yield [one for one, _ in scored]
        measured, with_features = (_distinct(several) for several in (self._measured_now, self._with_features))
        self._report.measured, self._report.known = measured, with_features - measured

    def _check_sees(self, window: Sequence[ListedClip]) -> bool:
        """Ask the workers elsewhere whether they see the folders or stores of the window's first clips."""
        place = next((one.place for one in window if one.place is not None), None)
        if place is not None and isinstance(self._executor, Remote):
            self._executor.check_sees(place.store if isinstance(place, StoredClip) else place.parent)
        return place is not None

    def _scored(self, window: Sequence[ListedClip]) -> list[tuple[Scored, str]]:
        """The score of each row, with what was in the way where there is none."""
        listed = {_name(one.place): one for one in window if one.place is not None}
        outcomes = self._outcomes(listed)
        # Equal bytes are measured once, wherever they lie.
        of_bytes: dict[str, str] = {}
        for name in listed:
            clip = outcomes[name].clip
            if outcomes[name].state is ClipState.READ and clip is not None:
                of_bytes.setdefault(clip.sha256, name)
        # What is read of a window counts half while it is measured: else lines would stand still, then jump.
        begun = self._report.rows + len(window) - len(of_bytes) // 2
        lost, scores = self._measured(
            {sha256: (listed[name], outcomes[name].clip) for sha256, name in of_bytes.items()}, begun
        )
        rows: list[tuple[Scored, str]] = []
        for one in window:
            nothing = Scored(one.source, one.key, math.nan)
            if one.place is None:
                rows.append((replace(nothing, reason=one.why), "no place"))
                continue
            outcome = outcomes[_name(one.place)]
            if outcome.state is not ClipState.READ or outcome.clip is None:
                rows.append((replace(nothing, reason=outcome.reason), str(outcome.state)))
            elif (score := scores.get(outcome.clip.sha256)) is not None:
                rows.append((replace(score, source=one.source, key=one.key), "a feature is not known"))
            else:
                what, reason = lost[outcome.clip.sha256]
                rows.append((replace(nothing, reason=reason), what))
        return rows

    def _count(self, scored: Sequence[tuple[Scored, str]]) -> None:
        report = self._report
        for one, what in scored:
            report.rows += 1
            report.out_of_range += bool(one.out_of_range)
            if math.isfinite(one.score):
                report.scored += 1
                continue
            report.without[what] += 1
            if len(report.first) < _SHOWN:
                report.first.append((one.key[:_LONGEST] or f"row {report.rows}", one.reason[:_LONGEST]))
        self.watch.update(report.rows, report.without.total())

    def _outcomes(self, listed: Mapping[str, ListedClip]) -> dict[str, ClipOutcome]:
        """What each clip is, by its place: hashed and probed, where its stamp is not the one that is known."""
        known = self._read.known(list(listed))
        tasks = (
            (ClipTask(name, one.place, "", raw=one.raw, deaths=self._deaths.get(name)), known.get(name))
            for name, one in listed.items()
            if one.place is not None
        )
        services, outcomes = self._services, dict[str, ClipOutcome]()
        limits = ClipLimits(DownloadLimits(), PROBE_TIMEOUT_S, services.caps)
        work = partial(read_listed, services.tools, limits)
        run_id, window = services.tools.run_id, max(64, 4 * services.workers)
        with stopping(self._tools.stop, self._executor, partial(stop_run, run_id)):
            for batch in completed_together(self._executor, work, tasks, window, self.watch.look):
                come: dict[str, ClipOutcome] = {}
                failure: BaseException | None = None
                for (task, _), future in batch:
                    error = future.exception()
                    if error is None:
                        come[task.name] = future.result()
                    elif isinstance(error, ChildDiedError):  # a worker elsewhere died of it, alone with it
                        come[task.name] = died_over(task, error)
                    else:
                        failure = failure or error
                self._keep(come)
                outcomes |= come
                self.watch.update(self._report.rows + len(outcomes) // 2, self._report.without.total())
                if failure is not None:
                    raise failure
        return outcomes

    def _keep(self, outcomes: Mapping[str, ClipOutcome]) -> None:
        self._read.put_all({name: o.clip for name, o in outcomes.items() if o.clip is not None and o.read_bytes})
        deaths = {
            name: None if o.clip else o.deaths for name, o in outcomes.items() if o.deaths or name in self._deaths
        }
        self._read.put_deaths({name: one for name, one in deaths.items() if one or outcomes[name].clip})

    def _measured(
        self, clips: Mapping[str, tuple[ListedClip, ReadClip | None]], begun: int
    ) -> tuple[dict[str, tuple[str, str]], dict[str, Scored]]:
        """Of clips by their hashes: what was in the way of some, and why, and the scores of the others."""
        services = self._services
        to_measure: list[ClipToMeasure] = []
        stamps: dict[str, StampedHash] = {}
        facts: list[dict[str, Any]] = []
        for sha256, (listed, clip) in clips.items():
            if listed.place is None or clip is None or clip.geometry is None:
                raise TypeError(f"{listed}: not read")
            place: ClipPlace = listed.place
            if isinstance(place, StoredClip):
                place = replace(place, size_bytes=clip.stamp.size_bytes)
            size = ClipSize.of(clip.geometry)
            to_measure.append(ClipToMeasure(_name(place), place, sha256, raw=listed.raw, size=size))
            stamps[_name(place)] = StampedHash(clip.stamp, sha256)
            identity = {"src": listed.source, "src_sha256": sha256, "src_size_bytes": clip.stamp.size_bytes}
            facts.append({**identity, **clip.geometry.as_dict()})
        run = MeasuringRun(
            _PER_WORKER * services.workers,
            threading.Event(),
            lambda done, failed: self.watch.update(begun + done // 2, self._report.without.total() + failed),
            self.watch.look,
            hashes=lambda names: {name: stamps[name] for name in names if name in stamps},
            caps=services.caps,
            measured=lambda one: self._measured_now.append(_short(one.sha256)),
        )
        measured, report = extract_features(to_measure, services.extractor, self._executor, self._features, run)
        kinds = (("not measured", report.failed), (str(ClipState.TOO_LARGE), report.too_large))
        why = {key: (what, reason) for what, several in kinds for key, reason in several}
        lost = {one.sha256: why[one.key] for one in to_measure if one.key in why}
        self._with_features.extend(_short(sha256) for sha256 in clips if sha256 not in lost)
        rows = (
            feature_row(of_clip, values) for of_clip, values in zip(facts, measured, strict=True) if values is not None
        )
        scores: dict[str, Scored] = {}
        while several := list(islice(rows, SCORED_AT_ONCE)):
            scored = self._head.scored(_frame(several).lazy(), "the clips of the list")
            for number, row in enumerate(several):
                scores[row["src_sha256"]] = scored_row(self._head, "", "", scored, number)
        return lost, scores


def _short(sha256: str) -> int:
    """A hash's first eight bytes: enough to tell the clips of a list apart, and to count them."""
    return int(sha256[:16], 16)


def _distinct(numbers: "array[int]") -> int:
    import numpy as np

    return len(np.unique(np.frombuffer(numbers, np.uint64)))


def _name(place: ClipPlace) -> str:
    """What a clip's place is called in the cache."""
    return str(place if isinstance(place, StoredClip) else place.absolute())


def read_listed(tools: ClipTools, limits: ClipLimits, asked: tuple[ClipTask, ReadClip | None]) -> ClipOutcome:
    """Hash and probe one clip, on whatever thread or process an executor has.

    A clip that is known, and whose stamp is still that one, is not read. StoppedError after an interrupt; what concerns
    a whole object store is raised, everything else is an outcome.
    """
    task, known = asked
    opened, place = open_tools(tools), task.path
    if known is not None and task.raw is not None:  # what it is declared to be may be another than it was
        known = as_raw(known, task.raw, task.codec)
    try:
        if known is not None and known.stamp == _stamp_now(place, opened.stop):
            outcome = known_outcome(known, limits.caps)
            if outcome is not None:
                return outcome
        if isinstance(place, StoredClip):
            with clips_at_hand([place], opened.stop):  # it stays at hand: what measures it comes next
                return read_clip(task, limits, opened)
        if why := _why_absent(place):
            return ClipOutcome(ClipState.MISSING, reason=why)
        return read_clip(task, limits, opened)
    except (TransientClipError, OSError) as error:
        return _unread(place, error)


def _unread(place: ClipPlace, error: TransientClipError | OSError) -> ClipOutcome:
    if isinstance(error, FileNotFoundError):
        return ClipOutcome(ClipState.MISSING, reason=f"found nothing at {place}")
    if isinstance(error, OSError):
        return unreadable(error)
    return ClipOutcome(ClipState.UNPROBED, reason=str(error), present=True)


def _stamp_now(place: ClipPlace, stop: threading.Event) -> FileStamp | None:
    return open_store(place.store.url).stamp(place.src, stop) if isinstance(place, StoredClip) else stamp_of(place)


def _why_absent(path: Path) -> str:
    """Why a file is no clip before anything of it is decoded; empty where it may be one."""
    stamp = stamp_of(path)
    if stamp is None:
        return f"found {kind_of_node(path.stat().st_mode) if path.exists() else 'nothing'} at {path}"
    return "a Git-LFS pointer; run git lfs pull where it came from" if is_lfs_pointer(path, stamp) else ""


def _frame(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Feature rows as a frame: vectors as they are in a feature table; a column of nothing has no type."""
    import pyarrow as pa

    kinds = ColumnKinds()
    for row in rows:
        kinds.add(row)
    empty = {name for name in kinds.names if all(row.get(name) is None for row in rows)}
    schema = pa.schema([pa.field(f.name, pa.null()) if f.name in empty else f for f in kinds.schema(kinds.names)])
    return pl.DataFrame(pl.from_arrow(kinds.batch(rows, schema)))


# The table


def _write(path: Path, suffix: str, target: str, windows: Iterator[list[Scored]]) -> None:
    """Write the scores window by window."""
    if suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as out:
            writer = csv.DictWriter(out, csv_columns(target), lineterminator="\n")
            writer.writeheader()
            for window in windows:
                writer.writerows(csv_row(target, one) for one in window)
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    number, text = pa.float64(), pa.string()
    types = {"source": text, "key": text, target: number, "reason": text, "out_of_range": pa.list_(text)}
    schema = pa.schema([(name, types.get(name, number)) for name in csv_columns(target)])
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        writer.add_key_value_metadata(mark(STAGE))
        for window in windows:
            writer.write_table(pa.Table.from_pylist([one.as_json(target) for one in window], schema))
