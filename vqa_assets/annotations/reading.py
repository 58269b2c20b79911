"""A whole annotation read, judged and profiled: is it this corpus's, on which scale, which rows can be used.

What one line says is read in ``rows``; here are judgements that need all of them.
"""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from vqa_assets.annotations.columns import ScoreColumns, check_names, choose_columns, turned
from vqa_assets.annotations.dialects import short
from vqa_assets.annotations.matlab import SheetFacts
from vqa_assets.annotations.rows import CONTENT_ID, AnnotationRow, ReadingSettings, RowReader, stored
from vqa_assets.annotations.score_files import ScoreFile, read_score_file
from vqa_assets.annotations.splits import (
    SplitList,
    check_split_words,
    mark_splits,
    warn_of_named_split,
    warn_of_two_splits,
)
from vqa_assets.annotations.votes import VotesFile, with_votes
from vqa_assets.corpora import Corpus
from vqa_assets.corpora.opinions import LabelStatistics, Opinion, describe_labels
from vqa_assets.corpora.scales import MosScale, detect_scale
from vqa_assets.errors import AnnotationError
from vqa_assets.printing import logger
from vqa_assets.provenance import ReadInput
from vqa_assets.provenance.reading import refuse_changes

_FEW_ROWS, _BAD_OF_FEW = 100, 5
"""A share says little of a file of so few rows: it may have so many bad ones."""
_SAME_SCORE = 1e-6
_NAMES_LOOKED_AT = 1_000
_EXAMPLES = 5
_HASHED_AT_ONCE = 1 << 20
_log = logger("vqa_assets.annotations")


@dataclass(frozen=True)
class FurtherScores:
    """One further score over the usable rows of a file: its field, column and scale, how many rows have one.

    ``unknown`` have none, ``refused`` of them one that is no number or outside the scale.
    """

    field: str
    column: str
    scale: MosScale
    rows: int
    unknown: int
    refused: int

    def as_dict(self) -> dict[str, object]:
        """The same for a manifest."""
        polarity = {} if self.scale.polarity == "mos" else {"polarity": self.scale.polarity}
        counts = {"rows": self.rows, "unknown": self.unknown, "refused": self.refused}
        return {"column": self.column, "scale": self.scale.name, **polarity, **counts}


@dataclass(frozen=True)
class Annotations:
    """A whole annotation, read: rows in file order, and what was decided for all of them.

    ``read`` are the files it was read from, as they were then, the first one first; ``sha256`` is of the one file, or
    of all one after another. ``scale`` is what the rows' scores are on, ``native_scale`` what the file's are. ``votes``
    are those of the files that hold single votes.
    """

    read: tuple[ReadInput, ...]
    sha256: str
    columns: Mapping[str, tuple[str, ...]]
    scale: MosScale
    native_scale: MosScale
    scale_from: str
    scores: tuple["FurtherScores", ...]
    rows: tuple[AnnotationRow, ...]
    votes: tuple[VotesFile, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """Where they lie."""
        return tuple(one.path for one in self.read)

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


def read_annotations(corpus: Corpus, settings: ReadingSettings, *paths: Path) -> Annotations:
    """Read, judge and profile an annotation: one file, or the parts of one, as ``find_annotation_files`` gives them.

    AnnotationError where it is empty, of another corpus, without the needed columns, or with more than 5 % bad rows;
    ScaleError where its scores fit no declared scale.
    """
    parts_with_votes = {part.votes: part for part in corpus.parts if part.votes}
    voted = [path for path in paths[1:] if path.name in parts_with_votes]
    paths = tuple(path for path in paths if path not in voted)
    read: list[ReadInput] = []
    # a first file that is a part has labels, and so have all others; behind a whole file there are only split lists
    labelled = len(paths) if corpus.part_of(paths[0].name) is not None else 1
    roles: dict[str, tuple[str, ...]] = {}
    rows: list[AnnotationRow] = []
    for path in paths[:labelled]:
        file = _score_file(corpus, path)
        read.append(file.as_read)
        columns, of_file = _columns_and_rows(corpus, settings, file, several=labelled > 1)
        rows += of_file
        warn_of_named_split(of_file, corpus.part_of(path.name), f"{corpus.name}: {path}")
        for role, names in columns.roles.items():
            roles[role] = tuple(dict.fromkeys(roles.get(role, ()) + names))
    what = f"{corpus.name}: {paths[0]}"
    _check_row_count(len(rows), corpus, settings, paths[:labelled])
    check_split_words(rows, what)
    # over the whole file: a few low scores fit every scale
    native, scale_from = _scale(rows, corpus, settings, what)
    rows = _judge_repeats(rows, native)
    rows = [row if row.problem or native.holds(row.mos) else _outside(row, native) for row in rows]
    warn_of_two_splits(rows, what)
    if corpus.contents_in_names or corpus.spellings.content:
        _warn_of_unknown_contents(rows, what)
    # lists are read last: they mark rows that are judged, and are no rows themselves
    lists = []
    for path in paths[labelled:]:
        file = _score_file(corpus, path)
        read.append(file.as_read)
        listed = _columns_and_rows(corpus, settings, file)[1]
        check_split_words(listed, f"{corpus.name}: {path}")
        warn_of_named_split(listed, corpus.part_of(path.name), f"{corpus.name}: {path}")
        lists.append(SplitList.of(path.name, listed))
    rows = mark_splits(rows, lists, what)
    votes = []
    for path in voted:
        part = parts_with_votes[path.name]
        of_part: dict[str, object] = {part.field: part.value}
        rows, of_path = with_votes(rows, path, corpus, of_part=of_part, scale=native, settings=settings)
        votes.append(of_path)
    scale = corpus.stored_scale or native  # most corpora stay native until they are unified
    rows, scores = _with_further_scores(rows, corpus, native, scale, what)
    if scale != native:
        rows = [stored(row, native, scale) for row in rows]
    annotations = Annotations(
        read=(*read, *(file.as_read for file in votes)),
        sha256=_sha256_of_all(read, votes),
        columns=roles,
        scale=scale,
        native_scale=native,
        scale_from=scale_from,
        scores=scores,
        rows=tuple(rows),
        votes=tuple(votes),
    )
    bad = annotations.bad
    if not annotations.usable or len(bad) > most_bad_rows(len(rows), settings.bad_rows_limit):
        raise _unusable(bad, len(rows), corpus, settings, what)
    return annotations


def first_lines(bad: Iterable[AnnotationRow]) -> str:
    """The first bad rows with their line numbers, as a message shows them."""
    rows = list(bad)
    lines = "; ".join(f"{row.where}: {row.problem}" for row in rows[:_EXAMPLES])
    return lines + (f"; and {len(rows) - _EXAMPLES} more" if len(rows) > _EXAMPLES else "")


def _sha256_of_all(read: Sequence[ReadInput], votes: Sequence[VotesFile]) -> str:
    """The hash of one file, or of all one after another; ChangedInputError where they are not what was read."""
    if len(read) == 1 and not votes:
        return read[0].sha256
    digest = hashlib.sha256()
    for one in read:
        with one.path.open("rb") as content:
            while part := content.read(_HASHED_AT_ONCE):
                digest.update(part)
    refuse_changes(read)
    for file in votes:
        digest.update(file.as_read.sha256.encode())
    return digest.hexdigest()


def _score_file(corpus: Corpus, path: Path) -> ScoreFile:
    facts = SheetFacts(
        what=f"{corpus.name}: {path}",
        where=corpus.acquisition.where,
        min_rows=corpus.min_rows or 0,
        clip=corpus.spellings.clip,
        mos=corpus.spellings.mos,
        polarity=corpus.polarity,
    )
    return read_score_file(path, facts)


def _columns_and_rows(
    corpus: Corpus, settings: ReadingSettings, file: ScoreFile, *, several: bool = False
) -> tuple[ScoreColumns, list[AnnotationRow]]:
    """A file's columns and rows; with ``several``, rows say of which file they are."""
    path = file.as_read.path
    what = f"{corpus.name}: {path}"
    lines = turned(file.lines, corpus)
    columns = choose_columns(lines[0][1] if lines else [], corpus, what)
    part = corpus.part_of(path.name)
    first = int(columns.has_header)
    check_names(columns, (values for _, values in lines[first : first + _NAMES_LOOKED_AT]), what)
    reader = RowReader(corpus, settings, columns, part, file.decimal_comma, path.name if several else "")
    return columns, [reader.row(line, values) for line, values in islice(lines, first, None)]


def _check_row_count(count: int, corpus: Corpus, settings: ReadingSettings, files: Sequence[Path]) -> None:
    """AnnotationError where the rows are too few or too many for this corpus: it is probably another's file."""
    least, most = settings.min_rows, settings.max_manifest_rows
    parts = [corpus.part_of(path.name) for path in files]
    of_parts = [part.min_rows for part in parts if part is not None and part.min_rows is not None]
    if least == corpus.min_rows and len(of_parts) == len(files):
        # the corpus's own bound is no more than the parts that are there should have; a setting stands as it is
        least = min(least, sum(of_parts))
    if count >= least and (most is None or count <= most):
        return
    expected = f"at least {least}" if count < least else f"at most {most}"
    setting = "min_rows" if count < least else "max_manifest_rows"
    hint = f" {corpus.lookalike}." if corpus.lookalike else ""
    raise AnnotationError(
        f"{corpus.name}: {files[0]}",
        found=f"{count} rows",
        expected=expected,
        next_step=f"is this the right corpus?{hint} If the file is right, set {setting} for this run or in ingest.toml",
    )


def _scale(rows: Sequence[AnnotationRow], corpus: Corpus, settings: ReadingSettings, what: str) -> tuple[MosScale, str]:
    """The scale of the scores, and where that comes from: ``set`` or ``detected``."""
    if settings.mos_scale:
        return corpus.stated_scale(settings.mos_scale, f"{corpus.name}: mos_scale"), "set"
    scores = [row.mos for row in rows if math.isfinite(row.mos)]
    if not scores:
        raise _unusable([row for row in rows if row.problem], len(rows), corpus, settings, what)
    return detect_scale(scores, corpus.scales, what), "detected"


def _with_further_scores(
    rows: Sequence[AnnotationRow], corpus: Corpus, native: MosScale, stored_on: MosScale, what: str
) -> tuple[list[AnnotationRow], tuple[FurtherScores, ...]]:
    """The rows with the further scores that they have in ``extra``, and what became of each score over all of them.

    Scores on the corpus's own scale are stored where ``mos`` is. One that is no number or outside its scale becomes
    unknown, and is told; it costs no row.
    """
    extras: dict[int, dict[str, object]] = defaultdict(dict)
    usable = [(at, row) for at, row in enumerate(rows) if not row.problem and not row.repeats]
    told = []
    for one in corpus.scores:
        scale = one.scale_beside(native)
        kept = scale if one.scale else one.scale_beside(stored_on)
        named = {one.scale_field: kept.name} if kept.name != stored_on.name else {}
        named |= {one.polarity_field: kept.polarity} if kept.polarity != stored_on.polarity else {}
        refused, known = [], 0
        for at, row in usable:
            score = row.scores.get(one.field)
            if score is not None and scale.holds(score):
                extras[at] |= {one.field: score if kept == scale else scale.convert(score, kept), **named}
                known += 1
            elif score is not None:
                refused.append(f"{row.where}: {score:g}")
        told.append(FurtherScores(one.field, one.column, scale, known, len(usable) - known, len(refused)))
        if refused:
            _log.warning(
                "%s: %d of %d %s are no numbers or outside [%g, %g] (%s); they are unknown, their rows stay",
                *(what, len(refused), len(usable), one.field, scale.low, scale.high, "; ".join(refused[:_EXAMPLES])),
            )
        elif usable and not known:
            _log.warning("%s: no row has a %s (column %s)", what, one.field, one.column)
    read = [replace(row, extra={**row.extra, **extras[at]}) if at in extras else row for at, row in enumerate(rows)]
    return read, tuple(told)


def _outside(row: AnnotationRow, scale: MosScale) -> AnnotationRow:
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
    # one text per name, however many of its rows share it
    conflicts = {src: _conflict(src, of) for src, of in scores.items() if max(of) - min(of) > same}
    seen: set[str] = set()
    judged = []
    for row in rows:
        one = row if row.url or row.src not in urls else replace(row, url=urls[row.src])
        if not one.problem:
            if one.src in conflicts:
                one = replace(one, problem=conflicts[one.src])
            elif one.src in seen:
                one = replace(one, repeats=True)
            seen.add(one.src)
        judged.append(one)
    return judged


def _warn_of_unknown_contents(rows: Iterable[AnnotationRow], what: str) -> None:
    """A WARNING where columns or names should say what clips show and do not: folds may part clips of one content."""
    unknown = [row.src for row in rows if not row.problem and CONTENT_ID not in row.extra]
    if unknown:
        _log.warning(
            "%s: neither columns nor names of %d rows say what their clips show (%s); each is a content of its own, "
            "though some may be of one source",
            what,
            len(unknown),
            ", ".join(short(name) for name in unknown[:_EXAMPLES]),
        )


def _conflict(src: str, scores: Iterable[float]) -> str:
    different = sorted(set(scores))
    more = f" and {len(different) - _EXAMPLES} more" if len(different) > _EXAMPLES else ""
    return f"conflicting scores: {short(src)} has {different[:_EXAMPLES]}{more}"


def most_bad_rows(rows: int, limit: float) -> int:
    """How many bad rows a file of so many rows may have: ``limit`` of them; of few rows 5, but never more than half."""
    if rows < _FEW_ROWS:
        return min(max(int(limit * rows), _BAD_OF_FEW), rows // 2)
    return int(limit * rows)


def _unusable(
    bad: Sequence[AnnotationRow], rows: int, corpus: Corpus, settings: ReadingSettings, what: str
) -> AnnotationError:
    return AnnotationError(
        what,
        found=f"{len(bad)} of {rows} rows unusable ({first_lines(bad)})",
        expected=f"at most {most_bad_rows(rows, settings.bad_rows_limit)} bad rows and at least one usable",
        next_step=f"is this the score file of {corpus.title}? Correct or remove those lines, or raise bad_rows_limit",
    )
