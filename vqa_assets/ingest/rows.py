"""Which rows the corpus JSONL has: annotation rows and clip outcomes, judged against the earlier JSONL."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from vqa_assets.annotations import AnnotationRow, Annotations
from vqa_assets.clips.geometry import Geometry
from vqa_assets.corpora import Corpus
from vqa_assets.corpora.scales import detect_scale
from vqa_assets.errors import IngestError
from vqa_assets.ingest.clip_task import ClipOutcome, ClipState
from vqa_assets.ingest.report import IngestReport, Loss
from vqa_assets.ingest.settings import IngestSettings
from vqa_assets.tables.files import JsonLine, json_line, read_json_lines

STAMP = "ingested_at_utc"
_BYTES_FIELDS = ("src_sha256", "src_size_bytes")
_CLIP_FIELDS = (*_BYTES_FIELDS, *(field.name for field in fields(Geometry)))
"""What a row knows from its clip; all else is its annotation's."""


@dataclass(frozen=True, slots=True)
class OutputRow:
    """One row of the corpus JSONL: its object and its bytes."""

    row: Mapping[str, Any]
    raw: bytes


@dataclass(frozen=True)
class Labelling:
    """What every row of one run shares."""

    corpus: Corpus
    settings: IngestSettings
    annotations: Annotations
    now: str

    def label(self, row: AnnotationRow) -> dict[str, Any]:
        """The fields of a corpus row that come from its annotation."""
        return {
            "src": row.src,
            "mos": row.mos,
            "mos_scale": self.annotations.scale.name,
            "mos_std_dev": row.sd or 0.0,
            "n_ratings": row.count,
            "corpus": self.corpus.name,
            "corpus_version": self.settings.corpus_version,
            **row.extra,
        }


def read_earlier(path: Path) -> dict[str, JsonLine]:
    """The earlier JSONL's lines by ``src``; empty where there is none."""
    if not path.exists():
        return {}
    found: dict[str, JsonLine] = {}
    for line in read_json_lines(path):
        src = line.row.get("src")
        if not isinstance(src, str) or not isinstance(line.row.get("src_sha256"), str):
            raise IngestError(
                f"{path}:{line.number}",
                found="a row without src or src_sha256",
                expected="a corpus JSONL",
                next_step="move the file away; clips already read are not read again",
            )
        found[src] = line
    return found


def sizes_of(earlier: Mapping[str, JsonLine]) -> dict[str, int]:
    """The size of every clip of the earlier JSONL in bytes, by ``src``, where it is told."""
    sizes = ((src, line.row.get("src_size_bytes")) for src, line in earlier.items())
    return {src: size for src, size in sizes if isinstance(size, int)}


class RowJudge:
    """Judges annotation rows in manifest order: bad, duplicate label, clip; then the rows outside the run."""

    def __init__(self, labelling: Labelling, earlier: Mapping[str, JsonLine], report: IngestReport) -> None:
        self._labelling = labelling
        self._earlier = earlier
        self._report = report
        self._by_sha: dict[str, str] = {}
        self._usable: set[str] = set()

    def judge(self, run: list[AnnotationRow], outcomes: Mapping[str, ClipOutcome]) -> list[OutputRow]:
        """The rows of the new JSONL, in manifest order; every annotation row is counted once."""
        self._usable = {row.src for row in self._labelling.annotations.usable}
        kept = [found for row in run for found in self._judge(row, outcomes.get(row.src))]
        outside = list(self._outside({row.src for row in run if row.src in outcomes or row.src not in self._usable}))
        return self._ordered(kept, outside)

    def _judge(self, row: AnnotationRow, outcome: ClipOutcome | None) -> Iterator[OutputRow]:
        if row.problem:
            self._lose(row, "skipped_bad_row", row.problem, withdraw=row.src not in self._usable)
        elif row.repeats:
            self._lose(row, "duplicate_labels", "the same clip and score stand in an earlier row")
        elif outcome is None:
            raise IngestError(f"{row.src}", found="no outcome for a clip of this run", next_step="report this defect")
        elif outcome.state is ClipState.BROKEN:
            self._lose(row, "skipped_broken", outcome.reason, withdraw=True)
        elif outcome.state is ClipState.READ and outcome.clip is not None:
            yield from self._read(row, outcome)
        else:
            yield from self._unavailable(row, outcome)

    def _read(self, row: AnnotationRow, outcome: ClipOutcome) -> Iterator[OutputRow]:
        clip = outcome.clip
        if clip is None or clip.geometry is None:
            raise IngestError(f"{row.src}", found="a read clip without geometry", next_step="report this defect")
        if self._duplicate(row, clip.sha256):
            return
        content = {"src_sha256": clip.sha256, "src_size_bytes": clip.stamp.size_bytes, **clip.geometry.as_dict()}
        fresh = {**content, **self._labelling.label(row)}
        before = self._earlier.get(row.src)
        counter = _compare(fresh, before)
        self._report.keep(counter)
        yield self._output(fresh, before, changed=counter != "unchanged")

    def _unavailable(self, row: AnnotationRow, outcome: ClipOutcome) -> Iterator[OutputRow]:
        before = self._earlier.get(row.src)
        counter = "skipped_missing" if outcome.state is ClipState.MISSING else "skipped_download"
        if before is None or (self._labelling.settings.prune and not outcome.present):
            self._report.pruned += before is not None
            self._lose(row, counter, outcome.reason)
            return
        if self._duplicate(row, str(before.row["src_sha256"])):
            return
        content = {name: before.row[name] for name in _CLIP_FIELDS if name in before.row}
        fresh = {**content, **self._labelling.label(row)}
        self._report.keep("retained_unavailable")
        yield self._output(fresh, before, changed=not _equal_but_stamp(fresh, before.row))

    def _output(self, fresh: dict[str, Any], before: JsonLine | None, *, changed: bool) -> OutputRow:
        if before is not None and not changed:
            return OutputRow(before.row, before.raw)
        row = {**fresh, STAMP: self._labelling.now}
        return OutputRow(row, json_line(row))

    def _duplicate(self, row: AnnotationRow, sha256: str) -> bool:
        first = self._by_sha.setdefault(sha256, row.src)
        if first != row.src:
            self._lose(row, "dedups", f"the same bytes as {first}")
        return first != row.src

    def _lose(self, row: AnnotationRow, counter: str, reason: str, *, withdraw: bool = False) -> None:
        self._report.lose(Loss(row.line, row.src, counter, reason))
        if withdraw and row.src in self._earlier and row.src not in self._report.withdrawn:
            self._report.withdrawn.append(row.src)

    def _outside(self, run: set[str]) -> Iterator[OutputRow]:
        for src, line in self._earlier.items():
            if src in run:
                continue
            if line.row["src_sha256"] in self._by_sha:
                self._report.outside_dedups += 1
            elif self._labelling.settings.prune:
                self._report.pruned += 1
            else:
                self._report.retained_outside += 1
                self._report.rows_out += 1
                yield self._stays(line)

    def _stays(self, line: JsonLine) -> OutputRow:
        """A row as it is; one that was written before rows told their scale is given it."""
        if "mos_scale" in line.row:
            return OutputRow(line.row, line.raw)
        row = {**line.row, "mos_scale": self._older_scale}
        return OutputRow(row, json_line(row))

    @cached_property
    def _older_scale(self) -> str:
        """The scale of the earlier rows that do not tell theirs, found on all earlier rows."""
        corpus, scores = self._labelling.corpus, [line.row.get("mos") for line in self._earlier.values()]
        numbers = [float(score) for score in scores if isinstance(score, int | float)]
        return detect_scale(numbers, corpus.row_scales, f"{corpus.name}: the earlier rows, which tell no scale").name

    def _ordered(self, kept: list[OutputRow], outside: list[OutputRow]) -> list[OutputRow]:
        """Manifest order; rows whose name left the annotation file last, by ``src``."""
        order: dict[str, int] = {}
        for position, row in enumerate(self._labelling.annotations.rows):
            order.setdefault(row.src, position)
        last = len(self._labelling.annotations.rows)
        return sorted(kept + outside, key=lambda out: (order.get(str(out.row["src"]), last), str(out.row["src"])))


def without_stamp(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row without the time it was made, which says nothing about its content."""
    content = dict(row)
    content.pop(STAMP, None)
    return content


def _compare(fresh: Mapping[str, Any], before: JsonLine | None) -> str:
    if before is None or any(fresh[name] != before.row.get(name) for name in _BYTES_FIELDS):
        return "written"
    return "unchanged" if _equal_but_stamp(fresh, before.row) else "relabelled"


def _equal_but_stamp(fresh: Mapping[str, Any], earlier: Mapping[str, Any]) -> bool:
    return fresh == without_stamp(earlier)
