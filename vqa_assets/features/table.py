"""Measuring many clips, and the rows of the feature table.

One clip is measured in ``extractor``; the executor, the file and its replay manifest are the caller's.
"""

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from vqa_assets.clip_work import StoppedError, completed, stopping
from vqa_assets.errors import ClipError, TransientClipError
from vqa_assets.feature_names import CANONICAL_6, pooled_columns
from vqa_assets.features.cache import CacheKey, FeatureCache, Outcome
from vqa_assets.features.protocols import FeatureExtractor, Measured

CARRIED = ("width", "height", "framerate", "duration_s", "pix_fmt", "encoder_upstream", "src_size_bytes", "corpus")
"""Corpus-row fields that every feature row has; None where the corpus row lacks them."""

CARRIED_WHERE_PRESENT = ("content_id", "score_drop")
"""Corpus-row fields that a feature row has where the corpus row does, beside all of ``chug_*``."""


@dataclass(frozen=True)
class ClipToMeasure:
    """One clip of the table: its key, its file and hash, and those of its reference in a ladder corpus."""

    key: str
    path: Path
    sha256: str
    reference: Path | None = None
    reference_sha256: str | None = None


@dataclass(frozen=True)
class MeasuringRun:
    """How a run goes: clips outstanding at once, the stop signal, and who is told how many clips are done."""

    window: int
    stop: threading.Event
    progress: Callable[[int], None] | None = None


@dataclass(frozen=True)
class FeatureReport:
    """What became of the clips: measured now, known from the cache, or failed (key, reason), now or earlier."""

    rows_in: int
    measured: int
    cached: int
    failed: list[tuple[str, str]]

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
) -> tuple[list[Measured | None], FeatureReport]:
    """The measured columns of each clip, in input order; None for a clip that failed.

    Each outcome is committed to the cache as it completes, in the calling thread: an interrupt loses the clips in hand
    and no others. A ``ClipError`` costs its clip; any other error, ``FeatureError`` and ``StoppedError`` included, ends
    the run. Only the threads of a ``ThreadPoolExecutor`` see ``run.stop`` within a clip.
    """
    version = extractor.version
    keys = [CacheKey(clip.sha256, clip.reference_sha256 or "", version) for clip in clips]
    outcomes = [cache.get(key) for key in keys]
    known = sum(outcome is not None and outcome.row is not None for outcome in outcomes)
    done = _told(run, sum(outcome is not None for outcome in outcomes))
    todo = ((index, clip) for index, clip in enumerate(clips) if outcomes[index] is None)
    work = partial(_measure, extractor, run.stop if isinstance(executor, ThreadPoolExecutor) else None)
    with stopping(run.stop, executor):
        for (index, _), future in completed(executor, work, todo, run.window):
            outcomes[index] = outcome = future.result()
            cache.put(keys[index], outcome)
            done = _told(run, done + 1)
            if run.stop.is_set():
                raise StoppedError
    return [outcome.row if outcome else None for outcome in outcomes], _report(clips, outcomes, known)


def feature_row(corpus_row: Mapping[str, Any], measured: Mapping[str, Any]) -> dict[str, Any]:
    """One row per clip: ``key`` (the corpus row's ``src``), ``src_sha256``, then measured and carried columns."""
    identity = {"key": corpus_row["src"], "src_sha256": corpus_row["src_sha256"]}
    carried = {name: corpus_row.get(name) for name in CARRIED}
    present = {
        name: value for name, value in corpus_row.items() if name in CARRIED_WHERE_PRESENT or name.startswith("chug_")
    }
    return {**identity, **measured, **carried, **present}


def without_reference(measured: Mapping[str, Any]) -> Measured:
    """``measured`` of a ladder clip whose reference is missing: NaN in all that only the reference could tell.

    Those are canonical-6 and ``feature_width``, ``feature_height``; saliency, shots and the frame count are its own.
    """
    unknown = [column for name in CANONICAL_6 for column in pooled_columns(name)]
    blank = dict.fromkeys([*unknown, "feature_width", "feature_height"], math.nan)
    return {**measured, **blank, "feature_reference": "ladder"}


def _told(run: MeasuringRun, done: int) -> int:
    if run.progress is not None:
        run.progress(done)
    return done


def _measure(extractor: FeatureExtractor, stop: threading.Event | None, numbered: tuple[int, ClipToMeasure]) -> Outcome:
    """What came of one clip; failures that are the clip's own are outcomes, all others are raised."""
    _, clip = numbered
    if stop is not None and stop.is_set():
        raise StoppedError
    absent = [what for what, path in (("clip", clip.path), ("reference", clip.reference)) if path and not path.exists()]
    if absent:
        return Outcome(reason=f"{absent[0]} file absent", lasting=False)
    try:
        return Outcome(row=extractor.extract(clip.path, reference=clip.reference, stop=stop))
    except ClipError as error:
        return Outcome(reason=str(error), lasting=not isinstance(error, TransientClipError))


def _report(clips: Sequence[ClipToMeasure], outcomes: Sequence[Outcome | None], known: int) -> FeatureReport:
    ended = [(clip.key, outcome) for clip, outcome in zip(clips, outcomes, strict=True) if outcome is not None]
    failed = [(key, outcome.reason) for key, outcome in ended if outcome.row is None]
    return FeatureReport(len(clips), len(ended) - len(failed) - known, known, failed)
