"""What the first pass leaves of every row: its digest, where it lies, its spread on 0–100, its corpus and its scale.

Here scales are decided and rows dropped, shard by shard. Which of equal clips stands is decided in ``duplicates``.
"""

import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vqa_assets.corpora import Corpus, ExternalShard
from vqa_assets.corpora.scales import CONTINUOUS_0_100, SCALES, SLACK, UNIFIED, MosScale, detect_scale
from vqa_assets.errors import AggregateError
from vqa_assets.unified.losses import Dropped, RawScore
from vqa_assets.unified.report import AggregateReport
from vqa_assets.unified.scanning import RECORD, Scan
from vqa_assets.unified.shards import OpenedShard, read_row, wrong_value

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
_MOST_OUTSIDE_SHARE, _LEAST_OUTSIDE_ROWS = 0.01, 20
_RAW_SCORES_SHOWN = 10
_RAW_SCORE_TOLERANCE = 1e-6 * (UNIFIED.high - UNIFIED.low)
_OTHER_SCALE = 255
_log = logging.getLogger("vqa_assets.unified")
_Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Records:
    """All records of one shard, its corpora and scales numbered alike in every piece, lines counted from 1."""

    shard: OpenedShard
    rows: NDArray[np.void]
    corpora: tuple[str, ...]
    scales: tuple[Any, ...]

    @classmethod
    def joined(cls, shard: OpenedShard, scans: Sequence[Scan], override: str | None) -> "Records":
        """The records of all pieces, all of the ``override``'s corpus; AggregateError at a line that is no row."""
        corpora: dict[str, int] = {}
        scales: dict[Any, int] = {}
        first_line = 1
        for one in scans:
            names = (override,) * len(one.corpora) if override else one.corpora
            _renumber(one.records, "corpus", names, corpora)
            _renumber(one.records, "scale", one.scales, scales)
            one.records["line"] += first_line
            if one.refused is not None:
                _refuse(shard, first_line + one.refused[0], one.refused[1:])
            first_line += one.lines
        rows = np.concatenate([one.records for one in scans]) if scans else np.zeros(0, RECORD)
        return cls(shard, rows, tuple(corpora), tuple(scales))

    def row(self, number: int) -> dict[str, Any]:
        """One row, read again."""
        record = self.rows[number]
        raw = _line_at(self.shard, (int(record["offset"]), int(record["length"])))
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

    def add(self, records: Records) -> None:
        """Judge a shard's rows. Errors and warnings name file and line."""
        self.shards.append(records.shard)
        self._report.rows_in += len(records.rows)
        known = np.array([name in self._corpora for name in records.corpora], bool)[records.rows["corpus"]]
        scales = self._scales(records, known)
        inside = known & _held(records.rows["mos"], scales)
        _check_outside(int(np.count_nonzero(known & ~inside)), records)
        self._tell_dropped(records, known, inside, scales)
        self._tell_raw_scores(records, inside, scales)
        self._parts.append(self._entries(records, inside, scales))

    def _scales(self, records: Records, known: _Mask) -> NDArray[np.uint8]:
        """Each row's scale as a number into ``NATIVE_SCALES``: its own, else the one its corpus's whole shard is on."""
        names = list(SCALES)
        numbers = np.array([names.index(s) if s in SCALES else _OTHER_SCALE for s in records.scales], np.uint8)
        found = numbers[records.rows["scale"]] if len(records.rows) else np.zeros(0, np.uint8)
        undeclared = np.array([scale is None for scale in records.scales], bool)[records.rows["scale"]]
        undeclared &= known
        for number in np.unique(records.rows["corpus"][undeclared]).tolist():
            of_corpus = records.rows["corpus"] == number
            candidates = self._corpora[records.corpora[number]].row_scales
            scale = detect_scale(records.rows["mos"][of_corpus].tolist(), candidates, f"{records.shard.path}")
            found[undeclared & of_corpus] = names.index(scale.name)
        strange = np.flatnonzero(known & (found == _OTHER_SCALE))
        if len(strange):
            value = records.row(int(strange[0])).get("mos_scale")
            raise wrong_value(records.where(int(strange[0])), "mos_scale", value, f"one of {', '.join(SCALES)}")
        return found

    def _tell_dropped(self, records: Records, known: _Mask, inside: _Mask, scales: NDArray[np.uint8]) -> None:
        for number in np.flatnonzero(~inside).tolist():
            if known[number]:
                self._tell_outside(records, number, NATIVE_SCALES[scales[number]])
            else:
                self._tell_unknown(records, number)

    def _tell_unknown(self, records: Records, number: int) -> None:
        self._report.dropped_unknown_corpus += 1
        name = records.corpora[records.rows[number]["corpus"]]
        self._dropped(records, number, "dropped_unknown_corpus", f"unknown corpus label {name!r}")
        _log.warning(
            "%s: unknown corpus label %r; row dropped (corpus_source_overrides names the right one)",
            records.where(number),
            name,
        )

    def _tell_outside(self, records: Records, number: int, scale: MosScale) -> None:
        self._report.dropped_bad_scale += 1
        mos = records.row(number)["mos"]
        self._dropped(records, number, "dropped_bad_scale", f"mos {mos} outside [{scale.low:g}, {scale.high:g}]")
        _log.warning(
            "%s: mos %s is outside the published [%g, %g] range; row dropped",
            records.where(number),
            mos,
            scale.low,
            scale.high,
        )

    def _dropped(self, records: Records, number: int, reason: str, found: str) -> None:
        record = records.rows[number]
        name = records.corpora[record["corpus"]]
        self._report.losses.drop(Dropped(reason, records.shard.path, int(record["line"]), name, found))

    def _tell_raw_scores(self, records: Records, inside: _Mask, scales: NDArray[np.uint8]) -> None:
        """Count the rows whose raw score is not the one that ``mos`` was mapped from."""
        rows = records.rows
        if not rows["has_raw"].any():
            return
        mapped = _on_unified(rows["mos"], scales)
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

    def _entries(self, records: Records, inside: _Mask, scales: NDArray[np.uint8]) -> NDArray[np.void]:
        rows, scale = records.rows[inside], scales[inside]
        names = [self._corpora[name].name if name in self._corpora else "" for name in records.corpora]
        self._describe_scales(records, rows, scale)
        entries = np.zeros(len(rows), ENTRY)
        for name in ("digest", "offset", "length"):
            entries[name] = rows[name]
        entries["shard"] = len(self.shards) - 1
        entries["corpus"] = _numbers_of(names, self._names)[rows["corpus"]] if len(rows) else 0
        entries["scale"] = scale
        entries["spread"] = _spreads(rows, scale)
        return entries

    def _describe_scales(self, records: Records, rows: NDArray[np.void], scales: NDArray[np.uint8]) -> None:
        """The conversion of each corpus, by its first row, in the order in which they come."""
        corpora, firsts = np.unique(rows["corpus"], return_index=True)
        for number, first in sorted(zip(corpora.tolist(), firsts.tolist(), strict=True), key=lambda found: found[1]):
            native = CONTINUOUS_0_100 if rows["has_raw"][first] else NATIVE_SCALES[scales[first]]
            self._report.scales.setdefault(records.corpora[number], _described_scale(native))


def _numbers_of(values: Sequence[Any], known: dict[Any, int]) -> NDArray[np.uint32]:
    """Each value's number among the known, which grow by the new ones."""
    return np.array([known.setdefault(value, len(known)) for value in values], np.uint32)


def _renumber(rows: NDArray[np.void], column: str, values: Sequence[Any], known: dict[Any, int]) -> None:
    if len(rows):
        rows[column] = _numbers_of(values, known)[rows[column]]


def _refuse(shard: OpenedShard, line: int, place: tuple[int, int]) -> None:
    read_row(_line_at(shard, place), shard.path, line)
    raise AggregateError(
        f"{shard.path}:{line}",
        found="a line that was refused at first and is a row now",
        expected="a file that does not change",
        next_step="materialize unified_corpus again",
    )


def _line_at(shard: OpenedShard, place: tuple[int, int]) -> bytes:
    with shard.reading() as descriptor:
        return os.pread(descriptor, place[1], place[0])


def _by_scale(scales: NDArray[np.uint8], value: Callable[[MosScale], float]) -> NDArray[np.float64]:
    """A number of each row's scale."""
    return np.array([value(scale) for scale in NATIVE_SCALES])[scales]


def _held(mos: NDArray[np.float64], scales: NDArray[np.uint8]) -> _Mask:
    """``MosScale.holds`` of each score; a row without a scale is of an unknown corpus."""
    of_any = np.minimum(scales, len(NATIVE_SCALES) - 1)
    low, high = _by_scale(of_any, lambda s: s.low - SLACK), _by_scale(of_any, lambda s: s.high + SLACK)
    held: _Mask = np.isfinite(mos) & (low <= mos) & (mos <= high)
    return held


def _on_unified(mos: NDArray[np.float64], scales: NDArray[np.uint8]) -> NDArray[np.float64]:
    of_any = np.minimum(scales, len(NATIVE_SCALES) - 1)
    slope = _by_scale(of_any, lambda s: s.map_to(UNIFIED)[0])
    return slope * mos + _by_scale(of_any, lambda s: s.map_to(UNIFIED)[1])


def _spreads(rows: NDArray[np.void], scales: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The SD on 0–100, infinite where unknown; as ``rows`` writes it."""
    slope = _by_scale(scales, lambda s: s.map_to(UNIFIED)[0])
    known = (rows["sd"] > 0) & np.isfinite(rows["sd"])
    spread = np.where(known, rows["sd"], 0.0) * slope
    return np.where(spread > 0, spread, math.inf)


def _described_scale(scale: MosScale) -> dict[str, float | str]:
    slope, intercept = scale.map_to(UNIFIED)
    return {"native": scale.name, "unified": UNIFIED.name, "slope": slope, "intercept": intercept}


def _check_outside(outside: int, records: Records) -> None:
    rows = len(records.rows)
    if outside >= _LEAST_OUTSIDE_ROWS and outside > _MOST_OUTSIDE_SHARE * rows:
        raise AggregateError(
            f"{records.shard.path}",
            found=f"{outside} of {rows} rows outside their scale",
            expected="at most 1 %: it is the scale that is wrong, not the rows",
            next_step="set mos_scale and re-run corpus_jsonl",
        )
