"""A whole annotation read, judged and profiled: is it this corpus's, on which scale, which rows can be used."""

import hashlib
import logging
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vqa_assets.annotations.columns import Columns, choose_columns
from vqa_assets.annotations.quoting import short
from vqa_assets.annotations.rows import AnnotationRow, RowReader, stored
from vqa_assets.annotations.sheet import Sheet, read_sheet
from vqa_assets.annotations.splits import SplitList, check_split_words, marked, tell_two_splits
from vqa_assets.corpora import Corpus
from vqa_assets.corpora.opinions import LabelStatistics, Opinion, describe_labels
from vqa_assets.corpora.scales import SCALES, MosScale, detect_scale
from vqa_assets.errors import AnnotationError
from vqa_assets.settings import IngestSettings

MOST_BAD_ROWS = 0.05
"""Share of bad rows above which the file as a whole is refused."""
_SAME_SCORE = 1e-6
_EXAMPLES = 5
_log = logging.getLogger("vqa_assets.annotations")


@dataclass(frozen=True)
class Annotations:
    """A whole annotation, read: rows in file order, and what was decided for all of them.

    ``files`` are those it was read from, the first one first, ``sha256_of_files`` their hashes; ``sha256`` is of the
    one file, or of all one after another. ``scale`` is what the rows' scores are on, ``native_scale`` what the file's
    are.
    """

    files: tuple[Path, ...]
    sha256: str
    columns: Mapping[str, tuple[str, ...]]
    scale: MosScale
    native_scale: MosScale
    scale_from: str
    rows: tuple[AnnotationRow, ...]
    sha256_of_files: tuple[str, ...]

    @property
    def path(self) -> Path:
        """The annotation file, or the first of several."""
        return self.files[0]

    @property
    def usable(self) -> list[AnnotationRow]:
        """The rows that name a clip and score it, each clip once."""
        return [row for row in self.rows if not row.problem and not row.repeats]

    @property
    def bad(self) -> list[AnnotationRow]:
        """The rows that cannot be used."""
        return [row for row in self.rows if row.problem]

    def statistics(self) -> LabelStatistics:
        """What the usable labels look like."""
        return describe_labels([Opinion(r.mos, r.sd, r.count) for r in self.usable], self.scale)

    def problems(self) -> dict[str, int]:
        """Reason → number of bad rows."""
        return dict(Counter(row.problem.partition(":")[0] for row in self.bad))


def read_annotations(corpus: Corpus, settings: IngestSettings, *paths: Path) -> Annotations:
    """Read, judge and profile an annotation: one file, or the parts of one, as ``find_annotation_files`` gives them.

    AnnotationError where it is empty, of another corpus, without the needed columns, or with more than 5 % bad rows;
    ScaleError where its scores fit no declared scale.
    """
    contents = [path.read_bytes() for path in paths]
    labels, lists = _told_apart(corpus, paths)
    scored = [_read_file(corpus, settings, paths[i], contents[i], several=len(labels) > 1) for i in labels]
    rows = [row for _, found in scored for row in found]
    what = f"{corpus.name}: {paths[0]}"
    _check_row_count(len(rows), corpus, settings, [paths[i] for i in labels])
    check_split_words(rows, what)
    native, scale_from = _scale(rows, corpus, settings, what)
    judged = [_judge_range(row, native) for row in _judge_repeats(rows, native)]
    tell_two_splits(judged, what)
    listed = [_split_list(corpus, settings, paths[i], contents[i]) for i in lists]
    final = marked(judged, listed, what)
    scale = corpus.stored_scale or native
    if scale != native:
        final = [stored(row, native, scale) for row in final]
    columns = _all_columns([columns for columns, _ in scored])
    hashes = tuple(_digest([content]) for content in contents)
    found = Annotations(tuple(paths), _digest(contents), columns, scale, native, scale_from, tuple(final), hashes)
    _check_bad_rows(found, corpus)
    return found


def first_lines(bad: Iterable[AnnotationRow]) -> str:
    """The first bad rows with their line numbers, as a message shows them."""
    shown = list(bad)
    told = "; ".join(f"{row.where}: {row.problem}" for row in shown[:_EXAMPLES])
    return told + (f"; and {len(shown) - _EXAMPLES} more" if len(shown) > _EXAMPLES else "")


def _told_apart(corpus: Corpus, paths: Sequence[Path]) -> tuple[list[int], list[int]]:
    """Which paths hold the labels, and which only mark a split: the parts that follow a file that is none."""
    parts = [corpus.part_of(path.name) is not None for path in paths]
    if parts[0]:
        return list(range(len(paths))), []
    return [0], list(range(1, len(paths)))


def _digest(contents: Sequence[bytes]) -> str:
    digest = hashlib.sha256()
    for content in contents:
        digest.update(content)
    return digest.hexdigest()


def _read_file(
    corpus: Corpus, settings: IngestSettings, path: Path, content: bytes, *, several: bool = False
) -> tuple[Columns, list[AnnotationRow]]:
    what = f"{corpus.name}: {path}"
    sheet: Sheet = read_sheet(content, corpus, path)
    columns = choose_columns(sheet.lines[0][1] if sheet.lines else [], corpus, what)
    part = corpus.part_of(path.name)
    reader = RowReader(corpus, settings, columns, part, sheet.decimal_comma, path.name if several else "")
    lines = sheet.lines[1:] if columns.has_header else sheet.lines
    return columns, [reader.row(line, values) for line, values in lines]


def _split_list(corpus: Corpus, settings: IngestSettings, path: Path, content: bytes) -> SplitList:
    rows = _read_file(corpus, settings, path, content)[1]
    check_split_words(rows, f"{corpus.name}: {path}")
    return SplitList.of(path.name, rows)


def _all_columns(of_files: Sequence[Columns]) -> dict[str, tuple[str, ...]]:
    roles: dict[str, tuple[str, ...]] = {}
    for columns in of_files:
        for role, names in columns.roles.items():
            roles[role] = tuple(dict.fromkeys(roles.get(role, ()) + names))
    return roles


def _check_row_count(count: int, corpus: Corpus, settings: IngestSettings, files: Sequence[Path]) -> None:
    least, most = _least_rows(corpus, settings, files), settings.max_manifest_rows
    if count >= least and (most is None or count <= most):
        return
    expected = f"at least {least}" if count < least else f"at most {most}"
    setting = "min_rows" if count < least else "max_manifest_rows"
    hint = f" {corpus.lookalike}." if corpus.lookalike else ""
    raise AnnotationError(
        f"{corpus.name}: {files[0]}",
        found=f"{count} rows",
        expected=expected,
        next_step=f"is this the right corpus?{hint} If the file is right, set {setting} in the run config or "
        "ingest.toml",
    )


def _least_rows(corpus: Corpus, settings: IngestSettings, files: Sequence[Path]) -> int:
    """The setting; the corpus's own bound is no more than the parts that are there are said to have."""
    if settings.min_rows != corpus.min_rows:
        return settings.min_rows
    of_parts = [part.min_rows if part else None for part in (corpus.part_of(path.name) for path in files)]
    known = [rows for rows in of_parts if rows is not None]
    return min(settings.min_rows, sum(known)) if len(known) == len(of_parts) else settings.min_rows


def _scale(rows: Sequence[AnnotationRow], corpus: Corpus, settings: IngestSettings, what: str) -> tuple[MosScale, str]:
    if settings.mos_scale:
        return SCALES[settings.mos_scale], "set"
    scores = [row.mos for row in rows if math.isfinite(row.mos)]
    if not scores:
        _refuse_unusable([row for row in rows if row.problem], len(rows), corpus, what)
    return detect_scale(scores, corpus.scales, what), "detected"


def _judge_range(row: AnnotationRow, scale: MosScale) -> AnnotationRow:
    if row.problem or scale.holds(row.mos):
        return row
    return replace(row, repeats=False, problem=f"MOS outside [{scale.low:g}, {scale.high:g}]: {row.mos:g}")


def _judge_repeats(rows: Sequence[AnnotationRow], scale: MosScale) -> list[AnnotationRow]:
    """Later rows of a name with an equal score repeat; where the whole file gives a name two scores, all are bad.

    A name has the first address that any of its rows has.
    """
    scores: dict[str, list[float]] = defaultdict(list)
    urls: dict[str, str] = {}
    for row in rows:
        if not row.problem:
            scores[row.src].append(row.mos)
            if row.url:
                urls.setdefault(row.src, row.url)
    same = _SAME_SCORE * (scale.high - scale.low)
    conflicting = {src: _told_scores(src, of) for src, of in scores.items() if max(of) - min(of) > same}
    seen: set[str] = set()
    addressed = [row if row.url or row.src not in urls else replace(row, url=urls[row.src]) for row in rows]
    return [_judge_repeat(row, conflicting.get(row.src, ""), seen) for row in addressed]


def _told_scores(src: str, values: Iterable[float]) -> str:
    different = sorted(set(values))
    more = f" and {len(different) - _EXAMPLES} more" if len(different) > _EXAMPLES else ""
    return f"conflicting scores: {short(src)} has {different[:_EXAMPLES]}{more}"


def _judge_repeat(row: AnnotationRow, conflict: str, seen: set[str]) -> AnnotationRow:
    if row.problem:
        return row
    if conflict:
        return replace(row, problem=conflict)
    if row.src in seen:
        return replace(row, repeats=True)
    seen.add(row.src)
    return row


def _check_bad_rows(found: Annotations, corpus: Corpus) -> None:
    bad = found.bad
    if not found.usable or len(bad) > MOST_BAD_ROWS * len(found.rows):
        _refuse_unusable(bad, len(found.rows), corpus, f"{corpus.name}: {found.path}")


def _refuse_unusable(bad: Sequence[AnnotationRow], rows: int, corpus: Corpus, what: str) -> None:
    raise AnnotationError(
        what,
        found=f"{len(bad)} of {rows} rows unusable ({first_lines(bad)})",
        expected=f"at most {MOST_BAD_ROWS:.0%} bad rows and at least one usable",
        next_step=f"is this the score file of {corpus.title}? Correct or remove those lines",
    )
