"""What the first pass leaves of every row: its digest, where it lies, its spread on 0–100, its corpus and its scale.

Here scales are decided, shard by shard; a row that is on none, or of no corpus, is dropped and accounted for. Which of
equal clips stands is decided in ``duplicates``.
"""

import logging
import math
import os
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vqa_assets.corpora import Corpus, ExternalShard
from vqa_assets.corpora.scales import CONTINUOUS_0_100, SCALES, SLACK, UNIFIED, MosScale, detect_scale
from vqa_assets.errors import AggregateError
from vqa_assets.unified.duplicates import Duplicate
from vqa_assets.unified.shards import RECORD, OpenedShard, Scan, is_number, read_row, shown_value, wrong_value

Source = Corpus | ExternalShard
"""What a shard's rows may come from."""
NATIVE_SCALES = tuple(SCALES.values())
ENTRY = np.dtype(
    [
        ("digest", ">u8", 4),
        ("offset", "<u8"),
        ("length", "<u4"),
        ("shard", "<u2"),
        ("corpus", "<u2"),
        ("scale", "u1"),
        ("spread", "<f8"),
    ]
)
"""One row: the digest, which bytes of which shard, the corpus by number, the scale of ``mos`` as a number into
``NATIVE_SCALES``, the SD on 0–100 (infinite where unknown)."""
DROPPED_SHOWN = 10
"""How many dropped rows are shown of each reason."""
_MOST_OUTSIDE_SHARE, _LEAST_OUTSIDE_ROWS = 0.01, 20
_RAW_SCORES_SHOWN = 10
_RAW_SCORE_TOLERANCE = 1e-6 * (UNIFIED.high - UNIFIED.low)
_OTHER_SCALE = 255
_log = logging.getLogger("vqa_assets.unified")
_Mask = NDArray[np.bool_]
_ScaleNumbers = NDArray[np.uint8]


@dataclass(frozen=True)
class Dropped:
    """One dropped row: the counter it is in, its file and line, its corpus, what is wrong with it."""

    reason: str
    path: Path
    line: int
    corpus: str
    found: str


@dataclass(frozen=True)
class RawScore:
    """One row whose raw score disagrees with its ``mos``: file and line, both scores on 0–100. The raw one stands."""

    path: Path
    line: int
    corpus: str
    raw: float
    mos: float


@dataclass
class Losses:
    """The first losses and doubts of an aggregation, in the order of reading; bounded however much is lost."""

    dropped: dict[str, list[Dropped]] = field(default_factory=dict)
    raw_scores: int = 0
    raw_score_examples: list[RawScore] = field(default_factory=list)

    def drop(self, dropped: Dropped) -> None:
        """Remember a dropped row while there is room for its reason."""
        examples = self.dropped.setdefault(dropped.reason, [])
        if len(examples) < DROPPED_SHOWN:
            examples.append(dropped)

    def dropped_rows(self) -> list[dict[str, Any]]:
        """The examples of dropped rows as a table, by reason."""
        return [asdict(one) for reason in sorted(self.dropped) for one in self.dropped[reason]]


@dataclass
class AggregateReport:
    """Counters of one aggregation, rows_in = rows_out + dropped + dedups, and examples of what was lost."""

    inputs_seen: int = 0
    inputs_missing: int = 0
    rows_in: int = 0
    rows_out: int = 0
    cross_corpus_dedups: int = 0
    same_corpus_dedups: int = 0
    dropped_unknown_corpus: int = 0
    dropped_bad_scale: int = 0
    scales: dict[str, dict[str, float | str]] = field(default_factory=dict)
    rows_per_corpus: dict[str, int] = field(default_factory=dict)
    corpus_source_rows: list[dict[str, Any]] = field(default_factory=list)
    losses: Losses = field(default_factory=Losses)
    duplicates: tuple[Duplicate, ...] = ()

    def counters(self) -> dict[str, int]:
        """Every counter by name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, int)}

    def as_dict(self) -> dict[str, Any]:
        """The same for the replay manifest."""
        examples = [asdict(one) for one in self.losses.raw_score_examples]
        return {
            "counters": self.counters(),
            "rows_per_corpus": self.rows_per_corpus,
            "scale_conversions": self.scales,
            "corpus_source_rows": self.corpus_source_rows,
            "duplicates": [one.as_row() for one in self.duplicates],
            "dropped_rows": self.losses.dropped_rows(),
            "raw_scores_that_disagree": {"rows": self.losses.raw_scores, "examples": examples},
        }

    def reconcile(self) -> None:
        """AggregateError where a row is unaccounted for."""
        lost = self.cross_corpus_dedups + self.same_corpus_dedups
        lost += self.dropped_unknown_corpus + self.dropped_bad_scale
        if self.rows_in != self.rows_out + lost:
            raise AggregateError(
                "unified_corpus: rows do not reconcile",
                found=f"{self.rows_in} rows in",
                expected=f"{self.rows_out} out + {lost} dropped or duplicate",
                next_step="the earlier output stands; report this as a defect",
            )


@dataclass(frozen=True)
class Records:
    """All records of one shard, its corpora and scales numbered alike in every piece, lines counted from 1.

    ``overridden`` counts the rows per (``corpus``, ``corpus_source``) that are of the second, which alone is known.
    """

    shard: OpenedShard
    rows: NDArray[np.void]
    corpora: tuple[str, ...]
    scales: tuple[Any, ...]
    overridden: Mapping[tuple[str, str], int]

    @classmethod
    def joined(
        cls, shard: OpenedShard, scans: Sequence[Scan], override: str | None, known: Collection[str]
    ) -> "Records":
        """The records of all pieces; AggregateError at a line that is no row.

        All are of the ``override``'s corpus where there is one. Else a row whose ``corpus`` is none of the ``known``
        and whose ``corpus_source`` is one counts as of that.
        """
        corpora: dict[str, int] = {}
        scales: dict[Any, int] = {}
        overridden: Counter[tuple[str, str]] = Counter()
        first_line = 1
        for one in scans:
            names = [override or corpus for corpus, _ in one.corpora]
            for number, (corpus, source) in enumerate(one.corpora):
                if not override and source and corpus not in known and source in known:
                    names[number] = source
                    overridden[corpus, source] += int(np.count_nonzero(one.records["corpus"] == number))
            if len(one.records):
                one.records["corpus"] = _numbers_of(names, corpora)[one.records["corpus"]]
                one.records["scale"] = _numbers_of(one.scales, scales)[one.records["scale"]]
            one.records["line"] += first_line
            if one.refused is not None:
                line, offset, length = one.refused
                # only here is it known which line of the file it is: reading it again raises with that number
                read_row(_read_line(shard, offset, length), shard.path, first_line + line)
                raise AggregateError(
                    f"{shard.path}:{first_line + line}",
                    found="a line that was refused at first and is a row now",
                    expected="a file that does not change",
                    next_step="materialize unified_corpus again",
                )
            first_line += one.lines
        rows = np.concatenate([one.records for one in scans]) if scans else np.zeros(0, RECORD)
        return cls(shard, rows, tuple(corpora), tuple(scales), overridden)

    def row(self, number: int) -> dict[str, Any]:
        """One row, read again."""
        record = self.rows[number]
        raw = _read_line(self.shard, int(record["offset"]), int(record["length"]))
        return read_row(raw, self.shard.path, int(record["line"]))

    def where(self, number: int) -> str:
        """File and line of a row."""
        return f"{self.shard.path}:{self.rows[number]['line']}"


class IndexBuilder:
    """Takes the shards in the order that breaks ties, and keeps an entry of every row that is on its scale."""

    def __init__(self, corpora: Mapping[str, Source], report: AggregateReport) -> None:
        self._corpora, self._report = corpora, report
        self._names: dict[str, int] = {}
        self._parts: list[NDArray[np.void]] = []
        self.shards: list[OpenedShard] = []

    @property
    def names(self) -> tuple[str, ...]:
        """The corpora by number."""
        return tuple(self._names)

    def entries(self) -> NDArray[np.void]:
        """The entries of all rows so far, in the order of reading; the builder forgets them."""
        parts, self._parts = self._parts, []
        return np.concatenate(parts) if parts else np.zeros(0, ENTRY)

    def add(self, records: Records, stated: Mapping[str, MosScale]) -> None:
        """Judge a shard's rows, on the scales that are ``stated`` by corpus. Messages name file and line."""
        self.shards.append(records.shard)
        self._report.rows_in += len(records.rows)
        for (corpus, source), count in sorted(records.overridden.items()):
            path = records.shard.path
            self._report.corpus_source_rows.append(
                {"path": path, "corpus": corpus, "corpus_source": source, "rows": count}
            )
            _log.info("%s: %d rows of unknown corpus %r are of %s, their corpus_source", path, count, corpus, source)
        declared = np.array([name in self._corpora for name in records.corpora], bool)[records.rows["corpus"]]
        scales = self._scales(records, declared, stated)
        inside = declared & _inside(records.rows["mos"], scales)
        # a few odd scores are bad rows; many say that the declared scale is wrong, and then no row can be trusted
        outside, rows = int(np.count_nonzero(declared & ~inside)), len(records.rows)
        if outside >= _LEAST_OUTSIDE_ROWS and outside > _MOST_OUTSIDE_SHARE * rows:
            first = int(np.flatnonzero(declared & ~inside)[0])
            raise AggregateError(
                f"{records.where(first)}",
                found=f"mos {shown_value(records.row(first)['mos'])}, the first of {outside} of {rows} rows outside "
                "their scale",
                expected="at most 1 %: it is the scale that is wrong, not the rows",
                next_step="set mos_scale and re-run corpus_jsonl; of a shard that comes from elsewhere, set mos_scales "
                "in unified_corpus's run config",
            )
        for number in np.flatnonzero(~inside).tolist():
            self._drop(records, number, NATIVE_SCALES[scales[number]] if declared[number] else None)
        self._compare_raw_scores(records, inside, scales)
        self._parts.append(self._entries(records, records.rows[inside], scales[inside]))

    def _scales(self, records: Records, declared: _Mask, stated: Mapping[str, MosScale]) -> _ScaleNumbers:
        """Each row's scale as a number into ``NATIVE_SCALES``: the stated one, else its own, else its corpus's.

        The last is detected over all rows of the corpus in the shard.
        """
        names = list(SCALES)
        numbers = np.array([names.index(s) if s in SCALES else _OTHER_SCALE for s in records.scales], np.uint8)
        scales = numbers[records.rows["scale"]] if len(records.rows) else np.zeros(0, np.uint8)
        # rows of older ingests name no scale: one is detected over all rows of the corpus, as at ingest
        without = np.array([scale is None for scale in records.scales], bool)[records.rows["scale"]] & declared
        for number, name in enumerate(records.corpora):
            if name in stated:
                of_corpus = records.rows["corpus"] == number
                scales[of_corpus] = names.index(stated[name].name)
                without &= ~of_corpus
        for number in np.unique(records.rows["corpus"][without]).tolist():
            of_corpus = records.rows["corpus"] == number
            candidates = self._corpora[records.corpora[number]].row_scales
            scale = detect_scale(records.rows["mos"][of_corpus].tolist(), candidates, f"{records.shard.path}")
            scales[without & of_corpus] = names.index(scale.name)
        strange = np.flatnonzero(declared & (scales == _OTHER_SCALE))
        if len(strange):
            value = records.row(int(strange[0])).get("mos_scale")
            raise wrong_value(records.where(int(strange[0])), "mos_scale", value, f"one of {', '.join(SCALES)}")
        return scales

    def _drop(self, records: Records, number: int, scale: MosScale | None) -> None:
        """Count, show and log a row that is outside its scale, or of an unknown corpus (which has no scale)."""
        record = records.rows[number]
        corpus = records.corpora[record["corpus"]]
        if scale is None:
            self._report.dropped_unknown_corpus += 1
            reason, found = "dropped_unknown_corpus", f"unknown corpus label {corpus!r}"
            _log.warning(
                "%s: unknown corpus label %r; row dropped (corpus_source_overrides names the right one)",
                records.where(number),
                corpus,
            )
        else:
            self._report.dropped_bad_scale += 1
            reason, mos = "dropped_bad_scale", records.row(number)["mos"]  # as the file spells it, 5 and not 5.0
            if is_number(mos):
                found = f"mos {mos} outside [{scale.low:g}, {scale.high:g}]"
                _log.warning(
                    "%s: mos %s is outside the published [%g, %g] range; row dropped",
                    records.where(number),
                    mos,
                    scale.low,
                    scale.high,
                )
            else:
                found = f"mos {shown_value(mos)} is no number"
                _log.warning("%s: %s; row dropped", records.where(number), found)
        self._report.losses.drop(Dropped(reason, records.shard.path, int(record["line"]), corpus, found))

    def _compare_raw_scores(self, records: Records, inside: _Mask, scales: _ScaleNumbers) -> None:
        """Count the rows whose raw score is not the one that ``mos`` was mapped from."""
        rows = records.rows
        if not rows["has_raw"].any():
            return
        of_any = np.minimum(scales, len(NATIVE_SCALES) - 1)  # rows of unknown corpora have no scale, and are not inside
        mapped = _by_scale(of_any, _slope) * rows["mos"] + _by_scale(of_any, lambda s: s.map_to(UNIFIED)[1])
        odd = np.flatnonzero(inside & rows["has_raw"] & ~(abs(mapped - rows["raw"]) <= _RAW_SCORE_TOLERANCE))
        losses = self._report.losses
        losses.raw_scores += len(odd)
        for number in odd[: _RAW_SCORES_SHOWN - len(losses.raw_score_examples)].tolist():
            record, name = rows[number], records.corpora[rows["corpus"][number]]
            raw, mos = float(record["raw"]), float(mapped[number])
            losses.raw_score_examples.append(RawScore(records.shard.path, int(record["line"]), name, raw, mos))
        if len(odd):
            _log.warning(
                "%s: %d rows hold a raw score that disagrees with mos, the first in line %d; the raw score stands",
                records.shard.path,
                len(odd),
                rows["line"][odd[0]],
            )

    def _entries(self, records: Records, rows: NDArray[np.void], scales: _ScaleNumbers) -> NDArray[np.void]:
        """The entries of the rows that are kept; each corpus's conversion is noted by its first row, as they come."""
        corpora, firsts = np.unique(rows["corpus"], return_index=True)
        for first, number in sorted(zip(firsts.tolist(), corpora.tolist(), strict=True)):
            native = CONTINUOUS_0_100 if rows["has_raw"][first] else NATIVE_SCALES[scales[first]]
            slope, intercept = native.map_to(UNIFIED)
            conversion = {"native": native.name, "unified": UNIFIED.name, "slope": slope, "intercept": intercept}
            self._report.scales.setdefault(records.corpora[number], conversion)
        names = [self._corpora[name].name if name in self._corpora else "" for name in records.corpora]
        entries = np.zeros(len(rows), ENTRY)
        for name in ("digest", "offset", "length"):
            entries[name] = rows[name]
        entries["shard"] = len(self.shards) - 1
        entries["corpus"] = _numbers_of(names, self._names)[rows["corpus"]] if len(rows) else 0
        entries["scale"] = scales
        entries["spread"] = _spreads(rows, scales)
        return entries


def _numbers_of(values: Sequence[Any], numbers: dict[Any, int]) -> NDArray[np.uint32]:
    """Each value's number, those that have none yet numbered on."""
    return np.array([numbers.setdefault(value, len(numbers)) for value in values], np.uint32)


def _read_line(shard: OpenedShard, offset: int, length: int) -> bytes:
    with shard.reading() as descriptor:
        return os.pread(descriptor, length, offset)


def _by_scale(scales: _ScaleNumbers, value: Callable[[MosScale], float]) -> NDArray[np.float64]:
    """A number of each row's scale."""
    return np.array([value(scale) for scale in NATIVE_SCALES])[scales]


def _slope(scale: MosScale) -> float:
    return scale.map_to(UNIFIED)[0]


def _inside(mos: NDArray[np.float64], scales: _ScaleNumbers) -> _Mask:
    """``MosScale.holds`` of each score; a row without a scale is of an unknown corpus."""
    of_any = np.minimum(scales, len(NATIVE_SCALES) - 1)
    low, high = _by_scale(of_any, lambda s: s.low - SLACK), _by_scale(of_any, lambda s: s.high + SLACK)
    inside: _Mask = np.isfinite(mos) & (low <= mos) & (mos <= high)
    return inside


def _spreads(rows: NDArray[np.void], scales: _ScaleNumbers) -> NDArray[np.float64]:
    """The SD on 0–100, infinite where unknown; as ``unifying`` writes it."""
    # 0 stands for an SD that was not published, and no opinions have an infinite one
    published = (rows["sd"] > 0) & np.isfinite(rows["sd"])
    spread = np.where(published, rows["sd"], 0.0) * _by_scale(scales, _slope)
    return np.where(spread > 0, spread, math.inf)
