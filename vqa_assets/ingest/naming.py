"""Which file is a row's clip, where the score file calls it otherwise than the disk does, and what is only like it.

A name is resolved from the listings of ``layout.ClipsOnDisk``, never by a look at the disk for each name it could be.
"""

import re
import unicodedata
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Protocol

from vqa_assets.annotations.rows import ANNOTATED_AS, VIDEO_SUFFIXES, AnnotationRow, with_suffix
from vqa_assets.ingest.layout import FoundFile
from vqa_assets.printing import logger

EXACT, EARLIER, NOT_THERE = "exact", "earlier", "not_there"
BELOW, TEMPLATE, ADDED_SUFFIX, OTHER_SUFFIX, UNICODE = "below", "template", "added_suffix", "other_suffix", "unicode"
"""How a row's clip was found: by its very name, in a folder below, by a declared template, with the clip suffix behind
the name's own, under another video suffix, spelled in another form of Unicode."""
_SURROGATE = re.compile("[\ud800-\udfff]")
"""In a file name, Python's stand-in for a byte that is no UTF-8: no row, cache or log can hold one."""
_LEAST_IN_COMMON = 3
_MOST_LOOKED_AT = 50
_MOST_TOLD = 20
_Rule = tuple[str, Callable[[AnnotationRow], list[str]]]
"""A rule's name, and the names of the clips that a row could mean by it."""
_Spelled = tuple[str, str]
"""A name in another spelling, and as it is."""
_log = logger("vqa_assets.ingest")


class ListedClips(Protocol):
    """The files of one place by name, as ``layout.ClipsOnDisk`` lists them."""

    def file_of(self, src: str, score_drop: str = "") -> FoundFile | None:
        """The file that a clip of that name is; None where there is none."""

    def holds(self, src: str, score_drop: str = "") -> bool:
        """Whether a clip of that name is there."""

    def clips(self, but: Collection[FoundFile] = ()) -> Iterator[FoundFile]:
        """All other files that may be clips by their names."""


@dataclass(frozen=True)
class NamedRows:
    """The rows, each under the name that its clip has on disk, and ``unclaimed``: the clips that no row names.

    ``how`` says of a row's name how it was found, where that was not by the name that the score file gives.
    """

    rows: tuple[AnnotationRow, ...]
    how: Mapping[str, str]
    unclaimed: tuple[str, ...]

    def counted(self, run: Iterable[AnnotationRow], disk: ListedClips) -> dict[str, int]:
        """How the clips of a run's usable rows were found → their number."""
        usable = [row for row in run if not row.problem and not row.repeats]
        return dict(
            Counter(
                (self.how.get(row.src) or EXACT) if disk.file_of(row.src, score_drop(row)) else NOT_THERE
                for row in usable
            )
        )


def score_drop(row: AnnotationRow) -> str:
    """The score drop that a row is of, empty where it is of none."""
    return str(row.extra.get("score_drop", ""))


def named_on_disk(
    rows: Sequence[AnnotationRow],
    disk: ListedClips,
    suffix: str,
    earlier: Mapping[str, Mapping[str, object]] | None = None,
) -> NamedRows:
    """The rows under the names that their clips have on disk, else those they had in the ``earlier`` JSONL, by name.

    A clip that is in neither keeps its first name. A file that another row names, or that two rows could mean, is never
    taken; a bad row goes by the name of the earlier row that it takes away.
    """
    earlier = earlier or {}
    scores: dict[str, object] = {}
    annotated: dict[str, str] = {}  # what the score file called a clip when its earlier row was made → the clip's name
    for src, known in earlier.items():  # once: each row is read from the file
        scores[src] = known.get("mos")
        if isinstance(text := known.get(ANNOTATED_AS), str):
            annotated[text] = src
    naming = _Naming(rows, scores, suffix)
    usable: dict[str, AnnotationRow] = {}
    bad: dict[str, AnnotationRow] = {}
    for row in rows:
        if row.src and not row.repeats:
            (bad if row.problem else usable).setdefault(row.src, row)
    files = {src: disk.file_of(src, score_drop(row)) for src, row in usable.items()}
    claimed = {file for file in files.values() if file is not None}
    spare = [file for file in disk.clips(claimed) if not _SURROGATE.search(file[1])]
    on_disk = _Place(disk.holds, [name for _, name in spare], suffix)
    before = _Place(lambda name, _drop: name in earlier, earlier.keys(), suffix, annotated)
    absent = {src: row for src, row in usable.items() if files[src] is None}
    # Usable rows choose first: a bad row must not take the name of a clip that has a score.
    left = absent
    if spare or any(row.named != src and disk.file_of(row.named, score_drop(row)) for src, row in absent.items()):
        # A pointer or a dangling link is no clip, and only where other files lie could one stand in for it.
        left = naming.choose(
            [row for src, row in usable.items() if src in absent or not disk.holds(src, score_drop(row))], on_disk
        )
    if earlier:
        naming.choose([row for src, row in left.items() if src not in earlier], before)
    naming.warn_of_other_scores(usable.values())
    bad = {src: row for src, row in bad.items() if src not in naming.renames and src not in usable}
    left = naming.choose([row for src, row in bad.items() if src not in earlier], before) if earlier else bad
    if spare:
        naming.choose([row for row in left.values() if not disk.holds(row.src, score_drop(row))], on_disk)
    named = tuple(naming.renamed(row) for row in rows)
    return NamedRows(named, naming.how, _unclaimed(named, disk, spare))


def named_as_fetched(rows: Iterable[AnnotationRow], names: Mapping[str, str], suffix: str) -> list[AnnotationRow]:
    """The rows under the names that their clips were kept by when they were fetched; ``names`` has those by ``src``."""
    return [_called(row, names[row.src], suffix) if row.src in names and not row.repeats else row for row in rows]


def _called(row: AnnotationRow, name: str, suffix: str) -> AnnotationRow:
    """The row under another name, with the score file's own beside it where that says it otherwise."""
    extra = {key: value for key, value in row.extra.items() if key != ANNOTATED_AS}
    if name not in (row.named, with_suffix(row.named, suffix)):
        extra[ANNOTATED_AS] = row.named
    return replace(row, src=name, extra=extra)


def _unclaimed(rows: Iterable[AnnotationRow], disk: ListedClips, spare: Sequence[FoundFile]) -> tuple[str, ...]:
    """The names of the spare files that no row goes by, whichever folder says the name."""
    if not spare:
        return ()
    usable = [row for row in rows if row.src and "\0" not in row.src]
    names = {row.src for row in usable}
    left = [file for file in spare if file[1] not in names]
    files = {disk.file_of(row.src, score_drop(row)) for row in usable} if left else ()
    return tuple(sorted({name for root, name in left if (root, name) not in files}))


class _Naming:
    """The names that rows go by so far: ``taken`` are all, ``renames`` has the new one of a row by its first."""

    def __init__(self, rows: Sequence[AnnotationRow], earlier: Mapping[str, object], suffix: str) -> None:
        self._earlier, self._suffix = earlier, suffix
        self._beginnings = {start for row in rows for start in row.also_starting}
        self._taken = {row.src for row in rows}
        self._told = 0
        self.renames: dict[str, str] = {}
        self.how: dict[str, str] = {}

    def renamed(self, row: AnnotationRow) -> AnnotationRow:
        """The row under the name that was found for it, with the score file's own name beside it."""
        name = self.renames.get(row.src)
        if name is None or row.repeats:
            return row
        return _called(row, name, self._suffix)

    def choose(self, rows: Sequence[AnnotationRow], place: "_Place") -> dict[str, AnnotationRow]:
        """Find these rows' clips in a place, by one rule after another; the rows that none found, by name."""
        left = {row.src: row for row in rows}
        by_template: _Rule = (TEMPLATE, lambda row: self._by_template(row, place))
        # An earlier row may be of a clip that left the score file: only what it says, or the corpus declares, ties it
        # to this row.
        of_earlier: tuple[_Rule, ...] = ((EARLIER, lambda row: place.annotated(row.named)), by_template)
        of_disk: tuple[_Rule, ...] = (
            (EXACT, lambda row: [row.named] if row.named != row.src else []),
            (BELOW, lambda row: place.below(row.src)),
            by_template,
            (ADDED_SUFFIX, lambda row: place.exact(row.src + self._suffix) or place.below(row.src + self._suffix)),
            (OTHER_SUFFIX, lambda row: place.of_stem(row.src)),
            (UNICODE, lambda row: place.normalised(row.src)),
        )
        doubtful: set[str] = set()
        for rule, names_by in of_earlier if place.is_earlier else of_disk:
            meant: dict[str, list[AnnotationRow]] = defaultdict(list)
            for row in left.values():
                names = names_by(row)
                if names:  # most rules find nothing for most rows
                    names = [name for name in names if self._may_be(name, row, place)]
                if len(names) == 1:
                    meant[names[0]].append(row)
                elif names and row.src not in doubtful:
                    doubtful.add(row.src)  # several rules may find the same clips: told once
                    self._tell(f"{row.src}: {len(names)} clips could be meant ({names[:3]}); rename the right one")
            for name, those in meant.items():
                if len(those) > 1:
                    several = ", ".join(row.src for row in those[:3])
                    self._tell(f"{name} could be the clip of {len(those)} rows ({several}); rename it")
                    continue
                row = those[0]
                self._taken.add(name)
                self.renames[row.src], self.how[name] = name, rule
                del left[row.src]
        return left

    def _tell(self, doubt: str) -> None:
        self._told += 1
        if self._told <= _MOST_TOLD:
            _log.warning("%s", doubt)

    def warn_of_other_scores(self, rows: Iterable[AnnotationRow]) -> None:
        """Warn of clips that only a beginning ties to their rows, where the earlier row had another score."""
        names = [
            name
            for row in rows
            if row.also_starting
            and (name := self.renames.get(row.src))
            and self._earlier.get(name, row.mos) != row.mos
            and name not in row.also
        ]
        if names:
            _log.warning(
                "%d clips are known by the beginning of their names and had another score (%s); if one of them is the "
                "clip of no row any more, remove it and its row",
                len(names),
                ", ".join(names[:3]),
            )

    def _by_template(self, row: AnnotationRow, place: "_Place") -> list[str]:
        for name in row.also:
            if names := [one for one in place.exact(name) or place.below(name) if self._may_be(one, row, place)]:
                return names
        for start in row.also_starting:
            # Another row may say the beginning of a name more exactly: then the clip is that row's.
            names = [name for name in place.starting(start) if self._says_most(name, start)]
            if names := [name for name in names if self._may_be(name, row, place)]:
                return names
        return []

    def _says_most(self, name: str, start: str) -> bool:
        begins = name if name.startswith(start) else name.rpartition("/")[2]
        return next(begins[:end] for end in range(len(begins), 0, -1) if begins[:end] in self._beginnings) == start

    def _may_be(self, name: str, row: AnnotationRow, place: "_Place") -> bool:
        """Whether a clip is no other row's, by its name or by what an earlier row says.

        A clip that has an earlier row beside this row's own, with a score of neither, is another clip.
        """
        if name in self._taken or not place.holds(name, score_drop(row)):
            return False
        both = row.src in self._earlier and name in self._earlier
        return not both or self._earlier[name] in (row.mos, self._earlier[row.src])


class _Place:
    """The names of clips in one place, to be asked by what a name may share with another."""

    def __init__(
        self,
        holds: Callable[[str, str], bool],
        names: Collection[str],
        suffix: str,
        annotated: Mapping[str, str] | None = None,
    ) -> None:
        self.holds, self._names, self._annotated = holds, names, annotated
        self._suffixes = {*VIDEO_SUFFIXES, suffix.lower()}

    @property
    def is_earlier(self) -> bool:
        """Whether the names are those of an earlier JSONL."""
        return self._annotated is not None

    def annotated(self, name: str) -> list[str]:
        """The clip that the score file called so when its earlier row was made."""
        return [self._annotated[name]] if self._annotated and name in self._annotated else []

    def exact(self, name: str) -> list[str]:
        """The clip of that very name."""
        return [name] if name in self._set else []

    def below(self, name: str) -> list[str]:
        """The clips of that name in any folder."""
        alike = self._by_last.get(_last(name))
        return [one for _, one in alike if one.endswith(f"/{name}")] if alike else []

    def of_stem(self, name: str) -> list[str]:
        """The clips of that name but for the suffix, of which case does not matter; in its folder, else below any."""
        stem = self._stem(name)
        return _here_or_below(self._by_stem.get(_last(stem)), stem)

    def normalised(self, name: str) -> list[str]:
        """The clips whose names are that one in another form of Unicode; in its folder, else below any."""
        wanted = _normal(name)
        return _here_or_below(self._by_nfc.get(_last(wanted)), wanted)

    def starting(self, start: str) -> list[str]:
        """The clips whose names begin so; in any folder, where the beginning says none."""
        names = self._sorted if "/" in start else self._sorted_by_last
        clips = []
        for key, name in islice(names, bisect_left(names, (start, "")), None):
            if not key.startswith(start):
                break
            if name.lower().endswith(VIDEO_SUFFIXES):
                clips.append(name)
        return clips

    def _stem(self, name: str) -> str:
        at = name.rfind(".")
        return name[:at] if at >= 0 and name[at:].lower() in self._suffixes else name

    @cached_property
    def _set(self) -> set[str]:
        return set(self._names)

    @cached_property
    def _by_last(self) -> Mapping[str, Sequence[_Spelled]]:
        return _grouped(dict.fromkeys(self._names), lambda name: name)

    @cached_property
    def _by_stem(self) -> Mapping[str, Sequence[_Spelled]]:
        return _grouped(dict.fromkeys(self._names), self._stem)

    @cached_property
    def _by_nfc(self) -> Mapping[str, Sequence[_Spelled]]:
        return _grouped(dict.fromkeys(self._names), _normal)

    @cached_property
    def _sorted(self) -> list[tuple[str, str]]:
        return sorted((name, name) for name in self._names)

    @cached_property
    def _sorted_by_last(self) -> list[tuple[str, str]]:
        return sorted((_last(name), name) for name in self._names)


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def _normal(name: str) -> str:
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def _grouped(names: Iterable[str], spelling: Callable[[str], str]) -> Mapping[str, Sequence[_Spelled]]:
    """The names with their spellings, which are made once, by the last part of those."""
    groups: dict[str, list[_Spelled]] = defaultdict(list)
    for name in names:
        spelled = spelling(name)
        groups[_last(spelled)].append((spelled, name))
    return groups


def _here_or_below(alike: Sequence[_Spelled] | None, wanted: str) -> list[str]:
    """The names that are spelled so; else those in folders that are spelled so below them."""
    if not alike:
        return []
    here = [name for spelled, name in alike if spelled == wanted]
    return here or [name for spelled, name in alike if spelled.endswith(f"/{wanted}")]


class LikeNames:
    """The clips that no row names, to be asked for the one that is most like a missing clip. They are only told."""

    def __init__(self, names: Sequence[str] = ()) -> None:
        self.names = names

    def nearest(self, src: str) -> str:
        """A file whose name is another only by case, by what stands behind it (``NEW``) or before it (an id).

        Empty where there is none.
        """
        plain = _plain(src)
        if plain in self._by_plain:
            return self._by_plain[plain]
        longer = [
            *self._continuing(self._ordered, plain),
            *(key[::-1] for key in self._continuing(self._backwards, plain[::-1])),
        ]
        shorter = (plain[:end] for end in range(len(plain) - 1, _LEAST_IN_COMMON - 1, -1))
        behind = (plain[start:] for start in range(1, len(plain) - _LEAST_IN_COMMON + 1))
        likest = min(longer, key=len, default="") or next(
            (part for part in (*shorter, *behind) if part in self._by_plain and _parts_well(plain, part)), ""
        )
        return self._by_plain.get(likest, "")

    @staticmethod
    def _continuing(ordered: Sequence[str], start: str) -> Iterator[str]:
        """The first names that begin so; a number that goes on is another number."""
        if len(start) < _LEAST_IN_COMMON:
            return
        at = bisect_left(ordered, start)
        for key in ordered[at : at + _MOST_LOOKED_AT]:
            if not key.startswith(start):
                return
            if _parts_well(key, start):
                yield key

    @cached_property
    def _by_plain(self) -> dict[str, str]:
        return {_plain(name): name for name in reversed(self.names)}

    @cached_property
    def _ordered(self) -> list[str]:
        return sorted(self._by_plain)

    @cached_property
    def _backwards(self) -> list[str]:
        return sorted(key[::-1] for key in self._by_plain)


def _parts_well(whole: str, part: str) -> bool:
    """Whether a name's beginning or end is cut off between two characters that are not both digits."""
    cut = len(part) if whole.startswith(part) else len(whole) - len(part)
    return not (whole[cut - 1 : cut].isdigit() and whole[cut : cut + 1].isdigit())


def _plain(name: str) -> str:
    """What is left of a name without its folders, its suffix and its case."""
    last = unicodedata.normalize("NFC", unicodedata.normalize("NFC", _last(name)).casefold())
    stem, dot, suffix = last.rpartition(".")
    return stem if f"{dot}{suffix}" in VIDEO_SUFFIXES else last
