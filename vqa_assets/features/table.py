"""Measuring many clips, and the rows of the feature table.

One clip is measured in ``extractor``; the executor, the file and its replay manifest are the caller's.
"""

import math
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from vqa_assets.clips.work import StoppedError, completed, stopping
from vqa_assets.corpora.raw_video import RawVideo
from vqa_assets.errors import ClipError, FeatureError, TransientClipError
from vqa_assets.feature_names import CANONICAL_6, pooled_columns
from vqa_assets.features.cache import CacheKey, FeatureCache, Outcome
from vqa_assets.features.protocols import FeatureExtractor, Measured

CARRIED = ("width", "height", "framerate", "duration_s", "pix_fmt", "encoder_upstream", "src_size_bytes", "corpus")
"""Corpus-row fields that every feature row has; None where the corpus row lacks them."""

CARRIED_WHERE_PRESENT = ("content_id", "score_drop")
"""Corpus-row fields that a feature row has where the corpus row does, beside those that the corpus declares."""


@dataclass(frozen=True)
class ClipToMeasure:
    """One clip of the table: its key, its file and hash, and those of its reference in a ladder corpus.

    ``ladder`` without a reference is a clip whose reference is missing. ``raw`` is what it is without a container.
    """

    key: str
    path: Path
    sha256: str
    reference: Path | None = None
    reference_sha256: str | None = None
    ladder: bool = False
    raw: RawVideo | None = None


@dataclass(frozen=True)
class MeasuringRun:
    """How a run goes: clips outstanding at once, the stop signal, and who is told how many are done and failed."""

    window: int
    stop: threading.Event
    progress: Callable[[int, int], None] | None = None


@dataclass(frozen=True)
class FeatureReport:
    """What became of the clips: measured now, known from the cache, or failed (key, reason), now or earlier.

    Of those with features, ``no_reference`` are the keys of ladder clips without their reference. ``again`` tells how
    many clips were measured before by another extractor, and what differs.
    """

    rows_in: int
    measured: int
    cached: int
    failed: list[tuple[str, str]]
    no_reference: list[str] = field(default_factory=list)
    again: str = ""

    @property
    def reconciles(self) -> bool:
        """Whether every clip is accounted for once."""
        return self.rows_in == self.measured + self.cached + len(self.failed)


def extract_features(
    clips: Sequence[ClipToMeasure],
    extractor: FeatureExtractor,
    executor: Executor,
    cache: FeatureCache,
    run: MeasuringRun,
) -> "tuple[MeasuredRows, FeatureReport]":
    """The measured columns of each clip, in input order; None for a clip that failed.

    The rows stay in the cache and are read from it as they are asked for: the run holds none of them.

    Each outcome is committed to the cache as it completes, in the calling thread: an interrupt loses the clips in hand
    and no others. A ``ClipError`` costs its clip; any other error, ``FeatureError`` and ``StoppedError`` included, ends
    the run. Only the threads of a ``ThreadPoolExecutor`` see ``run.stop`` within a clip.
    """
    keys = [_key(clip, extractor.version) for clip in clips]
    # A row of 250 columns takes 10 kB: of each clip only what became of it is held.
    outcomes = [_without_row(cache.get(key)) for key in keys]
    known = sum(outcome is not None and outcome.row is not None for outcome in outcomes)
    again = _why_again([key for key, outcome in zip(keys, outcomes, strict=True) if outcome is None], cache)
    count = _Count(run, outcomes)
    todo = ((index, clip) for index, clip in enumerate(clips) if outcomes[index] is None)
    work = partial(_measure, extractor, run.stop if isinstance(executor, ThreadPoolExecutor) else None)
    with stopping(run.stop, executor):
        for (index, _), future in completed(executor, work, todo, run.window):
            outcome = future.result()
            cache.put(keys[index], outcome)
            outcomes[index] = _without_row(outcome)
            count.one_more(outcome)
            if run.stop.is_set():
                raise StoppedError
    measured = [outcome is not None and outcome.row is not None for outcome in outcomes]
    return MeasuredRows(clips, keys, measured, cache), replace(_report(clips, outcomes, known), again=again)


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
    """``measured`` of a ladder clip whose reference is missing: NaN in all that only the reference could tell.

    Those are canonical-6 and ``feature_width``, ``feature_height``; saliency, shots and the frame count are its own.
    """
    unknown = {column for name in CANONICAL_6 for column in pooled_columns(name)} & set(measured)
    sizes = {"feature_width", "feature_height"} & set(measured)
    blank = {**dict.fromkeys(unknown, math.nan), **dict.fromkeys(sizes)}
    return {**measured, **blank, "feature_reference": "ladder"}


_MEASURED = Outcome(row={})
"""Stands for every clip whose row is in the cache."""


@dataclass(frozen=True)
class MeasuredRows:
    """The measured columns of clips in their order, None for those that failed; read from the cache one by one."""

    clips: Sequence[ClipToMeasure]
    keys: Sequence[CacheKey]
    measured: Sequence[bool]
    cache: FeatureCache

    def __iter__(self) -> Iterator[Measured | None]:
        for clip, key, measured in zip(self.clips, self.keys, self.measured, strict=True):
            yield self._row(clip, key) if measured else None

    def _row(self, clip: ClipToMeasure, key: CacheKey) -> Measured:
        outcome = self.cache.get(key)
        if outcome is None or outcome.row is None:
            # Only a cache that was found damaged, or deleted by somebody, in the middle of a run has lost a row.
            raise FeatureError(
                f"{self.cache.path}: the feature cache lost what was measured of {clip.key}",
                next_step="materialize again: clips that it lost are measured again",
            )
        alone = clip.ladder and clip.reference is None
        return without_reference(outcome.row) if alone else outcome.row


class _Count:
    """How many clips are done, and how many of them failed, told to whoever wants to know."""

    def __init__(self, run: MeasuringRun, outcomes: Sequence[Outcome | None]) -> None:
        ended = [outcome for outcome in outcomes if outcome is not None]
        self._tell, self._done = run.progress, len(ended)
        self._failed = sum(outcome.row is None for outcome in ended)
        self._told()

    def one_more(self, outcome: Outcome) -> None:
        self._done += 1
        self._failed += outcome.row is None
        self._told()

    def _told(self) -> None:
        if self._tell is not None:
            self._tell(self._done, self._failed)


def _key(clip: ClipToMeasure, version: str) -> CacheKey:
    raw = clip.raw
    declared = f"; raw {raw.width}x{raw.height} {raw.pix_fmt} {raw.framerate:g}" if raw else ""
    return CacheKey(clip.sha256, clip.reference_sha256 or "", version + declared)


def _why_again(keys: Sequence[CacheKey], cache: FeatureCache) -> str:
    """How many of the clips to measure another version knows, and which parts of the versions differ."""
    older = [version for key in keys if (version := cache.other_version(key))]
    if not older:
        return ""
    now, before = keys[0].version.split("; "), Counter(older).most_common(1)[0][0].split("; ")
    gone, new = ([part for part in one if part not in other] for one, other in ((before, now), (now, before)))
    return f"{len(older)} clips are measured again: {', '.join(gone) or 'nothing'} became {', '.join(new) or 'nothing'}"


def _without_row(outcome: Outcome | None) -> Outcome | None:
    return _MEASURED if outcome is not None and outcome.row is not None else outcome


def _measure(extractor: FeatureExtractor, stop: threading.Event | None, numbered: tuple[int, ClipToMeasure]) -> Outcome:
    """What came of one clip; failures that are the clip's own are outcomes, all others are raised."""
    _, clip = numbered
    if stop is not None and stop.is_set():
        raise StoppedError
    absent = [what for what, path in (("clip", clip.path), ("reference", clip.reference)) if path and not path.exists()]
    if absent:
        return Outcome(reason=f"{absent[0]} file absent", lasting=False)
    try:
        return Outcome(row=extractor.extract(clip.path, reference=clip.reference, raw=clip.raw, stop=stop))
    except ClipError as error:
        return Outcome(reason=str(error), lasting=not isinstance(error, TransientClipError))


def _report(clips: Sequence[ClipToMeasure], outcomes: Sequence[Outcome | None], known: int) -> FeatureReport:
    ended = [(clip, outcome) for clip, outcome in zip(clips, outcomes, strict=True) if outcome is not None]
    failed = [(clip.key, outcome.reason) for clip, outcome in ended if outcome.row is None]
    alone = [c.key for c, outcome in ended if outcome.row is not None and c.ladder and c.reference is None]
    return FeatureReport(len(clips), len(ended) - len(failed) - known, known, failed, alone)
