"""Official splits: the words that rows may have, the lists that mark rows, and what disagrees. Makes no split."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from vqa_assets.annotations.dialects import short
from vqa_assets.annotations.rows import AnnotationRow
from vqa_assets.corpora.contents import SPLIT_WORDS
from vqa_assets.corpora.corpus import ScorePart
from vqa_assets.errors import AnnotationError
from vqa_assets.printing import logger

_EXAMPLES = 5
_MOST_LOST = 0.5
"""Share of a list's clips that the rows may lack before a warning says so."""
_log = logger("vqa_assets.annotations")


@dataclass(frozen=True)
class SplitList:
    """A score file that only marks its clips: its name, and the split of each clip on it."""

    file: str
    split: Mapping[str, str]

    @classmethod
    def of(cls, file: str, rows: Iterable[AnnotationRow]) -> "SplitList":
        """The list that a file's rows are."""
        return cls(file, {row.src: str(row.extra["split"]) for row in rows if row.src and "split" in row.extra})


def check_split_words(rows: Sequence[AnnotationRow], what: str) -> None:
    """AnnotationError where a file gives splits and a row has none, or another word than the known ones."""
    if not any("split" in row.extra for row in rows):
        return
    wrong = [row for row in rows if row.extra.get("split") not in SPLIT_WORDS]
    if wrong:
        examples = "; ".join(
            f"{row.where}: {short(str(row.extra.get('split', '(empty)')))}" for row in wrong[:_EXAMPLES]
        )
        raise AnnotationError(
            what,
            found=f"{len(wrong)} rows of another split ({examples})",
            expected=f"one of {', '.join(SPLIT_WORDS)} in every row, or true and false in a column is_test",
            next_step="correct the split column, or remove it",
        )


def warn_of_two_splits(rows: Iterable[AnnotationRow], what: str) -> None:
    """A WARNING where a clip stands in two splits with one score: its first row counts."""
    first: dict[str, object] = {}
    apart = [row.src for row in rows if not row.problem and first.setdefault(row.src, _split(row)) != _split(row)]
    if apart:
        _log.warning(
            "%s: %d clips stand in two splits (%s); the first that a clip stands in is taken",
            what,
            len(set(apart)),
            _names(apart),
        )


def warn_of_named_split(rows: Iterable[AnnotationRow], part: ScorePart | None, what: str) -> None:
    """A WARNING where a file's name says one split and its own column another, which counts.

    A validation part that was cut out of a training file contradicts nothing.
    """
    if part is None or part.field != "split" or not part.value:
        return
    apart = [row.src for row in rows if "split" in row.extra and _is_test(_split(row)) != _is_test(part.value)]
    if apart:
        _log.warning(
            "%s: %d rows have another split in their own column than the file's name says, which is %s (%s); the "
            "column's is taken",
            what,
            len(apart),
            part.value,
            _names(apart),
        )


def mark_splits(rows: list[AnnotationRow], lists: Sequence[SplitList], what: str) -> list[AnnotationRow]:
    """The rows with the official split that lists give their clips; those on no list are for training.

    A split that a row has already stays. AnnotationError where a list's clips are spelled in another way than the rows.
    """
    if not lists:
        return rows
    for one in lists:
        _compare_names(one, rows, what)
    if not any(one.split for one in lists):
        return rows
    # where two lists name a clip, the later one decides
    split = {src: word for one in lists for src, word in one.split.items()}
    apart = [row.src for row in rows if "split" in row.extra and split.get(row.src, _split(row)) != _split(row)]
    if apart:
        _log.warning(
            "%s: %d rows have another split in their own column than on the official lists (%s); the column's is taken",
            what,
            len(apart),
            _names(apart),
        )
    return [replace(row, extra={"split": split.get(row.src, SPLIT_WORDS[0]), **row.extra}) for row in rows]


def _compare_names(one: SplitList, rows: Sequence[AnnotationRow], what: str) -> None:
    """How many of a list's clips are among the rows; a list of other corpora's or subsets' clips may have none."""
    if not one.split:
        _log.warning("%s: %s has no column that says a split, and marks no clip", what, one.file)
        return
    named = len(one.split.keys() & {row.src for row in rows})
    stems = {_stem(src) for src in one.split}
    # no name in common but the same stems: the spellings differ, and every clip would silently be for training
    if not named and len(stems & {_stem(row.src) for row in rows}) > _MOST_LOST * len(stems):
        raise AnnotationError(
            what,
            found=f"rows such as {_names(row.src for row in rows)}, and on {one.file} clips such as "
            f"{_names(one.split)}: no name in both",
            expected="one spelling of a clip's name in both files, folders included",
            next_step=f"write the names of {one.file} as the rows have them, or take the file away",
        )
    level = logging.INFO if named >= (1 - _MOST_LOST) * len(one.split) else logging.WARNING
    _log.log(level, "%s: %d of the %d clips on %s are among its rows", what, named, len(one.split), one.file)


def _split(row: AnnotationRow) -> object:
    return row.extra.get("split")


def _is_test(split: object) -> bool:
    return split == "test"


def _stem(src: str) -> str:
    return PurePosixPath(src).stem.lower()


def _names(names: Iterable[str]) -> str:
    return ", ".join(short(name) for name in list(dict.fromkeys(names))[:_EXAMPLES])
