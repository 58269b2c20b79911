"""Which rows the corpus JSONL has: annotation rows and clip outcomes, judged against the earlier JSONL, and counted.

Every annotation row of a run is counted once: ``IngestReport`` says what became of it, and that the sums hold.
"""

import re
import tempfile
import weakref
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

from vqa_assets.annotations.reading import Annotations
from vqa_assets.annotations.rows import AnnotationRow
from vqa_assets.clips.geometry import Geometry
from vqa_assets.corpora import Corpus
from vqa_assets.corpora.scales import MosScale, detect_scale
from vqa_assets.errors import IngestError
from vqa_assets.ingest.cache import ReadClip
from vqa_assets.ingest.clip_task import NO_WHOLE_VIDEO, ClipOutcome, ClipState
from vqa_assets.ingest.earlier import EarlierRows
from vqa_assets.ingest.settings import IngestSettings
from vqa_assets.tables.files import JsonLine, json_line, parse_json_line

KEPT = ("written", "unchanged", "relabelled", "retained_unavailable")
LOST = (
    *("dedups", "duplicate_labels", "skipped_missing", "skipped_download", "skipped_broken", "skipped_probe"),
    *("skipped_too_large", "skipped_bad_row"),
)
"""The counters of ``IngestReport`` for annotation rows that gave a row, and for those that gave none."""
LATER_COUNTERS = ("skipped_probe", "skipped_too_large")
"""Those that a manifest of an older version does not name: there they are 0."""
_COUNTER_OF = {
    ClipState.MISSING: "skipped_missing",
    ClipState.UNPROBED: "skipped_probe",
    ClipState.TOO_LARGE: "skipped_too_large",
}
"""Of clips without a row, by how it ended with them; ``skipped_download`` for all others."""
STAMP = "ingested_at_utc"
_BYTES_FIELDS = ("src_sha256", "src_size_bytes")
_CLIP_FIELDS = (*_BYTES_FIELDS, *(field.name for field in fields(Geometry)))
"""What a row knows from its clip; all else is its annotation's."""
_ROUNDED = ("framerate", "duration_s")
_ROUNDED_BY = 1e-6
"""Probes round to six decimals; older rows hold the same rates and durations unrounded."""
_MOST_IN_MEMORY_BYTES = 64 << 20
_WITH_SIZES = ("skipped_broken", "skipped_probe", "skipped_too_large")
_SIZES = re.compile(r"\b\d{3,}\b")


@dataclass(frozen=True, slots=True)
class Loss:
    """One annotation row that gave no row: which, which counter it is in, why."""

    line: int
    src: str
    counter: str
    reason: str

    @property
    def kind(self) -> str:
        """The counter and the reason without what is this clip's alone, so that equal faults count as one."""
        reason = self.reason
        if self.counter == "dedups":
            reason = "the same bytes as an earlier clip"
        elif self.counter in ("skipped_bad_row", "skipped_missing"):
            reason = reason.partition(":")[0]
        elif self.counter in _WITH_SIZES or reason.startswith(NO_WHOLE_VIDEO):
            reason = _SIZES.sub("…", reason)
        return f"{self.counter}: {reason}"

    def as_dict(self) -> dict[str, Any]:
        """The loss as the losses file and the manifest have it."""
        return asdict(self)


@dataclass
class IngestReport:
    """Counters over the annotation rows of one run, and what happened beside them.

    ``rows_in`` is the sum of ``KEPT`` and ``LOST``; ``rows_out`` the sum of ``KEPT`` and ``retained_outside``.
    Of the ``damaged_rows`` of the earlier JSONL some are ``rebuilt_rows``, the others ``lost_rows``: ``lost_to_damage``
    has those of which more is known. ``held`` are rows that stay though their clip, which is there, gave none now;
    ``unclaimed`` are the clips that no row names; ``names_found`` is how clips were found on disk → their number;
    ``hub`` is the dataset of the Hugging Face Hub that was declared, with its commit.
    """

    rows_in: int = 0
    rows_out: int = 0
    written: int = 0
    unchanged: int = 0
    relabelled: int = 0
    retained_unavailable: int = 0
    dedups: int = 0
    duplicate_labels: int = 0
    skipped_missing: int = 0
    skipped_download: int = 0
    skipped_broken: int = 0
    skipped_probe: int = 0
    skipped_too_large: int = 0
    skipped_bad_row: int = 0
    retained_outside: int = 0
    outside_dedups: int = 0
    pruned: int = 0
    damaged_rows: int = 0
    rebuilt_rows: int = 0
    lost_rows: int = 0
    unlabelled_clips: int = 0
    fetched_clips: int = 0
    fetched_bytes: int = 0
    read_clips: int = 0
    read_bytes: int = 0
    losses: list[Loss] = field(default_factory=list)
    lost_to_damage: list[Loss] = field(default_factory=list)
    held: list[Loss] = field(default_factory=list)
    unclaimed: tuple[str, ...] = ()
    names_found: Mapping[str, int] = field(default_factory=dict)
    withdrawn: list[str] = field(default_factory=list)
    hub: Mapping[str, object] = field(default_factory=dict)

    @property
    def attrition(self) -> float:
        """Share of the run's rows whose bytes never arrived, earlier failures included."""
        return self.skipped_download / self.rows_in if self.rows_in else 0.0

    def keep(self, counter: str) -> None:
        """Count one annotation row that gave a row."""
        self._count(counter)
        self.rows_out += 1

    def lose(self, loss: Loss) -> None:
        """Count one annotation row that gave none."""
        self._count(loss.counter)
        self.losses.append(loss)

    def counters(self) -> dict[str, int]:
        """Every counter by name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, int)}

    def reasons(self) -> dict[str, int]:
        """``counter: reason`` → number of rows, most frequent first."""
        return dict(Counter(loss.kind for loss in self.losses).most_common())

    def chief_reasons(self, counter: str, most: int = 3) -> str:
        """The most frequent reasons of one counter, as a message shows them."""
        reasons = Counter(loss.kind.partition(": ")[2] for loss in self.losses if loss.counter == counter)
        return "; ".join(f"{count} × {reason}" for reason, count in reasons.most_common(most)) or "no reasons"

    def reconcile(self, what: str) -> None:
        """IngestError where a row is unaccounted for: it would mean that rows vanish."""
        counted_in = sum(getattr(self, name) for name in KEPT + LOST)
        counted_out = sum(getattr(self, name) for name in KEPT) + self.retained_outside
        if counted_in != self.rows_in or counted_out != self.rows_out:
            raise IngestError(
                f"{what}: rows do not reconcile",
                found=f"{self.rows_in} rows in and {self.rows_out} out",
                expected=f"{counted_in} in and {counted_out} out by the counters {self.counters()}",
                next_step="the earlier output is kept; report this as a defect",
            )

    def summary(self, corpus: str, output: str, *, replaced: bool = True) -> str:
        """The line a person reads at the end; the file was ``replaced``, or its bytes would have stayed the same."""
        line = (
            f"[{corpus}-jsonl] {'wrote' if replaced else 'kept all'} {self.rows_out} rows, "
            f"skipped {self.skipped_download} (download-failed), "
            f"{self.skipped_broken} (broken-clip), {self.dedups} dedups -> {output}"
        )
        in_line = ("rows_out", "skipped_download", "skipped_broken", "dedups")
        others = [f"{name} {value}" for name, value in self.counters().items() if value and name not in in_line]
        return f"{line} ({', '.join(others)})" if others else line

    def described(self, examples: int = 50) -> dict[str, Any]:
        """Everything a manifest says of the run."""
        return {
            "counters": self.counters(),
            "attrition": round(self.attrition, 6),
            "reasons": self.reasons(),
            "losses": [loss.as_dict() for loss in self.losses[:examples]],
            "losses_total": len(self.losses),
            "held": [loss.as_dict() for loss in self.held[:examples]],
            "names_found": dict(self.names_found),
            "unlabelled": list(self.unclaimed[:examples]),
            "withdrawn": self.withdrawn[:examples],
            "withdrawn_total": len(self.withdrawn),
            "lost_to_damage": [loss.as_dict() for loss in self.lost_to_damage[:examples]],
        }

    def listed(self, most_unclaimed: int = 50) -> Iterator[dict[str, Any]]:
        """What the losses file says: every lost row, lost to damage too, the first clips on disk that no row names."""
        for loss in (*self.losses, *self.lost_to_damage):
            yield loss.as_dict()
        for name in self.unclaimed[:most_unclaimed]:
            yield Loss(0, name, "unlabelled_clips", "no row names it").as_dict()

    def _count(self, counter: str) -> None:
        setattr(self, counter, getattr(self, counter) + 1)
        self.rows_in += 1


@dataclass(frozen=True, slots=True)
class OutputRow:
    """One row of the corpus JSONL: its object and its bytes."""

    row: Mapping[str, Any]
    raw: bytes


class OutputRows(Iterable[OutputRow]):
    """The rows of the new JSONL in their order; those of a large corpus lie in a file without a name (of ``TMPDIR``).

    In memory is where each lies. OSError, with the folder's name, where that has no room.
    """

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=_MOST_IN_MEMORY_BYTES)  # noqa: SIM115 - closed with it
        weakref.finalize(self, self._file.close)
        self._edges = array("q", [0])
        self._order: Sequence[int] = range(0)

    def append(self, row: OutputRow) -> None:
        """Take in the next row."""
        try:
            self._file.seek(self._edges[-1])  # somebody may have read meanwhile
            self._file.write(row.raw)
        except OSError as error:
            raise OSError(error.errno, error.strerror, tempfile.gettempdir()) from error
        self._edges.append(self._edges[-1] + len(row.raw))
        self._order = range(len(self))

    def sort(self, key: Callable[[Mapping[str, Any]], tuple[int, str]]) -> None:
        """Bring the rows into the order of their keys."""
        keys = [key(out.row) for out in self]
        self._order = [number for _, number in sorted(zip(keys, self._order, strict=True))]

    @property
    def size_bytes(self) -> int:
        """How long the file of all rows is."""
        return self._edges[-1]

    def __len__(self) -> int:
        return len(self._edges) - 1

    def __iter__(self) -> Iterator[OutputRow]:
        for raw in self.raw():
            yield OutputRow(parse_json_line(raw, Path(tempfile.gettempdir()), 0), raw)

    def raw(self) -> Iterator[bytes]:
        """The rows' bytes."""
        for number in self._order:
            self._file.seek(self._edges[number])  # others may read or write between two of them
            yield self._file.read(self._edges[number + 1] - self._edges[number])


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
            **named_scale(self.annotations.scale),
            "mos_std_dev": row.sd or 0.0,
            "n_ratings": row.count,
            "corpus": self.corpus.name,
            "corpus_version": self.settings.corpus_version,
            **row.extra,
        }


def named_scale(scale: MosScale) -> dict[str, str]:
    """What a row says of the scale that its score is on: the name, and where less is better, that it is."""
    return {"mos_scale": scale.name} | ({} if scale.polarity == "mos" else {"mos_polarity": scale.polarity})


class RowJudge:
    """Judges annotation rows in manifest order: bad, duplicate label, clip; then the rows outside the run.

    ``cached`` is what the cache knew of clips before the run; it stands in for rows that a damaged file has lost.
    """

    def __init__(
        self,
        labelling: Labelling,
        earlier: EarlierRows,
        report: IngestReport,
        cached: Mapping[str, ReadClip] | None = None,
    ) -> None:
        self._labelling = labelling
        self._damage, self._earlier = earlier, earlier.lines
        self._cached = earlier.known(cached or {})
        self._report = report
        self._by_sha: dict[str, str] = {}
        rows = labelling.annotations.rows
        doubtful = {row.src for row in rows if row.problem or row.repeats}
        usable = (row.src for row in rows if not (row.problem or row.repeats))
        self._unusable = doubtful.difference(usable) if doubtful else doubtful
        """Names of which no row is usable."""

    def judge(self, run: list[AnnotationRow], outcomes: Mapping[str, ClipOutcome]) -> OutputRows:
        """The rows of the new JSONL, in manifest order; every annotation row is counted once."""
        output = OutputRows()
        for row in run:
            for one in self._judge(row, outcomes.get(row.src)):
                output.append(one)
        judged = len(output)
        if len(self._earlier) or self._damage.lost:
            inside = {row.src for row in run if row.src in outcomes or row.src in self._unusable}
            for one in chain(self._outside(inside), self._rebuilt_outside(inside)):
                output.append(one)
            del inside
        if self._damage.lost:
            self._count_damage(output)
        # A run's own rows come in the order of the file, but for a name that stands in several.
        rows = self._labelling.annotations.rows
        if len(output) > judged or any(row.problem or row.repeats for row in rows):
            order: dict[str, int] = {}
            for position, row in enumerate(rows):
                order.setdefault(row.src, position)
            # Rows whose name left the annotation file come last, by ``src``.
            output.sort(lambda row: (order.get(str(row["src"]), len(rows)), str(row["src"])))
        return output

    def _judge(self, row: AnnotationRow, outcome: ClipOutcome | None) -> Iterator[OutputRow]:
        if row.problem:
            self._lose(row, "skipped_bad_row", row.problem, withdraw=row.src in self._unusable)
        elif row.repeats:
            self._lose(row, "duplicate_labels", "the same clip and score stand in an earlier row")
        elif outcome is None:
            raise IngestError(f"{row.src}", found="no outcome for a clip of this run", next_step="report this defect")
        elif outcome.state is ClipState.BROKEN:
            # The bytes of its earlier row are gone, or were never a clip.
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
        fresh = {**_content_of(clip), **self._labelling.label(row)}
        before = self._earlier.get(row.src)
        output = self._output(fresh, before)
        if before is None or any(fresh[name] != before.row.get(name) for name in _BYTES_FIELDS):
            self._report.keep("written")
        else:
            self._report.keep("unchanged" if output.raw is before.raw else "relabelled")
        yield output

    def _unavailable(self, row: AnnotationRow, outcome: ClipOutcome) -> Iterator[OutputRow]:
        before = self._earlier.get(row.src) or self._rebuilt(row.src)
        counter = _COUNTER_OF.get(outcome.state, "skipped_download")
        if before is None or (self._labelling.settings.prune and not outcome.present):
            self._report.pruned += before is not None
            self._lose(row, counter, outcome.reason)
            return
        if self._duplicate(row, str(before.row["src_sha256"])):
            return
        # What was measured of the clip stands, the label is this run's.
        content = {name: before.row[name] for name in _CLIP_FIELDS if name in before.row}
        if (cached := self._cached.get(row.src)) is not None:
            # The file is not as it was published: its numbers may have changed with it.
            content = _content_of(cached)
        fresh = {**content, **self._labelling.label(row)}
        self._report.keep("retained_unavailable")
        if outcome.state in (ClipState.UNPROBED, ClipState.TOO_LARGE):
            self._report.held.append(Loss(row.line, row.src, "retained_unavailable", outcome.reason))
        yield self._output(fresh, before)

    def _output(self, fresh: dict[str, Any], before: JsonLine | None) -> OutputRow:
        """The row with the time it was made; one that did not change stays byte for byte, its time included.

        A row that only gains fields keeps its time too: clip and label are what they were then.
        """
        stamp = self._labelling.now
        if before is not None:
            earlier = without_stamp(before.row)
            fresh |= {name: earlier[name] for name in _ROUNDED if _is_rounded(earlier.get(name), fresh.get(name))}
            if fresh == earlier:
                return OutputRow(before.row, before.raw)
            if earlier.items() <= fresh.items():
                stamp = before.row.get(STAMP, stamp)
        row = {**fresh, STAMP: stamp}
        return OutputRow(row, json_line(row))

    def _duplicate(self, row: AnnotationRow, sha256: str) -> bool:
        first = self._by_sha.setdefault(sha256, row.src)
        if first != row.src:
            self._lose(row, "dedups", f"the same bytes as {first}")
        return first != row.src

    def _lose(self, row: AnnotationRow, counter: str, reason: str, *, withdraw: bool = False) -> None:
        self._report.lose(Loss(row.line, row.src, counter, reason))
        # A name may stand in several bad rows; its earlier row is withdrawn once.
        if withdraw and row.src in self._earlier and row.src not in self._report.withdrawn:
            self._report.withdrawn.append(row.src)

    def _outside(self, run: set[str]) -> Iterator[OutputRow]:
        """The earlier rows whose names are not in the run; one whose bytes a row of the run has was renamed."""
        for src in self._earlier:
            if src in run:
                continue
            line = self._earlier[src]  # only now: each look reads the file
            if line.row["src_sha256"] in self._by_sha:
                self._report.outside_dedups += 1
            elif self._labelling.settings.prune:
                self._report.pruned += 1
            else:
                self._report.retained_outside += 1
                self._report.rows_out += 1
                if "mos_scale" in line.row:
                    yield OutputRow(line.row, line.raw)
                else:  # written before rows named their scale
                    row = {**line.row, **named_scale(self._older_scale)}
                    yield OutputRow(row, json_line(row))

    def _rebuilt(self, src: str) -> JsonLine | None:
        """What the cache has of a clip, in the place of the row that a damaged file has lost."""
        clip = self._cached.get(src) if self._damage.lost else None
        return None if clip is None else JsonLine(0, b"", {"src": src, **_content_of(clip)})

    def _rebuilt_outside(self, run: set[str]) -> Iterator[OutputRow]:
        """The rows outside the run that a damaged file has lost, of those that the annotation file still names."""
        if not self._damage.lost or self._labelling.settings.prune:
            return
        for row in self._labelling.annotations.usable:
            if row.src in run or row.src in self._earlier or (before := self._rebuilt(row.src)) is None:
                continue
            if str(before.row["src_sha256"]) not in self._by_sha:
                self._by_sha[str(before.row["src_sha256"])] = row.src
                self._report.retained_outside += 1
                self._report.rows_out += 1
                yield self._output({**before.row, **self._labelling.label(row)}, before)

    def _count_damage(self, rows: Iterable[OutputRow]) -> None:
        """Count what became of the rows that the earlier file has lost: made again, or lost for good."""
        damage, report = self._damage, self._report
        anew = {str(out.row["src"]) for out in rows} - set(self._earlier)
        told = {loss.src: loss.reason for loss in report.losses}
        for line in damage.damaged:
            if line.src and line.src not in anew and line.src not in self._earlier:
                reason = f"its line {line.number} is damaged ({line.what}), and {told.get(line.src, 'no row names it')}"
                report.lost_to_damage.append(Loss(line.number, line.src, "lost_rows", reason))
        # Of lines that do not tell their clip only the number is known: new rows that the cache knew stand for them.
        nameless = damage.lost - len(damage.named)
        remade = anew - damage.named
        if self._cached:
            remade &= self._cached.keys()
        report.damaged_rows = damage.lost
        report.lost_rows = len(report.lost_to_damage) + max(0, nameless - len(remade))
        report.rebuilt_rows = damage.lost - report.lost_rows

    @cached_property
    def _older_scale(self) -> MosScale:
        """The scale of the earlier rows that do not name theirs: as set, else by the scores of all earlier rows."""
        corpus, stated = self._labelling.corpus, self._labelling.settings.mos_scale
        if stated and corpus.stored_scale is None:  # else it names the published scores' scale, and rows are on another
            return corpus.stated_scale(stated, f"{corpus.name}: mos_scale")
        scores = [line.row.get("mos") for line in self._earlier.values()]
        numbers = [float(score) for score in scores if isinstance(score, int | float)]
        return detect_scale(numbers, corpus.row_scales, f"{corpus.name}: the earlier rows, which tell no scale")


def _content_of(clip: ReadClip) -> dict[str, Any]:
    """What a row knows from its clip's bytes."""
    geometry = clip.geometry.as_dict() if clip.geometry else {}
    return {"src_sha256": clip.sha256, "src_size_bytes": clip.stamp.size_bytes, **geometry}


def _is_rounded(before: object, now: object) -> bool:
    """Whether two numbers differ by no more than rounding."""
    return isinstance(before, float) and isinstance(now, float) and abs(before - now) <= _ROUNDED_BY


def without_stamp(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row without the time it was made, which says nothing about its content."""
    content = dict(row)
    content.pop(STAMP, None)
    return content
