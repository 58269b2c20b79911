"""What the first pass leaves of every row: its digest, where it lies, its spread on 0–100, its corpus and its scale.

Here scales are decided, shard by shard; a row that is on none, or of no corpus, is dropped and accounted for. Which of
equal clips stands is decided in ``duplicates``.
"""

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
from vqa_assets.corpora.corpus import FurtherScore
from vqa_assets.corpora.scales import CONTINUOUS_0_100, POLARITIES, SCALES, UNIFIED, MosScale, detect_scale
from vqa_assets.errors import AggregateError, Make, ScaleError
from vqa_assets.printing import logger, warn_of_others
from vqa_assets.unified.duplicates import Duplicate
from vqa_assets.unified.shards import RECORD, OpenedShard, Scan, is_number, read_row, shown_value, wrong_value

Source = Corpus | ExternalShard
"""What a shard's rows may come from."""
ENTRY = np.dtype(
    [
        ("digest", ">u8", 4),
        ("offset", "<u8"),
        ("length", "<u4"),
        ("shard", "<u2"),
        ("corpus", "<u2"),
        ("scale", "<u2"),
        ("spread", "<f8"),
    ]
)
"""One row: the digest, which bytes of which shard, the corpus by number, the scale of ``mos`` by number, the SD on
0–100 (infinite where unknown)."""
DROPPED_SHOWN = 10
"""How many dropped rows are shown of each reason."""
_MOST_OUTSIDE_SHARE, _LEAST_OUTSIDE_ROWS = 0.01, 20
_RAW_SCORES_SHOWN = 10
_RAW_SCORE_TOLERANCE = 1e-6 * (UNIFIED.high - UNIFIED.low)
_log = logger("vqa_assets.unified")
_Mask = NDArray[np.bool_]
_ScaleNumbers = NDArray[np.uint16]


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
    """The first losses and doubts of an aggregation, in the order of reading; bounded however much is lost.

    ``further_scores`` counts, by field, those that were no numbers or outside their scale and are unknown now.
    """

    dropped: dict[str, list[Dropped]] = field(default_factory=dict)
    raw_scores: int = 0
    raw_score_examples: list[RawScore] = field(default_factory=list)
    further_scores: Mapping[str, int] = field(default_factory=dict)

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
            "further_scores_refused": dict(self.losses.further_scores),
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
                next_step="the earlier output is kept; report this as a defect",
            )


@dataclass(frozen=True)
class Records:
    """All records of one shard, its corpora and scales numbered alike in every piece, lines counted from 1.

    ``scales`` are (``mos_scale``, ``mos_polarity``) as the rows say them.

    ``overridden`` counts the rows per (``corpus``, ``corpus_source``) that are of the second, which alone is known.
    """

    shard: OpenedShard
    rows: NDArray[np.void]
    corpora: tuple[str, ...]
    scales: tuple[tuple[Any, Any], ...]
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
                    next_step=Make("unified_corpus"),
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


@dataclass(frozen=True)
class FurtherOf:
    """The further scores of one corpus, and the scales that its rows may name, by name."""

    scores: tuple[FurtherScore, ...]
    scales: Mapping[str, MosScale]

    @classmethod
    def of(cls, corpus: Corpus) -> "FurtherOf":
        """What a declaration says."""
        names = (*SCALES, *(s.name for s in corpus.scales), *(s.scale.name for s in corpus.scores if s.scale))
        return cls(corpus.scores, {name: scale for name in names if (scale := corpus.scale_named(name)) is not None})


class IndexBuilder:
    """Takes the shards in the order that breaks ties, and keeps an entry of every row that is on its scale."""

    def __init__(self, corpora: Mapping[str, Source], report: AggregateReport) -> None:
        self._corpora, self._report = corpora, report
        self._names: dict[str, int] = {}
        # the known ones are always there, so that a row of an unknown corpus has a number too; it is never looked at
        self._scale_numbers = {scale: number for number, scale in enumerate(SCALES.values())}
        self._parts: list[NDArray[np.void]] = []
        self.shards: list[OpenedShard] = []

    @property
    def names(self) -> tuple[str, ...]:
        """The corpora by number."""
        return tuple(self._names)

    @property
    def scales(self) -> tuple[MosScale, ...]:
        """The scales by number."""
        return tuple(self._scale_numbers)

    @property
    def further(self) -> Mapping[int, FurtherOf]:
        """The further scores of the corpora that declare some, by the corpus's number."""
        declared = {c.name: c for c in self._corpora.values() if isinstance(c, Corpus) and c.scores}
        return {number: FurtherOf.of(declared[name]) for name, number in self._names.items() if name in declared}

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
        inside = declared & self._inside(records.rows["mos"], scales)
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
                "of unified_corpus",
            )
        self._drop(records, "dropped_unknown_corpus", np.flatnonzero(~declared), scales)
        self._drop(records, "dropped_bad_scale", np.flatnonzero(declared & ~inside), scales)
        self._compare_raw_scores(records, inside, scales)
        self._parts.append(self._entries(records, records.rows[inside], scales[inside]))

    def _scales(self, records: Records, declared: _Mask, stated: Mapping[str, MosScale]) -> _ScaleNumbers:
        """Each row's scale by number: the stated one, else the one it names, else its corpus's.

        The last is detected over all rows of the corpus in the shard, as at ingest: rows of older ingests name none.
        Which end is the better one a row says (``mos_polarity``), else its corpus's declaration.
        """
        scales = np.zeros(len(records.rows), np.uint16)
        pairs = records.rows["corpus"].astype(np.uint64) * len(records.scales) + records.rows["scale"]
        for pair in np.unique(pairs[declared]).tolist():
            corpus, said = divmod(pair, len(records.scales))
            rows = pairs == pair
            name, (spelled, polarity) = records.corpora[corpus], records.scales[said]
            source = self._corpora[name]
            scale = stated.get(name)
            if scale is None and spelled is None:
                scores = records.rows["mos"][records.rows["corpus"] == corpus]
                scale = _detected(scores.tolist(), source, f"{records.shard.path}: {name}")
            scale = scale or source.scale_named(spelled) or SCALES.get(spelled)
            if scale is None:
                names = dict.fromkeys((*SCALES, *(one.name for one in source.scales)))
                error = _strange(records, rows, "mos_scale", f"one of {', '.join(names)}")
                error.next_step = (
                    "declare the scale where it is the corpus's own; of a shard that comes from elsewhere, set "
                    "mos_scales of unified_corpus"
                )
                raise error
            if polarity is not None and polarity not in POLARITIES:
                raise _strange(records, rows, "mos_polarity", f"one of {', '.join(POLARITIES)}, or nothing")
            scale = scale.directed(polarity or scale.polarity)
            scales[rows] = self._scale_numbers.setdefault(scale, len(self._scale_numbers))
        return scales

    def _drop(self, records: Records, reason: str, numbers: NDArray[np.int64], scales: _ScaleNumbers) -> None:
        """Count rows that are dropped for one reason, by its counter's name, and log the file and line of each.

        The first of each reason, over all shards, are shown, and each has a message of its own.
        """
        report, path = self._report, records.shard.path
        setattr(report, reason, getattr(report, reason) + len(numbers))
        room = DROPPED_SHOWN - len(report.losses.dropped.get(reason, ()))
        for number in numbers[:room].tolist():
            record = records.rows[number]
            corpus = records.corpora[record["corpus"]]
            if reason == "dropped_unknown_corpus":
                found = f"unknown corpus label {corpus!r}"
                what, remedy = found, " (corpus_source_overrides names the right one)"
            else:
                scale = self.scales[scales[number]]
                mos, remedy = records.row(number)["mos"], ""  # as the file spells it, 5 and not 5.0
                if is_number(mos):
                    found = f"mos {mos} outside [{scale.low:g}, {scale.high:g}]"
                    what = f"mos {mos} is outside the published [{scale.low:g}, {scale.high:g}] range"
                else:
                    found = what = f"mos {shown_value(mos)} is no number"
            _log.warning("%s: %s; row dropped%s", records.where(number), what, remedy)
            report.losses.drop(Dropped(reason, path, int(record["line"]), corpus, found))
        lines = records.rows["line"][numbers[room:]].tolist()
        warn_of_others(_log, f"{path}: lines of further rows that are {reason}", lines)

    def _compare_raw_scores(self, records: Records, inside: _Mask, scales: _ScaleNumbers) -> None:
        """Count the rows whose raw score is not the one that ``mos`` was mapped from."""
        rows = records.rows
        if not rows["has_raw"].any():
            return
        slopes, intercepts = np.array([scale.map_to(UNIFIED) for scale in self.scales])[scales].T
        mapped = slopes * rows["mos"] + intercepts
        odd = np.flatnonzero(inside & rows["has_raw"] & ~(abs(mapped - rows["raw"]) <= _RAW_SCORE_TOLERANCE))
        losses = self._report.losses
        losses.raw_scores += len(odd)
        for number in odd[: _RAW_SCORES_SHOWN - len(losses.raw_score_examples)].tolist():
            record, name = rows[number], records.corpora[rows["corpus"][number]]
            raw, mos = float(record["raw"]), float(mapped[number])
            losses.raw_score_examples.append(RawScore(records.shard.path, int(record["line"]), name, raw, mos))
        if len(odd):
            _log.warning(
                "%s: %d rows hold a raw score that disagrees with mos, the first in line %d; the raw score counts",
                records.shard.path,
                len(odd),
                rows["line"][odd[0]],
            )

    def _entries(self, records: Records, rows: NDArray[np.void], scales: _ScaleNumbers) -> NDArray[np.void]:
        """The entries of the rows that are kept; each corpus's conversion is noted by its first row, as they come."""
        corpora, firsts = np.unique(rows["corpus"], return_index=True)
        for first, number in sorted(zip(firsts.tolist(), corpora.tolist(), strict=True)):
            native = CONTINUOUS_0_100 if rows["has_raw"][first] else self.scales[scales[first]]
            slope, intercept = native.map_to(UNIFIED)
            conversion = {"native": native.name, "unified": UNIFIED.name, "slope": slope, "intercept": intercept}
            conversion |= {} if native.polarity == UNIFIED.polarity else {"polarity": native.polarity}
            self._report.scales.setdefault(records.corpora[number], conversion)
        names = [self._corpora[name].name if name in self._corpora else "" for name in records.corpora]
        entries = np.zeros(len(rows), ENTRY)
        for name in ("digest", "offset", "length"):
            entries[name] = rows[name]
        entries["shard"] = len(self.shards) - 1
        entries["corpus"] = _numbers_of(names, self._names)[rows["corpus"]] if len(rows) else 0
        entries["scale"] = scales
        entries["spread"] = _spreads(rows, self._by_scale(scales, lambda scale: scale.convert_spread(1.0, UNIFIED)))
        return entries

    def _by_scale(self, scales: _ScaleNumbers, value: Callable[[MosScale], float]) -> NDArray[np.float64]:
        """A number of each row's scale."""
        return np.array([value(scale) for scale in self.scales])[scales]

    def _inside(self, mos: NDArray[np.float64], scales: _ScaleNumbers) -> _Mask:
        """``MosScale.holds`` of each score."""
        low, high = (
            self._by_scale(scales, lambda s: s.low - s.slack),
            self._by_scale(scales, lambda s: s.high + s.slack),
        )
        inside: _Mask = np.isfinite(mos) & (low <= mos) & (mos <= high)
        return inside


def _detected(scores: Sequence[float], source: Source, what: str) -> MosScale:
    """``detect_scale``; ScaleError with the remedy of a shard, which no ``ingest.toml`` reaches."""
    try:
        return detect_scale(scores, source.row_scales, what)
    except ScaleError as error:
        raise ScaleError(
            error.what,
            found=error.found,
            expected=f"{error.expected}, or rows that name theirs (mos_scale)",
            next_step=Make(
                "corpus_jsonl",
                " again, whose rows name their scale; of a shard that comes from elsewhere, set mos_scales of "
                "unified_corpus (scores outside are dropped rows then)",
            ),
        ) from error


def _strange(records: Records, rows: _Mask, key: str, expected: str) -> AggregateError:
    """The error of rows that say something unknown of their scale: the first of them is shown."""
    first = int(np.flatnonzero(rows)[0])
    return wrong_value(records.where(first), key, records.row(first).get(key), expected)


def _numbers_of(values: Sequence[Any], numbers: dict[Any, int]) -> NDArray[np.uint32]:
    """Each value's number, those that have none yet numbered on."""
    return np.array([numbers.setdefault(value, len(numbers)) for value in values], np.uint32)


def _read_line(shard: OpenedShard, offset: int, length: int) -> bytes:
    with shard.reading() as descriptor:
        return os.pread(descriptor, length, offset)


def _spreads(rows: NDArray[np.void], slopes: NDArray[np.float64]) -> NDArray[np.float64]:
    """The SD on 0–100, infinite where unknown; as ``unifying`` writes it."""
    # 0 stands for an SD that was not published, and no opinions have an infinite one
    published = (rows["sd"] > 0) & np.isfinite(rows["sd"])
    spread = np.where(published, rows["sd"], 0.0) * slopes
    return np.where(spread > 0, spread, math.inf)
